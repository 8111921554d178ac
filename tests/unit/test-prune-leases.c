/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Prunes of a vault in which others are at work, or were: backups, readers,
 * other prunes.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/repo/reader-lease.h"
#include "tests/support/prune-trial.h"
#include "tests/support/store-faulty.h"

/*--- Leases -----------------------------------------------------------------*/

/* What a reader has on its lease stays as a whole, and goes after that. */
static void
test_leased (void **state)
{
  struct vault_trial *t = trial_with (10, 4);
  struct store *store = vault_trial_store (t, 0);
  struct lease_hold *hold = hold_lease (store, VAULT_NAME_READ,
                                        t->versions[1].run);
  struct prune_result result;
  struct generation_caches caches;
  struct vault *vault;
  struct vault_view *view;
  struct vault_opened opened;
  static uint8_t buf[TRIAL_DISK_SIZE];
  size_t i = 0;

  (void) state;
  vault_trial_prune_well (t, &keep_two, &result);
  assert_true (result.nr_in_use > 0);
  assert_int_equal (generation_caches_init (&caches, 0, NULL), 0);
  assert_int_equal (vault_open (store, 0, &vault, NULL, NULL), 0);
  assert_int_equal (vault_view_new (vault, &caches, &view, NULL), 0);
  while (memcmp (vault_view_runs (view)->ptr[i].run, t->versions[1].run,
                 UUID_SIZE) != 0)
    ++i;
  assert_int_equal (vault_view_open (view, i, true, &opened, NULL, NULL), 0);
  assert_int_equal (generation_pread (opened.gen, buf, TRIAL_DISK_SIZE, 0,
                                      NULL), 0);
  assert_memory_equal (buf, t->versions[1].bytes, TRIAL_DISK_SIZE);
  vault_opened_close (&opened);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
  assert_int_equal (lease_leave (hold, NULL), 0);
  lease_free (hold);
  vault_trial_prune_well (t, &keep_two, &result);
  assert_true (result.deleted.bytes > 0);
  assert_int_equal (vault_trial_check (t), 3);
  store_close (store);
  vault_trial_free (t);
}

/* One who is dead hinders for as long as that is not known. */
static void
test_lease_expires (void **state)
{
  struct vault_trial *t = trial_with (11, 4);
  struct store *store = vault_trial_store (t, 0);
  struct lease_hold *hold = hold_lease (store, VAULT_NAME_READ,
                                        t->versions[1].run);
  struct prune_result result;

  (void) state;
  store_model_advance (t->model, LEASE_TTL + 10);
  vault_trial_prune_well (t, &keep_two, &result);
  assert_int_equal (lease_renew (hold, NULL), -ENOENT);
  lease_free (hold);
  assert_int_equal (vault_trial_check (t), 3);
  store_close (store);
  vault_trial_free (t);
}

