/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/vector.h"

int
vector_reserve (void *ptr_to_ptr, size_t len, size_t *cap, size_t size)
{
  size_t new_cap, bytes;
  void *p;

  if (len < *cap)
    return 0;
  if (!checked_add (*cap, *cap / 2 + 8, &new_cap) ||
      !checked_mul (new_cap, size, &bytes))
    return -ENOMEM;
  memcpy (&p, ptr_to_ptr, sizeof p);
  p = realloc (p, bytes);
  if (p == NULL)
    return -ENOMEM;
  memcpy (ptr_to_ptr, &p, sizeof p);
  *cap = new_cap;
  return 0;
}
