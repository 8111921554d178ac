/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The steps are those of docs/NBI.md §15, by their names; what a crash after
 * each leaves:
 *
 *   P1  partial/prune-UUID with a lease    a lease that expires
 *   P2  marks, each of them flushed        dropped, and still there
 *   P3 to P5  waits and listings; what is  the same
 *       leased or kept by then is live
 *   P6  files/RUN to partial/prune-UUID,   in files/ with the mark, or out of
 *       flushed, then deleted              the vault
 *   P7  files that are dead                those that are left go next time
 *   P9  old editions, and what others      the same
 *       left in broken/
 *   P8  files that are mostly dead         a part in partial/, or both: the
 *       written anew                       new one counts, both are right
 *   P10 partial/prune-UUID to broken/,     a folder for the next prune
 *       deleted there
 *
 * Nothing is deleted before all of P5 is known: what must be read for it and
 * can't be ends the prune.  What is dead then stays dead, so that it does not
 * matter how long the rest takes, nor whether somebody broke our lease.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune-private.h"
#include "lib/repo/vault-keys.h"

/* Who was taken for dead ends soon; nothing depends on it. */
int
prune_go_on (struct prune *p, struct err *err)
{
  int r = job_check (p->job, err);

  if (r == 0 && lease_check (p->hold, NULL) < 0)
    r = err_set (err, -EBUSY, "this prune was taken for dead by somebody");
  return r;
}

int
prune_look_for_own (struct prune *p, struct err *err)
{
  (void) lease_renew (p->hold, NULL);
  return prune_go_on (p, err);
}

/*--- P1 ---------------------------------------------------------------------*/

static int
take_lease (struct prune *p, struct err *err)
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  uint8_t uuid[UUID_SIZE];
  int r = uuid_new (uuid, err);

  if (r == 0)
    r = lease_init (p->store, VAULT_NAME_PRUNE, uuid, NULL, &lease, err);
  if (r == 0)
    r = lease_take (p->store, &lease, LEASE_THREAD, &p->hold, err);
  return r;
}

/*--- P2 ---------------------------------------------------------------------*/

static struct prune_folder *
find_folder (const struct prune *p, const char *name)
{
  for (size_t i = 0; i < p->listing.folders.len; ++i) {
    struct prune_folder *folder = &p->listing.folders.ptr[i];

    if (strcmp (folder->run.folder, name) == 0)
      return folder;
  }
  return NULL;
}

/* What the plan keeps must be there as it was: perhaps somebody has dropped
 * just that, and one of those that we are to drop is the last one.
 */
static int
check_plan (const struct prune *p, struct err *err)
{
  for (size_t i = 0; i < p->plan->generations.len; ++i) {
    const struct prune_generation *g = &p->plan->generations.ptr[i];
    const struct prune_folder *folder;

    if (g->fate != PRUNE_KEPT && g->fate != PRUNE_NOT_ASKED)
      continue;
    folder = find_folder (p, g->run.folder);
    if (folder == NULL || folder->gone || folder->names.dropped)
      return err_set (err, -EAGAIN, "files/%s, which was to stay, was dropped "
                      "by somebody else meanwhile; nothing is deleted",
                      g->run.folder);
  }
  return 0;
}

static int
put_mark (struct prune *p, struct prune_folder *folder, struct err *err)
{
  int r = vault_drop (p->vault, folder->run.folder, err);

  folder->counts = r == 0;
  if (r == -ENOENT) {
    folder->gone = true;
    return 0;
  }
  return r;
}

/* Since the plan was made. */
static bool
is_kept_now (struct prune *p, const struct prune_folder *folder)
{
  if (folder->names.keeps.len == 0)
    return false;
  report_warn (p->report, "files/%s stays: it is kept, since a moment ago",
               folder->run.folder);
  ++p->result->nr_in_use;
  return true;
}

/* Those that others put are flushed here too: what goes because of a mark must
 * not come back without it.
 */
