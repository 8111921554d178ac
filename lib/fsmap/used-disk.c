/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The map of a disk from those of its partitions.  Everything is added to one
 * map, so that what is unused is what nobody uses.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "lib/base/checked.h"
#include "lib/fsmap/used.h"

static int
add_partition (struct used_map *map, const struct used_partition *p,
               struct err *err)
{
  uint64_t ends = min_u64 (p->len, USED_DISK_ENDS);
  int r;

  if (p->is_left_out)
    return 0;
  if (p->map == NULL)
    return used_map_add (map, p->off, p->len, err);
  r = used_map_add (map, p->off, ends, err);
  for (size_t i = 0; i < p->map->runs.len && r == 0; ++i)
    r = used_map_add (map, p->off + p->map->runs.ptr[i].off,
                      p->map->runs.ptr[i].len, err);
  if (r == 0)
    r = used_map_add (map, p->off + p->len - ends, ends, err);
  if (r == 0)
    map->filled = max_u64 (map->filled, p->map->filled);
  return r;
}

/* Everything that is in no partition. */
static int
add_gaps (struct used_map *map, const struct used_partition *parts,
          size_t nr_parts, struct err *err)
{
  struct used_map taken;
  uint64_t off = 0;
  int r = 0;

  used_map_init (&taken, map->size, map->limit);
  for (size_t i = 0; i < nr_parts && r == 0; ++i)
    r = used_map_add (&taken, parts[i].off, parts[i].len, err);
  used_map_finish (&taken);
  while (off < map->size && r == 0) {
    uint64_t end;
    bool in_one;

    used_map_find (&taken, off, &in_one, &end);
    if (!in_one)
      r = used_map_add (map, off, end - off, err);
    off = end;
  }
  used_map_free (&taken);
  return r;
}

int
used_disk_map (uint64_t disk_size, const struct used_partition *parts,
               size_t nr_parts, struct used_map *map, struct err *err)
{
  struct used_map disk;
  int r = 0;

  for (size_t i = 0; i < nr_parts; ++i) {
    const struct used_partition *p = &parts[i];

    if (!range_fits (p->off, p->len, disk_size))
      return err_set (err, -EINVAL, "a partition of %" PRIu64 " bytes at %"
                      PRIu64 " is not on the disk of %" PRIu64, p->len, p->off,
                      disk_size);
    if (p->map != NULL && p->map->size != p->len)
      return err_set (err, -EINVAL, "the map of a partition of %" PRIu64
                      " bytes is of %" PRIu64, p->len, p->map->size);
  }
  /* Of a disk without a table too. */
  used_map_init (&disk, disk_size, USED_MAP_LIMIT);
  r = used_map_add (&disk, 0, USED_DISK_ENDS, err);
  for (size_t i = 0; i < nr_parts && r == 0; ++i)
    r = add_partition (&disk, &parts[i], err);
  if (r == 0)
    r = add_gaps (&disk, parts, nr_parts, err);
  if (r < 0) {
    used_map_free (&disk);
    return r;
  }
  used_map_finish (&disk);
  *map = disk;
  return 0;
}
