/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The driver's table: VHD, version 1, of Connectix and Microsoft.
 *
 * Fixed disks can be written, through to the bytes in front of the footer.
 * Dynamic and differencing ones are read only.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/block/window.h"
#include "lib/format/image-ops.h"
#include "lib/format/vhd/vhd.h"

static int
vhd_probe (const struct probe *p)
{
  /* A damaged VHD is ours to refuse, rather than to be served as raw. */
  return vhd_footer_probe (p->head, p->head_len, p->tail, p->tail_len,
                           p->size) ? PROBE_YES : PROBE_NO;
}

/* Why this image must not be written; NULL if it may be. */
static const char *
reason_not_to_write (const struct vhd_layer *leaf)
{
  const struct vhd_footer *f = &leaf->footers.footer;

  if (f->type == VHD_DYNAMIC)
    return "it is a dynamic VHD, which can only be read";
  if (f->type == VHD_DIFFERENCING)
    return "it is a differencing VHD, which can only be read";
  if (leaf->footers.bad_checksum)
    return "the checksum of its VHD footer is wrong";
  if (leaf->size_is_doubtful)
    return "the size in its VHD footer is not that of the file";
  if (leaf->size % VHD_SECTOR_SIZE != 0)
    return "its size is not a whole number of sectors";
  if (f->hidden && vhd_creator_is (f, "tap\0"))
    return "it is marked as the parent of other disks";
  return NULL;
}

static int
set_readonly_reason (struct image *img, const struct vhd_layer *leaf,
                     struct err *err)
{
  const char *reason = reason_not_to_write (leaf);

  if (reason == NULL)
    return 0;
  if (img->writable)
    return err_set (err, -EROFS, "can't be opened for writing: %s", reason);
  img->readonly_reason = strdup (reason);
  return img->readonly_reason ? 0 : err_nomem (err);
}

static int
vhd_open (struct image *img, const struct image_options *options,
          struct report *report, struct err *err)
{
  struct vhd *vhd = img->state;
  int r;

  vhd->cache = sector_cache_new ();
  if (vhd->cache == NULL)
    return err_nomem (err);
  r = vhd_layer_new (img->block, options, &vhd->leaf, report, err);
  if (r < 0)
    return r;
  vhd->leaf->cache = vhd->cache;
  r = vhd_layer_open (vhd->leaf, options->size_rule, options, report, err);
  if (r == 0)
    r = set_readonly_reason (img, vhd->leaf, err);
  if (r == 0)
    r = vhd_chain_open (vhd->leaf, options, report, err);
  if (r == 0)
    r = vhd_index_new (vhd->leaf, &vhd->index, err);
  if (r < 0)
    return r;
  img->size = vhd->leaf->size;
  img->sizes.logical = VHD_SECTOR_SIZE;
  if (vhd_layer_is_fixed (vhd->leaf))
    return block_window_new (img->block, 0, img->size, &img->disk, err);
  return 0;
}

static void
vhd_close (struct image *img)
{
  struct vhd *vhd = img->state;

  vhd_layer_free (vhd->leaf);
  vhd_index_free (vhd->index);
  sector_cache_free (vhd->cache);
}

static struct vhd_layer *
leaf_of (struct image *img)
{
  return ((struct vhd *) img->state)->leaf;
}

static int
vhd_pread (struct image *img, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  return vhd_layer_pread (leaf_of (img), buf, len, off, err);
}

static int
vhd_extents (struct image *img, uint64_t len, uint64_t off,
             struct extent_list *list, struct err *err)
{
  return vhd_layer_extents (leaf_of (img), len, off, list, err);
}

static int
vhd_cache (struct image *img, uint64_t len, uint64_t off, struct err *err)
{
  return vhd_layer_cache (leaf_of (img), len, off, err);
}

const struct image_ops vhd_image_ops = {
  .name = "vhd",
  .state_size = sizeof (struct vhd),
  .probe = vhd_probe,
  .open = vhd_open,
  .close = vhd_close,
  .pread = vhd_pread,
  .extents = vhd_extents,
  .cache = vhd_cache,
  .info = vhd_info,
  .create = vhd_create,
};
