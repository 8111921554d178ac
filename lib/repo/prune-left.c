/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What others left behind: whose it is, how much, and for how long it stays:
 * P9 of docs/NBI.md §15, but for the editions.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune-private.h"

#define OLD (30 * 86400)        /* seconds that an interrupted run is kept */

void
prune_join (char path[PRUNE_PATH_SIZE], const char *folder, const char *name)
{
  if (snprintf (path, PRUNE_PATH_SIZE, "%s/%s", folder, name) >=
      PRUNE_PATH_SIZE)
    path[PRUNE_PATH_SIZE - 1] = '\0';
}

/*--- Whose it is ------------------------------------------------------------*/

/* When it was last known to be at work; -ENOENT: it is gone. */
static int
last_sign (struct store *store, const char *folder, int64_t *time,
           struct err *err)
{
  char path[PRUNE_PATH_SIZE];
  struct store_stat st;
  int r = store_stat (store, folder, &st, err);

  if (r < 0)
    return r;
  *time = st.time;
  prune_join (path, folder, VAULT_ALIVE);
  if (store_stat (store, path, &st, NULL) == 0)
    *time = st.time;
  return 0;
}

/* Has the disk of this interrupted backup a generation that is later?  What
 * can't be found out is a no.
 */
static bool
is_superseded (const struct prune_leaving *l, const char *folder,
               const struct vault_name *name, int64_t sign)
{
  CLEANUP_FREE char *json = NULL;
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  char path[PRUNE_PATH_SIZE];
  size_t len;

  prune_join (path, folder, VAULT_LEASE);
  if (store_read_all (l->store, path, LEASE_SIZE_MAX, &json, &len, NULL) < 0 ||
      lease_decode (json, len, name->kind, name->uuid, &lease, NULL) < 0)
    return false;
  for (size_t i = 0; i < l->newest->len; ++i)
    if (strcmp (l->newest->ptr[i].disk, lease.name) == 0)
      return sign < 0 || l->newest->ptr[i].time > (uint64_t) sign;
  return false;
}

int
prune_note_newest (struct prune_newest_list *list,
                   const char disk[NBI_NAME_SIZE], uint64_t time,
                   struct err *err)
{
  struct prune_newest newest = { .time = time };

  for (size_t i = 0; i < list->len; ++i)
    if (strcmp (list->ptr[i].disk, disk) == 0) {
      if (list->ptr[i].time < time)
        list->ptr[i].time = time;
      return 0;
    }
  memcpy (newest.disk, disk, sizeof newest.disk);
  return vector_append (list, &newest) < 0 ? err_nomem (err) : 0;
}

#define FOR_EVER INT64_C (-1)

/* For how many seconds a folder of that name stays after somebody was last at
 * work in it.
 */
static int64_t
time_to_keep (const struct prune_leaving *l, const char *text,
              const struct vault_name *name, bool broken)
{
  switch (name->kind) {
  case VAULT_NAME_HIDDEN:       /* of store_try */
    return strncmp (text, ".trial-", 7) == 0 ? LEASE_DAY : FOR_EVER;
  case VAULT_NAME_BACKUP:
    return name->fresh ? LEASE_DAY : !broken ? FOR_EVER
      : l->drop_interrupted ? 0 : OLD;
  case VAULT_NAME_PRUNE:
  case VAULT_NAME_READ:
    /* Of those in partial/ that have their name, P4 took what is expired. */
    return name->fresh ? LEASE_DAY : broken ? 0 : FOR_EVER;
  default:
    return FOR_EVER;
  }
}

int
prune_may_clear (const struct prune_leaving *l, const char *where,
                 const char *text, bool *may, struct err *err)
{
  char folder[PRUNE_PATH_SIZE];
  struct vault_name name;
  int64_t keep, sign;
  int r;

  vault_name_parse (text, &name);
  keep = time_to_keep (l, text, &name, strcmp (where, "broken") == 0);
  *may = keep == 0;
  if (keep <= 0)
    return 0;
  prune_join (folder, where, text);
  r = last_sign (l->store, folder, &sign, err);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  *may = l->now - sign > keep ||
    (keep == OLD && is_superseded (l, folder, &name, sign));
  return 0;
}

/*--- How much it is ---------------------------------------------------------*/

static void measure (struct store *store, const char *folder, unsigned depth,
                     struct prune_amount *amount);

struct measuring {
  struct store *store;
  const char *folder;
  unsigned depth;
  struct prune_amount *amount;
};

static int
measure_entry (void *opaque, const struct store_entry *entry, struct err *err)
{
  const struct measuring *m = opaque;
  char path[PRUNE_PATH_SIZE];
  struct store_stat st;

  (void) err;
  prune_join (path, m->folder, entry->name);
  if (entry->kind == STORE_FOLDER && m->depth > 0)
    measure (m->store, path, m->depth - 1, m->amount);
  else if (entry->kind != STORE_FOLDER &&
           store_stat (m->store, path, &st, NULL) == 0) {
    ++m->amount->nr;
    m->amount->bytes += st.size;
  }
  return 0;
}

/* Add the files of a folder, and of `depth' folders in it; those that can't be
 * had do not count.
 */
static void
measure (struct store *store, const char *folder, unsigned depth,
         struct prune_amount *amount)
{
  struct measuring m = { store, folder, depth, amount };

  (void) store_list (store, folder, measure_entry, &m, NULL);
}

struct counting {
  const struct prune_leaving *leaving;
  struct prune_left *left;
};

static int
count_entry (void *opaque, const struct store_entry *entry, struct err *err)
{
  const struct counting *c = opaque;
  struct prune_left *left = c->left;
  struct prune_amount amount = { .nr = 0 };
  char folder[PRUNE_PATH_SIZE];
  struct vault_name name;
  bool goes = false;
  int r;

  vault_name_parse (entry->name, &name);
  if (entry->kind != STORE_FOLDER || name.kind != VAULT_NAME_BACKUP)
    return 0;
  r = prune_may_clear (c->leaving, "broken", entry->name, &goes, err);
  if (r < 0)
    return r;
  prune_join (folder, "broken", entry->name);
  measure (c->leaving->store, folder, PRUNE_DEPTH, &amount);
  ++*(goes ? &left->goes.nr : &left->stays.nr);
  *(goes ? &left->goes.bytes : &left->stays.bytes) += amount.bytes;
  return 0;
}

int
prune_count_left (const struct prune_leaving *leaving,
                  struct prune_left *left, struct err *err)
{
  struct counting c = { leaving, left };
  int r = store_list (leaving->store, "broken", count_entry, &c, err);

  return r == -ENOENT ? 0 : r;
}

int
prune_look_for_left (struct store *store, struct prune_left *left,
                     struct err *err)
{
  static const struct prune_newest_list none = VECTOR_INIT;
  const struct prune_leaving leaving = { .store = store, .newest = &none };

  *left = (struct prune_left) { .stays = { 0, 0 } };
  return prune_count_left (&leaving, left, err);
}
