/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images that are a CD and a disk with partitions. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "tests/support/iso-maker.h"

static void
put_apple (struct iso_fixture *f, size_t unit, unsigned number,
           uint32_t entries, uint32_t start, uint32_t blocks)
{
  uint8_t *p = f->disc + unit * number;

  memcpy (p, "PM\0\0", 4);
  put_be32 (p + 4, entries);
  put_be32 (p + 8, start);
  put_be32 (p + 12, blocks);
  memset (p + 16, 0, 64);
  snprintf ((char *) p + 16, 32, "name %u", number);
  snprintf ((char *) p + 48, 32, "Apple_type_%u", number);
}

static void
a_hybrid_image_has_partition_tables (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  f->disc[446 + 4] = 0x17;
  put_le32 (f->disc + 446 + 12, 100);
  open_iso (f);
  assert_property (f, "hybrid", NULL);
  f->disc[510] = 0x55;
  f->disc[511] = 0xAA;
  open_iso (f);
  assert_property (f, "hybrid", "MBR");
  memcpy (f->disc + 512, "EFI PART", 8);
  put_apple (f, 2048, 1, 1, 1, 1);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "hybrid", "MBR, GPT, APM");
  f->disc[446] = 'x';                   /* no entry begins like that */
  memcpy (f->disc + 2048, "PM\0\0\0\0\0\0", 8);
  open_iso (f);
  assert_property (f, "hybrid", "GPT");
}

static void
an_apple_partition_map_is_listed (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_apple (f, 512, 1, 3, 1, 3);
  put_apple (f, 512, 2, 3, 64, 100);
  put_apple (f, 512, 3, 3, 164, 2236);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "hybrid", "APM");
  assert_property (f, "apple-partition-1",
                   "Apple_type_1 ‘name 1’, 1536 bytes at offset 512");
  assert_property (f, "apple-partition-3",
                   "Apple_type_3 ‘name 3’, 1144832 bytes at offset 83968");
  assert_property (f, "apple-partition-4", NULL);
  /* In blocks of 2048 bytes, where GPT has the place of the first. */
  memset (f->disc, 0, 16 * S);
  memcpy (f->disc + 512, "EFI PART", 8);
  put_apple (f, 2048, 1, 2, 1, 2);
  put_apple (f, 2048, 2, 2, 16, 584);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "apple-partition-2",
                   "Apple_type_2 ‘name 2’, 1196032 bytes at offset 32768");
}

static void
an_apple_partition_beyond_the_end_is_reported (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_apple (f, 512, 1, 1, 2000, 401);
  open_iso (f);
  assert_said (f, "Apple partition map: partition 1, 205312 bytes at offset "
               "1024000, goes beyond the end of the file, 1228800");
  put_apple (f, 2048, 1, 1, UINT32_MAX, UINT32_MAX);
  put_apple (f, 512, 1, 1, UINT32_MAX, UINT32_MAX);
  open_iso (f);
  assert_said (f, "partition 1, 2199023255040 bytes at offset 2199023255040");
}

static void
an_apple_partition_map_without_an_end_ends (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  put_apple (f, 512, 1, UINT32_MAX, 1, 1);
  open_iso (f);
  assert_said (f, "Apple partition map: no entry at offset 1024, expected "
               "4294967295 of them");
  for (unsigned i = 1; i < 64; ++i)
    put_apple (f, 512, i, UINT32_MAX, 1, 1);
  open_iso (f);
  assert_said (f, "it says that it has 4294967295 entries, of which 63 are "
               "before byte 32768");
  assert_property (f, "apple-partition-63",
                   "Apple_type_63 ‘name 63’, 512 bytes at offset 512");
  assert_true (f->reads < 100);
}

static void
apple_file_systems_over_the_whole_disc_are_named (void **state)
{
  struct iso_fixture *f = *state;

  put_iso (f);
  memcpy (f->disc + 1024, "BD", 2);
  open_iso (f);
  assert_property (f, "hybrid", "HFS");
  memcpy (f->disc + 1024, "H+", 2);
  open_iso (f);
  assert_property (f, "hybrid", "HFS+");
}

/* Everything at once, on a medium that fails from its n-th read on: it opens
 * or is -EIO, and nothing is lost on the way.
 */
static void
a_medium_may_fail_at_any_read (void **state)
{
  struct iso_fixture *f = *state;
  unsigned reads, opened = 0;

  put_iso (f);
  put_boot (f);
  put_udf (f, 19);
  put_apple (f, 2048, 1, 2, 1, 2);
  put_apple (f, 2048, 2, 2, 16, 584);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "UDF bridge");
  reads = f->reads;
  for (unsigned n = 1; n <= reads + 1; ++n) {
    int r;

    f->fail_read = n;
    r = try_open_iso (f);
    if (r == 0)
      ++opened;
    else {
      assert_int_equal (r, -EIO);
      assert_non_null (strstr (f->err.msg, "bad sector at offset"));
    }
    if (n <= 3)                         /* the first of the descriptors */
      assert_int_equal (r, -EIO);
  }
  assert_true (opened > 0);
  assert_silent (f);                    /* no read failed in the end */
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (a_hybrid_image_has_partition_tables),
    T (an_apple_partition_map_is_listed),
    T (an_apple_partition_beyond_the_end_is_reported),
    T (an_apple_partition_map_without_an_end_ends),
    T (apple_file_systems_over_the_whole_disc_are_named),
    T (a_medium_may_fail_at_any_read),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
