/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Replaying the log of a VHDX in memory. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx.h"
#include "tests/support/faulty.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB
#define PAGE 4096

/* The block 0 of the disk, full of 'a', is at 4 MiB; the log has 256 pages. */
#define PAYLOAD (4 * MIB)

static struct vhdx_maker *
make (void)
{
  struct vhdx_spec spec = { .size = 4 * MIB, .id = 1 };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (MIB);

  assert_non_null (data);
  memset (data, 'a', MIB);
  vhdx_maker_add_block (m, 0, data);
  vhdx_maker_finish (m);
  free (data);
  return m;
}

/* A page of that letter, with another one at both ends. */
static const uint8_t *
page_of (char letter)
{
  static uint8_t pages[128][PAGE];
  uint8_t *p = pages[(int) letter];

  memset (p, letter, PAGE);
  p[0] = p[PAGE - 1] = (uint8_t) (letter + 1);
  return p;
}

/* One change: page n of the payload becomes that letter; '\0': zeros. */
static struct vhdx_change
change (unsigned n, char letter)
{
  return (struct vhdx_change) {
    PAYLOAD + (uint64_t) n * PAGE, letter ? page_of (letter) : NULL, PAGE
  };
}

/* An entry with that one change at a page of the log.  Returns where the next
 * one goes.
 */
static size_t
put_entry (struct vhdx_maker *m, size_t page, uint64_t sequence, size_t tail,
           unsigned n, char letter)
{
  const struct vhdx_change c = change (n, letter);

  return page + vhdx_maker_log (m, &(struct vhdx_log_entry) {
      .page = page, .sequence = sequence, .tail = tail, .changes = &c,
      .nr_changes = 1 });
}

static struct image *
open_made (const struct vhdx_maker *m)
{
  CLEANUP_BLOCK struct block *block = vhdx_maker_block (m);
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static void
is_refused (const struct vhdx_maker *m, int code, const char *msg)
{
  CLEANUP_BLOCK struct block *block = vhdx_maker_block (m);
  struct image *img = NULL;
  struct err err = ERR_INIT;
  int r = image_open_block (block, NULL, &img, NULL, &err);

  if (r != code || strstr (err.msg, msg) == NULL)
    fail_msg ("expected %d “%s”, got %d “%s”", code, msg, r, err.msg);
}

/* What is in the first pages of the disk: "ab.": '.' for zeros, '?' for what
 * is not as it was put.
 */
static void
reads (const struct vhdx_maker *m, const char *expected)
{
  struct image *img = open_made (m);
  size_t nr = strlen (expected);
  uint8_t *buf = malloc (nr * PAGE);
  char found[64] = "";

  assert_int_equal (image_pread (img, buf, nr * PAGE, 0, NULL), 0);
  for (size_t i = 0; i < nr; ++i) {
    const uint8_t *p = buf + i * PAGE;
    char c = (char) p[PAGE / 2];

    if (c == 0)
      found[i] = p[0] == 0 && memcmp (p, p + 1, PAGE - 1) == 0 ? '.' : '?';
    else if (c == 'a')
      found[i] = p[0] == 'a' && memcmp (p, p + 1, PAGE - 1) == 0 ? 'a' : '?';
    else
      found[i] = memcmp (p, page_of (c), PAGE) == 0 ? c : '?';
  }
  assert_string_equal (found, expected);
  free (buf);
  image_unref (img);
}

/*--- What is replayed -------------------------------------------------------*/

static void
a_block_that_only_the_log_knows_is_read (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *block = NULL;
  struct vhdx_maker *m = make ();
  CLEANUP_FREE uint8_t *bat = malloc (PAGE), *before = malloc (m->len);
  CLEANUP_FREE uint8_t *after = malloc (m->len);
  const struct vhdx_change c = { m->bat_off, bat, 0 };
  bool has_log = false;
  char buf[8];

  (void) state;
  /* The entry moves into the log; in the table block 0 is not present. */
  memcpy (bat, m->data + m->bat_off, PAGE);
  memset (m->data + m->bat_off, 0, 8);
  reads (m, ".");
  vhdx_maker_log (m, &(struct vhdx_log_entry) { .changes = &c,
                                                .nr_changes = 1 });
  block = vhdx_maker_block (m);
  assert_int_equal (block_pread (block, before, m->len, 0, NULL), 0);
  assert_int_equal (image_open_block (block, NULL, &img, &report, NULL), 0);
  assert_int_equal (image_pread (img, buf, 8, MIB - 4, NULL), 0);
  assert_memory_equal (buf, "aaaa\0\0\0\0", 8);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "its log was replayed in "
                           "memory (entries: 1), the file is left as it is"));
  assert_int_equal (image_get_info (img, &info, NULL), 0);
  for (size_t i = 0; i < info.properties.len; ++i)
    if (strcmp (info.properties.ptr[i].key, "log") == 0) {
      assert_string_equal (info.properties.ptr[i].value,
                           "replayed in memory: 1 entry");
      has_log = true;
    }
  assert_true (has_log);
  /* As if nothing had happened. */
  assert_int_equal (block_pread (block, after, m->len, 0, NULL), 0);
  assert_memory_equal (before, after, m->len);
  vhdx_maker_free (m);
}

