/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `info` shows of an image, beyond its size and format. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/block/split.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/image-ops.h"

/* A chain of one: the image itself. */
static int
add_own_layer (struct image *img, struct image_info *info, struct err *err)
{
  struct image_layer layer = {
    .name = strdup (image_name (img)),
    .format = strdup (image_format (img)),
    .type = info->type ? strdup (info->type) : NULL,
  };

  if (layer.name && layer.format && (layer.type || !info->type) &&
      vector_append (&info->layers, &layer) == 0)
    return 0;
  free (layer.name);
  free (layer.format);
  free (layer.type);
  return err_nomem (err);
}

/* How the image is kept: in pieces, compressed. */
static int
add_file (struct image *img, struct image_info *info, struct err *err)
{
  const struct codec *codec;
  struct block *file = compressed_file (img->block, &codec);
  int r = 0;

  if (block_split_nr (file ? file : img->block) > 0)
    r = image_info_add (info, "pieces", "Pieces", err, "%zu",
                        block_split_nr (file ? file : img->block));
  if (r < 0 || file == NULL)
    return r;
  info->file_size = block_size (file);
  r = image_info_add (info, "compression", "Compression", err, "%s",
                      compressed_codec_name (codec));
  if (r == 0)
    r = image_info_add (info, "decoding-points", "Decoding", err,
                        "can begin at %" PRIu64 " places",
                        compressed_nr_points (img->block));
  return r;
}

int
image_get_info (struct image *img, struct image_info *info, struct err *err)
{
  struct image_info found = {
    .created = -1,
    .file_size = block_size (img->block),
  };
  int r = 0;

  if (img->ops->info)
    r = img->ops->info (img, &found, err);
  if (r == 0)
    r = add_file (img, &found, err);
  if (r == 0 && found.layers.len == 0)
    r = add_own_layer (img, &found, err);
  if (r < 0) {
    image_info_free (&found);
    return r;
  }
  *info = found;
  return 0;
}

int
image_info_add (struct image_info *info, const char *key, const char *label,
                struct err *err, const char *value, ...)
{
  struct image_property p = { strdup (key), strdup (label), NULL };
  va_list ap;
  int r;

  va_start (ap, value);
  r = vasprintf (&p.value, value, ap);
  va_end (ap);
  if (r < 0)
    p.value = NULL;
  if (p.key && p.label && p.value &&
      vector_append (&info->properties, &p) == 0)
    return 0;
  free (p.key);
  free (p.label);
  free (p.value);
  return err_nomem (err);
}

void
image_info_free (struct image_info *info)
{
  for (size_t i = 0; i < info->layers.len; ++i) {
    struct image_layer *l = &info->layers.ptr[i];

    free (l->name);
    free (l->format);
    free (l->type);
    free (l->id);
  }
  for (size_t i = 0; i < info->properties.len; ++i) {
    struct image_property *p = &info->properties.ptr[i];

    free (p->key);
    free (p->label);
    free (p->value);
  }
  for (size_t i = 0; i < info->boot.len; ++i) {
    free (info->boot.ptr[i].platform);
    free (info->boot.ptr[i].media);
  }
  vector_free (&info->layers);
  vector_free (&info->properties);
  vector_free (&info->boot);
  free (info->type);
  free (info->creator);
  free (info->label);
  memset (info, 0, sizeof *info);
}
