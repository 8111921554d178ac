/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the last look found is kept: a generation never changes, so that a
 * client that lists the exports over and over costs one listing, and a look for
 * its mark for each generation that is known.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/base/vector.h"
#include "lib/repo/image-vault.h"
#include "plugin/config.h"
#include "plugin/describe.h"
#include "plugin/report.h"
#include "plugin/vault.h"

/* nbdkit lists no more exports than this. */
#define MAX_LISTED 10000

struct entry {
  uint64_t time;
  uint8_t run[UUID_SIZE];
  char *disk;                   /* NULL: it can't be served */
  char *description;            /* or why it can't */
};

DEFINE_VECTOR (entry_vector, struct entry);

static struct vault_images *vault;      /* set before threads */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry_vector known;       /* by time and run; guarded by lock */

/*--- names ------------------------------------------------------------------*/

bool
vault_name_ok (const char *name)
{
  static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyz"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ.-";
  const char *at = strchr (name, '@');
  size_t len = at ? (size_t) (at - name) : strlen (name);
  char disk[NBI_NAME_SIZE] = "";

  if (len >= sizeof disk)
    return false;
  memcpy (disk, name, len);
  return nbi_name_is_right (disk) &&
    (at == NULL || strspn (at + 1, allowed) == strlen (at + 1));
}

/* A name, cut in pieces, which are in `disk'. */
struct parts {
  char *disk;                   /* for free() */
  const char *before;           /* A of DISK@A..B; NULL: there is none */
  const char *which;            /* "": the newest */
};

/* -ENOMEM */
static int
cut_name (const char *name, struct parts *parts, struct err *err)
{
  char *at, *dots;

  parts->disk = strdup (name);
  if (parts->disk == NULL)
    return err_nomem (err);
  at = strchrnul (parts->disk, '@');
  parts->which = *at ? at + 1 : at;
  *at = '\0';
  dots = strstr (parts->which, "..");
  parts->before = dots ? parts->which : NULL;
  if (dots) {
    *dots = '\0';
    parts->which = dots + 2;
  }
  return 0;
}

static bool
is_newest_name (const char *which)
{
  return which[0] == '\0' || strcmp (which, "latest") == 0;
}

bool
vault_name_follows (const char *name)
{
  const char *at = strchrnul (name, '@'), *which = *at ? at + 1 : at;
  const char *dots = strstr (which, "..");

  return is_newest_name (dots ? dots + 2 : which) ||
    (dots && strncmp (which, "latest..", 8) == 0);
}

int
vault_open_export (const char *name, struct image **out,
                   struct report *report, struct err *err)
{
  struct parts parts = { NULL, NULL, NULL };
  int r = cut_name (name, &parts, err);

  if (r < 0)
    return r;
  if (parts.before && parts.before[0] == '\0')
    r = err_set (err, -ENOENT, "there is no generation in front of the two "
                 "dots: expected DISK@A..B");
  else
    r = parts.before
      ? vault_images_get_change (vault, parts.disk, parts.before, parts.which,
                                 true, out, report, err)
      : vault_images_get (vault, parts.disk, parts.which, true, out, report,
                          err);
  free (parts.disk);
  return r;
}

/*--- looking ----------------------------------------------------------------*/

static void
entries_free (struct entry_vector *v)
{
  for (size_t i = 0; i < v->len; ++i) {
    free (v->ptr[i].disk);
    free (v->ptr[i].description);
  }
  vector_free (v);
}

static int
by_time (const void *a, const void *b)
{
  const struct entry *x = a, *y = b;

  if (x->time != y->time)
    return x->time < y->time ? -1 : 1;
  return memcmp (x->run, y->run, UUID_SIZE);
}

/* From the last look: 1; 0 if it was not there, or could not be served: what it
 * lacks may be there now.  -ENOMEM.
 */
