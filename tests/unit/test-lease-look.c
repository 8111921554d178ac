/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Leases (docs/NBI.md §15), judged by others in each of the cases. */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/repo/lease-look.h"
#include "tests/support/lease-trial.h"
#include "tests/support/store-faulty.h"

static struct lease_hold *own;

static void
take_own (void)
{
  static const uint8_t mine[UUID_SIZE] = { 9 };
  struct lease lease;

  assert_int_equal (lease_init (store, VAULT_NAME_PRUNE, mine, NULL, &lease,
                                &err), 0);
  assert_int_equal (lease_take (store, &lease, 0, &own, &err), 0);
  lease_destroy (&lease);
}

/* What becomes of the only lease there is, besides the own one. */
static enum lease_state
look (uint64_t *seconds)
{
  CLEANUP_LEASE_LIST struct lease_list list;
  uint64_t start = repo_clock_now (store_clock (store));

  assert_int_equal (lease_look (own, store, NULL, &list, &err), 0);
  assert_int_equal (list.len, 1);
  *seconds = (repo_clock_now (store_clock (store)) - start) / REPO_SECOND;
  return list.ptr[0].state;
}

static void
assert_look (enum lease_state expected, uint64_t after)
{
  uint64_t seconds;

  assert_int_equal (look (&seconds), expected);
  assert_int_equal (seconds, after);
}

static void
who_was_alive_not_long_ago_is_at_work (void **state)
{
  struct lease_hold *hold;

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  take_own ();
  assert_look (LEASE_AT_WORK, 0);
  store_model_advance (model, 600);
  assert_look (LEASE_AT_WORK, 0);
  store_model_advance (model, 1);
  assert_look (LEASE_EXPIRED, 120);
  lease_free (own);
  lease_free (hold);
}

static struct lease_hold *sleeper;

static void
sleeper_wakes (void *opaque)
{
  unsigned *times = opaque;

  if (++*times == 2)
    assert_int_equal (lease_renew (sleeper, &err), 0);
}

static void
who_wakes_while_watched_is_at_work (void **state)
{
  unsigned times = 0;

  (void) state;
  assert_int_equal (take (store, 0, &sleeper), 0);
  take_own ();
  store_model_advance (model, 10000);
  store_model_on_sleep (model, sleeper_wakes, &times);
  assert_look (LEASE_AT_WORK, 120);
  assert_int_equal (times, 2);
  lease_free (own);
  lease_free (sleeper);
}

/* Its clock is wrong, but it lives. */
static void
sleeper_writes_an_old_time (void *opaque)
{
  sleeper_wakes (opaque);
  store_model_set_time (model, LEASE_A "/alive", 1000 + *(unsigned *) opaque);
}

static void
who_writes_times_of_long_ago_is_at_work (void **state)
{
  unsigned times = 0;

  (void) state;
  assert_int_equal (take (store, 0, &sleeper), 0);
  take_own ();
  store_model_set_time (model, LEASE_A "/alive", 1000);
  store_model_on_sleep (model, sleeper_writes_an_old_time, &times);
  assert_look (LEASE_AT_WORK, 60);
  lease_free (own);
  lease_free (sleeper);
}

static void
the_lag_is_watched_too (void **state)
{
  struct lease_hold *hold;

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  assert_int_equal (store_set_lag (store, 30, &err), 0);
  store_model_advance (model, 1000);
  take_own ();
  assert_look (LEASE_EXPIRED, 150);
  lease_free (own);
  lease_free (hold);
}

static void
a_time_in_the_future_expires_after_its_ttl (void **state)
{
  struct lease_hold *hold;
  int64_t now = store_model_time (model);

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  take_own ();
  store_model_set_time (model, LEASE_A "/alive", now + 600);
  assert_look (LEASE_AT_WORK, 0);
  store_model_set_time (model, LEASE_A "/alive", INT64_MAX);
  assert_look (LEASE_EXPIRED, 600);
  store_model_set_time (model, LEASE_A "/alive", INT64_MIN);
  assert_look (LEASE_EXPIRED, 120);
  /* The own lease lived meanwhile. */
  assert_in_range (store_model_time (model) - lease_time (own), 0, 60);
  lease_free (own);
  lease_free (hold);
}

