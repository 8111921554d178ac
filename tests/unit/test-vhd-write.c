/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into dynamic VHDs: what is written is there, in an image that
 * opens from scratch; after faults and power cuts too; from many threads.
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

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/image-ops.h"
#include "lib/format/image.h"
#include "lib/format/vhd/vhd-write.h"
#include "tests/support/recorder.h"
#include "tests/support/vhd-maker.h"
#include "tests/support/vhd-model.h"

#define BLOCK MODEL_BLOCK
#define PER_BLOCK MODEL_PER_BLOCK
#define NR_BLOCKS MODEL_BLOCKS
#define NR_SECTORS MODEL_SECTORS

static const struct image_options to_write = { .writable = true };

/* A disk with blocks of others: 3 has bits that are 0 over bytes that are
 * not, 5 is full, 7 has no bit, the last one has some.
 */
static struct vhd_maker *
foreign_disk (const struct vhd_spec *more)
{
  struct vhd_spec spec = *more;
  uint8_t data[BLOCK], bits[1];
  struct vhd_maker *m;

  spec.type = spec.type ? spec.type : 3;
  spec.size = NR_SECTORS * 512;
  spec.block_size = BLOCK;
  m = vhd_maker_new (&spec);
  for (unsigned s = 0; s < PER_BLOCK; ++s)
    model_fill_sector (data + s * 512, 1 + s);
  bits[0] = 0xA7;
  vhd_maker_add_block (m, 3, bits, data);
  vhd_maker_add_block (m, 5, NULL, data);
  bits[0] = 0;
  vhd_maker_add_block (m, 7, bits, data);
  bits[0] = 0xF0;
  vhd_maker_add_block (m, NR_BLOCKS - 1, bits, data);
  vhd_maker_finish (m);
  return m;
}

static struct block *
new_recorder (void)
{
  static const struct vhd_spec plain;
  struct vhd_maker *m = foreign_disk (&plain);
  struct block *block = recorder_new (m->data, m->len);

  vhd_maker_free (m);
  return block;
}

static void
init (uint32_t ids[NR_SECTORS])
{
  static const uint8_t bits[NR_BLOCKS] = {
    [3] = 0xA7, [5] = 0xFF, [NR_BLOCKS - 1] = 0xF0,
  };

  for (unsigned s = 0; s < NR_SECTORS; ++s)
    if (bits[s / PER_BLOCK] & 0x80 >> s % PER_BLOCK)
      ids[s] = 1 + s % PER_BLOCK;
}

static void
what_is_written_is_there (void **state)
{
  struct block *block = new_recorder ();
  struct model *m = malloc (sizeof *m);
  struct image *img = model_open (block, true);

  (void) state;
  model_init (m);
  assert_true (model_is (img, m, 1));
  for (unsigned n = 0; n < 4000; ++n) {
    struct model_operation o = model_random_operation ();

    assert_int_equal (model_do (img, m, &o), 0);
    assert_true (model_is (img, m, 1));
    if (n % 16 == 15) {
      assert_int_equal (image_flush (img, NULL), 0);
      model_flushed (m);
    }
    if (n % 100 == 99) {
      image_unref (img);
      assert_true (model_recorder_is_good (block, m));
      img = model_open (block, true);
    }
  }
  image_unref (img);
  assert_true (model_recorder_is_good (block, m));
  block_unref (block);
  free (m);
}

static void
any_alignment_will_do (void **state)
{
  static uint8_t shadow[NR_SECTORS * 512], buf[NR_SECTORS * 512];
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);

  (void) state;
  assert_int_equal (image_pread (img, shadow, sizeof shadow, 0, NULL), 0);
  for (unsigned n = 0; n < 3000; ++n) {
    unsigned off = model_random_below (sizeof shadow);
    unsigned len = 1 + model_random_below (model_random_below (2) ? 700 : 9000);

    if (len > sizeof shadow - off)
      len = (unsigned) sizeof shadow - off;
    if (model_random_below (4) == 0) {
      memset (shadow + off, 0, len);
      assert_int_equal (image_zero (img, len, off, 0, NULL), 0);
    }
    else {
      for (unsigned i = 0; i < len; ++i)
        shadow[off + i] = (uint8_t) model_random_below (256);
      assert_int_equal (image_pwrite (img, shadow + off, len, off, 0, NULL),
                        0);
    }
    if (model_random_below (10) == 0)
      assert_int_equal (image_flush (img, NULL), 0);
    assert_int_equal (image_pread (img, buf, sizeof buf, 0, NULL), 0);
    assert_memory_equal (buf, shadow, sizeof buf);
  }
  image_unref (img);
  img = model_open (block, true);
  assert_int_equal (image_pread (img, buf, sizeof buf, 0, NULL), 0);
  assert_memory_equal (buf, shadow, sizeof buf);
  image_unref (img);
  block_unref (block);
}

