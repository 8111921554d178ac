/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Is everything there and as it should be?  What reading takes on trust is
 * looked at here: the rules of docs/NBI.md that say `verify'.
 *
 * Whatever is wrong is told, one sentence at a time, and the rest is looked at
 * all the same.
 */

#ifndef NBDIMAGE_REPO_VERIFY_H
#define NBDIMAGE_REPO_VERIFY_H

#include <errno.h>

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

/* Records of a file that were looked at, since this was told the last time. */
struct verify_passed {
  uint32_t end;                 /* all that are wanted below this ordinal were
                                   looked at; 0: the manifest was */
  uint64_t records, bytes;      /* headers and payloads */
  bool clean;                   /* nothing is wrong in the file so far */
};

/* What verify_vault and verify_one looked at. */
struct verify_result {
  uint64_t nr_generations, nr_files;
  uint64_t bytes;               /* of the files */
};

struct verify {
  bool data;                    /* decode every record, and prove identities */
  unsigned threads;             /* that do; 0 and 1: the caller's alone */
  struct job *job;

  /* Before the first file: each of them, then begin, which begins a phase of
   * the job that verify_file advances in.  NULLs: verify_file begins one.
   */
  int (*survey) (void *opaque, struct file_reader *file, struct err *err);
  int (*begin) (void *opaque, struct err *err);

  /* Is the record looked at?  The manifest always is.  NULL: all are. */
  bool (*wants) (void *opaque, struct file_reader *file,
                 const struct nbi_record *record);

  /* NULL, or called now and then.  Negative: stop. */
  int (*passed) (void *opaque, struct file_reader *file,
                 const struct verify_passed *passed, struct err *err);

  /* Negative: stop.  This and the others are called by the thread that
   * verifies.
   */
  int (*found) (void *opaque, struct file_reader *file,
                const struct verify_finding *finding, struct err *err);
  void *opaque;
};

/* Is it about the backup, and so to be told? */
static inline bool
verify_is_finding (int r)
{
  return r == -EBADMSG || r == -ENOTSUP || r == -EIO;
}

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
