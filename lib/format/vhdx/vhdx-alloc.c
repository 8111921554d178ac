/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One block of the disk changes its state.
 *
 * The thread that changes a block's BAT entry has made the block busy, and
 * others that want to wait for it.  Reading, and writing into blocks that are
 * there, do not.
 *
 * A block comes into the file:
 *
 *   1. A ready place is taken: vhdx-space.c.
 *   2. What is written goes there.
 *   3. Of a differencing disk: flush, if the parent has anything there; all of
 *      the block is written then, or vhdx-child.c makes it partially present.
 *   4. The BAT entry is changed: vhdx-logger.c; then in memory.
 *
 * A crash before 4: the block is not in the file, as it was.  After 4: it is,
 * and of what was written what got to the disk, the rest being zero, as it
 * was.  Over a parent's data that would be neither old nor new: hence 3.
 *
 * A block is given up: its BAT entry becomes zero (state 2, which hides the
 * parent), then in memory; bits of it that wait are forgotten, and the place is
 * released.  Who reads and finds a bit of 0 looks at the entry again.  A crash:
 * the block is there with all its data, or it is zero.
 *
 * The first change of a session waits until both headers have new identities
 * of the file and of its data: whoever made a child of this disk, or keeps
 * track of changes, finds out.  Rebase and commit, which know what becomes of
 * the disk, say which identity its data has (image_options.data_id).
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-write.h"

/* A reader takes no longer log. */
#define MAX_LOG (1024 * 1024 * 1024)

/* Every block is there, and the bitmaps of partially present ones are. */
static bool
needs_no_room (const struct vhdx_layer *layer)
{
  return layer->bat.entries &&
    vhdx_bat_count_present (layer) == layer->bat.nr_blocks;
}

/* No number may come round to 0. */
#define MAX_SEQUENCE (UINT64_MAX - (UINT64_C (1) << 32))

const char *
vhdx_writer_reason (const struct vhdx_layer *layer)
{
  const struct vhdx_header *h = &layer->header;

  if (h->bad_checksum)
    return "the checksum of its VHDX header is wrong";
  if (h->sequence > MAX_SEQUENCE)
    return "the sequence number of its VHDX header is the last one";
  if (layer->regions.alone)
    return "one of its two region tables is damaged";
  if (h->log_len == 0)
    return "it has no place for a log";
  if (h->log_len > MAX_LOG)
    return "the place for its log is larger than 1 GiB";
  if (!block_can_resize (layer->block) && !needs_no_room (layer))
    return "it would have to grow when it is written, and only a regular "
      "file can";
  return NULL;
}

/* What differencing disks need besides. */
static int
open_bits (struct vhdx_writer *w, struct report *report, struct err *err)
{
  int r;

  vhdx_bits_init (&w->bits, w->layer, w->logger, w->space);
  if (!w->layer->metadata.has_parent)
    return 0;
  r = vhdx_pending_new (w->layer, w->space, &w->bits, &w->pending, report,
                        err);
  if (r < 0)
    vhdx_bits_destroy (&w->bits);
  return r;
}

int
vhdx_writer_new (struct vhdx_layer *layer, struct vhdx_writer **out,
                 struct report *report, struct err *err)
{
  CLEANUP_FREE struct vhdx_writer *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return err_nomem (err);
  w->layer = layer;
  r = vhdx_logger_new (layer, &w->logger, err);
  if (r == 0)
    r = vhdx_space_new (layer, w->logger, &w->space, err);
  if (r == 0)
    r = open_bits (w, report, err);
  if (r < 0) {
    vhdx_logger_free (w->logger);
    vhdx_space_free (w->space, false);
    return r;
  }
  busy_list_init (&w->busy);
  busy_list_init (&w->adding);
  pthread_mutex_init (&w->lock, NULL);
  pthread_cond_init (&w->begun_cond, NULL);
  *out = steal_ptr (&w);
  return 0;
}

void
vhdx_writer_free (struct vhdx_writer *w)
{
  bool is_empty;

  if (w == NULL)
    return;
  vhdx_pending_free (w->pending);
  is_empty = vhdx_logger_free (w->logger);
  vhdx_space_free (w->space, is_empty);
  vhdx_bits_destroy (&w->bits);
  busy_list_destroy (&w->busy);
  busy_list_destroy (&w->adding);
  pthread_mutex_destroy (&w->lock);
  pthread_cond_destroy (&w->begun_cond);
  free (w);
}

int
vhdx_writer_flush (struct vhdx_writer *w, struct err *err)
{
  int r = w->pending ? vhdx_pending_flush (w->pending, err)
    : vhdx_space_flush (w->space, err);

  return r < 0 ? r : vhdx_space_tidy (w->space, err);
}

/*--- Beginning --------------------------------------------------------------*/

