/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the VHD driver accepts, what it refuses and with which words. */

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

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/format/image.h"
#include "tests/support/faulty.h"
#include "tests/support/vhd-small.h"

#define KB 1024

/*--- One rule broken in otherwise good bytes --------------------------------*/

enum place { NOWHERE, FOOTERS, HEADER, BAT, BATMAP, FILE_END };

struct patch {
  enum place place;
  size_t off;
  unsigned width;               /* bytes: 1, 4, 8 */
  uint64_t value;
};

struct broken {
  const char *rule;
  struct patch patch;
  bool bad_sums;                /* leave the checksums as they were */
  int code;
  const char *msg;              /* a part of the message */
};

static void
apply (struct vhd_maker *m, const struct patch *p)
{
  size_t at[] = { 0, m->footer_off, 512, m->table_off, m->batmap_off, 0 };
  uint8_t bytes[8], *to = m->data + at[p->place] + p->off;

  if (p->place == NOWHERE)
    return;
  if (p->place == FILE_END) {   /* off bytes fewer */
    m->len -= p->off;
    return;
  }
  put_be64 (bytes, p->value);
  memcpy (to, bytes + 8 - p->width, p->width);
  if (p->place == FOOTERS && m->spec.type != 2)
    memcpy (m->data + p->off, to, p->width);
}

static void
refused (const struct vhd_spec *spec, const struct broken *b)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct vhd_maker *m = vhd_small_make (spec);
  struct err err = ERR_INIT;
  struct image *img = NULL;
  int r;

  apply (m, &b->patch);
  if (!b->bad_sums && b->patch.place == FOOTERS)
    vhd_maker_sum_footers (m);
  if (!b->bad_sums && b->patch.place == HEADER)
    vhd_maker_sum_header (m);
  r = vhd_small_open (m, NULL, &img, &report, &err);
  if (r != b->code || strstr (err.msg, b->msg) == NULL)
    fail_msg ("%s: expected %d “%s”, got %d “%s”", b->rule, b->code, b->msg,
              r, err.msg);
  assert_null (img);
  assert_int_equal (err.code, r);
  vhd_maker_free (m);
}

