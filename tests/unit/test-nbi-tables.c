/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Records, sheets, their entries and the trailer of a backup image, rule by
 * rule (docs/NBI.md §5 to §8 and §10).
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/repo/nbi-sheet.h"
#include "lib/repo/nbi-trailer.h"
#include "tests/support/nbi.h"

#define NR(a) (sizeof (a) / sizeof (a)[0])
#define END (1024 * 1024)       /* the data's, of the examples */

#define HASH "0123456789abcdefghijklmnopqrstuv"

/* Bytes of a structure that is right otherwise. */
struct row {
  const char *rule;
  int code;
  uint16_t off, len;
  uint64_t value;
};

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

/*--- Trailer ----------------------------------------------------------------*/

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
    cmocka_unit_test (trailer_is_the_bytes_of_the_document),
    cmocka_unit_test (each_rule_refuses_a_trailer),
    cmocka_unit_test (sizes_of_files_are_checked),
    cmocka_unit_test (generation_is_whole_or_not_there),
    cmocka_unit_test (trailer_with_a_changed_bit_is_refused),
    cmocka_unit_test (features_that_may_be_ignored_are_no_matter_in_a_trailer),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
