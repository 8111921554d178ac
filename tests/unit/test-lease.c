/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Leases (docs/NBI.md §14 B1 to B3, §15): taken so that no crash leaves half of
 * one, and kept alive.  How others judge them: test-lease-look.c.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/repo/lease-look.h"
#include "tests/support/lease-trial.h"
#include "tests/support/store-faulty.h"

/*--- What it says -----------------------------------------------------------*/

static void
a_lease_is_read_as_it_was_written (void **state)
{
  struct store *local = store_model_client (model, 0, true);
  struct lease a = new_lease (local, VAULT_NAME_BACKUP), b;
  char *json;
  size_t len;

  (void) state;
  assert_int_equal (a.owner.pid, getpid ());
  assert_true (a.owner.pidns > 0 && a.owner.pid_start > 0);
  assert_int_equal (strlen (a.owner.boot), 36);
  assert_int_equal (lease_encode (&a, &json, &len, &err), 0);
  assert_int_equal (lease_decode (json, len, VAULT_NAME_BACKUP, uuid, &b,
                                  &err), 0);
  assert_int_equal (b.kind, a.kind);
  assert_memory_equal (b.uuid, uuid, UUID_SIZE);
  assert_string_equal (b.name, "disk");
  assert_int_equal (b.generations.len, 1);
  assert_true (lease_names (&b, base));
  assert_false (lease_names (&b, uuid));
  assert_string_equal (b.owner.host, a.owner.host);
  assert_string_equal (b.owner.boot, a.owner.boot);
  assert_int_equal (b.owner.pid, a.owner.pid);
  assert_int_equal (b.owner.pidns, a.owner.pidns);
  assert_int_equal (b.owner.pid_start, a.owner.pid_start);
  assert_int_equal (b.ttl, 600);
  free (json);
  lease_destroy (&a);
  lease_destroy (&b);

  /* Elsewhere nobody may conclude anything from the boot or the process. */
  a = new_lease (store, VAULT_NAME_READ);
  assert_string_equal (a.owner.boot, "");
  assert_int_equal (a.owner.pid, 0);
  lease_destroy (&a);
  store_close (local);
}

#define TTL ", \"ttl\": 600"

/* NBI-134, NBI-135 with NBI-90 and NBI-91 */
static void
what_is_not_a_lease_is_refused (void **state)
{
  static const struct {
    const char *json, *with;
  } t[] = {
    { "", "(NBI-135)" }, { "[]", "(NBI-135)" }, { "nonsense", "(NBI-135)" },
    { HEAD TTL, "(NBI-135)" }, { HEAD TTL "} x", "(NBI-135)" },
    { HEAD TTL TTL "}", "(NBI-135)" },
    { HEAD TTL ", \"x\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]"
      "]]]]]]]]]]]]}", "(NBI-135)" },
    { HEAD "}", "ttl" }, { HEAD ", \"ttl\": 59}", "ttl" },
    { HEAD ", \"ttl\": 86401}", "ttl" }, { HEAD ", \"ttl\": \"600\"}", "ttl" },
    { HEAD ", \"ttl\": 600.0}", "ttl" }, { HEAD ", \"ttl\": -600}", "ttl" },
    { "{\"nbi-lease\": 2, \"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"name\": \"d\", \"generations\": []" TTL "}", "nbi-lease" },
    { "{\"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"name\": \"d\", \"generations\": []" TTL "}", "nbi-lease" },
    { "{\"nbi-lease\": 1, \"kind\": \"prune\", \"uuid\": \"" A_DASHES "\","
      " \"name\": \"d\", \"generations\": []" TTL "}", "kind" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A "\","
      " \"name\": \"d\", \"generations\": []" TTL "}", "uuid" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\":"
      " \"00112233-4455-6677-8899-AABBCCDDEEFF\","
      " \"name\": \"d\", \"generations\": []" TTL "}", "uuid" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\":"
      " \"10112233-4455-6677-8899-aabbccddeeff\","
      " \"name\": \"d\", \"generations\": []" TTL "}", "uuid" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"generations\": []" TTL "}", "name" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"name\": 1, \"generations\": []" TTL "}", "name" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"name\": \"d\"" TTL "}", "generations" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"name\": \"d\", \"generations\": {}" TTL "}", "generations" },
    { "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES "\","
      " \"name\": \"d\", \"generations\": [\"" A_DASHES "\", 5]" TTL "}",
      "generations" },
    { HEAD TTL ", \"pid\": \"x\"}", "pid" },
    { HEAD TTL ", \"pid\": 9007199254740992}", "pid" },
    { HEAD TTL ", \"pidns\": -1}", "pidns" },
    { HEAD TTL ", \"pid_start\": []}", "pid_start" },
    { HEAD TTL ", \"boot\": 3}", "boot" },
    { HEAD TTL ", \"host\": null}", "host" },
  };
  struct lease lease;

  (void) state;
  assert_int_equal (lease_decode (HEAD TTL "}", strlen (HEAD TTL "}"),
                                  VAULT_NAME_BACKUP, uuid, &lease, &err), 0);
  assert_string_equal (lease.owner.boot, "");
  lease_destroy (&lease);
  for (size_t i = 0; i < sizeof t / sizeof t[0]; ++i) {
    err.msg[0] = '\0';
    assert_int_equal (lease_decode (t[i].json, strlen (t[i].json),
                                    VAULT_NAME_BACKUP, uuid, &lease, &err),
                      -EBADMSG);
    if (strstr (err.msg, t[i].with) == NULL)
      fail_msg ("%s: %s", t[i].json, err.msg);
    assert_non_null (strstr (err.msg, "(NBI-13"));
  }
}

