/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Plans, and doing what they say.  The drivers make them: vhd-repair.c,
 * vhdx-repair.c.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/image-ops.h"
#include "lib/format/probe.h"
#include "lib/format/undo.h"

/* What is copied at once. */
#define PIECE ((size_t) 1024 * 1024)

const char *
repair_kind_to_string (enum repair_kind kind)
{
  static const char *const names[] = {
    [REPAIR_WRITE] = "write",
    [REPAIR_COPY] = "copy",
    [REPAIR_ZERO] = "zero",
    [REPAIR_PUNCH] = "punch",
    [REPAIR_RESIZE] = "resize",
  };

  return names[kind];
}

void
repair_plan_free (struct repair_plan *plan)
{
  for (size_t i = 0; i < plan->steps.len; ++i) {
    free (plan->steps.ptr[i].bytes);
    free (plan->steps.ptr[i].why);
  }
  vector_free (&plan->steps);
  vector_free (&plan->identity);
  free (plan->refusal);
  block_unref (plan->source);
  *plan = (struct repair_plan) REPAIR_PLAN_INIT;
}

/*--- Making a plan ----------------------------------------------------------*/

/* bytes and why are taken over, also when this fails. */
static int
append (struct repair_plan *plan, enum repair_kind kind, uint8_t *bytes,
        uint64_t len, uint64_t off, char *why, struct err *err)
{
  const struct repair_step step = {
    .kind = kind, .off = off, .len = len, .bytes = bytes, .why = why,
  };

  if (why == NULL || (kind == REPAIR_WRITE && bytes == NULL) ||
      vector_append (&plan->steps, &step) < 0) {
    free (bytes);
    free (why);
    return err_nomem (err);
  }
  if (kind == REPAIR_RESIZE)
    plan->new_size = off;
  else
    plan->new_size = max_u64 (plan->new_size, off + len);
  return 0;
}

int
repair_add_write (struct repair_plan *plan, const void *bytes, size_t len,
                  uint64_t off, struct err *err, const char *fmt, ...)
{
  uint8_t *copy = malloc (len);
  char *why;
  va_list ap;

  va_start (ap, fmt);
  if (vasprintf (&why, fmt, ap) < 0)
    why = NULL;
  va_end (ap);
  if (copy)
    memcpy (copy, bytes, len);
  return append (plan, REPAIR_WRITE, copy, len, off, why, err);
}

int
repair_add (struct repair_plan *plan, enum repair_kind kind, uint64_t len,
            uint64_t off, struct err *err, const char *fmt, ...)
{
  char *why;
  va_list ap;

  va_start (ap, fmt);
  if (vasprintf (&why, fmt, ap) < 0)
    why = NULL;
  va_end (ap);
  return append (plan, kind, NULL, len, off, why, err);
}

void
repair_join_next (struct repair_plan *plan)
{
  if (plan->steps.len > 0)
    plan->steps.ptr[plan->steps.len - 1].with_next = true;
}

int
repair_add_identity (struct repair_plan *plan, uint64_t off, uint64_t len,
                     struct err *err)
{
  struct file_range range = { off, len };

  if (off >= plan->old_size)
    return 0;
  range.len = min_u64 (len, plan->old_size - off);
  if (range.len > 0 && vector_append (&plan->identity, &range) < 0)
    return err_nomem (err);
  return 0;
}

int
repair_refuse (struct repair_plan *plan, struct err *err, const char *fmt,
               ...)
{
  va_list ap;

  va_start (ap, fmt);
  if (vasprintf (&plan->refusal, fmt, ap) < 0)
    plan->refusal = NULL;
  va_end (ap);
  return plan->refusal ? 0 : err_nomem (err);
}

int
repair_add_punches (struct repair_plan *plan, const struct file_ranges *leaks,
                    uint64_t tail_off, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < leaks->len; ++i) {
    const struct file_range *leak = &leaks->ptr[i];

    if (leak->off == tail_off)
      continue;
    r = repair_add (plan, REPAIR_PUNCH, leak->len, leak->off, err,
                    "nothing names this space");
    if (r == 0)
      repair_join_next (plan);
  }
  return r;
}

