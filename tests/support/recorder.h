/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file in memory that can be written and grow, whose power can fail: it
 * remembers every change since the last flush, and what was before.  It can
 * fail, too.  From many threads at once.
 */

#ifndef NBDIMAGE_TESTS_RECORDER_H
#define NBDIMAGE_TESTS_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/block/block.h"

#define RECORDER_MAX_SIZE (64 * 1024 * 1024)

struct recorder;

/* With these bytes, which are on stable storage. */
struct block *recorder_new (const void *data, size_t len);

/* A file that the recorder could have become if the power failed now: the
 * state of the last flush, and of each sector that was written since then
 * one of the states it had, and one of the sizes.  The same seed, the same
 * file; seed 0: nothing of what was not flushed; 1: all.  The caller frees.
 */
uint8_t *recorder_crash (struct block *recorder, unsigned seed, size_t *len);

/* From now on its size can't change, as that of a device. */
void recorder_fix_size (struct block *recorder);

/* Take flushes for done without doing them: for the test of the test. */
void recorder_drop_flushes (struct block *recorder, bool drop);

/* The same with the next one, and no other. */
void recorder_drop_next (struct block *recorder, bool drop);

/* Of the file on stable storage. */
size_t recorder_stable_size (const struct block *recorder);

/* Changes are counted from 1: writes, zeros, trims, changes of size and
 * flushes.  Number `nth` fails, and `count` in all: writes with -ENOSPC after
 * half of their sectors, others with -EIO.  nth 0: none.
 */
void recorder_fail (struct block *recorder, unsigned nth, unsigned count);
unsigned recorder_changes (const struct block *recorder);
unsigned recorder_flushes (const struct block *recorder);

/* What the file holds now, and its size.  The bytes are there until the file
 * grows.
 */
const uint8_t *recorder_data (const struct block *recorder, size_t *len);

#endif /* NBDIMAGE_TESTS_RECORDER_H */
