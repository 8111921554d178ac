/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Making a vault, and what a crash after each step leaves:
 *
 *   1  vault.UUID.new/              a folder that means nothing
 *   2  vault.json, UUID.key in it, flushed, and the folder     the same
 *   3  renamed to vault/            a vault; of two who try one gets here, and
 *                                   the other takes it
 *   4  files/, partial/, broken/    a vault, of which each is made by whoever
 *                                   opens it for writing
 *   5  VAULT is flushed             it is there, and only now reported
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/vault-private.h"

int
vault_make_folders (struct store *store, struct err *err)
{
  static const char *const folders[] = { "files", "partial", "broken" };

  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; ++i) {
    int r = store_make_folder (store, folders[i], err);

    if (r < 0 && r != -EEXIST)
      return r;
  }
  return store_flush_folder (store, "", err);
}

/* Is there anything but what others left who tried the same? */
static int
look_at_name (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct vault_name name;

  (void) opaque;
  vault_name_parse (entry->name, &name);
  if (name.kind == VAULT_NAME_VAULT || name.kind == VAULT_NAME_HIDDEN ||
      strcmp (entry->name, "lost+found") == 0 ||
      strcmp (entry->name, "vault") == 0)
    return 0;
  return err_set (err, -ENOTEMPTY, "there is something else in the folder: "
                  "a vault needs one of its own");
}

static int
put_slots (struct store *store, const char *folder, const uint8_t *slots,
           unsigned nr_slots, struct err *err)
{
  int r = 0;

  for (unsigned i = 0; r == 0 && i < nr_slots; ++i) {
    char name[VAULT_NAME_SIZE], path[STORE_PATH_SIZE];
    uint8_t uuid[UUID_SIZE];

    r = uuid_new (uuid, err);
    if (r < 0)
      return r;
    snprintf (path, sizeof path, "%s/%s", folder, vault_name_key (name, uuid));
    r = store_put (store, path, slots + i * NBI_SLOT_SIZE, NBI_SLOT_SIZE, err);
  }
  return r;
}

static int
fill (struct store *store, const char *folder, const struct vault_about *about,
      const uint8_t *slots, unsigned nr_slots, struct err *err)
{
  CLEANUP_FREE char *json = NULL;
  char path[STORE_PATH_SIZE];
  size_t len;
  int r = vault_about_encode (about, &json, &len, err);

  if (r < 0)
    return r;
  snprintf (path, sizeof path, "%s/%s", folder, VAULT_JSON);
  r = store_put (store, path, json, len, err);
  if (r == 0)
    r = put_slots (store, folder, slots, nr_slots, err);
  return r == 0 ? store_flush_folder (store, folder, err) : r;
}

struct clearing {
  struct store *store;
  const char *folder;
};

static int
delete_one (void *opaque, const struct store_entry *entry, struct err *err)
{
  const struct clearing *c = opaque;
  char path[STORE_PATH_SIZE];

  snprintf (path, sizeof path, "%s/%s", c->folder, entry->name);
  return store_delete (c->store, path, err);
}

/* As far as the store lets us: it means nothing there. */
static void
clear (struct store *store, const char *folder)
{
  struct clearing c = { store, folder };

  store_list (store, folder, delete_one, &c, NULL);
  store_delete_folder (store, folder, NULL);
}

/* Is there one, whoever made it?  1 or 0. */
static int
has_vault (struct store *store, struct err *err)
{
  struct store_stat st;
  int r = store_stat (store, "vault/" VAULT_JSON, &st, err);

  if (r == -ENOENT)
    r = store_stat (store, "files", &st, err);
  return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

/* 1: the one that is there now was made by this. */
static int
make (struct store *store, const struct vault_about *about,
      const uint8_t *slots, unsigned nr_slots, struct err *err)
{
  char folder[VAULT_NAME_SIZE];
  int r, there;

  vault_name_vault (folder, about->uuid);
  r = store_make_folder (store, folder, err);
  if (r < 0)
    return r;
  r = fill (store, folder, about, slots, nr_slots, err);
  if (r == 0)
    r = store_rename (store, folder, "vault", err);
  if (r == 0)
    return 1;
  clear (store, folder);
  /* Somebody else was faster. */
  there = r == -EEXIST ? has_vault (store, NULL) : 0;
  return there == 1 ? 0 : r;
}

/* 1: there was none, and this made it; 0: there is one. */
static int
make_unless_there (struct store *store, const struct vault_about *asked,
                   const uint8_t *slots, unsigned nr_slots, struct err *err)
{
  struct vault_about about = *asked;
  int64_t time;
  int r = has_vault (store, err);

  if (r != 0)
    return r < 0 ? r : 0;
  r = store_list (store, "", look_at_name, NULL, err);
  /* What is in the way may be a vault that somebody made just now. */
  if (r == -ENOTEMPTY && has_vault (store, NULL) == 1)
    return 0;
  if (r == 0)
    r = uuid_new (about.uuid, err);
  if (r == 0)
    r = store_time (store, "", &time, err);
  if (r < 0)
    return r;
  about.created = time < 0 ? 0 : (uint64_t) time;
  return make (store, &about, slots, nr_slots, err);
}

int
vault_make (struct store *store, const struct vault_about *about,
            const uint8_t *slots, unsigned nr_slots, bool *made,
            struct err *err)
{
  int r = make_unless_there (store, about, slots, nr_slots, err);

  *made = r == 1;
  return r < 0 ? r : vault_make_folders (store, err);
}
