/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What goes where; which partitions fit; the table for a larger disk. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/block/memory.h"
#include "lib/part/build.h"
#include "lib/restore/plan.h"

#define MB (UINT64_C (1) << 20)

/*--- What is typed ----------------------------------------------------------*/

static void
choices_are_parsed (void **state)
{
  static const struct { const char *text; int n; unsigned from, to; } good[] = {
    { "2", 1, 2, 2 }, { "2:3", 1, 2, 3 }, { "1,2:5", 2, 1, 1 },
    { "100000:1", 1, 100000, 1 },
  };
  static const char *const bad[] = {
    "", "0", "2:", ":3", "2:0", "a", "1,", "1,,2", "1 2", "1:2:3", "-1", "+1",
    "1,2:1", "3,3", "100001", "99999999999999999999",
  };

  (void) state;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i) {
    struct restore_choices c;

    assert_int_equal (restore_choices_parse (good[i].text, &c, NULL), 0);
    assert_int_equal (c.len, good[i].n);
    assert_int_equal (c.ptr[0].from, good[i].from);
    assert_int_equal (c.ptr[0].to, good[i].to);
    vector_free (&c);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    struct restore_choices c;

    if (restore_choices_parse (bad[i], &c, NULL) != -EINVAL)
      fail_msg ("‘%s’ was taken", bad[i]);
  }
}

/*--- Disks ------------------------------------------------------------------*/

static const struct gpt_slot slots[] = {
  { .type = { 0xaf, 0x3d, 0xc6, 0x0f }, .guid = { 1 }, .name = "one" },
  { .type = { 0xa2, 0xa0, 0xd0, 0xeb }, .guid = { 2 }, .name = "two",
    .attributes = UINT64_C (1) << 63 },
};

