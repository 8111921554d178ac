/* SPDX-License-Identifier: GPL-2.0-or-later */

/* check and repair of VHDs: for each damage that can be mended, check finds
 * exactly that, and mending_try does the rest (tests/support/mending.h).  Then
 * tables that are not held in memory, and what needs a file.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/file.h"
#include "lib/format/undo.h"
#include "tests/damage/bad-vhd.h"
#include "tests/support/counted.h"
#include "tests/support/mending.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhd-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* The VHDs have their footers at the offsets that bad-vhd.c tells. */
#define DYN_END 35840
#define FIX_END 8192
#define DIFF_END 20480

/*--- What can be mended -----------------------------------------------------*/

struct damage {
  const char *name;
  const char *kinds;            /* that check finds, notes and all */
  enum vhd_base base;
  struct damage_patch patches[4];
  long cut;                     /* bytes off the end; < 0: appended */
  bool sum_footers;             /* checksums are made right again */
  bool is_refused;              /* when it is opened as it is */
  bool leaks;                   /* a MiB of data is in front of the footer */
};

static const struct damage vhds[] = {
  { "the footer is lost", "vhd-footer-end", DYN,
    { { DYN_END, 0, 512 } } },
  { "the footer is cut off", "vhd-footer-end", DYN, { { 0 } }, 512 },
  { "the footer is torn", "vhd-footer-end", DYN, { { 0 } }, 200 },
  { "the footer is damaged", "vhd-footer-end", DYN,
    { { DYN_END + 90, 1, 1 } } },
  { "something follows the footer", "vhd-footer-end", DYN, { { 0 } }, -512 },
  { "much follows the footer", "vhd-footer-end", DYN, { { 0 } }, -100000 },
  { "the copy is lost", "vhd-footer-copy", DYN, { { 0, 0, 512 } } },
  { "the copy is damaged", "vhd-footer-copy", DYN, { { 90, 1, 1 } } },
  { "the copy is another", "vhd-footer-copy", DYN, { { 24, 4, 1 } }, 0, true },
  { "the end is another", "vhd-footer-copy", DYN,
    { { DYN_END + 24, 4, 1 } }, 0, true },
  { "a footer of 511 bytes", "vhd-footer-511", DYN, { { 0 } }, 1 },
  { "a fixed footer of 511 bytes", "vhd-footer-511", FIX, { { 0 } }, 1 },
  { "both lost the place of the header", "vhd-header", DYN,
    { { 16 + 6, 2, 0x0004 }, { DYN_END + 16 + 6, 2, 0x0004 } }, 0, true,
    true },
  { "a byte follows a fixed disk", "vhd-footer-buried", FIX, { { 0 } }, -1,
    false, true },
  { "sectors follow a fixed disk", "vhd-footer-buried", FIX, { { 0 } }, -3584,
    false, true },
  { "a leak at the end", "leak", DYN, { { 0 } }, 0, false, false, true },
  { "a leak, and the copy is damaged", "vhd-footer-copy leak", DYN,
    { { 90, 1, 1 } }, 0, false, false, true },
  { "of a child the footer is lost", "vhd-footer-end", DIFF,
    { { DIFF_END, 0, 512 } } },
  { "tapdisk's footer is lost", "vhd-footer-end", XEN, { { 0 } }, 512 },
};

#define NR(list) (sizeof (list) / sizeof (list)[0])

static void
sum_footer (uint8_t *p)
{
  uint32_t sum = 0;

  put_be32 (p + 64, 0);
  for (size_t i = 0; i < 512; ++i)
    sum += p[i];
  put_be32 (p + 64, ~sum);
}

/* Bytes that nothing names, in front of the last `keep' bytes. */
static void
add_leak (struct damage_file *file, size_t keep)
{
  size_t at = file->len - keep, len = 1024 * 1024;
  uint8_t *bytes = realloc (file->bytes, file->len + len);

  assert_non_null (bytes);
  memmove (bytes + at + len, bytes + at, keep);
  for (size_t i = 0; i < len; ++i)
    bytes[at + i] = (uint8_t) (i * 7 + i / 4096 + 1);
  file->bytes = bytes;
  file->len += len;
}

static void
mend (const struct damage *d, struct damage_file *file,
      struct damage_file *disk)
{
  const struct mending_options o = {
    .parent_path = damage_folder (),
    .disk = disk,
    .opens_before = !d->is_refused,
  };
  CLEANUP_FREE char *kinds = NULL;

  kinds = mending_kinds (file, damage_folder (), FINDING_NOTE);
  if (strcmp (kinds, d->kinds) != 0)
    fail_msg ("%s: check finds “%s”, expected “%s”", d->name, kinds, d->kinds);
  assert_int_equal (mending_try (file, &o, d->name), MENDING_DONE);
  free (file->bytes);
  free (disk->bytes);
}

static void
mend_vhd (const struct damage *d)
{
  struct vhd_maker *m = bad_vhd_make_good (d->base);
  struct damage_file file = damage_copy (m->data, m->len);
  struct damage_file disk = bad_vhd_good_disk (d->base);
  struct vhd_maker *parent = bad_vhd_make_parent ();
  const struct damage_file base = { parent->data, parent->len };

  damage_write (damage_folder (), "base.vhd", &base);
  vhd_maker_free (parent);
  damage_apply (&file, d->patches, 4);
  if (d->sum_footers) {
    sum_footer (file.bytes);
    sum_footer (file.bytes + m->footer_off);
  }
  vhd_maker_free (m);
  damage_cut (&file, d->cut);
  if (d->leaks)
    add_leak (&file, 512);
  mend (d, &file, &disk);
}

