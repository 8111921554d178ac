/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage convert: the disk of one image in another, new one, or in an NBD
 * export.  tools/convert/convert.h says where the parts are.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/block/nbd.h"
#include "lib/copy/copy.h"
#include "tools/commands.h"
#include "tools/convert/convert.h"
#include "tools/image-options.h"
#include "tools/report.h"

static const struct option_spec convert_options[] = {
  { "format", 'O', OPTION_STRING, "raw|vhd|vhdx",
    "the format of TARGET, unless its name says it",
    offsetof (struct convert, format) },
  { "fixed", 0, OPTION_FLAG, NULL,
    "a VHD or VHDX that does not grow", offsetof (struct convert, fixed) },
  { "azure", 0, OPTION_FLAG, NULL,
    "a VHD for Azure: fixed, and of whole MiB",
    offsetof (struct convert, azure) },
  { "preallocate", 0, OPTION_FLAG, NULL,
    "take the space of a fixed or raw disk at once",
    offsetof (struct convert, preallocate) },
  { "block-size", 0, OPTION_SIZE, "512K|1M|2M|…|256M",
    "the unit in which TARGET grows", offsetof (struct convert, block_size) },
  { "sector-size", 0, OPTION_SIZE, "512|4096",
    "sectors of a VHDX; those of SOURCE unless said",
    offsetof (struct convert, sector_size) },
  { "geometry", 0, OPTION_STRING, "none|chs",
    "chs: round up to cylinders, for Virtual PC and old BIOSes",
    offsetof (struct convert, geometry) },
  { "resume", 0, OPTION_FLAG, NULL,
    "keep what is done when interrupted, and go on with it",
    offsetof (struct convert, resume) },
  { "state", 0, OPTION_STRING, "FILE",
    "where to note how far it is, to --resume with an NBD export",
    offsetof (struct convert, state) },
  { "verify", 0, OPTION_FLAG, NULL,
    "read TARGET afterwards, and compare",
    offsetof (struct convert, verify) },
  { "dry-run", 'n', OPTION_FLAG, NULL,
    "say what would be done, and do nothing",
    offsetof (struct convert, dry_run) },
  { "yes", 'y', OPTION_FLAG, NULL,
    "write to an NBD export that is empty, without asking",
    offsetof (struct convert, yes) },
  { "confirm", 0, OPTION_SIZE, "SIZE",
    "overwrite what an NBD export of that size holds",
    offsetof (struct convert, confirm) },
  { "threads", 0, OPTION_UNSIGNED, "N",
    "how many parts to copy at the same time; 4 unless said",
    offsetof (struct convert, threads) },
  PROGRESS_OPTION (struct convert, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print what was done as JSON", offsetof (struct convert, json) },
  { "source-format", 'f', OPTION_STRING, "FORMAT",
    "the format of SOURCE, instead of finding out",
    offsetof (struct convert, from.format) },
  OVERLAY_OPTION (struct convert, from),
  IMAGE_OPTIONS_BUT_FORMAT (struct convert, from),
  OPTION_END
};

/*--- What was typed ---------------------------------------------------------*/

static void
check_export (const struct convert *c)
{
  if (c->format && strcmp (c->format, "raw") != 0)
    command_usage_error (&command_convert, "an NBD export is given the bytes "
                         "of the disk; there is no --format=%s", c->format);
  if (c->fixed || c->azure || c->preallocate || c->block_size ||
      c->sector_size || c->geometry)
    command_usage_error (&command_convert, "--fixed, --azure, --preallocate, "
                         "--block-size, --sector-size and --geometry are for "
                         "files");
  if (c->resume && c->state == NULL)
    command_usage_error (&command_convert, "--resume: an export has no place "
                         "to remember how far it is; --state=FILE says where "
                         "else");
}

/* Whoever goes by names takes it for something else.  Most likely the format
 * of the source was meant.
 */
static void
warn_of_name (const struct convert *c)
{
  const char *ending = image_format_by_name (c->target);

  if (ending && strcmp (ending, c->format) != 0)
    tool_warning ("%s: becomes %s %s image, and its name ends as that of %s "
                  "%s image does; --format is the format of the target, "
                  "--source-format that of the source", c->target,
                  text_article (c->format), c->format, text_article (ending),
                  ending);
}

static void
choose_format (struct convert *c)
{
  struct err err = ERR_INIT;

  if (block_nbd_is_uri (c->target)) {
    check_export (c);
    c->format = "raw";
  }
  else if (c->format == NULL)
    c->format = image_format_by_name (c->target);
  if (strcmp (c->target, "-") == 0)
    command_usage_error (&command_convert, "a disk can't be written to "
                         "standard output; a file of that name is ./-");
  if (c->format == NULL)
    command_usage_error (&command_convert, "the name of the target does not "
                         "end in .vhd, .vhdx, .img or .raw; say --format");
  if (image_create_check_format (c->format, &err) < 0)
    command_usage_error (&command_convert, "%s", err.msg);
  if (!block_nbd_is_uri (c->target))
    warn_of_name (c);
  if (c->state && (!c->resume || !block_nbd_is_uri (c->target)))
    command_usage_error (&command_convert, "--state goes with --resume, and "
                         "is for NBD exports");
  if (c->confirm != CONVERT_NO_SIZE && !block_nbd_is_uri (c->target))
    command_usage_error (&command_convert, "--confirm is for NBD exports: a "
                         "file that is there is never overwritten");
}

static void
check_source_options (struct convert *c)
{
  struct err err = ERR_INIT;

  if (c->from.format && image_format_check (c->from.format, &err) < 0)
    command_usage_error (&command_convert, "--source-format: %s", err.msg);
  if (image_options_from_values (&c->from, &c->source_options, &err) < 0)
    command_usage_error (&command_convert, "%s", err.msg);
  c->source_options.lock = true;
  c->source_options.overlay_must_exist = true;
}

static void
check (struct convert *c)
{
  struct err err = ERR_INIT;

  choose_format (c);
  check_source_options (c);
  if (progress_mode_parse (c->progress, &c->mode, &err) < 0)
    command_usage_error (&command_convert, "%s", err.msg);
  if (c->threads > COPY_MAX_THREADS)
    command_usage_error (&command_convert, "--threads: at most %u",
                         COPY_MAX_THREADS);
  if (c->geometry && strcmp (c->geometry, "none") != 0 &&
      strcmp (c->geometry, "chs") != 0)
    command_usage_error (&command_convert, "‘%s’ is not a geometry; expected "
                         "none or chs", c->geometry);
  if (c->block_size > UINT32_MAX || c->sector_size > UINT32_MAX)
    command_usage_error (&command_convert, "--%s-size: that is too large",
                         c->block_size > UINT32_MAX ? "block" : "sector");
  c->create = (struct image_create_options) {
    .format = c->format,
    .kind = c->fixed ? IMAGE_FIXED : IMAGE_DYNAMIC,
    .block_size = (uint32_t) c->block_size,
    .sector_size = (uint32_t) c->sector_size,
    .preallocate = c->preallocate,
    .azure = c->azure,
    .chs = c->geometry && strcmp (c->geometry, "chs") == 0,
  };
}

/*--- The command ------------------------------------------------------------*/

static int
run (int argc, char *argv[])
{
  struct convert c = { .confirm = CONVERT_NO_SIZE };
  int first;

  /* Its --format is the target's. */
  image_format_option = "--source-format";
  command_parse (&command_convert, argc, argv, &c, &first);
  if (argc - first != 2)
    command_usage_error (&command_convert, "expected a source and a target");
  c.source = argv[first];
  c.target = argv[first + 1];
  check (&c);
  return convert_run (&c);
}

const struct command command_convert = {
  .name = "convert",
  .operands = "SOURCE TARGET",
  .summary = "Copy a disk into an image of another format, or to an export",
  .options = convert_options,
  .run = run,
};
