/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What files of backup images are made of.  The first byte says which
 * structure follows, the second how: whether its checksum is made right first,
 * and whether it is of an encrypted file.  Zeros at the end of a structure of a
 * fixed size may be left out.
 *
 * Each has one encoding only: what is decoded encodes to the same bytes.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/repo/nbi-page.h"
#include "lib/repo/nbi-sheet.h"
#include "lib/repo/nbi-trailer.h"
#include "lib/repo/payload.h"
#include "tests/fuzz/fuzz.h"

#define FIX 1                   /* the checksum */
#define ENCRYPTED 2
#define END (UINT64_C (1) << 40)        /* of the data */

static void
must_be_refusal (int r, const struct err *err)
{
  fuzz_check_err (r, err);
  must (r == -EBADMSG || r == -ENOTSUP);
  must (strstr (err->msg, " (NBI-") != NULL);
}

/* Of a disk of 5000 chunks and a short one. */
static struct nbi_header
some_header (unsigned options)
{
  struct nbi_header h = {
    .disk_size = 5000 * 65536 + 512, .chunk_size = 65536, .logical = 512,
    .physical = 512, .time = 1, .name = "n", .salt = 5,
  };

  memset (h.file, 1, UUID_SIZE);
  memset (h.run, 2, UUID_SIZE);
  memset (h.vault, 3, UUID_SIZE);
  if (options & ENCRYPTED) {
    h.need = NBI_NEED_ENCRYPTED;
    h.encryption = 1;
  }
  return h;
}

static void
fix_crc (uint8_t *buf, size_t size, unsigned options)
{
  if (options & FIX)
    put_le32 (buf + size - 4, crc32c_update (0, buf, size - 4));
}

/*--- Structures -------------------------------------------------------------*/

static void
try_header (uint8_t *buf, unsigned options)
{
  uint8_t again[NBI_HEADER_SIZE];
  struct nbi_header h;
  struct err err = ERR_INIT;
  int r;

  if (options & FIX && nbi_salt (buf + 40, get_le32 (buf + 56), &h.salt, NULL)
      == 0)
    put_le64 (buf + 144, h.salt);
  fix_crc (buf, NBI_HEADER_SIZE, options);
  r = nbi_header_decode (buf, &h, &err);
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  must (nbi_header_is_whole (buf));
  must (nbi_nr_chunks (&h) > 0 && nbi_nr_chunks (&h) <= NBI_MAX_CHUNKS);
  must (nbi_nr_pages (&h) > 0);
  must (nbi_chunk_len (&h, nbi_nr_chunks (&h) - 1) > 0);
  must (nbi_page_chunks (&h, nbi_nr_pages (&h) - 1) > 0);
  nbi_header_encode (&h, again);
  must (h.ignore != 0 || memcmp (buf, again, sizeof again) == 0);
}