static void
metadata_are_read_through_the_log_too (void **state)
{
  struct vhdx_maker *m = make ();
  uint8_t table[PAGE], items[PAGE], regions[PAGE];
  const struct vhdx_change changes[] = {
    { m->metadata_off, table, 0 },
    { m->metadata_off + VHDX_ITEM_PARAMETERS, items, 0 },
    { VHDX_AT_REGIONS_1, regions, 0 }, { VHDX_AT_REGIONS_2, regions, 0 },
  };
  struct image *img;

  (void) state;
  memcpy (table, m->data + m->metadata_off, PAGE);
  memcpy (items, m->data + m->metadata_off + VHDX_ITEM_PARAMETERS, PAGE);
  memcpy (regions, m->data + VHDX_AT_REGIONS_1, PAGE);
  put_le64 (items + 8, 3 * MIB);
  memset (m->data + m->metadata_off, 0, MIB);
  memset (m->data + VHDX_AT_REGIONS_1, 0, 128 * 1024);
  is_refused (m, -EBADMSG, "no region table");
  vhdx_maker_log (m, &(struct vhdx_log_entry) { .changes = changes,
                                                .nr_changes = 4 });
  img = open_made (m);
  assert_int_equal (image_size (img), 3 * MIB);
  image_unref (img);
  vhdx_maker_free (m);
}

static void
the_last_write_to_a_page_counts (void **state)
{
  struct vhdx_maker *m = make ();
  const struct vhdx_change changes[] = {
    change (0, 'b'), change (1, 'c'), change (0, 'd'), change (2, 0),
    change (2, 'e'), change (3, 'f'), change (3, 0),
  };

  (void) state;
  vhdx_maker_log (m, &(struct vhdx_log_entry) {
      .changes = changes, .nr_changes = sizeof changes / sizeof changes[0] });
  reads (m, "dce.aa");
  vhdx_maker_free (m);
}

static void
zeros_may_be_any_number_of_pages (void **state)
{
  struct vhdx_maker *m = make ();
  const struct vhdx_change changes[] = {
    change (2, 'b'), { PAYLOAD + PAGE, NULL, 5 * PAGE }, change (3, 'c'),
    { PAYLOAD + 4 * PAGE, NULL, 0 }, change (7, 'd'),
  };

  (void) state;
  vhdx_maker_log (m, &(struct vhdx_log_entry) {
      .changes = changes, .nr_changes = sizeof changes / sizeof changes[0] });
  reads (m, "a..c..adaa");
  vhdx_maker_free (m);
}

/* More descriptors than the first page of an entry has room for. */
static void
an_entry_may_have_several_pages_of_descriptors (void **state)
{
  struct vhdx_spec spec = { .size = 4 * MIB, .log_len = 3 * MIB };

  (void) state;
  for (size_t nr = 125; nr <= 256; nr += nr == 127 ? 126 : 1) {
    struct vhdx_maker *m = vhdx_maker_new (&spec);
    struct vhdx_change *changes = calloc (nr, sizeof *changes);
    uint8_t *pages = malloc (nr * PAGE), *buf = malloc (MIB);
    struct image *img;
    size_t off;

    memset (buf, 'a', MIB);
    off = vhdx_maker_add_block (m, 0, buf);
    vhdx_maker_finish (m);
    for (size_t i = 0; i < nr; ++i) {
      memset (pages + i * PAGE, (int) i, PAGE);
      changes[i] = (struct vhdx_change) {
        off + i * PAGE, i % 5 ? pages + i * PAGE : NULL, PAGE };
    }
    vhdx_maker_log (m, &(struct vhdx_log_entry) { .changes = changes,
                                                  .nr_changes = nr });
    img = open_made (m);
    assert_int_equal (image_pread (img, buf, nr * PAGE, 0, NULL), 0);
    for (size_t i = 0; i < nr * PAGE; ++i)
      if (buf[i] != (i / PAGE % 5 ? (uint8_t) (i / PAGE) : 0))
        fail_msg ("%zu changes: wrong at %zu", nr, i);
    image_unref (img);
    vhdx_maker_free (m);
    free (changes);
    free (pages);
    free (buf);
  }
}

