/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bits that wait (pending.h), from the table into the image.
 *
 * A flush of the disk:
 *
 *   1. The pending bits are copied; the data of their sectors was written.
 *   2. flush.
 *   3. put: those bits are written into the image.
 *   4. flush.
 *   5. settle, where put was not all: of a format that has a log, from there
 *      to their place.
 *   6. They are not pending any more.
 *
 * A power cut before 4 is over: of each bit, it is in the image or it is not,
 * and where it is, its data is.  The process killed: the journal has the bits
 * until 6, and who opens the image next makes a flush of them.
 *
 * One flush at a time does this, so that nobody else changes a bitmap that it
 * has read.  Those who come meanwhile wait, and then one of them flushes for
 * all.  Where no bit is pending there is nothing to wait for.
 */

#ifndef NBDIMAGE_FORMAT_PENDING_FLUSH_H
#define NBDIMAGE_FORMAT_PENDING_FLUSH_H

#include <pthread.h>

#include "lib/format/epoch.h"
#include "lib/format/pending.h"

/* What the format does; put and settle one at a time. */
struct pending_flush_ops {
  /* Everything that was written before is on stable storage after.  Called
   * from many threads.
   */
  int (*flush) (void *opaque, struct err *err);
  int (*put) (void *opaque, const struct pending_snapshot *s,
              struct err *err);
  /* NULL: nothing.  After a put that did not fail; ok: nor did the flush
   * behind it.
   */
  int (*settle) (void *opaque, bool ok, struct err *err);
};

struct pending_flush {
  const struct pending_flush_ops *ops;
  void *opaque;
  struct pending *bits;         /* borrowed */
  struct epoch *epoch;          /* borrowed: a flush counts itself there */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t ended;
  bool running;
  uint64_t started, finished;   /* flushes, counted */
  struct err last;              /* of the one that finished */
};

void pending_flush_init (struct pending_flush *f,
                         const struct pending_flush_ops *ops, void *opaque,
                         struct pending *bits, struct epoch *epoch);
void pending_flush_destroy (struct pending_flush *f);

/* Everything that was written before, bits included, is on stable storage
 * after.  From many threads.
 */
int pending_flush_run (struct pending_flush *f, struct err *err);

/* As pending_set, after a flush where there is no room. */
int pending_flush_set (struct pending_flush *f, uint64_t block,
                       uint64_t place, uint32_t first, uint32_t nr,
                       struct err *err);

#endif /* NBDIMAGE_FORMAT_PENDING_FLUSH_H */
