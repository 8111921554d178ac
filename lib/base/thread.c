/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <signal.h>

#include "lib/base/thread.h"

int
thread_start (pthread_t *thread, void *(*run) (void *opaque), void *opaque)
{
  sigset_t all, before;
  int r;

  sigfillset (&all);
  /* A thread has the mask of the one that starts it. */
  r = pthread_sigmask (SIG_SETMASK, &all, &before);
  if (r != 0)
    return r;
  r = pthread_create (thread, NULL, run, opaque);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return r;
}
