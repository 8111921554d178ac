/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing disk must have itself so that it stays what it is over
 * another parent, or over none.  For rebase.c.
 */

#ifndef NBDIMAGE_FORMAT_REBASE_COMPARE_H
#define NBDIMAGE_FORMAT_REBASE_COMPARE_H

#include "lib/base/job.h"
#include "lib/format/image.h"

/* Append to *out, which is empty, ranges in ascending order and not side by
 * side, in units of 4 KiB, in which img has nothing itself and does not read
 * as its parent-to-be (NULL: as zeros); *bytes is the sum of them.  Several
 * threads read both.  -ECANCELED as the job wants, phase "comparing".  The
 * caller frees *out, after a failure too.
 */
int rebase_compare (struct image *img, struct image *parent,
                    struct extent_vector *out, uint64_t *bytes,
                    struct job *job, struct err *err);

/* Make *ranges, found over zeros, those that a disk without a parent needs,
 * which has the whole of a unit of allocation or nothing: all units that
 * have one of them in it, and all that the file of img has in part.
 */
int rebase_whole_units (struct image *img, struct extent_vector *ranges,
                        uint64_t *bytes, struct err *err);

#endif /* NBDIMAGE_FORMAT_REBASE_COMPARE_H */
