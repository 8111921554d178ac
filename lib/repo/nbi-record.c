/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "lib/repo/nbi-record.h"

#define MAGIC "NBIr"
#define CRC_OFF (NBI_RECORD_SIZE - 4)

uint64_t
nbi_record_end (const struct nbi_record *rec)
{
  return round_up (rec->off + NBI_RECORD_SIZE + rec->stored, NBI_RECORD_SIZE);
}

/*--- What headers and entries have in common --------------------------------*/

static uint32_t
largest_plain (const struct nbi_record *rec, const struct nbi_header *h)
{
  switch (rec->kind) {
  case NBI_CHUNK:
    return h->chunk_size;
  case NBI_PAGE:
    return NBI_PAGE_MAX;
  default:
    return NBI_MANIFEST_MAX;
  }
}

/* NBI-33 to NBI-35. */
static int
check_lengths (const struct nbi_record *rec, const struct nbi_header *h,
               struct err *err)
{
  uint32_t tag = nbi_encrypted (h) ? NBI_TAG_SIZE : 0;
  uint32_t net;

  if (rec->kind < NBI_CHUNK || rec->kind > NBI_MANIFEST)
    return nbi_beyond (err, 33, "record: kind %u, expected %d to %d",
                       rec->kind, NBI_CHUNK, NBI_MANIFEST);
  if (rec->codec > NBI_ZSTD)
    return nbi_beyond (err, 33, "record: codec %u, expected at most %d",
                       rec->codec, NBI_ZSTD);
  if (rec->plain == 0 || rec->plain > largest_plain (rec, h))
    return nbi_refuse (err, 34, "record: %" PRIu32 " plain bytes, expected 1"
                       " to %" PRIu32, rec->plain, largest_plain (rec, h));
  net = rec->stored - tag;
  if (rec->stored <= tag || net > rec->plain ||
      (net == rec->plain) != (rec->codec == NBI_STORED))
    return nbi_refuse (err, 35, "record: %" PRIu32 " bytes of codec %u for %"
                       PRIu32 " plain ones, expected %s", rec->stored,
                       rec->codec, rec->plain, rec->codec == NBI_STORED
                       ? "as many, and the tag's" : "fewer, and the tag's");
  return 0;
}

/* NBI-36 and NBI-37. */
static int
check_number (const struct nbi_record *rec, const struct nbi_header *h,
              struct err *err)
{
  if (rec->kind == NBI_CHUNK &&
      (rec->number >= nbi_nr_chunks (h) ||
       rec->plain != nbi_chunk_len (h, rec->number)))
    return nbi_refuse (err, 36, "record: chunk %" PRIu32 " of %" PRIu32
                       " bytes, on a disk of %" PRIu64 " bytes in chunks of %"
                       PRIu32, rec->number, rec->plain, h->disk_size,
                       h->chunk_size);
  if (rec->kind == NBI_PAGE && rec->number >= nbi_nr_pages (h))
    return nbi_refuse (err, 36, "record: page %" PRIu32 " of a map of %"
                       PRIu64, rec->number, nbi_nr_pages (h));
  if ((rec->ordinal == NBI_NONE) != (rec->kind == NBI_MANIFEST) ||
      (rec->kind == NBI_MANIFEST && rec->number != 0))
    return nbi_refuse (err, 37, "record: kind %u with ordinal %" PRIu32
                       " and number %" PRIu32, rec->kind, rec->ordinal,
                       rec->number);
  return 0;
}

static bool
fits (const struct nbi_record *rec, uint64_t end)
{
  return rec->off >= NBI_HEADER_SIZE &&
    range_fits (rec->off, NBI_RECORD_SIZE + (uint64_t) rec->stored, end);
}

/*--- A record's header ------------------------------------------------------*/

void
nbi_record_encode (const struct nbi_record *rec, uint64_t salt,
                   uint8_t buf[NBI_RECORD_SIZE])
{
  memset (buf, 0, NBI_RECORD_SIZE);
  memcpy (buf, MAGIC, 4);
  buf[4] = rec->kind;
  buf[5] = rec->codec;
  put_le64 (buf + 8, salt);
  put_le64 (buf + 16, rec->off);
  put_le32 (buf + 24, rec->ordinal);
  put_le32 (buf + 28, rec->number);
  put_le32 (buf + 32, rec->stored);
  put_le32 (buf + 36, rec->plain);
  put_le64 (buf + 40, rec->xxh3);
  put_le32 (buf + CRC_OFF, crc32c_update (0, buf, CRC_OFF));
}

int
nbi_record_decode (const uint8_t buf[NBI_RECORD_SIZE],
                   const struct nbi_header *h, uint64_t off, uint64_t end,
                   struct nbi_record *out, struct err *err)
{
  struct nbi_record rec = {
    .off = get_le64 (buf + 16), .ordinal = get_le32 (buf + 24),
    .number = get_le32 (buf + 28), .stored = get_le32 (buf + 32),
    .plain = get_le32 (buf + 36), .kind = buf[4], .codec = buf[5],
    .xxh3 = get_le64 (buf + 40),
  };
  int r;

