/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The store of a vault (docs/NBI.md §13): a folder of this machine, what
 * happens when it fails, and the trial that a store has to pass.
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/repo/store-local.h"
#include "tests/support/store-contract.h"
#include "tests/support/store-faulty.h"

/* What the system does otherwise, for the store only: -1 is "as usual". */
static int short_writes, write_errno, fsync_errno, readdir_fails_at = -1;
static unsigned nr_fsyncs;
static bool no_fsync;           /* of hundreds of trials */
static bool no_direct;          /* O_DIRECT can be set, and is refused then */
static enum { AS_USUAL, NO_NOREPLACE, REPLACES } renames;

ssize_t __real_write (int fd, const void *buf, size_t len);
ssize_t __wrap_write (int fd, const void *buf, size_t len);
int __real_fsync (int fd);
int __wrap_fsync (int fd);
struct dirent *__real_readdir (DIR *dir);
struct dirent *__wrap_readdir (DIR *dir);
int __real_renameat2 (int a, const char *from, int b, const char *to,
                      unsigned flags);
int __wrap_renameat2 (int a, const char *from, int b, const char *to,
                      unsigned flags);

/* Every second call is interrupted, and every other writes 7 bytes. */
ssize_t
__wrap_write (int fd, const void *buf, size_t len)
{
  if (write_errno) {
    errno = write_errno;
    return -1;
  }
  if (no_direct && (fcntl (fd, F_GETFL) & O_DIRECT)) {
    errno = EINVAL;
    return -1;
  }
  if (short_writes && short_writes++ % 2 == 0) {
    errno = EINTR;
    return -1;
  }
  return __real_write (fd, buf, short_writes && len > 7 ? 7 : len);
}

int
__wrap_fsync (int fd)
{
  ++nr_fsyncs;
  if (fsync_errno) {
    errno = fsync_errno;
    return -1;
  }
  return no_fsync ? 0 : __real_fsync (fd);
}

struct dirent *
__wrap_readdir (DIR *dir)
{
  if (readdir_fails_at == 0) {
    errno = EIO;
    return NULL;
  }
  if (readdir_fails_at > 0)
    --readdir_fails_at;
  return __real_readdir (dir);
}

int
__wrap_renameat2 (int a, const char *from, int b, const char *to,
                  unsigned flags)
{
  if (renames == NO_NOREPLACE) {
    errno = EINVAL;
    return -1;
  }
  return __real_renameat2 (a, from, b, to, renames == REPLACES ? 0 : flags);
}

static struct err err;

static int
setup (void **state)
{
  (void) state;
  strcpy (folder, "test-store.XXXXXX");
  assert_non_null (mkdtemp (folder));
  assert_int_equal (store_local_open (folder, &store, &err), 0);
  assert_int_equal (store_make_folder (store, "partial", &err), 0);
  assert_int_equal (store_make_folder (store, "broken", &err), 0);
  assert_int_equal (store_make_folder (store, "files", &err), 0);
  return 0;
}

static int
teardown (void **state)
{
  char command[300];

  (void) state;
  store_close (store);
  short_writes = write_errno = fsync_errno = 0;
  readdir_fails_at = -1;
  no_fsync = no_direct = false;
  renames = AS_USUAL;
  snprintf (command, sizeof command, "rm -rf '%s'", folder);
  return system (command);
}

static void
short_writes_are_gone_on_with (void **state)
{
  char text[200];

  (void) state;
  for (size_t i = 0; i < sizeof text - 1; ++i)
    text[i] = (char) ('a' + i % 26);
  text[sizeof text - 1] = '\0';
  short_writes = 1;
  put ("files/a", text);
  assert_true (short_writes > 2 * (int) sizeof text / 7);
  short_writes = 0;
  assert_is ("files/a", text);
}

/* Those that may be written past the page cache, and those that may not. */
static void
write_pieces (const char *name, const uint8_t *bytes)
{
  static const size_t pieces[] = {
    65536, 1048576, 4096, 131072, 100, 65536 - 100, 131072, 8191,
  };
  struct store_file *f;
  struct block *block;
  size_t len = 0;
  uint8_t *was;

  assert_int_equal (store_make (store, name, &f, &err), 0);
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; ++i) {
    assert_int_equal (store_write (f, bytes + len, pieces[i], &err), 0);
    len += pieces[i];
  }
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (store_file_size (f), len);
  assert_int_equal (store_end (f, &err), 0);
  assert_int_equal (store_open (store, name, &block, &err), 0);
  assert_int_equal (block_size (block), len);
  was = malloc (len);
  assert_non_null (was);
  assert_int_equal (block_pread (block, was, len, 0, &err), 0);
  assert_memory_equal (was, bytes, len);
  free (was);
  block_unref (block);
}

