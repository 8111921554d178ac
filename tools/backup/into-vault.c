/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "lib/base/kdf.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-reserve.h"
#include "tools/backup/backup-tool.h"

#define CHUNKS_LIMIT ((size_t) 1024 * 1024)     /* the base is not read much */

/* The key is in the ring from then on, and in the vault wrapped. */
static int
init_encrypted (const struct backup_vault *what, struct store *store,
                struct err *err)
{
  struct vault_about about = { .encryption = 1 };
  struct nbi_header h = { .need = 0 };
  uint8_t master[CRYPT_KEY_SIZE];
  bool made;
  int r = 0;

  if (what->like != NULL)
    h = *what->like;
  else
    r = keyring_make (what->keys, &h, master, err);
  kdf_forget (master, sizeof master);
  if (r < 0)
    return r;
  memcpy (about.key_id, h.key_id, sizeof about.key_id);
  return vault_make (store, &about, h.slots, h.nr_slots, &made, err);
}

static int
init_vault (const struct backup_vault *what, struct store *store,
            struct err *err)
{
  const struct vault_about about = { .worm_days = 0 };
  struct store_stat st;
  bool made;

  /* One that is there needs no key of its own. */
  if (what->encrypt && store_stat (store, "vault", &st, NULL) < 0)
    return init_encrypted (what, store, err);
  return vault_make (store, &about, NULL, 0, &made, err);
}

/* Whoever wants it encrypted must not get it otherwise. */
static int
check_encrypted (const struct backup_vault *what, struct vault *vault,
                 struct err *err)
{
  const struct vault_about *about = vault_about (vault);

  if (!what->encrypt || about == NULL || about->encryption != 0)
    return 0;
  return err_set (err, -EACCES, "there is a vault already, which is not "
                  "encrypted (NBI-125)");
}

int
backup_open_vault (const struct backup_vault *what, struct store **store,
                   struct vault **vault, struct report *report,
                   struct job *job, struct err *err)
{
  const char *path = what->path;
  int r = store_at (path, what->init, job, store, err);

  if (r == 0 && what->init)
    r = init_vault (what, *store, err);
  if (r == 0)
    r = vault_open (*store, VAULT_WRITE, vault, report, err);
  if (r == 0)
    r = check_encrypted (what, *vault, err);
  if (r == 0) {
    /* Where there is no room for it, this will run out of it and say so. */
    vault_reserve_make (*store, NULL);
    return 0;
  }
  if (r == -ENOENT && !what->init)
    return err_set (err, r, "%s: there is no vault; --init makes one", path);
  /* Some of it has the name already. */
  return err != NULL && strncmp (err->msg, path, strlen (path)) == 0 ? r
    : err_in (err, "%s", path);
}

int
backup_to_vault (struct block *disk, struct backup_options *options,
                 const struct backup_vault *what,
                 struct vault_backup_result *result, struct report *report,
                 struct job *job, struct err *err)
{
  CLEANUP_STORE struct store *store = NULL;
  struct generation_caches caches;
  struct vault *vault = NULL;
  int r = generation_caches_init (&caches, CHUNKS_LIMIT, err);

  if (r < 0)
    return r;
  caches.keys = what->keys;
  options->file_limit = VAULT_FILE_LIMIT;
  r = backup_open_vault (what, &store, &vault, report, job, err);
  if (r == 0)
    r = vault_backup (vault, disk, options, &caches, result, report, job, err);
  vault_close (vault);
  generation_caches_destroy (&caches);
  return r;
}
