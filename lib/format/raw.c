/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A raw image: the bytes of the file are the bytes of the disk. */

#include <config.h>

#include <errno.h>

#include "lib/format/create-ops.h"

static int
raw_probe (const struct probe *probe)
{
  (void) probe;
  return PROBE_FALLBACK;
}

static int
raw_open (struct image *img, const struct image_options *options,
          struct report *report, struct err *err)
{
  (void) options;
  (void) report;
  (void) err;
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
  c->size = c->options->size;
  r = creation_resize (c, c->size, err);
  if (r == 0 && c->options->preallocate)
    r = creation_reserve (c, c->size, err);
  return r;
}

const struct image_ops raw_image_ops = {
  .name = "raw",
  .probe = raw_probe,
  .open = raw_open,
  .create = raw_create,
};
