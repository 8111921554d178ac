/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Backups into a vault: generations one after the other, a run that is killed
 * or fails at each operation, and a power cut after each.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/block/memory.h"
#include "lib/repo/vault-backup.h"
#include "lib/repo/verify-vault.h"
#include "tests/support/patient-clock.h"
#include "tests/support/rng.h"
#include "tests/support/store-faulty.h"
#include "tests/support/store-model.h"

#define DISK_SIZE ((size_t) 200 * 1024 + 512)
#define CHUNK_SIZE (16 * 1024)
#define MAX_VERSIONS 8

/* What a run that was begun saves. */
struct version {
  uint8_t run[UUID_SIZE];
  uint8_t bytes[DISK_SIZE];
  bool reported;                /* the backup said that it is there */
};

struct trial {
  struct store_model *model;
  struct rng rng;
  struct version versions[MAX_VERSIONS];
  size_t nr;
  uint8_t bytes[DISK_SIZE];     /* of the disk as it is now */
  struct report report;         /* what backups said */
};

static void
trial_init (struct trial *t, uint64_t seed)
{
  struct vault_about about = { .worm_days = 0 };
  struct store *store;
  bool made;

  memset (t, 0, sizeof *t);
  t->model = store_model_new (seed);
  t->rng.state = seed;
  for (size_t i = 0; i < DISK_SIZE / 2; ++i)
    t->bytes[i] = (uint8_t) rng_next (&t->rng);
  store = store_model_client (t->model, 0, true);
  assert_int_equal (vault_make (store, &about, NULL, 0, &made, NULL), 0);
  assert_true (made);
  store_close (store);
}

static void
trial_end (struct trial *t)
{
  store_model_free (t->model);
  report_free (&t->report);
}

static void
change (struct trial *t)
{
  for (int i = 0; i < 3; ++i) {
    size_t off = rng_next (&t->rng) % (DISK_SIZE - 5000);

    for (size_t k = 0; k < 5000; ++k)
      t->bytes[off + k] = (uint8_t) rng_next (&t->rng);
  }
}

/* Back up the disk as it is, through this store. */
static int
back_up (struct trial *t, struct store *store, const char *name,
         struct vault_backup_result *result, struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct version *version = &t->versions[t->nr];
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .codec = NBI_LZ4, .threads = 1, .file_limit = 40 * 1024,
    .manifest = &manifest,
    .header = {
      .disk_size = DISK_SIZE, .chunk_size = CHUNK_SIZE, .logical = 512,
      .physical = 4096,
    },
  };
  struct generation_caches caches;
  struct patient_clock clock;
  struct vault *vault = NULL;
  int r;

  patient_clock_init (&clock, store_model_clock (t->model));
  store_set_clock (store, &clock.clock);
  snprintf (options.header.name, sizeof options.header.name, "%s", name);
  assert_int_equal (block_memory_new ("a disk", t->bytes, DISK_SIZE, &block,
                                      NULL), 0);
  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  memcpy (version->bytes, t->bytes, DISK_SIZE);
  r = vault_open (store, VAULT_WRITE, &vault, NULL, err);
  if (r == 0)
    r = vault_backup (vault, block, &options, &caches, result, &t->report, NULL,
                      err);
  /* Also of what failed: it may be in the vault. */
  memcpy (version->run, options.header.run, UUID_SIZE);
  version->reported = r == 0;
  ++t->nr;
  vault_close (vault);
  generation_caches_destroy (&caches);
  manifest_destroy (&manifest);
  return r;
}

static const struct version *
version_of (const struct trial *t, const uint8_t run[UUID_SIZE])
{
  for (size_t i = 0; i < t->nr; ++i)
    if (memcmp (t->versions[i].run, run, UUID_SIZE) == 0)
      return &t->versions[i];
  return NULL;
}

/* Each generation reads as what was saved, and all that were reported are
 * there.
 */
