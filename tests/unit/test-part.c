/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Partition tables, with bytes made here.  tests/unit/test-part-tools.sh
 * compares with the tables of other programs.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32.h"
#include "lib/block/block-ops.h"
#include "lib/block/memory.h"
#include "lib/part/part.h"

#define DISK_SIZE (1024 * 1024)
#define SECTORS (DISK_SIZE / 512)

/* A disk to be written to, what was read from it and what was said. */
struct fixture {
  uint8_t *disk;
  size_t size;
  struct part_table table;
  struct report report;
  struct err err;
};

static int
setup (void **state)
{
  struct fixture *f = calloc (1, sizeof *f);

  assert_non_null (f);
  f->size = DISK_SIZE;
  f->disk = calloc (1, f->size);
  assert_non_null (f->disk);
  *state = f;
  return 0;
}

static void
forget (struct fixture *f)
{
  part_table_free (&f->table);
  report_free (&f->report);
}

static int
teardown (void **state)
{
  struct fixture *f = *state;

  forget (f);
  free (f->disk);
  free (f);
  return 0;
}

/* Blocks of which one byte can't be read. */
static uint64_t bad_off;
static const struct block_ops *memory_ops;

static int
bad_pread (struct block *b, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  if (bad_off - off < len)
    return err_set (err, -EIO, "bad sector");
  return memory_ops->pread (b, buf, len, off, err);
}

static int
try_read (struct fixture *f, uint32_t sector_size)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct block_ops ops;

  forget (f);
  assert_int_equal (block_memory_new ("test", f->disk, f->size, &b, NULL), 0);
  memory_ops = b->ops;
  ops = *b->ops;
  ops.pread = bad_pread;
  b->ops = &ops;
  return part_read (b, sector_size, &f->table, &f->report, &f->err);
}

static void
read_table (struct fixture *f, uint32_t sector_size)
{
  int r = try_read (f, sector_size);

  if (r < 0)
    fail_msg ("part_read: %s", f->err.msg);
}

static void
assert_said (struct fixture *f, const char *what)
{
  for (size_t i = 0; i < f->report.lines.len; ++i)
    if (strstr (f->report.lines.ptr[i], what))
      return;
  for (size_t i = 0; i < f->report.lines.len; ++i)
    print_message ("said: %s\n", f->report.lines.ptr[i]);
  fail_msg ("nothing about ‘%s’", what);
}

static void
assert_silent (struct fixture *f)
{
  if (f->report.lines.len > 0)
    fail_msg ("said: %s", f->report.lines.ptr[0]);
}

/* "NUMBER:first+sectors TYPE[ boot][ ext][ logical], …", in sectors of 512
 * bytes.
 */
static void
assert_parts (struct fixture *f, const char *expected)
{
  char s[4096] = "";

  for (size_t i = 0; i < f->table.parts.len; ++i) {
    const struct partition *p = &f->table.parts.ptr[i];
    size_t len = strlen (s);

    snprintf (s + len, sizeof s - len, "%s%u:%u+%u %.8s%s%s%s",
              i ? ", " : "", p->number, (unsigned) (p->off / 512),
              (unsigned) (p->len / 512), p->type, p->bootable ? " boot" : "",
              p->is_extended ? " ext" : "", p->is_logical ? " logical" : "");
  }
  assert_string_equal (s, expected);
}

/*--- MBR -------------------------------------------------------------------*/

static void
put_entry (struct fixture *f, unsigned sector, unsigned i, uint8_t boot,
           uint8_t type, uint32_t start, uint32_t sectors)
{
  uint8_t *s = f->disk + sector * 512, *p = s + 446 + i * 16;

  p[0] = boot;
  p[4] = type;
  put_le32 (p + 8, start);
  put_le32 (p + 12, sectors);
  s[510] = 0x55;
  s[511] = 0xAA;
}

/* Two primaries, the extended partition in the second slot with three
 * logicals of which the last lies before the second.
 */
