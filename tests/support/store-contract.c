/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/store-contract.h"

struct store *store;
char folder[256];

static struct err err;

void
put (const char *name, const char *text)
{
  assert_int_equal (store_put (store, name, text, strlen (text), &err), 0);
}

void
assert_is (const char *name, const char *text)
{
  char *buf;
  size_t len;

  assert_int_equal (store_read_all (store, name, 1000, &buf, &len, &err), 0);
  assert_int_equal (len, strlen (text));
  assert_string_equal (buf, text);
  free (buf);
}

bool
is_there (const char *name)
{
  struct store_stat st;
  int r = store_stat (store, name, &st, &err);

  assert_true (r == 0 || r == -ENOENT);
  return r == 0;
}

static void
on_disk (const char *name, char path[512])
{
  snprintf (path, 512, "%s/%s", folder, name);
}

void
what_can_not_be_a_name_is_refused (void **state)
{
  char long_name[300];
  const char *bad[] = { "", ".", "..", "/", "/etc", "files/", "files//a",
                        "files/../a", "files/./a", "../x", "a/..", long_name };

  (void) state;
  memset (long_name, 'x', sizeof long_name);
  long_name[256] = '\0';
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    struct store_file *f;

    assert_int_equal (store_make (store, bad[i], &f, &err), -EINVAL);
    assert_int_equal (store_make_folder (store, bad[i], &err), -EINVAL);
    assert_int_equal (store_delete (store, bad[i], &err), -EINVAL);
    assert_int_equal (store_rename (store, "files", bad[i], &err), -EINVAL);
    assert_int_equal (store_rename (store, bad[i], "x", &err), -EINVAL);
  }
  long_name[255] = '\0';
  put (long_name, "as long as it may be");
  put ("files/...", "three dots are a name");
}

void
a_file_is_made_once_and_appended_to (void **state)
{
  struct store_file *f;
  struct block *block;
  struct store_stat st;
  char buf[4];
  int64_t now;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (store_write (f, "front ", 6, &err), 0);
  assert_int_equal (store_write (f, "", 0, &err), 0);
  assert_int_equal (store_write (f, "to back", 7, &err), 0);
  assert_int_equal (store_file_size (f), 13);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (store_end (f, &err), 0);
  assert_is ("files/a", "front to back");
  assert_int_equal (store_make (store, "files/a", &f, &err), -EEXIST);
  assert_int_equal (store_make (store, "none/a", &f, &err), -ENOENT);

  assert_int_equal (store_open (store, "files/a", &block, &err), 0);
  assert_int_equal (block_size (block), 13);
  assert_int_equal (block_pread (block, buf, 4, 9, &err), 0);
  assert_memory_equal (buf, "back", 4);
  assert_false (block_writable (block));
  block_unref (block);

  assert_int_equal (store_stat (store, "files/a", &st, &err), 0);
  assert_int_equal (st.kind, STORE_FILE);
  assert_int_equal (st.size, 13);
  assert_int_equal (store_time (store, "partial", &now, &err), 0);
  assert_in_range (now - st.time, 0, 60);
  assert_in_range (now + 60 - time (NULL), 0, 120);
  assert_int_equal (store_end (NULL, &err), 0);
}

/* NBI-132 */
void
what_is_no_regular_file_or_no_folder_is_refused (void **state)
{
  static const char *const bad[] = {
    "files/link", "files/fifo", "files/folder", "link/a",
    "files/folder/../link", "files/a/b",
  };
  char path[512], *buf;
  struct block *block;
  struct store_stat st;
  struct store_file *f;
  size_t len;
  int64_t when;

  (void) state;
  put ("files/a", "text");
  on_disk ("files/link", path);
  assert_int_equal (symlink ("a", path), 0);
  on_disk ("link", path);
  assert_int_equal (symlink ("files", path), 0);
  on_disk ("files/fifo", path);
  assert_int_equal (mkfifo (path, 0600), 0);
  assert_int_equal (store_make_folder (store, "files/folder", &err), 0);

  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    int expected = strstr (bad[i], "..") ? -EINVAL : -EBADMSG;

    err.msg[0] = '\0';
    assert_int_equal (store_open (store, bad[i], &block, &err), expected);
    if (expected == -EBADMSG)
      assert_non_null (strstr (err.msg, "(NBI-132)"));
    assert_int_equal (store_read_all (store, bad[i], 99, &buf, &len, &err),
                      expected);
    assert_int_equal (store_rewrite (store, bad[i], "x", 1, &when, &err),
                      expected);
  }
  assert_int_equal (store_make (store, "link/new", &f, &err), -EBADMSG);
  assert_int_equal (store_make (store, "files/link", &f, &err), -EEXIST);
  assert_int_equal (store_rename (store, "files/a", "link/b", &err),
                    -EBADMSG);
  assert_int_equal (store_flush_folder (store, "files/a", &err), -EBADMSG);
  assert_int_equal (store_flush_folder (store, "link", &err), -EBADMSG);
  assert_int_equal (store_stat (store, "files/link", &st, &err), 0);
  assert_int_equal (st.kind, STORE_OTHER);
  assert_int_equal (store_stat (store, "files", &st, &err), 0);
  assert_int_equal (st.kind, STORE_FOLDER);
  assert_int_equal (store_stat (store, "", &st, &err), 0);
  assert_int_equal (st.kind, STORE_FOLDER);
  assert_is ("files/a", "text");

  /* They can be told and cleared, not more. */
  assert_int_equal (store_delete (store, "files/fifo", &err), 0);
  assert_int_equal (store_delete (store, "files/link", &err), 0);
  assert_is ("files/a", "text");
}

