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
  put_text (at (f, 16) + 40, 32, "OTHER");
  open_iso (f);
  assert_string_equal (f->info.label, "OTHER");
  assert_property (f, "udf-label", "Main");
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

/* 12 bits of minutes from UTC: -60 = FC4, -2047 = 801 where it is not said. */
static void
udf_times_have_an_offset_from_utc (void **state)
{
  static const struct { uint8_t low, high; int64_t created; } zones[] = {
    { 0x3C, 0x10, 1795364434 }, { 0xC4, 0x1F, 1795364434 + 7200 },
    { 0x01, 0x18, 1795364434 + 3600 },
  };
  struct iso_fixture *f = *state;
  uint8_t *when = at (f, MAIN) + 376;

  put_udf (f, 16);
  for (size_t i = 0; i < sizeof zones / sizeof zones[0]; ++i) {
    when[0] = zones[i].low;
    when[1] = zones[i].high;
    seal_tag (f, MAIN, 1);
    open_iso (f);
    assert_true (f->info.created == zones[i].created);
  }
  when[4] = 13;                         /* month */
  seal_tag (f, MAIN, 1);
  open_iso (f);
  assert_true (f->info.created == -1);
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
  assert_said (f, "more than 256 descriptors, the next at block 260: they may "
               "go in a circle; the reserve at block 300 is used");
  assert_true (f->reads < 300);
  /* Two that name each other, in both copies. */
  put_le32 (d + 24, RESERVE);
  seal_tag (f, MAIN, 3);
  memcpy (at (f, RESERVE), d, S);
  put_le32 (at (f, RESERVE) + 24, MAIN);
  seal_tag (f, RESERVE, 3);
  assert_int_equal (try_open_iso (f), -EBADMSG);
  assert_said (f, "UDF: no usable volume descriptors: more than 256");
  assert_true (f->reads < 600);
}

static void
the_descriptor_written_last_counts (void **state)
{
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  put_udf_sequence (f, MAIN + 4, "Later");
  put_le32 (at (f, MAIN + 2) + 16, 7);
  seal_tag (f, MAIN + 2, 6);
  put_le32 (at (f, MAIN + 6) + 16, 8);
  seal_tag (f, MAIN + 6, 6);
  memset (at (f, MAIN + 3), 0, S);
  seal_tag (f, MAIN + 3, 4);            /* instead of the terminator */
  open_iso (f);
  assert_string_equal (f->info.label, "Later");
  put_le32 (at (f, MAIN + 6) + 16, 6);
  seal_tag (f, MAIN + 6, 6);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.label, "Main");
}

static void
a_long_list_of_free_space_is_gone_past (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *d = at (f, MAIN);

  put_udf (f, 16);
  put_udf_sequence (f, MAIN + 3, "Behind");
  memset (d, 'x', 3 * S);
  put_le32 (d + 20, 700);               /* 24 + 8 × 700 bytes: three blocks */
  seal_tag (f, MAIN, 7);
  open_iso (f);
  assert_silent (f);
  assert_string_equal (f->info.label, "Behind");
  put_le32 (d + 20, UINT32_MAX);
  open_iso (f);
  assert_said (f, "no logical volume descriptor from block 260 on");
}

static void
an_anchor_at_512_is_used (void **state)
{
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  at (f, 256)[0] = 0;
  at (f, LAST)[0] = 0;
  put_anchor (f, 512);
  open_iso (f);
  assert_said (f, "UDF: no anchor at block 256; the anchor at block 512 is "
               "used");
  assert_string_equal (f->info.label, "Main");
  at (f, 512)[0] = 0;
  put_anchor (f, LAST - 256);
  open_iso (f);
  assert_said (f, "the anchor at block 343 is used");
}