static void
check_vault (const struct trial *t)
{
  struct store *store = store_model_client (t->model, 0, true);
  struct generation_caches caches;
  const struct vault_runs *runs;
  struct err err = ERR_INIT;
  struct vault_view *view;
  struct vault *vault;
  size_t reported = 0;

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  if (vault_open (store, 0, &vault, NULL, &err) < 0 ||
      vault_view_new (vault, &caches, &view, &err) < 0)
    fail_msg ("opening: %s", err.msg);
  runs = vault_view_runs (view);
  for (size_t i = 0; i < runs->len; ++i) {
    const struct version *version = version_of (t, runs->ptr[i].run);
    struct vault_opened opened;
    uint8_t buf[DISK_SIZE];
    int r;

    assert_non_null (version);
    r = vault_view_open (view, i, false, &opened, NULL, &err);
    if (r == -ENOENT && !version->reported)
      continue;                 /* marked, as it could not be flushed */
    if (r < 0)
      fail_msg ("generation %zu: %s", i, err.msg);
    if (generation_pread (opened.gen, buf, DISK_SIZE, 0, &err) < 0)
      fail_msg ("generation %zu: %s", i, err.msg);
    assert_memory_equal (buf, version->bytes, DISK_SIZE);
    vault_opened_close (&opened);
    reported += version->reported;
  }
  for (size_t i = 0; i < t->nr; ++i)
    reported -= t->versions[i].reported;
  assert_int_equal (reported, 0);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (store);
}

static void
back_up_well (struct trial *t, const char *name,
              struct vault_backup_result *result)
{
  struct store *store = store_model_client (t->model, 0, true);
  struct err err = ERR_INIT;

  if (back_up (t, store, name, result, &err) < 0)
    fail_msg ("backing up: %s", err.msg);
  store_close (store);
}

/*--- Tests ------------------------------------------------------------------*/

static void
test_generations (void **state)
{
  struct vault_backup_result result;
  struct trial *t = malloc (sizeof *t);

  (void) state;
  trial_init (t, 1);
  for (int i = 0; i < 5; ++i) {
    back_up_well (t, "disk", &result);
    assert_int_equal (result.has_base, i > 0);
    assert_true (i == 0 || result.time > result.base_time);
    if (i == 2)
      assert_int_equal (result.backup.counts.fresh, 0);
    else
      assert_true (result.backup.counts.fresh > 0);
    check_vault (t);
    if (i != 1)
      change (t);
  }
  trial_end (t);
  free (t);
}

static void
find (const struct trial *t, const char *name, const char *which, int expected,
      const uint8_t *run)
{
  struct store *store = store_model_client (t->model, 0, true);
  struct generation_caches caches;
  struct vault_view *view;
  struct vault *vault;
  size_t i;

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  assert_int_equal (vault_open (store, 0, &vault, NULL, NULL), 0);
  assert_int_equal (vault_view_new (vault, &caches, &view, NULL), 0);
  assert_int_equal (vault_view_find (view, name, which, &i, NULL, NULL),
                    expected);
  if (run != NULL)
    assert_memory_equal (vault_view_runs (view)->ptr[i].run, run, UUID_SIZE);
  vault_view_free (view);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (store);
}

/* Two disks whose names make one hint. */
static void
test_found_by_name (void **state)
{
  struct trial *t = malloc (sizeof *t);
  struct vault_backup_result one, two, other;
  char time[VAULT_TIME_SIZE], id[UUID_STRING_SIZE];

  (void) state;
  trial_init (t, 2);
  back_up_well (t, "a disk", &one);
  change (t);
  back_up_well (t, "a disk", &two);
  change (t);
  back_up_well (t, "a_disk", &other);
  assert_false (other.has_base);
  assert_true (two.has_base);

  find (t, "a disk", "", 0, two.run);
  find (t, "a disk", "latest", 0, two.run);
  find (t, "a_disk", "", 0, other.run);
  find (t, "none", "", -ENOENT, NULL);
  vault_time_to_string (one.time, time);
  find (t, "a disk", time, 0, one.run);
  find (t, "a_disk", time, other.time == one.time ? 0 : -ENOENT, NULL);
  find (t, "a disk", "20", -EINVAL, NULL);
  uuid_to_string (one.run, id);
  find (t, "a disk", id, 0, one.run);
  id[9] = '\0';
  find (t, "a disk", id, 0, one.run);
  find (t, "a disk", "zz", -ENOENT, NULL);
  trial_end (t);
  free (t);
}

/* The second backup ends at operation n, in any way; what was there before is
 * there, and another disk can be backed up.  Returns how many operations there
 * were.
 */
static unsigned
end_at (enum store_fault_kind kind, unsigned n, int code)
{
  struct trial *t = malloc (sizeof *t);
  struct vault_backup_result result;
  const struct store_fault fault = {
    .kind = kind, .ops = STORE_OP_ALL, .at = n, .code = code,
  };
  struct store *store, *faulty;
  struct err err = ERR_INIT;
  unsigned count;
  int r;

  trial_init (t, 3);
  back_up_well (t, "disk", &result);
  change (t);
  store = store_model_client (t->model, 0, true);
  faulty = store_faulty_new (store);
  store_faulty_set (faulty, &fault);
  r = back_up (t, faulty, "disk", &result, &err);
  count = store_faulty_count (faulty);
  assert_true (n <= count || r == 0);
  store_close (faulty);
  store_close (store);
  check_vault (t);
  back_up_well (t, "other", &result);
  check_vault (t);
  trial_end (t);
  free (t);
  return count;
}

