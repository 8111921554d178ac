/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/base/vector.h"
#include "lib/format/compressed/index.h"

DEFINE_VECTOR (offset_vector, uint64_t);

struct index_writer {
  int fd;
  uint64_t end;                 /* of what was written */
  XXH3_state_t *hash;           /* of it, behind the header */
  ZSTD_CCtx *ctx;
  uint64_t nr_points, nr_pieces;
  size_t nr_rows;               /* not written yet */
  uint8_t rows[INDEX_ROWS * INDEX_ROW_SIZE];
  struct offset_vector directory;       /* 8 bytes for each GiB */
};

int
index_writer_new (int fd, struct index_writer **out, struct err *err)
{
  struct index_writer *w = calloc (1, sizeof *w);

  if (w == NULL)
    return err_nomem (err);
  w->fd = fd;
  w->end = INDEX_HEADER_SIZE;
  w->hash = XXH3_createState ();
  w->ctx = ZSTD_createCCtx ();
  if (w->hash == NULL || w->ctx == NULL) {
    index_writer_free (w);
    return err_nomem (err);
  }
  XXH3_64bits_reset (w->hash);
  *out = w;
  return 0;
}

void
index_writer_free (struct index_writer *w)
{
  if (w == NULL)
    return;
  XXH3_freeState (w->hash);
  ZSTD_freeCCtx (w->ctx);
  vector_free (&w->directory);
  free (w);
}

static int
append (struct index_writer *w, const void *buf, size_t len, struct err *err)
{
  int r = fd_pwrite (w->fd, buf, len, w->end, err);

  if (r < 0)
    return err_in (err, "its index can't be written");
  XXH3_64bits_update (w->hash, buf, len);
  w->end += len;
  return 0;
}

int
index_writer_point (struct index_writer *w, const struct point *point,
                    uint64_t *where, struct err *err)
{
  size_t room = ZSTD_compressBound (point->window_len);
  CLEANUP_FREE uint8_t *buf = malloc (INDEX_POINT_SIZE + room);
  size_t len = 0;

  if (buf == NULL)
    return err_nomem (err);
  if (point->window_len > 0) {
    len = ZSTD_compressCCtx (w->ctx, buf + INDEX_POINT_SIZE, room,
                             point->window, point->window_len, 1);
    if (ZSTD_isError (len) || len >= point->window_len) {
      len = point->window_len;
      memcpy (buf + INDEX_POINT_SIZE, point->window, len);
    }
  }
  put_le64 (buf, point->in);
  put_le64 (buf + 8, point->out);
  put_le32 (buf + 16, point->param);
  buf[20] = point->kind;
  buf[21] = point->bit;
  put_le16 (buf + 22, 0);
  put_le32 (buf + 24, point->window_len);
  put_le32 (buf + 28, (uint32_t) len);
  /* Of the header, with the window's as its seed. */
  put_le64 (buf + 32, XXH3_64bits_withSeed
            (buf, 32, XXH3_64bits (buf + INDEX_POINT_SIZE, len)));
  *where = w->end;
  ++w->nr_points;
  return append (w, buf, INDEX_POINT_SIZE + len, err);
}

static int
write_rows (struct index_writer *w, struct err *err)
{
  size_t n = w->nr_rows;

  if (n == 0)
    return 0;
  w->nr_rows = 0;
  if (vector_append (&w->directory, &w->end) < 0)
    return err_nomem (err);
  return append (w, w->rows, n * INDEX_ROW_SIZE, err);
}

int
index_writer_piece (struct index_writer *w, const struct index_piece *piece,
                    struct err *err)
{
  uint8_t *row = w->rows + w->nr_rows * INDEX_ROW_SIZE;

  put_le64 (row, piece->xxh3);
  put_le64 (row + 8, piece->point | (piece->zero ? INDEX_ZERO : 0));
  put_le64 (row + 16, XXH3_64bits_withSeed (row, 16, w->nr_pieces));
  ++w->nr_pieces;
  return ++w->nr_rows < INDEX_ROWS ? 0 : write_rows (w, err);
}

static int
write_directory (struct index_writer *w, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < w->directory.len; ++i) {
    uint8_t buf[8];

    put_le64 (buf, w->directory.ptr[i]);
    r = append (w, buf, sizeof buf, err);
  }
  return r;
}

int
index_writer_finish (struct index_writer *w, const struct codec *codec,
                     const struct fingerprint *fp, uint64_t size,
                     struct err *err)
{
  uint8_t header[INDEX_HEADER_SIZE] = INDEX_MAGIC;
  uint64_t directory;
  int r = write_rows (w, err);

  directory = w->end;
  if (r == 0)
    r = write_directory (w, err);
  if (r < 0)
    return r;
  put_le32 (header + 8, INDEX_VERSION);
  put_le32 (header + 12, INDEX_PIECE_SIZE);
  strncpy ((char *) header + 16, codec->name, 15);
  put_le64 (header + 32, fp->size);
  put_le64 (header + 40, fp->inode);
  put_le64 (header + 48, (uint64_t) fp->mtime);
  put_le32 (header + 56, fp->mtime_ns);
  put_le32 (header + 60, fp->is_file);
  put_le64 (header + 64, fp->head);
  put_le64 (header + 72, fp->tail);
  put_le64 (header + 80, size);
  put_le64 (header + 88, directory);
  put_le64 (header + 96, w->nr_points);
  put_le64 (header + 112, XXH3_64bits_digest (w->hash));
  put_le64 (header + 120, XXH3_64bits (header, 120));
  r = fd_pwrite (w->fd, header, sizeof header, 0, err);
  return r < 0 ? err_in (err, "its index can't be written") : 0;
}
