/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into differencing VHDs: a chain of three, whose parents are files
 * and whose child is in a recorder, or a file too where a process is killed.
 * tests/support/vhd-model.h tells what is tried with it.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/image-ops.h"
#include "lib/format/vhd/vhd-edit.h"
#include "lib/format/vhd/vhd-write.h"
#include "tests/support/recorder.h"
#include "tests/support/vhd-maker.h"
#include "tests/support/vhd-model.h"

#define BLOCK MODEL_BLOCK
#define PER_BLOCK MODEL_PER_BLOCK
#define NR_SECTORS MODEL_SECTORS
#define DISK_SIZE (NR_SECTORS * 512U)

static char folder[] = "/tmp/nbdimage-child-XXXXXX";

/*--- The chain --------------------------------------------------------------*/

/* Blocks of a layer and their bits; sector s has number base + s. */
struct layer_blocks {
  uint32_t base;
  unsigned block_size;
  unsigned nr_sectors;          /* of its disk */
  struct {
    unsigned index;
    uint8_t bits[2];
  } blocks[8];
  unsigned nr;
};

/* The grandparent is smaller than the disk, the parent larger.  What the
 * child has of block 7 is not to be seen.
 */
static const struct layer_blocks chain[] = {
  { 2000, 2 * BLOCK, NR_SECTORS - 40,
    { { 0, { 0xFF, 0xFF } }, { 1, { 0xF0, 0x3C } }, { 5, { 0xFF, 0xFF } },
      { 9, { 0xFF, 0xFF } }, { 20, { 0xFF, 0xFF } }, { 29, { 0xFF, 0xFF } } },
    6 },
  { 4000, BLOCK, NR_SECTORS + 8,
    { { 1, { 0x0F } }, { 3, { 0xA5 } }, { 10, { 0xFF } }, { 40, { 0x80 } },
      { 45, { 0x3C } }, { 63, { 0xF0 } } }, 6 },
  { 6000, BLOCK, NR_SECTORS,
    { { 3, { 0xA7 } }, { 5, { 0xFF } }, { 7, { 0 } }, { 63, { 0x90 } } }, 4 },
};

static void
init (uint32_t ids[NR_SECTORS])
{
  for (unsigned l = 0; l < 3; ++l)
    for (unsigned n = 0; n < chain[l].nr; ++n)
      for (unsigned i = 0; i < chain[l].block_size / 512; ++i) {
        unsigned s = chain[l].blocks[n].index * chain[l].block_size / 512 + i;

        if (s < NR_SECTORS && s < chain[l].nr_sectors &&
            chain[l].blocks[n].bits[i / 8] & 0x80 >> i % 8)
          ids[s] = chain[l].base + s;
      }
}

static struct vhd_maker *
make_layer (unsigned l)
{
  struct vhd_spec spec = {
    .type = l == 0 ? 3 : 4,
    .size = chain[l].nr_sectors * UINT64_C (512),
    .block_size = chain[l].block_size,
    .id = l + 1,
    .parent_id = l,
    .locators = { { l == 0 ? NULL : "W2ru",
                    l == 1 ? ".\\0.vhd" : ".\\1.vhd" } },
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint8_t data[2 * BLOCK];

  for (unsigned n = 0; n < chain[l].nr; ++n) {
    unsigned first = chain[l].blocks[n].index * chain[l].block_size / 512;

    for (unsigned i = 0; i < chain[l].block_size / 512; ++i)
      model_fill_sector (data + i * 512, chain[l].base + first + i);
    vhd_maker_add_block (m, chain[l].blocks[n].index, chain[l].blocks[n].bits,
                         data);
  }
  vhd_maker_finish (m);
  return m;
}

static void
save_layer (unsigned l, char path[100])
{
  struct vhd_maker *m = make_layer (l);

  snprintf (path, 100, "%s/%u.vhd", folder, l);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

static struct block *
new_recorder (void)
{
  struct vhd_maker *m = make_layer (2);
  struct block *block = recorder_new (m->data, m->len);

  vhd_maker_free (m);
  return block;
}

static uint32_t
bat_entry (struct block *block, unsigned i)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);

  return get_be32 (data + get_be64 (data + 512 + 16) + 4 * i);
}

