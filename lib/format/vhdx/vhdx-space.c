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
 *   1. The file grows by that.
 *   2. Places are zeroed where the file had something, or they were used.
 *   3. Flush.
 *   4. The places are ready: a BAT entry that names one of them needs nothing
 *      else to be on stable storage, neither before nor after it.  From now
 *      on entries of the log state this size of the file.
 *
 * A crash leaves a file that is longer than its blocks need.
 *
 * A block that is given up releases its place, in these steps:
 *
 *   a. Its BAT entry is another, in the log and in memory (vhdx-alloc.c).
 *   b. A flush that began later succeeds: no power cut brings it back.
 *   c. All operations that began before that are over: ../epoch.h.
 *   d. A hole is punched where it was.
 *   e. It is made ready with the next batch: 2 to 4.
 *
 * At the end, when the log is empty: the file is cut off behind its last
 * block.  Not before: an entry of the log that states a larger size than the
 * file has says that the file was cut off by someone else.
 *
 * The lock is held for moments, never while reading, writing or flushing.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-write.h"

#define BATCH_BYTES (256 * 1024 * 1024)

/* Of a file that is not refused when it is opened. */
#define MAX_FILE_SIZE (UINT64_C (128) << 40)

struct place {
  uint64_t off;                 /* bytes */
  bool dirty;                   /* it is not known to be zero */
};

DEFINE_VECTOR (places, struct place);

struct vhdx_space {
  struct vhdx_layer *layer;     /* borrowed */
  struct vhdx_logger *logger;   /* borrowed */
  uint64_t size;                /* bytes of a place */
  struct epoch epoch;
  bool changed;                 /* atomic: close has something to do */

  /* Whoever set growing; then constant for the others. */
  uint64_t next;                /* bytes: where the next new place begins */
  uint64_t batch;               /* how many places to make */
  uint64_t wanted;              /* blocks that have had no place yet */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t grown;
  bool growing;
  struct places ready;          /* the last one is taken first */
  size_t last_batch;            /* how many became ready at once */
  struct places unready;        /* after step c */
  struct places released;       /* step a */
  struct places waiting;        /* being flushed, or step c */
  bool waits_for_epoch;         /* ... which is the one before epoch */
  uint64_t keep;                /* bytes: lost places end here */
};

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

static void
set_changed (struct vhdx_space *space)
{
  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
}

/* Step c, under the lock.  Out of memory loses places until the image is
 * opened again, nothing else.
 */
static void
end_waiting (struct vhdx_space *space)
{
  if (!space->waits_for_epoch || !epoch_is_over (&space->epoch))
    return;
  for (size_t i = 0; i < space->waiting.len; ++i)
    (void) vector_append (&space->unready, &space->waiting.ptr[i]);
  space->waiting.len = 0;
  space->waits_for_epoch = false;
}

/*--- Making places ----------------------------------------------------------*/

/* Step 1.  Where places are given up, and wait, more may be needed than the
 * disk has blocks.
 */
static int
extend (struct vhdx_space *space, struct places *batch, struct err *err)
{
  struct block *block = space->layer->block;
  uint64_t old_end = block_size (block), end;
  uint64_t nr = max_u64 (1, min_u64 (space->batch - batch->len,
                                     space->wanted));
  size_t had = batch->len;
  int r = 0;

  end = space->next + nr * space->size;
  if (end > MAX_FILE_SIZE)
    return err_set (err, -ENOSPC, "the file has reached offset %" PRIu64
                    ", and the most it can have are 128 TiB", space->next);
  for (uint64_t i = 0; r == 0 && i < nr; ++i) {
    uint64_t off = space->next + i * space->size;
    struct place place = { off, off < old_end };

    if (vector_append (batch, &place) < 0)
      r = err_nomem (err);
  }
  if (r == 0 && end > old_end)
    r = block_resize (block, end, err);
  if (r < 0) {
    batch->len = had;
    return r;
  }
  set_changed (space);
  space->next = end;
  space->wanted -= min_u64 (space->wanted, nr);
  return 0;
}

/* Steps 2 and 3. */
static int
prepare (struct vhdx_space *space, const struct places *batch,
         struct err *err)
{
  struct block *block = space->layer->block;
  uint64_t size = block_size (block);
  int r = 0;

  for (size_t i = 0; r == 0 && i < batch->len; ++i)
    if (batch->ptr[i].dirty)
      r = block_zero (block, space->size, batch->ptr[i].off, 0, err);
  if (r == 0)
    r = vhdx_space_flush (space, err);
  if (r == 0)
    vhdx_logger_stable_size (space->logger, size);
  return r;
}

/* Those at the end of the file come first in the list, and are taken last. */
static int
by_offset (const void *a, const void *b)
{
  const struct place *x = a, *y = b;

  return x->off > y->off ? -1 : x->off < y->off;
}

