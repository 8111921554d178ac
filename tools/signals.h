/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The signals that ask a command in the foreground to end. */

#ifndef NBDIMAGE_TOOLS_SIGNALS_H
#define NBDIMAGE_TOOLS_SIGNALS_H

#include <signal.h>

#include "lib/base/err.h"

/* Block SIGINT, SIGTERM and SIGHUP from now on and return a signalfd that
 * has them; negative errno.  SIGPIPE is ignored: that nobody reads our
 * messages any more is no reason to end at once, leaving things behind and
 * others without their server.  A child needs them as they were: it calls
 * ending_signals_restore between fork and exec.
 */
int ending_signals (struct err *err);
void ending_signals_restore (void);

#endif /* NBDIMAGE_TOOLS_SIGNALS_H */
