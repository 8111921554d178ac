/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Locks.  The registry's lock guards the list of exports and what clients
 * may ask about all of them; it is held for moments only.  Each export has
 * a lock that is held while its image is opened or closed, so that two
 * clients open it once, and other exports don't wait.  They are never taken
 * both.
 *
 * The exports of FILEs are made at the start and stay.  Those in a folder
 * are made when a client names them and go with their last connection, and
 * so are those of overlays (clients.h); nothing of the client's name is used
 * before folder_name_ok, vault_name_ok or clients_source liked it.
 *
 * The newest generation of a vault's disk may be another one for each client,
 * so that each has an export of its own.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/format/overlay.h"
#include "lib/repo/image-nbi.h"
#include "lib/repo/image-vault.h"
#include "plugin/clients.h"
#include "plugin/config.h"
#include "plugin/describe.h"
#include "plugin/export.h"
#include "plugin/folder.h"
#include "plugin/report.h"
#include "plugin/source.h"
#include "plugin/vault.h"

struct export {
  struct source source;         /* does not change */

  /* Under the registry's lock. */
  struct export *next;
  unsigned refs;                /* connections, and who is just making one;
                                   the registry itself for a FILE */
  char *description;            /* FILE: as it was seen last */

  pthread_mutex_t lock;         /* guards what follows */
  struct image *held;           /* NULL, or the generation of a vault that was
                                   named: since the fork, for its lease */
  struct image *image;          /* NULL: not open */
  unsigned users;               /* connections that have it */
  struct identity identity;     /* of the image as it was opened */
  struct report said;           /* warnings, each said once */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct export *exports;

/*--- the list --------------------------------------------------------------*/

/* Takes the source over. */
static struct export *
export_new (struct source *source)
{
  struct export *e = calloc (1, sizeof *e);

  if (e == NULL)
    return NULL;
  e->source = *source;
  memset (source, 0, sizeof *source);
  e->refs = 1;
  pthread_mutex_init (&e->lock, NULL);
  return e;
}

static void
export_free (struct export *e)
{
  image_unref (e->held);
  image_unref (e->image);
  source_free (&e->source);
  report_free (&e->said);
  free (e->description);
  pthread_mutex_destroy (&e->lock);
  free (e);
}

/* "a.vhd, b.iso, c.img, …" */
static void
names_of_exports (char *buf, size_t size)
{
  size_t len = 0;

  buf[0] = '\0';
  for (const struct export *e = exports; e && len < size; e = e->next)
    len += (size_t) snprintf (buf + len, size - len, "%s%s",
                              len ? ", " : "", e->source.name);
}

/* Under the registry's lock, like the next two. */
static struct export *
find (const char *name)
{
  for (struct export *e = exports; e; e = e->next)
    if (strcmp (e->source.name, name) == 0)
      return e;
  return NULL;
}

static int
find_file (const char *name, struct export **out, struct err *err)
{
  char names[TEXT_NAME_SIZE], clean[TEXT_NAME_SIZE];
  struct export *e = find (name);

  if (e == NULL && name[0] == '\0' &&
      (exports->next == NULL || config.overlay_folder))
    e = exports;
  if (e) {
    e->refs++;
    *out = e;
    return 0;
  }
  names_of_exports (names, sizeof names);
  if (name[0] == '\0')
    return err_set (err, -ENOENT, "the client named no export; there are "
                    "several: %s", names);
  return err_set (err, -ENOENT, "the client asked for ‘%s’; the exports are: "
                  "%s", text_clean (name, clean, sizeof clean), names);
}

/* Behind the image, which stays the first.  Takes the source over. */
static int
make_temporary (struct source *source, struct export **out, struct err *err)
{
  struct export *e = export_new (source);

  if (e == NULL) {
    source_free (source);
    return err_nomem (err);
  }
  e->next = exports ? exports->next : NULL;
  if (exports)
    exports->next = e;
  else
    exports = e;
  *out = e;
  return 0;
}

static int
find_or_make_overlay (const char *name, struct export **out,
                      struct err *err)
{
  const char *client = clients_name (&exports->source, name);
  struct source source;
  int r;

