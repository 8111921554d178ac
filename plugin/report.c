/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "plugin/report.h"

/* NBD has few numbers, and nbdkit sends EINVAL ("the client asked for
 * nonsense") for all that it does not know.  Of what is left, a damaged
 * image and a lost connection are EIO: the data can't be had.
 */
static int
number_for_client (int code)
{
  switch (-code) {
  case EPERM:
  case EACCES:
  case EROFS:
    return EPERM;
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return ENOSPC;
  case EINVAL:
  case ENOMEM:
  case EOVERFLOW:
  case ESHUTDOWN:
  case ENOTSUP:
    return -code;
  default:
    return EIO;
  }
}

/* Sentences quote what a file says, and names have any bytes, a newline too,
 * which would make two messages of one.  NULL: out of memory.
 */
static char * __attribute__ ((__format__ (__printf__, 1, 0)))
clean_sentence (const char *fmt, va_list ap)
{
  CLEANUP_FREE char *raw = NULL;
  char *clean;
  size_t size;

  if (vasprintf (&raw, fmt, ap) < 0) {
    raw = NULL;
    return NULL;
  }
  size = strlen (raw) + 1;
  clean = malloc (size);
  if (clean)
    text_clean (raw, clean, size);
  return clean;
}

static bool silent;

void
plugin_start_begins (void)
{
  const char *start = getenv ("NBDIMAGE_START");

  silent = start != NULL && strcmp (start, "quiet") == 0;
}

void
plugin_start_ends (void)
{
  silent = false;
}

int
plugin_error (const char *fmt, ...)
{
  CLEANUP_FREE char *sentence = NULL;
  va_list ap;

  va_start (ap, fmt);
  sentence = clean_sentence (fmt, ap);
  va_end (ap);
  nbdkit_error ("%s", sentence ? sentence : "out of memory");
  return -1;
}

void
plugin_debug (const char *fmt, ...)
{
  CLEANUP_FREE char *sentence = NULL;
  va_list ap;

  va_start (ap, fmt);
  sentence = clean_sentence (fmt, ap);
  va_end (ap);
  if (sentence)
    nbdkit_debug ("%s", sentence);
}

/* In the background, without a terminal, nbdkit's messages go to syslog and
 * stderr to nobody.
 */
static bool
stderr_is_nobody (void)
{
  struct stat st, null;

  return fstat (STDERR_FILENO, &st) < 0 ||
    (stat ("/dev/null", &null) == 0 && S_ISCHR (st.st_mode) &&
     st.st_rdev == null.st_rdev);
}

/* nbdkit 1.32 has errors and debugging messages and nothing between.  It
 * would write "error: warning: ...", so that is done here; where only nbdkit
 * has somebody to tell, it still does.
 */
static void
put_line (const char *kind, const char *sentence)
{
  if (sentence == NULL || silent)
    return;
  if (stderr_is_nobody ())
    nbdkit_error ("%s%s", kind, sentence);
  else                          /* one write, however many threads speak */
    dprintf (STDERR_FILENO, "nbdkit: image: %s%s\n", kind, sentence);
}

void
plugin_warning (const char *fmt, ...)
{
  CLEANUP_FREE char *sentence = NULL;
  va_list ap;

  va_start (ap, fmt);
  sentence = clean_sentence (fmt, ap);
  va_end (ap);
  put_line ("warning: ", sentence);
}

void
plugin_note (const char *fmt, ...)
{
  CLEANUP_FREE char *sentence = NULL;
  va_list ap;

  va_start (ap, fmt);
  sentence = clean_sentence (fmt, ap);
  va_end (ap);
  put_line ("", sentence);
}

int
plugin_fail (const char *name, const struct err *err)
{
  if (name)
    plugin_error ("%s: %s", name, err->msg);
  else
    plugin_error ("%s", err->msg);
  nbdkit_set_error (number_for_client (err->code));
  return -1;
}

int
plugin_fail_quietly (const char *name, const struct err *err)
{
  plugin_debug ("%s: %s", name, err->msg);
  nbdkit_set_error (number_for_client (err->code));
  return -1;
}

void
plugin_warnings (struct report *said, struct report *fresh)
{
  size_t before = said->lines.len;

  report_move (said, fresh);
  for (size_t i = before; i < said->lines.len; ++i)
    plugin_warning ("%s", said->lines.ptr[i]);
}
