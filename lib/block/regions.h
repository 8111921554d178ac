/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block put together of parts of others: a disk whose partition table is
 * in memory and whose partitions are files, for example.
 */

#ifndef NBDIMAGE_BLOCK_REGIONS_H
#define NBDIMAGE_BLOCK_REGIONS_H

#include "lib/block/block.h"

struct region {
  uint64_t off;                 /* bytes, in the block that is made */
  uint64_t len;                 /* bytes, not 0 */
  struct block *block;          /* where they come from */
  uint64_t start;               /* bytes, in that one */
  unsigned layer;               /* that its extents say they have */
};

/* A block of `size` bytes, for reading only.  The regions are in ascending
 * order and do not overlap; what is between them is a hole.  Each region's
 * block gets a reference.  sizes NULL: any alignment, no preference.
 * -EINVAL when a region is empty, out of order, or not inside either block.
 */
int block_regions_new (const char *name, uint64_t size,
                       const struct block_sizes *sizes,
                       const struct region *regions, size_t nr,
                       struct block **out, struct err *err);

#endif /* NBDIMAGE_BLOCK_REGIONS_H */
