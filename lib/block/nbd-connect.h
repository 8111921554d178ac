/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Connecting to an NBD server in bounded time.  libnbd's synchronous calls
 * wait for a server that accepts and then says nothing as long as it says
 * nothing.
 */

#ifndef NBDIMAGE_BLOCK_NBD_CONNECT_H
#define NBDIMAGE_BLOCK_NBD_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct nbd_handle;

/* How long a server has for its part of the handshake, for those who have no
 * better idea.
 */
#define NBD_CONNECT_SECONDS 30

/* Wait until what was begun on the handle (nbd_aio_connect_uri or an option
 * of the negotiation) is done, well or badly.  -ETIMEDOUT after `seconds`:
 * the handle can then only be closed.  -EIO when libnbd can't go on.
 */
int nbd_connect_wait (struct nbd_handle *h, unsigned seconds,
                      struct err *err);

/* As nbd_connect_uri, bounded: 0 when the handle is ready or, in option
 * mode, negotiating.  Otherwise the errno of what failed, -EIO if there is
 * none.
 */
int nbd_connect_bounded (struct nbd_handle *h, const char *uri,
                         unsigned seconds, struct err *err);

/* A connection to the export of a URI, with everything negotiated that we use
 * and bounded by NBD_CONNECT_SECONDS.  A server whose machine or network is
 * gone will make its requests fail.  -ENOENT, -EACCES, -ECONNREFUSED; -EIO
 * for all else.
 */
int nbd_connect_export (const char *uri, struct nbd_handle **out,
                        struct err *err);

/* How long a server may say nothing while it owes an answer, and how long one
 * request may take, for those who have no better idea.  The first is more
 * than a disk takes to spin up or a kernel to give up on one; the second is
 * for a server that sends a byte now and then.
 */
#define NBD_SILENCE_SECONDS 60
#define NBD_REQUEST_SECONDS 600

/* Wait for the command that was begun as `cookie` (negative: libnbd could
 * not, which is the error).  0 when the server has done it; the errno of what
 * failed, -EIO if there is none.  -ETIMEDOUT when the server was silent for
 * silence_s or is not done after total_s: the handle can then only be closed,
 * and buffers of the command stay in use until that.
 */
int nbd_command_wait (struct nbd_handle *h, int64_t cookie,
                      unsigned silence_s, unsigned total_s, struct err *err);

/* What an export looks like, to know it again on another connection: a
 * checksum of some bytes at both ends of it, where headers and footers of
 * images are.
 */
struct nbd_ends {
  bool known;                   /* false: the server could not read them */
  uint32_t crc;
};

/* Read them.  unit is the server's minimum block size, a power of 2 and a
 * divisor of size.  Fails when the connection does, and the handle can then
 * only be closed.
 */
int nbd_ends_read (struct nbd_handle *h, uint64_t size, uint32_t unit,
                   struct nbd_ends *ends, struct err *err);

/* libnbd's last error on this thread as err; returns its negative errno,
 * -EIO if it has none.
 */
int err_libnbd (struct err *err);

#endif /* NBDIMAGE_BLOCK_NBD_CONNECT_H */
