/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Whoever needs a device for itself claims it: a file system that is mounted,
 * swap, LVM, RAID.  To open it with O_EXCL is to ask whether somebody has, also
 * where he can't be seen: a mount namespace without a process, a file system
 * of several devices, one that was unmounted lazily and still has open files.
 * A claim of a partition is one of its disk too, and the other way round, so
 * each part is asked for itself.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/backup/device.h"

#define MAX_DEPTH 16

/* Others ask as well, and have a claim for a moment. */
#define TRIES 20
#define PAUSE_MS 50

/* "/dev/NAME", as the kernel calls it; false: there is no such device. */
static bool
find_name (const struct device *device, char name[272])
{
  char path[64], line[256];
  struct device found;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/uevent", device->major,
            device->minor);

  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");

  while (fp != NULL && fgets (line, sizeof line, fp) != NULL)
    if (strncmp (line, "DEVNAME=", 8) == 0) {
      line[strcspn (line, "\n")] = '\0';
      snprintf (name, 272, "/dev/%s", line + 8);
      return device_at (name, &found) && device_is_same (&found, device);
    }
  return false;
}

static bool
is_claimed (const char *name)
{
  int fd = open (name, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);

  if (fd >= 0)
    close (fd);
  return fd < 0 && errno == EBUSY;
}

/*--- What lies on it --------------------------------------------------------*/

/* The devices that it has in a folder of /sys: "holders", or "" for its
 * partitions.  0, or what fn says, which ends it.
 */
static int
for_each (const struct device *device, const char *folder,
          int (*fn) (const struct device *other, void *opaque,
                     struct err *err),
          void *opaque, struct err *err)
{
  char path[400];
  struct dirent *entry;
  int r = 0;
  DIR *dir;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%s", device->major,
            device->minor, folder);
  dir = opendir (path);
  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL) {
    struct device other;

    if (entry->d_name[0] == '.')
      continue;
    snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%s/%.255s/partition",
              device->major, device->minor, folder, entry->d_name);
    if (*folder == '\0' && access (path, F_OK) < 0)
      continue;
    strcpy (strrchr (path, '/'), "/dev");
    if (device_read (path, &other))
      r = fn (&other, opaque, err);
  }
  if (dir != NULL)
    closedir (dir);
  return r;
}

static int
found (const struct device *other, void *opaque, struct err *err)
{
  (void) other;
  (void) opaque;
  (void) err;
  return 1;
}

static int
has_holders (const struct device *device, void *opaque, struct err *err)
{
  return for_each (device, "holders", found, opaque, err);
}

/* Something lies on all of the disk, not on one of its partitions. */
static bool
is_whole_in_use (const struct device *disk, const struct mount_vector *mounts)
{
  for (size_t i = 0; i < mounts->len; ++i)
    if (mounts->ptr[i].major == disk->major &&
        mounts->ptr[i].minor == disk->minor)
      return true;
  return has_holders (disk, NULL, NULL) > 0;
}

/* By swap, by a mount, also for reading only, by LVM and the like: of it, of a
 * partition, or of the disk that it is one of.
 */
static int
is_in_use (const struct device *device, bool *is, struct err *err)
{
  CLEANUP_FREE char *swap = device_find_swap (device);
  struct mount_vector mounts = VECTOR_INIT, others = VECTOR_INIT;
  struct device disk;
  int r = device_list_mounts (device, DEVICE_MOUNTED, &mounts, err);

  *is = swap != NULL || mounts.len > 0 ||
    has_holders (device, NULL, NULL) > 0 ||
    for_each (device, "", has_holders, NULL, NULL) > 0;
  if (r == 0 && !*is && device_disk (device, &disk)) {
    r = device_list_mounts (&disk, DEVICE_MOUNTED, &others, err);
    *is = is_whole_in_use (&disk, &others);
  }
  mounts_free (&mounts);
  mounts_free (&others);
  return r;
}

/*--- All of it --------------------------------------------------------------*/

static int
check_claim (const struct device *device, struct err *err)
{
  const struct timespec pause = { 0, PAUSE_MS * 1000000L };
  char name[272];

  if (!find_name (device, name))
    return 0;
  for (int i = 0; i < TRIES && is_claimed (name); ++i) {
    bool explained;
    int r = is_in_use (device, &explained, err);

    if (r < 0 || explained)
      return r;
    nanosleep (&pause, NULL);
    if (i == TRIES - 1)
      return err_set (err, -EBUSY, "%s is in use, perhaps by a file system "
                      "that is mounted where it can't be seen from here: it "
                      "may change while it is read; find who has it and end "
                      "that, or take it as it is with --live", name);
  }
  return 0;
}

static int
check (const struct device *device, void *opaque, struct err *err)
{
  unsigned *depth = opaque;
  int r;

  if (*depth == 0)
    return 0;
  --*depth;
  r = check_claim (device, err);
  if (r == 0)
    r = for_each (device, "", check, depth, err);
  if (r == 0)
    r = for_each (device, "holders", check, depth, err);
  ++*depth;
  return r;
}

int
device_check_claims (const struct device *device, struct err *err)
{
  unsigned depth = MAX_DEPTH;

  return check (device, &depth, err);
}