/* Partition maps, one behind the other, in the main sequence. */
static void
put_maps (struct iso_fixture *f, unsigned nr, const char *const names[])
{
  uint8_t *l = at (f, MAIN + 2), *map = l + 440;

  memset (map, 0, 400);
  for (unsigned i = 0; i < nr; ++i) {
    map[0] = names[i] ? 2 : 1;
    map[1] = names[i] ? 64 : 6;
    if (names[i])
      memcpy (map + 5, names[i], strlen (names[i]));
    map += map[1];
  }
  put_le32 (l + 264, (uint32_t) (map - l - 440));
  put_le32 (l + 268, nr);
  seal_tag (f, MAIN + 2, 6);
}

static void
partition_maps_are_named (void **state)
{
  static const char *const names[] = { NULL, "*UDF Sparable Partition",
                                       "*UDF Metadata Partition" };
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  open_iso (f);
  assert_property (f, "udf-partition-maps", "physical");
  put_maps (f, 3, names);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "udf-partition-maps", "physical, sparable, metadata");
}

/* What is broken in the maps: offset in the descriptor, value. */
static const struct {
  unsigned off;
  uint8_t value;
  const char *said;
} map_rules[] = {
  { 265, 0x10, "the logical volume has partition maps of 4102 bytes, more "
    "than the 1608 in its block" },
  { 268, 2, "the logical volume has 2 partition maps, of which only 1 fit into "
    "their 6 bytes" },
  { 271, 0x80, "the logical volume has 2147483649 partition maps, of which "
    "only 1 fit" },
  { 441, 0, "has 1 partition maps, of which only 0 fit" },
  { 441, 7, "has 1 partition maps, of which only 0 fit" },
  { 440, 3, "a partition map of type 3 and 6 bytes" },
  { 440, 2, "a partition map of type 2 and 6 bytes" },
};

static void
broken_partition_maps_are_reported_and_the_copy_used (void **state)
{
  struct iso_fixture *f = *state;

  for (size_t i = 0; i < sizeof map_rules / sizeof map_rules[0]; ++i) {
    memset (f->disc, 0, f->size);
    put_udf (f, 16);
    at (f, MAIN + 2)[map_rules[i].off] = map_rules[i].value;
    seal_tag (f, MAIN + 2, 6);
    open_iso (f);
    assert_said (f, map_rules[i].said);
    assert_string_equal (f->info.label, "Reserve");
  }
}

static void
a_partition_map_of_another_name_is_reported (void **state)
{
  static const char *const names[] = { "*Some Other Partition" };
  struct iso_fixture *f = *state;

  put_udf (f, 16);
  put_maps (f, 1, names);
  open_iso (f);
  assert_said (f, "a partition map of type 2 and 64 bytes, which UDF does not "
               "have; the reserve");
}

static void
a_disc_written_bit_by_bit_ends_with_its_table (void **state)
{
  static const char *const names[] = { NULL, "*UDF Virtual Partition" };
  struct iso_fixture *f = *state;
  uint8_t *vat = at (f, 500);

  put_udf (f, 16);
  put_maps (f, 2, names);
  vat[27] = 248;
  seal_tag (f, 500, 266);
  /* Places in the partition count from its start. */
  put_le32 (vat + 12, 500 - 310);
  vat[4] = (uint8_t) (vat[4] - (500 & 255) - (500 >> 8) + 190);
  f->size = 501 * S;
  open_iso (f);
  assert_silent (f);
  assert_property (f, "udf-partition-maps", "physical, virtual");
  assert_property (f, "missing", NULL);
  f->size = 504 * S;
  open_iso (f);
  assert_silent (f);
  f->size = 505 * S;
  open_iso (f);
  assert_said (f, "its table of virtual blocks is not in the last 4 blocks");
  f->size = 500 * S;
  open_iso (f);
  assert_said (f, "its table of virtual blocks is not in the last 4 blocks");
  f->size = 501 * S;
  vat[27] = 5;                          /* a plain file */
  seal_tag (f, 500, 266);
  open_iso (f);
  assert_said (f, "its table of virtual blocks is not in the last 4 blocks");
}

