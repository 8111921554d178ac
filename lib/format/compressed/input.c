/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/block/split.h"
#include "lib/format/compressed/input.h"

void
input_seek (struct input *in, uint64_t off)
{
  if (off >= in->off && off - in->off <= in->len) {
    in->pos = (size_t) (off - in->off);
    return;
  }
  in->off = off;
  in->pos = in->len = 0;
}

uint64_t
input_off (const struct input *in)
{
  return in->off + in->pos;
}

int
input_look (struct input *in, size_t n, size_t *have, struct err *err)
{
  uint64_t next, more;
  int r;

  assert (n <= INPUT_SIZE);
  if (in->len - in->pos < n) {
    memmove (in->buf, in->buf + in->pos, in->len - in->pos);
    in->off += in->pos;
    in->len -= in->pos;
    in->pos = 0;
    next = in->off + in->len;
    more = block_size (in->block) > next ? block_size (in->block) - next : 0;
    more = min_u64 (more, INPUT_SIZE - in->len);
    r = block_pread (in->block, in->buf + in->len, (size_t) more, next, err);
    if (r < 0)
      return r;
    in->len += (size_t) more;
  }
  *have = in->len - in->pos;
  return 0;
}

const uint8_t *
input_bytes (const struct input *in)
{
  return in->buf + in->pos;
}

void
input_skip (struct input *in, size_t n)
{
  assert (n <= in->len - in->pos);
  in->pos += n;
}

int
input_truncated (const struct input *in, const char *what, uint64_t began,
                 struct err *err)
{
  size_t pieces = block_split_nr (in->block);

  if (pieces > 0)
    return err_set (err, -EBADMSG, "its %zu pieces end at %" PRIu64 ", inside "
                    "of the %s at %" PRIu64 ": what comes after %s is missing",
                    pieces, block_size (in->block), what, began,
                    block_name (block_split_piece (in->block, pieces - 1)));
  return err_set (err, -EBADMSG, "the file ends at %" PRIu64 ", inside of the "
                  "%s at %" PRIu64, block_size (in->block), what, began);
}

int
input_pass (struct input *in, uint64_t n, const char *what, struct err *err)
{
  uint64_t off = input_off (in);

  if (!range_fits (off, n, block_size (in->block)))
    return input_truncated (in, what, off, err);
  if (n <= in->len - in->pos)
    in->pos += (size_t) n;
  else
    input_seek (in, off + n);
  return 0;
}

int
input_need (struct input *in, size_t n, const char *what, uint64_t began,
            struct err *err)
{
  size_t have;
  int r = input_look (in, n, &have, err);

  if (r == 0 && have < n)
    r = input_truncated (in, what, began, err);
  return r;
}

int
input_copy (struct input *in, void *to, size_t n, const char *what,
            uint64_t began, struct err *err)
{
  uint8_t *p = to;

  while (n > 0) {
    size_t part = n < INPUT_SIZE ? n : INPUT_SIZE;
    int r = input_need (in, part, what, began, err);

    if (r < 0)
      return r;
    memcpy (p, input_bytes (in), part);
    input_skip (in, part);
    p += part;
    n -= part;
  }
  return 0;
}
