/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The size of a dynamic or differencing VHD.  What a crash left of another
 * change is mended first (vhd-edit.c).  Then, each step on stable storage
 * before the next one:
 *
 *   grow     1. Blocks that lie where the BAT will grow move to the end of the
 *               file, and so does the last block, if its place was cut off
 *               where the disk ended.  Of the last block what is behind the
 *               end of the disk becomes zero.
 *            2. Header and locators that lie in the way move, too
 *               (vhd-relink.c).
 *            3. The new entries of the BAT become absent.
 *            4. The header says how many there are.
 *            5. The footers say the new size.
 *   shrink   1. The footers say the new size.
 *            2. The entries that are not needed any more become absent; the
 *               header says how many there are.
 *            3. The space of their blocks is given back.
 *
 * A crash before 5, or 1, leaves the old disk: a BAT may have more entries
 * than a disk needs, and those are not looked at.  After that it leaves the
 * new one.  An entry that was not cleared when the disk shrank can't come
 * back, because 3 of growing clears it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/offline-ops.h"
#include "lib/format/vhd/vhd-resize.h"

static uint64_t
disk_size (const struct vhd_edit *e)
{
  return e->layer->footers.footer.current_size;
}

static uint64_t
entries_for (const struct vhd_edit *e, uint64_t size)
{
  return div_round_up (size, e->layer->bat.block_size);
}

/* Where the BAT will end, in whole sectors. */
static uint64_t
table_end (const struct vhd_edit *e, uint64_t size)
{
  return e->layer->bat.table_offset +
    round_up (entries_for (e, size) * VHD_BAT_ENTRY_SIZE, VHD_SECTOR_SIZE);
}

static bool
overlaps (uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_end)
{
  return a < b_end && b < a + a_len;
}

/*--- Growing: what is in the way --------------------------------------------*/

/* The last block, if the disk ends within it and the file has it. */
static bool
last_is_partial (const struct vhd_edit *e, uint64_t *index)
{
  const struct vhd_bat *bat = &e->layer->bat;

  *index = disk_size (e) / bat->block_size;
  return disk_size (e) % bat->block_size != 0 && *index < bat->nr_entries &&
    bat->entries[*index] != VHD_BAT_HELD_ABSENT;
}

/* Does it have all of its place to itself? */
static bool
place_is_whole (const struct vhd_edit *e, uint64_t index)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t off = vhd_edit_block_off (e, index);
  uint64_t end = off + vhd_place_size (bat);

  if (end > e->layer->footers.end)
    return false;
  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (i != index && bat->entries[i] != VHD_BAT_HELD_ABSENT &&
        overlaps (vhd_edit_block_off (e, i), vhd_place_size (bat), off, end))
      return false;
  for (size_t i = 0; i < bat->nr_reserved; ++i)
    if (overlaps (bat->reserved[i].off, bat->reserved[i].len, off, end))
      return false;
  return true;
}

/* The blocks that have to move; where to, is known when all are. */
static int
list_moves (const struct vhd_edit *e, uint64_t size,
            struct vhd_move_vector *moves, struct err *err)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t end = table_end (e, size), last;
  bool partial = last_is_partial (e, &last);

  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    struct vhd_move m = { .index = i };

    if (bat->entries[i] == VHD_BAT_HELD_ABSENT)
      continue;
    if (!overlaps (vhd_edit_block_off (e, i), vhd_place_size (bat),
                   bat->table_offset, end) &&
        !(partial && i == last && !place_is_whole (e, i)))
      continue;
    if (vector_append (moves, &m) < 0)
      return err_nomem (err);
  }
  return 0;
}

/* Behind everything, and behind what the BAT will take. */
static int
choose_places (const struct vhd_edit *e, uint64_t size,
               struct vhd_move_vector *moves, uint64_t *end, struct err *err)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t off = max_u64 (vhd_place_end_of_data (bat), table_end (e, size));

  off = vhd_place_align (bat, off);
  for (size_t i = 0; i < moves->len; ++i) {
    if (off / VHD_SECTOR_SIZE >= VHD_BAT_ABSENT)
      return err_set (err, -ENOSPC, "the BAT grows over blocks that would "
                      "have to move to offset %" PRIu64 ", and a VHD can have "
                      "no block behind 2 TiB", off);
    moves->ptr[i].to = (uint32_t) (off / VHD_SECTOR_SIZE);
    off += vhd_place_stride (bat);
  }
  *end = off;
  return 0;
}

