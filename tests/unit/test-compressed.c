/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in a compressed file reads as what was compressed, at any place and
 * by many threads; and a file that is cut off, damaged, changed or lying gives
 * an error, never other bytes.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/block/memory.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/image.h"
#include "tests/support/squeeze.h"

#define SIZE (3 * 1024 * 1024 + 777)
#define NR_THREADS 4
#define READS 150               /* of each thread */

static uint8_t *disk;
static bool is_long;

/*--- Helpers ----------------------------------------------------------------*/

static int
open_bytes (const uint8_t *bytes, size_t len, struct block **file,
            struct block **out, struct err *err)
{
  const struct codec *codec = compressed_recognise (bytes, len);

  if (codec == NULL)
    return err_set (err, -ENOENT, "not recognised");
  assert_int_equal (block_memory_new ("disk", bytes, len, file, NULL), 0);
  return compressed_open (*file, codec, NULL, out, NULL, err);
}

/* 0 if it could be read and is the same, or why not. */
static int
read_all (struct block *b, const char *what, struct err *err)
{
  static uint8_t buf[100000];
  uint64_t size = block_size (b);

  assert_true (size <= SIZE);
  for (uint64_t off = 0; off < size; off += sizeof buf) {
    size_t n = size - off < sizeof buf ? (size_t) (size - off) : sizeof buf;
    int r = block_pread (b, buf, n, off, err);

    if (r < 0)
      return r;
    if (memcmp (buf, disk + off, n) != 0)
      fail_msg ("%s: other bytes at %llu", what, (unsigned long long) off);
  }
  return 0;
}

static const char *
name_of (const struct squeezer *s)
{
  static char name[64];

  snprintf (name, sizeof name, "%s, %s", s->name, s->kind);
  return name;
}

/* Small numbers that differ from call to call, and are the same each run. */
static uint64_t
draw (uint64_t *seed, uint64_t n)
{
  *seed = *seed * UINT64_C (6364136223846793005) + 1442695040888963407;
  return (*seed >> 33) % n;
}

/*--- Reading ----------------------------------------------------------------*/

struct reader {
  struct block *b;
  uint64_t seed;
  const char *wrong;
};

static void *
read_at_random (void *opaque)
{
  struct reader *r = opaque;
  CLEANUP_FREE uint8_t *buf = malloc (700000);
  uint64_t size = block_size (r->b);

  for (int i = 0; i < READS && r->wrong == NULL; ++i) {
    uint64_t off = draw (&r->seed, size);
    size_t len = (size_t) draw (&r->seed, i % 8 == 0 ? 700000 : 9000);
    struct err err = ERR_INIT;

    if (len > size - off)
      len = (size_t) (size - off);
    if (block_pread (r->b, buf, len, off, &err) < 0)
      r->wrong = "an error";
    else if (memcmp (buf, disk + off, len) != 0)
      r->wrong = "other bytes";
  }
  return NULL;
}

static void
read_by_threads (struct block *b, const char *what)
{
  struct reader readers[NR_THREADS];
  pthread_t threads[NR_THREADS];

  for (int i = 0; i < NR_THREADS; ++i) {
    readers[i] = (struct reader) { b, (uint64_t) i, NULL };
    assert_int_equal (pthread_create (&threads[i], NULL, read_at_random,
                                      &readers[i]), 0);
  }
  for (int i = 0; i < NR_THREADS; ++i) {
    pthread_join (threads[i], NULL);
    if (readers[i].wrong)
      fail_msg ("%s: %s", what, readers[i].wrong);
  }
}

static void
read_backwards (struct block *b)
{
  uint8_t buf[1000];

  for (size_t off = SIZE - 1000; off > 100000; off -= 100000) {
    assert_int_equal (block_pread (b, buf, 1000, off, NULL), 0);
    assert_memory_equal (buf, disk + off, 1000);
  }
}

static void
each_kind_reads_at_random_by_many_threads (void **state)
{
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (const struct squeezer *s = squeezers; s->name; ++s) {
    CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
    struct err err = ERR_INIT;
    const struct codec *codec;

    squeeze (s, disk, SIZE, &z);
    if (open_bytes (z.data, z.len, &file, &b, &err) < 0)
      fail_msg ("%s: %s", name_of (s), err.msg);
    assert_int_equal (block_size (b), SIZE);
    assert_ptr_equal (compressed_file (b, &codec), file);
    assert_string_equal (compressed_codec_name (codec), s->name);
    read_backwards (b);
    read_by_threads (b, name_of (s));
    assert_int_equal (read_all (b, name_of (s), &err), 0);
    print_message ("%s: %zu bytes, %llu points\n", name_of (s), z.len,
                   (unsigned long long) compressed_nr_points (b));
  }
  free (z.data);
}

