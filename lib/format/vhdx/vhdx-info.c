/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `info` shows of a VHDX. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/format/image-ops.h"
#include "lib/format/vhdx/vhdx.h"

static int
add_layer (const struct vhdx_layer *layer, struct image_info *info,
           struct err *err)
{
  char id[UUID_STRING_SIZE];
  struct vhdx_header header;
  struct image_layer out;

  vhdx_header_now (layer, &header);
  guid_to_string (header.data_write_guid, id);
  out.name = strdup (block_name (layer->block));
  out.format = strdup (layer->format);
  out.type = layer->is_vhdx ? strdup (vhdx_layer_type (layer)) : NULL;
  out.id = layer->is_vhdx ? strdup (id) : NULL;
  if (out.name && out.format &&
      (!layer->is_vhdx || (out.type && out.id)) &&
      vector_append (&info->layers, &out) == 0)
    return 0;
  free (out.name);
  free (out.format);
  free (out.type);
  free (out.id);
  return err_nomem (err);
}

static int
add_guid (struct image_info *info, const char *key, const char *label,
          const uint8_t guid[UUID_SIZE], struct err *err)
{
  char id[UUID_STRING_SIZE];

  guid_to_string (guid, id);
  return image_info_add (info, key, label, err, "%s", id);
}

static int
add_identity (const struct vhdx_layer *leaf, const struct vhdx_header *header,
              struct image_info *info, struct err *err)
{
  int r;

  r = add_guid (info, "disk-id", "Disk id", leaf->metadata.page_83, err);
  if (r == 0)
    r = add_guid (info, "data-id", "Id of the data",
                  header->data_write_guid, err);
  if (r == 0 && leaf->metadata.has_parent)
    r = add_guid (info, "parent-id", "Parent's id", leaf->locator.linkage[0],
                  err);
  return r;
}

static int
add_state (const struct vhdx_layer *leaf, const struct vhdx_header *header,
           struct image_info *info, struct err *err)
{
  int r;

  r = image_info_add (info, "physical-sector-size", "Physical sectors", err,
                      "%" PRIu32, leaf->metadata.physical);
  if (r == 0 && leaf->nr_replayed > 0)
    r = image_info_add (info, "log", "Log", err, "replayed%s: %" PRIu64
                        " %s", leaf->is_written ? "" : " in memory",
                        leaf->nr_replayed,
                        leaf->nr_replayed == 1 ? "entry" : "entries");
  else if (r == 0)
    r = image_info_add (info, "log", "Log", err, "empty");
  if (r == 0 && header->alone)
    r = image_info_add (info, "header", "Header", err, "number %u, the other "
                        "one is damaged", header->number);
  if (r == 0 && header->bad_checksum)
    r = image_info_add (info, "checksums", "Checksums", err,
                        "wrong, ignored");
  return r;
}

int
vhdx_info (struct image *img, struct image_info *info, struct err *err)
{
  const struct vhdx_layer *leaf = ((struct vhdx *) img->state)->leaf;
  struct vhdx_header header;
  int r = 0;

  vhdx_header_now (leaf, &header);
  info->type = strdup (vhdx_layer_type (leaf));
  if (info->type == NULL)
    return err_nomem (err);
  if (header.creator[0] != '\0') {
    info->creator = strdup (header.creator);
    if (info->creator == NULL)
      return err_nomem (err);
  }
  info->allocation_size = leaf->metadata.block_size;
  for (const struct vhdx_layer *l = leaf; l && r == 0; l = l->parent)
    r = add_layer (l, info, err);
  if (r == 0)
    r = add_identity (leaf, &header, info, err);
  if (r == 0)
    r = add_state (leaf, &header, info, err);
  return r;
}
