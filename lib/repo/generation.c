/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Opening a generation, and what its map says: chunk → page → run → file. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/crypt.h"
#include "lib/repo/generation-private.h"
#include "lib/repo/nbi-page.h"
#include "lib/repo/payload.h"

/* Of a disk that was backed up a thousand times each file has sheets of its
 * own, and a page of the map as many runs as chunks.
 */
#define SHEETS_LIMIT (16 * 1024 * 1024)
#define PAGES_LIMIT (16 * 1024 * 1024)

/* Open files that nobody uses (§11). */
#define FILES_MIN 128
#define FILES_MAX 1024

static uint64_t last_id;

/*--- Caches -----------------------------------------------------------------*/

/* A page of the map, and where its files are in the generation's list. */
struct page {
  struct nbi_page *runs;
  uint32_t files[];
};

static void
page_free (void *value)
{
  struct page *page = value;

  if (page == NULL)
    return;
  free (page->runs);
  free (page);
}

static void
file_release (void *value)
{
  file_reader_unref (value);
}

/* A part of what the process may have open: to open a file of a vault takes
 * more than to read a chunk of it.
 */
static size_t
files_limit (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) < 0)
    return FILES_MIN;
  return (size_t) max_u64 (FILES_MIN, min_u64 (limit.rlim_cur / 4, FILES_MAX));
}

int
generation_caches_init (struct generation_caches *caches, size_t chunks,
                        struct err *err)
{
  int r;

  *caches = (struct generation_caches) { NULL };
  r = file_reader_sheets (SHEETS_LIMIT, &caches->sheets, err);
  if (r == 0)
    r = cache_new (PAGES_LIMIT, page_free, &caches->pages, err);
  if (r == 0)
    r = cache_new (chunks, free, &caches->chunks, err);
  if (r == 0)
    r = cache_new (files_limit (), file_release, &caches->files, err);
  if (r == 0)
    r = decoders_new (&caches->decoders, err);
  if (r < 0)
    generation_caches_destroy (caches);
  return r;
}

void
generation_caches_destroy (struct generation_caches *caches)
{
  decoders_free (caches->decoders);
  cache_free (caches->files);
  cache_free (caches->chunks);
  cache_free (caches->pages);
  cache_free (caches->sheets);
  *caches = (struct generation_caches) { NULL };
}

/*--- Opening ----------------------------------------------------------------*/

/* A record that is not a chunk, its identity proven (NBI-43). */
static int
read_proven (struct generation *gen, struct file_reader *file,
             const struct nbi_record *record, uint8_t *plain, struct err *err)
{
  uint8_t identity[DIGEST_SIZE];
  int r;

  r = decoders_read (gen->decoders, file, record, plain, err);
  if (r == 0)
    r = file_reader_identity (file, plain, record->plain, identity, err);
  if (r == 0 && memcmp (identity, record->identity, sizeof identity) != 0)
    r = nbi_refuse (err, 43, "the identity of the record at %" PRIu64 " is "
                    "another", record->off);
  return r;
}

static int
read_manifest (struct generation *gen, struct err *err)
{
  const struct nbi_record *record =
    &file_reader_trailer (gen->last)->manifest;

  gen->manifest = calloc (1, (size_t) record->plain + 1);
  if (gen->manifest == NULL)
    return err_nomem (err);
  gen->manifest_len = record->plain;
  if (read_proven (gen, gen->last, record, (uint8_t *) gen->manifest, err) < 0)
    return err_in (err, "manifest");
  return 0;
}

int
generation_open (struct file_reader *last,
                 const struct generation_files *files,
                 const struct generation_caches *caches,
                 struct generation **out, struct err *err)
{
  struct generation *gen;
  int r;

  if (file_reader_trailer (last)->root == 0)
    return err_set (err, -ENOENT, "no generation ends in this file");
  gen = calloc (1, sizeof *gen);
  if (gen == NULL)
    return err_nomem (err);
  gen->refs = 1;
  gen->id = __atomic_add_fetch (&last_id, 1, __ATOMIC_RELAXED);
  gen->last = file_reader_ref (last);
  gen->files = files;
  gen->caches = caches;
  gen->decoders = caches->decoders;
  r = read_manifest (gen, err);
  if (r < 0)
    generation_unref (gen);
  else
    *out = gen;
  return r;
}

