/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The store over SFTP: what every store has to do, and what it does when its
 * connection breaks, its server is silent, or lacks an extension.  The server
 * is OpenSSH's, at the other end of a socket; SSH itself is for
 * tests/cli/test-vault-ssh.sh.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/repo/ssh-uri.h"
#include "lib/repo/store-sftp.h"
#include "tests/support/sftp-pipe.h"
#include "tests/support/store-contract.h"

#define MIB ((size_t) 1024 * 1024)

/* The thread sanitizer has no threads after a fork. */
#ifdef __SANITIZE_THREAD__
#define CAN_FORK false
#else
#define CAN_FORK true
#endif

static struct sftp_pipe way;
static struct err err;

static int
open_store (void)
{
  struct sftp_dialer dialer = sftp_pipe_dialer (&way);

  return store_sftp_open (&dialer, "sftp:test", folder, true, 0, NULL,
                          &store, &err);
}

static int
setup (void **state)
{
  (void) state;
  if (!sftp_pipe_can ())
    return 0;
  memset (&way, 0, sizeof way);
  assert_non_null (getcwd (folder, sizeof folder - 32));
  strcat (folder, "/test-store-sftp.XXXXXX");
  assert_non_null (mkdtemp (folder));
  assert_int_equal (open_store (), 0);
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
  store = NULL;
  snprintf (command, sizeof command, "rm -rf '%s'", folder);
  return system (command);
}

/* The store anew, to a server without these requests. */
static void
reopen_without (const char *requests)
{
  store_close (store);
  store = NULL;
  way.without = requests;
  assert_int_equal (open_store (), 0);
}

/*--- the trial, and extensions ----------------------------------------------*/

static void
it_passes_the_trial (void **state)
{
  struct report report = REPORT_INIT;

  (void) state;
  assert_int_equal (store_try (store, &report, &err), 0);
  assert_int_equal (report.lines.len, 0);
}

static void
without_fsync_the_trial_says_what_that_means (void **state)
{
  struct report report = REPORT_INIT;

  (void) state;
  reopen_without ("fsync");
  assert_int_equal (store_try (store, &report, &err), 0);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "folders can't be flushed"));
  report_free (&report);
}

static void
without_other_extensions_nothing_is_missing (void **state)
{
  struct report report = REPORT_INIT;
  uint64_t space = 0;

  (void) state;
  assert_int_equal (store_space (store, &space, &err), 0);
  assert_true (space > 0);
  reopen_without ("posix-rename,hardlink,statvfs,fstatvfs,limits,copy-data,"
                  "expand-path,lsetstat,users-groups-by-id");
  assert_int_equal (store_try (store, &report, &err), 0);
  assert_int_equal (report.lines.len, 0);
  assert_int_equal (store_space (store, &space, &err), -ENOTSUP);
  put ("files/a", "text");
  assert_is ("files/a", "text");
}

static void
a_server_that_does_not_rename_is_refused (void **state)
{
  (void) state;
  reopen_without ("rename");
  assert_true (store_try (store, NULL, &err) < 0);
  assert_non_null (strstr (err.msg, "a vault can't be here"));
}

/*--- much -------------------------------------------------------------------*/

static char
byte_at (uint64_t off)
{
  return (char) ((off * 2654435761U) >> 24 ^ off >> 16);
}

static char *
bytes_from (uint64_t off, size_t len)
{
  char *buf = malloc (len);

  assert_non_null (buf);
  for (size_t i = 0; i < len; ++i)
    buf[i] = byte_at (off + i);
  return buf;
}

/* In pieces of odd sizes. */
static int
write_much (struct store_file *f, uint64_t from, uint64_t to)
{
  int r = 0;

  for (size_t n = 1; r == 0 && from < to; n = n * 3 % 700001) {
    size_t len = to - from < n ? (size_t) (to - from) : n;
    char *buf = bytes_from (from, len);

    r = store_write (f, buf, len, &err);
    free (buf);
    from += len;
  }
  return r;
}

