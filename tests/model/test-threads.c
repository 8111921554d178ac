/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sixteen threads on one image of each kind that can be written.
 *
 * Apart: each has sectors of its own, between those of the others, and blocks
 * of its own; what it reads there is what it wrote.
 *
 * On the same sectors, in rounds: what there is to do is chosen before, then
 * all do it at the same time, and some read.  Afterwards each sector is what
 * one of those who wrote it made of it last, and what was read is that, or
 * anything that was written there in this round, or was there before.  Sectors
 * are never mixed.
 *
 * Asking what it is, while others write into it for the first time.
 *
 * NBDIMAGE_TEST_SEED, NBDIMAGE_TEST_SUBJECT: as in test-model.c, but that what
 * happens depends on the threads too.  NBDIMAGE_TEST_OPERATIONS: how many, in
 * all; by default 40,000, and 400,000 if NBDIMAGE_LONG is set.
 *
 * gcc's thread sanitizer sees what a wrong lock would do only one time in a
 * million.  In a build folder of its own:
 *
 *   configure CFLAGS="-g -O1 -fsanitize=thread" LDFLAGS=-fsanitize=thread
 *   make check TESTS=tests/model/test-threads
 *
 * Without the lock of lib/format/pending.c, for instance, it names the race.
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
#include "lib/base/cleanup.h"
#include "tests/support/counted.h"
#include "tests/support/disk-model.h"
#include "tests/support/history.h"
#include "tests/support/subject.h"

#define NR_THREADS 16U
#define NR_OPS 4U               /* of a thread in a round */
#define WINDOW 24U              /* sectors */

static uint64_t seed, nr_operations;
static uint64_t nr_done;        /* operations */

/* The image that all of them use. */
struct place {
  struct subject_files files;
  struct history *history;
  struct block *block;
  struct image *img;
  uint8_t *disk;                /* what it should hold, between rounds */
  struct rng rng;
  uint32_t next_id;             /* atomic */
};

static void
open_place (struct place *p)
{
  struct err err = ERR_INIT;

  if (subject_open (&p->files, p->block, true, &p->img, &err) < 0)
    fail_msg ("%s: %s", p->files.subject->name, err.msg);
}

static void
make_place (const struct subject *s, struct place *p)
{
  *p = (struct place) { .rng = { seed }, .next_id = 1000 };
  subject_make (s, 1, &p->files);
  p->history = history_new ();
  p->block = history_file (p->history, "memory", p->files.data,
                           p->files.len);
  history_stop (p->history);
  p->disk = malloc (p->files.nr_sectors * (size_t) DISK_SECTOR);
  assert_non_null (p->disk);
  memcpy (p->disk, p->files.disk, p->files.nr_sectors * (size_t) DISK_SECTOR);
  open_place (p);
}

static void
reopen_place (struct place *p)
{
  image_unref (p->img);
  open_place (p);
}

static void
remove_place (struct place *p)
{
  image_unref (p->img);
  block_unref (p->block);
  history_free (p->history);
  free (p->disk);
  subject_remove (&p->files);
}

static uint8_t *
sector_of (uint8_t *disk, unsigned s)
{
  return disk + s * (size_t) DISK_SECTOR;
}

static bool
read_sectors (struct place *p, uint8_t *buf, unsigned first, unsigned nr)
{
  return image_pread (p->img, buf, nr * (size_t) DISK_SECTOR,
                      first * (uint64_t) DISK_SECTOR, NULL) == 0;
}

/* All of it is what it should be. */
static void
check_place (struct place *p)
{
  uint8_t buf[8 * DISK_SECTOR];

  for (unsigned s = 0, nr; s < p->files.nr_sectors; s += nr) {
    nr = (unsigned) min_u64 (8, p->files.nr_sectors - s);
    assert_true (read_sectors (p, buf, s, nr));
    if (memcmp (buf, sector_of (p->disk, s), nr * (size_t) DISK_SECTOR) != 0)
      fail_msg ("%s: sectors from %u on are wrong", p->files.subject->name,
                s);
  }
}

static uint32_t
take_ids (struct place *p, unsigned nr)
{
  return __atomic_fetch_add (&p->next_id, nr, __ATOMIC_RELAXED);
}

/* Start sixteen of them, and wait for their ends. */
static void
run_threads (void *(*run) (void *), void *args, size_t size)
{
  pthread_t threads[NR_THREADS];

  for (unsigned t = 0; t < NR_THREADS; ++t)
    assert_int_equal (pthread_create (&threads[t], NULL, run,
                                      (char *) args + t * size), 0);
  for (unsigned t = 0; t < NR_THREADS; ++t)
    pthread_join (threads[t], NULL);
}

/*--- Apart ------------------------------------------------------------------*/

