/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into VHDXs: what is written is there, in an image that opens from
 * scratch, and in a file that looks as it should; after faults, and with the
 * process killed; from many threads.  Power cuts are those of
 * tests/model/test-powercut.c.
 *
 * NBDIMAGE_TEST_SEED is what the random numbers begin with.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/format/create.h"
#include "lib/format/image-ops.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx-write.h"
#include "tests/support/recorder.h"
#include "tests/support/vhdx-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define MIB ((size_t) VHDX_MIB)
#define NR_BLOCKS 8U
#define DISK (NR_BLOCKS * MIB - 3 * 512)        /* the last block is cut off */

/* Where the maker puts things. */
#define BAT_AT (3 * MIB)
#define BLOCKS_AT (4 * MIB)

static const struct image_options to_write = { .writable = true };
static const struct vhdx_spec dynamic = { .size = DISK };
static const struct vhdx_spec fixed = { .size = DISK, .is_fixed = true };

static unsigned random_state;

static unsigned
random_below (unsigned n)
{
  return (unsigned) rand_r (&random_state) % n;
}

static void
fill_random (uint8_t *p, size_t len)
{
  for (size_t i = 0; i < len; ++i)
    p[i] = (uint8_t) rand_r (&random_state);
}

static struct block *
record (struct vhdx_maker *m)
{
  struct block *block;

  vhdx_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhdx_maker_free (m);
  return block;
}

static struct block *
empty_disk (const struct vhdx_spec *spec)
{
  return record (vhdx_maker_new (spec));
}

/* Block 2 is there, and has 0x55 everywhere. */
static struct block *
disk_with_a_block (const struct vhdx_spec *spec)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);
  uint8_t *data = malloc (MIB);

  memset (data, 0x55, MIB);
  vhdx_maker_add_block (m, 2, data);
  free (data);
  return record (m);
}

static struct image *
open_to_write (struct block *block)
{
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &to_write, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static void
must (int r)
{
  assert_int_equal (r, 0);
}

static void
write_at (struct image *img, uint64_t off, uint8_t byte, size_t len)
{
  uint8_t *buf = malloc (len);
  struct err err = ERR_INIT;

  memset (buf, byte, len);
  if (image_pwrite (img, buf, len, off, 0, &err) < 0)
    fail_msg ("%s", err.msg);
  free (buf);
}

static void
check_at (struct image *img, uint64_t off, uint8_t byte, size_t len)
{
  uint8_t *buf = malloc (len);

  must (image_pread (img, buf, len, off, NULL));
  for (size_t i = 0; i < len; ++i)
    if (buf[i] != byte)
      assert_int_equal (buf[i], byte);
  free (buf);
}

/* The file as it is now, for who opens it next: as after kill -9. */
static struct block *
copy_of (struct block *block)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);

  return recorder_new (data, len);
}

static const uint8_t *
bytes_at (struct block *block, size_t off)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);

  assert_in_range (off, 0, len - 1);
  return data + off;
}

static uint64_t
bat_entry (struct block *block, size_t i)
{
  return get_le64 (bytes_at (block, BAT_AT + 8 * i));
}

static size_t
file_size (struct block *block)
{
  size_t len;

  recorder_data (block, &len);
  return len;
}

static bool
has_log (struct block *block)
{
  static const uint8_t none[16];

  return memcmp (bytes_at (block, VHDX_AT_HEADER_1 + 48), none, 16) != 0 ||
    memcmp (bytes_at (block, VHDX_AT_HEADER_2 + 48), none, 16) != 0;
}

/*--- What the file looks like -----------------------------------------------*/

static void
a_new_block_looks_like_this (void **state)
{
  struct block *block = empty_disk (&dynamic);
  struct image *img = open_to_write (block);

  (void) state;
  write_at (img, 5 * MIB + 1000, 7, 512);
  assert_true (has_log (block));
  assert_int_equal (bat_entry (block, 5), 0);
  image_unref (img);
  assert_false (has_log (block));
  assert_int_equal (bat_entry (block, 5), BLOCKS_AT | 6);
  for (size_t i = 0; i < MIB / 8; ++i)
    assert_int_equal (bat_entry (block, i), i == 5 ? BLOCKS_AT | 6 : 0);
  assert_int_equal (file_size (block), BLOCKS_AT + MIB);
  for (size_t i = 0; i < MIB; ++i)
    assert_int_equal (*bytes_at (block, BLOCKS_AT + i),
                      i >= 1000 && i < 1512 ? 7 : 0);
  block_unref (block);
}

/* §2.2.2.1, §2.2.2.2 */
static void
the_first_write_gives_new_identities (void **state)
{
  struct block *block = disk_with_a_block (&dynamic);
  uint8_t before[4096], after[2][4096];
  struct image *img = open_to_write (block);

  (void) state;
  memcpy (before, bytes_at (block, VHDX_AT_HEADER_2), 4096);
  check_at (img, 2 * MIB, 0x55, 512);
  assert_memory_equal (before, bytes_at (block, VHDX_AT_HEADER_2), 4096);
  write_at (img, 2 * MIB, 1, 512);
  memcpy (after[0], bytes_at (block, VHDX_AT_HEADER_1), 4096);
  memcpy (after[1], bytes_at (block, VHDX_AT_HEADER_2), 4096);
  assert_int_equal (get_le64 (after[0] + 8), get_le64 (before + 8) + 1);
  assert_int_equal (get_le64 (after[1] + 8), get_le64 (before + 8) + 2);
  for (int i = 0; i < 2; ++i) {
    assert_memory_not_equal (after[i] + 16, before + 16, 16);
    assert_memory_not_equal (after[i] + 32, before + 32, 16);
    assert_memory_equal (after[i] + 16, after[0] + 16, 32);
  }
  write_at (img, 2 * MIB, 2, 512);
  assert_memory_equal (after[0], bytes_at (block, VHDX_AT_HEADER_1), 4096);
  image_unref (img);
  assert_memory_equal (after[0], bytes_at (block, VHDX_AT_HEADER_1), 4096);
  assert_memory_equal (after[1], bytes_at (block, VHDX_AT_HEADER_2), 4096);
  block_unref (block);
}

