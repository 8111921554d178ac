/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A raw image: the bytes of the file are the bytes of the disk. */

#include <config.h>

#include "lib/format/image-ops.h"

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

const struct image_ops raw_image_ops = {
  .name = "raw",
  .probe = raw_probe,
  .open = raw_open,
};
