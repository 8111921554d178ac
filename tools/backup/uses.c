/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who uses a device, as /proc says. */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/vector.h"
#include "tools/backup/device.h"

char *
device_find_swap (const struct device *device)
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
    if (device_at (path, &other) && device_is_on (device, &other))
      return strdup (path);
  }
  return NULL;
}

/*--- One line ---------------------------------------------------------------*/

struct line {
  unsigned long long id;
  struct device fs;             /* of no device, where a file system may have
                                   several, as btrfs; its source is */
  char where[4096], type[64], source[4096];
  bool writable;
};

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

/* proc(5), mountinfo: after " - " the type, the source, and what the file
 * system as a whole is; one that is mounted for reading only in one place may
 * be written by another.
 */
static bool
parse (const char *text, struct line *line)
{
  const char *rest = strstr (text, " - ");
  char options[4096];

  if (rest == NULL ||
      sscanf (text, "%llu %*s %u:%u %*s %4095s", &line->id, &line->fs.major,
              &line->fs.minor, line->where) != 4 ||
      sscanf (rest, " - %63s %4095s %4095s", line->type, line->source,
              options) != 3)
    return false;
  text_unescape_octal (line->where);
  text_unescape_octal (line->source);
  line->writable = is_rw (options);
  return true;
}

/* Is `member' one of the devices of the btrfs that /sys has in that folder, and
 * does one of them lie on the device?
 */
static bool
is_btrfs_on (const struct device *device, const struct device *member,
             const char *folder)
{
  bool is_it = false, on = false;
  struct dirent *entry;
  char path[640];
  DIR *dir;

  snprintf (path, sizeof path, "/sys/fs/btrfs/%.255s/devices", folder);
  dir = opendir (path);
  while (dir != NULL && (entry = readdir (dir)) != NULL) {
    struct device other;

    snprintf (path, sizeof path, "/sys/fs/btrfs/%.255s/devices/%.255s/dev",
              folder, entry->d_name);
    if (entry->d_name[0] == '.' || !device_read (path, &other))
      continue;
    is_it = is_it || device_is_same (&other, member);
    on = on || device_is_on (device, &other);
  }
  if (dir != NULL)
    closedir (dir);
  return is_it && on;
}

/* mountinfo names one device of a btrfs; any of them may lie on ours. */
static bool
is_any_btrfs_on (const struct device *device, const struct device *member)
{
  DIR *dir = opendir ("/sys/fs/btrfs");
  struct dirent *entry;
  bool on = false;

  while (!on && dir != NULL && (entry = readdir (dir)) != NULL)
    on = entry->d_name[0] != '.' &&
      is_btrfs_on (device, member, entry->d_name);
  if (dir != NULL)
    closedir (dir);
  return on;
}

static bool
lies_on (const struct device *device, const struct line *line)
{
  struct device source;

  if (device_is_on (device, &line->fs))
    return true;
  return device_at (line->source, &source) &&
    (device_is_on (device, &source) ||
     (strcmp (line->type, "btrfs") == 0 && is_any_btrfs_on (device, &source)));
}

/*--- All of them ------------------------------------------------------------*/

/* What a process sees: its mount namespace, below its root. */
struct view {
  ino_t namespace;
  dev_t dev;
  ino_t root;
};

DEFINE_VECTOR (view_vector, struct view);

struct search {
  const struct device *device;
  enum device_use use;
  struct mount_vector *mounts;
  struct view_vector seen;
};

/* proc: the folder of the process; prefix: what leads to its root. */
static int
search_file (struct search *s, const char *proc, const char *prefix,
             struct err *err)
{
  CLEANUP_FCLOSE FILE *fp = NULL;
  CLEANUP_FREE char *text = NULL;
  struct line line;
  char path[4200];
  size_t cap = 0;
  int r = 0;

  snprintf (path, sizeof path, "%s/mountinfo", proc);
  fp = fopen (path, "re");
  while (r == 0 && fp != NULL && getline (&text, &cap, fp) > 0) {
    struct mount_place place = { .where = path };

    if (!parse (text, &line) ||
        (s->use == DEVICE_WRITTEN && !line.writable) ||
        !lies_on (s->device, &line))
      continue;
    snprintf (path, sizeof path, "%s%s", prefix, line.where);
    place.id = line.id;
    r = mounts_add (s->mounts, line.fs.major, line.fs.minor, &place, err);
  }
  return r;
}

/* 1: something new. */
static int
look_through (struct search *s, const char *proc, struct err *err)
{
  struct stat ns, root;
  struct view view;
  char path[64];

  snprintf (path, sizeof path, "%.32s/ns/mnt", proc);
  if (stat (path, &ns) < 0)
    return 0;
  snprintf (path, sizeof path, "%.32s/root", proc);
  if (stat (path, &root) < 0)
    return 0;
  view = (struct view) { ns.st_ino, root.st_dev, root.st_ino };
  for (size_t i = 0; i < s->seen.len; ++i)
    if (s->seen.ptr[i].namespace == view.namespace &&
        s->seen.ptr[i].dev == view.dev && s->seen.ptr[i].root == view.root)
      return 0;
  return vector_append (&s->seen, &view) < 0 ? err_nomem (err) : 1;
}

static int
search_process (struct search *s, const char *pid, struct err *err)
{
  char proc[32], prefix[64];
  int r;

  snprintf (proc, sizeof proc, "/proc/%.16s", pid);
  snprintf (prefix, sizeof prefix, "%s/root", proc);
  r = look_through (s, proc, err);
  return r > 0 ? search_file (s, proc, prefix, err) : r;
}

int
device_list_mounts (const struct device *device, enum device_use use,
                    struct mount_vector *mounts, struct err *err)
{
  struct search s = { device, use, mounts, VECTOR_INIT };
  struct dirent *entry;
  DIR *dir = NULL;
  int r = look_through (&s, "/proc/self", err);

  if (r >= 0)
    r = search_file (&s, "/proc/self", "", err);
  if (r == 0)
    dir = opendir ("/proc");
  while (r == 0 && dir != NULL && (entry = readdir (dir)) != NULL)
    if (isdigit ((unsigned char) entry->d_name[0]))
      r = search_process (&s, entry->d_name, err);
  if (dir != NULL)
    closedir (dir);
  vector_free (&s.seen);
  return r;
}
