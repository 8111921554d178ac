/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bitmap in front of a block's data: bit 1, the sector is here; bit 0,
 * it is zero or the parent's.  Sector s is the bit 0x80 >> s % 8 of byte
 * s / 8.
 *
 * Most bitmaps are full: programs set all bits of a block that they write
 * to.  Once seen, that is remembered, in one bit for each sector of bitmap, and
 * the bitmap is not read again.  Otherwise random reads of a disk that the
 * cache of sectors does not cover would read the file twice each.
 *
 * Bits that wait to be written into the file count.  They are asked for
 * before those in the file, because they go there before they go away.
 */

#include <config.h>

#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd.h"

#define BITS_PER_SECTOR (VHD_SECTOR_SIZE * 8U)

uint32_t
vhd_bitmap_size (uint32_t block_size)
{
  uint64_t bytes = div_round_up (block_size, VHD_SECTOR_SIZE * 8);

  return (uint32_t) round_up (bytes, VHD_SECTOR_SIZE);
}

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

/*--- Full bitmaps -----------------------------------------------------------*/

/* Bytes: enough for 16 TiB of disk in blocks of 2 MiB or more.  A smaller block
 * takes a bit of its own.
 */
#define MAX_REMEMBERED (1024 * 1024)

static uint64_t
sectors_per_bitmap (const struct vhd_bat *bat)
{
  return bat->bitmap_size / VHD_SECTOR_SIZE;
}

int
vhd_bitmap_open (struct vhd_bat *bat, struct err *err)
{
  uint64_t nr = bat->nr_entries * sectors_per_bitmap (bat);

  if (nr / 8 >= MAX_REMEMBERED)
    return 0;
  bat->full = calloc (nr / 8 + 1, 1);
  return bat->full ? 0 : err_nomem (err);
}

int
vhd_bitmap_open_places (struct vhd_bat *bat, struct err *err)
{
  bat->full_at = calloc (bat->nr_entries * sectors_per_bitmap (bat) + 1,
                         sizeof bat->full_at[0]);
  return bat->full_at ? 0 : err_nomem (err);
}

static bool
is_known_full (const struct vhd_bat *bat, uint64_t which,
               uint32_t block_sector)
{
  if (bat->full_at)
    return __atomic_load_n (&bat->full_at[which], __ATOMIC_ACQUIRE) ==
      block_sector;
  return bat->full && __atomic_load_n (&bat->full[which / 8],
                                       __ATOMIC_ACQUIRE) & 1 << which % 8;
}

static void
set_known_full (const struct vhd_bat *bat, uint64_t which,
                uint32_t block_sector)
{
  if (bat->full_at)
    __atomic_store_n (&bat->full_at[which], block_sector, __ATOMIC_RELEASE);
  else
    __atomic_fetch_or (&bat->full[which / 8], (uint8_t) (1 << which % 8),
                       __ATOMIC_RELEASE);
}

/* The sectors of the block that sector `part` of its bitmap describes. */
static unsigned
nr_described (const struct vhd_bat *bat, unsigned part)
{
  return (unsigned) min_u64 (BITS_PER_SECTOR, bat->block_size / VHD_SECTOR_SIZE
                             - (uint64_t) part * BITS_PER_SECTOR);
}

static void
remember_if_full (const struct vhd_bat *bat, uint64_t which, unsigned part,
                  uint32_t block_sector, const uint8_t bits[VHD_SECTOR_SIZE])
{
  unsigned nr = nr_described (bat, part);
  bool bit;

  if ((bat->full == NULL && bat->full_at == NULL) || nr % 8 != 0)
    return;
  /* The first and the last byte tell nearly always. */
  if ((bits[0] & bits[nr / 8 - 1]) != 0xFF ||
      vhd_bits_run (bits, 0, nr, &bit) < nr)
    return;
  set_known_full (bat, which, block_sector);
}

void
vhd_bitmap_set_full (struct vhd_bat *bat, uint64_t index)
{
  uint64_t nr = sectors_per_bitmap (bat);

  for (uint64_t which = index * nr; which < (index + 1) * nr; ++which)
    set_known_full (bat, which, 0);
}

bool
vhd_bitmap_is_full (const struct vhd_bat *bat, uint64_t index)
{
  uint64_t nr = sectors_per_bitmap (bat);

  for (uint64_t which = index * nr; which < (index + 1) * nr; ++which)
    if (!is_known_full (bat, which, 0))
      return false;
  return true;
}

void
vhd_bitmap_forget_full (struct vhd_bat *bat, uint64_t index)
{
  uint64_t nr = sectors_per_bitmap (bat);

  for (uint64_t which = index * nr; which < (index + 1) * nr; ++which)
    __atomic_store_n (&bat->full_at[which], 0, __ATOMIC_RELEASE);
}

/*--- A run ------------------------------------------------------------------*/

/* The bits that sector `part` of the bitmap has, or would have. */
static int
read_bits (struct vhd_layer *layer, uint64_t index, uint32_t block_sector,
           unsigned part, uint8_t bits[VHD_SECTOR_SIZE], struct err *err)
{
  uint8_t pending[VHD_SECTOR_SIZE] = { 0 };
  bool any = layer->pending && !pending_is_empty (layer->pending);
  int r;

  if (any)
    pending_merge (layer->pending, index, part * BITS_PER_SECTOR,
                   nr_described (&layer->bat, part), pending);
  r = sector_cache_read (layer->cache, layer->block, layer->number,
                         (uint64_t) block_sector + part, bits, err);
  for (size_t i = 0; r == 0 && any && i < VHD_SECTOR_SIZE; ++i)
    bits[i] |= pending[i];
  return r;
}

int
vhd_bitmap_run (struct vhd_layer *layer, uint64_t index,
                uint32_t block_sector,
                unsigned first, unsigned max, unsigned *nr, bool *here,
                struct err *err)
{
  const struct vhd_bat *bat = &layer->bat;
  unsigned part = first / BITS_PER_SECTOR;
  uint64_t which = index * sectors_per_bitmap (bat) + part;
  unsigned in_sector = first % BITS_PER_SECTOR;
  uint8_t bits[VHD_SECTOR_SIZE];
  int r;

  if (max > BITS_PER_SECTOR - in_sector)
    max = BITS_PER_SECTOR - in_sector;
  if (is_known_full (bat, which, block_sector)) {
    *nr = max;
    *here = true;
    return 0;
  }
  r = read_bits (layer, index, block_sector, part, bits, err);
  if (r < 0)
    return r;
  remember_if_full (bat, which, part, block_sector, bits);
  *nr = vhd_bits_run (bits, in_sector, max, here);
  return 0;
}
