/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How large the disk in a VHD is, by whom it was made, and what its description
 * says. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/format/image.h"
#include "tests/support/vhd-small.h"

#define KB 1024

/*--- Sizes ------------------------------------------------------------------*/

struct size_case {
  const char *creator;
  unsigned cylinders, heads, sectors;
  enum image_size_rule rule;
  uint64_t size;
};

static void
the_size_follows_the_creator (void **state)
{
  /* Current size 8 MiB = 16384 sectors; 240/4/17 is 16320 of them. */
  static const struct size_case cases[] = {
    { "vpc ", 240, 4, 17, IMAGE_SIZE_AUTO, 16320 * 512 },
    { "vs  ", 240, 4, 17, IMAGE_SIZE_AUTO, 16320 * 512 },
    { "vpc ", 241, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "vpc ", 65535, 16, 255, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "vpc ", 240, 0, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "vpc ", 240, 4, 17, IMAGE_SIZE_CURRENT, 16384 * 512 },
    { "qemu", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "qem2", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "win ", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "d2v\0", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "d2v ", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "tap\0", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "CTXS", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "vbox", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "wa\0\0", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "wa  ", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "what", 240, 4, 17, IMAGE_SIZE_AUTO, 16384 * 512 },
    { "win ", 240, 4, 17, IMAGE_SIZE_CHS, 16320 * 512 },
  };

  (void) state;
  for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; ++i) {
    const struct size_case *c = &cases[i / 2];
    CLEANUP_IMAGE struct image *img = NULL;
    struct image_options options = { .size_rule = c->rule };
    struct vhd_spec spec = {
      .type = 2 + i % 2, .size = 8 * KB * KB, .creator = c->creator,
      .creator_version = 0x00050003,
      .cylinders = c->cylinders, .heads = c->heads, .sectors = c->sectors,
    };
    struct vhd_maker *m = vhd_maker_new (&spec);
    struct err err = ERR_INIT;

    vhd_maker_finish (m);
    if (vhd_small_open (m, &options, &img, NULL, &err) < 0)
      fail_msg ("%s: %s", c->creator, err.msg);
    if (image_size (img) != c->size)
      fail_msg ("%s %u/%u/%u: %llu bytes", c->creator, c->cylinders, c->heads,
                c->sectors, (unsigned long long) image_size (img));
    vhd_maker_free (m);
  }
}

static void
the_largest_geometry_stands_for_all_larger_sizes (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhd_spec spec = { .type = 3, .size = UINT64_C (200) << 30,
                           .creator = "vpc " };
  struct vhd_maker *m = vhd_maker_new (&spec);

  (void) state;
  vhd_maker_finish (m);
  assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_size (img), spec.size);
  vhd_maker_free (m);
}

static void
a_geometry_of_nothing_is_no_size (void **state)
{
  struct image_options options = { .size_rule = IMAGE_SIZE_CHS };
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhd_spec spec = vhd_small;
  struct err err = ERR_INIT;
  struct vhd_maker *m;

  (void) state;
  spec.cylinders = 5;
  m = vhd_small_make (&spec);
  assert_int_equal (vhd_small_open (m, &options, &img, NULL, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "geometry 5/0/0"));
  vhd_maker_free (m);
}

static void
a_fixed_vhd_is_no_longer_than_its_file (void **state)
{
  static const struct { uint64_t data, size; } cases[] = {
    { 6 * KB, 6 * KB }, { 10 * KB, 8 * KB }, { 8 * KB, 8 * KB },
  };

  (void) state;
  for (size_t i = 0; i < 3; ++i) {
    struct image_options rw = { .writable = true };
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_spec spec = { .type = 2, .size = cases[i].data };
    struct vhd_maker *m = vhd_maker_new (&spec);
    bool doubtful = cases[i].data != 8 * KB;
    struct err err = ERR_INIT;

    vhd_maker_finish (m);
    put_be64 (m->data + m->footer_off + 48, 8 * KB);
    vhd_maker_sum_footers (m);
    assert_int_equal (vhd_small_open (m, NULL, &img, &report, NULL), 0);
    assert_int_equal (image_size (img), cases[i].size);
    assert_int_equal (report_has (&report, "states a size of 8192 bytes"),
                      doubtful);
    image_unref (steal_ptr (&img));
    assert_int_equal (vhd_small_open (m, &rw, &img, NULL, &err),
                      doubtful ? -EROFS : 0);
    if (doubtful)
      assert_non_null (strstr (err.msg, "not that of the file"));
    vhd_maker_free (m);
  }
}

