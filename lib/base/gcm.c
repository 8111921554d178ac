/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/base/gcm.h"

struct gcm {
  EVP_CIPHER_CTX *ctx;
};

int
gcm_new (struct gcm **out, struct err *err)
{
  struct gcm *gcm = calloc (1, sizeof *gcm);

  if (gcm == NULL)
    return err_nomem (err);
  gcm->ctx = EVP_CIPHER_CTX_new ();
  if (gcm->ctx == NULL) {
    free (gcm);
    return err_nomem (err);
  }
  /* The length of the nonce is 12 unless something else is said. */
  if (EVP_CipherInit_ex (gcm->ctx, EVP_aes_256_gcm (), NULL, NULL, NULL, 1) !=
      1) {
    gcm_free (gcm);
    return err_set (err, -ENOTSUP, "OpenSSL gives no AES-256-GCM");
  }
  *out = gcm;
  return 0;
}

void
gcm_free (struct gcm *gcm)
{
  if (gcm == NULL)
    return;
  EVP_CIPHER_CTX_free (gcm->ctx);
  free (gcm);
}

/* Begin, with the additional data, and go through the bytes. */
static bool
run (struct gcm *gcm, const struct gcm_with *with, int seal, const void *in,
     size_t len, void *out)
{
  int n;

  return EVP_CipherInit_ex (gcm->ctx, NULL, NULL, with->key, with->nonce,
                            seal) == 1 &&
    (with->data_len == 0 ||
     EVP_CipherUpdate (gcm->ctx, NULL, &n, with->data, (int) with->data_len) ==
     1) &&
    EVP_CipherUpdate (gcm->ctx, out, &n, in, (int) len) == 1 &&
    (size_t) n == len;
}

int
gcm_seal (struct gcm *gcm, const struct gcm_with *with, const void *in,
          size_t len, void *out, uint8_t tag[GCM_TAG_SIZE], struct err *err)
{
  uint8_t nothing[16];
  int n;

  if (!run (gcm, with, 1, in, len, out) ||
      EVP_CipherFinal_ex (gcm->ctx, nothing, &n) != 1 || n != 0 ||
      EVP_CIPHER_CTX_ctrl (gcm->ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_SIZE,
                           tag) != 1)
    return err_set (err, -EIO, "OpenSSL failed to encrypt");
  return 0;
}

int
gcm_open (struct gcm *gcm, const struct gcm_with *with, const void *in,
          size_t len, const uint8_t tag[GCM_TAG_SIZE], void *out, bool *right,
          struct err *err)
{
  uint8_t nothing[16], expected[GCM_TAG_SIZE];
  int n;

  memcpy (expected, tag, sizeof expected);
  if (!run (gcm, with, 0, in, len, out) ||
      EVP_CIPHER_CTX_ctrl (gcm->ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG_SIZE,
                           expected) != 1)
    return err_set (err, -EIO, "OpenSSL failed to decrypt");
  *right = EVP_CipherFinal_ex (gcm->ctx, nothing, &n) == 1;
  if (!*right)
    memset (out, 0, len);
  return 0;
}
