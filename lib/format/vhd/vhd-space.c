/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Places for new blocks, and the footer at the end of the file.
 *
 *   … blocks | place | place | … | footer
 *                                ^ limit
 *
 * Places are made in batches, each twice as large as the one before, up to
 * BATCH_BYTES: a hole in the file, which takes no space before it is used.
 * They begin behind the footer, such that the data of a block is aligned to
 * 4 KiB.  Making a batch:
 *
 *   1. The footer is written at the new end; the file grows by that.  The old
 *      one stays where it is, in front of the places.
 *   2. Places that were used before are zeroed, and those where the file had
 *      something.
 *   3. fdatasync; if there was nothing to do for 2, the footer is written
 *      through, and the size of the file with it.
 *   4. The places are ready: a BAT entry that names one of them, needs
 *      nothing else to be on stable storage, neither before nor after it.
 *
 * The process killed: after 1 or later there is the new footer, before it
 * the old one, and what is between the last block and the footer belongs to
 * nobody; it is found again by the next who opens the file, because places
 * begin where the data ends.  A power cut before 3 is over: the old
 * footer, or the new one, or the new size with no footer there, when the copy
 * at offset 0 is used.  The blocks are never touched.
 *
 * The bitmap of a place is written when it is taken, before the BAT names it:
 * all ones, or zeros in a differencing disk.  A power cut may lose the ones,
 * and not the BAT entry: sectors whose bits are 0 are zero, as they were
 * before the block was there.  What was flushed since has its bits.
 *
 * A block that becomes absent releases its place, in these steps:
 *
 *   a. Its BAT entry is absent, in the file and in memory (vhd-alloc.c);
 *      before that it is noted as taken, so that the file is not cut off in
 *      front of it.
 *   b. A flush that began later succeeds: no power cut brings it back.
 *   c. All operations that began before that are over: nobody reads or
 *      writes there.  ../epoch.h: a new one begins at b.
 *   d. It is made ready with the next batch: 2 to 4.
 *
 * What is free at the end of the file is cut off: vhd-shrink.c.  What is free
 * in front of that when the image is closed is found again by the next who
 * opens it (vhd-gaps.c), and used before the file grows.  Before the first of
 * such places is zeroed all that is in the file gets to stable storage, as at
 * b.
 *
 * The lock is held for moments, never while reading, writing or flushing.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/vhd/vhd-space.h"

#define BATCH_BYTES UINT64_C (0x10000000)       /* 256 MiB */
#define MAX_BATCH 1024          /* places */
#define FIRST_BATCH 8
#define MAX_DIRTY_BYTES UINT64_C (0x4000000)    /* to zero at once: 64 MiB */

static uint64_t
largest_batch (const struct vhd_space *space)
{
  return max_u64 (1, min_u64 (BATCH_BYTES / space->stride, MAX_BATCH));
}

int
vhd_space_new (struct vhd_layer *layer, struct vhd_space **out,
               struct report *report, struct err *err)
{
  CLEANUP_FREE struct vhd_space *space = calloc (1, sizeof *space);
  uint64_t end;
  int r;

  if (space == NULL)
    return err_nomem (err);
  if (layer->footers.from_copy) {
    r = vhd_space_mend_end (layer, report, err);
    if (r < 0)
      return r;
  }
  end = layer->footers.end;
  space->block = layer->block;
  space->bat = &layer->bat;
  space->cache = layer->cache;
  space->differencing = layer->footers.footer.type == VHD_DIFFERENCING;
  /* An old one lacks the last byte, which is 0. */
  r = block_pread (layer->block, space->footer,
                   (size_t) min_u64 (VHD_FOOTER_SIZE,
                                     block_size (layer->block) - end),
                   end, err);
  if (r < 0)
    return r;
  space->stride = vhd_place_stride (space->bat);
  space->next = vhd_place_align (space->bat,
                                 vhd_place_end_of_data (space->bat));
  space->limit = end;
  space->batch = min_u64 (FIRST_BATCH, largest_batch (space));
  space->copy_behind = layer->footers.copy_behind;
  vhd_gaps_find (space->bat, &space->gaps);
  pthread_mutex_init (&space->lock, NULL);
  pthread_cond_init (&space->grown, NULL);
  *out = steal_ptr (&space);
  return 0;
}

/*--- Operations under way ---------------------------------------------------*/

struct epoch *
vhd_space_epoch (struct vhd_space *space)
{
  return &space->epoch;
}

/* Step c, under the lock.  Out of memory loses places until the image is
 * opened again, nothing else.
 */
