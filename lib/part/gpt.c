/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The GUID partition table (UEFI specification 2.10, §5.3), in two copies:
 * the primary header at sector 1, the backup where the primary says, or at
 * the last sector.  Each copy names its array of entries, and has CRCs over
 * itself and over the array.
 *
 * Header: 0 "EFI PART", 8 revision, 12 header size, 16 CRC (of the header
 * with this field zero), 24 own sector, 32 other copy's sector, 40 first and
 * 48 last usable sector, 56 disk GUID, 72 array's sector, 80 number and 84
 * size of entries, 88 CRC of the array.
 * Entry: 0 type GUID, 16 GUID, 32 first and 40 last sector, 48 attributes,
 * 56 name, 72 characters of UTF-16LE.
 *
 * A copy is used only if every rule holds that Linux checks
 * (block/partitions/efi.c); if it does for both, the primary is used and a
 * difference reported.  Unlike Linux we use the backup without being told
 * to, and entries larger than 128 bytes, which the specification allows.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/base/utf16.h"
#include "lib/part/part-internal.h"

#define HEADER_SIZE 92          /* at least */
#define ENTRY_SIZE 128          /* at least */
#define NAME_SIZE 72
#define MAX_ARRAY (1024 * 1024)
/* A VHD has whole cylinders, of at most 16 × 255 sectors: who converts a disk
 * to one (qemu-img) may make it longer by less than that, and nothing is wrong.
 */
#define ROUNDING (16 * 255 * 512)
#define LEGACY_BOOT 4           /* attribute bit 2 */

void
gpt_free (struct gpt *gpt)
{
  free (gpt->array);
}

static uint64_t
last_lba (struct block *disk, uint32_t sector_size)
{
  return block_size (disk) / sector_size - 1;
}

/* Size, CRC and place of the header: is it one, and this one? */
static int
check_header (uint8_t *h, uint32_t sector_size, uint64_t lba, struct err *err)
{
  uint32_t size = get_le32 (h + 12), stored = get_le32 (h + 16), crc;

  if (memcmp (h, "EFI PART", 8) != 0)
    return err_set (err, -ENOENT, "no signature");
  if (size < HEADER_SIZE || size > sector_size)
    return err_set (err, -EBADMSG, "header size is %" PRIu32 ", expected %d "
                    "to %" PRIu32, size, HEADER_SIZE, sector_size);
  put_le32 (h + 16, 0);
  crc = crc32_update (0, h, size);
  put_le32 (h + 16, stored);
  if (stored != crc)
    return err_set (err, -EBADMSG, "header CRC is %08" PRIx32 ", computed %08"
                    PRIx32, stored, crc);
  if (get_le64 (h + 24) != lba)
    return err_set (err, -EBADMSG, "header says that it lies at sector %"
                    PRIu64, get_le64 (h + 24));
  return 0;
}

static int
decode_header (const uint8_t *h, struct gpt *g, uint64_t last,
               struct err *err)
{
  g->other_lba = get_le64 (h + 32);
  g->first_usable = get_le64 (h + 40);
  g->last_usable = get_le64 (h + 48);
  memcpy (g->guid, h + 56, UUID_SIZE);
  g->array_lba = get_le64 (h + 72);
  g->nr_entries = get_le32 (h + 80);
  g->entry_size = get_le32 (h + 84);
  g->array_crc = get_le32 (h + 88);

  if (g->first_usable > last || g->last_usable > last)
    return err_set (err, -EBADMSG, "usable sectors are %" PRIu64 " to %"
                    PRIu64 ", but the last sector of the disk is %" PRIu64
                    ": the disk was cut off", g->first_usable, g->last_usable,
                    last);
  if (g->last_usable < g->first_usable)
    return err_set (err, -EBADMSG, "last usable sector %" PRIu64 " is below "
                    "the first, %" PRIu64, g->last_usable, g->first_usable);
  if (g->entry_size < ENTRY_SIZE || !is_power_of_2 (g->entry_size))
    return err_set (err, -EBADMSG, "size of an entry is %" PRIu32 ", expected "
                    "%d, 256, 512 …", g->entry_size, ENTRY_SIZE);
  if (g->nr_entries > MAX_ARRAY / g->entry_size)
    return err_set (err, -EBADMSG, "%" PRIu32 " entries of %" PRIu32 " bytes "
                    "are more than a table holds", g->nr_entries,
                    g->entry_size);
  return 0;
}

