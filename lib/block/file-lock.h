/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Holding a file against those who would write to it, or against all others. */

#ifndef NBDIMAGE_BLOCK_FILE_LOCK_H
#define NBDIMAGE_BLOCK_FILE_LOCK_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/report.h"

/* Lock the file of a descriptor until it is closed: against everybody if it
 * is for writing, otherwise against writers.  -EBUSY when somebody else has
 * it in such a way.  Where the file system can't lock, a warning that names
 * the file.
 */
int file_lock (int fd, const char *name, bool writable,
               struct report *report, struct err *err);

#endif /* NBDIMAGE_BLOCK_FILE_LOCK_H */
