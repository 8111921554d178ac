/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block that fails when it is told to. */

#ifndef NBDIMAGE_TESTS_FAULTY_H
#define NBDIMAGE_TESTS_FAULTY_H

#include "lib/block/block.h"

/* Lies on below, which it references.  Reads are counted from 1; read number
 * fail_read and all after it are -EIO; 0: none fails.  For one thread.
 */
struct block *faulty_new (struct block *below, unsigned fail_read);

/* Another number, and start to count again. */
void faulty_set (struct block *faulty, unsigned fail_read);

/* How many reads there were. */
unsigned faulty_reads (const struct block *faulty);

#endif /* NBDIMAGE_TESTS_FAULTY_H */
