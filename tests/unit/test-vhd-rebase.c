/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHD gets another parent: it has the old one or the new one,
 * whatever goes wrong meanwhile.  NBDIMAGE_TEST_SEEDS is how often each kind
 * of power cut is tried at each moment (3 by default).
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
#include "lib/format/rebase.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhd-maker.h"

#define BLOCK 4096U
#define NR_BLOCKS 40U
#define SIZE (NR_BLOCKS * BLOCK)

/* A name whose text does not fit where that of the old one is. */
#define LONG_NAME \
  "a-name-of-a-hundred-and-forty-letters-a-name-of-a-hundred-and-forty-" \
  "letters-a-name-of-a-hundred-and-forty-letters-a-name-of-a-hundred-and.vhd"

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

/*--- Images -----------------------------------------------------------------*/

static char *
path_of (const char *name)
{
  char *path;

  assert_true (asprintf (&path, "%s/%s", folder, name) > 0);
  return path;
}

/* A fixed one, of these bytes where data is not NULL. */
static void
make_parent (const char *name, unsigned id, uint8_t byte)
{
  struct vhd_spec spec = { .type = 2, .size = SIZE, .id = id };
  struct vhd_maker *m = vhd_maker_new (&spec);
  CLEANUP_FREE char *path = path_of (name);
  static uint8_t data[SIZE];

  memset (data, byte, sizeof data);
  memset (data + 4 * BLOCK, 0x33, BLOCK);       /* the same in all of them */
  vhd_maker_set_data (m, data);
  vhd_maker_finish (m);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

static const struct vhd_spec child_spec = {
  .type = 4, .size = SIZE, .block_size = BLOCK, .parent_id = 7, .id = 8,
  .parent_name = "parent.vhd",
  .locators = { { "W2ku", "C:\\elsewhere\\parent.vhd" },
                { "W2ru", ".\\parent.vhd" } },
};

static struct vhd_maker *
make_child (const struct vhd_spec *spec, unsigned nr_blocks)
{
  struct vhd_maker *m = vhd_maker_new (spec);
  uint8_t data[BLOCK], bits[1] = { 0xA7 };

  memset (data, 0xCC, sizeof data);
  for (unsigned i = 0; i < nr_blocks; ++i)
    vhd_maker_add_block (m, i * 3, i % 2 ? bits : NULL, data);
  vhd_maker_finish (m);
  return m;
}

/* The disk of a child over a parent of this byte. */
static void
expected_disk (unsigned nr_blocks, uint8_t byte, uint8_t disk[SIZE])
{
  memset (disk, byte, SIZE);
  memset (disk + 4 * BLOCK, 0x33, BLOCK);
  for (unsigned i = 0; i < nr_blocks; ++i)
    for (unsigned s = 0; s < 8; ++s)
      if (i % 2 == 0 || 0xA7 & 0x80 >> s)
        memset (disk + i * 3 * BLOCK + s * 512, 0xCC, 512);
}

/*--- Rebasing ---------------------------------------------------------------*/

struct wish {
  const char *parent;
  bool is_unsafe, force;
  uint8_t old[SIZE], new[SIZE];
};

static int
rebase (struct block *block, const struct wish *w,
        struct image_rebase_plan *plan, struct job *job, struct err *err)
{
  CLEANUP_FREE char *path = w->parent ? path_of (w->parent) : NULL;
  const struct image_rebase_options o = {
    .parent = path, .is_unsafe = w->is_unsafe, .force = w->force,
    .no_parent = w->parent == NULL,
  };
  CLEANUP_OFFLINE struct offline *offline = NULL;
  int r = offline_open_block (block, &options, &offline, err);

  if (r == 0)
    r = image_rebase_plan (offline, &o, plan, NULL, NULL, err);
  if (r == 0 && !plan->is_done)
    r = image_rebase (offline, plan, job, err);
  image_rebase_plan_free (plan);
  return r;
}

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  struct image_rebase_plan plan;

  return rebase (block, c->opaque, &plan, job, err);
}

