/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All of a vault: each file once, then what each generation says. */

#ifndef NBDIMAGE_REPO_VERIFY_VAULT_H
#define NBDIMAGE_REPO_VERIFY_VAULT_H

#include "lib/repo/vault-read.h"
#include "lib/repo/verify.h"

/* Every file of every run that has no mark, all its editions; what can't be
 * opened is told with file NULL.  Generations that went meanwhile are not there
 * any more, and nothing is wrong with that.  Errors as verify_file, and those
 * of the store's listings.
 */
int verify_vault (struct vault *vault, const struct generation_caches *caches,
                  const struct verify *v, struct verify_result *result,
                  struct report *report, struct err *err);

#endif /* NBDIMAGE_REPO_VERIFY_VAULT_H */
