/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reading records and tables of which a scan (salvage-scan.c) said where they
 * are.
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
#include "lib/repo/salvage-guess.h"
#include "lib/repo/salvage-scan.h"

/*--- Reading records --------------------------------------------------------*/

int
salvage_read_record (const struct salvage_file *file,
                     const struct nbi_record *record,
                     struct salvage_reading *reading, uint8_t *plain,
                     struct err *err)
{
  struct nbi_record net = *record;
  int r = block_pread (file->block, reading->payload, record->stored,
                       record->off + NBI_RECORD_SIZE, err);

  if (r == 0)
    r = file_reader_check (record, reading->payload, err);
  if (r == 0 && file->crypt != NULL)
    r = crypt_open_record (file->crypt, &net, reading->payload,
                           reading->payload, err);
  return r < 0 ? r
    : payload_decode (reading->decoder, &net, reading->payload, plain, err);
}

int
salvage_identity (const struct salvage_file *file, const void *plain,
                  size_t len, uint8_t id[DIGEST_SIZE], struct err *err)
{
  return file->crypt != NULL ? crypt_identity (file->crypt, plain, len, id, err)
    : nbi_identity (plain, len, id, err);
}

const struct nbi_record *
salvage_find_record (const struct salvage_records *records, uint32_t ordinal)
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

int
salvage_reading_init (struct salvage_reading *reading, size_t room,
                      struct err *err)
{
  reading->payload = malloc (room);
  if (reading->payload == NULL)
    return err_nomem (err);
  return payload_decoder_new (&reading->decoder, err);
}

void
salvage_reading_destroy (struct salvage_reading *reading)
{
  payload_decoder_free (reading->decoder);
  free (reading->payload);
}

/* With the table's identity, if there is one. */
static int
prove (const struct salvage_file *file, const struct nbi_record *record,
       const uint8_t *identity, uint8_t *plain, struct err *err)
{
  struct salvage_reading reading = { NULL, NULL };
  uint8_t found[DIGEST_SIZE];
  int r = salvage_reading_init (&reading, record->stored, err);

  if (r == 0)
    r = salvage_read_record (file, record, &reading, plain, err);
  if (r == 0 && identity != NULL) {
    r = salvage_identity (file, plain, record->plain, found, err);
    if (r == 0 && memcmp (found, identity, sizeof found) != 0)
      r = nbi_refuse (err, 43, "the identity of the record at %" PRIu64 " is "
                      "another", record->off);
  }
  salvage_reading_destroy (&reading);
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
  const struct nbi_record *listed, *scanned;
  int r = -ENOENT;

  listed = salvage_find_record (&file->listed, ordinal);
  scanned = salvage_find_record (&file->scanned, ordinal);
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

int
salvage_compare_sheets (const void *a, const void *b)
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

    if (salvage_compare_sheets (&file->sheets.ptr[middle], &wanted) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low < file->sheets.len && file->sheets.ptr[low].table == table &&
    file->sheets.ptr[low].number == number ? &file->sheets.ptr[low] : NULL;
}

bool
salvage_file_entry (const struct salvage_file *file, enum nbi_table table,
                    uint64_t i, uint8_t *entry)
{
  uint32_t full = nbi_sheet_entries (table), size = nbi_entry_size (table);
  const struct salvage_sheet *sheet;
  uint8_t buf[NBI_SHEET_SIZE], plain[NBI_SHEET_SIZE];
  struct salvage_sheet found;

  if (i / full > UINT32_MAX)
    return false;
  sheet = find_sheet (file, table, (uint32_t) (i / full));
  if (sheet == NULL || i % full >= sheet->count ||
      block_pread (file->block, buf, sizeof buf, sheet->off, NULL) < 0 ||
      !salvage_is_sheet (file, buf, sheet->off, sheet->stated, &found,
                         plain) ||
      salvage_compare_sheets (sheet, &found) != 0)
    return false;
  memcpy (entry, plain + NBI_SHEET_HEADER + (i % full) * size, size);
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

/*----------------------------------------------------------------------------*/

void
salvage_file_free (struct salvage_file *file)
{
  if (file == NULL)
    return;
  vector_free (&file->listed);
  vector_free (&file->scanned);
  vector_free (&file->sheets);
  crypt_free (file->crypt);
  block_unref (file->block);
  free (file);
}

int
salvage_file_new (struct block *block, const char *name,
                  struct keyring *keys, struct salvage_file **out,
                  struct report *report, struct job *job, struct err *err)
{
  struct salvage_file *file = calloc (1, sizeof *file);
  int r;

  if (file == NULL)
    return err_nomem (err);
  file->block = block_ref (block);
  r = salvage_guess (file, name, keys, report, err);
  if (r == 0)
    r = salvage_scan (file, report, job, err);
  if (r < 0) {
    salvage_file_free (file);
    return r;
  }
  *out = file;
  return 0;
}
