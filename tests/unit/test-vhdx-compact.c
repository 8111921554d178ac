/* SPDX-License-Identifier: GPL-2.0-or-later */

/* VHDXs become smaller, and their disks stay what they are, whatever goes
 * wrong meanwhile.  NBDIMAGE_TEST_SEEDS is how often each kind of power cut is
 * tried at each moment (1 by default).  With NBDIMAGE_LONG set, it is tried
 * with all of them.
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
#include "lib/format/compact.h"
#include "lib/format/vhdx/vhdx-compact.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB
#define NR_BLOCKS 6U
#define SIZE (NR_BLOCKS * MIB - 5 * 4096)
#define HEAD (4 * MIB)          /* headers, log, metadata, BAT */
#define ID 8

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

/*--- Images -----------------------------------------------------------------*/

/* What is put into a block. */
enum content {
  ABSENT,
  DATA,
  ZEROS,                        /* present */
  PLACE,                        /* absent, and has a place, with something */
  PART,                         /* some sectors */
  NO_BITS,                      /* in part, and none, over something */
  ZERO_BITS,                    /* in part, and what is there is zeros */
};

static void
add_block (struct vhdx_maker *m, uint64_t index, enum content content)
{
  uint32_t size = m->spec.block_size, sectors = size / m->spec.logical;
  CLEANUP_FREE uint8_t *data = calloc (1, size);

  assert_non_null (data);
  for (unsigned j = 0; content != ZEROS && content != ZERO_BITS && j < size;
       ++j)
    data[j] = (uint8_t) (1 + (index * 31 + j / 512 * 7 + j) % 255);
  if (content == DATA || content == ZEROS)
    vhdx_maker_add_block (m, index, data);
  if (content == PLACE) {
    size_t off = vhdx_maker_add_block (m, index, data);

    vhdx_maker_put_entry (m, vhdx_maker_entry (m, index), off, VHDX_ZERO);
  }
  if (content >= PART)
    vhdx_maker_add_partial (m, index, data);
  if (content == PART || content == ZERO_BITS)
    vhdx_maker_set_bits (m, index * sectors + 3, 14);
}

/* Back to front. */
static struct vhdx_maker *
make (const struct vhdx_spec *spec, const enum content *contents)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);

  for (unsigned i = (unsigned) m->nr_blocks; i-- > 0;)
    add_block (m, i, contents[i]);
  vhdx_maker_finish (m);
  return m;
}

static struct vhdx_maker *
make_dynamic (uint32_t logical)
{
  static const enum content contents[NR_BLOCKS] = {
    DATA, ZEROS, PLACE, DATA, ZEROS, DATA,
  };

  return make (&(struct vhdx_spec) { .size = SIZE, .logical = logical,
                                     .id = ID }, contents);
}

static struct vhdx_maker *
dynamic_disk (void)
{
  return make_dynamic (512);
}

static struct vhdx_maker *
disk_of_4096 (void)
{
  return make_dynamic (4096);
}

/* The bytes of a file that was changed. */
static void
take_data (struct vhdx_maker *m, struct block *block)
{
  m->len = (size_t) block_size (block);
  m->data = realloc (m->data, m->len);
  assert_non_null (m->data);
  assert_int_equal (block_pread (block, m->data, m->len, 0, NULL), 0);
}

/* BAT and metadata are behind all blocks. */
static struct vhdx_maker *
inverted_disk (void)
{
  static const uint8_t guids[][UUID_SIZE] = { VHDX_GUID_BAT,
                                              VHDX_GUID_METADATA };
  struct vhdx_maker *m = dynamic_disk ();
  struct block *block = recorder_new (m->data, m->len);
  struct vhdx_edit e;

  assert_int_equal (vhdx_edit_open (block, &options, &e, NULL, NULL), 0);
  assert_int_equal (vhdx_edit_begin (&e, NULL), 0);
  for (unsigned i = 0; i < 2; ++i) {
    uint64_t to;

    assert_int_equal (vhdx_edit_append (&e, MIB, &to, NULL), 0);
    assert_int_equal (vhdx_edit_move_region (&e, guids[i], to, NULL, NULL), 0);
  }
  vhdx_edit_close (&e);
  take_data (m, block);
  block_unref (block);
  return m;
}

static struct vhdx_maker *
make_child (uint32_t block_size, const enum content *contents)
{
  return make (&(struct vhdx_spec) {
      .size = SIZE, .block_size = block_size, .id = ID, .parent_id = 7,
      .locators = { { "relative_path", ".\\parent.vhdx" } } }, contents);
}

/* Its bitmap, which block 5 needs, moves. */
static struct vhdx_maker *
differencing_disk (void)
{
  static const enum content contents[NR_BLOCKS] = {
    ZEROS, NO_BITS, ZERO_BITS, ZERO_BITS, DATA, PART,
  };

  return make_child (MIB, contents);
}

