/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks on exports of an NBD server: nbdkit with its own plugins. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <libnbd.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd-connect.h"
#include "lib/block/nbd.h"
#include "lib/format/image.h"
#include "tests/support/nbd-server.h"

static char dir[] = "test-nbd.XXXXXX";
static char sock[64], pidfile[64], uri[128];
static pid_t server = -1;

/* nbdkit writes its pid file when it accepts connections. */
static void
wait_for_pidfile (void)
{
  for (int i = 0; i < 3000; ++i) {
    struct timespec ts = { 0, 10 * 1000 * 1000 };
    struct stat st;

    if (stat (pidfile, &st) == 0 && st.st_size > 0)
      return;
    if (waitpid (server, NULL, WNOHANG) == server) {
      server = -1;
      break;
    }
    nanosleep (&ts, NULL);
  }
  fail_msg ("nbdkit did not start");
}

#define start(...) \
  start_server ((const char *const[]) { __VA_ARGS__, NULL })

static void
start_server (const char *const *args)
{
  const char *argv[32] = { "nbdkit", "-f", "--exit-with-parent", "-U", sock,
                           "-P", pidfile };
  int n = 7;

  while (*args && n < 31)
    argv[n++] = *args++;
  argv[n] = NULL;
  unlink (sock);
  unlink (pidfile);
  server = fork ();
  assert_true (server >= 0);
  if (server == 0) {
    execvp (argv[0], (char **) argv);
    _exit (127);
  }
  wait_for_pidfile ();
}

static void
stop (int sig)
{
  if (server <= 0)
    return;
  kill (server, sig);
  waitpid (server, NULL, 0);
  server = -1;
}

static int
teardown (void **state)
{
  (void) state;
  stop (SIGKILL);
  return 0;
}

static int
make_dir (void **state)
{
  (void) state;
  if (mkdtemp (dir) == NULL)
    return -1;
  snprintf (sock, sizeof sock, "%s/s", dir);
  snprintf (pidfile, sizeof pidfile, "%s/p", dir);
  snprintf (uri, sizeof uri, "nbd+unix:///?socket=%s", sock);
  return 0;
}

static int
remove_dir (void **state)
{
  (void) state;
  unlink (sock);
  unlink (pidfile);
  return rmdir (dir);
}

static struct block *
open_uri (unsigned flags)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  if (block_nbd_open (uri, flags, &b, &err) < 0)
    fail_msg ("%s", err.msg);
  return b;
}

/* nbdkit's pattern plugin: each 8 bytes are their offset, big-endian. */
static void
assert_pattern (const uint8_t *buf, size_t len, uint64_t off)
{
  for (size_t i = 0; i < len; ++i) {
    uint64_t at = (off + i) & ~UINT64_C (7);
    uint8_t byte = (uint8_t) (at >> (8 * (7 - (off + i) % 8)));

    if (buf[i] != byte)
      assert_int_equal (buf[i], byte);
  }
}

static void *
read_pattern (void *block)
{
  uint8_t buf[10000];

  for (uint64_t off = 1; off < 4000000; off += 99991) {
    memset (buf, 0xEE, sizeof buf);
    if (block_pread (block, buf, sizeof buf, off, NULL) < 0)
      return NULL;
    assert_pattern (buf, sizeof buf, off);
  }
  return block;
}

static void
read_by_many_threads (struct block *b)
{
  pthread_t threads[16];
  void *ok;

  for (int i = 0; i < 16; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, read_pattern, b), 0);
  for (int i = 0; i < 16; ++i) {
    pthread_join (threads[i], &ok);
    assert_ptr_equal (ok, b);
  }
}

static void
many_threads_read_the_right_bytes (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;

  (void) state;
  start ("pattern", "4M");
  b = open_uri (0);
  assert_true (block_size (b) == 4 << 20);
  assert_string_equal (block_name (b), uri);
  read_by_many_threads (b);
}

/* It does not refuse the others: they would wait until the first is gone. */
static void
a_server_that_takes_one_connection_gets_one (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;

  (void) state;
  start ("--filter=noparallel", "pattern", "4M", "serialize=connections");
  b = open_uri (0);
  alarm (60);
  read_by_many_threads (b);
  alarm (0);
}

