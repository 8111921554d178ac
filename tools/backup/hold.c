/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Holding a disk still that is mounted. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "tools/backup/backup-tool.h"

static int
refuse (const struct mount *mount, const char *what, struct err *err)
{
  return err_set (err, -EBUSY, "the file system at %s can't be frozen: %s is "
                  "in it, and would wait for itself; unmount it, mount it "
                  "read-only, back up a snapshot of it, or take it as it is "
                  "with --live", mount_where (mount), what);
}

/* A file or folder that will be written, or made in a folder. */
static int
check_path (const struct mount_vector *mounts, const char *path,
            const char *what, struct err *err)
{
  CLEANUP_FREE char *copy = strdup (path);
  CLEANUP_CLOSE int fd = -1;
  const struct mount *mount;

  if (copy == NULL)
    return err_nomem (err);
  fd = open (path, O_PATH | O_CLOEXEC);
  if (fd < 0)
    fd = open (dirname (copy), O_PATH | O_CLOEXEC);
  mount = fd >= 0 ? mounts_find (mounts, fd) : NULL;
  return mount != NULL ? refuse (mount, what, err) : 0;
}

/* What this command writes to, and what others need to thaw it by hand. */
static int
check_targets (const struct mount_vector *mounts, const char *target,
               struct err *err)
{
  static const char *const streams[] = {
    "standard input", "standard output", "standard error",
  };
  int r = check_path (mounts, "/", "the root of this system", err);

  if (r == 0 && strcmp (target, "-") != 0)
    r = check_path (mounts, target, "the backup", err);
  for (int fd = 1; r == 0 && fd <= 2; ++fd) {
    const struct mount *mount = mounts_find (mounts, fd);

    if (mount != NULL)
      r = refuse (mount, streams[fd], err);
  }
  return r;
}

/* What is frozen, if it is now. */
static int
list (struct block *disk, const char *target, struct mount_vector *mounts,
      struct err *err)
{
  int r = backup_device_mounts (disk, mounts, err);

  return r == 0 && mounts->len > 0 ? check_targets (mounts, target, err) : r;
}

int
backup_hold_new (struct block *disk, const char *target,
                 struct backup_held *held, struct err *err)
{
  struct mount_vector mounts = VECTOR_INIT;
  int r;

  if (!backup_is_device (disk))
    return 0;
  r = list (disk, target, &mounts, err);
  mounts_free (&mounts);
  return r < 0 ? r : freeze_new (&held->freeze, err);
}

int
backup_hold (struct block *disk, const char *target, unsigned seconds,
             struct backup_held *held, struct job *job, struct err *err)
{
  int r;

  if (held->freeze == NULL)
    return 0;
  job_start (job, "freezing", 0);
  r = list (disk, target, &held->mounts, err);
  held->listed = r == 0;
  if (r < 0 || held->mounts.len == 0)
    return r;
  r = freeze_begin (held->freeze, &held->mounts, seconds, job, err);
  if (r < 0)
    return r;
  /* Files are written past the pages that the kernel has of the device: those
   * may be of any time.
   */
  if (ioctl (block_file_fd (disk), BLKFLSBUF, 0) < 0)
    return err_sys (err, "BLKFLSBUF");
  return 0;
}

/* What was mounted since was not frozen. */
static int
check_nothing_new (struct block *disk, const struct mount_vector *mounts,
                   struct err *err)
{
  struct mount_vector now = VECTOR_INIT;
  int r = backup_device_mounts (disk, &now, err);

  for (size_t i = 0; r == 0 && i < now.len; ++i)
    if (!mounts_have (mounts, &now.ptr[i]))
      r = err_set (err, -EBUSY, "was mounted for writing at %s while it was "
                   "read, and that was not frozen: the backup would be of no "
                   "moment", mount_where (&now.ptr[i]));
  mounts_free (&now);
  return r < 0 ? r : backup_device_check_known (disk, err);
}

int
backup_hold_end (struct block *disk, struct backup_held *held,
                 struct err *err)
{
  int r = held->freeze != NULL ? freeze_end (held->freeze, err) : 0;

  return r < 0 || !held->listed ? r
    : check_nothing_new (disk, &held->mounts, err);
}

void
backup_hold_free (struct backup_held *held)
{
  freeze_free (held->freeze);
  held->freeze = NULL;
  mounts_free (&held->mounts);
}
