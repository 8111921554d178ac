/* SPDX-License-Identifier: GPL-2.0-or-later */

/* ISO 9660, El Torito and UDF, with bytes made here.
 * tests/unit/test-iso-tools.sh compares with images of other programs.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/block/memory.h"
#include "lib/format/image.h"

#define S 2048                  /* a sector */
#define SECTORS 600
#define ROOT 20                 /* sectors: of the root directory, */
#define CATALOG 22              /* of the boot catalogue, */
#define LAST (SECTORS - 1)
#define MAIN 260                /* of UDF's descriptors */
#define RESERVE 300

struct fixture {
  uint8_t *disc;
  size_t size;
  struct report report;
  struct err err;
  struct image_info info;
  struct image *img;
  bool writable;
  const char *format;
};

static uint8_t *
at (struct fixture *f, unsigned sector)
{
  return f->disc + (size_t) sector * S;
}

static void
forget (struct fixture *f)
{
  image_info_free (&f->info);
  image_unref (f->img);
  f->img = NULL;
  report_free (&f->report);
}

static int
setup (void **state)
{
  struct fixture *f = calloc (1, sizeof *f);

  assert_non_null (f);
  f->size = SECTORS * S;
  f->disc = calloc (1, f->size);
  assert_non_null (f->disc);
  *state = f;
  return 0;
}

static int
teardown (void **state)
{
  struct fixture *f = *state;

  forget (f);
  free (f->disc);
  free (f);
  return 0;
}

static int
try_open (struct fixture *f)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct image_options options = { .writable = f->writable,
                                   .format = f->format };
  int r;

  forget (f);
  assert_int_equal (block_memory_new ("disc", f->disc, f->size, &b, NULL), 0);
  r = image_open_block (b, &options, &f->img, &f->report, &f->err);
  if (r == 0)
    r = image_get_info (f->img, &f->info, &f->err);
  return r;
}

static void
open_iso (struct fixture *f)
{
  if (try_open (f) < 0)
    fail_msg ("open: %s", f->err.msg);
  assert_string_equal (image_format (f->img), "iso");
}

static void
assert_said (struct fixture *f, const char *what)
{
  for (size_t i = 0; i < f->report.lines.len; ++i)
    if (strstr (f->report.lines.ptr[i], what))
      return;
  for (size_t i = 0; i < f->report.lines.len; ++i)
    print_message ("said: %s\n", f->report.lines.ptr[i]);
  fail_msg ("nothing about ‘%s’", what);
}

static void
assert_silent (struct fixture *f)
{
  if (f->report.lines.len > 0)
    fail_msg ("said: %s", f->report.lines.ptr[0]);
}

static void
assert_property (struct fixture *f, const char *key, const char *value)
{
  for (size_t i = 0; i < f->info.properties.len; ++i)
    if (strcmp (f->info.properties.ptr[i].key, key) == 0) {
      if (value == NULL)
        fail_msg ("there is a %s", key);
      assert_string_equal (f->info.properties.ptr[i].value, value);
      return;
    }
  if (value)
    fail_msg ("no %s", key);
}

/*--- Bytes -----------------------------------------------------------------*/

static void
put_both16 (uint8_t *p, uint16_t v)
{
  put_le16 (p, v);
  put_be16 (p + 2, v);
}

static void
put_both32 (uint8_t *p, uint32_t v)
{
  put_le32 (p, v);
  put_be32 (p + 4, v);
}

static void
put_text (uint8_t *p, size_t len, const char *text)
{
  memset (p, ' ', len);
  memcpy (p, text, strlen (text));
}

static uint8_t *
put_descriptor (struct fixture *f, unsigned sector, uint8_t type)
{
  uint8_t *d = at (f, sector);

  memset (d, 0, S);
  d[0] = type;
  memcpy (d + 1, "CD001\1", 6);
  return d;
}

