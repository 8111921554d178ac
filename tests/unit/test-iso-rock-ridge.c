/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rock Ridge in the root directory, with bytes made here. */

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
rock_ridge_is_found_in_the_root_directory (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *root, *ce;

  put_iso (f);
  root = at (f, ROOT);
  root[0] = 34 + 7 + 28;
  memcpy (root + 34, "SP\x07\x01\xBE\xEF\0", 7);
  ce = root + 34 + 7;
  memcpy (ce, "CE\x1C\x01", 4);
  put_both32 (ce + 4, 30);
  put_both32 (ce + 12, 100);
  put_both32 (ce + 20, 18);
  memcpy (at (f, 30) + 100, "ER\x12\x01\x0A\0\0\x01RRIP_1991A", 18);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660 + Rock Ridge");
  /* Behind what CD-ROM XA puts first. */
  memmove (root + 48, root + 34, 35);
  memset (root + 34, 0, 14);
  root[0] += 14;
  open_iso (f);
  assert_string_equal (f->info.type, "ISO 9660 + Rock Ridge");
  /* Another extension. */
  memcpy (at (f, 30) + 108, "SOMETHING!", 10);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660");
}

static void
broken_rock_ridge_ends (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *root, *ce;

  put_iso (f);
  root = at (f, ROOT);
  root[0] = 34 + 7 + 28;
  memcpy (root + 34, "SP\x07\x01\xBE\xEF\0", 7);
  ce = root + 34 + 7;
  memcpy (ce, "CE\x1C\x01", 4);
  put_both32 (ce + 4, ROOT);            /* to itself */
  put_both32 (ce + 12, 34);
  put_both32 (ce + 20, 35);
  open_iso (f);
  assert_said (f, "root directory at block 20: more than 16 continuation "
               "areas, the next at offset 40994: they may go in a circle");
  assert_true (f->reads < 64);
  assert_string_equal (f->info.type, "ISO 9660");
  put_both32 (ce + 4, UINT32_MAX);
  open_iso (f);
  assert_said (f, "root directory at block 20: continuation area");
  put_both32 (ce + 4, ROOT);
  put_both32 (ce + 20, UINT32_MAX);
  open_iso (f);
  assert_said (f, "continuation area of 4294967295 bytes");
  put_both32 (ce + 20, S + 1);          /* inside the file, but too long */
  open_iso (f);
  assert_said (f, "continuation area of 2049 bytes");
  root[33] = 'x';
  open_iso (f);
  assert_said (f, "the first record is not the directory itself");
  put_both32 (at (f, 16) + 156 + 2, SECTORS);
  open_iso (f);
  assert_said (f, "root directory at block 600: 2048 bytes are not inside");
}

/* Two records that relocate to each other, and to themselves: directories
 * are not walked, so that opening is as short as without them.
 */
static void
directories_that_go_in_circles_cost_nothing (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *root = at (f, ROOT);
  unsigned reads;

  put_iso (f);
  open_iso (f);
  reads = f->reads;
  for (unsigned i = 0; i < 20; ++i) {
    uint8_t *record = root + 34 + 60 * i;
    const char *kind = i % 2 ? "CL" : "PL";

    record[0] = 34 + 12 + 4;
    put_both32 (record + 2, i % 3 ? ROOT : SECTORS + 5);
    put_both32 (record + 10, UINT32_MAX);
    record[25] = 2;                     /* a directory */
    record[32] = 1;
    memcpy (record + 34, kind, 2);
    memcpy (record + 36, "\x0C\x01", 2);
    put_both32 (record + 38, ROOT);
    memcpy (record + 46, "RE\x04\x01", 4);
  }
  /* And a path table in which each directory is its own parent. */
  put_both32 (at (f, 16) + 132, UINT32_MAX);
  put_le32 (at (f, 16) + 140, 40);
  for (unsigned i = 0; i < S; i += 10)
    memcpy (at (f, 40) + i, "\1\0\x14\0\0\0\x02\0A", 10);
  open_iso (f);
  assert_silent (f);
  assert_int_equal (f->reads, reads);
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (rock_ridge_is_found_in_the_root_directory),
    T (broken_rock_ridge_ends),
    T (directories_that_go_in_circles_cost_nothing),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
