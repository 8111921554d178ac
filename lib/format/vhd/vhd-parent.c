/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Finding the parents of a differencing VHD.
 *
 * Every path that the child gives (vhd-locator.c) is tried in the child's
 * own folder and then in each folder of the parent-path option.  Paths never
 * lead out of the folder they are tried in (lib/base/beneath.h); one with
 * ".." in it, or an absolute one, counts when the place it means is in a
 * folder that is allowed.  If nothing is found this way, the same again with
 * names that differ in case.
 *
 * What is found is opened as a VHD and nothing else, and it is the parent if
 * its identity is the one in the child's header.  Anything else is passed
 * over, and remembered to be able to say what was wrong.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/vhd/vhd.h"

/* The search for one parent. */
struct search {
  struct vhd_layer *leaf;       /* whose folder is allowed to all */
  struct vhd_layer *child;
  const struct vhd_folder_vector *path_folders;
  const struct image_options *options;
  struct vhd_names names;       /* from the child */
  bool similar;                 /* try names that differ in case */

  struct vhd_names tried;       /* full paths, each is tried once */
  struct err miss;              /* the best reason why it failed so far */
  bool miss_is_candidate;       /* a file was found, but not the parent */

  struct vhd_layer *found;      /* with its folder */
  struct report *report;
};

static void
remember_miss (struct search *s, bool is_candidate, const struct err *err)
{
  if (s->miss.code != 0 && (s->miss_is_candidate || !is_candidate))
    return;
  s->miss = *err;
  s->miss_is_candidate = is_candidate;
}

/*--- Is this file the parent? -----------------------------------------------*/

static bool
same_file (const struct block *a, const struct block *b)
{
  int fd_a = block_file_fd (a), fd_b = block_file_fd (b);
  struct stat st_a, st_b;

  return fd_a >= 0 && fd_b >= 0 &&
    fstat (fd_a, &st_a) == 0 && fstat (fd_b, &st_b) == 0 &&
    st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino;
}

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
    if (same_file (l->block, candidate->block))
      return err_set (err, -EBADMSG, "the chain is a loop: %s is a parent of "
                      "itself", block_name (candidate->block));
  return 0;
}

/* Nothing but the footer of the file is used until it is known that it is
 * the parent.
 */
static int
open_candidate (struct search *s, struct block *block, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct vhd_layer *layer;
  int r;

  r = vhd_layer_new (block, s->options, &layer, &report, err);
  if (r < 0) {
    err_in (err, "%s", block_name (block));
    return r;
  }
  r = check_identity (s, layer, err);
  if (r == 0)
    r = check_loop (s, layer, err);
  if (r < 0) {
    vhd_layer_free (layer);
    return r;
  }
  report_move (s->report, &report);
  s->found = layer;
  return 0;
}

/* Takes the descriptor over. */
static int
open_fd (struct search *s, int fd_taken, const char *name, struct err *err)
{
  CLEANUP_CLOSE int fd = fd_taken;
  CLEANUP_BLOCK struct block *block = NULL;
  unsigned flags = s->options->lock ? BLOCK_FILE_LOCK : 0;
  int r;

  r = block_file_from_fd (fd, name, flags, &block, s->report, err);
  if (r < 0) {
    err_in (err, "%s", name);
    return r;
  }
  steal_fd (&fd);
  return open_candidate (s, block, err);
}

/* The folder of what was found at path in folder, where its own parent is
 * looked for first.
 */
static int
open_own_folder (struct search *s, const struct vhd_folder *folder,
                 const char *path, struct err *err)
{
  struct vhd_folder *own = &s->found->folder;
  const char *slash = strrchr (path, '/');
  CLEANUP_FREE char *dir = strndup (path, slash ? (size_t) (slash - path) : 0);
  const char *sep;
  int r;

  if (dir == NULL)
    return err_nomem (err);
  r = beneath_open_folder (folder->fd, dir, &own->fd, err);
  if (r < 0)
    return r;
  sep = dir[0] ? "/" : "";
  if (asprintf (&own->path, "%s%s%s", folder->path, sep, dir) < 0)
    own->path = NULL;
  if (asprintf (&own->real_path, "%s%s%s", folder->real_path, sep, dir) < 0)
    own->real_path = NULL;
  return own->path && own->real_path ? 0 : err_nomem (err);
}

/*--- Where to look ----------------------------------------------------------*/

/* True if it had been tried before. */
static int
mark_tried (struct search *s, const char *name, struct err *err)
{
  char *copy;

  for (size_t i = 0; i < s->tried.len; ++i)
    if (strcmp (s->tried.ptr[i], name) == 0)
      return 1;
  copy = strdup (name);
  if (copy && vector_append (&s->tried, &copy) == 0)
    return 0;
  free (copy);
  return err_nomem (err);
}

/* s->found is set if this was it.  Fails only when there is no point in
 * going on.
 */
