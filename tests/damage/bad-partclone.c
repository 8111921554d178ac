/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bad images of partclone: what the header and the bitmap say is checked before
 * anything is given out.  What is wrong with blocks gives errors when they are
 * read: tests/unit/test-partclone.c.
 *
 *   CRC    300 blocks of 512 bytes, CRC-32 of each 16 · bitmap 110 to 148 ·
 *          blocks from 152
 *   BARE   the same without checksums
 *   FULL   the same without a bitmap
 *   HASH   the same with XXH64
 *   OLD    the same in version 1: a byte for each block from 4160
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/damage/damage.h"
#include "tests/support/partclone-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define BLOCKS 300
#define SIZE 52
#define NR 60
#define USED 76
#define BLOCK 84
#define KIND 96
#define SUM_SIZE 98
#define PER_SUM 100
#define MAP_KIND 105
#define MAP 110
#define OLD_BLOCK 36
#define OLD_NR 48
#define OLD_MAP 4160
#define OLD_END (OLD_MAP + BLOCKS)

enum base { CRC, BARE, FULL, HASH, OLD };

/* The checksum of which is made right after the change. */
enum seal { SEALED, UNSEALED, MAP_TOO };

struct row {
  const char *name;
  enum base base;
  struct damage_patch patches[3];
  const char *says;
  int code;
  long cut;
  enum seal seal;
  long more;                    /* zeros that the disk has at its end */
};

#define ONE_SUM "whose checksums cover the first byte of each block only"
#define CUT "the file is cut off: it ends at "

