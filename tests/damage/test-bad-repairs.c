/* SPDX-License-Identifier: GPL-2.0-or-later */

/* `repair' on every bad VHD and VHDX there is a name for: those that can be
 * mended are, have the right disk then, survive a power cut at every change,
 * and go back to what they were; the others are left alone.
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
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "tests/damage/damage.h"
#include "tests/support/counted.h"
#include "tests/support/mending.h"
#include "tests/support/recorder.h"
#include "tests/support/share.h"

static const struct damage_family *const families[] = {
  &damage_vhd, &damage_vhdx,
};

#define NR_FAMILIES (sizeof families / sizeof families[0])

#define PATIENCE 120

/* Of the images in both tables so many can be mended.  Fewer: something is not
 * mended any more.
 */
#define LEAST_MENDED 50

static unsigned nr_mended, nr_refused;

struct bad_image {
  const struct damage_family *family;
  size_t i;
};

/* Does it open, with a warning or without? */
static bool
opens (const struct damage_image *made)
{
  CLEANUP_BLOCK struct block *block =
    recorder_new (made->image.bytes, made->image.len);
  const struct image_options options = { .parent_path = damage_folder () };
  CLEANUP_IMAGE struct image *img = NULL;

  return image_open_block (block, &options, &img, NULL, NULL) == 0;
}

static void
a_bad_image (void **state)
{
  const struct bad_image *bad = *state;
  const struct damage_family *family = bad->family;
  struct damage_image made = { 0 };
  struct mending_options o = { .parent_path = damage_folder () };
  enum mending did;

  alarm (PATIENCE);
  family->make (bad->i, &made);
  damage_write (damage_folder (), family->parent, &made.parent);
  /* A MiB in the midst of the file. */
  o.leaks_stay = strcmp (family->name_of (bad->i),
                         "vhdx-no-place-for-a-log") == 0;
  o.opens_before = family->verdict_of (bad->i).code == 0 && opens (&made);
  if (o.opens_before)
    o.disk = &made.disk;
  did = mending_try (&made.image, &o, family->name_of (bad->i));
  nr_mended += did == MENDING_DONE;
  nr_refused += did == MENDING_REFUSED;
  damage_free (&made);
  alarm (0);
}

/* The last test. */
static void
as_many_are_mended_as_before (void **state)
{
  (void) state;
  print_message ("mended %u, refused %u\n", nr_mended, nr_refused);
  counted (mending_nr_crashes, "crash states", 0, 0);
  assert_true (nr_mended >= LEAST_MENDED);
  assert_true (mending_nr_crashes >= share_of (1000));
}

int
main (void)
{
  struct CMUnitTest *tests;
  struct bad_image *all;
  size_t nr = 0, n = 0;
  int failed;

  for (size_t f = 0; f < NR_FAMILIES; ++f)
    nr += families[f]->nr ();
  tests = calloc (nr + 1, sizeof *tests);
  all = calloc (nr, sizeof *all);
  if (tests == NULL || all == NULL)
    abort ();
  for (size_t f = 0; f < NR_FAMILIES; ++f)
    for (size_t i = 0; i < families[f]->nr (); ++i, ++n) {
      all[n] = (struct bad_image) { families[f], i };
      tests[n] = (struct CMUnitTest) { families[f]->name_of (i), a_bad_image,
                                       NULL, NULL, &all[n] };
    }
  tests[n] = (struct CMUnitTest) { "as_many_are_mended_as_before",
                                   as_many_are_mended_as_before, NULL, NULL,
                                   NULL };
  failed = _cmocka_run_group_tests ("bad repairs", tests, nr + 1, NULL, NULL);
  damage_remove_folder ();
  free (tests);
  free (all);
  return failed;
}
