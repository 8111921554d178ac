/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/image.h"
#include "lib/format/parent.h"

/* The state of a search. */
struct search {
  const struct parent_search *ask;
  bool similar;                 /* try names that differ in case */

  struct name_list tried;       /* full paths, each is tried once */
  struct err miss;              /* the best reason why it failed so far */
  int miss_rank;
  bool miss_is_candidate;       /* a file was there, and refused */

  bool found;
  struct folder *own;           /* where it lies, once found */
  struct report *report;
};

/* Of several reasons why a path did not lead to the parent, the one that says
 * most: what could not be read may have been the parent, a file that was found
 * but is not the parent tells more than one that can't be opened, and a path
 * that is not allowed comes last.
 */
static int
rank_of (bool is_candidate, int code)
{
  if (code == -EIO)
    return 4;
  if (is_candidate)
    return 3;
  return code == -EXDEV ? 1 : 2;
}

static void
remember_miss (struct search *s, bool is_candidate, const struct err *err)
{
  int rank = rank_of (is_candidate, err->code);

  if (rank <= s->miss_rank)
    return;
  s->miss = *err;
  s->miss_rank = rank;
  s->miss_is_candidate = is_candidate;
}

/*--- Is this file the parent? -----------------------------------------------*/

bool
parent_is_same_file (const struct block *a, const struct block *b)
{
  int fd_a = block_file_fd (a), fd_b = block_file_fd (b);
  struct stat st_a, st_b;

  return fd_a >= 0 && fd_b >= 0 &&
    fstat (fd_a, &st_a) == 0 && fstat (fd_b, &st_b) == 0 &&
    st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino;
}

int
parent_layer_with_path (struct image *img, const char *path)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  struct stat wanted, st;

  if (stat (path, &wanted) < 0 || image_get_info (img, &info, NULL) < 0)
    return -1;
  for (size_t i = 0; i < info.layers.len; ++i)
    if (stat (info.layers.ptr[i].name, &st) == 0 &&
        st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino)
      return (int) i;
  return -1;
}

/* Takes the descriptor over. */
static int
show_file (struct search *s, int fd_taken, const char *name, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  unsigned flags = s->ask->lock ? BLOCK_FILE_LOCK : 0;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_CLOSE int fd = fd_taken;
  int r;

  r = block_file_from_fd (fd, name, flags, &block, &report, err);
  if (r < 0) {
    err_in (err, "%s", name);
    return r;
  }
  steal_fd (&fd);
  r = s->ask->accept (s->ask->opaque, block, &report, err);
  if (r < 0)
    return r;
  /* What is worth knowing of a file that is not the parent is the reason. */
  report_move (s->report, &report);
  s->found = true;
  return 0;
}

/* The folder of what was found at path in folder, where its own parent is
 * looked for first.
 */
