/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the tests of prunes share: vaults to prune, prunes that are refused, and
 * looks at what is in a vault.  All by the thread of the test; what fails ends
 * the test.
 */

#ifndef NBDIMAGE_TESTS_PRUNE_TRIAL_H
#define NBDIMAGE_TESTS_PRUNE_TRIAL_H

#include <stdbool.h>

#include "lib/repo/lease-hold.h"
#include "tests/support/vault-trial.h"

/* The newest two of each disk, and the newest one. */
extern const struct prune_options keep_two, keep_one;

/* A vault with n generations of disk 0, and one of disk 1. */
struct vault_trial *trial_with (uint64_t seed, int n);

/* Its result, for the sake of the message. */
int try_prune (struct vault_trial *t, const struct prune_options *options,
               struct err *err);

/* It is refused, with this number and this in the message, and deletes nothing.
 */
void assert_prune_refused (struct vault_trial *t,
                           const struct prune_options *options, int code,
                           const char *why);

/* The name of a file of the vault that has `part' in it; the last one. */
void find_name (struct vault_trial *t, const char *part, char *found,
                size_t size);

/* Is there one that begins so, and has this in it? */
bool has_name (struct vault_trial *t, const char *front, const char *part);

/* Turn a byte of a file; an offset behind its end is counted back from there.
 */
void damage (struct vault_trial *t, const char *name, size_t off);

/* A lease of this kind, on a generation unless that is NULL.  The caller ends
 * it, and frees it with lease_free.
 */
struct lease_hold *hold_lease (struct store *store, enum vault_name_kind kind,
                               const uint8_t *generation);

/* The run of a vault that has this UUID, if it is there. */
void find_run (struct vault *vault, const uint8_t run[UUID_SIZE],
               struct vault_run *found);

#endif /* NBDIMAGE_TESTS_PRUNE_TRIAL_H */