static void
large_pieces_are_written_wherever_they_lie (void **state)
{
  const size_t size = 2 * 1024 * 1024;
  uint8_t *bytes = aligned_alloc (4096, size);

  (void) state;
  assert_non_null (bytes);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = (uint8_t) (i * 2654435761U >> 13);
  write_pieces ("files/a", bytes);
  write_pieces ("files/b", bytes + 16);
  no_direct = true;
  write_pieces ("files/c", bytes);
  free (bytes);
}

static void
after_a_failed_write_nothing_is_believed (void **state)
{
  struct store_file *f;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (store_write (f, "one", 3, &err), 0);
  write_errno = ENOSPC;
  assert_int_equal (store_write (f, "two", 3, &err), -ENOSPC);
  write_errno = 0;
  assert_int_equal (store_write (f, "two", 3, &err), -ENOSPC);
  assert_int_equal (store_flush (f, &err), -ENOSPC);
  assert_int_equal (store_file_size (f), 3);
  assert_int_equal (store_end (f, &err), 0);
}

static void
a_failed_flush_is_not_tried_again (void **state)
{
  struct store_file *f;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (store_write (f, "one", 3, &err), 0);
  fsync_errno = EIO;
  assert_int_equal (store_flush (f, &err), -EIO);
  fsync_errno = 0;
  nr_fsyncs = 0;
  assert_int_equal (store_flush (f, &err), -EIO);
  assert_int_equal (store_write (f, "two", 3, &err), -EIO);
  assert_int_equal (nr_fsyncs, 0);
  assert_int_equal (store_end (f, &err), 0);

  fsync_errno = ENOSPC;
  assert_int_equal (store_put (store, "files/b", "x", 1, &err), -ENOSPC);
  assert_int_equal (store_flush_folder (store, "files", &err), -ENOSPC);
  /* What a file system says that has nothing to flush. */
  fsync_errno = EINVAL;
  assert_int_equal (store_flush_folder (store, "files", &err), 0);
  fsync_errno = 0;
  nr_fsyncs = 0;
  assert_int_equal (store_flush_folder (store, "files", &err), 0);
  assert_int_equal (store_flush_folder (store, "", &err), 0);
  assert_int_equal (nr_fsyncs, 2);
  assert_int_equal (store_flush_folder (store, "none", &err), -ENOENT);
}

/* NBI-137 */
static void
a_listing_that_ends_with_an_error_is_none (void **state)
{
  (void) state;
  put ("files/a", "");
  put ("files/b", "");
  /* With "." and "..", four names and the end. */
  for (int n = 0; n <= 4; ++n) {
    struct seen seen = { .total = 0 };

    readdir_fails_at = n;
    assert_int_equal (store_list (store, "files", see, &seen, &err), -EIO);
    assert_non_null (strstr (err.msg, "(NBI-137)"));
    assert_true (seen.total <= 2);
  }
}

/* Renames that can't refuse to replace. */
static int
setup_like_nfs (void **state)
{
  renames = NO_NOREPLACE;
  return setup (state);
}

