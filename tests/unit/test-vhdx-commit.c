/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a differencing VHDX has goes into its parent.  Whenever the power fails
 * meanwhile: the child opens over the parent, and its disk is what it was; and
 * the same again makes the parent that disk.
 *
 * Both files are in one history (history.h).  As the child looks for its
 * parent by name, the parent of each state that is tried is in a file, too.
 * NBDIMAGE_TEST_SEEDS is how often each kind of power cut is tried at each
 * moment (1 by default).  With NBDIMAGE_LONG set, it is tried with more images.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
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
#include "lib/format/check.h"
#include "lib/format/commit.h"
#include "lib/format/vhdx/vhdx-edit.h"
#include "tests/support/counted.h"
#include "tests/support/history.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB
#define SIZE (4 * MIB)

static char folder[] = "/tmp/nbdimage-test.XXXXXX";
static struct image_options options;

struct subject {
  const char *name;
  uint32_t sector;
  bool is_fixed;                /* the parent */
  bool has_base;                /* the parent has a parent */
};

static const struct subject subjects[] = {
  { "three levels", 512, false, true },
  { "a dynamic parent", 512, false, false },
  { "a fixed parent, sectors of 4096 bytes", 4096, true, false },
};

#define NR_SUBJECTS (sizeof subjects / sizeof subjects[0])

/*--- Images -----------------------------------------------------------------*/

static char *
path_of (const char *name)
{
  char *path;

  assert_true (asprintf (&path, "%s/%s", folder, name) > 0);
  return path;
}

static void
add_block (struct vhdx_maker *m, uint64_t block, uint8_t byte)
{
  static uint8_t data[MIB];

  memset (data, byte, sizeof data);
  vhdx_maker_add_block (m, block, data);
}

/* Some sectors of it only. */
static void
add_sectors (struct vhdx_maker *m, uint64_t block, uint8_t byte)
{
  static uint8_t data[MIB];
  uint64_t first = block * MIB / (m->spec.logical ? m->spec.logical : 512);

  memset (data, byte, sizeof data);
  vhdx_maker_add_partial (m, block, data);
  vhdx_maker_set_bits (m, first + 3, 14);
  vhdx_maker_set_bits (m, first + 100, 1);
}

static void
make_base (void)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = 5 });
  CLEANUP_FREE char *path = path_of ("base.vhdx");

  add_block (m, 0, 0x50);
  add_block (m, 1, 0x51);
  vhdx_maker_finish (m);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
}

static struct vhdx_maker *
make_parent (const struct subject *s)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = 7, .logical = s->sector, .is_fixed = s->is_fixed,
      .parent_id = s->has_base ? 5 : 0,
      .locators = { { s->has_base ? "relative_path" : NULL,
                      ".\\base.vhdx" } } });

  for (unsigned i = 0; s->is_fixed && i < SIZE / MIB; ++i)
    add_block (m, i, 0x70);
  if (s->has_base)
    add_sectors (m, 0, 0x71);
  else if (!s->is_fixed)
    add_block (m, 0, 0x72);
  vhdx_maker_finish (m);
  return m;
}

/* Sectors of one block, all of another, zeros for what the parent has. */
static struct vhdx_maker *
make_child (const struct subject *s)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = 8, .parent_id = 7, .logical = s->sector,
      .locators = { { "relative_path", ".\\parent.vhdx" } } });

  add_sectors (m, 0, 0x80);
  add_block (m, 2, 0x82);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 1), 0, VHDX_ZERO);
  vhdx_maker_finish (m);
  return m;
}

/* The file that children find. */
static void
save_parent (const void *bytes, size_t len)
{
  CLEANUP_FREE char *path = path_of ("parent.vhdx");
  CLEANUP_CLOSE int fd = -1;
  static const uint8_t zeros[4096];

  unlink (path);
  fd = open (path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  assert_true (fd >= 0);
  assert_int_equal (ftruncate (fd, (off_t) len), 0);
  for (size_t off = 0; off < len; off += 4096) {
    const uint8_t *p = (const uint8_t *) bytes + off;
    size_t n = len - off < 4096 ? len - off : 4096;

    if (memcmp (p, zeros, n) != 0)
      assert_int_equal (pwrite (fd, p, n, (off_t) off), n);
  }
}

static void
save_block (struct block *block)
{
  size_t len = block_size (block);
  CLEANUP_FREE uint8_t *bytes = malloc (len);

  assert_non_null (bytes);
  assert_int_equal (block_pread (block, bytes, len, 0, NULL), 0);
  save_parent (bytes, len);
}

static int
read_disk (struct block *block, uint8_t disk[SIZE], struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  int r = image_open_block (block, &options, &img, NULL, err);

  if (r == 0 && image_size (img) != SIZE)
    return err_set (err, -EBADMSG, "its size is another");
  return r < 0 ? r : image_pread (img, disk, SIZE, 0, err);
}

/*--- Committing -------------------------------------------------------------*/

static int
commit (struct block *child, struct block *parent, uint64_t *written,
        struct job *job, struct err *err)
{
  CLEANUP_OFFLINE struct offline *c = NULL, *p = NULL;
  CLEANUP_FREE char *path = path_of ("parent.vhdx");
  int r = offline_open_block (child, &options, &c, err);

  if (r == 0)
    r = offline_open_block (parent, &options, &p, err);
  return r < 0 ? r : image_commit_files (c, p, path, written, job, err);
}

static int
check_whole (struct block *block, struct err *err)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  int r = image_check_block (block, &options, 0, &check, err);

  for (size_t i = 0; r == 0 && i < check.findings.len; ++i)
    if (check.findings.ptr[i].severity > FINDING_REPAIRABLE)
      r = err_set (err, -EBADMSG, "check: %s", check.findings.ptr[i].sentence);
  return r;
}