static void
end_at_each (enum store_fault_kind kind, int code)
{
  unsigned n = 0, count;

  do
    count = end_at (kind, ++n, code);
  while (n <= count);
  print_message ("%u operations\n", count);
  assert_in_range (count, 40, 2000);
}

/* How many files were opened when the first generation was. */
struct opens {
  unsigned nr, first;
};

static void
count_open (void *opaque, unsigned op, const char *name)
{
  struct opens *opens = opaque;

  if (op != STORE_OP_OPEN)
    return;
  ++opens->nr;
  if (opens->first == 0 && strncmp (name, "files/disk.", 11) == 0)
    opens->first = opens->nr;
}

/* The newest generation can't be read: the next backup builds on the one in
 * front of it, and is later than both.
 */
static void
test_base_unreadable (void **state)
{
  struct trial *t = malloc (sizeof *t);
  struct store_fault fault = {
    .kind = STORE_FAULT_ONCE, .ops = STORE_OP_OPEN, .code = -EIO,
  };
  struct vault_backup_result one, two, three;
  struct opens opens = { 0, 0 };
  struct store *store, *faulty;
  struct err err = ERR_INIT;

  (void) state;
  trial_init (t, 5);
  back_up_well (t, "disk", &one);
  store = store_model_client (t->model, 0, true);
  faulty = store_faulty_new (store);
  store_faulty_watch (faulty, count_open, &opens);
  change (t);
  assert_int_equal (back_up (t, faulty, "disk", &two, NULL), 0);
  assert_int_not_equal (opens.first, 0);
  store_faulty_watch (faulty, NULL, NULL);
  fault.at = opens.first;
  store_faulty_set (faulty, &fault);
  change (t);
  if (back_up (t, faulty, "disk", &three, &err) < 0)
    fail_msg ("backing up: %s", err.msg);
  assert_true (three.has_base);
  assert_int_equal (three.base_time, one.time);
  assert_true (three.time > two.time);
  store_close (faulty);
  store_close (store);
  check_vault (t);
  trial_end (t);
  free (t);
}

static int
count_finding (void *opaque, struct file_reader *file,
               const struct verify_finding *finding, struct err *err)
{
  (void) file;
  (void) finding;
  (void) err;
  ++*(unsigned *) opaque;
  return 0;
}

/* The first opening fails: how many findings there are. */
static unsigned
verify_with (struct trial *t, int code, int expected)
{
  struct store *store = store_model_client (t->model, 0, true);
  struct store *faulty = store_faulty_new (store);
  struct store_fault fault = {
    .kind = STORE_FAULT_ONCE, .ops = STORE_OP_OPEN, .at = 1, .code = code,
  };
  struct generation_caches caches;
  struct verify_result result;
  struct vault *vault;
  unsigned nr = 0;
  const struct verify verify = {
    .data = true, .found = count_finding, .opaque = &nr,
  };

  assert_int_equal (generation_caches_init (&caches, 1 << 20, NULL), 0);
  assert_int_equal (vault_open (faulty, 0, &vault, NULL, NULL), 0);
  store_faulty_set (faulty, &fault);
  assert_int_equal (verify_vault (vault, &caches, &verify, &result, NULL,
                                  NULL), expected);
  vault_close (vault);
  generation_caches_destroy (&caches);
  store_close (faulty);
  store_close (store);
  return nr;
}

/* What can't be read is damaged; what we may not read is not known to be. */
static void
test_verify_fails (void **state)
{
  struct trial *t = malloc (sizeof *t);
  struct vault_backup_result result;

  (void) state;
  trial_init (t, 7);
  back_up_well (t, "disk", &result);
  assert_int_equal (verify_with (t, -EIO, 0), 1);
  assert_int_equal (verify_with (t, -EACCES, -EACCES), 0);
  trial_end (t);
  free (t);
}

/* The store's clock was days ahead, and is set right: what follows is later
 * than what there is, and it is said.
 */