void
vhd_space_end_waiting (struct vhd_space *space)
{
  if (!space->waits_for_epoch || !epoch_is_over (&space->epoch))
    return;
  for (size_t i = 0; i < space->waiting.len; ++i)
    (void) vector_append (&space->unready, &space->waiting.ptr[i]);
  space->freed = space->freed || space->waiting.len > 0;
  space->waiting.len = 0;
  space->waits_for_epoch = false;
}

/*--- Making places ----------------------------------------------------------*/

/* How many to make from off on: at most `most`. */
static int
choose_number (const struct vhd_space *space, uint64_t off, uint64_t most,
               uint64_t *nr, struct err *err)
{
  uint64_t end = (uint64_t) VHD_BAT_ABSENT * VHD_SECTOR_SIZE;

  *nr = 0;
  if (off < end)
    *nr = min_u64 (most, div_round_up (end - off, space->stride));
  if (*nr > 0)
    return 0;
  return err_set (err, -ENOSPC, "the file has reached offset %" PRIu64
                  ", and a VHD can have no block behind 2 TiB", off);
}

static int
add_new_places (const struct vhd_space *space, uint64_t off, uint64_t nr,
                bool dirty, struct vhd_slots *batch, struct err *err)
{
  for (uint64_t i = 0; i < nr; ++i) {
    struct vhd_slot place = {
      (uint32_t) ((off + i * space->stride) / VHD_SECTOR_SIZE), dirty, false
    };

    if (vector_append (batch, &place) < 0)
      return err_nomem (err);
  }
  return 0;
}

/* While the end moves, a power cut may leave the copy alone. */
static int
mend_copy (struct vhd_space *space, struct err *err)
{
  int r = 0;

  if (space->copy_behind) {
    r = block_pwrite (space->block, space->footer, VHD_FOOTER_SIZE, 0, 0, err);
    if (r == 0)
      r = block_flush (space->block, err);
  }
  if (r == 0)
    space->copy_behind = false;
  return r;
}

/* Step 1, with nr places in front of the new end. */
static int
move_end (struct vhd_space *space, uint64_t off, uint64_t nr,
          struct vhd_slots *batch, struct err *err)
{
  uint64_t end = off + nr * space->stride;
  size_t len = batch->len;
  int r = add_new_places (space, off, nr, space->torn, batch, err);

  if (r == 0)
    r = block_append (space->block, space->footer, VHD_FOOTER_SIZE, end, err);
  if (r < 0) {
    space->torn = true;
    batch->len = len;
    return r;
  }
  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
  space->next = space->limit = end;
  return 0;
}

/* Where holes take space all the same, there may be less of it than for all
 * of a batch.
 */
static int
extend_behind (struct vhd_space *space, uint64_t most,
               struct vhd_slots *batch, struct err *err)
{
  uint64_t nr, off = vhd_place_align (space->bat, max_u64 (
                                        space->next,
                                        space->limit + VHD_FOOTER_SIZE));
  int r = choose_number (space, off, most, &nr, err);

  if (r == 0)
    r = mend_copy (space, err);
  if (r < 0)
    return r;
  r = move_end (space, off, nr, batch, err);
  if (r < 0 && nr > 1) {
    space->batch = 1;
    r = move_end (space, off, 1, batch, err);
  }
  return r;
}

/* A process that was killed may have moved or removed the blocks that were
 * there: no power cut brings them back once all that it wrote is on stable
 * storage.
 */
static int
settle_old (struct vhd_space *space, struct err *err)
{
  int r = space->settled ? 0 : vhd_space_flush (space, err);

  space->settled = r == 0;
  return r;
}

/* Up to nr places that begin where others were once. */
static int
use_gaps (struct vhd_space *space, uint64_t nr, struct vhd_slots *batch,
          struct err *err)
{
  uint64_t off;
  int r = 0;

  for (; r == 0 && nr > 0 &&
         vhd_gaps_take (space->bat, &space->gaps, &off); --nr)
    r = add_new_places (space, off, 1, true, batch, err);
  return r;
}

/* Up to nr places between the data and the footer. */
static int
use_tail (struct vhd_space *space, uint64_t nr, struct vhd_slots *batch,
          struct err *err)
{
  int r;

  if (space->next >= space->limit)
    return 0;
  nr = min_u64 (nr, (space->limit - space->next) / space->stride);
  r = add_new_places (space, space->next, nr, true, batch, err);
  if (r == 0)
    space->next += nr * space->stride;
  return r;
}

static bool
has_old (const struct vhd_space *space)
{
  return space->gaps.first < space->gaps.v.len ||
    space->next + space->stride <= space->limit;
}

/* More places.  What the file has already comes first, the gaps in front of
 * its last block, and what lies between that and the footer: a process that
 * was killed may have left it.
 */
