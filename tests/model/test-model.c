/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Random operations on each kind of image that can be written, against the
 * bytes that its disk should hold: of any alignment, with every flag, and
 * with the image closed and opened in between.  In memory, and in files.
 *
 * NBDIMAGE_TEST_SEED: what random numbers begin with; a life that fails says
 * its own, which begins with it the next time.  NBDIMAGE_TEST_SUBJECT: of that
 * subject only.  NBDIMAGE_TEST_OPERATIONS: how many, in all; by default
 * 50,000, and 1,000,000 if NBDIMAGE_LONG is set.
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

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "tests/support/counted.h"
#include "tests/support/history.h"
#include "tests/support/subject.h"
#include "tests/support/rng.h"

#define LIFE 1000               /* operations */

static uint64_t seed, nr_operations;
static uint64_t nr_done;        /* operations */

struct life {
  const struct subject_files *files;
  struct block *block;
  struct image *img;
  struct rng rng;
  uint64_t seed, size;
  uint32_t unit;                /* bytes that writes are multiples of */
  unsigned n;                   /* operation */
  uint8_t *disk, *buf;          /* what it should hold; as large */
};

static void __attribute__ ((__format__ (__printf__, 2, 3)))
wrong (const struct life *l, const char *fmt, ...)
{
  char why[1024];
  va_list ap;

  va_start (ap, fmt);
  vsnprintf (why, sizeof why, fmt, ap);
  va_end (ap);
  fail_msg ("NBDIMAGE_TEST_SUBJECT=%s NBDIMAGE_TEST_SEED=%llu: operation %u: "
            "%s", l->files->subject->name, (unsigned long long) l->seed, l->n,
            why);
}

/*--- Ranges -----------------------------------------------------------------*/

struct range {
  uint64_t off;
  size_t len;
};

/* Around the borders of blocks, half of the time. */
static uint64_t
random_off (struct life *l)
{
  uint64_t block = l->files->subject->block_size;
  uint64_t off = rng_next (&l->rng) % l->size;

  if (rng_below (&l->rng, 2) == 0)
    return off;
  off = round_down (off, block) + rng_below (&l->rng, 6000);
  return off < 3000 ? 0 : min_u64 (off - 3000, l->size - 1);
}

static struct range
random_range (struct life *l)
{
  static const unsigned most[] = { 512, 700, 4096, 20000, 100000 };
  uint64_t block = l->files->subject->block_size;
  struct range r = { .off = random_off (l) };

  r.len = 1 + rng_below (&l->rng, most[rng_below (&l->rng, 5)]);
  switch (rng_below (&l->rng, 8)) {
  case 0:                       /* whole blocks */
    r.off = round_down (r.off, block);
    r.len = block * (1 + rng_below (&l->rng, 3));
    break;
  case 1: case 2:               /* as file systems do */
    r.off = round_down (r.off, 4096);
    r.len = round_up (r.len, 4096);
    break;
  }
  r.off = round_down (r.off, l->unit);
  r.len = (size_t) min_u64 (round_up (r.len, l->unit), l->size - r.off);
  return r;
}

/*--- Operations -------------------------------------------------------------*/

static void
must (const struct life *l, int r, const char *what, const struct err *err)
{
  if (r < 0)
    wrong (l, "%s: %s", what, err->msg);
}

static void
compare (struct life *l, uint64_t off, size_t len)
{
  struct err err = ERR_INIT;

  must (l, image_pread (l->img, l->buf, len, off, &err), "read", &err);
  if (memcmp (l->buf, l->disk + off, len) == 0)
    return;
  for (size_t i = 0; i < len; ++i)
    if (l->buf[i] != l->disk[off + i])
      wrong (l, "offset %llu is %02x, expected %02x",
             (unsigned long long) (off + i), l->buf[i], l->disk[off + i]);
}

static unsigned
random_fua (struct life *l)
{
  return rng_below (&l->rng, 20) == 0 ? BLOCK_FUA : 0;
}

static void
do_write (struct life *l)
{
  struct range r = random_range (l);
  struct err err = ERR_INIT;
  uint64_t n = rng_next (&l->rng);

  for (size_t i = 0; i < r.len; ++i)
    l->disk[r.off + i] = (uint8_t) ((n + i) * 0x9E3779B1U >> 13);
  must (l, image_pwrite (l->img, l->disk + r.off, r.len, r.off,
                         random_fua (l), &err), "write", &err);
}

static void
do_zero (struct life *l)
{
  struct range r = random_range (l);
  unsigned flags = random_fua (l);
  struct err err = ERR_INIT;
  int result;

  if (rng_below (&l->rng, 4) == 0)
    flags |= BLOCK_NO_HOLE;
  if (rng_below (&l->rng, 8) == 0)
    flags |= BLOCK_FAST;
  result = image_zero (l->img, r.len, r.off, flags, &err);
  if (result == -ENOTSUP && flags & BLOCK_FAST) {
    compare (l, r.off, r.len);
    return;
  }
  must (l, result, "zero", &err);
  memset (l->disk + r.off, 0, r.len);
}

/* Each byte is zero now, or what it was. */
static void
do_trim (struct life *l)
{
  struct range r = random_range (l);
  struct err err = ERR_INIT;

  must (l, image_trim (l->img, r.len, r.off, random_fua (l), &err), "trim",
        &err);
  must (l, image_pread (l->img, l->buf, r.len, r.off, &err), "read", &err);
  for (size_t i = 0; i < r.len; ++i) {
    if (l->buf[i] != 0 && l->buf[i] != l->disk[r.off + i])
      wrong (l, "trimmed, offset %llu is %02x and was %02x",
             (unsigned long long) (r.off + i), l->buf[i], l->disk[r.off + i]);
    l->disk[r.off + i] = l->buf[i];
  }
}

