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

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "lib/copy/copy.h"
#include "tools/commands.h"
#include "tools/convert/convert.h"
#include "tools/image-options.h"
#include "tools/output.h"
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
  if (c->resume)
    command_usage_error (&command_convert, "--resume is for files: an export "
                         "has no place to remember how far it is");
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
  if (c->format == NULL)
    command_usage_error (&command_convert, "the name of the target does not "
                         "end in .vhd, .vhdx, .img or .raw; say --format");
  if (image_create_check_format (c->format, &err) < 0)
    command_usage_error (&command_convert, "%s", err.msg);
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

/*--- Source -----------------------------------------------------------------*/

static int
open_source (struct convert *c, struct convert_source *from, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  int r = image_options_check_folders (&c->from, err);

  if (r == 0)
    r = image_open (c->source, &c->source_options, &from->img, &report, err);
  if (r == 0)
    r = image_to_block (from->img, &from->disk, err);
  tool_warnings (c->source, &report);
  return r;
}

/* A partition table counts in the sectors of its disk. */
static void
choose_sectors (struct convert *c, const struct convert_source *from)
{
  struct block_sizes sizes;

  image_get_sizes (from->img, &sizes);
  if (sizes.logical != 4096)
    return;
  if (strcmp (c->format, "vhdx") == 0 && c->create.sector_size == 0)
    c->create.sector_size = 4096;
  if (strcmp (c->format, "vhd") == 0)
    tool_warning ("%s: its disk has sectors of 4096 bytes, and a VHD has "
                  "sectors of 512: partition tables may not be understood",
                  c->source);
}

/*--- The work ---------------------------------------------------------------*/

static int
save_state (void *opaque, uint64_t done, struct err *err)
{
  return copy_state_save (opaque, done, err);
}

static int
copy (const struct convert *c, const struct convert_source *from,
      struct convert_target *to, struct copy_result *result, struct job *job,
      struct err *err)
{
  const struct copy_options options = {
    .threads = c->threads,
    .unit = to->unit,
    .start = to->start,
    .target_is_zero = to->is_zero,
    .job = job,
    .checkpoint = to->state ? save_state : NULL,
    .opaque = to->state,
  };

  return copy_disk (from->disk, to->disk, &options, result, err);
}

static int
verify (const struct convert *c, const struct convert_source *from,
        struct convert_target *to, struct job *job, struct err *err)
{
  const struct copy_options options = { .threads = c->threads, .job = job };
  bool is_file = to->file.fd >= 0;
  uint64_t differs_at;
  int r = is_file ? convert_file_reopen (c, to, err) : 0;

  if (r == 0)
    r = copy_compare (from->disk, to->disk, is_file, &options, &differs_at,
                      err);
  if (r < 0 || differs_at == COPY_SAME)
    return r;
  if (is_file)
    convert_file_discard (to);
  return err_set (err, -EIO, "%s: has other bytes than the source at offset %"
                  PRIu64 "%s", c->target, differs_at,
                  is_file ? "; it was thrown away" : "");
}

static int
work (const struct convert *c, const struct convert_source *from,
      struct convert_target *to, struct copy_result *result, struct err *err)
{
  struct job job = JOB_INIT;
  struct progress *progress;
  int r = progress_start (&job, c->mode, c->target, &progress, err);

  if (r < 0)
    return r;
  r = copy (c, from, to, result, &job, err);
  if (r == 0 && c->verify)
    r = verify (c, from, to, &job, err);
  if (r == 0 && to->file.fd >= 0) {
    job_start (&job, "finishing", 0);
    r = convert_file_commit (to, err);
    if (r < 0)
      err_in (err, "%s", c->target);
  }
  progress_stop (progress);
  return r;
}

/*--- The result -------------------------------------------------------------*/

static int
show (const struct convert *c, const struct convert_source *from,
      const struct convert_target *to, const struct copy_result *result)
{
  uint64_t size = block_size (from->disk);
  char text[SIZE_STRING_SIZE];

  if (c->json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:b}",
      "source", output_json_text (c->source),
      "name", output_json_text (c->target),
      "format", output_json_text (c->format),
      "size", json_integer ((json_int_t) to->size),
      "source-size", json_integer ((json_int_t) size),
      "data", json_integer ((json_int_t) result->data),
      "resumed-at", to->start ? json_integer ((json_int_t) to->start)
                              : json_null (),
      "verified", c->verify && !c->dry_run,
      "held", output_json_text (to->contents),
      "changed", !c->dry_run));
  if (!c->dry_run && to->file.fd >= 0 && to->size != size) {
    output_text (c->target);
    printf (": a disk of %s (%" PRIu64 " bytes, %" PRIu64 " more than the "
            "source)\n", size_to_string (to->size, text), to->size,
            to->size - size);
  }
  return STATUS_DONE;
}

static int
fail (const struct convert *c, const struct convert_target *to,
      const struct err *err)
{
  int status = tool_fail (err->code == -ECANCELED ? c->target : NULL, err);

  if (to->state && to->file.kept && to->file.partial)
    tool_note ("%s: %s beside it has what is done; the same command goes on",
               c->target, to->file.partial);
  return status;
}

/* The plan of what is made anew is what was typed. */
static int
look (const struct convert *c, const struct convert_source *from,
      struct convert_target *to, struct err *err)
{
  bool is_export = block_nbd_is_uri (c->target);
  int r = convert_check_not_same (c, from, err);

  if (r < 0 || (!is_export && !c->dry_run))
    return r;
  r = is_export ? convert_export_open (c, from, to, err)
                : convert_file_look (c, to, err);
  if (r == 0)
    convert_show_plan (c, from, to);
  return r;
}

static int
convert_to (const struct convert *c, const struct convert_source *from,
            struct convert_target *to)
{
  struct copy_result result = { .done = 0 };
  struct err err = ERR_INIT;
  int r = look (c, from, to, &err);

  if (r == 0 && !c->dry_run)
    r = block_nbd_is_uri (c->target) ? convert_confirm (c, to, &err)
                                     : convert_file_open (c, from, to, &err);
  if (r < 0) {
    int status = tool_fail (c->target, &err);

    return to->cannot_be ? STATUS_USAGE : status;
  }
  if (c->dry_run)
    return show (c, from, to, &result);
  if (work (c, from, to, &result, &err) < 0)
    return fail (c, to, &err);
  return show (c, from, to, &result);
}

static int
convert (struct convert *c)
{
  struct convert_source from = { .img = NULL };
  struct convert_target to = { .file = NEW_FILE_INIT };
  struct err err = ERR_INIT;
  int status;

  if (open_source (c, &from, &err) < 0)
    status = tool_fail (c->source, &err);
  else {
    c->create.size = block_size (from.disk);
    choose_sectors (c, &from);
    status = convert_to (c, &from, &to);
  }
  block_unref (to.disk);
  free (to.contents);
  copy_state_close (to.state);
  new_file_close (&to.file);
  block_unref (from.disk);
  image_unref (from.img);
  return status;
}

static int
run (int argc, char *argv[])
{
  struct convert c = { .confirm = CONVERT_NO_SIZE };
  int first;

  command_parse (&command_convert, argc, argv, &c, &first);
  if (argc - first != 2)
    command_usage_error (&command_convert, "expected a source and a target");
  c.source = argv[first];
  c.target = argv[first + 1];
  check (&c);
  return convert (&c);
}

const struct command command_convert = {
  .name = "convert",
  .operands = "SOURCE TARGET",
  .summary = "Copy a disk into an image of another format, or to an export",
  .options = convert_options,
  .run = run,
};
