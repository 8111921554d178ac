/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Each system call fails, each read is cut off, interrupted, or finds the end
 * of the file, and each allocation fails: while an image is opened, and in all
 * that is done with it.  What comes back is an error that says so or the right
 * answer, and the next try is as if nothing had been.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "tests/support/counted.h"
#include "tests/support/fault.h"

/* Of the test that runs. */
static enum fault_kind kind;

static bool
is_memory (void)
{
  return kind == FAULT_MEMORY || kind == FAULT_MEMORY_FROM;
}

static bool
may_fail (void)
{
  return kind != FAULT_PARTIAL && kind != FAULT_EINTR;
}

static struct image *
open_well (const char *path)
{
  struct image *img;
  struct err err = ERR_INIT;

  if (image_open (path, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s: %s", path, err.msg);
  return img;
}

static char *
run_well (const struct fault_op *op, struct image *img)
{
  struct err err = ERR_INIT;
  char *text = NULL;

  if (op->run (img, &text, NULL, &err) < 0)
    fail_msg ("%s: %s", op->name, err.msg);
  return text;
}

/* All that is wrong is said before the test fails for it. */
static unsigned nr_wrong, nr_cases;

static void __attribute__ ((__format__ (__printf__, 1, 2)))
wrong (const char *fmt, ...)
{
  va_list ap;

  if (++nr_wrong > 20)
    return;
  va_start (ap, fmt);
  vfprintf (stderr, fmt, ap);
  va_end (ap);
}

static void
check_failure (const char *where, unsigned n, int r, const struct err *err)
{
  int expected = is_memory () ? -ENOMEM : -EIO;

  if (!may_fail () || r != expected || err->code != r || err->msg[0] == '\0')
    wrong ("%s: call %u: error %d, ‘%s’\n", where, n, r, err->msg);
}

/* The right answer, or, where something can't be read, less of it and a
 * warning.
 */
static void
check_answer (const char *where, unsigned n, const char *text,
              const char *expected, const struct report *report,
              size_t nr_expected)
{
  if (strcmp (text, expected) == 0)
    return;
  if (!may_fail () || is_memory () || report->lines.len <= nr_expected)
    wrong ("%s: call %u: without a word, it is\n%sexpected\n%s", where, n,
           text, expected);
}

/*--- While it is opened -----------------------------------------------------*/

struct answers {
  char *texts[8];
  size_t nr_warnings;           /* of a good open */
};

static void
check_opened (const char *path, unsigned n, struct image *img,
              const struct answers *good, const struct report *report)
{
  for (size_t i = 0; fault_ops[i].name; ++i) {
    CLEANUP_FREE char *text = run_well (&fault_ops[i], img);

    check_answer (path, n, text, good->texts[i], report, good->nr_warnings);
  }
}

/* Returns false when n was beyond the last call. */
static bool
open_with_fault (const char *path, unsigned n, const struct answers *good)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  unsigned nr;
  int r;

  fault_arm (kind, n);
  r = image_open (path, NULL, &img, &report, &err);
  nr = fault_disarm ();
  if (r < 0) {
    assert_null (img);
    check_failure (path, n, r, &err);
  }
  else
    check_opened (path, n, img, good, &report);
  nr_cases += n <= nr;
  return n <= nr;
}

static void
try_to_open (const struct fault_subject *subject)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct answers good = { .nr_warnings = 0 };
  unsigned n = 1, fds;

  assert_int_equal (image_open (subject->path, NULL, &img, &report, NULL), 0);
  good.nr_warnings = report.lines.len;
  for (size_t i = 0; fault_ops[i].name; ++i)
    good.texts[i] = run_well (&fault_ops[i], img);
  fds = fault_nr_fds ();
  while (open_with_fault (subject->path, n, &good))
    n++;
  assert_true (n > 2);
  assert_int_equal (fault_nr_fds (), fds);
  for (size_t i = 0; fault_ops[i].name; ++i)
    free (good.texts[i]);
}

/*--- While it is used -------------------------------------------------------*/

static bool
use_with_fault (const char *path, const struct fault_op *op, unsigned n,
                const char *good, size_t nr_good)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = open_well (path);
  CLEANUP_FREE char *text = NULL, *again = NULL;
  struct err err = ERR_INIT;
  unsigned nr;
  int r;

  fault_arm (kind, n);
  r = op->run (img, &text, &report, &err);
  nr = fault_disarm ();
  if (r < 0)
    check_failure (path, n, r, &err);
  else
    check_answer (path, n, text, good, &report, nr_good);
  again = run_well (op, img);
  assert_string_equal (again, good);
  nr_cases += n <= nr;
  return n <= nr;
}

static void
try_to_use (const struct fault_subject *subject)
{
  unsigned fds = fault_nr_fds ();

  for (size_t i = 0; fault_ops[i].name; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = open_well (subject->path);
    CLEANUP_FREE char *good = NULL;

    assert_int_equal (fault_ops[i].run (img, &good, &report, NULL), 0);
    for (unsigned n = 1;
         use_with_fault (subject->path, &fault_ops[i], n, good,
                         report.lines.len);
         ++n)
      ;
  }
  assert_int_equal (fault_nr_fds (), fds);
}

/*--- The tests --------------------------------------------------------------*/

static const char *const formats[] = { "vhd", "vhdx", "iso", "part" };

static void
try_all (enum fault_kind k)
{
  kind = k;
  nr_wrong = nr_cases = 0;
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; ++i) {
    assert_true (fault_for_each (formats[i], try_to_open) >= 5);
    assert_true (fault_for_each (formats[i], try_to_use) >= 5);
  }
  counted (nr_cases, "faults", nr_wrong, 0);
  assert_int_equal (nr_wrong, 0);
}

static void
a_failed_call_is_an_error_once (void **state)
{
  (void) state;
  try_all (FAULT_EIO);
}

static void
calls_that_go_on_failing_are_an_error (void **state)
{
  (void) state;
  try_all (FAULT_EIO_FROM);
}

static void
a_file_that_became_shorter_is_an_error (void **state)
{
  (void) state;
  try_all (FAULT_EOF);
}

static void
a_read_of_half_is_continued (void **state)
{
  (void) state;
  try_all (FAULT_PARTIAL);
}

static void
an_interrupted_read_is_tried_again (void **state)
{
  (void) state;
  try_all (FAULT_EINTR);
}

static void
an_allocation_that_fails_loses_nothing (void **state)
{
  (void) state;
  try_all (FAULT_MEMORY);
}

static void
no_memory_at_all_is_an_error (void **state)
{
  (void) state;
  try_all (FAULT_MEMORY_FROM);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_failed_call_is_an_error_once),
    cmocka_unit_test (calls_that_go_on_failing_are_an_error),
    cmocka_unit_test (a_file_that_became_shorter_is_an_error),
    cmocka_unit_test (a_read_of_half_is_continued),
    cmocka_unit_test (an_interrupted_read_is_tried_again),
    cmocka_unit_test (an_allocation_that_fails_loses_nothing),
    cmocka_unit_test (no_memory_at_all_is_an_error),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
