/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The two footers of a VHD: which one is believed, and what is said of the
 * other. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/format/image.h"
#include "lib/format/vhd/vhd-disk.h"
#include "tests/support/vhd-small.h"

#define KB 1024

/*--- Footers ----------------------------------------------------------------*/

static void
without_the_footer_at_the_end_the_copy_is_used (void **state)
{
  /* Nothing of it, half of it, damaged, something else in its place. */
  for (int how = 0; how < 4; ++how) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (&vhd_small);
    struct err err = ERR_INIT;

    (void) state;
    if (how < 2)
      m->len -= how == 0 ? 512 : 256;
    else
      memset (m->data + m->footer_off + (how == 2 ? 300 : 0), 0xC7, 8);
    if (vhd_small_open (m, NULL, &img, &report, &err) < 0)
      fail_msg ("%d: %s", how, err.msg);
    assert_true (report_has (&report, "using the copy at offset 0"));
    assert_int_equal (image_byte (img, 32 * KB), 'c');
    vhd_maker_free (m);
  }
}

/* At the end, a type that there is not; all else of it as it was, or zeros from
 * there on, as a write leaves it that the power ended.
 */
static void
a_type_that_there_is_not_is_damage_at_the_end (void **state)
{
  (void) state;
  for (int how = 0; how < 4; ++how) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (&vhd_small);
    uint8_t *footer = m->data + m->footer_off;
    int r;

    if (how % 2 == 0)
      footer[VHD_FOOTER_TYPE + 1] ^= 0x10;
    else
      memset (footer + VHD_FOOTER_TYPE, 0, VHD_FOOTER_SIZE - VHD_FOOTER_TYPE);
    /* Where it has no header it may be that of a fixed VHD. */
    if (how >= 2)
      memset (footer + VHD_FOOTER_DATA_OFFSET, 0xff, 8);
    r = vhd_small_open (m, NULL, &img, &report, NULL);
    assert_int_equal (r, how < 2 ? 0 : -EBADMSG);
    assert_int_equal (report_has (&report, "using the copy at offset 0"),
                      how < 2);
    vhd_maker_free (m);
  }
}

static void
with_a_damaged_copy_the_footer_at_the_end_is_used (void **state)
{
  for (int how = 0; how < 2; ++how) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (&vhd_small);

    (void) state;
    memset (m->data + (how ? 0 : 300), 0xC7, 8);
    assert_int_equal (vhd_small_open (m, NULL, &img, &report, NULL), 0);
    assert_true (report_has (&report, how ? "at offset 0 is missing"
                             : "at offset 0 is damaged"));
    vhd_maker_free (m);
  }
}

static void
when_both_footers_are_valid_the_end_wins (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhd_maker *m = vhd_small_make (&vhd_small);

  (void) state;
  put_be64 (m->data + m->footer_off + 48, 50 * KB);
  vhd_maker_sum_footers (m);
  assert_int_equal (vhd_small_open (m, NULL, &img, &report, NULL), 0);
  assert_int_equal (image_size (img), 50 * KB);
  assert_true (report_has (&report, "differ"));
  vhd_maker_free (m);
}

static void
a_footer_may_have_511_bytes (void **state)
{
  const struct vhd_spec fixed = { .type = 2, .size = 8 * KB };
  const struct vhd_spec *const specs[] = { &vhd_small, &fixed };

  (void) state;
  for (size_t i = 0; i < 2; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (specs[i]);

    m->len--;
    assert_int_equal (vhd_small_open (m, NULL, &img, &report, NULL), 0);
    assert_int_equal (image_size (img), specs[i]->size);
    assert_int_equal (report.lines.len, 0);
    vhd_maker_free (m);
  }
}

