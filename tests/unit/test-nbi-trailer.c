/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The trailer of a backup image, rule by rule (docs/NBI.md §10). */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/repo/nbi-trailer.h"
#include "tests/support/nbi.h"
#include "tests/support/nbi-rows.h"

#define FILE_SIZE (END + 12288)

/* 9000 ordinals take one sheet of the directory. */
static struct nbi_trailer
example_trailer (void)
{
  return (struct nbi_trailer) {
    .size = FILE_SIZE, .nr_ordinals = 9000, .nr_records = 8999,
    .stored = 123456, .directory = 0x10000, .root = 0x11000, .files = 0x12000,
    .nr_files = 101, .ranges = 0x14000, .nr_ranges = 253,
    .manifest = { .off = 0x16000, .ordinal = NBI_NONE, .stored = 500,
                  .plain = 500, .kind = NBI_MANIFEST, .identity = HASH },
  };
}

static const struct {
  uint16_t off, len;
  const char *bytes;
} golden_trailer[] = {
  { 0, 8, "\x89NBT\r\n\x1a\n" },
  { 8, 8, "\xe2\x41\x6b\xb3\xc5\x9f\x50\x9a" },
  { 16, 8, "\x00\x30\x10\0\0\0\0\0" },
  { 24, 4, "\x28\x23\0\0" },
  { 28, 4, "\x27\x23\0\0" },
  { 32, 8, "\x40\xe2\x01\0\0\0\0\0" },
  { 40, 8, "\x00\x00\x01\0\0\0\0\0" },
  { 48, 8, "\x00\x10\x01\0\0\0\0\0" },
  { 56, 8, "\x00\x20\x01\0\0\0\0\0" },
  { 64, 4, "\x65\0\0\0" },
  { 72, 8, "\x00\x40\x01\0\0\0\0\0" },
  { 80, 4, "\xfd\0\0\0" },
  { 84, 4, "\x02\0\0\0" },
  { 88, 16, "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e"
            "\x1f" },
  { 104, 16, "\x40\x41\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e"
             "\x4f" },
  { 128, 8, "\x00\x60\x01\0\0\0\0\0" },
  { 136, 8, "\xf4\x01\0\0\xf4\x01\0\0" },
  { 144, 1, "\x03" },
  { 160, 32, HASH },
  { 4092, 4, "\xb5\xb5\xba\x7a" },
};

static void
trailer_is_the_bytes_of_the_document (void **state)
{
  const struct nbi_header h = example_header ();
  const struct nbi_trailer t = example_trailer ();
  uint8_t buf[NBI_TRAILER_SIZE], expected[NBI_TRAILER_SIZE] = { 0 };
  struct nbi_trailer back;

  (void) state;
  assert_int_equal (NBI_TAIL_SIZE, 12288);
  assert_int_equal (NBI_MIN_SIZE, 16384);
  for (size_t i = 0; i < NR (golden_trailer); ++i)
    memcpy (expected + golden_trailer[i].off, golden_trailer[i].bytes,
            golden_trailer[i].len);
  nbi_trailer_encode (&t, &h, buf);
  assert_memory_equal (buf, expected, sizeof buf);
  assert_int_equal (nbi_trailer_decode (expected, &h, FILE_SIZE, &back, NULL),
                    0);
  assert_int_equal (back.nr_ordinals, 9000);
  assert_int_equal (back.ranges, 0x14000);
  assert_int_equal (back.manifest.off, 0x16000);
  assert_int_equal (back.manifest.ordinal, NBI_NONE);
}

