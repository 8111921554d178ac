/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The smaller rules of VHD, one test for each: what is left of footers, what
 * is not looked at and why that is right, the sizes of blocks and bitmaps.
 * docs/VHD.md has the list of all rules.
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
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/format/image.h"
#include "tests/support/vhd-small.h"

#define KB 1024

static const struct vhd_spec small_fixed = { .type = 2, .size = 8 * KB };

/* It opens, without a word, and has what was put into it. */
static void
opens_as_made (const struct vhd_maker *m, const char *what)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  uint64_t last = m->spec.size - 1;
  char first, third, c;

  if (vhd_small_open (m, NULL, &img, &report, &err) < 0)
    fail_msg ("%s: %s", what, err.msg);
  if (report.lines.len > 0)
    fail_msg ("%s: %s", what, report.lines.ptr[0]);
  assert_int_equal (image_size (img), m->spec.size);
  if (m->spec.type == 2)
    return;
  assert_int_equal (image_pread (img, &first, 1, 0, NULL), 0);
  assert_int_equal (image_pread (img, &third, 1, 2 * m->spec.block_size,
                                 NULL), 0);
  assert_int_equal (image_pread (img, &c, 1, last, NULL), 0);
  if (first != 'a' || third != 'c' || c != 0)
    fail_msg ("%s: other bytes", what);
}

static void
is_refused (const struct vhd_maker *m, const struct image_options *options,
            int code, const char *msg)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r = vhd_small_open (m, options, &img, NULL, &err);

  if (r != code || strstr (err.msg, msg) == NULL)
    fail_msg ("expected %d “%s”, got %d “%s”", code, msg, r, err.msg);
}

/*--- Footers ----------------------------------------------------------------*/

/* Eight bytes of it have the cookie.  With fewer there is nothing to know it
 * by, and the file is what its bytes are: a raw disk.
 */
static void
a_fixed_vhd_whose_footer_is_cut_off_is_no_raw_disk (void **state)
{
  char msg[64];

  (void) state;
  for (size_t left = 1; left < 512; ++left) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (&small_fixed);

    m->len -= 512 - left;
    snprintf (msg, sizeof msg, "offset 8192 is cut off: the file has %zu ",
              left);
    if (left == 511)
      opens_as_made (m, "511 bytes");
    else if (left >= 8)
      is_refused (m, NULL, -EBADMSG, msg);
    else {
      assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL), 0);
      assert_string_equal (image_format (img), "raw");
    }
    vhd_maker_free (m);
  }
}

static void
a_dynamic_vhd_whose_footer_is_cut_off_goes_by_the_copy (void **state)
{
  (void) state;
  for (size_t left = 0; left < 511; ++left) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (&vhd_small);
    char text[64];

    m->len -= 512 - left;
    assert_int_equal (vhd_small_open (m, NULL, &img, &report, NULL), 0);
    snprintf (text, sizeof text, "at offset 35840 is cut off after %zu bytes",
              left);
    assert_int_equal (report.lines.len, 1);
    assert_non_null (strstr (report.lines.ptr[0], left >= 8 ? text
                             : "there is no VHD footer at the end"));
    vhd_maker_free (m);
  }
}

/* The outer one lost the end of its footer; the file begins as the inner. */
static void
a_cut_off_fixed_vhd_is_not_the_dynamic_one_in_it (void **state)
{
  struct vhd_maker *inner = vhd_small_make (&vhd_small), *outer;
  struct vhd_spec spec = { .type = 2, .size = inner->len };

  (void) state;
  outer = vhd_maker_new (&spec);
  vhd_maker_set_data (outer, inner->data);
  vhd_maker_finish (outer);
  outer->len -= 100;
  is_refused (outer, NULL, -EBADMSG, "which is right can't be known");
  vhd_maker_free (inner);
  vhd_maker_free (outer);
}

