/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From sector 16 on, after the descriptors of ISO 9660 if there are any,
 * BEA01, NSR02 or NSR03 and TEA01 announce UDF.  An anchor, at block 256, at
 * the last block or 256 before it, names two copies of a sequence of volume
 * descriptors, in which we look for
 *   primary volume (1)   volume id @24, creator @388, date @376
 *   partition (5)        first block @188, number of blocks @192
 *   logical volume (6)   label @84, block size @212, revision @240
 *   pointer (3)          where the sequence goes on
 *   terminator (8)
 * Each begins with a tag of 16 bytes: type, version, checksum of the tag @4,
 * CRC-16 of what follows it @8 over a length @10, own block @12.  ECMA-167
 * 3/7.2 and 3/10.
 *
 * Hard disks have UDF in smaller or larger blocks; those are not optical
 * discs, and not images of this kind.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/utf16.h"
#include "lib/base/utf8.h"
#include "lib/format/iso/udf.h"

#define BLOCK 2048
#define FIRST_BLOCK 16
#define MAX_RECOGNITION 64      /* descriptors */
#define MAX_DESCRIPTORS 256     /* in a sequence */
#define TAG_SIZE 16

enum { TAG_PRIMARY = 1, TAG_ANCHOR = 2, TAG_POINTER = 3, TAG_PARTITION = 5,
       TAG_LOGICAL = 6, TAG_UNALLOCATED = 7, TAG_TERMINATOR = 8 };

/*--- Tags ------------------------------------------------------------------*/

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

static int
check_tag (const uint8_t d[BLOCK], uint32_t block, struct err *err)
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
  if (crc_len > BLOCK - TAG_SIZE)
    return err_set (err, -EBADMSG, "the descriptor at block %" PRIu32 " has a "
                    "CRC over %u bytes, which is more than a block", block,
                    crc_len);
  crc = crc16 (d + TAG_SIZE, crc_len);
  if (crc != get_le16 (d + 8))
    return err_set (err, -EBADMSG, "CRC of the descriptor at block %" PRIu32
                    " is %04x, computed %04x", block, get_le16 (d + 8), crc);
  return 0;
}

static int
read_block (struct block *block, uint64_t n, uint8_t d[BLOCK],
            struct err *err)
{
  if (n > UINT32_MAX || !range_fits (n * BLOCK, BLOCK, block_size (block)))
    return err_set (err, -EBADMSG, "block %" PRIu64 " is not inside the file",
                    n);
  return block_pread (block, d, BLOCK, n * BLOCK, err);
}

/*--- Fields ----------------------------------------------------------------*/

static char *
non_empty (char *str)
{
  if (str[0] != '\0')
    return str;
  free (str);
  return NULL;
}

/* A dstring (OSTA UDF 2.1.3): 8 or 16, the bits of a character, and the
 * characters; how many bytes those are together is in the last byte.
 */
static int
take_dstring (const uint8_t *field, size_t size, char **out, struct err *err)
{
  size_t len = min_u64 (field[size - 1], size - 1);
  uint8_t wide[2 * 128] = { 0 };
  char *str;

  free (*out);
  *out = NULL;
  if (len <= 1 || (field[0] != 8 && field[0] != 16))
    return 0;
  if (field[0] == 8)
    for (size_t i = 1; i < len; ++i)
      wide[2 * (i - 1) + 1] = field[i];
  str = utf16_to_utf8 (field[0] == 8 ? wide : field + 1,
                       field[0] == 8 ? 2 * (len - 1) : len - 1, UTF16_BE);
  if (str == NULL)
    return err_nomem (err);
  *out = non_empty (str);
  return 0;
}

/* An entity identifier: 23 characters behind a byte of flags.  Writers put
 * a star before their name.
 */
static int
take_entity (const uint8_t *field, char **out, struct err *err)
{
  char *str = utf8_repair (field + 1 + (field[1] == '*'),
                           23 - (field[1] == '*'));

  if (str == NULL)
    return err_nomem (err);
  free (*out);
  *out = non_empty (str);
  return 0;
}

/* Minutes from UTC in 12 bits, year, month, day, hour, minute, second. */
static int64_t
take_timestamp (const uint8_t *p)
{
  int minutes = get_le16 (p) & 0x0FFF;
  struct tm tm = {
    .tm_year = (int16_t) get_le16 (p + 2) - 1900,
    .tm_mon = p[4] - 1,
    .tm_mday = p[5],
    .tm_hour = p[6],
    .tm_min = p[7],
    .tm_sec = p[8],
  };
  time_t t;

  if (tm.tm_year < 0 || p[4] < 1 || p[4] > 12 || p[5] < 1 || p[5] > 31 ||
      p[6] > 23 || p[7] > 59 || p[8] > 60)
    return -1;
  if (minutes >= 0x800)
    minutes -= 0x1000;
  if (minutes < -1440 || minutes > 1440)        /* -2047: not said */
    minutes = 0;
  t = timegm (&tm) - minutes * 60;
  return t >= 0 ? t : -1;
}

/*--- The sequence ----------------------------------------------------------*/

static int
decode_primary (const uint8_t *d, struct udf *udf, struct err *err)
{
  int r = take_dstring (d + 24, 32, &udf->volume_id, err);

  udf->created = take_timestamp (d + 376);
  return r < 0 ? r : take_entity (d + 388, &udf->creator, err);
}

static int
decode_logical (const uint8_t *d, struct udf *udf, struct err *err)
{
  uint32_t block_size = get_le32 (d + 212);

  if (block_size != BLOCK)
    return err_set (err, -EBADMSG, "the logical volume has blocks of %" PRIu32
                    " bytes, expected %d", block_size, BLOCK);
  if (memcmp (d + 217, "*OSTA UDF Compliant", 19) == 0)
    udf->revision = get_le16 (d + 240);
  udf->found = true;
  return take_dstring (d + 84, 128, &udf->label, err);
}

