/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parents that differencing disks of the corpora have. */

#ifndef NBDIMAGE_TESTS_PARENTS_H
#define NBDIMAGE_TESTS_PARENTS_H

/* Of parents and children. */
#define PARENT_VHD_SIZE (48 * 1024)
#define PARENT_VHD_BLOCK 4096
#define PARENT_VHDX_SIZE (3 * 1024 * 1024)

#define PARENT_ID 7

/* Save them in a folder, as parent.vhd and parent.vhdx. */
void parents_save (const char *folder);

void parents_remove (const char *folder);

/* A folder with them, made at the first call and removed at the end. */
const char *parents_folder (void);

#endif /* NBDIMAGE_TESTS_PARENTS_H */
