/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Every field of a VHD takes hostile values, with checksums made right again
 * and not; files end everywhere.  Nobody can say for each of these what must
 * become of it, but this holds for all:
 *
 *   - opening, describing, reading and mapping them ends, without a crash and
 *     in little memory, and what fails says why;
 *   - where a checksum can tell that something is wrong, it is refused or
 *     read from what is whole, and never are other bytes served;
 *   - a file that lost its end is refused, or its disk is whole.
 *
 * The seed of what is random is printed; VHD_TEST_SEED=N runs the same again.
 * NBDIMAGE_LONG makes it longer.
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "tests/damage/bad-vhd.h"
#include "tests/support/counted.h"

/* Seconds without progress until the program is ended. */
#define PATIENCE 120

static uint64_t rnd, seed;

static uint64_t
next_random (void)
{
  rnd ^= rnd << 13;
  rnd ^= rnd >> 7;
  rnd ^= rnd << 17;
  return rnd;
}

static bool
is_long (void)
{
  return getenv ("NBDIMAGE_LONG") != NULL;
}

/*--- The fields -------------------------------------------------------------*/

struct field {
  const char *name;
  size_t off, width;            /* bytes; more than 8: filled with one byte */
};

static const struct field footer_fields[] = {
  { "cookie", 0, 8 }, { "features", 8, 4 }, { "version", 12, 4 },
  { "data offset", 16, 8 }, { "timestamp", 24, 4 }, { "creator", 28, 4 },
  { "creator's version", 32, 4 }, { "creator's system", 36, 4 },
  { "original size", 40, 8 }, { "current size", 48, 8 },
  { "cylinders", 56, 2 }, { "heads", 58, 1 }, { "sectors", 59, 1 },
  { "type", 60, 4 }, { "checksum", 64, 4 }, { "unique id", 68, 16 },
  { "saved state", 84, 1 }, { "hidden", 85, 1 }, { "reserved", 86, 426 },
};

static const struct field header_fields[] = {
  { "cookie", 0, 8 }, { "next structure", 8, 8 }, { "table offset", 16, 8 },
  { "version", 24, 4 }, { "entries", 28, 4 }, { "block size", 32, 4 },
  { "checksum", 36, 4 }, { "parent id", 40, 16 },
  { "parent timestamp", 56, 4 }, { "reserved", 60, 4 },
  { "parent name", 64, 512 }, { "name, first", 64, 2 },
  { "locator 0 code", 576, 4 }, { "locator 0 space", 580, 4 },
  { "locator 0 length", 584, 4 }, { "locator 0 reserved", 588, 4 },
  { "locator 0 offset", 592, 8 },
  { "locator 1 code", 600, 4 }, { "locator 1 length", 608, 4 },
  { "locator 1 offset", 616, 8 },
  { "locator 2 code", 624, 4 }, { "locator 2 length", 632, 4 },
  { "locator 2 offset", 640, 8 },
  { "locator 7 code", 744, 4 }, { "locator 7 length", 752, 4 },
  { "locator 7 offset", 760, 8 }, { "reserved at the end", 768, 256 },
};

static const struct field bat_fields[] = {
  { "entry 0", 0, 4 }, { "entry 1", 4, 4 }, { "entry 2", 8, 4 },
  { "entry 3", 12, 4 }, { "all entries", 0, 16 },
};

static const struct field batmap_fields[] = {
  { "cookie", 0, 8 }, { "offset", 8, 8 }, { "sectors", 16, 4 },
  { "version", 20, 4 }, { "checksum", 24, 4 }, { "marker", 28, 1 },
  { "key hash", 29, 65 },
};

/* What is text to a child, and bits of the first block. */
static const struct field locator_fields[] = {
  { "text", 0, 8 }, { "text as a whole", 0, 64 }, { "end of text", 18, 2 },
};

#define NR(fields) (sizeof (fields) / sizeof (fields)[0])

