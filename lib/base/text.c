/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/text.h"

/* The length of the clean character at s, 0 if there is none.  Reads no
 * further than a NUL: that is no continuation byte.
 */
static size_t
clean_length (const unsigned char *s)
{
  static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
  size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  uint32_t c;

  if (len == 1)
    return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
  if (s[0] < 0xc2 || s[0] > 0xf4)
    return 0;
  c = s[0] & (0x7fU >> len);
  for (size_t i = 1; i < len; ++i) {
    if ((s[i] & 0xc0) != 0x80)
      return 0;
    c = c << 6 | (s[i] & 0x3f);
  }
  if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
    return 0;
  /* U+0080 to U+009F are control characters too, and what changes the
   * direction of the text can make it read as something else.
   */
  if (c < 0xa0 || c == 0x2028 || c == 0x2029 ||
      (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
    return 0;
  return len;
}

bool
text_is_clean (const char *str)
{
  const unsigned char *s = (const unsigned char *) str;

  while (*s) {
    size_t n = clean_length (s);

    if (n == 0)
      return false;
    s += n;
  }
  return true;
}

const char *
text_clean (const char *str, char *buf, size_t size)
{
  const unsigned char *s = (const unsigned char *) str;
  size_t len = 0;

  while (*s) {
    size_t n = clean_length (s);

    if (len + (n ? n : 1) >= size)
      break;
    if (n > 0)
      memcpy (buf + len, s, n);
    else
      buf[len] = '?';
    len += n ? n : 1;
    s += n ? n : 1;
  }
  buf[len] = '\0';
  return buf;
}

static bool
is_one_of (char c, const char *letters)
{
  return c != '\0' && strchr (letters, tolower ((unsigned char) c)) != NULL;
}

static bool
is_spelled_out (const char *word)
{
  static const char vowels[] = "aeiou";

  if (isupper ((unsigned char) word[0]))
    return isupper ((unsigned char) word[1]);
  return word[0] != '\0' && !is_one_of (word[0], vowels) &&
    !is_one_of (word[1], vowels);
}

const char *
text_article (const char *word)
{
  return is_one_of (word[0], is_spelled_out (word) ? "aefhilmnorsx" : "aeiou")
    ? "an" : "a";
}

static bool
is_octal (char c)
{
  return c >= '0' && c <= '7';
}

void
text_unescape_octal (char *text)
{
  char *to = text;
  const char *p = text;

  while (*p != '\0')
    if (p[0] == '\\' && is_octal (p[1]) && is_octal (p[2]) &&
        is_octal (p[3])) {
      *to++ = (char) ((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
      p += 4;
    }
    else
      *to++ = *p++;
  *to = '\0';
}