int
see (void *opaque, const struct store_entry *e, struct err *e2)
{
  struct seen *seen = opaque;

  if (++seen->total == seen->stop_at)
    return seen->with < 0 ? err_set (e2, seen->with, "enough") : seen->with;
  assert_int_equal (strlen (e->name), 1);
  seen->kinds[(int) e->name[0]] = (char) ('0' + e->kind);
  return 0;
}

void
a_listing_has_each_name_once_with_its_kind (void **state)
{
  struct seen seen = { .total = 0 };
  char path[512];

  (void) state;
  put ("files/a", "");
  put ("files/b", "");
  assert_int_equal (store_make_folder (store, "files/c", &err), 0);
  on_disk ("files/d", path);
  assert_int_equal (symlink ("c", path), 0);
  assert_int_equal (store_list (store, "files", see, &seen, &err), 0);
  assert_int_equal (seen.total, 4);
  assert_memory_equal (seen.kinds + 'a', "0012", 4);

  seen = (struct seen) { .stop_at = 2, .with = STORE_STOP };
  assert_int_equal (store_list (store, "files", see, &seen, &err), 0);
  assert_int_equal (seen.total, 2);
  seen = (struct seen) { .stop_at = 3, .with = -EDOM };
  assert_int_equal (store_list (store, "files", see, &seen, &err), -EDOM);
  assert_int_equal (seen.total, 3);
  assert_int_equal (store_list (store, "none", see, &seen, &err), -ENOENT);
  assert_int_equal (store_list (store, "files/a", see, &seen, &err),
                    -EBADMSG);
}

void
nothing_is_renamed_over_a_name (void **state)
{
  (void) state;
  put ("files/a", "a");
  put ("files/b", "b");
  assert_int_equal (store_make_folder (store, "partial/x", &err), 0);
  assert_int_equal (store_make_folder (store, "files/x", &err), 0);
  assert_int_equal (store_rename (store, "files/a", "files/b", &err), -EEXIST);
  assert_int_equal (store_rename (store, "partial/x", "files/x", &err),
                    -EEXIST);
  assert_int_equal (store_rename (store, "partial/x", "files/a", &err),
                    -EEXIST);
  assert_is ("files/a", "a");
  assert_is ("files/b", "b");
  assert_true (is_there ("partial/x"));
}

void
files_and_folders_are_renamed (void **state)
{
  (void) state;
  put ("partial/a", "a");
  assert_int_equal (store_rename (store, "partial/a", "partial/b", &err), 0);
  assert_false (is_there ("partial/a"));
  assert_is ("partial/b", "a");
  assert_int_equal (store_rename (store, "partial/a", "partial/c", &err),
                    -ENOENT);
  assert_int_equal (store_make_folder (store, "partial/x", &err), 0);
  put ("partial/x/1", "one");
  assert_int_equal (store_rename (store, "partial/x", "files/y", &err), 0);
  assert_is ("files/y/1", "one");
  assert_false (is_there ("partial/x"));
  assert_int_equal (store_rename (store, "partial/x", "broken/x", &err),
                    -ENOENT);
  assert_int_equal (store_rename (store, "files/y", "none/y", &err), -ENOENT);
  /* As when a run is adopted. */
  assert_int_equal (store_make_folder (store, "partial/z", &err), 0);
  assert_int_equal (store_rename (store, "files/y", "partial/z/y", &err), 0);
  assert_is ("partial/z/y/1", "one");
}

void
folders_are_deleted_when_they_are_empty (void **state)
{
  (void) state;
  put ("files/a", "");
  assert_int_equal (store_delete_folder (store, "files", &err), -ENOTEMPTY);
  assert_int_equal (store_delete_folder (store, "files/a", &err), -EBADMSG);
  assert_true (store_delete (store, "files", &err) < 0);
  assert_true (is_there ("files/a"));
  assert_int_equal (store_delete (store, "files/a", &err), 0);
  assert_int_equal (store_delete (store, "files/a", &err), -ENOENT);
  assert_int_equal (store_delete_folder (store, "files", &err), 0);
  assert_int_equal (store_delete_folder (store, "files", &err), -ENOENT);
  assert_int_equal (store_make_folder (store, "partial", &err), -EEXIST);
}

void
a_small_file_is_written_anew_and_tells_the_time (void **state)
{
  struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
  struct store_stat st;
  char path[512];
  int64_t when = 0;

  (void) state;
  put ("partial/alive", "9");
  on_disk ("partial/alive", path);
  assert_int_equal (utimensat (AT_FDCWD, path, old, 0), 0);
  assert_int_equal (store_rewrite (store, "partial/alive", "10", 2, &when,
                                   &err), 0);
  assert_is ("partial/alive", "10");
  assert_in_range (when + 60 - time (NULL), 0, 120);
  assert_int_equal (store_stat (store, "partial/alive", &st, &err), 0);
  assert_int_equal (st.time, when);
  assert_int_equal (store_rewrite (store, "partial/alive", "7", 1, &when,
                                   &err), 0);
  assert_is ("partial/alive", "7");
  /* It is not made where it was moved away. */
  assert_int_equal (store_rewrite (store, "partial/gone", "7", 1, &when, &err),
                    -ENOENT);
  assert_false (is_there ("partial/gone"));
}

void
a_file_that_is_too_long_is_not_read (void **state)
{
  char *buf;
  size_t len;

  (void) state;
  put ("files/a", "12345");
  assert_int_equal (store_read_all (store, "files/a", 4, &buf, &len, &err),
                    -EFBIG);
  assert_int_equal (store_read_all (store, "files/a", 5, &buf, &len, &err), 0);
  free (buf);
}

