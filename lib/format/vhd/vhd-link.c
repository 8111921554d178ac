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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/uri.h"
#include "lib/base/utf16.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
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

  parent_path_to_windows (path);
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

/* An export is no file, and nobody opens one because a file says so: it is for
 * people to read.
 */
static int
add_uri (struct vhd_link *link, const char *uri, struct err *err)
{
  return add_name (link, strlen (uri) < sizeof link->name / 2 ? uri : "nbd",
                   err);
}

int
vhd_link_make (const char *child, const char *parent, struct vhd_link *link,
               struct report *report, struct err *err)
{
  struct parent_place place;
  int r;

  memset (link, 0, sizeof *link);
  if (block_nbd_is_uri (parent))
    return add_uri (link, parent, err);
  r = parent_place_find (child, parent, &place, report, err);
  if (r < 0)
    return r;
  r = add_name (link, strrchr (place.absolute, '/') + 1, err);
  if (r == 0)
    r = add_url (link, place.absolute, err);
  if (r == 0 && place.relative)
    r = add_windows_path (link, VHD_LOCATOR_W2RU, place.relative, err);
  if (r == 0 && place.relative)
    r = add_windows_path (link, VHD_LOCATOR_W2KU, place.absolute, err);
  parent_place_free (&place);
  return r;
}

void
vhd_link_free (struct vhd_link *link)
{
  for (size_t i = 0; i < VHD_NR_LOCATORS; ++i)
    free (steal_ptr (&link->texts[i]));
}

uint32_t
vhd_link_stamp (time_t t)
{
  return t < VHD_EPOCH ? 0 : (uint32_t) (t - VHD_EPOCH);
}

uint32_t
vhd_link_time (const struct block *parent)
{
  struct stat st;
  int fd = block_file_fd (parent);

  return fd >= 0 && fstat (fd, &st) == 0 ? vhd_link_stamp (st.st_mtime) : 0;
}
