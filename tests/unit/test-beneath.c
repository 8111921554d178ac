/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"

/* top/outside, top/in/{file,sub/file,fifo,links…} */
static char top[64];
static int folder = -1;

static void
put_file (const char *path)
{
  int fd = openat (folder, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (write (fd, path, 1), 1);
  close (fd);
}

static int
setup (void **state)
{
  char path[128];

  (void) state;
  strcpy (top, "/tmp/test-beneath.XXXXXX");
  assert_non_null (mkdtemp (top));
  snprintf (path, sizeof path, "%s/in", top);
  assert_int_equal (mkdir (path, 0700), 0);
  folder = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  assert_true (folder >= 0);
  assert_int_equal (mkdirat (folder, "sub", 0700), 0);
  put_file ("file");
  put_file ("sub/file");
  put_file ("../outside");
  assert_int_equal (mkfifoat (folder, "fifo", 0600), 0);
  assert_int_equal (symlinkat ("sub/file", folder, "link-in"), 0);
  assert_int_equal (symlinkat ("../outside", folder, "link-out"), 0);
  assert_int_equal (symlinkat ("/dev/zero", folder, "link-device"), 0);
  assert_int_equal (symlinkat ("/", folder, "link-root"), 0);
  assert_int_equal (symlinkat ("loop", folder, "loop"), 0);
  return 0;
}

static int
teardown (void **state)
{
  static const char *const names[] = {
    "file", "sub/file", "../outside", "fifo", "link-in", "link-out",
    "link-device", "link-root", "loop",
  };

  (void) state;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
    unlinkat (folder, names[i], 0);
  unlinkat (folder, "sub", AT_REMOVEDIR);
  unlinkat (folder, "../in", AT_REMOVEDIR);
  close (folder);
  return rmdir (top);
}

static int
try_file (const char *path)
{
  CLEANUP_CLOSE int fd = -1;
  struct err err = ERR_INIT;
  int r = beneath_open_file (folder, path, &fd, &err);
  char c;

  assert_int_equal (r == 0, fd >= 0);
  if (r == 0)
    assert_int_equal (read (fd, &c, 1), 1);
  else
    assert_non_null (strstr (err.msg, path));
  return r;
}

static void
what_is_inside_opens (void **state)
{
  (void) state;
  for (int without = 0; without < 2; ++without) {
    beneath_without_openat2 (without);
    assert_int_equal (try_file ("file"), 0);
    assert_int_equal (try_file ("./file"), 0);
    assert_int_equal (try_file ("sub/file"), 0);
    assert_int_equal (try_file ("sub//./file"), 0);
    assert_int_equal (try_file ("missing"), -ENOENT);
    assert_int_equal (try_file ("file/x"), -ENOTDIR);
  }
  beneath_without_openat2 (0);
  assert_int_equal (try_file ("link-in"), 0);
  assert_int_equal (try_file ("sub/../file"), 0);
}

static void
nothing_leads_outside (void **state)
{
  static const char *const paths[] = {
    "../outside", "sub/../../outside", "link-out", "link-root/etc/passwd",
    "link-device", "../in/file", "loop",
  };
  char absolute[128];

  (void) state;
  snprintf (absolute, sizeof absolute, "%s/in/file", top);
  for (int without = 0; without < 2; ++without) {
    beneath_without_openat2 (without);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; ++i)
      assert_true (try_file (paths[i]) < 0);
    assert_int_equal (try_file ("../outside"), -EXDEV);
    assert_int_equal (try_file (absolute), -EXDEV);
    assert_int_equal (try_file ("/etc/passwd"), -EXDEV);
  }
  beneath_without_openat2 (0);
  assert_int_equal (try_file ("link-out"), -EXDEV);
}

static void
what_is_not_a_file_is_not_opened (void **state)
{
  (void) state;
  for (int without = 0; without < 2; ++without) {
    beneath_without_openat2 (without);
    assert_int_equal (try_file ("fifo"), -ENOTSUP);
    assert_int_equal (try_file ("sub"), -ENOTSUP);
    assert_int_equal (try_file ("."), -ENOTSUP);
  }
  beneath_without_openat2 (0);
}

static void
the_magic_links_of_proc_are_not_followed (void **state)
{
  CLEANUP_CLOSE int proc = open ("/proc/self", O_RDONLY | O_DIRECTORY |
                                 O_CLOEXEC);
  char path[32];
  int fd;

  (void) state;
  if (proc < 0)
    skip ();
  snprintf (path, sizeof path, "fd/%d", folder);
  for (int without = 0; without < 2; ++without) {
    beneath_without_openat2 (without);
    assert_true (beneath_open_file (proc, "exe", &fd, NULL) < 0);
    assert_true (beneath_open_folder (proc, path, &fd, NULL) < 0);
    assert_true (beneath_open_folder (proc, "cwd", &fd, NULL) < 0);
  }
  beneath_without_openat2 (0);
}

static void
folders_open_too (void **state)
{
  static const char *const paths[] = { "", ".", "sub" };
  int fd;

  (void) state;
  for (int without = 0; without < 2; ++without) {
    beneath_without_openat2 (without);
    for (size_t i = 0; i < 3; ++i) {
      assert_int_equal (beneath_open_folder (folder, paths[i], &fd, NULL), 0);
      close (fd);
    }
    assert_int_equal (beneath_open_folder (folder, "..", &fd, NULL), -EXDEV);
    assert_int_equal (beneath_open_folder (folder, "file", &fd, NULL),
                      -ENOTDIR);
  }
  beneath_without_openat2 (0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_is_inside_opens),
    cmocka_unit_test (nothing_leads_outside),
    cmocka_unit_test (what_is_not_a_file_is_not_opened),
    cmocka_unit_test (the_magic_links_of_proc_are_not_followed),
    cmocka_unit_test (folders_open_too),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
