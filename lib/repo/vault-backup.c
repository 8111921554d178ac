/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The steps are those of docs/NBI.md §14, by their names, with what a crash
 * after each leaves.  B4, and B6, are in vault-adopt.c.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/crypt.h"
#include "lib/repo/lease-look.h"
#include "lib/repo/vault-adopt.h"
#include "lib/repo/vault-backup.h"
#include "lib/repo/vault-keys.h"

#define PATH_SIZE (STORE_PATH_SIZE + VAULT_NAME_SIZE)

struct vault_run_writer {
  struct sink sink;
  struct vault *vault;
  struct store *store;
  struct backup_options *options;
  const struct generation_caches *caches;
  uint8_t master[CRYPT_KEY_SIZE];       /* if the vault is encrypted */
  struct lease_hold *hold;      /* NULL: none is held */
  struct lease_list seen;       /* other leases, as they were in B3 */
  unsigned connections;         /* to the store, before B3 began */
  uint64_t after;               /* the generation's time is later */
  struct report *report;
  struct store_file *file;      /* that is being written */
};

/*--- B5: files --------------------------------------------------------------*/

/* Who was taken for dead need not go on. */
static int
check_lease (struct vault_run_writer *w, struct err *err)
{
  if (lease_check (w->hold, NULL) == 0)
    return 0;
  return err_set (err, -EBUSY, "%s: this backup was taken for dead, and can't "
                  "be finished", store_name (w->store));
}

static int
write_file (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  struct vault_run_writer *w = (struct vault_run_writer *) sink;
  int r = check_lease (w, err);

  if (r < 0)
    return r;
  return store_write (w->file, buf, len, err) < 0
    ? err_in (err, "%s", store_name (w->store)) : 0;
}

static int
begin_file (void *opaque, const struct nbi_header *header, struct sink **sink,
            struct err *err)
{
  struct vault_run_writer *w = opaque;
  char path[PATH_SIZE], name[VAULT_NAME_SIZE];

  snprintf (path, sizeof path, "%s/%s", lease_folder (w->hold),
            vault_name_part (name, header->file));
  if (store_make (w->store, path, &w->file, err) < 0)
    return err_in (err, "%s: %s", store_name (w->store), path);
  *sink = &w->sink;
  return 0;
}

/* On stable storage it gets its name.  What can't be flushed keeps the name
 * that nobody uses.
 */
static int
end_file (void *opaque, const struct nbi_header *header, bool last,
          struct err *err)
{
  struct vault_run_writer *w = opaque;
  char part[PATH_SIZE], path[PATH_SIZE], name[VAULT_NAME_SIZE];
  struct store_file *file = w->file;
  int r;

  snprintf (part, sizeof part, "%s/%s", lease_folder (w->hold),
            vault_name_part (name, header->file));
  snprintf (path, sizeof path, "%s/%s", lease_folder (w->hold),
            vault_name_nbi (name, header->file, 0, last));
  r = store_flush (file, err);
  w->file = NULL;
  if (r < 0)
    store_end (file, NULL);
  else
    r = store_end (file, err);
  if (r == 0)
    r = store_rename (w->store, part, path, err);
  if (r == 0)
    r = store_flush_folder (w->store, lease_folder (w->hold), err);
  return r < 0 ? err_in (err, "%s: %s", store_name (w->store), part) : 0;
}

/*--- B3: are we alone, and is the base there? -------------------------------*/

static int
refuse_others (struct vault_run_writer *w, const char *name, struct job *job,
               struct err *err)
{
  int r;

  lease_list_free (&w->seen);
  r = lease_look (w->hold, w->store, job, &w->seen, err);
  for (size_t i = 0; r == 0 && i < w->seen.len; ++i) {
    const struct lease_seen *seen = &w->seen.ptr[i];

    if (seen->kind == VAULT_NAME_BACKUP && seen->state == LEASE_AT_WORK &&
        seen->understood && strcmp (seen->lease.name, name) == 0)
      return err_set (err, -EBUSY, "%s: ‘%s’ is being backed up already, by "
                      "process %" PRIu64 " on %s", store_name (w->store), name,
                      seen->lease.owner.pid,
                      seen->lease.owner.host ? seen->lease.owner.host : "?");
  }
  return r;
}

