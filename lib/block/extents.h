/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Lists of extents: what lies where on a disk.
 *
 * A list describes one contiguous range, front to back and without gaps:
 * whoever fills it appends extents in order, and neighbours of the same kind
 * and layer are merged on the way.  A list may have a limit, after which it
 * is full and the filler may stop: a client that asks about a huge disk gets
 * an answer in bounded memory and asks again.
 */

#ifndef NBDIMAGE_BLOCK_EXTENTS_H
#define NBDIMAGE_BLOCK_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

enum extent_kind {
  EXTENT_DATA,          /* stored; may be anything, zeros too */
  EXTENT_ZERO,          /* space is taken, reads as zeros */
  EXTENT_HOLE,          /* no space taken, reads as zeros */
  EXTENT_UNALLOCATED,   /* not used by the file system in it; reads as
                           whatever the image has there, usually zeros */
  EXTENT_UNREADABLE,    /* could not be read when it was saved, or was left out
                           then: EIO */
};

const char *extent_kind_to_string (enum extent_kind kind);

struct extent {
  uint64_t off;                 /* bytes from the start of the disk */
  uint64_t len;                 /* bytes, not 0 */
  enum extent_kind kind;
  unsigned layer;               /* 0: the image itself; 1: its parent; ...
                                   for a hole, the layer is 0 */
};

DEFINE_VECTOR (extent_vector, struct extent);

struct extent_list {
  struct extent_vector v;
  size_t limit;                 /* most extents to collect; 0: no limit */
  bool unallocated;             /* an image that was saved without what no
                                   file system used names these ranges
                                   EXTENT_UNALLOCATED, rather than the holes
                                   that they read as */
};

#define EXTENT_LIST_INIT { VECTOR_INIT, 0, false }

/* Append [off, off+len).  off is where the list ends, or anywhere in an
 * empty list; len 0 does nothing.  On a full list an extent that can't be
 * merged is dropped.  Returns 0 or -ENOMEM.
 */
int extent_list_add (struct extent_list *list, uint64_t off, uint64_t len,
                     enum extent_kind kind, unsigned layer, struct err *err);

/* Nothing more fits but what merges with the last extent: the filler may
 * stop as soon as it has an extent of another kind.
 */
bool extent_list_full (const struct extent_list *list);

/* Where the list ends (bytes); off for an empty list. */
uint64_t extent_list_end (const struct extent_list *list, uint64_t off);

/* Empty it and free its memory; the limit stays. */
void extent_list_free (struct extent_list *list);

#define CLEANUP_EXTENT_LIST \
  __attribute__ ((__cleanup__ (extent_list_free)))

#endif /* NBDIMAGE_BLOCK_EXTENTS_H */
