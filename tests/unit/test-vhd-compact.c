/* SPDX-License-Identifier: GPL-2.0-or-later */

/* VHDs become smaller, and their disks stay what they are, whatever goes
 * wrong meanwhile.  NBDIMAGE_TEST_SEEDS is how often each kind of power cut is
 * tried at each moment (3 by default).
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
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/compact.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhd-maker.h"

#define BLOCK 4096U
#define PER_BLOCK (BLOCK / 512)
#define NR_BLOCKS 40U
#define SIZE ((NR_BLOCKS * PER_BLOCK - 3) * 512U)

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

/*--- Images -----------------------------------------------------------------*/

/* What is put into a block. */
enum content {
  ABSENT,
  DATA,
  ZEROS,                        /* with all bits */
  NO_BITS,                      /* over bytes that are not zero */
  SOME_BITS,                    /* of which the zeros have all, and data none */
};

static void
add_block (struct vhd_maker *m, unsigned index, enum content content)
{
  uint8_t data[BLOCK], bits[1] = { 0xFF };

  memset (data, 0, sizeof data);
  for (unsigned j = 0; content != ZEROS && j < BLOCK; ++j)
    data[j] = (uint8_t) (1 + (index * 31 + j / 512 * 7 + j) % 255);
  if (content == NO_BITS)
    bits[0] = 0;
  if (content == SOME_BITS) {
    memset (data + 512, 0, 1024);
    bits[0] = 0x60;
  }
  if (content != ABSENT)
    vhd_maker_add_block (m, index, bits, data);
}

/* Back to front, with a gap of one block's size and one of less. */
static struct vhd_maker *
make_disk (const struct vhd_spec *spec, size_t padding)
{
  static const enum content contents[] = {
    DATA, ZEROS, ABSENT, NO_BITS, DATA, DATA, SOME_BITS,
  };
  struct vhd_maker *m = vhd_maker_new (spec);

  for (unsigned i = NR_BLOCKS; i-- > 0;) {
    add_block (m, i, contents[i % 7]);
    m->data = realloc (m->data, m->len + padding + BLOCK + 512);
    assert_non_null (m->data);
    m->allocated = m->len + padding + BLOCK + 512;
    memset (m->data + m->len, 0xEE, padding + BLOCK + 512);
    m->len += padding + (i == 20 ? BLOCK + 512 : i == 30 ? 1024 : 0);
  }
  vhd_maker_finish (m);
  return m;
}

static struct vhd_maker *
dynamic_disk (void)
{
  return make_disk (&(struct vhd_spec) {
      .type = 3, .size = SIZE, .block_size = BLOCK }, 0);
}

/* All of it at multiples of 4 KiB. */
static struct vhd_maker *
aligned_disk (void)
{
  struct vhd_spec spec = { .type = 3, .size = SIZE, .block_size = BLOCK };
  struct vhd_maker *m = vhd_maker_new (&spec);

  for (unsigned i = 0; i < NR_BLOCKS; i++) {
    m->data = realloc (m->data, m->len + 8192);
    assert_non_null (m->data);
    m->allocated = m->len + 8192;
    memset (m->data + m->len, 0, 8192);
    m->len = (m->len + 512 + 4095) / 4096 * 4096 - 512;
    add_block (m, i, i % 4 == 3 ? ABSENT : i % 3 == 0 ? ZEROS : DATA);
  }
  vhd_maker_finish (m);
  return m;
}

static struct vhd_maker *
differencing_disk (void)
{
  return make_disk (&(struct vhd_spec) {
      .type = 4, .size = SIZE, .block_size = BLOCK, .parent_id = 7, .id = 8,
      .parent_name = "parent.vhd",
      .locators = { { "W2ru", ".\\parent.vhd" } } }, 0);
}