/*--- Power cuts and faults --------------------------------------------------*/

static void
a_power_cut_loses_nothing_that_was_flushed (void **state)
{
  (void) state;
  assert_int_equal (model_count_bad (model_number_from
                                     ("NBDIMAGE_TEST_STATES", 2000),
                                     DROPPED_NONE), 0);
}

/* Blocks that had data are given up, and the file is cut off where they were:
 * at each change of that.
 */
static void
a_power_cut_while_the_file_is_cut_off_leaves_its_footer (void **state)
{
  struct model *m = malloc (sizeof *m);

  (void) state;
  for (unsigned nth = 1; nth <= 12; ++nth) {
    struct block *block = new_recorder ();
    struct image *img = model_open (block, true);
    struct model_operation o = { MODEL_WRITE, 20 * PER_BLOCK, 8 * PER_BLOCK,
                                 BLOCK_FUA };

    model_init (m);
    assert_int_equal (model_do (img, m, &o), 0);
    o.kind = MODEL_ZERO;
    o.flags = 0;
    assert_int_equal (model_do (img, m, &o), 0);
    recorder_fail (block, nth, 1000000);
    image_unref (img);
    assert_int_equal (model_count_bad_now (block, m, 50), 0);
    block_unref (block);
  }
  free (m);
}

/* Without flushes, or without those that keep the order of what is written,
 * the same would find damage.
 */
static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  assert_true (model_count_bad (800, DROPPED_ALL) > 0);
  assert_true (model_count_bad (800, DROPPED_INNER) > 0);
}

static void
a_fault_is_told_and_harms_nothing_else (void **state)
{
  unsigned failed = 0;

  (void) state;
  for (unsigned nth = 1; nth < 60; ++nth)
    failed += model_life_with_faults (nth, 1 + nth % 4);
  assert_true (failed > 40);
}

/*--- Rules ------------------------------------------------------------------*/

static void
write_sector (struct image *img, unsigned s, uint32_t id)
{
  uint8_t data[512];

  model_fill_sector (data, id);
  assert_int_equal (image_pwrite (img, data, 512, s * UINT64_C (512), 0, NULL),
                    0);
}

static struct block *
empty_disk (uint32_t block_size, uint64_t nr_blocks)
{
  struct vhd_spec spec = { .type = 3, .size = block_size * nr_blocks,
                           .block_size = block_size };
  struct vhd_maker *m = vhd_maker_new (&spec);
  struct block *block;

  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhd_maker_free (m);
  return block;
}

static uint32_t
bat_entry (struct block *block, unsigned i)
{
  size_t len;

  return get_be32 (recorder_data (block, &len) + 1536 + 4 * i);
}

/* To the last byte: place, bitmap, data, both footers, nothing else. */
static void
a_new_block_looks_like_this (void **state)
{
  enum { SIZE = 512 * 1024 };
  struct block *block = empty_disk (SIZE, 3);
  struct image *img = model_open (block, true);
  static uint8_t expected[4096 + SIZE];
  const uint8_t *data;
  size_t len;

  (void) state;
  data = recorder_data (block, &len);
  assert_int_equal (len, 2048 + 512);
  memcpy (expected, data, 2048);
  put_be32 (expected + 1536 + 4, (4096 - 512) / 512);
  memset (expected + 4096 - 512, 0xFF, 512);
  model_fill_sector (expected + 4096 + 7 * 512, 42);
  /* What was the footer at the end lies between the BAT and the place. */
  memcpy (expected + 2048, data, 512);
  write_sector (img, SIZE / 512 + 7, 42);
  image_unref (img);
  data = recorder_data (block, &len);
  /* The next place would begin 3584 bytes behind the data. */
  assert_int_equal (len, 4096 + SIZE + 3584 + 512);
  assert_memory_equal (data, expected, sizeof expected);
  assert_memory_equal (data + len - 512, data, 512);
  for (size_t i = sizeof expected; i < len - 512; ++i)
    assert_int_equal (data[i], 0);
  block_unref (block);
}

