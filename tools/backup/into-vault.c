/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/repo/store-local.h"
#include "lib/repo/vault-reserve.h"
#include "tools/backup/backup-tool.h"

#define CHUNKS_LIMIT ((size_t) 1024 * 1024)     /* the base is not read much */

static int
init_vault (struct store *store, struct err *err)
{
  const struct vault_about about = { .worm_days = 0 };
  bool made;

  return vault_make (store, &about, NULL, 0, &made, err);
}

int
backup_open_vault (const char *path, bool init, struct store **store,
                   struct vault **vault, struct report *report,
                   struct err *err)
{
  int r;

  if (init && mkdir (path, 0777) < 0 && errno != EEXIST)
    return err_sys (err, "%s: making the folder", path);
  r = store_local_open (path, store, err);
  if (r == 0 && init)
    r = init_vault (*store, err);
  if (r == 0)
    r = vault_open (*store, VAULT_WRITE, vault, report, err);
  if (r == 0) {
    /* Where there is no room for it, this will run out of it and say so. */
    vault_reserve_make (*store, NULL);
    return 0;
  }
  if (r == -ENOENT && !init)
    return err_set (err, r, "%s: there is no vault; --init makes one", path);
  /* Some of it has the name already. */
  return err != NULL && strncmp (err->msg, path, strlen (path)) == 0 ? r
    : err_in (err, "%s", path);
}

int
backup_to_vault (struct block *disk, struct backup_options *options,
                 const char *path, bool init,
                 struct vault_backup_result *result, struct report *report,
                 struct job *job, struct err *err)
{
  CLEANUP_STORE struct store *store = NULL;
  struct generation_caches caches;
  struct vault *vault = NULL;
  int r = generation_caches_init (&caches, CHUNKS_LIMIT, err);

  if (r < 0)
    return r;
  options->file_limit = VAULT_FILE_LIMIT;
  r = backup_open_vault (path, init, &store, &vault, report, err);
  if (r == 0)
    r = vault_backup (vault, disk, options, &caches, result, report, job, err);
  vault_close (vault);
  generation_caches_destroy (&caches);
  return r;
}
