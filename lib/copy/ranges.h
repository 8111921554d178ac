/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The ranges of a disk, handed out to threads in ascending order: pieces that
 * hold data, with the extents in them, and longer ranges of zeros, or of what
 * no file system uses.
 *
 * Who finds nothing to take asks the disk for more extents, for everyone,
 * while the others wait; the lock is not held meanwhile.
 */

#ifndef NBDIMAGE_COPY_RANGES_H
#define NBDIMAGE_COPY_RANGES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/job.h"
#include "lib/block/block.h"

struct copy_range {
  uint64_t off, len;            /* bytes; len is not 0 */
  bool zero;                    /* all of it reads as zeros */
  bool unallocated;             /* all of it is that; only if asked for */
  struct extent_vector extents; /* neither: what is in it, without gaps */
};

struct copy_ranges {
  /* Set up by the caller and constant. */
  struct block *from;
  uint64_t end;                 /* bytes from the start of the disk */
  uint64_t piece;               /* a range with data ends at the next multiple
                                   of this; a range of zeros does so, too */
  uint64_t zero_max;            /* the longest range of zeros; 0: they are
                                   skipped */
  bool unallocated;             /* know what no file system uses apart */
  unsigned nr_slots;            /* threads */
  struct job *job;              /* advances over what is skipped */

  /* Of who set scanning. */
  uint64_t window;              /* how far to look the next time */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t changed;
  bool scanning, stopped;
  uint64_t pos;                 /* what is in front was handed out */
  struct extent_vector seen;    /* from pos on, first_seen being the first */
  size_t first_seen;
  uint64_t seen_end;
  uint64_t *under_way;          /* each slot's; UINT64_MAX: nothing */
};

/* Beginning at start.  -ENOMEM. */
int copy_ranges_init (struct copy_ranges *r, uint64_t start, struct err *err);
void copy_ranges_free (struct copy_ranges *r);

/* 1: *range is to be worked on by the thread with this slot, which had none;
 * its extents are those of the last call, reused, and freed by the caller in
 * the end.  0: there is nothing left, or copy_ranges_stop was called.
 * Negative: the extents can't be had, with the name of the disk, or
 * -ECANCELED.
 */
int copy_ranges_next (struct copy_ranges *r, unsigned slot,
                      struct copy_range *range, struct err *err);

/* The range of this slot is finished. */
void copy_ranges_done (struct copy_ranges *r, unsigned slot);

/* Nobody gets any more. */
void copy_ranges_stop (struct copy_ranges *r);

/* All ranges in front of this are finished. */
uint64_t copy_ranges_finished (struct copy_ranges *r);

/* Does an extent of this kind read as zeros for sure? */
static inline bool
copy_kind_is_zero (enum extent_kind kind)
{
  return kind == EXTENT_HOLE || kind == EXTENT_ZERO;
}

/* What is not allocated is not read either where it is known apart: in a
 * piece with other things it is zeros.
 */
static inline bool
copy_ranges_skip_reading (const struct copy_ranges *r, enum extent_kind kind)
{
  return copy_kind_is_zero (kind) ||
    (r->unallocated && kind == EXTENT_UNALLOCATED);
}

#endif /* NBDIMAGE_COPY_RANGES_H */
