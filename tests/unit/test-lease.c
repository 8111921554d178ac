/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Leases (docs/NBI.md §14 B1 to B3, §15): taken so that no crash leaves half of
 * one, kept alive, and judged by others in each of the cases.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
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
#include "tests/support/store-faulty.h"
#include "tests/support/store-model.h"

#define A "00112233445566778899aabbccddeeff"
#define A_DASHES "00112233-4455-6677-8899-aabbccddeeff"
#define LEASE_A "partial/backup-" A

static const uint8_t uuid[UUID_SIZE] = {
  0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
};
static const uint8_t base[UUID_SIZE] = { 1, 2, 3 };

static struct store_model *model;
static struct store *store;     /* not on this machine */
static struct err err;

static void
make_folders (void)
{
  assert_int_equal (store_make_folder (store, "partial", &err), 0);
  assert_int_equal (store_make_folder (store, "broken", &err), 0);
  assert_int_equal (store_make_folder (store, "files", &err), 0);
  assert_int_equal (store_flush_folder (store, "", &err), 0);
}

static int
setup (void **state)
{
  (void) state;
  model = store_model_new (1);
  store = store_model_client (model, 0, false);
  make_folders ();
  return 0;
}

static int
teardown (void **state)
{
  (void) state;
  store_close (store);
  store_model_free (model);
  return 0;
}

static void
assert_names (const char *expected)
{
  char *names = store_model_names (model);

  assert_string_equal (names, expected);
  free (names);
}

static struct lease
new_lease (struct store *s, enum vault_name_kind kind)
{
  struct lease lease;

  assert_int_equal (lease_init (s, kind, uuid, "disk", &lease, &err), 0);
  assert_int_equal (lease_add (&lease, base, &err), 0);
  return lease;
}

static int
take (struct store *s, unsigned flags, struct lease_hold **hold)
{
  struct lease lease = new_lease (s, VAULT_NAME_BACKUP);
  int r = lease_take (s, &lease, flags, hold, &err);

  lease_destroy (&lease);
  return r;
}

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

#define HEAD "{\"nbi-lease\": 1, \"kind\": \"backup\", \"uuid\": \"" A_DASHES  \
  "\", \"name\": \"d\", \"generations\": []"
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

/*--- Judging others' --------------------------------------------------------*/

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
    TEST (a_thread_renews_it_each_minute),
    TEST (a_thread_ends_when_it_is_told_to),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
