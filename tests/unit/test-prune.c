/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Prunes: what goes, what stays, what hinders one.  What holds generations
 * has tests of its own (-leases, -keeps), and so have files that are written
 * anew (-editions), and prunes that are killed or fail (-crashes).
 */

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
#include "tests/support/prune-trial.h"

/*--- What goes --------------------------------------------------------------*/

static void
test_drops (void **state)
{
  struct vault_trial *t = trial_with (1, 5);
  struct store *store = vault_trial_store (t, 0);
  uint64_t before = vault_trial_bytes (t, "files/");
  struct prune_result result;
  struct prune_plan plan;
  struct err err = ERR_INIT;

  (void) state;
  if (vault_trial_prune (t, store, &keep_two, &plan, &result, &err) < 0)
    fail_msg ("%s", err.msg);
  store_close (store);
  assert_int_equal (plan.generations.len, 6);
  assert_int_equal (plan.nr_dropped, 3);
  assert_int_equal (plan.nr_marked, 0);
  assert_int_equal (plan.all.bytes, before);
  assert_true (plan.dead.bytes > 0 && plan.dead.bytes < before);
  assert_int_equal (plan.dead.nr, result.deleted.nr);
  assert_int_equal (plan.dead.bytes, result.deleted.bytes);
  assert_int_equal (vault_trial_bytes (t, "files/"),
                    before - result.deleted.bytes);
  assert_int_equal (vault_trial_check (t), 3);
  prune_plan_free (&plan);

  /* What is kept in files of what was dropped stays, with the marks; and the
   * next prune has nothing to do.
   */
  vault_trial_prune_well (t, &keep_two, &result);
  assert_int_equal (result.deleted.nr, 0);
  assert_int_equal (vault_trial_check (t), 3);
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_two, &result);
  assert_int_equal (result.nr_in_use, 0);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_check_clean (t);
  vault_trial_free (t);
}

static void
test_some_disks (void **state)
{
  static const char *const disks[] = { "one" }, *const others[] = { "two" };
  struct prune_options options = {
    .retention = { { [RETENTION_LAST] = 1 } }, .disks = disks, .nr_disks = 1,
  };
  struct vault_trial *t = trial_with (2, 3);

  (void) state;
  vault_trial_back_up_well (t, 1, NULL);
  vault_trial_back_up_well (t, 1, NULL);
  vault_trial_prune_well (t, &options, NULL);
  assert_int_equal (vault_trial_check (t), 1 + 3);
  options.disks = others;
  assert_prune_refused (t, &options, -ENOENT, "no generation of ‘two’");
  options.disks = NULL;
  vault_trial_prune_well (t, &options, NULL);
  assert_int_equal (vault_trial_check (t), 1 + 1);
  vault_trial_free (t);
}

/* No rule: what is marked already goes, and nothing else. */
static void
test_no_rules (void **state)
{
  const struct prune_options options = { .drop_damaged = false };
  struct vault_trial *t = trial_with (3, 3);
  struct prune_result result;

  (void) state;
  vault_trial_prune_well (t, &options, &result);
  assert_int_equal (result.deleted.nr, 0);
  assert_int_equal (vault_trial_check (t), 4);
  vault_trial_free (t);
}

/*--- What hinders it --------------------------------------------------------*/

/* The trailers of the file that the newest generation ends in. */
static void
test_damaged_root (void **state)
{
  struct prune_options options = keep_two;
  struct vault_trial *t = trial_with (4, 4);
  char root[STORE_PATH_SIZE];
  struct prune_result result;

  (void) state;
  find_name (t, ".root.nbi", root, sizeof root);
  damage (t, root, SIZE_MAX - 1);
  t->versions[t->nr - 1].may_go = true;
  assert_int_equal (vault_trial_check (t), 5);          /* the copy is used */
  vault_trial_prune_well (t, &options, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_free (t);

  t = trial_with (4, 4);
  find_name (t, ".root.nbi", root, sizeof root);
  {
    struct store *store = vault_trial_store (t, 0);

    assert_int_equal (store_delete (store, root, NULL), 0);
    store_close (store);
  }
  assert_prune_refused (t, &options, -EBADMSG, "NBI-133");
  options.drop_damaged = true;
  t->versions[t->nr - 1].may_go = true;
  vault_trial_prune_well (t, &options, &result);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_free (t);
}

/* Each file of a generation that stays: it is not there. */
static void
test_missing_files (void **state)
{
  struct prune_options options = keep_two;
  struct vault_trial *t = trial_with (5, 4);
  CLEANUP_FREE char *names = store_model_names (t->model);
  char *rest = NULL;
  unsigned refused = 0;

  (void) state;
  vault_trial_free (t);
  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest)) {
    struct store *store;
    struct err err = ERR_INIT;
    uint64_t before;
    size_t len = strlen (name);
    int r;

    if (strcmp (name + len - 4, ".nbi") != 0)
      continue;
    /* UUIDs are new in each trial: its place among the names is the same. */
    t = trial_with (5, 4);
    {
      CLEANUP_FREE char *now = store_model_names (t->model);
      char *left = NULL, *twin = strtok_r (now, "\n", &left);

      for (char *p = names; p < name; p += strlen (p) + 1)
        twin = strtok_r (NULL, "\n", &left);
      store = vault_trial_store (t, 0);
      assert_int_equal (store_delete (store, twin, NULL), 0);
      store_close (store);
    }
    before = vault_trial_bytes (t, "files/");
    r = try_prune (t, &options, &err);
    /* Nothing needs it, or nothing is deleted. */
    if (r < 0) {
      assert_int_equal (r, -EBADMSG);
      assert_int_equal (vault_trial_bytes (t, "files/"), before);
      ++refused;
    }
    else
      vault_trial_check (t);
    vault_trial_free (t);
  }
  print_message ("%u files were missed\n", refused);
  assert_true (refused > 3);
}

