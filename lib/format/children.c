/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/children.h"
#include "lib/format/parent.h"
#include "lib/format/probe.h"

/* Does this file of the folder say so? */
static bool
is_child (struct image *img, int folder, const char *name)
{
  CLEANUP_BLOCK struct block *block = NULL;
  const struct image_ops *ops;
  CLEANUP_CLOSE int fd = -1;
  struct stat st;

  fd = openat (folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat (fd, &st) < 0 || !S_ISREG (st.st_mode) ||
      block_file_from_fd (fd, name, 0, &block, NULL, NULL) < 0)
    return false;
  steal_fd (&fd);
  return !parent_is_same_file (block, img->block) &&
    probe_format (block, NULL, &ops, NULL) == 0 && ops == img->ops &&
    ops->is_child (img, block);
}

static int
add (struct name_list *out, const char *folder, const char *name,
     struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  int r;

  if (asprintf (&path, "%s/%s", folder, name) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  r = name_list_add (out, strncmp (path, "./", 2) == 0 ? path + 2 : path,
                     err);
  return r < 0 ? r : 0;
}

static int
list (struct image *img, DIR *dir, const char *folder, struct name_list *out,
      struct err *err)
{
  struct dirent *d;
  int r = 0;

  while (r == 0 && (errno = 0, d = readdir (dir)) != NULL)
    if ((d->d_type == DT_REG || d->d_type == DT_UNKNOWN) &&
        is_child (img, dirfd (dir), d->d_name))
      r = add (out, folder, d->d_name, err);
  if (r == 0 && errno != 0)
    r = err_sys (err, "reading the folder %s", folder);
  return r;
}

int
image_find_children (struct image *img, struct name_list *out,
                     struct err *err)
{
  const char *name = image_name (img), *slash = strrchr (name, '/');
  CLEANUP_FREE char *folder = NULL;
  DIR *dir;
  int r;

  if (img->ops->is_child == NULL || block_file_fd (img->block) < 0)
    return 0;
  folder = slash ? strndup (name, (size_t) (slash - name) + (slash == name))
                 : strdup (".");
  if (folder == NULL)
    return err_nomem (err);
  dir = opendir (folder);
  if (dir == NULL)
    return err_sys (err, "the folder %s can't be opened", folder);
  r = list (img, dir, folder, out, err);
  closedir (dir);
  return r;
}
