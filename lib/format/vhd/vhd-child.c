/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is written into one block of a differencing disk.
 *
 * Sectors whose bits are 1 are written in place, and nobody waits.  Others
 * are the parent's so far:
 *
 *   1. Data is written to their place, where nobody reads yet.  Of a sector
 *      that is not written as a whole the rest comes from the parents.
 *   2. Their bits become pending (vhd-pending.c), and count from then on.
 *
 * An absent block gets a place first, whose bitmap is all zeros and whose
 * data is zero, on stable storage (vhd-space.c): 1, then the BAT entry is
 * written, in any order to stable storage, because all of the block is still
 * the parent's; then 2.
 *
 * A crash before 2: it is all the parent's, as it was.  After 2: a power cut
 * may lose what was not flushed, sector by sector; a killed process loses
 * nothing.
 *
 * Who does this has made the block busy.  Those who write whole sectors share
 * it with each other: where they write to the same sector either may win.
 * Whoever fills up a sector must have it alone, as he writes bytes that he
 * has only read; and so must who adds or removes the block.
 *
 * Zeros hide what parents have: they are written, or a hole punched, and the
 * bits set.  Where the parents have nothing either, a block that is zeroed or
 * trimmed as a whole becomes absent, and one that is absent stays so.  What
 * is trimmed otherwise becomes zeros where the bits are 1; where they are 0
 * nothing happens.  So no bit ever becomes 0 over data of the parents.
 */

#include <config.h>

#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd-write.h"

static uint64_t
disk_off (const struct vhd_writer *w, const struct vhd_part *part)
{
  return part->index * w->layer->bat.block_size + part->in_block;
}

static bool
is_of_whole_sectors (const struct vhd_part *part)
{
  return part->in_block % VHD_SECTOR_SIZE == 0 &&
    part->len % VHD_SECTOR_SIZE == 0;
}

/* Is the block, which is ours now, still where we found it? */
static bool
is_still_at (const struct vhd_writer *w, uint64_t index, uint32_t sector)
{
  uint32_t now;

  return vhd_bat_lookup (w->layer, index, &now, NULL) == 0 && now == sector;
}

/*--- Data -------------------------------------------------------------------*/

/* A part of one sector, which the caller has alone if its bit is 0. */
static int
write_in_sector (struct vhd_writer *w, const struct vhd_part *part,
                 uint32_t sector, const void *buf, struct err *err)
{
  uint32_t in_sector = part->in_block % VHD_SECTOR_SIZE;
  struct vhd_part all = { part->index, part->in_block - in_sector,
                          VHD_SECTOR_SIZE };
  uint8_t bytes[VHD_SECTOR_SIZE];
  bool set;
  int r = vhd_bits_are_set (w, part, sector, &set, err);

  if (r < 0)
    return r;
  if (set)
    return block_pwrite (w->layer->block, buf, part->len,
                         vhd_data_off (w, sector, part), 0, err);
  r = vhd_layer_pread (w->layer, bytes, sizeof bytes, disk_off (w, &all),
                       err);
  if (r < 0)
    return r;
  memcpy (bytes + in_sector, buf, part->len);
  return block_pwrite (w->layer->block, bytes, sizeof bytes,
                       vhd_data_off (w, sector, &all), 0, err);
}

/* A part of a sector in front, whole ones, a part of one behind. */
static int
write_data (struct vhd_writer *w, const struct vhd_part *part,
            uint32_t sector, const void *buf, struct err *err)
{
  struct vhd_part rest = *part;
  const char *p = buf;
  int r = 0;

  while (r == 0 && rest.len > 0) {
    uint32_t in_sector = rest.in_block % VHD_SECTOR_SIZE;
    struct vhd_part now = rest;

    now.len = in_sector > 0 || rest.len < VHD_SECTOR_SIZE
      ? min_u64 (rest.len, VHD_SECTOR_SIZE - in_sector)
      : round_down (rest.len, VHD_SECTOR_SIZE);
    r = is_of_whole_sectors (&now)
      ? block_pwrite (w->layer->block, p, now.len,
                      vhd_data_off (w, sector, &now), 0, err)
      : write_in_sector (w, &now, sector, p, err);
    p += now.len;
    rest.in_block += (uint32_t) now.len;
    rest.len -= now.len;
  }
  return r;
}

static int
set_bits (struct vhd_writer *w, const struct vhd_part *part, uint32_t sector,
          struct err *err)
{
  uint32_t first = part->in_block / VHD_SECTOR_SIZE;
  uint32_t end = (uint32_t) div_round_up (part->in_block + part->len,
                                          VHD_SECTOR_SIZE);

  return vhd_pending_set (w->pending, part->index, sector, first, end - first,
                          err);
}

/* An absent block, which the caller has alone.  buf NULL: zeros, which are
 * there already.
 */
static int
add_block (struct vhd_writer *w, const struct vhd_part *part, const void *buf,
           struct err *err)
{
  uint32_t sector;
  int r = vhd_space_take (w->space, &sector, err);

  if (r < 0)
    return r;
  r = buf ? write_data (w, part, sector, buf, err) : 0;
  if (r < 0) {
    vhd_space_soil (w->space, sector);
    return r;
  }
  r = vhd_block_publish (w, part->index, sector, err);
  return r < 0 ? r : set_bits (w, part, sector, err);
}

