/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A small VHD to break, and how what became of it is opened and looked at.
 *
 * Of the disk's four blocks, 0 is full of 'a' and 2 of 'c':
 *
 *   sector 0 copy · 1 header · 3 BAT · 4 block 0 · 37 block 2 · 70 footer
 *
 * Whatever goes wrong in here ends the test program.
 */

#ifndef NBDIMAGE_TESTS_VHD_SMALL_H
#define NBDIMAGE_TESTS_VHD_SMALL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/format/image.h"
#include "tests/support/vhd-maker.h"

/* Its description: dynamic, 64 KiB in blocks of 16 KiB. */
extern const struct vhd_spec vhd_small;

/* Make that, or another that has these two blocks; of a fixed disk all is zero.
 * The caller frees it.
 */
struct vhd_maker *vhd_small_make (const struct vhd_spec *spec);

/* image_open_block of what was made, as it is now. */
int vhd_small_open (const struct vhd_maker *m,
                    const struct image_options *options, struct image **img,
                    struct report *report, struct err *err);

/* Is text in one of the lines? */
bool report_has (const struct report *report, const char *text);

/* A byte of the disk. */
char image_byte (struct image *img, uint64_t off);

#endif /* NBDIMAGE_TESTS_VHD_SMALL_H */