static void
a_server_that_takes_few_connections_is_enough (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;

  (void) state;
  start ("--filter=limit", "pattern", "4M", "limit=2");
  b = open_uri (0);
  read_by_many_threads (b);
}

/* A connection that was never made has lost no write. */
static void
a_writer_too_makes_do_with_few_connections (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;

  (void) state;
  start ("--filter=limit", "--filter=cow", "pattern", "4M", "limit=2");
  b = open_uri (BLOCK_NBD_WRITE);
  read_by_many_threads (b);
  assert_int_equal (block_pwrite (b, "x", 1, 0, BLOCK_FUA, NULL), 0);
}

static void
whole_blocks_are_read_where_the_server_insists (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_FREE uint8_t *big = malloc (1 << 20);
  struct block_sizes sizes;
  struct err err = ERR_INIT;
  uint8_t buf[100];

  (void) state;
  start ("--filter=blocksize-policy", "pattern", "1M",
         "blocksize-minimum=4096", "blocksize-preferred=4096",
         "blocksize-maximum=65536", "blocksize-error-policy=error");
  b = open_uri (0);
  block_get_sizes (b, &sizes);
  assert_int_equal (sizes.minimum, 4096);
  assert_int_equal (block_pread (b, buf, 100, 4050, &err), 0);
  assert_pattern (buf, 100, 4050);
  assert_int_equal (block_pread (b, big, 1 << 20, 0, &err), 0);
  assert_pattern (big, 1 << 20, 0);
}

static void
writes_arrive_and_are_flushed (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  char buf[8];

  (void) state;
  start ("memory", "1M");
  b = open_uri (BLOCK_NBD_WRITE);
  assert_int_equal (block_pwrite (b, "payload", 7, 511, BLOCK_FUA, NULL), 0);
  assert_int_equal (block_flush (b, NULL), 0);
  assert_int_equal (block_pread (b, buf, 7, 511, NULL), 0);
  assert_memory_equal (buf, "payload", 7);
  assert_int_equal (block_zero (b, 3, 511, 0, NULL), 0);
  assert_int_equal (block_pread (b, buf, 7, 511, NULL), 0);
  assert_memory_equal (buf, "\0\0\0load", 7);
  assert_int_equal (block_trim (b, 65536, 0, BLOCK_FUA, NULL), 0);
}

static void
a_read_only_export_is_not_opened_for_writing (void **state)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  start ("-r", "memory", "1M");
  assert_int_equal (block_nbd_open (uri, BLOCK_NBD_WRITE, &b, &err), -EROFS);
}

static void
extents_are_those_of_the_server (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  struct err err = ERR_INIT;

  (void) state;
  /* 1 MiB of data at 6 GiB in a disk of 12 GiB. */
  start ("data", "size=12G", "@0x180000000 1*1048576");
  b = open_uri (0);
  assert_int_equal (block_extents (b, block_size (b) - 1000, 1000, &list,
                                   &err), 0);
  assert_int_equal (list.v.len, 3);
  assert_true (list.v.ptr[0].off == 1000);
  assert_int_equal (list.v.ptr[0].kind, EXTENT_HOLE);
  assert_true (list.v.ptr[1].off == UINT64_C (6) << 30);
  assert_int_equal (list.v.ptr[1].kind, EXTENT_DATA);
  assert_int_equal (list.v.ptr[2].kind, EXTENT_HOLE);
  assert_true (extent_list_end (&list, 0) == UINT64_C (12) << 30);
}

static void
say_nothing (int fd, unsigned nth)
{
  char buf[1000];

  (void) nth;
  nbd_server_receive (fd, buf, sizeof buf);
}

static void
a_server_that_says_nothing_is_given_up (void **state)
{
  struct nbd_handle *h = nbd_create ();
  struct err err = ERR_INIT;

  (void) state;
  server = nbd_server_start (sock, say_nothing);
  assert_true (server > 0);
  alarm (60);
  assert_int_equal (nbd_connect_bounded (h, uri, 1, &err), -ETIMEDOUT);
  alarm (0);
  assert_string_equal (err.msg, "the server did not answer within 1 seconds");
  nbd_close (h);
}