int
vhd_child_write (struct vhd_writer *w, const struct vhd_part *part,
                 const void *buf, struct err *err)
{
  struct vhd_busy busy;
  uint32_t sector;
  bool set = false;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r == 0 && sector != VHD_BAT_ABSENT)
    r = vhd_bits_are_set (w, part, sector, &set, err);
  if (r < 0)
    return r;
  if (set)
    return block_pwrite (w->layer->block, buf, part->len,
                         vhd_data_off (w, sector, part), 0, err);
  vhd_busy_begin (w, part->index,
                  sector != VHD_BAT_ABSENT && is_of_whole_sectors (part),
                  &busy);
  if (!is_still_at (w, part->index, sector))
    r = 1;
  else if (sector == VHD_BAT_ABSENT)
    r = add_block (w, part, buf, err);
  else {
    r = write_data (w, part, sector, buf, err);
    if (r == 0)
      r = set_bits (w, part, sector, err);
  }
  vhd_busy_end (w, &busy);
  return r;
}

/*--- Zeros ------------------------------------------------------------------*/

/* Whole sectors, of a block that is not removed. */
static int
zero_sectors (struct vhd_writer *w, const struct vhd_part *part,
              uint32_t sector, unsigned flags, struct err *err)
{
  struct vhd_busy busy;
  int r;

  vhd_busy_begin (w, part->index, sector != VHD_BAT_ABSENT, &busy);
  if (!is_still_at (w, part->index, sector))
    r = 1;
  else if (sector == VHD_BAT_ABSENT)
    r = add_block (w, part, NULL, err);
  else {
    r = block_zero (w->layer->block, part->len,
                    vhd_data_off (w, sector, part), flags, err);
    if (r == 0)
      r = set_bits (w, part, sector, err);
  }
  vhd_busy_end (w, &busy);
  return r;
}

static int
zero_whole_sectors (struct vhd_writer *w, const struct vhd_part *part,
                    unsigned flags, struct err *err)
{
  bool removable = vhd_is_whole_block (w, part) && !(flags & BLOCK_NO_HOLE);
  bool zero = false, done = false, set = false;
  uint32_t sector;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r == 0 && (sector == VHD_BAT_ABSENT || removable))
    r = vhd_parents_are_zero (w->layer, part->len, disk_off (w, part), &zero,
                              err);
  if (r < 0 || (zero && sector == VHD_BAT_ABSENT))
    return r;
  if (zero)
    r = vhd_block_remove (w, part->index, &done, err);
  if (r < 0 || done)
    return r;
  if (sector != VHD_BAT_ABSENT)
    r = vhd_bits_are_set (w, part, sector, &set, err);
  if (r < 0)
    return r;
  if (set)
    return block_zero (w->layer->block, part->len,
                       vhd_data_off (w, sector, part), flags, err);
  return zero_sectors (w, part, sector, flags, err);
}

/* A part of one sector, if it is absent and zero anyway, is written all the
 * same: that is rare.
 */
int
vhd_child_zero (struct vhd_writer *w, const struct vhd_part *part,
                unsigned flags, struct err *err)
{
  static const uint8_t zeros[VHD_SECTOR_SIZE];
  struct vhd_part rest = *part;
  int r = 0;

  while (r == 0 && rest.len > 0) {
    uint32_t in_sector = rest.in_block % VHD_SECTOR_SIZE;
    struct vhd_part now = rest;

    now.len = in_sector > 0 || rest.len < VHD_SECTOR_SIZE
      ? min_u64 (rest.len, VHD_SECTOR_SIZE - in_sector)
      : round_down (rest.len, VHD_SECTOR_SIZE);
    r = is_of_whole_sectors (&now)
      ? zero_whole_sectors (w, &now, flags, err)
      : vhd_child_write (w, &now, zeros, err);
    rest.in_block += (uint32_t) now.len;
    rest.len -= now.len;
  }
  return r;
}

/*--- Trim -------------------------------------------------------------------*/

/* Bits do not become 0 while we look. */
static int
discard_sectors (struct vhd_writer *w, const struct vhd_part *part,
                 uint32_t sector, struct err *err)
{
  unsigned i = (unsigned) div_round_up (part->in_block, VHD_SECTOR_SIZE), n;
  unsigned end = (unsigned) ((part->in_block + part->len) / VHD_SECTOR_SIZE);
  bool here;
  int r = 0;

  for (; r == 0 && i < end; i += n) {
    const struct vhd_part at = { part->index, i * VHD_SECTOR_SIZE, 0 };

    r = vhd_bitmap_run (w->layer, part->index, sector, i, end - i, &n, &here,
                        err);
    if (r == 0 && here)
      r = block_trim (w->layer->block, (uint64_t) n * VHD_SECTOR_SIZE,
                      vhd_data_off (w, sector, &at), 0, err);
  }
  return r;
}

int
vhd_child_discard (struct vhd_writer *w, const struct vhd_part *part,
                   struct err *err)
{
  bool zero = false, done = false;
  uint32_t sector;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r < 0 || sector == VHD_BAT_ABSENT)
    return r;
  if (vhd_is_whole_block (w, part))
    r = vhd_parents_are_zero (w->layer, part->len, disk_off (w, part), &zero,
                              err);
  if (r == 0 && zero)
    r = vhd_block_remove (w, part->index, &done, err);
  return r < 0 || done ? r : discard_sectors (w, part, sector, err);
}
