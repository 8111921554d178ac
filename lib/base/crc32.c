/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <pthread.h>

#include "lib/base/crc32.h"

#define POLYNOMIAL UINT32_C (0xEDB88320)

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void
make_table (void)
{
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;

    for (int bit = 0; bit < 8; ++bit)
      c = c & 1 ? POLYNOMIAL ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
}

uint32_t
crc32_update (uint32_t crc, const void *buf, size_t len)
{
  const unsigned char *p = buf;

  pthread_once (&table_once, make_table);
  crc = ~crc;
  while (len-- > 0)
    crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
  return ~crc;
}
