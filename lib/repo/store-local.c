/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A folder of this machine as a store.
 *
 * Each call walks from the vault's folder down, a part of the name at a time,
 * and follows no link.  Somebody may rename a folder between its look-up and
 * what is done in it: then that is done in the folder, wherever it is by then.
 * The vault's own rules live with that (docs/NBI.md §14); what decides there
 * is a rename between folders that nobody renames.
 *
 * What is made is for its owner alone: it holds whole disks.
 *
 * Large pieces of a file are written past the page cache where that is
 * possible: nobody reads them soon, copying them there takes a good part of
 * what compressing takes, and the flush at the end has nothing left to write.
 * Elsewhere the system is asked to begin writing them at once.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fdio.h"
#include "lib/block/file.h"
#include "lib/repo/nbi.h"
#include "lib/repo/store-local.h"
#include "lib/repo/store-ops.h"

#define FILE_MODE 0600
#define FOLDER_MODE 0700

struct local {
  struct store base;
  int fd;                       /* the vault's folder */
};

/* Of what is written past the page cache: place, length, and memory. */
#define DIRECT_UNIT 4096
#define DIRECT_MIN (64 * 1024)

struct local_file {
  struct store_file base;
  int fd;
  enum { DIRECT_UNTRIED, DIRECT, NOT_DIRECT } direct;
};

static int
root (const struct store *s)
{
  return ((const struct local *) s)->fd;
}

/* As err_sys.  A server's folder whose handle is stale is gone. */
static int
failed (struct err *err, const char *what)
{
  if (errno == ESTALE)
    errno = ENOENT;
  if (errno == ENOTDIR || errno == ELOOP)
    return nbi_refuse (err, 132, "is no folder, or not in one");
  return err_sys (err, "%s", what);
}

/* Where a name is: its folder, opened, and the last part. */
struct place {
  int fd;
  const char *last;
};

#define PLACE_INIT { -1, NULL }
#define CLEANUP_PLACE __attribute__ ((__cleanup__ (place_cleanup)))

static void
place_cleanup (struct place *p)
{
  cleanup_close (&p->fd);
}

static int
find (struct store *s, const char *name, struct place *p, struct err *err)
{
  const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  CLEANUP_CLOSE int fd = openat (root (s), ".", flags);
  const char *slash;

  for (; fd >= 0 && (slash = strchr (name, '/')) != NULL; name = slash + 1) {
    CLEANUP_FREE char *part = strndup (name, (size_t) (slash - name));
    int next;

    if (part == NULL)
      return err_nomem (err);
    next = openat (fd, part, flags);
    if (next < 0)
      return failed (err, "its folder can't be opened");
    close (fd);
    fd = next;
  }
  if (fd < 0)
    return failed (err, "the vault's folder can't be opened");
  p->fd = steal_fd (&fd);
  p->last = name;
  return 0;
}

/* A regular file that is there.  It is looked at before it is opened: opening
 * a device may already do something.  What was opened is looked at again.
 */
static int
open_file (struct store *s, const char *name, int flags, int *out,
           struct stat *st, struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  CLEANUP_CLOSE int fd = -1;
  int r = find (s, name, &p, err);

  if (r < 0)
    return r;
  if (fstatat (p.fd, p.last, st, AT_SYMLINK_NOFOLLOW) < 0)
    return failed (err, "can't be looked at");
  if (!S_ISREG (st->st_mode))
    return nbi_refuse (err, 132, "is no regular file");
  fd = openat (p.fd, p.last,
               flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0)
    return failed (err, "can't be opened");
  if (fstat (fd, st) < 0)
    return failed (err, "can't be looked at");
  if (!S_ISREG (st->st_mode))
    return nbi_refuse (err, 132, "is no regular file");
  *out = steal_fd (&fd);
  return 0;
}

