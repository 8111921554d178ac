/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images that are a CD and a disk with partitions. */

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
  memcpy (f->disc + 2048, "PM\0\0\0\0\0\3", 8);
  open_iso (f);
  assert_property (f, "hybrid", "MBR, GPT, APM");
  f->disc[446] = 'x';
  memcpy (f->disc + 2048, "PM\0\0PMPM", 8);
  open_iso (f);
  assert_property (f, "hybrid", "GPT");
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (a_hybrid_image_has_partition_tables),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
