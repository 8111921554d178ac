/* SPDX-License-Identifier: GPL-2.0-or-later */

/* When a lease is expired (docs/NBI.md §15), T being the time of modification
 * of its `alive', and now the store's time:
 *
 *   a  now > T + ttl, and it was watched not to change for 120 seconds
 *   b  T > now + ttl, and it was watched not to change for ttl seconds
 *   c  its process has ended, where that can be known
 *   d  it is not understood, and its folder is a day old
 *
 * "Not to change" is of the time and the bytes of `alive'.  An answer may be
 * as old as the lag, so it is watched for that much longer.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/repo/lease-look.h"
#include "lib/repo/nbi.h"

#define ALIVE_MAX 64            /* bytes that are looked at */

/* What `alive' was like, and since when. */
struct pulse {
  bool seen;
  bool beats;                   /* it changed while it was watched */
  int64_t time;
  size_t len;                   /* SIZE_MAX: there is none */
  char text[ALIVE_MAX];
  uint64_t since;               /* by the clock */
};

struct look {
  struct lease_hold *own;
  struct store *store;
  struct job *job;
  struct lease_list *list;
  struct pulse *pulses;         /* one for each of the list */
  size_t nr_folders;
  int64_t now;                  /* the store's time */
};

void
lease_list_free (struct lease_list *list)
{
  for (size_t i = 0; i < list->len; ++i)
    lease_destroy (&list->ptr[i].lease);
  vector_free (list);
}

int
lease_break (struct store *store, const char *name, struct err *err)
{
  char from[STORE_PATH_SIZE], to[STORE_PATH_SIZE];

  snprintf (from, sizeof from, "partial/%s", name);
  snprintf (to, sizeof to, "broken/%s", name);
  return store_rename (store, from, to, err);
}

/*--- Which there are --------------------------------------------------------*/

static bool
is_listed (const struct lease_list *list, const char *name)
{
  for (size_t i = 0; i < list->len; ++i)
    if (strcmp (list->ptr[i].name, name) == 0)
      return true;
  return false;
}

static int
add_entry (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct look *look = opaque;
  struct lease_seen seen = { .state = LEASE_AT_WORK };
  struct vault_name name;

  if (entry->kind != STORE_FOLDER)
    return 0;
  if (++look->nr_folders > LEASE_FOLDERS_MAX)
    return nbi_beyond (err, 136, "partial/ has more than %d folders: "
                       "those that nobody works in have to be cleared first",
                       LEASE_FOLDERS_MAX);
  vault_name_parse (entry->name, &name);
  if ((name.kind != VAULT_NAME_BACKUP && name.kind != VAULT_NAME_PRUNE &&
       name.kind != VAULT_NAME_READ) || name.fresh)
    return 0;
  if ((look->own &&
       strcmp (entry->name, lease_folder_name (look->own)) == 0) ||
      is_listed (look->list, entry->name))
    return 0;
  snprintf (seen.name, sizeof seen.name, "%s", entry->name);
  seen.kind = name.kind;
  memcpy (seen.uuid, name.uuid, UUID_SIZE);
  if (vector_append (look->list, &seen) < 0)
    return err_nomem (err);
  return 0;
}

static int
list_twice (struct look *look, struct err *err)
{
  for (int i = 0; i < 2; ++i) {
    int r;

    look->nr_folders = 0;
    r = store_list (look->store, "partial", add_entry, look, err);
    if (r < 0)
      return r;
  }
  return 0;
}

/*--- What they say ----------------------------------------------------------*/

static const char *
path_in (const struct lease_seen *seen, const char *file,
         char buf[STORE_PATH_SIZE])
{
  snprintf (buf, STORE_PATH_SIZE, "partial/%s%s%s", seen->name,
            file ? "/" : "", file ? file : "");
  return buf;
}

/* 1: the folder is there. */
static int
is_there (struct look *look, const struct lease_seen *seen, int64_t *time,
          struct err *err)
{
  char path[STORE_PATH_SIZE];
  struct store_stat st;
  int r = store_stat (look->store, path_in (seen, NULL, path), &st, err);

  if (r < 0)
    return r == -ENOENT ? 0 : r;
  *time = st.time;
  return 1;
}

/* A lease that can't be read for the moment (EIO) is no lease that is not
 * understood: that ends all of this.
 */
static int
read_lease (struct look *look, struct lease_seen *seen, struct err *err)
{
  CLEANUP_FREE char *json = NULL;
  char path[STORE_PATH_SIZE];
  struct err why = ERR_INIT;
  size_t len = 0;
  int64_t time;
  int r = store_read_all (look->store, path_in (seen, VAULT_LEASE, path),
                          LEASE_SIZE_MAX, &json, &len, &why);

  if (r == -EFBIG)
    r = nbi_refuse (&why, 135, "more than %d bytes of JSON", LEASE_SIZE_MAX);
  if (r == 0)
    r = lease_decode (json, len, seen->kind, seen->uuid, &seen->lease, &why);
  if (r == -ENOENT) {
    /* Either the folder is gone, or it never had one. */
    r = is_there (look, seen, &time, err);
    if (r < 0)
      return r;
    if (r == 0)
      seen->state = LEASE_GONE;
    else
      snprintf (seen->why, sizeof seen->why, "it has no %s", VAULT_LEASE);
    return 0;
  }
  if (r < 0 && r != -EBADMSG && r != -ENOTSUP)
    return err_set (err, r, "%s", why.msg);
  seen->understood = r == 0;
  text_clean (why.msg, seen->why, sizeof seen->why);
  return 0;
}

/*--- Do they live? ----------------------------------------------------------*/

