/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "lib/base/cleanup.h"
#include "lib/format/pending-flush.h"

void
pending_flush_init (struct pending_flush *f,
                    const struct pending_flush_ops *ops, void *opaque,
                    struct pending *bits, struct epoch *epoch)
{
  *f = (struct pending_flush) {
    .ops = ops, .opaque = opaque, .bits = bits, .epoch = epoch,
  };
  pthread_mutex_init (&f->lock, NULL);
  pthread_cond_init (&f->ended, NULL);
}

void
pending_flush_destroy (struct pending_flush *f)
{
  pthread_mutex_destroy (&f->lock);
  pthread_cond_destroy (&f->ended);
}

/* Steps 4 and 5.  The first thing that fails is told. */
static int
settle (struct pending_flush *f, struct err *err)
{
  int r = f->ops->flush (f->opaque, err), s = 0;

  if (f->ops->settle)
    s = f->ops->settle (f->opaque, r == 0, r == 0 ? err : NULL);
  return r < 0 ? r : s;
}

/* Steps 2 to 6. */
static int
flush_snapshot (struct pending_flush *f, const struct pending_snapshot *s,
                struct err *err)
{
  int r = f->ops->flush (f->opaque, err);

  if (r < 0 || s->pages.len == 0)
    return r;
  r = f->ops->put (f->opaque, s, err);
  if (r == 0)
    r = settle (f, err);
  if (r == 0)
    pending_clear (f->bits, s);
  return r;
}

static int
flush_once (struct pending_flush *f, struct err *err)
{
  CLEANUP_PENDING_SNAPSHOT struct pending_snapshot s = PENDING_SNAPSHOT_INIT;
  unsigned epoch = epoch_enter (f->epoch);
  int r = pending_snapshot (f->bits, &s, err);

  if (r == 0)
    r = flush_snapshot (f, &s, err);
  epoch_leave (f->epoch, epoch);
  return r;
}

/* Under the lock, which it gives up meanwhile. */
static void
run_now (struct pending_flush *f)
{
  uint64_t number = ++f->started;
  struct err err = ERR_INIT;
  int r;

  f->running = true;
  pthread_mutex_unlock (&f->lock);
  r = flush_once (f, &err);
  pthread_mutex_lock (&f->lock);
  f->running = false;
  f->finished = number;
  f->last = err;
  f->last.code = r;
  pthread_cond_broadcast (&f->ended);
}

/* One that begins from now on is enough. */
int
pending_flush_run (struct pending_flush *f, struct err *err)
{
  uint64_t wanted;

  if (pending_is_empty (f->bits))
    return f->ops->flush (f->opaque, err);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);
  wanted = f->started + 1;
  while (f->finished < wanted)
    if (f->running)
      pthread_cond_wait (&f->ended, &f->lock);
    else
      run_now (f);
  return f->last.code < 0 ? err_set (err, f->last.code, "%s", f->last.msg) : 0;
}

int
pending_flush_set (struct pending_flush *f, uint64_t block, uint64_t place,
                   uint32_t first, uint32_t nr, struct err *err)
{
  int r = 0;

  while (r == 0 && pending_set (f->bits, block, place, first, nr) < 0)
    r = pending_flush_run (f, err);
  return r;
}
