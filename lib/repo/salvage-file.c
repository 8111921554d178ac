/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One scan of the file, from front to back, gives records and sheets.  A
 * record or a sheet is believed only with the salt of this file, the offset
 * at which it lies and a checksum; and of a record all that it holds is
 * looked at, before the scan goes on behind it.  So what lies in the payload of
 * a record that is whole is never taken for one, and what lies in a damaged
 * one only if it says that it lies right there.
 *
 * Sheets of the chunk table are found by the scan like all others rather than
 * by the directory: where that is whole, it says the same.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/file-reader.h"
#include "lib/repo/payload.h"
#include "lib/repo/salvage-guess.h"

#define WINDOW (1024 * 1024)    /* is looked at in one piece */

/*--- Reading records --------------------------------------------------------*/

/* NBI-40, NBI-42.  room: what payload has. */
static int
read_record (struct block *block, const struct nbi_record *record,
             struct payload_decoder *decoder, uint8_t *payload,
             uint8_t *plain, struct err *err)
{
  int r = block_pread (block, payload, record->stored,
                       record->off + NBI_RECORD_SIZE, err);

  if (r == 0)
    r = file_reader_check (record, payload, err);
  return r < 0 ? r : payload_decode (decoder, record, payload, plain, err);
}

static int
compare_ordinals (const void *a, const void *b)
{
  const struct nbi_record *x = a, *y = b;

  if (x->ordinal != y->ordinal)
    return x->ordinal < y->ordinal ? -1 : 1;
  return (x->off > y->off) - (x->off < y->off);
}

static const struct nbi_record *
find_record (const struct salvage_records *records, uint32_t ordinal)
{
  size_t low = 0, high = records->len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (records->ptr[middle].ordinal < ordinal)
      low = middle + 1;
    else
      high = middle;
  }
  return low < records->len && records->ptr[low].ordinal == ordinal
    ? &records->ptr[low] : NULL;
}

/* What decoding needs, for records whose payload has room in it. */
struct reading {
  struct payload_decoder *decoder;
  uint8_t *payload;
};

static int
reading_init (struct reading *reading, size_t room, struct err *err)
{
  reading->payload = malloc (room);
  if (reading->payload == NULL)
    return err_nomem (err);
  return payload_decoder_new (&reading->decoder, err);
}

static void
reading_destroy (struct reading *reading)
{
  payload_decoder_free (reading->decoder);
  free (reading->payload);
}

/* With the table's identity, if there is one. */
static int
prove (const struct salvage_file *file, const struct nbi_record *record,
       const uint8_t *identity, uint8_t *plain, struct err *err)
{
  struct reading reading = { NULL, NULL };
  uint8_t found[DIGEST_SIZE];
  int r = reading_init (&reading, record->stored, err);

  if (r == 0)
    r = read_record (file->block, record, reading.decoder, reading.payload,
                     plain, err);
  if (r == 0 && identity != NULL) {
    r = nbi_identity (plain, record->plain, found, err);
    if (r == 0 && memcmp (found, identity, sizeof found) != 0)
      r = nbi_refuse (err, 43, "the identity of the record at %" PRIu64 " is "
                      "another", record->off);
  }
  reading_destroy (&reading);
  return r;
}

static bool
is_wanted (const struct nbi_record *record, enum nbi_kind kind, uint32_t len,
           size_t room)
{
  return record != NULL && record->kind == kind && record->plain <= room &&
    (len == 0 || record->plain == len);
}

int
salvage_file_read (const struct salvage_file *file, uint32_t ordinal,
                   enum nbi_kind kind, uint32_t len, uint8_t *plain,
                   size_t room, struct nbi_record *record, struct err *err)
{
  const struct nbi_record *listed = find_record (&file->listed, ordinal);
  const struct nbi_record *scanned = find_record (&file->scanned, ordinal);
  int r = -ENOENT;

  if (is_wanted (listed, kind, len, room)) {
    *record = *listed;
    r = prove (file, listed, listed->identity, plain, err);
  }
  if (r < 0 && is_wanted (scanned, kind, len, room)) {
    *record = *scanned;
    r = prove (file, scanned, listed != NULL ? listed->identity : NULL, plain,
               err);
  }
  return r == -ENOENT ? err_set (err, r, "record %" PRIu32 " is lost", ordinal)
                      : r;
}

int
salvage_file_manifest (const struct salvage_file *file, uint8_t *plain,
                       struct err *err)
{
  return prove (file, &file->manifest, file->manifest.identity, plain, err);
}

/*--- Sheets -----------------------------------------------------------------*/

static int
compare_sheets (const void *a, const void *b)
{
  const struct salvage_sheet *x = a, *y = b;

  if (x->table != y->table)
    return x->table < y->table ? -1 : 1;
  if (x->number != y->number)
    return x->number < y->number ? -1 : 1;
  return (x->off > y->off) - (x->off < y->off);
}

