/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The map of a generation in the making (docs/NBI.md §8): chunks come in
 * order, each with what it is; pages are written as they become full, and only
 * those that the generation before does not have; at the end there is a root.
 *
 * It keeps the page it is at (320 KiB) and 40 bytes for each page before.
 *
 * By one thread at a time.
 */

#ifndef NBDIMAGE_REPO_MAP_WRITER_H
#define NBDIMAGE_REPO_MAP_WRITER_H

#include "lib/base/digest.h"
#include "lib/repo/file-table.h"
#include "lib/repo/nbi-header.h"
#include "lib/repo/nbi-record.h"

struct map_writer;

/* What a chunk is. */
struct map_cell {
  enum nbi_cell_kind kind;
  uint32_t file, ordinal;       /* number in the file table; if it has data */
  const uint8_t *identity;      /* of its plain bytes; if it has data */
};

struct map_writer_ops {
  /* Write a page: fills in what file_writer_add does, and the number of the
   * file that it lies in.
   */
  int (*write) (void *opaque, struct nbi_record *record, const void *payload,
                uint32_t *file, struct err *err);

  /* Is page p of the generation before the one with this identity?  If so, in
   * which record it is.  NULL: there is none before.
   */
  int (*same) (void *opaque, uint64_t page,
               const uint8_t identity[DIGEST_SIZE], bool *is, uint32_t *file,
               uint32_t *ordinal, struct err *err);
  void *opaque;
};

/* header, identity_key (as for nbi_identity_with), files and ops stay the
 * caller's, longer than the writer; its header says how many chunks there are.
 * -ENOMEM.
 */
int map_writer_new (const struct nbi_header *header,
                    const uint8_t *identity_key, struct file_table *files,
                    const struct map_writer_ops *ops, struct map_writer **out,
                    struct err *err);

/* Make the hash of chunks first to first + n - 1 too: what lies in a partition
 * as a whole.  Before the first chunk.  They are numbered from 0.
 */
int map_writer_watch (struct map_writer *map, uint64_t first, uint64_t n,
                      struct err *err);

/* The next n chunks are all that; n is more than 1 only of kinds without
 * data.  Not more than there are.
 */
int map_writer_add (struct map_writer *map, const struct map_cell *cell,
                    uint64_t n, struct err *err);

/* How many chunks it has. */
uint64_t map_writer_chunks (const struct map_writer *map);

/* Entry of the root, of a page that is written; its file is the number in the
 * file table.
 */
const struct nbi_root *map_writer_root (const struct map_writer *map,
                                        uint64_t page);

/* Hashes of what was watched, and of the disk, when all chunks are there. */
int map_writer_watched (const struct map_writer *map, size_t i,
                        uint8_t hash[DIGEST_SIZE], struct err *err);
int map_writer_hash (const struct map_writer *map, uint8_t hash[DIGEST_SIZE],
                     struct err *err);

void map_writer_free (struct map_writer *map);  /* NULL is fine */

#endif /* NBDIMAGE_REPO_MAP_WRITER_H */
