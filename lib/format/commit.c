/* SPDX-License-Identifier: GPL-2.0-or-later */

/* That the parent can grow, if it has to, is known before anything is changed.
 * Then, in this order:
 *
 *   1. The child learns which identity its parent will have, where that is
 *      another with other data: expect_change of its driver.
 *   2. If the child's disk is larger, the parent's grows: resize.h.
 *   3. The child's own data is written into the parent, where that has
 *      something else: pieces of the child, in ascending order.
 *   4. The parent is flushed and closed.
 *   5. The child's link gets the identity and the time of the parent, which
 *      has changed: the driver's relink.
 *
 * The child's own data is never written, and what it does not have itself is
 * never changed in the parent: its disk is the same after each step, and in
 * the middle of it.  Between 1 and 5 it knows the parent by both identities.
 * A parent that 2 left half grown may not be opened for writing (a fixed VHD,
 * vhd-resize-fixed.c); the same again grows it to its end first.
 *
 * The child is read by what its own file says (own_extents), not through its
 * chain, where the parent is open a second time and knows nothing of what
 * changes in it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/block/file.h"
#include "lib/format/children.h"
#include "lib/format/below.h"
#include "lib/format/commit.h"
#include "lib/format/offline-ops.h"
#include "lib/format/parent.h"
#include "lib/format/rebase.h"
#include "lib/format/resize.h"

#define PIECE (1024 * 1024)
#define UNIT 4096
#define EXTENTS_AT_ONCE 1024

/*--- Planning ---------------------------------------------------------------*/

/* Its parents are not held by this: one of them is written. */
static int
open_child (const char *name, struct image_commit_plan *plan,
            struct report *report, struct err *err)
{
  int r = offline_open (name, &plan->options, &plan->child, report, err);

  if (r < 0)
    return r;
  plan->child->options.lock = false;
  if (plan->child->ops->own_extents == NULL)
    return err_set (err, -ENOTSUP, "images of the format %s have no parents",
                    plan->child->ops->name);
  r = offline_image (plan->child, &plan->img, report, err);
  if (r == 0)
    plan->size = image_size (plan->img);
  return r;
}

static int
find_parent (struct image_commit_plan *plan, struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (plan->img, &info, err);

  if (r < 0)
    return r;
  if (info.layers.len < 2)
    return err_set (err, -EINVAL, "is not differencing: it has no parent");
  if (below_format_never_changes (info.layers.ptr[1].format))
    return err_set (err, -ENOTSUP, "lies over %s, a backup, which never "
                    "changes; both together become a new image with --into "
                    "(or nbdimage convert), or the next backup with nbdimage "
                    "backup", info.layers.ptr[1].name);
  /* It is known by what it holds, and would be another halfway. */
  if (strcmp (info.layers.ptr[1].format, plan->child->ops->name) != 0)
    return err_set (err, -ENOTSUP, "lies over %s, %s %s image, which would "
                    "be no more the disk that it lies over once it is written "
                    "to; make a new image of both: nbdimage convert",
                    info.layers.ptr[1].name,
                    text_article (info.layers.ptr[1].format),
                    info.layers.ptr[1].format);
  plan->parent = steal_ptr (&info.layers.ptr[1].name);
  return 0;
}

static int
check_is_child (struct image *parent, struct offline *child, struct err *err)
{
  if (parent->ops == child->ops &&
      parent->ops->is_child (parent, child->block))
    return 0;
  return err_set (err, -EINVAL, "is another file by now");
}

/* With all of its bytes, as the child has it. */
static int
open_parent (const struct image_commit_plan *plan, struct offline **out,
             struct err *err)
{
  const struct image_options options = {
    .format = plan->child->ops->name,
    .parent_path = plan->options.parent_path,
  };
  int r = offline_open (plan->parent, &options, out, NULL, err);

  if (r == 0)
    (*out)->options.size_rule = IMAGE_SIZE_CURRENT;
  return r;
}

static bool
is_the_child (const struct image_commit_plan *plan, const char *path)
{
  CLEANUP_BLOCK struct block *block = NULL;

  return block_file_open (path, 0, &block, NULL, NULL) == 0 &&
    parent_is_same_file (block, plan->child->block);
}

/* A sibling that can't be looked for is none. */
static int
find_siblings (struct image_commit_plan *plan, struct image *parent,
               struct report *report, struct err *err)
{
  struct name_list all = VECTOR_INIT;
  struct err why = ERR_INIT;
  int r = image_find_children (parent, &all, &why);

  if (r < 0 && r != -ENOMEM) {
    report_warn (report, "whether others are differencing over %s can't be "
                 "known: %s", plan->parent, why.msg);
    r = 0;
  }
  for (size_t i = 0; r >= 0 && i < all.len; ++i)
    if (!is_the_child (plan, all.ptr[i]))
      r = name_list_add (&plan->siblings, all.ptr[i], err);
  name_list_free (&all);
  return r < 0 ? r : 0;
}

