/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The block allocation table: for each block of the disk the sector of the
 * file where it begins, or that it is absent.
 *
 * Up to 16 MiB of it are read in one go and every entry is checked before a
 * byte is served: that the block is inside the file, that it lies over
 * nothing else, and that no two blocks overlap.  A larger table (blocks of
 * less than 512 KiB on a disk of terabytes) stays in the file and each entry
 * is checked, except for overlaps, when it is looked up.
 *
 * All tables of a chain together take no more than that: where there is no
 * room left, a parent's table is checked like any other, given up, and then
 * looked up in the file.
 *
 * Only the entries that the disk needs are looked at: those that some
 * writers have after them describe nothing that can be read.
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
#include "lib/format/vhd/vhd.h"

/* Bytes of the table that are read at once; whole entries. */
#define PIECE ((size_t) 2 * 1024 * 1024)

/* An entry takes at most this many sectors after the first, so sums of two
 * of these numbers never overflow.
 */
static uint64_t
span (const struct vhd_bat *bat)
{
  return ((uint64_t) bat->bitmap_size + bat->block_size) / VHD_SECTOR_SIZE;
}

static int
does_not_fit (const struct vhd_bat *bat, uint64_t index, uint32_t sector,
              struct err *err)
{
  return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                  ") is sector %" PRIu32 ": the block would end after offset %"
                  PRIu64 ", where the data of the file ends", index,
                  bat->table_offset + index * VHD_BAT_ENTRY_SIZE, sector,
                  bat->file_end);
}

static int
lies_over (const struct vhd_bat *bat, uint64_t index, uint32_t sector,
           const struct vhd_reserved *res, struct err *err)
{
  return err_set (err, -EBADMSG, "BAT entry %" PRIu64 " (at offset %" PRIu64
                  ") is sector %" PRIu32 ": the block would overlap %s at "
                  "offset %" PRIu64, index,
                  bat->table_offset + index * VHD_BAT_ENTRY_SIZE, sector,
                  res->what, res->off);
}

/* The last block may be cut off where the disk ends. */
int
vhd_bat_check_entry (const struct vhd_bat *bat, uint64_t index,
                     uint32_t sector, struct err *err)
{
  uint64_t start = (uint64_t) sector * VHD_SECTOR_SIZE;
  uint64_t data = min_u64 (bat->block_size,
                           bat->disk_end - index * bat->block_size);
  uint64_t len = bat->bitmap_size + data;

  if (!range_fits (start, len, bat->file_end))
    return does_not_fit (bat, index, sector, err);
  if (start >= bat->reserved_end)
    return 0;
  for (size_t i = 0; i < bat->nr_reserved; ++i) {
    const struct vhd_reserved *res = &bat->reserved[i];

    if (start < res->off + res->len && res->off < start + len)
      return lies_over (bat, index, sector, res, err);
  }
  return 0;
}

/*--- Overlaps between blocks ------------------------------------------------*/

static uint64_t
find_entry (const struct vhd_bat *bat, uint64_t from, uint32_t sector)
{
  while (from < bat->nr_entries && bat->entries[from] != sector)
    from++;
  return from;
}

int
vhd_bat_overlap (const struct vhd_bat *bat, uint64_t i, uint32_t a,
                 uint64_t j, uint32_t b, struct err *err)
{
  return err_set (err, -EBADMSG, "BAT entries %" PRIu64 " (sector %" PRIu32
                  ") and %" PRIu64 " (sector %" PRIu32 ") overlap: a block "
                  "takes %" PRIu64 " sectors", i, a, j, b, span (bat));
}

static int
overlap (const struct vhd_bat *bat, uint32_t a, uint32_t b, struct err *err)
{
  uint64_t i = find_entry (bat, 0, a);
  uint64_t j = find_entry (bat, a == b ? i + 1 : 0, b);

  return vhd_bat_overlap (bat, i, a, j, b, err);
}

/* What is known of the blocks after each was seen once. */
struct order {
  size_t nr;                    /* blocks that are not absent */
  uint64_t next;                /* sector behind the last of them */
  bool out_of_order;
};

/* Most images were filled front to back: when each block comes after the one
 * before there is nothing to sort.
 */
