/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The lease of somebody who reads a generation for long: docs/NBI.md §15, R1
 * to R3.  What is on it stays, also if it is dropped meanwhile.
 *
 * A thread of its own takes it, where the vault can be written to, and keeps it
 * alive.  Reading does not wait for it and does not depend on it: without it a
 * prune may take away what is read, which is an error then, never other bytes.
 */

#ifndef NBDIMAGE_REPO_READER_LEASE_H
#define NBDIMAGE_REPO_READER_LEASE_H

#include "lib/repo/vault.h"

struct reader_lease;

/* Who reads for less time has none: seconds. */
#define READER_LEASE_DELAY 10

/* Of this run, after `delay' seconds; one that can't be had, or that somebody
 * broke, is tried again every `again' seconds, unless the run was dropped.
 * vault stays the caller's, and longer.  Not before a process forks that goes
 * on reading in its child: the lease is that of the process.  -EAGAIN: no
 * thread can be made.
 */
int reader_lease_start (struct vault *vault, const struct vault_run *run,
                        unsigned delay, unsigned again,
                        struct reader_lease **out, struct err *err);

/* Until it was tried once: 0, or why it could not be had when that was tried
 * last; -ESTALE: the run was dropped before.  Of one without delay.
 */
int reader_lease_wait (struct reader_lease *lease, struct err *err);

/* Give it back.  NULL is fine. */
void reader_lease_end (struct reader_lease *lease);

#endif /* NBDIMAGE_REPO_READER_LEASE_H */
