/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Descriptors begin with a tag of 16 bytes: type, version, checksum of the tag
 * @4, CRC-16 of what follows it @8 over a length @10, own block @12.  ECMA-167
 * 3/7.2.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/iso/udf-tag.h"

#define TAG_SIZE 16

/* CRC-16 of ECMA-167 7.2.6: x^16 + x^12 + x^5 + 1, not reflected. */
static uint16_t
crc16 (const uint8_t *p, size_t len)
{
  uint16_t crc = 0;

  while (len-- > 0) {
    crc ^= (uint16_t) (*p++ << 8);
    for (int i = 0; i < 8; ++i)
      crc = (uint16_t) (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
  }
  return crc;
}

int
udf_check_tag (const uint8_t d[UDF_BLOCK], uint32_t block, struct err *err)
{
  uint16_t crc_len = get_le16 (d + 10), crc;
  uint8_t sum = 0;

  for (unsigned i = 0; i < TAG_SIZE; ++i)
    if (i != 4)
      sum = (uint8_t) (sum + d[i]);
  if (sum != d[4])
    return err_set (err, -EBADMSG, "checksum of the tag at block %" PRIu32
                    " is %02x, computed %02x", block, d[4], sum);
  if (get_le32 (d + 12) != block)
    return err_set (err, -EBADMSG, "the tag at block %" PRIu32 " says that it "
                    "is at block %" PRIu32, block, get_le32 (d + 12));
  if (crc_len > UDF_BLOCK - TAG_SIZE)
    return err_set (err, -EBADMSG, "the descriptor at block %" PRIu32 " has a "
                    "CRC over %u bytes, which is more than a block", block,
                    crc_len);
  crc = crc16 (d + TAG_SIZE, crc_len);
  if (crc != get_le16 (d + 8))
    return err_set (err, -EBADMSG, "CRC of the descriptor at block %" PRIu32
                    " is %04x, computed %04x", block, get_le16 (d + 8), crc);
  return 0;
}

int
udf_read_block (struct block *block, uint64_t n, uint8_t d[UDF_BLOCK],
                struct err *err)
{
  if (n > UINT32_MAX ||
      !range_fits (n * UDF_BLOCK, UDF_BLOCK, block_size (block)))
    return err_set (err, -EBADMSG, "block %" PRIu64 " is not inside the file",
                    n);
  return block_pread (block, d, UDF_BLOCK, n * UDF_BLOCK, err);
}
