/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Places for new blocks, and the size of the file.
 *
 *   … regions, blocks … | place | place | … |
 *                       ^ multiples of 1 MiB  ^ end of the file
 *
 * Places are made in batches, each twice as large as the one before, up to
 * BATCH_BYTES, and to what the disk may still need.  They begin where the
 * blocks of the file end.  Making a batch:
 *
 *   1. The file grows by that: a hole; but gaps in front of its last block,
 *      which were there when it was opened (vhdx-gaps.c), come first.  Before
 *      the first of them is zeroed all that is in the file gets to stable
 *      storage, as at b.
 *   2. Places are zeroed where the file had something, or they were used.
 *   3. If there was nothing to do for 2, the last page of the file is written
 *      through as zeros, which it is already, and the size of the file with
 *      it: no data that clients wrote meanwhile has to be waited for.
 *      Otherwise flush.
 *   4. The places are ready: a BAT entry that names one of them needs nothing
 *      else to be on stable storage, neither before nor after it.  From now
 *      on entries of the log state this size of the file.
 *
 * A crash leaves a file that is longer than its blocks need: after 1 or later,
 * if the process was killed; after a power cut before 3 is over the file has
 * its old size, or the new one, and no entry names what is between, nor states
 * the new size.  A bitmap block comes into the file in the same steps, but
 * alone: there are few of them.
 *
 * What is behind the end is a hole on stable storage, too, once the file has
 * grown.  If it was longer before, be it by another process, a flush came
 * since it was cut off: with the headers, before the first batch, or
 * vhdx-shrink.c's; where that one fails, the next batch has to flush.
 *
 * A block that is given up releases its place, in these steps:
 *
 *   a. Its BAT entry is another, in the log and in memory (vhdx-alloc.c);
 *      before that it is noted as taken, so that the file is not cut off in
 *      front of it.
 *   b. A flush that began later succeeds: no power cut brings it back.
 *   c. All operations that began before that are over: ../epoch.h.
 *   d. A hole is punched where it was, or the end of the file is cut off:
 *      vhdx-shrink.c.
 *   e. It is made ready with the next batch: 2 to 4.
 *
 * The lock is held for moments, never while reading, writing or flushing.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-space.h"

#define BATCH_BYTES (256 * 1024 * 1024)

/* Of a file that is not refused when it is opened. */
#define MAX_FILE_SIZE (UINT64_C (128) << 40)

int
vhdx_space_new (struct vhdx_layer *layer, struct vhdx_logger *logger,
                struct vhdx_space **out, struct err *err)
{
  struct vhdx_space *space = calloc (1, sizeof *space);

  if (space == NULL)
    return err_nomem (err);
  space->layer = layer;
  space->logger = logger;
  space->size = layer->metadata.block_size;
  space->next = vhdx_end_of_data (layer);
  space->batch = 1;
  space->wanted = layer->bat.nr_blocks - vhdx_bat_count_present (layer);
  vhdx_gaps_find (layer, &space->gaps);
  pthread_mutex_init (&space->lock, NULL);
  pthread_cond_init (&space->grown, NULL);
  *out = space;
  return 0;
}

struct epoch *
vhdx_space_epoch (struct vhdx_space *space)
{
  return &space->epoch;
}

void
vhdx_space_set_changed (struct vhdx_space *space)
{
  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
}

/* Step c, under the lock.  Out of memory loses places until the image is
 * opened again, nothing else.
 */
void
vhdx_space_end_waiting (struct vhdx_space *space)
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

static int
no_room (const struct vhdx_space *space, struct err *err)
{
  return err_set (err, -ENOSPC, "the file has reached offset %" PRIu64
                  ", and the most it can have are 128 TiB", space->next);
}

static bool
has_released (struct vhdx_space *space)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  return space->released.len > 0;
}

/* Step 3: the size that it has now is stable, too.  hole: the file has just
 * grown, and nothing else was done.  Places that could be used again after a
 * flush (step b) are worth one.  By whoever set growing.
 */
static int
flush_size (struct vhdx_space *space, bool hole, struct err *err)
{
  static const uint8_t zeros[VHDX_PAGE];
  struct block *block = space->layer->block;
  uint64_t size = block_size (block);
  int r;

  r = hole && !space->doubtful && !has_released (space)
    ? block_pwrite_through (block, zeros, sizeof zeros, size - sizeof zeros,
                            err)
    : vhdx_space_flush (space, err);
  if (r < 0)
    return r;
  space->doubtful = false;
  vhdx_logger_stable_size (space->logger, size);
  return 0;
}

/* A process that was killed may have moved or given up the blocks that were
 * there: no power cut brings them back once all that it wrote is on stable
 * storage.
 */
static int
settle_old (struct vhdx_space *space, struct err *err)
{
  int r = space->settled ? 0 : vhdx_space_flush (space, err);

  space->settled = r == 0;
  return r;
}

