/* SPDX-License-Identifier: GPL-2.0-or-later */

/* UDF, with bytes made here. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "tests/support/iso-maker.h"

static void
udf_is_read (void **state)
{
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.type, "UDF");
  assert_string_equal (f->info.label, "Main");
  assert_string_equal (f->info.creator, "Some writer");
  assert_true (f->info.created == 1795364434);
  assert_property (f, "udf-revision", "2.01");
  assert_property (f, "volume-size", "1.1 MiB (1228800 bytes)");
}

static void
a_bridge_is_both (void **state)
{
  struct iso_fixture *f = *state;

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
  struct iso_fixture *f = *state;

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
  struct iso_fixture *f = *state;
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
  struct iso_fixture *f = *state;
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
  struct iso_fixture *f = *state;

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
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  memcpy (at (f, MAIN + 2), at (f, RESERVE + 2), S);
  open_iso (f);
  assert_said (f, "the tag at block 262 says that it is at block 302");
}

static void
a_crc_over_more_than_a_block_is_refused (void **state)
{
  struct iso_fixture *f = *state;
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
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  at (f, MAIN + 2)[90] ^= 1;
  at (f, RESERVE + 2)[90] ^= 1;
  assert_int_equal (try_open_iso (f), -EBADMSG);
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

#define T(name) \
  cmocka_unit_test_setup_teardown (name, iso_setup, iso_teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
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
