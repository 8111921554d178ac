/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Several flushes of a file at once, one of which fails: the kernel tells one
 * of them alone of data that was lost, whoever wrote it.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"

/* Of the calls that are replaced, the first one waits until others have
 * returned, for a while, and then returns this.
 */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool is_there;                /* the first one */
  bool may_go;                  /* ... and need not wait longer */
  int result;                   /* errno; 0: it succeeds */
} first = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false,
            0 };

static struct timespec
in_seconds (double seconds)
{
  struct timespec t;

  clock_gettime (CLOCK_REALTIME, &t);
  t.tv_nsec += (long) (seconds * 1e9);
  t.tv_sec += t.tv_nsec / 1000000000;
  t.tv_nsec %= 1000000000;
  return t;
}

/* The first one that comes is held up; true for that one. */
static bool
hold_up_first (double seconds)
{
  const struct timespec until = in_seconds (seconds);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&first.lock);

  if (first.is_there)
    return false;
  first.is_there = true;
  pthread_cond_broadcast (&first.changed);
  while (!first.may_go &&
         pthread_cond_timedwait (&first.changed, &first.lock, &until) == 0)
    ;
  return true;
}

static void
let_go (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&first.lock);

  first.may_go = true;
  pthread_cond_broadcast (&first.changed);
}

static void
wait_for_first (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&first.lock);

  while (!first.is_there)
    pthread_cond_wait (&first.changed, &first.lock);
}

static double patience;         /* seconds */
static unsigned nr_asked, nr_waiting;   /* atomic */
static unsigned nr_allowed = UINT_MAX;  /* atomic; others stay in the kernel */

int __wrap_fdatasync (int fd);

int
__wrap_fdatasync (int fd)
{
  unsigned number = __atomic_add_fetch (&nr_asked, 1, __ATOMIC_RELAXED);

  (void) fd;
  while (__atomic_load_n (&nr_allowed, __ATOMIC_RELAXED) < number)
    usleep (1000);
  if (!hold_up_first (patience) || first.result == 0)
    return 0;
  errno = first.result;
  return -1;
}

/* Of these only those in the flush of a file are replaced. */
int __wrap_pthread_cond_wait (pthread_cond_t *cond, pthread_mutex_t *lock);
int __real_pthread_cond_wait (pthread_cond_t *cond, pthread_mutex_t *lock);

int
__wrap_pthread_cond_wait (pthread_cond_t *cond, pthread_mutex_t *lock)
{
  __atomic_add_fetch (&nr_waiting, 1, __ATOMIC_RELAXED);
  return __real_pthread_cond_wait (cond, lock);
}

ssize_t __wrap_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off,
                         int flags);

ssize_t
__wrap_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off,
                 int flags)
{
  (void) fd, (void) nr, (void) off, (void) flags;
  if (!hold_up_first (patience) || first.result == 0)
    return (ssize_t) iov->iov_len;
  errno = first.result;
  return -1;
}

/*--- The first one ----------------------------------------------------------*/

static struct block *
new_file (void)
{
  char path[] = "/tmp/nbdimage-flush.XXXXXX";
  int fd = mkstemp (path);
  struct block *block;

  assert_true (fd >= 0 && unlink (path) == 0 && ftruncate (fd, 4096) == 0);
  assert_int_equal (block_file_from_fd (fd, "file", BLOCK_FILE_WRITE, &block,
                                        NULL, NULL), 0);
  return block;
}

static void *
flush (void *block)
{
  return block_flush (block, NULL) < 0 ? block : NULL;
}

static void *
write_through (void *block)
{
  return block_pwrite_through (block, "0123", 4, 0, NULL) < 0 ? block : NULL;
}

static pthread_t
begin_first (void *(*what) (void *block), struct block *block, int result,
             double seconds)
{
  pthread_t thread;

  first.is_there = first.may_go = false;
  first.result = result;
  patience = seconds;
  assert_int_equal (pthread_create (&thread, NULL, what, block), 0);
  wait_for_first ();
  return thread;
}

static void
end_first (pthread_t thread, bool fails)
{
  void *failed;

  let_go ();
  assert_int_equal (pthread_join (thread, &failed), 0);
  assert_int_equal (failed != NULL, fails);
}

/*--- The tests --------------------------------------------------------------*/

/* The second one began after the first one had been told, and the kernel has
 * nothing left to tell.
 */
static void
try_pair (void *(*what) (void *block))
{
  struct block *block = new_file ();
  pthread_t thread = begin_first (what, block, EIO, 0.3);
  void *failed = flush (block);

  end_first (thread, true);
  assert_non_null (failed);
  block_unref (block);
}

static void
no_flush_succeeds_beside_one_that_fails (void **state)
{
  (void) state;
  try_pair (flush);
  try_pair (write_through);
}

