/* SPDX-License-Identifier: GPL-2.0-or-later */

/* SHA-256, by OpenSSL. */

#ifndef NBDIMAGE_BASE_DIGEST_H
#define NBDIMAGE_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define DIGEST_SIZE 32          /* bytes */

/* Over bytes that come in pieces; by one thread. */
struct digest;

/* -ENOMEM; -ENOTSUP where OpenSSL is not allowed to. */
int digest_new (struct digest **out, struct err *err);

/* Failures are told at the end. */
void digest_add (struct digest *digest, const void *buf, size_t len);

/* Once. */
int digest_end (struct digest *digest, uint8_t out[DIGEST_SIZE],
                struct err *err);

/* Of bytes that are all there.  The errors of the others. */
int digest_of (const void *buf, size_t len, uint8_t out[DIGEST_SIZE],
               struct err *err);

void digest_free (struct digest *digest);       /* NULL is fine */

#define CLEANUP_DIGEST __attribute__ ((__cleanup__ (digest_cleanup)))
void digest_cleanup (struct digest **digest);

#endif /* NBDIMAGE_BASE_DIGEST_H */
