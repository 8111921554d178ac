/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <pthread.h>
#include <stdlib.h>

#include "lib/format/compressed/live.h"

#define MAX_LIVE 8
#define MAX_HEAVY 3             /* where one takes more than HEAVY */
#define HEAVY ((uint64_t) 24 * 1024 * 1024)

/* Of two that begin at the same point the one that waits for the other to get
 * further is there no later than if it went on its own, and nothing is decoded
 * twice; but who has to decode less than this does not wait.
 */
#define WORTH_WAITING (256 * 1024)

struct slot {
  struct decoder *d;            /* NULL: none, but see busy */
  bool busy;                    /* a thread has it, or is making it */
  uint64_t at;                  /* where it is, or will be when it is given
                                   back */
  uint64_t began;               /* where it was when a thread took it */
  uint64_t used;                /* when; the largest is the last */
};

/* On the stack of a thread that waits for a decoder. */
struct waiter {
  uint64_t from, off;           /* one in between will do */
  struct waiter *next;
};

struct live {
  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t changed;       /* given back, or somebody waits no more */
  struct waiter *waiters;
  struct slot slots[MAX_LIVE];
  unsigned max;                 /* of them */
  uint64_t clock;
};

int
live_new (struct live **out, struct err *err)
{
  struct live *live = calloc (1, sizeof *live);

  if (live == NULL)
    return err_nomem (err);
  live->max = MAX_LIVE;
  pthread_mutex_init (&live->lock, NULL);
  pthread_cond_init (&live->changed, NULL);
  *out = live;
  return 0;
}

void
live_free (struct live *live)
{
  if (live == NULL)
    return;
  for (size_t i = 0; i < MAX_LIVE; ++i)
    decoder_free (live->slots[i].d);
  pthread_cond_destroy (&live->changed);
  pthread_mutex_destroy (&live->lock);
  free (live);
}

/* The nearest between `from' and `off' that is idle; NULL. */
static struct slot *
nearest (struct live *live, uint64_t from, uint64_t off)
{
  struct slot *best = NULL;

  for (size_t i = 0; i < live->max; ++i) {
    struct slot *s = &live->slots[i];

    if (!s->busy && s->d != NULL && s->at >= from && s->at <= off &&
        (best == NULL || s->at > best->at))
      best = s;
  }
  return best;
}

/* Instead of going from `at' to `off': will one that is in use be nearer when
 * it is given back, there or on its way further?
 */
static bool
is_worth_waiting (const struct live *live, uint64_t at, uint64_t off)
{
  for (size_t i = 0; i < live->max; ++i) {
    const struct slot *s = &live->slots[i];
    uint64_t then = s->at;

    if (s->busy && then > off && then - off <= LIVE_STOPS && s->began >= at &&
        s->began <= off)
      then = off;
    if (s->busy && then <= off && then >= at + WORTH_WAITING)
      return true;
  }
  return false;
}

/* Does somebody wait who can use the decoder, which is idle, and wants less
 * than `off'?  Then that one comes first, and the decoder is nearer to `off'
 * afterwards.
 */
static bool
is_spoken_for (const struct live *live, const struct slot *idle, uint64_t off)
{
  for (const struct waiter *w = live->waiters; w != NULL; w = w->next)
    if (w->from <= idle->at && idle->at <= w->off && w->off < off)
      return true;
  return false;
}

/* A place for a new one: an empty one, or that of the one that was not used
 * for longest.  NULL: all are busy, or just about to be.
 */
static struct slot *
room (struct live *live)
{
  struct slot *best = NULL;

  for (size_t i = 0; i < live->max; ++i) {
    struct slot *s = &live->slots[i];

    if (s->busy)
      continue;
    if (s->d == NULL)
      return s;
    if ((best == NULL || s->used < best->used) &&
        !is_spoken_for (live, s, UINT64_MAX))
      best = s;
  }
  return best;
}

/* Which to use, from now on busy; NULL: none now. */
static struct slot *
choose_now (struct live *live, uint64_t from, uint64_t off, size_t len,
            struct decoder **old)
{
  struct slot *idle = nearest (live, from, off);
  uint64_t at = idle ? idle->at : from;
  struct slot *s = idle ? idle : room (live);

  if (s == NULL || is_worth_waiting (live, at, off) ||
      (idle != NULL && is_spoken_for (live, idle, off)))
    return NULL;
  if (idle == NULL) {
    *old = s->d;
    s->d = NULL;
  }
  s->busy = true;
  s->began = at;
  s->at = off + len;
  return s;
}

static struct slot *
choose (struct live *live, uint64_t from, uint64_t off, size_t len,
        struct decoder **old)
{
  struct waiter me = { .from = from, .off = off }, **p;
  struct slot *s = choose_now (live, from, off, len, old);

  if (s != NULL)
    return s;
  me.next = live->waiters;
  live->waiters = &me;
  while ((s = choose_now (live, from, off, len, old)) == NULL)
    pthread_cond_wait (&live->changed, &live->lock);
  for (p = &live->waiters; *p != &me; p = &(*p)->next)
    ;
  *p = me.next;
  /* Others may have left one to us that we did not take. */
  if (live->waiters != NULL && nearest (live, 0, UINT64_MAX) != NULL)
    pthread_cond_broadcast (&live->changed);
  return s;
}

int
live_take (struct live *live, const struct live_maker *maker, uint64_t off,
           size_t len, struct decoder **out, struct err *err)
{
  struct decoder *old = NULL, *d;
  struct slot *s;
  int r;

  pthread_mutex_lock (&live->lock);
  s = choose (live, maker->from, off, len, &old);
  d = s->d;
  pthread_mutex_unlock (&live->lock);
  decoder_free (old);
  if (d != NULL) {
    *out = d;
    return 0;
  }
  r = maker->make (maker->opaque, &d, err);
  pthread_mutex_lock (&live->lock);
  if (r == 0)
    *out = s->d = d;
  else {
    s->busy = false;
    pthread_cond_broadcast (&live->changed);
  }
  pthread_mutex_unlock (&live->lock);
  return r;
}

/* Those that are behind the end of the slots. */
static void
take_too_many (struct live *live, struct decoder *gone[MAX_LIVE])
{
  for (size_t i = live->max; i < MAX_LIVE; ++i)
    if (!live->slots[i].busy) {
      gone[i] = live->slots[i].d;
      live->slots[i].d = NULL;
    }
}

void
live_give_back (struct live *live, struct decoder *d, bool good)
{
  struct decoder *gone[MAX_LIVE] = { NULL };
  struct slot *s = live->slots;

  pthread_mutex_lock (&live->lock);
  while (s->d != d)
    ++s;
  s->busy = false;
  s->at = d->out;
  s->used = ++live->clock;
  if (d->memory > HEAVY)
    live->max = MAX_HEAVY;
  take_too_many (live, gone);
  if (!good && s->d != NULL) {
    gone[s - live->slots] = d;
    s->d = NULL;
  }
  pthread_cond_broadcast (&live->changed);
  pthread_mutex_unlock (&live->lock);
  for (size_t i = 0; i < MAX_LIVE; ++i)
    decoder_free (gone[i]);
}
