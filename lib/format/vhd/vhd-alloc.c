/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One block of a disk becomes present or absent.
 *
 * The thread that changes a block's BAT entry, or its bitmap, has made the
 * block busy, and others that want to wait for it.  Reading, and writing into
 * blocks that are there, do not.
 *
 * A block becomes present:
 *
 *   1. A ready place is taken: vhd-space.c.
 *   2. The BAT entry is written, then set in memory.
 *
 * The place is zero, or all of it is the parents': the block is what it was,
 * and is written as any other from then on, by many at once.  A crash before
 * 2: it is absent.  After 2: it is present, and of the data what got to the
 * disk, the rest being what it was.
 *
 * A block becomes absent: its BAT entry is written, then set in memory, and
 * the place released.  A crash: the block is there with all its data, or it
 * is absent.  Of a differencing disk the parents have nothing there, so that
 * absent means zero here too.
 *
 * What follows is for dynamic disks.
 *
 * Blocks that others wrote may have bits that are 0, where the sectors of a
 * dynamic disk are zero, whatever the file has there.  Before such sectors
 * are written, that is made true, and then all bits 1: zeros, fdatasync,
 * bitmap.  A crash before the end of that: the bits are as they were.
 *
 * So the bitmap of a block never gets a 0, as long as the image is open; what
 * is remembered of full bitmaps stays true, and comes before the cache of
 * sectors, which may still have the old ones.  That is why only a block
 * whose bitmap is full becomes absent: it will have a full one again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhd/vhd-edit.h"
#include "lib/format/vhd/vhd-write.h"

/* A power cut while the file grew leaves zeros where the footer at its end
 * belongs, and all else whole: vhd_space_mend_end.
 */
static bool
lacks_only_its_end (const struct vhd_layer *layer)
{
  return layer->footers.end_is_zeros &&
    vhd_place_end_of_data (&layer->bat) + VHD_FOOTER_SIZE <=
    layer->footers.end;
}

const char *
vhd_writer_reason (const struct vhd_layer *layer)
{
  const struct vhd_footers *f = &layer->footers;

  if (layer->header.bad_checksum)
    return "the checksum of its dynamic header is wrong";
  if (f->copy_gone)
    return "the copy of its VHD footer at offset 0 is missing; nbdimage repair "
      "writes it again";
  if (f->copy_differs && !f->copy_behind)
    return "the copy of its VHD footer at offset 0 is not the same as the "
      "footer at its end";
  if (f->end % VHD_SECTOR_SIZE != 0)
    return "its VHD footer does not begin at a whole sector";
  if (f->footer.saved_state)
    return "it belongs to the saved state of a virtual machine";
  if (layer->batmap.present)
    return "it has a batmap of XenServer, which we do not keep up to date";
  if (layer->bat.entries == NULL || layer->bat.full == NULL)
    return "its BAT is too large to be held in memory";
  if (f->from_copy && !lacks_only_its_end (layer))
    return "its VHD footer is damaged or missing, only the copy is whole";
  if (layer->bat.table_offset % VHD_BAT_ENTRY_SIZE != 0)
    return "its BAT does not begin at a multiple of 4 bytes";
  if (!block_can_resize (layer->block))
    return "it would have to grow when it is written, and only a regular "
      "file can";
  return NULL;
}

int
vhd_writer_new (struct vhd_layer *layer, struct vhd_writer **out,
                struct report *report, struct err *err)
{
  CLEANUP_FREE struct vhd_writer *w = calloc (1, sizeof *w);
  int r;

  if (w == NULL)
    return err_nomem (err);
  w->layer = layer;
  r = vhd_space_new (layer, &w->space, report, err);
  if (r == 0 && layer->footers.footer.type == VHD_DIFFERENCING)
    r = vhd_pending_new (layer, w->space, &w->pending, report, err);
  if (r < 0) {
    vhd_space_free (w->space);
    return r;
  }
  busy_list_init (&w->busy);
  *out = steal_ptr (&w);
  return 0;
}

