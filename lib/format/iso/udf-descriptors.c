/* SPDX-License-Identifier: GPL-2.0-or-later */

/* In the sequence of volume descriptors, of which there are two copies, we
 * look for
 *   primary volume (1)   volume id @24, creator @388, date @376
 *   pointer (3)          where the sequence goes on
 *   partition (5)        number @22, first block @188, number of blocks @192
 *   logical volume (6)   label @84, block size @212, revision @240, partition
 *                        maps @440, their length @264, their number @268,
 *                        place of the integrity descriptor @432
 *   terminator (8)
 * A descriptor that is there more than once has a sequence number @16, and
 * the highest counts.  ECMA-167 3/8.4 and 3/10, OSTA UDF 2.2.
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
#include "lib/format/iso/udf-tag.h"

#define MAX_DESCRIPTORS 256     /* in a sequence */
#define MAX_INTEGRITY 64        /* descriptors, each naming the next */

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

/* What is being read: one copy of the sequence. */
struct sequence {
  struct udf udf;
  uint32_t primary_number, logical_number;      /* of what counts so far */
  uint32_t integrity_len, integrity_block;
};

static int
decode_primary (const uint8_t *d, struct sequence *seq, struct err *err)
{
  struct udf *udf = &seq->udf;
  int r;

  if (get_le32 (d + 16) < seq->primary_number)
    return 0;
  seq->primary_number = get_le32 (d + 16);
  r = take_dstring (d + 24, 32, &udf->volume_id, err);
  udf->created = take_timestamp (d + 376);
  return r < 0 ? r : take_entity (d + 388, &udf->creator, err);
}

static void
decode_partition (const uint8_t *d, struct udf *udf)
{
  uint64_t start = get_le32 (d + 188);

  udf->partition_end = max_u64 (udf->partition_end,
                                (start + get_le32 (d + 192)) * UDF_BLOCK);
  udf->partition_start = (uint32_t) start;
}

/* Type 1 is a physical partition, 2 one that an entity names (OSTA UDF
 * 2.2.8 to 2.2.10): type, length, …, name @5.
 */
static int
decode_map (const uint8_t *map, size_t len, struct udf *udf, struct err *err)
{
  static const struct { const char *name; unsigned bit; } kinds[] = {
    { "*UDF Virtual Partition", UDF_VIRTUAL },
    { "*UDF Sparable Partition", UDF_SPARABLE },
    { "*UDF Metadata Partition", UDF_METADATA },
  };
  char name[24] = "";

  if (map[0] == 1) {
    udf->maps |= UDF_PHYSICAL;
    return 0;
  }
  if (map[0] == 2 && len >= 64) {
    memcpy (name, map + 5, 23);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i)
      if (strcmp (name, kinds[i].name) == 0) {
        udf->maps |= kinds[i].bit;
        return 0;
      }
  }
  return err_set (err, -EBADMSG, "a partition map of type %u and %zu bytes, "
                  "which UDF does not have", map[0], len);
}

static int
decode_maps (const uint8_t *d, struct udf *udf, struct err *err)
{
  uint32_t size = get_le32 (d + 264), nr = get_le32 (d + 268);
  const uint8_t *map = d + 440, *end = map + size;
  int r = 0;

  udf->maps = 0;
  if (size > UDF_BLOCK - 440)
    return err_set (err, -EBADMSG, "the logical volume has partition maps of "
                    "%" PRIu32 " bytes, more than the %d in its block", size,
                    UDF_BLOCK - 440);
  for (uint32_t i = 0; i < nr && r == 0; ++i) {
    if (end - map < 6 || map[1] < 6 || map[1] > end - map)
      return err_set (err, -EBADMSG, "the logical volume has %" PRIu32
                      " partition maps, of which only %" PRIu32 " fit into "
                      "their %" PRIu32 " bytes", nr, i, size);
    r = decode_map (map, map[1], udf, err);
    map += map[1];
  }
  return r;
}

static int
decode_logical (const uint8_t *d, struct sequence *seq, struct err *err)
{
  uint32_t block_size = get_le32 (d + 212);
  struct udf *udf = &seq->udf;
  int r;

  if (get_le32 (d + 16) < seq->logical_number)
    return 0;
  seq->logical_number = get_le32 (d + 16);
  if (block_size != UDF_BLOCK)
    return err_set (err, -EBADMSG, "the logical volume has blocks of %" PRIu32
                    " bytes, expected %d", block_size, UDF_BLOCK);
  r = decode_maps (d, udf, err);
  if (r < 0)
    return r;
  if (memcmp (d + 217, "*OSTA UDF Compliant", 19) == 0)
    udf->revision = get_le16 (d + 240);
  seq->integrity_len = get_le32 (d + 432);
  seq->integrity_block = get_le32 (d + 436);
  udf->found = true;
  return take_dstring (d + 84, 128, &udf->label, err);
}

static int
decode (const uint8_t *d, struct sequence *seq, struct err *err)
{
  switch (get_le16 (d)) {
  case TAG_PRIMARY:
    return decode_primary (d, seq, err);
  case TAG_PARTITION:
    decode_partition (d, &seq->udf);
    return 0;
  case TAG_LOGICAL:
    return decode_logical (d, seq, err);
  }
  return 0;
}

/* How many blocks the list of unallocated space has: 8 bytes for each piece
 * of it behind 24.
 */
