/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/hash-tree.h"
#include "lib/repo/map-writer.h"
#include "lib/repo/nbi-page.h"
#include "lib/repo/payload.h"

DEFINE_VECTOR (root_vector, struct nbi_root);

/* Chunks whose hash is wanted. */
struct watched {
  uint64_t end;
  struct hash_range range;
};

DEFINE_VECTOR (watched_vector, struct watched);

/* A chunk of the page that is being filled. */
struct cell {
  uint8_t kind;
  uint32_t file, ordinal;
};

struct map_writer {
  const struct nbi_header *header;
  const uint8_t *identity_key;
  struct file_table *files;
  const struct map_writer_ops *ops;
  struct payload_encoder *encoder;

  /* Hashes: of whole chunks of zeros, and the last chunk as zeros; of the page
   * that is being filled, of the disk, and of what is watched.
   */
  struct hash_zeros zeros;
  uint8_t last_id[DIGEST_SIZE];
  struct hash_range page_hash, disk_hash;
  struct watched_vector watched;

  uint64_t nr_chunks;           /* so far */
  struct root_vector roots;
  uint32_t nr_cells;            /* of the page that is being filled */
  struct cell cells[NBI_PAGE_CHUNKS];

  /* Of the page that is being written. */
  struct nbi_run runs[NBI_PAGE_CHUNKS];
  uint8_t uuids[NBI_PAGE_CHUNKS][UUID_SIZE];
  uint32_t numbers[NBI_PAGE_CHUNKS];    /* of its files */
  uint8_t plain[NBI_PAGE_MAX], stored[NBI_PAGE_MAX];
};

/* What zeros are known by. */
static int
hash_zeros_of (struct map_writer *map, struct err *err)
{
  const struct nbi_header *h = map->header;
  CLEANUP_FREE uint8_t *zeros = calloc (1, h->chunk_size);
  uint8_t id[DIGEST_SIZE];
  int r;

  if (zeros == NULL)
    return err_nomem (err);
  r = nbi_identity_with (map->identity_key, zeros, h->chunk_size, id, err);
  if (r == 0)
    r = hash_zeros_init (&map->zeros, id, err);
  if (r == 0)
    r = nbi_identity_with (map->identity_key, zeros,
                           nbi_chunk_len (h, nbi_nr_chunks (h) - 1),
                           map->last_id, err);
  return r;
}

int
map_writer_new (const struct nbi_header *header, const uint8_t *identity_key,
                struct file_table *files,
                const struct map_writer_ops *ops, struct map_writer **out,
                struct err *err)
{
  struct map_writer *map = calloc (1, sizeof *map);
  int r;

  if (map == NULL)
    return err_nomem (err);
  map->header = header;
  map->identity_key = identity_key;
  map->files = files;
  map->ops = ops;
  hash_range_init (&map->page_hash, 0);
  hash_range_init (&map->disk_hash, 0);
  r = payload_encoder_new (NBI_ZSTD, 0, &map->encoder, err);
  if (r == 0)
    r = hash_zeros_of (map, err);
  if (r < 0)
    map_writer_free (map);
  else
    *out = map;
  return r;
}

void
map_writer_free (struct map_writer *map)
{
  if (map == NULL)
    return;
  payload_encoder_free (map->encoder);
  vector_free (&map->watched);
  vector_free (&map->roots);
  free (map);
}

uint64_t
map_writer_chunks (const struct map_writer *map)
{
  return map->nr_chunks;
}

const struct nbi_root *
map_writer_root (const struct map_writer *map, uint64_t page)
{
  return &map->roots.ptr[page];
}

/*--- A page that is full ----------------------------------------------------*/

/* Where the file is in the page's list; it is put there if need be. */
static uint16_t
file_in_page (struct map_writer *map, struct nbi_page *page, uint32_t file,
              uint32_t hint)
{
  if (hint < page->nr_files && map->numbers[hint] == file)
    return (uint16_t) hint;
  for (uint32_t i = 0; i < page->nr_files; ++i)
    if (map->numbers[i] == file)
      return (uint16_t) i;
  map->numbers[page->nr_files] = file;
  memcpy (map->uuids[page->nr_files], map->files->files.ptr[file].uuid,
          UUID_SIZE);
  return (uint16_t) page->nr_files++;
}

/* Does cell i go on with the run? */
static bool
goes_on (const struct map_writer *map, const struct nbi_run *run, uint32_t i)
{
  const struct cell *cell = &map->cells[i], *before = &map->cells[i - 1];

  return cell->kind == run->kind &&
    (!nbi_kind_has_data (cell->kind) ||
     (cell->file == before->file && cell->ordinal == before->ordinal + 1));
}

static void
make_runs (struct map_writer *map, struct nbi_page *page)
{
  *page = (struct nbi_page) {
    .nr_chunks = map->nr_cells, .files = map->uuids, .runs = map->runs,
  };
  for (uint32_t i = 0; i < map->nr_cells; ++i) {
    const struct cell *cell = &map->cells[i];
    struct nbi_run *run = &map->runs[page->nr_runs];

    if (i > 0 && goes_on (map, run - 1, i)) {
      ++run[-1].count;
      continue;
    }
    *run = (struct nbi_run) {
      .first = (uint16_t) i, .count = 1, .kind = cell->kind,
    };
    if (nbi_kind_has_data (cell->kind)) {
      run->file = file_in_page (map, page, cell->file,
                                i > 0 ? run[-1].file : 0);
      run->ordinal = cell->ordinal;
    }
    ++page->nr_runs;
  }
}

