/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Prunes: what goes, what stays, what hinders one; one that is killed or fails
 * at each operation, and a power cut after each; vaults that are backed up to
 * and pruned by lot.  All of it if NBDIMAGE_LONG is set.
 */

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
#include "lib/repo/keep.h"
#include "lib/repo/lease-hold.h"
#include "lib/repo/prune-private.h"
#include "lib/repo/reader-lease.h"
#include "tests/support/counted.h"
#include "tests/support/store-faulty.h"
#include "tests/support/vault-trial.h"

static const struct prune_options keep_two = {
  .retention = { { [RETENTION_LAST] = 2 } },
};

static const struct prune_options keep_one = {
  .retention = { { [RETENTION_LAST] = 1 } },
};

/* A vault with n generations of disk 0, and one of disk 1. */
static struct vault_trial *
trial_with (uint64_t seed, int n)
{
  struct vault_trial *t = vault_trial_new (seed);

  vault_trial_back_up_well (t, 1, NULL);
  for (int i = 0; i < n; ++i) {
    vault_trial_change (t, 0, 2);
    vault_trial_back_up_well (t, 0, NULL);
  }
  return t;
}

/* Its result, for the sake of the message. */
static int
try_prune (struct vault_trial *t, const struct prune_options *options,
           struct err *err)
{
  struct store *store = vault_trial_store (t, 0);
  struct prune_result result;
  int r = vault_trial_prune (t, store, options, NULL, &result, err);

  assert_true (r == 0 || result.deleted.nr == 0);
  store_close (store);
  return r;
}

/* It is refused, with this number and this in the message, and deletes nothing.
 */
static void
assert_prune_refused (struct vault_trial *t,
                      const struct prune_options *options, int code,
                      const char *why)
{
  uint64_t before = vault_trial_bytes (t, "files/");
  struct err err = ERR_INIT;
  int r = try_prune (t, options, &err);

  if (r != code || strstr (err.msg, why) == NULL)
    fail_msg ("expected %d and “%s”, got %d: %s", code, why, r, err.msg);
  assert_int_equal (vault_trial_bytes (t, "files/"), before);
}

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

/* The name of a file of the vault that has `part' in it; the last one. */
static void
find_name (struct vault_trial *t, const char *part, char *found, size_t size)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char *rest = NULL;

  found[0] = '\0';
  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strstr (name, part) != NULL)
      snprintf (found, size, "%s", name);
  assert_int_not_equal (found[0], '\0');
}

/* Is there one that begins so, and has this in it? */
static bool
has_name (struct vault_trial *t, const char *front, const char *part)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char *rest = NULL;

  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strncmp (name, front, strlen (front)) == 0 &&
        strstr (name, part) != NULL)
      return true;
  return false;
}

/* A file of a run: its name ends so. */
static void
find_of_run (struct vault_trial *t, const uint8_t run[UUID_SIZE],
             const char *end, char *found, size_t size)
{
  CLEANUP_FREE char *names = store_model_names (t->model);
  char hex[VAULT_NAME_SIZE], *rest = NULL;

  found[0] = '\0';
  vault_name_adopted (hex, run);
  for (char *name = strtok_r (names, "\n", &rest); name != NULL;
       name = strtok_r (NULL, "\n", &rest))
    if (strstr (name, hex) != NULL && strstr (name, end) != NULL)
      snprintf (found, size, "%s", name);
  assert_int_not_equal (found[0], '\0');
}

/* Turn a byte of a file. */
static void
damage (struct vault_trial *t, const char *name, size_t off)
{
  struct store *store = vault_trial_store (t, 0);
  CLEANUP_FREE char *bytes = NULL;
  size_t len;

  assert_int_equal (store_read_all (store, name, 1 << 20, &bytes, &len, NULL),
                    0);
  bytes[off < len ? off : len - off % len - 1] ^= 1;
  assert_int_equal (store_delete (store, name, NULL), 0);
  assert_int_equal (store_put (store, name, bytes, len, NULL), 0);
  store_close (store);
}

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