/* The child's disk over the parent. */
static int
check_child (struct block *child, struct block *parent,
             const uint8_t want[SIZE], struct err *err)
{
  static uint8_t disk[SIZE];
  int r;

  save_block (parent);
  r = read_disk (child, disk, err);
  if (r == 0 && memcmp (disk, want, SIZE) != 0)
    r = err_set (err, -EBADMSG, "the child is another disk");
  return r;
}

/* That is what the parent is, and the child knows it by one identity. */
static int
check_done (struct block *child, struct block *parent,
            const uint8_t want[SIZE], struct err *err)
{
  static uint8_t disk[SIZE];
  struct vhdx_edit e;
  int r = check_child (child, parent, want, err);

  if (r == 0)
    r = read_disk (parent, disk, err);
  if (r == 0 && memcmp (disk, want, SIZE) != 0)
    r = err_set (err, -EBADMSG, "the parent is not the child's disk");
  if (r < 0)
    return r;
  r = vhdx_edit_open (child, &options, &e, NULL, err);
  if (r == 0 && e.layer->locator.nr_linkages != 1)
    r = err_set (err, -EBADMSG, "the child still expects a change");
  vhdx_edit_close (&e);
  return r;
}

/* The child as it was made is what it is all the time. */
static int
check_id (struct block *child, struct err *err)
{
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t id[UUID_SIZE], found[UUID_SIZE];
  int r = image_open_block (child, &options, &img, NULL, err);

  vhdx_maker_id (8, id);
  if (r == 0)
    r = image_identity (img, found, err);
  if (r == 0 && memcmp (id, found, UUID_SIZE) != 0)
    r = err_set (err, -EBADMSG, "the child has another identity");
  return r;
}

struct situation {
  const struct subject *subject;
  struct vhdx_maker *child, *parent;
  uint8_t disk[SIZE];           /* the child's */
};

static void
each_subject (void (*test) (const struct situation *s))
{
  static struct situation s;

  for (size_t i = 0; i < NR_SUBJECTS; ++i) {
    struct err err = ERR_INIT;
    struct block *child;

    s.subject = &subjects[i];
    s.child = make_child (s.subject);
    s.parent = make_parent (s.subject);
    save_parent (s.parent->data, s.parent->len);
    child = vhdx_maker_block (s.child);
    if (read_disk (child, s.disk, &err) < 0)
      fail_msg ("%s: %s", s.subject->name, err.msg);
    block_unref (child);
    test (&s);
    vhdx_maker_free (s.child);
    vhdx_maker_free (s.parent);
  }
}

/*--- Without trouble --------------------------------------------------------*/

static void
must (const struct situation *s, int r, const struct err *err)
{
  if (r < 0)
    fail_msg ("%s: %s", s->subject->name, err->msg);
}

static void
once (const struct situation *s)
{
  struct block *child = recorder_new (s->child->data, s->child->len);
  struct block *parent = recorder_new (s->parent->data, s->parent->len);
  struct err err = ERR_INIT;
  uint64_t written;

  must (s, commit (child, parent, &written, NULL, &err), &err);
  assert_true (written > MIB);
  must (s, check_done (child, parent, s->disk, &err), &err);
  must (s, check_id (child, &err), &err);
  must (s, check_whole (child, &err), &err);
  must (s, check_whole (parent, &err), &err);
  /* Again: nothing is written but what the child says. */
  recorder_fail (parent, 0, 0);
  must (s, commit (child, parent, &written, NULL, &err), &err);
  assert_int_equal (written, 0);
  must (s, check_done (child, parent, s->disk, &err), &err);
  block_unref (child);
  block_unref (parent);
}

