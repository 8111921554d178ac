/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which table does a disk have?  As Linux decides: a GPT counts if the MBR
 * names it (a protective or hybrid MBR); then the MBR's own partitions do
 * not.  A GPT whose MBR is lost altogether is used too, and that is said.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/part/part-internal.h"

#define MAX_SECTOR_SIZE 65536

const char *
part_scheme_to_string (enum part_scheme scheme)
{
  switch (scheme) {
  case PART_NONE: return "none";
  case PART_MBR: return "mbr";
  case PART_GPT: return "gpt";
  }
  return "unknown";
}

static void
partition_free (struct partition *part)
{
  free (part->type);
  free (part->name);
  free (part->uuid);
}

void
part_table_free (struct part_table *table)
{
  for (size_t i = 0; i < table->parts.len; ++i)
    partition_free (&table->parts.ptr[i]);
  vector_free (&table->parts);
  free (table->id);
  memset (table, 0, sizeof *table);
}

int
part_add (struct part_table *table, struct partition *part, uint64_t start,
          uint64_t sectors, uint64_t disk_sectors, struct report *report,
          struct err *err)
{
  if (!range_fits (start, sectors, disk_sectors)) {
    report_warn (report, "partition %u (sectors %" PRIu64 " to %" PRIu64
                 ") is not inside the disk of %" PRIu64 " sectors; it is left "
                 "out", part->number, start, start + sectors - 1,
                 disk_sectors);
    partition_free (part);
    return 0;
  }
  part->off = start * table->sector_size;
  part->len = sectors * table->sector_size;
  if (part->type && part->uuid &&
      vector_append (&table->parts, part) == 0)
    return 0;
  partition_free (part);
  return err_nomem (err);
}

static int
compare_numbers (const void *a, const void *b)
{
  unsigned x = ((const struct partition *) a)->number;
  unsigned y = ((const struct partition *) b)->number;

  return (x > y) - (x < y);
}

/* A GPT in sectors of this size.  As gpt_read; after 0 or a failure the
 * table is empty.
 */
static int
try_gpt (struct block *disk, uint32_t sector_size, struct part_table *table,
         struct report *report, struct err *err)
{
  int r;

  table->sector_size = sector_size;
  r = gpt_read (disk, table, report, err);
  if (r <= 0)
    part_table_free (table);
  return r;
}

/* The same in sectors of every size that comes into question.  What the
 * failed tries had to say is said only if all of them fail.
 */
static int
try_all_gpts (struct block *disk, uint32_t sector_size,
              struct part_table *table, struct report *report,
              struct err *err)
{
  static const uint32_t sizes[] = { 512, 4096 };
  CLEANUP_REPORT struct report failed = REPORT_INIT;
  int r = 0;

  if (sector_size != 0)
    return try_gpt (disk, sector_size, table, report, err);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && r == 0; ++i) {
    CLEANUP_REPORT struct report said = REPORT_INIT;

    r = try_gpt (disk, sizes[i], table, &said, err);
    report_move (r > 0 ? report : &failed, &said);
  }
  if (r <= 0)
    report_move (report, &failed);
  return r;
}

/* The MBR names a GPT. */
static int
read_gpt_disk (struct block *disk, enum mbr_kind kind, uint32_t sector_size,
               struct part_table *table, struct report *report,
               struct err *err)
{
  int r = try_all_gpts (disk, sector_size, table, report, err);

  if (r > 0 && kind == MBR_HYBRID)
    report_warn (report, "hybrid MBR: it has partitions of its own beside the "
                 "GPT, whose partitions are used");
  if (r == 0)
    report_warn (report, "the MBR names a GPT, but there is no usable one");
  table->is_lost = r == 0;
  return r < 0 ? r : 0;
}

/* The MBR does not name a GPT, so that Linux ignores one. */
static int
read_mbr_disk (struct block *disk, const uint8_t mbr[MBR_SIZE],
               uint32_t sector_size, struct part_table *table,
               struct report *report, struct err *err)
{
  struct part_table gpt = { .scheme = PART_NONE };
  int r = try_all_gpts (disk, sector_size, &gpt, NULL, err);

  part_table_free (&gpt);
  if (r == -ENOMEM)
    return r;
  if (r > 0)
    report_warn (report, "a GPT is there too, but the MBR does not name it; "
                 "the partitions of the MBR are used, as Linux does");
  table->sector_size = sector_size ? sector_size : 512;
  return mbr_read (disk, mbr, table, report, err);
}

/* Neither an MBR nor, most often, anything else. */
static int
read_bare_disk (struct block *disk, const uint8_t mbr[MBR_SIZE],
                uint32_t sector_size, struct part_table *table,
                struct report *report, struct err *err)
{
  static const uint8_t zeros[MBR_SIZE];
  CLEANUP_REPORT struct report said = REPORT_INIT;
  int r;

  /* Behind the boot sector of a file system a GPT is what was there before
   * mkfs.
   */
  if (memcmp (mbr, zeros, MBR_SIZE) != 0)
    return 0;
  r = try_all_gpts (disk, sector_size, table, &said, err);
  if (r > 0) {
    report_move (report, &said);
    report_warn (report, "the protective MBR is missing: Linux does not look "
                 "at this GPT");
  }
  return r < 0 ? r : 0;
}

int
part_read (struct block *disk, uint32_t sector_size, struct part_table *out,
           struct report *report, struct err *err)
{
  struct part_table table = { .scheme = PART_NONE };
  uint8_t mbr[MBR_SIZE];
  uint64_t size = block_size (disk);
  uint32_t mbr_sector = sector_size ? sector_size : 512;
  enum mbr_kind kind;
  int r = 0;

  if (sector_size != 0 && (sector_size < 512 || !is_power_of_2 (sector_size) ||
                           sector_size > MAX_SECTOR_SIZE))
    return err_set (err, -EINVAL, "sector size %" PRIu32 " is not a power of "
                    "2 from 512 to %d", sector_size, MAX_SECTOR_SIZE);
  if (size >= mbr_sector) {
    r = block_pread (disk, mbr, sizeof mbr, 0, err);
    if (r < 0)
      return r;
    kind = mbr_kind (mbr, size / mbr_sector);
    if (kind == MBR_NONE)
      r = read_bare_disk (disk, mbr, sector_size, &table, report, err);
    else if (kind == MBR_TABLE)
      r = read_mbr_disk (disk, mbr, sector_size, &table, report, err);
    else
      r = read_gpt_disk (disk, kind, sector_size, &table, report, err);
  }
  if (r < 0) {
    part_table_free (&table);
    return r;
  }
  if (table.sector_size == 0)
    table.sector_size = mbr_sector;
  if (table.parts.len > 0)
    qsort (table.parts.ptr, table.parts.len, sizeof table.parts.ptr[0],
           compare_numbers);
  *out = table;
  return 0;
}
