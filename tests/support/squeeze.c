/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "lib/base/bytes.h"
#include "tests/support/squeeze.h"

#define MUST(condition)                                                 \
  do {                                                                  \
    if (!(condition)) {                                                 \
      fprintf (stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
      abort ();                                                         \
    }                                                                   \
  } while (0)

static uint8_t *
room (struct squeezed *s, size_t n)
{
  if (s->cap - s->len < n) {
    s->cap = (s->len + n) * 2;
    s->data = realloc (s->data, s->cap);
    MUST (s->data != NULL);
  }
  return s->data + s->len;
}

static void
put (struct squeezed *s, const void *bytes, size_t n)
{
  memcpy (room (s, n), bytes, n);
  s->len += n;
}

/*--- lz4 --------------------------------------------------------------------*/

static void
lz4_frame (struct squeezed *s, const uint8_t *data, size_t len,
           const LZ4F_preferences_t *p)
{
  size_t max = LZ4F_compressFrameBound (len, p);
  size_t n = LZ4F_compressFrame (room (s, max), max, data, len, p);

  MUST (!LZ4F_isError (n));
  s->len += n;
}

enum { LZ4_INDEPENDENT, LZ4_LINKED, LZ4_LARGE, LZ4_FRAMES, LZ4_BARE };

static void
run_lz4 (struct squeezed *s, const uint8_t *data, size_t len, int kind)
{
  LZ4F_preferences_t p = {
    .frameInfo.blockSizeID = kind == LZ4_LARGE ? LZ4F_max4MB : LZ4F_max64KB,
    .frameInfo.blockMode = kind == LZ4_LINKED || kind == LZ4_LARGE
      ? LZ4F_blockLinked : LZ4F_blockIndependent,
    .frameInfo.contentChecksumFlag = kind != LZ4_BARE,
    .frameInfo.blockChecksumFlag = kind == LZ4_INDEPENDENT,
    .frameInfo.contentSize = kind == LZ4_LINKED ? len : 0,
    .compressionLevel = kind == LZ4_LARGE ? 9 : 1,
  };
  static const uint8_t skippable[11] = { 0x5A, 0x2A, 0x4D, 0x18, 3 };

  if (kind != LZ4_FRAMES) {
    lz4_frame (s, data, len, &p);
    return;
  }
  for (size_t off = 0; off < len; off += 100000) {
    put (s, skippable, sizeof skippable);
    lz4_frame (s, data + off, len - off < 100000 ? len - off : 100000, &p);
  }
  lz4_frame (s, data, 0, &p);
}

/*--- zstd -------------------------------------------------------------------*/

static void
zstd_frame (struct squeezed *s, const uint8_t *data, size_t len, int level,
            int checksum, int window)
{
  ZSTD_CCtx *ctx = ZSTD_createCCtx ();
  size_t max = ZSTD_compressBound (len), n;

  MUST (ctx != NULL);
  ZSTD_CCtx_setParameter (ctx, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter (ctx, ZSTD_c_checksumFlag, checksum);
  ZSTD_CCtx_setParameter (ctx, ZSTD_c_windowLog, window);
  n = ZSTD_compress2 (ctx, room (s, max), max, data, len);
  MUST (!ZSTD_isError (n));
  s->len += n;
  ZSTD_freeCCtx (ctx);
}

enum {
  ZSTD_ONE, ZSTD_HIGH, ZSTD_FRAMES, ZSTD_SEEKABLE, ZSTD_BARE, ZSTD_NARROW,
  ZSTD_NARROW_HIGH,
};

/* The table at the end that contrib/seekable_format describes. */
static void
run_zstd_seekable (struct squeezed *s, const uint8_t *data, size_t len)
{
  const size_t frame = 70000;
  size_t n = (len + frame - 1) / frame;
  struct squeezed table = { NULL, 0, 0 };
  uint8_t buf[9];

  for (size_t off = 0; off < len; off += frame) {
    size_t before = s->len, now = len - off < frame ? len - off : frame;

    zstd_frame (s, data + off, now, 3, 1, 0);
    put_le32 (buf, (uint32_t) (s->len - before));
    put_le32 (buf + 4, (uint32_t) now);
    put (&table, buf, 8);
  }
  put_le32 (buf, 0x184D2A5E);
  put_le32 (buf + 4, (uint32_t) (8 * n + 9));
  put (s, buf, 8);
  if (n > 0)
    put (s, table.data, table.len);
  put_le32 (buf, (uint32_t) n);
  buf[4] = 0;
  put_le32 (buf + 5, 0x8F92EAB1);
  put (s, buf, 9);
  free (table.data);
}

static void
run_zstd (struct squeezed *s, const uint8_t *data, size_t len, int kind)
{
  if (kind == ZSTD_SEEKABLE)
    run_zstd_seekable (s, data, len);
  else if (kind == ZSTD_FRAMES)
    for (size_t off = 0; off < len; off += 300000)
      zstd_frame (s, data + off, len - off < 300000 ? len - off : 300000, 1,
                  1, 0);
  else                          /* with points in a frame, where narrow */
    zstd_frame (s, data, len, kind == ZSTD_HIGH ? 15
                : kind == ZSTD_NARROW_HIGH ? 18 : 1, kind != ZSTD_BARE,
                kind == ZSTD_NARROW ? 13 : kind == ZSTD_NARROW_HIGH ? 12 : 0);
}

/*--- gzip -------------------------------------------------------------------*/

static void
gzip_member (struct squeezed *s, const uint8_t *data, size_t len, int level,
             bool decorated)
{
  gz_header header = {
    .extra = (Bytef *) "BC\2\0xx", .extra_len = 6, .name = (Bytef *) "disk",
    .comment = (Bytef *) "of a machine", .hcrc = 1,
  };
  z_stream z = { .next_in = (Bytef *) data, .avail_in = (uInt) len };
  size_t max = len + len / 100 + 1000;

  MUST (deflateInit2 (&z, level, Z_DEFLATED, 31, 8, 0) == Z_OK);
  if (decorated)
    MUST (deflateSetHeader (&z, &header) == Z_OK);
  z.next_out = room (s, max);
  z.avail_out = (uInt) max;
  MUST (deflate (&z, Z_FINISH) == Z_STREAM_END);
  s->len += max - z.avail_out;
  deflateEnd (&z);
}

enum { GZIP_FAST, GZIP_BEST, GZIP_STORED, GZIP_MEMBERS, GZIP_SMALL };

static void
run_gzip (struct squeezed *s, const uint8_t *data, size_t len, int kind)
{
  static const int levels[] = { 1, 9, 0, 6, 6 };
  size_t step = kind == GZIP_MEMBERS ? 1234567 : kind == GZIP_SMALL ? 65280
    : len + 1;
  static const uint8_t zeros[1000];

  for (size_t off = 0; off < len || off == 0; off += step)
    gzip_member (s, data + off, len - off < step ? len - off : step,
                 levels[kind], kind >= GZIP_MEMBERS);
  if (kind == GZIP_MEMBERS)
    put (s, zeros, sizeof zeros);
  if (kind == GZIP_SMALL)       /* as bgzip ends */
    gzip_member (s, data, 0, 6, true);
}

/*--- xz ---------------------------------------------------------------------*/

enum { XZ_ONE, XZ_BLOCKS, XZ_STREAMS, XZ_FILTERS, XZ_BARE };

static void
xz_stream (struct squeezed *s, const uint8_t *data, size_t len, int kind)
{
  lzma_options_lzma lzma;
  lzma_options_delta delta = { .type = LZMA_DELTA_TYPE_BYTE, .dist = 4 };
  lzma_filter plain[] = {
    { LZMA_FILTER_LZMA2, &lzma }, { LZMA_VLI_UNKNOWN, NULL },
  };
  lzma_filter several[] = {
    { LZMA_FILTER_X86, NULL }, { LZMA_FILTER_DELTA, &delta },
    { LZMA_FILTER_LZMA2, &lzma }, { LZMA_VLI_UNKNOWN, NULL },
  };
  lzma_stream z = LZMA_STREAM_INIT;
  size_t max = lzma_stream_buffer_bound (len) + len / 100 + 100000;
  lzma_mt mt = {
    .threads = 1, .block_size = 200000, .check = LZMA_CHECK_SHA256,
    .filters = plain,
  };

  MUST (!lzma_lzma_preset (&lzma, 1));
  if (kind == XZ_BLOCKS)
    MUST (lzma_stream_encoder_mt (&z, &mt) == LZMA_OK);
  else
    MUST (lzma_stream_encoder (&z, kind == XZ_FILTERS ? several : plain,
                               kind == XZ_BARE ? LZMA_CHECK_NONE
                               : kind == XZ_ONE ? LZMA_CHECK_CRC64
                               : LZMA_CHECK_CRC32) == LZMA_OK);
  z.next_in = data;
  z.avail_in = len;
  z.next_out = room (s, max);
  z.avail_out = max;
  MUST (lzma_code (&z, LZMA_FINISH) == LZMA_STREAM_END);
  s->len += max - z.avail_out;
  lzma_end (&z);
}

static void
run_xz (struct squeezed *s, const uint8_t *data, size_t len, int kind)
{
  size_t step = kind == XZ_STREAMS ? 400000 : len + 1;

  for (size_t off = 0; off < len || off == 0; off += step) {
    xz_stream (s, data + off, len - off < step ? len - off : step, kind);
    if (kind == XZ_STREAMS)
      put (s, "\0\0\0\0\0\0\0\0", 8);
  }
}

/*--- bzip2 ------------------------------------------------------------------*/

enum { BZIP2_SMALL, BZIP2_LARGE, BZIP2_STREAMS };

static void
run_bzip2 (struct squeezed *s, const uint8_t *data, size_t len, int kind)
{
  size_t step = kind == BZIP2_STREAMS ? 500000 : len + 1;

  for (size_t off = 0; off < len || off == 0; off += step) {
    size_t now = len - off < step ? len - off : step;
    unsigned n = (unsigned) (now + now / 100 + 1000);

    room (s, n);
    MUST (BZ2_bzBuffToBuffCompress ((char *) s->data + s->len, &n,
                                    (char *) data + off, (unsigned) now,
                                    kind == BZIP2_LARGE ? 9 : 1, 0, 0)
          == BZ_OK);
    s->len += n;
  }
}

/*----------------------------------------------------------------------------*/

const struct squeezer squeezers[] = {
  { "lz4", "independent", true, run_lz4, LZ4_INDEPENDENT },
  { "lz4", "linked", true, run_lz4, LZ4_LINKED },
  { "lz4", "large", true, run_lz4, LZ4_LARGE },
  { "lz4", "frames", true, run_lz4, LZ4_FRAMES },
  { "lz4", "bare", false, run_lz4, LZ4_BARE },
  { "zstd", "one", true, run_zstd, ZSTD_ONE },
  { "zstd", "high", true, run_zstd, ZSTD_HIGH },
  { "zstd", "frames", true, run_zstd, ZSTD_FRAMES },
  { "zstd", "seekable", true, run_zstd, ZSTD_SEEKABLE },
  { "zstd", "bare", false, run_zstd, ZSTD_BARE },
  { "zstd", "narrow", true, run_zstd, ZSTD_NARROW },
  { "zstd", "narrow, high", true, run_zstd, ZSTD_NARROW_HIGH },
  { "gzip", "fast", true, run_gzip, GZIP_FAST },
  { "gzip", "best", true, run_gzip, GZIP_BEST },
  { "gzip", "stored", true, run_gzip, GZIP_STORED },
  { "gzip", "members", true, run_gzip, GZIP_MEMBERS },
  { "gzip", "small", true, run_gzip, GZIP_SMALL },
  { "xz", "one", true, run_xz, XZ_ONE },
  { "xz", "blocks", true, run_xz, XZ_BLOCKS },
  { "xz", "streams", true, run_xz, XZ_STREAMS },
  { "xz", "filters", true, run_xz, XZ_FILTERS },
  { "xz", "bare", false, run_xz, XZ_BARE },
  { "bzip2", "small", true, run_bzip2, BZIP2_SMALL },
  { "bzip2", "large", true, run_bzip2, BZIP2_LARGE },
  { "bzip2", "streams", true, run_bzip2, BZIP2_STREAMS },
  { NULL, NULL, false, NULL, 0 },
};

void
squeeze (const struct squeezer *s, const uint8_t *data, size_t len,
         struct squeezed *out)
{
  out->len = 0;
  s->run (out, data, len, s->number);
}

const struct squeezer *
squeezer_find (const char *name, const char *kind)
{
  const struct squeezer *s = squeezers;

  while (strcmp (s->name, name) != 0 || strcmp (s->kind, kind) != 0) {
    ++s;
    MUST (s->name != NULL);
  }
  return s;
}

static uint64_t
next (uint64_t *seed)
{
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

void
squeeze_fill (uint8_t *data, size_t len, uint64_t seed)
{
  size_t off = 0;

  seed = seed * 2 + 1;
  while (off < len) {
    uint64_t r = next (&seed);
    size_t n = (size_t) (r >> 40) % 60000 + 1;

    if (n > len - off)
      n = len - off;
    switch (r % 4) {
    case 0:                     /* now and then a long run of zeros */
      n = r % 8 == 0 ? n * 12 : n;
      n = n > len - off ? len - off : n;
      memset (data + off, 0, n);
      break;
    case 1:
      for (size_t i = 0; i < n; ++i)
        data[off + i] = (uint8_t) next (&seed);
      break;
    default:                    /* words of a small language */
      for (size_t i = 0; i < n; ++i)
        data[off + i] = (uint8_t) "etaoin shrdlu\n01"[next (&seed) >> 20 & 15];
      /* and what was there before */
      if (off > n && r % 4 == 3)
        memcpy (data + off, data + (size_t) next (&seed) % (off - n), n);
    }
    off += n;
  }
}
