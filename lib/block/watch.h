/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block that passes reads on to another and remembers the first one that
 * failed, for those who can do without what they could not read, but must not
 * take it for something that is not there.
 *
 * It can't be written, has no other operations, and is for one thread.
 */

#ifndef NBDIMAGE_BLOCK_WATCH_H
#define NBDIMAGE_BLOCK_WATCH_H

#include "lib/block/block.h"

/* The watch takes a reference to below. */
int block_watch_new (struct block *below, struct block **out,
                     struct err *err);

/* 0 if all reads succeeded, or what the first that did not returned and
 * said.
 */
int block_watch_failure (const struct block *watch, struct err *err);

#endif /* NBDIMAGE_BLOCK_WATCH_H */
