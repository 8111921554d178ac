/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images of partclone read as the partition was; each rule of the header is
 * broken once; what is damaged or cut off gives an error, never other bytes.
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
#include "lib/block/memory.h"
#include "lib/format/image.h"
#include "tests/support/partclone-maker.h"

#define CRC32 0x20
#define XXH64 0x30

static const struct partclone_shape shapes[] = {
  { .nr_blocks = 300, .block_size = 4096, .sum = CRC32, .per_sum = 256,
    .density = 5 },
  { .nr_blocks = 4095, .block_size = 512, .tail = 512, .sum = CRC32,
    .per_sum = 2048, .density = 4 },
  { .nr_blocks = 777, .block_size = 1024, .sum = CRC32, .per_sum = 7,
    .density = 4 },
  { .nr_blocks = 777, .block_size = 1024, .sum = CRC32, .per_sum = 7,
    .density = 4, .chained = true },
  { .nr_blocks = 2000, .block_size = 512, .sum = CRC32, .per_sum = 1,
    .density = 6, .chained = true },
  { .nr_blocks = 100, .block_size = 4096, .sum = CRC32, .per_sum = 50,
    .density = 8 },
  { .nr_blocks = 64, .block_size = 4096, .sum = XXH64, .per_sum = 5,
    .density = 3 },
  { .nr_blocks = 1001, .block_size = 512, .density = 4 },
  { .nr_blocks = 129, .block_size = 512, .sum = CRC32, .per_sum = 10,
    .density = 8, .no_map = true },
  { .nr_blocks = 5, .block_size = 65536, .sum = CRC32, .per_sum = 3,
    .density = 4 },
  { .nr_blocks = 1, .block_size = 512, .sum = CRC32, .per_sum = 256,
    .density = 8 },
  { .v1 = 4, .nr_blocks = 500, .block_size = 1024, .density = 4 },
  { .v1 = 8, .nr_blocks = 500, .block_size = 4096, .density = 5 },
  { .v1 = 4, .nr_blocks = 1, .block_size = 512, .density = 8 },
  /* Strips that are longer than what is read at once. */
  { .nr_blocks = 1000, .block_size = 4096, .sum = CRC32, .per_sum = 200,
    .density = 6 },
  { .nr_blocks = 1500, .block_size = 1024, .sum = CRC32, .per_sum = 300,
    .density = 6, .chained = true },
  { .nr_blocks = 200, .block_size = 4096, .sum = XXH64, .per_sum = 65,
    .density = 7 },
  { .nr_blocks = 8, .block_size = 300 * 1024, .sum = CRC32, .per_sum = 2,
    .density = 6 },
  { .v1 = 4, .nr_blocks = 4, .block_size = 300 * 1024, .density = 7 },
  /* More than a page of the bitmap, and pages that are full. */
  { .nr_blocks = 270001, .block_size = 512, .sum = CRC32, .per_sum = 2048,
    .density = 1 },
};

#define NR_SHAPES (sizeof shapes / sizeof shapes[0])

/*--- Helpers ----------------------------------------------------------------*/

static int
open_bytes (const uint8_t *bytes, size_t len, bool ignore,
            struct image **out, struct err *err)
{
  CLEANUP_BLOCK struct block *file = NULL;
  struct image_options options = { .format = "partclone",
                                   .ignore_checksums = ignore };

  assert_int_equal (block_memory_new ("disk.pcl", bytes, len, &file, NULL), 0);
  return image_open_block (file, &options, out, NULL, err);
}

static int
open_made (const struct partclone_made *m, struct image **out,
           struct err *err)
{
  return open_bytes (m->file, m->len, false, out, err);
}

static uint64_t
draw (uint64_t *seed, uint64_t n)
{
  *seed = *seed * UINT64_C (6364136223846793005) + 1442695040888963407;
  return (*seed >> 33) % n;
}

/* Front to back; an error ends it. */
static int
compare_all (struct image *img, const struct partclone_made *m,
             struct err *err)
{
  static uint8_t buf[77777];

