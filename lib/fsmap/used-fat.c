/* SPDX-License-Identifier: GPL-2.0-or-later */

/* FAT12, FAT16, FAT32.
 *
 *   reserved sectors | copies of the table | root directory | clusters 2...
 *
 * (The root directory of FAT32 is in clusters.)  A cluster is free when its
 * entry is 0.  The copies of the table are compared, unless FAT32's flags say
 * that only one of them is in use: when they differ, a write was cut off, or
 * one is damaged, and nobody knows which.
 *
 * "Microsoft Extensible Firmware Initiative FAT32 File System Specification",
 * version 1.03.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/fsmap/used-reading.h"

#define SECTOR 512              /* of the boot sector */
/* A multiple of 3 bytes, so that no pair of FAT12's entries is cut. */
#define CHUNK (3 * 256 * 1024)
#define MAX_FAT12 4084          /* clusters */
#define MAX_FAT16 65524
#define MAX_FAT32 0x0ffffff5

struct fat {
  uint32_t sector, cluster;     /* bytes */
  unsigned bits;                /* of an entry: 12, 16, 32 */
  uint64_t tables;              /* offset of the first */
  unsigned nr_tables;
  int active;                   /* the only one in use; -1: all are the same */
  uint64_t table_len;           /* bytes */
  uint64_t data;                /* offset of cluster 2 */
  uint32_t nr_clusters;
  uint64_t len;                 /* of the file system, bytes */
  uint32_t root;                /* FAT32: its first cluster */
  uint8_t media, state;
};

static int
decode_sizes (struct fat *f, const uint8_t *b, struct err *err)
{
  uint32_t sectors = get_le16 (b + 19), fat16 = get_le16 (b + 22);
  uint64_t root_len, data_len;

  f->sector = get_le16 (b + 11);
  if (!is_power_of_2 (f->sector) || f->sector < 512 || f->sector > 4096)
    return err_set (err, -EBADMSG, "the FAT has sectors of %" PRIu32 " bytes",
                    f->sector);
  if (!is_power_of_2 (b[13]))
    return err_set (err, -EBADMSG, "the FAT has clusters of %u sectors",
                    b[13]);
  f->cluster = f->sector * b[13];
  f->nr_tables = b[16];
  f->tables = (uint64_t) get_le16 (b + 14) * f->sector;
  if (f->nr_tables == 0 || f->tables == 0)
    return err_set (err, -EBADMSG, "the FAT has %u tables behind %u reserved "
                    "sectors", f->nr_tables, get_le16 (b + 14));
  f->len = (uint64_t) (sectors ? sectors : get_le32 (b + 32)) * f->sector;
  f->table_len = (uint64_t) (fat16 ? fat16 : get_le32 (b + 36)) * f->sector;
  root_len = round_up ((uint64_t) get_le16 (b + 17) * 32, f->sector);
  f->data = f->tables + f->nr_tables * f->table_len + root_len;
  if (f->table_len == 0 || f->data >= f->len)
    return err_set (err, -EBADMSG, "the FAT of %" PRIu64 " bytes has its data "
                    "at %" PRIu64, f->len, f->data);
  data_len = f->len - f->data;
  if (data_len / f->cluster > MAX_FAT32)
    return err_set (err, -EBADMSG, "the FAT has %" PRIu64 " clusters",
                    data_len / f->cluster);
  f->nr_clusters = (uint32_t) (data_len / f->cluster);
  return 0;
}

/* What differs between FAT32 and the others. */
static int
decode_kind (struct fat *f, const uint8_t *b, struct err *err)
{
  bool fat32 = get_le16 (b + 22) == 0;
  unsigned flags = fat32 ? get_le16 (b + 40) : 0;

  f->media = b[21];
  f->state = b[fat32 ? 65 : 37];
  f->root = fat32 ? get_le32 (b + 44) : 0;
  f->bits = fat32 ? 32 : f->nr_clusters > MAX_FAT12 ? 16 : 12;
  f->active = flags & 0x80 ? (int) (flags & 15) : -1;
  if (f->bits == 16 && f->nr_clusters > MAX_FAT16)
    return err_set (err, -EBADMSG, "the FAT16 has %" PRIu32 " clusters",
                    f->nr_clusters);
  if (f->active >= (int) f->nr_tables)
    return err_set (err, -EBADMSG, "table %d of the FAT is in use, but there "
                    "are %u", f->active, f->nr_tables);
  if (f->table_len * 8 / f->bits < (uint64_t) f->nr_clusters + 2)
    return err_set (err, -EBADMSG, "the FAT has %" PRIu32 " clusters, and a "
                    "table of %" PRIu64 " bytes", f->nr_clusters,
                    f->table_len);
  return 0;
}

static uint32_t
get_entry (const struct fat *f, const uint8_t *table, uint32_t i)
{
  switch (f->bits) {
  case 12:
    return get_le16 (table + i / 2 * 3 + i % 2) >> (i % 2 ? 4 : 0) & 0xfff;
  case 16:
    return get_le16 (table + i * 2);
  default:
    return get_le32 (table + i * 4) & 0x0fffffff;
  }
}

