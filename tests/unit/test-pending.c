/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bits that are not in the image yet: counted, kept over a kill -9, and
 * never taken for those of another image or boot.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/block/file.h"
#include "lib/format/pending.h"

#define PER_BLOCK 5000U         /* a page, and a part of one */
#define NR_BLOCKS 40U

static struct pending_image
in_memory (void)
{
  return (struct pending_image) {
    .fd = -1, .name = "x.vhd", .sectors_per_block = PER_BLOCK,
  };
}

static struct pending *
open_pending (const struct pending_image *image)
{
  struct pending *p = NULL;
  struct err err = ERR_INIT;

  if (pending_open (image, &p, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return p;
}

static bool
has (struct pending *p, uint64_t block, uint32_t sector)
{
  bool bit;

  assert_int_equal (pending_run (p, block, sector, 1, &bit), 1);
  return bit;
}

/* Clear all there is. */
static void
clear_all (struct pending *p)
{
  CLEANUP_PENDING_SNAPSHOT struct pending_snapshot s = PENDING_SNAPSHOT_INIT;

  assert_int_equal (pending_snapshot (p, &s, NULL), 0);
  pending_clear (p, &s);
}

/*--- The table --------------------------------------------------------------*/

static void
check_runs (struct pending *p, uint64_t block, const bool *model)
{
  uint32_t n;

  for (uint32_t s = 0; s < PER_BLOCK; s += n) {
    bool bit;

    n = pending_run (p, block, s, PER_BLOCK - s, &bit);
    assert_in_range (n, 1, PER_BLOCK - s);
    for (uint32_t i = 0; i < n; ++i)
      assert_int_equal (bit, model[s + i]);
  }
}

static void
check_snapshot (struct pending *p, bool model[NR_BLOCKS][PER_BLOCK],
                bool low_bit_first)
{
  CLEANUP_PENDING_SNAPSHOT struct pending_snapshot s = PENDING_SNAPSHOT_INIT;
  size_t expected = 0, found = 0;

  assert_int_equal (pending_snapshot (p, &s, NULL), 0);
  for (size_t i = 0; i < s.pages.len; ++i) {
    const struct pending_page *page = &s.pages.ptr[i];

    assert_int_equal (page->place, page->block + 7);
    assert_int_equal (page->nr, page->first ? PER_BLOCK - 4096 : 4096);
    for (uint32_t n = 0; n < page->nr; ++n) {
      unsigned mask = low_bit_first ? 1U << n % 8 : 0x80U >> n % 8;

      assert_int_equal ((page->bits[n / 8] & mask) != 0,
                        model[page->block][page->first + n]);
      found += model[page->block][page->first + n];
    }
  }
  for (unsigned b = 0; b < NR_BLOCKS; ++b)
    for (unsigned n = 0; n < PER_BLOCK; ++n)
      expected += model[b][n];
  assert_int_equal (found, expected);
}

static void
run_model (bool low_bit_first)
{
  static bool model[NR_BLOCKS][PER_BLOCK];
  struct pending_image image = in_memory ();
  struct pending *p;

  image.low_bit_first = low_bit_first;
  memset (model, 0, sizeof model);
  p = open_pending (&image);
  assert_true (pending_is_empty (p));
  for (unsigned n = 0; n < 2000; ++n) {
    unsigned block = (unsigned) rand () % NR_BLOCKS;
    unsigned first = (unsigned) rand () % PER_BLOCK;
    unsigned nr = 1 + (unsigned) rand () % (rand () % 4 ? 20 : PER_BLOCK);

    if (nr > PER_BLOCK - first)
      nr = PER_BLOCK - first;
    if (n % 50 == 49) {
      pending_forget (p, block);
      memset (model[block], 0, sizeof model[block]);
      continue;
    }
    assert_int_equal (pending_set (p, block, block + 7, first, nr), 0);
    memset (model[block] + first, 1, nr);
    if (n % 20 == 0)
      check_runs (p, block, model[block]);
  }
  for (unsigned b = 0; b < NR_BLOCKS; ++b)
    check_runs (p, b, model[b]);
  check_snapshot (p, model, low_bit_first);
  clear_all (p);
  assert_true (pending_is_empty (p));
  pending_close (p);
}

static void
bits_that_were_set_count_and_no_others (void **state)
{
  (void) state;
  run_model (false);
  run_model (true);
}

static void
merging_leaves_other_bits_alone (void **state)
{
  struct pending_image image = in_memory ();
  struct pending *p = open_pending (&image);
  uint8_t bits[3] = { 0x01, 0, 0x80 };

  (void) state;
  assert_int_equal (pending_set (p, 3, 1, 4097, 2), 0);
  assert_int_equal (pending_set (p, 3, 1, 4096 + 18, 4), 0);
  pending_merge (p, 3, 4096, 20, bits);
  assert_int_equal (bits[0], 0x61);
  assert_int_equal (bits[1], 0);
  /* Sectors 18 and 19, and not 20 and 21. */
  assert_int_equal (bits[2], 0xB0);
  pending_close (p);
}

static void
only_what_was_in_the_snapshot_is_cleared (void **state)
{
  struct pending_image image = in_memory ();
  struct pending *p = open_pending (&image);
  struct pending_snapshot s;

  (void) state;
  assert_int_equal (pending_set (p, 1, 10, 0, 2), 0);
  assert_int_equal (pending_set (p, 2, 20, 0, 2), 0);
  assert_int_equal (pending_set (p, 3, 30, 0, 2), 0);
  assert_int_equal (pending_snapshot (p, &s, NULL), 0);
  assert_int_equal (s.pages.len, 3);
  assert_int_equal (pending_set (p, 1, 10, 1, 2), 0);
  /* It went elsewhere meanwhile, and that one did and came back. */
  pending_forget (p, 2);
  assert_int_equal (pending_set (p, 2, 21, 0, 1), 0);
  assert_int_equal (pending_set (p, 3, 31, 0, 1), 0);
  pending_clear (p, &s);
  pending_snapshot_free (&s);
  assert_false (has (p, 1, 0));
  assert_false (has (p, 1, 1));
  assert_true (has (p, 1, 2));
  assert_true (has (p, 2, 0));
  assert_true (has (p, 3, 0));
  assert_false (has (p, 3, 1));
  pending_close (p);
}

static void
a_full_table_says_so (void **state)
{
  struct pending_image image = in_memory ();
  struct pending *p;

  (void) state;
  image.max_pages = 3;
  p = open_pending (&image);
  for (unsigned b = 0; b < 3; ++b)
    assert_int_equal (pending_set (p, b, 0, 0, 4096), 0);
  assert_int_equal (pending_set (p, 7, 0, 5, 1), -ENOSPC);
  assert_int_equal (pending_set (p, 2, 0, 4000, 200), -ENOSPC);
  assert_int_equal (pending_set (p, 2, 0, 5, 1), 0);
  clear_all (p);
  assert_int_equal (pending_set (p, 7, 0, 5, 1), 0);
  assert_true (has (p, 7, 5));
  pending_close (p);
}

/*--- Threads ----------------------------------------------------------------*/

#define NR_THREADS 8U

struct worker {
  struct pending *p;
  unsigned number;
  bool failed;
};

/* Its own blocks; the table is too small for all of them. */
static void *
work (void *arg)
{
  struct worker *w = arg;

  for (unsigned n = 0; n < 20000 && !w->failed; ++n) {
    uint64_t block = w->number + NR_THREADS * (n % 5);
    uint32_t sector = n * 7919U % PER_BLOCK;

    if (pending_set (w->p, block, block, sector, 1) < 0)
      pending_forget (w->p, w->number + NR_THREADS * ((n + 1) % 5));
    else if (!has (w->p, block, sector))
      w->failed = true;
    if (n % 500 == 0) {
      struct pending_snapshot s;

      w->failed = w->failed || pending_snapshot (w->p, &s, NULL) < 0;
      pending_snapshot_free (&s);
    }
  }
  return NULL;
}

static void
many_threads_share_a_table (void **state)
{
  struct worker workers[NR_THREADS];
  struct pending_image image = in_memory ();
  pthread_t threads[NR_THREADS];
  struct pending *p;

  (void) state;
  image.max_pages = 2 * NR_THREADS * 3;
  p = open_pending (&image);
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    workers[t] = (struct worker) { p, t, false };
    assert_int_equal (pthread_create (&threads[t], NULL, work, &workers[t]),
                      0);
  }
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    pthread_join (threads[t], NULL);
    assert_false (workers[t].failed);
  }
  clear_all (p);
  assert_true (pending_is_empty (p));
  pending_close (p);
}

