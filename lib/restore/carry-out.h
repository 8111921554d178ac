/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing what a plan says onto a target, so that the target never looks whole
 * before it is.  The order of writes, of all pieces together:
 *
 *   1. The first RESTORE_HEAD bytes of each piece are read, of the image and
 *      the target, and kept.
 *   2. Those of the target become zeros: flushed.  If the image has changed by
 *      that, the target is the image itself, under a name by which nobody could
 *      tell: what was there is written back, and it ends.
 *   3. What is behind them is written, in ascending order, by several threads;
 *      flushed.
 *   4. It is read again and compared, unless that is not wanted.
 *   5. The heads are written, all but their first sectors: flushed.  Then
 *      those sectors: flushed.
 *   6. The heads are read again and compared.
 *
 * Where it ends, by a crash, an error or because it is canceled:
 *
 *   1          the target is what it was
 *   within 2   what the target held may be whole still, or without its first
 *              sectors
 *   3, 4       a piece has no partition table, boot sector or superblock
 *              (those of all file systems that Linux knows lie in the head),
 *              and behind it partly old, partly new bytes
 *   5          the same, up to the write of its first sector.  If the process
 *              lives, heads become zeros again
 *   behind 5   all was written
 *
 * Beginning again does all of it again, whatever is there.
 */

#ifndef NBDIMAGE_RESTORE_CARRY_OUT_H
#define NBDIMAGE_RESTORE_CARRY_OUT_H

#include "lib/base/job.h"
#include "lib/block/block.h"

#define RESTORE_HEAD (UINT64_C (1) << 20)

struct restore_piece {
  struct block *from;           /* restore_source_new */
  struct block *to;             /* as large, and writable */
};

struct restore_run {
  const struct restore_piece *pieces;
  size_t nr_pieces;
  unsigned threads;             /* 0: the usual number */
  uint64_t unit;                /* of allocation of the target; 0: not known */
  bool target_is_zero;          /* all of it */
  bool verify;
  struct job *job;              /* or NULL */

  /* All that was written is on stable storage: a block to read piece i from
   * the medium rather than from memory, of which the caller gets a reference.
   * Called after each flush before something is compared.  NULL: the piece's
   * own.
   */
  int (*reread) (void *opaque, size_t i, struct block **out, struct err *err);
  void *opaque;
};

struct restore_result {
  uint64_t data;                /* bytes written as data */
  uint64_t unallocated;         /* bytes that were left to be anything */
  bool wiped;                   /* step 2 began: it is not what it was */
  bool done;                    /* all was written, and compared if wanted */
};

/* *result is filled in any case.  -ECANCELED as the job wants; -EIO with the
 * offset if something else is read than was written; -EINVAL if the target is
 * what the image is.
 */
int restore_run (const struct restore_run *run, struct restore_result *result,
                 struct err *err);

#endif /* NBDIMAGE_RESTORE_CARRY_OUT_H */
