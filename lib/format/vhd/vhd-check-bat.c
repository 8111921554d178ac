/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Everything that is wrong with the BAT of a VHD, and what nothing names.
 *
 * The BAT is read in pieces, whatever its size, once for every 128 GiB of the
 * file (space-map.h): each sector of a block is claimed, and who claims a
 * sector again overlaps.  Which block was there first is found by reading the
 * table once more, for the first hundred.  What nobody claims, and is as
 * large as a block, is leaked; less is padding, which nobody could use.
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
#include "lib/format/vhd/vhd-check.h"

/* Bytes of the table that are read at once; whole entries. */
#define PIECE ((size_t) 2 * 1024 * 1024)

#define MAX_OVERLAPS CHECK_MAX_OF_A_KIND

struct overlap {
  uint64_t index;
  uint32_t sector;
  uint64_t other;               /* index of the one that it lies over, */
  uint32_t other_sector;
  bool found;                   /* ... if it was found */
};

struct walk {
  struct check *check;
  struct vhd_layer *layer;
  struct vhd_examined *state;
  struct space_map map;
  bool is_first;                /* window: entries are judged now */
  bool is_unread;               /* a part of the table could not be read, and
                                   it was said */
  uint8_t *bytes;               /* a piece */
  struct overlap overlaps[MAX_OVERLAPS];
  size_t nr_overlaps;
  uint64_t nr_more;             /* overlaps, that are only counted */
  uint64_t nr_bad;              /* entries; of more only their number counts */
};

static uint64_t
block_span (const struct vhd_bat *bat)
{
  return (uint64_t) bat->bitmap_size + bat->block_size;
}

/* The bytes of the disk that are in a block. */
static void
set_disk_range (const struct vhd_bat *bat, uint64_t index,
                struct finding_subject *subject)
{
  subject->disk_off = index * bat->block_size;
  subject->disk_len = min_u64 (bat->block_size,
                               bat->disk_end - subject->disk_off);
}

static int
add_entry (const struct walk *w, const char *kind, const char *structure,
           uint64_t index, const struct err *why, struct err *err)
{
  const struct vhd_bat *bat = &w->layer->bat;
  struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = kind,
    .structure = structure,
    .off = bat->table_offset + index * VHD_BAT_ENTRY_SIZE,
    .len = VHD_BAT_ENTRY_SIZE,
  };

  set_disk_range (bat, index, &subject);
  return check_add_err (w->check, &subject, why, err);
}

static void
remember_overlap (struct walk *w, uint64_t index, uint32_t sector)
{
  for (size_t i = 0; i < w->nr_overlaps; ++i)
    if (w->overlaps[i].index == index)
      return;
  if (w->nr_overlaps == MAX_OVERLAPS)
    w->nr_more++;
  else
    w->overlaps[w->nr_overlaps++] = (struct overlap) { .index = index,
                                                       .sector = sector };
}

/* One that the disk has no need of.  What it names may be somebody's. */
static void
see_spare_entry (struct walk *w, uint32_t sector)
{
  const struct vhd_bat *bat = &w->layer->bat;
  uint64_t off = (uint64_t) sector * VHD_SECTOR_SIZE;

  if (off < bat->reserved_end ||
      !range_fits (off, block_span (bat), bat->file_end))
    return;
  space_map_claim (&w->map, sector, block_span (bat) / VHD_SECTOR_SIZE);
  w->state->named_end = max_u64 (w->state->named_end, off + block_span (bat));
}

static int
see_entry (struct walk *w, uint64_t index, uint32_t sector, struct err *err)
{
  const struct vhd_bat *bat = &w->layer->bat;
  uint64_t off = (uint64_t) sector * VHD_SECTOR_SIZE;
  struct err why = { -EBADMSG, "" };
  bool is_listed = w->nr_bad < CHECK_MAX_OF_A_KIND;
  char name[40];

  if (sector == VHD_BAT_ABSENT)
    return 0;
  if (index >= bat->nr_entries) {
    see_spare_entry (w, sector);
    return 0;
  }
  if (vhd_bat_check_entry (bat, index, sector, is_listed ? &why : NULL) < 0) {
    w->nr_bad += w->is_first;
    snprintf (name, sizeof name, "BAT entry %" PRIu64, index);
    return w->is_first ? add_entry (w, "vhd-bat-entry", name, index, &why, err)
                       : 0;
  }
  if (!space_map_claim (&w->map, sector,
                        block_span (bat) / VHD_SECTOR_SIZE))
    remember_overlap (w, index, sector);
  w->state->named_end = max_u64 (w->state->named_end, off + block_span (bat));
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
  return add_entry (w, "vhd-bat", "the BAT", index, why, err);
}

/* All entries, of which nr are in the file; see gets those that name a block.
 */