static void
two_whole_footers_of_different_types_are_refused (void **state)
{
  struct image_options ignore = { .ignore_checksums = true };

  (void) state;
  for (unsigned type = 3; type <= 4; ++type) {
    struct vhd_maker *m = vhd_small_make (&vhd_small);
    uint8_t at_end[512];

    memcpy (at_end, m->data + m->footer_off, 512);
    put_be32 (m->data + m->footer_off + 60, type);
    vhd_maker_sum_footers (m);
    memcpy (m->data, m->data + m->footer_off, 512);
    put_be32 (m->data + m->footer_off + 60, 7 - type);
    vhd_maker_sum_footers (m);
    is_refused (m, NULL, -EBADMSG, type == 3
                ? "of type 4 and its copy at offset 0 of type 3"
                : "of type 3 and its copy at offset 0 of type 4");
    is_refused (m, &ignore, -EBADMSG, "which is right can't be known");
    /* At the end of a fixed one there is no copy: what is at 0 is data. */
    memcpy (m->data + m->footer_off, at_end, 512);
    put_be32 (m->data + m->footer_off + 60, 2);
    put_be64 (m->data + m->footer_off + 48, m->footer_off);
    vhd_maker_sum_footers (m);
    memcpy (m->data, at_end, 512);
    m->spec.type = 2;
    m->spec.size = m->footer_off;
    opens_as_made (m, "a fixed VHD around another");
    vhd_maker_free (m);
  }
}

static void
a_block_does_not_lie_over_a_damaged_footer (void **state)
{
  struct vhd_maker *m = vhd_small_make (&vhd_small);

  (void) state;
  m->data[m->footer_off + 300]++;
  put_be32 (m->data + m->table_off + 4, 38);
  is_refused (m, NULL, -EBADMSG, "BAT entry 1 (at offset 1540) is sector 38: "
              "the block would end after offset 35840");
  vhd_maker_free (m);
}

/*--- Large tables -----------------------------------------------------------*/

/* Blocks of 4 KiB, 9 sectors with their bitmaps.  More than are sorted at a
 * time, so that they come in groups.
 */
#define NR_MANY (2500 * 1024)
#define MANY_START (round_up (1536 + NR_MANY * 4, 512) / 512)

/* The file of such a disk without its BAT.  Skips the test where there are no
 * sparse files of 12 GB.
 */
static int
make_sparse (char *path)
{
  struct vhd_spec spec = { .type = 3, .size = NR_MANY * UINT64_C (4096),
                           .block_size = 4096 };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint64_t end = (MANY_START + NR_MANY * UINT64_C (9)) * 512;
  int fd = mkstemp (path);

  assert_true (fd >= 0);
  vhd_maker_finish (m);
  if (ftruncate (fd, (off_t) end) < 0) {
    unlink (path);
    close (fd);
    vhd_maker_free (m);
    print_message ("SKIP: tables: no sparse files of 12 GB here\n");
    skip ();
  }
  assert_int_equal (fd_pwrite (fd, m->data, 1536, 0, NULL), 0);
  assert_int_equal (fd_pwrite (fd, m->data, 512, end, NULL), 0);
  vhd_maker_free (m);
  return fd;
}

/* Entry i is the block at place (first + i * step) % NR_MANY: in another
 * order for each odd step, and all of them once.
 */
static void
put_table (int fd, uint64_t first, uint64_t step)
{
  CLEANUP_FREE uint8_t *table = malloc (NR_MANY * 4);

  assert_non_null (table);
  for (uint64_t i = 0; i < NR_MANY; ++i)
    put_be32 (table + i * 4, (uint32_t) (MANY_START +
                                         (first + i * step) % NR_MANY * 9));
  assert_int_equal (fd_pwrite (fd, table, NR_MANY * 4, 1536, NULL), 0);
}

static void
put_entry (int fd, uint64_t i, uint32_t sector)
{
  uint8_t bytes[4];

  put_be32 (bytes, sector);
  assert_int_equal (fd_pwrite (fd, bytes, 4, 1536 + i * 4, NULL), 0);
}

/* msg NULL: it opens. */
static void
opens_or_says (const char *path, const char *msg)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r = image_open (path, NULL, &img, NULL, &err);

  if (r != (msg ? -EBADMSG : 0) || (msg && strstr (err.msg, msg) == NULL))
    fail_msg ("expected “%s”, got %d “%s”", msg ? msg : "", r, err.msg);
}

