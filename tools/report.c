/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "tools/command.h"
#include "tools/report.h"

static bool
begins_with (const char *sentence, const char *name)
{
  size_t len = strlen (name);

  return strncmp (sentence, name, len) == 0 &&
    strncmp (sentence + len, ": ", 2) == 0;
}

/* Where several files make an image, the library names the one it speaks
 * of; that may be the one that was typed.  nbdkit's sentences have it
 * cleaned.
 */
static bool
names_itself (const char *sentence, const char *name)
{
  size_t size = strlen (name) + 1;
  CLEANUP_FREE char *clean = malloc (size);

  return begins_with (sentence, name) ||
    (clean && begins_with (sentence, text_clean (name, clean, size)));
}

/* Names and labels come from files: what would steer the terminal is shown
 * as a question mark.
 */
static void
put_sentence (const char *prefix, const char *name, const char *sentence)
{
  CLEANUP_FREE char *line = NULL;
  CLEANUP_FREE char *clean = NULL;
  size_t size;

  if (name != NULL && (*name == '\0' || names_itself (sentence, name)))
    name = NULL;
  if (asprintf (&line, "nbdimage: %s%s%s%s", prefix, name ? name : "",
                name ? ": " : "", sentence) < 0) {
    line = NULL;
    return;
  }
  size = strlen (line) + 1;
  clean = malloc (size);
  fflush (stdout);
  if (clean)
    fprintf (stderr, "%s\n", text_clean (line, clean, size));
}

int
tool_fail (const char *name, const struct err *err)
{
  put_sentence ("", name, err->msg);
  return err->code == -EBADMSG ? STATUS_DAMAGED : STATUS_FAILED;
}

static void __attribute__ ((__format__ (__printf__, 2, 0)))
put_formatted (const char *prefix, const char *fmt, va_list ap)
{
  CLEANUP_FREE char *sentence = NULL;

  if (vasprintf (&sentence, fmt, ap) < 0)
    sentence = NULL;
  put_sentence (prefix, NULL, sentence ? sentence : "out of memory");
}

void
tool_error (const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  put_formatted ("", fmt, ap);
  va_end (ap);
}

void
tool_note (const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  put_formatted ("", fmt, ap);
  va_end (ap);
}

void
tool_warning (const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  put_formatted ("warning: ", fmt, ap);
  va_end (ap);
}

void
tool_warnings (const char *name, struct report *report)
{
  for (size_t i = 0; i < report->lines.len; ++i)
    put_sentence ("warning: ", name, report->lines.ptr[i]);
  report_free (report);
}