static void
who_writes_nothing_changes_nothing (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  uint8_t buf[512];

  (void) state;
  recorder_fail (block, 0, 0);
  assert_int_equal (image_pread (img, buf, 512, 0, NULL), 0);
  assert_int_equal (image_zero (img, BLOCK, 0, 0, NULL), 0);
  assert_int_equal (image_trim (img, BLOCK, BLOCK, 0, NULL), 0);
  image_unref (img);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
}

static void
a_present_block_is_written_in_place (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  uint32_t entry = bat_entry (block, 5);

  (void) state;
  recorder_fail (block, 0, 0);
  write_sector (img, 5 * PER_BLOCK, 77);
  assert_int_equal (recorder_changes (block), 1);
  assert_int_equal (bat_entry (block, 5), entry);
  image_unref (img);
  block_unref (block);
}

static void
places_are_made_in_batches (void **state)
{
  struct block *block = empty_disk (BLOCK, 512);
  struct image *img = model_open (block, true);

  (void) state;
  for (unsigned i = 0; i < 512; ++i)
    write_sector (img, i * PER_BLOCK, i + 1);
  /* 8, 16, … 512 places. */
  assert_in_range (recorder_flushes (block), 2, 7);
  image_unref (img);
  block_unref (block);
}

/* The file has its size, and where its end is, before a BAT entry needs it; and
 * that waits for no data of clients.
 */
static void
new_places_wait_for_no_data (void **state)
{
  struct block *block = empty_disk (BLOCK, 512);
  struct image *img = model_open (block, true);
  static const uint8_t zeros[512];
  size_t len, stable;

  (void) state;
  for (unsigned i = 0; i < 512; ++i) {
    uint8_t *data;
    uint32_t entry;

    write_sector (img, i * PER_BLOCK, i + 1);
    entry = bat_entry (block, i);
    assert_in_range (entry * UINT64_C (512) + 512 + BLOCK, 1,
                     recorder_stable_size (block) - 512);
    if (i % 64 != 63)
      continue;
    data = recorder_crash (block, 0, &stable);
    recorder_data (block, &len);
    assert_int_equal (stable, len);
    assert_memory_equal (data + len - 512, data, 512);
    assert_int_equal (get_be32 (data + 1536 + 4 * i), 0xFFFFFFFF);
    assert_memory_equal (data + entry * 512 + 512, zeros, 512);
    free (data);
  }
  image_unref (img);
  block_unref (block);
}

/* A process that was killed left some at the end of the file, with anything in
 * them.
 */
static void
what_was_left_at_the_end_is_used (void **state)
{
  struct block *block = empty_disk (BLOCK, 64), *again;
  struct image *img = model_open (block, true);
  uint8_t *data, found[BLOCK], expected[BLOCK] = { 0 };
  size_t len, now;

  (void) state;
  write_sector (img, 0, 1);
  data = recorder_crash (block, 1, &len);
  memset (data + bat_entry (block, 0) * 512 + 512 + BLOCK, 0x55,
          4 * BLOCK);
  again = recorder_new (data, len);
  free (data);
  image_unref (img);
  block_unref (block);
  img = model_open (again, true);
  for (unsigned i = 1; i < 4; ++i) {
    write_sector (img, i * PER_BLOCK + 1, i + 1);
    model_fill_sector (expected + 512, i + 1);
    assert_int_equal (image_pread (img, found, BLOCK, i * BLOCK, NULL), 0);
    assert_memory_equal (found, expected, BLOCK);
  }
  recorder_data (again, &now);
  assert_int_equal (now, len);
  image_unref (img);
  block_unref (again);
}

