/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/base/cleanup.h"
#include "lib/restore/sysfs.h"

char *
sysfs_path (const struct restore_system *system, dev_t dev, const char *fmt,
            ...)
{
  char *rest = NULL, *path = NULL;
  va_list args;

  va_start (args, fmt);
  if (vasprintf (&rest, fmt, args) < 0)
    rest = NULL;
  va_end (args);
  if (rest == NULL || asprintf (&path, "%s/dev/block/%u:%u/%s", system->sys,
                                major (dev), minor (dev), rest) < 0)
    path = NULL;
  free (rest);
  return path;
}

char *
sysfs_first_line (const char *path)
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

char *
sysfs_attribute (const struct restore_system *system, dev_t dev,
                 const char *name)
{
  CLEANUP_FREE char *path = sysfs_path (system, dev, "%s", name);

  return sysfs_first_line (path);
}

unsigned long
sysfs_number (const struct restore_system *system, dev_t dev, const char *name)
{
  CLEANUP_FREE char *text = sysfs_attribute (system, dev, name);

  return text ? strtoul (text, NULL, 10) : 0;
}

dev_t
sysfs_dev (const char *path)
{
  CLEANUP_FREE char *text = sysfs_first_line (path);
  unsigned maj, min;

  return text && sscanf (text, "%u:%u", &maj, &min) == 2 ? makedev (maj, min)
                                                         : 0;
}

dev_t
sysfs_disk (const struct restore_system *system, dev_t dev)
{
  CLEANUP_FREE char *path = sysfs_path (system, dev, "../dev");
  dev_t disk =
      sysfs_number (system, dev, "partition") > 0 ? sysfs_dev (path) : 0;

  return disk != 0 ? disk : dev;
}

char *
sysfs_name (const struct restore_system *system, dev_t dev)
{
  CLEANUP_FREE char *path = sysfs_path (system, dev, ".");
  CLEANUP_FREE char *real = path ? realpath (path, NULL) : NULL;
  const char *slash = real ? strrchr (real, '/') : NULL;
  char *text;

  if (slash)
    return strdup (slash + 1);
  return asprintf (&text, "%u:%u", major (dev), minor (dev)) < 0 ? NULL : text;
}

dev_t
sysfs_dev_at (const struct restore_system *system, const char *path)
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
  return sysfs_dev (file);
}
