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
 *
 * Of an image that is written every table is held and checked.  It takes
 * memory only where there are blocks: 8 bytes for each, at the least 1 MiB
 * of the file.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx.h"

/* The largest disk with all that belongs to it takes half of this.  A bit for
 * each unit takes 16 MiB.
 */
#define MAX_FILE_SIZE (UINT64_C (128) << 40)

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

bool
vhdx_bat_is_bitmap (const struct vhdx_bat *bat, uint64_t index)
{
  return index % (bat->chunk_ratio + UINT64_C (1)) == bat->chunk_ratio;
}

uint64_t
vhdx_bat_block_of (const struct vhdx_bat *bat, uint64_t index)
{
  return index - index / (bat->chunk_ratio + UINT64_C (1));
}

/* Of a table that is held. */
static uint64_t
held_entry (const struct vhdx_bat *bat, uint64_t index)
{
  return __atomic_load_n (&bat->entries[index], __ATOMIC_ACQUIRE);
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
                  vhdx_bat_is_bitmap (&layer->bat, index) ? "a bitmap block"
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
  uint64_t off = vhdx_bat_block_of (&layer->bat, index) * m->block_size;

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

int
vhdx_bat_check_entry (const struct vhdx_layer *layer, uint64_t index,
                      uint64_t entry, struct err *err)
{
  return vhdx_bat_is_bitmap (&layer->bat, index)
    ? check_bitmap (layer, index, entry, err)
    : check_block (layer, index, entry, err);
}

int
vhdx_bat_no_bitmap (const struct vhdx_layer *layer, uint64_t chunk,
                    struct err *err)
{
  uint64_t index = index_of_bitmap (&layer->bat, chunk);

  return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                  ") has no bitmap block, but a block of its chunk is "
                  "partially present", index,
                  layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE);
}

/*--- Overlaps between blocks ------------------------------------------------*/

#define BITS 64                 /* in a word */

/* A bit for each unit of the file that belongs to a block. */
struct claims {
  uint64_t *words;
};

/* False if one of the units belonged to another block before. */
static bool
claim (struct claims *c, uint64_t unit, uint64_t nr)
{
  while (nr > 0) {
    uint64_t n = min_u64 (nr, BITS - unit % BITS);
    uint64_t mask = (UINT64_MAX >> (BITS - n)) << unit % BITS;

    if (c->words[unit / BITS] & mask)
      return false;
    c->words[unit / BITS] |= mask;
    unit += n;
    nr -= n;
  }
  return true;
}

/* Bytes that the block of an entry takes in the file; 0: none. */
static uint64_t
space_of (const struct vhdx_layer *layer, uint64_t index)
{
  if (!is_in_file (VHDX_BAT_STATE (layer->bat.entries[index])))
    return 0;
  if (!vhdx_bat_is_bitmap (&layer->bat, index))
    return layer->metadata.block_size;
  return layer->metadata.has_parent ? VHDX_BITMAP_SIZE : 0;
}

static int
overlap (const struct vhdx_layer *layer, uint64_t index, struct err *err)
{
  const uint64_t *entries = layer->bat.entries;
  uint64_t off = VHDX_BAT_OFFSET (entries[index]);
  uint64_t len = space_of (layer, index), i;

  for (i = 0; i < index; ++i)
    if (VHDX_BAT_OFFSET (entries[i]) < off + len &&
        off < VHDX_BAT_OFFSET (entries[i]) + space_of (layer, i))
      break;
  return err_set (err, -EBADMSG, "BAT entries %" PRIu64 " (offset %" PRIu64
                  ") and %" PRIu64 " (offset %" PRIu64 ") overlap: the first "
                  "block takes %" PRIu64 " bytes", i,
                  VHDX_BAT_OFFSET (entries[i]), index, off,
                  space_of (layer, i));
}

static int
claim_entry (const struct vhdx_layer *layer, uint64_t index,
             struct claims *claims, struct err *err)
{
  uint64_t off = VHDX_BAT_OFFSET (layer->bat.entries[index]);

  return claim (claims, off / VHDX_UNIT, space_of (layer, index) / VHDX_UNIT)
    ? 0 : overlap (layer, index, err);
}

/*--- Opening ----------------------------------------------------------------*/

static int
check_chunk (const struct vhdx_layer *layer, uint64_t first,
             struct claims *claims, struct err *err)
{
  const struct vhdx_bat *bat = &layer->bat;
  uint64_t bitmap = first + bat->chunk_ratio;
  uint64_t end = min_u64 (bitmap, bat->nr_entries);
  bool is_partial = false;
  int r = 0;

