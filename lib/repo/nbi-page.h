/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A page of the map, plain: docs/NBI.md §8. */

#ifndef NBDIMAGE_REPO_NBI_PAGE_H
#define NBDIMAGE_REPO_NBI_PAGE_H

#include "lib/base/uuid.h"
#include "lib/repo/nbi.h"

/* Chunks in a row that are alike; of data, in records in a row. */
struct nbi_run {
  uint16_t first;               /* chunk, counted in the page */
  uint16_t count;               /* of chunks, not 0 */
  uint16_t file;                /* index into the page's; 0 if it has none */
  uint8_t kind;                 /* enum nbi_cell_kind */
  uint32_t ordinal;             /* of the first one; 0 if it has none */
};

static inline bool
nbi_kind_has_data (unsigned kind)
{
  return kind >= NBI_DATA;
}

struct nbi_page {
  uint32_t nr_chunks, nr_files, nr_runs;
  uint8_t (*files)[UUID_SIZE];
  struct nbi_run *runs;         /* they cover all chunks, in order */
};

/* NBI-70 to NBI-78, but for the generation's files; a page of nr_chunks.
 * *out is one piece of memory, for free().
 */
int nbi_page_decode (const uint8_t *buf, size_t len, uint32_t nr_chunks,
                     struct nbi_page **out, struct err *err);

/* The run that has the chunk, which is below nr_chunks. */
const struct nbi_run *nbi_page_find (const struct nbi_page *page,
                                     uint32_t chunk);

/* buf has room for NBI_PAGE_MAX bytes; returns how many it took.  The page
 * is canonical: what nbi_page_decode would refuse must not be in it.
 */
size_t nbi_page_encode (const struct nbi_page *page, uint8_t *buf);

#endif /* NBDIMAGE_REPO_NBI_PAGE_H */