/* Up to nr places in front of the last block. */
static int
use_gaps (struct vhdx_space *space, uint64_t nr, struct vhdx_places *batch,
          struct err *err)
{
  struct gap gap;

  for (; nr > 0 && gaps_first (&space->gaps, space->size, &gap); --nr) {
    struct vhdx_place place = { gap.off, true };

    if (vector_append (batch, &place) < 0)
      return err_nomem (err);
    gaps_use (&space->gaps, gap.off + space->size);
  }
  return 0;
}

static int
extend_behind (struct vhdx_space *space, uint64_t nr,
               struct vhdx_places *batch, struct err *err)
{
  struct block *block = space->layer->block;
  uint64_t old_end = block_size (block), end = space->next + nr * space->size;
  int r = 0;

  if (end > MAX_FILE_SIZE)
    return no_room (space, err);
  for (uint64_t i = 0; r == 0 && i < nr; ++i) {
    uint64_t off = space->next + i * space->size;
    struct vhdx_place place = { off, off < old_end };

    if (vector_append (batch, &place) < 0)
      r = err_nomem (err);
  }
  if (r == 0 && end > old_end)
    r = block_resize (block, end, err);
  if (r == 0)
    space->next = end;
  return r;
}

/* Step 1.  Where places are given up, and wait, more may be needed than the
 * disk has blocks.
 */
static int
extend (struct vhdx_space *space, struct vhdx_places *batch, struct err *err)
{
  uint64_t nr = max_u64 (1, min_u64 (space->batch - batch->len,
                                     space->wanted));
  size_t had = batch->len;
  int r = 0;

  if (space->gaps.first < space->gaps.v.len ||
      space->next < block_size (space->layer->block))
    r = settle_old (space, err);
  if (r == 0)
    r = use_gaps (space, nr, batch, err);
  if (r == 0 && batch->len == had)
    r = extend_behind (space, nr, batch, err);
  if (r < 0) {
    batch->len = had;
    return r;
  }
  vhdx_space_set_changed (space);
  space->wanted -= min_u64 (space->wanted, batch->len - had);
  return 0;
}

/* Steps 2 and 3.  Of the places nr were used before: holes that were punched
 * there need not be on stable storage yet.
 */
static int
prepare (struct vhdx_space *space, const struct vhdx_places *batch, size_t nr,
         struct err *err)
{
  bool hole = nr == 0;
  int r = 0;

  for (size_t i = 0; r == 0 && i < batch->len; ++i)
    if (batch->ptr[i].dirty) {
      hole = false;
      r = block_zero (space->layer->block, space->size, batch->ptr[i].off, 0,
                      err);
    }
  return r < 0 ? r : flush_size (space, hole, err);
}

static int
by_offset (const void *a, const void *b)
{
  const struct vhdx_place *x = a, *y = b;

  return x->off > y->off ? -1 : x->off < y->off;
}

void
vhdx_places_sort (struct vhdx_places *places)
{
  if (places->len > 0)
    qsort (places->ptr, places->len, sizeof places->ptr[0], by_offset);
}

/* Step 4. */
static int
publish (struct vhdx_space *space, const struct vhdx_places *batch, int r,
         struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
  struct vhdx_places *to = r < 0 ? &space->unready : &space->ready;

  for (size_t i = 0; i < batch->len; ++i) {
    struct vhdx_place place = batch->ptr[i];

    place.dirty = place.dirty || r < 0;
    if (vector_append (to, &place) < 0 && r == 0)
      r = err_nomem (err);
  }
  if (r < 0)
    return r;
  vhdx_places_sort (to);
  space->last_batch = batch->len;
  return 0;
}

/* By the one thread that set growing, without the lock. */
static int
grow (struct vhdx_space *space, struct err *err)
{
  struct vhdx_places batch = VECTOR_INIT;
  struct err why = ERR_INIT;
  size_t nr_used;
  int r = 0;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhdx_space_end_waiting (space);
    batch = space->unready;
    space->unready = (struct vhdx_places) VECTOR_INIT;
  }
  nr_used = batch.len;
  /* Where places become free again, these are enough. */
  if (batch.len <= space->batch / 4) {
    r = extend (space, &batch, &why);
    if (r < 0 && batch.len > 0) /* what is there is used up first */
      r = 0;
    space->batch = min_u64 (space->batch * 2,
                            max_u64 (BATCH_BYTES / space->size, 1));
  }
  if (r == 0)
    r = prepare (space, &batch, nr_used, &why);
  if (r < 0)
    err_set (err, r, "%s", why.msg);
  r = publish (space, &batch, r, err);
  vector_free (&batch);
  return r;
}

/* Under the lock, which it gives up meanwhile. */
static int
grow_now (struct vhdx_space *space, struct err *err)
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

