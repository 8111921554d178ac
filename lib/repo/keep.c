/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A reader's lease protects the generation until the keep does:
 *
 *   K1  the lease, as R1 and R2; is it     a lease that expires
 *       dropped, and has no keep: fail
 *   K2  files/RUN/UUID.keep, flushed       the keep: it was not dropped when
 *                                          K1 looked, and the lease was there
 *       was it dropped already: wait, and  the same, or a keep of what is gone:
 *       look.  If the others' keeps have   the folder it lies in has the mark
 *       gone, delete the keep, and fail
 *   K3  is the lease still there?  If      the same
 *       not, delete the keep, and fail
 *   K4  the lease goes, as R3              the keep, and a lease that expires
 *
 * A prune that reads leases (P4) while this one is there leaves the generation
 * alone; one that does so later lists the keep (P5).  One whose P4 came before
 * the lease put its marks before K1 looked for them.  Only who is taken for
 * dead between K1 and K2, and then dies before K3, leaves a keep of what is
 * gone; the folder it lies in has the mark, and a prune says so.
 *
 * What is dropped and kept (its overlay was moved, so that it has another name
 * now) is left alone for the sake of the other keeps only: one of these has to
 * be there until ours can be seen.
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/text.h"
#include "lib/repo/json.h"
#include "lib/repo/keep.h"
#include "lib/repo/lease-hold.h"
#include "lib/repo/nbi.h"
#include "lib/repo/prune-private.h"

static const struct repo_json_limits limits = {
  .len = KEEP_SIZE_MAX,
  .structures = 8192,           /* commas of a path count too */
  .rule = 138,
};

void
keep_destroy (struct keep *keep)
{
  free (keep->host);
  free (keep->path);
  *keep = (struct keep) KEEP_INIT;
}

#define CLEANUP_KEEP __attribute__ ((__cleanup__ (keep_destroy)))

static void
host_of_us (char host[256])
{
  memset (host, 0, 256);
  gethostname (host, 255);
  if (!text_is_clean (host))
    host[0] = '\0';
}

static void
path_of (const char *folder, const uint8_t uuid[UUID_SIZE],
         char path[PRUNE_PATH_SIZE])
{
  char name[VAULT_NAME_SIZE];

  snprintf (path, PRUNE_PATH_SIZE, "files/%s/%s", folder,
            vault_name_keep (name, uuid));
}

/*--- What it says -----------------------------------------------------------*/

/* A path that is not UTF-8 is for people to recognise, and not for more. */
static int
encode (const char *path, uint64_t now, char **json, struct err *err)
{
  char host[256], clean[PATH_MAX], time[REPO_JSON_TIME_SIZE];
  json_t *object;

  host_of_us (host);
  text_clean (path, clean, sizeof clean);
  repo_json_time_to_string (now, time);
  object = json_pack ("{s:i, s:s, s:s, s:s, s:s}", "nbi-keep", 1,
                      "kind", "overlay", "host", host, "path", clean,
                      "created", time);
  *json = object ? json_dumps (object, JSON_INDENT (2) | JSON_PRESERVE_ORDER)
                 : NULL;
  json_decref (object);
  return *json ? 0 : err_nomem (err);
}

static int
decode (const char *json, size_t len, struct keep *keep, struct err *err)
{
  const char *host, *path;
  json_t *object;
  uint64_t version;
  int r = repo_json_parse (json, len, &limits, &object, err);

  if (r < 0)
    return r;
  host = json_string_value (json_object_get (object, "host"));
  path = json_string_value (json_object_get (object, "path"));
  if (!repo_json_number (json_object_get (object, "nbi-keep"), &version) ||
      version != 1 || host == NULL || path == NULL ||
      !repo_json_time (json_object_get (object, "created"), &keep->created))
    r = nbi_refuse (err, 138, "a keep that does not say what it should");
  else {
    keep->host = strdup (host);
    keep->path = strdup (path);
    if (keep->host == NULL || keep->path == NULL)
      r = err_nomem (err);
  }
  json_decref (object);
  return r;
}

