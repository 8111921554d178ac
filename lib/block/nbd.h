/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An export of an NBD server as a block, through libnbd.
 *
 * Several connections are used where the server says multi-conn, opened when
 * requests need them: a request checks a connection out, runs on it and puts
 * it back, so that requests run in parallel and no lock is held across I/O.
 * Other servers get one: some keep the second waiting for the end of the
 * first, reading or not (qemu-nbd, unless told otherwise).
 *
 * When we only read, a connection that broke is dropped and the request tried
 * on a fresh one; if there is none, the request fails with -EIO, and the next
 * one tries again.  When we write, all that follows fails with -EIO.
 *
 * A flush waits for the requests on all connections that have acknowledged a
 * write since their last flush, and goes out on each of them.
 */

#ifndef NBDIMAGE_BLOCK_NBD_H
#define NBDIMAGE_BLOCK_NBD_H

#include "lib/block/block.h"

/* Is this a URI that block_nbd_open takes?  nbd:, nbds:, nbd+unix:,
 * nbds+unix:, nbd+vsock:, nbds+vsock:.
 */
bool block_nbd_is_uri (const char *str);

#define BLOCK_NBD_WRITE 1U      /* -EROFS if the export is read-only */

/* Connect.  The name of the block is the URI. */
int block_nbd_open (const char *uri, unsigned flags, struct block **out,
                    struct err *err);

/* The description the server gives for the export, or NULL; owned by the
 * block.  NULL for blocks of other kinds.
 */
const char *block_nbd_description (const struct block *block);

/* Does a flush do anything?  False of servers that know none, for which it
 * succeeds all the same, and of blocks of other kinds.
 */
bool block_nbd_can_flush (const struct block *block);

#endif /* NBDIMAGE_BLOCK_NBD_H */
