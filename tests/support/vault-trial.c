/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/repo/verify-vault.h"
#include "tests/support/vault-trial.h"

#define CACHE_SIZE (1 << 20)

/*--- Time -------------------------------------------------------------------*/

static _Thread_local bool is_ours;

void
vault_trial_this_thread (void)
{
  is_ours = true;
}

static uint64_t
clock_now (void *opaque)
{
  return repo_clock_now (store_model_clock (opaque));
}

/* Who keeps a lease alive would do nothing else but wait, and let all time go
 * by at once.
 */
static int
clock_sleep_until (void *opaque, uint64_t when, struct job *job,
                   struct err *err)
{
  const struct timespec pause = { 0, 100000 };

  if (is_ours)
    return repo_clock_sleep_until (store_model_clock (opaque), when, job, err);
  for (;;) {
    int r = job_check (job, err);

    if (r < 0)
      return r;
    nanosleep (&pause, NULL);
  }
}

/* One for each trial there is; they are few. */
static struct repo_clock *
clock_of (struct store_model *model)
{
  static struct repo_clock clocks[8];
  static unsigned next;
  struct repo_clock *clock;

  for (unsigned i = 0; i < 8; ++i)
    if (clocks[i].opaque == model)
      return &clocks[i];
  clock = &clocks[next++ % 8];
  *clock = (struct repo_clock) { clock_now, clock_sleep_until, model };
  return clock;
}

struct store *
vault_trial_store (struct vault_trial *t, unsigned lag)
{
  struct store *store = store_model_client (t->model, lag, true);

  store_set_clock (store, clock_of (t->model));
  return store;
}

/*--- The trial --------------------------------------------------------------*/

static struct vault_trial *
new (uint64_t seed, const struct nbi_header *like)
{
  struct vault_about about = { .encryption = like->encryption };
  struct vault_trial *t = calloc (1, sizeof *t);
  struct store *store;
  bool made;

  assert_non_null (t);
  is_ours = true;
  t->seed = seed;
  t->rng.state = seed;
  t->file_limit = TRIAL_FILE_LIMIT;
  t->model = store_model_new (seed);
  for (unsigned disk = 0; disk < TRIAL_DISKS; ++disk)
    for (size_t i = 0; i < TRIAL_DISK_SIZE / 2; ++i)
      t->disks[disk][i] = (uint8_t) rng_next (&t->rng);
  store = vault_trial_store (t, 0);
  memcpy (about.key_id, like->key_id, sizeof about.key_id);
  assert_int_equal (vault_make (store, &about, like->slots, like->nr_slots,
                                &made, NULL), 0);
  assert_true (made);
  store_close (store);
  return t;
}

struct vault_trial *
vault_trial_new (uint64_t seed)
{
  const struct nbi_header plain = { .encryption = 0 };

  return new (seed, &plain);
}

struct vault_trial *
vault_trial_new_encrypted (uint64_t seed)
{
  static const char file[] = "a key file that has more than 32 bytes";
  const struct crypt_secret secret = { NBI_SLOT_KEY_FILE, file, sizeof file };
  struct nbi_header h = { .encryption = 0 };
  uint8_t master[CRYPT_KEY_SIZE];
  struct keyring *keys;
  struct vault_trial *t;

  assert_int_equal (keyring_new (&secret, &keys, NULL), 0);
  assert_int_equal (keyring_make (keys, &h, master, NULL), 0);
  t = new (seed, &h);
  t->keys = keys;
  return t;
}

void
vault_trial_free (struct vault_trial *t)
{
  keyring_free (t->keys);
  store_model_free (t->model);
  report_free (&t->report);
  free (t);
}

const char *
vault_trial_disk (unsigned disk)
{
  static const char *const names[TRIAL_DISKS] = { "one", "a disk", "a_disk" };

  return names[disk];
}

void
vault_trial_change (struct vault_trial *t, unsigned disk, int pieces)
{
  for (int i = 0; i < pieces; ++i) {
    size_t off = rng_next (&t->rng) % (TRIAL_DISK_SIZE - 5000);

    for (size_t k = 0; k < 5000; ++k)
      t->disks[disk][off + k] = (uint8_t) rng_next (&t->rng);
  }
}

/*--- Backups and prunes -----------------------------------------------------*/

