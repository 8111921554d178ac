/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A backup into a vault: docs/NBI.md §14, step by step. */

#ifndef NBDIMAGE_REPO_VAULT_BACKUP_H
#define NBDIMAGE_REPO_VAULT_BACKUP_H

#include "lib/repo/backup.h"
#include "lib/repo/vault-read.h"

struct vault_backup_result {
  struct backup_result backup;
  char folder[VAULT_NAME_SIZE]; /* in files/ */
  uint8_t run[UUID_SIZE];
  uint64_t time;
  bool has_base;
  uint64_t base_time;           /* of the generation before; if there is one */
};

#define VAULT_FILE_LIMIT (UINT64_C (1) << 30)   /* bytes, as usual */

/* Back up the disk, or copy a generation, as a generation of header.name in
 * options; what the header says of vault, run and time is set here, and so is
 * the base.  A chunk size of 0 is that of the generation before, or the usual
 * one; another than that is -EINVAL.  Where the vault is encrypted, so are all
 * its files, with the keys that are in caches: -EACCES without them, with
 * others, and with any in a vault that is not (NBI-125).
 *
 * 0: the generation is in the vault, on stable storage.  -EBUSY: somebody else
 * backs up a disk of this name.  After any other failure the vault lists what
 * it listed before, but for one: where it could not be made sure that it is
 * on stable storage, it is there, with the mark.  After a crash it lists the
 * generation or does not.
 */
int vault_backup (struct vault *vault, struct block *disk,
                  struct backup_options *options,
                  const struct generation_caches *caches,
                  struct vault_backup_result *result, struct report *report,
                  struct job *job, struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_BACKUP_H */