static int
put_marks (struct prune *p, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < p->plan->generations.len; ++i) {
    const struct prune_generation *g = &p->plan->generations.ptr[i];
    struct prune_folder *folder = find_folder (p, g->run.folder);

    if ((g->fate == PRUNE_DROPPED || g->fate == PRUNE_DAMAGED) &&
        folder != NULL && !folder->gone && !is_kept_now (p, folder))
      folder->counts = true;
  }
  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i) {
    struct prune_folder *folder = &p->listing.folders.ptr[i];

    if (!folder->gone && (folder->counts || folder->names.dropped)) {
      r = prune_go_on (p, err);
      if (r == 0)
        r = put_mark (p, folder, err);
    }
  }
  return r;
}

static int
mark (struct prune *p, struct err *err)
{
  int r = prune_list (p->vault, &p->listing, p->report, p->job, err);

  if (r == 0)
    r = check_plan (p, err);
  return r < 0 ? r : put_marks (p, err);
}

/*--- P4 ---------------------------------------------------------------------*/

static int
refuse_unclear (const struct lease_seen *seen, struct err *err)
{
  return nbi_beyond (err, 134, "nothing is deleted, as partial/%s is not "
                     "understood (%s); it counts for a day", seen->name,
                     seen->why);
}

static int
judge (struct prune *p, struct lease_seen *seen, struct err *err)
{
  int r;

  if (seen->state == LEASE_EXPIRED) {
    r = lease_break (p->store, seen->name, err);
    if (r == 0 || r == -ENOENT) {
      seen->state = LEASE_GONE;
      return 0;
    }
    /* As one that is at work. */
    report_warn (p->report, "partial/%s: nobody seems to be at work in it, but "
                 "it can't be taken away (%s)", seen->name,
                 err ? err->msg : "?");
  }
  if (seen->state == LEASE_GONE)
    return 0;
  if (seen->state == LEASE_UNCLEAR || !seen->understood)
    return refuse_unclear (seen, err);
  if (seen->kind == VAULT_NAME_PRUNE)
    return err_set (err, -EBUSY, "another prune is at work, on %s",
                    seen->lease.owner.host ? seen->lease.owner.host : "?");
  return 0;
}

static int
look_around (struct prune *p, struct err *err)
{
  int r = lease_look (p->hold, p->store, p->job, &p->others, err);

  for (size_t i = 0; r == 0 && i < p->others.len; ++i)
    r = judge (p, &p->others.ptr[i], err);
  return r;
}

/*--- P5 ---------------------------------------------------------------------*/

static bool
is_leased (const struct prune *p, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < p->others.len; ++i)
    if (p->others.ptr[i].state != LEASE_GONE &&
        lease_names (&p->others.ptr[i].lease, run))
      return true;
  return false;
}

struct mark_name {
  char folder[VAULT_NAME_SIZE];
};

DEFINE_VECTOR (mark_names, struct mark_name);

/* List again; the marks that count are those of P2. */
static int
list_again (struct prune *p, struct err *err)
{
  struct mark_names marks = VECTOR_INIT;
  int r = 0;

  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i) {
    struct mark_name name;

    if (!p->listing.folders.ptr[i].counts)
      continue;
    snprintf (name.folder, sizeof name.folder, "%s",
              p->listing.folders.ptr[i].run.folder);
    if (vector_append (&marks, &name) < 0)
      r = err_nomem (err);
  }
  if (r == 0)
    r = prune_list (p->vault, &p->listing, p->report, p->job, err);
  for (size_t i = 0; r == 0 && i < marks.len; ++i) {
    struct prune_folder *folder = find_folder (p, marks.ptr[i].folder);

    if (folder != NULL)
      folder->counts = true;
  }
  vector_free (&marks);
  return r;
}

/* What it refers to is live; whatever hinders to know all of that ends the
 * prune.
 */
static int
mark_live (struct prune *p, size_t i, struct err *err)
{
  struct prune_folder *folder = &p->listing.folders.ptr[i];
  struct vault_opened opened;
  int r;

  r = vault_view_open (p->view, i, true, &opened, p->report, err);
  if (r == 0) {
    r = prune_check_key (p->vault, p->caches, generation_header (opened.gen),
                         err);
    if (r == 0)
      r = liveness_mark (&p->live, p->view, &opened, p->job, err);
    if (r == 0 && !folder->names.dropped)
      r = prune_note_newest (&p->newest,
                             generation_header (opened.gen)->name,
                             generation_header (opened.gen)->time, err);
    vault_opened_close (&opened);
  }
  if (r == -ENOENT || (r == -EBADMSG && !folder->names.dropped &&
                       prune_was_dropped (p->vault, &folder->run)))
    return err_set (err, -EAGAIN, "somebody else took away what files/%s "
                    "needs; nothing is deleted", folder->run.folder);
  if (vault_is_damage (r))
    err_in (err, "nothing is deleted: files/%s", folder->run.folder);
  return r;
}

