/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Everything that is wrong with a VHD.
 *
 * The rules are the reader's, and its functions are asked: footers, header,
 * each entry of the BAT (vhd-check-bat.c).  Where it would stop, this goes on
 * as far as what follows still means something, ignoring checksums that are
 * wrong.
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
#include "lib/format/vhd/vhd-check.h"

/* How far a header is looked for: writers put it into the second sector. */
#define HEADER_SEARCH ((size_t) 1024 * 1024)

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

/* Did it fail for what is in the file, rather than for us? */
static bool
is_answer (int r)
{
  return r != -ENOMEM && r != -EIO;
}

/* Does everything fit if the header is at this offset?  1 or 0, or -EIO or
 * -ENOMEM: nobody knows.
 */
static int
header_fits (struct block *block, const struct vhd_layer *layer, uint64_t off,
             const struct image_options *options, struct err *err)
{
  struct vhd_layer probe = {
    .block = block,
    .number = layer->number,
    .footers = layer->footers,
    .bat_room = VHD_MAX_HELD_ENTRIES,
  };
  int r;

  probe.footers.footer.data_offset = off;
  r = vhd_layer_open (&probe, options->size_rule, options, NULL, err);
  vhd_bat_close (&probe.bat);
  return r == 0 ? 1 : is_answer (r) ? 0 : r;
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
       r == 0 && off + VHD_HEADER_SIZE <= len; off += VHD_SECTOR_SIZE) {
    int fits;

    if (memcmp (head + off, VHD_HEADER_COOKIE, VHD_COOKIE_SIZE) != 0)
      continue;
    fits = header_fits (block, s->layer, off, options, err);
    if (fits < 0)
      r = fits;
    else if (fits > 0) {
      s->header_off = off;
      nr++;
    }
  }
  if (r < 0 || nr != 1)
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
  struct err unread = ERR_INIT;
  int r = 0;

  if (!is_fixed && why->code == -EBADMSG && !layer->footers.bad_checksum)
    r = find_header (block, options, s, &unread);
  if (r < 0)
    r = check_add_err (check, &subject, &unread, err);
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
    if (r < 0 || why.code != -EBADMSG)
      return r;
    r = vhd_layer_open_header (layer, rule, &ignoring, NULL, &why);
    s->has_header = r == 0;
    return is_answer (r) ? 0
      : add_header (layer->block, options, check, s, &why, err);
  }
  if (vhd_layer_is_fixed (layer))
    return check_fixed_size (check, layer, err);
  return check_add_report (check, &note, &report, err);
}

/*--- A file -----------------------------------------------------------------*/

/* The footers were looked at. */
static int
check_contents (struct check *check, const struct image_options *options,
                struct vhd_examined *s, struct err *err)
{
  int r = check_header (check, options, s, err);

  if (r == 0 && s->has_header && !vhd_layer_is_fixed (s->layer))
    r = vhd_examine_bat (check, s, err);
  return r;
}

int
vhd_examine (struct block *block, const struct image_options *options,
             struct check *check, struct vhd_examined *s, struct err *err)
{
  struct image_options ignoring = *options;
  struct err why = ERR_INIT;
  bool go_on;
  int r = check_footers (block, check, s, &go_on, err);

  if (r < 0 || !go_on)
    return r;
  ignoring.ignore_checksums = true;
  r = vhd_layer_new (block, &ignoring, &s->layer, NULL, &why);
  if (r < 0)                    /* it was said why, unless it is new */
    return is_answer (r) ? 0
      : add_footer (check, FINDING_DAMAGE, "vhd-footer", FINDING_NOWHERE,
                    false, &why, err);
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

/* What there is to say of how a child and its parent fit. */
static int
add_notes (struct check *check, const struct vhd_layer *child,
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

/* The parent of child, if it is there; s becomes what it is found to be.  It
 * belongs to child.
 */
static int
check_parent (struct check *check, struct vhd_layer *leaf,
              struct vhd_layer *child, const struct folder_vector *folders,
              const struct image_options *options, struct vhd_examined *s,
              struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err why = ERR_INIT;
  bool go_on;
  int r = vhd_parent_find (leaf, child, folders, options, &report, &why);

  if (r < 0)
    return add_parent (check, child, &why, err);
  s->layer = child->parent;
  check->file = block_name (s->layer->block);
  check->is_parent = true;
  check->nr_files++;
  /* Whoever opens it has checked it. */
  if (!vhd_layer_is_vhd (s->layer))
    return add_notes (check, child, &report, err);
  report_free (&report);        /* of a VHD the same is found again */
  r = check_footers (s->layer->block, check, s, &go_on, err);
  if (r == 0)
    r = check_contents (check, options, s, err);
  if (r == 0 && s->has_header) {
    vhd_parent_compare (child, s->layer, &report);
    r = add_notes (check, child, &report, err);
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
