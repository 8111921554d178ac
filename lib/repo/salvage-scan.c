/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One scan of the file, from front to back, gives records and sheets.  A
 * record or a sheet is believed only with the salt of this file, the offset
 * at which it lies and a checksum; and of a record all that it holds is
 * looked at, before the scan goes on behind it.  So what lies in the payload of
 * a record that is whole is never taken for one, and what lies in a damaged
 * one only if it says that it lies right there.
 *
 * Where that finds nothing a second scan looks at every byte, for what says
 * that it belongs elsewhere: bytes may have been lost from the file, or added.
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
#include "lib/repo/salvage-scan.h"

#define WINDOW (1024 * 1024)    /* is looked at in one piece */

/*--- Sheets -----------------------------------------------------------------*/

bool
salvage_is_sheet (const struct salvage_file *file, const uint8_t *buf,
                  uint64_t off, uint64_t stated, struct salvage_sheet *out,
                  uint8_t plain[NBI_SHEET_SIZE])
{
  struct nbi_sheet sheet = {
    .salt = file->header.salt, .off = stated, .number = get_le32 (buf + 24),
    .count = get_le16 (buf + 6), .table = (enum nbi_table) buf[4],
  };

  if (!file->has_nonce || memcmp (buf, "NBIs", 4) != 0 ||
      buf[4] < NBI_TABLE_CHUNKS || buf[4] > NBI_TABLE_RANGES ||
      sheet.count == 0 || sheet.count > nbi_sheet_entries (sheet.table))
    return false;
  memcpy (sheet.nonce, file->header.nonce, sizeof sheet.nonce);
  memcpy (plain, buf, NBI_SHEET_SIZE);
  if ((file->crypt != NULL ? crypt_open_sheet (file->crypt, &sheet, plain, NULL)
                           : nbi_sheet_check (plain, &sheet, NULL)) < 0)
    return false;
  *out = (struct salvage_sheet) { off, stated, sheet.number,
                                  sheet.count, sheet.table };
  return true;
}

/* What a sheet of the chunk table lists.  Entries that make no sense are left
 * out: its checksum is right, so that somebody wrote them so.  Where the sheet
 * is not where it belongs, they are likely to be as far away.
 */
static int
take_entries (struct salvage_file *file, const uint8_t *buf,
              const struct salvage_sheet *sheet, struct err *err)
{
  uint64_t shift = sheet->off - sheet->stated;  /* may be below 0 */

  for (uint32_t i = 0; i < sheet->count; ++i) {
    uint64_t ordinal = (uint64_t) sheet->number * NBI_SHEET_ORDINALS + i;
    struct nbi_record record;

    if (ordinal >= NBI_NONE ||
        nbi_entry_decode (buf + NBI_SHEET_HEADER + i * NBI_ENTRY_SIZE,
                          &file->header, (uint32_t) ordinal, NBI_MAX_SIZE,
                          &record, NULL) < 0 || nbi_is_tombstone (&record))
      continue;
    record.off += shift;
    if (record.off > file->end || file->end - record.off < NBI_RECORD_SIZE +
        (uint64_t) record.stored)
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

DEFINE_VECTOR (gaps, struct nbi_range);

struct scan {
  struct salvage_file *file;
  struct job *job;
  struct salvage_reading reading;
  uint8_t *plain, *window;
  uint64_t start, len;          /* of the window; what can't be read is none */
  struct gaps gaps;              /* where nothing was found */
  struct salvage_records shifted;       /* of the second scan */
  size_t nr_shifted_sheets;
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
      salvage_read_record (file, record, &s->reading, s->plain, NULL) < 0)
    return 0;
  if (record->kind == NBI_MANIFEST) {
    int r = salvage_identity (file, s->plain, record->plain, record->identity,
                              err);

    if (r < 0)
      return r;
    file->manifest = *record;
  }
  else if (vector_append (&file->scanned, record) < 0)
    return err_nomem (err);
  return 1;
}

/* *next: where to go on; *any: a record or a sheet lies in front of that. */
static int
scan_at (struct scan *s, uint64_t off, uint64_t *next, bool *any,
         struct err *err)
{
  struct nbi_record record;
  struct salvage_sheet sheet;
  uint8_t plain[NBI_SHEET_SIZE];
  uint64_t len;
  const uint8_t *buf = look (s, off, &len);
  int r;

  *any = false;
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
    *any = true;
    return r < 0 ? r : 0;
  }
  if (off % NBI_SHEET_SIZE != 0 || len < NBI_SHEET_SIZE ||
      !salvage_is_sheet (s->file, buf, off, off, &sheet, plain))
    return 0;
  *next = off + NBI_SHEET_SIZE;
  *any = true;
  return take_sheet (s->file, plain, &sheet, err);
}

