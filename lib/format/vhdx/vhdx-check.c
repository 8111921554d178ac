/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Everything that is wrong with a VHDX.
 *
 * The rules are the reader's, and its functions are asked: headers, log,
 * region tables, metadata, each entry of the BAT.  Where it would stop, this
 * goes on as far as what follows still means something: without a log that
 * can't be replayed, ignoring checksums that are wrong.
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

void
vhdx_examined_free (struct vhdx_examined *state)
{
  vhdx_layer_free (state->layer);
  state->layer = NULL;
  vector_free (&state->leaks);
}

static int
add (struct check *check, enum finding_severity severity, const char *kind,
     const char *structure, uint64_t off, bool mendable,
     const struct err *why, struct err *err)
{
  const struct finding_subject subject = {
    .severity = severity,
    .kind = kind,
    .structure = structure,
    .off = off,
    .mendable = mendable && !check->is_parent,
  };

  return check_add_err (check, &subject, why, err);
}

/*--- Structures that are there twice ----------------------------------------*/

static int
judge_twins (struct block *block, const uint64_t offsets[2], size_t len,
             const char *signature, struct vhdx_twin out[2], struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (len);
  int r = bytes ? 0 : err_nomem (err);

  for (int i = 0; r == 0 && i < 2; ++i) {
    struct vhdx_twin *t = &out[i];

    r = block_pread (block, bytes, len, offsets[i], err);
    if (r < 0)
      break;
    t->off = offsets[i];
    t->is_signed = memcmp (bytes, signature, 4) == 0;
    t->stored = get_le32 (bytes + VHDX_CHECKSUM);
    t->computed = vhdx_checksum (bytes, len);
    t->is_valid = t->is_signed && t->stored == t->computed;
  }
  return r;
}

static void
say_why (const struct vhdx_twin *t, const char *name, const char *signature,
         struct err *why)
{
  if (!t->is_signed)
    err_set (why, -EBADMSG, "there is no %s at offset %" PRIu64 ", expected "
             "its signature “%s”", name, t->off, signature);
  else
    err_set (why, -EBADMSG, "the %s at offset %" PRIu64 " has checksum %08"
             PRIx32 ", expected %08" PRIx32, name, t->off, t->stored,
             t->computed);
}

/* The reader goes by the other one. */
static int
add_bad_twin (struct check *check, const struct vhdx_twin t[2],
              const char *kind, const char *name, const char *signature,
              struct err *err)
{
  struct err why = ERR_INIT;

  for (int i = 0; i < 2; ++i)
    if (!t[i].is_valid && t[1 - i].is_valid) {
      say_why (&t[i], name, signature, &why);
      return add (check, FINDING_REPAIRABLE, kind, name, t[i].off, true, &why,
                  err);
    }
  return 0;
}

/*--- Headers and log --------------------------------------------------------*/

static int
check_identifier (struct block *block, struct check *check,
                  struct vhdx_examined *s, struct err *err)
{
  uint8_t bytes[VHDX_IDENTIFIER_SIZE];
  struct vhdx_header header;
  struct err why = ERR_INIT;
  int r = block_pread (block, bytes, sizeof bytes, 0, err);

  if (r < 0 || memcmp (bytes, VHDX_IDENTIFIER, sizeof bytes) == 0)
    return r;
  s->no_identifier = s->headers[0].is_valid || s->headers[1].is_valid;
  vhdx_header_read (block, false, &header, NULL, &why);
  return add (check, s->no_identifier ? FINDING_REPAIRABLE : FINDING_DAMAGE,
              "vhdx-identifier", "the file identifier", 0, s->no_identifier,
              &why, err);
}

/* A layer with its header, whatever its checksum; NULL: there is none. */
static int
choose_header (struct block *block, struct check *check,
               struct vhdx_examined *s, struct err *err)
{
  struct vhdx_layer *layer = calloc (1, sizeof *layer);
  struct err why = ERR_INIT;
  int r;

  if (layer == NULL)
    return err_nomem (err);
  layer->block = block_ref (block);
  layer->folder = (struct folder) FOLDER_INIT;
  s->layer = layer;
  r = vhdx_header_choose (block, false, &layer->header, NULL, &why);
  if (r == 0)
    return add_bad_twin (check, s->headers, "vhdx-header", "VHDX header",
                         VHDX_HEADER_SIGNATURE, err);
  r = add (check, FINDING_DAMAGE, "vhdx-header", "the VHDX headers",
           VHDX_HEADER_1, false, &why, err);
  if (r == 0 && vhdx_header_choose (block, true, &layer->header, NULL,
                                    NULL) < 0) {
    vhdx_layer_free (layer);
    s->layer = NULL;
  }
  return r;
}

