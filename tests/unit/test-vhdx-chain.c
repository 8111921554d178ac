/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Differencing VHDXs: finding their parents, refusing what is none, and
 * reading through them.
 */

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
#include <ftw.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB

/* A folder for each test, with folders in it as they are needed. */
static char top[64];

static int
new_folder (void **state)
{
  (void) state;
  strcpy (top, "/tmp/test-vhdx.XXXXXX");
  return mkdtemp (top) ? 0 : -1;
}

static int
remove_one (const char *path, const struct stat *st, int flag,
            struct FTW *ftw)
{
  (void) st;
  (void) flag;
  (void) ftw;
  return remove (path);
}

static int
remove_folder (void **state)
{
  (void) state;
  return nftw (top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* "NAME in the folder": good until the next but three. */
static const char *
in_top (const char *name)
{
  static char paths[4][256];
  static unsigned next;
  char *path = paths[next++ % 4];

  snprintf (path, sizeof paths[0], "%s/%s", top, name);
  return path;
}

static void
make_dir (const char *name)
{
  assert_int_equal (mkdir (in_top (name), 0755), 0);
}

/* A disk of 8 MiB, of which block `id` is here and full of its id. */
static void
make (const char *name, const struct vhdx_spec *spec)
{
  struct vhdx_spec s = *spec;
  struct vhdx_maker *m;
  uint8_t *data;

  s.size = s.size ? s.size : 8 * MIB;
  m = vhdx_maker_new (&s);
  data = malloc (m->spec.block_size);
  memset (data, (int) s.id, m->spec.block_size);
  vhdx_maker_add_block (m, s.id % m->nr_blocks, data);
  vhdx_maker_finish (m);
  vhdx_maker_save (m, in_top (name));
  vhdx_maker_free (m);
  free (data);
}

static void
make_base (const char *name, unsigned id)
{
  make (name, &(struct vhdx_spec) { .id = id });
}

static void
make_child (const char *name, unsigned id, unsigned parent_id,
            const char *key, const char *value)
{
  make (name, &(struct vhdx_spec) {
      .id = id, .parent_id = parent_id, .locators = { { key, value } } });
}

static int
open_child (const char *name, const char *parent_path, struct image **img,
            struct report *report, struct err *err)
{
  struct image_options options = { .parent_path = parent_path, .lock = true };

  return image_open (in_top (name), &options, img, report, err);
}

static char
byte_at (struct image *img, uint64_t off)
{
  char c;

  assert_int_equal (image_pread (img, &c, 1, off, NULL), 0);
  return c;
}

static void
is_child_1_of_base_2 (struct image *img)
{
  for (unsigned i = 0; i < 8; ++i)
    assert_int_equal (byte_at (img, (i + 1) * MIB - 1),
                      i == 1 || i == 2 ? i : 0);
}

static void
opens (const char *name, const char *parent_path)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  if (open_child (name, parent_path, &img, NULL, &err) < 0)
    fail_msg ("%s: %s", name, err.msg);
  is_child_1_of_base_2 (img);
}

static void
is_refused (const char *name, const char *parent_path, int code,
            const char *msg)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r = open_child (name, parent_path, &img, NULL, &err);

  if (r != code || strstr (err.msg, msg) == NULL)
    fail_msg ("%s: expected %d “%s”, got %d “%s”", name, code, msg, r,
              err.msg);
}

/*--- Finding ----------------------------------------------------------------*/

static void
every_path_leads_to_a_parent_beside_the_child (void **state)
{
  static const struct { const char *key, *value; } cases[] = {
    { "relative_path", ".\\base.vhdx" }, { "relative_path", "base.vhdx" },
    { "relative_path", "..\\elsewhere\\base.vhdx" },
    { "relative_path", ".\\BASE.vhdx" },
    { "absolute_win32_path", "C:\\vm\\disks\\base.vhdx" },
    { "absolute_win32_path", "\\\\?\\C:\\vm\\base.vhdx" },
    { "volume_path",
      "\\\\?\\Volume{8a2b3c4d-0000-0000-0000-100000000000}\\vm\\base.vhdx" },
  };

  (void) state;
  make_base ("base.vhdx", 2);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    make_child ("child.avhdx", 1, 2, cases[i].key, cases[i].value);
    opens ("child.avhdx", NULL);
  }
}