static void
a_fixed_vhd_of_more_than_2_tib_works (void **state)
{
  char path[] = "/tmp/test-vhd.XXXXXX";
  struct vhd_spec spec = { .type = 2, .size = UINT64_C (5) << 40 };
  struct image_options rw = { .writable = true };
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t footer[512], after[512];
  CLEANUP_CLOSE int fd = mkstemp (path);
  struct err err = ERR_INIT;
  char buf[512];

  (void) state;
  assert_true (fd >= 0);
  vhd_maker_footer (&spec, footer);
  if (ftruncate (fd, (off_t) spec.size) < 0) {
    unlink (path);
    print_message ("no sparse files of 5 TiB here\n");
    skip ();
  }
  assert_int_equal (fd_pwrite (fd, footer, 512, spec.size, NULL), 0);
  if (image_open (path, &rw, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  unlink (path);
  assert_int_equal (image_size (img), spec.size);
  memset (buf, 'z', sizeof buf);
  assert_int_equal (image_pwrite (img, buf, 512, spec.size - 512, 0, &err), 0);
  assert_int_equal (image_pwrite (img, buf, 512, spec.size - 511, 0, &err),
                    -EINVAL);
  assert_int_equal (image_byte (img, spec.size - 1), 'z');
  assert_int_equal (fd_pread (fd, after, 512, spec.size, NULL), 0);
  assert_memory_equal (footer, after, 512);
}

static void
a_fixed_vhd_can_be_written_up_to_its_footer (void **state)
{
  struct image_options rw = { .writable = true };
  struct vhd_spec spec = { .type = 2, .size = 8 * KB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t after[512];

  (void) state;
  vhd_maker_finish (m);
  block = vhd_maker_block (m);
  assert_int_equal (image_open_block (block, &rw, &img, NULL, NULL), 0);
  assert_null (image_readonly_reason (img));
  assert_int_equal (image_pwrite (img, "end", 3, 8 * KB - 3, 0, NULL), 0);
  assert_int_equal (image_pwrite (img, "end", 3, 8 * KB - 2, 0, NULL),
                    -EINVAL);
  assert_int_equal (image_zero (img, 4 * KB, 0, 0, NULL), 0);
  assert_int_equal (image_byte (img, 8 * KB - 1), 'd');
  assert_int_equal (block_pread (block, after, 512, 8 * KB, NULL), 0);
  assert_memory_equal (after, m->data + m->footer_off, 512);
  vhd_maker_free (m);
}

/*--- Info -------------------------------------------------------------------*/

static const char *
property (const struct image_info *info, const char *key)
{
  for (size_t i = 0; i < info->properties.len; ++i)
    if (strcmp (info->properties.ptr[i].key, key) == 0)
      return info->properties.ptr[i].value;
  return "";
}

static void
info_says_who_made_it_and_when (void **state)
{
  static const struct { const char *code, *creator; } cases[] = {
    { "win ", "Windows 5.3 (win )" }, { "qemu", "qemu 5.3" },
    { "qem2", "qemu 5.3 (qem2)" }, { "tap\0", "tapdisk 5.3 (tap)" },
    { "a\nb\0", "unknown program ‘a?b’ 5.3" },
  };
  struct vhd_spec spec = vhd_small;

  (void) state;
  spec.creator_version = 0x00050003;
  spec.timestamp = 86400;
  spec.original_size = 4 * KB;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    CLEANUP_IMAGE_INFO struct image_info info;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m;

    spec.creator = cases[i].code;
    m = vhd_small_make (&spec);
    assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL), 0);
    assert_int_equal (image_get_info (img, &info, NULL), 0);
    assert_string_equal (info.creator, cases[i].creator);
    assert_string_equal (info.type, "dynamic");
    assert_int_equal (info.created, 946684800 + 86400);
    assert_int_equal (info.allocation_size, 16 * KB);
    assert_int_equal (info.layers.len, 1);
    assert_string_equal (property (&info, "unique-id"),
                         "1f262d34-3b42-4950-575e-656c737a8188");
    assert_string_equal (info.layers.ptr[0].id,
                         property (&info, "unique-id"));
    assert_string_equal (property (&info, "geometry"), "65535/16/255");
    assert_string_equal (property (&info, "original-size"), "4096");
    assert_string_equal (property (&info, "size-rule"), "current size");
    vhd_maker_free (m);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_size_follows_the_creator),
    cmocka_unit_test (the_largest_geometry_stands_for_all_larger_sizes),
    cmocka_unit_test (a_geometry_of_nothing_is_no_size),
    cmocka_unit_test (a_fixed_vhd_is_no_longer_than_its_file),
    cmocka_unit_test (a_fixed_vhd_of_more_than_2_tib_works),
    cmocka_unit_test (a_fixed_vhd_can_be_written_up_to_its_footer),
    cmocka_unit_test (info_says_who_made_it_and_when),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
