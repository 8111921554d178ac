/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the VHDX driver accepts, what it refuses and with which words. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <time.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/format/image.h"
#include "lib/format/vhdx/vhdx.h"
#include "tests/support/faulty.h"
#include "tests/support/vhdx-maker.h"

#define MIB VHDX_MIB

/* A dynamic disk of four blocks, of which 0 and 2 are there:
 *
 *   1 MiB log · 2 MiB metadata · 3 MiB BAT · 4 MiB block 0 · 5 MiB block 2
 */
static const struct vhdx_spec small = { .size = 4 * MIB, .id = 1 };

/* The same with a parent, and block 0 partially present; the bitmap block is
 * at 4 MiB, block 0 at 5 MiB, block 2 at 6 MiB.
 */
static const struct vhdx_spec child = {
  .size = 4 * MIB, .id = 1, .parent_id = 2,
  .locators = { { "relative_path", ".\\base.vhdx" } },
};

static struct vhdx_maker *
make (const struct vhdx_spec *spec)
{
  struct vhdx_maker *m = vhdx_maker_new (spec);
  uint8_t *data = malloc (MIB);

  assert_non_null (data);
  memset (data, 'a', MIB);
  if (spec->parent_id)
    vhdx_maker_add_partial (m, 0, data);
  else
    vhdx_maker_add_block (m, 0, data);
  memset (data, 'c', MIB);
  vhdx_maker_add_block (m, 2, data);
  vhdx_maker_finish (m);
  free (data);
  return m;
}

static int
open_with (const struct vhdx_maker *m, const struct image_options *options,
           struct image **img, struct report *report, struct err *err)
{
  CLEANUP_BLOCK struct block *block = vhdx_maker_block (m);

  return image_open_block (block, options, img, report, err);
}

static bool
reported (const struct report *report, const char *text)
{
  for (size_t i = 0; i < report->lines.len; ++i)
    if (strstr (report->lines.ptr[i], text))
      return true;
  return false;
}

static char
byte_at (struct image *img, uint64_t off)
{
  char c;

  assert_int_equal (image_pread (img, &c, 1, off, NULL), 0);
  return c;
}

/*--- One rule broken in otherwise good bytes --------------------------------*/

enum place {
  NOWHERE, IDENTIFIER, HEADERS, HEADER_1, HEADER_2, REGIONS, REGIONS_1,
  REGIONS_2, METADATA, BAT, FILE_END,
  OLD_SUMS,                     /* leave the checksums as they were */
};

struct patch {
  enum place place;
  size_t off;
  unsigned width;               /* bytes: 1, 2, 4, 8 */
  uint64_t value;
};

struct broken {
  const char *rule;
  int code;
  const char *msg;              /* a part of the message */
  struct patch patches[5];
};

static void
put (struct vhdx_maker *m, size_t off, const struct patch *p)
{
  uint8_t bytes[8];

  put_le64 (bytes, p->value);
  memcpy (m->data + off + p->off, bytes, p->width);
}

static void
apply (struct vhdx_maker *m, const struct patch *p)
{
  switch (p->place) {
  case NOWHERE: case OLD_SUMS: break;
  case IDENTIFIER: put (m, 0, p); break;
  case HEADERS:
    put (m, VHDX_AT_HEADER_1, p);
    put (m, VHDX_AT_HEADER_2, p);
    break;
  case HEADER_1: put (m, VHDX_AT_HEADER_1, p); break;
  case HEADER_2: put (m, VHDX_AT_HEADER_2, p); break;
  case REGIONS:
    put (m, VHDX_AT_REGIONS_1, p);
    put (m, VHDX_AT_REGIONS_2, p);
    break;
  case REGIONS_1: put (m, VHDX_AT_REGIONS_1, p); break;
  case REGIONS_2: put (m, VHDX_AT_REGIONS_2, p); break;
  case METADATA: put (m, m->metadata_off, p); break;
  case BAT: put (m, m->bat_off, p); break;
  case FILE_END: m->len -= p->off; break;       /* off bytes fewer */
  }
}

static void
refused (const struct vhdx_spec *spec, const struct broken *b)
{
  CLEANUP_REPORT struct report report = REPORT_INIT;
  struct vhdx_maker *m = make (spec);
  struct err err = ERR_INIT;
  struct image *img = NULL;
  bool old_sums = false;
  int r;

  for (int i = 0; i < 5; ++i) {
    apply (m, &b->patches[i]);
    old_sums = old_sums || b->patches[i].place == OLD_SUMS;
  }
  if (!old_sums) {
    vhdx_maker_sum_headers (m);
    vhdx_maker_sum_regions (m);
  }
  r = open_with (m, NULL, &img, &report, &err);
  if (r != b->code || strstr (err.msg, b->msg) == NULL)
    fail_msg ("%s: expected %d “%s”, got %d “%s”", b->rule, b->code, b->msg,
              r, err.msg);
  assert_null (img);
  assert_int_equal (err.code, r);
  vhdx_maker_free (m);
}

#define REFUSED(spec, list)                                     \
  for (size_t i_ = 0; i_ < sizeof list / sizeof list[0]; ++i_)  \
    refused (spec, &list[i_])

