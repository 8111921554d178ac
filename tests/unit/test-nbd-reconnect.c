/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks on exports of servers that break off, say nothing, or are others when
 * they are back: the right bytes or an error, before long.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libnbd.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/nbd-connect.h"
#include "tests/support/nbd-hostile.h"

/*--- breaking off ----------------------------------------------------------*/

/* After how many bytes of the reply; it has 28 and the data. */
static bool
break_off (int fd, const struct nbd_server_request *req)
{
  static uint8_t reply[28 + HOSTILE_LEN];

  if (req->off != HOSTILE_OFF)
    return false;
  put_be32 (reply, 0x668e33ef);
  put_be32 (reply + 4, 0x00010001);
  memcpy (reply + 8, req->raw + 8, 8);
  put_be32 (reply + 16, 8 + req->len);
  put_be64 (reply + 20, req->off);
  memcpy (reply + 28, hostile_disk + req->off, req->len);
  nbd_server_send (fd, reply, (size_t) hostile->variant);
  _exit (0);
}

static void
serve_and_break_off_once (int fd, unsigned nth)
{
  hostile_serve (fd, &hostile_plain, hostile_disk, nth == 0 ? break_off : NULL);
}

static void
serve_and_break_off (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, break_off);
}

static const int cuts[] = {
  0, 1, 4, 15, 16, 19, 20, 27, 28, 29, 4096, 28 + HOSTILE_LEN - 1
};
#define NR_CUTS (sizeof cuts / sizeof cuts[0])

static void
a_reply_that_breaks_off_is_asked_for_again (void **state)
{
  uint8_t buf[HOSTILE_LEN];

  for (size_t i = 0; i < NR_CUTS; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;

    hostile->variant = cuts[i];
    hostile_start (serve_and_break_off_once);
    b = hostile_open (0);
    assert_int_equal (block_pread (b, buf, sizeof buf, HOSTILE_OFF, NULL), 0);
    assert_memory_equal (buf, hostile_disk + HOSTILE_OFF, sizeof buf);
    assert_int_equal (hostile->connections, 2);
    hostile_teardown (state);
  }
}

static void
one_that_always_breaks_off_is_an_error (void **state)
{
  uint8_t buf[HOSTILE_LEN];

  for (size_t i = 0; i < NR_CUTS; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;

    hostile->variant = cuts[i];
    hostile_start (serve_and_break_off);
    b = hostile_open (0);
    assert_int_equal (block_pread (b, buf, sizeof buf, HOSTILE_OFF, &err),
                      -EIO);
    assert_string_equal (err.msg, "the connection to the server was lost");
    assert_true (hostile->connections <= 10);
    hostile_teardown (state);
  }
}

/*--- silence ---------------------------------------------------------------*/

static bool
say_nothing (int fd, const struct nbd_server_request *req)
{
  (void) fd;
  return req->off == HOSTILE_OFF;
}

/* A byte now and then, which never becomes a reply. */
static bool
drip (int fd, const struct nbd_server_request *req)
{
  if (req->off != HOSTILE_OFF)
    return false;
  nbd_server_send (fd, "\x66\x8e\x33\xef\0\1\0\1", 8);
  nbd_server_send (fd, req->raw + 8, 8);
  nbd_server_send (fd, "\0\0\x20\x08\0\0\0\0\0\1\0\0", 12);
  for (int i = 0; i < 1000; ++i) {
    nbd_server_send (fd, "x", 1);
    hostile_sleep (50);
  }
  _exit (0);
}

static void
serve_silence (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, say_nothing);
}

static void
serve_drops (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, drip);
}

static void
wait_for_reply (unsigned silence_s, unsigned total_s, const char *expected)
{
  static uint8_t buf[HOSTILE_LEN];      /* in use until the handle is closed */
  struct nbd_handle *h = NULL;
  struct err err = ERR_INIT;

  assert_int_equal (nbd_connect_export (hostile_uri, &h, &err), 0);
  assert_int_equal (nbd_command_wait (h, nbd_aio_pread (h, buf, 512, 512,
                                                        NBD_NULL_COMPLETION,
                                                        0), 60, 60, &err), 0);
  assert_memory_equal (buf, hostile_disk + 512, 512);
  assert_int_equal (nbd_command_wait (h, nbd_aio_pread (h, buf, sizeof buf,
                                                        HOSTILE_OFF,
                                                        NBD_NULL_COMPLETION,
                                                        0),
                                      silence_s, total_s, &err), -ETIMEDOUT);
  assert_string_equal (err.msg, expected);
  nbd_close (h);
}

