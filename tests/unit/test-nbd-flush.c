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

/* The other is put back last, and is what the flush goes out on. */
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
  /* HAS_FLAGS, SEND_FLUSH, CAN_MULTI_CONN */
  const struct nbd_server_export e = {
    .size = HOSTILE_SIZE, .flags = 1 | 4 | 256,
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
a_flush_does_not_speak_for_a_connection_that_ended (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  struct err err = ERR_INIT;
  pthread_t threads[2];
  void *ok;

  (void) state;
  hostile_start (serve_a_writer);
  b = hostile_open (BLOCK_NBD_WRITE);
  for (int i = 0; i < 2; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, write_some, b), 0);
  for (int i = 0; i < 2; ++i) {
    pthread_join (threads[i], &ok);
    assert_ptr_equal (ok, b);
  }
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_flush (b, &err), -EIO);
  assert_int_equal (block_pwrite (b, "x", 1, 0, 0, &err), -EIO);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown
      (a_flush_does_not_speak_for_a_connection_that_ended, hostile_teardown),
  };

  return cmocka_run_group_tests (tests, hostile_set_up, hostile_clean_up);
}
