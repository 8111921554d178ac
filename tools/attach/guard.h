/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Watching a connected device until it ends, so that nobody waits for a
 * server that is gone: guard.c tells how and why.
 *
 * A struct guard belongs to one thread.  It must stay where it is until the
 * process ends: threads that hang in the kernel still look at it.
 */

#ifndef NBDIMAGE_ATTACH_GUARD_H
#define NBDIMAGE_ATTACH_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "server/server.h"
#include "tools/attach/connect.h"
#include "tools/attach/state.h"
#include "tools/attach/watch.h"

struct guard {
  /* Set by the supervisor before guard_device; from then on guard.c's. */
  struct attachment attachment; /* index -1: not connected yet; dead says why
                                   the server was taken for gone */
  struct connection connection; /* our copies of the kernel's sockets */
  struct server *server;        /* NULL: a URI */
  int link_fd;                  /* whoever waits for us: a byte from there
                                   keeps the attachment, its end undoes it;
                                   -1: nobody any more */
  int signal_fd;                /* SIGUSR1 ends the attachment, others do if
                                   nobody uses the device */
  int log_fd;

  /* guard.c's own. */
  struct watch watch;
  size_t live;                  /* connections that still are */
  int keep_fd;                  /* the device of a dead attachment */
  bool server_gone;             /* nbdkit ended and was told about */
};

#define GUARD_INIT { .attachment = ATTACHMENT_INIT, .link_fd = -1, \
                     .signal_fd = -1, .log_fd = -1, .keep_fd = -1 }

/* A line with the time for the log. */
void guard_log (struct guard *guard, const char *fmt, ...)
  __attribute__ ((__format__ (__printf__, 2, 3)));

/* Watch the device until the attachment is to end.  When the server is gone
 * all I/O is made to fail, and the watch goes on; but while link_fd is open,
 * that is the end, too, and attachment.dead has the reason.
 */
void guard_device (struct guard *guard);

/* End all of it: device, server, files.  Each wait is bounded.  Also for a
 * guard whose attachment was never connected.
 */
void guard_end (struct guard *guard);

#endif /* NBDIMAGE_ATTACH_GUARD_H */