static const struct broken broken_headers[] = {
  { "identifier", -EBADMSG, "no VHDX file identifier (“vhdxfile”) at offset 0",
    { { IDENTIFIER, 0, 1, 'V' } } },
  { "no header", -EBADMSG,
    "no VHDX header (“head”), neither at offset 65536 nor at 131072",
    { { HEADERS, 0, 1, 'H' } } },
  { "checksum of both", -EBADMSG, "header at offset 65536 has checksum",
    { { HEADERS, 100, 1, 1 }, { OLD_SUMS, 0, 0, 0 } } },
  { "checksum of one, no other", -EBADMSG,
    "header at offset 131072 has checksum",
    { { HEADER_1, 0, 1, 0 }, { HEADER_2, 100, 1, 1 },
      { OLD_SUMS, 0, 0, 0 } } },
  { "same sequence", -EBADMSG,
    "both VHDX headers have the sequence number 8 but differ",
    { { HEADER_1, 8, 8, 8 }, { HEADER_1, 200, 1, 1 } } },
  { "version 0", -ENOTSUP,
    "header at offset 131072 has format version 0, expected 1",
    { { HEADERS, 66, 2, 0 } } },
  { "version 2", -ENOTSUP, "format version 2, expected 1",
    { { HEADER_2, 66, 2, 2 } } },
  { "log length", -EBADMSG,
    "log has 1052672 bytes at offset 1048576, expected multiples of 1 MiB",
    { { HEADERS, 68, 4, MIB + 4096 } } },
  { "log offset", -EBADMSG, "expected multiples of 1 MiB",
    { { HEADERS, 72, 8, MIB + 4096 } } },
  { "log in the headers", -EBADMSG, "1048576 bytes at offset 0, which is not "
    "behind the headers and inside the 6291456 bytes of the file",
    { { HEADERS, 72, 8, 0 } } },
  { "log behind the end", -EBADMSG, "which is not behind the headers",
    { { HEADERS, 72, 8, 6 * MIB } } },
  { "log nowhere", -EBADMSG, "which is not behind the headers",
    { { HEADERS, 72, 8, UINT64_MAX - MIB + 1 } } },
  { "log version", -ENOTSUP, "log has to be replayed, but its version is 1",
    { { HEADERS, 48, 1, 1 }, { HEADERS, 64, 2, 1 } } },
  { "log of nothing", -EBADMSG, "log to be replayed, and that it has 0 bytes",
    { { HEADERS, 48, 1, 1 }, { HEADERS, 68, 4, 0 } } },
  { "log without entries", -EBADMSG,
    "log at offset 1048576 has to be replayed, but there is no valid sequence "
    "of entries in its 1048576 bytes", { { HEADERS, 48, 1, 1 } } },
};

#define REGION(n, off) (16 + 32 * (n) + (off))

static const struct broken broken_regions[] = {
  { "no table", -EBADMSG,
    "no region table (“regi”), neither at offset 196608 nor at 262144",
    { { REGIONS, 0, 1, 'R' } } },
  { "checksum of both", -EBADMSG, "region table at offset 196608 has checksum",
    { { REGIONS, 60000, 1, 1 }, { OLD_SUMS, 0, 0, 0 } } },
  { "checksum of one, no other", -EBADMSG,
    "region table at offset 262144 has checksum",
    { { REGIONS_1, 0, 1, 0 }, { REGIONS_2, 100, 1, 1 },
      { OLD_SUMS, 0, 0, 0 } } },
  { "both differ", -EBADMSG,
    "region tables at offsets 196608 and 262144 are both valid but differ",
    { { REGIONS_2, REGION (0, 16), 8, 5 * MIB } } },
  { "too many", -EBADMSG, "2048 entries, expected 2047 at most",
    { { REGIONS, 8, 4, 2048 } } },
  { "no BAT", -EBADMSG, "the BAT is not in the region table",
    { { REGIONS, REGION (0, 0), 1, 0 }, { REGIONS, REGION (0, 28), 4, 0 } } },
  { "no metadata", -EBADMSG, "the metadata is not in the region table",
    { { REGIONS, 8, 4, 1 } } },
  { "two BATs", -EBADMSG, "the BAT is in the region table twice",
    { { REGIONS, 8, 4, 3 }, { REGIONS, REGION (2, 0), 8,
        UINT64_C (0x4200F6232DC27766) },
      { REGIONS, REGION (2, 8), 8, UINT64_C (0x084AFD9B5E11649D) },
      { REGIONS, REGION (2, 16), 8, 4 * MIB },
      { REGIONS, REGION (2, 24), 4, MIB } } },
  { "unknown required", -ENOTSUP, "the region 2dc27700-f623-4200-9d64-"
    "115e9bfd4a08 at offset 3145728 is marked as required, and is not known",
    { { REGIONS, REGION (0, 0), 1, 0 } } },
  { "no GUID", -EBADMSG, "an entry of the region table has no GUID",
    { { REGIONS, 8, 4, 3 } } },
  { "offset", -EBADMSG, "the BAT has 1048576 bytes at offset 3149824, expected "
    "multiples of 1 MiB", { { REGIONS, REGION (0, 16), 8, 3 * MIB + 4096 } } },
  { "length", -EBADMSG, "the metadata has 4096 bytes at offset 2097152, "
    "expected multiples of 1 MiB", { { REGIONS, REGION (1, 24), 4, 4096 } } },
  { "length 0", -EBADMSG, "the metadata has 0 bytes",
    { { REGIONS, REGION (1, 24), 4, 0 } } },
  { "in the headers", -EBADMSG, "the BAT has 1048576 bytes at offset 0, which "
    "is not behind the headers and inside the 6291456 bytes of the file",
    { { REGIONS, REGION (0, 16), 8, 0 } } },
  { "behind the end", -EBADMSG, "which is not behind the headers",
    { { REGIONS, REGION (0, 16), 8, 6 * MIB } } },
  { "nowhere", -EBADMSG, "which is not behind the headers",
    { { REGIONS, REGION (0, 16), 8, UINT64_MAX - MIB + 1 } } },
  { "over the log", -EBADMSG,
    "the BAT at offset 1048576 overlaps the log at offset 1048576",
    { { REGIONS, REGION (0, 16), 8, MIB } } },
  { "over each other", -EBADMSG,
    "the BAT at offset 3145728 overlaps the metadata at offset 2097152",
    { { REGIONS, REGION (1, 24), 4, 2 * MIB } } },
};

