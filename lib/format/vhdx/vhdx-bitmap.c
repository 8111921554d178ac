/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bitmap blocks of a differencing disk, one for each chunk: bit 1, the
 * sector is here; bit 0, it is the parent's.  Sector s of the chunk is the
 * bit 1 << s % 8 of byte s / 8: the other way round than in a VHD.
 *
 * Bits that wait to be written into the file count.  They are asked for
 * before those in the file, because they go there before they go away.
 */

#include <config.h>

#include "lib/base/checked.h"
#include "lib/format/vhdx/vhdx.h"

#define BITS_PER_UNIT (SECTOR_CACHE_UNIT * 8U)

static bool
bit_at (const uint8_t *bits, unsigned i)
{
  return bits[i / 8] & 1 << i % 8;
}

unsigned
vhdx_bits_run (const uint8_t *bits, unsigned first, unsigned max, bool *bit)
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

/* Those of a block that are in the unit where the bit of its sector is: that
 * is bit number in_unit of it.
 */
static void
pending_bits (struct vhdx_layer *layer, uint64_t sector, unsigned in_unit,
              uint8_t bits[SECTOR_CACHE_UNIT])
{
  struct pending *pending = __atomic_load_n (&layer->pending,
                                             __ATOMIC_ACQUIRE);
  uint32_t per_block = layer->metadata.block_size / layer->metadata.logical;
  uint32_t in_block = (uint32_t) (sector % per_block);
  uint32_t first = (uint32_t) round_down (in_block, PENDING_PAGE_SECTORS);
  uint32_t nr = (uint32_t) min_u64 (per_block - first, PENDING_PAGE_SECTORS);

  if (pending && !pending_is_empty (pending))
    pending_merge (pending, sector / per_block, first, nr,
                   bits + (in_unit - (in_block - first)) / 8);
}

int
vhdx_bitmap_run (struct vhdx_layer *layer, uint64_t sector, uint64_t max,
                 uint64_t *nr, bool *here, struct err *err)
{
  uint64_t in_chunk = sector % VHDX_CHUNK_SECTORS, off;
  unsigned in_unit = in_chunk % BITS_PER_UNIT;
  uint8_t bits[SECTOR_CACHE_UNIT], pending[SECTOR_CACHE_UNIT] = { 0 };
  int r;

  pending_bits (layer, sector, in_unit, pending);
  r = vhdx_bat_lookup_bitmap (layer, sector / VHDX_CHUNK_SECTORS, &off, err);
  if (r == 0)
    r = sector_cache_read (layer->cache, layer->file, layer->number,
                           off / SECTOR_CACHE_UNIT + in_chunk / BITS_PER_UNIT,
                           bits, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < sizeof bits; ++i)
    bits[i] |= pending[i];
  max = min_u64 (max, BITS_PER_UNIT - in_unit);
  *nr = vhdx_bits_run (bits, in_unit, (unsigned) max, here);
  return 0;
}
