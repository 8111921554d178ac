/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is said of a disk before it is backed up, where the disk can't read all
 * of that: lib/repo/survey.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/repo/survey.h"
#include "tests/support/bad-block.h"

#define SIZE (2 * 1024 * 1024)
#define SECTORS (SIZE / 512)

struct fixture {
  uint8_t *disk;
  struct manifest m;
  struct used_map used;
  struct report report;
};

static int
setup (void **state)
{
  struct fixture *f = calloc (1, sizeof *f);

  assert_non_null (f);
  f->disk = calloc (1, SIZE);
  assert_non_null (f->disk);
  *state = f;
  return 0;
}

static int
teardown (void **state)
{
  struct fixture *f = *state;

  manifest_destroy (&f->m);
  used_map_free (&f->used);
  report_free (&f->report);
  free (f->disk);
  free (f);
  return 0;
}

static void
put_entry (struct fixture *f, unsigned sector, unsigned i, uint8_t type,
           uint32_t start, uint32_t sectors)
{
  uint8_t *s = f->disk + sector * 512, *p = s + 446 + i * 16;

  p[4] = type;
  put_le32 (p + 8, start);
  put_le32 (p + 12, sectors);
  put_le16 (s + 510, 0xAA55);
}

/* A header of a GPT with one partition, from sector 100 to 199. */
static void
put_gpt (struct fixture *f, uint64_t lba, uint64_t other, uint64_t array)
{
  uint8_t *h = f->disk + lba * 512, *e = f->disk + array * 512;

  memset (e, 0x11, 32);
  put_le64 (e + 32, 100);
  put_le64 (e + 40, 199);
  memcpy (h, "EFI PART", 8);
  put_le32 (h + 8, 0x10000);
  put_le32 (h + 12, 92);
  put_le64 (h + 24, lba);
  put_le64 (h + 32, other);
  put_le64 (h + 40, 34);
  put_le64 (h + 48, SECTORS - 34);
  memset (h + 56, 0x22, 16);
  put_le64 (h + 72, array);
  put_le32 (h + 80, 128);
  put_le32 (h + 84, 128);
  put_le32 (h + 88, crc32_update (0, e, 128 * 128));
  put_le32 (h + 16, crc32_update (0, h, 92));
}

/* With `bad' of the disk unreadable. */
static void
survey (struct fixture *f, uint64_t bad)
{
  const struct nbi_range range = { bad, 512 };
  CLEANUP_BLOCK struct block *block =
    bad_block_new (f->disk, SIZE, &range, 1);
  const struct survey_options options = { .sector_size = 512 };
  struct err err = ERR_INIT;

  if (survey_disk (block, &options, &f->m, &f->used, &f->report, NULL, &err)
      < 0)
    fail_msg ("%s", err.msg);
}

static void
assert_warned (const struct fixture *f, const char *what)
{
  for (size_t i = 0; i < f->m.warnings.len; ++i)
    if (strstr (f->m.warnings.ptr[i], what))
      return;
  fail_msg ("no warning about ‘%s’", what);
}

/* Swap: of what looks like it only its head is used. */
static void
put_swap (uint8_t *p)
{
  put_le32 (p + 1024, 1);
  put_le32 (p + 1028, 100);
  memset (p + 1036, 0x33, 16);
  memcpy (p + 4086, "SWAPSPACE2", 10);
}

/* Without its first sector nobody knows what the disk is: all of it is used,
 * though what is behind looks like something of which not all is.
 */
static void
test_first_sector (void **state)
{
  struct fixture *f = *state;

  put_swap (f->disk);
  put_entry (f, 0, 0, 0x83, 100, 100);
  survey (f, 0);
  assert_int_equal (f->m.partitions.len, 0);
  assert_true (used_map_covers (&f->used, 0, SIZE));
  assert_warned (f, "partition table can't be read");
}

static void
test_logical_partitions (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0x0F, 100, 1000);
  put_entry (f, 100, 0, 0x83, 10, 90);
  survey (f, 100 * 512);
  assert_true (used_map_covers (&f->used, 0, SIZE));
  assert_warned (f, "partition table can't be read");
}

/* One copy of a GPT is enough; the other is left out of the manifest. */
static void
test_one_gpt (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0xEE, 1, SECTORS - 1);
  put_gpt (f, 1, SECTORS - 1, 2);
  put_gpt (f, SECTORS - 1, 1, SECTORS - 33);
  survey (f, SIZE - 512);
  assert_int_equal (f->m.partitions.len, 1);
  assert_int_equal (f->m.table_first_len, 34 * 512);
  assert_int_equal (f->m.table_last_len, 0);
  assert_warned (f, "not in the manifest");
}

static void
test_other_gpt (void **state)
{
  struct fixture *f = *state;

  put_entry (f, 0, 0, 0xEE, 1, SECTORS - 1);
  put_gpt (f, 1, SECTORS - 1, 2);
  put_gpt (f, SECTORS - 1, 1, SECTORS - 33);
  survey (f, 512);
  assert_int_equal (f->m.partitions.len, 1);
  assert_int_equal (f->m.table_first_len, 0);
  assert_int_equal (f->m.table_last_len, 33 * 512);
  assert_warned (f, "not in the manifest");
}

/* The MBR names a GPT, of which there is none any more: what was behind it may
 * be partitions, whatever the disk as a whole looks like.
 */
static void
test_lost_gpt (void **state)
{
  struct fixture *f = *state;

  put_swap (f->disk);
  put_entry (f, 0, 0, 0xEE, 1, SECTORS - 1);
  survey (f, SIZE);
  assert_int_equal (f->m.partitions.len, 0);
  assert_true (used_map_covers (&f->used, 0, SIZE));
  assert_warned (f, "no usable one");
}

/* It is what it looks like if nothing speaks against it. */
static void
test_no_table (void **state)
{
  struct fixture *f = *state;

  put_swap (f->disk);
  survey (f, SIZE);
  assert_false (used_map_covers (&f->used, 0, SIZE));
  assert_int_equal (f->m.warnings.len, 0);
}

#define T(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (test_first_sector),
    T (test_logical_partitions),
    T (test_one_gpt),
    T (test_other_gpt),
    T (test_lost_gpt),
    T (test_no_table),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
