/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where file systems are mounted: /proc/self/mountinfo. */

#ifndef NBDIMAGE_TOOLS_BACKUP_MOUNTS_H
#define NBDIMAGE_TOOLS_BACKUP_MOUNTS_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/base/vector.h"

/* Where a file system is mounted, all of it or a folder or a file of it. */
struct mount_place {
  unsigned long long id;        /* the kernel's number of this mount */
  char *where;                  /* another may be mounted over it */
};

DEFINE_VECTOR (mount_places, struct mount_place);

/* A file system. */
struct mount {
  unsigned major, minor;        /* as the kernel lists it; of no device, where
                                   a file system may have several */
  struct mount_places places;   /* one at least */
};

DEFINE_VECTOR (mount_vector, struct mount);

void mounts_free (struct mount_vector *mounts);

/* Add a place, which is copied, of a file system that may be there already.
 * -ENOMEM.
 */
int mounts_add (struct mount_vector *mounts, unsigned major, unsigned minor,
                const struct mount_place *place, struct err *err);

/* Is this file system one of them? */
bool mounts_have (const struct mount_vector *mounts,
                  const struct mount *mount);

/* For messages: one of its places. */
const char *mount_where (const struct mount *mount);

/* Open a folder or a file of the file system, for reading: a descriptor that is
 * the caller's.  -EBUSY: in none of its places it can be seen.
 */
int mount_open (const struct mount *mount, struct err *err);

/* Which of them is it that the file lies in; NULL: none.  fd is any open file
 * or folder.
 */
const struct mount *mounts_find (const struct mount_vector *mounts, int fd);

#endif /* NBDIMAGE_TOOLS_BACKUP_MOUNTS_H */
