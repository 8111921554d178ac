/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The number of runs is not in front of them, so they are decoded into an
 * array of the largest size, and copied into one that fits when all is well.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/repo/nbi-page.h"

#define HEAD 8                  /* bytes in front of the files */
#define VARINT_MAX 5            /* bytes */
#define MAX_ORDINAL (UINT32_MAX - 1)

struct decoder {
  const uint8_t *pos, *end;
  uint32_t nr_chunks, nr_files;
  uint32_t done;                /* chunks */
  uint32_t nr_used;             /* files that had a run */
  uint32_t nr_runs;
  /* Where the next run of that file is expected to begin. */
  uint64_t expected[NBI_PAGE_CHUNKS];
  struct nbi_run runs[NBI_PAGE_CHUNKS];
};

/*--- Numbers ----------------------------------------------------------------*/

/* NBI-71. */
static int
take_varint (struct decoder *d, uint64_t *out, struct err *err)
{
  uint64_t v = 0;

  for (unsigned i = 0; i < VARINT_MAX; ++i) {
    uint8_t byte;

    if (d->pos == d->end)
      return nbi_refuse (err, 71, "map: ends in a number");
    byte = *d->pos++;
    v |= (uint64_t) (byte & 0x7f) << 7 * i;
    if (byte & 0x80)
      continue;
    if (byte == 0 && i > 0)
      return nbi_refuse (err, 71, "map: a number longer than it needs to be");
    *out = v;
    return 0;
  }
  return nbi_refuse (err, 71, "map: a number of more than 5 bytes");
}

static uint8_t *
put_varint (uint8_t *p, uint64_t v)
{
  for (; v >= 0x80; v >>= 7)
    *p++ = (uint8_t) (v | 0x80);
  *p++ = (uint8_t) v;
  return p;
}

static int64_t
from_zigzag (uint64_t v)
{
  return (int64_t) (v >> 1) ^ -(int64_t) (v & 1);
}

static uint64_t
to_zigzag (int64_t v)
{
  return v < 0 ? (uint64_t) (-(v + 1)) * 2 + 1 : (uint64_t) v * 2;
}

/*--- Decoding ---------------------------------------------------------------*/

/* NBI-73 and NBI-74. */
static int
take_place (struct decoder *d, struct nbi_run *run, struct err *err)
{
  uint64_t file, difference;
  int64_t ordinal;
  int r = take_varint (d, &file, err);

  if (r == 0)
    r = take_varint (d, &difference, err);
  if (r < 0)
    return r;
  if (file > d->nr_used || file >= d->nr_files)
    return nbi_refuse (err, 73, "map: file %" PRIu64 " after %" PRIu32
                       " of %" PRIu32 ", expected the next one at most", file,
                       d->nr_used, d->nr_files);
  if (file == d->nr_used)
    d->expected[d->nr_used++] = 0;
  ordinal = (int64_t) d->expected[file] + from_zigzag (difference);
  if (ordinal < 0 || ordinal + run->count - 1 > MAX_ORDINAL)
    return nbi_refuse (err, 74, "map: %u records from %" PRId64 ", expected 0"
                       " to %" PRIu32, run->count, ordinal, NBI_NONE - 1);
  d->expected[file] = (uint64_t) ordinal + run->count;
  run->file = (uint16_t) file;
  run->ordinal = (uint32_t) ordinal;
  return 0;
}

/* Could b be part of a, which is in front of it? */
static bool
continues (const struct nbi_run *a, const struct nbi_run *b)
{
  return a->kind == b->kind &&
    (!nbi_kind_has_data (a->kind) ||
     (a->file == b->file && (uint64_t) a->ordinal + a->count == b->ordinal));
}

static int
take_run (struct decoder *d, struct err *err)
{
  struct nbi_run run = { .first = (uint16_t) d->done };
  uint64_t head;
  int r = take_varint (d, &head, err);

  if (r < 0)
    return r;
  if (head % 8 > NBI_DATA_IN_PART || head / 8 >= d->nr_chunks - d->done)
    return nbi_refuse (err, 72, "map: %" PRIu64 " chunks of kind %u, with %"
                       PRIu32 " left", head / 8 + 1, (unsigned) (head % 8),
                       d->nr_chunks - d->done);
  run.kind = head % 8;
  run.count = (uint16_t) (head / 8 + 1);
  if (nbi_kind_has_data (run.kind)) {
    r = take_place (d, &run, err);
    if (r < 0)
      return r;
  }
  if (d->nr_runs > 0 && continues (&d->runs[d->nr_runs - 1], &run))
    return nbi_refuse (err, 75, "map: the run at chunk %u is part of the one"
                       " before", run.first);
  d->runs[d->nr_runs++] = run;
  d->done += run.count;
  return 0;
}