/* Sectors up to `shared` go round, the others are owned by the block. */
struct loner {
  struct place *place;
  unsigned number, nr_ops;
  struct rng rng;
  const char *failed;
};

static unsigned
shared_sectors (const struct place *p)
{
  return p->files.nr_sectors / 2 / p->files.per_block * p->files.per_block;
}

/* A few sectors that are its own, or one of its blocks. */
static void
choose_own (struct loner *l, struct disk_op *op)
{
  const struct subject_files *f = &l->place->files;
  unsigned shared = shared_sectors (l->place);
  unsigned nr = (f->nr_sectors - shared) / f->per_block;
  unsigned i = rng_below (&l->rng, nr) / NR_THREADS * NR_THREADS + l->number;

  if (rng_below (&l->rng, 3) > 0 || i >= nr) {
    op->nr = 1;
    op->first = rng_below (&l->rng, shared / NR_THREADS) * NR_THREADS +
      l->number;
    return;
  }
  op->first = shared + i * f->per_block;
  op->nr = f->per_block;
  if (op->kind == DISK_WRITE) {
    op->first += rng_below (&l->rng, f->per_block);
    op->nr = 1;
  }
}

/* What it must hold now; after a trim, what it does hold if it may. */
static bool
check_own (struct loner *l, const struct disk_op *op)
{
  CLEANUP_FREE uint8_t *buf = malloc (op->nr * (size_t) DISK_SECTOR);
  uint8_t expected[DISK_SECTOR];

  if (buf == NULL || !read_sectors (l->place, buf, op->first, op->nr))
    return false;
  for (unsigned i = 0; i < op->nr; ++i) {
    uint8_t *found = sector_of (buf, i);
    uint8_t *should = sector_of (l->place->disk, op->first + i);

    disk_fill_sector (expected, op->kind == DISK_WRITE ? op->id + i : 0);
    if (memcmp (found, expected, DISK_SECTOR) != 0 &&
        (op->kind != DISK_TRIM || memcmp (found, should, DISK_SECTOR) != 0))
      return false;
    memcpy (should, found, DISK_SECTOR);
  }
  return true;
}

static void *
work_apart (void *arg)
{
  struct loner *l = arg;

  for (unsigned n = 0; n < l->nr_ops && l->failed == NULL; ++n) {
    unsigned kind = rng_below (&l->rng, 8);
    struct disk_op op = {
      .kind = kind < 5 ? DISK_WRITE : kind < 7 ? DISK_ZERO : DISK_TRIM,
      .flags = rng_below (&l->rng, 32) == 0 ? BLOCK_FUA : 0,
    };

    choose_own (l, &op);
    op.id = take_ids (l->place, op.nr);
    if (disk_op_run (&op, l->place->img, NULL) < 0)
      l->failed = "an operation failed";
    else if (!check_own (l, &op))
      l->failed = "what it wrote is not there";
    if (rng_below (&l->rng, 16) == 0 &&
        image_flush (l->place->img, NULL) < 0)
      l->failed = "a flush failed";
  }
  return NULL;
}

static void
threads_apart_do_not_disturb_each_other (void **state)
{
  uint64_t nr = nr_operations / 2 / subject_count () / NR_THREADS;

  (void) state;
  FOR_EACH_SUBJECT (s) {
    struct loner loners[NR_THREADS];
    struct place p;

    make_place (s, &p);
    for (uint64_t done = 0; done < nr; done += 100) {
      for (unsigned t = 0; t < NR_THREADS; ++t)
        loners[t] = (struct loner) { &p, t, 100, { rng_next (&p.rng) },
                                     NULL };
      run_threads (work_apart, loners, sizeof loners[0]);
      nr_done += NR_THREADS * 100;
      for (unsigned t = 0; t < NR_THREADS; ++t)
        if (loners[t].failed)
          fail_msg ("%s: thread %u: %s", s->name, t, loners[t].failed);
      check_place (&p);
      reopen_place (&p);
      check_place (&p);
    }
    remove_place (&p);
  }
}

/*--- On the same sectors ----------------------------------------------------*/

struct together {
  struct place *place;
  pthread_barrier_t *start;
  struct disk_op ops[NR_OPS];
  bool reads, failed;
  uint8_t read[NR_OPS][WINDOW * DISK_SECTOR];
  unsigned window;              /* sector */
};

static void *
work_together (void *arg)
{
  struct together *t = arg;

  pthread_barrier_wait (t->start);
  for (unsigned i = 0; i < NR_OPS && !t->failed; ++i)
    if (t->reads)
      t->failed = !read_sectors (t->place, t->read[i], t->window, WINDOW);
    else
      t->failed = disk_op_run (&t->ops[i], t->place->img, NULL) < 0 ||
        (t->ops[i].id % 8 == 0 && image_flush (t->place->img, NULL) < 0);
  return NULL;
}