static int
walk_table (struct walk *w,
            int (*see) (struct walk *w, uint64_t index, uint32_t sector,
                        struct err *err),
            struct err *err)
{
  const struct vhd_bat *bat = &w->layer->bat;
  uint64_t len = vhd_header_table_size (&w->layer->header);
  struct err why = ERR_INIT;
  int r = 0;

  for (uint64_t done = 0; r == 0 && done < len; done += PIECE) {
    size_t n = (size_t) min_u64 (len - done, PIECE);

    if (block_pread (w->layer->block, w->bytes, n, bat->table_offset + done,
                     &why) < 0)
      r = add_unread (w, done / VHD_BAT_ENTRY_SIZE, &why, err);
    else
      for (size_t i = 0; r == 0 && i < n; i += VHD_BAT_ENTRY_SIZE)
        r = see (w, (done + i) / VHD_BAT_ENTRY_SIZE, get_be32 (w->bytes + i),
                 err);
    if (r == 0)
      r = job_advance (w->check->job, n, err);
  }
  return r;
}

/* What else has its place. */
static void
claim_reserved (struct walk *w)
{
  const struct vhd_bat *bat = &w->layer->bat;

  for (size_t i = 0; i < bat->nr_reserved; ++i) {
    uint64_t first = bat->reserved[i].off / VHD_SECTOR_SIZE;
    uint64_t end = div_round_up (bat->reserved[i].off + bat->reserved[i].len,
                                 VHD_SECTOR_SIZE);

    space_map_claim (&w->map, first, end - first);
  }
}

/* A run of sectors that nobody named. */
static int
see_run (struct walk *w, const struct space_run *run, struct err *err)
{
  const struct vhd_bat *bat = &w->layer->bat;
  uint64_t off = run->first * VHD_SECTOR_SIZE;
  uint64_t len = run->nr * VHD_SECTOR_SIZE;
  bool is_tail = run->first + run->nr == w->map.nr_units;

  /* Where the footer is lost it will be written behind the last block. */
  if (len < block_span (bat) || (is_tail && !w->state->end.valid))
    return 0;
  return check_add_leak (w->check, w->layer->block, off, len, is_tail,
                         &w->state->leaks, err);
}

/* For each overlap: is this the block that was there? */
static int
see_partner (struct walk *w, uint64_t index, uint32_t sector, struct err *err)
{
  const struct vhd_bat *bat = &w->layer->bat;
  uint64_t span = block_span (bat) / VHD_SECTOR_SIZE;

  (void) err;
  if (sector == VHD_BAT_ABSENT || index >= bat->nr_entries)
    return 0;
  for (size_t i = 0; i < w->nr_overlaps; ++i) {
    struct overlap *o = &w->overlaps[i];

    if (!o->found && o->index != index && sector < o->sector + span &&
        o->sector < sector + span &&
        vhd_bat_check_entry (bat, index, sector, NULL) == 0) {
      o->found = true;
      o->other = index;
      o->other_sector = sector;
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

    vhd_bat_overlap (&w->layer->bat, o->other, o->other_sector, o->index,
                     o->sector, &why);
    snprintf (name, sizeof name, "BAT entries %" PRIu64 " and %" PRIu64,
              o->other, o->index);
    r = add_entry (w, "vhd-bat-overlap", name, o->index, &why, err);
  }
  for (; r == 0 && w->nr_more > 0; w->nr_more--)
    r = add_entry (w, "vhd-bat-overlap", "the BAT", 0, &why, err);
  return r;
}

static int
walk_windows (struct walk *w, struct err *err)
{
  uint64_t nr = space_map_nr_windows (&w->map);
  struct space_run run;
  int r = 0;

  job_start (w->check->job, "checking the BAT",
             nr * vhd_header_table_size (&w->layer->header));
  w->is_first = true;
  while (r == 0 && space_map_next (&w->map)) {
    claim_reserved (w);
    r = walk_table (w, see_entry, err);
    while (r == 0 && space_map_free_run (&w->map, &run))
      r = see_run (w, &run, err);
    w->is_first = false;
  }
  if (r == 0 && space_map_last_run (&w->map, &run))
    r = see_run (w, &run, err);
  return r < 0 ? r : add_overlaps (w, err);
}

int
vhd_examine_bat (struct check *check, struct vhd_examined *s, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (PIECE);
  CLEANUP_FREE struct walk *w = calloc (1, sizeof *w);
  int r;

  if (bytes == NULL || w == NULL)
    return err_nomem (err);
  vhd_bat_describe (s->layer);
  w->check = check;
  w->layer = s->layer;
  w->state = s;
  w->bytes = bytes;
  s->named_end = round_up (s->layer->bat.reserved_end, VHD_SECTOR_SIZE);
  r = space_map_open (&w->map, s->layer->bat.file_end / VHD_SECTOR_SIZE, err);
  if (r == 0)
    r = walk_windows (w, err);
  space_map_close (&w->map);
  return r;
}
