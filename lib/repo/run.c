/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/uuid.h"
#include "lib/repo/run.h"

struct run {
  struct nbi_header header;     /* of the file that is being written */
  const uint8_t *master;        /* NULL: not encrypted */
  uint64_t limit;
  const struct run_place *place;
  struct file_table *files;
  struct file_writer *writer;   /* NULL: the next file was not begun */
  uint32_t file;                /* its number in the table */
  uint64_t bytes;               /* of the files that ended */
};

int
run_new (const struct nbi_header *model, const uint8_t *master,
         uint64_t limit, const struct run_place *place,
         struct file_table *files, struct run **out, struct err *err)
{
  struct run *run = calloc (1, sizeof *run);

  if (run == NULL)
    return err_nomem (err);
  run->header = *model;
  run->header.number = 0;
  run->master = master;
  run->limit = limit;
  run->place = place;
  run->files = files;
  *out = run;
  return 0;
}

void
run_free (struct run *run)
{
  if (run == NULL)
    return;
  file_writer_free (run->writer);
  free (run);
}

const struct nbi_header *
run_header (const struct run *run)
{
  return &run->header;
}

uint64_t
run_bytes (const struct run *run)
{
  return run->bytes + (run->writer != NULL ? file_writer_size (run->writer)
                       : 0);
}

static int
begin_file (struct run *run, struct err *err)
{
  struct nbi_header *h = &run->header;
  struct sink *sink;
  int r;

  r = uuid_new (h->file, err);
  if (r == 0)
    r = uuid_new (h->nonce, err);
  if (r == 0)
    r = nbi_salt (h->file, h->edition, &h->salt, err);
  if (r == 0)
    r = file_table_add (run->files, h->file, h->run, &run->file, err);
  if (r == 0)
    r = run->place->begin (run->place->opaque, h, &sink, err);
  if (r == 0)
    r = file_writer_new (h, run->master, sink, &run->writer, err);
  return r;
}

static int
end_file (struct run *run, const struct file_ending *ending, struct err *err)
{
  int r;

  r = file_writer_end (run->writer, ending, err);
  if (r == 0)
    r = run->place->end (run->place->opaque, &run->header, ending != NULL,
                         err);
  if (r < 0)
    return r;
  run->bytes += file_writer_size (run->writer);
  file_writer_free (run->writer);
  run->writer = NULL;
  ++run->header.number;
  return 0;
}

/* Would the file become too large with the record?  One has to fit. */
static bool
is_full (const struct run *run, const struct nbi_record *record)
{
  return run->limit > 0 && file_writer_ordinals (run->writer) > 0 &&
    file_writer_size_with (run->writer, record->stored) > run->limit;
}

int
run_add (struct run *run, struct nbi_record *record, const void *payload,
         uint32_t *file, struct err *err)
{
  int r = 0;

  if (run->writer != NULL && is_full (run, record))
    r = end_file (run, NULL, err);
  if (r == 0 && run->writer == NULL)
    r = begin_file (run, err);
  if (r == 0)
    r = file_writer_add (run->writer, record, payload, err);
  if (r == 0)
    *file = run->file;
  return r;
}

int
run_end (struct run *run, const struct file_ending *ending, struct err *err)
{
  int r = 0;

  if (run->writer == NULL)
    r = begin_file (run, err);
  return r < 0 ? r : end_file (run, ending, err);
}
