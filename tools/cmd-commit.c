/* SPDX-License-Identifier: GPL-2.0-or-later */

/* nbdimage commit: what a differencing disk has goes into its parent, or all
 * that it is into a new file.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "lib/block/nbd.h"
#include "lib/format/children.h"
#include "lib/format/commit.h"
#include "tools/change/change.h"
#include "tools/commands.h"
#include "tools/convert/convert.h"
#include "tools/image-options.h"
#include "tools/output.h"
#include "tools/report.h"

struct commit {
  struct change_options change;
  const char *into;             /* NULL: its parent */
  const char *into_format;      /* of into; NULL: its name says it */
  bool resume;                  /* what was begun of into */
  bool delete;
  bool force;

  struct image_commit_plan plan;
  struct report *report;
  uint64_t written;             /* bytes */
};

static const struct option_spec commit_options[] = {
  { "into", 0, OPTION_STRING, "FILE",
    "the whole disk, with what its parents have, into this new file",
    offsetof (struct commit, into) },
  { "into-format", 'O', OPTION_STRING, "raw|vhd|vhdx",
    "the format of that file, unless its name says it",
    offsetof (struct commit, into_format) },
  { "resume", 0, OPTION_FLAG, NULL,
    "keep what is done of that file when interrupted, and go on with it",
    offsetof (struct commit, resume) },
  { "delete", 0, OPTION_FLAG, NULL,
    "remove the child when its data is in the parent",
    offsetof (struct commit, delete) },
  { "force", 0, OPTION_FLAG, NULL,
    "also if that damages other children of the parent",
    offsetof (struct commit, force) },
  CHANGE_OPTIONS (struct commit, change),
  OPTION_END
};

/*--- Into the parent --------------------------------------------------------*/

static int
look (void *opaque, struct job *job, struct err *err)
{
  struct commit *c = opaque;

  (void) job;
  return image_commit_plan (c->change.name, &c->change.image, &c->plan,
                            c->report, err);
}

static int
run_plan (void *opaque, struct job *job, struct err *err)
{
  struct commit *c = opaque;

  return image_commit (&c->plan, &c->written, job, err);
}

/* Its name is gone for good when this returns 0. */
static int
remove_child (const char *name, struct err *err)
{
  const char *slash = strrchr (name, '/');
  CLEANUP_FREE char *folder = slash
    ? strndup (name, (size_t) (slash - name) + (slash == name)) : strdup (".");
  CLEANUP_CLOSE int fd = -1;

  if (folder == NULL)
    return err_nomem (err);
  fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || unlink (name) < 0 || fsync (fd) < 0)
    return err_sys (err, "its data is in the parent, but it can't be removed");
  return 0;
}

static void
show_plan (const struct commit *c)
{
  const struct image_commit_plan *p = &c->plan;
  char size[SIZE_STRING_SIZE], parent_size[SIZE_STRING_SIZE];

  change_say_name (&c->change);
  change_say (&c->change, "Parent", "%s", p->parent);
  change_say (&c->change, "Copied", "%s (%" PRIu64 " bytes) that it has "
              "itself, into the parent", size_to_string (p->data, size),
              p->data);
  if (p->size > p->parent_size)
    change_say (&c->change, "Parent's size", "%s becomes %s",
                size_to_string (p->parent_size, parent_size),
                size_to_string (p->size, size));
  for (size_t i = 0; i < p->siblings.len; ++i)
    change_say (&c->change, "Damaged", "%s, which is differencing over the "
                "parent, too", p->siblings.ptr[i]);
  change_say (&c->change, "Then", c->delete ? "it is removed"
              : "it stays, and this disk does not need it any more");
}

static int
show_result (const struct commit *c, bool changed)
{
  if (c->change.json)
    return output_json (json_pack ("{s:o,s:o,s:o,s:o,s:b,s:b}",
      "name", output_json_text (c->change.name),
      "parent", output_json_text (c->plan.parent),
      "data", json_integer ((json_int_t) c->plan.data),
      "written", json_integer ((json_int_t) c->written),
      "deleted", changed && c->delete,
      "changed", changed));
  return STATUS_DONE;
}

static int
check_siblings (const struct commit *c, struct err *err)
{
  if (c->plan.siblings.len == 0 || c->force)
    return 0;
  return err_set (err, -EBUSY, "%s is differencing over the same parent, and "
                  "would be damaged; --force does it all the same",
                  c->plan.siblings.ptr[0]);
}