static void
put_mbr (struct fixture *f)
{
  put_le32 (f->disk + 440, 0xCAFE0001);
  put_entry (f, 0, 0, 0x80, 0x07, 64, 100);
  put_entry (f, 0, 1, 0, 0x0F, 200, 1000);
  put_entry (f, 0, 2, 0, 0x83, 1500, 100);
  put_entry (f, 200, 0, 0, 0x83, 10, 90);       /* 5 */
  put_entry (f, 200, 1, 0, 0x05, 500, 200);
  put_entry (f, 700, 0, 0, 0x82, 10, 190);      /* 6 */
  put_entry (f, 700, 1, 0, 0x05, 200, 100);
  put_entry (f, 400, 0, 0, 0x8E, 10, 90);       /* 7 */
}

#define MBR_1_2 "1:64+100 0x07 boot, 2:200+1000 0x0f ext"
#define MBR_3 ", 3:1500+100 0x83"
#define MBR_5 ", 5:210+90 0x83 logical"
#define MBR_6 ", 6:710+190 0x82 logical"
#define MBR_7 ", 7:410+90 0x8e logical"

static void
an_mbr_is_numbered_as_linux_does (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  read_table (f, 512);
  assert_silent (f);
  assert_int_equal (f->table.scheme, PART_MBR);
  assert_int_equal (f->table.sector_size, 512);
  assert_string_equal (f->table.id, "0xcafe0001");
  assert_parts (f, MBR_1_2 MBR_3 MBR_5 MBR_6 MBR_7);
  assert_string_equal (f->table.parts.ptr[0].uuid, "cafe0001-01");
  assert_string_equal (f->table.parts.ptr[5].uuid, "cafe0001-07");
  assert_string_equal (f->table.parts.ptr[0].type_name,
                       "NTFS, exFAT or HPFS");
  assert_string_equal (f->table.parts.ptr[5].type_name, "Linux LVM");
  assert_null (f->table.parts.ptr[0].name);
  read_table (f, 0);
  assert_int_equal (f->table.sector_size, 512);
  assert_parts (f, MBR_1_2 MBR_3 MBR_5 MBR_6 MBR_7);
}

static void
an_mbr_counts_in_the_sectors_of_the_disk (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0, 0x83, 2, 100);
  read_table (f, 4096);
  assert_silent (f);
  assert_parts (f, "1:16+800 0x83");
  assert_int_equal (f->table.sector_size, 4096);
}

static void
a_chain_of_ebrs_that_loops_ends (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  put_entry (f, 400, 1, 0, 0x05, 500, 200);     /* back to 700 */
  read_table (f, 512);
  assert_said (f, "loop at sector 700");
  assert_parts (f, MBR_1_2 MBR_3 MBR_5 MBR_6 MBR_7);
  put_entry (f, 200, 1, 0, 0x05, 0, 200);       /* to itself */
  read_table (f, 512);
  assert_said (f, "loop at sector 200");
  assert_parts (f, MBR_1_2 MBR_3 MBR_5);
}

static void
an_ebr_outside_its_extended_partition_is_not_read (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  put_entry (f, 200, 1, 0, 0x05, 1100, 100);
  put_entry (f, 1300, 0, 0, 0x83, 1, 1);
  read_table (f, 512);
  assert_said (f, "extended boot record at sector 1300 lies outside the "
               "extended partition");
  assert_parts (f, MBR_1_2 MBR_3 MBR_5);
}

static void
an_ebr_without_signature_ends_the_chain (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  f->disk[700 * 512 + 510] = 0;
  read_table (f, 512);
  assert_said (f, "sector 700: signature is 00 aa, expected 55 aa");
  assert_parts (f, MBR_1_2 MBR_3 MBR_5);
}

static void
an_ebr_that_cannot_be_read_is_an_error (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  bad_off = 700 * 512 + 7;
  assert_int_equal (try_read (f, 512), -EIO);
  assert_string_equal (f->err.msg,
                       "extended boot record at sector 700: bad sector");
  bad_off = 0;
  assert_int_equal (try_read (f, 512), -EIO);
  bad_off = UINT64_MAX;
}

static void
there_are_as_many_logicals_as_linux_knows (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0, 0x05, 10, 2000);
  for (unsigned i = 0; i < 300; ++i) {
    put_entry (f, 10 + 2 * i, 0, 0, 0x83, 1, 1);
    put_entry (f, 10 + 2 * i, 1, 0, 0x05, 2 * (i + 1), 2);
  }
  read_table (f, 512);
  assert_said (f, "more than 251 logical partitions");
  assert_int_equal (f->table.parts.len, 252);
  assert_int_equal (f->table.parts.ptr[251].number, 255);
}

