/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The size of VHDs changes: the disk is what it was, as far as it goes, and
 * zeros behind that; whatever goes wrong meanwhile.
 *
 * Blocks are small, so that their table is soon too small for its place.
 * NBDIMAGE_TEST_SEEDS is how often each kind of power cut is tried at each
 * moment (3 by default).
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
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/format/resize.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhd-maker.h"

#define BLOCK 4096U
#define PER_BLOCK (BLOCK / 512)
#define NR_BLOCKS 40U
/* The last block is cut off. */
#define SIZE ((NR_BLOCKS * PER_BLOCK - 3) * 512U)
/* 2,400 bytes of table, 160 before. */
#define LARGE (600U * BLOCK - 512)
#define SMALL (11U * BLOCK + 1024)

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

/*--- Images -----------------------------------------------------------------*/

/* Every third block, two with some bits only, and the last. */
static void
add_blocks (struct vhd_maker *m)
{
  uint8_t data[BLOCK], bits[1];

  for (unsigned i = 0; i < NR_BLOCKS; i += 3) {
    for (unsigned j = 0; j < BLOCK; ++j)
      data[j] = (uint8_t) (1 + (i * 31 + j / 512 * 7 + j) % 255);
    bits[0] = 0xA7;
    vhd_maker_add_block (m, NR_BLOCKS - 1 - i, i == 3 || i == 0 ? bits : NULL,
                         data);
  }
}

static struct vhd_maker *
dynamic_disk (void)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 3, .size = SIZE, .block_size = BLOCK, .creator = "vpc ",
      .cylinders = 4, .heads = 4, .sectors = 17 });

  add_blocks (m);
  vhd_maker_finish (m);
  return m;
}

/* Over a parent that has something everywhere. */
static struct vhd_maker *
differencing_disk (void)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 4, .size = SIZE, .block_size = BLOCK, .parent_id = 7, .id = 8,
      .parent_name = "parent.vhd",
      .locators = { { "W2ru", ".\\parent.vhd" },
                    { "W2ku", "C:\\elsewhere\\parent.vhd" } } });

  add_blocks (m);
  vhd_maker_finish (m);
  return m;
}

static struct vhd_maker *
fixed_disk (void)
{
  static uint8_t data[SIZE];
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 2, .size = SIZE });

  for (unsigned i = 0; i < sizeof data; ++i)
    data[i] = (uint8_t) (1 + (i * 7 + i / 512) % 255);
  vhd_maker_set_data (m, data);
  vhd_maker_finish (m);
  return m;
}

static void
make_parent (void)
{
  struct vhd_spec spec = { .type = 2, .size = SIZE, .id = 7 };
  struct vhd_maker *m = vhd_maker_new (&spec);
  static uint8_t data[SIZE];
  char path[64];

  memset (data, 0x5A, sizeof data);
  vhd_maker_set_data (m, data);
  vhd_maker_finish (m);
  snprintf (path, sizeof path, "%s/parent.vhd", folder);
  vhd_maker_save (m, path);
  vhd_maker_free (m);
}

/*--- What is expected -------------------------------------------------------*/

struct sizes {
  uint64_t old, new;
  const uint8_t *disk;          /* of the old size */
};

/* By the size in bytes: that in cylinders may be smaller, before. */
static int
open_disk (struct block *block, struct image **img, struct err *err)
{
  struct image_options by_bytes = options;

  by_bytes.size_rule = IMAGE_SIZE_CURRENT;
  return image_open_block (block, &by_bytes, img, NULL, err);
}

static uint8_t *
read_disk (struct image *img)
{
  uint8_t *disk = malloc (image_size (img));

  assert_non_null (disk);
  assert_int_equal (image_pread (img, disk, image_size (img), 0, NULL), 0);
  return disk;
}

/* 1.3 MB at most: all of it is looked at. */
static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *disk = NULL;
  const struct sizes *s = c->opaque;
  uint64_t size, same;
  int r = open_disk (block, &img, err);

  if (r < 0)
    return r;
  size = image_size (img);
  if (strcmp (image_format (img), "vhd") != 0)
    return err_set (err, -EBADMSG, "it is no VHD any more");
  if (size != s->new && (done || size != s->old))
    return err_set (err, -EBADMSG, "its size is %llu",
                    (unsigned long long) size);
  disk = read_disk (img);
  same = min_u64 (size, s->old);
  if (memcmp (disk, s->disk, same) != 0)
    return err_set (err, -EBADMSG, "it is another disk");
  for (uint64_t i = same; i < size; ++i)
    if (disk[i] != 0)
      return err_set (err, -EBADMSG, "byte %llu of %llu is not zero",
                      (unsigned long long) i, (unsigned long long) size);
  return 0;
}

