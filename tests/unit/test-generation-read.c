/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What reading a generation takes: which reads of its files, how often
 * something is decoded, what stays in memory, who waits for whom.  Counted in
 * reads of the files, never in time.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "lib/base/checked.h"
#include "lib/block/block-ops.h"
#include "lib/block/memory.h"
#include "lib/repo/backup.h"
#include "lib/repo/payload.h"
#include "tests/support/repo-memory.h"
#include "tests/support/rng.h"

#define CHUNK (16 * 1024)
#define MAX_CHUNKS 1000

/*--- A disk, and its generation ---------------------------------------------*/

/* At a gate readers of these bytes of a file wait until it opens. */
struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint64_t off;                 /* which read */
  bool shut;
  int inside;                   /* who came to it, ever */
};

struct shelf {
  struct repo_memory repo;
  struct generation_files look_up;      /* that counts */
  struct generation *gen;
  uint8_t *bytes;               /* of the disk */
  size_t nr_chunks;
  unsigned nr_reads;            /* of files; atomic */
  unsigned nr_opened;           /* files; atomic */
  struct gate gate;
};

struct counting {
  struct block base;
  struct shelf *shelf;
  const struct memory_file *file;
};

static void
pass_gate (struct gate *gate, uint64_t off)
{
  pthread_mutex_lock (&gate->lock);
  if (off == gate->off) {
    ++gate->inside;
    pthread_cond_broadcast (&gate->changed);
    while (gate->shut)
      pthread_cond_wait (&gate->changed, &gate->lock);
  }
  pthread_mutex_unlock (&gate->lock);
}

static int
counting_pread (struct block *b, void *buf, size_t len, uint64_t off,
                struct err *err)
{
  const struct counting *c = (const struct counting *) b;

  (void) err;
  __atomic_add_fetch (&c->shelf->nr_reads, 1, __ATOMIC_RELAXED);
  pass_gate (&c->shelf->gate, off);
  memcpy (buf, c->file->bytes + off, len);
  return 0;
}

static const struct block_ops counting_ops = { .pread = counting_pread };

static int
open_counting (struct shelf *shelf, const struct memory_file *file,
               struct file_reader **out, struct err *err)
{
  struct counting *c = calloc (1, sizeof *c);
  int r;

  assert_non_null (c);
  assert_int_equal (block_init (&c->base, &counting_ops, "a file", file->len,
                                false, NULL), 0);
  c->shelf = shelf;
  c->file = file;
  __atomic_add_fetch (&shelf->nr_opened, 1, __ATOMIC_RELAXED);
  r = file_reader_open (&c->base, shelf->repo.caches.sheets, NULL, out, NULL,
                        err);
  block_unref (&c->base);
  return r;
}

static int
look_up (void *opaque, const struct nbi_file *wanted,
         struct file_reader **out, struct err *err)
{
  struct shelf *shelf = opaque;

  for (size_t i = 0; i < shelf->repo.files.len; ++i)
    if (memcmp (shelf->repo.files.ptr[i]->uuid, wanted->uuid, UUID_SIZE) == 0)
      return open_counting (shelf, shelf->repo.files.ptr[i], out, err);
  return nbi_refuse (err, 131, "a file is not there");
}

/* Bytes that compress to a half or so, and are nowhere the same. */
static void
fill (uint8_t *bytes, size_t len, uint64_t seed)
{
  struct rng rng = { seed };

  for (size_t i = 0; i < len; ++i)
    bytes[i] = i % 64 < 32 ? (uint8_t) rng_next (&rng) : (uint8_t) (i % 64);
}

/* file_limit: as that of a backup; 1: a file for each chunk. */
static void
shelf_init (struct shelf *shelf, size_t nr_chunks, enum nbi_codec codec,
            uint64_t file_limit, size_t cache)
{
  struct manifest manifest = { 0 };
  struct backup_options options = {
    .header = {
      .disk_size = nr_chunks * CHUNK, .chunk_size = CHUNK, .logical = 512,
      .physical = 4096, .time = 1700000000, .name = "a disk",
    },
    .codec = codec, .threads = 1, .file_limit = file_limit,
    .manifest = &manifest,
  };
  struct backup_result result;
  struct file_reader *last;
  struct block *disk;

  memset (shelf, 0, sizeof *shelf);
  pthread_mutex_init (&shelf->gate.lock, NULL);
  pthread_cond_init (&shelf->gate.changed, NULL);
  shelf->nr_chunks = nr_chunks;
  shelf->bytes = malloc (nr_chunks * CHUNK);
  assert_non_null (shelf->bytes);
  fill (shelf->bytes, nr_chunks * CHUNK, 7);
  assert_int_equal (uuid_new (options.header.run, NULL), 0);
  assert_int_equal (uuid_new (options.header.vault, NULL), 0);
  assert_int_equal (block_memory_new ("a disk", shelf->bytes,
                                      nr_chunks * CHUNK, &disk, NULL), 0);
  repo_memory_init (&shelf->repo, cache);
  assert_int_equal (backup_disk (disk, &options, &shelf->repo.place, &result,
                                 NULL, NULL), 0);
  block_unref (disk);
  manifest_destroy (&manifest);

  shelf->look_up = (struct generation_files) {
    .open = look_up, .opaque = shelf,
  };
  assert_int_equal (open_counting (shelf, shelf->repo.files.ptr
                                   [shelf->repo.files.len - 1], &last, NULL),
                    0);
  assert_int_equal (generation_open (last, &shelf->look_up,
                                     &shelf->repo.caches, &shelf->gen, NULL),
                    0);
  file_reader_unref (last);
}

