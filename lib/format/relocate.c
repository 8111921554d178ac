/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/relocate.h"

/* How much of the range is a hole, from its beginning on?  Where that can't
 * be known there is none.
 */
static uint64_t
hole_at (struct block *block, uint64_t off, uint64_t len)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };

  if (block_extents (block, len, off, &list, NULL) < 0 || list.v.len == 0 ||
      list.v.ptr[0].kind != EXTENT_HOLE)
    return 0;
  return min_u64 (list.v.ptr[0].len, len);
}

int
relocate_bytes (struct block *block, uint64_t from, uint64_t to, uint64_t len,
                uint8_t *buf, struct job *job, struct err *err)
{
  while (len > 0) {
    uint64_t n = hole_at (block, from, len);
    int r;

    if (n > 0)
      r = block_zero (block, n, to, 0, err);
    else {
      n = min_u64 (len, RELOCATE_BUFFER);
      r = block_pread (block, buf, (size_t) n, from, err);
      if (r == 0)
        r = block_pwrite (block, buf, (size_t) n, to, 0, err);
    }
    if (r == 0)
      r = job_advance (job, n, err);
    if (r < 0)
      return r;
    from += n;
    to += n;
    len -= n;
  }
  return 0;
}

bool
relocate_is_hole (struct block *block, uint64_t off, uint64_t len)
{
  return hole_at (block, off, len) == len;
}

bool
relocate_is_zero (const uint8_t *bytes, size_t len)
{
  return len == 0 ||
    (bytes[0] == 0 && memcmp (bytes, bytes + 1, len - 1) == 0);
}