/* NBI-135: counted before it is parsed, so that what is too much need not even
 * be JSON.
 */
static void
what_would_be_too_much_to_parse_is_refused (void **state)
{
  const size_t most = LEASE_SIZE_MAX;
  char *json = malloc (most + 2);
  struct lease lease;

  (void) state;
  memset (json, ' ', most + 1);
  memcpy (json, HEAD TTL "}", strlen (HEAD TTL "}"));
  assert_int_equal (lease_decode (json, most, VAULT_NAME_BACKUP, uuid, &lease,
                                  &err), 0);
  lease_destroy (&lease);
  assert_int_equal (lease_decode (json, most + 1, VAULT_NAME_BACKUP, uuid,
                                  &lease, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "(NBI-135)"));
  for (unsigned n = 65536; n <= 65537; ++n) {
    memset (json, ',', n);
    assert_int_equal (lease_decode (json, n, VAULT_NAME_BACKUP, uuid, &lease,
                                    &err), -EBADMSG);
    assert_int_equal (strstr (err.msg, "no JSON") == NULL, n == 65537);
  }
  free (json);
}

static void
a_lease_that_nobody_could_read_is_not_written (void **state)
{
  struct lease lease = new_lease (store, VAULT_NAME_BACKUP);
  struct lease_hold *hold;
  char *json;
  size_t len;

  (void) state;
  for (unsigned i = 0; i < 30000; ++i)
    assert_int_equal (lease_add (&lease, base, &err), 0);
  assert_int_equal (lease_encode (&lease, &json, &len, &err), -EINVAL);
  assert_int_equal (lease_take (store, &lease, 0, &hold, &err), -EINVAL);
  assert_names ("broken/\nfiles/\npartial/\n");
  lease_destroy (&lease);
}

/*--- Taking it --------------------------------------------------------------*/

static void
a_lease_is_taken_kept_and_left (void **state)
{
  struct lease_hold *hold;
  char *buf;
  size_t len;

  (void) state;
  store_model_advance (model, 5);
  assert_int_equal (take (store, 0, &hold), 0);
  assert_string_equal (lease_folder (hold), LEASE_A);
  assert_names ("broken/\nfiles/\npartial/\n" LEASE_A "/\n"
                LEASE_A "/alive\n" LEASE_A "/lease.json\n");
  assert_int_equal (lease_time (hold), store_model_time (model));
  store_model_advance (model, 60);
  assert_int_equal (lease_renew (hold, &err), 0);
  assert_int_equal (lease_time (hold), store_model_time (model));
  assert_int_equal (store_read_all (store, LEASE_A "/alive", 9, &buf, &len,
                                    &err), 0);
  assert_string_equal (buf, "2\n");
  free (buf);
  assert_int_equal (lease_check (hold, &err), 0);
  assert_int_equal (lease_leave (hold, &err), 0);
  assert_names ("broken/\nbroken/backup-" A "/\nbroken/backup-" A "/alive\n"
                "broken/backup-" A "/lease.json\nfiles/\npartial/\n");
  assert_int_equal (lease_leave (hold, &err), 0);
  lease_free (hold);
}

