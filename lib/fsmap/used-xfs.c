/* SPDX-License-Identifier: GPL-2.0-or-later */

/* XFS: each allocation group has a tree of what is free in it, by block
 * number.  What is not in these trees is used: metadata, files, the log, and
 * the few blocks in the list for the trees themselves (AGFL).
 *
 * The leaves are read from left to right.  Their records must ascend and have
 * gaps between them, their sum must be what the group says is free, and, in
 * version 5, the checksums of all blocks must be right.  With a log that has
 * something to be played, nothing of it is believed (xfs-log.c).
 *
 * "XFS Algorithms & Data Structures", 3rd edition; chapters in it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/fsmap/xfs.h"

#define MIN_AG (UINT64_C (16) * 1024 * 1024)    /* bytes; mkfs's too */
#define MAX_BLOCK 65536
#define MAX_SECTOR 32768
#define MAX_LEVELS 9

/* sb_features_incompat: ftype, sparse inodes, metadata UUID, big time, 64-bit
 * counts of extents, exchange range, parent pointers.  Not: needs repair, and
 * those that move data about (realtime groups, zones).
 */
#define KNOWN_INCOMPAT (1 | 2 | 4 | 8 | 32 | 64 | 128)
/* Free inode tree, reverse mapping, reflink, inode counts. */
#define KNOWN_RO_COMPAT (1 | 2 | 4 | 8)

/*--- superblock, chapter 13.1 -----------------------------------------------*/

bool
xfs_crc_is_right (uint8_t *block, size_t len, size_t at)
{
  uint32_t stored = get_le32 (block + at);
  uint32_t crc;

  put_le32 (block + at, 0);
  crc = crc32c_update (0, block, len);
  put_le32 (block + at, stored);
  return crc == stored;
}

static int
check_features (const struct xfs *x, const uint8_t *sb, struct err *err)
{
  uint32_t ro = get_be32 (sb + 212), incompat = get_be32 (sb + 216);
  uint32_t log = get_be32 (sb + 220);

  if (sb[126] != 0)
    return err_set (err, -ENOTSUP, "the XFS is being made");
  if (x->version == 5 && ((ro & ~(uint32_t) KNOWN_RO_COMPAT) != 0 ||
                          (incompat & ~(uint32_t) KNOWN_INCOMPAT) != 0 ||
                          log != 0))
    return err_set (err, -ENOTSUP, "the XFS has features that are not known, "
                    "or needs to be repaired: 0x%" PRIx32 " 0x%" PRIx32 " 0x%"
                    PRIx32, ro, incompat, log);
  return 0;
}

static int
check_sizes (const struct xfs *x, const uint8_t *sb, struct err *err)
{
  uint64_t rest = x->blocks - (x->nr_ags - 1) * (uint64_t) x->ag_blocks;

  if (!is_power_of_2 (x->block) || x->block < 512 || x->block > MAX_BLOCK ||
      !is_power_of_2 (x->sector) || x->sector < 512 ||
      x->sector > MAX_SECTOR || x->sector > x->block ||
      sb[124] > 31 || x->ag_blocks > UINT32_C (1) << sb[124] ||
      x->ag_blocks * (uint64_t) x->block < MIN_AG || x->nr_ags == 0)
    return err_set (err, -EBADMSG, "the XFS has blocks of %" PRIu32 " bytes, "
                    "sectors of %" PRIu32 ", groups of %" PRIu32 " blocks",
                    x->block, x->sector, x->ag_blocks);
  if (x->blocks > UINT64_MAX / MAX_BLOCK ||
      x->blocks / x->ag_blocks < x->nr_ags - 1 || rest == 0 ||
      rest > x->ag_blocks)
    return err_set (err, -EBADMSG, "the XFS has %" PRIu64 " blocks in %" PRIu32
                    " groups of %" PRIu32, x->blocks, x->nr_ags,
                    x->ag_blocks);
  return 0;
}

