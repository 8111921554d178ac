/* SPDX-License-Identifier: GPL-2.0-or-later */

/* By what a file is known again, so that what was learnt of it can be used. */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_FINGERPRINT_H
#define NBDIMAGE_FORMAT_COMPRESSED_FINGERPRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/block/block.h"

struct fingerprint {
  bool is_file;                 /* a regular one: the next three mean
                                   something, and nothing else is known again */
  uint64_t inode;
  int64_t mtime;                /* seconds since 1970 */
  uint32_t mtime_ns;
  uint64_t size;                /* bytes */
  uint64_t head, tail;          /* XXH3 of up to 64 KiB */
};

int fingerprint_of (struct block *file, struct fingerprint *fp,
                    struct err *err);
bool fingerprint_same (const struct fingerprint *a,
                       const struct fingerprint *b);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_FINGERPRINT_H */
