/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Small disks that are backed up into a vault, again and again, and what each
 * generation of it must read as.
 */

#ifndef NBDIMAGE_TESTS_SHADOW_H
#define NBDIMAGE_TESTS_SHADOW_H

#include "lib/base/vector.h"
#include "lib/repo/vault-backup.h"
#include "tests/support/rng.h"

#define SHADOW_DISK ((size_t) 200 * 1024 + 512)  /* bytes */
#define SHADOW_CHUNK (16 * 1024)
#define SHADOW_FILE (40 * 1024)  /* two chunks that can't be compressed */

/* What a run that was begun saves. */
struct shadow_version {
  struct nbi_header header;     /* RUN is set when it has taken a lease */
  char name[32];                /* of the disk */
  uint8_t bytes[SHADOW_DISK];
  struct vault_backup_result result;    /* if it was reported */
  bool reported;                /* the backup said that it is there */
  bool dropped;                 /* somebody pruned it, or was about to */
};

DEFINE_VECTOR (shadow_versions, struct shadow_version *);

/* A new one, in the list.  Neither fails. */
struct shadow_version *shadow_begin (struct shadow_versions *versions,
                                     const char *name, const uint8_t *bytes);
void shadow_free (struct shadow_versions *versions);

/* An empty vault. */
void shadow_make_vault (struct store *store);

/* Fill a disk, of which a half is zeros, and change three places of it. */
void shadow_fill (struct rng *rng, uint8_t bytes[SHADOW_DISK]);
void shadow_change (struct rng *rng, uint8_t bytes[SHADOW_DISK]);

/* Back it up, by one thread and the one that keeps the lease. */
int shadow_back_up (struct store *store, struct shadow_version *version,
                    uint32_t chunk_size, struct report *report,
                    struct err *err);

/* Each generation in the vault reads as what was saved, and all that were
 * reported, and not dropped, are there; nothing is damaged.  Fails the test
 * otherwise, with `what' in the message.  Returns how many there are.
 */
size_t shadow_check (struct store *store,
                     const struct shadow_versions *versions, const char *what);

#endif /* NBDIMAGE_TESTS_SHADOW_H */
