/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage rebase: a differencing disk gets another parent, or none. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "lib/format/rebase.h"
#include "tools/change/change.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/report.h"

struct rebase {
  struct change_options change;
  struct image_rebase_options options;

  struct offline *offline;
  struct image_rebase_plan plan;
  struct report *report;
};

static const struct option_spec rebase_options[] = {
  { "parent", 0, OPTION_STRING, "IMAGE",
    "the new parent; the one that it has, unless said",
    offsetof (struct rebase, options.parent) },
  { "no-parent", 0, OPTION_FLAG, NULL,
    "none at all: it gets everything that its parents have",
    offsetof (struct rebase, options.no_parent) },
  { "unsafe", 0, OPTION_FLAG, NULL,
    "compare nothing: the parent was only moved or renamed",
    offsetof (struct rebase, options.is_unsafe) },
  { "force", 0, OPTION_FLAG, NULL,
    "with --unsafe: also if the unique id is another",
    offsetof (struct rebase, options.force) },
  CHANGE_OPTIONS (struct rebase, change),
  OPTION_END
};

static int
look (void *opaque, struct job *job, struct err *err)
{
  struct rebase *c = opaque;

  return image_rebase_plan (c->offline, &c->options, &c->plan, job, c->report,
                            err);
}

static int
run_plan (void *opaque, struct job *job, struct err *err)
{
  struct rebase *c = opaque;

  return image_rebase (c->offline, &c->plan, job, err);
}

/* Two files in two folders may have one name: shown is the whole path of a
 * parent.  NULL: it has none, or there is no such file.
 */
static char *
path_of_parent (const char *name)
{
  return block_nbd_is_uri (name) ? NULL : realpath (name, NULL);
}

/* With --unsafe nobody looked for it, and its name is as the image says it:
 * from the image's folder on.
 */
static char *
path_of_old_parent (const struct rebase *c)
{
  CLEANUP_FREE char *image = realpath (c->change.name, NULL), *path = NULL;
  const char *name = c->plan.old_parent;
  char *real;

  if (!c->options.is_unsafe || name[0] == '/')
    return path_of_parent (name);
  if (image == NULL)
    return NULL;
  while (strncmp (name, "./", 2) == 0)
    name += 2;
  if (asprintf (&path, "%.*s/%s", (int) (strrchr (image, '/') - image), image,
                name) < 0) {
    path = NULL;
    return NULL;
  }
  real = realpath (path, NULL);
  return real ? real : steal_ptr (&path);
}

static void
show_parents (const struct rebase *c)
{
  const struct image_rebase_plan *p = &c->plan;
  CLEANUP_FREE char *old_path = p->old_parent ? path_of_old_parent (c) : NULL;
  CLEANUP_FREE char *new_path = p->new_parent ? path_of_parent (p->new_parent)
                                              : NULL;

  change_say_name (&c->change);
  change_say (&c->change, "Old parent", "%s", old_path ? old_path
              : p->old_parent ? p->old_parent : "not named");
  if (p->new_parent)
    change_say (&c->change, "New parent", "%s, %s",
                new_path ? new_path : p->new_parent,
                p->is_same ? "the same disk by its unique id"
                           : "another disk by its unique id");
  else
    change_say (&c->change, "New parent", "none");
}

static void
show_plan (const struct rebase *c)
{
  const struct image_rebase_plan *p = &c->plan;
  char size[SIZE_STRING_SIZE];

  show_parents (c);
  if (c->options.no_parent)
    change_say (&c->change, "Copied", "%s (%" PRIu64 " bytes) of its parents, "
                "into it", size_to_string (p->differs, size), p->differs);
  else if (!c->options.is_unsafe && p->differs == 0)
    change_say (&c->change, "Copied", "nothing: both read the same where it "
                "has nothing itself");
  else if (!c->options.is_unsafe)
    change_say (&c->change, "Copied", "%s (%" PRIu64 " bytes) that differ, "
                "into it", size_to_string (p->differs, size), p->differs);
  else if (!p->is_same)
    change_say (&c->change, "Lost", "its disk as it was: where it has nothing "
                "itself, it will be what the new parent is");
}

static int
show_result (const struct rebase *c, bool changed)
{
  if (c->change.json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:b,s:o,s:b}",
      "name", output_json_text (c->change.name),
      "old-parent", output_json_text (c->plan.old_parent),
      "parent", output_json_text (c->plan.new_parent),
      "same-id", c->plan.is_same,
      "copied", json_integer ((json_int_t) c->plan.differs),
      "changed", changed));
  return STATUS_DONE;
}

static int
rebase (struct rebase *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  int r = offline_open (c->change.name, &c->change.image, &c->offline, &report,
                        &err);

  c->report = &report;
  if (r == 0)
    r = change_run (&c->change, look, c, &err);
  tool_warnings (c->change.name, &report);
  if (r < 0) {
    int status = tool_fail (c->change.name, &err);

    if (err.code == -ENOENT && c->options.parent && !c->options.is_unsafe &&
        c->plan.new_parent == NULL)
      tool_note ("if only the place of its parent is another, --unsafe takes "
                 "the new one without reading the old one");
    return status;
  }
  if (c->plan.is_done) {
    if (!c->change.json)
      tool_note ("%s: has %s already", c->change.name,
                 c->options.no_parent ? "no parent" : "this parent");
    return show_result (c, false);
  }
  show_plan (c);
  if (c->change.dry_run)
    return show_result (c, false);
  if (!change_confirm (&c->change))
    return STATUS_FAILED;
  r = change_run (&c->change, run_plan, c, &err);
  return r < 0 ? tool_fail (c->change.name, &err) : show_result (c, true);
}

static int
run (int argc, char *argv[])
{
  struct rebase c = { .offline = NULL };
  int first, status;

  command_parse (&command_rebase, argc, argv, &c, &first);
  if (argc - first != 1)
    command_usage_error (&command_rebase, "expected one image");
  if (c.options.no_parent && (c.options.parent || c.options.is_unsafe))
    command_usage_error (&command_rebase, "--no-parent goes with neither "
                         "--parent nor --unsafe");
  if (c.options.is_unsafe && c.options.parent == NULL)
    command_usage_error (&command_rebase, "--unsafe needs --parent");
  if (c.options.force && !c.options.is_unsafe)
    command_usage_error (&command_rebase, "--force is for --unsafe");
  c.change.name = argv[first];
  change_check (&command_rebase, &c.change);
  status = rebase (&c);
  image_rebase_plan_free (&c.plan);
  offline_close (c.offline);
  return status;
}

const struct command command_rebase = {
  .name = "rebase",
  .operands = "IMAGE",
  .summary = "Give a differencing disk another parent, or none",
  .options = rebase_options,
  .run = run,
};