/* Who takes one of the last places makes the next batch, while the others
 * take what is left.  If that fails, those who need one will be told.
 */
static bool
runs_short (const struct vhdx_space *space)
{
  return space->ready.len > 0 &&
    space->ready.len <= space->last_batch / 2 && !space->growing &&
    (space->wanted > 0 || space->unready.len > 0);
}

int
vhdx_space_take (struct vhdx_space *space, uint64_t *off, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
  const struct vhdx_place *last;
  int r = 0;

  while (r == 0 && space->ready.len == 0)
    if (space->growing)
      pthread_cond_wait (&space->grown, &space->lock);
    else
      r = grow_now (space, err);
  if (r < 0)
    return r;
  last = &space->ready.ptr[space->ready.len - 1];
  if (vector_append (&space->taken, last) < 0)
    return err_nomem (err);
  *off = last->off;
  space->ready.len--;
  if (runs_short (space))
    grow_now (space, NULL);
  return 0;
}

/*--- Bitmap blocks ----------------------------------------------------------*/

/* By the one thread that set growing, without the lock: as a batch of one that
 * is smaller than others.
 */
static int
grow_for_bitmap (struct vhdx_space *space, uint64_t *off, struct err *err)
{
  struct block *block = space->layer->block;
  uint64_t old_end = block_size (block);
  uint64_t end = space->next + VHDX_BITMAP_SIZE;
  bool hole = space->next >= old_end;
  int r = 0;

  if (end > MAX_FILE_SIZE)
    return no_room (space, err);
  if (end > old_end)
    r = block_resize (block, end, err);
  if (r == 0)
    vhdx_space_set_changed (space);
  if (r == 0 && !hole)
    r = block_zero (block, VHDX_BITMAP_SIZE, space->next, 0, err);
  if (r == 0)
    r = flush_size (space, hole, err);
  if (r < 0)
    return r;
  *off = space->next;
  space->next = end;
  return 0;
}

int
vhdx_space_take_bitmap (struct vhdx_space *space, uint64_t *off,
                        struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
  struct vhdx_place place = { 0, false };
  int r;

  while (space->growing)
    pthread_cond_wait (&space->grown, &space->lock);
  space->growing = true;
  pthread_mutex_unlock (&space->lock);
  r = grow_for_bitmap (space, &place.off, err);
  pthread_mutex_lock (&space->lock);
  space->growing = false;
  pthread_cond_broadcast (&space->grown);
  if (r == 0 && vector_append (&space->taken, &place) < 0)
    r = err_nomem (err);
  if (r == 0)
    *off = place.off;
  return r;
}

/*--- What happened to a place -----------------------------------------------*/

/* Under the lock. */
static void
not_taken (struct vhdx_space *space, uint64_t off)
{
  struct vhdx_places *taken = &space->taken;
  size_t i = 0;

  while (i < taken->len && taken->ptr[i].off != off)
    i++;
  if (i < taken->len)
    taken->ptr[i] = taken->ptr[--taken->len];
}

void
vhdx_space_settle (struct vhdx_space *space, uint64_t off)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, off);
}

int
vhdx_space_hold (struct vhdx_space *space, uint64_t off, struct err *err)
{
  struct vhdx_place place = { off, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  return vector_append (&space->taken, &place) < 0 ? err_nomem (err) : 0;
}

void
vhdx_space_soil (struct vhdx_space *space, uint64_t off)
{
  struct vhdx_place place = { off, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, off);
  (void) vector_append (&space->unready, &place);
}

void
vhdx_space_lose (struct vhdx_space *space, uint64_t off)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, off);
  space->keep = max_u64 (space->keep, off + space->size);
}

void
vhdx_space_release (struct vhdx_space *space, uint64_t off)
{
  struct vhdx_place place = { off, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  not_taken (space, off);
  vhdx_space_set_changed (space);
  (void) vector_append (&space->released, &place);
}

/*--- Flush ------------------------------------------------------------------*/

/* Step b, under the lock. */
static void
flushed_waiting (struct vhdx_space *space, bool ok)
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
vhdx_space_flush (struct vhdx_space *space, struct err *err)
{
  bool takes_care = false;
  int r;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhdx_space_end_waiting (space);
    if (space->waiting.len == 0 && space->released.len > 0) {
      struct vhdx_places empty = space->waiting;

      space->waiting = space->released;
      space->released = empty;
      takes_care = true;
    }
  }
  r = block_flush (space->layer->block, err);
  if (takes_care) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    flushed_waiting (space, r == 0);
  }
  return r;
}

/*--- The end ----------------------------------------------------------------*/

void
vhdx_space_free (struct vhdx_space *space, bool cut)
{
  if (space == NULL)
    return;
  if (cut)
    vhdx_space_cut_off (space);
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
