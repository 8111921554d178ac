/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/repo/verify.h"
#include "tests/support/backup-trial.h"
#include "tests/support/bad-block.h"

/*--- A disk -----------------------------------------------------------------*/

void
fill_random (struct rng *rng, uint8_t *p, size_t len)
{
  for (size_t i = 0; i < len; ++i)
    p[i] = (uint8_t) rng_next (rng);
}

void
change (struct disk *disk, struct rng *rng, unsigned n)
{
  for (unsigned i = 0; i < n; ++i) {
    size_t off = rng_next (rng) % disk->size;
    size_t len = (size_t) min_u64 (disk->size - off,
                                   1 + rng_next (rng) % (200 * KIB));
    uint8_t *p = disk->bytes + off;

    switch (rng_below (rng, 4)) {
    case 0:
      fill_random (rng, p, len);
      break;
    case 1:
      for (size_t k = 0; k < len; ++k)
        p[k] = (uint8_t) ("one two three "[k % 14] + (off >> 12) % 7);
      break;
    case 2:
      memset (p, 0, len);
      break;
    default:
      memmove (p, disk->bytes + rng_next (rng) % (disk->size - len + 1), len);
    }
  }
}

void
disk_init (struct disk *disk, size_t size, struct rng *rng)
{
  *disk = (struct disk) { .bytes = calloc (1, size), .size = size };
  assert_non_null (disk->bytes);
  change (disk, rng, 60);
}

void
disk_free (struct disk *disk)
{
  free (disk->bytes);
  vector_free (&disk->bad);
  if (disk->has_map)
    used_map_free (&disk->used);
}

void
break_sectors (struct disk *disk, struct rng *rng, unsigned n)
{
  uint64_t off = 0;

  for (unsigned i = 0; i < n; ++i) {
    struct nbi_range range;

    off += 512 * (2 + rng_below (rng, 800));
    range = (struct nbi_range) { off, 512 * (1 + rng_below (rng, 200)) };
    off += range.len;
    if (off > disk->size)
      break;
    assert_int_equal (vector_append (&disk->bad, &range), 0);
  }
}

void
use_in_part (struct disk *disk, struct rng *rng, unsigned n)
{
  disk->has_map = true;
  used_map_init (&disk->used, disk->size, USED_MAP_LIMIT);
  for (unsigned i = 0; i < n; ++i)
    assert_int_equal (used_map_add (&disk->used,
                                    rng_next (rng) % disk->size,
                                    1 + rng_next (rng) % (300 * KIB), NULL),
                      0);
  used_map_finish (&disk->used);
}

struct nbi_header
header_of (const struct disk *disk, uint32_t chunk_size)
{
  struct nbi_header h = {
    .disk_size = disk->size, .chunk_size = chunk_size, .logical = 512,
    .physical = 4096, .time = 1700000000,
  };

  strcpy (h.name, "a disk");
  strcpy (h.creator, "test-backup");
  assert_int_equal (uuid_new (h.run, NULL), 0);
  memset (h.vault, 7, sizeof h.vault);
  return h;
}

struct backup_result
back_up (struct repo_memory *repo, const struct disk *disk,
         struct backup_options *options, uint32_t chunk_size)
{
  struct manifest manifest = { 0 };
  struct backup_result result;
  struct err err = ERR_INIT;
  struct block *block;

  options->header = header_of (disk, chunk_size);
  options->manifest = &manifest;
  options->used = disk->has_map ? &disk->used : NULL;
  block = bad_block_new (disk->bytes, disk->size, disk->bad.ptr,
                         disk->bad.len);
  if (backup_disk (block, options, &repo->place, &result, NULL, &err) < 0)
    fail_msg ("backing up: %s", err.msg);
  block_unref (block);
  manifest_destroy (&manifest);
  return result;
}

/*--- Reading it again -------------------------------------------------------*/

bool
is_bad (const struct disk *disk, uint64_t off, uint64_t len)
{
  for (size_t i = 0; i < disk->bad.len; ++i)
    if (disk->bad.ptr[i].off < off + len &&
        disk->bad.ptr[i].off + disk->bad.ptr[i].len > off)
      return true;
  return false;
}

void
expected_chunk (const struct disk *disk, uint32_t chunk_size, uint64_t c,
                uint8_t *buf, bool *used)
{
  uint64_t off = c * chunk_size, len = min_u64 (chunk_size, disk->size - off);

  *used = !disk->has_map || used_map_touches (&disk->used, off, len);
  if (*used)
    memcpy (buf, disk->bytes + off, len);
  else
    memset (buf, 0, len);
}

/* A disk as the generation of it should read, with what is not used as
 * zeros.
 */
static uint8_t *
expected_bytes (const struct disk *disk, uint32_t chunk_size)
{
  uint8_t *bytes = malloc (disk->size);
  bool used;

  assert_non_null (bytes);
  for (uint64_t c = 0; c * chunk_size < disk->size; ++c)
    expected_chunk (disk, chunk_size, c, bytes + c * chunk_size, &used);
  return bytes;
}

