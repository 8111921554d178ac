/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "tests/support/vhd-small.h"

#define KB 1024

const struct vhd_spec vhd_small = {
  .type = 3, .size = 64 * KB, .block_size = 16 * KB, .id = 1,
};

struct vhd_maker *
vhd_small_make (const struct vhd_spec *spec)
{
  struct vhd_maker *m = vhd_maker_new (spec);
  CLEANUP_FREE uint8_t *data = malloc (m->spec.block_size);

  assert_non_null (data);
  if (spec->type != 2) {
    memset (data, 'a', m->spec.block_size);
    vhd_maker_add_block (m, 0, NULL, data);
    memset (data, 'c', m->spec.block_size);
    vhd_maker_add_block (m, 2, NULL, data);
  }
  vhd_maker_finish (m);
  return m;
}

int
vhd_small_open (const struct vhd_maker *m, const struct image_options *options,
                struct image **img, struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *block = vhd_maker_block (m);

  return image_open_block (block, options, img, report, err);
}

bool
report_has (const struct report *report, const char *text)
{
  for (size_t i = 0; i < report->lines.len; ++i)
    if (strstr (report->lines.ptr[i], text))
      return true;
  return false;
}

char
image_byte (struct image *img, uint64_t off)
{
  char c;

  assert_int_equal (image_pread (img, &c, 1, off, NULL), 0);
  return c;
}
