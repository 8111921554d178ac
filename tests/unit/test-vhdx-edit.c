/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The structures of VHDXs change through their log, all that belongs together
 * at once, whatever goes wrong meanwhile (lib/format/vhdx/vhdx-edit.h).
 * NBDIMAGE_TEST_SEEDS is how often each kind of power cut is tried at each
 * moment (1 by default).  With NBDIMAGE_LONG set, more of them is tried.
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
#include "lib/format/vhdx/vhdx-edit.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB
#define SIZE (3 * MIB)

static const uint8_t locator_guid[UUID_SIZE] = VHDX_GUID_LOCATOR;
static const uint8_t size_guid[UUID_SIZE] = VHDX_GUID_SIZE;
static const uint8_t bat_guid[UUID_SIZE] = VHDX_GUID_BAT;
static const uint8_t metadata_guid[UUID_SIZE] = VHDX_GUID_METADATA;

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

/*--- Images -----------------------------------------------------------------*/

static void
fill (uint8_t *data, unsigned seed)
{
  for (unsigned i = 0; i < MIB; ++i)
    data[i] = (uint8_t) (1 + (seed * 31 + i / 512 * 7 + i) % 255);
}

static struct vhdx_maker *
make (const struct vhdx_spec *spec)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);
  static uint8_t data[MIB];

  fill (data, 1);
  vhdx_maker_add_block (m, 1, data);
  vhdx_maker_finish (m);
  return m;
}

static struct vhdx_maker *
make_child (void)
{
  return make (&(struct vhdx_spec) {
      .size = SIZE, .id = 8, .parent_id = 7,
      .locators = { { "relative_path", ".\\parent.vhdx" } } });
}

static void
make_parent (void)
{
  struct vhdx_maker *m = make (&(struct vhdx_spec) { .size = SIZE, .id = 7 });
  char path[64];

  snprintf (path, sizeof path, "%s/parent.vhdx", folder);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
}

static void
open_edit (struct block *block, struct vhdx_edit *e)
{
  struct err err = ERR_INIT;

  if (vhdx_edit_open (block, &options, e, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
}

static void
read_disk (struct block *block, uint8_t *disk)
{
  CLEANUP_IMAGE struct image *img = NULL;

  assert_int_equal (image_open_block (block, &options, &img, NULL, NULL), 0);
  assert_int_equal (image_pread (img, disk, SIZE, 0, NULL), 0);
}

/*--- What a job does, and what must be true ---------------------------------*/

struct expected {
  uint8_t *locator;             /* after it; owned */
  size_t locator_len;
  uint8_t *old;                 /* before; owned */
  size_t old_len;
  uint8_t disk[SIZE];
};

/* The locator as it is, but for bytes behind it that nothing refers to. */
static struct expected *
state_of (struct block *block, size_t grow)
{
  struct expected *s = calloc (1, sizeof *s);
  struct vhdx_edit e;

  assert_non_null (s);
  open_edit (block, &e);
  assert_int_equal (vhdx_edit_get_item (&e, locator_guid, &s->old,
                                        &s->old_len, NULL), 0);
  vhdx_edit_close (&e);
  s->locator_len = s->old_len + grow;
  s->locator = malloc (s->locator_len);
  assert_non_null (s->locator);
  memset (s->locator, 0xA5, s->locator_len);
  memcpy (s->locator, s->old, s->old_len);
  read_disk (block, s->disk);
  return s;
}

static void
free_state (struct expected *s)
{
  free (s->locator);
  free (s->old);
  free (s);
}

/* One commit changes the locator, in the metadata, and the entry of block 0,
 * in the BAT.
 */
static int
put_all (const struct expected *s, struct vhdx_edit *e, struct err *err)
{
  int r = vhdx_edit_put_item (e, locator_guid, s->locator, s->locator_len,
                              err);

  if (r == 0)
    r = vhdx_edit_put_entry (e, 0, VHDX_ZERO, err);
  return r;
}

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  struct vhdx_edit e;
  int r = vhdx_edit_open (block, &options, &e, NULL, err);

  (void) job;
  if (r == 0)
    r = vhdx_edit_begin (&e, err);
  if (r == 0)
    r = put_all (c->opaque, &e, err);
  if (r == 0)
    r = vhdx_edit_commit (&e, err);
  if (r == 0)
    r = vhdx_edit_cut (&e, err);
  vhdx_edit_close (&e);
  return r;
}

/* Block 0 is the parent's as long as the locator is the old one, and zero
 * with the new one.
 */
static int
check_item (const struct expected *s, struct vhdx_edit *e, bool done,
            struct err *err)
{
  CLEANUP_FREE uint8_t *found = NULL;
  size_t len;
  int r = vhdx_edit_get_item (e, locator_guid, &found, &len, err);
  bool zero = e->layer->bat.entries[0] == VHDX_ZERO;

  if (r < 0)
    return r;
  if (len == s->locator_len && memcmp (found, s->locator, len) == 0)
    return zero ? 0 : err_set (err, -EBADMSG, "only the item is new");
  if (len != s->old_len || memcmp (found, s->old, len) != 0)
    return err_set (err, -EBADMSG, "the item is another one");
  if (zero)
    return err_set (err, -EBADMSG, "only the entry is new");
  return done ? err_set (err, -EBADMSG, "nothing is new") : 0;
}

static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const struct expected *s = c->opaque;
  static uint8_t disk[SIZE];
  struct vhdx_edit e;
  int r = image_open_block (block, &options, &img, NULL, err);

  if (r == 0)
    r = image_pread (img, disk, SIZE, 0, err);
  if (r == 0 && memcmp (disk + MIB, s->disk + MIB, SIZE - MIB) != 0)
    r = err_set (err, -EBADMSG, "it is another disk");
  if (r < 0)
    return r;
  r = vhdx_edit_open (block, &options, &e, NULL, err);
  if (r == 0)
    r = check_item (s, &e, done, err);
  if (r == 0 && done && (!vhdx_edit_is_mended (&e) || !vhdx_edit_is_cut (&e)))
    r = err_set (err, -EBADMSG, "something is left");
  vhdx_edit_close (&e);
  return r;
}

