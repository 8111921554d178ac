/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
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

/* Of partitions, LVM, encryption and RAID on each other. */
#define MAX_LAYERS 16

/* How often a process that only glances at a device is given time to close it:
 * udev's do that when a disk appears.
 */
#define GLANCES 50
#define GLANCE_MS 100

const struct restore_system restore_this_system = { "/sys", "/proc" };

/*--- Files of /sys ----------------------------------------------------------*/

/* "SYS/dev/block/8:16/…"; NULL: out of memory, or too long. */
static char * __attribute__ ((__format__ (__printf__, 3, 4)))
path_of (const struct restore_system *system, dev_t dev, const char *fmt, ...)
{
  char *rest = NULL, *path = NULL;
  va_list args;

  va_start (args, fmt);
  if (vasprintf (&rest, fmt, args) < 0)
    rest = NULL;
  va_end (args);
  if (rest == NULL ||
      asprintf (&path, "%s/dev/block/%u:%u/%s", system->sys, major (dev),
                minor (dev), rest) < 0)
    path = NULL;
  free (rest);
  return path;
}

/* The first line, without spaces at its ends; NULL if there is none. */
static char *
first_line (const char *path)
{
  CLEANUP_FCLOSE FILE *fp = path ? fopen (path, "re") : NULL;
  char line[512], *start = line, *end;

  if (fp == NULL || fgets (line, sizeof line, fp) == NULL)
    return NULL;
  while (isspace ((unsigned char) *start))
    ++start;
  end = start + strlen (start);
  while (end > start && isspace ((unsigned char) end[-1]))
    --end;
  *end = '\0';
  return *start != '\0' ? strdup (start) : NULL;
}

static char *
attribute (const struct restore_system *system, dev_t dev, const char *name)
{
  CLEANUP_FREE char *path = path_of (system, dev, "%s", name);

  return first_line (path);
}

static unsigned long
number (const struct restore_system *system, dev_t dev, const char *name)
{
  CLEANUP_FREE char *text = attribute (system, dev, name);

  return text ? strtoul (text, NULL, 10) : 0;
}

/* A file that says "MAJOR:MINOR"; 0: none. */
static dev_t
read_dev (const char *path)
{
  CLEANUP_FREE char *text = first_line (path);
  unsigned maj, min;

  return text && sscanf (text, "%u:%u", &maj, &min) == 2 ? makedev (maj, min)
                                                         : 0;
}

/* The disk that it is a partition of, or itself. */
static dev_t
disk_of (const struct restore_system *system, dev_t dev)
{
  CLEANUP_FREE char *path = path_of (system, dev, "../dev");
  dev_t disk = number (system, dev, "partition") > 0 ? read_dev (path) : 0;

  return disk != 0 ? disk : dev;
}

static char *
name_of (const struct restore_system *system, dev_t dev)
{
  CLEANUP_FREE char *path = path_of (system, dev, ".");
  CLEANUP_FREE char *real = path ? realpath (path, NULL) : NULL;
  const char *slash = real ? strrchr (real, '/') : NULL;
  char *text;

  if (slash)
    return strdup (slash + 1);
  return asprintf (&text, "%u:%u", major (dev), minor (dev)) < 0 ? NULL : text;
}

/* A device by its path; one that is not there, by its name. */
static dev_t
dev_at (const struct restore_system *system, const char *path)
{
  CLEANUP_FREE char *file = NULL;
  const char *slash = strrchr (path, '/');
  struct stat st;

  if (slash == NULL || path[0] != '/')
    return 0;
  if (stat (path, &st) == 0)
    return S_ISBLK (st.st_mode) ? st.st_rdev : 0;
  if (asprintf (&file, "%s/class/block/%s/dev", system->sys, slash + 1) < 0) {
    file = NULL;
    return 0;
  }
  return read_dev (file);
}

/*--- What it is -------------------------------------------------------------*/

/* Page 80h of SCSI's vital product data: four bytes of header, the last two
 * being the length.
 */
static char *
scsi_serial (const struct restore_system *system, dev_t disk)
{
  CLEANUP_FREE char *path = path_of (system, disk, "device/vpd_pg80");
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
  char *text = attribute (system, disk, "device/serial");

  if (text == NULL)
    text = attribute (system, disk, "serial");
  return text ? text : scsi_serial (system, disk);
}

int
restore_device_describe (const struct restore_system *system, dev_t dev,
                         struct restore_device *out, struct err *err)
{
  dev_t disk = disk_of (system, dev);