static void
empty_ebrs_do_not_go_on_for_ever (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0, 0x05, 10, 2000);
  for (unsigned i = 0; i < 1000; ++i)
    put_entry (f, 10 + i, 0, 0, 0x05, i + 1, 2);
  read_table (f, 512);
  assert_said (f, "at sector 522 on are left out");
  assert_int_equal (f->table.parts.len, 1);
}

static void
garbage_in_the_last_two_entries_of_an_ebr_does_not_count (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  put_entry (f, 700, 2, 0x55, 0x83, 20, 5000);
  put_entry (f, 700, 3, 0, 0x83, 150, 20);      /* as OS/2 */
  read_table (f, 512);
  assert_silent (f);
  assert_parts (f, MBR_1_2 MBR_3 MBR_5 MBR_6
                ", 7:850+20 0x83 logical, 8:410+90 0x8e logical");
}

static void
a_logical_outside_its_extended_partition_is_reported (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  put_entry (f, 400, 0, 0, 0x83, 10, 900);
  read_table (f, 512);
  assert_said (f, "logical partition 7 (sectors 410 to 1309) is not inside");
  assert_parts (f, MBR_1_2 MBR_3 MBR_5 MBR_6 ", 7:410+900 0x83 logical");
}

static void
a_partition_that_is_cut_off_is_left_out (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  put_entry (f, 0, 2, 0, 0x83, 1500, SECTORS - 1500 + 1);
  put_entry (f, 0, 3, 0, 0x83, UINT32_MAX, UINT32_MAX);
  put_entry (f, 200, 0, 0, 0x83, 1, 5000);
  read_table (f, 512);
  assert_said (f, "partition 3 (sectors 1500 to 2048) is not inside the disk "
               "of 2048 sectors; it is left out");
  assert_said (f, "partition 4 (sectors 4294967295 to 8589934589)");
  assert_said (f, "partition 5 (sectors 201 to 5200)");
  /* The others keep their numbers. */
  assert_parts (f, MBR_1_2 MBR_6 MBR_7);
  put_entry (f, 0, 2, 0, 0x83, 1500, SECTORS - 1500);
  read_table (f, 512);
  assert_parts (f, MBR_1_2 ", 3:1500+548 0x83" MBR_6 MBR_7);
}

static void
the_logicals_of_a_cut_off_extended_partition_are_kept (void **state)
{
  struct fixture *f = *state;

  put_mbr (f);
  put_entry (f, 0, 1, 0, 0x0F, 200, 5000);
  put_entry (f, 400, 1, 0, 0x05, 3000, 10);
  read_table (f, 512);
  assert_said (f, "partition 2 (sectors 200 to 5199)");
  assert_said (f, "at sector 3200 lies outside the disk");
  assert_parts (f, "1:64+100 0x07 boot" MBR_3 MBR_5 MBR_6 MBR_7);
}

static void
entries_count_by_their_size_not_their_type (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0, 0x83, 64, 0);
  put_entry (f, 0, 1, 0, 0x00, 64, 10);
  read_table (f, 512);
  assert_parts (f, "2:64+10 0x00");
}

static void
sectors_that_are_no_mbr_have_no_partitions (void **state)
{
  struct fixture *f = *state;

  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  put_mbr (f);
  f->disk[510] = 0;
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  f->disk[510] = 0x55;
  f->disk[446 + 48] = 'k';      /* boot indicator of the fourth entry */
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  f->disk[446 + 48] = 0;
  memcpy (f->disk, "\xC9\xC2\xD4\xC1", 4);
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  f->size = 511;
  read_table (f, 0);
  assert_int_equal (f->table.scheme, PART_NONE);
  f->size = 0;
  read_table (f, 0);
  assert_int_equal (f->table.scheme, PART_NONE);
}

