/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A vault in a model of a store, disks that change, and what each generation
 * of them must read as: backups and prunes at will, killed, failing, at the
 * same time.
 */

#ifndef NBDIMAGE_TESTS_VAULT_TRIAL_H
#define NBDIMAGE_TESTS_VAULT_TRIAL_H

#include "lib/repo/keyring.h"
#include "lib/repo/prune.h"
#include "lib/repo/vault-backup.h"
#include "tests/support/rng.h"
#include "tests/support/store-model.h"

#define TRIAL_DISK_SIZE ((size_t) 200 * 1024 + 512)
#define TRIAL_CHUNK_SIZE (16 * 1024)
#define TRIAL_FILE_LIMIT (40 * 1024)
#define TRIAL_ONE_FILE (1024 * 1024)    /* a run has only one */
#define TRIAL_DISKS 3
#define TRIAL_VERSIONS 40

/* What a run that was begun saves. */
struct trial_version {
  uint8_t run[UUID_SIZE];
  unsigned disk;
  bool reported;                /* the backup said that it is there */
  bool may_go;                  /* it may also not be there */
  uint8_t bytes[TRIAL_DISK_SIZE];
};

struct vault_trial {
  uint64_t seed;
  struct store_model *model;
  struct rng rng;
  struct keyring *keys;         /* of all that is done; NULL: none */
  struct report report;         /* what backups and prunes said */

  /* Change what a plan says of each generation, if not NULL. */
  void (*adjust) (struct vault_trial *t, struct prune_generation *g);

  /* Called between the plan and the prune, if not NULL. */
  void (*planned) (void *opaque);
  void *opaque;

  uint64_t file_limit;          /* of backups; TRIAL_FILE_LIMIT at first */

  uint8_t dropped[TRIAL_VERSIONS][UUID_SIZE];   /* by which run, if any */
  size_t nr_dropped;
  uint8_t disks[TRIAL_DISKS][TRIAL_DISK_SIZE];  /* as they are now */
  size_t nr;
  struct trial_version versions[TRIAL_VERSIONS];
};

/* A vault, empty; disks that are full by half.  By the thread that uses it. */
struct vault_trial *vault_trial_new (uint64_t seed);

/* The same with a vault that is encrypted, and a key. */
struct vault_trial *vault_trial_new_encrypted (uint64_t seed);
void vault_trial_free (struct vault_trial *t);

/* A store on the model whose clock goes by as soon as a thread of the test
 * waits for it; threads that keep leases alive never have their turn.
 */
struct store *vault_trial_store (struct vault_trial *t, unsigned lag);

/* Of another thread that waits in this store: it is one of the test's. */
void vault_trial_this_thread (void);

/* The disk's name. */
const char *vault_trial_disk (unsigned disk);

/* Write something to a disk, at random: `pieces' times. */
void vault_trial_change (struct vault_trial *t, unsigned disk, int pieces);

/* Back up a disk as it is, through this store. */
int vault_trial_back_up (struct vault_trial *t, struct store *store,
                         unsigned disk, struct vault_backup_result *result,
                         struct err *err);

/* Plan and run.  plan: NULL, or gets the plan, for prune_plan_free. */
int vault_trial_prune (struct vault_trial *t, struct store *store,
                       const struct prune_options *options,
                       struct prune_plan *plan, struct prune_result *result,
                       struct err *err);

/* The same through a store of their own, and must succeed. */
void vault_trial_back_up_well (struct vault_trial *t, unsigned disk,
                               struct vault_backup_result *result);
void vault_trial_prune_well (struct vault_trial *t,
                             const struct prune_options *options,
                             struct prune_result *result);

/* Each generation that is listed reads as what was saved, and all are there
 * that were reported, unless a prune was told to drop them.  Returns how many
 * are there.
 */
size_t vault_trial_check (struct vault_trial *t);

/* Everything that `verify' looks at is right. */
void vault_trial_verify (struct vault_trial *t);

/* The same, and nothing is left of what was dropped, nor of what was
 * interrupted.
 */
void vault_trial_check_clean (struct vault_trial *t);

/* Bytes of all files below a folder. */
uint64_t vault_trial_bytes (struct vault_trial *t, const char *folder);

#endif /* NBDIMAGE_TESTS_VAULT_TRIAL_H */
