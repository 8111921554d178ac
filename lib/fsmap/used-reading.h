/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What used.c and the readers of file systems share.
 *
 * A reader adds all that is used to the map, sets unit and verdict, and
 * returns 0.  Anything else it says with a negative errno and a sentence, which
 * becomes the reason why the whole partition is used: -EBADMSG, -ENOTSUP, -EIO
 * as everywhere.  It leaves the map as it likes then.
 */

#ifndef NBDIMAGE_FSMAP_USED_READING_H
#define NBDIMAGE_FSMAP_USED_READING_H

#include "lib/fsmap/used.h"

struct used_reading {
  struct block *block;
  uint64_t size;                /* of the block and of the map */
  struct used_map map;
  uint64_t unit;                /* bytes */
  enum fs_used_verdict verdict; /* EXACT or MORE */
  struct job *job;              /* may be NULL */
};

int used_read_ext (struct used_reading *rd, struct err *err);
int used_read_ntfs (struct used_reading *rd, struct err *err);
int used_read_fat (struct used_reading *rd, struct err *err);
int used_read_exfat (struct used_reading *rd, struct err *err);
int used_read_xfs (struct used_reading *rd, struct err *err);
int used_read_btrfs (struct used_reading *rd, struct err *err);
int used_read_f2fs (struct used_reading *rd, struct err *err);
int used_read_swap (struct used_reading *rd, struct err *err);

/* Read `what`, which is at a place that the file system chose: -EBADMSG when
 * that is outside.
 */
int used_pread (struct used_reading *rd, const char *what, void *buf,
                size_t len, uint64_t off, struct err *err);

/* A file system of len bytes must fit into the partition; what is behind it is
 * used.
 */
int used_add_behind (struct used_reading *rd, uint64_t len, struct err *err);

#endif /* NBDIMAGE_FSMAP_USED_READING_H */