static void
shelf_destroy (struct shelf *shelf)
{
  generation_unref (shelf->gen);
  repo_memory_destroy (&shelf->repo);
  pthread_cond_destroy (&shelf->gate.changed);
  pthread_mutex_destroy (&shelf->gate.lock);
  free (shelf->bytes);
}

/* Read, and compare; how many reads of files that took. */
static unsigned
reads (struct shelf *shelf, uint64_t off, size_t len)
{
  unsigned before = shelf->nr_reads;
  uint8_t *buf = malloc (len);
  struct err err = ERR_INIT;

  assert_non_null (buf);
  memset (buf, 0xA5, len);
  if (generation_pread (shelf->gen, buf, len, off, &err) < 0)
    fail_msg ("%zu bytes at %llu: %s", len, (unsigned long long) off, err.msg);
  assert_memory_equal (buf, shelf->bytes + off, len);
  free (buf);
  return shelf->nr_reads - before;
}

/* What is known of the map and tables is known. */
static void
warm_up (struct shelf *shelf)
{
  for (size_t c = 0; c < shelf->nr_chunks; ++c)
    reads (shelf, c * CHUNK, c + 1 < shelf->nr_chunks ? 2 * CHUNK : CHUNK);
}

/* The record of a chunk, and its file. */
static void
record_of (struct shelf *shelf, uint64_t c, struct nbi_record *record,
           uint8_t **bytes)
{
  struct generation_chunk place;

  assert_int_equal (generation_find (shelf->gen, c, &place, NULL), 0);
  assert_non_null (place.file);
  assert_int_equal (generation_record (shelf->gen, c, &place, record, NULL),
                    0);
  for (size_t i = 0; i < shelf->repo.files.len; ++i)
    if (memcmp (shelf->repo.files.ptr[i]->uuid,
                file_reader_header (place.file)->file, UUID_SIZE) == 0)
      *bytes = shelf->repo.files.ptr[i]->bytes;
  file_reader_unref (place.file);
}

/*--- What is decoded how often ----------------------------------------------*/

static const enum nbi_codec all_codecs[] = { NBI_STORED, NBI_LZ4, NBI_ZSTD };
#define NR_CODECS (sizeof all_codecs / sizeof all_codecs[0])

/* All beginnings and ends within a chunk, across its borders, and more. */
static void
test_parts (void **state)
{
  (void) state;
  for (size_t k = 0; k < NR_CODECS; ++k) {
    struct rng rng = { k + 1 };
    struct shelf shelf;

    shelf_init (&shelf, 40, all_codecs[k], 0, 4 * CHUNK);
    for (int i = 0; i < 4000; ++i) {
      uint64_t off = rng_below (&rng, 40 * CHUNK);
      uint64_t most = i % 5 == 0 ? 10 * CHUNK : i % 5 == 1 ? 16 : CHUNK;
      uint64_t len = 1 + rng_below (&rng, most);

      reads (&shelf, off, (size_t) min_u64 (len, 40 * CHUNK - off));
    }
    shelf_destroy (&shelf);
  }
}

/* A chunk that is wanted again is kept from then on, in part or as a whole. */
static void
test_second_time (void **state)
{
  struct shelf shelf;

  (void) state;
  shelf_init (&shelf, 40, NBI_LZ4, 0, 20 * CHUNK);
  warm_up (&shelf);
  for (uint64_t c = 3; c < 13; c += 3) {
    assert_int_equal (reads (&shelf, c * CHUNK + 512, 512), 1);
    assert_int_equal (reads (&shelf, c * CHUNK + 8192, 512), 1);
    for (uint64_t in = 0; in < CHUNK; in += 512)
      assert_int_equal (reads (&shelf, c * CHUNK + in, 512), 0);
  }
  for (uint64_t c = 20; c < 26; ++c) {
    assert_int_equal (reads (&shelf, c * CHUNK, CHUNK), 1);
    assert_int_equal (reads (&shelf, c * CHUNK, CHUNK), 1);
    assert_int_equal (reads (&shelf, c * CHUNK, CHUNK), 0);
  }
  shelf_destroy (&shelf);
}

