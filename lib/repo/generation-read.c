/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading a generation.  A read is cut into chunks:
 *
 *   a whole chunk      is decoded where it is wanted, unless it is in the
 *                      cache; chunks whose records lie behind each other are
 *                      read in one go, and pass the cache by
 *   a part of one      is decoded, as far as it has to be, if it is wanted
 *                      for the first time in a while; otherwise it comes from
 *                      the cache, which decodes it if need be
 *
 * So what is read at random, once, takes nothing from the cache, and decodes
 * into memory that was just used.  Threads that want parts of the same chunk
 * at the same time decode it twice at most.
 *
 * Of a chunk with sectors that can't be read only the others are given out.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/generation-private.h"

/* Chunks that are decoded together: what a request has of them at most, in
 * records that one decoder has room for.
 */
#define MAX_ROW 64

/* A part of one chunk of the disk. */
struct part {
  uint64_t chunk;
  uint32_t in;                  /* bytes from the chunk's start */
  uint32_t len;
};

static struct part
part_at (const struct nbi_header *h, uint64_t off, size_t len)
{
  struct part part = {
    .chunk = off / h->chunk_size,
    .in = (uint32_t) (off % h->chunk_size),
  };

  part.len = (uint32_t) min_u64 (len, nbi_chunk_len (h, part.chunk) - part.in);
  return part;
}

/*--- What can't be read -----------------------------------------------------*/

/* NBI-85, of chunks with data; and no byte of what can't be read is given
 * out.
 */
static int
check_ranges (struct generation *gen, const struct part *part,
              enum nbi_cell_kind kind, struct err *err)
{
  const struct nbi_header *h = generation_header (gen);
  uint64_t start = part->chunk * h->chunk_size;
  uint64_t end = start + nbi_chunk_len (h, part->chunk);
  uint64_t off = start + part->in;
  struct nbi_range range;
  bool found;
  int r;

  if (kind == NBI_DATA && file_reader_trailer (gen->last)->nr_ranges == 0)
    return 0;
  r = generation_range_after (gen, start, &range, &found, err);
  if (r < 0)
    return r;
  found = found && range.off < end;
  if (found != (kind == NBI_DATA_IN_PART))
    return nbi_refuse (err, 85, "chunk %" PRIu64 " is said to be %s, but is %s "
                       "the list of what can't be read", part->chunk,
                       kind == NBI_DATA ? "whole" : "unreadable in part",
                       found ? "in" : "not in");
  if (!found)
    return 0;
  r = generation_range_after (gen, off, &range, &found, err);
  if (r == 0 && found && range.off < off + part->len)
    r = err_set (err, -EIO, "bytes %" PRIu64 " to %" PRIu64 " could not be "
                 "read from the disk when it was backed up", range.off,
                 range.off + range.len - 1);
  return r;
}

static int
refuse_unreadable (const struct generation *gen, uint64_t c, struct err *err)
{
  const struct nbi_header *h = generation_header (gen);
  uint64_t off = c * h->chunk_size;

  return err_set (err, -EIO, "bytes %" PRIu64 " to %" PRIu64 " could not be "
                  "read from the disk when it was backed up", off,
                  off + nbi_chunk_len (h, c) - 1);
}

/*--- One chunk --------------------------------------------------------------*/

/* A record, decoded.  A map may say of chunks of different lengths that they
 * are in it, so that its length is asked for each time (NBI-79).
 */
struct decoded {
  uint32_t len;
  uint8_t bytes[];
};

struct chunk_wanted {
  struct generation *gen;
  uint64_t chunk;
  const struct generation_chunk *place;
};

static int
make_chunk (void *opaque, const struct cache_key *key, void **value,
            size_t *size, struct err *err)
{
  const struct chunk_wanted *wanted = opaque;
  CLEANUP_FREE struct decoded *plain = NULL;
  struct nbi_record record;
  int r;

  (void) key;
  r = generation_record (wanted->gen, wanted->chunk, wanted->place, &record,
                         err);
  if (r == 0 && (plain = malloc (sizeof *plain + record.plain)) == NULL)
    r = err_nomem (err);
  if (r == 0)
    r = decoders_read (wanted->gen->decoders, wanted->place->file, &record,
                       plain->bytes, err);
  if (r < 0)
    return r;
  plain->len = record.plain;
  *value = steal_ptr (&plain);
  *size = sizeof (struct decoded) + record.plain;
  return 0;
}