/* On the disk, past the store. */
static void
assert_file (const char *name, uint64_t size)
{
  char path[512];
  struct stat st;
  uint64_t off = 0;
  FILE *fp;
  int c;

  snprintf (path, sizeof path, "%s/%s", folder, name);
  assert_int_equal (stat (path, &st), 0);
  assert_int_equal (st.st_size, size);
  fp = fopen (path, "r");
  assert_non_null (fp);
  while ((c = getc_unlocked (fp)) != EOF)
    if ((char) c != byte_at (off++))
      fail_msg ("another byte at %llu", (unsigned long long) off - 1);
  assert_int_equal (off, size);
  fclose (fp);
}

static void
make_file (const char *name, uint64_t size)
{
  struct store_file *f;

  assert_int_equal (store_make (store, name, &f, &err), 0);
  assert_int_equal (write_much (f, 0, size), 0);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (store_file_size (f), size);
  assert_int_equal (store_end (f, &err), 0);
}

static void
a_large_file_is_written_and_read (void **state)
{
  const uint64_t size = 37 * MIB + 123;
  struct block *block;

  (void) state;
  make_file ("files/a", size);
  assert_file ("files/a", size);
  assert_int_equal (store_open (store, "files/a", &block, &err), 0);
  for (uint64_t off = 0, n = 1; off < size; off += n, n = n * 5 + 3) {
    size_t len = size - off < n ? (size_t) (size - off) : (size_t) n;
    char *buf = malloc (len), *expected = bytes_from (off, len);

    assert_int_equal (block_pread (block, buf, len, off, &err), 0);
    assert_memory_equal (buf, expected, len);
    free (buf);
    free (expected);
  }
  block_unref (block);
}

struct names {
  bool seen[500];
  unsigned total;
};

static int
see_number (void *opaque, const struct store_entry *e, struct err *e2)
{
  struct names *names = opaque;
  unsigned long n = strtoul (e->name, NULL, 10);

  (void) e2;
  assert_in_range (n, 0, 499);
  assert_false (names->seen[n]);
  names->seen[n] = true;
  names->total++;
  return 0;
}

/* More than one answer has. */
static void
a_folder_with_many_names_is_listed (void **state)
{
  struct names names = { .total = 0 };

  (void) state;
  for (unsigned i = 0; i < 500; ++i) {
    char path[512];
    FILE *fp;

    snprintf (path, sizeof path, "%s/files/%03u-a-name-of-some-length", folder,
              i);
    fp = fopen (path, "w");
    assert_non_null (fp);
    fclose (fp);
  }
  assert_int_equal (store_list (store, "files", see_number, &names, &err), 0);
  assert_int_equal (names.total, 500);
  /* Each name once, though the listing is begun again. */
  memset (&names, 0, sizeof names);
  way.lose_after = way.read + 20000;
  assert_int_equal (store_list (store, "files", see_number, &names, &err), 0);
  assert_int_equal (names.total, 500);
  assert_int_equal (way.dials, 2);
}

/*--- connections that break -------------------------------------------------*/

/* Wherever the server is killed, the file has the right bytes, or fails. */
static void
a_file_goes_on_when_the_connection_breaks (void **state)
{
  const uint64_t size = 40 * MIB + 7;
  const uint64_t at[] = { 1, 1000, 300 * 1024, 5 * MIB, 17 * MIB + 5,
                          39 * MIB };
  char name[32];

  (void) state;
  for (size_t i = 0; i < sizeof at / sizeof at[0]; ++i) {
    struct store_file *f;
    unsigned before = store_connections (store);

    snprintf (name, sizeof name, "files/%zu", i);
    assert_int_equal (store_make (store, name, &f, &err), 0);
    way.break_after = way.written + at[i];
    assert_int_equal (write_much (f, 0, size), 0);
    assert_int_equal (store_flush (f, &err), 0);
    assert_int_equal (store_end (f, &err), 0);
    assert_int_equal (store_connections (store), before + 1);
    assert_file (name, size);
    assert_int_equal (store_delete (store, name, &err), 0);
  }
}

/* What was flushed before the connection broke is not sent again. */
static void
only_what_was_not_flushed_is_sent_again (void **state)
{
  struct store_file *f;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (write_much (f, 0, 8 * MIB), 0);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (write_much (f, 8 * MIB, 10 * MIB), 0);
  kill (way.pid, SIGKILL);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (way.dials, 2);
  assert_in_range (way.written, 2 * MIB, 3 * MIB);
  assert_int_equal (store_end (f, &err), 0);
  assert_file ("files/a", 10 * MIB);
}