static void
the_lag_is_what_is_known_of_the_file_system (void **state)
{
  static const char mountinfo[] =
    "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "36 21 0:50 / /a\\040-\\040b rw,actimeo=9 - nfs4 server:/x"
    " rw,vers=4.2,acregmin=3,acregmax=5,acdirmax=20,hard\n"
    "37 21 0:51 / /b rw shared:1 master:2 - nfs server:/y rw,acregmax=700\n"
    "38 21 0:52 / /c rw - nfs4 server:/z rw,hard\n"
    "39 21 0:53 / /d rw - nfs4 server:/z actimeo=1,acdirmin=30,rw\n"
    "40 21 0:54 / /e rw - nfs4 server:/z rw,acregmax=99999999999999999999\n"
    "41 21 0:54 / /e rw - nfs4 server:/z rw,acregmax=0,acdirmax=0";
  static const struct {
    long magic;
    unsigned long mount;
    unsigned lag;
    bool local;
  } t[] = {
    { 0xef53, 21, 0, true },            /* ext4 */
    { 0x58465342, 0, 0, true },         /* XFS */
    { 0x9123683e, 0, 0, true },         /* btrfs */
    { 0xf2f52010, 0, 0, true },         /* f2fs */
    { 0x2fc12fc1, 0, 0, true },         /* ZFS */
    { 0x01021994, 0, 0, true },         /* tmpfs */
    { 0x6969, 36, 40, false },          /* NFS: twice the largest */
    { 0x6969, 37, 1400, false },
    { 0x6969, 38, 120, false },         /* what it does not print */
    { 0x6969, 39, 2, false },
    { 0x6969, 40, STORE_LAG_MAX, false },
    { 0x6969, 41, 0, false },
    { 0x6969, 3, 120, false },          /* no such line */
    { 0x65735546, 36, 120, false },     /* FUSE */
    { 0x4d44, 21, 120, false },         /* FAT */
    { 0xff534d42, 21, 120, false },     /* SMB */
  };

  (void) state;
  for (size_t i = 0; i < sizeof t / sizeof t[0]; ++i) {
    bool local = !t[i].local;

    assert_int_equal (store_lag_of (t[i].magic, mountinfo, t[i].mount, &local),
                      t[i].lag);
    assert_int_equal (local, t[i].local);
    if (t[i].magic == 0x6969)
      assert_int_equal (store_lag_of (0x6969, NULL, t[i].mount, &local), 120);
  }
}

struct test_clock {
  uint64_t now;
  unsigned sleeps;
};

static uint64_t
test_now (void *opaque)
{
  return ((struct test_clock *) opaque)->now;
}

static int
test_sleep_until (void *opaque, uint64_t when, struct job *job, struct err *e)
{
  struct test_clock *clock = opaque;

  ++clock->sleeps;
  clock->now = when;
  return job_check (job, e);
}

static void
to_wait_is_for_longer_than_the_lag (void **state)
{
  struct test_clock t = { 5 * REPO_SECOND, 0 };
  const struct repo_clock clock = { test_now, test_sleep_until, &t };
  struct job job = JOB_INIT;

  (void) state;
  store_set_clock (store, &clock);
  assert_int_equal (store_set_lag (store, 30, &err), 0);
  assert_int_equal (store_wait (store, &job, &err), 0);
  assert_true (t.now > 35 * REPO_SECOND && t.now <= 36 * REPO_SECOND);
  assert_int_equal (store_set_lag (store, 0, &err), 0);
  t.sleeps = 0;
  assert_int_equal (store_wait (store, &job, &err), 0);
  assert_int_equal (t.sleeps, 0);
  job_cancel (&job);
  assert_int_equal (store_wait (store, &job, &err), -ECANCELED);
  assert_int_equal (store_set_lag (store, STORE_LAG_MAX + 1, &err), -EINVAL);
  assert_int_equal (store_lag (store), 0);
}

static void
the_real_clock_waits_and_can_be_cancelled (void **state)
{
  const struct repo_clock *c = &repo_clock_boottime;
  uint64_t start = repo_clock_now (c);
  struct job job = JOB_INIT;

  (void) state;
  assert_int_equal (repo_clock_sleep_until (c, start + REPO_SECOND / 50, &job,
                                            &err), 0);
  assert_true (repo_clock_now (c) >= start + REPO_SECOND / 50);
  assert_int_equal (repo_clock_sleep_until (c, start + REPO_SECOND / 25, NULL,
                                            &err), 0);
  assert_true (repo_clock_now (c) >= start + REPO_SECOND / 25);
  job_cancel (&job);
  assert_int_equal (repo_clock_sleep_until (c, start + 3600 * REPO_SECOND,
                                            &job, &err), -ECANCELED);
}

static void
assert_nothing_is_left (void)
{
  static const char *const folders[] = { "partial", "broken", "files" };

  for (size_t i = 0; i < 3; ++i) {
    struct seen seen = { .stop_at = 1, .with = STORE_STOP };

    assert_int_equal (store_list (store, folders[i], see, &seen, &err), 0);
    assert_int_equal (seen.total, 0);
  }
}

static void
a_local_folder_passes_the_trial (void **state)
{
  struct report report = REPORT_INIT;

  (void) state;
  assert_int_equal (store_try (store, &report, &err), 0);
  assert_int_equal (report.lines.len, 0);
  assert_nothing_is_left ();
  renames = NO_NOREPLACE;
  assert_int_equal (store_try (store, &report, &err), 0);
  assert_int_equal (report.lines.len, 0);
  renames = REPLACES;
  assert_int_equal (store_try (store, &report, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "renaming a file to a name that is there"));
  assert_nothing_is_left ();
  report_free (&report);
}

