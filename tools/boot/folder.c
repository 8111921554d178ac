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
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/boot/boot.h"

int
private_folder_new (char **folder, struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  const char *tmpdir = getenv ("TMPDIR");

  /* /var/tmp rather than /tmp: what the guest writes may not fit into
   * memory.
   */
  if (tmpdir == NULL || *tmpdir != '/')
    tmpdir = "/var/tmp";
  if (asprintf (&path, "%s/nbdimage-boot.XXXXXX", tmpdir) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  if (mkdtemp (path) == NULL)
    return err_sys (err, "making a folder in %s", tmpdir);
  *folder = steal_ptr (&path);
  return 0;
}

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
