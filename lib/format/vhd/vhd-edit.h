/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changing the structures of a VHD that nobody else uses, such that after a
 * crash at any moment the file opens and has the disk of before or of after.
 *
 *   places   vhd-place.c    where blocks may lie
 *   edit     vhd-edit.c     footers, the end of the file, blocks that move
 *   header   vhd-relink.c   the dynamic header and the parent locators
 *   jobs     vhd-resize.c, vhd-compact.c, vhd-rebase.c
 *
 * Two things are taken for granted, as by vhd-space.c and vhd-alloc.c: of a
 * sector of 512 bytes that is written, a power cut leaves the old bytes or
 * the new ones; and what is flushed stays.
 *
 * What decides, is the footer at the end while it is whole, and the copy at
 * offset 0 otherwise.  So the one at the end is written in place, which is
 * one sector and takes effect at once, and only then the copy; and as long as
 * they are not the same, nothing is done that could cost the one at the
 * end.  Where they would say different types, which nobody reads, there is no
 * copy meanwhile.
 */

#ifndef NBDIMAGE_FORMAT_VHD_EDIT_H
#define NBDIMAGE_FORMAT_VHD_EDIT_H

#include "lib/base/job.h"
#include "lib/format/vhd/vhd.h"

/*--- vhd-place.c ------------------------------------------------------------*/

/* Data of blocks, and what else is new, begins at multiples of this. */
#define VHD_ALIGNMENT 4096

/* Bytes that a block takes, and from one place to the next. */
uint64_t vhd_place_size (const struct vhd_bat *bat);
uint64_t vhd_place_stride (const struct vhd_bat *bat);

/* Where a place begins whose number in the BAT is sector. */
uint64_t vhd_place_off (uint32_t sector);

/* The first place at or behind off, such that the data is aligned. */
uint64_t vhd_place_align (const struct vhd_bat *bat, uint64_t off);

/* Behind everything that the file is known to hold, the footer aside. */
uint64_t vhd_place_end_of_data (const struct vhd_bat *bat);

/*--- vhd-edit.c -------------------------------------------------------------*/

struct vhd_edit {
  struct block *block;          /* borrowed */
  const struct image_options *options;  /* borrowed */
  struct vhd_layer *layer;      /* what is in the file; without parents */
  uint8_t footer[VHD_FOOTER_SIZE];      /* the one that counts */
  uint8_t header[VHD_HEADER_SIZE];      /* not of fixed ones */
};

/* Read the file.  The block is writable.  -EROFS, with the reason, for a VHD
 * that must not be changed.  The caller closes it after a failure, too.
 */
int vhd_edit_open (struct block *block, const struct image_options *options,
                   struct vhd_edit *e, struct report *report,
                   struct err *err);
void vhd_edit_close (struct vhd_edit *e);

/* Read it again: what e->layer says is then what the file says. */
int vhd_edit_reload (struct vhd_edit *e, struct err *err);

/* What a crash may have left: a footer that is missing at the end, a copy
 * that is behind, a header that is on its way.  Nothing else must be done
 * before.  Not for fixed ones.
 */
int vhd_edit_mend (struct vhd_edit *e, struct err *err);
bool vhd_edit_is_mended (const struct vhd_edit *e);

/* Make this, with its checksum computed anew, the footer and the copy. */
int vhd_edit_set_footer (struct vhd_edit *e,
                         const uint8_t footer[VHD_FOOTER_SIZE],
                         struct err *err);

/* The same with another type. */
int vhd_edit_set_type (struct vhd_edit *e, enum vhd_type type,
                       struct err *err);

/* The same with a size, and the geometry that says nothing. */
int vhd_edit_set_size (struct vhd_edit *e, uint64_t size, struct err *err);
void vhd_edit_put_size (uint8_t footer[VHD_FOOTER_SIZE], uint64_t size);

/* Move the footer at the end of the file behind end, if it is in front of
 * that; or back, such that nothing but the footer is behind what the file
 * holds.
 */
int vhd_edit_end_at_least (struct vhd_edit *e, uint64_t end,
                           struct err *err);
int vhd_edit_cut (struct vhd_edit *e, struct err *err);
bool vhd_edit_is_cut (const struct vhd_edit *e);

/* A block that goes to another place, which is free and in front of the
 * footer.
 */
struct vhd_move {
  uint64_t index;
  uint32_t to;                  /* sector */
};

DEFINE_VECTOR (vhd_move_vector, struct vhd_move);

/* Copied, flushed, then named by the BAT, in batches; what is behind the end
 * of the disk in the last block becomes zero.  After -ECANCELED some have
 * moved.
 */
int vhd_edit_move (struct vhd_edit *e, const struct vhd_move *moves,
                   size_t nr, struct job *job, struct err *err);

/* Make the entries from number first up to, not including, end absent, in
 * the file; not flushed.  They may be any that the table has room for.
 */
int vhd_edit_clear_entries (struct vhd_edit *e, uint64_t first, uint64_t end,
                            struct err *err);

/* Bytes of a block that the disk has. */
uint32_t vhd_edit_block_len (const struct vhd_edit *e, uint64_t index);

/* Where it lies in the file (bytes); 0: absent. */
uint64_t vhd_edit_block_off (const struct vhd_edit *e, uint64_t index);

/*--- vhd-relink.c -----------------------------------------------------------*/

/* What the header says, apart from locators and checksum. */
int vhd_relink_max_entries (struct vhd_edit *e, uint32_t max_entries,
                            struct err *err);

/* Write e->header, changed by the caller anywhere but in the entries of the
 * locators, with these locators (NULL: those that there are), such that none
 * of it lies in the len bytes at off.
 */
int vhd_relink (struct vhd_edit *e, const struct vhd_link *link,
                uint64_t off, uint64_t len, struct err *err);

/* Are these the locators and the name that there are? */
int vhd_relink_compare (struct vhd_edit *e, const struct vhd_link *link,
                        bool *same, struct err *err);

/* Is the header where such a change, which was interrupted, left it?  Bring
 * it back.
 */
bool vhd_relink_is_interrupted (const struct vhd_edit *e);
int vhd_relink_finish (struct vhd_edit *e, struct err *err);

#endif /* NBDIMAGE_FORMAT_VHD_EDIT_H */