static void
the_parent_is_what_the_child_was (void **state)
{
  (void) state;
  each_subject (once);
}

/*--- Power cuts -------------------------------------------------------------*/

struct tally {
  unsigned nr, bad;
  char first[256];
};

static int
try_state (const struct situation *s, struct block *child,
           struct block *parent, struct err *err)
{
  uint64_t written;
  int r = check_child (child, parent, s->disk, err);

  if (r == 0)
    r = check_id (child, err);
  if (r == 0)
    r = check_whole (child, err);
  if (r == 0)
    r = check_whole (parent, err);
  if (r < 0)
    return r;
  r = commit (child, parent, &written, NULL, err);
  if (r == 0)
    r = check_done (child, parent, s->disk, err);
  return r < 0 ? err_in (err, "again") : 0;
}

static unsigned
number_from (const char *name, unsigned usual)
{
  const char *value = getenv (name);

  return value ? (unsigned) strtoul (value, NULL, 10) : usual;
}

static void
try_moment (const struct situation *s, struct replay *replay, unsigned moment,
            struct tally *tally)
{
  unsigned seeds = number_from ("NBDIMAGE_TEST_SEEDS", 1);
  unsigned kinds = replay_nr_pending (replay) ? HISTORY_NR_CRASHES : 1;

  for (unsigned how = 0; how < kinds; ++how)
    for (unsigned seed = 0; seed < (how < 2 ? 1 : seeds); ++seed) {
      unsigned number = seed * 7919 + moment + share_seed ();
      struct block *child = replay_crash (replay, 0, how, number);
      struct block *parent = replay_crash (replay, 1, how, number);
      struct err err = ERR_INIT;

      tally->nr++;
      if (try_state (s, child, parent, &err) < 0 && tally->bad++ == 0)
        snprintf (tally->first, sizeof tally->first,
                  "%s, change %u, kind %u: %.180s", s->subject->name, moment,
                  how, err.msg);
      block_unref (child);
      block_unref (parent);
    }
}

static void
cut_power_at_each_moment (const struct situation *s, bool drop_flushes,
                          struct tally *tally)
{
  struct history *history = history_new ();
  struct block *child = history_file (history, "child.vhdx", s->child->data,
                                      s->child->len);
  struct block *parent = history_file (history, "parent.vhdx",
                                       s->parent->data, s->parent->len);
  struct err err = ERR_INIT;
  struct replay *replay;
  unsigned moment = 0;
  uint64_t written;

  history_drop_flushes (history, drop_flushes);
  must (s, commit (child, parent, &written, NULL, &err), &err);
  block_unref (child);
  block_unref (parent);
  replay = replay_new (history);
  do {
    if (drop_flushes || is_in_share (moment))
      try_moment (s, replay, moment, tally);
    moment++;
  } while (replay_step (replay) != NULL &&
           (!drop_flushes || tally->bad == 0));
  replay_free (replay);
  history_free (history);
}

static bool
is_for_long (const struct situation *s)
{
  return s->subject != &subjects[0] && !getenv ("NBDIMAGE_LONG");
}

static struct tally tally;

static void
cut_power (const struct situation *s)
{
  if (!is_for_long (s))
    cut_power_at_each_moment (s, false, &tally);
}

static void
a_power_cut_does_not_change_the_child (void **state)
{
  (void) state;
  memset (&tally, 0, sizeof tally);
  each_subject (cut_power);
  counted (tally.nr, "crash states", tally.bad, 0);
  if (tally.bad > 0)
    fail_msg ("%u bad; %s", tally.bad, tally.first);
  assert_true (tally.nr > share_of (200));
}

static void
cut_power_without_flushes (const struct situation *s)
{
  if (is_for_long (s))
    return;
  memset (&tally, 0, sizeof tally);
  cut_power_at_each_moment (s, true, &tally);
  print_message ("%s\n", tally.first);
  assert_true (tally.bad > 0);
}

static void
the_test_of_power_cuts_finds_damage (void **state)
{
  (void) state;
  each_subject (cut_power_without_flushes);
}

/*--- Faults -----------------------------------------------------------------*/

/* The n-th change of that file fails.  Returns whether there is one. */
static bool
fault (const struct situation *s, bool of_parent, unsigned nth)
{
  struct block *child = recorder_new (s->child->data, s->child->len);
  struct block *parent = recorder_new (s->parent->data, s->parent->len);
  struct block *faulty = of_parent ? parent : child;
  struct err err = ERR_INIT;
  uint64_t written;
  bool there;

  save_parent (s->parent->data, s->parent->len);
  recorder_fail (faulty, nth, 1);
  if (commit (child, parent, &written, NULL, NULL) == 0)
    must (s, check_done (child, parent, s->disk, &err), &err);
  there = recorder_changes (faulty) >= nth;
  recorder_fail (faulty, 0, 0);
  must (s, try_state (s, child, parent, &err), &err);
  block_unref (child);
  block_unref (parent);
  return there;
}

