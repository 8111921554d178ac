/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes ISO 9660 and UDF volumes for tests, in memory, byte for byte after
 * the standards and without any code of the driver, and opens them.
 *
 * Whatever goes wrong in here ends the test.  <cmocka.h> is included before.
 */

#ifndef NBDIMAGE_TESTS_ISO_MAKER_H
#define NBDIMAGE_TESTS_ISO_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/format/image.h"

#define S 2048                  /* a sector */
#define SECTORS 600             /* of the disc that iso_setup makes */
#define ROOT 20                 /* sectors: of the root directory, */
#define CATALOG 22              /* of the boot catalogue, */
#define LAST (SECTORS - 1)
#define MAIN 260                /* of UDF's descriptors, */
#define RESERVE 300             /* and of their copy */

struct iso_fixture {
  uint8_t *disc;                /* zeros at first */
  size_t size;                  /* bytes that the image is given */
  bool writable;                /* how to open it */
  const char *format;
  unsigned fail_read;           /* this read fails, and those after it; 0 */

  /* As it was opened last. */
  struct image *img;
  struct image_info info;
  struct report report;
  struct err err;
  unsigned reads;               /* that opening took */
};

/* For cmocka. */
int iso_setup (void **state);
int iso_teardown (void **state);

/* Sector n of the disc. */
uint8_t *at (struct iso_fixture *f, unsigned sector);

/* Open a copy of the disc, and ask for what info says.  The first returns
 * the error; for the second it must open, and be an ISO.
 */
int try_open_iso (struct iso_fixture *f);
void open_iso (struct iso_fixture *f);

/* One warning has this in it; there was none. */
void assert_said (struct iso_fixture *f, const char *what);
void assert_silent (struct iso_fixture *f);

/* NULL: there is none. */
void assert_property (struct iso_fixture *f, const char *key,
                      const char *value);

/* The boot entries, as "BIOS no emulation SECTOR+BYTES, …". */
void assert_boot (struct iso_fixture *f, const char *expected);

void put_both16 (uint8_t *p, uint16_t v);
void put_both32 (uint8_t *p, uint32_t v);
void put_text (uint8_t *p, size_t len, const char *text);

/* Zeros but for type and "CD001". */
uint8_t *put_descriptor (struct iso_fixture *f, unsigned sector,
                         uint8_t type);

/* A primary volume descriptor and the end of the set, and a root directory
 * with one record.
 */
void put_iso (struct iso_fixture *f);

/* In place of the end of the set, which comes behind. */
void put_joliet (struct iso_fixture *f, const char *id);

/* The same with a catalogue: BIOS, and a section for UEFI. */
void put_boot (struct iso_fixture *f);
void put_image (uint8_t *entry, uint8_t id, uint8_t media, uint16_t sectors,
                uint32_t sector);
void seal_catalog (uint8_t *validation);

/* Recognition from a sector on, anchors at 256 and the last, both copies of
 * the descriptors, of which the second has another label.
 */
void put_udf (struct iso_fixture *f, unsigned sector);
void put_udf_sequence (struct iso_fixture *f, unsigned sector,
                       const char *label);
void put_anchor (struct iso_fixture *f, unsigned sector);
void put_dstring (uint8_t *field, size_t size, const char *str);

/* Give what is in the sector a tag with right sums. */
void seal_tag (struct iso_fixture *f, unsigned sector, uint16_t tag);

#endif /* NBDIMAGE_TESTS_ISO_MAKER_H */