/*--- Blocks and regions that move -------------------------------------------*/

/* The block goes behind everything, the BAT to where it was, the metadata to
 * where the BAT was: not for the space that this saves.  What has moved
 * already, when it was interrupted, stays.
 */
static int
move_all (struct vhdx_edit *e, struct err *err)
{
  const struct vhdx_regions *regions = &e->layer->regions;
  struct vhdx_move move = { .index = 1 };
  int r = 0;

  if (VHDX_BAT_OFFSET (e->layer->bat.entries[1]) == 4 * MIB) {
    r = vhdx_edit_append (e, MIB, &move.to, err);
    if (r == 0)
      r = vhdx_edit_move (e, &move, 1, NULL, err);
  }
  if (r == 0 && regions->bat.off == 3 * MIB)
    r = vhdx_edit_move_region (e, bat_guid, 4 * MIB, NULL, err);
  if (r == 0 && regions->metadata.off == 2 * MIB)
    r = vhdx_edit_move_region (e, metadata_guid, 3 * MIB, NULL, err);
  return r;
}

static bool
has_moved (const struct vhdx_edit *e)
{
  return e->layer->regions.metadata.off == 3 * MIB;
}

static int
run_moves (const struct change *c, struct block *block, struct job *job,
           struct err *err)
{
  struct vhdx_edit e;
  int r = vhdx_edit_open (block, &options, &e, NULL, err);

  (void) c;
  (void) job;
  if (r == 0)
    r = vhdx_edit_begin (&e, err);
  if (r == 0 && !has_moved (&e))
    r = move_all (&e, err);
  if (r == 0)
    r = vhdx_edit_cut (&e, err);
  vhdx_edit_close (&e);
  return r;
}

static int
check_moves (const struct change *c, struct block *block, bool done,
             struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const struct expected *s = c->opaque;
  static uint8_t disk[SIZE];
  struct vhdx_edit e;
  int r = image_open_block (block, &options, &img, NULL, err);

  if (r == 0)
    r = image_pread (img, disk, SIZE, 0, err);
  if (r == 0 && memcmp (disk, s->disk, SIZE) != 0)
    r = err_set (err, -EBADMSG, "it is another disk");
  if (r < 0)
    return r;
  r = vhdx_edit_open (block, &options, &e, NULL, err);
  if (r == 0 && done && !has_moved (&e))
    r = err_set (err, -EBADMSG, "nothing has moved");
  vhdx_edit_close (&e);
  return r;
}

