/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `info` shows of a VHD. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/format/image-ops.h"
#include "lib/format/vhd/vhd.h"

/* Programs do not agree on the order of bytes in a unique id, and chains are
 * followed by comparing bytes: they are shown as they lie in the file.
 */
static int
add_layer (const struct vhd_layer *layer, struct image_info *info,
           struct err *err)
{
  const struct vhd_footer *f = &layer->footers.footer;
  char id[UUID_STRING_SIZE];
  struct image_layer out;

  bool is_vhd = vhd_layer_is_vhd (layer);

  uuid_to_string (f->id, id);
  out.name = strdup (block_name (layer->block));
  out.format = strdup (layer->format);
  out.type = is_vhd ? strdup (vhd_type_to_string (f->type)) : NULL;
  out.id = is_vhd ? strdup (id) : NULL;
  if (out.name && out.format && (!is_vhd || (out.type && out.id)) &&
      vector_append (&info->layers, &out) == 0)
    return 0;
  free (out.name);
  free (out.format);
  free (out.type);
  free (out.id);
  return err_nomem (err);
}

static int
add_identity (const struct vhd_layer *leaf, struct image_info *info,
              struct err *err)
{
  const struct vhd_footer *f = &leaf->footers.footer;
  char id[UUID_STRING_SIZE];
  int r;

  uuid_to_string (f->id, id);
  r = image_info_add (info, "unique-id", "Unique id", err, "%s", id);
  if (r == 0 && f->type == VHD_DIFFERENCING) {
    uuid_to_string (leaf->header.parent_id, id);
    r = image_info_add (info, "parent-id", "Parent's id", err, "%s", id);
  }
  if (r == 0 && memcmp (f->creator_os, "Wi2k", 4) == 0)
    r = image_info_add (info, "creator-os", "Creator's system", err,
                        "Windows");
  else if (r == 0 && memcmp (f->creator_os, "Mac ", 4) == 0)
    r = image_info_add (info, "creator-os", "Creator's system", err,
                        "Macintosh");
  return r;
}

static int
add_sizes (const struct vhd_layer *leaf, struct image_info *info,
           struct err *err)
{
  const struct vhd_footer *f = &leaf->footers.footer;
  int r;

  r = image_info_add (info, "geometry", "Geometry", err, "%u/%u/%u",
                      f->cylinders, f->heads, f->sectors);
  if (r == 0)
    r = image_info_add (info, "size-rule", "Size taken from", err, "%s",
                        leaf->size_rule == IMAGE_SIZE_CHS
                        ? "geometry" : "current size");
  if (r == 0 && f->current_size != leaf->size)
    r = image_info_add (info, "current-size", "Current size", err,
                        "%" PRIu64, f->current_size);
  if (r == 0 && f->original_size != f->current_size)
    r = image_info_add (info, "original-size", "Original size", err,
                        "%" PRIu64, f->original_size);
  return r;
}

static int
add_state (const struct vhd_layer *leaf, struct image_info *info,
           struct err *err)
{
  const struct vhd_footers *ff = &leaf->footers;
  int r = 0;

  if (ff->from_copy)
    r = image_info_add (info, "footer", "Footer", err, "the copy at offset 0");
  if (r == 0 && (ff->bad_checksum || leaf->header.bad_checksum))
    r = image_info_add (info, "checksums", "Checksums", err, "wrong, ignored");
  if (r == 0 && leaf->batmap.present)
    r = image_info_add (info, "batmap", "Batmap", err, "yes");
  if (r == 0 && ff->footer.saved_state)
    r = image_info_add (info, "saved-state", "Saved state", err, "yes");
  if (r == 0 && ff->footer.hidden)
    r = image_info_add (info, "hidden", "Hidden", err, "yes");
  return r;
}

int
vhd_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct vhd_layer *leaf = ((struct vhd *) img->state)->leaf;
  const struct vhd_footer *f = &leaf->footers.footer;
  int r = 0;

  info->type = strdup (vhd_type_to_string (f->type));
  info->creator = vhd_creator_to_string (f);
  if (info->type == NULL || info->creator == NULL)
    return err_nomem (err);
  if (f->timestamp != 0)
    info->created = (int64_t) f->timestamp + VHD_EPOCH;
  info->allocation_size = leaf->bat.block_size;
  for (const struct vhd_layer *l = leaf; l && r == 0; l = l->parent)
    r = add_layer (l, info, err);
  if (r == 0)
    r = add_identity (leaf, info, err);
  if (r == 0)
    r = add_sizes (leaf, info, err);
  if (r == 0)
    r = add_state (leaf, info, err);
  return r;
}
