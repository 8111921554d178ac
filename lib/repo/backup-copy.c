/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A generation becomes one elsewhere (docs/NBI.md §13): what a disk would have
 * to be read and compressed for is in its records already, which are moved as
 * they are.  Their payloads are checked (NBI-40), their identities stay; so do
 * the hashes, which are made anew and compared with what the manifest says.
 *
 * Encrypted records are decrypted here, with the key of the file that they lie
 * in, and encrypted again under that of the file that is written.  Where the
 * copy has another master key, or none, or what is copied has none, identities
 * are others: each chunk is decoded, too, proven by the identity that it has
 * (NBI-43) and given another one; its payload stays as it was compressed.  The
 * hashes of the manifest can't be compared then.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/backup-private.h"

_Static_assert (COPY_PIECE >= NBI_CHUNK_MAX + NBI_TAG_SIZE,
                "a buffer has room for a record");

/*--- May it be copied? ------------------------------------------------------*/

static int
check_file (struct generation *from, uint32_t i, struct err *err)
{
  struct file_reader *file;
  int r = generation_get_file (from, i, &file, err);

  if (r < 0)
    return r;
  r = nbi_header_may_rewrite (file_reader_header (file), err);
  if (r < 0)
    r = err_in (err, "%s", file_reader_name (file));
  file_reader_unref (file);
  return r;
}

int
backup_check_from (struct backup *b, struct err *err)
{
  struct generation *from = b->options->from;
  const struct nbi_header *h = generation_header (from);
  int r = nbi_header_may_rewrite (h, err);

  if (r < 0)
    return r;
  if (nbi_encrypted (h) && !nbi_encrypted (&b->header) && !b->options->decrypt)
    return err_set (err, -EACCES, "it is encrypted, and the copy would not be");
  b->rekeyed = h->encryption != b->header.encryption ||
    memcmp (h->key_id, b->header.key_id, NBI_KEY_ID_SIZE) != 0;
  if (h->chunk_size != b->header.chunk_size ||
      h->disk_size != b->header.disk_size)
    return err_set (err, -EINVAL, "a copy has the size and the chunks of what "
                    "is copied");
  for (uint32_t i = 0; r == 0 && i < generation_nr_files (from); ++i)
    r = check_file (from, i, err);
  return r;
}

int
backup_check_hash (const uint8_t was[DIGEST_SIZE],
                   const uint8_t is[DIGEST_SIZE], struct err *err)
{
  if (memcmp (was, is, DIGEST_SIZE) == 0)
    return 0;
  return nbi_refuse (err, 87, "what the tables say of the disk does not add up "
                     "to the hash that the manifest has");
}

/*--- Chunks -----------------------------------------------------------------*/

/* Where a chunk goes, room for it with its tag, and what decodes it. */
struct desk {
  uint8_t *room, *sealed;
  struct hand *hand;
};

/* The payload of a record, as it is stored, but without a tag. */
static int
move_payload (struct file_reader *file, struct nbi_record *record,
              const struct desk *desk, struct err *err)
{
  bool sealed = nbi_encrypted (file_reader_header (file));
  uint8_t *to = sealed ? desk->sealed : desk->room;
  int r = block_pread (file_reader_block (file), to, record->stored,
                       record->off + NBI_RECORD_SIZE, err);

  if (r == 0)
    r = file_reader_check (record, to, err);
  if (r == 0)
    r = file_reader_unseal (file, record, to, err);
  if (r == 0 && sealed)
    memcpy (desk->room, to, record->stored);
  return r;
}

/* The identity of a payload that was moved, in the files that are written. */
static int
make_identity (struct backup *b, struct file_reader *file,
               const struct nbi_record *record, const struct desk *desk,
               uint8_t identity[DIGEST_SIZE], struct err *err)
{
  struct hand *hand = desk->hand;
  int r;

  if (hand->decoder == NULL) {
    r = payload_decoder_new (&hand->decoder, err);
    if (r < 0)
      return r;
    hand->plain = malloc (b->header.chunk_size);
    if (hand->plain == NULL)
      return err_nomem (err);
  }
  r = payload_decode (hand->decoder, record, desk->room, hand->plain, err);
  if (r == 0)
    r = file_reader_identity (file, hand->plain, record->plain, identity, err);
  if (r == 0 && memcmp (identity, record->identity, DIGEST_SIZE) != 0)
    r = nbi_refuse (err, 43, "the record at %" PRIu64 " has another identity "
                    "than the table says", record->off);
  return r < 0 ? r
    : backup_identity (b, hand->plain, record->plain, identity, err);
}