  assert_int_equal (image_size (img), m->size);
  for (uint64_t off = 0; off < m->size; off += sizeof buf) {
    size_t n = m->size - off < sizeof buf ? (size_t) (m->size - off)
                                          : sizeof buf;
    int r = image_pread (img, buf, n, off, err);

    if (r < 0)
      return r;
    if (memcmp (buf, m->disk + off, n) != 0)
      fail_msg ("other bytes at %llu", (unsigned long long) off);
  }
  return 0;
}

/*--- Reading ----------------------------------------------------------------*/

static void
compare_at_random (struct image *img, const struct partclone_made *m)
{
  static uint8_t buf[300000];
  uint64_t seed = 7;

  for (int i = 0; i < 200; ++i) {
    uint64_t off = draw (&seed, m->size);
    size_t len = (size_t) draw (&seed, i % 4 == 0 ? sizeof buf : 3000);

    if (len > m->size - off)
      len = (size_t) (m->size - off);
    assert_int_equal (image_pread (img, buf, len, off, NULL), 0);
    assert_memory_equal (buf, m->disk + off, len);
  }
}

static void
every_shape_reads_as_the_partition_was (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR_SHAPES; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;
    struct partclone_made m;

    partclone_make (&shapes[i], i, &m);
    if (open_made (&m, &img, &err) < 0 || compare_all (img, &m, &err) < 0)
      fail_msg ("shape %zu: %s", i, err.msg);
    compare_at_random (img, &m);
    partclone_made_free (&m);
  }
}

/* What kind its block has, by the extents asked for from off. */
static void
compare_extents (struct image *img, const struct partclone_made *m,
                 uint32_t bs, uint64_t off, bool unallocated)
{
  struct extent_list list = { .limit = 20, .unallocated = unallocated };

  assert_int_equal (image_extents (img, m->size - off, off, &list, NULL), 0);
  assert_true (list.v.len > 0);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];

    assert_int_equal (e->off, i == 0 ? off
                      : list.v.ptr[i - 1].off + list.v.ptr[i - 1].len);
    for (uint64_t at = e->off; at < e->off + e->len; at += 512) {
      bool used = at / bs < m->size / bs && m->used[at / bs];

      assert_int_equal (e->kind, used ? EXTENT_DATA : unallocated
                        ? EXTENT_UNALLOCATED : EXTENT_HOLE);
    }
  }
  extent_list_free (&list);
}

static void
extents_are_the_bitmap (void **state)
{
  const struct partclone_shape *s = &shapes[2];
  CLEANUP_IMAGE struct image *img = NULL;
  struct partclone_made m;
  uint64_t seed = 3;

  (void) state;
  partclone_make (s, 1, &m);
  assert_int_equal (open_made (&m, &img, NULL), 0);
  for (int i = 0; i < 100; ++i)
    compare_extents (img, &m, s->block_size, draw (&seed, m.size) / 512 * 512,
                     i % 2);
  compare_extents (img, &m, s->block_size, 0, true);
  partclone_made_free (&m);
}

struct reader {
  struct image *img;
  const struct partclone_made *m;
  uint64_t seed;
  bool wrong;
};

static void *
read_at_random (void *opaque)
{
  struct reader *r = opaque;
  uint8_t buf[20000];

  for (int i = 0; i < 300; ++i) {
    uint64_t off = draw (&r->seed, r->m->size - sizeof buf);

    r->wrong |= image_pread (r->img, buf, sizeof buf, off, NULL) < 0 ||
      memcmp (buf, r->m->disk + off, sizeof buf) != 0;
  }
  return NULL;
}

static void
read_with_threads (const struct partclone_shape *shape)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct reader readers[4];
  pthread_t threads[4];
  struct partclone_made m;

  partclone_make (shape, 1, &m);
  assert_int_equal (open_made (&m, &img, NULL), 0);
  for (unsigned i = 0; i < 4; ++i) {
    readers[i] = (struct reader) { img, &m, i, false };
    assert_int_equal (pthread_create (&threads[i], NULL, read_at_random,
                                      &readers[i]), 0);
  }
  for (unsigned i = 0; i < 4; ++i) {
    pthread_join (threads[i], NULL);
    assert_false (readers[i].wrong);
  }
  partclone_made_free (&m);
}

static void
many_threads_read_the_same (void **state)
{
  (void) state;
  read_with_threads (&shapes[0]);       /* long strips */
  read_with_threads (&shapes[3]);       /* runs of short ones */
  read_with_threads (&shapes[7]);       /* no checksums */
  read_with_threads (&shapes[NR_SHAPES - 1]);
}

