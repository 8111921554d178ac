/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What opens a vault that is encrypted, and what its new files say of it
 * (docs/NBI.md §12, §13).
 */

#ifndef NBDIMAGE_REPO_VAULT_KEYS_H
#define NBDIMAGE_REPO_VAULT_KEYS_H

#include "lib/repo/keyring.h"
#include "lib/repo/vault-read.h"

/* Before files of the vault are opened with keys (NULL: there is no key): try
 * them on its key slots, and ask if nobody was asked yet.  Once this is done,
 * files need no slots of their own.  0 too where vault.json is lost, as
 * files say then, and where there is no encryption and no secret.  -EACCES: no
 * key, or another (NBI-124).
 */
int vault_unlock (struct vault *vault, struct keyring *keys,
                  struct report *report, struct err *err);

/* What the header of a new file says of encryption: as vault.json and the key
 * slots in vault/ do; what of it is lost is taken from h, which has it from any
 * generation.
 */
int vault_set_encryption (struct vault *vault, struct nbi_header *h,
                          struct report *report, struct err *err);

/* NBI-125, before a run without a key writes to a vault of which vault.json
 * says that it is not encrypted, as anybody who can write may have made it say:
 * is the newest generation that opens, of whatever disk?  -EACCES.
 */
int vault_check_plain (struct vault *vault, struct vault_view *view,
                       struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_KEYS_H */