/* Something in every second block only. */
static void
make_parent (void)
{
  struct vhd_spec spec = { .type = 2, .size = SIZE, .id = 7 };
  struct vhd_maker *m = vhd_maker_new (&spec);
  static uint8_t data[SIZE];
  char path[64];

  for (unsigned i = 0; i < sizeof data; ++i)
    data[i] = i / BLOCK % 2 ? 0x5A : 0;
  vhd_maker_set_data (m, data);
  vhd_maker_finish (m);
  snprintf (path, sizeof path, "%s/parent.vhd", folder);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

/*--- What is expected -------------------------------------------------------*/

static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t disk[SIZE];
  int r = image_open_block (block, &options, &img, NULL, err);

  (void) done;
  if (r == 0 && image_size (img) != SIZE)
    return err_set (err, -EBADMSG, "its size is another");
  if (r == 0)
    r = image_pread (img, disk, sizeof disk, 0, err);
  if (r == 0 && memcmp (disk, c->opaque, sizeof disk) != 0)
    return err_set (err, -EBADMSG, "it is another disk");
  return r;
}

static int
compact (struct block *block, struct image_compact_plan *plan,
         struct job *job, struct err *err)
{
  CLEANUP_OFFLINE struct offline *o = NULL;
  int r = offline_open_block (block, &options, &o, err);

  if (r == 0)
    r = image_compact_plan (o, plan, NULL, NULL, err);
  if (r == 0 && !plan->is_done)
    r = image_compact (o, plan, job, err);
  image_compact_plan_free (plan);
  return r;
}

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  struct image_compact_plan plan = { .drop = NULL };

  (void) c;
  return compact (block, &plan, job, err);
}

/*--- The tests --------------------------------------------------------------*/

static const struct {
  const char *name;
  struct vhd_maker *(*make) (void);
} subjects[] = {
  { "dynamic", dynamic_disk },
  { "aligned", aligned_disk },
  { "differencing", differencing_disk },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

static void
each_subject (void (*test) (const struct change *c))
{
  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    struct vhd_maker *m = subjects[i].make ();
    struct block *block = vhd_maker_block (m);
    struct image *img = NULL;
    static uint8_t disk[SIZE];
    struct change c = {
      .name = subjects[i].name, .data = m->data, .len = m->len,
      .options = &options, .leaks_nothing = true, .opaque = disk,
      .run = run, .check = check,
    };

    assert_int_equal (image_open_block (block, &options, &img, NULL, NULL),
                      0);
    assert_int_equal (image_pread (img, disk, sizeof disk, 0, NULL), 0);
    image_unref (img);
    block_unref (block);
    test (&c);
    vhd_maker_free (m);
  }
}

static void
the_disk_is_what_it_was (void **state)
{
  (void) state;
  each_subject (change_once);
}

static unsigned
number_from (const char *name, unsigned usual)
{
  const char *value = getenv (name);

  return value ? (unsigned) strtoul (value, NULL, 10) : usual;
}

static unsigned nr_states;

static void
cut_power (const struct change *c)
{
  char first[256];

  if (change_power_cuts (c, number_from ("NBDIMAGE_TEST_SEEDS", 3), false,
                         &nr_states, first) > 0)
    fail_msg ("%s", first);
}

static void
a_power_cut_changes_nothing (void **state)
{
  (void) state;
  nr_states = 0;
  each_subject (cut_power);
  counted (nr_states, "crash states", 0, 0);
  assert_true (nr_states > share_of (1000));
}

static unsigned nr_found;

static void
cut_power_without_flushes (const struct change *c)
{
  char first[256];

  nr_found += change_power_cuts (c, 3, true, &nr_states, first) > 0;
}

static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  nr_found = 0;
  each_subject (cut_power_without_flushes);
  assert_int_equal (nr_found, NR_SUBJECTS);
}

static void
fail_in_turn (const struct change *c)
{
  assert_true (change_faults (c) >= share_of (10));
}

static void
a_fault_changes_nothing (void **state)
{
  (void) state;
  each_subject (fail_in_turn);
}

static void
who_is_asked_to_end_leaves_it_whole (void **state)
{
  (void) state;
  each_subject (change_canceled);
}

/*--- How much ---------------------------------------------------------------*/

