/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The store that crash tests stand on: it must be as bad as it says, and not
 * worse.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store-faulty.h"
#include "tests/support/store-model.h"

static struct store_model *model;
static struct store *store;
static struct err err;

static void
make_folders (void)
{
  assert_int_equal (store_make_folder (store, "partial", &err), 0);
  assert_int_equal (store_make_folder (store, "broken", &err), 0);
  assert_int_equal (store_make_folder (store, "files", &err), 0);
  assert_int_equal (store_flush_folder (store, "", &err), 0);
}

static int
setup (void **state)
{
  (void) state;
  model = store_model_new (1);
  store = store_model_client (model, 0, true);
  make_folders ();
  return 0;
}

static int
teardown (void **state)
{
  (void) state;
  store_close (store);
  store_model_free (model);
  return 0;
}

static void
assert_names (const char *expected)
{
  char *names = store_model_names (model);

  assert_string_equal (names, expected);
  free (names);
}

/* The power is cut and comes again. */
static void
cut (unsigned state)
{
  store_model_cut (model, state);
  store_close (store);
  store = store_model_client (model, 0, true);
}

static bool
is_there (struct store *s, const char *name)
{
  struct store_stat st;

  return store_stat (s, name, &st, NULL) == 0;
}

static void
it_passes_the_trial (void **state)
{
  struct report report = REPORT_INIT;

  (void) state;
  assert_int_equal (store_try (store, &report, &err), 0);
  assert_int_equal (report.lines.len, 0);
  assert_names ("broken/\nfiles/\npartial/\n");
}

static void
what_a_folder_s_flush_does_not_keep_may_be_lost (void **state)
{
  unsigned first, last;

  (void) state;
  assert_int_equal (store_make_folder (store, "partial/a", &err), 0);
  assert_int_equal (store_flush_folder (store, "partial", &err), 0);
  store_model_states (model, &first, &last);
  assert_int_equal (first, last);
  assert_int_equal (store_rename (store, "partial/a", "files/a", &err), 0);
  /* Neither another folder nor a file keeps a rename. */
  assert_int_equal (store_flush_folder (store, "broken", &err), 0);
  assert_int_equal (store_put (store, "broken/x", "x", 1, &err), 0);
  store_model_states (model, &first, &last);
  assert_true (first < last);
  cut (first);
  assert_names ("broken/\nfiles/\npartial/\npartial/a/\n");

  assert_int_equal (store_rename (store, "partial/a", "files/a", &err), 0);
  assert_int_equal (store_flush_folder (store, "files", &err), 0);
  store_model_states (model, &first, &last);
  assert_int_equal (first, last);
  cut (first);
  assert_names ("broken/\nfiles/\nfiles/a/\npartial/\n");
}

static void
each_state_in_between_can_be_had_in_order (void **state)
{
  (void) state;
  for (unsigned n = 0; n <= 3; ++n) {
    unsigned first, last;

    store_model_states (model, &first, &last);
    assert_int_equal (store_make_folder (store, "files/1", &err), 0);
    assert_int_equal (store_make_folder (store, "files/2", &err), 0);
    assert_int_equal (store_rename (store, "files/1", "partial/3", &err), 0);
    cut (first + n);
    assert_int_equal (is_there (store, "files/1"), n == 1 || n == 2);
    assert_int_equal (is_there (store, "files/2"), n >= 2);
    assert_int_equal (is_there (store, "partial/3"), n == 3);
    store_delete_folder (store, "files/1", NULL);
    store_delete_folder (store, "files/2", NULL);
    store_delete_folder (store, "partial/3", NULL);
    assert_int_equal (store_flush_folder (store, "files", &err), 0);
    assert_int_equal (store_flush_folder (store, "partial", &err), 0);
  }
}

static void
bytes_that_were_not_flushed_may_be_lost_or_zeros (void **state)
{
  unsigned whole = 0, shorter = 0, zeros = 0;

  (void) state;
  for (unsigned i = 0; i < 200; ++i) {
    struct store_file *f;
    unsigned first, last;
    char *buf;
    size_t len;

    assert_int_equal (store_make (store, "files/a", &f, &err), 0);
    assert_int_equal (store_write (f, "kept", 4, &err), 0);
    assert_int_equal (store_flush (f, &err), 0);
    assert_int_equal (store_write (f, "lost", 4, &err), 0);
    assert_int_equal (store_end (f, &err), 0);
    store_model_states (model, &first, &last);
    cut (last);
    assert_int_equal (store_read_all (store, "files/a", 8, &buf, &len, &err),
                      0);
    assert_true (len >= 4);
    assert_memory_equal (buf, "kept", 4);
    whole += len == 8 && memcmp (buf, "keptlost", 8) == 0;
    shorter += len < 8;
    zeros += len > 4 && buf[len - 1] == 0;
    free (buf);
    assert_int_equal (store_delete (store, "files/a", &err), 0);
  }
  assert_true (whole > 5 && shorter > 5 && zeros > 5);
}