/*--- Leases -----------------------------------------------------------------*/

static struct lease_hold *
hold_lease (struct store *store, enum vault_name_kind kind,
            const uint8_t *generation)
{
  CLEANUP_LEASE struct lease lease = LEASE_INIT;
  struct lease_hold *hold;
  uint8_t uuid[UUID_SIZE];

  assert_int_equal (uuid_new (uuid, NULL), 0);
  assert_int_equal (lease_init (store, kind, uuid, NULL, &lease, NULL), 0);
  if (generation != NULL)
    assert_int_equal (lease_add (&lease, generation, NULL), 0);
  assert_int_equal (lease_take (store, &lease, 0, &hold, NULL), 0);
  return hold;
}

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

static void
find_run (struct vault *vault, const uint8_t run[UUID_SIZE],
          struct vault_run *found)
{
  struct vault_runs runs;

  assert_int_equal (vault_list (vault, 0, &runs, NULL), 0);
  for (size_t i = 0; i < runs.len; ++i)
    if (memcmp (runs.ptr[i].run, run, UUID_SIZE) == 0)
      *found = runs.ptr[i];
  vector_free (&runs);
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

/*--- Keeps ------------------------------------------------------------------*/

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

/*--- Editions ---------------------------------------------------------------*/

static bool is_encrypted;

static struct vault_trial *
new_trial (uint64_t seed)
{
  return is_encrypted ? vault_trial_new_encrypted (seed)
    : vault_trial_new (seed);
}

/* Two generations, of which the second needs one chunk of the first one's file,
 * and pages of its map.
 */
static struct vault_trial *
trial_with_rest (uint64_t seed)
{
  struct vault_trial *t = new_trial (seed);

  t->file_limit = TRIAL_ONE_FILE;
  vault_trial_back_up_well (t, 0, NULL);
  for (size_t i = 0; i < 5 * TRIAL_CHUNK_SIZE; ++i)
    t->disks[0][i] = (uint8_t) rng_next (&t->rng);
  vault_trial_back_up_well (t, 0, NULL);
  return t;
}

static void
test_edition (void **state)
{
  struct vault_trial *t = trial_with_rest (30);
  uint64_t before = vault_trial_bytes (t, "files/"), both;
  struct prune_result result;

  (void) state;
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 0);
  assert_int_equal (result.nr_rewritten, 1);
  assert_true (has_name (t, "files/", ".0.root.nbi"));
  assert_true (has_name (t, "files/", ".1.nbi"));
  both = vault_trial_bytes (t, "files/");
  assert_true (both > before);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_verify (t);

  /* Not before a day has gone by, and not once more. */
  store_model_advance (t->model, LEASE_DAY - 100);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 0);
  assert_int_equal (result.nr_rewritten, 0);
  store_model_advance (t->model, 200);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.deleted.nr, 1);
  assert_int_equal (result.nr_rewritten, 0);
  assert_int_equal (vault_trial_bytes (t, "files/"),
                    both - result.deleted.bytes);
  assert_true (vault_trial_bytes (t, "files/") < before);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_verify (t);

  /* What builds on it, and when nothing needs it any more. */
  vault_trial_back_up_well (t, 0, NULL);
  assert_int_equal (vault_trial_check (t), 2);
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_one, NULL);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_check_clean (t);
  assert_false (has_name (t, "files/", ".1.nbi"));
  vault_trial_free (t);
}

/* Of a file with the root of a generation that stays, of which some records are
 * dead nevertheless; usually there are none.
 */