/* Keys are the same in every letter. */
static void
keys_that_are_not_known_are_left_alone (void **state)
{
  struct vhdx_spec spec = {
    .id = 1, .parent_id = 2,
    .locators = {
      { "somebodys_path", ".\\other.vhdx" },
      { "RELATIVE_PATH", ".\\other.vhdx" },
      { "a_key_that_is_longer_than_any_key_that_is_known", "value" },
      { "relative_path", ".\\base.vhdx" },
    },
  };

  (void) state;
  make_base ("other.vhdx", 2);
  make ("child.avhdx", &spec);
  is_refused ("child.avhdx", NULL, -ENOENT, "the parent ‘base.vhdx’");
  make_base ("base.vhdx", 2);
  opens ("child.avhdx", NULL);
}

/* Both are the parent; the entries come in the other order. */
static void
the_relative_path_comes_first (void **state)
{
  static const char *const keys[] = {
    "absolute_win32_path", "volume_path", "relative_path"
  };
  struct vhdx_spec spec = { .id = 1, .parent_id = 2 };

  (void) state;
  make_base ("0.vhdx", 2);
  make_base ("1.vhdx", 2);
  make_base ("2.vhdx", 2);
  spec.locators[0] = (struct vhdx_spec_locator) { keys[0], "C:\\0.vhdx" };
  for (int i = 1; i < 3; ++i) {
    CLEANUP_IMAGE_INFO struct image_info info = { 0 };
    CLEANUP_IMAGE struct image *img = NULL;
    const char *value = i == 1 ? "C:\\1.vhdx" : ".\\2.vhdx";

    spec.locators[i] = (struct vhdx_spec_locator) { keys[i], value };
    make ("child.avhdx", &spec);
    assert_int_equal (open_child ("child.avhdx", NULL, &img, NULL, NULL), 0);
    assert_int_equal (image_get_info (img, &info, NULL), 0);
    assert_non_null (strstr (info.layers.ptr[1].name,
                             strchr (value, '\\') + 1));
  }
}

