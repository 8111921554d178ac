/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file is known by the handle that its file system gives it, as for NFS:
 * inode number and generation, which tell a file from a later one in the same
 * inode, and find it under any name.  Asked for the handle of a file that was
 * deleted, the kernel says ESTALE.  It does so for an inode that it can't read
 * as well; so looking at what has the file's name now must not fail otherwise.
 *
 *    0   u32  checksum: CRC-32C of all PENDING_HOME_SIZE bytes with 0 here
 *    4   s32  type of the handle
 *    8   u32  its length
 *   12        the handle
 *  160        the path, NUL at its end
 *
 * Read by the same machine in the same boot: in its order of bytes.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/format/pending-home.h"

#define HANDLE_SIZE 140
#define PATH_SIZE (PENDING_HOME_SIZE - 160)

struct home {
  uint32_t checksum;
  int32_t handle_type;
  uint32_t handle_len;
  uint8_t handle[HANDLE_SIZE];
  uint8_t reserved[8];
  char path[PATH_SIZE];
};

_Static_assert (sizeof (struct home) == PENDING_HOME_SIZE, "struct home");
_Static_assert (HANDLE_SIZE >= MAX_HANDLE_SZ, "HANDLE_SIZE");

/* struct file_handle, with room. */
union handle {
  struct file_handle fh;
  uint8_t bytes[sizeof (struct file_handle) + MAX_HANDLE_SZ];
};

static uint32_t
checksum (const struct home *home)
{
  struct home copy = *home;

  copy.checksum = 0;
  return crc32c_update (0, &copy, sizeof copy);
}

void
pending_home_put (int fd, uint8_t bytes[PENDING_HOME_SIZE])
{
  union handle h = { .fh.handle_bytes = MAX_HANDLE_SZ };
  struct home home = { .checksum = 0 };
  char self[40];
  int mount_id;
  ssize_t n;

  snprintf (self, sizeof self, "/proc/self/fd/%d", fd);
  n = readlink (self, home.path, sizeof home.path);
  if (n <= 0 || n >= (ssize_t) sizeof home.path || home.path[0] != '/')
    return;
  home.path[n] = '\0';
  if (name_to_handle_at (fd, "", &h.fh, &mount_id, AT_EMPTY_PATH) < 0)
    return;
  home.handle_type = h.fh.handle_type;
  home.handle_len = h.fh.handle_bytes;
  memcpy (home.handle, h.fh.f_handle, home.handle_len);
  home.checksum = checksum (&home);
  memcpy (bytes, &home, sizeof home);
}

/* File systems of which it is known that a handle is of one file for ever,
 * and that they ask no server.
 */
static bool
is_trusted (int fd)
{
  struct statfs fs;

  if (fstatfs (fd, &fs) < 0)
    return false;
  switch (fs.f_type) {
  case EXT4_SUPER_MAGIC:
  case XFS_SUPER_MAGIC:
  case BTRFS_SUPER_MAGIC:
  case TMPFS_MAGIC:
    return true;
  }
  return false;
}

/* A folder of the file's file system, above where the file was; -1: there is
 * none any more.  path is cut.
 */
static int
open_folder_above (char *path, dev_t dev)
{
  char *slash;

  while ((slash = strrchr (path, '/')) != NULL) {
    CLEANUP_CLOSE int fd = -1;
    struct stat st;

    *slash = '\0';
    fd = open (slash == path ? "/" : path,
               O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && fstat (fd, &st) == 0 && st.st_dev == dev)
      return steal_fd (&fd);
  }
  return -1;
}

/* Does the name lead to a file that can be looked at, the same inode perhaps,
 * or to none?
 */
static bool
is_name_clear (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 || errno == ENOENT || errno == ENOTDIR;
}

bool
pending_home_is_gone (const uint8_t bytes[PENDING_HOME_SIZE], dev_t dev)
{
  CLEANUP_CLOSE int folder = -1, fd = -1;
  union handle h = { .fh.handle_bytes = 0 };
  struct home home;

  memcpy (&home, bytes, sizeof home);
  if (home.handle_len == 0 || home.handle_len > MAX_HANDLE_SZ ||
      home.checksum != checksum (&home) ||
      memchr (home.path, '\0', sizeof home.path) == NULL ||
      !is_name_clear (home.path))
    return false;
  folder = open_folder_above (home.path, dev);
  if (folder < 0 || !is_trusted (folder))
    return false;
  h.fh.handle_type = home.handle_type;
  h.fh.handle_bytes = home.handle_len;
  memcpy (h.fh.f_handle, home.handle, home.handle_len);
  fd = open_by_handle_at (folder, &h.fh, O_PATH | O_CLOEXEC);
  return fd < 0 && errno == ESTALE;
}
