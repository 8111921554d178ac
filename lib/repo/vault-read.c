/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/vault-read.h"

struct vault_view {
  struct vault *vault;
  const struct generation_caches *caches;
  struct generation_files files;        /* look_up */
  struct vault_runs runs;
  const struct vault_run **by_run;      /* the same, by RUN */
};

static int look_up (void *opaque, const struct nbi_file *wanted,
                    struct file_reader **out, struct err *err);
static int look_up_lower (void *opaque, const struct nbi_file *wanted,
                          uint32_t edition, struct file_reader **out,
                          struct err *err);

static int
compare_runs (const void *a, const void *b)
{
  const struct vault_run *const *x = a, *const *y = b;

  return memcmp ((*x)->run, (*y)->run, UUID_SIZE);
}

static int
sort_by_run (struct vault_view *view, struct err *err)
{
  view->by_run = calloc (view->runs.len + 1, sizeof *view->by_run);
  if (view->by_run == NULL)
    return err_nomem (err);
  for (size_t i = 0; i < view->runs.len; ++i)
    view->by_run[i] = &view->runs.ptr[i];
  qsort (view->by_run, view->runs.len, sizeof *view->by_run, compare_runs);
  return 0;
}

/* Takes over the runs, also if it fails: of a thousand they are half a MiB. */
static int
make_view (struct vault *vault, const struct generation_caches *caches,
           struct vault_runs *runs, struct vault_view **out, struct err *err)
{
  struct vault_view *view = calloc (1, sizeof *view);
  int r;

  if (view == NULL) {
    vector_free (runs);
    return err_nomem (err);
  }
  view->vault = vault;
  view->caches = caches;
  view->files = (struct generation_files) {
    look_up, look_up_lower, view
  };
  view->runs = *runs;
  *runs = (struct vault_runs) VECTOR_INIT;
  r = sort_by_run (view, err);
  if (r < 0)
    vault_view_free (view);
  else
    *out = view;
  return r;
}

int
vault_view_of (struct vault *vault, const struct generation_caches *caches,
               const struct vault_runs *runs, struct vault_view **out,
               struct err *err)
{
  struct vault_runs copy = VECTOR_INIT;

  for (size_t i = 0; i < runs->len; ++i)
    if (vector_append (&copy, &runs->ptr[i]) < 0) {
      vector_free (&copy);
      return err_nomem (err);
    }
  return make_view (vault, caches, &copy, out, err);
}

int
vault_view_new (struct vault *vault, const struct generation_caches *caches,
                struct vault_view **out, struct err *err)
{
  struct vault_runs runs;
  int r = vault_list (vault, 0, &runs, err);

  if (r == 0)
    return make_view (vault, caches, &runs, out, err);
  vector_free (&runs);
  return r;
}

void
vault_view_free (struct vault_view *view)
{
  if (view == NULL)
    return;
  free (view->by_run);
  vector_free (&view->runs);
  free (view);
}

const struct vault_runs *
vault_view_runs (const struct vault_view *view)
{
  return &view->runs;
}

struct naming {
  int (*found) (void *opaque, const struct err *what, struct err *err);
  void *opaque;
};

static int
look_at_name (void *opaque, const struct store_entry *entry, struct err *err)
{
  const struct naming *n = opaque;
  struct err what = ERR_INIT;
  struct vault_name name;

  vault_name_parse (entry->name, &name);
  if (name.kind != VAULT_NAME_RUN || entry->kind == STORE_FOLDER)
    return 0;
  nbi_refuse (&what, 132, "files/%s is called like a generation, and is no "
              "folder", entry->name);
  return n->found (n->opaque, &what, err);
}

int
vault_view_names (struct vault_view *view,
                  int (*found) (void *opaque, const struct err *what,
                                struct err *err),
                  void *opaque, struct err *err)
{
  struct naming naming = { found, opaque };

  return store_list (vault_store (view->vault), "files", look_at_name, &naming,
                     err);
}

/*--- Files ------------------------------------------------------------------*/

static int
folder_path (char path[STORE_PATH_SIZE], const char *folder)
{
  return snprintf (path, STORE_PATH_SIZE, "files/%s", folder);
}

