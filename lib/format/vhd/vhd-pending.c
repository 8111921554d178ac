/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bits of a differencing disk: from the table of pending ones (../pending.h)
 * into the bitmaps of the file, in the order that ../pending-flush.h tells.
 *
 * Each sector of bitmap that has some of them is read, through the cache, and
 * written with them.  After a power cut, in one of these, too, any of the bits
 * may be there and others not.
 *
 * A block may be removed, and its place released, while its bits are being
 * written: a flush counts as an operation, so that the place is nobody else's
 * before it ends.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/pending-flush.h"
#include "lib/format/vhd/vhd-write.h"

struct vhd_pending {
  struct vhd_layer *layer;      /* borrowed; has the table meanwhile */
  struct vhd_space *space;      /* borrowed */
  struct pending_flush flush;
};

static struct pending_image
describe (const struct vhd_layer *layer)
{
  struct pending_image image = {
    .fd = block_file_fd (layer->block),
    .block = layer->block,
    .name = block_name (layer->block),
    .sectors_per_block = layer->bat.block_size / VHD_SECTOR_SIZE,
  };

  memcpy (image.id, layer->footers.footer.id, sizeof image.id);
  return image;
}

/* Is the block where it was?  What can't be looked up is told when it is
 * read.
 */
static bool
is_there (void *opaque, uint64_t index, uint64_t place)
{
  struct vhd_layer *layer = opaque;
  uint32_t sector;

  if (layer->bat.entries == NULL && layer->cache == NULL)
    return index < layer->bat.nr_entries;
  return index < layer->bat.nr_entries &&
    (vhd_bat_lookup (layer, index, &sector, NULL) < 0 || sector == place);
}

int
vhd_pending_peek (struct vhd_layer *layer, struct err *err)
{
  const struct pending_image image = describe (layer);
  int r;

  if (layer->footers.footer.type != VHD_DIFFERENCING)
    return 0;
  r = pending_peek (&image, &layer->pending, err);
  if (r == 0 && layer->pending)
    pending_filter (layer->pending, is_there, layer);
  return r;
}

/* Opening for writing finishes it. */
static int
write_and_close (struct vhd_layer *layer, struct report *report,
                 struct err *err)
{
  struct sector_cache *own = layer->cache ? NULL : sector_cache_new ();
  struct vhd_writer *w;
  int r;

  if (layer->cache == NULL && own == NULL)
    return err_nomem (err);
  if (own)
    layer->cache = own;
  r = vhd_writer_new (layer, &w, report, err);
  if (r == 0)
    vhd_writer_free (w);
  if (own)
    layer->cache = NULL;
  sector_cache_free (own);
  return r;
}

int
vhd_pending_finish (struct vhd_layer *layer, struct report *report,
                    struct err *err)
{
  const char *reason;
  int r = layer->pending ? 0 : vhd_pending_peek (layer, err);

  if (r < 0 || layer->pending == NULL)
    return r;
  pending_close (steal_ptr (&layer->pending));
  reason = vhd_writer_reason (layer);
  if (reason)
    return err_set (err, -EROFS, "what a killed process wrote can't be "
                    "finished: %s", reason);
  return write_and_close (layer, report, err);
}

/*--- Flushes ----------------------------------------------------------------*/

static int
write_page (struct vhd_layer *layer, const struct pending_page *page,
            struct err *err)
{
  uint64_t sector = page->place + page->first / PENDING_PAGE_SECTORS;
  uint8_t bits[VHD_SECTOR_SIZE];
  int r;

  r = sector_cache_read (layer->cache, layer->block, layer->number, sector,
                         bits, err);
  if (r < 0)
    return r;
  for (uint32_t i = 0; i < (page->nr + 7) / 8; ++i)
    bits[i] |= page->bits[i];
  return sector_cache_write (layer->cache, layer->block, layer->number,
                             sector, bits, err);
}

static int
flush_file (void *opaque, struct err *err)
{
  struct vhd_pending *p = opaque;

  return vhd_space_flush (p->space, err);
}

static int
put_bits (void *opaque, const struct pending_snapshot *s, struct err *err)
{
  struct vhd_pending *p = opaque;
  int r = 0;

  for (size_t i = 0; r == 0 && i < s->pages.len; ++i)
    r = write_page (p->layer, &s->pages.ptr[i], err);
  return r;
}

static const struct pending_flush_ops flush_ops = {
  .flush = flush_file,
  .put = put_bits,
};

int
vhd_pending_flush (struct vhd_pending *p, struct err *err)
{
  return pending_flush_run (&p->flush, err);
}

int
vhd_pending_set (struct vhd_pending *p, uint64_t index, uint32_t sector,
                 uint32_t first, uint32_t nr, struct err *err)
{
  return pending_flush_set (&p->flush, index, sector, first, nr, err);
}

/*--- The whole --------------------------------------------------------------*/

static int
finish_left (struct vhd_pending *p, struct err *err)
{
  int r = 0;

  pending_filter (p->layer->pending, is_there, p->layer);
  if (!pending_is_empty (p->layer->pending))
    r = vhd_pending_flush (p, err);
  return r < 0 ? err_in (err, "finishing what a killed process wrote") : 0;
}

int
vhd_pending_new (struct vhd_layer *layer, struct vhd_space *space,
                 struct vhd_pending **out, struct report *report,
                 struct err *err)
{
  const struct pending_image image = describe (layer);
  CLEANUP_FREE struct vhd_pending *p = calloc (1, sizeof *p);
  int r;

  if (p == NULL)
    return err_nomem (err);
  p->layer = layer;
  p->space = space;
  r = vhd_bitmap_open_places (&layer->bat, err);
  if (r == 0)
    r = pending_open (&image, &layer->pending, report, err);
  if (r < 0)
    return r;
  pending_flush_init (&p->flush, &flush_ops, p, layer->pending,
                      vhd_space_epoch (space));
  r = finish_left (p, err);
  if (r < 0) {
    vhd_pending_free (steal_ptr (&p));
    return r;
  }
  *out = steal_ptr (&p);
  return 0;
}

void
vhd_pending_free (struct vhd_pending *p)
{
  if (p == NULL)
    return;
  if (!pending_is_empty (p->layer->pending))
    vhd_pending_flush (p, NULL);
  pending_flush_destroy (&p->flush);
  pending_close (steal_ptr (&p->layer->pending));
  free (p);
}
