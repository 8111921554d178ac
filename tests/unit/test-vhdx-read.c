/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is read from VHDXs, how, and what their extents say. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/block/file.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx.h"
#include "tests/support/faulty.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Bytes that tell where they are. */
static void
fill (uint8_t *p, size_t len, unsigned seed)
{
  for (size_t i = 0; i + 8 <= len; i += 8)
    put_le64 (p + i, i * 0x9E3779B97F4A7C15 + seed);
}

static struct image *
open_block (struct block *block)
{
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static struct image *
open_made (const struct vhdx_maker *m)
{
  CLEANUP_BLOCK struct block *block = vhdx_maker_block (m);

  return open_block (block);
}

/* "data 2 · hole 1" in units of MiB. */
static void
has_extents (struct image *img, const char *expected)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  char found[512] = "";
  uint64_t at = 0;

  assert_int_equal (image_extents (img, image_size (img), 0, &list, NULL), 0);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];
    size_t len = strlen (found);

    assert_int_equal (e->off, at);
    at += e->len;
    snprintf (found + len, sizeof found - len, "%s%s %g", i ? " · " : "",
              extent_kind_to_string (e->kind), (double) e->len / MIB);
  }
  assert_int_equal (at, image_size (img));
  assert_string_equal (found, expected);
}

/*--- Reading ----------------------------------------------------------------*/

/* All states; blocks 1 and 2 lie side by side, 5 and 6 the wrong way round. */
static void
every_state_reads_as_what_it_means (void **state)
{
  struct vhdx_spec spec = { .size = 10 * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *disk = calloc (1, spec.size), *buf = malloc (spec.size);
  struct image *img;

  (void) state;
  fill (disk + MIB, 2 * MIB, 1);
  fill (disk + 5 * MIB, 2 * MIB, 2);
  fill (disk + 9 * MIB, MIB, 3);
  vhdx_maker_add_block (m, 1, disk + MIB);
  vhdx_maker_add_block (m, 2, disk + 2 * MIB);
  vhdx_maker_add_block (m, 6, disk + 6 * MIB);
  vhdx_maker_add_block (m, 5, disk + 5 * MIB);
  vhdx_maker_add_block (m, 9, disk + 9 * MIB);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 3), 0, 1);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 4), 0, 2);
  /* Unmapped: it may still name a place, which means nothing any more. */
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 7), 4 * MIB, 3);
  vhdx_maker_finish (m);
  img = open_made (m);
  memset (buf, 0x55, spec.size);
  assert_int_equal (image_pread (img, buf, spec.size, 0, NULL), 0);
  assert_memory_equal (buf, disk, spec.size);
  has_extents (img, "hole 1 · data 2 · hole 2 · data 2 · hole 2 · data 1");
  image_unref (img);
  vhdx_maker_free (m);
  free (disk);
  free (buf);
}

