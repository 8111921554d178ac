/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What was freed in front of the last block of a file when it was open the
 * last time, is used before the file grows.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/check.h"
#include "lib/format/gaps.h"
#include "lib/format/image.h"
#include "tests/support/recorder.h"
#include "tests/support/rng.h"
#include "tests/support/vhd-maker.h"
#include "tests/support/vhdx-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define NR_BLOCKS 24U

/*--- The list ---------------------------------------------------------------*/

static void
claim_some (struct space_map *map, void *opaque)
{
  (void) opaque;
  space_map_claim (map, 0, 2);
  space_map_claim (map, 3, 1);
  space_map_claim (map, 6, 2);
}

static void
gaps_are_used_in_order (void **state)
{
  struct gaps g = GAPS_INIT;
  struct gap gap;

  (void) state;
  gaps_find (&g, 12 * 512, 512, 1024, claim_some, NULL);
  assert_int_equal (g.v.len, 2);        /* one of a unit is too small */
  assert_true (gaps_first (&g, 1024, &gap));
  assert_int_equal (gap.off, 4 * 512);
  assert_int_equal (gap.len, 2 * 512);
  gaps_use (&g, 5 * 512);
  assert_true (gaps_first (&g, 1024, &gap));
  assert_int_equal (gap.off, 8 * 512);
  assert_int_equal (gap.len, 4 * 512);
  assert_false (gaps_first (&g, 5 * 512, &gap));
  gaps_free (&g);
}

static void
nothing_is_a_gap_behind_the_end (void **state)
{
  struct gaps g = GAPS_INIT;
  struct gap gap;

  (void) state;
  gaps_find (&g, 12 * 512, 512, 1024, claim_some, NULL);
  gaps_cut (&g, 10 * 512);
  gaps_use (&g, 6 * 512);
  assert_true (gaps_first (&g, 1024, &gap));
  assert_int_equal (gap.len, 2 * 512);
  gaps_cut (&g, 8 * 512);
  assert_false (gaps_first (&g, 512, &gap));
  gaps_free (&g);
}

/*--- Images -----------------------------------------------------------------*/

/* Blocks of all kinds of images hold their number, or zeros. */
struct kind {
  const char *name;
  uint32_t block_size;
  struct block *(*make) (const struct kind *kind);
};

static struct block *
make_vhd (const struct kind *kind)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 3, .size = NR_BLOCKS * kind->block_size,
      .block_size = kind->block_size });
  struct block *block;

  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhd_maker_free (m);
  return block;
}

/* Its blocks lie one behind the other, as with qemu. */
static struct block *
make_packed_vhd (const struct kind *kind)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 3, .size = NR_BLOCKS * kind->block_size,
      .block_size = kind->block_size });
  CLEANUP_FREE uint8_t *data = malloc (kind->block_size);
  struct block *block;

  assert_non_null (data);
  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    memset (data, (int) i + 1, kind->block_size);
    vhd_maker_add_block (m, i, NULL, data);
  }
  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhd_maker_free (m);
  return block;
}

static struct block *
make_vhdx (const struct kind *kind)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = NR_BLOCKS * kind->block_size });
  struct block *block;

  vhdx_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhdx_maker_free (m);
  return block;
}

static const struct kind kinds[] = {
  { "vhd", 16384, make_vhd },
  { "packed vhd", 16384, make_packed_vhd },
  { "vhdx", VHDX_MIB, make_vhdx },
};

#define FOR_EACH_KIND(k)                                                \
  for (const struct kind *k = kinds; k < kinds + 3; ++k)

static void
must (int r, const struct err *err)
{
  if (r < 0)
    fail_msg ("%s", err->msg);
}

static struct image *
open_image (struct block *block, bool writable)
{
  const struct image_options options = { .writable = writable };
  struct image *img = NULL;
  struct err err = ERR_INIT;

  must (image_open_block (block, &options, &img, NULL, &err), &err);
  return img;
}

