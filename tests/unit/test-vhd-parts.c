/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The parts of the VHD driver that can be tried on their own. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/format/vhd/vhd.h"
#include "tests/support/faulty.h"
#include "tests/support/vhd-maker.h"

static unsigned
slow_run (const uint8_t *bits, unsigned first, unsigned max, bool *bit)
{
  unsigned n = 0;

  *bit = bits[first / 8] >> (7 - first % 8) & 1;
  while (n < max &&
         (bits[(first + n) / 8] >> (7 - (first + n) % 8) & 1) == *bit)
    n++;
  return n;
}

static void
a_run_of_bits_ends_where_they_change (void **state)
{
  uint8_t bits[8] = { 0 };

  (void) state;
  /* Every run of ones and of zeros in 64 bits, from everywhere in it. */
  for (unsigned from = 0; from < 64; ++from)
    for (unsigned to = from; to <= 64; ++to) {
      memset (bits, 0, sizeof bits);
      for (unsigned i = from; i < to; ++i)
        bits[i / 8] |= (uint8_t) (0x80 >> i % 8);
      for (unsigned first = 0; first < 64; first += 3)
        for (unsigned max = 1; first + max <= 64; max += 5) {
          bool bit, expected_bit;
          unsigned nr = vhd_bits_run (bits, first, max, &bit);

          assert_int_equal (nr, slow_run (bits, first, max, &expected_bit));
          assert_int_equal (bit, expected_bit);
        }
    }
}

static void
the_checksum_leaves_itself_out (void **state)
{
  struct vhd_spec spec = { .type = 2, .size = 4096 };
  uint8_t footer[512];
  uint32_t stored;

  (void) state;
  vhd_maker_footer (&spec, footer);
  assert_int_equal (vhd_checksum (footer, 512, 64), get_be32 (footer + 64));
  stored = get_be32 (footer + 64);
  memset (footer + 64, 0x5A, 4);
  assert_int_equal (vhd_checksum (footer, 512, 64), stored);
  footer[68]++;
  assert_int_equal (vhd_checksum (footer, 512, 64), stored - 1);
  footer[63]++;
  assert_int_equal (vhd_checksum (footer, 512, 64), stored - 2);
}

static void
windows_paths_become_posix_paths (void **state)
{
  static const struct { const char *in, *out; bool leaf_only; } cases[] = {
    { "p.vhd", "p.vhd", false },
    { ".\\p.vhd", "p.vhd", false },
    { ".\\.\\a\\p.vhd", "a/p.vhd", false },
    { "..\\base\\p.vhd", "../base/p.vhd", false },
    { "C:\\vm\\p.vhd", "/vm/p.vhd", true },
    { "c:p.vhd", "p.vhd", true },
    { "\\\\server\\share\\p.vhd", "//server/share/p.vhd", true },
    { "\\\\?\\C:\\vm\\p.vhd", "//?/C:/vm/p.vhd", true },
    { "/srv/vm/p.vhd", "/srv/vm/p.vhd", false },
    { "", "", false },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    CLEANUP_FREE char *path = strdup (cases[i].in);
    bool leaf_only;

    assert_string_equal (parent_path_from_windows (path, &leaf_only),
                         cases[i].out);
    assert_int_equal (leaf_only, cases[i].leaf_only);
  }
}

