/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk is copied whole or not at all, and what is a hole stays one. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/copy/copy.h"
#include "lib/copy/ranges.h"
#include "tests/support/scripted.h"

#define MB (UINT64_C (1) << 20)
#define KB (UINT64_C (1) << 10)

/*--- Time and memory --------------------------------------------------------*/

/* Each look at the clock takes this long, so that there are checkpoints. */
static long tick_ms;
static long ticks;
static unsigned no_memory_at, nr_allocated;     /* buffers */
static uint64_t bytes_allocated;
static unsigned no_thread_at, nr_threads;

int __wrap_clock_gettime (clockid_t clock, struct timespec *ts);
int __real_clock_gettime (clockid_t clock, struct timespec *ts);
void *__wrap_aligned_alloc (size_t alignment, size_t size);
void *__real_aligned_alloc (size_t alignment, size_t size);
int __wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                           void *(*fn) (void *), void *arg);
int __real_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                           void *(*fn) (void *), void *arg);

int
__wrap_clock_gettime (clockid_t clock, struct timespec *ts)
{
  long ms;

  if (tick_ms == 0)
    return __real_clock_gettime (clock, ts);
  ms = __atomic_add_fetch (&ticks, tick_ms, __ATOMIC_RELAXED);
  *ts = (struct timespec) { ms / 1000, ms % 1000 * 1000000 };
  return 0;
}

void *
__wrap_aligned_alloc (size_t alignment, size_t size)
{
  unsigned n = __atomic_add_fetch (&nr_allocated, 1, __ATOMIC_RELAXED);

  __atomic_add_fetch (&bytes_allocated, size, __ATOMIC_RELAXED);
  return n == no_memory_at ? NULL : __real_aligned_alloc (alignment, size);
}

int
__wrap_pthread_create (pthread_t *thread, const pthread_attr_t *attr,
                       void *(*fn) (void *), void *arg)
{
  if (++nr_threads == no_thread_at)
    return EAGAIN;
  return __real_pthread_create (thread, attr, fn, arg);
}

static int
setup (void **state)
{
  (void) state;
  tick_ms = ticks = 0;
  no_memory_at = nr_allocated = no_thread_at = nr_threads = 0;
  bytes_allocated = 0;
  return 0;
}

/*--- Disks ------------------------------------------------------------------*/

static enum extent_kind
any_kind (unsigned *seed)
{
  static const enum extent_kind kinds[] = {
    EXTENT_DATA, EXTENT_DATA, EXTENT_HOLE, EXTENT_ZERO, EXTENT_UNALLOCATED,
  };

  return kinds[rand_r (seed) % 5];
}

static struct scripted *
random_disk (const char *name, uint64_t size, uint32_t minimum,
             unsigned *seed)
{
  struct scripted *s = scripted_new (name, size, minimum);
  uint64_t done = 0;

  while (done < size) {
    uint64_t len = rand_r (seed) % 3 == 0
      ? 1 + (uint64_t) rand_r (seed) % (3 * MB)
      : (1 + (uint64_t) rand_r (seed) % 40) * 4096;

    /* What servers say is of whole blocks. */
    len = round_up (len, minimum);
    scripted_extent (s, len, any_kind (seed), seed);
    done += len;
  }
  return s;
}

static struct scripted *
random_source (uint64_t size, unsigned *seed)
{
  struct scripted *s = random_disk ("source", size, 1, seed);

  s->base.writable = false;
  return s;
}

static void
done_with (struct scripted *a, struct scripted *b)
{
  assert_int_equal (a->bad_calls, 0);
  assert_int_equal (b->bad_calls, 0);
  block_unref (&a->base);
  block_unref (&b->base);
}

/* Where the granules of the source are that are not all zero. */
static uint64_t
data_in_granules (const struct scripted *s)
{
  uint64_t size = block_size (&s->base), sum = 0;

  for (uint64_t off = 0; off < size; off += COPY_GRANULE) {
    uint64_t n = min_u64 (COPY_GRANULE, size - off), i = 0;

    while (i < n && s->data[off + i] == 0)
      i++;
    sum += i < n ? n : 0;
  }
  return sum;
}

/*--- The bytes --------------------------------------------------------------*/

