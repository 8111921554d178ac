/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The chain of a differencing VHDX.
 *
 * What is found in the places that the child gives (vhdx-locator.c,
 * ../parent.h) is opened as a VHDX and nothing else, and it is the parent if
 * the identity of its data is one that the child was made for.  That changes
 * with the first write to the parent, so that a parent that was written to
 * behind its child's back is none any more.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/format/probe.h"
#include "lib/format/vhdx/vhdx.h"

/* The search for one parent. */
struct search {
  struct vhdx_layer *leaf;
  struct vhdx_layer *child;
  const struct image_options *options;
  struct vhdx_layer *found;
};

bool
vhdx_layer_knows (const struct vhdx_layer *layer, const uint8_t id[UUID_SIZE])
{
  const struct vhdx_locator *locator = &layer->locator;

  for (unsigned i = 0; i < locator->nr_linkages; ++i)
    if (memcmp (locator->linkage[i], id, UUID_SIZE) == 0)
      return true;
  return false;
}

static int
check_identity (const struct vhdx_layer *child,
                const struct vhdx_layer *candidate, struct err *err)
{
  const uint8_t *found = candidate->header.data_write_guid;
  char expected_id[UUID_STRING_SIZE], found_id[UUID_STRING_SIZE];

  if (vhdx_layer_knows (child, found))
    return 0;
  guid_to_string (child->locator.linkage[0], expected_id);
  guid_to_string (found, found_id);
  return err_set (err, -ENOENT, "found %s, but the identity of its data is "
                  "%s, expected %s", block_name (candidate->block), found_id,
                  expected_id);
}

static int
check_loop (const struct vhdx_layer *leaf,
            const struct vhdx_layer *candidate, struct err *err)
{
  for (const struct vhdx_layer *l = leaf; l; l = l->parent)
    if (parent_is_same_file (l->block, candidate->block))
      return err_set (err, -EBADMSG, "the chain is a loop: %s is a parent of "
                      "itself", block_name (candidate->block));
  return 0;
}

/* Nothing but the header of the file is used until it is known that it is
 * the parent.
 */
static int
accept_vhdx (struct search *s, struct block *block, struct report *report,
             struct err *err)
{
  struct vhdx_layer *layer;
  int r;

  r = vhdx_layer_new (block, s->options, &layer, report, err);
  if (r < 0) {
    err_in (err, "%s", block_name (block));
    return r;
  }
  r = check_identity (s->child, layer, err);
  if (r == 0)
    r = check_loop (s->leaf, layer, err);
  if (r == 0)
    s->found = layer;
  else
    vhdx_layer_free (layer);
  return r;
}

static int
accept_parent (void *opaque, struct block *block, struct report *report,
               struct err *err)
{
  const struct image_ops *ops = &vhdx_image_ops;
  struct search *s = opaque;
  int r = 0;

  if (vhdx_base_is_possible (s->child))
    r = probe_format (block, NULL, &ops, err);
  if (r < 0) {
    err_in (err, "%s", block_name (block));
    return r;
  }
  if (ops != &vhdx_image_ops)
    return vhdx_base_accept (s->child, block, s->options, &s->found, report,
                             err);
  return accept_vhdx (s, block, report, err);
}

/* *parent is not touched on failure. */
static int
find_parent (struct vhdx_layer *leaf, struct vhdx_layer *child,
             const struct folder_vector *path_folders,
             const struct image_options *options, struct vhdx_layer **parent,
             struct report *report, struct err *err)
{
  struct search s = { .leaf = leaf, .child = child, .options = options };
  struct folder own = FOLDER_INIT;
  char id[UUID_STRING_SIZE];
  const struct parent_search ask = {
    .leaf_folder = &leaf->folder,
    .child_folder = &child->folder,
    .path_folders = path_folders,
    .names = &child->locator.names,
    .identity = id,
    .lock = options->lock,
    .accept = accept_parent,
    .opaque = &s,
  };
  int r;

  guid_to_string (child->locator.linkage[0], id);
  r = parent_find (&ask, &own, report, err);
  if (r < 0) {
    folder_close (&own);
    vhdx_layer_free (s.found);
    return r;
  }
  s.found->folder = own;
  *parent = s.found;
  return 0;
}

/* A parent may be longer or shorter, when the child was resized: behind its
 * end there are zeros.  Sectors of another size would make another disk.
 */
int
vhdx_parent_compare (const struct vhdx_layer *child,
                     const struct vhdx_layer *parent, struct report *report,
                     struct err *err)
{
  const struct vhdx_metadata *c = &child->metadata, *p = &parent->metadata;

