/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One's own lease: taken, kept alive, given back (docs/NBI.md §14, B1 and B2;
 * §15, R1, R3, P1, P10).
 *
 *   r = lease_take (store, &lease, LEASE_THREAD, &hold, err);
 *   ... work in lease_folder (hold); now and then: lease_check (hold, err) ...
 *   r = lease_leave (hold, err);       or the folder became a generation
 *   lease_free (hold);
 *
 * The functions of one hold may be called by many threads, but lease_free.
 */

#ifndef NBDIMAGE_REPO_LEASE_HOLD_H
#define NBDIMAGE_REPO_LEASE_HOLD_H

#include "lib/repo/lease.h"

struct lease_hold;

#define LEASE_THREAD 1U         /* a thread renews it each minute; otherwise
                                   that is for the caller */

/* B1 and B2: partial/KIND-UUID with the lease is there, and on stable storage.
 * lease is only read.  -EEXIST: somebody has this UUID.  What fails leaves at
 * most a `.new' folder, which counts for nobody.
 */
int lease_take (struct store *store, const struct lease *lease,
                unsigned flags, struct lease_hold **out, struct err *err);

/* "partial/backup-…", and its last part; as long as the hold lives. */
const char *lease_folder (const struct lease_hold *hold);
const char *lease_folder_name (const struct lease_hold *hold);

/* The store's time when it was renewed last: seconds since 1970. */
int64_t lease_time (struct lease_hold *hold);

/* Write `alive' anew.  -ENOENT: the folder is not there any more, somebody took
 * us for dead; from then on that is always the answer.  Other failures may be
 * of the moment.
 */
int lease_renew (struct lease_hold *hold, struct err *err);

/* -ENOENT as above if that is known, without a look at the store. */
int lease_check (struct lease_hold *hold, struct err *err);

/* `alive' is written no more (B6, before the folder is sealed); when this
 * returns, nothing of it is under way.
 */
void lease_stop (struct lease_hold *hold);

/* Rename the folder to broken/, so that nobody waits for it; 0 if it is gone
 * already.  After lease_stop, which this does too.
 */
int lease_leave (struct lease_hold *hold, struct err *err);

/* Leaves the folder as it is.  NULL is fine. */
void lease_free (struct lease_hold *hold);

#endif /* NBDIMAGE_REPO_LEASE_HOLD_H */
