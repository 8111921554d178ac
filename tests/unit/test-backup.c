/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Disks become generations and are read again: lib/repo/backup, file-writer,
 * map-writer, file-reader, generation.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/copy/crew.h"
#include "lib/repo/generation-diff.h"
#include "tests/support/backup-trial.h"
#include "tests/support/bad-block.h"

/*--- What changed, and copies -----------------------------------------------*/

/* What is saved of chunk c, with zeros for what can't be read; bad: how many
 * bytes that is.
 */
static void
saved_chunk (const struct disk *disk, const uint8_t *bytes,
             uint32_t chunk_size, uint64_t c, uint8_t *buf, uint64_t *bad)
{
  struct disk then = *disk;
  uint64_t off = c * chunk_size, len = min_u64 (chunk_size, disk->size - off);
  bool used;

  then.bytes = (uint8_t *) bytes;
  expected_chunk (&then, chunk_size, c, buf, &used);
  *bad = 0;
  for (uint64_t at = 0; used && at < len; at += 512) {
    uint64_t n = min_u64 (512, len - at);

    if (!is_bad (disk, off + at, n))
      continue;
    memset (buf + at, 0, n);
    *bad += n;
  }
}

/* before: what the disk had when the first of the two was made. */
static void
check_change (struct generation *first, struct generation *second,
              const uint8_t *before, const struct disk *disk,
              uint32_t chunk_size)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint8_t *was = malloc (chunk_size), *is = malloc (chunk_size);
  size_t i = 0;

  assert_int_equal (generation_diff_check (first, second, NULL), 0);
  assert_int_equal (generation_diff_extents (first, second, disk->size, 0,
                                             &list, NULL), 0);
  for (uint64_t c = 0; c * chunk_size < disk->size; ++c) {
    uint64_t off = c * chunk_size, len = min_u64 (chunk_size,
                                                  disk->size - off), bad;
    enum extent_kind kind = EXTENT_DATA;

    while (list.v.ptr[i].off + list.v.ptr[i].len <= off)
      ++i;
    assert_true (list.v.ptr[i].off <= off &&
                 list.v.ptr[i].off + list.v.ptr[i].len >= off + len);
    saved_chunk (disk, before, chunk_size, c, was, &bad);
    saved_chunk (disk, disk->bytes, chunk_size, c, is, &bad);
    if (memcmp (was, is, len) == 0)
      kind = EXTENT_UNALLOCATED;
    else if (bad == 0 && crew_is_zero (is, len))
      kind = EXTENT_ZERO;
    assert_int_equal (list.v.ptr[i].kind, kind);
  }
  free (was);
  free (is);
}

/* Copy it into another place, where base is the copy of the one before. */
static void
copy_to (struct repo_memory *other, struct generation *gen,
         struct generation *base, const struct disk *disk,
         const struct backup_result *was, struct rng *rng)
{
  uint32_t chunk_size = generation_header (gen)->chunk_size;
  struct backup_options options = {
    .header = header_of (disk, chunk_size), .from = gen, .base = base,
    .threads = 1 + rng_below (rng, 4), .file_limit = MIB,
  };
  struct manifest manifest = { 0 };
  struct backup_result result;
  struct err err = ERR_INIT;
  struct block *block;
  const char *json;
  size_t len;

  json = generation_manifest (gen, &len);
  assert_int_equal (manifest_read (json, len, generation_header (gen),
                                   &manifest, NULL), 0);
  options.manifest = &manifest;
  block = bad_block_new (disk->bytes, disk->size, NULL, 0);
  if (backup_disk (block, &options, &other->place, &result, NULL, &err) < 0)
    fail_msg ("copying: %s", err.msg);
  block_unref (block);
  manifest_destroy (&manifest);
  assert_int_equal (result.counts.data, was->counts.data);
  assert_int_equal (result.counts.zero, was->counts.zero);
  assert_int_equal (result.counts.unallocated, was->counts.unallocated);
  assert_int_equal (result.counts.unreadable, was->counts.unreadable);
  assert_int_equal (result.counts.unreadable_bytes,
                    was->counts.unreadable_bytes);
  assert_int_equal (result.counts.fresh, was->counts.fresh);
  check_newest (other, disk, chunk_size, rng);
  assert_int_equal (verify_all (other, true), 0);
}

