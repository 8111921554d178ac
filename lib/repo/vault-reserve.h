/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Room to begin with: a vault on a full file system could not be pruned, for a
 * prune makes small files before it deletes any.  So each vault has a file that
 * means nothing, which a prune deletes first and makes anew at its end
 * (docs/NBI.md §13).
 */

#ifndef NBDIMAGE_REPO_VAULT_RESERVE_H
#define NBDIMAGE_REPO_VAULT_RESERVE_H

#include "lib/repo/store.h"

#define VAULT_RESERVE "reserve"
#define VAULT_RESERVE_SIZE (1024 * 1024)        /* bytes */

/* Make it unless it is there, perhaps shorter than it was to be: a crash in the
 * middle leaves that.  What fails leaves none.  Any thread.
 */
int vault_reserve_make (struct store *store, struct err *err);

/* Delete it.  0 also if there is none, or what has the name is another file. */
int vault_reserve_spend (struct store *store, struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_RESERVE_H */
