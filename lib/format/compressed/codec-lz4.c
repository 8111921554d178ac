/* SPDX-License-Identifier: GPL-2.0-or-later */

/* LZ4 frames (the LZ4 frame format, 1.6.2): a descriptor, blocks of at most
 * 4 MiB each with its length, and an end mark.  Where blocks are independent
 * each is a point; where they are linked, with the 64 KiB before it.
 *
 * A point inside a frame has FLG and BD of its descriptor in param.  What is
 * said of the frame as a whole, its size and checksum, is looked at by who has
 * decoded all of it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <xxhash.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/codec.h"
#include "lib/format/compressed/skippable.h"

#define MAGIC 0x184D2204
#define HISTORY (64 * 1024)
#define UNCOMPRESSED 0x80000000

#define FLG_VERSION 0xC0
#define FLG_INDEPENDENT 0x20
#define FLG_BLOCK_CHECKSUM 0x10
#define FLG_CONTENT_SIZE 0x08
#define FLG_CONTENT_CHECKSUM 0x04
#define FLG_RESERVED 0x02
#define FLG_DICTIONARY 0x01
#define BD_RESERVED 0x8F

#define POINT_BLOCK 1

struct lz4 {
  bool inside;                  /* of a frame */
  bool whole;                   /* it was decoded from its front */
  uint8_t flg, bd;
  uint64_t frame;               /* its offset in the file, or where it was
                                   entered */
  uint64_t content_size;        /* as stated */
  uint64_t content;             /* of it, decoded */
  XXH32_state_t *hash;

  uint32_t block_max;           /* bytes; what there is room for */
  uint8_t *stored;              /* block_max */
  uint8_t *room;                /* HISTORY + block_max: what was before ends
                                   where the block begins */
  size_t history;               /* bytes of it */
  size_t pos, len;              /* of the block, what was given away; all */
};

static bool
lz4_probe (const uint8_t *head, size_t len)
{
  return first_magic (head, len) == MAGIC;
}

/*--- Frames -----------------------------------------------------------------*/

static int
make_room (struct lz4 *z, struct err *err)
{
  uint32_t max = UINT32_C (1) << (8 + 2 * (z->bd >> 4 & 7));

  z->history = z->pos = z->len = 0;
  if (z->block_max == max)
    return 0;
  free (z->stored);
  free (z->room);
  z->stored = malloc (max);
  z->room = malloc (HISTORY + max);
  z->block_max = max;
  return z->stored && z->room ? 0 : err_nomem (err);
}

static int
check_descriptor (const struct lz4 *z, struct err *err)
{
  if ((z->flg & FLG_VERSION) != 0x40)
    return err_set (err, -ENOTSUP, "the lz4 frame at %" PRIu64 " is of "
                    "version %d, expected 1", z->frame, z->flg >> 6);
  if ((z->flg & FLG_RESERVED) || (z->bd & BD_RESERVED) || z->bd >> 4 < 4)
    return err_set (err, -EBADMSG, "the descriptor of the lz4 frame at %"
                    PRIu64 " has FLG %02x and BD %02x, which mean nothing",
                    z->frame, z->flg, z->bd);
  if (z->flg & FLG_DICTIONARY)
    return err_set (err, -ENOTSUP, "the lz4 frame at %" PRIu64 " needs a "
                    "dictionary", z->frame);
  return 0;
}

static int
read_descriptor (struct decoder *d, struct err *err)
{
  struct lz4 *z = d->state;
  const uint8_t *p;
  uint8_t sum;
  size_t len;
  int r = input_need (&d->in, 7, "lz4 frame", z->frame, err);

  if (r < 0)
    return r;
  z->flg = input_bytes (&d->in)[4];
  z->bd = input_bytes (&d->in)[5];
  r = check_descriptor (z, err);
  len = 6 + (z->flg & FLG_CONTENT_SIZE ? 8 : 0);
  if (r == 0)
    r = input_need (&d->in, len + 1, "lz4 frame", z->frame, err);
  if (r < 0)
    return r;
  p = input_bytes (&d->in);
  sum = (uint8_t) (XXH32 (p + 4, len - 4, 0) >> 8);
  if (p[len] != sum)
    return err_set (err, -EBADMSG, "the checksum of the descriptor of the lz4 "
                    "frame at %" PRIu64 " is %02x, computed %02x", z->frame,
                    p[len], sum);
  if (z->flg & FLG_CONTENT_SIZE)
    z->content_size = get_le64 (p + 6);
  input_skip (&d->in, len + 1);
  return make_room (z, err);
}

