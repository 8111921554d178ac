/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A target is what the image is, or does not look whole. */

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

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/block/window.h"
#include "lib/restore/carry-out.h"
#include "lib/restore/source.h"
#include "tests/support/scripted.h"

#define MB (UINT64_C (1) << 20)

/*--- Disks ------------------------------------------------------------------*/

static void
fill (uint8_t *p, uint64_t len, unsigned *seed)
{
  uint32_t x = (uint32_t) rand_r (seed) | 1;

  for (uint64_t i = 0; i < len; ++i) {
    x = x * 1664525 + 1013904223;
    p[i] = (uint8_t) (x >> 24 | 1);
  }
}

static enum extent_kind
any_kind (unsigned *seed)
{
  static const enum extent_kind kinds[] = {
    EXTENT_DATA, EXTENT_DATA, EXTENT_HOLE, EXTENT_ZERO, EXTENT_UNALLOCATED,
  };

  return kinds[rand_r (seed) % 5];
}

/* Its first sector is never zero, and where nothing is allocated it reads as
 * zeros, as backups do.
 */
static struct scripted *
new_image (uint64_t size, unsigned *seed)
{
  struct scripted *s = scripted_new ("image", size, 1);
  uint64_t off = 64 * 1024;

  scripted_extent (s, off, EXTENT_DATA, seed);
  while (off < size) {
    uint64_t len = rand_r (seed) % 3 == 0
      ? 1 + (uint64_t) rand_r (seed) % (7 * MB)
      : (1 + (uint64_t) rand_r (seed) % 40) * 4096;
    enum extent_kind kind = any_kind (seed);

    len = min_u64 (len, size - off);
    scripted_extent (s, len, kind, seed);
    if (kind == EXTENT_UNALLOCATED)
      memset (s->data + off, 0, (size_t) len);
    off += len;
  }
  fill (s->data, 4096, seed);
  s->base.writable = false;
  return s;
}

/* Full of what somebody else left. */
static struct scripted *
new_target (uint64_t size, uint32_t minimum, unsigned *seed)
{
  struct scripted *s = scripted_new ("target", size, minimum);

  fill (s->data, size, seed);
  return s;
}

static struct block *
new_source (struct scripted *image, uint64_t size, bool allow)
{
  const struct restore_part part = {
    .disk = &image->base, .len = block_size (&image->base), .size = size,
    .allow_unreadable = allow,
  };
  struct block *source;

  assert_int_equal (restore_source_new (&part, &source, NULL), 0);
  return source;
}

/* May the byte be anything? */
static bool
is_unallocated (const struct scripted *image, uint64_t off)
{
  uint64_t size = block_size (&image->base);

  for (size_t i = 0; i < image->extents.len; ++i) {
    const struct extent *e = &image->extents.ptr[i];

    if (off >= e->off && off < e->off + e->len)
      return e->kind == EXTENT_UNALLOCATED;
  }
  return off >= size;
}

/* All that the image says is data or zeros, and zeros at the very end. */
static void
assert_restored (const struct scripted *image, const struct scripted *target)
{
  uint64_t size = block_size (&target->base), have = block_size (&image->base);

  for (uint64_t off = 0; off < size; ++off) {
    /* Most are the same: look at a page at once. */
    if (off % 4096 == 0 && off + 4096 <= have &&
        memcmp (target->data + off, image->data + off, 4096) == 0) {
      off += 4095;
      continue;
    }
    uint8_t expected = off < have ? image->data[off] : 0;

    if (target->data[off] != expected &&
        (!is_unallocated (image, off) ||
         (off >= have && off >= size - min_u64 (size, RESTORE_TAIL))))
      fail_msg ("byte %" PRIu64 " is %02x, expected %02x", off,
                target->data[off], expected);
  }
}

static bool
looks_whole (const struct scripted *image, const struct scripted *target)
{
  return memcmp (image->data, target->data, 4096) == 0;
}

/*--- Running ----------------------------------------------------------------*/

static int
run (struct scripted *image, struct scripted *target, bool verify,
     struct job *job, struct restore_result *result, struct err *err)
{
  struct block *source = new_source (image, block_size (&target->base), false);
  const struct restore_piece piece = { source, &target->base };
  const struct restore_run what = {
    .pieces = &piece, .nr_pieces = 1, .verify = verify, .job = job,
  };
  int r = restore_run (&what, result, err);

  block_unref (source);
  return r;
}

