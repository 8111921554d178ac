/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "lib/repo/payload.h"
#include "lib/repo/record-proof.h"

static bool
same_record (const struct nbi_record *a, const struct nbi_record *b)
{
  return a->kind == b->kind && a->codec == b->codec &&
    a->number == b->number && a->stored == b->stored &&
    a->plain == b->plain && a->xxh3 == b->xxh3 && a->ordinal == b->ordinal;
}

int
record_proof_header (struct file_reader *file,
                     const struct nbi_record *record, struct err *err)
{
  uint8_t head[NBI_RECORD_SIZE];
  struct nbi_record found;
  int r;

  r = block_pread (file_reader_block (file), head, sizeof head, record->off,
                   err);
  if (r == 0)
    r = nbi_record_decode (head, file_reader_header (file), record->off,
                           file_reader_end (file), &found, err);
  if (r == 0 && !same_record (&found, record))
    r = nbi_refuse (err, 67, "the header of the record at %" PRIu64 " says "
                    "other things than the table", record->off);
  return r;
}

int
record_proof_data (struct file_reader *file, const struct nbi_record *record,
                   struct decoders *decoders, uint8_t *room, struct err *err)
{
  uint8_t identity[DIGEST_SIZE];
  int r;

  r = decoders_read (decoders, file, record, room, err);
  if (r == 0)
    r = file_reader_identity (file, room, record->plain, identity, err);
  if (r == 0 && memcmp (identity, record->identity, DIGEST_SIZE) != 0)
    r = nbi_refuse (err, 43, "the record at %" PRIu64 " has another identity "
                    "than the table says", record->off);
  return r;
}