static void
info_says_what_it_is (void **state)
{
  CLEANUP_IMAGE_INFO struct image_info info = { .type = NULL };
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *file = NULL;
  struct partclone_made m;

  (void) state;
  partclone_make (&shapes[0], 1, &m);
  assert_int_equal (block_memory_new ("x", m.file, m.len, &file, NULL), 0);
  assert_int_equal (image_open_block (file, NULL, &img, NULL, NULL), 0);
  assert_string_equal (image_format (img), "partclone");
  assert_non_null (strstr (image_readonly_reason (img), "read-only"));
  assert_int_equal (image_get_info (img, &info, NULL), 0);
  assert_string_equal (info.type, "partition");
  assert_string_equal (info.creator, "partclone 0.3.99");
  assert_int_equal (info.allocation_size, 4096);
  assert_string_equal (info.properties.ptr[1].value, "EXTFS");
  assert_string_equal (info.properties.ptr[3].value,
                       "CRC-32 of each 256 blocks");
  partclone_made_free (&m);
}

static const struct partclone_shape v1 = {
  .v1 = 4, .nr_blocks = 500, .block_size = 1024, .density = 4
};

static const struct rule {
  size_t off, len;
  uint64_t value;
  int code;
  const char *says;
} v1_rules[] = {
  { 36, 4, 0, -EBADMSG, "block size of 0" },
  { 36, 4, 2048, -EBADMSG, "is cut off, or its bitmap" },
  { 48, 8, 0, -EBADMSG, "0 blocks" },
  { 48, 8, UINT64_C (1) << 60, -EBADMSG, "more than there can be" },
  { 48, 8, UINT64_C (1) << 40, -ENOTSUP, "too many for a bitmap" },
  { 48, 8, UINT64_C (1) << 36, -EBADMSG, "cut off" },
  { 48, 8, 499, -EBADMSG, "no ‘BiTmAgIc’ at offset 4659" },
  { 4160 + 500, 1, 'b', -EBADMSG, "no ‘BiTmAgIc’ at offset 4660" },
};

static void
put (uint8_t *p, size_t len, uint64_t value)
{
  for (size_t i = 0; i < len; ++i)
    p[i] = (uint8_t) (value >> 8 * i);
}

static void
each_rule_of_version_1_is_asked (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof v1_rules / sizeof v1_rules[0]; ++i) {
    const struct rule *rule = &v1_rules[i];
    struct err err = ERR_INIT;
    struct partclone_made m;
    struct image *img;

    partclone_make (&v1, 1, &m);
    put (m.file + rule->off, rule->len, rule->value);
    if (open_made (&m, &img, &err) != rule->code ||
        strstr (err.msg, rule->says) == NULL)
      fail_msg ("rule %zu: %d, %s", i, err.code, err.msg);
    partclone_made_free (&m);
  }
}

/* A map that says another number of blocks, and whatever the checksum covers:
 * the first byte of each block, and itself.
 */
static void
version_1_finds_what_it_can (void **state)
{
  struct err err = ERR_INIT;
  struct partclone_made m;
  uint64_t seed = 9;

  (void) state;
  partclone_make (&v1, 1, &m);
  for (int i = 0; i < 200; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    size_t in_map = 4160 + (size_t) draw (&seed, 500);
    size_t at = i % 2 ? in_map : m.data_off +
      (size_t) draw (&seed, m.nr_used) * (1024 + 4) +
      (i % 4 ? 0 : 1024 + (size_t) draw (&seed, 4));
    uint8_t was = m.file[at];

    m.file[at] = i % 2 ? was != 1 : was ^ 0x20;
    if (i % 2)
      assert_int_equal (open_made (&m, &img, &err), -EBADMSG);
    else {
      assert_int_equal (open_made (&m, &img, &err), 0);
      assert_int_equal (compare_all (img, &m, &err), -EIO);
    }
    m.file[at] = was;
  }
  partclone_made_free (&m);
}