static void
a_torn_header_is_mended (void **state)
{
  struct block *block = empty_disk (&dynamic);
  struct image *img;

  (void) state;
  block_pwrite (block, "xxxx", 4, VHDX_AT_HEADER_1, 0, NULL);
  img = open_to_write (block);
  write_at (img, 0, 1, 512);
  image_unref (img);
  for (int i = 0; i < 2; ++i)
    assert_memory_equal (bytes_at (block, VHDX_AT_HEADER_1 + i * 65536),
                         "head", 4);
  img = open_to_write (block);
  check_at (img, 0, 1, 512);
  image_unref (img);
  block_unref (block);
}

static void
who_writes_nothing_changes_nothing (void **state)
{
  struct block *block = disk_with_a_block (&dynamic);
  struct image *img = open_to_write (block);

  (void) state;
  recorder_fail (block, 0, 0);
  check_at (img, 0, 0, 512);
  must (image_zero (img, MIB, 0, 0, NULL));
  must (image_zero (img, 512, 4096, 0, NULL));
  must (image_trim (img, MIB, MIB, 0, NULL));
  image_unref (img);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
}

static void
a_present_block_is_written_in_place (void **state)
{
  struct block *block = disk_with_a_block (&dynamic);
  struct image *img = open_to_write (block);
  unsigned flushes;

  (void) state;
  write_at (img, 2 * MIB, 1, 512);
  recorder_fail (block, 0, 0);
  flushes = recorder_flushes (block);
  for (unsigned i = 0; i < 100; ++i)
    write_at (img, 2 * MIB + i * 4096, 3, 4096);
  assert_int_equal (recorder_changes (block), 100);
  assert_int_equal (recorder_flushes (block), flushes);
  assert_false (has_log (block));
  image_unref (img);
  block_unref (block);
}

static void
places_are_made_in_batches (void **state)
{
  const struct vhdx_spec spec = { .size = 40 * MIB };
  struct block *block = empty_disk (&spec);
  struct image *img = open_to_write (block);
  unsigned flushes;

  (void) state;
  write_at (img, 0, 1, 512);
  flushes = recorder_flushes (block);
  for (unsigned i = 1; i < 40; ++i)
    write_at (img, i * MIB, (uint8_t) (i + 1), 512);
  /* 2, 4, 8, 16, 32 places. */
  assert_in_range (recorder_flushes (block) - flushes, 1, 6);
  image_unref (img);
  assert_int_equal (file_size (block), BLOCKS_AT + 40 * MIB);
  img = open_to_write (block);
  for (unsigned i = 0; i < 40; ++i)
    check_at (img, i * MIB, (uint8_t) (i + 1), 512);
  image_unref (img);
  block_unref (block);
}

/*--- Given up ---------------------------------------------------------------*/

static void
what_became_zero_is_used_again (void **state)
{
  struct block *block = empty_disk (&dynamic);
  struct image *img = open_to_write (block);
  size_t most = 0;

  (void) state;
  for (unsigned round = 0; round < 60; ++round) {
    unsigned i = round % (NR_BLOCKS - 1);

    write_at (img, i * MIB, (uint8_t) (round + 1), MIB);
    check_at (img, i * MIB, (uint8_t) (round + 1), MIB);
    if (round % 2)
      must (image_zero (img, MIB, i * MIB, 0, NULL));
    else
      must (image_trim (img, MIB, i * MIB, 0, NULL));
    check_at (img, i * MIB, 0, MIB);
    must (image_flush (img, NULL));
    most = file_size (block) > most ? file_size (block) : most;
  }
  assert_true (most <= BLOCKS_AT + 8 * MIB);
  image_unref (img);
  assert_int_equal (file_size (block), BLOCKS_AT);
  for (unsigned i = 0; i < NR_BLOCKS - 1; ++i)
    assert_int_equal (bat_entry (block, i), 2);
  block_unref (block);
}

/* Until a flush the log on stable storage may not say it, and until their end
 * operations may use it.
 */
static void
a_place_is_not_used_again_too_soon (void **state)
{
  struct block *block = empty_disk (&dynamic);
  struct image *img = open_to_write (block);
  struct vhdx *vhdx = img->state;
  struct epoch *epoch = vhdx_space_epoch (vhdx->writer->space);
  unsigned which, nr_reused = 0;
  enum vhdx_state s;
  uint64_t place, off;

  (void) state;
  write_at (img, 0, 1, 512);
  must (vhdx_bat_lookup (vhdx->leaf, 0, &s, &place, NULL));
  assert_int_equal (place, BLOCKS_AT);
  which = epoch_enter (epoch);
  must (image_zero (img, MIB, 0, 0, NULL));
  for (unsigned i = 1; i < NR_BLOCKS; ++i) {
    if (i > 2)
      must (image_flush (img, NULL));
    if (i == 5)
      epoch_leave (epoch, which);
    write_at (img, i * MIB, 2, 512);
    must (vhdx_bat_lookup (vhdx->leaf, i, &s, &off, NULL));
    if (off == place) {
      nr_reused++;
      assert_true (i >= 5);
    }
    else if (i < 5)
      assert_int_equal (*bytes_at (block, place), 1);
  }
  /* More than were ever ready at once. */
  for (unsigned i = 1; i < NR_BLOCKS; ++i) {
    must (image_zero (img, i == NR_BLOCKS - 1 ? DISK - i * MIB : MIB,
                      i * MIB, 0, NULL));
    must (image_flush (img, NULL));
    write_at (img, i * MIB, 3, 512);
    must (vhdx_bat_lookup (vhdx->leaf, i, &s, &off, NULL));
    nr_reused += off == place;
  }
  assert_true (nr_reused > 0);
  image_unref (img);
  block_unref (block);
}

