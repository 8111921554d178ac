/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parent that differencing VHDs of the corpus have. */

#ifndef NBDIMAGE_TESTS_FUZZ_VHD_H
#define NBDIMAGE_TESTS_FUZZ_VHD_H

#define FUZZ_VHD_SIZE (48 * 1024)
#define FUZZ_VHD_BLOCK 4096
#define FUZZ_VHD_PARENT_ID 7
#define FUZZ_VHD_PARENT_NAME "parent.vhd"

void fuzz_vhd_save_parent (const char *path);

#endif /* NBDIMAGE_TESTS_FUZZ_VHD_H */