static void
a_disk_may_end_inside_a_block_and_a_sector_is_the_smallest (void **state)
{
  struct vhdx_spec spec = { .size = MIB + 512, .block_size = 2 * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (2 * MIB), buf[1024];
  struct image *img;

  (void) state;
  fill (data, 2 * MIB, 1);
  vhdx_maker_add_block (m, 0, data);
  vhdx_maker_finish (m);
  img = open_made (m);
  assert_int_equal (image_size (img), MIB + 512);
  assert_int_equal (image_pread (img, buf, 1023, MIB - 511, NULL), 0);
  assert_memory_equal (buf, data + MIB - 511, 1023);
  assert_int_equal (image_pread (img, buf, 2, MIB + 511, NULL), -EINVAL);
  image_unref (img);
  vhdx_maker_free (m);
  free (data);
}

static void
blocks_side_by_side_are_read_in_one_go (void **state)
{
  CLEANUP_BLOCK struct block *memory = NULL, *counting = NULL;
  struct vhdx_spec spec = { .size = 16 * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (16 * MIB), *buf = malloc (16 * MIB);
  struct image *img;

  (void) state;
  fill (data, 16 * MIB, 1);
  for (unsigned i = 0; i < 8; ++i)
    vhdx_maker_add_block (m, i, data + i * MIB);
  /* Another order from here on. */
  for (unsigned i = 16; i-- > 8;)
    vhdx_maker_add_block (m, i, data + i * MIB);
  vhdx_maker_finish (m);
  memory = vhdx_maker_block (m);
  counting = faulty_new (memory, 0);
  img = open_block (counting);
  faulty_set (counting, 0);
  assert_int_equal (image_pread (img, buf, 8 * MIB, 0, NULL), 0);
  assert_int_equal (faulty_reads (counting), 1);
  assert_int_equal (image_pread (img, buf, 16 * MIB, 0, NULL), 0);
  assert_int_equal (faulty_reads (counting), 1 + 1 + 8);
  assert_memory_equal (buf, data, 16 * MIB);
  faulty_set (counting, 2);
  assert_int_equal (image_pread (img, buf, 16 * MIB, 0, NULL), -EIO);
  image_unref (img);
  vhdx_maker_free (m);
  free (data);
  free (buf);
}

/* Behind the first chunk the entries of the BAT move on by one. */
static void
the_entry_between_two_chunks_is_left_out (void **state)
{
  static const uint64_t chunks[] = { 512, 4096 };

  (void) state;
  for (int i = 0; i < 2; ++i) {
    uint64_t chunk = (chunks[i] << 23);
    struct vhdx_spec spec = {
      .size = 2 * chunk + 4 * MIB, .logical = (uint32_t) chunks[i],
      .block_size = 4 * MIB,
    };
    struct vhdx_maker *m = vhdx_maker_new (&spec);
    uint8_t *data = malloc (8 * MIB), *buf = malloc (8 * MIB);
    struct image *img;

    fill (data, 8 * MIB, 1);
    vhdx_maker_add_block (m, chunk / (4 * MIB) - 1, data);
    vhdx_maker_add_block (m, chunk / (4 * MIB), data + 4 * MIB);
    vhdx_maker_add_block (m, 2 * chunk / (4 * MIB), data);
    vhdx_maker_finish (m);
    img = open_made (m);
    assert_int_equal (image_pread (img, buf, 8 * MIB, chunk - 4 * MIB, NULL),
                      0);
    assert_memory_equal (buf, data, 8 * MIB);
    assert_int_equal (image_pread (img, buf, 4 * MIB, 2 * chunk, NULL), 0);
    assert_memory_equal (buf, data, 4 * MIB);
    has_extents (img, i ? "hole 32764 · data 8 · hole 32764 · data 4"
                 : "hole 4092 · data 8 · hole 4092 · data 4");
    image_unref (img);
    vhdx_maker_free (m);
    free (data);
    free (buf);
  }
}

static void
extents_stop_at_their_limit (void **state)
{
  struct vhdx_spec spec = { .size = 12 * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = calloc (1, MIB);
  struct image *img;

  (void) state;
  for (unsigned i = 0; i < 12; i += 2)
    vhdx_maker_add_block (m, i, data);
  vhdx_maker_finish (m);
  img = open_made (m);
  for (size_t limit = 1; limit < 12; ++limit) {
    CLEANUP_EXTENT_LIST struct extent_list list = { .limit = limit };

    assert_int_equal (image_extents (img, 11 * MIB + 5, 7, &list, NULL), 0);
    assert_true (list.v.len >= limit && list.v.len <= limit + 1);
    for (size_t i = 0; i < limit; ++i) {
      assert_int_equal (list.v.ptr[i].off, i == 0 ? 7 : i * MIB);
      assert_int_equal (list.v.ptr[i].kind,
                        i % 2 ? EXTENT_HOLE : EXTENT_DATA);
    }
  }
  image_unref (img);
  vhdx_maker_free (m);
  free (data);
}

/* Where a fixed disk has space on the medium is what the file system says. */
static void
holes_in_the_file_of_a_fixed_disk_are_holes (void **state)
{
  char path[] = "/tmp/test-vhdx.XXXXXX";
  struct vhdx_spec spec = { .size = 4 * MIB, .is_fixed = true };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (MIB);
  struct image *img = NULL;
  size_t hole = 0;
  int fd = mkstemp (path);

  (void) state;
  assert_true (fd >= 0);
  fill (data, MIB, 1);
  for (unsigned i = 0; i < 4; ++i) {
    size_t off = vhdx_maker_add_block (m, i, data);

    hole = i == 2 ? off : hole;
  }
  vhdx_maker_finish (m);
  vhdx_maker_save (m, path);
  if (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                 (off_t) hole, MIB) == 0) {
    assert_int_equal (image_open (path, NULL, &img, NULL, NULL), 0);
    has_extents (img, "data 2 · hole 1 · data 1");
    image_unref (img);
  }
  close (fd);
  unlink (path);
  vhdx_maker_free (m);
  free (data);
}

/*--- Tables that are not held -----------------------------------------------*/

/* 3 TiB in blocks of 1 MiB: 24 MiB of BAT. */
#define BIG (UINT64_C (3) << 40)

static const uint64_t big_blocks[] = {
  0, 1, 4095, 4096, 8192, 1000000, 3 * 1024 * 1024 - 1
};

#define NR_BIG (sizeof big_blocks / sizeof big_blocks[0])

/* As a file, which has no name any more. */
static struct block *
save_and_open (const struct vhdx_maker *m)
{
  char path[] = "/tmp/test-vhdx.XXXXXX";
  struct block *block = NULL;
  int fd = mkstemp (path);

  assert_true (fd >= 0);
  close (fd);
  vhdx_maker_save (m, path);
  assert_int_equal (block_file_open (path, 0, &block, NULL, NULL), 0);
  unlink (path);
  return block;
}

static struct vhdx_maker *
make_big (void)
{
  struct vhdx_spec spec = { .size = BIG };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (MIB);

  for (size_t i = 0; i < NR_BIG; ++i) {
    fill (data, MIB, (unsigned) big_blocks[i]);
    vhdx_maker_add_block (m, big_blocks[i], data);
  }
  vhdx_maker_finish (m);
  free (data);
  return m;
}

static void
a_table_that_is_not_held_reads_the_same (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint8_t *data = malloc (3 * MIB), *buf = malloc (3 * MIB);
  struct vhdx_maker *m = make_big ();
  struct block *file = save_and_open (m);
  CLEANUP_BLOCK struct block *counting = faulty_new (file, 0);
  struct image *img = open_block (counting);

  (void) state;
  /* Neither the table nor a good part of it was read. */
  assert_true (faulty_reads (counting) < 20);
  for (size_t i = 0; i < NR_BIG; ++i) {
    fill (data, MIB, (unsigned) big_blocks[i]);
    assert_int_equal (image_pread (img, buf, MIB, big_blocks[i] * MIB, NULL),
                      0);
    assert_memory_equal (buf, data, MIB);
  }
  /* Across the end of a chunk, and with blocks that are not there. */
  memset (data, 0, 3 * MIB);
  fill (data + MIB, MIB, 8192);
  memset (buf, 0x55, 3 * MIB);
  assert_int_equal (image_pread (img, buf, 3 * MIB, 8191 * (uint64_t) MIB,
                                 NULL), 0);
  assert_memory_equal (buf, data, 3 * MIB);
  has_extents (img, "data 2 · hole 4093 · data 2 · hole 4095 · data 1 · "
               "hole 991807 · data 1 · hole 2.14573e+06 · data 1");
  assert_int_equal (image_extents (img, 5 * MIB, 4094 * (uint64_t) MIB + 9,
                                   &list, NULL), 0);
  assert_int_equal (list.v.len, 3);
  image_unref (img);
  block_unref (file);
  vhdx_maker_free (m);
  free (data);
  free (buf);
}

static void
a_bad_entry_of_a_table_that_is_not_held_is_refused_when_looked_up (
  void **state)
{
  static const struct { uint64_t off; unsigned state; const char *msg; }
  bad[] = {
    { 0, 6, "BAT entry 6 (at offset 3145776) is offset 0: the block would lie "
      "over the headers" },
    { MIB, 6, "would overlap the log" },
    { UINT64_C (1) << 50, 6, "would end after offset" },
    { 0, 4, "has the state 4" }, { 0, 7, "has the state 7" },
  };
  struct vhdx_maker *m = make_big ();

  (void) state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
    CLEANUP_BLOCK struct block *file = NULL;
    struct err err = ERR_INIT;
    struct image *img;
    char c;

    vhdx_maker_put_entry (m, vhdx_maker_entry (m, 6), bad[i].off,
                          bad[i].state);
    file = save_and_open (m);
    img = open_block (file);
    assert_int_equal (image_pread (img, &c, 1, 6 * MIB - 1, NULL), 0);
    assert_int_equal (image_pread (img, &c, 1, 7 * MIB, NULL), 0);
    assert_int_equal (image_pread (img, &c, 1, 6 * MIB, &err), -EBADMSG);
    if (strstr (err.msg, bad[i].msg) == NULL)
      fail_msg ("expected “%s”, got “%s”", bad[i].msg, err.msg);
    assert_int_equal (image_extents (img, 10 * MIB, 0, &list, NULL),
                      -EBADMSG);
    image_unref (img);
  }
  vhdx_maker_free (m);
}

/*--- Against a model --------------------------------------------------------*/

struct model {
  struct image *img;
  const uint8_t *disk;
  uint64_t size, seed;
};

/* Reads of all sizes from everywhere, by many threads. */
static void *
read_at_random (void *arg)
{
  const struct model *m = arg;
  uint64_t rnd = m->seed;
  uint8_t *buf = malloc (m->size);

  for (int i = 0; buf && i < 60; ++i) {
    uint64_t off = next_random (&rnd) % m->size;
    uint64_t len = 1 + next_random (&rnd) %
      (i % 3 == 0 ? m->size : 8192);

    len = min_u64 (len, m->size - off);
    if (image_pread (m->img, buf, (size_t) len, off, NULL) < 0 ||
        memcmp (buf, m->disk + off, (size_t) len) != 0) {
      free (buf);
      return (void *) 1;
    }
  }
  free (buf);
  return NULL;
}

static void
random_disks_read_as_they_were_made (void **state)
{
  const char *given = getenv ("VHDX_TEST_SEED");
  uint64_t seed = given ? strtoull (given, NULL, 0)
                        : (uint64_t) time (NULL) * 1000003 + 1;
  uint64_t rnd = seed;

  (void) state;
  print_message ("VHDX_TEST_SEED=%llu\n", (unsigned long long) seed);
  for (int round = 0; round < 6; ++round) {
    uint32_t block_size = MIB << next_random (&rnd) % 3;
    uint32_t sector = next_random (&rnd) % 2 ? 512 : 4096;
    struct vhdx_spec spec = {
      .size = (1 + next_random (&rnd) % (16 * MIB / sector)) * sector,
      .block_size = block_size, .logical = sector,
    };
    struct vhdx_maker *m = vhdx_maker_new (&spec);
    uint8_t *disk = calloc (1, m->nr_blocks * block_size);
    struct model models[4];
    pthread_t threads[4];
    struct image *img;

    for (uint64_t i = 0; i < m->nr_blocks; ++i) {
      uint64_t b = (i * 3) % m->nr_blocks;

      if (m->nr_blocks % 3 == 0)
        b = m->nr_blocks - 1 - i;
      if (next_random (&rnd) % 3 == 0) {
        vhdx_maker_put_entry (m, vhdx_maker_entry (m, b), 0,
                              next_random (&rnd) % 4);
        continue;
      }
      fill (disk + b * block_size, block_size, (unsigned) next_random (&rnd));
      vhdx_maker_add_block (m, b, disk + b * block_size);
    }
    vhdx_maker_finish (m);
    img = open_made (m);
    for (unsigned t = 0; t < 4; ++t) {
      models[t] = (struct model) { img, disk, spec.size,
                                   next_random (&rnd) };
      assert_int_equal (pthread_create (&threads[t], NULL, read_at_random,
                                        &models[t]), 0);
    }
    for (unsigned t = 0; t < 4; ++t) {
      void *result;

      pthread_join (threads[t], &result);
      assert_null (result);
    }
    image_unref (img);
    vhdx_maker_free (m);
    free (disk);
  }
}

/*--- Parts ------------------------------------------------------------------*/

static unsigned
slow_run (const uint8_t *bits, unsigned first, unsigned max, bool *bit)
{
  unsigned n = 0;

  *bit = bits[first / 8] >> first % 8 & 1;
  while (n < max &&
         (bits[(first + n) / 8] >> (first + n) % 8 & 1) == *bit)
    n++;
  return n;
}

static void
a_run_of_bits_ends_where_they_change (void **state)
{
  uint8_t bits[8] = { 0 };

  (void) state;
  /* Every run of ones and of zeros in 64 bits, from everywhere in it. */
  for (unsigned from = 0; from < 64; ++from)
    for (unsigned to = from; to <= 64; ++to) {
      memset (bits, 0, sizeof bits);
      for (unsigned i = from; i < to; ++i)
        bits[i / 8] |= (uint8_t) (1 << i % 8);
      for (unsigned first = 0; first < 64; first += 3)
        for (unsigned max = 1; first + max <= 64; max += 5) {
          bool bit, expected_bit;
          unsigned nr = vhdx_bits_run (bits, first, max, &bit);

          assert_int_equal (nr, slow_run (bits, first, max, &expected_bit));
          assert_int_equal (bit, expected_bit);
        }
    }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_state_reads_as_what_it_means),
    cmocka_unit_test
      (a_disk_may_end_inside_a_block_and_a_sector_is_the_smallest),
    cmocka_unit_test (blocks_side_by_side_are_read_in_one_go),
    cmocka_unit_test (the_entry_between_two_chunks_is_left_out),
    cmocka_unit_test (extents_stop_at_their_limit),
    cmocka_unit_test (holes_in_the_file_of_a_fixed_disk_are_holes),
    cmocka_unit_test (a_table_that_is_not_held_reads_the_same),
    cmocka_unit_test
      (a_bad_entry_of_a_table_that_is_not_held_is_refused_when_looked_up),
    cmocka_unit_test (random_disks_read_as_they_were_made),
    cmocka_unit_test (a_run_of_bits_ends_where_they_change),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
