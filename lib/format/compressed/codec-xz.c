/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The .xz file format, 1.1.0: streams of a header, blocks, an index and a
 * footer, perhaps with padding behind.  Each block is a point; its param is
 * the check of the stream.
 *
 * The index is not needed to find the blocks, as all are passed once; it is
 * verified against them as liblzma's own decoder of streams does, in a little
 * memory however many there are.  Who enters a stream at a block does not
 * know those before, and passes the index.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <lzma.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/codec.h"

#define POINT_BLOCK 1

enum phase { STREAM_HEADER, BLOCK_HEADER, BLOCK };

struct xz {
  enum phase phase;
  bool whole;                   /* this stream was decoded from its front */
  bool later;                   /* there was a stream before */
  uint64_t stream, block_off;   /* offsets in the file */
  lzma_stream lzma;
  lzma_stream_flags flags;
  lzma_index_hash *hash;
  lzma_block block;
  lzma_filter filters[LZMA_FILTERS_MAX + 1];
};

static const uint8_t magic[6] = { 0xFD, '7', 'z', 'X', 'Z', 0 };

static bool
xz_probe (const uint8_t *head, size_t len)
{
  return len >= sizeof magic && memcmp (head, magic, sizeof magic) == 0;
}

static int
refuse (const struct decoder *d, const char *what, uint64_t off, lzma_ret code,
        struct err *err)
{
  switch (code) {
  case LZMA_MEM_ERROR:
    return err_nomem (err);
  case LZMA_OPTIONS_ERROR:
  case LZMA_UNSUPPORTED_CHECK:
    return err_set (err, -ENOTSUP, "the %s at %" PRIu64 " needs something "
                    "that liblzma does not have", what, off);
  default:
    return err_set (err, -EBADMSG, "the %s at %" PRIu64 " is damaged before %"
                    PRIu64, what, off, input_off (&d->in));
  }
}

static int
xz_begin (struct decoder *d, const struct point *point, struct err *err)
{
  struct xz *x = d->state;

  (void) err;
  x->lzma = (lzma_stream) LZMA_STREAM_INIT;
  if (point->kind == POINT_BLOCK) {
    x->phase = BLOCK_HEADER;
    x->later = true;
    x->flags.check = (lzma_check) point->param;
  }
  return 0;
}

static void
xz_end (struct decoder *d)
{
  struct xz *x = d->state;

  lzma_end (&x->lzma);
  lzma_index_hash_end (x->hash, NULL);
}

/*--- Streams ----------------------------------------------------------------*/

/* Four zeros at a time may be between streams and behind the last. */
static int
skip_padding (struct decoder *d, bool *end, struct err *err)
{
  for (;;) {
    uint64_t off = input_off (&d->in);
    size_t have;
    int r = input_look (&d->in, 4, &have, err);

    if (r < 0)
      return r;
    *end = have == 0;
    if (have == 0)
      return 0;
    if (have < 4)
      return err_set (err, -EBADMSG, "%zu bytes at %" PRIu64 ", at the end of "
                      "the file, are no xz stream", have, off);
    if (get_le32 (input_bytes (&d->in)) != 0)
      return 0;
    input_skip (&d->in, 4);
  }
}

static int
stream_header (struct decoder *d, bool *end, struct err *err)
{
  struct xz *x = d->state;
  lzma_ret code;
  int r = x->later ? skip_padding (d, end, err) : 0;

  if (r < 0 || *end)
    return r;
  x->stream = input_off (&d->in);
  r = input_need (&d->in, LZMA_STREAM_HEADER_SIZE, "header of the xz stream",
                  x->stream, err);
  if (r < 0)
    return r;
  code = lzma_stream_header_decode (&x->flags, input_bytes (&d->in));
  if (code == LZMA_FORMAT_ERROR)
    return err_set (err, -EBADMSG, "at %" PRIu64 ", behind an xz stream, is no "
                    "other", x->stream);
  if (code == LZMA_OK && !lzma_check_is_supported (x->flags.check))
    code = LZMA_UNSUPPORTED_CHECK;
  if (code != LZMA_OK)
    return refuse (d, "header of the xz stream", x->stream, code, err);
  input_skip (&d->in, LZMA_STREAM_HEADER_SIZE);
  x->hash = lzma_index_hash_init (x->hash, NULL);
  if (x->hash == NULL)
    return err_nomem (err);
  x->whole = x->later = true;
  x->phase = BLOCK_HEADER;
  return 0;
}

