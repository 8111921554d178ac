/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/format/pending-home.h"
#include "lib/format/pending-sweep.h"

/* So many are looked at, at most: others have their turn when these are
 * gone.
 */
#define MAX_FILES 1000

/* It was not finished, or is of a later version that has another header: that
 * is not for us to judge.
 */
static bool
is_journal (const struct pending_header *h)
{
  return memcmp (h->magic, PENDING_MAGIC, sizeof h->magic) == 0 &&
    h->checksum == pending_header_checksum (h);
}

static bool
is_needless (int fd, const struct pending_header *ours)
{
  uint8_t home[PENDING_HOME_SIZE];
  struct pending_header h;

  if (fd_pread (fd, &h, sizeof h, 0, NULL) < 0 || !is_journal (&h))
    return false;
  if (memcmp (h.boot, ours->boot, sizeof h.boot) != 0)
    return true;
  if (h.dev == ours->dev && h.ino == ours->ino && h.born != 0 &&
      ours->born != 0 && h.born != ours->born)
    return true;
  return fd_pread (fd, home, sizeof home, PENDING_HOME_OFF, NULL) == 0 &&
    pending_home_is_gone (home, h.dev);
}

/* Somebody may have removed it meanwhile, and made another one. */
static bool
lock (int folder, const char *name, int fd)
{
  struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  struct stat st, now;

  return fcntl (fd, F_OFD_SETLK, &all) == 0 && fstat (fd, &st) == 0 &&
    S_ISREG (st.st_mode) && st.st_uid == geteuid () &&
    fstatat (folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
    now.st_dev == st.st_dev && now.st_ino == st.st_ino;
}

static void
sweep_one (int folder, const char *name, const struct pending_header *ours)
{
  CLEANUP_CLOSE int fd = openat (folder, name, O_RDWR | O_NOFOLLOW |
                                 O_NONBLOCK | O_CLOEXEC);

  /* Locked only then: whoever needs one would be refused meanwhile. */
  if (fd >= 0 && is_needless (fd, ours) && lock (folder, name, fd))
    unlinkat (folder, name, 0);
}

void
pending_sweep (int folder, const struct pending_header *ours)
{
  int fd = openat (folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);
  const struct dirent *d;

  if (dir == NULL) {
    cleanup_close (&fd);
    return;
  }
  for (unsigned n = 0; n < MAX_FILES && (d = readdir (dir)) != NULL;)
    if (strncmp (d->d_name, PENDING_NAME, strlen (PENDING_NAME)) == 0) {
      sweep_one (folder, d->d_name, ours);
      n++;
    }
  closedir (dir);
}
