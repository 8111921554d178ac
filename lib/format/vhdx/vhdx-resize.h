/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changing the size of VHDXs: what ../resize.h promises. */

#ifndef NBDIMAGE_FORMAT_VHDX_RESIZE_H
#define NBDIMAGE_FORMAT_VHDX_RESIZE_H

#include "lib/format/resize.h"
#include "lib/format/vhdx/vhdx-edit.h"

int vhdx_resize_plan (struct offline *o, struct image_resize_plan *plan,
                      struct err *err);
int vhdx_resize (struct offline *o, const struct image_resize_plan *plan,
                 struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHDX_RESIZE_H */
