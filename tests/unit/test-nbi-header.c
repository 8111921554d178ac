/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The header of a backup image and its key slots, rule by rule (docs/NBI.md §4
 * and §12).
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/nbi.h"

/* A header as the document draws it: what stands where, zeros elsewhere. */
static const struct {
  uint16_t off;
  uint16_t len;
  const char *bytes;
} golden[] = {
  { 0, 8, "\x89NBI\r\n\x1a\n" },
  { 8, 4, "\x01\0\0\0" },
  { 40, 16, "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e"
            "\x1f" },
  { 56, 4, "\x02\0\0\0" },
  { 60, 4, "\x01\0\0\0" },
  { 64, 16, "\x20\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e"
            "\x2f" },
  { 96, 16, "\x30\x31\x32\x33\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d\x3e"
            "\x3f" },
  { 112, 8, "\x00\x02\xe8\x03\0\0\0\0" },
  { 120, 4, "\x00\x00\x01\x00" },
  { 124, 4, "\x00\x02\x00\x00" },
  { 128, 4, "\x00\x10\x00\x00" },
  { 136, 8, "\x20\x61\x04\x6b\x00\x00\x00\x00" },
  /* sha256 of "NBI salt", the UUID and 02 00 00 00, by another program. */
  { 144, 8, "\xe2\x41\x6b\xb3\xc5\x9f\x50\x9a" },
  { 152, 16, "\x40\x41\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e"
             "\x4f" },
  { 256, 4, "root" },
  { 512, 6, "a test" },
  { 4092, 4, "\x54\xf3\x17\xf4" },
};

static void
make_golden (uint8_t *buf)
{
  memset (buf, 0, NBI_HEADER_SIZE);
  for (size_t i = 0; i < sizeof golden / sizeof golden[0]; ++i)
    memcpy (buf + golden[i].off, golden[i].bytes, golden[i].len);
}

static void
header_is_the_bytes_of_the_document (void **state)
{
  struct nbi_header h = example_header (), back;
  uint8_t buf[NBI_HEADER_SIZE], expected[NBI_HEADER_SIZE];

  (void) state;
  make_golden (expected);
  nbi_header_encode (&h, buf);
  assert_memory_equal (buf, expected, sizeof buf);
  assert_int_equal (nbi_header_decode (expected, &back, NULL), 0);
  assert_int_equal (back.disk_size, 65536512);
  assert_int_equal (back.time, 1795449120);
  assert_string_equal (back.name, "root");
  assert_int_equal (nbi_nr_chunks (&back), 1001);
  assert_int_equal (nbi_chunk_len (&back, 999), 65536);
  assert_int_equal (nbi_chunk_len (&back, 1000), 512);
  assert_int_equal (nbi_nr_pages (&back), 1);
  assert_int_equal (nbi_page_chunks (&back, 0), 1001);
}

static void
slot_is_the_bytes_of_the_document (void **state)
{
  const struct nbi_slot slot = {
    .kind = NBI_SLOT_PASSPHRASE, .passes = 3, .memory = 0x10000, .lanes = 4,
    .salt = { 1, 2 }, .nonce = { 3, 4 }, .wrapped = { 5, 6 }, .label = "mine",
  };
  uint8_t expected[NBI_SLOT_SIZE] = {
    [0] = 1, [4] = 3, [10] = 1, [12] = 4, [16] = 1, 2, [48] = 3, 4,
    [64] = 5, 6, [112] = 'm', 'i', 'n', 'e',
  };
  struct nbi_slot back;
  uint8_t buf[NBI_SLOT_SIZE];

  (void) state;
  nbi_slot_encode (&slot, buf);
  assert_memory_equal (buf, expected, sizeof buf);
  assert_int_equal (nbi_slot_decode (buf, true, &back, NULL), 0);
  assert_memory_equal (&back.salt, slot.salt, sizeof slot.salt);
  assert_int_equal (back.memory, 65536);
  assert_string_equal (back.label, "mine");
}