/*--- The tests --------------------------------------------------------------*/

static const struct {
  const char *name;
  size_t grow;
  bool moves;
} subjects[] = {
  { "an item grows in its place", 100, false },
  { "an item grows out of what a commit takes", 300 * 1024, false },
  { "block and regions move", 0, true },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

static void
each_subject (void (*test) (const struct change *c))
{
  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    struct vhdx_maker *m = make_child ();
    struct block *block = recorder_new (m->data, m->len);
    struct expected *s = state_of (block, subjects[i].grow);
    struct change c = {
      .name = subjects[i].name, .data = m->data, .len = m->len,
      .options = &options, .opaque = s,
      .run = subjects[i].moves ? run_moves : run,
      .check = subjects[i].moves ? check_moves : check,
    };

    block_unref (block);
    test (&c);
    free_state (s);
    vhdx_maker_free (m);
  }
}

static void
changes_are_made (void **state)
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

static unsigned nr_states, nr_found;

static void
cut_power (const struct change *c)
{
  char first[256];

  /* The slow one; its steps are those of the others. */
  if (strcmp (c->name, subjects[1].name) == 0 && !getenv ("NBDIMAGE_LONG"))
    return;
  if (change_power_cuts (c, number_from ("NBDIMAGE_TEST_SEEDS", 1), false,
                         &nr_states, first) > 0)
    fail_msg ("%s", first);
}

static void
a_power_cut_leaves_all_or_nothing (void **state)
{
  (void) state;
  nr_states = 0;
  each_subject (cut_power);
  counted (nr_states, "crash states", 0, 0);
  assert_true (nr_states > share_of (500));
}

static void
cut_power_without_flushes (const struct change *c)
{
  char first[256];

  /* One of them is enough, and takes long enough. */
  if (c->run == run_moves)
    nr_found += change_power_cuts (c, 1, true, &nr_states, first) > 0;
}

static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  nr_found = 0;
  each_subject (cut_power_without_flushes);
  assert_int_equal (nr_found, 1);
}

static void
fail_in_turn (const struct change *c)
{
  assert_true (change_faults (c) >= share_of (10));
}

static void
a_fault_leaves_all_or_nothing (void **state)
{
  (void) state;
  each_subject (fail_in_turn);
}

/*--- What is where ----------------------------------------------------------*/

struct fixture {
  struct vhdx_maker *m;
  struct block *block;
  struct vhdx_edit e;
};

static void
begin (struct fixture *f)
{
  f->m = make_child ();
  f->block = recorder_new (f->m->data, f->m->len);
  open_edit (f->block, &f->e);
  assert_int_equal (vhdx_edit_begin (&f->e, NULL), 0);
}

static void
end (struct fixture *f)
{
  vhdx_edit_close (&f->e);
  block_unref (f->block);
  vhdx_maker_free (f->m);
}

static void
put_locator (struct fixture *f, size_t len)
{
  CLEANUP_FREE uint8_t *bytes = calloc (1, len), *old = NULL;
  size_t old_len;

  assert_non_null (bytes);
  assert_int_equal (vhdx_edit_get_item (&f->e, locator_guid, &old, &old_len,
                                        NULL), 0);
  memcpy (bytes, old, old_len < len ? old_len : len);
  bytes[len - 1] = 0x77;
  assert_int_equal (vhdx_edit_put_item (&f->e, locator_guid, bytes, len, NULL),
                    0);
  /* Seen at once. */
  free (steal_ptr (&old));
  assert_int_equal (vhdx_edit_get_item (&f->e, locator_guid, &old, &old_len,
                                        NULL), 0);
  assert_int_equal (old_len, len);
  assert_memory_equal (old, bytes, len);
  assert_int_equal (vhdx_edit_commit (&f->e, NULL), 0);
  assert_int_equal (vhdx_edit_reload (&f->e, NULL), 0);
  assert_int_equal (f->e.layer->metadata.locator_len, len);
  assert_memory_equal (f->e.layer->metadata.locator, bytes, len);
}

