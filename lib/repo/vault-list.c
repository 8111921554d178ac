/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the names in a vault show.  A listing that is made while others rename
 * may miss a name that was there all the time; where that matters it is made
 * twice, and joined (docs/NBI.md §13).
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/vault-private.h"

static unsigned
times (unsigned flags)
{
  return flags & VAULT_TWICE ? 2 : 1;
}

/*--- Runs -------------------------------------------------------------------*/

static int
add_run (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct vault_runs *runs = opaque;
  struct vault_name name;
  struct vault_run run;

  vault_name_parse (entry->name, &name);
  if (name.kind != VAULT_NAME_RUN || entry->kind != STORE_FOLDER)
    return 0;
  memset (&run, 0, sizeof run);
  snprintf (run.folder, sizeof run.folder, "%s", entry->name);
  memcpy (run.disk, name.disk, sizeof run.disk);
  memcpy (run.run, name.uuid, UUID_SIZE);
  run.time = name.time;
  return vector_append (runs, &run) < 0 ? err_nomem (err) : 0;
}

/* By time, then UUID; the name tells apart what nobody should have made. */
static int
compare_runs (const void *a, const void *b)
{
  const struct vault_run *x = a, *y = b;
  int r;

  if (x->time != y->time)
    return x->time < y->time ? -1 : 1;
  r = memcmp (x->run, y->run, UUID_SIZE);
  return r != 0 ? r : strcmp (x->folder, y->folder);
}

/* Neighbours that are the same become one. */
#define JOIN(v, compare)                                                \
  do {                                                                  \
    size_t kept_ = 0;                                                   \
                                                                        \
    if ((v)->len > 0)                                                   \
      qsort ((v)->ptr, (v)->len, sizeof *(v)->ptr, (compare));          \
    for (size_t i_ = 0; i_ < (v)->len; ++i_)                            \
      if (kept_ == 0 ||                                                 \
          (compare) (&(v)->ptr[kept_ - 1], &(v)->ptr[i_]) != 0)         \
        (v)->ptr[kept_++] = (v)->ptr[i_];                               \
    (v)->len = kept_;                                                   \
  } while (0)

int
vault_list (struct vault *v, unsigned flags, struct vault_runs *runs,
            struct err *err)
{
  int r = 0;

  if (!(flags & VAULT_MORE))
    *runs = (struct vault_runs) VECTOR_INIT;
  for (unsigned i = 0; r == 0 && i < times (flags); ++i)
    r = store_list (vault_store (v), "files", add_run, runs, err);
  if (r == 0)
    JOIN (runs, compare_runs);
  return r;
}

/*--- A run's folder ---------------------------------------------------------*/

static int
add_file (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct vault_folder *folder = opaque;
  struct vault_name name;
  struct vault_file file;
  struct vault_lock lock;
  struct vault_keep keep;
  int r = 0;

  vault_name_parse (entry->name, &name);
  if (entry->kind != STORE_FILE)
    name.kind = VAULT_NAME_OTHER;
  switch (name.kind) {
  case VAULT_NAME_NBI:
    memcpy (file.uuid, name.uuid, UUID_SIZE);
    file.edition = name.edition;
    file.root = name.root;
    r = vector_append (&folder->files, &file);
    break;
  case VAULT_NAME_LOCK:
    memcpy (lock.uuid, name.uuid, UUID_SIZE);
    lock.until = name.time;
    r = vector_append (&folder->locks, &lock);
    break;
  case VAULT_NAME_KEEP:
    memcpy (keep.uuid, name.uuid, UUID_SIZE);
    r = vector_append (&folder->keeps, &keep);
    break;
  case VAULT_NAME_DROPPED:
    folder->dropped = true;
    break;
  case VAULT_NAME_PART:
  case VAULT_NAME_LEASE:
  case VAULT_NAME_ALIVE:
    break;
  default:
    ++folder->nr_others;
  }
  return r < 0 ? err_nomem (err) : 0;
}