/*--- Which sequence ---------------------------------------------------------*/

static void
what_is_before_the_tail_is_not_replayed (void **state)
{
  struct vhdx_maker *m = make ();
  size_t second = put_entry (m, 0, 1, 0, 0, 'b'), third;

  (void) state;
  third = put_entry (m, second, 2, second, 1, 'c');
  reads (m, "aca");
  put_entry (m, third, 3, second, 2, 'd');
  reads (m, "acd");
  /* All of it. */
  put_entry (m, third, 3, 0, 2, 'd');
  reads (m, "bcd");
  vhdx_maker_free (m);
}

static void
an_entry_that_was_not_written_to_its_end_does_not_count (void **state)
{
  struct vhdx_maker *m = make ();
  size_t second = put_entry (m, 0, 1, 0, 0, 'b');

  (void) state;
  put_entry (m, second, 2, 0, 1, 'c');
  reads (m, "bc");
  memset (m->data + VHDX_AT_LOG + (second + 1) * PAGE + 512, 0, PAGE - 512);
  reads (m, "ba");
  vhdx_maker_free (m);
}

static void
the_sequence_with_the_highest_number_is_the_active_one (void **state)
{
  struct vhdx_maker *m = make ();
  size_t next = put_entry (m, 0, 5, 0, 0, 'b');

  (void) state;
  next = put_entry (m, next, 6, 0, 1, 'c');
  next = put_entry (m, next + 3, 10, next + 3, 2, 'd');
  reads (m, "aad");
  next = put_entry (m, next, 4, next, 3, 'e');
  reads (m, "aad");
  put_entry (m, next, 20, next, 4, 'f');
  reads (m, "aaaaf");
  vhdx_maker_free (m);
}

/* One without its tail may have the higher number. */
static void
a_sequence_without_its_tail_is_none (void **state)
{
  struct vhdx_maker *m = make ();
  size_t next = put_entry (m, 0, 5, 0, 0, 'b');

  (void) state;
  put_entry (m, next + 1, 9, next, 1, 'c');
  reads (m, "ba");
  vhdx_maker_free (m);
}

/* From everywhere in the ring, with the first, second or third of the
 * entries, of two pages each, across its end.
 */
static void
a_sequence_may_wrap_around (void **state)
{
  (void) state;
  for (size_t start = 249; start <= 255; ++start) {
    struct vhdx_maker *m = make ();
    size_t next = put_entry (m, start, UINT64_MAX / 2, start, 0, 'b');

    next = put_entry (m, next % 256, 0, start, 1, 'c');
    put_entry (m, next % 256, 0, start, 2, 'd');
    reads (m, "bcda");
    vhdx_maker_free (m);
  }
}

static void
the_whole_ring_may_be_in_use (void **state)
{
  struct vhdx_maker *m = make ();
  size_t page = 40;

  (void) state;
  for (unsigned i = 0; i < 128; ++i)
    page = put_entry (m, page % 256, 0, 40, i % 6, (char) ('b' + i % 20));
  /* Entries 126, 127 and 122 to 125 were the last ones for these pages. */
  reads (m, "hidefga");
  vhdx_maker_free (m);
}

static void
an_empty_entry_is_one (void **state)
{
  struct vhdx_maker *m = make ();

  (void) state;
  vhdx_maker_log (m, &(struct vhdx_log_entry) { .sequence = UINT64_MAX });
  reads (m, "aa");
  vhdx_maker_free (m);
}

/*--- Rules ------------------------------------------------------------------*/

