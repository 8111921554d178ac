/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk in memory that says of itself what it is told to say, counts what is
 * asked of it, and fails when it should.  From many threads at once.
 */

#ifndef NBDIMAGE_TESTS_SCRIPTED_H
#define NBDIMAGE_TESTS_SCRIPTED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/job.h"
#include "lib/block/block-ops.h"

/* Which thread writes into a unit of that size. */
#define SCRIPTED_UNIT (2 * 1024 * 1024)

struct scripted {
  struct block base;
  uint8_t *data;                /* what it reads as */
  uint8_t *stable;              /* what it had at the last flush */
  struct extent_vector extents; /* what it says of itself, all of it */

  /* Set by the test; 0: never.  Counted from 1. */
  unsigned fail_read, fail_write, fail_zero, fail_flush, fail_extents;
  uint64_t bad_from, bad_to;    /* reads of any of it fail; none if equal */
  struct job *cancel;           /* at read number cancel_at */
  unsigned cancel_at;

  pthread_rwlock_t flushing;    /* while data becomes stable */
  pthread_mutex_t lock;         /* guards what follows */
  unsigned reads, writes, zeros, flushes, asked;
  uint64_t bytes_read, bytes_written, longest_read;
  uint64_t being_read, most_read;       /* bytes, at one time */
  unsigned bad_calls;           /* not aligned; reads of holes; or two
                                   threads in a unit */
  pthread_t *writers;           /* of each unit; 0: none yet */
};

/* All zeros, and one extent of data. */
struct scripted *scripted_new (const char *name, uint64_t size,
                               uint32_t minimum);

/* The next extent, from where the last ended; the first call forgets that it
 * is all data.  In holes and zeros the data becomes zero; elsewhere it is
 * random, or zero with some probability for each 16 KiB.
 */
void scripted_extent (struct scripted *s, uint64_t len,
                      enum extent_kind kind, unsigned *seed);

#endif /* NBDIMAGE_TESTS_SCRIPTED_H */
