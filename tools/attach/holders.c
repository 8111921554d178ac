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
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "tools/attach/clock.h"
#include "tools/attach/device.h"
#include "tools/attach/holders.h"
#include "tools/attach/process.h"

/* How long a glance of udev's may take. */
#define GLANCE 5000             /* milliseconds */

/* The whole disk or a partition of it. */
struct part_of_disk {
  char path[DEVICE_PATH_SIZE];
  char sysfs[80];
  dev_t dev;
};

DEFINE_VECTOR (part_of_disk_vector, struct part_of_disk);

struct search {
  struct part_of_disk_vector parts;
  struct holder_vector *found;
  pid_t except;
};

void
holder_vector_free (struct holder_vector *list)
{
  size_t i;

  for (i = 0; i < list->len; ++i) {
    free (list->ptr[i].device);
    free (list->ptr[i].what);
  }
  vector_free (list);
}

/* The same holder seen twice (a mount in two namespaces, a device open twice
 * in one process) is listed once.
 */
static int __attribute__ ((__format__ (__printf__, 4, 5)))
add_holder (struct search *search, const struct part_of_disk *part,
            bool is_process, const char *fmt, ...)
{
  struct holder holder = { .is_process = is_process };
  va_list ap;
  size_t i;
  int r;

  va_start (ap, fmt);
  r = vasprintf (&holder.what, fmt, ap);
  va_end (ap);
  if (r < 0)
    return -ENOMEM;
  for (i = 0; i < search->found->len; ++i)
    if (strcmp (search->found->ptr[i].device, part->path) == 0 &&
        strcmp (search->found->ptr[i].what, holder.what) == 0) {
      free (holder.what);
      return 0;
    }
  holder.device = strdup (part->path);
  if (holder.device == NULL || vector_append (search->found, &holder) < 0) {
    free (holder.device);
    free (holder.what);
    return -ENOMEM;
  }
  return 0;
}

static const struct part_of_disk *
find_dev (const struct search *search, dev_t dev)
{
  size_t i;

  for (i = 0; i < search->parts.len; ++i)
    if (search->parts.ptr[i].dev == dev)
      return &search->parts.ptr[i];
  return NULL;
}

static const struct part_of_disk *
find_path (const struct search *search, const char *path)
{
  size_t i;

  for (i = 0; i < search->parts.len; ++i)
    if (strcmp (search->parts.ptr[i].path, path) == 0)
      return &search->parts.ptr[i];
  return NULL;
}

static dev_t
read_dev (const char *sysfs)
{
  CLEANUP_FCLOSE FILE *fp = NULL;
  unsigned major, minor;
  char path[128];

  snprintf (path, sizeof path, "%s/dev", sysfs);
  fp = fopen (path, "re");
  if (fp == NULL || fscanf (fp, "%u:%u", &major, &minor) != 2)
    return 0;
  return makedev (major, minor);
}

static int
list_parts (unsigned index, struct part_of_disk_vector *parts,
            struct err *err)
{
  struct partition_numbers numbers = VECTOR_INIT;
  struct part_of_disk part;
  size_t i;
  int r;

  r = device_list_partitions (index, &numbers, err);
  if (r < 0) {
    vector_free (&numbers);
    return r;
  }
  device_path (index, part.path);
  snprintf (part.sysfs, sizeof part.sysfs, "/sys/block/nbd%u", index);
  part.dev = read_dev (part.sysfs);
  r = vector_append (parts, &part);
  for (i = 0; r == 0 && i < numbers.len; ++i) {
    device_partition_path (index, numbers.ptr[i], part.path);
    snprintf (part.sysfs, sizeof part.sysfs, "/sys/block/nbd%u/nbd%up%u",
              index, index, numbers.ptr[i]);
    part.dev = read_dev (part.sysfs);
    r = vector_append (parts, &part);
  }
  vector_free (&numbers);
  return r < 0 ? err_nomem (err) : 0;
}

/*--- Mounts and swap -------------------------------------------------------*/

static bool
is_octal (char c)
{
  return c >= '0' && c <= '7';
}

void
unescape_octal (char *str)
{
  char *to = str;

  while (*str != '\0')
    if (str[0] == '\\' && str[1] >= '0' && str[1] <= '3' &&
        is_octal (str[2]) && is_octal (str[3])) {
      *to++ = (char) ((str[1] - '0') * 64 + (str[2] - '0') * 8 +
                      (str[3] - '0'));
      str += 4;
    }
    else
      *to++ = *str++;
  *to = '\0';
}

