/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sheets of a backup image, and the entries of its other tables than that of
 * the chunks, rule by rule (docs/NBI.md §6 to §8).
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/repo/nbi-sheet.h"
#include "tests/support/nbi.h"
#include "tests/support/nbi-rows.h"

/*--- Sheets -----------------------------------------------------------------*/

static const struct nbi_sheet root_sheet = {
  .salt = UINT64_C (0x9a509fc5b36b41e2), .nonce = { 0x40, 0x41, 0x42, 0x43 },
  .off = 0x3000, .number = 2, .count = 3, .table = NBI_TABLE_ROOT,
};

static void
make_sheet (uint8_t buf[NBI_SHEET_SIZE])
{
  memset (buf, 0, NBI_SHEET_SIZE);
  for (unsigned i = 0; i < 3 * NBI_ROOT_SIZE; ++i)
    buf[NBI_SHEET_HEADER + i] = (uint8_t) (i + 1);
  nbi_sheet_seal (&root_sheet, buf);
}

static void
sheet_is_the_bytes_of_the_document (void **state)
{
  static const uint8_t expected[NBI_SHEET_HEADER] = {
    'N', 'B', 'I', 's', 3, 0, 3, 0,
    0xe2, 0x41, 0x6b, 0xb3, 0xc5, 0x9f, 0x50, 0x9a,
    0x00, 0x30, 0, 0, 0, 0, 0, 0,
    2, 0, 0, 0, 0x40, 0x41, 0x42, 0x43,
    [60] = 0x8f, 0x4b, 0x5d, 0x97,
  };
  uint8_t buf[NBI_SHEET_SIZE];

  (void) state;
  make_sheet (buf);
  assert_memory_equal (buf, expected, sizeof expected);
  assert_int_equal (buf[64], 1);
  assert_int_equal (buf[183], 120);
  assert_int_equal (buf[184], 0);
  assert_int_equal (nbi_sheet_check (buf, &root_sheet, NULL), 0);
}

static void
tables_have_the_sizes_of_the_document (void **state)
{
  static const struct {
    enum nbi_table table;
    unsigned entry, in_sheet;
  } rows[] = {
    { NBI_TABLE_CHUNKS, 64, 63 }, { NBI_TABLE_DIRECTORY, 24, 168 },
    { NBI_TABLE_ROOT, 40, 100 }, { NBI_TABLE_FILES, 40, 100 },
    { NBI_TABLE_RANGES, 16, 252 },
  };

  (void) state;
  for (size_t i = 0; i < NR (rows); ++i) {
    enum nbi_table t = rows[i].table;
    unsigned full = rows[i].in_sheet;

    assert_int_equal (t, i + 1);
    assert_int_equal (nbi_entry_size (t), rows[i].entry);
    assert_int_equal (nbi_sheet_entries (t), full);
    assert_int_equal (nbi_nr_sheets (t, 0), 0);
    assert_int_equal (nbi_nr_sheets (t, full), 1);
    assert_int_equal (nbi_nr_sheets (t, full + 1), 2);
    assert_int_equal (nbi_sheet_count (t, full + 1, 0), full);
    assert_int_equal (nbi_sheet_count (t, full + 1, 1), 1);
    assert_int_equal (nbi_sheet_count (t, 2 * full, 1), full);
    assert_int_equal (nbi_sheet_count (t, UINT32_MAX, 0), full);
  }
}

/* The checksum of a sheet is inside it. */
static void
fix_sheet (uint8_t *buf)
{
  put_le32 (buf + 60, 0);
  put_le32 (buf + 60, crc32c_update (0, buf, NBI_SHEET_SIZE));
}