static void
without_alive_the_lease_s_time_counts_then_the_folder_s (void **state)
{
  struct lease_hold *hold;

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  take_own ();
  store_model_advance (model, 10000);
  assert_int_equal (store_delete (store, LEASE_A "/alive", &err), 0);
  assert_look (LEASE_EXPIRED, 120);
  store_model_set_time (model, LEASE_A "/lease.json",
                        store_model_time (model));
  assert_look (LEASE_AT_WORK, 0);
  lease_free (own);
  lease_free (hold);
}

/* A process that has ended, as the kernel says it. */
static void
who_has_ended_on_this_machine_is_expired_at_once (void **state)
{
  struct store *local = store_model_client (model, 0, true);
  struct lease lease = new_lease (local, VAULT_NAME_BACKUP);
  struct lease_owner *o = &lease.owner;
  pid_t pid;

  (void) state;
  assert_false (lease_owner_has_ended (o));
  ++o->pid_start;
  assert_true (lease_owner_has_ended (o));
  o->pid_start = 0;
  assert_false (lease_owner_has_ended (o));
  ++o->pidns;                   /* in another namespace: not known */
  assert_false (lease_owner_has_ended (o));
  pid = fork ();
  if (pid == 0)
    _exit (0);
  assert_int_equal (waitid (P_PID, (id_t) pid, NULL, WEXITED | WNOWAIT), 0);
  o->pid = (uint64_t) pid;
  --o->pidns;                   /* nobody has waited for it yet */
  assert_true (lease_owner_has_ended (o));
  ++o->pidns;
  assert_int_equal (waitpid (pid, NULL, 0), pid);
  assert_false (lease_owner_has_ended (o));
  --o->pidns;
  assert_true (lease_owner_has_ended (o));
  o->boot[0] ^= 1;              /* before a reboot */
  o->pid = (uint64_t) getpid ();
  assert_true (lease_owner_has_ended (o));
  o->boot[0] = '\0';            /* not known */
  assert_false (lease_owner_has_ended (o));
  lease_destroy (&lease);
  store_close (local);
}

static void
processes_say_something_on_local_file_systems_only (void **state)
{
  struct store *local = store_model_client (model, 0, true), *other = store;
  struct lease lease = new_lease (local, VAULT_NAME_BACKUP);
  struct lease_hold *hold;

  (void) state;
  lease.owner.boot[0] ^= 1;
  assert_int_equal (lease_take (local, &lease, 0, &hold, &err), 0);
  take_own ();
  assert_look (LEASE_AT_WORK, 0);
  store = local;
  assert_look (LEASE_EXPIRED, 0);
  store = other;
  lease_free (own);
  lease_free (hold);
  lease_destroy (&lease);
  store_close (local);
}

/* NBI-134 */
static void
what_is_not_understood_expires_after_a_day (void **state)
{
  static const char *const texts[] = { "", "{}", HEAD ", \"ttl\": 5}", NULL };

  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    CLEANUP_LEASE_LIST struct lease_list list;

    teardown (state);
    setup (state);
    take_own ();
    assert_int_equal (store_make_folder (store, LEASE_A, &err), 0);
    if (texts[i])
      assert_int_equal (store_put (store, LEASE_A "/lease.json", texts[i],
                                   strlen (texts[i]), &err), 0);
    assert_int_equal (lease_look (own, store, NULL, &list, &err), 0);
    assert_int_equal (list.len, 1);
    assert_false (list.ptr[0].understood);
    assert_true (strlen (list.ptr[0].why) > 5);
    assert_int_equal (list.ptr[0].state, LEASE_UNCLEAR);
    store_model_advance (model, 86400);
    assert_look (LEASE_UNCLEAR, 0);
    store_model_advance (model, 1);
    assert_look (LEASE_EXPIRED, 0);
    lease_free (own);
  }
}

