/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where one disk reads otherwise than another. */

#ifndef NBDIMAGE_COPY_DIFFERENCES_H
#define NBDIMAGE_COPY_DIFFERENCES_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/block/block.h"

/* These bytes of b are others than in a; zero: they are all zeros.  A negative
 * errno ends the comparison.
 */
typedef int (*copy_differs_fn) (void *opaque, uint64_t off, uint64_t len,
                                bool zero, struct err *err);

/* Call fn for what differs, in ascending order, in units of so many bytes (a
 * power of 2, at most 2 MiB) but for the end of the disk; neighbours may come
 * one by one.  All that b has behind the end of a differs.  What both say is
 * zeros is not read.  Phase "comparing", in bytes of b; -ECANCELED.  By one
 * thread.
 */
int copy_differences (struct block *a, struct block *b, uint32_t unit,
                      copy_differs_fn fn, void *opaque, struct job *job,
                      struct err *err);

#endif /* NBDIMAGE_COPY_DIFFERENCES_H */
