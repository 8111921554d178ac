/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/compressed/index-place.h"

#define DAY (24 * 60 * 60)
#define UNUSED_DAYS 90

/*--- Folder and names -------------------------------------------------------*/

static char *
join (const char *a, const char *b)
{
  char *path;

  return asprintf (&path, "%s/%s", a, b) < 0 ? NULL : path;
}

/* With *parent, the folder that it is in and that may be missing too. */
static char *
folder_path (char **parent)
{
  const char *xdg = getenv ("XDG_CACHE_HOME"), *home = getenv ("HOME");

  if (xdg != NULL && xdg[0] == '/')
    *parent = strdup (xdg);
  else if (geteuid () == 0)
    *parent = strdup ("/var/cache");
  else if (home != NULL && home[0] == '/')
    *parent = join (home, ".cache");
  return *parent ? join (*parent, "nbdimage") : NULL;
}

/* A descriptor; -1 and errno. */
static int
open_folder (bool make)
{
  CLEANUP_FREE char *parent = NULL;
  CLEANUP_FREE char *path = folder_path (&parent);
  int fd;

  if (path == NULL) {
    errno = ENOENT;
    return -1;
  }
  fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0 || !make || errno != ENOENT)
    return fd;
  if (mkdir (parent, 0700) < 0 && errno != EEXIST)
    return -1;
  if (mkdir (path, 0700) < 0 && errno != EEXIST)
    return -1;
  return open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

#define NAME_SIZE (32 + sizeof ".idx")

static void
name_of (const struct fingerprint *fp, char name[NAME_SIZE])
{
  uint8_t buf[48];
  XXH128_hash_t hash;

  put_le64 (buf, fp->size);
  put_le64 (buf + 8, fp->inode);
  put_le64 (buf + 16, (uint64_t) fp->mtime);
  put_le64 (buf + 24, fp->mtime_ns);
  put_le64 (buf + 32, fp->head);
  put_le64 (buf + 40, fp->tail);
  hash = XXH3_128bits (buf, sizeof buf);
  snprintf (name, NAME_SIZE, "%016" PRIx64 "%016" PRIx64 ".idx",
            (uint64_t) hash.high64, (uint64_t) hash.low64);
}

/*--- Finding ----------------------------------------------------------------*/

/* Nobody else may tell us what is in a file. */
static bool
is_ours (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && S_ISREG (st.st_mode) &&
    st.st_uid == geteuid ();
}

int
index_find (const struct fingerprint *fp, struct index **out)
{
  CLEANUP_CLOSE int folder = -1, fd = -1;
  char name[NAME_SIZE];

  if (!fp->is_file)
    return -ENOENT;
  folder = open_folder (false);
  if (folder < 0)
    return -ENOENT;
  name_of (fp, name);
  fd = openat (folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 || !is_ours (fd) || index_open (fd, fp, out, NULL) < 0)
    return -ENOENT;
  futimens (fd, NULL);          /* it was used */
  fd = -1;
  return 0;
}

/*--- Making -----------------------------------------------------------------*/

/* One without a name. */
static int
new_unnamed (int *out, struct err *err)
{
  const char *const folders[] = { getenv ("TMPDIR"), "/var/tmp", "/tmp" };

  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; ++i) {
    const char *folder = folders[i];
    int fd;

    if (folder == NULL || folder[0] != '/')
      continue;
    fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
      CLEANUP_FREE char *path = join (folder, "nbdimage-XXXXXX");

      fd = path ? mkostemp (path, O_CLOEXEC) : -1;
      if (fd >= 0)
        unlink (path);
    }
    if (fd >= 0) {
      *out = fd;
      return 0;
    }
  }
  return err_sys (err, "there is no place for the index of a compressed file, "
                  "not even in /tmp");
}

static int
new_named (const struct fingerprint *fp, struct index_file *f)
{
  char name[NAME_SIZE];
  struct timespec now;

  f->folder = open_folder (true);
  if (f->folder < 0)
    return -1;
  name_of (fp, name);
  clock_gettime (CLOCK_REALTIME, &now);
  f->name = strdup (name);
  if (asprintf (&f->partial, ".%s.%d-%ld", name, (int) getpid (),
                (long) now.tv_nsec) < 0)
    f->partial = NULL;
  if (f->name == NULL || f->partial == NULL)
    return -1;
  f->fd = openat (f->folder, f->partial, O_RDWR | O_CREAT | O_EXCL |
                  O_NOFOLLOW | O_CLOEXEC, 0600);
  return f->fd < 0 ? -1 : 0;
}

int
index_file_new (const struct fingerprint *fp, struct index_file *out,
                struct err *why, struct err *err)
{
  CLEANUP_INDEX_FILE struct index_file f = INDEX_FILE_INIT;
  int r = 0;

  if (!fp->is_file || new_named (fp, &f) < 0) {
    if (fp->is_file)
      err_sys (why, "the folder for it can't be written");
    index_file_close (&f);
    r = new_unnamed (&f.fd, err);
  }
  if (r == 0) {
    *out = f;
    f = (struct index_file) INDEX_FILE_INIT;
  }
  return r;
}

static bool
is_left_over (int folder, const char *name, time_t now)
{
  bool partial = name[0] == '.';
  struct stat st;

  if (strstr (name, ".idx") == NULL ||
      fstatat (folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
      !S_ISREG (st.st_mode))
    return false;
  return now - st.st_mtime > (partial ? DAY : UNUSED_DAYS * DAY);
}

static void
clean_up (int folder)
{
  int fd = openat (folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir (fd) : NULL;
  time_t now = time (NULL);
  struct dirent *entry;

  if (dir == NULL) {
    if (fd >= 0)
      close (fd);
    return;
  }
  while ((entry = readdir (dir)) != NULL)
    if (is_left_over (folder, entry->d_name, now))
      unlinkat (folder, entry->d_name, 0);
  closedir (dir);
}

void
index_file_keep (struct index_file *f)
{
  if (f->partial == NULL)
    return;
  if (renameat (f->folder, f->partial, f->folder, f->name) == 0) {
    free (f->partial);
    f->partial = NULL;
  }
  clean_up (f->folder);
}

void
index_file_close (struct index_file *f)
{
  if (f->partial != NULL && f->folder >= 0)
    unlinkat (f->folder, f->partial, 0);
  if (f->fd >= 0)
    close (f->fd);
  if (f->folder >= 0)
    close (f->folder);
  free (f->name);
  free (f->partial);
  *f = (struct index_file) INDEX_FILE_INIT;
}
