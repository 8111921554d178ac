/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/repo/bad-sectors.h"

#define SMALL 4096
#define SECTOR 512
#define PLACES 16               /* of the disk: any of them will do */

bool
bad_sectors_may_be (int error)
{
  /* What Linux makes of errors of media: EIO, "critical medium error",
   * "protection error", and those of a target behind a wire.
   */
  return error == -EIO || error == -ENODATA || error == -EILSEQ ||
    error == -EREMOTEIO;
}

static int
add_bad (struct nbi_range_vector *bad, uint64_t off, uint64_t len,
         struct err *err)
{
  const struct nbi_range range = { off, len };
  struct nbi_range *last = bad->len > 0 ? &bad->ptr[bad->len - 1] : NULL;

  if (last != NULL && last->off + last->len == off) {
    last->len += len;
    return 0;
  }
  return vector_append (bad, &range) < 0 ? err_nomem (err) : 0;
}

/* In pieces that end at multiples of `unit'; those that fail, in smaller
 * ones.
 */
static int
read_pieces (struct block *block, uint8_t *buf, size_t len, uint64_t off,
             uint64_t unit, struct nbi_range_vector *bad, struct err *err)
{
  while (len > 0) {
    size_t n = (size_t) min_u64 (len, round_down (off, unit) + unit - off);
    struct err why = ERR_INIT;
    int r = block_pread (block, buf, n, off, &why);

    if (r < 0 && !bad_sectors_may_be (r)) {
      if (err != NULL)
        *err = why;
      return r;
    }
    if (r < 0 && unit > SECTOR)
      r = read_pieces (block, buf, n, off, unit > SMALL ? SMALL : SECTOR, bad,
                       err);
    else if (r < 0) {
      memset (buf, 0, n);
      r = add_bad (bad, off, n, err);
    }
    if (r < 0)
      return r;
    buf += n;
    off += n;
    len -= n;
  }
  return 0;
}

int
bad_sectors_read (struct block *block, uint8_t *buf, size_t len, uint64_t off,
                  struct nbi_range_vector *bad, struct err *err)
{
  return read_pieces (block, buf, len, off, SMALL, bad, err);
}

int
bad_sectors_check_there (struct block *block, struct err *err)
{
  const uint64_t size = block_size (block);
  struct err why = ERR_INIT;
  uint8_t buf[SECTOR];

  for (uint64_t i = 0; i < PLACES; ++i) {
    uint64_t off = round_down (size / PLACES * i, SMALL);
    size_t len = (size_t) min_u64 (sizeof buf, size - off);

    if (block_pread (block, buf, len, off, &why) == 0)
      return 0;
  }
  return err_set (err, -EIO, "nothing of it can be read any more: %s",
                  why.msg);
}
