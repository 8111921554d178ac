/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "tests/damage/bad-nbi.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/*--- Payloads ---------------------------------------------------------------*/

#define ZSTD_BLOCKS 2048        /* of 128 KiB: 256 MiB out of 8 KiB */
#define SIZE_OF_8 0xC0          /* the frame's content size: 8 bytes; */
#define SIZE_OF_0 0x00          /* none */

static uint8_t frame[CRAFT_CHUNK];

/* One frame of blocks that stand for 128 KiB each. */
static uint32_t
make_frame (uint8_t descriptor, uint8_t window, uint64_t size, unsigned blocks)
{
  static const uint8_t magic[4] = { 0x28, 0xB5, 0x2F, 0xFD };
  uint8_t *p = frame;

  memcpy (p, magic, 4);
  p[4] = descriptor;
  p[5] = window;
  p += 6;
  if ((descriptor & 3) != 0)
    *p++ = 7;                   /* of a dictionary */
  if (descriptor >= SIZE_OF_8) {
    put_le64 (p, size);
    p += 8;
  }
  for (unsigned i = 0; i < blocks; ++i) {
    uint32_t header = 131072U << 3 | 1U << 1 | (i == blocks - 1);

    p[0] = (uint8_t) header;
    p[1] = (uint8_t) (header >> 8);
    p[2] = (uint8_t) (header >> 16);
    p[3] = 'x';
    p += 4;
  }
  return (uint32_t) (p - frame);
}

#define WINDOW(log) (((log) - 10) << 3)

static void
set_chunk (struct craft *c, enum nbi_codec codec, uint32_t stored)
{
  craft_set_payload (&c->chunks[1], codec, CRAFT_CHUNK, frame, stored);
}

static void
zstd_of_a_gib (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_8, WINDOW (17), 1 << 30,
                                      ZSTD_BLOCKS));
}

static void
zstd_of_the_most (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_8, WINDOW (17), UINT64_MAX - 2,
                                      ZSTD_BLOCKS));
}

static void
zstd_of_no_size (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_0, WINDOW (17), 0,
                                      ZSTD_BLOCKS));
}

static void
zstd_of_more (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_8, WINDOW (17), CRAFT_CHUNK,
                                      ZSTD_BLOCKS));
}

static void
zstd_window (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_8, WINDOW (31), CRAFT_CHUNK, 1));
}

static void
zstd_window_of_the_most (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_8, 0xFF, CRAFT_CHUNK, 1));
}

static void
zstd_dictionary (struct craft *c)
{
  set_chunk (c, NBI_ZSTD, make_frame (SIZE_OF_8 | 1, WINDOW (17), CRAFT_CHUNK,
                                      1));
}

/* A frame to be skipped, of 4 GiB. */
static void
zstd_skipped (struct craft *c)
{
  uint32_t len = make_frame (SIZE_OF_8, WINDOW (17), CRAFT_CHUNK, 1);

  put_le32 (frame, 0x184D2A50);
  put_le32 (frame + 4, UINT32_MAX);
  set_chunk (c, NBI_ZSTD, len);
}

/* One literal, and a copy of it that goes on and on: 2 MB out of 8 KiB. */
static void
lz4_of_more (struct craft *c)
{
  memset (frame, 0xFF, sizeof frame);
  memcpy (frame, "\x1F" "x\1", 4);
  frame[8190] = 0;
  set_chunk (c, NBI_LZ4, 8191);
}

static void
lz4_of_less (struct craft *c)
{
  memcpy (frame, "\x50" "hello", 6);
  set_chunk (c, NBI_LZ4, 6);
}

/* A copy of what is in front of all. */
static void
lz4_from_before (struct craft *c)
{
  memcpy (frame, "\x1F" "x\xFF\xFF\0", 5);
  set_chunk (c, NBI_LZ4, 5);
}

static void
page_of_256_mib (struct craft *c)
{
  craft_set_payload (&c->page, NBI_ZSTD, NBI_PAGE_MAX, frame,
                     make_frame (SIZE_OF_8, WINDOW (17), NBI_PAGE_MAX,
                                 ZSTD_BLOCKS));
}

