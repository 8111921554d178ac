/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Generations that no backup makes: whose map lies, or of which something is
 * gone.  What a read refuses it refuses whatever was read before it, and what
 * verifying tells of is what is wrong, and nothing else.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/repo/backup.h"
#include "lib/repo/map-writer.h"
#include "lib/repo/payload.h"
#include "lib/repo/verify.h"
#include "tests/support/bad-block.h"
#include "tests/support/repo-memory.h"
#include "tests/support/rng.h"

#define CHUNK (16 * 1024)

static struct nbi_header
header_of (uint64_t size)
{
  struct nbi_header h = {
    .disk_size = size, .chunk_size = CHUNK, .logical = 512, .physical = 4096,
    .time = 1700000000,
  };

  strcpy (h.name, "a disk");
  assert_int_equal (uuid_new (h.run, NULL), 0);
  memset (h.vault, 7, sizeof h.vault);
  return h;
}

static struct generation *
newest (struct repo_memory *repo)
{
  struct err err = ERR_INIT;
  struct generation *gen;

  if (repo_memory_newest (repo, &gen, &err) < 0)
    fail_msg ("opening: %s", err.msg);
  return gen;
}

/*--- A map that lies --------------------------------------------------------*/

struct lie {
  struct nbi_header header;
  struct file_table files;
  struct run *run;
  struct map_writer *map;
};

static int
write_page (void *opaque, struct nbi_record *record, const void *payload,
            uint32_t *file, struct err *err)
{
  struct lie *lie = opaque;

  return run_add (lie->run, record, payload, file, err);
}

static int
give_root (void *opaque, uint64_t i, struct nbi_root *root, struct err *err)
{
  struct lie *lie = opaque;

  (void) err;
  *root = *map_writer_root (lie->map, i);
  return 0;
}

static int
give_file (void *opaque, uint64_t i, struct nbi_file *file, struct err *err)
{
  struct lie *lie = opaque;

  (void) err;
  *file = lie->files.files.ptr[i];
  return 0;
}

/* The last chunk, of len bytes. */
static void
add_last (struct lie *lie, const uint8_t *bytes, uint32_t len,
          struct map_cell *cell, uint8_t identity[DIGEST_SIZE])
{
  struct nbi_record record = {
    .kind = NBI_CHUNK, .codec = NBI_STORED, .plain = len, .stored = len,
    .number = (uint32_t) nbi_nr_chunks (&lie->header) - 1,
  };

  assert_int_equal (nbi_identity (bytes, len, identity, NULL), 0);
  memcpy (record.identity, identity, DIGEST_SIZE);
  assert_int_equal (run_add (lie->run, &record, bytes, &cell->file, NULL), 0);
  cell->kind = NBI_DATA;
  cell->ordinal = record.ordinal;
  cell->identity = identity;
}

/* A disk of two chunks, the last one short, whose map says that both are in
 * the record of the last one.
 */
static void
lie_of_two (struct repo_memory *repo, uint32_t last, const uint8_t *bytes)
{
  static const char json[] = "{}";
  struct lie lie = { .header = header_of (CHUNK + last) };
  const struct map_writer_ops ops = { .write = write_page, .opaque = &lie };
  struct file_ending ending = {
    .nr_pages = 1, .nr_files = 1, .root = give_root, .file = give_file,
    .opaque = &lie, .payload = json,
    .manifest = { .codec = NBI_STORED, .plain = 2, .stored = 2 },
  };
  uint8_t identity[DIGEST_SIZE];
  struct map_cell cell;

  assert_int_equal (run_new (&lie.header, NULL, 0, &repo->place, &lie.files,
                             &lie.run, NULL), 0);
  assert_int_equal (map_writer_new (&lie.header, NULL, &lie.files, &ops,
                                    &lie.map, NULL), 0);
  add_last (&lie, bytes, last, &cell, identity);
  assert_int_equal (map_writer_add (lie.map, &cell, 1, NULL), 0);
  assert_int_equal (map_writer_add (lie.map, &cell, 1, NULL), 0);
  assert_int_equal (nbi_identity (json, 2, ending.manifest.identity, NULL), 0);
  assert_int_equal (run_end (lie.run, &ending, NULL), 0);
  map_writer_free (lie.map);
  run_free (lie.run);
  file_table_destroy (&lie.files);
}

