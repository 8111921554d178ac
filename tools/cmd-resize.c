/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage resize: a disk becomes larger or smaller. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/format/resize.h"
#include "tools/change/change.h"
#include "tools/change/cut.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/report.h"

#define AZURE_UNIT (UINT64_C (1) << 20)

struct resize {
  struct change_options change;
  bool shrink;
  bool azure;
  bool force;

  int direction;                /* 1: by size, -1: by size less; 0: to size */
  uint64_t size;                /* bytes */

  struct offline *offline;
  struct image *img;
  struct image_resize_plan plan;
  struct cut cut;
};

static const struct option_spec resize_options[] = {
  { "shrink", 0, OPTION_FLAG, NULL,
    "cut off free space that is not zero, and the second copy of a GPT",
    offsetof (struct resize, shrink) },
  { "azure", 0, OPTION_FLAG, NULL,
    "round up to whole MiB, as Azure takes it",
    offsetof (struct resize, azure) },
  { "force", 0, OPTION_FLAG, NULL,
    "also if that damages disks that are differencing over it",
    offsetof (struct resize, force) },
  CHANGE_OPTIONS (struct resize, change),
  OPTION_END
};

static void
check (struct resize *c, const char *size)
{
  struct err err = ERR_INIT;

  change_check (&command_resize, &c->change);
  c->direction = size[0] == '+' ? 1 : size[0] == '-' ? -1 : 0;
  if (size_parse (size + (c->direction != 0), &c->size, &err) < 0)
    command_usage_error (&command_resize, "%s", err.msg);
  if (c->size == 0 && c->direction == 0)
    command_usage_error (&command_resize, "a disk of 0 bytes can't be");
}

/*--- The plan ---------------------------------------------------------------*/

static int
choose_size (struct resize *c, struct err *err)
{
  uint64_t now = image_size (c->img), *size = &c->plan.size;

  *size = c->size;
  if (c->direction > 0 && !checked_add (now, c->size, size))
    return err_set (err, -EINVAL, "that is larger than a disk can be");
  if (c->direction < 0 && c->size >= now)
    return err_set (err, -EINVAL, "its disk has only %" PRIu64 " bytes", now);
  if (c->direction < 0)
    *size = now - c->size;
  if (c->azure && *size <= INT64_MAX)
    *size = round_up (*size, AZURE_UNIT);
  return 0;
}

static int
look (void *opaque, struct job *job, struct err *err)
{
  struct resize *c = opaque;
  uint64_t now = image_size (c->img);
  int r = cut_look (c->img, min_u64 (c->plan.size, now), &c->cut, job, err);

  return r < 0 || c->plan.size >= now
    ? r : cut_check (&c->cut, c->plan.size, c->shrink, err);
}

static int
plan (struct resize *c, struct report *report, struct err *err)
{
  int r = offline_open (c->change.name, &c->change.image, &c->offline, report,
                        err);

  if (r == 0)
    r = offline_image (c->offline, &c->img, report, err);
  if (r == 0)
    r = choose_size (c, err);
  if (r == 0)
    r = image_resize_plan (c->offline, &c->plan, report, err);
  if (r < 0 || c->plan.is_done)
    return r;
  if (c->plan.loses_rest && !c->shrink)
    return err_set (err, -EINVAL, "its file goes on behind the end of the "
                    "disk, with what is not zero; --shrink says that nothing "
                    "of that is needed");
  return change_run (&c->change, look, c, err);
}

/* What is left to do for whoever uses the disk; NULL: nothing. */
static const char *
advice (const struct resize *c)
{
  bool grows = c->plan.size > c->plan.old_size;

  if (c->plan.size == c->plan.old_size)
    return NULL;
  if (c->cut.table.scheme == PART_NONE && c->cut.doubt)
    return "Its partitions are not found, before and after.";
  if (c->cut.table.scheme == PART_GPT)
    return grows
      ? "The second copy of its GPT is where the disk ended: sgdisk -e moves "
        "it to the new end. Partitions and file systems keep their sizes."
      : "The second copy of its GPT is cut off: until sgdisk -e writes it "
        "anew, its partitions are not found.";
  if (grows && c->cut.table.scheme == PART_MBR)
    return "Partitions and file systems keep their sizes.";
  if (grows && c->cut.file_system)
    return "The file system keeps its size.";
  return NULL;
}

static void
show_plan (const struct resize *c)
{
  char from[SIZE_STRING_SIZE], to[SIZE_STRING_SIZE], move[SIZE_STRING_SIZE];
  const struct image_resize_plan *p = &c->plan;

  change_say_name (&c->change);
  change_say (&c->change, "Disk size", "%s (%" PRIu64 " bytes) becomes %s (%"
              PRIu64 " bytes)", size_to_string (p->old_size, from),
              p->old_size, size_to_string (p->size, to), p->size);
  if (p->to_move > 0)
    change_say (&c->change, "In the file", "%s move, to make room",
                size_to_string (p->to_move, move));
  if (p->size < p->old_size && !c->cut.is_zero)
    change_say (&c->change, "Lost", "what is at offset %" PRIu64 " and behind "
                "that, in no partition", c->cut.first);
  if (p->loses_rest)
    change_say (&c->change, "Lost", "what the file has behind the disk");
  if (advice (c))
    change_say (&c->change, "Then", "%s", advice (c));
}

/*--- Doing it ---------------------------------------------------------------*/

static int
run_plan (void *opaque, struct job *job, struct err *err)
{
  struct resize *c = opaque;

  return image_resize (c->offline, &c->plan, job, err);
}

static int
show_result (const struct resize *c, bool changed)
{
  const struct image_resize_plan *p = &c->plan;

  if (c->change.json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:b,s:o}",
      "name", output_json_text (c->change.name),
      "old-size", json_integer ((json_int_t) p->old_size),
      "size", json_integer ((json_int_t) p->size),
      "changed", changed,
      "advice", output_json_text (advice (c))));
  return STATUS_DONE;
}

static int
resize (struct resize *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  const struct image_resize_plan *p = &c->plan;
  struct err err = ERR_INIT;
  int r = plan (c, &report, &err);

  tool_warnings (c->change.name, &report);
  if (r < 0)
    return tool_fail (c->change.name, &err);
  if (p->is_done) {
    if (!c->change.json)
      tool_note ("%s: has this size already", c->change.name);
    return show_result (c, false);
  }
  show_plan (c);
  if (p->size != p->old_size &&
      !change_may_damage_children (&c->change, c->img, c->force))
    return STATUS_FAILED;
  if (c->change.dry_run)
    return show_result (c, false);
  /* Nothing is lost where a disk only grows. */
  if ((p->size < p->old_size || p->loses_rest) &&
      !change_confirm (&c->change))
    return STATUS_FAILED;
  r = change_run (&c->change, run_plan, c, &err);
  return r < 0 ? tool_fail (c->change.name, &err) : show_result (c, true);
}

static int
run (int argc, char *argv[])
{
  struct resize c = { .size = 0 };
  int first, status;

  command_parse (&command_resize, argc, argv, &c, &first);
  if (argc - first != 2)
    command_usage_error (&command_resize, "expected an image and a size, like "
                         "40G or +10G");
  c.change.name = argv[first];
  check (&c, argv[first + 1]);
  status = resize (&c);
  cut_free (&c.cut);
  offline_close (c.offline);
  return status;
}

const struct command command_resize = {
  .name = "resize",
  .operands = "IMAGE [+|-]SIZE",
  .summary = "Make a disk larger or smaller",
  .options = resize_options,
  .run = run,
};
