/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Disks with bad partition tables.  Such a disk is served as it is, whatever
 * its table says; what is wrong is a warning, and what can't be is left out
 * of the list of partitions.
 *
 *   MBR   256 sectors · 1: 8+32 · 2: 40+40 · 3: extended, 80+100 · 5: 82+20,
 *         its EBR at 80 · 6: 112+28, its EBR at 110
 *   GPT   256 sectors · entries at 2 and 223, usable 34 to 222 · 1: 40 to 99
 *         · 2: 100 to 199
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32.h"
#include "tests/damage/bad-part.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SECTORS BAD_PART_SECTORS
#define BACKUP BAD_PART_BACKUP
#define BACKUP_ENTRIES BAD_PART_BACKUP_ENTRIES

/* Offsets of fields. */
#define ENTRY(i) (446 + ((i) - 1) * 16)
#define EBR1 BAD_PART_EBR_1
#define EBR2 BAD_PART_EBR_2
#define PART(i) (1024 + ((i) - 1) * 128)

struct row {
  const char *name;
  enum part_base base;
  struct damage_patch patches[4];
  unsigned nr_parts;
  const char *says;
  bool bad_sum;                 /* CRCs stay as they were */
  long cut;
};

static const struct row rows[] = {
  { "mbr-without-signature", MBR, { { 510, 2, 0 } }, 0 },
  { "mbr-signature-swapped", MBR, { { 510, 2, 0x55AA } }, 0 },
  { "mbr-flag-of-no-kind", MBR, { { ENTRY (1), 1, 0x7F } }, 0 },
  { "mbr-of-aix", MBR, { { 0, 4, 0xC1D4C2C9 } }, 0 },
  { "mbr-of-zeros", MBR, { { 0, 0, 512 } }, 0 },
  { "mbr-without-partitions", MBR, { { 446, 0, 64 } }, 0 },
  { "mbr-partition-past-the-end", MBR, { { ENTRY (1) + 8, 4, 250 } }, 4,
    "partition 1 (sectors 250 to 281) is not inside the disk of 256 sectors" },
  { "mbr-partition-at-the-end", MBR, { { ENTRY (1) + 8, 4, 224 } }, 5 },
  { "mbr-partition-a-sector-too-far", MBR, { { ENTRY (1) + 8, 4, 225 } }, 4,
    "partition 1 (sectors 225 to 256) is not inside the disk of 256 sectors" },
  { "mbr-start-max", MBR, { { ENTRY (1) + 8, 4, UINT32_MAX } }, 4,
    "partition 1 (sectors 4294967295 to 4294967326) is not inside the disk" },
  { "mbr-start-sign", MBR, { { ENTRY (1) + 8, 4, 0x80000000 } }, 4,
    "partition 1 (sectors 2147483648 to 2147483679) is not inside the disk" },
  { "mbr-length-max", MBR, { { ENTRY (2) + 12, 4, UINT32_MAX } }, 4,
    "partition 2 (sectors 40 to 4294967334) is not inside the disk" },
  { "mbr-length-0", MBR, { { ENTRY (1) + 12, 4, 0 } }, 4 },
  { "mbr-all-max", MBR, { { ENTRY (2) + 8, 8, UINT64_MAX } }, 4,
    "partition 2 (sectors 4294967295 to 8589934589) is not inside the disk" },
  { "mbr-extended-past-the-end", MBR, { { ENTRY (3) + 8, 4, 240 } }, 2,
    "extended boot record at sector 240: signature is 00 00, expected 55 aa" },
  { "mbr-extended-elsewhere", MBR, { { ENTRY (3) + 8, 4, 1000 } }, 2,
    "extended boot record at sector 1000 lies outside the disk" },
  { "mbr-extended-start-max", MBR, { { ENTRY (3) + 8, 4, UINT32_MAX } }, 2,
    "extended boot record at sector 4294967295 lies outside the disk" },
  { "mbr-extended-of-one-sector", MBR, { { ENTRY (3) + 12, 4, 1 } }, 4,
    "logical partition 5 (sectors 82 to 101) is not inside its extended" },
  { "mbr-extended-is-the-mbr", MBR, { { ENTRY (3) + 8, 4, 0 } }, 5,
    "the chain of extended boot records runs in a loop at sector 0" },
  { "ebr-without-signature", MBR, { { EBR1 + 510, 2, 0 } }, 3,
    "extended boot record at sector 80: signature is 00 00, expected 55 aa" },
  { "ebr-second-without-signature", MBR, { { EBR2 + 510, 2, 0x1234 } }, 4,
    "extended boot record at sector 110: signature is 34 12, expected 55 aa" },
  { "ebr-links-to-itself", MBR, { { EBR1 + ENTRY (2) + 8, 4, 0 } }, 4,
    "chain of extended boot records runs in a loop at sector 80; it ends" },
  { "ebr-loop-of-two", MBR, { { EBR2 + ENTRY (2) + 4, 1, 5 },
                              { EBR2 + ENTRY (2) + 12, 4, 30 } }, 5,
    "chain of extended boot records runs in a loop at sector 80; it ends" },
  { "ebr-links-outside", MBR, { { EBR1 + ENTRY (2) + 8, 4, 100 } }, 4,
    "boot record at sector 180 lies outside the extended partition" },
  { "ebr-links-past-the-end", MBR, { { EBR1 + ENTRY (2) + 8, 4, 1000 } }, 4,
    "boot record at sector 1080 lies outside the disk" },
  { "ebr-links-to-max", MBR, { { EBR1 + ENTRY (2) + 8, 4, UINT32_MAX } }, 4,
    "boot record at sector 4294967375 lies outside the disk" },
  { "ebr-logical-outside", MBR, { { EBR1 + ENTRY (1) + 8, 4, 90 } }, 5,
    "logical partition 5 (sectors 170 to 189) is not inside its extended" },
  { "ebr-logical-past-the-end", MBR, { { EBR1 + ENTRY (1) + 12, 4, 200 } }, 4,
    "partition 5 (sectors 82 to 281) is not inside the disk of 256 sectors" },
  { "ebr-logical-max", MBR, { { EBR2 + ENTRY (1) + 8, 8, UINT64_MAX } }, 4,
    "partition 6 (sectors 4294967405 to 8589934699) is not inside the disk" },
  { "mbr-cut-in-a-partition", MBR, { { 0 } }, 2,
    "partition 3 (sectors 80 to 179) is not inside the disk of 80 sectors",
    false, (SECTORS - 80) * 512 },
  { "mbr-alone", MBR, { { 0 } }, 0,
    "partition 1 (sectors 8 to 39) is not inside the disk of 1 sectors",
    false, (SECTORS - 1) * 512 },
  { "mbr-cut-in-itself", MBR, { { 0 } }, 0, NULL, false, SECTORS * 512 - 511 },

  /* The primary GPT. */
  { "gpt-signature", GPT, { { 512, 1, 'e' } }, 2,
    "primary GPT at sector 1: no signature; the backup at sector 255 is used" },
  { "gpt-of-zeros", GPT, { { 512, 0, 512 } }, 2,
    "primary GPT at sector 1: no signature; the backup at sector 255 is used",
    true },
  { "gpt-crc", GPT, { { 512 + 16, 4, 0 } }, 2,
    "primary GPT at sector 1: header CRC is 00000000, computed", true },
  { "gpt-guid-crc", GPT, { { 512 + 56, 1, 0xEE } }, 2,
    "primary GPT at sector 1: header CRC is", true },
  { "gpt-header-size-0", GPT, { { 512 + 12, 4, 0 } }, 2,
    "primary GPT at sector 1: header size is 0, expected 92 to 512", true },
  { "gpt-header-size-91", GPT, { { 512 + 12, 4, 91 } }, 2,
    "primary GPT at sector 1: header size is 91, expected 92 to 512", true },
  { "gpt-header-size-513", GPT, { { 512 + 12, 4, 513 } }, 2,
    "primary GPT at sector 1: header size is 513, expected 92 to 512", true },
  { "gpt-header-size-max", GPT, { { 512 + 12, 4, UINT32_MAX } }, 2,
    "header size is 4294967295, expected 92 to 512", true },
  { "gpt-lies-elsewhere", GPT, { { 512 + 24, 8, 2 } }, 2,
    "primary GPT at sector 1: header says that it lies at sector 2" },
  { "gpt-backup-elsewhere", GPT, { { 512 + 32, 8, 100 } }, 2,
    "backup GPT at sector 100: no signature; the primary is used" },
  { "gpt-backup-past-the-end", GPT, { { 512 + 32, 8, 256 } }, 2,
    "backup GPT at sector 256: the disk ends at sector 255" },
  { "gpt-backup-at-max", GPT, { { 512 + 32, 8, UINT64_MAX } }, 2,
    "backup GPT at sector 18446744073709551615: the disk ends at sector" },
  { "gpt-backup-is-itself", GPT, { { 512 + 32, 8, 1 } }, 2,
    "the backup GPT at sector 1 differs from the primary" },
  { "gpt-usable-past-the-end", GPT, { { 512 + 48, 8, 256 } }, 2,
    "primary GPT at sector 1: usable sectors are 34 to 256, but the last" },
  { "gpt-usable-max", GPT, { { 512 + 40, 8, UINT64_MAX } }, 2,
    "primary GPT at sector 1: usable sectors are 18446744073709551615 to" },
  { "gpt-usable-swapped", GPT, { { 512 + 48, 8, 33 } }, 2,
    "primary GPT at sector 1: last usable sector 33 is below the first, 34" },
  { "gpt-entry-size-0", GPT, { { 512 + 84, 4, 0 } }, 2,
    "primary GPT at sector 1: size of an entry is 0, expected 128, 256" },
  { "gpt-entry-size-64", GPT, { { 512 + 84, 4, 64 } }, 2,
    "primary GPT at sector 1: size of an entry is 64, expected 128, 256" },
  { "gpt-entry-size-129", GPT, { { 512 + 84, 4, 129 } }, 2,
    "primary GPT at sector 1: size of an entry is 129, expected 128, 256" },
  { "gpt-entry-size-sign", GPT, { { 512 + 84, 4, 0x80000000 } }, 2,
    "128 entries of 2147483648 bytes are more than a table holds" },
  { "gpt-entries-max", GPT, { { 512 + 80, 4, UINT32_MAX } }, 2,
    "4294967295 entries of 128 bytes are more than a table holds" },
  { "gpt-entries-past-the-end", GPT, { { 512 + 72, 8, 250 } }, 2,
    "primary GPT at sector 1: the entries, at sector 250, are not inside" },
  { "gpt-entries-at-max", GPT, { { 512 + 72, 8, UINT64_MAX } }, 2,
    "the entries, at sector 18446744073709551615, are not inside the disk" },
  { "gpt-entries-wrap", GPT, { { 512 + 72, 8, UINT64_C (1) << 55 } }, 2,
    "the entries, at sector 36028797018963968, are not inside the disk" },
  { "gpt-entries-crc", GPT, { { PART (1) + 32, 8, 41 } }, 2,
    "primary GPT at sector 1: CRC of the entries is", true },

  /* The backup. */
  { "gpt-backup-signature", GPT, { { BACKUP, 1, 'e' } }, 2,
    "backup GPT at sector 255: no signature; the primary is used" },
  { "gpt-backup-crc", GPT, { { BACKUP + 57, 1, 1 } }, 2,
    "backup GPT at sector 255: header CRC is", true },
  { "gpt-backup-entries-crc", GPT, { { BACKUP_ENTRIES, 8, 1 } }, 2,
    "backup GPT at sector 255: CRC of the entries is", true },
  { "gpt-backup-lies-elsewhere", GPT, { { BACKUP + 24, 8, 1 } }, 2,
    "backup GPT at sector 255: header says that it lies at sector 1" },
  { "gpt-backup-has-another-guid", GPT, { { BACKUP + 56, 8, 1 } }, 2,
    "the backup GPT at sector 255 differs from the primary, which is used" },
  { "gpt-backup-has-other-entries", GPT, { { BACKUP_ENTRIES + 32, 8, 50 } },
    2, "the backup GPT at sector 255 differs from the primary" },
  { "gpt-both-signatures", GPT, { { 512, 1, 'e' }, { BACKUP, 1, 'e' } }, 0,
    "the MBR names a GPT, but there is no usable one" },
  { "gpt-both-crcs", GPT, { { 512 + 16, 4, 0 }, { BACKUP + 16, 4, 0 } }, 0,
    "no usable GPT: at sector 1, header CRC is 00000000, computed", true },
  { "gpt-both-entries-crcs", GPT,
    { { PART (1) + 32, 8, 41 }, { BACKUP_ENTRIES + 32, 8, 41 } }, 0,
    "no usable GPT: at sector 1, CRC of the entries is", true },

  /* Entries, of the primary; the backup then differs. */
  { "gpt-partition-swapped", GPT, { { PART (1) + 40, 8, 39 } }, 1,
    "partition 1: last sector 39 is below the first, 40, or too big" },
  { "gpt-partition-last-max", GPT, { { PART (1) + 40, 8, UINT64_MAX } }, 1,
    "partition 1: last sector 18446744073709551615 is below the first" },
  { "gpt-partition-last-sign", GPT,
    { { PART (1) + 40, 8, UINT64_C (1) << 63 } }, 1,
    "partition 1 (sectors 40 to 9223372036854775808) is not inside the disk" },
  { "gpt-partition-past-the-end", GPT,
    { { PART (2) + 32, 8, 300 }, { PART (2) + 40, 8, 400 } }, 1,
    "partition 2 (sectors 300 to 400) is not inside the disk of 256" },
  { "gpt-partition-over-the-table", GPT, { { PART (1) + 32, 8, 2 } }, 2,
    "partition 1 (sectors 2 to 99) is not inside the usable sectors 34 to" },
  { "gpt-partition-over-the-backup", GPT, { { PART (2) + 40, 8, 255 } }, 2,
    "partition 2 (sectors 100 to 255) is not inside the usable sectors" },

  /* The MBR of a GPT, and the size of the disk. */
  { "gpt-without-mbr", GPT, { { 0, 0, 512 } }, 2,
    "the protective MBR is missing: Linux does not look at this GPT" },
  { "gpt-not-named-by-the-mbr", GPT, { { ENTRY (1) + 4, 1, 0x83 } }, 1,
    "a GPT is there too, but the MBR does not name it" },
  { "gpt-hybrid", GPT, { { ENTRY (2) + 4, 1, 0x83 },
                         { ENTRY (2) + 8, 4, 40 },
                         { ENTRY (2) + 12, 4, 60 } }, 2,
    "hybrid MBR: it has partitions of its own beside the GPT" },
  { "gpt-longer", GPT, { { 0 } }, 2,
    "the backup GPT is at sector 255, the last sector of the disk is 4335: "
    "the disk was enlarged", false, -4080 * 512 },
  { "gpt-longer-by-less-than-a-cylinder", GPT, { { 0 } }, 2, NULL, false,
    -4079 * 512 },
  { "gpt-shorter-by-a-sector", GPT, { { 0 } }, 2,
    "backup GPT at sector 255: the disk ends at sector 254", false, 512 },
  { "gpt-cut-in-a-partition", GPT, { { 0 } }, 0,
    "usable sectors are 34 to 222, but the last sector of the disk is 149: "
    "the disk was cut off", false, (SECTORS - 150) * 512 },
  { "gpt-cut-to-its-header", GPT, { { 0 } }, 0,
    "the MBR names a GPT, but there is no usable one", false,
    (SECTORS - 2) * 512 },
};

