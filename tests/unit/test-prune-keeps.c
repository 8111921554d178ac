/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Prunes of a vault with generations that are kept for the sake of a file. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/repo/keep.h"
#include "lib/repo/lease-look.h"
#include "tests/support/prune-trial.h"
#include "tests/support/store-faulty.h"

/* Generation 1 of disk 0 is kept for a file. */
struct keeper {
  struct vault_trial *t;
  struct store *store;
  struct vault *vault;
  struct vault_run run;
};

static void
keeper_init (struct keeper *k, uint64_t seed)
{
  k->t = trial_with (seed, 3);
  /* Nothing of it is needed by the others. */
  memset (k->t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (k->t, 0, NULL);
  k->store = vault_trial_store (k->t, 0);
  assert_int_equal (vault_open (k->store, 0, &k->vault, NULL, NULL), 0);
  find_run (k->vault, k->t->versions[3].run, &k->run);
}

static void
keeper_free (struct keeper *k)
{
  vault_close (k->vault);
  store_close (k->store);
  vault_trial_free (k->t);
}

static bool
is_marked (struct keeper *k)
{
  char path[STORE_PATH_SIZE];

  snprintf (path, sizeof path, "files/%s/", k->run.folder);
  return has_name (k->t, path, VAULT_DROPPED);
}

static void
put_keep (struct keeper *k)
{
  struct err err = ERR_INIT;

  if (keep_put (k->vault, &k->run, "/not/there.vhd", NULL, &err) < 0)
    fail_msg ("%s", err.msg);
}

/* One of so many. */
static void
release_keep (struct keeper *k, size_t nr)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char path[STORE_PATH_SIZE];

  snprintf (path, sizeof path, "files/%s", k->run.folder);
  assert_int_equal (vault_look_in (k->vault, path, 0, &names, NULL), 0);
  assert_int_equal (names.keeps.len, nr);
  assert_int_equal (keep_release (k->vault, k->run.folder,
                                  names.keeps.ptr[0].uuid, NULL), 0);
}

/* What is kept is not dropped, whatever the rules say; once released, it is. */
static void
test_keep (void **state)
{
  struct prune_result result;
  struct prune_plan plan;
  struct keeper k;
  bool said = false;

  (void) state;
  keeper_init (&k, 60);
  put_keep (&k);
  put_keep (&k);                /* one for each file */
  assert_false (has_name (k.t, "partial/read-", VAULT_LEASE));
  assert_int_equal (vault_trial_prune (k.t, k.store, &keep_one, &plan,
                                       &result, NULL), 0);
  for (size_t i = 0; i < plan.generations.len; ++i) {
    const struct prune_generation *g = &plan.generations.ptr[i];

    assert_int_equal (g->nr_keeps, strcmp (g->run.folder, k.run.folder) == 0);
    if (g->nr_keeps > 0) {
      assert_int_equal (g->fate, PRUNE_KEPT);
      assert_int_equal (g->why, 0);
      assert_non_null (strstr (g->kept_for, "/not/there.vhd"));
      assert_non_null (strstr (g->kept_for, "which is not there"));
      said = true;
    }
  }
  assert_true (said);
  prune_plan_free (&plan);
  assert_int_equal (vault_trial_check (k.t), 3);
  vault_trial_verify (k.t);
  assert_true (has_name (k.t, "files/", k.run.folder));
  assert_false (is_marked (&k));

  release_keep (&k, 1);
  vault_trial_prune_well (k.t, &keep_one, &result);
  assert_false (has_name (k.t, "files/", k.run.folder));
  assert_int_equal (vault_trial_check (k.t), 2);
  vault_trial_check_clean (k.t);
  assert_int_equal (keep_put (k.vault, &k.run, "/a", NULL, NULL), -ESTALE);
  vault_trial_check_clean (k.t);
  keeper_free (&k);
}

static void
put_keep_now (void *opaque)
{
  put_keep (opaque);
}

/* One that comes when the plan is made and shown counts. */
static void
test_keep_after_plan (void **state)
{
  struct prune_result result;
  struct keeper k;

  (void) state;
  keeper_init (&k, 61);
  k.t->planned = put_keep_now;
  k.t->opaque = &k;
  vault_trial_prune_well (k.t, &keep_one, &result);
  k.t->planned = NULL;
  assert_true (result.nr_in_use > 0);
  assert_true (has_name (k.t, "files/", k.run.folder));
  assert_false (is_marked (&k));
  keeper_free (&k);
}