static void
test_clock_set_back (void **state)
{
  struct trial *t = malloc (sizeof *t);
  struct vault_backup_result one, two;

  (void) state;
  trial_init (t, 6);
  store_model_advance (t->model, 3 * 86400);
  back_up_well (t, "disk", &one);
  store_model_set_back (t->model, 86000);
  back_up_well (t, "disk", &two);
  assert_true (two.has_base);
  assert_int_equal (two.time, one.time + 1);
  assert_int_equal (t->report.lines.len, 0);
  store_model_set_back (t->model, 86400);
  back_up_well (t, "disk", &two);
  assert_int_equal (two.time, one.time + 2);
  assert_int_equal (t->report.lines.len, 1);
  assert_non_null (strstr (t->report.lines.ptr[0], "more than a day later"));
  check_vault (t);
  trial_end (t);
  free (t);
}

static void
test_killed (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_KILLED, -EIO);
}

static void
test_fails (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_ONCE, -ENOSPC);
  end_at_each (STORE_FAULT_PART, -EIO);
}

static void
test_answer_lost (void **state)
{
  (void) state;
  end_at_each (STORE_FAULT_LOST, -EIO);
}

/* Killed at operation n, and then the power goes: each state that may leave.
 * Returns how many states there were; 0: there is no such operation.
 */
static unsigned
cut_at (unsigned n)
{
  unsigned first = 0, last = 0, state = 0, nr = 0;

  do {
    struct trial *t = malloc (sizeof *t);
    struct vault_backup_result result;
    const struct store_fault fault = {
      .kind = STORE_FAULT_KILLED, .ops = STORE_OP_ALL, .at = n, .code = -EIO,
    };
    struct store *store, *faulty;

    trial_init (t, 4);
    back_up_well (t, "disk", &result);
    change (t);
    store = store_model_client (t->model, 0, true);
    faulty = store_faulty_new (store);
    store_faulty_set (faulty, &fault);
    back_up (t, faulty, "disk", &result, NULL);
    if (nr == 0) {
      if (store_faulty_count (faulty) < n)
        n = 0;
      store_model_states (t->model, &first, &last);
      state = first;
    }
    store_close (faulty);
    store_close (store);
    store_model_cut (t->model, state);
    check_vault (t);
    trial_end (t);
    free (t);
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
  for (unsigned n = 1; (nr = cut_at (n)) > 0; ++n)
    total += nr;
  print_message ("%u states\n", total);
  assert_in_range (total, 80, 100000);
}

/* The connection breaks while the first file ends. */
struct breaking {
  struct store *faulty, *below;
  const char *drop;             /* a run that goes meanwhile; NULL: none */
  bool broken;
  unsigned flushes;             /* of files/ since */
};

static void
break_once (void *opaque, unsigned op, const char *name)
{
  struct breaking *b = opaque;
  char mark[STORE_PATH_SIZE];

  if (b->broken)
    b->flushes += op == STORE_OP_FLUSH_FOLDER && strcmp (name, "files") == 0;
  if (b->broken || op != STORE_OP_RENAME || strstr (name, ".part") == NULL)
    return;
  b->broken = true;
  store_faulty_reconnect (b->faulty);
  if (b->drop == NULL)
    return;
  snprintf (mark, sizeof mark, "files/%s/" VAULT_DROPPED, b->drop);
  assert_int_equal (store_put (b->below, mark, "", 0, NULL), 0);
}

/* B3 is done again before B7: what the backup refers to is looked for. */
static void
test_connection_broke (void **state)
{
  (void) state;
  for (int goes = 0; goes < 2; ++goes) {
    struct trial *t = malloc (sizeof *t);
    struct store *store, *faulty;
    struct vault_backup_result one, two;
    struct breaking b = { .broken = false };
    struct err err = ERR_INIT;
    int r;

    trial_init (t, 7);
    back_up_well (t, "disk", &one);
    change (t);
    store = store_model_client (t->model, 0, true);
    faulty = store_faulty_new (store);
    b.faulty = faulty;
    b.below = store;
    b.drop = goes ? one.folder : NULL;
    store_faulty_watch (faulty, break_once, &b);
    r = back_up (t, faulty, "disk", &two, &err);
    assert_true (b.broken);
    assert_int_equal (r, goes ? -EIO : 0);
    if (goes)
      assert_non_null (strstr (err.msg, "is gone since"));
    else {
      assert_int_equal (b.flushes, 2);  /* of B3, and of B7 */
      check_vault (t);
    }
    store_close (faulty);
    store_close (store);
    trial_end (t);
    free (t);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_generations),
    cmocka_unit_test (test_found_by_name),
    cmocka_unit_test (test_base_unreadable),
    cmocka_unit_test (test_connection_broke),
    cmocka_unit_test (test_clock_set_back),
    cmocka_unit_test (test_verify_fails),
    cmocka_unit_test (test_killed),
    cmocka_unit_test (test_fails),
    cmocka_unit_test (test_answer_lost),
    cmocka_unit_test (test_power_cut),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