void
mount_line_free (struct mount_line *mount)
{
  free (mount->root);
  free (mount->target);
  free (mount->source);
  *mount = (struct mount_line) { 0, 0, NULL, NULL, NULL };
}

/* proc(5): id, parent, major:minor, root, target, options, optional fields,
 * a dash, type, source, options of the file system.
 */
int
mount_line_parse (const char *line, struct mount_line *mount)
{
  struct mount_line m = { 0, 0, NULL, NULL, NULL };
  const char *dash = strstr (line, " - ");

  if (dash == NULL ||
      sscanf (line, "%*u %*u %u:%u %ms %ms", &m.major, &m.minor, &m.root,
              &m.target) != 4 ||
      sscanf (dash + 3, "%*s %ms", &m.source) != 1) {
    mount_line_free (&m);
    return -EINVAL;
  }
  unescape_octal (m.root);
  unescape_octal (m.target);
  unescape_octal (m.source);
  *mount = m;
  return 0;
}

char *
swap_line_parse (const char *line)
{
  char *path;

  if (line[0] != '/' || sscanf (line, "%ms", &path) != 1)
    return NULL;
  unescape_octal (path);
  return path;
}

/* btrfs and others give their mounts a device number of their own, so that
 * the source is looked at as well.
 */
static int
search_mounts (struct search *search, pid_t pid)
{
  CLEANUP_FCLOSE FILE *fp = NULL;
  CLEANUP_FREE char *line = NULL;
  size_t size = 0;
  char path[64];
  int r = 0;

  snprintf (path, sizeof path, "/proc/%d/mountinfo", (int) pid);
  fp = fopen (path, "re");
  if (fp == NULL)               /* it has ended */
    return 0;
  while (r == 0 && getline (&line, &size, fp) > 0) {
    const struct part_of_disk *part;
    struct mount_line mount;

    if (mount_line_parse (line, &mount) < 0)
      continue;
    part = find_dev (search, makedev (mount.major, mount.minor));
    if (part == NULL)
      part = find_path (search, mount.source);
    if (part != NULL)
      r = add_holder (search, part, false, "is mounted at %s", mount.target);
    mount_line_free (&mount);
  }
  return r;
}

static int
search_swap (struct search *search)
{
  CLEANUP_FCLOSE FILE *fp = fopen ("/proc/swaps", "re");
  CLEANUP_FREE char *line = NULL;
  size_t size = 0;
  int r = 0;

  while (fp != NULL && r == 0 && getline (&line, &size, fp) > 0) {
    CLEANUP_FREE char *path = swap_line_parse (line);
    const struct part_of_disk *part;
    struct stat st;

    if (path == NULL)
      continue;
    part = find_path (search, path);
    if (part == NULL && stat (path, &st) == 0 && S_ISBLK (st.st_mode))
      part = find_dev (search, st.st_rdev);
    if (part != NULL)
      r = add_holder (search, part, false, "is swap space");
  }
  return r;
}

/*--- Devices on top --------------------------------------------------------*/

static void
first_line (const char *path, char *text, size_t size)
{
  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");

  if (fp == NULL || fgets (text, (int) size, fp) == NULL)
    text[0] = '\0';
  text[strcspn (text, "\n")] = '\0';
}

static int
search_upper (struct search *search, const struct part_of_disk *part)
{
  char path[512], name[256];
  struct dirent *entry;
  DIR *dir;
  int r = 0;

  snprintf (path, sizeof path, "%s/holders", part->sysfs);
  dir = opendir (path);
  if (dir == NULL)
    return 0;
  while (r == 0 && (entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] == '.')
      continue;
    snprintf (path, sizeof path, "/sys/block/%s/dm/name", entry->d_name);
    first_line (path, name, sizeof name);
    if (name[0] != '\0')
      r = add_holder (search, part, false, "is used by /dev/mapper/%s (%s)",
                      name, entry->d_name);
    else
      r = add_holder (search, part, false, "is used by /dev/%s",
                      entry->d_name);
  }
  closedir (dir);
  return r;
}

/* A loop device has its file open in the kernel, where no process shows it
 * and no exclusive claim stops it.
 */
static int
search_loops (struct search *search)
{
  DIR *dir = opendir ("/sys/block");
  struct dirent *entry;
  int r = 0;

  while (dir != NULL && r == 0 && (entry = readdir (dir)) != NULL) {
    const struct part_of_disk *part;
    char path[512], file[512];

    if (strncmp (entry->d_name, "loop", 4) != 0)
      continue;
    snprintf (path, sizeof path, "/sys/block/%s/loop/backing_file",
              entry->d_name);
    first_line (path, file, sizeof file);
    part = find_path (search, file);
    if (part != NULL)
      r = add_holder (search, part, false, "is used by /dev/%s",
                      entry->d_name);
  }
  if (dir != NULL)
    closedir (dir);
  return r;
}

