/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Any disk can be written without being changed: what is written goes into an
 * overlay, a differencing VHD or VHDX in a file of its own, which stays.
 *
 *   struct image_options options = {
 *     .overlay = "desk1.vhd", .writable = true,
 *   };
 *
 *   image_open ("golden.iso", &options, &img, &report, &err);
 *
 * The image below is opened for reading, with its lock, so that nobody changes
 * it meanwhile.  The overlay is made if it is not there and the disk is to be
 * written: a VHD or a VHDX, as its name ends, or whichever fits.  One that is
 * not there and is only to be read is as if it were empty, as it could still
 * be made; but who reads only, and makes none, says overlay_must_exist: a name
 * that was mistyped must not give the disk without what was written to it.  One
 * that was made over another disk is refused.
 *
 * Over a VHD it is a differencing VHD, and over a VHDX a differencing VHDX,
 * as other programs have them too; over other disks nobody else reads it.
 */

#ifndef NBDIMAGE_FORMAT_OVERLAY_H
#define NBDIMAGE_FORMAT_OVERLAY_H

#include "lib/format/image.h"

/* image_open, when options have an overlay: an image whose name and block are
 * those of the overlay.  All other options are for the image below.
 */
int image_open_overlay (const char *name, const struct image_options *options,
                        struct image **out, struct report *report,
                        struct err *err);

/* The format that an overlay over this disk has: "vhdx" over a VHDX, and where
 * a VHD could not be as large or have such sectors; "vhd" otherwise.
 */
const char *image_overlay_format (const struct image *base);

#endif /* NBDIMAGE_FORMAT_OVERLAY_H */
