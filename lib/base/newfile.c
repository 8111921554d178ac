/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/newfile.h"

#define MODE 0666

static int
open_folder (const char *path, struct new_file *f, struct err *err)
{
  const char *slash = strrchr (path, '/');
  CLEANUP_FREE char *folder = NULL;

  if (slash == NULL)
    folder = strdup (".");
  else
    folder = slash == path ? strdup ("/")
      : strndup (path, (size_t) (slash - path));
  f->name = strdup (slash ? slash + 1 : path);
  if (folder == NULL || f->name == NULL)
    return err_nomem (err);
  if (f->name[0] == '\0' || strcmp (f->name, ".") == 0 ||
      strcmp (f->name, "..") == 0)
    return err_set (err, -EISDIR, "is not the name of a file");
  f->folder = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (f->folder < 0)
    return err_sys (err, "its folder can't be opened");
  return 0;
}

static int
refuse_existing (const struct new_file *f, struct err *err)
{
  struct stat st;

  if (fstatat (f->folder, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    return err_set (err, -EEXIST, "exists already; it is not replaced");
  return errno == ENOENT ? 0 : err_sys (err, "can't be looked for");
}

int
new_file_check (const char *path, struct err *err)
{
  CLEANUP_NEW_FILE struct new_file f = NEW_FILE_INIT;
  int r = open_folder (path, &f, err);

  if (r == 0)
    r = refuse_existing (&f, err);
  if (r == 0 && faccessat (f.folder, ".", W_OK | X_OK, AT_EACCESS) < 0)
    r = err_sys (err, "its folder can't be written to");
  return r;
}

/* The name is ours alone: another process that makes the same file has
 * another number.
 */
static int
open_partial (struct new_file *f, struct err *err)
{
  if (asprintf (&f->partial, ".%.200s.%ld.partial", f->name,
                (long) getpid ()) < 0) {
    f->partial = NULL;
    return err_nomem (err);
  }
  f->fd = openat (f->folder, f->partial,
                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE);
  if (f->fd < 0) {
    int r = err_sys (err, "can't be made");

    free (steal_ptr (&f->partial));
    return r;
  }
  return 0;
}

int
new_file_open (const char *path, struct new_file *out, struct err *err)
{
  CLEANUP_NEW_FILE struct new_file f = NEW_FILE_INIT;
  int r = open_folder (path, &f, err);

  if (r == 0)
    r = refuse_existing (&f, err);
  if (r < 0)
    return r;
  f.fd = openat (f.folder, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, MODE);
  if (f.fd < 0) {
    /* Not every file system has files without a name (NFS, FAT, some of
     * FUSE); what else may be wrong, the other way finds too.
     */
    r = open_partial (&f, err);
    if (r < 0)
      return r;
  }
  *out = f;
  f = (struct new_file) NEW_FILE_INIT;
  return 0;
}

/* The name says which file it becomes, so that it is found again. */
static int
open_kept (struct new_file *f, bool *found, struct err *err)
{
  const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  struct stat st;

  if (asprintf (&f->partial, ".%.200s.partial", f->name) < 0) {
    f->partial = NULL;
    return err_nomem (err);
  }
  f->kept = true;
  *found = false;
  f->fd = openat (f->folder, f->partial, flags | O_CREAT | O_EXCL, MODE);
  if (f->fd < 0 && errno == EEXIST) {
    *found = true;
    f->fd = openat (f->folder, f->partial, flags);
  }
  if (f->fd < 0 || fstat (f->fd, &st) < 0)
    return err_sys (err, "%s beside it can't be %s", f->partial,
                    *found ? "opened" : "made");
  if (!S_ISREG (st.st_mode))
    return err_set (err, -ENOTSUP, "%s beside it is not a file", f->partial);
  return 0;
}

int
new_file_open_kept (const char *path, struct new_file *out, bool *found,
                    struct err *err)
{
  CLEANUP_NEW_FILE struct new_file f = NEW_FILE_INIT;
  int r = open_folder (path, &f, err);

  if (r == 0)
    r = refuse_existing (&f, err);
  if (r == 0)
    r = open_kept (&f, found, err);
  if (r < 0)
    return r;
  *out = f;
  f = (struct new_file) NEW_FILE_INIT;
  return 0;
}

/* linkat refuses to replace, as does renameat2 with its flag. */
static int
give_name (struct new_file *f)
{
  char self[64];

  if (f->partial == NULL) {
    snprintf (self, sizeof self, "/proc/self/fd/%d", f->fd);
    return linkat (AT_FDCWD, self, f->folder, f->name, AT_SYMLINK_FOLLOW);
  }
  if (renameat2 (f->folder, f->partial, f->folder, f->name,
                 RENAME_NOREPLACE) == 0) {
    free (steal_ptr (&f->partial));
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS)
    return -1;
  /* A file system that can't do that either: a hard link refuses as well. */
  if (linkat (f->folder, f->partial, f->folder, f->name, 0) < 0)
    return -1;
  unlinkat (f->folder, f->partial, 0);
  free (steal_ptr (&f->partial));
  return 0;
}

int
new_file_commit (struct new_file *f, struct err *err)
{
  if (fsync (f->fd) < 0)
    return err_sys (err, "can't be written");
  if (give_name (f) < 0)
    return errno == EEXIST
      ? err_set (err, -EEXIST, "exists already; it is not replaced")
      : err_sys (err, "can't be given its name");
  if (fsync (f->folder) < 0)
    return err_sys (err, "its folder can't be written");
  return 0;
}

void
new_file_close (struct new_file *f)
{
  if (f->partial != NULL && !f->kept)
    unlinkat (f->folder, f->partial, 0);
  cleanup_close (&f->fd);
  cleanup_close (&f->folder);
  free (f->name);
  free (f->partial);
  *f = (struct new_file) NEW_FILE_INIT;
}