/* In the window, or the block that the window is in. */
static struct disk_op
choose_shared (struct place *p, unsigned window)
{
  unsigned kind = rng_below (&p->rng, 8), per_block = p->files.per_block;
  struct disk_op op = {
    .kind = kind < 5 ? DISK_WRITE : kind < 7 ? DISK_ZERO : DISK_TRIM,
    .flags = rng_below (&p->rng, 32) == 0 ? BLOCK_FUA : 0,
  };

  op.first = window + rng_below (&p->rng, WINDOW);
  op.nr = 1 + rng_below (&p->rng, window + WINDOW - op.first);
  if (op.kind != DISK_WRITE && rng_below (&p->rng, 2)) {
    op.first = op.first / per_block * per_block;
    op.nr = (unsigned) min_u64 (per_block, p->files.nr_sectors - op.first);
  }
  op.id = take_ids (p, op.nr);
  return op;
}

static bool
covers (const struct disk_op *op, unsigned s)
{
  return s >= op->first && s - op->first < op->nr;
}

static bool
is_made_by (const struct disk_op *op, unsigned s, const uint8_t *sector)
{
  uint8_t made[DISK_SECTOR];

  disk_fill_sector (made, op->kind == DISK_WRITE ? op->id + s - op->first
                    : 0);
  return memcmp (sector, made, DISK_SECTOR) == 0;
}

/* Could thread t have been the last to write it?  *wrote: did it write? */
static bool
could_be_last (const struct together *t, unsigned s, const uint8_t *sector,
               bool *wrote)
{
  for (unsigned i = NR_OPS; i-- > 0 && !t->reads;) {
    if (!covers (&t->ops[i], s))
      continue;
    if (t->ops[i].kind != DISK_TRIM)
      *wrote = true;
    if (is_made_by (&t->ops[i], s, sector))
      return true;
    if (t->ops[i].kind != DISK_TRIM)
      return false;
  }
  return false;
}

static bool
is_possible (const struct together all[NR_THREADS], unsigned s,
             const uint8_t *sector, const uint8_t *before)
{
  bool wrote = false;

  for (unsigned t = 0; t < NR_THREADS; ++t)
    if (could_be_last (&all[t], s, sector, &wrote))
      return true;
  return !wrote && memcmp (sector, before, DISK_SECTOR) == 0;
}

/* While they write it may be anything that one of them makes of it. */
static bool
could_be_read (const struct together all[NR_THREADS], unsigned s,
               const uint8_t *sector, const uint8_t *before)
{
  if (memcmp (sector, before, DISK_SECTOR) == 0)
    return true;
  for (unsigned t = 0; t < NR_THREADS; ++t)
    for (unsigned i = 0; i < NR_OPS && !all[t].reads; ++i)
      if (covers (&all[t].ops[i], s) &&
          is_made_by (&all[t].ops[i], s, sector))
        return true;
  return false;
}

static void
check_reads (const struct together all[NR_THREADS], const struct place *p)
{
  for (unsigned t = 0; t < NR_THREADS; ++t)
    for (unsigned i = 0; i < NR_OPS && all[t].reads; ++i)
      for (unsigned n = 0; n < WINDOW; ++n) {
        unsigned s = all[t].window + n;

        if (!could_be_read (all, s, all[t].read[i] + n * DISK_SECTOR,
                            sector_of (p->disk, s)))
          fail_msg ("%s: sector %u was read as nobody made it",
                    p->files.subject->name, s);
      }
}

/* The sectors that were touched become what is there. */
static void
check_writes (const struct together all[NR_THREADS], struct place *p,
              unsigned first, unsigned nr)
{
  CLEANUP_FREE uint8_t *buf = malloc (nr * (size_t) DISK_SECTOR);

  assert_non_null (buf);
  assert_true (read_sectors (p, buf, first, nr));
  for (unsigned i = 0; i < nr; ++i) {
    uint8_t *before = sector_of (p->disk, first + i);

    if (!is_possible (all, first + i, sector_of (buf, i), before))
      fail_msg ("%s: sector %u is what none of the last made it",
                p->files.subject->name, first + i);
    memcpy (before, sector_of (buf, i), DISK_SECTOR);
  }
}

static void
plan_round (struct place *p, struct together all[NR_THREADS],
            pthread_barrier_t *start, unsigned window)
{
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    all[t].place = p;
    all[t].start = start;
    all[t].reads = t % 4 == 3;
    all[t].failed = false;
    all[t].window = window;
    for (unsigned i = 0; i < NR_OPS; ++i)
      all[t].ops[i] = choose_shared (p, window);
  }
}