static int
decode (const uint8_t *d, struct udf *udf, struct err *err)
{
  uint64_t end;

  switch (get_le16 (d)) {
  case TAG_PRIMARY:
    return decode_primary (d, udf, err);
  case TAG_PARTITION:
    end = ((uint64_t) get_le32 (d + 188) + get_le32 (d + 192)) * BLOCK;
    udf->size = max_u64 (udf->size, end);
    return 0;
  case TAG_LOGICAL:
    return decode_logical (d, udf, err);
  }
  return 0;
}

/* Read one copy of the sequence. */
static int
read_sequence (struct block *block, uint32_t start, uint32_t len,
               struct udf *udf, struct err *err)
{
  uint8_t d[BLOCK];
  uint32_t n = start, left = len / BLOCK;
  int r;

  for (unsigned i = 0; i < MAX_DESCRIPTORS && left > 0; ++i, ++n, --left) {
    uint16_t tag;

    r = read_block (block, n, d, err);
    if (r < 0)
      return r;
    tag = get_le16 (d);
    /* The list of unallocated space may be longer than a block. */
    if (tag == TAG_TERMINATOR || tag == 0 || tag == TAG_UNALLOCATED) {
      if (tag == TAG_UNALLOCATED)
        continue;
      break;
    }
    r = check_tag (d, n, err);
    if (r == 0)
      r = decode (d, udf, err);
    if (r < 0)
      return r;
    if (tag == TAG_POINTER) {
      left = get_le32 (d + 20) / BLOCK + 1;
      n = get_le32 (d + 24) - 1;
    }
  }
  if (!udf->found)
    return err_set (err, -EBADMSG, "no logical volume descriptor from block %"
                    PRIu32 " on", start);
  return 0;
}

void
udf_free (struct udf *udf)
{
  free (udf->label);
  free (udf->volume_id);
  free (udf->creator);
  memset (udf, 0, sizeof *udf);
  udf->created = -1;
}

/* Whichever copy is good. */
static int
read_copies (struct block *block, const uint8_t *anchor, struct udf *udf,
             struct report *report, struct err *err)
{
  uint32_t start1 = get_le32 (anchor + 20), start2 = get_le32 (anchor + 28);
  struct err why1 = ERR_INIT, why2 = ERR_INIT;
  int r = read_sequence (block, start1, get_le32 (anchor + 16), udf, &why1);

  if (r == 0)
    return 0;
  udf_free (udf);
  if (r == -ENOMEM)
    return err_nomem (err);
  r = read_sequence (block, start2, get_le32 (anchor + 24), udf, &why2);
  if (r == 0) {
    report_warn (report, "UDF volume descriptors at block %" PRIu32 ": %s; "
                 "the reserve at block %" PRIu32 " is used", start1, why1.msg,
                 start2);
    return 0;
  }
  udf_free (udf);
  if (r == -ENOMEM)
    return err_nomem (err);
  report_warn (report, "UDF: no usable volume descriptors: %s; %s", why1.msg,
               why2.msg);
  return 0;
}

/*--- The way there ---------------------------------------------------------*/

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
    if (!range_fits (n * BLOCK, sizeof d, block_size (block)) ||
        block_pread (block, d, sizeof d, n * BLOCK, NULL) < 0)
      return false;
    rec = recognise (d);
  }
  return rec == REC_UDF;
}

/* Find an anchor. */
static int
find_anchor (struct block *block, uint8_t d[BLOCK], struct report *report,
             struct err *err)
{
  uint64_t blocks = block_size (block) / BLOCK;
  uint64_t places[] = { 256, blocks - 1, blocks - 257 };
  struct err why = ERR_INIT, first = ERR_INIT;

  for (unsigned i = 0; i < 3; ++i) {
    int r = read_block (block, places[i], d, &why);

    if (r == 0 && get_le16 (d) != TAG_ANCHOR)
      r = err_set (&why, -EBADMSG, "no anchor at block %" PRIu64, places[i]);
    if (r == 0)
      r = check_tag (d, (uint32_t) places[i], &why);
    if (r == 0) {
      if (i > 0)
        report_warn (report, "UDF: %s; the anchor at block %" PRIu64 " is "
                     "used", first.msg, places[i]);
      return 0;
    }
    if (i == 0)
      first = why;
  }
  return err_set (err, -EBADMSG, "UDF is announced, but has no usable anchor: "
                  "%s", first.msg);
}

bool
udf_probe (struct block *block, const uint8_t *head, size_t head_len)
{
  enum recognition rec = REC_GO_ON;
  uint8_t anchor[BLOCK];

  for (size_t off = FIRST_BLOCK * BLOCK;
       rec == REC_GO_ON && off + BLOCK <= head_len; off += BLOCK)
    rec = recognise (head + off);
  return rec == REC_UDF && find_anchor (block, anchor, NULL, NULL) == 0;
}

int
udf_read (struct block *block, struct udf *udf, struct report *report,
          struct err *err)
{
  struct udf found = { .created = -1 };
  struct err why = ERR_INIT;
  uint8_t anchor[BLOCK];
  int r = 0;

  if (is_announced (block)) {
    if (find_anchor (block, anchor, report, &why) < 0)
      report_warn (report, "%s", why.msg);
    else
      r = read_copies (block, anchor, &found, report, err);
    found.announced = true;
  }
  if (r == 0)
    *udf = found;
  return r;
}
