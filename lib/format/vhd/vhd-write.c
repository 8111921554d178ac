/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into a disk, over its blocks.
 *
 * Sectors of a block that is there, and whose bits are 1, are written in
 * place and with nothing else.  What has to change before, vhd-alloc.c
 * changes; blocks of a differencing disk are vhd-child.c's business.
 *
 * A block of a dynamic disk that is made zero as a whole becomes absent.
 * Anywhere else zeros are written, or a hole punched into the file, whatever
 * the bits say.
 *
 * Flags: one flush at the end serves for FUA, after all parts are written.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd-write.h"

static void
first_part (const struct vhd_writer *w, uint64_t len, uint64_t off,
            struct vhd_part *part)
{
  uint32_t block_size = w->layer->bat.block_size;

  part->index = off / block_size;
  part->in_block = (uint32_t) (off % block_size);
  part->len = min_u64 (len, block_size - part->in_block);
}

static int
check_not_broken (const struct vhd_writer *w, struct err *err)
{
  if (__atomic_load_n (&w->broken, __ATOMIC_ACQUIRE))
    return err_set (err, -EIO, "the BAT could not be written; nothing is "
                    "written until the image is opened anew");
  return 0;
}

static int
flush_if_fua (struct vhd_writer *w, unsigned flags, struct err *err)
{
  return flags & BLOCK_FUA ? vhd_writer_flush (w, err) : 0;
}

uint64_t
vhd_data_off (const struct vhd_writer *w, uint32_t sector,
              const struct vhd_part *part)
{
  return (uint64_t) sector * VHD_SECTOR_SIZE + w->layer->bat.bitmap_size +
    part->in_block;
}

/*--- Data -------------------------------------------------------------------*/

static int
bits_are_set (struct vhd_writer *w, const struct vhd_part *part,
              uint32_t sector, bool *set, struct err *err)
{
  unsigned i = part->in_block / VHD_SECTOR_SIZE, n;
  unsigned end = (unsigned) div_round_up (part->in_block + part->len,
                                          VHD_SECTOR_SIZE);
  int r = 0;

  for (*set = true; r == 0 && *set && i < end; i += n)
    r = vhd_bitmap_run (w->layer, part->index, sector, i, end - i, &n, set,
                        err);
  return r;
}

/* Returns 1 when the block has to be looked up again, because it was changed
 * so that it can be written, or by someone else meanwhile.
 */
static int
try_to_write (struct vhd_writer *w, const struct vhd_part *part,
              const void *buf, struct err *err)
{
  uint32_t sector;
  bool set;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r < 0)
    return r;
  if (sector == VHD_BAT_ABSENT) {
    r = vhd_block_add (w, part->index, err);
    return r < 0 ? r : 1;
  }
  r = bits_are_set (w, part, sector, &set, err);
  if (r < 0)
    return r;
  if (set)
    return block_pwrite (w->layer->block, buf, part->len,
                         vhd_data_off (w, sector, part), 0, err);
  r = vhd_block_fill_bitmap (w, part->index, err);
  return r < 0 ? r : 1;
}

int
vhd_write (struct vhd_writer *w, const void *buf, size_t len, uint64_t off,
           unsigned flags, struct err *err)
{
  const char *p = buf;
  int r = check_not_broken (w, err);

  while (r == 0 && len > 0) {
    struct vhd_part part;

    first_part (w, len, off, &part);
    do
      r = w->pending ? vhd_child_write (w, &part, p, err)
        : try_to_write (w, &part, p, err);
    while (r > 0);
    p += part.len;
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}

/*--- Zeros ------------------------------------------------------------------*/

bool
vhd_is_whole_block (const struct vhd_writer *w, const struct vhd_part *part)
{
  return part->in_block == 0 && part->len == w->layer->bat.block_size;
}

static int
zero_part (struct vhd_writer *w, const struct vhd_part *part, unsigned flags,
           struct err *err)
{
  bool done = false;
  uint32_t sector;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r < 0 || sector == VHD_BAT_ABSENT)
    return r;
  if (vhd_is_whole_block (w, part) && !(flags & BLOCK_NO_HOLE))
    r = vhd_block_remove (w, part->index, &done, err);
  if (r < 0 || done)
    return r;
  return block_zero (w->layer->block, part->len, vhd_data_off (w, sector, part),
                     flags, err);
}

int
vhd_zero (struct vhd_writer *w, uint64_t len, uint64_t off, unsigned flags,
          struct err *err)
{
  int r = check_not_broken (w, err);

  while (r == 0 && len > 0) {
    struct vhd_part part;

    first_part (w, len, off, &part);
    do
      r = w->pending ? vhd_child_zero (w, &part, flags & ~BLOCK_FUA, err)
        : zero_part (w, &part, flags & ~BLOCK_FUA, err);
    while (r > 0);
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}

/* Only whole blocks become absent; in the others it is the file system that
 * may have no use for the space.
 */
static int
discard_part (struct vhd_writer *w, const struct vhd_part *part,
              struct err *err)
{
  bool done = false;
  uint32_t sector;
  int r = vhd_bat_lookup (w->layer, part->index, &sector, err);

  if (r < 0 || sector == VHD_BAT_ABSENT)
    return r;
  if (vhd_is_whole_block (w, part))
    r = vhd_block_remove (w, part->index, &done, err);
  if (r < 0 || done)
    return r;
  return block_trim (w->layer->block, part->len, vhd_data_off (w, sector, part),
                     0, err);
}

int
vhd_discard (struct vhd_writer *w, uint64_t len, uint64_t off,
             unsigned flags, struct err *err)
{
  int r = check_not_broken (w, err);

  while (r == 0 && len > 0) {
    struct vhd_part part;

    first_part (w, len, off, &part);
    r = w->pending ? vhd_child_discard (w, &part, err)
      : discard_part (w, &part, err);
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}
