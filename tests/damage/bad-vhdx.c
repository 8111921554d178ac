/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The bad VHDXs: good ones with a few fields changed, checksums made right
 * again unless the row says otherwise, and bytes cut off their end.
 *
 *   DYN    headers · log at 1 MiB · metadata 2 MiB · BAT 3 MiB · block 0 at
 *          4 MiB · block 2 at 5 MiB; four blocks of 1 MiB
 *   LOG    the same, and the log has a page of block 0
 *   CHILD  bitmap block 4 MiB · block 0 at 5 MiB, the first half of its
 *          sectors are here · block 2 at 6 MiB; its parent is base.vhdx
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

#include "tests/damage/bad-vhdx.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define MIB VHDX_MIB
#define DISK (4 * MIB)

enum {
  BAD_SUM = 1,                  /* checksums stay as they were */
  NO_PARENT = 2,
};

struct row {
  const char *name;
  enum vhdx_base base;
  struct damage_patch patches[4];
  int code;
  const char *says;
  unsigned flags;
  long cut;
};

#define BOTH(first, off, width, value)                                  \
  { VHDX_AT_##first##_1 + (off), width, value },                        \
  { VHDX_AT_##first##_2 + (off), width, value }
#define HEADER_1(off) (VHDX_AT_HEADER_1 + (off))
#define HEADER_2(off) (VHDX_AT_HEADER_2 + (off))
#define REGIONS_1(off) (VHDX_AT_REGIONS_1 + (off))
#define REGIONS_2(off) (VHDX_AT_REGIONS_2 + (off))
#define REGION(n) (16 + 32 * (n))
#define METADATA(off) (2 * MIB + (off))
#define ITEM(n) METADATA (32 + 32 * (n))
#define BAT(n) (3 * MIB + 8 * (n))

static const struct row rows[] = {
  { "vhdx-identifier", DYN, { { 0, 1, 'V' } }, -EBADMSG,
    "there is no VHDX file identifier" },
  { "vhdx-identifier-of-zeros", DYN, { { 0, 0, 65536 } }, -EBADMSG,
    "there is no VHDX file identifier" },

  /* Headers; the second one is the newer. */
  { "vhdx-headers-signatures", DYN, { BOTH (HEADER, 0, 1, 'H') }, -EBADMSG,
    "there is no VHDX header" },
  { "vhdx-headers-of-zeros", DYN, { BOTH (HEADER, 0, 0, 4096) }, -EBADMSG,
    "there is no VHDX header", BAD_SUM },
  { "vhdx-headers-sums", DYN, { BOTH (HEADER, 100, 1, 1) }, -EBADMSG,
    "VHDX header at offset 65536 has checksum", BAD_SUM },
  { "vhdx-header-1-sum", DYN, { { HEADER_1 (100), 1, 1 } }, 0,
    "VHDX header at offset 65536 is damaged; using the one at offset 131072",
    BAD_SUM },
  { "vhdx-header-2-sum", DYN, { { HEADER_2 (100), 1, 1 } }, 0,
    "VHDX header at offset 131072 is damaged; using the one at offset 65536",
    BAD_SUM },
  { "vhdx-header-1-of-zeros", DYN, { { HEADER_1 (0), 0, 4096 } }, 0,
    "VHDX header at offset 65536 is damaged", BAD_SUM },
  { "vhdx-header-2-of-zeros", DYN, { { HEADER_2 (0), 0, 4096 } }, 0,
    "VHDX header at offset 131072 is damaged", BAD_SUM },
  { "vhdx-headers-same-sequence", DYN,
    { { HEADER_1 (8), 8, 8 }, { HEADER_1 (200), 1, 1 } }, -EBADMSG,
    "both VHDX headers have the sequence number 8 but differ" },
  { "vhdx-version-0", DYN, { BOTH (HEADER, 66, 2, 0) }, -ENOTSUP,
    "format version 0, expected 1" },
  { "vhdx-version-2", DYN, { BOTH (HEADER, 66, 2, 2) }, -ENOTSUP,
    "format version 2, expected 1" },
  { "vhdx-version-max", DYN, { BOTH (HEADER, 66, 2, UINT16_MAX) }, -ENOTSUP,
    "format version 65535, expected 1" },
  { "vhdx-log-at-0", DYN, { BOTH (HEADER, 72, 8, 0) }, -EBADMSG,
    "1048576 bytes at offset 0, which is not behind the headers" },
  { "vhdx-log-not-aligned", DYN, { BOTH (HEADER, 72, 8, MIB + 4096) },
    -EBADMSG, "expected multiples of 1 MiB" },
  { "vhdx-log-past-the-end", DYN, { BOTH (HEADER, 72, 8, 6 * MIB) },
    -EBADMSG, "which is not behind the headers and inside the 6291456 bytes" },
  { "vhdx-log-wraps", DYN, { BOTH (HEADER, 72, 8, (uint64_t) -MIB) },
    -EBADMSG, "which is not behind the headers and inside the 6291456 bytes" },
  { "vhdx-log-length-sign", DYN, { BOTH (HEADER, 68, 4, 0x80000000) },
    -EBADMSG, "the log has 2147483648 bytes" },
  { "vhdx-log-length-max", DYN, { BOTH (HEADER, 68, 4, UINT32_MAX) },
    -EBADMSG, "the log has 4294967295 bytes at offset 1048576, expected" },
  { "vhdx-log-over-the-metadata", DYN, { BOTH (HEADER, 68, 4, 2 * MIB) },
    -EBADMSG, "the metadata at offset 2097152 overlaps the log" },
  { "vhdx-log-of-another-version", LOG, { BOTH (HEADER, 64, 2, 1) },
    -ENOTSUP, "the log has to be replayed, but its version is 1" },

  { "vhdx-log-version-of-no-log", DYN, { BOTH (HEADER, 64, 2, 1) }, 0, NULL },
  { "vhdx-no-place-for-a-log", DYN, { BOTH (HEADER, 68, 4, 0) }, 0, NULL },
  { "vhdx-header-other-fields", DYN,
    { BOTH (HEADER, 16, 8, 0), BOTH (HEADER, 4000, 8, 1) }, 0, NULL },
  { "vhdx-creator-and-behind", DYN, { { 8, 8, 0xDC00DC00DC00DC00 },
      { 1000, 8, UINT64_MAX } }, 0, NULL },

  /* The log. */
  { "vhdx-log-without-entries", DYN, { BOTH (HEADER, 48, 1, 1) }, -EBADMSG,
    "log at offset 1048576 has to be replayed, but there is no valid" },
  { "vhdx-log-of-another-guid", LOG, { BOTH (HEADER, 48, 1, 0xEE) }, -EBADMSG,
    "log at offset 1048576 has to be replayed, but there is no valid" },
  { "vhdx-log-signature", LOG, { { MIB, 1, 'L' } }, -EBADMSG,
    "there is no valid sequence of entries" },
  { "vhdx-log-sum", LOG, { { MIB + 4, 4, 0 } }, -EBADMSG,
    "there is no valid sequence of entries" },
  { "vhdx-log-data-sum", LOG, { { MIB + 4096 + 500, 1, 1 } }, -EBADMSG,
    "there is no valid sequence of entries" },
  { "vhdx-log-of-zeros", LOG, { { MIB, 0, 8192 } }, -EBADMSG,
    "there is no valid sequence of entries" },
  { "vhdx-log-of-a-longer-file", LOG, { { 0 } }, -EBADMSG,
    "the log says that 6291456 were written: it was cut off", 0, 4096 },

  /* Region tables. */
  { "vhdx-regions-signatures", DYN, { BOTH (REGIONS, 0, 1, 'R') }, -EBADMSG,
    "there is no region table" },
  { "vhdx-regions-sums", DYN, { BOTH (REGIONS, 60000, 1, 1) }, -EBADMSG,
    "region table at offset 196608 has checksum", BAD_SUM },
  { "vhdx-regions-1-sum", DYN, { { REGIONS_1 (60000), 1, 1 } }, 0,
    "region table at offset 196608 is damaged; using the one at", BAD_SUM },
  { "vhdx-regions-2-sum", DYN, { { REGIONS_2 (60000), 1, 1 } }, 0,
    "region table at offset 262144 is damaged; using the one at", BAD_SUM },
  { "vhdx-regions-1-of-zeros", DYN, { { REGIONS_1 (0), 0, 65536 } }, 0,
    "region table at offset 196608 is damaged", BAD_SUM },
  { "vhdx-regions-differ", DYN, { { REGIONS_2 (REGION (0) + 16), 8, 5 * MIB }
    }, -EBADMSG, "region tables at offsets 196608 and 262144 are both valid" },
  { "vhdx-regions-differ-behind-entries", DYN, { { REGIONS_2 (60000), 1, 1 } },
    0, NULL },
  { "vhdx-regions-not-required", DYN,
    { BOTH (REGIONS, REGION (0) + 28, 4, 0),
      BOTH (REGIONS, REGION (1) + 28, 4, 0) }, 0, NULL },
  { "vhdx-regions-other-flags", DYN,
    { BOTH (REGIONS, REGION (0) + 28, 4, UINT32_MAX) }, 0, NULL },
  { "vhdx-regions-too-many", DYN, { BOTH (REGIONS, 8, 4, 2048) }, -EBADMSG,
    "2048 entries, expected 2047 at most" },
  { "vhdx-regions-max", DYN, { BOTH (REGIONS, 8, 4, UINT32_MAX) }, -EBADMSG,
    "4294967295 entries, expected 2047 at most" },
  { "vhdx-regions-none", DYN, { BOTH (REGIONS, 8, 4, 0) }, -EBADMSG,
    "is not in the region table" },
  { "vhdx-regions-without-metadata", DYN, { BOTH (REGIONS, 8, 4, 1) },
    -EBADMSG, "the metadata is not in the region table" },
  { "vhdx-regions-unknown", DYN, { BOTH (REGIONS, REGION (0), 1, 0) },
    -ENOTSUP, "is marked as required, and is not known" },
  { "vhdx-bat-at-0", DYN, { BOTH (REGIONS, REGION (0) + 16, 8, 0) },
    -EBADMSG, "the BAT has 1048576 bytes at offset 0, which is not behind" },
  { "vhdx-bat-not-aligned", DYN,
    { BOTH (REGIONS, REGION (0) + 16, 8, 3 * MIB + 512) }, -EBADMSG,
    "the BAT has 1048576 bytes at offset 3146240, expected multiples" },
  { "vhdx-bat-past-the-end", DYN,
    { BOTH (REGIONS, REGION (0) + 16, 8, 6 * MIB) }, -EBADMSG,
    "the BAT has 1048576 bytes at offset 6291456, which is not behind" },
  { "vhdx-bat-wraps", DYN,
    { BOTH (REGIONS, REGION (0) + 16, 8, (uint64_t) -MIB) }, -EBADMSG,
    "which is not behind the headers and inside the 6291456 bytes" },
  { "vhdx-bat-over-the-metadata", DYN,
    { BOTH (REGIONS, REGION (0) + 16, 8, 2 * MIB) }, -EBADMSG,
    "at offset 2097152 overlaps" },
  { "vhdx-bat-of-nothing", DYN, { BOTH (REGIONS, REGION (0) + 24, 4, 0) },
    -EBADMSG, "the BAT has 0 bytes at offset 3145728, expected multiples" },
  { "vhdx-metadata-over-the-bat", DYN,
    { BOTH (REGIONS, REGION (1) + 24, 4, 2 * MIB) }, -EBADMSG,
    "the BAT at offset 3145728 overlaps the metadata at offset 2097152" },

  /* Metadata, which have no checksum. */
  { "vhdx-metadata-signature", DYN, { { METADATA (0), 1, 'M' } }, -EBADMSG,
    "there is no metadata table" },
  { "vhdx-metadata-of-zeros", DYN, { { METADATA (0), 0, 65536 } }, -EBADMSG,
    "there is no metadata table" },
  { "vhdx-items-too-many", DYN, { { METADATA (10), 2, 2048 } }, -EBADMSG,
    "2048 entries, expected 2047 at most" },
  { "vhdx-items-none", DYN, { { METADATA (10), 2, 0 } }, -EBADMSG,
    "the metadata lacks the file parameters" },
  { "vhdx-item-unknown", DYN, { { ITEM (0), 1, 0 } }, -ENOTSUP,
    "is marked as required, and is not known" },
  { "vhdx-item-in-the-table", DYN, { { ITEM (0) + 16, 4, 65528 } }, -EBADMSG,
    "8 bytes at offset 65528 of the metadata, which is not behind the table" },
  { "vhdx-item-past-the-end", DYN, { { ITEM (0) + 16, 4, MIB } }, -EBADMSG,
    "8 bytes at offset 1048576" },
  { "vhdx-item-at-max", DYN, { { ITEM (1) + 16, 4, UINT32_MAX } }, -EBADMSG,
    "8 bytes at offset 4294967295" },
  { "vhdx-item-length-max", DYN, { { ITEM (1) + 20, 4, UINT32_MAX } },
    -EBADMSG, "4294967295 bytes at offset" },
  { "vhdx-item-length-0", DYN, { { ITEM (1) + 20, 4, 0 } }, -EBADMSG,
    "metadata has 0 bytes, expected 8" },
  { "vhdx-items-overlap", DYN, { { ITEM (1) + 16, 4, 65543 } }, -EBADMSG,
    "offset 65543 of the metadata overlaps the one at offset 65536" },
  { "vhdx-item-of-a-user", DYN, { { ITEM (0) + 24, 4, 5 } }, -ENOTSUP,
    "is marked as required, and is not known" },
  { "vhdx-items-not-required", DYN,
    { { ITEM (0) + 24, 4, 0 }, { ITEM (1) + 24, 4, 0 },
      { ITEM (2) + 24, 4, 2 }, { ITEM (3) + 24, 4, 0 } }, 0, NULL },
  { "vhdx-items-reserved-fields", DYN,
    { { METADATA (8), 2, 1 }, { METADATA (12), 8, 1 },
      { ITEM (0) + 28, 4, 1 } }, 0, NULL },
  { "vhdx-id-of-zeros", DYN, { { METADATA (VHDX_ITEM_ID), 0, 16 } }, 0, NULL },
  { "vhdx-fixed-with-absent-blocks", DYN,
    { { METADATA (VHDX_ITEM_PARAMETERS + 4), 4, 1 } }, 0, NULL },
  { "vhdx-child-fixed", CHILD,
    { { METADATA (VHDX_ITEM_PARAMETERS + 4), 4, 3 } }, 0, NULL },
  { "vhdx-blocks-of-0", DYN, { { METADATA (VHDX_ITEM_PARAMETERS), 4, 0 } },
    -EBADMSG, "blocks of 0 bytes, expected a power of 2" },
  { "vhdx-blocks-of-512-kib", DYN,
    { { METADATA (VHDX_ITEM_PARAMETERS), 4, MIB / 2 } }, -EBADMSG,
    "blocks of 524288 bytes" },
  { "vhdx-blocks-of-3-mib", DYN,
    { { METADATA (VHDX_ITEM_PARAMETERS), 4, 3 * MIB } }, -EBADMSG,
    "blocks of 3145728 bytes" },
  { "vhdx-blocks-of-max", DYN,
    { { METADATA (VHDX_ITEM_PARAMETERS), 4, UINT32_MAX } }, -EBADMSG,
    "blocks of 4294967295 bytes" },
  { "vhdx-flags", DYN, { { METADATA (VHDX_ITEM_PARAMETERS + 4), 4, 0x80 } },
    -ENOTSUP, "flags 0x80, of which only 0x3 are known" },
  { "vhdx-parent-without-locator", DYN,
    { { METADATA (VHDX_ITEM_PARAMETERS + 4), 4, 2 } }, -EBADMSG,
    "the metadata lacks the parent locator" },
  { "vhdx-size-max", DYN, { { METADATA (VHDX_ITEM_SIZE), 8, UINT64_MAX } },
    -EBADMSG, "a size of 18446744073709551615 bytes, expected 64 TiB" },
  { "vhdx-size-sign", DYN,
    { { METADATA (VHDX_ITEM_SIZE), 8, UINT64_C (1) << 63 } }, -EBADMSG,
    "a size of 9223372036854775808 bytes, expected 64 TiB" },
  { "vhdx-size-one-more", DYN, { { METADATA (VHDX_ITEM_SIZE), 8, DISK + 1 } },
    -EBADMSG, "a size of 4194305 bytes, which is not a multiple" },
  { "vhdx-size-of-64-tib", DYN,
    { { METADATA (VHDX_ITEM_SIZE), 8, UINT64_C (64) << 40 } }, -EBADMSG,
    "the BAT at offset 3145728 has 1048576 bytes, but the disk of" },
  { "vhdx-sectors-of-0", DYN, { { METADATA (VHDX_ITEM_LOGICAL), 4, 0 } },
    -EBADMSG, "a logical sector size of 0 bytes, expected 512 or 4096" },
  { "vhdx-sectors-of-520", DYN, { { METADATA (VHDX_ITEM_LOGICAL), 4, 520 } },
    -EBADMSG, "a logical sector size of 520 bytes, expected 512 or 4096" },
  { "vhdx-physical-sectors-of-max", DYN,
    { { METADATA (VHDX_ITEM_PHYSICAL), 4, UINT32_MAX } }, -EBADMSG,
    "a physical sector size of 4294967295 bytes, expected 512 or 4096" },

  /* The BAT, which has none either. */
  { "vhdx-entry-state-4", DYN, { { BAT (1), 8, 4 } }, -EBADMSG,
    "BAT entry 1 (at offset 3145736) has the state 4" },
  { "vhdx-entry-state-5", DYN, { { BAT (1), 8, 5 } }, -EBADMSG,
    "BAT entry 1 (at offset 3145736) has the state 5" },
  { "vhdx-entry-state-7", DYN, { { BAT (0), 1, 7 } }, -EBADMSG,
    "BAT entry 0 (at offset 3145728) has the state 7" },
  { "vhdx-entry-reserved-bits", DYN,
    { { BAT (0), 1, 0xFE }, { BAT (1), 4, 0xFFFF8 } }, 0, NULL },
  { "vhdx-entry-absent-anywhere", DYN,
    { { BAT (1), 8, MIB + 3 }, { BAT (3), 8, ~UINT64_C (7) } }, 0, NULL },
  { "vhdx-entry-at-0", DYN, { { BAT (1), 8, 6 } }, -EBADMSG,
    "BAT entry 1 (at offset 3145736) is offset 0: the block would lie over" },
  { "vhdx-entry-over-the-log", DYN, { { BAT (1), 8, MIB + 6 } }, -EBADMSG,
    "the block would overlap the log at offset 1048576" },
  { "vhdx-entry-over-the-metadata", DYN, { { BAT (1), 8, 2 * MIB + 6 } },
    -EBADMSG, "the block would overlap the metadata at offset 2097152" },
  { "vhdx-entry-over-the-bat", DYN, { { BAT (1), 8, 3 * MIB + 6 } },
    -EBADMSG, "the block would overlap the BAT at offset 3145728" },
  { "vhdx-entry-past-the-end", DYN, { { BAT (1), 8, 6 * MIB + 6 } }, -EBADMSG,
    "BAT entry 1 (at offset 3145736) is offset 6291456: the block would end" },
  { "vhdx-entry-max", DYN, { { BAT (1), 8, ~UINT64_C (1) } }, -EBADMSG,
    "BAT entry 1 (at offset 3145736) is offset 18446744073708503040" },
  { "vhdx-entry-twice", DYN, { { BAT (3), 8, 4 * MIB + 6 } }, -EBADMSG,
    "BAT entries 0 (offset 4194304) and 3 (offset 4194304) overlap" },
  { "vhdx-child-bitmap-state", CHILD, { { BAT (4096), 1, 7 } }, -EBADMSG,
    "BAT entry 4096 (at offset 3178496) has the state 7" },
  { "vhdx-child-without-bitmap", CHILD, { { BAT (4096), 8, 0 } }, -EBADMSG,
    "BAT entry 4096 (at offset 3178496) has no bitmap block" },
  { "vhdx-child-bitmap-over-a-block", CHILD,
    { { BAT (4096), 8, 5 * MIB + 6 } }, -EBADMSG,
    "BAT entries 0 (offset 5242880) and 4096 (offset 5242880) overlap" },

  /* Parents. */
  { "vhdx-child-alone", CHILD, { { 0 } }, -ENOENT, "base.vhdx", NO_PARENT },
  { "vhdx-child-locator-type", CHILD,
    { { METADATA (VHDX_ITEM_LOCATOR), 1, 0 } }, -ENOTSUP,
    "which is not known" },
  { "vhdx-child-locator-too-many", CHILD,
    { { METADATA (VHDX_ITEM_LOCATOR + 18), 2, UINT16_MAX } }, -EBADMSG,
    "the parent locator has 65535 entries, which do not fit into its" },
  { "vhdx-child-locator-past-the-end", CHILD,
    { { METADATA (VHDX_ITEM_LOCATOR + 24), 4, UINT32_MAX } }, -EBADMSG,
    "bytes at offset 4294967295, which is not inside its" },
  { "vhdx-child-locator-linkage", CHILD,
    { { METADATA (VHDX_ITEM_LOCATOR + 92), 1, 'P' } }, -EBADMSG,
    "the parent locator lacks" },
  { "vhdx-child-of-another", CHILD,
    { { METADATA (VHDX_ITEM_LOCATOR + 122), 1, 'F' } }, -ENOENT,
    "base.vhdx, but the identity of its data is" },

  /* Files that are cut off. */
  { "vhdx-cut-by-a-byte", DYN, { { 0 } }, -EBADMSG,
    "BAT entry 2 (at offset 3145744) is offset 5242880: the block would end "
    "after offset 6291455", 0, 1 },
  { "vhdx-cut-by-a-block", DYN, { { 0 } }, -EBADMSG,
    "BAT entry 2 (at offset 3145744) is offset 5242880: the block would end",
    0, MIB },
  { "vhdx-cut-in-the-bat", DYN, { { 0 } }, -EBADMSG,
    "the BAT has 1048576 bytes at offset 3145728, which is not behind the "
    "headers and inside the 4190208 bytes", 0, 2 * MIB + 4096 },
  { "vhdx-cut-in-the-log", DYN, { { 0 } }, -EBADMSG,
    "says that the log has 1048576 bytes at offset 1048576, which is not", 0,
    5 * MIB - 4096 },
  { "vhdx-cut-to-the-headers", DYN, { { 0 } }, -EBADMSG,
    "says that the log has 1048576 bytes at offset 1048576, which is not", 0,
    5 * MIB },
  { "vhdx-cut-in-the-headers", DYN, { { 0 } }, -EBADMSG,
    "the file has 100000 bytes, but the headers of a VHDX alone take 1048576",
    0, 6 * MIB - 100000 },
  { "vhdx-cut-to-the-identifier", DYN, { { 0 } }, -EBADMSG,
    "the file has 8 bytes, but the headers of a VHDX alone take 1048576", 0,
    6 * MIB - 8 },
  { "vhdx-longer", DYN, { { 0 } }, 0, NULL, 0, -3 * MIB },

  /* And whole ones, of which the others are made. */
  { "vhdx-whole", DYN, { { 0 } }, 0, NULL },
  { "vhdx-whole-with-a-log", LOG, { { 0 } }, 0,
    "its log was replayed in memory (entries: 1)" },
  { "vhdx-whole-child", CHILD, { { 0 } }, 0, NULL },
};

/*--- Making them ------------------------------------------------------------*/

static void
fill (uint8_t *p, size_t len, unsigned seed)
{
  for (size_t i = 0; i < len; ++i)
    p[i] = (uint8_t) (1 + (i + i / 512 * 5 + seed * 37) % 255);
}

static void
add_block (struct vhdx_maker *m, unsigned block, bool partial, unsigned seed)
{
  uint8_t *data = malloc (MIB);

  assert_non_null (data);
  fill (data, MIB, seed);
  if (partial)
    vhdx_maker_add_partial (m, block, data);
  else
    vhdx_maker_add_block (m, block, data);
  free (data);
}

struct vhdx_maker *
bad_vhdx_make_good (enum vhdx_base base)
{
  static const struct vhdx_spec plain = { .size = DISK, .id = 1 };
  static const struct vhdx_spec child = {
    .size = DISK, .id = 1, .parent_id = 2,
    .locators = { { "relative_path", ".\\base.vhdx" } },
  };
  struct vhdx_maker *m = vhdx_maker_new (base == CHILD ? &child : &plain);
  uint8_t page[4096];
  struct vhdx_change change = { .off = 4 * MIB, .page = page };

  add_block (m, 0, base == CHILD, 1);
  if (base == CHILD)
    vhdx_maker_set_bits (m, 0, MIB / 512 / 2);
  add_block (m, 2, false, 2);
  vhdx_maker_finish (m);
  fill (page, sizeof page, 9);
  if (base == LOG)
    vhdx_maker_log (m, &(struct vhdx_log_entry) {
        .changes = &change, .nr_changes = 1 });
  return m;
}

struct damage_file
bad_vhdx_make_parent (void)
{
  static const struct vhdx_spec spec = { .size = DISK, .id = 2 };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  struct damage_file file;

  add_block (m, 0, false, 3);
  add_block (m, 1, false, 4);
  vhdx_maker_finish (m);
  file = damage_copy (m->data, m->len);
  vhdx_maker_free (m);
  return file;
}

struct damage_file
bad_vhdx_good_disk (enum vhdx_base base)
{
  struct damage_file disk = { calloc (1, DISK), DISK };

  assert_non_null (disk.bytes);
  if (base == CHILD) {
    fill (disk.bytes, MIB, 3);
    fill (disk.bytes, MIB / 2, 1);
    fill (disk.bytes + MIB, MIB, 4);
  }
  else
    fill (disk.bytes, MIB, 1);
  fill (disk.bytes + 2 * MIB, MIB, 2);
  if (base == LOG)
    fill (disk.bytes, 4096, 9);
  return disk;
}

static void
make (size_t i, struct damage_image *out)
{
  const struct row *row = &rows[i];
  struct vhdx_maker *m = bad_vhdx_make_good (row->base);
  struct damage_file file = { m->data, m->len };

  damage_apply (&file, row->patches, 4);
  if (!(row->flags & BAD_SUM)) {
    vhdx_maker_sum_headers (m);
    vhdx_maker_sum_regions (m);
  }
  out->image = damage_copy (m->data, m->len);
  vhdx_maker_free (m);
  damage_cut (&out->image, row->cut);
  if (row->code == 0)
    out->disk = bad_vhdx_good_disk (row->base);
  if (row->base == CHILD && !(row->flags & NO_PARENT))
    out->parent = bad_vhdx_make_parent ();
}

static size_t
nr (void)
{
  return sizeof rows / sizeof rows[0];
}

static const char *
name_of (size_t i)
{
  return rows[i].name;
}

static struct damage_verdict
verdict_of (size_t i)
{
  return (struct damage_verdict) { rows[i].code, rows[i].says };
}

const struct damage_family damage_vhdx = {
  .name = "vhdx",
  .file = "disk.vhdx",
  .parent = "base.vhdx",
  .nr = nr,
  .name_of = name_of,
  .verdict_of = verdict_of,
  .make = make,
};