static void
copy_random_disk (unsigned seed)
{
  static const uint32_t minima[] = { 1, 512, 4096, 65536 };
  uint32_t minimum = minima[rand_r (&seed) % 4];
  uint64_t size = 1 + (uint64_t) rand_r (&seed) % (9 * MB);
  uint64_t more = rand_r (&seed) % 2 ? (uint64_t) rand_r (&seed) % MB : 0;
  uint64_t whole = round_up (size + more, minimum);
  struct scripted *from = random_source (size, &seed);
  struct scripted *to = random_disk ("target", whole, minimum, &seed);
  struct copy_options options = {
    .threads = 1 + (unsigned) rand_r (&seed) % 16,
    .target_is_zero = rand_r (&seed) % 2,
    .unit = rand_r (&seed) % 2 ? 0 : 4 * MB,
    .start = rand_r (&seed) % 2 ? 0
      : round_down ((uint64_t) rand_r (&seed) % size, minimum),
  };
  uint8_t *expected = malloc (whole);
  struct copy_result result;
  struct err err = ERR_INIT;
  uint64_t at;

  if (options.target_is_zero)
    memset (to->data + options.start, 0, size - options.start);
  memcpy (expected, to->data, whole);
  memcpy (expected + options.start, from->data + options.start,
          size - options.start);
  assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                               &err), 0);
  assert_memory_equal (to->data, expected, whole);
  assert_int_equal (result.done, size);
  assert_int_equal (result.failed, COPY_NEITHER);
  assert_int_equal (to->flushes, 1);
  assert_memory_equal (to->stable, expected, whole);
  if (options.start == 0)
    assert_int_equal (result.data, data_in_granules (from));
  if (minimum == 1)
    assert_int_equal (to->bytes_written, result.data);
  if (options.target_is_zero)
    assert_int_equal (to->zeros, 0);

  /* What is said of the target is not true any more. */
  to->extents.len = 1;
  to->extents.ptr[0] = (struct extent) { 0, whole, EXTENT_DATA, 0 };
  memcpy (to->data, from->data, options.start);
  assert_int_equal (copy_compare (&from->base, &to->base, false, &options,
                                  &at, &err), 0);
  assert_true (at == COPY_SAME);
  assert_int_equal (copy_compare_samples (&from->base, &to->base, 0, &at,
                                          &err), 0);
  assert_true (at == COPY_SAME);
  free (expected);
  from->bad_calls = 0;          /* samples are taken anywhere */
  done_with (from, to);
}

static void
random_disks_are_copied (void **state)
{
  unsigned seed = (unsigned) time (NULL);
  const char *said = getenv ("COPY_SEED");

  (void) state;
  if (said)
    seed = (unsigned) atoi (said);
  printf ("COPY_SEED=%u\n", seed);
  for (unsigned i = 0; i < 60; ++i)
    copy_random_disk (seed + i * 7919);
}

static void
every_byte_that_differs_is_found (void **state)
{
  unsigned seed = 5;
  struct scripted *from = random_source (7 * MB + 13, &seed);
  struct scripted *to = scripted_new ("target", 8 * MB, 1);
  struct copy_options options = { .threads = 4 };
  uint64_t at;

  (void) state;
  memcpy (to->data, from->data, 7 * MB + 13);
  for (unsigned i = 0; i < 200; ++i) {
    uint64_t off = i == 0 ? 0 : i == 1 ? 7 * MB + 12
      : (uint64_t) rand_r (&seed) % (7 * MB + 13);

    to->data[off] ^= 1;
    assert_int_equal (copy_compare (&from->base, &to->base, true, &options,
                                    &at, NULL), 0);
    assert_int_equal (at, off);
    to->data[off] ^= 1;
  }
  to->data[8 * MB - 1] = 1;
  assert_int_equal (copy_compare (&from->base, &to->base, true, &options, &at,
                                  NULL), 0);
  assert_int_equal (at, 8 * MB - 1);
  assert_int_equal (copy_compare (&from->base, &to->base, false, &options,
                                  &at, NULL), 0);
  assert_true (at == COPY_SAME);
  assert_int_equal (copy_compare (&to->base, &from->base, false, &options,
                                  &at, NULL), -EINVAL);
  from->bad_calls = 0;          /* holes are read where the other has data */
  done_with (from, to);
}

