/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Arithmetic on numbers that a file or a client chose. */

#ifndef NBDIMAGE_BASE_CHECKED_H
#define NBDIMAGE_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* True, and *result set, unless the result does not fit. */
#define checked_add(a, b, result) (!__builtin_add_overflow ((a), (b), (result)))
#define checked_mul(a, b, result) (!__builtin_mul_overflow ((a), (b), (result)))

/* Is [off, off+len) inside [0, size)?  No overflow, whatever the numbers. */
static inline bool
range_fits (uint64_t off, uint64_t len, uint64_t size)
{
  return off <= size && len <= size - off;
}

static inline bool
is_power_of_2 (uint64_t v)
{
  return v != 0 && (v & (v - 1)) == 0;
}

/* n / d, rounded up.  Does not overflow; d is not 0. */
static inline uint64_t
div_round_up (uint64_t n, uint64_t d)
{
  return n / d + (n % d != 0);
}

static inline uint64_t
round_down (uint64_t v, uint64_t unit)
{
  return v - v % unit;
}

/* The caller knows that v + unit fits. */
static inline uint64_t
round_up (uint64_t v, uint64_t unit)
{
  return div_round_up (v, unit) * unit;
}

static inline uint64_t
min_u64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static inline uint64_t
max_u64 (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

#endif /* NBDIMAGE_BASE_CHECKED_H */
