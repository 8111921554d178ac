/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What goes where, and whether it can.  Nothing is written here, and nothing
 * grown, shrunk or moved: a disk onto one of the same size or larger, of which
 * what is more stays free; or partitions into partitions that are there, of
 * the same size or larger, whose tables are left alone.
 */

#ifndef NBDIMAGE_RESTORE_PLAN_H
#define NBDIMAGE_RESTORE_PLAN_H

#include "lib/base/job.h"
#include "lib/base/report.h"
#include "lib/part/move.h"
#include "lib/restore/contents.h"
#include "lib/restore/source.h"

/* "2" or "2:3": a partition of the image, and one of the target. */
struct restore_choice {
  unsigned from, to;
  bool said;                    /* to was; otherwise it is from */
};

DEFINE_VECTOR (restore_choices, struct restore_choice);

/* "2", "2:3", "1,2:5".  -EINVAL.  The caller frees *choices. */
int restore_choices_parse (const char *text, struct restore_choices *choices,
                           struct err *err);

/* A disk, and what is known of it. */
struct restore_disk {
  struct block *block;          /* NULL: a file that is not there yet */
  uint64_t size;                /* bytes */
  uint32_t sector_size;         /* logical; 0: not known */
  const struct restore_contents *contents;      /* NULL: not there yet */
  unsigned partition;           /* of what disk it is; 0: it is none */
  bool is_device;
  bool is_optical;              /* of a CD: it starts from sticks as it is, and
                                   has checksums over its tables */
};

/* One range, from the image onto the target. */
struct restore_step {
  unsigned from, to;            /* numbers of partitions; 0: all of it */
  uint64_t from_off, to_off;    /* bytes */
  uint64_t len;                 /* bytes of the image */
  uint64_t size;                /* bytes of the target; not less */
};

DEFINE_VECTOR (restore_steps, struct restore_step);

struct restore_totals {
  uint64_t data, zero, unallocated, unreadable; /* bytes of the image */
};

#define RESTORE_LISTED 1000     /* ranges that can't be read */

struct restore_plan {
  struct restore_steps steps;
  struct part_patches patches;  /* of the one step, if it is all of the disk */
  struct restore_totals totals;
  struct restore_ranges unreadable;     /* offsets on the image's disk; the
                                           first RESTORE_LISTED */
};

/* No choices: all of the disk.  What is unusual and goes on all the same goes
 * to report.  -ENOSPC if the target, or a partition of it, is too small, with
 * the numbers; -EINVAL for a partition that is not there; -ENOTSUP for what
 * can't be done, or not yet.  The caller frees *plan when this succeeded.
 */
int restore_plan_make (const struct restore_disk *from,
                       const struct restore_disk *to,
                       const struct restore_choices *choices,
                       struct restore_plan *plan, struct report *report,
                       struct err *err);
void restore_plan_free (struct restore_plan *plan);

/* Fill totals and unreadable, by the extents of the image: a backup's say what
 * could not be read when it was made.  job: phase "looking".
 */
int restore_plan_survey (struct restore_plan *plan, struct block *disk,
                         struct job *job, struct err *err);

#endif /* NBDIMAGE_RESTORE_PLAN_H */