/* Of a present block. */
static uint8_t
bits_in_file (struct block *block, unsigned i)
{
  size_t len;

  return recorder_data (block, &len)[bat_entry (block, i) * UINT64_C (512)];
}

static void
write_sector (struct image *img, unsigned s, uint32_t id)
{
  uint8_t data[512];

  model_fill_sector (data, id);
  assert_int_equal (image_pwrite (img, data, 512, s * UINT64_C (512), 0, NULL),
                    0);
}

static void
check_sector (struct image *img, unsigned s, uint32_t id)
{
  uint8_t data[512], expected[512];

  model_fill_sector (expected, id);
  assert_int_equal (image_pread (img, data, 512, s * UINT64_C (512), NULL), 0);
  assert_memory_equal (data, expected, 512);
}

/*--- Rules ------------------------------------------------------------------*/

static void
who_writes_nothing_changes_nothing (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  struct model *m = malloc (sizeof *m);

  (void) state;
  model_init (m);
  recorder_fail (block, 0, 0);
  assert_true (model_is (img, m, 1));
  /* Blocks 50 to 57 are nowhere. */
  assert_int_equal (image_zero (img, 8 * BLOCK, 50 * BLOCK, 0, NULL), 0);
  assert_int_equal (image_zero (img, 1024, 50 * BLOCK + 512, 0, NULL), 0);
  assert_int_equal (recorder_changes (block), 0);
  image_unref (img);
  img = model_open (block, true);
  /* Holes for what is here of blocks 3 and 63, in three and two places; of 5
   * and 7 the parents have nothing, and the entries go.
   */
  assert_int_equal (image_trim (img, DISK_SIZE, 0, 0, NULL), 0);
  assert_int_equal (recorder_changes (block), 7);
  image_unref (img);
  block_unref (block);
  free (m);
}

static void
a_new_block_looks_like_this (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  uint8_t expected[BLOCK] = { 0 };
  const uint8_t *data;
  size_t len, off;

  (void) state;
  assert_int_equal (bat_entry (block, 10), 0xFFFFFFFF);
  write_sector (img, 10 * PER_BLOCK + 2, 42);
  write_sector (img, 10 * PER_BLOCK + 7, 43);
  off = bat_entry (block, 10) * UINT64_C (512);
  assert_int_equal ((off + 512) % 4096, 0);
  model_fill_sector (expected + 2 * 512, 42);
  model_fill_sector (expected + 7 * 512, 43);
  /* Not before a flush. */
  assert_int_equal (bits_in_file (block, 10), 0);
  check_sector (img, 10 * PER_BLOCK + 2, 42);
  check_sector (img, 10 * PER_BLOCK + 3, 4000 + 10 * PER_BLOCK + 3);
  assert_int_equal (image_flush (img, NULL), 0);
  data = recorder_data (block, &len);
  assert_int_equal (data[off], 0x21);
  for (unsigned i = 1; i < 512; ++i)
    assert_int_equal (data[off + i], 0);
  assert_memory_equal (data + off + 512, expected, BLOCK);
  image_unref (img);
  block_unref (block);
}

/* Where the file was cut off and grew again, there may be another block with
 * a bitmap of its own, of which nobody may remember the one that was there.
 */
static void
a_place_that_was_cut_off_comes_back_empty (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  uint8_t data[BLOCK];
  uint32_t first;
  size_t len, shorter;

  (void) state;
  memset (data, 0x55, sizeof data);
  for (unsigned i = 50; i < 58; ++i)
    assert_int_equal (image_pwrite (img, data, BLOCK, i * BLOCK, 0, NULL), 0);
  assert_int_equal (image_flush (img, NULL), 0);
  first = bat_entry (block, 50);
  assert_int_equal (bits_in_file (block, 50), 0xFF);
  recorder_data (block, &len);
  assert_int_equal (image_trim (img, 8 * BLOCK, 50 * BLOCK, 0, NULL), 0);
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (image_flush (img, NULL), 0);
  recorder_data (block, &shorter);
  assert_true (shorter < len);
  for (unsigned i = 10; i < 18; ++i)
    write_sector (img, i * PER_BLOCK + 2, 42);
  for (unsigned i = 10; i < 18; ++i)
    assert_true (bat_entry (block, i) >= first);
  check_sector (img, 10 * PER_BLOCK + 2, 42);
  check_sector (img, 10 * PER_BLOCK + 3, 4000 + 10 * PER_BLOCK + 3);
  assert_int_equal (image_flush (img, NULL), 0);
  for (unsigned i = 10; i < 18; ++i)
    assert_int_equal (bits_in_file (block, i), 0x20);
  image_unref (img);
  block_unref (block);
}

