/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A compressed file as the bytes that are in it, read at any place, never
 * unpacked as a whole: lz4, zstd, and what else codec.c lists.  What the bytes
 * are (a raw disk, a VHD, a dump of a partition) is not its concern.
 *
 * Opening reads the whole file once, unless its index is kept already
 * (index-place.h), and verifies all checksums of the compression.  Each piece
 * that is read later has to be what it was then, or reading is -EIO: never
 * other bytes.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_COMPRESSED_H
#define NBDIMAGE_FORMAT_COMPRESSED_COMPRESSED_H

#include "lib/base/job.h"
#include "lib/block/block.h"

struct codec;

/* The compression that a file with these first bytes has, as codec_find. */
const struct codec *compressed_recognise (const uint8_t *head, size_t len);
/* "zstd" */
const char *compressed_codec_name (const struct codec *codec);

/* The names of those there are; NULL behind the last. */
const char *compressed_name (size_t n);

/* A block, for reading only, of what is in the file, which gets referenced.
 * It has the name of the file.  job may be NULL, and is for opening only.
 * -EBADMSG: the file is damaged; -ENOTSUP: it takes too much memory;
 * -ECANCELED.
 */
int compressed_open (struct block *file, const struct codec *codec,
                     struct job *job, struct block **out,
                     struct report *report, struct err *err);

/* Is the index of that file kept, so that compressed_open will be quick? */
bool compressed_is_indexed (struct block *file);

/* The file of such a block, and how it is compressed; NULL for others. */
struct block *compressed_file (const struct block *block,
                               const struct codec **codec);

/* From how many places decoding can begin. */
uint64_t compressed_nr_points (const struct block *block);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_COMPRESSED_H */
