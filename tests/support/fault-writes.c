/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Calls that write, beside those of fault-calls.c.  A write that fails has
 * done half before, in whole sectors.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/support/fault.h"

#define EIO_BITS (FAULT_BIT (FAULT_EIO) | FAULT_BIT (FAULT_EIO_FROM))
#define ENOSPC_BITS (FAULT_BIT (FAULT_ENOSPC) | FAULT_BIT (FAULT_ENOSPC_FROM))

ssize_t __real_pwrite (int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite (int fd, const void *buf, size_t len, off_t off);
ssize_t __real_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off,
                         int flags);
ssize_t __wrap_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off,
                         int flags);
int __wrap_fdatasync (int fd);
int __wrap_fsync (int fd);
int __real_linkat (int at, const char *from, int to_at, const char *to,
                   int flags);
int __wrap_linkat (int at, const char *from, int to_at, const char *to,
                   int flags);
int __real_fallocate (int fd, int mode, off_t off, off_t len);
int __wrap_fallocate (int fd, int mode, off_t off, off_t len);
int __real_ftruncate (int fd, off_t size);
int __wrap_ftruncate (int fd, off_t size);

/* Sets errno if the call is to fail. */
static bool
fails (void)
{
  if (fault_here (EIO_BITS))
    errno = EIO;
  else if (fault_here (ENOSPC_BITS))
    errno = ENOSPC;
  else
    return false;
  return true;
}

ssize_t
__wrap_pwrite (int fd, const void *buf, size_t len, off_t off)
{
  if (fault_here (FAULT_BIT (FAULT_SHORT)))
    return __real_pwrite (fd, buf, (len + 1) / 2, off);
  if (fault_here (FAULT_BIT (FAULT_EINTR))) {
    errno = EINTR;
    return -1;
  }
  if (fails ()) {
    int e = errno;

    if (len >= 1024)
      (void) !__real_pwrite (fd, buf, len / 1024 * 512, off);
    errno = e;
    return -1;
  }
  return __real_pwrite (fd, buf, len, off);
}

static unsigned nr_failed_syncs;

unsigned
fault_failed_syncs (void)
{
  return nr_failed_syncs;
}

/* It only says that what is there already shall be on stable storage. */
ssize_t
__wrap_pwritev2 (int fd, const struct iovec *iov, int nr, off_t off, int flags)
{
  if (fault_here (EIO_BITS | FAULT_BIT (FAULT_SYNC))) {
    nr_failed_syncs++;
    errno = EIO;
    return -1;
  }
  return __real_pwritev2 (fd, iov, nr, off, flags & ~RWF_DSYNC);
}

/* Nobody cuts the power here, and a disk would take its time. */
int
__wrap_fdatasync (int fd)
{
  (void) fd;
  if (fault_here (EIO_BITS | FAULT_BIT (FAULT_SYNC))) {
    nr_failed_syncs++;
    errno = EIO;
    return -1;
  }
  return 0;
}

int
__wrap_fsync (int fd)
{
  return __wrap_fdatasync (fd);
}

int
__wrap_linkat (int at, const char *from, int to_at, const char *to, int flags)
{
  return fails () ? -1 : __real_linkat (at, from, to_at, to, flags);
}

int
__wrap_fallocate (int fd, int mode, off_t off, off_t len)
{
  return fails () ? -1 : __real_fallocate (fd, mode, off, len);
}

int
__wrap_ftruncate (int fd, off_t size)
{
  return fails () ? -1 : __real_ftruncate (fd, size);
}
