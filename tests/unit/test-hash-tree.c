/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The hashes of what a disk reads as, against the formulas of docs/NBI.md §8
 * written down as they are there.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/repo/hash-tree.h"
#include "tests/support/rng.h"

#define PAGE 4096

/* Of each chunk: the number it is made of; 0 is a chunk of zeros. */
struct disk {
  uint64_t nr;
  uint32_t *chunks;
};

static void
sha256 (const void *buf, size_t len, uint8_t *out)
{
  assert_int_equal (digest_of (buf, len, out, NULL), 0);
}

static void
identity (const struct disk *disk, uint64_t c, uint8_t id[DIGEST_SIZE])
{
  sha256 (&disk->chunks[c], sizeof disk->chunks[c], id);
}

/* node (k, i) */
static void
node (const struct disk *disk, unsigned k, uint64_t i, uint8_t *out)
{
  uint8_t text[1 + 2 * DIGEST_SIZE];

  if (k == 0) {
    text[0] = 0;
    identity (disk, i, text + 1);
    sha256 (text, 1 + DIGEST_SIZE, out);
    return;
  }
  text[0] = 1;
  node (disk, k - 1, 2 * i, text + 1);
  node (disk, k - 1, 2 * i + 1, text + 1 + DIGEST_SIZE);
  sha256 (text, sizeof text, out);
}

/* hash [a, b) */
static void
range (const struct disk *disk, uint64_t a, uint64_t b, uint8_t *out)
{
  uint8_t text[17 + 64 * DIGEST_SIZE];
  size_t len = 17;

  text[0] = 2;
  put_le64 (text + 1, a);
  put_le64 (text + 9, b);
  for (uint64_t c = a; c < b;) {
    unsigned k = 0;

    while (c % (UINT64_C (2) << k) == 0 && c + (UINT64_C (2) << k) <= b)
      ++k;
    node (disk, k, c >> k, text + len);
    len += DIGEST_SIZE;
    c += UINT64_C (1) << k;
  }
  sha256 (text, len, out);
}

/*--- Disks ------------------------------------------------------------------*/

static struct disk
make_disk (struct rng *rng, uint64_t nr, unsigned longest)
{
  struct disk disk = { nr, calloc (nr, sizeof (uint32_t)) };

  assert_non_null (disk.chunks);
  for (uint64_t c = 0; c < nr;) {
    unsigned n = 1 + rng_below (rng, longest);
    bool zeros = rng_below (rng, 2) == 0;

    for (; n > 0 && c < nr; --n)
      disk.chunks[c++] = zeros ? 0 : 1 + rng_below (rng, 1000000);
  }
  return disk;
}

static void
make_zeros (struct hash_zeros *zeros)
{
  static const uint32_t nothing;
  uint8_t id[DIGEST_SIZE];

  sha256 (&nothing, sizeof nothing, id);
  assert_int_equal (hash_zeros_init (zeros, id, NULL), 0);
}

/* Chunks a to b, those of zeros as runs, or pieces of runs. */
static void
feed (struct rng *rng, const struct disk *disk, struct hash_zeros *zeros,
      struct hash_range *r, uint64_t a, uint64_t b)
{
  for (uint64_t c = a; c < b;) {
    uint64_t n = 0;
    uint8_t id[DIGEST_SIZE];

    while (c + n < b && disk->chunks[c + n] == 0)
      ++n;
    if (n > 0 && rng_below (rng, 4) > 0) {
      n = rng_below (rng, 3) ? n : 1 + rng_below (rng, (unsigned) n);
      assert_int_equal (hash_range_add_zeros (r, zeros, n, NULL), 0);
      c += n;
      continue;
    }
    identity (disk, c, id);
    assert_int_equal (hash_range_add (r, id, NULL), 0);
    ++c;
  }
}

static void
random_ranges_are_what_the_formulas_say (void **state)
{
  struct hash_zeros zeros;
  struct rng rng = { 3 };

  (void) state;
  make_zeros (&zeros);
  for (unsigned i = 0; i < 400; ++i) {
    struct disk disk = make_disk (&rng, 1 + rng_below (&rng, 1500),
                                  1U << rng_below (&rng, 9));
    uint64_t a = rng_below (&rng, (unsigned) disk.nr + 1);
    uint64_t b = a + rng_below (&rng, (unsigned) (disk.nr - a) + 1);
    uint8_t expected[DIGEST_SIZE], hash[DIGEST_SIZE];
    struct hash_range r;

    hash_range_init (&r, a);
    feed (&rng, &disk, &zeros, &r, a, b);
    range (&disk, a, b, expected);
    assert_int_equal (hash_range_end (&r, hash, NULL), 0);
    assert_memory_equal (hash, expected, DIGEST_SIZE);
    free (disk.chunks);
  }
}

