/* SPDX-License-Identifier: GPL-2.0-or-later */

/* File systems that are held still while their device is read: FIFREEZE.
 *
 * Whoever writes to one of them waits, so that none must ever stay frozen.  A
 * process of its own, the guardian, freezes them, and thaws them
 *
 *   when it is told to;
 *   when whoever started it has ended, however: its socket is closed then;
 *   when they were frozen for as long as was allowed;
 *   when it gets SIGTERM, as from a service manager that ends all of a group.
 *
 * It ignores Ctrl-C, is never chosen by the kernel for want of memory, and is
 * all in memory.  Is it killed itself, a thread of whoever started it notices,
 * and thaws.  Only both killed at once, with SIGKILL, leave something frozen:
 * then it is `fsfreeze --unfreeze FOLDER'.
 *
 *   freeze_new       the guardian, while there are no threads yet
 *   freeze_begin     as late as can be
 *   freeze_end
 *   freeze_free
 */

#ifndef NBDIMAGE_TOOLS_BACKUP_FREEZE_H
#define NBDIMAGE_TOOLS_BACKUP_FREEZE_H

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "tools/backup/mounts.h"

struct freeze;

/* A guardian, which freezes nothing yet.  Before there are threads. */
int freeze_new (struct freeze **out, struct err *err);

/* Freeze the file systems that are mounted there, for at most so many seconds.
 * -EBUSY: one of them is frozen already.  Nothing is frozen after a failure.
 * Are they thawed before freeze_end, then the job, which may be NULL, is
 * canceled.  mounts and job are the caller's, up to freeze_free.  Once.
 */
int freeze_begin (struct freeze *freeze, const struct mount_vector *mounts,
                  unsigned seconds, struct job *job, struct err *err);

/* Thaw them.  -ETIMEDOUT: they were not frozen all the time until now, and what
 * was read is of no one moment.  -EIO: one can't be thawed.  The second time it
 * does nothing, and answers the same; 0 before freeze_begin.
 */
int freeze_end (struct freeze *freeze, struct err *err);

/* freeze_end, if that was not called; NULL is fine. */
void freeze_free (struct freeze *freeze);

#endif /* NBDIMAGE_TOOLS_BACKUP_FREEZE_H */
