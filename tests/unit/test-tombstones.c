/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files in which records were dropped: sheets and groups that are left out. */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/repo/file-writer.h"
#include "lib/repo/payload.h"
#include "lib/repo/verify.h"
#include "tests/support/nbi.h"

#define NONE UINT32_MAX

struct table {
  const char *name;
  uint32_t nr;                  /* ordinals */
  uint32_t there[6];            /* that are no tombstones; then NONE */
};

static const struct table tables[] = {
  { "no ordinal", 0, { NONE } },
  { "the first one of two", 2, { 0, NONE } },
  { "the last one of two", 2, { 1, NONE } },
  { "nothing but tombstones", 100, { NONE } },
  { "the second sheet", 200, { 63, 125, NONE } },
  { "both ends of a group", 8064, { 0, 8063, NONE } },
  { "the last sheet of the second group", 2 * 8064, { 2 * 8064 - 1, NONE } },
  { "a group without any in the middle", 3 * 8064 + 1,
    { 62, 63, 8063, 2 * 8064, 3 * 8064, NONE } },
  { "groups at the end without any", 3 * 8064 + 10, { 5, NONE } },
};

struct memory {
  struct sink sink;
  uint8_t *bytes;
  size_t len;
};

static int
write_memory (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  struct memory *m = (struct memory *) sink;

  (void) err;
  m->bytes = realloc (m->bytes, m->len + len);
  assert_non_null (m->bytes);
  memcpy (m->bytes + m->len, buf, len);
  m->len += len;
  return 0;
}

static bool
is_there (const struct table *t, uint32_t ordinal)
{
  for (size_t i = 0; t->there[i] != NONE; ++i)
    if (t->there[i] == ordinal)
      return true;
  return false;
}

static void
write_file (const struct table *t, const struct nbi_header *h,
            struct memory *m)
{
  CLEANUP_FREE uint8_t *plain = calloc (1, h->chunk_size);
  struct file_writer *writer;

  assert_int_equal (file_writer_new (h, NULL, &m->sink, &writer, NULL), 0);
  for (uint32_t i = 0; i < t->nr; ++i) {
    struct nbi_record record = {
      .kind = NBI_CHUNK, .codec = NBI_STORED, .number = i % 1000,
      .stored = h->chunk_size, .plain = h->chunk_size,
    };

    if (!is_there (t, i)) {
      assert_int_equal (file_writer_skip (writer, NULL), 0);
      continue;
    }
    put_le32 (plain, i);
    assert_int_equal (nbi_identity (plain, h->chunk_size, record.identity,
                                    NULL), 0);
    assert_int_equal (file_writer_add (writer, &record, plain, NULL), 0);
    assert_int_equal (record.ordinal, i);
  }
  assert_int_equal (file_writer_ordinals (writer), t->nr);
  assert_int_equal (file_writer_end (writer, NULL, NULL), 0);
  file_writer_free (writer);
}

static int
fail_at_finding (void *opaque, struct file_reader *file,
                 const struct verify_finding *finding, struct err *err)
{
  const struct table *t = opaque;

  (void) file;
  (void) err;
  fail_msg ("%s: %s", t->name, finding->what->msg);
  return -EBADMSG;
}

static void
check_file (const struct table *t, const struct memory *m)
{
  const struct verify verify = {
    .data = true, .found = fail_at_finding, .opaque = (void *) t,
  };
  CLEANUP_BLOCK struct block *block = NULL;
  struct file_reader *file;
  struct cache *sheets;
  struct err err = ERR_INIT;
  uint32_t nr = 0;

  assert_int_equal (file_reader_sheets (1 << 20, &sheets, NULL), 0);
  assert_int_equal (block_memory_new ("memory", m->bytes, m->len, &block,
                                      NULL), 0);
  if (file_reader_open (block, sheets, NULL, &file, NULL, &err) < 0)
    fail_msg ("%s: %s", t->name, err.msg);
  assert_int_equal (file_reader_trailer (file)->nr_ordinals, t->nr);
  for (uint32_t i = 0; i < t->nr; ++i) {
    struct nbi_record record;

    if (file_reader_entry (file, i, &record, &err) < 0)
      fail_msg ("%s: %s", t->name, err.msg);
    assert_int_equal (nbi_is_tombstone (&record), !is_there (t, i));
    nr += is_there (t, i);
  }
  assert_int_equal (file_reader_trailer (file)->nr_records, nr);
  if (verify_file (file, &verify, &err) < 0)
    fail_msg ("%s: %s", t->name, err.msg);
  file_reader_unref (file);
  cache_free (sheets);
}

static void
test_tables (void **state)
{
  const struct nbi_header h = example_header ();

  (void) state;
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
    struct memory m = { .sink = { .write = write_memory } };

    write_file (&tables[i], &h, &m);
    check_file (&tables[i], &m);
    free (m.bytes);
  }
}

/* What is left out takes no space: neither records nor sheets. */
static void
test_size (void **state)
{
  const struct table dropped = { "dropped", 5 * 8064, { NONE } };
  const struct nbi_header h = example_header ();
  struct memory m = { .sink = { .write = write_memory } };

  (void) state;
  write_file (&dropped, &h, &m);
  check_file (&dropped, &m);
  assert_int_equal (m.len, NBI_MIN_SIZE + NBI_SHEET_SIZE);
  free (m.bytes);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_tables),
    cmocka_unit_test (test_size),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