#define ENTRY(n, off) (32 + 32 * (n) + (off))

static const struct broken broken_metadata[] = {
  { "no table", -EBADMSG, "no metadata table (“metadata”) at offset 2097152",
    { { METADATA, 0, 1, 'M' } } },
  { "too many", -EBADMSG, "2048 entries, expected 2047 at most",
    { { METADATA, 10, 2, 2048 } } },
  { "unknown required", -ENOTSUP, "metadata item caa16700-fa36-4d43-b3b6-"
    "33f0aa44e76b is marked as required, and is not known",
    { { METADATA, ENTRY (0, 0), 1, 0 } } },
  { "a user's item is not ours", -ENOTSUP, "metadata item caa16737-fa36-4d43-"
    "b3b6-33f0aa44e76b is marked as required, and is not known",
    { { METADATA, ENTRY (0, 24), 4, 5 } } },
  { "item in the table", -EBADMSG, "8 bytes at offset 65528 of the metadata, "
    "which is not behind the table and inside its 1048576 bytes",
    { { METADATA, ENTRY (0, 16), 4, 65528 } } },
  { "item behind the end", -EBADMSG, "8 bytes at offset 1048572",
    { { METADATA, ENTRY (0, 16), 4, MIB - 4 } } },
  { "item nowhere", -EBADMSG, "8 bytes at offset 4294967295",
    { { METADATA, ENTRY (0, 16), 4, UINT32_MAX } } },
  { "large item", -EBADMSG, "1048577 bytes at offset 65536",
    { { METADATA, ENTRY (0, 20), 4, MIB + 1 } } },
  { "overlap", -EBADMSG, "offset 65543 of the metadata overlaps the one at "
    "offset 65536", { { METADATA, ENTRY (1, 16), 4, 65543 } } },
  { "twice", -EBADMSG, "the metadata has the logical sector size twice",
    { { METADATA, ENTRY (4, 0), 8, UINT64_C (0x4709A96F8141BF1D) },
      { METADATA, ENTRY (4, 8), 8, UINT64_C (0x5FABFAA833F247BA) } } },
  { "no parameters", -EBADMSG, "the metadata lacks the file parameters",
    { { METADATA, ENTRY (0, 0), 1, 0 }, { METADATA, ENTRY (0, 24), 4, 0 } } },
  { "no size", -EBADMSG, "the metadata lacks the virtual disk size",
    { { METADATA, ENTRY (1, 0), 1, 0 }, { METADATA, ENTRY (1, 24), 4, 0 } } },
  { "no id", -EBADMSG, "the metadata lacks the virtual disk id",
    { { METADATA, ENTRY (2, 0), 1, 0 }, { METADATA, ENTRY (2, 24), 4, 0 } } },
  { "no sectors", -EBADMSG, "the metadata lacks the logical sector size",
    { { METADATA, ENTRY (3, 0), 1, 0 }, { METADATA, ENTRY (3, 24), 4, 0 } } },
  { "no physical sectors", -EBADMSG,
    "the metadata lacks the physical sector size",
    { { METADATA, ENTRY (4, 0), 1, 0 }, { METADATA, ENTRY (4, 24), 4, 0 } } },
  { "length of an item", -EBADMSG, "virtual disk size in the metadata has 4 "
    "bytes, expected 8", { { METADATA, ENTRY (1, 20), 4, 4 } } },
  { "empty item", -EBADMSG, "file parameters in the metadata has 0 bytes, "
    "expected 8", { { METADATA, ENTRY (0, 20), 4, 0 },
                    { METADATA, ENTRY (0, 16), 4, 0 } } },
  { "blocks of 0", -EBADMSG, "blocks of 0 bytes, expected a power of 2",
    { { METADATA, VHDX_ITEM_PARAMETERS, 4, 0 } } },
  { "blocks of 3 MiB", -EBADMSG, "blocks of 3145728 bytes",
    { { METADATA, VHDX_ITEM_PARAMETERS, 4, 3 * MIB } } },
  { "blocks of 512 KiB", -EBADMSG, "blocks of 524288 bytes",
    { { METADATA, VHDX_ITEM_PARAMETERS, 4, MIB / 2 } } },
  { "blocks of 512 MiB", -EBADMSG, "blocks of 536870912 bytes",
    { { METADATA, VHDX_ITEM_PARAMETERS, 4, 512 * MIB } } },
  { "unknown flags", -ENOTSUP, "flags 0x4, of which only 0x3 are known",
    { { METADATA, VHDX_ITEM_PARAMETERS + 4, 4, 4 } } },
  { "a parent without a locator", -EBADMSG,
    "the metadata lacks the parent locator",
    { { METADATA, VHDX_ITEM_PARAMETERS + 4, 4, 2 } } },
  { "sectors of 520", -EBADMSG,
    "a logical sector size of 520 bytes, expected 512 or 4096",
    { { METADATA, VHDX_ITEM_LOGICAL, 4, 520 } } },
  { "physical sectors of 0", -EBADMSG,
    "a physical sector size of 0 bytes, expected 512 or 4096",
    { { METADATA, VHDX_ITEM_PHYSICAL, 4, 0 } } },
  { "size over 64 TiB", -EBADMSG, "a size of 70368744178176 bytes, expected 64 "
    "TiB at most",
    { { METADATA, VHDX_ITEM_SIZE, 8, (UINT64_C (64) << 40) + 512 } } },
  { "half a sector", -EBADMSG, "a size of 4194560 bytes, which is not a "
    "multiple of the sector size of 512",
    { { METADATA, VHDX_ITEM_SIZE, 8, 4 * MIB + 256 } } },
  { "a size that the BAT is too small for", -EBADMSG,
    "the BAT at offset 3145728 has 1048576 bytes, but the disk of "
    "68719476736000 bytes needs 65551999 entries",
    { { METADATA, VHDX_ITEM_SIZE, 8, UINT64_C (65536000) << 20 } } },
};

