/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Records of a backup image and their entries in the chunk table, rule by rule
 * (docs/NBI.md §5 and §7).
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/repo/nbi-record.h"
#include "tests/support/nbi.h"
#include "tests/support/nbi-rows.h"

/*--- Record headers ---------------------------------------------------------*/

static const struct nbi_record chunk_record = {
  .off = 8192, .ordinal = 7, .number = 999, .stored = 0x1234, .plain = 65536,
  .kind = NBI_CHUNK, .codec = NBI_LZ4, .xxh3 = UINT64_C (0x1122334455667788),
};

static const struct nbi_record page_record = {
  .off = 8192, .ordinal = 8, .number = 0, .stored = 100, .plain = 98312,
  .kind = NBI_PAGE, .codec = NBI_ZSTD,
};

static const struct nbi_record manifest_record = {
  .off = 8192, .ordinal = NBI_NONE, .stored = 1000, .plain = 1000,
  .kind = NBI_MANIFEST, .codec = NBI_STORED,
};

static void
record_is_the_bytes_of_the_document (void **state)
{
  static const uint8_t expected[NBI_RECORD_SIZE] = {
    'N', 'B', 'I', 'r', 1, 1, 0, 0,
    0xe2, 0x41, 0x6b, 0xb3, 0xc5, 0x9f, 0x50, 0x9a,
    0x00, 0x20, 0, 0, 0, 0, 0, 0,
    7, 0, 0, 0, 0xe7, 0x03, 0, 0,
    0x34, 0x12, 0, 0, 0x00, 0x00, 0x01, 0,
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x44, 0x68, 0x98, 0x0b,
  };
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_RECORD_SIZE];
  struct nbi_record back;

  (void) state;
  nbi_record_encode (&chunk_record, h.salt, buf);
  assert_memory_equal (buf, expected, sizeof buf);
  assert_int_equal (nbi_record_decode (expected, &h, 8192, END, &back, NULL),
                    0);
  assert_int_equal (back.number, 999);
  assert_int_equal (back.xxh3, UINT64_C (0x1122334455667788));
  assert_int_equal (nbi_record_end (&back), 8192 + 4736);
}

static const struct row broken_chunk[] = {
  { "NBI-1", -EBADMSG, 6, 1, 1 },
  { "NBI-1", -EBADMSG, 7, 1, 1 },
  { "NBI-1", -EBADMSG, 48, 1, 1 },
  { "NBI-1", -EBADMSG, 59, 1, 1 },
  { "NBI-30", -EBADMSG, 3, 1, 's' },
  { "NBI-31", -EBADMSG, 8, 1, 0 },
  { "NBI-31", -EBADMSG, 15, 1, 0 },
  { "NBI-32", -EBADMSG, 16, 8, 8256 },
  { "NBI-33", -ENOTSUP, 4, 1, 0 },
  { "NBI-33", -ENOTSUP, 4, 1, 4 },
  { "NBI-33", -ENOTSUP, 5, 1, 3 },
  { "NBI-34", -EBADMSG, 36, 4, 0 },
  { "NBI-34", -EBADMSG, 36, 4, 65537 },
  { "NBI-35", -EBADMSG, 32, 4, 0 },
  { "NBI-35", -EBADMSG, 32, 4, 65536 },
  { "NBI-35", -EBADMSG, 32, 4, UINT32_MAX },
  { "NBI-35", -EBADMSG, 5, 1, 0 },
  { "NBI-36", -EBADMSG, 28, 4, 1001 },
  { "NBI-36", -EBADMSG, 28, 4, 1000 },
  { "NBI-36", -EBADMSG, 36, 4, 65535 },
  { "NBI-37", -EBADMSG, 24, 4, UINT32_MAX },
};

static const struct row broken_page_record[] = {
  { "NBI-34", -EBADMSG, 36, 4, 98313 },
  { "NBI-36", -EBADMSG, 28, 4, 1 },
  { "NBI-37", -EBADMSG, 24, 4, UINT32_MAX },
};

static const struct row broken_manifest[] = {
  { "NBI-34", -EBADMSG, 36, 4, 1048577 },
  { "NBI-35", -EBADMSG, 32, 4, 999 },
  { "NBI-35", -EBADMSG, 32, 4, 1001 },
  { "NBI-37", -EBADMSG, 24, 4, 5 },
  { "NBI-37", -EBADMSG, 28, 4, 1 },
};