static void
a_fixed_disk_keeps_its_blocks (void **state)
{
  struct block *block = disk_with_a_block (&fixed);
  struct image *img = open_to_write (block);
  size_t size = file_size (block);

  (void) state;
  must (image_zero (img, MIB, 2 * MIB, 0, NULL));
  check_at (img, 2 * MIB, 0, MIB);
  write_at (img, 2 * MIB, 1, MIB);
  must (image_trim (img, MIB, 2 * MIB, 0, NULL));
  assert_false (has_log (block));
  image_unref (img);
  assert_int_equal (bat_entry (block, 2), BLOCKS_AT | 6);
  assert_int_equal (file_size (block), size);
  /* QEMU's fixed disks may lack blocks. */
  img = open_to_write (block);
  write_at (img, 3 * MIB, 9, 512);
  image_unref (img);
  assert_int_equal (bat_entry (block, 3), (BLOCKS_AT + MIB) | 6);
  block_unref (block);
}

static void
zeros_without_holes_keep_the_place (void **state)
{
  struct block *block = disk_with_a_block (&dynamic);
  struct image *img = open_to_write (block);

  (void) state;
  must (image_zero (img, MIB, 2 * MIB, BLOCK_NO_HOLE, NULL));
  check_at (img, 2 * MIB, 0, MIB);
  image_unref (img);
  assert_int_equal (bat_entry (block, 2), BLOCKS_AT | 6);
  block_unref (block);
}

/* States that others may read otherwise become zero; what is kept for an
 * absent block is given to nobody.
 */
static void
what_reads_as_anything_becomes_zero (void **state)
{
  struct vhdx_maker *m = vhdx_maker_new (&dynamic);
  uint8_t *data = calloc (1, MIB);
  struct block *block;
  struct image *img;
  size_t off;

  (void) state;
  off = vhdx_maker_add_block (m, 0, data);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 0), off, 3);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 1), 0, 1);
  block = record (m);
  img = open_to_write (block);
  write_at (img, 2 * MIB, 1, 512);
  must (image_trim (img, 512, 0, 0, NULL));
  must (image_zero (img, 512, MIB, 0, NULL));
  image_unref (img);
  assert_int_equal (bat_entry (block, 0), off | 3);
  assert_int_equal (bat_entry (block, 1), 2);
  assert_int_equal (bat_entry (block, 2), (off + MIB) | 6);
  img = open_to_write (block);
  must (image_zero (img, 512, 1024, 0, NULL));
  image_unref (img);
  assert_int_equal (bat_entry (block, 0), 2);
  free (data);
  block_unref (block);
}

static void
a_block_that_is_cut_off_is_not_given_up (void **state)
{
  const struct vhdx_spec spec = { .size = 2 * MIB + MIB / 2 };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (MIB);
  struct block *block;
  struct image *img;

  (void) state;
  memset (data, 7, MIB);
  vhdx_maker_add_block (m, 2, data);
  m->len -= MIB / 2;
  block = record (m);
  img = open_to_write (block);
  must (image_zero (img, MIB / 2, 2 * MIB, 0, NULL));
  write_at (img, 0, 5, 512);
  image_unref (img);
  assert_int_equal (bat_entry (block, 2), BLOCKS_AT | 6);
  assert_int_equal (bat_entry (block, 0), (BLOCKS_AT + MIB) | 6);
  img = open_to_write (block);
  check_at (img, 2 * MIB, 0, MIB / 2);
  image_unref (img);
  free (data);
  block_unref (block);
}

/*--- The log ----------------------------------------------------------------*/

static void
acknowledged_writes_survive_the_process (void **state)
{
  struct block *block = empty_disk (&dynamic);
  struct image *img = open_to_write (block);

  (void) state;
  for (unsigned i = 0; i < 30; ++i) {
    unsigned nr = i % (NR_BLOCKS - 1), other = (nr + 1) % (NR_BLOCKS - 1);
    struct block *copy;
    struct image *again = NULL;

    write_at (img, nr * MIB + i * 512, (uint8_t) (i + 1), 512);
    if (i % 4 == 3)
      must (image_zero (img, MIB, other * MIB, 0, NULL));
    copy = copy_of (block);
    must (image_open_block (copy, NULL, &again, NULL, NULL));
    check_at (again, nr * MIB + i * 512, (uint8_t) (i + 1), 512);
    image_unref (again);
    again = open_to_write (copy);
    check_at (again, nr * MIB + i * 512, (uint8_t) (i + 1), 512);
    if (i % 4 == 3)
      check_at (again, other * MIB, 0, MIB);
    image_unref (again);
    assert_false (has_log (copy));
    block_unref (copy);
  }
  image_unref (img);
  block_unref (block);
}

/* 256 pages, of which each change takes 2. */
static void
a_full_log_is_emptied (void **state)
{
  struct block *block = empty_disk (&dynamic);
  struct image *img = open_to_write (block);

  (void) state;
  for (unsigned i = 0; i < 400; ++i) {
    struct block *copy;
    struct image *again;

    write_at (img, MIB, (uint8_t) i, 512);
    must (image_zero (img, MIB, MIB, 0, NULL));
    if (i % 5 == 0)
      must (image_flush (img, NULL));
    write_at (img, 2 * MIB, (uint8_t) i, 512);
    if (i % 40 < 36)
      continue;
    copy = copy_of (block);
    again = open_to_write (copy);
    check_at (again, MIB, 0, 512);
    check_at (again, 2 * MIB, (uint8_t) i, 512);
    image_unref (again);
    block_unref (copy);
  }
  image_unref (img);
  assert_int_equal (bat_entry (block, 1), 2);
  block_unref (block);
}

