/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A private folder: the socket between QEMU and our server, QEMU's temporary
 * files, UEFI's variables.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/boot/boot.h"

#define PREFIX "nbdimage-boot."

void
private_folder_remove (const char *folder)
{
  int fd = open (folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir (fd) : NULL;
  const struct dirent *entry;

  while (dir && (entry = readdir (dir)) != NULL)
    if (strcmp (entry->d_name, ".") != 0 && strcmp (entry->d_name, "..") != 0)
      unlinkat (dirfd (dir), entry->d_name, 0);
  if (dir)
    closedir (dir);
  else if (fd >= 0)
    close (fd);
  rmdir (folder);
}

/* Lock what is there under that name, a folder of this user's: its
 * descriptor; -1 if it is another's, or locked, or is gone by then.
 */
static int
lock_folder (int dir, const char *name)
{
  CLEANUP_CLOSE int fd = openat (dir, name, O_RDONLY | O_DIRECTORY |
                                 O_NOFOLLOW | O_CLOEXEC);
  struct stat st, now;

  if (fd < 0 || fstat (fd, &st) < 0 || st.st_uid != geteuid () ||
      flock (fd, LOCK_EX | LOCK_NB) < 0 ||
      fstatat (dir, name, &now, AT_SYMLINK_NOFOLLOW) < 0 ||
      now.st_dev != st.st_dev || now.st_ino != st.st_ino)
    return -1;
  return steal_fd (&fd);
}

/* What somebody left who was killed.  What can't be removed stays. */
static void
remove_leftovers (const char *tmpdir)
{
  const size_t len = strlen (PREFIX) + 6;
  DIR *dir = opendir (tmpdir);
  const struct dirent *entry;

  while (dir && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *path = NULL;
    CLEANUP_CLOSE int fd = -1;

    if (strncmp (entry->d_name, PREFIX, strlen (PREFIX)) != 0 ||
        strlen (entry->d_name) != len)
      continue;
    fd = lock_folder (dirfd (dir), entry->d_name);
    if (fd < 0)
      continue;
    if (asprintf (&path, "%s/%s", tmpdir, entry->d_name) < 0)
      path = NULL;
    else
      private_folder_remove (path);
  }
  if (dir)
    closedir (dir);
}

int
private_folder_new (char **folder, int *lock_fd, struct err *err)
{
  const char *tmpdir = getenv ("TMPDIR");

  /* /var/tmp rather than /tmp: what the guest writes may not fit into
   * memory.
   */
  if (tmpdir == NULL || *tmpdir != '/')
    tmpdir = "/var/tmp";
  remove_leftovers (tmpdir);
  for (int tries = 0; tries < 10; ++tries) {
    CLEANUP_FREE char *path = NULL;

    if (asprintf (&path, "%s/" PREFIX "XXXXXX", tmpdir) < 0) {
      path = NULL;
      return err_nomem (err);
    }
    if (mkdtemp (path) == NULL)
      return err_sys (err, "making a folder in %s", tmpdir);
    /* Another that starts now may have taken it for a leftover. */
    *lock_fd = lock_folder (AT_FDCWD, path);
    if (*lock_fd >= 0) {
      *folder = steal_ptr (&path);
      return 0;
    }
    rmdir (path);
  }
  return err_set (err, -EBUSY, "a new folder in %s can't be locked", tmpdir);
}