static void
put_fat_bpb (struct fixture *f)
{
  memcpy (f->disk, "\xEB\x3C\x90" "mkfs.fat", 11);
  put_le16 (f->disk + 11, 512);
  f->disk[13] = 4;
  put_le16 (f->disk + 14, 1);
  f->disk[16] = 2;
  f->disk[21] = 0xF8;
  f->disk[510] = 0x55;
  f->disk[511] = 0xAA;
}

static void
the_boot_sector_of_a_file_system_is_no_mbr (void **state)
{
  struct fixture *f = *state;

  put_fat_bpb (f);
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  put_entry (f, 0, 0, 0, 'a', 0x20656874, 0x20656874);  /* a message */
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  /* mkfs.fat --mbr: a table that makes sense counts, as in Linux. */
  put_entry (f, 0, 0, 0x80, 0x0C, 0, SECTORS);
  read_table (f, 512);
  assert_parts (f, "1:0+2048 0x0c boot");
  /* Without the BPB anything counts. */
  memset (f->disk, 0, 64);
  put_entry (f, 0, 0, 0, 0, 0, 0);
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_MBR);
  memcpy (f->disk, "\xEB\x52\x90NTFS    ", 11);
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  memcpy (f->disk, "\xEB\x76\x90" "EXFAT   ", 11);
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
}

static void
impossible_sector_sizes_are_the_callers_mistake (void **state)
{
  struct fixture *f = *state;

  assert_int_equal (try_read (f, 1), -EINVAL);
  assert_int_equal (try_read (f, 520), -EINVAL);
  assert_int_equal (try_read (f, 131072), -EINVAL);
}

/*--- GPT -------------------------------------------------------------------*/

static uint8_t *
header_at (struct fixture *f, uint64_t lba, uint32_t ss)
{
  return f->disk + lba * ss;
}

static void
seal (struct fixture *f, uint64_t lba, uint32_t ss)
{
  uint8_t *h = header_at (f, lba, ss);
  uint64_t off = get_le64 (h + 72) * ss;
  size_t len = (size_t) get_le32 (h + 80) * get_le32 (h + 84);

  if (off < f->size && len <= f->size - off)
    put_le32 (h + 88, crc32_update (0, f->disk + off, len));
  put_le32 (h + 16, 0);
  put_le32 (h + 16, crc32_update (0, h, get_le32 (h + 12)));
}

static void
put_gpt_entry (uint8_t *e, const char *type, uint8_t id, uint64_t first,
               uint64_t last, uint64_t attributes, const char *name)
{
  memcpy (e, type, 16);
  memset (e + 16, id, 16);
  put_le64 (e + 32, first);
  put_le64 (e + 40, last);
  put_le64 (e + 48, attributes);
  for (unsigned i = 0; name[i]; ++i)
    put_le16 (e + 56 + 2 * i, (uint8_t) name[i]);
}

#define ESP "\x28\x73\x2A\xC1\x1F\xF8\xD2\x11\xBA\x4B\x00\xA0\xC9\x3E\xC9\x3B"
#define DATA "\xAF\x3D\xC6\x0F\x83\x84\x72\x47\x8E\x79\x3D\x69\xD8\x47\x7D\xE4"

/* One copy: header at lba, four entries of entry_size at array.  Sectors 40
 * to 59 hold partition 1, 60 to 99 partition 3.
 */
static void
put_gpt_copy (struct fixture *f, uint32_t ss, uint32_t entry_size,
              uint64_t lba, uint64_t other, uint64_t array)
{
  uint8_t *h = header_at (f, lba, ss), *a = header_at (f, array, ss);

  memcpy (h, "EFI PART", 8);
  put_le32 (h + 8, 0x10000);
  put_le32 (h + 12, 92);
  put_le64 (h + 24, lba);
  put_le64 (h + 32, other);
  put_le64 (h + 40, 34);
  put_le64 (h + 48, f->size / ss - 34);
  memset (h + 56, 0xD1, 16);
  put_le64 (h + 72, array);
  put_le32 (h + 80, 4);
  put_le32 (h + 84, entry_size);
  put_gpt_entry (a, ESP, 0xA1, 40, 59, 4, "");
  put_gpt_entry (a + 2 * entry_size, DATA, 0xA3, 60, 99, 0, "caf\xE9");
  seal (f, lba, ss);
}