  for (uint64_t i = first; r == 0 && i < end; ++i) {
    unsigned state = VHDX_BAT_STATE (bat->entries[i]);

    if (state <= VHDX_UNMAPPED)
      continue;
    is_partial = is_partial || state == VHDX_PARTIALLY_PRESENT;
    r = check_block (layer, i, bat->entries[i], err);
    if (r == 0)
      r = claim_entry (layer, i, claims, err);
  }
  if (r < 0 || !layer->metadata.has_parent)
    return r;
  if (VHDX_BAT_STATE (bat->entries[bitmap]) == VHDX_NOT_PRESENT)
    return !is_partial ? 0
      : vhdx_bat_no_bitmap (layer, first / (bat->chunk_ratio + UINT64_C (1)),
                            err);
  r = check_bitmap (layer, bitmap, bat->entries[bitmap], err);
  return r < 0 ? r : claim_entry (layer, bitmap, claims, err);
}

/* The last block may begin in the file and end behind it. */
static int
check_entries (const struct vhdx_layer *layer, struct err *err)
{
  const struct vhdx_bat *bat = &layer->bat;
  uint64_t nr_units = (block_size (layer->file) +
                       layer->metadata.block_size) / VHDX_UNIT + 1;
  CLEANUP_FREE uint64_t *words =
    calloc (div_round_up (nr_units, BITS), sizeof *words);
  struct claims claims = { words };
  int r = 0;

  if (words == NULL)
    return err_nomem (err);
  for (uint64_t i = 0; r == 0 && i < bat->nr_entries;
       i += bat->chunk_ratio + UINT64_C (1))
    r = check_chunk (layer, i, &claims, err);
  return r;
}

#define READ_SIZE (64 * 1024)

static bool
is_zero (const uint8_t *bytes, size_t len)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, len - 1) == 0;
}

/* What is zero is left alone: memory that calloc gave, and nobody wrote to,
 * takes none.
 */
static int
read_entries (struct vhdx_layer *layer, struct err *err)
{
  struct vhdx_bat *bat = &layer->bat;
  uint64_t len = bat->nr_entries * VHDX_BAT_ENTRY_SIZE, off = 0;
  CLEANUP_FREE uint8_t *bytes = malloc (READ_SIZE);

  bat->entries = calloc (max_u64 (bat->nr_entries, 1), VHDX_BAT_ENTRY_SIZE);
  if (bat->entries == NULL || bytes == NULL)
    return err_nomem (err);
  while (off < len) {
    size_t n = (size_t) min_u64 (READ_SIZE, len - off);
    int r = block_pread (layer->file, bytes, n, layer->regions.bat.off + off,
                         err);

    if (r < 0)
      return r;
    for (size_t i = 0; !is_zero (bytes, n) && i < n; i += VHDX_BAT_ENTRY_SIZE)
      bat->entries[(off + i) / VHDX_BAT_ENTRY_SIZE] = get_le64 (bytes + i);
    off += n;
  }
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

void
vhdx_bat_measure (const struct vhdx_metadata *m, struct vhdx_bat *bat)
{
  bat->chunk_ratio = (uint32_t) (VHDX_CHUNK_SECTORS * m->logical /
                                 m->block_size);
  bat->nr_blocks = div_round_up (m->size, m->block_size);
  bat->nr_entries = count_entries (bat, m->has_parent);
}

int
vhdx_bat_describe (struct vhdx_layer *layer, struct err *err)
{
  const struct vhdx_metadata *m = &layer->metadata;
  const struct vhdx_region *region = &layer->regions.bat;
  struct vhdx_bat *bat = &layer->bat;

  vhdx_bat_measure (m, bat);
  if (bat->nr_entries > region->len / VHDX_BAT_ENTRY_SIZE)
    return err_set (err, -EBADMSG, "the BAT at offset %" PRIu64 " has %" PRIu64
                    " bytes, but the disk of %" PRIu64 " bytes needs %" PRIu64
                    " entries", region->off, region->len, m->size,
                    bat->nr_entries);
  if (block_size (layer->file) > MAX_FILE_SIZE)
    return err_set (err, -ENOTSUP, "the file has %" PRIu64 " bytes, expected "
                    "128 TiB at most", block_size (layer->file));
  return 0;
}

int
vhdx_bat_open (struct vhdx_layer *layer, struct err *err)
{
  int r = vhdx_bat_describe (layer, err);

  if (r < 0 ||
      (layer->bat.nr_entries > VHDX_BAT_MAX_HELD && !layer->is_written))
    return r;
  return read_entries (layer, err);
}

void
vhdx_bat_close (struct vhdx_bat *bat)
{
  free (bat->entries);
  bat->entries = NULL;
}

/*--- Lookup -----------------------------------------------------------------*/

uint64_t
vhdx_bat_place_of (const struct vhdx_layer *layer, uint64_t block)
{
  return layer->regions.bat.off +
    index_of_block (&layer->bat, block) * VHDX_BAT_ENTRY_SIZE;
}

void
vhdx_bat_set (struct vhdx_layer *layer, uint64_t block, uint64_t entry)
{
  __atomic_store_n (&layer->bat.entries[index_of_block (&layer->bat, block)],
                    entry, __ATOMIC_RELEASE);
}

uint64_t
vhdx_bat_place_of_bitmap (const struct vhdx_layer *layer, uint64_t chunk)
{
  return layer->regions.bat.off +
    index_of_bitmap (&layer->bat, chunk) * VHDX_BAT_ENTRY_SIZE;
}

void
vhdx_bat_set_bitmap (struct vhdx_layer *layer, uint64_t chunk, uint64_t entry)
{
  __atomic_store_n (&layer->bat.entries[index_of_bitmap (&layer->bat, chunk)],
                    entry, __ATOMIC_RELEASE);
}

bool
vhdx_bat_has_bitmap (const struct vhdx_layer *layer, uint64_t chunk)
{
  return VHDX_BAT_STATE (held_entry (&layer->bat,
                                     index_of_bitmap (&layer->bat, chunk))) ==
    VHDX_PRESENT;
}

/* Whatever its state: the place may be kept for it. */
static uint64_t
end_of_entry (const struct vhdx_layer *layer, uint64_t index, uint64_t entry)
{
  if (!vhdx_bat_is_bitmap (&layer->bat, index))
    return VHDX_BAT_OFFSET (entry) + layer->metadata.block_size;
  return layer->metadata.has_parent
    ? VHDX_BAT_OFFSET (entry) + VHDX_BITMAP_SIZE : 0;
}

/* Blocks that are absent and name a place that is not in the file, or could
 * not be, have none.  Most entries of a large table are 0.
 */
static uint64_t
end_of_blocks (const struct vhdx_layer *layer)
{
  const struct vhdx_bat *bat = &layer->bat;
  uint64_t size = block_size (layer->block), end = 0;

  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    uint64_t entry = held_entry (bat, i), e;

    if (entry == 0)
      continue;
    e = end_of_entry (layer, i, entry);
    if (e > end && (is_in_file (VHDX_BAT_STATE (entry)) ||
                    (VHDX_BAT_OFFSET (entry) > 0 && e <= size)))
      end = e;
  }
  return end;
}

