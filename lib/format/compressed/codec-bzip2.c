/* SPDX-License-Identifier: GPL-2.0-or-later */

/* bzip2: streams behind each other, each "BZh" and the size of its blocks,
 * blocks that begin at any bit, and an end with a checksum over those of the
 * blocks.  There is no table and no length: a block ends where the next magic
 * number of 48 bits is, that of a block or of the end.  Each is a point, with
 * the digit of its stream as param.
 *
 * libbz2 decodes streams only, so it gets each block as a stream of its own:
 *
 *   "BZh9" | the block, moved to a whole byte | end, checksum of the block
 *
 * In the bits of a block the magic number can occur by chance, once in
 * 2^48 bits.  Then libbz2 wants to read on without having decoded anything, and
 * gets the block up to the next one.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <bzlib.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/codec.h"

#define POINT_BLOCK 1

#define BLOCK_MAGIC UINT64_C (0x314159265359)
#define END_MAGIC UINT64_C (0x177245385090)
#define MAGIC_MASK UINT64_C (0xFFFFFFFFFFFF)

/* 900,001 symbols of at most 20 bits, and the tables before them. */
#define MAX_STORED (2560 * 1024)
#define MIN_BITS 80             /* of a block: its magic and checksum */

struct bzip2 {
  bool inside;                  /* of a stream */
  bool whole;                   /* it was decoded from its front */
  bool decoding;                /* a block: bz is initialized */
  uint8_t digit;                /* '1' to '9' */
  uint64_t stream;              /* its offset in the file, or where it was
                                   entered */
  uint32_t sum;                 /* of the checksums of its blocks */

  /* Where the next block, or the end, begins. */
  uint64_t off;
  unsigned bit;                 /* from the highest on */

  bz_stream bz;
  uint64_t got;                 /* of this block, decoded bytes */
  uint32_t crc;                 /* of this block, as stored */
  size_t stored_bits;           /* of it, from bit on; to the next magic */
  uint8_t *stored;              /* MAX_STORED, from off on */
  size_t stored_len;            /* bytes of it that were read */
  uint8_t *packed;              /* what libbz2 gets */
};

static bool
bzip2_probe (const uint8_t *head, size_t len)
{
  static const uint8_t block[6] = { 0x31, 0x41, 0x59, 0x26, 0x53, 0x59 };
  static const uint8_t end[6] = { 0x17, 0x72, 0x45, 0x38, 0x50, 0x90 };
  size_t n = len < 10 ? len : 10;

  return n >= 4 && memcmp (head, "BZh", 3) == 0 && head[3] >= '1' &&
    head[3] <= '9' && (memcmp (head + 4, block, n - 4) == 0 ||
                       memcmp (head + 4, end, n - 4) == 0);
}

static int
bzip2_begin (struct decoder *d, const struct point *point, struct err *err)
{
  struct bzip2 *b = d->state;

  b->stored = malloc (MAX_STORED);
  b->packed = malloc (MAX_STORED + 32);
  if (b->stored == NULL || b->packed == NULL)
    return err_nomem (err);
  b->off = b->stream = point->in;
  if (point->kind != POINT_BLOCK)
    return 0;
  b->inside = true;
  b->bit = point->bit;
  b->digit = (uint8_t) point->param;
  if (b->digit < '1' || b->digit > '9' || b->bit > 7)
    return err_set (err, -EBADMSG, "its index has a point that is none of "
                    "bzip2");
  return 0;
}

static void
bzip2_end (struct decoder *d)
{
  struct bzip2 *b = d->state;

  if (b->decoding)
    BZ2_bzDecompressEnd (&b->bz);
  free (b->stored);
  free (b->packed);
}

static int
truncated (const struct decoder *d, struct err *err)
{
  const struct bzip2 *b = d->state;

  return b->inside
    ? input_truncated (&d->in, "bzip2 block", b->off, err)
    : input_truncated (&d->in, "bzip2 stream", b->stream, err);
}

/*--- Bits -------------------------------------------------------------------*/

/* n bits, at most 56, from the bit on. */
static uint64_t
get_bits (const uint8_t *buf, uint64_t bit, unsigned n)
{
  uint64_t v = 0;

  for (uint64_t i = bit / 8; i <= (bit + n - 1) / 8; ++i)
    v = v << 8 | buf[i];
  v >>= 7 - (bit + n - 1) % 8;
  return v & ((UINT64_C (1) << n) - 1);
}

/* Put n bits behind those that are there, which the rest of their byte is 0
 * of.
 */
