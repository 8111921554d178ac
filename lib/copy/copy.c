/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Copying: what is done with a range.
 *
 * Order of writes, with a checkpoint:
 *
 *   1. Ranges are written, several at a time.
 *   2. A number is taken in front of which all ranges are finished.
 *   3. The target is flushed.
 *   4. The caller is told that number.
 *
 * A crash at any time: everything in front of the last number that the caller
 * was told is on the target; behind it there is anything.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/copy/crew.h"

/* A range of zeros that is written takes no longer than data does, where
 * zeros have to be sent.
 */
#define ZERO_MAX (UINT64_C (32) << 20)

/* The next checkpoint is as far from the last one, and at least four times as
 * long as that took: so they take a fifth of the time at most.
 */
#define CHECKPOINT_SECONDS 1.0

struct copy {
  struct block *to;
  const struct copy_options *options;
  uint64_t tail;                /* where the target's unit begins that the
                                   source fills only in part; its size if
                                   there is none */
  uint32_t minimum;             /* of the target */
  uint64_t data;                /* atomic: bytes written */
  uint64_t unallocated;         /* atomic: bytes */
  enum copy_side failed;        /* atomic: of the first error */

  bool in_checkpoint;           /* atomic; who set it has what follows */
  double next_checkpoint;       /* seconds, of CLOCK_MONOTONIC */
  uint64_t told;                /* the last number */
};

static struct copy *
copy_of (struct crew *crew)
{
  return crew->opaque;
}

static int
blame (struct copy *c, enum copy_side side, int r)
{
  enum copy_side nobody = COPY_NEITHER;

  __atomic_compare_exchange_n (&c->failed, &nobody, side, false,
                               __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return r;
}

static int
blame_target (struct copy *c, const char *doing, uint64_t off, int r,
              struct err *err)
{
  if (r < 0)
    err_in (err, "%s: %s at offset %" PRIu64, block_name (c->to), doing, off);
  return r < 0 ? blame (c, COPY_TARGET, r) : 0;
}

/*--- Writing ----------------------------------------------------------------*/

/* The last bytes of the source, within a unit of the target of which the rest
 * is not ours.
 */
static int
write_tail (struct copy *c, const uint8_t *buf, uint64_t len, uint64_t off,
            struct err *err)
{
  CLEANUP_FREE uint8_t *unit = malloc (c->minimum);
  int r;

  if (unit == NULL)
    return err_nomem (err);
  r = block_pread (c->to, unit, c->minimum, c->tail, err);
  if (r < 0)
    return blame_target (c, "reading", c->tail, r, err);
  if (buf)
    memcpy (unit + (off - c->tail), buf, (size_t) len);
  else
    memset (unit + (off - c->tail), 0, (size_t) len);
  r = block_pwrite (c->to, unit, c->minimum, c->tail, 0, err);
  return blame_target (c, "writing", c->tail, r, err);
}

static int
write_data (struct copy *c, const uint8_t *buf, uint64_t len, uint64_t off,
            struct err *err)
{
  uint64_t n = off < c->tail ? min_u64 (len, c->tail - off) : 0;
  int r = 0;

  if (n > 0)
    r = blame_target (c, "writing", off,
                      block_pwrite (c->to, buf, (size_t) n, off, 0, err),
                      err);
  if (r == 0 && n < len)
    r = write_tail (c, buf + n, len - n, off + n, err);
  if (r == 0)
    __atomic_add_fetch (&c->data, len, __ATOMIC_RELAXED);
  return r;
}

static int
zero_range (struct copy *c, uint64_t len, uint64_t off, struct err *err)
{
  return blame_target (c, "writing zeros", off,
                       block_zero (c->to, len, off, 0, err), err);
}

/* Zeros of whole units, but where the target has them already: that a server
 * knows, and it saves sending zeros to those that have no other way.
 */
static int
zero_units (struct copy *c, uint64_t len, uint64_t off, struct err *err)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t end = off + len, done = off;
  int r = 0;

  if (block_extents (c->to, len, off, &list, NULL) < 0)
    return zero_range (c, len, off, err);
  for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];
    uint64_t from, to;

    if (copy_kind_is_zero (e->kind))
      continue;
    from = max_u64 (round_down (e->off, c->minimum), done);
    to = min_u64 (round_up (e->off + e->len, c->minimum), end);
    if (from < to)
      r = zero_range (c, to - from, from, err);
    done = max_u64 (done, to);
  }
  return r;
}