/* Who reads on in small pieces has each chunk read and decoded once, but for
 * the first.
 */
static void
test_small_steps (void **state)
{
  struct shelf shelf;
  unsigned n = 0;

  (void) state;
  shelf_init (&shelf, 40, NBI_LZ4, 0, 20 * CHUNK);
  warm_up (&shelf);
  for (uint64_t off = 5 * CHUNK + 4096; off < 35 * CHUNK; off += 512)
    n += reads (&shelf, off, 512);
  assert_int_equal (n, 30 + 1);
  shelf_destroy (&shelf);
}

/* What is read once, at random, pushes nothing out that is read often. */
static void
test_once_is_not_kept (void **state)
{
  struct shelf shelf;

  (void) state;
  shelf_init (&shelf, 200, NBI_LZ4, 0, 4 * CHUNK);
  warm_up (&shelf);
  reads (&shelf, 100, 512);
  reads (&shelf, 100, 512);
  for (uint64_t c = 1; c < 200; ++c)
    assert_int_equal (reads (&shelf, c * CHUNK + 512, 4096), 1);
  assert_int_equal (reads (&shelf, 100, 512), 0);
  shelf_destroy (&shelf);
}

/* Whole chunks in a row are read from the file together. */
static void
test_row (void **state)
{
  struct shelf shelf;

  (void) state;
  shelf_init (&shelf, 64, NBI_ZSTD, 0, 4 * CHUNK);
  warm_up (&shelf);
  for (int i = 0; i < 3; ++i)
    assert_int_equal (reads (&shelf, 8 * CHUNK, 16 * CHUNK), 1);
  shelf_destroy (&shelf);
}

/*--- Damage -----------------------------------------------------------------*/

static void
fails (struct shelf *shelf, uint64_t off, size_t len)
{
  struct err err = ERR_INIT;
  uint8_t *buf = malloc (len);

  assert_non_null (buf);
  assert_int_equal (generation_pread (shelf->gen, buf, len, off, &err),
                    -EBADMSG);
  assert_non_null (strstr (err.msg, "NBI-40"));
  free (buf);
}

/* A bit that flipped behind what is wanted, too, is found before anything is
 * given out; its neighbours can be read, and so can the chunk when it is whole
 * again.
 */
static void
test_flipped_bit (void **state)
{
  (void) state;
  for (size_t k = 0; k < NR_CODECS; ++k) {
    struct nbi_record record;
    struct shelf shelf;
    uint8_t *bytes;

    shelf_init (&shelf, 8, all_codecs[k], 0, 4 * CHUNK);
    record_of (&shelf, 4, &record, &bytes);
    bytes += record.off + NBI_RECORD_SIZE;
    for (uint32_t i = 0; i < record.stored; i += record.stored / 7) {
      bytes[i] ^= 0x10;
      for (int round = 0; round < 3; ++round) {
        fails (&shelf, 4 * CHUNK + 100, 1);
        fails (&shelf, 4 * CHUNK, 512);
        fails (&shelf, 4 * CHUNK, CHUNK);
        fails (&shelf, 2 * CHUNK + 17, 4 * CHUNK);
      }
      reads (&shelf, 2 * CHUNK, 2 * CHUNK);
      reads (&shelf, 4 * CHUNK - 100, 100);
      reads (&shelf, 5 * CHUNK, 100);
      bytes[i] ^= 0x10;
    }
    reads (&shelf, 4 * CHUNK + 100, 1);
    reads (&shelf, 4 * CHUNK, 2 * CHUNK);
    shelf_destroy (&shelf);
  }
}

/*--- Many at once -----------------------------------------------------------*/

struct reader {
  pthread_t thread;
  struct shelf *shelf;
  uint64_t off;
  uint8_t buf[512];
  int result;
};

static void *
read_one (void *arg)
{
  struct reader *me = arg;

  me->result = generation_pread (me->shelf->gen, me->buf, sizeof me->buf,
                                 me->off, NULL);
  return NULL;
}

#define NR_READERS 8

/* While the file does not answer for one chunk all others can be read; and
 * those who wait for that one read it twice at most.
 */