static void
test_another_prune (void **state)
{
  struct vault_trial *t = trial_with (12, 4);
  struct store *store = vault_trial_store (t, 0);
  struct lease_hold *hold = hold_lease (store, VAULT_NAME_PRUNE, NULL);

  (void) state;
  assert_prune_refused (t, &keep_two, -EBUSY, "another prune");
  assert_int_equal (lease_leave (hold, NULL), 0);
  lease_free (hold);
  vault_trial_prune_well (t, &keep_two, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  store_close (store);
  vault_trial_free (t);
}

/* A lease that is not understood might name anything. */
static void
test_lease_unclear (void **state)
{
  struct vault_trial *t = trial_with (13, 4);
  struct store *store = vault_trial_store (t, 0);
  char folder[STORE_PATH_SIZE], path[STORE_PATH_SIZE + 16];
  char name[VAULT_NAME_SIZE];
  uint8_t uuid[UUID_SIZE] = { 1 };

  (void) state;
  snprintf (folder, sizeof folder, "partial/%s",
            vault_name_work (name, VAULT_NAME_READ, uuid, false));
  snprintf (path, sizeof path, "%s/lease.json", folder);
  assert_int_equal (store_make_folder (store, folder, NULL), 0);
  assert_int_equal (store_put (store, path, "{\"nbi-lease\": 2}", 16, NULL),
                    0);
  assert_prune_refused (t, &keep_two, -ENOTSUP, "NBI-134");
  store_model_advance (t->model, 86400 + 10);
  vault_trial_prune_well (t, &keep_two, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  store_close (store);
  vault_trial_free (t);
}

/* A backup of disk 2 that is killed when it has a file; a lease later. */
static void
interrupt_backup (struct vault_trial *t)
{
  struct store *store = vault_trial_store (t, 0);
  struct store *faulty = store_faulty_new (store);
  struct store_fault fault = {
    .kind = STORE_FAULT_KILLED, .ops = STORE_OP_FLUSH_FOLDER, .code = -EIO,
  };
  struct vault_backup_result result;

  do {
    ++fault.at;
    store_faulty_set (faulty, &fault);
    assert_int_not_equal (vault_trial_back_up (t, faulty, 2, &result, NULL), 0);
    store_model_advance (t->model, LEASE_TTL + 10);
  }
  while (!has_name (t, "partial/backup-", ".nbi"));
  store_close (faulty);
  store_close (store);
}

/* A backup that was interrupted is kept for the next one, but not when there is
 * one already, nor for ever.
 */
static void
test_interrupted (void **state)
{
  for (int later = 0; later < 2; ++later) {
    struct vault_trial *t = trial_with (14, 1);

    (void) state;
    interrupt_backup (t);
    vault_trial_prune_well (t, &keep_two, NULL);
    assert_false (has_name (t, "partial/backup-", ".nbi"));
    assert_true (has_name (t, "broken/backup-", ".nbi"));
    if (later) {
      vault_trial_back_up_well (t, 2, NULL);
      store_model_advance (t->model, LEASE_DAY + 10);
    }
    else
      store_model_advance (t->model, 31 * LEASE_DAY);
    vault_trial_prune_well (t, &keep_two, NULL);
    assert_int_equal (vault_trial_check (t), 2 + later);
    vault_trial_check_clean (t);
    vault_trial_free (t);
  }
}

/*--- Readers ----------------------------------------------------------------*/

/* Until there is such a name, or none.  It is up to a thread. */
static void
wait_for_name (struct vault_trial *t, const char *front, bool there)
{
  const struct timespec pause = { 0, 1000000 };

  for (int i = 0; i < 10000; ++i) {
    if (has_name (t, front, VAULT_LEASE) == there)
      return;
    nanosleep (&pause, NULL);
  }
  fail_msg ("%s is %s", front, there ? "not there" : "there");
}

/* What a reader reads stays until it ends; what was dropped before it came is
 * no longer held.
 */
static void
test_reader (void **state)
{
  struct vault_trial *t = trial_with (40, 3);
  struct store *store = vault_trial_store (t, 0);
  struct reader_lease *lease;
  struct prune_result result;
  struct vault_run run;
  struct vault *vault;

  (void) state;
  /* Nothing of it is needed by the others. */
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  assert_int_equal (vault_open (store, 0, &vault, NULL, NULL), 0);
  find_run (vault, t->versions[3].run, &run);
  assert_int_equal (reader_lease_start (vault, &run, 0, 1000, &lease, NULL), 0);
  wait_for_name (t, "partial/read-", true);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_true (has_name (t, "files/", run.folder));
  vault_trial_prune_well (t, &keep_one, &result);
  assert_true (has_name (t, "files/", run.folder));
  reader_lease_end (lease);
  wait_for_name (t, "partial/read-", false);
  wait_for_name (t, "broken/read-", false);

  assert_int_equal (reader_lease_start (vault, &run, 0, 1000, &lease, NULL), 0);
  reader_lease_end (lease);
  wait_for_name (t, "partial/read-", false);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.nr_in_use, 0);
  assert_false (has_name (t, "files/", run.folder));
  assert_int_equal (vault_trial_check (t), 2);
  vault_trial_check_clean (t);

  /* It went: nobody holds it. */
  assert_int_equal (reader_lease_start (vault, &run, 0, 1000, &lease, NULL), 0);
  wait_for_name (t, "partial/read-", false);
  reader_lease_end (lease);
  /* One who reads for a moment has none. */
  assert_int_equal (reader_lease_start (vault, &run, 1000, 1000, &lease,
                                        NULL), 0);
  reader_lease_end (lease);
  vault_trial_check_clean (t);
  vault_close (vault);
  store_close (store);
  vault_trial_free (t);
}

/* What hinders it once need not do so a minute later. */
static void
test_reader_again (void **state)
{
  const struct store_fault fault = {
    .kind = STORE_FAULT_ONCE, .ops = STORE_OP_MAKE_FOLDER, .at = 1,
    .code = -EIO,
  };
  struct vault_trial *t = trial_with (41, 2);
  struct store *store = vault_trial_store (t, 0);
  struct store *faulty = store_faulty_new (store);
  struct reader_lease *lease;
  struct vault_run run;
  struct vault *vault;

  (void) state;
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, NULL), 0);
  find_run (vault, t->versions[0].run, &run);
  store_faulty_set (faulty, &fault);
  assert_int_equal (reader_lease_start (vault, &run, 0, 1, &lease, NULL), 0);
  assert_int_equal (reader_lease_wait (lease, NULL), -EIO);
  wait_for_name (t, "partial/read-", true);
  reader_lease_end (lease);
  vault_trial_check_clean (t);
  vault_close (vault);
  store_close (faulty);
  store_close (store);
  vault_trial_free (t);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_leased),
    cmocka_unit_test (test_lease_expires),
    cmocka_unit_test (test_another_prune),
    cmocka_unit_test (test_lease_unclear),
    cmocka_unit_test (test_interrupted),
    cmocka_unit_test (test_reader),
    cmocka_unit_test (test_reader_again),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
