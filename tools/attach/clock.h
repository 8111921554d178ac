/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bounded waits: deadlines on a clock that nobody sets. */

#ifndef NBDIMAGE_ATTACH_CLOCK_H
#define NBDIMAGE_ATTACH_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds since some time in the past. */
static inline uint64_t
clock_now (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static inline uint64_t
clock_deadline (unsigned milliseconds)
{
  return clock_now () + milliseconds;
}

/* Milliseconds until the deadline, for poll; 0 when it has passed. */
static inline int
clock_left (uint64_t deadline)
{
  uint64_t now = clock_now ();

  if (now >= deadline)
    return 0;
  return deadline - now > INT_MAX ? INT_MAX : (int) (deadline - now);
}

static inline void
clock_sleep (unsigned milliseconds)
{
  struct timespec t = { milliseconds / 1000,
                        (long) (milliseconds % 1000) * 1000000 };

  nanosleep (&t, NULL);
}

#endif /* NBDIMAGE_ATTACH_CLOCK_H */