/* The folder of a run; NULL: it is not in files/. */
static const struct vault_run *
find_run (const struct vault_view *view, const uint8_t run[UUID_SIZE])
{
  struct vault_run wanted;
  const struct vault_run *key = &wanted, **found;

  memcpy (wanted.run, run, UUID_SIZE);
  found = bsearch (&key, view->by_run, view->runs.len, sizeof *view->by_run,
                   compare_runs);
  return found != NULL ? *found : NULL;
}

/* A file by its name; what its header says is what the name says, or it is not
 * what was looked for (§13, "Names find, headers decide").
 */
static int
open_file (struct vault_view *view, const char *folder,
           const struct vault_file *file, struct file_reader **out,
           struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  char path[STORE_PATH_SIZE + VAULT_NAME_SIZE], name[VAULT_NAME_SIZE];
  struct file_reader *reader = NULL;
  const struct nbi_header *h;
  int r;

  snprintf (path, sizeof path, "files/%s/%s", folder,
            vault_name_nbi (name, file->uuid, file->edition, file->root));
  r = store_open (vault_store (view->vault), path, &block, err);
  if (r < 0)
    return r;
  r = file_reader_open (block, view->caches->sheets, view->caches->keys,
                        &reader, report, err);
  if (r < 0)
    return err_in (err, "%s", path);
  h = file_reader_header (reader);
  if (memcmp (h->file, file->uuid, UUID_SIZE) != 0 ||
      h->edition != file->edition) {
    file_reader_unref (reader);
    return err_set (err, -EBADMSG, "%s: its header says another UUID or "
                    "edition than its name", path);
  }
  *out = reader;
  return 0;
}

int
vault_view_open_file (struct vault_view *view, const struct vault_run *run,
                      const struct vault_file *file, struct file_reader **out,
                      struct report *report, struct err *err)
{
  return open_file (view, run->folder, file, out, report, err);
}

/* Of the editions of a UUID, the highest that opens. */
static int
open_edition (struct vault_view *view, const char *folder,
              const struct vault_folder *names, const uint8_t uuid[UUID_SIZE],
              struct file_reader **out, struct report *report,
              struct err *err)
{
  int r = 0;

  for (size_t i = 0; i < names->files.len; ++i) {
    const struct vault_file *file = &names->files.ptr[i];
    struct err why = ERR_INIT;

    if (memcmp (file->uuid, uuid, UUID_SIZE) != 0)
      continue;
    if (open_file (view, folder, file, out, report, &why) == 0)
      return 0;
    /* That of the highest one is told. */
    if (r == 0) {
      r = why.code;
      if (err != NULL)
        *err = why;
    }
  }
  return r < 0 ? r
    : nbi_refuse (err, 131, "files/%s: a file that the generation needs is "
                  "not there", folder);
}

int
vault_view_look_up (struct vault_view *view, const struct nbi_file *wanted,
                    struct file_reader **out, struct report *report,
                    struct err *err)
{
  const struct vault_run *run = find_run (view, wanted->run);
  char path[STORE_PATH_SIZE];
  int r = -ENOENT;

  if (run == NULL)
    return nbi_refuse (err, 131, "the folder of a file that the generation "
                       "needs is not in files/");
  folder_path (path, run->folder);
  /* One that went since it was listed may have a higher edition by now. */
  for (int i = 0; r == -ENOENT && i < 2; ++i) {
    CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };

    r = vault_look_in (view->vault, path, 0, &names, err);
    if (r == 0)
      r = open_edition (view, run->folder, &names, wanted->uuid, out, report,
                        err);
  }
  return r;
}

static int
look_up (void *opaque, const struct nbi_file *wanted,
         struct file_reader **out, struct err *err)
{
  return vault_view_look_up (opaque, wanted, out, NULL, err);
}

static int
look_up_lower (void *opaque, const struct nbi_file *wanted, uint32_t edition,
               struct file_reader **out, struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  struct vault_view *view = opaque;
  const struct vault_run *run = find_run (view, wanted->run);
  char path[STORE_PATH_SIZE];
  int r;

  if (run == NULL)
    return err_set (err, -ENOENT, "its folder is not there");
  folder_path (path, run->folder);
  r = vault_look_in (view->vault, path, 0, &names, err);
  for (size_t i = 0; r == 0 && i < names.files.len; ++i) {
    const struct vault_file *file = &names.files.ptr[i];

    if (file->edition < edition &&
        memcmp (file->uuid, wanted->uuid, UUID_SIZE) == 0 &&
        open_file (view, run->folder, file, out, NULL, NULL) == 0)
      return 0;
  }
  return r < 0 ? r : err_set (err, -ENOENT, "there is no lower edition");
}