#define NR_VALUES 14

static uint64_t
value_nr (unsigned i, uint64_t good, size_t width)
{
  unsigned bits = width > 8 ? 8 : (unsigned) width * 8;
  uint64_t sign = UINT64_C (1) << (bits - 1);

  switch (i) {
  case 0: return 0;
  case 1: return 1;
  case 2: return UINT64_MAX;
  case 3: return sign;
  case 4: return sign - 1;
  case 5: return good - 1;
  case 6: return good + 1;
  case 7: return good << 1;
  case 8: return good >> 1;
  case 9: return ~good;
  case 10: return UINT64_MAX - 1;
  default: return next_random ();
  }
}

static uint64_t
get (const uint8_t *p, size_t width)
{
  uint8_t bytes[8] = { 0 };

  if (width > 8)
    return p[0];
  memcpy (bytes + 8 - width, p, width);
  return get_be64 (bytes);
}

static void
put (uint8_t *p, size_t width, uint64_t value)
{
  uint8_t bytes[8];

  put_be64 (bytes, value);
  if (width > 8)
    memset (p, bytes[7], width);
  else
    memcpy (p, bytes + 8 - width, width);
}

/*--- One file ---------------------------------------------------------------*/

static unsigned nr_files, nr_opened;

/* The codes with which a file, and not the machine, is refused. */
static bool
is_refusal (int code)
{
  return code == -EBADMSG || code == -ENOTSUP || code == -ENOENT ||
    code == -EACCES || code == -ELOOP;
}

/* disk not NULL: the one that it must be, if it opens as a VHD. */
static void
try_bytes (const uint8_t *bytes, size_t len, const struct damage_file *disk,
           const char *what)
{
  struct image_options options = { .parent_path = damage_folder () };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_BLOCK struct block *block = NULL;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r;

  alarm (PATIENCE);
  nr_files++;
  assert_int_equal (block_memory_new ("sweep.vhd", bytes, len, &block, NULL),
                    0);
  r = image_open_block (block, &options, &img, &report, &err);
  damage_check (block, &options, r, &report, what);
  if (r < 0) {
    if (!is_refusal (r) || err.msg[0] == '\0')
      fail_msg ("%s: refused with %d “%s”", what, r, err.msg);
    return;
  }
  nr_opened++;
  if (disk == NULL || strcmp (image_format (img), "vhd") != 0)
    damage_use (img);
  else
    damage_compare (img, disk, what);
}

/*--- Sweeping ---------------------------------------------------------------*/

static uint32_t
sum_of (const uint8_t *p, size_t len, size_t at)
{
  uint32_t sum = 0;

  for (size_t i = 0; i < len; ++i)
    if (i < at || i >= at + 4)
      sum += p[i];
  return ~sum;
}

/* A structure with a checksum: where it is, in a file that is about to be
 * damaged.
 */
struct structure {
  const char *name;
  size_t off, len, sum_at;      /* len 0: it has no checksum */
};

/* Without sums, and unless the bytes happen to have the same one, what opens
 * must be as it was.
 */
static void
try_structure (struct vhd_maker *m, const struct structure *s,
               const struct damage_file *good, bool sums, const char *what)
{
  uint8_t *p = m->data + s->off;
  bool told = false;

  if (s->len > 0 && sums)
    put_be32 (p + s->sum_at, sum_of (p, s->len, s->sum_at));
  else if (s->len > 0)
    told = get_be32 (p + s->sum_at) != sum_of (p, s->len, s->sum_at);
  try_bytes (m->data, m->len, told ? good : NULL, what);
}