void
vhd_writer_free (struct vhd_writer *w)
{
  if (w == NULL)
    return;
  vhd_pending_free (w->pending);
  vhd_space_free (w->space);
  busy_list_destroy (&w->busy);
  free (w);
}

int
vhd_writer_flush (struct vhd_writer *w, struct err *err)
{
  int r = w->pending ? vhd_pending_flush (w->pending, err)
    : vhd_space_flush (w->space, err);

  return r < 0 ? r : vhd_space_tidy (w->space, err);
}

/*--- One entry --------------------------------------------------------------*/

static uint32_t
held_entry (const struct vhd_writer *w, uint64_t index)
{
  return __atomic_load_n (&w->layer->bat.entries[index], __ATOMIC_ACQUIRE);
}

static void
set_held_entry (struct vhd_writer *w, uint64_t index, uint32_t sector)
{
  __atomic_store_n (&w->layer->bat.entries[index], sector, __ATOMIC_RELEASE);
}

/* It never crosses a sector, because the table is aligned. */
static int
write_entry (struct vhd_writer *w, uint64_t index, uint32_t sector,
             struct err *err)
{
  uint8_t bytes[VHD_BAT_ENTRY_SIZE];
  int r;

  put_be32 (bytes, sector);
  r = block_pwrite (w->layer->block, bytes, sizeof bytes,
                    w->layer->bat.table_offset + index * VHD_BAT_ENTRY_SIZE,
                    0, err);
  return r < 0 ? err_in (err, "writing BAT entry %" PRIu64, index) : 0;
}

/*--- Present ----------------------------------------------------------------*/

/* After a failure the place is taken care of. */
static int
publish (struct vhd_writer *w, uint64_t index, uint32_t sector,
         struct err *err)
{
  int r = write_entry (w, index, sector, err);

  if (r < 0) {
    /* It may be in the file all the same, and zeroes of a block that is
     * absent write nothing.
     */
    if (write_entry (w, index, VHD_BAT_ABSENT, NULL) < 0)
      __atomic_store_n (&w->broken, true, __ATOMIC_RELEASE);
    vhd_space_lose (w->space, sector);
    return r;
  }
  if (w->pending)
    vhd_bitmap_forget_full (&w->layer->bat, index);
  else
    vhd_bitmap_set_full (&w->layer->bat, index);
  set_held_entry (w, index, sector);
  vhd_space_settle (w->space, sector);
  return 0;
}

static int
add_block (struct vhd_writer *w, uint64_t index, struct err *err)
{
  uint32_t sector;
  int r = vhd_space_take (w->space, &sector, err);

  return r < 0 ? r : publish (w, index, sector, err);
}

int
vhd_block_add (struct vhd_writer *w, uint64_t index, struct err *err)
{
  struct err why = ERR_INIT;
  struct busy busy;
  int r = 0;

  busy_begin (&w->busy, index, &busy);
  if (held_entry (w, index) == VHD_BAT_HELD_ABSENT)
    r = add_block (w, index, &why);
  busy_end (&w->busy, &busy);
  return r < 0 ? err_set (err, r, "%s", why.msg) : r;
}

/*--- Absent -----------------------------------------------------------------*/

/* Does the block have all of its space to itself?  The last one of a disk
 * may be cut off where the disk ends, with other things behind it.
 */
static bool
is_whole (const struct vhd_bat *bat, uint64_t index)
{
  return (index + 1) * bat->block_size <= bat->disk_end;
}

/* Is every bit 1?  What is read is remembered. */
static int
see_bitmap (struct vhd_writer *w, uint64_t index, uint32_t sector, bool *full,
            struct err *err)
{
  unsigned nr = w->layer->bat.block_size / VHD_SECTOR_SIZE, n;
  int r = 0;

  *full = true;
  for (unsigned i = 0; r == 0 && *full && i < nr; i += n)
    r = vhd_bitmap_run (w->layer, index, sector, i, nr - i, &n, full, err);
  *full = *full && r == 0 && vhd_bitmap_is_full (&w->layer->bat, index);
  return r;
}

static int
remove_block (struct vhd_writer *w, uint64_t index, bool *done,
              struct err *err)
{
  uint32_t sector = held_entry (w, index);
  bool full = true;
  int r = 0;