static int
new_identities (struct vhdx_writer *w, struct err *err)
{
  uint8_t file_guid[UUID_SIZE], data_guid[UUID_SIZE];
  int r = vhdx_guid_new (file_guid, err);

  if (w->layer->has_new_id)
    memcpy (data_guid, w->layer->new_id, UUID_SIZE);
  else if (r == 0)
    r = vhdx_guid_new (data_guid, err);
  if (r == 0)
    r = vhdx_header_update (w->layer, &(struct vhdx_header_change) {
        .file_write_guid = file_guid, .data_write_guid = data_guid }, err);
  if (r == 0 && w->pending)
    r = vhdx_pending_begin (w->pending, err);
  return r;
}

/* Under the lock, which it gives up meanwhile. */
static int
begin_now (struct vhdx_writer *w, struct err *err)
{
  int r;

  w->beginning = true;
  pthread_mutex_unlock (&w->lock);
  r = new_identities (w, err);
  pthread_mutex_lock (&w->lock);
  w->beginning = false;
  if (r == 0)
    __atomic_store_n (&w->begun, true, __ATOMIC_RELEASE);
  pthread_cond_broadcast (&w->begun_cond);
  return r;
}

int
vhdx_writer_begin (struct vhdx_writer *w, struct err *err)
{
  int r = 0;

  if (__atomic_load_n (&w->begun, __ATOMIC_ACQUIRE))
    return 0;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  while (r == 0 && !__atomic_load_n (&w->begun, __ATOMIC_RELAXED))
    if (w->beginning)
      pthread_cond_wait (&w->begun_cond, &w->lock);
    else
      r = begin_now (w, err);
  return r;
}

/*--- One entry --------------------------------------------------------------*/

static int
change_entry (struct vhdx_writer *w, uint64_t block, uint64_t entry,
              struct err *err)
{
  int r = vhdx_logger_change (w->logger,
                              vhdx_bat_place_of (w->layer, block), entry,
                              err);

  if (r < 0)
    return err_in (err, "changing the BAT entry of block %" PRIu64, block);
  vhdx_bat_set (w->layer, block, entry);
  return 0;
}

int
vhdx_block_publish (struct vhdx_writer *w, uint64_t block, uint64_t place,
                    enum vhdx_state state, struct err *err)
{
  int r = change_entry (w, block, place | state, err);

  if (r == 0)
    vhdx_space_settle (w->space, place);
  else if (vhdx_logger_broken (w->logger))
    vhdx_space_lose (w->space, place);
  else
    vhdx_space_release (w->space, place);
  return r;
}

static int
make_bitmap (struct vhdx_writer *w, uint64_t chunk, struct err *err)
{
  uint64_t off;
  int r = vhdx_space_take_bitmap (w->space, &off, err);

  if (r < 0)
    return r;
  r = vhdx_logger_change (w->logger,
                          vhdx_bat_place_of_bitmap (w->layer, chunk),
                          off | VHDX_PRESENT, err);
  if (r == 0)
    vhdx_bat_set_bitmap (w->layer, chunk, off | VHDX_PRESENT);
  if (r < 0 && vhdx_logger_broken (w->logger))
    vhdx_space_lose (w->space, off);
  else
    vhdx_space_settle (w->space, off);
  return r < 0 ? err_in (err, "changing the BAT entry of bitmap %" PRIu64,
                         chunk) : 0;
}

int
vhdx_bitmap_add (struct vhdx_writer *w, uint64_t block, struct err *err)
{
  uint64_t chunk = block / w->layer->bat.chunk_ratio;
  struct busy busy;
  int r = 0;

  if (vhdx_bat_has_bitmap (w->layer, chunk))
    return 0;
  busy_begin (&w->adding, 0, &busy);
  if (!vhdx_bat_has_bitmap (w->layer, chunk))
    r = make_bitmap (w, chunk, err);
  busy_end (&w->adding, &busy);
  return r;
}

/*--- The parent's -----------------------------------------------------------*/

int
vhdx_parent_is_zero (struct vhdx_layer *layer, uint64_t len, uint64_t off,
                     bool *zero, struct err *err)
{
  uint64_t size = layer->parent ? layer->parent->metadata.size : 0;
  uint64_t end = off + min_u64 (len, off < size ? size - off : 0);

  *zero = true;
  while (*zero && off < end) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 16 };
    int r = vhdx_layer_extents (layer->parent, end - off, off, &list, err);

    if (r < 0)
      return r;
    for (size_t i = 0; i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      *zero = *zero && (e->kind == EXTENT_ZERO || e->kind == EXTENT_HOLE);
      off = e->off + e->len;
    }
  }
  return 0;
}

/*--- Present ----------------------------------------------------------------*/