static int
take_from_known (struct entry *e, struct err *err)
{
  const struct entry *old = known.len == 0 ? NULL :
    bsearch (e, known.ptr, known.len, sizeof *e, by_time);

  if (old == NULL || old->disk == NULL)
    return 0;
  e->disk = strdup (old->disk);
  e->description = strdup (old->description);
  return e->disk && e->description ? 1 : err_nomem (err);
}

/* 1: it is a generation, or should be one; 0: it was dropped. */
static int
take_from_vault (struct vault_view *view, size_t i, struct entry *e,
                 struct err *err)
{
  struct vault_opened opened;
  struct err why = ERR_INIT;
  int r = vault_view_open (view, i, false, &opened, NULL, &why);

  if (r == -ENOENT)
    return 0;
  if (r == 0) {
    const struct nbi_header *h = generation_header (opened.gen);

    e->disk = strdup (h->name);
    e->description = describe_backup (h->time, h->disk_size);
    vault_opened_close (&opened);
    return e->disk && e->description ? 1 : err_nomem (err);
  }
  e->description = strdup (why.msg);
  return e->description ? 1 : err_nomem (err);
}

static int
look_at_run (struct vault_view *view, size_t i, struct entry_vector *found,
             struct err *err)
{
  const struct vault_run *run = &vault_view_runs (view)->ptr[i];
  struct entry e = { .time = run->time };
  int r;

  memcpy (e.run, run->run, UUID_SIZE);
  if (vault_images_is_dropped (vault, run))
    return 0;
  r = take_from_known (&e, err);
  if (r == 0)
    r = take_from_vault (view, i, &e, err);
  if (r == 1 && vector_append (found, &e) == 0)
    return 0;
  free (e.disk);
  free (e.description);
  return r == 1 ? err_nomem (err) : r;
}

/* Make `known' what is in the vault now; *view is the caller's. */
static int
look (struct vault_view **view, struct err *err)
{
  struct entry_vector found = VECTOR_INIT;
  int r = vault_images_look (vault, view, err);

  if (r < 0)
    return r;
  for (size_t i = 0; r == 0 && i < vault_view_runs (*view)->len; ++i)
    r = look_at_run (*view, i, &found, err);
  if (r < 0) {
    entries_free (&found);
    vault_view_free (*view);
    return r;
  }
  entries_free (&known);
  known = found;
  return 0;
}

/*--- the list ---------------------------------------------------------------*/

struct listing {
  struct vault_view *view;
  const struct entry **sorted;  /* those that can be served: by name of the
                                   disk, the newest first */
  size_t len;
  bool any_bad;
};

static int
by_disk (const void *a, const void *b)
{
  const struct entry *x = *(const struct entry *const *) a;
  const struct entry *y = *(const struct entry *const *) b;
  int r = strcmp (x->disk, y->disk);

  return r != 0 ? r : -by_time (x, y);
}

static bool
begins_disk (const struct listing *l, size_t i)
{
  return i == 0 || strcmp (l->sorted[i - 1]->disk, l->sorted[i]->disk) != 0;
}

static bool
same_name (const struct listing *l, size_t i, size_t j)
{
  return j < l->len && l->sorted[i]->time == l->sorted[j]->time &&
    strcmp (l->sorted[i]->disk, l->sorted[j]->disk) == 0;
}

/* Under the lock, like what follows.  The view and what is sorted are freed by
 * listing_free.
 */
static int
listing_new (struct listing *l, struct err *err)
{
  int r;

  *l = (struct listing) { NULL };
  r = look (&l->view, err);
  if (r < 0)
    return r;
  l->sorted = calloc (known.len + 1, sizeof *l->sorted);
  if (l->sorted == NULL) {
    vault_view_free (l->view);
    return err_nomem (err);
  }
  for (size_t i = 0; i < known.len; ++i)
    if (known.ptr[i].disk)
      l->sorted[l->len++] = &known.ptr[i];
    else
      l->any_bad = true;
  qsort (l->sorted, l->len, sizeof *l->sorted, by_disk);
  return 0;
}

static void
listing_free (struct listing *l)
{
  free (l->sorted);
  vault_view_free (l->view);
}