static void
test_edition_with_root (void **state)
{
  struct vault_trial *t = new_trial (34);
  struct store *store = vault_trial_store (t, 0);
  const struct prune_plan plan = { .nr_dropped = 0 };
  struct prune_result result = { .nr_rewritten = 0 };
  struct generation_caches caches;
  struct prune p = {
    .store = store, .caches = &caches, .plan = &plan, .result = &result,
  };
  struct live_file *live;
  struct vault_opened opened;
  char name[STORE_PATH_SIZE];
  static uint8_t buf[TRIAL_CHUNK_SIZE];

  (void) state;
  t->file_limit = TRIAL_ONE_FILE;
  vault_trial_back_up_well (t, 0, NULL);
  assert_int_equal (generation_caches_init (&caches, 0, NULL), 0);
  caches.keys = t->keys;
  assert_int_equal (vault_open (store, VAULT_WRITE, &p.vault, NULL, NULL), 0);
  p.hold = hold_lease (store, VAULT_NAME_PRUNE, NULL);
  assert_int_equal (prune_list (p.vault, &p.listing, NULL, NULL, NULL), 0);
  assert_int_equal (prune_list_files (&p.listing, &p.live, NULL), 0);
  assert_int_equal (vault_view_of (p.vault, &caches, &p.listing.runs, &p.view,
                                   NULL), 0);
  assert_int_equal (vault_view_open (p.view, 0, false, &opened, NULL, NULL), 0);
  assert_int_equal (liveness_mark (&p.live, p.view, &opened, NULL, NULL), 0);
  vault_opened_close (&opened);
  assert_int_equal (p.live.files.len, 1);
  live = p.live.files.ptr;
  assert_int_equal (live->nr_live, live->nr_ordinals);
  live->live[0] &= 0xc0;        /* the first six chunks */
  live->nr_live -= 6;

  assert_int_equal (prune_write_editions (&p, NULL), 0);
  assert_int_equal (result.nr_rewritten, 1);
  assert_int_equal (prune_drop_editions (&p, NULL), 0);
  find_name (t, ".0.root.nbi", name, sizeof name);
  assert_int_equal (store_delete (store, name, NULL), 0);
  assert_true (has_name (t, "files/", ".1.root.nbi"));
  assert_int_equal (vault_view_open (p.view, 0, false, &opened, NULL, NULL), 0);
  assert_int_equal (generation_pread (opened.gen, buf, sizeof buf, 0, NULL),
                    -EIO);
  assert_int_equal (generation_pread (opened.gen, buf, sizeof buf,
                                      6 * TRIAL_CHUNK_SIZE, NULL), 0);
  assert_memory_equal (buf, t->disks[0] + 6 * TRIAL_CHUNK_SIZE, sizeof buf);
  vault_opened_close (&opened);
  assert_int_equal (lease_leave (p.hold, NULL), 0);
  lease_free (p.hold);
  vault_view_free (p.view);
  liveness_destroy (&p.live);
  prune_listing_free (&p.listing);
  vault_close (p.vault);
  generation_caches_destroy (&caches);
  store_close (store);
  vault_trial_free (t);
}

static void
test_editions_encrypted (void **state)
{
  is_encrypted = true;
  test_edition (state);
  test_edition_with_root (state);
  is_encrypted = false;
}

static void
test_edition_without_room (void **state)
{
  struct vault_trial *t = trial_with_rest (31);
  struct prune_result result;

  (void) state;
  store_model_set_space (t->model, 60 * 1024);
  vault_trial_prune_well (t, &keep_one, &result);
  assert_int_equal (result.nr_rewritten, 0);
  assert_int_equal (vault_trial_check (t), 1);
  vault_trial_free (t);
}

/* Of a file with a record that is damaged nothing is thrown away: neither by
 * writing it anew, nor when the new one is what is damaged.
 */