static const struct row broken_trailer[] = {
  { "NBI-1", -EBADMSG, 68, 1, 1 },
  { "NBI-1", -EBADMSG, 71, 1, 1 },
  { "NBI-1", -EBADMSG, 120, 1, 1 },
  { "NBI-1", -EBADMSG, 127, 1, 1 },
  { "NBI-1", -EBADMSG, 224, 1, 1 },
  { "NBI-1", -EBADMSG, 4091, 1, 1 },
  { "NBI-100", -EBADMSG, 3, 1, 'I' },
  { "NBI-101", -EBADMSG, 8, 1, 0 },
  { "NBI-102", -EBADMSG, 16, 8, FILE_SIZE + 4096 },
  { "NBI-103", -EBADMSG, 28, 4, 9001 },
  /* Offsets of the directory, the root, the files, the ranges. */
  { "NBI-104", -EBADMSG, 40, 8, 0x10001 },
  { "NBI-104", -EBADMSG, 40, 8, 64 },
  { "NBI-104", -EBADMSG, 40, 8, END },
  { "NBI-104", -EBADMSG, 40, 8, UINT64_C (0xfffffffffffff000) },
  { "NBI-104", -EBADMSG, 48, 8, 0x11800 },
  { "NBI-104", -EBADMSG, 48, 8, END },
  { "NBI-104", -EBADMSG, 56, 8, 0x12040 },
  { "NBI-104", -EBADMSG, 56, 8, END - 4096 },
  { "NBI-104", -EBADMSG, 72, 8, 0x14200 },
  { "NBI-104", -EBADMSG, 72, 8, END - 4096 },
  { "NBI-105", -EBADMSG, 40, 8, 0 },
  { "NBI-105", -EBADMSG, 24, 8, 0 },
  { "NBI-105", -EBADMSG, 56, 8, 0 },
  { "NBI-105", -EBADMSG, 64, 4, 0 },
  { "NBI-105", -EBADMSG, 72, 8, 0 },
  { "NBI-105", -EBADMSG, 80, 4, 0 },
  { "NBI-106", -EBADMSG, 48, 8, 0 },
  { "NBI-107", -EBADMSG, 48, 8, 0x10000 },
  { "NBI-107", -EBADMSG, 40, 8, 0x13000 },
  { "NBI-107", -EBADMSG, 72, 8, 0x11000 },
  { "NBI-107", -EBADMSG, 72, 8, 0x15000 },
  { "NBI-107", -EBADMSG, 128, 8, 0x15fc0 },
  { "NBI-108", -EBADMSG, 64, 4, (1U << 20) + 1 },
  { "NBI-109", -EBADMSG, 128, 8, 0 },
  { "NBI-109", -EBADMSG, 128, 8, 0x16001 },
  { "NBI-109", -EBADMSG, 128, 8, END - 64 },
  { "NBI-109", -EBADMSG, 136, 4, 501 },
  { "NBI-109", -EBADMSG, 144, 1, 1 },
  { "NBI-109", -ENOTSUP, 144, 1, 4 },
  { "NBI-109", -ENOTSUP, 145, 1, 3 },
  { "NBI-109", -EBADMSG, 148, 4, 1 },
  { "NBI-110", -EBADMSG, 84, 4, 1 },
  { "NBI-110", -EBADMSG, 88, 1, 0 },
  { "NBI-110", -EBADMSG, 103, 1, 0 },
  { "NBI-110", -EBADMSG, 104, 1, 0 },
  { "NBI-110", -EBADMSG, 119, 1, 0 },
  { "NBI-111", -EBADMSG, 192, 1, 1 },
  { "NBI-111", -EBADMSG, 223, 1, 1 },
};

static void
each_rule_refuses_a_trailer (void **state)
{
  const struct nbi_header h = example_header ();
  const struct nbi_trailer t = example_trailer ();

  (void) state;
  for (size_t i = 0; i < NR (broken_trailer); ++i) {
    const struct row *row = &broken_trailer[i];
    uint8_t buf[NBI_TRAILER_SIZE];
    struct nbi_trailer out;
    struct err err = ERR_INIT;
    int r;

    nbi_trailer_encode (&t, &h, buf);
    patch (buf, row->off, row->len, row->value);
    fix_crc (buf, sizeof buf);
    r = nbi_trailer_decode (buf, &h, FILE_SIZE, &out, &err);
    assert_refused (r, &err, row->code, row->rule);
  }
}