/* What the tables say does not add up to what the manifest says. */
static void
test_copy_of_a_lie (void **state)
{
  struct rng rng = { 99 };
  struct repo_memory repo, other;
  struct backup_options options = { .codec = NBI_LZ4 };
  struct manifest manifest = { 0 };
  struct backup_result result;
  struct err err = ERR_INIT;
  struct generation *gen;
  struct block *block;
  struct disk disk;
  const char *json;
  size_t len;

  (void) state;
  disk_init (&disk, 3 * MIB, &rng);
  repo_memory_init (&repo, 4 * MIB);
  repo_memory_init (&other, 4 * MIB);
  back_up (&repo, &disk, &options, 64 * KIB);
  gen = newest (&repo);
  json = generation_manifest (gen, &len);
  assert_int_equal (manifest_read (json, len, generation_header (gen),
                                   &manifest, NULL), 0);
  manifest.hash[7] ^= 1;
  options = (struct backup_options) {
    .header = header_of (&disk, 64 * KIB), .from = gen, .manifest = &manifest,
  };
  block = bad_block_new (disk.bytes, disk.size, NULL, 0);
  assert_int_equal (backup_disk (block, &options, &other.place, &result, NULL,
                                 &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-87"));
  /* Other chunks than it has. */
  options.header.chunk_size = 16 * KIB;
  assert_int_equal (backup_disk (block, &options, &other.place, &result, NULL,
                                 &err), -EINVAL);
  block_unref (block);
  manifest_destroy (&manifest);
  generation_unref (gen);
  repo_memory_destroy (&repo);
  repo_memory_destroy (&other);
  disk_free (&disk);
}

/*--- Tests ------------------------------------------------------------------*/

static const struct {
  uint32_t chunk_size;
  enum nbi_codec codec;
  unsigned threads;
  uint64_t file_limit;
} ways[] = {
  { 16 * 1024, NBI_LZ4, 1, 0 },
  { 64 * 1024, NBI_LZ4, 4, MIB },
  { 64 * 1024, NBI_ZSTD, 3, 0 },
  { 256 * 1024, NBI_STORED, 2, 3 * MIB },
  { 1024 * 1024, NBI_ZSTD, 4, 300 * KIB },
};

#define NR_WAYS (sizeof ways / sizeof ways[0])

/* All kinds of disks, each with some generations after the first. */
static void
round_trips (size_t way)
{
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    struct rng rng = { seed * 1000 + way };
    size_t size = (size_t) (1 + rng_next (&rng) % (12 * MIB));
    struct generation *base = NULL, *copied = NULL;
    struct repo_memory repo, other;
    uint8_t *before = malloc (size);
    struct disk disk;

    print_message ("way %zu, seed %" PRIu64 ", %zu bytes\n", way, seed, size);
    disk_init (&disk, size, &rng);
    repo_memory_init (&repo, 4 * MIB);
    repo_memory_init (&other, 4 * MIB);
    if (seed % 2 == 0)
      use_in_part (&disk, &rng, 12);
    if (seed % 3 == 0)
      break_sectors (&disk, &rng, 12);
    for (int generation = 0; generation < 3; ++generation) {
      struct backup_options options = {
        .codec = ways[way].codec, .threads = ways[way].threads,
        .file_limit = ways[way].file_limit, .base = base,
      };
      struct generation *made;
      struct backup_result result;

      result = back_up (&repo, &disk, &options, ways[way].chunk_size);
      check_newest (&repo, &disk, ways[way].chunk_size, &rng);
      made = newest (&repo);
      if (base != NULL)
        check_change (base, made, before, &disk, ways[way].chunk_size);
      copy_to (&other, made, copied, &disk, &result, &rng);
      generation_unref (copied);
      copied = newest (&other);
      check_change (made, copied, disk.bytes, &disk, ways[way].chunk_size);
      generation_unref (base);
      base = made;
      memcpy (before, disk.bytes, size);
      change (&disk, &rng, 3);
    }
    assert_int_equal (verify_all (&repo, true), 0);
    generation_unref (base);
    generation_unref (copied);
    repo_memory_destroy (&repo);
    repo_memory_destroy (&other);
    free (before);
    disk_free (&disk);
  }
}

static void
test_round_trips (void **state)
{
  (void) state;
  for (size_t way = 0; way < NR_WAYS; ++way)
    round_trips (way);
}

/* The disk becomes larger and smaller between generations, over the end of a
 * page of the map too.
 */
static void
test_other_size (void **state)
{
  static const size_t sizes[] = {
    3 * MIB + 700, 3 * MIB + 16 * KIB, 3 * MIB, 9 * MIB + 1, 64 * MIB,
    64 * MIB + 5, 2 * MIB + 700, 700, 65 * MIB,
  };
  struct generation *base = NULL;
  struct rng rng = { 11 };
  struct repo_memory repo;
  struct disk disk;

  (void) state;
  disk_init (&disk, 66 * MIB, &rng);
  repo_memory_init (&repo, MIB);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    struct backup_options options = {
      .codec = NBI_LZ4, .threads = 3, .file_limit = MIB, .base = base,
    };

    disk.size = sizes[i];
    back_up (&repo, &disk, &options, 16 * 1024);
    check_newest (&repo, &disk, 16 * 1024, &rng);
    generation_unref (base);
    base = newest (&repo);
  }
  assert_int_equal (verify_all (&repo, true), 0);
  generation_unref (base);
  repo_memory_destroy (&repo);
  disk_free (&disk);
}

