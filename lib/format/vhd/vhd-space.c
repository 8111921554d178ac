/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Places for new blocks, and the footer at the end of the file.
 *
 *   … blocks | place | place | … | footer
 *                                ^ limit
 *
 * Places are made in batches, each twice as large as the one before, up to
 * BATCH_BYTES.  They begin where the data of the file ends, such that the
 * data of a block is aligned to 4 KiB.  Making a batch:
 *
 *   1. The footer is written at the new end; the file grows by that.
 *   2. Data of the places is zeroed where the file had something, or they
 *      were used; bitmaps are written, all ones.  The place where the old
 *      footer lies is left out of this and waits for the next batch, because
 *      that footer is the only one on stable storage.
 *   3. fdatasync.
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
 * A block that becomes absent releases its place, in these steps:
 *
 *   a. Its BAT entry is absent, in the file and in memory (vhd-alloc.c).
 *   b. A flush that began later succeeds: no power cut brings it back.
 *   c. All operations that began before that are over: nobody reads or
 *      writes there.  Operations count themselves in one of two epochs; the
 *      number of the epoch changes at b, and the old one has to be empty.
 *   d. It is made ready with the next batch: 2 to 4.
 *
 * At the end, when all that was written is on stable storage: the footer is
 * written behind the last block, fdatasync, and then the file is cut off
 * behind it.  Until that happens the footer at the end is whole.
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
#include "lib/format/vhd/vhd-write.h"

#define ALIGNMENT 4096
#define BATCH_BYTES (64 * 1024 * 1024)
#define MAX_BATCH 1024          /* places */

struct place {
  uint32_t sector;
  bool dirty;                   /* its data is not known to be zero */
};

DEFINE_VECTOR (places, struct place);

struct vhd_space {
  struct block *block;          /* borrowed */
  const struct vhd_bat *bat;    /* borrowed */
  uint8_t footer[VHD_FOOTER_SIZE];
  uint64_t stride;              /* bytes from one place to the next */
  bool changed;                 /* atomic: close has something to do */

  /* Whoever set growing; then constant for the others. */
  uint64_t next;                /* bytes: where the next new place begins */
  uint64_t limit;               /* where the footer at the end begins */
  uint64_t batch;               /* how many places to make */
  bool torn;                    /* a footer may be in part behind the end */
  bool copy_behind;             /* the copy is not that footer yet */

  uint64_t epoch;               /* atomic */
  uint64_t under_way[2];        /* atomic: operations of even and odd epochs */

  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t grown;
  bool growing;
  struct places ready;          /* from first_ready on */
  size_t first_ready;           /* 0 if there is none */
  size_t last_batch;            /* how many became ready at once */
  struct places unready;        /* step d */
  struct places released;       /* step a */
  struct places waiting;        /* being flushed, or step c */
  bool waits_for_epoch;         /* ... which is the one before epoch */
  uint64_t keep;                /* bytes: lost places end here */
};

static uint64_t
place_size (const struct vhd_bat *bat)
{
  return (uint64_t) bat->bitmap_size + bat->block_size;
}

static uint64_t
place_off (uint32_t sector)
{
  return (uint64_t) sector * VHD_SECTOR_SIZE;
}

/* The first place at or behind off. */
static uint64_t
align_place (const struct vhd_bat *bat, uint64_t off)
{
  return round_up (off + bat->bitmap_size, ALIGNMENT) - bat->bitmap_size;
}

/* Behind everything that the file is known to hold. */
static uint64_t
end_of_data (const struct vhd_bat *bat)
{
  uint32_t last = 0;
  uint64_t end = bat->reserved_end;

  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    uint32_t sector = __atomic_load_n (&bat->entries[i], __ATOMIC_ACQUIRE);

    last = sector > last ? sector : last;
  }
  if (last != VHD_BAT_HELD_ABSENT)
    end = max_u64 (end, place_off (last) + place_size (bat));
  return end;
}

int
vhd_space_new (struct vhd_layer *layer, struct vhd_space **out,
               struct err *err)
{
  CLEANUP_FREE struct vhd_space *space = calloc (1, sizeof *space);
  uint64_t end = layer->footers.end;
  int r;

  if (space == NULL)
    return err_nomem (err);
  space->block = layer->block;
  space->bat = &layer->bat;
  /* An old one lacks the last byte, which is 0. */
  r = block_pread (layer->block, space->footer,
                   (size_t) min_u64 (VHD_FOOTER_SIZE,
                                     block_size (layer->block) - end),
                   end, err);
  if (r < 0)
    return r;
  space->stride = round_up (place_size (space->bat), ALIGNMENT);
  space->next = align_place (space->bat, end_of_data (space->bat));
  space->limit = end;
  space->batch = 1;
  space->copy_behind = layer->footers.copy_behind;
  pthread_mutex_init (&space->lock, NULL);
  pthread_cond_init (&space->grown, NULL);
  *out = steal_ptr (&space);
  return 0;
}

/*--- Operations under way ---------------------------------------------------*/

/* Who counted itself in an epoch that was over by then might be missed, and
 * counts again.
 */
