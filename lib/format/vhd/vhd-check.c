/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Everything that is wrong with a VHD.
 *
 * The rules are the reader's, and its functions are asked: footers, header,
 * each entry of the BAT.  Where it would stop, this goes on as far as what
 * follows still means something, ignoring checksums that are wrong.
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

/* How far a header is looked for: writers put it into the second sector. */
#define HEADER_SEARCH ((size_t) 1024 * 1024)

#define MAX_OVERLAPS CHECK_MAX_OF_A_KIND

void
vhd_examined_free (struct vhd_examined *state)
{
  vhd_layer_free (state->layer);
  state->layer = NULL;
  vector_free (&state->leaks);
}

/*--- Footers ----------------------------------------------------------------*/

static int
add_footer (struct check *check, enum finding_severity severity,
            const char *kind, uint64_t off, bool mendable,
            const struct err *why, struct err *err)
{
  const struct finding_subject subject = {
    .severity = severity,
    .kind = kind,
    .structure = off == 0 ? "the copy of the VHD footer" : "the VHD footer",
    .off = off,
    .len = VHD_FOOTER_SIZE,
    .mendable = mendable && !check->is_parent,
  };

  return check_add_err (check, &subject, why, err);
}

/* The reader refuses both.  What it says is of one of them. */
static int
add_refused (struct check *check, const struct vhd_examined *s,
             const struct err *why, struct err *err)
{
  const struct vhd_place *both[] = { &s->end, &s->copy };
  bool is_buried = s->buried != UINT64_MAX;
  uint64_t off = s->end.cookie ? s->end.off
    : s->copy.cookie ? 0 : FINDING_NOWHERE;
  int r;

  if (is_buried)
    return add_footer (check, FINDING_REPAIRABLE, "vhd-footer-buried",
                       s->buried, true, why, err);
  r = add_footer (check, FINDING_DAMAGE, "vhd-footer", off, false, why, err);
  for (int i = 0; r == 0 && i < 2; ++i) {
    struct err other = ERR_INIT;

    if (!both[i]->cookie || both[i]->valid)
      continue;
    vhd_footer_damage (both[i], &other);
    if (strcmp (other.msg, why->msg) != 0)
      r = add_footer (check, FINDING_DAMAGE, "vhd-footer", both[i]->off,
                      false, &other, err);
  }
  return r;
}

/* The reader goes by one of them.  Is the other as it should be? */
static int
compare_places (struct check *check, const struct vhd_examined *s,
                struct err *err)
{
  const struct vhd_place *end = &s->end, *copy = &s->copy;
  struct err why = ERR_INIT;
  uint32_t type = get_be32 (end->bytes + VHD_FOOTER_TYPE);

  if (!end->valid) {
    if (end->cookie)
      vhd_footer_damage (end, &why);
    else
      err_set (&why, -EBADMSG, "there is no VHD footer at the end of the "
               "file, expected one as at offset 0");
    return add_footer (check, FINDING_REPAIRABLE, "vhd-footer-end",
                       end->cookie ? end->off : FINDING_NOWHERE, true, &why,
                       err);
  }
  if (type == VHD_FIXED ||
      memcmp (end->bytes, copy->bytes, VHD_FOOTER_SIZE) == 0)
    return 0;
  if (copy->valid)
    err_set (&why, -EBADMSG, "the copy of the VHD footer at offset 0 is "
             "another, expected the one at offset %" PRIu64, end->off);
  else if (copy->cookie)
    vhd_footer_damage (copy, &why);
  else
    err_set (&why, -EBADMSG, "there is no copy of the VHD footer at offset "
             "0, expected that of offset %" PRIu64, end->off);
  return add_footer (check, FINDING_REPAIRABLE, "vhd-footer-copy", 0, true,
                     &why, err);
}

static int
note_511 (struct check *check, const struct vhd_examined *s, struct err *err)
{
  const struct finding_subject subject = {
    .severity = FINDING_NOTE,
    .kind = "vhd-footer-511",
    .structure = "the VHD footer",
    .off = s->end.off,
    .len = VHD_FOOTER_OLD_SIZE,
    .mendable = !check->is_parent,
  };

  if (!s->end.valid || s->end.len != VHD_FOOTER_OLD_SIZE)
    return 0;
  return check_add (check, &subject, "512", err, "has 511 bytes, as Virtual "
                    "PC before 2004 wrote it");
}

/* *go_on: there is one to go by, be its checksum wrong. */
static int
check_footers (struct block *block, struct check *check, struct vhd_examined *s,
               bool *go_on, struct err *err)
{
  struct vhd_footers footers;
  struct err why = ERR_INIT;
  int r = vhd_footer_places (block, &s->end, &s->copy, err);

  if (r == 0 && !s->end.cookie && !s->copy.cookie)
    r = vhd_footer_buried (block, &s->buried, err);
  if (r < 0)
    return r;
  r = vhd_footer_read (block, false, &footers, NULL, &why);
  *go_on = r == 0 || r == -EBADMSG;
  if (r < 0)
    return add_refused (check, s, &why, err);
  r = compare_places (check, s, err);
  return r < 0 ? r : note_511 (check, s, err);
}