static const struct broken broken_dynamic[] = {
  { "footer checksum", { FOOTERS, 100, 1, 1 }, true, -EBADMSG,
    "footer at offset 35840 has checksum" },
  { "footer version", { FOOTERS, 12, 4, 0x00020000 }, false, -ENOTSUP,
    "footer at offset 35840 has format version 2.0, expected 1.x" },
  { "disk type 0", { FOOTERS, 60, 4, 0 }, false, -ENOTSUP, "disk type 0," },
  { "disk type 1", { FOOTERS, 60, 4, 1 }, false, -ENOTSUP, "disk type 1," },
  { "disk type 5", { FOOTERS, 60, 4, 5 }, false, -ENOTSUP, "disk type 5," },
  { "disk type 6", { FOOTERS, 60, 4, 6 }, false, -ENOTSUP, "disk type 6," },
  { "size", { FOOTERS, 48, 8, UINT64_C (1) << 63 }, false, -EBADMSG,
    "a size of 9223372036854775808 bytes" },
  { "header past the end", { FOOTERS, 16, 8, 35840 }, false, -EBADMSG,
    "header at offset 35840 does not fit into the first 35840 bytes" },
  { "header nowhere", { FOOTERS, 16, 8, UINT64_MAX }, false, -EBADMSG,
    "does not fit" },
  { "header in the copy", { FOOTERS, 16, 8, 511 }, false, -EBADMSG,
    "header at offset 511 overlaps the copy" },
  { "header elsewhere", { FOOTERS, 16, 8, 1024 }, false, -EBADMSG,
    "no dynamic header (‘cxsparse’) at offset 1024" },
  { "header cookie", { HEADER, 0, 1, 'C' }, false, -EBADMSG,
    "no dynamic header (‘cxsparse’) at offset 512" },
  { "header checksum", { HEADER, 900, 1, 1 }, true, -EBADMSG,
    "header at offset 512 has checksum" },
  { "header version", { HEADER, 24, 4, 0x00030001 }, false, -ENOTSUP,
    "header at offset 512 has version 3.1" },
  { "block size 0", { HEADER, 32, 4, 0 }, false, -EBADMSG,
    "block size 0, expected a power of 2" },
  { "block size odd", { HEADER, 32, 4, 20000 }, false, -EBADMSG,
    "block size 20000, expected a power of 2" },
  { "block size small", { HEADER, 32, 4, 2048 }, false, -ENOTSUP,
    "block size 2048, expected 4096 to 268435456" },
  { "block size big", { HEADER, 32, 4, 0x20000000 }, false, -ENOTSUP,
    "block size 536870912, expected" },
  { "BAT past the end", { HEADER, 16, 8, 35840 - 15 }, false, -EBADMSG,
    "BAT at offset 35825 with 4 entries does not fit" },
  { "BAT nowhere", { HEADER, 16, 8, UINT64_MAX }, false, -EBADMSG,
    "does not fit" },
  { "BAT in the copy", { HEADER, 16, 8, 500 }, false, -EBADMSG,
    "BAT at offset 500 overlaps the copy" },
  { "BAT in the header", { HEADER, 16, 8, 1535 }, false, -EBADMSG,
    "BAT at offset 1535 with 4 entries overlaps the dynamic header" },
  { "entries without end", { HEADER, 28, 4, 0xFFFFFFFF }, false, -EBADMSG,
    "with 4294967295 entries does not fit into the first 35840 bytes" },
  { "too few entries", { HEADER, 28, 4, 3 }, false, -EBADMSG,
    "BAT has 3 entries for blocks of 16384 bytes, which is too small for a "
    "disk of 65536 bytes" },
  { "block in the copy", { BAT, 0, 4, 0 }, false, -EBADMSG,
    "BAT entry 0 (at offset 1536) is sector 0: the block would overlap the "
    "copy of the footer at offset 0" },
  { "block in the header", { BAT, 12, 4, 1 }, false, -EBADMSG,
    "BAT entry 3 (at offset 1548) is sector 1: the block would overlap the "
    "dynamic header at offset 512" },
  { "block in the BAT", { BAT, 4, 4, 3 }, false, -EBADMSG,
    "BAT entry 1 (at offset 1540) is sector 3: the block would overlap the "
    "BAT at offset 1536" },
  { "block in the footer", { BAT, 4, 4, 38 }, false, -EBADMSG,
    "BAT entry 1 (at offset 1540) is sector 38: the block would end after "
    "offset 35840" },
  { "block far away", { BAT, 4, 4, 0xFFFFFFFE }, false, -EBADMSG,
    "BAT entry 1 (at offset 1540) is sector 4294967294" },
  { "block one sector early", { BAT, 8, 4, 36 }, false, -EBADMSG,
    "BAT entries 0 (sector 4) and 2 (sector 36) overlap" },
  { "one block twice", { BAT, 4, 4, 37 }, false, -EBADMSG,
    "BAT entries 1 (sector 37) and 2 (sector 37) overlap" },
  { "blocks overlap", { BAT, 12, 4, 36 }, false, -EBADMSG,
    "BAT entries 0 (sector 4) and 3 (sector 36) overlap: a block takes 33 "
    "sectors" },
};

static void
a_dynamic_vhd_that_breaks_a_rule_is_refused (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof broken_dynamic / sizeof broken_dynamic[0];
       ++i)
    refused (&vhd_small, &broken_dynamic[i]);
}

