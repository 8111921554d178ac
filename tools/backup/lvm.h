/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Logical volumes, by the programs of lvm2. */

#ifndef NBDIMAGE_TOOLS_BACKUP_LVM_H
#define NBDIMAGE_TOOLS_BACKUP_LVM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

#define LVM_NAME_SIZE 128       /* lvm(8): 127 characters */

struct lvm_volume {
  char group[LVM_NAME_SIZE], name[LVM_NAME_SIZE];
  uint64_t size;                /* bytes */
  uint64_t group_free;
  bool thin;
};

/* The volume that the device is.  -EINVAL: it is none; -ENOENT: lvm2 is not
 * there.
 */
int lvm_find (const char *device, struct lvm_volume *volume, struct err *err);

/* Make a snapshot of that name, of so many bytes at most for what is written to
 * the volume meanwhile; of a thin volume they are those of its pool.
 */
int lvm_make_snapshot (const struct lvm_volume *volume, const char *name,
                       uint64_t size, struct err *err);

/* Its device, for free(). */
int lvm_path (const char *group, const char *name, char **path,
              struct err *err);

/* -ENOSPC: there was no more room in it, and it is nothing any more. */
int lvm_check_snapshot (const char *group, const char *name, struct err *err);

int lvm_remove (const char *group, const char *name, struct err *err);

#endif /* NBDIMAGE_TOOLS_BACKUP_LVM_H */
