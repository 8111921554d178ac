/* SPDX-License-Identifier: GPL-2.0-or-later */

/* make-vhd [OPTION...] FILE: a small VHD, for test scripts.
 *
 *   --type=N              2 fixed, 3 dynamic (if not said), 4 differencing
 *   --id=N                its identity, and the byte that its block N is
 *                         full of; 1 if not said
 *   --parent=N            the identity of its parent
 *   --name=TEXT           the parent's name in the header
 *   --locator=CODE:TEXT   a parent locator, up to eight
 *   --patch=OFFSET:HEX    other bytes there, before checksums are computed
 *
 * Its disk has 16 blocks of 4096 bytes, of which one is not empty.
 */

#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/vhd-maker.h"

#define BLOCK 4096
#define MAX_PATCHES 8

static void
bad (const char *what)
{
  fprintf (stderr, "make-vhd: %s\n", what);
  exit (99);
}

/* Up to the colon, which becomes the end. */
static char *
after_colon (char *arg)
{
  char *colon = strchr (arg, ':');

  if (colon == NULL)
    bad (arg);
  *colon = '\0';
  return colon + 1;
}

static void
add_locator (struct vhd_spec *spec, char *arg)
{
  char *text = after_colon (arg);
  int i = 0;

  while (i < 8 && spec->locators[i].code)
    i++;
  if (i == 8 || strlen (arg) != 4)
    bad (arg);
  spec->locators[i] = (struct vhd_spec_locator) { arg, text };
}

static void
apply_patch (struct vhd_maker *m, char *arg)
{
  const char *hex = after_colon (arg);
  size_t off = strtoul (arg, NULL, 0);
  unsigned byte;

  for (; *hex; hex += 2, ++off) {
    if (off >= m->len || sscanf (hex, "%2x", &byte) != 1)
      bad (arg);
    m->data[off] = (uint8_t) byte;
  }
}

static void
make (const struct vhd_spec *spec, char *const patches[], int nr_patches,
      const char *path)
{
  struct vhd_maker *m = vhd_maker_new (spec);
  uint8_t data[BLOCK], disk[16 * BLOCK] = { 0 };

  memset (data, (int) spec->id, sizeof data);
  memcpy (disk + spec->id % 16 * BLOCK, data, BLOCK);
  if (spec->type == 2)
    vhd_maker_set_data (m, disk);
  else
    vhd_maker_add_block (m, spec->id % 16, NULL, data);
  vhd_maker_finish (m);
  for (int i = 0; i < nr_patches; ++i)
    apply_patch (m, patches[i]);
  vhd_maker_sum_footers (m);
  if (spec->type != 2)
    vhd_maker_sum_header (m);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

int
main (int argc, char *argv[])
{
  static const struct option options[] = {
    { "type", required_argument, NULL, 't' },
    { "id", required_argument, NULL, 'i' },
    { "parent", required_argument, NULL, 'p' },
    { "name", required_argument, NULL, 'n' },
    { "locator", required_argument, NULL, 'l' },
    { "patch", required_argument, NULL, 'x' },
    { NULL, 0, NULL, 0 }
  };
  struct vhd_spec spec = {
    .type = 3, .id = 1, .size = 16 * BLOCK, .block_size = BLOCK,
  };
  char *patches[MAX_PATCHES];
  int c, nr_patches = 0;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1)
    switch (c) {
    case 't': spec.type = (unsigned) atoi (optarg); break;
    case 'i': spec.id = (unsigned) atoi (optarg); break;
    case 'p': spec.parent_id = (unsigned) atoi (optarg); break;
    case 'n': spec.parent_name = optarg; break;
    case 'l': add_locator (&spec, optarg); break;
    case 'x':
      if (nr_patches == MAX_PATCHES)
        bad ("too many patches");
      patches[nr_patches++] = optarg;
      break;
    default: return 99;
    }
  if (optind + 1 != argc)
    bad ("usage: make-vhd [OPTION...] FILE");
  make (&spec, patches, nr_patches, argv[optind]);
  return 0;
}
