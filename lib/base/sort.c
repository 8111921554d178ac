/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/sort.h"

#define FEW 16384

/* One pass over the bits of the mask, from bit `shift` on.  count has an
 * element more than the mask has values.
 */
static void
pass (const uint32_t *from, uint32_t *to, size_t nr, int shift, uint32_t mask,
      size_t *count)
{
  memset (count, 0, (mask + (size_t) 2) * sizeof *count);
  for (size_t i = 0; i < nr; ++i)
    count[(from[i] >> shift & mask) + 1]++;
  for (size_t i = 1; i <= mask; ++i)
    count[i] += count[i - 1];
  for (size_t i = 0; i < nr; ++i)
    to[count[from[i] >> shift & mask]++] = from[i];
}

/* Few numbers: four passes over 8 bits each, without a large table. */
static void
sort_few (uint32_t *numbers, uint32_t *tmp, size_t nr)
{
  size_t count[257];

  for (int shift = 0; shift < 32; shift += 16) {
    pass (numbers, tmp, nr, shift, 0xFF, count);
    pass (tmp, numbers, nr, shift + 8, 0xFF, count);
  }
}

int
sort_u32 (uint32_t *numbers, uint32_t *tmp, size_t nr)
{
  CLEANUP_FREE size_t *count = NULL;

  if (nr < FEW) {
    sort_few (numbers, tmp, nr);
    return 0;
  }
  count = malloc (65537 * sizeof *count);
  if (count == NULL)
    return -ENOMEM;
  pass (numbers, tmp, nr, 0, 0xFFFF, count);
  pass (tmp, numbers, nr, 16, 0xFFFF, count);
  return 0;
}