static void
try_trailer (const struct nbi_trailer *t, uint64_t size, const char *rule)
{
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_TRAILER_SIZE];
  struct nbi_trailer out;
  struct err err = ERR_INIT;
  int r;

  nbi_trailer_encode (t, &h, buf);
  r = nbi_trailer_decode (buf, &h, size, &out, &err);
  if (rule)
    assert_refused (r, &err, -EBADMSG, rule);
  else if (r < 0)
    fail_msg ("%s", err.msg);
}

static void
sizes_of_files_are_checked (void **state)
{
  struct nbi_trailer t = { .size = 16384 };

  (void) state;
  try_trailer (&t, 16384, NULL);
  try_trailer (&t, 16383, "NBI-100");
  try_trailer (&t, 12288, "NBI-100");
  try_trailer (&t, 0, "NBI-100");
  try_trailer (&t, 20480, "NBI-102");
  t.size = 16384 + 512;
  try_trailer (&t, t.size, "NBI-102");
  t.size = (UINT64_C (1) << 62) - 4096;
  try_trailer (&t, t.size, NULL);
  t.size = UINT64_C (1) << 62;
  try_trailer (&t, t.size, "NBI-102");
}

static void
generation_is_whole_or_not_there (void **state)
{
  struct nbi_trailer t = example_trailer ();

  (void) state;
  t.root = 0;
  try_trailer (&t, FILE_SIZE, "NBI-106");
  t.manifest.off = 0;
  try_trailer (&t, FILE_SIZE, "NBI-106");
  t.files = t.nr_files = 0;
  try_trailer (&t, FILE_SIZE, "NBI-106");
  t.ranges = t.nr_ranges = 0;
  try_trailer (&t, FILE_SIZE, NULL);
  t.root = 0x11000;
  try_trailer (&t, FILE_SIZE, "NBI-106");
  t = example_trailer ();
  t.ranges = t.nr_ranges = 0;
  try_trailer (&t, FILE_SIZE, NULL);
  t.files = t.nr_files = 0;
  try_trailer (&t, FILE_SIZE, NULL);
  t.manifest.off = 0;
  try_trailer (&t, FILE_SIZE, "NBI-106");
}

static void
trailer_with_a_changed_bit_is_refused (void **state)
{
  const struct nbi_header h = example_header ();
  const struct nbi_trailer t = example_trailer ();
  uint8_t buf[NBI_TRAILER_SIZE];
  struct nbi_trailer out;

  (void) state;
  nbi_trailer_encode (&t, &h, buf);
  assert_true (nbi_trailer_is_whole (buf));
  for (unsigned bit = 0; bit < NBI_TRAILER_SIZE * 8; bit += 3) {
    struct err err = ERR_INIT;
    int r;

    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
    assert_false (nbi_trailer_is_whole (buf));
    r = nbi_trailer_decode (buf, &h, FILE_SIZE, &out, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-100");
    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
  }
}

static void
features_that_may_be_ignored_are_no_matter_in_a_trailer (void **state)
{
  static const uint16_t offs[] = { 68, 120, 224, 4000 };
  struct nbi_header h = example_header ();
  const struct nbi_trailer t = example_trailer ();

  (void) state;
  h.ignore = 1;
  for (size_t i = 0; i < NR (offs); ++i) {
    uint8_t buf[NBI_TRAILER_SIZE];
    struct nbi_trailer out;

    nbi_trailer_encode (&t, &h, buf);
    buf[offs[i]] = 1;
    fix_crc (buf, sizeof buf);
    assert_int_equal (nbi_trailer_decode (buf, &h, FILE_SIZE, &out, NULL), 0);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (trailer_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_trailer),
    cmocka_unit_test (sizes_of_files_are_checked),
    cmocka_unit_test (generation_is_whole_or_not_there),
    cmocka_unit_test (trailer_with_a_changed_bit_is_refused),
    cmocka_unit_test (features_that_may_be_ignored_are_no_matter_in_a_trailer),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