static int
read_super (struct xfs *x, struct err *err)
{
  CLEANUP_FREE uint8_t *sb = calloc (1, MAX_SECTOR);
  int r;

  if (sb == NULL)
    return err_nomem (err);
  r = used_pread (x->rd, "the superblock", sb, 512, 0, err);
  if (r < 0)
    return r;
  x->block = get_be32 (sb + 4);
  x->blocks = get_be64 (sb + 8);
  x->ag_blocks = get_be32 (sb + 84);
  x->nr_ags = get_be32 (sb + 88);
  x->log_start = get_be64 (sb + 48);
  x->log_blocks = get_be32 (sb + 96);
  x->version = get_be16 (sb + 100) & 15;
  x->sector = get_be16 (sb + 102);
  x->ag_shift = sb[124];
  if (get_be32 (sb) != 0x58465342 || x->version < 4 || x->version > 5)
    return err_set (err, -ENOTSUP, "the XFS is of version %u, not 4 or 5",
                    x->version);
  r = check_sizes (x, sb, err);
  if (r == 0)
    r = check_features (x, sb, err);
  if (r == 0)
    r = used_pread (x->rd, "the superblock", sb, x->sector, 0, err);
  if (r == 0 && x->version == 5 && !xfs_crc_is_right (sb, x->sector, 224))
    return err_set (err, -EBADMSG, "the checksum of the superblock is wrong");
  return r;
}

/*--- the tree of one group, chapter 13.2 and 13.3 ---------------------------*/

struct group {
  uint32_t number, blocks;
  uint64_t off;                 /* bytes */
  uint32_t root, levels;        /* of the tree by block number */
  uint64_t nr_free;
};

static int
read_agf (struct xfs *x, struct group *g, struct err *err)
{
  CLEANUP_FREE uint8_t *agf = malloc (x->sector);
  int r = agf ? used_pread (x->rd, "the header of a group (AGF)", agf,
                            x->sector, g->off + x->sector, err)
              : err_nomem (err);

  if (r < 0)
    return r;
  if (get_be32 (agf) != 0x58414746 || get_be32 (agf + 4) != 1 ||
      get_be32 (agf + 8) != g->number || get_be32 (agf + 12) != g->blocks)
    return err_set (err, -EBADMSG, "the header of group %" PRIu32 " is not "
                    "its", g->number);
  if (x->version == 5 && !xfs_crc_is_right (agf, x->sector, 216))
    return err_set (err, -EBADMSG, "the checksum of the header of group %"
                    PRIu32 " is wrong", g->number);
  g->root = get_be32 (agf + 16);
  g->levels = get_be32 (agf + 28);
  g->nr_free = get_be32 (agf + 52);
  if (g->levels == 0 || g->levels > MAX_LEVELS)
    return err_set (err, -EBADMSG, "the tree of group %" PRIu32 " has %" PRIu32
                    " levels", g->number, g->levels);
  return 0;
}

static size_t
tree_header (const struct xfs *x)
{
  return x->version == 5 ? 56 : 16;
}

static int
read_node (struct xfs *x, const struct group *g, uint32_t number,
           unsigned level, uint8_t *buf, struct err *err)
{
  uint32_t magic = x->version == 5 ? 0x41423342 : 0x41425442;
  size_t room = x->block - tree_header (x), record = level > 0 ? 12 : 8;
  int r;

  if (number >= g->blocks)
    return err_set (err, -EBADMSG, "the tree of group %" PRIu32 " names block "
                    "%" PRIu32, g->number, number);
  r = used_pread (x->rd, "a node of free space", buf, x->block,
                  g->off + (uint64_t) number * x->block, err);
  if (r < 0)
    return r;
  if (get_be32 (buf) != magic || get_be16 (buf + 4) != level ||
      get_be16 (buf + 6) > room / record)
    return err_set (err, -EBADMSG, "block %" PRIu32 " of group %" PRIu32
                    " is not a node of free space", number, g->number);
  if (x->version == 5 &&
      (!xfs_crc_is_right (buf, x->block, 52) ||
       get_be32 (buf + 48) != g->number ||
       get_be64 (buf + 16) * 512 != g->off + (uint64_t) number * x->block))
    return err_set (err, -EBADMSG, "the checksum or the place of block %"
                    PRIu32 " of group %" PRIu32 " is wrong", number,
                    g->number);
  return 0;
}

/* The leaf at the left end into buf. */
static int
find_first_leaf (struct xfs *x, const struct group *g, uint8_t *buf,
                 struct err *err)
{
  size_t pointers = tree_header (x) + (x->block - tree_header (x)) / 12 * 8;
  uint32_t number = g->root;

