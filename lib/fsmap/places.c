/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where file systems keep what names them.
 *
 * Nearly all signatures lie in the first 2 MiB (VMFS begins right there) or
 * the last 2 MiB (RAID metadata, ZFS, the backups of nilfs2 and others).
 * Besides, as libblkid reads them:
 *   LUKS2      copies of its header at powers of 2 up to 4 MiB
 *   NTFS       the label in record 3 of the $MFT, and its mirror for proof
 *   FAT        the label in the root directory; in FAT32 a chain of clusters
 *   exFAT      the same
 *   BitLocker  three copies of metadata
 *   UDF        volume descriptors, named by an anchor; and the integrity
 *              descriptor that they name
 * Not looked for: the label of HFS+, which is in its catalogue; if that is
 * beyond 2 MiB such a file system is named without its label.
 *
 * Each function gets the head of the block, the first HEAD_SIZE bytes.
 */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/fsmap/places.h"

#define HEAD_SIZE 512           /* a boot sector */
#define ENDS_SIZE (2 * 1024 * 1024)
#define MAX_ROOT (8 * 1024 * 1024)      /* of a FAT root directory */
#define MAX_CLUSTERS 1024       /* of it */
#define PAGE 4096

/* number × unit, or beyond any disk. */
static uint64_t
times (uint64_t number, uint64_t unit)
{
  uint64_t off;

  return checked_mul (number, unit, &off) ? off : UINT64_MAX;
}

/*--- NTFS and BitLocker ----------------------------------------------------*/

static int
copy_ntfs (struct sparse_copy *copy, const uint8_t *head, struct err *err)
{
  uint32_t sector = get_le16 (head + 11), cluster;
  uint8_t per_cluster = head[13];
  int r;

  if (memcmp (head + 3, "NTFS    ", 8) != 0)
    return 0;
  /* Above 128, the logarithm, negative. */
  if (per_cluster <= 128)
    cluster = sector * per_cluster;
  else if (per_cluster >= 256 - 15)
    cluster = sector << (256 - per_cluster);
  else
    return 0;
  /* $MFT and $MFTMirr; record 3 ends within 64 KiB. */
  r = sparse_copy_range (copy, times (get_le64 (head + 48), cluster), 65536,
                         err);
  if (r < 0)
    return r;
  return sparse_copy_range (copy, times (get_le64 (head + 56), cluster),
                            65536, err);
}

static int
copy_bitlocker (struct sparse_copy *copy, const uint8_t *head,
                struct err *err)
{
  size_t offsets;
  int r = 0;

  if (memcmp (head + 3, "-FVE-FS-", 8) == 0)
    offsets = 176;
  else if (memcmp (head + 3, "MSWIN4.1", 8) == 0)
    offsets = 440;              /* BitLocker To Go */
  else
    return 0;
  for (unsigned i = 0; i < 3 && r == 0; ++i)
    r = sparse_copy_range (copy, get_le64 (head + offsets + 8 * i), PAGE,
                           err);
  return r;
}

/*--- FAT and exFAT ---------------------------------------------------------*/

/* A root directory that is a chain in a table of 32-bit entries. */
struct chain {
  uint64_t table, data;         /* offsets: entry 0; cluster 2 */
  uint64_t cluster;             /* bytes */
  uint32_t first, mask, end;    /* entries & mask; end and above: no more */
};

static int
copy_chain (struct sparse_copy *copy, const struct chain *c, struct err *err)
{
  uint32_t number = c->first;
  uint64_t left = MAX_ROOT;

  for (unsigned i = 0; i < MAX_CLUSTERS && left > 0; ++i) {
    uint64_t entry = c->table + (uint64_t) number * 4;
    uint64_t len = min_u64 (c->cluster, left);
    uint8_t next[4];
    int r;

    if (number < 2 || number >= c->end || !range_fits (entry, 4, copy->size))
      return 0;
    r = sparse_copy_range (copy, c->data + (number - 2) * c->cluster, len,
                           err);
    if (r == 0)
      r = sparse_copy_range (copy, round_down (entry, PAGE), PAGE, err);
    if (r == 0)
      r = block_pread (copy->from, next, sizeof next, entry, err);
    if (r < 0)
      return r;
    number = get_le32 (next) & c->mask;
    left -= len;
  }
  return 0;
}

static int
copy_fat (struct sparse_copy *copy, const uint8_t *head, struct err *err)
{
  uint32_t sector = get_le16 (head + 11), reserved = get_le16 (head + 14);
  uint32_t root_entries = get_le16 (head + 17), fats = head[16];
  uint32_t fat16 = get_le16 (head + 22), fat32 = get_le32 (head + 36);
  uint64_t fat_end = ((uint64_t) fats * (fat16 ? fat16 : fat32) + reserved) *
                     sector;
  struct chain root = {
    .table = (uint64_t) reserved * sector,
    .data = fat_end,
    .cluster = head[13] * sector,
    .first = get_le32 (head + 44),
    .mask = 0x0FFFFFFF,
    .end = 0x0FFFFFF7,
  };
  int r;

  if (!is_power_of_2 (sector) || sector < 512 || sector > 4096 ||
      !is_power_of_2 (head[13]) || reserved == 0 || fats == 0)
    return 0;
  if (fat16 != 0)
    return sparse_copy_range (copy, fat_end, root_entries * 32, err);
  r = sparse_copy_range (copy, (uint64_t) get_le16 (head + 48) * sector, PAGE,
                         err);
  return r < 0 ? r : copy_chain (copy, &root, err);
}