static void
put_gpt (struct fixture *f, uint32_t ss, uint32_t entry_size)
{
  uint64_t last = f->size / ss - 1;

  put_entry (f, 0, 0, 0, 0xEE, 1, UINT32_MAX);
  put_gpt_copy (f, ss, entry_size, 1, last, 2);
  put_gpt_copy (f, ss, entry_size, last, 1, last - 32);
}

#define LAST (SECTORS - 1)
#define GPT_1 "1:40+20 c12a7328 boot"
#define GPT_3 ", 3:60+40 0fc63daf"

static void
a_gpt_is_read (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  for (unsigned ss = 0; ss <= 512; ss += 512) {
    read_table (f, ss);
    assert_silent (f);
    assert_int_equal (f->table.scheme, PART_GPT);
    assert_int_equal (f->table.sector_size, 512);
    assert_parts (f, GPT_1 GPT_3);
  }
  assert_string_equal (f->table.id, "d1d1d1d1-d1d1-d1d1-d1d1-d1d1d1d1d1d1");
  assert_string_equal (f->table.parts.ptr[0].type,
                       "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
  assert_string_equal (f->table.parts.ptr[0].type_name, "EFI System");
  assert_null (f->table.parts.ptr[0].name);
  assert_string_equal (f->table.parts.ptr[1].name, "caf\xC3\xA9");
  assert_string_equal (f->table.parts.ptr[1].uuid,
                       "a3a3a3a3-a3a3-a3a3-a3a3-a3a3a3a3a3a3");
  assert_int_equal (f->table.parts.ptr[1].number, 3);
}

static void
the_sector_size_of_a_gpt_is_found_out (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 4096, 128);
  read_table (f, 0);
  assert_silent (f);
  assert_int_equal (f->table.sector_size, 4096);
  assert_parts (f, "1:320+160 c12a7328 boot, 3:480+320 0fc63daf");
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  assert_said (f, "the MBR names a GPT, but there is no usable one");
  /* By its backup alone, too. */
  f->disk[4096] = 0;
  read_table (f, 0);
  assert_int_equal (f->table.sector_size, 4096);
  assert_said (f, "primary GPT at sector 1: no signature; the backup at "
               "sector 255 is used");
}

static void
entries_may_be_larger (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 256);
  read_table (f, 512);
  assert_silent (f);
  assert_parts (f, GPT_1 GPT_3);
}

/* One rule of a header broken, and what is said of it. */
static const struct {
  unsigned off, len;
  uint64_t value;
  bool sealed;                  /* with a CRC that fits */
  const char *said;
} header_rules[] = {
  { 0, 1, 'e', true, "no signature" },
  { 12, 4, 91, false, "header size is 91, expected 92 to 512" },
  { 12, 4, 513, false, "header size is 513, expected 92 to 512" },
  { 56, 1, 0, false, "header CRC is " },
  { 24, 8, 7, true, "header says that it lies at sector 7" },
  { 40, 8, SECTORS, true, "usable sectors are 2048 to 2014, but the last "
    "sector of the disk is 2047: the disk was cut off" },
  { 48, 8, SECTORS, true, "usable sectors are 34 to 2048" },
  { 48, 8, 33, true, "last usable sector 33 is below the first, 34" },
  { 84, 4, 64, true, "size of an entry is 64" },
  { 84, 4, 192, true, "size of an entry is 192" },
  { 84, 4, 0, true, "size of an entry is 0" },
  { 80, 4, 8193, true, "8193 entries of 128 bytes are more than" },
  { 80, 4, UINT32_MAX, true, "4294967295 entries of 128 bytes" },
  { 72, 8, SECTORS, true, "the entries, at sector 2048, are not inside" },
  { 72, 8, UINT64_MAX, true, "the entries, at sector 18446744073709551615" },
  { 88, 4, 0, false, "header CRC" },
};

static void
break_rule (struct fixture *f, uint64_t lba, size_t i)
{
  uint8_t value[8];

  put_le64 (value, header_rules[i].value);
  memcpy (header_at (f, lba, 512) + header_rules[i].off, value,
          header_rules[i].len);
  if (header_rules[i].sealed)
    seal (f, lba, 512);
}