static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const struct wish *w = c->opaque;
  static uint8_t disk[SIZE];
  uint8_t id[2][16], type[1];
  int r = image_open_block (block, &options, &img, NULL, err);

  /* All new ones have this identity; a disk without one has none. */
  if (w->parent)
    vhd_maker_id (9, id[1]);
  else
    memset (id[1], 0, sizeof id[1]);
  if (r == 0 && done)
    r = block_pread (block, type, 1, 63, err);
  if (r == 0 && done && type[0] != (w->parent ? 4 : 3))
    return err_set (err, -EBADMSG, "it is of type %u", type[0]);
  if (r == 0 && done)
    r = block_pread (block, id[0], 16, 512 + 40, err);
  if (r == 0 && done && memcmp (id[0], id[1], 16) != 0)
    return err_set (err, -EBADMSG, "its parent is another");
  if (r == 0 && image_size (img) != SIZE)
    return err_set (err, -EBADMSG, "its size is another");
  if (r == 0)
    r = image_pread (img, disk, sizeof disk, 0, err);
  if (r == 0 && memcmp (disk, w->new, SIZE) != 0 &&
      (done || memcmp (disk, w->old, SIZE) != 0))
    return err_set (err, -EBADMSG, "it is another disk");
  return r;
}

/* Without locators, with short ones, and with a name that gets longer; and
 * safely, so that the disk stays what it is.
 */
static void
each_subject (void (*test) (const struct change *c))
{
  static const struct {
    const char *name, *parent;
    unsigned nr_blocks;
    bool has_locators, is_safe;
  } rows[] = {
    { "longer name", LONG_NAME, 5, true, false },
    { "no locators before", "other.vhd", 5, false, false },
    { "no blocks", "other.vhd", 0, true, false },
    { "safely", "other.vhd", 5, true, true },
    { "safely, no blocks", "other.vhd", 0, true, true },
    { "no parent", NULL, 5, true, true },
    { "no parent, no blocks", NULL, 0, true, true },
  };
  static struct wish w;

  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    struct vhd_spec spec = child_spec;
    struct change c = {
      .name = rows[i].name, .options = &options,
      .leaks_nothing = !rows[i].is_safe,
      .opaque = &w, .run = run, .check = check,
    };
    struct vhd_maker *m;

    if (!rows[i].has_locators)
      memset (spec.locators, 0, sizeof spec.locators);
    m = make_child (&spec, rows[i].nr_blocks);
    c.data = m->data;
    c.len = m->len;
    w.parent = rows[i].parent;
    w.is_unsafe = w.force = !rows[i].is_safe;
    expected_disk (rows[i].nr_blocks, 0x5A, w.old);
    expected_disk (rows[i].nr_blocks, rows[i].is_safe ? 0x5A : 0xA5, w.new);
    test (&c);
    vhd_maker_free (m);
  }
}

/*--- The tests --------------------------------------------------------------*/

static void
it_has_the_new_parent (void **state)
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
  unsigned usual = getenv ("NBDIMAGE_LONG") ? 5 : 1;
  char first[256];

  if (change_power_cuts (c, number_from ("NBDIMAGE_TEST_SEEDS", usual), false,
                         &nr_states, first) > 0)
    fail_msg ("%s", first);
}

static void
a_power_cut_leaves_the_old_parent_or_the_new (void **state)
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
  assert_int_equal (nr_found, 7);
}

static void
fail_in_turn (const struct change *c)
{
  assert_true (change_faults (c) >= share_of (10));
}

static void
a_fault_leaves_the_old_parent_or_the_new (void **state)
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

/* To the byte: the header in its place, the texts in front of the blocks,
 * nothing behind them.
 */
