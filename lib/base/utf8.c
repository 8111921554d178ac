/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

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

/* The locale of the process may be any, and what letters are is asked in one
 * that knows them all; it stays as long as the process does.  NULL if the
 * system has none: then only ASCII letters have a case.
 */
static locale_t letters;

static void
load_letters (void)
{
  letters = newlocale (LC_CTYPE_MASK, "C.UTF-8", NULL);
}

static wint_t
upper (uint32_t c)
{
  if (c < 0x80)
    return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
  return letters && c <= 0x10FFFF ? towupper_l (c, letters) : c;
}

size_t
utf8_decode (const char *str, uint32_t *c)
{
  const uint8_t *s = (const uint8_t *) str;
  size_t n = sequence_at (s, strnlen (str, 4));

  if (n == 0)
    return 0;
  *c = n == 1 ? s[0] : s[0] & (0x7FU >> n);
  for (size_t i = 1; i < n; ++i)
    *c = *c << 6 | (s[i] & 0x3F);
  return n;
}

/* The character at *p, which is not the end, and a step forward.  A byte that
 * belongs to none is a number that no character has.
 */
static uint32_t
next_character (const char **p)
{
  uint32_t c = 0;
  size_t n = utf8_decode (*p, &c);

  if (n == 0)
    c = 0x110000 + (uint8_t) **p;
  *p += n ? n : 1;
  return c;
}

bool
utf8_same_but_case (const char *a, const char *b)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, load_letters);
  while (*a && *b)
    if (upper (next_character (&a)) != upper (next_character (&b)))
      return false;
  return *a == *b;
}
