/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What of a generation is data, and what of it could not be read. */

#include <config.h>

#include "lib/base/checked.h"
#include "lib/repo/generation-private.h"

int
generation_range_after (struct generation *gen, uint64_t off,
                        struct nbi_range *range, bool *found, struct err *err)
{
  uint32_t n = file_reader_trailer (gen->last)->nr_ranges;
  uint32_t low = 0, high = n;
  int r = 0;

  while (low < high) {
    uint32_t middle = low + (high - low) / 2;

    r = file_reader_range (gen->last, middle, range, err);
    if (r < 0)
      return r;
    if (range->off + range->len > off)
      high = middle;
    else
      low = middle + 1;
  }
  *found = low < n;
  if (*found)
    r = file_reader_range (gen->last, low, range, err);
  return r;
}

static enum extent_kind
extent_kind_of (enum nbi_cell_kind kind)
{
  switch (kind) {
  case NBI_ZERO:
    return EXTENT_HOLE;
  case NBI_UNALLOCATED:
    return EXTENT_UNALLOCATED;
  case NBI_UNREADABLE:
    return EXTENT_UNREADABLE;
  default:
    return EXTENT_DATA;
  }
}

/* A chunk of which some sectors can't be read, from off to end. */
static int
add_in_part (struct generation *gen, uint64_t off, uint64_t end,
             struct extent_list *list, struct err *err)
{
  int r = 0;

  while (r == 0 && off < end) {
    struct nbi_range range;
    bool found, inside;
    uint64_t next;

    r = generation_range_after (gen, off, &range, &found, err);
    if (r < 0)
      break;
    inside = found && range.off <= off;
    next = !found ? end : inside ? range.off + range.len : range.off;
    next = min_u64 (next, end);
    r = extent_list_add (list, off, next - off,
                         inside ? EXTENT_UNREADABLE : EXTENT_DATA, 0, err);
    off = next;
  }
  return r;
}

int
generation_extents (struct generation *gen, uint64_t len, uint64_t off,
                    struct extent_list *list, struct err *err)
{
  const struct nbi_header *h = generation_header (gen);
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    struct generation_run run;
    uint64_t next;

    r = generation_run_at (gen, off / h->chunk_size, &run, err);
    if (r < 0)
      break;
    next = min_u64 (run.end * h->chunk_size, end);
    if (run.kind == NBI_DATA_IN_PART)
      r = add_in_part (gen, off, next, list, err);
    else
      r = extent_list_add (list, off, next - off,
                           extent_kind_of (run.kind), 0, err);
    off = next;
  }
  return r;
}