/*--- Journals ---------------------------------------------------------------*/

static char folder[] = "/dev/shm/nbdimage-test-XXXXXX";
static int image_fd = -1;

static struct pending_image
in_file (void)
{
  struct pending_image image = in_memory ();

  image.fd = image_fd;
  image.folder = folder;
  memset (image.id, 0x5A, sizeof image.id);
  return image;
}

/* The journal's path, from what the specification of its name says. */
static void
journal_path (char *path, size_t size)
{
  struct stat st;

  assert_int_equal (fstat (image_fd, &st), 0);
  snprintf (path, size, "%s/nbdimage/pending-%lx-%lx-"
            "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a", folder,
            (unsigned long) st.st_dev, (unsigned long) st.st_ino);
}

static bool
is_there (void)
{
  char path[200];

  journal_path (path, sizeof path);
  return access (path, F_OK) == 0;
}

/* A process sets some bits and is killed. */
static void
be_killed_with (struct pending_image image)
{
  pid_t pid = fork ();
  int status;

  assert_true (pid >= 0);
  if (pid == 0) {
    struct pending *p = NULL;

    if (pending_open (&image, &p, NULL, NULL) == 0 &&
        pending_set (p, 3, 33, 100, 200) == 0 &&
        pending_set (p, 4, 44, 4090, 10) == 0)
      kill (getpid (), SIGKILL);
    _exit (1);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_true (WIFSIGNALED (status));
}

static void
be_killed (void)
{
  be_killed_with (in_file ());
}

static bool
is_at_33 (void *opaque, uint64_t block, uint64_t place)
{
  unsigned *calls = opaque;

  ++*calls;
  assert_int_equal (place, 11 * block);
  return place == 33;
}

static void
the_bits_of_a_killed_process_are_there (void **state)
{
  struct pending_image image = in_file ();
  struct pending *p;
  unsigned calls = 0;
  bool bit;

  (void) state;
  be_killed ();
  assert_true (is_there ());
  p = open_pending (&image);
  assert_int_equal (pending_run (p, 3, 0, PER_BLOCK, &bit), 100);
  assert_false (bit);
  assert_int_equal (pending_run (p, 3, 100, PER_BLOCK, &bit), 200);
  assert_true (bit);
  assert_true (has (p, 4, 4099));
  assert_false (has (p, 4, 4100));
  pending_filter (p, is_at_33, &calls);
  assert_int_equal (calls, 3);
  assert_true (has (p, 3, 100));
  assert_false (has (p, 4, 4099));
  /* Closed with a bit, it stays for the next. */
  pending_close (p);
  assert_true (is_there ());
  p = open_pending (&image);
  assert_true (has (p, 3, 299));
  clear_all (p);
  pending_close (p);
  assert_false (is_there ());
}

static bool failing_flush;

int __real_fdatasync (int fd);
int __wrap_fdatasync (int fd);

int
__wrap_fdatasync (int fd)
{
  if (!failing_flush)
    return __real_fdatasync (fd);
  errno = EIO;
  return -1;
}

static void
bits_that_were_disowned_are_for_nobody_else (void **state)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct pending_image image = in_file ();
  struct pending *p, *other = NULL;

  (void) state;
  assert_int_equal (block_file_from_fd (dup (image.fd), "image",
                                        BLOCK_FILE_WRITE, &block, NULL, NULL),
                    0);
  image.block = block;
  p = open_pending (&image);
  assert_int_equal (pending_set (p, 3, 33, 100, 200), 0);
  assert_int_equal (block_flush (block, NULL), 0);
  assert_int_equal (pending_peek (&image, &other, NULL), 0);
  assert_non_null (other);
  pending_close (steal_ptr (&other));
  failing_flush = true;
  assert_int_equal (block_flush (block, NULL), -EIO);
  failing_flush = false;
  assert_int_equal (pending_set (p, 4, 44, 100, 200), 0);
  assert_true (has (p, 3, 100));
  assert_true (has (p, 4, 100));
  /* As if we were killed now; but nobody else writes while we are here. */
  assert_int_equal (pending_peek (&image, &other, NULL), 0);
  assert_null (other);
  assert_int_equal (pending_open (&image, &other, NULL, NULL), -EBUSY);
  assert_true (is_there ());
  pending_close (p);
  assert_false (is_there ());
  /* Whoever flushes it now has nothing to tell us. */
  assert_int_equal (block_flush (block, NULL), -EIO);
}

