/* SPDX-License-Identifier: GPL-2.0-or-later */

/* System calls and allocations that fail when they are told to, and images
 * to try them on.  For programs of one thread that link with WRAP_FOR_FAULTS
 * (tests/unit/Makemodule.am), by which the calls in lib/ come here first.
 */

#ifndef NBDIMAGE_TESTS_FAULT_H
#define NBDIMAGE_TESTS_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/format/image.h"

enum fault_kind {
  FAULT_NONE,                   /* just count */
  FAULT_EIO,                    /* this system call fails */
  FAULT_EIO_FROM,               /* this one and all after it */
  FAULT_EOF,                    /* this read finds the end of the file */
  FAULT_PARTIAL,                /* this read gives half of what there is */
  FAULT_EINTR,                  /* this read or write is interrupted */
  FAULT_MEMORY,                 /* this allocation fails */
  FAULT_MEMORY_FROM,            /* this one and all after it */
  FAULT_ENOSPC,                 /* this write finds no space; half is written */
  FAULT_ENOSPC_FROM,            /* this one and all after it */
  FAULT_SHORT,                  /* this write does half */
  FAULT_SYNC,                   /* this flush of the file fails */
};

/* From now on, call number n (from 1) of those that the kind is about. */
void fault_arm (enum fault_kind kind, unsigned n);

/* No more faults.  Returns how many such calls there were. */
unsigned fault_disarm (void);

/* None meanwhile, and calls are not counted: for what the test itself does. */
void fault_pause (void);
void fault_resume (void);

/* How many such calls there were until now. */
unsigned fault_count (void);

/* For the wrappers: count a call that some kinds are about, each with its bit
 * in the mask.  Does it fail?
 */
#define FAULT_BIT(kind) (1U << (kind))
bool fault_here (unsigned kinds);

/* How many descriptors are open. */
unsigned fault_nr_fds (void);

/*--- fault-writes.c ---------------------------------------------------------*/

/* Calls that write.  For programs that link with WRAP_FOR_WRITE_FAULTS too.
 */

/* How many flushes of files failed, since the program began. */
unsigned fault_failed_syncs (void);

/*--- fault-subject.c --------------------------------------------------------*/

/* The images that the corpora of tests/fuzz/ began with, as files in a folder
 * of their own, with the parents that some have.
 */
struct fault_subject {
  char *path;
};

/* Calls run for each of them; FORMAT is a folder of the corpus.  Returns how
 * many there were; the program ends if it can't make them.
 */
unsigned fault_for_each (const char *format,
                         void (*run) (const struct fault_subject *subject));

/* What there is to do with an image.  Each returns 0 or a negative errno, and
 * a text, to be freed, that says all of what was found; NULL if it failed.
 * Allocations for the text itself do not count.
 */
struct fault_op {
  const char *name;
  int (*run) (struct image *img, char **text, struct report *report,
              struct err *err);
};

extern const struct fault_op fault_ops[];       /* ends with a NULL name */

#endif /* NBDIMAGE_TESTS_FAULT_H */
