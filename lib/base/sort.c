/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/sort.h"

/* Two passes over 16 bits each. */
int
sort_u32 (uint32_t *numbers, uint32_t *tmp, size_t nr)
{
  CLEANUP_FREE size_t *count = malloc (65537 * sizeof *count);

  if (count == NULL)
    return -ENOMEM;
  for (int shift = 0; shift < 32; shift += 16) {
    uint32_t *swap = numbers;

    memset (count, 0, 65537 * sizeof *count);
    for (size_t i = 0; i < nr; ++i)
      count[(numbers[i] >> shift & 0xFFFF) + 1]++;
    for (size_t i = 1; i < 65536; ++i)
      count[i] += count[i - 1];
    for (size_t i = 0; i < nr; ++i)
      tmp[count[numbers[i] >> shift & 0xFFFF]++] = numbers[i];
    numbers = tmp;
    tmp = swap;
  }
  /* Two passes: sorted where it was. */
  return 0;
}