/*--- The good ones ----------------------------------------------------------*/

static void
put_entry (uint8_t *sector, unsigned i, uint8_t type, uint32_t start,
           uint32_t len)
{
  uint8_t *e = sector + ENTRY (i);

  e[4] = type;
  put_le32 (e + 8, start);
  put_le32 (e + 12, len);
  sector[510] = 0x55;
  sector[511] = 0xAA;
}

static void
make_mbr (uint8_t *disk)
{
  put_le32 (disk + 440, 0x12345678);
  put_entry (disk, 1, 0x83, 8, 32);
  put_entry (disk, 2, 0x07, 40, 40);
  put_entry (disk, 3, 0x0F, 80, 100);
  put_entry (disk + EBR1, 1, 0x83, 2, 20);
  put_entry (disk + EBR1, 2, 0x05, 30, 30);
  put_entry (disk + EBR2, 1, 0x82, 2, 28);
}

static void
put_header (uint8_t *h, uint64_t lba, uint64_t other, uint64_t entries)
{
  memcpy (h, "EFI PART", 8);
  put_le32 (h + 8, 0x00010000);
  put_le32 (h + 12, 92);
  put_le64 (h + 24, lba);
  put_le64 (h + 32, other);
  put_le64 (h + 40, 34);
  put_le64 (h + 48, 222);
  memset (h + 56, 0x77, 16);
  put_le64 (h + 72, entries);
  put_le32 (h + 80, 128);
  put_le32 (h + 84, 128);
}

