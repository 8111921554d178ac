/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "lib/format/epoch.h"

/* Who counted itself in an epoch that was over by then might be missed, and
 * counts again.
 */
unsigned
epoch_enter (struct epoch *epoch)
{
  for (;;) {
    uint64_t now = __atomic_load_n (&epoch->now, __ATOMIC_SEQ_CST);

    __atomic_add_fetch (&epoch->under_way[now % 2], 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n (&epoch->now, __ATOMIC_SEQ_CST) == now)
      return (unsigned) (now % 2);
    __atomic_sub_fetch (&epoch->under_way[now % 2], 1, __ATOMIC_SEQ_CST);
  }
}

void
epoch_leave (struct epoch *epoch, unsigned which)
{
  __atomic_sub_fetch (&epoch->under_way[which], 1, __ATOMIC_SEQ_CST);
}

void
epoch_advance (struct epoch *epoch)
{
  __atomic_add_fetch (&epoch->now, 1, __ATOMIC_SEQ_CST);
}

bool
epoch_is_over (struct epoch *epoch)
{
  uint64_t before = __atomic_load_n (&epoch->now, __ATOMIC_SEQ_CST) + 1;

  return __atomic_load_n (&epoch->under_way[before % 2],
                          __ATOMIC_SEQ_CST) == 0;
}