/*--- Header and size --------------------------------------------------------*/

/* Does everything fit if the header is at this offset?  1 or 0. */
static int
header_fits (struct block *block, const struct vhd_layer *layer, uint64_t off,
             const struct image_options *options)
{
  struct vhd_layer probe = {
    .block = block,
    .number = layer->number,
    .footers = layer->footers,
    .bat_room = VHD_MAX_HELD_ENTRIES,
  };
  int r;

  probe.footers.footer.data_offset = off;
  r = vhd_layer_open (&probe, options->size_rule, options, NULL, NULL);
  vhd_bat_close (&probe.bat);
  return r == 0;
}

/* A header elsewhere, in a sector that no block of its own takes: the reader
 * would refuse it otherwise.  Two of them leave the choice open.
 */
static int
find_header (struct block *block, const struct image_options *options,
             struct vhd_examined *s, struct err *err)
{
  size_t len = (size_t) min_u64 (HEADER_SEARCH, block_size (block));
  CLEANUP_FREE uint8_t *head = malloc (len + 1);
  unsigned nr = 0;
  int r;

  if (head == NULL)
    return err_nomem (err);
  r = block_pread (block, head, len, 0, err);
  for (size_t off = VHD_SECTOR_SIZE;
       r == 0 && off + VHD_HEADER_SIZE <= len; off += VHD_SECTOR_SIZE)
    if (memcmp (head + off, VHD_HEADER_COOKIE, VHD_COOKIE_SIZE) == 0 &&
        header_fits (block, s->layer, off, options)) {
      s->header_off = off;
      nr++;
    }
  if (nr != 1)
    s->header_off = 0;
  return r;
}

static int
add_header (struct block *block, const struct image_options *options,
            struct check *check, struct vhd_examined *s, const struct err *why,
            struct err *err)
{
  const struct vhd_layer *layer = s->layer;
  bool is_fixed = vhd_layer_is_fixed (layer);
  struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = is_fixed ? "vhd-size" : "vhd-header",
    .structure = is_fixed ? "the VHD footer" : "the dynamic header",
    .off = is_fixed ? layer->footers.end : layer->footers.footer.data_offset,
    .len = is_fixed ? VHD_FOOTER_SIZE : VHD_HEADER_SIZE,
  };
  int r = 0;

  if (!is_fixed && why->code == -EBADMSG && !layer->footers.bad_checksum)
    r = find_header (block, options, s, err);
  if (r < 0)
    return r;
  if (s->header_off != 0) {
    subject.severity = FINDING_REPAIRABLE;
    subject.mendable = !check->is_parent;
  }
  return check_add_err (check, &subject, why, err);
}

/* The file of a fixed disk has other than as many bytes as its footer says. */
static int
check_fixed_size (struct check *check, const struct vhd_layer *layer,
                  struct err *err)
{
  uint64_t current = layer->footers.footer.current_size;
  uint64_t data = layer->footers.end;
  struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = "vhd-size",
    .structure = "the VHD footer",
    .off = data,
    .len = VHD_FOOTER_SIZE,
    .disk_off = data,
    .disk_len = data < current ? current - data : 0,
  };
  char expected[32];

  if (!layer->size_is_doubtful)
    return 0;
  snprintf (expected, sizeof expected, "%" PRIu64, data);
  if (data < current)
    return check_add (check, &subject, expected, err, "states a size of %"
                      PRIu64 " bytes, and the file has fewer: its end is "
                      "missing", current);
  subject.severity = FINDING_LEAK;
  if (!check->is_parent)
    check->leaked += data - current;
  return check_add (check, &subject, expected, err, "states a size of %"
                    PRIu64 " bytes, and more are in front of it", current);
}

/* s->has_header becomes true if the BAT can be looked at. */
static int
check_header (struct check *check, const struct image_options *options,
              struct vhd_examined *s, struct err *err)
{
  static const struct finding_subject note = {
    .severity = FINDING_NOTE,
    .kind = "vhd-batmap",
    .structure = "the batmap",
    .off = FINDING_NOWHERE,
  };
  struct vhd_layer *layer = s->layer;
  enum image_size_rule rule =
    layer->number > 0 ? IMAGE_SIZE_CURRENT : options->size_rule;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct image_options ignoring = *options;
  struct err why = ERR_INIT;
  int r = vhd_layer_open_header (layer, rule, options, &report, &why);

  s->has_header = r == 0;
  if (r < 0) {
    report_free (&report);
    r = add_header (layer->block, options, check, s, &why, err);
    ignoring.ignore_checksums = true;
    if (r == 0 && why.code == -EBADMSG)
      s->has_header = vhd_layer_open_header (layer, rule, &ignoring, NULL,
                                             NULL) == 0;
    return r;
  }
  if (vhd_layer_is_fixed (layer))
    return check_fixed_size (check, layer, err);
  return check_add_report (check, &note, &report, err);
}

