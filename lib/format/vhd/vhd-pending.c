/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bits of a differencing disk: from the table of pending ones (../pending.h)
 * into the bitmaps of the file.
 *
 * A flush of the disk:
 *
 *   1. The pending bits are copied; the data of their sectors was written.
 *   2. fdatasync.
 *   3. Each sector of bitmap that has some of them is read, through the
 *      cache, and written with them.
 *   4. fdatasync.
 *   5. Those bits are not pending any more.
 *
 * A power cut before 4 is over: a bit is in the file or it is not, and where
 * it is, its data is.  In one sector of bitmap, too, any of the bits may be
 * there and others not.  The process killed: the journal has the bits until
 * 5, and who opens the image next makes a flush of them.
 *
 * One flush at a time writes bits, so that nobody else changes a bitmap that
 * it has read.  Those who come meanwhile wait, and then one of them flushes
 * for all.  Where no bit is pending there is nothing to wait for.
 *
 * A block may be removed, and its place released, while its bits are being
 * written: a flush counts as an operation (vhd_space_enter), so that the
 * place is nobody else's before it ends.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/vhd/vhd-write.h"

struct vhd_pending {
  struct vhd_layer *layer;      /* borrowed; has the table meanwhile */
  struct vhd_space *space;      /* borrowed */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t ended;
  bool running;
  uint64_t started, finished;   /* flushes, counted */
  struct err last;              /* of the one that finished */
};

static struct pending_image
describe (const struct vhd_layer *layer)
{
  struct pending_image image = {
    .fd = block_file_fd (layer->block),
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

/* Steps 2 to 5. */
static int
flush_snapshot (struct vhd_pending *p, const struct pending_snapshot *s,
                struct err *err)
{
  int r = vhd_space_flush (p->space, err);

  for (size_t i = 0; r == 0 && i < s->pages.len; ++i)
    r = write_page (p->layer, &s->pages.ptr[i], err);
  if (r == 0 && s->pages.len > 0)
    r = block_flush (p->layer->block, err);
  if (r == 0)
    pending_clear (p->layer->pending, s);
  return r;
}

static int
flush_once (struct vhd_pending *p, struct err *err)
{
  CLEANUP_PENDING_SNAPSHOT struct pending_snapshot s = PENDING_SNAPSHOT_INIT;
  unsigned epoch = vhd_space_enter (p->space);
  int r = pending_snapshot (p->layer->pending, &s, err);

  if (r == 0)
    r = flush_snapshot (p, &s, err);
  vhd_space_leave (p->space, epoch);
  return r;
}

/* Under the lock, which it gives up meanwhile. */
static void
run_flush (struct vhd_pending *p)
{
  uint64_t number = ++p->started;
  struct err err = ERR_INIT;
  int r;

  p->running = true;
  pthread_mutex_unlock (&p->lock);
  r = flush_once (p, &err);
  pthread_mutex_lock (&p->lock);
  p->running = false;
  p->finished = number;
  p->last = err;
  p->last.code = r;
  pthread_cond_broadcast (&p->ended);
}

/* One that begins from now on is enough. */
int
vhd_pending_flush (struct vhd_pending *p, struct err *err)
{
  uint64_t wanted;

  if (pending_is_empty (p->layer->pending))
    return vhd_space_flush (p->space, err);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  wanted = p->started + 1;
  while (p->finished < wanted)
    if (p->running)
      pthread_cond_wait (&p->ended, &p->lock);
    else
      run_flush (p);
  return p->last.code < 0 ? err_set (err, p->last.code, "%s", p->last.msg) : 0;
}

int
vhd_pending_set (struct vhd_pending *p, uint64_t index, uint32_t sector,
                 uint32_t first, uint32_t nr, struct err *err)
{
  int r = 0;

  while (r == 0 && pending_set (p->layer->pending, index, sector, first,
                                nr) < 0)
    r = vhd_pending_flush (p, err);
  return r;
}

/*--- The whole --------------------------------------------------------------*/

int
vhd_pending_new (struct vhd_layer *layer, struct vhd_space *space,
                 struct vhd_pending **out, struct report *report,
                 struct err *err)
{
  const struct pending_image image = describe (layer);
  struct vhd_pending *p = calloc (1, sizeof *p);
  int r;

  if (p == NULL)
    return err_nomem (err);
  p->layer = layer;
  p->space = space;
  pthread_mutex_init (&p->lock, NULL);
  pthread_cond_init (&p->ended, NULL);
  r = vhd_bitmap_open_places (&layer->bat, err);
  if (r == 0)
    r = pending_open (&image, &layer->pending, report, err);
  if (r == 0)
    pending_filter (layer->pending, is_there, layer);
  if (r == 0 && !pending_is_empty (layer->pending)) {
    r = vhd_pending_flush (p, err);
    if (r < 0)
      err_in (err, "finishing what a killed process wrote");
  }
  if (r < 0) {
    vhd_pending_free (p);
    return r;
  }
  *out = p;
  return 0;
}

void
vhd_pending_free (struct vhd_pending *p)
{
  if (p == NULL)
    return;
  if (p->layer->pending && !pending_is_empty (p->layer->pending))
    vhd_pending_flush (p, NULL);
  pending_close (steal_ptr (&p->layer->pending));
  pthread_mutex_destroy (&p->lock);
  pthread_cond_destroy (&p->ended);
  free (p);
}
