/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a prune would do.  Every generation that is to stay is read as far as
 * its map goes, so that damage is known before anything is marked, not after
 * (P5 finds it again, whatever happened since).
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/prune-private.h"
#include "lib/repo/vault-keys.h"

struct planning {
  struct vault *vault;
  const struct generation_caches *caches;
  const struct prune_options *options;
  struct prune_plan *plan;
  struct report *report;
  struct job *job;
  struct prune_listing listing;
  struct vault_view *view;
};

void
prune_plan_free (struct prune_plan *plan)
{
  vector_free (&plan->generations);
}

int
prune_check_key (const struct vault *vault,
                 const struct generation_caches *caches,
                 const struct nbi_header *h, struct err *err)
{
  const struct vault_about *about = vault_about (vault);

  if (caches->keys != NULL || (h != NULL ? !nbi_encrypted (h)
                               : about == NULL || about->encryption == 0))
    return 0;
  return err_set (err, -EACCES, "the vault is encrypted, and there is no "
                  "key");
}

/*--- What there is ----------------------------------------------------------*/

static bool
is_asked (const struct planning *p, const char *disk)
{
  if (p->options->disks == NULL)
    return true;
  for (size_t i = 0; i < p->options->nr_disks; ++i)
    if (strcmp (p->options->disks[i], disk) == 0)
      return true;
  return false;
}

/* What is kept stays, and is never dropped for damage: who stands on it has to
 * say so.
 */
static void
take_keeps (struct planning *p, const struct prune_folder *folder,
            struct prune_generation *g)
{
  struct keep keep = KEEP_INIT;
  bool known;

  g->nr_keeps = folder->names.keeps.len;
  if (g->nr_keeps == 0)
    return;
  known = keep_read (p->vault, folder->run.folder,
                     folder->names.keeps.ptr[0].uuid, &keep, NULL) == 0;
  keep_to_string (known ? &keep : NULL, g->kept_for);
  keep_destroy (&keep);
}

/* Who kept it was killed, and it has gone (keep.c): that keep holds nothing. */
static void
warn_in_vain (struct planning *p, const struct prune_folder *folder,
              struct prune_generation *g)
{
  if (g->nr_keeps == 0 || prune_has_root (folder))
    return;
  report_warn (p->report, "files/%s is kept for %s, but was dropped before "
               "that, and there is no generation in it any more",
               folder->run.folder, g->kept_for);
  g->nr_keeps = 0;
}

/* Damaged: it stays in the way, or is dropped for that. */
static int
take_damaged (struct planning *p, struct prune_generation *g, int r,
              const struct err *why, struct err *err)
{
  if (r == -ENOENT || (r == -EBADMSG && g->fate != PRUNE_MARKED &&
                       prune_was_dropped (p->vault, &g->run)))
    return err_set (err, -EAGAIN, "somebody else changes the vault: %s",
                    why->msg);
  if (r == -EBADMSG && g->nr_keeps > 0)
    return err_set (err, r, "%s; nothing is deleted as long as it stays, and "
                    "it is kept for %s (nbdimage generations --release)",
                    why->msg, g->kept_for);
  if (r == -EBADMSG && p->options->drop_damaged) {
    g->fate = PRUNE_DAMAGED;
    report_warn (p->report, "%s", why->msg);
    return 0;
  }
  return r == -EBADMSG
    ? err_set (err, r, "%s; nothing is deleted as long as it stays", why->msg)
    : err_set (err, r, "%s", why->msg);
}

/* By its header; of what is marked that may be lost already. */
static int
add_generation (struct planning *p, size_t i, struct err *err)
{
  const struct prune_folder *folder = &p->listing.folders.ptr[i];
  struct prune_generation g = { .run = folder->run, .fate = PRUNE_NOT_ASKED };
  bool marked = folder->names.dropped;
  struct vault_opened opened;
  struct err why = ERR_INIT;
  int r;

  take_keeps (p, folder, &g);
  r = vault_view_open (p->view, i, marked, &opened,
                       marked ? NULL : p->report, &why);
  if (r == 0) {
    const struct nbi_header *h = generation_header (opened.gen);

    memcpy (g.disk, h->name, sizeof g.disk);
    g.run.time = h->time;
    g.size = h->disk_size;
    if (!marked)
      r = prune_check_key (p->vault, p->caches, h, err);
    vault_opened_close (&opened);
  }
  else if (!marked)
    r = take_damaged (p, &g, r, &why, err);
  if (marked) {
    g.fate = PRUNE_MARKED;
    warn_in_vain (p, folder, &g);
    r = 0;
  }
  else if (r == 0 && g.fate != PRUNE_DAMAGED && is_asked (p, g.disk))
    g.fate = PRUNE_KEPT;
  return r < 0 ? r
    : vector_append (&p->plan->generations, &g) < 0 ? err_nomem (err) : 0;
}