/* A primary volume descriptor and the end of the set. */
static void
put_iso (struct fixture *f)
{
  uint8_t *d = put_descriptor (f, 16, 1), *root;

  put_text (d + 8, 32, "LINUX");
  put_text (d + 40, 32, "MY_DISC");
  put_both32 (d + 80, SECTORS);
  put_both16 (d + 120, 1);
  put_both16 (d + 124, 1);
  put_both16 (d + 128, S);
  put_both32 (d + 132, 10);
  put_both32 (d + 156 + 2, ROOT);
  put_both32 (d + 156 + 10, S);
  put_text (d + 190, 128, "SET");
  put_text (d + 318, 128, "SOMEBODY");
  put_text (d + 446, 128, "A PREPARER");
  put_text (d + 574, 128, "A PROGRAM");
  memcpy (d + 813, "2026112217203400\x04", 17); /* an hour ahead of UTC */
  put_descriptor (f, 17, 255);
  root = at (f, ROOT);
  root[0] = 34;
  put_both32 (root + 2, ROOT);
  put_both32 (root + 10, S);
  root[32] = 1;
}

static void
put_joliet (struct fixture *f, const char *id)
{
  uint8_t *d = put_descriptor (f, 17, 2);

  memcpy (d + 88, "%/E", 3);
  for (unsigned i = 0; i < 16; ++i)
    put_be16 (d + 40 + 2 * i, *id ? (uint8_t) *id++ : ' ');
  put_descriptor (f, 18, 255);
}

static void
seal_catalog (uint8_t *v)
{
  uint16_t sum = 0;

  put_le16 (v + 28, 0);
  for (unsigned i = 0; i < 32; i += 2)
    sum = (uint16_t) (sum + get_le16 (v + i));
  put_le16 (v + 28, (uint16_t) -sum);
}

static void
put_image (uint8_t *e, uint8_t id, uint8_t media, uint16_t sectors,
           uint32_t sector)
{
  e[0] = id;
  e[1] = media;
  put_le16 (e + 6, sectors);
  put_le32 (e + 8, sector);
}

/* A catalogue: BIOS, and a section for UEFI. */
static void
put_boot (struct fixture *f)
{
  uint8_t *d = put_descriptor (f, 17, 0), *c = at (f, CATALOG);

  memcpy (d + 7, "EL TORITO SPECIFICATION", 23);
  put_le32 (d + 71, CATALOG);
  put_descriptor (f, 18, 255);
  memset (c, 0, S);
  c[0] = 1;
  c[30] = 0x55;
  c[31] = 0xAA;
  seal_catalog (c);
  put_image (c + 32, 0x88, 0, 4, 100);
  c[64] = 0x91;
  c[65] = 0xEF;
  put_le16 (c + 66, 1);
  put_image (c + 96, 0x88, 0, 0, 200);
}

/* The boot entries, in words. */
static void
assert_boot (struct fixture *f, const char *expected)
{
  char s[1024] = "";

  for (size_t i = 0; i < f->info.boot.len; ++i) {
    const struct image_boot_entry *e = &f->info.boot.ptr[i];
    size_t len = strlen (s);

    snprintf (s + len, sizeof s - len, "%s%s%s %s %u+%u", i ? ", " : "",
              e->platform, e->bootable ? "" : " (not)", e->media,
              (unsigned) (e->off / S), (unsigned) e->len);
  }
  assert_string_equal (s, expected);
}

static uint16_t
crc16 (const uint8_t *p, size_t len)
{
  uint16_t crc = 0;

  for (; len > 0; --len, ++p)
    for (int bit = 7; bit >= 0; --bit) {
      int x = crc >> 15 ^ (*p >> bit & 1);

      crc = (uint16_t) (crc << 1 ^ (x ? 0x1021 : 0));
    }
  return crc;
}

static void
seal_tag (struct fixture *f, unsigned sector, uint16_t tag)
{
  uint8_t *d = at (f, sector);
  uint8_t sum = 0;

  put_le16 (d, tag);
  put_le16 (d + 2, 2);
  put_le16 (d + 10, 496);
  put_le16 (d + 8, crc16 (d + 16, 496));
  put_le32 (d + 12, sector);
  d[4] = 0;
  for (unsigned i = 0; i < 16; ++i)
    sum = (uint8_t) (sum + d[i]);
  d[4] = sum;
}

