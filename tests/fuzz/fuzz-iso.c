/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images of CDs and DVDs: ISO 9660, UDF, El Torito, and whatever partition
 * tables they have besides.
 */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "tests/fuzz/fuzz.h"

#define BLOCK 2048
#define TAG_SIZE 16
#define CD_SECTOR 2352

static uint16_t
crc16 (const uint8_t *p, size_t len)
{
  uint32_t crc = 0;

  for (size_t i = 0; i < 8 * len; ++i) {
    uint32_t bit = p[i / 8] >> (7 - i % 8) & 1;

    crc = (crc << 1) ^ (((crc >> 15 & 1) ^ bit) ? 0x1021 : 0);
  }
  return (uint16_t) crc;
}

/* If it looks like a descriptor of UDF. */
static void
fix_tag (struct sparse *s, uint64_t n)
{
  uint8_t d[BLOCK], sum = 0;
  uint16_t tag, len;

  if (!range_fits (n, 1, s->size / BLOCK))
    return;
  sparse_read (s, d, sizeof d, n * BLOCK);
  tag = get_le16 (d);
  len = get_le16 (d + 10);
  if (tag == 0 || tag > 9 || len > BLOCK - TAG_SIZE)
    return;
  put_le16 (d + 8, crc16 (d + TAG_SIZE, len));
  put_le32 (d + 12, (uint32_t) n);
  for (unsigned i = 0; i < TAG_SIZE; ++i)
    sum = (uint8_t) (sum + (i == 4 ? 0 : d[i]));
  d[4] = sum;
  sparse_write (s, d, TAG_SIZE, n * BLOCK);
}

/* The words of the validation entry add up to zero. */
static void
fix_catalog (struct sparse *s, uint64_t n)
{
  uint8_t e[32];
  uint16_t sum = 0;

  if (!range_fits (n, 1, s->size / BLOCK))
    return;
  sparse_read (s, e, sizeof e, n * BLOCK);
  put_le16 (e + 28, 0);
  for (unsigned i = 0; i < sizeof e; i += 2)
    sum = (uint16_t) (sum + get_le16 (e + i));
  put_le16 (e + 28, (uint16_t) -sum);
  sparse_write (s, e, sizeof e, n * BLOCK);
}

/* The checksum of a raw sector of a CD that has one. */
static void
fix_sector (struct sparse *s, uint64_t n)
{
  uint8_t d[CD_SECTOR];
  size_t from, to;
  uint32_t edc = 0;

  if (!range_fits (n, 1, s->size / CD_SECTOR))
    return;
  sparse_read (s, d, sizeof d, n * CD_SECTOR);
  from = d[15] == 1 ? 0 : 16;
  to = d[15] == 1 ? 2064 : 2072;
  if (memcmp (d, "\0\xFF\xFF\xFF", 4) != 0 || get_le32 (d + to) == 0)
    return;
  for (size_t i = 8 * from; i < 8 * to; ++i) {
    uint32_t bit = d[i / 8] >> i % 8 & 1;

    edc = edc >> 1 ^ ((edc & 1) ^ bit ? UINT32_C (0xD8018001) : 0);
  }
  put_le32 (d + to, edc);
  sparse_write (s, d + to, 4, n * CD_SECTOR + to);
}

void
fuzz_fix (struct sparse *s)
{
  size_t records = s->records.len;
  uint8_t d[BLOCK];

  /* Descriptors are where records begin, give or take. */
  for (size_t i = 0; i < records && i < 64; ++i) {
    uint64_t n = s->records.ptr[i].off / BLOCK;

    if (n >= 32)
      fix_tag (s, n);
  }
  for (uint64_t n = 16; n < 24 && n < s->size / BLOCK; ++n) {
    sparse_read (s, d, sizeof d, n * BLOCK);
    if (memcmp (d, "\0CD001", 6) == 0)
      fix_catalog (s, get_le32 (d + 71));
  }
  for (size_t i = 0; i < records && i < 256; ++i)
    fix_sector (s, s->records.ptr[i].off / CD_SECTOR);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  struct sparse s;

  sparse_decode (data, len, &s);
  if (s.options & SPARSE_FIX)
    fuzz_fix (&s);
  fuzz_image (&s, "iso", NULL);
  sparse_free (&s);
  return 0;
}
