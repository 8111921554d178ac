/* SPDX-License-Identifier: GPL-2.0-or-later */

/* exFAT: a bitmap, in clusters of its own, has a bit for each cluster.  Its
 * place is in the root directory, which is a chain in the table; so is the
 * bitmap.  The boot region has a checksum.
 *
 * "exFAT file system specification", Microsoft, 2019; § in it.
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

#define BOOT_SECTORS 11         /* that the checksum in the next is of */
#define MAX_CLUSTERS 0xfffffff5
#define ENTRY 32
#define ENTRY_BITMAP 0x81
#define CHUNK (256 * 1024)      /* of the bitmap; more than a sector */
#define MAX_ROOT (256 * 1024 * 1024)    /* §7.1: bytes of a directory */
#define FLAG_DIRTY 2            /* §3.1.13 */

struct exfat {
  unsigned sector_shift;
  uint64_t cluster;             /* bytes */
  uint64_t fat, fat_len;        /* bytes */
  uint64_t heap;                /* offset of cluster 2 */
  uint64_t len;                 /* of the file system, bytes */
  uint32_t nr_clusters;
  uint32_t root;                /* cluster */
  uint32_t bitmap;              /* cluster */
  uint64_t bitmap_len;          /* bytes */
};

/*--- the boot region, §3 ----------------------------------------------------*/

static int
decode_boot (struct exfat *x, const uint8_t *b, struct err *err)
{
  unsigned shift = b[108], per_cluster = b[109];

  if (shift < 9 || shift > 12 || per_cluster > 25 - shift)
    return err_set (err, -EBADMSG, "the exFAT has sectors of 2^%u bytes and "
                    "clusters of 2^%u sectors", shift, per_cluster);
  if (b[110] != 1)
    return err_set (err, -ENOTSUP, "the exFAT has %u tables", b[110]);
  if (b[105] != 1)
    return err_set (err, -ENOTSUP, "the exFAT is of version %u", b[105]);
  if (get_le16 (b + 106) & FLAG_DIRTY)
    return err_set (err, -ENOTSUP, "the exFAT is mounted, or was not "
                    "unmounted");
  x->sector_shift = shift;
  x->cluster = UINT64_C (1) << (shift + per_cluster);
  x->fat = (uint64_t) get_le32 (b + 80) << shift;
  x->fat_len = (uint64_t) get_le32 (b + 84) << shift;
  x->heap = (uint64_t) get_le32 (b + 88) << shift;
  x->nr_clusters = get_le32 (b + 92);
  x->root = get_le32 (b + 96);
  if (!checked_mul (get_le64 (b + 72), UINT64_C (1) << shift, &x->len) ||
      !range_fits (x->fat, x->fat_len, x->heap) || x->heap > x->len ||
      x->nr_clusters == 0 || x->nr_clusters > MAX_CLUSTERS ||
      (x->len - x->heap) / x->cluster < x->nr_clusters ||
      x->fat_len / 4 < (uint64_t) x->nr_clusters + 2)
    return err_set (err, -EBADMSG, "the boot sector of the exFAT makes no "
                    "sense");
  return 0;
}

/* §3.4.  Two fields may change without it. */
static int
check_boot_region (struct used_reading *rd, const struct exfat *x,
                   struct err *err)
{
  size_t sector = (size_t) 1 << x->sector_shift;
  size_t len = sector * BOOT_SECTORS;
  CLEANUP_FREE uint8_t *region = malloc (len + sector);
  uint32_t sum = 0;
  int r;

  if (region == NULL)
    return err_nomem (err);
  r = used_pread (rd, "the boot region", region, len + sector, 0, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < len; ++i)
    if (i != 106 && i != 107 && i != 112)
      sum = (sum << 31 | sum >> 1) + region[i];
  if (get_le32 (region + len) != sum)
    return err_set (err, -EBADMSG, "the checksum of the exFAT's boot region "
                    "is %08" PRIx32 ", computed %08" PRIx32,
                    get_le32 (region + len), sum);
  return 0;
}

/*--- clusters ---------------------------------------------------------------*/

static bool
is_cluster (const struct exfat *x, uint32_t number)
{
  return number >= 2 && number - 2 < x->nr_clusters;
}

static uint64_t
cluster_off (const struct exfat *x, uint32_t number)
{
  return x->heap + (number - 2) * x->cluster;
}

/* The cluster behind `number` in its chain: 0 at the end. */
static int
next_cluster (struct used_reading *rd, const struct exfat *x,
              uint32_t *number, struct err *err)
{
  uint8_t entry[4];
  int r = used_pread (rd, "an entry of the exFAT's table", entry,
                      sizeof entry, x->fat + (uint64_t) *number * 4, err);
  uint32_t next;

  if (r < 0)
    return r;
  next = get_le32 (entry);
  if (next != UINT32_MAX && !is_cluster (x, next))
    return err_set (err, -EBADMSG, "entry %" PRIu32 " of the exFAT's table is "
                    "%08" PRIx32, *number, next);
  *number = next == UINT32_MAX ? 0 : next;
  return 0;
}

