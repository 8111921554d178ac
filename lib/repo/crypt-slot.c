/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The master key in key slots (docs/NBI.md §12).  Nothing of a file is in what
 * is encrypted, so that a slot can be taken over from file to file.
 */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/gcm.h"
#include "lib/base/kdf.h"
#include "lib/repo/crypt.h"

static const char label[] = "NBI wrap";

#define LABEL_SIZE (sizeof label - 1)

static int
randomize (void *buf, size_t len, struct err *err)
{
  if (getrandom (buf, len, 0) != (ssize_t) len)
    return err_set (err, -EIO, "the kernel has no randomness");
  return 0;
}

int
crypt_master_new (uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  return randomize (master, CRYPT_KEY_SIZE, err);
}

/* The key that wraps. */
static int
wrapping_key (const struct nbi_slot *slot, const struct crypt_secret *secret,
              uint8_t key[KDF_KEY_SIZE], struct err *err)
{
  const struct kdf_bytes bytes = { secret->buf, secret->len };
  const struct kdf_bytes salt = { slot->salt, sizeof slot->salt };
  const struct kdf_bytes info = { label, LABEL_SIZE };

  if (secret->kind == NBI_SLOT_PASSPHRASE)
    return kdf_argon2id (bytes, salt, slot->passes, slot->memory, slot->lanes,
                         key, err);
  if (secret->len < CRYPT_KEY_FILE_MIN || secret->len > CRYPT_KEY_FILE_MAX)
    return err_set (err, -EINVAL, "a key file of %zu bytes; expected %d to %d",
                    secret->len, CRYPT_KEY_FILE_MIN, CRYPT_KEY_FILE_MAX);
  return kdf_hkdf (bytes, salt, info, key, KDF_KEY_SIZE, err);
}

static struct gcm_with
sealed_with (const struct nbi_slot *slot, const uint8_t *key)
{
  return (struct gcm_with) {
    .key = key, .nonce = slot->nonce, .data = label, .data_len = LABEL_SIZE,
  };
}

int
crypt_wrap_with (const uint8_t master[CRYPT_KEY_SIZE],
                 const struct crypt_secret *secret, struct nbi_slot *slot,
                 struct err *err)
{
  uint8_t key[KDF_KEY_SIZE];
  struct gcm_with with = sealed_with (slot, key);
  struct gcm *gcm;
  int r = gcm_new (&gcm, err);

  if (r < 0)
    return r;
  slot->kind = (uint8_t) secret->kind;
  r = wrapping_key (slot, secret, key, err);
  if (r == 0)
    r = gcm_seal (gcm, &with, master, CRYPT_KEY_SIZE, slot->wrapped,
                  slot->wrapped + CRYPT_KEY_SIZE, err);
  kdf_forget (key, sizeof key);
  gcm_free (gcm);
  return r;
}

int
crypt_wrap (const uint8_t master[CRYPT_KEY_SIZE],
            const struct crypt_secret *secret, struct nbi_slot *slot,
            struct err *err)
{
  int r = randomize (slot->salt, sizeof slot->salt, err);

  if (r == 0)
    r = randomize (slot->nonce, sizeof slot->nonce, err);
  return r < 0 ? r : crypt_wrap_with (master, secret, slot, err);
}

int
crypt_unwrap (const struct nbi_slot *slot, const struct crypt_secret *secret,
              uint8_t master[CRYPT_KEY_SIZE], struct err *err)
{
  uint8_t key[KDF_KEY_SIZE], opened[CRYPT_KEY_SIZE];
  struct gcm_with with = sealed_with (slot, key);
  struct gcm *gcm;
  bool right = false;
  int r;

  if (slot->kind != secret->kind)
    return err_set (err, -EACCES, "the key slot is for a %s",
                    slot->kind == NBI_SLOT_PASSPHRASE ? "passphrase"
                    : "key file");
  r = gcm_new (&gcm, err);
  if (r < 0)
    return r;
  r = wrapping_key (slot, secret, key, err);
  if (r == 0)
    r = gcm_open (gcm, &with, slot->wrapped, CRYPT_KEY_SIZE,
                  slot->wrapped + CRYPT_KEY_SIZE, opened, &right, err);
  if (r == 0 && !right)
    r = err_set (err, -EACCES, "another %s",
                 slot->kind == NBI_SLOT_PASSPHRASE ? "passphrase"
                 : "key file");
  if (r == 0)
    memcpy (master, opened, CRYPT_KEY_SIZE);
  kdf_forget (key, sizeof key);
  kdf_forget (opened, sizeof opened);
  gcm_free (gcm);
  return r;
}
