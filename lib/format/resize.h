/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changing the size of a disk.  Partitions and file systems in it stay as
 * they are: whether anything that they need would be cut off is the caller's
 * business.
 *
 *   offline_open (name, &options, &o, ...)
 *   image_resize_plan (o, &plan, err)      what would be done
 *   image_resize (o, &plan, job, err)      do it
 *
 * A crash leaves a file that opens, with a disk of the old or the new size;
 * all of the disk that is in both is there.  The same again finishes it.
 */

#ifndef NBDIMAGE_FORMAT_RESIZE_H
#define NBDIMAGE_FORMAT_RESIZE_H

#include "lib/format/offline.h"

struct image_resize_plan {
  uint64_t size;                /* bytes of disk; the caller's */

  uint64_t old_size;            /* bytes of disk now */
  uint64_t to_move;             /* bytes that are copied inside the file */
  bool is_done;                 /* it has that size, and nothing is left of a
                                   change that was interrupted */
  bool is_interrupted;          /* such a change was, and the disk is not to
                                   be written before it was done again */
  bool loses_rest;              /* in the file behind the disk, where it should
                                   have ended, there is something that is not
                                   zero and would be lost */
};

/* Fill in the rest; nothing is written.  -EINVAL for a size that can't be,
 * -ENOTSUP for a format whose disks have one size for ever, -EROFS for an
 * image that must not be changed, with the reason.
 */
int image_resize_plan (struct offline *o, struct image_resize_plan *plan,
                       struct report *report, struct err *err);

/* Do it; when it returns 0 it is on stable storage.  -ECANCELED when the job
 * was canceled: the disk then has its old size.
 */
int image_resize (struct offline *o, const struct image_resize_plan *plan,
                  struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_RESIZE_H */