unsigned
vhd_space_enter (struct vhd_space *space)
{
  for (;;) {
    uint64_t epoch = __atomic_load_n (&space->epoch, __ATOMIC_SEQ_CST);

    __atomic_add_fetch (&space->under_way[epoch % 2], 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n (&space->epoch, __ATOMIC_SEQ_CST) == epoch)
      return (unsigned) (epoch % 2);
    __atomic_sub_fetch (&space->under_way[epoch % 2], 1, __ATOMIC_SEQ_CST);
  }
}

void
vhd_space_leave (struct vhd_space *space, unsigned epoch)
{
  __atomic_sub_fetch (&space->under_way[epoch], 1, __ATOMIC_SEQ_CST);
}

/* Step c, under the lock.  Out of memory loses places until the image is
 * opened again, nothing else.
 */
static void
end_waiting (struct vhd_space *space)
{
  uint64_t old = __atomic_load_n (&space->epoch, __ATOMIC_SEQ_CST) + 1;

  if (!space->waits_for_epoch ||
      __atomic_load_n (&space->under_way[old % 2], __ATOMIC_SEQ_CST) != 0)
    return;
  for (size_t i = 0; i < space->waiting.len; ++i)
    (void) vector_append (&space->unready, &space->waiting.ptr[i]);
  space->waiting.len = 0;
  space->waits_for_epoch = false;
}

/*--- Making places ----------------------------------------------------------*/

/* How many to make behind the last one: at most `most`. */
static int
choose_number (const struct vhd_space *space, uint64_t most, uint64_t *nr,
               struct err *err)
{
  uint64_t end = (uint64_t) VHD_BAT_ABSENT * VHD_SECTOR_SIZE;

  *nr = 0;
  if (space->next < end)
    *nr = min_u64 (most,
                   div_round_up (end - space->next, space->stride));
  if (*nr > 0)
    return 0;
  return err_set (err, -ENOSPC, "the file has reached offset %" PRIu64
                  ", and a VHD can have no block behind 2 TiB", space->next);
}

static int
add_new_places (const struct vhd_space *space, uint64_t nr, uint64_t old_end,
                struct places *batch, struct places *held, struct err *err)
{
  for (uint64_t i = 0; i < nr; ++i) {
    uint64_t off = space->next + i * space->stride;
    struct place place = {
      (uint32_t) (off / VHD_SECTOR_SIZE), off < old_end || space->torn
    };
    bool has_footer = off < old_end &&
      off + space->stride > space->limit;

    if (vector_append (has_footer ? held : batch, &place) < 0)
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

/* Step 1.  Places that lie over the footer that was at the end go into held,
 * the others into batch.
 */
static int
extend (struct vhd_space *space, struct places *batch, struct places *held,
        struct err *err)
{
  uint64_t nr, end, old_end = block_size (space->block);
  int r = choose_number (space, space->batch - batch->len, &nr, err);

  if (r == 0)
    r = add_new_places (space, nr, old_end, batch, held, err);
  if (r < 0)
    return r;
  end = space->next + nr * space->stride;
  if (end <= space->limit) {
    space->next = end;
    return 0;
  }
  r = mend_copy (space, err);
  if (r < 0)
    return r;
  r = block_append (space->block, space->footer, VHD_FOOTER_SIZE, end, err);
  if (r < 0) {
    space->torn = true;
    return r;
  }
  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
  space->next = space->limit = end;
  return 0;
}

/* Step 2. */
static int
prepare (struct vhd_space *space, const struct place *place, struct err *err)
{
  const struct vhd_bat *bat = space->bat;
  uint64_t off = place_off (place->sector);
  uint8_t ones[4096];
  int r = 0;

  memset (ones, 0xFF, sizeof ones);
  if (place->dirty)
    r = block_zero (space->block, bat->block_size, off + bat->bitmap_size, 0,
                    err);
  for (uint32_t done = 0; r == 0 && done < bat->bitmap_size;) {
    size_t n = (size_t) min_u64 (bat->bitmap_size - done, sizeof ones);

    r = block_pwrite (space->block, ones, n, off + done, 0, err);
    done += (uint32_t) n;
  }
  return r;
}

/* Steps 2 and 3. */
static int
prepare_all (struct vhd_space *space, const struct places *batch,
             struct err *err)
{
  int r = 0;

  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
  for (size_t i = 0; r == 0 && i < batch->len; ++i)
    r = prepare (space, &batch->ptr[i], err);
  return r < 0 ? r : vhd_space_flush (space, err);
}

/* Under the lock.  They may be half done, or hold what was a footer. */
static void
put_back (struct vhd_space *space, struct places *places)
{
  for (size_t i = 0; i < places->len; ++i) {
    places->ptr[i].dirty = true;
    (void) vector_append (&space->unready, &places->ptr[i]);
  }
}

/* Under the lock: what was taken leaves the list. */
static void
drop_taken (struct vhd_space *space)
{
  struct places *ready = &space->ready;

  if (space->first_ready == 0)
    return;
  ready->len -= space->first_ready;
  memmove (ready->ptr, ready->ptr + space->first_ready,
           ready->len * sizeof ready->ptr[0]);
  space->first_ready = 0;
}

/* Step 4.  When the flush failed, the place that was held back is not used
 * until the image is opened again: the footer in it may be the only one.
 */
static int
publish (struct vhd_space *space, struct places *batch, struct places *held,
         int r, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  if (r < 0) {
    put_back (space, batch);
    return r;
  }
  drop_taken (space);
  space->last_batch = batch->len;
  for (size_t i = 0; i < batch->len; ++i)
    if (vector_append (&space->ready, &batch->ptr[i]) < 0)
      r = err_nomem (err);
  put_back (space, held);
  return r;
}

static uint64_t
largest_batch (const struct vhd_space *space)
{
  return max_u64 (1, min_u64 (BATCH_BYTES / space->stride, MAX_BATCH));
}

/* By the one thread that set growing, without the lock. */
static int
grow (struct vhd_space *space, struct err *err)
{
  struct places batch = VECTOR_INIT, held = VECTOR_INIT;
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
    size_t nr = batch.len;

    r = extend (space, &batch, &held, &why);
    if (r < 0) {
      batch.len = nr;
      held.len = 0;
      if (nr > 0)               /* what is there is used up first */
        r = 0;
    }
    space->batch = min_u64 (space->batch * 2, largest_batch (space));
  }
  if (r == 0)
    r = prepare_all (space, &batch, &why);
  if (r < 0)
    err_set (err, r, "%s", why.msg);
  r = publish (space, &batch, &held, r, err);
  vector_free (&batch);
  vector_free (&held);
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

static void
pop_ready (struct vhd_space *space, uint32_t *sector)
{
  *sector = space->ready.ptr[space->first_ready++].sector;
  if (space->first_ready == space->ready.len)
    space->first_ready = space->ready.len = 0;
}

/* Who takes one of the last places makes the next batch, while the others
 * take what is left.  If that fails, those who need one will be told.
 */
static bool
runs_short (const struct vhd_space *space)
{
  return space->ready.len - space->first_ready <= space->last_batch / 2;
}

int
vhd_space_take (struct vhd_space *space, uint32_t *sector, struct err *err)
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
  pop_ready (space, sector);
  if (space->ready.len > 0 && runs_short (space) && !space->growing)
    grow_now (space, NULL);
  return 0;
}

/*--- What happened to a place -----------------------------------------------*/

void
vhd_space_soil (struct vhd_space *space, uint32_t sector)
{
  struct place place = { sector, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  (void) vector_append (&space->unready, &place);
}

void
vhd_space_lose (struct vhd_space *space, uint32_t sector)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  space->keep = max_u64 (space->keep,
                         place_off (sector) + place_size (space->bat));
}

void
vhd_space_release (struct vhd_space *space, uint32_t sector)
{
  struct place place = { sector, true };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);