static void
a_xenserver_vhd_that_breaks_a_rule_is_refused (void **state)
{
  struct vhd_spec spec = vhd_small;
  static const struct broken broken[] = {
    /* sector 4 batmap · 5 its map · 6 block 0 · 39 block 2 · 72 footer */
    { "block in the batmap header", { BAT, 4, 4, 4 }, false, -EBADMSG,
      "overlap the header of the batmap at offset 2048" },
    { "block in the batmap", { BAT, 4, 4, 5 }, false, -EBADMSG,
      "overlap the batmap at offset 2560" },
    { "encrypted", { BATMAP, 29, 1, 1 }, false, -ENOTSUP,
      "the batmap at offset 2048 holds the hash of a key" },
    { "tapdisk 0.1", { FOOTERS, 32, 4, 1 }, false, -ENOTSUP,
      "tapdisk 0.1, whose bitmaps have another order" },
  };

  (void) state;
  spec.creator = "tap\0";
  spec.creator_version = 0x00010003;
  spec.batmap = true;
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; ++i)
    refused (&spec, &broken[i]);
}

static void
a_fixed_vhd_that_breaks_a_rule_is_refused (void **state)
{
  struct vhd_spec spec = { .type = 2, .size = 8 * KB };
  static const struct broken broken[] = {
    { "footer checksum", { FOOTERS, 100, 1, 1 }, true, -EBADMSG,
      "footer at offset 8192 has checksum" },
    { "footer version", { FOOTERS, 12, 4, 0 }, false, -ENOTSUP,
      "format version 0.0" },
    { "disk type", { FOOTERS, 60, 4, 7 }, false, -ENOTSUP, "disk type 7," },
    { "size", { FOOTERS, 48, 8, UINT64_MAX }, false, -EBADMSG, "a size of" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; ++i)
    refused (&spec, &broken[i]);
}

static void
a_block_over_a_locator_is_refused (void **state)
{
  struct vhd_spec spec = vhd_small;
  struct broken broken = { "locator", { BAT, 4, 4, 4 }, false, -EBADMSG,
    "BAT entry 1 (at offset 1540) is sector 4: the block would overlap the "
    "data of a parent locator at offset 2048" };

  (void) state;
  spec.type = 4;
  spec.locators[0] = (struct vhd_spec_locator) { "W2ru", "p.vhd" };
  refused (&spec, &broken);
}

static void
the_unbroken_ones_open (void **state)
{
  struct vhd_spec tap = vhd_small;
  const struct vhd_spec fixed = { .type = 2, .size = 8 * KB };
  const struct vhd_spec *const specs[] = { &vhd_small, &tap, &fixed };

  (void) state;
  tap.creator = "tap\0";
  tap.creator_version = 0x00010003;
  tap.batmap = true;
  for (size_t i = 0; i < 3; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (specs[i]);
    struct err err = ERR_INIT;

    if (vhd_small_open (m, NULL, &img, &report, &err) < 0)
      fail_msg ("%zu: %s", i, err.msg);
    assert_int_equal (report.lines.len, 0);
    assert_string_equal (image_format (img), "vhd");
    assert_int_equal (image_size (img), specs[i]->size);
    vhd_maker_free (m);
  }
}

static void
an_entry_that_the_disk_does_not_need_is_not_looked_at (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhd_spec spec = vhd_small;
  struct vhd_maker *m;
  struct err err = ERR_INIT;

  (void) state;
  spec.extra_entries = 1;
  m = vhd_small_make (&spec);
  put_be32 (m->data + m->table_off + 16, 0);
  if (vhd_small_open (m, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  vhd_maker_free (m);
}

static void
the_last_block_may_be_cut_where_the_disk_ends (void **state)
{
  struct vhd_spec spec = { .type = 3, .size = 20 * KB, .block_size = 16 * KB };
  uint8_t data[16 * KB];
  struct vhd_maker *m;

  (void) state;
  memset (data, 'x', sizeof data);
  /* 12 KiB of the second block are past the end of the disk. */
  for (size_t cut = 12 * KB; cut <= 12 * KB + 1; ++cut) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;
    int r;

    m = vhd_maker_new (&spec);
    vhd_maker_add_block (m, 1, NULL, data);
    m->len -= cut;
    vhd_maker_finish (m);
    r = vhd_small_open (m, NULL, &img, &report, &err);
    assert_int_equal (r, cut == 12 * KB ? 0 : -EBADMSG);
    if (r == 0)
      assert_int_equal (image_byte (img, 20 * KB - 1), 'x');
    else
      assert_non_null (strstr (err.msg, "BAT entry 1 "));
    vhd_maker_free (m);
  }
}

/*--- What is a VHD ----------------------------------------------------------*/

static const char *
format_of (const uint8_t *data, size_t len, int *code, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;

  assert_int_equal (block_memory_new ("x", data, len, &block, NULL), 0);
  *code = image_open_block (block, NULL, &img, NULL, err);
  return img ? image_format (img) : "";
}

static void
only_a_cookie_where_it_belongs_makes_a_vhd (void **state)
{
  enum { SIZE = 16 * KB };
  static const size_t elsewhere[] = { 1, 7, 8, 511, 512, 1024, SIZE - 513,
                                      SIZE - 511, SIZE - 256, SIZE - 8 };
  static const size_t here[] = { 0, SIZE - 512 };
  struct err err = ERR_INIT;
  int code;

  (void) state;
  for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; ++i) {
    uint8_t data[SIZE] = { 0 };

    memcpy (data + elsewhere[i], "conectix", 8);
    assert_string_equal (format_of (data, SIZE, &code, &err), "raw");
    assert_int_equal (code, 0);
  }
  for (size_t i = 0; i < sizeof here / sizeof here[0]; ++i) {
    uint8_t data[SIZE] = { 0 };

    memcpy (data + here[i], "conectix", 8);
    assert_string_equal (format_of (data, SIZE, &code, &err), "");
    assert_int_equal (code, -EBADMSG);
    assert_non_null (strstr (err.msg, "VHD footer at offset"));
  }
}

static void
tiny_files_are_no_trouble (void **state)
{
  uint8_t data[600] = "conectix";
  struct err err = ERR_INIT;
  int code;

  (void) state;
  for (size_t len = 0; len < sizeof data; ++len) {
    const char *format = format_of (data, len, &code, &err);

    assert_string_equal (format, len < 8 ? "raw" : "");
    assert_int_equal (code, len < 8 ? 0 : -EBADMSG);
  }
}

static void
another_format_can_be_asked_for (void **state)
{
  struct image_options as_raw = { .format = "raw" };
  struct image_options as_vhd = { .format = "vhd" };
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *block = NULL;
  struct vhd_maker *m = vhd_small_make (&vhd_small);
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (vhd_small_open (m, &as_raw, &img, NULL, NULL), 0);
  assert_int_equal (image_size (img), m->len);
  vhd_maker_free (m);
  assert_int_equal (block_memory_new ("x", NULL, 4096, &block, NULL), 0);
  image_unref (steal_ptr (&img));
  assert_int_equal (image_open_block (block, &as_vhd, &img, NULL, &err),
                    -EBADMSG);
  assert_non_null (strstr (err.msg, "there is no VHD footer"));
}

/*--- Failing media ----------------------------------------------------------*/

static void
a_read_that_fails_while_opening_fails_the_opening (void **state)
{
  struct vhd_spec spec = vhd_small;
  struct vhd_maker *m;
  unsigned n;

  (void) state;
  spec.creator = "tap\0";
  spec.creator_version = 0x00010003;
  spec.batmap = true;
  m = vhd_small_make (&spec);
  for (n = 1;; ++n) {
    CLEANUP_BLOCK struct block *memory = vhd_maker_block (m);
    CLEANUP_BLOCK struct block *block = faulty_new (memory, n);
    struct image *img = NULL;
    struct err err = ERR_INIT;
    int r = image_open_block (block, NULL, &img, NULL, &err);

    image_unref (img);
    if (r == 0)
      break;
    assert_int_equal (r, -EIO);
    assert_non_null (strstr (err.msg, "bad sector"));
  }
  /* Two for the probe, footers, header, batmap, BAT. */
  assert_int_equal (n, 8);
  vhd_maker_free (m);
}

/*--- Random damage ----------------------------------------------------------*/

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Anywhere in the metadata: a bit, a vhd_small or a huge number. */
static void
damage (struct vhd_maker *m, uint64_t *rnd)
{
  static const uint8_t values[] = { 0, 1, 0x7F, 0x80, 0xFF };
  size_t end = m->table_off ? m->table_off + 512 : 0;
  size_t off = next_random (rnd) % (end + 512), width;
  uint8_t *p = m->data + (off < end ? off : m->footer_off + off - end);

  width = 1 + next_random (rnd) % 4;
  for (size_t i = 0; i < width && p + i < m->data + m->len; ++i)
    if (next_random (rnd) % 3)
      p[i] = values[next_random (rnd) % sizeof values];
    else
      p[i] ^= (uint8_t) (1 << next_random (rnd) % 8);
}

static void
open_and_read_all (struct vhd_maker *m, const struct image_options *options)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 100 };
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  static char buf[64 * KB];
  uint64_t len;

  if (vhd_small_open (m, options, &img, &report, &err) < 0) {
    assert_true (err.msg[0] != '\0' && err.code < 0);
    return;
  }
  len = image_size (img) < sizeof buf ? image_size (img) : sizeof buf;
  image_pread (img, buf, len, 0, NULL);
  image_pread (img, buf, len, image_size (img) - len, NULL);
  image_extents (img, image_size (img), 0, &list, NULL);
  assert_int_equal (image_get_info (img, &info, NULL), 0);
}

