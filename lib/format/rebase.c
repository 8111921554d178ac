/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The image is compared with its new parent where it has nothing itself, in
 * pieces, and what differs is remembered in units of 4 KiB
 * (rebase-compare.h).  Then:
 *
 *   1. What differs is read through the image and written into it, which
 *      changes nothing of its disk, nor the identity of its data.
 *   2. A flush.
 *   3. The image gets the new parent, or none: the driver's relink.
 *
 * Zeros are written like anything else: as a hole they would be the new
 * parent's bytes afterwards.
 *
 * Without a parent a disk is zero where it has nothing, so that it needs what
 * its parents have; and of a unit of allocation it has all or nothing, because
 * of a disk without a parent nobody asks which sectors are there.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/below.h"
#include "lib/format/offline-ops.h"
#include "lib/format/parent.h"
#include "lib/format/rebase-compare.h"
#include "lib/format/rebase.h"

#define PIECE (1024 * 1024)

/*--- Planning ---------------------------------------------------------------*/

/* A parent that is in use: by ourselves, because it is what is to get it, or
 * lies over that?
 */
static int
refuse_busy (struct offline *o, const char *path,
             const struct image_options *options, struct err *err)
{
  struct image_options reading = *options;
  CLEANUP_IMAGE struct image *img = NULL;
  int layer = -1;

  reading.lock = false;
  if (image_open (path, &reading, &img, NULL, NULL) == 0)
    layer = parent_layer_with_path (img, block_name (o->block));
  if (layer == 0)
    return err_set (err, -EINVAL, "is the image itself, which can't be its own "
                    "parent");
  if (layer > 0)
    return err_set (err, -EINVAL, "lies over the image itself, which can't be "
                    "its own parent");
  return -EBUSY;
}

static int
open_parent (struct offline *o, const char *path,
             struct image_rebase_plan *plan, struct report *report,
             struct err *err)
{
  const struct image_options options = {
    .parent_path = o->options.parent_path,
    .lock = true,
  };
  int r;

  plan->new_parent = strdup (path);
  if (plan->new_parent == NULL)
    return err_nomem (err);
  r = image_open (path, &options, &plan->parent, report, err);
  if (r == -EBUSY)
    r = refuse_busy (o, path, &options, err);
  if (r < 0)
    return err_in (err, "parent %s", path);
  if (below_never_changes (plan->parent))
    return err_set (err, -EINVAL, "parent %s: is a backup, which an overlay "
                    "(--overlay) lies over, and no other disk; with "
                    "--no-parent it gets all that its parents have",
                    image_title (plan->parent));
  if (plan->parent->ops != o->ops)
    return err_set (err, -EINVAL, "parent %s: is %s %s image; the parent of "
                    "a differencing %s is of the same format", path,
                    text_article (image_format (plan->parent)),
                    image_format (plan->parent), o->ops->name);
  return 0;
}

/* Where the parent was found that the image names; NULL: it has none. */
static int
find_old_parent (struct offline *o, struct image_rebase_plan *plan,
                 struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (o->img, &info, err);

  if (r < 0)
    return r;
  if (info.layers.len >= 2)
    plan->old_parent = steal_ptr (&info.layers.ptr[1].name);
  return 0;
}

static int
check_identity (const struct image_rebase_options *options,
                const struct image_rebase_plan *plan, struct err *err)
{
  if (!options->is_unsafe || plan->is_same || options->force)
    return 0;
  return err_set (err, -EINVAL, "%s is not the parent that it has, or was "
                  "copied from that: its unique id is another; --force takes "
                  "it all the same, and without --unsafe the disk stays what "
                  "it is", plan->new_parent);
}

/* What becomes different of the disk, which is open; then that is not done. */
static int
compare (struct offline *o, struct image_rebase_plan *plan, struct job *job,
         struct err *err)
{
  int r = rebase_compare (o->img, plan->parent, &plan->ranges, &plan->differs,
                          job, err);

  if (r == 0 && plan->parent == NULL)
    r = rebase_whole_units (o->img, &plan->ranges, &plan->differs, err);
  if (r == 0 && plan->differs > 0)
    plan->is_done = false;
  return r;
}