static void
a_flush_beside_one_that_succeeds_does_so_too (void **state)
{
  struct block *block = new_file ();
  pthread_t thread = begin_first (flush, block, 0, 0.1);

  (void) state;
  assert_null (flush (block));
  end_first (thread, false);
  assert_null (flush (block));
  block_unref (block);
}

#define NR_BESIDE 8

/* None of them relies on the one under way, which may not know what they wrote,
 * but they do not ask one after the other either.
 */
static void
flushes_beside_one_share_the_next (void **state)
{
  struct block *block = new_file ();
  pthread_t thread, beside[NR_BESIDE];

  (void) state;
  nr_asked = nr_waiting = 0;
  thread = begin_first (flush, block, 0, 600);
  nr_waiting = 0;
  for (unsigned i = 0; i < NR_BESIDE; ++i)
    assert_int_equal (pthread_create (&beside[i], NULL, flush, block), 0);
  while (__atomic_load_n (&nr_waiting, __ATOMIC_RELAXED) < NR_BESIDE)
    usleep (1000);
  assert_int_equal (__atomic_load_n (&nr_asked, __ATOMIC_RELAXED), 1);
  end_first (thread, false);
  for (unsigned i = 0; i < NR_BESIDE; ++i) {
    void *failed;

    assert_int_equal (pthread_join (beside[i], &failed), 0);
    assert_null (failed);
  }
  assert_int_equal (nr_asked, 2);
  block_unref (block);
}

static unsigned nr_done;        /* atomic */

static void *
flush_and_count (void *block)
{
  void *failed = flush (block);

  __atomic_add_fetch (&nr_done, 1, __ATOMIC_RELAXED);
  return failed;
}

static void
allow (unsigned nr)
{
  __atomic_store_n (&nr_allowed, nr, __ATOMIC_RELAXED);
}

/* Until that is the number, for half a minute; returns what it is. */
static unsigned
wait_until (const unsigned *what, unsigned number)
{
  for (int i = 0;
       i < 30000 && __atomic_load_n (what, __ATOMIC_RELAXED) < number;
       ++i)
    usleep (1000);
  return __atomic_load_n (what, __ATOMIC_RELAXED);
}

/* The first asks, those beside it wait for the next, and the last one, which
 * comes while that is under way, asks a third time: when that begins, all
 * others have nothing more to wait for.
 */
static void
a_flush_waits_for_none_that_began_later (void **state)
{
  const unsigned last = NR_BESIDE + 1;
  struct block *block = new_file ();
  pthread_t thread[NR_BESIDE + 2];
  unsigned done;

  (void) state;
  first.is_there = true;        /* nobody is that */
  nr_asked = nr_waiting = nr_done = nr_allowed = 0;
  for (unsigned i = 0; i < last; ++i) {
    assert_int_equal (pthread_create (&thread[i], NULL, flush_and_count,
                                      block), 0);
    assert_int_equal (wait_until (&nr_asked, 1), 1);
  }
  assert_int_equal (wait_until (&nr_waiting, NR_BESIDE), NR_BESIDE);
  allow (1);
  assert_int_equal (wait_until (&nr_asked, 2), 2);
  assert_int_equal (pthread_create (&thread[last], NULL, flush_and_count,
                                    block), 0);
  wait_until (&nr_waiting, NR_BESIDE + 1);
  allow (2);
  done = wait_until (&nr_done, last);
  allow (UINT_MAX);
  for (unsigned i = 0; i <= last; ++i)
    assert_int_equal (pthread_join (thread[i], NULL), 0);
  assert_int_equal (done, last);
  assert_int_equal (nr_asked, 3);
  block_unref (block);
}

/* It would be as slow as a flush otherwise. */
static void
what_is_written_through_waits_for_no_flush (void **state)
{
  struct block *block = new_file ();
  pthread_t thread = begin_first (flush, block, 0, 600);

  (void) state;
  assert_null (write_through (block));
  end_first (thread, false);
  block_unref (block);
}

static void
count_loss (void *nr)
{
  ++*(unsigned *) nr;
}

static void
a_loss_is_told_before_anybody_knows (void **state)
{
  struct block *block = new_file ();
  unsigned nr = 0;
  pthread_t thread;

  (void) state;
  block_file_on_loss (block, count_loss, &nr);
  thread = begin_first (flush, block, EIO, 0.1);
  assert_non_null (flush (block));
  assert_int_equal (nr, 1);
  end_first (thread, true);
  block_file_on_loss (block, NULL, NULL);
  block_unref (block);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (no_flush_succeeds_beside_one_that_fails),
    cmocka_unit_test (a_flush_beside_one_that_succeeds_does_so_too),
    cmocka_unit_test (flushes_beside_one_share_the_next),
    cmocka_unit_test (a_flush_waits_for_none_that_began_later),
    cmocka_unit_test (what_is_written_through_waits_for_no_flush),
    cmocka_unit_test (a_loss_is_told_before_anybody_knows),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
