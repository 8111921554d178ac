/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block in memory. */

#ifndef NBDIMAGE_BLOCK_MEMORY_H
#define NBDIMAGE_BLOCK_MEMORY_H

#include "lib/block/block.h"

/* A writable block with a copy of data (zeros if data is NULL).  For small
 * things and tests: nothing orders overlapping reads and writes.
 */
int block_memory_new (const char *name, const void *data, size_t size,
                      struct block **out, struct err *err);

#endif /* NBDIMAGE_BLOCK_MEMORY_H */
