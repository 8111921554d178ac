/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Copying a disk onto another, and comparing two.
 *
 * A disk is a block: what is in an image (image_to_block), an NBD export, a
 * file as it is.  Source and target are not the same, nor does one lie in the
 * other, and nobody else writes to either meanwhile.
 *
 *   what the source has      target_is_zero          otherwise
 *   ------------------       --------------          ---------
 *   holes, zeros             nothing is done         zeros, unless the target
 *                                                    has them already
 *   data, 64 KiB of zeros    nothing is done         zeros
 *   other data               is written              is written
 *   what no file system      (if skip_unallocated; otherwise it is what it
 *   uses                     reads as) its pieces are trimmed, and what is
 *                            read there afterwards may be anything; in pieces
 *                            with other things it is zeros
 *
 * Holes and zeros of the source are not read.  What can't be read fails the
 * copy; nothing ever stands in for it.
 *
 * Threads work on pieces of COPY_PIECE bytes, which begin at multiples of
 * that and are handed out in ascending order.  A piece is read as a whole
 * before any of it is written, so that a unit of the target's allocation that
 * is not larger is filled by one thread at one time.  Memory is one piece for
 * each thread (two when comparing) and some thousands of extents, however
 * large the disk.  No lock is held while anything is read or written.
 *
 * When something fails, no new pieces are begun; those under way are
 * finished.  The first error that occurred is returned, with the name of the
 * block that is at fault and the offset in front; of a read, the offset of the
 * first 512 bytes that can't be read, if that can be found out soon.
 */

#ifndef NBDIMAGE_COPY_COPY_H
#define NBDIMAGE_COPY_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/job.h"
#include "lib/block/block.h"

#define COPY_PIECE (UINT32_C (2) * 1024 * 1024) /* at least; see unit */
#define COPY_GRANULE (UINT32_C (64) * 1024)     /* in which zeros are found */
#define COPY_DEFAULT_THREADS 4U
#define COPY_MAX_THREADS 64U

/* Everything in front of done is on the target's stable storage.  Called by
 * one thread at a time, with numbers that never become less; an error ends
 * the copy.
 */
typedef int (*copy_checkpoint_fn) (void *opaque, uint64_t done,
                                   struct err *err);

struct copy_options {
  unsigned threads;             /* 0: the default */
  uint64_t unit;                /* bytes that the target allocates at once, a
                                   power of 2; pieces become as large, up to
                                   4 MiB.  0: not known */
  uint64_t start;               /* what lies in front of it is there already;
                                   a multiple of the target's minimum size */
  bool target_is_zero;          /* it reads as zeros from start to the size
                                   of the source */
  bool skip_unallocated;        /* EXTENT_UNALLOCATED may be anything */
  struct job *job;              /* NULL: nobody looks.  Phase "copying", and
                                   "flushing" at the end */

  /* About once a second, after a flush; and at the end, if the target can
   * still be flushed, also of a copy that failed or was canceled.
   */
  copy_checkpoint_fn checkpoint;        /* NULL: none */
  void *opaque;
};

enum copy_side {
  COPY_NEITHER,                 /* canceled, out of memory, the checkpoint */
  COPY_SOURCE,
  COPY_TARGET,
};

struct copy_result {
  uint64_t data;                /* bytes that were written as data */
  uint64_t unallocated;         /* bytes that were skipped as that */
  uint64_t done;                /* all in front of it was copied */
  enum copy_side failed;        /* who is to blame for an error */
};

/* Copy all of `from` onto the beginning of `to`, which is not smaller
 * (-EINVAL), and flush it; what it has behind is left alone, even within its
 * minimum size.  *result is filled in any case.  -ECANCELED as the job wants.
 */
int copy_disk (struct block *from, struct block *to,
               const struct copy_options *options,
               struct copy_result *result, struct err *err);

#define COPY_SAME UINT64_MAX

/* Does all of `a` read as the beginning of `b`, which is not smaller, and
 * what b has behind as zeros, if b_ends_in_zeros?  Where both say zeros,
 * nothing is read.  *differs_at is COPY_SAME, or a byte that differs, at the
 * beginning of the disks rather than at their end.  Of options, threads, start,
 * skip_unallocated (what may be anything is not compared) and job (phase
 * "comparing") are used.
 */
int copy_compare (struct block *a, struct block *b, bool b_ends_in_zeros,
                  const struct copy_options *options, uint64_t *differs_at,
                  struct err *err);

/* The same of some places of the first len bytes of both: of both ends, and
 * others that are other ones each time.
 */
int copy_compare_samples (struct block *a, struct block *b, uint64_t len,
                          uint64_t *differs_at, struct err *err);

#endif /* NBDIMAGE_COPY_COPY_H */