static void
put_bits (uint8_t *buf, uint64_t *bit, uint64_t v, unsigned n)
{
  while (n > 0) {
    unsigned room = 8 - (unsigned) (*bit % 8), now = n < room ? n : room;
    uint8_t part = (uint8_t) (v >> (n - now) & ((1U << now) - 1));

    if (room == 8)
      buf[*bit / 8] = 0;
    buf[*bit / 8] |= (uint8_t) (part << (room - now));
    *bit += now;
    n -= now;
  }
}

/* The first magic number that begins at bit `from' or behind, with all its bits
 * before byte len; its bit, or 0.  The scan begins a little before `at', where
 * an earlier one ended.
 */
static size_t
find_magic (const uint8_t *buf, size_t len, size_t from, size_t at)
{
  uint64_t w = 0;
  size_t i = from / 8;

  if (at > i + 8)
    i = at - 8;
  for (size_t seen = 0; i < len; ++i) {
    w = w << 8 | buf[i];
    if (++seen < 6)
      continue;
    for (unsigned shift = 8; shift-- > 0;) {
      uint64_t v = w >> shift & MAGIC_MASK;
      size_t start = 8 * (i + 1) - shift - 48;

      if ((v == BLOCK_MAGIC || v == END_MAGIC) && start >= from &&
          8 * seen >= 48 + shift)
        return start;
    }
  }
  return 0;
}

/*--- Streams ----------------------------------------------------------------*/

/* At the end of a stream, or the front of the file. */
static int
next_stream (struct decoder *d, bool *end, struct err *err)
{
  struct bzip2 *b = d->state;
  const uint8_t *p;
  size_t have;
  int r;

  input_seek (&d->in, b->off);
  r = input_look (&d->in, 4, &have, err);
  if (r < 0)
    return r;
  *end = have == 0;
  if (have == 0)
    return 0;
  p = input_bytes (&d->in);
  b->stream = b->off;
  if (memcmp (p, "BZh", have < 3 ? have : 3) != 0 ||
      (have > 3 && (p[3] < '1' || p[3] > '9')))
    return err_set (err, -EBADMSG, "at %" PRIu64 ", behind a bzip2 stream, is "
                    "no other", b->off);
  if (have < 4)
    return truncated (d, err);
  b->digit = p[3];
  b->inside = b->whole = true;
  b->off += 4;
  b->bit = 0;
  b->sum = 0;
  return 0;
}

static int
end_stream (struct decoder *d, uint32_t stored, struct err *err)
{
  struct bzip2 *b = d->state;

  b->off += (b->bit + MIN_BITS + 7) / 8;
  b->bit = 0;
  b->inside = false;
  if (!b->whole || stored == b->sum)
    return 0;
  return err_set (err, -EBADMSG, "the checksum of the bzip2 stream at %" PRIu64
                  " is %08" PRIx32 ", computed %08" PRIx32, b->stream, stored,
                  b->sum);
}

/*--- Blocks -----------------------------------------------------------------*/

/* Read until there is a magic number at bit `from' of the stored bytes or
 * behind.
 */
static int
load_block (struct decoder *d, size_t from, struct err *err)
{
  struct bzip2 *b = d->state;
  size_t at = 0, end;

  while ((end = find_magic (b->stored, b->stored_len, from, at)) == 0) {
    size_t have, room = MAX_STORED - b->stored_len;
    int r;

    at = b->stored_len;
    input_seek (&d->in, b->off + at);
    r = input_look (&d->in, 1, &have, err);
    if (r < 0)
      return r;
    if (have == 0)
      return truncated (d, err);
    if (room == 0)
      return err_set (err, -EBADMSG, "the bzip2 block at %" PRIu64 " has no "
                      "end within %d bytes", b->off, MAX_STORED);
    if (have > room)
      have = room;
    memcpy (b->stored + at, input_bytes (&d->in), have);
    b->stored_len += have;
  }
  b->stored_bits = end - b->bit;
  return 0;
}

/* Make the stream that libbz2 gets; its length in bytes. */
static size_t
pack_block (struct bzip2 *b)
{
  uint64_t bit = 8 * (4 + b->stored_bits / 8);
  size_t whole = b->stored_bits / 8, rest = b->stored_bits % 8;
  const uint8_t *p = b->stored;

  memcpy (b->packed, "BZh", 3);
  b->packed[3] = b->digit;
  for (size_t i = 0; i < whole; ++i)
    b->packed[4 + i] = (uint8_t) (p[i] << b->bit |
                                  (b->bit ? p[i + 1] >> (8 - b->bit) : 0));
  if (rest > 0)
    put_bits (b->packed, &bit, get_bits (p, b->bit + 8 * whole,
                                         (unsigned) rest), (unsigned) rest);
  put_bits (b->packed, &bit, END_MAGIC, 48);
  put_bits (b->packed, &bit, b->crc, 32);
  return (size_t) (bit + 7) / 8;
}

