/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "lib/repo/nbi-sheet.h"

#define MAGIC "NBIs"

/* Of the structure on disk. */
enum {
  OFF_TYPE = 4,
  OFF_COUNT = 6,
  OFF_SALT = 8,
  OFF_OFFSET = 16,
  OFF_NUMBER = 24,
  OFF_NONCE = 28,
  OFF_CRC = 60,
};

static const struct {
  const char *name;
  uint32_t size;                /* of an entry */
} tables[] = {
  [NBI_TABLE_CHUNKS] = { "chunk table", 64 },
  [NBI_TABLE_DIRECTORY] = { "directory", NBI_GROUP_SIZE },
  [NBI_TABLE_ROOT] = { "root", NBI_ROOT_SIZE },
  [NBI_TABLE_FILES] = { "files", NBI_FILE_SIZE },
  [NBI_TABLE_RANGES] = { "unreadable", NBI_RANGE_SIZE },
};

uint32_t
nbi_entry_size (enum nbi_table table)
{
  return tables[table].size;
}

uint32_t
nbi_sheet_entries (enum nbi_table table)
{
  return (NBI_SHEET_SIZE - NBI_SHEET_HEADER) / tables[table].size;
}

uint64_t
nbi_nr_sheets (enum nbi_table table, uint64_t nr_entries)
{
  return div_round_up (nr_entries, nbi_sheet_entries (table));
}

uint32_t
nbi_sheet_count (enum nbi_table table, uint64_t nr_entries, uint32_t number)
{
  uint32_t full = nbi_sheet_entries (table);

  return (uint32_t) min_u64 (full, nr_entries - (uint64_t) number * full);
}

/* With the checksum's own bytes as zeros. */
static uint32_t
checksum (const uint8_t *buf)
{
  static const uint8_t zeros[4];
  uint32_t crc = crc32c_update (0, buf, OFF_CRC);

  crc = crc32c_update (crc, zeros, sizeof zeros);
  return crc32c_update (crc, buf + NBI_SHEET_HEADER, NBI_SHEET_BODY);
}

void
nbi_sheet_seal_encrypted (const struct nbi_sheet *sheet,
                          const uint8_t tag[NBI_TAG_SIZE],
                          uint8_t buf[NBI_SHEET_SIZE])
{
  memset (buf, 0, NBI_SHEET_HEADER);
  memcpy (buf, MAGIC, 4);
  buf[OFF_TYPE] = (uint8_t) sheet->table;
  put_le16 (buf + OFF_COUNT, (uint16_t) sheet->count);
  put_le64 (buf + OFF_SALT, sheet->salt);
  put_le64 (buf + OFF_OFFSET, sheet->off);
  put_le32 (buf + OFF_NUMBER, sheet->number);
  memcpy (buf + OFF_NONCE, sheet->nonce, sizeof sheet->nonce);
  memcpy (buf + NBI_SHEET_TAG, tag, NBI_TAG_SIZE);
  put_le32 (buf + OFF_CRC, checksum (buf));
}

void
nbi_sheet_seal (const struct nbi_sheet *sheet, uint8_t buf[NBI_SHEET_SIZE])
{
  static const uint8_t no_tag[NBI_TAG_SIZE];

  nbi_sheet_seal_encrypted (sheet, no_tag, buf);
}

/* NBI-1. */
static int
check_reserved (const uint8_t *buf, bool encrypted, const char *name,
                struct err *err)
{
  int r = nbi_check_zeros (buf, OFF_TYPE + 1, 1, name, err);

  if (r == 0 && !encrypted)
    r = nbi_check_zeros (buf, NBI_SHEET_TAG, NBI_TAG_SIZE, name, err);
  if (r == 0)
    r = nbi_check_zeros (buf, NBI_SHEET_TAG + NBI_TAG_SIZE,
                         OFF_CRC - NBI_SHEET_TAG - NBI_TAG_SIZE, name, err);
  return r;
}

/* NBI-51 to NBI-54. */
static int
check_place (const uint8_t *buf, const struct nbi_sheet *sheet,
             const char *name, struct err *err)
{
  uint64_t off = get_le64 (buf + OFF_OFFSET);
  uint32_t number = get_le32 (buf + OFF_NUMBER);

  if (get_le64 (buf + OFF_SALT) != sheet->salt)
    return nbi_refuse (err, 51, "%s: the sheet at %" PRIu64 " is of another"
                       " file", name, sheet->off);
  if (memcmp (buf + OFF_NONCE, sheet->nonce, sizeof sheet->nonce) != 0)
    return nbi_refuse (err, 51, "%s: the sheet at %" PRIu64 " is of another"
                       " attempt at this edition", name, sheet->off);
  if (off != sheet->off)
    return nbi_refuse (err, 52, "%s: the sheet at %" PRIu64 " belongs to %"
                       PRIu64, name, sheet->off, off);
  if (buf[OFF_TYPE] != sheet->table || number != sheet->number)
    return nbi_refuse (err, 53, "%s: at %" PRIu64 " is sheet %" PRIu32
                       " of table %u, expected %" PRIu32 " of %u", name,
                       sheet->off, number, buf[OFF_TYPE], sheet->number,
                       sheet->table);
  if (get_le16 (buf + OFF_COUNT) != sheet->count)
    return nbi_refuse (err, 54, "%s: sheet %" PRIu32 " at %" PRIu64 " has %u"
                       " entries, expected %" PRIu32, name, sheet->number,
                       sheet->off, get_le16 (buf + OFF_COUNT), sheet->count);
  return 0;
}

