/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/block/window.h"
#include "tools/restore/restore-tool.h"

struct pieces {
  struct restore_piece *ptr;
  size_t len;
};

static void
pieces_free (struct pieces *pieces)
{
  for (size_t i = 0; i < pieces->len; ++i) {
    block_unref (pieces->ptr[i].from);
    block_unref (pieces->ptr[i].to);
  }
  free (pieces->ptr);
}

static int
make_piece (const struct restore_command *c, const struct restore_step *step,
            struct restore_piece *piece, struct err *err)
{
  const struct restore_part part = {
    .disk = c->disk, .off = step->from_off, .len = step->len,
    .size = step->size,
    .patches = step->from == 0 ? &c->plan.patches : NULL,
    .allow_unreadable = c->allow_unreadable,
  };
  int r = restore_source_new (&part, &piece->from, err);

  return r < 0 ? r : block_window_new (c->to.disk, step->to_off, step->size,
                                       &piece->to, err);
}

static int
make_pieces (const struct restore_command *c, struct pieces *pieces,
             struct err *err)
{
  size_t n = c->plan.steps.len;
  int r = 0;

  pieces->ptr = calloc (n, sizeof *pieces->ptr);
  if (pieces->ptr == NULL)
    return err_nomem (err);
  for (size_t i = 0; r == 0 && i < n; ++i) {
    pieces->len = i + 1;
    r = make_piece (c, &c->plan.steps.ptr[i], &pieces->ptr[i], err);
  }
  return r;
}

static int
reread (void *opaque, size_t i, struct block **out, struct err *err)
{
  const struct restore_command *c = opaque;
  const struct restore_step *step = &c->plan.steps.ptr[i];
  CLEANUP_BLOCK struct block *disk = NULL;
  int r = restore_target_reread (c, &disk, err);

  return r < 0 ? r : block_window_new (disk, step->to_off, step->size, out,
                                       err);
}

/* Steps take place one after the other, so that ranges of different ones do
 * not meet.
 */
static int
collect_lost (struct restore_command *c, const struct pieces *pieces,
              struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < pieces->len; ++i) {
    struct restore_ranges ranges = VECTOR_INIT;

    r = restore_source_lost (pieces->ptr[i].from, &ranges, err);
    for (size_t k = 0; r == 0 && k < ranges.len; ++k)
      if (vector_append (&c->lost, &ranges.ptr[k]) < 0)
        r = err_nomem (err);
    vector_free (&ranges);
  }
  return r;
}

static int
run_pieces (struct restore_command *c, const struct pieces *pieces,
            struct job *job, struct err *err)
{
  const struct restore_run run = {
    .pieces = pieces->ptr, .nr_pieces = pieces->len,
    .threads = c->threads, .unit = c->to.unit,
    .target_is_zero = c->to.kind == RESTORE_NEW,
    .verify = !c->no_verify, .job = job,
    .reread = reread, .opaque = c,
  };

  return restore_run (&run, &c->result, err);
}

int
restore_work (struct restore_command *c, const char **note, struct err *err)
{
  struct pieces pieces = { NULL, 0 };
  struct progress *progress;
  struct job job = JOB_INIT;
  int r = progress_start (&job, c->mode, c->name, &progress, err);

  *note = NULL;
  if (r < 0)
    return r;
  r = make_pieces (c, &pieces, err);
  if (r == 0)
    r = run_pieces (c, &pieces, &job, err);
  if (r == 0)
    r = collect_lost (c, &pieces, err);
  pieces_free (&pieces);
  if (r == 0) {
    r = restore_target_end (c, note, err);
    c->result.done = r == 0;
    if (r < 0)
      err_in (err, "%s", c->name);
  }
  progress_stop (progress);
  return r;
}
