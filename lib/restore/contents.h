/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is on a disk, as far as people want to know before it is gone: its
 * partition table, and the file system in each partition.
 */

#ifndef NBDIMAGE_RESTORE_CONTENTS_H
#define NBDIMAGE_RESTORE_CONTENTS_H

#include "lib/fsmap/identify.h"
#include "lib/part/part.h"

struct restore_contents {
  struct part_table table;
  struct fs_identity *fs;       /* one for each of table.parts; without a
                                   table, one for all of the disk */
  bool is_empty;                /* none of that, and zeros wherever we looked */
  char *text;                   /* "a GPT with 2 partitions: vfat, ext4
                                   ‘root’"; "nothing" if it is empty */
};

/* Look at a disk; sector_size: as the disk says, or 0.  A partition that can't
 * be read is one of which nothing is known.  The caller frees *contents when
 * this succeeded.
 */
int restore_contents_look (struct block *disk, uint32_t sector_size,
                           struct restore_contents *contents,
                           struct report *report, struct err *err);

/* Of a disk whose table can't be read: nothing is known.  -ENOMEM. */
int restore_contents_unknown (struct restore_contents *contents,
                              struct err *err);
void restore_contents_free (struct restore_contents *contents);

/* "ext4 ‘root’"; "LVM2_member"; "nothing known".  The caller frees it; NULL:
 * out of memory.
 */
char *restore_fs_to_text (const struct fs_identity *fs);

/* The partition with that number, without extended ones; NULL: none.  *i is
 * its place.
 */
const struct partition *restore_contents_find (
  const struct restore_contents *contents, unsigned n, size_t *i);

/* That in which the byte is; NULL: none. */
const struct partition *restore_contents_at (
  const struct restore_contents *contents, uint64_t off);

#endif /* NBDIMAGE_RESTORE_CONTENTS_H */