static void
what_can_not_be_read_for_the_moment_is_an_error (void **state)
{
  struct store *faulty = store_faulty_new (store);
  struct lease_hold *hold;
  unsigned total;

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  store_model_advance (model, 1000);
  for (unsigned n = 1;; ++n) {
    CLEANUP_LEASE_LIST struct lease_list list;
    struct store_fault fault = { STORE_FAULT_PART, STORE_OP_ALL, n, -EIO };
    int r;

    store_faulty_set (faulty, &fault);
    r = lease_look (NULL, faulty, NULL, &list, &err);
    total = store_faulty_count (faulty);
    if (r == 0) {
      assert_int_equal (list.ptr[0].state, LEASE_EXPIRED);
      break;
    }
    assert_int_equal (r, -EIO);
  }
  assert_true (total > 10);
  lease_free (hold);
  store_close (faulty);
}

/* Between the two listings one comes, and another one goes. */
static void
come_and_go (void *opaque, unsigned op, const char *name)
{
  unsigned *listings = opaque;

  (void) name;
  if (op != STORE_OP_LIST || ++*listings != 2)
    return;
  assert_int_equal (lease_break (store, "backup-" A, &err), 0);
  take_own ();
}

static void
a_listing_that_misses_one_is_made_up_by_another (void **state)
{
  CLEANUP_LEASE_LIST struct lease_list list;
  struct store *faulty = store_faulty_new (store);
  struct lease_hold *hold;
  unsigned listings = 0;

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  store_faulty_watch (faulty, come_and_go, &listings);
  assert_int_equal (lease_look (NULL, faulty, NULL, &list, &err), 0);
  assert_int_equal (listings, 2);
  assert_int_equal (list.len, 2);
  assert_string_equal (list.ptr[0].name, "backup-" A);
  assert_int_equal (list.ptr[0].state, LEASE_GONE);
  assert_int_equal (list.ptr[1].kind, VAULT_NAME_PRUNE);
  assert_int_equal (list.ptr[1].state, LEASE_AT_WORK);
  lease_free (own);
  lease_free (hold);
  store_close (faulty);
}

/* NBI-136 */
static void
a_thousand_folders_are_looked_at_and_no_more (void **state)
{
  CLEANUP_LEASE_LIST struct lease_list list;

  (void) state;
  for (int i = 0; i < LEASE_FOLDERS_MAX; ++i) {
    char name[64];

    snprintf (name, sizeof name, "partial/x%d", i);
    assert_int_equal (store_make_folder (store, name, &err), 0);
  }
  assert_int_equal (store_put (store, "partial/file", "", 0, &err), 0);
  assert_int_equal (lease_look (NULL, store, NULL, &list, &err), 0);
  assert_int_equal (list.len, 0);
  lease_list_free (&list);
  assert_int_equal (store_make_folder (store, "partial/y", &err), 0);
  assert_int_equal (lease_look (NULL, store, NULL, &list, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "(NBI-136)"));
}

static void
folders_that_are_no_lease_s_do_not_count (void **state)
{
  CLEANUP_LEASE_LIST struct lease_list list;
  struct job job = JOB_INIT;

  (void) state;
  assert_int_equal (store_make_folder (store, LEASE_A ".new", &err), 0);
  assert_int_equal (store_make_folder (store, "partial/.trial-x", &err), 0);
  assert_int_equal (store_make_folder (store, "partial/other", &err), 0);
  assert_int_equal (store_put (store, LEASE_A, "a file", 6, &err), 0);
  take_own ();
  assert_int_equal (lease_look (own, store, &job, &list, &err), 0);
  assert_int_equal (list.len, 0);
  lease_list_free (&list);
  job_cancel (&job);
  assert_int_equal (lease_look (own, store, &job, &list, &err), -ECANCELED);
  lease_free (own);
}

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (who_was_alive_not_long_ago_is_at_work),
    TEST (who_wakes_while_watched_is_at_work),
    TEST (who_writes_times_of_long_ago_is_at_work),
    TEST (the_lag_is_watched_too),
    TEST (a_time_in_the_future_expires_after_its_ttl),
    TEST (without_alive_the_lease_s_time_counts_then_the_folder_s),
    TEST (who_has_ended_on_this_machine_is_expired_at_once),
    TEST (processes_say_something_on_local_file_systems_only),
    TEST (what_is_not_understood_expires_after_a_day),
    TEST (what_can_not_be_read_for_the_moment_is_an_error),
    TEST (a_listing_that_misses_one_is_made_up_by_another),
    TEST (a_thousand_folders_are_looked_at_and_no_more),
    TEST (folders_that_are_no_lease_s_do_not_count),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
