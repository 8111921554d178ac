/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Generations in a vault as images: of one that is open, and VAULT/DISK
 * [@GENERATION] as the name of an image.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/repo/generation-diff.h"
#include "lib/repo/image-nbi-private.h"
#include "lib/repo/keep.h"
#include "lib/repo/lease.h"
#include "lib/repo/reader-lease.h"
#include "lib/repo/store-at.h"
#include "lib/repo/vault-keys.h"
#include "lib/repo/vault-missing.h"

struct vault_lease {
  struct vault_lease *next;
  uint8_t run[UUID_SIZE];
  unsigned users;
  struct reader_lease *lease;
};

struct vault_images {
  unsigned refs;                /* atomic */
  pthread_mutex_t lock;         /* of leases, and their numbers of users */
  struct vault_lease *leases;
  unsigned held;                /* files that are held open; atomic */
  struct store *store;
  struct vault *vault;
  bool has_caches;
  struct generation_caches caches;
};

/*--- The vault --------------------------------------------------------------*/

int
vault_images_open (const char *path, struct vault_images **out,
                   struct report *report, struct err *err)
{
  struct vault_images *v = calloc (1, sizeof *v);
  int r;

  if (v == NULL)
    return err_nomem (err);
  v->refs = 1;
  pthread_mutex_init (&v->lock, NULL);
  r = generation_caches_init (&v->caches, NBI_IMAGE_CACHE, err);
  v->has_caches = r == 0;
  v->caches.keys = nbi_keys;
  if (r == 0)
    r = store_at (path, false, NULL, &v->store, err);
  if (r == 0)
    r = vault_open (v->store, 0, &v->vault, report, err);
  if (r == 0)
    r = vault_unlock (v->vault, nbi_keys, report, err);
  if (r < 0)
    vault_images_unref (v);
  else
    *out = v;
  return r;
}

struct vault_images *
vault_images_ref (struct vault_images *v)
{
  __atomic_add_fetch (&v->refs, 1, __ATOMIC_RELAXED);
  return v;
}

void
vault_images_unref (struct vault_images *v)
{
  if (v == NULL || __atomic_sub_fetch (&v->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  if (v->has_caches)
    generation_caches_destroy (&v->caches);
  vault_close (v->vault);
  store_close (v->store);
  pthread_mutex_destroy (&v->lock);
  free (v);
}

const char *
vault_images_name (const struct vault_images *v)
{
  return store_name (v->store);
}

int
vault_images_look (struct vault_images *v, struct vault_view **out,
                   struct err *err)
{
  return vault_view_new (v->vault, &v->caches, out, err);
}

bool
vault_images_is_dropped (const struct vault_images *v,
                         const struct vault_run *run)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char path[STORE_PATH_SIZE];
  struct store_stat st;

  snprintf (path, sizeof path, "files/%s/" VAULT_DROPPED, run->folder);
  if (store_stat (v->store, path, &st, NULL) < 0)
    return false;
  *strrchr (path, '/') = '\0';
  return vault_look_in (v->vault, path, 0, &names, NULL) < 0 ||
    vault_folder_is_hidden (&names);
}

/*--- Leases -----------------------------------------------------------------*/

static struct vault_lease *
find_lease (const struct vault_images *v, const struct vault_run *run)
{
  for (struct vault_lease *l = v->leases; l != NULL; l = l->next)
    if (memcmp (l->run, run->run, UUID_SIZE) == 0)
      return l;
  return NULL;
}

struct vault_lease *
vault_images_protect (struct vault_images *v, const struct vault_run *run,
                      unsigned delay)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->lock);
  struct vault_lease *l = find_lease (v, run);

  if (l == NULL) {
    l = calloc (1, sizeof *l);
    if (l == NULL ||
        reader_lease_start (v->vault, run, delay, LEASE_RENEW, &l->lease,
                            NULL) < 0) {
      free (l);
      return NULL;
    }
    memcpy (l->run, run->run, UUID_SIZE);
    l->next = v->leases;
    v->leases = l;
  }
  ++l->users;
  return l;
}

int
vault_images_wait (struct vault_lease *lease, struct err *err)
{
  return reader_lease_wait (lease->lease, err);
}

int
vault_images_keep (struct vault_images *v, const struct vault_run *run,
                   const char *path, struct report *report, struct err *err)
{
  struct err why = ERR_INIT;
  int r = keep_put (v->vault, run, path, NULL, &why);

  if (r == 0)
    return 0;
  if (r == -ESTALE || r == -ENOMEM)
    return err_set (err, r, "%s", why.msg);
  report_warn (report, "the generation can't be kept for this overlay, and a "
               "prune may take it away from under it: %s", why.msg);
  return 0;
}

