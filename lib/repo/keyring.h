/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What somebody has to open what is encrypted, and the master keys that it
 * opened (docs/NBI.md §12, "Key slots").
 *
 * A secret is tried once on each slot, whatever the number of files: those of
 * one master key are known by their key id then, and so is that it opens none.
 *
 * From many threads; who needs a key that is just being opened waits for it.
 */

#ifndef NBDIMAGE_REPO_KEYRING_H
#define NBDIMAGE_REPO_KEYRING_H

#include "lib/repo/crypt.h"

struct keyring;

/* What names a key, for sentences that advise it: the plugin's parameters (the
 * default), or the options of a command; and the same for a vault that is
 * written to, where that has others.  Set before the first keyring is made, and
 * not after.
 */
extern const char *keyring_options, *keyring_options_of_target;

/* Get a passphrase from whoever is there, when it is needed first: *len bytes
 * for free(), which are forgotten before.  Once: what it fails with is the
 * answer from then on.
 */
typedef int keyring_ask (void *opaque, char **passphrase, size_t *len,
                         struct err *err);

/* With that secret, which is copied.  From the first one on, the process leaves
 * no core.  -ENOMEM.
 */
int keyring_new (const struct crypt_secret *secret, struct keyring **out,
                 struct err *err);

/* With one that is asked for.  -ENOMEM. */
int keyring_new_asking (keyring_ask *ask, void *opaque, struct keyring **out,
                        struct err *err);

void keyring_free (struct keyring *keys);       /* NULL is fine; forgets */

/* Is there a secret by now, given or asked for?  Then nobody will be asked, and
 * all that is read has to be encrypted (NBI-124).  keys: or NULL: no.
 */
bool keyring_is_ready (struct keyring *keys);

/* The master key with that id, which is in one of these slots; may run
 * Argon2id for each of them.  keys: NULL: there is no key.  -EACCES: NBI-41,
 * or it is another passphrase or key file, also for more than
 * KEYRING_MAX different keys, or once it did not open KEYRING_TRIES slots;
 * -ENOMEM: a slot needs more than there is, and no other was opened; those of
 * ask.
 */
int keyring_open (struct keyring *keys, const uint8_t id[NBI_KEY_ID_SIZE],
                  const uint8_t *slots, unsigned nr_slots,
                  uint8_t master[CRYPT_KEY_SIZE], struct err *err);

#define KEYRING_MAX 8
#define KEYRING_TRIES 16        /* two headers' */

/* The same, by what a header says. */
int keyring_open_header (struct keyring *keys, const struct nbi_header *h,
                         uint8_t master[CRYPT_KEY_SIZE], struct err *err);

/* A new master key, in a slot that the secret opens: h gets encryption, key id
 * and that slot.  -EACCES: there is no key.
 */
int keyring_make (struct keyring *keys, struct nbi_header *h,
                  uint8_t master[CRYPT_KEY_SIZE], struct err *err);

#endif /* NBDIMAGE_REPO_KEYRING_H */