static void
a_server_that_owes_an_answer_is_given_up (void **state)
{
  (void) state;
  hostile_start (serve_silence);
  wait_for_reply (1, 60, "the server said nothing for 1 seconds while it owed "
                  "an answer");
}

static void
a_server_that_sends_a_byte_now_and_then_too (void **state)
{
  (void) state;
  hostile_start (serve_drops);
  wait_for_reply (30, 1, "the server was not done with a request after 1 "
                  "seconds");
}

/*--- another disk after a reconnect ----------------------------------------*/

enum {
  SAME, OTHER_SIZE, OTHER_HEAD, OTHER_TAIL, OTHER_MIDDLE, OTHER_MINIMUM,
  NO_EXTENTS, UNREADABLE_HEAD,
};

static bool
unreadable_head (int fd, const struct nbd_server_request *req)
{
  if (req->off != 0)
    return false;
  hostile_error (fd, req, 5);
  return true;
}

static void
serve_another (int fd, unsigned nth)
{
  struct nbd_server_export e = hostile_plain;
  bool (*special) (int, const struct nbd_server_request *) = NULL;

  if (nth == 0)
    hostile_serve (fd, &e, hostile_disk, break_off);
  switch (hostile->variant) {
  case OTHER_SIZE:
    e.size -= 512;
    break;
  case OTHER_HEAD:
    hostile_disk[0] ^= 1;
    break;
  case OTHER_TAIL:
    hostile_disk[HOSTILE_SIZE - 1] ^= 1;
    break;
  case OTHER_MIDDLE:
    hostile_disk[HOSTILE_SIZE / 2] ^= 1;
    break;
  case OTHER_MINIMUM:
    e.minimum = 4096;
    e.preferred = 4096;
    e.maximum = 65536;
    break;
  case NO_EXTENTS:
    e.no_extents = true;
    break;
  case UNREADABLE_HEAD:
    special = unreadable_head;
    break;
  }
  hostile_serve (fd, &e, hostile_disk, special);
}

static void
a_reader_goes_on_with_the_same_disk_only (void **state)
{
  static const char *const expected[] = {
    [OTHER_SIZE] = "the export has 1048064 bytes now, expected 1048576 as "
                   "when it was opened",
    [OTHER_HEAD] = "the first or last bytes of the export are others now",
    [OTHER_TAIL] = "the first or last bytes of the export are others now",
    [OTHER_MINIMUM] = "the server takes blocks of 4096 bytes now, expected 1",
    [NO_EXTENTS] = "the server does not tell extents any more",
    [UNREADABLE_HEAD] = "the server can't read the ends of the export",
    [SAME] = NULL, [OTHER_MIDDLE] = NULL,       /* which nobody can know */
  };
  uint8_t buf[512];

  for (int v = SAME; v <= UNREADABLE_HEAD; ++v) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    int r;

    hostile->variant = v;
    hostile_start (serve_another);
    b = hostile_open (0);
    r = block_pread (b, buf, sizeof buf, HOSTILE_OFF, &err);
    if (expected[v]) {
      assert_int_equal (r, -EIO);
      assert_int_equal (err.code, -EIO);
      assert_non_null (strstr (err.msg, expected[v]));
    }
    else {
      assert_int_equal (r, 0);
      assert_memory_equal (buf, hostile_disk + HOSTILE_OFF, sizeof buf);
    }
    hostile_teardown (state);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown (a_reply_that_breaks_off_is_asked_for_again,
                               hostile_teardown),
    cmocka_unit_test_teardown (one_that_always_breaks_off_is_an_error,
                               hostile_teardown),
    cmocka_unit_test_teardown (a_server_that_owes_an_answer_is_given_up,
                               hostile_teardown),
    cmocka_unit_test_teardown (a_server_that_sends_a_byte_now_and_then_too,
                               hostile_teardown),
    cmocka_unit_test_teardown (a_reader_goes_on_with_the_same_disk_only,
                               hostile_teardown),
  };

  return cmocka_run_group_tests (tests, hostile_set_up, hostile_clean_up);
}