static struct cache_key
key_of (const struct generation_chunk *place)
{
  return (struct cache_key) { file_reader_id (place->file), place->ordinal };
}

/* Copy the part, if the item is as long as its chunk; it is put back. */
static bool
copy_part (struct generation *gen, const struct part *part,
           struct cache_item *item, void *buf)
{
  const struct decoded *plain = cache_value (item);
  bool fits = plain->len == nbi_chunk_len (generation_header (gen),
                                           part->chunk);

  if (fits)
    memcpy (buf, plain->bytes + part->in, part->len);
  cache_put (gen->caches->chunks, item);
  return fits;
}

/* Is it in the cache?  Then that is done. */
static bool
read_cached (struct generation *gen, const struct part *part,
             const struct generation_chunk *place, void *buf)
{
  const struct cache_key key = key_of (place);
  struct cache_item *item = cache_find (gen->caches->chunks, &key);

  return item != NULL && copy_part (gen, part, item, buf);
}

static int
read_part (struct generation *gen, const struct part *part,
           const struct generation_chunk *place, void *buf, struct err *err)
{
  struct chunk_wanted wanted = { gen, part->chunk, place };
  const struct cache_key key = key_of (place);
  const struct cache_maker maker = { make_chunk, &wanted };
  struct cache_item *item;
  struct nbi_record record;
  int r;

  r = cache_get (gen->caches->chunks, &key, &maker, &item, err);
  if (r < 0 || copy_part (gen, part, item, buf))
    return r;
  /* Another chunk, of another length, has it there: that refuses it. */
  r = generation_record (gen, part->chunk, place, &record, err);
  return r < 0 ? r
    : nbi_refuse (err, 79, "chunk %" PRIu64 " is in a record of another "
                  "length", part->chunk);
}

/* A part that nobody is going to ask for again soon. */
static int
glance (struct generation *gen, const struct part *part,
        const struct generation_chunk *place, void *buf, struct err *err)
{
  struct nbi_record record;
  int r = generation_record (gen, part->chunk, place, &record, err);

  return r < 0 ? r
    : decoders_read_part (gen->decoders, place->file, &record, part->in,
                          part->len, buf, err);
}

/* Is more of the chunk going to be wanted?  If some of it was, a while ago; or
 * if this is the beginning, and the reader comes from the one before it.  All
 * of it is for one that reads the same again and again.
 */
static bool
is_worth_keeping (struct generation *gen, const struct part *part,
                  const struct generation_chunk *place, bool whole)
{
  struct cache *chunks = gen->caches->chunks;
  const struct cache_key key = key_of (place);
  const struct cache_key before = { key.owner, key.number - 1 };

  return cache_note (chunks, &key) ||
    (!whole && part->in == 0 && cache_recalls (chunks, &before));
}

/*--- Whole chunks -----------------------------------------------------------*/

/* Records of one file that lie behind each other, for chunks that do so. */
struct row {
  struct nbi_record records[MAX_ROW];
  size_t n;
  size_t plain;                 /* bytes of all */
};

/* Does the record go on where the row is, and is there room for it? */
static bool
row_takes (const struct row *row, const struct nbi_record *record)
{
  const struct nbi_record *last = &row->records[row->n - 1];

  return row->n < MAX_ROW && record->off == nbi_record_end (last) &&
    record->off - row->records->off + record->stored <= DECODERS_ROOM -
    NBI_RECORD_SIZE;
}

/* Whole chunks from off on, len bytes at most, the first of which lies at
 * place: how many bytes were read.
 */
