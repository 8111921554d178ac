/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file below a loop device changes while what is on that is mounted; no lock
 * on the file shows it.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "tools/backup/backup-tool.h"
#include "tools/backup/device.h"

/* The path that a loop device has of its file, as far as it has one. */
static bool
is_below (const char *name, const struct stat *file)
{
  char path[300], line[4096];
  struct stat st;

  snprintf (path, sizeof path, "/sys/block/%s/loop/backing_file", name);

  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");

  if (fp == NULL || fgets (line, sizeof line, fp) == NULL)
    return false;
  line[strcspn (line, "\n")] = '\0';
  return stat (line, &st) == 0 && st.st_dev == file->st_dev &&
    st.st_ino == file->st_ino;
}

static int
check_loop (const char *name, struct err *err)
{
  struct mount_vector mounts = VECTOR_INIT;
  struct device device;
  char path[300];
  int r;

  snprintf (path, sizeof path, "/sys/block/%s/dev", name);
  if (!device_read (path, &device))
    return 0;
  r = device_list_mounts (&device, DEVICE_WRITTEN, &mounts, err);
  if (r == 0 && mounts.len > 0)
    r = err_set (err, -EBUSY, "is below /dev/%s, which is mounted for writing "
                 "at %s: what changes while it is read makes a backup that is "
                 "of no moment; unmount it, back up /dev/%s with --freeze, or "
                 "take it as it is with --live", name,
                 mount_where (&mounts.ptr[0]), name);
  mounts_free (&mounts);
  return r;
}

int
backup_file_check_still (struct block *disk, struct err *err)
{
  int fd = block_file_fd (disk), r = 0;
  struct dirent *entry;
  struct stat st;
  DIR *dir;

  if (fd < 0 || fstat (fd, &st) < 0 || !S_ISREG (st.st_mode))
    return 0;
  dir = opendir ("/sys/block");
  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL)
    if (strncmp (entry->d_name, "loop", 4) == 0 &&
        is_below (entry->d_name, &st))
      r = check_loop (entry->d_name, err);
  if (dir != NULL)
    closedir (dir);
  return r;
}
