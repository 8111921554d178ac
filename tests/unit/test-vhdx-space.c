/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The end of a VHDX that is written: places for new blocks come there, and it
 * becomes shorter at a flush when its last blocks are given up; no entry of
 * the log that counts says that it is longer than it is.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx-disk.h"
#include "tests/support/recorder.h"
#include "tests/support/vhdx-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define MIB ((size_t) VHDX_MIB)
#define NR_BLOCKS 40U
#define BLOCKS_AT (4 * MIB)             /* where the maker puts them */

static void
must (int r)
{
  assert_int_equal (r, 0);
}

static struct block *
disk_of (unsigned nr_blocks)
{
  const struct vhdx_spec spec = { .size = nr_blocks * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  struct block *block;

  vhdx_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhdx_maker_free (m);
  return block;
}

static struct block *
empty_disk (void)
{
  return disk_of (NR_BLOCKS);
}

static struct image *
open_image (struct block *block, bool writable)
{
  const struct image_options options = { .writable = writable };
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static int
try_to_write (struct image *img, unsigned i, uint8_t byte)
{
  uint8_t bytes[512];

  memset (bytes, byte, sizeof bytes);
  return image_pwrite (img, bytes, sizeof bytes, i * MIB, 0, NULL);
}

static void
write_block (struct image *img, unsigned i, uint8_t byte)
{
  must (try_to_write (img, i, byte));
}

static void
check_block (struct image *img, unsigned i, uint8_t byte)
{
  uint8_t bytes[1024];

  must (image_pread (img, bytes, sizeof bytes, i * MIB, NULL));
  for (size_t n = 0; n < sizeof bytes; ++n)
    assert_int_equal (bytes[n], n < 512 ? byte : 0);
}

static size_t
file_size (struct block *block)
{
  size_t len;

  recorder_data (block, &len);
  return len;
}

/*--- The log ----------------------------------------------------------------*/

static const uint8_t *
find_entry (const uint8_t *file, uint64_t sequence)
{
  for (size_t off = 0; off < MIB; off += VHDX_PAGE) {
    const uint8_t *e = file + VHDX_AT_LOG + off;

    if (memcmp (e, VHDX_LOG_SIGNATURE, 4) == 0 &&
        memcmp (e + VHDX_LOG_GUID, file + VHDX_AT_HEADER_1 +
                VHDX_HEADER_LOG_GUID, 16) == 0 &&
        get_le64 (e + VHDX_LOG_SEQUENCE) == sequence)
      return e;
  }
  return NULL;
}

static uint64_t
last_sequence (const uint8_t *file)
{
  uint64_t last = 0;

  for (size_t off = 0; off < MIB; off += VHDX_PAGE) {
    const uint8_t *e = file + VHDX_AT_LOG + off;

    if (memcmp (e, VHDX_LOG_SIGNATURE, 4) == 0)
      last = max_u64 (last, get_le64 (e + VHDX_LOG_SEQUENCE));
  }
  return last;
}

/* Of the active sequence, whatever its tail is: QEMU looks at all of it.
 * Returns how many entries it has.
 */
static unsigned
check_log (struct block *block)
{
  size_t len;
  const uint8_t *file = recorder_data (block, &len), *e;
  uint64_t sequence = last_sequence (file);
  unsigned nr = 0;

  for (; (e = find_entry (file, sequence)) != NULL; --sequence, ++nr) {
    assert_true (get_le64 (e + VHDX_LOG_FLUSHED) <= len);
    assert_true (get_le64 (e + VHDX_LOG_LAST) <= len);
  }
  return nr;
}

/*--- Tests ------------------------------------------------------------------*/

static void
write_all (struct image *img, unsigned first)
{
  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    write_block (img, i, (uint8_t) (first + i));
}

static void
check_all (struct block *block, unsigned first)
{
  struct image *img = open_image (block, false);

  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    check_block (img, i, (uint8_t) (first + i));
  image_unref (img);
}

/* As after kill -9. */
static void
check_killed (struct block *block, unsigned nr_there)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);
  struct block *copy = recorder_new (data, len);
  struct image *img = open_image (copy, false);

  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    check_block (img, i, i < nr_there ? (uint8_t) (i + 1) : 0);
  image_unref (img);
  block_unref (copy);
}

