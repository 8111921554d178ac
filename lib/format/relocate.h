/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bytes of a file that go to another place in it, and bytes that need not:
 * for jobs that change an image as a whole.
 */

#ifndef NBDIMAGE_FORMAT_RELOCATE_H
#define NBDIMAGE_FORMAT_RELOCATE_H

#include "lib/base/job.h"
#include "lib/block/block.h"

/* What relocate_bytes needs room for. */
#define RELOCATE_BUFFER (1024 * 1024)

/* Copy len bytes; the ranges do not overlap.  What is a hole of the file
 * stays one, if that can be.  Not flushed.  The job advances by len; buf has
 * RELOCATE_BUFFER bytes.
 */
int relocate_bytes (struct block *block, uint64_t from, uint64_t to,
                    uint64_t len, uint8_t *buf, struct job *job,
                    struct err *err);

/* Is it a hole of the file, all of it?  No is said of what can't be known. */
bool relocate_is_hole (struct block *block, uint64_t off, uint64_t len);

bool relocate_is_zero (const uint8_t *bytes, size_t len);

#endif /* NBDIMAGE_FORMAT_RELOCATE_H */
