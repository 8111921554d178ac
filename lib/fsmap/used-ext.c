/* SPDX-License-Identifier: GPL-2.0-or-later */

/* ext2, ext3, ext4.
 *
 * libext2fs opens the file system: it knows the features, checks the checksum
 * of the superblock, and has the group descriptors in memory (64 bytes for each
 * group of 128 MiB, usually).  The bitmaps are not read through it: all of them
 * at once would take memory in proportion to the disk, and one that a hostile
 * file system uses for all groups much more.  They are read here, one at a
 * time.
 *
 * What is compared: checksums of descriptors and bitmaps where there are any;
 * how many clusters a descriptor says are free with how many the bitmap says
 * are; and, for all groups, that the blocks of the metadata are among the used
 * ones.  Groups that were never initialised have no bitmap: of them, just the
 * metadata is used.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <ext2fs/ext2fs.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/fsmap/ext-io.h"
#include "lib/fsmap/used-reading.h"

/* 256 MiB of descriptors: 512 TiB in groups of 128 MiB. */
#define MAX_GROUPS (UINT64_C (4) * 1024 * 1024)

static void
close_fs (ext2_filsys *fs)
{
  if (*fs != NULL)
    ext2fs_close_free (fs);
}

#define CLEANUP_FS __attribute__ ((__cleanup__ (close_fs)))

/*--- the superblock ---------------------------------------------------------*/