/* What is behind the entries that the disk needs, and between the chunks. */
static void
the_rest_of_the_table_stays (void **state)
{
  struct vhdx_maker *m = vhdx_maker_new (&dynamic);
  struct block *block;
  struct image *img;

  (void) state;
  put_le64 (m->data + BAT_AT + 8 * NR_BLOCKS, 0x1122334455667788);
  put_le64 (m->data + BAT_AT + 8 * 7, 0xFFF00);         /* reserved bits */
  block = record (m);
  img = open_to_write (block);
  write_at (img, MIB, 1, 512);
  image_unref (img);
  assert_true (bat_entry (block, NR_BLOCKS) == 0x1122334455667788);
  assert_int_equal (bat_entry (block, 7), 0xFFF00);
  block_unref (block);
}

/* A log of others: a page of block 2, and its entry in the BAT. */
static struct vhdx_maker *
disk_with_a_log (void)
{
  static uint8_t page[4096], bat[4096];
  struct vhdx_maker *m = vhdx_maker_new (&dynamic);
  uint8_t *data = calloc (1, MIB);
  size_t off = vhdx_maker_add_block (m, 0, data);
  const struct vhdx_change changes[] = {
    { .off = off + 4096, .page = page },
    { .off = BAT_AT, .page = bat },
    { .off = off + 8192, .zero_len = 4096 },
    { .off = off + MIB, .page = page },
  };

  vhdx_maker_finish (m);
  memset (page, 0xAB, 4096);
  put_le64 (bat + 16, (off + MIB) | 6);
  put_le64 (bat, off | 6);
  memset (m->data + off + 8192, 1, 8192);
  vhdx_maker_log (m, &(struct vhdx_log_entry) {
      .changes = changes, .nr_changes = 4, .last = m->len + MIB });
  free (data);
  return m;
}

static void
check_replayed (struct image *img)
{
  check_at (img, 0, 0, 4096);
  check_at (img, 4096, 0xAB, 4096);
  check_at (img, 8192, 0, 4096);
  check_at (img, 12288, 1, 4096);
  check_at (img, 2 * MIB, 0xAB, 4096);
  check_at (img, 2 * MIB + 4096, 0, 4096);
}

static void
a_log_of_others_is_replayed_into_the_file (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct vhdx_maker *m = disk_with_a_log ();
  struct block *block = recorder_new (m->data, m->len);
  struct image *img = NULL;
  uint8_t data_guid[16];

  (void) state;
  vhdx_maker_free (m);
  memcpy (data_guid, bytes_at (block, VHDX_AT_HEADER_2 + 32), 16);
  must (image_open_block (block, &to_write, &img, &report, NULL));
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "replayed into it"));
  check_replayed (img);
  image_unref (img);
  assert_false (has_log (block));
  assert_int_equal (bat_entry (block, 2), (BLOCKS_AT + MIB) | 6);
  assert_int_equal (file_size (block), BLOCKS_AT + 2 * MIB);
  /* The disk is what it was. */
  assert_memory_equal (data_guid, bytes_at (block, VHDX_AT_HEADER_1 + 32),
                       16);
  img = open_to_write (block);
  check_replayed (img);
  image_unref (img);
  block_unref (block);
}

/* It fails, or the power does, at each of its changes: done again it has the
 * same result.
 */
static void
replaying_may_be_interrupted_anywhere (void **state)
{
  struct vhdx_maker *m = disk_with_a_log ();
  unsigned nth = 0, failed = 0;
  int r;

  (void) state;
  do {
    struct block *block = recorder_new (m->data, m->len);
    struct image *img = NULL;

    recorder_fail (block, ++nth, 1000);
    r = image_open_block (block, &to_write, &img, NULL, NULL);
    image_unref (img);
    failed += r < 0;
    for (unsigned seed = 0; seed < 12; ++seed) {
      size_t len;
      uint8_t *data = recorder_crash (block, seed, &len);
      struct block *crash = recorder_new (data, len);

      img = open_to_write (crash);
      check_replayed (img);
      write_at (img, 12288, 1, 512);
      image_unref (img);
      assert_false (has_log (crash));
      block_unref (crash);
      free (data);
    }
    block_unref (block);
  } while (r < 0);
  assert_true (failed > 8);
  vhdx_maker_free (m);
}

/* Who may not write it leaves it alone. */
static void
a_refused_image_keeps_its_log (void **state)
{
  struct vhdx_maker *m = disk_with_a_log ();
  struct block *block;
  struct image *img = NULL;

  (void) state;
  m->data[VHDX_AT_REGIONS_2] = 'x';
  block = recorder_new (m->data, m->len);
  assert_int_equal (image_open_block (block, &to_write, &img, NULL, NULL),
                    -EROFS);
  assert_int_equal (recorder_changes (block), 0);
  must (image_open_block (block, NULL, &img, NULL, NULL));
  check_replayed (img);
  image_unref (img);
  block_unref (block);
  vhdx_maker_free (m);
}

/*--- Refused ----------------------------------------------------------------*/

static void
check_reason (struct vhdx_maker *m, const char *reason)
{
  CLEANUP_BLOCK struct block *block = recorder_new (m->data, m->len);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  assert_int_equal (image_open_block (block, &to_write, &img, NULL, &err),
                    -EROFS);
  if (strstr (err.msg, reason) == NULL)
    fail_msg ("“%s” does not say “%s”", err.msg, reason);
  assert_int_equal (recorder_changes (block), 0);
  must (image_open_block (block, NULL, &img, NULL, NULL));
  assert_string_equal (image_readonly_reason (img), strstr (err.msg, reason));
  vhdx_maker_free (m);
}