/*--- The BAT ----------------------------------------------------------------*/

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
      r = w->is_first ? add_entry (w, "vhd-bat", "the BAT",
                                   done / VHD_BAT_ENTRY_SIZE, &why, err) : 0;
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

static int
check_bat (struct check *check, struct vhd_examined *s, struct err *err)
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

/*--- A file -----------------------------------------------------------------*/

/* The footers were looked at. */
static int
check_contents (struct check *check, const struct image_options *options,
                struct vhd_examined *s, struct err *err)
{
  int r = check_header (check, options, s, err);

  if (r == 0 && s->has_header && !vhd_layer_is_fixed (s->layer))
    r = check_bat (check, s, err);
  return r;
}

int
vhd_examine (struct block *block, const struct image_options *options,
             struct check *check, struct vhd_examined *s, struct err *err)
{
  struct image_options ignoring = *options;
  bool go_on;
  int r = check_footers (block, check, s, &go_on, err);

  if (r < 0 || !go_on)
    return r;
  ignoring.ignore_checksums = true;
  if (vhd_layer_new (block, &ignoring, &s->layer, NULL, NULL) < 0)
    return 0;                   /* it was said why */
  return check_contents (check, options, s, err);
}

/*--- The chain --------------------------------------------------------------*/

static int
add_parent (struct check *check, const struct vhd_layer *child,
            const struct err *why, struct err *err)
{
  const struct finding_subject subject = {
    .severity = FINDING_DAMAGE,
    .kind = "parent",
    .structure = "the parent",
    .off = child->footers.footer.data_offset,
  };

  return check_add_err (check, &subject, why, err);
}

/* What of them makes no sense is left out when the parent is looked for. */
static int
check_locators (struct check *check, const struct vhd_layer *child,
                struct err *err)
{
  static const struct finding_subject note = {
    .severity = FINDING_NOTE,
    .kind = "vhd-locator",
    .structure = "a parent locator",
    .off = FINDING_NOWHERE,
  };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct name_list names = VECTOR_INIT;
  int r = vhd_locator_names (child, &names, &report, err);

  name_list_free (&names);
  /* What can't be read may have named it. */
  if (r < 0 && r != -ENOMEM)
    r = add_parent (check, child, err, err);
  return r < 0 ? r : check_add_report (check, &note, &report, err);
}

/* The parent of child, if it is there; s becomes what it is found to be.  It
 * belongs to child.
 */
static int
check_parent (struct check *check, struct vhd_layer *leaf,
              struct vhd_layer *child, const struct folder_vector *folders,
              const struct image_options *options, struct vhd_examined *s,
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
  bool go_on;
  int r = vhd_parent_find (leaf, child, folders, options, NULL, &why);

  if (r < 0)
    return add_parent (check, child, &why, err);
  s->layer = child->parent;
  check->file = block_name (s->layer->block);
  check->is_parent = true;
  check->nr_files++;
  r = check_footers (s->layer->block, check, s, &go_on, err);
  if (r == 0)
    r = check_contents (check, options, s, err);
  if (r == 0 && s->has_header) {
    vhd_parent_compare (child, s->layer, &report);
    check->file = block_name (child->block);
    r = check_add_report (check, &note, &report, err);
  }
  return r;
}

static bool
has_parent (const struct vhd_layer *layer, bool has_header)
{
  return has_header && layer->footers.footer.type == VHD_DIFFERENCING;
}

static int
check_chain (struct check *check, struct vhd_layer *leaf, bool has_header,
             const struct image_options *options, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct folder_vector folders = VECTOR_INIT;
  struct vhd_layer *child = leaf;
  int r;

  if (!has_parent (leaf, has_header))
    return 0;
  r = parent_path_folders (options->parent_path, &folders, err);
  if (r == 0)
    r = parent_leaf_folder (leaf->block, &leaf->folder, &report, err);
  while (r == 0 && has_parent (child, has_header)) {
    struct vhd_examined s = VHD_EXAMINED_INIT;

    check->file = block_name (child->block);
    r = check_locators (check, child, err);
    if (r == 0)
      r = check_parent (check, leaf, child, &folders, options, &s, err);
    s.layer = NULL;
    has_header = s.has_header;
    vhd_examined_free (&s);
    if (child->parent == NULL)
      break;
    child = child->parent;
  }
  parent_folders_free (&folders);
  return r;
}

int
vhd_check (struct block *block, const struct image_options *options,
           struct check *check, struct err *err)
{
  struct vhd_examined s = VHD_EXAMINED_INIT;
  int r = vhd_examine (block, options, check, &s, err);

  if (r == 0 && s.layer)
    r = check_chain (check, s.layer, s.has_header, options, err);
  vhd_examined_free (&s);
  return r;
}
