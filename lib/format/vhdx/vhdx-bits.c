/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bitmap blocks of a differencing disk change, in pages, through the log:
 *
 *   1. Pages are made busy, in the order in which they lie in the file, and
 *      read as they are.
 *   2. They are written into the log with what changes (vhdx-logger.c).
 *   3. Flush.
 *   4. They are written to their places, through the cache from which they
 *      are read, and are not busy any more.
 *
 * A crash before 3 is over leaves the bitmap as it was, or as it is to be:
 * it is in the log as a whole, or not at all.  After 3 the log has it until
 * the logger has seen to it that the file does.
 *
 * 4 does not come before 3: a sector that is torn when it is written would
 * take bits of others with it, but for the log.
 *
 * Bits become 1 when their sectors are on stable storage (vhdx-pending.c), and
 * 0 for a block that is going to be partially present and was not before:
 * nothing was kept of the bits of a block that was not, by us or by others
 * (§2.4).  So while a block is partially present no bit of it becomes 0.
 *
 * A block may be given up, and come into the file again elsewhere, while bits
 * of it are on their way.  They count for the place that it had, and are left
 * out of a page that was made busy when it has another; places are not given
 * to others meanwhile, because a flush counts as an operation.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/vhdx/vhdx-write.h"

#define UNITS_PER_PAGE (VHDX_PAGE / SECTOR_CACHE_UNIT)

/* Pages in one entry of the log: less than half of the smallest log. */
#define MAX_LOGGED 100

void
vhdx_bits_init (struct vhdx_bits *bits, struct vhdx_layer *layer,
                struct vhdx_logger *logger, struct vhdx_space *space)
{
  *bits = (struct vhdx_bits) {
    .layer = layer, .logger = logger, .space = space,
  };
  busy_list_init (&bits->busy);
}

void
vhdx_bits_destroy (struct vhdx_bits *bits)
{
  busy_list_destroy (&bits->busy);
}

/*--- A page -----------------------------------------------------------------*/

static int
read_page (struct vhdx_layer *layer, uint64_t off, uint8_t bytes[VHDX_PAGE],
           struct err *err)
{
  int r = 0;

  for (unsigned i = 0; r == 0 && i < UNITS_PER_PAGE; ++i)
    r = sector_cache_read (layer->cache, layer->file, layer->number,
                           off / SECTOR_CACHE_UNIT + i,
                           bytes + i * SECTOR_CACHE_UNIT, err);
  return r;
}

/* Step 4, for units that changed (a bit for each).  The file may have them
 * already, from a checkpoint, of which the cache knows nothing: who has read
 * the old bytes, and has not put them there yet, must not do so any more.
 */
static int
write_page (struct vhdx_layer *layer, uint64_t off,
            const uint8_t bytes[VHDX_PAGE], unsigned changed, struct err *err)
{
  int r = 0;

  for (unsigned i = 0; r == 0 && i < UNITS_PER_PAGE; ++i)
    if (changed & 1U << i)
      r = sector_cache_write (layer->cache, layer->file, layer->number,
                              off / SECTOR_CACHE_UNIT + i,
                              bytes + i * SECTOR_CACHE_UNIT, err);
  return r;
}

/* Those with len bytes from in_page on. */
static unsigned
units_of (uint64_t in_page, size_t len)
{
  unsigned first = (unsigned) (in_page / SECTOR_CACHE_UNIT);
  unsigned last = (unsigned) ((in_page + len - 1) / SECTOR_CACHE_UNIT);

  return (2U << last) - (1U << first);
}

/* Where in the file the bit of a sector of a block is: its byte. */
static int
find_byte (struct vhdx_layer *layer, uint64_t block, uint32_t sector,
           uint64_t *off, struct err *err)
{
  const struct vhdx_metadata *m = &layer->metadata;
  uint64_t s = block * (m->block_size / m->logical) + sector, bitmap;
  int r = vhdx_bat_lookup_bitmap (layer, s / VHDX_CHUNK_SECTORS, &bitmap, err);

  if (r == 0)
    *off = bitmap + s % VHDX_CHUNK_SECTORS / 8;
  return r;
}

/*--- Zeros ------------------------------------------------------------------*/

static bool
is_zero (const uint8_t *bytes, size_t len)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, len - 1) == 0;
}

/* Inside one page; most are zero. */
static int
clear_bytes (struct vhdx_bits *bits, uint64_t off, size_t len,
             struct err *err)
{
  uint64_t page_off = round_down (off, VHDX_PAGE);
  uint8_t bytes[VHDX_PAGE];
  struct vhdx_log_page page = { page_off, bytes };
  struct busy busy;
  int r;

  busy_begin (&bits->busy, page_off / VHDX_PAGE, &busy);
  r = read_page (bits->layer, page_off, bytes, err);
  if (r == 0 && !is_zero (bytes + (off - page_off), len)) {
    memset (bytes + (off - page_off), 0, len);
    r = vhdx_logger_change_pages (bits->logger, &page, 1, err);
    if (r == 0)
      r = vhdx_space_flush (bits->space, err);
    if (r == 0)
      r = write_page (bits->layer, page_off, bytes,
                      units_of (off - page_off, len), err);
  }
  busy_end (&bits->busy, &busy);
  return r;
}