static void
try_records (const struct nbi_header *h, const struct nbi_record *rec,
             const struct row *rows, size_t nr)
{
  for (size_t i = 0; i < nr; ++i) {
    uint8_t buf[NBI_RECORD_SIZE];
    struct nbi_record out;
    struct err err = ERR_INIT;
    int r;

    nbi_record_encode (rec, h->salt, buf);
    assert_int_equal (nbi_record_decode (buf, h, rec->off, END, &out, NULL),
                      0);
    patch (buf, rows[i].off, rows[i].len, rows[i].value);
    fix_crc (buf, sizeof buf);
    r = nbi_record_decode (buf, h, rec->off, END, &out, &err);
    assert_refused (r, &err, rows[i].code, rows[i].rule);
  }
}

static void
each_rule_refuses_a_record_header (void **state)
{
  const struct nbi_header h = example_header ();

  (void) state;
  try_records (&h, &chunk_record, broken_chunk, NR (broken_chunk));
  try_records (&h, &page_record, broken_page_record, NR (broken_page_record));
  try_records (&h, &manifest_record, broken_manifest, NR (broken_manifest));
}

/* At that place, with that end of the data: NULL if it is fine. */
static void
place_record (struct nbi_record rec, uint64_t off, uint64_t end,
              const char *rule)
{
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_RECORD_SIZE];
  struct nbi_record out;
  struct err err = ERR_INIT;
  int r;

  rec.off = off;
  nbi_record_encode (&rec, h.salt, buf);
  r = nbi_record_decode (buf, &h, off, end, &out, &err);
  if (rule)
    assert_refused (r, &err, -EBADMSG, rule);
  else
    assert_int_equal (r, 0);
}

static void
record_lies_between_header_and_end (void **state)
{
  (void) state;
  place_record (chunk_record, 4096, END, NULL);
  place_record (chunk_record, 4032, END, "NBI-38");
  place_record (chunk_record, 0, END, "NBI-38");
  place_record (chunk_record, 8192, 8192 + 64 + 0x1234, NULL);
  place_record (chunk_record, 8192, 8192 + 64 + 0x1233, "NBI-38");
  place_record (chunk_record, 8192, 8192, "NBI-38");
  place_record (chunk_record, 8192, 100, "NBI-38");
  place_record (chunk_record, UINT64_MAX - 63, END, "NBI-38");
}

