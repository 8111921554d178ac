/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Raw dumps of CDs (.bin beside a .cue, .img beside a .ccd, .mdf): sectors of
 * 2352 bytes as a drive reads them, or 2448 with the subchannel behind each,
 * with 2048 bytes of data in each.  ECMA-130 §14, CD-ROM XA for mode 2.
 */

#ifndef NBDIMAGE_FORMAT_ISO_CD_SECTORS_H
#define NBDIMAGE_FORMAT_ISO_CD_SECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/block/block.h"

#define CD_SECTOR 2352          /* bytes of a sector, */
#define CD_SECTOR_MAX 2448      /* and with its subchannel */

/* Does a file that begins like this consist of such sectors?  0: no; else the
 * bytes from one to the next, 2352 or 2448.
 */
size_t cd_sectors_stride (const uint8_t *head, size_t head_len);

/* The data of the sectors of below, which gets referenced, as a block; a
 * last sector that is not whole is left out.  Each sector that is read is
 * verified: one that is not of data, of another place, or whose checksum is
 * wrong is -EBADMSG; also from cd_sectors_new, if it is the first.
 */
int cd_sectors_new (struct block *below, size_t stride, struct block **out,
                    struct err *err);

/* Mode of the first sector, 1 or 2. */
unsigned cd_sectors_mode (struct block *block);

/* Did who wrote sector n leave out its checksum and error correction, so that
 * it can't be verified?  False when the sector can't be read.
 */
bool cd_sectors_unsummed (struct block *block, uint64_t n);

#endif /* NBDIMAGE_FORMAT_ISO_CD_SECTORS_H */