static void
random_header (struct rng *rng, struct nbi_header *h)
{
  unsigned shift = rng_below (rng, 7);
  unsigned logical = rng_below (rng, 12);

  *h = rng_below (rng, 2) ? example_encrypted () : example_header ();
  random_bytes (rng, h->file, UUID_SIZE);
  random_bytes (rng, h->run, UUID_SIZE);
  random_bytes (rng, h->vault, rng_below (rng, 2) ? UUID_SIZE : 0);
  random_bytes (rng, h->nonce, sizeof h->nonce);
  if (nbi_encrypted (h))
    random_bytes (rng, h->key_id, sizeof h->key_id);
  h->file[0] |= 1;
  h->run[0] |= 1;
  h->rewrite = rng_below (rng, 2) ? rng_next (rng) : 0;
  h->ignore = rng_below (rng, 2) ? rng_next (rng) : 0;
  h->edition = rng_below (rng, NBI_MAX_EDITION + 1);
  h->number = rng_below (rng, NBI_MAX_EDITION + 1);
  h->chunk_size = NBI_CHUNK_MIN << shift;
  h->disk_size = 1 + rng_next (rng) % (NBI_MAX_CHUNKS * h->chunk_size);
  h->logical = 512U << logical;
  h->physical = h->logical << rng_below (rng, 12 - logical);
  h->time = 1 + rng_next (rng) % NBI_MAX_TIME;
  assert_int_equal (nbi_salt (h->file, h->edition, &h->salt, NULL), 0);
}

static void
what_is_encoded_decodes_to_the_same (void **state)
{
  struct rng rng = { 1 };

  (void) state;
  for (unsigned i = 0; i < 2000; ++i) {
    struct nbi_header h, back;
    uint8_t buf[NBI_HEADER_SIZE], again[NBI_HEADER_SIZE];
    struct err err = ERR_INIT;

    random_header (&rng, &h);
    nbi_header_encode (&h, buf);
    memset (&back, 0xff, sizeof back);
    if (nbi_header_decode (buf, &back, &err) < 0)
      fail_msg ("%u: %s", i, err.msg);
    nbi_header_encode (&back, again);
    assert_memory_equal (buf, again, sizeof buf);
    assert_int_equal (back.disk_size, h.disk_size);
    assert_int_equal (back.need, h.need);
    assert_int_equal (back.rewrite, h.rewrite);
    assert_int_equal (back.physical, h.physical);
    assert_int_equal (back.number, h.number);
  }
}

/* Bytes of a header that is right otherwise, and whose checksum is right. */
struct row {
  const char *rule;
  int code;
  uint16_t off, len;
  uint64_t value;
};

static const struct row broken_plain[] = {
  { "NBI-1", -EBADMSG, 12, 1, 1 },
  { "NBI-1", -EBADMSG, 15, 1, 0x80 },
  { "NBI-1", -EBADMSG, 134, 1, 1 },
  { "NBI-1", -EBADMSG, 135, 1, 1 },
  { "NBI-1", -EBADMSG, 168, 1, 1 },
  { "NBI-1", -EBADMSG, 255, 1, 1 },
  { "NBI-1", -EBADMSG, 576, 1, 1 },
  { "NBI-1", -EBADMSG, 1023, 1, 1 },
  { "NBI-1", -EBADMSG, 3072, 1, 1 },
  { "NBI-1", -EBADMSG, 4091, 1, 1 },
  { "NBI-10", -ENOTSUP, 0, 1, 0x88 },
  { "NBI-10", -ENOTSUP, 7, 1, '\r' },
  { "NBI-11", -ENOTSUP, 8, 4, 0 },
  { "NBI-11", -ENOTSUP, 8, 4, 2 },
  { "NBI-11", -ENOTSUP, 8, 4, 0x10001 },
  { "NBI-12", -ENOTSUP, 16, 8, 2 },
  { "NBI-12", -ENOTSUP, 16, 8, UINT64_C (1) << 63 },
  { "NBI-15", -EBADMSG, 120, 4, 0 },
  { "NBI-15", -EBADMSG, 120, 4, 8192 },
  { "NBI-15", -EBADMSG, 120, 4, 65537 },
  { "NBI-15", -EBADMSG, 120, 4, 3 * 16384 },
  { "NBI-15", -EBADMSG, 120, 4, 2 * 1024 * 1024 },
  { "NBI-16", -EBADMSG, 112, 8, 0 },
  { "NBI-16", -EBADMSG, 112, 8, (UINT64_C (65536) << 32) + 1 },
  { "NBI-16", -EBADMSG, 112, 8, UINT64_MAX },
  { "NBI-17", -EBADMSG, 124, 4, 0 },
  { "NBI-17", -EBADMSG, 124, 4, 256 },
  { "NBI-17", -EBADMSG, 124, 4, 513 },
  { "NBI-17", -EBADMSG, 124, 4, 8192 },
  { "NBI-17", -EBADMSG, 128, 4, 0 },
  { "NBI-17", -EBADMSG, 128, 4, 4097 },
  { "NBI-17", -EBADMSG, 128, 4, 2 * 1024 * 1024 },
  { "NBI-18", -EBADMSG, 144, 1, 0 },
  { "NBI-18", -EBADMSG, 151, 1, 0 },
  { "NBI-18", -EBADMSG, 56, 4, 3 },
  { "NBI-18", -EBADMSG, 55, 1, 0 },
  { "NBI-19", -EBADMSG, 64, 16, 0 },
  { "NBI-20", -EBADMSG, 256, 4, 0 },
  { "NBI-20", -EBADMSG, 256, 4, '.' },
  { "NBI-20", -EBADMSG, 256, 4, '.' | '.' << 8 },
  { "NBI-20", -EBADMSG, 257, 1, '/' },
  { "NBI-20", -EBADMSG, 257, 1, '@' },
  { "NBI-20", -EBADMSG, 257, 1, 0 },
  { "NBI-20", -EBADMSG, 257, 1, 0xff },
  { "NBI-20", -EBADMSG, 511, 1, 'x' },
  { "NBI-20", -EBADMSG, 513, 1, '\n' },
  { "NBI-20", -EBADMSG, 575, 1, 'x' },
  { "NBI-21", -ENOTSUP, 132, 1, 2 },
  { "NBI-21", -EBADMSG, 132, 1, 1 },
  { "NBI-21", -EBADMSG, 16, 8, 1 },
  { "NBI-21", -EBADMSG, 80, 1, 1 },
  { "NBI-22", -EBADMSG, 133, 1, 1 },
  { "NBI-22", -EBADMSG, 133, 1, 9 },
  { "NBI-23", -EBADMSG, 60, 4, (1U << 30) + 1 },
  { "NBI-23", -EBADMSG, 60, 4, UINT32_MAX },
  { "NBI-24", -EBADMSG, 136, 8, 0 },
  { "NBI-24", -EBADMSG, 136, 8, UINT64_C (253402300800) },
  { "NBI-24", -EBADMSG, 136, 8, UINT64_MAX },
  { "NBI-120", -EBADMSG, 1024, 1, 1 },
  { "NBI-120", -EBADMSG, 3071, 1, 1 },
};

