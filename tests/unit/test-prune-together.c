/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Prunes and backups at the same time.  In front of each operation of one the
 * other is run as a whole; and both at once, where after each operation it is
 * drawn by lot who goes on, who is killed, and how late listings are.
 *
 * The seed is the first argument, or NBDIMAGE_TEST_SEED; it is printed.  By
 * default 60 schedules, and 2,000 if NBDIMAGE_LONG is set.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/repo/lease.h"
#include "tests/support/counted.h"
#include "tests/support/store-faulty.h"
#include "tests/support/vault-trial.h"

static const struct prune_options no_rules;

static uint64_t seed = 1;

/* All of disk 0 goes, also what the next backup builds on; or by lot. */
static void
drop_disk (struct vault_trial *t, struct prune_generation *g)
{
  if (g->fate == PRUNE_KEPT && strcmp (g->disk, vault_trial_disk (0)) == 0)
    g->fate = PRUNE_DROPPED;
  (void) t;
}

static void
drop_some (struct vault_trial *t, struct prune_generation *g)
{
  if (g->fate == PRUNE_KEPT && rng_below (&t->rng, 2) == 0)
    g->fate = PRUNE_DROPPED;
}

static struct vault_trial *
trial_with (uint64_t s, int n)
{
  struct vault_trial *t = vault_trial_new (s);

  if (s % 2 == 0)
    t->file_limit = TRIAL_ONE_FILE;     /* there are editions */
  for (int i = 0; i < n; ++i) {
    vault_trial_change (t, 0, 2);
    vault_trial_back_up_well (t, 0, NULL);
  }
  /* Nobody is shown what there was before that. */
  store_model_advance (t->model, 60);
  return t;
}

/* After all: what stays is whole, and what went can be cleared away. */
static void
finish (struct vault_trial *t)
{
  vault_trial_check (t);
  t->adjust = NULL;
  store_model_advance (t->model, LEASE_DAY + LEASE_TTL);
  vault_trial_prune_well (t, &no_rules, NULL);
  vault_trial_check (t);
  t->adjust = drop_disk;
  vault_trial_prune_well (t, &no_rules, NULL);
  t->adjust = NULL;
  vault_trial_check (t);
}

/*--- One within the other ---------------------------------------------------*/

struct nested {
  struct vault_trial *t;
  unsigned at, count;
  bool prune;                   /* what is run there; otherwise a backup */
  int r;
  struct err err;
};

static void
run_at (void *opaque, unsigned op, const char *name)
{
  struct nested *nested = opaque;
  struct store *store;
  struct vault_backup_result backup;
  struct prune_result prune;

  (void) op;
  (void) name;
  if (++nested->count != nested->at)
    return;
  store = vault_trial_store (nested->t, 0);
  if (nested->prune)
    nested->r = vault_trial_prune (nested->t, store, &no_rules, NULL, &prune,
                                   &nested->err);
  else {
    vault_trial_change (nested->t, 0, 2);
    nested->r = vault_trial_back_up (nested->t, store, 0, &backup,
                                     &nested->err);
  }
  store_close (store);
}

/* Returns how many operations there were. */
static unsigned
within (unsigned at, bool prune, unsigned *refused)
{
  struct vault_trial *t = trial_with (seed, 3);
  struct nested nested = { .t = t, .at = at, .prune = prune, .r = 0 };
  struct store *store = vault_trial_store (t, 0);
  struct store *faulty = store_faulty_new (store);
  struct vault_backup_result backup;
  struct prune_result result;
  struct err err = ERR_INIT;
  int r;

  t->adjust = drop_disk;
  store_faulty_watch (faulty, run_at, &nested);
  if (prune) {
    vault_trial_change (t, 0, 2);
    r = vault_trial_back_up (t, faulty, 0, &backup, &err);
  }
  else
    r = vault_trial_prune (t, faulty, &no_rules, NULL, &result, &err);
  /* Two that get along, or one that says that it can't. */
  if ((r < 0 && r != -EBUSY && r != -EAGAIN) ||
      (nested.r < 0 && nested.r != -EBUSY && nested.r != -EAGAIN))
    fail_msg ("at %u: %d %s; %d %s", at, r, err.msg, nested.r, nested.err.msg);
  *refused += r < 0 || nested.r < 0;
  store_close (faulty);
  store_close (store);
  finish (t);
  vault_trial_free (t);
  return nested.count;
}

static void
within_each (bool prune)
{
  unsigned at = 0, count, refused = 0;

  do
    count = within (++at, prune, &refused);
  while (at < count);
  print_message ("%u operations, refused at %u\n", count, refused);
  assert_in_range (count, 40, 2000);
  assert_true (refused < count / 2);
}

static void
test_backup_within_prune (void **state)
{
  (void) state;
  within_each (false);
}

static void
test_prune_within_backup (void **state)
{
  (void) state;
  within_each (true);
}

/*--- Both half way ----------------------------------------------------------*/

