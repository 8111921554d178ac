/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/checked.h"
#include "tools/nearest.h"

#define LONGEST 30

/* Damerau's distance (optimal string alignment): d[i][j] is that of the
 * first i letters of a and the first j of b.
 */
size_t
nearest_distance (const char *a, const char *b)
{
  size_t d[LONGEST + 1][LONGEST + 1];
  size_t la = strlen (a), lb = strlen (b);

  if (la > LONGEST || lb > LONGEST)
    return SIZE_MAX;
  for (size_t i = 0; i <= la; ++i)
    d[i][0] = i;
  for (size_t j = 0; j <= lb; ++j)
    d[0][j] = j;
  for (size_t i = 1; i <= la; ++i)
    for (size_t j = 1; j <= lb; ++j) {
      size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

      best = min_u64 (best, d[i - 1][j] + 1);
      best = min_u64 (best, d[i][j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        best = min_u64 (best, d[i - 2][j - 2] + 1);
      d[i][j] = best;
    }
  return d[la][lb];
}

bool
nearest_is_near (const char *typed, size_t distance)
{
  return distance <= 2 && distance < strlen (typed);
}
