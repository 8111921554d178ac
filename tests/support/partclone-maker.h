/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images as partclone makes them, of any shape, in memory.  Written from its
 * IMAGE_FORMATS.md, and not from what reads them: the checksums are computed
 * here bit by bit.
 */

#ifndef NBDIMAGE_TESTS_PARTCLONE_MAKER_H
#define NBDIMAGE_TESTS_PARTCLONE_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct partclone_shape {
  unsigned v1;                  /* version 1, with checksums of so many bytes:
                                   4 or 8; 0: version 2 */
  uint64_t nr_blocks;
  uint32_t block_size;
  uint64_t tail;                /* bytes of the partition behind the blocks */
  unsigned sum;                 /* 0, 0x20 (CRC-32), 0x30 (XXH64) */
  uint32_t per_sum;             /* blocks */
  bool chained;
  bool no_map;                  /* all blocks are there */
  unsigned density;             /* of 8 blocks, about so many are there, in
                                   stretches; 8: all */
};

struct partclone_made {
  uint8_t *file;
  size_t len, room;
  uint8_t *disk;                /* what has to be read */
  uint64_t size;
  bool *used;                   /* of each block */
  uint64_t nr_used;
  size_t data_off;              /* where the header and bitmap end */
};

/* Aborts if it can't.  The same seed gives the same image. */
void partclone_make (const struct partclone_shape *shape, uint64_t seed,
                     struct partclone_made *out);
void partclone_made_free (struct partclone_made *made);

/* The header's checksum anew, after bytes of it were changed. */
void partclone_seal (struct partclone_made *made);
/* The bitmap's, too. */
void partclone_seal_map (struct partclone_made *made);

#endif /* NBDIMAGE_TESTS_PARTCLONE_MAKER_H */
