/* SPDX-License-Identifier: GPL-2.0-or-later */

/* check and repair of VHDXs: for each damage that can be mended, check finds
 * exactly that, and mending_try does the rest (tests/support/mending.h).  Then
 * tables that are not held in memory, and logs that can't be replayed.
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
#include "tests/damage/bad-vhdx.h"
#include "tests/support/counted.h"
#include "tests/support/mending.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"
#include "tests/support/vhdx-maker.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/*--- What can be mended -----------------------------------------------------*/

struct damage {
  const char *name;
  const char *kinds;            /* that check finds, notes and all */
  enum vhdx_base base;
  struct damage_patch patches[4];
  long cut;                     /* bytes off the end; < 0: appended */
  bool is_refused;              /* when it is opened as it is */
  bool leaks;                   /* a MiB of data is at the end */
};

static const struct damage vhdxs[] = {
  { "header 1 is damaged", "vhdx-header", DYN,
    { { VHDX_AT_HEADER_1 + 100, 1, 1 } } },
  { "header 2 is lost", "vhdx-header", DYN,
    { { VHDX_AT_HEADER_2, 0, 4096 } } },
  { "region table 1 is damaged", "vhdx-regions", DYN,
    { { VHDX_AT_REGIONS_1 + 60000, 1, 1 } } },
  { "region table 2 is lost", "vhdx-regions", DYN,
    { { VHDX_AT_REGIONS_2, 0, 65536 } } },
  { "one of each", "vhdx-header vhdx-regions", DYN,
    { { VHDX_AT_HEADER_1, 0, 4096 }, { VHDX_AT_REGIONS_2 + 9, 1, 1 } } },
  { "the identifier is lost", "vhdx-identifier", DYN, { { 0, 0, 8 } }, 0,
    true },
  { "the identifier and a header", "vhdx-identifier vhdx-header", DYN,
    { { 0, 0, 8 }, { VHDX_AT_HEADER_2 + 7, 1, 1 } }, 0, true },
  { "a log to replay", "vhdx-log", LOG },
  { "a log, and a damaged header", "vhdx-header vhdx-log", LOG,
    { { VHDX_AT_HEADER_2 + 100, 1, 1 } } },
  { "a log, and a lost region table", "vhdx-log vhdx-regions", LOG,
    { { VHDX_AT_REGIONS_2, 0, 65536 } } },
  { "a log, and a leak at the end", "vhdx-log leak", LOG, { { 0 } }, 0, false,
    true },
  { "a log, a table, a leak", "vhdx-log vhdx-regions leak", LOG,
    { { VHDX_AT_REGIONS_1 + 9, 1, 1 } }, 0, false, true },
  { "a leak at the end", "leak", DYN, { { 0 } }, 0, false, true },
  { "a part of a MiB at the end", "leak", DYN, { { 0 } }, -1000 },
  { "of a child, header 1 is damaged", "vhdx-header", CHILD,
    { { VHDX_AT_HEADER_1 + 100, 1, 1 } } },
};

#define NR(list) (sizeof (list) / sizeof (list)[0])

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
every_damage_of_a_vhdx_that_can_be_mended_is (void **state)
{
  (void) state;
  for (size_t i = 0; i < NR (vhdxs); ++i) {
    const struct damage *d = &vhdxs[i];
    struct vhdx_maker *m = bad_vhdx_make_good (d->base);
    struct damage_file file = damage_copy (m->data, m->len);
    struct damage_file disk = bad_vhdx_good_disk (d->base);
    struct damage_file base = bad_vhdx_make_parent ();

    damage_write (damage_folder (), "base.vhdx", &base);
    free (base.bytes);
    vhdx_maker_free (m);
    damage_apply (&file, d->patches, 4);
    damage_cut (&file, d->cut);
    if (d->leaks)
      add_leak (&file, 0);
    mend (d, &file, &disk);
  }
}

static void
many_crashes_were_tried (void **state)
{
  (void) state;
  counted (mending_nr_crashes, "crash states", 0, 0);
  assert_true (mending_nr_crashes >= share_of (500));
}

