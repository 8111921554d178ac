/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Maps of what is used, and an XFS made by hand: trees of several levels, and
 * ones that never end.  File systems by their own mkfs are in test-used-*.sh.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "lib/block/memory.h"
#include "lib/fsmap/used.h"
#include "tests/support/faulty.h"

/*--- maps -------------------------------------------------------------------*/

static void
add (struct used_map *map, uint64_t off, uint64_t len)
{
  struct err err = ERR_INIT;

  assert_int_equal (used_map_add (map, off, len, &err), 0);
}

static void
assert_runs (const struct used_map *map, size_t nr, const uint64_t *expected)
{
  assert_int_equal (map->runs.len, nr);
  for (size_t i = 0; i < nr; ++i) {
    assert_int_equal (map->runs.ptr[i].off, expected[2 * i]);
    assert_int_equal (map->runs.ptr[i].len, expected[2 * i + 1]);
  }
}

static void
runs_in_any_order_are_merged (void **state)
{
  static const uint64_t expected[] = { 0, 30, 40, 25, 99, 1 };
  CLEANUP_USED_MAP struct used_map map;

  (void) state;
  used_map_init (&map, 100, USED_MAP_LIMIT);
  add (&map, 50, 10);
  add (&map, 10, 20);
  add (&map, 40, 10);           /* touches */
  add (&map, 55, 10);           /* overlaps */
  add (&map, 0, 10);
  add (&map, 5, 3);             /* inside */
  add (&map, 99, 50);           /* over the end */
  add (&map, 100, 1);           /* behind it */
  add (&map, UINT64_MAX, UINT64_MAX);
  add (&map, 70, 0);
  used_map_finish (&map);
  assert_runs (&map, 3, expected);
  assert_int_equal (used_map_bytes (&map), 56);
  assert_int_equal (map.filled, 0);
}

static void
questions_about_a_map_are_answered (void **state)
{
  CLEANUP_USED_MAP struct used_map map;
  uint64_t end;
  bool used;

  (void) state;
  used_map_init (&map, 100, USED_MAP_LIMIT);
  add (&map, 10, 10);
  add (&map, 30, 10);
  used_map_finish (&map);
  assert_true (used_map_covers (&map, 10, 10));
  assert_true (used_map_covers (&map, 39, 1));
  assert_false (used_map_covers (&map, 9, 2));
  assert_false (used_map_covers (&map, 19, 2));
  assert_false (used_map_covers (&map, 10, 30));
  assert_false (used_map_covers (&map, 39, UINT64_MAX));
  assert_false (used_map_touches (&map, 0, 10));
  assert_true (used_map_touches (&map, 0, 11));
  assert_true (used_map_touches (&map, 19, 1));
  assert_false (used_map_touches (&map, 20, 10));
  assert_false (used_map_touches (&map, 40, 60));
  used_map_find (&map, 0, &used, &end);
  assert_true (!used && end == 10);
  used_map_find (&map, 10, &used, &end);
  assert_true (used && end == 20);
  used_map_find (&map, 35, &used, &end);
  assert_true (used && end == 40);
  used_map_find (&map, 40, &used, &end);
  assert_true (!used && end == 100);
}

static void
bits_become_runs (void **state)
{
  static const uint8_t bits[] = { 0x81, 0xff, 0x00, 0x00, 0x10, 0xfe };
  static const uint64_t expected[] = { 1000, 10, 1070, 90, 1360, 10,
                                       1410, 20 };
  CLEANUP_USED_MAP struct used_map map;
  struct err err = ERR_INIT;
  uint64_t nr_set;

  (void) state;
  used_map_init (&map, 5000, USED_MAP_LIMIT);
  assert_int_equal (used_map_add_bits (&map, bits, 43, 10, 1000, &nr_set,
                                       &err), 0);
  used_map_finish (&map);
  assert_int_equal (nr_set, 13);
  assert_runs (&map, 4, expected);
}

