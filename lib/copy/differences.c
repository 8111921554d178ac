/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/copy/crew.h"
#include "lib/copy/differences.h"

#define PIECE (UINT32_C (2) * 1024 * 1024)

struct differences {
  struct block *a, *b;
  uint64_t a_size, b_size;      /* bytes */
  uint32_t unit;
  uint8_t *buf_a, *buf_b;       /* a piece each */
  copy_differs_fn fn;
  void *opaque;
};

/* How many bytes from off to end surely are zeros; the disk may end before. */
static int
zeros_at (struct block *block, uint64_t off, uint64_t end, uint64_t *n,
          struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };
  int r;

  *n = 0;
  r = block_extents (block, end - off, off, &list, err);
  if (r < 0)
    return err_in (err, "%s: extents at offset %" PRIu64, block_name (block),
                   off);
  if (list.v.len > 0 && copy_kind_is_zero (list.v.ptr[0].kind))
    *n = min_u64 (list.v.ptr[0].len, end - off);
  return 0;
}

/* How many bytes from off on are zeros in both, or where a has none in b. */
static int
zeros_in_both (const struct differences *d, uint64_t off, uint64_t *n,
               struct err *err)
{
  uint64_t end = off < d->a_size ? min_u64 (d->a_size, d->b_size) : d->b_size;
  uint64_t in_a = end - off;
  int r = zeros_at (d->b, off, end, n, err);

  if (r == 0 && *n > 0 && off < d->a_size)
    r = zeros_at (d->a, off, off + *n, &in_a, err);
  *n = min_u64 (*n, in_a);
  return r;
}

static int
compare_unit (const struct differences *d, size_t in, size_t len,
              uint64_t off, bool behind, struct err *err)
{
  const uint8_t *b = d->buf_b + in;

  if (!behind && memcmp (d->buf_a + in, b, len) == 0)
    return 0;
  return d->fn (d->opaque, off, len, crew_is_zero (b, len), err);
}

/* From off to the next multiple of a piece, or to where one of them ends. */
static int
compare_piece (const struct differences *d, uint64_t off, uint64_t *next,
               struct err *err)
{
  bool behind = off >= d->a_size;
  uint64_t end = behind ? d->b_size : min_u64 (d->a_size, d->b_size);
  uint64_t len;
  int r;

  *next = min_u64 (round_down (off, PIECE) + PIECE, end);
  len = *next - off;
  r = crew_read (d->b, d->buf_b, len, off, err);
  if (r == 0 && !behind)
    r = crew_read (d->a, d->buf_a, len, off, err);
  for (uint64_t at = off; r == 0 && at < *next;) {
    uint64_t stop = min_u64 (round_down (at, d->unit) + d->unit, *next);

    r = compare_unit (d, (size_t) (at - off), (size_t) (stop - at), at, behind,
                      err);
    at = stop;
  }
  return r;
}

static int
compare_all (const struct differences *d, struct job *job, struct err *err)
{
  uint64_t off = 0, n, next;
  int r = 0;

  while (r == 0 && off < d->b_size) {
    r = zeros_in_both (d, off, &n, err);
    if (r < 0)
      break;
    next = off + n;
    if (n == 0)
      r = compare_piece (d, off, &next, err);
    else if (off >= d->a_size)
      r = d->fn (d->opaque, off, n, true, err);
    if (r == 0)
      r = job_advance (job, next - off, err);
    off = next;
  }
  return r;
}

int
copy_differences (struct block *a, struct block *b, uint32_t unit,
                  copy_differs_fn fn, void *opaque, struct job *job,
                  struct err *err)
{
  CLEANUP_FREE uint8_t *buf_a = malloc (PIECE);
  CLEANUP_FREE uint8_t *buf_b = malloc (PIECE);
  const struct differences d = {
    .a = a, .b = b, .a_size = block_size (a), .b_size = block_size (b),
    .unit = unit, .buf_a = buf_a, .buf_b = buf_b, .fn = fn, .opaque = opaque,
  };

  assert (is_power_of_2 (unit) && unit <= PIECE);
  if (buf_a == NULL || buf_b == NULL)
    return err_nomem (err);
  job_start (job, "comparing", d.b_size);
  return compare_all (&d, job, err);
}
