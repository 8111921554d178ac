/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What everything that this process encrypted was encrypted with.  Its program
 * is linked with -Wl,--wrap=gcm_seal.
 */

#ifndef NBDIMAGE_TESTS_NONCES_H
#define NBDIMAGE_TESTS_NONCES_H

#include <stdbool.h>
#include <stddef.h>

/* Encryptions so far. */
size_t nonces_count (void);

/* Did two of them have the same key and the same nonce? */
bool nonces_have_twice (void);

/* Note the first one once more, as if it had been used again; and not. */
void nonces_repeat_one (void);
void nonces_forget_one (void);

#endif /* NBDIMAGE_TESTS_NONCES_H */
