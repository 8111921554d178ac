/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block, for libext2fs. */

#ifndef NBDIMAGE_FSMAP_EXT_IO_H
#define NBDIMAGE_FSMAP_EXT_IO_H

#include <ext2fs/ext2fs.h>

#include "lib/base/err.h"
#include "lib/block/block.h"

/* Open the file system on a block for reading: superblock and group
 * descriptors are read, bitmaps are not.  Nothing is ever written.  -ENOTSUP:
 * it has features that libext2fs does not know.  The caller closes it with
 * ext2fs_close_free, which gives back the reference to the block.
 */
int ext_open (struct block *block, ext2_filsys *out, struct err *err);

#endif /* NBDIMAGE_FSMAP_EXT_IO_H */
