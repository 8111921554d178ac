/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/uri.h"

static const char plain[] =
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";

char *
uri_encode (const char *str)
{
  static const char hex[] = "0123456789ABCDEF";
  char *out = malloc (3 * strlen (str) + 1), *p = out;

  if (out == NULL)
    return NULL;
  for (; *str; ++str) {
    unsigned char c = (unsigned char) *str;

    if (strchr (plain, c))
      *p++ = (char) c;
    else {
      *p++ = '%';
      *p++ = hex[c >> 4];
      *p++ = hex[c & 15];
    }
  }
  *p = '\0';
  return out;
}

/* RFC 3986 §3.1. */
bool
uri_has_scheme (const char *str)
{
  size_t n = 0;

  if (!isalpha ((unsigned char) str[0]))
    return false;
  while (isalnum ((unsigned char) str[n]) ||
         (str[n] && strchr ("+-.", str[n])))
    n++;
  return strncmp (str + n, "://", 3) == 0;
}