/* *lost: it went, or was marked, before the lease could protect it. */
static int
look_for_base (struct vault_run_writer *w, const struct vault_run *base,
               bool *lost, struct err *err)
{
  CLEANUP_VAULT_FOLDER struct vault_folder folder = { .dropped = false };
  char path[PATH_SIZE];
  int r;

  snprintf (path, sizeof path, "files/%s", base->folder);
  r = vault_look_in (w->vault, path, 0, &folder, err);
  *lost = r == -ENOENT || (r == 0 && folder.dropped);
  return r == -ENOENT ? 0 : r;
}

static int
look_around (struct vault_run_writer *w, const struct vault_run *base,
             bool *lost, struct job *job, struct err *err)
{
  int r;

  w->connections = store_connections (w->store);
  r = store_wait (w->store, job, err);
  *lost = false;
  if (r == 0)
    r = refuse_others (w, w->options->header.name, job, err);
  if (r == 0 && base != NULL)
    r = look_for_base (w, base, lost, err);
  if (r == 0 && !*lost)
    r = store_flush_folder (w->store, "files", err);
  return r;
}

/* A connection that broke may hide that the server was down, and lost what was
 * not on stable storage: B3 again, until none broke in it (§13).
 */
static int
look_again (struct vault_run_writer *w, const struct vault_run *base,
            struct job *job, struct err *err)
{
  bool lost = false;
  int r = 0;

  while (r == 0 && !lost &&
         store_connections (w->store) != w->connections) {
    job_start (job, "looking again", 0);
    r = look_around (w, base, &lost, job, err);
  }
  return r == 0 && lost
    ? err_set (err, -EIO, "%s: the connection broke, and the generation that "
               "this backup builds on is gone since; what it has written is "
               "adopted by the next one", store_name (w->store)) : r;
}

/*--- B1 and B2 --------------------------------------------------------------*/

static int
take_lease (struct vault_run_writer *w, const struct vault_run *base,
            struct err *err)
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  struct nbi_header *h = &w->options->header;
  int r = uuid_new (h->run, err);

  if (r == 0)
    r = lease_init (w->store, VAULT_NAME_BACKUP, h->run, h->name, &lease, err);
  if (r == 0 && base != NULL)
    r = lease_add (&lease, base->run, err);
  if (r == 0)
    r = lease_take (w->store, &lease, LEASE_THREAD, &w->hold, err);
  return r;
}

static void
give_up (struct vault_run_writer *w)
{
  struct store_file *file = w->file;

  w->file = NULL;
  store_end (file, NULL);
  if (w->hold != NULL)
    (void) lease_leave (w->hold, NULL);
  lease_free (w->hold);
  w->hold = NULL;
}

/*--- B4, B6 to B8 -----------------------------------------------------------*/

static struct vault_adopter
adopter (const struct vault_run_writer *w)
{
  return (struct vault_adopter) {
    .store = w->store, .hold = w->hold, .header = &w->options->header,
    .sheets = w->caches->sheets, .keys = w->caches->keys,
    .report = w->report,
  };
}

/* B4 */
static int
adopt (struct vault_run_writer *w, struct leftovers **leftovers,
       struct job *job, struct err *err)
{
  const struct vault_adopter a = adopter (w);
  int r = vault_adopt (&a, &w->seen, leftovers, job, err);

  return r < 0 ? err_in (err, "%s", store_name (w->store)) : 0;
}

/* B6.  Nothing of what was adopted is open when the folder is renamed: not all
 * stores would do it.
 */
static int
settle (struct vault_run_writer *w, struct leftovers **leftovers,
        struct err *err)
{
  const struct vault_adopter a = adopter (w);
  int r = vault_adopt_end (&a, *leftovers, err);

  leftovers_free (*leftovers);
  *leftovers = NULL;
  return r < 0 ? err_in (err, "%s", store_name (w->store)) : 0;
}

/* The answer of the rename may have been lost. */
static int
is_sealed (struct vault_run_writer *w, const char *to, bool *is,
           struct job *job, struct err *err)
{
  struct store_stat st;
  int r = store_wait (w->store, job, err);

  if (r == 0)
    r = store_stat (w->store, to, &st, err);
  *is = r == 0;
  return r == -ENOENT ? 0 : r;
}