/* The last user takes it off the list, and ends it without the lock. */
static bool
let_go (struct vault_images *v, struct vault_lease *lease)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->lock);

  if (--lease->users > 0)
    return false;
  for (struct vault_lease **p = &v->leases; *p != NULL; p = &(*p)->next)
    if (*p == lease) {
      *p = lease->next;
      break;
    }
  return true;
}

void
vault_images_unprotect (struct vault_images *v, struct vault_lease *lease)
{
  if (lease == NULL || !let_go (v, lease))
    return;
  reader_lease_end (lease->lease);
  free (lease);
}

/*--- One generation ---------------------------------------------------------*/

void
vault_images_release (struct vault_images *v, unsigned held)
{
  __atomic_sub_fetch (&v->held, held, __ATOMIC_RELAXED);
}

/* If there are not too many of them.  One that is not there is said when it is
 * read: the rest can be had.
 */
static void
hold_files (struct nbi_image *nbi, struct generation *gen)
{
  uint32_t n = generation_nr_files (gen);

  if (n > VAULT_IMAGES_HELD)
    return;
  if (__atomic_add_fetch (&nbi->vault->held, n, __ATOMIC_RELAXED) <=
      VAULT_IMAGES_HELD_ALL && generation_hold_files (gen, NULL) == 0)
    nbi->held += n;
  else
    vault_images_release (nbi->vault, n);
}

/* A generation of a disk; before: the one whose changes it tells, or NULL. */
struct wanted {
  const char *disk, *which, *before;
};

/* run: NULL, or gets which one it is. */
static int
open_one (struct nbi_image *nbi, const char *disk, const char *which,
          struct vault_run *run, struct vault_opened *opened,
          struct report *report, struct err *err)
{
  size_t i;
  int r = vault_view_find (nbi->view, disk, which, &i, report, err);

  if (r == 0 && run != NULL)
    *run = vault_view_runs (nbi->view)->ptr[i];
  if (r == -ENOENT)
    r = vault_missing (nbi->view, disk, which, err);
  return r < 0 ? r : vault_view_open (nbi->view, i, false, opened, report,
                                      err);
}

static int
open_generation (struct nbi_image *nbi, const struct wanted *wanted,
                 struct report *report, struct err *err)
{
  struct vault_opened opened = { NULL, NULL };
  int r;

  r = vault_images_look (nbi->vault, &nbi->view, err);
  if (r == 0)
    r = open_one (nbi, wanted->disk, wanted->which, &nbi->run, &opened, report,
                  err);
  if (r == 0 && wanted->before != NULL)
    r = open_one (nbi, wanted->disk, wanted->before, NULL, &nbi->before,
                  report, err);
  nbi->file = opened.last;
  nbi->gen = opened.gen;
  return r < 0 || wanted->before == NULL ? r
    : generation_diff_check (nbi->before.gen, nbi->gen, err);
}

/* The image lies on the block of its last file, which is known only when it is
 * open: the state is made first, and put into the image.
 */
static int
make_image (struct vault_images *v, const struct wanted *wanted,
            struct image **out, struct report *report, struct err *err)
{
  struct nbi_image *nbi = calloc (1, sizeof *nbi);
  struct image *img;
  int r;

  if (nbi == NULL)
    return err_nomem (err);
  nbi->vault = vault_images_ref (v);
  r = open_generation (nbi, wanted, report, err);
  if (r == 0)
    r = image_new (&nbi_image_ops, file_reader_block (nbi->file), &img, err);
  if (r < 0) {
    nbi_image_destroy (nbi);
    free (nbi);
    return r;
  }
  free (img->state);
  img->state = nbi;
  *out = img;
  return 0;
}

static int
get (struct vault_images *v, const struct wanted *wanted, bool hold,
     struct image **out, struct report *report, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  int r = make_image (v, wanted, &img, report, err);

  if (r == 0 && hold) {
    struct nbi_image *nbi = img->state;

    hold_files (nbi, nbi->gen);
    if (nbi->before.gen != NULL)
      hold_files (nbi, nbi->before.gen);
  }
  if (r == 0)
    r = nbi_image_describe (img, err);
  if (r == 0)
    *out = steal_ptr (&img);
  return r;
}