static void
put_anchor (struct fixture *f, unsigned sector)
{
  uint8_t *d = at (f, sector);

  memset (d, 0, S);
  put_le32 (d + 16, 16 * S);
  put_le32 (d + 20, MAIN);
  put_le32 (d + 24, 16 * S);
  put_le32 (d + 28, RESERVE);
  seal_tag (f, sector, 2);
}

static void
put_dstring (uint8_t *field, size_t size, const char *str)
{
  memset (field, 0, size);
  field[0] = 8;
  memcpy (field + 1, str, strlen (str));
  field[size - 1] = (uint8_t) (strlen (str) + 1);
}

static void
put_udf_sequence (struct fixture *f, unsigned sector, const char *label)
{
  static const uint8_t when[12] = { 0x3C, 0x10, 0xEA, 0x07, 11, 22, 17, 20,
                                    34 };       /* an hour ahead of UTC */
  uint8_t *p = at (f, sector), *part = p + S, *l = p + 2 * S;

  put_dstring (p + 24, 32, "Volume");
  memcpy (p + 376, when, sizeof when);
  memcpy (p + 389, "*Some writer", 12);
  seal_tag (f, sector, 1);
  put_le32 (part + 188, 310);
  put_le32 (part + 192, SECTORS - 310);
  seal_tag (f, sector + 1, 5);
  put_dstring (l + 84, 128, label);
  put_le32 (l + 212, S);
  memcpy (l + 217, "*OSTA UDF Compliant", 19);
  put_le16 (l + 240, 0x0201);
  seal_tag (f, sector + 2, 6);
  seal_tag (f, sector + 3, 8);
}

/* Recognition from a sector on, anchors at 256 and the last, both copies of
 * the descriptors, of which the second has another label.
 */
static void
put_udf (struct fixture *f, unsigned sector)
{
  memcpy (at (f, sector) + 1, "BEA01\1", 6);
  memcpy (at (f, sector + 1) + 1, "NSR03\1", 6);
  memcpy (at (f, sector + 2) + 1, "TEA01\1", 6);
  put_anchor (f, 256);
  put_anchor (f, LAST);
  put_udf_sequence (f, MAIN, "Main");
  put_udf_sequence (f, RESERVE, "Reserve");
}

/*--- ISO 9660 --------------------------------------------------------------*/

static void
an_iso_is_served_as_it_is (void **state)
{
  struct fixture *f = *state;
  struct block_sizes sizes;
  uint8_t buf[5000];

  put_iso (f);
  for (unsigned i = 100 * S; i < 110 * S; ++i)
    f->disc[i] = (uint8_t) (i * 7 + i / 256);
  open_iso (f);
  assert_silent (f);
  assert_true (image_size (f->img) == SECTORS * S);
  assert_int_equal (image_pread (f->img, buf, sizeof buf, 100 * S + 13, NULL),
                    0);
  assert_memory_equal (buf, f->disc + 100 * S + 13, sizeof buf);
  image_get_sizes (f->img, &sizes);
  assert_int_equal (sizes.logical, 2048);
  assert_int_equal (sizes.minimum, 1);
  assert_true (f->info.is_optical);
  assert_string_equal (f->info.type, "ISO 9660");
  assert_string_equal (f->info.label, "MY_DISC");
  assert_string_equal (f->info.creator, "A PROGRAM");
  assert_true (f->info.created == 1795364434);
  assert_property (f, "system-id", "LINUX");
  assert_property (f, "volume-set", "SET");
  assert_property (f, "publisher", "SOMEBODY");
  assert_property (f, "preparer", "A PREPARER");
  assert_property (f, "volume-size", "1228800 bytes (1.1 MiB)");
  assert_property (f, "hybrid", NULL);
  assert_property (f, "udf-revision", NULL);
  assert_property (f, "embedded-md5", NULL);
}

static void
an_iso_is_never_written_to (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  f->writable = true;
  assert_int_equal (try_open (f), -EROFS);
  assert_string_equal (f->err.msg, "ISO images are read-only");
  f->writable = false;
  open_iso (f);
  assert_false (image_writable (f->img));
  assert_string_equal (image_readonly_reason (f->img),
                       "ISO images are read-only");
  assert_int_equal (image_pwrite (f->img, "x", 1, 0, 0, NULL), -EROFS);
}