static int
read_row (struct generation *gen, void *buf, size_t len, uint64_t off,
          const struct generation_chunk *place, size_t *done, struct err *err)
{
  const struct nbi_header *h = generation_header (gen);
  struct row row = { .n = 0 };
  int r = 0;

  for (;;) {
    const struct part part = part_at (h, off + row.plain, len - row.plain);
    struct nbi_record *record = &row.records[row.n];
    struct generation_chunk next = *place;

    if (row.n > 0) {
      if (row.n == MAX_ROW || row.plain == len ||
          part.len < nbi_chunk_len (h, part.chunk) ||
          generation_find (gen, part.chunk, &next, NULL) < 0)
        break;
      if (next.file != NULL)
        file_reader_unref (next.file);  /* place has one, if it is the same */
      if (next.kind != NBI_DATA || next.file != place->file)
        break;
    }
    r = generation_record (gen, part.chunk, &next, record,
                           row.n == 0 ? err : NULL);
    if (r == 0 && row.n > 0 &&
        (!row_takes (&row, record) ||
         check_ranges (gen, &part, NBI_DATA, NULL) < 0))
      break;
    if (r < 0)
      break;
    ++row.n;
    row.plain += part.len;
  }
  if (row.n == 0)
    return r;
  *done = row.plain;
  return decoders_read_row (gen->decoders, place->file, row.records, row.n,
                            buf, err);
}

/*--- Reading ----------------------------------------------------------------*/

/* The same part from a lower edition of the file, which failed with r: what was
 * damaged since may be whole there (§13).
 */
static int
read_lower (struct generation *gen, const struct part *part,
            const struct generation_chunk *place, void *buf, int r)
{
  struct generation_chunk lower = *place;
  uint32_t edition = file_reader_header (place->file)->edition;
  struct nbi_file entry;

  if (edition == 0 || gen->files == NULL || gen->files->open_lower == NULL ||
      (r != -EBADMSG && r != -EIO) ||
      generation_file (gen, place->index, &entry, NULL) < 0)
    return r;
  while (r < 0 && gen->files->open_lower (gen->files->opaque, &entry, edition,
                                          &lower.file, NULL) == 0) {
    edition = file_reader_header (lower.file)->edition;
    if (read_part (gen, part, &lower, buf, NULL) == 0)
      r = 0;
    file_reader_unref (lower.file);
  }
  return r;
}

/* Of a chunk with data that can be read. */
static int
read_data (struct generation *gen, void *buf, size_t len, uint64_t off,
           const struct part *part, const struct generation_chunk *place,
           size_t *done, struct err *err)
{
  bool whole = part->len == nbi_chunk_len (generation_header (gen),
                                           part->chunk);
  int r;

  if (read_cached (gen, part, place, buf))
    return 0;
  /* Who reads several at once will go on. */
  if ((!whole || len == part->len) &&
      is_worth_keeping (gen, part, place, whole))
    r = read_part (gen, part, place, buf, err);
  else if (whole)
    r = read_row (gen, buf, len, off, place, done, err);
  else
    r = glance (gen, part, place, buf, err);
  if (r < 0) {
    r = read_lower (gen, part, place, buf, r);
    *done = part->len;
  }
  return r;
}

/* Something from off on, of one chunk at least: how many bytes. */
static int
read_some (struct generation *gen, void *buf, size_t len, uint64_t off,
           size_t *done, struct err *err)
{
  const struct nbi_header *h = generation_header (gen);
  const struct part part = part_at (h, off, len);
  struct generation_chunk place;
  int r;

  r = generation_find (gen, part.chunk, &place, err);
  if (r < 0)
    return r;
  *done = part.len;
  if (place.kind == NBI_ZERO || place.kind == NBI_UNALLOCATED) {
    memset (buf, 0, part.len);
    return 0;
  }
  if (place.kind == NBI_UNREADABLE)
    return refuse_unreadable (gen, part.chunk, err);
  r = check_ranges (gen, &part, place.kind, err);
  if (r == 0)
    r = read_data (gen, buf, len, off, &part, &place, done, err);
  if (r < 0)
    r = err_in (err, "%s", file_reader_name (place.file));
  file_reader_unref (place.file);
  return r;
}

int
generation_pread (struct generation *gen, void *buf, size_t len, uint64_t off,
                  struct err *err)
{
  uint8_t *p = buf;

  while (len > 0) {
    size_t done;
    int r = read_some (gen, p, len, off, &done, err);

    if (r < 0)
      return err_in (err, "chunk %" PRIu64,
                     off / generation_header (gen)->chunk_size);
    p += done;
    off += done;
    len -= done;
  }
  return 0;
}