static const struct broken broken_bat[] = {
  { "state 4", -EBADMSG, "BAT entry 1 (at offset 3145736) has the state 4, "
    "which a block of a disk without a parent can't have",
    { { BAT, 8, 8, 4 } } },
  { "state 5", -EBADMSG, "has the state 5,", { { BAT, 8, 8, 5 } } },
  { "state 7", -EBADMSG, "has the state 7,", { { BAT, 0, 1, 7 } } },
  { "in the headers", -EBADMSG, "BAT entry 1 (at offset 3145736) is offset 0: "
    "the block would lie over the headers", { { BAT, 8, 8, 6 } } },
  { "over the log", -EBADMSG,
    "is offset 1048576: the block would overlap the log at offset 1048576",
    { { BAT, 8, 8, MIB + 6 } } },
  { "over the metadata", -EBADMSG, "overlap the metadata at offset 2097152",
    { { BAT, 8, 8, 2 * MIB + 6 } } },
  { "over the BAT", -EBADMSG, "overlap the BAT at offset 3145728",
    { { BAT, 8, 8, 3 * MIB + 6 } } },
  { "behind the end", -EBADMSG, "BAT entry 3 (at offset 3145752) is offset "
    "6291456: the block would end after offset 6291456, where the file ends",
    { { BAT, 24, 8, 6 * MIB + 6 } } },
  { "nowhere", -EBADMSG, "is offset 18446744073708503040: the block would end",
    { { BAT, 24, 8, UINT64_MAX - MIB + 1 + 6 } } },
  { "a file that was cut off", -EBADMSG, "BAT entry 2 (at offset 3145744)",
    { { FILE_END, 1, 0, 0 } } },
  { "the same place", -EBADMSG, "BAT entries 0 (offset 4194304) and 3 (offset "
    "4194304) overlap: the first block takes 1048576 bytes",
    { { BAT, 24, 8, 4 * MIB + 6 } } },
};

static const struct broken broken_child_bat[] = {
  { "state 5", -EBADMSG, "has the state 5, which a block can't have",
    { { BAT, 8, 8, 5 } } },
  { "bitmap's state", -EBADMSG, "BAT entry 4096 (at offset 3178496) has the "
    "state 7, which a bitmap block can't have",
    { { BAT, 4096 * 8, 1, 7 } } },
  { "no bitmap", -EBADMSG, "BAT entry 4096 (at offset 3178496) has no bitmap "
    "block, but a block of its chunk is partially present",
    { { BAT, 4096 * 8, 8, 0 } } },
  { "bitmap over the log", -EBADMSG, "overlap the log",
    { { BAT, 4096 * 8, 8, MIB + 6 } } },
  { "bitmap over a block", -EBADMSG, "BAT entries 0 (offset 5242880) and 4096 "
    "(offset 5242880) overlap", { { BAT, 4096 * 8, 8, 5 * MIB + 6 } } },
};

#define LOC(off) (VHDX_ITEM_LOCATOR + (off))

static const struct broken broken_locators[] = {
  { "short", -EBADMSG, "parent locator has 19 bytes, expected 20 or more",
    { { METADATA, ENTRY (5, 20), 4, 19 } } },
  { "type", -ENOTSUP, "parent locator is of the type b04aef00-d19e-4a81-b789-"
    "25b8e9445913, which is not known", { { METADATA, LOC (0), 1, 0 } } },
  { "too many", -EBADMSG, "65535 entries, which do not fit into its ",
    { { METADATA, LOC (18), 2, 65535 } } },
  { "string behind the end", -EBADMSG,
    "a string of the parent locator has 28 bytes at offset 4096, which is not "
    "inside its ", { { METADATA, LOC (20), 4, 4096 } } },
  { "string nowhere", -EBADMSG, "bytes at offset 4294967295",
    { { METADATA, LOC (24), 4, UINT32_MAX } } },
  { "string in the head", -EBADMSG, "a string of the parent locator",
    { { METADATA, LOC (20), 4, 18 } } },
  { "half a character", -EBADMSG, "a string of the parent locator has 27",
    { { METADATA, LOC (28), 2, 27 } } },
  { "no linkage", -EBADMSG, "the parent locator lacks ‘parent_linkage’",
    { { METADATA, LOC (92), 1, 'P' } } },
  { "linkage", -EBADMSG, "‘parent_linkage’ of the parent locator is ‘x",
    { { METADATA, LOC (120), 1, 'x' } } },
  { "twice", -EBADMSG, "the parent locator has ‘parent_linkage’ twice",
    { { METADATA, LOC (32), 4, 92 }, { METADATA, LOC (40), 2, 28 } } },
};

static void
a_header_that_breaks_a_rule_is_refused (void **state)
{
  (void) state;
  REFUSED (&small, broken_headers);
}

static void
a_region_table_that_breaks_a_rule_is_refused (void **state)
{
  (void) state;
  REFUSED (&small, broken_regions);
}

static void
metadata_that_break_a_rule_are_refused (void **state)
{
  (void) state;
  REFUSED (&small, broken_metadata);
}

static void
a_bat_that_breaks_a_rule_is_refused (void **state)
{
  (void) state;
  REFUSED (&small, broken_bat);
  REFUSED (&child, broken_child_bat);
}

static void
a_locator_that_breaks_a_rule_is_refused (void **state)
{
  (void) state;
  REFUSED (&child, broken_locators);
}

