/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "tools/verify/verify-tool.h"

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

  (void) err;
  v->tables += end > bytes ? end - bytes : 0;
  if (nr > 0 && v->needs != NULL) {
    nr = verify_needs_count (v->needs, file_reader_header (file)->file);
    bytes = (uint64_t) ((double) bytes / t->nr_records * (double) nr);
  }
  v->stored.nr += nr;
  v->stored.bytes += bytes;
  return 0;
}

static int
begin (void *opaque, struct err *err)
{
  struct verify_command *v = opaque;
  const struct verify_pieces *all = &v->stored;
  uint64_t bytes = all->bytes;

  (void) err;
  if (v->sampled) {
    verify_sample_begin (&v->sample, all->nr, all->bytes);
    bytes = all->nr == 0 ? 0
      : (uint64_t) ((double) bytes / (double) all->nr *
                    (double) v->sample.wanted);
  }
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
  return !v->sampled || verify_sample_draw (&v->sample);
}

static int
passed (void *opaque, struct file_reader *file,
        const struct verify_passed *p, struct err *err)
{
  struct verify_command *v = opaque;

  (void) file;
  (void) err;
  if (p->end == 0)              /* the manifest */
    return 0;
  v->read.nr += p->records;
  v->read.bytes += p->bytes;
  return 0;
}

void
verify_pieces_use (struct verify *v)
{
  v->wants = wants;
  v->passed = passed;
  v->survey = survey;
  v->begin = begin;
}
