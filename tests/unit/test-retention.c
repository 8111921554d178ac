/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which generations which rules keep: tables of times. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/repo/retention.h"
#include "tests/support/rng.h"

#define MAX_ROWS 16

/* A time, and the rules that keep it: letters of l, d, w, m, y. */
struct row {
  const char *time, *why;
};

struct table {
  const char *name;
  struct retention retention;   /* last, daily, weekly, monthly, yearly */
  struct row rows[MAX_ROWS];
};

static const struct table tables[] = {
  { "none at all", { { 3, 3, 3, 3, 3 } }, { { NULL, NULL } } },
  { "one is kept by every rule", { { 1, 1, 1, 1, 1 } },
    { { "2026-11-27 23:00:00", "ldwmy" } } },
  { "no rule", { { 0, 0, 0, 0, 0 } },
    { { "2026-11-26 23:00:00", "" }, { "2026-11-27 23:00:00", "" } } },
  { "the last ones", { { 2, 0, 0, 0, 0 } },
    { { "2026-11-24 23:00:00", "" },
      { "2026-11-26 23:00:00", "l" },
      { "2026-11-26 23:00:01", "l" } } },
  { "more than there are", { { 4000000000U, 4000000000U, 0, 0, 0 } },
    { { "2026-11-24 00:00:00", "l" },
      { "2026-11-24 23:00:00", "ld" },
      { "2026-11-26 23:00:00", "ld" } } },
  /* The last one of each day; days without any don't count. */
  { "daily", { { 0, 3, 0, 0, 0 } },
    { { "2026-10-01 12:00:00", "" },
      { "2026-11-01 00:00:00", "" },
      { "2026-11-01 23:59:59", "d" },
      { "2026-11-02 00:00:00", "d" },
      { "2026-11-27 08:00:00", "" },
      { "2026-11-27 08:00:01", "d" } } },
  /* 2026-11-22 is a Sunday. */
  { "weeks begin on Mondays", { { 0, 0, 3, 0, 0 } },
    { { "2026-11-08 23:59:59", "" },
      { "2026-11-09 00:00:00", "" },
      { "2026-11-15 23:59:59", "w" },
      { "2026-11-16 00:00:00", "" },
      { "2026-11-22 23:59:59", "w" },
      { "2026-11-23 00:00:00", "w" } } },
  /* 2026-12-31 is a Thursday: the week goes on in the next year. */
  { "a week in two years", { { 0, 0, 2, 2, 2 } },
    { { "2026-12-27 12:00:00", "w" },
      { "2026-12-31 12:00:00", "my" },
      { "2027-01-01 12:00:00", "wmy" } } },
  { "a week at the beginning of time", { { 0, 0, 2, 0, 0 } },
    { { "1970-01-01 00:00:01", "" },
      { "1970-01-04 23:59:59", "w" },
      { "1970-01-05 00:00:00", "w" } } },
  { "months of different years", { { 0, 0, 0, 3, 0 } },
    { { "2024-11-30 12:00:00", "m" },
      { "2025-11-01 00:00:00", "" },
      { "2025-11-30 23:59:59", "m" },
      { "2026-11-01 00:00:00", "m" } } },
  { "the 29th of February", { { 0, 2, 0, 2, 0 } },
    { { "2028-02-28 12:00:00", "" },
      { "2028-02-29 00:00:00", "" },
      { "2028-02-29 12:00:00", "dm" },
      { "2028-03-01 00:00:00", "dm" } } },
  { "years", { { 0, 0, 0, 0, 2 } },
    { { "2024-12-31 23:59:59", "" },
      { "2025-01-01 00:00:00", "" },
      { "2025-12-31 23:59:59", "y" },
      { "2026-01-01 00:00:00", "y" } } },
  { "the end of time", { { 0, 1, 1, 1, 1 } },
    { { "9999-12-31 23:59:58", "" },
      { "9999-12-31 23:59:59", "dwmy" } } },
  /* Each rule counts for itself. */
  { "all together", { { 2, 2, 2, 2, 2 } },
    { { "2024-06-01 12:00:00", "" },
      { "2025-06-01 12:00:00", "y" },
      { "2026-10-03 12:00:00", "m" },
      { "2026-11-13 12:00:00", "" },
      { "2026-11-20 12:00:00", "w" },
      { "2026-11-25 11:00:00", "" },
      { "2026-11-26 12:00:00", "d" },
      { "2026-11-27 11:00:00", "l" },
      { "2026-11-27 12:00:00", "ldwmy" } } },
  { "two at the same time", { { 1, 2, 0, 0, 0 } },
    { { "2026-11-27 12:00:00", "" },
      { "2026-11-27 12:00:00", "ld" } } },
};