static void
a_reader_sees_the_bits_and_leaves_them (void **state)
{
  struct pending_image image = in_file ();
  struct pending *p = NULL;

  (void) state;
  assert_int_equal (pending_peek (&image, &p, NULL), 0);
  assert_null (p);
  assert_false (is_there ());
  be_killed ();
  assert_int_equal (pending_peek (&image, &p, NULL), 0);
  assert_non_null (p);
  assert_true (has (p, 3, 100));
  assert_false (has (p, 3, 99));
  pending_close (p);
  assert_true (is_there ());
  p = open_pending (&image);
  assert_true (has (p, 3, 100));
  clear_all (p);
  pending_close (p);
}

/* The other process says in shared memory how far it got. */
static void
whenever_it_is_killed (void **state)
{
  volatile uint32_t *done = mmap (NULL, sizeof *done, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct pending_image image = in_file ();

  (void) state;
  assert_ptr_not_equal ((void *) done, MAP_FAILED);
  for (unsigned round = 0; round < 60; ++round) {
    struct pending *p;
    pid_t pid = fork ();

    *done = 0;
    if (pid == 0) {
      p = open_pending (&image);
      for (uint32_t n = 0; n < 4096 * 40; ++n) {
        if (pending_set (p, n / 64, n / 64 * 11, n % 64, 1) < 0)
          _exit (1);
        *done = n + 1;
        if (n % 3000 == 2999) {
          clear_all (p);
          for (uint32_t i = n - 2999; i <= n; ++i)
            pending_set (p, i / 64, i / 64 * 11, i % 64, 1);
        }
      }
      _exit (1);
    }
    while (*done < 1 + (unsigned) rand () % 9000)
      ;
    kill (pid, SIGKILL);
    waitpid (pid, NULL, 0);
    p = open_pending (&image);
    /* What was set again after clear_all may be missing in that moment. */
    for (uint32_t n = *done / 3000 * 3000; n < *done; ++n)
      assert_true (has (p, n / 64, n % 64));
    for (uint32_t n = *done + 1; n < *done + 5000; ++n)
      assert_false (has (p, n / 64, n % 64));
    clear_all (p);
    pending_close (p);
  }
  assert_false (is_there ());
  munmap ((void *) done, sizeof *done);
}

static void
two_do_not_write_to_one_image (void **state)
{
  struct pending_image image = in_file ();
  struct pending *p = open_pending (&image), *other = NULL;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (pending_open (&image, &other, NULL, &err), -EBUSY);
  assert_non_null (strstr (err.msg, "another process writes to it"));
  pending_close (p);
  assert_false (is_there ());
}

/* Change the journal that a killed process left.  Offsets as in the header:
 * magic 16, version 4, checksum 4, device 8, inode 8, identity 16, boot 40,
 * time of birth 8.
 */
#define HEADER_SIZE 120U

static void
patch (unsigned off, bool sum_again)
{
  uint8_t header[HEADER_SIZE];
  uint32_t sum;
  char path[200];
  int fd;

  journal_path (path, sizeof path);
  fd = open (path, O_RDWR);
  assert_true (fd >= 0);
  assert_int_equal (pread (fd, header, sizeof header, 0), sizeof header);
  header[off]++;
  memset (header + 20, 0, sum_again ? 4 : 0);
  if (sum_again) {
    sum = crc32c_update (0, header, sizeof header);
    memcpy (header + 20, &sum, sizeof sum);
  }
  assert_int_equal (pwrite (fd, header, sizeof header, 0), sizeof header);
  close (fd);
}

static void
expect_no_bits (void)
{
  struct pending_image image = in_file ();
  struct pending *p = NULL;

  assert_int_equal (pending_peek (&image, &p, NULL), 0);
  assert_null (p);
  p = open_pending (&image);
  assert_true (pending_is_empty (p));
  pending_close (p);
  assert_false (is_there ());
}

static void
a_journal_of_something_else_does_not_count (void **state)
{
  static const unsigned places[] = { 0, 24, 32, 40, 60, 96 };
  char path[200], elsewhere[220];

  (void) state;
  journal_path (path, sizeof path);
  for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
    be_killed ();
    patch (places[i], true);
    expect_no_bits ();
  }
  be_killed ();
  patch (21, false);
  expect_no_bits ();
  be_killed ();
  assert_int_equal (truncate (path, 50), 0);
  expect_no_bits ();
  be_killed ();
  assert_int_equal (chmod (path, 0622), 0);
  expect_no_bits ();
  be_killed ();
  snprintf (elsewhere, sizeof elsewhere, "%s-elsewhere", path);
  assert_int_equal (rename (path, elsewhere), 0);
  assert_int_equal (symlink (elsewhere, path), 0);
  expect_no_bits ();
  assert_int_equal (unlink (elsewhere), 0);
}

