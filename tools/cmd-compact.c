/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage compact: the file of an image becomes smaller, its disk stays. */

#include <config.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/base/size.h"
#include "lib/format/compact.h"
#include "lib/fsmap/used-map.h"
#include "tools/change/change.h"
#include "tools/change/free-space.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/report.h"

struct compact {
  struct change_options change;
  bool free, force;

  struct offline *offline;
  struct image_compact_plan plan;
  struct used_map used;         /* with --free */
  struct report *report;
  uint64_t old_file_size;       /* bytes */
};

static const struct option_spec compact_options[] = {
  { "free", 0, OPTION_FLAG, NULL,
    "also drop what no file system uses", offsetof (struct compact, free) },
  { "force", 0, OPTION_FLAG, NULL,
    "also if that damages disks that are differencing over it",
    offsetof (struct compact, force) },
  CHANGE_OPTIONS (struct compact, change),
  OPTION_END
};

static bool
is_free (void *opaque, uint64_t off, uint64_t len)
{
  return !used_map_touches (opaque, off, len);
}

static int
look (void *opaque, struct job *job, struct err *err)
{
  struct compact *c = opaque;
  struct image *img;
  int r = 0;

  if (c->free) {
    r = offline_image (c->offline, &img, c->report, err);
    if (r == 0)
      r = free_space_find (img, &c->used, c->report, job, err);
    c->plan.is_free = is_free;
    c->plan.opaque = &c->used;
  }
  return r < 0 ? r : image_compact_plan (c->offline, &c->plan, c->report, job,
                                         err);
}

static int
run_plan (void *opaque, struct job *job, struct err *err)
{
  struct compact *c = opaque;

  return image_compact (c->offline, &c->plan, job, err);
}

static void
show_plan (const struct compact *c)
{
  const struct image_compact_plan *p = &c->plan;
  char some[SIZE_STRING_SIZE], all[SIZE_STRING_SIZE];

  change_say_name (&c->change);
  change_say (&c->change, "Blocks", "%s of %s are zeros and are dropped",
              size_to_string (p->dropped - p->free, some),
              size_to_string (p->blocks, all));
  if (c->free)
    change_say (&c->change, "Free space", "%s that no file system uses are "
                "dropped too", size_to_string (p->free, some));
  change_say (&c->change, "In the file", "%s move into gaps",
              size_to_string (p->to_move, some));
  change_say (&c->change, "File size", "%s (%" PRIu64 " bytes) becomes %s (%"
              PRIu64 " bytes)", size_to_string (c->old_file_size, some),
              c->old_file_size, size_to_string (p->file_size, all),
              p->file_size);
}

static int
show_result (const struct compact *c, bool changed)
{
  char saved[SIZE_STRING_SIZE];
  uint64_t now = offline_file_size (c->offline);

  if (c->change.json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:o,s:o,s:o,s:b}",
      "name", output_json_text (c->change.name),
      "old-file-size", json_integer ((json_int_t) c->old_file_size),
      "file-size", json_integer ((json_int_t) (changed ? now
                                               : c->plan.file_size)),
      "dropped", json_integer ((json_int_t) c->plan.dropped),
      "free", json_integer ((json_int_t) c->plan.free),
      "moved", json_integer ((json_int_t) c->plan.to_move),
      "changed", changed));
  if (changed && now <= c->old_file_size)
    change_say (&c->change, "Saved", "%s (%" PRIu64 " bytes)",
                size_to_string (c->old_file_size - now, saved),
                c->old_file_size - now);
  return STATUS_DONE;
}

/* Only what is dropped though it was not zeros makes it another disk. */
static int
check_children (const struct compact *c, bool *may, struct err *err)
{
  struct image *img;
  int r = 0;

  *may = true;
  if (c->plan.free > 0)
    r = offline_image (c->offline, &img, c->report, err);
  if (r == 0 && c->plan.free > 0)
    *may = change_may_damage_children (&c->change, img, c->force);
  return r;
}

static int
compact (struct compact *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  bool may;
  int r = offline_open (c->change.name, &c->change.image, &c->offline, &report,
                        &err);

  c->report = &report;
  if (r == 0) {
    c->old_file_size = offline_file_size (c->offline);
    r = change_run (&c->change, look, c, &err);
  }
  tool_warnings (c->change.name, &report);
  if (r < 0)
    return tool_fail (c->change.name, &err);
  if (c->plan.is_done) {
    if (!c->change.json)
      tool_note ("%s: there is nothing that it could do without",
                 c->change.name);
    return show_result (c, false);
  }
  show_plan (c);
  r = check_children (c, &may, &err);
  if (r < 0)
    return tool_fail (c->change.name, &err);
  if (!may)
    return STATUS_FAILED;
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
  struct compact c = { .offline = NULL };
  int first, status;

  command_parse (&command_compact, argc, argv, &c, &first);
  if (argc - first != 1)
    command_usage_error (&command_compact, "expected one image");
  c.change.name = argv[first];
  change_check (&command_compact, &c.change);
  status = compact (&c);
  image_compact_plan_free (&c.plan);
  used_map_free (&c.used);
  offline_close (c.offline);
  return status;
}

const struct command command_compact = {
  .name = "compact",
  .operands = "IMAGE",
  .summary = "Make the file of an image smaller",
  .options = compact_options,
  .run = run,
};