static const char cannot_grow[] = "it would have to grow when it is written, "
  "and only a regular file can";

static void
the_unbroken_ones_open (void **state)
{
  const struct vhdx_spec specs[] = {
    small,
    { .size = 4 * MIB, .is_fixed = true },
    { .size = 4 * MIB, .logical = 4096 },
    { .size = 4 * MIB, .physical = 512, .block_size = MIB },
    { .size = 4 * MIB, .log_len = 3 * MIB },
    { .size = 3 * MIB - 512 },
  };

  (void) state;
  for (size_t i = 0; i < sizeof specs / sizeof specs[0]; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_maker *m = make (&specs[i]);
    struct block_sizes sizes;
    struct err err = ERR_INIT;

    if (open_with (m, NULL, &img, &report, &err) < 0)
      fail_msg ("%zu: %s", i, err.msg);
    assert_int_equal (report.lines.len, 0);
    assert_string_equal (image_format (img), "vhdx");
    assert_int_equal (image_size (img), specs[i].size);
    image_get_sizes (img, &sizes);
    assert_int_equal (sizes.logical,
                      specs[i].logical ? specs[i].logical : 512);
    assert_int_equal (sizes.minimum, specs[i].logical ? 4096 : 1);
    assert_int_equal (sizes.preferred, specs[i].physical ? 0 : 4096);
    assert_string_equal (image_readonly_reason (img), cannot_grow);
    vhdx_maker_free (m);
  }
}