/* Between the BAT that does not name a place any more and the list of those
 * that were given up, others may flush: whoever reads and writes there has not
 * ended, and the file must not.
 */
static void
the_file_does_not_end_in_front_of_a_place_that_is_given_up (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  struct vhd *vhd = img->state;
  uint8_t data[BLOCK];
  uint32_t place;
  size_t len;

  (void) state;
  memset (data, 0x55, sizeof data);
  for (unsigned i = 43; i < 58; ++i)
    assert_int_equal (image_pwrite (img, data, BLOCK, i * BLOCK, 0, NULL), 0);
  assert_int_equal (image_flush (img, NULL), 0);
  place = bat_entry (block, 57);
  assert_int_equal (image_trim (img, 14 * BLOCK, 43 * BLOCK, 0, NULL), 0);
  assert_int_equal (vhd_space_hold (vhd->writer->space, place, NULL), 0);
  vhd->leaf->bat.entries[57] = VHD_BAT_HELD_ABSENT;
  for (unsigned i = 0; i < 3; ++i)
    assert_int_equal (image_flush (img, NULL), 0);
  recorder_data (block, &len);
  assert_true (len >= place * UINT64_C (512) + 512 + BLOCK + 512);
  vhd_space_release (vhd->writer->space, place);
  for (unsigned i = 0; i < 3; ++i)
    assert_int_equal (image_flush (img, NULL), 0);
  recorder_data (block, &len);
  assert_true (len < place * UINT64_C (512));
  image_unref (img);
  block_unref (block);
}

static void
a_sector_that_is_here_is_written_in_place (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  unsigned flushes = recorder_flushes (block);
  uint32_t entry = bat_entry (block, 5);

  (void) state;
  recorder_fail (block, 0, 0);
  write_sector (img, 5 * PER_BLOCK, 77);
  assert_int_equal (recorder_changes (block), 1);
  /* Others in a block that is here: data, and a bit in memory. */
  write_sector (img, 3 * PER_BLOCK + 1, 78);
  assert_int_equal (recorder_changes (block), 2);
  write_sector (img, 3 * PER_BLOCK + 1, 79);
  assert_int_equal (recorder_changes (block), 3);
  assert_int_equal (bits_in_file (block, 3), 0xA7);
  assert_int_equal (recorder_flushes (block), flushes);
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (bits_in_file (block, 3), 0xE7);
  assert_int_equal (recorder_flushes (block), flushes + 2);
  assert_int_equal (bat_entry (block, 5), entry);
  image_unref (img);
  block_unref (block);
}

static void
a_part_of_a_sector_is_filled_up_from_the_parents (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  uint8_t expected[3 * 512], found[3 * 512], patch[900];
  unsigned s = 10 * PER_BLOCK + 1;

  (void) state;
  for (unsigned i = 0; i < 3; ++i)
    model_fill_sector (expected + i * 512, 4000 + s + i);
  memset (patch, 0xAB, sizeof patch);
  memcpy (expected + 300, patch, sizeof patch);
  assert_int_equal (image_pwrite (img, patch, sizeof patch,
                                  s * UINT64_C (512) + 300, 0, NULL), 0);
  assert_int_equal (image_pread (img, found, sizeof found, s * UINT64_C (512),
                                 NULL), 0);
  assert_memory_equal (found, expected, sizeof expected);
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (bits_in_file (block, 10), 0x70);
  image_unref (img);
  block_unref (block);
}

