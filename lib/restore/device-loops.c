/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A loop device has its file open in the kernel, where no process shows it
 * and no exclusive claim stops it.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/restore/device.h"
#include "lib/restore/device-loops.h"
#include "lib/restore/sysfs.h"

/* Of each loop device that is in use, what is below it: a path. */
typedef bool (*loop_fn) (void *opaque, const char *name, const char *below);

struct loop_question {
  const struct restore_system *system;
  dev_t dev;
  const struct stat *file;
};

/* "/dev/sdb1 is below /dev/loop3": of the first of which fn says so, which the
 * caller frees; NULL: of none.
 */
static char *
find_loop (const struct restore_system *system, loop_fn fn, void *opaque)
{
  CLEANUP_FREE char *path = NULL;
  struct dirent *entry;
  char *found = NULL;
  DIR *dir;

  if (asprintf (&path, "%s/block", system->sys) < 0) {
    path = NULL;
    return NULL;
  }
  dir = opendir (path);
  while (found == NULL && dir != NULL && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *file = NULL, *below = NULL;

    if (strncmp (entry->d_name, "loop", 4) != 0)
      continue;
    if (asprintf (&file, "%s/%s/loop/backing_file", path, entry->d_name) < 0)
      file = NULL;
    below = sysfs_first_line (file);
    if (below && fn (opaque, entry->d_name, below) &&
        asprintf (&found, "%s is below /dev/%s", below, entry->d_name) < 0)
      found = NULL;
  }
  if (dir != NULL)
    closedir (dir);
  return found;
}

static bool
has_below (void *opaque, const char *name, const char *below)
{
  const struct loop_question *q = opaque;
  dev_t other = sysfs_dev_at (q->system, below);

  (void) name;
  return other != 0 && restore_device_has (q->system, q->dev, other);
}

static bool
is_the_file (const struct loop_question *q, const char *below)
{
  struct stat st;

  return stat (below, &st) == 0 && st.st_dev == q->file->st_dev &&
         st.st_ino == q->file->st_ino;
}

static bool
is_below (void *opaque, const char *name, const char *below)
{
  (void) name;
  return is_the_file (opaque, below);
}

/* The number of a loop device; 0: it is gone. */
static dev_t
loop_dev (const struct restore_system *system, const char *name)
{
  CLEANUP_FREE char *path = NULL;

  if (asprintf (&path, "%s/block/%s/dev", system->sys, name) < 0) {
    path = NULL;
    return 0;
  }
  return sysfs_dev (path);
}

struct loop_visit {
  struct loop_question question;
  restore_loop_fn fn;
  void *opaque;
  struct err *err;
  int r;
};

/* True: enough. */
static bool
visit (void *opaque, const char *name, const char *below)
{
  struct loop_visit *v = opaque;
  dev_t loop = is_the_file (&v->question, below)
    ? loop_dev (v->question.system, name) : 0;

  if (loop != 0)
    v->r = v->fn (v->opaque, name, loop, v->err);
  return v->r < 0;
}

int
restore_file_loops (const struct restore_system *system,
                    const struct stat *file, restore_loop_fn fn, void *opaque,
                    struct err *err)
{
  struct loop_visit v = {
    .question = { system, 0, file }, .fn = fn, .opaque = opaque, .err = err,
  };

  free (find_loop (system, visit, &v));
  return v.r;
}

static bool
carries (void *opaque, const char *name, const char *below)
{
  const struct loop_question *q = opaque;
  dev_t loop = is_the_file (q, below) ? loop_dev (q->system, name) : 0;

  return loop != 0 && restore_device_has (q->system, loop, q->dev);
}

static int
refuse_loop (const struct restore_system *system, loop_fn fn,
             struct loop_question *q, struct err *err)
{
  CLEANUP_FREE char *found = find_loop (system, fn, q);

  return found ? err_set (err, -EBUSY, "%s; take that apart first", found) : 0;
}

int
restore_loops_check_free (const struct restore_system *system, dev_t dev,
                          struct err *err)
{
  struct loop_question q = { system, dev, NULL };

  return refuse_loop (system, has_below, &q, err);
}

int
restore_file_check_free (const struct restore_system *system,
                         const struct stat *file, struct err *err)
{
  struct loop_question q = { system, 0, file };

  return refuse_loop (system, is_below, &q, err);
}

bool
restore_device_lies_in (const struct restore_system *system, dev_t dev,
                        const struct stat *file)
{
  struct loop_question q = { system, dev, file };
  CLEANUP_FREE char *found = find_loop (system, carries, &q);

  return found != NULL;
}
