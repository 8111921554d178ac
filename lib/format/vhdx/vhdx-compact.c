/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks that hold nothing are dropped, and what is at the end of the file
 * moves into the gaps.  What a crash left in the log is replayed first
 * (vhdx-edit.c).  Then:
 *
 *   1. If the disk will read as something else, which only what nobody uses
 *      does: a new DataWriteGuid.
 *   2. BAT entries, in the order of their indexes: those of what is dropped
 *      say so, and those of blocks that are absent give up the places that
 *      were kept for them.  Bitmap blocks come behind the blocks of their
 *      chunk, so none goes before the last block that asks for it.  Any number
 *      of commits; then the log is empty.
 *   3. Blocks move into free places in front of them (vhdx-edit-move.c,
 *      vhdx-compact-layout.c), then BAT and metadata, if they are at the end.
 *   4. The end of the file moves back.
 *
 * A crash during 2 leaves some of the blocks, which are zeros; no place is
 * used again before 2 is over.  Within 3 no place is used that something
 * moved away from.  What a crash leaves is the same disk, and at the worst
 * space that is nobody's.
 *
 * What may be dropped, are blocks that read as zeros, with the parents: they
 * say ZERO (§2.5.1.1), which hides the parents.  Partially present ones that
 * have no sector of their own are the parents' as a whole.  Blocks that the
 * caller says nobody uses, say ZERO, whatever they hold.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/offline-ops.h"
#include "lib/format/relocate.h"
#include "lib/format/vhdx/vhdx-compact.h"

#define PIECE (256 * 1024)

/* What becomes of a block: two bits in plan->drop. */
enum fate {
  KEEP = 0,
  DROP_ZERO = 1,
  DROP_TO_PARENTS = 2,
};

static enum fate
fate_of (const struct image_compact_plan *plan, uint64_t block)
{
  return (enum fate) (plan->drop[block / 4] >> block % 4 * 2 & 3);
}

uint64_t
vhdx_compact_entry (const struct vhdx_edit *e,
                    const struct image_compact_plan *plan, uint64_t index,
                    bool *partial)
{
  uint64_t entry = e->layer->bat.entries[index];
  bool is_in_file = vhdx_edit_is_in_file (e, index);

  if (vhdx_bat_is_bitmap (&e->layer->bat, index)) {
    if (!*partial || !is_in_file)
      entry = 0;
    *partial = false;
    return entry;
  }
  if (vhdx_bat_block_of (&e->layer->bat, index) >= e->layer->bat.nr_blocks)
    return 0;
  if (!is_in_file)
    return VHDX_BAT_STATE (entry);
  switch (fate_of (plan, vhdx_bat_block_of (&e->layer->bat, index))) {
  case DROP_ZERO:
    return VHDX_ZERO;
  case DROP_TO_PARENTS:
    return VHDX_NOT_PRESENT;
  case KEEP:
    break;
  }
  *partial |= VHDX_BAT_STATE (entry) == VHDX_PARTIALLY_PRESENT;
  return entry;
}

/*--- Which blocks hold nothing ----------------------------------------------*/

struct scan {
  struct vhdx_edit *e;
  struct vhdx_layer *leaf;      /* of the disk, with its parents */
  uint8_t *data;                /* of a piece */
};

static int
see_zeros (struct scan *s, uint64_t index, uint64_t off, uint64_t len,
           bool *zero, struct err *err)
{
  uint64_t entry = s->e->layer->bat.entries[index];
  int r = 0;

  *zero = VHDX_BAT_STATE (entry) == VHDX_PRESENT &&
    vhdx_edit_is_mended (s->e) &&
    relocate_is_hole (s->e->block, VHDX_BAT_OFFSET (entry), len);
  if (*zero)
    return 0;
  *zero = true;
  for (uint64_t at = 0; r == 0 && *zero && at < len; at += PIECE) {
    size_t n = (size_t) min_u64 (PIECE, len - at);

    r = vhdx_layer_pread (s->leaf, s->data, n, off + at, err);
    if (r == 0)
      *zero = relocate_is_zero (s->data, n);
  }
  return r;
}

/* Is none of its sectors in the file? */
static int
see_parents (struct scan *s, uint64_t index, uint64_t off, uint64_t len,
             bool *parents, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 2 };
  int r = 0;

  *parents = false;
  if (VHDX_BAT_STATE (s->e->layer->bat.entries[index]) !=
      VHDX_PARTIALLY_PRESENT)
    return 0;
  r = vhdx_layer_own_extents (s->leaf, len, off, &list, err);
  if (r == 0)
    *parents = list.v.ptr[0].kind == EXTENT_HOLE && list.v.ptr[0].len == len;
  return r;
}

static int
see_block (struct scan *s, struct image_compact_plan *plan, uint64_t index,
           struct err *err)
{
  uint64_t size = s->e->layer->metadata.block_size;
  uint64_t block = vhdx_bat_block_of (&s->e->layer->bat, index);
  uint64_t off = block * size, len = vhdx_edit_len_of (s->e, index);
  bool zero, parents = false, is_free = false;
  int r = see_zeros (s, index, off, len, &zero, err);

  if (r == 0 && !zero)
    r = see_parents (s, index, off, len, &parents, err);
  if (r < 0)
    return r;
  if (!zero && !parents && plan->is_free)
    is_free = plan->is_free (plan->opaque, off, len);
  if (zero || parents || is_free) {
    enum fate fate = parents ? DROP_TO_PARENTS : DROP_ZERO;

    plan->drop[block / 4] |= (uint8_t) (fate << block % 4 * 2);
    plan->dropped += size;
    plan->free += is_free ? size : 0;
  }
  return 0;
}