static void
a_journal_of_another_version_is_refused (void **state)
{
  struct pending_image image = in_file ();
  struct pending *p = NULL;
  struct err err = ERR_INIT;
  char path[200];

  (void) state;
  journal_path (path, sizeof path);
  be_killed ();
  patch (16, true);
  assert_int_equal (pending_open (&image, &p, NULL, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "another version"));
  assert_int_equal (pending_peek (&image, &p, NULL), -ENOTSUP);
  assert_true (is_there ());
  assert_int_equal (unlink (path), 0);
}

/* In a session, and then started by something that knows of none. */
static void
the_environment_does_not_hide_a_journal (void **state)
{
  struct pending_image image = in_file ();
  struct pending *p;

  (void) state;
  image.folder = NULL;
  assert_int_equal (setenv ("XDG_RUNTIME_DIR", folder, 1), 0);
  be_killed_with (image);
  assert_int_equal (unsetenv ("XDG_RUNTIME_DIR"), 0);
  p = open_pending (&image);
  assert_true (has (p, 3, 100));
  clear_all (p);
  pending_close (p);
  be_killed_with (image);
  assert_int_equal (setenv ("XDG_RUNTIME_DIR", folder, 1), 0);
  p = open_pending (&image);
  assert_true (has (p, 3, 100));
  clear_all (p);
  pending_close (p);
  assert_int_equal (unsetenv ("XDG_RUNTIME_DIR"), 0);
}

