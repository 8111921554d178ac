/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where a parent is, as a new child will say it. */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "lib/format/parent.h"

/* Both absolute and without symbolic links; folder without "/" at its end
 * unless it is the root.  "./x" beside or below, or "../x".
 */
static char *
relative_path (const char *folder, const char *path)
{
  size_t common = 0, i = 0;
  char *out = NULL;
  size_t size;
  FILE *fp = open_memstream (&out, &size);
  const char *up = "./";

  if (fp == NULL)
    return NULL;
  if (strcmp (folder, "/") == 0)
    folder = "";
  while (folder[i] && folder[i] == path[i]) {
    i++;
    if (path[i] == '/' && (folder[i] == '/' || folder[i] == '\0'))
      common = i;
  }
  for (i = common; folder[i]; ++i)
    if (folder[i] == '/') {
      fputs ("../", fp);
      up = "";
    }
  fprintf (fp, "%s%s", up, path + common + 1);
  if (fclose (fp) != 0) {
    free (out);
    return NULL;
  }
  return out;
}

/* The folder in which path lies or would lie, absolute. */
static char *
real_folder (const char *path)
{
  CLEANUP_FREE char *folder = strdup (path);
  char *slash = folder ? strrchr (folder, '/') : NULL;

  if (folder == NULL)
    return NULL;
  if (slash == NULL)
    return realpath (".", NULL);
  slash[slash == folder ? 1 : 0] = '\0';
  return realpath (folder, NULL);
}

static int
add_relative (struct parent_place *place, const char *folder,
              struct report *report, struct err *err)
{
  place->relative = relative_path (folder, place->absolute);
  if (place->relative == NULL)
    return err_nomem (err);
  if (strncmp (place->relative, "../", 3) == 0)
    report_warn (report, "the parent is not in the folder of the child or "
                 "below it: to open the child, name its folder with "
                 "%sparent-path", image_option_dashes);
  return 0;
}

int
parent_place_find (const char *child, const char *parent,
                   struct parent_place *out, struct report *report,
                   struct err *err)
{
  CLEANUP_FREE char *folder = real_folder (child);
  struct parent_place place = { realpath (parent, NULL), NULL };
  int r = 0;

  if (place.absolute == NULL)
    return err_sys (err, "parent %s", parent);
  if (folder == NULL)
    r = err_sys (err, "its folder can't be found");
  else if (strchr (place.absolute, '\\') == NULL)
    r = add_relative (&place, folder, report, err);
  if (r < 0)
    parent_place_free (&place);
  else
    *out = place;
  return r;
}

void
parent_place_free (struct parent_place *place)
{
  free (steal_ptr (&place->absolute));
  free (steal_ptr (&place->relative));
}

void
parent_path_to_windows (char *path)
{
  for (char *p = path; *p; ++p)
    if (*p == '/')
      *p = '\\';
}
