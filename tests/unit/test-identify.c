/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Naming file systems: what does not need one made by another program.
 * tests/unit/test-identify-tools.sh has the others.
 */

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
#include "lib/base/checked.h"
#include "lib/base/utf8.h"
#include "lib/block/block-ops.h"
#include "lib/block/memory.h"
#include "lib/fsmap/identify.h"

/* A huge block of which a few pieces hold something, and which counts what
 * is read of it.
 */
struct piece {
  uint64_t off;
  uint8_t bytes[512];
};

static struct huge {
  struct block base;
  struct piece piece[4];
  unsigned nr_pieces;
  uint64_t bytes_read;
  uint64_t bad;                 /* reading this byte fails */
} huge;

static int
huge_pread (struct block *b, void *buf, size_t len, uint64_t off,
            struct err *err)
{
  (void) b;
  if (huge.bad - off < len)
    return err_set (err, -EIO, "bad sector");
  memset (buf, 0, len);
  huge.bytes_read += len;
  for (unsigned i = 0; i < huge.nr_pieces; ++i)
    for (unsigned j = 0; j < 512; ++j)
      if (huge.piece[i].off + j - off < len)
        ((uint8_t *) buf)[huge.piece[i].off + j - off] =
          huge.piece[i].bytes[j];
  return 0;
}

static int
huge_extents (struct block *b, uint64_t len, uint64_t off,
              struct extent_list *list, struct err *err)
{
  uint64_t end = off + len;
  int r = 0;

  (void) b;
  while (off < end && r == 0) {
    uint64_t next = round_down (off, 512) + 512;
    bool data = false;

    for (unsigned i = 0; i < huge.nr_pieces; ++i)
      data |= huge.piece[i].off == round_down (off, 512);
    next = min_u64 (next, end);
    r = extent_list_add (list, off, next - off,
                         data ? EXTENT_DATA : EXTENT_HOLE, 0, err);
    off = next;
  }
  return r;
}

static const struct block_ops huge_ops = {
  .pread = huge_pread,
  .extents = huge_extents,
};

static void
make_huge (uint64_t size)
{
  memset (&huge, 0, sizeof huge);
  huge.bad = UINT64_MAX;
  assert_int_equal (block_init (&huge.base, &huge_ops, "huge", size, false,
                                NULL), 0);
}

static uint8_t *
add_piece (uint64_t off)
{
  huge.piece[huge.nr_pieces].off = off;
  return huge.piece[huge.nr_pieces++].bytes;
}

static void
end_huge (void)
{
  free (huge.base.name);
}

/* The signature of swap space is at the end of its first page. */
static void
add_swap (void)
{
  memcpy (add_piece (4096 - 512) + 502, "SWAPSPACE2", 10);
  put_le32 (add_piece (1024), 1);
  put_le32 (huge.piece[1].bytes + 4, 1000);
  memcpy (huge.piece[1].bytes + 12, "0123456789abcdef", 16);
  strcpy ((char *) huge.piece[1].bytes + 28, "tausch");
}

static void
nothing_is_found_in_nothing (void **state)
{
  CLEANUP_BLOCK struct block *empty = NULL, *zeros = NULL;
  struct fs_identity id;

  (void) state;
  assert_int_equal (block_memory_new ("e", NULL, 0, &empty, NULL), 0);
  assert_int_equal (fs_identify (empty, &id, NULL), 0);
  assert_null (id.type);
  assert_null (id.usage);
  assert_int_equal (block_memory_new ("z", NULL, 70000, &zeros, NULL), 0);
  assert_int_equal (fs_identify (zeros, &id, NULL), 0);
  assert_null (id.type);
  assert_null (id.usage);
}

static void
a_huge_sparse_disk_is_cheap (void **state)
{
  struct fs_identity id;

  (void) state;
  make_huge (UINT64_C (1) << 60);
  add_swap ();
  assert_int_equal (fs_identify (&huge.base, &id, NULL), 0);
  assert_string_equal (id.type, "swap");
  assert_string_equal (id.usage, "other");
  assert_string_equal (id.label, "tausch");
  assert_string_equal (id.uuid, "30313233-3435-3637-3839-616263646566");
  assert_in_range (huge.bytes_read, 1, 8192);
  fs_identity_free (&id);
  end_huge ();
}

static void
a_disk_larger_than_files_is_refused (void **state)
{
  struct err err = ERR_INIT;
  struct fs_identity id;

  (void) state;
  make_huge (UINT64_C (1) << 63);
  assert_int_equal (fs_identify (&huge.base, &id, &err), -ENOTSUP);
  assert_string_equal (err.msg, "9223372036854775808 bytes are too much to "
                       "look for file systems in");
  end_huge ();
}

static void
a_disk_that_cannot_be_read_is_an_error (void **state)
{
  struct err err = ERR_INIT;
  struct fs_identity id;

  (void) state;
  make_huge (UINT64_C (1) << 40);
  add_swap ();
  huge.bad = 4090;
  assert_int_equal (fs_identify (&huge.base, &id, &err), -EIO);
  assert_string_equal (err.msg, "bad sector");
  end_huge ();
}

/* A boot sector of FAT32 whose root directory is clusters 5, 7 and then
 * what `after` says.
 */