/*--- Generations ------------------------------------------------------------*/

/* NBI-131: the folders of all files, before the first read. */
static int
check_folders (struct vault_view *view, struct file_reader *last,
               struct err *err)
{
  uint32_t n = file_reader_trailer (last)->nr_files;
  char text[UUID_STRING_SIZE];

  for (uint32_t i = 0; i < n; ++i) {
    struct nbi_file file;
    int r = file_reader_file (last, i, &file, err);

    if (r < 0)
      return r;
    if (find_run (view, file.run) != NULL)
      continue;
    uuid_to_string (file.run, text);
    return nbi_refuse (err, 131, "it needs files of the run %s, whose folder "
                       "is not in the vault", text);
  }
  return 0;
}

/* Where vault/ is lost it is the first file that says that there is something
 * to ask for.
 */
static int
open_root (struct vault_view *view, const char *folder,
           const struct vault_file *file, struct file_reader **out,
           struct report *report, struct err *err)
{
  struct keyring *keys = view->caches->keys;
  int r = open_file (view, folder, file, out, report, err);

  if (r < 0 || keys == NULL)
    return r;
  r = file_reader_unlock (*out, keys, err);
  if (r < 0) {
    file_reader_unref (*out);
    err_in (err, "files/%s", folder);
  }
  return r;
}

/* The file with a root whose header has the folder's RUN. */
static int
open_last (struct vault_view *view, const struct vault_run *run,
           const struct vault_folder *names, struct file_reader **out,
           struct report *report, struct err *err)
{
  struct err why = ERR_INIT;

  nbi_refuse (&why, 133, "files/%s: there is no file with the root of the map",
              run->folder);
  for (size_t i = 0; i < names->files.len; ++i) {
    const struct vault_file *file = &names->files.ptr[i];
    struct file_reader *reader;

    if (!file->root || open_root (view, run->folder, file, &reader, report,
                                  &why) < 0)
      continue;
    if (memcmp (file_reader_header (reader)->run, run->run, UUID_SIZE) == 0 &&
        file_reader_trailer (reader)->root != 0) {
      *out = reader;
      return 0;
    }
    file_reader_unref (reader);
  }
  if (err != NULL)
    *err = why;
  return why.code;
}

int
vault_view_open (struct vault_view *view, size_t i, bool dropped,
                 struct vault_opened *out, struct report *report,
                 struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  const struct vault_run *run = &view->runs.ptr[i];
  struct vault_opened opened = { NULL, NULL };
  char path[STORE_PATH_SIZE];
  int r;

  folder_path (path, run->folder);
  r = vault_look_in (view->vault, path, 0, &names, err);
  if (r < 0)
    return r;
  if (vault_folder_is_hidden (&names) && !dropped)
    return err_set (err, -ENOENT, "files/%s: the generation was dropped",
                    run->folder);
  r = open_last (view, run, &names, &opened.last, report, err);
  if (r < 0)
    return r;
  r = check_folders (view, opened.last, err);
  if (r == 0)
    r = generation_open (opened.last, &view->files, view->caches, &opened.gen,
                         err);
  if (r < 0) {
    vault_opened_close (&opened);
    return err_in (err, "%s", path);
  }
  *out = opened;
  return 0;
}

void
vault_opened_close (struct vault_opened *opened)
{
  generation_unref (opened->gen);
  file_reader_unref (opened->last);
  *opened = (struct vault_opened) { NULL, NULL };
}

/*--- Which one --------------------------------------------------------------*/

bool
vault_is_damage (int r)
{
  return r == -EBADMSG || r == -ENOTSUP || r == -EIO;
}

enum { OTHER, OF_DISK, DAMAGED };

/* Does that folder have a generation of the disk?  DAMAGED, which is told:
 * nobody knows; or why it can't be found out.  One with the mark is none,
 * unless it is kept and those are wanted, by whoever names it.
 */
