/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Keeps: what says that a generation stays, also while nobody is at work,
 * because a file elsewhere stands on it: an overlay.  A keep is a small file in
 * the run's folder, UUID.keep, and lives until somebody releases it
 * (docs/NBI.md §15, "A keep").
 */

#ifndef NBDIMAGE_REPO_KEEP_H
#define NBDIMAGE_REPO_KEEP_H

#include "lib/base/job.h"
#include "lib/repo/vault.h"

#define KEEP_SIZE_MAX (16 * 1024)       /* bytes of JSON: NBI-138 */

struct keep {
  uint8_t uuid[UUID_SIZE];
  uint64_t created;             /* seconds since 1970; 0: not known */
  char *host;                   /* owned: where the file is; "": not known */
  char *path;                   /* owned, absolute; "": not known */
};

#define KEEP_INIT { .created = 0 }

/* K1 to K4: from now on no prune takes the run, for the sake of the file of
 * that absolute path on this machine.  Nothing is written if there is such a
 * keep already.  -ESTALE: it was dropped, or somebody took us for dead: the
 * generation is not protected, and may go.  Whatever else fails (-EROFS,
 * -EACCES: who may not write to the vault) leaves it as it was.
 */
int keep_put (struct vault *vault, const struct vault_run *run,
              const char *path, struct job *job, struct err *err);

/* What the keep of a run's folder says: *keep, to be destroyed.  -EBADMSG: it
 * is damaged (NBI-138), and counts all the same; -ENOENT: it was released.
 */
int keep_read (struct vault *vault, const char *folder,
               const uint8_t uuid[UUID_SIZE], struct keep *keep,
               struct err *err);
void keep_destroy (struct keep *keep);

/* Is it known that the file is not there any more?  Only of this machine. */
bool keep_is_vain (const struct keep *keep);

/* "the overlay /srv/a.vhd on host", for people; what is said of a keep that
 * can't be read too, with NULL.
 */
#define KEEP_STRING_SIZE 320
const char *keep_to_string (const struct keep *keep,
                            char buf[KEEP_STRING_SIZE]);

/* Take it away; the generation is then as if it had never been kept. */
int keep_release (struct vault *vault, const char *folder,
                  const uint8_t uuid[UUID_SIZE], struct err *err);

#endif /* NBDIMAGE_REPO_KEEP_H */
