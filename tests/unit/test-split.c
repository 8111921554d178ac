/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pieces of a file read as the file; one that is missing or too short is
 * named.
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

#include "lib/block/block.h"
#include "lib/block/split.h"

static char dir[] = "/tmp/nbdimage-split.XXXXXX";
static char path[200];

static const char *
path_of (const char *leaf)
{
  snprintf (path, sizeof path, "%s/%s", dir, leaf);
  return path;
}

/* Byte i of the whole is i modulo 251. */
static void
write_piece (const char *leaf, uint64_t off, size_t len)
{
  FILE *fp = fopen (path_of (leaf), "w");

  assert_non_null (fp);
  for (size_t i = 0; i < len; ++i)
    fputc ((int) ((off + i) % 251), fp);
  assert_int_equal (fclose (fp), 0);
}

static int
remove_all (void **state)
{
  char command[300];

  (void) state;
  snprintf (command, sizeof command, "rm -f '%s'/*", dir);
  return system (command);
}

static int
open_first (struct block **out, struct err *err)
{
  return block_split_open (path_of ("x.gz.aa"), 0, out, NULL, err);
}

static void
pieces_read_as_one (void **state)
{
  struct block *b;
  uint8_t buf[257];

  (void) state;
  write_piece ("x.gz.aa", 0, 100);
  write_piece ("x.gz.ab", 100, 100);
  write_piece ("x.gz.ac", 200, 57);
  assert_true (block_split_is_first (path_of ("x.gz.aa")));
  assert_false (block_split_is_first (path_of ("x.gz.ab")));
  assert_int_equal (open_first (&b, NULL), 0);
  assert_int_equal (block_size (b), 257);
  assert_int_equal (block_split_nr (b), 3);
  assert_string_equal (block_name (b), path_of ("x.gz.aa"));
  assert_false (block_writable (b));
  for (size_t off = 0; off < 257; ++off)
    for (size_t len = 1; len <= 257 - off; len += 7) {
      assert_int_equal (block_pread (b, buf, len, off, NULL), 0);
      for (size_t i = 0; i < len; ++i)
        assert_int_equal (buf[i], (off + i) % 251);
    }
  assert_int_equal (block_cache (b, 257, 0, NULL), 0);
  block_unref (b);
}

/* As split -b goes on when all of two letters are used. */
static void
names_become_longer (void **state)
{
  struct block *b;
  char leaf[20];
  uint64_t n = 0;

  (void) state;
  for (char i = 'a'; i <= 'y'; ++i)
    for (char j = 'a'; j <= 'z'; ++j) {
      snprintf (leaf, sizeof leaf, "x.gz.%c%c", i, j);
      write_piece (leaf, 2 * n++, 2);
    }
  write_piece ("x.gz.zaaa", 2 * n++, 2);
  write_piece ("x.gz.zaab", 2 * n++, 2);
  assert_int_equal (open_first (&b, NULL), 0);
  assert_int_equal (block_split_nr (b), n);
  assert_int_equal (block_size (b), 2 * n);
  block_unref (b);
  unlink (path_of ("x.gz.zaaa"));
  assert_int_equal (open_first (&b, NULL), -EBADMSG);
}

/* Told how many letters, it uses all of them. */
static void
names_go_on_to_the_last (void **state)
{
  struct block *b;
  char leaf[20];
  uint64_t n = 0;

  (void) state;
  for (char i = 'a'; i <= 'z'; ++i)
    for (char j = 'a'; j <= 'z'; ++j) {
      snprintf (leaf, sizeof leaf, "x.gz.%c%c", i, j);
      write_piece (leaf, n++, 1);
    }
  assert_int_equal (open_first (&b, NULL), 0);
  assert_int_equal (block_size (b), 26 * 26);
  block_unref (b);
}

static void
refused (const char *says)
{
  struct err err = ERR_INIT;
  struct block *b;

  assert_int_equal (open_first (&b, &err), -EBADMSG);
  if (strstr (err.msg, says) == NULL)
    fail_msg ("%s", err.msg);
}

static void
a_missing_piece_is_refused (void **state)
{
  (void) state;
  write_piece ("x.gz.aa", 0, 10);
  write_piece ("x.gz.ac", 20, 10);
  assert_true (block_split_is_first (path_of ("x.gz.aa")));
  refused ("there is a piece ‘ac’, but none that follows ‘aa’");
}

static void
pieces_of_other_sizes_are_refused (void **state)
{
  (void) state;
  write_piece ("x.gz.aa", 0, 10);
  write_piece ("x.gz.ab", 10, 9);
  write_piece ("x.gz.ac", 20, 10);
  refused ("x.gz.ab has 9 bytes, expected 10");
  write_piece ("x.gz.ab", 10, 11);
  refused ("x.gz.ab has 11 bytes, expected 10");
  write_piece ("x.gz.ab", 10, 10);
  write_piece ("x.gz.ac", 20, 11);
  refused ("x.gz.ac has 11 bytes, expected up to 10");
  write_piece ("x.gz.ac", 20, 0);
  refused ("x.gz.ac is empty");
}

static void
other_files_are_no_pieces (void **state)
{
  (void) state;
  write_piece ("x.gz.aa", 0, 10);
  write_piece ("x.gz.abc", 0, 10);
  write_piece ("x.gz.xz", 0, 10);
  write_piece ("x.gz.a1", 0, 10);
  write_piece ("x.gz.zaaa", 0, 10);
  write_piece ("x.ab", 0, 10);
  write_piece ("xx.gz.ab", 0, 10);
  assert_false (block_split_is_first (path_of ("x.gz.aa")));
  assert_false (block_split_is_first (path_of ("x.gz")));
  assert_false (block_split_is_first ("x.gz.aa/y"));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown (pieces_read_as_one, remove_all),
    cmocka_unit_test_teardown (names_become_longer, remove_all),
    cmocka_unit_test_teardown (names_go_on_to_the_last, remove_all),
    cmocka_unit_test_teardown (a_missing_piece_is_refused, remove_all),
    cmocka_unit_test_teardown (pieces_of_other_sizes_are_refused,
                               remove_all),
    cmocka_unit_test_teardown (other_files_are_no_pieces, remove_all),
  };
  int r;

  if (mkdtemp (dir) == NULL)
    return 99;
  r = cmocka_run_group_tests (tests, NULL, NULL);
  rmdir (dir);
  return r;
}