/* Less gets through each connection than what usually lies between two
 * flushes.
 */
static void
a_file_gets_there_in_small_parts (void **state)
{
  (void) state;
  way.each = true;
  way.break_after = MIB;
  make_file ("files/a", 10 * MIB);
  assert_true (way.dials > 10);
  way.break_after = 0;
  assert_file ("files/a", 10 * MIB);
}

/* SFTP has no number for it. */
static void
a_disk_that_is_full_is_said_to_be (void **state)
{
  struct store_file *f;
  int r;

  (void) state;
  if (mount ("tmpfs", folder, "tmpfs", 0, "size=1m") < 0)
    skip ();
  r = store_make (store, "a", &f, &err);
  if (r == 0) {
    r = write_much (f, 0, 3 * MIB);
    if (r == 0)
      r = store_flush (f, &err);
    (void) store_end (f, &err);
  }
  assert_int_equal (umount2 (folder, MNT_DETACH), 0);
  assert_int_equal (r, -ENOSPC);
}

/* A server that was down and lost what it had not flushed. */
static void
what_the_server_lost_is_written_again (void **state)
{
  char path[512];
  struct store_file *f;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (write_much (f, 0, 3 * MIB), 0);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (write_much (f, 3 * MIB, 9 * MIB), 0);
  kill (way.pid, SIGKILL);
  snprintf (path, sizeof path, "%s/files/a", folder);
  assert_int_equal (truncate (path, (off_t) (3 * MIB)), 0);
  assert_int_equal (write_much (f, 9 * MIB, 12 * MIB), 0);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (store_end (f, &err), 0);
  assert_file ("files/a", 12 * MIB);
}

static void
a_server_that_lost_what_it_flushed_is_not_believed (void **state)
{
  char path[512];
  struct store_file *f;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (write_much (f, 0, 3 * MIB), 0);
  assert_int_equal (store_flush (f, &err), 0);
  kill (way.pid, SIGKILL);
  snprintf (path, sizeof path, "%s/files/a", folder);
  assert_int_equal (truncate (path, (off_t) (3 * MIB - 1)), 0);
  (void) write_much (f, 3 * MIB, 4 * MIB);
  assert_int_equal (store_flush (f, &err), -EIO);
  (void) store_end (f, &err);
}

static void
a_file_that_went_meanwhile_is_not_made_again (void **state)
{
  struct store_file *f;
  char path[512];

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (write_much (f, 0, 100), 0);
  kill (way.pid, SIGKILL);
  snprintf (path, sizeof path, "%s/files/a", folder);
  assert_int_equal (unlink (path), 0);
  assert_int_equal (store_flush (f, &err), -EIO);
  assert_non_null (strstr (err.msg, "gone"));
  (void) store_end (f, &err);
  assert_false (is_there ("files/a"));
}

static void
without_fsync_a_broken_connection_is_the_end_of_a_file (void **state)
{
  struct store_file *f;

  (void) state;
  reopen_without ("fsync");
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  assert_int_equal (write_much (f, 0, MIB), 0);
  assert_int_equal (store_flush (f, &err), 0);
  assert_int_equal (write_much (f, MIB, 2 * MIB), 0);
  kill (way.pid, SIGKILL);
  assert_int_equal (store_flush (f, &err), -EIO);
  assert_non_null (strstr (err.msg, "fsync@openssh.com"));
  (void) store_end (f, &err);
}

/* A name that was made, and not flushed, before the server went down. */
static void
a_folder_s_flush_does_not_vouch_for_what_is_lost (void **state)
{
  char from[512], to[512];

  (void) state;
  assert_int_equal (store_make_folder (store, "partial/x", &err), 0);
  assert_int_equal (store_flush_folder (store, "partial", &err), 0);
  assert_int_equal (store_rename (store, "partial/x", "files/x", &err), 0);
  kill (way.pid, SIGKILL);
  /* The server is there again, and all is as it was. */
  assert_int_equal (store_flush_folder (store, "files", &err), 0);

  assert_int_equal (store_rename (store, "files/x", "files/y", &err), 0);
  kill (way.pid, SIGKILL);
  snprintf (from, sizeof from, "%s/files/y", folder);
  snprintf (to, sizeof to, "%s/files/x", folder);
  assert_int_equal (rename (from, to), 0);
  assert_int_equal (store_flush_folder (store, "files", &err), -EIO);
  assert_non_null (strstr (err.msg, "lost"));
}

