/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/parents.h"
#include "tests/support/vhd-maker.h"
#include "tests/support/vhdx-maker.h"

static const char *const names[] = { "parent.vhd", "parent.vhdx" };

static void
path_of (const char *folder, int i, char path[4096])
{
  snprintf (path, 4096, "%s/%s", folder, names[i]);
}

static void
save_vhd (const char *path)
{
  static const struct vhd_spec spec = {
    .type = 3, .size = PARENT_VHD_SIZE, .block_size = PARENT_VHD_BLOCK,
    .id = PARENT_ID,
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint8_t data[PARENT_VHD_BLOCK];

  for (size_t i = 0; i < sizeof data; ++i)
    data[i] = (uint8_t) (i / 512 + i);
  vhd_maker_add_block (m, 1, NULL, data);
  vhd_maker_add_block (m, 0, (const uint8_t *) "\x5A", data);
  vhd_maker_finish (m);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

static void
save_vhdx (const char *path)
{
  static const struct vhdx_spec spec = {
    .size = PARENT_VHDX_SIZE, .id = PARENT_ID,
  };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = calloc (1, VHDX_MIB);

  if (data == NULL)
    abort ();
  for (size_t i = 0; i < VHDX_MIB; ++i)
    data[i] = (uint8_t) (i / 512 + i);
  vhdx_maker_add_block (m, 1, data);
  vhdx_maker_finish (m);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
  free (data);
}

void
parents_save (const char *folder)
{
  char path[4096];

  path_of (folder, 0, path);
  save_vhd (path);
  path_of (folder, 1, path);
  save_vhdx (path);
}

void
parents_remove (const char *folder)
{
  char path[4096];

  for (int i = 0; i < 2; ++i) {
    path_of (folder, i, path);
    unlink (path);
  }
}

static char own_folder[] = "/tmp/nbdimage-fuzz.XXXXXX";

static void
remove_own (void)
{
  parents_remove (own_folder);
  rmdir (own_folder);
}

const char *
parents_folder (void)
{
  static bool made;

  if (made)
    return own_folder;
  if (mkdtemp (own_folder) == NULL)
    abort ();
  made = true;
  atexit (remove_own);
  parents_save (own_folder);
  return own_folder;
}
