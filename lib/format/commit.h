/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing disk has itself goes into its parent, which then reads
 * as the child does.  The child stays what it is, all the time: it lies over
 * everything that changes.
 *
 *   image_commit_plan ("child.vhd", &options, &plan, report, err)
 *   image_commit (&plan, job, err)
 *   image_commit_plan_free (&plan)
 *
 * A crash leaves a parent that opens, with some of the child's data, and the
 * child's disk as it was; the same again goes on, and does not write again
 * what is there.  Other children of that parent are damaged by all of this;
 * those of VHDXs are refused from then on.
 *
 * One thread at a time.  Sentences name the file that is at fault if it is not
 * the child.
 */

#ifndef NBDIMAGE_FORMAT_COMMIT_H
#define NBDIMAGE_FORMAT_COMMIT_H

#include "lib/format/folder.h"
#include "lib/format/offline.h"

struct image_commit_plan {
  char *parent;                 /* owned: path */
  uint64_t data;                /* bytes that the child has itself */
  uint64_t size, parent_size;   /* bytes of both disks: the parent grows */
  struct name_list siblings;    /* owned: other children, in the parent's
                                   folder */

  /* Owned; for image_commit. */
  struct offline *child;        /* held against everybody */
  struct image *img;            /* its disk, borrowed from child */
  struct image_options options; /* its strings borrowed */
};

/* Open the child and look at its parent; nothing is written.  Of the options
 * format and parent_path count.  -EINVAL for a disk that is not differencing,
 * -EROFS for a parent that can't be written, -EBUSY when somebody uses one of
 * the two.  The caller frees the plan, after a failure too.
 */
int image_commit_plan (const char *name, const struct image_options *options,
                       struct image_commit_plan *plan, struct report *report,
                       struct err *err);
void image_commit_plan_free (struct image_commit_plan *plan);

/* Do it; when it returns 0, everything is on stable storage.  *written is how
 * many bytes of the parent's disk were not what the child has, and are now.
 */
int image_commit (struct image_commit_plan *plan, uint64_t *written,
                  struct job *job, struct err *err);

/* The same of two files that are open, for tests: parent, which is at that
 * path, is that of child, the parents of which are not held.
 */
int image_commit_files (struct offline *child, struct offline *parent,
                        const char *path, uint64_t *written, struct job *job,
                        struct err *err);

/* The part in the middle: what child has itself goes into parent, which is
 * open for writing and not smaller, and is flushed.
 */
int image_commit_data (struct image *child, struct image *parent,
                       uint64_t *written, struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_COMMIT_H */
