/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/repo/chunk-source.h"

struct chunk_source {
  struct block base;
  struct block *below;
  uint32_t chunk_size;
  const struct used_map *used;
};

static struct chunk_source *
source (struct block *b)
{
  return (struct chunk_source *) b;
}

static void
source_close (struct block *b)
{
  block_unref (source (b)->below);
}

static int
source_pread (struct block *b, void *buf, size_t len, uint64_t off,
              struct err *err)
{
  return block_pread (source (b)->below, buf, len, off, err);
}

static int
source_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  return block_cache (source (b)->below, len, off, err);
}

bool
chunk_source_uses (struct block *b, uint64_t off, uint64_t end,
                   uint64_t *until)
{
  const struct chunk_source *s = source (b);
  uint64_t last, next;
  bool used;

  *until = end;
  if (s->used == NULL)
    return true;
  used_map_find (s->used, off, &used, &next);
  if (used) {
    *until = min_u64 (round_up (next, s->chunk_size), end);
    return true;
  }
  last = next >= end ? end : round_down (next, s->chunk_size);
  if (last > off) {
    *until = last;
    return false;
  }
  /* The gap ends in this chunk. */
  *until = min_u64 (off + s->chunk_size, end);
  return true;
}

static bool
is_hole (const struct extent *e)
{
  return e->kind == EXTENT_HOLE || e->kind == EXTENT_ZERO;
}

/* The extents of below, in whole chunks: what is a hole in part is data. */
static int
add_rounded (const struct chunk_source *s, const struct extent_list *inner,
             uint64_t end, struct extent_list *list, struct err *err)
{
  uint64_t done = extent_list_end (list, inner->v.ptr[0].off);

  for (size_t i = 0; i < inner->v.len && done < end; ++i) {
    const struct extent *e = &inner->v.ptr[i];
    uint64_t e_end = e->off + e->len, start, stop;
    int r = 0;

    if (!is_hole (e))
      continue;
    start = max_u64 (round_up (e->off, s->chunk_size), done);
    stop = e_end >= s->base.size ? e_end : round_down (e_end, s->chunk_size);
    stop = min_u64 (stop, end);
    if (start >= stop)
      continue;
    r = extent_list_add (list, done, start - done, EXTENT_DATA, 0, err);
    if (r == 0)
      r = extent_list_add (list, start, stop - start, EXTENT_HOLE, 0, err);
    if (r < 0)
      return r;
    done = stop;
  }
  /* What is behind the last hole is data, up to where the list is known. */
  if (done < end)
    return extent_list_add (list, done, end - done, EXTENT_DATA, 0, err);
  return 0;
}

/* off is at a chunk, end too or at the end of the disk. */
static int
add_used (const struct chunk_source *s, uint64_t off, uint64_t end,
          struct extent_list *list, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list inner = { .limit = list->limit };
  uint64_t known;
  int r;

  r = block_extents (s->below, end - off, off, &inner, err);
  if (r < 0)
    return r;
  /* A chunk of which only the beginning is known counts as data. */
  known = extent_list_end (&inner, off);
  known = min_u64 (round_up (known, s->chunk_size), end);
  return add_rounded (s, &inner, known, list, err);
}

static int
source_extents (struct block *b, uint64_t len, uint64_t off,
                struct extent_list *list, struct err *err)
{
  const struct chunk_source *s = source (b);
  uint64_t end = off + len, from = round_down (off, s->chunk_size);
  uint64_t to = min_u64 (round_up (end, s->chunk_size), b->size);
  CLEANUP_EXTENT_LIST struct extent_list rounded = { .limit = list->limit };
  int r = 0;

  while (r == 0 && from < to && !extent_list_full (&rounded)) {
    uint64_t until;

    if (chunk_source_uses (b, from, to, &until))
      r = add_used (s, from, until, &rounded, err);
    else
      r = extent_list_add (&rounded, from, until - from, EXTENT_HOLE, 0, err);
    from = extent_list_end (&rounded, from);
  }
  for (size_t i = 0; r == 0 && i < rounded.v.len; ++i) {
    const struct extent *e = &rounded.v.ptr[i];
    uint64_t start = max_u64 (e->off, off);
    uint64_t stop = min_u64 (e->off + e->len, end);

    if (start < stop)
      r = extent_list_add (list, start, stop - start, e->kind, 0, err);
  }
  return r;
}

static const struct block_ops source_ops = {
  .close = source_close,
  .pread = source_pread,
  .extents = source_extents,
  .cache = source_cache,
};

int
chunk_source_new (struct block *below, uint32_t chunk_size,
                  const struct used_map *used, struct block **out,
                  struct err *err)
{
  struct chunk_source *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return err_nomem (err);
  r = block_init (&s->base, &source_ops, block_name (below),
                  block_size (below), false, err);
  if (r < 0) {
    free (s);
    return r;
  }
  block_get_sizes (below, &s->base.sizes);
  s->below = block_ref (below);
  s->chunk_size = chunk_size;
  s->used = used;
  *out = &s->base;
  return 0;
}
