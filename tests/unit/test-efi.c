/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Looking for UEFI's loaders in FAT file systems, most of them malicious.
 * Good ones by another program are in tests/cli/test-info.sh.
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
#include "lib/block/memory.h"
#include "lib/fsmap/efi.h"

/* FAT12: sector 0 boot sector, 1 FAT, 2 root folder (16 entries), then 60
 * clusters of one sector: cluster 2 is sector 3.
 */
#define SECTORS 63
#define CLUSTER(n) (((n) + 1) * 512)

static uint8_t disk[SECTORS * 512];

static void
put_entry (size_t off, const char *name, uint8_t attributes, unsigned cluster)
{
  memcpy (disk + off, name, 11);
  disk[off + 11] = attributes;
  put_le16 (disk + off + 20, (uint16_t) (cluster >> 16));
  put_le16 (disk + off + 26, (uint16_t) cluster);
}

static void
put_fat12 (unsigned cluster, unsigned next)
{
  uint8_t *p = disk + 512 + cluster * 12 / 8;
  uint16_t v = get_le16 (p);

  put_le16 (p, cluster & 1 ? (v & 0x000f) | next << 4
                           : (v & 0xf000) | next);
}

static void
make_good (void)
{
  memset (disk, 0, sizeof disk);
  put_le16 (disk + 11, 512);
  disk[13] = 1;
  put_le16 (disk + 14, 1);
  disk[16] = 1;
  put_le16 (disk + 17, 16);
  put_le16 (disk + 19, SECTORS);
  put_le16 (disk + 22, 1);
  put_entry (2 * 512, "LABEL      ", 0x08, 0);
  put_entry (2 * 512 + 32, "EFI        ", 0x10, 2);
  put_entry (CLUSTER (2), "BOOT       ", 0x10, 3);
  /* \EFI\BOOT goes on in cluster 9. */
  for (int i = 0; i < 16; ++i)
    put_entry (CLUSTER (3) + i * 32, "OTHER   TXT", 0x20, 0);
  put_entry (CLUSTER (9), "BOOTX64 EFI", 0x20, 4);
  put_entry (CLUSTER (9) + 32, "BOOTIA32EFI", 0x20, 5);
  put_entry (CLUSTER (9) + 64, "BOOTFOLDEFI", 0x10, 5);
  put_fat12 (2, 0xfff);
  put_fat12 (3, 9);
  put_fat12 (9, 0xfff);
}

/* What is found; the caller frees it. */
static char *
find (size_t size)
{
  CLEANUP_BLOCK struct block *block = NULL;
  struct err err = ERR_INIT;
  char *loaders = NULL;

  assert_int_equal (block_memory_new ("disk", disk, size, &block, &err), 0);
  assert_int_equal (efi_find_loaders (block, &loaders, &err), 0);
  return loaders;
}

static void
loaders_are_found_along_a_chain_of_clusters (void **state)
{
  char *loaders;

  (void) state;
  make_good ();
  loaders = find (sizeof disk);
  assert_non_null (loaders);
  assert_string_equal (loaders, "BOOTX64.EFI BOOTIA32.EFI");
  free (loaders);
}

static void
a_loop_of_clusters_ends (void **state)
{
  char *loaders;

  (void) state;
  make_good ();
  put_fat12 (3, 3);             /* never reaches cluster 9 */
  assert_null (find (sizeof disk));
  make_good ();
  put_fat12 (9, 3);
  loaders = find (sizeof disk);
  assert_non_null (loaders);
  assert_true (strlen (loaders) < 1000);
  free (loaders);
}

static void
clusters_outside_the_file_system_are_not_read (void **state)
{
  static const unsigned outside[] = { 0, 1, 62, 0xff0, 0xff7, 0xffffffff };

  (void) state;
  for (size_t i = 0; i < sizeof outside / sizeof outside[0]; ++i) {
    make_good ();
    put_entry (CLUSTER (2), "BOOT       ", 0x10, outside[i]);
    assert_null (find (sizeof disk));
    make_good ();
    put_fat12 (3, outside[i] & 0xfff);
    assert_null (find (sizeof disk));
  }
}

static void
names_that_would_steer_a_terminal_are_left_out (void **state)
{
  static const char *const names[] = {
    "BOOT\033[7mEFI", "BOOT\2337mxEFI", "BOOT\r\n12EFI", "BOOT\177123EFI",
  };

  (void) state;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    char *loaders;

    make_good ();
    put_entry (CLUSTER (9), names[i], 0x20, 4);
    loaders = find (sizeof disk);
    assert_non_null (loaders);
    assert_string_equal (loaders, "BOOTIA32.EFI");
    free (loaders);
  }
}

static void
a_disk_shorter_than_it_says_is_survived (void **state)
{
  (void) state;
  make_good ();
  for (size_t size = 0; size < CLUSTER (9); size += 500)
    assert_null (find (size));
}

static void
boot_sectors_that_are_nonsense_are_survived (void **state)
{
  (void) state;
  for (size_t at = 0; at < 64; ++at)
    for (unsigned v = 0; v < 256; v += 5) {
      make_good ();
      disk[at] = (uint8_t) v;
      free (find (sizeof disk));
    }
  memset (disk, 0xff, sizeof disk);
  assert_null (find (sizeof disk));
  memset (disk, 0, sizeof disk);
  assert_null (find (sizeof disk));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (loaders_are_found_along_a_chain_of_clusters),
    cmocka_unit_test (a_loop_of_clusters_ends),
    cmocka_unit_test (clusters_outside_the_file_system_are_not_read),
    cmocka_unit_test (names_that_would_steer_a_terminal_are_left_out),
    cmocka_unit_test (a_disk_shorter_than_it_says_is_survived),
    cmocka_unit_test (boot_sectors_that_are_nonsense_are_survived),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
