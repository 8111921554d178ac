/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From the end of the file on, blocks, bitmap blocks, BAT and metadata get the
 * first gap in front of them that they fit into.  The first one that finds
 * none ends that: the file can't end in front of it, and to move others would
 * be for nothing.  Log and regions that are not known stay where they are.
 *
 * All of it is in maps with a bit for each VHDX_UNIT of the file.  What moves
 * leaves its own bits set, so that its place is given to nothing else: what a
 * crash leaves in the BAT, the old place or the new one, has the block.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-compact.h"

/* In units. */
struct shift {
  uint32_t from, to;
  uint64_t index;               /* of the BAT entry */
};

DEFINE_VECTOR (shift_vector, struct shift);

struct map {
  const struct vhdx_edit *e;
  uint64_t nr;                  /* units of the file */
  uint8_t *used;                /* owned: something is there, */
  uint8_t *starts;              /* ... and begins there, */
  uint8_t *bitmaps;             /* ... a bitmap block */
  uint64_t next[2];             /* no gap is in front of this unit: for
                                   bitmaps, for blocks */
  struct shift_vector shifts;   /* the last ones of the file first */
};

static bool
get (const uint8_t *bits, uint64_t i)
{
  return bits[i / 8] & 1 << i % 8;
}

static void
set (uint8_t *bits, uint64_t i)
{
  bits[i / 8] |= (uint8_t) (1 << i % 8);
}

/* Bytes.  False: something is there already. */
static bool
use (struct map *m, uint64_t off, uint64_t len)
{
  uint64_t first = off / VHDX_UNIT;
  bool was_free = true;

  set (m->starts, first);
  for (uint64_t i = 0; i < len / VHDX_UNIT; ++i) {
    was_free &= !get (m->used, first + i);
    set (m->used, first + i);
  }
  return was_free;
}

static int
map_open (struct map *m, const struct vhdx_edit *e, struct err *err)
{
  size_t bytes;

  *m = (struct map) { .e = e,
                      .nr = vhdx_end_of_data (e->layer) / VHDX_UNIT };
  bytes = (size_t) (m->nr / 8 + 1);
  m->used = calloc (3, bytes);
  if (m->used == NULL)
    return err_nomem (err);
  m->starts = m->used + bytes;
  m->bitmaps = m->starts + bytes;
  return 0;
}

static void
map_close (struct map *m)
{
  free (m->used);
  vector_free (&m->shifts);
}

/* Also those that are going to be nowhere have an entry. */
static bool
stays (uint64_t entry)
{
  unsigned state = VHDX_BAT_STATE (entry);

  return state == VHDX_PRESENT || state == VHDX_PARTIALLY_PRESENT;
}

/* Opening does not find overlaps in all tables (vhdx-bat.c): of two blocks in
 * one place only one would move.
 */
static int
see_file (struct map *m, const struct image_compact_plan *plan,
          struct err *err)
{
  const struct vhdx_layer *layer = m->e->layer;
  bool partial = false;

  use (m, 0, VHDX_UNIT);
  for (size_t i = 0; i < layer->regions.all.len; ++i)
    use (m, layer->regions.all.ptr[i].off, layer->regions.all.ptr[i].len);
  for (uint64_t i = 0; i < layer->bat.nr_entries; ++i) {
    uint64_t entry = vhdx_compact_entry (m->e, plan, i, &partial);

    if (!stays (entry))
      continue;
    if (!use (m, VHDX_BAT_OFFSET (entry), vhdx_edit_space_of (m->e, i)))
      return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (offset %" PRIu64
                      ") overlaps another block", i, VHDX_BAT_OFFSET (entry));
    if (vhdx_bat_is_bitmap (&layer->bat, i))
      set (m->bitmaps, VHDX_BAT_OFFSET (entry) / VHDX_UNIT);
  }
  return 0;
}

/*--- Gaps -------------------------------------------------------------------*/

/* The first nr units that are free, from first on and in front of end; end if
 * there are none.
 */
static uint64_t
find_gap (const struct map *m, uint64_t first, uint64_t nr, uint64_t end)
{
  uint64_t free = 0;

  for (uint64_t i = first; i < end; ++i) {
    free = get (m->used, i) ? 0 : free + 1;
    if (free == nr)
      return i + 1 - nr;
  }
  return end;
}

static void
take (struct map *m, struct vhdx_layout *l, uint64_t first, uint64_t nr)
{
  for (uint64_t i = 0; i < nr; ++i)
    set (m->used, first + i);
  l->end = max_u64 (l->end, (first + nr) * VHDX_UNIT);
}