/* Step 4. */
static int
publish (struct vhdx_space *space, const struct places *batch, int r,
         struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
  struct places *to = r < 0 ? &space->unready : &space->ready;

  for (size_t i = 0; i < batch->len; ++i) {
    struct place place = batch->ptr[i];

    place.dirty = place.dirty || r < 0;
    if (vector_append (to, &place) < 0 && r == 0)
      r = err_nomem (err);
  }
  if (r < 0)
    return r;
  qsort (to->ptr, to->len, sizeof to->ptr[0], by_offset);
  space->last_batch = batch->len;
  return 0;
}

/* By the one thread that set growing, without the lock. */
static int
grow (struct vhdx_space *space, struct err *err)
{
  struct places batch = VECTOR_INIT;
  struct err why = ERR_INIT;
  int r = 0;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    end_waiting (space);
    batch = space->unready;
    space->unready = (struct places) VECTOR_INIT;
  }
  /* Where places become free again, these are enough. */
  if (batch.len <= space->batch / 4) {
    r = extend (space, &batch, &why);
    if (r < 0 && batch.len > 0) /* what is there is used up first */
      r = 0;
    space->batch = min_u64 (space->batch * 2,
                            max_u64 (BATCH_BYTES / space->size, 1));
  }
  if (r == 0)
    r = prepare (space, &batch, &why);
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
  int r = 0;

  while (r == 0 && space->ready.len == 0)
    if (space->growing)
      pthread_cond_wait (&space->grown, &space->lock);
    else
      r = grow_now (space, err);
  if (r < 0)
    return r;
  *off = space->ready.ptr[--space->ready.len].off;
  if (runs_short (space))
    grow_now (space, NULL);
  return 0;
}

/*--- What happened to a place -----------------------------------------------*/

void
vhdx_space_soil (struct vhdx_space *space, uint64_t off)
{
  struct place place = { off, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  (void) vector_append (&space->unready, &place);
}

void
vhdx_space_lose (struct vhdx_space *space, uint64_t off)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  space->keep = max_u64 (space->keep, off + space->size);
}

void
vhdx_space_release (struct vhdx_space *space, uint64_t off)
{
  struct place place = { off, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  set_changed (space);
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

/* Step d.  Out of the list meanwhile, so that nobody makes them ready. */
static void
punch_unready (struct vhdx_space *space)
{
  struct places places;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    end_waiting (space);
    places = space->unready;
    space->unready = (struct places) VECTOR_INIT;
  }
  for (size_t i = 0; i < places.len; ++i)
    if (places.ptr[i].dirty &&
        block_zero (space->layer->block, space->size, places.ptr[i].off,
                    BLOCK_FAST, NULL) == 0)
      places.ptr[i].dirty = false;
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    for (size_t i = 0; i < places.len; ++i)
      (void) vector_append (&space->unready, &places.ptr[i]);
  }
  vector_free (&places);
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
    end_waiting (space);
    if (space->waiting.len == 0 && space->released.len > 0) {
      struct places empty = space->waiting;

      space->waiting = space->released;
      space->released = empty;
      takes_care = true;
    }
  }
  r = block_flush (space->layer->block, err);
  if (takes_care) {
    {
      ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
      flushed_waiting (space, r == 0);
    }
    punch_unready (space);
  }
  return r;
}

/*--- The end ----------------------------------------------------------------*/

/* Give the space of places that are not at the end back to the file system.
 * Nothing on stable storage names them.
 */
static void
punch (struct vhdx_space *space, const struct places *places, uint64_t end)
{
  for (size_t i = 0; i < places->len; ++i)
    if (places->ptr[i].dirty && places->ptr[i].off + space->size <= end)
      block_trim (space->layer->block, space->size, places->ptr[i].off, 0,
                  NULL);
}

static void
cut_off (struct vhdx_space *space)
{
  struct block *block = space->layer->block;
  uint64_t end = max_u64 (vhdx_end_of_data (space->layer), space->keep);

  punch (space, &space->unready, end);
  punch (space, &space->waiting, end);
  punch (space, &space->released, end);
  if (end < block_size (block) && block_resize (block, end, NULL) == 0)
    block_flush (block, NULL);
}

void
vhdx_space_free (struct vhdx_space *space, bool cut)
{
  if (space == NULL)
    return;
  if (cut && __atomic_load_n (&space->changed, __ATOMIC_RELAXED))
    cut_off (space);
  vector_free (&space->ready);
  vector_free (&space->unready);
  vector_free (&space->released);
  vector_free (&space->waiting);
  pthread_mutex_destroy (&space->lock);
  pthread_cond_destroy (&space->grown);
  free (space);
}
