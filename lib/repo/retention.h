/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which generations of a disk to keep: by how many there are, and one for each
 * day, week, month or year.
 */

#ifndef NBDIMAGE_REPO_RETENTION_H
#define NBDIMAGE_REPO_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum retention_rule {
  RETENTION_LAST,
  RETENTION_DAILY,
  RETENTION_WEEKLY,
  RETENTION_MONTHLY,
  RETENTION_YEARLY,
  RETENTION_NR_RULES,
};

/* "last", "daily", …: a literal. */
const char *retention_rule_to_string (enum retention_rule rule);

/* How many to keep by each rule; 0: it is not asked for. */
struct retention {
  unsigned keep[RETENTION_NR_RULES];
};

/* Is there any rule at all? */
bool retention_has_rules (const struct retention *retention);

/* times: of all generations of a disk, ascending, in seconds since 1970, n of
 * them.  why[i] gets the rules that keep generation i, as bits 1 << rule; 0:
 * none does, it may go.
 *
 * Rules don't know of each other.  `last' keeps the newest ones; the others,
 * from the newest generation on, the last one of each day (week, month, year)
 * that has any, until they have as many as asked.  Days are those of UTC, weeks
 * begin on Mondays.  So with any rule the newest generation is kept.
 */
void retention_choose (const struct retention *retention,
                       const uint64_t *times, size_t n, unsigned *why);

#endif /* NBDIMAGE_REPO_RETENTION_H */
