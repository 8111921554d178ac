/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What others left behind: P9 of docs/NBI.md §15, but for the editions.  Each
 * folder is renamed to the prune's own before anything in it is deleted, so
 * that of several who want it one gets it; whoever adopts it gets all of it.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune-private.h"

#define OLD (30 * 86400)        /* seconds that an interrupted run is kept */

struct name {
  char text[VAULT_NAME_SIZE];
  enum store_kind kind;
};

DEFINE_VECTOR (names, struct name);

static int
add_name (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct names *names = opaque;
  struct name name = { .kind = entry->kind };

  snprintf (name.text, sizeof name.text, "%s", entry->name);
  return vector_append (names, &name) < 0 ? err_nomem (err) : 0;
}

/* A name that is cut off is too long for the store, which refuses it. */
static void
join (char path[PRUNE_PATH_SIZE], const char *folder, const char *name)
{
  if (snprintf (path, PRUNE_PATH_SIZE, "%s/%s", folder, name) >=
      PRUNE_PATH_SIZE)
    path[PRUNE_PATH_SIZE - 1] = '\0';
}

/*--- Deleting ---------------------------------------------------------------*/

static int
delete_one (struct store *store, const char *folder, const struct name *name,
            unsigned depth, struct err *err)
{
  char path[PRUNE_PATH_SIZE];
  int r;

  join (path, folder, name->text);
  r = name->kind != STORE_FOLDER ? store_delete (store, path, err)
    : depth > 0 ? prune_delete_tree (store, path, depth - 1, err)
    : err_set (err, -ENOTEMPTY, "%s: a folder is in it that does not belong "
               "there", folder);
  return r == -ENOENT ? 0 : r;
}

int
prune_delete_tree (struct store *store, const char *folder, unsigned depth,
                   struct err *err)
{
  struct names names = VECTOR_INIT;
  const struct name *mark = NULL;
  int r = store_list (store, folder, add_name, &names, err);

  for (size_t i = 0; r == 0 && i < names.len; ++i) {
    const struct name *name = &names.ptr[i];

    if (strcmp (name->text, VAULT_DROPPED) == 0)
      mark = name;
    else
      r = delete_one (store, folder, name, depth, err);
  }
  if (r == 0 && mark != NULL)
    r = delete_one (store, folder, mark, depth, err);
  vector_free (&names);
  if (r == 0)
    r = store_delete_folder (store, folder, err);
  return r == -ENOENT ? 0 : r;
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
  join (path, folder, VAULT_ALIVE);
  if (store_stat (store, path, &st, NULL) == 0)
    *time = st.time;
  return 0;
}

/* Has the disk of this interrupted backup a generation that is later?  What
 * can't be found out is a no.
 */
static bool
is_superseded (struct prune *p, const char *folder,
               const struct vault_name *name, int64_t sign)
{
  CLEANUP_FREE char *json = NULL;
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  char path[PRUNE_PATH_SIZE];
  size_t len;

  join (path, folder, VAULT_LEASE);
  if (store_read_all (p->store, path, LEASE_SIZE_MAX, &json, &len, NULL) < 0 ||
      lease_decode (json, len, name->kind, name->uuid, &lease, NULL) < 0)
    return false;
  for (size_t i = 0; i < p->newest.len; ++i)
    if (strcmp (p->newest.ptr[i].disk, lease.name) == 0)
      return sign < 0 || p->newest.ptr[i].time > (uint64_t) sign;
  return false;
}

#define FOR_EVER INT64_C (-1)

/* For how many seconds a folder of that name stays after somebody was last at
 * work in it.
 */
static int64_t
time_to_keep (const char *text, const struct vault_name *name, bool broken)
{
  switch (name->kind) {
  case VAULT_NAME_HIDDEN:       /* of store_try */
    return strncmp (text, ".trial-", 7) == 0 ? LEASE_DAY : FOR_EVER;
  case VAULT_NAME_BACKUP:
    return name->fresh ? LEASE_DAY : broken ? OLD : FOR_EVER;
  case VAULT_NAME_PRUNE:
  case VAULT_NAME_READ:
    /* Of those in partial/ that have their name, P4 took what is expired. */
    return name->fresh ? LEASE_DAY : broken ? 0 : FOR_EVER;
  default:
    return FOR_EVER;
  }
}

/* May this folder, which is called so, be deleted? */
static int
is_nobodys (struct prune *p, const char *folder, const char *text,
            bool broken, bool *is, struct err *err)
{
  struct vault_name name;
  int64_t keep, sign;
  int r;

  vault_name_parse (text, &name);
  keep = time_to_keep (text, &name, broken);
  *is = keep == 0;
  if (keep <= 0)
    return 0;
  r = last_sign (p->store, folder, &sign, err);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  *is = lease_time (p->hold) - sign > keep ||
    (keep == OLD && is_superseded (p, folder, &name, sign));
  return 0;
}

/*--- All of it --------------------------------------------------------------*/

/* It may have been taken by others, which is fine; or be another user's, who
 * has to clear it himself.
 */
static int
take_away (struct prune *p, const char *folder, const char *name,
           struct err *err)
{
  char to[PRUNE_PATH_SIZE];
  struct err why = ERR_INIT;
  int r;

  join (to, lease_folder (p->hold), name);
  r = store_rename (p->store, folder, to, &why);
  if (r == 0)
    r = prune_delete_tree (p->store, to, PRUNE_DEPTH, &why);
  if (r == -EACCES || r == -EPERM) {
    report_warn (p->report, "nobody needs %s, but it can't be deleted: %s",
                 folder, why.msg);
    r = 0;
  }
  if (r == 0 || r == -ENOENT)
    return prune_go_on (p, err);
  if (err != NULL)
    *err = why;
  return r;
}

static int
clear_folder (struct prune *p, const char *where, bool broken,
              struct err *err)
{
  struct names names = VECTOR_INIT;
  int r = store_list (p->store, where, add_name, &names, err);

  for (size_t i = 0; r == 0 && i < names.len; ++i) {
    const char *text = names.ptr[i].text;
    char folder[PRUNE_PATH_SIZE];
    bool is;

    if (names.ptr[i].kind != STORE_FOLDER)
      continue;
    join (folder, where, text);
    r = prune_go_on (p, err);
    if (r == 0)
      r = is_nobodys (p, folder, text, broken, &is, err);
    if (r == 0 && is)
      r = take_away (p, folder, text, err);
  }
  vector_free (&names);
  return r;
}

int
prune_clear (struct prune *p, struct err *err)
{
  int r = clear_folder (p, "broken", true, err);

  if (r == 0)
    r = clear_folder (p, "partial", false, err);
  return r < 0 ? r : clear_folder (p, "files", false, err);
}
