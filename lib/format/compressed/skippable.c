/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "lib/base/bytes.h"
#include "lib/format/compressed/skippable.h"

uint32_t
first_magic (const uint8_t *head, size_t len)
{
  size_t off = 0;

  while (len - off >= 8) {
    uint32_t magic = get_le32 (head + off), size = get_le32 (head + off + 4);

    if (!is_skippable (magic))
      return magic;
    if (size > len - off - 8)
      break;
    off += 8 + size;
  }
  return len - off >= 4 && !is_skippable (get_le32 (head + off))
    ? get_le32 (head + off) : 0;
}

int
input_next_frame (struct input *in, const char *frames, uint32_t *magic,
                  bool *end, struct err *err)
{
  for (;;) {
    uint64_t off = input_off (in);
    size_t have;
    int r = input_look (in, 8, &have, err);

    if (r < 0)
      return r;
    *end = have == 0;
    if (have == 0)
      return 0;
    if (have < 4)
      return err_set (err, -EBADMSG, "%zu bytes at %" PRIu64 ", at the end of "
                      "the file, are no %s frame", have, off, frames);
    *magic = get_le32 (input_bytes (in));
    if (!is_skippable (*magic))
      return 0;
    r = input_need (in, 8, "skippable frame", off, err);
    if (r == 0)
      r = input_pass (in, UINT64_C (8) + get_le32 (input_bytes (in) + 4),
                      "skippable frame", err);
    if (r < 0)
      return r;
  }
}