/*--- Tables that are not held -----------------------------------------------*/

#define LARGE (UINT64_C (3) << 40)      /* with blocks of 1 MiB: 24 MiB */

static char *
kinds_of (struct vhdx_maker *m)
{
  const struct damage_file file = { m->data, m->len };

  return mending_kinds (&file, NULL, FINDING_NOTE);
}

/* The reader looks for no overlaps in so large a table, check does. */
static void
overlaps_are_found_in_tables_of_any_size (void **state)
{
  const uint64_t last = LARGE / VHDX_MIB - 1;
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = LARGE });
  CLEANUP_FREE uint8_t *data = calloc (1, VHDX_MIB);
  char *kinds;
  size_t at;

  (void) state;
  vhdx_maker_add_block (m, 7, data);
  at = vhdx_maker_add_block (m, last, data);
  vhdx_maker_finish (m);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "");
  free (kinds);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, last - 1), at, 6);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "vhdx-bat-overlap");
  free (kinds);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, last - 1), m->len, 6);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "vhdx-bat-entry");
  free (kinds);
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, last - 1), at, 5);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "vhdx-bat-entry");
  free (kinds);
  vhdx_maker_free (m);
}

/* The place of a block that is not there any more is not free, and overlaps
 * nothing.
 */
static void
a_block_that_is_gone_may_keep_its_place (void **state)
{
  struct vhdx_maker *m = bad_vhdx_make_good (DYN);
  uint64_t end = m->len;
  char *kinds;

  (void) state;
  for (unsigned b = 0; b < 4; ++b) {
    size_t entry = vhdx_maker_entry (m, b);

    if ((get_le64 (m->data + entry) & 7) == 6)
      vhdx_maker_put_entry (m, entry, get_le64 (m->data + entry) &
                            ~UINT64_C (0xFFFFF), 3);
  }
  assert_int_equal (m->len, end);
  kinds = kinds_of (m);
  assert_string_equal (kinds, "");
  free (kinds);
  vhdx_maker_free (m);
}

/*--- Logs -------------------------------------------------------------------*/

static void
a_log_is_given_up_on_demand_only (void **state)
{
  struct mending_options o = { .parent_path = damage_folder () };
  struct vhdx_maker *m = bad_vhdx_make_good (LOG);
  struct damage_file file = damage_copy (m->data, m->len);
  CLEANUP_FREE char *kinds = NULL;

  (void) state;
  vhdx_maker_free (m);
  memset (file.bytes + VHDX_AT_LOG + 100, 0x55, VHDX_MIB - 100);
  kinds = mending_kinds (&file, NULL, FINDING_REPAIRABLE);
  assert_string_equal (kinds, "vhdx-log");
  assert_int_equal (mending_try (&file, &o, "log"), MENDING_REFUSED);
  o.flags = REPAIR_DISCARD_LOG;
  assert_int_equal (mending_try (&file, &o, "log"), MENDING_DONE);
  free (file.bytes);
}

/* A log that takes block 2, the last one, out of the table if it `frees', and
 * writes: a page of block 0; zeros from the last two pages of block 0 to behind
 * the first two of block 1, whose entry is gone already; a page of block 2; and
 * a page behind it, for which the file grows by `more' bytes.
 */
