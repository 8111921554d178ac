/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Every bad image of every format becomes what its table says.
 *
 *   test-bad-images                 runs them, each is a test of its name
 *   test-bad-images --write FOLDER  writes them into FOLDER/NAME/, and lines
 *                                   "NAME/FILE<tab>CODE<tab>WORDS" to stdout
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/part/part.h"
#include "tests/damage/damage.h"

static const struct damage_family *const families[] = {
  &damage_vhd, &damage_vhdx, &damage_part, &damage_iso,
  &damage_partclone,
};

#define NR_FAMILIES (sizeof families / sizeof families[0])

/* Seconds until an image that hangs ends the program. */
#define PATIENCE 120

struct bad_image {
  const struct damage_family *family;
  size_t i;
};

static bool
reported (const struct report *report, const char *text)
{
  for (size_t i = 0; i < report->lines.len; ++i)
    if (strstr (report->lines.ptr[i], text))
      return true;
  return false;
}

/*--- One image --------------------------------------------------------------*/

/* Whatever is asked for, nothing bad happens. */
static void
open_in_other_ways (const char *path)
{
  const struct image_options options[] = {
    { .ignore_checksums = true, .parent_path = "/" },
    { .size_rule = IMAGE_SIZE_CHS },
    { .size_rule = IMAGE_SIZE_CURRENT, .ignore_checksums = true },
    { .format = "vhd" }, { .format = "vhdx" }, { .format = "iso" },
    { .format = "partclone" },
    { .format = "raw" },
    { .writable = true },
  };

  for (size_t i = 0; i < sizeof options / sizeof options[0]; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    if (image_open (path, &options[i], &img, &report, &err) < 0)
      assert_true (err.code < 0 && err.msg[0] != '\0');
    else
      damage_use (img);
  }
}

static void
compare_parts (struct image *img, unsigned expected, struct report *report)
{
  CLEANUP_PART_TABLE struct part_table table = { 0 };
  CLEANUP_BLOCK struct block *disk = NULL;
  struct err err = ERR_INIT;

  assert_int_equal (image_to_block (img, &disk, NULL), 0);
  if (part_read (disk, 0, &table, report, &err) < 0)
    fail_msg ("the partition table: %s", err.msg);
  if (table.parts.len != expected)
    fail_msg ("%zu partitions, expected %u", table.parts.len, expected);
}

static void
judge (const char *path, const struct damage_image *made,
       const struct damage_verdict *v)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r = image_open (path, NULL, &img, &report, &err);

  if (r != v->code)
    fail_msg ("opening gives %d “%s”, expected %d “%s”", r, err.msg, v->code,
              v->says ? v->says : "");
  if (r < 0) {
    if (strstr (err.msg, v->says) == NULL)
      fail_msg ("refused with “%s”, expected “%s”", err.msg, v->says);
    return;
  }
  damage_compare (img, &made->disk, "the disk");
  if (made->has_parts)
    compare_parts (img, made->nr_parts, &report);
  if (v->says && !reported (&report, v->says))
    fail_msg ("there is no warning “%s”, the first of %zu is “%s”", v->says,
              report.lines.len,
              report.lines.len ? report.lines.ptr[0] : "");
  if (v->says == NULL && report.lines.len > 0)
    fail_msg ("an unexpected warning: %s", report.lines.ptr[0]);
}

static void
write_files (const char *dir, const struct damage_family *family,
             const struct damage_image *made)
{
  damage_write (dir, family->file, &made->image);
  if (family->parent)
    damage_write (dir, family->parent, &made->parent);
}

static void
a_bad_image (void **state)
{
  const struct bad_image *bad = *state;
  struct damage_verdict v = bad->family->verdict_of (bad->i);
  struct damage_image made = { 0 };
  char path[512];

  alarm (PATIENCE);
  bad->family->make (bad->i, &made);
  write_files (damage_folder (), bad->family, &made);
  snprintf (path, sizeof path, "%s/%s", damage_folder (), bad->family->file);
  judge (path, &made, &v);
  open_in_other_ways (path);
  damage_free (&made);
  alarm (0);
}

/* The last test. */
static void
memory_stayed_below_64_mib (void **state)
{
  long kib = damage_peak_rss ();

  (void) state;
  if (kib == 0) {
    print_message ("SKIP: memory: most of it is the sanitizers' here\n");
    skip ();
  }
  print_message ("at most %ld KiB\n", kib);
  assert_true (kib < 64 * 1024);
}

/*--- All of them ------------------------------------------------------------*/

static size_t
nr_all (void)
{
  size_t nr = 0;

  for (size_t f = 0; f < NR_FAMILIES; ++f)
    nr += families[f]->nr ();
  return nr;
}

static struct bad_image *
list_all (void)
{
  struct bad_image *all = calloc (nr_all (), sizeof *all), *p = all;

  if (all == NULL)
    abort ();
  for (size_t f = 0; f < NR_FAMILIES; ++f)
    for (size_t i = 0; i < families[f]->nr (); ++i)
      *p++ = (struct bad_image) { families[f], i };
  return all;
}

static const char *
name_of (const struct bad_image *bad)
{
  return bad->family->name_of (bad->i);
}

static void
names_are_unique (const struct bad_image *all, size_t nr)
{
  for (size_t i = 0; i < nr; ++i)
    for (size_t j = 0; j < i; ++j)
      if (strcmp (name_of (&all[i]), name_of (&all[j])) == 0) {
        fprintf (stderr, "two images are called %s\n", name_of (&all[i]));
        exit (99);
      }
}

static int
write_all (const char *folder)
{
  CLEANUP_FREE struct bad_image *all = list_all ();
  char dir[512];

  for (size_t i = 0; i < nr_all (); ++i) {
    const struct damage_family *family = all[i].family;
    struct damage_verdict v = family->verdict_of (all[i].i);
    struct damage_image made = { 0 };

    snprintf (dir, sizeof dir, "%s/%s", folder, name_of (&all[i]));
    if (mkdir (dir, 0755) < 0) {
      perror (dir);
      return 99;
    }
    family->make (all[i].i, &made);
    write_files (dir, family, &made);
    printf ("%s/%s\t%s\t%s\n", name_of (&all[i]), family->file,
            v.code == 0 ? "0" : v.code == -EBADMSG ? "EBADMSG" : "other",
            v.says ? v.says : "");
    damage_free (&made);
  }
  return 0;
}

int
main (int argc, char *argv[])
{
  CLEANUP_FREE struct bad_image *all = list_all ();
  size_t nr = nr_all ();
  CLEANUP_FREE struct CMUnitTest *tests = calloc (nr + 1, sizeof *tests);
  int failed;

  if (argc == 3 && strcmp (argv[1], "--write") == 0)
    return write_all (argv[2]);
  if (argc > 1 || tests == NULL)
    return 99;
  names_are_unique (all, nr);
  for (size_t i = 0; i < nr; ++i)
    tests[i] = (struct CMUnitTest) {
      .name = name_of (&all[i]), .test_func = a_bad_image,
      .initial_state = &all[i],
    };
  tests[nr] = (struct CMUnitTest)
    cmocka_unit_test (memory_stayed_below_64_mib);
  failed = _cmocka_run_group_tests ("bad images", tests, nr + 1, NULL, NULL);
  damage_remove_folder ();
  return failed;
}