/* Is what can be read of it right?  How much can't. */
static unsigned
count_refused (struct repo_memory *repo, const struct disk *disk)
{
  struct generation *gen = newest (repo);
  uint8_t buf[16 * KIB];
  unsigned n = 0;

  for (uint64_t off = 0; off < disk->size; off += sizeof buf)
    if (generation_pread (gen, buf, sizeof buf, off, NULL) < 0)
      ++n;
    else
      assert_memory_equal (buf, disk->bytes + off, sizeof buf);
  generation_unref (gen);
  return n;
}

/* A base that is damaged makes no backup fail, and no byte of one wrong; what
 * its tables don't give is written again.
 */
static void
test_damaged_base (void **state)
{
  struct rng rng = { 12 };
  unsigned refused = 0, whole = 0;
  struct disk disk;

  (void) state;
  disk_init (&disk, 2 * MIB, &rng);
  for (int i = 0; i < 60; ++i) {
    struct backup_options options = { .codec = NBI_LZ4, .file_limit = MIB };
    struct memory_file *file;
    struct generation *base;
    struct repo_memory repo;
    unsigned n;

    repo_memory_init (&repo, MIB);
    back_up (&repo, &disk, &options, 16 * 1024);
    for (int k = 0; k < 8; ++k) {
      file = repo.files.ptr[rng_below (&rng, (unsigned) repo.files.len)];
      /* Not the ends, with which the base could not be opened. */
      file->bytes[4096 + rng_next (&rng) % (file->len - 24 * KIB)] ^= 1;
    }
    if (repo_memory_newest (&repo, &base, NULL) == 0) {
      options.base = base;
      back_up (&repo, &disk, &options, 16 * 1024);
      n = count_refused (&repo, &disk);
      refused += n;
      whole += n == 0;
      generation_unref (base);
    }
    repo_memory_destroy (&repo);
  }
  print_message ("%u chunks refused, %u generations whole\n", refused, whole);
  assert_in_range (refused, 1, 60 * 64);
  disk_free (&disk);
}