static void
who_lost_the_folder_is_told_for_ever (void **state)
{
  struct lease_hold *hold;

  (void) state;
  assert_int_equal (take (store, 0, &hold), 0);
  assert_int_equal (lease_break (store, "backup-" A, &err), 0);
  assert_int_equal (lease_break (store, "backup-" A, &err), -ENOENT);
  assert_int_equal (lease_check (hold, &err), 0);
  assert_int_equal (lease_renew (hold, &err), -ENOENT);
  assert_int_equal (lease_check (hold, &err), -ENOENT);
  assert_int_equal (store_rename (store, "broken/backup-" A, LEASE_A, &err),
                    0);
  assert_int_equal (lease_renew (hold, &err), -ENOENT);
  assert_non_null (strstr (err.msg, "took this run for dead"));
  lease_free (hold);
}

/* B1 and B2, and a crash after each step: no lease, or a whole one. */
static void
a_kill_while_it_is_taken_leaves_it_whole_or_not_at_all (void **state)
{
  struct store_fault fault = { STORE_FAULT_KILLED, STORE_OP_ALL, 0, -EIO };
  bool taken = false;
  unsigned whole = 0;

  (void) state;
  for (unsigned n = 1; !taken; ++n) {
    struct store *faulty;
    struct lease_hold *hold;
    unsigned first, last;

    teardown (state);
    setup (state);
    faulty = store_faulty_new (store);
    fault.at = n;
    store_faulty_set (faulty, &fault);
    taken = take (faulty, 0, &hold) == 0;
    if (taken)
      lease_free (hold);
    store_close (faulty);

    /* And then the power is cut: what was reported is kept. */
    store_model_states (model, &first, &last);
    store_model_cut (model, taken || n % 2 ? first : last);
    store_close (store);
    store = store_model_client (model, 0, false);
    if (store_rename (store, LEASE_A, "broken/x", NULL) == 0) {
      struct lease lease;
      char *json;
      size_t len;

      ++whole;
      assert_int_equal (store_read_all (store, "broken/x/lease.json", 9999,
                                        &json, &len, &err), 0);
      assert_int_equal (lease_decode (json, len, VAULT_NAME_BACKUP, uuid,
                                      &lease, &err), 0);
      free (json);
      lease_destroy (&lease);
      assert_int_equal (store_delete (store, "broken/x/alive", &err), 0);
    }
    else
      assert_false (taken);
  }
  assert_true (whole >= 3);
}

/* Nothing is left that anybody has to wait for. */
static void
what_fails_while_it_is_taken_leaves_no_lease (void **state)
{
  static const enum store_fault_kind kinds[] = {
    STORE_FAULT_ONCE, STORE_FAULT_PART, STORE_FAULT_LOST,
  };

  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; ++k)
    for (unsigned n = 1;; ++n) {
      struct store_fault fault = { kinds[k], STORE_OP_ALL, n, -ENOSPC };
      struct store *faulty;
      struct lease_hold *hold;
      struct store_stat st;

      teardown (state);
      setup (state);
      faulty = store_faulty_new (store);
      store_faulty_set (faulty, &fault);
      if (take (faulty, 0, &hold) == 0) {
        assert_true (n > 9);
        lease_free (hold);
        store_close (faulty);
        break;
      }
      assert_int_equal (err.code, -ENOSPC);
      assert_int_equal (store_stat (store, LEASE_A, &st, &err), -ENOENT);
      store_close (faulty);
    }
}

/*--- The thread -------------------------------------------------------------*/

/* A clock that stands still until it is told. */
struct slow_clock {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint64_t now;
  unsigned sleeping;
  bool end;
};

