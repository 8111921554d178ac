/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <time.h>

#include "lib/repo/retention.h"

#define DAY 86400

const char *
retention_rule_to_string (enum retention_rule rule)
{
  static const char *const names[RETENTION_NR_RULES] = {
    "last", "daily", "weekly", "monthly", "yearly",
  };

  return names[rule];
}

bool
retention_has_rules (const struct retention *retention)
{
  for (size_t i = 0; i < RETENTION_NR_RULES; ++i)
    if (retention->keep[i] > 0)
      return true;
  return false;
}

/* A number that all times of one day (week, …) have, and no others. */
static uint64_t
period_of (enum retention_rule rule, uint64_t seconds)
{
  time_t t = (time_t) seconds;
  struct tm tm = { 0 };

  switch (rule) {
  case RETENTION_DAILY:
    return seconds / DAY;
  case RETENTION_WEEKLY:
    return (seconds / DAY + 3) / 7;     /* 1 January 1970 was a Thursday */
  case RETENTION_MONTHLY:
    gmtime_r (&t, &tm);
    return (uint64_t) tm.tm_year * 12 + (uint64_t) tm.tm_mon;
  default:
    gmtime_r (&t, &tm);
    return (uint64_t) tm.tm_year;
  }
}

static void
apply (enum retention_rule rule, unsigned keep, const uint64_t *times,
       size_t n, unsigned *why)
{
  unsigned kept = 0;

  for (size_t i = n; i-- > 0 && kept < keep;) {
    if (rule != RETENTION_LAST && i + 1 < n &&
        period_of (rule, times[i]) == period_of (rule, times[i + 1]))
      continue;                 /* a later one stands for it */
    why[i] |= 1U << rule;
    ++kept;
  }
}

void
retention_choose (const struct retention *retention, const uint64_t *times,
                  size_t n, unsigned *why)
{
  for (size_t i = 0; i < n; ++i)
    why[i] = 0;
  for (unsigned rule = 0; rule < RETENTION_NR_RULES; ++rule)
    apply (rule, retention->keep[rule], times, n, why);
}