/* Operations of the clean-up, whose failures nobody hears of. */
#define CLEAN_UP 12

static unsigned
operations_of_a_trial (struct store *faulty, unsigned ops)
{
  no_fsync = true;
  store_faulty_set (faulty, &(struct store_fault) { .ops = ops });
  assert_int_equal (store_try (faulty, NULL, &err), 0);
  return store_faulty_count (faulty);
}

static void
a_trial_fails_whatever_fails_in_it (void **state)
{
  struct store *faulty = store_faulty_new (store);
  unsigned total = operations_of_a_trial (faulty, STORE_OP_ALL) - CLEAN_UP;

  (void) state;
  assert_true (total > 40);
  for (unsigned n = 1; n <= total; ++n) {
    struct store_fault fault = { STORE_FAULT_ONCE, STORE_OP_ALL, n, -EDQUOT };

    store_faulty_set (faulty, &fault);
    assert_int_equal (store_try (faulty, NULL, &err), -EDQUOT);
    assert_nothing_is_left ();
    fault.kind = STORE_FAULT_LOST;
    store_faulty_set (faulty, &fault);
    assert_int_equal (store_try (faulty, NULL, &err), -EDQUOT);
    assert_nothing_is_left ();
  }
  store_close (faulty);
}

static void
a_trial_finds_what_was_not_done (void **state)
{
  static const unsigned ops[] = {
    STORE_OP_WRITE, STORE_OP_MAKE_FOLDER, STORE_OP_RENAME,
  };
  struct store *faulty = store_faulty_new (store);

  (void) state;
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; ++i) {
    unsigned total = operations_of_a_trial (faulty, ops[i]);

    assert_true (total >= 3);
    for (unsigned n = 1; n <= total; ++n) {
      struct store_fault lie = { STORE_FAULT_LIE, ops[i], n, -EDOM };

      /* The others are of files that are only there to be in the way. */
      if (ops[i] == STORE_OP_WRITE && n > 1)
        break;
      store_faulty_set (faulty, &lie);
      assert_true (store_try (faulty, NULL, &err) < 0);
      assert_non_null (strstr (err.msg, "a vault can't be here: "));
    }
    store_faulty_set (faulty, &(struct store_fault) { .ops = 0 });
    assert_nothing_is_left ();
  }
  store_close (faulty);
}

static void
folders_that_can_not_be_flushed_are_told (void **state)
{
  struct store *faulty = store_faulty_new (store);
  struct store_fault fault = { STORE_FAULT_ONCE, STORE_OP_FLUSH_FOLDER, 1,
                               -ENOTSUP };
  struct report report = REPORT_INIT;

  (void) state;
  store_faulty_set (faulty, &fault);
  assert_int_equal (store_try (faulty, &report, &err), 0);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "folders can't be flushed"));
  report_free (&report);
  store_close (faulty);
}

static void
a_store_without_its_folders_is_told (void **state)
{
  (void) state;
  assert_int_equal (store_delete_folder (store, "broken", &err), 0);
  assert_int_equal (store_try (store, NULL, &err), -ENOENT);
  assert_int_equal (store_local_open ("no-such-folder", &store, &err),
                    -ENOENT);
}

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)
#define TEST_LIKE_NFS(fn)                                               \
  { #fn "_like_nfs", fn, setup_like_nfs, teardown, NULL }

int
main (void)
{
  const struct CMUnitTest tests[] = {
    CONTRACT_TESTS (TEST),
    TEST (short_writes_are_gone_on_with),
    TEST (large_pieces_are_written_wherever_they_lie),
    TEST (after_a_failed_write_nothing_is_believed),
    TEST (a_failed_flush_is_not_tried_again),
    TEST (a_listing_that_ends_with_an_error_is_none),
    TEST_LIKE_NFS (nothing_is_renamed_over_a_name),
    TEST_LIKE_NFS (files_and_folders_are_renamed),
    TEST (the_lag_is_what_is_known_of_the_file_system),
    TEST (to_wait_is_for_longer_than_the_lag),
    TEST (the_real_clock_waits_and_can_be_cancelled),
    TEST (a_local_folder_passes_the_trial),
    TEST (a_trial_fails_whatever_fails_in_it),
    TEST (a_trial_finds_what_was_not_done),
    TEST (folders_that_can_not_be_flushed_are_told),
    TEST (a_store_without_its_folders_is_told),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