static int
open_folder (struct store *s, const char *name, int *out, struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  int r = find (s, name, &p, err), fd;

  if (r < 0)
    return r;
  fd = openat (p.fd, p.last[0] ? p.last : ".",
               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return failed (err, "can't be opened");
  *out = fd;
  return 0;
}

static int
local_make (struct store *s, const char *name, struct store_file **out,
            struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  CLEANUP_FREE struct local_file *f = calloc (1, sizeof *f);
  int r = f ? find (s, name, &p, err) : err_nomem (err);

  if (r < 0)
    return r;
  f->fd = openat (p.fd, p.last,
                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                  FILE_MODE);
  if (f->fd < 0)
    return failed (err, "can't be made");
  *out = &steal_ptr (&f)->base;
  return 0;
}

static bool
set_direct (struct local_file *f, bool direct)
{
  int flags = fcntl (f->fd, F_GETFL);

  if (flags < 0)
    return false;
  flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
  return fcntl (f->fd, F_SETFL, flags) == 0;
}

/* Is the next piece written past the page cache?  Once one was not, none is
 * any more.  A server has its own ways, and may flush each of them.
 */
static bool
is_direct (struct local_file *f, const void *buf, size_t len, uint64_t off)
{
  bool fits = ((uintptr_t) buf | len | off) % DIRECT_UNIT == 0;

  if (f->direct == DIRECT_UNTRIED && fits && len >= DIRECT_MIN)
    f->direct = f->base.store->local && set_direct (f, true) ? DIRECT
      : NOT_DIRECT;
  if (f->direct == DIRECT && !fits) {
    set_direct (f, false);
    f->direct = NOT_DIRECT;
  }
  return f->direct == DIRECT;
}

/* A hint.  Whether what it began fails is for the flush to say. */
static void
begin_writing (struct local_file *f, size_t len)
{
  if (len >= DIRECT_MIN)
    (void) sync_file_range (f->fd, (off_t) f->base.size, (off_t) len,
                            SYNC_FILE_RANGE_WRITE);
}

static int
local_write (struct store_file *file, const void *buf, size_t len,
             struct err *err)
{
  struct local_file *f = (struct local_file *) file;
  uint64_t off = file->size;
  const char *p = buf;
  size_t left = len;

  while (left > 0) {
    bool direct = is_direct (f, p, left, off);
    ssize_t n = write (f->fd, p, left);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EINVAL && direct) {
      set_direct (f, false);    /* it can't after all */
      f->direct = NOT_DIRECT;
      continue;
    }
    if (n < 0)
      return err_sys (err, "can't be written to");
    if (n == 0)
      return err_set (err, -EIO, "takes no more bytes");
    p += n;
    off += (uint64_t) n;
    left -= (size_t) n;
  }
  begin_writing (f, len);
  return 0;
}

static int
local_flush (struct store_file *file, struct err *err)
{
  if (fsync (((struct local_file *) file)->fd) < 0)
    return err_sys (err, "can't be flushed");
  return 0;
}

/* A descriptor is closed even if close() fails. */
static int
local_end (struct store_file *file, struct err *err)
{
  int r = close (((struct local_file *) file)->fd);

  free (file);
  return r < 0 ? err_sys (err, "can't be closed") : 0;
}

static int
local_rewrite (struct store *s, const char *name, const void *buf, size_t len,
               int64_t *time, struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  struct stat st;
  int r = open_file (s, name, O_WRONLY, &fd, &st, err);

  if (r == 0)
    r = fd_pwrite (fd, buf, len, 0, err);
  if (r < 0)
    return r;
  if ((uint64_t) st.st_size > len && ftruncate (fd, (off_t) len) < 0)
    return err_sys (err, "can't be made shorter");
  if (fstat (fd, &st) < 0)
    return failed (err, "can't be looked at");
  *time = st.st_mtime;
  return 0;
}

static int
local_open (struct store *s, const char *name, struct block **out,
            struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_FREE char *path = NULL;
  struct stat st;
  int r = open_file (s, name, O_RDONLY, &fd, &st, err);

  if (r < 0)
    return r;
  if (asprintf (&path, "%s/%s", s->name, name) < 0) {
    path = NULL;
    return err_nomem (err);
  }
  r = block_file_from_fd (fd, path, 0, out, NULL, err);
  if (r == 0)
    steal_fd (&fd);
  return r;
}

