/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The volume descriptors of ISO 9660, in sectors of 2048 bytes from sector
 * 16 on: each has a type (0 boot record, 1 primary, 2 supplementary, 255 the
 * end of the set), "CD001" and a version.  ECMA-119 §8; offsets below are
 * those of the standard, less one.
 *
 * Numbers are stored twice, little-endian and then big-endian.  Some writers
 * get the second wrong, and no system reads it: a difference is reported and
 * the first one used.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/utf16.h"
#include "lib/base/utf8.h"
#include "lib/format/iso/iso9660.h"

#define MAX_DESCRIPTORS 64

enum { TYPE_BOOT = 0, TYPE_PRIMARY = 1, TYPE_SUPPLEMENTARY = 2,
       TYPE_END = 255 };

/*--- Fields ----------------------------------------------------------------*/

/* Cut padding off the end, in place. */
static char *
trim (char *str)
{
  size_t len = strlen (str);

  while (len > 0 && str[len - 1] == ' ')
    str[--len] = '\0';
  return str;
}

/* The same; an empty string becomes NULL. */
static char *
trim_to_null (char *str)
{
  if (trim (str)[0] != '\0')
    return str;
  free (str);
  return NULL;
}

char *
iso9660_text (const uint8_t *field, size_t len)
{
  char *str = utf8_repair (field, len);

  return str ? trim (str) : NULL;
}

static int
take_text (const uint8_t *field, size_t len, char **out, struct err *err)
{
  char *str = utf8_repair (field, len);

  if (str == NULL)
    return err_nomem (err);
  *out = trim_to_null (str);
  return 0;
}

static uint32_t
take_both32 (const uint8_t *d, size_t off, const char *what,
             struct report *report)
{
  uint32_t le = get_le32 (d + off), be = get_be32 (d + off + 4);

  if (le != be)
    report_warn (report, "primary volume descriptor: %s at %zu is %" PRIu32
                 " in little-endian and %" PRIu32 " in big-endian order; the "
                 "first is used", what, off, le, be);
  return le;
}

static uint16_t
take_both16 (const uint8_t *d, size_t off, const char *what,
             struct report *report)
{
  uint16_t le = get_le16 (d + off), be = get_be16 (d + off + 2);

  if (le != be)
    report_warn (report, "primary volume descriptor: %s at %zu is %u in "
                 "little-endian and %u in big-endian order; the first is used",
                 what, off, le, be);
  return le;
}

static int
digits (const uint8_t *p, unsigned n)
{
  int v = 0;

  for (unsigned i = 0; i < n; ++i) {
    if (p[i] < '0' || p[i] > '9')
      return -1;
    v = 10 * v + p[i] - '0';
  }
  return v;
}

/* "YYYYMMDDhhmmsscc" and the offset from UTC in quarters of an hour. */
static int64_t
take_date (const uint8_t *p)
{
  struct tm tm = {
    .tm_year = digits (p, 4) - 1900,
    .tm_mon = digits (p + 4, 2) - 1,
    .tm_mday = digits (p + 6, 2),
    .tm_hour = digits (p + 8, 2),
    .tm_min = digits (p + 10, 2),
    .tm_sec = digits (p + 12, 2),
  };
  int quarters = (int8_t) p[16];
  time_t t;

  if (tm.tm_year < 0 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 ||
      tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
      tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60 || quarters < -48 ||
      quarters > 52)
    return -1;
  t = timegm (&tm) - quarters * 15 * 60;
  return t >= 0 ? t : -1;
}

/* implantisomd5 writes "ISO MD5SUM = 0123…;" and more into the application's
 * own field.
 */
static int
take_md5sum (const uint8_t *d, char **out, struct err *err)
{
  static const char key[] = "ISO MD5SUM = ";
  const uint8_t *field = d + 883, *p;
  size_t len = 512, n = 0;

  p = memmem (field, len, key, sizeof key - 1);
  if (p == NULL)
    return 0;
  p += sizeof key - 1;
  while (p + n < field + len && n < 32 &&
         ((p[n] >= '0' && p[n] <= '9') || (p[n] >= 'a' && p[n] <= 'f')))
    ++n;
  return n == 32 ? take_text (p, 32, out, err) : 0;
}

/*--- Descriptors -----------------------------------------------------------*/

static int
take_texts (const uint8_t *d, struct iso9660 *iso, struct err *err)
{
  const struct { size_t off, len; char **out; } texts[] = {
    { 8, 32, &iso->system_id },
    { 40, 32, &iso->volume_id },
    { 190, 128, &iso->volume_set },
    { 318, 128, &iso->publisher },
    { 446, 128, &iso->preparer },
    { 574, 128, &iso->application },
  };
  int r = 0;

  for (size_t i = 0; i < sizeof texts / sizeof texts[0] && r == 0; ++i)
    r = take_text (d + texts[i].off, texts[i].len, texts[i].out, err);
  return r;
}

