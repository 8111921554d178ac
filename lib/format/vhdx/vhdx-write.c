/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into a disk, over its blocks.
 *
 * Sectors that are in the file are written in place and with nothing else.
 * What has to change before, vhdx-alloc.c changes.
 *
 * A block that is made zero as a whole is given up, but for those of fixed
 * disks, and what reads as zeros without having a place stays so.  Anywhere
 * else zeros are written, or a hole punched into the file.
 *
 * Flags: one flush at the end serves for FUA, after all parts are written.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "lib/base/checked.h"
#include "lib/format/vhdx/vhdx-write.h"

/* A range inside one block, and what is known of that. */
struct part {
  uint64_t block;
  uint32_t in_block;            /* bytes */
  uint64_t len;                 /* bytes */
  enum vhdx_state state;
  uint64_t place;               /* where the block begins in the file */
};

static void
first_part (const struct vhdx_writer *w, uint64_t len, uint64_t off,
            struct part *part)
{
  uint32_t block_size = w->layer->metadata.block_size;

  part->block = off / block_size;
  part->in_block = (uint32_t) (off % block_size);
  part->len = min_u64 (len, block_size - part->in_block);
}

static int
look_up (struct vhdx_writer *w, struct part *part, struct err *err)
{
  return vhdx_bat_lookup (w->layer, part->block, &part->state, &part->place,
                          err);
}

static uint64_t
disk_off (const struct vhdx_writer *w, const struct part *part)
{
  return part->block * w->layer->metadata.block_size + part->in_block;
}

/* All that the disk has of the block? */
static bool
is_whole_block (const struct vhdx_writer *w, const struct part *part)
{
  const struct vhdx_metadata *m = &w->layer->metadata;

  return part->in_block == 0 &&
    (part->len == m->block_size ||
     disk_off (w, part) + part->len == m->size);
}

static int
check_not_broken (const struct vhdx_writer *w, struct err *err)
{
  if (vhdx_logger_broken (w->logger))
    return err_set (err, -EIO, "the log could not be written; nothing is "
                    "written until the image is opened anew");
  return 0;
}

/* A part of a sector of 4096 bytes: whoever asks for that thinks that sectors
 * are smaller, and means another place.
 */
static int
check_sectors (const struct vhdx_writer *w, uint64_t len, uint64_t off,
               struct err *err)
{
  uint32_t size = w->layer->metadata.logical;

  if (size > 512 && (off % size != 0 || len % size != 0))
    return err_set (err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64
                    " are not whole sectors, which have %" PRIu32 " bytes",
                    len, off, size);
  return check_not_broken (w, err);
}

static int
flush_if_fua (struct vhdx_writer *w, unsigned flags, struct err *err)
{
  return flags & BLOCK_FUA ? vhdx_writer_flush (w, err) : 0;
}

/* Of a partially present block: is all of it in the file? */
static int
bits_are_set (struct vhdx_writer *w, const struct part *part, bool *set,
              struct err *err)
{
  uint32_t size = w->layer->metadata.logical;
  uint64_t sector = disk_off (w, part) / size, nr;
  uint64_t end = div_round_up (disk_off (w, part) + part->len, size);
  int r = 0;

  for (*set = true; r == 0 && *set && sector < end; sector += nr)
    r = vhdx_bitmap_run (w->layer, sector, end - sector, &nr, set, err);
  return r;
}

/* Is the part in the file, so that it can be written in place?  Otherwise, of
 * a block that is, its state was changed.
 */
static int
find_place (struct vhdx_writer *w, const struct part *part, bool *in_place,
            struct err *err)
{
  int r = 0;

  *in_place = part->state == VHDX_PRESENT;
  if (part->state != VHDX_PARTIALLY_PRESENT)
    return 0;
  r = bits_are_set (w, part, in_place, err);
  if (r == 0 && !*in_place)
    r = vhdx_block_complete (w, part->block, err);
  return r;
}

static bool
is_in_file (const struct part *part)
{
  return part->state == VHDX_PRESENT ||
    part->state == VHDX_PARTIALLY_PRESENT;
}

/*--- Data -------------------------------------------------------------------*/

/* Returns 1 when the block has to be looked up again, because it was changed
 * so that it can be written, or by someone else meanwhile.
 */