/* Two descriptors: page 0 of the payload at 64, zeros at 96. */
static const struct {
  const char *rule;             /* that it breaks, for the reader */
  size_t off;                   /* in the log */
  unsigned width;
  uint64_t value;
  bool old_sum;
} broken_log[] = {
  { "signature", 0, 1, 'L', false },
  { "checksum", 3000, 1, 1, true },
  { "length 0", 8, 4, 0, false },
  { "length not of pages", 8, 4, 2 * PAGE + 512, true },
  { "length over the log", 8, 4, 2 * MIB, true },
  { "no room for the descriptors", 24, 4, 400, false },
  { "no room for the data", 8, 4, PAGE, false },
  { "tail not of pages", 12, 4, 512, false },
  { "tail outside", 12, 4, MIB, false },
  { "tail elsewhere", 12, 4, PAGE, false },
  { "sequence 0", 16, 8, 0, false },
  { "sequence", 16, 8, 2, false },
  { "GUID", 32, 1, 0xEE, false },
  { "descriptor's signature", 64, 1, 'D', false },
  { "descriptor's sequence", 64 + 24, 8, 2, false },
  { "descriptor's offset", 64 + 16, 8, PAYLOAD + 512, false },
  { "zeros' signature", 96, 1, 'Z', false },
  { "zeros' length", 96 + 8, 8, 512, false },
  { "zeros' offset", 96 + 16, 8, PAYLOAD + 512, false },
  { "data's signature", PAGE, 1, 'D', false },
  { "data's high part", PAGE + 4, 4, 1, false },
  { "data's low part", PAGE + 4092, 4, 2, false },
};

static void
an_entry_that_breaks_a_rule_is_none (void **state)
{
  const struct vhdx_change changes[] = { change (0, 'b'), change (1, 0) };

  (void) state;
  for (size_t i = 0; i < sizeof broken_log / sizeof broken_log[0]; ++i) {
    struct vhdx_maker *m = make ();
    uint8_t bytes[8];

    vhdx_maker_log (m, &(struct vhdx_log_entry) { .changes = changes,
                                                  .nr_changes = 2 });
    reads (m, "b.a");
    put_le64 (bytes, broken_log[i].value);
    memcpy (m->data + VHDX_AT_LOG + broken_log[i].off, bytes,
            broken_log[i].width);
    if (!broken_log[i].old_sum)
      vhdx_maker_sum_log (m, 0);
    is_refused (m, -EBADMSG, "the log at offset 1048576 has to be replayed, "
                "but there is no valid sequence of entries in its 1048576 "
                "bytes");
    vhdx_maker_free (m);
  }
}

static void
a_file_that_was_cut_off_is_refused (void **state)
{
  struct vhdx_maker *m = make ();
  const struct vhdx_change c = change (0, 'b');
  struct vhdx_log_entry e = { .changes = &c, .nr_changes = 1 };

  (void) state;
  e.flushed = m->len;
  vhdx_maker_log (m, &e);
  reads (m, "ba");
  e.flushed = m->len + 1;
  vhdx_maker_log (m, &e);
  is_refused (m, -EBADMSG, "the file has 5242880 bytes, but the log says that "
              "5242881 were written: it was cut off");
  e.flushed = UINT64_MAX;
  vhdx_maker_log (m, &e);
  is_refused (m, -EBADMSG, "it was cut off");
  e.flushed = m->len;
  e.last = UINT64_MAX;
  vhdx_maker_log (m, &e);
  is_refused (m, -EBADMSG, "the log says that the file has "
              "18446744073709551615 bytes");
  e.last = UINT64_C (1) << 50;
  vhdx_maker_log (m, &e);
  is_refused (m, -ENOTSUP, "the file has 1125899906842624 bytes, expected 128 "
              "TiB at most");
  vhdx_maker_free (m);
}

/* The last thing that happened was a block at the end of the file, for which
 * the file was not made longer any more.
 */
static void
the_file_is_as_long_as_the_log_says (void **state)
{
  struct vhdx_maker *m = make ();
  uint8_t bat[PAGE];
  const struct vhdx_change changes[] = {
    { m->bat_off, bat, 0 }, { m->len + PAGE, page_of ('b'), 0 },
  };
  struct vhdx_log_entry e = { .changes = changes, .nr_changes = 1 };
  struct image *img;
  uint8_t buf[3 * PAGE];

  (void) state;
  memcpy (bat, m->data + m->bat_off, PAGE);
  put_le64 (bat + 8, m->len | 6);
  vhdx_maker_log (m, &e);
  is_refused (m, -EBADMSG, "BAT entry 1 (at offset 3145736) is offset 5242880:"
              " the block would end after offset 5242880");
  e.last = m->len + MIB;
  e.nr_changes = 2;
  vhdx_maker_log (m, &e);
  img = open_made (m);
  assert_int_equal (image_pread (img, buf, sizeof buf, MIB, NULL), 0);
  for (size_t i = 0; i < PAGE; ++i)
    assert_true (buf[i] == 0 && buf[2 * PAGE + i] == 0);
  assert_memory_equal (buf + PAGE, page_of ('b'), PAGE);
  image_unref (img);
  vhdx_maker_free (m);
}

