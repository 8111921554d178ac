/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <sys/signalfd.h>

#include "tools/signals.h"

static void
fill (sigset_t *set)
{
  sigemptyset (set);
  sigaddset (set, SIGINT);
  sigaddset (set, SIGTERM);
  sigaddset (set, SIGHUP);
}

int
ending_signals (struct err *err)
{
  sigset_t set;
  int fd;

  fill (&set);
  if (sigprocmask (SIG_BLOCK, &set, NULL) < 0)
    return err_sys (err, "sigprocmask");
  signal (SIGPIPE, SIG_IGN);
  fd = signalfd (-1, &set, SFD_CLOEXEC);
  return fd < 0 ? err_sys (err, "signalfd") : fd;
}

void
ending_signals_restore (void)
{
  sigset_t set;

  fill (&set);
  sigprocmask (SIG_UNBLOCK, &set, NULL);
  signal (SIGPIPE, SIG_DFL);
}