/* Answers are 20 to 70 bytes long: each is lost in turn, the last one too, when
 * what was asked for is done.
 */
#define STEP 9

/* Has the connection broken during the last operation? */
static bool
has_broken (void)
{
  bool broken = way.lose_after == 0;

  way.lose_after = 0;
  return broken;
}

static unsigned
lose_in_rename (void)
{
  unsigned n = 0;
  bool broken;

  do {
    char name[32];

    put ("files/a", "text");
    snprintf (name, sizeof name, "partial/%u", n);
    way.lose_after = way.read + ++n * STEP;
    assert_int_equal (store_rename (store, "files/a", name, &err), 0);
    broken = has_broken ();
    assert_false (is_there ("files/a"));
    assert_is (name, "text");
  } while (broken);
  return n;
}

static unsigned
lose_in_delete (bool is_folder)
{
  unsigned n = 0;
  bool broken;

  do {
    if (is_folder)
      assert_int_equal (store_make_folder (store, "files/x", &err), 0);
    else
      put ("files/x", "text");
    way.lose_after = way.read + ++n * STEP;
    assert_int_equal (is_folder ? store_delete_folder (store, "files/x", &err)
                      : store_delete (store, "files/x", &err), 0);
    broken = has_broken ();
    assert_false (is_there ("files/x"));
  } while (broken);
  return n;
}

/* Who made it can't be told: it never says that somebody else did. */
static unsigned
lose_in_make (bool is_folder, unsigned *unknown)
{
  unsigned n = 0;
  bool broken;

  do {
    struct store_file *f = NULL;
    char name[32];
    int r;

    snprintf (name, sizeof name, "files/%u", n);
    way.lose_after = way.read + ++n * STEP;
    r = is_folder ? store_make_folder (store, name, &err)
      : store_make (store, name, &f, &err);
    broken = has_broken ();
    assert_true (r == 0 || (broken && r == -EIO));
    *unknown += r == -EIO;
    assert_true (is_there (name));
    if (f != NULL)
      assert_int_equal (store_end (f, &err), 0);
    assert_int_equal (is_folder ? store_delete_folder (store, name, &err)
                      : store_delete (store, name, &err), 0);
  } while (broken);
  return n;
}

static unsigned
lose_in_rewrite (void)
{
  unsigned n = 0;
  bool broken;

  put ("files/r", "a longer text");
  do {
    char text[16];
    int64_t when;

    snprintf (text, sizeof text, "%u", n);
    way.lose_after = way.read + ++n * STEP;
    assert_int_equal (store_rewrite (store, "files/r", text, strlen (text),
                                     &when, &err), 0);
    broken = has_broken ();
    assert_is ("files/r", text);
  } while (broken);
  return n;
}

static unsigned
lose_in_flush_folder (void)
{
  unsigned n = 0;
  bool broken;

  do {
    way.lose_after = way.read + ++n * STEP;
    assert_int_equal (store_flush_folder (store, "files", &err), 0);
    broken = has_broken ();
  } while (broken);
  return n;
}

static void
answers_that_are_lost_are_looked_up (void **state)
{
  unsigned unknown = 0;

  (void) state;
  assert_true (lose_in_rename () > 10);
  assert_true (lose_in_delete (false) > 5);
  assert_true (lose_in_delete (true) > 5);
  assert_true (lose_in_make (false, &unknown) > 5);
  assert_true (unknown > 0);
  unknown = 0;
  assert_true (lose_in_make (true, &unknown) > 5);
  assert_true (unknown > 0);
  assert_true (lose_in_rewrite () > 10);
  assert_true (lose_in_flush_folder () > 10);
}

static void
a_read_goes_on_when_the_connection_breaks (void **state)
{
  const size_t size = 9 * MIB;
  char *buf = malloc (size), *expected = bytes_from (0, size);
  struct block *block;

  (void) state;
  make_file ("files/a", size);
  assert_int_equal (store_open (store, "files/a", &block, &err), 0);
  for (size_t at = 1; at < size; at += 2 * MIB) {
    memset (buf, 0, size);
    way.lose_after = way.read + at;
    assert_int_equal (block_pread (block, buf, size, 0, &err), 0);
    assert_memory_equal (buf, expected, size);
  }
  assert_true (way.dials >= 4);
  /* One that has another size now is another. */
  kill (way.pid, SIGKILL);
  {
    char path[512];

    snprintf (path, sizeof path, "%s/files/a", folder);
    assert_int_equal (truncate (path, 17), 0);
  }
  assert_int_equal (block_pread (block, buf, 10, 0, &err), -EIO);
  block_unref (block);
  free (buf);
  free (expected);
}