static void
try_slot (uint8_t *buf, unsigned options)
{
  uint8_t again[NBI_SLOT_SIZE];
  struct nbi_slot slot;
  struct err err = ERR_INIT;
  int r = nbi_slot_decode (buf, true, &slot, &err);

  (void) options;
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  nbi_slot_encode (&slot, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

static void
try_record (uint8_t *buf, unsigned options)
{
  const struct nbi_header h = some_header (options);
  uint8_t again[NBI_RECORD_SIZE];
  struct nbi_record rec;
  struct err err = ERR_INIT;
  int r;

  fix_crc (buf, NBI_RECORD_SIZE, options);
  r = nbi_record_decode (buf, &h, get_le64 (buf + 16), END, &rec, &err);
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  must (nbi_record_end (&rec) <= END + NBI_RECORD_SIZE);
  nbi_record_encode (&rec, h.salt, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

static void
try_entry (uint8_t *buf, unsigned options)
{
  const struct nbi_header h = some_header (options);
  uint8_t again[NBI_ENTRY_SIZE];
  struct nbi_record rec;
  struct err err = ERR_INIT;
  uint32_t ordinal = buf[16] == NBI_MANIFEST ? NBI_NONE : 9;
  int r = nbi_entry_decode (buf, &h, ordinal, END, &rec, &err);

  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  nbi_entry_encode (&rec, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

static void
try_sheet (uint8_t *buf, unsigned options)
{
  struct nbi_sheet sheet = {
    .salt = get_le64 (buf + 8), .off = get_le64 (buf + 16),
    .number = get_le32 (buf + 24), .table = NBI_TABLE_CHUNKS,
  };
  uint8_t again[NBI_SHEET_SIZE];
  struct err err = ERR_INIT;
  int r;

  if (buf[4] >= NBI_TABLE_CHUNKS && buf[4] <= NBI_TABLE_RANGES)
    sheet.table = buf[4];
  sheet.count = get_le16 (buf + 6) % (nbi_sheet_entries (sheet.table) + 1);
  memcpy (sheet.nonce, buf + 28, sizeof sheet.nonce);
  if (options & FIX) {
    put_le32 (buf + 60, 0);
    put_le32 (buf + 60, crc32c_update (0, buf, NBI_SHEET_SIZE));
  }
  r = options & ENCRYPTED ? nbi_sheet_check_encrypted (buf, &sheet, &err)
    : nbi_sheet_check (buf, &sheet, &err);
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  memcpy (again, buf, sizeof again);
  nbi_sheet_seal_encrypted (&sheet, buf + NBI_SHEET_TAG, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

static void
try_group (uint8_t *buf, unsigned options)
{
  uint8_t again[NBI_GROUP_SIZE];
  struct nbi_group g;
  struct err err = ERR_INIT;
  int r = nbi_group_decode (buf, 1, 10000, END, &g, &err);

  (void) options;
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  for (unsigned i = 0; i < NBI_GROUP_SHEETS; ++i) {
    uint64_t off = nbi_group_sheet (&g, i);

    must (off == 0 || (off >= NBI_HEADER_SIZE && off + NBI_SHEET_SIZE <= END));
  }
  nbi_group_encode (&g, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

static void
try_root (uint8_t *buf, unsigned options)
{
  uint8_t again[NBI_ROOT_SIZE];
  struct nbi_root root;
  struct err err = ERR_INIT;
  int r = nbi_root_decode (buf, 300, &root, &err);

  (void) options;
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  nbi_root_encode (&root, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

/* Two of them, side by side. */
static void
try_files (uint8_t *buf, unsigned options)
{
  const struct nbi_header h = some_header (options);
  uint8_t again[NBI_FILE_SIZE];
  struct nbi_file file;
  struct err err = ERR_INIT;
  int r = nbi_file_decode (buf + NBI_FILE_SIZE, buf, &h, &file, &err);

  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  nbi_file_encode (&file, again);
  must (memcmp (buf + NBI_FILE_SIZE, again, sizeof again) == 0);
}

static void
try_ranges (uint8_t *buf, unsigned options)
{
  const struct nbi_header h = some_header (options);
  uint8_t again[NBI_RANGE_SIZE];
  struct nbi_range range;
  struct err err = ERR_INIT;
  int r = nbi_range_decode (buf + NBI_RANGE_SIZE, NULL, &h, &range, &err);

  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  must (range.off + range.len <= h.disk_size);
  nbi_range_encode (&range, again);
  must (memcmp (buf + NBI_RANGE_SIZE, again, sizeof again) == 0);
}

static void
try_trailer (uint8_t *buf, unsigned options)
{
  struct nbi_header h = some_header (options);
  uint8_t again[NBI_TRAILER_SIZE];
  struct nbi_trailer t;
  struct err err = ERR_INIT;
  int r;

  fix_crc (buf, NBI_TRAILER_SIZE, options);
  r = nbi_trailer_decode (buf, &h, get_le64 (buf + 16), &t, &err);
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  must (nbi_trailer_is_whole (buf));
  if (options & ENCRYPTED)
    return;
  nbi_trailer_encode (&t, &h, again);
  must (memcmp (buf, again, sizeof again) == 0);
}

/*--- Pages and payloads -----------------------------------------------------*/

static void
try_page (const uint8_t *buf, size_t len)
{
  static uint8_t again[NBI_PAGE_MAX];
  uint32_t nr_chunks = len < 4 ? 1 : get_le32 (buf), next = 0;
  CLEANUP_FREE struct nbi_page *page = NULL;
  struct err err = ERR_INIT;
  int r;

  if (nr_chunks < 1 || nr_chunks > NBI_PAGE_CHUNKS || len > NBI_PAGE_MAX)
    return;
  r = nbi_page_decode (buf, len, nr_chunks, &page, &err);
  if (r < 0) {
    must_be_refusal (r, &err);
    return;
  }
  for (uint32_t i = 0; i < page->nr_runs; ++i) {
    const struct nbi_run *run = &page->runs[i];

    must (run->first == next && run->count > 0);
    must (nbi_page_find (page, run->first) == run);
    next += run->count;
    must (nbi_page_find (page, next - 1) == run);
    must (!nbi_kind_has_data (run->kind) ||
          (run->file < page->nr_files &&
           run->ordinal < NBI_NONE - (run->count - 1U)));
  }
  must (next == nr_chunks);
  must (nbi_page_encode (page, again) == len);
  must (memcmp (buf, again, len) == 0);
}

/* Two bytes of plain length, less 1, in front. */
static void
try_payload (enum nbi_codec codec, const uint8_t *buf, size_t len)
{
  struct nbi_record rec = { .kind = NBI_CHUNK, .codec = (uint8_t) codec };
  struct payload_decoder *decoder;
  CLEANUP_FREE uint8_t *plain = NULL;
  struct err err = ERR_INIT;
  int r;

  if (len < 3)
    return;
  rec.plain = get_le16 (buf) + 1U;
  rec.stored = (uint32_t) len - 2;
  plain = calloc (1, rec.plain);
  if (plain == NULL || payload_decoder_new (&decoder, NULL) < 0)
    abort ();
  r = payload_decode (decoder, &rec, buf + 2, plain, &err);
  if (r < 0)
    must_be_refusal (r, &err);
  r = payload_decode_begin (decoder, &rec, buf + 2, (rec.plain + 1) / 2, plain,
                            &err);
  if (r < 0)
    must_be_refusal (r, &err);
  payload_decoder_free (decoder);
}

static const struct {
  void (*try) (uint8_t *buf, unsigned options);
  size_t size;
} fixed[] = {
  { try_header, NBI_HEADER_SIZE }, { try_slot, NBI_SLOT_SIZE },
  { try_record, NBI_RECORD_SIZE }, { try_entry, NBI_ENTRY_SIZE },
  { try_sheet, NBI_SHEET_SIZE }, { try_group, NBI_GROUP_SIZE },
  { try_root, NBI_ROOT_SIZE }, { try_files, 2 * NBI_FILE_SIZE },
  { try_ranges, 2 * NBI_RANGE_SIZE }, { try_trailer, NBI_TRAILER_SIZE },
};

#define NR_FIXED (sizeof fixed / sizeof fixed[0])

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t len)
{
  CLEANUP_FREE uint8_t *buf = NULL;
  unsigned what, options;

  if (len < 2)
    return 0;
  what = data[0] % (NR_FIXED + 3);
  options = data[1];
  data += 2;
  len -= 2;
  if (what == NR_FIXED)
    try_page (data, len);
  else if (what > NR_FIXED)
    try_payload (what == NR_FIXED + 1 ? NBI_LZ4 : NBI_ZSTD, data, len);
  else {
    buf = calloc (1, fixed[what].size);
    if (buf == NULL)
      abort ();
    memcpy (buf, data, len < fixed[what].size ? len : fixed[what].size);
    fixed[what].try (buf, options);
  }
  return 0;
}