  *out = (struct restore_device) {
    .name = name_of (system, dev),
    .model = attribute (system, disk, "device/model"),
    .serial = serial_of (system, disk),
    .partition = (unsigned) number (system, dev, "partition"),
    .read_only = number (system, dev, "ro") != 0,
    .can_discard = number (system, disk, "queue/discard_max_bytes") != 0,
  };
  return out->name ? 0 : err_nomem (err);
}

void
restore_device_free (struct restore_device *device)
{
  free (device->name);
  free (device->model);
  free (device->serial);
  *device = (struct restore_device) { .name = NULL };
}

/*--- What lies on what ------------------------------------------------------*/

static bool is_on (const struct restore_system *system, dev_t dev,
                   dev_t other, unsigned depth);

static bool
is_made_of (const struct restore_system *system, dev_t dev, dev_t other,
            unsigned depth)
{
  CLEANUP_FREE char *path = path_of (system, other, "slaves");
  DIR *dir = path ? opendir (path) : NULL;
  struct dirent *entry;
  bool found = false;

  while (!found && dir != NULL && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *file = NULL;
    dev_t slave;

    if (entry->d_name[0] == '.')
      continue;
    file = path_of (system, other, "slaves/%s/dev", entry->d_name);
    slave = read_dev (file);
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
  disk = disk_of (system, other);
  if (disk != other && is_on (system, dev, disk, depth - 1))
    return true;
  return is_made_of (system, dev, other, depth - 1);
}

bool
restore_device_has (const struct restore_system *system, dev_t dev,
                    dev_t other)
{
  return is_on (system, dev, other, MAX_LAYERS);
}

/*--- Mounts and swap --------------------------------------------------------*/

static bool
is_of_the_system (const char *where)
{
  return strcmp (where, "/") == 0 || strcmp (where, "/usr") == 0 ||
    strcmp (where, "/boot") == 0 || strncmp (where, "/boot/", 6) == 0;
}

static int
refuse_mount (const struct restore_system *system, dev_t dev,
              const char *where, struct err *err)
{
  CLEANUP_FREE char *name = name_of (system, dev);

  if (is_of_the_system (where))
    return err_set (err, -EBUSY, "is the disk that this system runs from: %s "
                    "is mounted at %s", name ? name : "it", where);
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
  other = dev_at (system, source);
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
  other = dev_at (system, path);
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
  static const struct { const char *prefix, *kind; } kinds[] = {
    { "LVM-", "LVM" }, { "CRYPT-", "an encrypted device" },
    { "mpath-", "a multipath device" }, { "DMRAID-", "a RAID" },
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
  CLEANUP_FREE char *name = name_of (system, part);
  CLEANUP_FREE char *dm = path_of (system, part, "holders/%s/dm/name", holder);
  CLEANUP_FREE char *id = path_of (system, part, "holders/%s/dm/uuid", holder);
  CLEANUP_FREE char *mapped = first_line (dm);
  CLEANUP_FREE char *uuid = first_line (id);

  return err_set (err, -EBUSY, "%s is held by %s (%s%s); take that apart "
                  "first", name ? name : "it", kind_of_holder (holder, uuid),
                  mapped ? "/dev/mapper/" : "/dev/", mapped ? mapped : holder);
}

static int
check_holders (const struct restore_system *system, dev_t part,
               struct err *err)
{
  CLEANUP_FREE char *path = path_of (system, part, "holders");
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
  CLEANUP_FREE char *path = path_of (system, dev, ".");
  DIR *dir = path ? opendir (path) : NULL;
  struct dirent *entry;
  int r = check_holders (system, dev, err);

  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *file = NULL, *is = NULL;

    if (entry->d_name[0] == '.')
      continue;
    file = path_of (system, dev, "%s/dev", entry->d_name);
    is = path_of (system, dev, "%s/partition", entry->d_name);
    if (is && access (is, F_OK) == 0 && read_dev (file) != 0)
      r = check_holders (system, read_dev (file), err);
  }
  if (dir != NULL)
    closedir (dir);
  return r;
}

/*--- Loop devices -----------------------------------------------------------*/

/* Of each loop device that is in use, what is below it: a path. */
typedef bool (*loop_fn) (void *opaque, const char *name, const char *below);

struct loop_question {
  const struct restore_system *system;
  dev_t dev;
  const struct stat *file;
};

/* "/dev/sdb1 is below /dev/loop3": of the first of which fn says so, which the
 * caller frees; NULL: of none.
 */
static char *
find_loop (const struct restore_system *system, loop_fn fn, void *opaque)
{
  CLEANUP_FREE char *path = NULL;
  struct dirent *entry;
  char *found = NULL;
  DIR *dir;

  if (asprintf (&path, "%s/block", system->sys) < 0) {
    path = NULL;
    return NULL;
  }
  dir = opendir (path);
  while (found == NULL && dir != NULL && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *file = NULL, *below = NULL;

    if (strncmp (entry->d_name, "loop", 4) != 0)
      continue;
    if (asprintf (&file, "%s/%s/loop/backing_file", path, entry->d_name) < 0)
      file = NULL;
    below = first_line (file);
    if (below && fn (opaque, entry->d_name, below) &&
        asprintf (&found, "%s is below /dev/%s", below, entry->d_name) < 0)
      found = NULL;
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

static bool
has_below (void *opaque, const char *name, const char *below)
{
  const struct loop_question *q = opaque;
  dev_t other = dev_at (q->system, below);

  (void) name;
  return other != 0 && restore_device_has (q->system, q->dev, other);
}

static bool
is_the_file (const struct loop_question *q, const char *below)
{
  struct stat st;

  return stat (below, &st) == 0 && st.st_dev == q->file->st_dev &&
    st.st_ino == q->file->st_ino;
}

static bool
is_below (void *opaque, const char *name, const char *below)
{
  (void) name;
  return is_the_file (opaque, below);
}

static bool
carries (void *opaque, const char *name, const char *below)
{
  const struct loop_question *q = opaque;
  CLEANUP_FREE char *path = NULL;
  dev_t loop;

  if (!is_the_file (q, below) ||
      asprintf (&path, "%s/block/%s/dev", q->system->sys, name) < 0) {
    path = NULL;
    return false;
  }
  loop = read_dev (path);
  return loop != 0 && restore_device_has (q->system, loop, q->dev);
}

static int
refuse_loop (const struct restore_system *system, loop_fn fn,
             struct loop_question *q, struct err *err)
{
  CLEANUP_FREE char *found = find_loop (system, fn, q);

  return found ? err_set (err, -EBUSY, "%s; take that apart first", found) : 0;
}

/* A loop device has its file open in the kernel, where no process shows it
 * and no exclusive claim stops it.
 */
static int
check_loops (const struct restore_system *system, dev_t dev, struct err *err)
{
  struct loop_question q = { system, dev, NULL };

  return refuse_loop (system, has_below, &q, err);
}

int
restore_file_check_free (const struct restore_system *system,
                         const struct stat *file, struct err *err)
{
  struct loop_question q = { system, 0, file };

  return refuse_loop (system, is_below, &q, err);
}

bool
restore_device_lies_in (const struct restore_system *system, dev_t dev,
                        const struct stat *file)
{
  struct loop_question q = { system, dev, file };
  CLEANUP_FREE char *found = find_loop (system, carries, &q);

  return found != NULL;
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
  dir = opendir (path);         /* not ours to see, or it has ended */
  while (!found && dir != NULL && (entry = readdir (dir)) != NULL) {
    struct statx stx;

    /* Without asking a server that may not answer. */
    found = statx (dirfd (dir), entry->d_name, AT_STATX_DONT_SYNC, STATX_TYPE,
                   &stx) == 0 && S_ISBLK (stx.stx_mode) &&
      restore_device_has (system, dev, makedev (stx.stx_rdev_major,
                                                stx.stx_rdev_minor));
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

static int
check_process (const struct restore_system *system, dev_t dev,
               const char *pid, struct err *err)
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
  name = first_line (path);
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

  for (int i = 0; r == -EAGAIN && i < GLANCES &&
       strstr (err->msg, "udev") != NULL; ++i) {
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

  if (number (system, dev, "ro") != 0)
    return err_set (err, -EROFS, "is read-only");
  r = check_lines (system, dev, "self/mountinfo", check_mount, &why);
  if (r == 0)
    r = check_lines (system, dev, "swaps", check_swap, &why);
  if (r == 0)
    r = check_all_holders (system, dev, &why);
  if (r == 0)
    r = check_loops (system, dev, &why);
  if (r == 0)
    r = check_processes_settled (system, dev, &why);
  return r < 0 ? err_set (err, r, "%s", why.msg) : 0;
}