static const struct row broken_sheet[] = {
  { "NBI-1", -EBADMSG, 5, 1, 1 },
  { "NBI-1", -EBADMSG, 32, 1, 1 },
  { "NBI-1", -EBADMSG, 47, 1, 1 },
  { "NBI-1", -EBADMSG, 48, 1, 1 },
  { "NBI-1", -EBADMSG, 59, 1, 1 },
  { "NBI-50", -EBADMSG, 3, 1, 'r' },
  { "NBI-51", -EBADMSG, 8, 1, 0 },
  { "NBI-51", -EBADMSG, 15, 1, 0 },
  { "NBI-51", -EBADMSG, 28, 1, 0 },
  { "NBI-51", -EBADMSG, 31, 1, 0 },
  { "NBI-52", -EBADMSG, 16, 8, 0x4000 },
  { "NBI-53", -EBADMSG, 4, 1, 4 },
  { "NBI-53", -EBADMSG, 4, 1, 0 },
  { "NBI-53", -EBADMSG, 24, 4, 1 },
  { "NBI-54", -EBADMSG, 6, 2, 2 },
  { "NBI-54", -EBADMSG, 6, 2, 4 },
  { "NBI-54", -EBADMSG, 6, 2, 0xffff },
  { "NBI-56", -EBADMSG, 184, 1, 1 },
  { "NBI-56", -EBADMSG, 4095, 1, 1 },
};

static void
each_rule_refuses_a_sheet (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR (broken_sheet); ++i) {
    uint8_t buf[NBI_SHEET_SIZE];
    struct err err = ERR_INIT;
    int r;

    make_sheet (buf);
    patch (buf, broken_sheet[i].off, broken_sheet[i].len,
           broken_sheet[i].value);
    fix_sheet (buf);
    r = nbi_sheet_check (buf, &root_sheet, &err);
    assert_refused (r, &err, broken_sheet[i].code, broken_sheet[i].rule);
  }
}