  if (memcmp (buf, MAGIC, 4) != 0 ||
      get_le32 (buf + CRC_OFF) != crc32c_update (0, buf, CRC_OFF))
    return nbi_refuse (err, 30, "record at %" PRIu64 ": its header is none",
                       off);
  if (get_le64 (buf + 8) != h->salt)
    return nbi_refuse (err, 31, "record at %" PRIu64 ": of another file", off);
  if (rec.off != off)
    return nbi_refuse (err, 32, "record at %" PRIu64 ": belongs to %" PRIu64,
                       off, rec.off);
  r = check_lengths (&rec, h, err);
  if (r == 0)
    r = check_number (&rec, h, err);
  if (r < 0)
    return r;
  if (!fits (&rec, end))
    return nbi_refuse (err, 38, "record at %" PRIu64 ": %" PRIu32 " bytes do"
                       " not fit in front of %" PRIu64, off, rec.stored, end);
  r = nbi_check_zeros (buf, 6, 2, "record", err);
  if (r == 0)
    r = nbi_check_zeros (buf, 48, 12, "record", err);
  if (r == 0)
    *out = rec;
  return r;
}

/*--- An entry of the chunk table --------------------------------------------*/

void
nbi_entry_encode (const struct nbi_record *rec, uint8_t buf[NBI_ENTRY_SIZE])
{
  memset (buf, 0, NBI_ENTRY_SIZE);
  put_le64 (buf, rec->off);
  put_le32 (buf + 8, rec->stored);
  put_le32 (buf + 12, rec->plain);
  buf[16] = rec->kind;
  buf[17] = rec->codec;
  put_le32 (buf + 20, rec->number);
  put_le64 (buf + 24, rec->xxh3);
  memcpy (buf + 32, rec->identity, DIGEST_SIZE);
}

/* NBI-61. */
static int
check_entry (const struct nbi_record *rec, const struct nbi_header *h,
             struct err *err)
{
  struct err why = ERR_INIT;
  char entry[80];
  int r = check_lengths (rec, h, &why);

  if (r == 0)
    r = check_number (rec, h, &why);
  if (r == 0)
    return 0;
  snprintf (entry, sizeof entry, "entry %" PRIu32 " of the record at %" PRIu64,
            rec->ordinal, rec->off);
  return nbi_refuse_as (err, 61, rec->ordinal == NBI_NONE ? "entry" : entry,
                        &why);
}

int
nbi_entry_decode (const uint8_t buf[NBI_ENTRY_SIZE],
                  const struct nbi_header *h, uint32_t ordinal, uint64_t end,
                  struct nbi_record *out, struct err *err)
{
  struct nbi_record rec = {
    .off = get_le64 (buf), .ordinal = ordinal, .number = get_le32 (buf + 20),
    .stored = get_le32 (buf + 8), .plain = get_le32 (buf + 12),
    .kind = buf[16], .codec = buf[17], .xxh3 = get_le64 (buf + 24),
  };
  int r;

  memcpy (rec.identity, buf + 32, DIGEST_SIZE);
  if (rec.off == 0) {
    if (!nbi_is_zeros (buf, NBI_ENTRY_SIZE))
      return nbi_refuse (err, 62, "entry %" PRIu32 ": no offset, but more",
                         ordinal);
    *out = rec;
    return 0;
  }
  r = check_entry (&rec, h, err);
  if (r == 0)
    r = nbi_check_zeros (buf, 18, 2, "entry of a table", err);
  if (r < 0)
    return r;
  if (rec.off % NBI_RECORD_SIZE != 0 || !fits (&rec, end))
    return nbi_refuse (err, 60, "entry %" PRIu32 ": %" PRIu32 " bytes at %"
                       PRIu64 ", expected a multiple of %d, and their end in"
                       " front of %" PRIu64, ordinal, rec.stored, rec.off,
                       NBI_RECORD_SIZE, end);
  *out = rec;
  return 0;
}

/*--- What is asked of a record ----------------------------------------------*/

int
nbi_entries_check (const uint8_t *entries, unsigned count, struct err *err)
{
  if (nbi_is_zeros (entries, (size_t) count * NBI_ENTRY_SIZE))
    return nbi_refuse (err, 63, "chunk table: a sheet without any record");
  return 0;
}

static bool
is_there (const struct nbi_record *rec, uint32_t nr_ordinals)
{
  return rec->ordinal < nr_ordinals && !nbi_is_tombstone (rec);
}

int
nbi_record_is_chunk (const struct nbi_record *rec, uint32_t nr_ordinals,
                     const struct nbi_header *h, uint64_t chunk,
                     struct err *err)
{
  if (!is_there (rec, nr_ordinals) || rec->kind != NBI_CHUNK ||
      rec->plain != nbi_chunk_len (h, chunk))
    return nbi_refuse (err, 79, "chunk %" PRIu64 ": record %" PRIu32
                       " has kind %u and %" PRIu32 " plain bytes", chunk,
                       rec->ordinal, rec->kind, rec->plain);
  return 0;
}

int
nbi_record_is_page (const struct nbi_record *rec, uint32_t nr_ordinals,
                    struct err *err)
{
  if (!is_there (rec, nr_ordinals) || rec->kind != NBI_PAGE)
    return nbi_refuse (err, 81, "map: record %" PRIu32 " has kind %u",
                       rec->ordinal, rec->kind);
  return 0;
}