static void
file_urls_become_paths (void **state)
{
  static const struct { const char *in, *out; } cases[] = {
    { "file:///srv/p.vhd", "/srv/p.vhd" },
    { "FILE://localhost/srv/p.vhd", "/srv/p.vhd" },
    { "file://./p.vhd", "p.vhd" },
    { "file://p.vhd", "p.vhd" },
    { "p.vhd", "p.vhd" },
    { "./a/p.vhd", "a/p.vhd" },
    { "file:///a%20b%2Fc%C3%A4.vhd", "/a b/c\xC3\xA4.vhd" },
    { "file:///a%", "/a%" },
    { "file:///a%4", "/a%4" },
    { "file:///a%zz%41", "/a%zzA" },
    { "file:///a%00b", "/a" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    CLEANUP_FREE char *url = strdup (cases[i].in);

    assert_string_equal (vhd_path_from_url (url), cases[i].out);
  }
}

static void
the_cache_keeps_layers_and_sectors_apart (void **state)
{
  struct vhd_spec spec = { .type = 2, .size = 8 << 20 };
  struct vhd_maker *m = vhd_maker_new (&spec);
  struct sector_cache *cache = sector_cache_new ();
  CLEANUP_BLOCK struct block *a = NULL, *b = NULL, *counting = NULL;
  uint8_t buf[512];

  (void) state;
  assert_non_null (cache);
  vhd_maker_finish (m);
  for (uint32_t s = 0; s < spec.size / 512; ++s)
    put_be32 (m->data + s * 512, s);
  a = vhd_maker_block (m);
  for (uint32_t s = 0; s < spec.size / 512; ++s)
    put_be32 (m->data + s * 512, ~s);
  b = vhd_maker_block (m);
  counting = faulty_new (a, 0);
  /* More than fit, in an order in which they push each other out. */
  for (uint64_t i = 0; i < 40000; ++i) {
    uint64_t s = i * 4097 % (spec.size / 512);

    assert_int_equal (sector_cache_read (cache, a, 0, s, buf, NULL), 0);
    assert_int_equal (get_be32 (buf), (uint32_t) s);
    assert_int_equal (sector_cache_read (cache, b, 63, s, buf, NULL), 0);
    assert_int_equal (get_be32 (buf), (uint32_t) ~s);
  }
  assert_int_equal (sector_cache_read (cache, counting, 7, 3, buf, NULL), 0);
  assert_int_equal (sector_cache_read (cache, counting, 7, 3, buf, NULL), 0);
  assert_int_equal (faulty_reads (counting), 1);
  sector_cache_free (cache);
  vhd_maker_free (m);
}

/* A block of one sector, which is written by another thread, as it were,
 * while it is read: after its bytes were copied, before they are returned.
 */
struct busy_block {
  struct block base;
  uint8_t bytes[512];
  struct sector_cache *cache;
  bool change;                  /* at the next read */
  bool fail;                    /* the next write, after half of it */
};

static int
busy_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  struct busy_block *busy = (struct busy_block *) b;
  uint8_t two[512];

  (void) err;
  memcpy (buf, busy->bytes + off, len);
  memset (two, 2, sizeof two);
  if (busy->change)
    sector_cache_write (busy->cache, b, 0, 0, two, NULL);
  busy->change = false;
  return 0;
}

static int
busy_pwrite (struct block *b, const void *buf, size_t len, uint64_t off,
             unsigned flags, struct err *err)
{
  struct busy_block *busy = (struct busy_block *) b;

  (void) flags;
  memcpy (busy->bytes + off, buf, busy->fail ? len / 2 : len);
  return busy->fail ? err_set (err, -EIO, "half of it") : 0;
}

static const struct block_ops busy_ops = {
  .pread = busy_pread,
  .pwrite = busy_pwrite,
};

static void
check_cached (struct busy_block *b, uint8_t first, uint8_t last)
{
  uint8_t buf[512];

  assert_int_equal (sector_cache_read (b->cache, &b->base, 0, 0, buf, NULL),
                    0);
  assert_int_equal (buf[0], first);
  assert_int_equal (buf[511], last);
}

static void
the_cache_has_what_was_written_last (void **state)
{
  struct busy_block *b = calloc (1, sizeof *b);
  uint8_t buf[512];

  (void) state;
  assert_int_equal (block_init (&b->base, &busy_ops, "busy", 512, true, NULL),
                    0);
  b->cache = sector_cache_new ();
  /* The reader has what was there, and does not leave it to others. */
  b->change = true;
  check_cached (b, 0, 0);
  check_cached (b, 2, 2);
  memset (buf, 3, sizeof buf);
  b->fail = true;
  assert_int_equal (sector_cache_write (b->cache, &b->base, 0, 0, buf, NULL),
                    -EIO);
  check_cached (b, 3, 2);
  b->bytes[0] = 4;
  check_cached (b, 3, 2);
  sector_cache_free (b->cache);
  block_unref (&b->base);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (a_run_of_bits_ends_where_they_change),
    cmocka_unit_test (the_checksum_leaves_itself_out),
    cmocka_unit_test (windows_paths_become_posix_paths),
    cmocka_unit_test (file_urls_become_paths),
    cmocka_unit_test (the_cache_keeps_layers_and_sectors_apart),
    cmocka_unit_test (the_cache_has_what_was_written_last),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