static void
refuse (struct generation *gen, uint64_t off, size_t len)
{
  struct err err = ERR_INIT;
  uint8_t buf[CHUNK];

  assert_int_equal (generation_pread (gen, buf, len, off, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-79"));
}

/* A record that is too short for a chunk is refused, in the cache or not: of
 * what is behind it in memory nothing is given out (NBI-79).
 */
static void
test_short_record (void **state)
{
  uint8_t bytes[512], buf[100];
  struct rng rng = { 1 };
  struct repo_memory repo;
  struct generation *gen;

  (void) state;
  for (size_t i = 0; i < sizeof bytes; ++i)
    bytes[i] = (uint8_t) rng_next (&rng);
  repo_memory_init (&repo, 1024 * 1024);
  lie_of_two (&repo, sizeof bytes, bytes);
  gen = newest (&repo);
  for (int i = 0; i < 2; ++i) {
    refuse (gen, 0, CHUNK);
    refuse (gen, 0, 100);
    refuse (gen, 8192, 100);
    /* After the second time it is in the cache. */
    for (int k = 0; k < 2; ++k) {
      assert_int_equal (generation_pread (gen, buf, 100, CHUNK, NULL), 0);
      assert_memory_equal (buf, bytes, 100);
    }
  }
  generation_unref (gen);
  repo_memory_destroy (&repo);
}

/* The directory says that the chunk table's first sheet is the root's. */
static void
mislead_directory (struct repo_memory *repo)
{
  struct memory_file *memory = repo->files.ptr[0];
  struct file_reader *file;
  const struct nbi_header *h;
  const struct nbi_trailer *t;
  struct nbi_group group = { .bits = { 1 } };
  struct nbi_sheet sheet = { .count = 1, .table = NBI_TABLE_DIRECTORY };

  assert_int_equal (repo_memory_open (repo, memory, &file, NULL), 0);
  h = file_reader_header (file);
  t = file_reader_trailer (file);
  group.off = t->root;
  sheet.salt = h->salt;
  sheet.off = t->directory;
  memcpy (sheet.nonce, h->nonce, sizeof sheet.nonce);
  nbi_group_encode (&group, memory->bytes + sheet.off + NBI_SHEET_HEADER);
  nbi_sheet_seal (&sheet, memory->bytes + sheet.off);
  file_reader_unref (file);
}

/* A sheet that is in the cache as another one is refused as if it were not. */
static void
test_sheet_of_two (void **state)
{
  uint8_t bytes[512] = { 1 }, buf[100];
  struct err err = ERR_INIT;
  struct repo_memory repo;
  struct generation *gen;

  (void) state;
  repo_memory_init (&repo, 1024 * 1024);
  lie_of_two (&repo, sizeof bytes, bytes);
  mislead_directory (&repo);
  gen = newest (&repo);
  assert_int_equal (generation_pread (gen, buf, 100, CHUNK, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-53"));
  generation_unref (gen);
  repo_memory_destroy (&repo);
}

/*--- What verifying tells ---------------------------------------------------*/

struct told {
  unsigned n;
  uint64_t off, end;            /* of the disk, which all of them are about */
  const char *rule;             /* NULL: any */
  bool other_hashes;            /* of the manifest's partitions */
};

static int
take (void *opaque, struct file_reader *file,
      const struct verify_finding *finding, struct err *err)
{
  struct told *told = opaque;

  (void) file;
  (void) err;
  print_message ("%s\n", finding->what->msg);
  if (finding->disk_off < told->off ||
      finding->disk_off + finding->disk_len > told->end ||
      (told->rule != NULL && strstr (finding->what->msg, told->rule) == NULL))
    fail_msg ("%s", finding->what->msg);
  ++told->n;
  return 0;
}

static void
verify_newest (struct repo_memory *repo, struct told *told)
{
  const struct verify v = { .found = take, .opaque = told };
  struct generation *gen = newest (repo);
  struct file_reader *last = NULL;
  struct manifest m;
  const char *json;
  size_t len;

  for (size_t i = 0; i < repo->files.len; ++i)
    if (repo->files.ptr[i]->last)
      assert_int_equal (repo_memory_open (repo, repo->files.ptr[i], &last,
                                          NULL), 0);
  json = generation_manifest (gen, &len);
  assert_int_equal (manifest_read (json, len, generation_header (gen), &m,
                                   NULL), 0);
  for (size_t i = 0; told->other_hashes && i < m.partitions.len; ++i)
    m.partitions.ptr[i].hash[7] ^= 1;
  assert_int_equal (verify_generation (gen, last, &m, &v, NULL), 0);
  manifest_destroy (&m);
  file_reader_unref (last);
  generation_unref (gen);
}

/* A chunk of which a sector is bad lies in a file that is gone: that is told,
 * and nothing of its neighbours.
 */
static void
test_lost_part (void **state)
{
  const struct nbi_range bad = { CHUNK + 1024, 512 };
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .header = header_of (8 * CHUNK), .manifest = &manifest,
    .file_limit = 1, .threads = 2,      /* each record has its own file */
  };
  struct told told = { .off = CHUNK, .end = 2 * CHUNK };
  struct backup_result result;
  struct repo_memory repo;
  struct rng rng = { 2 };
  struct block *block;
  uint8_t *bytes = malloc (8 * CHUNK);

  (void) state;
  assert_non_null (bytes);
  for (size_t i = 0; i < 8 * CHUNK; ++i)
    bytes[i] = (uint8_t) rng_next (&rng);
  block = bad_block_new (bytes, 8 * CHUNK, &bad, 1);
  repo_memory_init (&repo, 1024 * 1024);
  assert_int_equal (backup_disk (block, &options, &repo.place, &result, NULL,
                                 NULL), 0);
  assert_int_equal (repo.files.len, 9);
  repo.files.ptr[1]->uuid[0] ^= 1;
  verify_newest (&repo, &told);
  assert_int_equal (told.n, 1);
  repo_memory_destroy (&repo);
  manifest_destroy (&manifest);
  block_unref (block);
  free (bytes);
}

/*--- A huge disk ------------------------------------------------------------*/

/* Of zeros, but for a little data at each of these offsets. */
static const uint64_t islands[] = {
  0, UINT64_C (5) << 30, (UINT64_C (300) << 30) + 12345, UINT64_C (999) << 30,
};

#define HUGE_SIZE ((UINT64_C (1) << 40) + 12345)
#define ISLAND 1000
#define NR_ISLANDS (sizeof islands / sizeof islands[0])

static int
huge_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  uint8_t *p = buf;

  (void) b;
  (void) err;
  for (size_t i = 0; i < len; ++i) {
    p[i] = 0;
    for (size_t k = 0; k < NR_ISLANDS; ++k)
      if (off + i - islands[k] < ISLAND)
        p[i] = (uint8_t) (k + 1);
  }
  return 0;
}

static int
huge_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  uint64_t end = off + len;
  int r = 0;

  (void) b;
  for (size_t k = 0; r == 0 && k < NR_ISLANDS; ++k) {
    uint64_t start = min_u64 (max_u64 (islands[k], off), end);
    uint64_t stop = min_u64 (max_u64 (islands[k] + ISLAND, off), end);

    r = extent_list_add (list, off, start - off, EXTENT_HOLE, 0, err);
    if (r == 0)
      r = extent_list_add (list, start, stop - start, EXTENT_DATA, 0, err);
    off = stop;
  }
  return r < 0 ? r
    : extent_list_add (list, off, end - off, EXTENT_HOLE, 0, err);
}

static const struct block_ops huge_ops = {
  .pread = huge_pread, .extents = huge_extents,
};

/* What most of it is costs little, at writing and at verifying, and the hashes
 * of what begins and ends in the middle of it are right.
 */
static void
test_huge_disk (void **state)
{
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .header = header_of (HUGE_SIZE), .manifest = &manifest, .threads = 2,
  };
  const struct manifest_partition parts[] = {
    { .number = 1, .off = 1 << 20, .len = (UINT64_C (400) << 30) + 77 },
    { .number = 2, .off = UINT64_C (401) << 30,
      .len = HUGE_SIZE - (UINT64_C (401) << 30) },
    { .number = 3, .off = 12345, .len = 100 },
  };
  struct told told = { .end = UINT64_MAX, .rule = "NBI-87" };
  struct block *block = calloc (1, sizeof *block);
  struct backup_result result;
  struct repo_memory repo;
  struct generation *gen;
  uint8_t buf[ISLAND + 2];

  (void) state;
  assert_non_null (block);
  assert_int_equal (block_init (block, &huge_ops, "huge", HUGE_SIZE, false,
                                NULL), 0);
  for (size_t i = 0; i < 3; ++i)
    assert_int_equal (vector_append (&manifest.partitions, &parts[i]), 0);
  options.header.chunk_size = 64 * 1024;
  repo_memory_init (&repo, 1024 * 1024);
  assert_int_equal (backup_disk (block, &options, &repo.place, &result, NULL,
                                 NULL), 0);
  assert_int_equal (result.counts.data, NR_ISLANDS);
  verify_newest (&repo, &told);
  assert_int_equal (told.n, 0);
  told.other_hashes = true;
  verify_newest (&repo, &told);
  assert_int_equal (told.n, 3);
  gen = newest (&repo);
  for (size_t k = 1; k < NR_ISLANDS; ++k) {
    assert_int_equal (generation_pread (gen, buf, sizeof buf, islands[k] - 1,
                                        NULL), 0);
    assert_int_equal (buf[0], 0);
    assert_int_equal (buf[1], k + 1);
    assert_int_equal (buf[ISLAND], k + 1);
    assert_int_equal (buf[ISLAND + 1], 0);
  }
  generation_unref (gen);
  repo_memory_destroy (&repo);
  manifest_destroy (&manifest);
  block_unref (block);
}