static int
extend (struct vhd_space *space, struct vhd_slots *batch, struct err *err)
{
  uint64_t most = space->batch - batch->len;
  uint64_t nr = min_u64 (most, max_u64 (1, MAX_DIRTY_BYTES / space->stride));
  size_t had = batch->len;
  int r = 0;

  if (has_old (space)) {
    r = settle_old (space, err);
    if (r == 0)
      r = use_gaps (space, nr, batch, err);
    if (r == 0)
      r = use_tail (space, nr - (batch->len - had), batch, err);
  }
  return r < 0 || batch->len > had ? r
    : extend_behind (space, most, batch, err);
}

/* Sectors of it that were read while it was another block's are not what
 * they were.  That of a differencing disk is zeros already; where a write
 * fails, better here than in the BAT.
 */
static int
write_bitmap (struct vhd_space *space, uint32_t sector, struct err *err)
{
  uint8_t bits[VHD_SECTOR_SIZE];
  int r = 0;

  memset (bits, space->differencing ? 0 : 0xFF, sizeof bits);
  for (uint32_t i = 0; r == 0 && i < space->bat->bitmap_size / sizeof bits; ++i)
    r = sector_cache_write (space->cache, space->block, 0, sector + i, bits,
                            err);
  return r;
}

static bool
has_released (struct vhd_space *space)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  return space->released.len > 0;
}

/* Steps 2 and 3.  New places are a hole: that the file has its size is enough,
 * and no data that clients wrote meanwhile has to be waited for; unless there
 * are places that could be used again after that (step b).
 */
static int
prepare_all (struct vhd_space *space, const struct vhd_slots *batch,
             struct err *err)
{
  bool need_all = has_released (space);
  int r = 0;

  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
  for (size_t i = 0; r == 0 && i < batch->len; ++i)
    if (batch->ptr[i].dirty) {
      need_all = true;
      r = block_zero (space->block, vhd_place_size (space->bat),
                      vhd_place_off (batch->ptr[i].sector), 0, err);
    }
  if (r == 0 && !need_all)
    return block_pwrite_through (space->block, space->footer, VHD_FOOTER_SIZE,
                                 space->limit, err);
  return r < 0 ? r : vhd_space_flush (space, err);
}

/* They may be half done. */
void
vhd_space_put_back (struct vhd_space *space, struct vhd_slots *places)
{
  for (size_t i = 0; i < places->len; ++i) {
    places->ptr[i].dirty = true;
    places->ptr[i].punched = false;
    (void) vector_append (&space->unready, &places->ptr[i]);
  }
}

/* Under the lock: what was taken leaves the list. */
static void
drop_taken (struct vhd_space *space)
{
  struct vhd_slots *ready = &space->ready;

  if (space->first_ready == 0)
    return;
  ready->len -= space->first_ready;
  memmove (ready->ptr, ready->ptr + space->first_ready,
           ready->len * sizeof ready->ptr[0]);
  space->first_ready = 0;
}

/* Step 4. */
static int
publish (struct vhd_space *space, struct vhd_slots *batch, int r,
         struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  if (r < 0) {
    vhd_space_put_back (space, batch);
    return r;
  }
  drop_taken (space);
  space->last_batch = batch->len;
  for (size_t i = 0; i < batch->len; ++i)
    if (vector_append (&space->ready, &batch->ptr[i]) < 0)
      r = err_nomem (err);
  return r;
}

static int
compare_places (const void *a, const void *b)
{
  uint32_t x = ((const struct vhd_slot *) a)->sector;
  uint32_t y = ((const struct vhd_slot *) b)->sector;

  return (x > y) - (x < y);
}

void
vhd_slots_sort (struct vhd_slots *places)
{
  if (places->len > 0)
    qsort (places->ptr, places->len, sizeof places->ptr[0], compare_places);
}

/* By the one thread that set growing, without the lock.  What lies in front is
 * used first, so that the end becomes free.
 */
static int
grow (struct vhd_space *space, struct err *err)
{
  struct vhd_slots batch = VECTOR_INIT;
  struct err why = ERR_INIT;
  int r = 0;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhd_space_end_waiting (space);
    batch = space->unready;
    space->unready = (struct vhd_slots) VECTOR_INIT;
  }
  /* Where places become free again, these are enough. */
  if (batch.len <= space->batch / 4) {
    size_t nr = batch.len;

    r = extend (space, &batch, &why);
    if (r < 0) {
      batch.len = nr;
      if (nr > 0)               /* what is there is used up first */
        r = 0;
    }
    space->batch = min_u64 (space->batch * 2, largest_batch (space));
  }
  vhd_slots_sort (&batch);
  if (r == 0)
    r = prepare_all (space, &batch, &why);
  if (r < 0)
    err_set (err, r, "%s", why.msg);
  r = publish (space, &batch, r, err);
  vector_free (&batch);
  return r;
}

