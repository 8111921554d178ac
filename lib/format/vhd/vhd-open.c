/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The driver's table: VHD, version 1, of Connectix and Microsoft.
 *
 * Fixed disks can be written, through to the bytes in front of the footer,
 * and dynamic and differencing ones, which grow.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/block/window.h"
#include "lib/format/image-ops.h"
#include "lib/format/vhd/vhd-check.h"
#include "lib/format/vhd/vhd-compact.h"
#include "lib/format/vhd/vhd-rebase.h"
#include "lib/format/vhd/vhd-resize.h"
#include "lib/format/vhd/vhd-write.h"

#define CD_SECTOR_SIZE 2048

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

  if (leaf->footers.bad_checksum)
    return "the checksum of its VHD footer is wrong";
  if (leaf->size_is_doubtful)
    return "the size in its VHD footer is not that of the file";
  if (leaf->size % VHD_SECTOR_SIZE != 0)
    return "its size is not a whole number of sectors";
  if (f->hidden && vhd_creator_is (f, "tap\0"))
    return "it is marked as the parent of other disks";
  return vhd_layer_is_fixed (leaf) ? NULL : vhd_writer_reason (leaf);
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

/* A CD is one with what was written to it, too. */
static void
keep_cd_sectors (struct image *img, const struct vhd_layer *layer)
{
  struct block_sizes sizes;

  while (layer->parent)
    layer = layer->parent;
  if (vhd_layer_is_vhd (layer))
    return;
  block_get_sizes (layer->block, &sizes);
  if (sizes.logical == CD_SECTOR_SIZE)
    img->sizes.logical = CD_SECTOR_SIZE;
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
  if (r == 0 && img->writable && !vhd_layer_is_fixed (vhd->leaf))
    r = vhd_writer_new (vhd->leaf, &vhd->writer, report, err);
  if (r < 0)
    return r;
  img->size = vhd->leaf->size;
  img->sizes.logical = VHD_SECTOR_SIZE;
  keep_cd_sectors (img, vhd->leaf);
  if (vhd_layer_is_fixed (vhd->leaf))
    return block_window_new (img->block, 0, img->size, &img->disk, err);
  return 0;
}

static void
vhd_close (struct image *img)
{
  struct vhd *vhd = img->state;

  vhd_writer_free (vhd->writer);
  vhd_layer_free (vhd->leaf);
  vhd_index_free (vhd->index);
  sector_cache_free (vhd->cache);
}

/*--- Operations -------------------------------------------------------------*/

/* On a disk that is written, all of them count themselves. */
static unsigned
enter (const struct vhd *vhd)
{
  return vhd->writer ? epoch_enter (vhd_space_epoch (vhd->writer->space))
                     : 0;
}

static void
leave (const struct vhd *vhd, unsigned epoch)
{
  if (vhd->writer)
    epoch_leave (vhd_space_epoch (vhd->writer->space), epoch);
}

static int
vhd_pread (struct image *img, void *buf, size_t len, uint64_t off,
           struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_layer_pread (vhd->leaf, buf, len, off, err);

  leave (vhd, epoch);
  return r;
}

static int
vhd_pwrite (struct image *img, const void *buf, size_t len, uint64_t off,
            unsigned flags, struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_write (vhd->writer, buf, len, off, flags, err);

  leave (vhd, epoch);
  return r;
}

static int
vhd_image_zero (struct image *img, uint64_t len, uint64_t off, unsigned flags,
                struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_zero (vhd->writer, len, off, flags, err);

  leave (vhd, epoch);
  return r;
}

static int
vhd_trim (struct image *img, uint64_t len, uint64_t off, unsigned flags,
          struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_discard (vhd->writer, len, off, flags, err);

  leave (vhd, epoch);
  return r;
}

static int
vhd_flush (struct image *img, struct err *err)
{
  struct vhd *vhd = img->state;

  return vhd->writer ? vhd_writer_flush (vhd->writer, err)
    : block_flush (img->block, err);
}

static int
vhd_extents (struct image *img, uint64_t len, uint64_t off,
             struct extent_list *list, struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_layer_extents (vhd->leaf, len, off, list, err);

  leave (vhd, epoch);
  return r;
}

static int
vhd_own_extents (struct image *img, uint64_t len, uint64_t off,
                 struct extent_list *list, struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_layer_own_extents (vhd->leaf, len, off, list, err);

  leave (vhd, epoch);
  return r;
}

static int
vhd_has_unit (struct image *img, uint64_t off, bool *has, struct err *err)
{
  struct vhd_layer *leaf = ((struct vhd *) img->state)->leaf;
  uint32_t sector;
  int r = vhd_bat_lookup (leaf, off / leaf->bat.block_size, &sector, err);

  if (r == 0)
    *has = sector != VHD_BAT_ABSENT;
  return r;
}

static int
vhd_cache (struct image *img, uint64_t len, uint64_t off, struct err *err)
{
  struct vhd *vhd = img->state;
  unsigned epoch = enter (vhd);
  int r = vhd_layer_cache (vhd->leaf, len, off, err);

  leave (vhd, epoch);
  return r;
}

static bool
vhd_identity (struct image *img, uint8_t id[UUID_SIZE])
{
  const struct vhd *vhd = img->state;

  memcpy (id, vhd->leaf->footers.footer.id, UUID_SIZE);
  return true;
}

static const char *const endings[] = { "vhd", "avhd", "vpc", NULL };

const struct image_ops vhd_image_ops = {
  .name = "vhd",
  .endings = endings,
  .lack = "there is no VHD footer at its end (was it cut off?)",
  .state_size = sizeof (struct vhd),
  .probe = vhd_probe,
  .open = vhd_open,
  .close = vhd_close,
  .pread = vhd_pread,
  .pwrite = vhd_pwrite,
  .zero = vhd_image_zero,
  .trim = vhd_trim,
  .flush = vhd_flush,
  .extents = vhd_extents,
  .cache = vhd_cache,
  .info = vhd_info,
  .identity = vhd_identity,
  .create = vhd_create,
  .check = vhd_check,
  .is_child = vhd_is_child,
  .resize_plan = vhd_resize_plan,
  .resize = vhd_resize,
  .own_extents = vhd_own_extents,
  .has_unit = vhd_has_unit,
  .relink_plan = vhd_relink_plan,
  .relink = vhd_relink_image,
  .compact_plan = vhd_compact_plan,
  .compact = vhd_compact,
  .plan_repair = vhd_plan_repair,
};
