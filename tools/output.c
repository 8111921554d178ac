/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/repo/store-at.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/report.h"

void
output_text (const char *str)
{
  size_t size = strlen (str) + 1;
  CLEANUP_FREE char *buf = malloc (size);

  if (buf)
    fputs (text_clean (str, buf, size), stdout);
}

void
output_generation (const char *vault, const char *disk, const char *time)
{
  size_t len = strcspn (vault, store_at_is_remote (vault) ? "?" : "");
  CLEANUP_FREE char *name = NULL;

  if (asprintf (&name, "%.*s/%s@%s%s", (int) len, vault, disk, time,
                vault + len) < 0) {
    name = NULL;
    return;
  }
  output_text (name);
}

/* Bytes of the UTF-8 sequence at p as its first byte has it; 0 for a byte
 * that begins none.  Whether the sequence is whole, jansson checks.
 */
static size_t
sequence_length (const unsigned char *p)
{
  if (p[0] < 0x80)
    return 1;
  if (p[0] >= 0xc2 && p[0] < 0xe0)
    return 2;
  if (p[0] >= 0xe0 && p[0] < 0xf0)
    return 3;
  if (p[0] >= 0xf0 && p[0] < 0xf5)
    return 4;
  return 0;
}

/* Every sequence that jansson refuses becomes U+FFFD. */
static json_t *
mended (const char *str)
{
  static const char replacement[] = "\xef\xbf\xbd";
  CLEANUP_FREE char *out = malloc (3 * strlen (str) + 1);
  char *to = out;

  if (out == NULL)
    return NULL;
  while (*str) {
    size_t n = sequence_length ((const unsigned char *) str);
    json_t *piece = NULL;

    if (n > 0 && strnlen (str, n) == n)
      piece = json_stringn (str, n);
    if (piece) {
      memcpy (to, str, n);
      to += n;
      str += n;
      json_decref (piece);
    }
    else {
      memcpy (to, replacement, 3);
      to += 3;
      str++;
    }
  }
  *to = '\0';
  return json_string (out);
}

/* Characters that mean nothing to any shell, whatever is around them. */
static bool
is_plain_word (const char *str)
{
  static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-./:@%+,";

  return *str != '\0' && str[strspn (str, plain)] == '\0';
}

char *
shell_word (const char *str)
{
  char *word, *p;

  if (is_plain_word (str))
    return strdup (str);
  word = p = malloc (4 * strlen (str) + 3);
  if (word == NULL)
    return NULL;
  *p++ = '\'';
  for (; *str; ++str) {
    if (*str == '\'')
      p = stpcpy (p, "'\\'");
    *p++ = *str;
  }
  stpcpy (p, "'");
  return word;
}

void
output_shell_word (const char *str)
{
  CLEANUP_FREE char *word = shell_word (str);

  output_text (word ? word : str);
}

json_t *
output_json_text (const char *str)
{
  json_t *json;

  if (str == NULL)
    return json_null ();
  json = json_string (str);
  return json ? json : mended (str);
}

json_t *
output_json_time (int64_t seconds)
{
  time_t t = (time_t) seconds;
  char str[64];
  struct tm tm;

  if (seconds < 0 || gmtime_r (&t, &tm) == NULL || tm.tm_year > 9999 - 1900)
    return json_null ();
  strftime (str, sizeof str, "%Y-%m-%dT%H:%M:%SZ", &tm);
  return json_string (str);
}

/* A failure is returned by one fflush only, which may have been that of a
 * message; then only the stream still knows of it, and nobody of the reason.
 */
int
output_finish (void)
{
  static bool said;

  if (fflush (stdout) != 0 && !said)
    tool_error ("writing the output: %s", strerror (errno));
  else if (ferror (stdout) && !said)
    tool_error ("writing the output failed");
  said = said || ferror (stdout);
  return ferror (stdout) ? STATUS_FAILED : STATUS_DONE;
}

int
output_json (json_t *json)
{
  int r;

  if (json == NULL) {
    tool_error ("out of memory");
    return STATUS_FAILED;
  }
  r = json_dumpf (json, stdout, JSON_INDENT (2));
  json_decref (json);
  putchar ('\n');
  if (output_finish () != STATUS_DONE)
    return STATUS_FAILED;
  if (r < 0)
    tool_error ("out of memory");
  return r < 0 ? STATUS_FAILED : STATUS_DONE;
}
