/* SPDX-License-Identifier: GPL-2.0-or-later */

/* To be preloaded: while the file NBDIMAGE_BAD_DISK is there, what is written
 * to files fails as it says: "EIO" and "ENOSPC" writes, "half" writes that
 * would be of more than a sector, after half of it, "sync" flushes.
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__ (&name)) dlsym (RTLD_NEXT, #name))

ssize_t pwrite64 (int fd, const void *buf, size_t len, off_t off);
int fallocate64 (int fd, int mode, off_t off, off_t len);

static bool
says (const char *word)
{
  const char *path = getenv ("NBDIMAGE_BAD_DISK");
  int fd = path ? open (path, O_RDONLY | O_CLOEXEC) : -1;
  char text[16] = "";
  ssize_t n;

  if (fd < 0)
    return false;
  n = read (fd, text, sizeof text - 1);
  close (fd);
  return n > 0 && strncmp (text, word, strlen (word)) == 0;
}

/* Sets errno. */
static bool
fails (void)
{
  if (says ("EIO"))
    errno = EIO;
  else if (says ("ENOSPC"))
    errno = ENOSPC;
  else
    return false;
  return true;
}

ssize_t
pwrite (int fd, const void *buf, size_t len, off_t off)
{
  if (fails ())
    return -1;
  if (len > 512 && says ("half")) {
    (void) !REAL (pwrite) (fd, buf, len / 2, off);
    errno = ENOSPC;
    return -1;
  }
  return REAL (pwrite) (fd, buf, len, off);
}

ssize_t
pwrite64 (int fd, const void *buf, size_t len, off_t off)
{
  return pwrite (fd, buf, len, off);
}

int
fallocate (int fd, int mode, off_t off, off_t len)
{
  return fails () ? -1 : REAL (fallocate) (fd, mode, off, len);
}

int
fallocate64 (int fd, int mode, off_t off, off_t len)
{
  return fallocate (fd, mode, off, len);
}

int
fdatasync (int fd)
{
  if (says ("sync")) {
    errno = EIO;
    return -1;
  }
  return REAL (fdatasync) (fd);
}

ssize_t
pwritev2 (int fd, const struct iovec *iov, int nr, off_t off, int flags)
{
  if (says ("sync")) {
    errno = EIO;
    return -1;
  }
  return REAL (pwritev2) (fd, iov, nr, off, flags);
}