static int
try_path (struct search *s, const struct vhd_folder *folder,
          const char *path, struct err *err)
{
  CLEANUP_FREE char *name = NULL;
  struct err why = ERR_INIT;
  int fd, r;

  if (asprintf (&name, "%s/%s", folder->path, path) < 0) {
    name = NULL;
    return err_nomem (err);
  }
  r = mark_tried (s, name, err);
  if (r != 0)
    return r < 0 ? r : 0;
  r = beneath_open_file (folder->fd, path, &fd, &why);
  if (r == -ENOENT || r == -ENOTDIR)
    return 0;
  if (r == -EXDEV)
    err_set (&why, r, "‘%s’ leads out of the folder %s", path, folder->path);
  else if (r < 0)
    err_in (&why, "in the folder %s", folder->path);
  if (r < 0) {
    remember_miss (s, false, &why);
    return 0;
  }
  r = open_fd (s, fd, name, &why);
  if (r == 0)
    return open_own_folder (s, folder, path, err);
  remember_miss (s, true, &why);
  return r == -ENOMEM ? err_nomem (err) : 0;
}

static int
try_name (struct search *s, const struct vhd_folder *folder,
          const char *path, struct err *err)
{
  struct vhd_names similar = VECTOR_INIT;
  int r;

  if (!s->similar)
    return try_path (s, folder, path, err);
  /* A folder that can't be read was reported when the name was tried. */
  r = vhd_folder_similar (folder, path, &similar, NULL);
  r = r == -ENOMEM ? err_nomem (err) : 0;
  for (size_t i = 0; r == 0 && s->found == NULL && i < similar.len; ++i)
    r = try_path (s, folder, similar.ptr[i], err);
  vhd_names_free (&similar);
  return r;
}

/* If the absolute path is inside the folder. */
static int
try_absolute (struct search *s, const struct vhd_folder *folder,
              const char *path, struct err *err)
{
  const char *rest;

  if (folder->fd < 0 || s->found)
    return 0;
  rest = vhd_folder_inside (folder, path);
  return rest && *rest ? try_name (s, folder, rest, err) : 0;
}

static int
try_folder (struct search *s, const struct vhd_folder *folder,
            struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && s->found == NULL && i < s->names.len; ++i) {
    const char *name = s->names.ptr[i];

    r = name[0] == '/' ? try_absolute (s, folder, name, err)
                       : try_name (s, folder, name, err);
  }
  return r;
}

/* Take "." and ".." out of an absolute path, in place. */
static void
normalize (char *path)
{
  char *out = path, *save = NULL;

  for (char *part = strtok_r (path, "/", &save); part;
       part = strtok_r (NULL, "/", &save)) {
    size_t len = strlen (part);

    if (strcmp (part, ".") == 0)
      continue;
    if (strcmp (part, "..") == 0) {
      while (out > path && *--out != '/')
        ;
      continue;
    }
    *out++ = '/';
    memmove (out, part, len);
    out += len;
  }
  *out = '\0';
}

/* A relative path that leaves the child's folder: it may mean a place in
 * another folder that is allowed.
 */