/* Steps 2 and 3.  parents: the block was theirs. */
static int
fill_place (struct vhdx_writer *w, uint64_t place, uint64_t block,
            uint32_t in_block, const void *buf, size_t len, bool parents,
            struct err *err)
{
  const struct vhdx_metadata *m = &w->layer->metadata;
  uint64_t off = block * m->block_size;
  bool zero = true;
  int r = block_pwrite (w->layer->block, buf, len, place + in_block, 0, err);

  if (r == 0 && parents)
    r = vhdx_parent_is_zero (w->layer, min_u64 (m->block_size, m->size - off),
                             off, &zero, err);
  if (r == 0 && !zero)
    r = vhdx_space_flush (w->space, err);
  return r;
}

static int
add_block (struct vhdx_writer *w, uint64_t block, uint32_t in_block,
           const void *buf, size_t len, bool parents, struct err *err)
{
  uint64_t place;
  int r = vhdx_writer_begin (w, err);

  if (r == 0)
    r = vhdx_space_take (w->space, &place, err);
  if (r < 0)
    return r;
  r = fill_place (w, place, block, in_block, buf, len, parents, err);
  if (r < 0) {
    vhdx_space_soil (w->space, place);
    return r;
  }
  return vhdx_block_publish (w, block, place, VHDX_PRESENT, err);
}

static bool
is_in_file (enum vhdx_state state)
{
  return state == VHDX_PRESENT || state == VHDX_PARTIALLY_PRESENT;
}

int
vhdx_block_add (struct vhdx_writer *w, uint64_t block, uint32_t in_block,
                const void *buf, size_t len, struct err *err)
{
  struct err why = ERR_INIT;
  enum vhdx_state state;
  struct busy busy;
  uint64_t off;
  int r;

  busy_begin (&w->busy, block, &busy);
  r = vhdx_bat_lookup (w->layer, block, &state, &off, &why);
  if (r == 0 && is_in_file (state))
    r = 1;
  else if (r == 0)
    r = add_block (w, block, in_block, buf, len, w->layer->metadata.has_parent
                   && state == VHDX_NOT_PRESENT, &why);
  busy_end (&w->busy, &busy);
  return r < 0 ? err_set (err, r, "%s", why.msg) : r;
}

/*--- Zero -------------------------------------------------------------------*/

/* Does the block have all of its space to itself?  The last one of a disk
 * may be cut off where the disk ends, with other things behind it.
 */
static bool
is_whole (const struct vhdx_layer *layer, uint64_t off)
{
  uint32_t size = layer->metadata.block_size;

  return range_fits (off, size, block_size (layer->block)) &&
    vhdx_regions_touched (&layer->regions, off, size) == NULL;
}

/* Where the file can't grow, nobody could say when there is a place again. */
static bool
may_give_up (const struct vhdx_layer *layer, uint64_t off)
{
  return !layer->metadata.is_fixed && block_can_resize (layer->block) &&
    is_whole (layer, off);
}

static int
remove_block (struct vhdx_writer *w, uint64_t block, bool absent_only,
              bool *done, struct err *err)
{
  enum vhdx_state state;
  uint64_t off;
  int r = vhdx_bat_lookup (w->layer, block, &state, &off, err);

  if (r < 0)
    return r;
  if (state == VHDX_ZERO) {
    *done = true;
    return 0;
  }
  if (is_in_file (state) && (absent_only || !may_give_up (w->layer, off)))
    return 0;
  r = vhdx_writer_begin (w, err);
  if (r == 0 && is_in_file (state))
    r = vhdx_space_hold (w->space, off, err);
  if (r < 0)
    return r;
  r = change_entry (w, block, VHDX_ZERO, err);
  if (r == 0 && w->pending)
    vhdx_pending_forget (w->pending, block);
  if (is_in_file (state) && r == 0)
    vhdx_space_release (w->space, off);
  else if (is_in_file (state))
    vhdx_space_settle (w->space, off);
  if (r < 0)
    return r;
  *done = true;
  return 0;
}

static int
remove_alone (struct vhdx_writer *w, uint64_t block, bool absent_only,
              bool *done, struct err *err)
{
  struct err why = ERR_INIT;
  struct busy busy;
  int r;

  *done = false;
  busy_begin (&w->busy, block, &busy);
  r = remove_block (w, block, absent_only, done, &why);
  busy_end (&w->busy, &busy);
  return r < 0 ? err_set (err, r, "%s", why.msg) : 0;
}

int
vhdx_block_remove (struct vhdx_writer *w, uint64_t block, bool *done,
                   struct err *err)
{
  return remove_alone (w, block, false, done, err);
}

int
vhdx_block_hide (struct vhdx_writer *w, uint64_t block, struct err *err)
{
  bool done;
  int r = remove_alone (w, block, true, &done, err);

  return r < 0 ? r : !done;
}