/* Between tables there may be less than a sheet of zeros (§2). */
static int
note_gap (struct scan *s, uint64_t from, uint64_t to, struct err *err)
{
  const struct nbi_range gap = { from, to - from };

  if (to <= from || gap.len < NBI_RECORD_SIZE)
    return 0;
  return vector_append (&s->gaps, &gap) < 0 ? err_nomem (err) : 0;
}

static int
scan_all (struct scan *s, struct err *err)
{
  uint64_t off = NBI_HEADER_SIZE, next, told = 0, found = off;
  int r = 0;

  while (r == 0 && off < s->file->end) {
    bool any;

    r = scan_at (s, off, &next, &any, err);
    if (r == 0 && any) {
      r = note_gap (s, found, off, err);
      found = next;
    }
    off = next;
    if (r == 0 && off - told >= WINDOW) {
      r = job_advance (s->job, min_u64 (off, s->file->end) - told, err);
      told = min_u64 (off, s->file->end);
    }
  }
  return r < 0 ? r : note_gap (s, found, s->file->end, err);
}

/*--- The second scan --------------------------------------------------------*/

/* A record that says that it belongs elsewhere; 1: whole, and of an ordinal
 * that the first scan did not find.
 */
static int
try_shifted_record (struct scan *s, const uint8_t *buf, uint64_t off,
                    struct nbi_record *record, struct err *err)
{
  struct salvage_file *file = s->file;
  uint64_t stated = get_le64 (buf + 16);
  int r;

  if (stated == off ||
      nbi_record_decode (buf, &file->header, stated, NBI_MAX_SIZE, record,
                         NULL) < 0 ||
      file->end - off < NBI_RECORD_SIZE + (uint64_t) record->stored)
    return 0;
  record->off = off;
  if (salvage_read_record (file, record, &s->reading, s->plain, NULL) < 0)
    return 0;
  if (record->kind == NBI_MANIFEST) {
    if (file->manifest.plain != 0)
      return 1;
    r = salvage_identity (file, s->plain, record->plain, record->identity,
                          err);
    if (r < 0)
      return r;
    file->manifest = *record;
    return 1;
  }
  if (salvage_find_record (&file->scanned, record->ordinal) != NULL)
    return 1;
  return vector_append (&s->shifted, record) < 0 ? err_nomem (err) : 1;
}

/* Something begins with "NBI" at off.  *end: where what was found ends. */
static int
look_closer (struct scan *s, uint64_t off, uint64_t *end, struct err *err)
{
  uint8_t buf[NBI_SHEET_SIZE], plain[NBI_SHEET_SIZE];
  struct salvage_file *file = s->file;
  uint64_t n = min_u64 (sizeof buf, file->end - off);
  struct nbi_record record;
  struct salvage_sheet sheet;
  int r;

  *end = off + 1;
  if (n < NBI_RECORD_SIZE || block_pread (file->block, buf, n, off, NULL) < 0)
    return 0;
  if (buf[3] == 'r') {
    r = try_shifted_record (s, buf, off, &record, err);
    if (r > 0)
      *end = off + NBI_RECORD_SIZE + record.stored;
    return r < 0 ? r : 0;
  }
  if (n < sizeof buf || get_le64 (buf + 16) == off ||
      !salvage_is_sheet (file, buf, off, get_le64 (buf + 16), &sheet, plain))
    return 0;
  *end = off + NBI_SHEET_SIZE;
  s->nr_shifted_sheets++;
  return take_sheet (file, plain, &sheet, err);
}

