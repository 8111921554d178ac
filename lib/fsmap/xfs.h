/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What used-xfs.c and xfs-log.c share. */

#ifndef NBDIMAGE_FSMAP_XFS_H
#define NBDIMAGE_FSMAP_XFS_H

#include "lib/fsmap/used-reading.h"

struct xfs {
  struct used_reading *rd;
  unsigned version;             /* 4 or 5 */
  uint32_t block, sector;       /* bytes */
  uint64_t blocks;              /* of the file system */
  uint32_t ag_blocks, nr_ags;
  unsigned ag_shift;            /* of block numbers: group << this | block */
  uint64_t log_start;           /* such a number; 0: on another device */
  uint32_t log_blocks;
  uint64_t log_off, log_len;    /* bytes; by xfs_check_log */
};

/* A CRC-32C, little-endian, at `at` of a block of len bytes, computed with
 * zeros there.
 */
bool xfs_crc_is_right (uint8_t *block, size_t len, size_t at);

/* Is the log where it says, and has it nothing to be played?  Otherwise
 * -ENOTSUP, also when we can't be sure.
 */
int xfs_check_log (struct xfs *x, struct err *err);

#endif /* NBDIMAGE_FSMAP_XFS_H */