static int
resize (struct block *block, uint64_t size, struct job *job, struct err *err)
{
  CLEANUP_OFFLINE struct offline *o = NULL;
  struct image_resize_plan plan = { .size = size };
  int r = offline_open_block (block, &options, &o, err);

  if (r == 0)
    r = image_resize_plan (o, &plan, NULL, err);
  return r < 0 ? r : image_resize (o, &plan, job, err);
}

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  return resize (block, ((const struct sizes *) c->opaque)->new, job, err);
}

/* The only state that is not good: a fixed VHD whose file has its new size
 * and not yet a footer there.  Nothing is lost: vhd-resize-fixed.c.
 */
static int
check_grown_fixed (const struct change *c, struct block *block, bool done,
                   struct err *err)
{
  uint64_t size = block_size (block);
  uint8_t end[512];

  assert_int_equal (block_pread (block, end, 512, size - 512, NULL), 0);
  if (done || end[0] != 0 || size != LARGE + 512)
    return check (c, block, done, err);
  for (uint64_t off = 0; off < c->len; off += 512) {
    assert_int_equal (block_pread (block, end, 512, off, NULL), 0);
    if (memcmp (end, c->data + off, 512) != 0)
      return err_set (err, -EBADMSG, "something at %llu is lost",
                      (unsigned long long) off);
  }
  return 0;
}

static int
run_grown_fixed (const struct change *c, struct block *block,
                 struct job *job, struct err *err)
{
  uint64_t size = block_size (block);
  uint8_t end[512];

  assert_int_equal (block_pread (block, end, 512, size - 512, NULL), 0);
  if (end[0] == 0)              /* as it is mended by hand */
    assert_int_equal (block_resize (block, c->len, NULL), 0);
  return run (c, block, job, err);
}

/*--- The tests --------------------------------------------------------------*/

struct subject {
  const char *name;
  struct vhd_maker *(*make) (void);
  uint64_t size;                /* what it becomes */
};

