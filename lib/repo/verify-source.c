/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/thread.h"
#include "lib/repo/verify-source.h"
#include "lib/repo/verify.h"

#define PIECE (UINT64_C (1) << 20)      /* bytes that are read at once */
#define UNIT 4096U                      /* in which differences are told */
#define SECTOR 512U                     /* what can't be read comes in those */
#define THREADS_MAX 16U

struct compare {
  struct generation *gen;
  const struct nbi_header *h;
  struct block *source;
  struct job *job;

  pthread_mutex_t lock;         /* guards what follows */
  uint64_t next;                /* chunk */
  struct verify_source *out;
  struct err first;             /* error; code 0: none */
};

/* Some chunks that are alike, for one thread. */
struct span {
  uint64_t first, end;          /* chunks */
  enum nbi_cell_kind kind;
  bool unknown;                 /* the map is damaged there */
};

/*--- Results ----------------------------------------------------------------*/

static int
add_extent (struct compare *c, uint64_t off, uint64_t len, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  struct extent_vector *v = &c->out->extents;
  const struct extent extent = { .off = off, .len = len, .kind = EXTENT_DATA };

  c->out->differing += len;
  if (v->len > 0 && v->ptr[v->len - 1].off + v->ptr[v->len - 1].len == off) {
    v->ptr[v->len - 1].len += len;
    return 0;
  }
  if (v->len >= VERIFY_SOURCE_MAX) {
    c->out->more = true;
    return 0;
  }
  return vector_append (v, &extent) < 0 ? err_nomem (err) : 0;
}

static void
count (struct compare *c, uint64_t *what, uint64_t len)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);

  *what += len;
}

static int
by_offset (const void *a, const void *b)
{
  uint64_t x = ((const struct extent *) a)->off;
  uint64_t y = ((const struct extent *) b)->off;

  return x < y ? -1 : x > y;
}

/* Threads come in any order. */
static void
sort_extents (struct extent_vector *v)
{
  size_t kept = 0;

  if (v->len == 0)
    return;
  qsort (v->ptr, v->len, sizeof *v->ptr, by_offset);
  for (size_t i = 1; i < v->len; ++i)
    if (v->ptr[kept].off + v->ptr[kept].len == v->ptr[i].off)
      v->ptr[kept].len += v->ptr[i].len;
    else
      v->ptr[++kept] = v->ptr[i];
  v->len = kept + 1;
}

/*--- A chunk of data --------------------------------------------------------*/

/* The next range of [off, end) that could be read when it was saved; what
 * couldn't is counted, and made zeros in buf, as it is in the identity.  buf:
 * NULL, or that of the bytes from base on.
 */
static int
next_readable (struct compare *c, uint64_t *off, uint64_t end, uint64_t *stop,
               uint8_t *buf, uint64_t base, struct err *err)
{
  *stop = end;
  while (*off < end) {
    struct nbi_range range;
    bool found;
    int r = generation_range_after (c->gen, *off, &range, &found, err);

    if (r < 0 || !found || range.off >= end)
      return r;
    if (range.off > *off) {
      *stop = range.off;
      return 0;
    }
    *stop = min_u64 (range.off + range.len, end);
    if (buf != NULL)
      memset (buf + (*off - base), 0, (size_t) (*stop - *off));
    *off = *stop;
    *stop = end;
  }
  return 0;
}

/* buf holds len bytes at off of the source; what was saved there is others. */
static int
tell_units (struct compare *c, const uint8_t *buf, uint64_t off, uint64_t len,
            struct err *err)
{
  uint8_t saved[UNIT];
  int r = 0;

  for (uint64_t at = 0, n; r == 0 && at < len; at += n) {
    n = min_u64 (UNIT - (off + at) % UNIT, len - at);
    /* The identities differ: what can't be decoded does so somewhere. */
    if (generation_pread (c->gen, saved, (size_t) n, off + at, NULL) < 0 ||
        memcmp (saved, buf + at, (size_t) n) != 0)
      r = add_extent (c, off + at, n, err);
  }
  return r;
}

static int
tell_chunk (struct compare *c, const uint8_t *buf, uint64_t off, uint64_t len,
            struct err *err)
{
  uint64_t at = off, stop;
  int r = next_readable (c, &at, off + len, &stop, NULL, 0, err);

