/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks in any order in the BAT of a VHD, and overlaps among them. */

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
#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "tests/support/sparse.h"
#include "tests/support/vhd-maker.h"

#define KB 1024U

static int
open_block (struct block *block, struct image **img, struct err *err)
{
  int r = image_open_block (block, NULL, img, NULL, err);

  block_unref (block);
  return r;
}

static void
in_any_order_they_are_fine (void **state)
{
  /* More than 65536 sectors. */
  enum { NR = 9000 };
  struct vhd_spec spec = { .type = 3, .size = NR * 4 * KB,
                           .block_size = 4 * KB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  struct err err = ERR_INIT;
  uint8_t data[4 * KB], byte;

  (void) state;
  for (unsigned i = 0; i < NR; ++i) {
    memset (data, (int) i, sizeof data);
    vhd_maker_add_block (m, i * 1009 % NR, NULL, data);
  }
  vhd_maker_finish (m);
  /* As it is, and then with one block after another moved by a sector. */
  for (unsigned i = 0; i < NR; i += 401) {
    CLEANUP_IMAGE struct image *img = NULL;
    uint8_t *entry = m->data + m->table_off + 4 * i;
    char number[16];
    int r;

    put_be32 (entry, get_be32 (entry) + (i > 0));
    r = open_block (vhd_maker_block (m), &img, &err);
    put_be32 (entry, get_be32 (entry) - (i > 0));
    if (i == 0) {
      assert_int_equal (r, 0);
      assert_int_equal (image_pread (img, &byte, 1, 1009 * 4 * KB, NULL), 0);
      assert_int_equal (byte, 1);
      continue;
    }
    assert_int_equal (r, -EBADMSG);
    snprintf (number, sizeof number, " %u (", i);
    assert_non_null (strstr (err.msg, "overlap: a block takes 9 sectors"));
    assert_non_null (strstr (err.msg, number));
  }
  vhd_maker_free (m);
}

/* So many that they are not sorted all at once. */
static void
a_million_of_them_too (void **state)
{
  enum { NR = 1100000, PER_BLOCK = 9 };
  struct vhd_spec spec = { .type = 3, .size = NR * UINT64_C (4096),
                           .block_size = 4 * KB };
  struct vhd_maker *m = vhd_maker_new (&spec);
  struct sparse disk = { .records = VECTOR_INIT };
  uint8_t *bat;
  size_t first;

  (void) state;
  vhd_maker_finish (m);
  bat = m->data + m->table_off;
  first = (m->footer_off + 511) / 512;
  disk.size = (first + (uint64_t) NR * PER_BLOCK + 1) * 512;
  for (uint64_t i = 0; i < NR; ++i)
    put_be32 (bat + 4 * i, (uint32_t) (first + i * 7919 % NR * PER_BLOCK));
  for (int moved = 0; moved < 2; ++moved) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    put_be32 (bat + 4936, get_be32 (bat + 4936) + (uint32_t) moved);
    sparse_write (&disk, m->data, m->footer_off, 0);
    sparse_write (&disk, m->data + m->footer_off, 512, disk.size - 512);
    assert_int_equal (open_block (sparse_block ("million.vhd", &disk), &img,
                                  &err), moved ? -EBADMSG : 0);
    if (moved)
      assert_non_null (strstr (err.msg, "overlap: a block takes 9 sectors"));
  }
  sparse_free (&disk);
  vhd_maker_free (m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (in_any_order_they_are_fine),
    cmocka_unit_test (a_million_of_them_too),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
