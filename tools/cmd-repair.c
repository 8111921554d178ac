/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage repair: mend an image, after showing how, or take that back. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/file.h"
#include "lib/block/nbd.h"
#include "lib/format/undo.h"
#include "tools/check-output.h"
#include "tools/commands.h"
#include "tools/image-options.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/report.h"

/* Steps that are shown to people; of more their number. */
#define MAX_SHOWN 100

struct repair {
  const char *format;
  const char *parent_path;
  const char *undo;
  const char *revert;
  const char *progress;
  bool dry_run;
  bool yes;
  bool discard_log;
  bool keep_leaks;
  bool json;

  const char *name;
  enum progress_mode mode;
};

static const struct option_spec repair_options[] = {
  { "dry-run", 'n', OPTION_FLAG, NULL,
    "show what would be done, and change nothing",
    offsetof (struct repair, dry_run) },
  { "yes", 'y', OPTION_FLAG, NULL,
    "do it without asking", offsetof (struct repair, yes) },
  { "undo", 0, OPTION_STRING, "FILE",
    "where to write the undo file; IMAGE.undo unless said",
    offsetof (struct repair, undo) },
  { "revert", 0, OPTION_STRING, "FILE",
    "take a repair back with its undo file",
    offsetof (struct repair, revert) },
  { "discard-log", 0, OPTION_FLAG, NULL,
    "give up the log of a VHDX that can't be replayed",
    offsetof (struct repair, discard_log) },
  { "keep-leaks", 0, OPTION_FLAG, NULL,
    "leave space that nothing names alone",
    offsetof (struct repair, keep_leaks) },
  { "format", 'f', OPTION_STRING, "FORMAT",
    "the format of the image, instead of finding out",
    offsetof (struct repair, format) },
  { "parent-path", 0, OPTION_STRING, "FOLDER[:FOLDER…]",
    "where parents of differencing disks may lie besides",
    offsetof (struct repair, parent_path) },
  { "json", 0, OPTION_FLAG, NULL,
    "print everything as JSON", offsetof (struct repair, json) },
  PROGRESS_OPTION (struct repair, progress),
  OPTION_END
};

/*--- The plan ---------------------------------------------------------------*/

static void
show_step (const struct repair_step *s)
{
  switch (s->kind) {
  case REPAIR_WRITE:
  case REPAIR_COPY:
    printf ("  write %" PRIu64 " byte%s at offset %" PRIu64 ": %s\n", s->len,
            s->len == 1 ? "" : "s", s->off, s->why);
    break;
  case REPAIR_ZERO:
    printf ("  write %" PRIu64 " zeros at offset %" PRIu64 ": %s\n", s->len,
            s->off, s->why);
    break;
  case REPAIR_PUNCH:
    printf ("  punch a hole of %" PRIu64 " bytes at offset %" PRIu64 ": %s\n",
            s->len, s->off, s->why);
    break;
  case REPAIR_RESIZE:
    printf ("  give the file %" PRIu64 " bytes: %s\n", s->off, s->why);
    break;
  }
}

static void
show_plan (const struct repair *c, const struct check *check,
           const struct repair_plan *plan, const char *undo)
{
  check_output_findings (c->name, check);
  if (plan->steps.len == 0)
    return;
  printf ("To be done:\n");
  for (size_t i = 0; i < plan->steps.len && i < MAX_SHOWN; ++i)
    show_step (&plan->steps.ptr[i]);
  if (plan->steps.len > MAX_SHOWN)
    printf ("  … and %zu more steps\n", plan->steps.len - MAX_SHOWN);
  printf ("What is changed is kept in ");
  output_text (undo);
  printf (" before\n");
}

static json_t *
bytes (uint64_t n)
{
  return json_integer ((json_int_t) n);
}

static json_t *
steps_json (const struct repair_plan *plan)
{
  json_t *steps = json_array ();

  for (size_t i = 0; i < plan->steps.len; ++i) {
    const struct repair_step *s = &plan->steps.ptr[i];

    json_array_append_new (steps, json_pack (
      "{s:s,s:o,s:o,s:o}",
      "action", repair_kind_to_string (s->kind),
      "offset", bytes (s->off),
      "length", bytes (s->len),
      "why", output_json_text (s->why)));
  }
  return steps;
}