/* Entry 0 has the media byte, entry 1 says how it was left. */
static int
check_state (const struct fat *f, const uint8_t *table, struct err *err)
{
  uint32_t clean = f->bits == 32 ? 0x08000000 : f->bits == 16 ? 0x8000 : 0;
  uint32_t first = get_entry (f, table, 0), state = get_entry (f, table, 1);

  if ((first & 0xff) != f->media || f->media < 0xf0)
    return err_set (err, -EBADMSG, "the FAT begins with 0x%" PRIx32 ", and "
                    "the media byte is 0x%02x", first, f->media);
  if ((state & clean) != clean || f->state & 1)
    return err_set (err, -ENOTSUP, "the FAT is mounted, or was not unmounted");
  if ((state & clean / 2) != clean / 2)
    return err_set (err, -ENOTSUP, "the FAT had read or write errors");
  return 0;
}

/* Entries [first, first+nr), of clusters and the two before them. */
static int
add_clusters (struct used_reading *rd, const struct fat *f,
              const uint8_t *table, uint32_t first, uint32_t nr,
              struct err *err)
{
  uint32_t i = first < 2 ? 2 - first : 0;
  int r = 0;

  while (i < nr && r == 0) {
    uint32_t begin;

    while (i < nr && get_entry (f, table, i) == 0)
      i++;
    begin = i;
    while (i < nr && get_entry (f, table, i) != 0)
      i++;
    r = used_map_add (&rd->map, f->data + (uint64_t) (first + begin - 2) *
                      f->cluster, (uint64_t) (i - begin) * f->cluster, err);
  }
  return r;
}

/* The chunk of len bytes at off of the table, from each copy of it. */
static int
read_chunk (struct used_reading *rd, const struct fat *f, uint8_t *chunk,
            uint8_t *other, size_t len, uint64_t off, struct err *err)
{
  unsigned first = f->active >= 0 ? (unsigned) f->active : 0;
  int r = used_pread (rd, "the table of the FAT", chunk, len,
                      f->tables + first * f->table_len + off, err);

  for (unsigned i = 1; i < f->nr_tables && f->active < 0 && r == 0; ++i) {
    r = used_pread (rd, "a copy of the table of the FAT", other, len,
                    f->tables + i * f->table_len + off, err);
    if (r == 0 && memcmp (chunk, other, len) != 0)
      return err_set (err, -EBADMSG, "copies 1 and %u of the FAT's table "
                      "differ", i + 1);
  }
  return r;
}

static int
read_table (struct used_reading *rd, const struct fat *f, struct err *err)
{
  CLEANUP_FREE uint8_t *chunk = malloc (CHUNK), *other = malloc (CHUNK);
  uint32_t nr = f->nr_clusters + 2, per_chunk = CHUNK * 8 / f->bits;

  if (chunk == NULL || other == NULL)
    return err_nomem (err);
  for (uint32_t i = 0; i < nr;) {
    uint32_t n = (uint32_t) min_u64 (nr - i, per_chunk);
    size_t len = (size_t) div_round_up ((uint64_t) n * f->bits, 8);
    int r = read_chunk (rd, f, chunk, other, len,
                        (uint64_t) i * f->bits / 8, err);

    if (r == 0 && i == 0)
      r = check_state (f, chunk, err);
    if (r == 0)
      r = add_clusters (rd, f, chunk, i, n, err);
    if (r == 0)
      r = job_advance (rd->job, (uint64_t) n * f->cluster, err);
    if (r < 0)
      return r;
    i += n;
  }
  return 0;
}

static int
check_root (struct used_reading *rd, const struct fat *f, struct err *err)
{
  uint64_t off = f->data + (uint64_t) (f->root - 2) * f->cluster;

  used_map_finish (&rd->map);
  if (f->bits == 32 && (f->root < 2 || f->root - 2 >= f->nr_clusters ||
                        !used_map_covers (&rd->map, off, f->cluster)))
    return err_set (err, -EBADMSG, "the root directory of the FAT, at cluster "
                    "%" PRIu32 ", is not in use", f->root);
  return 0;
}

int
used_read_fat (struct used_reading *rd, struct err *err)
{
  struct fat f = { .sector = 0 };
  uint8_t boot[SECTOR];
  uint64_t end;
  int r = used_pread (rd, "the boot sector", boot, sizeof boot, 0, err);

  if (r == 0)
    r = decode_sizes (&f, boot, err);
  if (r == 0)
    r = decode_kind (&f, boot, err);
  if (r < 0)
    return r;
  end = f.data + (uint64_t) f.nr_clusters * f.cluster;
  rd->unit = f.cluster;
  if (f.len > rd->size)
    end = f.len;                /* for the message */
  r = used_map_add (&rd->map, 0, f.data, err);
  if (r == 0)
    r = read_table (rd, &f, err);
  if (r == 0)
    r = used_add_behind (rd, end, err);
  return r < 0 ? r : check_root (rd, &f, err);
}
