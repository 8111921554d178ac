/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a kind of block supplies.  Only implementations of blocks include
 * this; everyone else calls the functions of block.h.
 *
 * The entry points check range, zero length and writability once for all,
 * so implementations may assume that the range is inside the block, len is
 * not 0, and that writing operations are called on writable blocks only.
 * A NULL slot means what is said beside it.
 */

#ifndef NBDIMAGE_BLOCK_BLOCK_OPS_H
#define NBDIMAGE_BLOCK_BLOCK_OPS_H

#include "lib/block/block.h"

struct block_ops {
  void (*close) (struct block *b);      /* NULL: nothing to release */

  int (*pread) (struct block *b, void *buf, size_t len, uint64_t off,
                struct err *err);
  int (*pwrite) (struct block *b, const void *buf, size_t len, uint64_t off,
                 unsigned flags, struct err *err);
  int (*pwrite_through) (struct block *b, const void *buf, size_t len,
                         uint64_t off, struct err *err);
                                        /* NULL: pwrite and flush */
  int (*zero) (struct block *b, uint64_t len, uint64_t off, unsigned flags,
               struct err *err);        /* NULL: pwrite zeros */
  int (*trim) (struct block *b, uint64_t len, uint64_t off, unsigned flags,
               struct err *err);        /* NULL: do nothing */
  int (*flush) (struct block *b, struct err *err);  /* NULL: do nothing */
  int (*extents) (struct block *b, uint64_t len, uint64_t off,
                  struct extent_list *list, struct err *err); /* NULL: data */
  int (*cache) (struct block *b, uint64_t len, uint64_t off,
                struct err *err);       /* NULL: do nothing */

  /* Both or none; called when can_resize.  The entry points set the size. */
  int (*append) (struct block *b, const void *buf, size_t len, uint64_t off,
                 struct err *err);
  int (*resize) (struct block *b, uint64_t size, struct err *err);
};

/* Every implementation's struct begins with this one. */
struct block {
  const struct block_ops *ops;
  unsigned refs;                /* atomic */
  char *name;                   /* owned */
  uint64_t size;                /* bytes; atomic, changed by block_append and
                                   block_resize only */
  bool writable;
  bool can_resize;              /* false unless the implementation sets it */
  struct block_sizes sizes;
};

/* Set up the base of a new block: one reference, a copy of the name,
 * minimum size 1, no preference.  -ENOMEM leaves nothing behind.
 */
int block_init (struct block *b, const struct block_ops *ops,
                const char *name, uint64_t size, bool writable,
                struct err *err);

/* Zero by writing zeros: what an implementation falls back on.  Flags as
 * for block_zero; -ENOTSUP with BLOCK_FAST.
 */
int block_write_zeros (struct block *b, uint64_t len, uint64_t off,
                       unsigned flags, struct err *err);

#endif /* NBDIMAGE_BLOCK_BLOCK_OPS_H */