static void
fail_in_turn (const struct situation *s)
{
  unsigned n = 1;

  if (is_for_long (s))
    return;
  while (fault (s, false, n))
    n++;
  assert_true (n > 5);
  n = 1;
  while (fault (s, true, n))
    n++;
  assert_true (n > 5);
}

static void
a_fault_does_not_change_the_child (void **state)
{
  (void) state;
  each_subject (fail_in_turn);
}

static void
cancel (const struct situation *s)
{
  struct block *child = recorder_new (s->child->data, s->child->len);
  struct block *parent = recorder_new (s->parent->data, s->parent->len);
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  uint64_t written;

  job_cancel (&job);
  assert_int_equal (commit (child, parent, &written, &job, NULL), -ECANCELED);
  must (s, try_state (s, child, parent, &err), &err);
  block_unref (child);
  block_unref (parent);
}

static void
who_is_asked_to_end_leaves_it_whole (void **state)
{
  (void) state;
  each_subject (cancel);
}

/*--- What can't be ----------------------------------------------------------*/

static void
another_file_is_no_parent (void **state)
{
  struct vhdx_maker *child = make_child (&subjects[1]);
  struct vhdx_maker *parent = make_parent (&subjects[1]);
  struct vhdx_maker *other = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE, .id = 6 });
  struct block *c = recorder_new (child->data, child->len), *p;
  struct err err = ERR_INIT;
  uint64_t written;

  (void) state;
  vhdx_maker_finish (other);
  p = recorder_new (other->data, other->len);
  save_parent (parent->data, parent->len);
  assert_int_equal (commit (c, p, &written, NULL, &err), -EINVAL);
  assert_non_null (strstr (err.msg, "is another file by now"));
  assert_int_equal (recorder_changes (c), 0);
  assert_int_equal (recorder_changes (p), 0);
  block_unref (c);
  block_unref (p);
  vhdx_maker_free (child);
  vhdx_maker_free (parent);
  vhdx_maker_free (other);
}

/* The base's end would appear in a parent that grows over it, and below the
 * child: that is known before the child's file is changed.
 */
static void
a_parent_that_can_not_grow_is_refused_before_anything_changes (void **state)
{
  struct vhdx_maker *child = make_child (&subjects[0]);
  struct vhdx_maker *parent = vhdx_maker_new (&(struct vhdx_spec) {
      .size = SIZE - MIB, .id = 7, .parent_id = 5,
      .locators = { { "relative_path", ".\\base.vhdx" } } });
  CLEANUP_FREE char *path = path_of ("child.vhdx");
  struct block *c = recorder_new (child->data, child->len), *p;
  struct image_commit_plan plan;
  struct err err = ERR_INIT;
  uint64_t written;

  (void) state;
  vhdx_maker_finish (parent);
  p = recorder_new (parent->data, parent->len);
  save_parent (parent->data, parent->len);
  vhdx_maker_save (child, path);
  assert_int_equal (image_commit_plan (path, &options, &plan, NULL, &err),
                    -ENOTSUP);
  assert_non_null (strstr (err.msg, "the disk of its parent is larger"));
  image_commit_plan_free (&plan);
  assert_int_equal (commit (c, p, &written, NULL, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "the disk of its parent is larger"));
  assert_int_equal (recorder_changes (c), 0);
  assert_int_equal (recorder_changes (p), 0);
  unlink (path);
  block_unref (c);
  block_unref (p);
  vhdx_maker_free (child);
  vhdx_maker_free (parent);
}

static int
set_up (void **state)
{
  (void) state;
  assert_non_null (mkdtemp (folder));
  options.parent_path = folder;
  make_base ();
  return 0;
}

static int
clean_up (void **state)
{
  static const char *const names[] = { "base.vhdx", "parent.vhdx" };

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
    cmocka_unit_test (the_parent_is_what_the_child_was),
    cmocka_unit_test (another_file_is_no_parent),
    cmocka_unit_test (
      a_parent_that_can_not_grow_is_refused_before_anything_changes),
    cmocka_unit_test (who_is_asked_to_end_leaves_it_whole),
    cmocka_unit_test (a_fault_does_not_change_the_child),
    cmocka_unit_test (a_power_cut_does_not_change_the_child),
    cmocka_unit_test (the_test_of_power_cuts_finds_damage),
  };

  return cmocka_run_group_tests (tests, set_up, clean_up);
}