/* Slot 0 is at 1024, and a passphrase's; 1 at 1280, and a key file's. */
static const struct row broken_encrypted[] = {
  { "NBI-1", -EBADMSG, 1025, 1, 1 },
  { "NBI-1", -EBADMSG, 1027, 1, 1 },
  { "NBI-1", -EBADMSG, 1024 + 60, 1, 1 },
  { "NBI-1", -EBADMSG, 1024 + 63, 1, 1 },
  { "NBI-1", -EBADMSG, 1280 + 144, 1, 1 },
  { "NBI-1", -EBADMSG, 1280 + 255, 1, 1 },
  { "NBI-21", -EBADMSG, 132, 1, 0 },
  { "NBI-21", -EBADMSG, 16, 8, 0 },
  { "NBI-22", -EBADMSG, 133, 1, 0 },
  { "NBI-22", -EBADMSG, 133, 1, 9 },
  { "NBI-120", -EBADMSG, 133, 1, 1 },
  { "NBI-120", -EBADMSG, 133, 1, 3 },
  { "NBI-120", -ENOTSUP, 1024, 1, 3 },
  { "NBI-120", -EBADMSG, 1280, 1, 0 },
  { "NBI-121", -EBADMSG, 1280 + 4, 4, 1 },
  { "NBI-121", -EBADMSG, 1280 + 8, 4, 1 },
  { "NBI-121", -EBADMSG, 1280 + 12, 4, 1 },
  { "NBI-122", -EBADMSG, 1024 + 112, 1, 0 },
  { "NBI-122", -EBADMSG, 1024 + 113, 1, 7 },
  { "NBI-122", -EBADMSG, 1024 + 143, 1, 'x' },
  { "NBI-123", -EBADMSG, 1024 + 4, 4, 0 },
  { "NBI-123", -EBADMSG, 1024 + 4, 4, 65 },
  { "NBI-123", -EBADMSG, 1024 + 8, 4, 31 },
  { "NBI-123", -EBADMSG, 1024 + 8, 4, 1048577 },
  { "NBI-123", -EBADMSG, 1024 + 12, 4, 0 },
  { "NBI-123", -EBADMSG, 1024 + 12, 4, 17 },
};

