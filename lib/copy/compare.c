/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Comparing two disks. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/copy/crew.h"

/* Of zeros that the other disk may have as data. */
#define ZERO_MAX (UINT64_C (64) << 20)

struct compare {
  struct block *b;
  uint64_t differs_at;          /* atomic */
};

/*--- A range ----------------------------------------------------------------*/

/* Several threads may find something at once. */
static void
keep_least (uint64_t *least, uint64_t off)
{
  uint64_t old = __atomic_load_n (least, __ATOMIC_RELAXED);

  while (off < old &&
         !__atomic_compare_exchange_n (least, &old, off, false,
                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    ;
}

/* Ends the comparison. */
static int
found (struct crew *crew, uint64_t off)
{
  struct compare *c = crew->opaque;

  keep_least (&c->differs_at, off);
  copy_ranges_stop (&crew->ranges);
  return 0;
}

/* The first byte that differs, or len. */
static uint64_t
first_difference (const uint8_t *a, const uint8_t *b, uint64_t len)
{
  uint64_t i = 0;

  if (memcmp (a, b, (size_t) len) == 0)
    return len;
  while (a[i] == b[i])
    i++;
  return i;
}

static uint64_t
first_not_zero (const uint8_t *buf, uint64_t len)
{
  uint64_t i = 0;

  if (crew_is_zero (buf, len))
    return len;
  while (buf[i] == 0)
    i++;
  return i;
}

/* Returns 1 when there is something else than zeros, at *at. */
static int
look_for_data (struct block *b, uint8_t *buf, uint64_t piece, uint64_t len,
               uint64_t off, uint64_t *at, struct err *err)
{
  while (len > 0) {
    uint64_t n = min_u64 (len, piece), i;
    int r = crew_read (b, buf, n, off, err);

    if (r < 0)
      return r;
    i = first_not_zero (buf, n);
    if (i < n) {
      *at = off + i;
      return 1;
    }
    off += n;
    len -= n;
  }
  return 0;
}

/* The same, with what the block knows of itself. */
static int
expect_zeros (struct block *b, uint8_t *buf, uint64_t piece, uint64_t len,
              uint64_t off, uint64_t *at, struct job *job, struct err *err)
{
  uint64_t end = off + len;
  int r = 0;

  while (r == 0 && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 64 };

    r = block_extents (b, end - off, off, &list, err);
    if (r < 0)
      return err_in (err, "%s: extents at offset %" PRIu64, block_name (b),
                     off);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      r = job_check (job, err);
      if (r == 0 && !copy_kind_is_zero (e->kind))
        r = look_for_data (b, buf, piece, e->len, e->off, at, err);
    }
    off = extent_list_end (&list, end);
  }
  return r;
}

/* What may be anything is not compared. */
static void
forget_unallocated (const struct crew *crew, struct crew_member *me)
{
  const struct copy_range *range = &me->range;

  for (size_t i = 0; crew->ranges.unallocated && i < range->extents.len; ++i) {
    const struct extent *e = &range->extents.ptr[i];

    if (e->kind != EXTENT_UNALLOCATED)
      continue;
    memset (me->buffers[0] + (e->off - range->off), 0, (size_t) e->len);
    memset (me->buffers[1] + (e->off - range->off), 0, (size_t) e->len);
  }
}

static int
compare_range (struct crew *crew, struct crew_member *me, struct err *err)
{
  struct compare *c = crew->opaque;
  const struct copy_range *range = &me->range;
  uint64_t i, at;
  int r;

  if (range->unallocated)
    return 0;
  if (range->zero) {
    r = expect_zeros (c->b, me->buffers[1], crew->ranges.piece, range->len,
                      range->off, &at, crew->ranges.job, err);
    return r > 0 ? found (crew, at) : r;
  }
  r = crew_read (crew->ranges.from, me->buffers[0], range->len, range->off,
                 err);
  if (r == 0)
    r = crew_read (c->b, me->buffers[1], range->len, range->off, err);
  if (r < 0)
    return r;
  forget_unallocated (crew, me);
  i = first_difference (me->buffers[0], me->buffers[1], range->len);
  return i < range->len ? found (crew, range->off + i) : 0;
}

/*--- All of it --------------------------------------------------------------*/

static int
check_sizes (struct block *a, struct block *b, uint64_t len, struct err *err)
{
  if (len > block_size (a) || len > block_size (b))
    return err_set (err, -EINVAL, "%s has %" PRIu64 " bytes and %s %" PRIu64
                    ", and %" PRIu64 " are to be compared", block_name (a),
                    block_size (a), block_name (b), block_size (b), len);
  return 0;
}

static int
compare_end (struct block *a, struct block *b, uint64_t *differs_at,
             struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (COPY_GRANULE);
  uint64_t off = block_size (a);
  int r;

  if (buf == NULL)
    return err_nomem (err);
  r = expect_zeros (b, buf, COPY_GRANULE, block_size (b) - off, off,
                    differs_at, job, err);
  return r < 0 ? r : 0;
}

