/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Disks of this machine, as /sys and /proc describe them. */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "tools/backup/backup-tool.h"
#include "tools/backup/device.h"

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

int
backup_device_mounts (struct block *disk, struct mount_vector *mounts,
                      struct err *err)
{
  struct device device;

  return device_of (disk, &device)
    ? device_list_mounts (&device, DEVICE_WRITTEN, mounts, err) : 0;
}

int
backup_device_check_known (struct block *disk, struct err *err)
{
  CLEANUP_FREE char *swap = NULL;
  struct device device;

  if (!device_of (disk, &device))
    return 0;
  swap = device_find_swap (&device);
  return swap == NULL ? device_check_claims (&device, err)
    : err_set (err, -EBUSY, "%s of it is swapped to; swapoff it, or take it as "
               "it is with --live", swap);
}

int
backup_device_check_still (struct block *disk, struct err *err)
{
  struct mount_vector mounts = VECTOR_INIT;
  int r;

  if (!backup_is_device (disk))
    return backup_file_check_still (disk, err);
  r = backup_device_mounts (disk, &mounts, err);
  if (r == 0 && mounts.len > 0)
    r = err_set (err, -EBUSY, "is mounted for writing at %s: what changes "
                 "while it is read makes a backup that is of no moment; "
                 "unmount it, mount it read-only, have it held still with "
                 "--freeze, save a snapshot of it with --snapshot=lvm, or take "
                 "it as it is with --live", mount_where (&mounts.ptr[0]));
  mounts_free (&mounts);
  return r < 0 ? r : backup_device_check_known (disk, err);
}