static void
one_round (struct place *p, struct together all[NR_THREADS])
{
  unsigned per_block = p->files.per_block;
  unsigned window = rng_below (&p->rng, p->files.nr_sectors - WINDOW);
  unsigned first = window / per_block * per_block;
  unsigned end = (window + WINDOW + per_block - 1) / per_block * per_block;
  pthread_barrier_t start;

  pthread_barrier_init (&start, NULL, NR_THREADS);
  plan_round (p, all, &start, window);
  run_threads (work_together, all, sizeof all[0]);
  nr_done += NR_THREADS * NR_OPS;
  pthread_barrier_destroy (&start);
  for (unsigned t = 0; t < NR_THREADS; ++t)
    assert_false (all[t].failed);
  check_reads (all, p);
  check_writes (all, p, first,
                (unsigned) min_u64 (end, p->files.nr_sectors) - first);
}

static void
of_those_who_write_the_same_one_is_last (void **state)
{
  static struct together all[NR_THREADS];
  uint64_t nr = nr_operations / 2 / subject_count () / NR_THREADS / NR_OPS;

  (void) state;
  FOR_EACH_SUBJECT (s) {
    struct place p;

    make_place (s, &p);
    for (uint64_t n = 0; n < nr; ++n) {
      one_round (&p, all);
      if (n % 40 == 39) {
        check_place (&p);
        reopen_place (&p);
      }
    }
    check_place (&p);
    reopen_place (&p);
    check_place (&p);
    remove_place (&p);
  }
}

/*--- Asking -----------------------------------------------------------------*/

/* What an image is, is asked by clients that connect, while others begin to
 * write: then a VHDX gets a new identity.
 */
struct asker {
  struct place *place;
  pthread_barrier_t *start;
  unsigned number;
  uint8_t found[8][UUID_SIZE];
  bool failed;
};

static bool
ask (struct asker *a, uint8_t id[UUID_SIZE])
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };

  return image_get_info (a->place->img, &info, NULL) == 0 &&
    image_identity (a->place->img, id, NULL) == 0;
}

static void *
write_or_ask (void *arg)
{
  struct asker *a = arg;
  struct disk_op op = { .kind = DISK_WRITE, .first = a->number, .nr = 1,
                        .id = 1 + a->number };

  pthread_barrier_wait (a->start);
  if (a->number % 4 == 0) {
    a->failed = disk_op_run (&op, a->place->img, NULL) < 0;
    return NULL;
  }
  for (unsigned i = 0; i < 8 && !a->failed; ++i)
    a->failed = !ask (a, a->found[i]);
  return NULL;
}

static void
ask_all_at_once (struct place *p)
{
  struct asker askers[NR_THREADS];
  bool is_raw = strcmp (p->files.subject->format, "raw") == 0;
  uint8_t before[UUID_SIZE], after[UUID_SIZE];
  pthread_barrier_t start;

  pthread_barrier_init (&start, NULL, NR_THREADS);
  assert_int_equal (image_identity (p->img, before, NULL), 0);
  for (unsigned t = 0; t < NR_THREADS; ++t)
    askers[t] = (struct asker) { .place = p, .start = &start, .number = t };
  run_threads (write_or_ask, askers, sizeof askers[0]);
  pthread_barrier_destroy (&start);
  assert_int_equal (image_identity (p->img, after, NULL), 0);
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    assert_false (askers[t].failed);
    /* Of a raw disk it is made from what it holds. */
    for (unsigned i = 0; i < 8 && t % 4 && !is_raw; ++i)
      if (memcmp (askers[t].found[i], before, UUID_SIZE) != 0 &&
          memcmp (askers[t].found[i], after, UUID_SIZE) != 0)
        fail_msg ("%s: an identity that it never had",
                  p->files.subject->name);
  }
}

static void
who_asks_what_it_is_meanwhile_is_told (void **state)
{
  (void) state;
  FOR_EACH_SUBJECT (s) {
    struct place p;

    make_place (s, &p);
    for (unsigned n = 0; n < 20; ++n) {
      ask_all_at_once (&p);
      reopen_place (&p);
    }
    remove_place (&p);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (threads_apart_do_not_disturb_each_other),
    cmocka_unit_test (of_those_who_write_the_same_one_is_last),
    cmocka_unit_test (who_asks_what_it_is_meanwhile_is_told),
  };
  int nr_failed;

  seed = subject_number ("NBDIMAGE_TEST_SEED", 1);
  nr_operations = subject_number ("NBDIMAGE_TEST_OPERATIONS",
                                  getenv ("NBDIMAGE_LONG") ? 400000 : 40000);
  print_message ("seed %llu\n", (unsigned long long) seed);
  nr_failed = cmocka_run_group_tests (tests, NULL, NULL);
  counted (nr_done, "operations", (unsigned) nr_failed, seed);
  return nr_failed;
}