static void
manifest_of_256_mib (struct craft *c)
{
  craft_set_payload (&c->manifest, NBI_ZSTD, NBI_MANIFEST_MAX, frame,
                     make_frame (SIZE_OF_8, WINDOW (20), NBI_MANIFEST_MAX,
                                 ZSTD_BLOCKS));
}

/*--- Lengths that the record and the table agree on -------------------------*/

static void
chunk_plain_0 (struct craft *c)
{
  c->chunks[1].r.plain = 0;
}

static void
chunk_plain_max (struct craft *c)
{
  c->chunks[1].r.plain = UINT32_MAX;
}

static void
chunk_plain_1_mib (struct craft *c)
{
  c->chunks[1].r.plain = NBI_CHUNK_MAX;
}

static void
chunk_number (struct craft *c)
{
  c->chunks[1].r.number = UINT32_MAX;
}

static void
page_plain_max (struct craft *c)
{
  c->page.r.plain = UINT32_MAX;
}

static void
manifest_plain_max (struct craft *c)
{
  c->manifest.r.plain = UINT32_MAX;
}

/* It decodes, and its checksum is right; only the identity says that these are
 * not the bytes that were saved.
 */
static void
chunk_other_bytes (struct craft *c)
{
  c->disk[0] ^= 1;
  memcpy (c->rooms[0], c->disk, CRAFT_CHUNK);
  craft_set_payload (&c->chunks[0], NBI_STORED, CRAFT_CHUNK, c->rooms[0],
                     CRAFT_CHUNK);
}

/*--- Pages ------------------------------------------------------------------*/

/* n, f, the UUID, and the runs that follow. */
static void
set_runs (struct craft *c, const char *runs, size_t len)
{
  memcpy (c->page_bytes + 24, runs, len);
  craft_set_page (c, c->page_bytes, 24 + len);
}

static void
patch_page (struct craft *c, size_t off, uint32_t value)
{
  put_le32 (c->page_bytes + off, value);
  craft_set_page (c, c->page_bytes, c->page.r.plain);
}

static void
page_n_max (struct craft *c)
{
  patch_page (c, 0, UINT32_MAX);
}

static void
page_n_more (struct craft *c)
{
  patch_page (c, 0, 4096);
}

static void
page_f_max (struct craft *c)
{
  patch_page (c, 4, UINT32_MAX);
}

static void
page_f_8 (struct craft *c)
{
  patch_page (c, 4, 8);
}

static void
page_varint (struct craft *c)
{
  set_runs (c, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 10);
}

static void
page_run_max (struct craft *c)
{
  set_runs (c, "\xF8\xFF\xFF\xFF\x0F", 5);
}

static void
page_file_index (struct craft *c)
{
  set_runs (c, "\x1B\xFF\xFF\xFF\xFF\x0F\0\x18", 8);
}

static void
page_ordinal_max (struct craft *c)
{
  set_runs (c, "\x1B\0\xFE\xFF\xFF\xFF\x1F\x18", 8);
}

static void
page_ordinal_negative (struct craft *c)
{
  set_runs (c, "\x1B\0\1\x18", 4);
}

/* Ordinals that the file does not have. */
static void
page_ordinal_too_high (struct craft *c)
{
  set_runs (c, "\x1B\0\xC0\x84\x3D\x18", 6);
}

/* The chunks are in the page itself: ordinals 1 to 4. */
static void
page_in_itself (struct craft *c)
{
  set_runs (c, "\x1B\0\2\x18", 4);
}

/* All chunks are in one record's neighbours: the record of another length. */
static void
page_of_nothing (struct craft *c)
{
  craft_set_page (c, c->page_bytes, 3);
}

static void
page_twice_the_file (struct craft *c)
{
  uint8_t page[64];

  memcpy (page, c->page_bytes, 24);
  memcpy (page + 24, c->page_bytes + 8, UUID_SIZE);
  put_le32 (page + 4, 2);
  memcpy (page + 40, "\x03\0\0\x13\1\2\x18", 7);
  craft_set_page (c, page, 47);
}