/* By UUID; the highest edition first. */
static int
compare_files (const void *a, const void *b)
{
  const struct vault_file *x = a, *y = b;
  int r = memcmp (x->uuid, y->uuid, UUID_SIZE);

  if (r != 0)
    return r;
  if (x->edition != y->edition)
    return x->edition > y->edition ? -1 : 1;
  return (int) y->root - (int) x->root;
}

static int
compare_locks (const void *a, const void *b)
{
  const struct vault_lock *x = a, *y = b;
  int r = memcmp (x->uuid, y->uuid, UUID_SIZE);

  if (r != 0)
    return r;
  return x->until == y->until ? 0 : x->until > y->until ? -1 : 1;
}

static int
compare_keeps (const void *a, const void *b)
{
  const struct vault_keep *x = a, *y = b;

  return memcmp (x->uuid, y->uuid, UUID_SIZE);
}

int
vault_look_in (struct vault *v, const char *where, unsigned flags,
               struct vault_folder *folder, struct err *err)
{
  int r = 0;

  memset (folder, 0, sizeof *folder);
  for (unsigned i = 0; r == 0 && i < times (flags); ++i) {
    folder->nr_others = 0;
    r = store_list (vault_store (v), where, add_file, folder, err);
  }
  if (r == 0) {
    JOIN (&folder->files, compare_files);
    JOIN (&folder->locks, compare_locks);
    JOIN (&folder->keeps, compare_keeps);
  }
  return r;
}

bool
vault_folder_is_hidden (const struct vault_folder *folder)
{
  return folder->dropped && folder->keeps.len == 0;
}

void
vault_folder_free (struct vault_folder *folder)
{
  vector_free (&folder->files);
  vector_free (&folder->locks);
  vector_free (&folder->keeps);
}

/*--- Marks ------------------------------------------------------------------*/

/* One that is there may not be on stable storage yet; it has no bytes, so that
 * its name is all there is to flush.
 */
int
vault_drop (struct vault *v, const char *folder, struct err *err)
{
  char where[STORE_PATH_SIZE], path[STORE_PATH_SIZE];
  int r;

  snprintf (where, sizeof where, "files/%s", folder);
  snprintf (path, sizeof path, "files/%s/%s", folder, VAULT_DROPPED);
  r = store_put (vault_store (v), path, "", 0, err);
  if (r < 0 && r != -EEXIST)
    return r;
  return store_flush_folder (vault_store (v), where, err);
}

/*--- The newest -------------------------------------------------------------*/

/* 1: this run is a generation of the disk; 0: it is not, or is dropped. */
static int
ask (struct vault *v, const struct vault_run *run,
     int (*is_it) (void *opaque, const struct vault_run *run, const char *path,
                   struct err *err),
     void *opaque, struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder folder;
  char where[VAULT_NAME_SIZE + 8];
  int r;

  snprintf (where, sizeof where, "files/%s", run->folder);
  r = vault_look_in (v, where, 0, &folder, err);
  if (r == -ENOENT || (r == 0 && folder.dropped))
    return 0;                   /* pruned meanwhile, or soon */
  for (size_t i = 0; r == 0 && i < folder.files.len; ++i) {
    const struct vault_file *file = &folder.files.ptr[i];
    char name[VAULT_NAME_SIZE], path[STORE_PATH_SIZE];

    if (!file->root)
      continue;
    snprintf (path, sizeof path, "%s/%s", where,
              vault_name_nbi (name, file->uuid, file->edition, true));
    r = is_it (opaque, run, path, err);
  }
  return r;
}

int
vault_newest (struct vault *v, const struct vault_runs *runs,
              const char *disk_name,
              int (*is_it) (void *opaque, const struct vault_run *run,
                            const char *path, struct err *err),
              void *opaque, size_t *newest, struct err *err)
{
  char hint[VAULT_HINT_MAX + 1];

  vault_hint (disk_name, hint);
  for (size_t i = runs->len; i-- > 0;) {
    int r;

    if (strcmp (runs->ptr[i].disk, hint) != 0)
      continue;
    r = ask (v, &runs->ptr[i], is_it, opaque, err);
    if (r < 0)
      return r;
    if (r > 0) {
      *newest = i;
      return 0;
    }
  }
  return err_set (err, -ENOENT, "there is no generation of this disk");
}