/* Partition 1 at 1 MiB, of 2 MiB; 2 behind it, up to end (bytes). */
static struct block *
new_gpt (uint64_t size, uint32_t ss, uint64_t end)
{
  struct gpt_slot mine[2] = { slots[0], slots[1] };
  const struct gpt_plan plan = {
    .sector_size = ss, .sectors = size / ss, .guid = { 9, 8, 7 },
    .slots = mine, .nr_slots = 2,
  };
  uint8_t *head, *tail;
  struct block *disk;
  struct err err = ERR_INIT;

  mine[0].first = MB / ss;
  mine[0].last = 3 * MB / ss - 1;
  mine[1].first = 3 * MB / ss;
  mine[1].last = end / ss - 1;
  if (gpt_build (&plan, &head, &tail, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (block_memory_new ("disk", NULL, size, &disk, NULL), 0);
  assert_int_equal (block_pwrite (disk, head, gpt_head_size (ss), 0, 0, NULL),
                    0);
  assert_int_equal (block_pwrite (disk, tail, gpt_tail_size (ss),
                                  size - gpt_tail_size (ss), 0, NULL), 0);
  assert_int_equal (block_pwrite (disk, "boot", 4, 0, 0, NULL), 0);
  free (head);
  free (tail);
  return disk;
}

static void
flip (struct block *disk, uint64_t off)
{
  uint8_t byte;

  assert_int_equal (block_pread (disk, &byte, 1, off, NULL), 0);
  byte ^= 1;
  assert_int_equal (block_pwrite (disk, &byte, 1, off, 0, NULL), 0);
}

/* The larger disk, as the patches make it. */
static struct block *
larger (struct block *disk, uint64_t size, const struct part_patches *patches)
{
  const struct restore_part part = {
    .disk = disk, .len = block_size (disk), .size = size, .patches = patches,
  };
  uint8_t *bytes = malloc (size);
  struct block *source, *made;

  assert_int_equal (restore_source_new (&part, &source, NULL), 0);
  assert_int_equal (block_pread (source, bytes, size, 0, NULL), 0);
  assert_int_equal (block_memory_new ("larger", bytes, size, &made, NULL), 0);
  free (bytes);
  block_unref (source);
  return made;
}

static void
assert_same_table (struct block *a, struct block *b, uint32_t ss)
{
  struct part_table ta = { .scheme = PART_NONE }, tb = { .scheme = PART_NONE };
  struct report report = REPORT_INIT;

  assert_int_equal (part_read (a, ss, &ta, NULL, NULL), 0);
  assert_int_equal (part_read (b, ss, &tb, &report, NULL), 0);
  if (report.lines.len > 0)
    fail_msg ("%s", report.lines.ptr[0]);
  assert_int_equal (tb.scheme, PART_GPT);
  assert_string_equal (ta.id, tb.id);
  assert_int_equal (tb.parts.len, 2);
  for (size_t i = 0; i < 2; ++i) {
    assert_int_equal (ta.parts.ptr[i].off, tb.parts.ptr[i].off);
    assert_int_equal (ta.parts.ptr[i].len, tb.parts.ptr[i].len);
    assert_string_equal (ta.parts.ptr[i].uuid, tb.parts.ptr[i].uuid);
    assert_string_equal (ta.parts.ptr[i].name, tb.parts.ptr[i].name);
  }
  part_table_free (&ta);
  part_table_free (&tb);
  report_free (&report);
}

static uint32_t
protected_sectors (struct block *disk)
{
  uint8_t mbr[512];

  assert_int_equal (block_pread (disk, mbr, 512, 0, NULL), 0);
  assert_memory_equal (mbr, "boot", 4);
  return get_le32 (mbr + 446 + 12);
}

static void
assert_zeros (struct block *disk, uint64_t off, uint64_t len)
{
  uint8_t *bytes = malloc (len);

  assert_int_equal (block_pread (disk, bytes, len, off, NULL), 0);
  for (uint64_t i = 0; i < len; ++i)
    assert_int_equal (bytes[i], 0);
  free (bytes);
}

/* Which copy is damaged on the image: neither, the first, the second. */
static void
the_second_copy_moves_to_the_end (void **state)
{
  static const uint32_t sizes[] = { 512, 4096 };

  (void) state;
  for (unsigned i = 0; i < 6; ++i) {
    uint32_t ss = sizes[i % 2];
    uint64_t size = 8 * MB;
    struct block *disk = new_gpt (size, ss, 7 * MB), *made;
    struct part_patches patches = VECTOR_INIT;
    struct err err = ERR_INIT;

    if (i / 2 == 1)
      flip (disk, ss + 57);
    if (i / 2 == 2)
      flip (disk, size - ss + 57);
    for (unsigned k = 0; k < 3; ++k) {
      static const uint64_t more[] = { 12 * MB, MB / 2, 4096 };

      if (gpt_move_end (disk, ss, size + more[k], &patches, &err) < 0)
        fail_msg ("%s", err.msg);
      made = larger (disk, size + more[k], &patches);
      assert_same_table (disk, made, ss);
      assert_int_equal (protected_sectors (made), (size + more[k]) / ss - 1);
      if (more[k] > MB / 4)
        assert_zeros (made, size - gpt_tail_size (ss), gpt_tail_size (ss));
      block_unref (made);
      part_patches_free (&patches);
    }
    block_unref (disk);
  }
}

static void
without_a_good_copy_there_is_nothing_to_move (void **state)
{
  struct block *disk = new_gpt (8 * MB, 512, 7 * MB);
  struct part_patches patches = VECTOR_INIT;

  (void) state;
  flip (disk, 512 + 57);
  flip (disk, 8 * MB - 512 + 57);
  assert_int_equal (gpt_move_end (disk, 512, 9 * MB, &patches, NULL),
                    -ENOENT);
  block_unref (disk);
}

/* An MBR that a person made: the entry that protects the GPT ends early, and
 * stays so.
 */
static void
a_hybrid_mbr_stays_as_it_is (void **state)
{
  struct block *disk = new_gpt (8 * MB, 512, 7 * MB), *made;
  struct part_patches patches = VECTOR_INIT;
  uint8_t sectors[4];

  (void) state;
  put_le32 (sectors, 2047);
  assert_int_equal (block_pwrite (disk, sectors, 4, 446 + 12, 0, NULL), 0);
  assert_int_equal (gpt_move_end (disk, 512, 9 * MB, &patches, NULL), 0);
  made = larger (disk, 9 * MB, &patches);
  assert_int_equal (protected_sectors (made), 2047);
  block_unref (made);
  part_patches_free (&patches);
  block_unref (disk);
}

/*--- Plans ------------------------------------------------------------------*/

struct known {
  struct block *block;
  struct restore_contents contents;
  struct restore_disk disk;
};

static void
know (struct known *k, struct block *block)
{
  struct err err = ERR_INIT;

  k->block = block;
  if (restore_contents_look (block, 512, &k->contents, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  k->disk = (struct restore_disk) {
    .block = block, .size = block_size (block), .sector_size = 512,
    .contents = &k->contents, .is_device = true,
  };
}

static void
forget (struct known *k)
{
  restore_contents_free (&k->contents);
  block_unref (k->block);
}

static struct block *
new_empty (uint64_t size)
{
  struct block *block;

  assert_int_equal (block_memory_new ("empty", NULL, size, &block, NULL), 0);
  return block;
}

/* 0, or what is wrong. */
static int
make (const struct known *from, const struct known *to, const char *choices,
      struct restore_plan *plan, struct err *err)
{
  struct restore_choices list = VECTOR_INIT;
  int r;

  if (choices)
    assert_int_equal (restore_choices_parse (choices, &list, NULL), 0);
  r = restore_plan_make (&from->disk, &to->disk, &list, plan, NULL, err);
  vector_free (&list);
  return r;
}

static void
contents_are_told (void **state)
{
  struct known gpt, empty;
  struct block *junk = new_empty (4 * MB);

  (void) state;
  know (&gpt, new_gpt (8 * MB, 512, 7 * MB));
  assert_string_equal (gpt.contents.text, "a GPT with 2 partitions: nothing "
                       "known, nothing known");
  assert_false (gpt.contents.is_empty);
  forget (&gpt);
  know (&empty, new_empty (4 * MB));
  assert_string_equal (empty.contents.text, "nothing");
  assert_true (empty.contents.is_empty);
  forget (&empty);
  assert_int_equal (block_pwrite (junk, "x", 1, 4 * MB - 5, 0, NULL), 0);
  know (&empty, junk);
  assert_string_equal (empty.contents.text, "something that is not known");
  assert_false (empty.contents.is_empty);
  forget (&empty);
}

static void
a_disk_goes_to_one_as_large_or_larger (void **state)
{
  struct known from, same, more, less;
  struct restore_plan plan;
  struct err err = ERR_INIT;

  (void) state;
  know (&from, new_gpt (8 * MB, 512, 7 * MB));
  know (&same, new_empty (8 * MB));
  know (&more, new_empty (20 * MB));
  know (&less, new_empty (8 * MB - 512));
  assert_int_equal (make (&from, &same, NULL, &plan, &err), 0);
  assert_int_equal (plan.steps.len, 1);
  assert_int_equal (plan.patches.len, 0);
  restore_plan_free (&plan);
  assert_int_equal (make (&from, &more, NULL, &plan, &err), 0);
  assert_int_equal (plan.steps.ptr[0].size, 20 * MB);
  assert_int_equal (plan.patches.len, 5);
  restore_plan_free (&plan);
  assert_int_equal (make (&from, &less, NULL, &plan, &err), -ENOSPC);
  assert_non_null (strstr (err.msg, "8388096 bytes"));
  assert_non_null (strstr (err.msg, "8388608 bytes"));
  assert_non_null (strstr (err.msg, "512 bytes are missing"));
  forget (&from);
  forget (&same);
  forget (&more);
  forget (&less);
}

static void
a_disk_does_not_go_into_a_partition_nor_other_sectors (void **state)
{
  struct known from, to;
  struct restore_plan plan;
  struct err err = ERR_INIT;

  (void) state;
  know (&from, new_gpt (8 * MB, 512, 7 * MB));
  know (&to, new_empty (20 * MB));
  to.disk.partition = 3;
  assert_int_equal (make (&from, &to, NULL, &plan, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "is partition 3 of a disk"));
  to.disk.partition = 0;
  to.disk.sector_size = 4096;
  assert_int_equal (make (&from, &to, NULL, &plan, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "sectors of 4096 bytes"));
  to.disk.sector_size = 0;
  assert_int_equal (make (&from, &to, NULL, &plan, &err), 0);
  restore_plan_free (&plan);

  /* A CD is as it is, and gets on with smaller sectors. */
  from.disk.is_optical = true;
  assert_int_equal (make (&from, &to, NULL, &plan, &err), 0);
  assert_int_equal (plan.patches.len, 0);
  restore_plan_free (&plan);
  forget (&from);
  know (&from, new_empty (8 * MB));
  from.disk.sector_size = 2048;
  to.disk.sector_size = 512;
  assert_int_equal (make (&from, &to, NULL, &plan, &err), 0);
  restore_plan_free (&plan);
  to.disk.sector_size = 4096;
  assert_int_equal (make (&from, &to, NULL, &plan, &err), -ENOTSUP);
  forget (&from);
  forget (&to);
}

static void
partitions_go_to_partitions (void **state)
{
  static const struct { const char *choices; int code; const char *says; }
  rows[] = {
    { "1", 0, NULL }, { "1:2", 0, NULL }, { "1:2,2:1", -ENOSPC,
      "partition 1 has 2 MiB (2097152 bytes), and partition 2 of the image has "
      "4 MiB" },
    { "2", 0, NULL }, { "1,2", 0, NULL },
    { "3", -EINVAL, "the image has no partition 3" },
    { "1:3", -EINVAL, "has no partition 3" },
  };
  struct known from, to, empty;
  struct restore_plan plan;
  struct err err = ERR_INIT;

  (void) state;
  know (&from, new_gpt (8 * MB, 512, 7 * MB));
  know (&to, new_gpt (20 * MB, 512, 19 * MB));
  know (&empty, new_empty (20 * MB));
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    int r = make (&from, &to, rows[i].choices, &plan, &err);

    if (r != rows[i].code || (r < 0 && !strstr (err.msg, rows[i].says)))
      fail_msg ("%s: %d, %s", rows[i].choices, r, r < 0 ? err.msg : "");
    if (r == 0)
      restore_plan_free (&plan);
  }
  assert_int_equal (make (&from, &to, "1:2", &plan, &err), 0);
  assert_int_equal (plan.steps.ptr[0].from_off, MB);
  assert_int_equal (plan.steps.ptr[0].to_off, 3 * MB);
  assert_int_equal (plan.steps.ptr[0].len, 2 * MB);
  assert_int_equal (plan.steps.ptr[0].size, 16 * MB);
  assert_int_equal (plan.patches.len, 0);
  restore_plan_free (&plan);

  assert_int_equal (make (&from, &empty, "1", &plan, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "has no partition table"));
  empty.disk.partition = 5;     /* but one that is a partition takes one */
  assert_int_equal (make (&from, &empty, "2", &plan, &err), 0);
  assert_int_equal (plan.steps.ptr[0].to, 0);
  assert_int_equal (plan.steps.ptr[0].size, 20 * MB);
  restore_plan_free (&plan);
  assert_int_equal (make (&empty, &to, "1", &plan, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "the image has no partitions"));
  forget (&from);
  forget (&to);
  forget (&empty);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (choices_are_parsed),
    cmocka_unit_test (the_second_copy_moves_to_the_end),
    cmocka_unit_test (without_a_good_copy_there_is_nothing_to_move),
    cmocka_unit_test (a_hybrid_mbr_stays_as_it_is),
    cmocka_unit_test (contents_are_told),
    cmocka_unit_test (a_disk_goes_to_one_as_large_or_larger),
    cmocka_unit_test (a_disk_does_not_go_into_a_partition_nor_other_sectors),
    cmocka_unit_test (partitions_go_to_partitions),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