/* Of a generation that was dropped before the lease came that names it, there
 * may be no root any more: whoever leases it finds the mark, and gives up (B3,
 * R2).  The same of a keep whose owner was killed in front of K3.
 */
static bool
does_stay (const struct prune *p, const struct prune_folder *folder)
{
  if (folder->gone)
    return false;
  return !folder->counts ||
    ((is_leased (p, folder->run.run) || folder->names.keeps.len > 0) &&
     prune_has_root (folder));
}

static int
find_live (struct prune *p, struct err *err)
{
  int r = list_again (p, err);

  if (r == 0)
    r = prune_list_files (&p->listing, &p->live, err);
  if (r < 0)
    return r;
  r = vault_view_of (p->vault, p->caches, &p->listing.runs, &p->view, err);
  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i) {
    if (does_stay (p, &p->listing.folders.ptr[i]))
      r = mark_live (p, i, err);
  }
  return r;
}

/*--- P6 ---------------------------------------------------------------------*/

static bool
has_lock (const struct prune *p, const struct prune_folder *folder)
{
  for (size_t i = 0; i < folder->names.files.len; ++i)
    if (prune_is_locked (folder, folder->names.files.ptr[i].uuid,
                         lease_time (p->hold)))
      return true;
  return false;
}

/* Bytes of a file; 0 if it is gone. */
static int
size_of (struct prune *p, const struct prune_folder *folder,
         const struct vault_file *file, struct prune_amount *amount,
         struct err *err)
{
  char path[PRUNE_PATH_SIZE];
  struct store_stat st;
  int r = store_stat (p->store, prune_path (path, folder, file), &st, err);

  if (r < 0)
    return r == -ENOENT ? 0 : r;
  ++amount->nr;
  amount->bytes += st.size;
  return 0;
}

static int
delete_folder (struct prune *p, struct prune_folder *folder, struct err *err)
{
  char from[PRUNE_PATH_SIZE], to[PRUNE_PATH_SIZE];
  struct prune_amount amount = { 0, 0 };
  int r = 0;

  for (size_t i = 0; r == 0 && i < folder->names.files.len; ++i)
    r = size_of (p, folder, &folder->names.files.ptr[i], &amount, err);
  if (r < 0)
    return r;
  snprintf (to, sizeof to, "%s/%s", lease_folder (p->hold),
            folder->run.folder);
  r = store_rename (p->store, prune_path (from, folder, NULL), to, err);
  if (r == -ENOENT) {
    folder->gone = true;        /* if it isn't we that are gone */
    return prune_look_for_own (p, err);
  }
  if (r == 0)
    r = store_flush_folder (p->store, "files", err);
  if (r == 0)
    r = store_flush_folder (p->store, lease_folder (p->hold), err);
  if (r == 0)
    r = prune_delete_tree (p->store, to, PRUNE_DEPTH, NULL, err);
  if (r < 0)
    return r;
  folder->gone = true;
  ++p->result->nr_generations;
  p->result->deleted.nr += amount.nr;
  p->result->deleted.bytes += amount.bytes;
  return job_advance (p->job, amount.bytes, err);
}

static int
delete_folders (struct prune *p, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i) {
    struct prune_folder *folder = &p->listing.folders.ptr[i];

    if (!folder->counts || folder->gone)
      continue;
    if (!prune_folder_is_dead (folder, &p->live) || has_lock (p, folder)) {
      ++p->result->nr_in_use;
      continue;
    }
    if (folder->names.nr_others > 0) {
      report_warn (p->report, "files/%s stays, without its backup images: "
                   "there is something in it that does not belong there",
                   folder->run.folder);
      ++p->result->nr_in_use;
      continue;
    }
    r = prune_go_on (p, err);
    if (r == 0)
      r = delete_folder (p, folder, err);
  }
  return r;
}

/*--- P7 ---------------------------------------------------------------------*/