static void
fill_block (const struct kind *k, struct image *img, unsigned i)
{
  CLEANUP_FREE uint8_t *data = malloc (k->block_size);
  struct err err = ERR_INIT;

  assert_non_null (data);
  memset (data, (int) i + 1, k->block_size);
  must (image_pwrite (img, data, k->block_size,
                      i * (uint64_t) k->block_size, 0, &err), &err);
}

static void
free_block (const struct kind *k, struct image *img, unsigned i)
{
  struct err err = ERR_INIT;

  must (image_zero (img, k->block_size, i * (uint64_t) k->block_size, 0,
                    &err), &err);
}

static void
flush (struct image *img)
{
  struct err err = ERR_INIT;

  must (image_flush (img, &err), &err);
}

/* Is each block what it should be, a bit for each? */
static void
check_blocks (const struct kind *k, struct image *img, uint32_t there)
{
  CLEANUP_FREE uint8_t *data = malloc (k->block_size);
  struct err err = ERR_INIT;

  assert_non_null (data);
  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    uint8_t byte = there & 1U << i ? (uint8_t) (i + 1) : 0;

    must (image_pread (img, data, k->block_size, i * (uint64_t) k->block_size,
                       &err), &err);
    for (size_t n = 0; n < k->block_size; ++n)
      if (data[n] != byte)
        fail_msg ("%s: block %u has %02x at byte %zu, expected %02x", k->name,
                  i, data[n], n, byte);
  }
}

/* Bytes of the file that nothing names. */
static uint64_t
check_whole (const struct kind *k, struct block *block)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  const struct image_options options = { .format = NULL };
  struct err err = ERR_INIT;

  must (image_check_block (block, &options, 0, &check, &err), &err);
  for (size_t i = 0; i < check.findings.len; ++i)
    if (check.findings.ptr[i].severity > FINDING_LEAK)
      fail_msg ("%s: %s", k->name, check.findings.ptr[i].sentence);
  return check.leaked;
}

static size_t
file_size (struct block *block)
{
  size_t len;

  recorder_data (block, &len);
  return len;
}

/* All blocks are there, but for those in `freed', which lie between others. */
static struct block *
make_with_gaps (const struct kind *k, uint32_t freed)
{
  struct block *block = k->make (k);
  struct image *img = open_image (block, true);

  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    fill_block (k, img, i);
  flush (img);
  image_unref (img);
  img = open_image (block, true);
  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    if (freed & 1U << i)
      free_block (k, img, i);
  flush (img);
  image_unref (img);
  return block;
}

#define ALL ((1U << NR_BLOCKS) - 1)

static void
what_was_freed_once_is_used_first (void **state)
{
  (void) state;
  FOR_EACH_KIND (k) {
    struct block *block = make_with_gaps (k, 1 << 3 | 1 << 9 | 1 << 10);
    size_t size = file_size (block);
    struct image *img;

    assert_true (check_whole (k, block) > 0);
    img = open_image (block, true);
    fill_block (k, img, 9);
    fill_block (k, img, 3);
    fill_block (k, img, 10);
    flush (img);
    image_unref (img);
    /* But for its end, which becomes aligned. */
    assert_true (file_size (block) < size + 4096);
    assert_int_equal (check_whole (k, block), 0);
    img = open_image (block, false);
    check_blocks (k, img, ALL);
    image_unref (img);
    block_unref (block);
  }
}

/* A disk that is used day by day does not get any larger. */
static void
many_sessions_need_no_more_than_the_disk (void **state)
{
  (void) state;
  FOR_EACH_KIND (k) {
    struct block *block = make_with_gaps (k, 0);
    struct rng rng = { 7 };
    size_t most = file_size (block) + k->block_size * 2;
    uint32_t there = ALL;

    for (unsigned n = 0; n < 60; ++n) {
      struct image *img = open_image (block, true);
      unsigned i = rng_below (&rng, NR_BLOCKS), j = (i + 7) % NR_BLOCKS;

      check_blocks (k, img, there);
      free_block (k, img, i);
      flush (img);
      fill_block (k, img, j);
      there = (there & ~(1U << i)) | 1U << j;
      check_blocks (k, img, there);
      image_unref (img);
      check_whole (k, block);
      if (file_size (block) > most)
        fail_msg ("%s: after %u sessions the file has %zu bytes, expected %zu "
                  "at most", k->name, n, file_size (block), most);
    }
    block_unref (block);
  }
}

