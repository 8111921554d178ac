/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What becomes of each chunk: first by any thread for itself, then in the
 * order of the disk.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/backup-private.h"
#include "lib/repo/chunk-source.h"

/*--- By any thread ----------------------------------------------------------*/

int
backup_identity (const struct backup *b, const void *plain, size_t len,
                 uint8_t id[DIGEST_SIZE], struct err *err)
{
  return nbi_identity_with (b->keyed ? b->identity_key : NULL, plain, len, id,
                            err);
}

/* The same at that place of the base, which is data. */
static int
compare_to (const struct backup *b, uint64_t c,
            const struct generation_chunk *before, uint8_t *room,
            struct examined *e, struct err *err)
{
  struct generation *base = b->options->base;
  struct nbi_record record;
  int r = 0;

  if (generation_record (base, c, before, &record, NULL) < 0) {
    backup_proofs_damaged (b->proofs, before->index);
    return 0;
  }
  e->known = record.plain == e->record.plain &&
    memcmp (record.identity, e->record.identity, DIGEST_SIZE) == 0 &&
    generation_file (base, before->index, &e->file, NULL) == 0;
  e->record.ordinal = before->ordinal;
  if (e->known && b->proofs != NULL) {
    r = backup_prove (b->proofs, before, &record, room, &e->known, err);
    if (r == 0 && !e->known)
      backup_proofs_damaged (b->proofs, before->index);
  }
  return r;
}

/* What of the base can't be read it has not: then it is written again. */
int
backup_compare_to_base (const struct backup *b, uint64_t c, uint8_t *room,
                        struct examined *e, struct err *err)
{
  struct generation *base = b->options->base;
  struct generation_chunk before;
  int r = 0;

  if (c >= nbi_nr_chunks (generation_header (base)))
    return 0;
  if (generation_find (base, c, &before, NULL) < 0) {
    backup_proofs_lost (b->proofs);
    return 0;
  }
  if (before.kind == NBI_DATA)
    r = compare_to (b, c, &before, room, e, err);
  if (before.file != NULL)
    file_reader_unref (before.file);
  return r;
}

/* What the base has not (not allocated then, unreadable) is read, whether it
 * was written or not; so is what it has damaged, and counted then.
 */
bool
backup_take_unwritten (const struct backup *b, uint64_t c, uint8_t *room,
                       struct examined *e)
{
  struct generation *base = b->options->base;
  uint32_t len = nbi_chunk_len (&b->header, c);
  struct generation_chunk before;

  if (b->written == NULL ||
      used_map_touches (b->written, c * b->header.chunk_size, len) ||
      generation_find (base, c, &before, NULL) < 0)
    return false;
  *e = (struct examined) { .kind = before.kind };
  e->known = before.kind == NBI_DATA &&
    generation_record (base, c, &before, &e->record, NULL) == 0 &&
    e->record.plain == len &&
    generation_file (base, before.index, &e->file, NULL) == 0;
  if (e->known && b->proofs != NULL &&
      backup_prove (b->proofs, &before, &e->record, room, &e->known, NULL) < 0)
    e->known = false;
  e->record.ordinal = before.ordinal;
  file_reader_unref (before.file);
  return e->known || before.kind == NBI_ZERO;
}

void
backup_find_left (struct backup *b, struct examined *e)
{
  e->whole = b->options->leftovers != NULL && !e->known &&
    e->kind == NBI_DATA &&
    leftovers_find (b->options->leftovers, &e->record, e->file.uuid);
  if (e->whole)
    memcpy (e->file.run, b->header.run, UUID_SIZE);
}

/* Or was an interrupted run about to? */
static void
look_at_parts (struct backup *b, const uint8_t *plain, uint8_t *room,
               struct examined *e)
{
  e->copied = b->options->leftovers != NULL && !e->known && !e->whole &&
    e->kind == NBI_DATA &&
    leftovers_copy (b->options->leftovers, plain, &e->record, room);
  if (e->copied)
    e->payload = room;
}

static int
examine_data (struct backup *b, struct hand *hand, uint64_t c,
              const uint8_t *plain, uint8_t *room, struct examined *e,
              struct err *err)
{
  struct generation *base = b->options->base;
  int r;

