/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

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

int
walk_extents (struct image *img, walk_fn fn, void *opaque, struct err *err)
{
  const uint64_t size = image_size (img);
  struct walk w = { .fn = fn, .opaque = opaque };
  uint64_t off = 0;
  int r = 0;

  while (off < size && r == 0) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      VECTOR_INIT, EXTENTS_AT_ONCE
    };

    r = image_extents (img, size - off, off, &list, err);
    if (r == 0 && list.v.len == 0)
      r = err_set (err, -EIO, "there is no extent at offset %" PRIu64, off);
    for (size_t i = 0; i < list.v.len && r == 0; ++i) {
      struct extent e = list.v.ptr[i];

      /* An NBD server may answer beyond what was asked. */
      e.len = min_u64 (e.len, size - e.off);
      r = push (&w, &e);
      off = e.off + e.len;
      if (off >= size)
        break;
    }
  }
  if (r == 0 && w.last.len > 0)
    r = fn (opaque, &w.last);
  return r;
}
