/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Records of a backup image, as their headers and as the chunk table have
 * them: docs/NBI.md §5 and §7.
 */

#ifndef NBDIMAGE_REPO_NBI_RECORD_H
#define NBDIMAGE_REPO_NBI_RECORD_H

#include "lib/base/digest.h"
#include "lib/repo/nbi-header.h"

struct nbi_record {
  uint64_t off;                 /* of its header in the file */
  uint32_t ordinal;             /* NBI_NONE: the manifest */
  uint32_t number;              /* of the chunk or page it was written for */
  uint32_t stored;              /* bytes of the payload */
  uint32_t plain;               /* bytes */
  uint8_t kind;                 /* enum nbi_kind */
  uint8_t codec;                /* enum nbi_codec */
  uint64_t xxh3;                /* of the payload */
  uint8_t identity[DIGEST_SIZE];        /* not in a record's header */
};

/* The header in front of the payload. */
void nbi_record_encode (const struct nbi_record *rec, uint64_t salt,
                        uint8_t buf[NBI_RECORD_SIZE]);

/* That at `off' of the file with this header, whose records end at `end' at
 * the latest.  NBI-1, NBI-30 to NBI-38; the identity is zeros.
 */
int nbi_record_decode (const uint8_t buf[NBI_RECORD_SIZE],
                       const struct nbi_header *h, uint64_t off, uint64_t end,
                       struct nbi_record *rec, struct err *err);

#define NBI_ENTRY_SIZE 64       /* in the chunk table */

void nbi_entry_encode (const struct nbi_record *rec,
                       uint8_t buf[NBI_ENTRY_SIZE]);

/* The entry of that ordinal; NBI_NONE: the trailer's, of the manifest.
 * Records end at `end' at the latest.  NBI-1 and NBI-60 to NBI-62.  A tombstone
 * has off 0 and kind 0.
 */
int nbi_entry_decode (const uint8_t buf[NBI_ENTRY_SIZE],
                      const struct nbi_header *h, uint32_t ordinal,
                      uint64_t end, struct nbi_record *rec, struct err *err);

static inline bool
nbi_is_tombstone (const struct nbi_record *rec)
{
  return rec->off == 0;
}

/* NBI-63: of a sheet with that many entries of the chunk table. */
int nbi_entries_check (const uint8_t *entries, unsigned count,
                       struct err *err);

/* NBI-79: the record, as the table of its file has it, is that of a chunk of
 * the disk of h; nr_ordinals are in that file.
 */
int nbi_record_is_chunk (const struct nbi_record *rec, uint32_t nr_ordinals,
                         const struct nbi_header *h, uint64_t chunk,
                         struct err *err);

/* NBI-81: it is a page of a map. */
int nbi_record_is_page (const struct nbi_record *rec, uint32_t nr_ordinals,
                        struct err *err);

/* Where the next record may begin. */
uint64_t nbi_record_end (const struct nbi_record *rec);

#endif /* NBDIMAGE_REPO_NBI_RECORD_H */
