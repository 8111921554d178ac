/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A part of another block, seen as a block of its own: the data of a fixed
 * VHD, a partition.
 */

#ifndef NBDIMAGE_BLOCK_WINDOW_H
#define NBDIMAGE_BLOCK_WINDOW_H

#include "lib/block/block.h"

/* [off, off+len) of below, which the window takes a reference to.  It is
 * writable if below is.  -EINVAL if the range is not inside below.
 */
int block_window_new (struct block *below, uint64_t off, uint64_t len,
                      struct block **out, struct err *err);

#endif /* NBDIMAGE_BLOCK_WINDOW_H */
