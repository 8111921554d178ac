/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/format/compressed/index.h"

struct index {
  int fd;
  uint64_t end;                 /* of points and rows: the directory */
  const struct codec *codec;
  uint64_t size;                /* decoded bytes */
  uint64_t nr_pieces, nr_points;
  uint64_t *directory;
};

const struct codec *
index_codec (const struct index *index)
{
  return index->codec;
}

uint64_t
index_size (const struct index *index)
{
  return index->size;
}

uint64_t
index_nr_points (const struct index *index)
{
  return index->nr_points;
}

void
index_close (struct index *index)
{
  if (index == NULL)
    return;
  if (index->fd >= 0)
    close (index->fd);
  free (index->directory);
  free (index);
}

/*--- Opening ----------------------------------------------------------------*/

static bool
is_of_file (const uint8_t *h, const struct fingerprint *fp)
{
  const struct fingerprint stored = {
    .size = get_le64 (h + 32),
    .inode = get_le64 (h + 40),
    .mtime = (int64_t) get_le64 (h + 48),
    .mtime_ns = get_le32 (h + 56),
    .is_file = get_le32 (h + 60) != 0,
    .head = get_le64 (h + 64),
    .tail = get_le64 (h + 72),
  };

  return fingerprint_same (&stored, fp);
}

static int
check_header (struct index *index, const uint8_t *h, uint64_t file_size,
              const struct fingerprint *fp, struct err *err)
{
  if (memcmp (h, INDEX_MAGIC, 8) != 0 || h[31] != 0 ||
      get_le64 (h + 120) != XXH3_64bits (h, 120))
    return err_set (err, -EBADMSG, "its header is damaged");
  if (get_le32 (h + 8) != INDEX_VERSION ||
      get_le32 (h + 12) != INDEX_PIECE_SIZE)
    return err_set (err, -EBADMSG, "it is of another version");
  if (!is_of_file (h, fp))
    return err_set (err, -EBADMSG, "it is of another file, or of another "
                    "state of it");
  index->codec = codec_by_name ((const char *) h + 16);
  if (index->codec == NULL)
    return err_set (err, -EBADMSG, "it is of an unknown compression");
  index->size = get_le64 (h + 80);
  index->end = get_le64 (h + 88);
  index->nr_points = get_le64 (h + 96);
  index->nr_pieces = div_round_up (index->size, INDEX_PIECE_SIZE);
  if (index->size > INT64_MAX || index->end < INDEX_HEADER_SIZE ||
      index->end > file_size || file_size - index->end !=
      div_round_up (index->nr_pieces, INDEX_ROWS) * 8)
    return err_set (err, -EBADMSG, "its directory is not where it has to be");
  return 0;
}

static int
check_body (int fd, uint64_t file_size, uint64_t expected, struct err *err)
{
  const size_t room = 256 * 1024;
  CLEANUP_FREE uint8_t *buf = malloc (room);
  XXH3_state_t *hash = XXH3_createState ();
  int r = buf && hash ? 0 : err_nomem (err);

  if (r == 0)
    XXH3_64bits_reset (hash);
  for (uint64_t off = INDEX_HEADER_SIZE; r == 0 && off < file_size;) {
    size_t n = (size_t) min_u64 (room, file_size - off);

    r = fd_pread (fd, buf, n, off, err);
    if (r == 0)
      XXH3_64bits_update (hash, buf, n);
    off += n;
  }
  if (r == 0 && XXH3_64bits_digest (hash) != expected)
    r = err_set (err, -EBADMSG, "its checksum is wrong");
  XXH3_freeState (hash);
  return r;
}

static int
read_directory (struct index *index, struct err *err)
{
  size_t n = (size_t) div_round_up (index->nr_pieces, INDEX_ROWS);
  int r;

  index->directory = malloc (n * 8 + 1);
  if (index->directory == NULL)
    return err_nomem (err);
  r = fd_pread (index->fd, index->directory, n * 8, index->end, err);
  for (size_t i = 0; r == 0 && i < n; ++i) {
    uint64_t rows = min_u64 (index->nr_pieces - i * INDEX_ROWS, INDEX_ROWS);

    index->directory[i] = get_le64 (&index->directory[i]);
    if (!range_fits (index->directory[i], rows * INDEX_ROW_SIZE, index->end))
      r = err_set (err, -EBADMSG, "entry %zu of its directory is %" PRIu64
                   ", which is not inside of it", i, index->directory[i]);
  }
  return r;
}

int
index_open (int fd, const struct fingerprint *fp, struct index **out,
            struct err *err)
{
  uint8_t header[INDEX_HEADER_SIZE];
  struct index *index;
  struct stat st;
  int r;