  if (p->logical != c->logical)
    return err_set (err, -EBADMSG, "has sectors of %" PRIu32 " bytes, but its "
                    "child %s has sectors of %" PRIu32, p->logical,
                    block_name (child->block), c->logical);
  if (round_up (p->size, p->logical) != c->size)
    report_warn (report, "%s: has a disk of %" PRIu64 " bytes, its parent %s "
                 "one of %" PRIu64, block_name (child->block), c->size,
                 block_name (parent->block), p->size);
  return 0;
}

/* What is held of tables is bounded for the whole chain; every one of them
 * was checked.
 */
static void
bound_tables (const struct vhdx_layer *leaf, struct vhdx_layer *parent)
{
  uint64_t held = 0;

  for (const struct vhdx_layer *l = leaf; l; l = l->parent)
    if (l->bat.entries)
      held += l->bat.nr_entries;
  if (held > VHDX_BAT_MAX_HELD)
    vhdx_bat_close (&parent->bat);
}

static void
adopt (struct vhdx_layer *child, struct vhdx_layer *parent)
{
  child->parent = parent;
  parent->number = child->number + 1;
  parent->cache = child->cache;
}

int
vhdx_parent_find (struct vhdx_layer *leaf, struct vhdx_layer *child,
                  const struct folder_vector *path_folders,
                  const struct image_options *options, struct report *report,
                  struct err *err)
{
  struct vhdx_layer *parent;
  int r;

  if (child->number + 1 >= PARENT_MAX_LAYERS)
    return err_set (err, -ENOTSUP, "the chain of parents is longer than %d "
                    "files", PARENT_MAX_LAYERS);
  r = find_parent (leaf, child, path_folders, options, &parent, report, err);
  if (r < 0)
    return r;
  adopt (child, parent);
  return 0;
}

static int
open_parent (struct vhdx_layer *leaf, struct vhdx_layer *child,
             const struct folder_vector *path_folders,
             const struct image_options *options, struct report *report,
             struct err *err)
{
  struct vhdx_layer *parent;
  int r = vhdx_parent_find (leaf, child, path_folders, options, report, err);

  if (r < 0) {
    if (child->number > 0)
      err_in (err, "parent %s", block_name (child->block));
    return r;
  }
  parent = child->parent;
  r = vhdx_layer_open (parent, options, report, err);
  bound_tables (leaf, parent);
  if (r == 0)
    r = vhdx_parent_compare (child, parent, report, err);
  if (r < 0)
    err_in (err, "parent %s", block_name (parent->block));
  return r;
}

/* Over a disk that who opens the leaf knows. */
static int
open_over (struct vhdx_layer *leaf, const struct image_options *options,
           struct report *report, struct err *err)
{
  struct vhdx_layer *layer;
  int r;

  if (!leaf->metadata.has_parent)
    return err_set (err, -EINVAL, "is a %s VHDX, which lies over no other "
                    "disk", vhdx_layer_type (leaf));
  r = vhdx_base_layer_new (leaf, options->base, &layer, report, err);
  if (r < 0)
    return r;
  adopt (leaf, layer);
  return vhdx_parent_compare (leaf, layer, report, err);
}

int
vhdx_chain_open (struct vhdx_layer *leaf, const struct image_options *options,
                 struct report *report, struct err *err)
{
  struct folder_vector folders = VECTOR_INIT;
  struct vhdx_layer *child = leaf;
  int r;

  if (options->base)
    return open_over (leaf, options, report, err);
  if (!leaf->metadata.has_parent)
    return 0;
  r = parent_path_folders (options->parent_path, &folders, err);
  if (r == 0)
    r = parent_leaf_folder (leaf->block, &leaf->folder, report, err);
  while (r == 0 && child->metadata.has_parent) {
    r = open_parent (leaf, child, &folders, options, report, err);
    child = child->parent;
  }
  parent_folders_free (&folders);
  for (struct vhdx_layer *l = leaf; l; l = l->parent)
    folder_close (&l->folder);
  return r;
}

bool
vhdx_is_child (struct image *img, struct block *block)
{
  const struct vhdx_layer *parent = ((const struct vhdx *) img->state)->leaf;
  static const struct image_options options;
  struct vhdx_layer *child = NULL;
  bool is;

  is = vhdx_layer_new (block, &options, &child, NULL, NULL) == 0 &&
    vhdx_layer_describe (child, &options, NULL, NULL) == 0 &&
    child->metadata.has_parent &&
    vhdx_layer_knows (child, parent->header.data_write_guid);
  vhdx_layer_free (child);
  return is;
}
