/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "tools/report.h"
#include "tools/verify/verify-tool.h"

#define SAVE_SECONDS 5

/*--- The state --------------------------------------------------------------*/

/* A file that can't be asked now has nothing that was verified. */
static int
look (struct verify_command *v, struct file_reader *file, struct err *err)
{
  int r = verify_state_look (v->state, file, &v->file_end, &v->file_bytes,
                             err);

  if (r == -ENOMEM)
    return r;
  v->file = file_reader_id (file);
  if (r < 0)
    v->file_end = 0;
  if (v->file_end == 0)
    v->file_bytes = 0;
  return 0;
}

static bool
was_verified (struct verify_command *v, struct file_reader *file,
              uint32_t ordinal)
{
  if (v->state == NULL ||
      (v->file != file_reader_id (file) && look (v, file, NULL) < 0) ||
      ordinal >= v->file_end)
    return false;
  ++v->earlier;
  return true;
}

static int
note (struct verify_command *v, struct file_reader *file,
      const struct verify_passed *p, struct err *err)
{
  time_t now = time (NULL);

  v->file_bytes += p->bytes;
  if (!p->clean)
    return 0;
  verify_state_note (v->state, file, p->end, v->file_bytes);
  if (now >= v->saved && now < v->saved + SAVE_SECONDS)
    return 0;
  v->saved = now;
  return verify_state_save (v->state, err);
}

void
verify_pieces_end (struct verify_command *v, int r)
{
  struct err err = ERR_INIT;

  if (v->state == NULL)
    return;
  if (v->changed > 0)
    tool_note ("%s: files that changed since, or are not there any more: %"
               PRIu64 "; what was verified of them does not count",
               v->state_path, v->changed);
  if (r == 0)
    verify_state_remove (v->state);
  else if (verify_state_save (v->state, &err) < 0)
    tool_fail (NULL, &err);
  else if (r == -ECANCELED)
    tool_note ("the same command goes on from here, with %s", v->state_path);
}

/*--- Pieces -----------------------------------------------------------------*/

/* What the trailer says, which may not be true: it is for the sample, and for
 * how far it is.
 */
static int
survey (void *opaque, struct file_reader *file, struct err *err)
{
  struct verify_command *v = opaque;
  const struct nbi_trailer *t = file_reader_trailer (file);
  uint64_t bytes = t->stored + (uint64_t) t->nr_records * NBI_RECORD_SIZE;
  uint64_t end = file_reader_end (file), nr = t->nr_records;
  int r;

  v->tables += end > bytes ? end - bytes : 0;
  if (nr > 0 && v->needs != NULL) {
    nr = verify_needs_count (v->needs, file_reader_header (file)->file);
    bytes = (uint64_t) ((double) bytes / t->nr_records * (double) nr);
  }
  v->stored.nr += nr;
  v->stored.bytes += bytes;
  if (v->state == NULL)
    return 0;
  r = look (v, file, err);
  v->earlier_bytes += v->file_bytes;
  return r;
}

static int
begin (void *opaque, struct err *err)
{
  struct verify_command *v = opaque;
  const struct verify_pieces *all = &v->stored;
  uint64_t bytes = all->bytes;

  (void) err;
  if (v->state != NULL)
    v->changed = verify_state_changed (v->state);
  if (v->sampled) {
    verify_sample_begin (&v->sample, all->nr, all->bytes);
    bytes = all->nr == 0 ? 0
      : (uint64_t) ((double) bytes / (double) all->nr *
                    (double) v->sample.wanted);
  }
  bytes -= bytes > v->earlier_bytes ? v->earlier_bytes : bytes;
  if (v->structure)
    bytes = all->nr * NBI_RECORD_SIZE;
  job_start (v->job, "checking", v->tables + bytes);
  return 0;
}

static bool
wants (void *opaque, struct file_reader *file, const struct nbi_record *record)
{
  struct verify_command *v = opaque;

  if (v->needs != NULL &&
      !verify_needs_has (v->needs, file_reader_header (file)->file,
                         record->ordinal))
    return false;
  if (was_verified (v, file, record->ordinal))
    return false;
  return !v->sampled || verify_sample_draw (&v->sample);
}

static int
passed (void *opaque, struct file_reader *file,
        const struct verify_passed *p, struct err *err)
{
  struct verify_command *v = opaque;

  if (p->end == 0)              /* the manifest */
    return 0;
  v->read.nr += p->records;
  v->read.bytes += p->bytes;
  /* A record that is needed by what can't be read may have been left out. */
  return v->state != NULL &&
    (v->needs == NULL || verify_needs_are_complete (v->needs))
    ? note (v, file, p, err) : 0;
}

void
verify_pieces_use (struct verify *v)
{
  v->wants = wants;
  v->passed = passed;
  v->survey = survey;
  v->begin = begin;
}
