/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where blocks may lie in the file. */

#include <config.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd-edit.h"

uint64_t
vhd_place_size (const struct vhd_bat *bat)
{
  return (uint64_t) bat->bitmap_size + bat->block_size;
}

uint64_t
vhd_place_stride (const struct vhd_bat *bat)
{
  return round_up (vhd_place_size (bat), VHD_ALIGNMENT);
}

uint64_t
vhd_place_off (uint32_t sector)
{
  return (uint64_t) sector * VHD_SECTOR_SIZE;
}

uint64_t
vhd_place_align (const struct vhd_bat *bat, uint64_t off)
{
  return round_up (off + bat->bitmap_size, VHD_ALIGNMENT) - bat->bitmap_size;
}

uint64_t
vhd_place_end_of_data (const struct vhd_bat *bat)
{
  uint32_t last = VHD_BAT_HELD_ABSENT;

  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    uint32_t sector = __atomic_load_n (&bat->entries[i], __ATOMIC_ACQUIRE);

    last = sector > last ? sector : last;
  }
  if (last == VHD_BAT_HELD_ABSENT)
    return bat->reserved_end;
  return max_u64 (bat->reserved_end,
                  vhd_place_off (last) + vhd_place_size (bat));
}