static enum store_kind
kind_of (mode_t mode)
{
  return S_ISREG (mode) ? STORE_FILE
    : S_ISDIR (mode) ? STORE_FOLDER : STORE_OTHER;
}

static int
local_stat (struct store *s, const char *name, struct store_stat *out,
            struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  struct stat st;
  int r = find (s, name, &p, err);

  if (r < 0)
    return r;
  if (fstatat (p.fd, p.last, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
    return failed (err, "can't be looked at");
  out->kind = kind_of (st.st_mode);
  out->size = (uint64_t) st.st_size;
  out->time = st.st_mtime;
  return 0;
}

/* 1: it is in the listing; 0: it went meanwhile. */
static int
kind_of_entry (DIR *dir, const struct dirent *d, enum store_kind *kind,
               struct err *err)
{
  struct stat st;

  if (d->d_type != DT_UNKNOWN) {
    *kind = d->d_type == DT_REG ? STORE_FILE
      : d->d_type == DT_DIR ? STORE_FOLDER : STORE_OTHER;
    return 1;
  }
  if (fstatat (dirfd (dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
    return errno == ENOENT ? 0
      : err_sys (err, "a name in it can't be looked at");
  *kind = kind_of (st.st_mode);
  return 1;
}

static bool
is_dots (const char *name)
{
  return strcmp (name, ".") == 0 || strcmp (name, "..") == 0;
}

static int
list_all (DIR *dir,
          int (*fn) (void *opaque, const struct store_entry *entry,
                     struct err *err),
          void *opaque, struct err *err)
{
  for (;;) {
    struct store_entry entry;
    struct dirent *d;
    int r;

    errno = 0;
    d = readdir (dir);
    if (d == NULL && errno != 0)
      return err_sys (err, "its listing ended with an error (NBI-137)");
    if (d == NULL)
      return 0;
    if (is_dots (d->d_name))
      continue;
    entry.name = d->d_name;
    r = kind_of_entry (dir, d, &entry.kind, err);
    if (r > 0)
      r = fn (opaque, &entry, err);
    if (r != 0)
      return r;
  }
}

static int
local_list (struct store *s, const char *folder,
            int (*fn) (void *opaque, const struct store_entry *entry,
                       struct err *err),
            void *opaque, struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  DIR *dir;
  int r = open_folder (s, folder, &fd, err);

  if (r < 0)
    return r;
  dir = fdopendir (fd);
  if (dir == NULL)
    return err_sys (err, "can't be listed");
  steal_fd (&fd);
  r = list_all (dir, fn, opaque, err);
  closedir (dir);
  return r;
}

static int
local_make_folder (struct store *s, const char *name, struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  int r = find (s, name, &p, err);

  if (r == 0 && mkdirat (p.fd, p.last, FOLDER_MODE) < 0)
    r = failed (err, "can't be made");
  return r;
}

static int
local_delete_folder (struct store *s, const char *name, struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  int r = find (s, name, &p, err);

  if (r < 0 || unlinkat (p.fd, p.last, AT_REMOVEDIR) == 0)
    return r;
  if (errno == EEXIST)          /* POSIX allows both */
    errno = ENOTEMPTY;
  return failed (err, "can't be deleted");
}

static int
local_delete (struct store *s, const char *name, struct err *err)
{
  CLEANUP_PLACE struct place p = PLACE_INIT;
  int r = find (s, name, &p, err);

  if (r == 0 && unlinkat (p.fd, p.last, 0) < 0)
    r = failed (err, "can't be deleted");
  return r;
}

/* NFS and some others can't refuse to replace.  There it is looked for first:
 * a folder never replaces one that has something in it, as all of ours have
 * when they are renamed, and files have names that nobody else makes, or the
 * same bytes as what they replace (docs/NBI.md §15, P8).
 */
static int
rename_after_look (const struct place *from, const struct place *to)
{
  struct stat st;

  if (fstatat (from->fd, from->last, &st, AT_SYMLINK_NOFOLLOW) < 0)
    return -1;
  if (fstatat (to->fd, to->last, &st, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return -1;
  }
  if (errno != ENOENT || renameat (from->fd, from->last, to->fd, to->last) < 0)
    return -1;
  return 0;
}

static int
local_rename (struct store *s, const char *from, const char *to,
              struct err *err)
{
  CLEANUP_PLACE struct place a = PLACE_INIT, b = PLACE_INIT;
  int r = find (s, from, &a, err);

  if (r == 0)
    r = find (s, to, &b, err);
  if (r < 0)
    return r;
  r = renameat2 (a.fd, a.last, b.fd, b.last, RENAME_NOREPLACE);
  if (r < 0 && (errno == EINVAL || errno == ENOSYS))
    r = rename_after_look (&a, &b);
  if (r == 0)
    return 0;
  if (errno == ENOTEMPTY)       /* from a plain rename of a folder */
    errno = EEXIST;
  return failed (err, "can't be renamed");
}

static int
local_flush_folder (struct store *s, const char *name, struct err *err)
{
  CLEANUP_CLOSE int fd = -1;
  int r = open_folder (s, name, &fd, err);

  if (r < 0 || fsync (fd) == 0)
    return r;
  if (errno == EINVAL)
    return err_set (err, -ENOTSUP, "folders can't be flushed here");
  return err_sys (err, "can't be flushed");
}

static void
local_close (struct store *s)
{
  close (root (s));
  free (s);
}

/* For those who are not root. */
static int
local_space (struct store *s, uint64_t *bytes, struct err *err)
{
  struct statvfs fs;

  if (fstatvfs (((struct local *) s)->fd, &fs) < 0)
    return err_sys (err, "statvfs");
  *bytes = (uint64_t) fs.f_bavail * fs.f_frsize;
  return 0;
}

static const struct store_ops local_ops = {
  .close = local_close,
  .make = local_make,
  .write = local_write,
  .flush = local_flush,
  .end = local_end,
  .rewrite = local_rewrite,
  .open = local_open,
  .stat = local_stat,
  .list = local_list,
  .make_folder = local_make_folder,
  .delete_folder = local_delete_folder,
  .delete = local_delete,
  .rename = local_rename,
  .flush_folder = local_flush_folder,
  .space = local_space,
};

/* A file of /proc as a string; NULL if it can't be had. */
static char *
read_proc (const char *path)
{
  CLEANUP_FCLOSE FILE *fp = fopen (path, "re");
  CLEANUP_FREE char *text = NULL;
  size_t size = 0;

  if (fp == NULL || getdelim (&text, &size, '\0', fp) < 0)
    return NULL;
  return steal_ptr (&text);
}

/* Which mount a descriptor is on. */
static unsigned long
mount_of (int fd)
{
  CLEANUP_FREE char *text = NULL;
  char path[64];
  const char *id;

  snprintf (path, sizeof path, "/proc/self/fdinfo/%d", fd);
  text = read_proc (path);
  id = text ? strstr (text, "mnt_id:") : NULL;
  return id ? strtoul (id + strlen ("mnt_id:"), NULL, 10) : 0;
}

int
store_local_open (const char *path, struct store **out, struct err *err)
{
  CLEANUP_CLOSE int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_FREE char *mountinfo = NULL;
  struct statfs fs;
  struct local *l;
  unsigned lag;
  bool local;
  int r;

  if (fd < 0)
    return err_sys (err, "%s: the folder can't be opened", path);
  if (fstatfs (fd, &fs) < 0)
    return err_sys (err, "%s: statfs", path);
  mountinfo = read_proc ("/proc/self/mountinfo");
  lag = store_lag_of ((long) fs.f_type, mountinfo, mount_of (fd), &local);
  l = calloc (1, sizeof *l);
  if (l == NULL)
    return err_nomem (err);
  r = store_init (&l->base, &local_ops, path, lag, local, err);
  if (r < 0) {
    free (l);
    return r;
  }
  l->fd = steal_fd (&fd);
  *out = &l->base;
  return 0;
}
