/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Tables that are built are read back, by our own reader.
 * tests/cli/test-winbackup-*.sh compare them with those of sfdisk.
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
#include "lib/block/memory.h"
#include "lib/part/build.h"
#include "lib/part/part.h"

#define SECTORS 4096

static void
read_back (const void *disk, size_t size, uint32_t sector_size,
           struct part_table *table)
{
  struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  struct block *b;

  assert_int_equal (block_memory_new ("disk", disk, size, &b, &err), 0);
  assert_int_equal (part_read (b, sector_size, table, &report, &err), 0);
  for (size_t i = 0; i < report.lines.len; ++i)
    print_error ("%s\n", report.lines.ptr[i]);
  assert_int_equal (report.lines.len, 0);
  report_free (&report);
  block_unref (b);
}

static void
mbr_is_read_back (void **state)
{
  static const struct mbr_slot slots[PART_MBR_SLOTS] = {
    { 0x07, true, 63, 1000 }, { 0 }, { 0x27, false, 2000, 2096 }
  };
  uint8_t *disk = calloc (SECTORS, 512);
  struct part_table t;

  (void) state;
  assert_int_equal (mbr_build (disk, 0x8ae9dbe5, slots,
                               (struct mbr_geometry) { 0, 0 }, NULL), 0);
  read_back (disk, SECTORS * 512, 512, &t);
  assert_int_equal (t.scheme, PART_MBR);
  assert_string_equal (t.id, "0x8ae9dbe5");
  assert_int_equal (t.parts.len, 2);
  assert_int_equal (t.parts.ptr[0].number, 1);
  assert_int_equal (t.parts.ptr[0].off, 63 * 512);
  assert_int_equal (t.parts.ptr[0].len, 1000 * 512);
  assert_true (t.parts.ptr[0].bootable);
  assert_int_equal (t.parts.ptr[1].number, 3);
  assert_string_equal (t.parts.ptr[1].type, "0x27");
  assert_false (t.parts.ptr[1].bootable);
  part_table_free (&t);
  free (disk);
}

/* Sector 63 of 255 heads and 63 sectors is cylinder 0, head 1, sector 1; what
 * has no cylinder up to 1023 is said so.
 */
static void
mbr_counts_cylinders (void **state)
{
  static const struct mbr_slot slots[PART_MBR_SLOTS] = {
    { 0x07, false, 63, 63 }, { 0x07, false, 1023 * 255 * 63, 16065 + 1 },
    { 0x07, false, UINT32_MAX, UINT32_MAX },
  };
  static const uint8_t expected[][8] = {
    { 0x00, 0x01, 0x01, 0x00, 0x07, 0x01, 0x3f, 0x00 },
    { 0x00, 0x00, 0xc1, 0xff, 0x07, 0xfe, 0xff, 0xff },
    { 0x00, 0xfe, 0xff, 0xff, 0x07, 0xfe, 0xff, 0xff },
  };
  uint8_t mbr[512];

  (void) state;
  assert_int_equal (mbr_build (mbr, 1, slots,
                               (struct mbr_geometry) { 255, 63 }, NULL), 0);
  for (size_t i = 0; i < 3; ++i)
    assert_memory_equal (mbr + 446 + 16 * i, expected[i], 8);
  assert_int_equal (get_le16 (mbr + 510), 0xaa55);
}

static void
mbr_has_its_limits (void **state)
{
  static const struct mbr_slot bad[] = {
    { 0x07, false, 0, 1 }, { 0x07, false, 1, 0 },
    { 0x07, false, UINT64_C (1) << 32, 1 },
    { 0x07, false, 1, UINT64_C (1) << 32 },
  };
  uint8_t mbr[512];

  (void) state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    struct mbr_slot slots[PART_MBR_SLOTS] = { { 0 } };
    struct err err = ERR_INIT;

    slots[3] = bad[i];
    assert_int_equal (mbr_build (mbr, 1, slots,
                                 (struct mbr_geometry) { 0, 0 }, &err),
                      -EINVAL);
    assert_non_null (strstr (err.msg, "partition 4"));
  }
}

