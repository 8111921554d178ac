/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bitmap in front of a block's data: bit 1, the sector is here; bit 0,
 * it is zero or the parent's.  Sector s is the bit 0x80 >> s % 8 of byte
 * s / 8.
 */

#include <config.h>

#include "lib/format/vhd/vhd.h"

#define BITS_PER_SECTOR (VHD_SECTOR_SIZE * 8U)

static bool
bit_at (const uint8_t *bits, unsigned i)
{
  return bits[i / 8] & 0x80 >> i % 8;
}

unsigned
vhd_bits_run (const uint8_t *bits, unsigned first, unsigned max, bool *bit)
{
  unsigned i = first, end = first + max;
  uint8_t same;

  *bit = bit_at (bits, first);
  same = *bit ? 0xFF : 0;
  while (i < end) {
    if (i % 8 == 0 && end - i >= 8 && bits[i / 8] == same)
      i += 8;
    else if (bit_at (bits, i) == *bit)
      i++;
    else
      break;
  }
  return i - first;
}

int
vhd_bitmap_run (struct vhd_layer *layer, uint32_t block_sector,
                unsigned first, unsigned max, unsigned *nr, bool *here,
                struct err *err)
{
  uint64_t sector = (uint64_t) block_sector + first / BITS_PER_SECTOR;
  unsigned in_sector = first % BITS_PER_SECTOR;
  uint8_t bits[VHD_SECTOR_SIZE];
  int r;

  if (max > BITS_PER_SECTOR - in_sector)
    max = BITS_PER_SECTOR - in_sector;
  r = sector_cache_read (layer->cache, layer->block, layer->number, sector,
                         bits, err);
  if (r < 0)
    return r;
  *nr = vhd_bits_run (bits, in_sector, max, here);
  return 0;
}