static void
what_was_there_does_not_matter (void **state)
{
  static const uint32_t minima[] = { 1, 512, 4096 };

  (void) state;
  for (unsigned i = 0; i < 9; ++i) {
    unsigned seed = i + 1;
    uint64_t size = (1 + (uint64_t) rand_r (&seed) % 9000) * 4096;
    uint64_t more = i % 3 == 0 ? 0 : (uint64_t) (rand_r (&seed) % 3000) * 4096;
    struct scripted *image = new_image (max_u64 (size, 128 * 1024), &seed);
    struct scripted *target = new_target (block_size (&image->base) + more,
                                          minima[i % 3], &seed);
    struct restore_result result;
    struct err err = ERR_INIT;

    if (run (image, target, true, NULL, &result, &err) < 0)
      fail_msg ("seed %u: %s", i + 1, err.msg);
    assert_true (result.done && result.wiped);
    assert_restored (image, target);
    assert_memory_equal (target->stable, target->data,
                         block_size (&target->base));
    block_unref (&image->base);
    block_unref (&target->base);
  }
}

/* What no file system uses is neither read nor written, in pieces of its own.
 */
static void
free_space_is_left_alone (void **state)
{
  unsigned seed = 7;
  struct scripted *image = scripted_new ("image", 16 * MB, 1);
  struct scripted *target;
  struct restore_result result;
  struct err err = ERR_INIT;
  uint8_t *before = malloc (16 * MB);

  (void) state;
  scripted_extent (image, 4 * MB, EXTENT_DATA, &seed);
  scripted_extent (image, 8 * MB, EXTENT_UNALLOCATED, &seed);
  scripted_extent (image, 4 * MB, EXTENT_ZERO, &seed);
  fill (image->data, 4096, &seed);
  image->bad_from = 4 * MB;
  image->bad_to = 12 * MB;
  target = new_target (16 * MB, 1, &seed);
  memcpy (before, target->data, 16 * MB);
  if (run (image, target, true, NULL, &result, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (result.unallocated, 8 * MB);
  assert_memory_equal (target->data, image->data, 4 * MB);
  assert_memory_equal (target->data + 4 * MB, before + 4 * MB, 8 * MB);
  assert_memory_equal (target->data + 12 * MB, image->data + 12 * MB, 4 * MB);
  free (before);
  block_unref (&image->base);
  block_unref (&target->base);
}

/* By a name that does not tell: what was there is there again, and that it was
 * restored is not said.
 */
static void
the_image_itself_is_left_alone (void **state)
{
  unsigned seed = 11;
  struct scripted *image = new_image (4 * MB, &seed);
  uint8_t *before = malloc (4 * MB);
  struct restore_result result;
  struct err err = ERR_INIT;

  (void) state;
  memcpy (before, image->data, 4 * MB);
  image->base.writable = true;
  assert_int_equal (run (image, image, true, NULL, &result, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "is the image itself"));
  assert_false (result.done || result.wiped);
  assert_memory_equal (image->data, before, 4 * MB);
  assert_memory_equal (image->stable, before, RESTORE_HEAD);
  free (before);
  block_unref (&image->base);
}

/* Two partitions change places, by a name that does not tell. */
static void
halves_of_the_image_itself_are_left_alone (void **state)
{
  unsigned seed = 12;
  struct scripted *image = new_image (8 * MB, &seed);
  struct restore_piece pieces[2];
  const struct restore_run what = { .pieces = pieces, .nr_pieces = 2 };
  uint8_t *before = malloc (8 * MB);
  struct restore_result result;
  struct err err = ERR_INIT;

  (void) state;
  fill (image->data + 4 * MB, 4096, &seed);
  memcpy (before, image->data, 8 * MB);
  image->base.writable = true;
  for (unsigned i = 0; i < 2; ++i) {
    const struct restore_part part = {
      .disk = &image->base, .off = i * 4 * MB, .len = 4 * MB, .size = 4 * MB,
    };

    assert_int_equal (restore_source_new (&part, &pieces[i].from, NULL), 0);
    assert_int_equal (block_window_new (&image->base, (1 - i) * 4 * MB, 4 * MB,
                                        &pieces[i].to, NULL), 0);
  }
  assert_int_equal (restore_run (&what, &result, &err), -EINVAL);
  assert_false (result.done || result.wiped);
  assert_memory_equal (image->data, before, 8 * MB);
  for (unsigned i = 0; i < 2; ++i) {
    block_unref (pieces[i].from);
    block_unref (pieces[i].to);
  }
  free (before);
  block_unref (&image->base);
}

/*--- Faults -----------------------------------------------------------------*/

enum fault { WRITE, ZERO, FLUSH, READ_IMAGE, READ_TARGET, EXTENTS };

static void
set_fault (struct scripted *image, struct scripted *target, enum fault fault,
           unsigned n)
{
  target->fail_write = fault == WRITE ? n : 0;
  target->fail_zero = fault == ZERO ? n : 0;
  target->fail_flush = fault == FLUSH ? n : 0;
  target->fail_read = fault == READ_TARGET ? n : 0;
  image->fail_read = fault == READ_IMAGE ? n : 0;
  image->fail_extents = fault == EXTENTS ? n : 0;
}

/* The n-th of those, on a disk of its own.  False: there are not so many. */
static bool
try_fault (enum fault fault, unsigned n)
{
  unsigned seed = 21;
  struct scripted *image = new_image (9 * MB, &seed);
  struct scripted *target = new_target (10 * MB, 512, &seed);
  struct restore_result result;
  struct err err = ERR_INIT;
  bool failed;
  int r;

  set_fault (image, target, fault, n);
  r = run (image, target, true, NULL, &result, &err);
  failed = r < 0;
  assert_int_equal (result.done, !failed);
  if (failed) {
    assert_true (r == (fault == WRITE ? -ENOSPC : -EIO));
    assert_true (strstr (err.msg, fault == READ_IMAGE || fault == EXTENTS
                         ? "image" : "target") != NULL);
    assert_false (looks_whole (image, target));
    set_fault (image, target, fault, 0);
    assert_int_equal (run (image, target, true, NULL, &result, &err), 0);
  }
  assert_restored (image, target);
  block_unref (&image->base);
  block_unref (&target->base);
  return failed;
}

/* What is there need not be read, which is the first read of a target. */
static void
try_all (enum fault fault, unsigned at_least)
{
  unsigned n = 1;

  if (fault == READ_TARGET)
    assert_false (try_fault (fault, n++));

  while (try_fault (fault, n))
    n++;
  print_message ("%u failed, one after the other\n", n - 1);
  assert_in_range (n - 1, at_least, 1000);
}

static void
a_write_that_fails_is_told (void **state)
{
  (void) state;
  try_all (WRITE, 5);
}

static void
zeros_that_fail_are_told (void **state)
{
  (void) state;
  try_all (ZERO, 2);
}

/* After the heads are wiped, after the body, and after each half of them. */
static void
a_flush_that_fails_is_told (void **state)
{
  (void) state;
  try_all (FLUSH, 4);
}

static void
an_image_that_fails_is_told (void **state)
{
  (void) state;
  try_all (READ_IMAGE, 5);
  try_all (EXTENTS, 2);
}

static void
a_target_that_can_not_be_read_again_is_told (void **state)
{
  (void) state;
  try_all (READ_TARGET, 5);
}

static void
canceled_at_any_time_it_does_not_look_whole (void **state)
{
  unsigned canceled = 0;

  (void) state;
  for (unsigned n = 1; n < 200; ++n) {
    unsigned seed = 33;
    struct scripted *image = new_image (12 * MB, &seed);
    struct scripted *target = new_target (12 * MB, 512, &seed);
    struct restore_result result;
    struct err err = ERR_INIT;
    struct job job = JOB_INIT;
    int r;

    image->cancel = &job;
    image->cancel_at = n;
    r = run (image, target, true, &job, &result, &err);
    assert_int_equal (result.done, r == 0);
    assert_int_equal (looks_whole (image, target), r == 0);
    if (r < 0)
      assert_int_equal (r, -ECANCELED);
    canceled += r < 0;
    block_unref (&image->base);
    block_unref (&target->base);
    if (r == 0 && !job.canceled)
      break;
  }
  assert_in_range (canceled, 5, 198);
}

static void
canceled_before_it_begins_nothing_is_written (void **state)
{
  unsigned seed = 5;
  struct scripted *image = new_image (3 * MB, &seed);
  struct scripted *target = new_target (3 * MB, 512, &seed);
  struct restore_result result;
  struct err err = ERR_INIT;
  struct job job = JOB_INIT;

  (void) state;
  job_cancel (&job);
  assert_int_equal (run (image, target, true, &job, &result, &err),
                    -ECANCELED);
  assert_false (result.wiped);
  assert_int_equal (target->writes + target->zeros, 0);
  block_unref (&image->base);
  block_unref (&target->base);
}

/*--- Comparing --------------------------------------------------------------*/

struct other {
  struct scripted *disk;        /* what is read instead */
  uint64_t flip;
  struct scripted *target;
};

/* A medium that kept something else than it was told. */
static int
read_other (void *opaque, size_t i, struct block **out, struct err *err)
{
  struct other *other = opaque;

  (void) i;
  (void) err;
  memcpy (other->disk->data, other->target->data,
          block_size (&other->target->base));
  if (other->flip < MB ? other->target->data[0] != 0 : true)
    other->disk->data[other->flip] ^= 1;
  *out = block_ref (&other->disk->base);
  return 0;
}

static void
a_byte_that_the_medium_lost_is_found (void **state)
{
  static const uint64_t places[] = {
    0, 511, 4095, 4096, MB - 1, MB, MB + 12345, 4 * MB - 1,
  };

  (void) state;
  for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
    unsigned seed = 3;
    struct scripted *image = scripted_new ("image", 4 * MB, 1);
    struct scripted *target = new_target (4 * MB, 1, &seed);
    struct other other = { scripted_new ("other", 4 * MB, 1), places[i],
                           target };
    struct block *source;
    struct restore_result result;
    struct restore_piece piece;
    struct restore_run what = {
      .pieces = &piece, .nr_pieces = 1, .verify = true,
      .reread = read_other, .opaque = &other,
    };
    struct err err = ERR_INIT;
    char at[32];

    fill (image->data, 4 * MB, &seed);
    source = new_source (image, 4 * MB, false);
    piece = (struct restore_piece) { source, &target->base };
    assert_int_equal (restore_run (&what, &result, &err), -EIO);
    snprintf (at, sizeof at, "offset %" PRIu64 " ", places[i]);
    assert_non_null (strstr (err.msg, at));
    assert_false (result.done);
    assert_false (looks_whole (image, target));

    /* Who does not look is told nothing, and that it was not looked at is
     * for the caller to say.
     */
    what.verify = false;
    assert_int_equal (restore_run (&what, &result, &err), 0);
    block_unref (source);
    block_unref (&image->base);
    block_unref (&target->base);
    block_unref (&other.disk->base);
  }
}

/*--- Several pieces ---------------------------------------------------------*/

static void
one_that_fails_leaves_none_that_looks_whole (void **state)
{
  unsigned seed = 9;
  struct scripted *images[2], *targets[2];
  struct restore_piece pieces[2];
  struct restore_run what = {
    .pieces = pieces, .nr_pieces = 2, .verify = true,
  };
  struct restore_result result;
  struct err err = ERR_INIT;

  (void) state;
  for (int i = 0; i < 2; ++i) {
    images[i] = new_image (5 * MB, &seed);
    targets[i] = new_target (5 * MB, 512, &seed);
    pieces[i] = (struct restore_piece) {
      new_source (images[i], 5 * MB, false), &targets[i]->base,
    };
  }
  targets[1]->fail_write = 3;
  assert_int_equal (restore_run (&what, &result, &err), -ENOSPC);
  for (int i = 0; i < 2; ++i)
    assert_false (looks_whole (images[i], targets[i]));
  assert_int_equal (restore_run (&what, &result, &err), 0);
  for (int i = 0; i < 2; ++i) {
    assert_restored (images[i], targets[i]);
    block_unref (pieces[i].from);
    block_unref (&images[i]->base);
    block_unref (&targets[i]->base);
  }
}

/*--- What can't be read -----------------------------------------------------*/

static void
unreadable_sectors_are_zeros_only_if_allowed (void **state)
{
  unsigned seed = 11;
  struct scripted *image = scripted_new ("image", 6 * MB, 1);
  struct scripted *target = new_target (6 * MB, 512, &seed);
  const uint64_t from = 3 * MB + 512, to = 3 * MB + 5 * 512;
  struct restore_ranges lost = VECTOR_INIT;
  struct restore_result result;
  struct restore_piece piece = { NULL, &target->base };
  const struct restore_run what = {
    .pieces = &piece, .nr_pieces = 1, .verify = true,
  };
  struct err err = ERR_INIT;

  (void) state;
  fill (image->data, 6 * MB, &seed);
  image->bad_from = from;
  image->bad_to = to;
  assert_int_equal (run (image, target, true, NULL, &result, &err), -EIO);
  assert_false (looks_whole (image, target));

  piece.from = new_source (image, 6 * MB, true);
  assert_int_equal (restore_run (&what, &result, &err), 0);
  assert_int_equal (restore_source_lost (piece.from, &lost, &err), 0);
  assert_int_equal (lost.len, 1);
  assert_int_equal (lost.ptr[0].off, from);
  assert_int_equal (lost.ptr[0].len, to - from);
  for (uint64_t off = 0; off < 6 * MB; ++off)
    assert_int_equal (target->data[off],
                      off >= from && off < to ? 0 : image->data[off]);
  vector_free (&lost);
  block_unref (piece.from);
  block_unref (&image->base);
  block_unref (&target->base);
}

static void
patches_are_what_is_written (void **state)
{
  unsigned seed = 13;
  struct scripted *image = new_image (3 * MB, &seed);
  uint8_t bytes[3] = { 1, 2, 3 };
  struct part_patch list[] = {
    { 100, 3, bytes }, { 2 * MB - 5, 10, NULL }, { 5 * MB - 3, 3, bytes },
  };
  const struct part_patches patches = { list, 3, 3 };
  const struct restore_part part = {
    .disk = &image->base, .len = 3 * MB, .size = 5 * MB, .patches = &patches,
  };
  uint8_t *expected = calloc (1, 5 * MB), *got = malloc (5 * MB);
  struct block *source;

  (void) state;
  memcpy (expected, image->data, 3 * MB);
  memcpy (expected + 100, bytes, 3);
  memset (expected + 2 * MB - 5, 0, 10);
  memcpy (expected + 5 * MB - 3, bytes, 3);
  assert_int_equal (restore_source_new (&part, &source, NULL), 0);
  assert_int_equal (block_pread (source, got, 5 * MB, 0, NULL), 0);
  assert_memory_equal (got, expected, 5 * MB);
  for (unsigned i = 0; i < 2000; ++i) {
    uint64_t off = (uint64_t) rand_r (&seed) % (5 * MB);
    uint64_t len = 1 + (uint64_t) rand_r (&seed) % min_u64 (5 * MB - off, 9000);

    assert_int_equal (block_pread (source, got, len, off, NULL), 0);
    assert_memory_equal (got, expected + off, len);
  }
  free (expected);
  free (got);
  block_unref (source);
  block_unref (&image->base);
}

/* Extents cover what was asked, without gaps, whatever the limit. */
static void
extents_say_the_same_in_small_pieces (void **state)
{
  unsigned seed = 17;
  struct scripted *image = new_image (9 * MB, &seed);
  struct block *source = new_source (image, 12 * MB, false);
  uint64_t off = 0;

  (void) state;
  while (off < 12 * MB) {
    struct extent_list list = { .limit = 1 + rand_r (&seed) % 3,
                                .unallocated = true };
    uint64_t len = 1 + (uint64_t) rand_r (&seed) % (12 * MB - off), at = off;

    assert_int_equal (block_extents (source, len, off, &list, NULL), 0);
    for (size_t i = 0; i < list.v.len; ++i) {
      const struct extent *e = &list.v.ptr[i];

      assert_int_equal (e->off, at);
      at += e->len;
      assert_int_equal (e->kind == EXTENT_UNALLOCATED,
                        e->off < 11 * MB && is_unallocated (image, e->off));
    }
    assert_in_range (at, off + 1, off + len);
    extent_list_free (&list);
    off = at;
  }
  block_unref (source);
  block_unref (&image->base);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_was_there_does_not_matter),
    cmocka_unit_test (free_space_is_left_alone),
    cmocka_unit_test (the_image_itself_is_left_alone),
    cmocka_unit_test (halves_of_the_image_itself_are_left_alone),
    cmocka_unit_test (a_write_that_fails_is_told),
    cmocka_unit_test (zeros_that_fail_are_told),
    cmocka_unit_test (a_flush_that_fails_is_told),
    cmocka_unit_test (an_image_that_fails_is_told),
    cmocka_unit_test (a_target_that_can_not_be_read_again_is_told),
    cmocka_unit_test (canceled_at_any_time_it_does_not_look_whole),
    cmocka_unit_test (canceled_before_it_begins_nothing_is_written),
    cmocka_unit_test (a_byte_that_the_medium_lost_is_found),
    cmocka_unit_test (one_that_fails_leaves_none_that_looks_whole),
    cmocka_unit_test (unreadable_sectors_are_zeros_only_if_allowed),
    cmocka_unit_test (patches_are_what_is_written),
    cmocka_unit_test (extents_say_the_same_in_small_pieces),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
