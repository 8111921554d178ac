/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The size of a VHDX.  It is one metadata item (§2.6.2.2), which changes with
 * all that must change at the same moment in one entry of the log
 * (vhdx-edit.h).  Each step is on stable storage before the next one:
 *
 *   grow     1. Of the last block what is behind the end of the disk becomes
 *               zero.  If its place was cut off there, it moves to the end of
 *               the file.
 *            2. A fixed disk gets the new blocks, zeros at the end of the file.
 *            3. The BAT gets the new entries (§2.5): where it is, if its region
 *               has room for them, or in a copy at the end of the file.
 *            4. The identity of the data becomes another (§2.2.2).
 *            5. In one commit: the size; and where the BAT is, if that is new.
 *   shrink   1. The identity of the data becomes another.
 *            2. The size.
 *            3. Of the last block what is behind the end becomes zero, and the
 *               entries that are not needed any more become 0.
 *            4. The space of their blocks is given back.
 *
 * A crash before 5, or 2, leaves the old disk: entries that a disk does not
 * need are not looked at, and what was added to the file and is not named is
 * space that is nobody's.  After that it leaves the new one.  An entry that
 * was not cleared when the disk shrank can't come back, because 3 of growing
 * writes it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/offline-ops.h"
#include "lib/format/relocate.h"
#include "lib/format/vhdx/vhdx-resize.h"

#define PER_PAGE (VHDX_PAGE / VHDX_BAT_ENTRY_SIZE)

/* Entries that are written or read at once where no log is in between. */
#define PER_PIECE (128 * 1024)

static const uint8_t size_guid[UUID_SIZE] = VHDX_GUID_SIZE;

/* Blocks that the file gives up; in bytes. */
struct place {
  uint64_t off, len;
};

DEFINE_VECTOR (place_vector, struct place);

static uint64_t
disk_size (const struct vhdx_edit *e)
{
  return e->layer->metadata.size;
}

/* The table of a disk of this size. */
static struct vhdx_bat
table_for (const struct vhdx_edit *e, uint64_t size)
{
  struct vhdx_metadata m = e->layer->metadata;
  struct vhdx_bat bat = { .entries = NULL };

  m.size = size;
  vhdx_bat_measure (&m, &bat);
  return bat;
}

static uint64_t
index_of (const struct vhdx_bat *bat, uint64_t block)
{
  return block + block / bat->chunk_ratio;
}

/* The entry behind those of the last blocks that a differencing disk needs
 * all the same: that of the bitmap of the last chunk.  UINT64_MAX: none.
 */
static uint64_t
last_bitmap (const struct vhdx_edit *e, const struct vhdx_bat *bat)
{
  return e->layer->metadata.has_parent && bat->nr_entries > 0
    ? bat->nr_entries - 1 : UINT64_MAX;
}

/*--- The last block ---------------------------------------------------------*/

/* Its index, if the disk ends within it and the file has it. */
static bool
last_is_partial (const struct vhdx_edit *e, uint64_t *index)
{
  *index = index_of (&e->layer->bat,
                     disk_size (e) / e->layer->metadata.block_size);
  return disk_size (e) % e->layer->metadata.block_size != 0 &&
    vhdx_edit_is_in_file (e, *index);
}

static uint64_t
place_of (const struct vhdx_edit *e, uint64_t index)
{
  return VHDX_BAT_OFFSET (e->layer->bat.entries[index]);
}

/* Does it have all of its place to itself?  No other block is in there, not
 * even behind the end of the disk: that is refused when it is opened.
 */
static bool
place_is_whole (const struct vhdx_edit *e, uint64_t index)
{
  uint64_t off = place_of (e, index), len = vhdx_edit_space_of (e, index);

  return range_fits (off, len, block_size (e->block)) &&
    !vhdx_regions_touched (&e->layer->regions, off, len);
}

static int
clear_rest_of_last (struct vhdx_edit *e, struct err *err)
{
  uint64_t index, has;
  int r;

  if (!last_is_partial (e, &index) || !place_is_whole (e, index))
    return 0;
  has = vhdx_edit_len_of (e, index);
  r = block_zero (e->block, vhdx_edit_space_of (e, index) - has,
                  place_of (e, index) + has, 0, err);
  return r < 0 ? r : block_flush (e->block, err);
}

static int
make_last_whole (struct vhdx_edit *e, struct job *job, struct err *err)
{
  struct vhdx_move move;
  int r;

  if (!last_is_partial (e, &move.index) || place_is_whole (e, move.index))
    return clear_rest_of_last (e, err);
  r = vhdx_edit_append (e, vhdx_edit_space_of (e, move.index), &move.to, err);
  if (r < 0)
    return r;
  job_start (job, "moving", vhdx_edit_len_of (e, move.index));
  return vhdx_edit_move (e, &move, 1, job, err);
}