/* It says of itself that it finds no more. */
static void
version_1_comes_with_a_warning (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  CLEANUP_BLOCK struct block *file = NULL;
  struct partclone_made m;

  (void) state;
  partclone_make (&v1, 1, &m);
  assert_int_equal (block_memory_new ("x", m.file, m.len, &file, NULL), 0);
  assert_int_equal (image_open_block (file, NULL, &img, &report, NULL), 0);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "first byte of each block"));
  partclone_made_free (&m);
}

static void
it_is_not_opened_for_writing (void **state)
{
  CLEANUP_BLOCK struct block *file = NULL;
  struct image_options options = { .writable = true };
  struct partclone_made m;
  struct image *img;

  (void) state;
  partclone_make (&shapes[0], 1, &m);
  assert_int_equal (block_memory_new ("x", m.file, m.len, &file, NULL), 0);
  assert_int_equal (image_open_block (file, &options, &img, NULL, NULL),
                    -EROFS);
  partclone_made_free (&m);
}

/*--- Rules ------------------------------------------------------------------*/

static const struct rule rules[] = {
  { 0, 1, 'P', -EBADMSG, "no ‘partclone-image’ at offset 0" },
  { 33, 1, '3', -ENOTSUP, "version ‘0003’" },
  { 34, 2, 0xDEC0, -ENOTSUP, "big-endian" },
  { 34, 2, 0xC0DF, -EBADMSG, "byte order at offset 34 is 0xc0df" },
  { 88, 4, 19, -ENOTSUP, "19 bytes of options" },
  { 92, 2, 3, -ENOTSUP, "of version 3" },
  { 60, 8, 0, -EBADMSG, "0 blocks" },
  { 60, 8, UINT64_C (1) << 52, -EBADMSG, "more than there can be" },
  { 52, 8, UINT64_MAX, -EBADMSG, "more than there can be" },
  { 60, 8, UINT64_C (1) << 40, -ENOTSUP, "too many for a bitmap" },
  { 60, 8, UINT64_C (1) << 36, -EBADMSG, "cut off" },
  { 60, 8, 3, -EBADMSG, "are in the image, of 3" },
  { 76, 8, 5, -EBADMSG, "the header says 5" },
  { 76, 8, 299, -EBADMSG, "cut off" },
  { 84, 4, 0, -EBADMSG, "block size of 0" },
  { 84, 4, 1000, -EBADMSG, "block size of 1000" },
  { 84, 4, 1 << 30, -EBADMSG, "block size of 1073741824" },
  { 96, 2, 0x21, -ENOTSUP, "of kind 0x21" },
  { 98, 2, 8, -EBADMSG, "a checksum has 8 bytes, expected 4" },
  { 100, 4, 0, -EBADMSG, "covers 0 blocks" },
  { 100, 4, 65537, -ENOTSUP, "too many to be read" },
  { 105, 1, 2, -ENOTSUP, "of kind 2" },
  { 105, 1, 0, -EBADMSG, "expected all" },
};

static void
each_rule_of_the_header_is_asked (void **state)
{
  (void) state;
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; ++i) {
    const struct rule *rule = &rules[i];
    struct err err = ERR_INIT;
    struct partclone_made m;
    struct image *img;

    partclone_make (&shapes[0], 1, &m);
    put (m.file + rule->off, rule->len, rule->value);
    partclone_seal (&m);
    if (open_made (&m, &img, &err) != rule->code ||
        strstr (err.msg, rule->says) == NULL)
      fail_msg ("rule %zu: %d, %s", i, err.code, err.msg);
    partclone_made_free (&m);
  }
}

static void
hashes_that_go_on_are_refused (void **state)
{
  struct err err = ERR_INIT;
  struct partclone_made m;
  struct image *img;

  (void) state;
  partclone_make (&shapes[6], 1, &m);
  m.file[104] = 0;
  partclone_seal (&m);
  assert_int_equal (open_made (&m, &img, &err), -ENOTSUP);
  assert_non_null (strstr (err.msg, "XXH64"));
  partclone_made_free (&m);
}

