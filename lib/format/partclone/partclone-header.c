/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The header of version 2, of partclone 0.3 and later (little-endian):
 *
 *     0   16  "partclone-image"          60   8  blocks of the file system
 *    16   14  version of partclone       68   8  ... that it says it uses
 *    30    4  "0002"                     76   8  ... that are in the image
 *    34    2  0xC0DE, byte order         84   4  size of a block
 *    36   16  file system                88   4  size of what is until 106
 *    52    8  size of the partition      92   2  2
 *    94    2  32 or 64 bits             100   4  blocks for each checksum
 *    96    2  kind of checksum          104   1  begins anew for each
 *    98    2  size of one               105   1  kind of bitmap
 *   106    4  CRC-32 of what is before
 *
 * All CRC-32 of partclone lack the inversion at the end.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32.h"
#include "lib/base/text.h"
#include "lib/format/partclone/partclone.h"

#define HEADER_SIZE 110
#define OPTIONS_SIZE 18
#define ENDIAN_OURS 0xC0DE
#define ENDIAN_OTHER 0xDEC0
#define MAP_SUM_SIZE 4
#define BLOCK_SIZE_MAX (16 * 1024 * 1024)
/* What is kept of the bitmap of so many is 4 MiB; partclone itself, which keeps
 * all of it, takes 8 GiB.
 */
#define MAPPED_BLOCKS_MAX (UINT64_C (1) << 36)

const char *
partclone_sum_name (enum partclone_sum sum)
{
  switch (sum) {
  case PARTCLONE_SUM_CRC32: return "CRC-32";
  case PARTCLONE_SUM_XXH64: return "XXH64";
  case PARTCLONE_SUM_FIRST_BYTE: return "CRC-32 (of a block's first byte)";
  case PARTCLONE_SUM_NONE: break;
  }
  return "none";
}

uint64_t
partclone_offset (const struct partclone_header *h, uint64_t n)
{
  return h->data_off + n * h->block_size + n / h->per_sum * h->sum_size;
}

uint64_t
partclone_end (const struct partclone_header *h)
{
  return h->data_off + h->nr_used * h->block_size +
    div_round_up (h->nr_used, h->per_sum) * h->sum_size;
}

void
partclone_get_text (char *out, size_t size, const uint8_t *field,
                    size_t len)
{
  char raw[32] = "";

  memcpy (raw, field, len);
  text_clean (raw, out, size);
}

static int
check_sum (const uint8_t *p, bool ignore, struct report *report,
           const char *name, struct err *err)
{
  uint32_t stored = get_le32 (p + HEADER_SIZE - 4);
  uint32_t sum = ~crc32_update (0, p, HEADER_SIZE - 4);

  if (stored == sum)
    return 0;
  if (!ignore)
    return err_set (err, -EBADMSG, "the CRC-32 of the header at offset 0 is %08"
                    PRIx32 ", expected %08" PRIx32, sum, stored);
  report_warn (report, "%s: the CRC-32 of the header at offset 0 is %08" PRIx32
               ", expected %08" PRIx32 ", and ignored", name, sum, stored);
  return 0;
}

/*--- The kinds of checksums and maps ----------------------------------------*/

static int
decode_sum (struct partclone_header *h, const uint8_t *p, struct err *err)
{
  static const struct {
    unsigned kind, size;
    enum partclone_sum sum;
  } kinds[] = {
    { 0x00, 0, PARTCLONE_SUM_NONE },
    { 0x20, 4, PARTCLONE_SUM_CRC32 },
    { 0x30, 8, PARTCLONE_SUM_XXH64 },
  };
  unsigned kind = get_le16 (p + 96), size = get_le16 (p + 98);
  size_t i = 0;

  while (i < sizeof kinds / sizeof kinds[0] && kinds[i].kind != kind)
    ++i;
  if (i == sizeof kinds / sizeof kinds[0])
    return err_set (err, -ENOTSUP, "the header says at offset 96 that its "
                    "checksums are of kind 0x%02x, which is not known", kind);
  if (kinds[i].size != size)
    return err_set (err, -EBADMSG, "the header says at offset 98 that a "
                    "checksum has %u bytes, expected %u", size, kinds[i].size);
  h->sum = kinds[i].sum;
  h->sum_size = size;
  h->per_sum = h->sum == PARTCLONE_SUM_NONE ? 1 : get_le32 (p + 100);
  h->is_chained = h->sum != PARTCLONE_SUM_NONE && p[104] == 0;
  return 0;
}