static const struct subject subjects[] = {
  { "dynamic, larger", dynamic_disk, LARGE },
  { "dynamic, by a sector", dynamic_disk, SIZE + 512 },
  { "dynamic, smaller", dynamic_disk, SMALL },
  { "differencing, larger", differencing_disk, LARGE },
  { "differencing, smaller", differencing_disk, SMALL },
  { "fixed, smaller", fixed_disk, SMALL },
  { "fixed, by a sector less", fixed_disk, SIZE - 512 },
  { "fixed, larger", fixed_disk, LARGE },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

static void
each_subject (void (*test) (const struct change *c))
{
  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    const struct subject *s = &subjects[i];
    struct vhd_maker *m = s->make ();
    struct block *block = vhd_maker_block (m);
    struct image *img = NULL;
    struct sizes sizes = { .new = s->size };
    bool grown_fixed = s->make == fixed_disk && s->size > SIZE;
    struct change c = {
      .name = s->name, .data = m->data, .len = m->len, .options = &options,
      .opaque = &sizes,
      .run = grown_fixed ? run_grown_fixed : run,
      .check = grown_fixed ? check_grown_fixed : check,
    };
    uint8_t *disk;

    assert_int_equal (open_disk (block, &img, NULL), 0);
    sizes.old = image_size (img);
    sizes.disk = disk = read_disk (img);
    image_unref (img);
    block_unref (block);
    test (&c);
    free (disk);
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
a_power_cut_leaves_the_old_disk_or_the_new (void **state)
{
  (void) state;
  nr_states = 0;
  each_subject (cut_power);
  counted (nr_states, "crash states", 0, 0);
  assert_true (nr_states > share_of (2000));
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
  /* Of fixed ones the order matters only when they grow. */
  assert_true (nr_found >= 6);
}

static void
fail_in_turn (const struct change *c)
{
  assert_true (change_faults (c) >= share_of (5));
}

static void
a_fault_leaves_the_old_disk_or_the_new (void **state)
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

/*--- Layout -----------------------------------------------------------------*/

static void
check_bytes (struct block *block, uint64_t off, const void *expected,
             size_t len)
{
  uint8_t found[1024];

  assert_int_equal (block_pread (block, found, len, off, NULL), 0);
  assert_memory_equal (found, expected, len);
}

/* Everything where other programs look for it, and no space lost. */
static void
the_layout_is_the_usual_one (void **state)
{
  struct vhd_maker *m = differencing_disk ();
  struct block *block = recorder_new (m->data, m->len);
  uint8_t bytes[1024];

  (void) state;
  assert_int_equal (resize (block, LARGE, NULL, NULL), 0);
  assert_int_equal (block_pread (block, bytes, 512, 0, NULL), 0);
  check_bytes (block, block_size (block) - 512, bytes, 512);
  assert_int_equal (get_be64 (bytes + 16), 512);
  assert_int_equal (get_be64 (bytes + 40), LARGE);
  assert_int_equal (get_be64 (bytes + 48), LARGE);
  assert_int_equal (get_be32 (bytes + 56), 0xFFFF10FF);
  assert_int_equal (block_pread (block, bytes, 1024, 512, NULL), 0);
  assert_int_equal (get_be64 (bytes + 16), 1536);
  assert_int_equal (get_be32 (bytes + 28), 600);
  /* 14 blocks with a bitmap each and their alignment, behind the table. */
  assert_true (block_size (block) <= 1536 + 2560 + 2 * 4096 + 15 * 8192);
  assert_int_equal (resize (block, SIZE, NULL, NULL), 0);
  assert_int_equal (block_pread (block, bytes, 1024, 512, NULL), 0);
  assert_int_equal (get_be32 (bytes + 28), NR_BLOCKS);
  block_unref (block);
  vhd_maker_free (m);
}

/* What other entries are there is not believed when the disk grows. */
static void
entries_that_were_not_needed_do_not_come_back (void **state)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 3, .size = 3 * BLOCK, .block_size = BLOCK,
      .extra_entries = 20 });
  CLEANUP_IMAGE struct image *img = NULL;
  struct block *block;
  uint8_t data[BLOCK], found[BLOCK];

  (void) state;
  memset (data, 0x77, sizeof data);
  vhd_maker_add_block (m, 1, NULL, data);
  vhd_maker_add_block (m, 5, NULL, data);
  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  assert_int_equal (resize (block, 10 * BLOCK, NULL, NULL), 0);
  assert_int_equal (open_disk (block, &img, NULL), 0);
  assert_int_equal (image_pread (img, found, BLOCK, 5 * BLOCK, NULL), 0);
  memset (data, 0, sizeof data);
  assert_memory_equal (found, data, BLOCK);
  block_unref (block);
  vhd_maker_free (m);
}

/*--- Refused ----------------------------------------------------------------*/

static void
refused (struct block *block, uint64_t size, int code, const char *what)
{
  CLEANUP_OFFLINE struct offline *o = NULL;
  struct image_resize_plan plan = { .size = size };
  struct err err = ERR_INIT;
  int r = offline_open_block (block, &options, &o, &err);

  if (r == 0)
    r = image_resize_plan (o, &plan, NULL, &err);
  if (r != code || strstr (err.msg, what) == NULL)
    fail_msg ("%d, “%s” is not %d, “%s”", r, err.msg, code, what);
}

static void
what_can_not_be_is_refused (void **state)
{
  struct vhd_maker *m = dynamic_disk ();
  struct block *block = recorder_new (m->data, m->len);

  (void) state;
  refused (block, 1000, -EINVAL, "whole sectors");
  refused (block, 0, -EINVAL, "0 bytes");
  refused (block, UINT64_C (0xFF000001) * 512, -EINVAL, "2040 GiB");
  block_unref (block);
  /* Of a footer that is damaged it can't be known what it said. */
  m->data[m->footer_off + 100] ^= 1;
  block = recorder_new (m->data, m->len);
  refused (block, LARGE, -EROFS, "only the copy is whole");
  block_unref (block);
  m->data[m->footer_off + 100] ^= 1;
  m->data[m->footer_off + 84] = m->data[84] = 1;
  vhd_maker_sum_footers (m);
  block = recorder_new (m->data, m->len);
  refused (block, LARGE, -EROFS, "saved state");
  block_unref (block);
  vhd_maker_free (m);
}