/* 1 if it moves, 0 if it has to stay. */
static int
move_block (struct map *m, struct vhdx_layout *l, uint64_t from,
            struct err *err)
{
  bool is_block = !get (m->bitmaps, from);
  uint64_t nr = (is_block ? m->e->layer->metadata.block_size
                          : VHDX_BITMAP_SIZE) / VHDX_UNIT;
  uint64_t to = find_gap (m, m->next[is_block], nr, from);
  struct shift s = { .from = (uint32_t) from, .to = (uint32_t) to };

  m->next[is_block] = to;
  if (to == from) {
    l->end = max_u64 (l->end, (from + nr) * VHDX_UNIT);
    return 0;
  }
  if (vector_append (&m->shifts, &s) < 0)
    return err_nomem (err);
  take (m, l, to, nr);
  return 1;
}

static int
move_region (struct map *m, struct vhdx_layout *l,
             const struct vhdx_region *region)
{
  const struct vhdx_regions *regions = &m->e->layer->regions;
  uint64_t from = region->off / VHDX_UNIT, nr = region->len / VHDX_UNIT;
  bool is_bat = region->off == regions->bat.off;
  uint64_t to = is_bat || region->off == regions->metadata.off
    ? find_gap (m, 0, nr, from) : from;

  if (to == from) {
    l->end = max_u64 (l->end, region->off + region->len);
    return 0;
  }
  *(is_bat ? &l->bat : &l->metadata) = to * VHDX_UNIT;
  l->to_move += region->len;
  take (m, l, to, nr);
  return 1;
}

static int
fill_gaps (struct map *m, struct vhdx_layout *l, struct err *err)
{
  int r = 1;

  l->end = VHDX_UNIT;
  for (uint64_t i = m->nr; r == 1 && i-- > 1;) {
    const struct vhdx_region *region;

    if (!get (m->starts, i))
      continue;
    region = vhdx_regions_touched (&m->e->layer->regions, i * VHDX_UNIT,
                                   VHDX_UNIT);
    r = region ? move_region (m, l, region) : move_block (m, l, i, err);
  }
  return r < 0 ? r : 0;
}

/*--- Whose blocks they are --------------------------------------------------*/

static int
by_place (const void *key, const void *shift)
{
  uint32_t from = *(const uint32_t *) key;
  const struct shift *s = shift;

  return from > s->from ? -1 : from < s->from;
}

static void
name_blocks (struct map *m, const struct image_compact_plan *plan)
{
  const struct vhdx_bat *bat = &m->e->layer->bat;
  const struct shift_vector *v = &m->shifts;
  bool partial = false;

  for (uint64_t i = 0; v->len > 0 && i < bat->nr_entries; ++i) {
    uint64_t entry = vhdx_compact_entry (m->e, plan, i, &partial);
    uint32_t from = (uint32_t) (VHDX_BAT_OFFSET (entry) / VHDX_UNIT);
    struct shift *s;

    if (!stays (entry) || from < v->ptr[v->len - 1].from)
      continue;
    s = bsearch (&from, v->ptr, v->len, sizeof *s, by_place);
    if (s)
      s->index = i;
  }
}

static int
make_moves (const struct map *m, struct vhdx_layout *l, struct err *err)
{
  for (size_t i = 0; i < m->shifts.len; ++i) {
    const struct shift *s = &m->shifts.ptr[i];
    struct vhdx_move move = { .index = s->index, .to = s->to * VHDX_UNIT };

    if (vector_append (&l->moves, &move) < 0)
      return err_nomem (err);
    l->to_move += vhdx_edit_len_of (m->e, s->index);
  }
  return 0;
}

int
vhdx_lay_out (const struct vhdx_edit *e,
              const struct image_compact_plan *plan, struct vhdx_layout *l,
              struct err *err)
{
  struct map m;
  int r;

  *l = (struct vhdx_layout) { .moves = VECTOR_INIT };
  r = map_open (&m, e, err);
  if (r == 0)
    r = see_file (&m, plan, err);
  if (r == 0)
    r = fill_gaps (&m, l, err);
  if (r == 0) {
    name_blocks (&m, plan);
    r = make_moves (&m, l, err);
  }
  map_close (&m);
  return r;
}

void
vhdx_layout_free (struct vhdx_layout *l)
{
  vector_free (&l->moves);
}

bool
vhdx_layout_is_dense (const struct vhdx_layout *l)
{
  return l->moves.len == 0 && l->bat == 0 && l->metadata == 0;
}