static unsigned
count_entries (struct block *block)
{
  uint8_t bat[NR_BLOCKS * 4];
  unsigned n = 0;

  assert_int_equal (block_pread (block, bat, sizeof bat, 1536, NULL), 0);
  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    n += get_be32 (bat + 4 * i) != 0xFFFFFFFF;
  return n;
}

static void
compacts_to (struct vhd_maker *m, unsigned nr, unsigned dropped,
             uint64_t most)
{
  struct block *block = recorder_new (m->data, m->len);
  struct image_compact_plan plan = { .drop = NULL };

  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  assert_int_equal (count_entries (block), nr);
  assert_int_equal (plan.dropped, dropped * BLOCK);
  assert_int_equal (plan.blocks, (nr + dropped) * BLOCK);
  assert_int_equal (block_size (block), plan.file_size);
  if (block_size (block) > most)
    fail_msg ("%u bytes are left, and %u would do",
              (unsigned) block_size (block), (unsigned) most);
  /* Again: nothing. */
  recorder_fail (block, 1, 1);
  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  assert_true (plan.is_done);
  assert_int_equal (plan.dropped, 0);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
  vhd_maker_free (m);
}

static void
all_space_is_given_back (void **state)
{
  (void) state;
  /* Of each 7 blocks 3 hold data, 3 read as zeros, 1 is absent; 5 are left
   * over, with 2 and 2 and 1.
   */
  compacts_to (dynamic_disk (), 17, 17, 2048 + 17 * 4608 + 4096 + 512);
  /* A head, then 8 KiB for each. */
  compacts_to (aligned_disk (), 20, 10, 4096 + 20 * 8192 + 512);
}

/* Of 40 blocks those with data stay; zeros stay over a parent that has
 * something there; blocks without a bit go in any case.
 */
static void
a_child_keeps_zeros_that_hide_something (void **state)
{
  struct vhd_maker *m = differencing_disk ();
  unsigned dropped = 0, kept = 0;

  (void) state;
  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    unsigned kind = i % 7;
    bool over_zeros = i % 2 == 0;

    if (kind == 3 || ((kind == 1 || kind == 6) && over_zeros))
      dropped++;
    else if (kind != 2)
      kept++;
  }
  compacts_to (m, kept, dropped, 2560 + kept * 4608 + 4096 + 512);
}

/* Data that was aligned still is. */
static void
alignment_is_kept (void **state)
{
  struct vhd_maker *m = aligned_disk ();
  struct block *block = recorder_new (m->data, m->len);
  struct image_compact_plan plan = { .drop = NULL };
  uint8_t bat[NR_BLOCKS * 4];

  (void) state;
  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  assert_int_equal (block_pread (block, bat, sizeof bat, 1536, NULL), 0);
  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    if (get_be32 (bat + 4 * i) != 0xFFFFFFFF)
      assert_int_equal ((get_be32 (bat + 4 * i) + 1) % 8, 0);
  block_unref (block);
  vhd_maker_free (m);
}

static void
a_fixed_disk_has_no_blocks (void **state)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 2, .size = SIZE });
  struct image_compact_plan plan = { .drop = NULL };
  struct block *block;
  struct err err = ERR_INIT;

  (void) state;
  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  assert_int_equal (compact (block, &plan, NULL, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "fixed"));
  block_unref (block);
  vhd_maker_free (m);
}

static int
set_up (void **state)
{
  (void) state;
  assert_non_null (mkdtemp (folder));
  options.parent_path = folder;
  make_parent ();
  return 0;
}

static int
clean_up (void **state)
{
  char path[64];

  (void) state;
  snprintf (path, sizeof path, "%s/parent.vhd", folder);
  unlink (path);
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_disk_is_what_it_was),
    cmocka_unit_test (all_space_is_given_back),
    cmocka_unit_test (a_child_keeps_zeros_that_hide_something),
    cmocka_unit_test (alignment_is_kept),
    cmocka_unit_test (a_fixed_disk_has_no_blocks),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_changes_nothing),
    cmocka_unit_test (a_power_cut_changes_nothing),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