static int
rename_folder (struct vault_run_writer *w, const char *to, struct job *job,
               struct err *err)
{
  struct err why = ERR_INIT;
  bool is;
  int r = store_rename (w->store, lease_folder (w->hold), to, &why);

  if (r == 0)
    return 0;
  if (is_sealed (w, to, &is, job, NULL) == 0 && is)
    return 0;
  return err_set (err, r == -ENOENT ? -EBUSY : r, "%s: %s: %s",
                  store_name (w->store), to, r == -ENOENT ?
                  "this backup was taken for dead, and can't be finished"
                  : why.msg);
}

/* Listed already; others may refer to it.  So it is not taken away. */
static int
mark_as_dropped (struct vault_run_writer *w, const char *folder,
                 const struct err *why, struct err *err)
{
  bool marked = vault_drop (w->vault, folder, NULL) == 0;

  return err_set (err, why->code, "%s: files/%s: it is not sure that it is on "
                  "stable storage (%s); it is marked as dropped%s",
                  store_name (w->store), folder, why->msg,
                  marked ? "" : ", if that was possible");
}

static int
seal (struct vault_run_writer *w, const char *folder, struct job *job,
      struct err *err)
{
  char to[VAULT_NAME_SIZE + 16], path[PATH_SIZE];
  struct err why = ERR_INIT;
  int r;

  snprintf (to, sizeof to, "files/%s", folder);
  lease_stop (w->hold);
  /* B7 */
  r = rename_folder (w, to, job, err);
  if (r < 0)
    return r;
  r = store_flush_folder (w->store, "files", &why);
  if (r == 0)
    r = store_flush_folder (w->store, "partial", &why);
  if (r < 0)
    r = mark_as_dropped (w, folder, &why, err);
  /* B8: they are ignored there, so that failures do not matter. */
  snprintf (path, sizeof path, "%s/" VAULT_LEASE, to);
  (void) store_delete (w->store, path, NULL);
  snprintf (path, sizeof path, "%s/" VAULT_ALIVE, to);
  (void) store_delete (w->store, path, NULL);
  lease_free (w->hold);
  w->hold = NULL;
  return r;
}

/*--- All of it --------------------------------------------------------------*/

static int
refuse_encrypted (struct vault *vault, struct err *err)
{
  return err_set (err, -EACCES, "%s: the vault is encrypted, and there is no "
                  "key (NBI-125): %s names it",
                  store_name (vault_store (vault)), keyring_options_of_target);
}

static void
take_encryption (struct nbi_header *h, const struct nbi_header *from)
{
  memcpy (h->vault, from->vault, UUID_SIZE);
  memcpy (h->key_id, from->key_id, sizeof h->key_id);
  memcpy (h->slots, from->slots, sizeof h->slots);
  h->encryption = from->encryption;
  h->nr_slots = from->nr_slots;
  h->need = from->need & NBI_NEED_ENCRYPTED;
}

/* What vault.json would say, from the header of any generation, whatever disk
 * it is of (§13): the newest that opens.
 */
static int
ask_generations (struct vault *vault, struct vault_view *view,
                 struct nbi_header *h, struct err *err)
{
  for (size_t n = vault_view_runs (view)->len; n-- > 0;) {
    struct err why = ERR_INIT;
    struct vault_opened any;
    int r = vault_view_open (view, n, true, &any, NULL, &why);

    if (r == -EACCES) {         /* it is encrypted: that much is known */
      if (err != NULL)
        *err = why;
      return r;
    }
    if (r < 0)
      continue;
    take_encryption (h, generation_header (any.gen));
    vault_opened_close (&any);
    return 0;
  }
  return err_set (err, -EINVAL, "%s: which vault this is, is lost, and there "
                  "is no generation that says it",
                  store_name (vault_store (vault)));
}

/* NBI-125: the key of the files to be written, and of those before. */
static int
set_key (struct vault_run_writer *w, const struct vault_opened *base,
         struct err *err)
{
  const struct nbi_header *h = &w->options->header;
  struct keyring *keys = w->caches->keys;
  int r = base->gen == NULL ? 0
    : crypt_check_key (generation_header (base->gen), h, NULL, err);