static void
a_damaged_fixed_vhd_that_holds_a_dynamic_one_is_refused (void **state)
{
  struct vhd_maker *inner = vhd_small_make (&vhd_small), *outer;
  struct vhd_spec spec = { .type = 2, .size = inner->len };
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  outer = vhd_maker_new (&spec);
  vhd_maker_set_data (outer, inner->data);
  vhd_maker_finish (outer);
  /* Whole, it is the outer one. */
  assert_int_equal (vhd_small_open (outer, NULL, &img, NULL, &err), 0);
  assert_int_equal (image_size (img), inner->len);
  assert_int_equal (image_byte (img, 0), 'c');
  image_unref (steal_ptr (&img));
  outer->data[outer->footer_off + 200]++;
  assert_int_equal (vhd_small_open (outer, NULL, &img, NULL, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "which is right can't be known"));
  vhd_maker_free (inner);
  vhd_maker_free (outer);
}

static void
a_file_that_begins_with_a_fixed_footer_is_refused (void **state)
{
  struct image_options ignore = { .ignore_checksums = true };
  struct vhd_spec spec = { .type = 2, .size = 8 * KB };
  uint8_t data[8 * KB] = { 0 };

  (void) state;
  vhd_maker_footer (&spec, data);
  for (int damaged = 0; damaged < 2; ++damaged) {
    CLEANUP_BLOCK struct block *block = NULL;
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    data[200] = (uint8_t) damaged;
    assert_int_equal (block_memory_new ("x", data, sizeof data, &block, NULL),
                      0);
    assert_int_equal (image_open_block (block, &ignore, &img, NULL, &err),
                      -EBADMSG);
    assert_non_null (strstr (err.msg, "which belongs to its end"));
  }
}

static void
early_tapdisks_marked_an_image_hidden_and_left_the_sum (void **state)
{
  struct vhd_spec spec = vhd_small;

  (void) state;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m;

    spec.creator = i == 0 ? "tap\0" : "win ";
    spec.creator_version = 0x00010001;
    m = vhd_small_make (&spec);
    m->data[85] = m->data[m->footer_off + 85] = 1;
    assert_int_equal (vhd_small_open (m, NULL, &img, NULL, NULL),
                      i == 0 ? 0 : -EBADMSG);
    vhd_maker_free (m);
  }
}

static void
wrong_checksums_are_ignored_when_that_is_asked_for (void **state)
{
  struct image_options options = { .ignore_checksums = true };
  const struct vhd_spec fixed = { .type = 2, .size = 8 * KB };
  const struct vhd_spec *const specs[] = { &vhd_small, &fixed };

  (void) state;
  for (size_t i = 0; i < 2; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_maker *m = vhd_small_make (specs[i]);
    struct err err = ERR_INIT;

    m->data[m->footer_off + 100]++;
    m->data[i == 0 ? 100 : 0]++;
    if (i == 0)
      m->data[512 + 900]++;
    if (vhd_small_open (m, &options, &img, &report, &err) < 0)
      fail_msg ("%s", err.msg);
    assert_true (report_has (&report, "footer at offset"));
    assert_int_equal (report_has (&report, "header at offset 512"), i == 0);
    assert_int_equal (report.lines.len, i == 0 ? 2 : 1);
    assert_int_equal (image_size (img), specs[i]->size);
    assert_non_null (strstr (image_readonly_reason (img), "checksum"));
    vhd_maker_free (m);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (without_the_footer_at_the_end_the_copy_is_used),
    cmocka_unit_test (a_type_that_there_is_not_is_damage_at_the_end),
    cmocka_unit_test (with_a_damaged_copy_the_footer_at_the_end_is_used),
    cmocka_unit_test (when_both_footers_are_valid_the_end_wins),
    cmocka_unit_test (a_footer_may_have_511_bytes),
    cmocka_unit_test (a_damaged_fixed_vhd_that_holds_a_dynamic_one_is_refused),
    cmocka_unit_test (a_file_that_begins_with_a_fixed_footer_is_refused),
    cmocka_unit_test (early_tapdisks_marked_an_image_hidden_and_left_the_sum),
    cmocka_unit_test (wrong_checksums_are_ignored_when_that_is_asked_for),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
