/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The volume descriptors of ISO 9660, with bytes made here.
 * tests/unit/test-iso-tools.sh compares with images of other programs.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "tests/support/iso-maker.h"

static void
an_iso_is_served_as_it_is (void **state)
{
  struct iso_fixture *f = *state;
  struct block_sizes sizes;
  uint8_t buf[5000];

  put_iso (f);
  for (unsigned i = 100 * S; i < 110 * S; ++i)
    f->disc[i] = (uint8_t) (i * 7 + i / 256);
  open_iso (f);
  assert_silent (f);
  assert_true (image_size (f->img) == SECTORS * S);
  assert_true (image_is_plain (f->img));
  assert_int_equal (image_pread (f->img, buf, sizeof buf, 100 * S + 13, NULL),
                    0);
  assert_memory_equal (buf, f->disc + 100 * S + 13, sizeof buf);
  image_get_sizes (f->img, &sizes);
  assert_int_equal (sizes.logical, 2048);
  assert_int_equal (sizes.minimum, 1);
  assert_true (f->info.is_optical);
  assert_string_equal (f->info.type, "ISO 9660");
  assert_string_equal (f->info.label, "MY_DISC");
  assert_string_equal (f->info.creator, "A PROGRAM");
  assert_true (f->info.created == 1795364434);
  assert_property (f, "system-id", "LINUX");
  assert_property (f, "volume-set", "SET");
  assert_property (f, "publisher", "SOMEBODY");
  assert_property (f, "preparer", "A PREPARER");
  assert_property (f, "volume-size", "1.1 MiB (1228800 bytes)");
  assert_property (f, "hybrid", NULL);
  assert_property (f, "udf-revision", NULL);
  assert_property (f, "embedded-md5", NULL);
}

static void
an_iso_is_never_written_to (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  f->writable = true;
  assert_int_equal (try_open_iso (f), -EROFS);
  assert_string_equal (f->err.msg, "ISO images are read-only");
  f->writable = false;
  open_iso (f);
  assert_false (image_writable (f->img));
  assert_string_equal (image_readonly_reason (f->img),
                       "ISO images are read-only");
  assert_int_equal (image_pwrite (f->img, "x", 1, 0, 0, NULL), -EROFS);
}

static void
what_is_no_iso_is_raw (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  memcpy (at (f, 16) + 1, "CDROM", 5);
  assert_int_equal (try_open_iso (f), 0);
  assert_string_equal (image_format (f->img), "raw");
  f->format = "iso";
  assert_int_equal (try_open_iso (f), -EBADMSG);
  f->size = 0;
  assert_int_equal (try_open_iso (f), -EBADMSG);
  f->format = NULL;
  put_iso (f);
  f->size = 17 * S - 1;
  assert_int_equal (try_open_iso (f), 0);
  assert_string_equal (image_format (f->img), "raw");
}

static void
a_download_that_broke_off_is_reported (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  f->size = 500 * S - 100;
  open_iso (f);
  assert_said (f, "the volume has 1228800 bytes, the file only 1023900: 204900 "
               "bytes are missing at the end");
  assert_said (f, "1023900 bytes, is not a multiple of 2048");
  assert_true (image_size (f->img) == 500 * S - 100);
  assert_property (f, "missing", "200 KiB (204900 bytes)");
}

static void
nothing_is_read_behind_the_end (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t buf[2] = { 7, 7 };

  put_iso (f);
  f->size = 500 * S - 100;
  memset (f->disc + f->size - 1, 0x55, 2);
  open_iso (f);
  assert_int_equal (image_pread (f->img, buf, 1, f->size - 1, NULL), 0);
  assert_int_equal (buf[0], 0x55);
  assert_int_equal (image_pread (f->img, buf, 2, f->size - 1, NULL), -EINVAL);
  assert_int_equal (image_pread (f->img, buf, 1, f->size, NULL), -EINVAL);
  assert_int_equal (buf[1], 7);
}

static void
what_follows_the_volume_is_served (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t buf[S];

  put_iso (f);
  put_both32 (at (f, 16) + 80, 100);
  memset (at (f, LAST), 0x55, S);
  open_iso (f);
  assert_silent (f);
  assert_true (image_size (f->img) == SECTORS * S);
  assert_property (f, "missing", NULL);
  assert_int_equal (image_pread (f->img, buf, S, LAST * S, NULL), 0);
  assert_memory_equal (buf, at (f, LAST), S);
}

static void
a_volume_may_be_larger_than_4_gib (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_both32 (at (f, 16) + 80, UINT32_MAX);
  open_iso (f);
  assert_said (f, "the volume has 8796093020160 bytes, the file only 1228800: "
               "8796091791360 bytes are missing at the end");
}

/* What is broken in the primary descriptor, and what is said. */
static const struct {
  unsigned off;
  uint8_t value;
  const char *said;
} primary_rules[] = {
  { 84, 1, "volume space size at 80 is 600 in little-endian and" },
  { 123, 9, "volume set size at 120 is 1 in little-endian and 9 in" },
  { 127, 9, "volume sequence number at 124 is 1 in little-endian and 9" },
  { 131, 9, "logical block size at 128 is 2048 in little-endian and 2057" },
  { 139, 9, "path table size at 132 is 10 in little-endian and 9" },
  { 165, 9, "root directory's place at 158 is 20 in little-endian and 9" },
  { 166, 9, "root directory's size at 166 is 2057 in little-endian and 2048" },
  { 129, 9, "logical block size at 128 is 2304, expected 512, 1024 or 2048" },
};

