/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks that hold nothing are dropped, and those at the end of the file move
 * into the gaps.  What a crash left of another change is mended first
 * (vhd-edit.c).  Then:
 *
 *   1. The BAT entries of what is dropped become absent.  fdatasync.
 *   2. From the end of the file on, blocks move into free places in front of
 *      them, as long as there are any (vhd-edit.c).
 *   3. The end of the file moves back.
 *
 * A crash during 1 leaves some of the blocks, which are zeros; no place is
 * used again before 1 is over.  Places that blocks moved away from are not
 * used again at all: they lie behind all free ones, and are cut off in 3.
 *
 * What may be dropped, are blocks whose sectors are zeros, or have no bit: in
 * a dynamic disk all of these, in a differencing one those where the parents
 * read zeros.  Sectors whose bit is 0 are the parents' in any case.  The same
 * goes for blocks that the caller says nobody uses, whatever they hold.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/sort.h"
#include "lib/format/offline-ops.h"
#include "lib/format/relocate.h"
#include "lib/format/vhd/vhd-compact.h"

#define PIECE (256 * 1024)

/*--- Which blocks hold nothing ----------------------------------------------*/

struct scan {
  struct vhd_edit *e;
  struct vhd_layer *parent;     /* NULL: none */
  uint8_t *bits;                /* of a block, as much as its bitmap takes */
  uint8_t *data;                /* of a piece */
  uint8_t *below;               /* of the same of the parent's disk */
};

static int
read_zero_below (struct scan *s, uint64_t len, uint64_t off, bool *zero,
                 struct err *err)
{
  int r = 0;

  if (s->parent == NULL || off >= s->parent->size)
    return 0;
  len = min_u64 (len, s->parent->size - off);
  r = vhd_layer_pread (s->parent, s->below, (size_t) len, off, err);
  if (r == 0)
    *zero = relocate_is_zero (s->below, (size_t) len);
  return r;
}

/* Sectors of a block that are in the file, one behind the other, not more
 * than a piece.  *zero becomes false if they hold something.
 */
static int
see_run (struct scan *s, uint64_t index, uint32_t in_block, uint32_t len,
         bool *zero, struct err *err)
{
  const struct vhd_bat *bat = &s->e->layer->bat;
  uint64_t off = vhd_edit_block_off (s->e, index) + bat->bitmap_size +
    in_block;
  int r = 0;

  if (!relocate_is_hole (s->e->block, off, len)) {
    r = block_pread (s->e->block, s->data, len, off, err);
    if (r == 0)
      *zero = relocate_is_zero (s->data, len);
  }
  if (r < 0 || !*zero)
    return r;
  return read_zero_below (s, len, index * bat->block_size + in_block, zero,
                          err);
}

static int
see_block (struct scan *s, uint64_t index, bool *zero, struct err *err)
{
  const struct vhd_bat *bat = &s->e->layer->bat;
  unsigned n, nr = (unsigned) div_round_up (vhd_edit_block_len (s->e, index),
                                            VHD_SECTOR_SIZE);
  int r = block_pread (s->e->block, s->bits, bat->bitmap_size,
                       vhd_edit_block_off (s->e, index), err);
  bool here;

  *zero = true;
  for (unsigned i = 0; r == 0 && *zero && i < nr; i += n) {
    n = (unsigned) min_u64 (nr - i, PIECE / VHD_SECTOR_SIZE);
    n = vhd_bits_run (s->bits, i, n, &here);
    if (here)
      r = see_run (s, index, i * VHD_SECTOR_SIZE, n * VHD_SECTOR_SIZE, zero,
                   err);
  }
  return r;
}

/* Does nobody use it, so that it may be anything? */
static int
see_free (struct scan *s, const struct image_compact_plan *plan,
          uint64_t index, bool *is_free, struct err *err)
{
  const struct vhd_bat *bat = &s->e->layer->bat;
  uint64_t off = index * bat->block_size;
  uint64_t end = min_u64 (off + bat->block_size, bat->disk_end);
  int r = 0;

  *is_free = plan->is_free && plan->is_free (plan->opaque, off, end - off);
  /* What it had instead would be the parents'. */
  for (; r == 0 && *is_free && off < end; off += PIECE)
    r = read_zero_below (s, min_u64 (PIECE, end - off), off, is_free, err);
  return r;
}

static bool
is_dropped (const struct image_compact_plan *plan, uint64_t index)
{
  return plan->drop[index / 8] & 1 << index % 8;
}

