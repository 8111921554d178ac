/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The index of a compressed file: what its decoded bytes are, in pieces of
 * the same size, and from which point to decode each.  It is a file too, so
 * that it takes no memory, and is written front to back but for its header,
 * which comes last:
 *
 *   0                  128
 *   | header | points, and rows of 4096 pieces, as they come | directory |
 *
 * All numbers are little-endian.
 *
 *   header     0 "NBDIMIDX"     8 u32 version, 1   12 u32 size of a piece
 *             16 name of the codec, 16 bytes, NULs behind
 *             32 u64 size, 40 u64 inode, 48 i64 mtime, 56 u32 its ns,
 *             60 u32 1 (a file), 64 u64 XXH3 of the head, 72 u64 of the tail:
 *                of the compressed file (fingerprint.h)
 *             80 u64 decoded bytes          88 u64 offset of the directory
 *             96 u64 number of points      104 u64 0
 *            112 u64 XXH3 of everything behind the header
 *            120 u64 XXH3 of the header before this
 *   row        0 u64 XXH3 of the piece
 *              8 u64 offset of its point here, 2^63 more if it is all zeros
 *             16 u64 XXH3 of the 16 bytes before, with the piece's number as
 *                its seed
 *   point      0 u64 in   8 u64 out   16 u32 param   20 u8 kind   21 u8 bit
 *             22 u16 0   24 u32 window   28 u32 of it here, as it is if that
 *                is the same, otherwise a zstd frame
 *             32 u64 XXH3 of the 32 bytes before, with that of what is here of
 *                the window as its seed
 *             40 the window
 *   directory  u64 each: where the rows of 4096 pieces are, the last of which
 *              may be fewer
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_INDEX_H
#define NBDIMAGE_FORMAT_COMPRESSED_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/compressed/codec.h"
#include "lib/format/compressed/fingerprint.h"

#define INDEX_MAGIC "NBDIMIDX"
#define INDEX_VERSION 1
#define INDEX_HEADER_SIZE 128
#define INDEX_ROW_SIZE 24
#define INDEX_POINT_SIZE 40
#define INDEX_ROWS 4096         /* between two entries of the directory */
#define INDEX_ZERO (UINT64_C (1) << 63)

#define INDEX_PIECE_SIZE (256 * 1024)

struct index_piece {
  uint64_t xxh3;
  uint64_t point;               /* for index_point */
  bool zero;                    /* all of it */
};

/*--- Writing ----------------------------------------------------------------*/

struct index_writer;

/* Into fd, an empty file, which is borrowed. */
int index_writer_new (int fd, struct index_writer **out, struct err *err);
void index_writer_free (struct index_writer *w);        /* NULL is fine */

/* *where is for the pieces that begin at it or behind. */
int index_writer_point (struct index_writer *w, const struct point *point,
                        uint64_t *where, struct err *err);
int index_writer_piece (struct index_writer *w,
                        const struct index_piece *piece, struct err *err);

/* All pieces are there: size is what they have together. */
int index_writer_finish (struct index_writer *w, const struct codec *codec,
                         const struct fingerprint *fp, uint64_t size,
                         struct err *err);

/*--- Reading ----------------------------------------------------------------*/

struct index;

/* Read all of fd, which is taken over if this succeeds: every byte is checked
 * here.  -EBADMSG if it is not whole, or not an index of that file.
 */
int index_open (int fd, const struct fingerprint *fp, struct index **out,
                struct err *err);
void index_close (struct index *index);         /* NULL is fine */

const struct codec *index_codec (const struct index *index);
uint64_t index_size (const struct index *index);        /* decoded bytes */
uint64_t index_nr_points (const struct index *index);

/* n of them from the first on, which are there; from many threads.  What is
 * read is checked once more: the file may have been damaged since.  -EIO.
 */
int index_pieces (const struct index *index, uint64_t first, size_t n,
                  struct index_piece *pieces, struct err *err);

/* As index_pieces.  The window is in *window, to be freed, if it has one. */
int index_point (const struct index *index, uint64_t where,
                 struct point *point, uint8_t **window, struct err *err);

/* Just where it is, decoded bytes before it; it is not checked by itself. */
int index_point_out (const struct index *index, uint64_t where,
                     uint64_t *off, struct err *err);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_INDEX_H */
