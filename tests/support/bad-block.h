/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk in memory of which some places can't be read. */

#ifndef NBDIMAGE_TESTS_BAD_BLOCK_H
#define NBDIMAGE_TESTS_BAD_BLOCK_H

#include "lib/block/block.h"
#include "lib/repo/nbi-sheet.h"

/* Reads of anything in a range are -EIO.  bytes and ranges stay the caller's.
 * From many threads.
 */
struct block *bad_block_new (const uint8_t *bytes, size_t size,
                             const struct nbi_range *bad, size_t nr_bad);

#endif /* NBDIMAGE_TESTS_BAD_BLOCK_H */
