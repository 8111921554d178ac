/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sectors of metadata (bitmaps, and tables of blocks that are too big for
 * memory) that were read lately, for all layers of a chain.  About 2 MiB,
 * whatever the disk; safe from many threads, no lock is held while reading
 * or writing.
 */

#ifndef NBDIMAGE_FORMAT_SECTOR_CACHE_H
#define NBDIMAGE_FORMAT_SECTOR_CACHE_H

#include <stdint.h>

#include "lib/block/block.h"

#define SECTOR_CACHE_UNIT 512   /* bytes in a sector, whatever the disk's */
#define SECTOR_CACHE_LAYERS 128 /* layers have smaller numbers than this */

struct sector_cache;

struct sector_cache *sector_cache_new (void);   /* NULL: out of memory */
void sector_cache_free (struct sector_cache *cache);    /* NULL is fine */

/* Copy out the sector of the block, which is always the same for a layer and
 * changes by sector_cache_write only; bytes past the end of the block are
 * zeros.
 */
int sector_cache_read (struct sector_cache *cache, struct block *block,
                       unsigned layer, uint64_t sector,
                       uint8_t buf[SECTOR_CACHE_UNIT], struct err *err);

/* Write a sector; who reads it afterwards gets that.  Of one sector one
 * thread at a time.  After a failure it is read from the block.
 */
int sector_cache_write (struct sector_cache *cache, struct block *block,
                        unsigned layer, uint64_t sector,
                        const uint8_t buf[SECTOR_CACHE_UNIT],
                        struct err *err);

#endif /* NBDIMAGE_FORMAT_SECTOR_CACHE_H */
