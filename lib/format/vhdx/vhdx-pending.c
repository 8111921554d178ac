/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bits of a differencing disk that wait in memory (../pending.h), from there
 * into its bitmaps (vhdx-bits.c), in the order that ../pending-flush.h tells.
 *
 * The journal of the table is known by the identity of the disk's data, which
 * both headers have.  A session:
 *
 *   1. What a killed process left in the journal is written into the image,
 *      and that journal removed.
 *   2. Before the first change both headers get a new identity of the data
 *      (vhdx-alloc.c).
 *   3. A table with a new journal, of that identity.
 *   4. Bits are set.
 *
 * Killed before 1 is over: the journal is there.  Between 1 and 3: no bit
 * waits.  After 4: the headers say which journal it is.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/pending-flush.h"
#include "lib/format/vhdx/vhdx-write.h"

struct vhdx_pending {
  struct vhdx_layer *layer;     /* borrowed; has the table meanwhile */
  struct vhdx_space *space;     /* borrowed */
  struct vhdx_bits *bits;       /* borrowed */
  struct pending_flush flush;   /* while there is a table */
};

static struct pending_image
describe (const struct vhdx_layer *layer)
{
  const struct vhdx_metadata *m = &layer->metadata;
  struct pending_image image = {
    .fd = block_file_fd (layer->block),
    .block = layer->block,
    .name = block_name (layer->block),
    .sectors_per_block = m->block_size / m->logical,
    .low_bit_first = true,
  };

  memcpy (image.id, layer->header.data_write_guid, sizeof image.id);
  return image;
}

static struct pending *
table_of (const struct vhdx_layer *layer)
{
  return __atomic_load_n (&layer->pending, __ATOMIC_ACQUIRE);
}

static void
set_table (struct vhdx_layer *layer, struct pending *table)
{
  __atomic_store_n (&layer->pending, table, __ATOMIC_RELEASE);
}

/* Is the block where it was?  Of a table that is not held, what can't be
 * looked up is told when it is read.
 */
static bool
is_there (void *opaque, uint64_t block, uint64_t place)
{
  struct vhdx_layer *layer = opaque;
  enum vhdx_state state;
  uint64_t off;

  if (block >= layer->bat.nr_blocks)
    return false;
  if (layer->bat.entries == NULL && layer->cache == NULL)
    return true;
  return vhdx_bat_lookup (layer, block, &state, &off, NULL) < 0 ||
    (state == VHDX_PARTIALLY_PRESENT && off == place);
}

int
vhdx_pending_peek (struct vhdx_layer *layer, struct err *err)
{
  const struct pending_image image = describe (layer);
  int r;

  if (!layer->metadata.has_parent)
    return 0;
  r = pending_peek (&image, &layer->pending, err);
  if (r == 0 && layer->pending)
    pending_filter (layer->pending, is_there, layer);
  return r;
}

/*--- Flushes ----------------------------------------------------------------*/

static int
flush_file (void *opaque, struct err *err)
{
  struct vhdx_pending *p = opaque;

  return vhdx_space_flush (p->space, err);
}

static int
put_bits (void *opaque, const struct pending_snapshot *s, struct err *err)
{
  struct vhdx_pending *p = opaque;

  return vhdx_bits_log (p->bits, s, err);
}

static int
settle_bits (void *opaque, bool ok, struct err *err)
{
  struct vhdx_pending *p = opaque;

  return vhdx_bits_settle (p->bits, ok, err);
}

static const struct pending_flush_ops flush_ops = {
  .flush = flush_file,
  .put = put_bits,
  .settle = settle_bits,
};

int
vhdx_pending_flush (struct vhdx_pending *p, struct err *err)
{
  return table_of (p->layer) ? pending_flush_run (&p->flush, err)
    : vhdx_space_flush (p->space, err);
}

int
vhdx_pending_set (struct vhdx_pending *p, uint64_t block, uint64_t place,
                  uint32_t first, uint32_t nr, struct err *err)
{
  return pending_flush_set (&p->flush, block, place, first, nr, err);
}

