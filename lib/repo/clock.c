/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <time.h>

#include "lib/base/checked.h"
#include "lib/repo/clock.h"

/* A job has nothing to be woken by: it is looked at so often. */
#define LOOK (REPO_SECOND / 10)

static uint64_t
boottime_now (void *opaque)
{
  struct timespec ts;

  (void) opaque;
  clock_gettime (CLOCK_BOOTTIME, &ts);
  return (uint64_t) ts.tv_sec * REPO_SECOND + (uint64_t) ts.tv_nsec;
}

static int
boottime_sleep_until (void *opaque, uint64_t when, struct job *job,
                      struct err *err)
{
  for (;;) {
    uint64_t now = boottime_now (opaque), next;
    struct timespec ts;
    int r = job_check (job, err);

    if (r < 0 || now >= when)
      return r;
    next = job ? min_u64 (when, now + LOOK) : when;
    ts.tv_sec = (time_t) (next / REPO_SECOND);
    ts.tv_nsec = (long) (next % REPO_SECOND);
    r = clock_nanosleep (CLOCK_BOOTTIME, TIMER_ABSTIME, &ts, NULL);
    if (r != 0 && r != EINTR)
      return err_set (err, -r, "the clock can't be waited for (error %d)", r);
  }
}

const struct repo_clock repo_clock_boottime = {
  .now = boottime_now,
  .sleep_until = boottime_sleep_until,
};
