/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Zstandard (RFC 8878): frames behind each other, each decoded for itself, so
 * that the front of each is a point.
 *
 * Most files have one frame only.  In it there are points too, between blocks,
 * whose window is a dictionary: the bytes before, and what the block takes over
 * from those before it (zstd-track.h).  Decoding from there is decoding a frame
 * of the blocks that follow.  A point is offered when its block was decoded
 * from it, and gave the same bytes.  To index, a frame goes to libzstd block by
 * block.  Its param is the window descriptor, and whether a checksum follows
 * the frame, which only who has decoded all of it can verify.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "lib/format/compressed/codec.h"
#include "lib/format/compressed/skippable.h"
#include "lib/format/compressed/zstd-track.h"

#define MAX_WINDOW_LOG 26       /* 64 MiB */

#define POINT_FRAME 1
#define POINT_INSIDE 2

#define PARAM_CHECKSUM 0x100

#define MAX_BLOCK (128 * 1024)
#define HEADER_SIZE 6           /* of a frame with a window, and no more */

/* What indexing knows of a frame. */
struct tracker {
  struct zstd_track state;
  uint32_t param;
  size_t window;                /* bytes */
  size_t left;                  /* of the block, not given to libzstd yet */
  bool drained;                 /* what was given to it was decoded */
  bool last;                    /* block */
  uint64_t made;                /* of the frame, decoded bytes */
  uint8_t *history;             /* the last of them; 2 × window */
  size_t len;

  /* A point that was not tried yet. */
  struct point point;           /* window NULL: none */
  uint8_t *dictionary;
  uint8_t block[HEADER_SIZE + 3 + MAX_BLOCK];   /* behind it, as a frame */
  size_t block_len;
  ZSTD_DCtx *ctx;
};

struct zstd {
  ZSTD_DCtx *ctx;
  bool inside;                  /* of a frame */
  uint64_t frame;               /* its offset in the file, or where it was
                                   entered */
  uint8_t header[HEADER_SIZE];  /* for one that was entered */
  size_t header_left;
  bool checksum_left;           /* behind it, to be passed */
  struct tracker *tracker;      /* NULL: not this frame */
};

static bool
zstd_probe (const uint8_t *head, size_t len)
{
  return first_magic (head, len) == ZSTD_MAGICNUMBER;
}

/* A header for the rest of a frame. */
static void
make_header (uint8_t header[HEADER_SIZE], uint32_t param)
{
  put_le32 (header, ZSTD_MAGICNUMBER);
  header[4] = 0;
  header[5] = (uint8_t) param;
}

static int
enter_frame (struct zstd *z, const struct point *point, struct err *err)
{
  if (ZSTD_isError (ZSTD_DCtx_loadDictionary (z->ctx, point->window,
                                              point->window_len)))
    return err_set (err, -EBADMSG, "its index has a dictionary that libzstd "
                    "does not take");
  make_header (z->header, point->param);
  z->header_left = HEADER_SIZE;
  z->checksum_left = point->param & PARAM_CHECKSUM;
  z->inside = true;
  z->frame = point->in;
  return 0;
}

static int
zstd_begin (struct decoder *d, const struct point *point, struct err *err)
{
  struct zstd *z = d->state;

  z->ctx = ZSTD_createDCtx ();
  if (z->ctx == NULL || ZSTD_isError (ZSTD_DCtx_setParameter
      (z->ctx, ZSTD_d_windowLogMax, MAX_WINDOW_LOG)))
    return err_nomem (err);
  return point->kind == POINT_INSIDE ? enter_frame (z, point, err) : 0;
}

static void
tracker_free (struct tracker *t)
{
  if (t == NULL)
    return;
  ZSTD_freeDCtx (t->ctx);
  free (t->history);
  free (t->dictionary);
  free (t);
}

static void
stop_tracking (struct zstd *z)
{
  tracker_free (z->tracker);
  z->tracker = NULL;
}

