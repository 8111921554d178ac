/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Disks of this machine, as /sys and /proc describe them. */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/block/file.h"
#include "tools/backup/backup-tool.h"

/* Of partitions, LVM, encryption and RAID on each other. */
#define MAX_LAYERS 16

struct device {
  unsigned major, minor;
};

/* False: it is no block device. */
static bool
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
backup_is_device (struct block *disk)
{
  struct device device;

  return device_of (disk, &device);
}

/*--- What it is -------------------------------------------------------------*/

/* The first line of a file of the device, or of the disk that it is a
 * partition of, without spaces at its ends; NULL if there is none.
 */
static char *
attribute (const struct device *device, const char *name)
{
  static const char *const places[] = { "", "../" };
  char path[256], line[256];

  for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
    CLEANUP_FCLOSE FILE *fp = NULL;
    char *start = line, *end;

    snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%sdevice/%s",
              device->major, device->minor, places[i], name);
    fp = fopen (path, "re");
    if (fp == NULL || fgets (line, sizeof line, fp) == NULL)
      continue;
    while (isspace ((unsigned char) *start))
      ++start;
    end = start + strlen (start);
    while (end > start && isspace ((unsigned char) end[-1]))
      --end;
    *end = '\0';
    if (*start != '\0')
      return strdup (start);
  }
  return NULL;
}

int
backup_device_describe (struct block *disk, struct manifest *m,
                        struct err *err)
{
  struct device device;

  (void) err;
  if (!device_of (disk, &device))
    return 0;
  m->source_model = attribute (&device, "model");
  m->source_serial = attribute (&device, "serial");
  m->source_wwn = attribute (&device, "wwid");
  return 0;
}

unsigned
backup_device_partition (struct block *disk)
{
  struct device device;
  char path[256];
  unsigned n = 0;

  if (!device_of (disk, &device))
    return 0;
  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/partition", device.major,
            device.minor);

  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");

  return fp != NULL && fscanf (fp, "%u", &n) == 1 ? n : 0;
}

/*--- Is it still? -----------------------------------------------------------*/

/* Is that what a file of /sys says: "MAJOR:MINOR"? */
static bool
read_device (const char *path, struct device *device)
{
  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");
  char line[64];

  return fp != NULL && fgets (line, sizeof line, fp) != NULL &&
    sscanf (line, "%u:%u", &device->major, &device->minor) == 2;
}

static bool
is_same (const struct device *a, const struct device *b)
{
  return a->major == b->major && a->minor == b->minor;
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
    found = read_device (path, &slave) && is_on (device, &slave, depth);
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

/* Is `other' the device, a partition of it, or something made of these?
 * depth: how many layers there may be.
 */
static bool
is_on (const struct device *device, const struct device *other, unsigned depth)
{
  struct device disk;
  char path[256];

  if (is_same (device, other))
    return true;
  if (depth == 0)
    return false;
  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/../dev", other->major,
            other->minor);
  if (read_device (path, &disk) && is_on (device, &disk, depth - 1))
    return true;
  return is_made_of (device, other, depth - 1);
}

/* Has a comma-separated list the word "rw"? */
static bool
is_rw (const char *list)
{
  for (const char *p = list; p != NULL; p = strchr (p, ',')) {
    p += *p == ',';
    if (strncmp (p, "rw", 2) == 0 && (p[2] == '\0' || p[2] == ','))
      return true;
  }
  return false;
}

static bool
device_at (const char *path, struct device *device)
{
  struct stat st;

  if (path[0] != '/' || stat (path, &st) < 0 || !S_ISBLK (st.st_mode))
    return false;
  device->major = major (st.st_rdev);
  device->minor = minor (st.st_rdev);
  return true;
}

/* proc(5), mountinfo: after " - " the type, the source, and what the file
 * system as a whole is; one that is mounted for reading only in one place may
 * be written by another.  The numbers in front are no device's where a file
 * system may have several of them, as btrfs; its source is.
 */
static bool
is_mounted_on (const struct device *device, char *line, struct device *fs,
               struct mount_place *place)
{
  char source[4096], options[4096], *where = place->where;
  const char *rest = strstr (line, " - ");
  struct device other;

  if (rest == NULL ||
      sscanf (line, "%llu %*s %u:%u %*s %4095s", &place->id, &fs->major,
              &fs->minor, where) != 4 ||
      sscanf (rest, " - %*s %4095s %4095s", source, options) != 2 ||
      !is_rw (options))
    return false;
  text_unescape_octal (where);
  if (is_on (device, fs, MAX_LAYERS))
    return true;
  text_unescape_octal (source);
  return device_at (source, &other) && is_on (device, &other, MAX_LAYERS);
}

/* What of it is mounted for writing. */
static int
list_mounts (const struct device *device, struct mount_vector *mounts,
             struct err *err)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/self/mountinfo", "re");
  CLEANUP_FREE char *line = NULL;
  struct device fs;
  char where[4096];
  struct mount_place place = { 0, where };
  size_t cap = 0;
  int r = 0;

  while (r == 0 && fp != NULL && getline (&line, &cap, fp) > 0)
    if (is_mounted_on (device, line, &fs, &place))
      r = mounts_add (mounts, fs.major, fs.minor, &place, err);
  return r;
}

int
backup_device_mounts (struct block *disk, struct mount_vector *mounts,
                      struct err *err)
{
  struct device device;

  return device_of (disk, &device) ? list_mounts (&device, mounts, err) : 0;
}

/* Whether it is swapped to; where, for free(). */
static char *
find_swap (const struct device *device)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/swaps", "re");
  CLEANUP_FREE char *line = NULL;
  size_t cap = 0;

  while (fp != NULL && getline (&line, &cap, fp) > 0) {
    struct device other;
    char path[4096];

    if (sscanf (line, "%4095s", path) != 1)
      continue;
    text_unescape_octal (path);
    if (device_at (path, &other) && is_on (device, &other, MAX_LAYERS))
      return strdup (path);
  }
  return NULL;
}

int
backup_device_check_swap (struct block *disk, struct err *err)
{
  CLEANUP_FREE char *swap = NULL;
  struct device device;

  if (!device_of (disk, &device))
    return 0;
  swap = find_swap (&device);
  return swap == NULL ? 0
    : err_set (err, -EBUSY, "%s of it is swapped to; swapoff it, or take it as "
               "it is with --live", swap);
}

int
backup_device_check_still (struct block *disk, struct err *err)
{
  struct mount_vector mounts = VECTOR_INIT;
  int r = backup_device_mounts (disk, &mounts, err);

  if (r == 0 && mounts.len > 0)
    r = err_set (err, -EBUSY, "is mounted for writing at %s: what changes "
                 "while it is read makes a backup that is of no moment; "
                 "unmount it, mount it read-only, have it held still with "
                 "--freeze, back up a snapshot of it, or take it as it is with "
                 "--live", mount_where (&mounts.ptr[0]));
  mounts_free (&mounts);
  return r < 0 ? r : backup_device_check_swap (disk, err);
}