static void
samples_are_of_both_ends_and_between (void **state)
{
  struct scripted *a = scripted_new ("a", 64 * MB, 1);
  struct scripted *b = scripted_new ("b", 64 * MB, 1);
  static const uint64_t ends[] = { 0, COPY_GRANULE - 1, 64 * MB - 1,
                                   64 * MB - COPY_GRANULE };
  uint64_t at;

  (void) state;
  for (size_t i = 0; i < 4; ++i) {
    b->data[ends[i]] = 1;
    assert_int_equal (copy_compare_samples (&a->base, &b->base, 64 * MB, &at,
                                            NULL), 0);
    assert_int_equal (at, ends[i]);
    b->data[ends[i]] = 0;
  }
  /* A run as long as what one sample stands for. */
  for (uint64_t off = 0; off + 2 * MB <= 64 * MB; off += 3 * MB) {
    memset (b->data + off, 7, 2 * MB);
    assert_int_equal (copy_compare_samples (&a->base, &b->base, 64 * MB, &at,
                                            NULL), 0);
    assert_true (at >= off && at < off + 2 * MB);
    memset (b->data + off, 0, 2 * MB);
  }
  assert_true (a->bytes_read < 64 * 20 * 2 * MB / 10);
  /* Of a short one, all. */
  for (uint64_t off = 0; off < 64 * COPY_GRANULE; off += COPY_GRANULE / 2) {
    b->data[off] = 1;
    assert_int_equal (copy_compare_samples (&a->base, &b->base,
                                            64 * COPY_GRANULE - 5, &at,
                                            NULL), 0);
    assert_int_equal (at, off);
    b->data[off] = 0;
  }
  a->fail_read = a->reads + 3;
  assert_int_equal (copy_compare_samples (&a->base, &b->base, 64 * MB, &at,
                                          NULL), -EIO);
  done_with (a, b);
}

/*--- Failures ---------------------------------------------------------------*/

static void
a_bad_sector_is_named (void **state)
{
  static const uint64_t bad[] = { 0, 512, 5 * MB + 3 * 512, 6 * MB - 512 };

  (void) state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    unsigned seed = (unsigned) i;
    struct scripted *from = scripted_new ("the source", 6 * MB, 1);
    struct scripted *to = scripted_new ("target", 6 * MB, 1);
    struct copy_options options = { .threads = 3 };
    struct copy_result result;
    struct err err = ERR_INIT;
    char expected[100];

    scripted_extent (from, 6 * MB, EXTENT_DATA, &seed);
    from->bad_from = bad[i];
    from->bad_to = bad[i] + 512;
    assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                                 &err), -EIO);
    snprintf (expected, sizeof expected, "the source: reading at offset %llu: "
              "bad sector", (unsigned long long) bad[i]);
    assert_string_equal (err.msg, expected);
    assert_int_equal (result.failed, COPY_SOURCE);
    assert_true (result.done <= bad[i]);
    assert_int_equal (to->flushes, 0);
    done_with (from, to);
  }
}

enum { READ, WRITE, ZERO, FLUSH, EXTENTS, NR_OPERATIONS };

static void
set_failure (struct scripted *from, struct scripted *to, int operation,
             unsigned nth)
{
  from->fail_read = operation == READ ? nth : 0;
  to->fail_write = operation == WRITE ? nth : 0;
  to->fail_zero = operation == ZERO ? nth : 0;
  to->fail_flush = operation == FLUSH ? nth : 0;
  from->fail_extents = operation == EXTENTS ? nth : 0;
}

/* Did the operation number nth happen at all? */
static bool
fail_at (int operation, unsigned nth, unsigned threads)
{
  unsigned seed = 17;
  struct scripted *from = random_source (9 * MB, &seed);
  struct scripted *to = scripted_new ("target", 9 * MB, 1);
  struct copy_options options = { .threads = threads };
  struct copy_result result;
  struct err err = ERR_INIT;
  bool failed;

  set_failure (from, to, operation, nth);
  if (copy_disk (&from->base, &to->base, &options, &result, &err) == 0) {
    failed = false;
    assert_memory_equal (from->data, to->data, 9 * MB);
  }
  else {
    failed = true;
    assert_int_equal (result.failed,
                      operation == READ ? COPY_SOURCE :
                      operation == EXTENTS ? COPY_NEITHER : COPY_TARGET);
    if (operation != EXTENTS)
      assert_memory_equal (from->data, to->data, result.done);
    assert_int_equal (strncmp (err.msg, operation == READ ||
                               operation == EXTENTS ? "source: " : "target: ",
                               8), 0);
    assert_int_equal (to->flushes, operation == FLUSH);
  }
  done_with (from, to);
  return failed;
}

