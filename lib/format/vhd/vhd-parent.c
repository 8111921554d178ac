/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The chain of a differencing VHD.
 *
 * What is found in the places that the child gives (vhd-locator.c,
 * ../parent.h) is opened as a VHD and nothing else, and it is the parent if
 * its identity is the one in the child's header.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/checked.h"
#include "lib/block/file.h"
#include "lib/format/image-ops.h"
#include "lib/format/probe.h"
#include "lib/format/vhd/vhd.h"

/* The search for one parent. */
struct search {
  struct vhd_layer *leaf;
  struct vhd_layer *child;
  const struct image_options *options;
  struct vhd_layer *found;
};

static int
check_identity (struct search *s, const struct vhd_layer *candidate,
                struct err *err)
{
  const uint8_t *expected = s->child->header.parent_id;
  const uint8_t *found = candidate->footers.footer.id;
  char expected_id[UUID_STRING_SIZE], found_id[UUID_STRING_SIZE];

  if (memcmp (expected, found, UUID_SIZE) == 0)
    return 0;
  uuid_to_string (expected, expected_id);
  uuid_to_string (found, found_id);
  return err_set (err, -ENOENT, "found %s, but its identity is %s, expected "
                  "%s", block_name (candidate->block), found_id,
                  expected_id);
}

static int
check_loop (struct search *s, const struct vhd_layer *candidate,
            struct err *err)
{
  for (const struct vhd_layer *l = s->leaf; l; l = l->parent)
    if (parent_is_same_file (l->block, candidate->block))
      return err_set (err, -EBADMSG, "the chain is a loop: %s is a parent of "
                      "itself", block_name (candidate->block));
  return 0;
}

/* Nothing but the footer of the file is used until it is known that it is
 * the parent.
 */
static int
accept_vhd (struct search *s, struct block *block, struct report *report,
            struct err *err)
{
  struct vhd_layer *layer;
  int r;

  r = vhd_layer_new (block, s->options, &layer, report, err);
  if (r < 0) {
    err_in (err, "%s", block_name (block));
    return r;
  }
  r = check_identity (s, layer, err);
  if (r == 0)
    r = check_loop (s, layer, err);
  if (r == 0)
    s->found = layer;
  else
    vhd_layer_free (layer);
  return r;
}

static int
accept_parent (void *opaque, struct block *block, struct report *report,
               struct err *err)
{
  const struct image_ops *ops = &vhd_image_ops;
  struct search *s = opaque;
  int r = 0;

  if (vhd_base_is_possible (s->child))
    r = probe_format (block, NULL, &ops, err);
  if (r < 0) {
    err_in (err, "%s", block_name (block));
    return r;
  }
  if (ops != &vhd_image_ops)
    return vhd_base_accept (s->child, block, s->options, &s->found, report,
                            err);
  return accept_vhd (s, block, report, err);
}

/* *parent is not touched on failure. */
static int
find_parent (struct vhd_layer *leaf, struct vhd_layer *child,
             const struct folder_vector *path_folders,
             const struct image_options *options, struct vhd_layer **parent,
             struct report *report, struct err *err)
{
  struct search s = { .leaf = leaf, .child = child, .options = options };
  struct name_list names = VECTOR_INIT;
  struct folder own = FOLDER_INIT;
  char id[UUID_STRING_SIZE];
  const struct parent_search ask = {
    .leaf_folder = &leaf->folder,
    .child_folder = &child->folder,
    .path_folders = path_folders,
    .names = &names,
    .identity = id,
    .lock = options->lock,
    .accept = accept_parent,
    .opaque = &s,
  };
  int r;

  uuid_to_string (child->header.parent_id, id);
  r = vhd_locator_names (child, &names, report, err);
  if (r == 0)
    r = parent_find (&ask, &own, report, err);
  name_list_free (&names);
  if (r < 0) {
    folder_close (&own);
    vhd_layer_free (s.found);
    return r;
  }
  s.found->folder = own;
  *parent = s.found;
  return 0;
}

/* The specification has the child state when the file of its parent was last
 * written, and so we do.  Of others it is not known whether they mean the time
 * in the parent's footer, of its creation: both are right there.  Of ours it is
 * not: a parent that was made within a second has its time of creation in the
 * child, and would match whatever was written to it later.
 */
static bool
is_time_of (const struct vhd_layer *child, const struct vhd_layer *parent)
{
  uint32_t stated = child->header.parent_timestamp;
  struct stat st;

  if (fstat (block_file_fd (parent->block), &st) < 0 ||
      st.st_mtime == (time_t) stated + VHD_EPOCH)
    return true;
  return stated == parent->footers.footer.timestamp &&
    !vhd_creator_is (&child->footers.footer, VHD_OUR_CREATOR);
}

/* What may be worth a look but proves nothing: copying a file changes its
 * time, and genuine chains have no time at all.
 */