  if (client == NULL || find (name))
    return find_file (name, out, err);
  r = clients_source (&exports->source, client, &source, err);
  return r < 0 ? r : make_temporary (&source, out, err);
}

static int
find_or_make_in_folder (const char *name, struct export **out,
                        struct err *err)
{
  struct export *e = find (name);
  struct source source;
  int r;

  if (e) {
    e->refs++;
    *out = e;
    return 0;
  }
  r = source_in_folder (config.folder, name, &source, err);
  return r < 0 ? r : make_temporary (&source, out, err);
}

static int
find_or_make_in_vault (const char *name, struct export **out, struct err *err)
{
  struct export *e = vault_name_follows (name) ? NULL : find (name);
  struct source source;
  int r;

  if (e) {
    e->refs++;
    *out = e;
    return 0;
  }
  r = source_in_vault (name, &source, err);
  return r < 0 ? r : make_temporary (&source, out, err);
}

static int
get_in_vault (const char *name, struct export **out, struct err *err)
{
  char clean[TEXT_NAME_SIZE];

  if (name[0] == '\0')
    return err_set (err, -ENOENT, "the client named no export, and in the "
                    "vault is not exactly one disk");
  if (!vault_name_ok (name))
    return err_set (err, -ENOENT, "the client asked for ‘%s’, which can't be a "
                    "generation in the vault: expected DISK, or "
                    "DISK@GENERATION", text_clean (name, clean, sizeof clean));

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&registry_lock);
  return find_or_make_in_vault (name, out, err);
}

static int
get_export (const char *name, struct export **out, struct err *err)
{
  char clean[TEXT_NAME_SIZE];

  if (config.vault)
    return get_in_vault (name, out, err);
  if (config.folder && !folder_name_ok (name))
    return name[0] == '\0'
      ? err_set (err, -ENOENT, "the client named no export, and in the folder "
                 "is not exactly one image")
      : err_set (err, -ENOENT, "the client asked for ‘%s’, which can't be the "
                 "name of an image in the folder",
                 text_clean (name, clean, sizeof clean));

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&registry_lock);
  return config.folder ? find_or_make_in_folder (name, out, err)
    : find_or_make_overlay (name, out, err);
}

static void
put_export (struct export *e)
{
  struct export **p;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&registry_lock);
    if (--e->refs > 0)
      return;
    for (p = &exports; *p != e; p = &(*p)->next)
      ;
    *p = e->next;
  }
  export_free (e);
}

/*--- one image -------------------------------------------------------------*/

static void
set_description (struct export *e, struct image *img)
{
  char *description = describe_image (img);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&registry_lock);
  free (e->description);
  e->description = description;
}

/* Is the image that nobody uses at the moment what a client would get by
 * opening it?  It may have been replaced or written to, or may have been
 * opened for reading for another reason than that it can't be written.
 */
static bool
still_good (const struct export *e, bool readonly)
{
  struct identity now;
  struct stat st;

  if (!readonly && !image_writable (e->image) &&
      image_readonly_reason (e->image) == NULL)
    return false;
  if (stat (e->source.path, &st) < 0)
    return false;
  identity_of_stat (&st, &now);
  return identity_same_state (&now, &e->identity);
}

static int
open_image (struct export *e, bool readonly, struct err *err)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  char reason[SOURCE_REASON_SIZE];
  int r;

  /* It may have been dropped since, and be there for us only. */
  if (e->held != NULL && config.options.overlay == NULL) {
    e->image = image_ref (e->held);
    return 0;
  }
  r = source_open (&e->source, readonly, true, &e->image, reason, &report,
                   err);
  plugin_warnings (&e->said, &report);
  if (r < 0)
    return r;
  if (!image_writable (e->image) && reason[0] != '\0')
    plugin_debug ("%s: is served read-only: %s", e->source.shown, reason);
  return 0;
}

/* Under the lock of the export. */
static int
start_using (struct export *e, bool readonly, struct err *err)
{
  int r;

  if (e->image && e->users == 0 && !still_good (e, readonly)) {
    image_unref (e->image);
    e->image = NULL;
  }
  if (e->image == NULL) {
    r = open_image (e, readonly, err);
    if (r < 0)
      return r;
    identity_of_image (e->image, &e->identity);
  }
  e->users++;
  return 0;
}

