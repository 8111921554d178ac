/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file below a loop device changes while what is on that is mounted; no lock
 * on the file shows it.
 */

#include <config.h>

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/block/file.h"
#include "lib/restore/device.h"
#include "tools/backup/backup-tool.h"
#include "tools/backup/device.h"

static int
check_loop (void *opaque, const char *name, dev_t loop, struct err *err)
{
  const struct device device = { major (loop), minor (loop) };
  struct mount_vector mounts = VECTOR_INIT;
  int r;

  (void) opaque;
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
  int fd = block_file_fd (disk);
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0 || !S_ISREG (st.st_mode))
    return 0;
  return restore_file_loops (&restore_this_system, &st, check_loop, NULL, err);
}
