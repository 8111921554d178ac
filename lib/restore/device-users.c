/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/restore/device.h"
#include "lib/restore/device-loops.h"
#include "lib/restore/sysfs.h"

/* How often a process that only glances at a device is given time to close it:
 * udev's do that when a disk appears.
 */
#define GLANCES 50
#define GLANCE_MS 100

/*--- Mounts and swap --------------------------------------------------------*/

static bool
is_of_the_system (const char *where)
{
  return strcmp (where, "/") == 0 || strcmp (where, "/usr") == 0 ||
         strcmp (where, "/boot") == 0 || strncmp (where, "/boot/", 6) == 0;
}

static int
refuse_mount (const struct restore_system *system, dev_t dev, const char *where,
              struct err *err)
{
  CLEANUP_FREE char *name = sysfs_name (system, dev);

  if (is_of_the_system (where))
    return err_set (err, -EBUSY,
                    "is the disk that this system runs from: %s "
                    "is mounted at %s",
                    name ? name : "it", where);
  return err_set (err, -EBUSY, "%s is mounted at %s; unmount it first",
                  name ? name : "it", where);
}

/* proc(5), mountinfo: the device's number, the root, where; after " - " the
 * type and the source, which is what is known of file systems that may have
 * several devices, as btrfs.
 */
static int
check_mount (const struct restore_system *system, dev_t dev, const char *line,
             struct err *err)
{
  CLEANUP_FREE char *where = NULL, *source = NULL;
  const char *rest = strstr (line, " - ");
  unsigned maj, min;
  dev_t other;

  if (rest == NULL ||
      sscanf (line, "%*s %*s %u:%u %*s %ms", &maj, &min, &where) != 3 ||
      sscanf (rest, " - %*s %ms", &source) != 1)
    return 0;
  text_unescape_octal (where);
  text_unescape_octal (source);
  other = makedev (maj, min);
  if (restore_device_has (system, dev, other))
    return refuse_mount (system, other, where, err);
  other = sysfs_dev_at (system, source);
  if (other != 0 && restore_device_has (system, dev, other))
    return refuse_mount (system, other, where, err);
  return 0;
}

static int
check_swap (const struct restore_system *system, dev_t dev, const char *line,
            struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  dev_t other;

  if (line[0] != '/' || sscanf (line, "%ms", &path) != 1)
    return 0;
  text_unescape_octal (path);
  other = sysfs_dev_at (system, path);
  if (other == 0 || !restore_device_has (system, dev, other))
    return 0;
  return err_set (err, -EBUSY, "%s is swapped to; swapoff it first", path);
}

/* Of the system, the disk's own line is what to say, wherever it comes. */
static int
check_lines (const struct restore_system *system, dev_t dev, const char *file,
             int (*check) (const struct restore_system *system, dev_t dev,
                           const char *line, struct err *err),
             struct err *err)
{
  CLEANUP_FREE char *path = NULL, *line = NULL;
  CLEANUP_FCLOSE FILE *fp = NULL;
  size_t cap = 0;
  int r = 0;

  if (asprintf (&path, "%s/%s", system->proc, file) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  fp = fopen (path, "re");
  while (r == 0 && fp != NULL && getline (&line, &cap, fp) > 0)
    r = check (system, dev, line, err);
  return r;
}

/*--- What is made of it -----------------------------------------------------*/

/* "LVM-…" of the device mapper, and its like. */
static const char *
kind_of_holder (const char *name, const char *uuid)
{
  static const struct {
    const char *prefix, *kind;
  } kinds[] = {
    { "LVM-", "LVM" },
    { "CRYPT-", "an encrypted device" },
    { "mpath-", "a multipath device" },
    { "DMRAID-", "a RAID" },
  };

  for (size_t i = 0; uuid && i < sizeof kinds / sizeof kinds[0]; ++i)
    if (strncmp (uuid, kinds[i].prefix, strlen (kinds[i].prefix)) == 0)
      return kinds[i].kind;
  if (strncmp (name, "dm-", 3) == 0)
    return "the device mapper";
  if (strncmp (name, "md", 2) == 0)
    return "a RAID";
  return "another device";
}

static int
refuse_holder (const struct restore_system *system, dev_t part,
               const char *holder, struct err *err)
{
  CLEANUP_FREE char *name = sysfs_name (system, part);
  CLEANUP_FREE char *dm =
      sysfs_path (system, part, "holders/%s/dm/name", holder);
  CLEANUP_FREE char *id =
      sysfs_path (system, part, "holders/%s/dm/uuid", holder);
  CLEANUP_FREE char *mapped = sysfs_first_line (dm);
  CLEANUP_FREE char *uuid = sysfs_first_line (id);

  return err_set (err, -EBUSY,
                  "%s is held by %s (%s%s); take that apart "
                  "first",
                  name ? name : "it", kind_of_holder (holder, uuid),
                  mapped ? "/dev/mapper/" : "/dev/", mapped ? mapped : holder);
}

static int
check_holders (const struct restore_system *system, dev_t part, struct err *err)
{
  CLEANUP_FREE char *path = sysfs_path (system, part, "holders");
  DIR *dir = path ? opendir (path) : NULL;
  struct dirent *entry;
  int r = 0;

  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL)
    if (entry->d_name[0] != '.')
      r = refuse_holder (system, part, entry->d_name, err);
  if (dir != NULL)
    closedir (dir);
  return r;
}