static int
see_blocks (struct scan *s, struct image_compact_plan *plan, struct job *job,
            struct err *err)
{
  const struct vhd_bat *bat = &s->e->layer->bat;

  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    bool zero, is_free = false;
    int r;

    if (bat->entries[i] == VHD_BAT_HELD_ABSENT)
      continue;
    r = see_block (s, i, &zero, err);
    if (r == 0 && !zero)
      r = see_free (s, plan, i, &is_free, err);
    if (r == 0)
      r = job_advance (job, bat->block_size, err);
    if (r < 0)
      return r;
    if (zero || is_free) {
      plan->drop[i / 8] |= (uint8_t) (1 << i % 8);
      plan->dropped += bat->block_size;
      plan->free += is_free ? bat->block_size : 0;
    }
  }
  return 0;
}

static uint64_t
bytes_of_blocks (const struct vhd_bat *bat)
{
  uint64_t nr = 0;

  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    nr += bat->entries[i] != VHD_BAT_HELD_ABSENT;
  return nr * bat->block_size;
}

static int
scan (struct offline *o, struct vhd_edit *e, struct image_compact_plan *plan,
      struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *bits = malloc (e->layer->bat.bitmap_size);
  CLEANUP_FREE uint8_t *data = malloc (2 * PIECE);
  struct scan s = {
    .e = e, .bits = bits, .data = data, .below = data + PIECE,
    .parent = ((const struct vhd *) o->img->state)->leaf->parent,
  };

  plan->drop = calloc (e->layer->bat.nr_entries / 8 + 1, 1);
  if (bits == NULL || data == NULL || plan->drop == NULL)
    return err_nomem (err);
  plan->blocks = bytes_of_blocks (&e->layer->bat);
  job_start (job, "reading", plan->blocks);
  return see_blocks (&s, plan, job, err);
}

/*--- Where the others go ----------------------------------------------------*/

/* What the file holds afterwards. */
struct layout {
  const struct vhd_bat *bat;
  uint32_t unit;                /* bytes: data of blocks is aligned to it */
  uint32_t *sectors;            /* where blocks that stay begin, sorted */
  size_t nr;                    /* of them */
  struct vhd_move_vector moves; /* of the last moves.len of them */
  uint64_t end;                 /* nothing is behind it */
};

static uint64_t
align (const struct layout *l, uint64_t off)
{
  uint32_t bitmap = l->bat->bitmap_size;

  return round_up (off + bitmap, l->unit) - bitmap;
}

/* The first place at or behind off that lies over nothing reserved. */
static uint64_t
next_place (const struct layout *l, uint64_t off)
{
  const struct vhd_bat *bat = l->bat;
  size_t i = 0;

  off = align (l, off);
  while (off < bat->reserved_end && i < bat->nr_reserved) {
    const struct vhd_reserved *res = &bat->reserved[i++];

    if (off < res->off + res->len &&
        res->off < off + vhd_place_size (bat)) {
      off = align (l, res->off + res->len);
      i = 0;
    }
  }
  return off;
}

/* The first free place gets the last block, as long as that is behind it. */
static int
fill_gaps (struct layout *l, struct err *err)
{
  uint64_t size = vhd_place_size (l->bat), off = next_place (l, 0);
  size_t next = 0, left = l->nr;

  l->end = l->bat->reserved_end;
  while (next < left) {
    uint64_t block = vhd_place_off (l->sectors[next]);
    struct vhd_move m = { .to = (uint32_t) (off / VHD_SECTOR_SIZE) };

    if (off + size > block) {   /* there is none in front of this one */
      off = next_place (l, max_u64 (off, block + size));
      next++;
      continue;
    }
    if (vector_append (&l->moves, &m) < 0)
      return err_nomem (err);
    left--;
    l->end = max_u64 (l->end, off + size);
    off = next_place (l, off + size);
  }
  if (left > 0)
    l->end = max_u64 (l->end, vhd_place_off (l->sectors[left - 1]) + size);
  return 0;
}

/* Where in the sorted sectors? */
static size_t
find_sector (const struct layout *l, uint32_t sector)
{
  size_t a = 0, b = l->nr;

  while (a + 1 < b) {
    size_t middle = (a + b) / 2;

    if (l->sectors[middle] > sector)
      b = middle;
    else
      a = middle;
  }
  return a;
}