/* Where the child's disk is the larger one; else growth->size is 0. */
static int
plan_growth (struct offline *child, struct offline *parent,
             struct image_resize_plan *growth, struct err *err)
{
  int r;

  *growth = (struct image_resize_plan) { .size = image_size (child->img) };
  if (growth->size <= image_size (parent->img)) {
    growth->size = 0;
    return 0;
  }
  r = image_resize_plan (parent, growth, NULL, err);
  if (r < 0)
    return err_in (err, "has to grow, as the disk of its child is larger");
  if (growth->loses_rest)
    return err_set (err, -EINVAL, "has to grow, as the disk of its child is "
                    "larger: over what its file has behind the end of the "
                    "disk, which is not zero; ‘nbdimage resize --shrink’ says "
                    "that nothing of that is needed");
  return 0;
}

/* All that is against it is said here, while nothing is changed.  What a
 * growth that was interrupted left, growing it to its end mends.
 */
static int
check_parent (struct offline *child, struct offline *parent,
              struct image_resize_plan *growth, struct err *err)
{
  const char *reason;
  struct image *img;
  int r = offline_image (parent, &img, NULL, err);

  if (r == 0)
    r = check_is_child (img, child, err);
  if (r == 0)
    r = plan_growth (child, parent, growth, err);
  if (r < 0)
    return r;
  reason = image_readonly_reason (img);
  if (reason && !growth->is_interrupted)
    return err_set (err, -EROFS, "can't be written: %s", reason);
  return 0;
}

static int
look_at_parent (struct image_commit_plan *plan, struct report *report,
                struct err *err)
{
  CLEANUP_OFFLINE struct offline *parent = NULL;
  struct image_resize_plan growth;
  int r = open_parent (plan, &parent, err);

  if (r == 0)
    r = check_parent (plan->child, parent, &growth, err);
  if (r < 0)
    return err_in (err, "parent %s", plan->parent);
  plan->parent_size = image_size (parent->img);
  return find_siblings (plan, parent->img, report, err);
}

static int
count_data (struct image *img, uint64_t *data, struct err *err)
{
  uint64_t off = 0, size = image_size (img);
  int r = 0;

  *data = 0;
  while (r == 0 && off < size) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      .limit = EXTENTS_AT_ONCE
    };

    r = img->ops->own_extents (img, size - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i)
      if (list.v.ptr[i].kind != EXTENT_HOLE)
        *data += list.v.ptr[i].len;
    off = extent_list_end (&list, off);
  }
  return r;
}

int
image_commit_plan (const char *name, const struct image_options *options,
                   struct image_commit_plan *plan, struct report *report,
                   struct err *err)
{
  int r;

  memset (plan, 0, sizeof *plan);
  plan->options.format = options->format;
  plan->options.parent_path = options->parent_path;
  r = open_child (name, plan, report, err);
  if (r == 0)
    r = find_parent (plan, err);
  if (r == 0)
    r = look_at_parent (plan, report, err);
  return r < 0 ? r : count_data (plan->img, &plan->data, err);
}

void
image_commit_plan_free (struct image_commit_plan *plan)
{
  free (steal_ptr (&plan->parent));
  name_list_free (&plan->siblings);
  offline_close (steal_ptr (&plan->child));
  plan->img = NULL;
}

/*--- The data ---------------------------------------------------------------*/

struct commit {
  struct image *child, *parent;
  uint8_t *a, *b;               /* a piece of each */
  uint64_t written;
  struct job *job;
};

static bool
is_zero (const uint8_t *p, size_t len)
{
  return p[0] == 0 && memcmp (p, p + 1, len - 1) == 0;
}

/* What differs, in runs of whole units. */
static int
write_differences (struct commit *c, size_t len, uint64_t off,
                   struct err *err)
{
  size_t i = 0, end;
  int r = 0;

  while (r == 0 && i < len) {
    for (end = i; end < len; end += UNIT)
      if (memcmp (c->a + end, c->b + end,
                  (size_t) min_u64 (UNIT, len - end)) == 0)
        break;
    end = (size_t) min_u64 (end, len);
    if (end > i) {
      r = is_zero (c->a + i, end - i)
        ? image_zero (c->parent, end - i, off + i, 0, err)
        : image_pwrite (c->parent, c->a + i, end - i, off + i, 0, err);
      c->written += end - i;
    }
    i = end + UNIT;
  }
  return r;
}

static int
commit_range (struct commit *c, uint64_t len, uint64_t off, struct err *err)
{
  while (len > 0) {
    size_t n = (size_t) min_u64 (len, PIECE - off % PIECE);
    int r = image_pread (c->child, c->a, n, off, err);

    if (r < 0)
      return r;
    r = image_pread (c->parent, c->b, n, off, err);
    if (r == 0 && memcmp (c->a, c->b, n) != 0)
      r = write_differences (c, n, off, err);
    if (r < 0)
      return err_in (err, "parent %s", image_name (c->parent));
    r = job_advance (c->job, n, err);
    if (r < 0)
      return r;
    off += n;
    len -= n;
  }
  return 0;
}