static void
a_disk_of_no_bytes_opens (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_spec spec = { .size = 0 };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  struct err err = ERR_INIT;

  (void) state;
  vhdx_maker_finish (m);
  if (open_with (m, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (image_size (img), 0);
  vhdx_maker_free (m);
}

/*--- What is tolerated ------------------------------------------------------*/

/* QEMU does not mark its regions as required; a region that is not known and
 * not required only takes its space.
 */
static void
an_optional_region_only_takes_its_space (void **state)
{
  struct vhdx_maker *m = make (&small);
  struct err err = ERR_INIT;

  (void) state;
  for (int i = 0; i < 2; ++i) {
    uint8_t *p = m->data + (i ? VHDX_AT_REGIONS_2 : VHDX_AT_REGIONS_1);

    put_le32 (p + 8, 3);
    put_le32 (p + REGION (0, 28), 0);
    put_le32 (p + REGION (1, 28), 0);
    memset (p + REGION (2, 0), 0x11, 16);
    put_le64 (p + REGION (2, 16), 6 * MIB);
    put_le32 (p + REGION (2, 24), MIB);
  }
  vhdx_maker_sum_regions (m);
  m->data = realloc (m->data, m->len + 2 * MIB);
  assert_non_null (m->data);
  memset (m->data + m->len, 0, 2 * MIB);
  m->len += 2 * MIB;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;

    vhdx_maker_put_entry (m, vhdx_maker_entry (m, 1),
                          (size_t) (7 - i) * MIB, 6);
    assert_int_equal (open_with (m, NULL, &img, NULL, &err),
                      i ? -EBADMSG : 0);
  }
  assert_non_null (strstr (err.msg, "overlap the region 11111111-1111-1111-"
                           "1111-111111111111 at offset 6291456"));
  vhdx_maker_free (m);
}

static void
an_optional_metadata_item_is_left_alone (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_maker *m = make (&small);
  uint8_t *p = m->data + m->metadata_off;
  struct err err = ERR_INIT;

  (void) state;
  put_le16 (p + 10, 8);
  for (int i = 5; i < 8; ++i)
    memset (p + ENTRY (i, 0), i, 16);
  put_le32 (p + ENTRY (5, 16), 70000);
  put_le32 (p + ENTRY (5, 20), 100000);
  put_le32 (p + ENTRY (6, 24), 2);      /* empty */
  /* A user's, with the name of one of ours. */
  memcpy (p + ENTRY (7, 0), p + ENTRY (1, 0), 16);
  put_le32 (p + ENTRY (7, 16), 65536 + 4096);
  put_le32 (p + ENTRY (7, 20), 17);
  put_le32 (p + ENTRY (7, 24), 1);
  if (open_with (m, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  vhdx_maker_free (m);
}

static void
what_is_in_the_bitmap_slots_of_a_disk_without_a_parent_does_not_matter (
  void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_spec spec = { .size = UINT64_C (5) << 30 };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = calloc (1, MIB);
  struct err err = ERR_INIT;

  (void) state;
  memset (data, 'x', MIB);
  vhdx_maker_add_block (m, 4095, data);
  memset (data, 'y', MIB);
  vhdx_maker_add_block (m, 4096, data);
  vhdx_maker_finish (m);
  memset (m->data + vhdx_maker_bitmap_entry (m, 0), 0xFF, 8);
  if (open_with (m, NULL, &img, NULL, &err) < 0)
    fail_msg ("%s", err.msg);
  assert_int_equal (byte_at (img, (UINT64_C (4) << 30) - 1), 'x');
  assert_int_equal (byte_at (img, UINT64_C (4) << 30), 'y');
  free (data);
  vhdx_maker_free (m);
}

static void
an_entry_that_the_disk_does_not_need_is_not_looked_at (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_maker *m = make (&small);

  (void) state;
  memset (m->data + m->bat_off + 4 * 8, 0xFF, 100);
  assert_int_equal (open_with (m, NULL, &img, NULL, NULL), 0);
  vhdx_maker_free (m);
}

static void
the_last_block_may_be_cut_where_the_disk_ends (void **state)
{
  struct vhdx_spec spec = { .size = MIB + 8192 };
  uint8_t *data = calloc (1, MIB);

  (void) state;
  memset (data, 'x', MIB);
  for (size_t cut = MIB - 8192; cut <= MIB - 8191; ++cut) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_maker *m = vhdx_maker_new (&spec);

    vhdx_maker_add_block (m, 1, data);
    vhdx_maker_finish (m);
    m->len -= cut;
    assert_int_equal (open_with (m, NULL, &img, NULL, NULL),
                      cut == MIB - 8192 ? 0 : -EBADMSG);
    if (img)
      assert_int_equal (byte_at (img, MIB + 8191), 'x');
    vhdx_maker_free (m);
  }
  free (data);
}

static void
blocks_in_any_order_are_fine_and_overlaps_among_them_are_found (void **state)
{
  enum { NR = 40 };
  struct vhdx_spec spec = { .size = NR * 2 * MIB, .block_size = 2 * MIB };
  struct vhdx_maker *m = vhdx_maker_new (&spec);
  uint8_t *data = malloc (2 * MIB);

  (void) state;
  for (unsigned i = 0; i < NR; ++i) {
    memset (data, (int) i, 2 * MIB);
    vhdx_maker_add_block (m, i * 7 % NR, data);
  }
  vhdx_maker_finish (m);
  /* As it is, and then with one block after another moved half into the one
   * before it.
   */
  for (unsigned i = 0; i < NR; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    uint8_t *entry = m->data + vhdx_maker_entry (m, i);
    struct err err = ERR_INIT;
    char number[16];
    int r;

    put_le64 (entry, get_le64 (entry) - (i > 0) * MIB);
    r = open_with (m, NULL, &img, NULL, &err);
    put_le64 (entry, get_le64 (entry) + (i > 0) * MIB);
    if (i == 0) {
      assert_int_equal (r, 0);
      assert_int_equal (byte_at (img, 7 * 2 * MIB), 1);
      continue;
    }
    assert_int_equal (r, -EBADMSG);
    snprintf (number, sizeof number, " %u (", i);
    assert_non_null (strstr (err.msg, "overlap: the first block takes 2097152"
                             " bytes"));
    assert_non_null (strstr (err.msg, number));
  }
  free (data);
  vhdx_maker_free (m);
}

/*--- Two copies of things ---------------------------------------------------*/

static void
with_one_damaged_header_the_other_one_is_used (void **state)
{
  static const size_t offs[] = { VHDX_AT_HEADER_1, VHDX_AT_HEADER_2 };

  (void) state;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_IMAGE_INFO struct image_info info = { 0 };
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_maker *m = make (&small);
    struct err err = ERR_INIT;

    m->data[offs[i] + 3000] ^= 1;
    if (open_with (m, NULL, &img, &report, &err) < 0)
      fail_msg ("%s", err.msg);
    assert_int_equal (report.lines.len, 1);
    assert_true (reported (&report, i ? "header at offset 131072 is damaged; "
                           "using the one at offset 65536"
                           : "header at offset 65536 is damaged; using the "
                           "one at offset 131072"));
    assert_int_equal (byte_at (img, 2 * MIB), 'c');
    vhdx_maker_free (m);
  }
}

/* Told by the identity of the data. */
static void
the_header_with_the_higher_number_counts (void **state)
{
  (void) state;
  for (unsigned newer = 0; newer < 2; ++newer) {
    CLEANUP_IMAGE_INFO struct image_info info = { 0 };
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_maker *m = make (&small);
    char expected[40];

    for (unsigned i = 0; i < 2; ++i) {
      uint8_t *p = m->data + (i ? VHDX_AT_HEADER_2 : VHDX_AT_HEADER_1);

      put_le64 (p + 8, i == newer ? UINT64_MAX : 5);
      vhdx_maker_id (10 + i, p + 32);
    }
    vhdx_maker_sum_headers (m);
    assert_int_equal (open_with (m, NULL, &img, NULL, NULL), 0);
    assert_int_equal (image_get_info (img, &info, NULL), 0);
    vhdx_maker_id_text (10 + newer, expected);
    expected[37] = '\0';
    assert_int_equal (strcasecmp (info.layers.ptr[0].id, expected + 1), 0);
    vhdx_maker_free (m);
  }
}

static void
headers_that_are_the_same_do_no_harm (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_maker *m = make (&small);

  (void) state;
  memcpy (m->data + VHDX_AT_HEADER_1, m->data + VHDX_AT_HEADER_2, 4096);
  assert_int_equal (open_with (m, NULL, &img, NULL, NULL), 0);
  vhdx_maker_free (m);
}

static void
with_one_damaged_region_table_the_other_one_is_used (void **state)
{
  static const size_t offs[] = { VHDX_AT_REGIONS_1, VHDX_AT_REGIONS_2 };

  (void) state;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_maker *m = make (&small);
    struct err err = ERR_INIT;

    m->data[offs[i] + REGION (0, 16)] ^= 1;
    if (open_with (m, NULL, &img, &report, &err) < 0)
      fail_msg ("%s", err.msg);
    assert_int_equal (report.lines.len, 1);
    assert_true (reported (&report, i ? "region table at offset 262144 is "
                           "damaged; using the one at offset 196608"
                           : "region table at offset 196608 is damaged; using "
                           "the one at offset 262144"));
    assert_int_equal (byte_at (img, 2 * MIB), 'c');
    vhdx_maker_free (m);
  }
}