static void
put_part (uint8_t *e, uint8_t id, uint64_t first, uint64_t last)
{
  memset (e, 0x0F, 16);
  memset (e + 16, id, 16);
  put_le64 (e + 32, first);
  put_le64 (e + 40, last);
  e[56] = 'p';
}

static void
make_gpt (uint8_t *disk)
{
  put_entry (disk, 1, 0xEE, 1, SECTORS - 1);
  put_header (disk + 512, 1, 255, 2);
  put_header (disk + BACKUP, 255, 1, 223);
  put_part (disk + PART (1), 1, 40, 99);
  put_part (disk + PART (2), 2, 100, 199);
  memcpy (disk + BACKUP_ENTRIES, disk + 1024, 2 * 128);
}

static void
put_crcs (uint8_t *h, const uint8_t *entries)
{
  put_le32 (h + 88, crc32_update (0, entries, 128 * 128));
  put_le32 (h + 16, 0);
  put_le32 (h + 16, crc32_update (0, h, 92));
}

void
bad_part_sum (struct damage_file *disk)
{
  put_crcs (disk->bytes + 512, disk->bytes + 1024);
  put_crcs (disk->bytes + BACKUP, disk->bytes + BACKUP_ENTRIES);
}

struct damage_file
bad_part_make_good (enum part_base base)
{
  uint8_t disk[SECTORS * 512] = { 0 };

  /* What is in the partitions does not matter, but is to be seen. */
  for (unsigned s = 0; s < SECTORS; ++s)
    disk[s * 512 + 300] = (uint8_t) s;
  if (base == MBR)
    make_mbr (disk);
  else {
    disk[512 + 300] = disk[BACKUP + 300] = 0;
    for (unsigned s = 2; s < 34; ++s)
      disk[s * 512 + 300] = disk[(s + 221) * 512 + 300] = 0;
    make_gpt (disk);
    put_crcs (disk + 512, disk + 1024);
    put_crcs (disk + BACKUP, disk + BACKUP_ENTRIES);
  }
  return damage_copy (disk, sizeof disk);
}

static void
make (size_t i, struct damage_image *out)
{
  const struct row *row = &rows[i];

  out->image = bad_part_make_good (row->base);
  damage_apply (&out->image, row->patches, 4);
  if (row->base == GPT && !row->bad_sum)
    bad_part_sum (&out->image);
  damage_cut (&out->image, row->cut);
  out->disk = damage_copy (out->image.bytes, out->image.len);
  out->has_parts = true;
  out->nr_parts = row->nr_parts;
}

static size_t
nr (void)
{
  return sizeof rows / sizeof rows[0];
}

static const char *
name_of (size_t i)
{
  return rows[i].name;
}

static struct damage_verdict
verdict_of (size_t i)
{
  return (struct damage_verdict) { 0, rows[i].says };
}

const struct damage_family damage_part = {
  .name = "part",
  .file = "disk.img",
  .nr = nr,
  .name_of = name_of,
  .verdict_of = verdict_of,
  .make = make,
};
