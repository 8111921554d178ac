/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What says that somebody is at work in a vault, and what may not go meanwhile:
 * `lease.json' in a folder of partial/, and `alive' beside it (docs/NBI.md,
 * §15).  This file has what they say; lease-hold.h keeps one's own alive, and
 * lease-look.h judges others'.
 */

#ifndef NBDIMAGE_REPO_LEASE_H
#define NBDIMAGE_REPO_LEASE_H

#include "lib/base/vector.h"
#include "lib/repo/store.h"
#include "lib/repo/vault-names.h"

#define LEASE_SIZE_MAX (1024 * 1024)    /* bytes of lease.json: NBI-135 */
#define LEASE_TTL 600                   /* seconds; what we write */
#define LEASE_TTL_MIN 60
#define LEASE_TTL_MAX 86400
#define LEASE_RENEW 60                  /* seconds between renewals */
#define LEASE_WATCH 120                 /* seconds it must not change */
#define LEASE_DAY 86400

struct lease_generation {
  uint8_t uuid[UUID_SIZE];
};

DEFINE_VECTOR (lease_generations, struct lease_generation);

/* Which process it is.  What is not known, or says nothing because the store
 * is not on that machine alone, is "" and 0.
 */
struct lease_owner {
  char *host;                   /* to tell people */
  char *boot;                   /* id of the boot of its kernel */
  uint64_t pid, pidns, pid_start;
};

struct lease {
  enum vault_name_kind kind;    /* VAULT_NAME_BACKUP, _PRUNE, _READ */
  uint8_t uuid[UUID_SIZE];      /* of its folder: RUN of a backup */
  char *name;                   /* of the disk; "" but of a backup */
  struct lease_generations generations;
  struct lease_owner owner;
  unsigned ttl;                 /* seconds */
};

#define LEASE_INIT { .kind = VAULT_NAME_OTHER }

/* A lease of this process in this store, that names no generation yet: *lease,
 * to be destroyed.  name: NULL but for a backup.
 */
int lease_init (struct store *store, enum vault_name_kind kind,
                const uint8_t uuid[UUID_SIZE], const char *name,
                struct lease *lease, struct err *err);

/* -ENOMEM. */
int lease_add (struct lease *lease, const uint8_t generation[UUID_SIZE],
               struct err *err);

bool lease_names (const struct lease *lease,
                  const uint8_t generation[UUID_SIZE]);

void lease_destroy (struct lease *lease);

#define CLEANUP_LEASE __attribute__ ((__cleanup__ (lease_destroy)))

/* The text of lease.json, which is the caller's to free.  -EINVAL when it would
 * break NBI-135, as nobody could read it: too many generations.
 */
int lease_encode (const struct lease *lease, char **json, size_t *len,
                  struct err *err);

/* NBI-134 and NBI-135, of a lease that lies in the folder of this kind and
 * UUID.  *lease is to be destroyed if this succeeds, and as it was otherwise.
 */
int lease_decode (const char *json, size_t len, enum vault_name_kind kind,
                  const uint8_t uuid[UUID_SIZE], struct lease *lease,
                  struct err *err);

/* Is it sure, by what the kernel says, that this process has ended?  Only of a
 * store that is on this machine.
 */
bool lease_owner_has_ended (const struct lease_owner *owner);

#endif /* NBDIMAGE_REPO_LEASE_H */