static void
test_holds_up_nobody (void **state)
{
  struct reader readers[NR_READERS];
  struct nbi_record record;
  struct shelf shelf;
  uint8_t *bytes;

  (void) state;
  shelf_init (&shelf, 64, NBI_LZ4, 0, 4 * CHUNK);
  warm_up (&shelf);
  record_of (&shelf, 9, &record, &bytes);
  shelf.gate.off = record.off + NBI_RECORD_SIZE;
  shelf.gate.shut = true;
  for (size_t i = 0; i < NR_READERS; ++i) {
    readers[i] = (struct reader) {
      .shelf = &shelf, .off = 9 * CHUNK + 512 + 1024 * i,
    };
    assert_int_equal (pthread_create (&readers[i].thread, NULL, read_one,
                                      &readers[i]), 0);
  }
  pthread_mutex_lock (&shelf.gate.lock);
  while (shelf.gate.inside < 2)
    pthread_cond_wait (&shelf.gate.changed, &shelf.gate.lock);
  pthread_mutex_unlock (&shelf.gate.lock);
  for (uint64_t c = 0; c < 64; ++c)
    if (c != 9) {
      reads (&shelf, c * CHUNK + 512, 512);
      reads (&shelf, c * CHUNK, CHUNK);
      reads (&shelf, c * CHUNK + 5120, 512);
    }
  pthread_mutex_lock (&shelf.gate.lock);
  shelf.gate.shut = false;
  pthread_cond_broadcast (&shelf.gate.changed);
  pthread_mutex_unlock (&shelf.gate.lock);
  for (size_t i = 0; i < NR_READERS; ++i) {
    pthread_join (readers[i].thread, NULL);
    assert_int_equal (readers[i].result, 0);
    assert_memory_equal (readers[i].buf, shelf.bytes + readers[i].off, 512);
  }
  assert_int_equal (shelf.gate.inside, 2);
  shelf_destroy (&shelf);
}

struct worker {
  pthread_t thread;
  struct shelf *shelf;
  uint64_t seed;
  unsigned nr_wrong;
};

/* Near each other, so that they want the same. */
static void *
work (void *arg)
{
  struct worker *me = arg;
  struct rng rng = { me->seed };
  uint8_t *buf = malloc (4 * CHUNK);

  for (int i = 0; i < 3000; ++i) {
    uint64_t at = (uint64_t) i / 100 % 30 * CHUNK;
    uint64_t off = at + rng_below (&rng, 4 * CHUNK);
    size_t len = (size_t) (1 + rng_below (&rng, i % 3 ? 4096 : 4 * CHUNK));

    len = (size_t) min_u64 (len, me->shelf->nr_chunks * CHUNK - off);
    if (generation_pread (me->shelf->gen, buf, len, off, NULL) < 0 ||
        memcmp (buf, me->shelf->bytes + off, len) != 0)
      ++me->nr_wrong;
  }
  free (buf);
  return NULL;
}

static void
test_many (void **state)
{
  (void) state;
  for (size_t k = 1; k < NR_CODECS; ++k) {
    struct worker workers[NR_READERS];
    struct shelf shelf;

    shelf_init (&shelf, 40, all_codecs[k], 0, 3 * CHUNK);
    for (size_t i = 0; i < NR_READERS; ++i) {
      workers[i] = (struct worker) { .shelf = &shelf, .seed = i + 1 };
      assert_int_equal (pthread_create (&workers[i].thread, NULL, work,
                                        &workers[i]), 0);
    }
    for (size_t i = 0; i < NR_READERS; ++i) {
      pthread_join (workers[i].thread, NULL);
      assert_int_equal (workers[i].nr_wrong, 0);
    }
    shelf_destroy (&shelf);
  }
}

/*--- Many files -------------------------------------------------------------*/

/* A disk as it is after a thousand backups of one chunk each: nothing is opened
 * again, and a read at random is one read of a file, as if it was all in one.
 */
static void
test_thousand_files (void **state)
{
  struct rng rng = { 3 };
  struct rlimit limit;
  struct shelf shelf;
  unsigned opened;

  (void) state;
  assert_int_equal (getrlimit (RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  assert_int_equal (setrlimit (RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < 4 * (MAX_CHUNKS + 8))
    skip ();
  shelf_init (&shelf, MAX_CHUNKS, NBI_LZ4, 1, 4 * CHUNK);
  assert_int_equal (shelf.repo.files.len, MAX_CHUNKS + 1);
  assert_true (shelf.nr_reads <= 3);    /* to open it */
  warm_up (&shelf);
  opened = shelf.nr_opened;
  assert_true (opened <= MAX_CHUNKS + 2);
  for (int i = 0; i < 3000; ++i) {
    uint64_t c = rng_below (&rng, MAX_CHUNKS);

    assert_true (reads (&shelf, c * CHUNK + 4096, 4096) <= 1);
  }
  assert_int_equal (shelf.nr_opened, opened);
  shelf_destroy (&shelf);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_parts),
    cmocka_unit_test (test_second_time),
    cmocka_unit_test (test_small_steps),
    cmocka_unit_test (test_once_is_not_kept),
    cmocka_unit_test (test_row),
    cmocka_unit_test (test_flipped_bit),
    cmocka_unit_test (test_holds_up_nobody),
    cmocka_unit_test (test_many),
    cmocka_unit_test (test_thousand_files),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
