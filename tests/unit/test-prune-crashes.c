/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Prunes that are killed or fail at each operation, and a power cut after each;
 * vaults that are backed up to and pruned by lot.  All of it if NBDIMAGE_LONG
 * is set.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/counted.h"
#include "tests/support/prune-trial.h"
#include "tests/support/store-faulty.h"

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
    cmocka_unit_test (test_killed),
    cmocka_unit_test (test_fails),
    cmocka_unit_test (test_answer_lost),
    cmocka_unit_test (test_power_cut),
    cmocka_unit_test (test_random),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