static void
a_damaged_primary_is_reported_and_the_backup_used (void **state)
{
  struct fixture *f = *state;

  for (size_t i = 0; i < sizeof header_rules / sizeof header_rules[0]; ++i) {
    memset (f->disk, 0, f->size);
    put_gpt (f, 512, 128);
    break_rule (f, 1, i);
    read_table (f, 512);
    assert_said (f, "primary GPT at sector 1: ");
    assert_said (f, header_rules[i].said);
    assert_said (f, "; the backup at sector 2047 is used");
    assert_parts (f, GPT_1 GPT_3);
  }
}

static void
a_damaged_backup_is_reported_and_the_primary_used (void **state)
{
  struct fixture *f = *state;

  for (size_t i = 0; i < sizeof header_rules / sizeof header_rules[0]; ++i) {
    memset (f->disk, 0, f->size);
    put_gpt (f, 512, 128);
    break_rule (f, LAST, i);
    read_table (f, 512);
    assert_said (f, "backup GPT at sector 2047: ");
    assert_said (f, header_rules[i].said);
    assert_parts (f, GPT_1 GPT_3);
  }
}

static void
damaged_entries_are_found_by_their_crc (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  f->disk[1024 + 32]++;
  read_table (f, 512);
  assert_said (f, "primary GPT at sector 1: CRC of the entries is");
  assert_parts (f, GPT_1 GPT_3);
}

static void
without_a_good_copy_there_is_no_table (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  f->disk[512 + 57]++;
  f->disk[LAST * 512 + 57]++;
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  assert_int_equal (f->table.parts.len, 0);
  assert_said (f, "no usable GPT: at sector 1, header CRC is");
  f->disk[512 + 57]--;
  f->disk[LAST * 512 + 57]--;
  f->size = DISK_SIZE / 2;
  read_table (f, 512);
  assert_int_equal (f->table.scheme, PART_NONE);
  assert_said (f, "the disk was cut off");
}

static void
an_unreadable_copy_counts_as_damaged (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  bad_off = 600;
  read_table (f, 512);
  assert_said (f, "primary GPT at sector 1: bad sector; the backup");
  assert_parts (f, GPT_1 GPT_3);
  bad_off = LAST * 512;
  read_table (f, 512);
  assert_said (f, "backup GPT at sector 2047: bad sector; the primary");
  bad_off = 600;
  f->disk[LAST * 512]++;
  assert_int_equal (try_read (f, 512), -EIO);
  bad_off = UINT64_MAX;
}

static void
copies_that_differ_are_reported (void **state)
{
  struct fixture *f = *state;
  static const unsigned fields[] = { 32, 40, 48, 56, 80 };

  put_gpt (f, 512, 128);
  put_le64 (header_at (f, LAST - 32, 512) + 40, 50);
  seal (f, LAST, 512);
  read_table (f, 512);
  assert_said (f, "the backup GPT at sector 2047 differs from the primary");
  assert_parts (f, GPT_1 GPT_3);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; ++i) {
    put_gpt (f, 512, 128);
    header_at (f, LAST, 512)[fields[i]]++;
    seal (f, LAST, 512);
    read_table (f, 512);
    assert_said (f, "the backup GPT at sector 2047 differs");
    assert_parts (f, GPT_1 GPT_3);
  }
  put_gpt (f, 512, 128);
  put_le64 (header_at (f, 1, 512) + 32, 1);     /* its own backup */
  seal (f, 1, 512);
  read_table (f, 512);
  assert_said (f, "the backup GPT at sector 1 differs");
}

#define CYLINDER (16 * 255 * 512)

static void
enlarge (struct fixture *f, size_t by)
{
  f->disk = realloc (f->disk, f->size + by);
  assert_non_null (f->disk);
  memset (f->disk + f->size, 0, by);
  f->size += by;
}

static void
the_backup_of_an_enlarged_disk_is_found (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  enlarge (f, CYLINDER);
  read_table (f, 512);
  assert_said (f, "the backup GPT is at sector 2047, the last sector of the "
               "disk is 6127: the disk was enlarged");
  assert_parts (f, GPT_1 GPT_3);
}