static void
see_block (struct order *order, const struct vhd_bat *bat, uint32_t sector)
{
  order->nr++;
  if (sector < order->next)
    order->out_of_order = true;
  order->next = sector + span (bat);
}

/* Sorting all sectors of a table at once would take twice its memory.  So
 * they are taken in groups of ranges of 65536 sectors each, as many ranges as
 * have no more than this many blocks.
 */
#define MAX_SORTED ((size_t) 1024 * 1024)
#define RANGE 65536U
#define NR_RANGES 65536U

struct sorting {
  const struct vhd_bat *bat;
  uint32_t *nr_in;              /* blocks in each range, as far as counted */
  uint32_t *sectors;            /* of a group, and room for as many again */
  size_t room;
  uint64_t behind;              /* the last block of the group before */
  uint32_t last;                /* where that one begins */
};

/* So many blocks can't begin in one range without an overlap: of more we
 * need not know.
 */
static uint32_t
enough (const struct vhd_bat *bat)
{
  return (uint32_t) (RANGE / span (bat)) + 2;
}

static void
count_ranges (struct sorting *s)
{
  for (uint64_t i = 0; i < s->bat->nr_entries; ++i) {
    uint32_t sector = s->bat->entries[i];

    if (sector != VHD_BAT_HELD_ABSENT &&
        s->nr_in[sector / RANGE] < enough (s->bat))
      s->nr_in[sector / RANGE]++;
  }
}

/* The first n of the sectors. */
static int
check_sorted (struct sorting *s, size_t n, struct err *err)
{
  if (sort_u32 (s->sectors, s->sectors + s->room, n) < 0)
    return err_nomem (err);
  for (size_t i = 0; i < n; ++i) {
    if (s->sectors[i] < s->behind)
      return overlap (s->bat, s->last, s->sectors[i], err);
    s->last = s->sectors[i];
    s->behind = s->last + span (s->bat);
  }
  return 0;
}

/* Those of the ranges from first to end-1, sorted. */
static int
check_group (struct sorting *s, uint32_t first, uint32_t end,
             struct err *err)
{
  const struct vhd_bat *bat = s->bat;
  size_t n = 0;

  for (uint64_t i = 0; i < bat->nr_entries; ++i) {
    uint32_t sector = bat->entries[i], range = sector / RANGE;

    if (sector != VHD_BAT_HELD_ABSENT && range >= first && range < end &&
        s->nr_in[range] > 0) {
      s->nr_in[range]--;
      s->sectors[n++] = sector;
    }
  }
  return check_sorted (s, n, err);
}

/* One range fits into a group, whatever is in it. */
static int
check_groups (struct sorting *s, struct err *err)
{
  CLEANUP_FREE uint32_t *nr_in = calloc (NR_RANGES, sizeof *nr_in);
  uint32_t first = 0, end;
  int r = 0;

  if (nr_in == NULL)
    return err_nomem (err);
  s->nr_in = nr_in;
  count_ranges (s);
  for (; r == 0 && first < NR_RANGES; first = end) {
    size_t n = s->nr_in[first];

    for (end = first + 1; end < NR_RANGES && n + s->nr_in[end] <= s->room;
         ++end)
      n += s->nr_in[end];
    if (n > 0)
      r = check_group (s, first, end, err);
  }
  return r;
}

/* There is room for all of them. */
static int
check_all (struct sorting *s, struct err *err)
{
  const struct vhd_bat *bat = s->bat;
  size_t n = 0;

  for (uint64_t i = 0; i < bat->nr_entries; ++i)
    if (bat->entries[i] != VHD_BAT_HELD_ABSENT)
      s->sectors[n++] = bat->entries[i];
  return check_sorted (s, n, err);
}

static int
check_overlaps (const struct vhd_bat *bat, const struct order *order,
                struct err *err)
{
  CLEANUP_FREE uint32_t *sectors = NULL;
  struct sorting s = { .bat = bat, .room = min_u64 (order->nr, MAX_SORTED) };

  if (!order->out_of_order)
    return 0;
  s.sectors = sectors = malloc (2 * s.room * sizeof *sectors);
  if (sectors == NULL)
    return err_nomem (err);
  return order->nr <= MAX_SORTED ? check_all (&s, err) : check_groups (&s, err);
}