static void
what_is_no_iso_is_raw (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  memcpy (at (f, 16) + 1, "CDROM", 5);
  assert_int_equal (try_open (f), 0);
  assert_string_equal (image_format (f->img), "raw");
  f->format = "iso";
  assert_int_equal (try_open (f), -EBADMSG);
  f->size = 0;
  assert_int_equal (try_open (f), -EBADMSG);
  f->format = NULL;
  put_iso (f);
  f->size = 17 * S - 1;
  assert_int_equal (try_open (f), 0);
  assert_string_equal (image_format (f->img), "raw");
}

static void
a_download_that_broke_off_is_reported (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  f->size = 500 * S - 100;
  open_iso (f);
  assert_said (f, "the volume has 1228800 bytes, the file only 1023900: 204900 "
               "bytes are missing at the end");
  assert_said (f, "1023900 bytes, is not a multiple of 2048");
  assert_true (image_size (f->img) == 500 * S - 100);
  assert_property (f, "missing", "204900 bytes (200 KiB)");
}

/* What is broken in the primary descriptor, and what is said. */
static const struct {
  unsigned off;
  uint8_t value;
  const char *said;
} primary_rules[] = {
  { 84, 1, "volume space size at 80 is 600 in little-endian and" },
  { 123, 9, "volume set size at 120 is 1 in little-endian and 9 in" },
  { 127, 9, "volume sequence number at 124 is 1 in little-endian and 9" },
  { 131, 9, "logical block size at 128 is 2048 in little-endian and 2057" },
  { 139, 9, "path table size at 132 is 10 in little-endian and 9" },
  { 165, 9, "root directory's place at 158 is 20 in little-endian and 9" },
  { 166, 9, "root directory's size at 166 is 2057 in little-endian and 2048" },
  { 129, 9, "logical block size at 128 is 2304, expected 512, 1024 or 2048" },
};

static void
wrong_numbers_in_the_primary_descriptor_are_reported (void **state)
{
  struct fixture *f = *state;

  for (size_t i = 0; i < sizeof primary_rules / sizeof primary_rules[0];
       ++i) {
    memset (f->disc, 0, f->size);
    put_iso (f);
    at (f, 16)[primary_rules[i].off] = primary_rules[i].value;
    open_iso (f);
    assert_said (f, primary_rules[i].said);
    assert_string_equal (f->info.label, "MY_DISC");
  }
}

static void
descriptors_without_an_end_are_reported (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  memset (at (f, 17), 0, S);
  open_iso (f);
  assert_said (f, "none of type 255 up to sector 16");
  for (unsigned i = 17; i < 200; ++i)
    put_descriptor (f, i, 3);
  open_iso (f);
  assert_said (f, "none of type 255 up to sector 79");
}

static void
dates_that_are_none_are_not_said (void **state)
{
  static const char *const bad[] = {
    "0000000000000000\0", "2026132217203400\0", "20261122172034xx\x70",
    "2026110017203400\0", "                 ", "2026112224203400\0",
  };
  struct fixture *f = *state;

  put_iso (f);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    memcpy (at (f, 16) + 813, bad[i], 17);
    open_iso (f);
    assert_true (f->info.created == -1);
  }
}

static void
joliet_names_the_disc_where_the_plain_name_is_a_stub (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  put_joliet (f, "Caf\xE9");
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660 + Joliet");
  assert_string_equal (f->info.label, "MY_DISC");
  put_text (at (f, 16) + 40, 32, "");
  open_iso (f);
  assert_string_equal (f->info.label, "Caf\xC3\xA9");
  put_text (at (f, 16) + 40, 32, "CDROM");
  open_iso (f);
  assert_string_equal (f->info.label, "Caf\xC3\xA9");
  put_joliet (f, "");
  open_iso (f);
  assert_string_equal (f->info.label, "CDROM");
  /* Another escape sequence is no Joliet. */
  memcpy (at (f, 17) + 88, "%/A", 3);
  open_iso (f);
  assert_string_equal (f->info.type, "ISO 9660");
}

