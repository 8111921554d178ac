/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Everything that is wrong with a VHDX.
 *
 * The rules are the reader's, and its functions are asked: headers, log,
 * region tables, metadata, each entry of the BAT (vhdx-check-bat.c).  Where it
 * would stop, this goes on as far as what follows still means something:
 * without a log that can't be replayed, ignoring checksums that are wrong.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-check.h"

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
  layer->format = "vhdx";
  layer->is_vhdx = true;
  layer->block = block_ref (block);
  layer->folder = (struct folder) FOLDER_INIT;
  s->layer = layer;
  r = vhdx_header_choose (block, false, &layer->header, NULL, &why);
  /* Without it the parent can only be a VHDX. */
  if (r == 0 && vhdx_identifier_read (block, &layer->header.creator,
                                      NULL) == -ENOMEM)
    return err_nomem (err);
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
    r = vhdx_examine_bat (check, s, err);
  return r;
}

/*--- The chain --------------------------------------------------------------*/

/* What there is to say of how a child and its parent fit. */
static int
add_notes (struct check *check, const struct vhdx_layer *child,
           struct report *report, struct err *err)
{
  static const struct finding_subject note = {
    .severity = FINDING_NOTE,
    .kind = "parent",
    .structure = "the parent",
    .off = FINDING_NOWHERE,
  };

  check->file = block_name (child->block);
  return check_add_report (check, &note, report, err);
}

/* s becomes what the parent of child is found to be, whose layer then belongs
 * to child, in place of the one that the search made.
 */
static int
check_parent (struct check *check, struct vhdx_layer *leaf,
              struct vhdx_layer *child, const struct folder_vector *folders,
              const struct image_options *options, struct vhdx_examined *s,
              struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct vhdx_layer *found;
  struct err why = ERR_INIT;
  int r = vhdx_parent_find (leaf, child, folders, options, &report, &why);

  if (r < 0)
    return add (check, FINDING_DAMAGE, "parent", "the parent",
                child->regions.metadata.off, false, &why, err);
  found = child->parent;
  check->file = block_name (found->block);
  check->is_parent = true;
  check->nr_files++;
  /* Whoever opens it has checked it. */
  if (!found->is_vhdx)
    return add_notes (check, child, &report, err);
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
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err why = ERR_INIT;
  int r = vhdx_parent_compare (child, child->parent, &report, &why);

  check->file = block_name (child->block);
  if (r < 0) {
    err_in (&why, "parent %s", block_name (child->parent->block));
    return add (check, FINDING_DAMAGE, "parent", "the parent",
                child->regions.metadata.off, false, &why, err);
  }
  return add_notes (check, child, &report, err);
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