int
vault_images_get (struct vault_images *v, const char *disk, const char *which,
                  bool hold, struct image **out, struct report *report,
                  struct err *err)
{
  const struct wanted wanted = { .disk = disk, .which = which };

  return get (v, &wanted, hold, out, report, err);
}

int
vault_images_get_change (struct vault_images *v, const char *disk,
                         const char *before, const char *which, bool hold,
                         struct image **out, struct report *report,
                         struct err *err)
{
  const struct wanted wanted = { disk, which, before };

  return get (v, &wanted, hold, out, report, err);
}

/*--- By the file that it ends in --------------------------------------------*/

/* VAULT of VAULT/files/DISK.TIME.RUN/NAME; for free().  *is_one: it is such a
 * name; NULL then: out of memory.
 */
static char *
vault_of_file (const char *name, const uint8_t run[UUID_SIZE], bool *is_one)
{
  char folder[VAULT_NAME_SIZE];
  struct vault_name parsed;
  const char *leaf = strrchr (name, '/'), *start, *files;

  *is_one = false;
  start = leaf ? memrchr (name, '/', (size_t) (leaf - name)) : NULL;
  if (start == NULL || (size_t) (leaf - start) > sizeof folder)
    return NULL;
  snprintf (folder, sizeof folder, "%.*s", (int) (leaf - start - 1),
            start + 1);
  vault_name_parse (folder, &parsed);
  if (parsed.kind != VAULT_NAME_RUN ||
      memcmp (parsed.uuid, run, UUID_SIZE) != 0 || start - name < 5)
    return NULL;
  files = start - 5;
  if (strncmp (files, "files", 5) != 0 || (files > name && files[-1] != '/'))
    return NULL;
  *is_one = true;
  return files == name ? strdup (".") : files == name + 1 ? strdup ("/")
    : strndup (name, (size_t) (files - name - 1));
}

int
vault_image_beside (struct nbi_image *nbi, const char *name,
                    struct report *report, struct err *err)
{
  const struct nbi_header *h = file_reader_header (nbi->file);
  CLEANUP_FREE char *vault = NULL;
  char disk[NBI_NAME_SIZE], id[UUID_STRING_SIZE];
  const struct wanted wanted = { .disk = disk, .which = id };
  bool is_one;
  int r;

  vault = vault_of_file (name, h->run, &is_one);
  if (!is_one)
    return 0;
  if (vault == NULL)
    return err_nomem (err);
  memcpy (disk, h->name, sizeof disk);
  uuid_to_string (h->run, id);
  file_reader_unref (nbi->file);
  nbi->file = NULL;
  r = vault_images_open (vault, &nbi->vault, report, err);
  if (r == 0)
    r = open_generation (nbi, &wanted, report, err);
  return r < 0 ? r : 1;
}

char *
vault_image_title (const char *name, const struct nbi_header *h)
{
  CLEANUP_FREE char *vault = NULL;
  char time[VAULT_TIME_SIZE], *title;
  bool is_one;

  vault = vault_of_file (name, h->run, &is_one);
  vault_time_to_string (h->time, time);
  return vault == NULL ||
    asprintf (&title, "%s%s%s@%s", vault, strcmp (vault, "/") == 0 ? "" : "/",
              h->name, time) < 0 ? NULL : title;
}

/*--- By name ----------------------------------------------------------------*/

/* A name, cut in three. */
struct parts {
  char *vault, *disk, *which;   /* which points into disk's memory, or is "" */
};

static void
parts_free (struct parts *parts)
{
  free (parts->vault);
  free (parts->disk);
}

static int
cut_name (const char *name, struct parts *parts, struct err *err)
{
  /* What is behind a ‘?’ of a URI is of the vault. */
  const char *end = store_at_is_remote (name) ? strchrnul (name, '?')
    : name + strlen (name);
  const char *slash = memrchr (name, '/', (size_t) (end - name));
  char *at;

  parts->vault = NULL;
  if (slash == name)
    parts->vault = strdup ("/");
  else if (asprintf (&parts->vault, "%.*s%s", (int) (slash - name), name,
                     end) < 0)
    parts->vault = NULL;
  parts->disk = strndup (slash + 1, (size_t) (end - slash - 1));
  if (parts->vault == NULL || parts->disk == NULL) {
    parts_free (parts);
    return err_nomem (err);
  }
  at = strchr (parts->disk, '@');
  parts->which = at != NULL ? at + 1 : parts->disk + strlen (parts->disk);
  if (at != NULL)
    *at = '\0';
  return 0;
}