static void
names_that_are_not_utf8_are_repaired (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  put_text (at (f, 16) + 40, 32, "CAF\xC9");
  open_iso (f);
  assert_string_equal (f->info.label, "CAF\xEF\xBF\xBD");
}

static void
an_implanted_md5sum_is_found (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  memcpy (at (f, 16) + 883 + 5, "ISO MD5SUM = "
          "0123456789abcdef0123456789abcdef;SKIPSECTORS = 15;", 63);
  open_iso (f);
  assert_property (f, "embedded-md5", "0123456789abcdef0123456789abcdef");
  /* Cut off by the end of the field. */
  memset (at (f, 16) + 883, ' ', 512);
  memcpy (at (f, 16) + 883 + 512 - 43, "ISO MD5SUM = "
          "0123456789abcdef0123456789abcdef", 43);
  open_iso (f);
  assert_property (f, "embedded-md5", NULL);
}

static void
rock_ridge_is_found_in_the_root_directory (void **state)
{
  struct fixture *f = *state;
  uint8_t *root, *ce;

  put_iso (f);
  root = at (f, ROOT);
  root[0] = 34 + 7 + 28;
  memcpy (root + 34, "SP\x07\x01\xBE\xEF\0", 7);
  ce = root + 34 + 7;
  memcpy (ce, "CE\x1C\x01", 4);
  put_both32 (ce + 4, 30);
  put_both32 (ce + 12, 100);
  put_both32 (ce + 20, 18);
  memcpy (at (f, 30) + 100, "ER\x12\x01\x0A\0\0\x01RRIP_1991A", 18);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660 + Rock Ridge");
  /* Behind what CD-ROM XA puts first. */
  memmove (root + 48, root + 34, 35);
  memset (root + 34, 0, 14);
  root[0] += 14;
  open_iso (f);
  assert_string_equal (f->info.type, "ISO 9660 + Rock Ridge");
  /* Another extension. */
  memcpy (at (f, 30) + 108, "SOMETHING!", 10);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660");
}

static void
broken_rock_ridge_ends (void **state)
{
  struct fixture *f = *state;
  uint8_t *root, *ce;

  put_iso (f);
  root = at (f, ROOT);
  root[0] = 34 + 7 + 28;
  memcpy (root + 34, "SP\x07\x01\xBE\xEF\0", 7);
  ce = root + 34 + 7;
  memcpy (ce, "CE\x1C\x01", 4);
  put_both32 (ce + 4, ROOT);            /* to itself */
  put_both32 (ce + 12, 34);
  put_both32 (ce + 20, 35);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "ISO 9660");
  put_both32 (ce + 4, UINT32_MAX);
  open_iso (f);
  assert_said (f, "root directory at block 20: continuation area");
  put_both32 (ce + 4, ROOT);
  put_both32 (ce + 20, UINT32_MAX);
  open_iso (f);
  assert_said (f, "continuation area of 4294967295 bytes");
  put_both32 (ce + 20, S + 1);          /* inside the file, but too long */
  open_iso (f);
  assert_said (f, "continuation area of 2049 bytes");
  root[33] = 'x';
  open_iso (f);
  assert_said (f, "the first record is not the directory itself");
  put_both32 (at (f, 16) + 156 + 2, SECTORS);
  open_iso (f);
  assert_said (f, "root directory at block 600: 2048 bytes are not inside");
}

static void
a_hybrid_image_has_partition_tables (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  f->disc[446 + 4] = 0x17;
  put_le32 (f->disc + 446 + 12, 100);
  open_iso (f);
  assert_property (f, "hybrid", NULL);
  f->disc[510] = 0x55;
  f->disc[511] = 0xAA;
  open_iso (f);
  assert_property (f, "hybrid", "MBR");
  memcpy (f->disc + 512, "EFI PART", 8);
  memcpy (f->disc + 2048, "PM\0\0\0\0\0\3", 8);
  open_iso (f);
  assert_property (f, "hybrid", "MBR, GPT, APM");
  f->disc[446] = 'x';
  memcpy (f->disc + 2048, "PM\0\0PMPM", 8);
  open_iso (f);
  assert_property (f, "hybrid", "GPT");
}

