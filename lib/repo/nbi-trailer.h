/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The trailer of a backup image: docs/NBI.md §10. */

#ifndef NBDIMAGE_REPO_NBI_TRAILER_H
#define NBDIMAGE_REPO_NBI_TRAILER_H

#include "lib/repo/nbi-record.h"

struct nbi_trailer {
  uint64_t size;                /* of the file */
  uint32_t nr_ordinals;         /* dropped ones too */
  uint32_t nr_records;
  uint64_t stored;              /* bytes of them */
  /* Offsets of tables; 0: there is none. */
  uint64_t directory, root, files, ranges;
  uint32_t nr_files, nr_ranges;
  struct nbi_record manifest;   /* off 0: there is none */
};

/* Is it a trailer at all: are there the magic and a checksum that is right
 * (NBI-100)?  If not, its copy may be better.
 */
bool nbi_trailer_is_whole (const uint8_t buf[NBI_TRAILER_SIZE]);

/* Of the file with this header; not of one that is encrypted. */
void nbi_trailer_encode (const struct nbi_trailer *t,
                         const struct nbi_header *h,
                         uint8_t buf[NBI_TRAILER_SIZE]);

/* Of a file of that size with that header.  NBI-1, NBI-100 to NBI-111. */
int nbi_trailer_decode (const uint8_t buf[NBI_TRAILER_SIZE],
                        const struct nbi_header *h, uint64_t size,
                        struct nbi_trailer *t, struct err *err);

#endif /* NBDIMAGE_REPO_NBI_TRAILER_H */