/*--- How much is decoded ----------------------------------------------------*/

/* The compressed bytes, and how many of them were read. */
struct counting {
  struct block base;
  const uint8_t *bytes;
  uint64_t nr_read;             /* atomic */
};

static int
counting_pread (struct block *b, void *buf, size_t len, uint64_t off,
                struct err *err)
{
  struct counting *c = (struct counting *) b;

  (void) err;
  __atomic_add_fetch (&c->nr_read, len, __ATOMIC_RELAXED);
  memcpy (buf, c->bytes + off, len);
  return 0;
}

static const struct block_ops counting_ops = { .pread = counting_pread };

#define PIECE ((size_t) 256 * 1024)
#define NR_PIECES 64
#define NR_STREAM 16            /* threads of one client that reads on */

struct stream {
  struct block *b;
  const uint8_t *bytes;
  uint64_t next;                /* which is to be read; atomic */
  unsigned nr_wrong;            /* atomic */
};

/* All pieces, eight after eight, those in any order. */
static void *
read_on (void *opaque)
{
  struct stream *s = opaque;
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  uint64_t i;

  assert_non_null (buf);
  while ((i = __atomic_fetch_add (&s->next, 1, __ATOMIC_RELAXED)) <
         NR_PIECES) {
    uint64_t off = (i ^ 6) * PIECE;

    if (block_pread (s->b, buf, PIECE, off, NULL) < 0 ||
        memcmp (buf, s->bytes + off, PIECE) != 0)
      __atomic_add_fetch (&s->nr_wrong, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

/* How many compressed bytes that takes. */
static uint64_t
cost_of_reading_on (const struct squeezed *z, const uint8_t *bytes)
{
  const struct codec *codec = compressed_recognise (z->data, z->len);
  struct counting *c = calloc (1, sizeof *c);
  CLEANUP_BLOCK struct block *b = NULL;
  struct stream s = { .bytes = bytes };
  pthread_t threads[NR_STREAM];
  uint64_t nr;

  assert_non_null (c);
  assert_int_equal (block_init (&c->base, &counting_ops, "disk", z->len, false,
                                NULL), 0);
  c->bytes = z->data;
  assert_int_equal (compressed_open (&c->base, codec, NULL, &b, NULL, NULL),
                    0);
  c->nr_read = 0;
  s.b = b;
  for (int i = 0; i < NR_STREAM; ++i)
    assert_int_equal (pthread_create (&threads[i], NULL, read_on, &s), 0);
  for (int i = 0; i < NR_STREAM; ++i)
    pthread_join (threads[i], NULL);
  assert_int_equal (s.nr_wrong, 0);
  nr = c->nr_read;
  block_unref (&c->base);
  return nr;
}

/* Threads that ask for what follows, in any order, do not each decode what is
 * in front of it.
 */
static void
who_reads_on_by_many_threads_decodes_once (void **state)
{
  CLEANUP_FREE uint8_t *bytes = malloc (NR_PIECES * PIECE);
  struct squeezed z = { NULL, 0, 0 };
  unsigned n = 0;

  (void) state;
  assert_non_null (bytes);
  for (size_t i = 0; i < NR_PIECES * PIECE; ++i)
    bytes[i] = (uint8_t) (disk[i % SIZE] + i / SIZE);
  for (const struct squeezer *s = squeezers; s->name; ++s) {
    uint64_t cost;

    /* With one point at its front, and quick to make. */
    if (strcmp (name_of (s), "zstd, one") != 0)
      continue;
    squeeze (s, bytes, NR_PIECES * PIECE, &z);
    cost = cost_of_reading_on (&z, bytes);
    print_message ("%s: %llu of %zu bytes\n", name_of (s),
                   (unsigned long long) cost, z.len);
    assert_true (cost < 2 * z.len);
    ++n;
  }
  assert_int_equal (n, 1);
  free (z.data);
}

static void
files_of_any_length_read (void **state)
{
  static const size_t lengths[] = { 0, 1, 511, 65536, 262143, 262144, 262145 };
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (const struct squeezer *s = squeezers; s->name; ++s)
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
      CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
      struct err err = ERR_INIT;

      squeeze (s, disk, lengths[i], &z);
      if (z.len == 0 || (strcmp (s->kind, "seekable") == 0 &&
                         lengths[i] == 0))      /* no frame at all */
        continue;
      if (open_bytes (z.data, z.len, &file, &b, &err) < 0)
        fail_msg ("%s of %zu: %s", name_of (s), lengths[i], err.msg);
      assert_int_equal (block_size (b), lengths[i]);
      assert_int_equal (read_all (b, name_of (s), &err), 0);
    }
  free (z.data);
}

static void
what_is_said_to_be_a_hole_is_zero (void **state)
{
  CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  struct squeezed z = { NULL, 0, 0 };
  CLEANUP_FREE uint8_t *data = calloc (1, SIZE);
  uint64_t holes = 0;

  (void) state;
  assert_non_null (data);
  memcpy (data + 1000000, disk, 500000);
  squeeze (squeezer_find ("gzip", "fast"), data, SIZE, &z);
  assert_int_equal (open_bytes (z.data, z.len, &file, &b, NULL), 0);
  assert_int_equal (block_extents (b, SIZE - 5, 3, &list, NULL), 0);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    if (e->kind == EXTENT_DATA)
      continue;
    assert_int_equal (e->kind, EXTENT_HOLE);
    holes += e->len;
    for (uint64_t off = e->off; off < e->off + e->len; ++off)
      assert_int_equal (data[off], 0);
  }
  assert_int_equal (extent_list_end (&list, 3), SIZE - 2);
  assert_true (holes > 1500000);
  free (z.data);
}

/*--- Damage -----------------------------------------------------------------*/

/* Open and read all: whatever comes of it, no other bytes.  Is it refused? */
static bool
try (const struct squeezer *s, const uint8_t *bytes, size_t len,
     struct err *err)
{
  CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
  int r = open_bytes (bytes, len, &file, &b, err);

  if (r == 0)
    r = read_all (b, name_of (s), err);
  if (r == 0)
    return false;
  if (r != -ENOENT && r != -EBADMSG && r != -ENOTSUP)
    fail_msg ("%s: %d, %s", name_of (s), r, err->msg);
  assert_true (strlen (err->msg) > 10);
  return true;
}

/* What is cut off between two members is a whole file of fewer. */
static void
what_is_cut_off_is_refused (void **state)
{
  const int tries = is_long ? 500 : 25;
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (const struct squeezer *s = squeezers; s->name; ++s) {
    uint64_t seed = (uint64_t) (s - squeezers);
    int shorter = 0;

    squeeze (s, disk, SIZE / 4, &z);
    for (int i = 0; i < tries; ++i) {
      struct err err = ERR_INIT;
      size_t len = i < 12 ? z.len - 1 - (size_t) i
        : 16 + (size_t) draw (&seed, z.len - 16);

      if (!try (s, z.data, len, &err))
        ++shorter;
      else if (strstr (err.msg, "the file ends at") == NULL &&
               strstr (err.msg, "at the end of the file") == NULL &&
               strstr (err.msg, "is neither") == NULL)
        fail_msg ("%s, cut off at %zu: %s", name_of (s), len, err.msg);
    }
    if (shorter > 0 && strcmp (s->kind, "members") != 0 &&
        strcmp (s->kind, "streams") != 0)
      fail_msg ("%s: cut off, and taken for whole", name_of (s));
  }
  free (z.data);
}

/* A flipped bit in a file with checksums is found, or it does not matter (the
 * time in a header): try fails on other bytes.
 */
static void
flipped_bits_never_give_other_bytes (void **state)
{
  const int tries = is_long ? 1000 : 40;
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (const struct squeezer *s = squeezers; s->name; ++s) {
    uint64_t seed = 77 + (uint64_t) (s - squeezers);
    int found = 0;

    if (!s->checked)
      continue;
    squeeze (s, disk, SIZE / 4, &z);
    for (int i = 0; i < tries; ++i) {
      size_t at = (size_t) draw (&seed, i % 3 == 0 ? 40 : z.len);
      uint8_t bit = (uint8_t) (1U << draw (&seed, 8));
      struct err err = ERR_INIT;

      z.data[at] ^= bit;
      found += try (s, z.data, z.len, &err);
      z.data[at] ^= bit;
    }
    if (found < tries / 2)
      fail_msg ("%s: %d of %d found", name_of (s), found, tries);
  }
  free (z.data);
}

/* After the index was made nobody looks at the checksums of the file. */
static void
a_file_that_changes_later_gives_errors (void **state)
{
  const int tries = is_long ? 300 : 12;
  struct squeezed z = { NULL, 0, 0 };

  (void) state;
  for (const struct squeezer *s = squeezers; s->name; ++s) {
    uint64_t seed = 99 + (uint64_t) (s - squeezers);
    int found = 0;

    squeeze (s, disk, SIZE / 4, &z);
    for (int i = 0; i < tries; ++i) {
      CLEANUP_BLOCK struct block *file = NULL, *b = NULL;
      size_t at = (size_t) draw (&seed, z.len);
      struct err err = ERR_INIT;
      uint8_t byte = (uint8_t) (z.data[at] ^ (1U << draw (&seed, 8)));
      int r;

      assert_int_equal (open_bytes (z.data, z.len, &file, &b, NULL), 0);
      assert_int_equal (block_pwrite (file, &byte, 1, at, 0, NULL), 0);
      r = read_all (b, name_of (s), &err);
      if (r < 0) {
        ++found;
        assert_int_equal (r, -EIO);
        assert_non_null (strstr (err.msg, "changed since its index"));
      }
    }
    if (found == 0)
      fail_msg ("%s: nothing found", name_of (s));
  }
  free (z.data);
}

/*--- Through images ---------------------------------------------------------*/

static int
open_image (const struct squeezed *z, const char *format, bool writable,
            struct image **img, struct err *err)
{
  CLEANUP_BLOCK struct block *file = NULL;
  const struct image_options options = {
    .format = format, .writable = writable,
  };

  assert_int_equal (block_memory_new ("disk", z->data, z->len, &file, NULL),
                    0);
  return image_open_block (file, &options, img, NULL, err);
}

static void
an_image_is_what_is_in_the_file (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL, *as_it_is = NULL, *no = NULL;
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  struct squeezed z = { NULL, 0, 0 };
  struct err err = ERR_INIT;
  uint8_t buf[512];

  (void) state;
  squeeze (squeezer_find ("zstd", "frames"), disk, SIZE, &z);
  assert_int_equal (open_image (&z, NULL, false, &img, &err), 0);
  assert_string_equal (image_format (img), "raw");
  assert_int_equal (image_size (img), SIZE);
  assert_non_null (strstr (image_readonly_reason (img), "zstd"));
  assert_int_equal (image_check_recognised (img, NULL), 0);
  assert_int_equal (block_size (image_file (img)), z.len);
  assert_int_equal (image_pread (img, buf, 512, 1000000, &err), 0);
  assert_memory_equal (buf, disk + 1000000, 512);
  assert_int_equal (image_get_info (img, &info, &err), 0);
  assert_int_equal (info.file_size, z.len);
  assert_string_equal (info.properties.ptr[0].key, "compression");
  assert_string_equal (info.properties.ptr[0].value, "zstd");

  assert_int_equal (open_image (&z, "raw", false, &as_it_is, &err), 0);
  assert_int_equal (image_size (as_it_is), z.len);
  assert_int_equal (open_image (&z, NULL, true, &no, &err), -EROFS);
  free (z.data);
}

static void
what_is_compressed_twice_is_refused (void **state)
{
  struct squeezed z = { NULL, 0, 0 }, zz = { NULL, 0, 0 };
  struct err err = ERR_INIT;
  struct image *img;

  (void) state;
  squeeze (squeezer_find ("gzip", "fast"), disk, 10000, &z);
  squeeze (squeezer_find ("xz", "one"), z.data, z.len, &zz);
  assert_int_equal (open_image (&zz, NULL, false, &img, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "twice, with xz and in that with gzip"));
  free (z.data);
  free (zz.data);
}

static int
setup (void **state)
{
  (void) state;
  is_long = getenv ("NBDIMAGE_LONG") != NULL;
  disk = malloc (SIZE);
  if (disk == NULL)
    return -1;
  squeeze_fill (disk, SIZE, 1);
  return 0;
}

static int
teardown (void **state)
{
  (void) state;
  free (disk);
  return 0;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (each_kind_reads_at_random_by_many_threads),
    cmocka_unit_test (who_reads_on_by_many_threads_decodes_once),
    cmocka_unit_test (files_of_any_length_read),
    cmocka_unit_test (what_is_said_to_be_a_hole_is_zero),
    cmocka_unit_test (what_is_cut_off_is_refused),
    cmocka_unit_test (flipped_bits_never_give_other_bytes),
    cmocka_unit_test (a_file_that_changes_later_gives_errors),
    cmocka_unit_test (an_image_is_what_is_in_the_file),
    cmocka_unit_test (what_is_compressed_twice_is_refused),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
