/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The size of VHDXs changes: the disk is what it was, as far as it goes, and
 * zeros behind that; whatever goes wrong meanwhile.
 *
 * NBDIMAGE_TEST_SEEDS is how often each kind of power cut is tried at each
 * moment (1 by default).  With NBDIMAGE_LONG set, it is tried with more of
 * them.
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
#include "lib/format/relocate.h"
#include "lib/format/resize.h"
#include "lib/format/vhdx/vhdx-edit.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB
#define GIB (UINT64_C (1024) * MIB)

/* The last block is cut off. */
#define SIZE (3 * MIB + 512 * 1024)
#define LARGE (6 * MIB + 4096)
#define SMALL (MIB + 512 * 1024)
/* More blocks than a table of 1 MiB has entries for. */
#define HUGE_SIZE (140 * GIB)
#define COMPARED (8 * MIB)

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

/*--- Images -----------------------------------------------------------------*/

struct subject {
  const char *name;
  struct vhdx_spec spec;
  uint64_t new_size;
  bool is_cut;                  /* the file ends where the disk does */
  bool moves_table;
  bool always;                  /* tried even if there is little time */
};

#define CHILD .id = 8, .parent_id = 7, \
    .locators = { { "relative_path", ".\\parent.vhdx" } }

static const struct subject subjects[] = {
  { "grows", { .size = SIZE }, LARGE, false, false, true },
  { "grows, cut off", { .size = SIZE }, LARGE, true, false, false },
  { "table moves", { .size = SIZE }, HUGE_SIZE, false, true, true },
  { "shrinks", { .size = SIZE }, SMALL, false, false, false },
  { "shrinks to whole blocks", { .size = SIZE }, 2 * MIB, true, false, false },
  { "fixed grows", { .size = SIZE, .is_fixed = true }, LARGE, false, false,
    false },
  { "fixed shrinks", { .size = SIZE, .is_fixed = true }, SMALL, false, false,
    false },
  { "4096 grows", { .size = SIZE, .logical = 4096 }, LARGE, true, false,
    false },
  { "child grows", { .size = SIZE, CHILD }, LARGE, false, false, true },
  { "child's table moves", { .size = SIZE, CHILD }, HUGE_SIZE, false, true,
    false },
  { "child shrinks", { .size = SIZE, CHILD }, SMALL, false, false, false },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

static void
add_block (struct vhdx_maker *m, uint64_t block, uint8_t byte)
{
  static uint8_t data[MIB];

  memset (data, byte, sizeof data);
  memset (data + 512 * 1024, 0x33, 64 * 1024);
  vhdx_maker_add_block (m, block, data);
}

/* Block 1 is absent, unless the disk is fixed; of a child, block 2 is there in
 * part, with bits that go on behind the end of the disk in block 3.
 */
static struct vhdx_maker *
make_disk (const struct subject *s)
{
  struct vhdx_maker *m = vhdx_maker_new (&s->spec);
  static uint8_t data[MIB];
  const uint64_t first = 2 * MIB / 512;

  add_block (m, 0, 0x11);
  if (s->spec.is_fixed)
    add_block (m, 1, 0x22);
  if (s->spec.parent_id) {
    memset (data, 0xCC, sizeof data);
    vhdx_maker_add_partial (m, 2, data);
    vhdx_maker_add_partial (m, 3, data);
    vhdx_maker_set_bits (m, first + 3, 14);
    vhdx_maker_set_bits (m, first + 3000, 700);
  }
  else {
    add_block (m, 2, 0x44);
    add_block (m, 3, 0x55);
  }
  vhdx_maker_finish (m);
  if (s->is_cut)
    m->len -= 512 * 1024;
  return m;
}

static void
make_parent (void)
{
  CLEANUP_FREE char *path = NULL;
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = 7 });

  for (uint64_t i = 0; i < 4; ++i)
    add_block (m, i, (uint8_t) (0xA0 + i));
  vhdx_maker_finish (m);
  assert_true (asprintf (&path, "%s/parent.vhdx", folder) > 0);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
}

/*--- What is expected -------------------------------------------------------*/

struct wish {
  const struct subject *subject;
  uint64_t old_size;
  uint8_t disk[SIZE];           /* of the old size */
};

static void
read_old (struct vhdx_maker *m, uint8_t disk[SIZE])
{
  struct block *block = vhdx_maker_block (m);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &options, &img, NULL, &err) < 0 ||
      image_pread (img, disk, SIZE, 0, &err) < 0)
    fail_msg ("%s", err.msg);
  block_unref (block);
}

