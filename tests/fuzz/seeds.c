/* SPDX-License-Identifier: GPL-2.0-or-later */

/* seeds vhd|vhdx|partclone FOLDER: small images of all kinds for the corpus. */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/parents.h"
#include "tests/support/partclone-maker.h"
#include "tests/support/vhd-maker.h"
#include "tests/support/vhdx-maker.h"

/*--- VHD --------------------------------------------------------------------*/

/* Of the same shape. */
#define SPEC .size = PARENT_VHD_SIZE, .block_size = PARENT_VHD_BLOCK, .id = 9

static const struct {
  const char *name;
  struct vhd_spec spec;
} vhd_seeds[] = {
  { "fixed", { .type = 2, SPEC, .cylinders = 4, .heads = 4, .sectors = 6 } },
  { "dynamic", { .type = 3, SPEC, .creator = "vpc ", .extra_entries = 3,
                 .original_size = 2 * PARENT_VHD_SIZE } },
  { "batmap", { .type = 3, SPEC, .creator = "tap", .batmap = true,
                .creator_version = 0x00010003 } },
  { "differencing", { .type = 4, SPEC, .parent_id = PARENT_ID,
                      .parent_name = "C:\\Disks\\parent.vhd" } },
  { "case", { .type = 4, SPEC, .parent_id = PARENT_ID,
              .parent_name = "D:\\PARENT.vhd" } },
  { "locators", { .type = 4, SPEC, .parent_id = PARENT_ID,
                  .parent_timestamp = 0x31000000, .locators = {
                    { "W2ru", ".\\PARENT.VHD" }, { "W2ku", "D:\\x.vhd" },
                    { "MacX", "file://./parent%2Evhd" },
                    { "Wi2r", "..\\parent.vhd" }, { "Wi2k", "y.vhd" } } } },
};

static void
make_vhd (const char *folder, const char *name, const struct vhd_spec *spec)
{
  struct vhd_maker *m = vhd_maker_new (spec);
  uint8_t data[PARENT_VHD_BLOCK] = "first";
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

/*--- VHDX -------------------------------------------------------------------*/

#define SPECX .size = PARENT_VHDX_SIZE, .id = 9
#define LINKAGE .parent_id = PARENT_ID

static const struct {
  const char *name;
  struct vhdx_spec spec;
  bool log;
} vhdx_seeds[] = {
  { "dynamic", { SPECX, .creator = "fuzz" }, false },
  { "fixed", { SPECX, .is_fixed = true }, false },
  /* Its BAT stays in the file. */
  { "large", { .size = UINT64_C (3) << 40, .id = 9 }, false },
  { "log", { SPECX }, true },
  { "sectors", { SPECX, .logical = 4096, .block_size = 2 * VHDX_MIB }, false },
  { "differencing", { SPECX, LINKAGE, .locators = {
      { "relative_path", ".\\parent.vhdx" } } }, false },
  { "locators", { SPECX, LINKAGE, .parent_id2 = 8, .locators = {
      { "relative_path", "..\\x\\PARENT.VHDX" },
      { "volume_path", "\\\\?\\Volume{1}\\y.vhdx" },
      { "absolute_win32_path", "C:\\parent.vhdx" },
      { "other", "z" } } }, true },
};

static void
add_log (struct vhdx_maker *m, uint8_t *page)
{
  const struct vhdx_change changes[] = {
    { 4 * VHDX_MIB + 4096, page, 0 },
    { 4 * VHDX_MIB + 16384, NULL, 8192 },
  };
  struct vhdx_log_entry e = { .changes = changes, .nr_changes = 2 };

  e.page = vhdx_maker_log (m, &e);
  e.nr_changes = 1;
  vhdx_maker_log (m, &e);
}

static void
make_vhdx (const char *folder, const char *name,
           const struct vhdx_spec *spec, bool log)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);
  uint8_t *data = calloc (1, 2 * VHDX_MIB);
  char path[4096];

  if (data == NULL)
    abort ();
  memcpy (data + 4000, "first", 5);
  memcpy (data + 1000000, "middle", 6);
  vhdx_maker_add_block (m, 0, data);
  if (spec->parent_id) {
    vhdx_maker_add_partial (m, 1, data);
    vhdx_maker_set_bits (m, 2048, 9);
    vhdx_maker_set_bits (m, 2048 + 1000, 1000);
  }
  vhdx_maker_finish (m);
  if (log)
    add_log (m, data);
  snprintf (path, sizeof path, "%s/%s", folder, name);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
  free (data);
}

/*--- partclone --------------------------------------------------------------*/

#define SHAPE .nr_blocks = 14, .block_size = 512, .density = 4

static const struct {
  const char *name;
  struct partclone_shape shape;
} partclone_seeds[] = {
  { "crc", { SHAPE, .sum = 0x20, .per_sum = 3 } },
  { "tail", { SHAPE, .sum = 0x20, .per_sum = 256, .tail = 1000 } },
  { "chained", { SHAPE, .sum = 0x20, .per_sum = 2, .chained = true } },
  { "hash", { SHAPE, .sum = 0x30, .per_sum = 4 } },
  { "bare", { SHAPE } },
  { "full", { .nr_blocks = 5, .block_size = 1024, .density = 8, .no_map = true,
              .sum = 0x20, .per_sum = 2 } },
  { "long", { .nr_blocks = 5, .block_size = 128 * 1024, .density = 8,
              .sum = 0x20, .per_sum = 3 } },
  { "old", { SHAPE, .v1 = 4 } },
  { "old-long", { SHAPE, .v1 = 8 } },
};

static void
make_partclone (const char *folder, const char *name,
                const struct partclone_shape *shape)
{
  struct partclone_made m;
  char path[4096];
  FILE *f;

  partclone_make (shape, 1, &m);
  if (shape->block_size > 1024) /* too much for an input */
    memset (m.file + m.data_off, 0, m.len - m.data_off);
  snprintf (path, sizeof path, "%s/%s", folder, name);
  f = fopen (path, "we");
  if (f == NULL || fwrite (m.file, 1, m.len, f) != m.len || fclose (f) != 0)
    abort ();
  partclone_made_free (&m);
}

int
main (int argc, char *argv[])
{
  if (argc != 3) {
    fprintf (stderr, "usage: %s vhd|vhdx|partclone FOLDER\n", argv[0]);
    return 2;
  }
  if (strcmp (argv[1], "vhd") == 0)
    for (size_t i = 0; i < sizeof vhd_seeds / sizeof vhd_seeds[0]; ++i)
      make_vhd (argv[2], vhd_seeds[i].name, &vhd_seeds[i].spec);
  else if (strcmp (argv[1], "partclone") == 0)
    for (size_t i = 0; i < sizeof partclone_seeds / sizeof partclone_seeds[0];
         ++i)
      make_partclone (argv[2], partclone_seeds[i].name,
                      &partclone_seeds[i].shape);
  else
    for (size_t i = 0; i < sizeof vhdx_seeds / sizeof vhdx_seeds[0]; ++i)
      make_vhdx (argv[2], vhdx_seeds[i].name, &vhdx_seeds[i].spec,
                 vhdx_seeds[i].log);
  return 0;
}