/* The time and bytes of `alive'; where there is none, the time of lease.json,
 * then of the folder.  Sets LEASE_GONE.
 */
static int
take_pulse (struct look *look, struct lease_seen *seen, struct pulse *now,
            struct err *err)
{
  static const char *const files[] = { VAULT_ALIVE, VAULT_LEASE, NULL };
  CLEANUP_BLOCK struct block *block = NULL;
  char path[STORE_PATH_SIZE];
  struct store_stat st;
  int r = -ENOENT;

  for (size_t i = 0; r == -ENOENT && i < sizeof files / sizeof files[0]; ++i)
    r = store_stat (look->store, path_in (seen, files[i], path), &st, err);
  if (r == -ENOENT) {
    seen->state = LEASE_GONE;
    return 0;
  }
  if (r < 0)
    return r;
  now->time = st.time;
  now->len = SIZE_MAX;
  r = store_open (look->store, path_in (seen, VAULT_ALIVE, path), &block, err);
  if (r == -ENOENT || r == -EBADMSG)
    return 0;
  if (r < 0)
    return r;
  now->len = (size_t) min_u64 (block_size (block), ALIVE_MAX);
  return block_pread (block, now->text, now->len, 0, err);
}

static bool
is_same (const struct pulse *a, const struct pulse *b)
{
  return a->time == b->time && a->len == b->len &&
    (a->len == SIZE_MAX || memcmp (a->text, b->text, a->len) == 0);
}

/* How long it must be watched, in seconds, before it is expired; 0: it looks
 * alive.  Times are what anybody wrote: no sum may wrap.
 */
static uint64_t
seconds_to_watch (const struct look *look, const struct lease *lease,
                  int64_t time)
{
  __int128 age = (__int128) look->now - time;

  if (age > (__int128) lease->ttl)
    return LEASE_WATCH + store_lag (look->store);
  if (age < -(__int128) lease->ttl)
    return (uint64_t) lease->ttl + store_lag (look->store);
  return 0;
}

/* *until: by the clock, when it may be said; as it was if it is known now. */
static int
judge_understood (struct look *look, struct lease_seen *seen,
                  struct pulse *pulse, uint64_t *until, struct err *err)
{
  uint64_t clock = repo_clock_now (store_clock (look->store)), enough;
  struct pulse now = { .seen = true, .since = clock };
  int r;

  if (store_is_local (look->store) &&
      lease_owner_has_ended (&seen->lease.owner)) {
    seen->state = LEASE_EXPIRED;
    return 0;
  }
  r = take_pulse (look, seen, &now, err);
  if (r < 0 || seen->state == LEASE_GONE)
    return r;
  now.beats = pulse->seen && !is_same (pulse, &now);
  if (!pulse->seen || now.beats)
    *pulse = now;
  if (pulse->beats)
    return 0;                   /* whatever its clock says */
  enough = seconds_to_watch (look, &seen->lease, now.time);
  if (enough == 0)
    return 0;
  enough = pulse->since + enough * REPO_SECOND;
  if (clock >= enough)
    seen->state = LEASE_EXPIRED;
  else
    *until = min_u64 (*until, enough);
  return 0;
}

static int
judge_other (struct look *look, struct lease_seen *seen, struct err *err)
{
  int64_t time;
  int r = is_there (look, seen, &time, err);

  if (r < 0)
    return r;
  seen->state = r == 0 ? LEASE_GONE
    : (__int128) look->now - time > LEASE_DAY ? LEASE_EXPIRED : LEASE_UNCLEAR;
  return 0;
}

/* The store's time. */
static int
ask_time (struct look *look, struct err *err)
{
  int r;

  if (look->own == NULL)
    return store_time (look->store, "partial", &look->now, err);
  r = lease_renew (look->own, err);
  look->now = lease_time (look->own);
  return r;
}

static int
judge_all (struct look *look, uint64_t *until, struct err *err)
{
  int r = ask_time (look, err);

  for (size_t i = 0; r == 0 && i < look->list->len; ++i) {
    struct lease_seen *seen = &look->list->ptr[i];

    if (seen->state != LEASE_AT_WORK || look->pulses[i].beats)
      continue;
    r = seen->understood
      ? judge_understood (look, seen, &look->pulses[i], until, err)
      : judge_other (look, seen, err);
  }
  return r;
}

/* Each round at most a minute after the one before, so that the own lease
 * lives, until each is known to have changed or to have been watched for long
 * enough: there is an end.
 */
static int
watch (struct look *look, struct err *err)
{
  const struct repo_clock *clock = store_clock (look->store);

  for (;;) {
    uint64_t until = UINT64_MAX;
    int r = judge_all (look, &until, err);

    if (r < 0 || until == UINT64_MAX)
      return r;
    until = min_u64 (until, repo_clock_now (clock) + LEASE_RENEW * REPO_SECOND);
    r = repo_clock_sleep_until (clock, until, look->job, err);
    if (r < 0)
      return r;
  }
}

int
lease_look (struct lease_hold *own, struct store *store, struct job *job,
            struct lease_list *list, struct err *err)
{
  struct look look = { .own = own, .store = store, .job = job, .list = list };
  CLEANUP_FREE struct pulse *pulses = NULL;
  int r = job_check (job, err);

  *list = (struct lease_list) VECTOR_INIT;
  if (r == 0)
    r = list_twice (&look, err);
  if (r < 0)
    return r;
  pulses = calloc (list->len + 1, sizeof *pulses);
  if (pulses == NULL)
    return err_nomem (err);
  look.pulses = pulses;
  for (size_t i = 0; r == 0 && i < list->len; ++i)
    r = read_lease (&look, &list->ptr[i], err);
  return r == 0 ? watch (&look, err) : r;
}
