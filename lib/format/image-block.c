/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The disk in an image, as a block for whatever reads disks: partition
 * tables, file systems, another image.
 */

#include <config.h>

#include <stdlib.h>

#include "lib/block/block-ops.h"
#include "lib/format/image.h"

struct image_block {
  struct block base;
  struct image *img;
};

static struct image *
image_of (struct block *b)
{
  return ((struct image_block *) b)->img;
}

static void
disk_close (struct block *b)
{
  image_unref (image_of (b));
}

static int
disk_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  return image_pread (image_of (b), buf, len, off, err);
}

static int
disk_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
             unsigned flags, struct err *err)
{
  return image_pwrite (image_of (b), buf, len, off, flags, err);
}

static int
disk_zero (struct block *b, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  return image_zero (image_of (b), len, off, flags, err);
}

static int
disk_trim (struct block *b, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  return image_trim (image_of (b), len, off, flags, err);
}

static int
disk_flush (struct block *b, struct err *err)
{
  return image_flush (image_of (b), err);
}

static int
disk_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  return image_extents (image_of (b), len, off, list, err);
}

static int
disk_cache (struct block *b, uint64_t len, uint64_t off, struct err *err)
{
  return image_cache (image_of (b), len, off, err);
}

static const struct block_ops disk_ops = {
  .close = disk_close,
  .pread = disk_pread,
  .pwrite = disk_pwrite,
  .zero = disk_zero,
  .trim = disk_trim,
  .flush = disk_flush,
  .extents = disk_extents,
  .cache = disk_cache,
};

int
image_to_block (struct image *img, struct block **out, struct err *err)
{
  struct image_block *d = calloc (1, sizeof *d);
  int r;

  if (d == NULL)
    return err_nomem (err);
  r = block_init (&d->base, &disk_ops, image_title (img), image_size (img),
                  image_writable (img), err);
  if (r < 0) {
    free (d);
    return r;
  }
  image_get_sizes (img, &d->base.sizes);
  d->img = image_ref (img);
  *out = &d->base;
  return 0;
}
