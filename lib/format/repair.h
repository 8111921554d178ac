/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Mending an image: first a plan, then an undo file, then the changes, in an
 * order in which the image is never worse than it was.
 *
 *   struct check check = CHECK_INIT;
 *   struct repair_plan plan = REPAIR_PLAN_INIT;
 *
 *   r = repair_plan_make (block, &options, 0, &check, &plan, err);
 *   ... show plan.steps; nothing was changed so far ...
 *   r = repair_apply (block, &plan, "disk.vhd.undo", job, err);
 *   repair_plan_free (&plan);
 *
 * What is mended is what has one right answer: a structure of which there is
 * a second, whole one; changes that a log holds; space that nothing names.
 * Nothing is guessed.  As long as something is damaged that can't be mended,
 * nothing is changed.
 *
 * Steps are done one after the other, each flushed before the next begins,
 * unless it says that it may be done together with it.  Whatever was done
 * when it ends in the midst, planning again finds what is left to do, and the
 * undo file, which was complete before the first change, takes it all back.
 *
 * By one thread; nobody else uses the block meanwhile.
 */

#ifndef NBDIMAGE_FORMAT_REPAIR_H
#define NBDIMAGE_FORMAT_REPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/base/vector.h"
#include "lib/block/block.h"
#include "lib/format/check.h"

enum repair_kind {
  REPAIR_WRITE,                 /* bytes, which may end behind the file */
  REPAIR_COPY,                  /* the same bytes of the plan's source */
  REPAIR_ZERO,                  /* zeros */
  REPAIR_PUNCH,                 /* nothing needs these bytes: a hole */
  REPAIR_RESIZE,                /* the file gets the size off */
};

/* "write", "copy", "zero", "punch", "resize" */
const char *repair_kind_to_string (enum repair_kind kind);

struct repair_step {
  enum repair_kind kind;
  uint64_t off, len;            /* bytes in the file; RESIZE: len is 0 */
  uint8_t *bytes;               /* of a WRITE: owned */
  char *why;                    /* owned; a sentence without its subject */
  bool with_next;               /* need not be flushed before the next one */
};

DEFINE_VECTOR (repair_steps, struct repair_step);

struct repair_plan {
  const char *format;           /* "vhd" */
  struct repair_steps steps;    /* in order; no two change the same byte */
  char *refusal;                /* owned; why nothing can be done though
                                   something is wrong; NULL: see steps */
  struct block *source;         /* of COPY: a reference */
  uint64_t old_size, new_size;  /* bytes of the file, before and after */

  /* What of the file tells whether it is still the same, besides what is
   * changed: its tables.
   */
  struct file_ranges identity;
};

#define REPAIR_PLAN_INIT { NULL, VECTOR_INIT, NULL, NULL, 0, 0, VECTOR_INIT }

void repair_plan_free (struct repair_plan *plan);

#define CLEANUP_REPAIR_PLAN __attribute__ ((__cleanup__ (repair_plan_free)))

#define REPAIR_DISCARD_LOG 1U   /* a log of a VHDX that can't be replayed is
                                   given up */
#define REPAIR_KEEP_LEAKS 2U    /* leave space that nothing names alone */

/* Examine the image itself, without its parents, and plan what can be done.
 * check has what was found.  -ENOTSUP: of this format nothing is repaired; or
 * as image_check_block.
 */
int repair_plan_make (struct block *block,
                      const struct image_options *options, unsigned flags,
                      struct check *check, struct repair_plan *plan,
                      struct err *err);

/* Write the undo file, which must not exist, and then do what the plan says
 * on the block it was made of.  After a failure other than -EEXIST the
 * changes may have been made in part.
 */
int repair_apply (struct block *block, const struct repair_plan *plan,
                  const char *undo_path, struct job *job, struct err *err);

/* The name of an undo file for an image that does not exist yet: NAME.undo,
 * NAME.undo.2, …  The caller frees it; NULL when out of memory.
 */
char *repair_undo_name (const char *image);

/*--- For drivers ------------------------------------------------------------*/

/* Append a step; why is a printf format.  bytes are copied. */
int repair_add_write (struct repair_plan *plan, const void *bytes,
                      size_t len, uint64_t off, struct err *err,
                      const char *why, ...)
  __attribute__ ((__format__ (__printf__, 6, 7)));
int repair_add (struct repair_plan *plan, enum repair_kind kind,
                uint64_t len, uint64_t off, struct err *err,
                const char *why, ...)
  __attribute__ ((__format__ (__printf__, 6, 7)));

/* The last step need not be flushed before the next one. */
void repair_join_next (struct repair_plan *plan);

/* Append a range to plan->identity, as far as it is in the file. */
int repair_add_identity (struct repair_plan *plan, uint64_t off, uint64_t len,
                         struct err *err);

/* Nothing can be done. */
int repair_refuse (struct repair_plan *plan, struct err *err,
                   const char *why, ...)
  __attribute__ ((__format__ (__printf__, 3, 4)));

/* Leaks become steps: those in the midst of the file are punched.  One at the
 * end is cut off by the driver, which knows what comes behind it.
 */
int repair_add_punches (struct repair_plan *plan,
                        const struct file_ranges *leaks, uint64_t tail_off,
                        struct err *err);

#endif /* NBDIMAGE_FORMAT_REPAIR_H */