static void
wrong_checksums_are_ignored_when_that_is_asked_for (void **state)
{
  static const size_t offs[][2] = {
    { VHDX_AT_HEADER_1 + 3000, VHDX_AT_HEADER_2 + 3000 },
    { VHDX_AT_REGIONS_1 + 60000, VHDX_AT_REGIONS_2 + 60000 },
  };
  struct image_options options = { .ignore_checksums = true };

  (void) state;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_REPORT struct report report = REPORT_INIT;
    CLEANUP_IMAGE struct image *img = NULL;
    struct vhdx_maker *m = make (&small);

    m->data[offs[i][0]] = m->data[offs[i][1]] = 1;
    assert_int_equal (open_with (m, NULL, &img, NULL, NULL), -EBADMSG);
    assert_int_equal (open_with (m, &options, &img, &report, NULL), 0);
    assert_true (reported (&report, "has checksum"));
    assert_true (reported (&report, "; ignored"));
    assert_int_equal (byte_at (img, 2 * MIB), 'c');
    vhdx_maker_free (m);
  }
}

/*--- Whose it is ------------------------------------------------------------*/

static void
a_vhdx_whose_beginning_was_overwritten_is_not_served_as_raw (void **state)
{
  CLEANUP_IMAGE struct image *img = NULL;
  struct image_options raw = { .format = "raw" };
  struct vhdx_maker *m = make (&small);
  struct err err = ERR_INIT;

  (void) state;
  memset (m->data, 0, 4096);
  assert_int_equal (open_with (m, NULL, &img, NULL, &err), -EBADMSG);
  assert_non_null (strstr (err.msg, "no VHDX file identifier"));
  assert_int_equal (open_with (m, &raw, &img, NULL, NULL), 0);
  assert_int_equal (image_size (img), m->len);
  vhdx_maker_free (m);
}

static void
short_files_are_refused (void **state)
{
  static const size_t lens[] = { 8, 100, 65536, 65536 + 4096, 300000,
                                 MIB - 1, MIB };
  struct vhdx_maker *m = make (&small);

  (void) state;
  for (size_t i = 0; i < sizeof lens / sizeof lens[0]; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct err err = ERR_INIT;

    m->len = lens[i];
    assert_int_equal (open_with (m, NULL, &img, NULL, &err), -EBADMSG);
    assert_non_null (strstr (err.msg, lens[i] < MIB
                             ? "headers of a VHDX alone take 1048576"
                             : "log has 1048576 bytes"));
  }
  m->len = 7;
  for (int i = 0; i < 2; ++i) {
    CLEANUP_IMAGE struct image *img = NULL;
    struct image_options options = { .format = i ? "vhdx" : NULL };

    assert_int_equal (open_with (m, &options, &img, NULL, NULL),
                      i ? -EBADMSG : 0);
  }
  vhdx_maker_free (m);
}

static void
what_can_not_grow_is_not_opened_for_writing (void **state)
{
  struct image_options options = { .writable = true };
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_maker *m = make (&small);
  struct err err = ERR_INIT;

  (void) state;
  assert_int_equal (open_with (m, &options, &img, NULL, &err), -EROFS);
  assert_non_null (strstr (err.msg, "can't be opened for writing: "));
  assert_non_null (strstr (err.msg, cannot_grow));
  vhdx_maker_free (m);
}

static const char *
property (const struct image_info *info, const char *key)
{
  for (size_t i = 0; i < info->properties.len; ++i)
    if (strcmp (info->properties.ptr[i].key, key) == 0)
      return info->properties.ptr[i].value;
  return NULL;
}

static void
info_says_what_it_is (void **state)
{
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  CLEANUP_IMAGE struct image *img = NULL;
  struct vhdx_spec spec = small;
  struct vhdx_maker *m;

  (void) state;
  spec.creator = "Microsoft Windows 10.0.15063.0";
  spec.is_fixed = true;
  m = make (&spec);
  assert_int_equal (open_with (m, NULL, &img, NULL, NULL), 0);
  assert_int_equal (image_get_info (img, &info, NULL), 0);
  assert_string_equal (info.creator, "Microsoft Windows 10.0.15063.0");
  assert_string_equal (info.type, "fixed");
  assert_int_equal (info.created, -1);
  assert_int_equal (info.allocation_size, MIB);
  assert_int_equal (info.layers.len, 1);
  assert_string_equal (info.layers.ptr[0].format, "vhdx");
  assert_string_equal (info.layers.ptr[0].id,
                       "01020305-1234-4321-89ab-000000000001");
  assert_string_equal (property (&info, "data-id"), info.layers.ptr[0].id);
  assert_string_equal (property (&info, "disk-id"),
                       "4d9ae881-1234-4321-89ab-00000000004d");
  assert_string_equal (property (&info, "physical-sector-size"), "4096");
  assert_string_equal (property (&info, "log"), "empty");
  assert_null (property (&info, "header"));
  vhdx_maker_free (m);
}

/*--- Failing media ----------------------------------------------------------*/

static void
a_read_that_fails_while_opening_fails_the_opening (void **state)
{
  struct vhdx_maker *m = make (&small);
  unsigned n;

  (void) state;
  for (n = 1;; ++n) {
    CLEANUP_BLOCK struct block *memory = vhdx_maker_block (m);
    CLEANUP_BLOCK struct block *block = faulty_new (memory, n);
    struct image *img = NULL;
    struct err err = ERR_INIT;
    int r = image_open_block (block, NULL, &img, NULL, &err);

    image_unref (img);
    if (r == 0)
      break;
    assert_int_equal (r, -EIO);
    assert_non_null (strstr (err.msg, "bad sector"));
  }
  /* Two for the probe, identifier, two headers, two region tables, metadata
   * table and five items, BAT.
   */
  assert_int_equal (n, 2 + 1 + 2 + 2 + 1 + 5 + 1 + 1);
  vhdx_maker_free (m);
}

