/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A clock to wait by, which goes on while the machine sleeps (docs/NBI.md §13,
 * "Lag").  A test has one of its own, and takes no time.
 */

#ifndef NBDIMAGE_REPO_CLOCK_H
#define NBDIMAGE_REPO_CLOCK_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/job.h"

struct repo_clock {
  /* Nanoseconds since some moment, the same for the life of the process. */
  uint64_t (*now) (void *opaque);

  /* Return when now() is `when' or later.  -ECANCELED soon after the job is
   * cancelled; NULL: never.
   */
  int (*sleep_until) (void *opaque, uint64_t when, struct job *job,
                      struct err *err);
  void *opaque;
};

/* CLOCK_BOOTTIME. */
extern const struct repo_clock repo_clock_boottime;

#define REPO_SECOND UINT64_C (1000000000)

static inline uint64_t
repo_clock_now (const struct repo_clock *clock)
{
  return clock->now (clock->opaque);
}

static inline int
repo_clock_sleep_until (const struct repo_clock *clock, uint64_t when,
                        struct job *job, struct err *err)
{
  return clock->sleep_until (clock->opaque, when, job, err);
}

#endif /* NBDIMAGE_REPO_CLOCK_H */