/* A record for the page, which the generation before has not. */
static int
write_page (struct map_writer *map, uint64_t number, size_t len,
            const uint8_t identity[DIGEST_SIZE], struct nbi_root *root,
            struct err *err)
{
  struct nbi_record record = {
    .kind = NBI_PAGE,
    .number = (uint32_t) number,
    .plain = (uint32_t) len,
  };
  const void *payload;
  int r;

  memcpy (record.identity, identity, DIGEST_SIZE);
  r = payload_encode (map->encoder, map->plain, &record, map->stored,
                      &payload, err);
  if (r == 0)
    r = map->ops->write (map->ops->opaque, &record, payload, &root->file, err);
  if (r == 0)
    root->ordinal = record.ordinal;
  return r;
}

/* Runs → root entry; the page is written unless it is there already. */
static int
store_page (struct map_writer *map, uint64_t number,
            const struct nbi_page *page, struct nbi_root *root,
            struct err *err)
{
  size_t len = nbi_page_encode (page, map->plain);
  uint8_t identity[DIGEST_SIZE];
  bool same = false;
  int r;

  r = nbi_identity_with (map->identity_key, map->plain, len, identity, err);
  if (r == 0 && map->ops->same != NULL)
    r = map->ops->same (map->ops->opaque, number, identity, &same,
                        &root->file, &root->ordinal, err);
  if (r == 0 && !same)
    r = write_page (map, number, len, identity, root, err);
  if (r < 0)
    return r;
  file_table_use (map->files, root->file);
  for (uint32_t i = 0; i < page->nr_files; ++i)
    file_table_use (map->files, map->numbers[i]);
  return 0;
}

static int
end_page (struct map_writer *map, struct err *err)
{
  struct nbi_root root = { .file = NBI_NONE };
  struct nbi_page page;
  int r;

  make_runs (map, &page);
  if (page.nr_runs == 1 && !nbi_kind_has_data (map->runs[0].kind)) {
    root.ordinal = map->runs[0].kind;
    r = 0;
  }
  else
    r = store_page (map, map->roots.len, &page, &root, err);
  if (r == 0)
    r = hash_range_end_page (&map->page_hash, root.hash, err);
  if (r == 0 && vector_append (&map->roots, &root) < 0)
    r = err_nomem (err);
  map->nr_cells = 0;
  hash_range_init (&map->page_hash, map->nr_chunks);
  return r;
}

/*--- Hashes -----------------------------------------------------------------*/

int
map_writer_watch (struct map_writer *map, uint64_t first, uint64_t n,
                  struct err *err)
{
  struct watched watched = { .end = first + n };

  hash_range_init (&watched.range, first);
  if (vector_append (&map->watched, &watched) < 0)
    return err_nomem (err);
  return 0;
}

int
map_writer_watched (const struct map_writer *map, size_t i,
                    uint8_t hash[DIGEST_SIZE], struct err *err)
{
  return hash_range_end (&map->watched.ptr[i].range, hash, err);
}

int
map_writer_hash (const struct map_writer *map, uint8_t hash[DIGEST_SIZE],
                 struct err *err)
{
  return hash_range_end (&map->disk_hash, hash, err);
}

/* The next n chunks, from nr_chunks on: one with this identity, or whole ones
 * of zeros (NULL).
 */
static int
hash_into (struct map_writer *map, struct hash_range *range,
           const uint8_t *id, uint64_t n, struct err *err)
{
  return id != NULL ? hash_range_add (range, id, err)
    : hash_range_add_zeros (range, &map->zeros, n, err);
}

static int
hash_chunks (struct map_writer *map, const uint8_t *id, uint64_t n,
             struct err *err)
{
  uint64_t end = map->nr_chunks + n;
  int r = hash_into (map, &map->page_hash, id, n, err);

  if (r == 0)
    r = hash_into (map, &map->disk_hash, id, n, err);
  for (size_t i = 0; r == 0 && i < map->watched.len; ++i) {
    struct watched *w = &map->watched.ptr[i];

    if (w->range.next < min_u64 (end, w->end))
      r = hash_into (map, &w->range, id,
                     min_u64 (end, w->end) - w->range.next, err);
  }
  return r;
}

/*--- Chunks -----------------------------------------------------------------*/

/* n chunks that are alike, of the page that is being filled. */
static int
add_cells (struct map_writer *map, const struct map_cell *cell,
           const uint8_t *id, uint32_t n, struct err *err)
{
  int r = hash_chunks (map, id, n, err);

  if (r < 0)
    return r;
  for (uint32_t i = 0; i < n; ++i)
    map->cells[map->nr_cells++] = (struct cell) {
      .kind = (uint8_t) cell->kind,
      .file = cell->file,
      .ordinal = cell->ordinal,
    };
  map->nr_chunks += n;
  if (map->nr_cells == NBI_PAGE_CHUNKS ||
      map->nr_chunks == nbi_nr_chunks (map->header))
    return end_page (map, err);
  return 0;
}

int
map_writer_add (struct map_writer *map, const struct map_cell *cell,
                uint64_t n, struct err *err)
{
  uint64_t last = nbi_nr_chunks (map->header) - 1;
  int r = 0;

  if (nbi_kind_has_data (cell->kind))
    return add_cells (map, cell, cell->identity, 1, err);
  while (r == 0 && n > 0) {
    uint64_t left = NBI_PAGE_CHUNKS - map->nr_cells, now;

    if (map->nr_chunks == last)
      return add_cells (map, cell, map->last_id, 1, err);
    now = min_u64 (min_u64 (n, left), last - map->nr_chunks);
    r = add_cells (map, cell, NULL, (uint32_t) now, err);
    n -= now;
  }
  return r;
}