static int
try_elsewhere (struct search *s, const char *name, struct err *err)
{
  CLEANUP_FREE char *path = NULL;
  int r;

  if (name[0] == '/' || strstr (name, "..") == NULL ||
      s->child->folder.fd < 0)
    return 0;
  if (asprintf (&path, "/%s/%s", s->child->folder.real_path, name) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  normalize (path);
  r = try_absolute (s, &s->child->folder, path, err);
  for (size_t i = 0; r == 0 && i < s->path_folders->len; ++i)
    r = try_absolute (s, &s->path_folders->ptr[i], path, err);
  return r == 0 ? try_absolute (s, &s->leaf->folder, path, err) : r;
}

static int
try_everywhere (struct search *s, struct err *err)
{
  int r = 0;

  if (s->child->folder.fd >= 0)
    r = try_folder (s, &s->child->folder, err);
  for (size_t i = 0; r == 0 && i < s->path_folders->len; ++i)
    r = try_folder (s, &s->path_folders->ptr[i], err);
  for (size_t i = 0; r == 0 && i < s->names.len; ++i)
    r = try_elsewhere (s, s->names.ptr[i], err);
  return r;
}

static int
not_found (const struct search *s, struct err *err)
{
  const char *folder = s->child->folder.path;
  char id[UUID_STRING_SIZE];

  if (s->miss.code != 0)
    return err_set (err, s->miss.code == -EXDEV ? -EACCES : s->miss.code,
                    "the parent is not there: %s%s", s->miss.msg,
                    s->miss.code == -EXDEV
                    ? "; name its folder in parent-path to allow it" : "");
  if (s->names.len == 0)
    return err_set (err, -ENOENT, "the header and its locators do not name "
                    "a parent");
  uuid_to_string (s->child->header.parent_id, id);
  return err_set (err, -ENOENT, "the parent ‘%.200s’ with identity %s is "
                  "not in %s%s", s->names.ptr[0], id,
                  folder ? folder : "any folder (the image is not a file)",
                  s->path_folders->len ? " and not in parent-path" :
                  "; name its folder in parent-path");
}

static int
find_parent (struct search *s, struct err *err)
{
  int r;

  r = vhd_locator_names (s->child, &s->names, s->report, err);
  if (r == 0)
    r = try_everywhere (s, err);
  if (r == 0 && s->found == NULL) {
    s->similar = true;
    r = try_everywhere (s, err);
  }
  if (r == 0 && s->found == NULL)
    r = not_found (s, err);
  vhd_names_free (&s->names);
  vhd_names_free (&s->tried);
  if (r < 0) {
    vhd_layer_free (s->found);
    s->found = NULL;
  }
  return r;
}

/*--- The chain --------------------------------------------------------------*/

/* What may be worth a look but proves nothing: copying a file changes its
 * time, and genuine chains have no time at all.
 */
static void
compare (const struct vhd_layer *child, const struct vhd_layer *parent,
         struct report *report)
{
  uint32_t stated = child->header.parent_timestamp;
  struct stat st;

  if (parent->size != child->footers.footer.current_size)
    report_warn (report, "%s: has a disk of %" PRIu64 " bytes, its parent %s "
                 "one of %" PRIu64, block_name (child->block),
                 child->footers.footer.current_size,
                 block_name (parent->block), parent->size);
  if (stated == 0 || stated == parent->footers.footer.timestamp ||
      fstat (block_file_fd (parent->block), &st) < 0 ||
      st.st_mtime == (time_t) stated + VHD_EPOCH)
    return;
  report_warn (report, "%s: was made for another time of its parent %s; if "
               "the parent was changed since, what is read is wrong",
               block_name (child->block), block_name (parent->block));
}

static int
open_parent (struct vhd_layer *leaf, struct vhd_layer *child,
             const struct vhd_folder_vector *path_folders,
             const struct image_options *options, struct report *report,
             struct err *err)
{
  struct search s = {
    .leaf = leaf,
    .child = child,
    .path_folders = path_folders,
    .options = options,
    .report = report,
  };
  int r;

  if (child->number + 1 >= VHD_MAX_LAYERS)
    return err_set (err, -ENOTSUP, "the chain of parents is longer than %d "
                    "files", VHD_MAX_LAYERS);
  r = find_parent (&s, err);
  if (r < 0) {
    if (child->number > 0)
      err_in (err, "parent %s", block_name (child->block));
    return r;
  }
  child->parent = s.found;
  s.found->number = child->number + 1;
  s.found->cache = child->cache;
  /* All of the parent that there is: no byte of it is out of reach of a
   * child whose size follows another rule.
   */
  r = vhd_layer_open (s.found, IMAGE_SIZE_CURRENT, options, report, err);
  if (r < 0) {
    err_in (err, "parent %s", block_name (s.found->block));
    return r;
  }
  compare (child, s.found, report);
  return 0;
}

/* The folder of the image itself, by the name it was opened with. */
static int
open_leaf_folder (struct vhd_layer *leaf, struct report *report,
                  struct err *err)
{
  const char *name = block_name (leaf->block), *slash = strrchr (name, '/');
  CLEANUP_FREE char *path = NULL;
  struct err why = ERR_INIT;

  if (block_file_fd (leaf->block) < 0)
    return 0;
  path = slash ? strndup (name, (size_t) (slash - name) + 1) : strdup (".");
  if (path == NULL)
    return err_nomem (err);
  /* Without the slash at the end, unless it is all there is. */
  if (slash > name)
    path[slash - name] = '\0';
  if (vhd_folder_open (path, &leaf->folder, &why) < 0)
    report_warn (report, "%s: parents can't be looked for beside it: %s",
                 name, why.msg);
  return 0;
}

static void
free_folders (struct vhd_folder_vector *folders)
{
  for (size_t i = 0; i < folders->len; ++i)
    vhd_folder_close (&folders->ptr[i]);
  vector_free (folders);
}

static int
open_path_folders (const char *parent_path,
                   struct vhd_folder_vector *folders, struct err *err)
{
  CLEANUP_FREE char *copy = strdup (parent_path ? parent_path : "");
  char *save = NULL;
  int r;

  if (copy == NULL)
    return err_nomem (err);
  for (char *path = strtok_r (copy, ":", &save); path;
       path = strtok_r (NULL, ":", &save)) {
    struct vhd_folder folder;

    r = vhd_folder_open (path, &folder, err);
    if (r < 0) {
      err_in (err, "parent-path");
      return r;
    }
    if (vector_append (folders, &folder) < 0) {
      vhd_folder_close (&folder);
      return err_nomem (err);
    }
  }
  return 0;
}

int
vhd_chain_open (struct vhd_layer *leaf, const struct image_options *options,
                struct report *report, struct err *err)
{
  struct vhd_folder_vector folders = VECTOR_INIT;
  struct vhd_layer *child = leaf;
  int r;

  if (leaf->footers.footer.type != VHD_DIFFERENCING)
    return 0;
  r = open_path_folders (options->parent_path, &folders, err);
  if (r == 0)
    r = open_leaf_folder (leaf, report, err);
  while (r == 0 && child->footers.footer.type == VHD_DIFFERENCING) {
    r = open_parent (leaf, child, &folders, options, report, err);
    child = child->parent;
  }
  free_folders (&folders);
  for (struct vhd_layer *l = leaf; l; l = l->parent)
    vhd_folder_close (&l->folder);
  return r;
}