/* A read that fails once is looked for and not found again: the number of
 * the search's reads comes after it.
 */
static void
each_failure_is_reported (void **state)
{
  static const unsigned least[NR_OPERATIONS] = { 10, 10, 10, 1, 1 };

  (void) state;
  for (int operation = 0; operation < NR_OPERATIONS; ++operation)
    for (unsigned threads = 1; threads <= 16; threads += 15) {
      unsigned nth = 1;

      while (fail_at (operation, nth, threads))
        nth += 1 + nth / 8;
      assert_true (nth > least[operation]);
    }
}

static void
what_can_not_be_is_refused (void **state)
{
  struct scripted *from = scripted_new ("source", 2 * MB, 1);
  struct scripted *to = scripted_new ("target", 1 * MB, 512);
  struct copy_options options = { .start = 100 };
  struct copy_result result;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                               &err), -EINVAL);
  assert_string_equal (err.msg, "target: has 1048576 bytes, and the source "
                       "has 2097152");
  assert_int_equal (copy_disk (&to->base, &to->base, &options, &result,
                               &err), -EINVAL);
  to->base.writable = false;
  assert_int_equal (copy_disk (&to->base, &to->base, &options, &result,
                               &err), -EROFS);
  done_with (from, to);
}

/*--- Threads and memory -----------------------------------------------------*/

static void
memory_is_bounded (void **state)
{
  unsigned seed = 3;
  struct scripted *from = random_source (100 * MB, &seed);
  struct scripted *to = scripted_new ("target", 100 * MB, 1);
  struct copy_options options = { .threads = 16, .target_is_zero = true };
  struct copy_result result;
  uint64_t at;

  (void) state;
  assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                               NULL), 0);
  assert_memory_equal (from->data, to->data, 100 * MB);
  assert_int_equal (bytes_allocated, 16 * COPY_PIECE);
  assert_true (from->longest_read <= COPY_PIECE);
  assert_true (from->most_read <= 16 * COPY_PIECE);
  assert_true (from->asked < 100);
  bytes_allocated = 0;
  assert_int_equal (copy_compare (&from->base, &to->base, true, &options, &at,
                                  NULL), 0);
  assert_int_equal (bytes_allocated, 2 * 16 * COPY_PIECE);
  from->bad_calls = 0;
  done_with (from, to);
}

static void
without_memory_it_fails (void **state)
{
  (void) state;
  for (unsigned n = 1; n <= 3; ++n) {
    unsigned seed = n;
    struct scripted *from = random_source (9 * MB, &seed);
    struct scripted *to = scripted_new ("target", 9 * MB, 1);
    struct copy_options options = { .threads = 3 };
    struct copy_result result;

    no_memory_at = n;
    nr_allocated = 0;
    assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                                 NULL), -ENOMEM);
    assert_int_equal (result.failed, COPY_NEITHER);
    done_with (from, to);
  }
}

static void
with_fewer_threads_it_works (void **state)
{
  (void) state;
  for (unsigned n = 1; n <= 3; ++n) {
    unsigned seed = n;
    struct scripted *from = random_source (9 * MB, &seed);
    struct scripted *to = scripted_new ("target", 9 * MB, 1);
    struct copy_options options = { .threads = 4, .target_is_zero = true };
    struct copy_result result;

    no_thread_at = n;
    nr_threads = 0;
    assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                                 NULL), 0);
    assert_memory_equal (from->data, to->data, 9 * MB);
    assert_int_equal (nr_threads, n);
    done_with (from, to);
  }
}