/*--- Opening ----------------------------------------------------------------*/

static void
reserve (struct vhd_bat *bat, const char *what, uint64_t off, uint64_t len)
{
  if (len == 0)
    return;
  bat->reserved[bat->nr_reserved++] = (struct vhd_reserved) { what, off, len };
  bat->reserved_end = max_u64 (bat->reserved_end, off + len);
}

/* All of these were found to be inside the file, but for locators, which
 * only count when they are, and where they mean something: a merge may leave
 * them behind in a disk that is not differencing any more.
 */
static void
reserve_all (const struct vhd_layer *layer, struct vhd_bat *bat)
{
  const struct vhd_header *h = &layer->header;

  reserve (bat, "the copy of the footer", 0, VHD_FOOTER_SIZE);
  reserve (bat, "the dynamic header", layer->footers.footer.data_offset,
           VHD_HEADER_SIZE);
  reserve (bat, "the BAT", h->table_offset, vhd_header_table_size (h));
  if (layer->batmap.present) {
    reserve (bat, "the header of the batmap", layer->batmap.header_off,
             VHD_BATMAP_SIZE);
    reserve (bat, "the batmap", layer->batmap.off, layer->batmap.len);
  }
  if (layer->footers.footer.type != VHD_DIFFERENCING)
    return;
  for (int i = 0; i < VHD_NR_LOCATORS; ++i)
    if (h->locators[i].code != VHD_LOCATOR_NONE &&
        range_fits (h->locators[i].off, h->locators[i].len, bat->file_end))
      reserve (bat, "the data of a parent locator", h->locators[i].off,
               h->locators[i].len);
}

static bool
all_absent (const uint8_t *bytes, size_t len)
{
  return bytes[0] == 0xFF && memcmp (bytes, bytes + 1, len - 1) == 0;
}

/* From entry i on. */
static int
take_entries (struct vhd_bat *bat, uint64_t i, const uint8_t *bytes,
              size_t len, struct order *order, struct err *err)
{
  for (; len > 0; len -= VHD_BAT_ENTRY_SIZE, bytes += VHD_BAT_ENTRY_SIZE, ++i) {
    uint32_t sector = get_be32 (bytes);
    int r;

    if (sector == VHD_BAT_ABSENT)
      continue;
    r = vhd_bat_check_entry (bat, i, sector, err);
    if (r < 0)
      return r;
    bat->entries[i] = sector;
    see_block (order, bat, sector);
  }
  return 0;
}

/* Every entry: its range, and overlaps.  Where all are absent nothing is
 * stored, and of a large disk with little in it the kernel never gives us the
 * memory that calloc promises.
 */
static int
read_entries (struct vhd_layer *layer, struct vhd_bat *bat, struct err *err)
{
  size_t len = (size_t) bat->nr_entries * VHD_BAT_ENTRY_SIZE;
  CLEANUP_FREE uint8_t *bytes = malloc (max_u64 (min_u64 (len, PIECE), 1));
  struct order order = { 0, 0, false };

  bat->entries = calloc (max_u64 (bat->nr_entries, 1),
                         sizeof bat->entries[0]);
  if (bytes == NULL || bat->entries == NULL)
    return err_nomem (err);
  for (size_t done = 0; done < len; done += PIECE) {
    size_t n = (size_t) min_u64 (len - done, PIECE);
    int r = block_pread (layer->block, bytes, n, bat->table_offset + done,
                         err);

    if (r == 0 && !all_absent (bytes, n))
      r = take_entries (bat, done / VHD_BAT_ENTRY_SIZE, bytes, n, &order, err);
    if (r < 0)
      return r;
  }
  return check_overlaps (bat, &order, err);
}

void
vhd_bat_describe (struct vhd_layer *layer)
{
  const struct vhd_header *h = &layer->header;
  uint64_t current = layer->footers.footer.current_size;
  uint64_t most = (uint64_t) h->max_entries * h->block_size;
  struct vhd_bat *bat = &layer->bat;

  bat->table_offset = h->table_offset;
  bat->block_size = h->block_size;
  bat->bitmap_size = vhd_bitmap_size (h->block_size);
  bat->file_end = layer->footers.end;
  bat->disk_end = min_u64 (max_u64 (layer->size, current), most);
  bat->nr_entries = div_round_up (bat->disk_end, bat->block_size);
  reserve_all (layer, bat);
}

