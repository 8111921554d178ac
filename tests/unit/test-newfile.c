/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A new file is there as a whole or not at all, and replaces nothing; with
 * files that have no name until then, and on file systems without them.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/fdio.h"
#include "lib/base/newfile.h"

/* What the file system can't do. */
static bool no_tmpfile, no_noreplace;

int __real_openat (int fd, const char *path, int flags, ...);
int __wrap_openat (int fd, const char *path, int flags, mode_t mode);
int __wrap_renameat2 (int a, const char *from, int b, const char *to,
                      unsigned flags);
int __real_renameat2 (int a, const char *from, int b, const char *to,
                      unsigned flags);

int
__wrap_openat (int fd, const char *path, int flags, mode_t mode)
{
  if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return __real_openat (fd, path, flags, mode);
}

int
__wrap_renameat2 (int a, const char *from, int b, const char *to,
                  unsigned flags)
{
  if (no_noreplace) {
    errno = EINVAL;
    return -1;
  }
  return __real_renameat2 (a, from, b, to, flags);
}

static char folder[64], path[128];

static int
setup (void **state)
{
  (void) state;
  strcpy (folder, "newfile.XXXXXX");
  if (mkdtemp (folder) == NULL)
    return -1;
  snprintf (path, sizeof path, "%s/disk", folder);
  return 0;
}

static int
teardown (void **state)
{
  (void) state;
  unlink (path);
  return rmdir (folder);
}

static unsigned
count_files (void)
{
  DIR *dir = opendir (folder);
  unsigned n = 0;

  assert_non_null (dir);
  while (readdir (dir) != NULL)
    n++;
  closedir (dir);
  return n - 2;                 /* "." and ".." */
}

static void
write_something (struct new_file *f)
{
  assert_int_equal (fd_pwrite (f->fd, "hello", 5, 0, NULL), 0);
}

static void
check_contents (const char *expected)
{
  char buf[16] = "";
  FILE *fp = fopen (path, "r");

  assert_non_null (fp);
  assert_non_null (fgets (buf, sizeof buf, fp));
  fclose (fp);
  assert_string_equal (buf, expected);
}

static void
for_each_file_system (void (*test) (void))
{
  for (int i = 0; i < 3; ++i) {
    no_tmpfile = i > 0;
    no_noreplace = i > 1;
    test ();
    unlink (path);
    assert_int_equal (count_files (), 0);
  }
  no_tmpfile = no_noreplace = false;
}

static void
commit (void)
{
  struct new_file f = NEW_FILE_INIT;

  assert_int_equal (new_file_open (path, &f, NULL), 0);
  write_something (&f);
  assert_int_equal (access (path, F_OK), -1);
  assert_int_equal (new_file_commit (&f, NULL), 0);
  check_contents ("hello");
  assert_int_equal (count_files (), 1);
  new_file_close (&f);
  check_contents ("hello");
}

static void
it_has_its_name_after_the_commit (void **state)
{
  (void) state;
  for_each_file_system (commit);
}

static void
give_up (void)
{
  struct new_file f = NEW_FILE_INIT;

  assert_int_equal (new_file_open (path, &f, NULL), 0);
  write_something (&f);
  new_file_close (&f);
  assert_int_equal (count_files (), 0);
}

static void
without_a_commit_nothing_is_left (void **state)
{
  (void) state;
  for_each_file_system (give_up);
}

static void
make_other (void)
{
  FILE *fp = fopen (path, "w");

  assert_non_null (fp);
  fputs ("other", fp);
  assert_int_equal (fclose (fp), 0);
}

static void
refuse_before (void)
{
  struct new_file f = NEW_FILE_INIT;
  struct err err = ERR_INIT;

  make_other ();
  assert_int_equal (new_file_open (path, &f, &err), -EEXIST);
  assert_string_equal (err.msg, "exists already; it is not replaced");
  new_file_close (&f);
  check_contents ("other");
}

static void
what_is_there_is_not_replaced (void **state)
{
  (void) state;
  for_each_file_system (refuse_before);
}

static void
refuse_after (void)
{
  struct new_file f = NEW_FILE_INIT;
  struct err err = ERR_INIT;

  assert_int_equal (new_file_open (path, &f, NULL), 0);
  write_something (&f);
  make_other ();
  assert_int_equal (new_file_commit (&f, &err), -EEXIST);
  assert_string_equal (err.msg, "exists already; it is not replaced");
  new_file_close (&f);
  check_contents ("other");
}