static void
what_became_zero_is_used_again (void **state)
{
  struct block *block = empty_disk (BLOCK, 64);
  struct image *img = model_open (block, true);
  size_t len, most = 0;

  (void) state;
  for (unsigned round = 0; round < 200; ++round) {
    unsigned first = 8 * (round % 8);

    for (unsigned i = 0; i < 8; ++i)
      write_sector (img, (first + i) * PER_BLOCK, round + 1);
    assert_int_equal (image_zero (img, 8 * BLOCK, first * BLOCK, 0, NULL), 0);
    for (unsigned i = 0; i < 8; ++i)
      assert_int_equal (bat_entry (block, first + i), 0xFFFFFFFF);
    assert_int_equal (image_flush (img, NULL), 0);
    recorder_data (block, &len);
    most = len > most ? len : most;
  }
  /* 1,600 blocks were written: 13 MB if each had a new place. */
  assert_true (most < 1024 * 1024);
  image_unref (img);
  recorder_data (block, &len);
  assert_int_equal (len, 4096);
  block_unref (block);
}

static void
check_refused (struct vhd_maker *m, const char *reason)
{
  CLEANUP_BLOCK struct block *block = recorder_new (m->data, m->len);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  assert_int_equal (image_open_block (block, &to_write, &img, NULL, &err),
                    -EROFS);
  if (strstr (err.msg, reason) == NULL)
    fail_msg ("“%s” does not say “%s”", err.msg, reason);
  assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
  assert_non_null (strstr (err.msg, image_readonly_reason (img)));
  vhd_maker_free (m);
}

/* But for what stays for the next blocks; and it is a hole where it does. */
static void
the_file_becomes_shorter_at_a_flush (void **state)
{
  struct block *block = empty_disk (BLOCK, 256);
  struct image *img = model_open (block, true);
  size_t len, full;

  (void) state;
  for (unsigned i = 0; i < 256; ++i)
    write_sector (img, i * PER_BLOCK, i + 1);
  assert_int_equal (image_flush (img, NULL), 0);
  recorder_data (block, &full);
  /* In front of what is used nothing can go, but holes come. */
  assert_int_equal (image_trim (img, 100 * BLOCK, 0, 0, NULL), 0);
  assert_int_equal (image_flush (img, NULL), 0);
  recorder_data (block, &len);
  assert_int_equal (len, full);
  assert_int_equal (image_zero (img, 156 * BLOCK, 100 * BLOCK, 0, NULL), 0);
  assert_int_equal (image_flush (img, NULL), 0);
  recorder_data (block, &len);
  assert_true (len < full / 2);
  assert_memory_equal (recorder_data (block, &len) + len - 512,
                       recorder_data (block, &len), 512);
  for (unsigned i = 0; i < 256; ++i)
    write_sector (img, i * PER_BLOCK, i + 7);
  image_unref (img);
  img = model_open (block, true);
  for (unsigned i = 0; i < 256; ++i) {
    uint8_t found[512], expected[512];

    model_fill_sector (expected, i + 7);
    assert_int_equal (image_pread (img, found, 512, i * BLOCK, NULL), 0);
    assert_memory_equal (found, expected, 512);
  }
  image_unref (img);
  block_unref (block);
}

/* Each step of cutting it off fails in its turn: the places that stay, and
 * those that were to go, are given to one block each.
 */
static void
a_cut_that_fails_gives_no_place_twice (void **state)
{
  (void) state;
  for (unsigned nth = 1; nth <= 8; ++nth) {
    struct block *block = empty_disk (BLOCK, 256);
    struct image *img = model_open (block, true);

    for (unsigned i = 0; i < 256; ++i)
      write_sector (img, i * PER_BLOCK, i + 1);
    assert_int_equal (image_flush (img, NULL), 0);
    assert_int_equal (image_zero (img, 250 * BLOCK, 6 * BLOCK, 0, NULL), 0);
    recorder_fail (block, nth, 1);
    image_flush (img, NULL);
    recorder_fail (block, 0, 0);
    for (unsigned i = 0; i < 256; ++i)
      write_sector (img, i * PER_BLOCK, i + 7);
    for (unsigned i = 0; i < 256; ++i) {
      uint8_t found[512], expected[512];

      model_fill_sector (expected, i + 7);
      assert_int_equal (image_pread (img, found, 512, i * BLOCK, NULL), 0);
      assert_memory_equal (found, expected, 512);
    }
    image_unref (img);
    block_unref (block);
  }
}