/* Every byte of a gap, in windows that overlap by what a magic has. */
static int
scan_gap (struct scan *s, const struct nbi_range *gap, struct err *err)
{
  uint64_t off = gap->off, end = gap->off + gap->len;
  int r = 0;

  while (r == 0 && off + NBI_RECORD_SIZE <= end) {
    uint64_t n = min_u64 (WINDOW, end - off);
    const uint8_t *found;

    r = job_check (s->job, err);
    if (r < 0)
      return r;
    if (block_pread (s->file->block, s->window, n, off, NULL) < 0) {
      off = round_down (off, NBI_SHEET_SIZE) + NBI_SHEET_SIZE;
      continue;
    }
    found = memmem (s->window, n, "NBI", 3);
    if (found == NULL)
      off += n > 2 ? n - 2 : n;
    else
      r = look_closer (s, off + (uint64_t) (found - s->window), &off, err);
  }
  return r;
}

static int
add_shifted (struct scan *s, struct report *report, struct err *err)
{
  struct salvage_file *file = s->file;

  for (size_t i = 0; i < s->shifted.len; ++i)
    if (vector_append (&file->scanned, &s->shifted.ptr[i]) < 0)
      return err_nomem (err);
  if (s->shifted.len + s->nr_shifted_sheets > 0)
    report_warn (report, "bytes were lost from it, or added to it: %zu records "
                 "and %zu sheets are not where they say that they belong",
                 s->shifted.len, s->nr_shifted_sheets);
  return 0;
}

/* Where the first one found nothing.  A header that lies in the payload of a
 * damaged record of this very file, at another place than it says, would be
 * taken here and not there: it has the salt of this file only if it was written
 * to it, so that its bytes are right for its ordinal all the same.
 */
static int
scan_again (struct scan *s, struct report *report, struct err *err)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < s->gaps.len; ++i)
    r = scan_gap (s, &s->gaps.ptr[i], err);
  return r < 0 ? r : add_shifted (s, report, err);
}

/*----------------------------------------------------------------------------*/

static int
compare_ordinals (const void *a, const void *b)
{
  const struct nbi_record *x = a, *y = b;

  if (x->ordinal != y->ordinal)
    return x->ordinal < y->ordinal ? -1 : 1;
  return (x->off > y->off) - (x->off < y->off);
}

#define put_vector_in_order(v, compare)                                 \
  ((v)->len > 0                                                         \
   ? qsort ((v)->ptr, (v)->len, sizeof (v)->ptr[0], compare) : (void) 0)

static void
put_in_order (struct salvage_file *file)
{
  put_vector_in_order (&file->listed, compare_ordinals);
  put_vector_in_order (&file->scanned, compare_ordinals);
  put_vector_in_order (&file->sheets, salvage_compare_sheets);
}

int
salvage_scan (struct salvage_file *file, struct report *report,
              struct job *job, struct err *err)
{
  struct scan s = { .file = file, .job = job };
  int r = salvage_reading_init (&s.reading, NBI_CHUNK_MAX + NBI_TAG_SIZE,
                                err);

  s.plain = malloc (NBI_CHUNK_MAX);
  s.window = malloc (WINDOW);
  if (r == 0 && (s.plain == NULL || s.window == NULL))
    r = err_nomem (err);
  if (r == 0)
    r = scan_all (&s, err);
  put_in_order (file);
  if (r == 0)
    r = scan_again (&s, report, err);
  put_in_order (file);
  vector_free (&s.gaps);
  vector_free (&s.shifted);
  free (s.plain);
  free (s.window);
  salvage_reading_destroy (&s.reading);
  return r;
}
