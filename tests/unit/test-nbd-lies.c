/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks on exports of servers that lie about the data, answer errors, or
 * state sizes that can't be: the right bytes or an error.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/extents.h"
#include "lib/block/nbd.h"
#include "tests/support/nbd-hostile.h"

/*--- lies about the data ---------------------------------------------------*/

static void
put_data (uint8_t *payload, uint64_t off, uint32_t len)
{
  put_be64 (payload, off);
  memcpy (payload + 8, hostile_disk + off, len);
}

enum {
  HALF_TWICE, HALF, TOO_MUCH, BEFORE, BEHIND, NOTHING, LONG_HOLE, EMPTY_HOLE,
  HUGE_LENGTH, SHORT_CHUNK, OTHER_COOKIE, GARBAGE, UNKNOWN_CHUNK,
  STATUS_TO_A_READ, SIMPLE_REPLY, SHORT_ERROR, LONG_ERROR, ERROR_THEN_DATA,
  NR_LIES
};

static void
tell_lie (int fd, const struct nbd_server_request *req, int lie)
{
  static uint8_t payload[HOSTILE_LEN * 2 + 8];
  struct nbd_server_request other = *req;
  const uint32_t half = req->len / 2;
  uint8_t raw[20];

  put_data (payload, req->off, req->len * 2);
  switch (lie) {
  case HALF_TWICE:
    nbd_server_chunk (fd, req, 0, 1, payload, 8 + half);
    /* fall through */
  case HALF:
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + half);
    break;
  case TOO_MUCH:
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len * 2);
    break;
  case BEFORE:
    put_be64 (payload, req->off - half);
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
    break;
  case BEHIND:
    put_be64 (payload, UINT64_MAX - 100);
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
    break;
  case NOTHING:
    nbd_server_chunk (fd, req, 1, 0, "", 0);
    break;
  case LONG_HOLE:
    put_be32 (payload + 8, UINT32_MAX);
    nbd_server_chunk (fd, req, 1, 2, payload, 12);
    break;
  case EMPTY_HOLE:
    put_be32 (payload + 8, 0);
    nbd_server_chunk (fd, req, 1, 2, payload, 12);
    break;
  case HUGE_LENGTH:
    put_be32 (raw, 0x668e33ef);
    put_be32 (raw + 4, 0x00010001);
    memcpy (raw + 8, req->raw + 8, 8);
    put_be32 (raw + 16, UINT32_MAX);
    nbd_server_send (fd, raw, sizeof raw);
    break;
  case SHORT_CHUNK:
    nbd_server_chunk (fd, req, 1, 1, payload, 7);
    break;
  case OTHER_COOKIE:
    other.raw[8] ^= 0x80;
    nbd_server_data (fd, &other, hostile_disk + req->off);
    break;
  case GARBAGE:
    nbd_server_send (fd, hostile_disk, 4096);
    break;
  case UNKNOWN_CHUNK:
    nbd_server_chunk (fd, req, 1, 77, payload, 100);
    break;
  case STATUS_TO_A_READ:
    nbd_server_chunk (fd, req, 1, 5, "\0\0\0\1\0\0\x20\0\0\0\0\0", 12);
    break;
  case SIMPLE_REPLY:            /* to a read, where others were agreed on */
    put_be32 (raw, 0x67446698);
    put_be32 (raw + 4, 0);
    memcpy (raw + 8, req->raw + 8, 8);
    nbd_server_send (fd, raw, 16);
    break;
  case SHORT_ERROR:
    nbd_server_chunk (fd, req, 1, 0x8001, "\0\0", 2);
    break;
  case LONG_ERROR:              /* whose message is longer than it */
    nbd_server_chunk (fd, req, 1, 0x8001, "\0\0\0\5\xff\xff", 6);
    break;
  case ERROR_THEN_DATA:
    nbd_server_chunk (fd, req, 0, 0x8001, "\0\0\0\5\0\0", 6);
    nbd_server_chunk (fd, req, 1, 1, payload, 8 + req->len);
    break;
  }
}

static bool
lie_special (int fd, const struct nbd_server_request *req)
{
  if (req->command != NBD_SERVER_READ || req->off != HOSTILE_OFF)
    return false;
  tell_lie (fd, req, hostile->variant);
  return true;
}

static void
serve_lies (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, lie_special);
}

/* All of them end in an error, but for the one that libnbd can't see through:
 * what was said twice is the right bytes, and the rest must not be what was
 * in the memory before.
 */
