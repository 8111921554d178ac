/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What examining a VHD finds out, for vhd-check.c, which tells it, and
 * vhd-repair.c, which mends it.
 */

#ifndef NBDIMAGE_FORMAT_VHD_CHECK_H
#define NBDIMAGE_FORMAT_VHD_CHECK_H

#include "lib/format/check.h"
#include "lib/format/vhd/vhd.h"

/* One file, without its parents. */
struct vhd_examined {
  struct vhd_place end, copy;
  uint64_t buried;              /* vhd_footer_buried; UINT64_MAX */
  struct vhd_layer *layer;      /* owned; NULL: there is no footer to go by */
  bool has_header;              /* of layer: it and the batmap were read */

  /* Where a header is, if it is not where the footer says: the only one that
   * fits to everything else.  0: none.
   */
  uint64_t header_off;

  uint64_t named_end;           /* bytes: behind all blocks, whole ones, and
                                   all else that is named; whole sectors */
  struct file_ranges leaks;     /* all of them */
};

#define VHD_EXAMINED_INIT { .buried = UINT64_MAX, .leaks = VECTOR_INIT }

void vhd_examined_free (struct vhd_examined *state);

/* Add what is wrong with this one file to check and fill *state, which the
 * caller frees.  Fails for other reasons than what is wrong.
 */
int vhd_examine (struct block *block, const struct image_options *options,
                 struct check *check, struct vhd_examined *state,
                 struct err *err);

/* vhd-check-bat.c: of a layer whose header was read, everything that is wrong
 * with the BAT; sets named_end and leaks.
 */
int vhd_examine_bat (struct check *check, struct vhd_examined *state,
                     struct err *err);

/* Add to check what is wrong with the file and its parents. */
int vhd_check (struct block *block, const struct image_options *options,
               struct check *check, struct err *err);

struct repair_plan;

/* vhd-repair.c: what lib/format/image-ops.h has as plan_repair. */
int vhd_plan_repair (struct block *block, const struct image_options *options,
                     unsigned flags, struct check *check,
                     struct repair_plan *plan, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHD_CHECK_H */
