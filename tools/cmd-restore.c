/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage restore: a disk, or partitions of it, from an image onto a disk.
 * tools/restore/restore-tool.h says where the parts are.
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
#include "lib/copy/copy.h"
#include "lib/repo/image-nbi.h"
#include "tools/commands.h"
#include "tools/image-options.h"
#include "tools/report.h"
#include "tools/restore/restore-tool.h"

#define SHOWN_RANGES 10

static const struct option_spec restore_options[] = {
  { "partition", 0, OPTION_STRING, "N[:M][,N[:M]…]",
    "only partition N of the image, onto partition M, or N, of the target",
    offsetof (struct restore_command, partition) },
  { "dry-run", 'n', OPTION_FLAG, NULL,
    "show the plan, and do nothing",
    offsetof (struct restore_command, dry_run) },
  { "yes", 'y', OPTION_FLAG, NULL,
    "write to a target that is empty, without asking",
    offsetof (struct restore_command, yes) },
  { "confirm", 0, OPTION_STRING, "SERIAL|SIZE",
    "overwrite the target with that serial number; or size, if it has none",
    offsetof (struct restore_command, confirm) },
  { "allow-unreadable", 0, OPTION_FLAG, NULL,
    "zeros instead of what can't be read of the image, listed at the end",
    offsetof (struct restore_command, allow_unreadable) },
  { "allow-absent", 0, OPTION_FLAG, NULL,
    "all of the disk, although partitions were left out of the backup",
    offsetof (struct restore_command, allow_absent) },
  { "no-verify", 0, OPTION_FLAG, NULL,
    "do not read the target afterwards, to compare",
    offsetof (struct restore_command, no_verify) },
  { "target-format", 0, OPTION_STRING, "raw|vhd|vhdx",
    "the format of a file as the target, unless its name or contents say it",
    offsetof (struct restore_command, target_format) },
  { "threads", 0, OPTION_UNSIGNED, "N",
    "how many parts to copy at the same time; 4 unless said",
    offsetof (struct restore_command, threads) },
  PROGRESS_OPTION (struct restore_command, progress),
  { "json", 0, OPTION_FLAG, NULL,
    "print what was done as JSON", offsetof (struct restore_command, json) },
  IMAGE_OPTIONS (struct restore_command, image),
  OVERLAY_OPTION (struct restore_command, image),
  OPTION_END
};

/*--- The command line -------------------------------------------------------*/

static void
check (struct restore_command *c)
{
  struct err err = ERR_INIT;

  if (progress_mode_parse (c->progress, &c->mode, &err) < 0 ||
      image_options_from_values (&c->image, &c->source_options, &err) < 0 ||
      (c->partition &&
       restore_choices_parse (c->partition, &c->choices, &err) < 0) ||
      (c->target_format &&
       image_create_check_format (c->target_format, &err) < 0))
    command_usage_error (&command_restore, "%s", err.msg);
  if (c->threads > COPY_MAX_THREADS)
    command_usage_error (&command_restore, "--threads: at most %u",
                         COPY_MAX_THREADS);
  c->source_options.lock = true;
  c->source_options.overlay_must_exist = true;
}

/*--- Looking ----------------------------------------------------------------*/

/* With --allow-unreadable a table that can't be read is no reason not to
 * restore the rest; what it was is not known then.
 */
static int
look_at_source (struct restore_command *c, struct report *report,
                struct err *err)
{
  struct err why = ERR_INIT;
  struct block_sizes sizes;
  int r;

  image_get_sizes (c->img, &sizes);
  r = restore_contents_look (c->disk, part_sector_size (sizes.logical),
                             &c->contents, report, &why);
  if (r < 0 && !c->allow_unreadable)
    return err_set (err, r, "looking at its partitions: %s%s", why.msg,
                    r == -EIO ? "; --allow-unreadable restores the rest" : "");
  if (r < 0) {
    report_warn (report, "its partitions are not known: %s", why.msg);
    r = restore_contents_unknown (&c->contents, err);
  }
  c->looked = r == 0;
  return r;
}

