/* SPDX-License-Identifier: GPL-2.0-or-later */

/* `info --json`.  The keys are an interface: new ones may come, none changes
 * its meaning.  All offsets and lengths are bytes.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/info/info.h"
#include "tools/info/walk.h"
#include "tools/output.h"

static json_t *
bytes (uint64_t n)
{
  return json_integer ((json_int_t) n);
}

static json_t *
file_system (const struct fs_identity *fs)
{
  if (fs->type == NULL && fs->usage == NULL)
    return json_null ();
  return json_pack ("{s:o,s:o,s:o,s:o,s:o}",
                    "type", output_json_text (fs->type),
                    "usage", output_json_text (fs->usage),
                    "label", output_json_text (fs->label),
                    "uuid", output_json_text (fs->uuid),
                    "version", output_json_text (fs->version));
}

static json_t *
partition (const struct partition *p, const struct info_partition *more)
{
  return json_pack ("{s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b,s:b,s:o,s:o}",
                    "number", (int) p->number,
                    "offset", bytes (p->off),
                    "length", bytes (p->len),
                    "type", output_json_text (p->type),
                    "type-name", output_json_text (p->type_name),
                    "name", output_json_text (p->name),
                    "uuid", output_json_text (p->uuid),
                    "bootable", p->bootable,
                    "logical", p->is_logical,
                    "extended", p->is_extended,
                    "file-system", file_system (&more->fs),
                    "efi-loaders", output_json_text (more->efi_loaders));
}

static json_t *
partition_table (const struct info *info)
{
  const struct part_table *t = &info->table;
  json_t *entries;

  if (t->scheme == PART_NONE)
    return json_null ();
  entries = json_array ();
  for (size_t i = 0; i < t->parts.len && info->parts; ++i)
    json_array_append_new (entries, partition (&t->parts.ptr[i],
                                               &info->parts[i]));
  return json_pack ("{s:s,s:o,s:i,s:I,s:o}",
                    "scheme", part_scheme_to_string (t->scheme),
                    "id", output_json_text (t->id),
                    "sector-size", (int) t->sector_size,
                    "identified", (json_int_t) info->nr_identified,
                    "entries", entries);
}

static json_t *
chain (const struct info *info)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < info->image.layers.len; ++i) {
    const struct image_layer *l = &info->image.layers.ptr[i];

    json_array_append_new (list, json_pack ("{s:o,s:o,s:o,s:o}",
      "name", output_json_text (l->name),
      "format", output_json_text (l->format),
      "type", output_json_text (l->type),
      "id", output_json_text (l->id)));
  }
  return list;
}

static json_t *
properties (const struct info *info)
{
  json_t *object = json_object ();

  for (size_t i = 0; i < info->image.properties.len; ++i)
    json_object_set_new (object, info->image.properties.ptr[i].key,
                         output_json_text (info->image.properties.ptr[i]
                                           .value));
  return object;
}

static json_t *
boot (const struct info *info)
{
  json_t *entries = json_array ();

  for (size_t i = 0; i < info->image.boot.len; ++i) {
    const struct image_boot_entry *e = &info->image.boot.ptr[i];

    json_array_append_new (entries, json_pack ("{s:o,s:o,s:b,s:o,s:o}",
      "platform", output_json_text (e->platform),
      "media", output_json_text (e->media),
      "bootable", e->bootable,
      "offset", bytes (e->off),
      "length", e->len ? bytes (e->len) : json_null ()));
  }
  return json_pack ("{s:b,s:o,s:o,s:o,s:b}",
                    "bios", info->has_boot_code,
                    "bios-loader", output_json_text (info->boot_loader),
                    "efi-loaders", output_json_text (info->whole.efi_loaders),
                    "el-torito", entries,
                    "hybrid", info->image.is_optical &&
                    info->table.scheme != PART_NONE);
}

static json_t *
created (const struct info *info)
{
  time_t t = (time_t) info->image.created;
  char str[64];
  struct tm tm;

  if (info->image.created < 0 || gmtime_r (&t, &tm) == NULL)
    return json_null ();
  strftime (str, sizeof str, "%Y-%m-%dT%H:%M:%SZ", &tm);
  return json_string (str);
}

static json_t *
warnings (const struct info *info)
{
  json_t *list = json_array ();

  for (size_t i = 0; i < info->report.lines.len; ++i)
    json_array_append_new (list,
                           output_json_text (info->report.lines.ptr[i]));
  return list;
}

json_t *
info_to_json (const struct info *info)
{
  const char *reason = image_readonly_reason (info->img);
  struct block_sizes sizes;
  json_t *json;

  image_get_sizes (info->img, &sizes);
  json = json_pack ("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
    "name", output_json_text (image_name (info->img)),
    "format", image_format (info->img),
    "type", output_json_text (info->image.type),
    "creator", output_json_text (info->image.creator),
    "created", created (info),
    "label", output_json_text (info->image.label),
    "size", bytes (image_size (info->img)),
    "file-size", bytes (info->image.file_size),
    "data", info_has_all_data (info) ? bytes (info->data) : json_null (),
    "allocation-size", info->image.allocation_size
                       ? bytes (info->image.allocation_size) : json_null ());
  if (json == NULL)
    return NULL;
  json_object_set_new (json, "sector-size", sizes.logical
                       ? bytes (sizes.logical) : json_null ());
  json_object_set_new (json, "optical",
                       json_boolean (info->image.is_optical));
  json_object_set_new (json, "can-be-written", json_boolean (reason == NULL));
  json_object_set_new (json, "not-written-because",
                       output_json_text (reason));
  json_object_set_new (json, "properties", properties (info));
  json_object_set_new (json, "chain", chain (info));
  json_object_set_new (json, "partitions", partition_table (info));
  json_object_set_new (json, "file-system", file_system (&info->whole.fs));
  json_object_set_new (json, "boot", boot (info));
  json_object_set_new (json, "warnings", warnings (info));
  return json;
}

static int
add_extent (void *opaque, const struct extent *e)
{
  return json_array_append_new (opaque, json_pack ("{s:o,s:o,s:s,s:i}",
    "offset", bytes (e->off), "length", bytes (e->len),
    "kind", extent_kind_to_string (e->kind), "layer", (int) e->layer)) == 0
    ? 0 : -ENOMEM;
}

json_t *
info_map_to_json (struct image *img, struct err *err)
{
  json_t *list = json_array ();
  uint64_t end;
  int r = list ? walk_extents (img, 0, add_extent, list, &end, err) : -ENOMEM;

  if (r == 0)
    return list;
  if (r == -ENOMEM)
    err_nomem (err);
  json_decref (list);
  return NULL;
}