static int
take_runs (struct decoder *d, struct err *err)
{
  while (d->done < d->nr_chunks) {
    int r = take_run (d, err);

    if (r < 0)
      return r;
  }
  if (d->pos != d->end)
    return nbi_refuse (err, 76, "map: %td bytes behind the last run",
                       d->end - d->pos);
  if (d->nr_used != d->nr_files)
    return nbi_refuse (err, 73, "map: %" PRIu32 " of %" PRIu32 " files are"
                       " used", d->nr_used, d->nr_files);
  if (d->nr_runs == 1 && !nbi_kind_has_data (d->runs[0].kind))
    return nbi_refuse (err, 78, "map: all chunks are of kind %u",
                       d->runs[0].kind);
  return 0;
}

static int
compare_uuids (const void *a, const void *b)
{
  return memcmp (a, b, UUID_SIZE);
}

/* NBI-77. */
static int
check_files (const uint8_t *files, uint32_t nr, struct err *err)
{
  CLEANUP_FREE uint8_t *sorted = malloc ((size_t) nr * UUID_SIZE + 1);

  if (sorted == NULL)
    return err_nomem (err);
  memcpy (sorted, files, (size_t) nr * UUID_SIZE);
  qsort (sorted, nr, UUID_SIZE, compare_uuids);
  for (uint32_t i = 0; i < nr; ++i) {
    const uint8_t *uuid = sorted + (size_t) i * UUID_SIZE;

    if (uuid_is_zero (uuid) ||
        (i > 0 && memcmp (uuid - UUID_SIZE, uuid, UUID_SIZE) == 0))
      return nbi_refuse (err, 77, "map: a UUID is zeros or there twice");
  }
  return 0;
}

static int
publish (const struct decoder *d, const uint8_t *files, struct nbi_page **out,
         struct err *err)
{
  size_t runs_size = d->nr_runs * sizeof d->runs[0];
  size_t files_size = (size_t) d->nr_files * UUID_SIZE;
  struct nbi_page *page = malloc (sizeof *page + runs_size + files_size);

  if (page == NULL)
    return err_nomem (err);
  page->nr_chunks = d->nr_chunks;
  page->nr_files = d->nr_files;
  page->nr_runs = d->nr_runs;
  page->runs = (struct nbi_run *) (page + 1);
  page->files = (uint8_t (*)[UUID_SIZE]) ((uint8_t *) page->runs + runs_size);
  memcpy (page->runs, d->runs, runs_size);
  memcpy (page->files, files, files_size);
  *out = page;
  return 0;
}

int
nbi_page_decode (const uint8_t *buf, size_t len, uint32_t nr_chunks,
                 struct nbi_page **out, struct err *err)
{
  CLEANUP_FREE struct decoder *d = NULL;
  uint32_t nr_files;
  int r;

  if (len < HEAD)
    return nbi_refuse (err, 70, "map: a page of %zu bytes, expected %d at"
                       " least", len, HEAD);
  nr_files = get_le32 (buf + 4);
  if (get_le32 (buf) != nr_chunks || nr_files > nr_chunks ||
      (size_t) nr_files * UUID_SIZE > len - HEAD)
    return nbi_refuse (err, 70, "map: a page of %zu bytes, %" PRIu32
                       " chunks and %" PRIu32 " files, expected %" PRIu32
                       " chunks, and no more files than that and than fit",
                       len, get_le32 (buf), nr_files, nr_chunks);
  d = malloc (sizeof *d);
  if (d == NULL)
    return err_nomem (err);
  d->pos = buf + HEAD + (size_t) nr_files * UUID_SIZE;
  d->end = buf + len;
  d->nr_chunks = nr_chunks;
  d->nr_files = nr_files;
  d->done = d->nr_used = d->nr_runs = 0;
  r = take_runs (d, err);
  if (r == 0)
    r = check_files (buf + HEAD, nr_files, err);
  if (r == 0)
    r = publish (d, buf + HEAD, out, err);
  return r;
}

const struct nbi_run *
nbi_page_find (const struct nbi_page *page, uint32_t chunk)
{
  uint32_t low = 0, high = page->nr_runs;

  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;

    if (page->runs[middle].first <= chunk)
      low = middle;
    else
      high = middle;
  }
  return &page->runs[low];
}

/*--- Encoding ---------------------------------------------------------------*/

size_t
nbi_page_encode (const struct nbi_page *page, uint8_t *buf)
{
  uint64_t expected[NBI_PAGE_CHUNKS] = { 0 };
  uint8_t *p = buf + HEAD;

  put_le32 (buf, page->nr_chunks);
  put_le32 (buf + 4, page->nr_files);
  memcpy (p, page->files, (size_t) page->nr_files * UUID_SIZE);
  p += (size_t) page->nr_files * UUID_SIZE;
  for (uint32_t i = 0; i < page->nr_runs; ++i) {
    const struct nbi_run *run = &page->runs[i];

    p = put_varint (p, (run->count - 1U) * 8 + run->kind);
    if (!nbi_kind_has_data (run->kind))
      continue;
    p = put_varint (p, run->file);
    p = put_varint (p, to_zigzag ((int64_t) run->ordinal -
                                  (int64_t) expected[run->file]));
    expected[run->file] = (uint64_t) run->ordinal + run->count;
  }
  return (size_t) (p - buf);
}
