/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The place where the tools speak: "nbdimage: FILE: sentence" on stderr. */

#ifndef NBDIMAGE_TOOLS_REPORT_H
#define NBDIMAGE_TOOLS_REPORT_H

#include "lib/base/err.h"
#include "lib/base/report.h"

/* Print "nbdimage: NAME: sentence" (name NULL, or in front of the sentence
 * already: without) and return the exit status that goes with err:
 * STATUS_DAMAGED for -EBADMSG, STATUS_FAILED for the rest.
 */
int tool_fail (const char *name, const struct err *err);

/* Print "nbdimage: sentence". */
void tool_error (const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 1, 2)));
void tool_note (const char *fmt, ...)   /* good to know, and nothing wrong */
  __attribute__ ((__format__ (__printf__, 1, 2)));
void tool_warning (const char *fmt, ...)        /* "nbdimage: warning: …" */
  __attribute__ ((__format__ (__printf__, 1, 2)));

/* Print all lines of the report as warnings, with "NAME: " in front unless
 * it is there already or name is NULL, and empty the report.
 */
void tool_warnings (const char *name, struct report *report);

#endif /* NBDIMAGE_TOOLS_REPORT_H */
