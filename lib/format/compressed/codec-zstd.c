/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Zstandard (RFC 8878): frames behind each other, each decoded for itself, so
 * that the front of each is a point.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "lib/format/compressed/codec.h"
#include "lib/format/compressed/skippable.h"

#define MAX_WINDOW_LOG 26       /* 64 MiB */

#define POINT_FRAME 1

struct zstd {
  ZSTD_DCtx *ctx;
  bool inside;                  /* of a frame */
  uint64_t frame;               /* its offset in the file */
};

static bool
zstd_probe (const uint8_t *head, size_t len)
{
  return first_magic (head, len) == ZSTD_MAGICNUMBER;
}

static int
zstd_begin (struct decoder *d, const struct point *point, struct err *err)
{
  struct zstd *z = d->state;

  (void) point;
  z->ctx = ZSTD_createDCtx ();
  if (z->ctx == NULL || ZSTD_isError (ZSTD_DCtx_setParameter
      (z->ctx, ZSTD_d_windowLogMax, MAX_WINDOW_LOG)))
    return err_nomem (err);
  return 0;
}

static void
zstd_end (struct decoder *d)
{
  struct zstd *z = d->state;

  ZSTD_freeDCtx (z->ctx);
}

static int
zstd_refuse (const struct decoder *d, size_t code, struct err *err)
{
  const struct zstd *z = d->state;

  switch (ZSTD_getErrorCode (code)) {
  case ZSTD_error_frameParameter_windowTooLarge:
    return err_set (err, -ENOTSUP, "the zstd frame at %" PRIu64 " refers back "
                    "by more than %d MiB (zstd --long), which takes too much "
                    "memory", z->frame, 1 << (MAX_WINDOW_LOG - 20));
  case ZSTD_error_memory_allocation:
    return err_nomem (err);
  case ZSTD_error_dictionary_wrong:
    return err_set (err, -ENOTSUP, "the zstd frame at %" PRIu64 " needs a "
                    "dictionary", z->frame);
  default:
    return err_set (err, -EBADMSG, "the zstd frame at %" PRIu64 " is damaged "
                    "before %" PRIu64 ": %s", z->frame, input_off (&d->in),
                    ZSTD_getErrorName (code));
  }
}

/* At the end of a frame, or the front of the file. */
static int
next_frame (struct decoder *d, bool *end, struct err *err)
{
  struct zstd *z = d->state;
  uint32_t magic;
  int r = input_next_frame (&d->in, "zstd", &magic, end, err);

  if (r < 0 || *end)
    return r;
  z->frame = input_off (&d->in);
  if (magic != ZSTD_MAGICNUMBER)
    return err_set (err, -EBADMSG, "at %" PRIu64 ", behind a zstd frame, is "
                    "no other: its magic number is %08" PRIx32, z->frame,
                    magic);
  ZSTD_DCtx_reset (z->ctx, ZSTD_reset_session_only);
  z->inside = true;
  if (decoder_wants_point (d, 0)) {
    struct point point = { .kind = POINT_FRAME, .in = z->frame };

    return decoder_point (d, &point, err);
  }
  return 0;
}

static int
zstd_decode (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
             struct err *err)
{
  struct zstd *z = d->state;
  ZSTD_outBuffer out = { buf, len, 0 };

  while (out.pos == 0) {
    bool end = false;
    size_t have, left;
    int r = z->inside ? 0 : next_frame (d, &end, err);

    if (r == 0)
      r = input_look (&d->in, 1, &have, err);
    if (r < 0)
      return r;
    if (end)
      break;
    ZSTD_inBuffer in = { input_bytes (&d->in), have, 0 };

    left = ZSTD_decompressStream (z->ctx, &out, &in);
    input_skip (&d->in, in.pos);
    if (ZSTD_isError (left))
      return zstd_refuse (d, left, err);
    if (left == 0)
      z->inside = false;
    else if (have == 0 && out.pos == 0)
      return input_truncated (&d->in, "zstd frame", z->frame, err);
  }
  d->memory = ZSTD_sizeof_DCtx (z->ctx);
  *got = out.pos;
  return 0;
}

const struct codec zstd_codec = {
  .name = "zstd",
  .state_size = sizeof (struct zstd),
  .probe = zstd_probe,
  .begin = zstd_begin,
  .decode = zstd_decode,
  .end = zstd_end,
};