static void
test_edition_damaged (void **state)
{
  for (int old = 0; old < 2; ++old) {
    struct vault_trial *t = trial_with_rest (32);
    char first[STORE_PATH_SIZE], name[STORE_PATH_SIZE];
    struct prune_result result;

    (void) state;
    if (old) {
      /* The seventh chunk, which is still needed. */
      find_of_run (t, t->versions[0].run, ".0.root.nbi", first, sizeof first);
      damage (t, first, 4096 + 6 * (64 + TRIAL_CHUNK_SIZE) + 200);
      vault_trial_prune_well (t, &keep_one, &result);
      assert_int_equal (result.nr_rewritten, 0);
      assert_false (has_name (t, "files/", ".1.nbi"));
    }
    else {
      vault_trial_prune_well (t, &keep_one, &result);
      assert_int_equal (result.nr_rewritten, 1);
      find_name (t, ".1.nbi", name, sizeof name);
      damage (t, name, 4096 + 200);
      store_model_advance (t->model, LEASE_DAY + 100);
      vault_trial_prune_well (t, &keep_one, &result);
      assert_int_equal (result.deleted.nr, 0);
      assert_true (has_name (t, "files/", ".0.root.nbi"));
      /* And is read from there. */
      assert_int_equal (vault_trial_check (t), 1);
    }
    vault_trial_free (t);
  }
}

/* A reader that had opened nothing but the end of the generation when all of
 * that happened.
 */
static void
test_edition_under_reader (void **state)
{
  struct vault_trial *t = trial_with_rest (33);
  struct store *store = vault_trial_store (t, 0);
  static uint8_t buf[TRIAL_DISK_SIZE];
  struct generation_caches caches;
  struct vault *vault;
  struct vault_view *view;
  struct vault_opened opened;
  size_t i;

  (void) state;
  assert_int_equal (generation_caches_init (&caches, 0, NULL), 0);
  assert_int_equal (vault_open (store, 0, &vault, NULL, NULL), 0);
  assert_int_equal (vault_view_new (vault, &caches, &view, NULL), 0);
  assert_int_equal (vault_view_newest (view, vault_trial_disk (0), &i, NULL,
                                       NULL), 0);
  assert_int_equal (vault_view_open (view, i, false, &opened, NULL, NULL), 0);
  vault_trial_prune_well (t, &keep_one, NULL);
  store_model_advance (t->model, LEASE_DAY + 100);
  vault_trial_prune_well (t, &keep_one, NULL);
  assert_int_equal (generation_pread (opened.gen, buf, TRIAL_DISK_SIZE, 0,
                                      NULL), 0);
  assert_memory_equal (buf, t->versions[1].bytes, TRIAL_DISK_SIZE);
  vault_opened_close (&opened);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (store);
  vault_trial_free (t);
}

/*--- Crashes ----------------------------------------------------------------*/

/* The faults are those of the prune itself: opening a vault and reading it have
 * tests of their own.
 */
struct arming {
  struct store *faulty;
  const struct store_fault *fault;
};

static void
arm (void *opaque)
{
  const struct arming *arming = opaque;

  store_faulty_set (arming->faulty, arming->fault);
}

static int
prune_with (struct vault_trial *t, struct store *faulty,
            const struct store_fault *fault, struct err *err)
{
  struct arming arming = { faulty, fault };
  struct prune_result result;
  int r;

  t->planned = arm;
  t->opaque = &arming;
  r = vault_trial_prune (t, faulty, &keep_two, NULL, &result, err);
  t->planned = NULL;
  return r;
}

/* Files that go, and one that is written anew, of which an edition is there
 * already.
 */
static struct vault_trial *
trial_with_all (uint64_t seed)
{
  struct vault_trial *t = vault_trial_new (seed);

  t->file_limit = TRIAL_ONE_FILE;
  vault_trial_back_up_well (t, 0, NULL);
  for (size_t i = 0; i < 4 * TRIAL_CHUNK_SIZE; ++i)
    t->disks[0][i] = (uint8_t) rng_next (&t->rng);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_one, NULL);
  store_model_advance (t->model, LEASE_DAY + 100);
  t->file_limit = TRIAL_FILE_LIMIT;
  vault_trial_back_up_well (t, 1, NULL);
  for (int i = 0; i < 3; ++i) {
    vault_trial_change (t, 0, 2);
    vault_trial_back_up_well (t, 0, NULL);
  }
  return t;
}