static void
assert_reads (struct block *block, uint64_t off, size_t len)
{
  char *buf = malloc (len), *expected = bytes_from (off, len);

  assert_int_equal (block_pread (block, buf, len, off, &err), 0);
  assert_memory_equal (buf, expected, len);
  free (buf);
  free (expected);
}

/* By who reads on and on, with jumps, and connections that break. */
static void
what_is_read_ahead_has_the_right_bytes (void **state)
{
  const uint64_t size = 20 * MIB + 4321;
  struct block *block;
  uint64_t off = 0, before;

  (void) state;
  make_file ("files/a", size);
  assert_int_equal (store_open (store, "files/a", &block, &err), 0);
  for (unsigned n = 0; off < size; ++n) {
    size_t len = n % 2 ? 68 * 1024 + 11 : 64;

    assert_reads (block, off, size - off < len ? (size_t) (size - off) : len);
    off += len;
    if (n % 100 == 50)
      way.lose_after = way.read + 700000;
    if (n % 170 == 90)
      assert_reads (block, size - 5 - n * 1000, 5);
  }
  assert_true (way.dials > 2);

  /* It does read ahead, and only of who reads on. */
  block_unref (block);
  assert_int_equal (store_open (store, "files/a", &block, &err), 0);
  before = way.read;
  for (unsigned n = 0; n < 20; ++n)
    assert_reads (block, n * 7919 * 1000 % size, 10);
  assert_true (way.read - before < 10000);
  for (unsigned n = 0; n < 6; ++n)
    assert_reads (block, n * 1000, 1000);
  assert_reads (block, 3 * MIB, 1);
  assert_true (way.read - before > 3 * MIB);
  block_unref (block);
}

