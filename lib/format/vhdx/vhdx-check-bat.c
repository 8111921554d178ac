/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Everything that is wrong with the BAT of a VHDX, and what nothing names.
 *
 * The BAT is read in pieces, whatever its size; each MiB of a block is
 * claimed (space-map.h), and who claims one again overlaps.  Which block was
 * there first is found by reading the table once more, for the first hundred.
 * Blocks that are not there may still have their old places: these are
 * claimed last, and overlap nothing, but are not free.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/space-map.h"
#include "lib/format/vhdx/vhdx-check.h"

/* Bytes of the table that are read at once; whole entries. */
#define PIECE ((size_t) 2 * 1024 * 1024)

#define MAX_OVERLAPS CHECK_MAX_OF_A_KIND

struct overlap {
  uint64_t index, entry;
  uint64_t other, other_entry;  /* the one that it lies over, */
  bool found;                   /* ... if it was found */
};

struct walk {
  struct check *check;
  struct vhdx_layer *layer;
  struct vhdx_examined *state;
  struct space_map map;         /* in VHDX_UNIT */
  bool is_first;                /* window: entries are judged now */
  bool is_unread;               /* a part of the table could not be read, and
                                   it was said */
  bool is_partial;              /* a block of this chunk is there in part */
  bool has_anchors;             /* blocks that are absent have places */
  uint8_t *bytes;               /* a piece */
  struct overlap overlaps[MAX_OVERLAPS];
  size_t nr_overlaps;
  uint64_t nr_more;             /* overlaps, that are only counted */
  uint64_t nr_bad;              /* entries; of more only their number counts */
};

static int
add_entry (const struct walk *w, const char *kind, const char *structure,
           uint64_t index, const struct err *why, struct err *err)
{
  const struct vhdx_layer *layer = w->layer;
  const struct vhdx_metadata *m = &layer->metadata;
  uint64_t ratio = layer->bat.chunk_ratio;
  bool is_bitmap = vhdx_bat_is_bitmap (&layer->bat, index);
  uint64_t block = is_bitmap ? index / (ratio + 1) * ratio
                             : vhdx_bat_block_of (&layer->bat, index);
  uint64_t len = is_bitmap ? ratio * m->block_size : m->block_size;
  struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = kind,
    .structure = structure,
    .off = layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE,
    .len = VHDX_BAT_ENTRY_SIZE,
    .disk_off = min_u64 (block * m->block_size, m->size),
  };

  subject.disk_len = min_u64 (len, m->size - subject.disk_off);
  return check_add_err (w->check, &subject, why, err);
}

/* Bytes of the file that an entry takes, which may be of any state. */
static uint64_t
space_of (const struct walk *w, uint64_t index)
{
  if (!vhdx_bat_is_bitmap (&w->layer->bat, index))
    return w->layer->metadata.block_size;
  return w->layer->metadata.has_parent ? VHDX_BITMAP_SIZE : 0;
}

static bool
is_in_file (uint64_t entry)
{
  unsigned state = VHDX_BAT_STATE (entry);

  return state == VHDX_PRESENT || state == VHDX_PARTIALLY_PRESENT;
}

/* False if a part of it belonged to another. */
static bool
claim (struct walk *w, uint64_t index, uint64_t entry)
{
  uint64_t off = VHDX_BAT_OFFSET (entry), len = space_of (w, index);

  if (len == 0)
    return true;
  w->state->named_end = max_u64 (w->state->named_end, off + len);
  return space_map_claim (&w->map, off / VHDX_UNIT, len / VHDX_UNIT);
}

static void
remember_overlap (struct walk *w, uint64_t index, uint64_t entry)
{
  for (size_t i = 0; i < w->nr_overlaps; ++i)
    if (w->overlaps[i].index == index)
      return;
  if (w->nr_overlaps == MAX_OVERLAPS)
    w->nr_more++;
  else
    w->overlaps[w->nr_overlaps++] = (struct overlap) { .index = index,
                                                       .entry = entry };
}

/* At the end of a chunk: is its bitmap there, if it is needed? */
static int
see_chunk_end (struct walk *w, uint64_t index, uint64_t entry,
               struct err *err)
{
  bool is_partial = w->is_partial;
  struct err why = ERR_INIT;

  w->is_partial = false;
  if (!w->is_first || !is_partial || is_in_file (entry))
    return 0;
  vhdx_bat_no_bitmap (w->layer, index / (w->layer->bat.chunk_ratio +
                                         UINT64_C (1)), &why);
  return add_entry (w, "vhdx-bat-no-bitmap", "the BAT", index, &why, err);
}