int
repair_plan_make (struct block *block, const struct image_options *options,
                  unsigned flags, struct check *check,
                  struct repair_plan *plan, struct err *err)
{
  struct image_options reading = { .format = NULL };
  const struct image_ops *ops;
  int r;

  if (options)
    reading = *options;
  reading.writable = reading.ignore_checksums = false;
  r = probe_format (block, reading.format, &ops, err);
  if (r < 0)
    return r;
  if (ops->plan_repair == NULL)
    return err_set (err, -ENOTSUP, "there is nothing in the format %s that "
                    "could be repaired", ops->name);
  check->format = ops->name;
  check->file = block_name (block);
  check->is_parent = false;
  check->nr_files = 1;
  plan->format = ops->name;
  plan->old_size = plan->new_size = block_size (block);
  r = ops->plan_repair (block, &reading, flags, check, plan, err);
  check->file = NULL;
  return r;
}

/*--- Doing it ---------------------------------------------------------------*/

/* The range may begin within the file and end behind it. */
static int
write_bytes (struct block *block, const void *buf, size_t len, uint64_t off,
             struct err *err)
{
  return range_fits (off, len, block_size (block))
    ? block_pwrite (block, buf, len, off, 0, err)
    : block_append (block, buf, len, off, err);
}

static int
copy_bytes (struct block *block, struct block *source,
            const struct repair_step *step, struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  int r = buf ? 0 : err_nomem (err);

  for (uint64_t done = 0; r == 0 && done < step->len; done += PIECE) {
    size_t n = (size_t) min_u64 (PIECE, step->len - done);

    r = block_pread (source, buf, n, step->off + done, err);
    if (r == 0)
      r = write_bytes (block, buf, n, step->off + done, err);
    if (r == 0)
      r = job_advance (job, n, err);
  }
  return r;
}

static int
do_step (struct block *block, const struct repair_plan *plan,
         const struct repair_step *step, struct job *job, struct err *err)
{
  switch (step->kind) {
  case REPAIR_WRITE:
    return write_bytes (block, step->bytes, (size_t) step->len, step->off,
                        err);
  case REPAIR_COPY:
    return copy_bytes (block, plan->source, step, job, err);
  case REPAIR_ZERO:
    return block_zero (block, step->len, step->off, 0, err);
  case REPAIR_PUNCH:
    return block_trim (block, step->len, step->off, 0, err);
  case REPAIR_RESIZE:
    break;
  }
  return block_resize (block, step->off, err);
}

static bool
changes_size (const struct repair_plan *plan)
{
  for (size_t i = 0; i < plan->steps.len; ++i)
    if (plan->steps.ptr[i].kind == REPAIR_RESIZE)
      return true;
  return plan->new_size != plan->old_size;
}

int
repair_apply (struct block *block, const struct repair_plan *plan,
              const char *undo_path, struct job *job, struct err *err)
{
  int r;

  if (block_size (block) != plan->old_size)
    return err_set (err, -ESTALE, "the file has %" PRIu64 " bytes, and had %"
                    PRIu64 " when the repair was planned", block_size (block),
                    plan->old_size);
  if (changes_size (plan) && !block_can_resize (block))
    return err_set (err, -ENOTSUP, "the repair would change its size, and "
                    "only that of a regular file can be changed");
  r = undo_write (block, plan, undo_path, job, err);
  if (r < 0)
    return err_in (err, "undo file %s", undo_path);
  job_start (job, "repairing", 0);
  for (size_t i = 0; r == 0 && i < plan->steps.len; ++i) {
    const struct repair_step *step = &plan->steps.ptr[i];
    bool is_last = i + 1 == plan->steps.len;

    r = do_step (block, plan, step, job, err);
    if (r == 0 && (is_last || !step->with_next))
      r = block_flush (block, err);
  }
  return r;
}

char *
repair_undo_name (const char *image)
{
  char *name;

  for (unsigned n = 1; n < 10000; ++n) {
    int len = n == 1 ? asprintf (&name, "%s.undo", image)
                     : asprintf (&name, "%s.undo.%u", image, n);

    if (len < 0)
      return NULL;
    if (faccessat (AT_FDCWD, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
        errno == ENOENT)
      return name;
    free (name);
  }
  return NULL;
}