/*--- El Torito -------------------------------------------------------------*/

static void
boot_entries_of_all_sections_are_listed (void **state)
{
  struct fixture *f = *state;
  uint8_t *c = at (f, CATALOG);

  put_iso (f);
  put_boot (f);
  open_iso (f);
  assert_silent (f);
  /* UEFI: to the end of the volume. */
  assert_boot (f, "BIOS no emulation 100+2048, UEFI no emulation 200+819200");
  c[64] = 0x90;
  put_le16 (c + 66, 2);
  put_image (c + 96, 0x88, 0x20, 8, 200);
  c[128] = 0x44;
  put_image (c + 160, 0x00, 2, 1, 210);
  c[192] = 0x91;
  c[193] = 2;
  put_le16 (c + 194, 1);
  put_image (c + 224, 0x88, 3, 1, 60);
  put_image (c + 256, 0x88, 0, 1, 1);           /* behind the last */
  open_iso (f);
  assert_said (f, "goes beyond the end of the file");
  assert_boot (f, "BIOS no emulation 100+2048, UEFI no emulation 200+4096, "
               "UEFI (not) 1.44M floppy 210+798720, "
               "Mac 2.88M floppy 60+1105920");
}

static void
an_emulated_hard_disk_is_as_long_as_its_partition_says (void **state)
{
  struct fixture *f = *state;
  uint8_t *mbr = at (f, 100);

  put_iso (f);
  put_boot (f);
  at (f, CATALOG)[33] = 4;
  open_iso (f);
  assert_boot (f, "BIOS hard disk 100+0, UEFI no emulation 200+819200");
  put_le32 (mbr + 446 + 8, 63);
  put_le32 (mbr + 446 + 12, 137);
  mbr[510] = 0x55;
  mbr[511] = 0xAA;
  open_iso (f);
  assert_boot (f, "BIOS hard disk 100+102400, UEFI no emulation 200+819200");
}

/* What is broken in the catalogue, what is said, what is left. */
static const struct {
  unsigned off;
  uint8_t value;
  bool sealed;
  const char *said, *boot;
} catalog_rules[] = {
  { 0, 2, true, "catalogue at sector 22: the validation entry does not begin "
    "with 01; it is not used", "" },
  { 30, 0, true, "the validation entry does not end in 55 aa", "" },
  { 5, 1, false, "the validation entry's checksum is wrong", "" },
  { 32, 1, false, "the default entry begins with 01, expected 88 or 00",
    "UEFI no emulation 200+819200" },
  { 41, 9, false, "El Torito boot image for BIOS is at offset 4923392, beyond "
    "the end of the file, 1228800", "UEFI no emulation 200+819200" },
  { 66, 3, false, "a section of 3 entries has only",
    "BIOS no emulation 100+2048, UEFI no emulation 200+819200" },
};

static void
a_damaged_boot_catalogue_is_reported (void **state)
{
  struct fixture *f = *state;
  uint8_t *c = at (f, CATALOG);

  for (size_t i = 0; i < sizeof catalog_rules / sizeof catalog_rules[0];
       ++i) {
    memset (f->disc, 0, f->size);
    put_iso (f);
    put_boot (f);
    c[128] = 1;                         /* what follows is no entry */
    c[catalog_rules[i].off] = catalog_rules[i].value;
    if (catalog_rules[i].sealed)
      seal_catalog (c);
    open_iso (f);
    assert_said (f, catalog_rules[i].said);
    assert_boot (f, catalog_rules[i].boot);
  }
  put_le32 (at (f, 17) + 71, SECTORS);
  open_iso (f);
  assert_said (f, "El Torito catalogue at sector 600 is not inside the file");
}

static void
a_catalogue_without_an_end_ends (void **state)
{
  struct fixture *f = *state;
  uint8_t *c = at (f, CATALOG);

  put_iso (f);
  put_boot (f);
  for (unsigned i = 2; i < 64 * 100; ++i) {
    memset (c + 32 * i, 0, 32);
    c[32 * i] = 0x90;
    put_le16 (c + 32 * i + 2, 0xFFFF);
  }
  open_iso (f);
  assert_said (f, "a section of 65535 entries has only 0");
  assert_boot (f, "BIOS no emulation 100+2048");
}

