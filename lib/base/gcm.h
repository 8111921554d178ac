/* SPDX-License-Identifier: GPL-2.0-or-later */

/* AES-256-GCM, by OpenSSL, with a nonce of 12 bytes and a tag of 16.
 *
 * One belongs to one thread at a time, and allocates nothing once it is made.
 * Errors: -ENOMEM; -ENOTSUP where OpenSSL is not allowed to; -EIO if it fails.
 */

#ifndef NBDIMAGE_BASE_GCM_H
#define NBDIMAGE_BASE_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define GCM_KEY_SIZE 32         /* bytes */
#define GCM_NONCE_SIZE 12
#define GCM_TAG_SIZE 16

struct gcm;

int gcm_new (struct gcm **out, struct err *err);
void gcm_free (struct gcm *gcm);        /* NULL is fine; forgets the key */

/* What is sealed or opened besides the bytes. */
struct gcm_with {
  const uint8_t *key, *nonce;   /* a nonce is used once with a key */
  const void *data;             /* additional data, not encrypted */
  size_t data_len;
};

/* in may be out; len is below 2^31. */
int gcm_seal (struct gcm *gcm, const struct gcm_with *with, const void *in,
              size_t len, void *out, uint8_t tag[GCM_TAG_SIZE],
              struct err *err);

/* *right: is the tag?  If not, out is zeros. */
int gcm_open (struct gcm *gcm, const struct gcm_with *with, const void *in,
              size_t len, const uint8_t tag[GCM_TAG_SIZE], void *out,
              bool *right, struct err *err);

#endif /* NBDIMAGE_BASE_GCM_H */
