/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images of CDs, DVDs and Blu-rays: ISO 9660, UDF, or both ("bridge").  The
 * bytes of the file are the bytes of the disc, whatever is wrong with what
 * they say; what is wrong is reported.  A hybrid image, which is a disk with
 * partitions too, is the same bytes.
 *
 * The disc is never written to: these file systems are made in one go.
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
#include "lib/base/size.h"
#include "lib/format/iso/el-torito.h"
#include "lib/format/image-ops.h"
#include "lib/format/iso/iso9660.h"
#include "lib/format/iso/udf.h"

#define READONLY "ISO images are read-only"

struct iso {
  struct iso9660 iso;
  struct udf udf;
  struct image_boot_vector boot;
  bool has_mbr, has_gpt, has_apm;
};

static uint64_t
volume_size (const struct iso *s)
{
  return max_u64 (s->iso.size, s->udf.size);
}

/*--- Open ------------------------------------------------------------------*/

static int
iso_probe (const struct probe *probe)
{
  size_t off = ISO_FIRST_SECTOR * ISO_SECTOR;

  /* The primary volume descriptor is the first of them, most often. */
  for (; off + ISO_SECTOR <= probe->head_len &&
         memcmp (probe->head + off + 1, "CD001\1", 6) == 0;
       off += ISO_SECTOR)
    if (probe->head[off] == 1)
      return PROBE_YES;
  return udf_probe (probe->block, probe->head, probe->head_len)
         ? PROBE_YES : PROBE_NO;
}

static void
check_size (const struct iso *s, uint64_t size, struct report *report)
{
  uint64_t need = volume_size (s);

  if (need > size)
    report_warn (report, "the volume has %" PRIu64 " bytes, the file only %"
                 PRIu64 ": %" PRIu64 " bytes are missing at the end, as when "
                 "a download broke off", need, size, need - size);
  if (size % ISO_SECTOR != 0)
    report_warn (report, "the size of the file, %" PRIu64 " bytes, is not a "
                 "multiple of %d: the last sector is not whole", size,
                 ISO_SECTOR);
}

/* An entry of an Apple partition map, and the first: it counts them all. */
static bool
is_apm_entry (const uint8_t *p)
{
  uint32_t entries = get_be32 (p + 4);

  return memcmp (p, "PM\0\0", 4) == 0 && entries > 0 && entries <= 256;
}

/* An image that can be written to a disk has a partition table before its
 * volume descriptors.
 */
static void
look_for_tables (struct block *block, struct iso *s)
{
  uint8_t d[2048 + 8];

  if (block_size (block) < sizeof d ||
      block_pread (block, d, sizeof d, 0, NULL) < 0)
    return;
  if (d[510] == 0x55 && d[511] == 0xAA)
    for (unsigned i = 0; i < 4; ++i) {
      const uint8_t *e = d + 446 + 16 * i;

      if ((e[0] & 0x7F) != 0) {
        s->has_mbr = false;
        break;
      }
      s->has_mbr |= get_le32 (e + 12) != 0;
    }
  s->has_gpt = memcmp (d + 512, "EFI PART", 8) == 0;
  s->has_apm = is_apm_entry (d + 512) || is_apm_entry (d + 2048);
}

static int
iso_open (struct image *img, const struct image_options *options,
          struct report *report, struct err *err)
{
  struct iso *s = img->state;
  int r;

  (void) options;
  if (img->writable)
    return err_set (err, -EROFS, READONLY);
  r = iso9660_read (img->block, &s->iso, report, err);
  if (r == 0)
    r = udf_read (img->block, &s->udf, report, err);
  if (r < 0)
    return r;
  if (!s->iso.has_primary && !s->udf.found)
    return err_set (err, -EBADMSG, "neither ISO 9660 nor UDF: no primary "
                    "volume descriptor from sector %d on, and no usable UDF "
                    "volume descriptors", ISO_FIRST_SECTOR);
  check_size (s, block_size (img->block), report);
  if (s->iso.has_boot_catalog) {
    r = el_torito_read (img->block, s->iso.boot_catalog, volume_size (s),
                        &s->boot, report, err);
    if (r < 0)
      return r;
  }
  look_for_tables (img->block, s);

  img->readonly_reason = strdup (READONLY);
  if (img->readonly_reason == NULL)
    return err_nomem (err);
  img->disk = block_ref (img->block);
  img->size = block_size (img->block);
  /* The kernel's isofs can't be mounted where blocks are larger. */
  img->sizes = (struct block_sizes) {
    .minimum = 1, .preferred = ISO_SECTOR, .logical = ISO_SECTOR,
  };
  return 0;
}

static void
iso_close (struct image *img)
{
  struct iso *s = img->state;

  iso9660_free (&s->iso);
  udf_free (&s->udf);
  el_torito_free (&s->boot);
}

/*--- Info ------------------------------------------------------------------*/

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

/* What writers put there when they have no name. */
static bool
is_stub (const char *id)
{
  static const char *const stubs[] = {
    "CDROM", "CD_ROM", "UDF Volume", "UDF_VOLUME", "NOT_SET", "NEW_VOLUME",
  };

  if (id == NULL)
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
          const char *const names[3], const bool there[3], struct err *err)
{
  char str[64] = "";

  for (unsigned i = 0; i < 3; ++i)
    if (there[i])
      snprintf (str + strlen (str), sizeof str - strlen (str), "%s%s",
                str[0] ? ", " : "", names[i]);
  return str[0] ? image_info_add (info, key, label, err, "%s", str) : 0;
}

static int
add_facts (const struct iso *s, uint64_t file_size, struct image_info *info,
           struct err *err)
{
  static const char *const extensions[] = { "Joliet", "Rock Ridge",
                                            "ISO 9660:1999" };
  static const char *const tables[] = { "MBR", "GPT", "APM" };
  const bool extended[] = { s->iso.has_joliet, s->iso.has_rock_ridge,
                            s->iso.has_enhanced };
  const bool hybrid[] = { s->has_mbr, s->has_gpt, s->has_apm };
  uint64_t need = volume_size (s);
  char size[SIZE_STRING_SIZE];
  int r;

  r = image_info_add (info, "volume-size", "Volume size", err, "%" PRIu64
                      " bytes (%s)", need, size_to_string (need, size));
  if (r == 0 && need > file_size)
    r = image_info_add (info, "missing", "Missing", err, "%" PRIu64 " bytes "
                        "(%s)", need - file_size,
                        size_to_string (need - file_size, size));
  if (r == 0)
    r = add_list (info, "extensions", "Extensions", extensions, extended,
                  err);
  if (r == 0 && s->udf.revision != 0)
    r = image_info_add (info, "udf-revision", "UDF revision", err, "%x.%02x",
                        s->udf.revision >> 8, s->udf.revision & 0xFF);
  if (r == 0)
    r = add_list (info, "hybrid", "Hybrid", tables, hybrid, err);
  return r;
}

static int
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
    r = add_texts (s, info, err);
  if (r == 0)
    r = add_facts (s, img->size, info, err);
  for (size_t i = 0; i < s->boot.len && r == 0; ++i)
    r = el_torito_add (&info->boot, &s->boot.ptr[i], err);
  return r;
}

const struct image_ops iso_image_ops = {
  .name = "iso",
  .state_size = sizeof (struct iso),
  .probe = iso_probe,
  .open = iso_open,
  .close = iso_close,
  .info = iso_info,
};
