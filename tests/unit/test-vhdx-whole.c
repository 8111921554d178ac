/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Whole blocks are written over a parent's data, and nobody asks that they be
 * on stable storage.  Wherever the power fails, each sector is what the parent
 * has, or what was written; it is never the zeros of a place that nothing was
 * written to yet (vhdx-alloc.c, step 3).
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "tests/support/counted.h"
#include "tests/support/history.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#define MIB ((size_t) VHDX_MIB)
#define NR_BLOCKS 4U
#define NR_WRITTEN 2U           /* the first ones */
#define NR_SEEDS 16U            /* for each kind of power cut */

#define OLD 0x11
#define NEW 0x22

static char folder[] = "/tmp/nbdimage-vhdx-whole-XXXXXX";
static char parent[100];
static struct image_options options;

static void
save_parent (void)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = NR_BLOCKS * MIB, .id = 1 });
  static uint8_t data[VHDX_MIB];

  memset (data, OLD, MIB);
  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    vhdx_maker_add_block (m, i, data);
  vhdx_maker_finish (m);
  snprintf (parent, sizeof parent, "%s/base.vhdx", folder);
  vhdx_maker_save (m, parent);
  vhdx_maker_free (m);
}

/* With nothing of its own. */
static struct block *
new_child (struct history *history)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = NR_BLOCKS * MIB, .id = 2, .parent_id = 1,
      .locators = { { "relative_path", ".\\base.vhdx" } } });
  struct block *block;

  vhdx_maker_finish (m);
  block = history_file (history, "child.vhdx", m->data, m->len);
  vhdx_maker_free (m);
  return block;
}

/* They are on stable storage when it is closed, and not before. */
static void
write_blocks (struct block *block)
{
  struct image_options to_write = options;
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t data[VHDX_MIB];
  struct err err = ERR_INIT;

  to_write.writable = true;
  if (image_open_block (block, &to_write, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  memset (data, NEW, MIB);
  for (unsigned i = 0; i < NR_WRITTEN; ++i)
    if (image_pwrite (img, data, MIB, i * MIB, 0, &err) < 0)
      fail_msg ("%s", err.msg);
}

/* How many sectors of the file are neither; 1 too if it can't be read. */
static unsigned
count_bad (struct block *block)
{
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t disk[NR_BLOCKS * VHDX_MIB];
  struct err err = ERR_INIT;
  unsigned nr = 0;

  if (image_open_block (block, &options, &img, NULL, &err) < 0 ||
      image_pread (img, disk, sizeof disk, 0, &err) < 0) {
    print_message ("%s\n", err.msg);
    return 1;
  }
  for (size_t at = 0; at < sizeof disk; at += 512) {
    bool may_be_new = at < NR_WRITTEN * MIB;
    bool is_one = memcmp (disk + at, disk + at + 1, 511) == 0;

    nr += !is_one || (disk[at] != OLD && !(may_be_new && disk[at] == NEW));
  }
  return nr;
}

/* Returns in how many states something is bad. */
static unsigned
try_moment (struct replay *replay, unsigned *nr_states)
{
  unsigned kinds = replay_nr_pending (replay) ? HISTORY_NR_CRASHES : 1;
  unsigned nr = 0;

  for (unsigned how = 0; how < kinds; ++how)
    for (unsigned seed = 0; seed < (how < 2 ? 1 : NR_SEEDS); ++seed) {
      struct block *block = replay_crash (replay, 0, how, seed + share_seed ());

      nr += count_bad (block) > 0;
      ++*nr_states;
      block_unref (block);
    }
  return nr;
}

static unsigned
cut_power (bool drop_flushes, unsigned *nr_states)
{
  struct history *history = history_new ();
  struct block *block = new_child (history);
  struct replay *replay;
  unsigned nr = 0, moment = 0;

  history_drop_flushes (history, drop_flushes);
  write_blocks (block);
  block_unref (block);
  replay = replay_new (history);
  do
    if (is_in_share (moment++))
      nr += try_moment (replay, nr_states);
  while (replay_step (replay) != NULL);
  replay_free (replay);
  history_free (history);
  return nr;
}

/*--- The tests --------------------------------------------------------------*/

static void
a_sector_is_the_parents_or_what_was_written (void **state)
{
  unsigned nr_states = 0, nr_bad = cut_power (false, &nr_states);

  (void) state;
  counted (nr_states, "crash states", nr_bad, 0);
  assert_int_equal (nr_bad, 0);
  assert_true (nr_states > share_of (100));
}

static void
without_flushes_something_is_lost (void **state)
{
  unsigned nr_states = 0;

  (void) state;
  assert_true (cut_power (true, &nr_states) > 0);
}

static int
set_up (void **state)
{
  (void) state;
  assert_non_null (mkdtemp (folder));
  options.parent_path = folder;
  save_parent ();
  return 0;
}

static int
clean_up (void **state)
{
  (void) state;
  unlink (parent);
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_sector_is_the_parents_or_what_was_written),
    cmocka_unit_test (without_flushes_something_is_lost),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
