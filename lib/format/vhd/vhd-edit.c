/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Footers, the end of the file, and blocks that move.
 *
 * The footers change, with everything that the new one speaks of on stable
 * storage:
 *
 *   1. The footer at the end, in place.  fdatasync.
 *   2. The copy.  fdatasync.
 *
 * A crash during 1: the old footer or the new one.  Until 2 is over the copy
 * may be behind, and the footer at the end counts: no step of this file
 * touches the place of that one then.  vhd_footers.copy_behind is how the
 * next who opens the file knows.
 *
 * To say another type, the copy is made zeros before 1, as two whole ones that
 * say different types are refused.  A crash leaves the footer at the end, the
 * old or the new one, and zeros instead of the copy (copy_gone): such a disk is
 * read with a warning, and who changes it first writes the copy again.
 *
 * The end of the file moves, when both are the same:
 *
 *   back     1. The footer is written at the new end, where nothing is.
 *               fdatasync.
 *            2. The file is cut off behind it.  fdatasync.
 *   forth    1. The footer is written behind the old end, with what is
 *               between.  fdatasync.
 *
 * A crash leaves the footer at the old or the new end, or, when the power
 * failed while it moved forth, the new size without a footer; then the copy
 * counts, and the footer is written again by whoever mends.
 *
 * Blocks move to free places:
 *
 *   1. Bitmap and data are copied.  fdatasync.
 *   2. The BAT entry is written.  fdatasync.
 *   3. Only then may the old place be used for something else.
 *
 * A crash leaves an entry that names the old or the new place, and both hold
 * the same.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/relocate.h"
#include "lib/format/vhd/vhd-edit.h"

/* Bytes of blocks that move between two flushes. */
#define BATCH_BYTES (64 * 1024 * 1024)
#define PIECE (1024 * 1024)

/*--- Opening ----------------------------------------------------------------*/

static const char *
reason_not_to_edit (const struct vhd_layer *layer)
{
  const struct vhd_footers *f = &layer->footers;
  bool end_is_missing = f->end == block_size (layer->block);

  if (f->from_copy && !end_is_missing)
    return "its VHD footer is damaged, only the copy is whole";
  if (f->copy_differs && !f->copy_behind && !f->copy_gone)
    return "the copy of its VHD footer at offset 0 is not the same as the "
      "footer at its end";
  if (f->end % VHD_SECTOR_SIZE != 0)
    return "its VHD footer does not begin at a whole sector";
  if (f->footer.saved_state)
    return "it belongs to the saved state of a virtual machine";
  if (f->footer.hidden && vhd_creator_is (&f->footer, "tap\0"))
    return "it is marked as the parent of other disks";
  if (!block_can_resize (layer->block))
    return "its size would have to change, and only that of a regular file "
      "can";
  if (vhd_layer_is_fixed (layer))
    return NULL;
  if (f->footer.data_offset % VHD_SECTOR_SIZE != 0)
    return "its dynamic header does not begin at a whole sector";
  if (layer->batmap.present)
    return "it has a batmap of XenServer, which we do not keep up to date";
  if (layer->bat.entries == NULL)
    return "its BAT is too large to be held in memory";
  if (layer->bat.table_offset % VHD_BAT_ENTRY_SIZE != 0)
    return "its BAT does not begin at a multiple of 4 bytes";
  return NULL;
}

/* An old one lacks the last byte, which is 0. */
static int
read_footer (struct vhd_edit *e, struct err *err)
{
  const struct vhd_footers *f = &e->layer->footers;
  uint64_t off = f->from_copy ? 0 : f->end;

  memset (e->footer, 0, sizeof e->footer);
  return block_pread (e->block, e->footer,
                      (size_t) min_u64 (VHD_FOOTER_SIZE,
                                        block_size (e->block) - off),
                      off, err);
}

static int
load (struct vhd_edit *e, struct report *report, struct err *err)
{
  const char *reason;
  int r = vhd_layer_new (e->block, e->options, &e->layer, report, err);

  if (r == 0)
    r = vhd_layer_open (e->layer, IMAGE_SIZE_CURRENT, e->options, report,
                        err);
  if (r < 0)
    return r;
  reason = reason_not_to_edit (e->layer);
  if (reason)
    return err_set (err, -EROFS, "can't be changed: %s", reason);
  if (block_writable (e->block))
    r = vhd_pending_finish (e->layer, report, err);
  if (r == 0)
    r = read_footer (e, err);
  if (r == 0 && !vhd_layer_is_fixed (e->layer))
    r = block_pread (e->block, e->header, VHD_HEADER_SIZE,
                     e->layer->footers.footer.data_offset, err);
  return r;
}

int
vhd_edit_open (struct block *block, const struct image_options *options,
               struct vhd_edit *e, struct report *report, struct err *err)
{
  *e = (struct vhd_edit) { .block = block, .options = options };
  return load (e, report, err);
}