/* after NULL: nothing was done. */
static int
print_json (const struct repair *c, const struct check *before,
            const struct repair_plan *plan, const char *undo,
            const struct check *after)
{
  return output_json (json_pack (
    "{s:o,s:b,s:o,s:o,s:o,s:o,s:o}",
    "name", output_json_text (c->name),
    "done", after != NULL,
    "refused", output_json_text (plan->refusal),
    "steps", steps_json (plan),
    "undo", after ? output_json_text (undo) : json_null (),
    "before", check_output_json (c->name, before),
    "after", after ? check_output_json (c->name, after) : json_null ()));
}

/*--- Doing it ---------------------------------------------------------------*/

static bool
ask (void)
{
  char line[16];

  printf ("Do it? [y/N] ");
  fflush (stdout);
  return fgets (line, sizeof line, stdin) != NULL &&
    (strcmp (line, "y\n") == 0 || strcmp (line, "yes\n") == 0);
}

/* May it be done?  If not, *status is why. */
static bool
is_confirmed (const struct repair *c, int *status)
{
  *status = STATUS_FAILED;
  if (c->yes)
    return true;
  if (c->json || !isatty (STDIN_FILENO)) {
    tool_error ("nothing was changed: use --yes to have it done without being "
                "asked, or --dry-run to see what would be");
    return false;
  }
  if (ask ())
    return true;
  tool_note ("nothing was changed");
  return false;
}

static int
apply (const struct repair *c, struct block *block,
       const struct repair_plan *plan, const char *undo, struct err *err)
{
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  int r = progress_start (&job, c->mode, c->name, &progress, err);

  if (r == 0)
    r = repair_apply (block, plan, undo, &job, err);
  progress_stop (progress);
  return r;
}

/* What is left. */
static int
show_after (const struct repair *c, const struct check *before,
            const struct repair_plan *plan, const char *undo,
            const struct check *after)
{
  int status = check_output_status (after);

  if (c->json)
    return print_json (c, before, plan, undo, after) == STATUS_DONE
      ? status : STATUS_FAILED;
  printf ("Done; ‘nbdimage repair --revert ");
  output_shell_word (undo);
  putchar (' ');
  output_shell_word (c->name);
  printf ("’ takes it back\n");
  check_output_findings (c->name, after);
  check_output_summary (c->name, c->format, after);
  return status;
}

/* After a failure in its midst. */
static void
say_how_to_go_on (const struct repair *c, const char *undo)
{
  CLEANUP_FREE char *undo_word = shell_word (undo);
  CLEANUP_FREE char *name_word = shell_word (c->name);

  if (undo_word && name_word && access (undo, F_OK) == 0)
    tool_note ("repair it again to finish, or take back what was done with "
               "‘nbdimage repair --revert %s %s’", undo_word, name_word);
}

static int
repair_block (const struct repair *c, struct block *block,
              const struct image_options *options, const struct check *before,
              const struct repair_plan *plan, const char *undo)
{
  CLEANUP_CHECK struct check after = CHECK_INIT;
  struct err err = ERR_INIT;
  int status;

  if (!c->json)
    show_plan (c, before, plan, undo);
  if (c->dry_run)
    return c->json && print_json (c, before, plan, undo, NULL) != STATUS_DONE
      ? STATUS_FAILED : check_output_status (before);
  if (!is_confirmed (c, &status))
    return status;
  if (apply (c, block, plan, undo, &err) < 0) {
    tool_fail (c->name, &err);
    say_how_to_go_on (c, undo);
    return STATUS_FAILED;
  }
  if (image_check_block (block, options, 0, &after, &err) < 0)
    return tool_fail (c->name, &err);
  return show_after (c, before, plan, undo, &after);
}

/* Nothing is to be done. */
static int
show_nothing (const struct repair *c, const struct check *check,
              const struct repair_plan *plan)
{
  int status = check_output_status (check);

  if (c->json)
    status = print_json (c, check, plan, NULL, NULL) == STATUS_DONE
      ? status : STATUS_FAILED;
  else
    check_output_findings (c->name, check);
  if (plan->refusal) {
    tool_error ("%s: nothing is changed: %s", c->name, plan->refusal);
    return status == STATUS_DONE ? STATUS_FAILED : status;
  }
  if (!c->json) {
    output_text (c->name);
    printf (": there is nothing to repair\n");
  }
  return status;
}

/*--- The image --------------------------------------------------------------*/

