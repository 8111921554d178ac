/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The gaps between blocks that a place fits into (../gaps.h).
 *
 * Most files have none, which is seen by counting; so the map is made only
 * where there is more in front of the end than blocks.  Its units are what
 * blocks are aligned to.  New places are aligned where that costs none: not in
 * a gap that a block of qemu has left among its others, which lie one behind
 * the other.
 */

#include <config.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd-space.h"

struct finding {
  const struct vhd_bat *bat;
  uint32_t unit;                /* bytes, of the map */
};

static uint32_t
entry (const struct vhd_bat *bat, uint64_t index)
{
  return __atomic_load_n (&bat->entries[index], __ATOMIC_RELAXED);
}

static void
claim_bytes (struct space_map *map, uint32_t unit, uint64_t off, uint64_t len)
{
  space_map_claim (map, off / unit,
                   div_round_up (off + len, unit) - off / unit);
}

static void
claim_all (struct space_map *map, void *opaque)
{
  const struct finding *f = opaque;
  const struct vhd_bat *bat = f->bat;

  for (size_t i = 0; i < bat->nr_reserved; ++i)
    claim_bytes (map, f->unit, bat->reserved[i].off, bat->reserved[i].len);
  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (entry (bat, i) != VHD_BAT_HELD_ABSENT)
      claim_bytes (map, f->unit, vhd_place_off (entry (bat, i)),
                   vhd_place_size (bat));
}

/* How many blocks there are, and whether they are aligned. */
static uint64_t
count (const struct vhd_bat *bat, bool *aligned)
{
  uint64_t nr = 0;

  *aligned = true;
  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    uint64_t off = vhd_place_off (entry (bat, i));

    if (entry (bat, i) == VHD_BAT_HELD_ABSENT)
      continue;
    nr++;
    *aligned = *aligned && vhd_place_align (bat, off) == off;
  }
  return nr;
}

void
vhd_gaps_find (const struct vhd_bat *bat, struct gaps *gaps)
{
  struct finding f = { .bat = bat };
  bool aligned;
  uint64_t nr = count (bat, &aligned), all;
  uint64_t end = vhd_place_end_of_data (bat);

  f.unit = aligned ? VHD_ALIGNMENT : VHD_SECTOR_SIZE;
  all = (nr + 1) * round_up (vhd_place_size (bat), f.unit);
  for (size_t i = 0; i < bat->nr_reserved; ++i)
    all += bat->reserved[i].len;
  if (nr > 0 && all <= end)
    gaps_find (gaps, round_down (end, f.unit), f.unit, vhd_place_size (bat),
               claim_all, &f);
}

bool
vhd_gaps_take (const struct vhd_bat *bat, struct gaps *gaps, uint64_t *off)
{
  uint64_t size = vhd_place_size (bat);
  struct gap gap;

  if (!gaps_first (gaps, size, &gap))
    return false;
  *off = vhd_place_align (bat, gap.off);
  if (gap.len % size < *off - gap.off)
    *off = gap.off;
  gaps_use (gaps, *off + size);
  return true;
}