/* A prune that ends at operation n; what stays is whole, and the next one does
 * the rest.  Returns how many operations there were.
 */
static unsigned
end_at (enum store_fault_kind kind, unsigned n, int code)
{
  struct vault_trial *t = trial_with_all (20);
  const struct store_fault fault = {
    .kind = kind, .ops = STORE_OP_ALL, .at = n, .code = code,
  };
  struct store *store = vault_trial_store (t, 0);
  struct store *faulty = store_faulty_new (store);
  struct err err = ERR_INIT;
  unsigned count;
  int r;

  r = prune_with (t, faulty, &fault, &err);
  count = store_faulty_count (faulty);
  assert_true (n <= count || r == 0);
  store_close (faulty);
  store_close (store);
  vault_trial_check (t);
  store_model_advance (t->model, LEASE_DAY + LEASE_TTL);
  vault_trial_prune_well (t, &keep_two, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  /* What can go when nothing of what was dropped is needed any more. */
  memset (t->disks[0], 1, TRIAL_DISK_SIZE);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_back_up_well (t, 0, NULL);
  vault_trial_prune_well (t, &keep_two, NULL);
  assert_int_equal (vault_trial_check (t), 3);
  vault_trial_check_clean (t);
  vault_trial_free (t);
  return count;
}

/* How many are tried of so many, unless NBDIMAGE_LONG is set: then all. */
static unsigned
one_of (unsigned many)
{
  return getenv ("NBDIMAGE_LONG") ? 1 : many;
}

static void
end_at_each (enum store_fault_kind kind, int code, unsigned step)
{
  unsigned n = 1, count;

  do {
    count = end_at (kind, n, code);
    n += step;
  }
  while (n <= count + step);
  print_message ("%u operations\n", count);
  assert_in_range (count, 60, 2000);
}

static void
test_killed (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_KILLED, -EIO, 1);
}

static void
test_fails (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_ONCE, -EIO, one_of (2));
  end_at_each (STORE_FAULT_PART, -ENOSPC, one_of (3));
}

static void
test_answer_lost (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_LOST, -EIO, one_of (3));
}

/* Killed at operation n, and then the power goes: each state that may leave.
 * Returns how many states there were; 0: there is no such operation.
 */
static unsigned
cut_at (unsigned n)
{
  unsigned first = 0, last = 0, state = 0, nr = 0;

  do {
    struct vault_trial *t = trial_with_all (21);
    const struct store_fault fault = {
      .kind = STORE_FAULT_KILLED, .ops = STORE_OP_ALL, .at = n, .code = -EIO,
    };
    struct store *store = vault_trial_store (t, 0);
    struct store *faulty = store_faulty_new (store);

    (void) prune_with (t, faulty, &fault, NULL);
    if (nr == 0) {
      if (store_faulty_count (faulty) < n)
        n = 0;
      store_model_states (t->model, &first, &last);
      state = first;
    }
    store_close (faulty);
    store_close (store);
    store_model_cut (t->model, state);
    vault_trial_check (t);
    store_model_advance (t->model, LEASE_DAY + LEASE_TTL);
    vault_trial_prune_well (t, &keep_two, NULL);
    assert_int_equal (vault_trial_check (t), 3);
    vault_trial_free (t);
    ++nr;
  }
  while (state++ < last);
  return n == 0 ? 0 : nr;
}

static void
test_power_cut (void **state)
{
  unsigned total = 0, nr;

  (void) state;
  for (unsigned n = 1; (nr = cut_at (n)) > 0; n += one_of (2))
    total += nr;
  print_message ("%u states\n", total);
  assert_in_range (total, 80, 100000);
}

