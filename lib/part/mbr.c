/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The master boot record: four primary partitions, of which extended ones
 * hold a chain of extended boot records (EBR) with the logical partitions.
 *
 * Layout of an MBR and of each EBR: 64 bytes of table at 446, four entries of
 *   0  boot indicator, 0x00 or 0x80
 *   4  type
 *   8  first sector, u32
 *   12 number of sectors, u32
 * and 55 AA at 510; in the MBR, a disk signature at 440.  In an EBR the data
 * entry counts from that EBR, the link to the next EBR from the start of the
 * extended partition.
 *
 * What is a partition, and its number, is decided as Linux does
 * (block/partitions/msdos.c), so that number N here is /dev/nbdXpN:  an
 * entry counts if it has sectors, whatever its type; logical partitions are
 * numbered from 5 in the order of the chain; an EBR's third and fourth entry
 * count only if they make sense.  The chain may go backwards, as fdisk
 * leaves it, but stays inside the extended partition and never visits a
 * sector twice.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/part/part-internal.h"

#define SIGNATURE_OFF 440
#define TABLE_OFF 446
#define ENTRY_SIZE 16
#define NR_ENTRIES 4

#define FIRST_LOGICAL 5
#define LAST_LOGICAL 255        /* as Linux */
#define MAX_EBRS 512

struct mbr_entry {
  uint8_t boot, type;
  uint32_t start, sectors;
};

static struct mbr_entry
entry_at (const uint8_t mbr[MBR_SIZE], unsigned i)
{
  const uint8_t *p = mbr + TABLE_OFF + i * ENTRY_SIZE;

  return (struct mbr_entry) {
    .boot = p[0],
    .type = p[4],
    .start = get_le32 (p + 8),
    .sectors = get_le32 (p + 12),
  };
}

static bool
has_signature (const uint8_t mbr[MBR_SIZE])
{
  return mbr[510] == 0x55 && mbr[511] == 0xAA;
}

static bool
is_extended (const struct mbr_entry *e)
{
  return e->type == 0x05 || e->type == 0x0F || e->type == 0x85;
}

/* A BIOS parameter block as any FAT has it. */
static bool
has_fat_bpb (const uint8_t *s)
{
  uint16_t sector = get_le16 (s + 11), reserved = get_le16 (s + 14);
  uint8_t cluster = s[13], fats = s[16], media = s[21];

  return (s[0] == 0xE9 || (s[0] == 0xEB && s[1] != 0)) &&
         sector >= 512 && sector <= 4096 && is_power_of_2 (sector) &&
         is_power_of_2 (cluster) && reserved != 0 &&
         (fats == 1 || fats == 2) && (media == 0xF0 || media >= 0xF8);
}

/* The first sector of a file system on the whole disk also ends in 55 AA. */
static bool
is_boot_sector (const uint8_t *s)
{
  return memcmp (s + 3, "NTFS    ", 8) == 0 ||
         memcmp (s + 3, "EXFAT   ", 8) == 0 ||
         memcmp (s + 3, "-FVE-FS-", 8) == 0 ||
         has_fat_bpb (s);
}

/* mkfs.fat can make a boot sector that is a table at once; what tells it
 * from boot code and messages is that all of the table makes sense.
 */
static bool
table_makes_sense (const uint8_t mbr[MBR_SIZE], uint64_t disk_sectors)
{
  unsigned used = 0;

  for (unsigned i = 0; i < NR_ENTRIES; ++i) {
    struct mbr_entry e = entry_at (mbr, i);

    if (e.sectors == 0)
      continue;
    if (e.type == 0 || !range_fits (e.start, e.sectors, disk_sectors))
      return false;
    used++;
  }
  return used > 0;
}

enum mbr_kind
mbr_kind (const uint8_t mbr[MBR_SIZE], uint64_t disk_sectors)
{
  bool gpt = false, other = false;

  /* AIX marks its physical volumes so, and may have the signature. */
  if (!has_signature (mbr) || get_be32 (mbr) == 0xC9C2D4C1)
    return MBR_NONE;
  for (unsigned i = 0; i < NR_ENTRIES; ++i) {
    struct mbr_entry e = entry_at (mbr, i);

    if (e.boot != 0 && e.boot != 0x80)
      return MBR_NONE;
    gpt |= e.type == MBR_TYPE_GPT;
    other |= e.type != MBR_TYPE_GPT && e.type != 0 && e.sectors != 0;
  }
  if (gpt)
    return other ? MBR_HYBRID : MBR_PROTECTIVE;
  if (is_boot_sector (mbr) && !table_makes_sense (mbr, disk_sectors))
    return MBR_NONE;
  return MBR_TABLE;
}

/* What a walk along the table carries with it. */
struct walk {
  struct block *disk;
  struct part_table *table;
  struct report *report;
  uint64_t disk_sectors;
  uint32_t signature;
  unsigned next_logical;
};

static int
add_entry (struct walk *w, const struct mbr_entry *e, unsigned number,
           uint64_t start, struct err *err)
{
  struct partition part = {
    .number = number,
    .type_name = part_mbr_type_name (e->type),
    .bootable = e->boot == 0x80,
    .is_logical = number >= FIRST_LOGICAL,
    .is_extended = is_extended (e),
  };

  if (asprintf (&part.type, "0x%02x", e->type) < 0)
    part.type = NULL;
  if (asprintf (&part.uuid, "%08" PRIx32 "-%02x", w->signature, number) < 0)
    part.uuid = NULL;
  return part_add (w->table, &part, start, e->sectors, w->disk_sectors,
                   w->report, err);
}

