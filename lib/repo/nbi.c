/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/utf8.h"
#include "lib/repo/nbi.h"

static void
say (struct err *err, int rule, const char *fmt, va_list ap)
{
  char text[ERR_MSG_SIZE - 16];

  vsnprintf (text, sizeof text, fmt, ap);
  err_set (err, -EBADMSG, "%s (NBI-%d)", text, rule);
}

int
nbi_refuse (struct err *err, int rule, const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  say (err, rule, fmt, ap);
  va_end (ap);
  return -EBADMSG;
}

int
nbi_beyond (struct err *err, int rule, const char *fmt, ...)
{
  va_list ap;

  va_start (ap, fmt);
  say (err, rule, fmt, ap);
  va_end (ap);
  return err_code (err, -ENOTSUP);
}

int
nbi_refuse_as (struct err *err, int rule, const char *prefix,
               const struct err *why)
{
  int code = why->code;

  nbi_refuse (err, rule, "%s: %s", prefix, why->msg);
  if (err)
    err_code (err, code);
  return code;
}

bool
nbi_is_zeros (const uint8_t *buf, size_t len)
{
  return len == 0 || (buf[0] == 0 && memcmp (buf, buf + 1, len - 1) == 0);
}

int
nbi_check_zeros (const uint8_t *buf, size_t off, size_t len, const char *what,
                 struct err *err)
{
  if (nbi_is_zeros (buf + off, len))
    return 0;
  return nbi_refuse (err, 1, "%s: not only zeros in bytes %zu to %zu", what,
                     off, off + len - 1);
}

bool
nbi_text_is_right (const char *text, size_t size)
{
  static const struct {
    uint32_t first, last;
  } refused[] = {
    { 0x0001, 0x001f }, { 0x007f, 0x009f }, { 0x00ad, 0x00ad },
    { 0x061c, 0x061c }, { 0x200b, 0x200f }, { 0x2028, 0x202e },
    { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb },
    { 0xe0000, 0xe0fff },
  };
  size_t len = strnlen (text, size), pos = 0;

  if (len == size || !nbi_is_zeros ((const uint8_t *) text + len, size - len))
    return false;
  while (pos < len) {
    uint32_t c;
    size_t n = utf8_decode (text + pos, &c);

    if (n == 0)
      return false;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; ++i)
      if (c >= refused[i].first && c <= refused[i].last)
        return false;
    pos += n;
  }
  return true;
}