static void
every_damage_of_a_vhd_that_can_be_mended_is (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR (vhds); ++i)
    mend_vhd (&vhds[i]);
}

static void
many_crashes_were_tried (void **state)
{
  (void) state;
  counted (mending_nr_crashes, "crash states", 0, 0);
  assert_true (mending_nr_crashes >= share_of (500));
}

/*--- Tables that are not held -----------------------------------------------*/

#define LARGE (UINT64_C (20) << 30)     /* with blocks of 4 KiB: 20 MiB */
#define SMALL_BLOCK 4096

static char *
kinds_of (struct vhd_maker *m)
{
  const struct damage_file file = { m->data, m->len };

  return mending_kinds (&file, NULL, FINDING_NOTE);
}

static void
put_entry (struct vhd_maker *m, size_t index, uint32_t sector)
{
  put_be32 (m->data + m->table_off + 4 * index, sector);
}

/* The reader looks for no overlaps in so large a table, check does. */
static void
overlaps_are_found_in_tables_of_any_size (void **state)
{
  const size_t last = LARGE / SMALL_BLOCK - 1;
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 3, .size = LARGE, .block_size = SMALL_BLOCK, .id = 1 });
  uint8_t data[SMALL_BLOCK] = { 1 };
  uint32_t first, second;
  char *kinds;

  (void) state;
  first = (uint32_t) (vhd_maker_add_block (m, 7, NULL, data) / 512 - 1);
  second = (uint32_t) (vhd_maker_add_block (m, last, NULL, data) / 512 - 1);
  vhd_maker_finish (m);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "");
  free (kinds);
  put_entry (m, last - 1, second);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "vhd-bat-overlap");
  free (kinds);
  /* By a sector, in the other direction. */
  put_entry (m, last - 1, first + 1);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "vhd-bat-overlap");
  free (kinds);
  put_entry (m, last - 1, UINT32_MAX - 1);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "vhd-bat-entry");
  free (kinds);
  vhd_maker_free (m);
}

/* Which two, and what it costs. */
static void
an_overlap_names_both_entries_and_the_disk (void **state)
{
  struct vhd_maker *m = bad_vhd_make_good (DYN);
  CLEANUP_CHECK struct check check = CHECK_INIT;
  CLEANUP_BLOCK struct block *block = NULL;

  (void) state;
  put_entry (m, 3, 4 + 32);     /* block 0 is at sectors 4 to 36 */
  block = vhd_maker_block (m);
  assert_int_equal (image_check_block (block, NULL, 0, &check, NULL), 0);
  assert_int_equal (check.findings.len, 1);
  assert_string_equal (check.findings.ptr[0].structure, "BAT entries 0 and 3");
  assert_int_equal (check.findings.ptr[0].disk_off, 3 * VHD_BLOCK);
  assert_int_equal (check.findings.ptr[0].disk_len, VHD_BLOCK);
  vhd_maker_free (m);
}

/*--- Files ------------------------------------------------------------------*/

/* A hole in the midst of it is none any more once it is punched. */
static void
a_leak_in_the_midst_of_a_file_is_punched (void **state)
{
  CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
  CLEANUP_CHECK struct check before = CHECK_INIT, after = CHECK_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  struct vhd_maker *m = vhd_maker_new (&(struct vhd_spec) {
      .type = 3, .size = 8 << 20, .block_size = 512 << 10, .id = 1 });
  CLEANUP_FREE uint8_t *data = malloc (512 << 10);
  char path[256], undo[256];
  struct err err = ERR_INIT;
  struct damage_file file;

  (void) state;
  memset (data, 7, 512 << 10);
  for (unsigned i = 0; i < 4; ++i)
    vhd_maker_add_block (m, i, NULL, data);
  vhd_maker_finish (m);
  put_entry (m, 1, UINT32_MAX);
  put_entry (m, 2, UINT32_MAX);
  file = damage_copy (m->data, m->len);
  snprintf (path, sizeof path, "%s/leak.vhd", damage_folder ());
  snprintf (undo, sizeof undo, "%s/leak.undo", damage_folder ());
  damage_write (damage_folder (), "leak.vhd", &file);
  assert_int_equal (block_file_open (path, BLOCK_FILE_WRITE, &block, NULL,
                                     NULL), 0);
  assert_int_equal (repair_plan_make (block, NULL, 0, &before, &plan, NULL),
                    0);
  assert_int_equal (before.nr[FINDING_LEAK], 1);
  assert_int_equal (plan.steps.len, 1);
  assert_int_equal (plan.steps.ptr[0].kind, REPAIR_PUNCH);
  if (repair_apply (block, &plan, undo, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (image_check_block (block, NULL, 0, &after, NULL), 0);
  assert_int_equal (after.findings.len, 0);
  assert_int_equal (undo_revert (block, undo, NULL, NULL), 0);
  for (size_t i = 0; i < file.len; ++i) {
    uint8_t byte;

    if (i % 4096 != 0 && i < file.len - 512)
      continue;
    assert_int_equal (block_pread (block, &byte, 1, i, NULL), 0);
    assert_int_equal (byte, file.bytes[i]);
  }
  unlink (undo);
  free (file.bytes);
  vhd_maker_free (m);
}

static int
remove_folder (void **state)
{
  (void) state;
  damage_remove_folder ();
  return 0;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_damage_of_a_vhd_that_can_be_mended_is),
    cmocka_unit_test (many_crashes_were_tried),
    cmocka_unit_test (overlaps_are_found_in_tables_of_any_size),
    cmocka_unit_test (an_overlap_names_both_entries_and_the_disk),
    cmocka_unit_test (a_leak_in_the_midst_of_a_file_is_punched),
  };

  return cmocka_run_group_tests (tests, NULL, remove_folder);
}