static int
take_data (struct backup *b, uint64_t c, const struct generation_chunk *place,
           const struct desk *desk, struct examined *e, struct err *err)
{
  struct generation *base = b->options->base;
  struct nbi_record record;
  int r = generation_record (b->options->from, c, place, &record, err);

  if (r < 0)
    return r;
  e->record.codec = record.codec;
  e->payload = desk->room;
  memcpy (e->record.identity, record.identity, DIGEST_SIZE);
  if (b->rekeyed) {
    r = move_payload (place->file, &record, desk, err);
    if (r == 0)
      r = make_identity (b, place->file, &record, desk, e->record.identity,
                         err);
    if (r < 0)
      return r;
    e->record.stored = record.stored;
  }
  if (base != NULL && e->kind == NBI_DATA)
    r = backup_compare_to_base (b, c, NULL, e, err);      /* no proofs */
  if (r < 0)
    return r;
  backup_find_left (b, e);
  if (e->known || e->whole || b->rekeyed)
    return 0;
  r = move_payload (place->file, &record, desk, err);
  e->record.stored = record.stored;
  return r;
}

static int
take_chunk (struct backup *b, uint64_t c, const struct desk *desk,
            struct examined *e, struct err *err)
{
  struct generation_chunk place;
  int r = generation_find (b->options->from, c, &place, err);

  if (r < 0)
    return err_in (err, "chunk %" PRIu64, c);
  *e = (struct examined) {
    .kind = place.kind == NBI_UNALLOCATED ? NBI_ZERO : place.kind,
    .record = {
      .kind = NBI_CHUNK,
      .number = (uint32_t) c,
      .plain = nbi_chunk_len (&b->header, c),
    },
  };
  if (place.file == NULL)
    return 0;
  r = take_data (b, c, &place, desk, e, err);
  if (r < 0)
    r = err_in (err, "%s: chunk %" PRIu64, file_reader_name (place.file), c);
  file_reader_unref (place.file);
  return r;
}

/* What of the piece could not be read when it was backed up. */
static int
take_ranges (struct backup *b, struct hand *hand,
             const struct copy_range *piece, struct err *err)
{
  uint64_t off = piece->off, end = off + piece->len;
  int r = 0;

  while (r == 0 && off < end) {
    struct nbi_range range;
    bool found;

    r = generation_range_after (b->options->from, off, &range, &found, err);
    if (r < 0 || !found || range.off >= end)
      break;
    range.len = min_u64 (range.off + range.len, end);
    range.off = max_u64 (range.off, off);
    range.len -= range.off;
    if (vector_append (&hand->bad, &range) < 0)
      r = err_nomem (err);
    off = range.off + range.len;
  }
  return r;
}

int
backup_take (struct backup *b, const struct crew_member *me,
             struct hand *hand, struct err *err)
{
  const struct copy_range *piece = &me->range;
  uint32_t size = b->header.chunk_size;
  int r = 0;

  hand->nr = 0;
  hand->bad.len = 0;
  for (uint64_t in = 0; r == 0 && in < piece->len; in += size) {
    const struct desk desk = { me->buffers[0] + in, me->buffers[1], hand };

    r = take_chunk (b, (piece->off + in) / size, &desk,
                    &hand->chunks[hand->nr++], err);
  }
  return r < 0 ? r : take_ranges (b, hand, piece, err);
}

int
backup_kind_of_zeros (struct backup *b, uint64_t off, uint64_t end,
                      enum nbi_cell_kind *kind, uint64_t *until,
                      struct err *err)
{
  uint32_t size = b->header.chunk_size;
  struct generation_run run;
  int r = generation_run_at (b->options->from, off / size, &run, err);

  if (r < 0)
    return r;
  *kind = run.kind;
  *until = min_u64 (run.end * size, end);
  return 0;
}