int
vhdx_bits_clear (struct vhdx_bits *bits, uint64_t block, struct err *err)
{
  const struct vhdx_metadata *m = &bits->layer->metadata;
  uint64_t len = m->block_size / m->logical / 8, off = 0;
  int r = find_byte (bits->layer, block, 0, &off, err);

  while (r == 0 && len > 0) {
    uint64_t n = min_u64 (len, VHDX_PAGE - off % VHDX_PAGE);

    r = clear_bytes (bits, off, (size_t) n, err);
    off += n;
    len -= n;
  }
  return r;
}

/*--- Ones -------------------------------------------------------------------*/

/* A page that is busy. */
struct vhdx_bits_page {
  uint64_t off;                 /* bytes, in the file */
  struct busy busy;
  unsigned changed;             /* a bit for each unit */
  uint8_t bytes[VHDX_PAGE];
};

/* Of a block that is where it was when the bits were set: where they go. */
static bool
is_there (struct vhdx_bits *bits, const struct pending_page *p, uint64_t *off)
{
  enum vhdx_state state;
  uint64_t place;

  return vhdx_bat_lookup (bits->layer, p->block, &state, &place, NULL) == 0 &&
    state == VHDX_PARTIALLY_PRESENT && place == p->place &&
    find_byte (bits->layer, p->block, p->first, off, NULL) == 0;
}

static int
compare (const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

  return (x > y) - (x < y);
}

/* The pages, each once and in order; returns how many. */
static size_t
list_pages (struct vhdx_bits *bits, const struct pending_snapshot *s,
            uint64_t *offs)
{
  size_t nr = 0, n = 0;
  uint64_t off;

  for (size_t i = 0; i < s->pages.len; ++i)
    if (is_there (bits, &s->pages.ptr[i], &off))
      offs[nr++] = round_down (off, VHDX_PAGE);
  if (nr > 0)
    qsort (offs, nr, sizeof offs[0], compare);
  for (size_t i = 0; i < nr; ++i)
    if (n == 0 || offs[i] != offs[n - 1])
      offs[n++] = offs[i];
  return n;
}

static struct vhdx_bits_page *
find_page (struct vhdx_bits *bits, uint64_t off)
{
  size_t low = 0, high = bits->nr_held;

  while (low < high) {
    size_t mid = (low + high) / 2;

    if (bits->held[mid].off < off)
      low = mid + 1;
    else
      high = mid;
  }
  return low < bits->nr_held && bits->held[low].off == off
    ? &bits->held[low] : NULL;
}

/* Blocks are looked up again, now that their pages are busy. */
static void
set_in_pages (struct vhdx_bits *bits, const struct pending_snapshot *s)
{
  for (size_t i = 0; i < s->pages.len; ++i) {
    const struct pending_page *p = &s->pages.ptr[i];
    struct vhdx_bits_page *page;
    uint64_t off;

    if (!is_there (bits, p, &off))
      continue;
    page = find_page (bits, round_down (off, VHDX_PAGE));
    if (page)
      page->changed |= units_of (off % VHDX_PAGE, p->nr / 8);
    for (uint32_t n = 0; page && n < p->nr / 8; ++n)
      page->bytes[off % VHDX_PAGE + n] |= p->bits[n];
  }
}

static void
let_go (struct vhdx_bits *bits)
{
  for (size_t i = 0; i < bits->nr_held; ++i)
    busy_end (&bits->busy, &bits->held[i].busy);
  free (bits->held);
  bits->held = NULL;
  bits->nr_held = 0;
}

/* Step 1. */
static int
hold_pages (struct vhdx_bits *bits, const uint64_t *offs, size_t nr,
            struct err *err)
{
  int r = 0;

  bits->held = malloc (nr * sizeof bits->held[0] + 1);
  if (bits->held == NULL)
    return err_nomem (err);
  for (; r == 0 && bits->nr_held < nr; ++bits->nr_held) {
    struct vhdx_bits_page *page = &bits->held[bits->nr_held];

    page->off = offs[bits->nr_held];
    page->changed = 0;
    busy_begin (&bits->busy, page->off / VHDX_PAGE, &page->busy);
    r = read_page (bits->layer, page->off, page->bytes, err);
  }
  return r;
}

/* Step 2. */
static int
log_pages (struct vhdx_bits *bits, struct err *err)
{
  struct vhdx_log_page pages[MAX_LOGGED];
  int r = 0;

  for (size_t first = 0; r == 0 && first < bits->nr_held;
       first += MAX_LOGGED) {
    size_t nr = (size_t) min_u64 (MAX_LOGGED, bits->nr_held - first);

    for (size_t i = 0; i < nr; ++i)
      pages[i] = (struct vhdx_log_page) {
        bits->held[first + i].off, bits->held[first + i].bytes
      };
    r = vhdx_logger_change_pages (bits->logger, pages, nr, err);
  }
  return r;
}

int
vhdx_bits_log (struct vhdx_bits *bits, const struct pending_snapshot *s,
               struct err *err)
{
  CLEANUP_FREE uint64_t *offs = malloc (s->pages.len * sizeof *offs + 1);
  int r;

  if (offs == NULL)
    return err_nomem (err);
  r = hold_pages (bits, offs, list_pages (bits, s, offs), err);
  if (r == 0) {
    set_in_pages (bits, s);
    r = log_pages (bits, err);
  }
  if (r < 0)
    let_go (bits);
  return r;
}

int
vhdx_bits_settle (struct vhdx_bits *bits, bool stable, struct err *err)
{
  int r = 0;

  for (size_t i = 0; stable && r == 0 && i < bits->nr_held; ++i)
    r = write_page (bits->layer, bits->held[i].off, bits->held[i].bytes,
                    bits->held[i].changed, err);
  let_go (bits);
  return r;
}
