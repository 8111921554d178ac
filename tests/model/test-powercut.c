/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Power cuts: each kind of image that can be written (support/subject.c),
 * each workload, at every moment (support/powercut.h).
 *
 * NBDIMAGE_TEST_SEED: what random numbers begin with; the one that is told
 * with something bad, has it come first again.  NBDIMAGE_TEST_SUBJECT: of that
 * subject only.  NBDIMAGE_TEST_STATES: how many states, in all; by default
 * 2,400, and 24,000 if NBDIMAGE_LONG is set.  NBDIMAGE_TEST_DROP: the flushes
 * that are not done, "inner" or "all": to see it fail.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "tests/model/offline-workloads.h"
#include "tests/support/counted.h"

static uint64_t seed;
static unsigned nr_states;
static enum powercut_drop dropped; /* usually none */

/*--- Workloads --------------------------------------------------------------*/

static unsigned
nr_sectors (const struct powercut *pc)
{
  return pc->files->nr_sectors;
}

static unsigned
nr_blocks (const struct powercut *pc)
{
  return (unsigned) div_round_up (nr_sectors (pc), pc->files->per_block);
}

static struct disk_op
random_op (struct powercut *pc)
{
  return disk_op_random (&pc->rng, nr_sectors (pc), pc->files->per_block,
                         &pc->next_id);
}

static void
anything (struct powercut *pc)
{
  unsigned nr = 10 + rng_below (&pc->rng, 50);

  for (unsigned n = 0; n < nr; ++n) {
    struct disk_op op = random_op (pc);

    powercut_do (pc, &op);
    if (rng_below (&pc->rng, 5) == 0)
      powercut_flush (pc);
    if (rng_below (&pc->rng, 25) == 0)
      powercut_reopen (pc);
  }
}

/* As who copies a disk. */
static void
front_to_back (struct powercut *pc)
{
  unsigned step = 1 + rng_below (&pc->rng, pc->files->per_block);

  for (unsigned s = 0; s < nr_sectors (pc); s += step)
    powercut_write (pc, s, (unsigned) min_u64 (step, nr_sectors (pc) - s), 0);
  powercut_flush (pc);
}

static void
one_sector_of_each_block (struct powercut *pc)
{
  unsigned per_block = pc->files->per_block;

  for (unsigned n = 0; n < nr_blocks (pc); ++n) {
    unsigned i = (n * 7) % nr_blocks (pc);

    powercut_write (pc, (unsigned) min_u64 (i * per_block + n % per_block,
                                            nr_sectors (pc) - 1), 1, 0);
    powercut_flush (pc);
  }
}

/* What was flushed a moment ago is freed, its place used again. */
static void
written_and_given_up (struct powercut *pc)
{
  unsigned per_block = pc->files->per_block;
  unsigned nr = nr_sectors (pc) / per_block;

  for (unsigned n = 0; n < 3 * nr; ++n) {
    unsigned i = rng_below (&pc->rng, nr);

    powercut_write (pc, i * per_block + n % per_block, 1, 0);
    if (n % 2 == 0)
      powercut_flush (pc);
    powercut_zero (pc, rng_below (&pc->rng, nr) * per_block, per_block, 0);
    if (n % 3 == 0)
      powercut_flush (pc);
  }
}

/* All is written; then the end is given up, where the file may become
 * shorter, and some of it written again.
 */
static void
its_end_given_up (struct powercut *pc)
{
  unsigned per_block = pc->files->per_block;
  unsigned nr = nr_sectors (pc) / per_block;

  for (unsigned round = 0; round < 2; ++round) {
    unsigned keep = rng_below (&pc->rng, nr / 2 + 1);

    for (unsigned i = 0; i < nr; ++i)
      powercut_write (pc, i * per_block + i % per_block, 1, 0);
    powercut_flush (pc);
    for (unsigned i = nr; i-- > keep;)
      powercut_zero (pc, i * per_block, per_block, 0);
    powercut_flush (pc);
    for (unsigned n = 0; n < 4; ++n)
      powercut_write (pc, rng_below (&pc->rng, nr) * per_block, 1, 0);
    if (rng_below (&pc->rng, 2))
      powercut_flush (pc);
  }
}

