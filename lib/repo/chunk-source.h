/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk as a backup reads it: what is a hole, and what nobody uses, in whole
 * chunks.
 */

#ifndef NBDIMAGE_REPO_CHUNK_SOURCE_H
#define NBDIMAGE_REPO_CHUNK_SOURCE_H

#include "lib/block/block.h"
#include "lib/fsmap/used-map.h"

/* A block that reads as `below', which it references, and whose extents are
 * data or holes, cut at multiples of chunk_size.  A hole is chunks that are
 * holes, or read as zeros, or of which no byte is used (used: NULL, all are;
 * finished, and longer there than the block).  What is not used is a hole
 * whatever it reads as.
 */
int chunk_source_new (struct block *below, uint32_t chunk_size,
                      const struct used_map *used, struct block **out,
                      struct err *err);

/* Is anything used of the chunk at off, and up to where is that so of those
 * behind it?  *until is a multiple of the chunk size, or end, which is one or
 * the end of the disk.
 */
bool chunk_source_uses (struct block *source, uint64_t off, uint64_t end,
                        uint64_t *until);

#endif /* NBDIMAGE_REPO_CHUNK_SOURCE_H */
