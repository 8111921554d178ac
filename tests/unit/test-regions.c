/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A block put together of parts of others. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/block/memory.h"
#include "lib/block/regions.h"

#define SIZE 1000

/* Two blocks of which no two bytes near each other are the same. */
static struct block *
source (uint8_t seed, size_t size)
{
  struct block *b;
  uint8_t bytes[SIZE];

  for (size_t i = 0; i < size; ++i)
    bytes[i] = (uint8_t) (seed + i * 7 % 127);
  assert_int_equal (block_memory_new ("source", bytes, size, &b, NULL), 0);
  return b;
}

/* Bytes 100-299 from a+50, 300-399 from b+0, 700-999 from a+200. */
static struct block *
make (uint8_t expected[SIZE])
{
  struct block *a = source (1, 600), *b = source (129, 100), *out;
  const struct region regions[] = {
    { 100, 200, a, 50, 1 }, { 300, 100, b, 0, 2 }, { 700, 300, a, 200, 1 }
  };
  struct err err = ERR_INIT;

  memset (expected, 0, SIZE);
  for (size_t i = 0; i < 3; ++i)
    assert_int_equal (block_pread (regions[i].block,
                                   expected + regions[i].off, regions[i].len,
                                   regions[i].start, &err), 0);
  assert_int_equal (block_regions_new ("all", SIZE, NULL, regions, 3, &out,
                                       &err), 0);
  /* It keeps what it needs. */
  block_unref (a);
  block_unref (b);
  return out;
}

static void
every_range_has_the_bytes_of_its_parts (void **state)
{
  uint8_t expected[SIZE], found[SIZE];
  struct block *b = make (expected);
  struct err err = ERR_INIT;

  (void) state;
  for (size_t off = 0; off < SIZE; off += 13)
    for (size_t len = 1; off + len <= SIZE; len += 17) {
      memset (found, 0xee, sizeof found);
      assert_int_equal (block_pread (b, found, len, off, &err), 0);
      assert_memory_equal (found, expected + off, len);
    }
  assert_int_equal (block_pread (b, found, SIZE, 0, &err), 0);
  assert_memory_equal (found, expected, SIZE);
  assert_int_equal (block_cache (b, SIZE, 0, &err), 0);
  block_unref (b);
}

static void
extents_say_what_is_where (void **state)
{
  static const struct extent expected[] = {
    { 0, 100, EXTENT_HOLE, 0 }, { 100, 200, EXTENT_DATA, 1 },
    { 300, 100, EXTENT_DATA, 2 }, { 400, 300, EXTENT_HOLE, 0 },
    { 700, 300, EXTENT_DATA, 1 }
  };
  struct extent_list list = EXTENT_LIST_INIT;
  uint8_t bytes[SIZE];
  struct block *b = make (bytes);

  (void) state;
  assert_int_equal (block_extents (b, SIZE, 0, &list, NULL), 0);
  assert_int_equal (list.v.len, 5);
  for (size_t i = 0; i < 5; ++i) {
    assert_int_equal (list.v.ptr[i].off, expected[i].off);
    assert_int_equal (list.v.ptr[i].len, expected[i].len);
    assert_int_equal (list.v.ptr[i].kind, expected[i].kind);
    assert_int_equal (list.v.ptr[i].layer, expected[i].layer);
  }
  extent_list_free (&list);
  block_unref (b);
}

static void
extents_stop_at_the_limit_and_within_the_range (void **state)
{
  struct extent_list list = { .limit = 2 };
  uint8_t bytes[SIZE];
  struct block *b = make (bytes);

  (void) state;
  assert_int_equal (block_extents (b, 500, 250, &list, NULL), 0);
  /* One more than the limit proves where the last one ends. */
  assert_int_equal (list.v.len, 3);
  assert_int_equal (list.v.ptr[0].off, 250);
  assert_int_equal (list.v.ptr[0].len, 50);
  assert_int_equal (list.v.ptr[1].len, 100);
  extent_list_free (&list);
  list.limit = 0;
  assert_int_equal (block_extents (b, 10, 395, &list, NULL), 0);
  assert_int_equal (list.v.len, 2);
  assert_int_equal (extent_list_end (&list, 0), 405);
  extent_list_free (&list);
  block_unref (b);
}

static void
regions_that_can_not_be_are_refused (void **state)
{
  struct block *a = source (1, 100), *out = NULL;
  const struct {
    const char *what;
    struct region regions[2];
    size_t nr;
  } bad[] = {
    { "empty", { { 0, 0, a, 0, 0 } }, 1 },
    { "overlap", { { 0, 50, a, 0, 0 }, { 49, 50, a, 0, 0 } }, 2 },
    { "order", { { 500, 50, a, 0, 0 }, { 0, 50, a, 0, 0 } }, 2 },
    { "behind the end", { { 951, 50, a, 0, 0 } }, 1 },
    { "overflow", { { UINT64_MAX, 50, a, 0, 0 } }, 1 },
    { "more than there is", { { 0, 100, a, 1, 0 } }, 1 },
    { "overflow below", { { 0, 100, a, UINT64_MAX, 0 } }, 1 },
  };

  (void) state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    if (block_regions_new ("all", SIZE, NULL, bad[i].regions, bad[i].nr, &out,
                           NULL) != -EINVAL)
      fail_msg ("%s: is not refused", bad[i].what);
  assert_null (out);
  block_unref (a);
}

static void
it_is_for_reading (void **state)
{
  struct block_sizes sizes = { 1, 4096, 512 }, found;
  struct block *b = NULL;
  uint8_t byte = 1;

  (void) state;
  assert_int_equal (block_regions_new ("all", SIZE, &sizes, NULL, 0, &b,
                                       NULL), 0);
  assert_false (block_writable (b));
  assert_int_equal (block_pwrite (b, &byte, 1, 0, 0, NULL), -EROFS);
  assert_int_equal (block_pread (b, &byte, 1, SIZE - 1, NULL), 0);
  assert_int_equal (byte, 0);
  block_get_sizes (b, &found);
  assert_memory_equal (&found, &sizes, sizeof sizes);
  assert_string_equal (block_name (b), "all");
  block_unref (b);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_range_has_the_bytes_of_its_parts),
    cmocka_unit_test (extents_say_what_is_where),
    cmocka_unit_test (extents_stop_at_the_limit_and_within_the_range),
    cmocka_unit_test (regions_that_can_not_be_are_refused),
    cmocka_unit_test (it_is_for_reading),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
