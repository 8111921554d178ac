/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Every field of a VHDX takes hostile values, with checksums made right again
 * and not, and files end everywhere: what test-vhd-sweep.c does to VHDs.
 * Where a checksum can tell, the file is refused or its disk is the one that
 * it was.
 *
 * The seed of what is random is printed; VHDX_TEST_SEED=N runs the same
 * again.  NBDIMAGE_LONG makes it longer.
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/memory.h"
#include "lib/block/window.h"
#include "tests/damage/bad-vhdx.h"
#include "tests/support/counted.h"

/* Seconds without progress until the program is ended. */
#define PATIENCE 120

#define MIB VHDX_MIB

static uint64_t rnd, seed;

static uint64_t
next_random (void)
{
  rnd ^= rnd << 13;
  rnd ^= rnd >> 7;
  rnd ^= rnd << 17;
  return rnd;
}

/*--- The fields -------------------------------------------------------------*/

struct field {
  const char *name;
  size_t off, width;            /* bytes; more than 8: filled with one byte */
};

static const struct field header_fields[] = {
  { "signature", 0, 4 }, { "checksum", 4, 4 }, { "sequence", 8, 8 },
  { "file write GUID", 16, 16 }, { "data write GUID", 32, 16 },
  { "log GUID", 48, 16 }, { "log version", 64, 2 }, { "version", 66, 2 },
  { "log length", 68, 4 }, { "log offset", 72, 8 }, { "reserved", 80, 4016 },
};

static const struct field region_fields[] = {
  { "signature", 0, 4 }, { "checksum", 4, 4 }, { "count", 8, 4 },
  { "reserved", 12, 4 }, { "BAT GUID", 16, 16 }, { "BAT offset", 32, 8 },
  { "BAT length", 40, 4 }, { "BAT flags", 44, 4 },
  { "metadata GUID", 48, 16 }, { "metadata offset", 64, 8 },
  { "metadata length", 72, 4 }, { "metadata flags", 76, 4 },
  { "third entry", 80, 32 }, { "the rest", 112, 65424 },
};

static const struct field metadata_fields[] = {
  { "signature", 0, 8 }, { "count", 10, 2 }, { "reserved", 12, 20 },
  { "parameters GUID", 32, 16 }, { "parameters offset", 48, 4 },
  { "parameters length", 52, 4 }, { "parameters flags", 56, 4 },
  { "size GUID", 64, 16 }, { "size offset", 80, 4 }, { "size length", 84, 4 },
  { "size flags", 88, 4 }, { "id offset", 112, 4 }, { "id length", 116, 4 },
  { "logical offset", 144, 4 }, { "logical length", 148, 4 },
  { "physical offset", 176, 4 }, { "physical length", 180, 4 },
  { "block size", VHDX_ITEM_PARAMETERS, 4 },
  { "flags", VHDX_ITEM_PARAMETERS + 4, 4 }, { "size", VHDX_ITEM_SIZE, 8 },
  { "id", VHDX_ITEM_ID, 16 }, { "logical", VHDX_ITEM_LOGICAL, 4 },
  { "physical", VHDX_ITEM_PHYSICAL, 4 },
};

/* Of the child. */
static const struct field locator_fields[] = {
  { "type", 0, 16 }, { "count", 18, 2 }, { "key offset", 20, 4 },
  { "value offset", 24, 4 }, { "key length", 28, 2 },
  { "value length", 30, 2 }, { "second key offset", 32, 4 },
  { "second value offset", 36, 4 }, { "second key length", 40, 2 },
  { "second value length", 42, 2 }, { "key", 92, 2 }, { "value", 120, 2 },
};

static const struct field bat_fields[] = {
  { "entry 0", 0, 8 }, { "state 0", 0, 1 }, { "entry 1", 8, 8 },
  { "entry 2", 16, 8 }, { "state 2", 16, 1 }, { "entry 3", 24, 8 },
  { "entry 4096", 4096 * 8, 8 }, { "state 4096", 4096 * 8, 1 },
};

static const struct field log_fields[] = {
  { "signature", 0, 4 }, { "checksum", 4, 4 }, { "length", 8, 4 },
  { "tail", 12, 4 }, { "sequence", 16, 8 }, { "count", 24, 4 },
  { "GUID", 32, 16 }, { "flushed", 48, 8 }, { "last", 56, 8 },
  { "descriptor", 64, 4 }, { "trailing", 68, 4 }, { "leading", 72, 8 },
  { "offset", 80, 8 }, { "descriptor's sequence", 88, 8 },
  { "data", 4096, 4 }, { "data's sequence, high", 4100, 4 },
  { "data's sequence, low", 8188, 4 }, { "data's bytes", 4104, 512 },
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
  case 10: return good + MIB;
  case 11: return good ^ 7;
  default: return next_random ();
  }
}