static void
page_other_file (struct craft *c)
{
  c->page_bytes[8] ^= 1;
  craft_set_page (c, c->page_bytes, c->page.r.plain);
}

/*--- Root and files ---------------------------------------------------------*/

static void
file_uses_0 (struct craft *c)
{
  c->file.uses = 0;
}

static void
file_uses_max (struct craft *c)
{
  c->file.uses = UINT32_MAX;
}

static void
file_is_another (struct craft *c)
{
  memset (c->file.uuid, 0x99, UUID_SIZE);
}

/*--- Manifests --------------------------------------------------------------*/

/* With one text in place of another, or in front of the final brace. */
static void
replace (struct craft *c, const char *what, const char *with)
{
  char *at = strstr (c->json, what), *json;
  size_t len = strlen (what);
  int n;

  assert_non_null (at);
  n = asprintf (&json, "%.*s%s%s", (int) (at - c->json), c->json, with,
                at + len);
  assert_true (n > 0);
  craft_set_manifest (c, json, (size_t) n);
  free (json);
}

/* A member more, whose value is `head', then nr times `text', then `tail'. */
static void
add_member (struct craft *c, const char *head, const char *text, size_t nr,
            const char *tail)
{
  size_t len = strlen (text), at = strlen (head);
  char *member = malloc (at + nr * len + strlen (tail) + 20);

  assert_non_null (member);
  strcpy (member, head);
  for (size_t i = 0; i < nr; ++i, at += len)
    memcpy (member + at, text, len);
  strcpy (member + at, tail);
  strcat (member, ",\"generation\"");
  replace (c, "\"generation\"", member);
  free (member);
}

static void
json_deep (struct craft *c)
{
  char *closed = malloc (60001);

  assert_non_null (closed);
  memset (closed, ']', 30000);
  closed[30000] = '\0';
  add_member (c, "\"x\":", "[", 30000, closed);
  free (closed);
}