/* What a target held is not given up for a backup of which a part is known to
 * be missing; unless whoever asks wants the rest.
 */
static int
open_files (struct restore_command *c, struct err *err)
{
  struct err why = ERR_INIT;
  int r = nbi_image_open_files (c->img, &why);

  return r == 0 || (r == -EBADMSG && c->allow_unreadable) ? 0
    : err_set (err, r, "%s", why.msg);
}

/* Partitions that were left out of the backup are none of what is restored,
 * unless whoever asks knows.
 */
static int
look_for_absent (struct restore_command *c, struct err *err)
{
  const struct absent_vector *absent = nbi_image_absent (c->img);
  CLEANUP_FREE char *text = NULL;

  for (size_t i = 0; i < absent->len; ++i)
    if (vector_append (&c->absent, &absent->ptr[i]) < 0)
      return err_nomem (err);
  if (absent->len == 0)
    return 0;
  for (size_t i = 0; i < c->choices.len; ++i)
    if (absent_has (absent, c->choices.ptr[i].from))
      return err_set (err, -EINVAL, "partition %u was left out of this backup",
                      c->choices.ptr[i].from);
  if (c->choices.len > 0)
    return 0;
  if (c->allow_absent) {
    nbi_image_allow_absent (c->img);
    return 0;
  }
  text = absent_to_text (absent);
  return text == NULL ? err_nomem (err)
    : err_set (err, -EINVAL, "%s %s left out of this backup: --partition "
               "restores those that it has, --allow-absent all of the disk "
               "without %s", text, absent->len == 1 ? "was" : "were",
               absent->len == 1 ? "it" : "them");
}

/* A disk that lost what made it a VHD is not restored as if that were nothing.
 */
static int
open_source (struct restore_command *c, struct report *report,
             struct err *err)
{
  int r = image_options_check_folders (&c->image, err);

  if (r == 0)
    r = image_open (c->source, &c->source_options, &c->img, report, err);
  if (r == 0)
    r = image_check_recognised (c->img, err);
  if (r == 0)
    r = look_for_absent (c, err);
  if (r == 0)
    r = open_files (c, err);
  if (r == 0)
    r = image_to_block (c->img, &c->disk, err);
  if (r < 0)
    return r;
  if (block_size (c->disk) == 0)
    return err_set (err, -EINVAL, "the disk has 0 bytes: there is nothing to "
                    "restore");
  return look_at_source (c, report, err);
}

static void
describe_target (const struct restore_command *c, struct restore_disk *to)
{
  struct block_sizes sizes = { .logical = 0 };

  if (c->to.disk != NULL)
    block_get_sizes (c->to.disk, &sizes);
  *to = (struct restore_disk) {
    .block = c->to.disk, .size = c->to.size, .sector_size = sizes.logical,
    .contents = c->to.looked ? &c->to.contents : NULL,
    .partition = c->to.device.partition,
    .is_device = c->to.kind == RESTORE_DEVICE,
  };
}

static int
make_plan (struct restore_command *c, struct report *report, struct err *err)
{
  struct restore_disk from = {
    .block = c->disk, .size = block_size (c->disk), .contents = &c->contents,
  };
  struct restore_disk to;
  struct block_sizes sizes;
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (c->img, &info, err);

  if (r < 0)
    return r;
  from.is_optical = info.is_optical;
  image_get_sizes (c->img, &sizes);
  from.sector_size = sizes.logical;
  describe_target (c, &to);
  r = restore_plan_make (&from, &to, &c->choices, &c->plan, report, err);
  c->planned = r == 0;
  return r;
}

/* Reading maps of a large disk may take its time. */
static int
survey (struct restore_command *c, struct err *err)
{
  struct job job = JOB_INIT;
  struct progress *progress;
  int r = progress_start (&job, c->mode, c->source, &progress, err);

  if (r < 0)
    return r;
  r = restore_plan_survey (&c->plan, c->disk, &job, err);
  progress_stop (progress);
  return r;
}