/* A folder with files/ in it is a vault (§13), and anything that has that
 * name itself wins; but a folder is no image, and disks may be called like
 * those of the vault.
 */
static bool
may_be_one (const char *name)
{
  const char *slash = strrchr (name, '/');
  CLEANUP_FREE char *files = NULL;
  struct stat st;

  if (store_at_is_remote (name))
    return true;
  if (slash == NULL || slash[1] == '\0' || slash[1] == '@' ||
      (lstat (name, &st) == 0 && !S_ISDIR (st.st_mode)) ||
      asprintf (&files, "%.*s/files", (int) (slash - name), name) < 0)
    return false;
  return lstat (files, &st) == 0 && S_ISDIR (st.st_mode);
}

static int
open_image (const struct parts *parts, const struct image_options *options,
            struct image **out, struct report *report, struct err *err)
{
  const struct wanted wanted = { .disk = parts->disk, .which = parts->which };
  CLEANUP_IMAGE struct image *img = NULL;
  struct vault_images *v;
  int r = vault_images_open (parts->vault, &v, report, err);

  if (r < 0)
    return r;
  r = make_image (v, &wanted, &img, report, err);
  vault_images_unref (v);
  if (r < 0)
    return r;
  img->writable = options->writable;
  r = nbi_image_describe (img, err);
  if (r == 0)
    *out = steal_ptr (&img);
  return r;
}

/* It is no generation, and perhaps was meant to be one; with the ending of a
 * file's name it was meant as a file.
 */
static int
explain (const char *name, const struct parts *parts, struct err *err)
{
  struct stat st;
  bool there;

  if (parts->disk[0] == '\0' || lstat (name, &st) == 0 || errno != ENOENT ||
      (parts->which[0] == '\0' && image_format_by_name (name) != NULL))
    return 0;
  there = stat (parts->vault, &st) == 0;
  return err_set (err, -ENOENT, "can't be opened: %s, and %s‘%s’%s",
                  strerror (ENOENT), there ? "" : "there is no vault ",
                  parts->vault, there ? " is no vault" : "");
}

/* All of a vault is no image; -EISDIR as for any folder. */
static int
refuse_vault (const char *name, struct err *err)
{
  struct stat st;

  if (stat (name, &st) < 0 || !S_ISDIR (st.st_mode) ||
      !vault_images_is_one (name))
    return 0;
  return err_set (err, -EISDIR, "is a vault; name one disk in it, as %s/DISK, "
                  "or %s/DISK@TIME for another generation than the newest "
                  "(nbdimage generations lists them)", name, name);
}

int
vault_image_open (const char *name, const struct image_options *options,
                  struct image **out, struct report *report, struct err *err)
{
  struct parts parts = { NULL, NULL, NULL };
  int r = refuse_vault (name, err);

  if (r < 0)
    return r;
  if ((options->format != NULL && strcmp (options->format, "nbi") != 0) ||
      strchr (name, '/') == NULL)
    return 0;
  r = cut_name (name, &parts, err);
  if (r < 0)
    return r;
  if (!may_be_one (name))
    r = explain (name, &parts, err);
  else {
    r = open_image (&parts, options, out, report, err);
    if (r == 0)
      r = 1;
  }
  parts_free (&parts);
  return r;
}

char *
vault_image_absolute (const char *name)
{
  CLEANUP_FREE char *folder = NULL, *real = NULL;
  const char *disk = strrchr (name, '/');
  char *path;

  if (store_at_is_remote (name))
    return strdup (name);
  if (!may_be_one (name))
    return NULL;
  folder = disk == name ? strdup ("/") : strndup (name, (size_t) (disk - name));
  real = folder ? realpath (folder, NULL) : NULL;
  if (real == NULL || asprintf (&path, "%s%s", real, disk) < 0)
    return NULL;
  return path;
}

static int
is_run (void *opaque, const struct store_entry *entry, struct err *err)
{
  struct vault_name name;

  (void) err;
  vault_name_parse (entry->name, &name);
  if (name.kind != VAULT_NAME_RUN || entry->kind != STORE_FOLDER)
    return 0;
  *(bool *) opaque = true;
  return STORE_STOP;
}

bool
vault_images_is_one (const char *path)
{
  CLEANUP_STORE struct store *store = NULL;
  struct store_stat st;
  bool found = false;

  if (store_at (path, false, NULL, &store, NULL) < 0)
    return false;
  if (store_stat (store, "vault/" VAULT_JSON, &st, NULL) == 0)
    return true;
  (void) store_list (store, "files", is_run, &found, NULL);
  return found;
}