static void
free_held (struct generation *gen)
{
  uint32_t n = file_reader_trailer (gen->last)->nr_files;

  for (uint32_t i = 0; gen->held != NULL && i < n; ++i)
    file_reader_unref (gen->held[i]);
  free (gen->held);
  gen->held = NULL;
}

struct generation *
generation_ref (struct generation *gen)
{
  __atomic_add_fetch (&gen->refs, 1, __ATOMIC_RELAXED);
  return gen;
}

void
generation_unref (struct generation *gen)
{
  if (gen == NULL || __atomic_sub_fetch (&gen->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  free_held (gen);
  cache_forget (gen->caches->files, gen->id);
  cache_forget (gen->caches->pages, gen->id);
  file_reader_unref (gen->last);
  free (gen->manifest);
  free (gen);
}

const struct nbi_header *
generation_header (const struct generation *gen)
{
  return file_reader_header (gen->last);
}

const char *
generation_manifest (const struct generation *gen, size_t *len)
{
  *len = gen->manifest_len;
  return gen->manifest;
}

/*--- Files ------------------------------------------------------------------*/

struct file_wanted {
  struct generation *gen;
  uint32_t index;
};

static int
make_file (void *opaque, const struct cache_key *key, void **value,
           size_t *size, struct err *err)
{
  const struct file_wanted *wanted = opaque;
  struct generation *gen = wanted->gen;
  struct file_reader *file;
  struct nbi_file entry;
  int r;

  (void) key;
  r = file_reader_file (gen->last, wanted->index, &entry, err);
  if (r < 0)
    return r;
  if (memcmp (entry.uuid, generation_header (gen)->file, UUID_SIZE) == 0)
    file = file_reader_ref (gen->last);
  else if (gen->files == NULL)
    return nbi_refuse (err, 131, "file %" PRIu32 " of the generation is not "
                       "there", wanted->index);
  else {
    r = gen->files->open (gen->files->opaque, &entry, &file, err);
    if (r < 0)
      return r;
  }
  r = crypt_check_key (file_reader_header (file), generation_header (gen), NULL,
                       err);
  if (r < 0) {
    err_in (err, "%s", file_reader_name (file));
    file_reader_unref (file);
    return r;
  }
  *value = file;
  *size = 1;
  return 0;
}

/* File `index' of the generation's list; a reference is the caller's. */
static int
get_file (struct generation *gen, uint32_t index, struct file_reader **out,
          struct err *err)
{
  struct file_wanted wanted = { gen, index };
  const struct cache_key key = { gen->id, index };
  const struct cache_maker maker = { make_file, &wanted };
  struct cache_item *item;
  int r;

  if (gen->held != NULL) {
    *out = file_reader_ref (gen->held[index]);
    return 0;
  }
  r = cache_get (gen->caches->files, &key, &maker, &item, err);
  if (r < 0)
    return r;
  *out = file_reader_ref (cache_value (item));
  cache_put (gen->caches->files, item);
  return 0;
}

uint32_t
generation_nr_files (const struct generation *gen)
{
  return file_reader_trailer (gen->last)->nr_files;
}

int
generation_get_file (struct generation *gen, uint32_t i,
                     struct file_reader **out, struct err *err)
{
  return get_file (gen, i, out, err);
}

int
generation_hold_files (struct generation *gen, struct err *err)
{
  uint32_t n = generation_nr_files (gen);
  struct file_reader **held = calloc ((size_t) n + 1, sizeof *held);
  int r = 0;

  if (held == NULL)
    return err_nomem (err);
  for (uint32_t i = 0; r == 0 && i < n; ++i)
    r = get_file (gen, i, &held[i], err);
  gen->held = held;
  if (r < 0)
    free_held (gen);
  else
    cache_forget (gen->caches->files, gen->id);
  return r;
}

/* Where that UUID is in the list, which ascends.  NBI-77. */
static int
find_file (struct generation *gen, const uint8_t uuid[UUID_SIZE],
           uint32_t *index, struct err *err)
{
  uint32_t low = 0, high = file_reader_trailer (gen->last)->nr_files;

  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    struct nbi_file file;
    int r = file_reader_file (gen->last, middle, &file, err), order;

    if (r < 0)
      return r;
    order = memcmp (uuid, file.uuid, UUID_SIZE);
    if (order == 0) {
      *index = middle;
      return 0;
    }
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return nbi_refuse (err, 77, "a page of the map names a file that is not "
                     "among those of the generation");
}

/*--- Pages ------------------------------------------------------------------*/

static int
decode_page (struct generation *gen, uint64_t number, const uint8_t *plain,
             size_t len, struct page **out, struct err *err)
{
  CLEANUP_FREE struct nbi_page *runs = NULL;
  struct page *page;
  int r;

  r = nbi_page_decode (plain, len,
                       nbi_page_chunks (generation_header (gen), number),
                       &runs, err);
  if (r < 0)
    return r;
  page = calloc (1, sizeof *page + runs->nr_files * sizeof page->files[0]);
  if (page == NULL)
    return err_nomem (err);
  for (uint32_t i = 0; r == 0 && i < runs->nr_files; ++i)
    r = find_file (gen, runs->files[i], &page->files[i], err);
  page->runs = steal_ptr (&runs);
  if (r < 0)
    page_free (page);
  else
    *out = page;
  return r;
}

struct page_wanted {
  struct generation *gen;
  struct nbi_root root;
};

static int
make_page (void *opaque, const struct cache_key *key, void **value,
           size_t *size, struct err *err)
{
  const struct page_wanted *wanted = opaque;
  struct generation *gen = wanted->gen;
  CLEANUP_FREE uint8_t *plain = NULL;
  struct file_reader *file = NULL;
  struct nbi_record record;
  struct page *page = NULL;
  int r;

  r = get_file (gen, wanted->root.file, &file, err);
  if (r < 0)
    return r;
  r = file_reader_entry (file, wanted->root.ordinal, &record, err);
  if (r == 0 && record.kind != NBI_PAGE)
    r = nbi_refuse (err, 81, "record %" PRIu32 " should be a page of the map",
                    wanted->root.ordinal);
  if (r == 0 && (plain = malloc (record.plain)) == NULL)
    r = err_nomem (err);
  if (r == 0)
    r = read_proven (gen, file, &record, plain, err);
  if (r == 0)
    r = decode_page (gen, key->number, plain, record.plain, &page, err);
  if (r < 0)
    r = err_in (err, "%s: page %" PRIu64 " of the map",
                file_reader_name (file), key->number);
  file_reader_unref (file);
  if (r < 0)
    return r;
  *value = page;
  *size = sizeof *page + sizeof *page->runs +
    page->runs->nr_files * (UUID_SIZE + sizeof page->files[0]) +
    page->runs->nr_runs * sizeof page->runs->runs[0];
  return 0;
}

/* Page `number' of the map; *item is NULL if it is uniform, and its chunks of
 * the kind root->ordinal.
 */
static int
get_page (struct generation *gen, uint64_t number, struct nbi_root *root,
          struct cache_item **item, struct err *err)
{
  struct page_wanted wanted = { .gen = gen };
  const struct cache_key key = { gen->id, number };
  const struct cache_maker maker = { make_page, &wanted };
  int r = file_reader_root (gen->last, number, &wanted.root, err);

  *item = NULL;
  *root = wanted.root;
  if (r < 0 || wanted.root.file == NBI_NONE)
    return r;
  return cache_get (gen->caches->pages, &key, &maker, item, err);
}

int
generation_run_at (struct generation *gen, uint64_t c,
                   struct generation_run *out, struct err *err)
{
  uint64_t number = c / NBI_PAGE_CHUNKS, first = number * NBI_PAGE_CHUNKS;
  uint32_t in = (uint32_t) (c - first);
  const struct nbi_run *run;
  const struct page *page;
  struct cache_item *item;
  struct nbi_root root;
  int r = get_page (gen, number, &root, &item, err);

  if (r < 0)
    return r;
  if (item == NULL) {
    *out = (struct generation_run) {
      .end = first + nbi_page_chunks (generation_header (gen), number),
      .kind = (enum nbi_cell_kind) root.ordinal,
    };
    return 0;
  }
  page = cache_value (item);
  run = nbi_page_find (page->runs, in);
  *out = (struct generation_run) {
    .end = first + run->first + run->count,
    .kind = (enum nbi_cell_kind) run->kind,
  };
  if (nbi_kind_has_data (run->kind)) {
    out->index = page->files[run->file];
    out->ordinal = run->ordinal + (in - run->first);
  }
  cache_put (gen->caches->pages, item);
  return 0;
}

int
generation_page_uses (struct generation *gen, uint64_t number, uint32_t *uses,
                      struct err *err)
{
  const struct page *page;
  struct cache_item *item;
  struct nbi_root root;
  int r = get_page (gen, number, &root, &item, err);

  if (r < 0 || item == NULL)
    return r;
  page = cache_value (item);
  ++uses[root.file];
  for (uint32_t i = 0; i < page->runs->nr_files; ++i)
    ++uses[page->files[i]];
  cache_put (gen->caches->pages, item);
  return 0;
}

static int
visit_runs (const struct page *page,
            int (*fn) (void *opaque, uint32_t index, uint32_t ordinal,
                       uint32_t count, struct err *err),
            void *opaque, struct err *err)
{
  int r = 0;

  for (uint32_t i = 0; r == 0 && i < page->runs->nr_runs; ++i) {
    const struct nbi_run *run = &page->runs->runs[i];

    if (nbi_kind_has_data (run->kind))
      r = fn (opaque, page->files[run->file], run->ordinal, run->count, err);
  }
  return r;
}

int
generation_page_visit (struct generation *gen, uint64_t number,
                       int (*fn) (void *opaque, uint32_t index,
                                  uint32_t ordinal, uint32_t count,
                                  struct err *err),
                       void *opaque, struct err *err)
{
  struct cache_item *item;
  struct nbi_root root;
  int r = file_reader_root (gen->last, number, &root, err);

  if (r < 0 || root.file == NBI_NONE)
    return r;
  r = fn (opaque, root.file, root.ordinal, 1, err);
  if (r != 0)
    return r == GENERATION_KNOWN ? 0 : r;
  r = get_page (gen, number, &root, &item, err);
  if (r < 0)
    return r;
  r = visit_runs (cache_value (item), fn, opaque, err);
  cache_put (gen->caches->pages, item);
  return r;
}

int
generation_find (struct generation *gen, uint64_t c,
                 struct generation_chunk *chunk, struct err *err)
{
  struct generation_run run;
  struct file_reader *file = NULL;
  int r;

  r = generation_run_at (gen, c, &run, err);
  if (r == 0 && nbi_kind_has_data (run.kind))
    r = get_file (gen, run.index, &file, err);
  if (r < 0)
    return r;
  *chunk = (struct generation_chunk) {
    .kind = run.kind, .file = file, .index = run.index,
    .ordinal = run.ordinal,
  };
  return 0;
}

int
generation_record (struct generation *gen, uint64_t c,
                   const struct generation_chunk *chunk,
                   struct nbi_record *record, struct err *err)
{
  uint32_t expected = nbi_chunk_len (generation_header (gen), c);
  int r;

  r = file_reader_entry (chunk->file, chunk->ordinal, record, err);
  if (r < 0)
    return r;
  if (record->kind == 0)
    return nbi_refuse (err, 79, "record %" PRIu32 " was dropped",
                       chunk->ordinal);
  if (record->kind != NBI_CHUNK)
    return nbi_refuse (err, 79, "record %" PRIu32 " is no chunk",
                       chunk->ordinal);
  if (record->plain != expected)
    return nbi_refuse (err, 79, "record %" PRIu32 " has %" PRIu32 " bytes of a "
                       "chunk of %" PRIu32, chunk->ordinal, record->plain,
                       expected);
  return 0;
}

int
generation_file (struct generation *gen, uint32_t i, struct nbi_file *file,
                 struct err *err)
{
  return file_reader_file (gen->last, i, file, err);
}

int
generation_page (struct generation *gen, uint64_t page, bool *is_record,
                 uint32_t *index, struct nbi_record *record, struct err *err)
{
  struct file_reader *file;
  struct nbi_root root;
  int r;

  r = file_reader_root (gen->last, page, &root, err);
  if (r < 0)
    return r;
  *is_record = root.file != NBI_NONE;
  if (!*is_record)
    return 0;
  r = get_file (gen, root.file, &file, err);
  if (r < 0)
    return r;
  *index = root.file;
  r = file_reader_entry (file, root.ordinal, record, err);
  file_reader_unref (file);
  return r;
}