static struct vhdx_maker *
finished (void)
{
  struct vhdx_maker *m = vhdx_maker_new (&dynamic);

  vhdx_maker_finish (m);
  return m;
}

static void
doubtful_images_are_not_written (void **state)
{
  struct vhdx_maker *m = finished ();

  (void) state;
  m->data[VHDX_AT_REGIONS_1] = 'x';
  check_reason (m, "one of its two region tables is damaged");
  m = finished ();
  for (int i = 0; i < 2; ++i)
    put_le32 (m->data + VHDX_AT_HEADER_1 + i * 65536 + 68, 0);
  vhdx_maker_sum_headers (m);
  check_reason (m, "it has no place for a log");
  m = finished ();
  put_le64 (m->data + VHDX_AT_HEADER_2 + 8, UINT64_MAX - 5);
  vhdx_maker_sum_headers (m);
  check_reason (m, "the sequence number of its VHDX header is the last one");
}

/* On a device, or behind a server. */
static void
where_all_blocks_are_there_no_room_is_needed (void **state)
{
  const struct vhdx_spec spec = { .size = 2 * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (MIB);
  struct block *block;
  struct image *img;

  (void) state;
  memset (data, 7, MIB);
  vhdx_maker_add_block (m, 1, data);
  vhdx_maker_add_block (m, 0, data);
  block = record (m);
  recorder_fix_size (block);
  img = open_to_write (block);
  for (int i = 0; i < 2; ++i) {
    must (image_zero (img, 2 * MIB, 0, 0, NULL));
    check_at (img, 0, 0, 2 * MIB);
    must (image_trim (img, MIB, MIB, 0, NULL));
    write_at (img, MIB, 9, 512);
  }
  image_unref (img);
  assert_int_equal (bat_entry (block, 0), (BLOCKS_AT + MIB) | 6);
  assert_int_equal (bat_entry (block, 1), BLOCKS_AT | 6);
  free (data);
  block_unref (block);
}

static void
sectors_of_4096_bytes_are_written_whole (void **state)
{
  const struct vhdx_spec spec = { .size = 4 * MIB, .logical = 4096 };
  struct block *block = empty_disk (&spec);
  struct image *img = open_to_write (block);
  uint8_t buf[4096] = { 1 };

  (void) state;
  assert_int_equal (image_pwrite (img, buf, 512, 0, 0, NULL), -EINVAL);
  assert_int_equal (image_pwrite (img, buf, 4096, 512, 0, NULL), -EINVAL);
  assert_int_equal (image_zero (img, 512, 0, 0, NULL), -EINVAL);
  must (image_pwrite (img, buf, 4096, 4096, 0, NULL));
  must (image_trim (img, 512, 0, 0, NULL));
  image_unref (img);
  block_unref (block);
}

/*--- Over a parent ----------------------------------------------------------*/

/* In a folder of its own: base.vhdx has 0x11 in blocks 0 and 1. */
struct chain {
  char folder[64], path[80];
  struct image_options options;
  struct block *block;          /* the child's file */
};

static void
make_parent (struct chain *c)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = DISK, .id = 1 });
  uint8_t *data = malloc (MIB);

  strcpy (c->folder, "/tmp/nbdimage-vhdx.XXXXXX");
  assert_non_null (mkdtemp (c->folder));
  snprintf (c->path, sizeof c->path, "%s/base.vhdx", c->folder);
  memset (data, 0x11, MIB);
  vhdx_maker_add_block (m, 0, data);
  vhdx_maker_add_block (m, 1, data);
  vhdx_maker_finish (m);
  vhdx_maker_save (m, c->path);
  vhdx_maker_free (m);
  free (data);
  c->options = (struct image_options) {
    .writable = true, .parent_path = c->folder,
  };
}

/* The child has nothing, but of block 1 the second sector, if that. */
static void
make_chain (struct chain *c, bool partial)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = DISK, .id = 2, .parent_id = 1,
      .locators = { { "relative_path", ".\\base.vhdx" } } });
  uint8_t *data = malloc (MIB);

  make_parent (c);
  memset (data, 0x22, MIB);
  if (partial) {
    vhdx_maker_add_partial (m, 1, data);
    vhdx_maker_set_bits (m, 2048 + 1, 1);
  }
  free (data);
  c->block = record (m);
}

