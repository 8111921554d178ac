/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The map, chunk by chunk: what it refers to is there, what can't be read is
 * listed, and it all hashes to what root and manifest say.  A chunk whose
 * identity can't be had makes the hashes it is in unknown, which is not told
 * again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/hash-tree.h"
#include "lib/repo/payload.h"
#include "lib/repo/verify.h"

/* A hash that is being made, and what it should be. */
struct expected {
  uint64_t end;                 /* chunks */
  struct hash_range range;
  bool unknown;
  const uint8_t *hash;
};

struct map {
  struct generation *gen;
  struct file_reader *last;
  const struct verify *v;
  const struct nbi_header *h;
  uint8_t zeros_id[DIGEST_SIZE], last_zeros_id[DIGEST_SIZE];
  struct hash_zeros zeros;

  struct expected *hashes;      /* of the disk, then of its partitions */
  size_t nr_hashes;
  struct hash_range page;
  bool page_unknown;

  uint32_t *uses;               /* of each file of the list */
  uint32_t next_range;          /* that ends behind where we are */

  uint64_t bad_off, bad_len;    /* of the disk, not told yet; len 0: none */
  struct err bad;               /* what is wrong with all of them */
};

static int
tell (struct map *m, const char *kind, uint64_t disk_off, uint64_t disk_len,
      const struct err *what, struct err *err)
{
  const struct verify_finding finding = {
    .kind = kind, .off = VERIFY_NOWHERE, .what = what,
    .disk_off = disk_off, .disk_len = disk_len,
  };

  return m->v->found (m->v->opaque, m->last, &finding, err);
}

static bool
is_finding (int r)
{
  return r == -EBADMSG || r == -ENOTSUP || r == -EIO || r == -ENOENT ||
    r == -EACCES;
}

static int
tell_bad (struct map *m, struct err *err)
{
  uint64_t len = m->bad_len;

  m->bad_len = 0;
  return len == 0 ? 0 : tell (m, "nbi-map", m->bad_off, len, &m->bad, err);
}

/* A file that is missing is the same sentence for each of its chunks: those
 * behind each other are told as one.
 */
static int
tell_chunk (struct map *m, uint64_t c, int r, const struct err *what,
            struct err *err)
{
  uint64_t off = c * m->h->chunk_size, len = nbi_chunk_len (m->h, c);

  if (!is_finding (r)) {
    if (err != NULL)
      *err = *what;
    return r;
  }
  if (m->bad_len > 0 && m->bad_off + m->bad_len == off &&
      strcmp (m->bad.msg, what->msg) == 0) {
    m->bad_len += len;
    return 0;
  }
  r = tell_bad (m, err);
  m->bad_off = off;
  m->bad_len = len;
  m->bad = *what;
  return r;
}

/*--- Hashes -----------------------------------------------------------------*/

/* id: NULL if it is not known. */
static int
add_to_hashes (struct map *m, uint64_t c, const uint8_t *id, struct err *err)
{
  int r = 0;

  if (id == NULL)
    m->page_unknown = true;
  else
    r = hash_range_add (&m->page, id, err);
  for (size_t i = 0; r == 0 && i < m->nr_hashes; ++i) {
    struct expected *e = &m->hashes[i];

    if (c < e->range.first || c >= e->end || e->unknown)
      continue;
    if (id == NULL)
      e->unknown = true;
    else
      r = hash_range_add (&e->range, id, err);
  }
  return r;
}

/* n chunks from c on are whole ones of zeros. */
static int
add_zeros_to_hashes (struct map *m, uint64_t c, uint64_t n, struct err *err)
{
  int r = hash_range_add_zeros (&m->page, &m->zeros, n, err);

  for (size_t i = 0; r == 0 && i < m->nr_hashes; ++i) {
    struct expected *e = &m->hashes[i];
    uint64_t end = min_u64 (c + n, e->end);

    if (!e->unknown && e->range.next < end)
      r = hash_range_add_zeros (&e->range, &m->zeros, end - e->range.next,
                                err);
  }
  return r;
}

/* NBI-86. */
static int
end_page (struct map *m, uint64_t page, struct err *err)
{
  struct err why = ERR_INIT;
  uint8_t hash[DIGEST_SIZE];
  struct nbi_root root;
  int r;

  /* A root entry that can't be had has been told with its chunks. */
  if (m->page_unknown || file_reader_root (m->last, page, &root, NULL) < 0)
    return 0;
  r = hash_range_end_page (&m->page, hash, err);
  if (r < 0 || memcmp (hash, root.hash, DIGEST_SIZE) == 0)
    return r;
  nbi_refuse (&why, 86, "page %" PRIu64 " of the map has another hash than its"
              " chunks", page);
  return tell (m, "nbi-hash", page * NBI_PAGE_CHUNKS * m->h->chunk_size, 0,
               &why, err);
}

