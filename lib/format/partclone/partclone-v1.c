/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Version 1, of partclone before 0.3 (little-endian):
 *
 *     0   15  "partclone-image"          40   8  size of the partition
 *    15   15  file system                48   8  blocks of the file system
 *    30    4  "0001"                     56   8  ... that it says it uses
 *    36    4  size of a block            64      nothing, until 4160
 *  4160       a byte for each block, then "BiTmAgIc"
 *
 * and each block that is there with a checksum behind it.
 *
 * Nothing covers the header and the map; what the header says of used blocks
 * and of the partition's size is often wrong (partclone itself counts the map,
 * and the blocks), so neither counts here.  The checksum goes on from block to
 * block, and by an oversight sees nothing of a block but its first byte.
 * Versions before 0.1.0 for 64 bits wrote 8 bytes for it, of which the last 4
 * say nothing: which it is, the length of the file tells, which has to be
 * exactly one of the two.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/partclone/partclone.h"

#define HEADER_SIZE 64
#define MAP_OFF 4160
#define MAP_MAGIC "BiTmAgIc"
#define MAP_MAGIC_SIZE 8
#define SUM_SIZE 4
#define LONG_SUM_SIZE 8

static int
check_map (struct block *file, const struct partclone_header *h,
           struct err *err)
{
  uint64_t off = h->map_off + h->map_len;
  uint8_t magic[MAP_MAGIC_SIZE];
  int r;

  if (!range_fits (off, MAP_MAGIC_SIZE, block_size (file)))
    return err_set (err, -EBADMSG, "the file is cut off: it ends at %" PRIu64
                    ", in the bitmap from %" PRIu64 " to %" PRIu64,
                    block_size (file), h->map_off, off + MAP_MAGIC_SIZE);
  r = block_pread (file, magic, sizeof magic, off, err);
  if (r < 0 || memcmp (magic, MAP_MAGIC, sizeof magic) == 0)
    return r;
  return err_set (err, -EBADMSG, "there is no ‘" MAP_MAGIC "’ at offset %"
                  PRIu64 ", behind the bitmap", off);
}

int
partclone_v1_read (struct block *file, struct partclone_header *out,
                   struct err *err)
{
  struct partclone_header h = {
    .version = 1,
    .map = PARTCLONE_MAP_BYTES,
    .map_off = MAP_OFF,
    .sum = PARTCLONE_SUM_FIRST_BYTE,
    .per_sum = 1,
    .is_chained = true,
  };
  uint8_t p[HEADER_SIZE];
  int r = block_pread (file, p, sizeof p, 0, err);

  if (r < 0)
    return r;
  partclone_get_text (h.fs, sizeof h.fs, p + 15, 15);
  h.block_size = get_le32 (p + 36);
  h.nr_blocks = get_le64 (p + 48);
  r = partclone_check_blocks (&h, err);
  if (r < 0)
    return r;
  h.map_len = h.nr_blocks;
  h.data_off = MAP_OFF + h.map_len + MAP_MAGIC_SIZE;
  h.size = h.nr_blocks * h.block_size;
  r = check_map (file, &h, err);
  if (r == 0)
    *out = h;
  return r;
}

int
partclone_v1_finish (struct block *file, struct partclone_header *h,
                     uint64_t nr_used, struct err *err)
{
  uint64_t len = block_size (file) - h->data_off;
  uint64_t bytes = nr_used * h->block_size, sums, long_sums;

  h->nr_used = nr_used;
  if (!checked_mul (nr_used, LONG_SUM_SIZE, &long_sums) ||
      !checked_add (bytes, long_sums, &long_sums))
    long_sums = UINT64_MAX;
  sums = bytes + nr_used * SUM_SIZE;
  if (len == sums || len == long_sums) {
    h->sum_size = len == sums ? SUM_SIZE : LONG_SUM_SIZE;
    return 0;
  }
  return err_set (err, -EBADMSG, "the file is cut off, or its bitmap at offset "
                  "%d is damaged: it has %" PRIu64 " bytes behind offset %"
                  PRIu64 ", expected %" PRIu64 " or %" PRIu64 " for %" PRIu64
                  " blocks of %" PRIu32, MAP_OFF, len, h->data_off, sums,
                  long_sums, nr_used, h->block_size);
}
