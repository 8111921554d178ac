/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/compressed/index-build.h"
#include "lib/format/compressed/index-place.h"

struct builder {
  struct index_writer *writer;
  uint64_t start;               /* of the piece that is being decoded */
  uint64_t here;                /* the point for it, in the index */
  uint64_t latest;              /* the last one so far */
};

static int
take_point (void *opaque, const struct point *point, struct err *err)
{
  struct builder *b = opaque;
  int r = index_writer_point (b->writer, point, &b->latest, err);

  if (r == 0 && point->out <= b->start)
    b->here = b->latest;
  return r;
}

static int
take_piece (struct builder *b, const uint8_t *buf, size_t len,
            struct err *err)
{
  const struct index_piece piece = {
    .xxh3 = XXH3_64bits (buf, len),
    .point = b->here,
    .zero = buf[0] == 0 && memcmp (buf, buf + 1, len - 1) == 0,
  };

  b->start += len;
  b->here = b->latest;
  return index_writer_piece (b->writer, &piece, err);
}

static int
take_all (struct builder *b, struct decoder *d, struct job *job,
          struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (INDEX_PIECE_SIZE);
  uint64_t before = 0, now;
  size_t got;
  int r;

  if (buf == NULL)
    return err_nomem (err);
  job_start (job, "indexing", block_size (d->in.block));
  do {
    r = decoder_read (d, buf, INDEX_PIECE_SIZE, &got, err);
    if (r == 0 && got > 0)
      r = take_piece (b, buf, got, err);
    /* A codec may look ahead and go back. */
    now = max_u64 (before, input_off (&d->in));
    if (r == 0)
      r = job_advance (job, now - before, err);
    before = now;
  } while (r == 0 && got == INDEX_PIECE_SIZE);
  return r;
}

/* Into the file. */
static int
build (struct block *file, const struct codec *codec, int fd,
       const struct fingerprint *fp, struct job *job, struct err *err)
{
  const struct point front = { .kind = POINT_START };
  struct builder b = { .writer = NULL };
  struct decoder *d = NULL;
  struct fingerprint after;
  int r = index_writer_new (fd, &b.writer, err);

  if (r == 0)
    r = decoder_new (codec, file, &front, &d, err);
  if (r == 0) {
    d->on_point = take_point;
    d->opaque = &b;
    r = take_point (&b, &front, err);
  }
  if (r == 0)
    r = take_all (&b, d, job, err);
  if (r == 0)
    r = fingerprint_of (file, &after, err);
  if (r == 0 && !fingerprint_same (fp, &after))
    r = err_set (err, -EIO, "it was changed while its index was made");
  if (r == 0)
    r = index_writer_finish (b.writer, codec, fp, b.start, err);
  decoder_free (d);
  index_writer_free (b.writer);
  return r;
}

int
index_get (struct block *file, const struct codec *codec, struct job *job,
           struct index **out, struct report *report, struct err *err)
{
  CLEANUP_INDEX_FILE struct index_file f = INDEX_FILE_INIT;
  struct err why = ERR_INIT;
  struct fingerprint fp;
  int r = fingerprint_of (file, &fp, err);

  if (r < 0)
    return r;
  if (index_find (&fp, out) == 0)
    return 0;
  r = index_file_new (&fp, &f, &why, err);
  if (r == 0)
    r = build (file, codec, f.fd, &fp, job, err);
  if (r == 0)
    r = index_open (f.fd, &fp, out, err);
  if (r < 0)
    return r;
  index_file_keep (&f);
  f.fd = -1;                    /* the index has it */
  if (why.code != 0)
    report_warn (report, "%s: its index, which took reading all of it, is not "
                 "kept: %s", block_name (file), why.msg);
  return 0;
}