/*--- A disk of many extents -------------------------------------------------*/

#define TORN_SIZE (6 * 1024 * 1024 + 700)

/* Of sectors, each a hole or data by a bit, told in lists that end wherever
 * they like.
 */
struct torn {
  struct block base;
  uint8_t *bytes;
  uint8_t *is_hole;             /* of each sector */
  uint64_t seed;
};

static int
torn_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  const struct torn *torn = (const struct torn *) b;

  (void) err;
  memcpy (buf, torn->bytes + off, len);
  return 0;
}

static int
torn_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  const struct torn *torn = (const struct torn *) b;
  struct rng rng = { torn->seed ^ off };
  uint64_t end = off + min_u64 (len, 1 + rng_next (&rng) % (len + 300000));
  int r = 0;

  while (r == 0 && off < end && !extent_list_full (list)) {
    uint64_t next = min_u64 (round_down (off, 512) + 512, end);

    r = extent_list_add (list, off, next - off, torn->is_hole[off / 512] ?
                         EXTENT_HOLE : EXTENT_DATA, 0, err);
    off = next;
  }
  return r;
}

static const struct block_ops torn_ops = {
  .pread = torn_pread, .extents = torn_extents,
};

/* Where it is fine it is a hole or not by sectors, elsewhere by 100 KiB. */
static void
tear (struct torn *torn, uint64_t seed)
{
  struct rng rng = { seed };

  for (uint64_t s = 0, end; s < TORN_SIZE / 512 + 1; s = end) {
    bool fine = rng_below (&rng, 2);

    end = min_u64 (s + 1 + rng_below (&rng, 2000), TORN_SIZE / 512 + 1);
    for (uint64_t i = s; i < end; ++i)
      torn->is_hole[i] = fine ? rng_below (&rng, 2) : i / 200 % 3 > 0;
  }
  for (uint64_t i = 0; i < TORN_SIZE; ++i)
    torn->bytes[i] = torn->is_hole[i / 512] ? 0
      : (uint8_t) (rng_next (&rng) | 1);
  torn->seed = seed;
}

