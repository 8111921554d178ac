/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A page of the map of a backup image, rule by rule (docs/NBI.md §8). */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/repo/nbi-page.h"
#include "tests/support/nbi.h"

#define A "AAAAAAAAAAAAAAAA"
#define B "BBBBBBBBBBBBBBBB"
#define ZERO_UUID "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

/* As the document has it. */
static const char example[] =
  "\x00\x10\x00\x00" "\x02\x00\x00\x00" A B
  "\x4B\x00\x00"
  "\x03\x01\x0A"
  "\x23\x00\x02"
  "\xF8\xFE\x01";

static void
page_of_the_document_is_encoded_to_the_byte (void **state)
{
  uint8_t files[2][UUID_SIZE];
  struct nbi_run runs[] = {
    { .first = 0, .count = 10, .file = 0, .kind = NBI_DATA, .ordinal = 0 },
    { .first = 10, .count = 1, .file = 1, .kind = NBI_DATA, .ordinal = 5 },
    { .first = 11, .count = 5, .file = 0, .kind = NBI_DATA, .ordinal = 11 },
    { .first = 16, .count = 4080, .kind = NBI_ZERO },
  };
  const struct nbi_page page = {
    .nr_chunks = 4096, .nr_files = 2, .nr_runs = 4, .files = files,
    .runs = runs,
  };
  static uint8_t buf[NBI_PAGE_MAX];

  (void) state;
  memcpy (files[0], A, UUID_SIZE);
  memcpy (files[1], B, UUID_SIZE);
  assert_int_equal (nbi_page_encode (&page, buf), sizeof example - 1);
  assert_memory_equal (buf, example, sizeof example - 1);
}

static void
page_of_the_document_is_decoded (void **state)
{
  struct nbi_page *page;

  (void) state;
  assert_int_equal (nbi_page_decode ((const uint8_t *) example,
                                     sizeof example - 1, 4096, &page, NULL),
                    0);
  assert_int_equal (page->nr_files, 2);
  assert_int_equal (page->nr_runs, 4);
  assert_memory_equal (page->files[1], B, UUID_SIZE);
  assert_int_equal (nbi_page_find (page, 0)->ordinal, 0);
  assert_int_equal (nbi_page_find (page, 9)->count, 10);
  assert_int_equal (nbi_page_find (page, 10)->file, 1);
  assert_int_equal (nbi_page_find (page, 10)->ordinal, 5);
  assert_int_equal (nbi_page_find (page, 15)->first, 11);
  assert_int_equal (nbi_page_find (page, 15)->ordinal, 11);
  assert_int_equal (nbi_page_find (page, 16)->kind, NBI_ZERO);
  assert_int_equal (nbi_page_find (page, 4095)->count, 4080);
  free (page);
}

/* Pages of 20 chunks. */
#define BYTES(s) s, sizeof s - 1

