/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is on a disk, before it is backed up: its partition table, verbatim
 * too; its partitions and what is in them; what of them is used.
 */

#ifndef NBDIMAGE_REPO_SURVEY_H
#define NBDIMAGE_REPO_SURVEY_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/block/block.h"
#include "lib/fsmap/used-map.h"
#include "lib/repo/manifest.h"

struct survey_options {
  uint32_t sector_size;         /* of the disk; 0: not known */
  bool everything;              /* count all of it as used */
  bool damaged;                 /* file systems are named by what can be read of
                                   them; with everything */

  /* Only these partitions, by their numbers: of all others nothing is used,
   * and `saved' is "none".  NULL: all of them.
   */
  const unsigned *partitions;
  size_t nr_partitions;
};

/* Fill table and partitions of m, which has none, and the map, which is
 * finished and the caller's to free when this succeeded.  What file systems
 * can't tell is used as a whole, and that is told by the report and among the
 * warnings of m.  A disk without a table is taken for one file system.  Only
 * reads; the disk must not change meanwhile.  -ENOMEM, -ECANCELED, -EIO.  With
 * partitions also -EINVAL: one of them is not there, or overlaps one that is
 * left out; or it can't be told where any of them is.
 */
int survey_disk (struct block *disk, const struct survey_options *options,
                 struct manifest *m, struct used_map *used,
                 struct report *report, struct job *job, struct err *err);

#endif /* NBDIMAGE_REPO_SURVEY_H */