  while (r == 0 && at < off + len) {
    r = tell_units (c, buf + (at - off), at, stop - at, err);
    at = stop;
    if (r == 0)
      r = next_readable (c, &at, off + len, &stop, NULL, 0, err);
  }
  return r;
}

/* Make zeros of what could not be read when it was saved; how many bytes could.
 */
static int
blank_unreadable (struct compare *c, uint8_t *buf, uint64_t off, uint64_t len,
                  uint64_t *readable, struct err *err)
{
  uint64_t at = off, stop;
  int r = 0;

  *readable = 0;
  while (r == 0 && at < off + len) {
    r = next_readable (c, &at, off + len, &stop, buf, off, err);
    *readable += at < off + len ? stop - at : 0;
    at = stop;
  }
  return r;
}

static int
find_identity (struct compare *c, uint64_t chunk, const uint8_t *buf,
               size_t len, bool *same, struct err *err)
{
  struct generation_chunk where;
  struct nbi_record record;
  uint8_t identity[DIGEST_SIZE];
  int r = generation_find (c->gen, chunk, &where, err);

  if (r < 0)
    return r;
  if (where.file == NULL)
    return err_set (err, -EBADMSG, "the map changed");
  r = generation_record (c->gen, chunk, &where, &record, err);
  if (r == 0)
    r = file_reader_identity (where.file, buf, len, identity, err);
  file_reader_unref (where.file);
  if (r == 0)
    *same = record.plain == len &&
      memcmp (identity, record.identity, DIGEST_SIZE) == 0;
  return r;
}

static int
compare_chunk (struct compare *c, const struct span *span, uint64_t chunk,
               uint8_t *buf, uint64_t len, struct err *err)
{
  uint64_t off = chunk * c->h->chunk_size, readable = len;
  struct err why = ERR_INIT;
  bool same = true;
  int r = 0;

  if (span->kind == NBI_DATA_IN_PART)
    r = blank_unreadable (c, buf, off, len, &readable, &why);
  if (r == 0)
    r = find_identity (c, chunk, buf, (size_t) len, &same, &why);
  if (verify_is_finding (r) || r == -ENOENT) {
    count (c, &c->out->unknown, len);
    return 0;
  }
  if (r < 0) {
    *err = why;
    return r;
  }
  count (c, &c->out->compared, readable);
  count (c, &c->out->unreadable, len - readable);
  return same ? 0 : tell_chunk (c, buf, off, len, err);
}

/*--- Zeros ------------------------------------------------------------------*/

static int
expect_zeros (struct compare *c, const uint8_t *buf, uint64_t off,
              uint64_t len, struct err *err)
{
  int r = 0;

  for (uint64_t at = 0, n; r == 0 && at < len; at += n) {
    n = min_u64 (UNIT - (off + at) % UNIT, len - at);
    if (!nbi_is_zeros (buf + at, (size_t) n))
      r = add_extent (c, off + at, n, err);
  }
  return r;
}

/* How many bytes at off need not be read, as the source knows of itself. */
static uint64_t
known_zeros (struct compare *c, uint64_t off, uint64_t end)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };

  if (block_extents (c->source, end - off, off, &list, NULL) < 0 ||
      list.v.len == 0 || (list.v.ptr[0].kind != EXTENT_ZERO &&
                          list.v.ptr[0].kind != EXTENT_HOLE))
    return 0;
  return min_u64 (list.v.ptr[0].len, end - off);
}

static int
compare_zeros (struct compare *c, uint64_t off, uint64_t end, uint8_t *buf,
               struct err *err)
{
  int r = 0;

  while (r == 0 && off < end) {
    uint64_t n = known_zeros (c, off, end);

    if (n == 0) {
      n = min_u64 (PIECE, end - off);
      r = block_pread (c->source, buf, (size_t) n, off, err);
      if (r == 0)
        r = expect_zeros (c, buf, off, n, err);
    }
    count (c, &c->out->compared, n);
    off += n;
    if (r == 0)
      r = job_advance (c->job, n, err);
  }
  return r;
}

/*--- Spans ------------------------------------------------------------------*/

static int
compare_data (struct compare *c, const struct span *span, uint64_t off,
              uint64_t end, uint8_t *buf, struct err *err)
{
  int r = block_pread (c->source, buf, (size_t) (end - off), off, err);

  for (uint64_t chunk = span->first; r == 0 && chunk < span->end; ++chunk) {
    uint64_t at = chunk * c->h->chunk_size;

    r = compare_chunk (c, span, chunk, buf + (at - off),
                       min_u64 (c->h->chunk_size, end - at), err);
  }
  return r < 0 ? r : job_advance (c->job, end - off, err);
}