/* But for what stays for the next blocks. */
static void
the_file_becomes_shorter_at_a_flush (void **state)
{
  struct block *block = empty_disk ();
  struct image *img = open_image (block, true);
  size_t full;

  (void) state;
  write_all (img, 1);
  must (image_flush (img, NULL));
  full = file_size (block);
  assert_true (full >= BLOCKS_AT + NR_BLOCKS * MIB);
  must (image_trim (img, 35 * MIB, 5 * MIB, 0, NULL));
  assert_int_equal (file_size (block), full);
  must (image_flush (img, NULL));
  assert_true (file_size (block) < full / 2 + MIB);
  assert_true (file_size (block) >= BLOCKS_AT + 5 * MIB);
  assert_int_equal (recorder_stable_size (block), file_size (block));
  assert_true (check_log (block) > 0);
  check_killed (block, 5);
  write_block (img, 4, 5);
  assert_true (check_log (block) > 0);
  write_all (img, 7);
  must (image_flush (img, NULL));
  check_log (block);
  image_unref (img);
  assert_int_equal (file_size (block), BLOCKS_AT + NR_BLOCKS * MIB);
  check_all (block, 7);
  block_unref (block);
}

/* What is in front of a block that is there can't go; its space can. */
static void
in_front_of_what_is_used_there_are_holes (void **state)
{
  struct block *block = empty_disk ();
  struct image *img = open_image (block, true);
  const uint8_t *data;
  size_t full, len;

  (void) state;
  write_all (img, 1);
  must (image_flush (img, NULL));
  full = file_size (block);
  must (image_zero (img, 39 * MIB, 0, 0, NULL));
  must (image_flush (img, NULL));
  data = recorder_data (block, &len);
  assert_int_equal (len, full);
  for (unsigned i = 0; i < 39; ++i)
    assert_int_equal (data[BLOCKS_AT + i * MIB], 0);
  image_unref (img);
  block_unref (block);
}

/* Each step fails in its turn.  What is told to have been cut off, and what
 * stays, is given to one block each.
 */
static void
a_cut_that_fails_gives_no_place_twice (void **state)
{
  unsigned nr_uncut = 0;

  (void) state;
  for (unsigned nth = 1; nth <= 12; ++nth) {
    struct block *block = empty_disk ();
    struct image *img = open_image (block, true);
    size_t full;

    write_all (img, 1);
    must (image_flush (img, NULL));
    full = file_size (block);
    must (image_trim (img, 38 * MIB, 2 * MIB, 0, NULL));
    recorder_fail (block, nth, 1);
    image_flush (img, NULL);
    recorder_fail (block, 0, 0);
    nr_uncut += file_size (block) == full;
    check_log (block);
    for (unsigned i = 0; i < NR_BLOCKS; ++i)
      if (try_to_write (img, i, (uint8_t) (i + 9)) < 0)
        write_block (img, i, (uint8_t) (i + 9));
    check_log (block);
    image_unref (img);
    check_all (block, 9);
    block_unref (block);
  }
  assert_in_range (nr_uncut, 4, 11);
}

/* Where blocks first to end-1 were in the beginning, there is nothing on stable
 * storage, or no file.
 */
static void
check_stable_zeros (struct block *block, unsigned first, unsigned end)
{
  static const uint8_t zeros[512];
  size_t len;
  uint8_t *data = recorder_crash (block, 0, &len);

  for (unsigned i = first; i < end; ++i)
    if (BLOCKS_AT + (i + 1) * MIB <= len)
      assert_memory_equal (data + BLOCKS_AT + i * MIB, zeros, sizeof zeros);
  free (data);
}

/* Where block i was put first, there is nothing on stable storage, or what was
 * written there now.
 */
static void
check_stable_own (struct block *block, unsigned i)
{
  size_t len;
  uint8_t *data = recorder_crash (block, 0, &len);
  const uint8_t *own = data + BLOCKS_AT + i * MIB;

  if (BLOCKS_AT + (i + 1) * MIB <= len)
    for (size_t k = 0; k < MIB; ++k)
      assert_true (own[k] == 0 || own[k] == i + 1);
  free (data);
}

/* The file has its size on stable storage before an entry of the BAT may need
 * it, and nothing of what clients wrote is written out for that.
 */
static void
new_places_wait_for_no_data (void **state)
{
  struct block *block = empty_disk ();
  struct image *img = open_image (block, true);

  (void) state;
  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    write_block (img, i, (uint8_t) (i + 1));
    assert_true (recorder_stable_size (block) >= BLOCKS_AT + (i + 1) * MIB);
  }
  assert_true (check_log (block) > 0);
  /* The first entry of the log flushes what there is. */
  check_stable_zeros (block, 1, NR_BLOCKS);
  image_unref (img);
  check_all (block, 1);
  block_unref (block);
}

