/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From sector 16 on, after the descriptors of ISO 9660 if there are any,
 * BEA01, NSR02 or NSR03 and TEA01 announce UDF.  An anchor, at block 256, at
 * the last block, 256 before it, or at 512 on a disc that was not closed,
 * names two copies of a sequence of volume descriptors: udf-descriptors.c.
 * ECMA-167 2/8, 3/8.4.2, OSTA UDF 2.2.3.
 *
 * Hard disks have UDF in smaller or larger blocks; those are not optical
 * discs, and not images of this kind.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/iso/udf-tag.h"

#define FIRST_BLOCK 16
#define MAX_RECOGNITION 64      /* descriptors */

#define VAT_PLACES 4            /* blocks */
#define VAT_TYPE 248            /* of file; in UDF 1.50 it has none */
#define VAT_TYPE_1_50 0

/* What a descriptor of the recognition sequence says. */
enum recognition { REC_GO_ON, REC_UDF, REC_END };

static enum recognition
recognise (const uint8_t *d)
{
  if (memcmp (d + 1, "NSR02", 5) == 0 || memcmp (d + 1, "NSR03", 5) == 0)
    return REC_UDF;
  if (memcmp (d + 1, "CD001", 5) == 0 || memcmp (d + 1, "BEA01", 5) == 0 ||
      memcmp (d + 1, "BOOT2", 5) == 0 || memcmp (d + 1, "TEA01", 5) == 0)
    return REC_GO_ON;
  return REC_END;
}

static bool
is_announced (struct block *block)
{
  enum recognition rec = REC_GO_ON;
  uint8_t d[7];

  for (uint64_t n = FIRST_BLOCK;
       rec == REC_GO_ON && n < FIRST_BLOCK + MAX_RECOGNITION; ++n) {
    if (!range_fits (n * UDF_BLOCK, sizeof d, block_size (block)) ||
        block_pread (block, d, sizeof d, n * UDF_BLOCK, NULL) < 0)
      return false;
    rec = recognise (d);
  }
  return rec == REC_UDF;
}

static int
read_anchor (struct block *block, uint64_t n, uint8_t d[UDF_BLOCK],
             struct err *err)
{
  int r = udf_read_block (block, n, d, err);

  if (r == 0 && get_le16 (d) != TAG_ANCHOR)
    return err_set (err, -EBADMSG, "no anchor at block %" PRIu64, n);
  return r < 0 ? r : udf_check_tag (d, (uint32_t) n, err);
}

static int
find_anchor (struct block *block, uint8_t d[UDF_BLOCK], struct report *report,
             struct err *err)
{
  uint64_t blocks = block_size (block) / UDF_BLOCK;
  const uint64_t places[] = { 256, blocks - 1, blocks - 257, 512 };
  struct err first = ERR_INIT;
  int r = read_anchor (block, places[0], d, &first), code = r;

  if (r == 0)
    return 0;
  for (unsigned i = 1; i < sizeof places / sizeof places[0]; ++i) {
    r = read_anchor (block, places[i], d, NULL);
    if (r == 0) {
      report_warn (report, "UDF: %s; the anchor at block %" PRIu64 " is used",
                   first.msg, places[i]);
      return 0;
    }
    /* The medium's failure counts for more than what is not there. */
    if (code == -EBADMSG)
      code = r;
  }
  return err_set (err, code, "UDF is announced, but has no usable anchor: "
                  "%s, nor at the last block, 256 before it, or 512",
                  first.msg);
}

bool
udf_probe (struct block *block, const uint8_t *head, size_t head_len)
{
  enum recognition rec = REC_GO_ON;
  uint8_t anchor[UDF_BLOCK];

  for (size_t off = FIRST_BLOCK * UDF_BLOCK;
       rec == REC_GO_ON && off + UDF_BLOCK <= head_len; off += UDF_BLOCK)
    rec = recognise (head + off);
  /* When it can't be read, opening it will say so. */
  return rec == REC_UDF &&
    find_anchor (block, anchor, NULL, NULL) != -EBADMSG;
}

/* The table of virtual blocks is at the very end of what was written: a file
 * that ends elsewhere can't be mounted.  Some drives add a block or two.
 */
static bool
has_virtual_table (struct block *block, const struct udf *udf)
{
  uint64_t blocks = block_size (block) / UDF_BLOCK;
  uint8_t d[UDF_BLOCK];

  for (uint64_t n = blocks; n-- > 0 && n + VAT_PLACES >= blocks;) {
    uint16_t tag;

    if (n < udf->partition_start || udf_read_block (block, n, d, NULL) < 0)
      return false;
    tag = get_le16 (d);
    /* Places in a partition count from its start. */
    if ((tag == TAG_FILE || tag == TAG_EXTENDED_FILE) &&
        udf_check_tag (d, (uint32_t) n - udf->partition_start, NULL) == 0 &&
        (d[27] == VAT_TYPE || d[27] == VAT_TYPE_1_50))
      return true;
  }
  return false;
}

int
udf_read (struct block *block, struct udf *udf, struct report *report,
          struct err *err)
{
  struct udf found = { .created = -1 };
  struct err why = ERR_INIT;
  uint8_t anchor[UDF_BLOCK];
  int r = 0;

  if (is_announced (block)) {
    if (find_anchor (block, anchor, report, &why) < 0)
      report_warn (report, "%s", why.msg);
    else
      r = udf_read_descriptors (block, anchor, &found, report, err);
    found.announced = true;
  }
  if (r < 0)
    return r;
  if ((found.maps & UDF_VIRTUAL) && !has_virtual_table (block, &found))
    report_warn (report, "UDF: the disc was written bit by bit, and its table "
                 "of virtual blocks is not in the last %d blocks of the file: "
                 "something is missing at the end, or follows it", VAT_PLACES);
  *udf = found;
  return 0;
}

uint32_t
udf_disk_block_size (struct block *block)
{
  static const uint32_t sizes[] = { 512, 1024, 4096 };

  for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    uint8_t tag[16], sum = 0;
    uint64_t off = UINT64_C (256) * sizes[i];

    if (!range_fits (off, sizeof tag, block_size (block)) ||
        block_pread (block, tag, sizeof tag, off, NULL) < 0 ||
        get_le16 (tag) != TAG_ANCHOR || get_le32 (tag + 12) != 256)
      continue;
    for (unsigned j = 0; j < sizeof tag; ++j)
      sum = (uint8_t) (sum + (j == 4 ? 0 : tag[j]));
    if (sum == tag[4])
      return sizes[i];
  }
  return 0;
}
