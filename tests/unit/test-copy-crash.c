/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The power fails while a disk is copied into a VHD: what the last checkpoint
 * said is there, and the copy that goes on behind it is the disk.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/copy/copy.h"
#include "lib/format/create.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/scripted.h"

#define MB (UINT64_C (1) << 20)
#define SIZE (14 * MB + 512)
#define CRASHES 5               /* in one copy */

int __wrap_clock_gettime (clockid_t clock, struct timespec *ts);

/* Each look at the clock takes this long, so that there are checkpoints. */
int
__wrap_clock_gettime (clockid_t clock, struct timespec *ts)
{
  static long ms;
  long now = __atomic_add_fetch (&ms, 1100, __ATOMIC_RELAXED);

  (void) clock;
  *ts = (struct timespec) { now / 1000, now % 1000 * 1000000 };
  return 0;
}

/*--- A source during whose reading the power of the target fails ------------*/

struct crash {
  uint8_t *file;                /* NULL: it did not happen */
  size_t len;
  uint64_t told;
};

struct trap {
  struct block base;
  struct scripted *below;
  struct block *recorder;
  uint64_t told;                /* atomic: the last checkpoint */
  unsigned reads, every, seed;  /* atomic; a crash at each so manieth */
  struct crash crashes[CRASHES];
};

/* The number first: what is told later is more. */
static void
take_crash (struct trap *t, unsigned n)
{
  struct crash *c = &t->crashes[n / t->every];

  c->told = __atomic_load_n (&t->told, __ATOMIC_SEQ_CST);
  c->file = recorder_crash (t->recorder, t->seed + n, &c->len);
}

static int
trap_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  struct trap *t = (struct trap *) b;
  unsigned n = __atomic_fetch_add (&t->reads, 1, __ATOMIC_RELAXED);

  if (t->recorder && n % t->every == t->every - 1 && n / t->every < CRASHES)
    take_crash (t, n);
  return block_pread (&t->below->base, buf, len, off, err);
}

static int
trap_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  return block_extents (&((struct trap *) b)->below->base, len, off, list,
                        err);
}

static const struct block_ops trap_ops = {
  .pread = trap_pread,
  .extents = trap_extents,
};

static int
tell (void *opaque, uint64_t done, struct err *err)
{
  struct trap *t = opaque;

  (void) err;
  __atomic_store_n (&t->told, done, __ATOMIC_SEQ_CST);
  return 0;
}

/*--- Target -----------------------------------------------------------------*/

static uint8_t *empty;
static size_t empty_len;

static int
make_empty (void **state)
{
  static const struct image_create_options options = {
    .format = "vhd", .size = SIZE, .block_size = 512 * 1024,
  };
  uint64_t size;
  FILE *fp;

  (void) state;
  unlink ("copy-crash.vhd");
  if (image_create ("copy-crash.vhd", &options, &size, NULL, NULL) < 0)
    return -1;
  fp = fopen ("copy-crash.vhd", "r");
  empty = malloc (1 << 20);
  if (fp == NULL || empty == NULL)
    return -1;
  empty_len = fread (empty, 1, 1 << 20, fp);
  fclose (fp);
  return unlink ("copy-crash.vhd");
}

static int
free_empty (void **state)
{
  (void) state;
  free (empty);
  return 0;
}

/* NULL: it can't be written. */
static struct block *
open_disk (struct block *recorder)
{
  const struct image_options options = { .format = "vhd", .writable = true };
  struct image *img;
  struct block *disk;

  if (image_open_block (recorder, &options, &img, NULL, NULL) < 0)
    return NULL;
  assert_int_equal (image_to_block (img, &disk, NULL), 0);
  image_unref (img);
  return disk;
}

static bool
has (struct block *disk, const uint8_t *data, uint64_t len)
{
  uint8_t *buf = malloc (SIZE);
  bool same = block_pread (disk, buf, len, 0, NULL) == 0 &&
    memcmp (buf, data, len) == 0;

  free (buf);
  return same;
}

