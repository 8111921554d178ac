/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Another parent for a differencing VHDX, or one that becomes another: what
 * ../rebase.h and ../commit.h promise, but for what is the same for all
 * formats.
 */

#ifndef NBDIMAGE_FORMAT_VHDX_REBASE_H
#define NBDIMAGE_FORMAT_VHDX_REBASE_H

#include "lib/format/rebase.h"
#include "lib/format/vhdx/vhdx-edit.h"

int vhdx_relink_plan (struct offline *o, struct image_rebase_plan *plan,
                      struct report *report, struct err *err);
int vhdx_relink_image (struct offline *o,
                       const struct image_rebase_plan *plan, struct err *err);

/* vhdx-alone.c: what is open, and begun, has no parent any more; not settled.
 * All blocks that are in its file are there as a whole.
 */
int vhdx_make_alone (struct vhdx_edit *e, struct err *err);

/* What image-ops.h says of expect_change. */
int vhdx_expect_change (struct offline *o, struct image *parent,
                        const char *path, uint8_t id[UUID_SIZE],
                        struct err *err);

#endif /* NBDIMAGE_FORMAT_VHDX_REBASE_H */
