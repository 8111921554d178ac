/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Eight bytes at a time: with SSE 4.2 (or the CRC instructions of ARM, where
 * the compiler was told that they are there) in one instruction, otherwise
 * with eight tables.  Table k has the CRC of a byte that is followed by k
 * zero bytes, so that those of eight bytes side by side can be put together
 * without waiting for each other.
 */

#include <config.h>

#include <pthread.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"

#define POLYNOMIAL UINT32_C (0x82F63B78)

static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void
make_tables (void)
{
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;

    for (int bit = 0; bit < 8; ++bit)
      c = c & 1 ? POLYNOMIAL ^ (c >> 1) : c >> 1;
    tables[0][i] = c;
  }
  for (int k = 1; k < 8; ++k)
    for (uint32_t i = 0; i < 256; ++i)
      tables[k][i] = tables[k - 1][i] >> 8 ^
        tables[0][tables[k - 1][i] & 0xFF];
}

uint32_t
crc32c_update_by_table (uint32_t crc, const void *buf, size_t len)
{
  const unsigned char *p = buf;

  pthread_once (&tables_once, make_tables);
  crc = ~crc;
  for (; len >= 8; p += 8, len -= 8) {
    uint32_t low = get_le32 (p) ^ crc, high = get_le32 (p + 4);

    crc = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^
      tables[5][low >> 16 & 0xFF] ^ tables[4][low >> 24] ^
      tables[3][high & 0xFF] ^ tables[2][high >> 8 & 0xFF] ^
      tables[1][high >> 16 & 0xFF] ^ tables[0][high >> 24];
  }
  while (len-- > 0)
    crc = tables[0][(crc ^ *p++) & 0xFF] ^ crc >> 8;
  return ~crc;
}

#ifdef __x86_64__

__attribute__ ((__target__ ("sse4.2")))
static uint32_t
update_by_instruction (uint32_t crc, const void *buf, size_t len)
{
  const unsigned char *p = buf;
  uint64_t c = (uint32_t) ~crc;

  for (; len >= 8; p += 8, len -= 8)
    c = __builtin_ia32_crc32di (c, get_le64 (p));
  crc = (uint32_t) c;
  while (len-- > 0)
    crc = __builtin_ia32_crc32qi (crc, *p++);
  return ~crc;
}

uint32_t
crc32c_update (uint32_t crc, const void *buf, size_t len)
{
  if (__builtin_cpu_supports ("sse4.2"))
    return update_by_instruction (crc, buf, len);
  return crc32c_update_by_table (crc, buf, len);
}

#elif defined __ARM_FEATURE_CRC32

#include <arm_acle.h>

uint32_t
crc32c_update (uint32_t crc, const void *buf, size_t len)
{
  const unsigned char *p = buf;

  crc = ~crc;
  for (; len >= 8; p += 8, len -= 8)
    crc = __crc32cd (crc, get_le64 (p));
  while (len-- > 0)
    crc = __crc32cb (crc, *p++);
  return ~crc;
}

#else

uint32_t
crc32c_update (uint32_t crc, const void *buf, size_t len)
{
  return crc32c_update_by_table (crc, buf, len);
}

#endif