/* A disk larger than any, all hole but for its last bytes. */
static void
a_huge_hole_is_soon_over (void **state)
{
  struct scripted *s = scripted_new ("huge", 1, 1);
  struct copy_ranges ranges = {
    .from = &s->base, .end = UINT64_C (1) << 50, .piece = COPY_PIECE,
    .nr_slots = 1,
  };
  struct copy_range range = { .off = 0 };

  (void) state;
  s->base.size = ranges.end;
  s->extents.ptr[0] = (struct extent) { 0, ranges.end - 100, EXTENT_HOLE, 0 };
  assert_int_equal (vector_append (&s->extents, &((struct extent) {
          ranges.end - 100, 100, EXTENT_DATA, 0 })), 0);
  assert_int_equal (copy_ranges_init (&ranges, 0, NULL), 0);
  assert_int_equal (copy_ranges_next (&ranges, 0, &range, NULL), 1);
  assert_int_equal (range.off, ranges.end - COPY_PIECE);
  assert_int_equal (range.extents.len, 2);
  copy_ranges_done (&ranges, 0);
  assert_int_equal (copy_ranges_finished (&ranges), ranges.end);
  assert_int_equal (copy_ranges_next (&ranges, 0, &range, NULL), 0);
  assert_true (s->asked < 20000);
  vector_free (&range.extents);
  copy_ranges_free (&ranges);
  block_unref (&s->base);
}

static void
ranges_ascend (void **state)
{
  unsigned seed = 11;
  struct scripted *s = random_source (40 * MB, &seed);
  struct copy_ranges ranges = {
    .from = &s->base, .end = 40 * MB, .piece = COPY_PIECE,
    .zero_max = 8 * MB, .nr_slots = 3,
  };
  struct copy_range range[3] = { { .off = 0 } };
  uint64_t pos = 5000;
  int r = 1;

  (void) state;
  assert_int_equal (copy_ranges_init (&ranges, pos, NULL), 0);
  for (unsigned i = 0; r > 0; ++i) {
    unsigned slot = i % 3;

    if (i >= 3) {
      uint64_t oldest = range[slot].off;

      assert_int_equal (copy_ranges_finished (&ranges), oldest);
      copy_ranges_done (&ranges, slot);
    }
    r = copy_ranges_next (&ranges, slot, &range[slot], NULL);
    assert_true (r >= 0);
    if (r == 0)
      break;
    assert_int_equal (range[slot].off, pos);
    pos += range[slot].len;
    assert_true (pos % COPY_PIECE == 0 || pos == 40 * MB);
    assert_true (range[slot].zero || range[slot].len <= COPY_PIECE);
  }
  assert_int_equal (pos, 40 * MB);
  for (unsigned i = 0; i < 3; ++i)
    vector_free (&range[i].extents);
  copy_ranges_free (&ranges);
  block_unref (&s->base);
}

/*--- Checkpoints and the end ------------------------------------------------*/

struct watcher {
  const struct scripted *from, *to;
  uint64_t told;
  unsigned times, fail_at;
};

static int
see_checkpoint (void *opaque, uint64_t done, struct err *err)
{
  struct watcher *w = opaque;

  if (++w->times == w->fail_at)
    return err_set (err, -EDQUOT, "no checkpoint");
  assert_true (done > w->told);
  assert_memory_equal (w->to->stable, w->from->data, done);
  w->told = done;
  return 0;
}

static void
what_a_checkpoint_says_is_on_the_disk (void **state)
{
  (void) state;
  for (unsigned threads = 1; threads <= 16; threads += 3) {
    unsigned seed = threads;
    struct scripted *from = random_source (30 * MB + 5, &seed);
    struct scripted *to = random_disk ("target", 31 * MB, 1, &seed);
    struct watcher watcher = { from, to, 0, 0, 0 };
    struct copy_options options = {
      .threads = threads, .checkpoint = see_checkpoint, .opaque = &watcher,
    };
    struct copy_result result;

    tick_ms = 400;
    assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                                 NULL), 0);
    assert_int_equal (watcher.told, 30 * MB + 5);
    fprintf(stderr,"TIMES %u %u\n", threads, watcher.times);
    /* One among several may have stood still at its range until the others
     * were done with all the rest.
     */
    assert_true (watcher.times >= (threads == 1 ? 2 : 1));
    /* A second, and four times what the last one took. */
    assert_true (watcher.times <= 8);
    done_with (from, to);
  }
}