static void
zeros_hide_the_parents (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  unsigned flags[] = { 0, BLOCK_NO_HOLE };

  (void) state;
  for (unsigned i = 0; i < 2; ++i) {
    unsigned b = 10 + i * 30;   /* 10 and 40: the parent's, in part */

    assert_int_equal (image_zero (img, BLOCK, b * BLOCK, flags[i], NULL), 0);
    for (unsigned s = 0; s < PER_BLOCK; ++s)
      check_sector (img, b * PER_BLOCK + s, 0);
    assert_int_not_equal (bat_entry (block, b), 0xFFFFFFFF);
  }
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (bits_in_file (block, 10), 0xFF);
  image_unref (img);
  block_unref (block);
}

/* Of 45 the parent has what is in the middle. */
static void
zeros_hide_what_does_not_come_first (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  unsigned first = 45 * PER_BLOCK;

  (void) state;
  check_sector (img, first + 2, 4000 + first + 2);
  write_sector (img, first, 1);
  assert_int_equal (image_trim (img, BLOCK, 45 * BLOCK, 0, NULL), 0);
  check_sector (img, first, 0);
  check_sector (img, first + 2, 4000 + first + 2);
  assert_int_equal (image_zero (img, BLOCK, 45 * BLOCK, 0, NULL), 0);
  for (unsigned s = 0; s < PER_BLOCK; ++s)
    check_sector (img, first + s, 0);
  assert_int_not_equal (bat_entry (block, 45), 0xFFFFFFFF);
  image_unref (img);
  block_unref (block);
}

static void
a_block_goes_where_the_parents_have_nothing (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);

  (void) state;
  write_sector (img, 50 * PER_BLOCK, 1);
  write_sector (img, 51 * PER_BLOCK, 2);
  write_sector (img, 10 * PER_BLOCK, 3);
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (image_zero (img, BLOCK, 50 * BLOCK, 0, NULL), 0);
  assert_int_equal (image_trim (img, BLOCK, 51 * BLOCK, 0, NULL), 0);
  assert_int_equal (image_trim (img, BLOCK, 10 * BLOCK, 0, NULL), 0);
  assert_int_equal (bat_entry (block, 50), 0xFFFFFFFF);
  assert_int_equal (bat_entry (block, 51), 0xFFFFFFFF);
  assert_int_not_equal (bat_entry (block, 10), 0xFFFFFFFF);
  check_sector (img, 50 * PER_BLOCK, 0);
  check_sector (img, 51 * PER_BLOCK, 0);
  /* Zeros over what the parent has, and the parent's where it was. */
  check_sector (img, 10 * PER_BLOCK, 0);
  check_sector (img, 10 * PER_BLOCK + 1, 4000 + 10 * PER_BLOCK + 1);
  /* It comes back with other bits. */
  write_sector (img, 50 * PER_BLOCK + 3, 4);
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (bits_in_file (block, 50), 0x10);
  image_unref (img);
  block_unref (block);
}

static void
extents_tell_of_bits_that_wait (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;

  (void) state;
  write_sector (img, 50 * PER_BLOCK + 1, 1);
  assert_int_equal (image_extents (img, 3 * 512, 50 * BLOCK, &list, NULL), 0);
  assert_int_equal (list.v.len, 3);
  assert_int_equal (list.v.ptr[1].kind, EXTENT_DATA);
  assert_int_equal (list.v.ptr[1].len, 512);
  image_unref (img);
  block_unref (block);
}

static void
a_flush_that_failed_is_made_up_for (void **state)
{
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);

  (void) state;
  write_sector (img, 3 * PER_BLOCK + 1, 7);
  for (unsigned nth = 1; nth <= 3; ++nth) {
    recorder_fail (block, nth, 1);
    assert_true (image_flush (img, NULL) < 0);
    check_sector (img, 3 * PER_BLOCK + 1, 7);
  }
  assert_int_equal (image_flush (img, NULL), 0);
  assert_int_equal (bits_in_file (block, 3), 0xE7);
  image_unref (img);
  block_unref (block);
}