static void
a_process_that_was_forked_reads_on (void **state)
{
  struct block *block;
  int status;
  pid_t pid;

  (void) state;
  if (!CAN_FORK)
    skip ();
  make_file ("files/a", 9 * MIB);
  assert_int_equal (store_open (store, "files/a", &block, &err), 0);
  for (unsigned n = 0; n < 10; ++n)
    assert_reads (block, n * 1000, 1000);
  pid = fork ();
  if (pid == 0) {
    char *buf = malloc (MIB / 2), *expected = bytes_from (10000, MIB / 2);
    int r;

    alarm (20);
    r = block_pread (block, buf, MIB / 2, 10000, NULL);
    _exit (r == 0 && memcmp (buf, expected, MIB / 2) == 0 ? 0 : 1);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_int_equal (status, 0);
  assert_reads (block, 10000, MIB);
  block_unref (block);
}

struct worker {
  pthread_t thread;
  char name[32];
  struct store_file *f;         /* of this name, made */
  struct block *shared;
  const char *failed;           /* NULL: nothing */
};

/* No cmocka here: it is for one thread. */
static void *
work (void *opaque)
{
  struct worker *w = opaque;
  char *bytes = bytes_from (0, 3 * MIB), *buf = malloc (3 * MIB);
  struct err e = ERR_INIT;
  struct block *block = NULL;

  for (size_t off = 0; w->failed == NULL && off < 3 * MIB; off += 3000)
    if (store_write (w->f, bytes + off, 3 * MIB - off < 3000 ? 3 * MIB - off
                     : 3000, &e) < 0)
      w->failed = strdup (e.msg);
  if (w->failed == NULL &&
      (store_flush (w->f, &e) < 0 || store_end (w->f, &e) < 0 ||
       store_open (store, w->name, &block, &e) < 0))
    w->failed = strdup (e.msg);
  for (size_t off = 0; w->failed == NULL && off < 3 * MIB; off += 65536) {
    if (block_pread (block, buf + off, 65536, off, &e) < 0 ||
        block_pread (w->shared, buf, 40000, off, &e) < 0)
      w->failed = strdup (e.msg);
    else if (memcmp (buf, bytes + off, 40000) != 0 ||
             (off > 0 && memcmp (buf + off, bytes + off, 65536) != 0))
      w->failed = "other bytes";
  }
  block_unref (block);
  free (bytes);
  free (buf);
  return NULL;
}

/* Files of their own, one that all read, and a connection that breaks under all
 * of them; not while a file is made, as nobody knows then who made it.
 */
static void
many_threads_use_one_store (void **state)
{
  struct worker workers[6];
  struct block *shared;

  (void) state;
  make_file ("files/shared", 3 * MIB);
  assert_int_equal (store_open (store, "files/shared", &shared, &err), 0);
  for (unsigned i = 0; i < 6; ++i) {
    workers[i] = (struct worker) { .shared = shared };
    snprintf (workers[i].name, sizeof workers[i].name, "files/of-%u", i);
    assert_int_equal (store_make (store, workers[i].name, &workers[i].f, &err),
                      0);
  }
  way.break_after = way.written + 9 * MIB;
  for (unsigned i = 0; i < 6; ++i) {
    assert_int_equal (pthread_create (&workers[i].thread, NULL, work,
                                      &workers[i]), 0);
  }
  for (unsigned i = 0; i < 6; ++i) {
    assert_int_equal (pthread_join (workers[i].thread, NULL), 0);
    if (workers[i].failed)
      fail_msg ("thread %u: %s", i, workers[i].failed);
  }
  assert_int_equal (way.dials, 2);
  block_unref (shared);
}

static void
a_server_that_stays_away_is_an_error_in_time (void **state)
{
  struct store_file *f;
  struct store_stat st;

  (void) state;
  assert_int_equal (store_make (store, "files/a", &f, &err), 0);
  way.refuse = true;
  kill (way.pid, SIGKILL);
  (void) write_much (f, 0, MIB);
  assert_int_equal (store_flush (f, &err), -EIO);
  assert_int_equal (store_stat (store, "files", &st, &err), -EIO);
  assert_non_null (strstr (err.msg, "nobody is there"));
  (void) store_end (f, &err);
}

static void
a_server_that_stops_is_an_error_in_time (void **state)
{
  struct sftp_dialer dialer = sftp_pipe_dialer (&way);
  struct store_stat st;

  (void) state;
  store_close (store);
  store = NULL;
  dialer.timeout = 1;
  dialer.retry = 1;
  assert_int_equal (store_sftp_open (&dialer, "x", folder, false, 0, NULL,
                                     &store, &err), 0);
  way.refuse = true;
  kill (way.pid, SIGSTOP);
  assert_true (store_stat (store, "files", &st, &err) < 0);
  way.refuse = false;
}

static void
a_job_that_is_cancelled_does_not_wait_for_a_server (void **state)
{
  struct job job = JOB_INIT;
  struct store_stat st;

  (void) state;
  store_set_job (store, &job);
  job_cancel (&job);
  /* One that answers is used as before. */
  assert_int_equal (store_stat (store, "files", &st, &err), 0);
  kill (way.pid, SIGSTOP);
  assert_int_equal (store_stat (store, "files", &st, &err), -ECANCELED);
  store_set_job (store, NULL);
}

/* nbdkit opens, and then goes into the background. */
static void
a_process_that_was_forked_connects_for_itself (void **state)
{
  int status;
  pid_t pid;

  (void) state;
  if (!CAN_FORK)
    skip ();
  put ("files/a", "text");
  pid = fork ();
  if (pid == 0) {
    char *buf;
    size_t len;
    int r = store_read_all (store, "files/a", 10, &buf, &len, NULL);

    _exit (r == 0 && strcmp (buf, "text") == 0 ? 0 : 1);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_int_equal (status, 0);
  assert_is ("files/a", "text");
  assert_int_equal (way.dials, 1);
}

/*--- URIs -------------------------------------------------------------------*/

static void
uris_are_taken_apart (void **state)
{
  static const struct {
    const char *text, *user, *host, *path;
    unsigned port, lag, timeout, retry;
  } good[] = {
    { "ssh://host/a/b", NULL, "host", "/a/b", 0, 120, 60, 600 },
    { "ssh://me@host:2222/a/", "me", "host", "/a", 2222, 120, 60, 600 },
    { "ssh://host/", NULL, "host", "/", 0, 120, 60, 600 },
    { "ssh://host//", NULL, "host", "/", 0, 120, 60, 600 },
    { "ssh://host/~", NULL, "host", ".", 0, 120, 60, 600 },
    { "ssh://host/~/", NULL, "host", ".", 0, 120, 60, 600 },
    { "ssh://host/~/v/w", NULL, "host", "v/w", 0, 120, 60, 600 },
    { "ssh://host/~me", NULL, "host", "/~me", 0, 120, 60, 600 },
    { "ssh://[fe80::1]/a", NULL, "fe80::1", "/a", 0, 120, 60, 600 },
    { "ssh://a%40b@[::1]:22/%3f", "a@b", "::1", "/?", 22, 120, 60, 600 },
    { "ssh://h/v?lag=0&timeout=5&retry=0", NULL, "h", "/v", 0, 0, 5, 0 },
  };
  static const char *const bad[] = {
    "ssh:/host/a", "ssh://host", "ssh:///a", "ssh://@host/a", "ssh://u:p@h/a",
    "ssh://h:0x/a", "ssh://h:65536/a", "ssh://h/a?lag", "ssh://h/a?lag=",
    "ssh://h/a?lag=86401", "ssh://h/a?timeout=0", "ssh://h/a?x=1",
    "ssh://h/a#b", "ssh://h/%", "ssh://h/%4", "ssh://h/%00", "ssh://[::1/a",
    "ssh://[::1]x/a", "ssh://-oProxyCommand=x/a", "ssh://-l@h/a",
  };
  struct ssh_uri uri;

  (void) state;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i) {
    assert_int_equal (ssh_uri_parse (good[i].text, &uri, &err), 0);
    if (good[i].user)
      assert_string_equal (uri.user, good[i].user);
    else
      assert_null (uri.user);
    assert_string_equal (uri.host, good[i].host);
    assert_string_equal (uri.path, good[i].path);
    assert_int_equal (uri.port, good[i].port);
    assert_int_equal (uri.lag, good[i].lag);
    assert_int_equal (uri.timeout, good[i].timeout);
    assert_int_equal (uri.retry, good[i].retry);
    ssh_uri_free (&uri);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    assert_int_equal (ssh_uri_parse (bad[i], &uri, &err), -EINVAL);
  assert_true (ssh_uri_parse ("ssh://u:secret@h/a", &uri, &err) < 0);
  assert_null (strstr (err.msg, "secret"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown (fn, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    CONTRACT_TESTS (TEST),
    TEST (it_passes_the_trial),
    TEST (without_fsync_the_trial_says_what_that_means),
    TEST (without_other_extensions_nothing_is_missing),
    TEST (a_server_that_does_not_rename_is_refused),
    TEST (a_large_file_is_written_and_read),
    TEST (a_folder_with_many_names_is_listed),
    TEST (a_file_goes_on_when_the_connection_breaks),
    TEST (only_what_was_not_flushed_is_sent_again),
    TEST (a_file_gets_there_in_small_parts),
    TEST (a_disk_that_is_full_is_said_to_be),
    TEST (what_the_server_lost_is_written_again),
    TEST (a_server_that_lost_what_it_flushed_is_not_believed),
    TEST (a_file_that_went_meanwhile_is_not_made_again),
    TEST (without_fsync_a_broken_connection_is_the_end_of_a_file),
    TEST (a_folder_s_flush_does_not_vouch_for_what_is_lost),
    TEST (answers_that_are_lost_are_looked_up),
    TEST (a_read_goes_on_when_the_connection_breaks),
    TEST (what_is_read_ahead_has_the_right_bytes),
    TEST (a_process_that_was_forked_reads_on),
    TEST (many_threads_use_one_store),
    TEST (a_server_that_stays_away_is_an_error_in_time),
    TEST (a_server_that_stops_is_an_error_in_time),
    TEST (a_job_that_is_cancelled_does_not_wait_for_a_server),
    TEST (a_process_that_was_forked_connects_for_itself),
    cmocka_unit_test (uris_are_taken_apart),
  };

  if (!sftp_pipe_can ()) {
    puts ("SKIP: there is no sftp-server (openssh-sftp-server)");
    return 77;
  }
  return cmocka_run_group_tests (tests, NULL, NULL);
}
