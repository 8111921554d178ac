/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/block/window.h"

struct window_block {
  struct block base;
  struct block *below;
  uint64_t start;               /* bytes, in below */
};

static struct window_block *
window (struct block *b)
{
  return (struct window_block *) b;
}

static void
window_close (struct block *b)
{
  block_unref (window (b)->below);
}

static int
window_pread (struct block *b, void *buf, size_t len, uint64_t off,
              struct err *err)
{
  return block_pread (window (b)->below, buf, len, window (b)->start + off,
                      err);
}

static int
window_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
               unsigned flags, struct err *err)
{
  return block_pwrite (window (b)->below, buf, len, window (b)->start + off,
                       flags, err);
}

static int
window_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
             struct err *err)
{
  return block_zero (window (b)->below, len, window (b)->start + off, flags,
                     err);
}

static int
window_trim (struct block *b, uint64_t len, uint64_t off, unsigned flags,
             struct err *err)
{
  return block_trim (window (b)->below, len, window (b)->start + off, flags,
                     err);
}

static int
window_flush (struct block *b, struct err *err)
{
  return block_flush (window (b)->below, err);
}

static int
window_extents (struct block *b, uint64_t len, uint64_t off,
                struct extent_list *list, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list inner = {
    .limit = list->limit, .unallocated = list->unallocated,
  };
  int r;

  r = block_extents (window (b)->below, len, window (b)->start + off, &inner,
                     err);
  for (size_t i = 0; r == 0 && i < inner.v.len; ++i) {
    const struct extent *e = &inner.v.ptr[i];

    r = extent_list_add (list, e->off - window (b)->start, e->len, e->kind,
                         e->layer, err);
  }
  return r;
}

static int
window_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  return block_cache (window (b)->below, len, window (b)->start + off, err);
}

static const struct block_ops window_ops = {
  .close = window_close,
  .pread = window_pread,
  .pwrite = window_pwrite,
  .zero = window_zero,
  .trim = window_trim,
  .flush = window_flush,
  .extents = window_extents,
  .cache = window_cache,
};

int
block_window_new (struct block *below, uint64_t off, uint64_t len,
                  struct block **out, struct err *err)
{
  struct window_block *w;
  int r;

  if (!range_fits (off, len, block_size (below)))
    return err_set (err, -EINVAL, "a window of %" PRIu64 " bytes at offset %"
                    PRIu64 " does not fit into %" PRIu64 " bytes",
                    len, off, block_size (below));
  w = calloc (1, sizeof *w);
  if (w == NULL)
    return err_nomem (err);
  r = block_init (&w->base, &window_ops, block_name (below), len,
                  block_writable (below), err);
  if (r < 0) {
    free (w);
    return r;
  }
  block_get_sizes (below, &w->base.sizes);
  w->below = block_ref (below);
  w->start = off;
  *out = &w->base;
  return 0;
}