static int
write_zeros (struct copy *c, uint64_t len, uint64_t off, struct err *err)
{
  uint64_t n = off < c->tail ? min_u64 (len, c->tail - off) : 0;
  int r = 0;

  if (c->options->target_is_zero)
    return 0;
  if (n > 0)
    r = zero_units (c, n, off, err);
  if (r == 0 && n < len)
    r = write_tail (c, NULL, len - n, off + n, err);
  return r;
}

/* Whole units; a hint. */
static void
trim (struct copy *c, uint64_t len, uint64_t off)
{
  uint64_t end = round_down (min_u64 (off + len, c->tail), c->minimum);

  __atomic_add_fetch (&c->unallocated, len, __ATOMIC_RELAXED);
  off = round_up (off, c->minimum);
  if (off < end)
    block_trim (c->to, end - off, off, BLOCK_DISCARD, NULL);
}

/*--- A range ----------------------------------------------------------------*/

/* Extents that lie side by side are read at once, whatever layer they are of:
 * *i is the first, and becomes the one behind the last.
 */
static int
read_run (struct crew *crew, struct crew_member *me, size_t *i,
          struct err *err)
{
  const struct extent_vector *v = &me->range.extents;
  uint64_t off = v->ptr[*i].off, end = off;
  int r;

  while (*i < v->len &&
         !copy_ranges_skip_reading (&crew->ranges, v->ptr[*i].kind)) {
    end = v->ptr[*i].off + v->ptr[*i].len;
    ++*i;
  }
  r = crew_read (crew->ranges.from,
                 me->buffers[0] + (off - me->range.off), end - off, off, err);
  return r < 0 ? blame (copy_of (crew), COPY_SOURCE, r) : 0;
}

static int
read_range (struct crew *crew, struct crew_member *me, struct err *err)
{
  const struct extent_vector *v = &me->range.extents;
  int r = 0;

  for (size_t i = 0; r == 0 && i < v->len;) {
    const struct extent *e = &v->ptr[i];

    if (copy_ranges_skip_reading (&crew->ranges, e->kind)) {
      memset (me->buffers[0] + (e->off - me->range.off), 0, (size_t) e->len);
      i++;
    }
    else
      r = read_run (crew, me, &i, err);
  }
  return r;
}

/* The granule that off lies in ends here: they begin at multiples of their
 * size on the disk.
 */
static uint64_t
granule_end (const struct copy_range *range, uint64_t off)
{
  return min_u64 (round_down (off, COPY_GRANULE) + COPY_GRANULE,
                  range->off + range->len);
}

static bool
granule_is_zero (const uint8_t *buf, const struct copy_range *range,
                 uint64_t off)
{
  return crew_is_zero (buf + (off - range->off),
                       granule_end (range, off) - off);
}

/* Where the granules end that are like the one at off: all zero, or all not.
 */
static uint64_t
run_end (const uint8_t *buf, const struct copy_range *range, uint64_t off,
         bool *zero)
{
  *zero = granule_is_zero (buf, range, off);
  do
    off = granule_end (range, off);
  while (off < range->off + range->len &&
         granule_is_zero (buf, range, off) == *zero);
  return off;
}

static int
copy_range (struct crew *crew, struct crew_member *me, struct err *err)
{
  const struct copy_range *range = &me->range;
  struct copy *c = copy_of (crew);
  uint64_t off = range->off, end;
  const uint8_t *buf = me->buffers[0];
  int r;

  if (range->unallocated) {
    trim (c, range->len, range->off);
    return 0;
  }
  if (range->zero)
    return write_zeros (c, range->len, range->off, err);
  r = read_range (crew, me, err);
  for (; r == 0 && off < range->off + range->len; off = end) {
    const uint8_t *from = buf + (off - range->off);
    bool zero;

    end = run_end (buf, range, off, &zero);
    r = zero ? write_zeros (c, end - off, off, err)
             : write_data (c, from, end - off, off, err);
  }
  return r;
}

/*--- Checkpoints ------------------------------------------------------------*/

static double
now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static int
flush (struct copy *c, struct err *err)
{
  int r = block_flush (c->to, err);

  if (r < 0)
    err_in (err, "%s: flushing", block_name (c->to));
  return r < 0 ? blame (c, COPY_TARGET, r) : 0;
}