/* The old disk as far as it goes, then zeros; of a huge one the beginning and
 * the end.
 */
static int
compare (struct image *img, const uint8_t *old, uint64_t old_size,
         struct err *err)
{
  static uint8_t buf[COMPARED];
  uint64_t size = image_size (img), len = min_u64 (size, COMPARED);
  uint64_t same = min_u64 (size, old_size);
  int r = image_pread (img, buf, len, 0, err);

  if (r < 0)
    return r;
  if (memcmp (buf, old, same) != 0)
    return err_set (err, -EBADMSG, "the disk is another");
  if (len > same && !relocate_is_zero (buf + same, len - same))
    return err_set (err, -EBADMSG, "there is something in the new space");
  r = image_pread (img, buf, 65536, size - 65536, err);
  if (r == 0 && size > COMPARED && !relocate_is_zero (buf, 65536))
    r = err_set (err, -EBADMSG, "there is something at the new end");
  return r;
}

/* Another size is another identity. */
static int
check_id (struct block *block, const struct wish *w, uint64_t size,
          struct err *err)
{
  uint8_t id[UUID_SIZE];
  struct vhdx_edit e;
  int r = vhdx_edit_open (block, &options, &e, NULL, err);

  vhdx_maker_id (w->subject->spec.id, id);
  if (r == 0 && size != w->old_size &&
      memcmp (e.layer->header.data_write_guid, id, UUID_SIZE) == 0)
    r = err_set (err, -EBADMSG, "its identity is the old one");
  if (r == 0 && size == w->old_size && e.layer->regions.bat.len != MIB)
    r = err_set (err, -EBADMSG, "the old disk has the new table");
  vhdx_edit_close (&e);
  return r;
}

static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const struct wish *w = c->opaque;
  int r = image_open_block (block, &options, &img, NULL, err);
  uint64_t size;

  if (r < 0)
    return r;
  size = image_size (img);
  if (size != w->subject->new_size && (done || size != w->old_size))
    return err_set (err, -EBADMSG, "its size is another");
  r = compare (img, w->disk, w->old_size, err);
  return r < 0 ? r : check_id (block, w, size, err);
}

static int
resize_to (struct block *block, uint64_t size, struct job *job,
           struct image_resize_plan *plan, struct err *err)
{
  CLEANUP_OFFLINE struct offline *offline = NULL;
  int r = offline_open_block (block, &options, &offline, err);

  *plan = (struct image_resize_plan) { .size = size };
  if (r == 0)
    r = image_resize_plan (offline, plan, NULL, err);
  if (r == 0 && !plan->is_done)
    r = image_resize (offline, plan, job, err);
  return r;
}

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  const struct wish *w = c->opaque;
  struct image_resize_plan plan;

  return resize_to (block, w->subject->new_size, job, &plan, err);
}

static void
each_subject (void (*test) (const struct change *c))
{
  static struct wish w;

  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    const struct subject *s = &subjects[i];
    struct vhdx_maker *m = make_disk (s);
    const struct change c = {
      .name = s->name, .options = &options, .data = m->data, .len = m->len,
      .opaque = &w, .run = run, .check = check,
    };

    w.subject = s;
    w.old_size = SIZE;
    read_old (m, w.disk);
    test (&c);
    vhdx_maker_free (m);
  }
}

static bool
is_for_long (const struct change *c)
{
  const struct wish *w = c->opaque;

  return !w->subject->always && !getenv ("NBDIMAGE_LONG");
}

/*--- The tests --------------------------------------------------------------*/

static void
the_disk_gets_its_size (void **state)
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

static unsigned nr_states, nr_tried, nr_found;

static void
cut_power (const struct change *c)
{
  char first[256];

  if (!is_for_long (c) &&
      change_power_cuts (c, number_from ("NBDIMAGE_TEST_SEEDS", 1), false,
                         &nr_states, first) > 0)
    fail_msg ("%s", first);
}

static void
a_power_cut_leaves_the_old_size_or_the_new (void **state)
{
  (void) state;
  nr_states = 0;
  each_subject (cut_power);
  counted (nr_states, "crash states", 0, 0);
  assert_true (nr_states > share_of (300));
}

static void
cut_power_without_flushes (const struct change *c)
{
  char first[256];

  if (is_for_long (c))
    return;
  nr_tried++;
  nr_found += change_power_cuts (c, 1, true, &nr_states, first) > 0;
}

