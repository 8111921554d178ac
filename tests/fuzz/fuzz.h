/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the fuzz targets share.  A target is a function from any bytes to
 * nothing: it must neither crash, nor leak, nor hang, nor break a promise of
 * the headers, which it checks with must().
 *
 * In a build with --enable-fuzzing libFuzzer calls it; otherwise run-corpus.c
 * does, with the files of its corpus.
 */

#ifndef NBDIMAGE_TESTS_FUZZ_H
#define NBDIMAGE_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/block/block.h"
#include "lib/format/image.h"
#include "tests/support/sparse.h"

/* The target: always returns 0.  libFuzzer's name for it. */
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t len);

/* Every target of images has it: make the checksums of its format right,
 * wherever the structures are now.
 */
void fuzz_fix (struct sparse *s);

#define must(condition) \
  ((condition) ? (void) 0 : fuzz_failed (#condition, __FILE__, __LINE__))
void fuzz_failed (const char *condition, const char *file, int line)
  __attribute__ ((__noreturn__));

/* A failure: its number is r, and it has a sentence. */
void fuzz_check_err (int r, const struct err *err);

/*--- drive.c ----------------------------------------------------------------*/

/* Open the image on a block and do with it all that can be done with a disk:
 * description, extents, reads, and the partition table.  Promises that are
 * checked: extents lie side by side from the first byte to the last, those
 * of a part agree with those of the whole, what they call zero or a hole
 * reads as zeros, and the same bytes are read whole, again and in pieces.
 * parent_path may be NULL.
 */
void fuzz_image (const struct sparse *s, const char *format,
                 const char *parent_path);

/* The target's format has checksums of data, which are verified by reads: those
 * may fail with -EIO.  false unless the target sets it.
 */
extern bool fuzz_reads_verify;

/* Just the second half, with a disk that is there already. */
void fuzz_disk (struct block *disk);

/* The table of partitions of a disk. */
void fuzz_partitions (struct block *disk, uint32_t sector_size);

#endif /* NBDIMAGE_TESTS_FUZZ_H */
