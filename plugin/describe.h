/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_PLUGIN_DESCRIBE_H
#define NBDIMAGE_PLUGIN_DESCRIBE_H

#include "lib/format/image.h"

/* One line about an image, for people who choose among exports: "VHD
 * dynamic, 10 MiB, created by Windows 10.0".  Clean UTF-8, at most
 * DESCRIPTION_SIZE bytes with the NUL, far below the 4096 that NBD allows.
 * The caller frees it; NULL when out of memory.
 */
#define DESCRIPTION_SIZE 512
char *describe_image (struct image *img);

/* The same of a generation of a disk, of which time (seconds since 1970) and
 * size (bytes) are known.
 */
char *describe_backup (uint64_t time, uint64_t size);

#endif /* NBDIMAGE_PLUGIN_DESCRIBE_H */