static void
stop_using (struct export *e)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&e->lock);
  struct err err = ERR_INIT;
  int r;

  assert (e->users > 0);
  if (--e->users > 0)
    return;
  /* Nobody is left to ask for it, or to be told but the log. */
  r = image_flush (e->image, &err);
  if (r < 0)
    plugin_fail (e->source.shown, &err);
  /* A device may change its size, a server go away, and an image that failed
   * to flush goes on failing: they are opened anew.  One that is written may
   * have something to do to its file when it is closed, which must not wait
   * until somebody else has put other data there.
   */
  if (r < 0 || e->source.in_folder || e->source.in_vault ||
      !e->identity.is_file ||
      image_writable (e->image)) {
    image_unref (e->image);
    e->image = NULL;
  }
}

/*--- connections -----------------------------------------------------------*/

struct connection *
export_connect (const char *name, bool readonly, struct err *err)
{
  struct connection *conn = calloc (1, sizeof *conn);
  struct export *e;
  int r;

  if (conn == NULL) {
    err_nomem (err);
    return NULL;
  }
  if (get_export (name, &e, err) < 0) {
    free (conn);
    return NULL;
  }
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&e->lock);
    r = start_using (e, readonly, err);
    if (r == 0)
      conn->image = e->image;
  }
  if (r < 0) {
    err_in (err, "%s", e->source.shown);
    put_export (e);
    free (conn);
    return NULL;
  }
  conn->export = e;
  conn->name = e->source.name;
  conn->is_one_state = !e->source.in_vault ||
    !vault_name_follows (e->source.name);
  conn->description = describe_image (conn->image);
  set_description (e, conn->image);
  return conn;
}

void
export_disconnect (struct connection *conn)
{
  struct export *e = conn->export;

  stop_using (e);
  put_export (e);
  free (conn->description);
  free (conn);
}

/*--- all of them -----------------------------------------------------------*/

struct visit {
  export_fn fn;
  void *opaque;
};

static int
visit_item (void *opaque, const struct folder_item *item)
{
  const struct visit *v = opaque;

  /* What can't be served is not listed: clients that look at each export of
   * the list (nbdinfo 1.14) fail for all when one fails.
   */
  if (item->is_bad || item->is_left_out)
    return 0;
  return v->fn (v->opaque, item->name, item->description);
}

int
exports_list (export_fn fn, void *opaque, struct err *err)
{
  struct visit v = { fn, opaque };
  int r = 0;

  if (config.folder)
    return folder_list (visit_item, &v, err);
  if (config.vault)
    return vault_list_exports (fn, opaque, err);

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&registry_lock);
    for (const struct export *e = exports; r == 0 && e; e = e->next)
      if (e->source.overlay == NULL)
        r = fn (opaque, e->source.name, e->description);
  }
  /* There is one image, which stays. */
  if (r == 0 && config.overlay_folder)
    r = clients_list (&exports->source, fn, opaque, err);
  return r;
}

/* Stops at the second. */
static int
keep_only (void *opaque, const char *name, const char *description)
{
  char **only = opaque;

  (void) description;
  if (*only) {
    free (*only);
    *only = NULL;
    return 1;
  }
  *only = strdup (name);
  return *only ? 0 : -ENOMEM;
}

/* Stops at the first. */
static int
keep_disk (void *opaque, const char *name, const char *description)
{
  char **disk = opaque;

  (void) description;
  if (strcmp (name, "disk") == 0)
    *disk = strdup (name);
  return 1;
}

char *
exports_only_name (void)
{
  char *only = NULL;

  if (config.vault)
    return vault_only_disk ();
  /* A backup's disk comes first, if there is one; "disk" if it is the only
   * one.
   */
  if (config.is_backup) {
    exports_list (keep_disk, &only, NULL);
    return only;
  }
  if (exports_list (keep_only, &only, NULL) != 0)
    return NULL;
  return only;
}

/* Two exports of one file could not lock it. */
static int
check_not_served_twice (const struct export *e)
{
  for (const struct export *other = exports; other != e; other = other->next)
    if (identity_same_file (&other->identity, &e->identity))
      return plugin_error ("‘%s’ and ‘%s’ are the same file",
                           other->source.shown, e->source.shown);
  return 0;
}