static void
zstd_end (struct decoder *d)
{
  struct zstd *z = d->state;

  stop_tracking (z);
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

/*--- Points inside of frames ------------------------------------------------*/

/* The descriptor (§3.1.1.1.2) of the smallest window that is not smaller. */
static uint8_t
describe_window (uint64_t size)
{
  unsigned descriptor = 0;

  while (descriptor < 255 && ((UINT64_C (8) + descriptor % 8)
                              << (7 + descriptor / 8)) < size)
    ++descriptor;
  return (uint8_t) descriptor;
}

/* The header of a frame (§3.1.1.1), of which `have' bytes are there: its
 * length, or 0 if it is not one to track.
 */
static size_t
parse_header (const uint8_t *p, size_t have, uint32_t *param)
{
  static const uint8_t id_sizes[4] = { 0, 1, 2, 4 };
  static const uint8_t size_sizes[4] = { 0, 2, 4, 8 };
  unsigned single = p[4] >> 5 & 1, field = size_sizes[p[4] >> 6];
  size_t len;
  uint8_t size[8] = { 0 };

  if (field == 0 && single)
    field = 1;
  len = 6 - single + id_sizes[p[4] & 3] + field;
  if (have < len || (p[4] & 3))
    return 0;
  memcpy (size, p + len - field, field);
  *param = single ? describe_window (get_le64 (size) +
                                     (field == 2 ? 256 : 0)) : p[5];
  if (p[4] >> 2 & 1)
    *param |= PARAM_CHECKSUM;
  return len;
}

/* At the front of a frame. */
static int
start_tracking (struct decoder *d, struct err *err)
{
  struct zstd *z = d->state;
  struct tracker *t;
  uint32_t param;
  size_t have, len, window;
  int r = input_look (&d->in, 18, &have, err);

  if (r < 0)
    return r;
  len = have < 6 ? 0 : parse_header (input_bytes (&d->in), have, &param);
  if (len == 0)
    return 0;
  window = ((size_t) 8 + param % 8) << (7 + (param & 0xFF) / 8);
  if (window > CODEC_MAX_CONTENT)
    return 0;
  t = z->tracker = calloc (1, sizeof *t);
  if (t == NULL)
    return err_nomem (err);
  t->param = param;
  t->window = window;
  t->left = len;
  t->history = malloc (2 * window);
  t->dictionary = malloc (ZSTD_TRACK_DICTIONARY + window);
  t->ctx = ZSTD_createDCtx ();
  zstd_track_start (&t->state);
  return t->history && t->dictionary && t->ctx ? 0 : err_nomem (err);
}

/* Those at the end of what was decoded, and there is room for as much. */
static void
keep_history (struct tracker *t, const uint8_t *buf, size_t len)
{
  if (len > t->window) {
    t->made += len - t->window;
    buf += len - t->window;
    len = t->window;
  }
  if (len > 2 * t->window - t->len) {
    size_t keep = t->window < t->len ? t->window : t->len;

    memmove (t->history, t->history + t->len - keep, keep);
    t->len = keep;
  }
  memcpy (t->history + t->len, buf, len);
  t->len += len;
  t->made += len;
}

/* Does the block that was decoded last come of the point too? */
static bool
point_holds (struct tracker *t, size_t len)
{
  uint8_t out[1024];
  ZSTD_inBuffer in = { t->block, t->block_len, 0 };
  const uint8_t *expected = t->history + t->len - len;

  if (len > t->len || ZSTD_isError (ZSTD_DCtx_reset
      (t->ctx, ZSTD_reset_session_and_parameters)) ||
      ZSTD_isError (ZSTD_DCtx_loadDictionary (t->ctx, t->dictionary,
                                              t->point.window_len)))
    return false;
  for (size_t done = 0;;) {
    ZSTD_outBuffer o = { out, sizeof out, 0 };
    size_t before = in.pos;

    if (ZSTD_isError (ZSTD_decompressStream (t->ctx, &o, &in)) ||
        o.pos > len - done || memcmp (out, expected + done, o.pos) != 0)
      return false;
    done += o.pos;
    if (o.pos == 0 && in.pos == before)
      return done == len && in.pos == in.size;
    if (done == len && in.pos == in.size)
      return true;
  }
}

/* Where the next block begins. */
static void
propose_point (struct decoder *d)
{
  const struct zstd *z = d->state;
  struct tracker *t = z->tracker;
  size_t content = t->made < t->window ? (size_t) t->made : t->window, len;

  if (content > t->len || !decoder_wants_point (d, (uint32_t) content))
    return;
  len = zstd_track_dictionary (&t->state, t->dictionary);
  if (len == 0)
    return;
  memcpy (t->dictionary + len, t->history + t->len - content, content);
  t->point = (struct point) {
    .kind = POINT_INSIDE, .in = input_off (&d->in), .out = d->out,
    .param = t->param, .window = t->dictionary,
    .window_len = (uint32_t) (len + content),
  };
}

/* Between two blocks, with everything decoded up to here. */
static int
next_block (struct decoder *d, struct err *err)
{
  struct zstd *z = d->state;
  struct tracker *t = z->tracker;
  const uint8_t *p;
  uint32_t header;
  size_t have, len;
  int r = 0;

  if (t->point.window && point_holds (t, (size_t) (d->out - t->point.out)))
    r = decoder_point (d, &t->point, err);
  t->point.window = NULL;
  if (r == 0 && !t->last)
    r = input_look (&d->in, 3 + MAX_BLOCK, &have, err);
  if (r < 0)
    return r;
  p = input_bytes (&d->in);
  header = t->last || have < 3 ? 6 : p[0] | (uint32_t) p[1] << 8 |
    (uint32_t) p[2] << 16;
  len = 3 + ((header >> 1 & 3) == 1 ? 1 : header >> 3);
  /* What is wrong with it, libzstd will say. */
  if ((header >> 1 & 3) == 3 || len > 3 + MAX_BLOCK || len > have) {
    stop_tracking (z);
    return 0;
  }
  propose_point (d);
  if (t->point.window) {
    make_header (t->block, t->param);
    memcpy (t->block + HEADER_SIZE, p, len);
    t->block[HEADER_SIZE] &= 0xFE;      /* not the last of its frame */
    t->block_len = HEADER_SIZE + len;
  }
  t->last = header & 1;
  t->left = len;
  t->drained = false;
  if ((header >> 1 & 3) == 2 && !zstd_track_block (&t->state, p + 3, len - 3))
    stop_tracking (z);
  return 0;
}

/*--- Frames -----------------------------------------------------------------*/

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
    struct point point = {
      .kind = POINT_FRAME, .in = z->frame, .out = d->out,
    };

    r = decoder_point (d, &point, err);
  }
  return r == 0 && d->on_point ? start_tracking (d, err) : r;
}

