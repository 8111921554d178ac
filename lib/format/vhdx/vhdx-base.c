/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHDX over a disk that is no VHDX (../below.h). */

#include <config.h>

#include <string.h>

#include "lib/format/below.h"
#include "lib/format/vhdx/vhdx.h"

bool
vhdx_base_is_possible (const struct vhdx_layer *child)
{
  const char *creator = child->header.creator;

  return creator && strncmp (creator, VHDX_OUR_CREATOR,
                             strlen (VHDX_OUR_CREATOR)) == 0;
}

int
vhdx_base_layer_new (const struct vhdx_layer *child, struct image *base,
                     struct vhdx_layer **out, struct err *err)
{
  CLEANUP_BLOCK struct block *disk = NULL;
  int r = below_check (base, child->locator.linkage[0], err);

  if (r == 0)
    r = image_to_block (base, &disk, err);
  return r < 0 ? r : vhdx_layer_over (disk, image_format (base),
                                      child->metadata.logical, out, err);
}

int
vhdx_base_accept (const struct vhdx_layer *child, struct block *block,
                  const struct image_options *options,
                  struct vhdx_layer **out, struct report *report,
                  struct err *err)
{
  CLEANUP_IMAGE struct image *base = NULL;
  int r = below_open (block, options, &base, report, err);

  return r < 0 ? r : vhdx_base_layer_new (child, base, out, err);
}