/* Whatever is added to a short list, all of it stays used. */
static void
a_long_list_is_made_short_and_loses_nothing (void **state)
{
  enum { SIZE = 1 << 20, UNIT = 64 };
  static uint8_t model[SIZE / UNIT];

  (void) state;
  for (unsigned round = 0; round < 20; ++round) {
    CLEANUP_USED_MAP struct used_map map;
    unsigned seed = round;

    memset (model, 0, sizeof model);
    used_map_init (&map, SIZE, 2 + round);
    for (unsigned i = 0; i < 2000; ++i) {
      unsigned at = (unsigned) rand_r (&seed) % (SIZE / UNIT);

      /* In order, and in none. */
      if (round % 2)
        at = i * 8;
      model[at] = 1;
      add (&map, (uint64_t) at * UNIT, UNIT);
      assert_true (map.runs.len <= map.limit);
    }
    used_map_finish (&map);
    assert_true (map.runs.len <= map.limit);
    assert_true (map.filled > 0);
    for (unsigned i = 0; i < SIZE / UNIT; ++i)
      if (model[i])
        assert_true (used_map_covers (&map, (uint64_t) i * UNIT, UNIT));
  }
}

/*--- disks ------------------------------------------------------------------*/

#define MiB (UINT64_C (1024) * 1024)

static void
gaps_and_ends_of_partitions_are_used (void **state)
{
  CLEANUP_USED_MAP struct used_map fs, disk;
  struct used_partition parts[] = {
    { .off = 20 * MiB, .len = 10 * MiB },       /* not known */
    { .off = 1 * MiB, .len = 10 * MiB, .map = &fs },
  };
  static const uint64_t expected[] = {
    0, MiB + 65536,
    3 * MiB, MiB,
    11 * MiB - 65536, 65536 + 9 * MiB + 10 * MiB + 2 * MiB,
  };
  struct err err = ERR_INIT;

  (void) state;
  used_map_init (&fs, 10 * MiB, USED_MAP_LIMIT);
  add (&fs, 2 * MiB, MiB);
  used_map_finish (&fs);
  assert_int_equal (used_disk_map (32 * MiB, parts, 2, &disk, &err), 0);
  assert_runs (&disk, 3, expected);
}

static void
overlapping_partitions_use_what_one_of_them_uses (void **state)
{
  CLEANUP_USED_MAP struct used_map one, two, disk;
  struct used_partition parts[] = {
    { .off = 0, .len = 10 * MiB, .map = &one },
    { .off = 4 * MiB, .len = 12 * MiB, .map = &two },
  };
  struct err err = ERR_INIT;

  (void) state;
  used_map_init (&one, 10 * MiB, USED_MAP_LIMIT);
  used_map_init (&two, 12 * MiB, USED_MAP_LIMIT);
  add (&two, 2 * MiB, MiB);     /* 6 MiB of the disk */
  used_map_finish (&two);
  assert_int_equal (used_disk_map (16 * MiB, parts, 2, &disk, &err), 0);
  assert_true (used_map_covers (&disk, 6 * MiB, MiB));
  assert_true (used_map_covers (&disk, 0, 65536));
  assert_true (used_map_covers (&disk, 16 * MiB - 65536, 65536));
  assert_false (used_map_touches (&disk, MiB, MiB));
  assert_false (used_map_touches (&disk, 8 * MiB, MiB));
  assert_int_equal (used_map_bytes (&disk), MiB + 4 * 65536);
}

static void
of_a_partition_that_is_left_out_nothing_is_used (void **state)
{
  CLEANUP_USED_MAP struct used_map disk;
  struct used_partition parts[] = {
    { .off = MiB, .len = 4 * MiB, .is_left_out = true },
    { .off = 8 * MiB, .len = 4 * MiB },
  };
  static const uint64_t expected[] = { 0, MiB, 5 * MiB, 11 * MiB };
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (used_disk_map (16 * MiB, parts, 2, &disk, &err), 0);
  assert_runs (&disk, 2, expected);
}

static void
a_disk_without_partitions_is_used (void **state)
{
  CLEANUP_USED_MAP struct used_map disk;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (used_disk_map (16 * MiB, NULL, 0, &disk, &err), 0);
  assert_true (used_map_covers (&disk, 0, 16 * MiB));
}

static void
partitions_that_do_not_fit_are_refused (void **state)
{
  CLEANUP_USED_MAP struct used_map fs;
  struct used_partition parts[] = {
    { .off = 15 * MiB, .len = 2 * MiB },
  };
  struct used_map disk;
  struct err err = ERR_INIT;

  (void) state;
  used_map_init (&fs, MiB, USED_MAP_LIMIT);
  assert_int_equal (used_disk_map (16 * MiB, parts, 1, &disk, &err), -EINVAL);
  parts[0].len = MiB / 2;
  parts[0].map = &fs;
  assert_int_equal (used_disk_map (16 * MiB, parts, 1, &disk, &err), -EINVAL);
}

/*--- an XFS -----------------------------------------------------------------*/