static void
without_a_memory_file_system_there_is_a_warning (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct pending_image image = in_file ();
  struct pending *p = NULL;

  (void) state;
  image.folder = "/proc";
  assert_int_equal (pending_open (&image, &p, &report, NULL), 0);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "if this process is killed"));
  assert_int_equal (pending_set (p, 1, 1, 1, 1), 0);
  assert_true (has (p, 1, 1));
  pending_close (p);
}

static void
a_folder_that_others_can_write_to_is_not_used (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct pending_image image = in_file ();
  struct pending *p = NULL;
  char path[200], link[220];

  (void) state;
  snprintf (path, sizeof path, "%s/nbdimage", folder);
  snprintf (link, sizeof link, "%s-moved", path);
  assert_int_equal (chmod (path, 0770), 0);
  assert_int_equal (pending_open (&image, &p, &report, NULL), 0);
  pending_close (p);
  assert_int_equal (report.lines.len, 1);
  assert_int_equal (chmod (path, 0700), 0);
  assert_int_equal (rename (path, link), 0);
  assert_int_equal (symlink (link, path), 0);
  report_free (&report);
  assert_int_equal (pending_open (&image, &p, &report, NULL), 0);
  pending_close (p);
  assert_int_equal (report.lines.len, 1);
  assert_int_equal (unlink (path), 0);
  assert_int_equal (rename (link, path), 0);
}

