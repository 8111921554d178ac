/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Disk images written down as the few bytes in them that are not zero, so
 * that an image of terabytes is an input of some KiB that a fuzzer can change
 * at any place.
 *
 *   0   u8   options, SPARSE_*
 *   1   u64  size of the image in bytes; the highest bit does not count
 *   9   records, to the end:
 *         u48  offset    u16  length    length bytes
 *
 * Integers are little-endian.  Any bytes are such an input: what is missing
 * at the end is zeros, what lies outside the image is left out, and a later
 * record wins over one before it.
 */

#ifndef NBDIMAGE_TESTS_SPARSE_H
#define NBDIMAGE_TESTS_SPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/vector.h"
#include "lib/block/block.h"

#define SPARSE_FIX 1U                   /* make checksums right before use */
#define SPARSE_IGNORE_CHECKSUMS 2U      /* the option of the same name */
#define SPARSE_SIZE_RULE_SHIFT 2        /* two bits, modulo 3: its option */
#define SPARSE_SMALL_SECTORS 16U        /* of 512 bytes are what is asked for */
#define SPARSE_LARGE_SECTORS 32U        /* 4096 */

#define SPARSE_HEADER 9
#define SPARSE_RECORD_HEADER 8
#define SPARSE_MAX_RECORDS 4096
#define SPARSE_MAX_OFF ((UINT64_C (1) << 48) - 1)

struct sparse_record {
  uint64_t off;
  size_t len;
  const uint8_t *bytes;
  uint8_t *owned;               /* bytes, when they are ours to free */
};

DEFINE_VECTOR (sparse_records, struct sparse_record);

struct sparse {
  uint8_t options;
  uint64_t size;
  struct sparse_records records;
};

/* The records point into data.  Out of memory ends the program, here and
 * below.
 */
void sparse_decode (const uint8_t *data, size_t len, struct sparse *out);
void sparse_free (struct sparse *s);

/* [off, off+len) is inside the image. */
void sparse_read (const struct sparse *s, void *buf, size_t len, uint64_t off);

/* A copy of len bytes becomes the last record, as far as it is inside. */
void sparse_write (struct sparse *s, const void *buf, size_t len,
                   uint64_t off);

/* The other way: returns how many bytes it took, 0 if they do not fit. */
size_t sparse_encode (const struct sparse *s, uint8_t *out, size_t size);

/* The image as a block that can't be written.  Where there are no records are
 * holes.  s must stay as long as the block; reads of bytes that were not
 * asked for show under the sanitizers.
 */
struct block *sparse_block (const char *name, const struct sparse *s);

#endif /* NBDIMAGE_TESTS_SPARSE_H */