static bool
is_needed (const struct walk *w, uint64_t index)
{
  return index < w->layer->bat.nr_entries;
}

static int
see_entry (struct walk *w, uint64_t index, uint64_t entry, struct err *err)
{
  const struct vhdx_bat *bat = &w->layer->bat;
  struct err why = { -EBADMSG, "" };
  bool is_listed = w->nr_bad < CHECK_MAX_OF_A_KIND;
  char name[40];
  int r;

  if (!is_needed (w, index) || !is_in_file (entry))
    w->has_anchors = w->has_anchors || VHDX_BAT_OFFSET (entry) != 0;
  if (!is_needed (w, index))
    return 0;
  r = vhdx_bat_check_entry (w->layer, index, entry, is_listed ? &why : NULL);
  if (r < 0) {
    w->nr_bad += w->is_first;
    snprintf (name, sizeof name, "BAT entry %" PRIu64, index);
    r = w->is_first ? add_entry (w, "vhdx-bat-entry", name, index, &why, err)
                    : 0;
  }
  else if (is_in_file (entry) && !claim (w, index, entry))
    remember_overlap (w, index, entry);
  if (VHDX_BAT_STATE (entry) == VHDX_PARTIALLY_PRESENT)
    w->is_partial = true;
  if (r == 0 && w->layer->metadata.has_parent &&
      vhdx_bat_is_bitmap (bat, index))
    r = see_chunk_end (w, index, entry, err);
  return r;
}

/* A block that is not there, or not needed, and has a place. */
static int
see_anchor (struct walk *w, uint64_t index, uint64_t entry, struct err *err)
{
  uint64_t off = VHDX_BAT_OFFSET (entry);

  (void) err;
  if ((!is_needed (w, index) || !is_in_file (entry)) && off >= VHDX_UNIT &&
      range_fits (off, space_of (w, index), block_size (w->layer->file)))
    claim (w, index, entry);
  return 0;
}

/* What is not read claims nothing, so that it matters in any window; each
 * piece is told once.
 */
static int
add_unread (struct walk *w, uint64_t index, const struct err *why,
            struct err *err)
{
  if (!w->is_first && w->is_unread)
    return 0;
  w->is_unread = true;
  return add_entry (w, "vhdx-bat", "the BAT", index, why, err);
}

/* All entries but those that say nothing: zeros that the disk has no need of,
 * which are most of the region of a small disk.
 */
static int
walk_piece (struct walk *w, uint64_t first, size_t nr,
            int (*see) (struct walk *w, uint64_t index, uint64_t entry,
                        struct err *err),
            struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < nr; ++i) {
    uint64_t entry = get_le64 (w->bytes + i * VHDX_BAT_ENTRY_SIZE);

    if (entry != 0 || is_needed (w, first + i))
      r = see (w, first + i, entry, err);
  }
  return r;
}

static int
walk_table (struct walk *w,
            int (*see) (struct walk *w, uint64_t index, uint64_t entry,
                        struct err *err),
            struct err *err)
{
  const struct vhdx_region *region = &w->layer->regions.bat;
  struct err why = ERR_INIT;
  int r = 0;

  for (uint64_t done = 0; r == 0 && done < region->len; done += PIECE) {
    size_t n = (size_t) min_u64 (region->len - done, PIECE);

    if (block_pread (w->layer->file, w->bytes, n, region->off + done,
                     &why) < 0)
      r = add_unread (w, done / VHDX_BAT_ENTRY_SIZE, &why, err);
    else
      r = walk_piece (w, done / VHDX_BAT_ENTRY_SIZE, n / VHDX_BAT_ENTRY_SIZE,
                      see, err);
    if (r == 0)
      r = job_advance (w->check->job, n, err);
  }
  return r;
}

static void
claim_regions (struct walk *w)
{
  const struct vhdx_region_vector *all = &w->layer->regions.all;

  space_map_claim (&w->map, 0, 1);
  for (size_t i = 0; i < all->len; ++i) {
    const struct vhdx_region *g = &all->ptr[i];

    space_map_claim (&w->map, g->off / VHDX_UNIT, g->len / VHDX_UNIT);
    w->state->named_end = max_u64 (w->state->named_end, g->off + g->len);
  }
}

/* A run of MiBs that nobody named; the last one may be incomplete.  One in
 * which no block has room is what aligning blocks leaves, as QEMU does.
 */