static void
sweep_field (struct vhd_maker *m, const struct structure *s,
             const struct field *f, const struct damage_file *good)
{
  CLEANUP_FREE uint8_t *saved = malloc (m->len);
  uint8_t *p = m->data + s->off + f->off;
  uint64_t was = get (p, f->width);
  char what[128];

  assert_non_null (saved);
  memcpy (saved, m->data, m->len);
  for (unsigned i = 0; i < NR_VALUES; ++i)
    for (int sums = 0; sums < 2; ++sums) {
      uint64_t value = value_nr (i, was, f->width);

      snprintf (what, sizeof what, "%s, %s, %llx, sums %d", s->name, f->name,
                (unsigned long long) value, sums);
      put (p, f->width, value);
      try_structure (m, s, good, sums, what);
      memcpy (m->data, saved, m->len);
    }
}

static void
sweep (enum vhd_base base, const char *name, size_t off, size_t len,
       size_t sum_at, const struct field *fields, size_t nr)
{
  struct structure s = { name, off, len, sum_at };
  struct damage_file good = bad_vhd_good_disk (base);
  struct vhd_maker *m = bad_vhd_make_good (base);

  for (size_t i = 0; i < nr; ++i)
    sweep_field (m, &s, &fields[i], &good);
  vhd_maker_free (m);
  free (good.bytes);
}

/* Both footers are what they were but for one field, which is the same in
 * both: a file that its maker got wrong.
 */
static void
sweep_both_footers (enum vhd_base base)
{
  struct vhd_maker *m = bad_vhd_make_good (base);
  struct damage_file good = bad_vhd_good_disk (base);

  for (size_t i = 0; i < NR (footer_fields); ++i)
    for (unsigned v = 0; v < NR_VALUES; ++v) {
      const struct field *f = &footer_fields[i];
      uint8_t saved[512], *footer = m->data + m->footer_off;
      char what[128];

      memcpy (saved, footer, 512);
      put (footer + f->off, f->width,
           value_nr (v, get (footer + f->off, f->width), f->width));
      snprintf (what, sizeof what, "both footers, %s, value %u", f->name, v);
      memcpy (m->data, footer, 512);
      try_bytes (m->data, m->len, get_be32 (footer + 64) ==
                 sum_of (footer, 512, 64) ? NULL : &good, what);
      vhd_maker_sum_footers (m);
      memcpy (m->data, footer, 512);
      try_bytes (m->data, m->len, NULL, what);
      memcpy (footer, saved, 512);
      memcpy (m->data, saved, 512);
    }
  vhd_maker_free (m);
  free (good.bytes);
}

static size_t
footer_off (enum vhd_base base)
{
  struct vhd_maker *m = bad_vhd_make_good (base);
  size_t off = m->footer_off;

  vhd_maker_free (m);
  return off;
}

static void
every_field_of_a_footer_takes_hostile_values (void **state)
{
  static const enum vhd_base bases[] = { DYN, DIFF, XEN, VPC };

  (void) state;
  sweep (FIX, "fixed footer", VHD_FIXED_DISK, 512, 64, footer_fields,
         NR (footer_fields));
  for (size_t i = 0; i < NR (bases); ++i) {
    sweep (bases[i], "footer", footer_off (bases[i]), 512, 64, footer_fields,
           NR (footer_fields));
    sweep (bases[i], "copy", 0, 512, 64, footer_fields, NR (footer_fields));
    sweep_both_footers (bases[i]);
  }
  print_message ("%u files, %u opened\n", nr_files, nr_opened);
  assert_true (nr_files >= 2500);
}

static void
every_field_of_a_header_takes_hostile_values (void **state)
{
  unsigned before = nr_files;

  (void) state;
  sweep (DYN, "header", 512, 1024, 36, header_fields, NR (header_fields));
  sweep (DIFF, "header", 512, 1024, 36, header_fields, NR (header_fields));
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= 1000);
}

