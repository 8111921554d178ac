/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `info` shows of a disc. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/base/utf8.h"
#include "lib/format/iso/el-torito.h"
#include "lib/format/iso/iso.h"

static char *
describe_type (const struct iso *s)
{
  char *str;

  if (s->udf.found)
    return strdup (s->iso.has_primary ? "UDF bridge" : "UDF");
  if (asprintf (&str, "ISO 9660%s%s%s",
                s->iso.has_enhanced ? ":1999" : "",
                s->iso.has_joliet ? " + Joliet" : "",
                s->iso.has_rock_ridge ? " + Rock Ridge" : "") < 0)
    return NULL;
  return str;
}

/* What writers put there when they have no name, or one that was not ASCII,
 * in which nobody knows what the bytes mean.
 */
static bool
is_stub (const char *id)
{
  static const char *const stubs[] = {
    "CDROM", "CD_ROM", "UDF Volume", "UDF_VOLUME", "NOT_SET", "NEW_VOLUME",
  };

  if (id == NULL || strstr (id, "\xEF\xBF\xBD"))
    return true;
  for (size_t i = 0; i < sizeof stubs / sizeof stubs[0]; ++i)
    if (strcmp (id, stubs[i]) == 0)
      return true;
  return false;
}

/* The first name that is one, or else the first that is anything. */
static const char *
choose_label (const struct iso *s)
{
  const char *ids[] = {
    s->iso.volume_id, s->iso.joliet_id, s->udf.label, s->udf.volume_id,
  };

  for (int stubs = 0; stubs < 2; ++stubs)
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; ++i)
      if (ids[i] && (stubs || !is_stub (ids[i])))
        return ids[i];
  return NULL;
}

static const char *
choose_creator (const struct iso *s)
{
  if (s->iso.application)
    return s->iso.application;
  return s->iso.preparer ? s->iso.preparer : s->udf.creator;
}

static int
copy_string (const char *from, char **to, struct err *err)
{
  if (from == NULL)
    return 0;
  *to = strdup (from);
  return *to ? 0 : err_nomem (err);
}

/* The names in the other descriptors, where they are others: Joliet has room
 * for 16 characters only.
 */
static int
add_labels (const struct iso *s, struct image_info *info, struct err *err)
{
  const char *joliet = s->iso.joliet_id, *udf = s->udf.label;
  int r = 0;

  if (info->label == NULL)
    return 0;
  if (joliet && strncmp (joliet, info->label, strlen (joliet)) != 0)
    r = image_info_add (info, "joliet-label", "Joliet label", err, "%s",
                        joliet);
  if (r == 0 && udf && strcmp (udf, info->label) != 0)
    r = image_info_add (info, "udf-label", "UDF label", err, "%s", udf);
  return r;
}

static int
add_texts (const struct iso *s, struct image_info *info, struct err *err)
{
  const struct { const char *key, *label, *value; } texts[] = {
    { "system-id", "System", s->iso.system_id },
    { "volume-set", "Volume set", s->iso.volume_set },
    { "publisher", "Publisher", s->iso.publisher },
    { "preparer", "Preparer", s->iso.preparer },
    { "application", "Application", s->iso.application },
    { "embedded-md5", "Embedded MD5", s->iso.md5sum },
  };
  int r = 0;

  for (size_t i = 0; i < sizeof texts / sizeof texts[0] && r == 0; ++i)
    if (texts[i].value)
      r = image_info_add (info, texts[i].key, texts[i].label, err, "%s",
                          texts[i].value);
  return r;
}

/* Names, as "one, two", of those that are there. */
static int
add_list (struct image_info *info, const char *key, const char *label,
          const char *const *names, const bool *there, size_t nr,
          struct err *err)
{
  char str[64] = "";

  for (size_t i = 0; i < nr; ++i)
    if (there[i])
      snprintf (str + strlen (str), sizeof str - strlen (str), "%s%s",
                str[0] ? ", " : "", names[i]);
  return str[0] ? image_info_add (info, key, label, err, "%s", str) : 0;
}

/* "‘NAME’ at sector 0, ‘NAME’ at sector 336". */
static int
add_sessions (const struct iso *s, struct image_info *info, struct err *err)
{
  const struct iso_session_vector *v = &s->sessions;
  size_t seen = iso_sessions_seen (v, &s->iso);
  CLEANUP_FREE char *str = NULL;
  int r;

  for (size_t i = 0; i < v->len; ++i) {
    CLEANUP_FREE char *id = iso9660_text (v->ptr[i].volume_id,
                                          sizeof v->ptr[i].volume_id);
    char *longer;

    if (id == NULL || asprintf (&longer, "%s%s‘%s’ at sector %" PRIu32,
                                str ? str : "", str ? ", " : "", id,
                                v->ptr[i].start) < 0)
      return err_nomem (err);
    free (str);
    str = longer;
  }
  if (v->len == 0)
    return 0;
  r = image_info_add (info, "sessions", "Sessions", err, "%zu: %s", v->len,
                      str);
  if (r == 0 && seen < v->len)
    r = image_info_add (info, "session-seen", "Session seen", err, "%zu",
                        seen + 1);
  return r;
}

