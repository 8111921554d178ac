/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A clock for a store model in a test that is one thread: its own sleeps let
 * the model's time go by, at once; other threads, which keep leases alive,
 * sleep until they are told to end.
 */

#ifndef NBDIMAGE_TESTS_PATIENT_CLOCK_H
#define NBDIMAGE_TESTS_PATIENT_CLOCK_H

#include <pthread.h>
#include <time.h>

#include "lib/repo/clock.h"

struct patient_clock {
  struct repo_clock clock;
  const struct repo_clock *below;
  pthread_t whose;
};

static inline uint64_t
patient_clock_now (void *opaque)
{
  return repo_clock_now (((struct patient_clock *) opaque)->below);
}

static inline int
patient_clock_sleep (void *opaque, uint64_t when, struct job *job,
                     struct err *err)
{
  const struct patient_clock *p = opaque;
  const struct timespec a_moment = { 0, 200000 };
  int r;

  if (pthread_equal (pthread_self (), p->whose))
    return repo_clock_sleep_until (p->below, when, job, err);
  while ((r = job_check (job, err)) == 0)
    nanosleep (&a_moment, NULL);
  return r;
}

static inline void
patient_clock_init (struct patient_clock *p, const struct repo_clock *below)
{
  p->clock = (struct repo_clock) { patient_clock_now, patient_clock_sleep, p };
  p->below = below;
  p->whose = pthread_self ();
}

#endif /* NBDIMAGE_TESTS_PATIENT_CLOCK_H */
