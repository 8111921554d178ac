/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/space-map.h"

#define BITS 64                 /* in a word */
#define WINDOW (UINT64_C (256) * 1024 * 1024)   /* units */

int
space_map_open (struct space_map *map, uint64_t nr_units, struct err *err)
{
  uint64_t nr_words = div_round_up (min_u64 (nr_units, WINDOW), BITS);

  *map = (struct space_map) SPACE_MAP_INIT;
  map->nr_units = nr_units;
  map->words = calloc (max_u64 (nr_words, 1), sizeof map->words[0]);
  return map->words ? 0 : err_nomem (err);
}

void
space_map_close (struct space_map *map)
{
  free (map->words);
  map->words = NULL;
}

uint64_t
space_map_nr_windows (const struct space_map *map)
{
  return max_u64 (div_round_up (map->nr_units, WINDOW), 1);
}

bool
space_map_next (struct space_map *map)
{
  bool is_first = map->end == 0;

  if (!is_first && map->end >= map->nr_units)
    return false;
  if (!is_first)
    memset (map->words, 0, WINDOW / 8);
  map->first = map->end;
  map->end = map->first + min_u64 (map->nr_units - map->first, WINDOW);
  map->looked = map->first;
  return is_first || map->first < map->end;
}

bool
space_map_claim (struct space_map *map, uint64_t first, uint64_t nr)
{
  uint64_t end = nr > UINT64_MAX - first ? UINT64_MAX : first + nr;
  bool was_free = true;

  first = max_u64 (first, map->first);
  end = min_u64 (end, map->end);
  while (first < end) {
    uint64_t bit = first - map->first;
    uint64_t n = min_u64 (end - first, BITS - bit % BITS);
    uint64_t mask = (UINT64_MAX >> (BITS - n)) << bit % BITS;

    was_free = was_free && (map->words[bit / BITS] & mask) == 0;
    map->words[bit / BITS] |= mask;
    first += n;
  }
  return was_free;
}

/* The first unit from `from' on, in the window, that is claimed or not, or
 * the end of the window.
 */
static uint64_t
find (const struct space_map *map, uint64_t from, bool claimed)
{
  while (from < map->end) {
    uint64_t bit = from - map->first;
    uint64_t word = map->words[bit / BITS];

    word = (claimed ? word : ~word) >> bit % BITS;
    if (word != 0)
      return min_u64 (from + (uint64_t) __builtin_ctzll (word), map->end);
    from += BITS - bit % BITS;
  }
  return map->end;
}

bool
space_map_free_run (struct space_map *map, struct space_run *run)
{
  while (map->looked < map->end) {
    uint64_t first = find (map, map->looked, false);
    uint64_t end = find (map, first, true);

    /* What is pending ends in front of this run, unless it goes on. */
    if (map->pending.nr > 0 &&
        map->pending.first + map->pending.nr != first) {
      *run = map->pending;
      map->pending.nr = 0;
      return true;
    }
    map->looked = end;
    if (first == end)
      continue;
    if (map->pending.nr == 0)
      map->pending.first = first;
    map->pending.nr += end - first;
  }
  return false;
}

bool
space_map_last_run (const struct space_map *map, struct space_run *run)
{
  *run = map->pending;
  return run->nr > 0;
}
