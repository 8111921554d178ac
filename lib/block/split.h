/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file that was cut into pieces, as split(1) does and Clonezilla with it,
 * read as if it were one: NAME.aa, NAME.ab, … NAME.zz, or, as split goes on
 * when it was not told how many letters, NAME.yz, NAME.zaaa, ….
 */

#ifndef NBDIMAGE_BLOCK_SPLIT_H
#define NBDIMAGE_BLOCK_SPLIT_H

#include "lib/block/block.h"

/* Is that the name of a first piece, of which there is a second or a later
 * one?
 */
bool block_split_is_first (const char *path);

/* All pieces, by the path of the first, which becomes the block's name; for
 * reading only.  flags as for block_file_open.  -EBADMSG, naming the piece, if
 * one is missing between others, or has another size than the first (the last
 * may have less, but not nothing).  That the last ones are missing does not
 * show here.
 */
int block_split_open (const char *path, unsigned flags, struct block **out,
                      struct report *report, struct err *err);

/* How many pieces such a block has; 0 for other blocks. */
size_t block_split_nr (const struct block *block);

/* The n-th piece; lives as long as the block. */
struct block *block_split_piece (const struct block *block, size_t n);

#endif /* NBDIMAGE_BLOCK_SPLIT_H */
