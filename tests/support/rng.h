/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Random numbers that are the same for the same seed, on every machine and in
 * every thread.
 */

#ifndef NBDIMAGE_TESTS_RNG_H
#define NBDIMAGE_TESTS_RNG_H

#include <stdint.h>

struct rng {
  uint64_t state;
};

/* SplitMix64: seeds that are close to each other are as good as others. */
static inline uint64_t
rng_next (struct rng *rng)
{
  uint64_t z = rng->state += UINT64_C (0x9E3779B97F4A7C15);

  z = (z ^ z >> 30) * UINT64_C (0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C (0x94D049BB133111EB);
  return z ^ z >> 31;
}

/* From 0 to n - 1. */
static inline unsigned
rng_below (struct rng *rng, unsigned n)
{
  return (unsigned) (rng_next (rng) % n);
}

#endif /* NBDIMAGE_TESTS_RNG_H */
