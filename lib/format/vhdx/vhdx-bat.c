/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The block allocation table: for each block of the disk its state, and where
 * in the file it begins.  Behind the entries of each chunk of blocks comes
 * one for the bitmap block of the chunk.  Disks without a parent have these
 * entries too, and nothing sensible in them: they are not looked at.
 *
 * Up to 16 MiB of the table are read in one go and every entry is checked
 * before a byte is served: that its state is one that the disk can have,
 * that the block is inside the file, that it lies over no region, and that
 * no two blocks overlap.  A larger table (blocks of less than 32 MiB on a
 * disk of 64 TiB) stays in the file and each entry is checked, except for
 * overlaps between blocks, when it is looked up.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/sort.h"
#include "lib/format/vhdx/vhdx.h"

/* So that a place in the file, in units, and a bit fit into 32 bits.  The
 * largest disk with all that belongs to it takes a thirtieth.
 */
#define MAX_FILE_SIZE (VHDX_UNIT << 31)

static uint64_t
index_of_block (const struct vhdx_bat *bat, uint64_t block)
{
  return block + block / bat->chunk_ratio;
}

static uint64_t
index_of_bitmap (const struct vhdx_bat *bat, uint64_t chunk)
{
  return chunk * (bat->chunk_ratio + UINT64_C (1)) + bat->chunk_ratio;
}

static bool
is_bitmap (const struct vhdx_bat *bat, uint64_t index)
{
  return index % (bat->chunk_ratio + UINT64_C (1)) == bat->chunk_ratio;
}

/* The block of an entry that is not a bitmap's. */
static uint64_t
block_of_index (const struct vhdx_bat *bat, uint64_t index)
{
  return index - index / (bat->chunk_ratio + UINT64_C (1));
}

static bool
is_in_file (unsigned state)
{
  return state == VHDX_PRESENT || state == VHDX_PARTIALLY_PRESENT;
}

/*--- One entry --------------------------------------------------------------*/

static int
bad_state (const struct vhdx_layer *layer, uint64_t index, uint64_t entry,
           struct err *err)
{
  return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                  ") has the state %u, which %s can't have", index,
                  layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE,
                  VHDX_BAT_STATE (entry),
                  is_bitmap (&layer->bat, index) ? "a bitmap block"
                  : layer->metadata.has_parent ? "a block"
                  : "a block of a disk without a parent");
}

/* Its len bytes from off on must be there and nothing else's. */
static int
check_place (const struct vhdx_layer *layer, uint64_t index, uint64_t off,
             uint64_t len, struct err *err)
{
  uint64_t at = layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE;
  const struct vhdx_region *region;
  char name[64];

  if (off < VHDX_UNIT)
    return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                    ") is offset %" PRIu64 ": the block would lie over the "
                    "headers", index, at, off);
  if (!range_fits (off, len, block_size (layer->file)))
    return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                    ") is offset %" PRIu64 ": the block would end after "
                    "offset %" PRIu64 ", where the file ends", index, at, off,
                    block_size (layer->file));
  region = vhdx_regions_touched (&layer->regions, off, len);
  if (region)
    return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                    ") is offset %" PRIu64 ": the block would overlap %s at "
                    "offset %" PRIu64, index, at, off,
                    vhdx_region_name (region, name), region->off);
  return 0;
}

static int
check_bitmap (const struct vhdx_layer *layer, uint64_t index, uint64_t entry,
              struct err *err)
{
  unsigned state = VHDX_BAT_STATE (entry);

  if (!layer->metadata.has_parent || state == VHDX_NOT_PRESENT)
    return 0;
  if (state != VHDX_PRESENT)
    return bad_state (layer, index, entry, err);
  return check_place (layer, index, VHDX_BAT_OFFSET (entry), VHDX_BITMAP_SIZE,
                      err);
}

/* The last block may be cut off where the disk ends. */
static int
check_block (const struct vhdx_layer *layer, uint64_t index, uint64_t entry,
             struct err *err)
{
  const struct vhdx_metadata *m = &layer->metadata;
  uint64_t off = block_of_index (&layer->bat, index) * m->block_size;