/*--- UDF -------------------------------------------------------------------*/

static void
udf_is_read (void **state)
{
  struct fixture *f = *state;

  put_udf (f, 16);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "UDF");
  assert_string_equal (f->info.label, "Main");
  assert_string_equal (f->info.creator, "Some writer");
  assert_true (f->info.created == 1795364434);
  assert_property (f, "udf-revision", "2.01");
  assert_property (f, "volume-size", "1228800 bytes (1.1 MiB)");
}

static void
a_bridge_is_both (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  put_udf (f, 18);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "UDF bridge");
  assert_string_equal (f->info.label, "MY_DISC");
  assert_string_equal (f->info.creator, "A PROGRAM");
  put_text (at (f, 16) + 40, 32, "");
  open_iso (f);
  assert_string_equal (f->info.label, "Main");
}

static void
the_size_of_the_udf_partition_counts_too (void **state)
{
  struct fixture *f = *state;

  put_iso (f);
  put_both32 (at (f, 16) + 80, 30);
  put_udf (f, 18);
  f->size = 500 * S;
  open_iso (f);
  assert_said (f, "the volume has 1228800 bytes, the file only 1024000");
}

static void
udf_labels_have_8_or_16_bits (void **state)
{
  struct fixture *f = *state;
  uint8_t *label = at (f, MAIN + 2) + 84;

  put_udf (f, 16);
  put_dstring (label, 128, "Caf\xE9");
  seal_tag (f, MAIN + 2, 6);
  open_iso (f);
  assert_string_equal (f->info.label, "Caf\xC3\xA9");
  memcpy (label, "\x10\x20\xAC\0!", 5);
  label[127] = 5;
  seal_tag (f, MAIN + 2, 6);
  open_iso (f);
  assert_string_equal (f->info.label, "\xE2\x82\xAC!");
  /* Longer than its field, or of no kind: no more than the field. */
  memset (label, 'x', 128);
  label[0] = 8;
  label[127] = 255;
  seal_tag (f, MAIN + 2, 6);
  open_iso (f);
  assert_int_equal (strlen (f->info.label), 126);
  label[0] = 9;
  seal_tag (f, MAIN + 2, 6);
  open_iso (f);
  assert_string_equal (f->info.label, "Volume");
}

static void
the_descriptors_may_go_on_elsewhere (void **state)
{
  struct fixture *f = *state;
  uint8_t *d = at (f, MAIN);

  put_udf (f, 16);
  put_udf_sequence (f, 400, "Elsewhere");
  memset (d, 0, S);
  put_le32 (d + 20, 16 * S);
  put_le32 (d + 24, 400);
  seal_tag (f, MAIN, 3);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.label, "Elsewhere");
  put_le32 (d + 24, MAIN);              /* to itself */
  seal_tag (f, MAIN, 3);
  open_iso (f);
  assert_said (f, "no logical volume descriptor from block 260 on; the "
               "reserve at block 300 is used");
}

/* What is broken in the main sequence or the anchor, and what is said. */
static const struct {
  unsigned sector, off;
  uint8_t value;
  uint16_t tag;                 /* 0: not sealed */
  const char *said, *label;
} udf_rules[] = {
  { MAIN + 2, 4, 0xFF, 0, "checksum of the tag at block 262 is ff", NULL },
  { MAIN + 2, 90, 'x', 0, "CRC of the descriptor at block 262 is", NULL },
  { MAIN + 2, 213, 2, 6, "the logical volume has blocks of 512 bytes", NULL },
  { MAIN + 0, 0, 8, 8, "no logical volume descriptor from block 260", NULL },
  { 256, 4, 0xFF, 0, "UDF: checksum of the tag at block 256 is ff", "Main" },
  { 256, 20, 0, 0, "UDF: CRC of the descriptor at block 256 is", "Main" },
  { 256, 0, 0, 0, "UDF: no anchor at block 256; the anchor at block 599 is "
    "used", "Main" },
  { 256, 23, 0x10, 2, "block 268435716 is not inside the file", NULL },
};