static const struct row rows[] = {
  /* Nothing is known of these but their name. */
  { "partclone-magic", CRC, { { 0, 1, 'P' } },
    "its name ends in .pcl, but there is no ‘partclone-image’ at its start" },
  { "partclone-version-0", CRC, { { 30, 4, 0 } }, "of version ‘’", -ENOTSUP },
  { "partclone-version-3", CRC, { { 33, 1, '3' } }, "of version ‘0003’",
    -ENOTSUP },
  { "partclone-version-of-controls", CRC, { { 30, 4, 0x0A1B0D07 } },
    "of version ‘????’", -ENOTSUP },
  { "partclone-version-1-for-2", CRC, { { 33, 1, '1' } }, "block size of",
    -EBADMSG },
  { "partclone-big-endian", CRC, { { 34, 2, 0xDEC0 } }, "big-endian machine",
    -ENOTSUP },
  { "partclone-byte-order", CRC, { { 34, 2, 0 } }, "at offset 34 is 0x0000",
    -EBADMSG },
  { "partclone-header-sum", CRC, { { 106, 1, 0xAA } },
    "the CRC-32 of the header at offset 0 is", -EBADMSG, 0, UNSEALED },
  { "partclone-header-bit", CRC, { { 59, 1, 1 } },
    "the CRC-32 of the header at offset 0 is", -EBADMSG, 0, UNSEALED },
  { "partclone-names-of-controls", CRC, { { 16, 8, UINT64_MAX },
                                          { 36, 8, 0x1B5B324A1B5B324A } } },
  { "partclone-options-0", CRC, { { 88, 4, 0 } }, "0 bytes of options",
    -ENOTSUP },
  { "partclone-options-max", CRC, { { 88, 4, UINT32_MAX } },
    "4294967295 bytes of options", -ENOTSUP },
  { "partclone-options-version", CRC, { { 92, 2, 1 } }, "of version 1",
    -ENOTSUP },

  { "partclone-size-0", CRC, { { SIZE, 8, 0 } } },
  { "partclone-size-larger", CRC, { { SIZE, 8, BLOCKS * 512 + 700 } }, NULL, 0,
    0, SEALED, 700 },
  { "partclone-size-max", CRC, { { SIZE, 8, UINT64_MAX } },
    "more than there can be", -EBADMSG },
  { "partclone-blocks-0", CRC, { { NR, 8, 0 } }, "has 0 blocks", -EBADMSG },
  { "partclone-blocks-max", CRC, { { NR, 8, UINT64_MAX } },
    "more than there can be", -EBADMSG },
  { "partclone-blocks-overflow", CRC, { { NR, 8, UINT64_C (1) << 55 } },
    "more than there can be", -EBADMSG },
  { "partclone-blocks-exbibytes", CRC, { { NR, 8, UINT64_C (1) << 53 } },
    "9007199254740992 blocks, which are too many for a bitmap", -ENOTSUP },
  { "partclone-blocks-terabytes", CRC, { { NR, 8, UINT64_C (1) << 36 } },
    "in the bitmap from 110 to 8589934706", -EBADMSG },
  { "partclone-blocks-one-more-byte", CRC, { { NR, 8, 305 } }, CUT,
    -EBADMSG },
  { "partclone-used-0", CRC, { { USED, 8, 0 } }, "the header says 0",
    -EBADMSG },
  { "partclone-used-more-than-all", CRC, { { USED, 8, 301 } },
    "301 blocks are in the image, of 300", -EBADMSG },
  { "partclone-used-max", CRC, { { USED, 8, UINT64_MAX } },
    "blocks are in the image, of 300", -EBADMSG },
  { "partclone-used-one-less", FULL, { { USED, 8, 299 } },
    "expected all, as it has no bitmap", -EBADMSG },
  { "partclone-block-0", CRC, { { BLOCK, 4, 0 } }, "block size of 0",
    -EBADMSG },
  { "partclone-block-1", CRC, { { BLOCK, 4, 1 } }, "block size of 1,",
    -EBADMSG },
  { "partclone-block-513", CRC, { { BLOCK, 4, 513 } }, "block size of 513",
    -EBADMSG },
  { "partclone-block-max", CRC, { { BLOCK, 4, UINT32_MAX } },
    "block size of 4294967295", -EBADMSG },
  { "partclone-block-1024", CRC, { { BLOCK, 4, 1024 } }, CUT, -EBADMSG },
  { "partclone-block-16-mib", CRC, { { BLOCK, 4, 1 << 24 },
                                     { PER_SUM, 4, 1 } }, CUT, -EBADMSG },

  { "partclone-sum-kind", CRC, { { KIND, 2, 0x21 } }, "of kind 0x21",
    -ENOTSUP },
  { "partclone-sum-kind-old", CRC, { { KIND, 2, 0xFF } }, "of kind 0xff",
    -ENOTSUP },
  { "partclone-sum-size-0", CRC, { { SUM_SIZE, 2, 0 } },
    "a checksum has 0 bytes, expected 4", -EBADMSG },
  { "partclone-sum-size-max", HASH, { { SUM_SIZE, 2, 65535 } },
    "a checksum has 65535 bytes, expected 8", -EBADMSG },
  { "partclone-sum-covers-0", CRC, { { PER_SUM, 4, 0 } },
    "a checksum covers 0 blocks", -EBADMSG },
  { "partclone-sum-covers-1", CRC, { { PER_SUM, 4, 1 } }, CUT, -EBADMSG },
  { "partclone-sum-covers-max", CRC, { { PER_SUM, 4, UINT32_MAX } },
    "too many to be read", -ENOTSUP },
  { "partclone-sum-of-none", BARE, { { PER_SUM, 4, UINT32_MAX },
                                     { 104, 1, 0 } } },
  { "partclone-sum-goes-on", HASH, { { 104, 1, 0 } },
    "none can be verified by itself", -ENOTSUP },

  { "partclone-map-kind", CRC, { { MAP_KIND, 1, 8 } }, "of kind 8",
    -ENOTSUP },
  { "partclone-map-none", CRC, { { MAP_KIND, 1, 0 } }, "expected all",
    -EBADMSG },
  { "partclone-map-sum", CRC, { { 148, 4, 0x12345678 } },
    "the CRC-32 of the bitmap at offset 110 is", -EBADMSG },
  { "partclone-map-of-ones", CRC, { { MAP, 8, UINT64_MAX } },
    "the CRC-32 of the bitmap at offset 110 is", -EBADMSG },
  { "partclone-map-of-zeros", CRC, { { MAP, 0, 38 } },
    "the bitmap at offset 110 has 0 blocks", -EBADMSG, 0, MAP_TOO },

  { "partclone-cut-in-the-header", CRC, { { 0 } }, CUT "109, in the header",
    -EBADMSG, -109 },
  { "partclone-cut-in-the-map", CRC, { { 0 } }, CUT "151, in the bitmap",
    -EBADMSG, -151 },
  { "partclone-cut-behind-the-map", CRC, { { 0 } }, CUT "152, and", -EBADMSG,
    -152 },
  { "partclone-cut-in-the-last-sum", CRC, { { 0 } }, CUT, -EBADMSG, 1 },
  { "partclone-cut-without-sums", BARE, { { 0 } }, CUT, -EBADMSG, 1 },
  { "partclone-longer", CRC, { { 0 } }, "4096 bytes behind its last block", 0,
    4096, SEALED },

  { "partclone-old", OLD, { { 0 } }, ONE_SUM },
  { "partclone-old-used-max", OLD, { { 56, 8, UINT64_MAX } }, ONE_SUM },
  { "partclone-old-size-max", OLD, { { 40, 8, UINT64_MAX } }, ONE_SUM },
  { "partclone-old-block-0", OLD, { { OLD_BLOCK, 4, 0 } }, "block size of 0",
    -EBADMSG },
  { "partclone-old-block-max", OLD, { { OLD_BLOCK, 4, UINT32_MAX } },
    "block size of 4294967295", -EBADMSG },
  { "partclone-old-block-1024", OLD, { { OLD_BLOCK, 4, 1024 } },
    "is cut off, or its bitmap", -EBADMSG },
  { "partclone-old-blocks-0", OLD, { { OLD_NR, 8, 0 } }, "has 0 blocks",
    -EBADMSG },
  { "partclone-old-blocks-max", OLD, { { OLD_NR, 8, UINT64_MAX } },
    "more than there can be", -EBADMSG },
  { "partclone-old-blocks-terabytes", OLD, { { OLD_NR, 8, UINT64_C (1) << 36
    } }, "in the bitmap from 4160 to", -EBADMSG },
  { "partclone-old-blocks-less", OLD, { { OLD_NR, 8, 299 } },
    "no ‘BiTmAgIc’ at offset 4459", -EBADMSG },
  { "partclone-old-map-of-ones", OLD, { { OLD_MAP, 8, 0x0101010101010101 },
      { OLD_MAP + 100, 8, 0x0101010101010101 },
      { OLD_MAP + 200, 8, 0x0101010101010101 } }, "is cut off, or its bitmap",
    -EBADMSG },
  { "partclone-old-map-of-zeros", OLD, { { OLD_MAP, 0, BLOCKS } },
    "is cut off, or its bitmap", -EBADMSG },
  { "partclone-old-map-end", OLD, { { OLD_END + 7, 1, 'C' } },
    "no ‘BiTmAgIc’ at offset 4460", -EBADMSG },
  { "partclone-old-cut", OLD, { { 0 } }, "is cut off, or its bitmap", -EBADMSG,
    1 },
  { "partclone-old-longer", OLD, { { 0 } }, "is cut off, or its bitmap",
    -EBADMSG, -1 },
};

