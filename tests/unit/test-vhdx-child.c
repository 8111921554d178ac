/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writing into a differencing VHDX, sector by sector.  The parent, and the
 * child where a process is killed, are files; otherwise the child is in a
 * recorder.  Power cuts at every moment of much else are those of
 * tests/model/test-powercut.c.
 *
 * NBDIMAGE_TEST_SEED is what the random numbers begin with.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/create.h"
#include "lib/format/image-ops.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx-edit.h"
#include "tests/support/recorder.h"
#include "tests/support/vhdx-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define MIB ((size_t) VHDX_MIB)
#define NR_BLOCKS 12U
#define DISK (NR_BLOCKS * MIB - 3 * 512)        /* the last block is cut off */
#define PARENTS 10U             /* so many blocks of the parent have 0x11 */
#define PER_BLOCK (unsigned) (MIB / 512)

/* Where the maker puts things. */
#define BAT_AT (3 * MIB)
#define BLOCKS_AT (4 * MIB)

static char folder[] = "/tmp/nbdimage-vhdx-child-XXXXXX";
static unsigned random_state;

/*--- The chain --------------------------------------------------------------*/

static struct vhdx_spec
child_spec (void)
{
  return (struct vhdx_spec) {
    .size = DISK, .id = 2, .parent_id = 1,
    .locators = { { "relative_path", ".\\base.vhdx" } },
  };
}

static void
save_parent (void)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = DISK, .id = 1 });
  uint8_t *data = malloc (MIB);
  char path[100];

  memset (data, 0x11, MIB);
  for (unsigned i = 0; i < PARENTS; ++i)
    vhdx_maker_add_block (m, i, data);
  vhdx_maker_finish (m);
  snprintf (path, sizeof path, "%s/base.vhdx", folder);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
  free (data);
}

static struct block *
record (struct vhdx_maker *m)
{
  struct block *block;

  vhdx_maker_finish (m);
  block = recorder_new (m->data, m->len);
  vhdx_maker_free (m);
  return block;
}

static struct block *
new_child (void)
{
  const struct vhdx_spec spec = child_spec ();

  return record (vhdx_maker_new (&spec));
}

static void
save_child (char path[100])
{
  const struct vhdx_spec spec = child_spec ();
  struct vhdx_maker *m = vhdx_maker_new (&spec);

  vhdx_maker_finish (m);
  snprintf (path, 100, "%s/child.vhdx", folder);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
}

