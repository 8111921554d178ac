/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/crypt.h"
#include "lib/repo/file-reader.h"
#include "lib/repo/payload.h"

struct file_reader {
  size_t refs;
  uint64_t id;
  struct block *block;
  struct cache *sheets;
  struct nbi_header header;
  struct nbi_trailer trailer;

  /* If it is encrypted: header and trailer as they are in the file, and what
   * its key opens; NULL: there is no key.
   */
  uint8_t *ends;
  struct crypt *crypt;
};

static uint64_t last_id;

int
file_reader_sheets (size_t limit, struct cache **out, struct err *err)
{
  return cache_new (limit, free, out, err);
}

struct file_reader *
file_reader_ref (struct file_reader *reader)
{
  __atomic_add_fetch (&reader->refs, 1, __ATOMIC_RELAXED);
  return reader;
}

void
file_reader_unref (struct file_reader *reader)
{
  if (reader == NULL ||
      __atomic_sub_fetch (&reader->refs, 1, __ATOMIC_ACQ_REL) > 0)
    return;
  crypt_free (reader->crypt);
  free (reader->ends);
  block_unref (reader->block);
  free (reader);
}

const char *
file_reader_name (const struct file_reader *reader)
{
  return block_name (reader->block);
}

struct block *
file_reader_block (const struct file_reader *reader)
{
  return reader->block;
}

const struct nbi_header *
file_reader_header (const struct file_reader *reader)
{
  return &reader->header;
}

const struct nbi_trailer *
file_reader_trailer (const struct file_reader *reader)
{
  return &reader->trailer;
}

uint64_t
file_reader_id (const struct file_reader *reader)
{
  return reader->id;
}

uint64_t
file_reader_end (const struct file_reader *reader)
{
  return reader->trailer.size - NBI_TAIL_SIZE;
}

/*--- Opening ----------------------------------------------------------------*/

/* Copies are asked only where the first one is none at all: what else is wrong
 * with it is wrong with its copy too.
 */
static int
take_header (struct file_reader *reader, uint8_t *copy, struct report *report,
             struct err *err)
{
  struct err why = ERR_INIT;
  int r;

  if (nbi_header_is_whole (copy))
    return nbi_header_decode (copy, &reader->header, err);
  (void) nbi_header_decode (copy, &reader->header, &why);
  r = block_pread (reader->block, copy, NBI_HEADER_SIZE, 0, err);
  if (r == 0)
    r = nbi_header_decode (copy, &reader->header, err);
  if (r == 0)
    report_warn (report, "the copy of the header is damaged, the header at 0 "
                 "is used: %s", why.msg);
  return r;
}

/* For the HMAC. */
static int
keep_ends (struct file_reader *reader, const uint8_t *header,
           const uint8_t *trailer, struct err *err)
{
  if (!nbi_encrypted (&reader->header))
    return 0;
  reader->ends = malloc (NBI_HEADER_SIZE + NBI_TRAILER_SIZE);
  if (reader->ends == NULL)
    return err_nomem (err);
  memcpy (reader->ends, header, NBI_HEADER_SIZE);
  memcpy (reader->ends + NBI_HEADER_SIZE, trailer, NBI_TRAILER_SIZE);
  return 0;
}

static int
take_trailer (struct file_reader *reader, const uint8_t *copy,
              const uint8_t *header, const uint8_t *last,
              struct report *report, struct err *err)
{
  uint64_t size = block_size (reader->block);
  bool torn = !nbi_trailer_is_whole (last) && nbi_trailer_is_whole (copy);
  int r;

  r = nbi_trailer_decode (torn ? copy : last, &reader->header, size,
                          &reader->trailer, err);
  if (r == 0 && torn)
    report_warn (report, "the trailer at %" PRIu64 " is damaged, its copy is "
                 "used", size - NBI_TRAILER_SIZE);
  return r < 0 ? r : keep_ends (reader, header, torn ? copy : last, err);
}

static int
read_ends (struct file_reader *reader, struct report *report, struct err *err)
{
  uint64_t size = block_size (reader->block);
  uint8_t tail[NBI_TAIL_SIZE];
  uint8_t *header = tail + NBI_TRAILER_SIZE;
  int r;

  if (size < NBI_MIN_SIZE)
    return nbi_refuse (err, 100, "there are %" PRIu64 " bytes; the smallest "
                       "backup image has %d", size, NBI_MIN_SIZE);
  r = block_pread (reader->block, tail, sizeof tail, size - sizeof tail, err);
  if (r == 0)
    r = take_header (reader, header, report, err);
  if (r == 0)
    r = take_trailer (reader, tail, header, header + NBI_HEADER_SIZE, report,
                      err);
  return r;
}

int
file_reader_unlock (struct file_reader *reader, struct keyring *keys,
                    struct err *err)
{
  const struct nbi_header *h = &reader->header;
  uint8_t master[CRYPT_KEY_SIZE];
  struct crypt *crypt = NULL;
  int r;

