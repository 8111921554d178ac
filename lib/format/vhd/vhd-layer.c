/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One file of a chain. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/checked.h"
#include "lib/format/vhd/vhd.h"

static struct vhd_layer *
layer_on (struct block *block, const char *format)
{
  struct vhd_layer *layer = calloc (1, sizeof *layer);

  if (layer == NULL)
    return NULL;
  layer->block = block_ref (block);
  layer->format = format;
  layer->folder = (struct folder) FOLDER_INIT;
  layer->bat_room = VHD_MAX_HELD_ENTRIES;
  return layer;
}

int
vhd_layer_over (struct block *disk, const char *format,
                struct vhd_layer **out, struct err *err)
{
  struct vhd_layer *layer = layer_on (disk, format);

  if (layer == NULL)
    return err_nomem (err);
  layer->footers.footer.type = VHD_FIXED;
  layer->footers.footer.current_size = block_size (disk);
  layer->footers.end = block_size (disk);
  *out = layer;
  return 0;
}

int
vhd_layer_new (struct block *block, const struct image_options *options,
               struct vhd_layer **out, struct report *report, struct err *err)
{
  struct vhd_layer *layer = layer_on (block, "vhd");
  int r;

  if (layer == NULL)
    return err_nomem (err);
  layer->is_vhd = true;
  r = vhd_footer_read (block, options->ignore_checksums, &layer->footers,
                       report, err);
  if (r < 0) {
    vhd_layer_free (layer);
    return r;
  }
  *out = layer;
  return 0;
}

/* Layers own each other in one line of at most PARENT_MAX_LAYERS. */
void
vhd_layer_free (struct vhd_layer *layer)
{
  while (layer) {
    struct vhd_layer *parent = layer->parent;

    pending_close (layer->pending);
    vhd_bat_close (&layer->bat);
    folder_close (&layer->folder);
    block_unref (layer->block);
    free (layer);
    layer = parent;
  }
}

/* The file of a fixed disk says how long it is, too.  A disk that is served
 * may end where the file does, with a warning.  A parent may not: the child
 * counts on all of it.
 */
static int
fit_into_file (struct vhd_layer *layer, struct report *report,
               struct err *err)
{
  uint64_t current = layer->footers.footer.current_size;
  uint64_t data = layer->footers.end;

  if (data == current) {
    layer->size = min_u64 (layer->size, data);
    return 0;
  }
  if (current == 0)
    return err_set (err, -EBADMSG, "the footer states a size of 0 bytes, but "
                    "%" PRIu64 " are in front of it", data);
  if (layer->number > 0 && data < layer->size)
    return err_set (err, -EBADMSG, "the footer states a size of %" PRIu64
                    " bytes, but only %" PRIu64 " are in front of it",
                    current, data);
  layer->size = min_u64 (layer->size, data);
  layer->size_is_doubtful = true;
  report_warn (report, "%s: the footer states a size of %" PRIu64 " bytes, "
               "but %" PRIu64 " are in front of it; the disk is taken to "
               "have %" PRIu64, block_name (layer->block), current, data,
               layer->size);
  return 0;
}

static int
choose_size (struct vhd_layer *layer, enum image_size_rule rule,
             struct err *err)
{
  const struct vhd_footer *f = &layer->footers.footer;

  layer->size = vhd_disk_size (f, rule, &layer->size_rule);
  if (layer->size_rule == IMAGE_SIZE_CHS && layer->size == 0)
    return err_set (err, -EINVAL, "the geometry %u/%u/%u in the footer gives "
                    "no size; use the current size of %" PRIu64 " bytes",
                    f->cylinders, f->heads, f->sectors, f->current_size);
  return 0;
}

/* tapdisk 0.1 wrote the bitmaps of blocks the other way round.  No one but
 * its authors has such files, so they are recognised, not read.
 */
static bool
has_reversed_bitmaps (const struct vhd_footer *f)
{
  return vhd_creator_is (f, "tap\0") && f->creator_version == 0x00000001;
}

int
vhd_layer_open_header (struct vhd_layer *layer, enum image_size_rule rule,
                       const struct image_options *options,
                       struct report *report, struct err *err)
{
  bool ignore = options->ignore_checksums;
  int r;

  r = choose_size (layer, rule, err);
  if (r < 0)
    return r;
  if (vhd_layer_is_fixed (layer))
    return fit_into_file (layer, report, err);
  if (has_reversed_bitmaps (&layer->footers.footer))
    return err_set (err, -ENOTSUP, "it was written by tapdisk 0.1, whose "
                    "bitmaps have another order of bits");
  r = vhd_header_read (layer->block, &layer->footers, layer->size, ignore,
                       &layer->header, report, err);
  if (r == 0)
    r = vhd_batmap_read (layer->block, &layer->footers, &layer->header,
                         &layer->batmap, report, err);
  return r;
}

int
vhd_layer_open (struct vhd_layer *layer, enum image_size_rule rule,
                const struct image_options *options, struct report *report,
                struct err *err)
{
  int r = vhd_layer_open_header (layer, rule, options, report, err);

  if (r < 0 || vhd_layer_is_fixed (layer))
    return r;
  r = vhd_bat_open (layer, err);
  /* Who writes to it gets them otherwise. */
  if (r == 0 && !(options->writable && layer->number == 0))
    r = vhd_pending_peek (layer, err);
  return r;
}