static int
commit_all (struct commit *c, struct err *err)
{
  uint64_t off = 0, size = image_size (c->child);
  int r = 0;

  while (r == 0 && off < size) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      .limit = EXTENTS_AT_ONCE
    };

    r = c->child->ops->own_extents (c->child, size - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      if (e->kind != EXTENT_HOLE)
        r = commit_range (c, e->len, e->off, err);
    }
    off = extent_list_end (&list, off);
  }
  return r;
}

int
image_commit_data (struct image *child, struct image *parent,
                   uint64_t *written, struct job *job, struct err *err)
{
  CLEANUP_FREE uint8_t *a = malloc (PIECE), *b = malloc (PIECE);
  struct commit c = { child, parent, a, b, 0, job };
  int r;

  if (a == NULL || b == NULL)
    return err_nomem (err);
  r = commit_all (&c, err);
  if (r == 0) {
    r = image_flush (parent, err);
    if (r < 0)
      err_in (err, "parent %s", image_name (parent));
  }
  *written = c.written;
  return r;
}

/*--- Doing it ---------------------------------------------------------------*/

/* Step 1.  The child's file may be another after it, and its disk is opened
 * anew.
 */
static int
expect_change (struct offline *child, struct offline *parent,
               const char *path, uint8_t id[UUID_SIZE], struct err *err)
{
  struct image *img;
  int r;

  if (child->ops->expect_change == NULL)
    return 0;
  r = child->ops->expect_change (child, parent->img, path, id, err);
  parent->options.data_id = id;
  return r < 0 ? r : offline_reopen_image (child, &img, err);
}

/* Step 2. */
static int
grow_parent (struct offline *parent, const struct image_resize_plan *growth,
             struct job *job, struct err *err)
{
  int r = growth->size ? image_resize (parent, growth, job, err) : 0;

  return r < 0 ? err_in (err, "parent %s", block_name (parent->block)) : 0;
}

/* Steps 3 and 4. */
static int
copy (struct offline *child, struct offline *parent, uint64_t *written,
      struct job *job, struct err *err)
{
  struct image_options options = parent->options;
  CLEANUP_IMAGE struct image *img = NULL;
  uint64_t data;
  int r;

  options.writable = true;
  r = image_open_block (parent->block, &options, &img, NULL, err);
  if (r < 0)
    return err_in (err, "parent %s", block_name (parent->block));
  r = count_data (child->img, &data, err);
  if (r < 0)
    return r;
  job_start (job, "copying", data);
  return image_commit_data (child->img, img, written, job, err);
}

/* Step 5. */
static int
renew_link (struct offline *child, struct offline *parent, const char *path,
            struct err *err)
{
  struct image_rebase_plan plan = { .old_parent = NULL };
  int r = offline_reopen_image (parent, &plan.parent, err);

  if (r < 0)
    return err_in (err, "parent %s", block_name (parent->block));
  plan.new_parent = strdup (path);
  if (plan.new_parent == NULL)
    return err_nomem (err);
  r = child->ops->relink_plan (child, &plan, NULL, err);
  if (r == 0 && !plan.is_done)
    r = child->ops->relink (child, &plan, err);
  plan.parent = NULL;           /* not of the plan, but of parent */
  image_rebase_plan_free (&plan);
  return r;
}

int
image_commit_files (struct offline *child, struct offline *parent,
                    const char *path, uint64_t *written, struct job *job,
                    struct err *err)
{
  struct image_resize_plan growth;
  struct image *img;
  uint8_t id[UUID_SIZE];
  int r;

  *written = 0;
  child->options.lock = false;
  parent->options.size_rule = IMAGE_SIZE_CURRENT;
  r = offline_image (child, &img, NULL, err);
  if (r < 0)
    return r;
  r = check_parent (child, parent, &growth, err);
  if (r < 0)
    return err_in (err, "parent %s", block_name (parent->block));
  r = expect_change (child, parent, path, id, err);
  if (r == 0)
    r = grow_parent (parent, &growth, job, err);
  if (r == 0)
    r = copy (child, parent, written, job, err);
  parent->options.data_id = NULL;
  return r < 0 ? r : renew_link (child, parent, path, err);
}

int
image_commit (struct image_commit_plan *plan, uint64_t *written,
              struct job *job, struct err *err)
{
  CLEANUP_OFFLINE struct offline *parent = NULL;
  int r = open_parent (plan, &parent, err);

  if (r < 0)
    return err_in (err, "parent %s", plan->parent);
  r = image_commit_files (plan->child, parent, plan->parent, written, job,
                          err);
  plan->img = plan->child->img;
  return r;
}
