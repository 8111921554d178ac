/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "lib/base/checked.h"
#include "tools/info/walk.h"

#define EXTENTS_AT_ONCE 4096

/* The last extent of one answer may go on in the next. */
struct walk {
  walk_fn fn;
  void *opaque;
  struct extent last;           /* len 0: none yet */
};

static int
push (struct walk *w, const struct extent *e)
{
  int r = 0;

  if (w->last.len > 0 && w->last.kind == e->kind &&
      w->last.layer == e->layer) {
    w->last.len += e->len;
    return 0;
  }
  if (w->last.len > 0)
    r = w->fn (w->opaque, &w->last);
  w->last = *e;
  return r;
}

/* How much of the disk is asked about at once: so much that the answer takes
 * a fraction of a second, wherever the image lies.
 */
#define STEP_MIN (UINT64_C (64) * 1024 * 1024)
#define STEP_MAX (UINT64_C (1) << 40)

static uint64_t
adapt_step (uint64_t step, int64_t took_ms)
{
  if (took_ms < 100)            /* a far server needs that for any answer */
    return min_u64 (step * 2, STEP_MAX);
  if (took_ms > 400)
    return max_u64 (step / 2, STEP_MIN);
  return step;
}

static int64_t
now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Extents of [*off, *off+len), or of less of it; *off moves on. */
static int
walk_some (struct image *img, uint64_t len, struct walk *w, uint64_t *off,
           struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = {
    .limit = EXTENTS_AT_ONCE
  };
  const uint64_t end = *off + len;
  int r = image_extents (img, len, *off, &list, err);

  if (r == 0 && list.v.len == 0)
    r = err_set (err, -EIO, "there is no extent at offset %" PRIu64, *off);
  for (size_t i = 0; i < list.v.len && r == 0 && *off < end; ++i) {
    struct extent e = list.v.ptr[i];

    /* An answer may go beyond what was asked. */
    e.len = min_u64 (e.len, end - e.off);
    r = push (w, &e);
    *off = e.off + e.len;
  }
  return r;
}

int
walk_extents (struct image *img, unsigned seconds, walk_fn fn, void *opaque,
              uint64_t *end, struct err *err)
{
  const uint64_t size = image_size (img);
  const int64_t start = now_ms ();
  struct walk w = { .fn = fn, .opaque = opaque };
  uint64_t off = 0, step = STEP_MIN;
  int64_t then = start, now;
  int r = 0;

  while (off < size && r == 0) {
    r = walk_some (img, min_u64 (step, size - off), &w, &off, err);
    now = now_ms ();
    if (seconds != 0 && now - start > (int64_t) seconds * 1000)
      break;
    step = adapt_step (step, now - then);
    then = now;
  }
  if (r == 0 && w.last.len > 0)
    r = fn (opaque, &w.last);
  *end = off;
  return r;
}
