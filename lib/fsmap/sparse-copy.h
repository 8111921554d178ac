/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A copy, in memory, of some places of a block, for a library that wants a
 * file descriptor.  Everything else reads as zeros there; holes take no
 * memory.
 */

#ifndef NBDIMAGE_FSMAP_SPARSE_COPY_H
#define NBDIMAGE_FSMAP_SPARSE_COPY_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/block/block.h"

struct sparse_copy {
  struct block *from;           /* not referenced */
  uint64_t size;                /* of from and of the copy */
  int fd;                       /* a memfd of that size; owned */
  bool skips;                   /* false at first; true: what can't be read is
                                   not copied, and no error */
};

/* Nothing is copied yet.  -ENOTSUP: the block is too big for a file. */
int sparse_copy_init (struct sparse_copy *copy, struct block *from,
                      struct err *err);

/* Copy what [off, off+len) has inside the block; off and len may be
 * anything.
 */
int sparse_copy_range (struct sparse_copy *copy, uint64_t off, uint64_t len,
                       struct err *err);

/* 0 for an error of reading that such a copy does not mind; r otherwise. */
int sparse_copy_go_on (const struct sparse_copy *copy, int r);

void sparse_copy_close (struct sparse_copy *copy);

#define CLEANUP_SPARSE_COPY \
  __attribute__ ((__cleanup__ (sparse_copy_close)))

#endif /* NBDIMAGE_FSMAP_SPARSE_COPY_H */
