/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An image that is changed as a whole (lib/format/offline.h), and things go
 * wrong at every moment of that: the power fails, the medium fails, somebody
 * asks it to end.  What is left must be good, and the same again finish it.
 */

#ifndef NBDIMAGE_TESTS_CHANGE_H
#define NBDIMAGE_TESTS_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/job.h"
#include "lib/block/block.h"
#include "lib/format/image.h"

struct change {
  const char *name;
  const uint8_t *data;          /* the file before */
  size_t len;
  const struct image_options *options;  /* to open it with */
  bool leaks_nothing;           /* when it is done, no space is lost */
  const void *opaque;           /* the test's */

  int (*run) (const struct change *c, struct block *block, struct job *job,
              struct err *err);

  /* Is the image on the block as it may be?  done: after run succeeded.  0,
   * or a negative errno and what is wrong with it.  Besides, nobody finds
   * damage (lib/format/check.h), and when it is done, nothing to repair.
   */
  int (*check) (const struct change *c, struct block *block, bool done,
                struct err *err);
};

/* Without any trouble. */
void change_once (const struct change *c);

/* The power fails after each change of the file, with each kind of what may
 * be left of those that were not flushed (history.h), `seeds` times.  How
 * many states were bad, of *nr; *first is about the first of them.
 * drop_flushes: none is done, for the test of the test, which ends at the first
 * that is bad.  Of the moments this build tries its share (share.h).
 */
unsigned change_power_cuts (const struct change *c, unsigned seeds,
                            bool drop_flushes, unsigned *nr, char first[256]);

/* Each change of the file, or this build's share of them, fails once, in turn,
 * and once with all that follow.
 * Ends the test if what is left is not good.  Returns how many it tried.
 */
unsigned change_faults (const struct change *c);

/* The job is canceled at its first moment. */
void change_canceled (const struct change *c);

#endif /* NBDIMAGE_TESTS_CHANGE_H */