/* One group of 4096 blocks of 4 KiB: block 0 has the headers, 1 to 7 nodes of
 * the tree, the log is in 8 to 71.
 */
#define BLOCK 4096
#define BLOCKS 4096
#define LOG_BLOCK 8
#define LOG_BLOCKS 64

static uint8_t xfs[BLOCKS * BLOCK];

static void
put_crc (uint8_t *p, size_t len, size_t at)
{
  put_le32 (p + at, 0);
  put_le32 (p + at, crc32c_update (0, p, len));
}

static void
begin_node (unsigned number, unsigned level, uint32_t left, uint32_t right)
{
  uint8_t *p = xfs + number * BLOCK;

  memset (p, 0, BLOCK);
  memcpy (p, "AB3B", 4);
  put_be16 (p + 4, (uint16_t) level);
  put_be32 (p + 8, left);
  put_be32 (p + 12, right);
  put_be64 (p + 16, (uint64_t) number * BLOCK / 512);
}

static void
add_record (unsigned number, uint32_t start, uint32_t len)
{
  uint8_t *p = xfs + number * BLOCK;
  unsigned nr = get_be16 (p + 6);

  put_be32 (p + 56 + nr * 8, start);
  put_be32 (p + 60 + nr * 8, len);
  put_be16 (p + 6, (uint16_t) (nr + 1));
}

static void
add_child (unsigned number, uint32_t child)
{
  uint8_t *p = xfs + number * BLOCK;
  unsigned nr = get_be16 (p + 6), most = (BLOCK - 56) / 12;

  put_be32 (p + 56 + most * 8 + nr * 4, child);
  put_be16 (p + 6, (uint16_t) (nr + 1));
}

static void
end_node (unsigned number)
{
  put_crc (xfs + number * BLOCK, BLOCK, 52);
}

static void
put_agf (uint32_t root, uint32_t levels, uint32_t nr_free)
{
  uint8_t *p = xfs + 512;

  memset (p, 0, 512);
  memcpy (p, "XAGF", 4);
  put_be32 (p + 4, 1);
  put_be32 (p + 12, BLOCKS);
  put_be32 (p + 16, root);
  put_be32 (p + 28, levels);
  put_be32 (p + 52, nr_free);
  put_crc (p, 512, 216);
}

static void
put_super (void)
{
  uint8_t *p = xfs;

  memcpy (p, "XFSB", 4);
  put_be32 (p + 4, BLOCK);
  put_be64 (p + 8, BLOCKS);
  put_be64 (p + 48, LOG_BLOCK);
  put_be32 (p + 84, BLOCKS);
  put_be32 (p + 88, 1);
  put_be32 (p + 96, LOG_BLOCKS);
  put_be16 (p + 100, 0xb4a5);
  put_be16 (p + 102, 512);
  p[124] = 12;
  put_crc (p, 512, 224);
}

/* All of the log is of round 3, and the last record is an unmount; then as
 * many blocks are of round 2.
 */
static void
put_log (unsigned nr_old)
{
  unsigned nr = LOG_BLOCKS * BLOCK / 512, head = nr - nr_old;
  uint8_t *log = xfs + LOG_BLOCK * BLOCK, *record;

  memset (log, 0, LOG_BLOCKS * BLOCK);
  for (unsigned i = 0; i < nr; ++i)
    put_be32 (log + i * 512, i < head ? 3 : 2);
  record = log + (head - 2) * 512;
  put_be32 (record, 0xfeedbabe);
  put_be32 (record + 4, 3);
  put_be32 (record + 8, 2);
  put_be32 (record + 12, 512);
  put_be32 (record + 40, 1);
  put_be32 (record + 320, 32768);
  record[512 + 9] = 0x20;
}

/* Root in block 1, leaves in 2, 3, 4; 100 single blocks free in each. */
static void
make_xfs (void)
{
  memset (xfs, 0, sizeof xfs);
  put_super ();
  put_agf (1, 2, 300);
  begin_node (1, 1, UINT32_MAX, UINT32_MAX);
  for (unsigned leaf = 2; leaf <= 4; ++leaf) {
    add_child (1, leaf);
    begin_node (leaf, 0, leaf > 2 ? leaf - 1 : UINT32_MAX,
                leaf < 4 ? leaf + 1 : UINT32_MAX);
    for (unsigned i = 0; i < 100; ++i)
      add_record (leaf, leaf * 900 + i * 2, 1);
    end_node (leaf);
  }
  end_node (1);
  put_log (0);
}

