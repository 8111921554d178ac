/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From what a child says about its parent's place to paths to try. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "lib/format/parent.h"

static bool
is_letter (char c)
{
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char *
parent_path_from_windows (char *path, bool *leaf_only)
{
  for (char *p = path; *p; ++p)
    if (*p == '\\')
      *p = '/';
  *leaf_only = false;
  if (path[0] == '/' && path[1] == '/')         /* \\SERVER\SHARE, \\?\C: */
    *leaf_only = true;
  else if (is_letter (path[0]) && path[1] == ':') {
    path += 2;
    *leaf_only = true;
  }
  while (path[0] == '.' && path[1] == '/')
    path += 2 + strspn (path + 2, "/");
  return path;
}

static bool
can_be_a_file (const char *path)
{
  const char *slash = strrchr (path, '/');
  const char *leaf = slash ? slash + 1 : path;

  return *leaf && strcmp (leaf, ".") != 0 && strcmp (leaf, "..") != 0;
}

int
parent_names_add (struct name_list *names, const char *path, bool leaf_only,
                  struct err *err)
{
  const char *slash = strrchr (path, '/');
  int r = 0;

  if (!can_be_a_file (path))
    return 0;
  if (!leaf_only || slash == NULL)
    r = name_list_add (names, path, err);
  if (r >= 0 && slash)
    r = name_list_add (names, slash + 1, err);
  return r < 0 ? r : 0;
}

int
parent_names_add_windows (struct name_list *names, char *path,
                          struct err *err)
{
  bool leaf_only;

  path = parent_path_from_windows (path, &leaf_only);
  return parent_names_add (names, path, leaf_only, err);
}