/* Is what clients get as DISK this one?  A newer one may be damaged. */
static bool
is_newest (const struct listing *l, const struct entry *e)
{
  const struct vault_runs *runs = vault_view_runs (l->view);
  size_t i;

  if (!l->any_bad)
    return true;
  return vault_view_newest (l->view, e->disk, &i, NULL, NULL) == 0 &&
    memcmp (runs->ptr[i].run, e->run, UUID_SIZE) == 0;
}

/* What can't be opened is not listed: see visit_item in export.c. */
static int
list_disks (const struct listing *l, export_fn fn, void *opaque,
            size_t *listed)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < l->len && *listed < MAX_LISTED; ++i)
    if (begins_disk (l, i) && is_newest (l, l->sorted[i])) {
      ++*listed;
      r = fn (opaque, l->sorted[i]->disk, l->sorted[i]->description);
    }
  return r;
}

static int
list_generations (const struct listing *l, export_fn fn, void *opaque,
                  size_t listed)
{
  char name[NBI_NAME_SIZE + UUID_STRING_SIZE], which[UUID_STRING_SIZE];
  int r = 0;

  for (size_t i = 0; r == 0 && i < l->len && listed < MAX_LISTED;
       ++i, ++listed) {
    const struct entry *e = l->sorted[i];

    if (same_name (l, i, i + 1) || (i > 0 && same_name (l, i, i - 1)))
      uuid_to_string (e->run, which);
    else
      vault_time_to_string (e->time, which);
    snprintf (name, sizeof name, "%s@%s", e->disk, which);
    r = fn (opaque, name, e->description);
  }
  return r;
}

int
vault_list_exports (export_fn fn, void *opaque, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  struct listing l;
  size_t listed = 0;
  int r = listing_new (&l, err);

  if (r < 0)
    return r;
  r = list_disks (&l, fn, opaque, &listed);
  if (r == 0)
    r = list_generations (&l, fn, opaque, listed);
  listing_free (&l);
  return r;
}

char *
vault_only_disk (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  char *only = NULL;
  struct listing l;

  if (listing_new (&l, NULL) < 0)
    return NULL;
  if (l.len > 0 && strcmp (l.sorted[0]->disk, l.sorted[l.len - 1]->disk) == 0)
    only = strdup (l.sorted[0]->disk);
  listing_free (&l);
  return only;
}

/*--- at the start, at the end -----------------------------------------------*/

static int
warn_of_name (void *opaque, const struct err *what, struct err *err)
{
  (void) opaque;
  (void) err;
  plugin_warning ("%s: %s", config.vault, what->msg);
  return 0;
}

/* One that can't be served does not keep the others from it. */
static int
warn_of_bad (struct err *err)
{
  struct vault_view *view;
  int r = look (&view, err);

  if (r < 0)
    return r;
  for (size_t i = 0; i < known.len; ++i)
    if (known.ptr[i].disk == NULL)
      plugin_warning ("%s: can't be served: %s", config.vault,
                      known.ptr[i].description);
  r = vault_view_names (view, warn_of_name, NULL, err);
  vault_view_free (view);
  return r;
}

/* A disk after many backups lies in many files: lib/repo keeps a part of what
 * the process may have open.
 */
#define ENOUGH_FILES 4096

static void
allow_files (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= ENOUGH_FILES)
    return;
  limit.rlim_cur = min_u64 (limit.rlim_max, ENOUGH_FILES);
  setrlimit (RLIMIT_NOFILE, &limit);    /* or it has to do with fewer */
}

int
vault_prepare (void)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_REPORT struct report said = REPORT_INIT;
  struct err err = ERR_INIT;
  int r;

  allow_files ();
  r = vault_images_open (config.vault, &vault, &report, &err);
  plugin_warnings (&said, &report);
  if (r == 0)
    r = warn_of_bad (&err);
  return r < 0 ? plugin_fail (config.vault, &err) : 0;
}

void
vault_free (void)
{
  entries_free (&known);
  vault_images_unref (vault);
  vault = NULL;
}