static int
see_blocks (struct scan *s, struct image_compact_plan *plan, struct job *job,
            struct err *err)
{
  const struct vhdx_layer *layer = s->e->layer;
  int r = 0;

  for (uint64_t i = 0; r == 0 && i < layer->bat.nr_entries; ++i) {
    if (vhdx_bat_is_bitmap (&layer->bat, i) ||
        !vhdx_edit_is_in_file (s->e, i))
      continue;
    r = see_block (s, plan, i, err);
    if (r == 0)
      r = job_advance (job, layer->metadata.block_size, err);
  }
  return r;
}

static int
scan (struct offline *o, struct vhdx_edit *e, struct image_compact_plan *plan,
      struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *data = malloc (PIECE);
  struct scan s = {
    .e = e, .data = data,
    .leaf = ((const struct vhdx *) o->img->state)->leaf,
  };

  plan->drop = calloc (e->layer->bat.nr_blocks / 4 + 1, 1);
  if (data == NULL || plan->drop == NULL)
    return err_nomem (err);
  plan->blocks = vhdx_bat_count_present (e->layer) *
    e->layer->metadata.block_size;
  job_start (job, "reading", plan->blocks);
  return see_blocks (&s, plan, job, err);
}

/*--- Planning ---------------------------------------------------------------*/

static bool
changes_entries (const struct vhdx_edit *e,
                 const struct image_compact_plan *plan)
{
  bool partial = false;

  for (uint64_t i = 0; i < e->layer->bat.nr_entries; ++i)
    if (vhdx_compact_entry (e, plan, i, &partial) !=
        e->layer->bat.entries[i])
      return true;
  return false;
}

static int
check_kind (const struct vhdx_edit *e, struct err *err)
{
  if (!e->layer->metadata.is_fixed)
    return 0;
  return err_set (err, -ENOTSUP, "a fixed VHDX has no blocks that it could do "
                  "without");
}

int
vhdx_compact_plan (struct offline *o, struct image_compact_plan *plan,
                   struct job *job, struct err *err)
{
  struct vhdx_layout l = { .moves = VECTOR_INIT };
  struct vhdx_edit e;
  int r = vhdx_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = check_kind (&e, err);
  if (r == 0)
    r = scan (o, &e, plan, job, err);
  if (r == 0)
    r = vhdx_lay_out (&e, plan, &l, err);
  if (r == 0) {
    plan->to_move = l.to_move;
    plan->file_size = min_u64 (l.end, block_size (o->block));
    plan->is_done = !changes_entries (&e, plan) &&
      vhdx_layout_is_dense (&l) && vhdx_edit_is_cut (&e) &&
      vhdx_edit_is_mended (&e);
  }
  vhdx_layout_free (&l);
  vhdx_edit_close (&e);
  return r;
}

/*--- Doing it ---------------------------------------------------------------*/

static int
drop (struct vhdx_edit *e, const struct image_compact_plan *plan,
      struct err *err)
{
  bool partial = false;
  int r = plan->free > 0 ? vhdx_edit_new_data (e, err) : 0;

  for (uint64_t i = 0; r == 0 && i < e->layer->bat.nr_entries; ++i) {
    uint64_t entry = vhdx_compact_entry (e, plan, i, &partial);

    if (entry != e->layer->bat.entries[i])
      r = vhdx_edit_put_entry_alone (e, i, entry, err);
  }
  if (r == 0)
    r = vhdx_edit_commit (e, err);
  return r < 0 ? r : vhdx_edit_settle (e, err);
}

static int
move_all (struct vhdx_edit *e, const struct vhdx_layout *l, struct job *job,
          struct err *err)
{
  static const uint8_t bat[UUID_SIZE] = VHDX_GUID_BAT;
  static const uint8_t metadata[UUID_SIZE] = VHDX_GUID_METADATA;
  int r;

  job_start (job, "moving", l->to_move);
  r = vhdx_edit_move (e, l->moves.ptr, l->moves.len, job, err);
  if (r == 0 && l->bat > 0)
    r = vhdx_edit_move_region (e, bat, l->bat, job, err);
  if (r == 0 && l->metadata > 0)
    r = vhdx_edit_move_region (e, metadata, l->metadata, job, err);
  return r < 0 ? r : vhdx_edit_settle (e, err);
}

/* Until nothing moves any more: of things of different sizes, one may have
 * left a gap for another.  Each round ends with the log empty, which names
 * none of the places that became free.
 */
static int
move (struct vhdx_edit *e, const struct image_compact_plan *plan,
      struct job *job, struct err *err)
{
  bool is_dense = false;
  int r = 0;

  while (r == 0 && !is_dense) {
    struct vhdx_layout l;

    r = vhdx_lay_out (e, plan, &l, err);
    if (r == 0) {
      is_dense = vhdx_layout_is_dense (&l);
      r = move_all (e, &l, job, err);
    }
    vhdx_layout_free (&l);
  }
  return r;
}

int
vhdx_compact (struct offline *o, const struct image_compact_plan *plan,
              struct job *job, struct err *err)
{
  struct vhdx_edit e;
  int r = vhdx_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = vhdx_edit_begin (&e, err);
  if (r == 0)
    r = drop (&e, plan, err);
  if (r == 0)
    r = move (&e, plan, job, err);
  if (r == 0)
    r = vhdx_edit_cut (&e, err);
  vhdx_edit_close (&e);
  return r;
}