/* An extended partition, and the EBRs of it that were visited. */
struct extended {
  uint64_t start, sectors;
  unsigned nr_visited;
  uint64_t visited[MAX_EBRS];
};

/* Is this sector one where the next EBR may be? */
static bool
may_visit (struct walk *w, struct extended *x, uint64_t ebr)
{
  if (ebr - x->start >= x->sectors || ebr >= w->disk_sectors) {
    report_warn (w->report, "extended boot record at sector %" PRIu64 " lies "
                 "outside %s; logical partitions from number %u on are not "
                 "known", ebr, ebr >= w->disk_sectors ? "the disk" :
                 "the extended partition", w->next_logical);
    return false;
  }
  for (unsigned i = 0; i < x->nr_visited; ++i)
    if (x->visited[i] == ebr) {
      report_warn (w->report, "the chain of extended boot records runs in a "
                   "loop at sector %" PRIu64 "; it ends there, after logical "
                   "partition %u", ebr, w->next_logical - 1);
      return false;
    }
  if (x->nr_visited == MAX_EBRS || w->next_logical > LAST_LOGICAL) {
    report_warn (w->report, "more than %u logical partitions; those from the "
                 "extended boot record at sector %" PRIu64 " on are left out",
                 LAST_LOGICAL - FIRST_LOGICAL + 1, ebr);
    return false;
  }
  x->visited[x->nr_visited++] = ebr;
  return true;
}

/* OS/2 uses all four entries; others leave garbage in the last two. */
static bool
entry_counts (const struct extended *x, const struct mbr_entry *e,
              unsigned i, uint64_t ebr, uint64_t ebr_sectors)
{
  if (e->sectors == 0 || is_extended (e))
    return false;
  if (i < 2)
    return true;
  return (uint64_t) e->start + e->sectors <= ebr_sectors &&
         ebr + e->start + e->sectors <= x->start + x->sectors;
}

static int
add_logicals (struct walk *w, const struct extended *x, const uint8_t *sector,
              uint64_t ebr, uint64_t ebr_sectors, struct err *err)
{
  for (unsigned i = 0; i < NR_ENTRIES; ++i) {
    struct mbr_entry e = entry_at (sector, i);
    uint64_t start = ebr + e.start;
    int r;

    if (!entry_counts (x, &e, i, ebr, ebr_sectors) ||
        w->next_logical > LAST_LOGICAL)
      continue;
    if (!range_fits (start - x->start, e.sectors, x->sectors))
      report_warn (w->report, "logical partition %u (sectors %" PRIu64 " to %"
                   PRIu64 ") is not inside its extended partition",
                   w->next_logical, start, start + e.sectors - 1);
    r = add_entry (w, &e, w->next_logical++, start, err);
    if (r < 0)
      return r;
  }
  return 0;
}

/* The entry that links to the next EBR, if there is one. */
static bool
find_link (const uint8_t *sector, struct mbr_entry *link)
{
  for (unsigned i = 0; i < NR_ENTRIES; ++i) {
    *link = entry_at (sector, i);
    if (link->sectors != 0 && is_extended (link))
      return true;
  }
  return false;
}

static int
read_extended (struct walk *w, const struct mbr_entry *e, struct err *err)
{
  struct extended x = { .start = e->start, .sectors = e->sectors };
  uint64_t ebr = x.start, ebr_sectors = x.sectors;
  struct mbr_entry link;
  uint8_t sector[MBR_SIZE];
  int r;

  while (may_visit (w, &x, ebr)) {
    r = block_pread (w->disk, sector, sizeof sector,
                     ebr * w->table->sector_size, err);
    if (r < 0)
      return err_in (err, "extended boot record at sector %" PRIu64, ebr);
    if (!has_signature (sector)) {
      report_warn (w->report, "extended boot record at sector %" PRIu64 ": "
                   "signature is %02x %02x, expected 55 aa; logical "
                   "partitions from number %u on are not known", ebr,
                   sector[510], sector[511], w->next_logical);
      return 0;
    }
    r = add_logicals (w, &x, sector, ebr, ebr_sectors, err);
    if (r < 0 || !find_link (sector, &link))
      return r;
    ebr = x.start + link.start;
    ebr_sectors = link.sectors;
  }
  return 0;
}

int
mbr_read (struct block *disk, const uint8_t mbr[MBR_SIZE],
          struct part_table *table, struct report *report, struct err *err)
{
  struct walk w = {
    .disk = disk,
    .table = table,
    .report = report,
    .disk_sectors = block_size (disk) / table->sector_size,
    .signature = get_le32 (mbr + SIGNATURE_OFF),
    .next_logical = FIRST_LOGICAL,
  };
  int r = 0;

  table->scheme = PART_MBR;
  if (asprintf (&table->id, "0x%08" PRIx32, w.signature) < 0) {
    table->id = NULL;
    return err_nomem (err);
  }
  for (unsigned i = 0; i < NR_ENTRIES && r == 0; ++i) {
    struct mbr_entry e = entry_at (mbr, i);

    if (e.sectors == 0)
      continue;
    r = add_entry (&w, &e, i + 1, e.start, err);
    if (r == 0 && is_extended (&e))
      r = read_extended (&w, &e, err);
  }
  return r;
}