int
prune_delete_file (struct prune *p, const struct prune_folder *folder,
                   const struct vault_file *file, struct err *err)
{
  struct prune_amount amount = { 0, 0 };
  char path[PRUNE_PATH_SIZE];
  int r = prune_go_on (p, err);

  if (r == 0)
    r = size_of (p, folder, file, &amount, err);
  if (r == 0)
    r = store_delete (p->store, prune_path (path, folder, file), err);
  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return r;
  p->result->deleted.nr += amount.nr;
  p->result->deleted.bytes += amount.bytes;
  return job_advance (p->job, amount.bytes, err);
}

static int
delete_files (struct prune *p, struct err *err)
{
  int r = 0;

  for (size_t i = 0; i < p->listing.folders.len; ++i) {
    const struct prune_folder *folder = &p->listing.folders.ptr[i];
    const struct vault_files *files = &folder->names.files;

    for (size_t k = 0; r == 0 && !folder->gone && k < files->len; ++k) {
      const uint8_t *uuid = files->ptr[k].uuid;

      if (live_file_is_dead (liveness_find (&p->live, uuid)) &&
          !prune_is_locked (folder, uuid, lease_time (p->hold)))
        r = prune_delete_file (p, folder, &files->ptr[k], err);
    }
  }
  return r;
}

/*--- All of it --------------------------------------------------------------*/

/* P10.  Whatever is in it is nobody's, and if it can't be deleted the next
 * prune does so.
 */
static void
give_back (struct prune *p)
{
  char folder[PRUNE_PATH_SIZE];

  if (p->hold == NULL)
    return;
  snprintf (folder, sizeof folder, "broken/%s", lease_folder_name (p->hold));
  if (lease_leave (p->hold, NULL) == 0)
    (void) prune_delete_tree (p->store, folder, PRUNE_DEPTH, NULL, NULL);
  lease_free (p->hold);
  p->hold = NULL;
}

static uint64_t
bytes_to_read (const struct prune_plan *plan)
{
  uint64_t bytes = 0;

  for (size_t i = 0; i < plan->generations.len; ++i)
    if (plan->generations.ptr[i].fate == PRUNE_KEPT ||
        plan->generations.ptr[i].fate == PRUNE_NOT_ASKED)
      bytes += plan->generations.ptr[i].size;
  return bytes;
}

static int
prune (struct prune *p, struct err *err)
{
  int r = take_lease (p, err);          /* P1 */

  if (r == 0)
    r = mark (p, err);                  /* P2 */
  if (r == 0)
    r = store_wait (p->store, p->job, err);     /* P3 */
  if (r == 0)
    r = look_around (p, err);           /* P4 */
  if (r == 0)
    r = store_wait (p->store, p->job, err);     /* P5 */
  job_start (p->job, "reading the maps", bytes_to_read (p->plan));
  if (r == 0)
    r = find_live (p, err);
  job_start (p->job, "deleting", p->plan->dead.bytes);
  if (r == 0)
    r = delete_folders (p, err);        /* P6 */
  if (r == 0)
    r = delete_files (p, err);          /* P7 */
  if (r == 0)
    r = prune_drop_editions (p, err);   /* P9; it makes room */
  if (r == 0)
    r = prune_clear (p, err);
  job_start (p->job, "writing anew", p->plan->mostly_dead.bytes);
  if (r == 0)
    r = prune_write_editions (p, err);  /* P8 */
  return r;
}

int
prune_run (struct vault *vault, const struct generation_caches *caches,
           const struct prune_plan *plan, struct prune_result *result,
           struct report *report, struct job *job, struct err *err)
{
  struct prune p = {
    .vault = vault, .store = vault_store (vault), .caches = caches,
    .plan = plan, .result = result, .report = report, .job = job,
  };
  int r;

  *result = (struct prune_result) { .nr_generations = 0 };
  r = prune_check_key (vault, caches, NULL, err);
  if (r == 0 && caches->keys != NULL)
    r = vault_unlock (vault, caches->keys, report, err);
  if (r == 0)
    r = prune (&p, err);
  give_back (&p);
  vault_view_free (p.view);
  vector_free (&p.newest);
  liveness_destroy (&p.live);
  lease_list_free (&p.others);
  prune_listing_free (&p.listing);
  return r;
}
