/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the readers of partition tables share.  Only lib/part includes it. */

#ifndef NBDIMAGE_PART_PART_INTERNAL_H
#define NBDIMAGE_PART_PART_INTERNAL_H

#include "lib/part/part.h"

#define MBR_SIZE 512
#define MBR_TYPE_GPT 0xEE

/* What the first sector of a disk holds. */
enum mbr_kind {
  MBR_NONE,                     /* no table: no signature, or the boot sector
                                   of a file system */
  MBR_TABLE,
  MBR_PROTECTIVE,               /* it names a GPT, and nothing else */
  MBR_HYBRID,                   /* it names a GPT, and partitions too */
};

/* disk_size in sectors of the table. */
enum mbr_kind mbr_kind (const uint8_t mbr[MBR_SIZE], uint64_t disk_sectors);

/* Read the table in mbr, the logical partitions too, into *table, whose
 * sector_size is set.  On failure the caller frees what was added.
 */
int mbr_read (struct block *disk, const uint8_t mbr[MBR_SIZE],
              struct part_table *table, struct report *report,
              struct err *err);

/* Read the GPT in sectors of table->sector_size.  1: read into *table; 0: no
 * copy of it is usable, and why each is not has gone to report, unless there
 * is no signature at all; negative: an error.
 */
int gpt_read (struct block *disk, struct part_table *table,
              struct report *report, struct err *err);

/* One copy of a GPT, as its header has it: all in sectors. */
struct gpt {
  uint64_t lba;                 /* where it was read */
  uint64_t other_lba, first_usable, last_usable, array_lba;
  uint8_t guid[UUID_SIZE];
  uint32_t nr_entries, entry_size, array_crc;
  uint8_t *array;               /* owned */
};

void gpt_free (struct gpt *gpt);
#define CLEANUP_GPT __attribute__ ((__cleanup__ (gpt_free)))

/* Find a copy to use.  1: found; 0: none; negative: an error.  The caller
 * frees *g in any case.
 */
int gpt_choose_copy (struct block *disk, uint32_t sector_size, struct gpt *g,
                     struct report *report, struct err *err);

/* Append a partition that starts at sector `start` and has `sectors`, and
 * take over its strings.  One that is not inside the disk is reported and
 * freed instead: what is left of a partition that was cut off is not what
 * its file system expects.
 */
int part_add (struct part_table *table, struct partition *part,
              uint64_t start, uint64_t sectors, uint64_t disk_sectors,
              struct report *report, struct err *err);

/* "Linux" for 0x83; NULL: not known.  Static. */
const char *part_mbr_type_name (uint8_t type);

/* The same for a GUID in lower case. */
const char *part_gpt_type_name (const char *guid);

#endif /* NBDIMAGE_PART_PART_INTERNAL_H */