static void
random_damage_does_no_harm (void **state)
{
  const char *given = getenv ("VHD_TEST_SEED");
  uint64_t seed = given ? strtoull (given, NULL, 0)
                        : (uint64_t) time (NULL) * 1000003 + 1;
  uint64_t rnd = seed;

  (void) state;
  print_message ("VHD_TEST_SEED=%llu\n", (unsigned long long) seed);
  for (int i = 0; i < 4000; ++i) {
    struct image_options options = {
      .format = next_random (&rnd) % 8 ? NULL : "vhd",
      .ignore_checksums = next_random (&rnd) % 2,
      .size_rule = (enum image_size_rule) (next_random (&rnd) % 3),
      .parent_path = "/",
    };
    struct vhd_spec spec = vhd_small;
    struct vhd_maker *m;

    spec.type = 2 + next_random (&rnd) % 3;
    spec.creator = next_random (&rnd) % 2 ? "vpc " : "tap\0";
    spec.batmap = next_random (&rnd) % 2;
    spec.locators[0] = (struct vhd_spec_locator) { "W2ru", ".\\x.vhd" };
    m = vhd_small_make (&spec);
    for (unsigned n = next_random (&rnd) % 4; n > 0; --n)
      damage (m, &rnd);
    if (next_random (&rnd) % 4)
      vhd_maker_sum_footers (m);
    if (spec.type != 2 && next_random (&rnd) % 4)
      vhd_maker_sum_header (m);
    if (next_random (&rnd) % 8 == 0)
      m->len -= next_random (&rnd) % m->len;
    open_and_read_all (m, &options);
    vhd_maker_free (m);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_unbroken_ones_open),
    cmocka_unit_test (a_dynamic_vhd_that_breaks_a_rule_is_refused),
    cmocka_unit_test (a_xenserver_vhd_that_breaks_a_rule_is_refused),
    cmocka_unit_test (a_fixed_vhd_that_breaks_a_rule_is_refused),
    cmocka_unit_test (a_block_over_a_locator_is_refused),
    cmocka_unit_test (an_entry_that_the_disk_does_not_need_is_not_looked_at),
    cmocka_unit_test (the_last_block_may_be_cut_where_the_disk_ends),
    cmocka_unit_test (only_a_cookie_where_it_belongs_makes_a_vhd),
    cmocka_unit_test (tiny_files_are_no_trouble),
    cmocka_unit_test (another_format_can_be_asked_for),
    cmocka_unit_test (a_read_that_fails_while_opening_fails_the_opening),
    cmocka_unit_test (random_damage_does_no_harm),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
