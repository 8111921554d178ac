/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHD says that another file is its parent: identity, time and
 * name in the dynamic header, and the texts of the locators.  vhd-relink.c
 * tells in which order all of that is written.
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
  memcpy (e->header + VHD_HEADER_PARENT_ID,
          parent_layer (plan)->footers.footer.id, UUID_SIZE);
  put_be32 (e->header + VHD_HEADER_PARENT_TIMESTAMP,
            vhd_link_time (image_block (plan->parent)));
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
  r = vhd_link_make (block_name (o->block), plan->new_parent, &link, report,
                     err);
  if (r == 0)
    r = vhd_relink_compare (e, &link, &plan->is_done, err);
  vhd_link_free (&link);
  plan->is_done = plan->is_done && vhd_edit_is_mended (e) &&
    vhd_edit_is_cut (e) && memcmp (old, e->header, sizeof old) == 0;
  return r;
}

int
vhd_relink_plan (struct offline *o, struct image_rebase_plan *plan,
                 struct report *report, struct err *err)
{
  struct vhd_edit e;
  int r = vhd_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0 && e.layer->footers.footer.type != VHD_DIFFERENCING)
    r = err_set (err, -EINVAL, "is not differencing: it has no parent");
  if (r == 0)
    r = check_chain (o, parent_layer (plan), err);
  if (r == 0)
    r = name_old_parent (&e, plan, report, err);
  if (r == 0) {
    plan->is_same = memcmp (e.layer->header.parent_id,
                            parent_layer (plan)->footers.footer.id,
                            UUID_SIZE) == 0;
    r = see_if_done (&e, o, plan, report, err);
  }
  vhd_edit_close (&e);
  return r;
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
    r = vhd_link_make (block_name (o->block), plan->new_parent, &link, NULL,
                       err);
  if (r == 0) {
    put_parent (&e, plan);
    r = vhd_relink (&e, &link, 0, 0, err);
  }
  vhd_link_free (&link);
  vhd_edit_close (&e);
  return r;
}