/* Whoever is differencing over the child needs it. */
static int
check_children (const struct commit *c, struct err *err)
{
  struct name_list children = VECTOR_INIT;
  int r = 0;

  if (!c->delete || c->force)
    return 0;
  r = image_find_children (c->plan.img, &children, err);
  if (r == 0 && children.len > 0)
    r = err_set (err, -EBUSY, "%s is differencing over it, and would be lost "
                 "with it; --force removes it all the same",
                 children.ptr[0]);
  name_list_free (&children);
  return r;
}

static int
commit (struct commit *c)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  int r;

  c->report = &report;
  r = change_run (&c->change, look, c, &err);
  tool_warnings (c->change.name, &report);
  if (r == 0)
    r = check_siblings (c, &err);
  if (r == 0)
    r = check_children (c, &err);
  if (r < 0)
    return tool_fail (c->change.name, &err);
  show_plan (c);
  if (c->change.dry_run)
    return show_result (c, false);
  if (!change_confirm (&c->change))
    return STATUS_FAILED;
  r = change_run (&c->change, run_plan, c, &err);
  if (r == 0 && c->delete)
    r = remove_child (c->change.name, &err);
  return r < 0 ? tool_fail (c->change.name, &err) : show_result (c, true);
}

/*--- Into a new file --------------------------------------------------------*/

static int
check_has_parent (const struct commit *c, struct report *report,
                  struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  CLEANUP_IMAGE struct image *img = NULL;
  int r = image_open (c->change.name, &c->change.image, &img, report, err);

  if (r == 0)
    r = image_check_recognised (img, err);
  if (r == 0)
    r = image_get_info (img, &info, err);
  if (r == 0 && info.layers.len < 2)
    r = err_set (err, -EINVAL, "is not differencing: it has no parent; to "
                 "make another file of it: nbdimage convert");
  return r;
}

/* As convert does it: the chain is one disk to it. */
static int
commit_into (const struct commit *c)
{
  const struct change_options *o = &c->change;
  struct convert convert = {
    .from = { .format = o->format, .parent_path = o->parent_path },
    .format = c->into_format,
    .confirm = CONVERT_NO_SIZE,
    .resume = c->resume,
    .dry_run = o->dry_run,
    .json = o->json,
    .source = o->name,
    .target = c->into,
    .source_options = o->image,
    .mode = o->mode,
  };
  struct err err = ERR_INIT;

  convert.source_options.lock = true;
  convert.create.format = convert.format;
  convert.create.kind = IMAGE_DYNAMIC;
  if (check_has_parent (c, NULL, &err) < 0)
    return tool_fail (o->name, &err);
  return convert_run (&convert);
}

static void
check_into (struct commit *c)
{
  struct err err = ERR_INIT;

  if (c->delete || c->force)
    command_usage_error (&command_commit, "--into changes nothing but its new "
                         "file: --delete and --force have no place there");
  if (block_nbd_is_uri (c->into))
    command_usage_error (&command_commit, "--into makes a file; an export is "
                         "written by nbdimage convert");
  if (c->into_format == NULL)
    c->into_format = image_format_by_name (c->into);
  if (c->into_format == NULL)
    command_usage_error (&command_commit, "the name of the new file does not "
                         "end in .vhd, .vhdx, .img or .raw; say "
                         "--into-format");
  if (image_create_check_format (c->into_format, &err) < 0)
    command_usage_error (&command_commit, "%s", err.msg);
}

/*--- The command ------------------------------------------------------------*/

static int
run (int argc, char *argv[])
{
  struct commit c = { .delete = false };
  int first, status;

  command_parse (&command_commit, argc, argv, &c, &first);
  if (argc - first != 1)
    command_usage_error (&command_commit, "expected one image");
  c.change.name = argv[first];
  change_check (&command_commit, &c.change);
  if (c.into) {
    check_into (&c);
    return commit_into (&c);
  }
  if (c.into_format || c.resume)
    command_usage_error (&command_commit, "--into-format and --resume are for "
                         "the new file of --into; into its parent, the same "
                         "command always goes on");
  status = commit (&c);
  image_commit_plan_free (&c.plan);
  return status;
}

const struct command command_commit = {
  .name = "commit",
  .operands = "CHILD",
  .summary = "Put what a differencing disk has into its parent, or all of it "
    "into a new file",
  .options = commit_options,
  .run = run,
};
