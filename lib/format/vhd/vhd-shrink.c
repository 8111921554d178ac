/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The end of the file: free places in front of it go, and a footer that a
 * power cut kept from getting there is written.
 *
 * After a flush some places may be free: no BAT entry on stable storage, or
 * in memory, names them, and nobody uses them (steps a to c in vhd-space.c).
 * Their space is given back to the file system, where it can punch holes.
 * Where there are many at the end of the file, it is cut off:
 *
 *   1. The footer is written behind the last place that stays.
 *   2. fdatasync.
 *   3. The file ends behind that footer.
 *   4. fdatasync: what is added later begins as a hole, on stable storage
 *      too.
 *
 * A crash before 3: the footer at the end is whole, and what lies between is
 * nobody's.  After 3: the new one is at the end; or, after a power cut before
 * 4, the old one again.  Both are on stable storage then.
 *
 * Whoever does this has set growing, so that nobody adds places meanwhile.
 * Some free places stay, half as many as were made the last time, or a disk
 * that is written and trimmed in turns would make its batches over and over
 * again; closing leaves none.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/format/vhd/vhd-space.h"

static uint64_t
end_of_places (const struct vhd_space *space, const struct vhd_slots *places)
{
  uint64_t end = 0;

  for (size_t i = 0; i < places->len; ++i)
    end = max_u64 (end, vhd_place_off (places->ptr[i].sector) +
                   vhd_place_size (space->bat));
  return end;
}

/* Under the lock: behind all that is in use, or may be. */
static uint64_t
end_of_used (const struct vhd_space *space)
{
  uint64_t end = max_u64 (vhd_place_end_of_data (space->bat), space->keep);

  end = max_u64 (end, end_of_places (space, &space->taken));
  end = max_u64 (end, end_of_places (space, &space->released));
  return max_u64 (end, end_of_places (space, &space->waiting));
}

/* Copy to another list what begins at off or behind it, from number `from`
 * on.
 */
static int
copy_behind (const struct vhd_slots *places, size_t from, uint64_t off,
             struct vhd_slots *to)
{
  for (size_t i = from; i < places->len; ++i)
    if (vhd_place_off (places->ptr[i].sector) >= off &&
        vector_append (to, &places->ptr[i]) < 0)
      return -ENOMEM;
  return 0;
}

static void
drop_behind (struct vhd_slots *places, size_t from, uint64_t off)
{
  size_t n = from;

  for (size_t i = from; i < places->len; ++i)
    if (vhd_place_off (places->ptr[i].sector) < off)
      places->ptr[n++] = places->ptr[i];
  places->len = n;
}

static void
drop_in_front (struct vhd_slots *places, size_t nr)
{
  places->len -= nr;
  for (size_t i = 0; i < places->len; ++i)
    places->ptr[i] = places->ptr[i + nr];
}

/* Under the lock.  All free places at or behind off, in order. */
static int
free_behind (const struct vhd_space *space, uint64_t off,
             struct vhd_slots *out)
{
  if (copy_behind (&space->ready, space->first_ready, off, out) < 0 ||
      copy_behind (&space->unready, 0, off, out) < 0)
    return -ENOMEM;
  vhd_slots_sort (out);
  return 0;
}

/* Under the lock.  Where the footer is to be, if there is enough to cut off;
 * places behind that leave the lists for gone.  Out of memory the file stays
 * as it is.
 */
static bool
plan (struct vhd_space *space, bool closing, uint64_t *end,
      struct vhd_slots *gone)
{
  size_t stay = closing ? 0 : space->last_batch / 2;
  uint64_t behind = end_of_used (space);

  if (free_behind (space, behind, gone) < 0 ||
      (!closing && gone->len <= space->last_batch))
    return false;
  if (stay > 0)
    behind = vhd_place_off (gone->ptr[stay - 1].sector) +
      vhd_place_size (space->bat);
  *end = vhd_place_align (space->bat, behind);
  /* The footers would overlap, or it is where it belongs. */
  if (*end + VHD_FOOTER_SIZE > space->limit)
    return false;
  drop_behind (&space->ready, space->first_ready, behind);
  if (space->first_ready == space->ready.len)
    space->first_ready = space->ready.len = 0;
  drop_behind (&space->unready, 0, behind);
  drop_in_front (gone, stay);
  return true;
}