static void
what_came_meanwhile_is_not_replaced (void **state)
{
  (void) state;
  for_each_file_system (refuse_after);
}

static void
keep (void)
{
  struct new_file f = NEW_FILE_INIT;
  char buf[5];
  bool found;

  assert_int_equal (new_file_open_kept (path, &f, &found, NULL), 0);
  assert_false (found);
  write_something (&f);
  assert_string_equal (f.partial, ".disk.partial");
  new_file_close (&f);
  assert_int_equal (count_files (), 1);
  assert_int_equal (access (path, F_OK), -1);

  assert_int_equal (new_file_open_kept (path, &f, &found, NULL), 0);
  assert_true (found);
  assert_int_equal (fd_pread (f.fd, buf, sizeof buf, 0, NULL), 0);
  assert_memory_equal (buf, "hello", 5);
  assert_int_equal (new_file_commit (&f, NULL), 0);
  check_contents ("hello");
  new_file_close (&f);
  assert_int_equal (count_files (), 1);
  assert_int_equal (new_file_open_kept (path, &f, &found, NULL), -EEXIST);
}

static void
one_that_is_kept_is_found_again (void **state)
{
  (void) state;
  for_each_file_system (keep);
}

static void
one_that_was_kept_can_go (void **state)
{
  struct new_file f = NEW_FILE_INIT;
  bool found;

  (void) state;
  assert_int_equal (new_file_open_kept (path, &f, &found, NULL), 0);
  f.kept = false;
  new_file_close (&f);
  assert_int_equal (count_files (), 0);
}

static void
only_a_file_can_be_kept (void **state)
{
  struct new_file f = NEW_FILE_INIT;
  struct err err = ERR_INIT;
  char partial[256];
  bool found;

  (void) state;
  snprintf (partial, sizeof partial, "%s/.disk.partial", folder);
  assert_int_equal (mkfifo (partial, 0600), 0);
  assert_int_equal (new_file_open_kept (path, &f, &found, &err), -ENOTSUP);
  assert_string_equal (err.msg, ".disk.partial beside it is not a file");
  assert_int_equal (unlink (partial), 0);
  assert_int_equal (symlink ("/etc/passwd", partial), 0);
  assert_int_equal (new_file_open_kept (path, &f, &found, &err), -ELOOP);
  assert_int_equal (unlink (partial), 0);
}

static void
a_link_to_nowhere_is_there_too (void **state)
{
  struct new_file f = NEW_FILE_INIT;

  (void) state;
  assert_int_equal (symlink ("nowhere", path), 0);
  assert_int_equal (new_file_open (path, &f, NULL), -EEXIST);
}

static void
names_of_folders_are_refused (void **state)
{
  static const char *const names[] = { "", ".", "..", "/", "x/", "./.." };
  struct new_file f = NEW_FILE_INIT;
  struct err err = ERR_INIT;

  (void) state;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    assert_int_equal (new_file_open (names[i], &f, &err), -EISDIR);
    assert_string_equal (err.msg, "is not the name of a file");
  }
  assert_int_equal (new_file_open ("no-such-folder/x", &f, &err), -ENOENT);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown (it_has_its_name_after_the_commit, setup,
                                     teardown),
    cmocka_unit_test_setup_teardown (without_a_commit_nothing_is_left, setup,
                                     teardown),
    cmocka_unit_test_setup_teardown (what_is_there_is_not_replaced, setup,
                                     teardown),
    cmocka_unit_test_setup_teardown (what_came_meanwhile_is_not_replaced,
                                     setup, teardown),
    cmocka_unit_test_setup_teardown (one_that_is_kept_is_found_again, setup,
                                     teardown),
    cmocka_unit_test_setup_teardown (one_that_was_kept_can_go, setup,
                                     teardown),
    cmocka_unit_test_setup_teardown (only_a_file_can_be_kept, setup,
                                     teardown),
    cmocka_unit_test_setup_teardown (a_link_to_nowhere_is_there_too, setup,
                                     teardown),
    cmocka_unit_test (names_of_folders_are_refused),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
