/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A differencing VHDX gets another parent: it has the old one or the new one,
 * whatever goes wrong meanwhile.  NBDIMAGE_TEST_SEEDS is how often each kind
 * of power cut is tried at each moment (1 by default).  With NBDIMAGE_LONG
 * set, it is tried with more of them.
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
#include "lib/format/rebase.h"
#include "lib/format/vhdx/vhdx-edit.h"
#include "tests/support/change.h"
#include "tests/support/counted.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB
#define SIZE (4 * MIB)

#define LONG_NAME \
  "a-name-of-a-hundred-and-forty-letters-a-name-of-a-hundred-and-forty-" \
  "letters-a-name-of-a-hundred-and-forty-letters-a-name-of-a-hundred-an.vhdx"

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

static void
save (struct vhdx_maker *m, const char *name)
{
  CLEANUP_FREE char *path = path_of (name);

  vhdx_maker_finish (m);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
}

/* A block of this byte, but for a piece that is the same in all. */
static void
add_block (struct vhdx_maker *m, uint64_t block, uint8_t byte)
{
  static uint8_t data[MIB];

  memset (data, byte, sizeof data);
  memset (data + 512 * 1024, 0x33, 64 * 1024);
  vhdx_maker_add_block (m, block, data);
}

/* Their blocks 0 and 1 differ, and one of them has no block 2. */
static void
make_parent (const char *name, unsigned id, uint32_t sector, uint8_t byte)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = id, .logical = sector });

  add_block (m, 0, byte);
  add_block (m, 1, byte);
  if (id == 7)
    add_block (m, 2, byte);
  save (m, name);
}

/* Some sectors of block 0, in pieces that are not of 4 KiB. */
static void
add_sectors (struct vhdx_maker *m, uint8_t byte)
{
  static uint8_t data[MIB];

  memset (data, byte, sizeof data);
  vhdx_maker_add_partial (m, 0, data);
  vhdx_maker_set_bits (m, 3, 14);
  vhdx_maker_set_bits (m, 100, 1);
}

/* Where no parent has anything. */
static void
add_first_sectors (struct vhdx_maker *m, uint64_t block, uint8_t byte)
{
  static uint8_t data[MIB];
  uint32_t sector = m->spec.logical ? m->spec.logical : 512;

  memset (data, byte, sizeof data);
  vhdx_maker_add_partial (m, block, data);
  vhdx_maker_set_bits (m, block * MIB / sector, 8);
}

static void
make_middle (void)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = 6, .parent_id = 7,
      .locators = { { "relative_path", ".\\parent.vhdx" } } });

  add_sectors (m, 0x66);
  save (m, "middle.vhdx");
}

struct subject {
  const char *name;
  const char *old;
  unsigned old_id;
  uint32_t sector;
  const char *new;              /* NULL: none */
  bool is_safe;
  bool always;                  /* tried even if there is little time */
};

static struct vhdx_maker *
make_child (const char *parent, unsigned parent_id, uint32_t sector)
{
  CLEANUP_FREE char *relative = NULL;
  struct vhdx_spec spec = { .size = SIZE, .id = 8, .parent_id = parent_id,
                            .logical = sector };
  struct vhdx_maker *m;

  assert_true (asprintf (&relative, ".\\%s", parent) > 0);
  spec.locators[0] = (struct vhdx_spec_locator) { "relative_path", relative };
  spec.locators[1] = (struct vhdx_spec_locator) { "volume_path", "\\\\?\\x" };
  m = vhdx_maker_new (&spec);
  add_sectors (m, 0xCC);
  add_first_sectors (m, 3, 0xCC);
  vhdx_maker_finish (m);
  return m;
}

static void
read_disk (struct vhdx_maker *m, uint8_t disk[SIZE])
{
  struct block *block = vhdx_maker_block (m);
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &options, &img, NULL, &err) < 0 ||
      image_pread (img, disk, SIZE, 0, &err) < 0)
    fail_msg ("%s", err.msg);
  block_unref (block);
}

/*--- Rebasing ---------------------------------------------------------------*/

struct wish {
  const struct subject *subject;
  uint8_t old[SIZE], new[SIZE];
};

static int
rebase (struct block *block, const struct image_rebase_options *wish,
        struct image_rebase_plan *plan, struct job *job, struct err *err)
{
  CLEANUP_OFFLINE struct offline *offline = NULL;
  int r = offline_open_block (block, &options, &offline, err);

