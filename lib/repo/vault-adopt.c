/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The order, and what a crash after each step leaves.  R is partial/backup-RUN,
 * the own folder.
 *
 *   B4 1  what is adopted is renamed into R    each lies in R, or where it was,
 *                                              as a whole; the next run adopts
 *                                              R, with what is in it
 *      2  folders in those are renamed into R  the same; so whatever happens no
 *                                              folder lies deeper than in
 *                                              R/OLD for long
 *      3  files are looked at                  nothing
 *   B6 4  those that are used are renamed      files in R, or in R/OLD
 *         into R
 *      5  fsync of R                           the same
 *      6  all else is deleted                  some of it
 *
 * A folder is adopted by one rename, so that of several runs that want it one
 * gets it; nothing is renamed out of a folder that is not one's own yet.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/vault-adopt.h"

#define PATH_SIZE (STORE_PATH_SIZE + 2 * VAULT_NAME_SIZE)
#define MAX_DEPTH 8             /* of what is deleted; there are 2 */

/*--- Names ------------------------------------------------------------------*/

struct entry {
  char name[VAULT_NAME_SIZE];
  enum store_kind kind;
};

DEFINE_VECTOR (entries, struct entry);

static int
add_entry (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct entries *entries = opaque;
  struct entry e = { .kind = entry->kind };

  if ((size_t) snprintf (e.name, sizeof e.name, "%s", entry->name) >=
      sizeof e.name)
    return 0;
  return vector_append (entries, &e) < 0 ? err_nomem (err) : 0;
}

/* *entries: to be freed also after a failure. */
static int
list (const struct vault_adopter *a, const char *folder,
      struct entries *entries, struct err *err)
{
  *entries = (struct entries) VECTOR_INIT;
  return store_list (a->store, folder, add_entry, entries, err);
}

/* What is cut off is too long for the store in any case. */
static void
join (char path[PATH_SIZE], const char *folder, const char *name)
{
  snprintf (path, PATH_SIZE, "%.*s/%s", STORE_PATH_SIZE, folder, name);
}

/*--- B4: whose folders ------------------------------------------------------*/

/* One that is gone was broken, sealed or adopted by another meanwhile. */
static void
take (const struct vault_adopter *a, const char *where, const char *name,
      const uint8_t uuid[UUID_SIZE])
{
  char from[PATH_SIZE], to[PATH_SIZE], own[VAULT_NAME_SIZE];
  struct err why = ERR_INIT;
  int r;

  join (from, where, name);
  join (to, lease_folder (a->hold), vault_name_adopted (own, uuid));
  r = store_rename (a->store, from, to, &why);
  if (r < 0 && r != -ENOENT)
    report_warn (a->report, "%s: what an interrupted backup left can't be "
                 "used: %s", from, why.msg);
}

/* Is it of a backup of this disk? */
static bool
is_ours (const struct vault_adopter *a, const struct lease *lease)
{
  return strcmp (lease->name, a->header->name) == 0;
}

static bool
is_broken_and_ours (const struct vault_adopter *a, const char *folder,
                    const uint8_t uuid[UUID_SIZE])
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  CLEANUP_FREE char *json = NULL;
  char path[PATH_SIZE];
  size_t len;

  join (path, folder, VAULT_LEASE);
  return store_read_all (a->store, path, LEASE_SIZE_MAX, &json, &len,
                         NULL) == 0 &&
    lease_decode (json, len, VAULT_NAME_BACKUP, uuid, &lease, NULL) == 0 &&
    is_ours (a, &lease);
}

static int
take_broken (const struct vault_adopter *a, struct err *err)
{
  struct entries entries;
  int r = list (a, "broken", &entries, err);

  for (size_t i = 0; r == 0 && i < entries.len; ++i) {
    const struct entry *e = &entries.ptr[i];
    char path[PATH_SIZE];
    struct vault_name name;

    vault_name_parse (e->name, &name);
    join (path, "broken", e->name);
    if (e->kind == STORE_FOLDER && name.kind == VAULT_NAME_BACKUP &&
        !name.fresh && is_broken_and_ours (a, path, name.uuid))
      take (a, "broken", e->name, name.uuid);
  }
  vector_free (&entries);
  return r;
}

/* What was not there yet (B1), or was somebody's trial of the store: of
 * whatever disk, it counts for nobody.
 */