  if (!nbi_encrypted (h) || reader->crypt != NULL)
    return 0;
  r = keyring_open_header (keys, h, master, err);
  if (r == 0)
    r = crypt_new (master, h, &crypt, err);
  if (r == 0)
    r = crypt_check_trailer (crypt, reader->ends,
                             reader->ends + NBI_HEADER_SIZE, err);
  kdf_forget (master, sizeof master);
  if (r < 0)
    crypt_free (crypt);
  else
    reader->crypt = crypt;
  return r;
}

/* With a key that is there already. */
static int
use_keys (struct file_reader *reader, struct keyring *keys, struct err *err)
{
  if (nbi_encrypted (&reader->header))
    return keyring_is_ready (keys) ? file_reader_unlock (reader, keys, err) : 0;
  return keyring_is_ready (keys)
    ? err_set (err, -EACCES, "there is a key, and it is not encrypted "
               "(NBI-124)") : 0;
}

int
file_reader_open (struct block *block, struct cache *sheets,
                  struct keyring *keys, struct file_reader **out,
                  struct report *report, struct err *err)
{
  struct file_reader *reader = calloc (1, sizeof *reader);
  int r;

  if (reader == NULL)
    return err_nomem (err);
  reader->refs = 1;
  reader->id = __atomic_add_fetch (&last_id, 1, __ATOMIC_RELAXED);
  reader->block = block_ref (block);
  reader->sheets = sheets;
  r = read_ends (reader, report, err);
  if (r == 0)
    r = use_keys (reader, keys, err);
  if (r < 0)
    file_reader_unref (reader);
  else
    *out = reader;
  return r;
}

/*--- What is encrypted ------------------------------------------------------*/

static int
refuse_locked (struct err *err)
{
  return err_set (err, -EACCES, "it is encrypted, and there is no key "
                  "(NBI-41): %s names it", keyring_options);
}

int
file_reader_identity (struct file_reader *reader, const void *plain,
                      size_t len, uint8_t id[DIGEST_SIZE], struct err *err)
{
  if (!nbi_encrypted (&reader->header))
    return nbi_identity (plain, len, id, err);
  return reader->crypt == NULL ? refuse_locked (err)
    : crypt_identity (reader->crypt, plain, len, id, err);
}

int
file_reader_unseal (struct file_reader *reader, struct nbi_record *record,
                    void *payload, struct err *err)
{
  if (!nbi_encrypted (&reader->header))
    return 0;
  return reader->crypt == NULL ? refuse_locked (err)
    : crypt_open_record (reader->crypt, record, payload, payload, err);
}

static int
check_sheet (struct file_reader *reader, const struct nbi_sheet *sheet,
             uint8_t *buf, struct err *err)
{
  if (!nbi_encrypted (&reader->header))
    return nbi_sheet_check (buf, sheet, err);
  return reader->crypt == NULL ? refuse_locked (err)
    : crypt_open_sheet (reader->crypt, sheet, buf, err);
}

/*--- Tables -----------------------------------------------------------------*/

struct wanted {
  struct file_reader *reader;
  struct nbi_sheet sheet;
};

static int
make_sheet (void *opaque, const struct cache_key *key, void **value,
            size_t *size, struct err *err)
{
  const struct wanted *wanted = opaque;
  CLEANUP_FREE uint8_t *buf = malloc (NBI_SHEET_SIZE);
  int r;

  (void) key;
  if (buf == NULL)
    return err_nomem (err);
  r = block_pread (wanted->reader->block, buf, NBI_SHEET_SIZE,
                   wanted->sheet.off, err);
  if (r == 0)
    r = check_sheet (wanted->reader, &wanted->sheet, buf, err);
  if (r < 0)
    return r;
  *value = steal_ptr (&buf);
  *size = NBI_SHEET_SIZE;
  return 0;
}

/* Entry i of sheet `number' of a table, which lies at `off' and has that many
 * entries in all.
 */
static int
get_entry (struct file_reader *reader, enum nbi_table table, uint64_t off,
           uint64_t number, uint32_t count, uint32_t i, uint8_t *entry,
           struct err *err)
{
  uint32_t size = nbi_entry_size (table);
  struct wanted wanted = {
    .reader = reader,
    .sheet = {
      .salt = reader->header.salt,
      .off = off,
      .number = (uint32_t) number,
      .count = count,
      .table = table,
    },
  };
  const struct cache_key key = { reader->id, off / NBI_SHEET_SIZE };
  const struct cache_maker maker = { make_sheet, &wanted };
  struct cache_item *item;
  const uint8_t *sheet;
  int r;

  memcpy (wanted.sheet.nonce, reader->header.nonce,
          sizeof wanted.sheet.nonce);
  r = cache_get (reader->sheets, &key, &maker, &item, err);
  if (r < 0)
    return r;
  /* It may have been read as another one: two tables may say that it is theirs,
   * and what is refused does not depend on which was asked first.
   */
  sheet = cache_value (item);
  r = nbi_sheet_check_place (sheet, &wanted.sheet, err);
  if (r == 0)
    memcpy (entry, sheet + NBI_SHEET_HEADER + i * size, size);
  cache_put (reader->sheets, item);
  return r;
}

