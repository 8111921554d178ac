/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Samples: as many as were asked for, each piece as likely as any other. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/repo/verify-sample.h"

static unsigned
draw (struct verify_sample *sample, uint64_t nr, unsigned *times)
{
  unsigned drawn = 0;

  for (uint64_t i = 0; i < nr; ++i)
    if (verify_sample_draw (sample)) {
      ++drawn;
      if (times != NULL)
        ++times[i];
    }
  return drawn;
}

static void
shares_and_sizes_are_as_many_as_they_say (void **state)
{
  static const struct {
    const char *str;
    uint64_t nr, bytes;
    unsigned drawn;
  } row[] = {
    { "100%", 1000, 64000, 1000 },
    { "10%", 1000, 64000, 100 },
    { "0.1%", 1000, 64000, 1 },
    { "0.000001%", 1000, 64000, 1 },    /* never nothing */
    { "33.3%", 1000, 64000, 333 },
    { "1%", 150, 64000, 2 },            /* rather one more */
    { "1K", 1000, 1024000, 1 },
    { "10K", 1000, 1024000, 10 },
    { "1T", 1000, 1024000, 1000 },
    { "10%", 0, 0, 0 },
    { "1K", 0, 0, 0 },
  };

  (void) state;
  for (size_t i = 0; i < sizeof row / sizeof row[0]; ++i) {
    struct verify_sample sample;

    assert_int_equal (verify_sample_parse (row[i].str, &sample, NULL), 0);
    sample.random = i;
    verify_sample_begin (&sample, row[i].nr, row[i].bytes);
    assert_int_equal (draw (&sample, row[i].nr, NULL), row[i].drawn);
    /* What nobody knew of is not drawn. */
    assert_false (verify_sample_draw (&sample));
  }
}

static void
what_is_no_share_and_no_size_is_refused (void **state)
{
  static const char *const bad[] = {
    "", "%", "0%", "0", "101%", "100.000001%", "-1%", "5%%", "5% ", ".5%",
    "1.0000000%", "1e3%", "99999999999999999999%", "x", "0.0%",
  };

  (void) state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    struct verify_sample sample;
    struct err err = ERR_INIT;

    assert_int_equal (verify_sample_parse (bad[i], &sample, &err), -EINVAL);
    assert_non_null (strstr (err.msg, "neither a share"));
  }
}

/* 20 of 200 by 4000 seeds: each about 400 times, give or take six times 19. */
static void
each_piece_is_as_likely_as_any_other (void **state)
{
  unsigned times[200] = { 0 };

  (void) state;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    struct verify_sample sample = { .share = 10000000, .random = seed };

    verify_sample_begin (&sample, 200, 200);
    assert_int_equal (draw (&sample, 200, times), 20);
  }
  for (size_t i = 0; i < 200; ++i)
    assert_in_range (times[i], 400 - 6 * 19, 400 + 6 * 19);
}

static void
same_seed_draws_the_same (void **state)
{
  unsigned a[500] = { 0 }, b[500] = { 0 }, c[500] = { 0 };
  struct verify_sample sample = { .share = 20000000, .random = 7 };
  struct verify_sample again = sample, other = sample;

  (void) state;
  other.random = 8;
  verify_sample_begin (&sample, 500, 500);
  verify_sample_begin (&again, 500, 500);
  verify_sample_begin (&other, 500, 500);
  draw (&sample, 500, a);
  draw (&again, 500, b);
  draw (&other, 500, c);
  assert_memory_equal (a, b, sizeof a);
  assert_memory_not_equal (a, c, sizeof a);
}

static void
chance_is_that_of_drawing_a_bad_one (void **state)
{
  (void) state;
  assert_true (verify_sample_chance (100, 0, 5) == 0.0);
  assert_true (verify_sample_chance (100, 5, 0) == 0.0);
  assert_true (verify_sample_chance (100, 100, 1) == 1.0);
  assert_true (verify_sample_chance (100, 60, 41) == 1.0);
  assert_true (verify_sample_chance (100, 60, 40) < 1.0);
  assert_float_equal (verify_sample_chance (100, 1, 1), 0.01, 1e-9);
  assert_float_equal (verify_sample_chance (10, 2, 3), 1 - 7. * 6 / (10 * 9),
                      1e-9);
  assert_float_equal (verify_sample_chance (10, 3, 2), 1 - 7. * 6 / (10 * 9),
                      1e-9);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (shares_and_sizes_are_as_many_as_they_say),
    cmocka_unit_test (what_is_no_share_and_no_size_is_refused),
    cmocka_unit_test (each_piece_is_as_likely_as_any_other),
    cmocka_unit_test (same_seed_draws_the_same),
    cmocka_unit_test (chance_is_that_of_drawing_a_bad_one),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