/* After each chunk, from each of the first chunks. */
static void
all_small_ranges_are_what_the_formulas_say (void **state)
{
  struct hash_zeros zeros;
  struct rng rng = { 4 };
  struct disk disk = make_disk (&rng, 70, 5);

  (void) state;
  make_zeros (&zeros);
  for (uint64_t a = 0; a <= disk.nr; ++a) {
    struct hash_range r;

    hash_range_init (&r, a);
    for (uint64_t b = a;; ++b) {
      uint8_t expected[DIGEST_SIZE], hash[DIGEST_SIZE];

      range (&disk, a, b, expected);
      assert_int_equal (hash_range_end (&r, hash, NULL), 0);
      assert_memory_equal (hash, expected, DIGEST_SIZE);
      if (b == disk.nr)
        break;
      feed (&rng, &disk, &zeros, &r, b, b + 1);
    }
  }
  free (disk.chunks);
}

/* The root's hash of page p. */
static void
page_hash (struct rng *rng, const struct disk *disk, struct hash_zeros *zeros,
           uint64_t p, uint8_t *hash)
{
  uint64_t a = p * PAGE, b = a + PAGE < disk->nr ? a + PAGE : disk->nr;
  struct hash_range r;

  hash_range_init (&r, a);
  feed (rng, disk, zeros, &r, a, b);
  assert_int_equal (hash_range_end_page (&r, hash, NULL), 0);
}

static void
root_has_a_node_for_a_page_and_a_range_for_a_shorter_one (void **state)
{
  struct hash_zeros zeros;
  struct rng rng = { 5 };
  struct disk disk = make_disk (&rng, 2 * PAGE + 77, 100);
  uint8_t hash[DIGEST_SIZE], expected[DIGEST_SIZE];

  (void) state;
  make_zeros (&zeros);
  for (uint64_t p = 0; p < 2; ++p) {
    page_hash (&rng, &disk, &zeros, p, hash);
    node (&disk, 12, p, expected);
    assert_memory_equal (hash, expected, DIGEST_SIZE);
  }
  page_hash (&rng, &disk, &zeros, 2, hash);
  range (&disk, 2 * PAGE, disk.nr, expected);
  assert_memory_equal (hash, expected, DIGEST_SIZE);
  free (disk.chunks);
}

/* A disk's hash, or a partition's: whole pages by the root's hash, and the
 * pages at its ends chunk by chunk.
 */
static void
hashes_of_pages_make_those_of_disk_and_partitions (void **state)
{
  struct hash_zeros zeros;
  struct rng rng = { 6 };
  struct disk disk = make_disk (&rng, 5 * PAGE + 123, 3000);

  (void) state;
  make_zeros (&zeros);
  for (unsigned i = 0; i < 12; ++i) {
    uint64_t a = i == 0 ? 0 : rng_below (&rng, (unsigned) disk.nr);
    uint64_t b = i == 0 ? disk.nr
      : a + rng_below (&rng, (unsigned) (disk.nr - a) + 1);
    uint8_t hash[DIGEST_SIZE], expected[DIGEST_SIZE];
    struct hash_range r;

    hash_range_init (&r, a);
    for (uint64_t c = a; c < b;) {
      uint64_t end = (c / PAGE + 1) * PAGE;

      if (c % PAGE == 0 && end <= b) {
        page_hash (&rng, &disk, &zeros, c / PAGE, hash);
        assert_int_equal (hash_range_add_node (&r, 12, hash, NULL), 0);
      }
      else
        feed (&rng, &disk, &zeros, &r, c, end < b ? end : b);
      c = end;
    }
    range (&disk, a, b, expected);
    assert_int_equal (hash_range_end (&r, hash, NULL), 0);
    assert_memory_equal (hash, expected, DIGEST_SIZE);
  }
  free (disk.chunks);
}