static uint32_t
unallocated_blocks (const uint8_t *d)
{
  return (uint32_t) div_round_up (24 + 8 * (uint64_t) get_le32 (d + 20),
                                  UDF_BLOCK);
}

/* Read the descriptors of one copy.  Its blocks may be counted wrong: what
 * ends it is its end, a terminator, or the limit.
 */
static int
read_sequence (struct block *block, uint32_t start, uint32_t len,
               struct sequence *seq, struct err *err)
{
  uint8_t d[UDF_BLOCK];
  uint64_t n = start, left = len / UDF_BLOCK;

  for (unsigned i = 0; left > 0; ++i) {
    uint32_t blocks = 1;
    uint16_t tag;
    int r;

    if (i == MAX_DESCRIPTORS)
      return err_set (err, -EBADMSG, "more than %d descriptors, the next at "
                      "block %" PRIu64 ": they may go in a circle",
                      MAX_DESCRIPTORS, n);
    r = udf_read_block (block, n, d, err);
    if (r < 0)
      return r;
    tag = get_le16 (d);
    if (tag == TAG_TERMINATOR || tag == 0)
      break;
    /* Its sum may be over more than we have read. */
    if (tag == TAG_UNALLOCATED)
      blocks = unallocated_blocks (d);
    else {
      r = udf_check_tag (d, (uint32_t) n, err);
      if (r == 0)
        r = decode (d, seq, err);
      if (r < 0)
        return r;
    }
    n += blocks;
    left -= min_u64 (left, blocks);
    if (tag == TAG_POINTER) {
      left = get_le32 (d + 20) / UDF_BLOCK;
      n = get_le32 (d + 24);
    }
  }
  if (!seq->udf.found)
    return err_set (err, -EBADMSG, "no logical volume descriptor from block %"
                    PRIu32 " on", start);
  return 0;
}

/* Was the volume closed?  Type @28, 1: yes; where a next descriptor is, @32;
 * the last counts.  ECMA-167 3/10.10.
 */
static void
read_integrity (struct block *block, struct sequence *seq,
                struct report *report)
{
  uint32_t len = seq->integrity_len, n = seq->integrity_block;
  struct err why = ERR_INIT;
  uint8_t d[UDF_BLOCK];

  for (unsigned i = 0; len >= UDF_BLOCK; ++i) {
    int r = udf_read_block (block, n, d, &why);

    if (r == 0)
      r = udf_check_tag (d, n, &why);
    if (r == 0 && get_le16 (d) != TAG_INTEGRITY)
      r = err_set (&why, -EBADMSG, "the descriptor at block %" PRIu32 " is of "
                   "type %u, expected %d", n, get_le16 (d), TAG_INTEGRITY);
    if (r == 0 && i == MAX_INTEGRITY)
      r = err_set (&why, -EBADMSG, "more than %d descriptors, the next at "
                   "block %" PRIu32 ": they may go in a circle", MAX_INTEGRITY,
                   n);
    if (r < 0) {
      /* Behind the first may be unwritten space of the extent. */
      if (i == 0 || i == MAX_INTEGRITY)
        report_warn (report, "UDF integrity of the volume: %s", why.msg);
      return;
    }
    seq->udf.is_open = get_le32 (d + 28) == 0;
    len = get_le32 (d + 32);
    n = get_le32 (d + 36);
  }
}

/*--- Both copies -----------------------------------------------------------*/

void
udf_free (struct udf *udf)
{
  free (udf->label);
  free (udf->volume_id);
  free (udf->creator);
  memset (udf, 0, sizeof *udf);
  udf->created = -1;
}

static int
read_copy (struct block *block, const uint8_t *extent, struct udf *udf,
           struct report *report, struct err *err)
{
  struct sequence seq = { .udf = *udf };
  int r = read_sequence (block, get_le32 (extent + 4), get_le32 (extent),
                         &seq, err);

  if (r < 0) {
    udf_free (&seq.udf);
    return r;
  }
  read_integrity (block, &seq, report);
  *udf = seq.udf;
  return 0;
}

/* The byte behind an extent: length, block. */
static uint64_t
extent_end (const uint8_t *extent)
{
  return (uint64_t) get_le32 (extent + 4) * UDF_BLOCK + get_le32 (extent);
}

int
udf_read_descriptors (struct block *block, const uint8_t anchor[UDF_BLOCK],
                      struct udf *udf, struct report *report, struct err *err)
{
  const uint8_t *first = anchor + 16, *second = anchor + 24;
  struct err why1 = ERR_INIT, why2 = ERR_INIT;
  int r = read_copy (block, first, udf, report, &why1);

  if (r < 0 && r != -ENOMEM) {
    r = read_copy (block, second, udf, report, &why2);
    if (r == 0)
      report_warn (report, "UDF volume descriptors at block %" PRIu32 ": %s; "
                   "the reserve at block %" PRIu32 " is used",
                   get_le32 (first + 4), why1.msg, get_le32 (second + 4));
    else if (r != -ENOMEM)
      report_warn (report, "UDF: no usable volume descriptors: %s; %s",
                   why1.msg, why2.msg);
  }
  if (r == -ENOMEM)
    return err_nomem (err);
  /* A disc that is written bit by bit has its partition, but not yet its
   * bytes.
   */
  if (r == 0)
    udf->size = max_u64 (max_u64 (extent_end (first), extent_end (second)),
                         udf->maps & UDF_VIRTUAL ? 0 : udf->partition_end);
  return 0;
}
