/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHDX says that another file is its parent: all of that is in
 * one metadata item, the parent locator (§2.6.2.6), which changes at once
 * (vhdx-edit.h).  So a crash leaves the old parent or the new one.
 *
 * The identity of its own data stays, so that who is differencing over it
 * still knows it; but where its disk becomes another, it gets a new one first.
 * A crash between the two leaves the disk as it was, under an identity that
 * nobody knows.
 *
 * While a disk is merged into its parent (commit.h), the locator has a second
 * identity, parent_linkage2: the one that the parent gets before the first of
 * its data changes.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/offline-ops.h"
#include "lib/format/vhdx/vhdx-rebase.h"

static const uint8_t locator_guid[UUID_SIZE] = VHDX_GUID_LOCATOR;

static const struct vhdx_layer *
parent_layer (const struct image_rebase_plan *plan)
{
  return ((const struct vhdx *) plan->parent->state)->leaf;
}

/*--- Planning ---------------------------------------------------------------*/

static int
check_chain (const struct offline *o, const struct vhdx_layer *parent,
             struct err *err)
{
  unsigned layers = 1;

  for (const struct vhdx_layer *l = parent; l; l = l->parent, ++layers)
    if (parent_is_same_file (l->block, o->block))
      return err_set (err, -EINVAL, "the chain would be a loop: %s",
                      l == parent ? "it can't be its own parent"
                                  : "the parent is differencing over it");
  if (layers > PARENT_MAX_LAYERS)
    return err_set (err, -EINVAL, "the parent has %u files in its chain "
                    "already, and %d are the most", layers - 1,
                    PARENT_MAX_LAYERS);
  return 0;
}

static int
check_parent (const struct vhdx_edit *e, const struct offline *o,
              struct image_rebase_plan *plan, struct err *err)
{
  const struct vhdx_layer *parent = parent_layer (plan);
  uint32_t size = e->layer->metadata.logical;

  if (!e->layer->metadata.has_parent)
    return err_set (err, -EINVAL, "is not differencing: it has no parent");
  if (parent->metadata.logical != size)
    return err_set (err, -EINVAL, "parent %s: has sectors of %" PRIu32
                    " bytes, and the image has sectors of %" PRIu32,
                    plan->new_parent, parent->metadata.logical, size);
  plan->is_same = vhdx_layer_knows (e->layer, parent->header.data_write_guid);
  return check_chain (o, parent, err);
}

/* The first name that the image has for its parent. */
static int
name_old_parent (const struct vhdx_edit *e, struct image_rebase_plan *plan,
                 struct err *err)
{
  const struct name_list *names = &e->layer->locator.names;

  if (names->len == 0 || plan->old_parent)
    return 0;
  plan->old_parent = strdup (names->ptr[0]);
  return plan->old_parent ? 0 : err_nomem (err);
}

/* The locator as it will be. */
static int
make_locator (const struct offline *o, const struct image_rebase_plan *plan,
              uint8_t **item, size_t *len, struct report *report,
              struct err *err)
{
  return vhdx_link_make (block_name (o->block), plan->new_parent,
                         parent_layer (plan)->header.data_write_guid, NULL,
                         item, len, report, err);
}

static int
see_if_done (struct vhdx_edit *e, const struct offline *o,
             struct image_rebase_plan *plan, struct report *report,
             struct err *err)
{
  CLEANUP_FREE uint8_t *old = NULL, *new = NULL;
  size_t old_len, new_len;
  int r = vhdx_edit_get_item (e, locator_guid, &old, &old_len, err);

  if (r == 0)
    r = make_locator (o, plan, &new, &new_len, report, err);
  if (r == 0)
    plan->is_done = old_len == new_len && memcmp (old, new, new_len) == 0 &&
      vhdx_edit_is_mended (e) && vhdx_edit_is_cut (e);
  return r;
}

int
vhdx_relink_plan (struct offline *o, struct image_rebase_plan *plan,
                  struct report *report, struct err *err)
{
  struct vhdx_edit e;
  int r = vhdx_edit_open (o->block, &o->options, &e, NULL, err);

  if (r == 0 && plan->parent)
    r = check_parent (&e, o, plan, err);
  if (r == 0)
    r = name_old_parent (&e, plan, err);
  if (r == 0 && plan->parent)
    r = see_if_done (&e, o, plan, report, err);
  else if (r == 0)
    plan->is_done = !e.layer->metadata.has_parent &&
      vhdx_edit_is_mended (&e);
  vhdx_edit_close (&e);
  return r;
}

/*--- Doing it ---------------------------------------------------------------*/

static int
begin (struct vhdx_edit *e, struct offline *o, struct err *err)
{
  int r = vhdx_edit_open (o->block, &o->options, e, NULL, err);

  return r < 0 ? r : vhdx_edit_begin (e, err);
}

/* All of it becomes true, and is on stable storage. */
static int
commit (struct vhdx_edit *e, struct err *err)
{
  int r = vhdx_edit_commit (e, err);

  return r < 0 ? r : vhdx_edit_cut (e, err);
}

static int
put_parent (struct vhdx_edit *e, const struct offline *o,
            const struct image_rebase_plan *plan, struct err *err)
{
  CLEANUP_FREE uint8_t *item = NULL;
  size_t len;
  int r = make_locator (o, plan, &item, &len, NULL, err);

  return r < 0 ? r : vhdx_edit_put_item (e, locator_guid, item, len, err);
}

int
vhdx_relink_image (struct offline *o, const struct image_rebase_plan *plan,
                   struct err *err)
{
  struct vhdx_edit e;
  int r = begin (&e, o, err);

  if (r == 0 && plan->changes_disk)
    r = vhdx_edit_new_data (&e, err);
  if (r == 0 && plan->parent)
    r = put_parent (&e, o, plan, err);
  else if (r == 0 && e.layer->metadata.has_parent)
    r = vhdx_make_alone (&e, err);
  if (r == 0)
    r = commit (&e, err);
  vhdx_edit_close (&e);
  return r;
}

/*--- A parent that becomes another ------------------------------------------*/

static int
put_second (struct vhdx_edit *e, struct offline *o, struct image *parent,
            const char *path, const uint8_t id[UUID_SIZE], struct err *err)
{
  const struct vhdx_layer *layer = ((const struct vhdx *) parent->state)->leaf;
  CLEANUP_FREE uint8_t *item = NULL;
  size_t len;
  int r = vhdx_link_make (block_name (o->block), path,
                          layer->header.data_write_guid, id, &item, &len,
                          NULL, err);

  return r < 0 ? r : vhdx_edit_put_item (e, locator_guid, item, len, err);
}

/* Each time a new one, even if there is one already that an interruption has
 * left: somebody may have made another child of the parent as that left it.
 */
int
vhdx_expect_change (struct offline *o, struct image *parent, const char *path,
                    uint8_t id[UUID_SIZE], struct err *err)
{
  struct vhdx_edit e;
  int r = begin (&e, o, err);

  if (r == 0)
    r = vhdx_guid_new (id, err);
  if (r == 0)
    r = put_second (&e, o, parent, path, id, err);
  if (r == 0)
    r = commit (&e, err);
  vhdx_edit_close (&e);
  return r;
}