  for (uint32_t level = g->levels; level-- > 0;) {
    int r = read_node (x, g, number, level, buf, err);

    if (r < 0)
      return r;
    if (level > 0 && get_be16 (buf + 6) == 0)
      return err_set (err, -EBADMSG, "a node of free space is empty");
    number = get_be32 (buf + pointers);
  }
  return 0;
}

/* What is used before each of its records.  *next is the block behind the
 * last, *sum of those that were free.
 */
static int
add_leaf (struct xfs *x, const struct group *g, const uint8_t *leaf,
          uint64_t *next, uint64_t *sum, struct err *err)
{
  const uint8_t *record = leaf + tree_header (x);
  unsigned nr = get_be16 (leaf + 6);
  int r = 0;

  for (unsigned i = 0; i < nr && r == 0; ++i, record += 8) {
    uint64_t start = get_be32 (record), len = get_be32 (record + 4);

    /* Two that touch would be one. */
    if (len == 0 || start <= *next || !range_fits (start, len, g->blocks))
      return err_set (err, -EBADMSG, "the records of free space of group %"
                      PRIu32 " do not ascend", g->number);
    if (start * x->block < 4 * x->sector ||
        (g->root >= start && g->root - start < len))
      return err_set (err, -EBADMSG, "group %" PRIu32 " says that its headers "
                      "or its tree are free", g->number);
    r = used_map_add (&x->rd->map, g->off + *next * x->block,
                      (start - *next) * x->block, err);
    *next = start + len;
    *sum += len;
  }
  return r;
}

static int
read_tree (struct xfs *x, const struct group *g, uint8_t *buf,
           struct err *err)
{
  uint64_t next = 0, sum = 0;
  int r = find_first_leaf (x, g, buf, err);

  while (r == 0) {
    uint32_t right = get_be32 (buf + 12);

    /* Every leaf has records, and they ascend: so it ends. */
    if (get_be16 (buf + 6) == 0 && g->levels > 1)
      return err_set (err, -EBADMSG, "a leaf of free space is empty");
    r = add_leaf (x, g, buf, &next, &sum, err);
    if (r < 0 || right == UINT32_MAX)
      break;
    if (g->levels == 1)
      return err_set (err, -EBADMSG, "the root of a tree has a neighbour");
    r = read_node (x, g, right, 0, buf, err);
  }
  if (r == 0 && sum != g->nr_free)
    return err_set (err, -EBADMSG, "group %" PRIu32 " says that %" PRIu64
                    " blocks are free, its tree %" PRIu64, g->number,
                    g->nr_free, sum);
  if (r == 0)
    r = used_map_add (&x->rd->map, g->off + next * x->block,
                      (g->blocks - next) * x->block, err);
  return r;
}

static int
read_group (struct xfs *x, uint32_t number, uint8_t *buf, struct err *err)
{
  uint64_t first = (uint64_t) number * x->ag_blocks;
  struct group g = {
    .number = number,
    .blocks = (uint32_t) min_u64 (x->blocks - first, x->ag_blocks),
    .off = first * x->block,
  };
  int r = read_agf (x, &g, err);

  if (r == 0)
    r = read_tree (x, &g, buf, err);
  if (r == 0)
    r = job_advance (x->rd->job, (uint64_t) g.blocks * x->block, err);
  return r;
}

static int
check_log_is_used (struct xfs *x, struct err *err)
{
  used_map_finish (&x->rd->map);
  if (!used_map_covers (&x->rd->map, x->log_off, x->log_len))
    return err_set (err, -EBADMSG, "the trees of the XFS say that its log is "
                    "free");
  return 0;
}

int
used_read_xfs (struct used_reading *rd, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = NULL;
  struct xfs x = { .rd = rd };
  int r = read_super (&x, err);

  if (r == 0)
    r = used_add_behind (rd, x.blocks * x.block, err);
  if (r == 0)
    r = xfs_check_log (&x, err);
  if (r < 0)
    return r;
  rd->unit = x.block;
  buf = malloc (x.block);
  if (buf == NULL)
    return err_nomem (err);
  for (uint32_t i = 0; i < x.nr_ags && r == 0; ++i)
    r = read_group (&x, i, buf, err);
  return r < 0 ? r : check_log_is_used (&x, err);
}