static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  each_subject (cut_power_without_flushes);
  assert_true (nr_tried > 0);
  assert_int_equal (nr_found, nr_tried);
}

static void
fail_in_turn (const struct change *c)
{
  if (!is_for_long (c))
    assert_true (change_faults (c) >= share_of (10));
}

static void
a_fault_leaves_the_old_size_or_the_new (void **state)
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

/* What was cut off does not come back. */
static void
cut_and_grow_again (const struct change *c)
{
  struct block *block = recorder_new (c->data, c->len);
  const struct wish *w = c->opaque;
  struct image_resize_plan plan;
  struct err err = ERR_INIT;

  if (w->subject->spec.parent_id) {
    block_unref (block);
    return;
  }
  if (resize_to (block, SMALL, NULL, &plan, &err) < 0 ||
      resize_to (block, w->subject->new_size, NULL, &plan, &err) < 0)
    fail_msg ("%s: %s", c->name, err.msg);
  {
    CLEANUP_IMAGE struct image *img = NULL;

    if (image_open_block (block, &options, &img, NULL, &err) < 0 ||
        compare (img, w->disk, SMALL, &err) < 0)
      fail_msg ("%s: %s", c->name, err.msg);
  }
  block_unref (block);
}

static void
what_was_cut_off_does_not_come_back (void **state)
{
  (void) state;
  each_subject (cut_and_grow_again);
}

/* The table has its place, and nothing is left to do. */
static void
twice (const struct change *c)
{
  struct block *block = recorder_new (c->data, c->len);
  const struct wish *w = c->opaque;
  struct image_resize_plan plan;
  struct err err = ERR_INIT;
  struct vhdx_edit e;
  int r = resize_to (block, w->subject->new_size, NULL, &plan, &err);

  assert_int_equal (plan.to_move > 0,
                    w->subject->is_cut && w->subject->new_size > SIZE);
  assert_false (plan.is_done);
  if (r == 0)
    r = resize_to (block, w->subject->new_size, NULL, &plan, &err);
  if (r < 0)
    fail_msg ("%s: %s", c->name, err.msg);
  assert_true (plan.is_done);
  assert_int_equal (vhdx_edit_open (block, &options, &e, NULL, &err), 0);
  assert_int_equal (e.layer->regions.bat.len > MIB, w->subject->moves_table);
  vhdx_edit_close (&e);
  block_unref (block);
}

static void
the_same_again_has_nothing_to_do (void **state)
{
  (void) state;
  each_subject (twice);
}

/* Whatever entries there were is not believed when the disk grows. */
static void
entries_that_were_not_needed_do_not_come_back (void **state)
{
  struct vhdx_maker *m = make_disk (&subjects[0]);
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t found[MIB];
  struct image_resize_plan plan;
  struct err err = ERR_INIT;
  struct block *block;

  (void) state;
  put_le64 (m->data + m->bat_off + 4 * 8, 4 * MIB | VHDX_PRESENT);
  put_le64 (m->data + m->bat_off + 1000 * 8, 4 * MIB | VHDX_PRESENT);
  block = recorder_new (m->data, m->len);
  if (resize_to (block, 1100 * (uint64_t) MIB, NULL, &plan, &err) < 0 ||
      image_open_block (block, &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (image_pread (img, found, MIB, 4 * MIB, NULL), 0);
  assert_true (relocate_is_zero (found, MIB));
  assert_int_equal (image_pread (img, found, MIB, 1000 * (uint64_t) MIB,
                                 NULL), 0);
  assert_true (relocate_is_zero (found, MIB));
  block_unref (block);
  vhdx_maker_free (m);
}

/* The metadata lie where the last block would go on, which who reads does not
 * need.
 */
static void
a_block_that_ends_in_a_region_moves (void **state)
{
  const uint64_t old_size = 2 * MIB + 4096;
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = old_size, .block_size = 2 * MIB });
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t data[2 * MIB], disk[2 * MIB + 4096];
  struct image_resize_plan plan;
  struct err err = ERR_INIT;
  struct block *block;
  size_t off;

  (void) state;
  memset (data, 0x44, sizeof data);
  memset (disk + 2 * MIB, 0x44, 4096);
  off = vhdx_maker_add_block (m, 1, data);
  vhdx_maker_finish (m);
  memcpy (m->data + off + MIB, m->data + m->metadata_off, MIB);
  for (unsigned i = 0; i < 2; ++i)
    put_le64 (m->data + (i ? VHDX_AT_REGIONS_2 : VHDX_AT_REGIONS_1) + 48 + 16,
              off + MIB);
  vhdx_maker_sum_regions (m);
  block = recorder_new (m->data, m->len);
  if (resize_to (block, LARGE, NULL, &plan, &err) < 0 ||
      image_open_block (block, &options, &img, NULL, &err) < 0 ||
      compare (img, disk, old_size, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (plan.to_move, 4096);
  block_unref (block);
  vhdx_maker_free (m);
}

/* With so many blocks a table of 2 MiB is full.  Where the next bitmap's entry
 * would be, the metadata begin.
 */
static struct vhdx_maker *
full_table (const struct vhdx_spec *spec)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);
  size_t metadata = m->bat_off + 2 * MIB;

  vhdx_maker_finish (m);
  m->len = metadata + MIB;
  memcpy (m->data + metadata, m->data + m->metadata_off, MIB);
  for (unsigned i = 0; i < 2; ++i) {
    uint8_t *table = m->data + (i ? VHDX_AT_REGIONS_2 : VHDX_AT_REGIONS_1);

    put_le32 (table + 16 + 24, 2 * MIB);
    put_le64 (table + 48 + 16, metadata);
  }
  vhdx_maker_sum_regions (m);
  return m;
}

