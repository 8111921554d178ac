/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/checked.h"
#include "lib/base/size.h"

static const char units[] = "BKMGTPE";

/* "", "K", "k", "KiB", "B" → the power of 1024, or -1. */
static int
unit_power (const char *unit)
{
  const char *u;

  if (*unit == '\0')
    return 0;
  u = strchr (units, toupper ((unsigned char) *unit));
  if (u == NULL)
    return -1;
  if (unit[1] != '\0' && (u == units || strcasecmp (unit + 1, "iB") != 0))
    return -1;
  return (int) (u - units);
}

int
size_parse (const char *str, uint64_t *bytes, struct err *err)
{
  uint64_t n, unit = 1;
  char *end;
  int power;

  errno = 0;
  n = strtoull (str, &end, 10);
  if (!isdigit ((unsigned char) *str) || errno != 0)
    return err_set (err, -EINVAL, "‘%s’ is not a size; expected a number of "
                    "bytes, or one with K, M, G, T, P or E behind it", str);
  if (*end == '.' || *end == ',')
    return err_set (err, -EINVAL, "‘%s’ is not a whole number; say it in a "
                    "smaller unit (1536M for one and a half G)", str);
  power = unit_power (end);
  if (power < 0)
    return err_set (err, -EINVAL, "‘%s’ is not a unit of size in ‘%s’; "
                    "expected K, M, G, T, P or E", end, str);
  unit <<= 10 * power;
  if (!checked_mul (n, unit, &n))
    return err_set (err, -EINVAL, "the size ‘%s’ is larger than 16 EiB", str);
  *bytes = n;
  return 0;
}

const char *
size_to_string (uint64_t bytes, char str[SIZE_STRING_SIZE])
{
  uint64_t unit = 1, whole, tenths;
  int power = 0;

  while (bytes / unit >= 1024 && power < 6) {
    unit <<= 10;
    power++;
  }
  whole = bytes / unit;
  /* The remainder is below 2^60, so that times ten still fits. */
  tenths = bytes % unit * 10 / unit;
  if (power == 0)
    snprintf (str, SIZE_STRING_SIZE, "%" PRIu64 " B", whole);
  else if (tenths == 0)
    snprintf (str, SIZE_STRING_SIZE, "%" PRIu64 " %ciB", whole, units[power]);
  else
    snprintf (str, SIZE_STRING_SIZE, "%" PRIu64 ".%" PRIu64 " %ciB",
              whole, tenths, units[power]);
  return str;
}