static int
look_at_vault (struct planning *p, struct err *err)
{
  int r = prune_check_key (p->vault, p->caches, NULL, err);

  if (r == 0 && p->caches->keys != NULL)
    r = vault_unlock (p->vault, p->caches->keys, p->report, err);
  if (r == 0)
    r = prune_list (p->vault, &p->listing, p->report, p->job, err);
  if (r == 0)
    r = vault_view_of (p->vault, p->caches, &p->listing.runs, &p->view, err);
  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i)
    if (!p->listing.folders.ptr[i].gone) {
      r = job_check (p->job, err);
      if (r == 0)
        r = add_generation (p, i, err);
    }
  return r;
}

/*--- What the rules say -----------------------------------------------------*/

/* The generations of one disk that are not dropped for damage. */
struct disk {
  struct prune_generation **of;
  uint64_t *times;
  unsigned *why;
  size_t n;
};

static int
by_time (const void *a, const void *b)
{
  const struct prune_generation *const *x = a, *const *y = b;

  if ((*x)->run.time != (*y)->run.time)
    return (*x)->run.time < (*y)->run.time ? -1 : 1;
  return memcmp ((*x)->run.run, (*y)->run.run, UUID_SIZE);
}

static int
refuse_future (const struct planning *p, const struct disk *disk, int64_t now,
               struct err *err)
{
  uint64_t newest = disk->times[disk->n - 1];
  char text[VAULT_TIME_SIZE];

  if (p->options->trust_times || now < 0 ||
      newest <= (uint64_t) now + VAULT_AHEAD)
    return 0;
  vault_time_to_string (newest, text);
  return err_set (err, -EINVAL, "the newest generation of ‘%s’, %s, is more "
                  "than a day later than it is now: some clock was or is "
                  "wrong, and rules that go by times can't be trusted",
                  disk->of[0]->disk, text);
}

static int
choose (const struct planning *p, struct disk *disk, int64_t now,
        struct err *err)
{
  int r;

  qsort (disk->of, disk->n, sizeof *disk->of, by_time);
  for (size_t i = 0; i < disk->n; ++i)
    disk->times[i] = disk->of[i]->run.time;
  r = refuse_future (p, disk, now, err);
  if (r < 0)
    return r;
  retention_choose (&p->options->retention, disk->times, disk->n, disk->why);
  for (size_t i = 0; i < disk->n; ++i) {
    disk->of[i]->why = disk->why[i];
    disk->of[i]->fate = disk->why[i] == 0 && disk->of[i]->nr_keeps == 0
      ? PRUNE_DROPPED : PRUNE_KEPT;
  }
  return 0;
}

static bool
has_rules (const struct prune_generation *g)
{
  return g->fate == PRUNE_KEPT || g->fate == PRUNE_DROPPED;
}

static int
choose_all (struct planning *p, struct disk *disk, int64_t now,
            struct err *err)
{
  struct prune_generations *all = &p->plan->generations;
  int r = 0;

  for (size_t i = 0; r == 0 && i < all->len; ++i) {
    const char *name = all->ptr[i].disk;
    bool before = false;

    for (size_t k = 0; k < i && !before; ++k)
      before = has_rules (&all->ptr[k]) && strcmp (all->ptr[k].disk, name) == 0;
    if (before || !has_rules (&all->ptr[i]))
      continue;
    disk->n = 0;
    for (size_t k = i; k < all->len; ++k)
      if (has_rules (&all->ptr[k]) && strcmp (all->ptr[k].disk, name) == 0)
        disk->of[disk->n++] = &all->ptr[k];
    r = choose (p, disk, now, err);
  }
  return r;
}

