/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The names in a vault: docs/NBI.md §13.  Names find, headers decide: nothing
 * but what the name says is known from it.
 *
 * UUIDs are 32 lower-case hex digits, times are UTC (20261122T155200Z),
 * editions decimal without zeros in front.
 */

#ifndef NBDIMAGE_REPO_VAULT_NAMES_H
#define NBDIMAGE_REPO_VAULT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/uuid.h"

#define VAULT_NAME_SIZE 256     /* of any name, with the final zero */
#define VAULT_HINT_MAX 100      /* bytes of a DISK that we make */
#define VAULT_TIME_SIZE 17      /* of a time, with the final zero */

enum vault_name_kind {
  VAULT_NAME_OTHER,             /* none of these: ignored, and told by check */
  VAULT_NAME_HIDDEN,            /* begins with a dot: the same */

  VAULT_NAME_RUN,               /* in files/: DISK.TIME.RUN */

  VAULT_NAME_NBI,               /* in a run's folder: UUID.EDITION.nbi,
                                   UUID.EDITION.root.nbi */
  VAULT_NAME_PART,              /* UUID.part */
  VAULT_NAME_LOCK,              /* UUID.TIME.lock */
  VAULT_NAME_KEEP,              /* UUID.keep */
  VAULT_NAME_DROPPED,           /* dropped */
  VAULT_NAME_LEASE,             /* lease.json */
  VAULT_NAME_ALIVE,             /* alive */

  VAULT_NAME_BACKUP,            /* in partial/ and broken/: backup-RUN, or
                                   backup-RUN.new */
  VAULT_NAME_PRUNE,             /* prune-UUID */
  VAULT_NAME_READ,              /* read-UUID */

  VAULT_NAME_ADOPTED,           /* in a folder of those: RUN alone */

  VAULT_NAME_JSON,              /* in vault/: vault.json */
  VAULT_NAME_KEY,               /* UUID.key */

  VAULT_NAME_VAULT,             /* in VAULT: vault.UUID.new */
};

struct vault_name {
  enum vault_name_kind kind;
  char disk[VAULT_NAME_SIZE];   /* DISK of a run; not always one we make */
  uint64_t time;                /* of a run, until when of a lock: seconds
                                   since 1970, 1 to NBI_MAX_TIME */
  uint8_t uuid[UUID_SIZE];      /* where there is one: RUN of a run */
  uint32_t edition;             /* of NBI: at most NBI_MAX_EDITION */
  bool root;                    /* of NBI: the map's root is in it */
  bool fresh;                   /* of those in partial/: it ends in .new */
};

/* Tell a name apart; what is not of a kind is zeros. */
void vault_name_parse (const char *name, struct vault_name *out);

/* The DISK that a disk's name makes.  Idempotent. */
void vault_hint (const char *disk_name, char hint[VAULT_HINT_MAX + 1]);

/* time is at most NBI_MAX_TIME. */
void vault_time_to_string (uint64_t time, char str[VAULT_TIME_SIZE]);

/* "DISK.TIME.RUN"; these return buf. */
const char *vault_name_run (char buf[VAULT_NAME_SIZE], const char *disk_name,
                            uint64_t time, const uint8_t run[UUID_SIZE]);
const char *vault_name_nbi (char buf[VAULT_NAME_SIZE],
                            const uint8_t uuid[UUID_SIZE], uint32_t edition,
                            bool root);
const char *vault_name_part (char buf[VAULT_NAME_SIZE],
                             const uint8_t uuid[UUID_SIZE]);
const char *vault_name_lock (char buf[VAULT_NAME_SIZE],
                             const uint8_t uuid[UUID_SIZE], uint64_t until);
const char *vault_name_keep (char buf[VAULT_NAME_SIZE],
                             const uint8_t uuid[UUID_SIZE]);
const char *vault_name_key (char buf[VAULT_NAME_SIZE],
                            const uint8_t uuid[UUID_SIZE]);
const char *vault_name_adopted (char buf[VAULT_NAME_SIZE],
                                const uint8_t run[UUID_SIZE]);

/* VAULT_NAME_BACKUP, _PRUNE or _READ, in partial/ or broken/. */
const char *vault_name_work (char buf[VAULT_NAME_SIZE],
                             enum vault_name_kind kind,
                             const uint8_t uuid[UUID_SIZE], bool fresh);

/* "vault.UUID.new". */
const char *vault_name_vault (char buf[VAULT_NAME_SIZE],
                              const uint8_t uuid[UUID_SIZE]);

#define VAULT_DROPPED "dropped"
#define VAULT_LEASE "lease.json"
#define VAULT_ALIVE "alive"
#define VAULT_JSON "vault.json"

#endif /* NBDIMAGE_REPO_VAULT_NAMES_H */