static void
the_layout_is_the_usual_one (void **state)
{
  static struct wish w = { "copy.vhd", true, false, { 0 }, { 0 } };
  struct vhd_maker *m = make_child (&child_spec, 5);
  struct block *block = recorder_new (m->data, m->len);
  struct image_rebase_plan plan;
  uint8_t footer[512], header[1024];
  unsigned nr = 0;

  (void) state;
  assert_int_equal (rebase (block, &w, &plan, NULL, NULL), 0);
  assert_int_equal (block_pread (block, footer, 512, 0, NULL), 0);
  assert_int_equal (get_be64 (footer + 16), 512);
  assert_int_equal (block_pread (block, header, 1024, 512, NULL), 0);
  assert_memory_equal (header + 40, m->data + 512 + 40, 16);
  assert_true (get_be32 (header + 56) != 0);
  for (int i = 0; i < 8; ++i) {
    const uint8_t *l = header + 576 + 24 * i;

    if (get_be32 (l) != 0) {
      assert_true (get_be64 (l + 16) >= 2048);
      assert_int_equal (get_be32 (l + 4) % 512, 0);
      nr++;
    }
  }
  assert_int_equal (nr, 3);
  /* There was room for two texts in front, and there is for one behind. */
  assert_true (block_size (block) <= m->len + 4096 + 4096 + 512);
  block_unref (block);
  vhd_maker_free (m);
}

static void
refused (const struct vhd_spec *spec, const char *parent, bool is_unsafe,
         int code, const char *what)
{
  struct wish w = { .parent = parent, .is_unsafe = is_unsafe };
  struct vhd_maker *m = make_child (spec, spec->type == 2 ? 0 : 2);
  struct block *block = recorder_new (m->data, m->len);
  struct image_rebase_plan plan;
  struct err err = ERR_INIT;
  int r;

  recorder_fail (block, 1, 1);
  r = rebase (block, &w, &plan, NULL, &err);
  if (r != code || strstr (err.msg, what) == NULL)
    fail_msg ("%d, “%s” is not %d, “%s”", r, err.msg, code, what);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
  vhd_maker_free (m);
}

static void
what_can_not_be_is_refused (void **state)
{
  struct vhd_spec dynamic = child_spec;

  (void) state;
  dynamic.type = 3;
  refused (&child_spec, "other.vhd", true, -EINVAL, "its unique id is another");
  refused (&dynamic, "other.vhd", true, -EINVAL, "is not differencing");
  refused (&dynamic, "other.vhd", false, -EINVAL, "is not differencing");
  refused (&child_spec, "none.vhd", true, -ENOENT, "none.vhd");
  refused (&child_spec, "no-id.vhd", false, -EINVAL, "no unique id");
}

static int
set_up (void **state)
{
  static const uint8_t zeros[16];
  struct vhd_maker *m;
  CLEANUP_FREE char *path = NULL;

  (void) state;
  assert_non_null (mkdtemp (folder));
  path = path_of ("no-id.vhd");
  options.parent_path = folder;
  make_parent ("parent.vhd", 7, 0x5A);
  make_parent ("copy.vhd", 7, 0x5A);
  make_parent ("other.vhd", 9, 0xA5);
  make_parent (LONG_NAME, 9, 0xA5);
  m = vhd_maker_new (&(struct vhd_spec) { .type = 2, .size = SIZE });
  vhd_maker_finish (m);
  memcpy (m->data + m->footer_off + 68, zeros, 16);
  vhd_maker_sum_footers (m);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
  return 0;
}

static int
clean_up (void **state)
{
  static const char *const names[] = {
    "parent.vhd", "copy.vhd", "other.vhd", LONG_NAME, "no-id.vhd",
  };

  (void) state;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    CLEANUP_FREE char *path = path_of (names[i]);

    unlink (path);
  }
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (it_has_the_new_parent),
    cmocka_unit_test (the_layout_is_the_usual_one),
    cmocka_unit_test (what_can_not_be_is_refused),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_leaves_the_old_parent_or_the_new),
    cmocka_unit_test (a_power_cut_leaves_the_old_parent_or_the_new),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