static bool
header_is_in_the_way (const struct vhd_edit *e, uint64_t size)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t end = table_end (e, size);

  for (size_t i = 0; i < bat->nr_reserved; ++i)
    if (bat->reserved[i].off != bat->table_offset &&
        overlaps (bat->reserved[i].off, bat->reserved[i].len,
                  bat->table_offset, end))
      return true;
  return false;
}

/*--- Growing ----------------------------------------------------------------*/

static int
make_way (struct vhd_edit *e, uint64_t size, struct job *job, struct err *err)
{
  struct vhd_move_vector moves = VECTOR_INIT;
  uint64_t end;
  int r = list_moves (e, size, &moves, err);

  if (r == 0)
    r = choose_places (e, size, &moves, &end, err);
  if (r == 0)
    r = vhd_edit_end_at_least (e, end, err);
  if (r == 0) {
    job_start (job, "moving", moves.len * vhd_place_size (&e->layer->bat));
    r = vhd_edit_move (e, moves.ptr, moves.len, job, err);
  }
  vector_free (&moves);
  return r;
}

static int
clear_rest_of_last (struct vhd_edit *e, struct err *err)
{
  const struct vhd_bat *bat = &e->layer->bat;
  uint64_t index;
  uint32_t has;
  int r;

  if (!last_is_partial (e, &index))
    return 0;
  has = (uint32_t) (disk_size (e) % bat->block_size);
  r = block_zero (e->block, bat->block_size - has,
                  vhd_edit_block_off (e, index) + bat->bitmap_size + has, 0,
                  err);
  return r < 0 ? r : block_flush (e->block, err);
}

static int
grow_table (struct vhd_edit *e, uint64_t size, struct err *err)
{
  uint64_t table = e->layer->bat.table_offset, end = table_end (e, size);
  int r = 0;

  if (header_is_in_the_way (e, size))
    r = vhd_relink (e, NULL, table, end - table, err);
  if (r == 0)
    r = vhd_edit_clear_entries (e, entries_for (e, disk_size (e)),
                                (end - table) / VHD_BAT_ENTRY_SIZE, err);
  if (r == 0)
    r = block_flush (e->block, err);
  return r < 0 ? r
    : vhd_relink_max_entries (e, (uint32_t) entries_for (e, size), err);
}

static int
grow (struct vhd_edit *e, uint64_t size, struct job *job, struct err *err)
{
  int r = make_way (e, size, job, err);

  if (r == 0)
    r = clear_rest_of_last (e, err);
  if (r == 0)
    r = job_check (job, err);
  if (r == 0)
    r = grow_table (e, size, err);
  return r < 0 ? r : vhd_edit_set_size (e, size, err);
}

/*--- Shrinking --------------------------------------------------------------*/

/* A hint: where they are cut off with the end of the file, or can't be given
 * back, it does not matter.
 */
static void
give_back (struct vhd_edit *e, const struct vhd_move_vector *gone)
{
  const struct vhd_bat *bat = &e->layer->bat;

  for (size_t i = 0; i < gone->len; ++i)
    block_trim (e->block,
                bat->bitmap_size + vhd_edit_block_len (e, gone->ptr[i].index),
                vhd_place_off (gone->ptr[i].to), 0, NULL);
}

/* The blocks behind the end of the new disk; `to` is where they are. */
static int
list_gone (const struct vhd_edit *e, uint64_t size,
           struct vhd_move_vector *gone, struct err *err)
{
  const struct vhd_bat *bat = &e->layer->bat;

  for (uint64_t i = entries_for (e, size); i < bat->nr_entries; ++i) {
    struct vhd_move m = { i, bat->entries[i] };

    if (m.to != VHD_BAT_HELD_ABSENT && vector_append (gone, &m) < 0)
      return err_nomem (err);
  }
  return 0;
}