static const struct {
  const char *rule;
  const char *bytes;
  size_t len;
} broken_page[] = {
  { "NBI-70", BYTES ("") },
  { "NBI-70", BYTES ("\x14\0\0\0\0\0\0") },
  { "NBI-70", BYTES ("\x13\0\0\0\0\0\0\0\x91\x01") },
  { "NBI-70", BYTES ("\x14\0\0\x01\0\0\0\0\x91\x01\x08") },
  { "NBI-70", BYTES ("\x14\0\0\0\x15\0\0\0\x9b\x01\0\0") },
  { "NBI-70", BYTES ("\x14\0\0\0\xff\xff\xff\xff\x9b\x01\0\0") },
  { "NBI-70", BYTES ("\x14\0\0\0\x01\0\0\0" "AAAAAAAAAAAAAAA") },
  /* cut off: at a run, in a varint, at the file, at the ordinal */
  { "NBI-71", BYTES ("\x14\0\0\0\0\0\0\0") },
  { "NBI-71", BYTES ("\x14\0\0\0\0\0\0\0\x08") },
  { "NBI-71", BYTES ("\x14\0\0\0\0\0\0\0\x90") },
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01") },
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0") },
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0\x80") },
  /* longer than it needs to be */
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x81\0\0\0") },
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\x80\0\0") },
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0\x81\x80\0") },
  /* 6 bytes */
  { "NBI-71", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0"
                     "\x80\x80\x80\x80\x80\x01") },
  /* kinds 5, 6, 7; 21 chunks; 1 and 20 chunks */
  { "NBI-72", BYTES ("\x14\0\0\0\0\0\0\0\x9d\x01") },
  { "NBI-72", BYTES ("\x14\0\0\0\0\0\0\0\x9e\x01") },
  { "NBI-72", BYTES ("\x14\0\0\0\0\0\0\0\x9f\x01") },
  { "NBI-72", BYTES ("\x14\0\0\0\0\0\0\0\xa0\x01") },
  { "NBI-72", BYTES ("\x14\0\0\0\0\0\0\0\x00\x99\x01") },
  { "NBI-72", BYTES ("\x14\0\0\0\0\0\0\0\xf8\xff\xff\xff\x7f") },
  /* file 1 first; file 2 of 1; file 0 of none; a second one without use */
  { "NBI-73", BYTES ("\x14\0\0\0\x02\0\0\0" A B "\x9b\x01\x01\0") },
  { "NBI-73", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x03\0\0\x93\x01\x01\0") },
  { "NBI-73", BYTES ("\x14\0\0\0\0\0\0\0\x9b\x01\0\0") },
  { "NBI-73", BYTES ("\x14\0\0\0\x02\0\0\0" A B "\x9b\x01\0\0") },
  { "NBI-73", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x00\x91\x01") },
  /* -1; 4294967295; 4294967276 + 19 = 4294967295; 0 + 1 - 2 */
  { "NBI-74", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0\x01") },
  { "NBI-74", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x03\0\xfe\xff\xff\xff\x1f"
                     "\x90\x01") },
  { "NBI-74", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0"
                     "\xd8\xff\xff\xff\x1f") },
  { "NBI-74", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x03\0\0\x93\x01\0\x03") },
  { "NBI-74", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0"
                     "\xff\xff\xff\xff\x7f") },
  /* two runs of zeros; of data that goes on, whole and in part */
  { "NBI-75", BYTES ("\x14\0\0\0\0\0\0\0\x00\x90\x01") },
  { "NBI-75", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x03\0\0\x93\x01\0\0") },
  { "NBI-75", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x04\0\0\x94\x01\0\0") },
  { "NBI-76", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0\0\0") },
  { "NBI-76", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0\0\x9b") },
  { "NBI-77", BYTES ("\x14\0\0\0\x01\0\0\0" ZERO_UUID "\x9b\x01\0\0") },
  { "NBI-77", BYTES ("\x14\0\0\0\x02\0\0\0" A A "\x03\0\0\x93\x01\x01\0") },
  { "NBI-78", BYTES ("\x14\0\0\0\0\0\0\0\x98\x01") },
  { "NBI-78", BYTES ("\x14\0\0\0\0\0\0\0\x99\x01") },
  { "NBI-78", BYTES ("\x14\0\0\0\0\0\0\0\x9a\x01") },
};

static void
each_rule_refuses_a_page (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof broken_page / sizeof broken_page[0]; ++i) {
    /* In a piece of memory of just that size, for valgrind and sanitizers. */
    uint8_t *buf = malloc (broken_page[i].len + 1);
    struct nbi_page *page = NULL;
    struct err err = ERR_INIT;
    int r;

    assert_non_null (buf);
    memcpy (buf, broken_page[i].bytes, broken_page[i].len);
    buf = realloc (buf, broken_page[i].len ? broken_page[i].len : 1);
    assert_non_null (buf);
    r = nbi_page_decode (buf, broken_page[i].len, 20, &page, &err);
    if (r == 0)
      fail_msg ("row %zu is not refused", i);
    assert_refused (r, &err, -EBADMSG, broken_page[i].rule);
    assert_null (page);
    free (buf);
  }
}

static const struct {
  const char *name;
  const char *bytes;
  size_t len;
} fine_page[] = {
  { "all data", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0\0") },
  { "all data in part", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9c\x01\0\0") },
  /* 4294967275 + 19 = 4294967294 */
  { "the last ordinal", BYTES ("\x14\0\0\0\x01\0\0\0" A "\x9b\x01\0"
                               "\xd6\xff\xff\xff\x1f") },
  { "the same record again", BYTES ("\x14\0\0\0\x01\0\0\0" A
                                    "\x03\0\0\x93\x01\0\x01") },
  { "kinds that are not one run", BYTES ("\x14\0\0\0\x01\0\0\0" A
                                         "\x03\0\0\x94\x01\0\0") },
  { "three kinds without data", BYTES ("\x14\0\0\0\0\0\0\0\x00\x01\x8a\x01") },
};

static void
pages_that_break_no_rule_are_the_same_again (void **state)
{
  static uint8_t again[NBI_PAGE_MAX];

  (void) state;
  for (size_t i = 0; i < sizeof fine_page / sizeof fine_page[0]; ++i) {
    struct nbi_page *page;
    struct err err = ERR_INIT;

    if (nbi_page_decode ((const uint8_t *) fine_page[i].bytes,
                         fine_page[i].len, 20, &page, &err) < 0)
      fail_msg ("%s: %s", fine_page[i].name, err.msg);
    assert_int_equal (nbi_page_encode (page, again), fine_page[i].len);
    assert_memory_equal (again, fine_page[i].bytes, fine_page[i].len);
    free (page);
  }
}

/*--- Random pages -----------------------------------------------------------*/

struct made {
  struct nbi_page page;
  uint8_t files[NBI_PAGE_CHUNKS][UUID_SIZE];
  struct nbi_run runs[NBI_PAGE_CHUNKS];
};

/* The next run, unlike the one before. */
static void
add_run (struct rng *rng, struct made *m, uint32_t *done, unsigned longest)
{
  struct nbi_run *run = &m->runs[m->page.nr_runs];
  const struct nbi_run *before = m->page.nr_runs ? run - 1 : NULL;
  uint32_t left = m->page.nr_chunks - *done;

  memset (run, 0, sizeof *run);
  run->first = (uint16_t) *done;
  run->count = (uint16_t) (1 + rng_below (rng, left < longest ? left
                                          : longest));
  do
    run->kind = (uint8_t) rng_below (rng, 5);
  while (before && before->kind == run->kind && run->kind < NBI_DATA);
  if (run->kind >= NBI_DATA) {
    run->file = (uint16_t) rng_below (rng, m->page.nr_files + 1);
    if (run->file == m->page.nr_files)
      random_bytes (rng, m->files[m->page.nr_files++], UUID_SIZE);
    run->ordinal = (uint32_t) rng_next (rng) >> rng_below (rng, 32);
    if (run->ordinal > UINT32_MAX - 1 - NBI_PAGE_CHUNKS)
      run->ordinal -= NBI_PAGE_CHUNKS + 1;
    if (before && before->kind == run->kind && before->file == run->file &&
        before->ordinal + before->count == run->ordinal)
      ++run->ordinal;
  }
  *done += run->count;
  ++m->page.nr_runs;
}

static void
make_page (struct rng *rng, struct made *m)
{
  unsigned longest = 1 + rng_below (rng, 1U << rng_below (rng, 12));
  uint32_t done = 0;

  m->page = (struct nbi_page) {
    .nr_chunks = 2 + rng_below (rng, NBI_PAGE_CHUNKS - 1), .files = m->files,
    .runs = m->runs,
  };
  while (done < m->page.nr_chunks)
    add_run (rng, m, &done, longest);
}

static bool
is_uniform (const struct made *m)
{
  return m->page.nr_runs == 1 && m->runs[0].kind < NBI_DATA;
}

static void
compare_pages (const struct nbi_page *a, const struct nbi_page *b)
{
  assert_int_equal (a->nr_chunks, b->nr_chunks);
  assert_int_equal (a->nr_files, b->nr_files);
  assert_int_equal (a->nr_runs, b->nr_runs);
  if (a->nr_files > 0)
    assert_memory_equal (a->files, b->files, a->nr_files * UUID_SIZE);
  for (uint32_t i = 0; i < a->nr_runs; ++i) {
    assert_int_equal (a->runs[i].first, b->runs[i].first);
    assert_int_equal (a->runs[i].count, b->runs[i].count);
    assert_int_equal (a->runs[i].kind, b->runs[i].kind);
    assert_int_equal (a->runs[i].file, b->runs[i].file);
    assert_int_equal (a->runs[i].ordinal, b->runs[i].ordinal);
  }
}

static void
random_pages_come_back_and_cut_ones_do_not (void **state)
{
  static uint8_t buf[NBI_PAGE_MAX];
  struct made *m = malloc (sizeof *m);
  struct rng rng = { 8 };

  (void) state;
  assert_non_null (m);
  for (unsigned i = 0; i < 300; ++i) {
    struct nbi_page *back;
    struct err err = ERR_INIT;
    size_t len;

    do
      make_page (&rng, m);
    while (is_uniform (m));
    len = nbi_page_encode (&m->page, buf);
    assert_true (len <= NBI_PAGE_MAX);
    if (nbi_page_decode (buf, len, m->page.nr_chunks, &back, &err) < 0)
      fail_msg ("page %u: %s", i, err.msg);
    compare_pages (&m->page, back);
    free (back);
    assert_int_equal (nbi_page_decode (buf, rng_below (&rng, (unsigned) len),
                                       m->page.nr_chunks, &back, NULL),
                      -EBADMSG);
  }
  free (m);
}

static void
changed_pages_are_refused_or_encode_to_the_same (void **state)
{
  static uint8_t buf[NBI_PAGE_MAX], again[NBI_PAGE_MAX];
  struct made *m = malloc (sizeof *m);
  struct rng rng = { 9 };
  unsigned accepted = 0;

  (void) state;
  assert_non_null (m);
  for (unsigned i = 0; i < 3000; ++i) {
    struct nbi_page *back;
    size_t len;

    make_page (&rng, m);
    m->page.nr_chunks = 0;
    for (uint32_t k = 0; k < m->page.nr_runs; ++k)
      m->page.nr_chunks += m->runs[k].count;
    len = nbi_page_encode (&m->page, buf);
    buf[rng_below (&rng, (unsigned) len)] ^= (uint8_t) (1 << rng_below (&rng,
                                                                        8));
    if (nbi_page_decode (buf, len, m->page.nr_chunks, &back, NULL) < 0)
      continue;
    ++accepted;
    assert_int_equal (nbi_page_encode (back, again), len);
    assert_memory_equal (buf, again, len);
    free (back);
  }
  assert_true (accepted > 100);
  free (m);
}

/* 4096 files, one for each chunk, and the longest ordinals: 8 + 16 × 4096 and
 * 8 × 4096 bytes, as much as NBI-34 allows.
 */
static void
largest_page_has_98312_bytes (void **state)
{
  static uint8_t buf[NBI_PAGE_MAX + 1];
  struct made *m = calloc (1, sizeof *m);
  struct nbi_page *back;
  size_t len;

  (void) state;
  assert_non_null (m);
  m->page = (struct nbi_page) { 4096, 4096, 4096, m->files, m->runs };
  for (unsigned i = 0; i < 4096; ++i) {
    put_be32 (m->files[i], i + 1);
    m->runs[i] = (struct nbi_run) { .first = (uint16_t) i, .count = 1,
                                    .file = (uint16_t) i, .kind = NBI_DATA,
                                    .ordinal = UINT32_MAX - 1 };
  }
  len = nbi_page_encode (&m->page, buf);
  /* Files below 128 take one byte, the others two. */
  assert_int_equal (len, 8 + 16 * 4096 + 4096 * (1 + 2 + 5) - 128);
  assert_true (len <= NBI_PAGE_MAX);
  assert_int_equal (nbi_page_decode (buf, len, 4096, &back, NULL), 0);
  compare_pages (&m->page, back);
  free (back);
  free (m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (page_of_the_document_is_encoded_to_the_byte),
    cmocka_unit_test (page_of_the_document_is_decoded),
    cmocka_unit_test (each_rule_refuses_a_page),
    cmocka_unit_test (pages_that_break_no_rule_are_the_same_again),
    cmocka_unit_test (random_pages_come_back_and_cut_ones_do_not),
    cmocka_unit_test (changed_pages_are_refused_or_encode_to_the_same),
    cmocka_unit_test (largest_page_has_98312_bytes),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
