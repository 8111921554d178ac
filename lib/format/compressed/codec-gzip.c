/* SPDX-License-Identifier: GPL-2.0-or-later */

/* gzip (RFC 1952): members behind each other, each a header, deflated data and
 * CRC-32 and length of what is in it.  The front of each is a point, and so is
 * each end of a block of deflate (RFC 1951), with the 32 KiB before it: the
 * method of zlib's examples/zran.c.  In BGZF members are small, so that none
 * of the latter are needed.
 *
 * As with gzip(1), zeros may follow the last member.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <zlib.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/codec.h"

#define WINDOW 32768

#define POINT_MEMBER 1
#define POINT_DEFLATE 2

#define FHCRC 2
#define FEXTRA 4
#define FNAME 8
#define FCOMMENT 16
#define RESERVED 0xE0

struct gzip {
  z_stream z;
  bool ready;                   /* z is initialized */
  bool inside;                  /* of a member */
  bool whole;                   /* it was decoded from its front */
  bool boundary;                /* between two blocks */
  uint64_t member;              /* its offset in the file, or where it was
                                   entered */
  uLong crc;                    /* of what was decoded of it */
  uint32_t size;                /* the same, modulo 2^32 */
  uint8_t window[WINDOW];       /* for decoder_point */
};

static bool
gzip_probe (const uint8_t *head, size_t len)
{
  return len >= 4 && head[0] == 0x1F && head[1] == 0x8B && head[2] == 8 &&
    (head[3] & RESERVED) == 0;
}

static int
gzip_begin (struct decoder *d, const struct point *point, struct err *err)
{
  struct gzip *g = d->state;
  int r;

  if (inflateInit2 (&g->z, -15) != Z_OK)
    return err_nomem (err);
  g->ready = true;
  if (point->kind != POINT_DEFLATE)
    return 0;
  g->inside = true;
  g->member = point->in;
  if (point->bit > 0) {
    r = input_need (&d->in, 1, "gzip member", point->in, err);
    if (r < 0)
      return r;
    inflatePrime (&g->z, 8 - point->bit, *input_bytes (&d->in) >> point->bit);
    input_skip (&d->in, 1);
  }
  if (point->window_len > 0 && inflateSetDictionary
      (&g->z, point->window, point->window_len) != Z_OK)
    return err_set (err, -EBADMSG, "its index has a window that zlib does not "
                    "take");
  return 0;
}

static void
gzip_end (struct decoder *d)
{
  struct gzip *g = d->state;

  if (g->ready)
    inflateEnd (&g->z);
}

/*--- Members ----------------------------------------------------------------*/

/* n more bytes of the header, which count for its CRC; *last is the last. */
static int
header_bytes (struct decoder *d, size_t n, uLong *crc, uint8_t *last,
              struct err *err)
{
  const struct gzip *g = d->state;
  int r = input_need (&d->in, n, "header of the gzip member", g->member, err);

  if (r < 0)
    return r;
  *crc = crc32 (*crc, input_bytes (&d->in), (uInt) n);
  if (n > 0)
    *last = input_bytes (&d->in)[n - 1];
  input_skip (&d->in, n);
  return 0;
}

static int
header_string (struct decoder *d, uLong *crc, struct err *err)
{
  uint8_t last;
  int r;

  do
    r = header_bytes (d, 1, crc, &last, err);
  while (r == 0 && last != 0);
  return r;
}

/* Name, comment and the like. */
static int
read_optional (struct decoder *d, uint8_t flags, uLong crc, struct err *err)
{
  const struct gzip *g = d->state;
  uint8_t low = 0, high = 0;
  uint16_t sum;
  int r = 0;

  if (flags & FEXTRA) {
    r = header_bytes (d, 1, &crc, &low, err);
    if (r == 0)
      r = header_bytes (d, 1, &crc, &high, err);
    if (r == 0)
      r = header_bytes (d, low | (size_t) high << 8, &crc, &low, err);
  }
  if (r == 0 && (flags & FNAME))
    r = header_string (d, &crc, err);
  if (r == 0 && (flags & FCOMMENT))
    r = header_string (d, &crc, err);
  if (r < 0 || !(flags & FHCRC))
    return r;
  r = input_need (&d->in, 2, "header of the gzip member", g->member, err);
  if (r < 0)
    return r;
  sum = get_le16 (input_bytes (&d->in));
  input_skip (&d->in, 2);
  if (sum == (uint16_t) crc)
    return 0;
  return err_set (err, -EBADMSG, "the checksum of the header of the gzip "
                  "member at %" PRIu64 " is %04x, computed %04x", g->member,
                  sum, (unsigned) (uint16_t) crc);
}

static int
read_header (struct decoder *d, struct err *err)
{
  const struct gzip *g = d->state;
  const char *what = "header of the gzip member";
  uLong crc = crc32 (0, NULL, 0);
  uint8_t head[10], last;
  int r = input_need (&d->in, 10, what, g->member, err);

  if (r < 0)
    return r;
  memcpy (head, input_bytes (&d->in), 10);
  if (head[0] != 0x1F || head[1] != 0x8B)
    return err_set (err, -EBADMSG, "at %" PRIu64 ", behind a gzip member, is "
                    "no other: it begins with %02x %02x", g->member, head[0],
                    head[1]);
  if (head[2] != 8 || (head[3] & RESERVED))
    return err_set (err, -EBADMSG, "the header of the gzip member at %" PRIu64
                    " has method %d and flags %02x, which mean nothing",
                    g->member, head[2], head[3]);
  r = header_bytes (d, 10, &crc, &last, err);
  return r < 0 ? r : read_optional (d, head[3], crc, err);
}

