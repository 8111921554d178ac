/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A snapshot of a logical volume, for as long as it is read.
 *
 * It must not stay: once it is full it is worth nothing, and until then each
 * write to the volume is two.  A process of its own makes it, and removes it
 * when it is told to, and when whoever started it has ended, however.  It
 * heeds no signal but SIGKILL; is it killed, whoever started it removes the
 * snapshot.  Where both are, `lvremove' is left to do.
 */

#ifndef NBDIMAGE_TOOLS_BACKUP_SNAPSHOT_H
#define NBDIMAGE_TOOLS_BACKUP_SNAPSHOT_H

#include <stdint.h>

#include "lib/base/err.h"

struct snapshot;

/* Of the device, with room for `room' bytes that are written meanwhile; 0: the
 * usual.  Before there are threads.
 */
int snapshot_take (const char *device, uint64_t room, struct snapshot **out,
                   struct err *err);

/* Its device. */
const char *snapshot_path (const struct snapshot *snapshot);

/* -ENOSPC: it is lost, and what was read of it may be. */
int snapshot_check (const struct snapshot *snapshot, struct err *err);

/* Remove it: after its device was closed.  NULL is fine.  An error is that it
 * is still there.
 */
int snapshot_remove (struct snapshot *snapshot, struct err *err);

#endif /* NBDIMAGE_TOOLS_BACKUP_SNAPSHOT_H */