/* Steps 2 to 4. */
static int
make_checkpoint (struct crew *crew, struct err *err)
{
  struct copy *c = copy_of (crew);
  uint64_t done = copy_ranges_finished (&crew->ranges);
  int r;

  r = flush (c, err);
  if (r == 0 && done > c->told) {
    r = c->options->checkpoint (c->options->opaque, done, err);
    c->told = done;
  }
  return r;
}

static int
checkpoint_if_due (struct crew *crew, struct err *err)
{
  struct copy *c = copy_of (crew);
  double start = now ();
  int r = 0;

  if (__atomic_exchange_n (&c->in_checkpoint, true, __ATOMIC_ACQUIRE))
    return 0;
  if (start >= c->next_checkpoint) {
    double end;

    r = make_checkpoint (crew, err);
    end = now ();
    c->next_checkpoint = end + CHECKPOINT_SECONDS + 4 * (end - start);
  }
  __atomic_store_n (&c->in_checkpoint, false, __ATOMIC_RELEASE);
  return r;
}

/* What was done before something failed is kept, but if it can't be, that is
 * not what the caller wants to hear.
 */
static int
finish (struct crew *crew, int r, struct err *err)
{
  struct copy *c = copy_of (crew);

  if (r < 0) {
    if (c->options->checkpoint)
      make_checkpoint (crew, NULL);
    return r;
  }
  job_start (c->options->job, "flushing", 0);
  return c->options->checkpoint ? make_checkpoint (crew, err)
                                : flush (c, err);
}

/*--- All of it --------------------------------------------------------------*/

static int
check (struct block *from, struct block *to,
       const struct copy_options *options, struct err *err)
{
  struct block_sizes sizes;

  block_get_sizes (to, &sizes);
  if (block_size (to) < block_size (from))
    return err_set (err, -EINVAL, "%s: has %" PRIu64 " bytes, and the source "
                    "has %" PRIu64, block_name (to), block_size (to),
                    block_size (from));
  if (!block_writable (to))
    return err_set (err, -EROFS, "%s: is open for reading only",
                    block_name (to));
  if (options->start % sizes.minimum != 0)
    return err_set (err, -EINVAL, "%s: copying can't begin at offset %" PRIu64
                    ", within %" PRIu32 " bytes that are written as a whole",
                    block_name (to), options->start, sizes.minimum);
  return 0;
}

static void
set_up (struct copy *c, struct crew *crew, struct block *from,
        const struct copy_options *options)
{
  uint64_t size = block_size (from);
  struct block_sizes sizes;

  block_get_sizes (c->to, &sizes);
  c->minimum = sizes.minimum;
  c->tail = round_down (size, c->minimum);
  c->next_checkpoint = now () + CHECKPOINT_SECONDS;
  c->told = min_u64 (options->start, size);
  crew->nr_buffers = 1;
  crew->work = copy_range;
  crew->after = options->checkpoint ? checkpoint_if_due : NULL;
  crew->opaque = c;
  crew->ranges.from = from;
  crew->ranges.end = size;
  crew->ranges.piece = crew_piece (options->unit);
  crew->ranges.zero_max = options->target_is_zero ? 0 : ZERO_MAX;
  crew->ranges.unallocated = options->skip_unallocated;
  crew->ranges.nr_slots = crew_threads (options);
  crew->ranges.job = options->job;
}

int
copy_disk (struct block *from, struct block *to,
           const struct copy_options *options, struct copy_result *result,
           struct err *err)
{
  struct copy c = { .to = to, .options = options };
  struct crew crew = { .nr_buffers = 0 };
  int r = check (from, to, options, err);

  *result = (struct copy_result) { .done = options->start };
  if (r < 0)
    return r;
  set_up (&c, &crew, from, options);
  r = copy_ranges_init (&crew.ranges, options->start, err);
  if (r < 0)
    return r;
  job_start (options->job, "copying", crew.ranges.end);
  r = job_advance (options->job, c.told, err);
  if (r == 0)
    r = crew_run (&crew, err);
  result->done = copy_ranges_finished (&crew.ranges);
  r = finish (&crew, r, err);
  result->data = c.data;
  result->unallocated = c.unallocated;
  result->failed = r < 0 ? c.failed : COPY_NEITHER;
  copy_ranges_free (&crew.ranges);
  return r;
}