static void
run_copy (struct trap *t, struct block *disk, uint64_t start,
          unsigned threads)
{
  const struct copy_options options = {
    .threads = threads, .start = start, .target_is_zero = true,
    .checkpoint = tell, .opaque = t,
  };
  struct copy_result result;
  struct err err = ERR_INIT;

  if (copy_disk (&t->base, disk, &options, &result, &err) < 0)
    fail_msg ("%s", err.msg);
}

static unsigned nr_crashes, nr_told, nr_lost, nr_gone_on;

/* As convert --resume does; or only see what is there. */
static void
go_on (struct trap *t, const struct crash *c, bool only_see)
{
  struct block *recorder = recorder_new (c->file, c->len);
  struct block *disk = open_disk (recorder);

  nr_crashes++;
  nr_told += c->told > 0;
  if (disk && !has (disk, t->below->data, c->told))
    nr_lost++;
  else if (disk && !only_see) {
    assert_int_equal (block_zero (disk, SIZE - c->told, c->told, 0, NULL), 0);
    run_copy (t, disk, c->told, 3);
    assert_true (has (disk, t->below->data, SIZE));
    nr_gone_on++;
  }
  block_unref (disk);
  block_unref (recorder);
}

static void
crash_while_copying (unsigned seed, bool drop_flushes)
{
  struct trap t = { .every = 1 + seed % 7, .seed = seed * 100 };
  struct block *disk;
  uint64_t done = 0;

  assert_int_equal (block_init (&t.base, &trap_ops, "source", SIZE, false,
                                NULL), 0);
  t.below = scripted_new ("below", SIZE, 1);
  while (done < SIZE) {
    uint64_t len = 512 * (1 + (uint64_t) rand_r (&seed) % 3000);

    scripted_extent (t.below, len, rand_r (&seed) % 3 ? EXTENT_DATA
                     : EXTENT_HOLE, &seed);
    done += len;
  }
  t.recorder = recorder_new (empty, empty_len);
  recorder_drop_flushes (t.recorder, drop_flushes);
  disk = open_disk (t.recorder);
  assert_non_null (disk);
  run_copy (&t, disk, 0, 1 + seed % 4);
  assert_true (has (disk, t.below->data, SIZE));
  block_unref (disk);
  block_unref (t.recorder);
  t.recorder = NULL;            /* no more crashes */
  for (unsigned i = 0; i < CRASHES; ++i)
    if (t.crashes[i].file) {
      go_on (&t, &t.crashes[i], drop_flushes);
      free (t.crashes[i].file);
    }
  block_unref (&t.below->base);
  free (t.base.name);
}

static void
crash_often (unsigned times, bool drop_flushes)
{
  unsigned seed = (unsigned) time (NULL);
  const char *said = getenv ("COPY_SEED");

  if (said)
    seed = (unsigned) atoi (said);
  printf ("COPY_SEED=%u\n", seed);
  nr_crashes = nr_told = nr_lost = nr_gone_on = 0;
  for (unsigned i = 0; i < times; ++i)
    crash_while_copying (seed + i, drop_flushes);
  printf ("%u crashes, %u after a checkpoint; %u lost something, %u went on\n",
          nr_crashes, nr_told, nr_lost, nr_gone_on);
  if (!drop_flushes)
    counted (nr_crashes, "crash states", nr_lost, seed);
  assert_true (nr_told >= times / 2);
}

/* Where a footer is torn, convert begins anew; that is rare. */
static void
after_a_power_cut_it_goes_on (void **state)
{
  (void) state;
  crash_often (25, false);
  assert_int_equal (nr_lost, 0);
  assert_true (nr_gone_on >= nr_crashes / 2);
}

static void
without_flushes_it_would_not (void **state)
{
  (void) state;
  crash_often (12, true);
  assert_true (nr_lost > 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (after_a_power_cut_it_goes_on),
    cmocka_unit_test (without_flushes_it_would_not),
  };

  return cmocka_run_group_tests (tests, make_empty, free_empty);
}
