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
 * An absent block becomes present first, at a place whose bitmap is all zeros
 * and whose data is zero, on stable storage (vhd-alloc.c): all of it is still
 * the parent's.
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

#include "lib/base/checked.h"
#include "lib/format/over-parents.h"
#include "lib/format/vhd/vhd-write.h"

static int
bits_run (const struct over_parents *b, uint32_t first, uint32_t max,
          uint32_t *nr, bool *here, struct err *err)
{
  struct vhd_writer *w = b->opaque;

  return vhd_bitmap_run (w->layer, b->index, (uint32_t) b->place, first, max,
                         nr, here, err);
}

static int
read_disk (const struct over_parents *b, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  struct vhd_writer *w = b->opaque;

  return vhd_layer_pread (w->layer, buf, len, off, err);
}

static const struct over_parents_ops ops = { bits_run, read_disk };

/* The block at this place. */
static struct over_parents
block_at (struct vhd_writer *w, uint64_t index, uint32_t sector)
{
  const struct vhd_bat *bat = &w->layer->bat;

  return (struct over_parents) {
    .ops = &ops,
    .opaque = w,
    .file = w->layer->block,
    .sector_size = VHD_SECTOR_SIZE,
    .index = index,
    .place = sector,
    .disk_off = index * bat->block_size,
    .data_off = (uint64_t) sector * VHD_SECTOR_SIZE + bat->bitmap_size,
  };
}

static bool
is_of_whole_sectors (const struct vhd_part *part)
{
  return over_parents_is_whole (VHD_SECTOR_SIZE, part->in_block, part->len);
}

static int
bits_are_set (struct vhd_writer *w, const struct vhd_part *part,
              uint32_t sector, bool *set, struct err *err)
{
  const struct over_parents b = block_at (w, part->index, sector);

  return over_parents_are_set (&b, part->in_block, part->len, set, err);
}

/* Is the block, which is ours now, still where we found it? */
static bool
is_still_at (const struct vhd_writer *w, uint64_t index, uint32_t sector)
{
  uint32_t now;

  return vhd_bat_lookup (w->layer, index, &now, NULL) == 0 && now == sector;
}

/* Alone where a sector is written in part. */
static void
make_busy (struct vhd_writer *w, const struct vhd_part *part,
           struct busy *busy)
{
  if (is_of_whole_sectors (part))
    busy_share (&w->busy, part->index, busy);
  else
    busy_begin (&w->busy, part->index, busy);
}

/*--- Data -------------------------------------------------------------------*/

static int
write_data (struct vhd_writer *w, const struct vhd_part *part,
            uint32_t sector, const void *buf, struct err *err)
{
  const struct over_parents b = block_at (w, part->index, sector);

  return over_parents_write (&b, part->in_block, buf, part->len, err);
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

/* Returns 1, the block being there by now, or an error. */
static int
add_block (struct vhd_writer *w, const struct vhd_part *part, struct err *err)
{
  int r = vhd_block_add (w, part->index, err);

  return r < 0 ? r : 1;
}

int
vhd_child_write (struct vhd_writer *w, const struct vhd_part *part,
                 const void *buf, struct err *err)
{
  struct busy busy;
  uint32_t sector;
  bool set = false;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r == 0 && sector == VHD_BAT_ABSENT)
    return add_block (w, part, err);
  if (r == 0)
    r = bits_are_set (w, part, sector, &set, err);
  if (r < 0)
    return r;
  if (set)
    return block_pwrite (w->layer->block, buf, part->len,
                         vhd_data_off (w, sector, part), 0, err);
  make_busy (w, part, &busy);
  if (!is_still_at (w, part->index, sector))
    r = 1;
  else {
    r = write_data (w, part, sector, buf, err);
    if (r == 0)
      r = set_bits (w, part, sector, err);
  }
  busy_end (&w->busy, &busy);
  return r;
}

/*--- Zeros ------------------------------------------------------------------*/

/* Whole sectors, of a block that is not removed. */
static int
zero_sectors (struct vhd_writer *w, const struct vhd_part *part,
              uint32_t sector, unsigned flags, struct err *err)
{
  struct busy busy;
  int r;

  make_busy (w, part, &busy);
  if (!is_still_at (w, part->index, sector))
    r = 1;
  else {
    r = block_zero (w->layer->block, part->len,
                    vhd_data_off (w, sector, part), flags, err);
    if (r == 0)
      r = set_bits (w, part, sector, err);
  }
  busy_end (&w->busy, &busy);
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
    r = vhd_parents_are_zero (w->layer, part->len,
                              part->index * w->layer->bat.block_size +
                              part->in_block, &zero, err);
  if (r < 0 || (zero && sector == VHD_BAT_ABSENT))
    return r;
  if (zero)
    r = vhd_block_remove (w, part->index, &done, err);
  if (r < 0 || done)
    return r;
  if (sector == VHD_BAT_ABSENT)
    return add_block (w, part, err);
  r = bits_are_set (w, part, sector, &set, err);
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
    struct vhd_part now = rest;

    now.len = over_parents_piece (VHD_SECTOR_SIZE, rest.in_block, rest.len);
    r = is_of_whole_sectors (&now)
      ? zero_whole_sectors (w, &now, flags, err)
      : vhd_child_write (w, &now, zeros, err);
    rest.in_block += (uint32_t) now.len;
    rest.len -= now.len;
  }
  return r;
}

/*--- Trim -------------------------------------------------------------------*/

int
vhd_child_discard (struct vhd_writer *w, const struct vhd_part *part,
                   struct err *err)
{
  bool zero = false, done = false;
  struct over_parents b;
  uint32_t sector;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r < 0 || sector == VHD_BAT_ABSENT)
    return r;
  b = block_at (w, part->index, sector);
  if (vhd_is_whole_block (w, part))
    r = vhd_parents_are_zero (w->layer, part->len, b.disk_off, &zero, err);
  if (r == 0 && zero)
    r = vhd_block_remove (w, part->index, &done, err);
  return r < 0 || done ? r
    : over_parents_trim (&b, part->in_block, part->len, err);
}