static int
see_run (struct walk *w, const struct space_run *run, struct err *err)
{
  uint64_t size = block_size (w->layer->block);
  uint64_t off = run->first * VHDX_UNIT;
  uint64_t end = min_u64 (off + run->nr * VHDX_UNIT, size);
  bool is_tail = run->first + run->nr == w->map.nr_units;

  if (off >= end)               /* what replaying the log will add */
    return 0;
  if (!is_tail && end - off < w->layer->metadata.block_size)
    return 0;
  return check_add_leak (w->check, w->layer->block, off, end - off, is_tail,
                         &w->state->leaks, err);
}

static int
see_partner (struct walk *w, uint64_t index, uint64_t entry, struct err *err)
{
  uint64_t off = VHDX_BAT_OFFSET (entry), len;

  (void) err;
  if (!is_needed (w, index) || !is_in_file (entry))
    return 0;
  len = space_of (w, index);
  for (size_t i = 0; i < w->nr_overlaps; ++i) {
    struct overlap *o = &w->overlaps[i];
    uint64_t at = VHDX_BAT_OFFSET (o->entry);

    if (!o->found && o->index != index && off < at + space_of (w, o->index) &&
        at < off + len &&
        vhdx_bat_check_entry (w->layer, index, entry, NULL) == 0) {
      o->found = true;
      o->other = index;
      o->other_entry = entry;
    }
  }
  return 0;
}

static int
add_overlaps (struct walk *w, struct err *err)
{
  struct err why = ERR_INIT;
  char name[64];
  int r = 0;

  if (w->nr_overlaps == 0)
    return 0;
  w->is_first = false;
  r = walk_table (w, see_partner, err);
  for (size_t i = 0; r == 0 && i < w->nr_overlaps; ++i) {
    const struct overlap *o = &w->overlaps[i];

    err_set (&why, -EBADMSG, "BAT entries %" PRIu64 " (offset %" PRIu64
             ") and %" PRIu64 " (offset %" PRIu64 ") overlap: the first block "
             "takes %" PRIu64 " bytes", o->other,
             VHDX_BAT_OFFSET (o->other_entry), o->index,
             VHDX_BAT_OFFSET (o->entry), space_of (w, o->other));
    snprintf (name, sizeof name, "BAT entries %" PRIu64 " and %" PRIu64,
              o->other, o->index);
    r = add_entry (w, "vhdx-bat-overlap", name, o->index, &why, err);
  }
  for (; r == 0 && w->nr_more > 0; w->nr_more--)
    r = add_entry (w, "vhdx-bat-overlap", "the BAT", 0, &why, err);
  return r;
}

static int
walk_windows (struct walk *w, struct err *err)
{
  struct space_run run;
  int r = 0;

  job_start (w->check->job, "checking the BAT",
             space_map_nr_windows (&w->map) * w->layer->regions.bat.len);
  w->is_first = true;
  while (r == 0 && space_map_next (&w->map)) {
    claim_regions (w);
    r = walk_table (w, see_entry, err);
    if (r == 0 && w->has_anchors)
      r = walk_table (w, see_anchor, err);
    while (r == 0 && space_map_free_run (&w->map, &run))
      r = see_run (w, &run, err);
    w->is_first = false;
  }
  if (r == 0 && space_map_last_run (&w->map, &run))
    r = see_run (w, &run, err);
  return r < 0 ? r : add_overlaps (w, err);
}

int
vhdx_examine_bat (struct check *check, struct vhdx_examined *s, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (PIECE);
  CLEANUP_FREE struct walk *w = calloc (1, sizeof *w);
  struct vhdx_layer *layer = s->layer;
  struct err why = ERR_INIT;
  int r;

  if (bytes == NULL || w == NULL)
    return err_nomem (err);
  if (vhdx_bat_describe (layer, &why) < 0)
    return check_add_err (check, &(struct finding_subject) {
        .severity = FINDING_DAMAGE,
        .kind = "vhdx-bat",
        .structure = "the BAT",
        .off = layer->regions.bat.off,
      }, &why, err);
  w->check = check;
  w->layer = layer;
  w->state = s;
  w->bytes = bytes;
  s->has_bat = true;
  s->named_end = VHDX_UNIT;
  r = space_map_open (&w->map, div_round_up (block_size (layer->file),
                                             VHDX_UNIT), err);
  if (r == 0)
    r = walk_windows (w, err);
  space_map_close (&w->map);
  return r;
}
