/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bad images of discs.  The bytes of a disc are those of the file, whatever
 * its descriptors say; what is wrong with them is a warning, and a file that
 * is known to be a disc and has nothing usable of one is refused.
 *
 *   ISO    600 sectors · primary descriptor 16 · end 17 · root directory 20
 *   BOOT   ISO, with El Torito at 17, the end at 18, catalogue at 22
 *   UDF    ISO, with recognition at 18, anchors at 256 and 599, descriptors
 *          260 to 263, their reserve 300 to 303
 *   ONLY   UDF without ISO: recognition at 16
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/damage/bad-iso.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define PVD (16 * S)
#define ROOT_AT (ROOT * S)
#define ENTRIES (CATALOG * S)
#define ANCHOR (256 * S)
#define ANCHOR2 (LAST * S)
#define VOLUME (MAIN * S)
#define SPACE ((MAIN + 1) * S)
#define LOGICAL ((MAIN + 2) * S)
#define RESERVED (RESERVE * S)

struct row {
  const char *name;
  enum iso_base base;
  struct damage_patch patches[4];
  const char *says;
  int code;
  unsigned seal, tag;           /* this sector gets right sums, as this tag */
  long cut;
};

static const struct row rows[] = {
  { "iso-size-0", ISO, { { PVD + 80, 8, 0 } } },
  { "iso-size-1", ISO, { { PVD + 80, 4, 1 }, { PVD + 84, 4, 0x01000000 } } },
  { "iso-size-max", ISO, { { PVD + 80, 8, UINT64_MAX } },
    "the volume has 8796093020160 bytes, the file only 1228800" },
  { "iso-size-one-more", ISO, { { PVD + 80, 4, 601 },
                                { PVD + 84, 4, 0x59020000 } },
    "the volume has 1230848 bytes, the file only 1228800: 2048 bytes are" },
  { "iso-size-two-ways", ISO, { { PVD + 84, 4, 0 } },
    "is 600 in little-endian and 0 in big-endian order; the first is used" },
  { "iso-size-swapped", ISO, { { PVD + 80, 4, 0x58020000 } },
    "is 1476526080 in little-endian and 600 in big-endian order" },
  { "iso-block-size-0", ISO, { { PVD + 128, 4, 0 } },
    "logical block size at 128 is 0, expected 512, 1024 or 2048" },
  { "iso-block-size-1", ISO, { { PVD + 128, 4, 0x01000001 } },
    "logical block size at 128 is 1, expected 512, 1024 or 2048" },
  { "iso-block-size-4096", ISO, { { PVD + 128, 4, 0x00101000 } },
    "logical block size at 128 is 4096, expected 512, 1024 or 2048" },
  { "iso-block-size-max", ISO, { { PVD + 128, 4, UINT32_MAX } },
    "logical block size at 128 is 65535, expected 512, 1024 or 2048" },
  { "iso-block-size-two-ways", ISO, { { PVD + 128, 2, 512 } },
    "is 512 in little-endian and 2048 in big-endian order" },
  { "iso-root-past-the-end", ISO, { { PVD + 158, 4, 600 },
                                    { PVD + 162, 4, 0x58020000 } },
    "root directory at block 600: 2048 bytes are not inside the file" },
  { "iso-root-at-max", ISO, { { PVD + 158, 8, UINT64_MAX } },
    "root directory at block 4294967295: 2048 bytes are not inside" },
  /* Its first sector is all that is looked at. */
  { "iso-root-length-max", ISO, { { PVD + 166, 8, UINT64_MAX } } },
  { "iso-root-length-0", ISO, { { PVD + 166, 8, 0 } },
    "root directory at block 20: 0 bytes are not inside the file" },
  { "iso-root-of-zeros", ISO, { { ROOT_AT, 0, S } },
    "root directory at block 20: the first record is not the directory" },
  { "iso-without-end", ISO, { { 17 * S, 0, S } },
    "the volume descriptors have no end: none of type 255 up to sector 16" },
  { "iso-end-of-another-type", ISO, { { 17 * S, 1, 99 } },
    "the volume descriptors have no end: none of type 255 up to sector" },
  { "iso-text-of-controls", ISO, { { PVD + 40, 8, UINT64_C (0x1B5B321B0A0D07) }
    } },
  { "iso-date-of-no-digits", ISO, { { PVD + 813, 8, UINT64_MAX } } },
  /* Nothing of a disc is left in these: raw disks, with the same bytes. */
  { "iso-type-swapped", ISO, { { PVD, 1, 255 } },
    "its name ends in .iso, but there is neither an ISO 9660 nor a UDF" },
  { "iso-cookie", ISO, { { PVD + 1, 1, 'X' } },
    "its name ends in .iso, but there is neither an ISO 9660 nor a UDF" },
  { "iso-cut-in-the-descriptor", ISO, { { 0 } },
    "its name ends in .iso, but there is neither an ISO 9660 nor a UDF", 0, 0,
    0, 583 * S + 100 },
  { "udf-alone-without-anchors", ONLY, { { ANCHOR, 0, S }, { ANCHOR2, 0, S } },
    "its name ends in .iso, but there is neither an ISO 9660 nor a UDF" },
  { "iso-cut", ISO, { { 0 } },
    "204900 bytes are missing at the end, as when a download broke off", 0, 0,
    0, 204900 },
  { "iso-cut-in-a-sector", ISO, { { 0 } },
    "1228799 bytes, is not a multiple of 2048: the last sector is not whole",
    0, 0, 0, 1 },
  { "iso-cut-behind-descriptors", ISO, { { 0 } },
    "the volume has 1228800 bytes, the file only 36864", 0, 0, 0, 582 * S },
  { "iso-longer", ISO, { { 0 } }, NULL, 0, 0, 0, -4096 },

  { "boot-catalogue-past-the-end", BOOT, { { 17 * S + 71, 4, 600 } },
    "El Torito catalogue at sector 600 is not inside the file" },
  { "boot-catalogue-at-max", BOOT, { { 17 * S + 71, 4, UINT32_MAX } },
    "El Torito catalogue at sector 4294967295 is not inside the file" },
  { "boot-catalogue-of-zeros", BOOT, { { ENTRIES, 0, S } },
    "El Torito catalogue at sector 22: " },
  { "boot-catalogue-sum", BOOT, { { ENTRIES + 4, 1, 1 } },
    "El Torito catalogue at sector 22: " },
  { "boot-catalogue-55aa", BOOT, { { ENTRIES + 30, 2, 0 } },
    "El Torito catalogue at sector 22: " },
  { "boot-default-entry", BOOT, { { ENTRIES + 32, 1, 0x77 } },
    "the default entry begins with 77, expected 88 or 00" },
  { "boot-image-past-the-end", BOOT, { { ENTRIES + 40, 4, 600 } },
    "is at offset 1228800, beyond the end of the file, 1228800; it is left" },
  { "boot-image-at-max", BOOT, { { ENTRIES + 40, 4, UINT32_MAX } },
    "is at offset 8796093020160, beyond the end of the file" },
  { "boot-image-too-long", BOOT, { { ENTRIES + 38, 2, 65535 },
                                    { ENTRIES + 40, 4, 599 } },
    "goes beyond the end of the file, 1228800" },
  { "boot-section-too-long", BOOT, { { ENTRIES + 66, 2, 65535 } },
    "a section of 65535 entries has only" },

  { "udf-anchor-of-zeros", UDF, { { ANCHOR, 0, S } },
    "UDF: no anchor at block 256; the anchor at block 599 is used" },
  { "udf-anchor-sum", UDF, { { ANCHOR + 4, 1, 0xEE } },
    "UDF: checksum of the tag at block 256 is ee, computed" },
  { "udf-anchor-crc", UDF, { { ANCHOR + 20, 4, 1 } },
    "UDF: CRC of the descriptor at block 256 is" },
  { "udf-anchors-of-zeros", UDF, { { ANCHOR, 0, S }, { ANCHOR2, 0, S } },
    "UDF is announced, but has no usable anchor: no anchor at block 256" },
  { "udf-anchor-points-past-the-end", UDF, { { ANCHOR + 20, 4, 600 } },
    "the reserve at block 300 is used", 0, 256, 2 },
  { "udf-anchor-points-to-max", UDF, { { ANCHOR + 20, 4, UINT32_MAX } },
    "the reserve at block 300 is used", 0, 256, 2 },
  { "udf-anchor-points-to-nothing", UDF,
    { { ANCHOR + 20, 4, 400 }, { ANCHOR + 28, 4, 400 } },
    "UDF: no usable volume descriptors", 0, 256, 2 },
  { "udf-volume-crc", UDF, { { VOLUME + 30, 1, 1 } },
    "the reserve at block 300 is used" },
  { "udf-volume-sum", UDF, { { VOLUME + 4, 1, 0xEE } },
    "the reserve at block 300 is used" },
  { "udf-volume-elsewhere", UDF, { { VOLUME + 12, 4, 261 } },
    "the reserve at block 300 is used" },
  { "udf-logical-block-size", UDF, { { LOGICAL + 212, 4, 512 } },
    "the logical volume has blocks of 512 bytes, expected 2048", 0,
    MAIN + 2, 6 },
  { "udf-logical-block-size-max", UDF, { { LOGICAL + 212, 4, UINT32_MAX } },
    "the logical volume has blocks of 4294967295 bytes, expected 2048", 0,
    MAIN + 2, 6 },
  { "udf-maps-too-long", UDF, { { LOGICAL + 264, 4, UINT32_MAX } },
    "the logical volume has partition maps of 4294967295 bytes", 0,
    MAIN + 2, 6 },
  { "udf-maps-too-many", UDF, { { LOGICAL + 268, 4, UINT32_MAX } },
    "the logical volume has 4294967295 partition maps, of which only 1", 0,
    MAIN + 2, 6 },
  { "udf-map-of-length-0", UDF, { { LOGICAL + 441, 1, 0 } },
    "the reserve at block 300 is used", 0, MAIN + 2, 6 },
  { "udf-partition-past-the-end", UDF, { { SPACE + 192, 4, UINT32_MAX } },
    "bytes are missing at the end, as when a download broke off", 0,
    MAIN + 1, 5 },
  { "udf-both-sequences", UDF,
    { { VOLUME + 30, 1, 1 }, { RESERVED + 30, 1, 1 } },
    "UDF: no usable volume descriptors: CRC of the descriptor at block 260" },
  { "udf-alone-both-sequences", ONLY,
    { { VOLUME + 30, 1, 1 }, { RESERVED + 30, 1, 1 } },
    "neither ISO 9660 nor UDF", -EBADMSG },
  { "udf-alone-cut", ONLY, { { 0 } },
    "bytes are missing at the end, as when a download broke off", 0, 0, 0,
    100 * S },
};