/* A prune up to its operation n, a backup up to its m-th, then the prune to its
 * end, then the backup.  The backup's base is dropped by the prune; or by
 * somebody else when the backup has come that far: a mark that is late for the
 * prune, and for the backup.
 */
struct halves {
  struct vault_trial *t;
  pthread_mutex_t lock;
  pthread_cond_t turns;
  bool backup;                  /* whose turn it is */
  bool done[2];                 /* the prune, the backup */
  unsigned at[2], count[2];
  bool late;
  unsigned lag;                 /* of what both are shown, seconds */
};

struct half {
  struct halves *both;
  bool backup;
  int r;
  struct err err;
};

static void
drop_newest (struct vault_trial *t)
{
  struct store *store = vault_trial_store (t, 0);
  struct vault_runs runs;
  struct vault *vault;

  assert_int_equal (vault_open (store, 0, &vault, NULL, NULL), 0);
  assert_int_equal (vault_list (vault, 0, &runs, NULL), 0);
  assert_int_equal (vault_drop (vault, runs.ptr[runs.len - 1].folder, NULL), 0);
  memcpy (t->dropped[t->nr_dropped++], runs.ptr[runs.len - 1].run, UUID_SIZE);
  vector_free (&runs);
  vault_close (vault);
  store_close (store);
}

static void
stop_half_way (void *opaque, unsigned op, const char *name)
{
  struct half *h = opaque;
  struct halves *both = h->both;

  (void) op;
  (void) name;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&both->lock);
  if (++both->count[h->backup] != both->at[h->backup] ||
      both->done[!h->backup])
    return;
  if (h->backup && both->late)
    drop_newest (both->t);
  both->backup = !h->backup;
  pthread_cond_broadcast (&both->turns);
  while (both->backup != h->backup)
    pthread_cond_wait (&both->turns, &both->lock);
}

static void *
run_half (void *opaque)
{
  struct half *h = opaque;
  struct halves *both = h->both;
  struct store *store = vault_trial_store (both->t, both->lag);
  struct store *faulty = store_faulty_new (store);
  struct vault_backup_result backup;
  struct prune_result prune;

  vault_trial_this_thread ();
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&both->lock);
    while (both->backup != h->backup)
      pthread_cond_wait (&both->turns, &both->lock);
  }
  store_faulty_watch (faulty, stop_half_way, h);
  h->r = h->backup
    ? vault_trial_back_up (both->t, faulty, 0, &backup, &h->err)
    : vault_trial_prune (both->t, faulty, &no_rules, NULL, &prune, &h->err);
  store_close (faulty);
  store_close (store);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&both->lock);
  both->done[h->backup] = true;
  both->backup = !h->backup;
  pthread_cond_broadcast (&both->turns);
  return NULL;
}

static void
both_half_way (unsigned n, unsigned m, bool late, unsigned lag)
{
  struct halves both = {
    .t = trial_with (seed, 2), .lock = PTHREAD_MUTEX_INITIALIZER,
    .turns = PTHREAD_COND_INITIALIZER, .at = { n, m }, .late = late,
    .lag = lag,
  };
  struct half halves[2] = {
    { .both = &both, .backup = false }, { .both = &both, .backup = true },
  };
  pthread_t threads[2];

  vault_trial_change (both.t, 0, 1);
  both.t->adjust = late ? NULL : drop_disk;
  for (int i = 0; i < 2; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, run_half, &halves[i]),
                      0);
  for (int i = 0; i < 2; ++i)
    pthread_join (threads[i], NULL);
  for (int i = 0; i < 2; ++i)
    if (halves[i].r < 0 && halves[i].r != -EBUSY && halves[i].r != -EAGAIN)
      fail_msg ("seed %" PRIu64 ", at %u and %u: %d: %s", seed, n, m,
                halves[i].r, halves[i].err.msg);
  both.t->adjust = NULL;
  vault_trial_check (both.t);
  vault_trial_free (both.t);
}

/* All there are take a while. */
static void
test_both_half_way (void **state)
{
  bool is_long = getenv ("NBDIMAGE_LONG") != NULL;
  struct rng rng = { seed };
  unsigned nr = 0;

  (void) state;
  for (unsigned n = 40; n < 160; ++n)
    for (unsigned m = 1; m < 130; ++m)
      if (rng_below (&rng, is_long ? 4 : 100) == 0) {
        both_half_way (n, m, rng_below (&rng, 2) == 0,
                       rng_below (&rng, 2) * 30);
        ++nr;
      }
  counted (nr, "prunes and backups half way", 0, seed);
}

/*--- By lot -----------------------------------------------------------------*/

#define ACTORS 3

struct schedule;

struct actor {
  struct schedule *schedule;
  unsigned number;
  bool prune, done;
  struct store *store, *faulty;
  pthread_t thread;
  int r;
  struct err err;
};

struct schedule {
  struct vault_trial *t;
  pthread_mutex_t lock;
  pthread_cond_t turns;
  unsigned turn;
  struct rng rng;
  struct actor actors[ACTORS];
};

