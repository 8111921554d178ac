/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing VHD has goes into its parent.  Whatever goes wrong, the
 * child's disk over that parent is what it was: what the child does not have
 * is not changed, and what it has hides the rest.
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

#include "lib/base/cleanup.h"
#include "lib/format/commit.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhd-maker.h"

#define BLOCK 4096U
#define NR_BLOCKS 30U
#define NR_SECTORS (NR_BLOCKS * 8)
#define SIZE (NR_SECTORS * 512U)

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

struct situation {
  struct image *child;          /* over the parent as it was */
  uint8_t parent[SIZE], disk[SIZE];     /* both disks, before */
  bool own[NR_SECTORS];         /* does the child have the sector? */
};

/*--- Images -----------------------------------------------------------------*/

static struct vhd_maker *
make_parent (unsigned type)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = type, .size = SIZE, .block_size = BLOCK, .id = 7 });
  static uint8_t all[SIZE];

  memset (all, 0x5A, sizeof all);
  if (type == 2)
    vhd_maker_set_data (m, all);
  /* Some blocks are absent. */
  for (unsigned i = 0; type != 2 && i < NR_BLOCKS; i += 2)
    vhd_maker_add_block (m, i, NULL, all);
  vhd_maker_finish (m);
  return m;
}

/* Zeros, data and both, in all and in some of the sectors of a block. */
static struct block *
make_child (struct situation *s)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 4, .size = SIZE, .block_size = BLOCK, .parent_id = 7, .id = 8,
      .parent_name = "parent.vhd" });
  struct block *block;
  uint8_t data[BLOCK];

  for (unsigned i = 0; i < NR_BLOCKS; ++i) {
    uint8_t bits = i % 5 == 0 ? 0xFF : i % 5 == 1 ? 0x3C : i % 5 == 2 ? 0 : 1;

    if (i % 5 == 4)
      continue;
    memset (data, i % 3 ? 0x40 + (int) i : 0, sizeof data);
    vhd_maker_add_block (m, i, &bits, data);
    for (unsigned j = 0; j < 8; ++j)
      s->own[i * 8 + j] = bits & 0x80 >> j;
  }
  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhd_maker_free (m);
  return block;
}

static void
read_disk (struct image *img, uint8_t disk[SIZE])
{
  assert_int_equal (image_size (img), SIZE);
  assert_int_equal (image_pread (img, disk, SIZE, 0, NULL), 0);
}

/*--- Committing -------------------------------------------------------------*/

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  const struct situation *s = c->opaque;
  CLEANUP_IMAGE struct image *parent = NULL;
  struct image_options to_write = options;
  uint64_t written;
  int r;

  to_write.writable = true;
  r = image_open_block (block, &to_write, &parent, NULL, err);
  return r < 0 ? r : image_commit_data (s->child, parent, &written, job, err);
}

/* A power cut may leave a file that is to be mended before it is written. */
static int
mend_and_run (const struct change *c, struct block *block, struct job *job,
              struct err *err)
{
  int r = run (c, block, job, err);
  uint8_t footer[512];
  uint64_t size = block_size (block);

  if (r != -EROFS || strstr (err->msg, "only the copy is whole") == NULL)
    return r;
  if (block_pread (block, footer, 512, 0, err) < 0 ||
      block_resize (block, size + 512 - size % 512, err) < 0 ||
      block_pwrite (block, footer, 512, block_size (block) - 512, 0, err) < 0)
    return -EIO;
  return run (c, block, job, err);
}

static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  const struct situation *s = c->opaque;
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t disk[SIZE];
  int r = image_open_block (block, &options, &img, NULL, err);

  if (r < 0)
    return r;
  read_disk (img, disk);
  for (unsigned i = 0; i < NR_SECTORS; ++i) {
    const uint8_t *now = disk + i * 512;
    bool is_old = memcmp (now, s->parent + i * 512, 512) == 0;
    bool is_new = memcmp (now, s->disk + i * 512, 512) == 0;

    /* A block that becomes present has zeros around what is written. */
    if (!is_new && (done || !s->own[i] || !is_old))
      return err_set (err, -EBADMSG, "sector %u is wrong", i);
  }
  return 0;
}

