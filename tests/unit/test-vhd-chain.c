/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Finding the parents of differencing VHDs, and refusing what is none. */

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
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "lib/format/vhd/vhd.h"
#include "lib/block/memory.h"
#include "tests/support/vhd-maker.h"

#define BLOCK 4096
#define SIZE (16 * BLOCK)

/* A folder for each test, with folders in it as they are needed. */
static char top[64];

static int
new_folder (void **state)
{
  (void) state;
  strcpy (top, "/tmp/test-vhd.XXXXXX");
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

/* A disk of which block `id` is here and full of its id. */
static void
make (const char *name, const struct vhd_spec *spec)
{
  struct vhd_spec s = *spec;
  struct vhd_maker *m;
  uint8_t data[BLOCK];

  s.size = s.size ? s.size : SIZE;
  s.block_size = BLOCK;
  m = vhd_maker_new (&s);
  memset (data, (int) s.id, sizeof data);
  if (s.type != 2)
    vhd_maker_add_block (m, s.id % 16, NULL, data);
  vhd_maker_finish (m);
  if (s.type == 2)
    memset (m->data + s.id % 16 * BLOCK, (int) s.id, BLOCK);
  vhd_maker_save (m, in_top (name));
  vhd_maker_free (m);
}

static void
make_base (const char *name, unsigned id)
{
  make (name, &(struct vhd_spec) { .type = 3, .id = id });
}

static void
make_child (const char *name, unsigned id, unsigned parent_id,
            const char *code, const char *text)
{
  struct vhd_spec spec = { .type = 4, .id = id, .parent_id = parent_id };

  if (code)
    spec.locators[0] = (struct vhd_spec_locator) { code, text };
  else
    spec.parent_name = text;
  make (name, &spec);
}

static int
open_child (const char *name, const char *parent_path, struct image **img,
            struct report *report, struct err *err)
{
  struct image_options options = { .parent_path = parent_path, .lock = true };

  return image_open (in_top (name), &options, img, report, err);
}

/* Both blocks are there, the other one is zero. */
static void
is_child_1_of_base_2 (struct image *img)
{
  char buf[3 * BLOCK];

  assert_int_equal (image_pread (img, buf, sizeof buf, BLOCK, NULL), 0);
  for (size_t i = 0; i < sizeof buf; ++i)
    assert_int_equal (buf[i], i < BLOCK ? 1 : i < 2 * BLOCK ? 2 : 0);
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
every_kind_of_locator_leads_to_a_parent_beside_the_child (void **state)
{
  static const struct { const char *code, *text; } cases[] = {
    { "W2ru", ".\\base.vhd" }, { "W2ru", "base.vhd" },
    { "W2ru", ".\\sub\\..\\base.vhd" },
    { "W2ru", "..\\elsewhere\\base.vhd" },
    { "W2ku", "C:\\vm\\disks\\base.vhd" }, { "W2ku", ".\\base.vhd" },
    { "W2ku", "\\\\?\\C:\\vm\\base.vhd" },
    { "MacX", "file://./base.vhd" }, { "MacX", "file:///x/base.vhd" },
    { "MacX", "file://localhost/x/y/b%61se.vhd" },
    { "Wi2r", ".\\base.vhd" }, { "Wi2k", "C:\\base.vhd" },
    { NULL, "base.vhd" }, { NULL, "C:\\vm\\base.vhd" },
    { "W2ru", ".\\BASE.vhd" }, { NULL, "Base.VHD" },
  };

  (void) state;
  make_dir ("sub");
  make_base ("base.vhd", 2);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    make_child ("child.vhd", 1, 2, cases[i].code, cases[i].text);
    opens ("child.vhd", NULL);
  }
}

static void
a_parent_in_a_folder_below_is_found (void **state)
{
  (void) state;
  make_dir ("sub");
  make_base ("sub/base.vhd", 2);
  make_child ("child.vhd", 1, 2, "W2ru", ".\\sub\\BASE.vhd");
  opens ("child.vhd", NULL);
  make_child ("child.vhd", 1, 2, "MacX", "file://./sub/base.vhd");
  opens ("child.vhd", NULL);
}

static void
a_parent_elsewhere_needs_parent_path (void **state)
{
  static const char *const codes[] = { "W2ru", "MacX", "W2ku", NULL };
  char path[256];

  (void) state;
  make_dir ("children");
  make_dir ("bases");
  make_dir ("bases/deep");
  make_base ("bases/base.vhd", 2);
  for (size_t i = 0; i < 4; ++i) {
    make_child ("children/child.vhd", 1, 2, codes[i], "../bases/base.vhd");
    is_refused ("children/child.vhd", NULL, -EACCES,
                "leads out of the folder");
    opens ("children/child.vhd", in_top ("bases"));
    snprintf (path, sizeof path, "%s/bases/deep:%s/bases", top, top);
    opens ("children/child.vhd", path);
  }
  /* By its place: the name alone would not do. */
  make_base ("bases/deep/base.vhd", 3);
  assert_int_equal (rename (in_top ("bases/base.vhd"),
                            in_top ("bases/deep/base.vhd")), 0);
  make_child ("children/child.vhd", 1, 2, "W2ru", "..\\bases\\deep\\base.vhd");
  opens ("children/child.vhd", in_top ("bases"));
  is_refused ("children/child.vhd", in_top ("missing"), -ENOENT,
              "parent-path: the folder");
}

static void
an_absolute_path_counts_inside_an_allowed_folder (void **state)
{
  char url[300];

  (void) state;
  make_dir ("children");
  make_dir ("bases");
  make_dir ("bases/deep");
  make_base ("bases/deep/base.vhd", 2);
  snprintf (url, sizeof url, "file://%s", in_top ("bases/deep/base.vhd"));
  make_child ("children/child.vhd", 1, 2, "MacX", url);
  is_refused ("children/child.vhd", NULL, -ENOENT, "is not in ");
  opens ("children/child.vhd", in_top ("bases"));
  /* Its own folder is allowed. */
  make_child ("bases/child.vhd", 1, 2, "MacX", url);
  opens ("bases/child.vhd", NULL);
}

static void
grandparents_are_looked_for_beside_their_child (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  char c;

  (void) state;
  make_dir ("a");
  make_dir ("a/b");
  make_dir ("a/b/c");
  make_child ("a/leaf.vhd", 1, 2, "W2ru", ".\\b\\mid.vhd");
  make_child ("a/b/mid.vhd", 2, 3, "W2ru", ".\\c\\low.vhd");
  make_child ("a/b/c/low.vhd", 3, 4, "W2ru", "..\\base.vhd");
  make_base ("a/b/base.vhd", 4);
  if (open_child ("a/leaf.vhd", NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  for (int i = 1; i <= 4; ++i) {
    assert_int_equal (image_pread (img, &c, 1, (uint64_t) i * BLOCK, NULL),
                      0);
    assert_int_equal (c, i);
  }
}

static void
a_damaged_locator_is_left_out (void **state)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhd_spec spec = {
    .type = 4, .size = SIZE, .block_size = BLOCK, .id = 1, .parent_id = 2,
    .locators = { { "W2ru", ".\\x.vhd" }, { "Mac ", "alias" },
                  { "????", "what" }, { "MacX", "file://./base.vhd" } },
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  struct err err = ERR_INIT;

  (void) state;
  vhd_maker_finish (m);
  put_be64 (m->data + 512 + 576 + 16, UINT64_MAX - 3);
  vhd_maker_sum_header (m);
  vhd_maker_save (m, in_top ("child.vhd"));
  vhd_maker_free (m);
  make_base ("base.vhd", 2);
  if (open_child ("child.vhd", NULL, &img, &report, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "left out"));
}

/* A child of base 2, and a patch to its header: width bytes at off. */
static void
make_patched_child (size_t off, unsigned width, uint64_t value)
{
  struct vhd_spec spec = {
    .type = 4, .size = SIZE, .block_size = BLOCK, .id = 1, .parent_id = 2,
    .parent_name = "base.vhd", .locators = { { "W2ru", ".\\base.vhd" } },
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint8_t data[BLOCK], bytes[8];

  memset (data, 1, sizeof data);
  vhd_maker_add_block (m, 1, NULL, data);
  vhd_maker_finish (m);
  put_be64 (bytes, value);
  memcpy (m->data + 512 + off, bytes + 8 - width, width);
  vhd_maker_sum_header (m);
  vhd_maker_save (m, in_top ("child.vhd"));
  vhd_maker_free (m);
}

static void
the_data_space_of_a_locator_means_nothing (void **state)
{
  /* As sectors, too small, nothing, more than there is. */
  static const uint32_t spaces[] = { 1, 8, 0, 65536, 0x7FFFFFFF, UINT32_MAX };

  (void) state;
  make_base ("base.vhd", 2);
  for (size_t i = 0; i < sizeof spaces / sizeof spaces[0]; ++i) {
    make_patched_child (576 + 4, 4, spaces[i]);
    /* The locator, not the name in the header. */
    opens ("child.vhd", NULL);
  }
}

static void
a_locator_that_can_not_be_is_left_out (void **state)
{
  static const struct { size_t off; unsigned width; uint64_t value; } bad[] = {
    { 8, 4, UINT32_MAX }, { 8, 4, 65537 }, { 16, 8, UINT64_MAX },
    { 16, 8, UINT64_C (1) << 63 }, { 16, 8, 1 << 20 },
  };

  (void) state;
  make_base ("base.vhd", 2);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    make_patched_child (576 + bad[i].off, bad[i].width, bad[i].value);
    if (open_child ("child.vhd", NULL, &img, &report, &err) < 0)
      fail_msg ("%zu: %s", i, err.msg);
    is_child_1_of_base_2 (img);
    assert_int_equal (report.lines.len, 1);
    assert_non_null (strstr (report.lines.ptr[0], "it is left out"));
  }
}

static void
names_match_in_any_case_of_any_alphabet (void **state)
{
  static const struct { const char *file, *name; } cases[] = {
    { "Gr\xC3\xB6\xC3\x9F" "e.vhd", "GR\xC3\x96\xC3\x9F" "E.VHD" },
    { "\xD0\x91\xD0\xB0\xD0\xB7\xD0\xB0.vhd",
      "\xD0\xB1\xD0\x90\xD0\x97\xD0\x90.vhd" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    make_base (cases[i].file, 2);
    make_child ("child.vhd", 1, 2, "W2ru", cases[i].name);
    opens ("child.vhd", NULL);
    make_child ("child.vhd", 1, 2, NULL, cases[i].name);
    opens ("child.vhd", NULL);
    assert_int_equal (unlink (in_top (cases[i].file)), 0);
  }
}

static void
an_unpaired_surrogate_is_no_letter (void **state)
{
  (void) state;
  make_base ("base.vhd", 2);
  make_base ("\xED\xA0\x80" "ase.vhd", 2);     /* what it would be in CESU */
  for (unsigned low = 0; low < 2; ++low) {
    struct vhd_spec spec = {
      .type = 4, .size = SIZE, .block_size = BLOCK, .id = 1, .parent_id = 2,
      .parent_name = "base.vhd",
    };
    struct vhd_maker *m = vhd_maker_new (&spec);

    vhd_maker_finish (m);
    put_be16 (m->data + 512 + 64, low ? 0xDC00 : 0xD800);
    vhd_maker_sum_header (m);
    vhd_maker_save (m, in_top ("child.vhd"));
    vhd_maker_free (m);
    is_refused ("child.vhd", NULL, -ENOENT,
                "the parent ‘\xEF\xBF\xBD" "ase.vhd’ with identity");
  }
}

/*--- Identity ---------------------------------------------------------------*/

static void
a_parent_without_identity_is_refused (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  static const uint8_t zeros[16];

  (void) state;
  for (int both = 0; both < 2; ++both) {
    struct vhd_spec spec = {
      .type = both ? 3 : 4, .size = SIZE, .block_size = BLOCK, .id = 2,
      .parent_name = "base.vhd",
    };
    struct vhd_maker *m = vhd_maker_new (&spec);

    vhd_maker_finish (m);
    if (both) {
      memcpy (m->data + m->footer_off + 68, zeros, 16);
      memcpy (m->data + 68, zeros, 16);
      vhd_maker_sum_footers (m);
    }
    else {
      memcpy (m->data + 512 + 40, zeros, 16);
      vhd_maker_sum_header (m);
    }
    vhd_maker_save (m, in_top (both ? "base.vhd" : "child.vhd"));
    vhd_maker_free (m);
    is_refused ("child.vhd", NULL, -EBADMSG, "header at offset 512 is all "
                "zeros: no file can be known to be the parent");
  }
  /* By itself it may be read. */
  assert_int_equal (open_child ("base.vhd", NULL, &img, NULL, NULL), 0);
}

static void
only_the_identity_makes_a_parent (void **state)
{
  (void) state;
  make_child ("child.vhd", 1, 2, "W2ru", ".\\base.vhd");
  is_refused ("child.vhd", NULL, -ENOENT, "the parent ‘base.vhd’ with "
              "identity 3e454c53-5a61-686f-767d-848b9299a0a7 is not in ");
  make_base ("base.vhd", 3);
  is_refused ("child.vhd", NULL, -ENOENT, "base.vhd, but its identity is "
              "5d646b72-7980-878e-959c-a3aab1b8bfc6, expected "
              "3e454c53-5a61-686f-767d-848b9299a0a7");
  make_dir ("other");
  make_base ("other/base.vhd", 2);
  opens ("child.vhd", in_top ("other"));
}

static void
a_parent_must_be_a_whole_vhd (void **state)
{
  CLEANUP_FREE char *name = strdup (in_top ("base.vhd"));
  int fd;

  (void) state;
  make_child ("child.vhd", 1, 2, "W2ru", ".\\base.vhd");
  fd = open (name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  assert_true (fd >= 0);
  assert_int_equal (ftruncate (fd, 1 << 20), 0);
  is_refused ("child.vhd", NULL, -EBADMSG, "there is no VHD footer");
  make_base ("base.vhd", 2);
  /* Both footers. */
  assert_int_equal (pwrite (fd, "x", 1, 200), 1);
  assert_int_equal (ftruncate (fd, lseek (fd, 0, SEEK_END) - 512), 0);
  is_refused ("child.vhd", NULL, -EBADMSG, "footer at offset 0 has checksum");
  /* The identity is right and something behind it is not. */
  make_base ("base.vhd", 2);
  assert_int_equal (pwrite (fd, "\0\0\0\1", 4, 1536), 4);
  is_refused ("child.vhd", NULL, -EBADMSG,
              "base.vhd: BAT entry 0 (at offset 1536) is sector 1");
  close (fd);
}

static void
a_fixed_parent_must_have_all_its_bytes (void **state)
{
  struct vhd_spec spec = { .type = 2, .id = 2, .size = SIZE };
  uint8_t footer[512];
  int fd;

  (void) state;
  make_child ("child.vhd", 1, 2, "W2ru", ".\\base.vhd");
  make ("base.vhd", &spec);
  opens ("child.vhd", NULL);
  vhd_maker_footer (&spec, footer);
  fd = open (in_top ("base.vhd"), O_RDWR | O_CLOEXEC);
  assert_int_equal (pwrite (fd, footer, 512, SIZE - 512), 512);
  assert_int_equal (ftruncate (fd, SIZE), 0);
  close (fd);
  is_refused ("child.vhd", NULL, -EBADMSG, "but only 65024 are in front");
}

static void
a_wrong_timestamp_only_warns (void **state)
{
  (void) state;
  make_base ("base.vhd", 2);
  for (uint32_t stamp = 0; stamp < 3; ++stamp) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhd_spec spec = {
      .type = 4, .id = 1, .parent_id = 2, .parent_name = "base.vhd",
      .parent_timestamp = stamp < 2 ? stamp : 0x32000000,
    };

    make ("child.vhd", &spec);
    assert_int_equal (open_child ("child.vhd", NULL, &img, &report, NULL), 0);
    is_child_1_of_base_2 (img);
    assert_int_equal (report.lines.len, stamp == 1);
  }
}

static void
checksums_of_parents_can_be_ignored_too (void **state)
{
  struct image_options options = { .ignore_checksums = true };
  CLEANUP_IMAGE struct image *img = NULL;
  int fd;

  (void) state;
  make_child ("child.vhd", 1, 2, "W2ru", ".\\base.vhd");
  make_base ("base.vhd", 2);
  fd = open (in_top ("base.vhd"), O_RDWR | O_CLOEXEC);
  assert_int_equal (pwrite (fd, "xx", 2, 200), 2);
  assert_int_equal (pwrite (fd, "xx", 2, lseek (fd, 0, SEEK_END) - 200), 2);
  assert_int_equal (pwrite (fd, "xx", 2, 1500), 2);
  close (fd);
  is_refused ("child.vhd", NULL, -EBADMSG, "the parent can't be used: ");
  is_refused ("child.vhd", NULL, -EBADMSG, "has checksum");
  assert_int_equal (image_open (in_top ("child.vhd"), &options, &img, NULL,
                                NULL), 0);
  is_child_1_of_base_2 (img);
}

/*--- Escapes ----------------------------------------------------------------*/

static void
no_locator_leads_outside (void **state)
{
  static const struct { const char *code, *text; } cases[] = {
    { "W2ru", "..\\secret.vhd" }, { "W2ru", ".\\..\\secret.vhd" },
    { "W2ru", "sub\\..\\..\\secret.vhd" }, { "W2ru", ".\\link-up.vhd" },
    { "W2ru", ".\\link-abs.vhd" }, { "W2ru", ".\\dir-link\\secret.vhd" },
    { "MacX", "file://../secret.vhd" }, { "MacX", "file://%2E%2E/secret.vhd" },
    { "W2ru", ".\\link-proc\\cwd" }, { NULL, "LINK-UP.vhd" },
    { "W2ru", ".\\loop.vhd" },
  };
  char absolute[300];

  (void) state;
  make_dir ("in");
  make_dir ("in/sub");
  make_base ("secret.vhd", 2);
  snprintf (absolute, sizeof absolute, "%s", in_top ("secret.vhd"));
  assert_int_equal (symlink ("../secret.vhd", in_top ("in/link-up.vhd")), 0);
  assert_int_equal (symlink (absolute, in_top ("in/link-abs.vhd")), 0);
  assert_int_equal (symlink ("..", in_top ("in/dir-link")), 0);
  assert_int_equal (symlink ("/proc/self", in_top ("in/link-proc")), 0);
  assert_int_equal (symlink ("loop.vhd", in_top ("in/loop.vhd")), 0);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    make_child ("in/child.vhd", 1, 2, cases[i].code, cases[i].text);
    is_refused ("in/child.vhd", NULL, strstr (cases[i].text, "loop") ? -ELOOP
                : -EACCES, strstr (cases[i].text, "loop")
                ? "the parent can't be opened: in the folder "
                : "the parent is not in a folder that is allowed: ");
  }
  make_child ("in/child.vhd", 1, 2, "W2ku", absolute);
  is_refused ("in/child.vhd", NULL, -ENOENT, "is not in ");
  /* A link that stays inside is fine. */
  make_base ("in/sub/base.vhd", 2);
  assert_int_equal (symlink ("sub/base.vhd", in_top ("in/link-in.vhd")), 0);
  make_child ("in/child.vhd", 1, 2, "W2ru", ".\\link-in.vhd");
  opens ("in/child.vhd", NULL);
}

static void
a_parent_is_a_regular_file (void **state)
{
  (void) state;
  make_dir ("base.vhd");
  make_child ("child.vhd", 1, 2, "W2ru", ".\\base.vhd");
  is_refused ("child.vhd", NULL, -ENOTSUP, "is not a regular file");
  assert_int_equal (rmdir (in_top ("base.vhd")), 0);
  assert_int_equal (mkfifo (in_top ("base.vhd"), 0600), 0);
  is_refused ("child.vhd", NULL, -ENOTSUP, "is not a regular file");
  assert_int_equal (unlink (in_top ("base.vhd")), 0);
  make_child ("child.vhd", 1, 2, "MacX", "file:///dev/zero");
  is_refused ("child.vhd", "/dev", -ENOTSUP, "is not a regular file");
}

static void
a_child_that_is_not_a_file_has_no_folder (void **state)
{
  struct image_options options = { .parent_path = NULL };
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhd_spec spec = {
    .type = 4, .size = SIZE, .block_size = BLOCK, .id = 1, .parent_id = 2,
    .parent_name = "base.vhd",
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  struct err err = ERR_INIT;
  uint8_t data[BLOCK];

  (void) state;
  memset (data, 1, sizeof data);
  vhd_maker_add_block (m, 1, NULL, data);
  vhd_maker_finish (m);
  make_base ("base.vhd", 2);
  assert_int_equal (block_memory_new (in_top ("child.vhd"), m->data, m->len,
                                      &block, NULL), 0);
  vhd_maker_free (m);
  assert_int_equal (image_open_block (block, &options, &img, NULL, &err),
                    -ENOENT);
  assert_non_null (strstr (err.msg, "the image is not a file"));
  options.parent_path = top;
  if (image_open_block (block, &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  is_child_1_of_base_2 (img);
}

/*--- Chains -----------------------------------------------------------------*/

/* 12 GiB in blocks of 4 KiB: a table of 12 MiB. */
static void
make_with_large_table (const char *name, unsigned type, unsigned id,
                       unsigned parent_id)
{
  struct vhd_spec spec = {
    .type = type, .size = UINT64_C (12) << 30, .block_size = BLOCK, .id = id,
    .parent_id = parent_id, .parent_name = type == 4 ? "base.vhd" : NULL,
  };
  struct vhd_maker *m = vhd_maker_new (&spec);
  uint8_t data[BLOCK];

  memset (data, (int) id, sizeof data);
  vhd_maker_add_block (m, id, NULL, data);
  vhd_maker_finish (m);
  vhd_maker_save (m, in_top (name));
  vhd_maker_free (m);
}

static void
put_entry (const char *name, unsigned index, uint32_t sector)
{
  CLEANUP_CLOSE int fd = open (in_top (name), O_RDWR | O_CLOEXEC);
  uint8_t bytes[4];

  assert_true (fd >= 0);
  put_be32 (bytes, sector);
  assert_int_equal (pwrite (fd, bytes, 4, 1536 + 4 * (off_t) index), 4);
}

/* Of two tables of 12 MiB only one is held.  The other has been checked, and
 * is then read from the file, as can be seen when the file changes.
 */
static void
the_tables_of_a_chain_share_their_room (void **state)
{
  struct image_options options = { .lock = false };
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  char c;

  (void) state;
  make_with_large_table ("child.vhd", 4, 1, 2);
  make_with_large_table ("base.vhd", 3, 2, 0);
  put_entry ("base.vhd", 1 << 20, 1);
  is_refused ("child.vhd", NULL, -EBADMSG, "BAT entry 1048576 ");
  put_entry ("base.vhd", 1 << 20, 0xFFFFFFFF);
  if (image_open (in_top ("child.vhd"), &options, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  for (int i = 0; i < 4; ++i) {
    assert_int_equal (image_pread (img, &c, 1, (uint64_t) i * BLOCK, NULL),
                      0);
    assert_int_equal (c, i == 1 || i == 2 ? i : 0);
  }
  put_entry ("child.vhd", 1 << 20, 1);
  put_entry ("base.vhd", 1 << 20, 1);
  assert_int_equal (image_pread (img, &c, 1, UINT64_C (4) << 30, &err),
                    -EBADMSG);
  assert_non_null (strstr (err.msg, "base.vhd: BAT entry 1048576 "));
}

/* Files 1 … n; n is the base. */
static void
make_chain (unsigned n)
{
  char name[32], parent[32];

  for (unsigned i = 1; i < n; ++i) {
    snprintf (name, sizeof name, "%u.vhd", i);
    snprintf (parent, sizeof parent, ".\\%u.vhd", i + 1);
    make_child (name, i, i + 1, "W2ru", parent);
  }
  snprintf (name, sizeof name, "%u.vhd", n);
  make_base (name, n);
}

static void
chains_of_up_to_64_files_are_read (void **state)
{
  static const unsigned lengths[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 64 };

  (void) state;
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    CLEANUP_IMAGE_INFO struct image_info info;
    unsigned n = lengths[i];
    struct err err = ERR_INIT;

    make_chain (n);
    if (open_child ("1.vhd", NULL, &img, NULL, &err) < 0)
      fail_msg ("%u files: %s", n, err.msg);
    assert_int_equal (image_get_info (img, &info, NULL), 0);
    assert_int_equal (info.layers.len, n);
    assert_string_equal (info.layers.ptr[n - 1].type, "dynamic");
    for (unsigned b = 0; b < 16; ++b) {
      /* The first of those whose number is b modulo 16. */
      unsigned expected = b == 0 ? 16 : b;
      char c;

      assert_int_equal (image_pread (img, &c, 1, b * BLOCK + 9, NULL), 0);
      assert_int_equal (c, expected <= n ? (int) expected : 0);
    }
  }
}

static void
a_chain_of_65_files_is_refused (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;

  (void) state;
  make_chain (65);
  is_refused ("1.vhd", NULL, -ENOTSUP, "longer than 64 files");
  assert_int_equal (open_child ("2.vhd", NULL, &img, NULL, NULL), 0);
}

static void
loops_are_refused (void **state)
{
  (void) state;
  make_child ("a.vhd", 1, 1, "W2ru", ".\\a.vhd");
  is_refused ("a.vhd", NULL, -EBADMSG, "is a parent of itself");
  make_child ("a.vhd", 1, 2, "W2ru", ".\\b.vhd");
  make_child ("b.vhd", 2, 3, "W2ru", ".\\c.vhd");
  make_child ("c.vhd", 3, 1, "W2ru", ".\\a.vhd");
  is_refused ("a.vhd", NULL, -EBADMSG, "is a parent of itself");
  /* The same file under another name. */
  assert_int_equal (link (in_top ("a.vhd"), in_top ("d.vhd")), 0);
  make_child ("c.vhd", 3, 1, "W2ru", ".\\d.vhd");
  is_refused ("a.vhd", NULL, -EBADMSG, "is a parent of itself");
  /* Its parent has the child's own name, in another folder. */
  make_dir ("base");
  make_base ("base/a.vhd", 2);
  make_child ("a.vhd", 1, 2, "W2ku", "C:\\base\\a.vhd");
  opens ("a.vhd", in_top ("base"));
}

static void
beyond_the_end_of_a_smaller_parent_there_are_zeros (void **state)
{
  CLEANUP_EXTENT_LIST struct extent_list list = EXTENT_LIST_INIT;
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  char buf[SIZE];

  (void) state;
  /* Two blocks and a half; the last one is full of 2. */
  make ("base.vhd", &(struct vhd_spec) {
      .type = 3, .id = 2, .size = 2 * BLOCK + BLOCK / 2 });
  make_child ("child.vhd", 1, 2, "W2ru", "base.vhd");
  assert_int_equal (open_child ("child.vhd", NULL, &img, &report, NULL), 0);
  assert_int_equal (report.lines.len, 1);
  assert_int_equal (image_pread (img, buf, SIZE, 0, NULL), 0);
  for (size_t i = 0; i < SIZE; ++i)
    assert_int_equal (buf[i], i < BLOCK ? 0 : i < 2 * BLOCK ? 1
                      : i < 2 * BLOCK + BLOCK / 2 ? 2 : 0);
  assert_int_equal (image_extents (img, SIZE, 0, &list, NULL), 0);
  assert_int_equal (list.v.len, 4);
  assert_int_equal (list.v.ptr[2].layer, 1);
  assert_int_equal (list.v.ptr[2].len, BLOCK / 2);
  assert_int_equal (list.v.ptr[3].kind, EXTENT_HOLE);
}

static void
of_a_parent_all_of_the_current_size_counts (void **state)
{
  struct vhd_spec spec = {
    .type = 3, .id = 15, .creator = "vpc ",
    .cylinders = 1, .heads = 4, .sectors = 17,
  };
  CLEANUP_IMAGE struct image *img = NULL;
  char c;

  (void) state;
  make ("base.vhd", &spec);
  make_child ("child.vhd", 1, 15, "W2ru", "base.vhd");
  assert_int_equal (open_child ("child.vhd", NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_pread (img, &c, 1, SIZE - 1, NULL), 0);
  assert_int_equal (c, 15);
}

static void
a_parent_is_held_against_writers (void **state)
{
  struct image_options rw = { .writable = true, .lock = true };
  CLEANUP_IMAGE struct image *img = NULL, *second = NULL;
  struct err err = ERR_INIT;

  (void) state;
  make ("base.vhd", &(struct vhd_spec) { .type = 2, .id = 2 });
  make_child ("child.vhd", 1, 2, "W2ru", "base.vhd");
  assert_int_equal (open_child ("child.vhd", NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_open (in_top ("base.vhd"), &rw, &second, NULL,
                                &err), -EBUSY);
  image_unref (steal_ptr (&img));
  assert_int_equal (image_open (in_top ("base.vhd"), &rw, &second, NULL,
                                NULL), 0);
  is_refused ("child.vhd", NULL, -EBUSY, "being written by another process");
}

#define TEST(f) cmocka_unit_test_setup_teardown (f, new_folder, remove_folder)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    TEST (every_kind_of_locator_leads_to_a_parent_beside_the_child),
    TEST (a_parent_in_a_folder_below_is_found),
    TEST (a_parent_elsewhere_needs_parent_path),
    TEST (an_absolute_path_counts_inside_an_allowed_folder),
    TEST (grandparents_are_looked_for_beside_their_child),
    TEST (a_damaged_locator_is_left_out),
    TEST (the_data_space_of_a_locator_means_nothing),
    TEST (a_locator_that_can_not_be_is_left_out),
    TEST (names_match_in_any_case_of_any_alphabet),
    TEST (an_unpaired_surrogate_is_no_letter),
    TEST (a_parent_without_identity_is_refused),
    TEST (only_the_identity_makes_a_parent),
    TEST (a_parent_must_be_a_whole_vhd),
    TEST (a_fixed_parent_must_have_all_its_bytes),
    TEST (a_wrong_timestamp_only_warns),
    TEST (checksums_of_parents_can_be_ignored_too),
    TEST (no_locator_leads_outside),
    TEST (a_parent_is_a_regular_file),
    TEST (a_child_that_is_not_a_file_has_no_folder),
    TEST (the_tables_of_a_chain_share_their_room),
    TEST (chains_of_up_to_64_files_are_read),
    TEST (a_chain_of_65_files_is_refused),
    TEST (loops_are_refused),
    TEST (beyond_the_end_of_a_smaller_parent_there_are_zeros),
    TEST (of_a_parent_all_of_the_current_size_counts),
    TEST (a_parent_is_held_against_writers),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
