/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block is a range of bytes to read and perhaps to write: a file or block
 * device, memory, a window into another block, an export of an NBD server.
 * Image formats lie on blocks; a disk inside an image becomes a block again
 * with image_to_block (lib/format/image.h), so that everything stacks.
 *
 * All offsets and lengths are bytes.  Blocks are reference-counted.  All
 * operations but block_unref's last may be called from many threads at once;
 * none holds a lock across I/O.
 *
 * Errors are those of lib/base/err.h.  An operation does all of it or fails,
 * and a message does not name the block: whoever called puts
 * block_name() in front (err_in) once, on the way up.
 */

#ifndef NBDIMAGE_BLOCK_BLOCK_H
#define NBDIMAGE_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/report.h"
#include "lib/block/extents.h"

struct block;

/* Flags of writing operations. */
#define BLOCK_FUA     1U        /* on stable storage when it returns */
#define BLOCK_NO_HOLE 2U        /* zero: keep the space */
#define BLOCK_FAST    4U        /* zero: -ENOTSUP unless faster than writing */
#define BLOCK_DISCARD 8U        /* trim: what is read there afterwards may be
                                   anything */

/* Sizes in bytes that a block, or a disk in an image, prefers. */
struct block_sizes {
  uint32_t minimum;             /* 1: any alignment */
  uint32_t preferred;           /* power of 2, or 0: no preference */
  uint32_t logical;             /* sector size that partition tables and
                                   CD drives mean: 512, 2048, 4096; 0: not
                                   known */
};

struct block *block_ref (struct block *block);
void block_unref (struct block *block);         /* NULL is fine */

#define CLEANUP_BLOCK __attribute__ ((__cleanup__ (block_cleanup)))
void block_cleanup (struct block **block);

uint64_t block_size (const struct block *block);
/* For messages: the path, the URI, "memory".  Lives as long as the block. */
const char *block_name (const struct block *block);
bool block_writable (const struct block *block);
void block_get_sizes (const struct block *block, struct block_sizes *sizes);

/* -EINVAL when the range is not inside the block.  len may be 0. */
int block_pread (struct block *block, void *buf, size_t len, uint64_t off,
                 struct err *err);

/* -EROFS when the block is not writable.  A block does not grow by it.  Where
 * the minimum size is not 1, writes and zeroes of other than whole units of it
 * are -EINVAL; reads, extents and hints take any alignment everywhere.
 */
int block_pwrite (struct block *block, const void *buf, size_t len,
                  uint64_t off, unsigned flags, struct err *err);

/* As block_pwrite; the bytes, and a size of the block that they fit in, are on
 * stable storage when it returns.  Unlike with BLOCK_FUA nothing else that was
 * written has to be waited for.  A failure counts as one of block_flush.
 */
int block_pwrite_through (struct block *block, const void *buf, size_t len,
                          uint64_t off, struct err *err);

/* Make the range read as zeros; may punch a hole unless BLOCK_NO_HOLE. */
int block_zero (struct block *block, uint64_t len, uint64_t off,
                unsigned flags, struct err *err);

/* The contents of the range are not needed any more.  A hint: what is read
 * there afterwards is the old bytes or zeros, unless BLOCK_DISCARD.
 */
int block_trim (struct block *block, uint64_t len, uint64_t off,
                unsigned flags, struct err *err);

/* Everything that was written before is on stable storage after.  Once this
 * failed, writes may be lost, and it fails until the block is opened anew.
 */
int block_flush (struct block *block, struct err *err);

/* Append the extents of the range, which may end early at the limit of the
 * list, but not before it covers something.  Layers are 0.
 */
int block_extents (struct block *block, uint64_t len, uint64_t off,
                   struct extent_list *list, struct err *err);

/* The range will be read soon.  A hint, errors included. */
int block_cache (struct block *block, uint64_t len, uint64_t off,
                 struct err *err);

/* May its size change, if it is writable?  That of a regular file may, and
 * that of nothing else.
 */
bool block_can_resize (const struct block *block);

/* As block_pwrite without flags, but the range may end behind the end of the
 * block, which then ends with it: whoever finds the file sees both or
 * neither, unless the power failed.  What lies between the old end and the
 * range is zero.  After a failure the size is what it was.  -ENOTSUP when
 * the size can't change.
 */
int block_append (struct block *block, const void *buf, size_t len,
                  uint64_t off, struct err *err);

/* Cut off what is behind size bytes, or add zeros.  Nobody may be using what
 * is cut off.  One thread at a time changes a block's size; others may read
 * and write meanwhile.
 */
int block_resize (struct block *block, uint64_t size, struct err *err);

#endif /* NBDIMAGE_BLOCK_BLOCK_H */
