/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into dynamic VHDs (type 3) and differencing ones (type 4).
 *
 *   space   vhd-space.c    places in the file for new blocks; the footer at
 *                          its end; which operations are under way
 *           vhd-gaps.c     ... that are there when it is opened
 *           vhd-shrink.c   the end of the file, when places become free
 *   bits    vhd-pending.c  of differencing disks: from memory into the file
 *   blocks  vhd-alloc.c    one block of the disk becomes present or absent
 *   child   vhd-child.c    what is written into one block over parents
 *   disk    vhd-write.c    the driver's operations, over many blocks
 *
 * A place is where a block may be: a bitmap and its data, named by the
 * number of its first sector, as in the BAT.
 */

#ifndef NBDIMAGE_FORMAT_VHD_WRITE_H
#define NBDIMAGE_FORMAT_VHD_WRITE_H

#include "lib/format/busy.h"
#include "lib/format/epoch.h"
#include "lib/format/vhd/vhd.h"

/*--- vhd-space.c ------------------------------------------------------------*/

struct vhd_space;

/* For a layer that vhd_writer_reason has nothing against; it must outlive
 * the space.  Writes nothing, unless the footer at the end is missing.
 */
int vhd_space_new (struct vhd_layer *layer, struct vhd_space **out,
                   struct report *report, struct err *err);

/* Cut off what was not used and free.  NULL is fine.  Failures are not told:
 * the image is whole without it.
 */
void vhd_space_free (struct vhd_space *space);

/* A place in front of the footer whose data is zero, on stable storage, and
 * whose bitmap is all ones, or all zeros in a differencing disk: its sector may
 * be put into the BAT.
 * May have to write and to flush; from many threads.  -ENOSPC when the BAT
 * can't name a sector so far behind.
 */
int vhd_space_take (struct vhd_space *space, uint32_t *sector,
                    struct err *err);

/* What happened to a place that was taken.
 *
 * settle: the BAT names it, in the file and in memory.
 * soil: something may be written in its data, and no BAT entry knows it.
 * lose: it is not known whether the BAT in the file names it.
 * hold: the BAT names it, and may soon not do so any more; settle or release
 * follows.  0 or -ENOMEM.
 * release: the BAT did name it, and does not any more, neither in the file,
 * be it on stable storage or not, nor in memory.
 */
void vhd_space_settle (struct vhd_space *space, uint32_t sector);
void vhd_space_soil (struct vhd_space *space, uint32_t sector);
void vhd_space_lose (struct vhd_space *space, uint32_t sector);
int vhd_space_hold (struct vhd_space *space, uint32_t sector,
                    struct err *err);
void vhd_space_release (struct vhd_space *space, uint32_t sector);

/* Everything that was written before is on stable storage after. */
int vhd_space_flush (struct vhd_space *space, struct err *err);

/* After a flush: what has become free goes, if that is worth it.  Fails only
 * where another flush would.
 */
int vhd_space_tidy (struct vhd_space *space, struct err *err);

/* Around each operation on the disk: whoever looked up a place within may use
 * it, as it is not given to another block before the end.
 */
struct epoch *vhd_space_epoch (struct vhd_space *space);

/*--- vhd-pending.c ----------------------------------------------------------*/

struct vhd_pending;

/* For a differencing layer.  Bits that a killed process left are written into
 * the file before this returns; -EBUSY, -ENOTSUP as pending_open.
 */
int vhd_pending_new (struct vhd_layer *layer, struct vhd_space *space,
                     struct vhd_pending **out, struct report *report,
                     struct err *err);

/* After a flush, whose failure is not told: then the bits stay in the
 * journal.  NULL is fine.
 */
void vhd_pending_free (struct vhd_pending *p);

/* The data of nr sectors from first on of a block at this place was written:
 * they count from now on.  May have to flush.
 */
int vhd_pending_set (struct vhd_pending *p, uint64_t index, uint32_t sector,
                     uint32_t first, uint32_t nr, struct err *err);

/* Everything that was written before, bits included, is on stable storage
 * after.  From many threads.
 */
int vhd_pending_flush (struct vhd_pending *p, struct err *err);

/*--- vhd-alloc.c ------------------------------------------------------------*/

struct vhd_writer {
  struct vhd_layer *layer;      /* borrowed */
  struct vhd_space *space;
  struct vhd_pending *pending;  /* NULL: not a differencing disk */
  struct busy_list busy;        /* blocks that are being changed */
  bool broken;                  /* atomic: the file's BAT may differ from
                                   ours, and nothing is written any more */
};

/* Why the layer can't be written into by this; NULL if it can. */
const char *vhd_writer_reason (const struct vhd_layer *layer);

/* Parents, if it has some, are open. */
int vhd_writer_new (struct vhd_layer *layer, struct vhd_writer **out,
                    struct report *report, struct err *err);
void vhd_writer_free (struct vhd_writer *w);    /* NULL is fine */

/* Everything that was written before is on stable storage after. */
int vhd_writer_flush (struct vhd_writer *w, struct err *err);

/* A range inside one block. */
struct vhd_part {
  uint64_t index;
  uint32_t in_block;            /* bytes */
  uint64_t len;                 /* bytes */
};

/* Make an absent block present.  It is what it was: zero, or the parents'.
 * 0 if it is present already.
 */
int vhd_block_add (struct vhd_writer *w, uint64_t index, struct err *err);

/* Make all bits of a present block's bitmap ones.  0 if it is absent too. */
int vhd_block_fill_bitmap (struct vhd_writer *w, uint64_t index,
                           struct err *err);

/* Make a block absent, if that can be done: *done.  Otherwise it was not
 * changed.  Of a differencing disk the caller knows that parents have nothing
 * there.
 */
int vhd_block_remove (struct vhd_writer *w, uint64_t index, bool *done,
                      struct err *err);

/*--- vhd-child.c ------------------------------------------------------------*/

/* Write into one block of a differencing disk.  Returns 1 when it was changed
 * meanwhile, and has to be looked up again; 0; or an error.
 */
int vhd_child_write (struct vhd_writer *w, const struct vhd_part *part,
                     const void *buf, struct err *err);

/* The same with zeros. */
int vhd_child_zero (struct vhd_writer *w, const struct vhd_part *part,
                    unsigned flags, struct err *err);

/* What is here may become zeros; what is the parent's stays so. */
int vhd_child_discard (struct vhd_writer *w, const struct vhd_part *part,
                       struct err *err);

/*--- vhd-write.c ------------------------------------------------------------*/

/* Of a place: where the bytes of the part are in the file. */
uint64_t vhd_data_off (const struct vhd_writer *w, uint32_t sector,
                       const struct vhd_part *part);

bool vhd_is_whole_block (const struct vhd_writer *w,
                         const struct vhd_part *part);

int vhd_write (struct vhd_writer *w, const void *buf, size_t len,
               uint64_t off, unsigned flags, struct err *err);
int vhd_zero (struct vhd_writer *w, uint64_t len, uint64_t off,
              unsigned flags, struct err *err);
int vhd_discard (struct vhd_writer *w, uint64_t len, uint64_t off,
                 unsigned flags, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHD_WRITE_H */