  if (fstat (fd, &st) < 0)
    return err_sys (err, "fstat");
  if (st.st_size < INDEX_HEADER_SIZE)
    return err_set (err, -EBADMSG, "it is cut off");
  r = fd_pread (fd, header, sizeof header, 0, err);
  if (r < 0)
    return r;
  index = calloc (1, sizeof *index);
  if (index == NULL)
    return err_nomem (err);
  index->fd = fd;
  r = check_header (index, header, (uint64_t) st.st_size, fp, err);
  if (r == 0)
    r = check_body (fd, (uint64_t) st.st_size, get_le64 (header + 112), err);
  if (r == 0)
    r = read_directory (index, err);
  if (r == 0)
    *out = index;
  else {
    index->fd = -1;
    index_close (index);
  }
  return r;
}

/*--- What is in it ----------------------------------------------------------*/

int
index_pieces (const struct index *index, uint64_t first, size_t n,
              struct index_piece *pieces, struct err *err)
{
  while (n > 0) {
    uint64_t in_rows = first % INDEX_ROWS;
    size_t now = (size_t) min_u64 (min_u64 (n, INDEX_ROWS - in_rows), 256);
    uint8_t buf[256 * INDEX_ROW_SIZE];
    int r = fd_pread (index->fd, buf, now * INDEX_ROW_SIZE,
                      index->directory[first / INDEX_ROWS] +
                      in_rows * INDEX_ROW_SIZE, err);

    if (r < 0)
      return err_in (err, "its index");
    for (size_t i = 0; i < now; ++i, ++pieces) {
      const uint8_t *row = buf + i * INDEX_ROW_SIZE;

      if (get_le64 (row + 16) != XXH3_64bits_withSeed (row, 16, first + i))
        return err_set (err, -EIO, "its index was damaged while it was open, "
                        "at piece %" PRIu64, first + i);
      pieces->xxh3 = get_le64 (row);
      pieces->point = get_le64 (row + 8) & ~INDEX_ZERO;
      pieces->zero = get_le64 (row + 8) & INDEX_ZERO;
    }
    first += now;
    n -= now;
  }
  return 0;
}

static int
unpack_window (const uint8_t *stored, size_t stored_len, uint8_t *window,
               size_t len)
{
  if (stored_len != len)
    return ZSTD_decompress (window, len, stored, stored_len) == len;
  memcpy (window, stored, len);
  return 1;
}

/* The header of a point was read; its window is behind it. */
static int
read_window (const struct index *index, uint64_t where, const uint8_t *header,
             uint32_t len, uint8_t **out, struct err *err)
{
  uint32_t stored_len = get_le32 (header + 28);
  CLEANUP_FREE uint8_t *stored = NULL, *window = NULL;
  int r;

  if (len > CODEC_MAX_WINDOW || stored_len > len ||
      !range_fits (where + INDEX_POINT_SIZE, stored_len, index->end))
    return err_set (err, -EIO, "its index has a window of %" PRIu32 " bytes "
                    "in %" PRIu32 " at %" PRIu64, len, stored_len, where);
  stored = malloc (stored_len + 1);
  window = malloc (len + 1);
  if (stored == NULL || window == NULL)
    return err_nomem (err);
  r = fd_pread (index->fd, stored, stored_len, where + INDEX_POINT_SIZE, err);
  if (r < 0)
    return r;
  if (get_le64 (header + 32) != XXH3_64bits_withSeed
      (header, 32, XXH3_64bits (stored, stored_len)) ||
      !unpack_window (stored, stored_len, window, len))
    return err_set (err, -EIO, "its index was damaged while it was open, at "
                    "the point at %" PRIu64, where);
  if (len > 0)
    *out = steal_ptr (&window);
  return 0;
}

int
index_point (const struct index *index, uint64_t where, struct point *point,
             uint8_t **window, struct err *err)
{
  uint8_t header[INDEX_POINT_SIZE];
  struct point p;
  int r;

  *window = NULL;
  if (where < INDEX_HEADER_SIZE ||
      !range_fits (where, INDEX_POINT_SIZE, index->end))
    return err_set (err, -EIO, "its index has a point at %" PRIu64 ", outside "
                    "of it", where);
  r = fd_pread (index->fd, header, sizeof header, where, err);
  if (r < 0)
    return err_in (err, "its index");
  p = (struct point) {
    .in = get_le64 (header), .out = get_le64 (header + 8),
    .param = get_le32 (header + 16), .kind = header[20], .bit = header[21],
    .window_len = get_le32 (header + 24),
  };
  r = read_window (index, where, header, p.window_len, window, err);
  if (r < 0)
    return r;
  p.window = *window;
  *point = p;
  return 0;
}

int
index_point_out (const struct index *index, uint64_t where, uint64_t *off,
                 struct err *err)
{
  uint8_t buf[8];
  int r;

  if (!range_fits (where, INDEX_POINT_SIZE, index->end))
    return err_set (err, -EIO, "its index has a point at %" PRIu64 ", outside "
                    "of it", where);
  r = fd_pread (index->fd, buf, sizeof buf, where + 8, err);
  if (r < 0)
    return err_in (err, "its index");
  *off = get_le64 (buf);
  return 0;
}
