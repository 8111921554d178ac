/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The map of what is named in a file, in one window and in several. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/format/space-map.h"

#define WINDOW (UINT64_C (256) * 1024 * 1024)

static void
is_run (const struct space_run *run, uint64_t first, uint64_t nr)
{
  assert_int_equal (run->first, first);
  assert_int_equal (run->nr, nr);
}

static void
what_is_claimed_twice_is_told (void **state)
{
  struct space_map map = SPACE_MAP_INIT;

  (void) state;
  assert_int_equal (space_map_open (&map, 1000, NULL), 0);
  assert_true (space_map_next (&map));
  assert_true (space_map_claim (&map, 0, 63));
  assert_true (space_map_claim (&map, 63, 2));
  assert_true (space_map_claim (&map, 65, 200));
  assert_false (space_map_claim (&map, 264, 100));
  assert_false (space_map_claim (&map, 363, 1));
  assert_true (space_map_claim (&map, 364, 0));
  /* Behind the end there is nothing. */
  assert_true (space_map_claim (&map, 1000, 5));
  assert_true (space_map_claim (&map, 999, UINT64_MAX));
  assert_false (space_map_claim (&map, 998, 2));
  assert_false (space_map_next (&map));
  space_map_close (&map);
}

static void
runs_of_what_nobody_claimed_are_found (void **state)
{
  struct space_map map = SPACE_MAP_INIT;
  struct space_run run;

  (void) state;
  assert_int_equal (space_map_open (&map, 1000, NULL), 0);
  assert_true (space_map_next (&map));
  space_map_claim (&map, 10, 54);
  space_map_claim (&map, 64, 64);
  space_map_claim (&map, 129, 1);
  space_map_claim (&map, 500, 499);
  assert_true (space_map_free_run (&map, &run));
  is_run (&run, 0, 10);
  assert_true (space_map_free_run (&map, &run));
  is_run (&run, 128, 1);
  assert_true (space_map_free_run (&map, &run));
  is_run (&run, 130, 370);
  assert_false (space_map_free_run (&map, &run));
  assert_true (space_map_last_run (&map, &run));
  is_run (&run, 999, 1);
  space_map_close (&map);
}

/* Blocks and runs go across the borders of windows. */
static void
windows_make_no_difference (void **state)
{
  struct space_map map = SPACE_MAP_INIT;
  struct space_run run;
  unsigned nr = 0;

  (void) state;
  assert_int_equal (space_map_open (&map, 3 * WINDOW - 5, NULL), 0);
  assert_int_equal (space_map_nr_windows (&map), 3);
  while (space_map_next (&map)) {
    assert_true (space_map_claim (&map, 0, WINDOW - 10));
    assert_true (space_map_claim (&map, WINDOW + 10, 1));
    assert_true (space_map_claim (&map, 2 * WINDOW - 7, 14));
    assert_int_equal (space_map_claim (&map, 2 * WINDOW, 1), nr != 2);
    while (space_map_free_run (&map, &run)) {
      if (nr == 1 && run.first == WINDOW - 10)
        is_run (&run, WINDOW - 10, 20);
      else
        is_run (&run, WINDOW + 11, WINDOW - 18);
    }
    nr++;
  }
  assert_int_equal (nr, 3);
  assert_true (space_map_last_run (&map, &run));
  is_run (&run, 2 * WINDOW + 7, WINDOW - 12);
  space_map_close (&map);
}

static void
a_file_of_nothing_has_no_runs (void **state)
{
  struct space_map map = SPACE_MAP_INIT;
  struct space_run run;

  (void) state;
  assert_int_equal (space_map_open (&map, 0, NULL), 0);
  assert_false (space_map_last_run (&map, &run));
  space_map_close (&map);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_is_claimed_twice_is_told),
    cmocka_unit_test (runs_of_what_nobody_claimed_are_found),
    cmocka_unit_test (windows_make_no_difference),
    cmocka_unit_test (a_file_of_nothing_has_no_runs),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