/* 4096 blocks with bits that wait are enough. */
static void
many_blocks_are_flushed_on_the_way (void **state)
{
  enum { NR = 4300 };
  struct vhd_spec spec = {
    .type = 4, .size = NR * BLOCK, .block_size = BLOCK, .id = 3,
    .parent_id = 2, .locators = { { "W2ru", ".\\1.vhd" } },
  };
  struct vhd_maker *maker = vhd_maker_new (&spec);
  struct block *block;
  struct image *img;

  (void) state;
  vhd_maker_finish (maker);
  block = recorder_new (maker->data, maker->len);
  img = model_open (block, true);
  for (unsigned b = 0; b < 4096; ++b)
    write_sector (img, b * PER_BLOCK + 1, b + 1);
  assert_int_equal (bits_in_file (block, 17), 0);
  for (unsigned b = 4096; b < NR; ++b)
    write_sector (img, b * PER_BLOCK + 1, b + 1);
  assert_int_equal (bits_in_file (block, 17), 0x40);
  /* And the places came in batches. */
  assert_in_range (recorder_flushes (block), 2, 30);
  for (unsigned b = 0; b < NR; b += 7)
    check_sector (img, b * PER_BLOCK + 1, b + 1);
  image_unref (img);
  img = model_open (block, false);
  for (unsigned b = 0; b < NR; ++b)
    check_sector (img, b * PER_BLOCK + 1, b + 1);
  image_unref (img);
  block_unref (block);
  vhd_maker_free (maker);
}

/*--- Everything that is written ---------------------------------------------*/

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
      model_flushed (m);
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
  static uint8_t shadow[DISK_SIZE], buf[DISK_SIZE];
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
  img = model_open (block, false);
  assert_int_equal (image_pread (img, buf, sizeof buf, 0, NULL), 0);
  assert_memory_equal (buf, shadow, sizeof buf);
  image_unref (img);
  block_unref (block);
}

static void
a_power_cut_loses_nothing_that_was_flushed (void **state)
{
  (void) state;
  assert_int_equal (model_count_bad (model_number_from
                                     ("NBDIMAGE_TEST_STATES", 2000),
                                     DROPPED_NONE), 0);
}

/* Without flushes, or without one of those that keep the order of what is
 * written, the same finds damage.
 */
static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  assert_true (model_count_bad (800, DROPPED_ALL) > 0);
  assert_true (model_count_bad (800, DROPPED_INNER) > 0);
  assert_true (model_count_bad (1600, DROPPED_FIRST) > 0);
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

/*--- Many threads -----------------------------------------------------------*/

#define NR_THREADS 16U
#define SHARED 32U              /* blocks, of each sector of which a thread has
                                   32 bytes; the others belong to one each */

struct worker {
  struct image *img;
  uint8_t *shadow;              /* of the disk; of its own bytes only */
  unsigned number, seed;
  bool failed;
};

static unsigned
draw (struct worker *w, unsigned n)
{
  return (unsigned) rand_r (&w->seed) % n;
}

/* Some bytes of its own. */
static void
choose_range (struct worker *w, unsigned *off, unsigned *len)
{
  if (draw (w, 2)) {
    *off = draw (w, SHARED * PER_BLOCK) * 512 + w->number * 32 + draw (w, 8);
    *len = 1 + draw (w, 24);
    return;
  }
  *off = (SHARED + draw (w, 2) * NR_THREADS + w->number) * BLOCK;
  *len = BLOCK;
  if (draw (w, 3)) {
    *off += draw (w, BLOCK - 1);
    *len = 1 + draw (w, BLOCK - *off % BLOCK);
  }
  if (*off + *len > DISK_SIZE)
    *len = DISK_SIZE - *off;
}

static bool
work_on (struct worker *w, unsigned off, unsigned len)
{
  uint8_t buf[BLOCK];
  unsigned what = draw (w, 8);
  int r;

  if (what == 0 && off >= SHARED * BLOCK) {
    memset (w->shadow + off, 0, len);
    r = image_zero (w->img, len, off, 0, NULL);
  }
  else {
    for (unsigned i = 0; i < len; ++i)
      w->shadow[off + i] = (uint8_t) draw (w, 256);
    r = image_pwrite (w->img, w->shadow + off, len, off, 0, NULL);
  }
  if (r == 0 && draw (w, 40) == 0)
    r = image_flush (w->img, NULL);
  if (r == 0)
    r = image_pread (w->img, buf, len, off, NULL);
  return r == 0 && memcmp (buf, w->shadow + off, len) == 0;
}

