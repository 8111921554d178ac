/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHD over a disk that is no VHD (../below.h): an ISO, a raw
 * image, a VHDX, the export of a server.  The layer for it is a fixed one.
 */

#include <config.h>

#include <sys/stat.h>

#include "lib/block/file.h"
#include "lib/format/below.h"
#include "lib/format/vhd/vhd.h"

bool
vhd_base_is_possible (const struct vhd_layer *child)
{
  return vhd_creator_is (&child->footers.footer, VHD_OUR_CREATOR);
}

/* Its identity does not cover every byte. */
static void
compare_time (const struct vhd_layer *child, const struct image *base,
              struct report *report)
{
  uint32_t stated = child->header.parent_timestamp;
  struct stat st;

  if (stated == 0 || below_never_changes (base) ||
      fstat (block_file_fd (image_block (base)), &st) < 0 ||
      st.st_mtime == (time_t) stated + VHD_EPOCH)
    return;
  report_warn (report, "%s: was made over %s when that had another time; if "
               "that was changed since, and not only copied, what is read is "
               "wrong", block_name (child->block), image_name (base));
}

int
vhd_base_layer_new (const struct vhd_layer *child, struct image *base,
                    struct vhd_layer **out, struct report *report,
                    struct err *err)
{
  CLEANUP_BLOCK struct block *disk = NULL;
  int r = below_check (base, child->header.parent_id, err);

  if (r == 0)
    r = image_to_block (base, &disk, err);
  if (r == 0)
    r = vhd_layer_over (disk, image_format (base), out, err);
  if (r == 0)
    compare_time (child, base, report);
  return r;
}

int
vhd_base_accept (const struct vhd_layer *child, struct block *block,
                 const struct image_options *options, struct vhd_layer **out,
                 struct report *report, struct err *err)
{
  CLEANUP_IMAGE struct image *base = NULL;
  int r = below_open (block, options, &base, report, err);

  return r < 0 ? r : vhd_base_layer_new (child, base, out, report, err);
}