static void
do_flush (struct life *l)
{
  struct err err = ERR_INIT;

  must (l, image_flush (l->img, &err), "flush", &err);
}

static void
do_read (struct life *l)
{
  struct range r = random_range (l);

  compare (l, r.off, r.len);
}

/* What is said to be zeros, is. */
static void
do_extents (struct life *l)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  struct range r = random_range (l);
  struct err err = ERR_INIT;
  uint64_t end = r.off;

  must (l, image_extents (l->img, r.len, r.off, &list, &err), "extents",
        &err);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    if (e->off != end || e->len == 0 || e->len > l->size - e->off)
      wrong (l, "extent %zu is %llu bytes at offset %llu", i,
             (unsigned long long) e->len, (unsigned long long) e->off);
    end = e->off + e->len;
    for (uint64_t at = e->off; e->kind != EXTENT_DATA && at < end; ++at)
      if (l->disk[at] != 0)
        wrong (l, "offset %llu is %s by the extents",
               (unsigned long long) at, extent_kind_to_string (e->kind));
  }
  if (end == r.off)
    wrong (l, "no extents");
}

static void
open_it (struct life *l)
{
  struct block_sizes sizes;
  struct err err = ERR_INIT;

  must (l, subject_open (l->files, l->block, true, &l->img, &err), "open",
        &err);
  image_get_sizes (l->img, &sizes);
  l->unit = sizes.minimum;
  if (image_size (l->img) != l->size)
    wrong (l, "the disk has %llu bytes",
           (unsigned long long) image_size (l->img));
}

static void
compare_all (struct life *l)
{
  compare (l, 0, l->size);
}

/* Who only reads sees the same, and leaves it alone. */
static void
do_reopen (struct life *l)
{
  struct err err = ERR_INIT;

  image_unref (l->img);
  must (l, subject_open (l->files, l->block, false, &l->img, &err),
        "open for reading", &err);
  compare_all (l);
  image_unref (l->img);
  open_it (l);
}

static void
do_something (struct life *l)
{
  switch (rng_below (&l->rng, 64)) {
  case 0 ... 25:
    do_write (l);
    break;
  case 26 ... 35:
    do_zero (l);
    break;
  case 36 ... 43:
    do_trim (l);
    break;
  case 44 ... 57:
    do_read (l);
    break;
  case 58 ... 59:
    do_extents (l);
    break;
  default:
    do_flush (l);
    break;
  }
}

/*--- A life -----------------------------------------------------------------*/

static void
live (struct life *l)
{
  open_it (l);
  compare_all (l);
  for (l->n = 0; l->n < LIFE; ++l->n) {
    do_something (l);
    nr_done++;
    if (rng_below (&l->rng, 100) == 0)
      do_reopen (l);
    else if (rng_below (&l->rng, 100) == 0)
      compare_all (l);
  }
  do_reopen (l);
  compare_all (l);
  image_unref (l->img);
}

static void
live_with (const struct subject_files *f, struct block *block, uint64_t begin)
{
  struct life l = {
    .files = f, .block = block, .rng = { begin }, .seed = begin,
    .size = f->nr_sectors * UINT64_C (512),
  };

  l.disk = malloc (l.size);
  l.buf = malloc (l.size);
  assert_true (l.disk != NULL && l.buf != NULL);
  memcpy (l.disk, f->disk, l.size);
  live (&l);
  free (l.disk);
  free (l.buf);
}

static void
in_memory (const struct subject_files *f, uint64_t begin)
{
  struct history *h = history_new ();
  struct block *block = history_file (h, "memory", f->data, f->len);

  history_stop (h);
  live_with (f, block, begin);
  block_unref (block);
  history_free (h);
}

static void
what_was_written_last_is_there (void **state)
{
  uint64_t nr = div_round_up (nr_operations, LIFE);

  (void) state;
  FOR_EACH_SUBJECT (s) {
    for (uint64_t n = 0; n < div_round_up (nr, subject_count ()); ++n) {
      struct subject_files f;

      subject_make (s, seed + n, &f);
      in_memory (&f, seed + n);
      subject_remove (&f);
    }
    print_message ("%s: from seed %llu\n", s->name,
                   (unsigned long long) seed);
  }
  assert_true (nr_done >= nr_operations);
}

/* Where holes are punched, sizes change, and a file system lies below. */
static void
in_files_too (void **state)
{
  (void) state;
  FOR_EACH_SUBJECT (s)
    for (uint64_t n = 0; n < (getenv ("NBDIMAGE_LONG") ? 8 : 1); ++n) {
      struct subject_files f;
      struct block *block;

      subject_make (s, seed + n, &f);
      assert_int_equal (block_file_open (f.leaf, BLOCK_FILE_WRITE |
                                         BLOCK_FILE_LOCK, &block, NULL, NULL),
                        0);
      live_with (&f, block, seed + n);
      block_unref (block);
      subject_remove (&f);
    }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_was_written_last_is_there),
    cmocka_unit_test (in_files_too),
  };
  int nr_failed;

  seed = subject_number ("NBDIMAGE_TEST_SEED", 1);
  nr_operations = subject_number ("NBDIMAGE_TEST_OPERATIONS",
                                  getenv ("NBDIMAGE_LONG") ? 1000000 : 50000);
  nr_failed = cmocka_run_group_tests (tests, NULL, NULL);
  counted (nr_done, "operations", (unsigned) nr_failed, seed);
  return nr_failed;
}
