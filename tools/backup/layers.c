/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "tools/backup/device.h"

/* Of partitions, LVM, encryption and RAID on each other. */
#define MAX_LAYERS 16

bool
device_of (struct block *disk, struct device *device)
{
  int fd = block_file_fd (disk);
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0 || !S_ISBLK (st.st_mode))
    return false;
  device->major = major (st.st_rdev);
  device->minor = minor (st.st_rdev);
  return true;
}

bool
device_at (const char *path, struct device *device)
{
  struct stat st;

  if (path[0] != '/' || stat (path, &st) < 0 || !S_ISBLK (st.st_mode))
    return false;
  device->major = major (st.st_rdev);
  device->minor = minor (st.st_rdev);
  return true;
}

bool
device_read (const char *path, struct device *device)
{
  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");
  char line[64];

  return fp != NULL && fgets (line, sizeof line, fp) != NULL &&
    sscanf (line, "%u:%u", &device->major, &device->minor) == 2;
}

bool
device_is_same (const struct device *a, const struct device *b)
{
  return a->major == b->major && a->minor == b->minor;
}

bool
device_disk (const struct device *device, struct device *disk)
{
  char path[256];

  /* Above a whole disk of NVMe lies a character device. */
  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/partition",
            device->major, device->minor);
  if (access (path, F_OK) != 0)
    return false;
  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/../dev", device->major,
            device->minor);
  return device_read (path, disk);
}

static bool is_on (const struct device *device, const struct device *other,
                   unsigned depth);

/* Does `other' lie on the device by what it is made of: LVM, encryption,
 * RAID?
 */
static bool
is_made_of (const struct device *device, const struct device *other,
            unsigned depth)
{
  char path[512];
  struct dirent *entry;
  bool found = false;
  DIR *dir;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/slaves", other->major,
            other->minor);
  dir = opendir (path);
  while (!found && dir != NULL && (entry = readdir (dir)) != NULL) {
    struct device slave;

    if (entry->d_name[0] == '.')
      continue;
    snprintf (path, sizeof path, "/sys/dev/block/%u:%u/slaves/%s/dev",
              other->major, other->minor, entry->d_name);
    found = device_read (path, &slave) && is_on (device, &slave, depth);
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

/* depth: how many layers there may be. */
static bool
is_on (const struct device *device, const struct device *other, unsigned depth)
{
  struct device disk;

  if (device_is_same (device, other))
    return true;
  if (depth == 0)
    return false;
  if (device_disk (other, &disk) && is_on (device, &disk, depth - 1))
    return true;
  return is_made_of (device, other, depth - 1);
}

bool
device_is_on (const struct device *device, const struct device *other)
{
  return is_on (device, other, MAX_LAYERS);
}