static int
check_headers (struct block *block, struct check *check,
               struct vhdx_examined *s, struct err *err)
{
  static const uint64_t offsets[2] = { VHDX_HEADER_1, VHDX_HEADER_2 };
  struct vhdx_header header;
  struct err why = ERR_INIT;
  int r;

  if (block_size (block) < VHDX_UNIT) {
    /* There is one sentence for that. */
    vhdx_header_read (block, false, &header, NULL, &why);
    return add (check, FINDING_DAMAGE, "vhdx-cut", NULL, FINDING_NOWHERE,
                false, &why, err);
  }
  r = judge_twins (block, offsets, VHDX_HEADER_SIZE, VHDX_HEADER_SIGNATURE,
                   s->headers, err);
  if (r == 0)
    r = check_identifier (block, check, s, err);
  return r < 0 ? r : choose_header (block, check, s, err);
}

/* s->layer->file is how the rest of the file is read. */
static int
check_log (struct check *check, struct vhdx_examined *s, struct err *err)
{
  struct vhdx_layer *layer = s->layer;
  const struct vhdx_header *h = &layer->header;
  struct vhdx_log log = VHDX_LOG_INIT;
  struct err why = ERR_INIT;
  int r;

  s->log_state = VHDX_LOG_EMPTY;
  if (!uuid_is_zero (h->log_guid)) {
    r = vhdx_log_read (layer->block, h, &log, &why);
    s->log_state = r < 0 ? VHDX_LOG_DAMAGED : VHDX_LOG_WHOLE;
  }
  if (s->log_state != VHDX_LOG_WHOLE) {
    layer->file = block_ref (layer->block);
    return s->log_state == VHDX_LOG_EMPTY ? 0
      : add (check, FINDING_DAMAGE, "vhdx-log", "the log", h->log_off, false,
             &why, err);
  }
  layer->nr_replayed = log.nr_entries;
  err_set (&why, -EBADMSG, "the log at offset %" PRIu64 " holds changes that "
           "are not made yet (entries: %" PRIu64 "): the file was not closed "
           "properly", h->log_off, log.nr_entries);
  r = vhdx_replay_new (layer->block, h, &log, &layer->file, err);
  vector_free (&log.pieces);
  return r < 0 ? r : add (check, FINDING_NOTE, "vhdx-log", "the log",
                          h->log_off, true, &why, err);
}

/*--- Regions and metadata ---------------------------------------------------*/

static int
check_regions (struct check *check, struct vhdx_examined *s, struct err *err)
{
  static const uint64_t offsets[2] = { VHDX_REGIONS_1, VHDX_REGIONS_2 };
  struct vhdx_layer *layer = s->layer;
  struct err why = ERR_INIT;
  int r = judge_twins (layer->file, offsets, VHDX_REGIONS_SIZE,
                       VHDX_REGIONS_SIGNATURE, s->regions, err);

  if (r < 0)
    return r;
  s->has_regions = vhdx_regions_read (layer->file, &layer->header, false,
                                      &layer->regions, NULL, &why) == 0;
  if (s->has_regions)
    return add_bad_twin (check, s->regions, "vhdx-regions", "region table",
                         VHDX_REGIONS_SIGNATURE, err);
  r = add (check, FINDING_DAMAGE, "vhdx-regions", "the region tables",
           VHDX_REGIONS_1, false, &why, err);
  s->has_regions = vhdx_regions_read (layer->file, &layer->header, true,
                                      &layer->regions, NULL, NULL) == 0;
  return r;
}

static int
check_metadata (struct check *check, struct vhdx_examined *s, struct err *err)
{
  struct vhdx_layer *layer = s->layer;
  const struct vhdx_region *region = &layer->regions.metadata;
  struct err why = ERR_INIT;
  int r = vhdx_metadata_read (layer->file, region, &layer->metadata, &why);

  s->has_metadata = r == 0;
  if (r < 0)
    return add (check, FINDING_DAMAGE, "vhdx-metadata", "the metadata",
                region->off, false, &why, err);
  if (!layer->metadata.has_parent)
    return 0;
  r = vhdx_locator_read (layer->metadata.locator,
                         layer->metadata.locator_len, &layer->locator, &why);
  return r < 0 ? add (check, FINDING_DAMAGE, "vhdx-locator",
                      "the parent locator", region->off, false, &why, err)
               : 0;
}

/*--- The BAT ----------------------------------------------------------------*/

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
      r = w->is_first ? add_entry (w, "vhdx-bat", "the BAT",
                                   done / VHDX_BAT_ENTRY_SIZE, &why, err) : 0;
    else
      for (size_t i = 0; r == 0 && i < n; i += VHDX_BAT_ENTRY_SIZE)
        r = see (w, (done + i) / VHDX_BAT_ENTRY_SIZE,
                 get_le64 (w->bytes + i), err);
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

