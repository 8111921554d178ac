/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The files in which a partition was saved, and what is in them:
 *
 *   sda1.ext4-ptcl-img.gz          of partclone.ext4; .uncomp: not compressed
 *   sda1.ext4-ptcl-img.gz.aa, .ab  the same, in pieces
 *   sda1.dd-ptcl-img.gz            of partclone.dd: all bytes, and nothing else
 *   sda1.dd-img, sda1.dd-img.aa    of either dd, compressed or not
 *   sda1.ntfs-img, sda1.aa, .000   of ntfsclone, of partimage; once of
 *                                  partclone, too
 *
 * What the name says has to be there: a file of partclone whose first bytes
 * are damaged is not taken for the bytes of the partition.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/clonezilla/clonezilla.h"

/* Is that how the name ends of a piece that is not the first one?  What is
 * there once behind "-img", and is how compressed files end, is none.
 */
static bool
is_later_piece (const char *name)
{
  static const char *const whole[] = {
    "gz", "lrz", "lz", "lzip", "lzma", "lzo", "uncomp", "xz", "zst", NULL
  };
  const char *dot = strrchr (name, '.');
  size_t len = dot ? strspn (dot + 1, "abcdefghijklmnopqrstuvwxyz") : 0;

  if (dot == NULL || len < 2 || dot[1 + len] != '\0' ||
      strstr (dot, "-img") != NULL || strspn (dot + 1, "a") == len)
    return false;
  for (size_t i = 0; whole[i] != NULL; ++i)
    if (strcmp (dot + 1, whole[i]) == 0 && dot - name >= 4 &&
        memcmp (dot - 4, "-img", 4) == 0)
      return false;
  return true;
}

/* Is it a file, or a first piece, that a partition was saved in?  kind: what is
 * behind "sda1." in the name.
 */
static bool
is_image (const char *name, const char *kind)
{
  size_t len = strlen (kind);

  if (strstr (kind, "-img") != NULL)
    return !is_later_piece (name);
  return len >= 2 && (strspn (kind, "a") == len || strspn (kind, "0") == len);
}

/* The one file of those in the folder; *out is NULL if there is none. */
static int
find (const struct clonezilla_folder *folder, const char *part,
      const char **out, struct err *err)
{
  size_t len = strlen (part);

  *out = NULL;
  for (size_t i = 0; i < folder->files.len; ++i) {
    const char *name = folder->files.ptr[i];

    if (strncmp (name, part, len) != 0 || name[len] != '.' ||
        !is_image (name, name + len + 1))
      continue;
    if (*out)
      return err_set (err, -EBADMSG, "there are two images of %s, %s and %s",
                      part, *out, name);
    *out = name;
  }
  return 0;
}

static bool
begins (const char *text, const char *with)
{
  return strncmp (text, with, strlen (with)) == 0;
}

/* What dd copied may look like anything, and is served as what it is; but only
 * that of which all bytes are the partition's.
 */
static int
check_is_raw (const struct image *img, struct err *err)
{
  const char *format = image_format (img);

  if (strcmp (format, "raw") == 0 || strcmp (format, "iso") == 0)
    return 0;
  return err_set (err, -ENOTSUP, "has the name of a partition that was copied "
                  "by dd, and is an image (%s)", format);
}

static int
open_file (const char *path, const char *kind,
           const struct image_options *options, struct image **out,
           struct report *report, struct err *err)
{
  bool is_raw = begins (kind, "dd-img") || begins (kind, "dd-ptcl-img");
  struct image_options ours = {
    .format = is_raw ? NULL : "partclone",
    .lock = options->lock,
    .job = options->job,
  };
  CLEANUP_IMAGE struct image *img = NULL;
  int r;

  if (!is_raw && strstr (kind, "-ptcl-img") == NULL)
    return err_set (err, -ENOTSUP, "was made by another program than "
                    "partclone or dd");
  r = image_open (path, &ours, &img, report, err);
  if (r == 0 && is_raw)
    r = check_is_raw (img, err);
  if (r == 0)
    *out = steal_ptr (&img);
  return r;
}

int
clonezilla_open_part (const struct clonezilla_folder *folder,
                      const char *part, const struct image_options *options,
                      struct image **out, struct report *report,
                      struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  const char *name;
  int r = find (folder, part, &name, err);

  *out = NULL;
  if (r < 0 || name == NULL)
    return r;
  if (asprintf (&path, "%s/%s", folder->path, name) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  r = open_file (path, name + strlen (part) + 1, options, out, report, err);
  return r < 0 ? err_in (err, "%s", path) : r;
}
