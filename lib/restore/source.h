/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a target, or a partition of it, is to hold afterwards, as a block to
 * copy from: a part of the image, some bytes that are others (a table that was
 * moved), and behind it what the target has more.
 *
 * Extents are those of the image; what is behind its end is
 * EXTENT_UNALLOCATED, but for the last RESTORE_TAIL bytes, which are zeros:
 * there second copies of tables and the superblocks of RAIDs lie, and those of
 * what the target held would come back to life.
 */

#ifndef NBDIMAGE_RESTORE_SOURCE_H
#define NBDIMAGE_RESTORE_SOURCE_H

#include "lib/block/block.h"
#include "lib/part/move.h"

#define RESTORE_TAIL (UINT64_C (1) << 20)

/* Ranges of the image's disk that can't be read. */
struct restore_range {
  uint64_t off, len;            /* bytes */
};

DEFINE_VECTOR (restore_ranges, struct restore_range);

struct restore_part {
  struct block *disk;           /* of the image */
  uint64_t off, len;            /* of it: bytes */
  uint64_t size;                /* of the block that is made; not less */
  const struct part_patches *patches;   /* inside size; NULL: none.  They stay
                                           the caller's, and there */

  /* What can't be read is zeros, and is noted (restore_source_lost); without,
   * reading it fails.
   */
  bool allow_unreadable;
};

/* References the disk. */
int restore_source_new (const struct restore_part *part, struct block **out,
                        struct err *err);

/* What was read as zeros because it can't be read, so far: offsets on the
 * image's disk, ascending, not touching each other.  The caller frees *ranges.
 * Nobody may be reading.
 */
int restore_source_lost (struct block *source, struct restore_ranges *ranges,
                         struct err *err);

#endif /* NBDIMAGE_RESTORE_SOURCE_H */