static uint64_t
seconds_of (const char *text)
{
  struct tm tm = { 0 };

  assert_non_null (strptime (text, "%Y-%m-%d %H:%M:%S", &tm));
  return (uint64_t) timegm (&tm);
}

static unsigned
bits_of (const char *why)
{
  unsigned bits = 0;

  for (; *why != '\0'; ++why)
    bits |= 1U << (strchr ("ldwmy", *why) - "ldwmy");
  return bits;
}

static void
test_tables (void **state)
{
  (void) state;
  for (size_t t = 0; t < sizeof tables / sizeof tables[0]; ++t) {
    const struct table *table = &tables[t];
    uint64_t times[MAX_ROWS];
    unsigned why[MAX_ROWS];
    size_t n = 0;

    for (; n < MAX_ROWS && table->rows[n].time != NULL; ++n)
      times[n] = seconds_of (table->rows[n].time);
    retention_choose (&table->retention, times, n, why);
    for (size_t i = 0; i < n; ++i)
      if (why[i] != bits_of (table->rows[i].why))
        fail_msg ("%s: row %zu: %x, not %s", table->name, i, why[i],
                  table->rows[i].why);
  }
}

/* What it means, said the other way round: of each rule as many as asked, or
 * one for each period there is; each the last one of its period; none that is
 * older than one that was left out although it is the last one of its own.
 */
static void
test_random (void **state)
{
  static const char *const formats[] = { "", "%F", "%G %V", "%Y %m", "%Y" };
  struct rng rng = { 20261127 };

  (void) state;
  for (int round = 0; round < 2000; ++round) {
    size_t n = 1 + rng_next (&rng) % MAX_ROWS;
    unsigned rule = (unsigned) (rng_next (&rng) % RETENTION_NR_RULES);
    unsigned keep = (unsigned) (rng_next (&rng) % 6), left = keep;
    struct retention retention = { { 0 } };
    char last[32] = "never", text[32];
    uint64_t times[MAX_ROWS];
    unsigned why[MAX_ROWS];

    times[0] = 1 + rng_next (&rng) % 4000000000U;
    for (size_t i = 1; i < n; ++i)
      times[i] = times[i - 1] + rng_next (&rng) % (40 * 86400) *
        (rng_next (&rng) % 2);
    retention.keep[rule] = keep;
    retention_choose (&retention, times, n, why);
    for (size_t i = n; i-- > 0;) {
      time_t t = (time_t) times[i];
      struct tm tm;
      bool expected;

      gmtime_r (&t, &tm);
      if (rule == RETENTION_LAST)
        snprintf (text, sizeof text, "%zu", i);
      else
        strftime (text, sizeof text, formats[rule], &tm);
      expected = left > 0 && strcmp (text, last) != 0;
      left -= expected;
      strcpy (last, text);
      assert_int_equal (why[i], expected ? 1U << rule : 0);
    }
  }
}

static void
test_rules (void **state)
{
  struct retention retention = { { 0 } };

  (void) state;
  assert_false (retention_has_rules (&retention));
  retention.keep[RETENTION_YEARLY] = 1;
  assert_true (retention_has_rules (&retention));
  assert_string_equal (retention_rule_to_string (RETENTION_LAST), "last");
  assert_string_equal (retention_rule_to_string (RETENTION_YEARLY), "yearly");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_rules),
    cmocka_unit_test (test_tables),
    cmocka_unit_test (test_random),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