static void
an_item_finds_room (void **state)
{
  struct fixture f;
  uint64_t size;

  (void) state;
  begin (&f);
  size = block_size (f.block);
  put_locator (&f, 5000);
  put_locator (&f, 250 * 1024);
  assert_int_equal (f.e.layer->regions.metadata.off, 2 * MIB);
  assert_int_equal (block_size (f.block), size);
  put_locator (&f, 300 * 1024);
  assert_int_equal (f.e.layer->regions.metadata.off, size);
  assert_int_equal (f.e.layer->regions.metadata.len, MIB);
  put_locator (&f, MIB);
  assert_int_equal (f.e.layer->regions.metadata.len, 2 * MIB);
  /* Two region tables, and the same in both. */
  assert_false (f.e.layer->regions.alone);
  end (&f);
}

/* An item in front of another one can't grow where it is. */
static void
items_do_not_overlap (void **state)
{
  struct fixture f;
  uint8_t bytes[24] = { 0 };

  (void) state;
  begin (&f);
  put_le64 (bytes, SIZE);
  assert_int_equal (vhdx_edit_put_item (&f.e, size_guid, bytes, sizeof bytes,
                                        NULL), 0);
  /* Its length is wrong, but it is where nothing else is. */
  assert_int_equal (vhdx_edit_read (&f.e, bytes, 8,
                                    2 * MIB + VHDX_ITEM_ID - 8, NULL), 0);
  assert_int_equal (get_le64 (bytes), SIZE);
  assert_int_equal (vhdx_edit_put_item (&f.e, size_guid, bytes, 8, NULL), 0);
  assert_int_equal (vhdx_edit_commit (&f.e, NULL), 0);
  assert_int_equal (vhdx_edit_reload (&f.e, NULL), 0);
  end (&f);
}

static void
too_much_at_once_is_refused (void **state)
{
  struct fixture f;
  static uint8_t bytes[127 * VHDX_PAGE], found[127 * VHDX_PAGE];

  (void) state;
  begin (&f);
  memset (bytes, 1, sizeof bytes);
  assert_int_equal (vhdx_edit_put (&f.e, bytes, sizeof bytes,
                                   f.e.bat.off + 64 * 1024, NULL), -E2BIG);
  assert_int_equal (vhdx_edit_nr_staged (&f.e), 0);
  assert_int_equal (vhdx_edit_put (&f.e, bytes, 126 * VHDX_PAGE,
                                   f.e.bat.off + 64 * 1024, NULL), 0);
  assert_int_equal (vhdx_edit_commit (&f.e, NULL), 0);
  assert_int_equal (vhdx_edit_settle (&f.e, NULL), 0);
  assert_int_equal (block_pread (f.block, found, 126 * VHDX_PAGE,
                                 f.e.bat.off + 64 * 1024, NULL), 0);
  assert_memory_equal (found, bytes, 126 * VHDX_PAGE);
  end (&f);
}

/* More commits than the log has room for. */
static void
many_commits_follow_each_other (void **state)
{
  struct fixture f;

  (void) state;
  begin (&f);
  for (unsigned i = 0; i < 600; ++i) {
    assert_int_equal (vhdx_edit_put_entry (&f.e, 5 + i, i * MIB, NULL), 0);
    assert_int_equal (vhdx_edit_commit (&f.e, NULL), 0);
  }
  assert_int_equal (vhdx_edit_settle (&f.e, NULL), 0);
  for (unsigned i = 0; i < 600; ++i) {
    uint8_t bytes[8];

    assert_int_equal (block_pread (f.block, bytes, 8, f.e.bat.off +
                                   (5 + i) * 8, NULL), 0);
    assert_int_equal (get_le64 (bytes), i * MIB);
  }
  end (&f);
}

static void
identities_change_when_they_should (void **state)
{
  struct vhdx_maker *m = make_child ();
  struct block *block = recorder_new (m->data, m->len);
  uint8_t before[32], after[32];
  struct vhdx_edit e;

  (void) state;
  memcpy (before, m->data + VHDX_AT_HEADER_2 + 16, 32);
  open_edit (block, &e);
  assert_int_equal (recorder_changes (block), 0);
  assert_int_equal (vhdx_edit_begin (&e, NULL), 0);
  for (int i = 0; i < 2; ++i) {
    assert_int_equal (block_pread (block, after, 32, (i ? VHDX_AT_HEADER_2
                                                      : VHDX_AT_HEADER_1) + 16,
                                   NULL), 0);
    assert_memory_not_equal (after, before, 16);
    assert_memory_equal (after + 16, before + 16, 16);
  }
  assert_int_equal (vhdx_edit_new_data (&e, NULL), 0);
  assert_int_equal (block_pread (block, after, 32, VHDX_AT_HEADER_1 + 16,
                                 NULL), 0);
  assert_memory_not_equal (after + 16, before + 16, 16);
  vhdx_edit_close (&e);
  block_unref (block);
  vhdx_maker_free (m);
}