/*--- Entries ----------------------------------------------------------------*/

/* What is put into entries of blocks that are new. */
struct new_entries {
  const struct vhdx_bat *bat;   /* of the new disk */
  uint64_t first;               /* index of the first of them */
  uint64_t keep;                /* index of one among them that is not new */
  uint64_t place;               /* of the first block; 0: they have none */
  uint64_t first_block;
  uint32_t block_size;
};

static uint64_t
new_entry (const struct new_entries *new, uint64_t index)
{
  uint64_t block;

  if (new->place == 0 || vhdx_bat_is_bitmap (new->bat, index))
    return 0;
  block = vhdx_bat_block_of (new->bat, index);
  return (new->place + (block - new->first_block) * new->block_size) |
    VHDX_PRESENT;
}

/* Those up to end that are in the page of the table of the first; with what
 * is in there now, where one is to be kept.
 */
static int
put_page (struct vhdx_edit *e, const struct new_entries *new, uint64_t first,
          uint64_t nr, struct err *err)
{
  uint64_t off = e->bat.off + first * VHDX_BAT_ENTRY_SIZE;
  uint8_t page[VHDX_PAGE];
  int r = vhdx_edit_read (e, page, nr * VHDX_BAT_ENTRY_SIZE, off, err);

  for (uint64_t i = 0; i < nr; ++i)
    if (first + i != new->keep)
      put_le64 (page + i * VHDX_BAT_ENTRY_SIZE, new_entry (new, first + i));
  if (r == 0 && vhdx_edit_nr_staged (e) >= VHDX_LOGGER_MAX_PAGES)
    r = vhdx_edit_commit (e, err);
  return r < 0 ? r
    : vhdx_edit_put (e, page, nr * VHDX_BAT_ENTRY_SIZE, off, err);
}

/* In the table as it is, up to end, in any number of commits. */
static int
put_entries (struct vhdx_edit *e, const struct new_entries *new,
             uint64_t end, struct err *err)
{
  int r = 0;

  for (uint64_t i = new->first, nr; r == 0 && i < end; i += nr) {
    nr = min_u64 (end - i, PER_PAGE - i % PER_PAGE);
    r = put_page (e, new, i, nr, err);
  }
  return r < 0 ? r : vhdx_edit_commit (e, err);
}

/* Into a region that nobody knows of yet, and that is zeros. */
static int
write_entries (struct vhdx_edit *e, const struct new_entries *new,
               uint64_t region, struct err *err)
{
  CLEANUP_FREE uint8_t *piece = NULL;
  int r = 0;

  if (new->place == 0)
    return 0;
  piece = malloc (PER_PIECE * VHDX_BAT_ENTRY_SIZE);
  if (piece == NULL)
    return err_nomem (err);
  for (uint64_t i = new->first, nr; r == 0 && i < new->bat->nr_entries;
       i += nr) {
    nr = min_u64 (new->bat->nr_entries - i, PER_PIECE);
    for (uint64_t j = 0; j < nr; ++j)
      put_le64 (piece + j * VHDX_BAT_ENTRY_SIZE, new_entry (new, i + j));
    r = block_pwrite (e->block, piece, nr * VHDX_BAT_ENTRY_SIZE,
                      region + i * VHDX_BAT_ENTRY_SIZE, 0, err);
  }
  return r;
}

static int
copy_entries (struct vhdx_edit *e, uint64_t first, uint64_t nr,
              uint64_t region, uint8_t *buf, struct err *err)
{
  return relocate_bytes (e->block, e->bat.off + first * VHDX_BAT_ENTRY_SIZE,
                         region + first * VHDX_BAT_ENTRY_SIZE,
                         nr * VHDX_BAT_ENTRY_SIZE, buf, NULL, err);
}

/* A table that is longer, in another place; put, not committed. */
static int
copy_table (struct vhdx_edit *e, const struct new_entries *new,
            struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (RELOCATE_BUFFER);
  uint64_t len = round_up (new->bat->nr_entries * VHDX_BAT_ENTRY_SIZE,
                           VHDX_UNIT);
  uint64_t region;
  int r = buf ? 0 : err_nomem (err);

  if (r == 0)
    r = vhdx_edit_append (e, len, &region, err);
  if (r == 0)
    r = copy_entries (e, 0, min_u64 (new->first,
                                     e->bat.len / VHDX_BAT_ENTRY_SIZE),
                      region, buf, err);
  if (r == 0)
    r = write_entries (e, new, region, err);
  if (r == 0 && new->keep != UINT64_MAX)
    r = copy_entries (e, new->keep, 1, region, buf, err);
  if (r == 0)
    r = block_flush (e->block, err);
  return r < 0 ? r : vhdx_edit_put_region (e, e->bat.guid, region, len, err);
}