static void
wrong_checksums_of_tables_are_ignored_only_when_asked (void **state)
{
  struct err err = ERR_INIT;
  struct partclone_made m;

  (void) state;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;

    partclone_make (&shapes[0], 1, &m);
    m.file[i == 0 ? 106 : m.data_off - 1] ^= 4;
    assert_int_equal (open_made (&m, &img, &err), -EBADMSG);
    assert_non_null (strstr (err.msg, i == 0 ? "the header at offset 0"
                             : "the bitmap at offset 110"));
    assert_int_equal (open_bytes (m.file, m.len, true, &img, &err), 0);
    assert_int_equal (compare_all (img, &m, &err), 0);
    partclone_made_free (&m);
  }
}

static void
a_bitmap_of_other_blocks_is_refused (void **state)
{
  struct err err = ERR_INIT;
  struct partclone_made m;
  struct image *img;

  (void) state;
  partclone_make (&shapes[0], 1, &m);
  m.file[110] ^= 1;
  partclone_seal_map (&m);
  assert_int_equal (open_made (&m, &img, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "the bitmap at offset 110 has"));
  partclone_made_free (&m);
}

/*--- Damage -----------------------------------------------------------------*/

static void
what_is_cut_off_is_refused (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR_SHAPES - 1; ++i) {
    struct partclone_made m;
    uint64_t seed = i;

    partclone_make (&shapes[i], i, &m);
    for (int j = 0; j < 200; ++j) {
      size_t len = j < 4 ? m.len - 1 - (size_t) j
        : (size_t) draw (&seed, j % 2 ? m.len : m.data_off + 10);
      struct err err = ERR_INIT;
      struct image *img;

      if (len >= m.len)
        continue;
      assert_int_equal (open_bytes (m.file, len, false, &img, &err), -EBADMSG);
      assert_non_null (strstr (err.msg, "cut off"));
    }
    partclone_made_free (&m);
  }
}

/* With checksums, all of the file is covered by one. */
static void
flipped_bits_never_give_other_bytes (void **state)
{
  int tries = getenv ("NBDIMAGE_LONG") ? 2000 : 60;

  (void) state;
  for (size_t i = 0; i < NR_SHAPES - 1; ++i) {
    struct partclone_made m;
    uint64_t seed = i + 100;

    if (shapes[i].sum == 0)     /* nor does one cover all of version 1 */
      continue;
    partclone_make (&shapes[i], i, &m);
    for (int j = 0; j < tries; ++j) {
      CLEANUP_IMAGE struct image *img = NULL;
      size_t at = (size_t) draw (&seed, j % 3 ? m.len : m.data_off);
      uint8_t bit = (uint8_t) (1U << draw (&seed, 8));
      struct err err = ERR_INIT;
      int r;

      m.file[at] ^= bit;
      r = open_made (&m, &img, &err);
      if (r == 0)
        r = compare_all (img, &m, &err);
      if (r == 0 || err.msg[0] == '\0')
        fail_msg ("shape %zu: a bit at %zu was not found", i, at);
      if (at >= m.data_off)
        assert_int_equal (r, -EIO);
      m.file[at] ^= bit;
    }
    partclone_made_free (&m);
  }
}

/* Headers and bitmaps with good checksums that say anything: what opens has a
 * size that was checked, reads or gives an error, and takes no more memory than
 * one strip and the caches.
 */
static void
lies_with_good_checksums_do_no_harm (void **state)
{
  int tries = getenv ("NBDIMAGE_LONG") ? 20000 : 600;
  static const uint64_t values[] = { 0, 1, 7, 255, 256, 511, 4096, 65536,
                                     UINT32_MAX, UINT64_C (1) << 40,
                                     UINT64_C (1) << 62, UINT64_MAX };
  static const size_t fields[] = { 36, 40, 48, 52, 56, 60, 76, 84, 96, 98,
                                   100, 104, 105 };
  uint64_t seed = 5;
  int opened = 0;

  (void) state;
  for (int i = 0; i < tries; ++i) {
    const struct partclone_shape *s = &shapes[i % 15 == 11 ? 0 : i % 15];
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;
    struct partclone_made m;
    uint8_t buf[5000];
    int r;

    partclone_make (s->nr_blocks > 1500 ? &shapes[2] : s, (uint64_t) i, &m);
    for (int j = 0; j <= i % 3; ++j) {
      size_t n = draw (&seed, sizeof fields / sizeof fields[0]);
      uint64_t value = draw (&seed, 2) ? values[draw (&seed, 12)]
                                       : draw (&seed, 3000);

      put (m.file + fields[n], (size_t) 1 << draw (&seed, 4), value);
    }
    if (i % 4 == 0)
      m.file[110 + draw (&seed, m.len - 110)] ^= 1;
    if (memcmp (m.file + 30, "0002", 4) == 0) {
      partclone_seal (&m);
      if (m.data_off > 114 && i % 4 == 0)
        partclone_seal_map (&m);
    }
    r = open_made (&m, &img, &err);
    assert_int_equal (r < 0, err.msg[0] != '\0');
    for (int j = 0; r == 0 && j < 20; ++j) {
      uint64_t off = draw (&seed, image_size (img));
      size_t len = (size_t) draw (&seed, sizeof buf);

      if (len > image_size (img) - off)
        len = (size_t) (image_size (img) - off);
      r = image_pread (img, buf, len, off, &err);
      assert_true (r == 0 || r == -EIO);
    }
    opened += img != NULL;
    partclone_made_free (&m);
  }
  assert_true (opened > tries / 20 && opened < tries);
}