/* A foreign disk with some zeros at its end, where the footer was, or with
 * what `patch` makes of them.
 */
static struct vhd_maker *
without_its_end (size_t more)
{
  static const struct vhd_spec plain;
  struct vhd_maker *m = foreign_disk (&plain);

  memset (m->data + m->footer_off, 0, 512);
  m->data = realloc (m->data, m->len + more);
  assert_non_null (m->data);
  memset (m->data + m->len, 0, more);
  m->len += more;
  return m;
}

static void
a_file_that_lacks_only_its_end_can_be_written (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct model *model = malloc (sizeof *model);

  (void) state;
  model_init (model);
  for (size_t more = 0; more <= 8192; more += 4096) {
    struct vhd_maker *m = without_its_end (more);
    struct block *block = recorder_new (m->data, m->len);
    struct image *img = NULL;
    const uint8_t *data;
    size_t len;

    /* Reading changes nothing, and knows that it could be written. */
    assert_int_equal (image_open_block (block, NULL, &img, NULL, NULL), 0);
    assert_null (image_readonly_reason (img));
    image_unref (img);
    assert_int_equal (recorder_flushes (block), 0);
    assert_int_equal (image_open_block (block, &to_write, &img, &report, NULL),
                      0);
    assert_true (model_is (img, model, 1));
    data = recorder_data (block, &len);
    assert_int_equal (len, m->len);
    assert_memory_equal (data + len - 512, data, 512);
    assert_int_equal (recorder_flushes (block), 1);
    image_unref (img);
    block_unref (block);
    vhd_maker_free (m);
  }
  assert_int_equal (report.lines.len, 4);
  assert_non_null (strstr (report.lines.ptr[1], "was written there"));
  free (model);
}

static void
what_lacks_more_than_its_end_is_not_written (void **state)
{
  static const struct vhd_spec plain;
  struct vhd_maker *m = without_its_end (4096);

  (void) state;
  /* Something is there. */
  m->data[m->len - 1] = 1;
  check_refused (m, "only the copy is whole");
  /* The last block ends where the file does. */
  m = foreign_disk (&plain);
  m->len = m->footer_off;
  memset (m->data + m->len - 512, 0, 512);
  check_refused (m, "only the copy is whole");
  /* No whole sector. */
  m = without_its_end (4096);
  m->len -= 100;
  check_refused (m, "does not begin at a whole sector");
  /* Another thing is wrong. */
  m = without_its_end (4096);
  m->data[84] = 1;
  vhd_maker_sum_footers (m);
  memset (m->data + m->footer_off, 0, 512);
  check_refused (m, "saved state");
}

/* Until a flush the BAT on stable storage may name it. */
static void
a_place_is_not_used_again_before_a_flush (void **state)
{
  struct block *block = empty_disk (BLOCK, 64);
  struct image *img = model_open (block, true);
  uint8_t expected[512];
  unsigned nr_reused = 0;
  uint32_t entry;

  (void) state;
  write_sector (img, 0, 1);
  assert_int_equal (image_flush (img, NULL), 0);
  entry = bat_entry (block, 0);
  model_fill_sector (expected, 1);
  assert_int_equal (image_zero (img, BLOCK, 0, 0, NULL), 0);
  for (unsigned i = 1; i < 60; ++i) {
    size_t len;
    uint8_t *data = recorder_crash (block, 0, &len);

    if (get_be32 (data + 1536) != 0xFFFFFFFF)
      assert_memory_equal (data + entry * 512 + 512, expected, 512);
    free (data);
    write_sector (img, i * PER_BLOCK, i + 1);
    if (bat_entry (block, i) == entry)
      nr_reused++;
  }
  assert_int_equal (nr_reused, 1);
  image_unref (img);
  block_unref (block);
}