  w->options->master = NULL;
  if (r < 0)
    return err_in (err, "%s: the generation before", store_name (w->store));
  if (!nbi_encrypted (h))
    return !keyring_is_ready (keys) ? 0
      : err_set (err, -EACCES, "%s: there is a key, and the vault is not "
                 "encrypted (NBI-125)", store_name (w->store));
  r = keyring_open_header (keys, h, w->master, err);
  if (r < 0)
    return err_in (err, "%s", store_name (w->store));
  w->options->master = w->master;
  return 0;
}

/* Which vault it is, and whether it is encrypted. */
static int
set_vault (struct vault_run_writer *w, struct vault_view *view,
           const struct vault_opened *base, struct err *err)
{
  const struct vault_about *about = vault_about (w->vault);
  struct nbi_header *h = &w->options->header;
  int r = 0;

  if (about == NULL)
    r = ask_generations (w->vault, view, h, err);
  else
    memcpy (h->vault, about->uuid, UUID_SIZE);
  /* For its key slots, if those in vault/ are lost. */
  if (about != NULL && about->encryption != 0 && base->gen != NULL)
    take_encryption (h, generation_header (base->gen));
  if (r == 0 && about != NULL && about->encryption == 0)
    r = vault_check_plain (w->vault, view, err);
  if (r == 0)
    r = vault_set_encryption (w->vault, h, w->report, err);
  return r < 0 ? r : set_key (w, base, err);
}

static int
set_chunk_size (const struct vault_opened *base, struct nbi_header *h,
                struct err *err)
{
  uint32_t before = base->gen != NULL
    ? generation_header (base->gen)->chunk_size : 0;

  if (h->chunk_size == 0)
    h->chunk_size = before != 0 ? before : BACKUP_CHUNK_SIZE;
  if (before == 0 || h->chunk_size == before)
    return 0;
  return err_set (err, -EINVAL, "‘%s’ has chunks of %" PRIu32 " bytes in this "
                  "vault, which can't change", h->name, before);
}

/* A copy is not of the time it has here. */
static void
warn_later (struct vault_run_writer *w, uint64_t was)
{
  const struct nbi_header *h = &w->options->header;
  char from[VAULT_TIME_SIZE], to[VAULT_TIME_SIZE];

  vault_time_to_string (was, from);
  vault_time_to_string (h->time, to);
  report_warn (w->report, "there is a generation of ‘%s’ that is not older "
               "than the one of %s that is copied: the copy is the newest, of "
               "%s", h->name, from, to);
}

/* Later than the generation before, whatever the clocks say, and what is copied
 * keeps its time if it is (§13, "Time").
 */
static void
set_time (struct vault_run_writer *w, const struct vault_opened *base)
{
  struct nbi_header *h = &w->options->header;
  struct generation *from = w->options->from;
  uint64_t now = (uint64_t) lease_time (w->hold);

  if (base->gen != NULL)
    w->after = max_u64 (w->after, generation_header (base->gen)->time);
  if (w->after > now + VAULT_AHEAD)
    vault_warn_ahead (w->report, h->name, w->after);
  h->time = from != NULL ? generation_header (from)->time : now;
  if (h->time > w->after)
    return;
  h->time = w->after + 1;
  if (from != NULL)
    warn_later (w, generation_header (from)->time);
}

/* The newest generation that can be had, or none.  One that is damaged must
 * not be in the way of all backups to come: they do without it, and what only
 * it had is written anew.
 */
static int
find_base (struct vault_run_writer *w, struct vault_view *view, size_t *index,
           struct vault_opened *base, struct err *err)
{
  const struct vault_runs *runs = vault_view_runs (view);

  w->after = 0;
  *index = runs->len;
  for (;;) {
    struct err why = ERR_INIT;
    int r = vault_view_before (view, *index, w->options->header.name, index,
                               w->report, &why);

    if (r == -ENOENT)
      return 0;
    if (r == 0)
      r = vault_view_open (view, *index, false, base, w->report, &why);
    if (r == 0)
      return 0;
    if (r == -ENOENT)           /* dropped meanwhile */
      continue;
    if (!vault_is_damage (r)) {
      if (err != NULL)
        *err = why;
      return r;
    }
    report_warn (w->report, "%s; this backup does not build on it", why.msg);
    w->after = max_u64 (w->after, runs->ptr[*index].time);
  }
}