void
vhd_edit_close (struct vhd_edit *e)
{
  vhd_layer_free (e->layer);
  e->layer = NULL;
}

int
vhd_edit_reload (struct vhd_edit *e, struct err *err)
{
  vhd_edit_close (e);
  return load (e, NULL, err);
}

/*--- Footers ----------------------------------------------------------------*/

static int
write_copy (struct vhd_edit *e, struct err *err)
{
  int r = block_pwrite (e->block, e->footer, VHD_FOOTER_SIZE, 0, 0, err);

  return r < 0 ? r : block_flush (e->block, err);
}

int
vhd_edit_set_footer (struct vhd_edit *e, const uint8_t footer[VHD_FOOTER_SIZE],
                     struct err *err)
{
  int r;

  memmove (e->footer, footer, VHD_FOOTER_SIZE);
  put_be32 (e->footer + VHD_FOOTER_CHECKSUM,
            vhd_checksum (e->footer, VHD_FOOTER_SIZE, VHD_FOOTER_CHECKSUM));
  r = block_pwrite (e->block, e->footer, VHD_FOOTER_SIZE,
                    e->layer->footers.end, 0, err);
  if (r == 0)
    r = block_flush (e->block, err);
  return r < 0 ? r : write_copy (e, err);
}

int
vhd_edit_set_type (struct vhd_edit *e, enum vhd_type type, struct err *err)
{
  uint8_t footer[VHD_FOOTER_SIZE];
  int r = block_zero (e->block, VHD_FOOTER_SIZE, 0, BLOCK_NO_HOLE, err);

  if (r == 0)
    r = block_flush (e->block, err);
  if (r < 0)
    return r;
  memcpy (footer, e->footer, sizeof footer);
  put_be32 (footer + VHD_FOOTER_TYPE, type);
  return vhd_edit_set_footer (e, footer, err);
}

/* The original size, which is there to inform, is the same: libvhdi takes it
 * for the size.
 */
void
vhd_edit_put_size (uint8_t footer[VHD_FOOTER_SIZE], uint64_t size)
{
  put_be64 (footer + VHD_FOOTER_ORIGINAL_SIZE, size);
  put_be64 (footer + VHD_FOOTER_CURRENT_SIZE, size);
  put_be16 (footer + VHD_FOOTER_CYLINDERS, VHD_MAX_CYLINDERS);
  footer[VHD_FOOTER_HEADS] = VHD_MAX_HEADS;
  footer[VHD_FOOTER_SECTORS] = VHD_MAX_SECTORS;
  put_be32 (footer + VHD_FOOTER_CHECKSUM,
            vhd_checksum (footer, VHD_FOOTER_SIZE, VHD_FOOTER_CHECKSUM));
}

int
vhd_edit_set_size (struct vhd_edit *e, uint64_t size, struct err *err)
{
  uint8_t footer[VHD_FOOTER_SIZE];

  memcpy (footer, e->footer, sizeof footer);
  vhd_edit_put_size (footer, size);
  return vhd_edit_set_footer (e, footer, err);
}

/*--- The end of the file ----------------------------------------------------*/

static int
append_footer (struct vhd_edit *e, uint64_t end, struct err *err)
{
  int r = block_append (e->block, e->footer, VHD_FOOTER_SIZE, end, err);

  if (r == 0)
    r = block_flush (e->block, err);
  if (r == 0)
    e->layer->footers.end = end;
  return r;
}

static int
move_back (struct vhd_edit *e, uint64_t end, struct err *err)
{
  int r = block_pwrite (e->block, e->footer, VHD_FOOTER_SIZE, end, 0, err);

  if (r == 0)
    r = block_flush (e->block, err);
  if (r == 0)
    r = block_resize (e->block, end + VHD_FOOTER_SIZE, err);
  if (r == 0)
    r = block_flush (e->block, err);
  if (r == 0)
    e->layer->footers.end = end;
  return r;
}

int
vhd_edit_end_at_least (struct vhd_edit *e, uint64_t end, struct err *err)
{
  return end <= e->layer->footers.end ? 0 : append_footer (e, end, err);
}

static uint64_t
least_end (const struct vhd_edit *e)
{
  return vhd_place_align (&e->layer->bat,
                          vhd_place_end_of_data (&e->layer->bat));
}

/* Where the two footers would overlap, it stays. */
bool
vhd_edit_is_cut (const struct vhd_edit *e)
{
  return least_end (e) + VHD_FOOTER_SIZE > e->layer->footers.end;
}

int
vhd_edit_cut (struct vhd_edit *e, struct err *err)
{
  return vhd_edit_is_cut (e) ? 0 : move_back (e, least_end (e), err);
}

/*--- Mending ----------------------------------------------------------------*/

/* There is only the copy.  The file may have places behind the last block
 * that nobody used yet, or not even the whole of that block's place.
 */
static int
write_missing_footer (struct vhd_edit *e, struct err *err)
{
  uint64_t end = least_end (e);

  return end + VHD_FOOTER_SIZE > block_size (e->block)
    ? append_footer (e, end, err) : move_back (e, end, err);
}