/*--- Processes -------------------------------------------------------------*/

/* statx without asking a server: the process may have files open on a
 * network file system that does not answer.
 */
static dev_t
block_device_of (int dirfd, const char *name)
{
  struct statx stx;

  if (statx (dirfd, name, AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0 ||
      !S_ISBLK (stx.stx_mode))
    return 0;
  return makedev (stx.stx_rdev_major, stx.stx_rdev_minor);
}

static int
search_descriptors (struct search *search, pid_t pid)
{
  struct dirent *entry;
  char path[64];
  DIR *dir;
  int r = 0;

  snprintf (path, sizeof path, "/proc/%d/fd", (int) pid);
  dir = opendir (path);
  if (dir == NULL)              /* it has ended */
    return 0;
  while (r == 0 && (entry = readdir (dir)) != NULL) {
    const struct part_of_disk *part;
    char name[64];
    dev_t dev;

    if (entry->d_name[0] == '.')
      continue;
    dev = block_device_of (dirfd (dir), entry->d_name);
    part = dev != 0 ? find_dev (search, dev) : NULL;
    if (part != NULL) {
      process_name (pid, name, sizeof name);
      r = add_holder (search, part, true, "is open in process %d (%s)",
                      (int) pid, name);
    }
  }
  closedir (dir);
  return r;
}

static int
search_processes (struct search *search)
{
  DIR *dir = opendir ("/proc");
  struct dirent *entry;
  int r = 0;

  if (dir == NULL)
    return 0;
  while (r == 0 && (entry = readdir (dir)) != NULL) {
    pid_t pid = (pid_t) strtol (entry->d_name, NULL, 10);

    if (!isdigit ((unsigned char) entry->d_name[0]))
      continue;
    r = search_mounts (search, pid);
    if (r == 0 && pid != getpid () && pid != search->except)
      r = search_descriptors (search, pid);
  }
  closedir (dir);
  return r;
}

/*--- All together ----------------------------------------------------------*/

int
holders_find (unsigned index, pid_t except, struct holder_vector *list,
              struct err *err)
{
  struct search search = { .found = list, .except = except };
  size_t i;
  int r;

  r = list_parts (index, &search.parts, err);
  if (r == 0) {
    r = search_processes (&search);
    if (r == 0)
      r = search_swap (&search);
    for (i = 0; r == 0 && i < search.parts.len; ++i)
      r = search_upper (&search, &search.parts.ptr[i]);
    if (r == 0)
      r = search_loops (&search);
    if (r < 0)
      r = err_nomem (err);
  }
  vector_free (&search.parts);
  return r;
}

/* udev opens a disk when it appears and after it was open for writing. */
bool
holders_only_glance (const struct holder_vector *list)
{
  size_t i;

  for (i = 0; i < list->len; ++i)
    if (!list->ptr[i].is_process ||
        (strstr (list->ptr[i].what, "(udev-worker)") == NULL &&
         strstr (list->ptr[i].what, "(systemd-udevd)") == NULL &&
         strstr (list->ptr[i].what, "(udevd)") == NULL))
      return false;
  return list->len > 0;
}

int
holders_find_settled (unsigned index, pid_t except,
                      struct holder_vector *list, struct err *err)
{
  uint64_t deadline = clock_deadline (GLANCE);
  int r;

  while ((r = holders_find (index, except, list, err)) == 0 &&
         holders_only_glance (list) && clock_left (deadline) > 0) {
    holder_vector_free (list);
    clock_sleep (50);
  }
  return r;
}

int
holders_claim (unsigned index, int *fd, struct err *err)
{
  char path[DEVICE_PATH_SIZE];

  device_path (index, path);
  *fd = open (path, O_RDONLY | O_EXCL | O_CLOEXEC);
  if (*fd < 0 && errno == EBUSY)
    return err_set (err, -EBUSY, "the kernel uses it or one of its "
                    "partitions (a mount, swap, LVM, RAID, …)");
  if (*fd < 0)
    return err_sys (err, "opening %s", path);
  return 0;
}

int
holders_refuse (const struct holder_vector *list, struct err *err)
{
  size_t more = list->len - 1;

  if (more == 0)
    return err_set (err, -EBUSY, "%s %s", list->ptr[0].device,
                    list->ptr[0].what);
  return err_set (err, -EBUSY, "%s %s; %zu more use%s the disk",
                  list->ptr[0].device, list->ptr[0].what, more,
                  more == 1 ? "s" : "");
}