/* What lay behind the new end is not given to two blocks when the file gets
 * longer again.
 */
static void
a_gap_is_gone_with_the_end_of_the_file (void **state)
{
  (void) state;
  FOR_EACH_KIND (k) {
    struct block *block = make_with_gaps (k, 1 << 18 | 1 << 20 | 1 << 22);
    size_t size = file_size (block);
    uint32_t there = ALL & ~(1U << 18 | 1U << 20 | 1U << 22);
    struct image *img = open_image (block, true);

    for (unsigned i = 4; i < NR_BLOCKS; ++i)
      free_block (k, img, i);
    there &= (1U << 4) - 1;
    flush (img);
    flush (img);
    assert_true (file_size (block) < size);
    for (unsigned i = 4; i < NR_BLOCKS; ++i) {
      fill_block (k, img, i);
      check_blocks (k, img, there |= 1U << i);
    }
    image_unref (img);
    check_whole (k, block);
    img = open_image (block, false);
    check_blocks (k, img, ALL);
    image_unref (img);
    block_unref (block);
  }
}

/*--- A gap that a killed process left ---------------------------------------*/

#define VHD_BAT (512 + 1024)

/* Of a VHD: block 0 is copied behind the last one, and its BAT entry written;
 * the process is killed before it flushes that.
 */
static void
move_block_0 (const struct kind *k, struct block *block)
{
  size_t place = k->block_size + 512, len, to;
  CLEANUP_FREE uint8_t *bytes = malloc (place);
  uint64_t from = get_be32 (recorder_data (block, &len) + VHD_BAT) *
    UINT64_C (512);
  uint8_t footer[512], entry[4];
  struct err err = ERR_INIT;

  assert_non_null (bytes);
  to = len - 512;
  must (block_pread (block, footer, 512, 0, &err), &err);
  must (block_pread (block, bytes, place, from, &err), &err);
  must (block_append (block, footer, 512, to + place, &err), &err);
  must (block_pwrite (block, bytes, place, to, 0, &err), &err);
  must (block_flush (block, &err), &err);
  put_be32 (entry, (uint32_t) (to / 512));
  must (block_pwrite (block, entry, 4, VHD_BAT, 0, &err), &err);
}

static void
check_crash (const struct kind *k, struct block *block, unsigned seed)
{
  size_t len;
  CLEANUP_FREE uint8_t *data = recorder_crash (block, seed, &len);
  struct block *crashed = recorder_new (data, len);
  struct image *img = open_image (crashed, false);
  uint8_t byte;
  struct err err = ERR_INIT;

  must (image_pread (img, &byte, 1, k->block_size - 1, &err), &err);
  if (byte != 1)
    fail_msg ("after a power cut block 0 has %02x", byte);
  image_unref (img);
  block_unref (crashed);
}

/* The power fails when change number n of the next process was done. */
static void
the_old_place_is_left_alone_until_the_new_one_is_stable (void **state)
{
  const struct kind *k = &kinds[1];

  (void) state;
  for (unsigned n = 1; n < 8; ++n) {
    struct block *block = make_with_gaps (k, 1 << 9);
    struct image *img;
    uint8_t byte = 10;

    move_block_0 (k, block);
    img = open_image (block, true);
    recorder_fail (block, n, 1000);
    image_pwrite (img, &byte, 1, 9 * k->block_size, 0, NULL);
    for (unsigned seed = 0; seed < 30; ++seed)
      check_crash (k, block, seed);
    recorder_fail (block, 0, 0);
    image_unref (img);
    block_unref (block);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (gaps_are_used_in_order),
    cmocka_unit_test (nothing_is_a_gap_behind_the_end),
    cmocka_unit_test (what_was_freed_once_is_used_first),
    cmocka_unit_test (many_sessions_need_no_more_than_the_disk),
    cmocka_unit_test (a_gap_is_gone_with_the_end_of_the_file),
    cmocka_unit_test (the_old_place_is_left_alone_until_the_new_one_is_stable),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
