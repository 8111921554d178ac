/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/format/create.h"
#include "lib/format/image-ops.h"
#include "lib/format/overlay.h"
#include "lib/format/parent.h"

static int
open_base (const char *name, const struct image_options *options,
           struct image **base, struct report *report, struct err *err)
{
  struct image_options below = *options;

  below.overlay = NULL;
  below.writable = false;
  return image_open (name, &below, base, report, err);
}

/* VHD specification, "Block Allocation Table": 2040 GiB. */
#define MAX_VHD (UINT64_C (2040) << 30)

const char *
image_overlay_format (const struct image *base)
{
  struct block_sizes sizes;

  image_get_sizes (base, &sizes);
  return strcmp (image_format (base), "vhdx") == 0 || sizes.logical == 4096 ||
    image_size (base) > MAX_VHD ? "vhdx" : "vhd";
}

static int
make (const char *path, struct image *base, struct report *report,
      struct err *err)
{
  const char *format = image_format_by_name (path);
  struct image_create_options options = {
    .format = format ? format : image_overlay_format (base),
    .base = base,
  };
  uint64_t size;
  int r;

  if (strcmp (options.format, "vhd") != 0 &&
      strcmp (options.format, "vhdx") != 0)
    return err_set (err, -EINVAL, "an overlay is a VHD or a VHDX, and its "
                    "name would be that of another format (%s)",
                    options.format);
  r = image_create (path, &options, &size, report, err);
  return r == -EEXIST ? 0 : r;          /* somebody else was faster */
}

static int
open_file (const char *path, const struct image_options *options,
           struct image *base, struct image **out, struct report *report,
           struct err *err)
{
  struct image_options above = {
    .base = base,
    .writable = options->writable,
    .lock = options->lock,
    .depth = options->depth,
  };
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  unsigned flags = (above.writable ? BLOCK_FILE_WRITE : 0) |
    (above.lock ? BLOCK_FILE_LOCK : 0);
  int r = block_file_open (path, flags, &block, report, err);

  if (r == 0)
    r = image_open_block (block, &above, &img, report, err);
  if (r < 0)
    return r;
  /* The others have no idea of a disk below. */
  if (img->ops != &vhd_image_ops && img->ops != &vhdx_image_ops)
    return err_set (err, -EINVAL, "is %s %s image, and no overlay",
                    text_article (image_format (img)), image_format (img));
  *out = image_ref (img);
  return 0;
}

static int
check_not_itself (const char *path, struct image *base, struct err *err)
{
  int layer = parent_layer_with_path (base, path);

  if (layer < 0)
    return 0;
  return err_set (err, -EINVAL, "is %s, which can't be its own overlay",
                  layer == 0 ? "the image itself" : "a parent of the image");
}

/* What lies below may be a backup, which would be pruned some day. */
static int
keep_base (const char *path, struct image *base, struct report *report,
           struct err *err)
{
  CLEANUP_FREE char *absolute = NULL;

  if (base->ops->keep_for == NULL)
    return 0;
  absolute = realpath (path, NULL);
  return absolute ? base->ops->keep_for (base, absolute, report, err)
    : err_sys (err, "its folder can't be found");
}

int
image_open_overlay (const char *name, const struct image_options *options,
                    struct image **out, struct report *report,
                    struct err *err)
{
  CLEANUP_IMAGE struct image *base = NULL, *img = NULL;
  const char *path = options->overlay;
  int r = open_base (name, options, &base, report, err);
  bool is_there;

  if (r < 0)
    return r;
  is_there = access (path, F_OK) == 0;
  if (!is_there && errno != ENOENT)
    return err_sys (err, "overlay %s", path);
  if (!is_there && options->overlay_must_exist)
    return err_set (err, -ENOENT, "the overlay %s is not there", path);
  if (!is_there && !options->writable) {
    /* It could be written: the overlay would be made. */
    free (steal_ptr (&base->readonly_reason));
    *out = image_ref (base);
    return 0;
  }
  r = is_there ? check_not_itself (path, base, err)
    : make (path, base, report, err);
  if (r == 0)
    r = open_file (path, options, base, &img, report, err);
  if (r == 0 && options->writable)
    r = keep_base (path, base, report, err);
  if (r < 0)
    return err_in (err, "overlay %s", path);
  *out = steal_ptr (&img);
  return 0;
}
