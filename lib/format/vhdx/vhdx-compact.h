/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Compacting VHDXs: what ../compact.h promises. */

#ifndef NBDIMAGE_FORMAT_VHDX_COMPACT_H
#define NBDIMAGE_FORMAT_VHDX_COMPACT_H

#include "lib/format/compact.h"
#include "lib/format/vhdx/vhdx-edit.h"

int vhdx_compact_plan (struct offline *o, struct image_compact_plan *plan,
                       struct job *job, struct err *err);
int vhdx_compact (struct offline *o, const struct image_compact_plan *plan,
                  struct job *job, struct err *err);

/*--- vhdx-compact.c ---------------------------------------------------------*/

/* What a BAT entry is once blocks are dropped.  For all of them, in the order
 * of their indexes: *partial, false at first, is what a walk has to remember.
 */
uint64_t vhdx_compact_entry (const struct vhdx_edit *e,
                             const struct image_compact_plan *plan,
                             uint64_t index, bool *partial);

/*--- vhdx-compact-layout.c --------------------------------------------------*/

/* Where everything goes that is still in the file then. */
struct vhdx_layout {
  struct vhdx_move_vector moves;        /* no place is one that another of
                                           them leaves */
  uint64_t bat, metadata;       /* where the regions move, in bytes; 0: they
                                   stay.  The same holds for their places */
  uint64_t to_move;             /* bytes that are copied */
  uint64_t end;                 /* bytes: nothing is behind it then */
};

/* The caller frees it, after a failure too. */
int vhdx_lay_out (const struct vhdx_edit *e,
                  const struct image_compact_plan *plan,
                  struct vhdx_layout *l, struct err *err);
void vhdx_layout_free (struct vhdx_layout *l);

/* Nothing moves. */
bool vhdx_layout_is_dense (const struct vhdx_layout *l);

#endif /* NBDIMAGE_FORMAT_VHDX_COMPACT_H */