static int
ask_time (const struct planning *p, int64_t *now, struct err *err)
{
  *now = p->options->now;
  return *now != 0 ? 0 : store_time (vault_store (p->vault), "partial", now,
                                     err);
}

static int
apply_rules (struct planning *p, struct err *err)
{
  size_t n = p->plan->generations.len + 1;
  CLEANUP_FREE struct prune_generation **of = calloc (n, sizeof *of);
  CLEANUP_FREE uint64_t *times = calloc (n, sizeof *times);
  CLEANUP_FREE unsigned *why = calloc (n, sizeof *why);
  struct disk disk = { of, times, why, 0 };
  int64_t now;
  int r;

  if (of == NULL || times == NULL || why == NULL)
    return err_nomem (err);
  if (!retention_has_rules (&p->options->retention))
    return 0;
  r = ask_time (p, &now, err);
  return r < 0 ? r : choose_all (p, &disk, now, err);
}

static int
check_names (const struct planning *p, struct err *err)
{
  const struct prune_generations *all = &p->plan->generations;

  for (size_t i = 0; p->options->disks && i < p->options->nr_disks; ++i) {
    const char *name = p->options->disks[i];
    bool found = false;

    for (size_t k = 0; k < all->len && !found; ++k)
      found = has_rules (&all->ptr[k]) && strcmp (all->ptr[k].disk, name) == 0;
    if (!found)
      return err_set (err, -ENOENT, "the vault has no generation of ‘%s’",
                      name);
  }
  return 0;
}

/*--- What that frees --------------------------------------------------------*/

/* *again: one turned out to be damaged, and is dropped. */
static int
mark_one (struct planning *p, struct prune_generation *g, size_t i,
          struct liveness *live, bool *again, struct err *err)
{
  struct vault_opened opened;
  struct err why = ERR_INIT;
  int r = vault_view_open (p->view, i, false, &opened, p->report, &why);

  if (r == 0) {
    r = liveness_mark (live, p->view, &opened, p->job, &why);
    if (r < 0 && r != -ECANCELED)
      err_in (&why, "files/%s", g->run.folder);
    vault_opened_close (&opened);
  }
  if (r == 0)
    return 0;
  if (r == -ECANCELED)
    return err_set (err, r, "%s", why.msg);
  *again = true;
  return take_damaged (p, g, r, &why, err);
}

static bool
stays (const struct prune_generation *g)
{
  return g->fate == PRUNE_KEPT || g->fate == PRUNE_NOT_ASKED ||
    (g->fate == PRUNE_MARKED && g->nr_keeps > 0);
}

/* The plan has the folders that are not gone, in their order. */
static int
mark_all (struct planning *p, struct liveness *live, bool *again,
          struct err *err)
{
  struct prune_generation *g = p->plan->generations.ptr;
  int r = prune_list_files (&p->listing, live, err);

  *again = false;
  for (size_t i = 0; r == 0 && !*again && i < p->listing.folders.len; ++i) {
    if (p->listing.folders.ptr[i].gone)
      continue;
    if (stays (g))
      r = mark_one (p, g, i, live, again, err);
    ++g;
  }
  return r;
}

static uint64_t
bytes_to_read (const struct prune_plan *plan)
{
  uint64_t bytes = 0;

  for (size_t i = 0; i < plan->generations.len; ++i)
    if (stays (&plan->generations.ptr[i]))
      bytes += plan->generations.ptr[i].size;
  return bytes;
}

/* Its highest edition; what can't be read stays as it is. */
static int
add_if_mostly_dead (struct planning *p, const struct prune_folder *folder,
                    const struct vault_file *file,
                    const struct live_file *live, struct err *err)
{
  struct nbi_file wanted = { .uses = 0 };
  struct file_reader *reader;
  uint64_t bytes, size;
  int r;

  if (live->nr_live == live->nr_ordinals && live->nr_live > 0)
    return 0;
  memcpy (wanted.uuid, file->uuid, UUID_SIZE);
  memcpy (wanted.run, folder->run.run, UUID_SIZE);
  if (vault_view_look_up (p->view, &wanted, &reader, NULL, NULL) < 0)
    return 0;
  size = file_reader_trailer (reader)->size;
  r = prune_edition_size (live, reader, &bytes, p->job, err);
  file_reader_unref (reader);
  if (r == 0 && prune_is_mostly_dead (bytes, size)) {
    ++p->plan->mostly_dead.nr;
    p->plan->mostly_dead.bytes += size - bytes;
  }
  return r == -ECANCELED ? r : 0;
}