/* To the next whole cylinder, as a conversion to VHD does. */
static void
a_disk_whose_size_was_rounded_up_is_healthy (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  enlarge (f, CYLINDER - 512);
  read_table (f, 512);
  assert_silent (f);
  assert_parts (f, GPT_1 GPT_3);
}

static void
gpt_entries_that_are_impossible_are_left_out (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  put_gpt_entry (f->disk + 1024 + 128, DATA, 1, 500, 499, 0, "");
  put_gpt_entry (f->disk + 1024 + 256, DATA, 1, 600, 5000, 0, "");
  put_gpt_entry (f->disk + 1024 + 384, DATA, 1, 0, UINT64_MAX, 0, "");
  seal (f, 1, 512);
  read_table (f, 512);
  assert_said (f, "partition 2: last sector 499 is below the first, 500");
  assert_said (f, "partition 3 (sectors 600 to 5000) is not inside the disk");
  assert_said (f, "partition 4: last sector 18446744073709551615");
  assert_parts (f, GPT_1);
  put_gpt_entry (f->disk + 1024 + 384, DATA, 1, 20, 39, 0, "");
  seal (f, 1, 512);
  read_table (f, 512);
  assert_said (f, "partition 4 (sectors 20 to 39) is not inside the usable "
               "sectors 34 to 2014");
  assert_parts (f, GPT_1 ", 4:20+20 0fc63daf");
}

static void
the_mbr_decides_whether_the_gpt_counts (void **state)
{
  struct fixture *f = *state;

  put_gpt (f, 512, 128);
  put_entry (f, 0, 1, 0, 0x83, 60, 40);
  read_table (f, 512);
  assert_said (f, "hybrid MBR");
  assert_parts (f, GPT_1 GPT_3);
  put_entry (f, 0, 0, 0, 0x83, 500, 40);
  read_table (f, 512);
  assert_said (f, "a GPT is there too, but the MBR does not name it");
  assert_int_equal (f->table.scheme, PART_MBR);
  assert_parts (f, "1:500+40 0x83, 2:60+40 0x83");
  memset (f->disk, 0, 512);
  read_table (f, 512);
  assert_said (f, "the protective MBR is missing");
  assert_parts (f, GPT_1 GPT_3);
  /* mkfs over a disk with a GPT. */
  put_fat_bpb (f);
  read_table (f, 512);
  assert_silent (f);
  assert_int_equal (f->table.scheme, PART_NONE);
}

#define T(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (an_mbr_is_numbered_as_linux_does),
    T (an_mbr_counts_in_the_sectors_of_the_disk),
    T (a_chain_of_ebrs_that_loops_ends),
    T (an_ebr_outside_its_extended_partition_is_not_read),
    T (an_ebr_without_signature_ends_the_chain),
    T (an_ebr_that_cannot_be_read_is_an_error),
    T (there_are_as_many_logicals_as_linux_knows),
    T (empty_ebrs_do_not_go_on_for_ever),
    T (garbage_in_the_last_two_entries_of_an_ebr_does_not_count),
    T (a_logical_outside_its_extended_partition_is_reported),
    T (a_partition_that_is_cut_off_is_left_out),
    T (the_logicals_of_a_cut_off_extended_partition_are_kept),
    T (entries_count_by_their_size_not_their_type),
    T (sectors_that_are_no_mbr_have_no_partitions),
    T (the_boot_sector_of_a_file_system_is_no_mbr),
    T (impossible_sector_sizes_are_the_callers_mistake),
    T (a_gpt_is_read),
    T (the_sector_size_of_a_gpt_is_found_out),
    T (entries_may_be_larger),
    T (a_damaged_primary_is_reported_and_the_backup_used),
    T (a_damaged_backup_is_reported_and_the_primary_used),
    T (damaged_entries_are_found_by_their_crc),
    T (without_a_good_copy_there_is_no_table),
    T (an_unreadable_copy_counts_as_damaged),
    T (copies_that_differ_are_reported),
    T (the_backup_of_an_enlarged_disk_is_found),
    T (a_disk_whose_size_was_rounded_up_is_healthy),
    T (gpt_entries_that_are_impossible_are_left_out),
    T (the_mbr_decides_whether_the_gpt_counts),
  };

  bad_off = UINT64_MAX;
  return cmocka_run_group_tests (tests, NULL, NULL);
}
