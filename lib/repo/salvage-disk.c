/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The disk that was salvaged, as a block, and what of it is lost. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/repo/salvage-private.h"

struct salvage_block {
  struct block base;
  struct salvage *s;
};

static struct salvage *
salvage_of (struct block *b)
{
  return ((struct salvage_block *) b)->s;
}

/*--- Reading ----------------------------------------------------------------*/

/* Is any of it in a range that could not be read when it was saved? */
static bool
was_unreadable (const struct salvage *s, uint64_t off, uint64_t len)
{
  size_t low = 0, high = s->ranges.len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const struct nbi_range *range = &s->ranges.ptr[middle];

    if (range->off + range->len <= off)
      low = middle + 1;
    else
      high = middle;
  }
  return low < s->ranges.len && s->ranges.ptr[low].off < off + len;
}

static int
read_chunk (struct salvage *s, uint64_t c, uint8_t *plain, struct err *err)
{
  const struct salvage_cell *cell = &s->cells[c];
  struct nbi_record record;
  int r = salvage_read (s, cell->file, cell->ordinal, NBI_CHUNK,
                        nbi_chunk_len (&s->header, c), plain, NBI_CHUNK_MAX,
                        &record, err);

  if (r < 0 && r != -ENOMEM) {
    __atomic_fetch_or (&s->bad[c / 8], (uint8_t) (1U << c % 8),
                       __ATOMIC_RELAXED);
    r = err_set (err, -EIO, "chunk %" PRIu64 " is lost", c);
  }
  return r;
}

/* A part of one chunk. */
static int
read_part (struct salvage *s, uint64_t c, uint32_t in, uint32_t len,
           uint8_t *to, uint8_t *plain, struct err *err)
{
  uint64_t off = c * s->header.chunk_size + in;
  int r;

  switch (s->cells[c].kind) {
  case NBI_ZERO:
  case NBI_UNALLOCATED:
    memset (to, 0, len);
    return 0;
  case NBI_DATA_IN_PART:
    if (!s->has_ranges || was_unreadable (s, off, len))
      return err_set (err, -EIO, "bytes %" PRIu64 " to %" PRIu64 " could not "
                      "be read when they were saved", off, off + len - 1);
    break;
  case NBI_DATA:
    break;
  default:
    return err_set (err, -EIO, "chunk %" PRIu64 " is lost", c);
  }
  r = read_chunk (s, c, plain, err);
  if (r == 0)
    memcpy (to, plain + in, len);
  return r;
}

static int
disk_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  struct salvage *s = salvage_of (b);
  CLEANUP_FREE uint8_t *plain = malloc (NBI_CHUNK_MAX);
  uint8_t *p = buf;
  int r = plain == NULL ? err_nomem (err) : 0;

  while (r == 0 && len > 0) {
    uint64_t c = off / s->header.chunk_size;
    uint32_t in = (uint32_t) (off % s->header.chunk_size);
    uint32_t n = (uint32_t) min_u64 (len, nbi_chunk_len (&s->header, c) - in);

    r = read_part (s, c, in, n, p, plain, err);
    p += n;
    off += n;
    len -= n;
  }
  return r;
}

static int
disk_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  const struct salvage *s = salvage_of (b);
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    uint64_t c = off / s->header.chunk_size;
    uint64_t next = min_u64 ((c + 1) * s->header.chunk_size, end);
    bool hole = s->cells[c].kind <= NBI_UNALLOCATED;

    r = extent_list_add (list, off, next - off, hole ? EXTENT_HOLE
                                                     : EXTENT_DATA, 0, err);
    off = next;
  }
  return r;
}

static const struct block_ops disk_ops = {
  .pread = disk_pread,
  .extents = disk_extents,
};

int
salvage_to_block (struct salvage *s, struct block **out, struct err *err)
{
  struct salvage_block *b = calloc (1, sizeof *b);
  int r;

  if (b == NULL)
    return err_nomem (err);
  r = block_init (&b->base, &disk_ops, s->header.name, s->header.disk_size,
                  false, err);
  if (r < 0) {
    free (b);
    return r;
  }
  b->base.sizes.logical = s->header.logical;
  b->s = s;
  *out = &b->base;
  return 0;
}

/*--- What is where ----------------------------------------------------------*/

int
salvage_used (const struct salvage *s, struct used_map *map, struct err *err)
{
  uint64_t n = nbi_nr_chunks (&s->header);
  int r = 0;

  used_map_init (map, s->header.disk_size, USED_MAP_LIMIT);
  for (uint64_t c = 0; r == 0 && c < n; ++c)
    if (s->cells[c].kind != NBI_UNALLOCATED)
      r = used_map_add (map, c * s->header.chunk_size,
                        nbi_chunk_len (&s->header, c), err);
  if (r < 0) {
    used_map_free (map);
    return r;
  }
  used_map_finish (map);
  return 0;
}

static bool
is_lost (const struct salvage *s, uint64_t c)
{
  return s->cells[c].kind == SALVAGE_LOST || (s->bad[c / 8] >> c % 8 & 1) != 0;
}

int
salvage_lost (const struct salvage *s, struct salvage_ranges *ranges,
              struct err *err)
{
  struct salvage_ranges found = VECTOR_INIT;
  uint64_t n = nbi_nr_chunks (&s->header);

  for (uint64_t c = 0; c < n; ++c) {
    const struct nbi_range range = { c * s->header.chunk_size,
                                     nbi_chunk_len (&s->header, c) };
    struct nbi_range *last = found.len > 0 ? &found.ptr[found.len - 1] : NULL;

    if (!is_lost (s, c))
      continue;
    if (last != NULL && last->off + last->len == range.off)
      last->len += range.len;
    else if (vector_append (&found, &range) < 0) {
      vector_free (&found);
      return err_nomem (err);
    }
  }
  *ranges = found;
  return 0;
}