/* Whoever looked it up before may still read or write there. */
static void
a_place_is_not_used_again_before_operations_end (void **state)
{
  struct block *block = empty_disk (BLOCK, 64);
  struct image *img = model_open (block, true);
  struct vhd *vhd = img->state;
  unsigned epoch, nr_reused = 0;
  uint32_t entry;

  (void) state;
  write_sector (img, 0, 1);
  entry = bat_entry (block, 0);
  epoch = epoch_enter (vhd_space_epoch (vhd->writer->space));
  assert_int_equal (image_zero (img, BLOCK, 0, 0, NULL), 0);
  for (unsigned i = 1; i < 64; ++i) {
    assert_int_equal (image_flush (img, NULL), 0);
    write_sector (img, i * PER_BLOCK, i + 1);
    if (bat_entry (block, i) == entry)
      nr_reused++;
    if (i == 16) {
      assert_int_equal (nr_reused, 0);
      epoch_leave (vhd_space_epoch (vhd->writer->space), epoch);
    }
  }
  assert_int_equal (nr_reused, 1);
  image_unref (img);
  block_unref (block);
}

static void
doubtful_images_are_not_written (void **state)
{
  static const struct vhd_spec plain,
    batmap = { .creator = "tap", .creator_version = 0x00010003,
               .batmap = true },
    tap = { .creator = "tap", .creator_version = 0x00010003 };
  struct vhd_maker *m = foreign_disk (&plain);

  (void) state;
  m->data[m->footer_off + 84] = m->data[84] = 1;
  vhd_maker_sum_footers (m);
  check_refused (m, "saved state");
  m = foreign_disk (&plain);
  m->data[m->footer_off] = 'x';
  check_refused (m, "only the copy is whole");
  m = foreign_disk (&plain);
  m->data[0] = 'x';
  check_refused (m, "is not the same");
  m = foreign_disk (&plain);
  m->data[24] ^= 1;
  vhd_maker_sum_footers (m);
  check_refused (m, "is not the same");
  check_refused (foreign_disk (&batmap), "batmap");
  m = foreign_disk (&tap);
  m->data[m->footer_off + 85] = m->data[85] = 1;
  vhd_maker_sum_footers (m);
  check_refused (m, "parent of other disks");
}

static void
what_can_not_grow_is_not_written (void **state)
{
  static const struct vhd_spec plain;
  struct vhd_maker *m = foreign_disk (&plain);
  CLEANUP_BLOCK struct block *block = vhd_maker_block (m);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (image_open_block (block, &to_write, &img, NULL, &err),
                    -EROFS);
  assert_non_null (strstr (err.msg, "would have to grow"));
  vhd_maker_free (m);
}

/* Bits that are 0 hide what the file has there; they are given up together. */
static void
a_clear_bit_becomes_zeros (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  uint32_t entry = bat_entry (block, 7);
  uint8_t expected[BLOCK] = { 0 };
  const uint8_t *data;
  size_t len;

  (void) state;
  write_sector (img, 7 * PER_BLOCK + 2, 99);
  model_fill_sector (expected + 2 * 512, 99);
  data = recorder_data (block, &len) + entry * 512;
  assert_int_equal (data[0], 0xFF);
  assert_memory_equal (data + 512, expected, BLOCK);
  image_unref (img);
  block_unref (block);
}

/*--- Many threads -----------------------------------------------------------*/

#define NR_THREADS 16U
#define SHARED 32U              /* blocks; a thread has some sectors of each */

struct worker {
  struct image *img;
  unsigned number, seed;
  uint32_t ids[NR_SECTORS];     /* of its own sectors */
  bool failed;
};

static bool
is_own (const struct worker *w, unsigned s)
{
  unsigned block = s / PER_BLOCK;

  return block < SHARED ? (s + block) % NR_THREADS == w->number
    : block % NR_THREADS == w->number;
}

static void
choose_work (struct worker *w, unsigned s, struct model_operation *o)
{
  unsigned block = s / PER_BLOCK, n = (unsigned) rand_r (&w->seed);

  *o = (struct model_operation) { .kind = MODEL_WRITE, .first = s, .nr = 1 };
  if (block >= SHARED && n % 3 == 0) {
    o->kind = n % 2 ? MODEL_ZERO : MODEL_TRIM;
    o->first = block * PER_BLOCK;
    o->nr = PER_BLOCK;
    if (o->nr > NR_SECTORS - o->first)
      o->nr = NR_SECTORS - o->first;
  }
  else if (n % 5 == 0)
    o->kind = MODEL_ZERO;
}