static void *
work (void *arg)
{
  struct worker *w = arg;

  for (unsigned n = 0; n < 3000 && !w->failed; ++n) {
    unsigned off, len;

    choose_range (w, &off, &len);
    w->failed = off >= DISK_SIZE ? false : !work_on (w, off, len);
  }
  return NULL;
}

static bool
is_own (unsigned number, unsigned i)
{
  return i < SHARED * BLOCK ? i % 512 / 32 == number
    : i / BLOCK % NR_THREADS == number;
}

static void
check_all (struct image *img, const struct worker *workers)
{
  static uint8_t found[DISK_SIZE];

  assert_int_equal (image_pread (img, found, sizeof found, 0, NULL), 0);
  for (unsigned i = 0; i < DISK_SIZE; ++i)
    for (unsigned t = 0; t < NR_THREADS; ++t)
      if (is_own (t, i) && found[i] != workers[t].shadow[i])
        fail_msg ("byte %u of thread %u", i, t);
}

static void
many_threads_do_not_disturb_each_other (void **state)
{
  static struct worker workers[NR_THREADS];
  struct block *block = new_recorder ();
  struct image *img = model_open (block, true);
  pthread_t threads[NR_THREADS];

  (void) state;
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    workers[t] = (struct worker) { img, malloc (DISK_SIZE), t,
                                   model_random_below (1000000), false };
    assert_int_equal (image_pread (img, workers[t].shadow, DISK_SIZE, 0, NULL),
                      0);
  }
  for (unsigned t = 0; t < NR_THREADS; ++t)
    assert_int_equal (pthread_create (&threads[t], NULL, work, &workers[t]),
                      0);
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    pthread_join (threads[t], NULL);
    assert_false (workers[t].failed);
  }
  check_all (img, workers);
  image_unref (img);
  img = model_open (block, false);
  check_all (img, workers);
  image_unref (img);
  block_unref (block);
  for (unsigned t = 0; t < NR_THREADS; ++t)
    free (workers[t].shadow);
}

/*--- Files ------------------------------------------------------------------*/

static const struct image_options to_write = { .writable = true, .lock = true },
  to_read = { .lock = true };