/* A log that is there is replayed first, and counts before, too. */
static void
a_log_is_replayed_first (void **state)
{
  struct vhdx_maker *m = make_child ();
  uint8_t page[VHDX_PAGE] = { VHDX_ZERO }, found[8];
  struct vhdx_change change = { .off = 3 * MIB, .page = page };
  struct vhdx_log_entry entry = { .changes = &change, .nr_changes = 1 };
  struct block *block;
  struct vhdx_edit e;

  (void) state;
  vhdx_maker_log (m, &entry);
  block = recorder_new (m->data, m->len);
  open_edit (block, &e);
  assert_false (vhdx_edit_is_mended (&e));
  assert_int_equal (e.layer->bat.entries[0], VHDX_ZERO);
  assert_int_equal (recorder_changes (block), 0);
  assert_int_equal (vhdx_edit_begin (&e, NULL), 0);
  assert_true (vhdx_edit_is_mended (&e));
  assert_int_equal (block_pread (block, found, 8, 3 * MIB, NULL), 0);
  assert_int_equal (get_le64 (found), VHDX_ZERO);
  vhdx_edit_close (&e);
  block_unref (block);
  vhdx_maker_free (m);
}

static void
half_of_a_region_table_is_refused (void **state)
{
  struct vhdx_maker *m = make_child ();
  struct err err = ERR_INIT;
  struct block *block;
  struct vhdx_edit e;

  (void) state;
  m->data[VHDX_AT_REGIONS_2 + 4] ^= 1;
  block = recorder_new (m->data, m->len);
  assert_int_equal (vhdx_edit_open (block, &options, &e, NULL, &err), -EROFS);
  assert_non_null (strstr (err.msg, "region tables"));
  vhdx_edit_close (&e);
  block_unref (block);
  vhdx_maker_free (m);
}

static void
what_was_behind_the_end_is_zero (void **state)
{
  struct vhdx_maker *m = make_child ();
  uint8_t found[8], zeros[8] = { 0 };
  struct block *block;
  struct vhdx_edit e;
  uint64_t off;

  (void) state;
  m->data = realloc (m->data, m->len + MIB / 2);
  assert_non_null (m->data);
  memset (m->data + m->len, 0xEE, MIB / 2);
  block = recorder_new (m->data, m->len + MIB / 2);
  open_edit (block, &e);
  assert_false (vhdx_edit_is_cut (&e));
  assert_int_equal (vhdx_edit_begin (&e, NULL), 0);
  assert_int_equal (vhdx_edit_append (&e, 2 * MIB, &off, NULL), 0);
  assert_int_equal (off, m->len);
  assert_int_equal (block_size (block), off + 2 * MIB);
  assert_int_equal (block_pread (block, found, 8, off, NULL), 0);
  assert_memory_equal (found, zeros, 8);
  assert_int_equal (vhdx_edit_cut (&e, NULL), 0);
  assert_int_equal (block_size (block), m->len);
  vhdx_edit_close (&e);
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
    cmocka_unit_test (changes_are_made),
    cmocka_unit_test (an_item_finds_room),
    cmocka_unit_test (items_do_not_overlap),
    cmocka_unit_test (too_much_at_once_is_refused),
    cmocka_unit_test (many_commits_follow_each_other),
    cmocka_unit_test (identities_change_when_they_should),
    cmocka_unit_test (a_log_is_replayed_first),
    cmocka_unit_test (half_of_a_region_table_is_refused),
    cmocka_unit_test (what_was_behind_the_end_is_zero),
    cmocka_unit_test (a_fault_leaves_all_or_nothing),
    cmocka_unit_test (a_power_cut_leaves_all_or_nothing),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