/*--- Journals of images that are gone ---------------------------------------*/

/* A second image, whose journals have another identity in their name. */
static int
make_other (const char *name, char *path, size_t size)
{
  int fd;

  snprintf (path, size, "%s/%s", folder, name);
  fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  assert_true (fd >= 0);
  return fd;
}

/* Somebody opens an image for writing, who finds no journal of it. */
static void
write_to (int fd)
{
  struct pending_image image = in_file ();
  struct pending *p;

  image.fd = fd;
  memset (image.id, 0x6B, sizeof image.id);
  p = open_pending (&image);
  assert_true (pending_is_empty (p));
  pending_close (p);
}

/* May we ask a file system whether it has a file? */
static bool
may_ask (int fd)
{
  union {
    struct file_handle fh;
    char bytes[sizeof (struct file_handle) + MAX_HANDLE_SZ];
  } h = { .fh.handle_bytes = MAX_HANDLE_SZ };
  int mount_id, in = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), found;

  assert_true (in >= 0);
  assert_int_equal (name_to_handle_at (fd, "", &h.fh, &mount_id,
                                       AT_EMPTY_PATH), 0);
  found = open_by_handle_at (in, &h.fh, O_PATH | O_CLOEXEC);
  close (in);
  if (found >= 0)
    close (found);
  else
    assert_int_equal (errno, EPERM);
  return found >= 0;
}

/* An image, with the journal of a killed process that `path' names then. */
static int
leave_journal (const char *name, char *image_path, char *path, size_t size)
{
  int fd = make_other (name, image_path, size), kept = image_fd;

  image_fd = fd;
  be_killed ();
  journal_path (path, size);
  image_fd = kept;
  assert_int_equal (access (path, F_OK), 0);
  return fd;
}

static void
a_journal_is_removed_when_its_image_is_gone (void **state)
{
  char path[200], moved[220], journal[200];
  int fd = leave_journal ("doomed", path, journal, sizeof path);
  bool may = may_ask (fd);

  (void) state;
  write_to (image_fd);
  assert_int_equal (access (journal, F_OK), 0);
  /* Under another name it may be opened again. */
  snprintf (moved, sizeof moved, "%s-moved", path);
  assert_int_equal (rename (path, moved), 0);
  close (fd);
  write_to (image_fd);
  assert_int_equal (access (journal, F_OK), 0);
  /* Who has it open may give it a name again. */
  fd = open (moved, O_RDONLY | O_CLOEXEC);
  assert_true (fd >= 0);
  assert_int_equal (unlink (moved), 0);
  write_to (image_fd);
  assert_int_equal (access (journal, F_OK), 0);
  close (fd);
  write_to (image_fd);
  assert_int_equal (access (journal, F_OK), may ? -1 : 0);
  unlink (journal);
}

