/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "lib/base/digest.h"

struct digest {
  EVP_MD_CTX *ctx;
  bool failed;
};

int
digest_new (struct digest **out, struct err *err)
{
  struct digest *d = calloc (1, sizeof *d);

  if (d == NULL)
    return err_nomem (err);
  d->ctx = EVP_MD_CTX_new ();
  if (d->ctx == NULL) {
    free (d);
    return err_nomem (err);
  }
  if (EVP_DigestInit_ex (d->ctx, EVP_sha256 (), NULL) != 1) {
    digest_free (d);
    return err_set (err, -ENOTSUP, "OpenSSL gives no SHA-256");
  }
  *out = d;
  return 0;
}

void
digest_add (struct digest *d, const void *buf, size_t len)
{
  if (EVP_DigestUpdate (d->ctx, buf, len) != 1)
    d->failed = true;
}

int
digest_end (struct digest *d, uint8_t out[DIGEST_SIZE], struct err *err)
{
  uint8_t bytes[EVP_MAX_MD_SIZE];
  unsigned len = 0;

  if (d->failed || EVP_DigestFinal_ex (d->ctx, bytes, &len) != 1 ||
      len != DIGEST_SIZE)
    return err_set (err, -EIO, "OpenSSL failed at a SHA-256");
  for (unsigned i = 0; i < DIGEST_SIZE; ++i)
    out[i] = bytes[i];
  return 0;
}

int
digest_of (const void *buf, size_t len, uint8_t out[DIGEST_SIZE],
           struct err *err)
{
  uint8_t bytes[EVP_MAX_MD_SIZE];
  unsigned got = 0;

  if (EVP_Digest (buf, len, bytes, &got, EVP_sha256 (), NULL) != 1 ||
      got != DIGEST_SIZE)
    return err_set (err, -EIO, "OpenSSL failed at a SHA-256");
  for (unsigned i = 0; i < DIGEST_SIZE; ++i)
    out[i] = bytes[i];
  return 0;
}

void
digest_free (struct digest *d)
{
  if (d == NULL)
    return;
  EVP_MD_CTX_free (d->ctx);
  free (d);
}

void
digest_cleanup (struct digest **d)
{
  digest_free (*d);
}
