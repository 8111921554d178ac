/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHDX over a disk that is no VHDX (../below.h). */

#include <config.h>

#include <string.h>
#include <sys/stat.h>

#include "lib/block/file.h"
#include "lib/format/below.h"
#include "lib/format/vhdx/vhdx.h"

bool
vhdx_base_is_possible (const struct vhdx_layer *child)
{
  const char *creator = child->header.creator;

  return creator && strncmp (creator, VHDX_OUR_CREATOR,
                             strlen (VHDX_OUR_CREATOR)) == 0;
}

/* Its identity does not cover every byte. */
static void
compare_time (const struct vhdx_layer *child, const struct image *base,
              struct report *report)
{
  struct stat st;

  if (child->locator.has_time && !below_never_changes (base) &&
      fstat (block_file_fd (image_block (base)), &st) == 0 &&
      st.st_mtime != child->locator.time)
    report_warn (report, "%s: was made over %s when that had another time; "
                 "if that was changed since, and not only copied, what is "
                 "read is wrong", block_name (child->block),
                 image_name (base));
}

int
vhdx_base_layer_new (const struct vhdx_layer *child, struct image *base,
                     struct vhdx_layer **out, struct report *report,
                     struct err *err)
{
  CLEANUP_BLOCK struct block *disk = NULL;
  int r = below_check (base, child->locator.linkage[0], err);

  if (r == 0)
    r = image_to_block (base, &disk, err);
  if (r == 0)
    r = vhdx_layer_over (disk, image_format (base), child->metadata.logical,
                         out, err);
  if (r == 0)
    compare_time (child, base, report);
  return r;
}

int
vhdx_base_accept (const struct vhdx_layer *child, struct block *block,
                  const struct image_options *options,
                  struct vhdx_layer **out, struct report *report,
                  struct err *err)
{
  CLEANUP_IMAGE struct image *base = NULL;
  int r = below_open (block, options, &base, report, err);

  return r < 0 ? r : vhdx_base_layer_new (child, base, out, report, err);
}
