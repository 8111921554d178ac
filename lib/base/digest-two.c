/* SPDX-License-Identifier: GPL-2.0-or-later */

/* SHA-256 (FIPS 180-4) of two messages at a time.
 *
 * One message keeps an x86 processor with SHA instructions waiting: each
 * sha256rnds2 needs the result of the one before, which takes it several
 * cycles, though it could begin another meanwhile.  So the rounds of two
 * messages take turns.  Elsewhere OpenSSL does one after the other.
 */

#include <config.h>

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/digest.h"

static int
one_after_the_other (const void *const buf[2], size_t len,
                     uint8_t out[2][DIGEST_SIZE], struct err *err)
{
  int r = digest_of (buf[0], len, out[0], err);

  return r < 0 ? r : digest_of (buf[1], len, out[1], err);
}

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

#define BLOCK 64                /* bytes */
#define TARGET __attribute__ ((__target__ ("sha,sse4.1,ssse3")))

/* Four of the rounds' constants (4.2.2) are added at once. */
static const uint32_t constants[64] __attribute__ ((__aligned__ (16))) = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
  0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
  0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
  0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
  0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
  0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
  0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
  0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The eight words of a hash as the instructions have them: A, B, E and F, and
 * C, D, G and H, the first in the highest bits.
 */
struct lane {
  __m128i abef, cdgh;
};

/* As 5.3.3 has it. */
static const uint32_t first_hash[8] = {
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static bool can_two;

/* Asked once: in a virtual machine each question is answered by the host. */
static void
find_out (void)
{
  const unsigned sse = bit_SSSE3 | bit_SSE4_1;
  unsigned a, b, c, d;

  can_two = __get_cpuid (1, &a, &b, &c, &d) && (c & sse) == sse &&
    __get_cpuid_count (7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

/* The next four words of the message schedule (6.2.2), of the last sixteen;
 * they take the place of the oldest four, which is i.
 */
TARGET static inline __attribute__ ((__always_inline__)) void
schedule (__m128i w[4], unsigned i)
{
  __m128i a = w[i], b = w[(i + 1) % 4], c = w[(i + 2) % 4],
    d = w[(i + 3) % 4];

  a = _mm_add_epi32 (_mm_sha256msg1_epu32 (a, b), _mm_alignr_epi8 (d, c, 4));
  w[i] = _mm_sha256msg2_epu32 (a, d);
}

/* Four rounds, of the words w and their constants k. */
TARGET static inline __attribute__ ((__always_inline__)) void
rounds (struct lane *lane, __m128i w, __m128i k)
{
  __m128i sum = _mm_add_epi32 (w, k);

  lane->cdgh = _mm_sha256rnds2_epu32 (lane->cdgh, lane->abef, sum);
  sum = _mm_shuffle_epi32 (sum, 0x0E);
  lane->abef = _mm_sha256rnds2_epu32 (lane->abef, lane->cdgh, sum);
}

TARGET static void
add_blocks (struct lane lanes[2], const uint8_t *p, const uint8_t *q, size_t n)
{
  const __m128i big_endian =
    _mm_set_epi64x (0x0c0d0e0f08090a0b, 0x0405060700010203);
  struct lane a = lanes[0], b = lanes[1];

  for (; n > 0; --n, p += BLOCK, q += BLOCK) {
    struct lane was_a = a, was_b = b;
    __m128i v[4], w[4];

#pragma GCC unroll 16
    for (unsigned i = 0; i < 16; ++i) {
      __m128i k = _mm_load_si128 ((const __m128i *) constants + i);

      if (i < 4) {
        v[i] = _mm_loadu_si128 ((const __m128i *) p + i);
        w[i] = _mm_loadu_si128 ((const __m128i *) q + i);
        v[i] = _mm_shuffle_epi8 (v[i], big_endian);
        w[i] = _mm_shuffle_epi8 (w[i], big_endian);
      }
      else {
        schedule (v, i % 4);
        schedule (w, i % 4);
      }
      rounds (&a, v[i % 4], k);
      rounds (&b, w[i % 4], k);
    }
    a.abef = _mm_add_epi32 (a.abef, was_a.abef);
    a.cdgh = _mm_add_epi32 (a.cdgh, was_a.cdgh);
    b.abef = _mm_add_epi32 (b.abef, was_b.abef);
    b.cdgh = _mm_add_epi32 (b.cdgh, was_b.cdgh);
  }
  lanes[0] = a;
  lanes[1] = b;
}

TARGET static struct lane
first_lane (void)
{
  const uint32_t *h = first_hash;

  return (struct lane) {
    .abef = _mm_set_epi32 ((int) h[0], (int) h[1], (int) h[4], (int) h[5]),
    .cdgh = _mm_set_epi32 ((int) h[2], (int) h[3], (int) h[6], (int) h[7]),
  };
}

TARGET static void
put_hash (const struct lane *lane, uint8_t out[DIGEST_SIZE])
{
  uint32_t abef[4], cdgh[4];

  _mm_storeu_si128 ((__m128i *) abef, lane->abef);
  _mm_storeu_si128 ((__m128i *) cdgh, lane->cdgh);
  for (unsigned i = 0; i < 2; ++i) {
    put_be32 (out + 4 * i, abef[3 - i]);
    put_be32 (out + 8 + 4 * i, cdgh[3 - i]);
    put_be32 (out + 16 + 4 * i, abef[1 - i]);
    put_be32 (out + 24 + 4 * i, cdgh[1 - i]);
  }
}

/* What is left of a message, a bit, zeros, and the length in bits (5.1.1): one
 * block or two.
 */
static size_t
last_blocks (const uint8_t *rest, size_t n, size_t len,
             uint8_t out[2 * BLOCK])
{
  size_t nr = n + 1 + 8 <= BLOCK ? 1 : 2;

  memset (out, 0, 2 * BLOCK);
  if (n > 0)
    memcpy (out, rest, n);
  out[n] = 0x80;
  put_be64 (out + nr * BLOCK - 8, (uint64_t) len * 8);
  return nr;
}

static void
two_at_a_time (const void *const buf[2], size_t len,
               uint8_t out[2][DIGEST_SIZE])
{
  struct lane lanes[2] = { first_lane (), first_lane () };
  const uint8_t *p = buf[0], *q = buf[1];
  size_t whole = len / BLOCK, n = len % BLOCK;
  uint8_t last[2][2 * BLOCK];

  add_blocks (lanes, p, q, whole);
  last_blocks (p + whole * BLOCK, n, len, last[0]);
  n = last_blocks (q + whole * BLOCK, n, len, last[1]);
  add_blocks (lanes, last[0], last[1], n);
  put_hash (&lanes[0], out[0]);
  put_hash (&lanes[1], out[1]);
}

int
digest_of_two (const void *const buf[2], size_t len,
               uint8_t out[2][DIGEST_SIZE], struct err *err)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, find_out);
  if (!can_two)
    return one_after_the_other (buf, len, out, err);
  two_at_a_time (buf, len, out);
  return 0;
}

#else /* !__x86_64__ */

int
digest_of_two (const void *const buf[2], size_t len,
               uint8_t out[2][DIGEST_SIZE], struct err *err)
{
  return one_after_the_other (buf, len, out, err);
}

#endif