static int
check_bat (struct check *check, struct vhdx_examined *s, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = malloc (PIECE);
  CLEANUP_FREE struct walk *w = calloc (1, sizeof *w);
  struct vhdx_layer *layer = s->layer;
  struct err why = ERR_INIT;
  int r;

  if (bytes == NULL || w == NULL)
    return err_nomem (err);
  if (vhdx_bat_describe (layer, &why) < 0)
    return add (check, FINDING_DAMAGE, "vhdx-bat", "the BAT",
                layer->regions.bat.off, false, &why, err);
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

/*--- A file -----------------------------------------------------------------*/

int
vhdx_examine (struct block *block, struct check *check, struct vhdx_examined *s,
              struct err *err)
{
  int r = check_headers (block, check, s, err);

  if (r == 0 && s->layer)
    r = check_log (check, s, err);
  if (r == 0 && s->layer)
    r = check_regions (check, s, err);
  if (r == 0 && s->has_regions)
    r = check_metadata (check, s, err);
  if (r == 0 && s->has_metadata)
    r = check_bat (check, s, err);
  return r;
}

/*--- The chain --------------------------------------------------------------*/

/* s becomes what the parent of child is found to be, whose layer then belongs
 * to child, in place of the one that the search made.
 */
static int
check_parent (struct check *check, struct vhdx_layer *leaf,
              struct vhdx_layer *child, const struct folder_vector *folders,
              const struct image_options *options, struct vhdx_examined *s,
              struct err *err)
{
  struct vhdx_layer *found;
  struct err why = ERR_INIT;
  int r = vhdx_parent_find (leaf, child, folders, options, NULL, &why);

  if (r < 0)
    return add (check, FINDING_DAMAGE, "parent", "the parent",
                child->regions.metadata.off, false, &why, err);
  found = child->parent;
  check->file = block_name (found->block);
  check->is_parent = true;
  check->nr_files++;
  r = vhdx_examine (found->block, check, s, err);
  if (r < 0 || s->layer == NULL)
    return r;
  s->layer->folder = found->folder;
  s->layer->number = found->number;
  found->folder = (struct folder) FOLDER_INIT;
  child->parent = s->layer;
  vhdx_layer_free (found);
  return 0;
}

static int
compare (struct check *check, const struct vhdx_layer *child,
         struct err *err)
{
  static const struct finding_subject note = {
    .severity = FINDING_NOTE,
    .kind = "parent",
    .structure = "the parent",
    .off = FINDING_NOWHERE,
  };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err why = ERR_INIT;
  int r = vhdx_parent_compare (child, child->parent, &report, &why);

  check->file = block_name (child->block);
  if (r < 0) {
    err_in (&why, "parent %s", block_name (child->parent->block));
    return add (check, FINDING_DAMAGE, "parent", "the parent",
                child->regions.metadata.off, false, &why, err);
  }
  return check_add_report (check, &note, &report, err);
}

static bool
has_parent (const struct vhdx_layer *layer, bool has_metadata)
{
  return has_metadata && layer->metadata.has_parent &&
    layer->locator.nr_linkages > 0;
}

static int
check_chain (struct check *check, struct vhdx_layer *leaf,
             bool has_metadata, const struct image_options *options,
             struct err *err)
{
  struct folder_vector folders = VECTOR_INIT;
  struct vhdx_layer *child = leaf;
  int r;

  if (!has_parent (leaf, has_metadata))
    return 0;
  r = parent_path_folders (options->parent_path, &folders, err);
  if (r == 0)
    r = parent_leaf_folder (leaf->block, &leaf->folder, NULL, err);
  while (r == 0 && has_parent (child, has_metadata)) {
    struct vhdx_examined s = VHDX_EXAMINED_INIT;

    check->file = block_name (child->block);
    r = check_parent (check, leaf, child, &folders, options, &s, err);
    has_metadata = s.has_metadata;
    if (r == 0 && has_metadata)
      r = compare (check, child, err);
    if (child->parent == s.layer)
      s.layer = NULL;
    vhdx_examined_free (&s);
    child = child->parent;
    if (child == NULL)
      break;
  }
  parent_folders_free (&folders);
  return r;
}

int
vhdx_check (struct block *block, const struct image_options *options,
            struct check *check, struct err *err)
{
  struct vhdx_examined s = VHDX_EXAMINED_INIT;
  int r = vhdx_examine (block, check, &s, err);

  if (r == 0 && s.layer)
    r = check_chain (check, s.layer, s.has_metadata, options, err);
  vhdx_examined_free (&s);
  return r;
}
