/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the files of vault.h share. */

#ifndef NBDIMAGE_REPO_VAULT_PRIVATE_H
#define NBDIMAGE_REPO_VAULT_PRIVATE_H

#include "lib/repo/vault.h"

/* Those of files/, partial/ and broken/ that are not there; flushed. */
int vault_make_folders (struct store *store, struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_PRIVATE_H */
