/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which bytes of a partition does the file system in it use?
 *
 * For those who leave out the rest, and who therefore lose data when the
 * answer is wrong.  So the answer errs on one side only: whatever is not
 * plainly in order (a journal that was not played, a file system that is
 * mounted or damaged or newer than we are, a checksum that is wrong) makes the
 * whole partition used, with the reason as a sentence to say aloud.
 *
 * What is trusted is what the file system itself says in its bitmaps, tables
 * and trees; where they have checksums or are there twice, these are compared.
 * It is proven for NTFS only that each file lies where they say "used"; for
 * the others that is fsck's work.  What nothing protects is the bitmap of an
 * exFAT, and those of an F2FS, or of an ext without checksums, beyond their
 * sums.
 *
 *   ext2, ext3, ext4   through libext2fs; bitmaps with their checksums
 *   ntfs               $Bitmap; all records of the $MFT, $LogFile, $Volume,
 *                      hiberfil.sys
 *   vfat               all copies of the table
 *   exfat              the allocation bitmap
 *   xfs                the trees of free space by block number; the log
 *   btrfs              all of the chunks: more than is used; one device
 *   f2fs               the maps of segments (SIT), with their counts
 *   swap               the first page
 *
 * Always used: what a partition has behind the end of its file system, and
 * what no partition has.
 */

#ifndef NBDIMAGE_FSMAP_USED_H
#define NBDIMAGE_FSMAP_USED_H

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/block/block.h"
#include "lib/fsmap/used-map.h"

enum fs_used_verdict {
  FS_USED_EXACT,        /* to the unit of the file system */
  FS_USED_MORE,         /* some of what the map has may be unused */
  FS_USED_WHOLE,        /* can't tell: everything, and the reason */
};

const char *fs_used_verdict_to_string (enum fs_used_verdict verdict);

struct fs_used {
  enum fs_used_verdict verdict;
  char kind[32];                /* as libblkid names it: "ext4", "vfat",
                                   "crypto_LUKS"; "" when nothing is found */
  char reason[ERR_MSG_SIZE];    /* FS_USED_WHOLE: one sentence, no full stop,
                                   for "the whole partition is used, because" */
  uint64_t unit;                /* bytes: what is used or not as one; 1 for
                                   FS_USED_WHOLE */
  uint64_t bytes;               /* used, in the map */
  struct used_map map;          /* finished, as big as the block */
};

/* Find out about a block that is one partition or volume.  It must not change
 * meanwhile.  Only reads.  What can't be read, or makes no sense, is no error
 * but FS_USED_WHOLE; errors are -ENOMEM and -ECANCELED.  Memory is bounded:
 * some 32 MiB, and 64 bytes for each block group of an ext4.  job may be NULL;
 * its phase counts the bytes of the partition.  The caller frees *out with
 * fs_used_free when this succeeded.
 */
int fs_used (struct block *block, struct fs_used *out, struct job *job,
             struct err *err);

/* The same for a caller who knows what it is: a name from the list above.
 * Other names are FS_USED_WHOLE.
 */
int fs_used_as (struct block *block, const char *kind, struct fs_used *out,
                struct job *job, struct err *err);

void fs_used_free (struct fs_used *used);

#define CLEANUP_FS_USED __attribute__ ((__cleanup__ (fs_used_free)))

/*--- a whole disk -----------------------------------------------------------*/

/* At both ends of each partition this much is always used: boot code, backup
 * superblocks, metadata of RAIDs.
 */
#define USED_DISK_ENDS (64 * 1024)

struct used_partition {
  uint64_t off, len;            /* bytes; may overlap others */
  const struct used_map *map;   /* of the partition, finished; NULL: all of it
                                   is used */
  bool is_left_out;             /* nothing of it is wanted, not its ends
                                   either; map is NULL */
};

/* What is used of a disk: all that no partition has (tables, boot code, gaps),
 * the ends of each partition, and what the maps of partitions say.  Where
 * partitions overlap, what one of them uses is used.  The map is finished; the
 * caller frees it when this succeeded.  -EINVAL: a partition is not on the
 * disk, or is not as long as its map.
 */
int used_disk_map (uint64_t disk_size, const struct used_partition *parts,
                   size_t nr_parts, struct used_map *map, struct err *err);

#endif /* NBDIMAGE_FSMAP_USED_H */
