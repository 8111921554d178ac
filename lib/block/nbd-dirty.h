/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Dirty bitmaps of QEMU, as its NBD servers tell them: the metadata context
 * qemu:dirty-bitmap:NAME (QEMU's docs/interop/nbd.txt).
 */

#ifndef NBDIMAGE_BLOCK_NBD_DIRTY_H
#define NBDIMAGE_BLOCK_NBD_DIRTY_H

#include <stdint.h>

#include "lib/base/err.h"

struct nbd_dirty {
  uint64_t size;                /* of the export, bytes */

  /* [off, off+len), inside the export, was written since the bitmap began; in
   * ascending order.  0, or an error that ends it.
   */
  int (*add) (void *opaque, uint64_t off, uint64_t len, struct err *err);
  void *opaque;
};

/* Over a connection of its own, which is closed when this returns: size is set,
 * and add called with all that is dirty, at the bitmap's granularity.  -ENOENT:
 * the server has no such bitmap for this export.  Other errors as
 * nbd_connect_export and nbd_command_wait.
 */
int nbd_dirty_read (const char *uri, const char *bitmap,
                    struct nbd_dirty *dirty, struct err *err);

#endif /* NBDIMAGE_BLOCK_NBD_DIRTY_H */
