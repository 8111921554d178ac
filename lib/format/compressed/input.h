/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bytes of a file, front to back, through a buffer. */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_INPUT_H
#define NBDIMAGE_FORMAT_COMPRESSED_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/block/block.h"

#define INPUT_SIZE (256 * 1024)

struct input {
  struct block *block;          /* borrowed */
  uint64_t off;                 /* in the block, of buf[0] */
  size_t pos, len;              /* buf[pos] to buf[len] are not used yet */
  uint8_t buf[INPUT_SIZE];
};

/* Go on at off. */
void input_seek (struct input *in, uint64_t off);

/* Where it is: the offset of the next byte. */
uint64_t input_off (const struct input *in);

/* Have n bytes in the buffer, at most INPUT_SIZE; *have of them are there,
 * which is less than n at the end of the file only.
 */
int input_look (struct input *in, size_t n, size_t *have, struct err *err);

/* The next byte that is not used yet; as many as input_look said. */
const uint8_t *input_bytes (const struct input *in);

/* They are used. */
void input_skip (struct input *in, size_t n);

/* Go past n bytes, however many; -EBADMSG if the file ends before. */
int input_pass (struct input *in, uint64_t n, const char *what,
                struct err *err);

/* Have all n bytes, or -EBADMSG: the file ends inside of `what', which began
 * at `began'.
 */
int input_need (struct input *in, size_t n, const char *what, uint64_t began,
                struct err *err);

/* Copy n bytes, however many, with the same error. */
int input_copy (struct input *in, void *to, size_t n, const char *what,
                uint64_t began, struct err *err);

/* The file ends inside of it: -EBADMSG. */
int input_truncated (const struct input *in, const char *what,
                     uint64_t began, struct err *err);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_INPUT_H */