static void
try_rows (const struct nbi_header *h, const struct row *rows, size_t nr)
{
  for (size_t i = 0; i < nr; ++i) {
    uint8_t buf[NBI_HEADER_SIZE];
    struct nbi_header out, before;
    struct err err = ERR_INIT;
    int r;

    nbi_header_encode (h, buf);
    assert_int_equal (nbi_header_decode (buf, &out, NULL), 0);
    before = out;
    patch (buf, rows[i].off, rows[i].len > 8 ? 8 : rows[i].len, rows[i].value);
    if (rows[i].len > 8)
      memset (buf + rows[i].off + 8, 0, rows[i].len - 8U);
    fix_crc (buf, sizeof buf);
    r = nbi_header_decode (buf, &out, &err);
    assert_refused (r, &err, rows[i].code, rows[i].rule);
    assert_memory_equal (&out, &before, sizeof out);
  }
}

static void
each_rule_refuses_a_header (void **state)
{
  const struct nbi_header h = example_header (), e = example_encrypted ();

  (void) state;
  try_rows (&h, broken_plain, sizeof broken_plain / sizeof broken_plain[0]);
  try_rows (&e, broken_encrypted,
            sizeof broken_encrypted / sizeof broken_encrypted[0]);
}

static void
refuse (const struct nbi_header *h, int code, const char *rule)
{
  uint8_t buf[NBI_HEADER_SIZE];
  struct nbi_header out;
  struct err err = ERR_INIT;
  int r;

  nbi_header_encode (h, buf);
  r = nbi_header_decode (buf, &out, &err);
  assert_refused (r, &err, code, rule);
}

static void
what_changes_the_salt_too_is_refused (void **state)
{
  struct nbi_header h = example_header ();

  (void) state;
  memset (h.file, 0, UUID_SIZE);
  assert_int_equal (nbi_salt (h.file, h.edition, &h.salt, NULL), 0);
  refuse (&h, -EBADMSG, "NBI-19");
  h = example_header ();
  h.edition = NBI_MAX_EDITION + 1;
  assert_int_equal (nbi_salt (h.file, h.edition, &h.salt, NULL), 0);
  refuse (&h, -EBADMSG, "NBI-23");
}

static void
wrong_checksum_comes_after_the_magic_and_before_all_else (void **state)
{
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_HEADER_SIZE];
  struct nbi_header out;
  struct err err = ERR_INIT;
  int r;

  (void) state;
  nbi_header_encode (&h, buf);
  assert_true (nbi_header_is_whole (buf));
  buf[8] = 2;
  assert_false (nbi_header_is_whole (buf));
  r = nbi_header_decode (buf, &out, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-14");
  buf[0] = 0;
  r = nbi_header_decode (buf, &out, &err);
  assert_refused (r, &err, -ENOTSUP, "NBI-10");
}

static void
every_changed_bit_is_found (void **state)
{
  const struct nbi_header h = example_encrypted ();
  uint8_t buf[NBI_HEADER_SIZE];
  struct nbi_header out;

  (void) state;
  nbi_header_encode (&h, buf);
  for (size_t bit = 0; bit < sizeof buf * 8; ++bit) {
    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
    assert_int_not_equal (nbi_header_decode (buf, &out, NULL), 0);
    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
  }
  assert_int_equal (nbi_header_decode (buf, &out, NULL), 0);
}

static void
features_for_writers_are_no_matter_for_readers (void **state)
{
  struct nbi_header h = example_header (), out;
  uint8_t buf[NBI_HEADER_SIZE];
  struct err err = ERR_INIT;
  int r;

  (void) state;
  assert_int_equal (nbi_header_may_rewrite (&h, NULL), 0);
  h.rewrite = UINT64_C (1) << 40;
  nbi_header_encode (&h, buf);
  assert_int_equal (nbi_header_decode (buf, &out, NULL), 0);
  r = nbi_header_may_rewrite (&out, &err);
  assert_refused (r, &err, -ENOTSUP, "NBI-13");
}

static void
features_that_may_be_ignored_use_bytes_that_mean_nothing (void **state)
{
  struct nbi_header h = example_encrypted (), out;
  static const uint16_t offs[] = { 12, 134, 200, 600, 1025, 1084, 1200, 4000 };

  (void) state;
  h.ignore = 4;
  for (size_t i = 0; i < sizeof offs / sizeof offs[0]; ++i) {
    uint8_t buf[NBI_HEADER_SIZE];

    nbi_header_encode (&h, buf);
    buf[offs[i]] = 1;
    fix_crc (buf, sizeof buf);
    assert_int_equal (nbi_header_decode (buf, &out, NULL), 0);
  }
}

