/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Connecting to an NBD server in bounded time.  libnbd's synchronous calls
 * wait for a server that accepts and then says nothing as long as it says
 * nothing.
 */

#ifndef NBDIMAGE_BLOCK_NBD_CONNECT_H
#define NBDIMAGE_BLOCK_NBD_CONNECT_H

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

/* libnbd's last error on this thread as err; returns its negative errno,
 * -EIO if it has none.
 */
int err_libnbd (struct err *err);

#endif /* NBDIMAGE_BLOCK_NBD_CONNECT_H */
