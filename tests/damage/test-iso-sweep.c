/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Every place of the descriptors of a disc takes hostile values, with the sums
 * of UDF made right again and not, and discs end everywhere.  Whatever they
 * say, a disc is the bytes of its file, no more and no others, or refused.
 *
 * The seed of what is random is printed; ISO_TEST_SEED=N runs the same again.
 * NBDIMAGE_LONG makes it longer.
 */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/block/memory.h"
#include "lib/base/cleanup.h"
#include "tests/damage/bad-iso.h"
#include "tests/damage/hostile.h"
#include "tests/support/counted.h"

static unsigned nr_files;

/* The last sectors may be missing, or some bytes of them, as the file's end
 * says; what is there is the file's.
 */
static void
compare_with_file (struct image *img, const struct damage_file *file,
                   const char *what)
{
  uint64_t size = image_size (img);
  uint8_t buf[5000];

  if (size > file->len)
    fail_msg ("%s: a disk of %llu bytes in a file of %zu", what,
              (unsigned long long) size, file->len);
  for (unsigned i = 0; i < 4 && size > sizeof buf; ++i) {
    uint64_t off = hostile_random () % (size - sizeof buf);

    assert_int_equal (image_pread (img, buf, sizeof buf, off, NULL), 0);
    if (memcmp (buf, file->bytes + off, sizeof buf) != 0)
      fail_msg ("%s: other bytes than the file's behind %llu", what,
                (unsigned long long) off);
  }
  damage_use (img);
}

static void
open_disc (struct damage_file *file, const char *what)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;

  nr_files++;
  assert_int_equal (block_memory_new ("sweep.iso", file->bytes, file->len,
                                      &block, NULL), 0);
  if (image_open_block (block, NULL, &img, &report, &err) == 0)
    compare_with_file (img, file, what);
  else if ((err.code != -EBADMSG && err.code != -ENOTSUP) ||
           err.msg[0] == '\0')
    fail_msg ("%s: refused with %d “%s”", what, err.code, err.msg);
}

static void
try_disc (struct damage_file *file, const struct hostile_structure *st,
          const char *what)
{
  open_disc (file, what);
  if (st->tag) {
    bad_iso_seal (file, (unsigned) (st->off / S), (uint16_t) st->tag);
    open_disc (file, what);
  }
}

/* Field by field, not the text between them. */
static const struct hostile_structure
  primary[] = {
    { "type and name", 16 * S, 8, false, 0 },
    { "space", 16 * S + 80, 8, false, 0 },
    { "set and block size", 16 * S + 120, 12, false, 0 },
    { "path tables", 16 * S + 132, 24, false, 0 },
    { "root", 16 * S + 156, 34, false, 0 },
    { "dates", 16 * S + 813, 70, false, 0 },
    { "end of the set", 17 * S, 8, false, 0 },
    { "first record", ROOT * S, 48, false, 0 },
  },
  boot[] = {
    { "boot record", 17 * S, 76, false, 0 },
    { "validation", CATALOG * S, 32, false, 0 },
    { "entry", CATALOG * S + 32, 32, false, 0 },
    { "section", CATALOG * S + 64, 64, false, 0 },
  },
  udf[] = {
    { "recognition", 18 * S, 8, false, 0 },
    { "its second", 19 * S, 8, false, 0 },
    { "anchor", 256 * S, 32, false, 2 },
    { "anchor at the end", LAST * S, 32, false, 2 },
    { "volume", MAIN * S, 40, false, 1 },
    { "partition", (MAIN + 1) * S + 16, 32, false, 5 },
    { "place of the partition", (MAIN + 1) * S + 184, 16, false, 5 },
    { "logical volume", (MAIN + 2) * S + 208, 64, false, 6 },
    { "maps", (MAIN + 2) * S + 424, 32, false, 6 },
    { "reserve", RESERVE * S, 40, false, 1 },
  };

#define NR(structures) (sizeof (structures) / sizeof (structures)[0])

static void
sweep (enum iso_base base, const struct hostile_structure *structures,
       size_t nr, unsigned least)
{
  struct damage_file disc = bad_iso_make_good (base);
  unsigned before = nr_files;

  open_disc (&disc, "the disc as it was");
  for (size_t i = 0; i < nr; ++i)
    hostile_sweep (&disc, &structures[i], try_disc);
  free (disc.bytes);
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= least);
}

static void
every_place_of_volume_descriptors_takes_hostile_values (void **state)
{
  (void) state;
  sweep (ISO, primary, NR (primary), 3000);
}

static void
every_place_of_a_boot_catalogue_takes_hostile_values (void **state)
{
  (void) state;
  sweep (BOOT, boot, NR (boot), 3000);
}

static void
every_place_of_udf_takes_hostile_values (void **state)
{
  (void) state;
  sweep (UDF, udf, NR (udf), 3000);
  sweep (ONLY, udf + 2, NR (udf) - 2, 3000);
}

static void
a_disc_that_lost_its_end_has_what_is_left (void **state)
{
  size_t step = getenv ("NBDIMAGE_LONG") ? 149 : 997;
  unsigned before = nr_files;

  (void) state;
  for (enum iso_base base = ISO; base <= ONLY; ++base) {
    struct damage_file disc = bad_iso_make_good (base), part = disc;

    for (part.len = 1; part.len < disc.len; part.len += step)
      open_disc (&part, "a part of a disc");
    free (disc.bytes);
  }
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= 4000);
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

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_place_of_volume_descriptors_takes_hostile_values),
    cmocka_unit_test (every_place_of_a_boot_catalogue_takes_hostile_values),
    cmocka_unit_test (every_place_of_udf_takes_hostile_values),
    cmocka_unit_test (a_disc_that_lost_its_end_has_what_is_left),
    cmocka_unit_test (memory_stayed_below_64_mib),
  };

  uint64_t seed = hostile_seed ("ISO_TEST_SEED");
  int nr_failed = cmocka_run_group_tests (tests, NULL, NULL);

  counted (nr_files, "broken files", (unsigned) nr_failed, seed);
  return nr_failed;
}