/* B4 to B6 */
static int
write_all (struct vault_run_writer *w, struct block *disk,
           struct vault_backup_result *result, struct job *job,
           struct err *err)
{
  const struct run_place place = { begin_file, end_file, w };
  struct leftovers *leftovers;
  int r = adopt (w, &leftovers, job, err);

  w->options->leftovers = leftovers;
  if (r == 0)
    r = backup_disk (disk, w->options, &place, &result->backup, job, err);
  if (r == 0)
    r = settle (w, &leftovers, err);
  w->options->leftovers = NULL;
  leftovers_free (leftovers);
  return r;
}

static int
run_with (struct vault_run_writer *w, struct block *disk,
          const struct vault_opened *base, const struct vault_run *run,
          struct vault_backup_result *result, struct job *job,
          struct err *err)
{
  const struct nbi_header *h = &w->options->header;
  int r;

  set_time (w, base);
  w->options->base = base->gen;
  w->options->of_base = w->report;
  r = write_all (w, disk, result, job, err);
  if (r == 0)
    r = look_again (w, run, job, err);
  if (r < 0)
    return r;
  vault_name_run (result->folder, h->name, h->time, h->run);
  memcpy (result->run, h->run, UUID_SIZE);
  result->time = h->time;
  result->has_base = base->gen != NULL;
  result->base_time = result->has_base ? generation_header (base->gen)->time
    : 0;
  job_start (job, "sealing", 0);
  return seal (w, result->folder, job, err);
}

/* With a base, or without: *lost says that the base went meanwhile, and it is
 * to be begun anew.
 */
static int
try_with (struct vault_run_writer *w, struct vault_view *view, size_t index,
          struct block *disk, const struct vault_opened *base,
          struct vault_backup_result *result, bool *lost, struct job *job,
          struct err *err)
{
  const struct vault_run *run = base->gen != NULL
    ? &vault_view_runs (view)->ptr[index] : NULL;
  int r = take_lease (w, run, err);

  *lost = false;
  if (r == 0)
    r = look_around (w, run, lost, job, err);
  if (r == 0 && !*lost)
    r = run_with (w, disk, base, run, result, job, err);
  if (r < 0 || *lost)
    give_up (w);
  return r;
}

static int
back_up (struct vault_run_writer *w, struct vault_view *view,
         struct block *disk, struct vault_backup_result *result,
         bool *lost, struct job *job, struct err *err)
{
  struct nbi_header *h = &w->options->header;
  struct vault_opened base = { NULL, NULL };
  size_t index;
  int r;

  *lost = false;
  r = find_base (w, view, &index, &base, err);
  if (r == 0)
    r = set_vault (w, view, &base, err);
  if (r == 0)
    r = set_chunk_size (&base, h, err);
  if (r == 0)
    r = try_with (w, view, index, disk, &base, result, lost, job, err);
  w->options->base = NULL;
  w->options->of_base = NULL;
  vault_opened_close (&base);
  return r;
}

int
vault_backup (struct vault *vault, struct block *disk,
              struct backup_options *options,
              const struct generation_caches *caches,
              struct vault_backup_result *result, struct report *report,
              struct job *job, struct err *err)
{
  struct vault_run_writer w = {
    .sink = { .write = write_file },
    .vault = vault, .store = vault_store (vault),
    .options = options, .caches = caches, .report = report,
  };
  uint32_t chunk_size = options->header.chunk_size;
  const struct vault_about *about = vault_about (vault);
  bool lost = false;
  int r;

  if (about != NULL && about->encryption != 0 && caches->keys == NULL)
    return refuse_encrypted (vault, err);
  r = vault_unlock (vault, caches->keys, report, err);
  if (r < 0)
    return r;
  do {
    struct vault_view *view;

    options->header.chunk_size = chunk_size;
    r = vault_view_new (vault, caches, &view, err);
    if (r < 0)
      break;
    r = back_up (&w, view, disk, result, &lost, job, err);
    vault_view_free (view);
  } while (r == 0 && lost);
  options->master = NULL;
  kdf_forget (w.master, sizeof w.master);
  lease_list_free (&w.seen);
  return r;
}