/* Under the lock, which it gives up meanwhile. */
static int
grow_now (struct vhd_space *space, struct err *err)
{
  int r;

  space->growing = true;
  pthread_mutex_unlock (&space->lock);
  r = grow (space, err);
  pthread_mutex_lock (&space->lock);
  space->growing = false;
  pthread_cond_broadcast (&space->grown);
  return r;
}

static int
pop_ready (struct vhd_space *space, uint32_t *sector, struct err *err)
{
  const struct vhd_slot *place = &space->ready.ptr[space->first_ready];

  if (vector_append (&space->taken, place) < 0)
    return err_nomem (err);
  *sector = place->sector;
  space->first_ready++;
  if (space->first_ready == space->ready.len)
    space->first_ready = space->ready.len = 0;
  return 0;
}

/* Who takes one of the last places makes the next batch, while the others
 * take what is left.  If that fails, those who need one will be told.
 */
static bool
runs_short (const struct vhd_space *space)
{
  return space->ready.len - space->first_ready <= space->last_batch / 2;
}

static int
take_ready (struct vhd_space *space, uint32_t *sector, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
  int r = 0;

  while (r == 0 && space->ready.len == 0)
    if (space->growing)
      pthread_cond_wait (&space->grown, &space->lock);
    else
      r = grow_now (space, err);
  if (r == 0)
    r = pop_ready (space, sector, err);
  if (r < 0)
    return r;
  if (space->ready.len > 0 && runs_short (space) && !space->growing)
    grow_now (space, NULL);
  return 0;
}

int
vhd_space_take (struct vhd_space *space, uint32_t *sector, struct err *err)
{
  int r = take_ready (space, sector, err);

  if (r < 0)
    return r;
  r = write_bitmap (space, *sector, err);
  if (r < 0)
    vhd_space_soil (space, *sector);
  return r;
}

/*--- What happened to a place -----------------------------------------------*/

/* Under the lock. */
static void
not_taken (struct vhd_space *space, uint32_t sector)
{
  struct vhd_slots *taken = &space->taken;
  size_t i = 0;

  while (i < taken->len && taken->ptr[i].sector != sector)
    i++;
  if (i < taken->len)
    taken->ptr[i] = taken->ptr[--taken->len];
}

void
vhd_space_settle (struct vhd_space *space, uint32_t sector)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, sector);
}

void
vhd_space_soil (struct vhd_space *space, uint32_t sector)
{
  struct vhd_slot place = { sector, true, false };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, sector);
  (void) vector_append (&space->unready, &place);
}

void
vhd_space_lose (struct vhd_space *space, uint32_t sector)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, sector);
  space->keep = max_u64 (space->keep,
                         vhd_place_off (sector) + vhd_place_size (space->bat));
}

int
vhd_space_hold (struct vhd_space *space, uint32_t sector, struct err *err)
{
  struct vhd_slot place = { sector, true, false };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  return vector_append (&space->taken, &place) < 0 ? err_nomem (err) : 0;
}

void
vhd_space_release (struct vhd_space *space, uint32_t sector)
{
  struct vhd_slot place = { sector, true, false };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, sector);
  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
  (void) vector_append (&space->released, &place);
}

/* Step b, under the lock. */
static void
flushed_waiting (struct vhd_space *space, bool ok)
{
  if (ok) {
    epoch_advance (&space->epoch);
    space->waits_for_epoch = true;
    return;
  }
  for (size_t i = 0; i < space->waiting.len; ++i)
    (void) vector_append (&space->released, &space->waiting.ptr[i]);
  space->waiting.len = 0;
}

/* Of several flushes at a time the first takes care of what was released.
 * While places wait, those that are released later do so longer.
 */
int
vhd_space_flush (struct vhd_space *space, struct err *err)
{
  bool takes_care = false;
  int r;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhd_space_end_waiting (space);
    if (space->waiting.len == 0 && space->released.len > 0) {
      struct vhd_slots empty = space->waiting;

      space->waiting = space->released;
      space->released = empty;
      takes_care = true;
    }
  }
  r = block_flush (space->block, err);
  if (takes_care) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    flushed_waiting (space, r == 0);
  }
  return r;
}

/*--- The end ----------------------------------------------------------------*/

void
vhd_space_free (struct vhd_space *space)
{
  if (space == NULL)
    return;
  vhd_space_cut_off (space);
  gaps_free (&space->gaps);
  vector_free (&space->ready);
  vector_free (&space->unready);
  vector_free (&space->released);
  vector_free (&space->waiting);
  vector_free (&space->taken);
  pthread_mutex_destroy (&space->lock);
  pthread_cond_destroy (&space->grown);
  free (space);
}