/* What is marked can't be kept, unless it is kept already: an overlay that was
 * moved has another name then.  A mark that came at the same moment leaves it,
 * to whoever names it, as long as it is kept.
 */
static void
test_keep_and_mark (void **state)
{
  struct generation_caches caches;
  struct vault_opened opened;
  struct vault_view *view;
  struct prune_result result;
  struct keeper k;
  char id[UUID_STRING_SIZE];
  size_t i;

  (void) state;
  keeper_init (&k, 62);
  put_keep (&k);
  assert_int_equal (vault_drop (k.vault, k.run.folder, NULL), 0);
  put_keep (&k);                /* has one */
  assert_int_equal (keep_put (k.vault, &k.run, "/other", NULL, NULL), 0);
  release_keep (&k, 2);
  vault_trial_prune_well (k.t, &keep_one, &result);
  assert_true (has_name (k.t, "files/", k.run.folder));

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  assert_int_equal (vault_view_new (k.vault, &caches, &view, NULL), 0);
  uuid_to_string (k.run.run, id);
  assert_int_equal (vault_view_find (view, vault_trial_disk (0), id, &i, NULL,
                                     NULL), 0);
  assert_int_equal (vault_view_open (view, i, false, &opened, NULL, NULL), 0);
  vault_opened_close (&opened);
  /* It is no base, though. */
  assert_int_equal (vault_view_before (view, i + 1, vault_trial_disk (0), &i,
                                       NULL, NULL), -ENOENT);
  release_keep (&k, 1);
  assert_int_equal (keep_put (k.vault, &k.run, "/other", NULL, NULL),
                    -ESTALE);
  assert_int_equal (vault_view_find (view, vault_trial_disk (0), id, &i, NULL,
                                     NULL), -ENOENT);
  vault_view_free (view);
  generation_caches_destroy (&caches);
  vault_trial_prune_well (k.t, &keep_one, &result);
  assert_false (has_name (k.t, "files/", k.run.folder));
  keeper_free (&k);
}

/* In front of the second keep: the first one goes. */
static void
release_before (void *opaque, unsigned op, const char *name)
{
  struct keeper *k = opaque;

  if (op == STORE_OP_MAKE && strstr (name, ".keep") != NULL)
    release_keep (k, 1);
}

/* What is marked is left for the sake of a keep: if that goes when another
 * comes, the other one holds nothing, and is not left behind.
 */
static void
test_keep_goes_as_another_comes (void **state)
{
  struct prune_result result;
  struct store *faulty;
  struct vault *vault;
  struct keeper k;

  (void) state;
  keeper_init (&k, 64);
  put_keep (&k);
  assert_int_equal (vault_drop (k.vault, k.run.folder, NULL), 0);
  faulty = store_faulty_new (k.store);
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, NULL), 0);
  store_faulty_watch (faulty, release_before, &k);
  assert_int_equal (keep_put (vault, &k.run, "/other", NULL, NULL), -ESTALE);
  assert_false (has_name (k.t, "files/", ".keep"));
  vault_close (vault);
  store_close (faulty);
  vault_trial_prune_well (k.t, &keep_one, &result);
  assert_false (has_name (k.t, "files/", k.run.folder));
  vault_trial_check_clean (k.t);
  keeper_free (&k);
}

/* In front of the keep: somebody breaks the lease that it is put under. */
static void
break_before (void *opaque, unsigned op, const char *name)
{
  struct keeper *k = opaque;
  CLEANUP_FREE char *names = store_model_names (k->t->model);
  char *lease = strstr (names, "partial/read-");

  if (op != STORE_OP_MAKE || strstr (name, ".keep") == NULL)
    return;
  assert_non_null (lease);
  lease += strlen ("partial/");
  lease[strcspn (lease, "/\n")] = '\0';
  assert_int_equal (lease_break (k->store, lease, NULL), 0);
}

/* Whoever broke the lease may take away the generation without having seen the
 * keep.
 */
