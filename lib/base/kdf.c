/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdbool.h>

#include <argon2.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "lib/base/kdf.h"

static char sha256_name[] = "SHA256";

/*--- HMAC -------------------------------------------------------------------*/

static bool
add_pieces (EVP_MAC_CTX *ctx, const struct kdf_bytes *pieces, size_t nr)
{
  for (size_t i = 0; i < nr; ++i)
    if (EVP_MAC_update (ctx, pieces[i].buf, pieces[i].len) != 1)
      return false;
  return true;
}

int
kdf_hmac (const uint8_t key[KDF_KEY_SIZE], const struct kdf_bytes *pieces,
          size_t nr, uint8_t out[DIGEST_SIZE], struct err *err)
{
  const OSSL_PARAM params[] = {
    OSSL_PARAM_utf8_string (OSSL_MAC_PARAM_DIGEST, sha256_name,
                            sizeof sha256_name - 1),
    OSSL_PARAM_END,
  };
  EVP_MAC *mac = EVP_MAC_fetch (NULL, "HMAC", NULL);
  EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new (mac) : NULL;
  size_t got = 0;
  bool done = ctx && EVP_MAC_init (ctx, key, KDF_KEY_SIZE, params) == 1 &&
    add_pieces (ctx, pieces, nr) &&
    EVP_MAC_final (ctx, out, &got, DIGEST_SIZE) == 1 && got == DIGEST_SIZE;

  EVP_MAC_CTX_free (ctx);
  EVP_MAC_free (mac);
  return done ? 0 : err_set (err, -EIO, "OpenSSL failed at an HMAC");
}

/*--- HKDF -------------------------------------------------------------------*/

int
kdf_hkdf (struct kdf_bytes secret, struct kdf_bytes salt,
          struct kdf_bytes info, uint8_t *out, size_t len, struct err *err)
{
  OSSL_PARAM params[5], *p = params;
  EVP_KDF *kdf = EVP_KDF_fetch (NULL, "HKDF", NULL);
  EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new (kdf) : NULL;
  bool done;

  *p++ = OSSL_PARAM_construct_utf8_string (OSSL_KDF_PARAM_DIGEST, sha256_name,
                                           0);
  *p++ = OSSL_PARAM_construct_octet_string (OSSL_KDF_PARAM_KEY,
                                            (void *) secret.buf, secret.len);
  if (salt.len > 0)
    *p++ = OSSL_PARAM_construct_octet_string (OSSL_KDF_PARAM_SALT,
                                              (void *) salt.buf, salt.len);
  if (info.len > 0)
    *p++ = OSSL_PARAM_construct_octet_string (OSSL_KDF_PARAM_INFO,
                                              (void *) info.buf, info.len);
  *p = OSSL_PARAM_construct_end ();
  done = ctx && EVP_KDF_derive (ctx, out, len, params) == 1;
  EVP_KDF_CTX_free (ctx);
  EVP_KDF_free (kdf);
  return done ? 0 : err_set (err, -EIO, "OpenSSL failed at an HKDF");
}

/*--- Argon2id ---------------------------------------------------------------*/

int
kdf_argon2id (struct kdf_bytes passphrase, struct kdf_bytes salt,
              uint32_t passes, uint32_t memory, uint32_t lanes,
              uint8_t out[KDF_KEY_SIZE], struct err *err)
{
  /* argon2id_hash_raw is of the library's newest version, which is 0x13. */
  int r = argon2id_hash_raw (passes, memory, lanes, passphrase.buf,
                             passphrase.len, salt.buf, salt.len, out,
                             KDF_KEY_SIZE);

  if (r == ARGON2_OK)
    return 0;
  return err_set (err, r == ARGON2_MEMORY_ALLOCATION_ERROR ? -ENOMEM : -EINVAL,
                  "Argon2id: %s", argon2_error_message (r));
}

void
kdf_forget (void *secret, size_t len)
{
  OPENSSL_cleanse (secret, len);
}

int
kdf_differ (const void *a, const void *b, size_t len)
{
  return CRYPTO_memcmp (a, b, len);
}
