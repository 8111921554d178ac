/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A key slot: the master key, wrapped.  In headers, and alone in a file of a
 * vault: docs/NBI.md §12.  Wrapping itself is in crypt.h.
 */

#ifndef NBDIMAGE_REPO_NBI_SLOT_H
#define NBDIMAGE_REPO_NBI_SLOT_H

#include "lib/repo/nbi.h"

#define NBI_SLOT_SIZE 256       /* bytes */
#define NBI_LABEL_SIZE 32       /* with the final zero */
#define NBI_WRAPPED_SIZE 48     /* the key's 32 bytes and a tag */

enum nbi_slot_kind {
  NBI_SLOT_PASSPHRASE = 1,
  NBI_SLOT_KEY_FILE = 2,
};

struct nbi_slot {
  uint8_t kind;                 /* enum nbi_slot_kind */
  /* Of Argon2id, zeros for a key file; memory is in KiB. */
  uint32_t passes, memory, lanes;
  uint8_t salt[32];
  uint8_t nonce[12];
  uint8_t wrapped[NBI_WRAPPED_SIZE];
  char label[NBI_LABEL_SIZE];
};

void nbi_slot_encode (const struct nbi_slot *slot, uint8_t buf[NBI_SLOT_SIZE]);

/* One that is used.  NBI-120 to NBI-123, and NBI-1 if strict (in a header that
 * has features which may be ignored it is not: §17).
 */
int nbi_slot_decode (const uint8_t buf[NBI_SLOT_SIZE], bool strict,
                     struct nbi_slot *slot, struct err *err);

#endif /* NBDIMAGE_REPO_NBI_SLOT_H */