static uint64_t
get (const uint8_t *p, size_t width)
{
  uint8_t bytes[8] = { 0 };

  memcpy (bytes, p, width > 8 ? 1 : width);
  return get_le64 (bytes);
}

static void
put (uint8_t *p, size_t width, uint64_t value)
{
  uint8_t bytes[8];

  put_le64 (bytes, value);
  if (width > 8)
    memset (p, bytes[0], width);
  else
    memcpy (p, bytes, width);
}

/*--- One file ---------------------------------------------------------------*/

/* A good file, in memory and as a block, which has what is changed. */
struct subject {
  enum vhdx_base base;
  struct vhdx_maker *m;
  struct block *block;
  struct damage_file disk;
};

static unsigned nr_files;

static struct subject
new_subject (enum vhdx_base base)
{
  struct subject s = { .base = base, .m = bad_vhdx_make_good (base),
                       .disk = bad_vhdx_good_disk (base) };

  assert_int_equal (block_memory_new ("sweep.vhdx", s.m->data, s.m->len,
                                      &s.block, NULL), 0);
  return s;
}

static void
free_subject (struct subject *s)
{
  block_unref (s->block);
  vhdx_maker_free (s->m);
  free (s->disk.bytes);
}

/* The codes with which a file, and not the machine, is refused. */
static bool
is_refusal (int code)
{
  return code == -EBADMSG || code == -ENOTSUP || code == -ENOENT ||
    code == -EACCES;
}

/* disk not NULL: the one that it must be, if it opens as a VHDX. */
static void
try_block (struct block *block, const struct damage_file *disk,
           const char *what)
{
  struct image_options options = { .parent_path = damage_folder () };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  int r;

  alarm (PATIENCE);
  nr_files++;
  r = image_open_block (block, &options, &img, &report, &err);
  damage_check (block, &options, r, &report, what);
  if (r < 0) {
    if (!is_refusal (r) || err.msg[0] == '\0')
      fail_msg ("%s: refused with %d “%s”", what, r, err.msg);
    return;
  }
  if (disk == NULL || strcmp (image_format (img), "vhdx") != 0)
    damage_use (img);
  else
    damage_compare (img, disk, what);
}

/*--- Sweeping ---------------------------------------------------------------*/

/* A structure of the file. */
struct structure {
  const char *name;
  size_t off, len;
  size_t copy;                  /* changed in the same way; 0: none */
  void (*sum) (struct vhdx_maker *m);   /* NULL: it has no checksum */
};

static void
sum_log (struct vhdx_maker *m)
{
  uint8_t len[4];

  /* Over as many bytes as there are, whatever it says. */
  memcpy (len, m->data + MIB + 8, 4);
  if (get_le32 (len) % 4096 != 0 || get_le32 (len) > MIB)
    return;
  vhdx_maker_sum_log (m, 0);
}

static void
write_structure (struct subject *s, const struct structure *st,
                 const uint8_t *bytes)
{
  assert_int_equal (block_pwrite (s->block, bytes + st->off, st->len, st->off,
                                  0, NULL), 0);
  if (st->copy)
    assert_int_equal (block_pwrite (s->block, bytes + st->copy, st->len,
                                    st->copy, 0, NULL), 0);
}

static void
try_value (struct subject *s, const struct structure *st,
           const struct field *f, uint64_t value, bool sums)
{
  uint8_t *p = s->m->data + st->off, *saved = malloc (2 * st->len);
  char what[128];
  bool told;

  assert_non_null (saved);
  memcpy (saved, p, st->len);
  memcpy (saved + st->len, s->m->data + st->copy, st->len);
  put (p + f->off, f->width, value);
  told = !sums && st->sum && memcmp (p, saved, st->len) != 0;
  if (st->copy)
    put (s->m->data + st->copy + f->off, f->width, value);
  if (sums && st->sum)
    st->sum (s->m);
  snprintf (what, sizeof what, "%s%s, %s, %llx, sums %d", st->name,
            st->copy ? " and copy" : "", f->name, (unsigned long long) value,
            sums);
  write_structure (s, st, s->m->data);
  try_block (s->block, told ? &s->disk : NULL, what);
  memcpy (s->m->data + st->copy, saved + st->len, st->copy ? st->len : 0);
  memcpy (p, saved, st->len);
  write_structure (s, st, s->m->data);
  free (saved);
}