/* Of the device and its partitions, which have a folder in its own. */
static int
check_all_holders (const struct restore_system *system, dev_t dev,
                   struct err *err)
{
  CLEANUP_FREE char *path = sysfs_path (system, dev, ".");
  DIR *dir = path ? opendir (path) : NULL;
  struct dirent *entry;
  int r = check_holders (system, dev, err);

  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *file = NULL, *is = NULL;

    if (entry->d_name[0] == '.')
      continue;
    file = sysfs_path (system, dev, "%s/dev", entry->d_name);
    is = sysfs_path (system, dev, "%s/partition", entry->d_name);
    if (is && access (is, F_OK) == 0 && sysfs_dev (file) != 0)
      r = check_holders (system, sysfs_dev (file), err);
  }
  if (dir != NULL)
    closedir (dir);
  return r;
}

/*--- Processes --------------------------------------------------------------*/

static bool
has_open (const struct restore_system *system, dev_t dev, const char *pid)
{
  CLEANUP_FREE char *path = NULL;
  struct dirent *entry;
  bool found = false;
  DIR *dir;

  if (asprintf (&path, "%s/%s/fd", system->proc, pid) < 0) {
    path = NULL;
    return false;
  }
  dir = opendir (path); /* not ours to see, or it has ended */
  while (!found && dir != NULL && (entry = readdir (dir)) != NULL) {
    struct statx stx;

    /* Without asking a server that may not answer. */
    found = statx (dirfd (dir), entry->d_name, AT_STATX_DONT_SYNC, STATX_TYPE,
                   &stx) == 0 &&
            S_ISBLK (stx.stx_mode) &&
            restore_device_has (
                system, dev, makedev (stx.stx_rdev_major, stx.stx_rdev_minor));
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

static int
check_process (const struct restore_system *system, dev_t dev, const char *pid,
               struct err *err)
{
  CLEANUP_FREE char *path = NULL, *mounts = NULL, *name = NULL;
  int r;

  if (asprintf (&mounts, "%s/mountinfo", pid) < 0 ||
      asprintf (&path, "%s/%s/comm", system->proc, pid) < 0)
    return err_nomem (err);
  r = check_lines (system, dev, mounts, check_mount, err);
  if (r < 0 || strtol (pid, NULL, 10) == getpid () ||
      !has_open (system, dev, pid))
    return r;
  name = sysfs_first_line (path);
  return err_set (err, -EAGAIN, "is open in process %s (%s); end that first",
                  pid, name ? name : "?");
}

/* -EAGAIN: one that may only glance. */
static int
check_processes (const struct restore_system *system, dev_t dev,
                 struct err *err)
{
  DIR *dir = opendir (system->proc);
  struct dirent *entry;
  int r = 0;

  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL)
    if (isdigit ((unsigned char) entry->d_name[0]))
      r = check_process (system, dev, entry->d_name, err);
  if (dir != NULL)
    closedir (dir);
  return r;
}

static int
check_processes_settled (const struct restore_system *system, dev_t dev,
                         struct err *err)
{
  const struct timespec pause = { 0, GLANCE_MS * 1000000L };
  int r = check_processes (system, dev, err);

  for (int i = 0;
       r == -EAGAIN && i < GLANCES && strstr (err->msg, "udev") != NULL; ++i) {
    nanosleep (&pause, NULL);
    r = check_processes (system, dev, err);
  }
  if (r == -EAGAIN)
    r = err->code = -EBUSY;
  return r;
}

/*----------------------------------------------------------------------------*/

int
restore_device_check_free (const struct restore_system *system, dev_t dev,
                           struct err *err)
{
  struct err why = ERR_INIT;
  int r;

  if (sysfs_number (system, dev, "ro") != 0)
    return err_set (err, -EROFS, "is read-only");
  r = check_lines (system, dev, "self/mountinfo", check_mount, &why);
  if (r == 0)
    r = check_lines (system, dev, "swaps", check_swap, &why);
  if (r == 0)
    r = check_all_holders (system, dev, &why);
  if (r == 0)
    r = restore_loops_check_free (system, dev, &why);
  if (r == 0)
    r = check_processes_settled (system, dev, &why);
  return r < 0 ? err_set (err, r, "%s", why.msg) : 0;
}