static void
every_entry_of_a_bat_and_a_batmap_takes_hostile_values (void **state)
{
  unsigned before = nr_files;

  (void) state;
  sweep (DYN, "BAT", 1536, 0, 0, bat_fields, NR (bat_fields));
  sweep (DIFF, "BAT", 1536, 0, 0, bat_fields, NR (bat_fields));
  sweep (XEN, "batmap", 2048, 0, 0, batmap_fields, NR (batmap_fields));
  for (size_t i = 0; i < 3; ++i)
    sweep (DIFF, "locator", 2048 + i * 512, 0, 0, locator_fields,
           NR (locator_fields));
  sweep (DIFF, "bitmap", 3584, 0, 0, locator_fields, NR (locator_fields));
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= 700);
}

/* Two to four fields at a time, in any structure. */
static void
damage_somewhere (struct vhd_maker *m)
{
  static const struct { const struct field *fields; size_t nr; } all[] = {
    { footer_fields, NR (footer_fields) },
    { header_fields, NR (header_fields) },
    { bat_fields, NR (bat_fields) },
  };
  size_t which = m->spec.type == 2 ? 0 : next_random () % NR (all);
  const struct field *f =
    &all[which].fields[next_random () % all[which].nr];
  size_t at = which == 0 ? m->footer_off : which == 1 ? 512 : m->table_off;
  uint8_t *p = m->data + at + f->off;

  put (p, f->width, value_nr ((unsigned) (next_random () % NR_VALUES),
                              get (p, f->width), f->width));
  if (which == 0 && m->spec.type != 2 && next_random () % 2)
    memcpy (m->data, m->data + m->footer_off, 512);
}

static void
several_fields_at_a_time_do_no_harm (void **state)
{
  unsigned rounds = is_long () ? 200000 : 3000;
  char what[32];

  (void) state;
  for (unsigned i = 0; i < rounds; ++i) {
    struct vhd_maker *m =
      bad_vhd_make_good ((enum vhd_base) (next_random () % 5));

    for (uint64_t n = 2 + next_random () % 3; n > 0; --n)
      damage_somewhere (m);
    if (next_random () % 8)
      vhd_maker_sum_footers (m);
    if (m->spec.type != 2 && next_random () % 8)
      vhd_maker_sum_header (m);
    snprintf (what, sizeof what, "round %u", i);
    try_bytes (m->data, m->len, NULL, what);
    vhd_maker_free (m);
  }
}

/*--- Truncating -------------------------------------------------------------*/

/* All lengths where something is, a step elsewhere. */
static size_t
next_length (size_t len, size_t whole)
{
  size_t step = is_long () ? 3 : 97;

  return len < 2600 || len + step > whole - 1024 ? len + 1 : len + step;
}

static unsigned
truncate_base (enum vhd_base base)
{
  struct vhd_maker *m = bad_vhd_make_good (base);
  struct damage_file good = bad_vhd_good_disk (base);
  unsigned before = nr_files;
  char what[64];

  for (size_t len = 0; len < m->len; len = next_length (len, m->len)) {
    snprintf (what, sizeof what, "base %d cut to %zu bytes", (int) base, len);
    try_bytes (m->data, len, &good, what);
  }
  vhd_maker_free (m);
  free (good.bytes);
  return nr_files - before;
}

static void
a_file_that_lost_its_end_is_refused_or_whole (void **state)
{
  unsigned nr = 0;

  (void) state;
  nr += truncate_base (DYN);
  nr += truncate_base (FIX);
  nr += truncate_base (DIFF);
  nr += truncate_base (XEN);
  print_message ("%u files\n", nr);
  assert_true (nr >= 5000);
}

/*--- Large tables -----------------------------------------------------------*/

/* As many entries as are held in memory, all of blocks that are in the file
 * in the opposite order: what opening needs most memory for.
 */
#define NR_ENTRIES (4U * 1024 * 1024)
#define TABLE_OFF 1536U

/* Of 4 KiB and a bitmap. */
#define BLOCK_SECTORS 9U