static uint64_t
slow_now (void *opaque)
{
  struct slow_clock *c = opaque;
  uint64_t now;

  pthread_mutex_lock (&c->lock);
  now = c->now;
  pthread_mutex_unlock (&c->lock);
  return now;
}

static int
slow_sleep_until (void *opaque, uint64_t when, struct job *job, struct err *e)
{
  struct slow_clock *c = opaque;

  pthread_mutex_lock (&c->lock);
  ++c->sleeping;
  pthread_cond_broadcast (&c->changed);
  while (c->now < when && !c->end)
    pthread_cond_wait (&c->changed, &c->lock);
  --c->sleeping;
  if (c->end)
    job_cancel (job);
  pthread_mutex_unlock (&c->lock);
  return job_check (job, e);
}

/* Let time go by, until the thread sleeps again. */
static void
slow_advance (struct slow_clock *c, uint64_t seconds)
{
  pthread_mutex_lock (&c->lock);
  while (c->sleeping == 0)
    pthread_cond_wait (&c->changed, &c->lock);
  c->now += seconds * REPO_SECOND;
  pthread_cond_broadcast (&c->changed);
  pthread_mutex_unlock (&c->lock);
}

static void
slow_wait (struct slow_clock *c)
{
  pthread_mutex_lock (&c->lock);
  while (c->sleeping == 0)
    pthread_cond_wait (&c->changed, &c->lock);
  pthread_mutex_unlock (&c->lock);
}

static void
wait_for_alive (const char *text)
{
  for (int i = 0; i < 5000; ++i) {
    char *buf;
    size_t len;
    bool same;

    assert_int_equal (store_read_all (store, LEASE_A "/alive", 9, &buf, &len,
                                      &err), 0);
    same = strcmp (buf, text) == 0;
    free (buf);
    if (same)
      return;
    usleep (1000);
  }
  fail_msg ("alive did not become %s", text);
}

static void
a_thread_renews_it_each_minute (void **state)
{
  struct slow_clock c = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, REPO_SECOND, 0, false,
  };
  const struct repo_clock clock = { slow_now, slow_sleep_until, &c };
  struct lease_hold *hold;

  (void) state;
  store_set_clock (store, &clock);
  assert_int_equal (take (store, LEASE_THREAD, &hold), 0);
  wait_for_alive ("1\n");
  slow_advance (&c, 59);
  slow_wait (&c);
  wait_for_alive ("1\n");
  slow_advance (&c, 1);
  wait_for_alive ("2\n");
  slow_advance (&c, 60);
  wait_for_alive ("3\n");
  /* After a machine slept there is nothing to catch up on. */
  slow_advance (&c, 10000);
  wait_for_alive ("4\n");
  slow_advance (&c, 60);
  wait_for_alive ("5\n");
  pthread_mutex_lock (&c.lock);
  c.end = true;
  pthread_cond_broadcast (&c.changed);
  pthread_mutex_unlock (&c.lock);
  lease_stop (hold);
  assert_int_equal (lease_renew (hold, &err), 0);
  wait_for_alive ("5\n");
  lease_free (hold);
}

static void
a_thread_ends_when_it_is_told_to (void **state)
{
  struct lease_hold *hold;

  (void) state;
  store_set_clock (store, &repo_clock_boottime);
  assert_int_equal (take (store, LEASE_THREAD, &hold), 0);
  assert_int_equal (lease_leave (hold, &err), 0);
  lease_free (hold);
}

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (a_lease_is_read_as_it_was_written),
    TEST (what_is_not_a_lease_is_refused),
    TEST (what_would_be_too_much_to_parse_is_refused),
    TEST (a_lease_that_nobody_could_read_is_not_written),
    TEST (a_lease_is_taken_kept_and_left),
    TEST (who_lost_the_folder_is_told_for_ever),
    TEST (a_kill_while_it_is_taken_leaves_it_whole_or_not_at_all),
    TEST (what_fails_while_it_is_taken_leaves_no_lease),
    TEST (a_thread_renews_it_each_minute),
    TEST (a_thread_ends_when_it_is_told_to),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