static void
sweep (enum vhdx_base base, const struct structure *st,
       const struct field *fields, size_t nr)
{
  struct subject s = new_subject (base);

  for (size_t i = 0; i < nr; ++i) {
    uint64_t good = get (s.m->data + st->off + fields[i].off,
                         fields[i].width);

    for (unsigned v = 0; v < NR_VALUES; ++v) {
      uint64_t value = value_nr (v, good, fields[i].width);

      try_value (&s, st, &fields[i], value, false);
      if (st->sum)
        try_value (&s, st, &fields[i], value, true);
    }
  }
  /* Nothing was left behind. */
  try_block (s.block, &s.disk, "the file as it was");
  free_subject (&s);
}

static void
every_field_of_headers_and_regions_takes_hostile_values (void **state)
{
  static const struct structure headers[] = {
    { "header 1", VHDX_AT_HEADER_1, 4096, 0, vhdx_maker_sum_headers },
    { "header 2", VHDX_AT_HEADER_2, 4096, 0, vhdx_maker_sum_headers },
    { "header 1", VHDX_AT_HEADER_1, 4096, VHDX_AT_HEADER_2,
      vhdx_maker_sum_headers },
  };
  static const struct structure regions[] = {
    { "regions 1", VHDX_AT_REGIONS_1, 65536, 0, vhdx_maker_sum_regions },
    { "regions 2", VHDX_AT_REGIONS_2, 65536, 0, vhdx_maker_sum_regions },
    { "regions 1", VHDX_AT_REGIONS_1, 65536, VHDX_AT_REGIONS_2,
      vhdx_maker_sum_regions },
  };

  (void) state;
  for (size_t i = 0; i < 3; ++i) {
    sweep (DYN, &headers[i], header_fields, NR (header_fields));
    sweep (DYN, &regions[i], region_fields, NR (region_fields));
  }
  sweep (LOG, &headers[2], header_fields, NR (header_fields));
  print_message ("%u files\n", nr_files);
  assert_true (nr_files >= 2000);
}

static void
every_field_behind_them_takes_hostile_values (void **state)
{
  static const struct structure
    metadata = { "metadata", 2 * MIB, 128 * 1024, 0, NULL },
    locator = { "locator", 2 * MIB + VHDX_ITEM_LOCATOR, 4096, 0, NULL },
    bat = { "BAT", 3 * MIB, 65536, 0, NULL },
    log = { "log", MIB, 8192, 0, sum_log };
  unsigned before = nr_files;

  (void) state;
  sweep (DYN, &metadata, metadata_fields, NR (metadata_fields));
  sweep (CHILD, &metadata, metadata_fields, NR (metadata_fields));
  sweep (CHILD, &locator, locator_fields, NR (locator_fields));
  sweep (DYN, &bat, bat_fields, NR (bat_fields));
  sweep (CHILD, &bat, bat_fields, NR (bat_fields));
  sweep (LOG, &log, log_fields, NR (log_fields));
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= 1500);
}

/*--- Truncating -------------------------------------------------------------*/

static void
a_file_that_lost_its_end_is_refused_or_whole (void **state)
{
  size_t step = getenv ("NBDIMAGE_LONG") ? 199 : 7919;
  unsigned before = nr_files;
  char what[64];

  (void) state;
  for (enum vhdx_base base = DYN; base <= CHILD; ++base) {
    struct subject s = new_subject (base);

    for (size_t len = 0; len < s.m->len; len += len < 600 ? 1 : step) {
      CLEANUP_BLOCK struct block *part = NULL;

      assert_int_equal (block_window_new (s.block, 0, len, &part, NULL), 0);
      snprintf (what, sizeof what, "base %d cut to %zu bytes", (int) base,
                len);
      try_block (part, &s.disk, what);
    }
    free_subject (&s);
  }
  print_message ("%u files\n", nr_files - before);
  assert_true (nr_files - before >= 3000);
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
  const char *given = getenv ("VHDX_TEST_SEED");
  struct damage_file parent = bad_vhdx_make_parent ();

  (void) state;
  rnd = seed = given ? strtoull (given, NULL, 0)
    : (uint64_t) time (NULL) * 1000003 + 1;
  print_message ("VHDX_TEST_SEED=%llu\n", (unsigned long long) rnd);
  damage_write (damage_folder (), "base.vhdx", &parent);
  free (parent.bytes);
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
    cmocka_unit_test (every_field_of_headers_and_regions_takes_hostile_values),
    cmocka_unit_test (every_field_behind_them_takes_hostile_values),
    cmocka_unit_test (a_file_that_lost_its_end_is_refused_or_whole),
    cmocka_unit_test (memory_stayed_below_64_mib),
  };
  int nr_failed;

  nr_failed = cmocka_run_group_tests (tests, set_up, tear_down);
  counted (nr_files, "broken files", (unsigned) nr_failed, seed);
  return nr_failed;
}
