/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/words.h"

static int __attribute__ ((__format__ (__printf__, 3, 0)))
add_formatted (struct words *words, struct err *err, const char *fmt,
               va_list ap)
{
  char *word;

  if (vasprintf (&word, fmt, ap) < 0)
    return err_nomem (err);
  if (vector_append (words, &word) < 0) {
    free (word);
    return err_nomem (err);
  }
  return 0;
}

int
words_add (struct words *words, struct err *err, const char *fmt, ...)
{
  va_list ap;
  int r;

  va_start (ap, fmt);
  r = add_formatted (words, err, fmt, ap);
  va_end (ap);
  return r;
}

int
words_option (struct words *words, struct err *err, const char *option,
              const char *fmt, ...)
{
  va_list ap;
  int r = words_add (words, err, "%s", option);

  if (r < 0)
    return r;
  va_start (ap, fmt);
  r = add_formatted (words, err, fmt, ap);
  va_end (ap);
  return r;
}

int
words_end (struct words *words, struct err *err)
{
  char *const end = NULL;

  return vector_append (words, &end) < 0 ? err_nomem (err) : 0;
}

void
words_free (struct words *words)
{
  for (size_t i = 0; i < words->len; ++i)
    free (words->ptr[i]);
  vector_free (words);
}