static void
who_was_there_before_a_power_cut_is_down (void **state)
{
  struct store *old = store_model_client (model, 0, true);
  struct store_file *f;
  struct store_stat st;

  (void) state;
  assert_int_equal (store_make (old, "files/a", &f, &err), 0);
  cut (3);
  assert_int_equal (store_write (f, "x", 1, &err), -EIO);
  assert_int_equal (store_end (f, &err), 0);
  assert_int_equal (store_stat (old, "files", &st, &err), -EIO);
  assert_int_equal (store_delete_folder (old, "files", &err), -EIO);
  assert_true (is_there (store, "files"));
  store_close (old);
}

static int
count (void *opaque, const struct store_entry *entry, struct err *e)
{
  (void) entry;
  (void) e;
  ++*(unsigned *) opaque;
  return 0;
}

static unsigned
shown (struct store *s)
{
  unsigned n = 0;

  assert_int_equal (store_list (s, "files", count, &n, &err), 0);
  return n;
}

static void
what_others_did_may_be_shown_late_but_not_too_late (void **state)
{
  struct store *late = store_model_client (model, 30, false);
  unsigned seen = 0, stats = 0;

  (void) state;
  store_model_advance (model, 100);
  assert_int_equal (store_make_folder (store, "files/a", &err), 0);
  store_model_advance (model, 1);
  assert_int_equal (store_make_folder (store, "files/b", &err), 0);
  for (int i = 0; i < 100; ++i) {
    seen |= 1U << shown (late);
    stats |= 1U << is_there (late, "files/a");
  }
  assert_int_equal (seen, 7);           /* none, one, both */
  assert_int_equal (stats, 3);
  assert_int_equal (shown (store), 2);

  assert_int_equal (store_wait (late, NULL, &err), 0);
  for (int i = 0; i < 100; ++i) {
    assert_int_equal (shown (late), 2);
    assert_true (is_there (late, "files/a"));
  }
  /* What it did itself is seen, with all before. */
  assert_int_equal (store_make_folder (store, "files/c", &err), 0);
  assert_int_equal (store_make_folder (late, "files/d", &err), 0);
  for (int i = 0; i < 100; ++i)
    assert_int_equal (shown (late), 4);
  /* A change does not depend on what was shown. */
  assert_int_equal (store_delete_folder (store, "files/d", &err), 0);
  assert_int_equal (store_rename (late, "files/d", "files/e", &err), -ENOENT);
  assert_int_equal (store_make_folder (late, "files/c", &err), -EEXIST);
  store_close (late);
}

static void
nothing_is_done_after_a_kill (void **state)
{
  struct store *faulty = store_faulty_new (store);
  struct store_fault fault = { STORE_FAULT_KILLED, STORE_OP_ALL, 2, -EIO };

  (void) state;
  store_faulty_set (faulty, &fault);
  assert_int_equal (store_make_folder (faulty, "files/1", &err), 0);
  assert_int_equal (store_make_folder (faulty, "files/2", &err), -EIO);
  assert_int_equal (store_delete_folder (faulty, "files/1", &err), -EIO);
  assert_int_equal (store_put (faulty, "files/3", "", 0, &err), -EIO);
  assert_names ("broken/\nfiles/\nfiles/1/\npartial/\n");
  store_close (faulty);
}

static void
times_are_the_store_s (void **state)
{
  int64_t start = store_model_time (model), now;
  struct store_stat st;

  (void) state;
  store_model_advance (model, 7);
  assert_int_equal (store_time (store, "files", &now, &err), 0);
  assert_int_equal (now, start + 7);
  assert_int_equal (store_stat (store, "files", &st, &err), 0);
  assert_int_equal (st.time, start + 7);
  store_model_set_time (model, "files", 5);
  assert_int_equal (store_stat (store, "files", &st, &err), 0);
  assert_int_equal (st.time, 5);
}

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (it_passes_the_trial),
    TEST (what_a_folder_s_flush_does_not_keep_may_be_lost),
    TEST (each_state_in_between_can_be_had_in_order),
    TEST (bytes_that_were_not_flushed_may_be_lost_or_zeros),
    TEST (who_was_there_before_a_power_cut_is_down),
    TEST (what_others_did_may_be_shown_late_but_not_too_late),
    TEST (nothing_is_done_after_a_kill),
    TEST (times_are_the_store_s),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
