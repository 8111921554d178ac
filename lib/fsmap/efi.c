/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A reader for two folders of a FAT file system, no more: the root and from
 * there \EFI\BOOT, by their short names.  (Layout: Microsoft's "FAT: General
 * Overview of On-Disk Format", 1.03, and UEFI 2.10 §13.3.)
 *
 * Chains of clusters are followed for FOLDER_MAX bytes and no further, so
 * that a loop ends there.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/fsmap/efi.h"

#define ENTRY_SIZE 32
#define FOLDER_MAX (1U << 20)
#define LOADERS_MAX 32

struct fat {
  struct block *block;
  unsigned bits;                /* 12, 16, 32 */
  uint64_t fat_off;             /* bytes */
  uint64_t root_off, root_len;  /* FAT12 and FAT16; bytes */
  uint32_t root_cluster;        /* FAT32 */
  uint64_t data_off;            /* of cluster 2; bytes */
  uint32_t cluster_size;        /* bytes */
  uint32_t nr_clusters;
};

/* False: not a FAT file system, or one that contradicts itself. */
static bool
decode (const uint8_t bpb[512], struct fat *fat)
{
  const uint32_t sector = get_le16 (bpb + 11);
  const uint32_t reserved = get_le16 (bpb + 14);
  uint64_t sectors = get_le16 (bpb + 19), fat_sectors = get_le16 (bpb + 22);
  uint64_t data_sectors;

  if (!is_power_of_2 (sector) || sector < 512 || sector > 4096 ||
      !is_power_of_2 (bpb[13]) || reserved == 0 || bpb[16] == 0)
    return false;
  if (sectors == 0)
    sectors = get_le32 (bpb + 32);
  if (fat_sectors == 0)
    fat_sectors = get_le32 (bpb + 36);
  fat->cluster_size = sector * bpb[13];
  fat->fat_off = (uint64_t) reserved * sector;
  fat->root_off = fat->fat_off + bpb[16] * fat_sectors * sector;
  fat->root_len = round_up (get_le16 (bpb + 17) * ENTRY_SIZE, sector);
  fat->data_off = fat->root_off + fat->root_len;
  if (fat_sectors == 0 || fat->data_off / sector >= sectors)
    return false;
  data_sectors = sectors - fat->data_off / sector;
  fat->nr_clusters = (uint32_t) (data_sectors / bpb[13]);
  fat->bits = fat->nr_clusters < 4085 ? 12 : fat->nr_clusters < 65525 ? 16
                                                                      : 32;
  fat->root_cluster = fat->bits == 32 ? get_le32 (bpb + 44) : 0;
  return true;
}

/* The cluster after this one; 0 at the end or at nonsense. */
static int
next_cluster (const struct fat *fat, uint32_t cluster, uint32_t *next,
              struct err *err)
{
  uint8_t b[4] = { 0 };
  const uint64_t off = fat->fat_off + (uint64_t) cluster * fat->bits / 8;
  const size_t len = fat->bits == 32 ? 4 : 2;
  uint32_t v;
  int r;

  *next = 0;
  if (!range_fits (off, len, block_size (fat->block)))
    return 0;
  r = block_pread (fat->block, b, len, off, err);
  if (r < 0)
    return r;
  if (fat->bits == 12)
    v = cluster & 1 ? get_le16 (b) >> 4 : get_le16 (b) & 0xfff;
  else if (fat->bits == 16)
    v = get_le16 (b);
  else
    v = get_le32 (b) & 0x0fffffff;
  if (v >= 2 && v - 2 < fat->nr_clusters)
    *next = v;
  return 0;
}

/* A folder being read: its bytes so far. */
struct folder {
  uint8_t *bytes;
  size_t len;
};

static int
append (const struct fat *fat, struct folder *f, uint64_t off, size_t len,
        struct err *err)
{
  uint8_t *bytes;
  int r;

  if (!range_fits (off, len, block_size (fat->block)))
    return 0;
  bytes = realloc (f->bytes, f->len + len);
  if (bytes == NULL)
    return err_nomem (err);
  f->bytes = bytes;
  r = block_pread (fat->block, bytes + f->len, len, off, err);
  if (r == 0)
    f->len += len;
  return r;
}

/* Cluster 0 is the root, as ".." has it too. */
static int
read_folder (const struct fat *fat, uint32_t cluster, struct folder *f,
             struct err *err)
{
  int r = 0;

  f->len = 0;
  if (cluster == 0 && fat->bits != 32)
    return append (fat, f, fat->root_off,
                   (size_t) min_u64 (fat->root_len, FOLDER_MAX), err);
  if (cluster == 0)
    cluster = fat->root_cluster;
  while (cluster >= 2 && cluster - 2 < fat->nr_clusters &&
         f->len < FOLDER_MAX && r == 0) {
    r = append (fat, f, fat->data_off +
                (uint64_t) (cluster - 2) * fat->cluster_size,
                fat->cluster_size, err);
    if (r == 0)
      r = next_cluster (fat, cluster, &cluster, err);
  }
  return r;
}

static bool
is_folder (const uint8_t *entry)
{
  return (entry[11] & 0x18) == 0x10;    /* a directory, not a label */
}

/* Short names are padded with spaces and upper case. */
static uint32_t
find_folder (const struct folder *f, const char name[11])
{
  for (size_t i = 0; i + ENTRY_SIZE <= f->len; i += ENTRY_SIZE) {
    const uint8_t *entry = f->bytes + i;

    if (entry[0] == 0)
      break;
    if (is_folder (entry) && memcmp (entry, name, 11) == 0)
      return (uint32_t) get_le16 (entry + 20) << 16 | get_le16 (entry + 26);
  }
  return 0;
}

/* How many of the 8 characters of a short name are used; 0: one of them is
 * none that a loader's name has, which would not be fit to print either.
 */
static size_t
name_length (const uint8_t *entry)
{
  size_t n = 8;

  while (n > 0 && entry[n - 1] == ' ')
    n--;
  for (size_t i = 0; i < n; ++i)
    if (entry[i] <= ' ' || entry[i] >= 0x7f)
      return 0;
  return n;
}

/* BOOT*.EFI among the entries. */
static int
list_loaders (const struct folder *f, char **loaders, struct err *err)
{
  char text[LOADERS_MAX * 13] = "";
  size_t len = 0;

  for (size_t i = 0; i + ENTRY_SIZE <= f->len; i += ENTRY_SIZE) {
    const uint8_t *entry = f->bytes + i;
    const size_t n = name_length (entry);

    if (entry[0] == 0)
      break;
    if (n == 0 || (entry[11] & 0x18) != 0 ||
        memcmp (entry, "BOOT", 4) != 0 || memcmp (entry + 8, "EFI", 3) != 0)
      continue;
    if (len + 14 < sizeof text)
      len += (size_t) snprintf (text + len, sizeof text - len,
                                "%s%.*s.EFI", len ? " " : "", (int) n,
                                (const char *) entry);
  }
  if (len == 0)
    return 0;
  *loaders = strdup (text);
  return *loaders ? 0 : err_nomem (err);
}

int
efi_find_loaders (struct block *fs, char **loaders, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;
  struct folder f = { NULL, 0 };
  struct fat fat = { .block = fs };
  uint8_t bpb[512];
  uint32_t cluster;
  int r;

  *loaders = NULL;
  if (block_size (fs) < sizeof bpb)
    return 0;
  r = block_pread (fs, bpb, sizeof bpb, 0, err);
  if (r < 0 || !decode (bpb, &fat))
    return r;
  r = read_folder (&fat, 0, &f, err);
  cluster = r == 0 ? find_folder (&f, "EFI        ") : 0;
  if (cluster)
    r = read_folder (&fat, cluster, &f, err);
  cluster = r == 0 && cluster ? find_folder (&f, "BOOT       ") : 0;
  if (cluster)
    r = read_folder (&fat, cluster, &f, err);
  bytes = f.bytes;
  return r == 0 && cluster ? list_loaders (&f, loaders, err) : r;
}
