/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in this partition?  Named through libblkid, which wants a file
 * descriptor: it gets a sparse memfd with copies of the places it looks at.
 */

#ifndef NBDIMAGE_FSMAP_IDENTIFY_H
#define NBDIMAGE_FSMAP_IDENTIFY_H

#include "lib/base/err.h"
#include "lib/block/block.h"

struct fs_identity {
  char *type;                   /* "ext4", "ntfs", "vfat", "swap",
                                   "LVM2_member", "crypto_LUKS"; NULL: nothing
                                   known found */
  char *usage;                  /* "filesystem", "raid", "crypto", "other" */
  char *label;                  /* UTF-8; NULL: none */
  char *uuid;                   /* NULL: none */
  char *version;                /* "1.0", "FAT32"; NULL: none */
};

/* Look at all of block.  Ambivalent signatures (two file systems at once)
 * give type NULL and usage "ambivalent".  The caller frees *identity with
 * fs_identity_free.
 */
int fs_identify (struct block *block, struct fs_identity *identity,
                 struct err *err);

/* The same of one that is damaged, by what can be read of it: what is lost may
 * have named something else, so this is to be shown, and nothing is to be done
 * by it.
 */
int fs_identify_damaged (struct block *block, struct fs_identity *identity,
                         struct err *err);

void fs_identity_free (struct fs_identity *identity);

#define CLEANUP_FS_IDENTITY __attribute__ ((__cleanup__ (fs_identity_free)))

#endif /* NBDIMAGE_FSMAP_IDENTIFY_H */
