/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/children.h"
#include "tools/ask.h"
#include "tools/change/change.h"
#include "tools/image-options.h"
#include "tools/output.h"
#include "tools/report.h"

void
change_check (const struct command *command, struct change_options *o)
{
  const struct image_option_values values = {
    .format = o->format, .parent_path = o->parent_path,
  };
  struct err err = ERR_INIT;

  if (image_options_from_values (&values, &o->image, &err) < 0 ||
      image_options_check_folders (&values, &err) < 0 ||
      progress_mode_parse (o->progress, &o->mode, &err) < 0)
    command_usage_error (command, "%s", err.msg);
}

bool
change_confirm (const struct change_options *o)
{
  CLEANUP_FREE char *question = NULL;

  fflush (stdout);
  if (o->yes)
    return true;
  if (!ask_is_possible ()) {
    tool_error ("%s: nothing was changed: --yes confirms it where there is no "
                "terminal to ask on", o->name);
    return false;
  }
  if (asprintf (&question, "Do this to %s? [y/N] ", o->name) < 0)
    question = NULL;
  if (ask_yes (question ? question : "Do this? [y/N] "))
    return true;
  tool_error ("%s: nothing was changed", o->name);
  return false;
}

int
change_run (const struct change_options *o,
            int (*fn) (void *opaque, struct job *job, struct err *err),
            void *opaque, struct err *err)
{
  struct progress *progress = NULL;
  struct job job = JOB_INIT;
  int r = progress_start (&job, o->mode, o->name, &progress, err);

  if (r == 0)
    r = fn (opaque, &job, err);
  progress_stop (progress);
  return r;
}

void
change_say_name (const struct change_options *o)
{
  if (o->json)
    return;
  output_text (o->name);
  putchar ('\n');
}

void
change_say (const struct change_options *o, const char *label,
            const char *fmt, ...)
{
  CLEANUP_FREE char *text = NULL;
  va_list args;
  int n;

  if (o->json)
    return;
  va_start (args, fmt);
  n = vasprintf (&text, fmt, args);
  va_end (args);
  if (n < 0) {
    text = NULL;
    return;
  }
  printf ("  %s:%*s", label, (int) (14 > strlen (label) ? 14 - strlen (label)
                                                        : 1), "");
  output_text (text);
  putchar ('\n');
}

/* Files in the folder of the image that say that it is their parent, as
 * warnings.  Are there any?
 */
static bool
warn_of_children (const struct change_options *o, struct image *img)
{
  struct name_list children = VECTOR_INIT;
  bool any;
  struct err err = ERR_INIT;

  if (image_find_children (img, &children, &err) < 0)
    tool_warning ("%s: whether other disks are differencing over this one "
                  "can't be known: %s", o->name, err.msg);
  for (size_t i = 0; i < children.len; ++i)
    tool_warning ("%s: %s is differencing over this disk, and is damaged when "
                  "it changes", o->name, children.ptr[i]);
  any = children.len > 0;
  name_list_free (&children);
  return any;
}

/* --yes agrees to what the plan says, which is not that others break. */
bool
change_may_damage_children (const struct change_options *o, struct image *img,
                            bool force)
{
  if (!warn_of_children (o, img) || force || o->dry_run)
    return true;
  tool_error ("%s: nothing was changed: --force does it although other disks "
              "are differencing over this one", o->name);
  return false;
}
