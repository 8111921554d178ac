/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into dynamic VHDs (type 3).
 *
 *   space   vhd-space.c    places in the file for new blocks; the footer at
 *                          its end; which operations are under way
 *   blocks  vhd-alloc.c    one block of the disk becomes present or absent
 *   disk    vhd-write.c    the driver's operations, over many blocks
 *
 * A place is where a block may be: a bitmap and its data, named by the
 * number of its first sector, as in the BAT.
 */

#ifndef NBDIMAGE_FORMAT_VHD_WRITE_H
#define NBDIMAGE_FORMAT_VHD_WRITE_H

#include <pthread.h>

#include "lib/format/vhd/vhd.h"

/*--- vhd-space.c ------------------------------------------------------------*/

struct vhd_space;

/* For a layer that vhd_writer_reason has nothing against; it must outlive
 * the space.  Reads the footer, writes nothing.
 */
int vhd_space_new (struct vhd_layer *layer, struct vhd_space **out,
                   struct err *err);

/* Cut off what was not used and free.  NULL is fine.  Failures are not told:
 * the image is whole without it.
 */
void vhd_space_free (struct vhd_space *space);

/* A place whose data is zero and whose bitmap is all ones, both on stable
 * storage and in front of the footer: its sector may be put into the BAT.
 * May have to write and to flush; from many threads.  -ENOSPC when the BAT
 * can't name a sector so far behind.
 */
int vhd_space_take (struct vhd_space *space, uint32_t *sector,
                    struct err *err);

/* What happened to a place that was taken.
 *
 * soil: something may be written in its data, and no BAT entry knows it.
 * lose: it is not known whether the BAT in the file names it.
 * release: the BAT did name it, and does not any more, neither in the file,
 * be it on stable storage or not, nor in memory.
 */
void vhd_space_soil (struct vhd_space *space, uint32_t sector);
void vhd_space_lose (struct vhd_space *space, uint32_t sector);
void vhd_space_release (struct vhd_space *space, uint32_t sector);

/* Everything that was written before is on stable storage after. */
int vhd_space_flush (struct vhd_space *space, struct err *err);

/* Around each operation on the disk: whoever looked up a place between the
 * two may use it, as it is not given to another block before the end.
 * What enter returns is for leave.
 */
unsigned vhd_space_enter (struct vhd_space *space);
void vhd_space_leave (struct vhd_space *space, unsigned epoch);

/*--- vhd-alloc.c ------------------------------------------------------------*/

/* A block that one thread is changing, on its stack. */
struct vhd_busy {
  uint64_t index;
  struct vhd_busy *next;
};

struct vhd_writer {
  struct vhd_layer *layer;      /* borrowed */
  struct vhd_space *space;
  pthread_mutex_t lock;         /* guards the list */
  pthread_cond_t changed;       /* a block is not busy any more */
  struct vhd_busy *busy;
  bool broken;                  /* atomic: the file's BAT may differ from
                                   ours, and nothing is written any more */
};

/* Why the layer can't be written into by this; NULL if it can. */
const char *vhd_writer_reason (const struct vhd_layer *layer);

int vhd_writer_new (struct vhd_layer *layer, struct vhd_writer **out,
                    struct err *err);
void vhd_writer_free (struct vhd_writer *w);    /* NULL is fine */

/* Write into an absent block, which becomes present and is zero elsewhere.
 * Returns 1 if it is present by now, nothing being done; 0; or an error.
 */
int vhd_block_add (struct vhd_writer *w, uint64_t index, uint32_t in_block,
                   const void *buf, size_t len, struct err *err);

/* Make all bits of a present block's bitmap ones.  0 if it is absent too. */
int vhd_block_fill_bitmap (struct vhd_writer *w, uint64_t index,
                           struct err *err);

/* Make a block absent, if that can be done: *done.  Otherwise it was not
 * changed.
 */
int vhd_block_remove (struct vhd_writer *w, uint64_t index, bool *done,
                      struct err *err);

/*--- vhd-write.c ------------------------------------------------------------*/

int vhd_write (struct vhd_writer *w, const void *buf, size_t len,
               uint64_t off, unsigned flags, struct err *err);
int vhd_zero (struct vhd_writer *w, uint64_t len, uint64_t off,
              unsigned flags, struct err *err);
int vhd_discard (struct vhd_writer *w, uint64_t len, uint64_t off,
                 unsigned flags, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHD_WRITE_H */
