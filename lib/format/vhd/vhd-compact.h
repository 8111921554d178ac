/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Compacting VHDs: what ../compact.h promises. */

#ifndef NBDIMAGE_FORMAT_VHD_COMPACT_H
#define NBDIMAGE_FORMAT_VHD_COMPACT_H

#include "lib/format/compact.h"
#include "lib/format/vhd/vhd-edit.h"

int vhd_compact_plan (struct offline *o, struct image_compact_plan *plan,
                      struct job *job, struct err *err);
int vhd_compact (struct offline *o, const struct image_compact_plan *plan,
                 struct job *job, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHD_COMPACT_H */