/* Is something of it bad, of what was read at all? */
static bool
should_fail (const struct disk *disk, uint32_t chunk_size, uint64_t off,
             uint64_t len)
{
  for (uint64_t c = off / chunk_size; c * chunk_size < off + len; ++c) {
    uint64_t start = max_u64 (c * chunk_size, off);
    uint64_t end = min_u64 ((c + 1) * chunk_size, off + len);
    uint64_t chunk_end = min_u64 ((c + 1) * chunk_size, disk->size);

    if ((!disk->has_map ||
         used_map_touches (&disk->used, c * chunk_size,
                           chunk_end - c * chunk_size)) &&
        is_bad (disk, start, end - start))
      return true;
  }
  return false;
}

static void
check_reads (struct generation *gen, const struct disk *disk,
             uint32_t chunk_size, struct rng *rng, unsigned n)
{
  uint8_t *bytes = expected_bytes (disk, chunk_size);
  uint8_t *buf = malloc (disk->size);

  for (unsigned i = 0; i < n; ++i) {
    uint64_t off = rng_next (rng) % disk->size;
    uint64_t len = 1 + rng_next (rng) % (i % 2 ? 3 * MIB : 8 * KIB);
    struct err err = ERR_INIT;
    int r;

    if (i == 0)
      off = 0, len = disk->size;
    len = min_u64 (len, disk->size - off);
    r = generation_pread (gen, buf, len, off, &err);
    if (should_fail (disk, chunk_size, off, len)) {
      assert_int_equal (r, -EIO);
      assert_non_null (strstr (err.msg, "could not be read"));
      continue;
    }
    if (r < 0)
      fail_msg ("%" PRIu64 " bytes at %" PRIu64 ": %s", len, off, err.msg);
    if (memcmp (buf, bytes + off, len) != 0)
      fail_msg ("%" PRIu64 " bytes at %" PRIu64 " are others", len, off);
  }
  free (bytes);
  free (buf);
}

static void
check_extents (struct generation *gen, const struct disk *disk,
               uint32_t chunk_size)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t off = 0;

  assert_int_equal (generation_extents (gen, disk->size, 0, &list, NULL), 0);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    assert_int_equal (e->off, off);
    off += e->len;
    for (uint64_t at = e->off; at < off; at += 512) {
      uint64_t chunk = at / chunk_size * chunk_size;
      uint64_t len = min_u64 (chunk_size, disk->size - chunk);
      bool used = !disk->has_map || used_map_touches (&disk->used, chunk, len);
      uint64_t n = min_u64 (512, off - at);

      assert_int_equal (e->kind == EXTENT_UNALLOCATED, !used);
      assert_int_equal (e->kind == EXTENT_UNREADABLE,
                        used && is_bad (disk, at, n));
      if (e->kind == EXTENT_HOLE)
        for (uint64_t k = 0; k < n; ++k)
          assert_int_equal (disk->bytes[at + k], 0);
    }
  }
  assert_int_equal (off, disk->size);
}

/*--- Verifying --------------------------------------------------------------*/

static int
count_finding (void *opaque, struct file_reader *file,
               const struct verify_finding *finding, struct err *err)
{
  unsigned *n = opaque;

  (void) file;
  (void) err;
  assert_non_null (strstr (finding->what->msg, "(NBI-"));
  ++*n;
  return 0;
}

unsigned
verify_all (struct repo_memory *repo, bool data)
{
  unsigned n = 0;
  const struct verify v = {
    .data = data, .found = count_finding, .opaque = &n,
  };

  for (size_t i = 0; i < repo->files.len; ++i) {
    struct file_reader *file = NULL;
    struct generation *gen = NULL;
    struct manifest m = { 0 };
    const char *json;
    size_t len;
    int r;

    r = repo_memory_open (repo, repo->files.ptr[i], &file, NULL);
    if (r == 0)
      assert_int_equal (verify_file (file, &v, NULL), 0);
    if (r == 0 && repo->files.ptr[i]->last) {
      r = generation_open (file, &repo->look_up, &repo->caches, &gen, NULL);
      if (r == 0) {
        json = generation_manifest (gen, &len);
        r = manifest_read (json, len, generation_header (gen), &m, NULL);
      }
      if (r == 0)
        assert_int_equal (verify_generation (gen, file, &m, &v, NULL), 0);
    }
    n += r < 0;
    manifest_destroy (&m);
    generation_unref (gen);
    file_reader_unref (file);
  }
  return n;
}

struct generation *
newest (struct repo_memory *repo)
{
  struct err err = ERR_INIT;
  struct generation *gen;

  if (repo_memory_newest (repo, &gen, &err) < 0)
    fail_msg ("opening: %s", err.msg);
  return gen;
}

void
check_newest (struct repo_memory *repo, const struct disk *disk,
              uint32_t chunk_size, struct rng *rng)
{
  struct generation *gen = newest (repo);

  check_reads (gen, disk, chunk_size, rng, 60);
  check_extents (gen, disk, chunk_size);
  generation_unref (gen);
}
