/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What lib/fsmap/files-hit.c and the program nbdimage-files say to each other,
 * on a socket that is the program's standard input.  Both are of one build, on
 * one machine.
 *
 * First come a files_question and its ranges.  Then the program asks and tells,
 * with a files_message and len bytes after it, and is answered to FILES_READ
 * only, with an int32_t: 0 and the bytes, or a negative errno.
 */

#ifndef NBDIMAGE_FSMAP_FILES_PROTOCOL_H
#define NBDIMAGE_FSMAP_FILES_PROTOCOL_H

#include <stdint.h>

#define FILES_READ_MAX (1024 * 1024)    /* bytes */
#define FILES_TEXT_MAX (64 * 1024)

struct files_question {
  uint64_t size;                /* of the partition, bytes */
  uint64_t nr_ranges;           /* struct fs_range each */
  uint32_t sector_size;
  uint32_t unused;
};

enum files_kind {
  FILES_READ,                   /* a: offset, b: bytes, up to FILES_READ_MAX */
  FILES_HIT,                    /* a: bytes that are hit, b: of the file; the
                                   path follows */
  FILES_NOTE,                   /* why there may be more; a text follows */
  FILES_DONE,                   /* the last one */
};

struct files_message {
  uint32_t kind;
  uint32_t len;                 /* of what follows, up to FILES_TEXT_MAX */
  uint64_t a, b;
};

#endif /* NBDIMAGE_FSMAP_FILES_PROTOCOL_H */