/*--- Growing ----------------------------------------------------------------*/

static int
put_size (struct vhdx_edit *e, uint64_t size, struct err *err)
{
  uint8_t bytes[8];

  put_le64 (bytes, size);
  return vhdx_edit_put_item (e, size_guid, bytes, sizeof bytes, err);
}

static int
add_blocks (struct vhdx_edit *e, struct new_entries *new, struct err *err)
{
  uint64_t nr = new->bat->nr_blocks - new->first_block;

  if (!e->layer->metadata.is_fixed || nr == 0)
    return 0;
  return vhdx_edit_append (e, nr * new->block_size, &new->place, err);
}

/* The log is empty before and, but for what is only put, after. */
static int
grow_table (struct vhdx_edit *e, const struct new_entries *new,
            struct err *err)
{
  int r;

  if (new->bat->nr_entries <= e->bat.len / VHDX_BAT_ENTRY_SIZE) {
    r = put_entries (e, new, new->bat->nr_entries, err);
    return r < 0 ? r : vhdx_edit_settle (e, err);
  }
  return copy_table (e, new, err);
}

static int
grow (struct vhdx_edit *e, uint64_t size, struct job *job, struct err *err)
{
  const struct vhdx_bat *old = &e->layer->bat, bat = table_for (e, size);
  struct new_entries new = {
    .bat = &bat,
    .first = index_of (old, old->nr_blocks),
    .keep = last_bitmap (e, old),
    .first_block = old->nr_blocks,
    .block_size = e->layer->metadata.block_size,
  };
  int r = make_last_whole (e, job, err);

  if (r == 0)
    r = job_check (job, err);
  if (r == 0)
    r = vhdx_edit_settle (e, err);
  if (r == 0)
    r = add_blocks (e, &new, err);
  if (r == 0)
    r = grow_table (e, &new, err);
  if (r == 0)
    r = vhdx_edit_new_data (e, err);
  if (r == 0)
    r = put_size (e, size, err);
  return r < 0 ? r : vhdx_edit_commit (e, err);
}

/*--- Shrinking --------------------------------------------------------------*/

/* The blocks, and bitmap blocks, that a disk of this size does not need. */
static int
list_gone (const struct vhdx_edit *e, uint64_t size,
           struct place_vector *gone, struct err *err)
{
  const struct vhdx_bat bat = table_for (e, size);
  uint64_t keep = last_bitmap (e, &bat);

  for (uint64_t i = index_of (&bat, bat.nr_blocks);
       i < e->layer->bat.nr_entries; ++i) {
    struct place p;

    if (i == keep || !vhdx_edit_is_in_file (e, i))
      continue;
    p = (struct place) { place_of (e, i), vhdx_edit_space_of (e, i) };
    if (vector_append (gone, &p) < 0)
      return err_nomem (err);
  }
  return 0;
}

/* A hint: where they are cut off with the end of the file, or can't be given
 * back, it does not matter.
 */
static void
give_back (struct vhdx_edit *e, const struct place_vector *gone)
{
  uint64_t end = block_size (e->block);

  for (size_t i = 0; i < gone->len; ++i)
    if (gone->ptr[i].off < end)
      block_trim (e->block, min_u64 (gone->ptr[i].len, end - gone->ptr[i].off),
                  gone->ptr[i].off, 0, NULL);
}

/* In all of the region: whatever an older size left there. */
static int
clear_entries (struct vhdx_edit *e, struct err *err)
{
  const struct vhdx_bat *bat = &e->layer->bat;
  const struct new_entries none = {
    .bat = bat,
    .first = index_of (bat, bat->nr_blocks),
    .keep = last_bitmap (e, bat),
  };

  return put_entries (e, &none, e->bat.len / VHDX_BAT_ENTRY_SIZE, err);
}

static int
set_smaller_size (struct vhdx_edit *e, uint64_t size, struct err *err)
{
  int r = vhdx_edit_new_data (e, err);

  if (r == 0)
    r = put_size (e, size, err);
  if (r == 0)
    r = vhdx_edit_commit (e, err);
  return r < 0 ? r : vhdx_edit_reload (e, err);
}

