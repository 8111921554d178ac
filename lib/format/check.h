/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Is an image whole?  Opening stops at the first thing that is wrong; this
 * lists everything that can still be told, of the image and of its parents.
 * Nothing is written.
 *
 *   struct check check = CHECK_INIT;
 *
 *   r = image_check ("disk.vhd", &options, 0, &check, err);
 *   ... check.findings, check_verdict (&check) ...
 *   check_free (&check);
 *
 * By one thread; the job may be looked at by others.
 */

#ifndef NBDIMAGE_FORMAT_CHECK_H
#define NBDIMAGE_FORMAT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/base/vector.h"
#include "lib/format/image.h"

/* From harmless to bad. */
enum finding_severity {
  FINDING_NOTE,                 /* good to know, and nothing wrong */
  FINDING_LEAK,                 /* space of the file that nothing uses */
  FINDING_UNEXAMINED,           /* what could not be examined: a parent that
                                   is not there, a feature we don't know */
  FINDING_REPAIRABLE,           /* something is damaged, and all bytes of the
                                   disk are there */
  FINDING_DAMAGE,               /* bytes of the disk are lost or uncertain */
};

#define FINDING_NR_SEVERITIES (FINDING_DAMAGE + 1)

/* "note", "leak", "unexamined", "repairable", "damage" */
const char *finding_severity_to_string (enum finding_severity severity);

/* No offset, or of something that is in no place. */
#define FINDING_NOWHERE UINT64_MAX

/* What a finding is about; the strings are literals or the finder's. */
struct finding_subject {
  enum finding_severity severity;
  const char *kind;             /* a stable name, a literal: "vhd-footer" */
  const char *structure;        /* "BAT entry 7"; NULL: the file */
  uint64_t off;                 /* of it in the file, or FINDING_NOWHERE */
  uint64_t len;                 /* bytes; 0: not said */
  bool mendable;                /* by `nbdimage repair` */
  uint64_t disk_off, disk_len;  /* bytes of the disk that it costs; len 0:
                                   none, or not known */
};

/* All strings are owned. */
struct finding {
  enum finding_severity severity;
  const char *kind;             /* not owned */
  char *file;                   /* which file of the chain */
  char *structure;              /* NULL: the file */
  uint64_t off, len;            /* as above */
  bool mendable;
  uint64_t disk_off, disk_len;  /* as above */
  char *found, *expected;       /* expected NULL: the sentence says it */
  char *sentence;               /* the whole, for people */
};

/* Findings of one kind in one file; more than CHECK_MAX_OF_A_KIND of them are
 * only counted.
 */
#define CHECK_MAX_OF_A_KIND 100

struct finding_count {
  const char *kind;             /* not owned */
  char *file;                   /* owned */
  enum finding_severity severity;
  uint64_t nr;
};

struct file_range {
  uint64_t off, len;            /* bytes */
};

DEFINE_VECTOR (finding_vector, struct finding);
DEFINE_VECTOR (finding_counts, struct finding_count);
DEFINE_VECTOR (file_ranges, struct file_range);

struct check {
  struct job *job;              /* set by the caller; NULL: nobody looks */
  bool data;                    /* set by image_check: CHECK_DATA */
  const char *format;           /* "vhd"; NULL: not known yet */
  struct finding_vector findings;       /* in the order they were found */
  struct finding_counts counts;
  uint64_t nr[FINDING_NR_SEVERITIES];
  uint64_t leaked;              /* bytes of the image itself, in all leaks */
  uint64_t nr_files;            /* that were examined: the chain */

  /* For those who examine. */
  const char *file;             /* which file it is now */
  bool is_parent;               /* ... and not the image itself */
};

#define CHECK_INIT \
  { NULL, false, NULL, VECTOR_INIT, VECTOR_INIT, { 0 }, 0, 0, NULL, false }

void check_free (struct check *check);

#define CLEANUP_CHECK __attribute__ ((__cleanup__ (check_free)))

enum check_verdict {
  CHECK_WHOLE,                  /* notes and leaks at most */
  CHECK_UNEXAMINED,             /* nothing is wrong as far as one can see */
  CHECK_DAMAGED,
};

enum check_verdict check_verdict (const struct check *check);

/* "whole", "unexamined", "damaged" */
const char *check_verdict_to_string (enum check_verdict verdict);

/* Has `repair` something to do?  After image_check that is so: it was asked for
 * its plan.
 */
bool check_has_mendable (const struct check *check);

/* It can't do anything, for a reason that the format does not know. */
void check_forget_mendable (struct check *check);

#define CHECK_DATA 1U           /* read all bytes of the disk, too */

/* Examine an image, which is opened for reading and held against writers as
 * options say (writable and ignore_checksums do not count).  0: everything
 * that is wrong is in *check.  Otherwise why it could not be examined at all:
 * the errors of image_open for what can't be read or is no image, -EBUSY,
 * -ECANCELED.
 */
int image_check (const char *name, const struct image_options *options,
                 unsigned flags, struct check *check, struct report *report,
                 struct err *err);

/* The same on a block. */
int image_check_block (struct block *block,
                       const struct image_options *options, unsigned flags,
                       struct check *check, struct err *err);

/*--- For those who examine --------------------------------------------------*/

/* Add what err says of the subject: the sentence is err's, what it found and
 * what it expected are the two sides of its ", expected ".  -ENOTSUP becomes
 * FINDING_UNEXAMINED.  Returns 0 or -ENOMEM.
 */
int check_add_err (struct check *check, const struct finding_subject *subject,
                   const struct err *finding, struct err *err);

/* Add that something was found in the subject.  expected may be NULL.  The
 * sentence is "STRUCTURE at offset N FOUND, expected EXPECTED".
 */
int check_add (struct check *check, const struct finding_subject *subject,
               const char *expected, struct err *err, const char *found, ...)
  __attribute__ ((__format__ (__printf__, 5, 6)));

/* Every line of a report becomes a note (or what else the subject says), and
 * the report empty.
 */
int check_add_report (struct check *check,
                      const struct finding_subject *subject,
                      struct report *report, struct err *err);

/* Space of the file that nothing names, [off, off+len): a leak, unless there
 * is a hole in the file, or at its end.  Appended to leaks, if that is not
 * NULL.
 */
int check_add_leak (struct check *check, struct block *block, uint64_t off,
                    uint64_t len, bool is_tail, struct file_ranges *leaks,
                    struct err *err);

#endif /* NBDIMAGE_FORMAT_CHECK_H */
