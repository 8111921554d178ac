/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/report.h"

/* Takes the line over. */
static void
add_line (struct report *report, char *line)
{
  for (size_t i = 0; i < report->lines.len; ++i)
    if (strcmp (report->lines.ptr[i], line) == 0) {
      free (line);
      return;
    }
  if (vector_append (&report->lines, &line) < 0)
    free (line);
}

void
report_warn (struct report *report, const char *fmt, ...)
{
  char *line;
  va_list ap;
  int r;

  if (report == NULL)
    return;
  va_start (ap, fmt);
  r = vasprintf (&line, fmt, ap);
  va_end (ap);
  if (r >= 0)
    add_line (report, line);
}

void
report_move (struct report *to, struct report *from)
{
  if (to == NULL || from == NULL)
    return;
  for (size_t i = 0; i < from->lines.len; ++i)
    add_line (to, from->lines.ptr[i]);
  vector_free (&from->lines);
}

void
report_free (struct report *report)
{
  if (report == NULL)
    return;
  for (size_t i = 0; i < report->lines.len; ++i)
    free (report->lines.ptr[i]);
  vector_free (&report->lines);
}