static int
add_hybrid (const struct iso_hybrid *h, struct image_info *info,
            struct err *err)
{
  const char *const names[] = { "MBR", "GPT", "APM", "HFS", "HFS+" };
  const bool there[] = { h->has_mbr, h->has_gpt, h->apple.len > 0,
                         h->has_hfs, h->has_hfs_plus };
  int r = add_list (info, "hybrid", "Hybrid", names, there, 5, err);

  for (size_t i = 0; i < h->apple.len && r == 0; ++i) {
    const struct apple_entry *e = &h->apple.ptr[i];
    CLEANUP_FREE char *name = utf8_repair (e->name, sizeof e->name);
    CLEANUP_FREE char *type = utf8_repair (e->type, sizeof e->type);
    char key[48], label[48];

    if (name == NULL || type == NULL)
      return err_nomem (err);
    snprintf (key, sizeof key, "apple-partition-%zu", i + 1);
    snprintf (label, sizeof label, "Apple partition %zu", i + 1);
    r = image_info_add (info, key, label, err, "%s ‘%s’, %" PRIu64 " bytes at "
                        "offset %" PRIu64, type, name, e->len, e->off);
  }
  return r;
}

static int
add_sizes (const struct iso *s, uint64_t size, struct image_info *info,
           struct err *err)
{
  uint64_t need = iso_volume_size (s);
  char str[SIZE_STRING_SIZE];
  int r = image_info_add (info, "volume-size", "Volume size", err, "%s (%"
                          PRIu64 " bytes)", size_to_string (need, str), need);

  if (r == 0 && need > size)
    r = image_info_add (info, "missing", "Missing", err, "%s (%" PRIu64
                        " bytes)", size_to_string (need - size, str),
                        need - size);
  return r;
}

static int
add_udf (const struct udf *udf, struct image_info *info, struct err *err)
{
  static const char *const names[] = { "physical", "virtual", "sparable",
                                       "metadata" };
  bool there[4];
  int r = 0;

  for (unsigned i = 0; i < 4; ++i)
    there[i] = (udf->maps & 1U << i) != 0;
  if (udf->revision != 0)
    r = image_info_add (info, "udf-revision", "UDF revision", err, "%x.%02x",
                        udf->revision >> 8, udf->revision & 0xFF);
  if (r == 0)
    r = add_list (info, "udf-partition-maps", "UDF partitions", names, there,
                  4, err);
  if (r == 0 && udf->is_open)
    r = image_info_add (info, "udf-integrity", "UDF integrity", err, "open: "
                        "the volume was not closed when it was written last");
  return r;
}

static int
add_facts (const struct iso *s, uint64_t size, struct image_info *info,
           struct err *err)
{
  static const char *const extensions[] = { "Joliet", "Rock Ridge",
                                            "ISO 9660:1999" };
  const bool extended[] = { s->iso.has_joliet, s->iso.has_rock_ridge,
                            s->iso.has_enhanced };
  int r = 0;

  if (s->stride != 0)
    r = image_info_add (info, "cd-sectors", "CD sectors", err, "%zu bytes, "
                        "mode %u", s->stride, s->mode);
  if (r == 0)
    r = add_sizes (s, size, info, err);
  if (r == 0)
    r = add_sessions (s, info, err);
  if (r == 0)
    r = add_list (info, "extensions", "Extensions", extensions, extended, 3,
                  err);
  if (r == 0)
    r = add_udf (&s->udf, info, err);
  return r < 0 ? r : add_hybrid (&s->hybrid, info, err);
}

int
iso_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct iso *s = img->state;
  int r;

  info->is_optical = true;
  info->created = s->iso.created >= 0 ? s->iso.created : s->udf.created;
  info->type = describe_type (s);
  if (info->type == NULL)
    return err_nomem (err);
  r = copy_string (choose_creator (s), &info->creator, err);
  if (r == 0)
    r = copy_string (choose_label (s), &info->label, err);
  if (r == 0)
    r = add_labels (s, info, err);
  if (r == 0)
    r = add_texts (s, info, err);
  if (r == 0)
    r = add_facts (s, img->size, info, err);
  for (size_t i = 0; i < s->boot.len && r == 0; ++i)
    r = el_torito_add (&info->boot, &s->boot.ptr[i], err);
  return r;
}