static void
overlaps_are_found_in_large_tables_of_any_order (void **state)
{
  /* These are moved a sector on, into the block behind them. */
  static const uint32_t moved[] = { 0, 1, 349525, 800000, 1700000, 2559999 };
  char path[] = "/tmp/test-vhd.XXXXXX", msg[100];
  CLEANUP_CLOSE int fd = make_sparse (path);

  (void) state;
  put_table (fd, NR_MANY - 1, NR_MANY - 1);
  opens_or_says (path, NULL);
  put_table (fd, 0, 3);
  opens_or_says (path, NULL);
  for (size_t i = 0; i < sizeof moved / sizeof moved[0]; ++i) {
    uint32_t place = (uint32_t) (moved[i] * UINT64_C (3) % NR_MANY);
    uint32_t sector = (uint32_t) (MANY_START + place * 9);

    put_entry (fd, moved[i], sector + 1);
    snprintf (msg, sizeof msg, " %u (sector %u)", moved[i], sector + 1);
    opens_or_says (path, msg);
    put_entry (fd, moved[i], sector);
  }
  opens_or_says (path, NULL);
  /* All in one place, and all in one of two. */
  put_table (fd, 7, 0);
  opens_or_says (path, "BAT entries 0 (sector 20066) and 1 (sector 20066)");
  put_table (fd, 0, NR_MANY / 2);
  opens_or_says (path, "BAT entries 0 (sector 20003) and 2 (sector 20003)");
  unlink (path);
}

/*--- Sizes ------------------------------------------------------------------*/

static void
a_fixed_vhd_of_0_bytes_has_none (void **state)
{
  const struct vhd_spec empty = { .type = 2, .size = 0 };
  struct vhd_maker *m = vhd_small_make (&small_fixed);
  CLEANUP_IMAGE struct image *img = NULL;

  (void) state;
  put_be64 (m->data + m->footer_off + 48, 0);
  vhd_maker_sum_footers (m);
  is_refused (m, NULL, -EBADMSG, "a size of 0 bytes, but 8192 are in front");
  vhd_maker_free (m);
  m = vhd_small_make (&empty);
  assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL), 0);
  assert_string_equal (image_format (img), "vhd");
  assert_int_equal (image_size (img), 0);
  vhd_maker_free (m);
}

static void
block_sizes_from_4_kib_to_256_mib_are_read (void **state)
{
  (void) state;
  for (uint32_t size = 4 * KB; size <= 256 * KB * KB; size *= 2) {
    /* Three blocks and a sector; those above 4 MiB are absent. */
    struct vhd_spec spec = { .type = 3, .block_size = size,
                             .size = UINT64_C (3) * size + 512 };
    struct vhd_maker *m;
    char name[32];

    snprintf (name, sizeof name, "blocks of %u", size);
    if (size <= 4 * KB * KB) {
      m = vhd_small_make (&spec);
      opens_as_made (m, name);
    }
    else {
      CLEANUP_IMAGE struct image *img = NULL;
      char c = 1;

      m = vhd_maker_new (&spec);
      vhd_maker_finish (m);
      assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL), 0);
      assert_int_equal (image_pread (img, &c, 1, 3 * size, NULL), 0);
      assert_int_equal (c, 0);
    }
    vhd_maker_free (m);
  }
}

/* A bitmap has a bit for each sector and is padded to a sector: of blocks of
 * 512 KiB 128 bytes are used, of 4 KiB one.
 */