int
vault_trial_back_up (struct vault_trial *t, struct store *store,
                     unsigned disk, struct vault_backup_result *result,
                     struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct trial_version *version = &t->versions[t->nr];
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .codec = NBI_LZ4, .threads = 1, .file_limit = t->file_limit,
    .manifest = &manifest,
    .header = {
      .disk_size = TRIAL_DISK_SIZE, .chunk_size = TRIAL_CHUNK_SIZE,
      .logical = 512, .physical = 4096,
    },
  };
  struct generation_caches caches;
  struct vault *vault = NULL;
  int r;

  assert_true (t->nr < TRIAL_VERSIONS);
  snprintf (options.header.name, sizeof options.header.name, "%s",
            vault_trial_disk (disk));
  *version = (struct trial_version) { .disk = disk };
  memcpy (version->bytes, t->disks[disk], TRIAL_DISK_SIZE);
  assert_int_equal (block_memory_new ("a disk", version->bytes,
                                      TRIAL_DISK_SIZE, &block, NULL), 0);
  assert_int_equal (generation_caches_init (&caches, CACHE_SIZE, NULL), 0);
  caches.keys = t->keys;
  ++t->nr;
  r = vault_open (store, VAULT_WRITE, &vault, NULL, err);
  if (r == 0)
    r = vault_backup (vault, block, &options, &caches, result, &t->report,
                      NULL, err);
  /* Also of what failed: it may be in the vault. */
  memcpy (version->run, options.header.run, UUID_SIZE);
  version->reported = r == 0;
  vault_close (vault);
  generation_caches_destroy (&caches);
  manifest_destroy (&manifest);
  return r;
}

static struct trial_version *
version_of (struct vault_trial *t, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < t->nr; ++i)
    if (memcmp (t->versions[i].run, run, UUID_SIZE) == 0)
      return &t->versions[i];
  return NULL;
}

static bool
is_dropped (const struct vault_trial *t, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < t->nr_dropped; ++i)
    if (memcmp (t->dropped[i], run, UUID_SIZE) == 0)
      return true;
  return false;
}

/* By their runs: the backup that makes one may be at work. */
static void
note_dropped (struct vault_trial *t, struct prune_plan *plan)
{
  for (size_t i = 0; i < plan->generations.len; ++i) {
    struct prune_generation *g = &plan->generations.ptr[i];

    if (t->adjust != NULL)
      t->adjust (t, g);
    if (g->fate == PRUNE_DROPPED && !is_dropped (t, g->run.run)) {
      assert_true (t->nr_dropped < TRIAL_VERSIONS);
      memcpy (t->dropped[t->nr_dropped++], g->run.run, UUID_SIZE);
    }
  }
}

int
vault_trial_prune (struct vault_trial *t, struct store *store,
                   const struct prune_options *options,
                   struct prune_plan *plan_out, struct prune_result *result,
                   struct err *err)
{
  struct generation_caches caches;
  struct prune_plan plan = { .nr_dropped = 0 };
  struct vault *vault = NULL;
  int r;

  assert_int_equal (generation_caches_init (&caches, CACHE_SIZE, NULL), 0);
  caches.keys = t->keys;
  memset (result, 0, sizeof *result);
  r = vault_open (store, VAULT_WRITE, &vault, NULL, err);
  if (r == 0)
    r = prune_plan (vault, &caches, options, &plan, &t->report, NULL, err);
  if (r == 0) {
    note_dropped (t, &plan);
    if (t->planned != NULL)
      t->planned (t->opaque);
    r = prune_run (vault, &caches, &plan, result, &t->report, NULL, err);
  }
  vault_close (vault);
  generation_caches_destroy (&caches);
  if (plan_out != NULL)
    *plan_out = plan;
  else
    prune_plan_free (&plan);
  return r;
}

void
vault_trial_back_up_well (struct vault_trial *t, unsigned disk,
                          struct vault_backup_result *result)
{
  struct store *store = vault_trial_store (t, 0);
  struct vault_backup_result unused;
  struct err err = ERR_INIT;

  if (vault_trial_back_up (t, store, disk, result ? result : &unused, &err) < 0)
    fail_msg ("seed %" PRIu64 ": backing up: %s", t->seed, err.msg);
  store_close (store);
}

void
vault_trial_prune_well (struct vault_trial *t,
                        const struct prune_options *options,
                        struct prune_result *result)
{
  struct store *store = vault_trial_store (t, 0);
  struct prune_result unused;
  struct err err = ERR_INIT;

  if (vault_trial_prune (t, store, options, NULL, result ? result : &unused,
                         &err) < 0)
    fail_msg ("seed %" PRIu64 ": pruning: %s", t->seed, err.msg);
  store_close (store);
}

/*--- Looking ----------------------------------------------------------------*/

struct looking {
  struct vault_trial *t;
  struct store *store;
  struct generation_caches caches;
  struct vault *vault;
  struct vault_view *view;
};

