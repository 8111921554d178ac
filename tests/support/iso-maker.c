/* SPDX-License-Identifier: GPL-2.0-or-later */

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
#include "tests/support/faulty.h"
#include "tests/support/iso-maker.h"

uint8_t *
at (struct iso_fixture *f, unsigned sector)
{
  return f->disc + (size_t) sector * S;
}

static void
forget_image (struct iso_fixture *f)
{
  image_info_free (&f->info);
  image_unref (f->img);
  f->img = NULL;
  report_free (&f->report);
}

int
iso_setup (void **state)
{
  struct iso_fixture *f = calloc (1, sizeof *f);

  assert_non_null (f);
  f->size = SECTORS * S;
  f->disc = calloc (1, f->size);
  assert_non_null (f->disc);
  *state = f;
  return 0;
}

int
iso_teardown (void **state)
{
  struct iso_fixture *f = *state;

  forget_image (f);
  free (f->disc);
  free (f);
  return 0;
}

int
try_open_iso (struct iso_fixture *f)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_BLOCK struct block *counting = NULL;
  struct image_options options = { .writable = f->writable,
                                   .format = f->format };
  int r;

  forget_image (f);
  assert_int_equal (block_memory_new ("disc", f->disc, f->size, &b, NULL), 0);
  counting = faulty_new (b, f->fail_read);
  r = image_open_block (f->writable ? b : counting, &options, &f->img,
                        &f->report, &f->err);
  f->reads = faulty_reads (counting);
  if (r == 0)
    r = image_get_info (f->img, &f->info, &f->err);
  return r;
}

void
open_iso (struct iso_fixture *f)
{
  if (try_open_iso (f) < 0)
    fail_msg ("open: %s", f->err.msg);
  assert_string_equal (image_format (f->img), "iso");
}

void
assert_said (struct iso_fixture *f, const char *what)
{
  for (size_t i = 0; i < f->report.lines.len; ++i)
    if (strstr (f->report.lines.ptr[i], what))
      return;
  for (size_t i = 0; i < f->report.lines.len; ++i)
    print_message ("said: %s\n", f->report.lines.ptr[i]);
  fail_msg ("nothing about ‘%s’", what);
}

void
assert_silent (struct iso_fixture *f)
{
  if (f->report.lines.len > 0)
    fail_msg ("said: %s", f->report.lines.ptr[0]);
}

void
assert_property (struct iso_fixture *f, const char *key, const char *value)
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

void
put_both16 (uint8_t *p, uint16_t v)
{
  put_le16 (p, v);
  put_be16 (p + 2, v);
}

void
put_both32 (uint8_t *p, uint32_t v)
{
  put_le32 (p, v);
  put_be32 (p + 4, v);
}

void
put_text (uint8_t *p, size_t len, const char *text)
{
  memset (p, ' ', len);
  memcpy (p, text, strlen (text));
}

uint8_t *
put_descriptor (struct iso_fixture *f, unsigned sector, uint8_t type)
{
  uint8_t *d = at (f, sector);

  memset (d, 0, S);
  d[0] = type;
  memcpy (d + 1, "CD001\1", 6);
  return d;
}

/* A primary volume descriptor and the end of the set. */
void
put_iso (struct iso_fixture *f)
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

void
put_joliet (struct iso_fixture *f, const char *id)
{
  uint8_t *d = put_descriptor (f, 17, 2);

  memcpy (d + 88, "%/E", 3);
  for (unsigned i = 0; i < 16; ++i)
    put_be16 (d + 40 + 2 * i, *id ? (uint8_t) *id++ : ' ');
  put_descriptor (f, 18, 255);
}

void
seal_catalog (uint8_t *v)
{
  uint16_t sum = 0;

  put_le16 (v + 28, 0);
  for (unsigned i = 0; i < 32; i += 2)
    sum = (uint16_t) (sum + get_le16 (v + i));
  put_le16 (v + 28, (uint16_t) -sum);
}

void
put_image (uint8_t *e, uint8_t id, uint8_t media, uint16_t sectors,
           uint32_t sector)
{
  e[0] = id;
  e[1] = media;
  put_le16 (e + 6, sectors);
  put_le32 (e + 8, sector);
}

/* A catalogue: BIOS, and a section for UEFI. */
void
put_boot (struct iso_fixture *f)
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
void
assert_boot (struct iso_fixture *f, const char *expected)
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

void
seal_tag (struct iso_fixture *f, unsigned sector, uint16_t tag)
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

void
put_anchor (struct iso_fixture *f, unsigned sector)
{
  uint8_t *d = at (f, sector);

  memset (d, 0, S);
  put_le32 (d + 16, 16 * S);
  put_le32 (d + 20, MAIN);
  put_le32 (d + 24, 16 * S);
  put_le32 (d + 28, RESERVE);
  seal_tag (f, sector, 2);
}

void
put_dstring (uint8_t *field, size_t size, const char *str)
{
  memset (field, 0, size);
  field[0] = 8;
  memcpy (field + 1, str, strlen (str));
  field[size - 1] = (uint8_t) (strlen (str) + 1);
}

void
put_udf_sequence (struct iso_fixture *f, unsigned sector, const char *label)
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
  put_le32 (l + 264, 6);
  put_le32 (l + 268, 1);
  memcpy (l + 440, "\1\6\1\0\0\0", 6);
  seal_tag (f, sector + 2, 6);
  seal_tag (f, sector + 3, 8);
}

/* Recognition from a sector on, anchors at 256 and the last, both copies of
 * the descriptors, of which the second has another label.
 */
void
put_udf (struct iso_fixture *f, unsigned sector)
{
  memcpy (at (f, sector) + 1, "BEA01\1", 6);
  memcpy (at (f, sector + 1) + 1, "NSR03\1", 6);
  memcpy (at (f, sector + 2) + 1, "TEA01\1", 6);
  put_anchor (f, 256);
  put_anchor (f, LAST);
  put_udf_sequence (f, MAIN, "Main");
  put_udf_sequence (f, RESERVE, "Reserve");
}
