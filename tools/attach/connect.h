/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The handshake with an NBD server, for sockets that the kernel takes over.
 *
 * libnbd does it: fixed newstyle, no structured replies (the kernel's client
 * does not speak them), no TLS.
 */

#ifndef NBDIMAGE_ATTACH_CONNECT_H
#define NBDIMAGE_ATTACH_CONNECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"

#define CONNECT_MAX_CONNECTIONS 16

struct connection {
  int fds[CONNECT_MAX_CONNECTIONS];     /* blocking, close-on-exec, ours */
  size_t nr_fds;

  uint64_t size;                /* as the server says */
  uint32_t block_size;          /* for the kernel: 512 to 4096 */
  uint32_t max_request;         /* bytes; 0: the server does not say */
  bool read_only;               /* the export is */
  bool can_flush, can_fua, can_trim, multi_conn;
};

/* Connect `wanted` times (0: up to 4, as the server allows), each bounded by
 * `seconds`.  When the server does not allow several, one is made and, if
 * they were asked for, report says so.  When cancel_fd (-1: none) becomes
 * readable or is closed at the other end: -EINTR.  -ENOTSUP: a URI that needs
 * TLS, block sizes that the kernel can't do.
 */
int connection_open (const char *uri, unsigned wanted, unsigned seconds,
                     int cancel_fd, struct connection *connection,
                     struct report *report, struct err *err);

/* Shut the sockets down, whoever uses them: requests under way get no answer
 * any more.  Never waits.
 */
void connection_shutdown (const struct connection *connection);

/* Close our descriptors.  The kernel's stay open. */
void connection_close (struct connection *connection);

/* Does the URI ask for TLS (nbds:, nbds+unix:, …)? */
bool connection_uri_is_tls (const char *uri);

/* The same URI for processes that run in another folder: a relative path of
 * a Unix socket is made absolute.  The caller frees it; NULL when out of
 * memory.
 */
char *connection_uri_absolute (const char *uri);

/* The server's minimum block size (0: it does not say) → the kernel's
 * logical block size; -ENOTSUP if no size that the kernel knows fits.
 */
int connection_block_size (uint64_t minimum, uint32_t *block_size,
                           struct err *err);

#endif /* NBDIMAGE_ATTACH_CONNECT_H */