static void
look (struct looking *l, struct vault_trial *t)
{
  struct err err = ERR_INIT;

  l->t = t;
  l->store = vault_trial_store (t, 0);
  assert_int_equal (generation_caches_init (&l->caches, CACHE_SIZE, NULL), 0);
  l->caches.keys = t->keys;
  if (vault_open (l->store, 0, &l->vault, NULL, &err) < 0 ||
      vault_view_new (l->vault, &l->caches, &l->view, &err) < 0)
    fail_msg ("seed %" PRIu64 ": opening: %s", t->seed, err.msg);
}

static void
look_away (struct looking *l)
{
  vault_view_free (l->view);
  vault_close (l->vault);
  generation_caches_destroy (&l->caches);
  store_close (l->store);
}

/* 1: it is there, and reads as it should. */
static size_t
check_run (struct looking *l, size_t i)
{
  const struct vault_run *run = &vault_view_runs (l->view)->ptr[i];
  const struct trial_version *version = version_of (l->t, run->run);
  struct vault_opened opened;
  struct err err = ERR_INIT;
  uint8_t *buf;
  int r;

  assert_non_null (version);
  r = vault_view_open (l->view, i, false, &opened, NULL, &err);
  if (r == -ENOENT && (!version->reported || version->may_go ||
                       is_dropped (l->t, run->run)))
    return 0;                   /* marked: dropped, or could not be flushed */
  if (r < 0)
    fail_msg ("seed %" PRIu64 ": generation %zu: %s", l->t->seed, i, err.msg);
  buf = malloc (TRIAL_DISK_SIZE);
  assert_non_null (buf);
  if (generation_pread (opened.gen, buf, TRIAL_DISK_SIZE, 0, &err) < 0)
    fail_msg ("seed %" PRIu64 ": generation %zu: %s", l->t->seed, i, err.msg);
  assert_memory_equal (buf, version->bytes, TRIAL_DISK_SIZE);
  free (buf);
  vault_opened_close (&opened);
  return 1;
}

size_t
vault_trial_check (struct vault_trial *t)
{
  struct looking l;
  const struct vault_runs *runs;
  size_t nr = 0;

  look (&l, t);
  runs = vault_view_runs (l.view);
  for (size_t i = 0; i < runs->len; ++i)
    nr += check_run (&l, i);
  for (size_t v = 0; v < t->nr; ++v) {
    bool found = false;

    for (size_t i = 0; i < runs->len; ++i)
      found |= memcmp (runs->ptr[i].run, t->versions[v].run, UUID_SIZE) == 0;
    if (!found && t->versions[v].reported && !t->versions[v].may_go &&
        !is_dropped (t, t->versions[v].run))
      fail_msg ("seed %" PRIu64 ": version %zu is not there", t->seed, v);
  }
  look_away (&l);
  return nr;
}

static int
tell_finding (void *opaque, struct file_reader *file,
              const struct verify_finding *finding, struct err *err)
{
  struct vault_trial *t = opaque;

  (void) file;
  (void) err;
  fail_msg ("seed %" PRIu64 ": %s: %s", t->seed, finding->kind,
            finding->what->msg);
  return -EBADMSG;
}

void
vault_trial_verify (struct vault_trial *t)
{
  const struct verify verify = {
    .data = true, .found = tell_finding, .opaque = t,
  };
  struct verify_result result;
  struct err err = ERR_INIT;
  struct looking l;

  look (&l, t);
  if (verify_vault (l.vault, &l.caches, &verify, &result, NULL, &err) < 0)
    fail_msg ("seed %" PRIu64 ": verifying: %s", t->seed, err.msg);
  look_away (&l);
}

static bool
is_left (const char *name)
{
  size_t len = strlen (name);

  return (strncmp (name, "partial/", 8) == 0 && len > 8) ||
    (strncmp (name, "broken/", 7) == 0 && len > 7) ||
    strstr (name, "/dropped") != NULL || strstr (name, "/lease.json") != NULL;
}

void
vault_trial_check_clean (struct vault_trial *t)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char *rest = NULL;

  vault_trial_verify (t);
  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (is_left (name))
      fail_msg ("seed %" PRIu64 ": %s is left", t->seed, name);
}

uint64_t
vault_trial_bytes (struct vault_trial *t, const char *folder)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  struct store *store = vault_trial_store (t, 0);
  uint64_t bytes = 0;
  char *rest = NULL;

  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest)) {
    struct store_stat st;

    if (strncmp (name, folder, strlen (folder)) != 0 ||
        name[strlen (name) - 1] == '/')
      continue;
    assert_int_equal (store_stat (store, name, &st, NULL), 0);
    bytes += st.size;
  }
  store_close (store);
  return bytes;
}