static void
add_fat32 (uint32_t after)
{
  uint8_t *b = add_piece (0), *fat;

  memcpy (b, "\xEB\x58\x90mkfs.fat", 11);
  put_le16 (b + 11, 512);
  b[13] = 128;
  put_le16 (b + 14, 65535);             /* the FAT is beyond 2 MiB */
  b[16] = 1;
  b[21] = 0xF8;
  put_le32 (b + 32, 0xF0000000);
  put_le32 (b + 36, 400000);
  put_le32 (b + 44, 5);
  put_le16 (b + 48, 1);
  b[66] = 0x29;
  memcpy (b + 71, "OLD LABEL  ", 11);
  memcpy (b + 82, "FAT32   ", 8);
  b[510] = 0x55;
  b[511] = 0xAA;
  fat = add_piece (65535 * 512);
  put_le32 (fat + 20, 7);
  put_le32 (fat + 28, after);
}

static void
the_label_of_a_fat32_is_found_along_its_root_directory (void **state)
{
  struct fs_identity id;
  uint8_t *d;

  (void) state;
  make_huge (UINT64_C (0xF0000000) * 512);
  add_fat32 (0x0FFFFFFF);
  d = add_piece ((65535 + 400000 + 3 * 128) * UINT64_C (512));
  for (unsigned i = 0; i < 16; ++i)     /* deleted files */
    d[32 * i] = 0xE5;
  d = add_piece ((65535 + 400000 + 5 * 128) * UINT64_C (512));
  memcpy (d, "NEW LABEL  \x08", 12);
  assert_int_equal (fs_identify (&huge.base, &id, NULL), 0);
  assert_string_equal (id.type, "vfat");
  assert_string_equal (id.version, "FAT32");
  assert_non_null (id.label);
  assert_string_equal (id.label, "NEW LABEL");
  fs_identity_free (&id);
  end_huge ();
}

static void
a_root_directory_that_loops_ends (void **state)
{
  struct fs_identity id;

  (void) state;
  make_huge (UINT64_C (0xF0000000) * 512);
  add_fat32 (5);
  assert_int_equal (fs_identify (&huge.base, &id, NULL), 0);
  assert_string_equal (id.type, "vfat");
  fs_identity_free (&id);
  end_huge ();
}

static void
the_second_header_of_luks_is_found (void **state)
{
  struct fs_identity id;
  uint8_t *h;

  (void) state;
  make_huge (1 << 30);
  h = add_piece (0x400000);
  memcpy (h, "SKUL\xBA\xBE\0\2", 8);
  put_be64 (h + 8, 0x400000);
  put_be64 (h + 256, 0x400000);
  strcpy ((char *) h + 168, "01234567-89ab-cdef-0123-456789abcdef");
  assert_int_equal (fs_identify (&huge.base, &id, NULL), 0);
  assert_non_null (id.type);
  assert_string_equal (id.type, "crypto_LUKS");
  assert_string_equal (id.usage, "crypto");
  assert_string_equal (id.uuid, "01234567-89ab-cdef-0123-456789abcdef");
  fs_identity_free (&id);
  end_huge ();
}

static void
the_metadata_of_bitlocker_is_found (void **state)
{
  struct fs_identity id;
  uint8_t *h;

  (void) state;
  make_huge (UINT64_C (1) << 40);
  h = add_piece (0);
  memcpy (h, "\xEB\x58\x90-FVE-FS-", 11);
  put_le64 (h + 176, UINT64_C (5) << 30);
  h = add_piece (UINT64_C (5) << 30);
  memcpy (h, "-FVE-FS-", 8);
  put_le16 (h + 10, 2);
  assert_int_equal (fs_identify (&huge.base, &id, NULL), 0);
  assert_non_null (id.type);
  assert_string_equal (id.type, "BitLocker");
  assert_non_null (id.version);
  assert_string_equal (id.version, "2");
  fs_identity_free (&id);
  end_huge ();
}

static void
raid_metadata_at_the_end_is_found (void **state)
{
  uint64_t size = UINT64_C (1) << 40, off = size - 8192;
  struct fs_identity id;
  uint8_t *h;

  (void) state;
  make_huge (size);
  h = add_piece (off);
  put_le32 (h, 0xA92B4EFC);
  put_le32 (h + 4, 1);
  memset (h + 16, 0x77, 16);
  strcpy ((char *) h + 32, "host:0");
  put_le64 (h + 144, off / 512);
  assert_int_equal (fs_identify (&huge.base, &id, NULL), 0);
  assert_non_null (id.type);
  assert_string_equal (id.type, "linux_raid_member");
  assert_string_equal (id.usage, "raid");
  assert_string_equal (id.label, "host:0");
  assert_string_equal (id.version, "1.0");
  fs_identity_free (&id);
  end_huge ();
}

static void
labels_become_utf8 (void **state)
{
  static const struct { const char *in, *out; } cases[] = {
    { "plain", "plain" },
    { "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80",
      "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80" },
    { "caf\xE9", "caf\xEF\xBF\xBD" },
    { "\xC3", "\xEF\xBF\xBD" },
    { "\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD" },
    { "\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
    { "\xF4\x90\x80\x80",
      "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" },
  };

  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    char *s = utf8_repair (cases[i].in, strlen (cases[i].in));

    assert_string_equal (s, cases[i].out);
    free (s);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (nothing_is_found_in_nothing),
    cmocka_unit_test (a_huge_sparse_disk_is_cheap),
    cmocka_unit_test (a_disk_larger_than_files_is_refused),
    cmocka_unit_test (a_disk_that_cannot_be_read_is_an_error),
    cmocka_unit_test (the_label_of_a_fat32_is_found_along_its_root_directory),
    cmocka_unit_test (a_root_directory_that_loops_ends),
    cmocka_unit_test (the_second_header_of_luks_is_found),
    cmocka_unit_test (the_metadata_of_bitlocker_is_found),
    cmocka_unit_test (raid_metadata_at_the_end_is_found),
    cmocka_unit_test (labels_become_utf8),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
