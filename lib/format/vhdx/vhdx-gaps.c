/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The gaps between blocks and regions that a place fits into (../gaps.h).
 *
 * Most files have none, which is seen by counting; so the map is made only
 * where there is more in front of the end than blocks.
 */

#include <config.h>

#include "lib/base/checked.h"
#include "lib/format/vhdx/vhdx-space.h"

/* What an entry has in the file, or keeps for itself there; 0: nothing. */
static uint64_t
bytes_of (const struct vhdx_layer *layer, uint64_t index, uint64_t *off)
{
  uint64_t entry = __atomic_load_n (&layer->bat.entries[index],
                                    __ATOMIC_RELAXED);

  *off = VHDX_BAT_OFFSET (entry);
  if (*off == 0)
    return 0;
  return vhdx_bat_is_bitmap (&layer->bat, index) ? VHDX_BITMAP_SIZE
    : layer->metadata.block_size;
}

static void
claim_all (struct space_map *map, void *opaque)
{
  const struct vhdx_layer *layer = opaque;
  uint64_t off, len;

  space_map_claim (map, 0, 1);
  for (size_t i = 0; i < layer->regions.all.len; ++i)
    space_map_claim (map, layer->regions.all.ptr[i].off / VHDX_UNIT,
                     layer->regions.all.ptr[i].len / VHDX_UNIT);
  for (uint64_t i = 0; i < layer->bat.nr_entries; ++i) {
    len = bytes_of (layer, i, &off);
    if (len > 0)
      space_map_claim (map, off / VHDX_UNIT, len / VHDX_UNIT);
  }
}

static uint64_t
bytes_of_all (const struct vhdx_layer *layer)
{
  uint64_t all = VHDX_UNIT, off;

  for (size_t i = 0; i < layer->regions.all.len; ++i)
    all += layer->regions.all.ptr[i].len;
  for (uint64_t i = 0; i < layer->bat.nr_entries; ++i)
    all += bytes_of (layer, i, &off);
  return all;
}

void
vhdx_gaps_find (struct vhdx_layer *layer, struct gaps *gaps)
{
  uint64_t end = vhdx_end_of_data (layer);
  uint32_t size = layer->metadata.block_size;

  if (end >= size && bytes_of_all (layer) <= end - size)
    gaps_find (gaps, end, VHDX_UNIT, size, claim_all, layer);
}
