/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf16.h"
#include "lib/base/utf8.h"

#define REPLACEMENT 0xFFFD

static uint32_t
unit_at (const uint8_t *p, enum utf16_order order)
{
  return order == UTF16_BE ? get_be16 (p) : get_le16 (p);
}

/* Decodes the code point at p, of which len >= 2 bytes are left, and says
 * how many bytes it took.
 */
static uint32_t
code_point_at (const uint8_t *p, size_t len, enum utf16_order order,
               size_t *used)
{
  uint32_t u = unit_at (p, order), low;

  *used = 2;
  if (u < 0xD800 || u > 0xDFFF)
    return u;
  if (u > 0xDBFF || len < 4)
    return REPLACEMENT;
  low = unit_at (p + 2, order);
  if (low < 0xDC00 || low > 0xDFFF)
    return REPLACEMENT;
  *used = 4;
  return 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
}

static char *
put_utf8 (char *p, uint32_t c)
{
  if (c < 0x80)
    *p++ = (char) c;
  else if (c < 0x800) {
    *p++ = (char) (0xC0 | c >> 6);
    *p++ = (char) (0x80 | (c & 0x3F));
  }
  else if (c < 0x10000) {
    *p++ = (char) (0xE0 | c >> 12);
    *p++ = (char) (0x80 | (c >> 6 & 0x3F));
    *p++ = (char) (0x80 | (c & 0x3F));
  }
  else {
    *p++ = (char) (0xF0 | c >> 18);
    *p++ = (char) (0x80 | (c >> 12 & 0x3F));
    *p++ = (char) (0x80 | (c >> 6 & 0x3F));
    *p++ = (char) (0x80 | (c & 0x3F));
  }
  return p;
}

char *
utf16_to_utf8 (const void *buf, size_t len, enum utf16_order order)
{
  const uint8_t *in = buf;
  /* Two bytes in become at most three out. */
  char *str = malloc (len / 2 * 3 + 1), *p = str;
  size_t used;

  if (str == NULL)
    return NULL;
  for (size_t i = 0; i + 2 <= len; i += used) {
    uint32_t c = code_point_at (in + i, len - i, order, &used);

    if (c == 0)
      break;
    p = put_utf8 (p, c);
  }
  *p = '\0';
  return str;
}

static uint8_t *
put_unit (uint8_t *p, uint32_t unit, enum utf16_order order)
{
  if (order == UTF16_BE)
    put_be16 (p, (uint16_t) unit);
  else
    put_le16 (p, (uint16_t) unit);
  return p + 2;
}

int
utf16_from_utf8 (const char *str, enum utf16_order order, uint8_t **out,
                 size_t *len, struct err *err)
{
  /* One byte in becomes at most two out. */
  CLEANUP_FREE uint8_t *units = malloc (2 * strlen (str) + 1);
  uint8_t *p = units;

  if (units == NULL)
    return err_nomem (err);
  while (*str) {
    uint32_t c;
    size_t n = utf8_decode (str, &c);

    if (n == 0)
      return err_set (err, -EINVAL, "‘%s’ is not UTF-8", str);
    if (c >= 0x10000) {
      p = put_unit (p, 0xD800 + ((c - 0x10000) >> 10), order);
      c = 0xDC00 + (c & 0x3FF);
    }
    p = put_unit (p, c, order);
    str += n;
  }
  *len = (size_t) (p - units);
  *out = steal_ptr (&units);
  return 0;
}