/* Held against everybody else, unless nothing is to be changed. */
static int
open_image (const struct repair *c, struct block **block,
            struct report *report, struct err *err)
{
  unsigned flags = BLOCK_FILE_LOCK | (c->dry_run ? 0 : BLOCK_FILE_WRITE);

  if (block_nbd_is_uri (c->name))
    return err_set (err, -ENOTSUP, "only images in files can be repaired");
  return block_file_open (c->name, flags, block, report, err);
}

static int
make_plan (const struct repair *c, struct block *block,
           const struct image_options *options, struct check *check,
           struct repair_plan *plan, struct err *err)
{
  unsigned flags = (c->discard_log ? REPAIR_DISCARD_LOG : 0) |
    (c->keep_leaks ? REPAIR_KEEP_LEAKS : 0);
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  int r = progress_start (&job, c->mode, c->name, &progress, err);

  check->job = &job;
  if (r == 0)
    r = repair_plan_make (block, options, flags, check, plan, err);
  progress_stop (progress);
  check->job = NULL;
  return r;
}

/* Of its format nothing can be; is it damaged, too? */
static int
fail_to_mend (const struct repair *c, struct block *block,
              const struct image_options *options, const struct err *why)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  int status = tool_fail (c->name, why);

  if (image_check_block (block, options, 0, &check, NULL) < 0 ||
      check_verdict (&check) != CHECK_DAMAGED)
    return status;
  if (!c->json)
    check_output_hint_of_rest (c->name);
  return STATUS_DAMAGED;
}

static int
repair_image (const struct repair *c, const struct image_options *options)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_FREE char *undo = NULL;
  struct err err = ERR_INIT;
  int r = open_image (c, &block, &report, &err);

  if (r == 0)
    r = make_plan (c, block, options, &check, &plan, &err);
  tool_warnings (c->name, &report);
  if (r == -ENOTSUP && block)
    return fail_to_mend (c, block, options, &err);
  if (r < 0)
    return tool_fail (c->name, &err);
  if (plan.steps.len == 0 || plan.refusal)
    return show_nothing (c, &check, &plan);
  undo = c->undo ? strdup (c->undo) : repair_undo_name (c->name);
  if (undo == NULL) {
    tool_error ("%s: there is no name for its undo file", c->name);
    return STATUS_FAILED;
  }
  return repair_block (c, block, options, &check, &plan, undo);
}

static int
revert_image (const struct repair *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  int r = open_image (c, &block, &report, &err);

  if (r == 0)
    r = progress_start (&job, c->mode, c->name, &progress, &err);
  if (r == 0)
    r = undo_revert (block, c->revert, &job, &err);
  progress_stop (progress);
  tool_warnings (c->name, &report);
  if (r < 0)
    return tool_fail (c->name, &err);
  output_text (c->name);
  printf (": what the repair changed is as it was before; ");
  output_text (c->revert);
  printf (" is not needed any more\n");
  return STATUS_DONE;
}

static void
check_options (struct repair *c, const struct image_option_values *values,
               struct image_options *options)
{
  struct err err = ERR_INIT;

  if (progress_mode_parse (c->progress, &c->mode, &err) < 0 ||
      image_options_from_values (values, options, &err) < 0)
    command_usage_error (&command_repair, "%s", err.msg);
  if (c->revert && (c->dry_run || c->undo || c->discard_log || c->keep_leaks ||
                    c->parent_path || c->json))
    command_usage_error (&command_repair, "--revert puts everything back, and "
                         "takes no other options");
}

static int
run (int argc, char *argv[])
{
  struct repair c = { .format = NULL };
  struct image_option_values values = { .format = NULL };
  struct image_options options;
  struct err err = ERR_INIT;
  int first;

  command_parse (&command_repair, argc, argv, &c, &first);
  if (argc - first != 1)
    command_usage_error (&command_repair, "expected one image");
  c.name = argv[first];
  values.format = c.format;
  values.parent_path = c.parent_path;
  check_options (&c, &values, &options);
  if (image_options_check_folders (&values, &err) < 0)
    return tool_fail (NULL, &err);
  options.lock = true;
  return c.revert ? revert_image (&c) : repair_image (&c, &options);
}

const struct command command_repair = {
  .name = "repair",
  .operands = "IMAGE",
  .summary = "Mend an image, after showing how",
  .options = repair_options,
  .run = run,
};
