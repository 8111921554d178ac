/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "lib/base/checked.h"
#include "tools/attach/watch.h"

/* Seconds between the limit and --timeout.
 *
 * For us: up to one look until the limit is noticed, and time to end
 * everything on a busy machine.  For the kernel: it rounds its timers up to
 * whole seconds, twice.
 */
#define OVERHEAD 2

/* Milliseconds that count between two looks, at most.  Longer ones come when
 * this process had to wait for the machine, or all of it stood still; what is
 * under way then may just have begun.  guard.c waits for 2 s at times, and
 * those are to count.
 */
#define MAX_STEP 2500

unsigned
watch_kernel_timeout (unsigned timeout)
{
  return timeout - OVERHEAD;
}

void
watch_init (struct watch *watch, unsigned timeout, uint64_t now)
{
  watch->limit = (uint64_t) (timeout - OVERHEAD) * 1000;
  watch->completed = 0;
  watch->progress_at = watch->since = watch->looked_at = now;
  watch->suspicious = false;
  watch->idle = true;
}

bool
watch_stalled (struct watch *watch, const struct device_activity *activity,
               uint64_t now)
{
  uint64_t max_step = min_u64 (MAX_STEP, watch->limit / 2);
  bool busy;

  if (now - watch->looked_at > max_step)
    watch->since = min_u64 (watch->since + now - watch->looked_at - max_step,
                            now);
  watch->looked_at = now;
  if (activity->completed != watch->completed) {
    watch->completed = activity->completed;
    watch->progress_at = watch->since = now;
    watch->suspicious = false;
  }
  busy = activity->inflight > 0 || watch->suspicious;
  /* Once is not enough: a request that moves from a dead connection to
   * another is not under way for a moment.
   */
  if (!busy && watch->idle)
    watch->since = now;
  watch->idle = !busy;
  return busy && now - watch->since >= watch->limit;
}

/* A flush on its own is not among the requests that the kernel counts as
 * under way, so that the only sign of a server that does not answer it is
 * the kernel's own timeout, at which the connection ends.
 */
bool
watch_connection_lost (struct watch *watch, uint64_t now)
{
  /* Progress is seen up to one look late. */
  if (now - watch->progress_at + WATCH_TICK < watch->limit)
    return false;
  watch->suspicious = true;
  /* One look is the time a living server has to show itself. */
  if (now - watch->since + WATCH_TICK < watch->limit)
    watch->since = now + WATCH_TICK - watch->limit;
  return true;
}