  switch (VHDX_BAT_STATE (entry)) {
  case VHDX_NOT_PRESENT:
  case VHDX_UNDEFINED:
  case VHDX_ZERO:
  case VHDX_UNMAPPED:
    return 0;
  case VHDX_PRESENT:
    break;
  case VHDX_PARTIALLY_PRESENT:
    if (m->has_parent)
      break;
    return bad_state (layer, index, entry, err);
  default:
    return bad_state (layer, index, entry, err);
  }
  /* A differencing disk has entries for the rest of its last chunk. */
  return check_place (layer, index, VHDX_BAT_OFFSET (entry),
                      off < m->size ? min_u64 (m->block_size, m->size - off)
                      : m->block_size, err);
}

/* Whichever entry this is, there is nothing to check.  Most of a large disk
 * are such, and to find out which of them are bitmaps' takes a division each.
 */
static bool
is_simply_absent (const struct vhdx_layer *layer, uint64_t entry)
{
  switch (VHDX_BAT_STATE (entry)) {
  case VHDX_NOT_PRESENT:
    return true;
  case VHDX_UNDEFINED:
  case VHDX_ZERO:
  case VHDX_UNMAPPED:
    return !layer->metadata.has_parent;
  default:
    return false;
  }
}

static int
check_entry (const struct vhdx_layer *layer, uint64_t index, uint64_t entry,
             struct err *err)
{
  return is_bitmap (&layer->bat, index)
    ? check_bitmap (layer, index, entry, err)
    : check_block (layer, index, entry, err);
}

static int
no_bitmap (const struct vhdx_layer *layer, uint64_t chunk, struct err *err)
{
  uint64_t index = index_of_bitmap (&layer->bat, chunk);

  return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                  ") has no bitmap block, but a block of its chunk is "
                  "partially present", index,
                  layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE);
}

/*--- Overlaps between blocks ------------------------------------------------*/

/* Where a block begins, in units, and whether it is a bitmap block: in the
 * order of places.  0 for what is not in the file.
 */
static uint32_t
key_of (const struct vhdx_layer *layer, uint64_t index)
{
  uint64_t entry = layer->bat.entries[index];
  bool bitmap;

  if (!is_in_file (VHDX_BAT_STATE (entry)))
    return 0;
  bitmap = is_bitmap (&layer->bat, index);
  if (bitmap && !layer->metadata.has_parent)
    return 0;
  return (uint32_t) (VHDX_BAT_OFFSET (entry) / VHDX_UNIT) << 1 | bitmap;
}

/* Where it ends, in units. */
static uint64_t
end_of_key (const struct vhdx_layer *layer, uint32_t key)
{
  return (key >> 1) + (key & 1 ? VHDX_BITMAP_SIZE / VHDX_UNIT
                       : layer->metadata.block_size / VHDX_UNIT);
}

static uint64_t
find_key (const struct vhdx_layer *layer, uint64_t from, uint32_t key)
{
  while (from < layer->bat.nr_entries && key_of (layer, from) != key)
    from++;
  return from;
}

static int
overlap (const struct vhdx_layer *layer, uint32_t a, uint32_t b,
         struct err *err)
{
  uint64_t i = find_key (layer, 0, a);
  uint64_t j = find_key (layer, a == b ? i + 1 : 0, b);

  return err_set (err, -EBADMSG, "BAT entries %" PRIu64 " (offset %" PRIu64
                  ") and %" PRIu64 " (offset %" PRIu64 ") overlap: the first "
                  "block takes %" PRIu64 " bytes", i, (a >> 1) * VHDX_UNIT, j,
                  (b >> 1) * VHDX_UNIT,
                  (end_of_key (layer, a) - (a >> 1)) * VHDX_UNIT);
}

/* Most images were filled front to back, or have few blocks out of order:
 * when each block comes after the one before there is nothing to sort.
 */
static bool
is_in_order (const struct vhdx_layer *layer, size_t *nr)
{
  uint64_t next = 0;
  bool in_order = true;

  *nr = 0;
  for (uint64_t i = 0; i < layer->bat.nr_entries; ++i) {
    uint32_t key;

    if (!is_in_file (VHDX_BAT_STATE (layer->bat.entries[i])))
      continue;
    key = key_of (layer, i);
    if (key == 0)
      continue;
    (*nr)++;
    in_order = in_order && key >> 1 >= next;
    next = end_of_key (layer, key);
  }
  return in_order;
}

