/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A generation out of what is left of its files: docs/NBI.md §16, steps 4 to
 * 6.  Nothing here writes, and no byte is given out that is not in a record
 * that is whole: what is lost is an error, never zeros.
 *
 * What says where a chunk is, of what is left:
 *
 *   the root and its page           as when the generation is read
 *   a page that no root names       of several for one place that which was
 *                                   written last: unproven
 *   the numbers of records          where there is no page; of several that
 *                                   which was written last: unproven.  Zeros,
 *                                   and chunks that are the same as others,
 *                                   are lost then, for only a map has them
 *
 * Not taken: pages of generations before.  Memory: 12 bytes for each chunk of
 * the disk, 8 more where pages are lost, and what salvage-file.h says.
 */

#ifndef NBDIMAGE_REPO_SALVAGE_H
#define NBDIMAGE_REPO_SALVAGE_H

#include "lib/fsmap/used-map.h"
#include "lib/repo/manifest.h"
#include "lib/repo/salvage-file.h"

DEFINE_VECTOR (salvage_files, struct salvage_file *);
DEFINE_VECTOR (salvage_ranges, struct nbi_range);

/* Which of the generations that the files are of. */
struct salvage_choice {
  const char *disk;             /* its name; NULL: there is only one */
  const char *generation;       /* the beginning of its UUID or time; NULL: the
                                   newest */
};

struct salvage_counts {
  uint64_t data, zero, unallocated;     /* chunks */
  uint64_t unreadable;          /* chunks that were so when it was saved */
  uint64_t lost;                /* chunks of which no record is known */
  uint64_t pages, pages_unproven, pages_lost;   /* of the map */
  bool has_root, has_manifest;
};

struct salvage;

/* files: stay the caller's, longer than it, and are put in another order.
 * -ENOENT: none is of such a generation; -EINVAL: of several disks, with their
 * names, or of several generations that begin so; -ENOMEM.
 */
int salvage_new (struct salvage_files *files,
                 const struct salvage_choice *choice, struct salvage **out,
                 struct err *err);
void salvage_free (struct salvage *s);          /* NULL is fine */

/* Of the disk: name, size, chunk size, sectors, time, run. */
const struct nbi_header *salvage_header (const struct salvage *s);

void salvage_get_counts (const struct salvage *s, struct salvage_counts *out);

/* The manifest, JSON of *len bytes and a zero behind; NULL: it is lost. */
const char *salvage_manifest (const struct salvage *s, size_t *len);

/* The disk, for reading.  What is lost, or was not readable, is -EIO or
 * -EBADMSG.  Lives as long as s.
 */
int salvage_to_block (struct salvage *s, struct block **out, struct err *err);

/* m was made of what the disk says, as the manifest that knew which partitions
 * were left out of the backup is lost: of these `saved' becomes "none", which
 * is told.  Where m has no table, nobody knows where they were, and all that is
 * not allocated is lost from now on.  Nobody may be reading.  -ENOMEM.
 */
int salvage_find_absent (struct salvage *s, struct manifest *m,
                         struct report *report, struct err *err);

/* What was allocated, or nobody knows; finished.  The caller frees it. */
int salvage_used (const struct salvage *s, struct used_map *map,
                  struct err *err);

/* What is lost: of which no record was known, or which could not be read from
 * that block since; not what was unreadable when it was saved.  Ascending, not
 * touching each other; the caller frees *ranges.  Nobody may be reading.
 */
int salvage_lost (const struct salvage *s, struct salvage_ranges *ranges,
                  struct err *err);

#endif /* NBDIMAGE_REPO_SALVAGE_H */