/* It may have none already, but for what an interruption has left. */
static int
plan_no_parent (struct offline *o, struct image_rebase_plan *plan,
                struct job *job, struct report *report, struct err *err)
{
  struct image *img;
  int r = offline_image (o, &img, report, err);

  if (r == 0)
    r = find_old_parent (o, plan, err);
  if (r == 0)
    r = o->ops->relink_plan (o, plan, report, err);
  return r < 0 || plan->old_parent == NULL ? r
    : compare (o, plan, job, err);
}

static int
plan_parent (struct offline *o, const struct image_rebase_options *options,
             struct image_rebase_plan *plan, struct job *job,
             struct report *report, struct err *err)
{
  struct image *img;
  int r = options->is_unsafe ? 0 : offline_image (o, &img, report, err);

  if (r == 0 && !options->is_unsafe)
    r = find_old_parent (o, plan, err);
  if (r == 0 && !options->is_unsafe && plan->old_parent == NULL)
    r = err_set (err, -EINVAL, "is not differencing: it has no parent");
  if (r == 0)
    r = open_parent (o, options->parent ? options->parent : plan->old_parent,
                     plan, report, err);
  plan->is_unsafe = options->is_unsafe;
  if (r == 0)
    r = o->ops->relink_plan (o, plan, report, err);
  plan->changes_disk = options->is_unsafe && !plan->is_same;
  if (r == 0)
    r = check_identity (options, plan, err);
  return r < 0 || options->is_unsafe ? r : compare (o, plan, job, err);
}

int
image_rebase_plan (struct offline *o,
                   const struct image_rebase_options *options,
                   struct image_rebase_plan *plan, struct job *job,
                   struct report *report, struct err *err)
{
  memset (plan, 0, sizeof *plan);
  if (o->ops->relink == NULL)
    return err_set (err, -ENOTSUP, "images of the format %s have no parents",
                    o->ops->name);
  if (options->no_parent && (options->parent || options->is_unsafe))
    return err_set (err, -EINVAL, "a parent, or none?");
  if (options->parent == NULL && options->is_unsafe)
    return err_set (err, -EINVAL, "which is the parent?");
  return options->no_parent ? plan_no_parent (o, plan, job, report, err)
    : plan_parent (o, options, plan, job, report, err);
}

void
image_rebase_plan_free (struct image_rebase_plan *plan)
{
  free (steal_ptr (&plan->old_parent));
  free (steal_ptr (&plan->new_parent));
  image_unref (steal_ptr (&plan->parent));
  vector_free (&plan->ranges);
}

/*--- Doing it ---------------------------------------------------------------*/

static int
copy_range (struct image *img, const struct extent *e, uint8_t *buf,
            struct job *job, struct err *err)
{
  for (uint64_t done = 0; done < e->len;) {
    size_t n = (size_t) min_u64 (e->len - done, PIECE);
    int r = image_pread (img, buf, n, e->off + done, err);

    if (r == 0)
      r = image_pwrite (img, buf, n, e->off + done, 0, err);
    if (r == 0)
      r = job_advance (job, n, err);
    if (r < 0)
      return r;
    done += n;
  }
  return 0;
}

/* Steps 1 and 2.  Who is differencing over the image knows it by what it
 * keeps.
 */
static int
copy (struct offline *o, const struct image_rebase_plan *plan,
      struct job *job, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  struct image_options options = o->options;
  uint8_t id[UUID_SIZE];
  int r = buf ? image_identity (o->img, id, err) : err_nomem (err);

  options.writable = true;
  options.data_id = id;
  if (r == 0)
    r = image_open_block (o->block, &options, &img, NULL, err);
  job_start (job, "copying", plan->differs);
  for (size_t i = 0; r == 0 && i < plan->ranges.len; ++i)
    r = copy_range (img, &plan->ranges.ptr[i], buf, job, err);
  return r < 0 ? r : image_flush (img, err);
}

int
image_rebase (struct offline *o, const struct image_rebase_plan *plan,
              struct job *job, struct err *err)
{
  int r = plan->differs > 0 ? copy (o, plan, job, err) : 0;

  if (r == 0)
    r = job_check (job, err);
  return r < 0 ? r : o->ops->relink (o, plan, err);
}