static int
check_overlaps (const struct vhdx_layer *layer, struct err *err)
{
  CLEANUP_FREE uint32_t *keys = NULL;
  size_t nr, n = 0;

  if (is_in_order (layer, &nr))
    return 0;
  keys = malloc (2 * nr * sizeof *keys);
  if (keys == NULL)
    return err_nomem (err);
  for (uint64_t i = 0; i < layer->bat.nr_entries; ++i) {
    uint32_t key = key_of (layer, i);

    if (key != 0)
      keys[n++] = key;
  }
  if (sort_u32 (keys, keys + nr, nr) < 0)
    return err_nomem (err);
  for (size_t i = 1; i < nr; ++i)
    if (end_of_key (layer, keys[i - 1]) > keys[i] >> 1)
      return overlap (layer, keys[i - 1], keys[i], err);
  return 0;
}

/*--- Opening ----------------------------------------------------------------*/

static int
check_entries (struct vhdx_layer *layer, struct err *err)
{
  const struct vhdx_bat *bat = &layer->bat;
  int r = 0;

  for (uint64_t i = 0; r == 0 && i < bat->nr_entries; ++i) {
    uint64_t entry = bat->entries[i];

    if (is_simply_absent (layer, entry))
      continue;
    r = check_entry (layer, i, entry, err);
    if (r == 0 && !is_bitmap (bat, i) &&
        VHDX_BAT_STATE (entry) == VHDX_PARTIALLY_PRESENT) {
      uint64_t chunk = block_of_index (bat, i) / bat->chunk_ratio;
      uint64_t bitmap = bat->entries[index_of_bitmap (bat, chunk)];

      if (VHDX_BAT_STATE (bitmap) == VHDX_NOT_PRESENT)
        r = no_bitmap (layer, chunk, err);
    }
  }
  return r < 0 ? r : check_overlaps (layer, err);
}

static int
read_entries (struct vhdx_layer *layer, struct err *err)
{
  struct vhdx_bat *bat = &layer->bat;
  size_t len = (size_t) bat->nr_entries * VHDX_BAT_ENTRY_SIZE;
  int r;

  bat->entries = malloc (len > 0 ? len : 1);
  if (bat->entries == NULL)
    return err_nomem (err);
  r = block_pread (layer->file, bat->entries, len, layer->regions.bat.off,
                   err);
  if (r < 0)
    return r;
  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    bat->entries[i] = get_le64 (&bat->entries[i]);
  return check_entries (layer, err);
}

/* A disk with a parent has bitmap blocks for all its chunks, the last one
 * too; others have none, but the entries between the chunks.
 */
static uint64_t
count_entries (const struct vhdx_bat *bat, bool has_parent)
{
  uint64_t ratio = bat->chunk_ratio;

  if (bat->nr_blocks == 0)
    return 0;
  return has_parent ? div_round_up (bat->nr_blocks, ratio) * (ratio + 1)
                    : bat->nr_blocks + (bat->nr_blocks - 1) / ratio;
}

int
vhdx_bat_open (struct vhdx_layer *layer, struct err *err)
{
  const struct vhdx_metadata *m = &layer->metadata;
  const struct vhdx_region *region = &layer->regions.bat;
  struct vhdx_bat *bat = &layer->bat;

  bat->chunk_ratio = (uint32_t) (VHDX_CHUNK_SECTORS * m->logical /
                                 m->block_size);
  bat->nr_blocks = div_round_up (m->size, m->block_size);
  bat->nr_entries = count_entries (bat, m->has_parent);
  if (bat->nr_entries > region->len / VHDX_BAT_ENTRY_SIZE)
    return err_set (err, -EBADMSG, "the BAT at offset %" PRIu64 " has %" PRIu64
                    " bytes, but the disk of %" PRIu64 " bytes needs %" PRIu64
                    " entries", region->off, region->len, m->size,
                    bat->nr_entries);
  if (block_size (layer->file) > MAX_FILE_SIZE)
    return err_set (err, -ENOTSUP, "the file has %" PRIu64 " bytes, expected "
                    "2 PiB at most", block_size (layer->file));
  return bat->nr_entries <= VHDX_BAT_MAX_HELD ? read_entries (layer, err)
                                              : 0;
}