/*--- Making them ------------------------------------------------------------*/

static void
put_base (struct iso_fixture *f, enum iso_base base)
{
  if (base != ONLY)
    put_iso (f);
  if (base == BOOT)
    put_boot (f);
  if (base == UDF)
    put_udf (f, 18);
  if (base == ONLY)
    put_udf (f, 16);
}

struct damage_file
bad_iso_make_good (enum iso_base base)
{
  struct damage_file disc;
  struct iso_fixture *f;
  void *state = NULL;

  assert_int_equal (iso_setup (&state), 0);
  f = state;
  /* What is in the sectors does not matter, but is to be seen. */
  for (unsigned s = 400; s < LAST; ++s)
    memset (at (f, s), (int) s, S);
  put_base (f, base);
  disc = damage_copy (f->disc, f->size);
  iso_teardown (&state);
  return disc;
}

void
bad_iso_seal (struct damage_file *disc, unsigned sector, uint16_t tag)
{
  struct iso_fixture f = { .disc = disc->bytes, .size = disc->len };

  seal_tag (&f, sector, tag);
}

static void
make (size_t i, struct damage_image *out)
{
  const struct row *row = &rows[i];

  out->image = bad_iso_make_good (row->base);
  damage_apply (&out->image, row->patches, 4);
  if (row->seal)
    bad_iso_seal (&out->image, row->seal, (uint16_t) row->tag);
  damage_cut (&out->image, row->cut);
  out->disk = damage_copy (out->image.bytes, out->image.len);
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

const struct damage_family damage_iso = {
  .name = "iso",
  .file = "disc.iso",
  .nr = nr,
  .name_of = name_of,
  .verdict_of = verdict_of,
  .make = make,
};
