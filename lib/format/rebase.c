/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The image is compared with its new parent where it has nothing itself, in
 * pieces, and what differs is remembered in units of 4 KiB.  Then:
 *
 *   1. What differs is read through the image and written into it, which
 *      changes nothing of its disk.
 *   2. A flush.
 *   3. The image gets the new parent: the driver's relink.
 *
 * Zeros are written like anything else: as a hole they would be the new
 * parent's bytes afterwards.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/offline-ops.h"
#include "lib/format/rebase.h"

#define PIECE (1024 * 1024)
#define UNIT 4096
#define EXTENTS_AT_ONCE 1024

struct comparison {
  struct image *old, *new;
  struct image_rebase_plan *plan;
  uint8_t *a, *b;               /* a piece of each */
  struct job *job;
};

/*--- Comparing --------------------------------------------------------------*/

static bool
is_zero_kind (enum extent_kind kind)
{
  return kind == EXTENT_HOLE || kind == EXTENT_ZERO;
}

static int
add_range (struct image_rebase_plan *plan, uint64_t off, uint64_t len,
           struct err *err)
{
  struct extent e = { off, len, EXTENT_DATA, 0 };
  struct extent *last = plan->ranges.len > 0
    ? &plan->ranges.ptr[plan->ranges.len - 1] : NULL;

  plan->differs += len;
  if (last && last->off + last->len == off) {
    last->len += len;
    return 0;
  }
  return vector_append (&plan->ranges, &e) < 0 ? err_nomem (err) : 0;
}

/* Behind its end a parent is zero. */
static int
read_new (struct comparison *c, size_t len, uint64_t off, struct err *err)
{
  uint64_t size = image_size (c->new);
  size_t has = off < size ? (size_t) min_u64 (len, size - off) : 0;
  int r = image_pread (c->new, c->b, has, off, err);

  memset (c->b + has, 0, len - has);
  return r < 0 ? err_in (err, "parent %s", image_name (c->new)) : 0;
}

static int
compare_piece (struct comparison *c, size_t len, uint64_t off,
               struct err *err)
{
  int r = image_pread (c->old, c->a, len, off, err);

  if (r == 0)
    r = read_new (c, len, off, err);
  if (r < 0 || memcmp (c->a, c->b, len) == 0)
    return r;
  for (size_t i = 0, n; r == 0 && i < len; i += n) {
    n = (size_t) min_u64 (UNIT - (off + i) % UNIT, len - i);
    if (memcmp (c->a + i, c->b + i, n) != 0)
      r = add_range (c->plan, off + i, n, err);
  }
  return r;
}

/* How many bytes from off on are known to be zero in the new parent? */
static uint64_t
zeros_in_new (struct comparison *c, uint64_t len, uint64_t off)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { VECTOR_INIT, 1 };
  uint64_t size = image_size (c->new);

  if (off >= size)
    return len;
  if (image_extents (c->new, min_u64 (len, size - off), off, &list,
                     NULL) < 0 ||
      list.v.len == 0 || !is_zero_kind (list.v.ptr[0].kind))
    return 0;
  return min_u64 (len, list.v.ptr[0].len);
}

static int
compare_range (struct comparison *c, const struct extent *e, struct err *err)
{
  uint64_t off = e->off, len = e->len;

  while (len > 0) {
    uint64_t n = is_zero_kind (e->kind) ? zeros_in_new (c, len, off) : 0;
    int r = 0;

    if (n == 0) {
      n = min_u64 (len, PIECE);
      r = compare_piece (c, (size_t) n, off, err);
    }
    if (r == 0)
      r = job_advance (c->job, n, err);
    if (r < 0)
      return r;
    off += n;
    len -= n;
  }
  return 0;
}

static int
compare_all (struct comparison *c, struct err *err)
{
  uint64_t off = 0, size = image_size (c->old);
  int r = 0;

  job_start (c->job, "comparing", size);
  while (r == 0 && off < size) {
    CLEANUP_EXTENT_LIST struct extent_list list = {
      VECTOR_INIT, EXTENTS_AT_ONCE
    };

    r = image_extents (c->old, size - off, off, &list, err);
    for (size_t i = 0; r == 0 && i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];
      bool is_own = e->layer == 0 && !is_zero_kind (e->kind);

      r = is_own ? job_advance (c->job, e->len, err)
                 : compare_range (c, e, err);
    }
    off = extent_list_end (&list, off);
  }
  return r;
}

static int
compare (struct offline *o, struct image_rebase_plan *plan, struct job *job,
         struct err *err)
{
  CLEANUP_FREE uint8_t *a = malloc (PIECE), *b = malloc (PIECE);
  struct comparison c = { o->img, plan->parent, plan, a, b, job };

  return a && b ? compare_all (&c, err) : err_nomem (err);
}

/*--- Planning ---------------------------------------------------------------*/

static int
open_parent (struct offline *o, const char *path,
             struct image_rebase_plan *plan, struct report *report,
             struct err *err)
{
  struct image_options options = { .format = o->ops->name };
  int r;

  options.parent_path = o->options.parent_path;
  options.lock = true;
  plan->new_parent = strdup (path);
  if (plan->new_parent == NULL)
    return err_nomem (err);
  r = image_open (path, &options, &plan->parent, report, err);
  return r < 0 ? err_in (err, "parent %s", path) : 0;
}

/* Where the parent was found that the image names. */
static int
find_old_parent (struct offline *o, struct image_rebase_plan *plan,
                 struct err *err)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  int r = image_get_info (o->img, &info, err);

  if (r < 0)
    return r;
  if (info.layers.len < 2)
    return err_set (err, -EINVAL, "is not differencing: it has no parent");
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

int
image_rebase_plan (struct offline *o,
                   const struct image_rebase_options *options,
                   struct image_rebase_plan *plan, struct job *job,
                   struct report *report, struct err *err)
{
  struct image *img;
  int r = 0;

  memset (plan, 0, sizeof *plan);
  if (o->ops->relink == NULL)
    return err_set (err, -ENOTSUP, "images of the format %s have no parents",
                    o->ops->name);
  if (options->parent == NULL && options->is_unsafe)
    return err_set (err, -EINVAL, "which is the parent?");
  if (!options->is_unsafe) {
    r = offline_image (o, &img, report, err);
    if (r == 0)
      r = find_old_parent (o, plan, err);
  }
  if (r == 0)
    r = open_parent (o, options->parent ? options->parent : plan->old_parent,
                     plan, report, err);
  if (r == 0)
    r = o->ops->relink_plan (o, plan, report, err);
  if (r == 0)
    r = check_identity (options, plan, err);
  if (r == 0 && !options->is_unsafe)
    r = compare (o, plan, job, err);
  if (r == 0 && plan->differs > 0)
    plan->is_done = false;
  return r;
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

/* Steps 1 and 2. */
static int
copy (struct offline *o, const struct image_rebase_plan *plan,
      struct job *job, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  struct image_options options = o->options;
  int r = buf ? 0 : err_nomem (err);

  options.writable = true;
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
