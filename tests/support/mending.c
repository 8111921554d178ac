/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/format/undo.h"
#include "tests/support/mending.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"

#define NR_SEEDS 6

/* More changes than this are tried at some of them only. */
#define MAX_POINTS 40

unsigned mending_nr_crashes;

struct trial {
  const struct damage_file *image;
  const struct mending_options *o;
  struct image_options options;
  const char *what;
  char undo[2][256];            /* names of undo files */
};

static const char *
first_finding (const struct check *check)
{
  return check->findings.len > 0 ? check->findings.ptr[0].sentence : "nothing";
}

static void
must_be (const struct trial *t, bool ok, const char *problem,
         const char *more)
{
  if (!ok)
    fail_msg ("%s: %s: %s", t->what, problem, more);
}

static void
same_bytes (const struct trial *t, struct block *block,
            const struct damage_file *expected, const char *problem)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);

  if (len != expected->len)
    fail_msg ("%s: %s: %zu bytes, expected %zu", t->what, problem, len,
              expected->len);
  if (memcmp (data, expected->bytes, len) == 0)
    return;
  for (size_t i = 0; i < len; ++i)
    if (data[i] != expected->bytes[i])
      fail_msg ("%s: %s: byte %zu is %02x, expected %02x", t->what, problem, i,
                data[i], expected->bytes[i]);
}

static void
has_the_disk (const struct trial *t, struct block *block, const char *problem)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &t->options, &img, NULL, &err) < 0)
    fail_msg ("%s: %s: it does not open: %s", t->what, problem, err.msg);
  if (t->o->disk)
    damage_compare (img, t->o->disk, t->what);
}

/*--- One repair -------------------------------------------------------------*/

/* Returns what repair_apply does; 0 if there is nothing to do. */
static int
repair (const struct trial *t, struct block *block, const char *undo,
        enum mending *out, struct err *err)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check check = CHECK_INIT;
  int r = repair_plan_make (block, &t->options, t->o->flags, &check, &plan,
                            err);

  if (r == -ENOTSUP) {
    *out = MENDING_REFUSED;
    return 0;
  }
  must_be (t, r == 0, "planning", err->msg);
  *out = plan.refusal ? MENDING_REFUSED
    : plan.steps.len == 0 ? MENDING_NOTHING : MENDING_DONE;
  if (*out == MENDING_NOTHING)
    must_be (t, !check_has_mendable (&check), "can be mended and is not",
             first_finding (&check));
  return *out == MENDING_DONE ? repair_apply (block, &plan, undo, NULL, err)
                              : 0;
}

/* Nothing that could be mended is left, or damaged. */
static void
is_mended (const struct trial *t, struct block *block)
{
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct err err = ERR_INIT;

  must_be (t, image_check_block (block, &t->options, 0, &check, &err) == 0,
           "checking what was mended", err.msg);
  must_be (t, check_verdict (&check) == CHECK_WHOLE,
           "is not whole after it was mended", first_finding (&check));
  /* A recorder has no holes: what was punched looks like what was not. */
  must_be (t, t->o->leaks_stay || !check_has_mendable (&check),
           "something is left to be mended", first_finding (&check));
  has_the_disk (t, block, "after it was mended");
}

static void
revert (const struct trial *t, struct block *block, int which,
        const struct damage_file *expected)
{
  struct err err = ERR_INIT;

  must_be (t, undo_revert (block, t->undo[which], NULL, &err) == 0,
           "reverting", err.msg);
  same_bytes (t, block, expected, "after it was reverted");
}

/* The undo file belongs to this image only. */
static void
reverting_another_is_refused (const struct trial *t)
{
  CLEANUP_FREE uint8_t *other = malloc (t->image->len);
  CLEANUP_BLOCK struct block *block = NULL;
  struct err err = ERR_INIT;

  assert_non_null (other);
  for (size_t i = 0; i < t->image->len; ++i)
    other[i] = (uint8_t) ~t->image->bytes[i];
  block = recorder_new (other, t->image->len);
  must_be (t, undo_revert (block, t->undo[0], NULL, &err) == -ESTALE,
           "another image is reverted", err.msg);
  same_bytes (t, block, &(struct damage_file) { other, t->image->len },
              "after it was not reverted");
}

/*--- Crashes ----------------------------------------------------------------*/

/* This is what a crash left. */
static void
go_on (const struct trial *t, const uint8_t *bytes, size_t len)
{
  CLEANUP_BLOCK struct block *block = recorder_new (bytes, len);
  CLEANUP_BLOCK struct block *again = recorder_new (bytes, len);
  struct damage_file left = { (uint8_t *) bytes, len };
  struct err err = ERR_INIT;
  enum mending did;

  mending_nr_crashes++;
  if (t->o->opens_before)
    has_the_disk (t, block, "after a crash");
  must_be (t, repair (t, block, t->undo[1], &did, &err) == 0,
           "repairing after a crash", err.msg);
  must_be (t, did != MENDING_REFUSED, "after a crash", "it is refused");
  is_mended (t, block);
  if (did == MENDING_DONE) {
    revert (t, block, 1, &left);
    unlink (t->undo[1]);
  }
  revert (t, again, 0, t->image);
}

