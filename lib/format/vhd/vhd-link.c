/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a new child says about where its parent is: the other direction of
 * vhd-locator.c.
 *
 *   W2ru   the path from the child's folder, as Windows writes it
 *   W2ku   the absolute path, as Windows would write it
 *   MacX   the absolute path as a file URL
 *
 * and in the header the last part of the path.  A path with a backslash in
 * it can't be said in Windows' way; then there is the URL only.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "lib/base/utf16.h"
#include "lib/format/vhd/vhd.h"

/* Room for a locator's text: one can be written over by a longer one. */
#define LOCATOR_UNIT 4096

/* Takes the bytes over. */
static void
add_locator (struct vhd_link *link, uint32_t code, uint8_t *bytes, size_t len)
{
  size_t i = 0;

  while (link->texts[i])
    i++;
  link->texts[i] = bytes;
  link->locators[i] = (struct vhd_locator) {
    .code = code,
    .space = (uint32_t) round_up (len, LOCATOR_UNIT),
    .len = (uint32_t) len,
  };
}

static int
add_windows_path (struct vhd_link *link, uint32_t code, char *path,
                  struct err *err)
{
  uint8_t *bytes;
  size_t len;
  int r;

  for (char *p = path; *p; ++p)
    if (*p == '/')
      *p = '\\';
  r = utf16_from_utf8 (path, UTF16_LE, &bytes, &len, err);
  if (r == 0)
    add_locator (link, code, bytes, len);
  return r;
}

static int
add_url (struct vhd_link *link, const char *parent, struct err *err)
{
  CLEANUP_FREE char *path = uri_encode (parent);
  char *url;

  if (path == NULL || asprintf (&url, "file://%s", path) < 0)
    return err_nomem (err);
  add_locator (link, VHD_LOCATOR_MACX, (uint8_t *) url, strlen (url));
  return 0;
}

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
add_name (struct vhd_link *link, const char *leaf, struct err *err)
{
  CLEANUP_FREE uint8_t *bytes = NULL;
  size_t len;
  int r = utf16_from_utf8 (leaf, UTF16_BE, &bytes, &len, err);

  if (r < 0)
    return r;
  /* With a NUL behind it; a name of 255 bytes fits, and none is longer. */
  if (len + 2 > sizeof link->name)
    return err_set (err, -ENAMETOOLONG, "the name of the parent has %zu "
                    "UTF-16 units, expected at most %zu", len / 2,
                    sizeof link->name / 2 - 1);
  memcpy (link->name, bytes, len);
  return 0;
}

static int
add_windows_paths (struct vhd_link *link, const char *folder, char *parent,
                   struct report *report, struct err *err)
{
  CLEANUP_FREE char *relative = relative_path (folder, parent);
  int r;

  if (relative == NULL)
    return err_nomem (err);
  if (strncmp (relative, "../", 3) == 0)
    report_warn (report, "the parent is not in the folder of the child or "
                 "below it: to open the child, name its folder with "
                 "%sparent-path", image_option_dashes);
  r = add_windows_path (link, VHD_LOCATOR_W2RU, relative, err);
  if (r == 0)
    r = add_windows_path (link, VHD_LOCATOR_W2KU, parent, err);
  return r;
}

int
vhd_link_make (const char *child, const char *parent, struct vhd_link *link,
               struct report *report, struct err *err)
{
  CLEANUP_FREE char *folder = real_folder (child);
  CLEANUP_FREE char *path = realpath (parent, NULL);
  int r;

  memset (link, 0, sizeof *link);
  if (path == NULL)
    return err_sys (err, "parent %s", parent);
  if (folder == NULL)
    return err_sys (err, "its folder can't be found");
  r = add_name (link, strrchr (path, '/') + 1, err);
  if (r == 0)
    r = add_url (link, path, err);
  if (r == 0 && strchr (path, '\\') == NULL)
    r = add_windows_paths (link, folder, path, report, err);
  return r;
}

void
vhd_link_free (struct vhd_link *link)
{
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i)
    free (steal_ptr (&link->texts[i]));
}