/* §7.1.  The second bitmap is that of a second table. */
static int
find_bitmap_in (struct exfat *x, const uint8_t *entries, size_t len,
                bool *end, struct err *err)
{
  for (size_t i = 0; i < len; i += ENTRY) {
    const uint8_t *e = entries + i;

    if (e[0] == 0)
      *end = true;
    if (e[0] == 0)
      break;
    if (e[0] != ENTRY_BITMAP)
      continue;
    if (x->bitmap != 0 || e[1] != 0)
      return err_set (err, -ENOTSUP, "the exFAT has more than one bitmap");
    x->bitmap = get_le32 (e + 20);
    x->bitmap_len = get_le64 (e + 24);
    if (!is_cluster (x, x->bitmap) ||
        x->bitmap_len != div_round_up (x->nr_clusters, 8))
      return err_set (err, -EBADMSG, "the bitmap of %" PRIu32 " clusters is "
                      "at cluster %" PRIu32 ", of %" PRIu64 " bytes",
                      x->nr_clusters, x->bitmap, x->bitmap_len);
  }
  return 0;
}

static int
find_bitmap (struct used_reading *rd, struct exfat *x, struct err *err)
{
  size_t piece = (size_t) min_u64 (x->cluster, CHUNK);
  CLEANUP_FREE uint8_t *buf = malloc (piece);
  uint32_t number = x->root;
  bool end = false;
  int r = 0;

  if (buf == NULL)
    return err_nomem (err);
  if (!is_cluster (x, number))
    return err_set (err, -EBADMSG, "the root directory is at cluster %"
                    PRIu32, number);
  for (uint64_t left = MAX_ROOT; number != 0 && !end && r == 0;) {
    if (left < x->cluster)
      return err_set (err, -EBADMSG, "the root directory does not end");
    left -= x->cluster;
    for (uint64_t i = 0; i < x->cluster && !end && r == 0; i += piece) {
      r = used_pread (rd, "the root directory", buf, piece,
                      cluster_off (x, number) + i, err);
      if (r == 0)
        r = find_bitmap_in (x, buf, piece, &end, err);
    }
    if (r == 0)
      r = next_cluster (rd, x, &number, err);
    if (r == 0)
      r = job_check (rd->job, err);
  }
  if (r == 0 && x->bitmap == 0)
    return err_set (err, -EBADMSG, "the exFAT has no bitmap");
  return r;
}

/*--- the bitmap, §7.1.5 -----------------------------------------------------*/

/* The piece of it that is in one cluster, and begins at bit `first`. */
static int
read_bits (struct used_reading *rd, const struct exfat *x, uint8_t *buf,
           uint32_t number, uint64_t first, struct err *err)
{
  uint64_t off = cluster_off (x, number);
  uint64_t len = min_u64 (x->cluster, x->bitmap_len - first / 8);
  int r = 0;

  for (uint64_t i = 0; i < len && r == 0; i += CHUNK) {
    size_t n = (size_t) min_u64 (len - i, CHUNK);
    uint64_t bit = first + i * 8, nr_set;
    uint64_t bits = min_u64 ((uint64_t) n * 8, x->nr_clusters - bit);

    r = used_pread (rd, "the bitmap of the exFAT", buf, n, off + i, err);
    if (r == 0)
      r = used_map_add_bits (&rd->map, buf, bits, x->cluster,
                             x->heap + bit * x->cluster, &nr_set, err);
    if (r == 0)
      r = job_advance (rd->job, bits * x->cluster, err);
  }
  return r;
}

static int
read_bitmap (struct used_reading *rd, const struct exfat *x, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (CHUNK);
  uint32_t number = x->bitmap;
  int r = 0;

  if (buf == NULL)
    return err_nomem (err);
  for (uint64_t bit = 0; bit < x->nr_clusters && r == 0;
       bit += x->cluster * 8) {
    if (number == 0)
      return err_set (err, -EBADMSG, "the chain of the exFAT's bitmap ends "
                      "before bit %" PRIu64, bit);
    r = read_bits (rd, x, buf, number, bit, err);
    if (r == 0)
      r = next_cluster (rd, x, &number, err);
  }
  return r;
}

/* It says "used" of its own clusters and of the root directory. */
static int
check_bitmap (struct used_reading *rd, const struct exfat *x, struct err *err)
{
  used_map_finish (&rd->map);
  if (!used_map_covers (&rd->map, cluster_off (x, x->root), x->cluster) ||
      !used_map_covers (&rd->map, cluster_off (x, x->bitmap), x->cluster))
    return err_set (err, -EBADMSG, "the bitmap of the exFAT says that itself "
                    "or the root directory are not in use");
  return 0;
}

int
used_read_exfat (struct used_reading *rd, struct err *err)
{
  struct exfat x = { .bitmap = 0 };
  uint8_t boot[512];
  int r = used_pread (rd, "the boot sector", boot, sizeof boot, 0, err);

  if (r == 0)
    r = decode_boot (&x, boot, err);
  if (r == 0)
    r = check_boot_region (rd, &x, err);
  if (r == 0 && x.len > rd->size)
    return used_add_behind (rd, x.len, err);
  if (r == 0)
    r = find_bitmap (rd, &x, err);
  if (r < 0)
    return r;
  rd->unit = x.cluster;
  r = used_map_add (&rd->map, 0, x.heap, err);
  if (r == 0)
    r = read_bitmap (rd, &x, err);
  if (r == 0)
    r = used_add_behind (rd, x.heap + x.nr_clusters * x.cluster, err);
  return r < 0 ? r : check_bitmap (rd, &x, err);
}
