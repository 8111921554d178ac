/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a block in a frame of zstd takes over from those before it, besides
 * the bytes: the last tree and tables that were described, and the last three
 * offsets (RFC 8878 §3.1.1.3.1.4, §3.1.1.5).  A dictionary (§5) is just that
 * and bytes.  So with a dictionary made of it a frame can be decoded from any
 * block on, by libzstd, which has no way to do it by itself.
 *
 * Nothing is decoded here but the codes of sequences, for the offsets.  What
 * comes of a mistake is a dictionary that does not fit; its user tries it.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_ZSTD_TRACK_H
#define NBDIMAGE_FORMAT_COMPRESSED_ZSTD_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZSTD_TRACK_TREE 130     /* bytes of the longest description */
#define ZSTD_TRACK_TABLE 72
/* Room for a dictionary without content. */
#define ZSTD_TRACK_DICTIONARY (8 + ZSTD_TRACK_TREE + 3 * ZSTD_TRACK_TABLE + 12)

struct zstd_cell {
  uint8_t symbol, bits;
  uint16_t base;
};

/* One of those for literal lengths, offsets, match lengths. */
struct zstd_table {
  uint8_t description[ZSTD_TRACK_TABLE];
  size_t len;                   /* of it; 0: one symbol (RLE), which can't be
                                   described */
  unsigned log;                 /* of the number of cells */
  struct zstd_cell cells[512];
};

struct zstd_track {
  uint8_t tree[ZSTD_TRACK_TREE];
  size_t tree_len;              /* 0: none yet */
  struct zstd_table tables[3];
  uint32_t offsets[3];
};

/* At the front of a frame. */
void zstd_track_start (struct zstd_track *t);

/* After a compressed block; false: it is not understood, and the frame can't
 * be tracked any further.
 */
bool zstd_track_block (struct zstd_track *t, const uint8_t *block, size_t len);

/* The dictionary up to its content, ZSTD_TRACK_DICTIONARY bytes at most; its
 * length, or 0 if there is none for this state.
 */
size_t zstd_track_dictionary (const struct zstd_track *t, uint8_t *out);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_ZSTD_TRACK_H */