/* Whoever does this, counts on each of them. */
static void
each_with_fua (struct powercut *pc)
{
  for (unsigned n = 0; n < 25; ++n) {
    struct disk_op op = random_op (pc);

    op.flags |= BLOCK_FUA;
    powercut_do (pc, &op);
  }
}

static void
opened_again_and_again (struct powercut *pc)
{
  for (unsigned n = 0; n < 12; ++n) {
    struct disk_op op = random_op (pc);

    powercut_do (pc, &op);
    if (n % 3 == 0)
      powercut_flush (pc);
    powercut_reopen (pc);
  }
}

/* The first half of the disk is shared, four sectors to one thread and four
 * to the next; of the second each has blocks of its own.
 */
#define NR_THREADS 4U
#define GROUP 4U

struct worker {
  struct powercut *pc;
  unsigned number;
  struct rng rng;
};

static void
shared_group (struct worker *w, struct disk_op *op)
{
  unsigned nr = nr_sectors (w->pc) / 2 / GROUP / NR_THREADS;

  op->first = (rng_below (&w->rng, nr) * NR_THREADS + w->number) * GROUP;
  op->nr = 1 + rng_below (&w->rng, GROUP);
}

static void
own_block (struct worker *w, struct disk_op *op)
{
  unsigned per_block = w->pc->files->per_block;
  unsigned first = nr_blocks (w->pc) / 2 + 1, nr = nr_blocks (w->pc) - first;
  unsigned i = rng_below (&w->rng, nr) / NR_THREADS * NR_THREADS + w->number;

  if (i >= nr)
    i = w->number % nr;
  if (w->number >= nr) {
    shared_group (w, op);
    return;
  }
  op->first = (first + i) * per_block;
  op->nr = (unsigned) min_u64 (per_block, nr_sectors (w->pc) - op->first);
}

static void *
work (void *arg)
{
  struct worker *w = arg;

  for (unsigned n = 0; n < 12; ++n) {
    struct disk_op op = { .kind = rng_below (&w->rng, 3) ? DISK_WRITE
                          : DISK_ZERO };

    if (rng_below (&w->rng, 2))
      shared_group (w, &op);
    else
      own_block (w, &op);
    op.id = __atomic_fetch_add (&w->pc->next_id, op.nr, __ATOMIC_RELAXED);
    powercut_do (w->pc, &op);
    if (rng_below (&w->rng, 5) == 0 && w->pc->drop == POWERCUT_DROP_NONE)
      powercut_flush (w->pc);
  }
  return NULL;
}

static void
four_threads (struct powercut *pc)
{
  struct worker workers[NR_THREADS];
  pthread_t threads[NR_THREADS];

  for (unsigned t = 0; t < NR_THREADS; ++t) {
    workers[t] = (struct worker) { pc, t, { rng_next (&pc->rng) } };
    assert_int_equal (pthread_create (&threads[t], NULL, work, &workers[t]),
                      0);
  }
  for (unsigned t = 0; t < NR_THREADS; ++t)
    pthread_join (threads[t], NULL);
  powercut_flush (pc);
}

static const struct powercut_workload workloads[] = {
  { .name = "anything", .run = anything },
  { .name = "front to back", .run = front_to_back },
  { .name = "one sector of each block", .run = one_sector_of_each_block },
  { .name = "written and given up", .run = written_and_given_up },
  { .name = "its end given up", .run = its_end_given_up },
  { .name = "each with FUA", .run = each_with_fua },
  { .name = "opened again and again", .run = opened_again_and_again },
  { .name = "four threads", .run = four_threads },
  { .name = NULL },
};

/*--- The tests --------------------------------------------------------------*/