uint64_t
vhdx_end_of_data (const struct vhdx_layer *layer)
{
  uint64_t end = max_u64 (end_of_blocks (layer), VHDX_UNIT);

  for (size_t i = 0; i < layer->regions.all.len; ++i)
    end = max_u64 (end, layer->regions.all.ptr[i].off +
                   layer->regions.all.ptr[i].len);
  return end;
}

/* A differencing disk has entries for the rest of its last chunk. */
uint64_t
vhdx_bat_count_present (const struct vhdx_layer *layer)
{
  const struct vhdx_bat *bat = &layer->bat;
  uint64_t nr = 0;

  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (is_in_file (VHDX_BAT_STATE (held_entry (bat, i))) &&
        !vhdx_bat_is_bitmap (bat, i) &&
        vhdx_bat_block_of (bat, i) < bat->nr_blocks)
      nr++;
  return nr;
}

/* A valid one. */
static int
get_entry (struct vhdx_layer *layer, uint64_t index, uint64_t *entry,
           struct err *err)
{
  uint64_t off = layer->regions.bat.off + index * VHDX_BAT_ENTRY_SIZE, found;
  uint8_t bytes[SECTOR_CACHE_UNIT];
  int r;

  if (layer->bat.entries) {
    *entry = held_entry (&layer->bat, index);
    return 0;
  }
  r = sector_cache_read (layer->cache, layer->file, layer->number,
                         off / SECTOR_CACHE_UNIT, bytes, err);
  if (r < 0)
    return r;
  found = get_le64 (bytes + off % SECTOR_CACHE_UNIT);
  r = vhdx_bat_check_entry (layer, index, found, err);
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
    return vhdx_bat_no_bitmap (layer, chunk, err);
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
      if (!vhdx_bat_is_bitmap (bat, index) &&
          !continues_run (layer, get_le64 (bytes + i * VHDX_BAT_ENTRY_SIZE),
                          parents)) {
        *nr = vhdx_bat_block_of (bat, index) - block;
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
         continues_run (layer,
                        held_entry (bat, index_of_block (bat, block + n)),
                        parents))
    n++;
  *nr = n;
  return 0;
}