static int
check_sheet (const uint8_t *buf, const struct nbi_sheet *sheet, bool encrypted,
             struct err *err)
{
  const char *name = tables[sheet->table].name;
  int r;

  if (memcmp (buf, MAGIC, 4) != 0)
    return nbi_refuse (err, 50, "%s: no sheet at %" PRIu64, name, sheet->off);
  if (get_le32 (buf + OFF_CRC) != checksum (buf))
    return nbi_refuse (err, 50, "%s: the sheet at %" PRIu64 " has another"
                       " checksum", name, sheet->off);
  r = check_place (buf, sheet, name, err);
  if (r == 0)
    r = check_reserved (buf, encrypted, name, err);
  return r;
}

int
nbi_sheet_check_body (const uint8_t body[NBI_SHEET_BODY],
                      const struct nbi_sheet *sheet, struct err *err)
{
  size_t used = (size_t) sheet->count * tables[sheet->table].size;

  if (nbi_is_zeros (body + used, NBI_SHEET_BODY - used))
    return 0;
  return nbi_refuse (err, 56, "%s: sheet %" PRIu32 " has bytes behind its %"
                     PRIu32 " entries", tables[sheet->table].name,
                     sheet->number, sheet->count);
}

int
nbi_sheet_check_place (const uint8_t buf[NBI_SHEET_SIZE],
                       const struct nbi_sheet *sheet, struct err *err)
{
  return check_place (buf, sheet, tables[sheet->table].name, err);
}

int
nbi_sheet_check_encrypted (const uint8_t buf[NBI_SHEET_SIZE],
                           const struct nbi_sheet *sheet, struct err *err)
{
  return check_sheet (buf, sheet, true, err);
}

int
nbi_sheet_check (const uint8_t buf[NBI_SHEET_SIZE],
                 const struct nbi_sheet *sheet, struct err *err)
{
  int r = check_sheet (buf, sheet, false, err);

  if (r == 0)
    r = nbi_sheet_check_body (buf + NBI_SHEET_HEADER, sheet, err);
  return r;
}

/*--- Directory --------------------------------------------------------------*/

static bool
has_sheet (const struct nbi_group *g, unsigned i)
{
  return (g->bits[i / 8] >> i % 8 & 1) != 0;
}

static unsigned
sheets_below (const struct nbi_group *g, unsigned end)
{
  unsigned nr = 0;

  for (unsigned i = 0; i < end; ++i)
    nr += has_sheet (g, i);
  return nr;
}

uint64_t
nbi_group_sheet (const struct nbi_group *g, unsigned i)
{
  if (!has_sheet (g, i))
    return 0;
  return g->off + (uint64_t) sheets_below (g, i) * NBI_SHEET_SIZE;
}

void
nbi_group_encode (const struct nbi_group *g, uint8_t buf[NBI_GROUP_SIZE])
{
  put_le64 (buf, g->off);
  memcpy (buf + 8, g->bits, sizeof g->bits);
}

int
nbi_group_decode (const uint8_t buf[NBI_GROUP_SIZE], uint32_t index,
                  uint64_t nr_ordinals, uint64_t end, struct nbi_group *out,
                  struct err *err)
{
  struct nbi_group g = { .off = get_le64 (buf) };
  uint64_t first = (uint64_t) index * NBI_GROUP_SHEETS;
  unsigned nr;

  memcpy (g.bits, buf + 8, sizeof g.bits);
  nr = sheets_below (&g, NBI_GROUP_SHEETS);
  if ((nr == 0) != (g.off == 0))
    return nbi_refuse (err, 65, "directory: group %" PRIu32 " has %u sheets at"
                       " %" PRIu64, index, nr, g.off);
  if (nr > 0 && (g.off % NBI_SHEET_SIZE != 0 || g.off < NBI_HEADER_SIZE ||
                 !range_fits (g.off, (uint64_t) nr * NBI_SHEET_SIZE, end)))
    return nbi_refuse (err, 64, "directory: group %" PRIu32 " has its %u"
                       " sheets at %" PRIu64, index, nr, g.off);
  for (unsigned i = 0; i < NBI_GROUP_SHEETS; ++i)
    if (has_sheet (&g, i) && (first + i) * NBI_SHEET_ORDINALS >= nr_ordinals)
      return nbi_refuse (err, 66, "directory: sheet %" PRIu64 " of a table of %"
                         PRIu64 " ordinals", first + i, nr_ordinals);
  *out = g;
  return 0;
}

/*--- Root, files, ranges ----------------------------------------------------*/

