/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bitmap of which blocks are in the image, and for each which one of them
 * it is.
 *
 * It is read as a whole when it is opened, and its checksum verified.  What is
 * kept of it is a line for each page of 2^18 blocks (1 GiB of a partition, most
 * often); pages are read again when they are needed, and have to be what they
 * were.  Pages of which all blocks are there, or none, are never needed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/bytes.h"
#include "lib/base/cache.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32.h"
#include "lib/base/vector.h"
#include "lib/format/partclone/partclone.h"

#define PAGE_BLOCKS ((uint64_t) 1 << 18)
#define PAGE_SIZE (PAGE_BLOCKS / 8)
#define GROUP 4096              /* blocks */
#define GROUPS (PAGE_BLOCKS / GROUP)
#define CACHE_SIZE ((size_t) 4 * 1024 * 1024)

struct page {
  uint8_t bits[PAGE_SIZE];      /* those behind the last block are 0 */
  uint32_t before[GROUPS];      /* blocks that are there, in the groups before,
                                   of this page */
};

struct page_line {
  uint64_t before;              /* blocks that are there, in the pages before */
  uint64_t hash;                /* XXH3 of its bits */
};

DEFINE_VECTOR (page_lines, struct page_line);

struct partclone_map_index {
  struct block *file;
  const struct partclone_header *h;
  struct page_lines pages;      /* and one behind the last */
  struct cache *cache;
};

/*--- Pages ------------------------------------------------------------------*/

static uint64_t
blocks_in_page (const struct partclone_header *h, uint64_t n)
{
  return min_u64 (PAGE_BLOCKS, h->nr_blocks - n * PAGE_BLOCKS);
}

/* In the file. */
static uint64_t
page_len (const struct partclone_map_index *map)
{
  return map->h->map == PARTCLONE_MAP_BYTES ? PAGE_BLOCKS : PAGE_SIZE;
}

static unsigned
count_bits (const uint8_t *p, size_t len)
{
  unsigned sum = 0;

  for (size_t i = 0; i < len; i += 8)
    sum += (unsigned) __builtin_popcountll (get_le64 (p + i));
  return sum;
}

/* Bytes that become bits. */
static int
load_bytes (const struct partclone_map_index *map, uint64_t n,
            struct page *page, struct err *err)
{
  uint64_t nr = blocks_in_page (map->h, n);
  uint8_t bytes[4096];

  memset (page->bits, 0, PAGE_SIZE);
  for (uint64_t done = 0; done < nr; done += sizeof bytes) {
    size_t len = (size_t) min_u64 (sizeof bytes, nr - done);
    int r = block_pread (map->file, bytes, len,
                         map->h->map_off + n * PAGE_BLOCKS + done, err);

    if (r < 0)
      return r;
    for (size_t i = 0; i < len; ++i)
      if (bytes[i] == 1)
        page->bits[(done + i) / 8] |= (uint8_t) (1U << i % 8);
  }
  return 0;
}

/* The bits as they are in the file, continuing the CRC of those before. */
static int
load_bits (const struct partclone_map_index *map, uint64_t n,
           struct page *page, uint32_t *crc, struct err *err)
{
  uint64_t nr = blocks_in_page (map->h, n);
  size_t len = (size_t) div_round_up (nr, 8);
  int r = block_pread (map->file, page->bits, len,
                       map->h->map_off + n * PAGE_SIZE, err);

  if (r < 0)
    return r;
  if (crc)
    *crc = crc32_update (*crc, page->bits, len);
  memset (page->bits + len, 0, PAGE_SIZE - len);
  if (nr % 8 != 0)
    page->bits[len - 1] &= (uint8_t) ((1U << nr % 8) - 1);
  return 0;
}

static int
load (const struct partclone_map_index *map, uint64_t n, struct page *page,
      uint32_t *crc, struct err *err)
{
  return map->h->map == PARTCLONE_MAP_BYTES
    ? load_bytes (map, n, page, err) : load_bits (map, n, page, crc, err);
}

static int
make_page (void *opaque, const struct cache_key *key, void **value,
           size_t *size, struct err *err)
{
  const struct partclone_map_index *map = opaque;
  CLEANUP_FREE struct page *page = malloc (sizeof *page);
  uint32_t sum = 0;
  int r = page ? load (map, key->number, page, NULL, err) : err_nomem (err);

  if (r < 0)
    return r;
  if (XXH3_64bits (page->bits, PAGE_SIZE) !=
      map->pages.ptr[key->number].hash)
    return err_set (err, -EIO, "its bitmap changed since it was opened, at "
                    "offset %" PRIu64, map->h->map_off +
                    key->number * page_len (map));
  for (size_t i = 0; i < GROUPS; ++i) {
    page->before[i] = sum;
    sum += count_bits (page->bits + i * (GROUP / 8), GROUP / 8);
  }
  *value = steal_ptr (&page);
  *size = sizeof *page;
  return 0;
}

/*--- Opening ----------------------------------------------------------------*/

static int
read_all (struct partclone_map_index *map, struct job *job, uint32_t *crc,
          struct err *err)
{
  uint64_t nr = div_round_up (map->h->nr_blocks, PAGE_BLOCKS);
  CLEANUP_FREE struct page *page = malloc (sizeof *page);
  struct page_line line = { .before = 0 };
  int r = page ? 0 : err_nomem (err);

  job_start (job, "reading the bitmap", map->h->map_len);
  for (uint64_t n = 0; r == 0 && n < nr; ++n) {
    r = load (map, n, page, crc, err);
    if (r == 0) {
      line.hash = XXH3_64bits (page->bits, PAGE_SIZE);
      if (vector_append (&map->pages, &line) < 0)
        return err_nomem (err);
      line.before += count_bits (page->bits, PAGE_SIZE);
      r = job_advance (job, min_u64 (page_len (map), map->h->map_len -
                                     n * page_len (map)), err);
    }
  }
  if (r == 0 && vector_append (&map->pages, &line) < 0)
    r = err_nomem (err);
  return r;
}

