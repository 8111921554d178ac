/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"

/* How often to try again when something was renamed under our feet. */
#define MAX_TRIES 8

static int without_openat2;

void
beneath_without_openat2 (int without)
{
  without_openat2 = without;
}

/* One part of a path after another, following no link.  Returns a
 * descriptor, or -1 with errno.
 */
static int
walk (int folder_fd, char *path, int flags)
{
  CLEANUP_CLOSE int dir = -1;
  char *save = NULL, *part = strtok_r (path, "/", &save), *next;

  for (; part; part = next) {
    int at = dir >= 0 ? dir : folder_fd, fd;

    next = strtok_r (NULL, "/", &save);
    if (strcmp (part, "..") == 0) {
      errno = EXDEV;
      return -1;
    }
    if (next == NULL)
      return openat (at, part, flags | O_NOFOLLOW);
    fd = openat (at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
      return -1;
    if (dir >= 0)
      close (dir);
    dir = fd;
  }
  return openat (folder_fd, ".", flags);
}

static int
walk_copy (int folder_fd, const char *path, int flags)
{
  CLEANUP_FREE char *copy = NULL;

  if (path[0] == '/') {
    errno = EXDEV;
    return -1;
  }
  copy = strdup (path);
  return copy ? walk (folder_fd, copy, flags) : -1;
}

static int
open_beneath (int folder_fd, const char *path, int flags)
{
  struct open_how how = {
    .flags = (unsigned) flags,
    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
  };
  long fd = -1;

  if (path[0] == '\0')
    path = ".";
  if (without_openat2)
    return walk_copy (folder_fd, path, flags);
  for (int i = 0; i < MAX_TRIES; ++i) {
    fd = syscall (SYS_openat2, folder_fd, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
      break;
  }
  /* Sandboxes answer EPERM to calls that they do not know. */
  if (fd < 0 && (errno == ENOSYS || errno == EPERM))
    return walk_copy (folder_fd, path, flags);
  return (int) fd;
}

/* Paths in messages are cut off where a reader has long understood, so that
 * the reason behind them is not.
 *
 * A file is looked at before it is opened: opening a device may already do
 * something.  What was opened is looked at again, it may be another one.
 */
int
beneath_open_file (int folder_fd, const char *path, int *out,
                   struct err *err)
{
  static const int how[] = { O_PATH | O_CLOEXEC,
                             O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };

  for (size_t i = 0; i < sizeof how / sizeof how[0]; ++i) {
    CLEANUP_CLOSE int fd = open_beneath (folder_fd, path, how[i]);
    struct stat st;

    if (fd < 0)
      return err_sys (err, "‘%.150s’ can't be opened", path);
    if (fstat (fd, &st) < 0)
      return err_sys (err, "‘%.150s’: fstat", path);
    if (!S_ISREG (st.st_mode))
      return err_set (err, -ENOTSUP, "‘%.150s’ is not a regular file", path);
    if (i + 1 == sizeof how / sizeof how[0])
      *out = steal_fd (&fd);
  }
  return 0;
}

int
beneath_open_folder (int folder_fd, const char *path, int *out,
                     struct err *err)
{
  int fd = open_beneath (folder_fd, path,
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd < 0)
    return err_sys (err, "the folder ‘%.150s’ can't be opened", path);
  *out = fd;
  return 0;
}
