/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writers on exports whose connections end: a flush speaks only for what the
 * server that acknowledged it still answers for.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/block/nbd.h"
#include "tests/support/nbd-hostile.h"

/* NBD_FLAG_* */
#define HAS_FLAGS 1
#define SEND_FLUSH 4
#define SEND_FUA 8
#define CAN_MULTI_CONN 256

/* In a server: which connection this process serves. */
static unsigned connection;

/* What the servers count, in hostile->counters. */
enum { WRITES, READS, FLUSHES, FLUSHES_OF_0, FLUSHES_OF_1 };

static unsigned
count (unsigned what)
{
  return __atomic_add_fetch (&hostile->counters[what], 1, __ATOMIC_SEQ_CST);
}

static unsigned
counted (unsigned what)
{
  return __atomic_load_n (&hostile->counters[what], __ATOMIC_SEQ_CST);
}

/*--- one that ended while it was idle --------------------------------------*/

static void
wait_for_both (void)
{
  while (__atomic_load_n (&hostile->connections, __ATOMIC_SEQ_CST) < 2)
    hostile_sleep (10);
}

/* The first connection ends when it has acknowledged a write. */
static bool
acknowledge_and_go (int fd, const struct nbd_server_request *req)
{
  if (req->command != NBD_SERVER_WRITE)
    return false;
  wait_for_both ();
  nbd_server_chunk (fd, req, 1, 0, "", 0);
  _exit (0);
}

/* The other lives on. */
static bool
acknowledge_later (int fd, const struct nbd_server_request *req)
{
  if (req->command != NBD_SERVER_WRITE)
    return false;
  wait_for_both ();
  hostile_sleep (300);
  nbd_server_chunk (fd, req, 1, 0, "", 0);
  return true;
}

static void
serve_a_writer (int fd, unsigned nth)
{
  const struct nbd_server_export e = {
    .size = HOSTILE_SIZE, .flags = HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN,
  };

  hostile_serve (fd, &e, hostile_disk,
                 nth == 0 ? acknowledge_and_go : acknowledge_later);
}

static void *
write_some (void *block)
{
  return block_pwrite (block, "x", 1, 0, 0, NULL) == 0 ? block : NULL;
}

static void
run_twice (void *(*fn) (void *block), struct block *b)
{
  pthread_t threads[2];
  void *ok;

  for (int i = 0; i < 2; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, fn, b), 0);
  for (int i = 0; i < 2; ++i) {
    pthread_join (threads[i], &ok);
    assert_ptr_equal (ok, b);
  }
}

static void
a_flush_does_not_speak_for_a_connection_that_ended (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  hostile_start (serve_a_writer);
  b = hostile_open (BLOCK_NBD_WRITE);
  run_twice (write_some, b);
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_pwrite (b, "x", 1, 0, 0, &err), -EIO);
}

/*--- one that dies while it is busy ----------------------------------------*/

/* It has acknowledged a write and owes the answer to a read; it dies a little
 * after another connection was flushed, or had the time to be.
 */
static bool
die_behind_a_flush (int fd, const struct nbd_server_request *req)
{
  (void) fd;
  if (req->command != NBD_SERVER_READ)
    return false;
  count (READS);
  for (int i = 0; i < 100 && counted (FLUSHES) == 0; ++i)
    hostile_sleep (10);
  hostile_sleep (300);
  _exit (0);
}

static bool
count_flushes (int fd, const struct nbd_server_request *req)
{
  (void) fd;
  if (req->command == NBD_SERVER_FLUSH)
    count (FLUSHES);
  return false;
}

static void
serve_and_die_while_busy (int fd, unsigned nth)
{
  const struct nbd_server_export e = {
    .size = HOSTILE_SIZE, .flags = (uint16_t) hostile->variant,
  };

  hostile_serve (fd, &e, hostile_disk,
                 nth == 0 ? die_behind_a_flush : count_flushes);
}

static void *
read_some (void *block)
{
  char buf[512];

  return block_pread (block, buf, sizeof buf, HOSTILE_OFF, NULL) == 0
    ? block : NULL;
}

static void
a_flush_does_not_speak_for_one_that_dies_while_busy (void **state)
{
  static const int flags[] = {
    HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN, HAS_FLAGS | CAN_MULTI_CONN,
  };

  for (int i = 0; i < 2; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    pthread_t reader;
    void *ok;

    hostile->variant = flags[i];
    hostile_start (serve_and_die_while_busy);
    b = hostile_open (BLOCK_NBD_WRITE);
    assert_int_equal (block_pwrite (b, "x", 1, 0, 0, &err), 0);
    assert_int_equal (pthread_create (&reader, NULL, read_some, b), 0);
    while (counted (READS) == 0)
      hostile_sleep (1);
    assert_int_equal (block_flush (b, &err), -EIO);
    pthread_join (reader, &ok);
    assert_null (ok);
    assert_int_equal (block_flush (b, &err), -EIO);
    hostile_teardown (state);
  }
}

