/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Connecting again.
 *
 * One thread connects, without the lock, and those that need the connection
 * meanwhile wait for what comes of it.  Once a connection was there, a failure
 * to make the next one is not the end: for `retry' seconds it is tried again,
 * with pauses that grow.  When they are over, all that wait fail; what comes
 * later gets one attempt, and not more than one in PAUSE_MAX seconds is made,
 * so that those who clear up after the failure do not wait as long again.
 * Answers that another attempt can't change end it at once: a wrong key.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/repo/clock.h"
#include "lib/repo/sftp-link.h"

#define PAUSE_MIN (REPO_SECOND / 4)
#define PAUSE_MAX (10 * REPO_SECOND)
#define LOST_MAX 8              /* connections that one thing may break */

struct sftp_link {
  unsigned refs;                /* atomic */
  struct sftp_dialer dialer;
  struct job *job;              /* atomic */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t changed;
  struct sftp *sftp;            /* NULL: there is none */
  unsigned number;              /* of the last */
  bool connecting, gave_up;
  unsigned failures;            /* attempts that were given up */
  uint64_t failed_at;
  struct err why;               /* the last one was */
};

static struct job *
job_of (const struct sftp_link *l)
{
  return __atomic_load_n (&l->job, __ATOMIC_ACQUIRE);
}

static int
connect_once (struct sftp_link *l, struct sftp **out, struct err *err)
{
  struct sftp_way *way;
  int r = l->dialer.dial (l->dialer.opaque, &l->job, &way, err);

  return r < 0 ? r
    : sftp_new (way, l->dialer.timeout * 1000, &l->job, out, err);
}

static bool
is_final (int r)
{
  return r == -EACCES || r == -ENOTSUP || r == -EINVAL || r == -ENOMEM ||
    r == -ECANCELED;
}

/* For `retry' seconds, or once if that is not set. */
static int
connect_long (struct sftp_link *l, bool retry, struct sftp **out,
              struct err *err)
{
  const struct repo_clock *clock = &repo_clock_boottime;
  uint64_t end = repo_clock_now (clock) +
    (retry ? l->dialer.retry * REPO_SECOND : 0), pause = PAUSE_MIN;

  for (;;) {
    int r = connect_once (l, out, err);

    if (r == 0 || is_final (r) || repo_clock_now (clock) + pause >= end)
      return r;
    r = repo_clock_sleep_until (clock, repo_clock_now (clock) + pause,
                                job_of (l), err);
    if (r < 0)
      return r;
    pause = pause * 2 < PAUSE_MAX ? pause * 2 : PAUSE_MAX;
  }
}

/* Under the lock: forget a connection that is of no more use. */
static void
forget_lost (struct sftp_link *l)
{
  if (l->sftp != NULL && sftp_is_lost (l->sftp)) {
    struct sftp *lost = l->sftp;

    l->sftp = NULL;
    pthread_mutex_unlock (&l->lock);
    sftp_unref (lost);
    pthread_mutex_lock (&l->lock);
  }
}

/* Under the lock, which is not held while it connects. */
static int
connect_again (struct sftp_link *l, struct err *err)
{
  bool retry = l->number > 0 && !l->gave_up;
  struct err why = ERR_INIT;
  struct sftp *sftp;
  int r;

  if (l->gave_up &&
      repo_clock_now (&repo_clock_boottime) - l->failed_at < PAUSE_MAX)
    return err_set (err, l->why.code, "%s", l->why.msg);
  l->connecting = true;
  pthread_mutex_unlock (&l->lock);
  r = connect_long (l, retry, &sftp, &why);
  pthread_mutex_lock (&l->lock);
  l->connecting = false;
  pthread_cond_broadcast (&l->changed);
  if (r == 0) {
    sftp_set_number (sftp, ++l->number);
    l->sftp = sftp;
    l->gave_up = false;
    return 0;
  }
  /* SFTP_LOST is a server that went away while it said hello. */
  err_set (&l->why, r == SFTP_LOST ? -EIO : r, "%s", why.msg);
  l->gave_up = true;
  l->failures++;
  l->failed_at = repo_clock_now (&repo_clock_boottime);
  return err_set (err, l->why.code, "%s", l->why.msg);
}

int
sftp_link_take (struct sftp_link *l, struct sftp **out, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);
  unsigned failures = l->failures;

  for (;;) {
    int r;

    forget_lost (l);
    if (l->sftp != NULL) {
      *out = sftp_ref (l->sftp);
      return 0;
    }
    if (l->failures != failures)
      return err_set (err, l->why.code, "%s", l->why.msg);
    r = job_check (job_of (l), err);
    if (r < 0)
      return r;
    if (l->connecting)
      pthread_cond_wait (&l->changed, &l->lock);
    else if ((r = connect_again (l, err)) < 0)
      return r;
  }
}

int
sftp_link_run (struct sftp_link *l, sftp_link_fn fn, void *opaque,
               struct err *err)
{
  for (unsigned lost = 0;; ++lost) {
    struct sftp *s;
    int r = sftp_link_take (l, &s, err);

    if (r < 0)
      return r;
    r = fn (s, lost > 0, opaque, err);
    sftp_unref (s);
    if (r != SFTP_LOST)
      return r;
    if (lost + 1 == LOST_MAX)
      return err_code (err, -EIO);
  }
}

unsigned
sftp_link_number (struct sftp_link *l)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);

  return l->number;
}

int
sftp_link_new (const struct sftp_dialer *dialer, struct job *job,
               struct sftp_link **out, struct err *err)
{
  struct sftp_link *l = calloc (1, sizeof *l);
  struct sftp *s;
  int r;

  if (l == NULL) {
    dialer->free (dialer->opaque);
    return err_nomem (err);
  }
  l->refs = 1;
  l->dialer = *dialer;
  l->job = job;
  pthread_mutex_init (&l->lock, NULL);
  pthread_cond_init (&l->changed, NULL);
  r = sftp_link_take (l, &s, err);
  if (r < 0) {
    sftp_link_unref (l);
    return r;
  }
  sftp_unref (s);
  *out = l;
  return 0;
}

struct sftp_link *
sftp_link_ref (struct sftp_link *l)
{
  __atomic_add_fetch (&l->refs, 1, __ATOMIC_RELAXED);
  return l;
}

void
sftp_link_unref (struct sftp_link *l)
{
  if (l == NULL || __atomic_sub_fetch (&l->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  sftp_unref (l->sftp);
  l->dialer.free (l->dialer.opaque);
  pthread_cond_destroy (&l->changed);
  pthread_mutex_destroy (&l->lock);
  free (l);
}

void
sftp_link_set_job (struct sftp_link *l, struct job *job)
{
  __atomic_store_n (&l->job, job, __ATOMIC_RELEASE);
}
