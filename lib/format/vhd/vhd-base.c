/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHD over a disk that is no VHD: an ISO, a raw image, a VHDX,
 * the export of a server.  No other program reads such a file, and they know
 * it: the parent that it names is not a VHD.
 *
 * In the chain that disk is one more layer, which has all bytes as a fixed
 * one has.  The child's header has its identity (../identity.c) in place of
 * a parent's unique id; a file that looks like it is not it, unless that is
 * right.  When it is not handed over by who opens the child, it is looked for
 * as other parents are, for children that we made; so whoever can write a VHD
 * gets nothing through it that he does not know already.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/block/file.h"
#include "lib/format/image-ops.h"
#include "lib/format/vhd/vhd.h"

/* Images over images over images. */
#define MAX_DEPTH 8

bool
vhd_base_is_possible (const struct vhd_layer *child)
{
  return vhd_creator_is (&child->footers.footer, VHD_OUR_CREATOR);
}

static int
check_identity (const struct vhd_layer *child, struct image *base,
                struct err *err)
{
  char expected[UUID_STRING_SIZE], found[UUID_STRING_SIZE];
  uint8_t id[UUID_SIZE];
  int r = image_identity (base, id, err);

  if (r < 0 || memcmp (id, child->header.parent_id, UUID_SIZE) == 0)
    return r;
  uuid_to_string (child->header.parent_id, expected);
  uuid_to_string (id, found);
  return err_set (err, -ENOENT, "found %s, but its identity is %s, expected "
                  "%s", image_name (base), found, expected);
}

/* Its identity does not cover every byte. */
static void
compare_time (const struct vhd_layer *child, const struct image *base,
              struct report *report)
{
  uint32_t stated = child->header.parent_timestamp;
  struct stat st;

  if (stated == 0 || fstat (block_file_fd (image_block (base)), &st) < 0 ||
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
  int r = check_identity (child, base, err);

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
  struct image_options below = {
    .parent_path = options->parent_path,
    .lock = options->lock,
    .depth = options->depth + 1,
  };
  int r;

  if (below.depth > MAX_DEPTH)
    return err_set (err, -ENOTSUP, "more than %d disks of different formats "
                    "lie over each other", MAX_DEPTH);
  r = image_open_block (block, &below, &base, report, err);
  if (r < 0) {
    err_in (err, "%s", block_name (block));
    return r;
  }
  return vhd_base_layer_new (child, base, out, report, err);
}