/* A page of the map that has no data, damaged in the base, is written again. */
static void
test_damaged_page (void **state)
{
  struct backup_options options = { .codec = NBI_LZ4, .file_limit = MIB };
  struct rng rng = { 13 };
  struct generation *base;
  struct repo_memory repo;
  struct disk disk;

  (void) state;
  disk_init (&disk, 4 * MIB, &rng);
  memset (disk.bytes, 0, disk.size);
  use_in_part (&disk, &rng, 2);
  repo_memory_init (&repo, MIB);
  back_up (&repo, &disk, &options, 16 * 1024);
  assert_int_equal (count_refused (&repo, &disk), 0);
  /* The payload of its only record. */
  repo.files.ptr[0]->bytes[4096 + NBI_RECORD_SIZE + 3] ^= 1;
  generation_caches_destroy (&repo.caches);
  assert_int_equal (generation_caches_init (&repo.caches, MIB, NULL), 0);
  assert_int_not_equal (count_refused (&repo, &disk), 0);
  options.base = base = newest (&repo);
  back_up (&repo, &disk, &options, 16 * 1024);
  assert_int_equal (count_refused (&repo, &disk), 0);
  generation_unref (base);
  repo_memory_destroy (&repo);
  disk_free (&disk);
}

/* What did not change is not written again, and neither is its page. */
static void
test_only_what_changed (void **state)
{
  struct rng rng = { 5 };
  struct backup_options options = { .codec = NBI_LZ4 };
  struct backup_result first, second, third;
  struct generation *base;
  struct repo_memory repo;
  struct disk disk;

  (void) state;
  disk_init (&disk, 8 * MIB, &rng);
  fill_random (&rng, disk.bytes, disk.size);
  repo_memory_init (&repo, MIB);
  first = back_up (&repo, &disk, &options, 16 * 1024);
  assert_int_equal (first.counts.data, 512);
  assert_int_equal (first.counts.fresh, 512);

  options.base = base = newest (&repo);
  second = back_up (&repo, &disk, &options, 16 * 1024);
  assert_int_equal (second.counts.data, 512);
  assert_int_equal (second.counts.fresh, 0);
  assert_int_equal (second.counts.stored, 0);
  assert_int_equal (second.nr_files, 1);
  check_newest (&repo, &disk, 16 * 1024, &rng);

  disk.bytes[3 * MIB] ^= 1;
  third = back_up (&repo, &disk, &options, 16 * 1024);
  assert_int_equal (third.counts.fresh, 1);
  check_newest (&repo, &disk, 16 * 1024, &rng);
  generation_unref (base);
  repo_memory_destroy (&repo);
  disk_free (&disk);
}

/* Chunks that are alike are written once. */
static void
test_duplicates (void **state)
{
  struct rng rng = { 6 };
  struct backup_options options = { .codec = NBI_LZ4 };
  struct backup_result result;
  struct repo_memory repo;
  struct disk disk;

  (void) state;
  disk_init (&disk, 4 * MIB, &rng);
  fill_random (&rng, disk.bytes, 64 * KIB);
  for (size_t off = 64 * KIB; off < disk.size; off += 64 * KIB)
    memcpy (disk.bytes + off, disk.bytes, 64 * KIB);
  repo_memory_init (&repo, MIB);
  result = back_up (&repo, &disk, &options, 64 * 1024);
  assert_int_equal (result.counts.data, 64);
  assert_int_equal (result.counts.fresh, 1);
  check_newest (&repo, &disk, 64 * 1024, &rng);
  repo_memory_destroy (&repo);
  disk_free (&disk);
}

static void
get_manifest (struct repo_memory *repo, struct manifest *m)
{
  struct generation *gen = newest (repo);
  struct err err = ERR_INIT;
  const char *json;
  size_t len;

  json = generation_manifest (gen, &len);
  if (manifest_read (json, len, generation_header (gen), m, &err) < 0)
    fail_msg ("manifest: %s\n%s", err.msg, json);
  generation_unref (gen);
}

