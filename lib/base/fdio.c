/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fdio.h"

int
fd_pread (int fd, void *buf, size_t len, uint64_t off, struct err *err)
{
  char *p = buf;

  while (len > 0) {
    ssize_t r = pread (fd, p, len, (off_t) off);

    if (r < 0 && errno == EINTR)
      continue;
    if (r < 0)
      return err_sys (err, "reading %zu bytes at offset %" PRIu64, len, off);
    if (r == 0)
      return err_set (err, -EIO, "the file ends at offset %" PRIu64
                      ", before the %zu bytes expected there", off, len);
    p += r;
    off += (uint64_t) r;
    len -= (size_t) r;
  }
  return 0;
}

int
fd_pwrite (int fd, const void *buf, size_t len, uint64_t off,
           struct err *err)
{
  const char *p = buf;

  while (len > 0) {
    ssize_t r = pwrite (fd, p, len, (off_t) off);

    if (r < 0 && errno == EINTR)
      continue;
    if (r < 0)
      return err_sys (err, "writing %zu bytes at offset %" PRIu64, len, off);
    p += r;
    off += (uint64_t) r;
    len -= (size_t) r;
  }
  return 0;
}

int
fd_size (int fd, uint64_t *size, struct err *err)
{
  struct stat st;
  off_t end;

  if (fstat (fd, &st) < 0)
    return err_sys (err, "fstat");
  if (S_ISREG (st.st_mode)) {
    *size = (uint64_t) st.st_size;
    return 0;
  }
  if (!S_ISBLK (st.st_mode))
    return err_set (err, -ENOTSUP,
                    "not a regular file and not a block device");
  /* No other thread uses the descriptor's position. */
  end = lseek (fd, 0, SEEK_END);
  if (end < 0)
    return err_sys (err, "seeking to the end");
  *size = (uint64_t) end;
  return 0;
}