static int
flush_to_cut (struct vhd_space *space)
{
  int r = block_flush (space->block, NULL);

  space->doubtful = space->doubtful || r < 0;
  return r;
}

/* Steps 1 to 4. */
static int
cut (struct vhd_space *space, uint64_t end)
{
  int r = block_pwrite (space->block, space->footer, VHD_FOOTER_SIZE, end, 0,
                        NULL);

  if (r == 0)
    r = flush_to_cut (space);
  if (r == 0)
    r = block_resize (space->block, end + VHD_FOOTER_SIZE, NULL);
  if (r < 0)
    return r;
  space->next = space->limit = end;
  gaps_cut (&space->gaps, end);
  flush_to_cut (space);
  return 0;
}

/* By whoever set growing. */
static void
shrink (struct vhd_space *space, bool closing)
{
  struct vhd_slots gone = VECTOR_INIT;
  bool planned;
  uint64_t end;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    planned = plan (space, closing, &end, &gone);
  }
  if (planned && cut (space, end) < 0) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhd_space_put_back (space, &gone);
  }
  else if (planned) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    space->last_batch /= 2;
    space->batch = max_u64 (1, space->last_batch);
  }
  vector_free (&gone);
}

/* By whoever set growing: nobody else takes what is unready. */
static void
punch (struct vhd_space *space)
{
  struct vhd_slots places;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    places = space->unready;
    space->unready = (struct vhd_slots) VECTOR_INIT;
  }
  for (size_t i = 0; i < places.len; ++i) {
    struct vhd_slot *place = &places.ptr[i];

    if (place->dirty && !place->punched)
      block_trim (space->block, vhd_place_size (space->bat),
                  vhd_place_off (place->sector), 0, NULL);
    place->punched = true;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
  for (size_t i = 0; i < places.len; ++i)
    (void) vector_append (&space->unready, &places.ptr[i]);
  vector_free (&places);
}

int
vhd_space_tidy (struct vhd_space *space, struct err *err)
{
  bool doubtful;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    vhd_space_end_waiting (space);
    if (space->growing || !space->freed)
      return 0;
    space->growing = true;
    space->freed = false;
  }
  space->doubtful = false;
  shrink (space, false);
  punch (space);
  doubtful = space->doubtful;
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&space->lock);
    space->growing = false;
    pthread_cond_broadcast (&space->grown);
  }
  /* It says what failed, if the block has lost writes for good. */
  return doubtful ? block_flush (space->block, err) : 0;
}

/* Nobody else is left, and after a flush nothing that was released is in the
 * BAT on stable storage.
 */
void
vhd_space_cut_off (struct vhd_space *space)
{
  if (!__atomic_load_n (&space->changed, __ATOMIC_RELAXED) ||
      block_flush (space->block, NULL) < 0)
    return;
  for (size_t i = 0; i < space->waiting.len; ++i)
    (void) vector_append (&space->unready, &space->waiting.ptr[i]);
  for (size_t i = 0; i < space->released.len; ++i)
    (void) vector_append (&space->unready, &space->released.ptr[i]);
  space->waiting.len = space->released.len = 0;
  shrink (space, true);
  punch (space);
}

/*--- A footer that is missing -----------------------------------------------*/

/* The file grew by its new end; then the power failed before step 3 of
 * vhd-space.c was over.  All of the copy is there, and where the footer
 * belongs are zeros.
 */
int
vhd_space_mend_end (struct vhd_layer *layer, struct report *report,
                    struct err *err)
{
  uint64_t end = layer->footers.end - VHD_FOOTER_SIZE;
  uint8_t footer[VHD_FOOTER_SIZE];
  int r = block_pread (layer->block, footer, sizeof footer, 0, err);

  if (r == 0)
    r = block_pwrite (layer->block, footer, sizeof footer, end, 0, err);
  if (r == 0)
    r = block_flush (layer->block, err);
  if (r < 0)
    return err_in (err, "writing the footer at the end");
  report_warn (report, "%s: the power seems to have failed while the file "
               "grew; the footer that was missing at offset %" PRIu64
               " was written there from the copy", block_name (layer->block),
               end);
  layer->footers.end = layer->bat.file_end = end;
  layer->footers.from_copy = false;
  return 0;
}
