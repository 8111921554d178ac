/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/repo/lease-hold.h"
#include "lib/repo/prune-private.h"
#include "lib/repo/reader-lease.h"

struct reader_lease {
  struct vault *vault;
  struct vault_run run;
  unsigned delay, again;        /* seconds */
  pthread_t thread;
  pid_t pid;                    /* that has this thread */
  struct job stop;              /* for waits in the store */

  pthread_mutex_t lock;         /* of what follows */
  pthread_cond_t changed;
  bool ended;
  bool known;                   /* it was tried; why has what hindered it */
  struct err why;
};

/* Until it ends, or so many seconds (0: for as long as it takes): did it? */
static bool
wait_for_end (struct reader_lease *l, unsigned seconds)
{
  struct timespec until;
  int r = 0;

  clock_gettime (CLOCK_MONOTONIC, &until);
  until.tv_sec += (time_t) seconds;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);
  while (!l->ended && r == 0)
    r = seconds == 0 ? pthread_cond_wait (&l->changed, &l->lock)
      : pthread_cond_timedwait (&l->changed, &l->lock, &until);
  return l->ended;
}

/* R1.  NULL: it can't be had. */
static struct lease_hold *
take (struct reader_lease *l, struct err *err)
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  struct store *store = vault_store (l->vault);
  struct lease_hold *hold;
  uint8_t uuid[UUID_SIZE];

  if (uuid_new (uuid, err) < 0 ||
      lease_init (store, VAULT_NAME_READ, uuid, NULL, &lease, err) < 0 ||
      lease_add (&lease, l->run.run, err) < 0 ||
      lease_take (store, &lease, LEASE_THREAD, &hold, err) < 0)
    return NULL;
  return hold;
}

/* R2: it was neither marked nor gone by the time the lease could be seen. */
static bool
is_there (struct reader_lease *l, struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char path[VAULT_NAME_SIZE + 8];
  int r;

  snprintf (path, sizeof path, "files/%s", l->run.folder);
  r = store_wait (vault_store (l->vault), &l->stop, err);
  if (r == 0)
    r = vault_look_in (l->vault, path, 0, &names, err);
  if (r == -ENOENT || (r == 0 && names.dropped))
    r = err_set (err, -ESTALE, "%s: the generation was dropped, and may go at "
                 "any time", path);
  return r == 0;
}

static void
tell (struct reader_lease *l, const struct err *why)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);

  l->why = *why;
  l->known = true;
  pthread_cond_broadcast (&l->changed);
}

/* R3. */
static void
give_back (struct reader_lease *l, struct lease_hold *hold)
{
  char folder[STORE_PATH_SIZE];

  snprintf (folder, sizeof folder, "broken/%s", lease_folder_name (hold));
  if (lease_leave (hold, NULL) == 0)
    (void) prune_delete_tree (vault_store (l->vault), folder, 0, NULL,
                              NULL);
  lease_free (hold);
}

/* Until it ends, or somebody breaks it.  Is it to be tried again? */
static bool
hold_once (struct reader_lease *l)
{
  struct err why = ERR_INIT;
  struct lease_hold *hold = take (l, &why);
  bool ended = false;

  if (hold != NULL)
    (void) is_there (l, &why);
  tell (l, &why);
  if (hold != NULL && why.code == 0)
    do
      ended = wait_for_end (l, l->again);
    while (!ended && lease_check (hold, NULL) == 0);
  if (hold != NULL)
    give_back (l, hold);
  if (why.code == -ESTALE)
    return false;
  return why.code == 0 ? !ended : !wait_for_end (l, l->again);
}

static void *
keep (void *opaque)
{
  struct reader_lease *l = opaque;

  if (l->delay > 0 && wait_for_end (l, l->delay))
    return NULL;
  while (hold_once (l))
    ;
  return NULL;
}

int
reader_lease_start (struct vault *vault, const struct vault_run *run,
                    unsigned delay, unsigned again, struct reader_lease **out,
                    struct err *err)
{
  struct reader_lease *l = calloc (1, sizeof *l);
  pthread_condattr_t attr;
  int r;

  if (l == NULL)
    return err_nomem (err);
  l->vault = vault;
  l->run = *run;
  l->delay = delay;
  l->again = again;
  l->pid = getpid ();
  l->stop = (struct job) JOB_INIT;
  l->why = (struct err) ERR_INIT;
  pthread_mutex_init (&l->lock, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&l->changed, &attr);
  pthread_condattr_destroy (&attr);
  r = thread_start (&l->thread, keep, l);
  if (r != 0) {
    free (l);
    return err_set (err, -r, "a thread can't be made (error %d)", r);
  }
  *out = l;
  return 0;
}

int
reader_lease_wait (struct reader_lease *l, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);

  while (!l->known)
    pthread_cond_wait (&l->changed, &l->lock);
  if (l->why.code != 0 && err != NULL)
    *err = l->why;
  return l->why.code;
}

void
reader_lease_end (struct reader_lease *l)
{
  if (l == NULL)
    return;
  /* After a fork the thread and the lease are the parent's. */
  if (l->pid != getpid ()) {
    free (l);
    return;
  }
  job_cancel (&l->stop);
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);

    l->ended = true;
    pthread_cond_broadcast (&l->changed);
  }
  pthread_join (l->thread, NULL);
  pthread_cond_destroy (&l->changed);
  pthread_mutex_destroy (&l->lock);
  free (l);
}
