/* SPDX-License-Identifier: GPL-2.0-or-later */

/* create, and the new image is used at once.
 *
 * image_create writes to a file descriptor, so that what it does to the file
 * is seen by its calls (the linker's --wrap) and done to the file of the
 * history as well.  A file whose size grows without a flush may have the size
 * and nothing else after a power cut.
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/create.h"
#include "tests/model/offline-workloads.h"

ssize_t __real_pwrite (int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite (int fd, const void *buf, size_t len, off_t off);
int __real_ftruncate (int fd, off_t size);
int __wrap_ftruncate (int fd, off_t size);
int __real_fallocate (int fd, int mode, off_t off, off_t len);
int __wrap_fallocate (int fd, int mode, off_t off, off_t len);
int __real_fsync (int fd);
int __wrap_fsync (int fd);
int __real_fdatasync (int fd);
int __wrap_fdatasync (int fd);
int __real_linkat (int from, const char *old, int to, const char *new,
                   int flags);
int __wrap_linkat (int from, const char *old, int to, const char *new,
                   int flags);

/* Whose file is made, by this thread; NULL: nobody's. */
static __thread struct powercut *making;

static void
must (bool ok)
{
  if (!ok)
    abort ();
}

/* There is one file that is written while it is made. */
static bool
is_the_file (int fd)
{
  struct stat st;

  return making && fstat (fd, &st) == 0 && S_ISREG (st.st_mode);
}

static void
be_as_large (uint64_t size)
{
  if (block_size (making->block) < size)
    must (block_resize (making->block, size, NULL) == 0);
}

ssize_t
__wrap_pwrite (int fd, const void *buf, size_t len, off_t off)
{
  ssize_t r = __real_pwrite (fd, buf, len, off);

  if (r > 0 && is_the_file (fd)) {
    be_as_large ((uint64_t) off + (size_t) r);
    must (block_pwrite (making->block, buf, (size_t) r, (uint64_t) off, 0,
                        NULL) == 0);
  }
  return r;
}

int
__wrap_ftruncate (int fd, off_t size)
{
  int r = __real_ftruncate (fd, size);

  if (r == 0 && is_the_file (fd))
    must (block_resize (making->block, (uint64_t) size, NULL) == 0);
  return r;
}

int
__wrap_fallocate (int fd, int mode, off_t off, off_t len)
{
  int r = __real_fallocate (fd, mode, off, len);

  if (r == 0 && is_the_file (fd)) {
    must (mode == 0);
    be_as_large ((uint64_t) off + (uint64_t) len);
  }
  return r;
}

static int
synced (int fd, int r)
{
  if (r == 0 && is_the_file (fd))
    must (block_flush (making->block, NULL) == 0);
  return r;
}

int
__wrap_fsync (int fd)
{
  return synced (fd, __real_fsync (fd));
}

int
__wrap_fdatasync (int fd)
{
  return synced (fd, __real_fdatasync (fd));
}

int
__wrap_linkat (int from, const char *old, int to, const char *new, int flags)
{
  int r = __real_linkat (from, old, to, new, flags);

  if (r == 0 && making)
    powercut_named (making);
  return r;
}

/*--- The workloads ----------------------------------------------------------*/

static void
nothing_at_first (struct powercut *pc, uint8_t **data, size_t *len)
{
  (void) pc;
  (void) data;
  *len = 0;
}

/* The history has just what is in the file. */
static void
must_be_the_same (const struct powercut *pc, const char *path)
{
  CLEANUP_CLOSE int fd = open (path, O_RDONLY | O_CLOEXEC);
  CLEANUP_FREE uint8_t *file = NULL;
  const uint8_t *recorded;
  struct stat st;
  size_t len;

  recorded = history_now (pc->history, 0, &len);
  must (fd >= 0 && fstat (fd, &st) == 0 && (size_t) st.st_size == len);
  file = malloc (len);
  must (file && pread (fd, file, len, 0) == (ssize_t) len);
  must (memcmp (file, recorded, len) == 0);
}

static void
create (struct powercut *pc, const struct image_create_options *options)
{
  const struct subject *s = pc->files->subject;
  CLEANUP_FREE char *path = NULL;
  struct err err = ERR_INIT;
  uint64_t size;
  int r;

  must (asprintf (&path, "%s/created.%s", pc->files->folder, s->format) > 0);
  unlink (path);
  making = pc;
  r = image_create (path, options, &size, NULL, &err);
  making = NULL;
  if (r < 0)
    powercut_die (pc, "create", &err);
  must (size == s->size);
  must_be_the_same (pc, path);
  powercut_open (pc);
  offline_use_and_close (pc);
}

static void
run_create (struct powercut *pc)
{
  const struct subject *s = pc->files->subject;
  const struct image_create_options options = {
    .format = s->format, .kind = s->kind, .size = s->size,
    .preallocate = s->kind == IMAGE_FIXED && rng_below (&pc->rng, 2),
  };

  create (pc, &options);
}

static void
run_create_child (struct powercut *pc)
{
  const struct image_create_options options = {
    .format = pc->files->subject->format, .parent = pc->files->leaf,
  };

  create (pc, &options);
}

/* There are many subjects of one kind: each once. */
static bool
is_first_of_its_kind (const struct subject *s)
{
  return s->depth == 1 && s->make == NULL;
}

static bool
can_have_children (const struct subject *s)
{
  return offline_ops_of (s)->own_extents != NULL && s->make == NULL;
}

const struct powercut_workload create_workloads[] = {
  { .name = "create", .run = run_create, .prepare = nothing_at_first,
    .what = POWERCUT_MAKES, .applies = is_first_of_its_kind },
  { .name = "create, differencing", .run = run_create_child,
    .prepare = nothing_at_first, .what = POWERCUT_MAKES_CHILD,
    .applies = can_have_children },
  { .name = NULL },
};
