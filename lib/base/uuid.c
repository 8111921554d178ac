/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>

#include "lib/base/uuid.h"

static void
print_uuid (const uint8_t *u, const int order[UUID_SIZE],
            char str[UUID_STRING_SIZE])
{
  char *p = str;

  for (int i = 0; i < UUID_SIZE; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      *p++ = '-';
    p += sprintf (p, "%02x", u[order[i]]);
  }
}

void
uuid_to_string (const uint8_t uuid[UUID_SIZE], char str[UUID_STRING_SIZE])
{
  static const int order[UUID_SIZE] = { 0, 1, 2, 3, 4, 5, 6, 7,
                                        8, 9, 10, 11, 12, 13, 14, 15 };

  print_uuid (uuid, order, str);
}

void
guid_to_string (const uint8_t guid[UUID_SIZE], char str[UUID_STRING_SIZE])
{
  static const int order[UUID_SIZE] = { 3, 2, 1, 0, 5, 4, 7, 6,
                                        8, 9, 10, 11, 12, 13, 14, 15 };

  print_uuid (guid, order, str);
}

bool
uuid_is_zero (const uint8_t uuid[UUID_SIZE])
{
  for (int i = 0; i < UUID_SIZE; ++i)
    if (uuid[i] != 0)
      return false;
  return true;
}
