/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage check: is this image whole? */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "lib/format/check.h"
#include "lib/repo/image-vault.h"
#include "tools/check-output.h"
#include "tools/commands.h"
#include "tools/image-options.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/report.h"

struct check_command {
  const char *format;
  const char *parent_path;
  const char *progress;
  bool data;
  bool json;
  struct key_option_values keys;
};

static const struct option_spec check_options[] = {
  { "format", 'f', OPTION_STRING, "FORMAT",
    "the format of the image, instead of finding out",
    offsetof (struct check_command, format) },
  { "parent-path", 0, OPTION_STRING, "FOLDER[:FOLDER…]",
    "where parents of differencing disks may lie besides",
    offsetof (struct check_command, parent_path) },
  { "data", 0, OPTION_FLAG, NULL,
    "read all data of the disk, too", offsetof (struct check_command, data) },
  { "json", 0, OPTION_FLAG, NULL,
    "print everything as JSON", offsetof (struct check_command, json) },
  PROGRESS_OPTION (struct check_command, progress),
  KEY_OPTIONS (struct check_command, keys),
  OPTION_END
};

static int
show (const char *name, const struct check_command *c,
      const struct check *check)
{
  int status = check_output_status (check);

  if (c->json)
    return output_json (check_output_json (name, check)) == STATUS_DONE
      ? status : STATUS_FAILED;
  check_output_findings (name, check);
  check_output_summary (name, c->format, check);
  if (!c->data && check->format != NULL && strcmp (check->format, "nbi") == 0) {
    printf ("Only its structure was looked at, not the data; ‘nbdimage "
            "verify ");
    output_shell_word (name);
    printf ("’ reads that too\n");
  }
  return status;
}

static int
check_image (const char *name, const struct check_command *c,
             const struct image_options *options, enum progress_mode mode)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  int r = progress_start (&job, mode, name, &progress, &err);

  check.job = &job;
  if (r == 0)
    r = image_check (name, options, c->data ? CHECK_DATA : 0, &check, &report,
                     &err);
  progress_stop (progress);
  tool_warnings (name, &report);
  if (block_nbd_is_uri (name))
    check_forget_mendable (&check);
  if (r == -EISDIR && vault_images_is_one (name))
    err_set (&err, r, "is a vault; nbdimage verify looks at all of it, and "
             "nbdimage check at one disk of it, as %s/DISK", name);
  return r < 0 ? tool_fail (name, &err) : show (name, c, &check);
}

static int
run (int argc, char *argv[])
{
  struct check_command c = { .format = NULL };
  struct image_option_values values = { .format = NULL };
  struct image_options options;
  enum progress_mode mode;
  struct err err = ERR_INIT;
  int first;

  command_parse (&command_check, argc, argv, &c, &first);
  if (argc - first != 1)
    command_usage_error (&command_check, "expected one image");
  values.format = c.format;
  values.parent_path = c.parent_path;
  values.keys = c.keys;
  if (image_options_from_values (&values, &options, &err) < 0 ||
      progress_mode_parse (c.progress, &mode, &err) < 0)
    command_usage_error (&command_check, "%s", err.msg);
  if (image_options_check_folders (&values, &err) < 0)
    return tool_fail (NULL, &err);
  options.lock = true;
  return check_image (argv[first], &c, &options, mode);
}

const struct command command_check = {
  .name = "check",
  .operands = "IMAGE",
  .summary = "Find out whether an image is whole",
  .options = check_options,
  .run = run,
};
