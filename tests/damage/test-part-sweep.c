/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Every place of a partition table takes hostile values, with the sums of a
 * GPT made right again and not.  Whatever it says, no partition is outside the
 * disk; and where a sum tells that one copy of a GPT was changed, the
 * partitions are those of the other.
 *
 * The seed of what is random is printed; PART_TEST_SEED=N runs the same again.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/block/memory.h"
#include "lib/part/part.h"
#include "tests/damage/bad-part.h"
#include "tests/damage/hostile.h"
#include "tests/support/counted.h"

static unsigned nr_files;

/* Of the disk as it was. */
static struct part_table good;

static void
read_table (const struct damage_file *disk, struct part_table *table,
            struct report *report, const char *what)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct err err = ERR_INIT;

  nr_files++;
  assert_int_equal (block_memory_new ("sweep.img", disk->bytes, disk->len,
                                      &block, NULL), 0);
  if (part_read (block, 0, table, report, &err) < 0)
    fail_msg ("%s: %s", what, err.msg);
}

static void
check_table (const struct part_table *table, uint64_t size, const char *what)
{
  for (size_t i = 0; i < table->parts.len; ++i) {
    const struct partition *p = &table->parts.ptr[i];

    if (p->len == 0 || !range_fits (p->off, p->len, size))
      fail_msg ("%s: partition %u has %llu bytes at %llu", what, p->number,
                (unsigned long long) p->len, (unsigned long long) p->off);
    if (i > 0 && p->number <= table->parts.ptr[i - 1].number)
      fail_msg ("%s: partition %u comes behind partition %u", what,
                p->number, table->parts.ptr[i - 1].number);
  }
}

static void
check_same (const struct part_table *table, const char *what)
{
  if (table->scheme != good.scheme || table->parts.len != good.parts.len ||
      strcmp (table->id, good.id) != 0)
    fail_msg ("%s: another table", what);
  for (size_t i = 0; i < good.parts.len; ++i) {
    const struct partition *p = &table->parts.ptr[i];
    const struct partition *q = &good.parts.ptr[i];

    if (p->off != q->off || p->len != q->len || p->number != q->number ||
        strcmp (p->type, q->type) != 0 || strcmp (p->uuid, q->uuid) != 0)
      fail_msg ("%s: partition %u is another", what, p->number);
  }
}

static void
try_table (const struct damage_file *disk, bool same, const char *what)
{
  CLEANUP_PART_TABLE struct part_table table = { 0 };
  CLEANUP_REPORT struct report report = REPORT_INIT;

  read_table (disk, &table, &report, what);
  if (same)
    check_same (&table, what);
  else
    check_table (&table, disk->len, what);
}

static void
try_mbr (struct damage_file *disk, const struct hostile_structure *st,
         const char *what)
{
  (void) st;
  try_table (disk, false, what);
}

static void
try_gpt (struct damage_file *disk, const struct hostile_structure *st,
         const char *what)
{
  try_table (disk, st->tag != 0, what);
  if (st->tag) {
    bad_part_sum (disk);
    try_table (disk, false, what);
  }
}

static void
sweep (enum part_base base, const struct hostile_structure *structures,
       size_t nr, hostile_try *try, unsigned least)
{
  struct damage_file disk = bad_part_make_good (base);
  unsigned before = nr_files;

  read_table (&disk, &good, NULL, "the disk as it was");
  check_table (&good, disk.len, "the disk as it was");
  assert_true (good.parts.len > 0);
  for (size_t i = 0; i < nr; ++i)
    hostile_sweep (&disk, &structures[i], try);
  part_table_free (&good);
  memset (&good, 0, sizeof good);
  free (disk.bytes);
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= least);
}

#define NR(structures) (sizeof (structures) / sizeof (structures)[0])

static void
every_place_of_an_mbr_takes_hostile_values (void **state)
{
  static const struct hostile_structure structures[] = {
    { "boot record", 432, 80, false, 0 },
    { "first extended", BAD_PART_EBR_1 + 440, 72, false, 0 },
    { "second extended", BAD_PART_EBR_2 + 440, 72, false, 0 },
  };

  (void) state;
  sweep (MBR, structures, NR (structures), try_mbr, 3000);
}

/* tag: the sums tell. */
static void
every_place_of_a_gpt_takes_hostile_values (void **state)
{
  static const struct hostile_structure structures[] = {
    { "protective MBR", 432, 80, false, 0 },
    { "GPT", 512, 92, false, 1 },
    { "entries", 1024, 3 * 128, false, 1 },
    { "last entry", 1024 + 127 * 128, 128, false, 1 },
    { "backup GPT", BAD_PART_BACKUP, 92, false, 1 },
    { "backup entries", BAD_PART_BACKUP_ENTRIES, 2 * 128, false, 1 },
  };

  (void) state;
  sweep (GPT, structures, NR (structures), try_gpt, 10000);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_place_of_an_mbr_takes_hostile_values),
    cmocka_unit_test (every_place_of_a_gpt_takes_hostile_values),
  };

  uint64_t seed = hostile_seed ("PART_TEST_SEED");
  int nr_failed = cmocka_run_group_tests (tests, NULL, NULL);

  counted (nr_files, "broken files", (unsigned) nr_failed, seed);
  return nr_failed;
}