static void
wrong_numbers_in_the_primary_descriptor_are_reported (void **state)
{
  struct iso_fixture *f = *state;

  for (size_t i = 0; i < sizeof primary_rules / sizeof primary_rules[0];
       ++i) {
    memset (f->disc, 0, f->size);
    put_iso (f);
    at (f, 16)[primary_rules[i].off] = primary_rules[i].value;
    open_iso (f);
    assert_said (f, primary_rules[i].said);
    assert_string_equal (f->info.label, "MY_DISC");
  }
}

static void
descriptors_without_an_end_are_reported (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  memset (at (f, 17), 0, S);
  open_iso (f);
  assert_said (f, "none of type 255 up to sector 16");
  for (unsigned i = 17; i < 200; ++i)
    put_descriptor (f, i, 3);
  open_iso (f);
  assert_said (f, "none of type 255 up to sector 79");
}

static void
dates_that_are_none_are_not_said (void **state)
{
  static const char *const bad[] = {
    "0000000000000000\0", "2026132217203400\0", "20261122172034xx\x70",
    "2026110017203400\0", "                 ", "2026112224203400\0",
  };
  struct iso_fixture *f = *state;

  put_iso (f);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    memcpy (at (f, 16) + 813, bad[i], 17);
    open_iso (f);
    assert_true (f->info.created == -1);
  }
}

static void
joliet_names_the_disc_where_the_plain_name_is_a_stub (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_joliet (f, "Caf\xE9");
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660 + Joliet");
  assert_string_equal (f->info.label, "MY_DISC");
  put_text (at (f, 16) + 40, 32, "");
  open_iso (f);
  assert_string_equal (f->info.label, "Caf\xC3\xA9");
  put_text (at (f, 16) + 40, 32, "CDROM");
  open_iso (f);
  assert_string_equal (f->info.label, "Caf\xC3\xA9");
  put_joliet (f, "");
  open_iso (f);
  assert_string_equal (f->info.label, "CDROM");
  /* Another escape sequence is no Joliet. */
  memcpy (at (f, 17) + 88, "%/A", 3);
  open_iso (f);
  assert_string_equal (f->info.type, "ISO 9660");
}

static void
joliet_names_the_disc_where_the_plain_name_is_not_ascii (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_text (at (f, 16) + 40, 32, "CAF\xC9");
  put_joliet (f, "Caf\xE9");
  open_iso (f);
  assert_string_equal (f->info.label, "Caf\xC3\xA9");
  assert_property (f, "joliet-label", NULL);
}

static void
another_joliet_name_is_said_too (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_joliet (f, "MY_DI");              /* the same, cut off */
  open_iso (f);
  assert_property (f, "joliet-label", NULL);
  put_joliet (f, "My Disc");
  open_iso (f);
  assert_string_equal (f->info.label, "MY_DISC");
  assert_property (f, "joliet-label", "My Disc");
}

static void
an_enhanced_descriptor_is_told_by_its_version (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_joliet (f, "X");
  at (f, 17)[6] = 2;
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660:1999");
  assert_property (f, "extensions", "ISO 9660:1999");
}

static void
names_that_are_not_utf8_are_repaired (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_text (at (f, 16) + 40, 32, "CAF\xC9");
  open_iso (f);
  assert_string_equal (f->info.label, "CAF\xEF\xBF\xBD");
}

static void
an_implanted_md5sum_is_found (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  memcpy (at (f, 16) + 883 + 5, "ISO MD5SUM = "
          "0123456789abcdef0123456789abcdef;SKIPSECTORS = 15;", 63);
  open_iso (f);
  assert_property (f, "embedded-md5", "0123456789abcdef0123456789abcdef");
  /* Cut off by the end of the field. */
  memset (at (f, 16) + 883, ' ', 512);
  memcpy (at (f, 16) + 883 + 512 - 43, "ISO MD5SUM = "
          "0123456789abcdef0123456789abcdef", 43);
  open_iso (f);
  assert_property (f, "embedded-md5", NULL);
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (an_iso_is_served_as_it_is),
    T (an_iso_is_never_written_to),
    T (what_is_no_iso_is_raw),
    T (a_download_that_broke_off_is_reported),
    T (nothing_is_read_behind_the_end),
    T (what_follows_the_volume_is_served),
    T (a_volume_may_be_larger_than_4_gib),
    T (wrong_numbers_in_the_primary_descriptor_are_reported),
    T (descriptors_without_an_end_are_reported),
    T (dates_that_are_none_are_not_said),
    T (joliet_names_the_disc_where_the_plain_name_is_a_stub),
    T (joliet_names_the_disc_where_the_plain_name_is_not_ascii),
    T (another_joliet_name_is_said_too),
    T (an_enhanced_descriptor_is_told_by_its_version),
    T (names_that_are_not_utf8_are_repaired),
    T (an_implanted_md5sum_is_found),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