static void
a_log_does_not_write_into_headers_or_itself (void **state)
{
  static const struct { uint64_t off, zero_len; const char *msg; } cases[] = {
    { VHDX_AT_HEADER_1, 0, "4096 bytes at offset 65536, into the headers" },
    { VHDX_AT_HEADER_2 + 61440, 0, "into the headers" },
    { 0, 65536 + PAGE, "into the headers" },
    { VHDX_AT_LOG, 0, "into the log itself" },
    { VHDX_AT_LOG + MIB - PAGE, 0, "into the log itself" },
    { VHDX_AT_REGIONS_1, 2 * MIB, "into the log itself" },
    { UINT64_MAX - PAGE + 1, 0, "behind the end of any file" },
    { PAYLOAD, UINT64_MAX - PAGE + 1, "behind the end of any file" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    struct vhdx_maker *m = make ();
    const struct vhdx_change c = {
      cases[i].off, cases[i].zero_len ? NULL : page_of ('b'),
      cases[i].zero_len
    };

    vhdx_maker_log (m, &(struct vhdx_log_entry) { .changes = &c,
                                                  .nr_changes = 1 });
    is_refused (m, -EBADMSG, cases[i].msg);
    vhdx_maker_free (m);
  }
}

/*--- Made to hurt -----------------------------------------------------------*/

/* Each page begins an entry that goes around the whole ring. */
static void
entries_in_entries_end_soon (void **state)
{
  CLEANUP_BLOCK struct block *memory = NULL, *counting = NULL;
  struct vhdx_maker *m = make ();
  struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  for (size_t i = 0; i < 256; ++i) {
    uint8_t *p = m->data + VHDX_AT_LOG + i * PAGE;

    vhdx_maker_log (m, &(struct vhdx_log_entry) { .page = i });
    put_le32 (p + 8, MIB);
  }
  memory = vhdx_maker_block (m);
  counting = faulty_new (memory, 0);
  assert_int_equal (image_open_block (counting, NULL, &img, NULL, &err),
                    -EBADMSG);
  assert_non_null (strstr (err.msg, "overlap so often"));
  assert_true (faulty_reads (counting) < 100);
  vhdx_maker_free (m);
}

static void
too_large_a_log_is_refused (void **state)
{
  struct vhdx_maker *m = make ();
  char path[] = "/tmp/test-vhdx.XXXXXX";
  struct image *img = NULL;
  struct err err = ERR_INIT;
  int fd = mkstemp (path);

  (void) state;
  assert_true (fd >= 0);
  vhdx_maker_log (m, &(struct vhdx_log_entry) { .page = 0 });
  for (int i = 0; i < 2; ++i) {
    uint8_t *p = m->data + (i ? VHDX_AT_HEADER_2 : VHDX_AT_HEADER_1);

    put_le32 (p + 68, 1025 * MIB);
    put_le64 (p + 72, 8 * MIB);
  }
  vhdx_maker_sum_headers (m);
  vhdx_maker_save (m, path);
  assert_int_equal (ftruncate (fd, (off_t) 1033 * MIB), 0);
  assert_int_equal (image_open (path, NULL, &img, NULL, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "has 1074790400 bytes, which are more "
                           "than 1073741824"));
  close (fd);
  unlink (path);
  vhdx_maker_free (m);
}

static void
too_many_changes_are_refused (void **state)
{
  const unsigned max = 256 * 1024;
  CLEANUP_FREE struct vhdx_change *changes = calloc (max + 1, sizeof *changes);
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = 4 * MIB, .id = 1, .log_len = 9 * MIB });
  struct vhdx_log_entry e = { .changes = changes, .nr_changes = max };
  uint8_t *data = calloc (1, MIB);
  size_t off = vhdx_maker_add_block (m, 0, data);

  (void) state;
  vhdx_maker_finish (m);
  for (unsigned i = 0; i <= max; ++i)
    changes[i] = (struct vhdx_change) { off + i % 256 * PAGE, NULL, PAGE };
  vhdx_maker_log (m, &e);
  reads (m, "...");
  e.nr_changes++;
  vhdx_maker_log (m, &e);
  is_refused (m, -ENOTSUP, "the log has more than 262144 changes to be "
              "replayed");
  vhdx_maker_free (m);
  free (data);
}