static void
a_reader_survives_a_restart_of_the_server (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;
  uint8_t buf[512];

  (void) state;
  start ("pattern", "1M");
  b = open_uri (0);
  stop (SIGKILL);
  assert_int_equal (block_pread (b, buf, 512, 512, &err), -EIO);
  start ("pattern", "1M");
  assert_int_equal (block_pread (b, buf, 512, 512, &err), 0);
  assert_pattern (buf, 512, 512);
  stop (SIGKILL);
  start ("pattern", "2M");
  assert_int_equal (block_pread (b, buf, 512, 512, &err), -EIO);
  assert_non_null (strstr (err.msg, "expected 1048576"));
}

static void
a_writer_does_not (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  start ("memory", "1M");
  b = open_uri (BLOCK_NBD_WRITE);
  assert_int_equal (block_pwrite (b, "x", 1, 0, 0, &err), 0);
  stop (SIGKILL);
  start ("memory", "1M");
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_non_null (strstr (err.msg, "lost while writing"));
}

static void
an_error_of_the_server_is_passed_on (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;
  char buf[512];

  (void) state;
  start ("--filter=error", "memory", "1M", "error-pread=EIO",
         "error-pread-rate=100%");
  b = open_uri (0);
  assert_int_equal (block_pread (b, buf, 512, 0, &err), -EIO);
}

/* A goodbye that waits for an answer would never return: the alarm ends us. */
static void
closing_does_not_wait_for_a_server_that_is_stuck (void **state)
{
  struct block *b;
  uint8_t buf[512];

  (void) state;
  start ("pattern", "1M");
  b = open_uri (0);
  assert_int_equal (block_pread (b, buf, 512, 0, NULL), 0);
  kill (server, SIGSTOP);
  alarm (60);
  block_unref (b);
  alarm (0);
}

static void
nobody_there_is_said (void **state)
{
  struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  unlink (sock);
  assert_int_equal (block_nbd_open (uri, 0, &b, &err), -ENOENT);
  assert_non_null (strstr (err.msg, "No such file"));
}

static void
an_image_lies_on_an_export (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t buf[512];

  (void) state;
  start ("pattern", "1M");
  assert_int_equal (image_open (uri, NULL, &img, NULL, NULL), 0);
  assert_string_equal (image_format (img), "raw");
  assert_int_equal (image_pread (img, buf, 512, 1024, NULL), 0);
  assert_pattern (buf, 512, 1024);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown (many_threads_read_the_right_bytes, teardown),
    cmocka_unit_test_teardown (a_server_that_takes_one_connection_gets_one,
                               teardown),
    cmocka_unit_test_teardown (a_server_that_takes_few_connections_is_enough,
                               teardown),
    cmocka_unit_test_teardown (a_writer_too_makes_do_with_few_connections,
                               teardown),
    cmocka_unit_test_teardown (whole_blocks_are_read_where_the_server_insists,
                               teardown),
    cmocka_unit_test_teardown (writes_arrive_and_are_flushed, teardown),
    cmocka_unit_test_teardown (a_read_only_export_is_not_opened_for_writing,
                               teardown),
    cmocka_unit_test_teardown (extents_are_those_of_the_server, teardown),
    cmocka_unit_test_teardown (a_server_that_says_nothing_is_given_up,
                               teardown),
    cmocka_unit_test_teardown (a_reader_survives_a_restart_of_the_server,
                               teardown),
    cmocka_unit_test_teardown (a_writer_does_not, teardown),
    cmocka_unit_test_teardown (an_error_of_the_server_is_passed_on,
                               teardown),
    cmocka_unit_test_teardown
      (closing_does_not_wait_for_a_server_that_is_stuck, teardown),
    cmocka_unit_test_teardown (nobody_there_is_said, teardown),
    cmocka_unit_test_teardown (an_image_lies_on_an_export, teardown),
  };

  return cmocka_run_group_tests (tests, make_dir, remove_dir);
}
