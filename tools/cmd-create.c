/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage create: make an empty disk in a new file, or a differencing one
 * over another image.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/format/create.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/report.h"

struct create {
  const char *format;
  const char *parent;
  const char *parent_path;
  const char *geometry;
  uint64_t block_size, sector_size, physical_sector_size;
  bool fixed;
  bool azure;
  bool preallocate;
  bool json;

  const char *path;
  uint64_t size;                /* bytes; 0: that of the parent */
};

static const struct option_spec create_options[] = {
  { "format", 'f', OPTION_STRING, "vhd|vhdx|raw",
    "the format of the new image; as its name ends, or vhd",
    offsetof (struct create, format) },
  { "parent", 0, OPTION_STRING, "IMAGE",
    "make a differencing disk over this VHD or VHDX",
    offsetof (struct create, parent) },
  { "parent-path", 0, OPTION_STRING, "FOLDER[:FOLDER…]",
    "where parents of IMAGE may lie besides",
    offsetof (struct create, parent_path) },
  { "fixed", 0, OPTION_FLAG, NULL,
    "a disk that does not grow",
    offsetof (struct create, fixed) },
  { "azure", 0, OPTION_FLAG, NULL,
    "a VHD for Azure: fixed, and of whole MiB",
    offsetof (struct create, azure) },
  { "preallocate", 0, OPTION_FLAG, NULL,
    "take the space of a fixed or raw disk at once",
    offsetof (struct create, preallocate) },
  { "block-size", 0, OPTION_SIZE, "512K|1M|2M|…|256M",
    "the unit in which the image grows",
    offsetof (struct create, block_size) },
  { "sector-size", 0, OPTION_SIZE, "512|4096",
    "sectors of a VHDX; 512 unless said",
    offsetof (struct create, sector_size) },
  { "physical-sector-size", 0, OPTION_SIZE, "512|4096",
    "those a VHDX states for its medium; 4096 unless said",
    offsetof (struct create, physical_sector_size) },
  { "geometry", 0, OPTION_STRING, "none|chs",
    "chs: round up to cylinders, for Virtual PC and old BIOSes",
    offsetof (struct create, geometry) },
  { "json", 0, OPTION_FLAG, NULL,
    "print what was made as JSON", offsetof (struct create, json) },
  OPTION_END
};

/* As the name says: one that can't be made is refused. */
static const char *
format_by_name (const char *path)
{
  const char *format = image_format_by_name (path);

  return format ? format : "vhd";
}

static void
check (struct create *c, const char *size, struct image_create_options *o)
{
  struct err err = ERR_INIT;

  if (c->format == NULL)
    c->format = format_by_name (c->path);
  if (image_create_check_format (c->format, &err) < 0)
    command_usage_error (&command_create, "%s", err.msg);
  if (c->geometry && strcmp (c->geometry, "none") != 0 &&
      strcmp (c->geometry, "chs") != 0)
    command_usage_error (&command_create, "‘%s’ is not a geometry; expected "
                         "none or chs", c->geometry);
  if (size == NULL && c->parent == NULL)
    command_usage_error (&command_create, "expected a size, like 20G, or "
                         "--parent");
  if (size && size_parse (size, &c->size, &err) < 0)
    command_usage_error (&command_create, "%s", err.msg);
  if (size && c->size == 0)
    command_usage_error (&command_create, "a disk of 0 bytes can't be made");
  if (c->block_size > UINT32_MAX || c->sector_size > UINT32_MAX ||
      c->physical_sector_size > UINT32_MAX)
    command_usage_error (&command_create, "--%s-size: that is too large",
                         c->block_size > UINT32_MAX ? "block" : "sector");
  *o = (struct image_create_options) {
    .format = c->format,
    .kind = c->fixed ? IMAGE_FIXED : IMAGE_DYNAMIC,
    .size = c->size,
    .block_size = (uint32_t) c->block_size,
    .sector_size = (uint32_t) c->sector_size,
    .physical_sector_size = (uint32_t) c->physical_sector_size,
    .preallocate = c->preallocate,
    .azure = c->azure,
    .chs = c->geometry && strcmp (c->geometry, "chs") == 0,
    .parent = c->parent,
  };
}

static int
show (const struct create *c, uint64_t size)
{
  char text[SIZE_STRING_SIZE];

  if (c->json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:o}",
      "name", output_json_text (c->path),
      "format", output_json_text (c->format),
      "size", json_integer ((json_int_t) size),
      "parent", output_json_text (c->parent)));
  if (size != c->size) {
    output_text (c->path);
    printf (": a disk of %s (%llu bytes)\n", size_to_string (size, text),
            (unsigned long long) size);
  }
  return STATUS_DONE;
}

static int
create (const struct create *c, struct image_create_options *o)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct image_options parent_options = { .parent_path = c->parent_path };
  struct err err = ERR_INIT;
  uint64_t size;
  int r, status;

  o->parent_options = &parent_options;
  r = image_create (c->path, o, &size, &report, &err);
  tool_warnings (c->path, &report);
  if (r == 0)
    return show (c, size);
  status = tool_fail (c->path, &err);
  return r == -EINVAL ? STATUS_USAGE : status;  /* no such image can be */
}

static int
run (int argc, char *argv[])
{
  struct create c = { .format = NULL };
  struct image_create_options options;
  int first;

  command_parse (&command_create, argc, argv, &c, &first);
  if (argc - first < 1 || argc - first > 2)
    command_usage_error (&command_create, "expected a file to make and a "
                         "size");
  c.path = argv[first];
  check (&c, argc - first == 2 ? argv[first + 1] : NULL, &options);
  return create (&c, &options);
}

const struct command command_create = {
  .name = "create",
  .operands = "FILE [SIZE]",
  .summary = "Make an empty disk, or one over another",
  .options = create_options,
  .run = run,
};