static void
crash_at (const struct trial *t, unsigned nth)
{
  CLEANUP_BLOCK struct block *block =
    recorder_new (t->image->bytes, t->image->len);
  struct err err = ERR_INIT;
  enum mending did;

  recorder_fail (block, nth, 1000000);
  must_be (t, repair (t, block, t->undo[0], &did, &err) < 0,
           "a failure", "was not told");
  for (unsigned seed = 0; seed < NR_SEEDS; ++seed) {
    size_t len;
    CLEANUP_FREE uint8_t *bytes = recorder_crash (block, seed, &len);

    go_on (t, bytes, len);
  }
  unlink (t->undo[0]);
}

/* A power cut while it is reverted, too: then it is reverted again. */
static void
crash_while_reverting (const struct trial *t, const struct damage_file *mended,
                       unsigned nth)
{
  CLEANUP_BLOCK struct block *block =
    recorder_new (mended->bytes, mended->len);

  recorder_fail (block, nth, 1000000);
  if (undo_revert (block, t->undo[0], NULL, NULL) == 0)
    return;
  for (unsigned seed = 0; seed < NR_SEEDS; ++seed) {
    size_t len;
    CLEANUP_FREE uint8_t *bytes = recorder_crash (block, seed, &len);
    CLEANUP_BLOCK struct block *again = recorder_new (bytes, len);

    mending_nr_crashes++;
    if (t->o->opens_before)
      has_the_disk (t, again, "after a crash while it was reverted");
    revert (t, again, 0, t->image);
  }
}

/*--- All of it --------------------------------------------------------------*/

static unsigned
stride (unsigned nr_changes)
{
  return (nr_changes / MAX_POINTS + 1) * share_number ();
}

/* Of so many changes the first that is tried: another one each time, where
 * not all of them are.
 */
static unsigned
first_of (unsigned nr_changes)
{
  static unsigned nr_calls;
  unsigned share = share_number ();

  return 1 + nr_calls++ % (nr_changes < share ? nr_changes : share);
}

enum mending
mending_try (const struct damage_file *image, const struct mending_options *o,
             const char *what)
{
  struct trial t = { .image = image, .o = o, .what = what };
  CLEANUP_BLOCK struct block *block = recorder_new (image->bytes, image->len);
  struct damage_file mended;
  struct err err = ERR_INIT;
  unsigned nr_changes;
  enum mending did;

  t.options.parent_path = o->parent_path;
  for (int i = 0; i < 2; ++i)
    snprintf (t.undo[i], sizeof t.undo[i], "%s/undo%d", damage_folder (), i);
  for (int i = 0; i < 2; ++i)   /* of a test that failed */
    unlink (t.undo[i]);
  must_be (&t, repair (&t, block, t.undo[0], &did, &err) == 0, "repairing",
           err.msg);
  nr_changes = recorder_changes (block);
  if (did != MENDING_DONE) {
    assert_int_equal (nr_changes, 0);
    return did;
  }
  is_mended (&t, block);
  mended.bytes = (uint8_t *) recorder_data (block, &mended.len);
  mended = damage_copy (mended.bytes, mended.len);
  revert (&t, block, 0, image);
  revert (&t, block, 0, image);
  reverting_another_is_refused (&t);
  for (unsigned n = first_of (2 * nr_changes + 4); n <= 2 * nr_changes + 4;
       n += stride (nr_changes))
    crash_while_reverting (&t, &mended, n);
  unlink (t.undo[0]);
  for (unsigned n = first_of (nr_changes); n <= nr_changes;
       n += stride (nr_changes))
    crash_at (&t, n);
  free (mended.bytes);
  return did;
}

char *
mending_kinds (const struct damage_file *image, const char *parent_path,
               enum finding_severity least)
{
  CLEANUP_BLOCK struct block *block = recorder_new (image->bytes, image->len);
  CLEANUP_CHECK struct check check = CHECK_INIT;
  struct image_options options = { .parent_path = parent_path };
  char *kinds = calloc (1, 1000);
  struct err err = ERR_INIT;

  assert_non_null (kinds);
  if (image_check_block (block, &options, 0, &check, &err) < 0)
    fail_msg ("checking: %s", err.msg);
  for (size_t i = 0; i < check.counts.len; ++i)
    if (check.counts.ptr[i].severity >= least) {
      strcat (kinds, kinds[0] ? " " : "");
      strcat (kinds, check.counts.ptr[i].kind);
    }
  return kinds;
}