static struct image *
open_block (struct block *block, bool writable)
{
  const struct image_options options = {
    .writable = writable, .parent_path = folder,
  };
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open_block (block, &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static struct image *
open_file (const char *path, bool writable)
{
  const struct image_options options = { .writable = writable };
  struct image *img = NULL;
  struct err err = ERR_INIT;

  if (image_open (path, &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  return img;
}

static void
must (int r)
{
  assert_int_equal (r, 0);
}

static void
write_at (struct image *img, uint64_t off, uint8_t byte, size_t len)
{
  uint8_t *buf = malloc (len);
  struct err err = ERR_INIT;

  memset (buf, byte, len);
  if (image_pwrite (img, buf, len, off, 0, &err) < 0)
    fail_msg ("%s", err.msg);
  free (buf);
}

static void
check_at (struct image *img, uint64_t off, uint8_t byte, size_t len)
{
  uint8_t *buf = malloc (len);

  must (image_pread (img, buf, len, off, NULL));
  for (size_t i = 0; i < len; ++i)
    if (buf[i] != byte)
      assert_int_equal (buf[i], byte);
  free (buf);
}

/*--- What is in the file ----------------------------------------------------*/

static const uint8_t *
bytes_at (struct block *block, size_t off)
{
  size_t len;
  const uint8_t *data = recorder_data (block, &len);

  assert_in_range (off, 0, len - 1);
  return data + off;
}

static size_t
file_size (struct block *block)
{
  size_t len;

  recorder_data (block, &len);
  return len;
}

static uint64_t
bat_entry (struct block *block, size_t i)
{
  return get_le64 (bytes_at (block, BAT_AT + 8 * i));
}

/* How many bits of a block are 1, once the file is closed. */
static unsigned
count_bits (struct block *block, unsigned i, unsigned per_block,
            unsigned chunk_ratio)
{
  uint64_t bitmap = bat_entry (block, chunk_ratio);
  unsigned nr = 0;

  assert_int_equal (bitmap & 7, 6);
  for (unsigned s = i * per_block; s < (i + 1) * per_block; ++s)
    nr += (*bytes_at (block, (bitmap & ~(uint64_t) 7) + s / 8) >> s % 8) & 1;
  return nr;
}

/*--- Sectors ----------------------------------------------------------------*/

static void
a_sector_over_a_parent_looks_like_this (void **state)
{
  struct block *block = new_child ();
  struct image *img = open_block (block, true);
  size_t at;

  (void) state;
  write_at (img, 3 * MIB + 5 * 512, 9, 512);
  check_at (img, 3 * MIB, 0x11, 5 * 512);
  check_at (img, 3 * MIB + 5 * 512, 9, 512);
  check_at (img, 3 * MIB + 6 * 512, 0x11, MIB - 6 * 512);
  image_unref (img);
  assert_int_equal (bat_entry (block, 4096), BLOCKS_AT | 6);
  assert_int_equal (bat_entry (block, 3), (BLOCKS_AT + MIB) | 7);
  assert_int_equal (file_size (block), BLOCKS_AT + 2 * MIB);
  for (size_t i = 0; i < MIB; ++i)
    assert_int_equal (*bytes_at (block, BLOCKS_AT + i),
                      i == 3 * PER_BLOCK / 8 ? 1 << 5 : 0);
  at = BLOCKS_AT + MIB + 5 * 512;
  assert_int_equal (*bytes_at (block, at - 1), 0);
  assert_int_equal (*bytes_at (block, at), 9);
  assert_int_equal (*bytes_at (block, at + 512), 0);
  img = open_block (block, true);
  check_at (img, 3 * MIB + 4 * 512, 0x11, 512);
  check_at (img, 3 * MIB + 5 * 512, 9, 512);
  /* It is here by now: one write and nothing else, but for the identities. */
  write_at (img, 3 * MIB + 5 * 512, 8, 512);
  assert_int_equal (*bytes_at (block, at), 8);
  image_unref (img);
  block_unref (block);
}

/* In the file nothing tells of it before. */
static void
bits_wait_for_a_flush (void **state)
{
  struct block *block = new_child ();
  struct image *img = open_block (block, true);
  unsigned flushes;

  (void) state;
  write_at (img, 0, 1, 512);
  must (image_flush (img, NULL));
  assert_int_equal (*bytes_at (block, BLOCKS_AT), 1);
  flushes = recorder_flushes (block);
  for (unsigned i = 1; i < 100; ++i)
    write_at (img, i * 1024, 1, 512);
  assert_int_equal (recorder_flushes (block), flushes);
  assert_int_equal (*bytes_at (block, BLOCKS_AT), 1);
  must (image_flush (img, NULL));
  assert_int_equal (*bytes_at (block, BLOCKS_AT), 0x55);
  image_unref (img);
  assert_int_equal (count_bits (block, 0, PER_BLOCK, 4096), 100);
  block_unref (block);
}

static void
a_part_of_a_sector_is_filled_up_from_the_parent (void **state)
{
  struct block *block = new_child ();
  struct image *img = open_block (block, true);

  (void) state;
  write_at (img, 1000, 9, 100);
  must (image_zero (img, 700, 2 * MIB + 600, 0, NULL));
  for (unsigned round = 0; round < 2; ++round) {
    check_at (img, 0, 0x11, 1000);
    check_at (img, 1000, 9, 100);
    check_at (img, 1100, 0x11, MIB);
    check_at (img, 2 * MIB, 0x11, 600);
    check_at (img, 2 * MIB + 600, 0, 700);
    check_at (img, 2 * MIB + 1300, 0x11, MIB);
    image_unref (img);
    assert_int_equal (count_bits (block, 0, PER_BLOCK, 4096), 2);
    assert_int_equal (count_bits (block, 2, PER_BLOCK, 4096), 2);
    img = open_block (block, true);
  }
  image_unref (img);
  block_unref (block);
}

static void
what_is_trimmed_is_zero_or_as_it_was (void **state)
{
  struct block *block = new_child ();
  struct image *img = open_block (block, true);

  (void) state;
  /* A part of what is not here stays; a whole block does not. */
  must (image_trim (img, 4096, MIB, 0, NULL));
  assert_int_equal (file_size (block), BLOCKS_AT);
  must (image_trim (img, MIB, 2 * MIB, 0, NULL));
  must (image_trim (img, MIB, 11 * MIB - MIB, 0, NULL));
  write_at (img, 3 * MIB, 3, 8192);
  must (image_trim (img, 8192, 3 * MIB + 4096, 0, NULL));
  write_at (img, 4 * MIB, 4, 512);
  must (image_flush (img, NULL));
  write_at (img, 4 * MIB + 512, 4, 512);
  must (image_trim (img, MIB, 4 * MIB, 0, NULL));
  for (unsigned round = 0; round < 2; ++round) {
    check_at (img, MIB, 0x11, MIB);
    check_at (img, 2 * MIB, 0, MIB);
    check_at (img, 3 * MIB, 3, 4096);
    check_at (img, 3 * MIB + 4096, 0, 4096);
    check_at (img, 3 * MIB + 8192, 0x11, MIB - 8192);
    check_at (img, 4 * MIB, 0, MIB);
    image_unref (img);
    assert_int_equal (bat_entry (block, 1), 0);
    assert_int_equal (bat_entry (block, 2), 2);
    assert_int_equal (bat_entry (block, 4), 2);
    assert_int_equal (bat_entry (block, 10), 0);
    img = open_block (block, true);
  }
  /* What was given up does not let the parent through any more. */
  write_at (img, 4 * MIB + 1024, 5, 512);
  check_at (img, 4 * MIB, 0, 1024);
  check_at (img, 4 * MIB + 1536, 0, 512);
  image_unref (img);
  assert_int_equal (bat_entry (block, 4) & 7, 6);
  block_unref (block);
}

/* The bits of a block that is not there mean nothing, but when it gets there
 * they would; at every moment, whatever got to the disk.
 */
static void
bits_that_others_left_are_cleared (void **state)
{
  const struct vhdx_spec spec = child_spec ();

  (void) state;
  for (unsigned nth = 0; nth < 24; ++nth) {
    struct vhdx_maker *m = vhdx_maker_new (&spec);
    uint8_t byte = 0xEE, bytes[512];
    struct block *block;
    struct image *img;

    vhdx_maker_set_bits (m, PER_BLOCK + 3, 5);
    vhdx_maker_set_bits (m, 2 * PER_BLOCK, 1);
    block = record (m);
    img = open_block (block, true);
    memset (bytes, byte, sizeof bytes);
    if (nth > 0)
      recorder_fail (block, nth, 1000000);
    if (image_pwrite (img, bytes, 512, MIB + 100 * 512, 0, NULL) == 0)
      image_flush (img, NULL);
    check_at (img, MIB, 0x11, 100 * 512);
    for (unsigned seed = 0; seed < 8; ++seed) {
      size_t len;
      uint8_t *data = recorder_crash (block, seed, &len);
      struct block *left = recorder_new (data, len);
      struct image *after = open_block (left, false);

      check_at (after, MIB, 0x11, 100 * 512);
      check_at (after, MIB + 101 * 512, 0x11, 100 * 512);
      image_unref (after);
      block_unref (left);
      free (data);
    }
    image_unref (img);
    if (nth == 0) {
      assert_int_equal (count_bits (block, 1, PER_BLOCK, 4096), 1);
      /* Those of its neighbour are left alone. */
      assert_int_equal (count_bits (block, 2, PER_BLOCK, 4096), 1);
    }
    block_unref (block);
  }
}

/* Two blocks have their bits in one sector of the file. */
static void
sectors_of_4096_bytes_have_bits (void **state)
{
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = 4 * MIB, .logical = 4096, .id = 1 });
  struct vhdx_spec spec = child_spec ();
  uint8_t *data = malloc (MIB);
  struct block *block;
  struct image *img;
  char path[100];

  (void) state;
  memset (data, 0x11, MIB);
  for (unsigned i = 0; i < 4; ++i)
    vhdx_maker_add_block (m, i, data);
  free (data);
  vhdx_maker_finish (m);
  snprintf (path, sizeof path, "%s/large.vhdx", folder);
  vhdx_maker_save (m, path);
  vhdx_maker_free (m);
  spec.size = 4 * MIB;
  spec.logical = 4096;
  spec.locators[0].value = ".\\large.vhdx";
  block = record (vhdx_maker_new (&spec));
  img = open_block (block, true);
  write_at (img, MIB + 4096, 7, 8192);
  write_at (img, 2 * MIB - 4096, 6, 4096);
  write_at (img, 2 * MIB, 8, 4096);
  for (unsigned round = 0; round < 2; ++round) {
    check_at (img, 0, 0x11, MIB + 4096);
    check_at (img, MIB + 4096, 7, 8192);
    check_at (img, MIB + 3 * 4096, 0x11, MIB - 4 * 4096);
    check_at (img, 2 * MIB - 4096, 6, 4096);
    check_at (img, 2 * MIB, 8, 4096);
    check_at (img, 2 * MIB + 4096, 0x11, 2 * MIB - 4096);
    image_unref (img);
    assert_int_equal (count_bits (block, 1, 256, 32768), 3);
    assert_int_equal (count_bits (block, 2, 256, 32768), 1);
    img = open_block (block, false);
  }
  image_unref (img);
  block_unref (block);
}

/* What 4 KiB cost in a child with the largest usual blocks. */
static void
a_small_write_into_a_large_block_stays_small (void **state)
{
  struct image_create_options options = {
    .format = "vhdx", .size = 128 * MIB, .block_size = 32 * MIB,
  };
  char parent[100], path[100];
  struct image *img;
  struct stat st, empty;
  uint64_t size;

  (void) state;
  snprintf (parent, sizeof parent, "%s/p32.vhdx", folder);
  snprintf (path, sizeof path, "%s/c32.vhdx", folder);
  must (image_create (parent, &options, &size, NULL, NULL));
  img = open_file (parent, true);
  write_at (img, 32 * MIB, 0x33, 2 * MIB);
  image_unref (img);
  options = (struct image_create_options) {
    .format = "vhdx", .parent = parent, .block_size = 32 * MIB,
  };
  must (image_create (path, &options, &size, NULL, NULL));
  must (stat (path, &empty));
  img = open_file (path, true);
  write_at (img, 32 * MIB + 4096, 0x44, 4096);
  must (image_flush (img, NULL));
  image_unref (img);
  must (stat (path, &st));
  /* A bitmap block and a block; of the log's space all is taken. */
  assert_true (st.st_size <= empty.st_size + (off_t) (33 * MIB));
  assert_true ((st.st_blocks - empty.st_blocks) * 512 <=
               (off_t) (MIB + 64 * 1024));
  img = open_file (path, false);
  check_at (img, 32 * MIB, 0x33, 4096);
  check_at (img, 32 * MIB + 4096, 0x44, 4096);
  check_at (img, 32 * MIB + 8192, 0x33, MIB);
  image_unref (img);
  unlink (path);
  unlink (parent);
}

/*--- Faults -----------------------------------------------------------------*/

/* Each change fails in its turn.  What was answered is there all the same, and
 * another flush brings it to the disk.
 */
static void
a_flush_that_failed_is_made_up_for (void **state)
{
  unsigned nr_failed = 0;

  (void) state;
  for (unsigned nth = 1; nth < 16; ++nth) {
    struct block *block = new_child ();
    struct image *img = open_block (block, true);

    write_at (img, 0, 5, 512);
    write_at (img, 7 * MIB, 6, 512);
    recorder_fail (block, nth, 1);
    nr_failed += image_flush (img, NULL) < 0;
    recorder_fail (block, 0, 0);
    check_at (img, 0, 5, 512);
    check_at (img, 512, 0x11, 512);
    must (image_flush (img, NULL));
    write_at (img, 1024, 7, 512);
    must (image_flush (img, NULL));
    image_unref (img);
    img = open_block (block, false);
    check_at (img, 0, 5, 512);
    check_at (img, 512, 0x11, 512);
    check_at (img, 1024, 7, 512);
    check_at (img, 7 * MIB, 6, 512);
    image_unref (img);
    block_unref (block);
  }
  assert_in_range (nr_failed, 4, 14);
}

/*--- Many at a time ---------------------------------------------------------*/

/* Whoever reads a sector that was written, and is given up, finds either, and
 * never what the parent has.
 */
struct race {
  struct image *img;
  bool stop;                    /* atomic */
  unsigned nr_bad;              /* atomic */
};

static void *
look (void *arg)
{
  struct race *race = arg;

  while (!__atomic_load_n (&race->stop, __ATOMIC_ACQUIRE))
    for (unsigned i = 0; i < PARENTS; ++i) {
      uint8_t bytes[512];

      must (image_pread (race->img, bytes, 512, i * MIB, NULL));
      if (bytes[0] == 0x11)
        __atomic_add_fetch (&race->nr_bad, 1, __ATOMIC_RELAXED);
    }
  return NULL;
}

static void
who_reads_what_is_given_up_never_sees_the_parent (void **state)
{
  (void) state;
  for (unsigned round = 0; round < 30; ++round) {
    struct block *block = new_child ();
    struct race race = { open_block (block, true), false, 0 };
    pthread_t threads[2];

    for (unsigned i = 0; i < PARENTS; ++i)
      write_at (race.img, i * MIB, 9, 512);
    for (unsigned t = 0; t < 2; ++t)
      must (pthread_create (&threads[t], NULL, look, &race));
    for (unsigned i = 0; i < PARENTS; ++i) {
      usleep (round * 10);
      must (image_trim (race.img, MIB, i * MIB, 0, NULL));
    }
    __atomic_store_n (&race.stop, true, __ATOMIC_RELEASE);
    for (unsigned t = 0; t < 2; ++t)
      pthread_join (threads[t], NULL);
    assert_int_equal (race.nr_bad, 0);
    image_unref (race.img);
    block_unref (block);
  }
}

/* Sectors of the same blocks, from many threads, with flushes. */
#define NR_THREADS 8U

struct worker {
  struct image *img;
  unsigned number;
};

static void *
work (void *arg)
{
  struct worker *w = arg;

  for (unsigned n = 0; n < 300; ++n) {
    unsigned s = n * 7 % 256 * NR_THREADS + w->number;

    write_at (w->img, (n % 4) * MIB + s * UINT64_C (512),
              (uint8_t) (0x80 + w->number), 512);
    if (n % 50 == w->number)
      must (image_flush (w->img, NULL));
  }
  return NULL;
}

static bool
is_written (unsigned s, unsigned block)
{
  for (unsigned n = 0; n < 300; ++n)
    if (n * 7 % 256 == s / NR_THREADS && n % 4 == block)
      return true;
  return false;
}

static void
many_threads_write_into_the_same_blocks (void **state)
{
  struct block *block = new_child ();
  struct worker workers[NR_THREADS];
  pthread_t threads[NR_THREADS];
  struct image *img = open_block (block, true);

  (void) state;
  for (unsigned t = 0; t < NR_THREADS; ++t) {
    workers[t] = (struct worker) { img, t };
    must (pthread_create (&threads[t], NULL, work, &workers[t]));
  }
  for (unsigned t = 0; t < NR_THREADS; ++t)
    pthread_join (threads[t], NULL);
  image_unref (img);
  img = open_block (block, false);
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned s = 0; s < PER_BLOCK; ++s)
      check_at (img, i * MIB + s * UINT64_C (512), is_written (s, i)
                ? (uint8_t) (0x80 + s % NR_THREADS) : 0x11, 512);
  image_unref (img);
  block_unref (block);
}

/*--- kill -9 ----------------------------------------------------------------*/

#define NR_WRITES 200U

static uint64_t
nth_place (unsigned n)
{
  return n * 37 % (PARENTS * PER_BLOCK / 16) * UINT64_C (8192);
}

/* In the other process: how many writes were answered. */
static void
write_until_killed (const char *path, volatile uint32_t *done, uint8_t byte)
{
  struct image *img = open_file (path, true);

  for (uint32_t n = 0;; ++n) {
    if (n < NR_WRITES)
      write_at (img, nth_place (n), byte, 512);
    if (n % 61 == 60 && image_flush (img, NULL) < 0)
      _exit (1);
    *done = n + 1;
  }
}

static void
check_written (const char *path, bool writable, uint32_t done, uint8_t byte)
{
  struct image *img = open_file (path, writable);

  for (uint32_t n = 0; n < done && n < NR_WRITES; ++n) {
    check_at (img, nth_place (n), byte, 512);
    check_at (img, nth_place (n) + 512, 0x11, 512);
  }
  image_unref (img);
}

static void
a_killed_process_loses_no_write (void **state)
{
  volatile uint32_t *done = mmap (NULL, sizeof *done, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char path[100];

  (void) state;
  assert_ptr_not_equal ((void *) done, MAP_FAILED);
  for (unsigned round = 0; round < 24; ++round) {
    uint32_t enough = 1 + (unsigned) rand_r (&random_state) % 150;
    uint8_t byte = (uint8_t) (0x40 + round);
    pid_t pid;
    int status;

    if (round % 6 == 0)
      save_child (path);
    *done = 0;
    pid = fork ();
    assert_true (pid >= 0);
    if (pid == 0)
      write_until_killed (path, done, byte);
    while (*done < enough && waitpid (pid, &status, WNOHANG) == 0)
      usleep (50);
    assert_true (*done >= enough);
    kill (pid, SIGKILL);
    assert_int_equal (waitpid (pid, &status, 0), pid);
    check_written (path, false, *done, byte);
    check_written (path, true, *done, byte);
    /* Now from the file alone. */
    check_written (path, false, *done, byte);
  }
  munmap ((void *) done, sizeof *done);
}

/* Writes a sector into a file, and is killed before a flush. */
static void
be_killed (const char *path, uint64_t off, uint8_t byte)
{
  pid_t pid = fork ();
  int status;

  if (pid == 0) {
    write_at (open_file (path, true), off, byte, 512);
    kill (getpid (), SIGKILL);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_true (WIFSIGNALED (status));
}

static bool
has_table (struct image *img)
{
  return ((struct vhdx *) img->state)->leaf->pending != NULL;
}

static void
the_journal_is_finished_before_the_file_is_changed (void **state)
{
  CLEANUP_BLOCK struct block *block = NULL;
  const struct image_options options = { .writable = true };
  struct vhdx_edit edit;
  struct image *img;
  char path[100];

  (void) state;
  save_child (path);
  be_killed (path, 5 * MIB, 0x77);
  img = open_file (path, false);
  assert_true (has_table (img));
  check_at (img, 5 * MIB, 0x77, 512);
  image_unref (img);
  must (block_file_open (path, BLOCK_FILE_WRITE | BLOCK_FILE_LOCK, &block,
                         NULL, NULL));
  must (vhdx_edit_open (block, &options, &edit, NULL, NULL));
  must (vhdx_edit_begin (&edit, NULL));
  vhdx_edit_close (&edit);
  block_unref (block);
  block = NULL;
  img = open_file (path, false);
  assert_false (has_table (img));
  check_at (img, 5 * MIB, 0x77, 512);
  check_at (img, 5 * MIB + 512, 0x11, 512);
  image_unref (img);
}

/* A parent that was written to, and not finished, is as it was written. */
static void
the_journal_of_a_parent_counts (void **state)
{
  struct image_create_options options = { .format = "vhdx" };
  char path[100], child[100];
  uint64_t size;
  struct image *img;

  (void) state;
  save_child (path);
  be_killed (path, 5 * MIB, 0x77);
  snprintf (child, sizeof child, "%s/grandchild.vhdx", folder);
  unlink (child);
  options.parent = path;
  must (image_create (child, &options, &size, NULL, NULL));
  img = open_file (child, false);
  check_at (img, 5 * MIB, 0x77, 512);
  check_at (img, 5 * MIB + 512, 0x11, 512);
  image_unref (img);
  image_unref (open_file (path, true));
  /* Nothing of it has changed but where it is. */
  img = open_file (child, false);
  check_at (img, 5 * MIB, 0x77, 512);
  check_at (img, 5 * MIB + 512, 0x11, 512);
  image_unref (img);
  unlink (child);
}

/*--- The whole --------------------------------------------------------------*/

static int
make_folder (void **state)
{
  const char *seed = getenv ("NBDIMAGE_TEST_SEED");

  (void) state;
  if (mkdtemp (folder) == NULL)
    return -1;
  random_state = seed ? (unsigned) strtoul (seed, NULL, 10) : 1;
  save_parent ();
  return 0;
}

static int
remove_folder (void **state)
{
  static const char *const names[] = { "base", "child", "large" };
  char path[100];

  (void) state;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    snprintf (path, sizeof path, "%s/%s.vhdx", folder, names[i]);
    unlink (path);
  }
  return rmdir (folder);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_sector_over_a_parent_looks_like_this),
    cmocka_unit_test (bits_wait_for_a_flush),
    cmocka_unit_test (a_part_of_a_sector_is_filled_up_from_the_parent),
    cmocka_unit_test (what_is_trimmed_is_zero_or_as_it_was),
    cmocka_unit_test (bits_that_others_left_are_cleared),
    cmocka_unit_test (sectors_of_4096_bytes_have_bits),
    cmocka_unit_test (a_small_write_into_a_large_block_stays_small),
    cmocka_unit_test (a_flush_that_failed_is_made_up_for),
    cmocka_unit_test (who_reads_what_is_given_up_never_sees_the_parent),
    cmocka_unit_test (many_threads_write_into_the_same_blocks),
    cmocka_unit_test (a_killed_process_loses_no_write),
    cmocka_unit_test (the_journal_is_finished_before_the_file_is_changed),
    cmocka_unit_test (the_journal_of_a_parent_counts),
  };

  return cmocka_run_group_tests (tests, make_folder, remove_folder);
}