/* Verify it. */
static int
read_index (struct decoder *d, uint64_t off, struct err *err)
{
  struct xz *x = d->state;
  lzma_ret code = LZMA_OK;

  while (code == LZMA_OK) {
    size_t have, used = 0;
    int r = input_look (&d->in, 1, &have, err);

    if (r == 0 && have == 0)
      r = input_truncated (&d->in, "index of the xz stream", x->stream, err);
    if (r < 0)
      return r;
    code = lzma_index_hash_decode (x->hash, input_bytes (&d->in), &used, have);
    input_skip (&d->in, used);
  }
  if (code == LZMA_STREAM_END)
    return 0;
  if (code == LZMA_MEM_ERROR)
    return err_nomem (err);
  return err_set (err, -EBADMSG, "the index at %" PRIu64 " of the xz stream at "
                  "%" PRIu64 " is not that of its blocks", off, x->stream);
}

/* An integer of one to nine bytes (§1.2). */
static int
read_vli (struct decoder *d, uint64_t *v, struct err *err)
{
  const struct xz *x = d->state;

  *v = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    uint8_t byte;
    int r = input_copy (&d->in, &byte, 1, "index of the xz stream",
                        x->stream, err);

    if (r < 0)
      return r;
    *v |= (uint64_t) (byte & 0x7F) << shift;
    if (!(byte & 0x80))
      return 0;
  }
  return err_set (err, -EBADMSG, "the index before %" PRIu64 " has a number of "
                  "more than nine bytes", input_off (&d->in));
}

/* §4: an indicator, the number of records of two integers, those, padding and
 * CRC-32.
 */
static int
pass_index (struct decoder *d, uint64_t off, struct err *err)
{
  uint64_t n, ignored;
  int r;

  input_skip (&d->in, 1);
  r = read_vli (d, &n, err);
  for (uint64_t i = 0; r == 0 && i < n; ++i) {
    r = read_vli (d, &ignored, err);
    if (r == 0)
      r = read_vli (d, &ignored, err);
  }
  if (r < 0)
    return r;
  return input_pass (&d->in, (4 - (input_off (&d->in) - off) % 4) % 4 + 4,
                     "index of an xz stream", err);
}

static int
stream_footer (struct decoder *d, struct err *err)
{
  struct xz *x = d->state;
  uint64_t off = input_off (&d->in);
  lzma_stream_flags footer;
  lzma_ret code;
  int r = input_need (&d->in, LZMA_STREAM_HEADER_SIZE, "footer of the xz "
                      "stream", x->stream, err);

  if (r < 0)
    return r;
  code = lzma_stream_footer_decode (&footer, input_bytes (&d->in));
  if (code != LZMA_OK)
    return refuse (d, "footer of an xz stream", off, code, err);
  input_skip (&d->in, LZMA_STREAM_HEADER_SIZE);
  x->phase = STREAM_HEADER;
  if (x->whole && (lzma_stream_flags_compare (&x->flags, &footer) != LZMA_OK ||
                   footer.backward_size != lzma_index_hash_size (x->hash)))
    return err_set (err, -EBADMSG, "the footer at %" PRIu64 " is not that of "
                    "the xz stream at %" PRIu64, off, x->stream);
  return 0;
}

static int
end_stream (struct decoder *d, struct err *err)
{
  const struct xz *x = d->state;
  uint64_t off = input_off (&d->in);
  int r = x->whole ? read_index (d, off, err) : pass_index (d, off, err);

  return r < 0 ? r : stream_footer (d, err);
}

/*--- Blocks -----------------------------------------------------------------*/

