/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sectors of one block of a differencing disk, which the file has: of each a
 * bit tells whether it is here, or the parent's.
 *
 * Nothing here changes a bit, or knows where they are.  Data of a sector whose
 * bit is 0 may be written, as nobody reads it, before the bit becomes 1; of a
 * sector that is written in part the rest comes from the parents.  From many
 * threads.
 */

#ifndef NBDIMAGE_FORMAT_OVER_PARENTS_H
#define NBDIMAGE_FORMAT_OVER_PARENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/block/block.h"

#define OVER_PARENTS_MAX_SECTOR 4096U

struct over_parents;

struct over_parents_ops {
  /* How many sectors of the block from first on have the same bit: at least
   * 1, at most max.
   */
  int (*run) (const struct over_parents *b, uint32_t first, uint32_t max,
              uint32_t *nr, bool *here, struct err *err);
  /* What clients read, through all parents. */
  int (*read) (const struct over_parents *b, void *buf, size_t len,
               uint64_t off, struct err *err);
};

struct over_parents {
  const struct over_parents_ops *ops;
  void *opaque;
  struct block *file;           /* borrowed */
  uint32_t sector_size;         /* bytes, of the disk */
  uint64_t index;               /* of the block, on the disk */
  uint64_t place;               /* of the block, as the format counts */
  uint64_t disk_off;            /* bytes: where it begins on the disk, */
  uint64_t data_off;            /* ... and its data in the file */
};

/* How much of len bytes can be done at once: a part of one sector, or whole
 * sectors.
 */
uint64_t over_parents_piece (uint32_t sector_size, uint32_t in_block,
                             uint64_t len);
bool over_parents_is_whole (uint32_t sector_size, uint32_t in_block,
                            uint64_t len);

/* Are the bits of all sectors 1 that the range touches? */
int over_parents_are_set (const struct over_parents *b, uint32_t in_block,
                          uint64_t len, bool *set, struct err *err);

/* Write data.  Where the range is not of whole sectors, the caller has the
 * block alone; otherwise others may write into it too.
 */
int over_parents_write (const struct over_parents *b, uint32_t in_block,
                        const void *buf, uint64_t len, struct err *err);

/* Trim those of its whole sectors that are here. */
int over_parents_trim (const struct over_parents *b, uint32_t in_block,
                       uint64_t len, struct err *err);

#endif /* NBDIMAGE_FORMAT_OVER_PARENTS_H */