/* Nothing says which file it was. */
static void
a_journal_without_a_home_stays (void **state)
{
  static const char zeros[2048];
  char path[200], journal[200];
  int fd = leave_journal ("doomed", path, journal, sizeof path), at;

  (void) state;
  at = open (journal, O_RDWR | O_CLOEXEC);
  assert_int_equal (pwrite (at, zeros, sizeof zeros, 1024), sizeof zeros);
  close (at);
  close (fd);
  assert_int_equal (unlink (path), 0);
  write_to (image_fd);
  assert_int_equal (access (journal, F_OK), 0);
  assert_int_equal (unlink (journal), 0);
}

/* What the journal says of its image was true, and is not any more. */
static void
a_journal_of_another_time_is_removed (void **state)
{
  static const struct {
    unsigned off;               /* of what is patched */
    bool goes;
  } rows[] = {
    { 60, true },               /* another boot */
    { 96, true },               /* our inode had another file */
    { 40, false },              /* our file had other bytes, and may again */
    { 24, false },              /* a device that is not there now */
  };
  char path[200];

  (void) state;
  journal_path (path, sizeof path);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    be_killed ();
    patch (rows[i].off, true);
    write_to (image_fd);
    assert_int_equal (access (path, F_OK), rows[i].goes ? -1 : 0);
    unlink (path);
  }
  /* With a wrong checksum it says nothing. */
  be_killed ();
  patch (60, false);
  write_to (image_fd);
  assert_true (is_there ());
  unlink (path);
}

static void
a_journal_that_is_written_to_stays (void **state)
{
  struct pending_image image = in_file ();
  struct pending *p = open_pending (&image);
  char path[200];
  int other = make_other ("other", path, sizeof path);

  (void) state;
  assert_int_equal (pending_set (p, 3, 33, 100, 200), 0);
  patch (60, true);
  write_to (other);
  assert_true (is_there ());
  clear_all (p);
  pending_close (p);
  close (other);
  assert_int_equal (unlink (path), 0);
}

static int
make_folder (void **state)
{
  char path[200];

  (void) state;
  if (mkdtemp (folder) == NULL)
    return 0;
  snprintf (path, sizeof path, "%s/image", folder);
  image_fd = open (path, O_RDWR | O_CREAT | O_EXCL, 0600);
  return image_fd >= 0 ? 0 : -1;
}

static int
remove_folder (void **state)
{
  char command[200];

  (void) state;
  snprintf (command, sizeof command, "rm -rf '%s'", folder);
  return image_fd < 0 || system (command) == 0 ? 0 : -1;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (bits_that_were_set_count_and_no_others),
    cmocka_unit_test (merging_leaves_other_bits_alone),
    cmocka_unit_test (only_what_was_in_the_snapshot_is_cleared),
    cmocka_unit_test (a_full_table_says_so),
    cmocka_unit_test (many_threads_share_a_table),
  };
  const struct CMUnitTest journals[] = {
    cmocka_unit_test (the_bits_of_a_killed_process_are_there),
    cmocka_unit_test (bits_that_were_disowned_are_for_nobody_else),
    cmocka_unit_test (a_reader_sees_the_bits_and_leaves_them),
    cmocka_unit_test (whenever_it_is_killed),
    cmocka_unit_test (two_do_not_write_to_one_image),
    cmocka_unit_test (a_journal_of_something_else_does_not_count),
    cmocka_unit_test (a_journal_of_another_version_is_refused),
    cmocka_unit_test (the_environment_does_not_hide_a_journal),
    cmocka_unit_test (without_a_memory_file_system_there_is_a_warning),
    cmocka_unit_test (a_folder_that_others_can_write_to_is_not_used),
    cmocka_unit_test (a_journal_is_removed_when_its_image_is_gone),
    cmocka_unit_test (a_journal_without_a_home_stays),
    cmocka_unit_test (a_journal_of_another_time_is_removed),
    cmocka_unit_test (a_journal_that_is_written_to_stays),
  };
  int failed = cmocka_run_group_tests (tests, NULL, NULL);

  /* Journals need a memory file system. */
  if (access ("/dev/shm", W_OK) != 0)
    return failed ? 1 : 77;
  return failed || cmocka_run_group_tests (journals, make_folder,
                                           remove_folder) ? 1 : 0;
}
