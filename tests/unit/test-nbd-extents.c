/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Blocks on exports of servers that talk nonsense about extents: a list
 * without gaps, or an error.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/extents.h"
#include "tests/support/nbd-hostile.h"

/* Answers block status with the same half of the hostile_disk, said twice. */
static bool
say_twice (int fd, const struct nbd_server_request *req)
{
  uint8_t status[12];

  if (req->command != NBD_SERVER_STATUS)
    return false;
  put_be32 (status, 1);
  put_be32 (status + 4, HOSTILE_SIZE / 2);
  put_be32 (status + 8, 0);
  nbd_server_chunk (fd, req, 0, 5, status, sizeof status);
  nbd_server_chunk (fd, req, 1, 5, status, sizeof status);
  return true;
}

static void
serve_twice_said_extents (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, say_twice);
}

static void
extents_said_twice_are_counted_once (void **state)
{
  CLEANUP_BLOCK struct block *b = NULL;
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 1 };

  (void) state;
  hostile_start (serve_twice_said_extents);
  b = hostile_open (0);
  assert_true (block_size (b) == HOSTILE_SIZE);
  assert_int_equal (block_extents (b, 4096, 0, &list, NULL), 0);
  assert_true (extent_list_end (&list, 0) == 4096);
  extent_list_free (&list);
  assert_int_equal (block_extents (b, HOSTILE_SIZE / 2, 4096, &list, NULL), 0);
  assert_true (extent_list_end (&list, 0) == 4096 + HOSTILE_SIZE / 2);
}

/* Pairs of length and state, ending with a length of END. */
#define END 0xABCDEF01U
static const uint32_t nonsense[][9] = {
  { END },                              /* nothing */
  { 0, 0, END },
  { 0, 0, 0, 3, 4096, 0, END },
  { 4096, 0, 0, 3, 4096, 3, END },
  { UINT32_MAX, 3, UINT32_MAX, 0, UINT32_MAX, 3, END },
  { 1, 0, 1, 3, 1, 0, 1, 3, END },
  { 4096, UINT32_MAX, 4096, 0x80000000, END },
  { HOSTILE_SIZE - 1, 0, HOSTILE_SIZE, 3, END },
};
#define NR_NONSENSE (sizeof nonsense / sizeof nonsense[0])

static bool
say_nonsense (int fd, const struct nbd_server_request *req)
{
  uint8_t status[4 + sizeof nonsense[0]];
  uint32_t len = 4;

  if (req->command != NBD_SERVER_STATUS)
    return false;
  put_be32 (status, 1);
  for (const uint32_t *p = nonsense[hostile->variant]; *p != END; p++) {
    put_be32 (status + len, *p);
    len += 4;
  }
  nbd_server_chunk (fd, req, 1, 5, status, len);
  return true;
}

/* A context nobody asked for, half of an entry, only half of a number. */
static bool
say_broken (int fd, const struct nbd_server_request *req)
{
  static const char status[] = "\0\0\0\1\0\0\x10\0\0\0\0\0\0\0\x10\0\0";

  if (req->command != NBD_SERVER_STATUS)
    return false;
  if (hostile->variant == 0)
    nbd_server_chunk (fd, req, 1, 5, "\0\0\0\7\0\0\x10\0\0\0\0\0", 12);
  else
    nbd_server_chunk (fd, req, 1, 5, status, (uint32_t) hostile->variant);
  return true;
}

static void
serve_nonsense (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, say_nonsense);
}

static void
serve_broken (int fd, unsigned nth)
{
  (void) nth;
  hostile_serve (fd, &hostile_plain, hostile_disk, say_broken);
}

/* A list without gaps from the start of the range and within it, or an
 * error: nothing else may come out.
 */
static void
check_extents (struct block *b, uint64_t len, uint64_t off, size_t limit)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = limit };
  struct err err = ERR_INIT;
  uint64_t at = off;

  if (block_extents (b, len, off, &list, &err) < 0) {
    assert_true (err.code < 0 && err.msg[0] != '\0');
    return;
  }
  for (size_t i = 0; i < list.v.len; ++i) {
    assert_true (list.v.ptr[i].off == at);
    assert_true (list.v.ptr[i].len > 0);
    at += list.v.ptr[i].len;
  }
  assert_true (at > off && at <= off + len);
  assert_true (limit > 0 || at == off + len);
  assert_true (limit == 0 || list.v.len <= limit + 1);  /* see extents.c */
}

static void
nonsense_about_extents_does_no_harm (void **state)
{
  (void) state;
  hostile_start (serve_nonsense);
  for (size_t i = 0; i < NR_NONSENSE; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;

    hostile->variant = (int) i;
    b = hostile_open (0);
    check_extents (b, 4096, 8192, 0);
    check_extents (b, 10, 8191, 0);
    check_extents (b, HOSTILE_SIZE, 0, 1);
    check_extents (b, HOSTILE_SIZE, 0, 3);
    check_extents (b, 1, HOSTILE_SIZE - 1, 0);
  }
}

static void
broken_extents_are_errors (void **state)
{
  static const int lengths[] = { 0, 1, 3, 4, 5, 8, 11, 13, 16 };

  (void) state;
  hostile_start (serve_broken);
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
    CLEANUP_BLOCK struct block *b = NULL;
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;

    hostile->variant = lengths[i];
    b = hostile_open (0);
    if (block_extents (b, 4096, 0, &list, NULL) == 0)
      fail_msg ("%d bytes of status were believed", lengths[i]);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown (extents_said_twice_are_counted_once,
                               hostile_teardown),
    cmocka_unit_test_teardown (nonsense_about_extents_does_no_harm,
                               hostile_teardown),
    cmocka_unit_test_teardown (broken_extents_are_errors, hostile_teardown),
  };

  return cmocka_run_group_tests (tests, hostile_set_up, hostile_clean_up);
}
