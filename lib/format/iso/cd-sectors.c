/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A sector (ECMA-130 §14):
 *     0  sync      00, ten times FF, 00
 *    12  address   minute, second, frame (1/75 s), in BCD
 *    15  mode      1 or 2; 0 has no data
 *   mode 1:              mode 2, form 1 (CD-ROM XA):
 *    16  2048 of data     16  subheader, twice: file, channel, submode, coding
 *                         24  2048 of data
 *  2064  EDC            2072  EDC
 *  2068  error correction, to the end
 *
 * The EDC is a CRC-32 of (x^16 + x^15 + x^2 + 1)(x^16 + x^2 + x + 1), least
 * bit first, over all before it in mode 1, and from the subheader on in mode
 * 2.  Some programs that make such images leave it and the error correction
 * zero; that is taken for what it is.  The error correction is a drive's
 * business: data whose EDC is wrong are not mended.
 *
 * Sectors of form 2 (bit 5 of the submode) hold 2324 bytes of audio or video,
 * and sectors of audio have no sync.  Neither is a disk's sector; reading
 * them fails.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/format/iso/cd-sectors.h"
#include "lib/format/iso/iso9660.h"

#define AT_ONCE 16              /* sectors in a read, on the stack */
#define FORM_2 0x20

static const uint8_t sync_pattern[12] = {
  0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00,
};

struct cd_sectors {
  struct block base;
  struct block *below;
  size_t stride;
  uint32_t first;               /* address of the first, in frames */
  unsigned mode;                /* of the first */
  uint32_t edc_table[256];
};

/*--- One sector ------------------------------------------------------------*/

static bool
has_sync (const uint8_t *s)
{
  return memcmp (s, sync_pattern, sizeof sync_pattern) == 0;
}

static bool
from_bcd (uint8_t v, uint32_t *out)
{
  *out = (uint32_t) (v >> 4) * 10 + (v & 15);
  return v >> 4 < 10 && (v & 15) < 10;
}

/* The address in frames. */
static bool
get_address (const uint8_t *s, uint32_t *frames)
{
  uint32_t m, sec, f;

  if (!from_bcd (s[12], &m) || !from_bcd (s[13], &sec) ||
      !from_bcd (s[14], &f) || sec >= 60 || f >= 75)
    return false;
  *frames = (m * 60 + sec) * 75 + f;
  return true;
}

static void
make_edc_table (uint32_t table[256])
{
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t v = i;

    for (int bit = 0; bit < 8; ++bit)
      v = v & 1 ? v >> 1 ^ UINT32_C (0xD8018001) : v >> 1;
    table[i] = v;
  }
}

static uint32_t
compute_edc (const struct cd_sectors *cd, const uint8_t *p, size_t len)
{
  uint32_t edc = 0;

  while (len-- > 0)
    edc = edc >> 8 ^ cd->edc_table[(edc ^ *p++) & 0xFF];
  return edc;
}

/* Where the checksum is; everything behind it is error correction. */
static size_t
edc_offset (const uint8_t *s)
{
  return s[15] == 1 ? 2064 : 2072;
}

static bool
is_unsummed (const uint8_t *s)
{
  for (size_t i = edc_offset (s); i < CD_SECTOR; ++i)
    if (s[i] != 0)
      return false;
  return true;
}

static int
check_edc (const struct cd_sectors *cd, const uint8_t *s, uint64_t n,
           struct err *err)
{
  size_t at = edc_offset (s), from = s[15] == 1 ? 0 : 16;
  uint32_t found = get_le32 (s + at);
  uint32_t computed = compute_edc (cd, s + from, at - from);

  if (found == computed || is_unsummed (s))
    return 0;
  return err_set (err, -EBADMSG, "CD sector %" PRIu64 ": checksum of its data "
                  "is %08" PRIx32 ", computed %08" PRIx32, n, found, computed);
}

