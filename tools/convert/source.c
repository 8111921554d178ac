/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "tools/convert/convert.h"

static int
same_file (const char *layer, const struct stat *target)
{
  struct stat st;

  return stat (layer, &st) == 0 && st.st_dev == target->st_dev &&
    st.st_ino == target->st_ino;
}

int
convert_check_not_same (const struct convert *c,
                        const struct convert_source *from, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  struct stat st;
  int r;

  if (strcmp (c->source, c->target) == 0)
    return err_set (err, -EINVAL, "is the source itself");
  if (block_nbd_is_uri (c->target) || stat (c->target, &st) < 0)
    return 0;
  r = image_get_info (from->img, &info, err);
  for (size_t i = 0; r == 0 && i < info.layers.len; ++i) {
    const char *name = info.layers.ptr[i].name;

    if (block_nbd_is_uri (name) || !same_file (name, &st))
      continue;
    r = i == 0 ? err_set (err, -EINVAL, "is the source itself, %s", name)
      : err_set (err, -EINVAL, "is a parent of the source, %s", name);
  }
  return r;
}

/*--- For the state ----------------------------------------------------------*/

/* A file by its path from the root, so that the same command may be typed in
 * another folder.  The caller frees it; NULL: there is none.
 */
static char *
full_name (const char *name)
{
  return block_nbd_is_uri (name) ? NULL : realpath (name, NULL);
}

static int
describe_file (FILE *fp, const char *name, struct err *err)
{
  CLEANUP_FREE char *path = full_name (name);
  struct stat st;

  if (stat (name, &st) < 0)
    return err_sys (err, "%s", name);
  fprintf (fp, "%s inode=%ju size=%ju mtime=%jd.%09ld ctime=%jd.%09ld\n",
           path ? path : name, (uintmax_t) st.st_ino, (uintmax_t) st.st_size,
           (intmax_t) st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
           (intmax_t) st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
  return 0;
}

static int
finish (FILE *fp, int r, char **text, struct err *err)
{
  if (fclose (fp) != 0 && r == 0)
    r = err_nomem (err);
  if (r < 0) {
    free (*text);
    *text = NULL;
  }
  return r;
}

char *
convert_describe_source (const struct convert_source *from, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  char *text = NULL;
  size_t size;
  FILE *fp = open_memstream (&text, &size);
  int r;

  if (fp == NULL) {
    err_nomem (err);
    return NULL;
  }
  fprintf (fp, "disk=%" PRIu64 " format=%s\n", image_size (from->img),
           image_format (from->img));
  r = image_get_info (from->img, &info, err);
  for (size_t i = 0; r == 0 && i < info.layers.len; ++i) {
    const char *name = info.layers.ptr[i].name;

    if (block_nbd_is_uri (name))
      fprintf (fp, "%s size=%" PRIu64 "\n", name,
               block_size (image_block (from->img)));
    else
      r = describe_file (fp, name, err);
  }
  finish (fp, r, &text, err);
  return text;
}

static void
put_option (FILE *fp, const char *name, const char *value)
{
  if (value)
    fprintf (fp, "%s=%s\n", name, value);
}

char *
convert_describe_how (const struct convert *c, const struct convert_target *to,
                      struct err *err)
{
  const struct image_create_options *o = &c->create;
  bool is_export = block_nbd_is_uri (c->target);
  const char *slash = is_export ? NULL : strrchr (c->target, '/');
  CLEANUP_FREE char *path = full_name (c->source);
  char *text = NULL;
  size_t size;
  FILE *fp = open_memstream (&text, &size);

  if (fp == NULL) {
    err_nomem (err);
    return NULL;
  }
  fprintf (fp, "source=%s\n", path ? path : c->source);
  put_option (fp, "source-format", c->from.format);
  put_option (fp, "parent-path", c->from.parent_path);
  put_option (fp, "size", c->from.size);
  fprintf (fp, "ignore-checksums=%d\ntarget=%s\nformat=%s fixed=%d azure=%d "
           "chs=%d preallocate=%d block-size=%" PRIu32 " sector-size=%" PRIu32
           "\n", c->from.ignore_checksums, slash ? slash + 1 : c->target,
           o->format, o->kind == IMAGE_FIXED, o->azure, o->chs,
           o->preallocate, o->block_size, o->sector_size);
  if (is_export)
    fprintf (fp, "export-size=%" PRIu64 "\n", to->size);
  if (is_export)
    put_option (fp, "description", block_nbd_description (to->disk));
  finish (fp, 0, &text, err);
  return text;
}