static bool
work_on (struct worker *w, unsigned s)
{
  uint32_t id = 1000000 * (w->number + 1) + (unsigned) rand_r (&w->seed) % 9999;
  uint8_t expected[512], found[512];
  struct model_operation o;

  choose_work (w, s, &o);
  if (model_run (w->img, &o, id) < 0 ||
      (id % 11 == 0 && image_flush (w->img, NULL) < 0))
    return false;
  for (unsigned i = 0; i < o.nr; ++i)
    w->ids[o.first + i] = o.kind == MODEL_WRITE ? id : 0;
  model_fill_sector (expected, w->ids[s]);
  return image_pread (w->img, found, 512, s * UINT64_C (512), NULL) == 0 &&
    memcmp (found, expected, 512) == 0;
}

static void *
work (void *arg)
{
  struct worker *w = arg;

  for (unsigned n = 0; n < 2000 && !w->failed; ++n) {
    unsigned s = (unsigned) rand_r (&w->seed) % NR_SECTORS;

    while (!is_own (w, s))
      s = (s + 1) % NR_SECTORS;
    w->failed = !work_on (w, s);
  }
  return NULL;
}

static void
check_work (struct image *img, const struct worker *w)
{
  uint8_t found[512], expected[512];

  for (unsigned s = 0; s < NR_SECTORS; ++s) {
    if (!is_own (w, s))
      continue;
    assert_int_equal (image_pread (img, found, 512, s * UINT64_C (512), NULL),
                      0);
    model_fill_sector (expected, w->ids[s]);
    assert_memory_equal (found, expected, 512);
  }
}

static void
many_threads_do_not_disturb_each_other (void **state)
{
  static struct worker workers[NR_THREADS];
  struct block *block = empty_disk (BLOCK, NR_BLOCKS);
  struct image *img = model_open (block, true);
  pthread_t threads[NR_THREADS];

  (void) state;
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    workers[t].img = img;
    workers[t].number = t;
    workers[t].seed = model_random_below (1000000);
    assert_int_equal (pthread_create (&threads[t], NULL, work, &workers[t]),
                      0);
  }
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    pthread_join (threads[t], NULL);
    assert_false (workers[t].failed);
  }
  image_unref (img);
  img = model_open (block, true);
  for (unsigned t = 0; t < NR_THREADS; ++t)
    check_work (img, &workers[t]);
  image_unref (img);
  block_unref (block);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_new_block_looks_like_this),
    cmocka_unit_test (who_writes_nothing_changes_nothing),
    cmocka_unit_test (a_present_block_is_written_in_place),
    cmocka_unit_test (places_are_made_in_batches),
    cmocka_unit_test (new_places_wait_for_no_data),
    cmocka_unit_test (what_was_left_at_the_end_is_used),
    cmocka_unit_test (what_became_zero_is_used_again),
    cmocka_unit_test (the_file_becomes_shorter_at_a_flush),
    cmocka_unit_test (a_cut_that_fails_gives_no_place_twice),
    cmocka_unit_test (a_file_that_lacks_only_its_end_can_be_written),
    cmocka_unit_test (what_lacks_more_than_its_end_is_not_written),
    cmocka_unit_test (a_place_is_not_used_again_before_a_flush),
    cmocka_unit_test (a_place_is_not_used_again_before_operations_end),
    cmocka_unit_test (doubtful_images_are_not_written),
    cmocka_unit_test (what_can_not_grow_is_not_written),
    cmocka_unit_test (a_clear_bit_becomes_zeros),
    cmocka_unit_test (what_is_written_is_there),
    cmocka_unit_test (any_alignment_will_do),
    cmocka_unit_test (many_threads_do_not_disturb_each_other),
    cmocka_unit_test (a_fault_is_told_and_harms_nothing_else),
    cmocka_unit_test (a_power_cut_loses_nothing_that_was_flushed),
    cmocka_unit_test (a_power_cut_while_the_file_is_cut_off_leaves_its_footer),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  model_subject.make = new_recorder;
  model_subject.init = init;
  model_seed ();
  return cmocka_run_group_tests (tests, NULL, NULL);
}
