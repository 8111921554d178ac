/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An image gives back the space that its disk does not need: blocks that hold
 * nothing but zeros (of a differencing disk, where its parents read zeros too)
 * are dropped, and the others fill the gaps.  The disk does not change, unless
 * the caller knows what of it is not used.
 *
 *   offline_open (name, &options, &o, ...)
 *   image_compact_plan (o, &plan, job, err)    look at all blocks
 *   image_compact (o, &plan, job, err)         do it
 *   image_compact_plan_free (&plan)
 *
 * A crash leaves a file that opens, with the same disk but for what is not
 * used; the same again goes on.
 */

#ifndef NBDIMAGE_FORMAT_COMPACT_H
#define NBDIMAGE_FORMAT_COMPACT_H

#include "lib/format/offline.h"

struct image_compact_plan {
  /* Set before: blocks in a range of the disk (bytes) that nobody uses are
   * dropped too, whatever they hold, and then read as zeros.  NULL: none.
   */
  bool (*is_free) (void *opaque, uint64_t off, uint64_t len);
  void *opaque;

  uint64_t blocks;              /* bytes of all blocks in the file */
  uint64_t dropped;             /* bytes of those that are zero, or free */
  uint64_t free;                /* bytes of the latter alone */
  uint64_t to_move;             /* bytes that are copied inside the file */
  uint64_t file_size;           /* bytes of the file afterwards */
  bool is_done;                 /* there is nothing to do */

  uint8_t *drop;                /* owned, the driver's: what becomes of
                                   each block */
};

/* Read all blocks that the file has; nothing is written.  -ENOTSUP for an
 * image without blocks, -EROFS for one that must not be changed, with the
 * reason.
 */
int image_compact_plan (struct offline *o, struct image_compact_plan *plan,
                        struct report *report, struct job *job,
                        struct err *err);
void image_compact_plan_free (struct image_compact_plan *plan);

/* Do it; when it returns 0 it is on stable storage.  -ECANCELED when the job
 * was canceled: what was done by then is done.
 */
int image_compact (struct offline *o, const struct image_compact_plan *plan,
                   struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_COMPACT_H */