static int
start_decoding (struct decoder *d, struct err *err)
{
  struct bzip2 *b = d->state;

  if (b->decoding)
    BZ2_bzDecompressEnd (&b->bz);
  memset (&b->bz, 0, sizeof b->bz);
  b->decoding = false;
  if (BZ2_bzDecompressInit (&b->bz, 0, 0) != BZ_OK)
    return err_nomem (err);
  b->decoding = true;
  b->got = 0;
  b->bz.avail_in = (unsigned) pack_block (b);
  b->bz.next_in = (char *) b->packed;
  return 0;
}

static int
start_block (struct decoder *d, struct err *err)
{
  struct bzip2 *b = d->state;
  int r = load_block (d, b->bit + MIN_BITS, err);

  return r < 0 ? r : start_decoding (d, err);
}

/* At a block, or the end of the stream. */
static int
next_block (struct decoder *d, struct err *err)
{
  struct bzip2 *b = d->state;
  const uint8_t *p;
  uint64_t found;
  size_t have;
  int r;

  input_seek (&d->in, b->off);
  r = input_look (&d->in, 11, &have, err);
  if (r < 0)
    return r;
  if (8 * have < b->bit + MIN_BITS)
    return truncated (d, err);
  p = input_bytes (&d->in);
  found = get_bits (p, b->bit, 48);
  b->crc = (uint32_t) get_bits (p, b->bit + 48, 32);
  if (found == END_MAGIC)
    return end_stream (d, b->crc, err);
  if (found != BLOCK_MAGIC)
    return err_set (err, -EBADMSG, "at bit %u of %" PRIu64 ", in the bzip2 "
                    "stream at %" PRIu64 ", is neither a block nor its end",
                    b->bit, b->off, b->stream);
  if (decoder_wants_point (d, 0)) {
    struct point point = {
      .kind = POINT_BLOCK, .out = d->out, .in = b->off, .bit = (uint8_t) b->bit,
      .param = b->digit,
    };

    r = decoder_point (d, &point, err);
    if (r < 0)
      return r;
  }
  b->stored_len = 0;
  return start_block (d, err);
}

static void
end_block (struct bzip2 *b)
{
  uint64_t next = b->bit + b->stored_bits;

  BZ2_bzDecompressEnd (&b->bz);
  b->decoding = false;
  b->sum = (b->sum << 1 | b->sum >> 31) ^ b->crc;
  b->off += next / 8;
  b->bit = (unsigned) (next % 8);
}

static int
decode_block (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
              struct err *err)
{
  struct bzip2 *b = d->state;
  int code, r;

  b->bz.next_out = (char *) buf;
  b->bz.avail_out = (unsigned) (len < INPUT_SIZE ? len : INPUT_SIZE);
  *got = b->bz.avail_out;
  code = BZ2_bzDecompress (&b->bz);
  *got -= b->bz.avail_out;
  b->got += *got;
  if (code == BZ_STREAM_END) {
    end_block (b);
    return 0;
  }
  if (code == BZ_MEM_ERROR)
    return err_nomem (err);
  if (code == BZ_OK && *got > 0)
    return 0;
  if (b->got > 0 || code != BZ_OK)
    return err_set (err, -EBADMSG, "the bzip2 block at bit %u of %" PRIu64
                    " is damaged", b->bit, b->off);
  /* The magic number was one by chance. */
  r = load_block (d, b->bit + b->stored_bits + 1, err);
  return r < 0 ? r : start_decoding (d, err);
}

static int
bzip2_decode (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
              struct err *err)
{
  struct bzip2 *b = d->state;
  bool end = false;
  int r = 0;

  *got = 0;
  while (r == 0 && !end && *got == 0)
    r = b->decoding ? decode_block (d, buf, len, got, err)
      : b->inside ? next_block (d, err)
      : next_stream (d, &end, err);
  return r;
}

const struct codec bzip2_codec = {
  .name = "bzip2",
  .state_size = sizeof (struct bzip2),
  .probe = bzip2_probe,
  .begin = bzip2_begin,
  .decode = bzip2_decode,
  .end = bzip2_end,
};