static const struct salvage_sheet *
find_sheet (const struct salvage_file *file, enum nbi_table table,
            uint32_t number)
{
  const struct salvage_sheet wanted = { .table = table, .number = number };
  size_t low = 0, high = file->sheets.len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (compare_sheets (&file->sheets.ptr[middle], &wanted) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low < file->sheets.len && file->sheets.ptr[low].table == table &&
    file->sheets.ptr[low].number == number ? &file->sheets.ptr[low] : NULL;
}

/* Is a sheet of this file at off, in buf, whatever table it is of?  What it
 * says of itself has to agree with its checksum, salt and place.
 */
static bool
is_sheet (const struct salvage_file *file, const uint8_t *buf, uint64_t off,
          struct salvage_sheet *out)
{
  struct nbi_sheet sheet = {
    .salt = file->header.salt, .off = off, .number = get_le32 (buf + 24),
    .count = get_le16 (buf + 6), .table = (enum nbi_table) buf[4],
  };

  if (!file->has_nonce || memcmp (buf, "NBIs", 4) != 0 ||
      buf[4] < NBI_TABLE_CHUNKS || buf[4] > NBI_TABLE_RANGES ||
      sheet.count == 0 || sheet.count > nbi_sheet_entries (sheet.table))
    return false;
  memcpy (sheet.nonce, file->header.nonce, sizeof sheet.nonce);
  if (nbi_sheet_check (buf, &sheet, NULL) < 0)
    return false;
  *out = (struct salvage_sheet) { off, sheet.number, sheet.count,
                                  sheet.table };
  return true;
}

bool
salvage_file_entry (const struct salvage_file *file, enum nbi_table table,
                    uint64_t i, uint8_t *entry)
{
  uint32_t full = nbi_sheet_entries (table), size = nbi_entry_size (table);
  const struct salvage_sheet *sheet;
  uint8_t buf[NBI_SHEET_SIZE];
  struct salvage_sheet found;

  if (i / full > UINT32_MAX)
    return false;
  sheet = find_sheet (file, table, (uint32_t) (i / full));
  if (sheet == NULL || i % full >= sheet->count ||
      block_pread (file->block, buf, sizeof buf, sheet->off, NULL) < 0 ||
      !is_sheet (file, buf, sheet->off, &found) ||
      compare_sheets (sheet, &found) != 0)
    return false;
  memcpy (entry, buf + NBI_SHEET_HEADER + (i % full) * size, size);
  return true;
}

/* Without a trailer: sheets from 0 to one that is not full (step 4). */
bool
salvage_file_ranges (const struct salvage_file *file, uint64_t *nr)
{
  uint32_t full = nbi_sheet_entries (NBI_TABLE_RANGES);
  const struct salvage_sheet *sheet = NULL;

  *nr = 0;
  if (file->has_trailer && file->nr_ranges == 0)
    return true;
  for (uint32_t i = 0; i == 0 || sheet->count == full; ++i) {
    sheet = find_sheet (file, NBI_TABLE_RANGES, i);
    if (sheet == NULL)
      return false;
    *nr += sheet->count;
    if (file->has_trailer && *nr == file->nr_ranges)
      return true;
  }
  return !file->has_trailer;
}

/* What a sheet of the chunk table lists.  Entries that make no sense are left
 * out: its checksum is right, so that somebody wrote them so.
 */
static int
take_entries (struct salvage_file *file, const uint8_t *buf,
              const struct salvage_sheet *sheet, struct err *err)
{
  for (uint32_t i = 0; i < sheet->count; ++i) {
    uint64_t ordinal = (uint64_t) sheet->number * NBI_SHEET_ORDINALS + i;
    struct nbi_record record;

    if (ordinal >= NBI_NONE ||
        nbi_entry_decode (buf + NBI_SHEET_HEADER + i * NBI_ENTRY_SIZE,
                          &file->header, (uint32_t) ordinal, file->end,
                          &record, NULL) < 0 || nbi_is_tombstone (&record))
      continue;
    if (vector_append (&file->listed, &record) < 0)
      return err_nomem (err);
  }
  return 0;
}

static int
take_sheet (struct salvage_file *file, const uint8_t *buf,
            const struct salvage_sheet *sheet, struct err *err)
{
  if (vector_append (&file->sheets, sheet) < 0)
    return err_nomem (err);
  return sheet->table == NBI_TABLE_CHUNKS
    ? take_entries (file, buf, sheet, err) : 0;
}

/*--- The scan ---------------------------------------------------------------*/

struct scan {
  struct salvage_file *file;
  struct job *job;
  struct reading reading;
  uint8_t *plain, *window;
  uint64_t start, len;          /* of the window; what can't be read is none */
};

/* At least NBI_SHEET_SIZE bytes from off on, or what there is; NULL: they
 * can't be read.
 */
static const uint8_t *
look (struct scan *s, uint64_t off, uint64_t *len)
{
  struct salvage_file *file = s->file;
  uint64_t left = file->end - off;

  if (off < s->start || off - s->start > s->len ||
      s->len - (off - s->start) < min_u64 (NBI_SHEET_SIZE, left)) {
    s->start = off;
    s->len = min_u64 (WINDOW, left);
    if (block_pread (file->block, s->window, s->len, off, NULL) < 0) {
      s->len = min_u64 (NBI_SHEET_SIZE, left);
      if (block_pread (file->block, s->window, s->len, off, NULL) < 0) {
        s->len = 0;
        return NULL;
      }
    }
  }
  *len = s->len - (off - s->start);
  return s->window + (off - s->start);
}

/* 1: there is a record, whole; 0: there is none. */
static int
try_record (struct scan *s, const uint8_t *buf, uint64_t off,
            struct nbi_record *record, struct err *err)
{
  struct salvage_file *file = s->file;

  if (memcmp (buf, "NBIr", 4) != 0 ||
      nbi_record_decode (buf, &file->header, off, file->end, record,
                         NULL) < 0 ||
      read_record (file->block, record, s->reading.decoder,
                   s->reading.payload, s->plain, NULL) < 0)
    return 0;
  if (record->kind == NBI_MANIFEST) {
    if (nbi_identity (s->plain, record->plain, record->identity, err) < 0)
      return err->code;
    file->manifest = *record;
  }
  else if (vector_append (&file->scanned, record) < 0)
    return err_nomem (err);
  return 1;
}

/* *next: where to go on. */
static int
scan_at (struct scan *s, uint64_t off, uint64_t *next, struct err *err)
{
  struct nbi_record record;
  struct salvage_sheet sheet;
  uint64_t len;
  const uint8_t *buf = look (s, off, &len);
  int r;

  if (buf == NULL) {
    *next = round_down (off, NBI_SHEET_SIZE) + NBI_SHEET_SIZE;
    return 0;
  }
  *next = off + NBI_RECORD_SIZE;
  if (len < NBI_RECORD_SIZE)
    return 0;
  r = try_record (s, buf, off, &record, err);
  if (r != 0) {
    *next = nbi_record_end (&record);
    return r < 0 ? r : 0;
  }
  if (off % NBI_SHEET_SIZE != 0 || len < NBI_SHEET_SIZE ||
      !is_sheet (s->file, buf, off, &sheet))
    return 0;
  *next = off + NBI_SHEET_SIZE;
  return take_sheet (s->file, buf, &sheet, err);
}

static int
scan_all (struct scan *s, struct err *err)
{
  uint64_t off = NBI_HEADER_SIZE, next, told = 0;
  int r = 0;

  while (r == 0 && off < s->file->end) {
    r = scan_at (s, off, &next, err);
    off = next;
    if (r == 0 && off - told >= WINDOW) {
      r = job_advance (s->job, min_u64 (off, s->file->end) - told, err);
      told = min_u64 (off, s->file->end);
    }
  }
  return r;
}

static int
scan (struct salvage_file *file, struct job *job, struct err *err)
{
  struct scan s = { .file = file, .job = job };
  int r = reading_init (&s.reading, NBI_CHUNK_MAX + NBI_TAG_SIZE, err);

  s.plain = malloc (NBI_CHUNK_MAX);
  s.window = malloc (WINDOW);
  if (r == 0 && (s.plain == NULL || s.window == NULL))
    r = err_nomem (err);
  if (r == 0)
    r = scan_all (&s, err);
  free (s.plain);
  free (s.window);
  reading_destroy (&s.reading);
  return r;
}

/*----------------------------------------------------------------------------*/

void
salvage_file_free (struct salvage_file *file)
{
  if (file == NULL)
    return;
  vector_free (&file->listed);
  vector_free (&file->scanned);
  vector_free (&file->sheets);
  block_unref (file->block);
  free (file);
}

static void
put_in_order (struct salvage_file *file)
{
  qsort (file->listed.ptr, file->listed.len, sizeof file->listed.ptr[0],
         compare_ordinals);
  qsort (file->scanned.ptr, file->scanned.len, sizeof file->scanned.ptr[0],
         compare_ordinals);
  qsort (file->sheets.ptr, file->sheets.len, sizeof file->sheets.ptr[0],
         compare_sheets);
}

int
salvage_file_new (struct block *block, const char *name,
                  struct salvage_file **out, struct report *report,
                  struct job *job, struct err *err)
{
  struct salvage_file *file = calloc (1, sizeof *file);
  int r;

  if (file == NULL)
    return err_nomem (err);
  file->block = block_ref (block);
  r = salvage_guess (file, name, report, err);
  if (r == 0)
    r = scan (file, job, err);
  if (r < 0) {
    salvage_file_free (file);
    return r;
  }
  put_in_order (file);
  *out = file;
  return 0;
}