static int
shrink_table (struct vhd_edit *e, uint64_t size, struct err *err)
{
  uint64_t nr = entries_for (e, size);
  uint32_t max = e->layer->header.max_entries;
  int r;

  if (nr >= max)
    return 0;
  r = vhd_edit_clear_entries (e, nr, max, err);
  if (r == 0)
    r = block_flush (e->block, err);
  return r < 0 ? r : vhd_relink_max_entries (e, (uint32_t) nr, err);
}

/* Without a change of size too: it may be what a crash left undone. */
static int
shrink (struct vhd_edit *e, uint64_t size, struct err *err)
{
  struct vhd_move_vector gone = VECTOR_INIT;
  int r = list_gone (e, size, &gone, err);

  if (r == 0 && size != disk_size (e))
    r = vhd_edit_set_size (e, size, err);
  if (r == 0)
    r = shrink_table (e, size, err);
  if (r == 0)
    give_back (e, &gone);
  vector_free (&gone);
  return r;
}

/*--- The driver's operations ------------------------------------------------*/

static int
check_size (const struct vhd_edit *e, uint64_t size, struct err *err)
{
  if (size % VHD_SECTOR_SIZE != 0)
    return err_set (err, -EINVAL, "a VHD is of whole sectors of %d bytes, "
                    "which %" PRIu64 " bytes are not", VHD_SECTOR_SIZE, size);
  if (!vhd_layer_is_fixed (e->layer) && size > VHD_MAX_DYNAMIC_SIZE)
    return err_set (err, -EINVAL, "the largest VHD that grows is of 2040 GiB "
                    "(%" PRIu64 " bytes); a fixed one can be larger",
                    VHD_MAX_DYNAMIC_SIZE);
  return 0;
}

/* What the parent has behind the end of the child's disk would appear in the
 * child when that grows.
 */
static int
check_parent (const struct offline *o, const struct vhd_edit *e,
              uint64_t size, struct err *err)
{
  const struct vhd_layer *parent =
    ((const struct vhd *) o->img->state)->leaf->parent;

  if (parent == NULL || size <= disk_size (e) ||
      parent->size <= disk_size (e))
    return 0;
  return err_set (err, -ENOTSUP, "the disk of its parent is larger (%" PRIu64
                  " bytes): what that has behind the end would appear in the "
                  "new space", parent->size);
}

static int
plan_with_blocks (struct vhd_edit *e, struct image_resize_plan *plan,
                  struct err *err)
{
  struct vhd_move_vector moves = VECTOR_INIT;
  uint64_t end;
  int r = 0;

  plan->is_done = plan->size == disk_size (e) && vhd_edit_is_mended (e) &&
    vhd_edit_is_cut (e) &&
    e->layer->header.max_entries == entries_for (e, plan->size);
  if (plan->size > disk_size (e))
    r = list_moves (e, plan->size, &moves, err);
  if (r == 0)
    r = choose_places (e, plan->size, &moves, &end, err);
  plan->to_move = moves.len * vhd_place_size (&e->layer->bat);
  vector_free (&moves);
  return r;
}

int
vhd_resize_plan (struct offline *o, struct image_resize_plan *plan,
                 struct err *err)
{
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = check_size (&e, plan->size, err);
  if (r == 0 && vhd_layer_is_fixed (e.layer))
    r = vhd_resize_fixed_plan (&e, plan, err);
  else if (r == 0) {
    r = check_parent (o, &e, plan->size, err);
    if (r == 0)
      r = plan_with_blocks (&e, plan, err);
  }
  vhd_edit_close (&e);
  return r;
}

static int
resize_with_blocks (struct vhd_edit *e, uint64_t size, struct job *job,
                    struct err *err)
{
  int r = vhd_edit_mend (e, err);

  if (r == 0)
    r = size > disk_size (e) ? grow (e, size, job, err)
                             : shrink (e, size, err);
  if (r == 0)
    r = vhd_edit_reload (e, err);
  return r < 0 ? r : vhd_edit_cut (e, err);
}

int
vhd_resize (struct offline *o, const struct image_resize_plan *plan,
            struct job *job, struct err *err)
{
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = vhd_layer_is_fixed (e.layer)
      ? vhd_resize_fixed (&e, plan->size, err)
      : resize_with_blocks (&e, plan->size, job, err);
  vhd_edit_close (&e);
  return r;
}
