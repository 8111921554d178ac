/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/repo/vault-private.h"

struct vault {
  struct store *store;
  bool has_about;
  struct vault_about about;
};

/*--- Opening ----------------------------------------------------------------*/

static int
read_about (struct vault *v, struct report *report, struct err *err)
{
  CLEANUP_FREE char *json = NULL;
  struct store_stat st;
  size_t len;
  int r = store_read_all (v->store, "vault/" VAULT_JSON, VAULT_JSON_MAX, &json,
                          &len, err);

  if (r == -EFBIG)
    return nbi_refuse (err, 135, "vault.json is longer than %d bytes",
                       VAULT_JSON_MAX);
  if (r == 0) {
    r = vault_about_decode (json, len, &v->about, err);
    v->has_about = r == 0;
    return r < 0 ? err_in (err, "vault/" VAULT_JSON) : 0;
  }
  if (r != -ENOENT)
    return r;
  r = store_stat (v->store, "files", &st, err);
  if (r == -ENOENT)
    return err_set (err, -ENOENT, "%s: there is no vault here",
                    store_name (v->store));
  if (r == 0)
    report_warn (report, "%s: vault/%s is lost; what it said is taken from "
                 "the files", store_name (v->store), VAULT_JSON);
  return r;
}

struct counting {
  unsigned nr;
  char name[VAULT_NAME_SIZE];   /* of one that is too many */
};

static int
count_folder (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct counting *c = opaque;
  char text[TEXT_NAME_SIZE];

  if (entry->kind != STORE_FOLDER || ++c->nr <= VAULT_FOLDERS_MAX)
    return 0;
  return nbi_beyond (err, 136, "there are more than %d folders in partial/: "
                     "those in which nobody works any more have to be deleted, "
                     "as perhaps ‘%s’", VAULT_FOLDERS_MAX,
                     text_clean (entry->name, text, sizeof text));
}

static int
get_ready (struct vault *v, struct report *report, struct err *err)
{
  struct counting c = { .nr = 0 };
  int r = vault_make_folders (v->store, err);

  if (r == 0)
    r = store_try (v->store, report, err);
  if (r == 0)
    r = store_list (v->store, "partial", count_folder, &c, err);
  return r;
}

int
vault_open (struct store *store, unsigned flags, struct vault **out,
            struct report *report, struct err *err)
{
  CLEANUP_FREE struct vault *v = calloc (1, sizeof *v);
  int r;

  if (v == NULL)
    return err_nomem (err);
  v->store = store;
  r = read_about (v, report, err);
  if (r == 0 && (flags & VAULT_WRITE))
    r = get_ready (v, report, err);
  if (r == 0)
    *out = steal_ptr (&v);
  return r;
}

void
vault_close (struct vault *v)
{
  free (v);
}

struct store *
vault_store (const struct vault *v)
{
  return v->store;
}

const struct vault_about *
vault_about (const struct vault *v)
{
  return v->has_about ? &v->about : NULL;
}

/*--- Key slots --------------------------------------------------------------*/

/* The first ones by their UUIDs, in that order. */
struct keys {
  uint8_t uuids[NBI_MAX_SLOTS][UUID_SIZE];
  unsigned nr;
};

static int
add_key (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct keys *k = opaque;
  struct vault_name name;
  unsigned at;

  (void) err;
  vault_name_parse (entry->name, &name);
  if (name.kind != VAULT_NAME_KEY || entry->kind != STORE_FILE)
    return 0;
  for (at = 0; at < k->nr; ++at)
    if (memcmp (name.uuid, k->uuids[at], UUID_SIZE) < 0)
      break;
  if (at == NBI_MAX_SLOTS)
    return 0;
  if (k->nr < NBI_MAX_SLOTS)
    ++k->nr;
  memmove (k->uuids[at + 1 < k->nr ? at + 1 : at], k->uuids[at],
           (k->nr - at - 1) * UUID_SIZE);
  memcpy (k->uuids[at], name.uuid, UUID_SIZE);
  return 0;
}

int
vault_slots (struct vault *v, uint8_t slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE],
             unsigned *nr_slots, struct report *report, struct err *err)
{
  struct keys k = { .nr = 0 };
  int r = store_list (v->store, "vault", add_key, &k, err);

  *nr_slots = 0;
  if (r == -ENOENT)
    return 0;                   /* it is lost */
  for (unsigned i = 0; r == 0 && i < k.nr; ++i) {
    CLEANUP_FREE char *slot = NULL;
    char name[VAULT_NAME_SIZE], path[STORE_PATH_SIZE];
    size_t len = 0;

    snprintf (path, sizeof path, "vault/%s",
              vault_name_key (name, k.uuids[i]));
    r = store_read_all (v->store, path, NBI_SLOT_SIZE, &slot, &len, err);
    if (r == 0 && len == NBI_SLOT_SIZE) {
      memcpy (slots + *nr_slots * NBI_SLOT_SIZE, slot, len);
      ++*nr_slots;
      continue;
    }
    if (r < 0 && r != -EFBIG && r != -ENOENT)
      return r;
    /* One that was taken away meanwhile is no matter. */
    if (r != -ENOENT)
      report_warn (report, "%s/%s is no key slot: it does not have %d bytes",
                   store_name (v->store), path, NBI_SLOT_SIZE);
    r = 0;
  }
  return r;
}
