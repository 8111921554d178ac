/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

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

static const int guid_order[UUID_SIZE] = { 3, 2, 1, 0, 5, 4, 7, 6,
                                           8, 9, 10, 11, 12, 13, 14, 15 };

void
guid_to_string (const uint8_t guid[UUID_SIZE], char str[UUID_STRING_SIZE])
{
  print_uuid (guid, guid_order, str);
}

static int
hex_digit (char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

bool
guid_from_string (const char *str, uint8_t guid[UUID_SIZE])
{
  bool braces = str[0] == '{';
  uint8_t bytes[UUID_SIZE];

  str += braces;
  for (int i = 0; i < UUID_SIZE; ++i) {
    int high, low;

    if ((i == 4 || i == 6 || i == 8 || i == 10) && *str++ != '-')
      return false;
    high = hex_digit (str[0]);
    low = high >= 0 ? hex_digit (str[1]) : -1;
    if (low < 0)
      return false;
    bytes[guid_order[i]] = (uint8_t) (high << 4 | low);
    str += 2;
  }
  if (strcmp (str, braces ? "}" : "") != 0)
    return false;
  memcpy (guid, bytes, UUID_SIZE);
  return true;
}

bool
uuid_is_zero (const uint8_t uuid[UUID_SIZE])
{
  for (int i = 0; i < UUID_SIZE; ++i)
    if (uuid[i] != 0)
      return false;
  return true;
}

int
uuid_new (uint8_t uuid[UUID_SIZE], struct err *err)
{
  /* Up to 256 bytes come whole or not at all. */
  if (getrandom (uuid, UUID_SIZE, 0) != UUID_SIZE)
    return err_sys (err, "getrandom");
  uuid[6] = (uint8_t) ((uuid[6] & 0x0F) | 0x40);
  uuid[8] = (uint8_t) ((uuid[8] & 0x3F) | 0x80);
  return 0;
}
