/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The folders in which parents may lie. */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/utf8.h"
#include "lib/format/folder.h"

int
folder_open (const char *path, struct folder *out, struct err *err)
{
  struct folder folder = FOLDER_INIT;
  int r = 0;

  folder.fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder.fd < 0)
    return err_sys (err, "the folder ‘%s’ can't be opened", path);
  folder.path = strdup (path);
  folder.real_path = realpath (path, NULL);
  if (folder.real_path == NULL)
    r = err_sys (err, "the folder ‘%s’ has no absolute path", path);
  else if (folder.path == NULL)
    r = err_nomem (err);
  if (r < 0)
    folder_close (&folder);
  else
    *out = folder;
  return r;
}

void
folder_close (struct folder *folder)
{
  if (folder->fd >= 0)
    close (folder->fd);
  free (folder->path);
  free (folder->real_path);
  *folder = (struct folder) FOLDER_INIT;
}

static folder_renamed *renamed;

void
folder_renamed_set (folder_renamed *fn)
{
  renamed = fn;
}

static const char *
rest_of (const char *folder, const char *path)
{
  size_t len = strlen (folder);

  while (len > 0 && folder[len - 1] == '/')
    len--;
  if (folder[0] != '/' || strncmp (path, folder, len) != 0 ||
      path[len] != '/')
    return NULL;
  path += len;
  return path + strspn (path, "/");
}

const char *
folder_inside (const struct folder *folder, const char *path)
{
  const char *rest = rest_of (folder->real_path, path);

  return rest ? rest : rest_of (folder->path, path);
}

int
name_list_add (struct name_list *names, const char *name, struct err *err)
{
  char *copy;

  for (size_t i = 0; i < names->len; ++i)
    if (strcmp (names->ptr[i], name) == 0)
      return 1;
  copy = strdup (name);
  if (copy && vector_append (names, &copy) == 0)
    return 0;
  free (copy);
  return err_nomem (err);
}

void
name_list_free (struct name_list *names)
{
  for (size_t i = 0; i < names->len; ++i)
    free (names->ptr[i]);
  vector_free (names);
}

/* dir is the part of the path up to and with the last slash. */
static int
add_name (struct name_list *out, const char *dir, int dir_len,
          const char *name, struct err *err)
{
  char *path;

  if (asprintf (&path, "%.*s%s", dir_len, dir, name) < 0)
    return err_nomem (err);
  if (vector_append (out, &path) == 0)
    return 0;
  free (path);
  return err_nomem (err);
}

static int
read_similar (DIR *dir, const char *path, const char *leaf,
              struct name_list *out, struct err *err)
{
  struct dirent *d;
  int r = 0;

  while (r == 0 && (errno = 0, d = readdir (dir)) != NULL)
    if ((utf8_same_but_case (d->d_name, leaf) &&
         strcmp (d->d_name, leaf) != 0) ||
        (renamed != NULL && renamed (d->d_name, leaf)))
      r = add_name (out, path, (int) (leaf - path), d->d_name, err);
  if (r == 0 && errno != 0)
    return err_sys (err, "the folder of ‘%s’ can't be read", path);
  return r;
}

int
folder_similar (const struct folder *folder, const char *path,
                    struct name_list *out, struct err *err)
{
  const char *slash = strrchr (path, '/');
  const char *leaf = slash ? slash + 1 : path;
  CLEANUP_FREE char *dir_path = strndup (path, (size_t) (leaf - path));
  int fd, r;
  DIR *dir;

  if (dir_path == NULL)
    return err_nomem (err);
  r = beneath_open_folder (folder->fd, dir_path, &fd, err);
  if (r < 0)
    return r;
  dir = fdopendir (fd);
  if (dir == NULL) {
    r = err_sys (err, "the folder ‘%s’ can't be read", dir_path);
    close (fd);
    return r;
  }
  r = read_similar (dir, path, leaf, out, err);
  closedir (dir);
  return r;
}