void
vhdx_pending_forget (struct vhdx_pending *p, uint64_t block)
{
  struct pending *table = table_of (p->layer);

  if (table)
    pending_forget (table, block);
}

/*--- The table --------------------------------------------------------------*/

static int
open_table (struct vhdx_pending *p, struct report *report, struct err *err)
{
  const struct pending_image image = describe (p->layer);
  struct pending *table;
  int r = pending_open (&image, &table, report, err);

  if (r < 0)
    return r;
  pending_flush_init (&p->flush, &flush_ops, p, table,
                      vhdx_space_epoch (p->space));
  set_table (p->layer, table);
  return 0;
}

static void
close_table (struct vhdx_pending *p)
{
  struct pending *table = table_of (p->layer);

  if (table == NULL)
    return;
  set_table (p->layer, NULL);
  pending_flush_destroy (&p->flush);
  pending_close (table);
}

/* Step 1.  The bits belong to what the disk was, whose data keep their
 * identity; the file gets a new one (§2.2.2.1).
 */
static int
finish_left (struct vhdx_pending *p, struct err *err)
{
  uint8_t guid[UUID_SIZE];
  int r = 0;

  pending_filter (p->layer->pending, is_there, p->layer);
  if (pending_is_empty (p->layer->pending))
    return 0;
  r = vhdx_guid_new (guid, err);
  if (r == 0)
    r = vhdx_header_update (p->layer, &(struct vhdx_header_change) {
        .file_write_guid = guid }, err);
  if (r == 0)
    r = vhdx_pending_flush (p, err);
  return r < 0 ? err_in (err, "finishing what a killed process wrote") : 0;
}

int
vhdx_pending_new (struct vhdx_layer *layer, struct vhdx_space *space,
                  struct vhdx_bits *bits, struct vhdx_pending **out,
                  struct report *report, struct err *err)
{
  CLEANUP_FREE struct vhdx_pending *p = calloc (1, sizeof *p);
  int r;

  if (p == NULL)
    return err_nomem (err);
  p->layer = layer;
  p->space = space;
  p->bits = bits;
  r = open_table (p, report, err);
  if (r < 0)
    return r;
  r = finish_left (p, err);
  close_table (p);
  if (r == 0)
    *out = steal_ptr (&p);
  return r;
}

static bool
keep_none (void *opaque, uint64_t block, uint64_t place)
{
  (void) opaque, (void) block, (void) place;
  return false;
}

/* Who asked for an identity that the data had before, when another program
 * wrote to the file since, may find a journal that says nothing of it.
 */
int
vhdx_pending_begin (struct vhdx_pending *p, struct err *err)
{
  int r = table_of (p->layer) ? 0 : open_table (p, NULL, err);

  if (r == 0)
    pending_filter (p->layer->pending, keep_none, NULL);
  return r;
}

void
vhdx_pending_free (struct vhdx_pending *p)
{
  if (p == NULL)
    return;
  if (p->layer->pending && !pending_is_empty (p->layer->pending))
    vhdx_pending_flush (p, NULL);
  close_table (p);
  free (p);
}

/*--- Before other changes ---------------------------------------------------*/

int
vhdx_pending_finish (struct vhdx_layer *layer, struct report *report,
                     struct err *err)
{
  struct sector_cache *own = layer->cache ? NULL : sector_cache_new ();
  struct vhdx_writer *w;
  int r;

  if (!layer->metadata.has_parent) {
    sector_cache_free (own);
    return 0;
  }
  if (layer->cache == NULL && own == NULL)
    return err_nomem (err);
  if (own)
    layer->cache = own;
  r = vhdx_writer_new (layer, &w, report, err);
  if (r == 0)
    vhdx_writer_free (w);
  if (r == 0 && !uuid_is_zero (layer->header.log_guid))
    r = err_set (err, -EIO, "the log could not be emptied");
  if (own)
    layer->cache = NULL;
  sector_cache_free (own);
  return r;
}
