/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changing the size of VHDs: what ../resize.h promises. */

#ifndef NBDIMAGE_FORMAT_VHD_RESIZE_H
#define NBDIMAGE_FORMAT_VHD_RESIZE_H

#include "lib/format/resize.h"
#include "lib/format/vhd/vhd-edit.h"

/*--- vhd-resize.c: the driver's operations, and those with blocks -----------*/

int vhd_resize_plan (struct offline *o, struct image_resize_plan *plan,
                     struct err *err);
int vhd_resize (struct offline *o, const struct image_resize_plan *plan,
                struct job *job, struct err *err);

/*--- vhd-resize-fixed.c -----------------------------------------------------*/

int vhd_resize_fixed_plan (struct vhd_edit *e, struct image_resize_plan *plan,
                           struct err *err);
int vhd_resize_fixed (struct vhd_edit *e, uint64_t size, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHD_RESIZE_H */