static bool
is_nobodys (const char *text)
{
  struct vault_name name;

  vault_name_parse (text, &name);
  return (name.kind == VAULT_NAME_BACKUP && name.fresh) ||
    (name.kind == VAULT_NAME_HIDDEN && strncmp (text, ".trial-", 7) == 0);
}

/* If it is a day old. */
static int
take_nobodys (const struct vault_adopter *a, const char *where,
              struct err *err)
{
  struct entries entries;
  int r = list (a, where, &entries, err);

  for (size_t i = 0; r == 0 && i < entries.len; ++i) {
    const struct entry *e = &entries.ptr[i];
    struct store_stat st;
    uint8_t uuid[UUID_SIZE];
    char path[PATH_SIZE];

    join (path, where, e->name);
    if (e->kind != STORE_FOLDER || !is_nobodys (e->name) ||
        store_stat (a->store, path, &st, NULL) < 0 ||
        lease_time (a->hold) - LEASE_DAY <= st.time)
      continue;
    r = uuid_new (uuid, err);
    if (r == 0)
      take (a, where, e->name, uuid);
  }
  vector_free (&entries);
  return r;
}

static int
take_all (const struct vault_adopter *a, const struct lease_list *seen,
          struct err *err)
{
  static const char *const folders[] = { "partial", "broken", "files" };
  int r;

  for (size_t i = 0; i < seen->len; ++i) {
    const struct lease_seen *s = &seen->ptr[i];

    if (s->kind == VAULT_NAME_BACKUP && s->state == LEASE_EXPIRED &&
        s->understood && is_ours (a, &s->lease))
      take (a, "partial", s->name, s->uuid);
  }
  r = take_broken (a, err);
  for (size_t i = 0; r == 0 && i < sizeof folders / sizeof folders[0]; ++i)
    r = take_nobodys (a, folders[i], err);
  return r;
}

/*--- B4: what they have -----------------------------------------------------*/

/* Whatever is wrong with it: without it, what it had is written again. */
static int
add_file (const struct vault_adopter *a, struct leftovers *l,
          const char *folder, const char *file, struct job *job,
          struct err *err)
{
  struct err why = ERR_INIT;
  struct vault_name name;
  char path[PATH_SIZE];
  int r = 0;

  vault_name_parse (file, &name);
  join (path, folder, file);
  if (name.kind == VAULT_NAME_NBI && name.edition == 0)
    r = leftovers_add_file (l, path, name.uuid, job, &why);
  else if (name.kind == VAULT_NAME_PART)
    r = leftovers_add_part (l, path, &why);
  if (r == -ENOMEM || r == -ECANCELED) {
    if (err != NULL)
      *err = why;
    return r;
  }
  if (r == -EBADMSG && name.kind == VAULT_NAME_NBI)
    report_warn (a->report, "what an interrupted backup left is damaged, and "
                 "is not used: %s", why.msg);
  return 0;
}

/* A folder of the own one: its files are looked at, its folders get a place
 * beside it.
 */
static int
look_into (const struct vault_adopter *a, struct leftovers *l,
           const char *folder, bool *deeper, struct job *job, struct err *err)
{
  struct entries entries;
  char from[PATH_SIZE], to[PATH_SIZE], own[VAULT_NAME_SIZE];
  uint8_t uuid[UUID_SIZE];
  int r = list (a, folder, &entries, err);

  for (size_t i = 0; r == 0 && i < entries.len; ++i) {
    const struct entry *e = &entries.ptr[i];

    if (e->kind == STORE_FILE)
      r = add_file (a, l, folder, e->name, job, err);
    else if (e->kind == STORE_FOLDER) {
      r = uuid_new (uuid, err);
      join (from, folder, e->name);
      join (to, lease_folder (a->hold), vault_name_adopted (own, uuid));
      if (r == 0 && store_rename (a->store, from, to, NULL) == 0)
        *deeper = true;
    }
  }
  vector_free (&entries);
  return r;
}

/* Who was listed once is known by its name: names here are never used again. */
static bool
is_listed (const struct entries *entries, const char *name)
{
  for (size_t i = 0; i < entries->len; ++i)
    if (strcmp (entries->ptr[i].name, name) == 0)
      return true;
  return false;
}

static int
look_into_all (const struct vault_adopter *a, struct leftovers *l,
               struct job *job, struct err *err)
{
  struct entries done = VECTOR_INIT;
  bool deeper = true;
  int r = 0;

