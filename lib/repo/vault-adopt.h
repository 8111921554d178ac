/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What interrupted runs of a disk left in a vault, taken over by the next one:
 * docs/NBI.md §14, B4 and B6.
 */

#ifndef NBDIMAGE_REPO_VAULT_ADOPT_H
#define NBDIMAGE_REPO_VAULT_ADOPT_H

#include "lib/repo/leftovers.h"
#include "lib/repo/lease-look.h"

/* Who adopts. */
struct vault_adopter {
  struct store *store;
  struct lease_hold *hold;      /* of a backup that looked around (B3) */
  const struct nbi_header *header;      /* of its files */
  struct cache *sheets;
  struct keyring *keys;         /* of what is encrypted, or NULL */
  struct report *report;        /* what is damaged, or can't be taken away */
};

/* B4: move the folders of runs of this disk that nobody works in into the own
 * folder, and look at what they have.  seen: what lease_look judged.  *out:
 * what can be used, or NULL if there is nothing; for leftovers_free.  -ENOMEM,
 * -ECANCELED, and where the own folder or broken/ can't be listed.
 */
int vault_adopt (const struct vault_adopter *a, const struct lease_list *seen,
                 struct leftovers **out, struct job *job, struct err *err);

/* B6: the files that are used get their names in the own folder, on stable
 * storage; then all else that was adopted is deleted, as far as it can be.
 * leftovers: NULL if there is nothing.
 */
int vault_adopt_end (const struct vault_adopter *a,
                     const struct leftovers *leftovers, struct err *err);

#endif /* NBDIMAGE_REPO_VAULT_ADOPT_H */
