/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The end of the file: free places there go.
 *
 * After a flush some places may be free: no BAT entry in the file or the log,
 * on stable storage, or in memory, names them, and nobody uses them (steps a
 * to c in vhdx-space.c).  Holes are punched where they are.  Where there are
 * many at the end of the file, it is cut off:
 *
 *   1. They leave the lists, so that nobody takes them.
 *   2. The log is emptied, and what is left of it states the new size:
 *      vhdx-logger.c.  An entry that counts and states a larger size than the
 *      file has says that the file was cut off by someone else.
 *   3. The file gets its new size.
 *   4. Flush: what is added later begins as a hole, on stable storage too.
 *
 * A crash before 3: the file is longer than its blocks and its log need.
 * After 3: so it is, or it ends where they do.
 *
 * Whoever does this has set growing, so that nobody adds places meanwhile.
 * Some free places stay, half as many as were made the last time, or a disk
 * that is written and trimmed in turns would make its batches over and over
 * again; closing, when there is no log, leaves none.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-space.h"

static uint64_t
end_of_places (const struct vhdx_space *space,
               const struct vhdx_places *places)
{
  uint64_t end = 0;

  for (size_t i = 0; i < places->len; ++i)
    end = max_u64 (end, places->ptr[i].off + space->size);
  return end;
}

/* Under the lock: behind all that is in use, or may be. */
static uint64_t
end_of_used (const struct vhdx_space *space)
{
  uint64_t end = max_u64 (vhdx_end_of_data (space->layer), space->keep);

  end = max_u64 (end, end_of_places (space, &space->taken));
  end = max_u64 (end, end_of_places (space, &space->released));
  return max_u64 (end, end_of_places (space, &space->waiting));
}

static int
copy_behind (const struct vhdx_places *places, uint64_t off,
             struct vhdx_places *to)
{
  for (size_t i = 0; i < places->len; ++i)
    if (places->ptr[i].off >= off && vector_append (to, &places->ptr[i]) < 0)
      return -ENOMEM;
  return 0;
}

static void
drop_behind (struct vhdx_places *places, uint64_t off)
{
  size_t n = 0;

  for (size_t i = 0; i < places->len; ++i)
    if (places->ptr[i].off < off)
      places->ptr[n++] = places->ptr[i];
  places->len = n;
}

/* Under the lock.  Where the file is to end, if there is enough to cut off;
 * places behind that leave the lists for gone.  Out of memory the file stays
 * as it is.
 */
static bool
plan (struct vhdx_space *space, uint64_t *end, struct vhdx_places *gone)
{
  size_t stay = space->last_batch / 2;

  *end = end_of_used (space);
  if (copy_behind (&space->ready, *end, gone) < 0 ||
      copy_behind (&space->unready, *end, gone) < 0 ||
      gone->len <= space->last_batch)
    return false;
  vhdx_places_sort (gone);
  if (stay > 0)
    *end = gone->ptr[gone->len - stay].off + space->size;
  if (*end >= block_size (space->layer->block))
    return false;
  drop_behind (&space->ready, *end);
  drop_behind (&space->unready, *end);
  gone->len -= stay;            /* those are in front of it */
  return true;
}

/* Steps 2 to 4.  Returns whether the file was cut off; *failed: something did,
 * perhaps a flush.
 */
static bool
cut (struct vhdx_space *space, uint64_t end, bool *failed)
{
  struct block *block = space->layer->block;

  *failed = vhdx_logger_lower_size (space->logger, end, NULL) < 0 ||
    block_resize (block, end, NULL) < 0;
  if (*failed)
    return false;
  *failed = block_flush (block, NULL) < 0;
  space->doubtful = space->doubtful || *failed;
  return true;
}

/* They are in the file still, whatever is in them. */
static void
put_back (struct vhdx_space *space, const struct vhdx_places *places)
{
  for (size_t i = 0; i < places->len; ++i)
    (void) vector_append (&space->unready, &places->ptr[i]);
}

/* By whoever set growing.  False if something failed. */
static bool
shrink (struct vhdx_space *space)
{
  struct vhdx_places gone = VECTOR_INIT;
  bool planned, done = false, failed = false;
  uint64_t end;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    planned = plan (space, &end, &gone);
  }
  if (planned) {
    done = cut (space, end, &failed);
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    if (!done)
      put_back (space, &gone);
    else {
      space->wanted += gone.len;
      space->next = end;
      gaps_cut (&space->gaps, end);
      space->last_batch /= 2;
      space->batch = max_u64 (1, space->last_batch);
    }
  }
  vector_free (&gone);
  return !failed;
}

/* Out of the list meanwhile; by whoever set growing, so that nobody makes
 * them ready.
 */
static void
punch_unready (struct vhdx_space *space)
{
  struct vhdx_places places;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    places = space->unready;
    space->unready = (struct vhdx_places) VECTOR_INIT;
  }
  for (size_t i = 0; i < places.len; ++i)
    if (places.ptr[i].dirty &&
        block_zero (space->layer->block, space->size, places.ptr[i].off,
                    BLOCK_FAST, NULL) == 0)
      places.ptr[i].dirty = false;
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    put_back (space, &places);
  }
  vector_free (&places);
}

int
vhdx_space_tidy (struct vhdx_space *space, struct err *err)
{
  bool good;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhdx_space_end_waiting (space);
    if (space->growing || !space->freed)
      return 0;
    space->growing = true;
    space->freed = false;
  }
  good = shrink (space);
  punch_unready (space);
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    space->growing = false;
    pthread_cond_broadcast (&space->grown);
  }
  /* It says what failed, if the block has lost writes for good. */
  return good ? 0 : block_flush (space->layer->block, err);
}

/*--- When the image is closed -----------------------------------------------*/

/* Give the space of places that are not at the end back to the file system.
 * Nothing on stable storage names them.
 */
static void
punch (struct vhdx_space *space, const struct vhdx_places *places,
       uint64_t end)
{
  for (size_t i = 0; i < places->len; ++i)
    if (places->ptr[i].dirty && places->ptr[i].off + space->size <= end)
      block_trim (space->layer->block, space->size, places->ptr[i].off, 0,
                  NULL);
}

void
vhdx_space_cut_off (struct vhdx_space *space)
{
  struct block *block = space->layer->block;
  uint64_t end = max_u64 (vhdx_end_of_data (space->layer), space->keep);

  if (!__atomic_load_n (&space->changed, __ATOMIC_RELAXED))
    return;
  punch (space, &space->unready, end);
  punch (space, &space->waiting, end);
  punch (space, &space->released, end);
  if (end < block_size (block) && block_resize (block, end, NULL) == 0)
    block_flush (block, NULL);
}