static void
a_read_that_fails_fails (void **state)
{
  struct vhdx_maker *m = make ();
  unsigned n;

  (void) state;
  put_entry (m, 254, 1, 254, 0, 'b');
  put_entry (m, 0, 2, 254, 1, 'c');
  for (n = 1;; ++n) {
    CLEANUP_BLOCK struct block *memory = vhdx_maker_block (m);
    CLEANUP_BLOCK struct block *block = faulty_new (memory, n);
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;
    uint8_t buf[3 * PAGE];
    int r = image_open_block (block, NULL, &img, NULL, &err);

    if (r == 0)
      r = image_pread (img, buf, sizeof buf, 0, &err);
    if (r == 0)
      break;
    assert_int_equal (r, -EIO);
    assert_non_null (strstr (err.msg, "bad sector"));
  }
  assert_true (n > 20);
  vhdx_maker_free (m);
}

/*--- Pieces -----------------------------------------------------------------*/

#define NR_PAGES 64

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Pieces at random, in order; the same painted into a model. */
static void
random_pieces (struct vhdx_piece_vector *v, uint32_t model[NR_PAGES],
               uint32_t *color, uint64_t *rnd)
{
  for (uint64_t page = next_random (rnd) % 9; page < NR_PAGES;
       page += next_random (rnd) % 9) {
    bool zero = next_random (rnd) % 2;
    uint64_t nr = zero ? 1 + next_random (rnd) % 8 : 1;
    struct vhdx_piece piece = { page, min_u64 (nr, NR_PAGES - page),
                                zero ? VHDX_PIECE_ZERO : *color, ++*color };

    assert_int_equal (vector_append (v, &piece), 0);
    for (uint64_t i = 0; i < piece.nr_pages; ++i)
      model[page + i] = piece.desc;
    page += piece.nr_pages;
  }
}

static void
later_pieces_lie_over_earlier_ones (void **state)
{
  uint64_t rnd = (uint64_t) time (NULL) * 1000003 + 1;
  uint32_t color = 0;

  (void) state;
  print_message ("seed %llu\n", (unsigned long long) rnd);
  for (int round = 0; round < 20000; ++round) {
    struct vhdx_piece_vector a = VECTOR_INIT, b = VECTOR_INIT;
    struct vhdx_piece_vector out = VECTOR_INIT;
    uint32_t model[NR_PAGES] = { 0 }, found[NR_PAGES] = { 0 };
    uint64_t end = 0;

    random_pieces (&a, model, &color, &rnd);
    random_pieces (&b, model, &color, &rnd);
    assert_int_equal (vhdx_pieces_merge (&a, &b, &out), 0);
    for (size_t i = 0; i < out.len; ++i) {
      const struct vhdx_piece *p = &out.ptr[i];

      assert_true (p->page >= end && p->nr_pages > 0);
      end = p->page + p->nr_pages;
      assert_true (end <= NR_PAGES);
      for (uint64_t k = p->page; k < end; ++k)
        found[k] = p->desc;
    }
    assert_memory_equal (found, model, sizeof model);
    vector_free (&a);
    vector_free (&b);
    vector_free (&out);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_block_that_only_the_log_knows_is_read),
    cmocka_unit_test (metadata_are_read_through_the_log_too),
    cmocka_unit_test (the_last_write_to_a_page_counts),
    cmocka_unit_test (zeros_may_be_any_number_of_pages),
    cmocka_unit_test (an_entry_may_have_several_pages_of_descriptors),
    cmocka_unit_test (what_is_before_the_tail_is_not_replayed),
    cmocka_unit_test
      (an_entry_that_was_not_written_to_its_end_does_not_count),
    cmocka_unit_test (the_sequence_with_the_highest_number_is_the_active_one),
    cmocka_unit_test (a_sequence_without_its_tail_is_none),
    cmocka_unit_test (a_sequence_may_wrap_around),
    cmocka_unit_test (the_whole_ring_may_be_in_use),
    cmocka_unit_test (an_empty_entry_is_one),
    cmocka_unit_test (an_entry_that_breaks_a_rule_is_none),
    cmocka_unit_test (a_file_that_was_cut_off_is_refused),
    cmocka_unit_test (the_file_is_as_long_as_the_log_says),
    cmocka_unit_test (a_log_does_not_write_into_headers_or_itself),
    cmocka_unit_test (entries_in_entries_end_soon),
    cmocka_unit_test (too_large_a_log_is_refused),
    cmocka_unit_test (too_many_changes_are_refused),
    cmocka_unit_test (a_read_that_fails_fails),
    cmocka_unit_test (later_pieces_lie_over_earlier_ones),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