static int
is_of_disk (struct vault_view *view, size_t i, const char *disk_name,
            bool also_kept, struct report *report, struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  const struct vault_run *run = &view->runs.ptr[i];
  char hint[VAULT_HINT_MAX + 1], path[STORE_PATH_SIZE];
  struct file_reader *last;
  struct err why = ERR_INIT;
  int r;

  vault_hint (disk_name, hint);
  if (strcmp (run->disk, hint) != 0)
    return OTHER;
  folder_path (path, run->folder);
  r = vault_look_in (view->vault, path, 0, &names, &why);
  if (r == 0 && names.dropped &&
      (!also_kept || vault_folder_is_hidden (&names)))
    return OTHER;
  if (r == 0)
    r = open_last (view, run, &names, &last, report, &why);
  if (r == -ENOENT)             /* pruned meanwhile */
    return OTHER;
  if (r == -EBADMSG || r == -ENOTSUP) {
    report_warn (report, "%s", why.msg);
    return DAMAGED;
  }
  if (r < 0) {
    if (err != NULL)
      *err = why;
    return r;
  }
  r = strcmp (file_reader_header (last)->name, disk_name) == 0 ? OF_DISK
    : OTHER;
  file_reader_unref (last);
  return r;
}

/* Whoever wanted the newest shall know that it is perhaps another. */
static void
warn_older (struct report *report, const char *disk_name, uint64_t time)
{
  char text[VAULT_TIME_SIZE];

  vault_time_to_string (time, text);
  report_warn (report, "the newest generation of ‘%s’ that can be read is %s",
               disk_name, text);
}

int
vault_view_before (struct vault_view *view, size_t end, const char *disk_name,
                   size_t *i, struct report *report, struct err *err)
{
  bool damaged = false;

  for (size_t n = end; n-- > 0; ) {
    int r = is_of_disk (view, n, disk_name, false, report, err);

    *i = n;
    if (r < 0)
      return r;
    damaged |= r == DAMAGED;
    if (r == OF_DISK) {
      if (damaged)
        warn_older (report, disk_name, view->runs.ptr[n].time);
      return 0;
    }
  }
  return err_set (err, -ENOENT, "the vault has no generation of ‘%s’",
                  disk_name);
}

int
vault_view_newest (struct vault_view *view, const char *disk_name, size_t *i,
                   struct report *report, struct err *err)
{
  return vault_view_before (view, view->runs.len, disk_name, i, report, err);
}

/* Does the text begin the time of the run, or its UUID? */
static bool
means (const struct vault_run *run, const char *which)
{
  char time[VAULT_TIME_SIZE], uuid[UUID_STRING_SIZE];
  size_t n = strlen (which), k = 0;

  vault_time_to_string (run->time, time);
  if (strncmp (time, which, n) == 0)
    return true;
  uuid_to_string (run->run, uuid);
  for (size_t i = 0; i < n; ++i) {
    if (which[i] == '-')
      continue;
    while (uuid[k] == '-')
      ++k;
    if (tolower ((unsigned char) which[i]) != uuid[k++])
      return false;
  }
  return k >= 4;
}

int
vault_view_find (struct vault_view *view, const char *disk_name,
                 const char *which, size_t *i, struct report *report,
                 struct err *err)
{
  size_t found = 0, nr = 0;

  if (which[0] == '\0' || strcmp (which, "latest") == 0)
    return vault_view_newest (view, disk_name, i, report, err);
  for (size_t n = 0; n < view->runs.len; ++n) {
    int r;

    if (!means (&view->runs.ptr[n], which))
      continue;
    r = is_of_disk (view, n, disk_name, true, report, err);
    if (r < 0)
      return r;
    if (r == OF_DISK) {
      found = n;
      ++nr;
    }
  }
  if (nr == 1) {
    *i = found;
    return 0;
  }
  return nr == 0
    ? err_set (err, -ENOENT, "the vault has no generation ‘%s’ of ‘%s’", which,
               disk_name)
    : err_set (err, -EINVAL, "%zu generations of ‘%s’ begin with ‘%s’", nr,
               disk_name, which);
}

void
vault_warn_ahead (struct report *report, const char *disk_name, uint64_t time)
{
  char text[VAULT_TIME_SIZE];

  vault_time_to_string (time, text);
  report_warn (report, "the newest generation of ‘%s’, %s, is more than a day "
               "later than it is now: some clock was or is wrong, and those "
               "that follow are counted from there", disk_name, text);
}
