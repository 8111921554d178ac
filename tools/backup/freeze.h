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
 * all in memory.  Is it killed itself, whoever started it notices, and thaws.
 * Only both killed at once, with SIGKILL, leave something frozen: then it is
 * `fsfreeze --unfreeze FOLDER'.
 */

#ifndef NBDIMAGE_TOOLS_BACKUP_FREEZE_H
#define NBDIMAGE_TOOLS_BACKUP_FREEZE_H

#include "lib/base/err.h"
#include "tools/backup/mounts.h"

struct freeze;

/* Freeze the file systems that are mounted there, for at most so many seconds.
 * -EBUSY: one of them is frozen already.  Nothing is frozen after a failure.
 * Before there are threads.
 */
int freeze_begin (const struct mount_vector *mounts, unsigned seconds,
                  struct freeze **out, struct err *err);

/* Thaw them.  -ETIMEDOUT: they were not frozen all the time until now, and what
 * was read is of no one moment.  -EIO: one can't be thawed.  The second time it
 * does nothing, and answers the same.
 */
int freeze_end (struct freeze *freeze, struct err *err);

/* freeze_end, if that was not called; NULL is fine. */
void freeze_free (struct freeze *freeze);

#endif /* NBDIMAGE_TOOLS_BACKUP_FREEZE_H */