/* Without a change of size too: it may be what a crash left undone. */
static int
shrink (struct vhdx_edit *e, uint64_t size, struct err *err)
{
  struct place_vector gone = VECTOR_INIT;
  int r = list_gone (e, size, &gone, err);

  if (r == 0 && size != disk_size (e))
    r = set_smaller_size (e, size, err);
  if (r == 0)
    r = clear_rest_of_last (e, err);
  if (r == 0)
    r = clear_entries (e, err);
  if (r == 0)
    r = vhdx_edit_settle (e, err);
  if (r == 0)
    give_back (e, &gone);
  vector_free (&gone);
  return r;
}

/*--- The driver's operations ------------------------------------------------*/

static int
check_size (const struct vhdx_edit *e, uint64_t size, struct err *err)
{
  uint32_t logical = e->layer->metadata.logical;

  if (size % logical != 0)
    return err_set (err, -EINVAL, "the disk is of whole sectors of %" PRIu32
                    " bytes, which %" PRIu64 " bytes are not", logical, size);
  if (size > VHDX_MAX_SIZE)
    return err_set (err, -EINVAL, "the largest VHDX is of 64 TiB (%" PRIu64
                    " bytes)", VHDX_MAX_SIZE);
  return 0;
}

/* What the parent has behind the end of the child's disk would appear in the
 * child when that grows.
 */
static int
check_parent (const struct offline *o, const struct vhdx_edit *e,
              uint64_t size, struct err *err)
{
  const struct vhdx_layer *parent =
    ((const struct vhdx *) o->img->state)->leaf->parent;

  if (parent == NULL || size <= disk_size (e) ||
      parent->metadata.size <= disk_size (e))
    return 0;
  return err_set (err, -ENOTSUP, "the disk of its parent is larger (%" PRIu64
                  " bytes): what that has behind the end would appear in the "
                  "new space", parent->metadata.size);
}

/* Nothing is left in entries that the disk does not need. */
static int
rest_is_clear (struct vhdx_edit *e, bool *clear, struct err *err)
{
  const struct vhdx_bat *bat = &e->layer->bat;
  uint64_t end = e->bat.len / VHDX_BAT_ENTRY_SIZE;
  uint64_t keep = last_bitmap (e, bat);
  uint8_t page[VHDX_PAGE];

  *clear = true;
  for (uint64_t i = index_of (bat, bat->nr_blocks), nr; *clear && i < end;
       i += nr) {
    size_t len;
    int r;

    nr = min_u64 (end - i, PER_PAGE - i % PER_PAGE);
    len = nr * VHDX_BAT_ENTRY_SIZE;
    r = vhdx_edit_read (e, page, len,
                        e->bat.off + i * VHDX_BAT_ENTRY_SIZE, err);
    if (r < 0)
      return r;
    if (keep >= i && keep < i + nr)
      memset (page + (keep - i) * VHDX_BAT_ENTRY_SIZE, 0, VHDX_BAT_ENTRY_SIZE);
    *clear = relocate_is_zero (page, len);
  }
  return 0;
}

static int
plan_change (struct vhdx_edit *e, struct image_resize_plan *plan,
             struct err *err)
{
  uint64_t index;
  int r = 0;

  if (plan->size == disk_size (e) && vhdx_edit_is_mended (e) &&
      vhdx_edit_is_cut (e))
    r = rest_is_clear (e, &plan->is_done, err);
  if (plan->size > disk_size (e) && last_is_partial (e, &index) &&
      !place_is_whole (e, index))
    plan->to_move = vhdx_edit_len_of (e, index);
  return r;
}

int
vhdx_resize_plan (struct offline *o, struct image_resize_plan *plan,
                  struct err *err)
{
  struct vhdx_edit e;
  int r = vhdx_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = check_size (&e, plan->size, err);
  if (r == 0)
    r = check_parent (o, &e, plan->size, err);
  if (r == 0)
    r = plan_change (&e, plan, err);
  vhdx_edit_close (&e);
  return r;
}

int
vhdx_resize (struct offline *o, const struct image_resize_plan *plan,
             struct job *job, struct err *err)
{
  struct vhdx_edit e;
  int r = vhdx_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = vhdx_edit_begin (&e, err);
  if (r == 0)
    r = plan->size > disk_size (&e) ? grow (&e, plan->size, job, err)
                                    : shrink (&e, plan->size, err);
  if (r == 0)
    r = vhdx_edit_reload (&e, err);
  if (r == 0)
    r = vhdx_edit_cut (&e, err);
  vhdx_edit_close (&e);
  return r;
}