/* A span that the source lacks, or has not all of. */
static int
compare_behind (struct compare *c, const struct span *span, uint64_t off,
                uint64_t end, uint8_t *buf, struct err *err)
{
  uint64_t size = max_u64 (block_size (c->source), off);
  int r = 0;

  count (c, &c->out->compared, end - off);
  for (uint64_t n; r == 0 && off < size; off += n) {
    n = min_u64 (UNIT - off % UNIT, size - off);
    r = job_check (c->job, err);
    if (r == 0)
      r = block_pread (c->source, buf, (size_t) n, off, err);
    if (r == 0 && span->kind == NBI_ZERO)
      r = expect_zeros (c, buf, off, n, err);
    else if (r == 0)
      r = tell_units (c, buf, off, n, err);
  }
  if (r == 0)
    r = add_extent (c, off, end - off, err);
  return r < 0 ? r : job_advance (c->job, end - off, err);
}

static int
compare_span (struct compare *c, const struct span *span, uint8_t *buf,
              struct err *err)
{
  uint64_t off = span->first * c->h->chunk_size;
  uint64_t end = min_u64 (span->end * c->h->chunk_size, c->h->disk_size);
  uint64_t *what = span->unknown ? &c->out->unknown
    : span->kind == NBI_UNALLOCATED ? &c->out->not_saved
    : span->kind == NBI_UNREADABLE ? &c->out->unreadable : NULL;

  if (what != NULL) {
    count (c, what, end - off);
    return job_advance (c->job, end - off, err);
  }
  if (end > block_size (c->source))
    return compare_behind (c, span, off, end, buf, err);
  return span->kind == NBI_ZERO ? compare_zeros (c, off, end, buf, err)
    : compare_data (c, span, off, end, buf, err);
}

/* 0: there are no more. */
static int
take_span (struct compare *c, struct span *span, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  uint64_t max = max_u64 (PIECE / c->h->chunk_size, 1);
  struct err why = ERR_INIT;
  struct generation_run run;
  int r;

  if (c->first.code != 0 || c->next >= nbi_nr_chunks (c->h))
    return 0;
  *span = (struct span) { .first = c->next, .end = c->next + 1 };
  r = generation_run_at (c->gen, c->next, &run, &why);
  if (verify_is_finding (r) || r == -ENOENT)
    span->unknown = true;
  else if (r < 0) {
    *err = why;
    return r;
  }
  else {
    span->kind = run.kind;
    span->end = run.kind == NBI_DATA || run.kind == NBI_DATA_IN_PART
      ? min_u64 (run.end, c->next + max) : run.end;
  }
  c->next = span->end;
  return 1;
}

static void *
work (void *opaque)
{
  struct compare *c = opaque;
  CLEANUP_FREE uint8_t *buf = malloc (max_u64 (PIECE, c->h->chunk_size));
  struct err err = ERR_INIT;
  struct span span;
  int r = buf != NULL ? 0 : err_nomem (&err);

  while (r == 0 && (r = take_span (c, &span, &err)) > 0)
    r = compare_span (c, &span, buf, &err);
  if (r < 0) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);

    if (c->first.code == 0)
      c->first = err;
  }
  return NULL;
}

int
verify_source (struct generation *gen, struct block *source,
               unsigned threads, struct job *job, struct verify_source *out,
               struct err *err)
{
  struct compare c = {
    .gen = gen, .h = generation_header (gen), .source = source, .job = job,
    .out = out,
  };
  pthread_t thread[THREADS_MAX];
  unsigned nr = 0;

  *out = (struct verify_source) { .compared = 0 };
  pthread_mutex_init (&c.lock, NULL);
  job_start (job, "comparing with the source", c.h->disk_size);
  while (nr + 1 < threads && nr < THREADS_MAX &&
         thread_start (&thread[nr], work, &c) == 0)
    ++nr;
  work (&c);
  while (nr > 0)
    pthread_join (thread[--nr], NULL);
  pthread_mutex_destroy (&c.lock);
  sort_extents (&out->extents);
  if (c.first.code != 0 && err != NULL)
    *err = c.first;
  return c.first.code;
}

void
verify_source_free (struct verify_source *out)
{
  vector_free (&out->extents);
}