/* NBI-87. */
static int
check_hashes (struct map *m, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < m->nr_hashes; ++i) {
    const struct expected *e = &m->hashes[i];
    struct err why = ERR_INIT;
    uint8_t hash[DIGEST_SIZE];

    if (e->unknown)
      continue;
    r = hash_range_end (&e->range, hash, err);
    if (r < 0 || memcmp (hash, e->hash, DIGEST_SIZE) == 0)
      continue;
    if (i == 0)
      nbi_refuse (&why, 87, "the disk has another hash than the manifest "
                  "says");
    else
      nbi_refuse (&why, 87, "partition %zu of the manifest has another hash "
                  "than it says", i - 1);
    r = tell (m, "nbi-hash", 0, 0, &why, err);
  }
  return r;
}

/*--- Ranges -----------------------------------------------------------------*/

/* Is nothing from chunk c on, n of them, listed?  What ends in front of them
 * is passed over.
 */
static bool
lists_nothing (struct map *m, uint64_t c, uint64_t n)
{
  uint32_t nr = file_reader_trailer (m->last)->nr_ranges;
  struct nbi_range range;

  for (; m->next_range < nr; ++m->next_range) {
    if (file_reader_range (m->last, m->next_range, &range, NULL) < 0)
      return false;
    if (range.off + range.len > c * m->h->chunk_size)
      return range.off >= (c + n) * m->h->chunk_size;
  }
  return true;
}

/* How many bytes of a chunk are listed as unreadable.  Chunks come in order. */
static int
listed_bytes (struct map *m, uint64_t c, uint64_t *n, struct err *err)
{
  uint32_t nr = file_reader_trailer (m->last)->nr_ranges;
  uint64_t start = c * m->h->chunk_size;
  uint64_t end = start + nbi_chunk_len (m->h, c);

  *n = 0;
  for (; m->next_range < nr; ++m->next_range) {
    struct nbi_range range;
    int r = file_reader_range (m->last, m->next_range, &range, err);
    uint64_t range_end;

    if (r < 0)
      return r;
    range_end = range.off + range.len;
    if (range.off >= end)
      break;
    /* One of chunks that were passed over. */
    if (range_end <= start)
      continue;
    *n += min_u64 (range_end, end) - max_u64 (range.off, start);
    if (range_end > end)
      break;
  }
  return 0;
}

/* NBI-85. */
static int
check_ranges (struct map *m, uint64_t c, enum nbi_cell_kind kind,
              struct err *why)
{
  uint64_t len = nbi_chunk_len (m->h, c), n;
  int r = listed_bytes (m, c, &n, why);

  if (r < 0)
    return r;
  if (kind == NBI_UNREADABLE ? n != len
      : kind == NBI_DATA_IN_PART ? n == 0 || n == len : n != 0)
    return nbi_refuse (why, 85, "chunk %" PRIu64 " is of kind %u, and %" PRIu64
                       " of its %" PRIu64 " bytes are listed as unreadable", c,
                       kind, n, len);
  return 0;
}

/*--- Chunks -----------------------------------------------------------------*/

/* Its identity, in *record or a constant. */
static int
find_identity (struct map *m, uint64_t c, struct nbi_record *record,
               const uint8_t **id, struct err *why)
{
  struct generation_chunk chunk;
  int r = generation_find (m->gen, c, &chunk, why);

  if (r < 0)
    return r;
  if (chunk.file == NULL)
    *id = c + 1 == nbi_nr_chunks (m->h) ? m->last_zeros_id : m->zeros_id;
  else {
    r = generation_record (m->gen, c, &chunk, record, why);
    if (r < 0)
      err_in (why, "%s", file_reader_name (chunk.file));
    *id = record->identity;
    file_reader_unref (chunk.file);
  }
  return r < 0 ? r : check_ranges (m, c, chunk.kind, why);
}

static int
check_chunk (struct map *m, uint64_t c, struct err *err)
{
  struct err why = ERR_INIT;
  struct nbi_record record;
  const uint8_t *id;
  int r = find_identity (m, c, &record, &id, &why);

  if (r < 0) {
    r = tell_chunk (m, c, r, &why, err);
    id = NULL;
  }
  return r < 0 ? r : add_to_hashes (m, c, id, err);
}

/* A page that is all zeros, at once: of a huge disk most are.  How many of its
 * chunks that were; the disk's last one may be short, and is not.
 */
static int
check_zeros (struct map *m, uint64_t first, uint32_t n, uint32_t *done,
             struct err *err)
{
  struct nbi_root root;

  *done = 0;
  if (first + n == nbi_nr_chunks (m->h))
    --n;
  if (file_reader_root (m->last, first / NBI_PAGE_CHUNKS, &root, NULL) < 0 ||
      root.file != NBI_NONE || root.ordinal == NBI_UNREADABLE ||
      !lists_nothing (m, first, n))
    return 0;
  *done = n;
  return add_zeros_to_hashes (m, first, n, err);
}