int
keep_read (struct vault *vault, const char *folder,
           const uint8_t uuid[UUID_SIZE], struct keep *out, struct err *err)
{
  CLEANUP_KEEP struct keep keep = KEEP_INIT;
  CLEANUP_FREE char *json = NULL;
  char path[PRUNE_PATH_SIZE];
  size_t len;
  int r;

  path_of (folder, uuid, path);
  r = store_read_all (vault_store (vault), path, KEEP_SIZE_MAX, &json, &len,
                      err);
  if (r == -EFBIG)
    r = nbi_refuse (err, 138, "more than %d bytes of JSON", KEEP_SIZE_MAX);
  if (r == 0)
    r = decode (json, len, &keep, err);
  if (r < 0)
    return err_in (err, "%s", path);
  memcpy (keep.uuid, uuid, UUID_SIZE);
  *out = keep;
  keep = (struct keep) KEEP_INIT;
  return 0;
}

bool
keep_is_vain (const struct keep *keep)
{
  char host[256];
  struct stat st;

  host_of_us (host);
  return host[0] != '\0' && strcmp (host, keep->host) == 0 &&
    keep->path[0] == '/' && lstat (keep->path, &st) < 0 &&
    (errno == ENOENT || errno == ENOTDIR);
}

const char *
keep_to_string (const struct keep *keep, char buf[KEEP_STRING_SIZE])
{
  char path[220], host[64];

  if (keep == NULL)
    return strcpy (buf, "something that can't be read");
  snprintf (buf, KEEP_STRING_SIZE, "the overlay %s on %s%s",
            text_clean (keep->path, path, sizeof path),
            text_clean (keep->host, host, sizeof host),
            keep_is_vain (keep) ? ", which is not there" : "");
  return buf;
}

/*--- Keeping ----------------------------------------------------------------*/

static int
refuse_stale (const struct vault_run *run, struct err *err)
{
  return err_set (err, -ESTALE, "files/%s: the generation was dropped, and "
                  "may go at any time", run->folder);
}

/* Is there one for that file?  Of what can't be read nobody knows. */
static bool
has_one (struct vault *vault, const struct vault_run *run,
         const struct vault_folder *names, const char *path)
{
  char host[256], clean[PATH_MAX];

  host_of_us (host);
  text_clean (path, clean, sizeof clean);
  for (size_t i = 0; i < names->keeps.len; ++i) {
    CLEANUP_KEEP struct keep keep = KEEP_INIT;

    if (keep_read (vault, run->folder, names->keeps.ptr[i].uuid, &keep,
                   NULL) == 0 &&
        strcmp (keep.host, host) == 0 && strcmp (keep.path, clean) == 0)
      return true;
  }
  return false;
}

/* -ESTALE: it is gone. */
static int
look_in (struct vault *vault, const struct vault_run *run,
         struct vault_folder *names, struct err *err)
{
  char folder[PRUNE_PATH_SIZE];
  int r;

  snprintf (folder, sizeof folder, "files/%s", run->folder);
  r = vault_look_in (vault, folder, 0, names, err);
  return r == -ENOENT ? refuse_stale (run, err) : r;
}

/* *has: there is a keep for that file.  names is to be freed in each case. */
static int
look (struct vault *vault, const struct vault_run *run, const char *path,
      struct vault_folder *names, bool *has, struct err *err)
{
  int r = look_in (vault, run, names, err);

  if (r < 0)
    return r;
  *has = has_one (vault, run, names, path);
  return vault_folder_is_hidden (names) ? refuse_stale (run, err) : 0;
}

static bool
has_keep (const struct vault_folder *names, const uint8_t uuid[UUID_SIZE])
{
  for (size_t i = 0; i < names->keeps.len; ++i)
    if (memcmp (names->keeps.ptr[i].uuid, uuid, UUID_SIZE) == 0)
      return true;
  return false;
}

/* Ours can be seen by now: is one of those that there were before there still?
 * Of others that came with ours nobody knows.
 */
