/* SPDX-License-Identifier: GPL-2.0-or-later */

#ifndef NBDIMAGE_REPO_VAULT_MISSING_H
#define NBDIMAGE_REPO_VAULT_MISSING_H

#include "lib/repo/vault-read.h"

/* vault_view_find did not find this: -ENOENT, and a sentence that says whether
 * it is the disk or only the generation that is missing, and what there is.  It
 * reads headers and nothing else.  -ENOMEM.
 */
int vault_missing (struct vault_view *view, const char *disk_name,
                   const char *which, struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_MISSING_H */
