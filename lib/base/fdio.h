/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Whole reads and writes on a file descriptor, past EINTR and short counts.
 * Argument order as everywhere: object, buffer, length, offset (bytes).
 * Safe from many threads on one descriptor.
 */

#ifndef NBDIMAGE_BASE_FDIO_H
#define NBDIMAGE_BASE_FDIO_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

/* Read exactly len bytes.  The end of the file inside them is -EIO: the
 * file became shorter than it was when it was opened.
 */
int fd_pread (int fd, void *buf, size_t len, uint64_t off, struct err *err);

int fd_pwrite (int fd, const void *buf, size_t len, uint64_t off,
               struct err *err);

/* Size in bytes of a regular file or block device; -ENOTSUP for the rest. */
int fd_size (int fd, uint64_t *size, struct err *err);

#endif /* NBDIMAGE_BASE_FDIO_H */
