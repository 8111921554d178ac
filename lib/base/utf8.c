/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/utf8.h"

/* The length of the well-formed sequence at p, or 0. */
static size_t
sequence_at (const uint8_t *p, size_t len)
{
  size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 :
             p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;

  if (n > len)
    return 0;
  for (size_t i = 1; i < n; ++i)
    if ((p[i] & 0xC0) != 0x80)
      return 0;
  /* Overlong, surrogates, above U+10FFFF. */
  if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
      (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
    return 0;
  return n;
}

char *
utf8_repair (const void *buf, size_t len)
{
  const uint8_t *in = buf;
  /* One byte in becomes at most three out. */
  char *str = malloc (3 * len + 1), *p = str;

  if (str == NULL)
    return NULL;
  for (size_t i = 0; i < len && in[i] != 0;) {
    size_t n = sequence_at (in + i, len - i);

    memcpy (p, n ? (const char *) in + i : "\xEF\xBF\xBD", n ? n : 3);
    p += n ? n : 3;
    i += n ? n : 1;
  }
  *p = '\0';
  return str;
}
