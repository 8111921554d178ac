/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where file systems are mounted: /proc/self/mountinfo. */

#ifndef NBDIMAGE_TOOLS_BACKUP_MOUNTS_H
#define NBDIMAGE_TOOLS_BACKUP_MOUNTS_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

/* A file system, in one of the places where it is. */
struct mount {
  unsigned major, minor;        /* as the kernel lists it; of no device, where
                                   a file system may have several */
  char *where;
};

DEFINE_VECTOR (mount_vector, struct mount);

void mounts_free (struct mount_vector *mounts);

/* Add one, unless the file system is there already; where is copied.
 * -ENOMEM.
 */
int mounts_add (struct mount_vector *mounts, unsigned major, unsigned minor,
                const char *where, struct err *err);

/* Which of them is it that the file lies in; NULL: none.  fd is any open file
 * or folder.
 */
const struct mount *mounts_find (const struct mount_vector *mounts, int fd);

#endif /* NBDIMAGE_TOOLS_BACKUP_MOUNTS_H */
