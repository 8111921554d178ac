/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One file of a chain. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/format/vhdx/vhdx.h"

int
vhdx_layer_over (struct block *disk, const char *format,
                 uint32_t sector_size, struct vhdx_layer **out,
                 struct err *err)
{
  struct vhdx_layer *layer = calloc (1, sizeof *layer);

  if (layer == NULL)
    return err_nomem (err);
  layer->format = format;
  layer->block = block_ref (disk);
  layer->file = block_ref (disk);
  layer->folder = (struct folder) FOLDER_INIT;
  layer->metadata.is_fixed = true;
  layer->metadata.size = block_size (disk);
  layer->metadata.logical = sector_size;
  *out = layer;
  return 0;
}

int
vhdx_layer_new (struct block *block, const struct image_options *options,
                struct vhdx_layer **out, struct report *report,
                struct err *err)
{
  struct vhdx_layer *layer = calloc (1, sizeof *layer);
  int r;

  if (layer == NULL)
    return err_nomem (err);
  layer->format = "vhdx";
  layer->is_vhdx = true;
  layer->block = block_ref (block);
  layer->folder = (struct folder) FOLDER_INIT;
  r = vhdx_header_read (block, options->ignore_checksums, &layer->header,
                        report, err);
  if (r < 0) {
    vhdx_layer_free (layer);
    return r;
  }
  *out = layer;
  return 0;
}

/* Layers own each other in one line of at most PARENT_MAX_LAYERS. */
void
vhdx_layer_free (struct vhdx_layer *layer)
{
  while (layer) {
    struct vhdx_layer *parent = layer->parent;

    pending_close (layer->pending);
    vhdx_bat_close (&layer->bat);
    vhdx_locator_free (&layer->locator);
    free (layer->metadata.locator);
    vhdx_regions_free (&layer->regions);
    vhdx_header_free (&layer->header);
    folder_close (&layer->folder);
    block_unref (layer->file);
    block_unref (layer->block);
    free (layer);
    layer = parent;
  }
}

const char *
vhdx_layer_type (const struct vhdx_layer *layer)
{
  if (layer->metadata.has_parent)
    return "differencing";
  return layer->metadata.is_fixed ? "fixed" : "dynamic";
}

static int
replay_log (struct vhdx_layer *layer, struct report *report, struct err *err)
{
  struct vhdx_log log = VHDX_LOG_INIT;
  int r;

  if (uuid_is_zero (layer->header.log_guid)) {
    layer->file = block_ref (layer->block);
    return 0;
  }
  r = vhdx_log_read (layer->block, &layer->header, &log, err);
  if (r < 0)
    return r;
  layer->nr_replayed = log.nr_entries;
  r = vhdx_replay_new (layer->block, &layer->header, &log, &layer->file, err);
  vector_free (&log.pieces);
  if (r == 0)
    report_warn (report, "%s: was not closed properly; its log was replayed "
                 "%s (entries: %" PRIu64 ")%s", block_name (layer->block),
                 layer->is_written ? "into it" : "in memory",
                 layer->nr_replayed,
                 layer->is_written ? "" : ", the file is left as it is");
  return r;
}

int
vhdx_layer_describe (struct vhdx_layer *layer,
                     const struct image_options *options,
                     struct report *report, struct err *err)
{
  int r = replay_log (layer, report, err);

  if (r == 0)
    r = vhdx_regions_read (layer->file, &layer->header,
                           options->ignore_checksums, &layer->regions, report,
                           err);
  if (r == 0)
    r = vhdx_metadata_read (layer->file, &layer->regions.metadata,
                            &layer->metadata, err);
  if (r == 0 && layer->metadata.has_parent)
    r = vhdx_locator_read (layer->metadata.locator,
                           layer->metadata.locator_len, &layer->locator, err);
  return r;
}

int
vhdx_layer_open (struct vhdx_layer *layer,
                 const struct image_options *options, struct report *report,
                 struct err *err)
{
  int r;

  if (!layer->is_vhdx)
    return 0;
  r = vhdx_layer_describe (layer, options, report, err);
  if (r == 0)
    r = vhdx_bat_open (layer, err);
  /* Who writes to it gets them otherwise. */
  if (r == 0 && !layer->is_written)
    r = vhdx_pending_peek (layer, err);
  return r;
}