  memset (plan, 0, sizeof *plan);
  if (r == 0)
    r = image_rebase_plan (offline, wish, plan, NULL, NULL, err);
  if (r == 0 && !plan->is_done)
    r = image_rebase (offline, plan, job, err);
  image_rebase_plan_free (plan);
  return r;
}

static int
run (const struct change *c, struct block *block, struct job *job,
     struct err *err)
{
  const struct subject *s = ((const struct wish *) c->opaque)->subject;
  CLEANUP_FREE char *path = s->new ? path_of (s->new) : NULL;
  const struct image_rebase_options wish = {
    .parent = path, .is_unsafe = !s->is_safe, .force = !s->is_safe,
    .no_parent = path == NULL,
  };
  struct image_rebase_plan plan;

  return rebase (block, &wish, &plan, job, err);
}

/* All new parents have the same identity. */
static int
check_parent (const struct vhdx_edit *e, struct err *err)
{
  const struct vhdx_locator *l = &e->layer->locator;
  uint8_t id[UUID_SIZE];

  vhdx_maker_id (9, id);
  if (l->nr_linkages != 1 || memcmp (l->linkage[0], id, UUID_SIZE) != 0)
    return err_set (err, -EBADMSG, "its parent is another");
  return 0;
}

/* Not even a locator or bitmaps are left. */
static int
check_alone (struct vhdx_edit *e, struct err *err)
{
  static const uint8_t locator[UUID_SIZE] = VHDX_GUID_LOCATOR;
  CLEANUP_FREE uint8_t *item = NULL;
  uint64_t entry = 0;
  size_t len;
  int r = vhdx_edit_get_item (e, locator, &item, &len, NULL);

  if (e->layer->metadata.has_parent || r != -ENOENT)
    return err_set (err, -EBADMSG, "it has a parent");
  r = vhdx_edit_read (e, &entry, sizeof entry, e->bat.off +
                      e->layer->bat.chunk_ratio * sizeof entry, err);
  if (r == 0 && entry != 0)
    r = err_set (err, -EBADMSG, "it has a bitmap");
  return r;
}

/* The identity of the child's own data stays if its disk does, and is not the
 * old one with another disk.
 */
static int
check_ids (const struct subject *s, struct block *block, bool done, bool new,
           struct err *err)
{
  uint8_t id[UUID_SIZE];
  struct vhdx_edit e;
  int r = vhdx_edit_open (block, &options, &e, NULL, err);
  bool is_kept;

  if (r == 0 && done)
    r = s->new ? check_parent (&e, err) : check_alone (&e, err);
  vhdx_maker_id (8, id);
  if (r == 0) {
    is_kept = memcmp (e.layer->header.data_write_guid, id, UUID_SIZE) == 0;
    if (is_kept ? new : s->is_safe)
      r = err_set (err, -EBADMSG, "its own identity is wrong");
  }
  vhdx_edit_close (&e);
  return r;
}

static int
check (const struct change *c, struct block *block, bool done,
       struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  const struct wish *w = c->opaque;
  static uint8_t disk[SIZE];
  bool is_old, is_new;
  int r = image_open_block (block, &options, &img, NULL, err);

  if (r == 0 && image_size (img) != SIZE)
    return err_set (err, -EBADMSG, "its size is another");
  if (r == 0)
    r = image_pread (img, disk, sizeof disk, 0, err);
  if (r < 0)
    return r;
  is_old = memcmp (disk, w->old, SIZE) == 0;
  is_new = memcmp (disk, w->new, SIZE) == 0;
  if (!is_new && (done || !is_old))
    return err_set (err, -EBADMSG, "it is another disk");
  return check_ids (w->subject, block, done, !is_old, err);
}

/* Unsafely, to a name that gets longer; and safely, so that the disk stays
 * what it is; and alone.
 */
