/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <pthread.h>
#include <stdlib.h>

#include "lib/format/compressed/live.h"

#define MAX_LIVE 8
#define MAX_HEAVY 3             /* where one takes more than HEAVY */
#define HEAVY ((uint64_t) 24 * 1024 * 1024)

/* Decoding so much is quicker than waiting for somebody else. */
#define WORTH_WAITING (4 * 1024 * 1024)

struct slot {
  struct decoder *d;            /* NULL: none, but see busy */
  bool busy;                    /* a thread has it, or is making it */
  uint64_t at;                  /* where it is, or will be when it is given
                                   back */
  uint64_t used;                /* when; the largest is the last */
};

struct live {
  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t given_back;
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
  pthread_cond_init (&live->given_back, NULL);
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
  pthread_cond_destroy (&live->given_back);
  pthread_mutex_destroy (&live->lock);
  free (live);
}

/* Between `from' and `off', the nearest that is busy or is not; NULL. */
static struct slot *
nearest (struct live *live, bool busy, uint64_t from, uint64_t off)
{
  struct slot *best = NULL;

  for (size_t i = 0; i < live->max; ++i) {
    struct slot *s = &live->slots[i];

    if (s->busy == busy && (busy || s->d != NULL) && s->at >= from &&
        s->at <= off && (best == NULL || s->at > best->at))
      best = s;
  }
  return best;
}

/* A place for a new one: an empty one, or that of the one that was not used
 * for longest.  NULL: all are busy.
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
    if (best == NULL || s->used < best->used)
      best = s;
  }
  return best;
}

/* Which to use, from now on busy. */
static struct slot *
choose (struct live *live, uint64_t from, uint64_t off, size_t len,
        struct decoder **old)
{
  for (;;) {
    struct slot *idle = nearest (live, false, from, off);
    struct slot *busy = nearest (live, true, from, off);
    uint64_t at = idle ? idle->at : from;
    struct slot *s = idle ? idle : room (live);

    if (s != NULL && (busy == NULL || busy->at < at + WORTH_WAITING)) {
      if (idle == NULL) {
        *old = s->d;
        s->d = NULL;
      }
      s->busy = true;
      s->at = off + len;
      return s;
    }
    pthread_cond_wait (&live->given_back, &live->lock);
  }
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
    pthread_cond_broadcast (&live->given_back);
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
  pthread_cond_broadcast (&live->given_back);
  pthread_mutex_unlock (&live->lock);
  for (size_t i = 0; i < MAX_LIVE; ++i)
    decoder_free (gone[i]);
}