int
vhd_bat_open (struct vhd_layer *layer, struct err *err)
{
  struct vhd_bat *bat = &layer->bat;

  vhd_bat_describe (layer);
  if (vhd_bitmap_open (bat, err) < 0)
    return -ENOMEM;
  if (bat->nr_entries <= VHD_MAX_HELD_ENTRIES) {
    int r = read_entries (layer, bat, err);

    if (r < 0 || bat->nr_entries <= layer->bat_room)
      return r;
    free (bat->entries);
    bat->entries = NULL;
  }
  if (bat->table_offset % VHD_BAT_ENTRY_SIZE != 0)
    return err_set (err, -ENOTSUP, "the BAT of %" PRIu64 " entries begins at "
                    "offset %" PRIu64 ", expected a multiple of %d",
                    bat->nr_entries, bat->table_offset, VHD_BAT_ENTRY_SIZE);
  return 0;
}

void
vhd_bat_close (struct vhd_bat *bat)
{
  free (bat->entries);
  free (bat->full);
  free (bat->full_at);
  bat->entries = NULL;
  bat->full = NULL;
  bat->full_at = NULL;
}

/*--- Lookup -----------------------------------------------------------------*/

int
vhd_bat_lookup (struct vhd_layer *layer, uint64_t index, uint32_t *sector,
                struct err *err)
{
  const struct vhd_bat *bat = &layer->bat;
  uint64_t off = bat->table_offset + index * VHD_BAT_ENTRY_SIZE;
  uint8_t bytes[VHD_SECTOR_SIZE];
  uint32_t found;
  int r;

  if (bat->entries) {
    found = __atomic_load_n (&bat->entries[index], __ATOMIC_ACQUIRE);
    *sector = found == VHD_BAT_HELD_ABSENT ? VHD_BAT_ABSENT : found;
    return 0;
  }
  r = sector_cache_read (layer->cache, layer->block, layer->number,
                         off / VHD_SECTOR_SIZE, bytes, err);
  if (r < 0)
    return r;
  found = get_be32 (bytes + off % VHD_SECTOR_SIZE);
  if (found != VHD_BAT_ABSENT) {
    r = vhd_bat_check_entry (bat, index, found, err);
    if (r < 0)
      return r;
  }
  *sector = found;
  return 0;
}

/* The same for a table in the file, a good piece of it at a time: this is
 * how the extents of a whole disk are found.
 */
static int
absent_run_in_file (struct vhd_layer *layer, uint64_t index, uint64_t max,
                    uint64_t *nr, struct err *err)
{
  uint64_t off = layer->bat.table_offset + index * VHD_BAT_ENTRY_SIZE, n = 0;
  uint8_t bytes[2048 * VHD_BAT_ENTRY_SIZE];
  int r;

  while (n < max) {
    size_t len = (size_t) min_u64 (sizeof bytes,
                                   (max - n) * VHD_BAT_ENTRY_SIZE);

    r = block_pread (layer->block, bytes, len,
                     off + n * VHD_BAT_ENTRY_SIZE, err);
    if (r < 0)
      return r;
    for (size_t i = 0; i < len; i += VHD_BAT_ENTRY_SIZE, ++n)
      if (get_be32 (bytes + i) != VHD_BAT_ABSENT) {
        *nr = n;
        return 0;
      }
  }
  *nr = n;
  return 0;
}

int
vhd_bat_absent_run (struct vhd_layer *layer, uint64_t index, uint64_t max,
                    uint64_t *nr, struct err *err)
{
  const uint32_t *entries = layer->bat.entries;
  uint64_t n = 0;

  if (entries == NULL)
    return absent_run_in_file (layer, index, max, nr, err);
  while (n < max && __atomic_load_n (&entries[index + n], __ATOMIC_ACQUIRE) ==
         VHD_BAT_HELD_ABSENT)
    n++;
  *nr = n;
  return 0;
}
