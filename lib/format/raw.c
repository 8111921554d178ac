/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A raw image: the bytes of the file are the bytes of the disk.
 *
 * Any file can be one, also one that was another format's before it was
 * damaged.  Reading such a file as a raw disk does no harm, but writing does:
 * a fixed VHD that was cut off would be mended in vain afterwards.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/block/file.h"
#include "lib/format/create-ops.h"
#include "lib/format/offline-ops.h"
#include "lib/format/probe.h"
#include "lib/format/resize.h"

static int
raw_probe (const struct probe *probe)
{
  (void) probe;
  return PROBE_FALLBACK;
}

/* Nobody said that it is a raw disk, and nothing else was recognised. */
static int
check_fallback (struct image *img, struct report *report, struct err *err)
{
  const char *name = block_name (img->block);
  const struct image_ops *other = format_by_name_ending (name);
  const char *dot = strrchr (name, '.');
  const char *option = image_format_option;

  if (block_file_fd (img->block) < 0)   /* a server's name is no file's */
    return 0;
  if (block_size (img->block) == 0)
    return err_set (err, -EBADMSG, "is empty, so there is no disk in it; "
                    "%s=raw takes it for a disk of 0 bytes", option);
  if (other == NULL || other == img->ops)
    return 0;
  if (img->writable)
    return err_set (err, -EROFS, "can't be opened for writing: its name ends "
                    "in %s, but %s; use %s=raw if it is a raw disk",
                    dot, other->lack, option);
  report_warn (report, "%s: its name ends in %s, but %s; it is taken for a "
               "raw disk, and can be written with %s=raw only", name, dot,
               other->lack, option);
  if (asprintf (&img->readonly_reason, "its name ends in %s, but %s", dot,
                other->lack) < 0) {
    img->readonly_reason = NULL;
    return err_nomem (err);
  }
  return 0;
}

static int
raw_open (struct image *img, const struct image_options *options,
          struct report *report, struct err *err)
{
  int r = options->format ? 0 : check_fallback (img, report, err);

  if (r < 0)
    return r;
  img->disk = block_ref (img->block);
  img->size = block_size (img->block);
  return 0;
}

static int
raw_create (struct creation *c, struct report *report, struct err *err)
{
  int r;

  (void) report;
  if (c->parent)
    return err_set (err, -EINVAL, "a raw image can't have a parent");
  if (c->options->azure || c->options->chs || c->options->block_size)
    return err_set (err, -EINVAL, "a raw image has neither blocks nor a "
                    "geometry");
  if (c->options->sector_size || c->options->physical_sector_size)
    return err_set (err, -EINVAL, "a raw image does not say what size "
                    "sectors have");
  c->size = c->options->size;
  r = creation_resize (c, c->size, err);
  if (r == 0 && c->options->preallocate)
    r = creation_reserve (c, c->size, err);
  return r;
}

static int
raw_resize_plan (struct offline *o, struct image_resize_plan *plan,
                 struct err *err)
{
  if (o->img->readonly_reason)
    return err_set (err, -EROFS, "can't be changed: %s",
                    o->img->readonly_reason);
  if (!block_can_resize (o->block))
    return err_set (err, -ENOTSUP, "its size can't be changed, because it is "
                    "no regular file");
  plan->is_done = plan->size == plan->old_size;
  return 0;
}

static int
raw_resize (struct offline *o, const struct image_resize_plan *plan,
            struct job *job, struct err *err)
{
  int r = block_resize (o->block, plan->size, err);

  (void) job;
  return r < 0 ? r : block_flush (o->block, err);
}

static const char *const endings[] = { "img", "raw", NULL };

const struct image_ops raw_image_ops = {
  .name = "raw",
  .endings = endings,
  .probe = raw_probe,
  .open = raw_open,
  .create = raw_create,
  .resize_plan = raw_resize_plan,
  .resize = raw_resize,
};