static void
json_33_deep (struct craft *c)
{
  add_member (c, "\"x\":", "[", 33, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
}

static void
json_commas (struct craft *c)
{
  add_member (c, "\"x\":[1", ",1", 65600, "]");
}

static void
json_brackets_in_a_text (struct craft *c)
{
  add_member (c, "\"x\":\"", "[", 65600, "\"");
}

static void
json_open (struct craft *c)
{
  char *text = malloc (65000);

  assert_non_null (text);
  memset (text, '[', 65000);
  craft_set_manifest (c, text, 65000);
  free (text);
}

static void
json_twice (struct craft *c)
{
  replace (c, "\"chunk_size\":", "\"size\":1,\"chunk_size\":");
}

static void
json_size_max (struct craft *c)
{
  replace (c, "\"size\":131072", "\"size\":18446744073709551615");
}

static void
json_size_real (struct craft *c)
{
  replace (c, "\"size\":131072", "\"size\":1e400");
}

static void
json_size_other (struct craft *c)
{
  replace (c, "\"size\":131072", "\"size\":131073");
}

static void
json_part_beyond (struct craft *c)
{
  replace (c, "\"length\":49152", "\"length\":9007199254740991");
}

static void
json_part_chunks (struct craft *c)
{
  replace (c, "\"chunks\":[1,3]", "\"chunks\":[1,9007199254740991]");
}

static void
json_nothing (struct craft *c)
{
  craft_set_manifest (c, "", 1);
}

/*--- The table --------------------------------------------------------------*/

#define HIGH (UINT64_MAX - 4095)        /* the last multiple of 4096 */

const struct nbi_lie nbi_lies[] = {
  { "chunk-size-0", "(NBI-15)", { { CRAFT_HEADER, 120, 4, 0 } } },
  { "chunk-size-2-gib", "(NBI-15)", { { CRAFT_HEADER, 120, 4, 1U << 31 } } },
  { "disk-size-0", "(NBI-16)", { { CRAFT_HEADER, 112, 8, 0 } } },
  { "disk-size-max", "(NBI-16)", { { CRAFT_HEADER, 112, 8, UINT64_MAX } } },
  /* As many pages of a map as there may be: 2^20. */
  { "disk-size-64-tib", "(NBI-104)",
    { { CRAFT_HEADER, 112, 8, UINT64_C (1) << 46 } } },
  { "sector-size-2-gib", "(NBI-17)", { { CRAFT_HEADER, 124, 4, 1U << 31 },
                                       { CRAFT_HEADER, 128, 4, 1U << 31 } } },
  { "edition-max", "(NBI-23)", { { CRAFT_HEADER, 56, 4, UINT32_MAX } } },
  { "number-max", "(NBI-23)", { { CRAFT_HEADER, 60, 4, UINT32_MAX } } },
  { "time-max", "(NBI-24)", { { CRAFT_HEADER, 136, 8, UINT64_MAX } } },
  { "slots-255", "(NBI-22)", { { CRAFT_HEADER, 133, 1, 255 } } },
  { "version-max", "(NBI-11)", { { CRAFT_HEADER, 8, 4, UINT32_MAX } } },
  { "feature-63", "(NBI-12)",
    { { CRAFT_HEADER, 16, 8, UINT64_C (1) << 63 } } },

  { "kdf-memory-max", "(NBI-123)", { { CRAFT_SLOT, 0, 1, 1 },
    { CRAFT_SLOT, 4, 8, UINT64_MAX << 32 | 1 }, { CRAFT_SLOT, 12, 4, 1 } },
    .encrypted = true, .passphrase = true },
  { "kdf-memory-1-gib-more", "(NBI-123)", { { CRAFT_SLOT, 0, 1, 1 },
    { CRAFT_SLOT, 4, 8, UINT64_C (0x100001) << 32 | 1 },
    { CRAFT_SLOT, 12, 4, 1 } }, .encrypted = true, .passphrase = true },
  { "kdf-passes-max", "(NBI-123)", { { CRAFT_SLOT, 0, 1, 1 },
    { CRAFT_SLOT, 4, 8, UINT64_C (8) << 32 | UINT32_MAX },
    { CRAFT_SLOT, 12, 4, 1 } }, .encrypted = true, .passphrase = true },
  { "kdf-lanes-max", "(NBI-123)", { { CRAFT_SLOT, 0, 1, 1 },
    { CRAFT_SLOT, 4, 8, UINT64_C (8) << 32 | 1 },
    { CRAFT_SLOT, 12, 4, UINT32_MAX } }, .encrypted = true,
    .passphrase = true },
  { "kdf-of-0", "(NBI-123)", { { CRAFT_SLOT, 0, 1, 1 } },
    .encrypted = true, .passphrase = true },

  { "trailer-size-max", "(NBI-102)", { { CRAFT_TRAILER, 16, 8, HIGH } } },
  { "trailer-size-more", "(NBI-102)", { { CRAFT_TRAILER, 16, 8, 1 << 20 } } },
  { "ordinals-max", "(NBI-10", { { CRAFT_TRAILER, 24, 4, UINT32_MAX } } },
  { "ordinals-10000", "(NBI-54)", { { CRAFT_TRAILER, 24, 4, 10000 } } },
  { "records-more-than-ordinals", "(NBI-103)",
    { { CRAFT_TRAILER, 28, 4, UINT32_MAX } } },
  { "stored-max", "(NBI-68)", { { CRAFT_TRAILER, 32, 8, UINT64_MAX } },
    .found_later = true },
  { "directory-max", "(NBI-104)", { { CRAFT_TRAILER, 40, 8, HIGH } } },
  { "directory-unaligned", "(NBI-104)", { { CRAFT_TRAILER, 40, 8, 4097 } } },
  { "directory-in-a-record", "(NBI-50)", { { CRAFT_TRAILER, 40, 8, 4096 } } },
  { "root-max", "(NBI-104)", { { CRAFT_TRAILER, 48, 8, HIGH } } },
  { "root-in-the-end", "(NBI-104)",
    { { CRAFT_TRAILER, 48, 8, UINT64_C (1) << 61 } } },
  { "files-max", "(NBI-108)", { { CRAFT_TRAILER, 64, 4, UINT32_MAX } } },
  { "files-many", "(NBI-104)", { { CRAFT_TRAILER, 64, 4, NBI_MAX_FILES } } },
  { "ranges-max", "(NBI-104)", { { CRAFT_TRAILER, 80, 4, UINT32_MAX } },
    .with_range = true },
  { "ranges-offset-max", "(NBI-104)", { { CRAFT_TRAILER, 72, 8, HIGH } },
    .with_range = true },
  { "ranges-none-of-many", "(NBI-105)",
    { { CRAFT_TRAILER, 80, 4, UINT32_MAX } } },

  { "manifest-offset-max", "(NBI-109)",
    { { CRAFT_MANIFEST_ENTRY, 0, 8, UINT64_MAX - 63 } } },
  { "manifest-in-a-record", "(NBI-40)",
    { { CRAFT_MANIFEST_ENTRY, 0, 8, 4096 } } },
  { "manifest-stored-max", "(NBI-109)",
    { { CRAFT_MANIFEST_ENTRY, 8, 4, UINT32_MAX } } },
  { "manifest-plain-0", "(NBI-109)",
    { { CRAFT_MANIFEST_ENTRY, 12, 4, 0 } } },
  { "manifest-is-a-chunk", "(NBI-109)",
    { { CRAFT_MANIFEST_ENTRY, 16, 1, 1 } } },
  { "manifest-of-codec-255", "(NBI-109)",
    { { CRAFT_MANIFEST_ENTRY, 17, 1, 255 } } },
  { "manifest-plain-max", "(NBI-109)", .tell = manifest_plain_max },
  { "manifest-of-256-mib", "(NBI-42)", .tell = manifest_of_256_mib },

  { "json-30000-deep", "(NBI-91)", .tell = json_deep },
  { "json-33-deep", "(NBI-91)", .tell = json_33_deep },
  { "json-65600-commas", "(NBI-90)", .tell = json_commas },
  { "json-65600-brackets-in-a-text", "(NBI-90)",
    .tell = json_brackets_in_a_text },
  { "json-65000-open", "(NBI-91)", .tell = json_open },
  { "json-a-member-twice", "(NBI-91)", .tell = json_twice },
  { "json-size-2-64", "(NBI-91)", .tell = json_size_max },
  { "json-size-1e400", "(NBI-91)", .tell = json_size_real },
  { "json-size-of-another", "(NBI-93)", .tell = json_size_other },
  { "json-part-beyond", "(NBI-94)", .tell = json_part_beyond },
  { "json-part-of-2-53-chunks", "(NBI-94)", .tell = json_part_chunks },
  { "json-of-a-zero", "(NBI-91)", .tell = json_nothing },

  { "table-of-65535-entries", "(NBI-54)",
    { { CRAFT_TABLE_HEADER, 6, 2, 65535 } } },
  { "table-sheet-number-max", "(NBI-53)",
    { { CRAFT_TABLE_HEADER, 24, 4, UINT32_MAX } } },
  { "table-sheet-elsewhere", "(NBI-52)",
    { { CRAFT_TABLE_HEADER, 16, 8, HIGH } } },
  { "root-sheet-is-a-table", "(NBI-53)",
    { { CRAFT_ROOT_HEADER, 4, 1, NBI_TABLE_CHUNKS } } },

  { "group-offset-max", "(NBI-64)", { { CRAFT_DIRECTORY, 0, 8, HIGH } } },
  { "group-offset-odd", "(NBI-64)", { { CRAFT_DIRECTORY, 0, 8, 4097 } } },
  { "group-offset-0", "(NBI-65)", { { CRAFT_DIRECTORY, 0, 8, 0 } } },
  { "group-of-none", "(NBI-65)", { { CRAFT_DIRECTORY, 8, 8, 0 } } },
  { "group-of-128", "(NBI-6", { { CRAFT_DIRECTORY, 8, 8, UINT64_MAX },
                                { CRAFT_DIRECTORY, 16, 8, UINT64_MAX } } },
  { "group-of-the-wrong-one", "(NBI-66)", { { CRAFT_DIRECTORY, 8, 8, 2 } } },

  { "entry-offset-max", "(NBI-60)",
    { { CRAFT_ENTRY_0, 0, 8, UINT64_MAX - 63 } } },
  { "entry-offset-odd", "(NBI-60)", { { CRAFT_ENTRY_0, 0, 8, 4097 } } },
  { "entry-in-the-header", "(NBI-60)", { { CRAFT_ENTRY_0, 0, 8, 64 } } },
  { "entry-stored-max", "(NBI-6", { { CRAFT_ENTRY_0, 8, 4, UINT32_MAX } } },
  { "entry-stored-0", "(NBI-61)", { { CRAFT_ENTRY_0, 8, 4, 0 } } },
  { "entry-plain-max", "(NBI-61)", { { CRAFT_ENTRY_0, 12, 4, UINT32_MAX } } },
  { "entry-is-a-manifest", "(NBI-61)", { { CRAFT_ENTRY_0, 16, 1, 3 } } },
  { "entry-of-codec-255", "(NBI-61)", { { CRAFT_ENTRY_0, 17, 1, 255 } } },
  { "entry-is-a-page", "(NBI-", { { CRAFT_ENTRY_0, 16, 1, 2 } } },
  { "entry-dropped-in-part", "(NBI-62)", { { CRAFT_ENTRY_0, 0, 8, 0 } } },
  { "entry-number-max", "(NBI-61)",
    { { CRAFT_ENTRY_0, 20, 4, UINT32_MAX } } },
  { "entry-of-the-next-record", "(NBI-40)",
    { { CRAFT_ENTRY_1, 0, 8, 4096 } } },
  { "entry-of-another-number", "(NBI-67)", { { CRAFT_ENTRY_0, 20, 4, 1 } },
    .found_later = true, .plain = true },
  { "entry-of-another-number", "(NBI-41)", { { CRAFT_ENTRY_0, 20, 4, 1 } },
    .encrypted = true },
  { "entry-of-another-identity", "(NBI-43)",
    { { CRAFT_ENTRY_1, 32, 8, UINT64_MAX } }, .found_later = true },
  { "record-stored-max", "(NBI-3",
    { { CRAFT_RECORD_0, 32, 4, UINT32_MAX } }, .found_later = true },
  { "record-elsewhere", "(NBI-3",
    { { CRAFT_RECORD_0, 16, 8, UINT64_MAX - 63 } }, .found_later = true },

  { "chunk-plain-0", "(NBI-61)", .tell = chunk_plain_0 },
  { "chunk-plain-max", "(NBI-61)", .tell = chunk_plain_max },
  { "chunk-plain-1-mib", "(NBI-61)", .tell = chunk_plain_1_mib },
  { "chunk-of-other-bytes", "(NBI-43)", .tell = chunk_other_bytes,
    .found_later = true },
  { "chunk-number-max", "(NBI-61)", .tell = chunk_number },
  { "zstd-of-a-gib", "(NBI-42)", .tell = zstd_of_a_gib },
  { "zstd-of-the-most", "(NBI-42)", .tell = zstd_of_the_most },
  { "zstd-of-no-size", "(NBI-42)", .tell = zstd_of_no_size },
  { "zstd-of-more", "(NBI-42)", .tell = zstd_of_more },
  { "zstd-window-2-gib", "(NBI-42)", .tell = zstd_window },
  { "zstd-window-max", "(NBI-42)", .tell = zstd_window_of_the_most },
  { "zstd-dictionary", "(NBI-42)", .tell = zstd_dictionary },
  { "zstd-skipped-4-gib", "(NBI-42)", .tell = zstd_skipped },
  { "lz4-of-more", "(NBI-42)", .tell = lz4_of_more },
  { "lz4-of-less", "(NBI-42)", .tell = lz4_of_less },
  { "lz4-from-before", "(NBI-42)", .tell = lz4_from_before },

  { "root-file-index-max", "(NBI-80)",
    { { CRAFT_ROOT, 0, 4, UINT32_MAX - 1 } } },
  { "root-uniform-kind", "(NBI-80)",
    { { CRAFT_ROOT, 0, 8, UINT64_MAX } } },
  { "root-ordinal-max", "(NBI-81)", { { CRAFT_ROOT, 4, 4, UINT32_MAX } } },
  { "root-ordinal-too-high", "(NBI-79)", { { CRAFT_ROOT, 4, 4, 5 } } },
  { "root-of-a-chunk", "(NBI-81)", { { CRAFT_ROOT, 4, 4, 0 } } },
  { "root-hash", "(NBI-86)", { { CRAFT_ROOT, 8, 8, 0 } },
    .found_later = true },
  { "file-of-no-uuid", "(NBI-82)", { { CRAFT_FILES, 0, 8, 0 },
                                     { CRAFT_FILES, 8, 8, 0 } } },
  { "file-uses-0", "(NBI-82)", .tell = file_uses_0 },
  { "file-uses-max", "(NBI-8", .tell = file_uses_max },
  { "file-is-another", "(NBI-82)", .tell = file_is_another },
  { "range-beyond", "(NBI-84)", { { CRAFT_RANGES, 8, 8, UINT64_MAX } },
    .with_range = true },
  { "range-offset-max", "(NBI-84)", { { CRAFT_RANGES, 0, 8, HIGH } },
    .with_range = true },
  { "range-of-0", "(NBI-84)", { { CRAFT_RANGES, 8, 8, 0 } },
    .with_range = true },
  { "range-of-another-chunk", "(NBI-85)", { { CRAFT_RANGES, 0, 8, 0 } },
    .with_range = true },

  { "page-of-256-mib", "(NBI-42)", .tell = page_of_256_mib },
  { "page-plain-max", "(NBI-61)", .tell = page_plain_max },
  { "page-n-max", "(NBI-70)", .tell = page_n_max },
  { "page-n-more", "(NBI-70)", .tell = page_n_more },
  { "page-f-max", "(NBI-70)", .tell = page_f_max },
  { "page-f-8", "(NBI-70)", .tell = page_f_8 },
  { "page-of-3-bytes", "(NBI-70)", .tell = page_of_nothing },
  { "page-varint-of-10-bytes", "(NBI-71)", .tell = page_varint },
  { "page-run-max", "(NBI-72)", .tell = page_run_max },
  { "page-file-index-max", "(NBI-73)", .tell = page_file_index },
  { "page-ordinal-max", "(NBI-74)", .tell = page_ordinal_max },
  { "page-ordinal-negative", "(NBI-74)", .tell = page_ordinal_negative },
  { "page-ordinal-too-high", "(NBI-79)", .tell = page_ordinal_too_high },
  { "page-in-itself", "(NBI-79)", .tell = page_in_itself },
  { "page-twice-the-file", "(NBI-77)", .tell = page_twice_the_file },
  { "page-other-file", "(NBI-77)", .tell = page_other_file },
};

const size_t nbi_nr_lies = sizeof nbi_lies / sizeof nbi_lies[0];

void
nbi_lie_make (const struct nbi_lie *lie, const uint8_t *key, struct craft *c)
{
  craft_init (c, key, lie->with_range);
  if (lie->tell != NULL)
    lie->tell (c);
  craft_build (c);
  for (unsigned i = 0; i < NBI_LIE_PATCHES; ++i)
    if (lie->patches[i].width > 0)
      craft_patch (c, lie->patches[i].place, lie->patches[i].off,
                   lie->patches[i].width, lie->patches[i].value);
  craft_seal (c);
}