/* A page that can't be had: nothing of its chunks is known. */
static int
pass_over (struct map *m, uint64_t first, uint32_t n, int r,
           const struct err *why, struct err *err)
{
  uint64_t off = first * m->h->chunk_size;

  for (size_t i = 0; i < m->nr_hashes; ++i)
    if (m->hashes[i].range.first < first + n && m->hashes[i].end > first)
      m->hashes[i].unknown = true;
  if (is_finding (r))
    return tell (m, "nbi-map", off,
                 min_u64 ((uint64_t) n * m->h->chunk_size,
                          m->h->disk_size - off), why, err);
  if (err != NULL)
    *err = *why;
  return r;
}

static int
check_page (struct map *m, uint64_t page, struct err *err)
{
  uint64_t first = page * NBI_PAGE_CHUNKS;
  uint32_t n = nbi_page_chunks (m->h, page), done = 0;
  uint64_t off = first * m->h->chunk_size;
  struct err why = ERR_INIT;
  int r;

  hash_range_init (&m->page, first);
  m->page_unknown = false;
  r = generation_page_uses (m->gen, page, m->uses, &why);
  if (r < 0)
    r = pass_over (m, first, n, r, &why, err);
  else {
    r = check_zeros (m, first, n, &done, err);
    for (; r == 0 && done < n; ++done)
      r = check_chunk (m, first + done, err);
    if (r == 0)
      r = end_page (m, page, err);
  }
  return r < 0 ? r
    : job_advance (m->v->job, min_u64 ((uint64_t) n * m->h->chunk_size,
                                       m->h->disk_size - off), err);
}

/* NBI-83. */
static int
check_uses (struct map *m, struct err *err)
{
  uint32_t n = file_reader_trailer (m->last)->nr_files;
  int r = 0;

  for (uint32_t i = 0; r == 0 && i < n; ++i) {
    struct err why = ERR_INIT;
    struct nbi_file file;

    /* An entry that can't be had is the file's affair. */
    if (file_reader_file (m->last, i, &file, NULL) < 0 ||
        file.uses == m->uses[i])
      continue;
    nbi_refuse (&why, 83, "file %" PRIu32 " of the list is said to have %"
                PRIu32 " uses, and has %" PRIu32, i, file.uses, m->uses[i]);
    r = tell (m, "nbi-uses", 0, 0, &why, err);
  }
  return r;
}

/*----------------------------------------------------------------------------*/

static int
set_up (struct map *m, const struct manifest *manifest, struct err *err)
{
  CLEANUP_FREE uint8_t *zeros = calloc (1, m->h->chunk_size);
  uint64_t nr = nbi_nr_chunks (m->h);
  int r;

  m->nr_hashes = 1 + manifest->partitions.len;
  m->hashes = calloc (m->nr_hashes, sizeof *m->hashes);
  m->uses = calloc ((size_t) file_reader_trailer (m->last)->nr_files + 1,
                    sizeof *m->uses);
  if (zeros == NULL || m->hashes == NULL || m->uses == NULL)
    return err_nomem (err);
  hash_range_init (&m->hashes[0].range, 0);
  m->hashes[0].end = nr;
  m->hashes[0].hash = manifest->hash;
  for (size_t i = 1; i < m->nr_hashes; ++i) {
    const struct manifest_partition *p = &manifest->partitions.ptr[i - 1];

    hash_range_init (&m->hashes[i].range, p->first_chunk);
    m->hashes[i].end = p->first_chunk + p->nr_chunks;
    m->hashes[i].hash = p->hash;
  }
  r = file_reader_identity (m->last, zeros, m->h->chunk_size, m->zeros_id,
                            err);
  if (r == 0)
    r = hash_zeros_init (&m->zeros, m->zeros_id, err);
  if (r == 0)
    r = file_reader_identity (m->last, zeros, nbi_chunk_len (m->h, nr - 1),
                              m->last_zeros_id, err);
  return r;
}

int
verify_generation (struct generation *gen, struct file_reader *last,
                   const struct manifest *manifest, const struct verify *v,
                   struct err *err)
{
  struct map m = {
    .gen = gen, .last = last, .v = v, .h = generation_header (gen),
  };
  int r = set_up (&m, manifest, err);

  job_start (v->job, "checking the map", m.h->disk_size);
  for (uint64_t page = 0; r == 0 && page < nbi_nr_pages (m.h); ++page)
    r = check_page (&m, page, err);
  if (r == 0)
    r = tell_bad (&m, err);
  if (r == 0)
    r = check_uses (&m, err);
  if (r == 0)
    r = check_hashes (&m, err);
  free (m.hashes);
  free (m.uses);
  return r;
}