static bool
put_table (int fd)
{
  uint32_t start = (TABLE_OFF + NR_ENTRIES * 4) / 512;
  uint8_t piece[4096];

  for (uint32_t i = 0; i < NR_ENTRIES; i += 1024) {
    for (uint32_t j = 0; j < 1024; ++j)
      put_be32 (piece + j * 4,
                start + (NR_ENTRIES - 1 - i - j) * BLOCK_SECTORS);
    if (pwrite (fd, piece, sizeof piece, TABLE_OFF + i * 4) !=
        (ssize_t) sizeof piece)
      return false;
  }
  return true;
}

/* One of a chain; the file has 19 GB, of which 16 MiB are no hole. */
static bool
make_large (const char *path, unsigned type, unsigned id,
            const char *parent)
{
  struct vhd_spec spec = { .type = type, .size = 4096, .block_size = 4096,
                           .id = id, .parent_id = id + 1,
                           .parent_name = parent };
  uint64_t end = TABLE_OFF + NR_ENTRIES * UINT64_C (4) +
    NR_ENTRIES * UINT64_C (512) * BLOCK_SECTORS;
  CLEANUP_CLOSE int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  struct vhd_maker *m = vhd_maker_new (&spec);
  bool done;

  vhd_maker_finish (m);
  put_be64 (m->data + m->footer_off + 48, NR_ENTRIES * UINT64_C (4096));
  memcpy (m->data, m->data + m->footer_off, 512);
  vhd_maker_sum_footers (m);
  put_be32 (m->data + 512 + 28, NR_ENTRIES);
  vhd_maker_sum_header (m);
  done = fd >= 0 && pwrite (fd, m->data, TABLE_OFF, 0) == TABLE_OFF &&
    put_table (fd) && pwrite (fd, m->data, 512, (off_t) end) == 512;
  vhd_maker_free (m);
  return done;
}

static void
a_chain_of_large_tables_takes_little_memory (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  char path[64], parent[16], c;

  (void) state;
  alarm (PATIENCE);
  for (unsigned i = 1; i <= 4; ++i) {
    snprintf (path, sizeof path, "%s/large%u.vhd", damage_folder (), i);
    snprintf (parent, sizeof parent, "large%u.vhd", i + 1);
    if (!make_large (path, i < 4 ? 4 : 3, i, parent)) {
      print_message ("SKIP: memory: no sparse files of 19 GB here\n");
      skip ();
    }
  }
  snprintf (path, sizeof path, "%s/large1.vhd", damage_folder ());
  if (image_open (path, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  for (uint64_t off = 0; off < image_size (img); off += UINT64_C (1) << 30)
    assert_int_equal (image_pread (img, &c, 1, off, NULL), 0);
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

static int
set_up (void **state)
{
  const char *given = getenv ("VHD_TEST_SEED");
  struct vhd_maker *parent = bad_vhd_make_parent ();
  struct damage_file file = { parent->data, parent->len };

  (void) state;
  rnd = seed = given ? strtoull (given, NULL, 0)
    : (uint64_t) time (NULL) * 1000003 + 1;
  print_message ("VHD_TEST_SEED=%llu\n", (unsigned long long) rnd);
  damage_write (damage_folder (), "base.vhd", &file);
  vhd_maker_free (parent);
  return 0;
}

static int
tear_down (void **state)
{
  (void) state;
  damage_remove_folder ();
  return 0;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (every_field_of_a_footer_takes_hostile_values),
    cmocka_unit_test (every_field_of_a_header_takes_hostile_values),
    cmocka_unit_test (every_entry_of_a_bat_and_a_batmap_takes_hostile_values),
    cmocka_unit_test (several_fields_at_a_time_do_no_harm),
    cmocka_unit_test (a_file_that_lost_its_end_is_refused_or_whole),
    cmocka_unit_test (a_chain_of_large_tables_takes_little_memory),
    cmocka_unit_test (memory_stayed_below_64_mib),
  };
  int nr_failed;

  nr_failed = cmocka_run_group_tests (tests, set_up, tear_down);
  counted (nr_files, "broken files", (unsigned) nr_failed, seed);
  return nr_failed;
}