static void
read_xfs (struct fs_used *used)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct err err = ERR_INIT;

  assert_int_equal (block_memory_new ("xfs", xfs, sizeof xfs, &block, &err),
                    0);
  assert_int_equal (fs_used_as (block, "xfs", used, NULL, &err), 0);
}

static void
assert_whole (const char *reason)
{
  CLEANUP_FS_USED struct fs_used used;

  read_xfs (&used);
  assert_int_equal (used.verdict, FS_USED_WHOLE);
  assert_int_equal (used.bytes, sizeof xfs);
  if (strstr (used.reason, reason) == NULL)
    fail_msg ("\"%s\" is not in \"%s\"", reason, used.reason);
}

static void
a_tree_of_two_levels_is_read (void **state)
{
  CLEANUP_FS_USED struct fs_used used;

  (void) state;
  make_xfs ();
  read_xfs (&used);
  assert_string_equal (used.reason, "");
  assert_int_equal (used.verdict, FS_USED_EXACT);
  assert_int_equal (used.bytes, sizeof xfs - 300 * BLOCK);
  assert_int_equal (used.unit, BLOCK);
  for (unsigned i = 0; i < 100; ++i) {
    assert_false (used_map_touches (&used.map, (2700 + i * 2) * BLOCK, BLOCK));
    assert_true (used_map_covers (&used.map, (2701 + i * 2) * BLOCK, BLOCK));
  }
}

static void
the_end_of_the_log_is_found_anywhere (void **state)
{
  (void) state;
  make_xfs ();
  for (unsigned nr_old = 0; nr_old < LOG_BLOCKS * 8 - 3; ++nr_old) {
    CLEANUP_FS_USED struct fs_used used;

    put_log (nr_old);
    read_xfs (&used);
    assert_string_equal (used.reason, "");
  }
}

static void
a_log_to_be_played_is_refused (void **state)
{
  uint8_t *log = xfs + LOG_BLOCK * BLOCK;
  unsigned last = LOG_BLOCKS * 8 - 2;

  (void) state;
  make_xfs ();
  log[(last + 1) * 512 + 9] = 0;        /* another operation */
  assert_whole ("was not played");
  put_log (0);
  put_be32 (log + last * 512 + 40, 2);  /* more than one */
  assert_whole ("was not played");
  put_log (100);                        /* something behind the unmount */
  put_be32 (log + (last - 98) * 512, 3);
  assert_whole ("was not played");
  memset (log, 0, LOG_BLOCKS * BLOCK);
  assert_whole ("was not played");
}

static void
trees_that_do_not_end_are_refused (void **state)
{
  (void) state;
  make_xfs ();                          /* a leaf that is its own neighbour */
  put_be32 (xfs + 3 * BLOCK + 12, 3);
  end_node (3);
  assert_whole ("do not ascend");
  make_xfs ();                          /* a ring */
  put_be32 (xfs + 4 * BLOCK + 12, 2);
  end_node (4);
  assert_whole ("do not ascend");
  make_xfs ();                          /* of empty ones */
  put_be16 (xfs + 2 * BLOCK + 6, 0);
  put_be32 (xfs + 2 * BLOCK + 12, 2);
  end_node (2);
  assert_whole ("is empty");
  make_xfs ();                          /* a root below itself */
  put_be32 (xfs + 1 * BLOCK + 56 + (BLOCK - 56) / 12 * 8, 1);
  end_node (1);
  assert_whole ("not a node of free space");
}

static void
trees_that_contradict_are_refused (void **state)
{
  (void) state;
  make_xfs ();
  put_agf (1, 2, 299);
  assert_whole ("299 blocks are free, its tree 300");
  make_xfs ();
  put_agf (1, 9, 300);
  assert_whole ("not a node");
  make_xfs ();
  put_agf (1, 10, 300);
  assert_whole ("10 levels");
  make_xfs ();
  xfs[3 * BLOCK + 60] ^= 1;
  assert_whole ("checksum or the place of block 3");
  make_xfs ();                          /* the leaf of somewhere else */
  put_be64 (xfs + 3 * BLOCK + 16, 5 * 8);
  end_node (3);
  assert_whole ("the place of block 3");
  make_xfs ();                          /* outside of the group */
  put_be32 (xfs + 4 * BLOCK + 56 + 99 * 8 + 4, 1000);
  end_node (4);
  assert_whole ("do not ascend");
  make_xfs ();                          /* the tree itself is free */
  put_be32 (xfs + 2 * BLOCK + 56, 1);
  end_node (2);
  assert_whole ("headers or its tree");
  make_xfs ();                          /* so is the log */
  put_be32 (xfs + 2 * BLOCK + 56, 70);
  end_node (2);
  assert_whole ("its log is free");
  make_xfs ();
  xfs[600] ^= 1;
  assert_whole ("checksum of the header of group 0");
  make_xfs ();
  xfs[300] ^= 1;
  assert_whole ("checksum of the superblock");
}