/* 2^32 chunks of zeros in a moment: node (32, 0) is made of 32 hashes. */
static void
largest_disk_of_zeros_takes_no_time (void **state)
{
  const uint64_t nr = UINT64_C (1) << 32;
  uint8_t text[17 + 64], expected[DIGEST_SIZE], hash[DIGEST_SIZE];
  struct disk zero = { 1, calloc (1, sizeof (uint32_t)) };
  struct hash_zeros zeros;
  struct hash_range r;

  (void) state;
  assert_non_null (zero.chunks);
  make_zeros (&zeros);
  node (&zero, 0, 0, hash);
  for (unsigned k = 0; k < 32; ++k) {
    text[0] = 1;
    memcpy (text + 1, hash, DIGEST_SIZE);
    memcpy (text + 1 + DIGEST_SIZE, hash, DIGEST_SIZE);
    sha256 (text, 65, hash);
  }
  text[0] = 2;
  put_le64 (text + 1, 0);
  put_le64 (text + 9, nr);
  memcpy (text + 17, hash, DIGEST_SIZE);
  sha256 (text, 17 + DIGEST_SIZE, expected);
  hash_range_init (&r, 0);
  assert_int_equal (hash_range_add_zeros (&r, &zeros, nr, NULL), 0);
  assert_int_equal (r.nr_nodes, 1);
  assert_int_equal (hash_range_end (&r, hash, NULL), 0);
  assert_memory_equal (hash, expected, DIGEST_SIZE);
  /* The most nodes that a range can have. */
  hash_range_init (&r, 1);
  assert_int_equal (hash_range_add_zeros (&r, &zeros, nr - 2, NULL), 0);
  assert_int_equal (r.nr_nodes, 62);
  free (zero.chunks);
}

/* SHA-256 of 02 and sixteen bytes, by another program. */
static void
empty_range_has_no_nodes (void **state)
{
  static const uint8_t expected[DIGEST_SIZE] = {
    0x70, 0x14, 0x96, 0x59, 0x51, 0xe1, 0x88, 0xc7, 0xad, 0x87, 0x21,
    0xb1, 0x46, 0x01, 0x22, 0x4a, 0xe5, 0x9d, 0x92, 0x0a, 0x94, 0xb3,
    0x41, 0x51, 0xcc, 0x5c, 0x6f, 0x4d, 0xf8, 0xc0, 0xc0, 0x14,
  };
  uint8_t hash[DIGEST_SIZE];
  struct hash_range r;

  (void) state;
  hash_range_init (&r, 5);
  assert_int_equal (hash_range_end (&r, hash, NULL), 0);
  assert_memory_equal (hash, expected, DIGEST_SIZE);
}

/* Three chunks with identities 11…, 22…, 33…, from chunk 2 on, by another
 * program: node (1, 1), node (0, 4).
 */
static void
small_range_is_what_another_program_says (void **state)
{
  static const uint8_t expected[DIGEST_SIZE] = {
    0x77, 0x12, 0xef, 0xf8, 0xf4, 0xe3, 0x19, 0x9c, 0xaa, 0xed, 0x67,
    0x22, 0xc4, 0x65, 0x6a, 0x87, 0x79, 0x0e, 0xcf, 0xcd, 0xad, 0x04,
    0x00, 0x8b, 0x66, 0x9c, 0x5b, 0x56, 0x00, 0x91, 0xf8, 0x8a,
  };
  uint8_t id[DIGEST_SIZE], hash[DIGEST_SIZE];
  struct hash_range r;

  (void) state;
  hash_range_init (&r, 2);
  for (unsigned i = 1; i <= 3; ++i) {
    memset (id, (int) (0x11 * i), sizeof id);
    assert_int_equal (hash_range_add (&r, id, NULL), 0);
  }
  assert_int_equal (hash_range_end (&r, hash, NULL), 0);
  assert_memory_equal (hash, expected, DIGEST_SIZE);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (random_ranges_are_what_the_formulas_say),
    cmocka_unit_test (all_small_ranges_are_what_the_formulas_say),
    cmocka_unit_test (root_has_a_node_for_a_page_and_a_range_for_a_shorter_one),
    cmocka_unit_test (hashes_of_pages_make_those_of_disk_and_partitions),
    cmocka_unit_test (largest_disk_of_zeros_takes_no_time),
    cmocka_unit_test (empty_range_has_no_nodes),
    cmocka_unit_test (small_range_is_what_another_program_says),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