static void
limits_themselves_are_fine (void **state)
{
  static const struct row rows[] = {
    { "chunks", 0, 120, 4, 16384 },
    { "chunks", 0, 120, 4, 1024 * 1024 },
    { "disk", 0, 112, 8, 1 },
    { "disk", 0, 112, 8, UINT64_C (65536) << 32 },
    { "sectors", 0, 128, 4, 512 },
    { "sectors", 0, 128, 4, 1024 * 1024 },
    { "number", 0, 60, 4, 1U << 30 },
    { "time", 0, 136, 8, 1 },
    { "time", 0, 136, 8, UINT64_C (253402300799) },
    { "passes", 0, 1028, 4, 1 },
    { "passes", 0, 1028, 4, 64 },
    { "memory", 0, 1032, 4, 32 },
    { "memory", 0, 1032, 4, 1048576 },
    { "lanes", 0, 1036, 4, 1 },
    { "lanes", 0, 1036, 4, 16 },
  };
  const struct nbi_header h = example_encrypted ();

  (void) state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    uint8_t buf[NBI_HEADER_SIZE];
    struct nbi_header out;
    struct err err = ERR_INIT;

    nbi_header_encode (&h, buf);
    patch (buf, rows[i].off, rows[i].len, rows[i].value);
    fix_crc (buf, sizeof buf);
    if (nbi_header_decode (buf, &out, &err) < 0)
      fail_msg ("%s: %s", rows[i].rule, err.msg);
  }
}

static void
texts_have_only_what_is_seen (void **state)
{
  static const char *const fine[] = {
    "", "a", " ", "~", "\xc2\xa0", "\xc2\xac", "\xc2\xae", "\xd8\x9b",
    "\xd8\x9d", "\xe2\x80\x8a", "\xe2\x80\x90", "\xe2\x80\xa7",
    "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe2\x81\xb0", "\xef\xbb\xbe",
    "\xef\xbf\xb8", "\xef\xbf\xbc", "\xf3\x9f\xbf\xbf", "\xf3\xa1\x80\x80",
    "Gr\xc3\xbc\xc3\x9f""e", "\xf0\x9f\x92\xbe",
  };
  static const char *const bad[] = {
    "\x01", "\x1f", "\x7f", "\xc2\x80", "\xc2\x9f", "\xc2\xad", "\xd8\x9c",
    "\xe2\x80\x8b", "\xe2\x80\x8f", "\xe2\x80\xa8", "\xe2\x80\xae",
    "\xe2\x81\xa0", "\xe2\x81\xaf", "\xef\xbb\xbf", "\xef\xbf\xb9",
    "\xef\xbf\xbb", "\xf3\xa0\x80\x80", "\xf3\xa0\xbf\xbf",
    "\x80", "\xc0\x80", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
    "ok\xe2\x80\x8b",
  };

  (void) state;
  for (size_t i = 0; i < sizeof fine / sizeof fine[0]; ++i) {
    char text[16] = "";

    memcpy (text, fine[i], strlen (fine[i]));
    if (!nbi_text_is_right (text, sizeof text))
      fail_msg ("text %zu should be fine", i);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    char text[16] = "";

    memcpy (text, bad[i], strlen (bad[i]));
    if (nbi_text_is_right (text, sizeof text))
      fail_msg ("text %zu should not be fine", i);
  }
  /* Cut off in a character by the end of the field: there is no zero. */
  assert_false (nbi_text_is_right ("\xc3\xbc", 2));
  assert_true (nbi_text_is_right ("\xc3\xbc", 3));
  assert_false (nbi_text_is_right ("a\0b", 4));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (header_is_the_bytes_of_the_document),
    cmocka_unit_test (slot_is_the_bytes_of_the_document),
    cmocka_unit_test (what_is_encoded_decodes_to_the_same),
    cmocka_unit_test (each_rule_refuses_a_header),
    cmocka_unit_test (what_changes_the_salt_too_is_refused),
    cmocka_unit_test (wrong_checksum_comes_after_the_magic_and_before_all_else),
    cmocka_unit_test (every_changed_bit_is_found),
    cmocka_unit_test (features_for_writers_are_no_matter_for_readers),
    cmocka_unit_test (features_that_may_be_ignored_use_bytes_that_mean_nothing),
    cmocka_unit_test (limits_themselves_are_fine),
    cmocka_unit_test (texts_have_only_what_is_seen),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