static void
test_names (void **state)
{
  struct vault_trial *t = trial_with (6, 3);
  struct store *store = vault_trial_store (t, 0);
  char run[STORE_PATH_SIZE], file[STORE_PATH_SIZE], to[STORE_PATH_SIZE + 32];

  (void) state;
  find_name (t, ".root.nbi", run, sizeof run);
  *strrchr (run, '/') = '\0';
  snprintf (to, sizeof to, "%s.bak", run);
  assert_int_equal (store_rename (store, run, to, NULL), 0);
  assert_prune_refused (t, &keep_two, -EBADMSG, "called like no generation");
  assert_int_equal (store_rename (store, to, run, NULL), 0);

  /* A file that is called like a run. */
  snprintf (file, sizeof file, "%s", run);
  file[strlen (file) - 1] = file[strlen (file) - 1] == '0' ? '1' : '0';
  assert_int_equal (store_put (store, file, "", 0, NULL), 0);
  assert_prune_refused (t, &keep_two, -EBADMSG, "is no folder");
  assert_int_equal (store_delete (store, file, NULL), 0);

  /* A folder without anything in it is a generation that is damaged. */
  assert_int_equal (store_make_folder (store, file, NULL), 0);
  assert_prune_refused (t, &keep_two, -EBADMSG, "NBI-133");
  assert_int_equal (store_delete_folder (store, file, NULL), 0);

  /* These are nobody's. */
  assert_int_equal (store_make_folder (store, "files/lost", NULL), 0);
  assert_int_equal (store_put (store, "files/lost/x", "", 0, NULL), 0);
  assert_int_equal (store_make_folder (store, "files/.hidden", NULL), 0);
  vault_trial_prune_well (t, &keep_two, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  store_close (store);
  vault_trial_free (t);
}

/* Whatever else is in the folder of a run that goes stays there. */
static void
test_others_in_folder (void **state)
{
  struct vault_trial *t = trial_with (7, 1);
  struct store *store = vault_trial_store (t, 0);
  char note[STORE_PATH_SIZE], run[STORE_PATH_SIZE];
  struct prune_result result;
  struct store_stat st;

  (void) state;
  find_name (t, ".root.nbi", run, sizeof run);
  *strrchr (run, '/') = '\0';
  snprintf (note, sizeof note, "%.*s/note.txt", STORE_PATH_SIZE - 16, run);
  assert_int_equal (store_put (store, note, "keep me", 7, NULL), 0);
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_two, &result);
  assert_int_equal (result.nr_generations, 0);
  assert_int_equal (result.nr_in_use, 1);
  assert_true (result.deleted.nr > 0);
  assert_int_equal (store_stat (store, note, &st, NULL), 0);
  assert_int_equal (vault_trial_check (t), 3);
  store_close (store);
  vault_trial_free (t);
}

static void
test_future (void **state)
{
  struct prune_options options = keep_two;
  struct vault_trial *t = trial_with (8, 3);

  (void) state;
  store_model_advance (t->model, 3 * 86400);
  vault_trial_back_up_well (t, 0, NULL);
  store_model_set_back (t->model, 86400 + 10);
  assert_prune_refused (t, &options, -EINVAL, "more than a day later");
  options.trust_times = true;
  vault_trial_prune_well (t, &options, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_free (t);
}

static void
test_locked (void **state)
{
  struct vault_trial *t = trial_with (9, 1);
  struct store *store = vault_trial_store (t, 0);
  char root[STORE_PATH_SIZE], lock[STORE_PATH_SIZE], name[VAULT_NAME_SIZE];
  struct vault_name parsed;
  struct prune_result result;

  (void) state;
  find_name (t, ".root.nbi", root, sizeof root);
  vault_name_parse (strrchr (root, '/') + 1, &parsed);
  vault_name_lock (name, parsed.uuid,
                   (uint64_t) store_model_time (t->model) + 1000000);
  snprintf (lock, sizeof lock, "%.*s/%s", (int) (strrchr (root, '/') - root),
            root, name);
  assert_int_equal (store_put (store, lock, "", 0, NULL), 0);
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_two, &result);
  assert_int_equal (result.nr_in_use, 1);
  assert_true (has_name (t, root, ""));
  store_model_advance (t->model, 1000000);
  vault_trial_prune_well (t, &keep_two, &result);
  assert_int_equal (result.nr_in_use, 0);
  assert_int_equal (result.nr_generations, 1);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_check_clean (t);
  store_close (store);
  vault_trial_free (t);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_drops),
    cmocka_unit_test (test_some_disks),
    cmocka_unit_test (test_no_rules),
    cmocka_unit_test (test_damaged_root),
    cmocka_unit_test (test_missing_files),
    cmocka_unit_test (test_names),
    cmocka_unit_test (test_others_in_folder),
    cmocka_unit_test (test_future),
    cmocka_unit_test (test_locked),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