static void
features_that_are_not_known_are_refused (void **state)
{
  (void) state;
  for (unsigned at = 212; at <= 220; at += 4) {
    make_xfs ();
    put_be32 (xfs + at, 0x1000);
    put_crc (xfs, 512, 224);
    assert_whole ("features that are not known");
  }
  make_xfs ();
  put_be32 (xfs + 216, 16);             /* needs to be repaired */
  put_crc (xfs, 512, 224);
  assert_whole ("features that are not known");
}

/*---------------------------------------------------------------------------*/

static void
what_can_not_be_read_is_used (void **state)
{
  CLEANUP_BLOCK struct block *block = NULL, *faulty = NULL;
  struct err err = ERR_INIT;
  unsigned nr = 0;

  (void) state;
  make_xfs ();
  assert_int_equal (block_memory_new ("xfs", xfs, sizeof xfs, &block, &err),
                    0);
  faulty = faulty_new (block, 0);
  for (unsigned fail = 0; fail == 0 || fail <= nr; ++fail) {
    CLEANUP_FS_USED struct fs_used used;

    faulty_set (faulty, fail);
    assert_int_equal (fs_used_as (faulty, "xfs", &used, NULL, &err), 0);
    assert_int_equal (used.verdict, fail > 0 ? FS_USED_WHOLE : FS_USED_EXACT);
    if (fail == 0)
      nr = faulty_reads (faulty);
  }
  assert_true (nr > 10);
}

static void
a_job_that_is_canceled_ends (void **state)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct job job = JOB_INIT;
  struct err err = ERR_INIT;
  struct fs_used used;

  (void) state;
  make_xfs ();
  assert_int_equal (block_memory_new ("xfs", xfs, sizeof xfs, &block, &err),
                    0);
  job_cancel (&job);
  assert_int_equal (fs_used_as (block, "xfs", &used, &job, &err), -ECANCELED);
}

static void
what_nobody_knows_is_used (void **state)
{
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_FS_USED struct fs_used used, empty;
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (block_memory_new ("none", NULL, 4096, &block, &err), 0);
  assert_int_equal (fs_used_as (block, "zfs", &used, NULL, &err), 0);
  assert_int_equal (used.verdict, FS_USED_WHOLE);
  assert_int_equal (used.bytes, 4096);
  assert_string_equal (used.kind, "zfs");
  assert_string_equal (used.reason, "what zfs uses is not known");
  block_unref (block);
  block = NULL;
  assert_int_equal (block_memory_new ("empty", NULL, 0, &block, &err), 0);
  assert_int_equal (fs_used (block, &empty, NULL, &err), 0);
  assert_int_equal (empty.bytes, 0);
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    cmocka_unit_test (runs_in_any_order_are_merged),
    cmocka_unit_test (questions_about_a_map_are_answered),
    cmocka_unit_test (bits_become_runs),
    cmocka_unit_test (a_long_list_is_made_short_and_loses_nothing),
    cmocka_unit_test (gaps_and_ends_of_partitions_are_used),
    cmocka_unit_test (overlapping_partitions_use_what_one_of_them_uses),
    cmocka_unit_test (of_a_partition_that_is_left_out_nothing_is_used),
    cmocka_unit_test (a_disk_without_partitions_is_used),
    cmocka_unit_test (partitions_that_do_not_fit_are_refused),
    cmocka_unit_test (a_tree_of_two_levels_is_read),
    cmocka_unit_test (the_end_of_the_log_is_found_anywhere),
    cmocka_unit_test (a_log_to_be_played_is_refused),
    cmocka_unit_test (trees_that_do_not_end_are_refused),
    cmocka_unit_test (trees_that_contradict_are_refused),
    cmocka_unit_test (features_that_are_not_known_are_refused),
    cmocka_unit_test (what_can_not_be_read_is_used),
    cmocka_unit_test (a_job_that_is_canceled_ends),
    cmocka_unit_test (what_nobody_knows_is_used),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