/* A CRC that goes on can be verified from the one before; a hash can't. */
static int
check_strip (const struct partclone_header *h, struct err *err)
{
  if (h->per_sum == 0)
    return err_set (err, -EBADMSG, "the header says at offset 100 that a "
                    "checksum covers 0 blocks");
  if (h->sum != PARTCLONE_SUM_NONE &&
      (uint64_t) h->per_sum * h->block_size > PARTCLONE_STRIP_MAX)
    return err_set (err, -ENOTSUP, "each of its checksums covers %" PRIu64
                    " bytes, which are too many to be read for any of them; "
                    "%" PRIu64 " are the most", (uint64_t) h->per_sum *
                    h->block_size, PARTCLONE_STRIP_MAX);
  if (h->is_chained && h->sum != PARTCLONE_SUM_CRC32)
    return err_set (err, -ENOTSUP, "its checksums are %s that go on from one "
                    "to the next, so that none can be verified by itself",
                    partclone_sum_name (h->sum));
  return 0;
}

static int
decode_map (struct partclone_header *h, const uint8_t *p, struct err *err)
{
  unsigned kind = p[105];

  h->map_off = HEADER_SIZE;
  switch (kind) {
  case 0:
    h->map = PARTCLONE_MAP_NONE;
    h->data_off = HEADER_SIZE;
    return 0;
  case 1:
    h->map = PARTCLONE_MAP_BITS;
    h->map_len = div_round_up (h->nr_blocks, 8);
    h->data_off = HEADER_SIZE + h->map_len + MAP_SUM_SIZE;
    return 0;
  }
  return err_set (err, -ENOTSUP, "the header says at offset 105 that its "
                  "bitmap is of kind %u, which is not known", kind);
}

/*--- Sizes ------------------------------------------------------------------*/

int
partclone_check_blocks (const struct partclone_header *h, struct err *err)
{
  uint64_t bytes;

  if (h->block_size == 0 || h->block_size % 512 != 0 ||
      h->block_size > BLOCK_SIZE_MAX)
    return err_set (err, -EBADMSG, "the header has a block size of %" PRIu32
                    ", expected a multiple of 512 up to %d", h->block_size,
                    BLOCK_SIZE_MAX);
  if (h->nr_blocks == 0)
    return err_set (err, -EBADMSG, "the header has 0 blocks");
  if (!checked_mul (h->nr_blocks, h->block_size, &bytes) ||
      bytes > INT64_MAX || h->size > INT64_MAX)
    return err_set (err, -EBADMSG, "the header has %" PRIu64 " blocks of %"
                    PRIu32 " bytes, and a partition of %" PRIu64
                    ", which is more than there can be", h->nr_blocks,
                    h->block_size, h->size);
  if (h->map != PARTCLONE_MAP_NONE && h->nr_blocks > MAPPED_BLOCKS_MAX)
    return err_set (err, -ENOTSUP, "the header has %" PRIu64 " blocks, which "
                    "are too many for a bitmap; %" PRIu64 " are the most",
                    h->nr_blocks, MAPPED_BLOCKS_MAX);
  if (h->nr_used > h->nr_blocks)
    return err_set (err, -EBADMSG, "the header says that %" PRIu64 " blocks "
                    "are in the image, of %" PRIu64, h->nr_used,
                    h->nr_blocks);
  if (h->map == PARTCLONE_MAP_NONE && h->nr_used != h->nr_blocks)
    return err_set (err, -EBADMSG, "the header says that %" PRIu64 " of %"
                    PRIu64 " blocks are in the image, expected all, as it has "
                    "no bitmap", h->nr_used, h->nr_blocks);
  return 0;
}

/* The file's own size bounds all that is allocated later. */
static int
check_end (const struct partclone_header *h, struct block *file,
           struct report *report, struct err *err)
{
  uint64_t size = block_size (file), end, strips, sums;