static int
end_frame (struct decoder *d, struct err *err)
{
  struct zstd *z = d->state;

  z->inside = false;
  stop_tracking (z);
  ZSTD_DCtx_loadDictionary (z->ctx, NULL, 0);
  if (!z->checksum_left)
    return 0;
  z->checksum_left = false;
  return input_pass (&d->in, 4, "checksum of a zstd frame", err);
}

/* Give libzstd what it may have now. */
static int
decode_some (struct decoder *d, ZSTD_outBuffer *out, struct err *err)
{
  struct zstd *z = d->state;
  struct tracker *t = z->tracker;
  ZSTD_inBuffer in = { z->header + HEADER_SIZE - z->header_left,
                       z->header_left, 0 };
  bool from_file = z->header_left == 0;
  size_t have = 0, left;

  if (from_file) {
    int r = input_look (&d->in, 1, &have, err);

    if (r < 0)
      return r;
    in.src = input_bytes (&d->in);
    in.size = t && have > t->left ? t->left : have;
  }
  left = ZSTD_decompressStream (z->ctx, out, &in);
  if (from_file)
    input_skip (&d->in, in.pos);
  else
    z->header_left -= in.pos;
  if (ZSTD_isError (left))
    return zstd_refuse (d, left, err);
  if (t) {
    t->left -= in.pos;
    t->drained = out->pos < out->size;
    keep_history (t, out->dst, out->pos);
  }
  if (left == 0)
    return end_frame (d, err);
  if (from_file && have == 0 && out->pos == 0 && (t == NULL || t->left > 0))
    return input_truncated (&d->in, "zstd frame", z->frame, err);
  return 0;
}

static int
zstd_decode (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
             struct err *err)
{
  struct zstd *z = d->state;
  ZSTD_outBuffer out = { buf, len, 0 };
  bool end = false;
  int r = 0;

  while (r == 0 && !end && out.pos == 0) {
    if (!z->inside)
      r = next_frame (d, &end, err);
    else if (z->tracker && z->tracker->left == 0 && z->tracker->drained)
      r = next_block (d, err);
    else
      r = decode_some (d, &out, err);
  }
  d->memory = ZSTD_sizeof_DCtx (z->ctx);
  *got = out.pos;
  return r;
}

const struct codec zstd_codec = {
  .name = "zstd",
  .state_size = sizeof (struct zstd),
  .probe = zstd_probe,
  .begin = zstd_begin,
  .decode = zstd_decode,
  .end = zstd_end,
};