/* The numbers of the blocks that move: the last one first. */
static void
name_blocks (struct layout *l)
{
  size_t left = l->nr - l->moves.len;

  for (uint64_t i = 0; l->moves.len > 0 && i < l->bat->nr_entries; ++i) {
    uint32_t sector = l->bat->entries[i];

    if (sector >= l->sectors[left])
      l->moves.ptr[l->nr - 1 - find_sector (l, sector)].index = i;
  }
}

/* Where blocks are not aligned, as with qemu, a gap that one leaves has room
 * only for another that is not.
 */
static void
collect (struct layout *l, const struct image_compact_plan *plan)
{
  const struct vhd_bat *bat = l->bat;

  l->unit = VHD_ALIGNMENT;
  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    if (bat->entries[i] == VHD_BAT_HELD_ABSENT || is_dropped (plan, i))
      continue;
    l->sectors[l->nr++] = bat->entries[i];
    if ((vhd_place_off (bat->entries[i]) + bat->bitmap_size) %
        VHD_ALIGNMENT != 0)
      l->unit = VHD_SECTOR_SIZE;
  }
}

static int
lay_out (const struct vhd_edit *e, const struct image_compact_plan *plan,
         struct layout *l, struct err *err)
{
  size_t most = (size_t) e->layer->bat.nr_entries;
  CLEANUP_FREE uint32_t *tmp = malloc ((most + 1) * sizeof *tmp);
  int r = 0;

  *l = (struct layout) { .bat = &e->layer->bat };
  l->sectors = malloc ((most + 1) * sizeof *l->sectors);
  if (tmp == NULL || l->sectors == NULL)
    return err_nomem (err);
  collect (l, plan);
  if (sort_u32 (l->sectors, tmp, l->nr) < 0)
    return err_nomem (err);
  r = fill_gaps (l, err);
  if (r == 0)
    name_blocks (l);
  return r;
}

static void
layout_free (struct layout *l)
{
  free (l->sectors);
  vector_free (&l->moves);
}

/*--- Doing it ---------------------------------------------------------------*/

static int
drop (struct vhd_edit *e, const struct image_compact_plan *plan,
      struct err *err)
{
  uint64_t first, end, nr = e->layer->bat.nr_entries;
  int r = 0;

  for (first = 0; r == 0 && first < nr; first = end + 1) {
    for (end = first; end < nr && is_dropped (plan, end); ++end)
      ;
    if (end > first)
      r = vhd_edit_clear_entries (e, first, end, err);
  }
  return r < 0 ? r : block_flush (e->block, err);
}

static int
move (struct vhd_edit *e, const struct image_compact_plan *plan,
      struct job *job, struct err *err)
{
  struct layout l;
  int r = lay_out (e, plan, &l, err);

  if (r == 0) {
    job_start (job, "moving", l.moves.len * vhd_place_size (l.bat));
    r = vhd_edit_move (e, l.moves.ptr, l.moves.len, job, err);
  }
  layout_free (&l);
  return r;
}

static int
check_kind (const struct vhd_edit *e, struct err *err)
{
  if (!vhd_layer_is_fixed (e->layer))
    return 0;
  return err_set (err, -ENOTSUP, "a fixed VHD has no blocks that it could do "
                  "without");
}

int
vhd_compact_plan (struct offline *o, struct image_compact_plan *plan,
                  struct job *job, struct err *err)
{
  struct layout l = { .bat = NULL };
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = check_kind (&e, err);
  if (r == 0)
    r = scan (o, &e, plan, job, err);
  if (r == 0)
    r = lay_out (&e, plan, &l, err);
  if (r == 0) {
    plan->to_move = l.moves.len * vhd_place_size (l.bat);
    plan->file_size = vhd_place_align (l.bat, l.end) + VHD_FOOTER_SIZE;
    plan->is_done = plan->dropped == 0 && l.moves.len == 0 &&
      plan->file_size >= block_size (o->block) && vhd_edit_is_mended (&e);
    plan->file_size = min_u64 (plan->file_size, block_size (o->block));
  }
  layout_free (&l);
  vhd_edit_close (&e);
  return r;
}

int
vhd_compact (struct offline *o, const struct image_compact_plan *plan,
             struct job *job, struct err *err)
{
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = vhd_edit_mend (&e, err);
  if (r == 0)
    r = drop (&e, plan, err);
  if (r == 0)
    r = move (&e, plan, job, err);
  if (r == 0)
    r = vhd_edit_cut (&e, err);
  vhd_edit_close (&e);
  return r;
}