static void
put_integrity (struct iso_fixture *f, unsigned sector, uint32_t type,
               uint32_t next)
{
  uint8_t *d = at (f, sector);

  memset (d, 0, S);
  put_le32 (d + 28, type);
  put_le32 (d + 32, next ? S : 0);
  put_le32 (d + 36, next);
  seal_tag (f, sector, 9);
}

static void
a_volume_that_was_not_closed_is_open (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *l = at (f, MAIN + 2);

  put_udf (f, 16);
  put_le32 (l + 432, 2 * S);
  put_le32 (l + 436, 64);
  seal_tag (f, MAIN + 2, 6);
  put_integrity (f, 64, 0, 0);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "udf-integrity", "open: the volume was not closed when "
                   "it was written last");
  put_integrity (f, 64, 0, 70);
  put_integrity (f, 70, 1, 0);
  open_iso (f);
  assert_silent (f);
  assert_property (f, "udf-integrity", NULL);
  put_integrity (f, 70, 1, 64);         /* each names the other */
  open_iso (f);
  assert_said (f, "UDF integrity of the volume: more than 64 descriptors");
  assert_true (f->reads < 200);
  at (f, 64)[100] ^= 1;
  open_iso (f);
  assert_said (f, "UDF integrity of the volume: CRC of the descriptor at block "
               "64 is");
  put_integrity (f, 64, 1, 0);
  seal_tag (f, 64, 8);
  open_iso (f);
  assert_said (f, "the descriptor at block 64 is of type 8, expected 9");
  put_le32 (l + 436, SECTORS);
  seal_tag (f, MAIN + 2, 6);
  open_iso (f);
  assert_said (f, "UDF integrity of the volume: block 600 is not inside");
}

static void
what_the_copy_of_the_descriptors_lacks_is_missing (void **state)
{
  struct iso_fixture *f = *state;
  uint8_t *a = at (f, 256);

  put_udf (f, 16);
  put_le32 (a + 28, 590);               /* the copy, 16 blocks */
  seal_tag (f, 256, 2);
  open_iso (f);
  assert_said (f, "the volume has 1241088 bytes, the file only 1228800");
}

static void
udf_of_a_hard_disk_is_no_disc (void **state)
{
  struct iso_fixture *f = *state;

  memcpy (at (f, 16) + 1, "BEA01\1", 6);
  memcpy (at (f, 17) + 1, "NSR03\1", 6);
  put_anchor (f, 256);
  memcpy (f->disc + 256 * 512, at (f, 256), S);
  memset (at (f, 256), 0, S);
  assert_int_equal (try_open_iso (f), 0);
  assert_string_equal (image_format (f->img), "raw");
  f->format = "iso";
  assert_int_equal (try_open_iso (f), -ENOTSUP);
  assert_string_equal (f->err.msg, "UDF in blocks of 512 bytes is a hard "
                       "disk's, expected 2048 on a disc; the format ‘raw’ "
                       "reads it");
  f->disc[256 * 512 + 4] ^= 1;
  assert_int_equal (try_open_iso (f), -EBADMSG);
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
    T (udf_times_have_an_offset_from_utc),
    T (udf_labels_have_8_or_16_bits),
    T (the_descriptors_may_go_on_elsewhere),
    T (the_descriptor_written_last_counts),
    T (a_long_list_of_free_space_is_gone_past),
    T (an_anchor_at_512_is_used),
    T (partition_maps_are_named),
    T (broken_partition_maps_are_reported_and_the_copy_used),
    T (a_partition_map_of_another_name_is_reported),
    T (a_disc_written_bit_by_bit_ends_with_its_table),
    T (a_volume_that_was_not_closed_is_open),
    T (what_the_copy_of_the_descriptors_lacks_is_missing),
    T (udf_of_a_hard_disk_is_no_disc),
    T (damaged_udf_descriptors_are_reported_and_the_copy_used),
    T (a_tag_that_belongs_elsewhere_is_refused),
    T (a_crc_over_more_than_a_block_is_refused),
    T (udf_without_a_usable_copy_is_refused_or_left_out),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
