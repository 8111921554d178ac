/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"

int
err_set (struct err *err, int code, const char *fmt, ...)
{
  va_list ap;

  assert (code < 0);
  if (err == NULL)
    return code;
  err->code = code;
  va_start (ap, fmt);
  vsnprintf (err->msg, sizeof err->msg, fmt, ap);
  va_end (ap);
  return code;
}

int
err_sys (struct err *err, const char *fmt, ...)
{
  int code = errno > 0 ? -errno : -EIO;
  char reason[128];
  size_t len;
  va_list ap;

  if (err == NULL)
    return code;
  err->code = code;
  va_start (ap, fmt);
  vsnprintf (err->msg, sizeof err->msg, fmt, ap);
  va_end (ap);
  len = strlen (err->msg);
  snprintf (err->msg + len, sizeof err->msg - len, ": %s",
            strerror_r (-code, reason, sizeof reason));
  return code;
}

int
err_in (struct err *err, const char *fmt, ...)
{
  char inner[ERR_MSG_SIZE];
  size_t len;
  va_list ap;

  if (err == NULL)
    return -EIO;
  memcpy (inner, err->msg, sizeof inner);
  va_start (ap, fmt);
  vsnprintf (err->msg, sizeof err->msg, fmt, ap);
  va_end (ap);
  len = strlen (err->msg);
  snprintf (err->msg + len, sizeof err->msg - len, ": %s", inner);
  return err->code < 0 ? err->code : -EIO;
}

int
err_code (struct err *err, int code)
{
  if (err)
    err->code = code;
  return code;
}

int
err_nomem (struct err *err)
{
  return err_set (err, -ENOMEM, "out of memory");
}
