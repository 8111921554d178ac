/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The driver's table: VHDX, version 1, of Hyper-V. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/format/image-ops.h"
#include "lib/format/vhdx/vhdx-check.h"
#include "lib/format/vhdx/vhdx-compact.h"
#include "lib/format/vhdx/vhdx-rebase.h"
#include "lib/format/vhdx/vhdx-resize.h"
#include "lib/format/vhdx/vhdx-write.h"

static int
vhdx_probe (const struct probe *p)
{
  return vhdx_header_probe (p->head, p->head_len) ? PROBE_YES : PROBE_NO;
}

static int
set_readonly_reason (struct image *img, const struct vhdx_layer *leaf,
                     struct err *err)
{
  const char *reason = vhdx_writer_reason (leaf);

  if (reason == NULL)
    return 0;
  if (img->writable)
    return err_set (err, -EROFS, "can't be opened for writing: %s", reason);
  img->readonly_reason = strdup (reason);
  return img->readonly_reason ? 0 : err_nomem (err);
}

/* A partition table in sectors of 4096 bytes means nothing in sectors of 512,
 * so that the disk takes whole ones only.
 */
static void
set_sizes (struct image *img, const struct vhdx_metadata *m)
{
  img->size = m->size;
  img->sizes.logical = m->logical;
  if (m->logical > 512)
    img->sizes.minimum = m->logical;
  if (m->physical > 512)
    img->sizes.preferred = m->physical;
}

static int
vhdx_open (struct image *img, const struct image_options *options,
           struct report *report, struct err *err)
{
  struct vhdx *vhdx = img->state;
  int r;

  vhdx->cache = sector_cache_new ();
  if (vhdx->cache == NULL)
    return err_nomem (err);
  r = vhdx_layer_new (img->block, options, &vhdx->leaf, report, err);
  if (r < 0)
    return r;
  vhdx->leaf->cache = vhdx->cache;
  vhdx->leaf->is_written = img->writable;
  if (options->data_id) {
    vhdx->leaf->has_new_id = true;
    memcpy (vhdx->leaf->new_id, options->data_id, UUID_SIZE);
  }
  r = vhdx_layer_open (vhdx->leaf, options, report, err);
  if (r == 0)
    r = set_readonly_reason (img, vhdx->leaf, err);
  if (r == 0)
    r = vhdx_chain_open (vhdx->leaf, options, report, err);
  if (r == 0 && img->writable)
    r = vhdx_recover (vhdx->leaf, err);
  if (r == 0 && img->writable)
    r = vhdx_writer_new (vhdx->leaf, &vhdx->writer, report, err);
  if (r == 0)
    set_sizes (img, &vhdx->leaf->metadata);
  return r;
}

static void
vhdx_close (struct image *img)
{
  struct vhdx *vhdx = img->state;

  vhdx_writer_free (vhdx->writer);
  vhdx_layer_free (vhdx->leaf);
  sector_cache_free (vhdx->cache);
}

/*--- Operations -------------------------------------------------------------*/

/* On a disk that is written, all of them count themselves. */
static unsigned
enter (const struct vhdx *vhdx)
{
  return vhdx->writer ? epoch_enter (vhdx_space_epoch (vhdx->writer->space))
                      : 0;
}

static void
leave (const struct vhdx *vhdx, unsigned which)
{
  if (vhdx->writer)
    epoch_leave (vhdx_space_epoch (vhdx->writer->space), which);
}

static int
vhdx_pread (struct image *img, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_layer_pread (vhdx->leaf, buf, len, off, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_pwrite (struct image *img, const void *buf, size_t len, uint64_t off,
             unsigned flags, struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_write (vhdx->writer, buf, len, off, flags, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_image_zero (struct image *img, uint64_t len, uint64_t off,
                 unsigned flags, struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_zero (vhdx->writer, len, off, flags, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_trim (struct image *img, uint64_t len, uint64_t off, unsigned flags,
           struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_discard (vhdx->writer, len, off, flags, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_flush (struct image *img, struct err *err)
{
  struct vhdx *vhdx = img->state;

  return vhdx_writer_flush (vhdx->writer, err);
}

static int
vhdx_extents (struct image *img, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_layer_extents (vhdx->leaf, len, off, list, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_cache (struct image *img, uint64_t len, uint64_t off, struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_layer_cache (vhdx->leaf, len, off, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_own_extents (struct image *img, uint64_t len, uint64_t off,
                  struct extent_list *list, struct err *err)
{
  struct vhdx *vhdx = img->state;
  unsigned epoch = enter (vhdx);
  int r = vhdx_layer_own_extents (vhdx->leaf, len, off, list, err);

  leave (vhdx, epoch);
  return r;
}

static int
vhdx_has_unit (struct image *img, uint64_t off, bool *has, struct err *err)
{
  struct vhdx *vhdx = img->state;
  enum vhdx_state state;
  uint64_t place;
  int r = vhdx_bat_lookup (vhdx->leaf, off / vhdx->leaf->metadata.block_size,
                           &state, &place, err);

  if (r == 0)
    *has = state == VHDX_PRESENT || state == VHDX_PARTIALLY_PRESENT;
  return r;
}

static bool
vhdx_identity (struct image *img, uint8_t id[UUID_SIZE])
{
  const struct vhdx *vhdx = img->state;
  struct vhdx_header header;

  vhdx_header_now (vhdx->leaf, &header);
  memcpy (id, header.data_write_guid, UUID_SIZE);
  return true;
}

static const char *const endings[] = { "vhdx", "avhdx", NULL };

const struct image_ops vhdx_image_ops = {
  .name = "vhdx",
  .endings = endings,
  .lack = "there is no VHDX signature at its start",
  .state_size = sizeof (struct vhdx),
  .probe = vhdx_probe,
  .open = vhdx_open,
  .close = vhdx_close,
  .pread = vhdx_pread,
  .pwrite = vhdx_pwrite,
  .zero = vhdx_image_zero,
  .trim = vhdx_trim,
  .flush = vhdx_flush,
  .extents = vhdx_extents,
  .cache = vhdx_cache,
  .info = vhdx_info,
  .identity = vhdx_identity,
  .create = vhdx_create,
  .own_extents = vhdx_own_extents,
  .has_unit = vhdx_has_unit,
  .relink_plan = vhdx_relink_plan,
  .relink = vhdx_relink_image,
  .expect_change = vhdx_expect_change,
  .is_child = vhdx_is_child,
  .resize_plan = vhdx_resize_plan,
  .resize = vhdx_resize,
  .compact_plan = vhdx_compact_plan,
  .compact = vhdx_compact,
  .check = vhdx_check,
  .plan_repair = vhdx_plan_repair,
};