static const struct subject subjects[] = {
  { "unsafely", "parent.vhdx", 7, 512, LONG_NAME, false, true },
  { "safely", "parent.vhdx", 7, 512, "other.vhdx", true, false },
  { "4096 bytes", "parent4.vhdx", 7, 4096, "other4.vhdx", true, false },
  { "a level less", "middle.vhdx", 6, 512, "other.vhdx", true, false },
  { "none", "parent.vhdx", 7, 512, NULL, true, true },
  { "none of 4096 bytes", "parent4.vhdx", 7, 4096, NULL, true, false },
  { "none of two", "middle.vhdx", 6, 512, NULL, true, false },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

static void
each_subject (void (*test) (const struct change *c))
{
  static struct wish w;

  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    const struct subject *s = &subjects[i];
    struct vhdx_maker *m = make_child (s->old, s->old_id, s->sector);
    const struct change c = {
      .name = s->name, .options = &options, .data = m->data, .len = m->len,
      .leaks_nothing = s->new != NULL, .opaque = &w, .run = run, .check = check,
    };

    w.subject = s;
    read_disk (m, w.old);
    memcpy (w.new, w.old, SIZE);
    if (!s->is_safe) {
      struct vhdx_maker *other = make_child (s->new, 9, s->sector);

      read_disk (other, w.new);
      vhdx_maker_free (other);
    }
    test (&c);
    vhdx_maker_free (m);
  }
}

/* They take long: as long as nobody has more time, two do for all. */
static bool
is_for_long (const struct change *c)
{
  const struct wish *w = c->opaque;

  return !w->subject->always && !getenv ("NBDIMAGE_LONG");
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
  char first[256];

  if (is_for_long (c))
    return;
  if (change_power_cuts (c, number_from ("NBDIMAGE_TEST_SEEDS", 1), false,
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
  assert_true (nr_states > share_of (300));
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
  if (!is_for_long (c))
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

static void
refused (struct vhdx_maker *m, const char *parent, bool is_unsafe, int code,
         const char *what)
{
  CLEANUP_FREE char *path = path_of (parent);
  const struct image_rebase_options wish = { .parent = path,
                                             .is_unsafe = is_unsafe };
  struct block *block = recorder_new (m->data, m->len);
  struct image_rebase_plan plan;
  struct err err = ERR_INIT;
  int r;

  recorder_fail (block, 1, 1);
  r = rebase (block, &wish, &plan, NULL, &err);
  if (r != code || strstr (err.msg, what) == NULL)
    fail_msg ("%d, “%s” is not %d, “%s”", r, err.msg, code, what);
  assert_int_equal (recorder_changes (block), 0);
  block_unref (block);
}

static void
what_can_not_be_is_refused (void **state)
{
  struct vhdx_maker *dynamic = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE });
  struct vhdx_maker *child = make_child ("parent.vhdx", 7, 512);

  (void) state;
  vhdx_maker_finish (dynamic);
  refused (child, "other.vhdx", true, -EINVAL, "its unique id is another");
  refused (dynamic, "other.vhdx", true, -EINVAL, "is not differencing");
  refused (dynamic, "other.vhdx", false, -EINVAL, "is not differencing");
  refused (child, "none.vhdx", true, -ENOENT, "none.vhdx");
  refused (child, "other4.vhdx", false, -EINVAL, "sectors of 4096 bytes");
  refused (child, "raw.img", false, -EINVAL, "is a raw image");
  vhdx_maker_free (dynamic);
  vhdx_maker_free (child);
}

static const char *const names[] = {
  "parent.vhdx", "other.vhdx", LONG_NAME, "parent4.vhdx", "other4.vhdx",
  "middle.vhdx", "raw.img",
};

static int
set_up (void **state)
{
  CLEANUP_FREE char *raw = NULL;
  FILE *file;

  (void) state;
  assert_non_null (mkdtemp (folder));
  raw = path_of ("raw.img");
  options.parent_path = folder;
  make_parent ("parent.vhdx", 7, 512, 0x5A);
  make_parent ("other.vhdx", 9, 512, 0xA5);
  make_parent (LONG_NAME, 9, 512, 0xA5);
  make_parent ("parent4.vhdx", 7, 4096, 0x5A);
  make_parent ("other4.vhdx", 9, 4096, 0xA5);
  make_middle ();
  file = fopen (raw, "w");
  assert_non_null (file);
  assert_int_equal (ftruncate (fileno (file), SIZE), 0);
  return fclose (file);
}

static int
clean_up (void **state)
{
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
    cmocka_unit_test (what_can_not_be_is_refused),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_leaves_the_old_parent_or_the_new),
    cmocka_unit_test (a_power_cut_leaves_the_old_parent_or_the_new),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