/* Merging may leave it behind. */
static void
the_locator_of_a_disk_without_a_parent_means_nothing (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = 8 * MIB, .id = 1, .parent_id = 2,
      .locators = { { "relative_path", ".\\base.vhdx" } } });
  struct err err = ERR_INIT;

  (void) state;
  vhdx_maker_finish (m);
  vhdx_maker_save (m, in_top ("child.avhdx"));
  is_refused ("child.avhdx", NULL, -ENOENT, "base.vhdx");
  m->data[m->metadata_off + VHDX_ITEM_PARAMETERS + 4] &= ~2;
  memset (m->data + m->metadata_off + VHDX_ITEM_LOCATOR, 0, 20);
  vhdx_maker_save (m, in_top ("child.avhdx"));
  if (open_child ("child.avhdx", NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (byte_at (img, 2 * MIB), 0);
  vhdx_maker_free (m);
}

static void
a_parent_elsewhere_needs_parent_path (void **state)
{
  (void) state;
  make_dir ("children");
  make_dir ("bases");
  make_base ("bases/base.vhdx", 2);
  make_child ("children/child.avhdx", 1, 2, "relative_path",
              "..\\bases\\base.vhdx");
  is_refused ("children/child.avhdx", NULL, -EACCES,
              "leads out of the folder");
  opens ("children/child.avhdx", in_top ("bases"));
  make_child ("children/child.avhdx", 1, 2, "absolute_win32_path",
              "D:\\bases\\base.vhdx");
  is_refused ("children/child.avhdx", NULL, -ENOENT,
              "the parent ‘base.vhdx’ with identity 0204060a-1234-4321-89ab-"
              "000000000002 is not in ");
  opens ("children/child.avhdx", in_top ("bases"));
  /* A link leads no further than a path. */
  assert_int_equal (symlink ("../bases/base.vhdx",
                             in_top ("children/base.vhdx")), 0);
  is_refused ("children/child.avhdx", NULL, -EACCES,
              "leads out of the folder");
}

static void
grandparents_are_looked_for_beside_their_child (void **state)
{
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  (void) state;
  make_dir ("a");
  make_dir ("a/b");
  make_dir ("a/b/c");
  make_child ("a/leaf.avhdx", 1, 2, "relative_path", ".\\b\\mid.avhdx");
  make_child ("a/b/mid.avhdx", 2, 3, "relative_path", ".\\c\\low.avhdx");
  make_child ("a/b/c/low.avhdx", 3, 4, "relative_path", "..\\base.vhdx");
  make_base ("a/b/base.vhdx", 4);
  if (open_child ("a/leaf.avhdx", NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  for (unsigned i = 1; i <= 4; ++i)
    assert_int_equal (byte_at (img, i * MIB), i);
  assert_int_equal (image_get_info (img, &info, NULL), 0);
  assert_string_equal (info.type, "differencing");
  assert_int_equal (info.layers.len, 4);
  assert_string_equal (info.layers.ptr[2].type, "differencing");
  assert_string_equal (info.layers.ptr[3].type, "dynamic");
}

/*--- Identity ---------------------------------------------------------------*/

static void
only_the_identity_of_the_data_makes_a_parent (void **state)
{
  (void) state;
  make_child ("child.avhdx", 1, 2, "relative_path", ".\\base.vhdx");
  make_base ("base.vhdx", 3);
  is_refused ("child.avhdx", NULL, -ENOENT, "base.vhdx, but the identity of "
              "its data is 0306090f-1234-4321-89ab-000000000003, expected "
              "0204060a-1234-4321-89ab-000000000002");
  make_dir ("other");
  make_base ("other/base.vhdx", 2);
  opens ("child.avhdx", in_top ("other"));
}

static void
either_linkage_will_do_and_nothing_is_none (void **state)
{
  struct vhdx_spec spec = {
    .id = 1, .parent_id = 9, .parent_id2 = 2,
    .locators = { { "relative_path", ".\\base.vhdx" } },
  };

  (void) state;
  make_base ("base.vhdx", 2);
  make ("child.avhdx", &spec);
  opens ("child.avhdx", NULL);
  spec.parent_id2 = 8;
  make ("child.avhdx", &spec);
  is_refused ("child.avhdx", NULL, -ENOENT, "the identity of its data is");
  /* Zeros or nothing as the second one say nothing about a parent whose
   * identity is zero.
   */
  spec.parent_id2 = 0;
  make_base ("base.vhdx", 2);
  for (int i = 0; i < 2; ++i) {
    CLEANUP_CLOSE int fd = open (in_top ("base.vhdx"), O_RDWR | O_CLOEXEC);
    struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
        .size = 8 * MIB });

    memset (m->data + VHDX_AT_HEADER_1 + 32, 0, 16);
    memset (m->data + VHDX_AT_HEADER_2 + 32, 0, 16);
    vhdx_maker_finish (m);
    vhdx_maker_save (m, in_top ("base.vhdx"));
    vhdx_maker_free (m);
    spec.locators[1] = (struct vhdx_spec_locator) { "parent_linkage2", i ? ""
      : "{00000000-0000-0000-0000-000000000000}" };
    make ("child.avhdx", &spec);
    is_refused ("child.avhdx", NULL, -ENOENT, "the identity of its data is "
                "00000000-0000-0000-0000-000000000000, expected");
  }
}

static void
a_parent_must_be_a_whole_vhdx (void **state)
{
  CLEANUP_CLOSE int fd = -1;

  (void) state;
  make_child ("child.avhdx", 1, 2, "relative_path", ".\\base.vhdx");
  make_base ("base.vhdx", 2);
  fd = open (in_top ("base.vhdx"), O_RDWR | O_CLOEXEC);
  assert_true (fd >= 0);
  /* The identity is right and something behind it is not. */
  assert_int_equal (pwrite (fd, "\1", 1, 2 * MIB), 1);
  is_refused ("child.avhdx", NULL, -EBADMSG, "no metadata table");
  assert_int_equal (ftruncate (fd, 0), 0);
  assert_int_equal (ftruncate (fd, 4 * MIB), 0);
  is_refused ("child.avhdx", NULL, -EBADMSG, "no VHDX file identifier");
}

static void
sectors_must_have_the_size_of_the_parents (void **state)
{
  (void) state;
  make_child ("child.avhdx", 1, 2, "relative_path", ".\\base.vhdx");
  make ("base.vhdx", &(struct vhdx_spec) { .id = 2, .logical = 4096 });
  is_refused ("child.avhdx", NULL, -EBADMSG, "base.vhdx: has sectors of 4096 "
              "bytes, but its child ");
  make ("child.avhdx", &(struct vhdx_spec) {
      .id = 1, .parent_id = 2, .logical = 4096,
      .locators = { { "relative_path", ".\\base.vhdx" } } });
  opens ("child.avhdx", NULL);
}

static void
beyond_the_end_of_a_smaller_parent_there_are_zeros (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  uint8_t buf[4096];

  (void) state;
  /* Block 2 of 2 MiB is cut in the middle. */
  make ("base.vhdx", &(struct vhdx_spec) {
      .id = 2, .size = 5 * MIB, .block_size = 2 * MIB });
  make_child ("child.avhdx", 1, 2, "relative_path", ".\\base.vhdx");
  assert_int_equal (open_child ("child.avhdx", NULL, &img, &report, NULL), 0);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "has a disk of 8388608 bytes, "
                           "its parent "));
  assert_int_equal (image_pread (img, buf, sizeof buf, 5 * MIB - 2048, NULL),
                    0);
  for (size_t i = 0; i < sizeof buf; ++i)
    assert_int_equal (buf[i], i < 2048 ? 2 : 0);
  assert_int_equal (image_extents (img, 8 * MIB, 0, &list, NULL), 0);
  assert_int_equal (list.v.len, 5);
  assert_int_equal (list.v.ptr[3].kind, EXTENT_DATA);
  assert_int_equal (list.v.ptr[3].layer, 1);
  assert_int_equal (list.v.ptr[3].len, MIB);
  assert_int_equal (list.v.ptr[4].kind, EXTENT_HOLE);
  assert_int_equal (list.v.ptr[4].len, 3 * MIB);
}

