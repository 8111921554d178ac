/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Compressed files and their indexes.  The first byte says which:
 *
 *   0   a compressed file: all of it is decoded, and again from each point
 *   1   an index: opened with its checksums made right, and a file of noise
 *       decoded from the points in it
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/block/memory.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/compressed/index.h"
#include "tests/fuzz/fuzz.h"

#define MOST (4 * 1024 * 1024)  /* decoded bytes */
#define MAX_POINTS 16

/*--- A compressed file ------------------------------------------------------*/

struct points {
  struct point p[MAX_POINTS];
  size_t n;
};

static int
keep_point (void *opaque, const struct point *point, struct err *err)
{
  struct points *points = opaque;
  struct point p = *point;
  uint8_t *window = malloc (p.window_len + 1);

  (void) err;
  must (p.window_len <= CODEC_MAX_WINDOW && p.bit < 8 && window != NULL);
  if (points->n == MAX_POINTS) {
    free (window);
    return 0;
  }
  if (p.window_len > 0)
    memcpy (window, p.window, p.window_len);
  p.window = window;
  points->p[points->n++] = p;
  return 0;
}

/* All that can be, up to MOST; *whole: that was all there is. */
static size_t
decode (const struct codec *codec, struct block *file,
        const struct point *point, uint8_t *buf, size_t len,
        struct points *points, bool *whole)
{
  struct decoder *d = NULL;
  struct err err = ERR_INIT;
  size_t done = 0, got = 1;
  int r = decoder_new (codec, file, point, &d, &err);

  if (r == 0) {
    d->on_point = points ? keep_point : NULL;
    d->opaque = points;
  }
  while (r == 0 && got > 0 && done < len) {
    size_t now = len - done < 50000 ? len - done : 50000;

    r = decoder_read (d, buf + done, now, &got, &err);
    if (r == 0)
      done += got;
  }
  if (r < 0)
    fuzz_check_err (r, &err);
  *whole = r == 0 && got == 0;
  decoder_free (d);
  return done;
}

/* What was decoded, through the block. */
static void
check_block (const struct codec *codec, struct block *file,
             const uint8_t *expected, size_t len)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_FREE uint8_t *buf = malloc (70000);
  struct err err = ERR_INIT;

  must (buf != NULL);
  must (compressed_open (file, codec, NULL, &b, NULL, &err) == 0);
  must (block_size (b) == len);
  for (size_t end = len; end > 0;) {
    size_t n = end < 70000 ? end : 70000;

    end -= n;
    must (block_pread (b, buf, n, end, &err) == 0);
    must (memcmp (buf, expected + end, n) == 0);
  }
  fuzz_disk (b);
}

static void
fuzz_file (const uint8_t *data, size_t len)
{
  const struct point front = { .kind = POINT_START };
  const struct codec *codec = compressed_recognise (data, len);
  CLEANUP_BLOCK struct block *file = NULL;
  CLEANUP_FREE uint8_t *all = NULL, *again = NULL;
  struct points points = { .n = 0 };
  bool whole, ignored;
  size_t n;

  if (codec == NULL)
    return;
  all = malloc (MOST);
  again = malloc (MOST);
  must (all != NULL && again != NULL);
  must (block_memory_new ("fuzz", data, len, &file, NULL) == 0);
  n = decode (codec, file, &front, all, MOST, &points, &whole);
  for (size_t i = 0; i < points.n; ++i) {
    size_t from = (size_t) points.p[i].out, m;

    must (from <= n);
    m = decode (codec, file, &points.p[i], again, n - from, NULL, &ignored);
    /* Who has seen all of a member knows more of what is wrong. */
    must (m >= n - from || !whole);
    must (memcmp (all + from, again, m < n - from ? m : n - from) == 0);
    free ((void *) points.p[i].window);
  }
  if (whole)
    check_block (codec, file, all, n);
}

/*--- An index ---------------------------------------------------------------*/

static void
decode_from (const struct codec *codec, const struct point *point)
{
  static uint8_t noise[5000], buf[100000];
  CLEANUP_BLOCK struct block *file = NULL;
  struct point p = *point;
  bool ignored;

  for (size_t i = 0; i < sizeof noise; ++i)
    noise[i] = (uint8_t) (i * i >> 3);
  p.in %= sizeof noise;
  must (block_memory_new ("noise", noise, sizeof noise, &file, NULL) == 0);
  decode (codec, file, &p, buf, sizeof buf, NULL, &ignored);
}

static void
use_index (const struct index *index)
{
  uint64_t nr = index_size (index) / INDEX_PIECE_SIZE;
  struct err err = ERR_INIT;

  for (uint64_t i = 0; i < nr && i < 50; ++i) {
    CLEANUP_FREE uint8_t *window = NULL;
    struct index_piece piece;
    struct point point;
    int r = index_pieces (index, i, 1, &piece, &err);

    if (r == 0)
      r = index_point (index, piece.point, &point, &window, &err);
    /* Each structure has a checksum of its own. */
    if (r < 0)
      must (r == -EIO && err.code == r && err.msg[0] != '\0');
    else
      decode_from (index_codec (index), &point);
  }
}

static void
fuzz_index (const uint8_t *data, size_t len)
{
  CLEANUP_FREE uint8_t *copy = malloc (len + 1);
  struct fingerprint fp;
  struct index *index = NULL;
  struct err err = ERR_INIT;
  int fd = memfd_create ("fuzz", MFD_CLOEXEC), r;

  must (copy != NULL && fd >= 0);
  memcpy (copy, data, len);
  if (len >= INDEX_HEADER_SIZE) {
    put_le64 (copy + 112, XXH3_64bits (copy + INDEX_HEADER_SIZE,
                                       len - INDEX_HEADER_SIZE));
    put_le64 (copy + 120, XXH3_64bits (copy, 120));
    fp = (struct fingerprint) {
      .size = get_le64 (copy + 32), .inode = get_le64 (copy + 40),
      .mtime = (int64_t) get_le64 (copy + 48), .mtime_ns = get_le32
      (copy + 56), .is_file = get_le32 (copy + 60) != 0,
      .head = get_le64 (copy + 64), .tail = get_le64 (copy + 72),
    };
  }
  else
    memset (&fp, 0, sizeof fp);
  must (fd_pwrite (fd, copy, len, 0, &err) == 0);
  r = index_open (fd, &fp, &index, &err);
  if (r < 0) {
    fuzz_check_err (r, &err);
    close (fd);
    return;
  }
  use_index (index);
  index_close (index);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  if (len == 0)
    return 0;
  if (data[0] % 2 == 0)
    fuzz_file (data + 1, len - 1);
  else
    fuzz_index (data + 1, len - 1);
  return 0;
}
