/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into a disk, over its blocks.
 *
 * Sectors that are in the file are written in place and with nothing else.
 * What has to change before, vhdx-alloc.c changes; blocks of a differencing
 * disk are vhdx-child.c's business.
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

/* A part, and what is known of its block. */
struct found {
  struct vhdx_part part;
  enum vhdx_state state;
  uint64_t place;               /* where the block begins in the file */
};

static void
first_part (const struct vhdx_writer *w, uint64_t len, uint64_t off,
            struct vhdx_part *part)
{
  uint32_t block_size = w->layer->metadata.block_size;

  part->block = off / block_size;
  part->in_block = (uint32_t) (off % block_size);
  part->len = min_u64 (len, block_size - part->in_block);
}

static int
look_up (struct vhdx_writer *w, const struct vhdx_part *part,
         struct found *found, struct err *err)
{
  found->part = *part;
  return vhdx_bat_lookup (w->layer, part->block, &found->state, &found->place,
                          err);
}

bool
vhdx_is_whole_block (const struct vhdx_writer *w, const struct vhdx_part *part)
{
  const struct vhdx_metadata *m = &w->layer->metadata;

  return part->in_block == 0 &&
    (part->len == m->block_size ||
     part->block * m->block_size + part->len == m->size);
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

/*--- Data -------------------------------------------------------------------*/

/* Returns 1 when the block has to be looked up again, because it was changed
 * by someone else meanwhile.
 */
static int
try_to_write (struct vhdx_writer *w, const struct vhdx_part *part,
              const void *buf, struct err *err)
{
  struct found found;
  int r = look_up (w, part, &found, err);

  if (r < 0)
    return r;
  if (found.state != VHDX_PRESENT)
    return vhdx_block_add (w, part->block, part->in_block, buf, part->len,
                           err);
  r = vhdx_writer_begin (w, err);
  if (r < 0)
    return r;
  return block_pwrite (w->layer->block, buf, part->len,
                       found.place + part->in_block, 0, err);
}

int
vhdx_write (struct vhdx_writer *w, const void *buf, size_t len, uint64_t off,
            unsigned flags, struct err *err)
{
  const char *p = buf;
  int r = check_sectors (w, len, off, err);

  while (r == 0 && len > 0) {
    struct vhdx_part part;

    first_part (w, len, off, &part);
    do
      r = w->pending ? vhdx_child_write (w, &part, p, err)
        : try_to_write (w, &part, p, err);
    while (r > 0);
    p += part.len;
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}

/*--- Zeros ------------------------------------------------------------------*/

/* States that may read as anything become zero: others may read them otherwise
 * than we do.
 */
static int
zero_absent (struct vhdx_writer *w, const struct found *found,
             struct err *err)
{
  return found->state == VHDX_UNDEFINED || found->state == VHDX_UNMAPPED
    ? vhdx_block_hide (w, found->part.block, err) : 0;
}

static int
zero_part (struct vhdx_writer *w, const struct vhdx_part *part,
           unsigned flags, struct err *err)
{
  struct found found;
  bool done = false;
  int r = look_up (w, part, &found, err);

  if (r < 0)
    return r;
  if (found.state != VHDX_PRESENT)
    return zero_absent (w, &found, err);
  if (vhdx_is_whole_block (w, part) && !(flags & BLOCK_NO_HOLE))
    r = vhdx_block_remove (w, part->block, &done, err);
  if (r == 0 && !done)
    r = vhdx_writer_begin (w, err);
  if (r < 0 || done)
    return r;
  return block_zero (w->layer->block, part->len, found.place + part->in_block,
                     flags, err);
}

int
vhdx_zero (struct vhdx_writer *w, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  int r = check_sectors (w, len, off, err);

  while (r == 0 && len > 0) {
    struct vhdx_part part;

    first_part (w, len, off, &part);
    do
      r = w->pending ? vhdx_child_zero (w, &part, flags & ~BLOCK_FUA, err)
        : zero_part (w, &part, flags & ~BLOCK_FUA, err);
    while (r > 0);
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}

/* Only whole blocks are given up; in the others it is the file system that
 * may have no use for the space.
 */
static int
discard_part (struct vhdx_writer *w, const struct vhdx_part *part,
              struct err *err)
{
  struct found found;
  bool done = false;
  int r = look_up (w, part, &found, err);

  if (r < 0 || found.state != VHDX_PRESENT)
    return r;
  if (vhdx_is_whole_block (w, part))
    r = vhdx_block_remove (w, part->block, &done, err);
  if (r == 0 && !done)
    r = vhdx_writer_begin (w, err);
  if (r < 0 || done)
    return r;
  return block_trim (w->layer->block, part->len, found.place + part->in_block,
                     0, err);
}

int
vhdx_discard (struct vhdx_writer *w, uint64_t len, uint64_t off,
              unsigned flags, struct err *err)
{
  int r = check_not_broken (w, err);

  while (r == 0 && len > 0) {
    struct vhdx_part part;

    first_part (w, len, off, &part);
    r = w->pending ? vhdx_child_discard (w, &part, err)
      : discard_part (w, &part, err);
    off += part.len;
    len -= part.len;
  }
  return r < 0 ? r : flush_if_fua (w, flags, err);
}
