/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/kdf.h"
#include "lib/repo/vault-keys.h"

int
vault_unlock (struct vault *vault, struct keyring *keys,
              struct report *report, struct err *err)
{
  const struct vault_about *about = vault_about (vault);
  const char *name = store_name (vault_store (vault));
  uint8_t slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE], master[CRYPT_KEY_SIZE];
  unsigned nr_slots;
  int r;

  if (about == NULL)
    return 0;
  if (about->encryption == 0)
    return !keyring_is_ready (keys) ? 0
      : err_set (err, -EACCES, "%s: there is a key, and the vault is not "
                 "encrypted (NBI-124)", name);
  r = vault_slots (vault, slots, &nr_slots, report, err);
  if (r < 0 || (nr_slots == 0 && keys != NULL))
    return r;
  r = keyring_open (keys, about->key_id, slots, nr_slots, master, err);
  kdf_forget (master, sizeof master);
  return r < 0 ? err_in (err, "%s", name) : 0;
}

int
vault_set_encryption (struct vault *vault, struct nbi_header *h,
                      struct report *report, struct err *err)
{
  const struct vault_about *about = vault_about (vault);
  uint8_t slots[NBI_MAX_SLOTS * NBI_SLOT_SIZE] = { 0 };
  unsigned nr_slots;
  int r;

  if (about != NULL) {
    h->encryption = about->encryption;
    memcpy (h->key_id, about->key_id, sizeof h->key_id);
    h->need &= ~NBI_NEED_ENCRYPTED;
    if (about->encryption != 0)
      h->need |= NBI_NEED_ENCRYPTED;
  }
  if (!nbi_encrypted (h)) {
    h->nr_slots = 0;
    memset (h->slots, 0, sizeof h->slots);
    return 0;
  }
  r = vault_slots (vault, slots, &nr_slots, report, err);
  if (r < 0)
    return r;
  if (nr_slots > 0) {
    h->nr_slots = (uint8_t) nr_slots;
    memcpy (h->slots, slots, sizeof h->slots);
  }
  return h->nr_slots > 0 ? 0
    : err_set (err, -EACCES, "%s: the vault's key slots are lost",
               store_name (vault_store (vault)));
}

/*--- NBI-125 ----------------------------------------------------------------*/

/* *encrypted: what the header of its root's file says; false: none opens. */
static bool
has_root (struct vault *vault, struct vault_view *view,
          const struct vault_run *run, bool *encrypted)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char path[STORE_PATH_SIZE];

  snprintf (path, sizeof path, "files/%s", run->folder);
  if (vault_look_in (vault, path, 0, &names, NULL) < 0)
    return false;
  for (size_t i = 0; i < names.files.len; ++i) {
    struct file_reader *file;

    if (!names.files.ptr[i].root ||
        vault_view_open_file (view, run, &names.files.ptr[i], &file, NULL,
                              NULL) < 0)
      continue;
    *encrypted = nbi_encrypted (file_reader_header (file));
    file_reader_unref (file);
    return true;
  }
  return false;
}

int
vault_check_plain (struct vault *vault, struct vault_view *view,
                   struct err *err)
{
  const struct vault_runs *runs = vault_view_runs (view);
  bool encrypted = false;

  for (size_t n = runs->len; n-- > 0;)
    if (has_root (vault, view, &runs->ptr[n], &encrypted))
      break;
  return !encrypted ? 0
    : err_set (err, -EACCES, "%s: its newest generation is encrypted, and the "
               "vault says that it is not (NBI-125)",
               store_name (vault_store (vault)));
}