/* The hash is that of what the disk reads as, whatever way it is stored. */
static void
test_hash (void **state)
{
  uint8_t hashes[NR_WAYS][DIGEST_SIZE];
  struct rng rng = { 7 };
  struct disk disk;

  (void) state;
  disk_init (&disk, 5 * MIB + 1234, &rng);
  for (size_t way = 0; way < NR_WAYS; ++way) {
    struct backup_options options = {
      .codec = ways[way].codec, .threads = ways[way].threads,
    };
    struct repo_memory repo;
    struct manifest m;

    if (way == NR_WAYS - 1)
      disk.bytes[5 * MIB] ^= 1;
    repo_memory_init (&repo, MIB);
    back_up (&repo, &disk, &options, 64 * 1024);
    get_manifest (&repo, &m);
    memcpy (hashes[way], m.hash, DIGEST_SIZE);
    assert_int_equal (m.counts.data + m.counts.zero, 81);
    manifest_destroy (&m);
    repo_memory_destroy (&repo);
    if (way == NR_WAYS - 1)
      assert_memory_not_equal (hashes[way], hashes[0], DIGEST_SIZE);
    else
      assert_memory_equal (hashes[way], hashes[0], DIGEST_SIZE);
  }
  disk_free (&disk);
}

/* A place that is full ends it, whoever has its turn. */
static void
test_no_space (void **state)
{
  struct rng rng = { 8 };
  struct disk disk;

  (void) state;
  disk_init (&disk, 8 * MIB, &rng);
  fill_random (&rng, disk.bytes, disk.size);
  for (size_t limit = 1; limit < 9 * MIB; limit += MIB) {
    struct manifest manifest = { 0 };
    struct backup_options options = {
      .codec = NBI_LZ4, .threads = 4, .header = header_of (&disk, 64 * 1024),
      .manifest = &manifest,
    };
    struct backup_result result;
    struct repo_memory repo;
    struct block *block = bad_block_new (disk.bytes, disk.size, NULL, 0);
    struct generation *gen;

    repo_memory_init (&repo, MIB);
    repo.fail_at = limit;
    assert_int_equal (backup_disk (block, &options, &repo.place, &result, NULL,
                                   NULL), -ENOSPC);
    assert_int_equal (repo_memory_newest (&repo, &gen, NULL), -ENOENT);
    repo_memory_destroy (&repo);
    manifest_destroy (&manifest);
    block_unref (block);
  }
  disk_free (&disk);
}

/* Wherever a bit is flipped, a read is right or refused, and verifying finds
 * it.
 */
static void
test_flipped_bits (void **state)
{
  struct rng rng = { 9 };
  struct backup_options options = { .codec = NBI_ZSTD, .file_limit = MIB };
  struct repo_memory repo;
  unsigned refused = 0;
  struct disk disk;

  (void) state;
  disk_init (&disk, 3 * MIB, &rng);
  repo_memory_init (&repo, MIB);
  back_up (&repo, &disk, &options, 16 * 1024);
  for (int i = 0; i < 400; ++i) {
    struct memory_file *file =
      repo.files.ptr[rng_below (&rng, (unsigned) repo.files.len)];
    size_t at = rng_next (&rng) % file->len;
    uint8_t bit = (uint8_t) (1U << rng_below (&rng, 8));
    struct generation *gen;

    file->bytes[at] ^= bit;
    generation_caches_destroy (&repo.caches);
    assert_int_equal (generation_caches_init (&repo.caches, MIB, NULL), 0);
    if (repo_memory_newest (&repo, &gen, NULL) < 0)
      ++refused;
    else {
      for (uint64_t off = 0; off < disk.size; off += 64 * KIB) {
        uint8_t buf[64 * KIB];

        if (generation_pread (gen, buf, sizeof buf, off, NULL) < 0)
          ++refused;
        else
          assert_memory_equal (buf, disk.bytes + off, sizeof buf);
      }
      generation_unref (gen);
    }
    if (verify_all (&repo, true) == 0)
      fail_msg ("bit %u of byte %zu of %zu is not found", bit, at, file->len);
    file->bytes[at] ^= bit;
  }
  assert_in_range (refused, 100, 400 * 48);
  repo_memory_destroy (&repo);
  disk_free (&disk);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_copy_of_a_lie),
    cmocka_unit_test (test_round_trips),
    cmocka_unit_test (test_other_size),
    cmocka_unit_test (test_damaged_base),
    cmocka_unit_test (test_damaged_page),
    cmocka_unit_test (test_only_what_changed),
    cmocka_unit_test (test_duplicates),
    cmocka_unit_test (test_hash),
    cmocka_unit_test (test_no_space),
    cmocka_unit_test (test_flipped_bits),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
