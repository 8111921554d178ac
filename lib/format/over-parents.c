/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <assert.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/over-parents.h"

bool
over_parents_is_whole (uint32_t sector_size, uint32_t in_block, uint64_t len)
{
  return in_block % sector_size == 0 && len % sector_size == 0;
}

uint64_t
over_parents_piece (uint32_t sector_size, uint32_t in_block, uint64_t len)
{
  uint32_t in_sector = in_block % sector_size;

  return in_sector > 0 || len < sector_size
    ? min_u64 (len, sector_size - in_sector)
    : round_down (len, sector_size);
}

int
over_parents_are_set (const struct over_parents *b, uint32_t in_block,
                      uint64_t len, bool *set, struct err *err)
{
  uint32_t i = in_block / b->sector_size, nr;
  uint32_t end = (uint32_t) div_round_up (in_block + len, b->sector_size);
  int r = 0;

  for (*set = true; r == 0 && *set && i < end; i += nr)
    r = b->ops->run (b, i, end - i, &nr, set, err);
  return r;
}

/* A part of one sector, which the caller has alone if its bit is 0. */
static int
write_in_sector (const struct over_parents *b, uint32_t in_block,
                 const void *buf, size_t len, struct err *err)
{
  uint32_t in_sector = in_block % b->sector_size;
  uint32_t start = in_block - in_sector;
  uint8_t bytes[OVER_PARENTS_MAX_SECTOR];
  bool set;
  int r = over_parents_are_set (b, in_block, len, &set, err);

  assert (b->sector_size <= sizeof bytes);
  if (r < 0)
    return r;
  if (set)
    return block_pwrite (b->file, buf, len, b->data_off + in_block, 0, err);
  r = b->ops->read (b, bytes, b->sector_size, b->disk_off + start, err);
  if (r < 0)
    return r;
  memcpy (bytes + in_sector, buf, len);
  return block_pwrite (b->file, bytes, b->sector_size, b->data_off + start, 0,
                       err);
}

/* A part of a sector in front, whole ones, a part of one behind. */
int
over_parents_write (const struct over_parents *b, uint32_t in_block,
                    const void *buf, uint64_t len, struct err *err)
{
  const char *p = buf;
  int r = 0;

  while (r == 0 && len > 0) {
    uint64_t n = over_parents_piece (b->sector_size, in_block, len);

    r = over_parents_is_whole (b->sector_size, in_block, n)
      ? block_pwrite (b->file, p, n, b->data_off + in_block, 0, err)
      : write_in_sector (b, in_block, p, n, err);
    p += n;
    in_block += (uint32_t) n;
    len -= n;
  }
  return r;
}

/* Bits do not become 0 while we look. */
int
over_parents_trim (const struct over_parents *b, uint32_t in_block,
                   uint64_t len, struct err *err)
{
  uint32_t i = (uint32_t) div_round_up (in_block, b->sector_size), nr;
  uint32_t end = (uint32_t) ((in_block + len) / b->sector_size);
  bool here;
  int r = 0;

  for (; r == 0 && i < end; i += nr) {
    r = b->ops->run (b, i, end - i, &nr, &here, err);
    if (r == 0 && here)
      r = block_trim (b->file, (uint64_t) nr * b->sector_size,
                      b->data_off + (uint64_t) i * b->sector_size, 0, err);
  }
  return r;
}
