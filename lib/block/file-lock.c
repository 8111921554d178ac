/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Locks of open file descriptions (F_OFD_SETLK of fcntl(2)), which go with
 * the last descriptor, however a process ends.
 *
 * Who writes has a write lock on the whole file: that conflicts with every
 * lock there may be.  Who reads has read locks, which conflict with it; but
 * not on the whole file, because of QEMU.
 *
 * QEMU (block/file-posix.c there) says by read locks on single bytes what it
 * does, and what others must not do:
 *
 *   100 reads · 101 writes · 103 resizes
 *   200 others must not read · 201 write · 203 resize
 *
 * and looks at each of those bytes whether anybody has a lock on it.  Readers
 * here take part in that: they lock 100, 201 and 203, so that a QEMU that
 * reads gets on with them, and one that would write does not; and they look
 * at 101, 103 and 200, where a QEMU that is writing has its locks.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "lib/block/file-lock.h"

#define QEMU_READS 100
#define QEMU_WRITES 101
#define QEMU_RESIZES 103
#define QEMU_NO_READING 200
#define QEMU_NO_WRITING 201
#define QEMU_NO_RESIZING 203
#define QEMU_END 300            /* it may use more of them some day */

static int
set_lock (int fd, short type, off_t off, off_t len)
{
  struct flock lock = {
    .l_type = type, .l_whence = SEEK_SET, .l_start = off, .l_len = len,
  };

  return fcntl (fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Has anybody else any lock there?  Who can't tell has none. */
static bool
is_locked (int fd, off_t off)
{
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = off, .l_len = 1,
  };

  return fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int
lock_for_reading (int fd)
{
  static const struct { off_t off, len; } ranges[] = {
    { 0, QEMU_READS }, { QEMU_READS, 1 }, { QEMU_NO_WRITING, 1 },
    { QEMU_NO_RESIZING, 1 }, { QEMU_END, 0 },
  };
  int r = 0;

  for (size_t i = 0; r == 0 && i < sizeof ranges / sizeof ranges[0]; ++i)
    r = set_lock (fd, F_RDLCK, ranges[i].off, ranges[i].len);
  if (r == 0 && (is_locked (fd, QEMU_WRITES) ||
                 is_locked (fd, QEMU_RESIZES) ||
                 is_locked (fd, QEMU_NO_READING)))
    r = -EAGAIN;
  if (r < 0)
    set_lock (fd, F_UNLCK, 0, 0);
  return r;
}

int
file_lock (int fd, const char *name, bool writable, struct report *report,
           struct err *err)
{
  int r = writable ? set_lock (fd, F_WRLCK, 0, 0) : lock_for_reading (fd);

  if (r == -EAGAIN || r == -EACCES)
    return err_set (err, -EBUSY, writable
                    ? "is in use by another process, so that it can't be "
                      "opened for writing"
                    : "is being written by another process");
  if (r < 0)
    report_warn (report, "%s: the file system can't lock files (%s); make "
                 "sure that nothing else writes to it", name, strerror (-r));
  return 0;
}
