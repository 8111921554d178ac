/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The partitions of a device: read from the disk, and waited for until the
 * kernel has a node for each.
 */

#ifndef NBDIMAGE_ATTACH_PARTITIONS_H
#define NBDIMAGE_ATTACH_PARTITIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/base/vector.h"
#include "lib/fsmap/identify.h"

struct disk_partition {
  unsigned number;              /* 0: the whole disk */
  uint64_t off, len;            /* bytes */
  char *type;                   /* "0x83", a GUID; NULL: not known */
  const char *type_name;        /* "Linux"; NULL: not known; static */
  char *name;                   /* GPT name; NULL: none */
  char *uuid;                   /* as part.h; NULL: not known */
  struct fs_identity fs;
};

DEFINE_VECTOR (disk_partition_vector, struct disk_partition);

void disk_partition_vector_free (struct disk_partition_vector *list);
#define CLEANUP_DISK_PARTITIONS \
  __attribute__ ((__cleanup__ (disk_partition_vector_free)))

/* Wait for the partitions of nbdX and list those that are there, the whole
 * disk first.  What the table on the disk says and the kernel does not make
 * is reported.  -EINTR when *interrupted becomes true meanwhile; -EIO when
 * the disk can't be read.
 */
int partitions_wait (unsigned index, const volatile bool *interrupted,
                     struct disk_partition_vector *list,
                     struct report *report, struct err *err);

#endif /* NBDIMAGE_ATTACH_PARTITIONS_H */
