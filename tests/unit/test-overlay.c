/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is written to a disk of any kind goes into an overlay, which belongs to
 * that disk and to no other.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/fdio.h"
#include "lib/format/create.h"
#include "lib/format/image.h"
#include "lib/format/overlay.h"

#define MIB (1024 * 1024)
#define DISK (5 * MIB + 700)    /* no whole sector at its end */
#define LARGE (40 * MIB)        /* of which samples are taken */

static char folder[64];

static const char *
in_folder (const char *name)
{
  static char paths[4][128];
  static unsigned next;
  char *path = paths[next++ % 4];

  snprintf (path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

/* A raw disk of which byte n is a function of n and seed. */
static void
make_raw (const char *name, size_t size, unsigned seed)
{
  int fd = open (in_folder (name), O_RDWR | O_CREAT | O_TRUNC, 0644);
  uint8_t *bytes = malloc (size);

  assert_true (fd >= 0);
  assert_non_null (bytes);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = (uint8_t) (i * 7 + i / 512 + seed);
  assert_int_equal (fd_pwrite (fd, bytes, size, 0, NULL), 0);
  free (bytes);
  close (fd);
}

static int
try_open (const char *name, const char *overlay, bool writable,
          struct image **img, struct report *report, struct err *err)
{
  const struct image_options options = {
    .overlay = overlay ? in_folder (overlay) : NULL,
    .writable = writable, .lock = true,
  };

  return image_open (in_folder (name), &options, img, report, err);
}

static struct image *
open_it (const char *name, const char *overlay, bool writable)
{
  struct err err = ERR_INIT;
  struct image *img;

  if (try_open (name, overlay, writable, &img, NULL, &err) < 0)
    fail_msg ("%s: %s", name, err.msg);
  return img;
}

static void
assert_bytes (struct image *img, uint64_t off, size_t len, uint8_t value)
{
  uint8_t *buf = malloc (len);

  assert_int_equal (image_pread (img, buf, len, off, NULL), 0);
  for (size_t i = 0; i < len; ++i)
    if (buf[i] != value)
      assert_int_equal (buf[i], value);
  free (buf);
}

/* As make_raw made it. */
static void
assert_original (struct image *img, uint64_t off, size_t len, unsigned seed)
{
  uint8_t *buf = malloc (len);

  assert_int_equal (image_pread (img, buf, len, off, NULL), 0);
  for (size_t i = 0; i < len; ++i) {
    uint8_t byte = (uint8_t) ((off + i) * 7 + (off + i) / 512 + seed);

    if (buf[i] != byte)
      assert_int_equal (buf[i], byte);
  }
  free (buf);
}

static void
write_value (struct image *img, uint64_t off, size_t len, uint8_t value)
{
  uint8_t *buf = malloc (len);
  struct err err = ERR_INIT;

  memset (buf, value, len);
  if (image_pwrite (img, buf, len, off, 0, &err) < 0)
    fail_msg ("writing: %s", err.msg);
  free (buf);
}

static void
write_and_look (const char *overlay, const char *format)
{
  struct image *img;

  make_raw ("disk.img", DISK, 0);
  img = open_it ("disk.img", overlay, true);
  assert_string_equal (image_format (img), format);
  assert_int_equal (image_size (img), (DISK + 511) / 512 * 512);
  write_value (img, 1000, 3000, 0xAA);
  assert_original (img, 0, 1000, 0);
  assert_bytes (img, 1000, 3000, 0xAA);
  assert_original (img, 4000, DISK - 4000, 0);
  /* The rest of the last sector. */
  assert_bytes (img, DISK, image_size (img) - DISK, 0);
  image_unref (img);
  img = open_it ("disk.img", NULL, false);
  assert_original (img, 0, DISK, 0);
  image_unref (img);
  img = open_it ("disk.img", overlay, false);
  assert_bytes (img, 1000, 3000, 0xAA);
  assert_original (img, 4000, DISK - 4000, 0);
  image_unref (img);
  /* By itself. */
  img = open_it (overlay, NULL, false);
  assert_bytes (img, 1000, 3000, 0xAA);
  assert_original (img, 4000, DISK - 4000, 0);
  image_unref (img);
}

static void
what_is_written_is_in_the_overlay_and_nowhere_else (void **state)
{
  (void) state;
  write_and_look ("one.vhd", "vhd");
  write_and_look ("one.vhdx", "vhdx");
}

static void
an_overlay_that_is_not_there_reads_as_empty (void **state)
{
  struct image *img;

  (void) state;
  make_raw ("disk.img", DISK, 0);
  img = open_it ("disk.img", "none.vhd", false);
  assert_original (img, 0, DISK, 0);
  assert_null (image_readonly_reason (img));
  image_unref (img);
  assert_int_not_equal (access (in_folder ("none.vhd"), F_OK), 0);
}

static void
an_overlay_over_any_disk_is_found_again (void **state)
{
  struct image_info info;
  struct image *img;

  (void) state;
  make_raw ("disk.img", DISK, 0);
  img = open_it ("disk.img", "again.vhd", true);
  write_value (img, 8192, 512, 0x33);
  image_unref (img);
  /* By itself: the disk below is where it says. */
  img = open_it ("again.vhd", NULL, true);
  assert_original (img, 0, 8192, 0);
  assert_bytes (img, 8192, 512, 0x33);
  assert_int_equal (image_get_info (img, &info, NULL), 0);
  assert_int_equal (info.layers.len, 2);
  assert_string_equal (info.layers.ptr[1].format, "raw");
  image_info_free (&info);
  write_value (img, 0, 512, 0x44);
  image_unref (img);
  img = open_it ("disk.img", "again.vhd", false);
  assert_bytes (img, 0, 512, 0x44);
  assert_original (img, 512, 8192 - 512, 0);
  image_unref (img);
}

static void
assert_refused (const char *name, const char *overlay, const char *words)
{
  struct err err = ERR_INIT;
  struct image *img;

  assert_true (try_open (name, overlay, true, &img, NULL, &err) < 0);
  if (strstr (err.msg, words) == NULL)
    fail_msg ("refused with “%s”, expected “%s”", err.msg, words);
}

static void
an_overlay_over_another_disk_is_refused (void **state)
{
  struct image *img;

  (void) state;
  make_raw ("disk.img", DISK, 0);
  img = open_it ("disk.img", "mine.vhd", true);
  image_unref (img);
  make_raw ("other.img", DISK, 1);
  assert_refused ("other.img", "mine.vhd", "but its identity is");
  /* And the one that has its name now. */
  make_raw ("disk.img", DISK, 2);
  assert_refused ("disk.img", "mine.vhd", "but its identity is");
  assert_refused ("mine.vhd", NULL, "but its identity is");
  img = open_it ("disk.img", "mine.vhdx", true);
  image_unref (img);
  assert_refused ("other.img", "mine.vhdx", "but its identity is");
  make_raw ("disk.img", DISK, 3);
  assert_refused ("mine.vhdx", NULL, "but its identity is");
}

/* A VHD would be too small, or have other sectors. */
static void
where_a_vhd_could_not_be_it_is_a_vhdx (void **state)
{
  const struct image_create_options sectors = {
    .format = "vhdx", .size = 64 * MIB, .sector_size = 4096,
  };
  struct image *img;
  uint64_t size;
  int fd;

  (void) state;
  fd = open (in_folder ("huge.img"), O_RDWR | O_CREAT | O_TRUNC, 0644);
  assert_int_equal (ftruncate (fd, (off_t) 3 << 40), 0);
  close (fd);
  assert_refused ("huge.img", "huge.vhd", "2040 GiB");
  img = open_it ("huge.img", "huge", true);
  assert_string_equal (image_format (img), "vhdx");
  assert_int_equal (image_size (img), (uint64_t) 3 << 40);
  write_value (img, ((uint64_t) 3 << 40) - 512, 512, 0x12);
  assert_bytes (img, ((uint64_t) 3 << 40) - 512, 512, 0x12);
  image_unref (img);
  assert_int_equal (image_create (in_folder ("4k.vhdx"), &sectors, &size,
                                  NULL, NULL), 0);
  img = open_it ("4k.vhdx", "4k-overlay", true);
  assert_string_equal (image_format (img), "vhdx");
  write_value (img, 4096, 4096, 0x13);
  assert_bytes (img, 0, 4096, 0);
  assert_bytes (img, 4096, 4096, 0x13);
  image_unref (img);
}

/* Where samples are taken, and at both ends. */
static void
a_change_of_a_large_disk_is_seen_where_samples_are (void **state)
{
  static const uint64_t places[] = {
    0, MIB - 1, LARGE / 64 * 10 / 65536 * 65536, LARGE - 1,
  };
  struct image *img;

  (void) state;
  make_raw ("large.img", LARGE, 0);
  img = open_it ("large.img", "large.vhd", true);
  image_unref (img);
  for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
    int fd = open (in_folder ("large.img"), O_RDWR);
    uint8_t byte, other;

    assert_int_equal (pread (fd, &byte, 1, (off_t) places[i]), 1);
    other = (uint8_t) ~byte;
    assert_int_equal (pwrite (fd, &other, 1, (off_t) places[i]), 1);
    assert_refused ("large.img", "large.vhd", "but its identity is");
    assert_int_equal (pwrite (fd, &byte, 1, (off_t) places[i]), 1);
    close (fd);
  }
  img = open_it ("large.img", "large.vhd", true);
  image_unref (img);
}

static void
check_time (const char *overlay)
{
  const struct timespec times[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct err err = ERR_INIT;
  struct image *img;

  make_raw ("disk.img", DISK, 0);
  img = open_it ("disk.img", overlay, true);
  image_unref (img);
  assert_int_equal (try_open ("disk.img", overlay, false, &img, &report,
                              &err), 0);
  image_unref (img);
  assert_int_equal (report.lines.len, 0);
  assert_int_equal (utimensat (AT_FDCWD, in_folder ("disk.img"), times, 0),
                    0);
  assert_int_equal (try_open ("disk.img", overlay, false, &img, &report,
                              &err), 0);
  image_unref (img);
  assert_int_equal (report.lines.len, 1);
  assert_non_null (strstr (report.lines.ptr[0], "had another time"));
}

static void
another_time_of_the_disk_below_is_warned_about (void **state)
{
  (void) state;
  check_time ("time.vhd");
  check_time ("time.vhdx");
}

static void
over_a_vhd_it_is_a_differencing_vhd_like_any_other (void **state)
{
  const struct image_create_options options = {
    .format = "vhd", .size = 64 * MIB,
  };
  struct image_info info;
  struct image *img;
  uint64_t size;

  (void) state;
  assert_int_equal (image_create (in_folder ("parent.vhd"), &options, &size,
                                  NULL, NULL), 0);
  img = open_it ("parent.vhd", NULL, true);
  write_value (img, 0, 4096, 0x11);
  image_unref (img);
  img = open_it ("parent.vhd", "child.vhd", true);
  assert_bytes (img, 0, 4096, 0x11);
  write_value (img, 512, 512, 0x22);
  image_unref (img);
  img = open_it ("child.vhd", NULL, false);
  assert_bytes (img, 0, 512, 0x11);
  assert_bytes (img, 512, 512, 0x22);
  assert_bytes (img, 1024, 3072, 0x11);
  assert_int_equal (image_get_info (img, &info, NULL), 0);
  assert_int_equal (info.layers.len, 2);
  assert_string_equal (info.layers.ptr[1].format, "vhd");
  image_info_free (&info);
  image_unref (img);
}

static void
what_is_no_overlay_is_refused_and_stays_as_it_is (void **state)
{
  const struct image_create_options options = {
    .format = "vhd", .size = 64 * MIB,
  };
  uint64_t size;

  (void) state;
  make_raw ("disk.img", DISK, 0);
  make_raw ("data.bin", 4096, 5);
  assert_int_equal (image_create (in_folder ("dynamic.vhd"), &options, &size,
                                  NULL, NULL), 0);
  assert_refused ("disk.img", "data.bin", "is a raw image, and no overlay");
  assert_refused ("disk.img", "dynamic.vhd", "lies over no other disk");
  assert_refused ("disk.img", "new.iso", "an overlay is a VHD or a VHDX");
  assert_refused ("disk.img", "nowhere/new.vhd", "nowhere/new.vhd");
}

static void
the_disk_below_is_held_against_writers (void **state)
{
  struct err err = ERR_INIT;
  struct image *img, *other;

  (void) state;
  make_raw ("disk.img", DISK, 0);
  img = open_it ("disk.img", "held.vhd", true);
  assert_int_equal (try_open ("disk.img", NULL, true, &other, NULL, &err),
                    -EBUSY);
  assert_int_equal (try_open ("disk.img", "held.vhd", true, &other, NULL,
                              &err), -EBUSY);
  /* Another overlay over the same disk. */
  other = open_it ("disk.img", "second.vhd", true);
  image_unref (other);
  image_unref (img);
}

static int
set_up (void **state)
{
  (void) state;
  snprintf (folder, sizeof folder, "%s/nbdimage-overlay.XXXXXX",
            getenv ("TMPDIR") ? getenv ("TMPDIR") : "/tmp");
  return mkdtemp (folder) ? 0 : -1;
}

static int
tear_down (void **state)
{
  char command[128];

  (void) state;
  snprintf (command, sizeof command, "rm -rf '%s'", folder);
  return system (command);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (what_is_written_is_in_the_overlay_and_nowhere_else),
    cmocka_unit_test (an_overlay_that_is_not_there_reads_as_empty),
    cmocka_unit_test (an_overlay_over_any_disk_is_found_again),
    cmocka_unit_test (an_overlay_over_another_disk_is_refused),
    cmocka_unit_test (where_a_vhd_could_not_be_it_is_a_vhdx),
    cmocka_unit_test (a_change_of_a_large_disk_is_seen_where_samples_are),
    cmocka_unit_test (another_time_of_the_disk_below_is_warned_about),
    cmocka_unit_test (over_a_vhd_it_is_a_differencing_vhd_like_any_other),
    cmocka_unit_test (what_is_no_overlay_is_refused_and_stays_as_it_is),
    cmocka_unit_test (the_disk_below_is_held_against_writers),
  };

  return cmocka_run_group_tests (tests, set_up, tear_down);
}