static int
load_array (struct block *disk, uint32_t sector_size, struct gpt *g,
            struct err *err)
{
  size_t size = (size_t) g->nr_entries * g->entry_size;
  uint64_t off;
  uint32_t crc;
  int r;

  if (!checked_mul (g->array_lba, (uint64_t) sector_size, &off) ||
      !range_fits (off, size, block_size (disk)))
    return err_set (err, -EBADMSG, "the entries, at sector %" PRIu64 ", are "
                    "not inside the disk", g->array_lba);
  g->array = malloc (size + 1);
  if (g->array == NULL)
    return err_nomem (err);
  r = block_pread (disk, g->array, size, off, err);
  if (r < 0)
    return r;
  crc = crc32_update (0, g->array, size);
  if (crc != g->array_crc)
    return err_set (err, -EBADMSG, "CRC of the entries is %08" PRIx32
                    ", computed %08" PRIx32, g->array_crc, crc);
  return 0;
}

/* -ENOENT: there is no header.  *g is freed by the caller, always. */
static int
load_copy (struct block *disk, uint32_t sector_size, uint64_t lba,
           struct gpt *g, struct err *err)
{
  CLEANUP_FREE uint8_t *header = NULL;
  uint64_t last = last_lba (disk, sector_size);
  int r;

  memset (g, 0, sizeof *g);
  g->lba = lba;
  if (lba > last)
    return err_set (err, -EBADMSG, "the disk ends at sector %" PRIu64, last);
  header = malloc (sector_size);
  if (header == NULL)
    return err_nomem (err);
  r = block_pread (disk, header, sector_size, lba * sector_size, err);
  if (r == 0)
    r = check_header (header, sector_size, lba, err);
  if (r == 0)
    r = decode_header (header, g, last, err);
  if (r == 0)
    r = load_array (disk, sector_size, g, err);
  return r;
}

static bool
copies_agree (const struct gpt *a, const struct gpt *b)
{
  return a->lba != b->lba &&
         a->lba == b->other_lba && a->other_lba == b->lba &&
         a->first_usable == b->first_usable &&
         a->last_usable == b->last_usable &&
         memcmp (a->guid, b->guid, UUID_SIZE) == 0 &&
         a->nr_entries == b->nr_entries && a->entry_size == b->entry_size &&
         a->array_crc == b->array_crc;
}

/* The primary is good: say what is wrong with the backup. */
static int
check_backup (struct block *disk, uint32_t sector_size,
              const struct gpt *primary, struct report *report,
              struct err *err)
{
  CLEANUP_GPT struct gpt backup;
  struct err why = ERR_INIT;
  uint64_t lba = primary->other_lba, last = last_lba (disk, sector_size);
  int r = load_copy (disk, sector_size, lba, &backup, &why);

  if (r == -ENOMEM)
    return err_nomem (err);
  if (r < 0)
    report_warn (report, "backup GPT at sector %" PRIu64 ": %s; the primary "
                 "is used", lba, why.msg);
  else if (!copies_agree (primary, &backup))
    report_warn (report, "the backup GPT at sector %" PRIu64 " differs from "
                 "the primary, which is used", lba);
  else if (last - lba >= ROUNDING / sector_size)
    report_warn (report, "the backup GPT is at sector %" PRIu64 ", the last "
                 "sector of the disk is %" PRIu64 ": the disk was enlarged",
                 lba, last);
  return 0;
}

