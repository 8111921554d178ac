/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include "tests/fuzz/fuzz-vhd.h"
#include "tests/support/vhd-maker.h"

void
fuzz_vhd_save_parent (const char *path)
{
  static const struct vhd_spec spec = {
    .type = 3, .size = FUZZ_VHD_SIZE, .block_size = FUZZ_VHD_BLOCK,
    .id = FUZZ_VHD_PARENT_ID,
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint8_t data[FUZZ_VHD_BLOCK];

  for (size_t i = 0; i < sizeof data; ++i)
    data[i] = (uint8_t) (i / 512 + i);
  vhd_maker_add_block (m, 1, NULL, data);
  vhd_maker_add_block (m, 0, (const uint8_t *) "\x5A", data);
  vhd_maker_finish (m);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}