static int
look_for_others (struct vault *vault, const struct vault_run *run,
                 const struct vault_folder *before, struct job *job,
                 struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  int r = store_wait (vault_store (vault), job, err);

  if (r == 0)
    r = look_in (vault, run, &names, err);
  for (size_t i = 0; r == 0 && i < before->keeps.len; ++i)
    if (has_keep (&names, before->keeps.ptr[i].uuid))
      return 0;
  return r < 0 ? r : refuse_stale (run, err);
}

/* K2. */
static int
write_keep (struct vault *vault, const struct vault_run *run,
            const char *path, uint64_t now, uint8_t uuid[UUID_SIZE],
            struct err *err)
{
  struct store *store = vault_store (vault);
  CLEANUP_FREE char *json = NULL;
  char where[PRUNE_PATH_SIZE], folder[PRUNE_PATH_SIZE];
  int r = uuid_new (uuid, err);

  if (r == 0)
    r = encode (path, now, &json, err);
  if (r < 0)
    return r;
  path_of (run->folder, uuid, where);
  snprintf (folder, sizeof folder, "files/%s", run->folder);
  r = store_put (store, where, json, strlen (json), err);
  if (r == 0)
    r = store_flush_folder (store, folder, err);
  if (r < 0)
    (void) store_delete (store, where, NULL);
  return r == -ENOENT ? refuse_stale (run, err) : r;
}

/* K1 (but for taking the lease) to K3. */
static int
keep_with (struct lease_hold *hold, struct vault *vault,
           const struct vault_run *run, const char *path, struct job *job,
           struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  uint8_t uuid[UUID_SIZE];
  bool has = false;
  int r = store_wait (vault_store (vault), job, err);

  if (r == 0)
    r = look (vault, run, path, &names, &has, err);
  if (r < 0 || has)
    return r;
  r = write_keep (vault, run, path, (uint64_t) lease_time (hold), uuid, err);
  if (r < 0)
    return r;
  if (names.dropped)
    r = look_for_others (vault, run, &names, job, err);
  if (r == 0)
    r = lease_renew (hold, err);
  if (r < 0) {
    (void) keep_release (vault, run->folder, uuid, NULL);
    return r == -ENOENT ? refuse_stale (run, err) : r;
  }
  return 0;
}

static int
take_lease (struct vault *vault, const struct vault_run *run,
            struct lease_hold **hold, struct err *err)
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  struct store *store = vault_store (vault);
  uint8_t uuid[UUID_SIZE];
  int r = uuid_new (uuid, err);

  if (r == 0)
    r = lease_init (store, VAULT_NAME_READ, uuid, NULL, &lease, err);
  if (r == 0)
    r = lease_add (&lease, run->run, err);
  return r < 0 ? r : lease_take (store, &lease, LEASE_THREAD, hold, err);
}

int
keep_put (struct vault *vault, const struct vault_run *run, const char *path,
          struct job *job, struct err *err)
{
  char folder[PRUNE_PATH_SIZE];
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  struct lease_hold *hold;
  bool has = false;
  int r = look (vault, run, path, &names, &has, err);

  if (r < 0 || has)
    return r;
  r = take_lease (vault, run, &hold, err);
  if (r < 0)
    return r;
  r = keep_with (hold, vault, run, path, job, err);
  snprintf (folder, sizeof folder, "broken/%s", lease_folder_name (hold));
  if (lease_leave (hold, NULL) == 0)
    (void) prune_delete_tree (vault_store (vault), folder, 0, NULL, NULL);
  lease_free (hold);
  return r;
}

int
keep_release (struct vault *vault, const char *folder,
              const uint8_t uuid[UUID_SIZE], struct err *err)
{
  char path[PRUNE_PATH_SIZE], where[PRUNE_PATH_SIZE];
  int r;

  path_of (folder, uuid, path);
  snprintf (where, sizeof where, "files/%s", folder);
  r = store_delete (vault_store (vault), path, err);
  return r < 0 ? r : store_flush_folder (vault_store (vault), where, err);
}