/* Whole chunks of what is used are as they are, the others zeros. */
static void
check_torn (struct generation *gen, const struct torn *torn,
            const struct used_map *used)
{
  uint8_t buf[CHUNK], zeros[CHUNK] = { 0 };

  for (uint64_t off = 0; off < TORN_SIZE; off += CHUNK) {
    size_t len = (size_t) min_u64 (CHUNK, TORN_SIZE - off);

    assert_int_equal (generation_pread (gen, buf, len, off, NULL), 0);
    if (used == NULL || used_map_touches (used, off, len))
      assert_memory_equal (buf, torn->bytes + off, len);
    else
      assert_memory_equal (buf, zeros, len);
  }
}

static void
test_torn_disk (void **state)
{
  (void) state;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    struct torn *torn = calloc (1, sizeof *torn);
    struct manifest manifest = { 0 };
    struct rng rng = { seed * 77 };
    struct used_map used;
    struct backup_options options = {
      .header = header_of (TORN_SIZE), .manifest = &manifest, .threads = 3,
      .used = seed % 2 ? &used : NULL,
    };
    struct told told = { .end = UINT64_MAX };
    struct backup_result result;
    struct repo_memory repo;
    struct generation *gen;

    assert_non_null (torn);
    torn->bytes = malloc (TORN_SIZE);
    torn->is_hole = malloc (TORN_SIZE / 512 + 1);
    assert_non_null (torn->bytes);
    assert_non_null (torn->is_hole);
    tear (torn, seed);
    used_map_init (&used, TORN_SIZE, USED_MAP_LIMIT);
    for (int i = 0; i < 40; ++i)
      assert_int_equal (used_map_add (&used, rng_next (&rng) % TORN_SIZE,
                                      1 + rng_next (&rng) % 90000, NULL), 0);
    used_map_finish (&used);
    assert_int_equal (block_init (&torn->base, &torn_ops, "torn", TORN_SIZE,
                                  false, NULL), 0);
    repo_memory_init (&repo, 1024 * 1024);
    assert_int_equal (backup_disk (&torn->base, &options, &repo.place, &result,
                                   NULL, NULL), 0);
    gen = newest (&repo);
    check_torn (gen, torn, options.used);
    generation_unref (gen);
    verify_newest (&repo, &told);
    assert_int_equal (told.n, 0);
    repo_memory_destroy (&repo);
    manifest_destroy (&manifest);
    used_map_free (&used);
    free (torn->bytes);
    free (torn->is_hole);
    block_unref (&torn->base);
  }
}