/*--- Making them ------------------------------------------------------------*/

static void
make_good (enum base base, struct partclone_made *m)
{
  struct partclone_shape shape = {
    .v1 = base == OLD ? 4 : 0,
    .nr_blocks = BLOCKS,
    .block_size = 512,
    .sum = base == BARE ? 0 : base == HASH ? 0x30 : 0x20,
    .per_sum = base == BARE ? 0 : 16,
    .no_map = base == FULL,
    .density = base == FULL ? 8 : 5,
  };

  partclone_make (&shape, 1, m);
}

/* Cut: so many bytes less; those of the header and bitmap say how many stay. */
static void
cut (struct damage_file *file, const struct row *row)
{
  if (row->cut < -100)
    damage_cut (file, (long) file->len + row->cut);
  else
    damage_cut (file, row->code == 0 ? -row->cut : row->cut);
}

static void
make (size_t i, struct damage_image *out)
{
  const struct row *row = &rows[i];
  struct damage_file file;
  struct partclone_made m;

  make_good (row->base, &m);
  file = (struct damage_file) { m.file, m.len };
  damage_apply (&file, row->patches, 3);
  if (row->base != OLD && row->seal == MAP_TOO)
    partclone_seal_map (&m);
  if (row->base != OLD && row->seal != UNSEALED)
    partclone_seal (&m);
  out->image = damage_copy (m.file, m.len);
  cut (&out->image, row);
  if (out->image.bytes[0] == 'P')
    out->disk = damage_copy (out->image.bytes, out->image.len);
  else {
    out->disk = damage_copy (m.disk, m.size);
    damage_cut (&out->disk, -row->more);
  }
  partclone_made_free (&m);
}

static size_t
nr (void)
{
  return sizeof rows / sizeof rows[0];
}

static const char *
name_of (size_t i)
{
  return rows[i].name;
}

static struct damage_verdict
verdict_of (size_t i)
{
  return (struct damage_verdict) { rows[i].code, rows[i].says };
}

const struct damage_family damage_partclone = {
  .name = "partclone",
  .file = "disk.pcl",
  .nr = nr,
  .name_of = name_of,
  .verdict_of = verdict_of,
  .make = make,
};