static void
the_padding_of_a_bitmap_means_nothing (void **state)
{
  static const uint32_t sizes[] = { 4 * KB, 16 * KB, 512 * KB, KB * KB };

  (void) state;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
    for (int set = 0; set < 2; ++set) {
      CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
      uint32_t size = sizes[i], used = size / 512 / 8;
      struct vhd_spec spec = { .type = 3, .block_size = size, .size = size };
      struct vhd_maker *m = vhd_maker_new (&spec);
      CLEANUP_FREE uint8_t *data = malloc (size), *bits = calloc (1, used);
      CLEANUP_IMAGE struct image *img = NULL;
      size_t off;
      char c;

      assert_true (data && bits);
      memset (data, 'p', size);
      /* All but the last sector. */
      memset (bits, 0xFF, used);
      bits[used - 1] = 0xFE;
      off = vhd_maker_add_block (m, 0, bits, data);
      memset (m->data + off - 512 + used, set ? 0xFF : 0, 512 - used);
      vhd_maker_finish (m);
      assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL), 0);
      assert_int_equal (image_extents (img, size, 0, &list, NULL), 0);
      assert_int_equal (list.v.len, 2);
      assert_int_equal (list.v.ptr[0].len, size - 512);
      assert_int_equal (list.v.ptr[1].kind, EXTENT_ZERO);
      assert_int_equal (image_pread (img, &c, 1, size - 513, NULL), 0);
      assert_int_equal (c, 'p');
      assert_int_equal (image_pread (img, &c, 1, size - 512, NULL), 0);
      assert_int_equal (c, 0);
      vhd_maker_free (m);
    }
}

/*--- What is not looked at --------------------------------------------------*/

/* Fields that have no meaning for reading, that writers fill in different
 * ways, or that are reserved.
 */
static void
fields_that_mean_nothing_are_not_looked_at (void **state)
{
  static const struct { const char *name; size_t off, len; } in_footer[] = {
    { "features", 8, 4 }, { "minor version", 14, 2 }, { "timestamp", 24, 4 },
    { "creator's version", 32, 4 }, { "creator's system", 36, 4 },
    { "original size", 40, 8 }, { "geometry", 56, 4 }, { "id", 68, 16 },
    { "saved state", 84, 1 }, { "reserved", 85, 427 },
  }, in_header[] = {
    { "next structure", 8, 8 }, { "minor version", 26, 2 },
    { "parent id", 40, 16 }, { "parent timestamp", 56, 4 },
    { "reserved", 60, 4 }, { "parent name", 64, 512 },
    { "locators", 576, 192 }, { "reserved too", 768, 256 },
  };

  (void) state;
  for (int byte = 0; byte < 256; byte += 51) {
    for (size_t i = 0; i < sizeof in_footer / sizeof in_footer[0]; ++i) {
      struct vhd_maker *m = vhd_small_make (i % 2 ? &vhd_small : &small_fixed);
      uint8_t *footer = m->data + m->footer_off;

      memset (footer + in_footer[i].off, byte, in_footer[i].len);
      if (i % 2)
        memcpy (m->data, footer, 512);
      vhd_maker_sum_footers (m);
      opens_as_made (m, in_footer[i].name);
      vhd_maker_free (m);
    }
    for (size_t i = 0; i < sizeof in_header / sizeof in_header[0]; ++i) {
      struct vhd_maker *m = vhd_small_make (&vhd_small);

      memset (m->data + 512 + in_header[i].off, byte, in_header[i].len);
      vhd_maker_sum_header (m);
      opens_as_made (m, in_header[i].name);
      vhd_maker_free (m);
    }
  }
}

static void
of_a_fixed_vhd_the_data_offset_means_nothing (void **state)
{
  static const uint64_t offsets[] = { 0, 512, 8192, UINT32_MAX, UINT64_MAX };

  (void) state;
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; ++i) {
    struct vhd_maker *m = vhd_small_make (&small_fixed);

    put_be64 (m->data + m->footer_off + 16, offsets[i]);
    vhd_maker_sum_footers (m);
    opens_as_made (m, "data offset");
    vhd_maker_free (m);
  }
}

/* A merge may leave the locators in a disk that has no parent any more, and
 * blocks over their data.
 */
static void
locators_of_a_dynamic_disk_reserve_nothing (void **state)
{
  struct vhd_maker *m = vhd_small_make (&vhd_small);

  (void) state;
  memcpy (m->data + 512 + 576, "W2ru", 4);
  put_be32 (m->data + 512 + 576 + 8, 512);
  put_be64 (m->data + 512 + 576 + 16, 2048);
  vhd_maker_sum_header (m);
  opens_as_made (m, "a locator where block 0 is");
  vhd_maker_free (m);
}