  if (h->data_off > size)
    return err_set (err, -EBADMSG, "the file is cut off: it ends at %" PRIu64
                    ", in the bitmap from %" PRIu64 " to %" PRIu64, size,
                    h->map_off, h->data_off);
  strips = div_round_up (h->nr_used, h->per_sum);
  if (!checked_mul (strips, h->sum_size, &sums) ||
      !checked_add (h->nr_used * h->block_size, sums, &end) ||
      !checked_add (end, h->data_off, &end) || end > size)
    return err_set (err, -EBADMSG, "the file is cut off: it ends at %" PRIu64
                    ", and %" PRIu64 " blocks of %" PRIu32 " bytes with "
                    "checksums should follow at %" PRIu64, size, h->nr_used,
                    h->block_size, h->data_off);
  if (end < size)
    report_warn (report, "%s: has %" PRIu64 " bytes behind its last block, at "
                 "offset %" PRIu64, block_name (file), size - end, end);
  return 0;
}

static int
decode_v2 (struct partclone_header *h, const uint8_t *p, struct err *err)
{
  int r;

  if (get_le32 (p + 88) != OPTIONS_SIZE || get_le16 (p + 92) != 2)
    return err_set (err, -ENOTSUP, "the header says at offset 88 that it has "
                    "%" PRIu32 " bytes of options of version %u, expected %d "
                    "of version 2", get_le32 (p + 88), get_le16 (p + 92),
                    OPTIONS_SIZE);
  h->version = 2;
  partclone_get_text (h->creator, sizeof h->creator, p + 16, 14);
  partclone_get_text (h->fs, sizeof h->fs, p + 36, 16);
  h->size = get_le64 (p + 52);
  h->nr_blocks = get_le64 (p + 60);
  h->nr_used = get_le64 (p + 76);
  h->block_size = get_le32 (p + 84);
  r = decode_sum (h, p, err);
  if (r == 0)
    r = decode_map (h, p, err);
  if (r == 0)
    r = partclone_check_blocks (h, err);
  return r == 0 ? check_strip (h, err) : r;
}

static int
check_order (const uint8_t *p, struct err *err)
{
  unsigned order = get_le16 (p + 34);

  if (order == ENDIAN_OTHER)
    return err_set (err, -ENOTSUP, "it was made on a big-endian machine");
  if (order != ENDIAN_OURS)
    return err_set (err, -EBADMSG, "the byte order at offset 34 is 0x%04x, "
                    "expected 0x%04x", order, ENDIAN_OURS);
  return 0;
}

int
partclone_header_read (struct block *file, bool ignore_checksums,
                       struct partclone_header *out, struct report *report,
                       struct err *err)
{
  struct partclone_header h = { .version = 0 };
  uint8_t p[HEADER_SIZE];
  char version[TEXT_NAME_SIZE];
  int r;

  if (block_size (file) < HEADER_SIZE)
    return err_set (err, -EBADMSG, "the file is cut off: it ends at %" PRIu64
                    ", in the header of %d bytes", block_size (file),
                    HEADER_SIZE);
  r = block_pread (file, p, sizeof p, 0, err);
  if (r < 0)
    return r;
  if (memcmp (p, PARTCLONE_MAGIC, PARTCLONE_MAGIC_SIZE) != 0)
    return err_set (err, -EBADMSG, "there is no ‘" PARTCLONE_MAGIC "’ at "
                    "offset 0");
  if (memcmp (p + 30, "0001", 4) == 0)
    return partclone_v1_read (file, out, err);
  if (memcmp (p + 30, "0002", 4) != 0) {
    partclone_get_text (version, sizeof version, p + 30, 4);
    return err_set (err, -ENOTSUP, "it is a partclone image of version ‘%s’, "
                    "which is not known", version);
  }
  r = check_order (p, err);
  if (r == 0)
    r = check_sum (p, ignore_checksums, report, block_name (file), err);
  if (r == 0)
    r = decode_v2 (&h, p, err);
  if (r == 0)
    r = check_end (&h, file, report, err);
  if (r < 0)
    return r;
  h.size = max_u64 (h.size, h.nr_blocks * h.block_size);
  *out = h;
  return 0;
}