static bool
has_old_footer (const struct vhd_edit *e)
{
  const struct vhd_footers *f = &e->layer->footers;

  return !f->from_copy && block_size (e->block) - f->end < VHD_FOOTER_SIZE;
}

bool
vhd_edit_is_mended (const struct vhd_edit *e)
{
  const struct vhd_footers *f = &e->layer->footers;

  return !f->from_copy && !f->copy_differs && !has_old_footer (e) &&
    !vhd_relink_is_interrupted (e);
}

int
vhd_edit_mend (struct vhd_edit *e, struct err *err)
{
  const struct vhd_footers *f = &e->layer->footers;
  int r = 0;

  if (f->from_copy)
    r = write_missing_footer (e, err);
  if (r == 0 && has_old_footer (e))
    r = append_footer (e, f->end, err);
  if (r == 0 && f->copy_differs)
    r = write_copy (e, err);
  if (r == 0 && !vhd_edit_is_mended (e))
    r = vhd_edit_reload (e, err);
  if (r == 0 && vhd_relink_is_interrupted (e))
    r = vhd_relink_finish (e, err);
  return r;
}

/*--- Blocks -----------------------------------------------------------------*/

uint32_t
vhd_edit_block_len (const struct vhd_edit *e, uint64_t index)
{
  const struct vhd_bat *bat = &e->layer->bat;

  return (uint32_t) min_u64 (bat->block_size,
                             bat->disk_end - index * bat->block_size);
}

uint64_t
vhd_edit_block_off (const struct vhd_edit *e, uint64_t index)
{
  return vhd_place_off (e->layer->bat.entries[index]);
}

int
vhd_edit_clear_entries (struct vhd_edit *e, uint64_t first, uint64_t end,
                        struct err *err)
{
  struct vhd_bat *bat = &e->layer->bat;
  uint64_t off = bat->table_offset + first * VHD_BAT_ENTRY_SIZE;
  uint64_t len = (end - first) * VHD_BAT_ENTRY_SIZE;
  CLEANUP_FREE uint8_t *bytes = malloc (max_u64 (min_u64 (len, PIECE), 1));

  if (bytes == NULL)
    return err_nomem (err);
  memset (bytes, 0xFF, min_u64 (len, PIECE));
  for (uint64_t done = 0; done < len;) {
    size_t n = (size_t) min_u64 (len - done, PIECE);
    int r = block_pwrite (e->block, bytes, n, off + done, 0, err);

    if (r < 0)
      return r;
    done += n;
  }
  for (uint64_t i = first; i < min_u64 (end, bat->nr_entries); ++i)
    bat->entries[i] = VHD_BAT_HELD_ABSENT;
  return 0;
}

static int
copy_block (struct vhd_edit *e, const struct vhd_move *m, uint8_t *buf,
            struct job *job, struct err *err)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t len = bat->bitmap_size + vhd_edit_block_len (e, m->index);
  uint64_t to = vhd_place_off (m->to);
  int r = relocate_bytes (e->block, vhd_edit_block_off (e, m->index), to,
                          len, buf, job, err);

  if (r < 0 || len == vhd_place_size (bat))
    return r;
  return block_zero (e->block, vhd_place_size (bat) - len, to + len, 0, err);
}

static int
write_entry (struct vhd_edit *e, const struct vhd_move *m, struct err *err)
{
  struct vhd_bat *bat = &e->layer->bat;
  uint8_t bytes[VHD_BAT_ENTRY_SIZE];
  int r;

  put_be32 (bytes, m->to);
  r = block_pwrite (e->block, bytes, sizeof bytes,
                    bat->table_offset + m->index * VHD_BAT_ENTRY_SIZE, 0,
                    err);
  if (r == 0)
    bat->entries[m->index] = m->to;
  return r;
}

static int
move_batch (struct vhd_edit *e, const struct vhd_move *moves, size_t nr,
            uint8_t *buf, struct job *job, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < nr; ++i)
    r = copy_block (e, &moves[i], buf, job, err);
  if (r == 0)
    r = block_flush (e->block, err);
  for (size_t i = 0; r == 0 && i < nr; ++i)
    r = write_entry (e, &moves[i], err);
  return r < 0 ? r : block_flush (e->block, err);
}

int
vhd_edit_move (struct vhd_edit *e, const struct vhd_move *moves, size_t nr,
               struct job *job, struct err *err)
{
  size_t most = (size_t) max_u64 (1, BATCH_BYTES /
                                  vhd_place_size (&e->layer->bat));
  CLEANUP_FREE uint8_t *buf = malloc (RELOCATE_BUFFER);
  int r = 0;

  if (buf == NULL)
    return err_nomem (err);
  for (size_t i = 0; r == 0 && i < nr; i += most)
    r = move_batch (e, moves + i, (size_t) min_u64 (most, nr - i), buf, job,
                    err);
  return r;
}