/*--- XenServer --------------------------------------------------------------*/

static const struct vhd_spec small_tap = {
  .type = 3, .size = 64 * KB, .block_size = 16 * KB, .id = 1,
  .creator = "tap\0", .creator_version = 0x00010003, .batmap = true,
};

/* It is a hint, and we do not use it. */
static void
a_batmap_that_is_not_in_the_file_only_warns (void **state)
{
  static const struct { size_t at; unsigned width; uint64_t value; } cases[] = {
    { 8, 8, UINT64_MAX }, { 8, 8, UINT64_C (1) << 62 }, { 8, 8, 37376 },
    { 16, 4, UINT32_MAX }, { 16, 4, 69 },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (&small_tap);
    uint8_t bytes[8];
    char c;

    put_be64 (bytes, cases[i].value);
    memcpy (m->data + m->batmap_off + cases[i].at,
            bytes + 8 - cases[i].width, cases[i].width);
    assert_int_equal (vhd_small_open (m, NULL, &img, &report, NULL), 0);
    assert_int_equal (report.lines.len, 1);
    assert_non_null (strstr (report.lines.ptr[0], "the map is a hint"));
    assert_int_equal (image_pread (img, &c, 1, 32 * KB, NULL), 0);
    assert_int_equal (c, 'c');
    vhd_maker_free (m);
  }
}

static void
only_tapdisk_writes_a_batmap (void **state)
{
  struct vhd_spec spec = small_tap;
  struct vhd_maker *m;

  (void) state;
  spec.creator = "win ";
  m = vhd_small_make (&spec);
  m->data[m->batmap_off + 29] = 1;      /* which would be a key's hash */
  opens_as_made (m, "of Windows");
  vhd_maker_free (m);
}

static void
a_hidden_xenserver_disk_is_not_written (void **state)
{
  static const char *const creators[] = { "tap\0", "win " };

  (void) state;
  for (size_t i = 0; i < 2; ++i) {
    struct image_options rw = { .writable = true };
    struct vhd_spec spec = small_fixed;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m;

    spec.creator = creators[i];
    m = vhd_small_make (&spec);
    m->data[m->footer_off + 85] = 1;
    vhd_maker_sum_footers (m);
    opens_as_made (m, "hidden");
    if (i == 0)
      is_refused (m, &rw, -EROFS, "marked as the parent of other disks");
    else
      assert_int_equal (vhd_small_open (m, &rw, &img, NULL, NULL), 0);
    vhd_maker_free (m);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_fixed_vhd_whose_footer_is_cut_off_is_no_raw_disk),
    cmocka_unit_test (a_dynamic_vhd_whose_footer_is_cut_off_goes_by_the_copy),
    cmocka_unit_test (a_cut_off_fixed_vhd_is_not_the_dynamic_one_in_it),
    cmocka_unit_test (two_whole_footers_of_different_types_are_refused),
    cmocka_unit_test (a_block_does_not_lie_over_a_damaged_footer),
    cmocka_unit_test (overlaps_are_found_in_large_tables_of_any_order),
    cmocka_unit_test (a_fixed_vhd_of_0_bytes_has_none),
    cmocka_unit_test (block_sizes_from_4_kib_to_256_mib_are_read),
    cmocka_unit_test (the_padding_of_a_bitmap_means_nothing),
    cmocka_unit_test (fields_that_mean_nothing_are_not_looked_at),
    cmocka_unit_test (of_a_fixed_vhd_the_data_offset_means_nothing),
    cmocka_unit_test (locators_of_a_dynamic_disk_reserve_nothing),
    cmocka_unit_test (a_batmap_that_is_not_in_the_file_only_warns),
    cmocka_unit_test (only_tapdisk_writes_a_batmap),
    cmocka_unit_test (a_hidden_xenserver_disk_is_not_written),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