/*--- Random damage ----------------------------------------------------------*/

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Anywhere in the metadata: a bit, a small or a huge number. */
static void
damage (struct vhdx_maker *m, uint64_t *rnd)
{
  static const uint8_t values[] = { 0, 1, 4, 7, 0x7F, 0x80, 0xFF };
  const size_t places[][2] = {
    { 0, 16 }, { VHDX_AT_HEADER_1, 80 }, { VHDX_AT_HEADER_2, 80 },
    { VHDX_AT_REGIONS_1, 80 }, { VHDX_AT_REGIONS_2, 80 },
    { VHDX_AT_LOG, 128 }, { VHDX_AT_LOG + 4096, 128 },
    { m->metadata_off, 256 }, { m->metadata_off + 65536, 300 },
    { m->bat_off, 64 }, { m->bat_off + 4096 * 8, 8 },
  };
  size_t which = next_random (rnd) % (sizeof places / sizeof places[0]);
  uint8_t *p = m->data + places[which][0] +
    next_random (rnd) % places[which][1];

  for (size_t i = 0, width = 1 + next_random (rnd) % 4; i < width; ++i)
    if (next_random (rnd) % 3)
      p[i] = values[next_random (rnd) % sizeof values];
    else
      p[i] ^= (uint8_t) (1 << next_random (rnd) % 8);
}

static void
open_and_read_all (struct vhdx_maker *m, const struct image_options *options)
{
  CLEANUP_EXTENT_LIST struct extent_list list = { .limit = 100 };
  CLEANUP_IMAGE_INFO struct image_info info = { 0 };
  CLEANUP_REPORT struct report report = REPORT_INIT;
  CLEANUP_IMAGE struct image *img = NULL;
  struct err err = ERR_INIT;
  static char buf[3 * MIB];
  uint64_t len;

  if (open_with (m, options, &img, &report, &err) < 0) {
    assert_true (err.msg[0] != '\0' && err.code < 0);
    return;
  }
  len = image_size (img) < sizeof buf ? image_size (img) : sizeof buf;
  image_pread (img, buf, len, 0, NULL);
  image_pread (img, buf, len, image_size (img) - len, NULL);
  image_extents (img, image_size (img), 0, &list, NULL);
  assert_int_equal (image_get_info (img, &info, NULL), 0);
}

static void
random_damage_does_no_harm (void **state)
{
  const char *given = getenv ("VHDX_TEST_SEED");
  uint64_t seed = given ? strtoull (given, NULL, 0)
                        : (uint64_t) time (NULL) * 1000003 + 1;
  uint64_t rnd = seed;

  (void) state;
  print_message ("VHDX_TEST_SEED=%llu\n", (unsigned long long) seed);
  for (int i = 0; i < 400; ++i) {
    struct image_options options = {
      .format = next_random (&rnd) % 8 ? NULL : "vhdx",
      .ignore_checksums = next_random (&rnd) % 2,
      .parent_path = "/",
    };
    struct vhdx_maker *m = make (next_random (&rnd) % 4 ? &small : &child);
    uint8_t page[4096] = { 1 };
    const struct vhdx_change change = { m->bat_off, page, 0 };

    if (next_random (&rnd) % 2)
      vhdx_maker_log (m, &(struct vhdx_log_entry) {
          .changes = &change, .nr_changes = next_random (&rnd) % 2 });
    for (unsigned n = next_random (&rnd) % 4; n > 0; --n)
      damage (m, &rnd);
    if (next_random (&rnd) % 4)
      vhdx_maker_sum_headers (m);
    if (next_random (&rnd) % 4)
      vhdx_maker_sum_regions (m);
    if (next_random (&rnd) % 4 && get_le32 (m->data + VHDX_AT_LOG + 8) <= MIB)
      vhdx_maker_sum_log (m, 0);
    if (next_random (&rnd) % 8 == 0)
      m->len -= next_random (&rnd) % m->len;
    open_and_read_all (m, &options);
    vhdx_maker_free (m);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (the_unbroken_ones_open),
    cmocka_unit_test (a_disk_of_no_bytes_opens),
    cmocka_unit_test (a_header_that_breaks_a_rule_is_refused),
    cmocka_unit_test (a_region_table_that_breaks_a_rule_is_refused),
    cmocka_unit_test (metadata_that_break_a_rule_are_refused),
    cmocka_unit_test (a_bat_that_breaks_a_rule_is_refused),
    cmocka_unit_test (a_locator_that_breaks_a_rule_is_refused),
    cmocka_unit_test (an_optional_region_only_takes_its_space),
    cmocka_unit_test (an_optional_metadata_item_is_left_alone),
    cmocka_unit_test
      (what_is_in_the_bitmap_slots_of_a_disk_without_a_parent_does_not_matter),
    cmocka_unit_test (an_entry_that_the_disk_does_not_need_is_not_looked_at),
    cmocka_unit_test (the_last_block_may_be_cut_where_the_disk_ends),
    cmocka_unit_test
      (blocks_in_any_order_are_fine_and_overlaps_among_them_are_found),
    cmocka_unit_test (with_one_damaged_header_the_other_one_is_used),
    cmocka_unit_test (the_header_with_the_higher_number_counts),
    cmocka_unit_test (headers_that_are_the_same_do_no_harm),
    cmocka_unit_test (with_one_damaged_region_table_the_other_one_is_used),
    cmocka_unit_test (wrong_checksums_are_ignored_when_that_is_asked_for),
    cmocka_unit_test
      (a_vhdx_whose_beginning_was_overwritten_is_not_served_as_raw),
    cmocka_unit_test (short_files_are_refused),
    cmocka_unit_test (what_can_not_grow_is_not_opened_for_writing),
    cmocka_unit_test (info_says_what_it_is),
    cmocka_unit_test (a_read_that_fails_while_opening_fails_the_opening),
    cmocka_unit_test (random_damage_does_no_harm),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