static int
prepare_file (struct export *e)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  char reason[SOURCE_REASON_SIZE];
  struct err err = ERR_INIT;
  int r = source_open (&e->source, true, false, &img, reason, &report, &err);

  plugin_warnings (&e->said, &report);
  if (r == -EISDIR && vault_images_is_one (e->source.path))
    return plugin_error ("%s: is a vault; serve what is in it with "
                         "vault=%s", e->source.shown, e->source.shown);
  if (r == -EISDIR)
    return plugin_error ("%s: is a folder; serve the images in it with "
                         "dir=%s", e->source.shown, e->source.shown);
  if (r < 0)
    return plugin_fail (e->source.shown, &err);
  identity_of_image (img, &e->identity);
  set_description (e, img);
  config.overlay_format = image_overlay_format (img);
  return check_not_served_twice (e);
}

/* VAULT/DISK@GENERATION, rather than the newest, which changes. */
static bool
names_generation (const char *path)
{
  CLEANUP_FREE char *absolute = vault_image_absolute (path);

  return absolute != NULL && strchr (strrchr (absolute, '/'), '@') != NULL;
}

/* A generation that was named is there for as long as this server, whether
 * anybody has it open or not.  Of what can't be held it says so: then a prune
 * may take it away while nobody reads it.
 */
static void
hold_generation (struct export *e)
{
  const struct image_options options = { .format = config.options.format };
  struct err err = ERR_INIT;

  if (image_open (e->source.path, &options, &e->held, NULL, &err) < 0 ||
      nbi_image_hold (e->held, &err) < 0)
    plugin_warning ("%s: a prune may take this generation away while it is "
                    "served and nobody reads it: %s", e->source.shown,
                    err.msg);
}

int
exports_hold (void)
{
  plugin_start_ends ();
  for (struct export *e = exports; e; e = e->next)
    if (names_generation (e->source.path))
      hold_generation (e);
  return 0;
}

static int
prepare_files (void)
{
  struct export **end = &exports;

  for (size_t i = 0; i < config.files.len; ++i) {
    struct export *e = export_new (&config.files.ptr[i]);

    if (e == NULL)
      return plugin_error ("out of memory");
    *end = e;
    end = &e->next;
    if (prepare_file (e) < 0)
      return -1;
  }
  return 0;
}

/* Of the files in a folder. */
struct census {
  size_t served, bad;
  size_t left_out;              /* and not named */
};

/* What looks like an image to who put it there, and is none to us, is named;
 * of a text file between images it is enough to count it.
 */
static bool
expected_to_be_served (const struct folder_item *item)
{
  return item->name[0] != '.' &&
    (item->is_link || image_format_by_name (item->name) != NULL);
}

static int
count_item (void *opaque, const struct folder_item *item)
{
  struct census *c = opaque;

  if (item->is_bad) {
    c->bad++;
    plugin_warning ("%s: %s", item->name, item->description);
  }
  else if (!item->is_left_out)
    c->served++;
  else if (expected_to_be_served (item))
    plugin_warning ("%s: %s", item->name, item->description);
  else
    c->left_out++;
  return 0;
}

/* A bad image does not keep the others of the folder from being served. */
static int
prepare_folder (void)
{
  struct census c = { 0 };
  struct err err = ERR_INIT;

  if (folder_list (count_item, &c, &err) < 0)
    return plugin_fail (config.folder, &err);
  if (c.left_out > 0)
    plugin_note ("%zu other file%s in the folder %s not served: no images, "
                 "or hidden", c.left_out, c.left_out == 1 ? "" : "s",
                 c.left_out == 1 ? "is" : "are");
  if (c.served == 0 && c.bad > 0)
    plugin_warning ("none of the images in the folder (%zu) can be served",
                    c.bad);
  return 0;
}

int
exports_prepare (void)
{
  plugin_start_begins ();
  if (config.vault)
    return vault_prepare ();
  return config.folder ? prepare_folder () : prepare_files ();
}

void
exports_free (void)
{
  while (exports) {
    struct export *e = exports;

    exports = e->next;
    export_free (e);
  }
}
