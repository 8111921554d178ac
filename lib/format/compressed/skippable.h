/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Skippable frames, which files of zstd and of lz4 may have anywhere: a magic
 * number, a length, and bytes that are not of the data (RFC 8878 §3.1.2; the
 * LZ4 frame format has taken them over).  pzstd begins with one, and the
 * table of the seekable format of zstd is one at the end; all that is in it,
 * the frames say too.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_SKIPPABLE_H
#define NBDIMAGE_FORMAT_COMPRESSED_SKIPPABLE_H

#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/input.h"

static inline bool
is_skippable (uint32_t magic)
{
  return (magic & 0xFFFFFFF0) == 0x184D2A50;
}

/* Of the first frame in these bytes that is no skippable one; 0: none. */
uint32_t first_magic (const uint8_t *head, size_t len);

/* Go to the next frame that is none: *end says that there is no other.  If
 * there is, *magic is its, and its first 4 bytes are there.  frames is what
 * the file consists of, for -EBADMSG.
 */
int input_next_frame (struct input *in, const char *frames, uint32_t *magic,
                      bool *end, struct err *err);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_SKIPPABLE_H */