static void
record_with_wrong_checksum_is_refused (void **state)
{
  const struct nbi_header h = example_header ();
  uint8_t buf[NBI_RECORD_SIZE];
  struct nbi_record out;

  (void) state;
  nbi_record_encode (&chunk_record, h.salt, buf);
  for (unsigned bit = 0; bit < NBI_RECORD_SIZE * 8; ++bit) {
    struct err err = ERR_INIT;
    int r;

    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
    r = nbi_record_decode (buf, &h, 8192, END, &out, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-30");
    buf[bit / 8] ^= (uint8_t) (1 << bit % 8);
  }
}

static void
encrypted_records_have_a_tag_in_their_length (void **state)
{
  static const struct row rows[] = {
    { "NBI-35", -EBADMSG, 32, 4, 16 },
    { "NBI-35", -EBADMSG, 32, 4, 1 },
    { "NBI-35", -EBADMSG, 32, 4, 65536 + 16 },
  };
  const struct nbi_header h = example_encrypted ();
  struct nbi_record rec = chunk_record, out;
  uint8_t buf[NBI_RECORD_SIZE];

  (void) state;
  try_records (&h, &chunk_record, rows, NR (rows));
  rec.stored = 17;
  nbi_record_encode (&rec, h.salt, buf);
  assert_int_equal (nbi_record_decode (buf, &h, 8192, END, &out, NULL), 0);
  rec.stored = 65536 + 15;
  nbi_record_encode (&rec, h.salt, buf);
  assert_int_equal (nbi_record_decode (buf, &h, 8192, END, &out, NULL), 0);
  rec.codec = NBI_STORED;
  rec.stored = 65536 + 16;
  nbi_record_encode (&rec, h.salt, buf);
  assert_int_equal (nbi_record_decode (buf, &h, 8192, END, &out, NULL), 0);
}

/*--- Entries of the chunk table ---------------------------------------------*/

static void
entry_is_the_bytes_of_the_document (void **state)
{
  static const uint8_t expected[NBI_ENTRY_SIZE + 1] =
    "\x00\x20\0\0\0\0\0\0" "\x34\x12\0\0" "\x00\x00\x01\0"
    "\x01" "\x01" "\0\0" "\xe7\x03\0\0" "\x88\x77\x66\x55\x44\x33\x22\x11"
    HASH;
  const struct nbi_header h = example_header ();
  struct nbi_record rec = chunk_record, back;
  uint8_t buf[NBI_ENTRY_SIZE];

  (void) state;
  memcpy (rec.identity, HASH, DIGEST_SIZE);
  nbi_entry_encode (&rec, buf);
  assert_memory_equal (buf, expected, sizeof buf);
  assert_int_equal (nbi_entry_decode (expected, &h, 7, END, &back, NULL), 0);
  assert_int_equal (back.ordinal, 7);
  assert_memory_equal (back.identity, HASH, DIGEST_SIZE);
  memset (buf, 0, sizeof buf);
  assert_int_equal (nbi_entry_decode (buf, &h, 7, END, &back, NULL), 0);
  assert_true (nbi_is_tombstone (&back));
}

static const struct row broken_entry[] = {
  { "NBI-1", -EBADMSG, 18, 1, 1 },
  { "NBI-1", -EBADMSG, 19, 1, 1 },
  { "NBI-60", -EBADMSG, 0, 8, 8193 },
  { "NBI-60", -EBADMSG, 0, 8, 8192 + 32 },
  { "NBI-60", -EBADMSG, 0, 8, 4096 - 64 },
  { "NBI-60", -EBADMSG, 0, 8, END - 0x1234 },
  { "NBI-60", -EBADMSG, 0, 8, UINT64_MAX - 63 },
  { "NBI-61", -ENOTSUP, 16, 1, 0 },
  { "NBI-61", -ENOTSUP, 16, 1, 4 },
  { "NBI-61", -EBADMSG, 16, 1, 3 },
  { "NBI-61", -ENOTSUP, 17, 1, 3 },
  { "NBI-61", -EBADMSG, 12, 4, 0 },
  { "NBI-61", -EBADMSG, 12, 4, 65537 },
  { "NBI-61", -EBADMSG, 8, 4, 0 },
  { "NBI-61", -EBADMSG, 8, 4, 65536 },
  { "NBI-61", -EBADMSG, 20, 4, 1001 },
  { "NBI-61", -EBADMSG, 20, 4, 1000 },
  { "NBI-62", -EBADMSG, 0, 8, 0 },
};

static void
each_rule_refuses_an_entry (void **state)
{
  const struct nbi_header h = example_header ();

  (void) state;
  for (size_t i = 0; i < NR (broken_entry); ++i) {
    uint8_t buf[NBI_ENTRY_SIZE];
    struct nbi_record out;
    struct err err = ERR_INIT;
    int r;

    nbi_entry_encode (&chunk_record, buf);
    patch (buf, broken_entry[i].off, broken_entry[i].len,
           broken_entry[i].value);
    r = nbi_entry_decode (buf, &h, 7, END, &out, &err);
    assert_refused (r, &err, broken_entry[i].code, broken_entry[i].rule);
  }
}

static void
tombstone_with_a_byte_is_none (void **state)
{
  const struct nbi_header h = example_header ();

  (void) state;
  for (unsigned i = 8; i < NBI_ENTRY_SIZE; ++i) {
    uint8_t buf[NBI_ENTRY_SIZE] = { 0 };
    struct nbi_record out;
    struct err err = ERR_INIT;
    int r;

    buf[i] = 1;
    r = nbi_entry_decode (buf, &h, 7, END, &out, &err);
    assert_refused (r, &err, -EBADMSG, "NBI-62");
  }
}

static void
sheet_of_tombstones_is_refused (void **state)
{
  uint8_t entries[3 * NBI_ENTRY_SIZE] = { 0 };
  struct err err = ERR_INIT;
  int r;

  (void) state;
  r = nbi_entries_check (entries, 3, &err);
  assert_refused (r, &err, -EBADMSG, "NBI-63");
  nbi_entry_encode (&chunk_record, entries + 2 * NBI_ENTRY_SIZE);
  assert_int_equal (nbi_entries_check (entries, 3, NULL), 0);
}

static void
records_are_chunks_of_the_disk_or_pages (void **state)
{
  const struct nbi_header h = example_header ();
  struct nbi_record rec = chunk_record, grave = { .ordinal = 7 };
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (nbi_record_is_chunk (&rec, 8, &h, 5, NULL), 0);
  assert_refused (nbi_record_is_chunk (&rec, 7, &h, 5, &err), &err, -EBADMSG,
                  "NBI-79");
  assert_refused (nbi_record_is_chunk (&rec, 8, &h, 1000, &err), &err,
                  -EBADMSG, "NBI-79");
  assert_refused (nbi_record_is_chunk (&grave, 8, &h, 5, &err), &err, -EBADMSG,
                  "NBI-79");
  assert_refused (nbi_record_is_chunk (&page_record, 9, &h, 5, &err), &err,
                  -EBADMSG, "NBI-79");
  assert_int_equal (nbi_record_is_page (&page_record, 9, NULL), 0);
  assert_refused (nbi_record_is_page (&page_record, 8, &err), &err, -EBADMSG,
                  "NBI-81");
  assert_refused (nbi_record_is_page (&grave, 9, &err), &err, -EBADMSG,
                  "NBI-81");
  assert_refused (nbi_record_is_page (&rec, 9, &err), &err, -EBADMSG,
                  "NBI-81");
}

static void
random_records_come_back (void **state)
{
  const struct nbi_header plain = example_header ();
  const struct nbi_header encrypted = example_encrypted ();
  struct rng rng = { 2 };

  (void) state;
  for (unsigned i = 0; i < 5000; ++i) {
    const struct nbi_header *h = i % 2 ? &encrypted : &plain;
    struct nbi_record rec = {
      .off = 4096 + 64 * (uint64_t) rng_below (&rng, 10000),
      .ordinal = rng_below (&rng, UINT32_MAX), .number = rng_below (&rng, 1001),
      .kind = NBI_CHUNK, .codec = (uint8_t) rng_below (&rng, 3),
      .xxh3 = rng_next (&rng),
    }, back;
    uint8_t buf[NBI_ENTRY_SIZE], again[NBI_ENTRY_SIZE];
    struct err err = ERR_INIT;

    rec.plain = nbi_chunk_len (h, rec.number);
    rec.stored = rec.codec == NBI_STORED ? rec.plain
      : 1 + rng_below (&rng, rec.plain - 1);
    rec.stored += nbi_encrypted (h) ? NBI_TAG_SIZE : 0;
    random_bytes (&rng, rec.identity, DIGEST_SIZE);
    nbi_entry_encode (&rec, buf);
    if (nbi_entry_decode (buf, h, rec.ordinal, END, &back, &err) < 0)
      fail_msg ("%s", err.msg);
    nbi_entry_encode (&back, again);
    assert_memory_equal (buf, again, sizeof buf);
    nbi_record_encode (&rec, h->salt, buf);
    if (nbi_record_decode (buf, h, rec.off, END, &back, &err) < 0)
      fail_msg ("%s", err.msg);
    nbi_record_encode (&back, h->salt, again);
    assert_memory_equal (buf, again, sizeof buf);
    assert_int_equal (back.ordinal, rec.ordinal);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (record_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_record_header),
    cmocka_unit_test (record_lies_between_header_and_end),
    cmocka_unit_test (record_with_wrong_checksum_is_refused),
    cmocka_unit_test (encrypted_records_have_a_tag_in_their_length),
    cmocka_unit_test (entry_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_an_entry),
    cmocka_unit_test (tombstone_with_a_byte_is_none),
    cmocka_unit_test (sheet_of_tombstones_is_refused),
    cmocka_unit_test (records_are_chunks_of_the_disk_or_pages),
    cmocka_unit_test (random_records_come_back),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
