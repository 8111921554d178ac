/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads that work on the ranges of a disk.  lib/copy/ uses this, and
 * ../format/rebase-compare.c.
 */

#ifndef NBDIMAGE_COPY_CREW_H
#define NBDIMAGE_COPY_CREW_H

#include "lib/copy/copy.h"
#include "lib/copy/ranges.h"

#define CREW_BUFFERS 2

struct crew_member {
  unsigned slot;
  uint8_t *buffers[CREW_BUFFERS];       /* a piece each */
  struct copy_range range;
};

struct crew {
  struct copy_ranges ranges;    /* set up; threads are its slots */
  unsigned nr_buffers;          /* for each */

  /* One range.  A negative errno ends all. */
  int (*work) (struct crew *crew, struct crew_member *me, struct err *err);

  /* Whenever one is finished; NULL: nothing. */
  int (*after) (struct crew *crew, struct err *err);

  void *opaque;                 /* theirs */

  pthread_mutex_t lock;         /* guards what follows */
  struct err first;             /* error; code 0: none */
};

/* Work until there is nothing left, or something failed; the first error.  The
 * calling thread is one of them; when others can't be started, those that
 * could do it all.
 */
int crew_run (struct crew *crew, struct err *err);

/* How much one of them takes at once, for a target that allocates so. */
uint64_t crew_piece (uint64_t unit);

unsigned crew_threads (const struct copy_options *options);

/* Read a range of less than a piece, with the name of the block and the place
 * in front of an error.
 */
int crew_read (struct block *from, uint8_t *buf, uint64_t len, uint64_t off,
               struct err *err);

/* Are all of them zero?  len is not 0. */
bool crew_is_zero (const uint8_t *buf, uint64_t len);

#endif /* NBDIMAGE_COPY_CREW_H */
