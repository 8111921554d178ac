/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading a disk of which some sectors can't be read any more. */

#ifndef NBDIMAGE_REPO_BAD_SECTORS_H
#define NBDIMAGE_REPO_BAD_SECTORS_H

#include "lib/base/vector.h"
#include "lib/block/block.h"
#include "lib/repo/nbi-sheet.h"

DEFINE_VECTOR (nbi_range_vector, struct nbi_range);

/* Is this what a medium says of places that it can't read, and not that it is
 * gone, or that something else is wrong?
 */
bool bad_sectors_may_be (int error);

/* After a failure that a bad sector may be: can anything else of the block be
 * read?  A disk that was pulled out, a server that is gone and a snapshot that
 * is full fail everywhere, and are no disks of bad sectors.  0: something can;
 * -EIO with the reason.  Reads some places of it.
 */
int bad_sectors_check_there (struct block *block, struct err *err);

/* Read as much as possible of a range that could not be read as a whole: in
 * smaller pieces, then in sectors of 512 bytes.  What can't be read is zeros
 * in buf, and appended to `bad' in ascending order, joined with what it
 * touches.  off is a multiple of 512.  An error that no bad sector makes ends
 * it.
 */
int bad_sectors_read (struct block *block, uint8_t *buf, size_t len,
                      uint64_t off, struct nbi_range_vector *bad,
                      struct err *err);

#endif /* NBDIMAGE_REPO_BAD_SECTORS_H */