static struct vhdx_maker *
make_log_with_leaks (bool frees, uint64_t more, struct damage_file *disk)
{
  static uint8_t data[3][VHDX_MIB], table[4096], page[4096];
  struct vhdx_maker *m =
    vhdx_maker_new (&(struct vhdx_spec) { .size = 3 * VHDX_MIB, .id = 1 });
  struct vhdx_change changes[5] = {
    { m->bat_off, table }, { 0, page }, { 0, NULL, 4 * 4096 }, { 0, page },
    { 0, page } };
  size_t at[3];

  memset (page, 0x77, sizeof page);
  for (unsigned b = 0; b < 3; ++b) {
    memset (data[b], 0x10 + (int) b, VHDX_MIB);
    at[b] = vhdx_maker_add_block (m, b, data[b]);
  }
  vhdx_maker_put_entry (m, vhdx_maker_entry (m, 1), 0, 0);
  vhdx_maker_finish (m);
  memcpy (table, m->data + m->bat_off, sizeof table);
  if (frees)
    memset (table + 2 * 8, 0, 8);
  changes[1].off = at[0];
  changes[2].off = at[1] - 2 * 4096;
  changes[3].off = at[2] + 5 * 4096;
  changes[4].off = m->len;
  vhdx_maker_log (m, &(struct vhdx_log_entry) {
      .changes = changes, .nr_changes = more ? 5 : 4,
      .flushed = m->len, .last = m->len + more });
  *disk = (struct damage_file) { calloc (3, VHDX_MIB), 3 * VHDX_MIB };
  assert_non_null (disk->bytes);
  memcpy (disk->bytes, data[0], VHDX_MIB - 2 * 4096);
  memcpy (disk->bytes, page, sizeof page);
  if (!frees) {
    memcpy (disk->bytes + 2 * VHDX_MIB, data[2], VHDX_MIB);
    memcpy (disk->bytes + 2 * VHDX_MIB + 5 * 4096, page, sizeof page);
  }
  return m;
}

/* One repair does both; and nothing is changed twice, as undoing needs it. */
static void
what_leaks_with_a_log_is_mended_with_it (void **state)
{
  (void) state;
  for (unsigned n = 0; n < 4; ++n) {
    const bool frees = n % 2;
    const size_t cut = frees ? 2 * VHDX_MIB : 0;
    CLEANUP_REPAIR_PLAN struct repair_plan plan = REPAIR_PLAN_INIT;
    CLEANUP_CHECK struct check check = CHECK_INIT;
    struct damage_file disk;
    struct vhdx_maker *m = make_log_with_leaks (frees, n / 2 * VHDX_MIB, &disk);
    struct damage_file file = damage_copy (m->data, m->len);
    CLEANUP_BLOCK struct block *block = recorder_new (m->data, m->len);
    const struct mending_options o = { .disk = &disk, .opens_before = true,
                                       .leaks_stay = !frees };
    unsigned nr_punches = 0, nr_cuts = 0;

    assert_int_equal (repair_plan_make (block, NULL, 0, &check, &plan, NULL),
                      0);
    assert_null (plan.refusal);
    for (size_t i = 0; i < plan.steps.len; ++i) {
      const struct repair_step *s = &plan.steps.ptr[i];

      nr_punches += s->kind == REPAIR_PUNCH && s->len == VHDX_MIB;
      nr_cuts += s->kind == REPAIR_RESIZE && s->off == m->len - cut;
      for (size_t j = 0; j < i; ++j) {
        const struct repair_step *t = &plan.steps.ptr[j];

        assert_true (s->kind == REPAIR_RESIZE ? t->off + t->len <= s->off
                     : s->off >= t->off + t->len || s->off + s->len <= t->off);
      }
    }
    /* With block 2, what leaks lies at the end, and goes with it. */
    assert_int_equal (nr_punches, frees ? 0 : 1);
    assert_int_equal (nr_cuts, frees ? 1 : 0);
    assert_int_equal (plan.new_size, m->len - cut);
    assert_int_equal (mending_try (&file, &o, "leaks"), MENDING_DONE);
    free (file.bytes);
    free (disk.bytes);
    vhdx_maker_free (m);
  }
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
    cmocka_unit_test (every_damage_of_a_vhdx_that_can_be_mended_is),
    cmocka_unit_test (many_crashes_were_tried),
    cmocka_unit_test (overlaps_are_found_in_tables_of_any_size),
    cmocka_unit_test (a_block_that_is_gone_may_keep_its_place),
    cmocka_unit_test (a_log_is_given_up_on_demand_only),
    cmocka_unit_test (what_leaks_with_a_log_is_mended_with_it),
  };

  return cmocka_run_group_tests (tests, NULL, remove_folder);
}
