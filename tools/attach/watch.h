/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Is the server still answering?  The arithmetic behind --timeout; what is
 * done with it is told in guard.c.  Times are milliseconds of clock.h
 * unless they say seconds.
 */

#ifndef NBDIMAGE_ATTACH_WATCH_H
#define NBDIMAGE_ATTACH_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/attach/device.h"

#define WATCH_MIN_TIMEOUT 4u            /* seconds */
#define WATCH_MAX_TIMEOUT 86400u
#define WATCH_DEFAULT_TIMEOUT 30u

#define WATCH_TICK 500u                 /* between two looks */

struct watch {
  uint64_t limit;               /* without progress */
  uint64_t completed;           /* requests at the last look */
  uint64_t progress_at;         /* when one was last completed */
  uint64_t since;               /* nothing completed, though there was
                                   something to do; or the last look */
  bool suspicious;              /* something may be under way that the
                                   kernel does not count */
  bool idle;                    /* nothing was under way at the last look */
  uint64_t looked_at;           /* the last look */
};

/* For --timeout SECONDS. */
void watch_init (struct watch *watch, unsigned timeout, uint64_t now);

/* Look.  True when requests have been under way for the whole limit and
 * none was completed.
 */
bool watch_stalled (struct watch *watch,
                    const struct device_activity *activity, uint64_t now);

/* A connection was lost; perhaps the kernel gave up on a request there.
 * True if that is possible: the caller sees to it that there is something
 * to do, so that a living server can show progress.
 */
bool watch_connection_lost (struct watch *watch, uint64_t now);

/* Seconds that the kernel gives one request on one connection. */
unsigned watch_kernel_timeout (unsigned timeout);

#endif /* NBDIMAGE_ATTACH_WATCH_H */
