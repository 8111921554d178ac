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
#include "lib/block/file.h"
#include "tools/backup/backup-tool.h"

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

/*--- Is it still? -----------------------------------------------------------*/

/* Is `other' the device, or a partition of it? */
static bool
is_part_of (const struct device *device, const struct device *other)
{
  char path[256], line[64];
  CLEANUP_FCLOSE FILE *fp = NULL;
  unsigned disk_major, disk_minor;

  if (device->major == other->major && device->minor == other->minor)
    return true;
  snprintf (path, sizeof path, "/sys/dev/block/%u:%u/../dev", other->major,
            other->minor);
  fp = fopen (path, "re");
  return fp != NULL && fgets (line, sizeof line, fp) != NULL &&
    sscanf (line, "%u:%u", &disk_major, &disk_minor) == 2 &&
    disk_major == device->major && disk_minor == device->minor;
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

/* Whether anything of it is mounted for writing; where, for free().  The last
 * word of a line of mountinfo is what the file system as a whole is; one that
 * is mounted for reading only in one place may be written by another.
 */
static char *
find_mount (const struct device *device)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/self/mountinfo", "re");
  CLEANUP_FREE char *line = NULL;
  size_t cap = 0;

  while (fp != NULL && getline (&line, &cap, fp) > 0) {
    struct device other;
    char where[4096];
    char *options = strrchr (line, ' ');

    line[strcspn (line, "\n")] = '\0';
    if (options != NULL &&
        sscanf (line, "%*s %*s %u:%u %*s %4095s", &other.major, &other.minor,
                where) == 3 &&
        is_part_of (device, &other) && is_rw (options + 1))
      return strdup (where);
  }
  return NULL;
}

/* Whether it is swapped to, likewise. */
static char *
find_swap (const struct device *device)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/swaps", "re");
  CLEANUP_FREE char *line = NULL;
  size_t cap = 0;

  while (fp != NULL && getline (&line, &cap, fp) > 0) {
    struct device other;
    struct stat st;
    char path[4096];

    if (sscanf (line, "%4095s", path) != 1 || stat (path, &st) < 0 ||
        !S_ISBLK (st.st_mode))
      continue;
    other = (struct device) { major (st.st_rdev), minor (st.st_rdev) };
    if (is_part_of (device, &other))
      return strdup (path);
  }
  return NULL;
}

int
backup_device_check_still (struct block *disk, struct err *err)
{
  CLEANUP_FREE char *where = NULL, *swap = NULL;
  struct device device;

  if (!device_of (disk, &device))
    return 0;
  where = find_mount (&device);
  if (where != NULL)
    return err_set (err, -EBUSY, "is mounted for writing at %s: what changes "
                    "while it is read makes a backup that is of no moment; "
                    "unmount it, mount it read-only, back up a snapshot of it, "
                    "or take it as it is with --live", where);
  swap = find_swap (&device);
  if (swap != NULL)
    return err_set (err, -EBUSY, "%s of it is swapped to; swapoff it, or take "
                    "it as it is with --live", swap);
  return 0;
}