static void
damaged_udf_descriptors_are_reported_and_the_copy_used (void **state)
{
  struct fixture *f = *state;

  for (size_t i = 0; i < sizeof udf_rules / sizeof udf_rules[0]; ++i) {
    memset (f->disc, 0, f->size);
    put_udf (f, 16);
    at (f, udf_rules[i].sector)[udf_rules[i].off] = udf_rules[i].value;
    if (udf_rules[i].tag != 0)
      seal_tag (f, udf_rules[i].sector, udf_rules[i].tag);
    open_iso (f);
    assert_said (f, udf_rules[i].said);
    assert_string_equal (f->info.label, udf_rules[i].label
                         ? udf_rules[i].label : "Reserve");
  }
}

static void
a_tag_that_belongs_elsewhere_is_refused (void **state)
{
  struct fixture *f = *state;

  put_udf (f, 16);
  memcpy (at (f, MAIN + 2), at (f, RESERVE + 2), S);
  open_iso (f);
  assert_said (f, "the tag at block 262 says that it is at block 302");
}

static void
a_crc_over_more_than_a_block_is_refused (void **state)
{
  struct fixture *f = *state;
  uint8_t *d = at (f, MAIN);

  put_udf (f, 16);
  put_le16 (d + 10, 2033);
  d[4] = (uint8_t) (d[4] + (2033 & 255) + (2033 >> 8) - (496 & 255) -
                    (496 >> 8));
  open_iso (f);
  assert_said (f, "the descriptor at block 260 has a CRC over 2033 bytes");
}

static void
udf_without_a_usable_copy_is_refused_or_left_out (void **state)
{
  struct fixture *f = *state;

  put_udf (f, 16);
  at (f, MAIN + 2)[90] ^= 1;
  at (f, RESERVE + 2)[90] ^= 1;
  assert_int_equal (try_open (f), -EBADMSG);
  assert_said (f, "UDF: no usable volume descriptors: CRC of the descriptor "
               "at block 262");
  put_iso (f);
  memcpy (at (f, 18) + 1, "BEA01\1", 6);
  memcpy (at (f, 19) + 1, "NSR03\1", 6);
  open_iso (f);
  assert_said (f, "UDF: no usable volume descriptors");
  assert_string_equal (f->info.type, "ISO 9660");
  at (f, 256)[0] = 0;
  at (f, LAST)[0] = 0;
  open_iso (f);
  assert_said (f, "UDF is announced, but has no usable anchor: no anchor at "
               "block 256");
}

#define T(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (an_iso_is_served_as_it_is),
    T (an_iso_is_never_written_to),
    T (what_is_no_iso_is_raw),
    T (a_download_that_broke_off_is_reported),
    T (wrong_numbers_in_the_primary_descriptor_are_reported),
    T (descriptors_without_an_end_are_reported),
    T (dates_that_are_none_are_not_said),
    T (joliet_names_the_disc_where_the_plain_name_is_a_stub),
    T (names_that_are_not_utf8_are_repaired),
    T (an_implanted_md5sum_is_found),
    T (rock_ridge_is_found_in_the_root_directory),
    T (broken_rock_ridge_ends),
    T (a_hybrid_image_has_partition_tables),
    T (boot_entries_of_all_sections_are_listed),
    T (an_emulated_hard_disk_is_as_long_as_its_partition_says),
    T (a_damaged_boot_catalogue_is_reported),
    T (a_catalogue_without_an_end_ends),
    T (udf_is_read),
    T (a_bridge_is_both),
    T (the_size_of_the_udf_partition_counts_too),
    T (udf_labels_have_8_or_16_bits),
    T (the_descriptors_may_go_on_elsewhere),
    T (damaged_udf_descriptors_are_reported_and_the_copy_used),
    T (a_tag_that_belongs_elsewhere_is_refused),
    T (a_crc_over_more_than_a_block_is_refused),
    T (udf_without_a_usable_copy_is_refused_or_left_out),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