/* Zeros never stand in for what is lost, unless whoever asks wants that. */
static int
check_unreadable (struct restore_command *c, struct err *err)
{
  const struct restore_ranges *ranges = &c->plan.unreadable;
  char str[SIZE_STRING_SIZE];

  if (ranges->len == 0 || c->allow_unreadable)
    return 0;
  for (size_t i = 0; i < ranges->len && i < SHOWN_RANGES; ++i)
    restore_warn_of_range (c, &ranges->ptr[i], "could not be read when it was "
                           "saved");
  return err_set (err, -EIO, "%s of the disk could not be read when it was "
                  "saved, in %zu%s places; --allow-unreadable writes zeros "
                  "there", size_to_string (c->plan.totals.unreadable, str),
                  ranges->len, ranges->len == RESTORE_LISTED ? " or more"
                  : "");
}

/*--- The steps --------------------------------------------------------------*/

static int
look (struct restore_command *c, struct report *report, struct err *err)
{
  int r = restore_target_look (c, report, err);

  return r < 0 ? r : make_plan (c, report, err);
}

static int
begin (struct restore_command *c, struct report *report, struct err *err)
{
  int r = restore_confirm (c, err);

  return r < 0 ? r : restore_target_begin (c, report, err);
}

static int
fail (struct restore_command *c, const struct err *err)
{
  int status = tool_fail (err->code == -ECANCELED ? c->name : NULL, err);

  if (c->result.wiped && c->to.kind != RESTORE_NEW)
    tool_note ("%s: unfinished: what it held is lost, and its first sectors "
               "are zeros unless writing these failed too, so that nothing "
               "takes it for whole; the same command begins again", c->name);
  if (c->json)
    restore_show_result (c);
  return status;
}

static int
write_it (struct restore_command *c)
{
  struct err err = ERR_INIT;
  const char *note;

  if (restore_work (c, &note, &err) < 0)
    return fail (c, &err);
  if (note)
    tool_note ("%s: %s", c->name, note);
  return restore_show_result (c);
}

static int
restore_to (struct restore_command *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  int r = look (c, &report, &err);

  tool_warnings (c->name, &report);
  if (r < 0) {
    int status = tool_fail (c->name, &err);

    return c->cannot_be ? STATUS_USAGE : status;
  }
  r = survey (c, &err);
  if (r == 0)
    r = check_unreadable (c, &err);
  if (r < 0)
    return tool_fail (c->source, &err);
  restore_show_plan (c);
  if (c->dry_run)
    return restore_show_result (c);
  r = begin (c, &report, &err);
  tool_warnings (c->name, &report);
  return r < 0 ? tool_fail (c->name, &err) : write_it (c);
}

static void
close_all (struct restore_command *c)
{
  restore_target_close (&c->to);
  if (c->planned)
    restore_plan_free (&c->plan);
  vector_free (&c->lost);
  vector_free (&c->absent);
  vector_free (&c->choices);
  if (c->looked)
    restore_contents_free (&c->contents);
  block_unref (c->disk);
  image_unref (c->img);
}

static int
run (int argc, char *argv[])
{
  struct restore_command c = { .to = RESTORE_TARGET_INIT };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  int first, status, r;

  command_parse (&command_restore, argc, argv, &c, &first);
  if (argc - first != 2)
    command_usage_error (&command_restore, "expected an image and a target");
  if (argv[first][0] == '\0' || argv[first + 1][0] == '\0')
    command_usage_error (&command_restore, "the name of the %s is empty",
                         argv[first][0] == '\0' ? "image" : "target");
  c.source = argv[first];
  c.name = argv[first + 1];
  check (&c);
  r = open_source (&c, &report, &err);
  tool_warnings (c.source, &report);
  status = r < 0 ? tool_fail (c.source, &err) : restore_to (&c);
  close_all (&c);
  return status;
}

const struct command command_restore = {
  .name = "restore",
  .operands = "IMAGE TARGET",
  .summary = "Put a disk, or partitions of it, from an image onto a disk",
  .options = restore_options,
  .run = run,
};
