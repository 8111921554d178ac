/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/restore/device.h"
#include "lib/restore/sysfs.h"

/* Of partitions, LVM, encryption and RAID on each other. */
#define MAX_LAYERS 16

const struct restore_system restore_this_system = { "/sys", "/proc" };

/*--- What it is -------------------------------------------------------------*/

/* Page 80h of SCSI's vital product data: four bytes of header, the last two
 * being the length.
 */
static char *
scsi_serial (const struct restore_system *system, dev_t disk)
{
  CLEANUP_FREE char *path = sysfs_path (system, disk, "device/vpd_pg80");
  CLEANUP_FCLOSE FILE *fp = path ? fopen (path, "re") : NULL;
  unsigned char page[256];
  size_t n = fp ? fread (page, 1, sizeof page, fp) : 0, i = 4;

  while (i < n && isspace (page[i]))
    ++i;
  while (n > i && (page[n - 1] == '\0' || isspace (page[n - 1])))
    --n;
  for (size_t k = i; k < n; ++k)
    if (!isprint (page[k]))
      return NULL;
  return n > i ? strndup ((const char *) page + i, n - i) : NULL;
}

static char *
serial_of (const struct restore_system *system, dev_t disk)
{
  char *text = sysfs_attribute (system, disk, "device/serial");

  if (text == NULL)
    text = sysfs_attribute (system, disk, "serial");
  return text ? text : scsi_serial (system, disk);
}

int
restore_device_describe (const struct restore_system *system, dev_t dev,
                         struct restore_device *out, struct err *err)
{
  dev_t disk = sysfs_disk (system, dev);

  *out = (struct restore_device){
    .name = sysfs_name (system, dev),
    .model = sysfs_attribute (system, disk, "device/model"),
    .serial = serial_of (system, disk),
    .partition = (unsigned) sysfs_number (system, dev, "partition"),
    .read_only = sysfs_number (system, dev, "ro") != 0,
    .can_discard = sysfs_number (system, disk, "queue/discard_max_bytes") != 0,
  };
  return out->name ? 0 : err_nomem (err);
}

void
restore_device_free (struct restore_device *device)
{
  free (device->name);
  free (device->model);
  free (device->serial);
  *device = (struct restore_device){ .name = NULL };
}

/*--- What lies on what ------------------------------------------------------*/

static bool is_on (const struct restore_system *system, dev_t dev, dev_t other,
                   unsigned depth);

static bool
is_made_of (const struct restore_system *system, dev_t dev, dev_t other,
            unsigned depth)
{
  CLEANUP_FREE char *path = sysfs_path (system, other, "slaves");
  DIR *dir = path ? opendir (path) : NULL;
  struct dirent *entry;
  bool found = false;

  while (!found && dir != NULL && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *file = NULL;
    dev_t slave;

    if (entry->d_name[0] == '.')
      continue;
    file = sysfs_path (system, other, "slaves/%s/dev", entry->d_name);
    slave = sysfs_dev (file);
    found = slave != 0 && is_on (system, dev, slave, depth);
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

/* depth: how many layers there may be. */
static bool
is_on (const struct restore_system *system, dev_t dev, dev_t other,
       unsigned depth)
{
  dev_t disk;

  if (dev == other)
    return true;
  if (depth == 0)
    return false;
  disk = sysfs_disk (system, other);
  if (disk != other && is_on (system, dev, disk, depth - 1))
    return true;
  return is_made_of (system, dev, other, depth - 1);
}

bool
restore_device_has (const struct restore_system *system, dev_t dev, dev_t other)
{
  return is_on (system, dev, other, MAX_LAYERS);
}