void
vhdx_bat_close (struct vhdx_bat *bat)
{
  free (bat->entries);
  bat->entries = NULL;
}

/*--- Lookup -----------------------------------------------------------------*/

/* A valid one. */
static int
get_entry (struct vhdx_layer *layer, uint64_t index, uint64_t *entry,
           struct err *err)
{
  uint64_t off = layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE, found;
  uint8_t bytes[SECTOR_CACHE_UNIT];
  int r;

  if (layer->bat.entries) {
    *entry = layer->bat.entries[index];
    return 0;
  }
  r = sector_cache_read (layer->cache, layer->file, layer->number,
                         off / SECTOR_CACHE_UNIT, bytes, err);
  if (r < 0)
    return r;
  found = get_le64 (bytes + off % SECTOR_CACHE_UNIT);
  r = check_entry (layer, index, found, err);
  if (r == 0)
    *entry = found;
  return r;
}

int
vhdx_bat_lookup (struct vhdx_layer *layer, uint64_t block,
                 enum vhdx_state *state, uint64_t *off, struct err *err)
{
  uint64_t entry;
  int r = get_entry (layer, index_of_block (&layer->bat, block), &entry, err);

  if (r < 0)
    return r;
  *state = (enum vhdx_state) VHDX_BAT_STATE (entry);
  *off = VHDX_BAT_OFFSET (entry);
  return 0;
}

int
vhdx_bat_lookup_bitmap (struct vhdx_layer *layer, uint64_t chunk,
                        uint64_t *off, struct err *err)
{
  uint64_t entry;
  int r = get_entry (layer, index_of_bitmap (&layer->bat, chunk), &entry,
                     err);

  if (r < 0)
    return r;
  if (VHDX_BAT_STATE (entry) != VHDX_PRESENT)
    return no_bitmap (layer, chunk, err);
  *off = VHDX_BAT_OFFSET (entry);
  return 0;
}

/* Is it what the run is made of?  Of a disk without a parent the states that
 * are not in the file are all the same.
 */
static bool
continues_run (const struct vhdx_layer *layer, uint64_t entry, bool parents)
{
  unsigned state = VHDX_BAT_STATE (entry);

  return state <= VHDX_UNMAPPED &&
    (!layer->metadata.has_parent || (state == VHDX_NOT_PRESENT) == parents);
}

/* A table in the file is read a good piece at a time: this is how the extents
 * of a whole disk are found.
 */
static int
run_in_file (struct vhdx_layer *layer, uint64_t block, uint64_t max,
             bool parents, uint64_t *nr, struct err *err)
{
  const struct vhdx_bat *bat = &layer->bat;
  uint64_t index = index_of_block (bat, block);
  uint64_t end = index_of_block (bat, block + max - 1) + 1;
  uint8_t bytes[2048 * VHDX_BAT_ENTRY_SIZE];
  int r;

  while (index < end) {
    size_t n = (size_t) min_u64 (2048, end - index);

    r = block_pread (layer->file, bytes, n * VHDX_BAT_ENTRY_SIZE,
                     layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE,
                     err);
    if (r < 0)
      return r;
    for (size_t i = 0; i < n; ++i, ++index)
      if (!is_bitmap (bat, index) &&
          !continues_run (layer, get_le64 (bytes + i * VHDX_BAT_ENTRY_SIZE),
                          parents)) {
        *nr = block_of_index (bat, index) - block;
        return 0;
      }
  }
  *nr = max;
  return 0;
}

int
vhdx_bat_absent_run (struct vhdx_layer *layer, uint64_t block, uint64_t max,
                     bool parents, uint64_t *nr, struct err *err)
{
  const struct vhdx_bat *bat = &layer->bat;
  uint64_t n = 1;
  int r;

  if (bat->entries == NULL) {
    r = run_in_file (layer, block, max, parents, nr, err);
    /* It is absent, whatever a file that changes meanwhile says now. */
    if (r == 0)
      *nr = max_u64 (*nr, 1);
    return r;
  }
  while (n < max &&
         continues_run (layer, bat->entries[index_of_block (bat, block + n)],
                        parents))
    n++;
  *nr = n;
  return 0;
}