static int
copy_exfat (struct sparse_copy *copy, const uint8_t *head, struct err *err)
{
  unsigned sector_shift = head[108], cluster_shift = head[109];
  struct chain root = {
    .table = (uint64_t) get_le32 (head + 80) << (sector_shift & 15),
    .data = (uint64_t) get_le32 (head + 88) << (sector_shift & 15),
    .cluster = UINT64_C (1) << ((sector_shift + cluster_shift) & 31),
    .first = get_le32 (head + 96),
    .mask = UINT32_MAX,
    .end = 0xFFFFFFF7,
  };

  if (memcmp (head + 3, "EXFAT   ", 8) != 0 || sector_shift < 9 ||
      sector_shift > 12 || sector_shift + cluster_shift > 25)
    return 0;
  return copy_chain (copy, &root, err);
}

/*--- UDF -------------------------------------------------------------------*/

#define UDF_TAG_ANCHOR 2
#define UDF_TAG_LOGICAL_VOLUME 6
#define UDF_TAG_TERMINATOR 8
#define UDF_MAX_DESCRIPTORS 64

/* Copy the sequence of volume descriptors at `block`, and the integrity
 * descriptors that one of them names.
 */
static int
copy_udf_sequence (struct sparse_copy *copy, uint32_t block, uint32_t len,
                   uint32_t bs, struct err *err)
{
  uint8_t d[512];
  int r = 0;

  for (unsigned i = 0; i < UDF_MAX_DESCRIPTORS && i < len / bs && r == 0;
       ++i) {
    uint64_t off = ((uint64_t) block + i) * bs;

    if (!range_fits (off, sizeof d, copy->size))
      break;
    r = block_pread (copy->from, d, sizeof d, off, err);
    if (r == 0)
      r = sparse_copy_range (copy, off, bs, err);
    if (r == 0 && get_le16 (d) == UDF_TAG_LOGICAL_VOLUME)
      r = sparse_copy_range (copy, (uint64_t) get_le32 (d + 436) * bs,
                             min_u64 (get_le32 (d + 432), 65536), err);
    if (get_le16 (d) == UDF_TAG_TERMINATOR)
      break;
  }
  return r;
}

static int
copy_udf_anchor (struct sparse_copy *copy, uint64_t block, uint32_t bs,
                 struct err *err)
{
  uint64_t off = times (block, bs);
  uint8_t a[32];
  int r;

  if (!range_fits (off, bs, copy->size))
    return 0;
  r = block_pread (copy->from, a, sizeof a, off, err);
  if (r < 0 || get_le16 (a) != UDF_TAG_ANCHOR ||
      get_le32 (a + 12) != (uint32_t) block)
    return r;
  r = sparse_copy_range (copy, off, bs, err);
  for (unsigned i = 0; i < 2 && r == 0; ++i)
    r = copy_udf_sequence (copy, get_le32 (a + 20 + 8 * i),
                           get_le32 (a + 16 + 8 * i), bs, err);
  return r;
}

/* Is there one of the descriptors that announce UDF? */
static int
announces_udf (struct sparse_copy *copy, bool *udf, struct err *err)
{
  uint8_t d[6];
  int r = 0;

  *udf = false;
  for (uint64_t off = 32768; r == 0 && !*udf && off < 32768 + 64 * 2048;
       off += 2048) {
    if (!range_fits (off, sizeof d, copy->size))
      break;
    r = block_pread (copy->from, d, sizeof d, off, err);
    *udf = r == 0 && memcmp (d + 1, "NSR0", 4) == 0;
  }
  return r;
}

static int
copy_udf (struct sparse_copy *copy, struct err *err)
{
  bool udf;
  int r = announces_udf (copy, &udf, err);

  if (r < 0 || !udf)
    return r;
  for (uint32_t bs = 512; bs <= 4096; bs *= 2) {
    uint64_t blocks = copy->size / bs;
    uint64_t anchors[] = { 256, 512, blocks - 257, blocks - 1 };

    for (unsigned i = 0; i < 4 && r == 0; ++i)
      r = copy_udf_anchor (copy, anchors[i], bs, err);
  }
  return r;
}

/*---------------------------------------------------------------------------*/

/* What the boot sector names. */
static int (*const by_head[]) (struct sparse_copy *, const uint8_t *,
                               struct err *) = {
  copy_ntfs, copy_bitlocker, copy_fat, copy_exfat,
};

int
places_copy (struct sparse_copy *copy, struct err *err)
{
  uint8_t head[HEAD_SIZE] = { 0 };
  uint64_t tail = copy->size - min_u64 (copy->size, ENDS_SIZE);
  int r = block_pread (copy->from, head,
                       (size_t) min_u64 (copy->size, HEAD_SIZE), 0, err);

  if (r < 0)
    memset (head, 0, sizeof head);
  r = sparse_copy_go_on (copy, r);
  if (r == 0)
    r = sparse_copy_range (copy, 0, ENDS_SIZE, err);
  if (r == 0)
    r = sparse_copy_range (copy, ENDS_SIZE, 65536, err);
  if (r == 0)
    r = sparse_copy_range (copy, 2 * ENDS_SIZE, 65536, err);
  if (r == 0)
    r = sparse_copy_range (copy, tail, ENDS_SIZE, err);
  for (size_t i = 0; r == 0 && i < sizeof by_head / sizeof by_head[0]; ++i)
    r = sparse_copy_go_on (copy, by_head[i] (copy, head, err));
  return r < 0 ? r : sparse_copy_go_on (copy, copy_udf (copy, err));
}
