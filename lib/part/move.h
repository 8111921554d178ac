/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The partition table of a disk for a larger one. */

#ifndef NBDIMAGE_PART_MOVE_H
#define NBDIMAGE_PART_MOVE_H

#include "lib/base/vector.h"
#include "lib/block/block.h"

/* Bytes that are others on the larger disk. */
struct part_patch {
  uint64_t off, len;            /* bytes; len is not 0 */
  uint8_t *bytes;               /* owned; NULL: zeros */
};

DEFINE_VECTOR (part_patches, struct part_patch);

void part_patches_free (struct part_patches *patches);
#define CLEANUP_PART_PATCHES \
  __attribute__ ((__cleanup__ (part_patches_free)))

/* What changes on a disk with a GPT (in sectors of sector_size) when it gets
 * new_size bytes, a multiple of that and more than it has (UEFI specification
 * 2.10, §5.2.3 and §5.3): the second copy is at the new end, where the old one
 * was there are zeros (unless a partition has the place), the first copy says
 * so, what is behind the old end may be used, and the entry of the MBR that
 * protects the GPT reaches to the end if it did.  Nothing else: GUIDs,
 * entries, and what headers have behind the 92 bytes that are specified, stay
 * as they are.  Made of the copy that is good, if one is not.
 *
 * Ascending, and not overlapping.  -EINVAL if there is no room for the table,
 * -ENOENT if no copy is good, -EIO.
 */
int gpt_move_end (struct block *disk, uint32_t sector_size, uint64_t new_size,
                  struct part_patches *patches, struct err *err);

#endif /* NBDIMAGE_PART_MOVE_H */