static int
try_to_write (struct vhdx_writer *w, struct part *part, const void *buf,
              struct err *err)
{
  bool in_place;
  int r = look_up (w, part, err);

  if (r < 0)
    return r;
  if (!is_in_file (part))
    return vhdx_block_add (w, part->block, part->in_block, buf, part->len,
                           err);
  r = find_place (w, part, &in_place, err);
  if (r < 0 || !in_place)
    return r < 0 ? r : 1;
  r = vhdx_writer_begin (w, err);
  if (r < 0)
    return r;
  return block_pwrite (w->layer->block, buf, part->len,
                       part->place + part->in_block, 0, err);
}

int
vhdx_write (struct vhdx_writer *w, const void *buf, size_t len, uint64_t off,
            unsigned flags, struct err *err)
{
  const char *p = buf;
  int r = check_sectors (w, len, off, err);

  while (r == 0 && len > 0) {
    struct part part;

    first_part (w, len, off, &part);
    do
      r = try_to_write (w, &part, p, err);
    while (r > 0);
    p += part.len;
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}

/*--- Zeros ------------------------------------------------------------------*/

/* A block that has no place.  States that may read as anything become zero:
 * others may read them otherwise than we do.
 */
static int
zero_absent (struct vhdx_writer *w, const struct part *part, unsigned flags,
             struct err *err)
{
  bool zero = true;
  int r = 0;

  if (part->state == VHDX_UNDEFINED || part->state == VHDX_UNMAPPED)
    return vhdx_block_remove (w, part->block, &zero, err);
  if (part->state == VHDX_NOT_PRESENT)
    r = vhdx_parent_is_zero (w->layer, part->len, disk_off (w, part), &zero,
                             err);
  if (r < 0 || zero)
    return r;
  if (is_whole_block (w, part))
    return vhdx_block_remove (w, part->block, &zero, err);
  if (flags & BLOCK_FAST)
    return err_set (err, -ENOTSUP, "the rest of a block would have to be "
                    "copied from the parent");
  return vhdx_block_add (w, part->block, part->in_block, NULL, part->len,
                         err);
}

/* As try_to_write. */
static int
try_to_zero (struct vhdx_writer *w, struct part *part, unsigned flags,
             struct err *err)
{
  bool done = false, in_place;
  int r = look_up (w, part, err);

  if (r < 0)
    return r;
  if (!is_in_file (part))
    return zero_absent (w, part, flags, err);
  if (is_whole_block (w, part) && !(flags & BLOCK_NO_HOLE))
    r = vhdx_block_remove (w, part->block, &done, err);
  if (r < 0 || done)
    return r;
  r = find_place (w, part, &in_place, err);
  if (r < 0 || !in_place)
    return r < 0 ? r : 1;
  r = vhdx_writer_begin (w, err);
  if (r < 0)
    return r;
  return block_zero (w->layer->block, part->len, part->place + part->in_block,
                     flags & ~BLOCK_FUA, err);
}

int
vhdx_zero (struct vhdx_writer *w, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  int r = check_sectors (w, len, off, err);

  while (r == 0 && len > 0) {
    struct part part;

    first_part (w, len, off, &part);
    do
      r = try_to_zero (w, &part, flags, err);
    while (r > 0);
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}

/* Only whole blocks are given up; in the others it is the file system that
 * may have no use for the space.  What is the parent's stays that.
 */
static int
discard_part (struct vhdx_writer *w, struct part *part, struct err *err)
{
  bool done = false;
  int r = look_up (w, part, err);

  if (r < 0 || !is_in_file (part))
    return r;
  if (is_whole_block (w, part))
    r = vhdx_block_remove (w, part->block, &done, err);
  if (r < 0 || done || part->state != VHDX_PRESENT)
    return r;
  r = vhdx_writer_begin (w, err);
  if (r < 0)
    return r;
  return block_trim (w->layer->block, part->len, part->place + part->in_block,
                     0, err);
}

int
vhdx_discard (struct vhdx_writer *w, uint64_t len, uint64_t off,
              unsigned flags, struct err *err)
{
  int r = check_not_broken (w, err);

  while (r == 0 && len > 0) {
    struct part part;

    first_part (w, len, off, &part);
    r = discard_part (w, &part, err);
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}
