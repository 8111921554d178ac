/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of regions does not change after it was made, so that no lock is
 * needed.  A request walks over the regions and gaps it touches.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/block/regions.h"

struct regions_block {
  struct block base;
  struct region *regions;       /* each with a reference to its block */
  size_t nr;
};

static struct regions_block *
regions_of (struct block *b)
{
  return (struct regions_block *) b;
}

static void
regions_close (struct block *b)
{
  struct regions_block *r = regions_of (b);

  for (size_t i = 0; i < r->nr; ++i)
    block_unref (r->regions[i].block);
  free (r->regions);
}

/* The first region that ends behind off, or nr. */
static size_t
find (const struct regions_block *r, uint64_t off)
{
  size_t low = 0, high = r->nr;

  while (low < high) {
    size_t mid = low + (high - low) / 2;

    if (r->regions[mid].off + r->regions[mid].len > off)
      high = mid;
    else
      low = mid + 1;
  }
  return low;
}

/* What a range begins with: bytes of *region, or of a gap (NULL). */
static uint64_t
piece_at (const struct regions_block *r, uint64_t off, uint64_t len,
          const struct region **region)
{
  size_t i = find (r, off);
  const struct region *g = i < r->nr ? &r->regions[i] : NULL;

  if (g == NULL || g->off > off) {
    *region = NULL;
    return g ? min_u64 (len, g->off - off) : len;
  }
  *region = g;
  return min_u64 (len, g->off + g->len - off);
}

static int
regions_pread (struct block *b, void *buf, size_t len, uint64_t off,
               struct err *err)
{
  const struct region *g;
  char *p = buf;
  int r = 0;

  while (r == 0 && len > 0) {
    size_t n = (size_t) piece_at (regions_of (b), off, len, &g);

    if (g)
      r = block_pread (g->block, p, n, off - g->off + g->start, err);
    else
      memset (p, 0, n);
    p += n;
    off += n;
    len -= n;
  }
  return r;
}

static int
add_extents (const struct region *g, uint64_t len, uint64_t off,
             struct extent_list *list, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list inner = { .limit = list->limit };
  int r = block_extents (g->block, len, off - g->off + g->start, &inner, err);

  for (size_t i = 0; r == 0 && i < inner.v.len; ++i) {
    const struct extent *e = &inner.v.ptr[i];

    r = extent_list_add (list, e->off - g->start + g->off, e->len, e->kind,
                         g->layer, err);
  }
  return r;
}

static int
regions_extents (struct block *b, uint64_t len, uint64_t off,
                 struct extent_list *list, struct err *err)
{
  const uint64_t end = off + len;
  const struct region *g;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    uint64_t n = piece_at (regions_of (b), off, end - off, &g);

    r = g ? add_extents (g, n, off, list, err)
          : extent_list_add (list, off, n, EXTENT_HOLE, 0, err);
    off = extent_list_end (list, off);
  }
  return r;
}

static int
regions_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  const struct region *g;
  int r = 0;

  while (r == 0 && len > 0) {
    uint64_t n = piece_at (regions_of (b), off, len, &g);

    if (g)
      r = block_cache (g->block, n, off - g->off + g->start, err);
    off += n;
    len -= n;
  }
  return r;
}

static const struct block_ops regions_ops = {
  .close = regions_close,
  .pread = regions_pread,
  .extents = regions_extents,
  .cache = regions_cache,
};

static int
check_region (const struct region *g, uint64_t end_before, uint64_t size,
              struct err *err)
{
  if (g->len == 0 || g->off < end_before ||
      !range_fits (g->off, g->len, size))
    return err_set (err, -EINVAL, "a region of %" PRIu64 " bytes at offset %"
                    PRIu64 " has no place in a block of %" PRIu64 " bytes",
                    g->len, g->off, size);
  if (!range_fits (g->start, g->len, block_size (g->block)))
    return err_set (err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64
                    " are not inside %s, which has %" PRIu64, g->len,
                    g->start, block_name (g->block), block_size (g->block));
  return 0;
}

int
block_regions_new (const char *name, uint64_t size,
                   const struct block_sizes *sizes,
                   const struct region *regions, size_t nr,
                   struct block **out, struct err *err)
{
  struct regions_block *b;
  uint64_t end = 0;
  int r = 0;

  for (size_t i = 0; r == 0 && i < nr; ++i) {
    r = check_region (&regions[i], end, size, err);
    end = regions[i].off + regions[i].len;
  }
  if (r < 0)
    return r;
  b = calloc (1, sizeof *b);
  if (b == NULL)
    return err_nomem (err);
  b->regions = malloc ((nr > 0 ? nr : 1) * sizeof *regions);
  r = b->regions ? block_init (&b->base, &regions_ops, name, size, false, err)
                 : err_nomem (err);
  if (r < 0) {
    free (b->regions);
    free (b);
    return r;
  }
  if (sizes)
    b->base.sizes = *sizes;
  for (b->nr = 0; b->nr < nr; b->nr++) {
    b->regions[b->nr] = regions[b->nr];
    block_ref (regions[b->nr].block);
  }
  *out = &b->base;
  return 0;
}