/* Somebody who is not done, if there is anybody. */
static void
draw (struct schedule *s)
{
  unsigned left = 0, chosen;

  for (unsigned i = 0; i < ACTORS; ++i)
    left += !s->actors[i].done;
  if (left == 0)
    return;
  chosen = (unsigned) rng_below (&s->rng, left);
  for (unsigned i = 0; i < ACTORS; ++i)
    if (!s->actors[i].done && chosen-- == 0)
      s->turn = i;
  pthread_cond_broadcast (&s->turns);
}

static void
wait_for_turn (struct actor *a)
{
  while (a->schedule->turn != a->number)
    pthread_cond_wait (&a->schedule->turns, &a->schedule->lock);
}

/* In front of each operation. */
static void
give_turn (void *opaque, unsigned op, const char *name)
{
  struct actor *a = opaque;
  struct schedule *s = a->schedule;

  (void) op;
  (void) name;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  if (rng_below (&s->rng, 4) == 0)
    draw (s);
  wait_for_turn (a);
}

static void *
act (void *opaque)
{
  struct actor *a = opaque;
  struct schedule *s = a->schedule;
  struct vault_backup_result backup;
  struct prune_result prune;

  vault_trial_this_thread ();
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    wait_for_turn (a);
  }
  if (a->prune)
    a->r = vault_trial_prune (s->t, a->faulty, &no_rules, NULL, &prune,
                              &a->err);
  else {
    vault_trial_change (s->t, a->number % 2, 2);
    a->r = vault_trial_back_up (s->t, a->faulty, a->number % 2, &backup,
                                &a->err);
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  a->done = true;
  draw (s);
  return NULL;
}

/* Two prunes and a backup, or a prune and two backups. */
static void
begin (struct schedule *s, unsigned i, bool prune)
{
  static const unsigned lags[] = { 0, 0, 1, 30 };
  struct actor *a = &s->actors[i];

  *a = (struct actor) { .schedule = s, .number = i, .prune = prune };
  a->store = vault_trial_store (s->t, lags[rng_below (&s->rng, 4)]);
  a->faulty = store_faulty_new (a->store);
  store_faulty_watch (a->faulty, give_turn, a);
  if (rng_below (&s->rng, 3) == 0) {
    const struct store_fault fault = {
      .kind = rng_below (&s->rng, 4) == 0 ? STORE_FAULT_LOST
        : STORE_FAULT_KILLED,
      .ops = STORE_OP_ALL, .code = -EIO,
      .at = 1 + (unsigned) rng_below (&s->rng, 150),
    };

    store_faulty_set (a->faulty, &fault);
  }
}

static void
one_schedule (uint64_t number, unsigned *nr_done)
{
  struct schedule s = {
    .t = trial_with (number, 3), .lock = PTHREAD_MUTEX_INITIALIZER,
    .turns = PTHREAD_COND_INITIALIZER, .rng = { number },
  };

  s.t->adjust = rng_below (&s.rng, 2) == 0 ? drop_disk : drop_some;
  for (unsigned i = 0; i < ACTORS; ++i)
    begin (&s, i, i == 0 || (i == 1 && rng_below (&s.rng, 2) == 0));
  for (unsigned i = 0; i < ACTORS; ++i)
    assert_int_equal (pthread_create (&s.actors[i].thread, NULL, act,
                                      &s.actors[i]), 0);
  for (unsigned i = 0; i < ACTORS; ++i)
    pthread_join (s.actors[i].thread, NULL);
  for (unsigned i = 0; i < ACTORS; ++i) {
    struct actor *a = &s.actors[i];

    *nr_done += a->r == 0;
    if (a->r < 0 && a->r != -EBUSY && a->r != -EAGAIN && a->r != -EIO)
      fail_msg ("seed %" PRIu64 ": actor %u: %d %s", number, i, a->r,
                a->err.msg);
    store_close (a->faulty);
    store_close (a->store);
  }
  finish (s.t);
  vault_trial_free (s.t);
}

static void
test_schedules (void **state)
{
  unsigned nr = getenv ("NBDIMAGE_LONG") ? 2000 : 60, done = 0;

  (void) state;
  print_message ("seed %" PRIu64 "\n", seed);
  for (unsigned i = 0; i < nr; ++i)
    one_schedule (seed + i, &done);
  counted (nr, "schedules of prunes and backups", 0, seed);
  print_message ("%u of %u ended well\n", done, nr * ACTORS);
  assert_true (done > nr / 2);
}

int
main (int argc, char *argv[])
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_backup_within_prune),
    cmocka_unit_test (test_prune_within_backup),
    cmocka_unit_test (test_both_half_way),
    cmocka_unit_test (test_schedules),
  };
  const char *text = argc > 1 ? argv[1] : getenv ("NBDIMAGE_TEST_SEED");

  if (text != NULL)
    seed = strtoull (text, NULL, 0);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