  if (e->kind == NBI_DATA && crew_is_zero (plain, e->record.plain)) {
    e->kind = NBI_ZERO;
    return 0;
  }
  r = backup_identity (b, plain, e->record.plain, e->record.identity, err);
  if (r == 0 && base != NULL && e->kind == NBI_DATA)
    r = backup_compare_to_base (b, c, room, e, err);
  if (r == 0) {
    backup_find_left (b, e);
    look_at_parts (b, plain, room, e);
  }
  if (r == 0 && !e->known && !e->whole && !e->copied)
    r = payload_encode (hand->encoder, plain, &e->record, room, &e->payload,
                        err);
  return r;
}

/* How many bytes of the range at off could not be read. */
static uint64_t
bad_bytes (const struct hand *hand, uint64_t off, uint64_t len)
{
  uint64_t n = 0;

  for (size_t i = 0; i < hand->bad.len; ++i) {
    const struct nbi_range *range = &hand->bad.ptr[i];
    uint64_t start = max_u64 (range->off, off);
    uint64_t end = min_u64 (range->off + range->len, off + len);

    if (start < end)
      n += end - start;
  }
  return n;
}

/* Nothing of a row of chunks could be read. */
static int
check_there (const struct backup *b, uint64_t off, struct err *err)
{
  int r = bad_sectors_check_there (b->source, err);

  return r < 0 ? err_in (err, "%s: reading at offset %" PRIu64,
                         block_name (b->source), off) : 0;
}

/* Chunks that are to be read, side by side: those from `first' to `end'. */
static int
read_chunks (struct backup *b, struct hand *hand, uint8_t *buf, size_t len,
             uint64_t off, struct err *err)
{
  struct err why = ERR_INIT;
  int r = block_pread (b->source, buf, len, off, &why);

  hand->read += len;
  if (r == 0)
    return 0;
  if (bad_sectors_may_be (r)) {
    r = bad_sectors_read (b->source, buf, len, off, &hand->bad, err);
    return r < 0 || bad_bytes (hand, off, len) < len ? r
      : check_there (b, off, err);
  }
  return err_set (err, why.code, "%s: reading at offset %" PRIu64 ": %s",
                  block_name (b->source), off, why.msg);
}

/* A chunk that is zeros, or at `in' in the buffer. */
static int
examine_chunk (struct backup *b, const struct crew_member *me,
               struct hand *hand, uint64_t off, bool zero, struct err *err)
{
  const struct nbi_header *h = &b->header;
  size_t in = (size_t) (off - me->range.off);
  struct examined *e = &hand->chunks[hand->nr++];
  uint64_t c = off / h->chunk_size, bad;

  *e = (struct examined) {
    .kind = zero ? NBI_ZERO : NBI_DATA,
    .record = {
      .kind = NBI_CHUNK,
      .number = (uint32_t) c,
      .plain = nbi_chunk_len (h, c),
    },
  };
  if (zero)
    return 0;
  bad = bad_bytes (hand, off, e->record.plain);
  if (bad > 0)
    e->kind = bad == e->record.plain ? NBI_UNREADABLE : NBI_DATA_IN_PART;
  return e->kind == NBI_UNREADABLE ? 0
    : examine_data (b, hand, c, me->buffers[0] + in, me->buffers[1] + in, e,
                    err);
}

/* Chunks side by side, all of them zeros or read in one go. */
static int
examine_row (struct backup *b, const struct crew_member *me,
             struct hand *hand, uint64_t off, uint64_t end, bool zero,
             struct err *err)
{
  size_t in = (size_t) (off - me->range.off);
  int r = 0;

  if (!zero && off < end)
    r = read_chunks (b, hand, me->buffers[0] + in, (size_t) (end - off), off,
                     err);
  for (; r == 0 && off < end; off += b->header.chunk_size)
    r = examine_chunk (b, me, hand, off, zero, err);
  return r;
}

/* One extent of the piece: chunks with zeros, or with data, of which those are
 * read that were written.
 */
static int
examine_extent (struct backup *b, const struct crew_member *me,
                struct hand *hand, const struct extent *extent,
                struct err *err)
{
  const uint32_t chunk_size = b->header.chunk_size;
  bool zero = copy_kind_is_zero (extent->kind);
  uint64_t start = extent->off, end = extent->off + extent->len;
  int r = 0;

  for (uint64_t off = start; !zero && r == 0 && off < end; off += chunk_size) {
    struct examined known;

    if (!backup_take_unwritten (b, off / chunk_size, me->buffers[1] +
                                (off - me->range.off), &known))
      continue;
    r = examine_row (b, me, hand, start, off, false, err);
    if (r == 0)
      hand->chunks[hand->nr++] = known;
    start = off + chunk_size;
  }
  return r < 0 || start >= end ? r
    : examine_row (b, me, hand, start, end, zero, err);
}