  __atomic_store_n (&space->changed, true, __ATOMIC_RELAXED);
  (void) vector_append (&space->released, &place);
}

/* Step b, under the lock. */
static void
flushed_waiting (struct vhd_space *space, bool ok)
{
  if (ok) {
    __atomic_add_fetch (&space->epoch, 1, __ATOMIC_SEQ_CST);
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
    end_waiting (space);
    if (space->waiting.len == 0 && space->released.len > 0) {
      struct places empty = space->waiting;

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

/* Give the space of places that are not at the end back to the file system.
 * No BAT entry on stable storage names them.
 */
static void
punch (struct vhd_space *space, const struct places *places, uint64_t end)
{
  for (size_t i = 0; i < places->len; ++i)
    if (places->ptr[i].dirty &&
        place_off (places->ptr[i].sector) + place_size (space->bat) <= end)
      block_trim (space->block, place_size (space->bat),
                  place_off (places->ptr[i].sector), 0, NULL);
}

static void
cut_off (struct vhd_space *space)
{
  uint64_t end = max_u64 (end_of_data (space->bat), space->keep);

  if (!__atomic_load_n (&space->changed, __ATOMIC_RELAXED) ||
      block_flush (space->block, NULL) < 0)
    return;
  end = align_place (space->bat, end);
  punch (space, &space->unready, end);
  punch (space, &space->waiting, end);
  punch (space, &space->released, end);
  /* The footers would overlap, or it is where it belongs. */
  if (end + VHD_FOOTER_SIZE > space->limit)
    return;
  if (block_pwrite (space->block, space->footer, VHD_FOOTER_SIZE, end, 0,
                    NULL) < 0 ||
      block_flush (space->block, NULL) < 0 ||
      block_resize (space->block, end + VHD_FOOTER_SIZE, NULL) < 0)
    return;
  block_flush (space->block, NULL);
}

void
vhd_space_free (struct vhd_space *space)
{
  if (space == NULL)
    return;
  cut_off (space);
  vector_free (&space->ready);
  vector_free (&space->unready);
  vector_free (&space->released);
  vector_free (&space->waiting);
  pthread_mutex_destroy (&space->lock);
  pthread_cond_destroy (&space->grown);
  free (space);
}