static void
say (const struct subject *s, const struct powercut_workload *w,
     const struct powercut_result *result, uint64_t began)
{
  print_message ("%s, %s, from seed %llu: %u states at %u moments, "
                 "%u leaking, %u torn, %u bad%s%s\n", s->name, w->name,
                 (unsigned long long) began, result->nr_states,
                 result->nr_changes, result->nr_leaks, result->nr_torn,
                 result->nr_bad, result->nr_bad ? "; first " : "",
                 result->first);
}

/* All workloads there are. */
static const struct powercut_workload *const tables[] = {
  workloads, create_workloads, offline_workloads, chain_workloads,
  repair_workloads,
};

#define NR_TABLES (sizeof tables / sizeof tables[0])
#define MOST_IN_A_TABLE 12

/* How many states of each workload were tried, and of how many subjects. */
static struct {
  unsigned nr_states, nr_subjects;
} tried[NR_TABLES][MOST_IN_A_TABLE];

/* Lives of at most 60 states, so that many different ones are tried. */
static void
try_workload (const struct subject_files *f,
              const struct powercut_workload *w, unsigned nr,
              enum powercut_drop drop, struct powercut_result *result)
{
  for (uint64_t n = 0; result->nr_states < nr; ++n)
    powercut_try (f, w, seed + n, nr < 60 ? nr : 60, drop, result);
}

static bool
applies (const struct powercut_workload *w, const struct subject *s)
{
  return w->applies == NULL || w->applies (s);
}

static unsigned
count (const struct subject *s)
{
  unsigned nr = 0;

  for (size_t t = 0; t < NR_TABLES; ++t)
    for (size_t i = 0; tables[t][i].name; ++i)
      nr += applies (&tables[t][i], s);
  return nr;
}

/* Returns how many states were bad. */
static unsigned
try_table (const struct subject_files *f, size_t t, unsigned nr)
{
  unsigned nr_bad = 0;

  for (size_t i = 0; tables[t][i].name; ++i) {
    struct powercut_result result = { .nr_states = 0 };

    if (!applies (&tables[t][i], f->subject))
      continue;
    try_workload (f, &tables[t][i], nr, dropped, &result);
    say (f->subject, &tables[t][i], &result, seed);
    tried[t][i].nr_states += result.nr_states;
    tried[t][i].nr_subjects++;
    nr_bad += result.nr_bad;
  }
  return nr_bad;
}

/* Returns how many states there were. */
static unsigned
say_counts (void)
{
  unsigned nr = 0;

  print_message ("%8s  kinds of images\n", "states");
  for (size_t t = 0; t < NR_TABLES; ++t)
    for (size_t i = 0; tables[t][i].name; ++i) {
      print_message ("%8u  %2u  %s\n", tried[t][i].nr_states,
                     tried[t][i].nr_subjects, tables[t][i].name);
      nr += tried[t][i].nr_states;
    }
  print_message ("%8u states in all\n", nr);
  return nr;
}

static void
a_power_cut_loses_nothing_that_was_flushed (void **state)
{
  unsigned nr_bad = 0, nr;

  (void) state;
  FOR_EACH_SUBJECT (s) {
    struct subject_files f;

    nr = nr_states / subject_count () / count (s) + 1;
    subject_make (s, 1, &f);
    for (size_t t = 0; t < NR_TABLES; ++t)
      nr_bad += try_table (&f, t, nr);
    subject_remove (&f);
  }
  nr = say_counts ();
  counted (nr, "crash states", nr_bad, seed);
  assert_true (nr >= nr_states);
  assert_int_equal (nr_bad, 0);
}

/* On a file system that appends in order, what a power cut leaves can be
 * written at once, without a repair.
 */
static void
where_appends_are_ordered_nothing_needs_repair (void **state)
{
  const struct powercut_workload workload = {
    .name = "anything, appends in order", .run = anything,
    .ordered_appends = true,
  };
  unsigned nr = 0, nr_bad = 0, nr_torn = 0;

  (void) state;
  FOR_EACH_SUBJECT (s) {
    struct powercut_result result = { .nr_states = 0 };
    struct subject_files f;

    subject_make (s, 1, &f);
    try_workload (&f, &workload, nr_states / 24, POWERCUT_DROP_NONE, &result);
    say (s, &workload, &result, seed);
    subject_remove (&f);
    nr += result.nr_states;
    nr_bad += result.nr_bad;
    nr_torn += result.nr_torn;
  }
  counted (nr, "crash states", nr_bad, seed);
  assert_int_equal (nr_torn, 0);
  assert_int_equal (nr_bad, 0);
}

