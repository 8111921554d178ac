/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Does this FAT file system hold what UEFI starts from a disk it does not
 * know: \EFI\BOOT\BOOT*.EFI?
 */

#ifndef NBDIMAGE_FSMAP_EFI_H
#define NBDIMAGE_FSMAP_EFI_H

#include "lib/base/err.h"
#include "lib/block/block.h"

/* The names of the loaders, upper case, with spaces between; NULL when there
 * are none, or the block is not a FAT file system that makes sense.  The
 * caller frees *loaders.  Fails only when reading does.
 */
int efi_find_loaders (struct block *fs, char **loaders, struct err *err);

#endif /* NBDIMAGE_FSMAP_EFI_H */
