/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The process that keeps an attachment alive and ends it.
 *
 * `attach` starts it and waits for its answer; from then on it belongs to
 * nobody.  Until supervisor_keep is called the attachment is on trial: when
 * the one who started it goes away, however that happens, everything is
 * undone.
 *
 * Signals: SIGUSR1 ends the attachment at once (detach has made sure that
 * nobody uses it); SIGTERM ends it if nobody uses it.
 */

#ifndef NBDIMAGE_ATTACH_SUPERVISOR_H
#define NBDIMAGE_ATTACH_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/report.h"

struct supervisor_request {
  int index;                    /* X of /dev/nbdX; -1: any */
  const char *source;           /* what is shown: absolute path, or URI */
  bool private_server;          /* serve source with an nbdkit of our own;
                                   otherwise it is a URI to connect to */
  const char *const *parameters;        /* for the plugin; NULL: none */
  unsigned connections;         /* 0: as many as is good */
  unsigned timeout;             /* seconds */
  bool writable;
};

struct supervisor_link {
  int fd;
  int pidfd;
};

/* Ready: *index is connected.  Warnings go to report.  -EINTR: a signal came
 * (the caller's handlers run without SA_RESTART); everything was undone.
 */
int supervisor_start (const struct supervisor_request *request,
                      struct supervisor_link *link, unsigned *index,
                      struct report *report, struct err *err);

/* The attachment stays. */
int supervisor_keep (struct supervisor_link *link, struct err *err);

/* Undo it, and wait (bounded) until that is done. */
void supervisor_abandon (struct supervisor_link *link);

#endif /* NBDIMAGE_ATTACH_SUPERVISOR_H */
