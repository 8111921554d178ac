/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/store-at.h"
#include "tools/backup/target-keys.h"
#include "tools/keys.h"

/* One on another machine is not looked for before it is opened; with --init it
 * may be new.
 */
static bool
is_vault (const char *path, bool init)
{
  CLEANUP_FREE char *name = NULL;
  struct stat st;

  if (store_at_is_remote (path))
    return !init;
  return asprintf (&name, "%s/vault", path) >= 0 && stat (name, &st) == 0;
}

int
target_keys_check (const struct target_keys *keys, const char *vault,
                   bool init, struct err *err)
{
  bool named = keys_are_named (&keys->named);

  if (keys->decrypt && (keys->encrypt || named))
    return err_set (err, -EINVAL, "--decrypt is for what is not to be "
                    "encrypted");
  if (vault != NULL && keys->encrypt && !init)
    return err_set (err, -EINVAL, "--encrypt is for a new file, or for a new "
                    "vault with --init: a vault has it or not");
  if (named && !keys->encrypt && (vault == NULL || !is_vault (vault, init)))
    return err_set (err, -EINVAL, "--encrypt goes with a key for what is new");
  return 0;
}

static int
keep_key (struct target_keys *keys, const struct nbi_header *was,
          struct backup_options *options, struct err *err)
{
  struct nbi_header *h = &options->header;
  int r = keyring_open_header (keys_get (), was, keys->master, err);

  if (r < 0)
    return r;
  keys->is_kept = true;
  keys->ring = keys_get ();
  options->master = keys->master;
  h->need = NBI_NEED_ENCRYPTED;
  h->encryption = was->encryption;
  h->nr_slots = was->nr_slots;
  memcpy (h->key_id, was->key_id, sizeof h->key_id);
  memcpy (h->slots, was->slots, sizeof h->slots);
  return 0;
}

int
target_keys_choose (struct target_keys *keys, const struct nbi_header *was,
                    struct backup_options *options, struct err *err)
{
  int r;

  keyring_options_of_target = "--to-passphrase-file or --to-key-file";
  options->decrypt = keys->decrypt;
  if (keys->decrypt)
    return 0;
  if (nbi_encrypted (was) && !keys->encrypt && !keys_are_named (&keys->named))
    return keep_key (keys, was, options, err);
  r = keys_use_for_target (&keys->named, keys->encrypt, err);
  if (r < 0)
    return r;
  keys->ring = keys_get_target ();
  return !keys->encrypt || keys->ring != NULL ? 0
    : err_set (err, -EACCES, "--encrypt needs a passphrase or a key file "
               "(--to-…), and there is no terminal to ask at");
}

void
target_keys_forget (struct target_keys *keys)
{
  kdf_forget (keys->master, sizeof keys->master);
}