static int
add_folder (struct planning *p, const struct prune_folder *folder,
            const struct liveness *live, struct err *err)
{
  struct prune_plan *plan = p->plan;

  for (size_t k = 0; k < folder->names.files.len; ++k) {
    const struct vault_file *file = &folder->names.files.ptr[k];
    const struct live_file *found;
    char path[PRUNE_PATH_SIZE];
    struct store_stat st;
    int r = store_stat (vault_store (p->vault),
                        prune_path (path, folder, file), &st, err);

    if (r == -ENOENT)
      continue;
    if (r < 0)
      return r;
    ++plan->all.nr;
    plan->all.bytes += st.size;
    found = liveness_find (live, file->uuid);
    if (live_file_is_dead (found)) {
      ++plan->dead.nr;
      plan->dead.bytes += st.size;
      continue;
    }
    if (prune_may_rewrite (p->vault) &&
        (k == 0 || memcmp (file[-1].uuid, file->uuid, UUID_SIZE) != 0))
      r = add_if_mostly_dead (p, folder, file, found, err);
    if (r < 0)
      return r;
  }
  return 0;
}

static int
add_up (struct planning *p, const struct liveness *live, struct err *err)
{
  struct prune_generations *all = &p->plan->generations;
  int r = 0;

  for (size_t i = 0; i < all->len; ++i) {
    p->plan->nr_dropped += all->ptr[i].fate == PRUNE_DROPPED ||
      all->ptr[i].fate == PRUNE_DAMAGED;
    p->plan->nr_marked += all->ptr[i].fate == PRUNE_MARKED;
  }
  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i)
    r = add_folder (p, &p->listing.folders.ptr[i], live, err);
  return r;
}

/*--- What others left behind ------------------------------------------------*/

static int
add_newest (struct planning *p, struct prune_newest_list *newest,
            struct err *err)
{
  const struct prune_generations *all = &p->plan->generations;
  int r = 0;

  for (size_t i = 0; r == 0 && i < all->len; ++i)
    if (stays (&all->ptr[i]) && all->ptr[i].fate != PRUNE_MARKED)
      r = prune_note_newest (newest, all->ptr[i].disk, all->ptr[i].run.time,
                             err);
  return r;
}

static int
count_left (struct planning *p, struct err *err)
{
  struct prune_newest_list newest = VECTOR_INIT;
  struct prune_leaving leaving = {
    .store = vault_store (p->vault), .newest = &newest,
    .drop_interrupted = p->options->drop_interrupted,
  };
  int r = add_newest (p, &newest, err);

  if (r == 0)
    r = ask_time (p, &leaving.now, err);
  if (r == 0)
    r = prune_count_left (&leaving, &p->plan->left, err);
  vector_free (&newest);
  return r;
}

/*--- All of it --------------------------------------------------------------*/

/* Each round drops one more generation that is damaged, or is the last. */
static int
plan_rounds (struct planning *p, struct err *err)
{
  bool again = true;
  int r = 0;

  while (r == 0 && again) {
    CLEANUP_LIVENESS struct liveness live = LIVENESS_INIT;

    r = apply_rules (p, err);
    job_start (p->job, "reading the maps", bytes_to_read (p->plan));
    if (r == 0)
      r = mark_all (p, &live, &again, err);
    if (r == 0 && !again)
      r = add_up (p, &live, err);
  }
  return r;
}

int
prune_plan (struct vault *vault, const struct generation_caches *caches,
            const struct prune_options *options, struct prune_plan *plan,
            struct report *report, struct job *job, struct err *err)
{
  struct planning p = {
    .vault = vault, .caches = caches, .options = options, .plan = plan,
    .report = report, .job = job,
  };
  int r;

  *plan = (struct prune_plan) { .drop_interrupted = options->drop_interrupted };
  r = look_at_vault (&p, err);
  if (r == 0)
    r = check_names (&p, err);
  if (r == 0)
    r = plan_rounds (&p, err);
  if (r == 0)
    r = count_left (&p, err);
  vault_view_free (p.view);
  prune_listing_free (&p.listing);
  return r;
}