static void
every_changed_bit_of_a_sheet_is_found (void **state)
{
  uint8_t buf[NBI_SHEET_SIZE];

  (void) state;
  make_sheet (buf);
  for (unsigned bit = 0; bit < NBI_SHEET_SIZE * 8; bit += 3) {
    struct err err = ERR_INIT;
    int r;

    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
    r = nbi_sheet_check (buf, &root_sheet, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-50");
    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
  }
}

static void
full_sheet_has_no_room_behind_its_entries (void **state)
{
  struct nbi_sheet sheet = root_sheet;
  uint8_t buf[NBI_SHEET_SIZE];

  (void) state;
  sheet.table = NBI_TABLE_CHUNKS;
  sheet.count = 63;
  memset (buf, 0xff, sizeof buf);
  nbi_sheet_seal (&sheet, buf);
  assert_int_equal (nbi_sheet_check (buf, &sheet, NULL), 0);
}

static void
encrypted_sheet_has_a_tag_and_bytes_everywhere (void **state)
{
  uint8_t buf[NBI_SHEET_SIZE], tag[NBI_TAG_SIZE];
  uint8_t body[NBI_SHEET_BODY] = { 0 };
  struct err err = ERR_INIT;
  int r;

  (void) state;
  memset (buf, 0xee, sizeof buf);
  memset (tag, 0x77, sizeof tag);
  nbi_sheet_seal_encrypted (&root_sheet, tag, buf);
  assert_memory_equal (buf + 32, tag, sizeof tag);
  assert_int_equal (nbi_sheet_check_encrypted (buf, &root_sheet, NULL), 0);
  r = nbi_sheet_check (buf, &root_sheet, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-1");
  buf[50] = 1;
  fix_sheet (buf);
  r = nbi_sheet_check_encrypted (buf, &root_sheet, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-1");
  body[119] = 1;
  assert_int_equal (nbi_sheet_check_body (body, &root_sheet, NULL), 0);
  body[120] = 1;
  r = nbi_sheet_check_body (body, &root_sheet, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-56");
}

/*--- Directory --------------------------------------------------------------*/

static void
group_is_the_bytes_of_the_document (void **state)
{
  /* Sheets 0, 9 and 127 of group 1. */
  static const uint8_t bytes[NBI_GROUP_SIZE] = {
    0x00, 0x50, 0, 0, 0, 0, 0, 0, 1, 2, [23] = 0x80,
  };
  uint8_t buf[NBI_GROUP_SIZE];
  struct nbi_group g;

  (void) state;
  assert_int_equal (nbi_group_decode (bytes, 1, 2 * 8064, END, &g, NULL), 0);
  assert_int_equal (nbi_group_sheet (&g, 0), 0x5000);
  assert_int_equal (nbi_group_sheet (&g, 1), 0);
  assert_int_equal (nbi_group_sheet (&g, 9), 0x6000);
  assert_int_equal (nbi_group_sheet (&g, 127), 0x7000);
  nbi_group_encode (&g, buf);
  assert_memory_equal (buf, bytes, sizeof buf);
}

static void
try_group (uint64_t off, unsigned sheet, uint64_t nr_ordinals, uint64_t end,
           const char *rule)
{
  uint8_t buf[NBI_GROUP_SIZE] = { 0 };
  struct nbi_group g;
  struct err err = ERR_INIT;
  int r;

  put_le64 (buf, off);
  if (sheet < 128)
    buf[8 + sheet / 8] = (uint8_t) (1 << sheet % 8);
  r = nbi_group_decode (buf, 1, nr_ordinals, end, &g, &err);
  if (rule)
    assert_refused (r, &err, -EBADMSG, rule);
  else
    assert_int_equal (r, 0);
}

static void
each_rule_refuses_a_group (void **state)
{
  (void) state;
  try_group (0x5000, 0, 8065, 0x6000, NULL);
  try_group (4096, 0, 8065, 0x6000, NULL);
  try_group (0, 128, 8065, 0x6000, NULL);
  try_group (0x5001, 0, 8065, END, "NBI-64");
  try_group (0x5800, 0, 8065, END, "NBI-64");
  try_group (64, 0, 8065, END, "NBI-64");
  try_group (0x5000, 0, 8065, 0x5fff, "NBI-64");
  try_group (UINT64_C (0xfffffffffffff000), 0, 8065, END, "NBI-64");
  try_group (0, 0, 8065, END, "NBI-65");
  try_group (0x5000, 128, 8065, END, "NBI-65");
  try_group (0x5000, 0, 8064, END, "NBI-66");
  try_group (0x5000, 1, 8064 + 63, END, "NBI-66");
  try_group (0x5000, 1, 8064 + 64, END, NULL);
  try_group (0x5000, 127, 2 * 8064 - 63, END, "NBI-66");
  try_group (0x5000, 127, 2 * 8064 - 62, END, NULL);
}

/*--- Root, files, ranges ----------------------------------------------------*/

static void
root_entry_is_the_bytes_of_the_document (void **state)
{
  static const uint8_t bytes[NBI_ROOT_SIZE + 1] =
    "\x02\0\0\0" "\x04\x03\0\0" HASH;
  uint8_t buf[NBI_ROOT_SIZE];
  struct nbi_root root;

  (void) state;
  assert_int_equal (nbi_root_decode (bytes, 3, &root, NULL), 0);
  assert_int_equal (root.file, 2);
  assert_int_equal (root.ordinal, 0x304);
  assert_memory_equal (root.hash, HASH, DIGEST_SIZE);
  nbi_root_encode (&root, buf);
  assert_memory_equal (buf, bytes, sizeof buf);
}

static void
try_root (uint32_t file, uint32_t ordinal, const char *rule)
{
  uint8_t buf[NBI_ROOT_SIZE] = { 0 };
  struct nbi_root root;
  struct err err = ERR_INIT;
  int r;

  put_le32 (buf, file);
  put_le32 (buf + 4, ordinal);
  r = nbi_root_decode (buf, 3, &root, &err);
  if (rule)
    assert_refused (r, &err, -EBADMSG, rule);
  else
    assert_int_equal (r, 0);
}

static void
each_rule_refuses_a_root_entry (void **state)
{
  (void) state;
  try_root (2, 0, NULL);
  try_root (0, UINT32_MAX - 1, NULL);
  try_root (NBI_NONE, 0, NULL);
  try_root (NBI_NONE, 2, NULL);
  try_root (3, 0, "NBI-80");
  try_root (NBI_NONE - 1, 0, "NBI-80");
  try_root (NBI_NONE, 3, "NBI-80");
  try_root (0, UINT32_MAX, "NBI-81");
}

static void
file_entry_is_the_bytes_of_the_document (void **state)
{
  static const uint8_t bytes[NBI_FILE_SIZE + 1] =
    "AAAAAAAAAAAAAAAA" "RRRRRRRRRRRRRRRR" "\x02\0\0\0" "\0\0\0\0";
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_FILE_SIZE];
  struct nbi_file file;

  (void) state;
  assert_int_equal (nbi_file_decode (bytes, NULL, &h, &file, NULL), 0);
  assert_memory_equal (file.uuid, "AAAAAAAAAAAAAAAA", UUID_SIZE);
  assert_memory_equal (file.run, "RRRRRRRRRRRRRRRR", UUID_SIZE);
  assert_int_equal (file.uses, 2);
  nbi_file_encode (&file, buf);
  assert_memory_equal (buf, bytes, sizeof buf);
}

static void
try_file (const struct nbi_header *h, const char *before, const char *uuid,
          const char *run, uint32_t uses, const char *rule)
{
  uint8_t buf[NBI_FILE_SIZE] = { 0 };
  struct nbi_file file;
  struct err err = ERR_INIT;
  int r;

  memcpy (buf, uuid, UUID_SIZE);
  memcpy (buf + 16, run, UUID_SIZE);
  put_le32 (buf + 32, uses);
  if (rule && strcmp (rule, "NBI-1") == 0)
    buf[39] = 1;
  r = nbi_file_decode (buf, (const uint8_t *) before, h, &file, &err);
  if (rule)
    assert_refused (r, &err, -EBADMSG, rule);
  else
    assert_int_equal (r, 0);
}

static void
each_rule_refuses_a_file_entry (void **state)
{
  static const char a[] = "aaaaaaaaaaaaaaaa", b[] = "aaaaaaaaaaaaaaab";
  static const char high[] = "\xff" "aaaaaaaaaaaaaaa";
  static const char zeros[UUID_SIZE];
  struct nbi_header h = example_header ();
  const char *self = (const char *) h.file, *run = (const char *) h.run;

  (void) state;
  try_file (&h, NULL, a, b, 1, NULL);
  try_file (&h, a, b, b, 2, NULL);
  try_file (&h, a, high, b, 2, NULL);
  try_file (&h, NULL, a, b, 1, "NBI-1");
  try_file (&h, NULL, zeros, b, 1, "NBI-82");
  try_file (&h, NULL, a, zeros, 1, "NBI-82");
  try_file (&h, a, a, b, 1, "NBI-82");
  try_file (&h, b, a, b, 1, "NBI-82");
  try_file (&h, high, a, b, 1, "NBI-82");
  try_file (&h, NULL, a, b, 0, "NBI-82");
  /* There is one page. */
  try_file (&h, NULL, a, b, 3, "NBI-82");
  memset (h.vault, 0, UUID_SIZE);
  try_file (&h, NULL, self, run, 1, NULL);
  try_file (&h, NULL, a, run, 1, "NBI-82");
  try_file (&h, NULL, self, a, 1, "NBI-82");
}

static void
try_range (uint64_t off, uint64_t len, uint64_t before_off,
           uint64_t before_len, const char *rule)
{
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_RANGE_SIZE], before[NBI_RANGE_SIZE];
  struct nbi_range range;
  struct err err = ERR_INIT;
  int r;

  put_le64 (buf, off);
  put_le64 (buf + 8, len);
  put_le64 (before, before_off);
  put_le64 (before + 8, before_len);
  r = nbi_range_decode (buf, before_len ? before : NULL, &h, &range, &err);
  if (rule) {
    assert_refused (r, &err, -EBADMSG, rule);
    return;
  }
  assert_int_equal (r, 0);
  assert_int_equal (range.off, off);
  assert_int_equal (range.len, len);
  nbi_range_encode (&range, before);
  assert_memory_equal (buf, before, sizeof buf);
}

static void
each_rule_refuses_a_range (void **state)
{
  const uint64_t size = 65536512;

  (void) state;
  try_range (0, 512, 0, 0, NULL);
  try_range (0, size, 0, 0, NULL);
  try_range (1536, 512, 512, 512, NULL);
  try_range (512, 0, 0, 0, "NBI-84");
  try_range (size, 512, 0, 0, "NBI-84");
  try_range (0, size + 512, 0, 0, "NBI-84");
  try_range (512, UINT64_MAX - 511, 0, 0, "NBI-84");
  try_range (100, 412, 0, 0, "NBI-84");
  try_range (512, 100, 0, 0, "NBI-84");
  try_range (1024, 512, 512, 512, "NBI-84");
  try_range (1024, 512, 512, 1024, "NBI-84");
  try_range (512, 512, 1024, 512, "NBI-84");
}

static void
range_may_end_where_a_disk_of_odd_size_ends (void **state)
{
  struct nbi_header h = example_header ();
  uint8_t buf[NBI_RANGE_SIZE];
  struct nbi_range range;
  struct err err = ERR_INIT;
  int r;

  (void) state;
  h.disk_size = 1000;
  put_le64 (buf, 512);
  put_le64 (buf + 8, 488);
  assert_int_equal (nbi_range_decode (buf, NULL, &h, &range, NULL), 0);
  put_le64 (buf + 8, 487);
  r = nbi_range_decode (buf, NULL, &h, &range, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-84");
}

static void
chunks_agree_with_the_ranges (void **state)
{
  static const struct {
    enum nbi_cell_kind kind;
    uint64_t in_ranges;
    bool fine;
  } rows[] = {
    { NBI_ZERO, 0, true }, { NBI_ZERO, 512, false },
    { NBI_UNALLOCATED, 0, true }, { NBI_UNALLOCATED, 65536, false },
    { NBI_UNREADABLE, 65536, true }, { NBI_UNREADABLE, 65024, false },
    { NBI_UNREADABLE, 0, false },
    { NBI_DATA, 0, true }, { NBI_DATA, 512, false },
    { NBI_DATA_IN_PART, 512, true }, { NBI_DATA_IN_PART, 65024, true },
    { NBI_DATA_IN_PART, 0, false }, { NBI_DATA_IN_PART, 65536, false },
  };

  (void) state;
  for (size_t i = 0; i < NR (rows); ++i) {
    struct err err = ERR_INIT;
    int r = nbi_check_unreadable (rows[i].kind, 65536, rows[i].in_ranges,
                                  &err);

    if (rows[i].fine)
      assert_int_equal (r, 0);
    else
      assert_refused (r, &err, -EBADMSG, "NBI-85");
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (sheet_is_the_bytes_of_the_document),
    cmocka_unit_test (tables_have_the_sizes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_sheet),
    cmocka_unit_test (every_changed_bit_of_a_sheet_is_found),
    cmocka_unit_test (full_sheet_has_no_room_behind_its_entries),
    cmocka_unit_test (encrypted_sheet_has_a_tag_and_bytes_everywhere),
    cmocka_unit_test (group_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_group),
    cmocka_unit_test (root_entry_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_root_entry),
    cmocka_unit_test (file_entry_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_file_entry),
    cmocka_unit_test (each_rule_refuses_a_range),
    cmocka_unit_test (range_may_end_where_a_disk_of_odd_size_ends),
    cmocka_unit_test (chunks_agree_with_the_ranges),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
