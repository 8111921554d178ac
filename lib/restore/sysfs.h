/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What /sys says of a block device.  A file that is not there says nothing:
 * NULL or 0.  The caller frees every text.
 */

#ifndef NBDIMAGE_RESTORE_SYSFS_H
#define NBDIMAGE_RESTORE_SYSFS_H

#include <sys/types.h>

#include "lib/restore/device.h"

/* "SYS/dev/block/8:16/…"; NULL: out of memory. */
char *sysfs_path (const struct restore_system *system, dev_t dev,
                  const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* The first line of a file, without spaces at its ends; NULL if there is none,
 * or path is NULL.
 */
char *sysfs_first_line (const char *path);

/* The file of that name in the device's folder. */
char *sysfs_attribute (const struct restore_system *system, dev_t dev,
                       const char *name);
unsigned long sysfs_number (const struct restore_system *system, dev_t dev,
                            const char *name);

/* What a file names that says "MAJOR:MINOR". */
dev_t sysfs_dev (const char *path);

/* The disk that it is a partition of, or itself. */
dev_t sysfs_disk (const struct restore_system *system, dev_t dev);

/* "sdb1", or "8:17" where /sys does not know it; NULL: out of memory. */
char *sysfs_name (const struct restore_system *system, dev_t dev);

/* A device by its path; one that is not there, by its name. */
dev_t sysfs_dev_at (const struct restore_system *system, const char *path);

#endif /* NBDIMAGE_RESTORE_SYSFS_H */
