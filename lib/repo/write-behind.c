/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A ring of tasks, each with a buffer:
 *
 *   |  done: free  | under way | to be done | being filled |  free  |
 *                  first       first + taken  first + nr
 *
 * The buffers lie side by side in memory, and tasks are done in the order of
 * the ring.  So bytes that wait become one larger write when the medium is
 * slower than the disk is read: small writes while there is nothing to wait
 * for, large ones when it matters.
 *
 * They are aligned, so that they may be written past the page cache.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/repo/write-behind.h"

#define NR_TASKS 16U
#define ALIGNMENT 4096
#define MOST_AT_ONCE 4U         /* buffers in one write */

enum what { BEGIN, WRITE, END };

struct task {
  enum what what;
  size_t len;                   /* WRITE */
  bool last;                    /* END */
  struct nbi_header header;     /* BEGIN, END */
};

struct write_behind {
  struct sink sink;
  struct run_place place;       /* what others are given */
  const struct run_place *real;
  pthread_t thread;
  uint8_t *buffers;

  /* Of the thread. */
  struct sink *to;              /* the file that is being written */

  pthread_mutex_t lock;         /* guards what follows, but for the tasks
                                   between first and first + nr, which are the
                                   thread's, and the one behind them */
  pthread_cond_t more, fewer;   /* tasks; or it ends */
  unsigned first, nr;
  bool stop;
  struct err why;               /* code 0: nothing failed */
  struct task tasks[NR_TASKS];
};

static uint8_t *
buffer_of (const struct write_behind *w, unsigned i)
{
  return w->buffers + i * SINK_BUFFER;
}

/*--- The thread -------------------------------------------------------------*/

/* How many of the first nr tasks are one write. */
static unsigned
count_side_by_side (const struct write_behind *w, unsigned nr, size_t *len)
{
  unsigned n = 0;

  *len = 0;
  while (n < nr && n < MOST_AT_ONCE && w->first + n < NR_TASKS) {
    const struct task *task = &w->tasks[w->first + n];

    if (task->what != WRITE)
      break;
    ++n;
    *len += task->len;
    if (task->len < SINK_BUFFER)
      break;
  }
  return n;
}

/* Do the first of nr tasks, or several; *done says how many. */
static int
do_some (struct write_behind *w, unsigned nr, unsigned *done, struct err *err)
{
  const struct run_place *real = w->real;
  struct task *task = &w->tasks[w->first];
  size_t len;

  *done = 1;
  switch (task->what) {
  case BEGIN:
    return real->begin (real->opaque, &task->header, &w->to, err);
  case END:
    return real->end (real->opaque, &task->header, task->last, err);
  default:
    *done = count_side_by_side (w, nr, &len);
    return w->to->write (w->to, buffer_of (w, w->first), len, err);
  }
}

/* Under the lock, which it gives up meanwhile.  first is changed by nobody
 * else.
 */
static void
go_on (struct write_behind *w)
{
  struct err why = ERR_INIT;
  unsigned nr = w->nr, done;
  int r;

  pthread_mutex_unlock (&w->lock);
  r = do_some (w, nr, &done, &why);
  pthread_mutex_lock (&w->lock);
  w->first = (w->first + done) % NR_TASKS;
  w->nr -= done;
  if (r < 0) {
    w->why = why;
    w->why.code = r;
  }
  pthread_cond_broadcast (&w->fewer);
}

static void *
run (void *opaque)
{
  struct write_behind *w = opaque;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);

  while (!w->stop && w->why.code == 0)
    if (w->nr > 0)
      go_on (w);
    else
      pthread_cond_wait (&w->more, &w->lock);
  return NULL;
}

/*--- Those who have something to write --------------------------------------*/

/* Under the lock: until there are at most so many tasks. */
static int
wait_for_room (struct write_behind *w, unsigned most, struct err *err)
{
  while (w->nr > most && w->why.code == 0)
    pthread_cond_wait (&w->fewer, &w->lock);
  if (w->why.code != 0 && err != NULL)
    *err = w->why;
  return w->why.code;
}

/* Under the lock: the task that is filled next.  There is always one free. */
static struct task *
next_task (struct write_behind *w)
{
  return &w->tasks[(w->first + w->nr) % NR_TASKS];
}

/* Under the lock: that one is complete, but for what it is.  One stays free. */
static int
add_task (struct write_behind *w, enum what what, struct err *err)
{
  next_task (w)->what = what;
  ++w->nr;
  pthread_cond_signal (&w->more);
  return wait_for_room (w, NR_TASKS - 1, err);
}

static int
swap (struct sink *sink, size_t len, uint8_t **buf, struct err *err)
{
  struct write_behind *w = (struct write_behind *) sink;
  int r = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);

  if (len > 0) {
    next_task (w)->len = len;
    r = add_task (w, WRITE, err);
  }
  *buf = buffer_of (w, (w->first + w->nr) % NR_TASKS);
  return r;
}

static int
begin (void *opaque, const struct nbi_header *header, struct sink **sink,
       struct err *err)
{
  struct write_behind *w = opaque;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);

  *sink = &w->sink;
  next_task (w)->header = *header;
  return add_task (w, BEGIN, err);
}

static int
end (void *opaque, const struct nbi_header *header, bool last, struct err *err)
{
  struct write_behind *w = opaque;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);

  next_task (w)->header = *header;
  next_task (w)->last = last;
  return add_task (w, END, err);
}

const struct run_place *
write_behind_place (struct write_behind *w)
{
  return &w->place;
}

int
write_behind_wait (struct write_behind *w, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);

  return wait_for_room (w, 0, err);
}

/*--- Begin and end ----------------------------------------------------------*/

static void
free_it (struct write_behind *w)
{
  pthread_cond_destroy (&w->more);
  pthread_cond_destroy (&w->fewer);
  pthread_mutex_destroy (&w->lock);
  free (w->buffers);
  free (w);
}

int
write_behind_new (const struct run_place *place, struct write_behind **out,
                  struct err *err)
{
  struct write_behind *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return err_nomem (err);
  w->real = place;
  w->place = (struct run_place) { begin, end, w };
  w->sink.swap = swap;
  pthread_mutex_init (&w->lock, NULL);
  pthread_cond_init (&w->more, NULL);
  pthread_cond_init (&w->fewer, NULL);
  w->buffers = aligned_alloc (ALIGNMENT, NR_TASKS * SINK_BUFFER);
  r = w->buffers != NULL ? thread_start (&w->thread, run, w) : ENOMEM;
  if (r != 0) {
    free_it (w);
    return err_set (err, -r, "a thread that writes: %s", strerror (r));
  }
  *out = w;
  return 0;
}

void
write_behind_free (struct write_behind *w)
{
  if (w == NULL)
    return;
  pthread_mutex_lock (&w->lock);
  w->stop = true;
  pthread_cond_signal (&w->more);
  pthread_mutex_unlock (&w->lock);
  pthread_join (w->thread, NULL);
  free_it (w);
}