/* Entry i of n of a table whose sheets lie side by side from `off' on. */
static int
table_entry (struct file_reader *reader, enum nbi_table table, uint64_t off,
             uint64_t n, uint64_t i, uint8_t *entry, struct err *err)
{
  uint32_t full = nbi_sheet_entries (table);
  uint64_t number = i / full;
  uint32_t count = (uint32_t) min_u64 (full, n - number * full);

  return get_entry (reader, table, off + number * NBI_SHEET_SIZE, number,
                    count, (uint32_t) (i % full), entry, err);
}

int
file_reader_group (struct file_reader *reader, uint32_t g,
                   struct nbi_group *group, struct err *err)
{
  const struct nbi_trailer *t = &reader->trailer;
  uint8_t entry[NBI_GROUP_SIZE];
  int r;

  r = table_entry (reader, NBI_TABLE_DIRECTORY, t->directory,
                   div_round_up (t->nr_ordinals, NBI_GROUP_ORDINALS), g,
                   entry, err);
  return r < 0 ? r
    : nbi_group_decode (entry, g, t->nr_ordinals, file_reader_end (reader),
                        group, err);
}

int
file_reader_entry (struct file_reader *reader, uint32_t ordinal,
                   struct nbi_record *record, struct err *err)
{
  const struct nbi_trailer *t = &reader->trailer;
  uint32_t number = ordinal / NBI_SHEET_ORDINALS;
  uint8_t entry[NBI_ENTRY_SIZE];
  struct nbi_group group;
  uint64_t off;
  int r;

  if (ordinal >= t->nr_ordinals)
    return nbi_refuse (err, 79, "there is no record %" PRIu32 ", but %" PRIu32
                       " of them", ordinal, t->nr_ordinals);
  r = file_reader_group (reader, number / NBI_GROUP_SHEETS, &group, err);
  if (r < 0)
    return r;
  off = nbi_group_sheet (&group, number % NBI_GROUP_SHEETS);
  if (off == 0) {
    *record = (struct nbi_record) { .ordinal = ordinal };
    return 0;
  }
  r = get_entry (reader, NBI_TABLE_CHUNKS, off, number,
                 (uint32_t) min_u64 (NBI_SHEET_ORDINALS, t->nr_ordinals -
                                     number * NBI_SHEET_ORDINALS),
                 ordinal % NBI_SHEET_ORDINALS, entry, err);
  return r < 0 ? r
    : nbi_entry_decode (entry, &reader->header, ordinal,
                        file_reader_end (reader), record, err);
}

int
file_reader_root (struct file_reader *reader, uint64_t page,
                  struct nbi_root *root, struct err *err)
{
  const struct nbi_trailer *t = &reader->trailer;
  uint8_t entry[NBI_ROOT_SIZE];
  int r;

  r = table_entry (reader, NBI_TABLE_ROOT, t->root,
                   nbi_nr_pages (&reader->header), page, entry, err);
  return r < 0 ? r : nbi_root_decode (entry, t->nr_files, root, err);
}

int
file_reader_file (struct file_reader *reader, uint32_t i,
                  struct nbi_file *file, struct err *err)
{
  const struct nbi_trailer *t = &reader->trailer;
  uint8_t entry[NBI_FILE_SIZE], before[NBI_FILE_SIZE];
  int r;

  r = table_entry (reader, NBI_TABLE_FILES, t->files, t->nr_files, i, entry,
                   err);
  if (r == 0 && i > 0)
    r = table_entry (reader, NBI_TABLE_FILES, t->files, t->nr_files, i - 1,
                     before, err);
  return r < 0 ? r
    : nbi_file_decode (entry, i > 0 ? before : NULL, &reader->header, file,
                       err);
}

int
file_reader_range (struct file_reader *reader, uint32_t i,
                   struct nbi_range *range, struct err *err)
{
  const struct nbi_trailer *t = &reader->trailer;
  uint8_t entry[NBI_RANGE_SIZE], before[NBI_RANGE_SIZE];
  int r;

  r = table_entry (reader, NBI_TABLE_RANGES, t->ranges, t->nr_ranges, i,
                   entry, err);
  if (r == 0 && i > 0)
    r = table_entry (reader, NBI_TABLE_RANGES, t->ranges, t->nr_ranges, i - 1,
                     before, err);
  return r < 0 ? r
    : nbi_range_decode (entry, i > 0 ? before : NULL, &reader->header, range,
                        err);
}

/*--- Records ----------------------------------------------------------------*/

int
file_reader_check (const struct nbi_record *record, const void *payload,
                   struct err *err)
{
  uint64_t xxh3 = XXH3_64bits (payload, record->stored);

  if (xxh3 == record->xxh3)
    return 0;
  return nbi_refuse (err, 40, "the XXH3 of %" PRIu32 " bytes is %016" PRIx64
                     ", expected %016" PRIx64, record->stored, xxh3,
                     record->xxh3);
}