/* At the end of a frame, or the front of the file. */
static int
next_frame (struct decoder *d, bool *end, struct err *err)
{
  struct lz4 *z = d->state;
  uint32_t magic;
  int r = input_next_frame (&d->in, "lz4", &magic, end, err);

  if (r < 0 || *end)
    return r;
  z->frame = input_off (&d->in);
  if (magic != MAGIC)
    return err_set (err, -EBADMSG, "at %" PRIu64 ", behind an lz4 frame, is "
                    "no other: its magic number is %08" PRIx32, z->frame,
                    magic);
  z->inside = z->whole = true;
  z->content = 0;
  XXH32_reset (z->hash, 0);
  return read_descriptor (d, err);
}

/* Behind the last block. */
static int
end_frame (struct decoder *d, struct err *err)
{
  struct lz4 *z = d->state;
  uint32_t stored, sum = XXH32_digest (z->hash);
  int r;

  z->inside = false;
  if (z->whole && (z->flg & FLG_CONTENT_SIZE) && z->content != z->content_size)
    return err_set (err, -EBADMSG, "the lz4 frame at %" PRIu64 " has %" PRIu64
                    " bytes, and says that it has %" PRIu64, z->frame,
                    z->content, z->content_size);
  if (!(z->flg & FLG_CONTENT_CHECKSUM))
    return 0;
  r = input_need (&d->in, 4, "lz4 frame", z->frame, err);
  if (r < 0)
    return r;
  stored = get_le32 (input_bytes (&d->in));
  input_skip (&d->in, 4);
  if (z->whole && stored != sum)
    return err_set (err, -EBADMSG, "the checksum of the lz4 frame at %" PRIu64
                    " is %08" PRIx32 ", computed %08" PRIx32, z->frame,
                    stored, sum);
  return 0;
}

/*--- Blocks -----------------------------------------------------------------*/

/* What was decoded last moves in front of where the next block goes. */
static void
keep_history (struct lz4 *z)
{
  size_t all = z->history + z->len;
  size_t keep = all < HISTORY ? all : HISTORY;

  if (z->flg & FLG_INDEPENDENT)
    keep = 0;
  memmove (z->room + HISTORY - keep, z->room + HISTORY + z->len - keep, keep);
  z->history = keep;
  z->pos = z->len = 0;
}

static int
check_block (const struct lz4 *z, uint64_t off, size_t len, uint32_t stored,
             struct err *err)
{
  uint32_t sum = XXH32 (z->stored, len, 0);

  if (stored == sum)
    return 0;
  return err_set (err, -EBADMSG, "the checksum of the lz4 block at %" PRIu64
                  " is %08" PRIx32 ", computed %08" PRIx32, off, stored, sum);
}