static void
gpt_is_read_back_from_either_copy (uint32_t ss)
{
  struct gpt_slot slots[3] = { { .type = { 1 }, .guid = { 2 }, .first = 64,
                                 .last = 99, .name = "Daten ä€😀" } };
  struct gpt_plan plan = { ss, SECTORS, { 0xab }, slots, 3 };
  uint8_t *disk = calloc (SECTORS, ss), *head, *tail;
  size_t head_size = gpt_head_size (ss), tail_size = gpt_tail_size (ss);
  struct part_table t;

  slots[2] = slots[0];
  slots[2].guid[0] = 3;
  slots[2].first = 100;
  slots[2].last = SECTORS - 1 - tail_size / ss;
  slots[2].attributes = 4;
  slots[2].name = NULL;
  assert_int_equal (gpt_build (&plan, &head, &tail, NULL), 0);
  memcpy (disk, head, head_size);
  memcpy (disk + SECTORS * ss - tail_size, tail, tail_size);
  read_back (disk, SECTORS * ss, ss, &t);
  assert_int_equal (t.scheme, PART_GPT);
  assert_int_equal (t.parts.len, 2);
  assert_string_equal (t.id, "000000ab-0000-0000-0000-000000000000");
  assert_int_equal (t.parts.ptr[0].off, 64 * ss);
  assert_int_equal (t.parts.ptr[0].len, 36 * ss);
  assert_string_equal (t.parts.ptr[0].name, "Daten ä€😀");
  assert_int_equal (t.parts.ptr[1].number, 3);
  assert_true (t.parts.ptr[1].bootable);
  assert_null (t.parts.ptr[1].name);
  part_table_free (&t);

  /* The backup alone says the same, with a warning. */
  memset (disk + ss, 0, head_size - ss);
  {
    struct report report = REPORT_INIT;
    struct block *b;

    assert_int_equal (block_memory_new ("disk", disk, SECTORS * ss, &b, NULL),
                      0);
    assert_int_equal (part_read (b, ss, &t, &report, NULL), 0);
    assert_int_equal (t.parts.len, 2);
    assert_int_equal (report.lines.len, 1);
    part_table_free (&t);
    report_free (&report);
    block_unref (b);
  }
  free (head);
  free (tail);
  free (disk);
}

static void
gpt_is_read_back_in_sectors_of_512_and_4096 (void **state)
{
  (void) state;
  gpt_is_read_back_from_either_copy (512);
  gpt_is_read_back_from_either_copy (4096);
}

static void
gpt_names_are_cut_at_a_character (void **state)
{
  struct gpt_slot slot = { .type = { 1 }, .guid = { 2 }, .first = 64,
    .last = 99, .name = "12345678901234567890123456789012345😀" };
  struct gpt_plan plan = { 512, SECTORS, { 1 }, &slot, 1 };
  uint8_t *head, *tail;

  (void) state;
  assert_int_equal (gpt_build (&plan, &head, &tail, NULL), 0);
  assert_int_equal (get_le16 (head + 1024 + 56 + 68), '5');
  assert_int_equal (get_le16 (head + 1024 + 56 + 70), 0);
  free (head);
  free (tail);
}

static void
gpt_has_its_limits (void **state)
{
  static const struct { uint64_t first, last; } bad[] = {
    { 33, 99 }, { 34, SECTORS - 33 }, { 99, 98 },
  };
  struct gpt_slot slot = { .type = { 1 }, .guid = { 2 }, .first = 34,
                           .last = SECTORS - 34 };
  struct gpt_plan plan = { 512, SECTORS, { 1 }, &slot, 1 };
  uint8_t *head = NULL, *tail = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (gpt_build (&plan, &head, &tail, NULL), 0);
  free (head);
  free (tail);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    slot.first = bad[i].first;
    slot.last = bad[i].last;
    assert_int_equal (gpt_build (&plan, &head, &tail, &err), -EINVAL);
    assert_non_null (strstr (err.msg, "partition 1, sectors"));
  }
  plan.nr_slots = GPT_ENTRIES + 1;
  assert_int_equal (gpt_build (&plan, &head, &tail, &err), -EINVAL);
  plan.nr_slots = 0;
  plan.sectors = 67;
  assert_int_equal (gpt_build (&plan, &head, &tail, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "no room"));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (mbr_is_read_back),
    cmocka_unit_test (mbr_counts_cylinders),
    cmocka_unit_test (mbr_has_its_limits),
    cmocka_unit_test (gpt_is_read_back_in_sectors_of_512_and_4096),
    cmocka_unit_test (gpt_names_are_cut_at_a_character),
    cmocka_unit_test (gpt_has_its_limits),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
