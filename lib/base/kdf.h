/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Keys made of other keys and of passphrases, and what is made of keys and
 * bytes: HMAC and HKDF with SHA-256 by OpenSSL, Argon2id by libargon2.
 */

#ifndef NBDIMAGE_BASE_KDF_H
#define NBDIMAGE_BASE_KDF_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"

#define KDF_KEY_SIZE 32         /* bytes; of all keys here */

/* A piece of memory. */
struct kdf_bytes {
  const void *buf;
  size_t len;
};

/* HMAC-SHA-256 of the pieces, one after the other.  -EIO if OpenSSL fails. */
int kdf_hmac (const uint8_t key[KDF_KEY_SIZE], const struct kdf_bytes *pieces,
              size_t nr, uint8_t out[DIGEST_SIZE], struct err *err);

/* RFC 5869 with SHA-256.  An empty salt is as none.  -EIO if OpenSSL fails. */
int kdf_hkdf (struct kdf_bytes secret, struct kdf_bytes salt,
              struct kdf_bytes info, uint8_t *out, size_t len,
              struct err *err);

/* RFC 9106, version 0x13, without secret and additional data; memory is in
 * KiB.  Takes that much memory, and as many threads as there are lanes.
 * -ENOMEM; -EINVAL for numbers that it does not have.
 */
int kdf_argon2id (struct kdf_bytes passphrase, struct kdf_bytes salt,
                  uint32_t passes, uint32_t memory, uint32_t lanes,
                  uint8_t out[KDF_KEY_SIZE], struct err *err);

/* Make them zeros, whatever the compiler thinks of that. */
void kdf_forget (void *secret, size_t len);

/* Compare in the same time, wherever they differ. */
int kdf_differ (const void *a, const void *b, size_t len);

#endif /* NBDIMAGE_BASE_KDF_H */
