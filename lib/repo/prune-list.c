/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What names say, for a prune: whatever is overlooked here is deleted, so that
 * each listing is made twice, a folder that seems to be gone is asked for
 * again, and what is not understood refuses all of it.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/repo/prune-private.h"

const char *
prune_path (char path[PRUNE_PATH_SIZE], const struct prune_folder *folder,
            const struct vault_file *file)
{
  char name[VAULT_NAME_SIZE];

  if (file == NULL)
    snprintf (path, PRUNE_PATH_SIZE, "files/%s", folder->run.folder);
  else
    snprintf (path, PRUNE_PATH_SIZE, "files/%s/%s", folder->run.folder,
              vault_name_nbi (name, file->uuid, file->edition, file->root));
  return path;
}

static void
free_folders (struct prune_listing *listing)
{
  for (size_t i = 0; i < listing->folders.len; ++i)
    vault_folder_free (&listing->folders.ptr[i].names);
  vector_free (&listing->folders);
}

void
prune_listing_free (struct prune_listing *listing)
{
  free_folders (listing);
  vector_free (&listing->runs);
}

/*--- Names that are no generation's -----------------------------------------*/

struct name {
  char text[VAULT_NAME_SIZE];
};

DEFINE_VECTOR (names, struct name);

/* Folders that are called like nothing we know are looked into. */
static int
add_name (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct names *unknown = opaque;
  struct vault_name parsed;
  struct name name;
  char text[TEXT_NAME_SIZE];

  vault_name_parse (entry->name, &parsed);
  if (parsed.kind == VAULT_NAME_RUN && entry->kind != STORE_FOLDER)
    return nbi_refuse (err, 132, "files/%s is called like a generation, and is "
                       "no folder", text_clean (entry->name, text,
                                                sizeof text));
  if (parsed.kind == VAULT_NAME_RUN || parsed.kind == VAULT_NAME_HIDDEN ||
      entry->kind != STORE_FOLDER)
    return 0;
  snprintf (name.text, sizeof name.text, "%s", entry->name);
  return vector_append (unknown, &name) < 0 ? err_nomem (err) : 0;
}

static int
find_image (void *opaque, const struct store_entry *entry, struct err *err)
{
  bool *found = opaque;
  struct vault_name parsed;

  (void) err;
  vault_name_parse (entry->name, &parsed);
  *found |= parsed.kind == VAULT_NAME_NBI;
  return *found ? STORE_STOP : 0;
}

/* A generation whose folder somebody gave another name is not listed, but may
 * get its name back.
 */
static int
refuse_images_in (struct store *store, const char *name,
                  struct report *report, struct err *err)
{
  char path[PRUNE_PATH_SIZE], text[TEXT_NAME_SIZE];
  struct err why = ERR_INIT;
  bool found = false;
  int r;

  snprintf (path, sizeof path, "files/%s", name);
  r = store_list (store, path, find_image, &found, &why);
  text_clean (name, text, sizeof text);
  if (r == 0 && found)
    return nbi_refuse (err, 132, "files/%s has backup images in it, and is "
                       "called like no generation", text);
  if (r == -EACCES) {           /* lost+found */
    report_warn (report, "files/%s can't be looked into, and counts for "
                 "nothing", text);
    return 0;
  }
  if (r < 0 && r != -ENOENT && err != NULL)
    *err = why;
  return r == -ENOENT ? 0 : r;
}

static int
look_at_names (struct store *store, struct report *report, struct err *err)
{
  struct names unknown = VECTOR_INIT;
  int r = store_list (store, "files", add_name, &unknown, err);

  for (size_t i = 0; r == 0 && i < unknown.len; ++i)
    r = refuse_images_in (store, unknown.ptr[i].text, report, err);
  vector_free (&unknown);
  return r;
}

/*--- Folders ----------------------------------------------------------------*/

/* Sets `gone' where there is no such folder. */
static int
look_in (struct vault *vault, struct prune_folder *folder, struct err *err)
{
  char path[PRUNE_PATH_SIZE];
  int r;

  vault_folder_free (&folder->names);
  r = vault_look_in (vault, prune_path (path, folder, NULL), VAULT_TWICE,
                     &folder->names, err);
  folder->gone = r == -ENOENT;
  return r == -ENOENT ? 0 : r;
}

/* The answer that a name is not there may be older than the listing that has
 * it, where there is lag: only after that has gone by it says that the folder
 * was taken away.
 */
static int
look_again (struct vault *vault, struct prune_folders *folders,
            struct job *job, struct err *err)
{
  bool any = false;
  int r = 0;

  for (size_t i = 0; i < folders->len; ++i)
    any |= folders->ptr[i].gone;
  if (any)
    r = store_wait (vault_store (vault), job, err);
  for (size_t i = 0; r == 0 && any && i < folders->len; ++i)
    if (folders->ptr[i].gone)
      r = look_in (vault, &folders->ptr[i], err);
  return r;
}

int
prune_list (struct vault *vault, struct prune_listing *listing,
            struct report *report, struct job *job, struct err *err)
{
  int r = look_at_names (vault_store (vault), report, err);

  free_folders (listing);
  if (r == 0)
    r = vault_list (vault, VAULT_TWICE | VAULT_MORE, &listing->runs, err);
  for (size_t i = 0; r == 0 && i < listing->runs.len; ++i) {
    struct prune_folder folder = { .run = listing->runs.ptr[i] };

    r = job_check (job, err);
    if (r == 0)
      r = look_in (vault, &folder, err);
    if (r == 0 && vector_append (&listing->folders, &folder) < 0)
      r = err_nomem (err);
    if (r < 0)
      vault_folder_free (&folder.names);
  }
  return r < 0 ? r : look_again (vault, &listing->folders, job, err);
}

bool
prune_has_root (const struct prune_folder *folder)
{
  for (size_t i = 0; i < folder->names.files.len; ++i)
    if (folder->names.files.ptr[i].root)
      return true;
  return false;
}

bool
prune_was_dropped (struct vault *vault, const struct vault_run *run)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char path[PRUNE_PATH_SIZE];
  int r;

  snprintf (path, sizeof path, "files/%s", run->folder);
  r = vault_look_in (vault, path, 0, &names, NULL);
  return r == -ENOENT || (r == 0 && names.dropped);
}

int
prune_list_files (const struct prune_listing *listing, struct liveness *live,
                  struct err *err)
{
  int r = 0;

  for (size_t i = 0; i < listing->folders.len; ++i) {
    const struct vault_files *files = &listing->folders.ptr[i].names.files;

    for (size_t k = 0; r == 0 && k < files->len; ++k)
      r = liveness_add (live, files->ptr[k].uuid, err);
  }
  liveness_sort (live);
  return r;
}

/*--- What may go ------------------------------------------------------------*/

bool
prune_folder_is_dead (const struct prune_folder *folder,
                      const struct liveness *live)
{
  for (size_t i = 0; i < folder->names.files.len; ++i)
    if (!live_file_is_dead (liveness_find (live,
                                           folder->names.files.ptr[i].uuid)))
      return false;
  return true;
}

bool
prune_is_locked (const struct prune_folder *folder,
                 const uint8_t uuid[UUID_SIZE], int64_t now)
{
  for (size_t i = 0; i < folder->names.locks.len; ++i) {
    const struct vault_lock *lock = &folder->names.locks.ptr[i];

    if (memcmp (lock->uuid, uuid, UUID_SIZE) == 0 &&
        (now < 0 || lock->until > (uint64_t) now))
      return true;
  }
  return false;
}