void
vhd_parent_compare (const struct vhd_layer *child,
                    const struct vhd_layer *parent, struct report *report)
{
  if (round_up (parent->size, VHD_SECTOR_SIZE) !=
      child->footers.footer.current_size)
    report_warn (report, "%s: has a disk of %" PRIu64 " bytes, its parent %s "
                 "one of %" PRIu64, block_name (child->block),
                 child->footers.footer.current_size,
                 block_name (parent->block), parent->size);
  if (child->header.parent_timestamp == 0 || is_time_of (child, parent))
    return;
  report_warn (report, "%s: was made for another time of its parent %s; if "
               "the parent was changed since, what is read is wrong",
               block_name (child->block), block_name (parent->block));
}

/* Files that were made without an identity have sixteen zeros, and all of
 * them the same.
 */
static bool
names_no_identity (const struct vhd_layer *child)
{
  static const uint8_t zeros[UUID_SIZE];

  return memcmp (child->header.parent_id, zeros, sizeof zeros) == 0;
}

static void
adopt (struct vhd_layer *child, struct vhd_layer *parent)
{
  child->parent = parent;
  parent->number = child->number + 1;
  parent->cache = child->cache;
}

int
vhd_parent_find (struct vhd_layer *leaf, struct vhd_layer *child,
                 const struct folder_vector *path_folders,
                 const struct image_options *options, struct report *report,
                 struct err *err)
{
  struct vhd_layer *parent = NULL;
  int r;

  if (child->number + 1 >= PARENT_MAX_LAYERS)
    return err_set (err, -ENOTSUP, "the chain of parents is longer than %d "
                    "files", PARENT_MAX_LAYERS);
  if (names_no_identity (child))
    r = err_set (err, -EBADMSG, "the identity of the parent in the dynamic "
                 "header at offset %" PRIu64 " is all zeros: no file can be "
                 "known to be the parent", child->footers.footer.data_offset);
  else
    r = find_parent (leaf, child, path_folders, options, &parent, report,
                     err);
  if (r < 0)
    return r;
  adopt (child, parent);
  return 0;
}

static int
open_parent (struct vhd_layer *leaf, struct vhd_layer *child,
             const struct folder_vector *path_folders,
             const struct image_options *options, struct report *report,
             struct err *err)
{
  struct vhd_layer *parent;
  int r = vhd_parent_find (leaf, child, path_folders, options, report, err);

  if (r < 0) {
    if (child->number > 0)
      err_in (err, "parent %s", block_name (child->block));
    return r;
  }
  parent = child->parent;
  parent->bat_room = child->bat_room;
  if (child->bat.entries)
    parent->bat_room -= child->bat.nr_entries;
  /* All of the parent that there is: no byte of it is out of reach of a
   * child whose size follows another rule.
   */
  r = vhd_layer_open (parent, IMAGE_SIZE_CURRENT, options, report, err);
  if (r < 0) {
    err_in (err, "parent %s", block_name (parent->block));
    return r;
  }
  vhd_parent_compare (child, child->parent, report);
  return 0;
}

/* Over a disk that who opens the leaf knows. */
static int
open_over (struct vhd_layer *leaf, const struct image_options *options,
           struct report *report, struct err *err)
{
  struct vhd_layer *layer;
  int r;

  if (leaf->footers.footer.type != VHD_DIFFERENCING)
    return err_set (err, -EINVAL, "is a %s VHD, which lies over no other "
                    "disk", vhd_type_to_string (leaf->footers.footer.type));
  r = vhd_base_layer_new (leaf, options->base, &layer, report, err);
  if (r < 0)
    return r;
  adopt (leaf, layer);
  return vhd_layer_open (layer, IMAGE_SIZE_CURRENT, options, report, err);
}

int
vhd_chain_open (struct vhd_layer *leaf, const struct image_options *options,
                struct report *report, struct err *err)
{
  struct folder_vector folders = VECTOR_INIT;
  struct vhd_layer *child = leaf;
  int r;

  if (options->base)
    return open_over (leaf, options, report, err);
  if (leaf->footers.footer.type != VHD_DIFFERENCING)
    return 0;
  r = parent_path_folders (options->parent_path, &folders, err);
  if (r == 0)
    r = parent_leaf_folder (leaf->block, &leaf->folder, report, err);
  while (r == 0 && child->footers.footer.type == VHD_DIFFERENCING) {
    r = open_parent (leaf, child, &folders, options, report, err);
    child = child->parent;
  }
  parent_folders_free (&folders);
  for (struct vhd_layer *l = leaf; l; l = l->parent)
    folder_close (&l->folder);
  return r;
}

/*--- The other direction ----------------------------------------------------*/

bool
vhd_is_child (struct image *img, struct block *block)
{
  const struct vhd_layer *parent = ((const struct vhd *) img->state)->leaf;
  static const struct image_options options;
  struct vhd_layer *child = NULL;
  struct vhd_header header;
  bool is;

  is = vhd_layer_new (block, &options, &child, NULL, NULL) == 0 &&
    child->footers.footer.type == VHD_DIFFERENCING &&
    vhd_header_read (block, &child->footers, 0, false, &header, NULL,
                     NULL) == 0 &&
    memcmp (header.parent_id, parent->footers.footer.id, UUID_SIZE) == 0;
  vhd_layer_free (child);
  return is;
}