/* Its bitmap is not needed any more. */
static struct vhdx_maker *
disk_without_bits (void)
{
  static const enum content contents[NR_BLOCKS] = {
    DATA, NO_BITS, DATA, ABSENT, ZERO_BITS, ABSENT,
  };

  return make_child (MIB, contents);
}

/* Blocks are larger than a bitmap. */
static struct vhdx_maker *
disk_of_large_blocks (void)
{
  static const enum content contents[NR_BLOCKS / 2] = { PART, DATA, ZEROS };

  return make_child (2 * MIB, contents);
}

/* Something in every second block only. */
static void
make_parent (void)
{
  static const enum content contents[NR_BLOCKS] = {
    ABSENT, DATA, ABSENT, DATA, ABSENT, DATA,
  };
  struct vhdx_maker *m = make (&(struct vhdx_spec) { .size = SIZE, .id = 7 },
                               contents);
  char path[64];

  snprintf (path, sizeof path, "%s/parent.vhdx", folder);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
}

static void
read_disk (const struct vhdx_maker *m, uint8_t *disk)
{
  struct block *block = vhdx_maker_block (m);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &options, &img, NULL, &err) < 0 ||
      image_pread (img, disk, SIZE, 0, &err) < 0)
    fail_msg ("%s", err.msg);
  block_unref (block);
}

/*--- What is expected -------------------------------------------------------*/

/* Is the identity of its data the old one? */
static bool
has_old_id (struct block *block)
{
  uint8_t id[UUID_SIZE];
  struct vhdx_edit e;
  bool is_old;

  vhdx_maker_id (ID, id);
  assert_int_equal (vhdx_edit_open (block, &options, &e, NULL, NULL), 0);
  is_old = memcmp (e.layer->header.data_write_guid, id, UUID_SIZE) == 0;
  vhdx_edit_close (&e);
  return is_old;
}

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
  if (r == 0 && !has_old_id (block))
    return err_set (err, -EBADMSG, "its identity is another");
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

static const struct subject {
  const char *name;
  struct vhdx_maker *(*make) (void);
  unsigned mibs;                /* of the file, in the end */
  unsigned dropped;             /* blocks */
  bool always;                  /* tried even if there is little time */
} subjects[] = {
  { "dynamic", dynamic_disk, 4 + 3, 2, false },
  { "4096 bytes", disk_of_4096, 4 + 3, 2, false },
  { "inverted", inverted_disk, 4 + 3, 2, true },
  /* 1, and 2 over nothing; 0 hides nothing, 3 is the parent's in part. */
  { "differencing", differencing_disk, 4 + 3 + 1, 3, true },
  { "without bits", disk_without_bits, 4 + 2, 2, false },
  { "large blocks", disk_of_large_blocks, 4 + 4 + 1, 1, false },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

static void
each_subject (void (*test) (const struct change *c))
{
  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    struct vhdx_maker *m = subjects[i].make ();
    static uint8_t disk[SIZE];
    struct change c = {
      .name = subjects[i].name, .data = m->data, .len = m->len,
      .options = &options, .leaks_nothing = true, .opaque = disk,
      .run = run, .check = check,
    };

    read_disk (m, disk);
    test (&c);
    vhdx_maker_free (m);
  }
}