static void
a_larger_parent_would_show_through (void **state)
{
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 4, .size = SIZE - BLOCK, .block_size = BLOCK, .parent_id = 7,
      .parent_name = "parent.vhd" });
  struct block *block;

  (void) state;
  vhd_maker_finish (m);
  block = recorder_new (m->data, m->len);
  refused (block, SIZE, -ENOTSUP, "is larger");
  assert_int_equal (resize (block, SMALL, NULL, NULL), 0);
  block_unref (block);
  vhd_maker_free (m);
}

/* A footer at the end that was cut off is written again. */
static void
a_missing_footer_is_mended (void **state)
{
  struct vhd_maker *m = dynamic_disk ();
  struct block *block = recorder_new (m->data, m->footer_off);
  uint8_t copy[512];

  (void) state;
  assert_int_equal (resize (block, SIZE, NULL, NULL), 0);
  assert_int_equal (block_pread (block, copy, 512, 0, NULL), 0);
  check_bytes (block, block_size (block) - 512, copy, 512);
  block_unref (block);
  vhd_maker_free (m);
}

/*--- Who writes next --------------------------------------------------------*/

/* Of what a power cut left between both footers; the new block is the second
 * one, which is absent.
 */
static int
write_a_block (const struct change *c, struct block *block, struct job *job,
               struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options to_write = options;
  uint8_t data[512];
  int r;

  (void) c;
  (void) job;
  memset (data, 0x99, sizeof data);
  to_write.writable = true;
  r = image_open_block (block, &to_write, &img, NULL, err);
  if (r == 0)
    r = image_pwrite (img, data, sizeof data, BLOCK, 0, err);
  return r < 0 ? r : image_flush (img, err);
}

static int
check_written (const struct change *c, struct block *block, bool done,
               struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_FREE uint8_t *disk = NULL;
  const struct sizes *s = c->opaque;
  int r = open_disk (block, &img, err);

  if (r < 0)
    return r;
  if (image_size (img) != s->old)
    return err_set (err, -EBADMSG, "it goes by the copy");
  disk = read_disk (img);
  if (done && disk[BLOCK] != 0x99)
    return err_set (err, -EBADMSG, "what was written is not there");
  memset (disk + BLOCK, 0, 512);
  return memcmp (disk, s->disk, s->old) == 0
    ? 0 : err_set (err, -EBADMSG, "it is another disk");
}

static void
a_copy_that_is_behind_is_mended_by_who_writes (void **state)
{
  struct vhd_maker *m = dynamic_disk ();
  struct block *block = vhd_maker_block (m);
  struct sizes sizes = { .old = SIZE };
  struct change c = {
    .name = "behind", .len = m->len, .options = &options, .opaque = &sizes,
    .run = write_a_block, .check = check_written,
  };
  CLEANUP_FREE uint8_t *disk = NULL;
  struct image *img = NULL;
  unsigned nr = 0;
  char first[256];

  (void) state;
  assert_int_equal (open_disk (block, &img, NULL), 0);
  sizes.disk = disk = read_disk (img);
  image_unref (img);
  block_unref (block);
  put_be64 (m->data + 48, SMALL);
  vhd_maker_sum_footers (m);
  c.data = m->data;
  change_once (&c);
  if (change_power_cuts (&c, 3, false, &nr, first) > 0)
    fail_msg ("%s", first);
  assert_true (nr > 50);
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
    cmocka_unit_test (the_layout_is_the_usual_one),
    cmocka_unit_test (entries_that_were_not_needed_do_not_come_back),
    cmocka_unit_test (what_can_not_be_is_refused),
    cmocka_unit_test (a_larger_parent_would_show_through),
    cmocka_unit_test (a_missing_footer_is_mended),
    cmocka_unit_test (a_copy_that_is_behind_is_mended_by_who_writes),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_leaves_the_old_disk_or_the_new),
    cmocka_unit_test (a_power_cut_leaves_the_old_disk_or_the_new),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