static int
start_block (struct decoder *d, struct err *err)
{
  struct xz *x = d->state;
  lzma_ret code = lzma_block_header_decode (&x->block, NULL,
                                            input_bytes (&d->in));
  uint64_t memory = 0;

  if (code == LZMA_OK) {
    memory = lzma_raw_decoder_memusage (x->filters);
    if (memory == UINT64_MAX)
      code = LZMA_OPTIONS_ERROR;
    else if (memory <= CODEC_MAX_MEMORY)
      code = lzma_block_decoder (&x->lzma, &x->block);
    lzma_filters_free (x->filters, NULL);
  }
  x->block.filters = NULL;
  if (code != LZMA_OK)
    return refuse (d, "header of the xz block", x->block_off, code, err);
  if (memory > CODEC_MAX_MEMORY)
    return err_set (err, -ENOTSUP, "the xz block at %" PRIu64 " takes %" PRIu64
                    " MiB of memory to decode, more than %" PRIu64,
                    x->block_off, memory >> 20, CODEC_MAX_MEMORY >> 20);
  d->memory = memory;
  input_skip (&d->in, x->block.header_size);
  x->phase = BLOCK;
  return 0;
}

/* Behind the header of a stream, or a block: a block, or the index. */
static int
block_header (struct decoder *d, struct err *err)
{
  struct xz *x = d->state;
  int r;

  x->block_off = input_off (&d->in);
  r = input_need (&d->in, 1, "xz stream", x->stream, err);
  if (r < 0)
    return r;
  if (*input_bytes (&d->in) == 0)
    return end_stream (d, err);
  memset (&x->block, 0, sizeof x->block);
  x->block.version = 1;
  x->block.check = x->flags.check;
  x->block.filters = x->filters;
  x->block.header_size = lzma_block_header_size_decode
    (*input_bytes (&d->in));
  r = input_need (&d->in, x->block.header_size, "xz block", x->block_off, err);
  if (r == 0 && decoder_wants_point (d, 0)) {
    struct point point = {
      .kind = POINT_BLOCK, .out = d->out, .in = x->block_off,
      .param = x->flags.check,
    };

    r = decoder_point (d, &point, err);
  }
  return r < 0 ? r : start_block (d, err);
}

static int
decode_block (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
              struct err *err)
{
  struct xz *x = d->state;
  lzma_ret code;
  size_t have;
  int r = input_look (&d->in, 1, &have, err);

  if (r < 0)
    return r;
  x->lzma.next_in = input_bytes (&d->in);
  x->lzma.avail_in = have;
  x->lzma.next_out = buf;
  x->lzma.avail_out = len;
  code = lzma_code (&x->lzma, LZMA_RUN);
  input_skip (&d->in, have - x->lzma.avail_in);
  *got = len - x->lzma.avail_out;
  if (code == LZMA_STREAM_END) {
    x->phase = BLOCK_HEADER;
    code = x->whole ? lzma_index_hash_append
      (x->hash, lzma_block_unpadded_size (&x->block),
       x->block.uncompressed_size) : LZMA_OK;
  }
  else if (have == 0 && *got == 0)
    return input_truncated (&d->in, "xz block", x->block_off, err);
  if (code == LZMA_OK || code == LZMA_BUF_ERROR)
    return 0;
  return refuse (d, "xz block", x->block_off, code, err);
}

static int
xz_decode (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
           struct err *err)
{
  struct xz *x = d->state;
  bool end = false;
  int r = 0;

  *got = 0;
  while (r == 0 && !end && *got == 0)
    switch (x->phase) {
    case STREAM_HEADER:
      r = stream_header (d, &end, err);
      break;
    case BLOCK_HEADER:
      r = block_header (d, err);
      break;
    case BLOCK:
      r = decode_block (d, buf, len, got, err);
      break;
    }
  return r;
}

const struct codec xz_codec = {
  .name = "xz",
  .state_size = sizeof (struct xz),
  .probe = xz_probe,
  .begin = xz_begin,
  .decode = xz_decode,
  .end = xz_end,
};