/* Is it sector n, and of data?  *data is where they are. */
static int
check_sector (const struct cd_sectors *cd, const uint8_t *s, uint64_t n,
              const uint8_t **data, struct err *err)
{
  uint32_t frames;

  if (!has_sync (s))
    return err_set (err, -EBADMSG, "CD sector %" PRIu64 " is not of data, but "
                    "of audio or damaged: no sync pattern at its begin", n);
  if (s[15] != 1 && s[15] != 2)
    return err_set (err, -EBADMSG, "CD sector %" PRIu64 " has mode %u, "
                    "expected 1 or 2", n, s[15]);
  if (!get_address (s, &frames))
    return err_set (err, -EBADMSG, "CD sector %" PRIu64 " has the address "
                    "%02x:%02x:%02x, which is none", n, s[12], s[13], s[14]);
  if (frames != cd->first + n)
    return err_set (err, -EBADMSG, "CD sector %" PRIu64 " has the address "
                    "%02x:%02x:%02x, which is that of sector %" PRId64, n,
                    s[12], s[13], s[14], (int64_t) frames - cd->first);
  if (s[15] == 2 && (s[18] & FORM_2))
    return err_set (err, -EBADMSG, "CD sector %" PRIu64 " is of mode 2, form "
                    "2: audio or video of 2324 bytes, no data", n);
  *data = s + (s[15] == 1 ? 16 : 24);
  return check_edc (cd, s, n, err);
}

/*--- The block -------------------------------------------------------------*/

static void
cd_close (struct block *b)
{
  block_unref (((struct cd_sectors *) b)->below);
}

/* The last sector may lack the rest of its subchannel. */
static size_t
bytes_of (const struct cd_sectors *cd, uint64_t nr)
{
  return (size_t) (nr - 1) * cd->stride + CD_SECTOR;
}

static int
cd_pread (struct block *b, void *buf, size_t len, uint64_t off,
          struct err *err)
{
  const struct cd_sectors *cd = (const struct cd_sectors *) b;
  uint8_t sectors[AT_ONCE * CD_SECTOR_MAX], *to = buf;

  while (len > 0) {
    uint64_t n = off / ISO_SECTOR;
    uint64_t nr = min_u64 (AT_ONCE, div_round_up (off % ISO_SECTOR + len,
                                                  ISO_SECTOR));
    int r = block_pread (cd->below, sectors, bytes_of (cd, nr),
                         n * cd->stride, err);

    if (r < 0)
      return r;
    for (uint64_t i = 0; i < nr; ++i) {
      size_t skip = off % ISO_SECTOR;
      size_t take = (size_t) min_u64 (len, ISO_SECTOR - skip);
      const uint8_t *data;

      r = check_sector (cd, sectors + i * cd->stride, n + i, &data, err);
      if (r < 0)
        return r;
      memcpy (to, data + skip, take);
      to += take;
      off += take;
      len -= take;
    }
  }
  return 0;
}

static const struct block_ops cd_ops = {
  .close = cd_close,
  .pread = cd_pread,
};

size_t
cd_sectors_stride (const uint8_t *head, size_t head_len)
{
  static const size_t strides[] = { CD_SECTOR, CD_SECTOR_MAX };

  if (head_len < CD_SECTOR || !has_sync (head))
    return 0;
  for (unsigned i = 0; i < 2; ++i)
    if (head_len >= strides[i] + sizeof sync_pattern &&
        has_sync (head + strides[i]))
      return strides[i];
  return 0;
}

int
cd_sectors_new (struct block *below, size_t stride, struct block **out,
                struct err *err)
{
  uint64_t size = block_size (below), nr = size / stride;
  CLEANUP_BLOCK struct block *block = NULL;
  struct cd_sectors *cd;
  uint8_t s[CD_SECTOR];
  const uint8_t *data;
  int r;

  if (size % stride >= CD_SECTOR)
    ++nr;
  cd = calloc (1, sizeof *cd);
  if (cd == NULL)
    return err_nomem (err);
  r = block_init (&cd->base, &cd_ops, block_name (below), nr * ISO_SECTOR,
                  false, err);
  if (r < 0) {
    free (cd);
    return r;
  }
  block = &cd->base;
  cd->below = block_ref (below);
  cd->stride = stride;
  make_edc_table (cd->edc_table);
  r = block_pread (below, s, sizeof s, 0, err);
  if (r < 0)
    return r;
  if (has_sync (s) && !get_address (s, &cd->first))
    cd->first = 0;                      /* what is wrong is said below */
  r = check_sector (cd, s, 0, &data, err);
  if (r < 0)
    return r;
  cd->mode = s[15];
  *out = block;
  block = NULL;
  return 0;
}

unsigned
cd_sectors_mode (struct block *block)
{
  return ((const struct cd_sectors *) block)->mode;
}

bool
cd_sectors_unsummed (struct block *block, uint64_t n)
{
  const struct cd_sectors *cd = (const struct cd_sectors *) block;
  uint8_t s[CD_SECTOR];

  return n < block_size (block) / ISO_SECTOR &&
    block_pread (cd->below, s, sizeof s, n * cd->stride, NULL) == 0 &&
    has_sync (s) && is_unsummed (s);
}