  if (sector == VHD_BAT_HELD_ABSENT) {
    *done = true;
    return 0;
  }
  if (w->pending == NULL)
    r = see_bitmap (w, index, sector, &full, err);
  if (r < 0 || !full || !is_whole (&w->layer->bat, index))
    return r;
  r = vhd_space_hold (w->space, sector, err);
  if (r < 0)
    return r;
  r = write_entry (w, index, VHD_BAT_ABSENT, err);
  if (r < 0) {
    __atomic_store_n (&w->broken, true, __ATOMIC_RELEASE);
    return r;
  }
  set_held_entry (w, index, VHD_BAT_HELD_ABSENT);
  if (w->pending)
    pending_forget (w->layer->pending, index);
  vhd_space_release (w->space, sector);
  *done = true;
  return 0;
}

int
vhd_block_remove (struct vhd_writer *w, uint64_t index, bool *done,
                  struct err *err)
{
  struct busy busy;
  int r;

  *done = false;
  busy_begin (&w->busy, index, &busy);
  r = remove_block (w, index, done, err);
  busy_end (&w->busy, &busy);
  return r;
}

/*--- Bitmap -----------------------------------------------------------------*/

/* Bytes of the block that the disk has. */
static uint32_t
size_of_block (const struct vhd_bat *bat, uint64_t index)
{
  return (uint32_t) min_u64 (bat->block_size,
                             bat->disk_end - index * bat->block_size);
}

/* Zeros where bits are 0; *nr is how many such sectors there were. */
static int
zero_where_clear (struct vhd_writer *w, uint64_t index, uint32_t sector,
                  uint64_t *nr, struct err *err)
{
  const struct vhd_bat *bat = &w->layer->bat;
  unsigned end = size_of_block (bat, index) / VHD_SECTOR_SIZE, n;
  uint64_t data = (uint64_t) sector * VHD_SECTOR_SIZE + bat->bitmap_size;
  bool here;
  int r = 0;

  for (unsigned i = 0; r == 0 && i < end; i += n) {
    r = vhd_bitmap_run (w->layer, index, sector, i, end - i, &n, &here, err);
    if (r < 0 || here)
      continue;
    *nr += n;
    r = block_zero (w->layer->block, (uint64_t) n * VHD_SECTOR_SIZE,
                    data + (uint64_t) i * VHD_SECTOR_SIZE, 0, err);
  }
  return r;
}

static int
write_ones (struct vhd_writer *w, uint32_t sector, struct err *err)
{
  uint64_t off = (uint64_t) sector * VHD_SECTOR_SIZE;
  uint8_t ones[VHD_SECTOR_SIZE];
  int r = 0;

  memset (ones, 0xFF, sizeof ones);
  for (uint32_t i = 0; r == 0 && i < w->layer->bat.bitmap_size;
       i += sizeof ones)
    r = block_pwrite (w->layer->block, ones, sizeof ones, off + i, 0, err);
  return r;
}

static int
fill_bitmap (struct vhd_writer *w, uint64_t index, struct err *err)
{
  uint32_t sector = held_entry (w, index);
  uint64_t nr_clear = 0;
  int r;

  if (sector == VHD_BAT_HELD_ABSENT ||
      vhd_bitmap_is_full (&w->layer->bat, index))
    return 0;
  r = zero_where_clear (w, index, sector, &nr_clear, err);
  if (r == 0 && nr_clear > 0)
    r = vhd_space_flush (w->space, err);
  if (r == 0)
    r = write_ones (w, sector, err);
  if (r == 0)
    vhd_bitmap_set_full (&w->layer->bat, index);
  return r;
}

int
vhd_block_fill_bitmap (struct vhd_writer *w, uint64_t index, struct err *err)
{
  struct err why = ERR_INIT;
  struct busy busy;
  int r;

  busy_begin (&w->busy, index, &busy);
  r = fill_bitmap (w, index, &why);
  busy_end (&w->busy, &busy);
  return r < 0 ? err_set (err, r, "%s", why.msg) : r;
}