/* They take long: as long as nobody has more time, some do for all. */
static bool
is_for_long (const struct change *c)
{
  for (size_t i = 0; i < NR_SUBJECTS; ++i)
    if (strcmp (subjects[i].name, c->name) == 0 && subjects[i].always)
      return false;
  return getenv ("NBDIMAGE_LONG") == NULL;
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

  if (is_for_long (c))
    return;
  if (change_power_cuts (c, number_from ("NBDIMAGE_TEST_SEEDS", 1), false,
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
  assert_true (nr_states > share_of (200));
}

static unsigned nr_tried, nr_found;

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
  /* One of them: their steps are the same. */
  if (strcmp (c->name, "differencing") == 0 || getenv ("NBDIMAGE_LONG"))
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

static void
compacts (const struct subject *s)
{
  struct vhdx_maker *m = s->make ();
  struct block *block = recorder_new (m->data, m->len);
  struct image_compact_plan plan = { .drop = NULL };

  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  if (block_size (block) != s->mibs * UINT64_C (1048576) ||
      plan.file_size != block_size (block) ||
      plan.dropped != s->dropped * UINT64_C (1) * m->spec.block_size)
    fail_msg ("%s: %llu bytes are left, %llu were promised, %llu dropped",
              s->name, (unsigned long long) block_size (block),
              (unsigned long long) plan.file_size,
              (unsigned long long) plan.dropped);
  /* Again: nothing. */
  recorder_fail (block, 1, 1);
  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  assert_true (plan.is_done);
  assert_int_equal (plan.dropped, 0);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
  vhdx_maker_free (m);
}

static void
all_space_is_given_back (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR_SUBJECTS; ++i)
    compacts (&subjects[i]);
}

/* States of all blocks, in the order of their numbers. */
static void
has_states (const struct subject *s, const char *expected)
{
  struct vhdx_maker *m = s->make ();
  struct block *block = recorder_new (m->data, m->len);
  struct image_compact_plan plan = { .drop = NULL };
  char found[NR_BLOCKS + 2] = "";
  struct vhdx_edit e;

  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  assert_int_equal (vhdx_edit_open (block, &options, &e, NULL, NULL), 0);
  for (unsigned i = 0; i < m->nr_blocks; ++i)
    found[i] = (char) ('0' + VHDX_BAT_STATE (e.layer->bat.entries[i]));
  assert_string_equal (found, expected);
  vhdx_edit_close (&e);
  block_unref (block);
  vhdx_maker_free (m);
}

/* What is zero with its parents, hides them; what is theirs as a whole, is
 * not in the file.
 */
static void
dropped_blocks_read_as_before (void **state)
{
  (void) state;
  has_states (&subjects[0], "622626");
  has_states (&subjects[3], "202767");
  has_states (&subjects[4], "606020");
}

static bool
is_first_block (void *opaque, uint64_t off, uint64_t len)
{
  (void) opaque;
  return off + len <= MIB;
}

/* It reads as zeros then, under an identity that nobody knows. */
static void
what_is_in_no_use_is_dropped (void **state)
{
  struct vhdx_maker *m = dynamic_disk ();
  struct block *block = recorder_new (m->data, m->len);
  struct image_compact_plan plan = { .is_free = is_first_block };
  CLEANUP_IMAGE struct image *img = NULL;
  static uint8_t disk[SIZE], found[SIZE];

  (void) state;
  read_disk (m, disk);
  memset (disk, 0, MIB);
  assert_int_equal (compact (block, &plan, NULL, NULL), 0);
  assert_int_equal (plan.free, MIB);
  assert_int_equal (plan.dropped, 3 * MIB);
  assert_int_equal (block_size (block), HEAD + 2 * MIB);
  assert_int_equal (image_open_block (block, &options, &img, NULL, NULL), 0);
  assert_int_equal (image_pread (img, found, SIZE, 0, NULL), 0);
  assert_memory_equal (found, disk, SIZE);
  assert_false (has_old_id (block));
  block_unref (block);
  vhdx_maker_free (m);
}

static void
a_fixed_disk_has_no_blocks (void **state)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .is_fixed = true });
  struct image_compact_plan plan = { .drop = NULL };
  struct block *block;
  struct err err = ERR_INIT;

  (void) state;
  for (unsigned i = 0; i < NR_BLOCKS; ++i)
    add_block (m, i, ZEROS);
  vhdx_maker_finish (m);
  block = recorder_new (m->data, m->len);
  assert_int_equal (compact (block, &plan, NULL, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "a fixed VHDX"));
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
  vhdx_maker_free (m);
}

/* Opening finds that in small tables only; this one has it afterwards. */
static void
overlaps_are_refused (void **state)
{
  struct vhdx_maker *m = dynamic_disk ();
  struct image_compact_plan plan = { .drop = calloc (NR_BLOCKS, 1) };
  struct block *block = recorder_new (m->data, m->len);
  struct vhdx_layout l;
  struct vhdx_edit e;
  struct err err = ERR_INIT;

  (void) state;
  assert_non_null (plan.drop);
  assert_int_equal (vhdx_edit_open (block, &options, &e, NULL, NULL), 0);
  e.layer->bat.entries[1] = e.layer->bat.entries[0];
  assert_int_equal (vhdx_lay_out (&e, &plan, &l, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "BAT entry 1 (offset"));
  vhdx_layout_free (&l);
  vhdx_edit_close (&e);
  image_compact_plan_free (&plan);
  block_unref (block);
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
  char path[64];

  (void) state;
  snprintf (path, sizeof path, "%s/parent.vhdx", folder);
  unlink (path);
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_disk_is_what_it_was),
    cmocka_unit_test (all_space_is_given_back),
    cmocka_unit_test (dropped_blocks_read_as_before),
    cmocka_unit_test (what_is_in_no_use_is_dropped),
    cmocka_unit_test (a_fixed_disk_has_no_blocks),
    cmocka_unit_test (overlaps_are_refused),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_changes_nothing),
    cmocka_unit_test (a_power_cut_changes_nothing),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