/* Does any of the workloads lose something?  It is enough to see one. */
static bool
finds_bad (const struct subject *s, enum powercut_drop drop)
{
  struct powercut_result result = { .nr_states = 0 };
  struct subject_files f;

  subject_make (s, 1, &f);
  for (unsigned n = 0; n < 8 && result.nr_bad == 0; ++n)
    for (size_t i = 0; workloads[i].name && result.nr_bad == 0; ++i)
      powercut_try (&f, &workloads[i], seed + n, 60, drop, &result);
  say (s, &workloads[0], &result, seed);
  subject_remove (&f);
  return result.nr_bad > 0;
}

/* The test of the test: without flushes every kind of image must fail it. */
static void
without_flushes_it_loses_something (void **state)
{
  (void) state;
  FOR_EACH_SUBJECT (s)
    assert_true (finds_bad (s, POWERCUT_DROP_ALL));
}

/* Does a command without its own flushes, with any of the subjects? */
static bool
workload_finds_bad (const struct powercut_workload *w)
{
  struct powercut_result result = { .nr_states = 0 };

  FOR_EACH_SUBJECT (s) {
    struct subject_files f;

    if (!applies (w, s))
      continue;
    subject_make (s, 1, &f);
    for (unsigned n = 0; n < 4 && result.nr_bad == 0; ++n)
      powercut_try (&f, w, seed + n, 60, POWERCUT_DROP_INNER, &result);
    say (s, w, &result, seed);
    subject_remove (&f);
    if (result.nr_bad > 0)
      return true;
  }
  return false;
}

static void
without_flushes_each_command_loses_something (void **state)
{
  (void) state;
  if (getenv ("NBDIMAGE_TEST_SUBJECT"))
    skip ();
  for (size_t t = 1; t < NR_TABLES; ++t)
    for (size_t i = 0; tables[t][i].name; ++i)
      if (!workload_finds_bad (&tables[t][i]))
        fail_msg ("%s needs no flush", tables[t][i].name);
}

/* With those alone that a client asks for, the order is lost in which we
 * write; but for images where there is none.
 */
static void
without_our_own_flushes_it_loses_something (void **state)
{
  (void) state;
  FOR_EACH_SUBJECT (s)
    assert_int_equal (finds_bad (s, POWERCUT_DROP_INNER), !s->is_plain);
}

/* The sanitizers are slow, and look for something else. */
static unsigned
usual_states (void)
{
  const char *asan = getenv ("NBDIMAGE_ASAN");

  return getenv ("NBDIMAGE_LONG") ? 24000 : asan && asan[0] ? 500 : 2400;
}

static enum powercut_drop
drop_from_environment (void)
{
  const char *given = getenv ("NBDIMAGE_TEST_DROP");

  return given == NULL ? POWERCUT_DROP_NONE
    : strcmp (given, "inner") == 0 ? POWERCUT_DROP_INNER : POWERCUT_DROP_ALL;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_power_cut_loses_nothing_that_was_flushed),
    cmocka_unit_test (where_appends_are_ordered_nothing_needs_repair),
    cmocka_unit_test (without_flushes_it_loses_something),
    cmocka_unit_test (without_flushes_each_command_loses_something),
    cmocka_unit_test (without_our_own_flushes_it_loses_something),
  };

  seed = subject_number ("NBDIMAGE_TEST_SEED", 1);
  dropped = drop_from_environment ();
  nr_states = (unsigned) subject_number ("NBDIMAGE_TEST_STATES",
                                         usual_states ());
  return cmocka_run_group_tests (tests, NULL, NULL);
}
