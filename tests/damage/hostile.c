/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/damage/hostile.h"

/* Seconds without progress until the program is ended. */
#define PATIENCE 120

#define NR_VALUES 11

static uint64_t rnd;

uint64_t
hostile_seed (const char *variable)
{
  const char *given = getenv (variable);

  rnd = given ? strtoull (given, NULL, 0)
    : (uint64_t) time (NULL) * 1000003 + 1;
  print_message ("%s=%llu\n", variable, (unsigned long long) rnd);
  return rnd;
}

uint64_t
hostile_random (void)
{
  rnd ^= rnd << 13;
  rnd ^= rnd >> 7;
  rnd ^= rnd << 17;
  return rnd;
}

static uint64_t
value_nr (unsigned i, uint64_t good, size_t width)
{
  uint64_t sign = UINT64_C (1) << (width * 8 - 1);

  switch (i) {
  case 0: return 0;
  case 1: return 1;
  case 2: return UINT64_MAX;
  case 3: return sign;
  case 4: return sign - 1;
  case 5: return good - 1;
  case 6: return good + 1;
  case 7: return good << 1;
  case 8: return good >> 1;
  case 9: return ~good;
  default: return hostile_random ();
  }
}

static uint64_t
get (const uint8_t *p, size_t width, bool big_endian)
{
  uint64_t v = 0;

  for (size_t i = 0; i < width; ++i)
    v = v << 8 | p[big_endian ? i : width - 1 - i];
  return v;
}

static void
put (uint8_t *p, size_t width, bool big_endian, uint64_t v)
{
  for (size_t i = 0; i < width; ++i, v >>= 8)
    p[big_endian ? width - 1 - i : i] = (uint8_t) v;
}

unsigned
hostile_sweep (struct damage_file *file, const struct hostile_structure *st,
               hostile_try *try)
{
  struct damage_file saved = damage_copy (file->bytes, file->len);
  unsigned nr = 0;
  char what[128];

  assert_true (st->off + st->len <= file->len);
  for (size_t width = 1; width <= 8; width *= 2)
    for (size_t at = st->off; at + width <= st->off + st->len; at += width) {
      uint64_t good = get (saved.bytes + at, width, st->big_endian);

      for (unsigned v = 0; v < NR_VALUES; ++v, ++nr) {
        put (file->bytes + at, width, st->big_endian,
             value_nr (v, good, width));
        snprintf (what, sizeof what, "%s, %zu bytes at %zu, value %u",
                  st->name, width, at - st->off, v);
        alarm (PATIENCE);
        try (file, st, what);
        memcpy (file->bytes, saved.bytes, saved.len);
      }
    }
  free (saved.bytes);
  return nr;
}
