/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the VHD driver remembers so that reading is fast: who in a chain has
 * what, and which bitmaps are full.  That all of it is right in random chains
 * is in test-vhd-read.c.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/format/image.h"
#include "tests/support/faulty.h"
#include "tests/support/vhd-maker.h"

#define KB UINT64_C (1024)
#define GB (1024 * 1024 * KB)

static void
layer_path (const char *dir, unsigned n, char path[128])
{
  snprintf (path, 128, "%s/layer%u.vhd", dir, n);
}

/* Layer n of three of a disk of 8 GiB in blocks of 4 KiB, more of them than an
 * index of the chain has pieces; with a letter in these blocks.
 */
static void
save_fine_layer (const char *dir, unsigned n, const uint64_t blocks[3])
{
  char name[32], path[128];
  struct vhd_spec spec = {
    .type = n < 2 ? 4 : 3, .size = 8 * GB, .block_size = 4 * KB,
    .id = n + 1, .parent_id = n + 2, .parent_name = name,
  };
  struct vhd_maker *m;
  uint8_t data[4096];

  snprintf (name, sizeof name, "layer%u.vhd", n + 1);
  m = vhd_maker_new (&spec);
  memset (data, 'a' + (int) n, sizeof data);
  for (int i = 0; i < 3; ++i)
    vhd_maker_add_block (m, blocks[i], NULL, data);
  vhd_maker_finish (m);
  layer_path (dir, n, path);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

static void
a_chain_of_many_small_blocks_reads_right (void **state)
{
  static const uint64_t blocks[3][3] = {
    { 0, 1000, 2097151 }, { 1, 1000, 2097150 }, { 2, 1001, 2097151 },
  };
  char dir[] = "/tmp/test-vhd.XXXXXX", path[128];
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  char buf[5 * 4096], seen[6] = "";

  (void) state;
  assert_non_null (mkdtemp (dir));
  for (unsigned n = 0; n < 3; ++n)
    save_fine_layer (dir, n, blocks[n]);
  layer_path (dir, 0, path);
  assert_int_equal (image_open (path, NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_pread (img, buf, sizeof buf, 0, NULL), 0);
  for (int i = 0; i < 5; ++i)
    seen[i] = buf[i * 4096] ? buf[i * 4096] : '.';
  assert_string_equal (seen, "abc..");
  assert_int_equal (image_pread (img, buf, sizeof buf, 999 * 4096, NULL), 0);
  for (int i = 0; i < 5; ++i)
    seen[i] = buf[i * 4096 + 4095] ? buf[i * 4096 + 4095] : '.';
  assert_string_equal (seen, ".ac..");
  assert_int_equal (image_pread (img, buf, sizeof buf, 8 * GB - sizeof buf,
                                 NULL), 0);
  for (int i = 0; i < 5; ++i)
    seen[i] = buf[i * 4096] ? buf[i * 4096] : '.';
  assert_string_equal (seen, "...ba");
  assert_int_equal (image_extents (img, 8 * GB, 0, &list, NULL), 0);
  assert_int_equal (list.v.len, 9);
  for (unsigned n = 0; n < 3; ++n) {
    layer_path (dir, n, path);
    unlink (path);
  }
  rmdir (dir);
}

/*--- What is remembered -----------------------------------------------------*/

static void
a_full_bitmap_is_read_once (void **state)
{
  /* More blocks than the cache of sectors can hold; and one of them, in the
   * middle, is not full.
   */
  const uint64_t nr = 9000;
  struct vhd_spec spec = { .type = 3, .size = nr * 4096,
                           .block_size = 4 * KB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  CLEANUP_BLOCK struct block *memory = NULL, *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t data[4096], bits[1] = { 0x7F }, buf[4096];

  (void) state;
  for (uint64_t i = 0; i < nr; ++i) {
    memset (data, (int) (i % 250 + 1), sizeof data);
    vhd_maker_add_block (m, i, i == nr / 2 ? bits : NULL, data);
  }
  vhd_maker_finish (m);
  memory = vhd_maker_block (m);
  block = faulty_new (memory, 0);
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  for (int again = 0; again < 2; ++again) {
    faulty_set (block, 0);
    for (uint64_t i = 0; i < nr; ++i) {
      assert_int_equal (image_pread (img, buf, sizeof buf, i * 4096, NULL), 0);
      assert_int_equal (buf[0], i == nr / 2 ? 0 : i % 250 + 1);
      assert_int_equal (buf[512], i % 250 + 1);
      assert_int_equal (buf[4095], i % 250 + 1);
    }
    /* The data of each; and all bitmaps, or at most the one not full. */
    if (again)
      assert_in_range (faulty_reads (block), nr, nr + 1);
    else
      assert_int_equal (faulty_reads (block), 2 * nr);
  }
  vhd_maker_free (m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_chain_of_many_small_blocks_reads_right),
    cmocka_unit_test (a_full_bitmap_is_read_once),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