/* The block at off, whose length was read. */
static int
read_block (struct decoder *d, uint64_t off, uint32_t header, struct err *err)
{
  struct lz4 *z = d->state;
  uint32_t len = header & ~UNCOMPRESSED;
  uint8_t *to = z->room + HISTORY;
  uint8_t sum[4];
  int r, n;

  if (len > z->block_max)
    return err_set (err, -EBADMSG, "the lz4 block at %" PRIu64 " says that it "
                    "has %" PRIu32 " bytes, more than the %" PRIu32 " of the "
                    "largest", off, len, z->block_max);
  r = input_copy (&d->in, z->stored, len, "lz4 block", off, err);
  if (r == 0 && (z->flg & FLG_BLOCK_CHECKSUM)) {
    r = input_copy (&d->in, sum, sizeof sum, "lz4 block", off, err);
    if (r == 0)
      r = check_block (z, off, len, get_le32 (sum), err);
  }
  if (r < 0)
    return r;
  if (header & UNCOMPRESSED) {
    memcpy (to, z->stored, len);
    n = (int) len;
  }
  else
    n = LZ4_decompress_safe_usingDict ((const char *) z->stored, (char *) to,
                                       (int) len, (int) z->block_max,
                                       (char *) to - z->history,
                                       (int) z->history);
  if (n < 0)
    return err_set (err, -EBADMSG, "the lz4 block at %" PRIu64 " can't be "
                    "decoded", off);
  z->len = (size_t) n;
  z->content += z->len;
  if (z->whole && (z->flg & FLG_CONTENT_CHECKSUM))
    XXH32_update (z->hash, to, z->len);
  return 0;
}

static int
offer_point (struct decoder *d, uint64_t off, struct err *err)
{
  struct lz4 *z = d->state;
  struct point point = {
    .kind = POINT_BLOCK, .out = d->out,
    .in = off,
    .param = z->flg | (uint32_t) z->bd << 8,
    .window = z->room + HISTORY - z->history,
    .window_len = (uint32_t) z->history,
  };

  return decoder_wants_point (d, point.window_len)
    ? decoder_point (d, &point, err) : 0;
}

/* Inside a frame: its next block, or its end. */
static int
next_block (struct decoder *d, struct err *err)
{
  struct lz4 *z = d->state;
  uint64_t off = input_off (&d->in);
  uint32_t header;
  int r = input_need (&d->in, 4, "lz4 frame", z->frame, err);

  if (r < 0)
    return r;
  header = get_le32 (input_bytes (&d->in));
  keep_history (z);
  if (header != 0)
    r = offer_point (d, off, err);
  if (r < 0)
    return r;
  input_skip (&d->in, 4);
  return header != 0 ? read_block (d, off, header, err) : end_frame (d, err);
}

/*----------------------------------------------------------------------------*/

static int
lz4_begin (struct decoder *d, const struct point *point, struct err *err)
{
  struct lz4 *z = d->state;
  int r;

  z->hash = XXH32_createState ();
  if (z->hash == NULL)
    return err_nomem (err);
  if (point->kind == POINT_START)
    return 0;
  z->inside = true;
  z->frame = point->in;
  z->flg = (uint8_t) point->param;
  z->bd = (uint8_t) (point->param >> 8);
  r = check_descriptor (z, err);
  if (r == 0)
    r = make_room (z, err);
  if (r < 0)
    return r;
  if (point->window_len > HISTORY)
    return err_set (err, -EBADMSG, "its index has a window of %" PRIu32
                    " bytes for lz4", point->window_len);
  z->history = point->window_len;
  if (z->history > 0)
    memcpy (z->room + HISTORY - z->history, point->window, z->history);
  return 0;
}

static void
lz4_end (struct decoder *d)
{
  struct lz4 *z = d->state;

  XXH32_freeState (z->hash);
  free (z->stored);
  free (z->room);
}

static int
lz4_decode (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
            struct err *err)
{
  struct lz4 *z = d->state;
  bool end = false;

  while (z->pos == z->len) {
    int r = z->inside ? next_block (d, err) : next_frame (d, &end, err);

    if (r < 0)
      return r;
    if (end) {
      *got = 0;
      return 0;
    }
  }
  *got = z->len - z->pos < len ? z->len - z->pos : len;
  memcpy (buf, z->room + HISTORY + z->pos, *got);
  z->pos += *got;
  return 0;
}

const struct codec lz4_codec = {
  .name = "lz4",
  .state_size = sizeof (struct lz4),
  .probe = lz4_probe,
  .begin = lz4_begin,
  .decode = lz4_decode,
  .end = lz4_end,
};
