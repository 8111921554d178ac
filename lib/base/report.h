/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the library noticed and could work around: warnings travel up in
 * one of these and are spoken by the plugin's log or the tool's stderr.
 * A report belongs to one thread at a time; every function accepts NULL.
 */

#ifndef NBDIMAGE_BASE_REPORT_H
#define NBDIMAGE_BASE_REPORT_H

#include "lib/base/vector.h"

DEFINE_VECTOR (report_lines, char *);

struct report {
  struct report_lines lines;    /* one sentence each, owned by the report */
};

#define REPORT_INIT { VECTOR_INIT }

/* Add a sentence: file, structure, offset, found, expected, and what was
 * done about it.  The same sentence is kept only once.  Out of memory loses
 * the sentence, nothing else.
 */
void report_warn (struct report *report, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3)));

/* Move all lines from one report to the end of another. */
void report_move (struct report *to, struct report *from);

void report_free (struct report *report);

#define CLEANUP_REPORT __attribute__ ((__cleanup__ (report_free)))

#endif /* NBDIMAGE_BASE_REPORT_H */