static int
check_sum (const struct partclone_map_index *map, uint32_t crc, bool ignore,
           struct report *report, struct err *err)
{
  uint64_t off = map->h->map_off + map->h->map_len;
  uint8_t stored[4];
  int r = block_pread (map->file, stored, sizeof stored, off, err);

  if (r < 0 || get_le32 (stored) == ~crc)
    return r;
  if (!ignore)
    return err_set (err, -EBADMSG, "the CRC-32 of the bitmap at offset %"
                    PRIu64 " is %08" PRIx32 ", expected %08" PRIx32,
                    map->h->map_off, ~crc, get_le32 (stored));
  report_warn (report, "%s: the CRC-32 of the bitmap at offset %" PRIu64
               " is %08" PRIx32 ", expected %08" PRIx32 ", and ignored",
               block_name (map->file), map->h->map_off, ~crc,
               get_le32 (stored));
  return 0;
}

static int
check_count (const struct partclone_map_index *map, struct err *err)
{
  uint64_t found = partclone_map_count (map);

  if (found == map->h->nr_used)
    return 0;
  return err_set (err, -EBADMSG, "the bitmap at offset %" PRIu64 " has %"
                  PRIu64 " blocks that are in the image, the header says %"
                  PRIu64, map->h->map_off, found, map->h->nr_used);
}

int
partclone_map_open (struct block *file, const struct partclone_header *h,
                    bool ignore_checksums, struct job *job,
                    struct partclone_map_index **out, struct report *report,
                    struct err *err)
{
  struct partclone_map_index *map = calloc (1, sizeof *map);
  uint32_t crc = 0;
  int r;

  if (map == NULL)
    return err_nomem (err);
  map->file = file;
  map->h = h;
  r = cache_new (CACHE_SIZE, free, &map->cache, err);
  if (r == 0 && h->map != PARTCLONE_MAP_NONE) {
    r = read_all (map, job, &crc, err);
    if (r == 0 && h->map == PARTCLONE_MAP_BITS)
      r = check_sum (map, crc, ignore_checksums, report, err);
    if (r == 0 && h->version > 1)
      r = check_count (map, err);
  }
  if (r < 0)
    partclone_map_free (map);
  else
    *out = map;
  return r;
}

uint64_t
partclone_map_count (const struct partclone_map_index *map)
{
  return map->h->map == PARTCLONE_MAP_NONE
    ? map->h->nr_blocks : map->pages.ptr[map->pages.len - 1].before;
}

void
partclone_map_free (struct partclone_map_index *map)
{
  if (map == NULL)
    return;
  cache_free (map->cache);
  vector_free (&map->pages);
  free (map);
}

/*--- Looking up -------------------------------------------------------------*/

/* The first bit from `from` on that is not `value`, or max. */
static uint64_t
end_of_span (const struct page *page, uint64_t from, uint64_t max, bool value)
{
  while (from < max) {
    uint64_t word = get_le64 (page->bits + from / 64 * 8);

    if (value)
      word = ~word;
    word >>= from % 64;
    if (word != 0)
      return min_u64 (max, from + (unsigned) __builtin_ctzll (word));
    from = round_down (from, 64) + 64;
  }
  return max;
}

/* How many before that one are there, in the page. */
static uint64_t
rank (const struct page *page, uint64_t in_page)
{
  size_t group = (size_t) (in_page / GROUP);
  size_t from = group * (GROUP / 8), to = (size_t) (in_page / 64 * 8);
  uint64_t sum = page->before[group] +
    count_bits (page->bits + from, to - from);

  if (in_page % 64 != 0)
    sum += (unsigned) __builtin_popcountll
      (get_le64 (page->bits + to) & ((UINT64_C (1) << in_page % 64) - 1));
  return sum;
}

static int
find_in_page (struct partclone_map_index *map, uint64_t n, uint64_t in_page,
              uint64_t end, struct partclone_span *span, struct err *err)
{
  const struct cache_key key = { 0, n };
  const struct cache_maker maker = { make_page, map };
  struct cache_item *item;
  const struct page *page;
  int r = cache_get (map->cache, &key, &maker, &item, err);

  if (r < 0)
    return r;
  page = cache_value (item);
  span->is_used = page->bits[in_page / 8] >> in_page % 8 & 1;
  span->nr = end_of_span (page, in_page, end, span->is_used) - in_page;
  span->ordinal = map->pages.ptr[n].before + rank (page, in_page);
  cache_put (map->cache, item);
  return 0;
}

int
partclone_map_find (struct partclone_map_index *map, uint64_t block,
                    uint64_t max, struct partclone_span *span,
                    struct err *err)
{
  uint64_t n = block / PAGE_BLOCKS, in_page = block % PAGE_BLOCKS;
  const struct page_line *line;
  uint64_t nr, used;

  if (map->h->map == PARTCLONE_MAP_NONE) {
    *span = (struct partclone_span) {
      true, min_u64 (max, map->h->nr_blocks - block), block
    };
    return 0;
  }
  line = &map->pages.ptr[n];
  used = line[1].before - line[0].before;
  nr = blocks_in_page (map->h, n);
  if (used > 0 && used < nr)
    return find_in_page (map, n, in_page, min_u64 (in_page + max, nr), span,
                         err);
  *span = (struct partclone_span) {
    used > 0, min_u64 (max, nr - in_page),
    line->before + (used > 0 ? in_page : 0)
  };
  return 0;
}