/* To the end of the file, if there are only zeros. */
static int
skip_zeros (struct decoder *d, bool *end, struct err *err)
{
  uint64_t began = input_off (&d->in);
  size_t have;

  for (;;) {
    int r = input_look (&d->in, 1, &have, err);
    const uint8_t *p = input_bytes (&d->in);

    if (r < 0)
      return r;
    *end = have == 0;
    if (have == 0 || (p[0] != 0 && input_off (&d->in) == began))
      return 0;
    if (p[0] != 0 || memcmp (p, p + 1, have - 1) != 0)
      return err_set (err, -EBADMSG, "behind the zeros at %" PRIu64 ", at the "
                      "end of a gzip member, is something else", began);
    input_skip (&d->in, have);
  }
}

/* At the end of a member, or the front of the file. */
static int
next_member (struct decoder *d, bool *end, struct err *err)
{
  struct gzip *g = d->state;
  int r = skip_zeros (d, end, err);

  if (r < 0 || *end)
    return r;
  g->member = input_off (&d->in);
  r = read_header (d, err);
  if (r < 0)
    return r;
  inflateReset (&g->z);
  g->inside = g->whole = true;
  g->boundary = false;
  g->crc = crc32 (0, NULL, 0);
  g->size = 0;
  if (decoder_wants_point (d, 0)) {
    struct point point = {
      .kind = POINT_MEMBER, .out = d->out, .in = g->member,
    };

    return decoder_point (d, &point, err);
  }
  return 0;
}

static int
end_member (struct decoder *d, struct err *err)
{
  struct gzip *g = d->state;
  uint32_t crc, size;
  int r = input_need (&d->in, 8, "gzip member", g->member, err);

  if (r < 0)
    return r;
  crc = get_le32 (input_bytes (&d->in));
  size = get_le32 (input_bytes (&d->in) + 4);
  input_skip (&d->in, 8);
  g->inside = false;
  if (g->whole && crc != g->crc)
    return err_set (err, -EBADMSG, "the CRC of the gzip member at %" PRIu64
                    " is %08" PRIx32 ", computed %08" PRIx32, g->member, crc,
                    (uint32_t) g->crc);
  if (g->whole && size != g->size)
    return err_set (err, -EBADMSG, "the gzip member at %" PRIu64 " has %"
                    PRIu32 " bytes modulo 2^32, and says that it has %" PRIu32,
                    g->member, g->size, size);
  return 0;
}

/*--- Deflate ----------------------------------------------------------------*/

/* Between two blocks: the bits of the last byte that are not used yet are
 * those of the next.
 */
static int
offer_point (struct decoder *d, struct err *err)
{
  struct gzip *g = d->state;
  unsigned unused = g->z.data_type & 7;
  struct point point = {
    .kind = POINT_DEFLATE, .out = d->out,
    .in = input_off (&d->in) - (unused > 0),
    .bit = (uint8_t) ((8 - unused) % 8),
    .window = g->window,
  };
  uInt len = 0;

  if (!decoder_wants_point (d, WINDOW))
    return 0;
  if (inflateGetDictionary (&g->z, g->window, &len) != Z_OK)
    return err_nomem (err);
  point.window_len = len;
  return decoder_point (d, &point, err);
}

static int
inflate_some (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
              struct err *err)
{
  struct gzip *g = d->state;
  size_t have;
  int r = input_look (&d->in, 1, &have, err), code;

  if (r < 0)
    return r;
  g->z.next_in = (Bytef *) input_bytes (&d->in);
  g->z.avail_in = (uInt) have;
  g->z.next_out = buf;
  g->z.avail_out = (uInt) len;
  code = inflate (&g->z, d->on_point ? Z_BLOCK : Z_NO_FLUSH);
  input_skip (&d->in, have - g->z.avail_in);
  *got = len - g->z.avail_out;
  if (code == Z_MEM_ERROR)
    return err_nomem (err);
  if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
    return err_set (err, -EBADMSG, "the gzip member at %" PRIu64 " is damaged "
                    "before %" PRIu64 ": %s", g->member, input_off (&d->in),
                    g->z.msg ? g->z.msg : "zlib does not say how");
  if (have == 0 && *got == 0 && code != Z_STREAM_END)
    return input_truncated (&d->in, "gzip member", g->member, err);
  if (g->whole) {
    g->crc = crc32 (g->crc, buf, (uInt) *got);
    g->size += (uint32_t) *got;
  }
  g->boundary = (g->z.data_type & 128) && !(g->z.data_type & 64);
  return code == Z_STREAM_END ? end_member (d, err) : 0;
}

static int
gzip_decode (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
             struct err *err)
{
  struct gzip *g = d->state;
  bool end = false;
  int r = 0;

  *got = 0;
  if (len > INPUT_SIZE * 1024)
    len = INPUT_SIZE * 1024;
  while (r == 0 && !end && *got == 0) {
    if (!g->inside) {
      r = next_member (d, &end, err);
      continue;
    }
    if (g->boundary && d->on_point)
      r = offer_point (d, err);
    if (r == 0)
      r = inflate_some (d, buf, len, got, err);
  }
  return r;
}

const struct codec gzip_codec = {
  .name = "gzip",
  .state_size = sizeof (struct gzip),
  .probe = gzip_probe,
  .begin = gzip_begin,
  .decode = gzip_decode,
  .end = gzip_end,
};