/* A process that was killed left them, with anything in there: zeros are on
 * stable storage before an entry of the BAT may be.
 */
static void
what_was_left_at_the_end_is_zero (void **state)
{
  struct block *block = empty_disk ();
  size_t len = file_size (block);
  uint8_t *data = malloc (BLOCKS_AT + 7 * MIB);
  struct image *img;

  (void) state;
  memset (data, 0x55, BLOCKS_AT + 7 * MIB);
  memcpy (data, recorder_data (block, &len), file_size (block));
  block_unref (block);
  block = recorder_new (data, BLOCKS_AT + 7 * MIB);
  free (data);
  img = open_image (block, true);
  for (unsigned i = 0; i < 16; ++i) {
    write_block (img, i, (uint8_t) (i + 1));
    check_stable_own (block, i);
    check_block (img, i, (uint8_t) (i + 1));
  }
  image_unref (img);
  block_unref (block);
}

/* Holes that were punched there are on stable storage before other blocks
 * are.
 */
static void
what_is_used_again_is_zero (void **state)
{
  struct block *block = empty_disk ();
  struct image *img = open_image (block, true);
  size_t full;

  (void) state;
  write_all (img, 1);
  must (image_flush (img, NULL));
  full = file_size (block);
  must (image_trim (img, 20 * MIB, 0, 0, NULL));
  must (image_flush (img, NULL));
  write_block (img, 19, 20);
  assert_int_equal (file_size (block), full);
  check_stable_zeros (block, 0, 20);
  image_unref (img);
  block_unref (block);
}

/* Where the flush behind a cut fails, and the one that tells, what was cut off
 * may come back when the file grows again: other blocks get these places, and
 * have nothing of it.
 * The last batch is of one place, so that none stays.
 */
static void
what_was_cut_off_does_not_come_back (void **state)
{
  unsigned nr_failed = 0;

  (void) state;
  for (unsigned nth = 1; nth <= 12; ++nth) {
    struct block *block = disk_of (32);
    struct image *img = open_image (block, true);
    size_t full;

    for (unsigned i = 0; i < 32; ++i)
      write_block (img, i, (uint8_t) (i + 1));
    must (image_flush (img, NULL));
    full = file_size (block);
    assert_int_equal (full, BLOCKS_AT + 32 * MIB);
    must (image_trim (img, 30 * MIB, 2 * MIB, 0, NULL));
    recorder_fail (block, nth, 2);
    image_flush (img, NULL);
    recorder_fail (block, 0, 0);
    if (file_size (block) == BLOCKS_AT + 2 * MIB &&
        recorder_stable_size (block) == full) {
      nr_failed++;
      write_block (img, 2, 3);
      assert_true (recorder_stable_size (block) >= BLOCKS_AT + 3 * MIB);
      check_stable_zeros (block, 2, 3);
    }
    image_unref (img);
    block_unref (block);
  }
  assert_int_equal (nr_failed, 1);
}

/* The power fails at each step of a cut, and behind it: what was flushed is
 * there, whatever of the rest got to the disk.
 */
static void
a_power_cut_at_the_end_of_the_file_loses_nothing (void **state)
{
  (void) state;
  for (unsigned nth = 1; nth <= 12; ++nth) {
    struct block *block = empty_disk ();
    struct image *img = open_image (block, true);

    write_all (img, 1);
    must (image_flush (img, NULL));
    must (image_trim (img, 35 * MIB, 5 * MIB, 0, NULL));
    recorder_fail (block, nth, 1000000);
    image_flush (img, NULL);
    for (unsigned seed = 0; seed < 6; ++seed) {
      size_t len;
      uint8_t *data = recorder_crash (block, seed, &len);
      struct block *left = recorder_new (data, len);
      struct image *after = open_image (left, true);

      for (unsigned i = 0; i < 5; ++i)
        check_block (after, i, (uint8_t) (i + 1));
      image_unref (after);
      block_unref (left);
      free (data);
    }
    image_unref (img);
    block_unref (block);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_file_becomes_shorter_at_a_flush),
    cmocka_unit_test (in_front_of_what_is_used_there_are_holes),
    cmocka_unit_test (a_cut_that_fails_gives_no_place_twice),
    cmocka_unit_test (a_power_cut_at_the_end_of_the_file_loses_nothing),
    cmocka_unit_test (new_places_wait_for_no_data),
    cmocka_unit_test (what_was_left_at_the_end_is_zero),
    cmocka_unit_test (what_is_used_again_is_zero),
    cmocka_unit_test (what_was_cut_off_does_not_come_back),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
