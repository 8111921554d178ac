/* SPDX-License-Identifier: GPL-2.0-or-later */

/* El Torito, with bytes made here. */

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
#include "tests/support/iso-maker.h"

static void
boot_entries_of_all_sections_are_listed (void **state)
{
  struct iso_fixture *f = *state;
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
all_platforms_and_media_have_names (void **state)
{
  static const struct { uint8_t platform, media; const char *boot; } kinds[] = {
    { 0x01, 0, "PowerPC no emulation 60+512" },
    { 0x02, 1, "Mac 1.2M floppy 1+1228800" },
    { 0xEF, 2, "UEFI 1.44M floppy 1+1474560" },
    { 0x42, 3, "0x42 2.88M floppy 1+2949120" },
    { 0x00, 5, "BIOS unknown 60+512" },
  };
  struct iso_fixture *f = *state;
  uint8_t *small = f->disc;

  f->size = 1500 * S;
  f->disc = calloc (1, f->size);
  assert_non_null (f->disc);
  free (small);
  put_iso (f);
  put_boot (f);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    bool is_floppy = kinds[i].media >= 1 && kinds[i].media <= 3;
    uint8_t *c = at (f, CATALOG);
    char all[128];

    memset (c + 64, 0, 128);
    c[64] = 0x44;                       /* an extension of the default entry */
    c[96] = 0x91;
    c[97] = kinds[i].platform;
    put_le16 (c + 98, 1);
    put_image (c + 128, 0x88, kinds[i].media, 1, is_floppy ? 1 : 60);
    open_iso (f);
    assert_silent (f);
    snprintf (all, sizeof all, "BIOS no emulation 100+2048, %s",
              kinds[i].boot);
    assert_boot (f, all);
  }
}

static void
an_emulated_hard_disk_is_as_long_as_its_partition_says (void **state)
{
  struct iso_fixture *f = *state;
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
  struct iso_fixture *f = *state;
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
  struct iso_fixture *f = *state;
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
  assert_said (f, "it goes on behind 2048 entries, which are not looked at");
  assert_boot (f, "BIOS no emulation 100+2048");
}

/* One sentence for each would be a flood. */
static void
thousands_of_wrong_entries_are_counted (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *c = at (f, CATALOG);

  put_iso (f);
  put_boot (f);
  put_le16 (c + 66, 1990);
  for (unsigned i = 3; i < 1993; ++i)
    put_image (c + 32 * i, 0x88, 0, 4, SECTORS + i);
  open_iso (f);
  assert_int_equal (f->report.lines.len, 9);
  assert_said (f, "for UEFI is at offset 1234944, beyond the end of the file");
  assert_said (f, "1982 more boot images are beyond the end of the file");
  assert_boot (f, "BIOS no emulation 100+2048");
}

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (boot_entries_of_all_sections_are_listed),
    T (all_platforms_and_media_have_names),
    T (an_emulated_hard_disk_is_as_long_as_its_partition_says),
    T (a_damaged_boot_catalogue_is_reported),
    T (a_catalogue_without_an_end_ends),
    T (thousands_of_wrong_entries_are_counted),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
