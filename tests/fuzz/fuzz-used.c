/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What file systems use: every reader gets every input.  Whatever it says, it
 * is in order; all of it when it can't tell; and the same when asked again.
 */

#include <config.h>

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32.h"
#include "lib/base/crc32c.h"
#include "lib/fsmap/used.h"
#include "tests/fuzz/fuzz.h"

#define MAX_NODE 65536
/* A file system of terabytes takes its time, and finds nothing more. */
#define MAX_SIZE (UINT64_C (1) << 40)

/*--- checksums --------------------------------------------------------------*/

static void
fix_crc (struct sparse *s, uint64_t off, size_t len, size_t at)
{
  static uint8_t block[MAX_NODE];

  if (len > sizeof block || at + 4 > len || !range_fits (off, len, s->size))
    return;
  sparse_read (s, block, len, off);
  put_le32 (block + at, 0);
  put_le32 (block + at, crc32c_update (0, block, len));
  sparse_write (s, block + at, 4, off + at);
}

/* Of a btrfs the checksum is of what is behind it. */
static void
fix_btrfs (struct sparse *s, uint64_t off, size_t len)
{
  static uint8_t block[MAX_NODE];
  uint8_t crc[4];

  if (len > sizeof block || len < 32 || !range_fits (off, len, s->size))
    return;
  sparse_read (s, block, len, off);
  put_le32 (crc, crc32c_update (0, block + 32, len - 32));
  sparse_write (s, crc, sizeof crc, off);
}

static void
fix_exfat (struct sparse *s, unsigned shift)
{
  static uint8_t region[11 * 4096], sums[4096];
  size_t sector = (size_t) 1 << (shift & 15);
  uint32_t sum = 0;

  if (shift < 9 || shift > 12 || s->size < 12 * sector)
    return;
  sparse_read (s, region, 11 * sector, 0);
  for (size_t i = 0; i < 11 * sector; ++i)
    if (i != 106 && i != 107 && i != 112)
      sum = (sum << 31 | sum >> 1) + region[i];
  for (size_t i = 0; i < sector; i += 4)
    put_le32 (sums + i, sum);
  sparse_write (s, sums, sector, 11 * sector);
}

/* Both ends of both checkpoints, and the second superblock. */
static void
fix_f2fs (struct sparse *s, const uint8_t *boot)
{
  static uint8_t block[4096];
  uint32_t at = get_le32 (boot + 76);

  sparse_read (s, block, 3072, 1024);
  sparse_write (s, block, 3072, 4096 + 1024);
  for (unsigned i = 0; i < 2; ++i) {
    uint64_t off = (at + i * UINT64_C (512)) * 4096;

    if (!range_fits (off, sizeof block, s->size))
      return;
    sparse_read (s, block, sizeof block, off);
    put_le32 (block + 4092, ~crc32_update (~UINT32_C (0xf2f52010), block,
                                           4092));
    sparse_write (s, block, sizeof block, off);
    off += (get_le32 (block + 136) - UINT64_C (1)) % 512 * 4096;
    if (range_fits (off, sizeof block, s->size))
      sparse_write (s, block, sizeof block, off);
  }
}

/* Nodes are where records are: of those that there are before, as fixing adds
 * some.
 */
static void
fix_nodes (struct sparse *s, uint32_t unit, bool is_xfs)
{
  size_t nr = s->records.len;

  if (!is_power_of_2 (unit) || unit < 512 || unit > MAX_NODE)
    return;
  for (size_t i = 0; i < nr && i < 64; ++i) {
    uint64_t off = round_down (s->records.ptr[i].off, unit);
    uint8_t magic[4];

    if (!range_fits (off, unit, s->size))
      continue;
    sparse_read (s, magic, sizeof magic, off);
    if (is_xfs && memcmp (magic, "AB3B", 4) == 0)
      fix_crc (s, off, unit, 52);
    if (!is_xfs && off > 65536)
      fix_btrfs (s, off, unit);
  }
}

void
fuzz_fix (struct sparse *s)
{
  uint8_t boot[512] = { 0 }, super[256] = { 0 };

  if (s->size < 70000)
    return;
  sparse_read (s, boot, sizeof boot, 0);
  sparse_read (s, super, sizeof super, 65536);
  if (memcmp (boot + 3, "EXFAT   ", 8) == 0)
    fix_exfat (s, boot[108]);
  if (memcmp (boot, "XFSB", 4) == 0) {
    uint32_t sector = get_be16 (boot + 102);
    uint64_t group = (uint64_t) get_be32 (boot + 84) * get_be32 (boot + 4);

    fix_nodes (s, get_be32 (boot + 4), true);
    fix_crc (s, 0, sector, 224);
    for (uint64_t i = 0; i < 4 && i <= s->size / (group + 1); ++i)
      fix_crc (s, i * group + sector, sector, 216);
  }
  sparse_read (s, boot, 128, 1024);
  if (get_le32 (boot) == 0xf2f52010)
    fix_f2fs (s, boot);
  if (memcmp (super + 64, "_BHRfS_M", 8) == 0) {
    fix_nodes (s, get_le32 (super + 148), false);
    fix_btrfs (s, 65536, 4096);
  }
}

/*---------------------------------------------------------------------------*/

static void
check_map (const struct fs_used *used, uint64_t size)
{
  uint64_t end = 0;

  must (used->map.size == size);
  must (used_map_bytes (&used->map) == used->bytes);
  for (size_t i = 0; i < used->map.runs.len; ++i) {
    const struct used_run *run = &used->map.runs.ptr[i];

    must (i == 0 || run->off > end);
    must (run->len > 0 && range_fits (run->off, run->len, size));
    end = run->off + run->len;
  }
  must ((used->verdict == FS_USED_WHOLE) == (used->reason[0] != '\0'));
  must (used->verdict != FS_USED_WHOLE || used->bytes == size);
  must (used->unit > 0);
}

static void
look (struct block *block, const char *kind)
{
  CLEANUP_FS_USED struct fs_used first, again;
  struct err err = ERR_INIT;

  if (fs_used_as (block, kind, &first, NULL, &err) < 0 ||
      fs_used_as (block, kind, &again, NULL, &err) < 0)
    fuzz_failed (kind, __FILE__, __LINE__);
  check_map (&first, block_size (block));
  must (first.verdict == again.verdict);
  must (strcmp (first.reason, again.reason) == 0);
  must (first.map.runs.len == again.map.runs.len);
  must (first.map.runs.len == 0 ||
        memcmp (first.map.runs.ptr, again.map.runs.ptr,
                first.map.runs.len * sizeof *first.map.runs.ptr) == 0);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  static const char *const kinds[] = { "ext4", "ntfs", "vfat", "exfat", "xfs",
                                       "btrfs", "f2fs", "swap" };
  struct block *block;
  struct sparse s;

  sparse_decode (data, len, &s);
  if (s.size <= MAX_SIZE) {
    if (s.options & SPARSE_FIX)
      fuzz_fix (&s);
    block = sparse_block ("fuzz", &s);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i)
      look (block, kinds[i]);
    block_unref (block);
  }
  sparse_free (&s);
  return 0;
}
