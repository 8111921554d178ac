/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The note beside a file that is being made: what was saved is found, and
 * what is torn or damaged is not taken for something else.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/fdio.h"
#include "lib/copy/state.h"

#define NAME ".disk.partial.state"
#define HOW "how it is made\n"
#define SOURCE "of what\nit is made\n"

static char folder_name[64], path[128];
static int folder;

static int
setup (void **state)
{
  (void) state;
  strcpy (folder_name, "state.XXXXXX");
  if (mkdtemp (folder_name) == NULL)
    return -1;
  snprintf (path, sizeof path, "%s/" NAME, folder_name);
  folder = open (folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return folder < 0 ? -1 : 0;
}

static int
teardown (void **state)
{
  (void) state;
  unlink (path);
  close (folder);
  return rmdir (folder_name);
}

static struct copy_state *
open_state (void)
{
  struct copy_state *s;

  assert_int_equal (copy_state_open (folder, NAME, &s, NULL), 0);
  return s;
}

static void
expect_found (struct copy_state *s, uint64_t done)
{
  assert_true (copy_state_found (s));
  assert_string_equal (copy_state_how (s), HOW);
  assert_string_equal (copy_state_source (s), SOURCE);
  assert_int_equal (copy_state_done (s), done);
}

/* As after two notes, and closed. */
static void
make_state (uint64_t first, uint64_t second)
{
  struct copy_state *s = open_state ();

  assert_int_equal (copy_state_clear (s, NULL), 0);
  assert_int_equal (copy_state_begin (s, HOW, SOURCE, NULL), 0);
  assert_int_equal (copy_state_save (s, first, NULL), 0);
  assert_int_equal (copy_state_save (s, second, NULL), 0);
  copy_state_close (s);
}

static size_t
read_file (uint8_t *buf, size_t size)
{
  int fd = open (path, O_RDONLY);
  ssize_t n = read (fd, buf, size);

  assert_true (n > 0);
  close (fd);
  return (size_t) n;
}

static void
write_file (const uint8_t *buf, size_t len)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  assert_int_equal (write (fd, buf, len), len);
  close (fd);
}

static void
what_was_saved_is_found (void **state)
{
  struct copy_state *s = open_state ();

  (void) state;
  assert_false (copy_state_found (s));
  assert_int_equal (copy_state_begin (s, HOW, SOURCE, NULL), 0);
  expect_found (s, 0);
  copy_state_close (s);
  s = open_state ();
  expect_found (s, 0);
  for (uint64_t i = 1; i < 10; ++i) {
    assert_int_equal (copy_state_save (s, i << 40, NULL), 0);
    expect_found (s, i << 40);
    copy_state_close (s);
    s = open_state ();
    expect_found (s, i << 40);
  }
  /* A shorter text takes the place of a longer one. */
  assert_int_equal (copy_state_clear (s, NULL), 0);
  assert_false (copy_state_found (s));
  assert_int_equal (copy_state_begin (s, "", "x", NULL), 0);
  copy_state_close (s);
  s = open_state ();
  assert_string_equal (copy_state_how (s), "");
  assert_string_equal (copy_state_source (s), "x");
  assert_int_equal (copy_state_done (s), 0);
  copy_state_remove (s);
  copy_state_close (s);
  assert_int_equal (access (path, F_OK), -1);
}

static void
one_that_is_empty_goes_away (void **state)
{
  struct copy_state *s = open_state ();

  (void) state;
  copy_state_close (s);
  assert_int_equal (access (path, F_OK), -1);
  make_state (1, 2);
  s = open_state ();
  assert_int_equal (copy_state_clear (s, NULL), 0);
  copy_state_close (s);
  assert_int_equal (access (path, F_OK), -1);
  copy_state_close (NULL);
}

static void
who_has_it_has_it_alone (void **state)
{
  struct copy_state *s = open_state (), *other;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (copy_state_open (folder, NAME, &other, &err), -EBUSY);
  assert_string_equal (err.msg, "another process is making this file");
  assert_int_equal (copy_state_begin (s, HOW, SOURCE, NULL), 0);
  assert_int_equal (copy_state_open (folder, NAME, &other, &err), -EBUSY);
  copy_state_remove (s);
  other = open_state ();        /* another file */
  assert_false (copy_state_found (other));
  copy_state_close (s);
  copy_state_close (other);
  assert_int_equal (access (path, F_OK), -1);
}