static int
decode_primary (const uint8_t *d, struct iso9660 *iso, struct report *report,
                struct err *err)
{
  uint32_t blocks = take_both32 (d, 80, "volume space size", report);
  int r;

  take_both16 (d, 120, "volume set size", report);
  take_both16 (d, 124, "volume sequence number", report);
  take_both32 (d, 132, "path table size", report);
  iso->block_size = take_both16 (d, 128, "logical block size", report);
  iso->root_block = take_both32 (d, 156 + 2, "root directory's place",
                                 report);
  iso->root_len = take_both32 (d, 156 + 10, "root directory's size", report);
  if (iso->block_size != 512 && iso->block_size != 1024 &&
      iso->block_size != 2048) {
    report_warn (report, "primary volume descriptor: logical block size at 128 "
                 "is %" PRIu32 ", expected 512, 1024 or 2048; 2048 is used",
                 iso->block_size);
    iso->block_size = ISO_SECTOR;
  }
  iso->has_primary = true;
  iso->size = (uint64_t) blocks * iso->block_size;
  iso->created = take_date (d + 813);
  r = take_texts (d, iso, err);
  return r < 0 ? r : take_md5sum (d, &iso->md5sum, err);
}

/* Joliet is told by its escape sequence; the enhanced descriptor of
 * ISO 9660:1999 by its version.
 */
static int
decode_supplementary (const uint8_t *d, struct iso9660 *iso, struct err *err)
{
  const uint8_t *escape = d + 88;
  char *id;

  if (d[6] == 2)
    iso->has_enhanced = true;
  else if (escape[0] == '%' && escape[1] == '/' && !iso->has_joliet &&
           (escape[2] == '@' || escape[2] == 'C' || escape[2] == 'E')) {
    iso->has_joliet = true;
    id = utf16_to_utf8 (d + 40, 32, UTF16_BE);
    if (id == NULL)
      return err_nomem (err);
    iso->joliet_id = trim_to_null (id);
  }
  return 0;
}

static int
decode_descriptor (const uint8_t *d, struct iso9660 *iso,
                   struct report *report, struct err *err)
{
  static const char el_torito[] = "EL TORITO SPECIFICATION";

  if (d[0] == TYPE_PRIMARY && !iso->has_primary)
    return decode_primary (d, iso, report, err);
  if (d[0] == TYPE_SUPPLEMENTARY)
    return decode_supplementary (d, iso, err);
  if (d[0] == TYPE_BOOT && !iso->has_boot_catalog &&
      memcmp (d + 7, el_torito, sizeof el_torito - 1) == 0) {
    iso->has_boot_catalog = true;
    iso->boot_catalog = get_le32 (d + 71);
  }
  return 0;
}

static int
read_descriptors (struct block *block, struct iso9660 *iso,
                  struct report *report, struct err *err)
{
  uint8_t d[ISO_SECTOR];
  int r;

  for (iso->end_sector = ISO_FIRST_SECTOR;
       iso->end_sector < ISO_FIRST_SECTOR + MAX_DESCRIPTORS;) {
    uint64_t off = (uint64_t) iso->end_sector * ISO_SECTOR;

    if (!range_fits (off, sizeof d, block_size (block)))
      break;
    r = block_pread (block, d, sizeof d, off, err);
    if (r < 0)
      return err_in (err, "volume descriptor at sector %" PRIu32,
                     iso->end_sector);
    if (memcmp (d + 1, "CD001", 5) != 0)
      break;
    iso->end_sector++;
    if (d[0] == TYPE_END)
      return 0;
    r = decode_descriptor (d, iso, report, err);
    if (r < 0)
      return r;
  }
  if (iso->end_sector > ISO_FIRST_SECTOR)
    report_warn (report, "the volume descriptors have no end: none of type "
                 "255 up to sector %" PRIu32, iso->end_sector - 1);
  return 0;
}

int
iso9660_read (struct block *block, struct iso9660 *out,
              struct report *report, struct err *err)
{
  struct iso9660 iso = { .created = -1, .block_size = ISO_SECTOR };
  struct err why = ERR_INIT;
  int r = read_descriptors (block, &iso, report, err);

  if (r < 0) {
    iso9660_free (&iso);
    return r;
  }
  if (iso.has_primary &&
      rock_ridge_detect (block, &iso, &iso.has_rock_ridge, &why) < 0)
    report_warn (report, "root directory at block %" PRIu32 ": %s",
                 iso.root_block, why.msg);
  *out = iso;
  return 0;
}

void
iso9660_free (struct iso9660 *iso)
{
  free (iso->system_id);
  free (iso->volume_id);
  free (iso->volume_set);
  free (iso->publisher);
  free (iso->preparer);
  free (iso->application);
  free (iso->joliet_id);
  free (iso->md5sum);
  memset (iso, 0, sizeof *iso);
}
