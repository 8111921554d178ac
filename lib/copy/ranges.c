/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The extents that were seen and not handed out yet are a list, like those
 * that blocks fill:
 *
 *   | handed out      | seen, extents are known | not yet looked at  |
 *   0                 pos                       seen_end           end
 *
 * One look goes over a window of FIRST_WINDOW bytes; where it found nothing
 * but zeros the next window is twice as large, so that the extents of a huge
 * empty disk are asked for a few dozen times.  A list ends early at
 * MAX_EXTENTS, which bounds memory.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/copy/ranges.h"

#define FIRST_WINDOW (UINT64_C (128) << 20)
#define MAX_WINDOW (UINT64_C (64) << 30)
#define MAX_EXTENTS 4096        /* of one look */
#define MAX_UNALLOCATED (UINT64_C (1) << 30)    /* handed out at once */

#define NOTHING UINT64_MAX      /* under way */

int
copy_ranges_init (struct copy_ranges *r, uint64_t start, struct err *err)
{
  r->under_way = malloc (r->nr_slots * sizeof *r->under_way);
  if (r->under_way == NULL)
    return err_nomem (err);
  for (unsigned i = 0; i < r->nr_slots; ++i)
    r->under_way[i] = NOTHING;
  r->window = FIRST_WINDOW;
  r->pos = r->seen_end = min_u64 (start, r->end);
  pthread_mutex_init (&r->lock, NULL);
  pthread_cond_init (&r->changed, NULL);
  return 0;
}

void
copy_ranges_free (struct copy_ranges *r)
{
  if (r->under_way == NULL)
    return;
  vector_free (&r->seen);
  free (r->under_way);
  pthread_mutex_destroy (&r->lock);
  pthread_cond_destroy (&r->changed);
}

/*--- Looking ahead ----------------------------------------------------------*/

static bool
has_only_zeros (const struct copy_ranges *r, const struct extent_list *list)
{
  for (size_t i = 0; i < list->v.len; ++i)
    if (!copy_ranges_skip_reading (r, list->v.ptr[i].kind))
      return false;
  return true;
}

/* Without the lock, by the one who set scanning. */
static int
look (struct copy_ranges *r, struct extent_list *list, struct err *err)
{
  uint64_t off = r->seen_end;
  int e = job_check (r->job, err);

  if (e < 0)
    return e;
  e = block_extents (r->from, min_u64 (r->end - off, r->window), off, list,
                     err);
  if (e == 0 && extent_list_end (list, off) <= off)
    e = err_set (err, -EIO, "nothing is known of it");
  if (e < 0) {
    err_in (err, "%s: extents at offset %" PRIu64, block_name (r->from), off);
    return e;
  }
  r->window = has_only_zeros (r, list) ? min_u64 (r->window * 2, MAX_WINDOW)
                                    : FIRST_WINDOW;
  return 0;
}

/* Under the lock. */
static void
drop_taken (struct copy_ranges *r)
{
  if (r->first_seen == 0)
    return;
  r->seen.len -= r->first_seen;
  memmove (r->seen.ptr, r->seen.ptr + r->first_seen,
           r->seen.len * sizeof r->seen.ptr[0]);
  r->first_seen = 0;
}

/* Under the lock. */
static int
keep_seen (struct copy_ranges *r, const struct extent_list *list,
           struct err *err)
{
  drop_taken (r);
  for (size_t i = 0; i < list->v.len; ++i) {
    struct extent e = list->v.ptr[i];

    if (e.off >= r->end)
      break;
    e.len = min_u64 (e.len, r->end - e.off);
    if (vector_append (&r->seen, &e) < 0)
      return err_nomem (err);
    r->seen_end = e.off + e.len;
  }
  return 0;
}

/* Under the lock, which it gives up meanwhile. */
static int
look_further (struct copy_ranges *r, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = {
    .limit = MAX_EXTENTS, .unallocated = r->unallocated,
  };
  int e;

  if (r->scanning) {
    pthread_cond_wait (&r->changed, &r->lock);
    return 0;
  }
  r->scanning = true;
  pthread_mutex_unlock (&r->lock);
  e = look (r, &list, err);
  pthread_mutex_lock (&r->lock);
  if (e == 0)
    e = keep_seen (r, &list, err);
  r->scanning = false;
  pthread_cond_broadcast (&r->changed);
  return e;
}