static void
each_parent (void (*test) (const struct change *c))
{
  for (unsigned type = 2; type <= 3; ++type) {
    static struct situation s;
    struct vhd_maker *m = make_parent (type);
    struct block *parent = vhd_maker_block (m), *child;
    struct image *img = NULL;
    struct change c = {
      .name = type == 2 ? "fixed" : "dynamic", .data = m->data,
      .len = m->len, .options = &options, .opaque = &s,
      .run = mend_and_run, .check = check,
    };
    char path[64];

    snprintf (path, sizeof path, "%s/parent.vhd", folder);
    vhd_maker_save (m, path);
    memset (&s, 0, sizeof s);
    child = make_child (&s);
    assert_int_equal (image_open_block (child, &options, &s.child, NULL,
                                        NULL), 0);
    read_disk (s.child, s.disk);
    assert_int_equal (image_open_block (parent, &options, &img, NULL, NULL),
                      0);
    read_disk (img, s.parent);
    test (&c);
    image_unref (img);
    image_unref (s.child);
    block_unref (child);
    block_unref (parent);
    vhd_maker_free (m);
    unlink (path);
  }
}

/*--- The tests --------------------------------------------------------------*/

static void
the_parent_is_what_the_child_was (void **state)
{
  (void) state;
  each_parent (change_once);
}

static void
compare_written (const struct change *c)
{
  struct block *block = recorder_new (c->data, c->len);
  const struct situation *s = c->opaque;
  struct image_options to_write = options;
  CLEANUP_IMAGE struct image *parent = NULL;
  uint64_t written;

  to_write.writable = true;
  assert_int_equal (image_open_block (block, &to_write, &parent, NULL, NULL),
                    0);
  assert_int_equal (image_commit_data (s->child, parent, &written, NULL,
                                       NULL), 0);
  assert_true (written > 0);
  recorder_fail (block, 0, 0);
  assert_int_equal (image_commit_data (s->child, parent, &written, NULL,
                                       NULL), 0);
  assert_int_equal (written, 0);
  /* The flush, and nothing else. */
  assert_int_equal (recorder_changes (block), 1);
  block_unref (block);
}

static void
what_is_there_is_not_written_again (void **state)
{
  (void) state;
  each_parent (compare_written);
}

static unsigned nr_states;

static void
cut_power (const struct change *c)
{
  char first[256];

  if (change_power_cuts (c, 3, false, &nr_states, first) > 0)
    fail_msg ("%s", first);
}

static void
a_power_cut_does_not_change_the_child (void **state)
{
  (void) state;
  nr_states = 0;
  each_parent (cut_power);
  counted (nr_states, "crash states", 0, 0);
  assert_true (nr_states > share_of (500));
}

static unsigned nr_found;

static void
cut_power_without_flushes (const struct change *c)
{
  char first[256];

  nr_found += change_power_cuts (c, 3, true, &nr_states, first) > 0;
}

/* In a fixed parent no order matters. */
static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  nr_found = 0;
  each_parent (cut_power_without_flushes);
  assert_int_equal (nr_found, 1);
}

static void
who_is_asked_to_end_leaves_it_whole (void **state)
{
  (void) state;
  each_parent (change_canceled);
}

static int
set_up (void **state)
{
  (void) state;
  assert_non_null (mkdtemp (folder));
  options.parent_path = folder;
  return 0;
}

static int
clean_up (void **state)
{
  (void) state;
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_parent_is_what_the_child_was),
    cmocka_unit_test (what_is_there_is_not_written_again),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_power_cut_does_not_change_the_child),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
