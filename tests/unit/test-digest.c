/* SPDX-License-Identifier: GPL-2.0-or-later */

/* SHA-256 of two messages at a time is that of each. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/digest.h"
#include "tests/support/rng.h"

#define LONGEST 70000

static uint8_t bytes[2][LONGEST + 16];

/* Both places are off the words' boundaries by as much as is said. */
static void
compare (size_t len, size_t a, size_t b)
{
  const void *const buf[2] = { bytes[0] + a, bytes[1] + b };
  uint8_t alone[2][DIGEST_SIZE], two[2][DIGEST_SIZE];

  for (unsigned i = 0; i < 2; ++i)
    assert_int_equal (digest_of (buf[i], len, alone[i], NULL), 0);
  assert_int_equal (digest_of_two (buf, len, two, NULL), 0);
  assert_memory_equal (two, alone, sizeof two);
}

static void
fill (void)
{
  struct rng rng = { 256 };

  for (unsigned i = 0; i < 2; ++i)
    for (size_t j = 0; j < sizeof bytes[i]; ++j)
      bytes[i][j] = (uint8_t) rng_below (&rng, 256);
}

/* FIPS 180-4's own, and that of nothing. */
static void
known_messages_have_their_hashes (void **state)
{
  static const uint8_t abc[DIGEST_SIZE] = {
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
    0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
    0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
  };
  static const uint8_t nothing[DIGEST_SIZE] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
    0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
    0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
  };
  const void *const buf[2] = { "abc", "xyz" };
  uint8_t out[2][DIGEST_SIZE];

  (void) state;
  assert_int_equal (digest_of_two (buf, 3, out, NULL), 0);
  assert_memory_equal (out[0], abc, DIGEST_SIZE);
  assert_memory_not_equal (out[1], abc, DIGEST_SIZE);
  assert_int_equal (digest_of_two (buf, 0, out, NULL), 0);
  assert_memory_equal (out[0], nothing, DIGEST_SIZE);
  assert_memory_equal (out[1], nothing, DIGEST_SIZE);
}

/* All remainders of a block, with what is behind it in one more and in two. */
static void
every_length_up_to_five_blocks (void **state)
{
  (void) state;
  fill ();
  for (size_t len = 0; len <= 5 * 64; ++len)
    compare (len, len % 16, (len + 5) % 16);
}

static void
long_messages_wherever_they_lie (void **state)
{
  (void) state;
  fill ();
  for (size_t i = 0; i < 16; ++i)
    compare (65536, i, 15 - i);
  compare (LONGEST, 0, 3);
  compare (LONGEST - 9, 1, 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (known_messages_have_their_hashes),
    cmocka_unit_test (every_length_up_to_five_blocks),
    cmocka_unit_test (long_messages_wherever_they_lie),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