int
copy_compare (struct block *a, struct block *b, bool b_ends_in_zeros,
              const struct copy_options *options, uint64_t *differs_at,
              struct err *err)
{
  struct compare c = { .b = b, .differs_at = COPY_SAME };
  struct crew crew = {
    .nr_buffers = 2,
    .work = compare_range,
    .opaque = &c,
    .ranges = {
      .from = a,
      .end = block_size (a),
      .piece = COPY_PIECE,
      .zero_max = ZERO_MAX,
      .unallocated = options->skip_unallocated,
      .nr_slots = crew_threads (options),
      .job = options->job,
    },
  };
  int r = check_sizes (a, b, block_size (a), err);

  if (r == 0)
    r = copy_ranges_init (&crew.ranges, options->start, err);
  if (r < 0)
    return r;
  job_start (options->job, "comparing", block_size (a));
  r = job_advance (options->job, min_u64 (options->start, block_size (a)),
                   err);
  if (r == 0)
    r = crew_run (&crew, err);
  copy_ranges_free (&crew.ranges);
  if (r == 0 && c.differs_at == COPY_SAME && b_ends_in_zeros)
    r = compare_end (a, b, &c.differs_at, options->job, err);
  if (r == 0)
    *differs_at = c.differs_at;
  return r;
}

/*--- Samples ----------------------------------------------------------------*/

#define NR_SAMPLES 64
#define SAMPLE_THREADS 8        /* they wait for a server, most of the time */

struct samples {
  struct block *a, *b;
  uint64_t len, nr;             /* bytes, and granules of them */
  uint64_t nr_samples, random;
  uint64_t next;                /* atomic: number of the next sample */
  uint64_t differs_at;          /* atomic */

  pthread_mutex_t lock;         /* guards what follows */
  struct err first;             /* error */
};

/* Each stands for as many granules, of which it is any; but the first is the
 * first and the last the last.
 */
static uint64_t
choose_granule (const struct samples *s, uint64_t i)
{
  uint64_t first = s->nr * i / s->nr_samples;
  uint64_t end = s->nr * (i + 1) / s->nr_samples;

  if (i == 0)
    return 0;
  if (i + 1 == s->nr_samples)
    return s->nr - 1;
  return first + (s->random >> i % 32) % (end - first);
}

static int
compare_at (struct samples *s, uint8_t *buf, uint64_t off, struct err *err)
{
  uint64_t len = min_u64 (COPY_GRANULE, s->len - off), i;
  int r = crew_read (s->a, buf, len, off, err);

  if (r == 0)
    r = crew_read (s->b, buf + COPY_GRANULE, len, off, err);
  if (r < 0)
    return r;
  i = first_difference (buf, buf + COPY_GRANULE, len);
  if (i < len)
    keep_least (&s->differs_at, off + i);
  return 0;
}

static int
compare_some (struct samples *s, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (2 * COPY_GRANULE);
  uint64_t i;
  int r = buf ? 0 : err_nomem (err);

  while (r == 0 &&
         __atomic_load_n (&s->differs_at, __ATOMIC_RELAXED) == COPY_SAME &&
         (i = __atomic_fetch_add (&s->next, 1, __ATOMIC_RELAXED)) <
         s->nr_samples)
    r = compare_at (s, buf, choose_granule (s, i) * COPY_GRANULE, err);
  return r;
}

static void *
take_samples (void *opaque)
{
  struct samples *s = opaque;
  struct err err = ERR_INIT;

  if (compare_some (s, &err) < 0) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);

    if (s->first.code == 0)
      s->first = err;
  }
  return NULL;
}

int
copy_compare_samples (struct block *a, struct block *b, uint64_t len,
                      uint64_t *differs_at, struct err *err)
{
  struct samples s = {
    .a = a, .b = b, .len = len, .nr = div_round_up (len, COPY_GRANULE),
    .differs_at = COPY_SAME,
  };
  pthread_t threads[SAMPLE_THREADS];
  unsigned nr = 0;
  int r = check_sizes (a, b, len, err);

  if (r < 0)
    return r;
  if (getrandom (&s.random, sizeof s.random, 0) < 0)
    return err_sys (err, "getrandom");
  s.nr_samples = min_u64 (s.nr, NR_SAMPLES);
  pthread_mutex_init (&s.lock, NULL);
  while (nr < SAMPLE_THREADS - 1 &&
         thread_start (&threads[nr], take_samples, &s) == 0)
    nr++;
  take_samples (&s);
  while (nr > 0)
    pthread_join (threads[--nr], NULL);
  pthread_mutex_destroy (&s.lock);
  if (s.first.code != 0)
    return err_set (err, s.first.code, "%s", s.first.msg);
  *differs_at = s.differs_at;
  return 0;
}