static void
a_table_may_be_full (void **state)
{
  const struct vhdx_spec spec = { .size = UINT64_C (4033) * 4 * GIB,
                                  .block_size = 64 * MIB };
  struct vhdx_maker *m = full_table (&spec);
  struct block *block = recorder_new (m->data, m->len);
  struct image_resize_plan plan;
  struct err err = ERR_INIT;
  struct vhdx_edit e;
  uint64_t entry;

  (void) state;
  if (resize_to (block, spec.size + 64 * MIB, NULL, &plan, &err) < 0 ||
      vhdx_edit_open (block, &options, &e, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (e.layer->metadata.size, spec.size + 64 * MIB);
  assert_int_equal (e.layer->regions.bat.len, 3 * MIB);
  assert_int_equal (vhdx_edit_read (&e, &entry, sizeof entry,
                                    e.bat.off + 2 * MIB, NULL), 0);
  assert_int_equal (entry, 0);
  vhdx_edit_close (&e);
  block_unref (block);
  vhdx_maker_free (m);
}

static void
refused (struct vhdx_maker *m, uint64_t size, int code, const char *what)
{
  struct block *block = recorder_new (m->data, m->len);
  struct image_resize_plan plan;
  struct err err = ERR_INIT;
  int r;

  r = resize_to (block, size, NULL, &plan, &err);
  if (r != code || strstr (err.msg, what) == NULL)
    fail_msg ("%d, “%s” is not %d, “%s”", r, err.msg, code, what);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
}

static void
what_can_not_be_is_refused (void **state)
{
  const struct subject small_child = {
    "", { .size = SMALL, CHILD }, 0, false, false, false };
  const struct subject large = {
    "", { .size = SIZE, .logical = 4096 }, 0, false, false, false };
  struct vhdx_maker *child = vhdx_maker_new (&small_child.spec);
  struct vhdx_maker *m = make_disk (&large);

  (void) state;
  vhdx_maker_finish (child);
  refused (m, 0, -EINVAL, "0 bytes");
  refused (m, SIZE + 512, -EINVAL, "whole sectors of 4096 bytes");
  refused (m, 65 * 1024 * GIB, -EINVAL, "64 TiB");
  refused (child, SIZE, -ENOTSUP, "parent is larger");
  vhdx_maker_free (child);
  vhdx_maker_free (m);
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
  CLEANUP_FREE char *path = NULL;

  (void) state;
  assert_true (asprintf (&path, "%s/parent.vhdx", folder) > 0);
  unlink (path);
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_disk_gets_its_size),
    cmocka_unit_test (the_same_again_has_nothing_to_do),
    cmocka_unit_test (what_was_cut_off_does_not_come_back),
    cmocka_unit_test (entries_that_were_not_needed_do_not_come_back),
    cmocka_unit_test (a_block_that_ends_in_a_region_moves),
    cmocka_unit_test (a_table_may_be_full),
    cmocka_unit_test (what_can_not_be_is_refused),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_leaves_the_old_size_or_the_new),
    cmocka_unit_test (a_power_cut_leaves_the_old_size_or_the_new),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