void
nbi_root_encode (const struct nbi_root *root, uint8_t buf[NBI_ROOT_SIZE])
{
  put_le32 (buf, root->file);
  put_le32 (buf + 4, root->ordinal);
  memcpy (buf + 8, root->hash, DIGEST_SIZE);
}

int
nbi_root_decode (const uint8_t buf[NBI_ROOT_SIZE], uint32_t nr_files,
                 struct nbi_root *root, struct err *err)
{
  uint32_t file = get_le32 (buf), ordinal = get_le32 (buf + 4);

  if (file == NBI_NONE ? ordinal > NBI_UNREADABLE : file >= nr_files)
    return nbi_refuse (err, 80, "root: record %" PRIu32 " of file %" PRIu32
                       " of %" PRIu32, ordinal, file, nr_files);
  if (file != NBI_NONE && ordinal == NBI_NONE)
    return nbi_refuse (err, 81, "root: no record has the ordinal %" PRIu32,
                       ordinal);
  root->file = file;
  root->ordinal = ordinal;
  memcpy (root->hash, buf + 8, DIGEST_SIZE);
  return 0;
}

void
nbi_file_encode (const struct nbi_file *file, uint8_t buf[NBI_FILE_SIZE])
{
  memcpy (buf, file->uuid, UUID_SIZE);
  memcpy (buf + 16, file->run, UUID_SIZE);
  put_le32 (buf + 32, file->uses);
  put_le32 (buf + 36, 0);
}

/* Where there is no vault, there is no other file than this one. */
static bool
is_elsewhere (const struct nbi_file *file, const struct nbi_header *h)
{
  return uuid_is_zero (h->vault) &&
    (memcmp (file->uuid, h->file, UUID_SIZE) != 0 ||
     memcmp (file->run, h->run, UUID_SIZE) != 0);
}

int
nbi_file_decode (const uint8_t buf[NBI_FILE_SIZE], const uint8_t *before,
                 const struct nbi_header *h, struct nbi_file *out,
                 struct err *err)
{
  struct nbi_file file = { .uses = get_le32 (buf + 32) };

  memcpy (file.uuid, buf, UUID_SIZE);
  memcpy (file.run, buf + 16, UUID_SIZE);
  if (uuid_is_zero (file.uuid) || uuid_is_zero (file.run))
    return nbi_refuse (err, 82, "files: a UUID is zeros");
  if (before != NULL && memcmp (before, file.uuid, UUID_SIZE) >= 0)
    return nbi_refuse (err, 82, "files: UUIDs are not ascending");
  if (file.uses == 0 || file.uses > 2 * nbi_nr_pages (h))
    return nbi_refuse (err, 82, "files: %" PRIu32 " uses by %" PRIu64
                       " pages", file.uses, nbi_nr_pages (h));
  if (is_elsewhere (&file, h))
    return nbi_refuse (err, 82, "files: another file than this one, which is"
                       " in no vault");
  if (!nbi_is_zeros (buf + 36, 4))
    return nbi_check_zeros (buf, 36, 4, "files", err);
  *out = file;
  return 0;
}

int
nbi_check_unreadable (enum nbi_cell_kind kind, uint32_t len,
                      uint64_t in_ranges, struct err *err)
{
  bool right = kind == NBI_UNREADABLE ? in_ranges == len
    : kind == NBI_DATA_IN_PART ? in_ranges > 0 && in_ranges < len
    : in_ranges == 0;

  if (right)
    return 0;
  return nbi_refuse (err, 85, "map: a chunk of kind %u and %" PRIu32 " bytes,"
                     " of which %" PRIu64 " can't be read", kind, len,
                     in_ranges);
}

void
nbi_range_encode (const struct nbi_range *range, uint8_t buf[NBI_RANGE_SIZE])
{
  put_le64 (buf, range->off);
  put_le64 (buf + 8, range->len);
}

int
nbi_range_decode (const uint8_t buf[NBI_RANGE_SIZE], const uint8_t *before,
                  const struct nbi_header *h, struct nbi_range *range,
                  struct err *err)
{
  uint64_t off = get_le64 (buf), len = get_le64 (buf + 8);
  uint64_t end_before = before == NULL ? 0
    : get_le64 (before) + get_le64 (before + 8);

  if (len == 0 || !range_fits (off, len, h->disk_size))
    return nbi_refuse (err, 84, "unreadable: %" PRIu64 " bytes at %" PRIu64
                       " of a disk of %" PRIu64, len, off, h->disk_size);
  if (off % 512 != 0 ||
      ((off + len) % 512 != 0 && off + len != h->disk_size))
    return nbi_refuse (err, 84, "unreadable: %" PRIu64 " bytes at %" PRIu64
                       " are no sectors", len, off);
  if (before != NULL && off <= end_before)
    return nbi_refuse (err, 84, "unreadable: the range at %" PRIu64 " begins"
                       " at or in front of the end of the one before, %"
                       PRIu64, off, end_before);
  range->off = off;
  range->len = len;
  return 0;
}
