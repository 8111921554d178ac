/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Is everything there and as it should be?  What reading takes on trust is
 * looked at here: the rules of docs/NBI.md that say `verify'.
 *
 * Whatever is wrong is told, one sentence at a time, and the rest is looked at
 * all the same.
 */

#ifndef NBDIMAGE_REPO_VERIFY_H
#define NBDIMAGE_REPO_VERIFY_H

#include "lib/base/job.h"
#include "lib/repo/generation.h"
#include "lib/repo/manifest.h"

/* No offset. */
#define VERIFY_NOWHERE UINT64_MAX

/* Something that is wrong. */
struct verify_finding {
  const char *kind;             /* a stable name, a literal: "nbi-record" */
  uint64_t off;                 /* in the file, or VERIFY_NOWHERE */
  const struct err *what;       /* -EBADMSG, -ENOTSUP or -EIO */

  /* Bytes of the disk that it costs; disk_len 0: none, or not known. */
  uint64_t disk_off, disk_len;
};

struct verify {
  bool data;                    /* decode every record, and prove identities */
  struct job *job;

  /* By the thread that verifies.  Negative: stop. */
  int (*found) (void *opaque, struct file_reader *file,
                const struct verify_finding *finding, struct err *err);
  void *opaque;
};

/* One file: header and trailer and their copies, tables, each record once.
 * Phase "checking", in bytes of the file.  0 whatever was found; -ENOMEM,
 * -ECANCELED, what `found' returned.
 */
int verify_file (struct file_reader *file, const struct verify *v,
                 struct err *err);

/* What a generation says of its disk: pages, files, uses, ranges, hashes.
 * manifest: the generation's.  `last' is the file that it ends in.  Phase
 * "checking the map", in bytes of the disk.
 */
int verify_generation (struct generation *gen, struct file_reader *last,
                       const struct manifest *manifest,
                       const struct verify *v, struct err *err);

#endif /* NBDIMAGE_REPO_VERIFY_H */
