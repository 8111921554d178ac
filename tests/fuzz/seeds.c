/* SPDX-License-Identifier: GPL-2.0-or-later */

/* vhd-seeds FOLDER: small VHDs of every kind, for the corpus. */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz-vhd.h"
#include "tests/support/vhd-maker.h"

/* Four disks of the same shape. */
#define SPEC .size = FUZZ_VHD_SIZE, .block_size = FUZZ_VHD_BLOCK, .id = 9

static const struct {
  const char *name;
  struct vhd_spec spec;
} seeds[] = {
  { "fixed", { .type = 2, SPEC, .cylinders = 4, .heads = 4, .sectors = 6 } },
  { "dynamic", { .type = 3, SPEC, .creator = "vpc ", .extra_entries = 3,
                 .original_size = 2 * FUZZ_VHD_SIZE } },
  { "batmap", { .type = 3, SPEC, .creator = "tap", .batmap = true,
                .creator_version = 0x00010003 } },
  { "differencing", { .type = 4, SPEC, .parent_id = FUZZ_VHD_PARENT_ID,
                      .parent_name = "C:\\Disks\\" FUZZ_VHD_PARENT_NAME } },
  { "locators", { .type = 4, SPEC, .parent_id = FUZZ_VHD_PARENT_ID,
                  .parent_timestamp = 0x31000000, .locators = {
                    { "W2ru", ".\\PARENT.VHD" }, { "W2ku", "D:\\x.vhd" },
                    { "MacX", "file://./parent%2Evhd" },
                    { "Wi2r", "..\\parent.vhd" }, { "Wi2k", "y.vhd" } } } },
};

static void
make_one (const char *folder, const char *name, const struct vhd_spec *spec)
{
  struct vhd_maker *m = vhd_maker_new (spec);
  uint8_t data[FUZZ_VHD_BLOCK] = "first";
  char path[4096];

  memcpy (data + 1000, "middle", 6);
  memcpy (data + sizeof data - 4, "last", 4);
  if (spec->type != 2) {
    vhd_maker_add_block (m, 2, NULL, data);
    vhd_maker_add_block (m, 0, (const uint8_t *) "\x81", data);
    vhd_maker_add_block (m, 11, (const uint8_t *) "\x3C", data);
  }
  vhd_maker_finish (m);
  snprintf (path, sizeof path, "%s/%s", folder, name);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

int
main (int argc, char *argv[])
{
  if (argc != 2) {
    fprintf (stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; ++i)
    make_one (argv[1], seeds[i].name, &seeds[i].spec);
  return 0;
}
