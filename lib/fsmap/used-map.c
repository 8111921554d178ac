/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Most file systems are read front to back, so that a new run nearly always
 * extends the last or follows it; the list is sorted when it is asked for, and
 * when it is full.  A list that is full is merged; when more than half of it
 * is left, gaps are filled, from 4 KiB and by doubling, until it is not: so
 * that the work stays in proportion to what is added.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/fsmap/used-map.h"

#define FIRST_FILLED 4096

void
used_map_init (struct used_map *map, uint64_t size, size_t limit)
{
  map->runs = (struct used_runs) VECTOR_INIT;
  map->size = size;
  map->filled = 0;
  map->limit = limit;
}

void
used_map_free (struct used_map *map)
{
  vector_free (&map->runs);
}

static uint64_t
end_of (const struct used_run *run)
{
  return run->off + run->len;
}

static int
compare_runs (const void *a, const void *b)
{
  const struct used_run *x = a, *y = b;

  return x->off < y->off ? -1 : x->off > y->off;
}

/* They are sorted: merge what touches, or is less than `gap` apart. */
static void
merge (struct used_runs *runs, uint64_t gap)
{
  size_t n = 0;

  for (size_t i = 1; i < runs->len; ++i) {
    struct used_run *last = &runs->ptr[n], *next = &runs->ptr[i];
    uint64_t end = max_u64 (end_of (last), end_of (next));

    if (next->off <= end_of (last) || next->off - end_of (last) < gap)
      last->len = end - last->off;
    else
      runs->ptr[++n] = *next;
  }
  if (runs->len > 0)
    runs->len = n + 1;
}

void
used_map_finish (struct used_map *map)
{
  struct used_runs *runs = &map->runs;
  bool sorted = true;

  for (size_t i = 1; i < runs->len && sorted; ++i)
    sorted = runs->ptr[i - 1].off <= runs->ptr[i].off;
  if (!sorted)
    qsort (runs->ptr, runs->len, sizeof *runs->ptr, compare_runs);
  merge (runs, 0);
}

static void
make_room (struct used_map *map)
{
  used_map_finish (map);
  while (map->runs.len > map->limit / 2) {
    map->filled = map->filled > 0 ? map->filled * 2 : FIRST_FILLED;
    merge (&map->runs, map->filled);
  }
}

int
used_map_add (struct used_map *map, uint64_t off, uint64_t len,
              struct err *err)
{
  struct used_run run = { off, len };

  if (off >= map->size || len == 0)
    return 0;
  run.len = min_u64 (len, map->size - off);
  if (map->runs.len > 0) {
    struct used_run *last = &map->runs.ptr[map->runs.len - 1];

    if (off >= last->off && off <= end_of (last)) {
      last->len = max_u64 (end_of (last), end_of (&run)) - last->off;
      return 0;
    }
  }
  if (map->runs.len >= map->limit)
    make_room (map);
  return vector_append (&map->runs, &run) < 0 ? err_nomem (err) : 0;
}

/* The first bit at or behind `from` that is `value`; nr if there is none. */
static uint64_t
find_bit (const uint8_t *bits, uint64_t from, uint64_t nr, bool value)
{
  uint8_t other = value ? 0 : 0xff;

  while (from < nr) {
    if (from % 8 == 0 && bits[from / 8] == other)
      from += 8;
    else if ((bits[from / 8] >> (from % 8) & 1) == value)
      return from;
    else
      from++;
  }
  return nr;
}

int
used_map_add_bits (struct used_map *map, const uint8_t *bits, uint64_t nr,
                   uint64_t unit, uint64_t off, uint64_t *nr_set,
                   struct err *err)
{
  uint64_t from = find_bit (bits, 0, nr, true);
  int r = 0;

  *nr_set = 0;
  while (from < nr && r == 0) {
    uint64_t end = find_bit (bits, from, nr, false);

    *nr_set += end - from;
    r = used_map_add (map, off + from * unit, (end - from) * unit, err);
    from = find_bit (bits, end, nr, true);
  }
  return r;
}

uint64_t
used_map_bytes (const struct used_map *map)
{
  uint64_t bytes = 0;

  for (size_t i = 0; i < map->runs.len; ++i)
    bytes += map->runs.ptr[i].len;
  return bytes;
}

/* The index of the first run that ends behind off. */
static size_t
first_behind (const struct used_map *map, uint64_t off)
{
  size_t low = 0, high = map->runs.len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (end_of (&map->runs.ptr[middle]) > off)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

void
used_map_find (const struct used_map *map, uint64_t off, bool *used,
               uint64_t *end)
{
  size_t i = first_behind (map, off);

  *used = i < map->runs.len && map->runs.ptr[i].off <= off;
  if (*used)
    *end = end_of (&map->runs.ptr[i]);
  else
    *end = i < map->runs.len ? map->runs.ptr[i].off : map->size;
}

bool
used_map_covers (const struct used_map *map, uint64_t off, uint64_t len)
{
  size_t i = first_behind (map, off);

  return range_fits (off, len, map->size) && i < map->runs.len &&
    map->runs.ptr[i].off <= off && end_of (&map->runs.ptr[i]) - off >= len;
}

bool
used_map_touches (const struct used_map *map, uint64_t off, uint64_t len)
{
  size_t i = first_behind (map, off);

  return i < map->runs.len && (map->runs.ptr[i].off <= off ||
                               map->runs.ptr[i].off - off < len);
}