/*--- Taking, under the lock -------------------------------------------------*/

/* Where the piece that begins at pos, or has it inside, ends. */
static uint64_t
piece_end (const struct copy_ranges *r)
{
  return min_u64 (round_down (r->pos, r->piece) + r->piece, r->end);
}

static bool
is_zero (enum extent_kind kind)
{
  return copy_kind_is_zero (kind);
}

static bool
is_unallocated (enum extent_kind kind)
{
  return kind == EXTENT_UNALLOCATED;
}

/* Where those of such a kind end that begin at pos, as far as was seen, and
 * at the end of a piece.
 */
static uint64_t
run_end (const struct copy_ranges *r, bool (*is) (enum extent_kind kind))
{
  uint64_t end = r->pos;

  for (size_t i = r->first_seen; i < r->seen.len; ++i) {
    const struct extent *e = &r->seen.ptr[i];

    if (!is (e->kind))
      break;
    end = e->off + e->len;
  }
  return end == r->end ? end : round_down (end, r->piece);
}

static void
move_to (struct copy_ranges *r, uint64_t pos)
{
  r->pos = pos;
  while (r->first_seen < r->seen.len) {
    const struct extent *e = &r->seen.ptr[r->first_seen];

    if (e->off + e->len > pos)
      break;
    r->first_seen++;
  }
}

static int
copy_extents (const struct copy_ranges *r, struct copy_range *range,
              struct err *err)
{
  uint64_t end = range->off + range->len;

  range->extents.len = 0;
  for (size_t i = r->first_seen; i < r->seen.len; ++i) {
    struct extent e = r->seen.ptr[i];
    uint64_t e_end = min_u64 (e.off + e.len, end);

    if (e.off >= end)
      break;
    e.off = max_u64 (e.off, range->off);
    e.len = e_end - e.off;
    if (vector_append (&range->extents, &e) < 0)
      return err_nomem (err);
  }
  return 0;
}

/* Returns 0 when it was zeros that are skipped. */
static int
take (struct copy_ranges *r, unsigned slot, struct copy_range *range,
      struct err *err)
{
  uint64_t end = piece_end (r), zeros = run_end (r, is_zero);
  uint64_t unused = r->unallocated ? run_end (r, is_unallocated) : 0;
  int e;

  range->off = r->pos;
  range->zero = zeros >= end;
  range->unallocated = unused >= end;
  if (range->zero && r->zero_max == 0) {
    uint64_t n = zeros - r->pos;

    move_to (r, zeros);
    return job_advance (r->job, n, err);
  }
  if (range->zero)
    end = min_u64 (zeros, round_down (r->pos, r->piece) +
                          max_u64 (r->zero_max, r->piece));
  if (range->unallocated)
    end = min_u64 (unused, round_down (r->pos, r->piece) + MAX_UNALLOCATED);
  range->len = end - range->off;
  e = range->zero || range->unallocated ? 0 : copy_extents (r, range, err);
  if (e < 0)
    return e;
  move_to (r, end);
  r->under_way[slot] = range->off;
  return 1;
}

int
copy_ranges_next (struct copy_ranges *r, unsigned slot,
                  struct copy_range *range, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);
  int e = 0;

  while (e == 0 && !r->stopped && r->pos < r->end)
    e = r->seen_end < piece_end (r) ? look_further (r, err)
                                    : take (r, slot, range, err);
  return e;
}

void
copy_ranges_done (struct copy_ranges *r, unsigned slot)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  r->under_way[slot] = NOTHING;
}

void
copy_ranges_stop (struct copy_ranges *r)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);

  r->stopped = true;
  pthread_cond_broadcast (&r->changed);
}

uint64_t
copy_ranges_finished (struct copy_ranges *r)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&r->lock);
  uint64_t off = r->pos;

  for (unsigned i = 0; i < r->nr_slots; ++i)
    off = min_u64 (off, r->under_way[i]);
  return off;
}
