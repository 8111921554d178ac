/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files and block devices as blocks.
 *
 * Locks (file-lock.h).  With BLOCK_FILE_LOCK a writable file is held by an
 * OFD write lock and a file opened for reading by OFD read locks: two writing
 * processes are refused, and so is a writer beside readers.  The same holds
 * beside QEMU.
 * The locks vanish with the process.  (A second write lock in one process
 * fails like one in another: there is one block per file and process.)
 * Where the file system can't lock, the file opens, with a warning.
 * A device that is mounted, or of which a part is, is in use too.
 */

#ifndef NBDIMAGE_BLOCK_FILE_H
#define NBDIMAGE_BLOCK_FILE_H

#include "lib/block/block.h"

#define BLOCK_FILE_WRITE 1U     /* open for reading and writing */
#define BLOCK_FILE_LOCK  2U     /* see above; -EBUSY when someone else holds
                                   it */

#define BLOCK_FILE_NOFOLLOW 4U  /* -ELOOP when the last part of the path is a
                                   symbolic link; block_file_open only */

/* Open a path.  The name of the block is the path as given.  report gets
 * the warnings.
 */
int block_file_open (const char *path, unsigned flags, struct block **out,
                     struct report *report, struct err *err);

/* Make a block of a descriptor, which the block takes over when this
 * succeeds.  flags as above and as the descriptor was opened.
 */
int block_file_from_fd (int fd, const char *name, unsigned flags,
                        struct block **out, struct report *report,
                        struct err *err);

/* The descriptor of a file block, which keeps it; -1 for other blocks.
 * For fstat: who wants bytes uses the block.
 */
int block_file_fd (const struct block *block);

/* Have fn called when a flush of the file fails, before anybody is told: data
 * that was written since the last flush may be lost.  By the thread whose flush
 * it is, and perhaps by several.  NULL: no more.  While nobody else uses the
 * block.  Blocks of other kinds call nobody.
 */
void block_file_on_loss (struct block *block, void (*fn) (void *opaque),
                         void *opaque);

#endif /* NBDIMAGE_BLOCK_FILE_H */