static struct image *
open_chain (struct chain *c)
{
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (c->block, &c->options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static void
remove_chain (struct chain *c)
{
  block_unref (c->block);
  unlink (c->path);
  rmdir (c->folder);
}

static void
a_child_keeps_what_the_parent_has (void **state)
{
  struct chain c;
  struct image *img;

  (void) state;
  make_chain (&c, false);
  img = open_chain (&c);
  write_at (img, 1000, 9, 24);
  check_at (img, 0, 0x11, 1000);
  check_at (img, 1000, 9, 24);
  check_at (img, 1024, 0x11, MIB - 1024);
  write_at (img, 4 * MIB, 9, 512);
  image_unref (img);
  assert_int_equal (bat_entry (c.block, 0), (BLOCKS_AT + MIB) | 7);
  img = open_chain (&c);
  check_at (img, 0, 0x11, 1000);
  check_at (img, 1000, 9, 24);
  check_at (img, 1024, 0x11, 2 * MIB - 1024);
  check_at (img, 4 * MIB + 512, 0, MIB);
  image_unref (img);
  remove_chain (&c);
}

static void
zeros_hide_the_parent_and_trims_reveal_nothing (void **state)
{
  struct chain c;
  struct image *img;

  (void) state;
  make_chain (&c, false);
  img = open_chain (&c);
  must (image_zero (img, MIB, 0, 0, NULL));
  check_at (img, 0, 0, MIB);
  check_at (img, MIB, 0x11, MIB);
  must (image_zero (img, 512, MIB, 0, NULL));
  check_at (img, MIB, 0, 512);
  check_at (img, MIB + 512, 0x11, MIB - 512);
  write_at (img, 0, 7, MIB);
  must (image_trim (img, MIB, 0, 0, NULL));
  check_at (img, 0, 0, MIB);
  /* The parent has nothing there, and no place is needed. */
  must (image_zero (img, 512, 3 * MIB, 0, NULL));
  image_unref (img);
  assert_int_equal (bat_entry (c.block, 0), 2);
  assert_int_equal (bat_entry (c.block, 3), 0);
  img = open_chain (&c);
  check_at (img, 0, 0, MIB);
  check_at (img, MIB, 0, 512);
  check_at (img, MIB + 512, 0x11, MIB - 512);
  /* A zero block that is written does not let the parent through. */
  write_at (img, 512, 3, 512);
  check_at (img, 0, 0, 512);
  check_at (img, 1024, 0, MIB - 1024);
  image_unref (img);
  remove_chain (&c);
}

static void
a_partially_present_block_gets_more_sectors (void **state)
{
  struct chain c;
  struct image *img;
  uint64_t entry;

  (void) state;
  make_chain (&c, true);
  entry = bat_entry (c.block, 1);
  assert_int_equal (entry & 7, 7);
  img = open_chain (&c);
  /* Where the bit is 1 it is written in place, and that is all. */
  write_at (img, MIB + 512, 5, 512);
  assert_false (has_log (c.block));
  check_at (img, MIB, 0x11, 512);
  write_at (img, MIB + 2000, 6, 10);
  check_at (img, MIB, 0x11, 512);
  check_at (img, MIB + 512, 5, 512);
  check_at (img, MIB + 1024, 0x11, 976);
  check_at (img, MIB + 2000, 6, 10);
  check_at (img, MIB + 2010, 0x11, MIB - 2010);
  image_unref (img);
  assert_true (bat_entry (c.block, 1) == entry);
  img = open_chain (&c);
  check_at (img, MIB + 512, 5, 512);
  check_at (img, MIB + 2010, 0x11, MIB - 2010);
  image_unref (img);
  remove_chain (&c);
}

static void
a_partially_present_block_becomes_zero (void **state)
{
  struct chain c;
  struct image *img;

  (void) state;
  make_chain (&c, true);
  img = open_chain (&c);
  must (image_trim (img, 512, MIB, 0, NULL));
  check_at (img, MIB, 0x11, 512);
  must (image_zero (img, 1024, MIB, 0, NULL));
  check_at (img, MIB, 0, 1024);
  check_at (img, MIB + 1024, 0x11, 512);
  must (image_zero (img, MIB, MIB, 0, NULL));
  check_at (img, MIB, 0, MIB);
  image_unref (img);
  assert_int_equal (bat_entry (c.block, 1), 2);
  remove_chain (&c);
}

/* A child of a child, by its parent's identity, is none any more once that
 * was written to.
 */
static void
who_writes_to_a_parent_loses_the_children (void **state)
{
  struct image_create_options options = { .format = "vhdx" };
  CLEANUP_IMAGE struct image *child = NULL;
  struct chain c;
  struct image *img = NULL;
  char path[80];
  uint64_t size;

  (void) state;
  make_chain (&c, false);
  snprintf (path, sizeof path, "%s/child.vhdx", c.folder);
  options.parent = c.path;
  must (image_create (path, &options, &size, NULL, NULL));
  must (image_open (path, NULL, &child, NULL, NULL));
  image_unref (child);
  child = NULL;
  must (image_open (c.path, &to_write, &img, NULL, NULL));
  write_at (img, 0, 1, 512);
  image_unref (img);
  assert_int_equal (image_open (path, NULL, &child, NULL, NULL), -ENOENT);
  unlink (path);
  remove_chain (&c);
}

/*--- Large tables -----------------------------------------------------------*/

static void
the_largest_disk_in_the_smallest_blocks (void **state)
{
  struct image_create_options options = {
    .format = "vhdx", .size = UINT64_C (64) << 40, .block_size = MIB,
  };
  const uint64_t at = UINT64_C (40) << 40;
  char path[] = "/tmp/nbdimage-vhdx-large.vhdx.XXXXXX";
  struct image *img = NULL;
  uint64_t size;

  (void) state;
  close (mkstemp (path));
  unlink (path);
  if (image_create (path, &options, &size, NULL, NULL) < 0)
    skip ();                    /* /tmp has no files of 514 MiB */
  for (int i = 0; i < 2; ++i) {
    must (image_open (path, &to_write, &img, NULL, NULL));
    write_at (img, at, 1, 4096);
    write_at (img, size - 512, 2, 512);
    must (image_zero (img, 3 * MIB, at + MIB, 0, NULL));
    image_unref (img);
  }
  must (image_open (path, NULL, &img, NULL, NULL));
  check_at (img, at, 1, 4096);
  check_at (img, at + 4096, 0, MIB);
  check_at (img, size - 512, 2, 512);
  image_unref (img);
  unlink (path);
}

/*--- Against a copy ---------------------------------------------------------*/

struct copy {
  uint8_t disk[DISK], found[DISK];
};

static void
random_range (size_t *off, size_t *len)
{
  *off = random_below (DISK);
  switch (random_below (4)) {
  case 0:                       /* whole blocks */
    *off -= *off % MIB;
    *len = MIB * (1 + random_below (2));
    break;
  case 1:                       /* over the end of one */
    *off -= *off % MIB;
    *off += MIB - random_below (5000);
    *len = 1 + random_below (10000);
    break;
  default:
    *len = 1 + random_below (20000);
  }
  if (*off >= DISK)
    *off = DISK - 1;
  if (*len > DISK - *off)
    *len = DISK - *off;
}

static int
random_operation (struct image *img, struct copy *c, size_t *off, size_t *len)
{
  unsigned flags = random_below (20) ? 0 : BLOCK_FUA;

  random_range (off, len);
  switch (random_below (6)) {
  case 0:
    memset (c->disk + *off, 0, *len);
    return image_zero (img, *len, *off, flags, NULL);
  case 1:
    memset (c->disk + *off, 0, *len);
    return image_zero (img, *len, *off, flags | BLOCK_NO_HOLE, NULL);
  case 2: {
    int r = image_trim (img, *len, *off, flags, NULL);

    /* What it left. */
    must (image_pread (img, c->found + *off, *len, *off, NULL));
    for (size_t i = *off; i < *off + *len; ++i) {
      assert_true (c->found[i] == 0 || c->found[i] == c->disk[i]);
      c->disk[i] = c->found[i];
    }
    return r;
  }
  default:
    fill_random (c->disk + *off, *len);
    return image_pwrite (img, c->disk + *off, *len, *off, flags, NULL);
  }
}

static void
check_copy (struct image *img, struct copy *c)
{
  must (image_pread (img, c->found, DISK, 0, NULL));
  assert_memory_equal (c->found, c->disk, DISK);
}

static void
run_against_copy (struct block *block, struct image *(*reopen) (void *),
                  void *opaque)
{
  struct copy *c = malloc (sizeof *c);
  struct image *img = reopen (opaque);
  size_t off, len;

  (void) block;
  must (image_pread (img, c->disk, DISK, 0, NULL));
  for (unsigned n = 0; n < 400; ++n) {
    must (random_operation (img, c, &off, &len));
    if (n % 10 == 0)
      check_copy (img, c);
    if (random_below (10) == 0)
      must (image_flush (img, NULL));
    if (random_below (40) == 0) {
      image_unref (img);
      img = reopen (opaque);
      check_copy (img, c);
    }
  }
  image_unref (img);
  img = reopen (opaque);
  check_copy (img, c);
  image_unref (img);
  free (c);
}

static struct image *
reopen_block (void *opaque)
{
  return open_to_write (opaque);
}

static struct image *
reopen_chain (void *opaque)
{
  return open_chain (opaque);
}

static void
what_is_written_is_there (void **state)
{
  const struct vhdx_spec *const specs[] = { &dynamic, &fixed };

  (void) state;
  for (size_t i = 0; i < 2; ++i) {
    struct block *block = disk_with_a_block (specs[i]);

    run_against_copy (block, reopen_block, block);
    block_unref (block);
  }
}

static void
what_is_written_over_a_parent_is_there (void **state)
{
  struct chain c;

  (void) state;
  make_chain (&c, true);
  run_against_copy (c.block, reopen_chain, &c);
  remove_chain (&c);
}

/*--- Faults -----------------------------------------------------------------*/

/* Where an operation failed, each byte is old, new or zero: it is read
 * which.
 */
static void
learn (struct image *img, struct copy *c, const uint8_t *old, size_t off,
       size_t len)
{
  must (image_pread (img, c->found + off, len, off, NULL));
  for (size_t i = off; i < off + len; ++i)
    if (c->found[i] != c->disk[i] && c->found[i] != old[i])
      fail_msg ("byte %zu is neither old nor new", i);
  memcpy (c->disk + off, c->found + off, len);
}

/* For who opens the file now, with the process killed. */
static void
check_file (struct block *block, struct copy *c)
{
  struct block *copy = copy_of (block);
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (copy, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  check_copy (img, c);
  image_unref (img);
  block_unref (copy);
}

/* Changes nth to nth+count-1 fail, and the image goes on.  Returns how many
 * operations failed.
 */
static unsigned
life_with_faults (unsigned nth, unsigned count)
{
  struct block *block = disk_with_a_block (&dynamic);
  struct image *img = open_to_write (block);
  struct copy *c = malloc (sizeof *c);
  uint8_t *old = malloc (DISK);
  unsigned failed = 0;
  size_t off, len;

  must (image_pread (img, c->disk, DISK, 0, NULL));
  recorder_fail (block, nth, count);
  for (unsigned n = 0; n < 20; ++n) {
    memcpy (old, c->disk, DISK);
    if (random_operation (img, c, &off, &len) < 0) {
      failed++;
      learn (img, c, old, off, len);
      check_copy (img, c);
    }
    if (n % 5 == 4) {
      image_flush (img, NULL);
      check_file (block, c);
    }
  }
  image_unref (img);
  check_file (block, c);
  recorder_fail (block, 0, 0);
  img = open_to_write (block);
  check_copy (img, c);
  image_unref (img);
  check_file (block, c);
  block_unref (block);
  free (old);
  free (c);
  return failed;
}

static void
a_fault_is_told_and_harms_nothing_else (void **state)
{
  unsigned failed = 0;

  (void) state;
  for (unsigned nth = 1; nth < 50; ++nth)
    failed += life_with_faults (nth, 1 + nth % 4);
  assert_true (failed > 30);
}

/* Nothing is acknowledged any more, and what was is there. */
static void
a_log_that_can_not_be_written_ends_writing (void **state)
{
  struct block *block = disk_with_a_block (&dynamic);
  struct image *img = open_to_write (block);
  uint8_t buf[512] = { 1 };

  (void) state;
  write_at (img, 0, 1, 512);
  write_at (img, MIB, 2, 512);
  /* The data, then the entry, then the one over it. */
  recorder_fail (block, 2, 1000);
  assert_true (image_pwrite (img, buf, 512, 3 * MIB, 0, NULL) < 0);
  recorder_fail (block, 0, 0);
  assert_int_equal (image_pwrite (img, buf, 512, 0, 0, NULL), -EIO);
  assert_int_equal (image_zero (img, 512, 0, 0, NULL), -EIO);
  assert_int_equal (image_trim (img, MIB, 0, 0, NULL), -EIO);
  check_at (img, 0, 1, 512);
  image_unref (img);
  img = open_to_write (block);
  check_at (img, 0, 1, 512);
  check_at (img, MIB, 2, 512);
  write_at (img, 3 * MIB, 4, 512);
  image_unref (img);
  block_unref (block);
}

/*--- Many threads -----------------------------------------------------------*/

#define NR_THREADS 16U
#define OWN 4096U               /* bytes of each block, for each thread */

struct worker {
  struct image *img;
  unsigned number, seed;
  uint8_t bytes[NR_BLOCKS];     /* what its own bytes of a block are */
  bool failed;
};

/* Two blocks are whole for one thread each. */
static bool
is_owner (const struct worker *w, unsigned block)
{
  return block >= 2 || block == w->number % 2;
}

static bool
work_on (struct worker *w, unsigned block)
{
  uint64_t off = block * MIB + (block < 2 ? 0 : w->number * OWN);
  size_t len = block < 2 ? MIB : OWN;
  uint8_t byte = (uint8_t) (1 + rand_r (&w->seed) % 255);
  uint8_t *buf = malloc (len);
  unsigned what = (unsigned) rand_r (&w->seed) % 4;
  bool ok;

  memset (buf, byte, len);
  w->bytes[block] = what == 0 ? 0 : byte;
  ok = (what == 0 ? image_zero (w->img, len, off, 0, NULL)
        : image_pwrite (w->img, buf, len, off, 0, NULL)) == 0 &&
    (byte % 7 != 0 || image_flush (w->img, NULL) == 0) &&
    image_pread (w->img, buf, len, off, NULL) == 0;
  for (size_t i = 0; ok && i < len; ++i)
    ok = buf[i] == w->bytes[block];
  free (buf);
  return ok;
}

static void *
work (void *arg)
{
  struct worker *w = arg;

  for (unsigned n = 0; n < 120 && !w->failed; ++n) {
    unsigned block = (unsigned) rand_r (&w->seed) % (NR_BLOCKS - 1);

    if (w->number >= 2 && block < 2)
      block = 2 + block;
    if (is_owner (w, block))
      w->failed = !work_on (w, block);
  }
  return NULL;
}

static void
check_work (struct image *img, const struct worker *w)
{
  for (unsigned block = 2; block < NR_BLOCKS - 1; ++block)
    check_at (img, block * MIB + w->number * OWN, w->bytes[block], OWN);
  if (w->number < 2)
    check_at (img, w->number * MIB, w->bytes[w->number], MIB);
}

static void
many_threads_do_not_disturb_each_other (void **state)
{
  static struct worker workers[NR_THREADS];
  struct block *block = empty_disk (&dynamic);
  struct image *img = open_to_write (block);
  pthread_t threads[NR_THREADS];

  (void) state;
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    workers[t].img = img;
    workers[t].number = t;
    workers[t].seed = random_below (1000000);
    must (pthread_create (&threads[t], NULL, work, &workers[t]));
  }
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    pthread_join (threads[t], NULL);
    assert_false (workers[t].failed);
  }
  for (int i = 0; i < 2; ++i) {
    for (unsigned t = 0; t < NR_THREADS; ++t)
      check_work (img, &workers[t]);
    image_unref (img);
    img = open_to_write (block);
  }
  image_unref (img);
  block_unref (block);
}

int
main (void)
{
  const char *seed = getenv ("NBDIMAGE_TEST_SEED");
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_new_block_looks_like_this),
    cmocka_unit_test (the_first_write_gives_new_identities),
    cmocka_unit_test (a_torn_header_is_mended),
    cmocka_unit_test (who_writes_nothing_changes_nothing),
    cmocka_unit_test (a_present_block_is_written_in_place),
    cmocka_unit_test (places_are_made_in_batches),
    cmocka_unit_test (what_became_zero_is_used_again),
    cmocka_unit_test (a_place_is_not_used_again_too_soon),
    cmocka_unit_test (a_fixed_disk_keeps_its_blocks),
    cmocka_unit_test (zeros_without_holes_keep_the_place),
    cmocka_unit_test (what_reads_as_anything_becomes_zero),
    cmocka_unit_test (a_block_that_is_cut_off_is_not_given_up),
    cmocka_unit_test (acknowledged_writes_survive_the_process),
    cmocka_unit_test (a_full_log_is_emptied),
    cmocka_unit_test (the_rest_of_the_table_stays),
    cmocka_unit_test (a_log_of_others_is_replayed_into_the_file),
    cmocka_unit_test (replaying_may_be_interrupted_anywhere),
    cmocka_unit_test (a_refused_image_keeps_its_log),
    cmocka_unit_test (doubtful_images_are_not_written),
    cmocka_unit_test (where_all_blocks_are_there_no_room_is_needed),
    cmocka_unit_test (sectors_of_4096_bytes_are_written_whole),
    cmocka_unit_test (a_child_keeps_what_the_parent_has),
    cmocka_unit_test (zeros_hide_the_parent_and_trims_reveal_nothing),
    cmocka_unit_test (a_partially_present_block_gets_more_sectors),
    cmocka_unit_test (a_partially_present_block_becomes_zero),
    cmocka_unit_test (who_writes_to_a_parent_loses_the_children),
    cmocka_unit_test (the_largest_disk_in_the_smallest_blocks),
    cmocka_unit_test (what_is_written_is_there),
    cmocka_unit_test (what_is_written_over_a_parent_is_there),
    cmocka_unit_test (a_fault_is_told_and_harms_nothing_else),
    cmocka_unit_test (a_log_that_can_not_be_written_ends_writing),
    cmocka_unit_test (many_threads_do_not_disturb_each_other),
  };

  random_state = seed ? (unsigned) strtoul (seed, NULL, 10) : 1;
  print_message ("seed %u\n", random_state);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