/* What libext2fs does not look at, or allocates memory for. */
static int
check_super (struct used_reading *rd, struct err *err)
{
  uint8_t s[SUPERBLOCK_SIZE];
  int r = used_pread (rd, "the superblock", s, sizeof s, SUPERBLOCK_OFFSET,
                      err);
  uint32_t incompat, per_group, shift;
  uint64_t blocks;

  if (r < 0)
    return r;
  shift = get_le32 (s + 24);
  per_group = get_le32 (s + 32);
  incompat = get_le32 (s + 96);
  blocks = get_le32 (s + 4);
  if (incompat & EXT4_FEATURE_INCOMPAT_64BIT)
    blocks |= (uint64_t) get_le32 (s + 336) << 32;
  if (get_le16 (s + 56) != EXT2_SUPER_MAGIC || shift > 6 || per_group == 0 ||
      blocks > UINT64_MAX >> 16)
    return err_set (err, -EBADMSG, "the superblock makes no sense");
  if (incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
    return err_set (err, -ENOTSUP, "it is mounted, or its journal was not "
                    "played since");
  if (incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV)
    return err_set (err, -ENOTSUP, "it is the journal of another");
  if ((get_le16 (s + 58) & (EXT2_VALID_FS | EXT2_ERROR_FS)) != EXT2_VALID_FS)
    return err_set (err, -ENOTSUP, "it is mounted, was not unmounted, or has "
                    "errors");
  if (blocks / per_group >= MAX_GROUPS)
    return err_set (err, -ENOTSUP, "it has more than %" PRIu64 " groups",
                    MAX_GROUPS);
  if (blocks << (shift + 10) > rd->size)
    return used_add_behind (rd, blocks << (shift + 10), err);
  return 0;
}

static int
check_features (ext2_filsys fs, struct err *err)
{
  uint32_t unknown =
    fs->super->s_feature_ro_compat & ~EXT2_LIB_FEATURE_RO_COMPAT_SUPP;

  if (unknown != 0)
    return err_set (err, -ENOTSUP, "it has features that are not known: 0x%"
                    PRIx32, unknown);
  return 0;
}

/*--- groups -----------------------------------------------------------------*/

struct ext {
  struct used_reading *rd;
  ext2_filsys fs;
  uint64_t cluster;             /* bytes */
  uint64_t claimed;             /* used clusters, by the descriptors */
  uint8_t *bitmap;              /* one block */
};

/* Blocks that hold metadata: whole clusters of them are used. */
static int
add_blocks (struct ext *x, uint64_t block, uint64_t nr, struct err *err)
{
  uint64_t bs = x->fs->blocksize, off, len;

  if (!checked_mul (block, bs, &off) || !checked_mul (nr, bs, &len) ||
      !range_fits (off, len, x->rd->size))
    return err_set (err, -EBADMSG, "metadata at block %" PRIu64 " is outside "
                    "of the file system", block);
  len = round_up (off + len, x->cluster) - round_down (off, x->cluster);
  return used_map_add (&x->rd->map, round_down (off, x->cluster), len, err);
}

static int
read_bitmap (struct ext *x, dgrp_t group, uint64_t clusters, struct err *err)
{
  ext2_filsys fs = x->fs;
  uint64_t block = ext2fs_block_bitmap_loc (fs, group), off, nr_set = 0;
  uint32_t free_clusters = ext2fs_bg_free_blocks_count (fs, group);
  int r;

  if (!checked_mul (block, (uint64_t) fs->blocksize, &off))
    off = UINT64_MAX;
  r = used_pread (x->rd, "a block bitmap", x->bitmap, fs->blocksize, off,
                  err);
  if (r < 0)
    return r;
  if (!ext2fs_block_bitmap_csum_verify (fs, group, (char *) x->bitmap,
                                        (int) EXT2_CLUSTERS_PER_GROUP
                                        (fs->super) / 8))
    return err_set (err, -EBADMSG, "the checksum of the block bitmap of group "
                    "%" PRIu32 " is wrong", group);
  r = used_map_add_bits (&x->rd->map, x->bitmap, clusters, x->cluster,
                         ext2fs_group_first_block2 (fs, group) *
                         fs->blocksize, &nr_set, err);
  if (r == 0 && clusters - nr_set != free_clusters)
    return err_set (err, -EBADMSG, "group %" PRIu32 " says that %" PRIu32
                    " clusters are free, its bitmap %" PRIu64, group,
                    free_clusters, clusters - nr_set);
  return r;
}

static int
read_group (struct ext *x, dgrp_t group, struct err *err)
{
  ext2_filsys fs = x->fs;
  uint64_t blocks = (uint64_t) ext2fs_group_blocks_count (fs, group);
  uint64_t clusters =
    div_round_up (blocks, (uint64_t) EXT2FS_CLUSTER_RATIO (fs));
  uint32_t free_clusters = ext2fs_bg_free_blocks_count (fs, group);
  int r = 0;

  if (!ext2fs_group_desc_csum_verify (fs, group))
    return err_set (err, -EBADMSG, "the checksum of the descriptor of group %"
                    PRIu32 " is wrong", group);
  if (free_clusters > clusters ||
      clusters > (uint64_t) fs->blocksize * 8)
    return err_set (err, -EBADMSG, "group %" PRIu32 " of %" PRIu64 " clusters "
                    "says that %" PRIu32 " are free", group, clusters,
                    free_clusters);
  x->claimed += clusters - free_clusters;
  if (!ext2fs_has_group_desc_csum (fs) ||
      !ext2fs_bg_flags_test (fs, group, EXT2_BG_BLOCK_UNINIT))
    r = read_bitmap (x, group, clusters, err);
  if (r == 0)
    r = job_advance (x->rd->job, blocks * fs->blocksize, err);
  return r;
}

/* The copy of the superblock, and the descriptors behind it. */
static int
add_super (struct ext *x, dgrp_t group, struct err *err)
{
  ext2_filsys fs = x->fs;
  blk64_t super, old_desc, new_desc;
  uint64_t nr_old = ext2fs_has_feature_meta_bg (fs->super) ?
    fs->super->s_first_meta_bg :
    (uint64_t) fs->desc_blocks + fs->super->s_reserved_gdt_blocks;
  int r = 0;

  ext2fs_super_and_bgd_loc2 (fs, group, &super, &old_desc, &new_desc, NULL);
  if (super != 0 || group == 0)
    r = add_blocks (x, super, 1, err);
  if (r == 0 && old_desc != 0)
    r = add_blocks (x, old_desc,
                    min_u64 (nr_old, ext2fs_blocks_count (fs->super) -
                             old_desc), err);
  if (r == 0 && new_desc != 0)
    r = add_blocks (x, new_desc, 1, err);
  return r;
}

/* Kind by kind: those of groups that belong together lie side by side. */
static int
add_metadata (struct ext *x, struct err *err)
{
  ext2_filsys fs = x->fs;
  int r = 0;

  for (dgrp_t g = 0; g < fs->group_desc_count && r == 0; ++g)
    r = add_super (x, g, err);
  for (dgrp_t g = 0; g < fs->group_desc_count && r == 0; ++g)
    r = add_blocks (x, ext2fs_block_bitmap_loc (fs, g), 1, err);
  for (dgrp_t g = 0; g < fs->group_desc_count && r == 0; ++g)
    r = add_blocks (x, ext2fs_inode_bitmap_loc (fs, g), 1, err);
  for (dgrp_t g = 0; g < fs->group_desc_count && r == 0; ++g)
    r = add_blocks (x, ext2fs_inode_table_loc (fs, g),
                    fs->inode_blocks_per_group, err);
  return r;
}

/* Everything together is what the descriptors say. */
static int
check_claim (struct ext *x, uint64_t before, uint64_t len, struct err *err)
{
  uint64_t overhang = round_up (len, x->cluster) - len;
  uint64_t used, claimed = x->claimed * x->cluster;

  used_map_finish (&x->rd->map);
  used = used_map_bytes (&x->rd->map) - before;
  if (x->rd->map.filled == 0 && (used > claimed || used + overhang < claimed))
    return err_set (err, -EBADMSG, "its groups say that %" PRIu64 " bytes are "
                    "used, its bitmaps and metadata %" PRIu64, claimed, used);
  return 0;
}

static int
read_groups (struct ext *x, struct err *err)
{
  ext2_filsys fs = x->fs;
  uint64_t before = (uint64_t) fs->super->s_first_data_block * fs->blocksize;
  uint64_t len = ext2fs_blocks_count (fs->super) * fs->blocksize;
  int r = 0;

  x->rd->unit = x->cluster;
  for (dgrp_t g = 0; g < fs->group_desc_count && r == 0; ++g)
    r = read_group (x, g, err);
  if (r == 0)
    r = add_metadata (x, err);
  if (r == 0)
    r = used_map_add (&x->rd->map, 0, before, err);
  if (r == 0)
    r = check_claim (x, before, len, err);
  return r < 0 ? r : used_add_behind (x->rd, len, err);
}

int
used_read_ext (struct used_reading *rd, struct err *err)
{
  CLEANUP_FS ext2_filsys fs = NULL;
  CLEANUP_FREE uint8_t *bitmap = NULL;
  struct ext x = { .rd = rd };
  int r = check_super (rd, err);

  if (r == 0)
    r = ext_open (rd->block, &fs, err);
  if (r == 0)
    r = check_features (fs, err);
  if (r < 0)
    return r;
  bitmap = malloc (fs->blocksize);
  if (bitmap == NULL)
    return err_nomem (err);
  x.fs = fs;
  x.cluster = (uint64_t) fs->blocksize * (uint64_t) EXT2FS_CLUSTER_RATIO (fs);
  x.bitmap = bitmap;
  return read_groups (&x, err);
}