static int
open_own_folder (struct search *s, const struct folder *folder,
                 const char *path, struct err *err)
{
  struct folder *own = s->own;
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

/* s->found is set if this was it.  Fails only when there is no point in
 * going on.
 */
static int
try_path (struct search *s, const struct folder *folder, const char *path,
          struct err *err)
{
  CLEANUP_FREE char *name = NULL;
  struct err why = ERR_INIT;
  int fd, r;

  if (asprintf (&name, "%s/%s", folder->path, path) < 0) {
    name = NULL;
    return err_nomem (err);
  }
  r = name_list_add (&s->tried, name, err);
  if (r != 0)
    return r < 0 ? r : 0;
  r = beneath_open_file (folder->fd, path, &fd, &why);
  if (r == -ENOENT || r == -ENOTDIR)
    return 0;
  if (r == -EXDEV)
    err_set (&why, r, "‘%.150s’ leads out of the folder %s", path,
             folder->path);
  else if (r < 0)
    err_in (&why, "in the folder %s", folder->path);
  if (r < 0) {
    remember_miss (s, false, &why);
    return 0;
  }
  r = show_file (s, fd, name, &why);
  if (r == 0)
    return open_own_folder (s, folder, path, err);
  remember_miss (s, true, &why);
  return r == -ENOMEM ? err_nomem (err) : 0;
}

static int
try_name (struct search *s, const struct folder *folder, const char *path,
          struct err *err)
{
  struct name_list similar = VECTOR_INIT;
  struct err why = ERR_INIT;
  int r;

  if (!s->similar)
    return try_path (s, folder, path, err);
  r = folder_similar (folder, path, &similar, &why);
  /* Other reasons were there when the name itself was tried. */
  if (r == -EIO)
    remember_miss (s, false, &why);
  r = r == -ENOMEM ? err_nomem (err) : 0;
  for (size_t i = 0; r == 0 && !s->found && i < similar.len; ++i)
    r = try_path (s, folder, similar.ptr[i], err);
  name_list_free (&similar);
  return r;
}

/* If the absolute path is inside the folder. */
static int
try_absolute (struct search *s, const struct folder *folder,
              const char *path, struct err *err)
{
  const char *rest;

  if (folder->fd < 0 || s->found)
    return 0;
  rest = folder_inside (folder, path);
  return rest && *rest ? try_name (s, folder, rest, err) : 0;
}

static int
try_folder (struct search *s, const struct folder *folder, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && !s->found && i < s->ask->names->len; ++i) {
    const char *name = s->ask->names->ptr[i];

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
      s->ask->child_folder->fd < 0)
    return 0;
  if (asprintf (&path, "/%s/%s", s->ask->child_folder->real_path, name) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  normalize (path);
  r = try_absolute (s, s->ask->child_folder, path, err);
  for (size_t i = 0; r == 0 && i < s->ask->path_folders->len; ++i)
    r = try_absolute (s, &s->ask->path_folders->ptr[i], path, err);
  return r == 0 ? try_absolute (s, s->ask->leaf_folder, path, err) : r;
}

static int
try_everywhere (struct search *s, struct err *err)
{
  int r = 0;

  if (s->ask->child_folder->fd >= 0)
    r = try_folder (s, s->ask->child_folder, err);
  for (size_t i = 0; r == 0 && i < s->ask->path_folders->len; ++i)
    r = try_folder (s, &s->ask->path_folders->ptr[i], err);
  for (size_t i = 0; r == 0 && i < s->ask->names->len; ++i)
    r = try_elsewhere (s, s->ask->names->ptr[i], err);
  return r;
}

/* A file was there, or may have been: which of its reasons is it? */
static int
tell_miss (const struct search *s, struct err *err)
{
  const struct err *miss = &s->miss;

  if (miss->code == -EXDEV)
    return err_set (err, -EACCES, "the parent is not in a folder that is "
                    "allowed: %s; name its folder in %sparent-path to allow it",
                    miss->msg, image_option_dashes);
  return err_set (err, miss->code, "the parent %s: %s",
                  miss->code == -EIO ? "can't be read"
                  : !s->miss_is_candidate ? "can't be opened"
                  : miss->code == -ENOENT ? "is not there" : "can't be used",
                  miss->msg);
}

static int
not_found (const struct search *s, struct err *err)
{
  const struct parent_search *ask = s->ask;
  const char *folder = ask->child_folder->real_path;

  if (s->miss.code != 0)
    return tell_miss (s, err);
  if (ask->names->len == 0)
    return err_set (err, -ENOENT, "neither header nor locators name "
                    "its parent");
  return err_set (err, -ENOENT, "the parent ‘%.200s’ with identity %s is "
                  "not in %s%s%sparent-path", ask->names->ptr[0],
                  ask->identity,
                  folder ? folder : "any folder (the image is not a file)",
                  ask->path_folders->len ? " and not in " :
                  "; name its folder in ", image_option_dashes);
}

int
parent_find (const struct parent_search *ask, struct folder *own,
             struct report *report, struct err *err)
{
  struct search s = { .ask = ask, .own = own, .report = report };
  int r;

  r = try_everywhere (&s, err);
  if (r == 0 && !s.found) {
    s.similar = true;
    r = try_everywhere (&s, err);
  }
  if (r == 0 && !s.found)
    r = not_found (&s, err);
  name_list_free (&s.tried);
  return r;
}

/*--- The folders of a chain -------------------------------------------------*/

int
parent_leaf_folder (const struct block *leaf, struct folder *out,
                    struct report *report, struct err *err)
{
  const char *name = block_name (leaf), *slash = strrchr (name, '/');
  CLEANUP_FREE char *path = NULL;
  struct err why = ERR_INIT;
  int r;

  if (block_file_fd (leaf) < 0)
    return 0;
  path = slash ? strndup (name, (size_t) (slash - name) + 1) : strdup (".");
  if (path == NULL)
    return err_nomem (err);
  /* Without the slash at the end, unless it is all there is. */
  if (slash > name)
    path[slash - name] = '\0';
  r = folder_open (path, out, &why);
  /* Who may not see the folder may have named another. */
  if (r < 0 && r != -EACCES && r != -ENOENT)
    return err_set (err, r, "%s", why.msg);
  if (r < 0)
    report_warn (report, "%s: parents can't be looked for beside it: %s",
                 name, why.msg);
  return 0;
}

void
parent_folders_free (struct folder_vector *folders)
{
  for (size_t i = 0; i < folders->len; ++i)
    folder_close (&folders->ptr[i]);
  vector_free (folders);
}

int
parent_path_folders (const char *parent_path, struct folder_vector *out,
                     struct err *err)
{
  CLEANUP_FREE char *copy = strdup (parent_path ? parent_path : "");
  char *save = NULL;
  int r;

  if (copy == NULL)
    return err_nomem (err);
  for (char *path = strtok_r (copy, ":", &save); path;
       path = strtok_r (NULL, ":", &save)) {
    struct folder folder;

    r = folder_open (path, &folder, err);
    if (r < 0) {
      err_in (err, "parent-path");
      return r;
    }
    if (vector_append (out, &folder) < 0) {
      folder_close (&folder);
      return err_nomem (err);
    }
  }
  return 0;
}