int
backup_examine (struct backup *b, const struct crew_member *me,
                struct hand *hand, struct err *err)
{
  int r = 0;

  hand->nr = 0;
  hand->bad.len = 0;
  for (size_t i = 0; r == 0 && i < me->range.extents.len; ++i)
    r = examine_extent (b, me, hand, &me->range.extents.ptr[i], err);
  return r;
}

/*--- One after the other ----------------------------------------------------*/

static int
append_data (struct backup *b, const struct examined *e, struct err *err)
{
  struct nbi_record record = e->record;
  struct map_cell cell = { .kind = e->kind, .identity = record.identity };
  int r;

  ++b->counts.data;
  if (e->known) {
    cell.ordinal = record.ordinal;
    r = file_table_add (&b->files, e->file.uuid, e->file.run, &cell.file, err);
  }
  else if (identity_index_find (b->known, record.identity, &cell.file,
                                &cell.ordinal))
    r = 0;
  else {
    r = e->whole
      ? file_table_add (&b->files, e->file.uuid, e->file.run, &cell.file, err)
      : run_add (b->run, &record, e->payload, &cell.file, err);
    cell.ordinal = record.ordinal;
    if (r == 0) {
      b->adopted += e->whole || e->copied;
      identity_index_add (b->known, record.identity, cell.file, cell.ordinal);
      ++b->counts.fresh;
      b->counts.stored += record.stored;
    }
  }
  return r < 0 ? r : map_writer_add (b->map, &cell, 1, err);
}

/* Is anything used of the chunks from off on that read as zeros? */
static int
find_zeros (struct backup *b, uint64_t off, uint64_t end,
            enum nbi_cell_kind *kind, uint64_t *until, struct err *err)
{
  if (b->options->from != NULL)
    return backup_kind_of_zeros (b, off, end, kind, until, err);
  *kind = chunk_source_uses (b->source, off, end, until) ? NBI_ZERO
    : NBI_UNALLOCATED;
  return 0;
}

/* Chunks that read as zeros, of which perhaps nothing is used. */
static int
append_zeros (struct backup *b, uint64_t off, uint64_t end, struct err *err)
{
  int r = 0;

  while (r == 0 && off < end) {
    struct map_cell cell = { .kind = NBI_ZERO };
    uint64_t until, n;

    r = find_zeros (b, off, end, &cell.kind, &until, err);
    if (r < 0)
      return r;
    n = div_round_up (until - off, b->header.chunk_size);
    r = map_writer_add (b->map, &cell, n, err);
    *(cell.kind == NBI_ZERO ? &b->counts.zero : &b->counts.unallocated) += n;
    off = until;
  }
  return r;
}

static int
append_bad (struct backup *b, const struct hand *hand, struct err *err)
{
  for (size_t i = 0; i < hand->bad.len; ++i) {
    const struct nbi_range *range = &hand->bad.ptr[i];
    struct nbi_range *last = b->bad.len > 0 ? &b->bad.ptr[b->bad.len - 1]
      : NULL;

    b->counts.unreadable_bytes += range->len;
    if (last != NULL && last->off + last->len == range->off)
      last->len += range->len;
    else if (vector_append (&b->bad, range) < 0)
      return err_nomem (err);
  }
  return 0;
}

int
backup_append (struct backup *b, const struct copy_range *range,
               const struct hand *hand, struct err *err)
{
  uint64_t off = range->off, end = range->off + range->len;
  const struct map_cell unreadable = { .kind = NBI_UNREADABLE };
  int r = 0;

  if (range->zero)
    return append_zeros (b, off, end, err);
  for (size_t i = 0; r == 0 && i < hand->nr; ++i) {
    const struct examined *e = &hand->chunks[i];
    uint64_t next = min_u64 (off + b->header.chunk_size, end);

    if (e->kind == NBI_ZERO)
      r = append_zeros (b, off, next, err);
    else if (e->kind == NBI_UNREADABLE) {
      ++b->counts.unreadable;
      r = map_writer_add (b->map, &unreadable, 1, err);
    }
    else
      r = append_data (b, e, err);
    off = next;
  }
  return r < 0 ? r : append_bad (b, hand, err);
}