static void
test_keep_without_lease (void **state)
{
  struct store *faulty;
  struct vault *vault;
  struct keeper k;

  (void) state;
  keeper_init (&k, 65);
  faulty = store_faulty_new (k.store);
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, NULL), 0);
  store_faulty_watch (faulty, break_before, &k);
  assert_int_equal (keep_put (vault, &k.run, "/other", NULL, NULL), -ESTALE);
  assert_false (has_name (k.t, "files/", ".keep"));
  vault_close (vault);
  store_close (faulty);
  keeper_free (&k);
}

/* Take away the files with a root, or those without. */
static void
take_files (struct keeper *k, bool root)
{
  CLEANUP_VAULT_FOLDER struct vault_folder names = { .dropped = false };
  char path[STORE_PATH_SIZE], name[VAULT_NAME_SIZE];
  size_t n = 0;

  snprintf (path, sizeof path, "files/%s", k->run.folder);
  assert_int_equal (vault_look_in (k->vault, path, 0, &names, NULL), 0);
  for (size_t i = 0; i < names.files.len; ++i) {
    const struct vault_file *f = &names.files.ptr[i];

    if (f->root != root)
      continue;
    snprintf (path, sizeof path, "files/%s/%s", k->run.folder,
              vault_name_nbi (name, f->uuid, f->edition, f->root));
    assert_int_equal (store_delete (k->store, path, NULL), 0);
    ++n;
  }
  assert_true (n > 0);
}

/* Who was killed in front of K3 left a keep of what went: of a part of it that
 * is said, and who it is for; of all of it there is nothing to keep.
 */
static void
test_keep_of_what_went (void **state)
{
  struct err err = ERR_INIT;
  struct prune_result result;
  struct prune_plan plan;
  struct keeper k;

  (void) state;
  keeper_init (&k, 65);
  put_keep (&k);
  assert_int_equal (vault_drop (k.vault, k.run.folder, NULL), 0);
  take_files (&k, false);
  assert_int_equal (vault_trial_prune (k.t, k.store, &keep_one, &plan,
                                       &result, &err), -EBADMSG);
  prune_plan_free (&plan);
  assert_non_null (strstr (err.msg, "is kept for the overlay /not/there.vhd"));
  take_files (&k, true);
  vault_trial_prune_well (k.t, &keep_one, &result);
  assert_false (has_name (k.t, "files/", k.run.folder));
  vault_trial_check_clean (k.t);
  keeper_free (&k);
}

/* One operation fails, is done and not answered, or is the last one before a
 * kill: either the file was told that it is kept, and it is, or the vault can
 * be pruned as ever.
 */
static bool
try_keep_with (const struct store_fault *fault)
{
  struct store *faulty;
  struct vault *vault;
  struct keeper k;
  bool failed, done;

  keeper_init (&k, 63);
  faulty = store_faulty_new (k.store);
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, NULL), 0);
  store_faulty_set (faulty, fault);
  failed = keep_put (vault, &k.run, "/not/there.vhd", NULL, NULL) < 0;
  done = store_faulty_count (faulty) < fault->at;
  vault_close (vault);
  store_close (faulty);
  store_model_advance (k.t->model, LEASE_TTL + 10);
  vault_trial_prune_well (k.t, &keep_one, NULL);
  if (!failed)
    assert_true (has_name (k.t, "files/", k.run.folder));
  assert_false (done && failed);
  vault_trial_verify (k.t);
  keeper_free (&k);
  return done;
}

static void
test_keep_fails (void **state)
{
  static const enum store_fault_kind kinds[] = {
    STORE_FAULT_ONCE, STORE_FAULT_LOST, STORE_FAULT_KILLED,
  };

  (void) state;
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    struct store_fault fault = {
      .kind = kinds[i], .ops = STORE_OP_ALL, .code = -EIO,
    };

    do
      ++fault.at;
    while (!try_keep_with (&fault));
    assert_true (fault.at > 15);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_keep),
    cmocka_unit_test (test_keep_after_plan),
    cmocka_unit_test (test_keep_and_mark),
    cmocka_unit_test (test_keep_goes_as_another_comes),
    cmocka_unit_test (test_keep_without_lease),
    cmocka_unit_test (test_keep_of_what_went),
    cmocka_unit_test (test_keep_fails),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