static struct image *
open_file (const char *path, const struct image_options *options)
{
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open (path, options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

/* In the other process: how many writes were answered. */
static void
write_until_killed (const char *path, volatile uint32_t *done, unsigned seed)
{
  struct image *img = open_file (path, &to_write);
  uint8_t data[512];

  for (uint32_t n = 0;; ++n) {
    unsigned s = n * 37 % NR_SECTORS;

    model_fill_sector (data, seed + n);
    if (image_pwrite (img, data, 512, s * UINT64_C (512), 0, NULL) < 0 ||
        (n % 97 == 96 && image_flush (img, NULL) < 0))
      _exit (1);
    *done = n + 1;
  }
}

static void
check_written (const char *path, const struct image_options *options,
               uint32_t done, unsigned seed)
{
  struct image *img = open_file (path, options);

  /* The last one may be there, too: sector by sector, none is older. */
  for (uint32_t n = done >= NR_SECTORS ? done - NR_SECTORS + 1 : 0; n < done;
       ++n)
    check_sector (img, n * 37 % NR_SECTORS, seed + n);
  image_unref (img);
}

static void
a_killed_process_loses_no_write (void **state)
{
  volatile uint32_t *done = mmap (NULL, sizeof *done, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char path[100];

  (void) state;
  assert_ptr_not_equal ((void *) done, MAP_FAILED);
  for (unsigned round = 0; round < 40; ++round) {
    unsigned seed = 10000 * (round + 1);
    uint32_t enough = 1 + model_random_below (round % 2 ? 900 : 60);
    pid_t pid;
    int status;

    if (round % 8 == 0)
      save_layer (2, path);
    *done = 0;
    pid = fork ();
    assert_true (pid >= 0);
    if (pid == 0)
      write_until_killed (path, done, seed);
    while (*done < enough && waitpid (pid, &status, WNOHANG) == 0)
      usleep (50);
    assert_true (*done >= enough);
    kill (pid, SIGKILL);
    assert_int_equal (waitpid (pid, &status, 0), pid);
    check_written (path, &to_read, *done, seed);
    check_written (path, &to_write, *done, seed);
    /* Now from the file alone. */
    check_written (path, &to_read, *done, seed);
  }
  munmap ((void *) done, sizeof *done);
}

static unsigned failing_flush;  /* the next but so many; 0: none */

int __real_fdatasync (int fd);
int __wrap_fdatasync (int fd);

int
__wrap_fdatasync (int fd)
{
  if (failing_flush == 0 || --failing_flush > 0)
    return __real_fdatasync (fd);
  errno = EIO;
  return -1;
}

/* In the other process: a flush failed, and then it is killed, or it ends. */
static void
fail_to_flush (const char *path, unsigned nth, bool is_killed)
{
  struct image *img = open_file (path, &to_write);

  write_sector (img, 3 * PER_BLOCK + 1, 7);
  failing_flush = nth;
  if (image_flush (img, NULL) == 0)
    _exit (1);
  check_sector (img, 3 * PER_BLOCK + 1, 7);
  /* Every flush fails from now on, so that these are lost as well. */
  write_sector (img, 3 * PER_BLOCK + 3, 8);
  if (image_flush (img, NULL) == 0)
    _exit (1);
  if (!is_killed)
    image_unref (img);
  kill (getpid (), SIGKILL);
}

/* The kernel has told of the data that it could not write, and forgot it: no
 * bit may say that it is there.  The first flush is of the data, the second
 * of the bits; then they may be there, whose data is.
 */
static void
bits_of_data_that_was_not_flushed_do_not_count (void **state)
{
  unsigned first = 3 * PER_BLOCK;
  char path[100];

  (void) state;
  for (unsigned n = 0; n < 4; ++n) {
    const unsigned nth = 1 + n / 2;
    struct image *img;
    pid_t pid;
    int status;

    save_layer (2, path);
    pid = fork ();
    assert_true (pid >= 0);
    if (pid == 0)
      fail_to_flush (path, nth, n % 2);
    assert_int_equal (waitpid (pid, &status, 0), pid);
    assert_true (WIFSIGNALED (status));
    for (unsigned again = 0; again < 2; ++again) {
      img = open_file (path, again ? &to_write : &to_read);
      assert_true (!((struct vhd *) img->state)->leaf->pending ||
                   pending_is_empty (((struct vhd *)
                                      img->state)->leaf->pending));
      check_sector (img, first + 1, nth == 1 ? 0 : 7);
      check_sector (img, first + 3, 2000 + first + 3);
      image_unref (img);
    }
  }
}

/* A parent that was written to, and not finished, is as it was written. */
static void
the_journal_of_a_parent_counts (void **state)
{
  unsigned s = 20 * PER_BLOCK + 3;
  char path[100], parent[100];
  struct image *img;
  pid_t pid;
  int status;

  (void) state;
  save_layer (2, path);
  save_layer (1, parent);
  pid = fork ();
  if (pid == 0) {
    write_sector (open_file (parent, &to_write), s, 123);
    kill (getpid (), SIGKILL);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_true (WIFSIGNALED (status));
  img = open_file (path, &to_read);
  check_sector (img, s, 123);
  check_sector (img, s + 1, 0);
  image_unref (img);
  image_unref (open_file (parent, &to_write));
  img = open_file (path, &to_read);
  check_sector (img, s, 123);
  image_unref (img);
  save_layer (1, parent);
}

/* Resizing finishes what there is before it changes anything. */
static void
the_journal_is_finished_before_the_file_is_changed (void **state)
{
  unsigned s = 50 * PER_BLOCK + 3;
  CLEANUP_BLOCK struct block *block = NULL;
  const struct image_options options = to_write;
  struct vhd_edit edit;
  struct image *img;
  char path[100];
  pid_t pid;
  int status;

  (void) state;
  save_layer (2, path);
  pid = fork ();
  if (pid == 0) {
    write_sector (open_file (path, &to_write), s, 123);
    kill (getpid (), SIGKILL);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_true (WIFSIGNALED (status));
  assert_int_equal (block_file_open (path, BLOCK_FILE_WRITE | BLOCK_FILE_LOCK,
                                     &block, NULL, NULL), 0);
  assert_int_equal (vhd_edit_open (block, &options, &edit, NULL, NULL), 0);
  assert_null (edit.layer->pending);
  vhd_edit_close (&edit);
  block_unref (block);
  block = NULL;
  img = open_file (path, &to_read);
  assert_null (((struct vhd *) img->state)->leaf->pending);
  check_sector (img, s, 123);
  image_unref (img);
}

static bool
is_held (const char *name, unsigned flags)
{
  CLEANUP_BLOCK struct block *block = NULL;
  char path[100];

  snprintf (path, sizeof path, "%s/%s", folder, name);
  return block_file_open (path, flags | BLOCK_FILE_LOCK, &block, NULL,
                          NULL) == -EBUSY;
}

static void
the_files_of_a_chain_are_held_as_needed (void **state)
{
  struct image *img, *sibling;
  char path[100], other[100];

  (void) state;
  save_layer (2, path);
  snprintf (other, sizeof other, "%s/sibling.vhd", folder);
  assert_int_equal (rename (path, other), 0);
  save_layer (2, path);
  img = open_file (path, &to_write);
  assert_true (is_held ("0.vhd", BLOCK_FILE_WRITE));
  assert_true (is_held ("1.vhd", BLOCK_FILE_WRITE));
  assert_false (is_held ("0.vhd", 0));
  assert_true (is_held ("2.vhd", 0));
  assert_true (is_held ("2.vhd", BLOCK_FILE_WRITE));
  sibling = open_file (other, &to_write);
  write_sector (img, 1, 1);
  write_sector (sibling, 1, 2);
  check_sector (img, 1, 1);
  check_sector (sibling, 1, 2);
  image_unref (img);
  image_unref (sibling);
  assert_false (is_held ("0.vhd", BLOCK_FILE_WRITE));
  assert_false (is_held ("2.vhd", BLOCK_FILE_WRITE));
}

static int
make_folder (void **state)
{
  char path[100];

  (void) state;
  if (mkdtemp (folder) == NULL)
    return -1;
  save_layer (0, path);
  save_layer (1, path);
  model_subject.make = new_recorder;
  model_subject.init = init;
  model_subject.parent_path = folder;
  model_seed ();
  return 0;
}

static int
remove_folder (void **state)
{
  char command[100];

  (void) state;
  snprintf (command, sizeof command, "rm -rf '%s'", folder);
  return system (command) == 0 ? 0 : -1;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (who_writes_nothing_changes_nothing),
    cmocka_unit_test (a_new_block_looks_like_this),
    cmocka_unit_test (a_place_that_was_cut_off_comes_back_empty),
    cmocka_unit_test
    (the_file_does_not_end_in_front_of_a_place_that_is_given_up),
    cmocka_unit_test (a_sector_that_is_here_is_written_in_place),
    cmocka_unit_test (a_part_of_a_sector_is_filled_up_from_the_parents),
    cmocka_unit_test (zeros_hide_the_parents),
    cmocka_unit_test (zeros_hide_what_does_not_come_first),
    cmocka_unit_test (a_block_goes_where_the_parents_have_nothing),
    cmocka_unit_test (extents_tell_of_bits_that_wait),
    cmocka_unit_test (a_flush_that_failed_is_made_up_for),
    cmocka_unit_test (many_blocks_are_flushed_on_the_way),
    cmocka_unit_test (what_is_written_is_there),
    cmocka_unit_test (any_alignment_will_do),
    cmocka_unit_test (many_threads_do_not_disturb_each_other),
    cmocka_unit_test (a_fault_is_told_and_harms_nothing_else),
    cmocka_unit_test (a_power_cut_loses_nothing_that_was_flushed),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
    cmocka_unit_test (a_killed_process_loses_no_write),
    cmocka_unit_test (bits_of_data_that_was_not_flushed_do_not_count),
    cmocka_unit_test (the_journal_of_a_parent_counts),
    cmocka_unit_test (the_journal_is_finished_before_the_file_is_changed),
    cmocka_unit_test (the_files_of_a_chain_are_held_as_needed),
  };

  return cmocka_run_group_tests (tests, make_folder, remove_folder);
}
