/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing disk gets another parent, and stays what it is: wherever it
 * has nothing itself, and the old parent and the new one do not read the same,
 * it gets the bytes that it had.  Or it gets none, and becomes a dynamic disk
 * that has all of its bytes.  Or, unsafely, only what it says about its parent
 * changes, when that was moved or renamed.
 *
 *   offline_open (name, &options, &o, ...)
 *   image_rebase_plan (o, &rebase, &plan, job, report, err)  compare
 *   image_rebase (o, &plan, job, err)                        do it
 *   image_rebase_plan_free (&plan)
 *
 * A crash leaves an image that opens with its old parent or with the new one,
 * or without, and, unless it was done unsafely, has the same disk; the same
 * again goes on.
 */

#ifndef NBDIMAGE_FORMAT_REBASE_H
#define NBDIMAGE_FORMAT_REBASE_H

#include "lib/format/offline.h"

struct image_rebase_options {
  const char *parent;           /* path; NULL: the one that it has */
  bool is_unsafe;               /* compare nothing, copy nothing */
  bool force;                   /* unsafely, and it is another disk */
  bool no_parent;               /* none, instead; not with the others */
};

struct image_rebase_plan {
  char *old_parent;             /* owned: what the image says, or where that
                                   was found; NULL: it says nothing */
  char *new_parent;             /* owned: path; NULL: none */
  bool is_unsafe;               /* nothing is compared, as the options say */
  bool is_same;                 /* both have the same identity */
  bool changes_disk;            /* not, and nothing is copied */
  bool is_done;                 /* it says so already, or has none, and nothing
                                   differs */
  uint64_t differs;             /* bytes that will be copied */

  struct image *parent;         /* owned: the new one, held against writers;
                                   NULL: none */
  struct extent_vector ranges;  /* owned: what will be copied */
};

/* Fill in the plan; nothing is written.  -EINVAL when it makes no sense: the
 * image is not differencing and is to have a parent, the parent is no possible
 * one, or, unsafely, it is another disk.  -ENOTSUP for a format that has no
 * parents.  Otherwise why something can't be read.
 */
int image_rebase_plan (struct offline *o,
                       const struct image_rebase_options *options,
                       struct image_rebase_plan *plan, struct job *job,
                       struct report *report, struct err *err);
void image_rebase_plan_free (struct image_rebase_plan *plan);

/* Do it; when it returns 0 it is on stable storage.  -ECANCELED when the job
 * was canceled: the image has its old parent.
 */
int image_rebase (struct offline *o, const struct image_rebase_plan *plan,
                  struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_REBASE_H */