/* A disk of too many chunks is refused before the first is written. */
static void
test_too_many_chunks (void **state)
{
  static const struct {
    uint64_t size, limit;
    const char *rule;
  } cases[] = {
    { (UINT64_C (1) << 32) * CHUNK + 1, 1 << 30, "NBI-16" },
    { (UINT64_C (1) << 32) * CHUNK, 0, "NBI-103" },
    { ((UINT64_C (1) << 32) - (1 << 20) + 512) * CHUNK, 0, "NBI-103" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    struct manifest manifest = { 0 };
    struct backup_options options = {
      .header = header_of (cases[i].size), .manifest = &manifest,
      .file_limit = cases[i].limit,
    };
    struct block *block = calloc (1, sizeof *block);
    struct backup_result result;
    struct err err = ERR_INIT;
    struct repo_memory repo;

    assert_non_null (block);
    assert_int_equal (block_init (block, &huge_ops, "huge", cases[i].size,
                                  false, NULL), 0);
    repo_memory_init (&repo, 1024 * 1024);
    assert_int_equal (backup_disk (block, &options, &repo.place, &result, NULL,
                                   &err), -EFBIG);
    assert_non_null (strstr (err.msg, cases[i].rule));
    assert_int_equal (repo.files.len, 0);
    repo_memory_destroy (&repo);
    block_unref (block);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_short_record),
    cmocka_unit_test (test_sheet_of_two),
    cmocka_unit_test (test_lost_part),
    cmocka_unit_test (test_huge_disk),
    cmocka_unit_test (test_torn_disk),
    cmocka_unit_test (test_too_many_chunks),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
