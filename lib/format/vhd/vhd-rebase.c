/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHD says that another file is its parent: identity, time and
 * name in the dynamic header, and the texts of the locators.  vhd-relink.c
 * tells in which order all of that is written.
 *
 * To have none:
 *
 *   1. The footers say that the disk is dynamic: vhd-edit.c.
 *   2. All of what the header says about a parent becomes zero, and the texts
 *      are gone: vhd-relink.c.
 *
 * A crash within 1: it has its parent or none, and either way the disk is the
 * same, as it has all of its bytes.  After that, what the header says is not
 * heeded any more, and goes away when the same is done again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/offline-ops.h"
#include "lib/format/vhd/vhd-rebase.h"

static const struct vhd_layer *
parent_layer (const struct image_rebase_plan *plan)
{
  return ((const struct vhd *) plan->parent->state)->leaf;
}

static int
check_chain (const struct offline *o, const struct vhd_layer *parent,
             struct err *err)
{
  unsigned layers = 1;

  for (const struct vhd_layer *l = parent; l; l = l->parent, ++layers)
    if (parent_is_same_file (l->block, o->block))
      return err_set (err, -EINVAL, "the chain would be a loop: %s",
                      l == parent ? "it can't be its own parent"
                                  : "the parent is differencing over it");
  if (layers > PARENT_MAX_LAYERS)
    return err_set (err, -EINVAL, "the parent has %u files in its chain "
                    "already, and %d are the most", layers - 1,
                    PARENT_MAX_LAYERS);
  if (uuid_is_zero (parent->footers.footer.id))
    return err_set (err, -EINVAL, "the parent has no unique id, by which it "
                    "could be known");
  return 0;
}

/* The first name that the image has for its parent. */
static int
name_old_parent (const struct vhd_edit *e, struct image_rebase_plan *plan,
                 struct report *report, struct err *err)
{
  struct name_list names = VECTOR_INIT;
  int r = vhd_locator_names (e->layer, &names, report, err);

  if (r == 0 && names.len > 0 && plan->old_parent == NULL) {
    plan->old_parent = strdup (names.ptr[0]);
    if (plan->old_parent == NULL)
      r = err_nomem (err);
  }
  name_list_free (&names);
  return r;
}

/* e->header as it will be, but for the locators. */
static void
put_parent (struct vhd_edit *e, const struct image_rebase_plan *plan)
{
  if (plan->parent == NULL) {
    memset (e->header + VHD_HEADER_PARENT_ID, 0, UUID_SIZE);
    put_be32 (e->header + VHD_HEADER_PARENT_TIMESTAMP, 0);
    return;
  }
  memcpy (e->header + VHD_HEADER_PARENT_ID,
          parent_layer (plan)->footers.footer.id, UUID_SIZE);
  put_be32 (e->header + VHD_HEADER_PARENT_TIMESTAMP,
            vhd_link_time (image_block (plan->parent)));
}

/* What it is to say besides. */
static int
make_link (const struct offline *o, const struct image_rebase_plan *plan,
           struct vhd_link *link, struct report *report, struct err *err)
{
  memset (link, 0, sizeof *link);
  return plan->parent ? vhd_link_make (block_name (o->block),
                                       plan->new_parent, link, report, err)
                      : 0;
}

static bool
is_differencing (const struct vhd_edit *e)
{
  return e->layer->footers.footer.type == VHD_DIFFERENCING;
}

static int
see_if_done (struct vhd_edit *e, const struct offline *o,
             struct image_rebase_plan *plan, struct report *report,
             struct err *err)
{
  uint8_t old[VHD_HEADER_SIZE];
  struct vhd_link link;
  int r;

  memcpy (old, e->header, sizeof old);
  put_parent (e, plan);
  r = make_link (o, plan, &link, report, err);
  if (r == 0)
    r = vhd_relink_compare (e, &link, &plan->is_done, err);
  vhd_link_free (&link);
  plan->is_done = plan->is_done && vhd_edit_is_mended (e) &&
    vhd_edit_is_cut (e) && memcmp (old, e->header, sizeof old) == 0 &&
    plan->parent != NULL;
  return r;
}

static int
check_parent (const struct vhd_edit *e, const struct offline *o,
              struct image_rebase_plan *plan, struct err *err)
{
  int r;

  if (!is_differencing (e))
    return err_set (err, -EINVAL, "is not differencing: it has no parent");
  r = check_chain (o, parent_layer (plan), err);
  plan->is_same = r == 0 && memcmp (e->layer->header.parent_id,
                                    parent_layer (plan)->footers.footer.id,
                                    UUID_SIZE) == 0;
  return r;
}

/* Is nothing left of a parent, or of how it got lost, in a disk that has none?
 */
static bool
is_alone (const struct vhd_edit *e)
{
  return vhd_layer_is_fixed (e->layer) ||
    (vhd_edit_is_mended (e) && uuid_is_zero (e->layer->header.parent_id));
}

int
vhd_relink_plan (struct offline *o, struct image_rebase_plan *plan,
                 struct report *report, struct err *err)
{
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0 && plan->parent)
    r = check_parent (&e, o, plan, err);
  /* The time is all that would tell that it was changed, and is replaced. */
  if (r == 0 && plan->is_unsafe && plan->is_same)
    vhd_parent_compare (e.layer, parent_layer (plan), report);
  if (r == 0 && is_differencing (&e))
    r = name_old_parent (&e, plan, report, err);
  if (r == 0 && plan->parent == NULL && !is_differencing (&e))
    plan->is_done = is_alone (&e);
  else if (r == 0)
    r = see_if_done (&e, o, plan, report, err);
  vhd_edit_close (&e);
  return r;
}

/* Step 1. */
static int
become_dynamic (struct vhd_edit *e, struct err *err)
{
  int r = vhd_edit_set_type (e, VHD_DYNAMIC, err);

  return r < 0 ? r : vhd_edit_reload (e, err);
}

int
vhd_relink_image (struct offline *o, const struct image_rebase_plan *plan,
                  struct err *err)
{
  struct vhd_link link = { .name = { 0 } };
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0)
    r = vhd_edit_mend (&e, err);
  if (r == 0)
    r = make_link (o, plan, &link, NULL, err);
  if (r == 0 && plan->parent == NULL && is_differencing (&e))
    r = become_dynamic (&e, err);
  if (r == 0) {
    put_parent (&e, plan);
    r = vhd_relink (&e, &link, 0, 0, err);
  }
  vhd_link_free (&link);
  vhd_edit_close (&e);
  return r;
}