/*--- By lot -----------------------------------------------------------------*/

static void
prune_at_random (struct vault_trial *t)
{
  const char *disk = vault_trial_disk (rng_below (&t->rng, TRIAL_DISKS));
  struct prune_options options = { .drop_damaged = false };
  struct store *store = vault_trial_store (t, 0);
  struct prune_result result;
  struct err err = ERR_INIT;
  int r;

  for (unsigned rule = 0; rule < RETENTION_NR_RULES; ++rule)
    options.retention.keep[rule] = rng_below (&t->rng, 2) *
      rng_below (&t->rng, 4);
  if (rng_below (&t->rng, 3) == 0) {
    options.disks = &disk;
    options.nr_disks = 1;
  }
  r = vault_trial_prune (t, store, &options, NULL, &result, &err);
  if (r < 0 && r != -ENOENT)    /* the disk may have no backup yet */
    fail_msg ("seed %" PRIu64 ": pruning: %s", t->seed, err.msg);
  store_close (store);
}

static size_t
one_life (uint64_t s)
{
  struct vault_trial *t = vault_trial_new (s);
  size_t nr;

  if (s % 2 == 0)
    t->file_limit = TRIAL_ONE_FILE;     /* there are editions */
  while (t->nr < 20) {
    unsigned disk = rng_below (&t->rng, TRIAL_DISKS);

    vault_trial_change (t, disk, (int) rng_below (&t->rng, 4));
    vault_trial_back_up_well (t, disk, NULL);
    store_model_advance (t->model, rng_below (&t->rng, 3 * 86400));
    if (rng_below (&t->rng, 3) != 0)
      continue;
    prune_at_random (t);
    vault_trial_check (t);
  }
  prune_at_random (t);
  nr = vault_trial_check (t);
  vault_trial_verify (t);
  vault_trial_free (t);
  return nr;
}

/* Make, change, back up, prune: each generation that stays is read and
 * compared.
 */
static void
test_random (void **state)
{
  const char *text = getenv ("NBDIMAGE_TEST_SEED");
  uint64_t seed = text != NULL ? strtoull (text, NULL, 0) : 1;
  unsigned nr = getenv ("NBDIMAGE_LONG") ? 500 : 10;
  size_t left = 0;

  (void) state;
  print_message ("seed %" PRIu64 "\n", seed);
  for (unsigned i = 0; i < nr; ++i)
    left += one_life (seed + i);
  counted (nr, "lives of vaults that are pruned", 0, seed);
  print_message ("%zu of %u generations stayed\n", left, nr * 20);
  assert_in_range (left, nr, nr * 19);
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
    cmocka_unit_test (test_leased),
    cmocka_unit_test (test_lease_expires),
    cmocka_unit_test (test_another_prune),
    cmocka_unit_test (test_lease_unclear),
    cmocka_unit_test (test_interrupted),
    cmocka_unit_test (test_reader),
    cmocka_unit_test (test_reader_again),
    cmocka_unit_test (test_keep),
    cmocka_unit_test (test_keep_after_plan),
    cmocka_unit_test (test_keep_and_mark),
    cmocka_unit_test (test_keep_goes_as_another_comes),
    cmocka_unit_test (test_keep_without_lease),
    cmocka_unit_test (test_keep_of_what_went),
    cmocka_unit_test (test_keep_fails),
    cmocka_unit_test (test_edition),
    cmocka_unit_test (test_edition_with_root),
    cmocka_unit_test (test_editions_encrypted),
    cmocka_unit_test (test_edition_without_room),
    cmocka_unit_test (test_edition_damaged),
    cmocka_unit_test (test_edition_under_reader),
    cmocka_unit_test (test_killed),
    cmocka_unit_test (test_fails),
    cmocka_unit_test (test_answer_lost),
    cmocka_unit_test (test_power_cut),
    cmocka_unit_test (test_random),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