/*--- servers that are well -------------------------------------------------*/

/* Two writes are answered when both are there, on a connection each.  The
 * first flush on the second connection fails, if it is to.
 */
static bool
in_pairs (int fd, const struct nbd_server_request *req)
{
  if (req->command == NBD_SERVER_WRITE) {
    unsigned all = (count (WRITES) + 1) / 2 * 2;

    while (counted (WRITES) < all)
      hostile_sleep (1);
  }
  if (req->command == NBD_SERVER_FLUSH) {
    unsigned nth = count (connection == 0 ? FLUSHES_OF_0 : FLUSHES_OF_1);

    if (connection == 1 && nth == 1 && hostile->variant) {
      hostile_error (fd, req, EIO);
      return true;
    }
  }
  return false;
}

static void
serve_in_pairs (int fd, unsigned nth)
{
  const struct nbd_server_export e = {
    .size = HOSTILE_SIZE,
    .flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | CAN_MULTI_CONN,
  };

  connection = nth;
  hostile_serve (fd, &e, hostile_disk, in_pairs);
}

static void *
write_fua (void *block)
{
  return block_pwrite (block, "x", 1, 0, BLOCK_FUA, NULL) == 0 ? block : NULL;
}

static void
a_flush_goes_out_on_each_connection_that_wrote (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  hostile->variant = 0;
  hostile_start (serve_in_pairs);
  b = hostile_open (BLOCK_NBD_WRITE);
  run_twice (write_some, b);
  assert_int_equal (block_flush (b, &err), 0);
  assert_int_equal (counted (FLUSHES_OF_0), 1);
  assert_int_equal (counted (FLUSHES_OF_1), 1);
  /* Nothing was written since, or nothing that needs it: one is enough. */
  assert_int_equal (block_flush (b, &err), 0);
  assert_int_equal (counted (FLUSHES_OF_0) + counted (FLUSHES_OF_1), 3);
  run_twice (write_fua, b);
  assert_int_equal (block_flush (b, &err), 0);
  assert_int_equal (counted (FLUSHES_OF_0) + counted (FLUSHES_OF_1), 4);
  assert_int_equal (hostile->connections, 2);
}

static void
a_flush_that_failed_is_repeated_where_it_did (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;

  (void) state;
  hostile->variant = 1;
  hostile_start (serve_in_pairs);
  b = hostile_open (BLOCK_NBD_WRITE);
  run_twice (write_some, b);
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (counted (FLUSHES_OF_1), 1);
  assert_int_equal (block_flush (b, &err), 0);
  assert_int_equal (counted (FLUSHES_OF_1), 2);
  assert_int_equal (counted (FLUSHES_OF_0), 1);
}

static void
serve_well (int fd, unsigned nth)
{
  const struct nbd_server_export e = {
    .size = HOSTILE_SIZE, .flags = HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN,
  };

  (void) nth;
  hostile_serve (fd, &e, hostile_disk, NULL);
}

static void *
write_and_flush (void *block)
{
  for (int i = 0; i < 300; ++i)
    if (block_pwrite (block, "x", 1, 0, 0, NULL) < 0 ||
        (i % 3 == 0 && block_flush (block, NULL) < 0) ||
        read_some (block) == NULL)
      return NULL;
  return block;
}

/* More threads than connections; none waits for ever. */
static void
many_threads_write_and_flush (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  pthread_t threads[12];
  void *ok;

  (void) state;
  hostile_start (serve_well);
  b = hostile_open (BLOCK_NBD_WRITE);
  for (int i = 0; i < 12; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, write_and_flush, b),
                      0);
  for (int i = 0; i < 12; ++i) {
    pthread_join (threads[i], &ok);
    assert_ptr_equal (ok, b);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown
      (a_flush_does_not_speak_for_a_connection_that_ended, hostile_teardown),
    cmocka_unit_test_teardown
      (a_flush_does_not_speak_for_one_that_dies_while_busy, hostile_teardown),
    cmocka_unit_test_teardown
      (a_flush_goes_out_on_each_connection_that_wrote, hostile_teardown),
    cmocka_unit_test_teardown (a_flush_that_failed_is_repeated_where_it_did,
                               hostile_teardown),
    cmocka_unit_test_teardown (many_threads_write_and_flush,
                               hostile_teardown),
  };

  return cmocka_run_group_tests (tests, hostile_set_up, hostile_clean_up);
}