/* A strip that is damaged costs that strip, and no other. */
static void
what_is_not_damaged_can_be_read (void **state)
{
  const struct partclone_shape *s = &shapes[0];
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  struct partclone_made m;
  uint64_t first = 0, last = s->nr_blocks;
  uint8_t buf[4096];
  char place[40];

  (void) state;
  partclone_make (&(struct partclone_shape) { .nr_blocks = 300,
    .block_size = 4096, .sum = CRC32, .per_sum = 128, .density = 7 }, 1, &m);
  while (!m.used[first])
    ++first;
  while (!m.used[--last])
    ;
  m.file[m.len - 100] ^= 1;
  assert_int_equal (open_made (&m, &img, &err), 0);
  assert_int_equal (image_pread (img, buf, 4096, first * 4096, &err), 0);
  assert_memory_equal (buf, m.disk + first * 4096, 4096);
  assert_int_equal (image_pread (img, buf, 1, last * 4096, &err), -EIO);
  snprintf (place, sizeof place, "of blocks at offset %zu is",
            m.data_off + 2 * (128 * 4096 + 4));
  assert_non_null (strstr (err.msg, place));
  partclone_made_free (&m);
}

static void
a_bitmap_that_changes_later_gives_errors (void **state)
{
  const struct partclone_shape *s = &shapes[NR_SHAPES - 1];
  CLEANUP_BLOCK struct block *file = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  struct partclone_made m;
  uint8_t buf[512], byte;

  (void) state;
  partclone_make (s, 1, &m);
  assert_int_equal (block_memory_new ("x", m.file, m.len, &file, NULL), 0);
  assert_int_equal (image_open_block (file, NULL, &img, NULL, &err), 0);
  byte = m.file[110 + 5] ^ 1;
  assert_int_equal (block_pwrite (file, &byte, 1, 110 + 5, 0, &err), 0);
  assert_int_equal (image_pread (img, buf, 512, 0, &err), -EIO);
  assert_non_null (strstr (err.msg, "bitmap changed"));
  partclone_made_free (&m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_shape_reads_as_the_partition_was),
    cmocka_unit_test (extents_are_the_bitmap),
    cmocka_unit_test (many_threads_read_the_same),
    cmocka_unit_test (info_says_what_it_is),
    cmocka_unit_test (each_rule_of_version_1_is_asked),
    cmocka_unit_test (version_1_finds_what_it_can),
    cmocka_unit_test (version_1_comes_with_a_warning),
    cmocka_unit_test (it_is_not_opened_for_writing),
    cmocka_unit_test (each_rule_of_the_header_is_asked),
    cmocka_unit_test (hashes_that_go_on_are_refused),
    cmocka_unit_test (wrong_checksums_of_tables_are_ignored_only_when_asked),
    cmocka_unit_test (a_bitmap_of_other_blocks_is_refused),
    cmocka_unit_test (what_is_cut_off_is_refused),
    cmocka_unit_test (flipped_bits_never_give_other_bytes),
    cmocka_unit_test (lies_with_good_checksums_do_no_harm),
    cmocka_unit_test (what_is_not_damaged_can_be_read),
    cmocka_unit_test (a_bitmap_that_changes_later_gives_errors),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
