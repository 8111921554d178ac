/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What examining a VHDX finds out, for vhdx-check.c, which tells it, and
 * vhdx-repair.c, which mends it.
 */

#ifndef NBDIMAGE_FORMAT_VHDX_CHECK_H
#define NBDIMAGE_FORMAT_VHDX_CHECK_H

#include "lib/format/check.h"
#include "lib/format/vhdx/vhdx.h"

/* One of two headers, or of two region tables. */
struct vhdx_twin {
  uint64_t off;                 /* in the file */
  bool is_signed, is_valid;
  uint32_t stored, computed;    /* checksums */
};

enum vhdx_log_state {
  VHDX_LOG_EMPTY,               /* nothing to replay */
  VHDX_LOG_WHOLE,               /* there is, and it can be */
  VHDX_LOG_DAMAGED,             /* there is, and it can't be */
};

/* One file, without its parents. */
struct vhdx_examined {
  bool no_identifier;           /* it is damaged, a header is whole */
  struct vhdx_twin headers[2], regions[2];
  struct vhdx_layer *layer;     /* owned; NULL: there is no header to go by */
  enum vhdx_log_state log_state;
  bool has_regions;             /* of layer: they were read */
  bool has_metadata;
  bool has_bat;                 /* it was looked through */
  uint64_t named_end;           /* bytes: nothing is named from here on */
  struct file_ranges leaks;     /* all of them */
};

#define VHDX_EXAMINED_INIT { .leaks = VECTOR_INIT }

void vhdx_examined_free (struct vhdx_examined *state);

/* Add what is wrong with this one file to check and fill *state, which the
 * caller frees.  Fails for other reasons than what is wrong.
 */
int vhdx_examine (struct block *block, struct check *check,
                  struct vhdx_examined *state, struct err *err);

/* vhdx-check-bat.c: of a layer the metadata of which was read, everything that
 * is wrong with the BAT; sets named_end, leaks and has_bat.
 */
int vhdx_examine_bat (struct check *check, struct vhdx_examined *state,
                      struct err *err);

/* Add to check what is wrong with the file and its parents. */
int vhdx_check (struct block *block, const struct image_options *options,
                struct check *check, struct err *err);

struct repair_plan;

/* vhdx-repair.c: what lib/format/image-ops.h has as plan_repair. */
int vhdx_plan_repair (struct block *block,
                      const struct image_options *options, unsigned flags,
                      struct check *check, struct repair_plan *plan,
                      struct err *err);

#endif /* NBDIMAGE_FORMAT_VHDX_CHECK_H */
