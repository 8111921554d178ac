/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Block devices of this machine by their numbers, and what lies on what. */

#ifndef NBDIMAGE_TOOLS_BACKUP_DEVICE_H
#define NBDIMAGE_TOOLS_BACKUP_DEVICE_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/block/block.h"
#include "tools/backup/mounts.h"

struct device {
  unsigned major, minor;
};

/*--- layers.c ---------------------------------------------------------------*/

/* All of these: false: it is no block device. */
bool device_of (struct block *disk, struct device *device);
bool device_at (const char *path, struct device *device);

/* That a file of /sys has: "MAJOR:MINOR". */
bool device_read (const char *path, struct device *device);

bool device_is_same (const struct device *a, const struct device *b);

/* The disk that it is a partition of; false: it is none. */
bool device_disk (const struct device *device, struct device *disk);

/* Is `other' the device, a partition of it, or something made of these: LVM,
 * encryption, RAID?
 */
bool device_is_on (const struct device *device, const struct device *other);

/*--- uses.c -----------------------------------------------------------------*/

enum device_use { DEVICE_MOUNTED, DEVICE_WRITTEN };

/* The file systems on it that are mounted, or mounted for writing, in this
 * mount namespace or that of any process that can be seen.  To each all of its
 * places.
 */
int device_list_mounts (const struct device *device, enum device_use use,
                        struct mount_vector *mounts, struct err *err);

/* Where it is swapped to, for free(); NULL: it is not. */
char *device_find_swap (const struct device *device);

/*--- claims.c ---------------------------------------------------------------*/

/* Has somebody claimed it, a partition, or what is made of these, as every file
 * system does that is mounted, and nothing else explains that?  -EBUSY.
 */
int device_check_claims (const struct device *device, struct err *err);

#endif /* NBDIMAGE_TOOLS_BACKUP_DEVICE_H */
