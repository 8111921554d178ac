/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Deleting what others left behind: P9 of docs/NBI.md §15, but for the
 * editions.  Each folder is renamed to the prune's own before anything in it is
 * deleted, so that of several who want it one gets it; whoever adopts it gets
 * all of it.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune-private.h"

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

/*--- Deleting ---------------------------------------------------------------*/

/* amount: NULL, or what is counted. */
static int
delete_file (struct store *store, const char *path,
             struct prune_amount *amount, struct err *err)
{
  struct store_stat st = { .size = 0 };
  int r;

  if (amount != NULL)
    (void) store_stat (store, path, &st, NULL);
  r = store_delete (store, path, err);
  if (r == 0 && amount != NULL) {
    ++amount->nr;
    amount->bytes += st.size;
  }
  return r;
}

static int
delete_one (struct store *store, const char *folder, const struct name *name,
            unsigned depth, struct prune_amount *amount, struct err *err)
{
  char path[PRUNE_PATH_SIZE];
  int r;

  prune_join (path, folder, name->text);
  r = name->kind != STORE_FOLDER ? delete_file (store, path, amount, err)
    : depth > 0 ? prune_delete_tree (store, path, depth - 1, amount, err)
    : err_set (err, -ENOTEMPTY, "%s: a folder is in it that does not belong "
               "there", folder);
  return r == -ENOENT ? 0 : r;
}

int
prune_delete_tree (struct store *store, const char *folder, unsigned depth,
                   struct prune_amount *amount, struct err *err)
{
  struct names names = VECTOR_INIT;
  const struct name *mark = NULL;
  int r = store_list (store, folder, add_name, &names, err);

  for (size_t i = 0; r == 0 && i < names.len; ++i) {
    const struct name *name = &names.ptr[i];

    if (strcmp (name->text, VAULT_DROPPED) == 0)
      mark = name;
    else
      r = delete_one (store, folder, name, depth, amount, err);
  }
  if (r == 0 && mark != NULL)
    r = delete_one (store, folder, mark, depth, amount, err);
  vector_free (&names);
  if (r == 0)
    r = store_delete_folder (store, folder, err);
  return r == -ENOENT ? 0 : r;
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

  prune_join (to, lease_folder (p->hold), name);
  r = store_rename (p->store, folder, to, &why);
  if (r == 0)
    r = prune_delete_tree (p->store, to, PRUNE_DEPTH, &p->result->cleared,
                           &why);
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
clear_folder (struct prune *p, const char *where, struct err *err)
{
  const struct prune_leaving leaving = {
    .store = p->store, .newest = &p->newest, .now = lease_time (p->hold),
    .drop_interrupted = p->plan->drop_interrupted,
  };
  struct names names = VECTOR_INIT;
  int r = store_list (p->store, where, add_name, &names, err);

  for (size_t i = 0; r == 0 && i < names.len; ++i) {
    const char *text = names.ptr[i].text;
    char folder[PRUNE_PATH_SIZE];
    bool goes;

    if (names.ptr[i].kind != STORE_FOLDER)
      continue;
    prune_join (folder, where, text);
    r = prune_go_on (p, err);
    if (r == 0)
      r = prune_may_clear (&leaving, where, text, &goes, err);
    if (r == 0 && goes)
      r = take_away (p, folder, text, err);
  }
  vector_free (&names);
  return r;
}

int
prune_clear (struct prune *p, struct err *err)
{
  int r = clear_folder (p, "broken", err);

  if (r == 0)
    r = clear_folder (p, "partial", err);
  return r < 0 ? r : clear_folder (p, "files", err);
}