static void
what_is_no_file_is_refused (void **state)
{
  struct copy_state *s;

  (void) state;
  assert_int_equal (symlink ("elsewhere", path), 0);
  assert_int_equal (copy_state_open (folder, NAME, &s, NULL), -ELOOP);
  unlink (path);
  assert_int_equal (mkdir (path, 0700), 0);
  assert_int_equal (copy_state_open (folder, NAME, &s, NULL), -EISDIR);
  assert_int_equal (rmdir (path), 0);
}

static void
long_texts_are_refused (void **state)
{
  static char text[1024 * 1024 + 1];
  struct copy_state *s = open_state ();

  (void) state;
  memset (text, 'x', sizeof text - 1);
  assert_int_equal (copy_state_begin (s, "", text, NULL), -E2BIG);
  assert_int_equal (copy_state_begin (s, text, "", NULL), -E2BIG);
  text[1024 * 1024 - 2] = '\0';
  assert_int_equal (copy_state_begin (s, "", text, NULL), 0);
  copy_state_close (s);
  s = open_state ();
  assert_string_equal (copy_state_source (s), text);
  copy_state_close (s);
}

/* Any byte that matters: the note before it, or none. */
static void
no_bit_can_change (void **state)
{
  uint8_t good[10000];
  size_t len, nr_none = 0, nr_older = 0;

  (void) state;
  make_state (111, 222);
  len = read_file (good, sizeof good);
  for (size_t i = 0; i < len; ++i) {
    struct copy_state *s;

    if ((i >= 32 && i < 4096) || (i >= 4096 + 32 && i < 8192))
      continue;
    good[i] ^= 1 << i % 8;
    write_file (good, len);
    good[i] ^= 1 << i % 8;
    s = open_state ();
    if (!copy_state_found (s))
      nr_none++;
    else if (copy_state_done (s) == 111) {
      expect_found (s, 111);
      nr_older++;
    }
    else
      expect_found (s, 222);
    copy_state_close (s);
  }
  assert_int_equal (nr_older, 32);
  assert_int_equal (nr_none, len - 8192);
}

static void
no_part_can_be_cut_off (void **state)
{
  uint8_t good[10000];
  size_t len;

  (void) state;
  make_state (111, 222);
  len = read_file (good, sizeof good);
  for (size_t n = len < 9000 ? len - 1 : 8999; n > 0; n -= n > 8192 ? 1 : 97) {
    struct copy_state *s;

    write_file (good, n);
    s = open_state ();
    assert_false (copy_state_found (s));
    copy_state_close (s);
    if (n < 100)
      break;
  }
}

/* The power fails while a note is written: each half of its sector is old or
 * new.
 */
static void
a_torn_note_is_the_one_before (void **state)
{
  uint8_t before[10000], after[10000];
  size_t len;
  struct copy_state *s;

  (void) state;
  make_state (111, 222);
  len = read_file (before, sizeof before);
  s = open_state ();
  assert_int_equal (copy_state_save (s, 333, NULL), 0);
  copy_state_close (s);
  assert_int_equal (read_file (after, sizeof after), len);
  for (size_t torn = 0; torn <= len; ++torn) {
    uint8_t mixed[10000];

    if (torn > 4200 && torn < len)
      continue;
    memcpy (mixed, after, torn);
    memcpy (mixed + torn, before + torn, len - torn);
    write_file (mixed, len);
    s = open_state ();
    expect_found (s, memcmp (mixed, after, len) == 0 ? 333 : 222);
    copy_state_close (s);
  }
}

/* The numbers of another copy do not count, though their slots are whole. */
static void
slots_belong_to_their_texts (void **state)
{
  uint8_t old[10000], new[10000];
  struct copy_state *s;
  size_t len;

  (void) state;
  make_state (111, 222);
  read_file (old, sizeof old);
  s = open_state ();
  assert_int_equal (copy_state_clear (s, NULL), 0);
  assert_int_equal (copy_state_begin (s, HOW, "something else\n", NULL), 0);
  copy_state_close (s);
  len = read_file (new, sizeof new);
  memcpy (new, old, 4096);
  write_file (new, len);
  s = open_state ();
  assert_true (copy_state_found (s));
  assert_int_equal (copy_state_done (s), 0);
  copy_state_close (s);
  memcpy (new, old, 8192);
  write_file (new, len);
  s = open_state ();
  assert_false (copy_state_found (s));
  copy_state_close (s);
}

#define T(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    T (what_was_saved_is_found),
    T (one_that_is_empty_goes_away),
    T (who_has_it_has_it_alone),
    T (what_is_no_file_is_refused),
    T (long_texts_are_refused),
    T (no_bit_can_change),
    T (no_part_can_be_cut_off),
    T (a_torn_note_is_the_one_before),
    T (slots_belong_to_their_texts),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
