/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The order of a new lease, and what a crash after each step leaves:
 *
 *   1  partial/KIND-UUID.new          an empty folder, which counts for nobody
 *   2  lease.json in it, flushed      the same
 *   3  alive in it, flushed           the same
 *   4  the folder is flushed          the same
 *   5  renamed to partial/KIND-UUID   after a power cut, as in 4 or as in 6
 *   6  partial/ is flushed            a lease, whole, that expires
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/repo/lease-hold.h"

#define FOLDER_SIZE (VAULT_NAME_SIZE + 16)

struct lease_hold {
  struct store *store;
  char name[VAULT_NAME_SIZE];   /* KIND-UUID */
  char folder[FOLDER_SIZE];     /* partial/KIND-UUID */
  bool named;                   /* it may have its name: also if the answer
                                   was lost */

  pthread_mutex_t lock;         /* the rest; held while `alive' is written */
  uint64_t number;              /* in `alive' */
  int64_t time;
  bool lost;                    /* the folder is not there any more */
  bool stopped;

  bool has_thread;
  pthread_t thread;
  struct job stop;              /* cancelled: the thread ends */
};

static void
join (char *buf, size_t size, const char *folder, const char *name)
{
  snprintf (buf, size, "%s/%s", folder, name);
}

static int
lost (struct err *err)
{
  return err_set (err, -ENOENT, "its folder in partial/ is gone: somebody "
                  "took this run for dead");
}

/*--- Keeping it -------------------------------------------------------------*/

int
lease_renew (struct lease_hold *hold, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&hold->lock);
  char path[STORE_PATH_SIZE], text[32];
  int len, r;

  if (hold->lost)
    return lost (err);
  if (hold->stopped)
    return 0;
  join (path, sizeof path, hold->folder, VAULT_ALIVE);
  len = snprintf (text, sizeof text, "%llu\n",
                  (unsigned long long) ++hold->number);
  r = store_rewrite (hold->store, path, text, (size_t) len, &hold->time, err);
  if (r == -ENOENT) {
    hold->lost = true;
    return lost (err);
  }
  return r;
}

/* What fails here is tried again a minute later; whether the folder is still
 * there is all that matters.
 */
static void *
keep_alive (void *opaque)
{
  struct lease_hold *hold = opaque;
  const struct repo_clock *clock = store_clock (hold->store);
  uint64_t next = repo_clock_now (clock);

  for (;;) {
    next += LEASE_RENEW * REPO_SECOND;
    if (repo_clock_sleep_until (clock, next, &hold->stop, NULL) < 0 ||
        lease_renew (hold, NULL) == -ENOENT)
      return NULL;
    /* After a long sleep of the machine there is nothing to catch up on. */
    if (next < repo_clock_now (clock))
      next = repo_clock_now (clock);
  }
}

int
lease_check (struct lease_hold *hold, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&hold->lock);

  return hold->lost ? lost (err) : 0;
}

int64_t
lease_time (struct lease_hold *hold)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&hold->lock);

  return hold->time;
}

const char *
lease_folder (const struct lease_hold *hold)
{
  return hold->folder;
}

const char *
lease_folder_name (const struct lease_hold *hold)
{
  return hold->name;
}

/*--- Taking it --------------------------------------------------------------*/

static int
fill (struct store *store, const char *folder, const struct lease *lease,
      struct err *err)
{
  CLEANUP_FREE char *json = NULL;
  char path[STORE_PATH_SIZE];
  size_t len;
  int r = lease_encode (lease, &json, &len, err);

  if (r < 0)
    return r;
  join (path, sizeof path, folder, VAULT_LEASE);
  r = store_put (store, path, json, len, err);
  if (r < 0)
    return r;
  join (path, sizeof path, folder, VAULT_ALIVE);
  r = store_put (store, path, "0\n", 2, err);
  if (r < 0)
    return r;
  return store_flush_folder (store, folder, err);
}

/* What was begun and can't be ended: as far as the store lets us. */
static void
clear (struct store *store, const char *folder)
{
  static const char *const files[] = { VAULT_LEASE, VAULT_ALIVE };
  char path[STORE_PATH_SIZE];

  for (size_t i = 0; i < sizeof files / sizeof files[0]; ++i) {
    join (path, sizeof path, folder, files[i]);
    store_delete (store, path, NULL);
  }
  store_delete_folder (store, folder, NULL);
}

static int
make_folder (struct lease_hold *hold, const struct lease *lease,
             struct err *err)
{
  char name[VAULT_NAME_SIZE], fresh[FOLDER_SIZE];
  int r;

  join (fresh, sizeof fresh, "partial",
        vault_name_work (name, lease->kind, lease->uuid, true));
  r = store_make_folder (hold->store, fresh, err);
  if (r < 0)
    return r;
  r = fill (hold->store, fresh, lease, err);
  if (r == 0) {
    r = store_rename (hold->store, fresh, hold->folder, err);
    hold->named = r != -EEXIST;
  }
  if (r < 0) {
    clear (hold->store, fresh);
    return r;
  }
  return store_flush_folder (hold->store, "partial", err);
}

static int
start_thread (struct lease_hold *hold, struct err *err)
{
  int r = thread_start (&hold->thread, keep_alive, hold);

  if (r != 0)
    return err_set (err, -r, "a thread can't be made (error %d)", r);
  hold->has_thread = true;
  return 0;
}

int
lease_take (struct store *store, const struct lease *lease, unsigned flags,
            struct lease_hold **out, struct err *err)
{
  struct lease_hold *hold = calloc (1, sizeof *hold);
  int r;

  if (hold == NULL)
    return err_nomem (err);
  hold->store = store;
  hold->stop = (struct job) JOB_INIT;
  pthread_mutex_init (&hold->lock, NULL);
  vault_name_work (hold->name, lease->kind, lease->uuid, false);
  join (hold->folder, sizeof hold->folder, "partial", hold->name);
  r = make_folder (hold, lease, err);
  if (r == 0)
    r = lease_renew (hold, err);        /* what time is it there? */
  if (r == 0 && (flags & LEASE_THREAD))
    r = start_thread (hold, err);
  if (r < 0) {
    /* Nobody shall wait for it. */
    if (hold->named)
      lease_leave (hold, NULL);
    lease_free (hold);
    return r;
  }
  *out = hold;
  return 0;
}

/*--- The end ----------------------------------------------------------------*/

void
lease_stop (struct lease_hold *hold)
{
  job_cancel (&hold->stop);
  if (hold->has_thread)
    pthread_join (hold->thread, NULL);
  hold->has_thread = false;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&hold->lock);
  hold->stopped = true;
}

int
lease_leave (struct lease_hold *hold, struct err *err)
{
  char to[FOLDER_SIZE];
  int r;

  lease_stop (hold);
  join (to, sizeof to, "broken", hold->name);
  r = store_rename (hold->store, hold->folder, to, err);
  return r == -ENOENT ? 0 : r;
}

void
lease_free (struct lease_hold *hold)
{
  if (hold == NULL)
    return;
  lease_stop (hold);
  pthread_mutex_destroy (&hold->lock);
  free (hold);
}