int
gpt_choose_copy (struct block *disk, uint32_t sector_size, struct gpt *g,
                 struct report *report, struct err *err)
{
  struct err why1 = ERR_INIT, why2 = ERR_INIT;
  uint64_t last = last_lba (disk, sector_size);
  struct gpt primary;
  int r1, r2;

  r1 = load_copy (disk, sector_size, 1, &primary, &why1);
  if (r1 == 0) {
    *g = primary;
    r2 = check_backup (disk, sector_size, g, report, err);
    return r2 < 0 ? r2 : 1;
  }
  gpt_free (&primary);
  memset (g, 0, sizeof *g);
  if (r1 == -ENOMEM)
    return err_nomem (err);
  r2 = load_copy (disk, sector_size, last, g, &why2);
  if (r2 == 0) {
    report_warn (report, "primary GPT at sector 1: %s; the backup at sector %"
                 PRIu64 " is used", why1.msg, last);
    return 1;
  }
  if (r2 == -ENOMEM)
    return err_nomem (err);
  if (r1 == -ENOENT && r2 == -ENOENT)
    return 0;
  report_warn (report, "no usable GPT: at sector 1, %s; at sector %" PRIu64
               ", %s", why1.msg, last, why2.msg);
  if (r1 != -EBADMSG && r1 != -ENOENT)
    return err_set (err, r1, "primary GPT at sector 1: %s", why1.msg);
  return 0;
}

static int
add_entry (const struct gpt *g, uint32_t i, struct part_table *table,
           uint64_t disk_sectors, struct report *report, struct err *err)
{
  const uint8_t *e = g->array + (size_t) i * g->entry_size;
  uint64_t first = get_le64 (e + 32), last = get_le64 (e + 40);
  char type[UUID_STRING_SIZE], guid[UUID_STRING_SIZE];
  struct partition part = { .number = i + 1 };

  if (uuid_is_zero (e))
    return 0;
  if (last < first || last == UINT64_MAX) {
    report_warn (report, "partition %u: last sector %" PRIu64 " is below the "
                 "first, %" PRIu64 ", or too big; it is left out", part.number,
                 last, first);
    return 0;
  }
  if (first < g->first_usable || last > g->last_usable)
    report_warn (report, "partition %u (sectors %" PRIu64 " to %" PRIu64 ") is "
                 "not inside the usable sectors %" PRIu64 " to %" PRIu64,
                 part.number, first, last, g->first_usable, g->last_usable);
  guid_to_string (e, type);
  guid_to_string (e + 16, guid);
  part.type = strdup (type);
  part.type_name = part_gpt_type_name (type);
  part.uuid = strdup (guid);
  part.bootable = (get_le64 (e + 48) & LEGACY_BOOT) != 0;
  part.name = utf16_to_utf8 (e + 56, NAME_SIZE, UTF16_LE);
  if (part.name == NULL) {
    free (part.type);
    part.type = NULL;
  }
  else if (part.name[0] == '\0') {
    free (part.name);
    part.name = NULL;
  }
  return part_add (table, &part, first, last - first + 1, disk_sectors,
                   report, err);
}

int
gpt_read (struct block *disk, struct part_table *table, struct report *report,
          struct err *err)
{
  CLEANUP_GPT struct gpt g;
  char id[UUID_STRING_SIZE];
  int r;

  memset (&g, 0, sizeof g);
  if (block_size (disk) / table->sector_size < 3)
    return 0;
  r = gpt_choose_copy (disk, table->sector_size, &g, report, err);
  if (r <= 0)
    return r;
  table->scheme = PART_GPT;
  guid_to_string (g.guid, id);
  table->id = strdup (id);
  if (table->id == NULL)
    return err_nomem (err);
  for (uint32_t i = 0; i < g.nr_entries; ++i) {
    r = add_entry (&g, i, table, block_size (disk) / table->sector_size,
                   report, err);
    if (r < 0)
      return r;
  }
  return 1;
}