  while (r == 0 && deeper) {
    struct entries entries;

    deeper = false;
    r = list (a, lease_folder (a->hold), &entries, err);
    for (size_t i = 0; r == 0 && i < entries.len; ++i) {
      const struct entry *e = &entries.ptr[i];
      char path[PATH_SIZE];

      if (e->kind != STORE_FOLDER || is_listed (&done, e->name))
        continue;
      join (path, lease_folder (a->hold), e->name);
      r = look_into (a, l, path, &deeper, job, err);
      if (r == 0 && vector_append (&done, e) < 0)
        r = err_nomem (err);
    }
    vector_free (&entries);
  }
  vector_free (&done);
  return r;
}

int
vault_adopt (const struct vault_adopter *a, const struct lease_list *seen,
             struct leftovers **out, struct job *job, struct err *err)
{
  struct leftovers *l;
  int r;

  *out = NULL;
  r = take_all (a, seen, err);
  if (r == 0)
    r = leftovers_new (a->store, a->sheets, a->keys, a->header, &l, err);
  if (r < 0)
    return r;
  r = look_into_all (a, l, job, err);
  if (r < 0 || leftovers_are_none (l)) {
    leftovers_free (l);
    return r;
  }
  leftovers_ready (l);
  *out = l;
  return 0;
}

/*--- B6 ---------------------------------------------------------------------*/

static int
keep (const struct vault_adopter *a, const struct leftover_file *file,
      struct err *err)
{
  char to[PATH_SIZE], name[VAULT_NAME_SIZE];

  join (to, lease_folder (a->hold),
        vault_name_nbi (name, file->uuid, 0, false));
  return store_rename (a->store, file->path, to, err);
}

static int
keep_used (const struct vault_adopter *a, const struct leftovers *leftovers,
           struct err *err)
{
  const struct leftover_files *files = leftovers_files (leftovers);
  bool any = false;
  int r = 0;

  for (size_t i = 0; r == 0 && i < files->len; ++i)
    if (files->ptr[i].used) {
      r = keep (a, &files->ptr[i], err);
      any = true;
    }
  if (r == 0 && any)
    r = store_flush_folder (a->store, lease_folder (a->hold), err);
  return r;
}

/* Returns whether it is gone. */
static int
delete_tree (const struct vault_adopter *a, const char *folder, int depth,
             struct err *err)
{
  struct entries entries;
  int r = depth == MAX_DEPTH
    ? err_set (err, -ELOOP, "folders lie too deep in each other") : 0;

  if (r == 0)
    r = list (a, folder, &entries, err);
  else
    entries = (struct entries) VECTOR_INIT;
  for (size_t i = 0; r == 0 && i < entries.len; ++i) {
    const struct entry *e = &entries.ptr[i];
    char path[PATH_SIZE];

    join (path, folder, e->name);
    r = e->kind == STORE_FOLDER ? delete_tree (a, path, depth + 1, err)
      : store_delete (a->store, path, err);
    if (r == -ENOENT)
      r = 0;
  }
  vector_free (&entries);
  return r < 0 ? r : store_delete_folder (a->store, folder, err);
}

/* What the generation is made of, and what B8 deletes. */
static bool
belongs_here (const struct entry *e)
{
  struct vault_name name;

  vault_name_parse (e->name, &name);
  return e->kind == STORE_FILE &&
    (name.kind == VAULT_NAME_NBI || name.kind == VAULT_NAME_LEASE ||
     name.kind == VAULT_NAME_ALIVE);
}

/* What can't be taken away is ignored in files/, but takes space. */
static void
clear (const struct vault_adopter *a, const char *name, enum store_kind kind)
{
  char path[PATH_SIZE];
  struct err why = ERR_INIT;
  int r;

  join (path, lease_folder (a->hold), name);
  r = kind == STORE_FOLDER ? delete_tree (a, path, 0, &why)
    : store_delete (a->store, path, &why);
  if (r < 0 && r != -ENOENT)
    report_warn (a->report, "what an interrupted backup left can't be "
                 "deleted: %s", why.msg);
}

int
vault_adopt_end (const struct vault_adopter *a,
                 const struct leftovers *leftovers, struct err *err)
{
  struct entries entries;
  int r = leftovers != NULL ? keep_used (a, leftovers, err) : 0;

  if (r < 0)
    return r;
  r = list (a, lease_folder (a->hold), &entries, err);
  for (size_t i = 0; r == 0 && i < entries.len; ++i)
    if (!belongs_here (&entries.ptr[i]))
      clear (a, entries.ptr[i].name, entries.ptr[i].kind);
  vector_free (&entries);
  return r;
}
