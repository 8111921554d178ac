/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Is a generation what a disk has now?  The disk is read, and what it has is
 * compared with the identities of what was saved: data is decoded only where
 * they differ, to say where.
 */

#ifndef NBDIMAGE_REPO_VERIFY_SOURCE_H
#define NBDIMAGE_REPO_VERIFY_SOURCE_H

#include "lib/base/job.h"
#include "lib/block/extents.h"
#include "lib/repo/generation.h"

#define VERIFY_SOURCE_MAX 65536 /* extents that are listed */

struct verify_source {
  uint64_t compared;            /* bytes, of the disk as all that follows */
  uint64_t not_saved;           /* that no file system used, or left out */
  uint64_t unreadable;          /* could not be read when it was saved */
  uint64_t unknown;             /* the backup is damaged there */
  uint64_t differing;           /* of what was compared, in units of 4096 */
  struct extent_vector extents; /* where, in ascending order; EXTENT_DATA */
  bool more;                    /* some are not listed */
};

/* What the source has behind the end of the generation's disk is not looked
 * at; what it lacks differs.  threads: at least 1.  Phase "comparing with the
 * source", in bytes of the generation's disk.  *out is to be freed also after
 * a failure: errors of the source, -ENOMEM, -ECANCELED.
 */
int verify_source (struct generation *gen, struct block *source,
                   unsigned threads, struct job *job,
                   struct verify_source *out, struct err *err);
void verify_source_free (struct verify_source *out);

#endif /* NBDIMAGE_REPO_VERIFY_SOURCE_H */