static void
a_checkpoint_that_fails_ends_it (void **state)
{
  unsigned seed = 1;
  struct scripted *from = random_source (30 * MB, &seed);
  struct scripted *to = random_disk ("target", 30 * MB, 1, &seed);
  struct watcher watcher = { from, to, 0, 0, 1 };
  struct copy_options options = {
    .threads = 4, .checkpoint = see_checkpoint, .opaque = &watcher,
  };
  struct copy_result result;
  struct err err = ERR_INIT;

  (void) state;
  tick_ms = 400;
  assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                               &err), -EDQUOT);
  assert_string_equal (err.msg, "no checkpoint");
  assert_int_equal (result.failed, COPY_NEITHER);
  done_with (from, to);
}

/* Canceled again and again, and begun again where it was. */
static void
canceled_it_goes_on_where_it_was (void **state)
{
  (void) state;
  for (unsigned threads = 1; threads <= 16; threads += 5) {
    unsigned seed = threads, rounds = 0;
    struct scripted *from = random_source (30 * MB + 77, &seed);
    struct scripted *to = random_disk ("target", 30 * MB + 77, 1, &seed);
    struct watcher watcher = { from, to, 0, 0, 0 };
    struct copy_options options = {
      .threads = threads, .checkpoint = see_checkpoint, .opaque = &watcher,
    };
    struct copy_result result;
    int r;

    do {
      struct job job = JOB_INIT;
      struct job_state now;
      struct err err = ERR_INIT;

      options.job = &job;
      options.start = watcher.told;
      from->cancel = &job;
      from->reads = 0;
      from->cancel_at = 1 + (unsigned) rand_r (&seed) % 9;
      r = copy_disk (&from->base, &to->base, &options, &result, &err);
      job_look (&job, &now);
      if (r < 0) {
        assert_int_equal (r, -ECANCELED);
        assert_string_equal (err.msg, "interrupted");
        assert_int_equal (result.failed, COPY_NEITHER);
        assert_int_equal (result.done, watcher.told);
        assert_true (now.done >= result.done - options.start);
        /* Nobody begins another range; each may have a piece of reads. */
        assert_true (from->reads < from->cancel_at + threads * 600);
      }
      memset (to->writers, 0, sizeof *to->writers * 16);
      rounds++;
    } while (r < 0 && rounds < 1000);
    assert_int_equal (r, 0);
    assert_true (rounds > 1);
    assert_memory_equal (from->data, to->data, 30 * MB + 77);
    done_with (from, to);
  }
}

static void
all_of_it_is_counted (void **state)
{
  (void) state;
  for (int zero = 0; zero < 2; ++zero) {
    unsigned seed = 23;
    struct scripted *from = random_source (20 * MB + 1, &seed);
    struct scripted *to = scripted_new ("target", 20 * MB + 1, 1);
    struct job job = JOB_INIT;
    struct copy_options options = { .target_is_zero = zero, .job = &job,
                                    .start = 3 * MB };
    struct copy_result result;
    struct job_state now;
    uint64_t at;

    assert_int_equal (copy_disk (&from->base, &to->base, &options, &result,
                                 NULL), 0);
    job_look (&job, &now);
    assert_string_equal (now.phase, "flushing");
    assert_int_equal (copy_compare (&from->base, &to->base, true, &options,
                                    &at, NULL), 0);
    memcpy (to->data, from->data, 3 * MB);
    assert_int_equal (copy_compare (&from->base, &to->base, true, &options,
                                    &at, NULL), 0);
    assert_true (at == COPY_SAME);
    job_look (&job, &now);
    assert_string_equal (now.phase, "comparing");
    assert_int_equal (now.total, 20 * MB + 1);
    assert_int_equal (now.done, now.total);
    from->bad_calls = 0;
    done_with (from, to);
  }
}

#define T(name) cmocka_unit_test_setup (name, setup)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (random_disks_are_copied),
    T (every_byte_that_differs_is_found),
    T (samples_are_of_both_ends_and_between),
    T (a_bad_sector_is_named),
    T (each_failure_is_reported),
    T (what_can_not_be_is_refused),
    T (memory_is_bounded),
    T (without_memory_it_fails),
    T (with_fewer_threads_it_works),
    T (a_huge_hole_is_soon_over),
    T (ranges_ascend),
    T (what_a_checkpoint_says_is_on_the_disk),
    T (a_checkpoint_that_fails_ends_it),
    T (canceled_it_goes_on_where_it_was),
    T (all_of_it_is_counted),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