static void
a_larger_parent_shows_what_the_child_has_room_for (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;

  (void) state;
  make ("base.vhdx", &(struct vhdx_spec) { .id = 2, .size = 16 * MIB });
  make_child ("child.avhdx", 1, 2, "relative_path", ".\\base.vhdx");
  assert_int_equal (open_child ("child.avhdx", NULL, &img, &report, NULL), 0);
  assert_int_equal (report.lines.len, 1);
  assert_int_equal (image_size (img), 8 * MIB);
  is_child_1_of_base_2 (img);
}

/* A parent that was not closed properly, too, keeps its file as it is. */
static void
the_log_of_a_parent_is_replayed (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_maker *m = vhdx_maker_new (&(struct vhdx_spec) {
      .size = 8 * MIB, .id = 2 });
  uint8_t page[4096];
  struct vhdx_change change = { 0, page, 0 };
  uint8_t *data = calloc (1, MIB);

  (void) state;
  memset (page, 7, sizeof page);
  change.off = vhdx_maker_add_block (m, 2, data);
  vhdx_maker_finish (m);
  vhdx_maker_log (m, &(struct vhdx_log_entry) { .changes = &change,
                                                .nr_changes = 1 });
  vhdx_maker_save (m, in_top ("base.vhdx"));
  make_child ("child.avhdx", 1, 2, "relative_path", ".\\base.vhdx");
  assert_int_equal (open_child ("child.avhdx", NULL, &img, &report, NULL), 0);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "base.vhdx: was not closed"));
  assert_int_equal (byte_at (img, 2 * MIB + 4095), 7);
  assert_int_equal (byte_at (img, 2 * MIB + 4096), 0);
  vhdx_maker_free (m);
  free (data);
}

/*--- Chains -----------------------------------------------------------------*/

/* Files 1 … n; n is the base. */
static void
make_chain (unsigned n)
{
  char name[32], parent[32];

  for (unsigned i = 1; i < n; ++i) {
    snprintf (name, sizeof name, "%u.vhdx", i);
    snprintf (parent, sizeof parent, ".\\%u.vhdx", i + 1);
    make_child (name, i, i + 1, "relative_path", parent);
  }
  snprintf (name, sizeof name, "%u.vhdx", n);
  make_base (name, n);
}

