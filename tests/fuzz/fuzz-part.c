/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Raw disks with an MBR or a GPT, and what is served of disks whose format
 * is found by content.
 */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "tests/fuzz/fuzz.h"

#define MAX_ARRAY (64 * 1024)

static void
fix_array (struct sparse *s, uint8_t *header, uint32_t sector_size)
{
  static uint8_t array[MAX_ARRAY];
  uint64_t off, len = (uint64_t) get_le32 (header + 80) *
    get_le32 (header + 84);

  if (!checked_mul (get_le64 (header + 72), (uint64_t) sector_size, &off) ||
      !range_fits (off, len, s->size) || len > sizeof array)
    return;
  sparse_read (s, array, len, off);
  put_le32 (header + 88, crc32_update (0, array, len));
}

static void
fix_header (struct sparse *s, uint32_t sector_size, uint64_t lba)
{
  uint64_t off = lba * sector_size;
  uint8_t header[4096];

  if (!range_fits (off, sector_size, s->size))
    return;
  sparse_read (s, header, sector_size, off);
  if (memcmp (header, "EFI PART", 8) != 0 ||
      get_le32 (header + 12) > sector_size)
    return;
  fix_array (s, header, sector_size);
  put_le32 (header + 16, 0);
  put_le32 (header + 16, crc32_update (0, header, get_le32 (header + 12)));
  sparse_write (s, header, 92, off);
}

void
fuzz_fix (struct sparse *s)
{
  for (uint32_t size = 512; size <= 4096; size *= 8) {
    fix_header (s, size, 1);
    if (s->size >= 2 * size)
      fix_header (s, size, s->size / size - 1);
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  struct sparse s;
  struct block *block;

  sparse_decode (data, len, &s);
  if (s.options & SPARSE_FIX)
    fuzz_fix (&s);
  fuzz_image (&s, NULL, NULL);
  block = sparse_block ("fuzz", &s);
  if (s.options & SPARSE_SMALL_SECTORS)
    fuzz_partitions (block, 512);
  if (s.options & SPARSE_LARGE_SECTORS)
    fuzz_partitions (block, 4096);
  block_unref (block);
  sparse_free (&s);
  return 0;
}