static void
lies_about_the_data_are_errors_and_leak_nothing (void **state)
{
  uint8_t buf[HOSTILE_LEN];

  (void) state;
  hostile_start (serve_lies);
  for (int lie = 0; lie < NR_LIES; ++lie) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    int r;

    hostile->variant = lie;
    b = hostile_open (0);
    memset (buf, 0xEE, sizeof buf);
    r = block_pread (b, buf, sizeof buf, HOSTILE_OFF, &err);
    if (lie != HALF_TWICE && r == 0)
      fail_msg ("lie %d was believed", lie);
    if (r == 0) {
      assert_memory_equal (buf, hostile_disk + HOSTILE_OFF, HOSTILE_LEN / 2);
      assert_null (memchr (buf, 0xEE, sizeof buf));
    }
    else
      assert_true (err.msg[0] != '\0' && err.code == r);
    /* Others are not affected. */
    assert_int_equal (block_pread (b, buf, sizeof buf, 8192, &err), 0);
    assert_memory_equal (buf, hostile_disk + 8192, sizeof buf);
  }
}

/*--- errors ----------------------------------------------------------------*/

static bool
error_special (int fd, const struct nbd_server_request *req)
{
  if (req->off != HOSTILE_OFF)
    return false;
  hostile_error (fd, req, (uint32_t) hostile->variant);
  return true;
}

static void
serve_errors (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, error_special);
}

static void
errors_of_any_number_are_errors (void **state)
{
  static const uint32_t numbers[] = {
    0, 1, 2, 4, 5, 11, 12, 22, 28, 75, 95, 108, 255, 65536, INT32_MAX,
    UINT32_C (1) << 31, UINT32_MAX - 4094, UINT32_MAX,
  };
  CLEANUP_BLOCK struct block *b = NULL;
  uint8_t buf[512];

  (void) state;
  hostile_start (serve_errors);
  b = hostile_open (0);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; ++i) {
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
    struct err err = ERR_INIT;

    hostile->variant = (int) numbers[i];
    assert_true (block_pread (b, buf, 512, HOSTILE_OFF, &err) < 0);
    assert_true (err.code < 0 && err.msg[0] != '\0');
    assert_true (block_extents (b, 512, HOSTILE_OFF, &list, &err) < 0);
    assert_int_equal (list.v.len, 0);
    assert_int_equal (block_pread (b, buf, 512, 512, &err), 0);
    assert_memory_equal (buf, hostile_disk + 512, 512);
  }
}

/*--- sizes -----------------------------------------------------------------*/

static const struct {
  struct nbd_server_export e;
  bool ok;
} sizes[] = {
  { { .size = 0, .flags = 3 }, true },
  { { .size = 1, .flags = 3 }, true },
  { { .size = 4095, .flags = 3 }, true },
  { { .size = UINT64_C (1) << 63, .flags = 3 }, false },
  { { .size = UINT64_MAX, .flags = 3 }, false },
  { { .size = HOSTILE_SIZE, .flags = 0 }, false },
  { { .size = HOSTILE_SIZE, .flags = 3, .minimum = 4096, .preferred = 4096,
      .maximum = 65536 }, true },
  { { .size = HOSTILE_SIZE, .flags = 3, .minimum = 65536, .preferred = 65536,
      .maximum = 65536 }, true },
  { { .size = HOSTILE_SIZE - 1, .flags = 3, .minimum = 4096, .preferred = 4096,
      .maximum = 65536 }, false },
};
#define NR_SIZES (sizeof sizes / sizeof sizes[0])

static void
serve_sizes (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &sizes[hostile->variant].e, hostile_disk, NULL);
}

static void
sizes_that_can_not_be_are_refused (void **state)
{
  (void) state;
  hostile_start (serve_sizes);
  for (size_t i = 0; i < NR_SIZES; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    struct err err = ERR_INIT;
    uint8_t buf[100] = { 0 };
    size_t len;
    int r;

    hostile->variant = (int) i;
    r = block_nbd_open (hostile_uri, 0, &b, &err);
    if ((r == 0) != sizes[i].ok)
      fail_msg ("case %zu: %d, %s", i, r, err.msg);
    if (r < 0)
      continue;
    assert_true (block_size (b) == sizes[i].e.size);
    len = sizes[i].e.size < 100 ? (size_t) sizes[i].e.size : 100;
    assert_int_equal (block_pread (b, buf, len, 0, &err), 0);
    assert_memory_equal (buf, hostile_disk, len);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown (lies_about_the_data_are_errors_and_leak_nothing,
                               hostile_teardown),
    cmocka_unit_test_teardown (errors_of_any_number_are_errors,
                               hostile_teardown),
    cmocka_unit_test_teardown (sizes_that_can_not_be_are_refused,
                               hostile_teardown),
  };

  return cmocka_run_group_tests (tests, hostile_set_up, hostile_clean_up);
}