static void
chains_of_up_to_64_files_are_read (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL, *shorter = NULL;
  struct err err = ERR_INIT;

  (void) state;
  make_chain (64);
  if (open_child ("1.vhdx", NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  for (unsigned b = 0; b < 8; ++b)
    assert_int_equal (byte_at (img, b * MIB + 9), b == 0 ? 8 : b);
  make_chain (65);
  is_refused ("1.vhdx", NULL, -ENOTSUP, "longer than 64 files");
  assert_int_equal (open_child ("2.vhdx", NULL, &shorter, NULL, NULL), 0);
}

static void
loops_are_refused (void **state)
{
  (void) state;
  make_child ("a.vhdx", 1, 1, "relative_path", ".\\a.vhdx");
  is_refused ("a.vhdx", NULL, -EBADMSG, "is a parent of itself");
  make_child ("a.vhdx", 1, 2, "relative_path", ".\\b.vhdx");
  make_child ("b.vhdx", 2, 3, "relative_path", ".\\c.vhdx");
  make_child ("c.vhdx", 3, 1, "relative_path", ".\\a.vhdx");
  is_refused ("a.vhdx", NULL, -EBADMSG, "is a parent of itself");
}

static void
a_parent_is_held_against_writers (void **state)
{
  struct image_options rw = {
    .format = "raw", .writable = true, .lock = true
  };
  CLEANUP_IMAGE struct image *img = NULL, *second = NULL;

  (void) state;
  make_base ("base.vhdx", 2);
  make_child ("child.avhdx", 1, 2, "relative_path", "base.vhdx");
  assert_int_equal (open_child ("child.avhdx", NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_open (in_top ("base.vhdx"), &rw, &second, NULL,
                                NULL), -EBUSY);
  image_unref (steal_ptr (&img));
  assert_int_equal (image_open (in_top ("base.vhdx"), &rw, &second, NULL,
                                NULL), 0);
  is_refused ("child.avhdx", NULL, -EBUSY, "being written by another process");
}

/* Tables that are too big for memory: behind another layer, in the leaf, and
 * one that is small enough but not beside another one.
 */
static void
tables_that_are_not_held_are_read_in_chains (void **state)
{
  static const uint64_t sizes[] = { UINT64_C (3) << 40,
                                    UINT64_C (1200) << 30 };

  (void) state;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_spec spec = { .id = 3, .size = sizes[i] };
    uint64_t nr = sizes[i] / MIB, at;

    make ("base.vhdx", &spec);
    spec = (struct vhdx_spec) {
      .id = 5000, .size = sizes[i], .parent_id = 3,
      .locators = { { "relative_path", "base.vhdx" } },
    };
    make ("mid.avhdx", &spec);
    spec.id = (unsigned) nr - 1;
    spec.parent_id = 5000;
    spec.locators[0].value = "mid.avhdx";
    make ("child.avhdx", &spec);
    assert_int_equal (open_child ("child.avhdx", NULL, &img, NULL, NULL), 0);
    assert_int_equal (byte_at (img, 3 * MIB), 3);
    assert_int_equal (byte_at (img, UINT64_C (5000) * MIB), (char) 5000);
    assert_int_equal (byte_at (img, sizes[i] - 1), (char) (nr - 1));
    assert_int_equal (byte_at (img, 2 * MIB), 0);
    assert_int_equal (image_extents (img, sizes[i], 0, &list, NULL), 0);
    assert_int_equal (list.v.len, 6);
    at = list.v.ptr[1].off / MIB;
    assert_int_equal (at, 3);
    assert_int_equal (list.v.ptr[1].layer, 2);
    assert_int_equal (list.v.ptr[3].off, UINT64_C (5000) * MIB);
    assert_int_equal (list.v.ptr[3].layer, 1);
    assert_int_equal (list.v.ptr[5].off, (nr - 1) * MIB);
  }
}

/*--- Bitmaps, against a model -----------------------------------------------*/

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* The blocks around the end of the first chunk; others would take long. */
struct model {
  uint64_t first, nr;           /* blocks */
  uint64_t base_nr;             /* of them, that the base has */
  unsigned nr_layers;
  uint32_t block_size, sector;
  uint8_t *disk;                /* these blocks */
  uint8_t *kinds;               /* of each sector: its layer, or ... */
};

enum { KIND_HOLE = 0xFF, KIND_ZERO = 0xFE };

static void
random_bytes (uint8_t *p, size_t len, uint64_t *rnd)
{
  for (size_t i = 0; i < len; i += 8)
    put_le64 (p + i, next_random (rnd));
}

/* Sectors of a block that are here, the others have other bytes: no one may
 * see them.
 */
static void
paint_partial (struct vhdx_maker *m, struct model *mo, uint64_t i,
               unsigned layer, uint64_t *rnd)
{
  uint64_t per_block = mo->block_size / mo->sector;
  uint8_t *data = malloc (mo->block_size);

  random_bytes (data, mo->block_size, rnd);
  vhdx_maker_add_partial (m, mo->first + i, data);
  for (uint64_t s = 0; s < per_block;) {
    uint64_t n = min_u64 (1 + next_random (rnd) % 700, per_block - s);
    uint64_t at = i * per_block + s;

    if (next_random (rnd) % 2) {
      vhdx_maker_set_bits (m, (mo->first + i) * per_block + s, n);
      memcpy (mo->disk + at * mo->sector, data + s * mo->sector,
              n * mo->sector);
      memset (mo->kinds + at, (int) layer, n);
    }
    /* Behind the end of its parent this layer answers for itself. */
    else if (layer + 2 == mo->nr_layers && i >= mo->base_nr)
      memset (mo->kinds + at, KIND_ZERO, n);
    s += n;
  }
  free (data);
}

static void
paint_block (struct vhdx_maker *m, struct model *mo, uint64_t i,
             unsigned layer, uint64_t *rnd)
{
  uint64_t per_block = mo->block_size / mo->sector;
  uint8_t *disk = mo->disk + i * mo->block_size;
  unsigned state = next_random (rnd) % 8;

  switch (state) {
  case 0: case 5:
    break;
  case 1: case 2: case 3:
    vhdx_maker_put_entry (m, vhdx_maker_entry (m, mo->first + i), 0, state);
    memset (disk, 0, mo->block_size);
    memset (mo->kinds + i * per_block, KIND_HOLE, per_block);
    break;
  case 4:
    random_bytes (disk, mo->block_size, rnd);
    memset (mo->kinds + i * per_block, (int) layer, per_block);
    vhdx_maker_add_block (m, mo->first + i, disk);
    break;
  default:
    if (m->spec.parent_id)
      paint_partial (m, mo, i, layer, rnd);
  }
}

static void
paint_layer (struct model *mo, unsigned layer, uint64_t *rnd)
{
  bool is_base = layer + 1 == mo->nr_layers;
  uint64_t nr = is_base ? mo->base_nr : mo->nr;
  char name[16], parent[16];
  struct vhdx_spec spec = {
    .size = (mo->first + nr) * mo->block_size, .id = layer + 1,
    .block_size = mo->block_size, .logical = mo->sector,
    .parent_id = is_base ? 0 : layer + 2,
  };
  struct vhdx_maker *m;

  snprintf (name, sizeof name, "%u.avhdx", layer);
  snprintf (parent, sizeof parent, "%u.avhdx", layer + 1);
  spec.locators[0] = (struct vhdx_spec_locator) { "relative_path", parent };
  m = vhdx_maker_new (&spec);
  for (uint64_t i = 0; i < nr; ++i)
    paint_block (m, mo, i, layer, rnd);
  vhdx_maker_finish (m);
  vhdx_maker_save (m, in_top (name));
  vhdx_maker_free (m);
}

static void
compare_reads (struct image *img, const struct model *mo, uint64_t *rnd)
{
  uint64_t size = mo->nr * mo->block_size, start = mo->first * mo->block_size;
  uint8_t *buf = malloc (size);

  for (int i = 0; i < 40; ++i) {
    uint64_t off = i == 0 ? 0 : next_random (rnd) % size;
    uint64_t len = i == 0 ? size : 1 + next_random (rnd) %
      (i % 2 ? size : 20000);

    len = min_u64 (len, size - off);
    assert_int_equal (image_pread (img, buf, len, start + off, NULL), 0);
    assert_memory_equal (buf, mo->disk + off, len);
  }
  free (buf);
}

static void
compare_extents (struct image *img, const struct model *mo)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  uint64_t size = mo->nr * mo->block_size, start = mo->first * mo->block_size;

  assert_int_equal (image_extents (img, size, start, &list, NULL), 0);
  assert_int_equal (extent_list_end (&list, 0), start + size);
  for (size_t i = 0; i < list.v.len; ++i) {
    const struct extent *e = &list.v.ptr[i];
    uint8_t kind = e->kind == EXTENT_HOLE ? KIND_HOLE
      : e->kind == EXTENT_ZERO ? KIND_ZERO : (uint8_t) e->layer;
    uint64_t s = (e->off - start) / mo->sector;

    assert_int_equal (e->off % mo->sector, 0);
    for (uint64_t k = 0; k < e->len / mo->sector; ++k)
      if (mo->kinds[s + k] != kind)
        fail_msg ("sector %llu is %d, expected %d",
                  (unsigned long long) (s + k), kind, mo->kinds[s + k]);
  }
}

static void
random_chains_read_as_they_were_made (void **state)
{
  const char *given = getenv ("VHDX_TEST_SEED");
  uint64_t seed = given ? strtoull (given, NULL, 0)
                        : (uint64_t) time (NULL) * 1000003 + 1;
  uint64_t rnd = seed;

  (void) state;
  print_message ("VHDX_TEST_SEED=%llu\n", (unsigned long long) seed);
  for (int round = 0; round < 6; ++round) {
    uint32_t sector = round % 2 ? 4096 : 512;
    uint32_t block_size = MIB << next_random (&rnd) % 2;
    uint64_t ratio = (UINT64_C (1) << 23) * sector / block_size;
    unsigned nr_layers = 1 + next_random (&rnd) % 3;
    struct model mo = {
      .first = ratio - 4, .nr = 8, .base_nr = nr_layers > 1 ? 5 + round % 4
      : 8, .nr_layers = nr_layers, .block_size = block_size, .sector = sector,
    };
    size_t nr_sectors = mo.nr * block_size / sector;
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    mo.disk = calloc (1, mo.nr * block_size);
    mo.kinds = malloc (nr_sectors);
    memset (mo.kinds, KIND_HOLE, nr_sectors);
    for (unsigned layer = nr_layers; layer-- > 0;)
      paint_layer (&mo, layer, &rnd);
    if (open_child ("0.avhdx", NULL, &img, NULL, &err) < 0)
      fail_msg ("%s", err.msg);
    compare_reads (img, &mo, &rnd);
    compare_extents (img, &mo);
    free (mo.disk);
    free (mo.kinds);
  }
}

#define TEST(f) cmocka_unit_test_setup_teardown (f, new_folder, remove_folder)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (every_path_leads_to_a_parent_beside_the_child),
    TEST (the_relative_path_comes_first),
    TEST (keys_that_are_not_known_are_left_alone),
    TEST (the_locator_of_a_disk_without_a_parent_means_nothing),
    TEST (a_parent_elsewhere_needs_parent_path),
    TEST (grandparents_are_looked_for_beside_their_child),
    TEST (only_the_identity_of_the_data_makes_a_parent),
    TEST (either_linkage_will_do_and_nothing_is_none),
    TEST (a_parent_must_be_a_whole_vhdx),
    TEST (sectors_must_have_the_size_of_the_parents),
    TEST (beyond_the_end_of_a_smaller_parent_there_are_zeros),
    TEST (a_larger_parent_shows_what_the_child_has_room_for),
    TEST (the_log_of_a_parent_is_replayed),
    TEST (chains_of_up_to_64_files_are_read),
    TEST (loops_are_refused),
    TEST (a_parent_is_held_against_writers),
    TEST (tables_that_are_not_held_are_read_in_chains),
    TEST (random_chains_read_as_they_were_made),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
