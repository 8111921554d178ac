/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "lib/repo/nbi-sheet.h"
#include "lib/repo/nbi-trailer.h"

static const uint8_t magic[8] = { 0x89, 'N', 'B', 'T', '\r', '\n', 0x1a, '\n' };

#define CRC_OFF (NBI_TRAILER_SIZE - 4)
#define OFF_MANIFEST 128

void
nbi_trailer_encode (const struct nbi_trailer *t, const struct nbi_header *h,
                    uint8_t buf[NBI_TRAILER_SIZE])
{
  memset (buf, 0, NBI_TRAILER_SIZE);
  memcpy (buf, magic, sizeof magic);
  put_le64 (buf + 8, h->salt);
  put_le64 (buf + 16, t->size);
  put_le32 (buf + 24, t->nr_ordinals);
  put_le32 (buf + 28, t->nr_records);
  put_le64 (buf + 32, t->stored);
  put_le64 (buf + 40, t->directory);
  put_le64 (buf + 48, t->root);
  put_le64 (buf + 56, t->files);
  put_le32 (buf + 64, t->nr_files);
  put_le64 (buf + 72, t->ranges);
  put_le32 (buf + 80, t->nr_ranges);
  put_le32 (buf + 84, h->edition);
  memcpy (buf + 88, h->file, UUID_SIZE);
  memcpy (buf + 104, h->nonce, UUID_SIZE);
  if (t->manifest.off != 0)
    nbi_entry_encode (&t->manifest, buf + OFF_MANIFEST);
  put_le32 (buf + CRC_OFF, crc32c_update (0, buf, CRC_OFF));
}

static void
take_fields (const uint8_t *buf, struct nbi_trailer *t)
{
  t->size = get_le64 (buf + 16);
  t->nr_ordinals = get_le32 (buf + 24);
  t->nr_records = get_le32 (buf + 28);
  t->stored = get_le64 (buf + 32);
  t->directory = get_le64 (buf + 40);
  t->root = get_le64 (buf + 48);
  t->files = get_le64 (buf + 56);
  t->nr_files = get_le32 (buf + 64);
  t->ranges = get_le64 (buf + 72);
  t->nr_ranges = get_le32 (buf + 80);
}

static int
check_reserved (const uint8_t *buf, const struct nbi_header *h,
                struct err *err)
{
  int r;

  /* §17 */
  if (h->ignore != 0)
    return 0;
  r = nbi_check_zeros (buf, 68, 4, "trailer", err);
  if (r == 0)
    r = nbi_check_zeros (buf, 120, 8, "trailer", err);
  if (r == 0)
    r = nbi_check_zeros (buf, 224, CRC_OFF - 224, "trailer", err);
  return r;
}

/* NBI-103, NBI-105, NBI-106 and NBI-108. */
static int
check_numbers (const struct nbi_trailer *t, struct err *err)
{
  bool has_manifest = t->manifest.off != 0;

  if (t->nr_records > t->nr_ordinals)
    return nbi_refuse (err, 103, "trailer: %" PRIu32 " records with %" PRIu32
                       " ordinals, expected no more than these",
                       t->nr_records, t->nr_ordinals);
  if ((t->directory == 0) != (t->nr_ordinals == 0) ||
      (t->files == 0) != (t->nr_files == 0) ||
      (t->ranges == 0) != (t->nr_ranges == 0))
    return nbi_refuse (err, 105, "trailer: a table without entries, or entries"
                       " without a table");
  if ((t->root != 0) != has_manifest ||
      (t->root == 0 && (t->nr_files > 0 || t->nr_ranges > 0)))
    return nbi_refuse (err, 106, "trailer: a generation in part");
  if (t->nr_files > NBI_MAX_FILES)
    return nbi_refuse (err, 108, "trailer: %" PRIu32 " files, expected at most"
                       " %" PRIu32, t->nr_files, NBI_MAX_FILES);
  return 0;
}

struct extent {
  uint64_t off, end;
};

/* NBI-104 and NBI-107. */
static int
check_places (const struct nbi_trailer *t, const struct nbi_header *h,
              uint64_t end, struct err *err)
{
  const struct {
    enum nbi_table table;
    uint64_t off, nr;
  } tables[] = {
    { NBI_TABLE_DIRECTORY, t->directory,
      div_round_up (t->nr_ordinals, NBI_GROUP_ORDINALS) },
    { NBI_TABLE_ROOT, t->root, nbi_nr_pages (h) },
    { NBI_TABLE_FILES, t->files, t->nr_files },
    { NBI_TABLE_RANGES, t->ranges, t->nr_ranges },
  };
  struct extent used[5];
  size_t nr = 0;

  if (t->manifest.off != 0)
    used[nr++] = (struct extent) { t->manifest.off,
                                   t->manifest.off + NBI_RECORD_SIZE +
                                   t->manifest.stored };
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
    uint64_t off = tables[i].off;
    uint64_t len = nbi_nr_sheets (tables[i].table, tables[i].nr) *
      NBI_SHEET_SIZE;

    if (off == 0)
      continue;
    if (off % NBI_SHEET_SIZE != 0 || off < NBI_HEADER_SIZE ||
        !range_fits (off, len, end))
      return nbi_refuse (err, 104, "trailer: table %u has %" PRIu64 " bytes"
                         " at %" PRIu64 ", expected a multiple of %d, and"
                         " their end in front of %" PRIu64, tables[i].table,
                         len, off, NBI_SHEET_SIZE, end);
    for (size_t k = 0; k < nr; ++k)
      if (off < used[k].end && used[k].off < off + len)
        return nbi_refuse (err, 107, "trailer: table %u at %" PRIu64
                           " lies on another", tables[i].table, off);
    used[nr++] = (struct extent) { off, off + len };
  }
  return 0;
}

static int
take_manifest (const uint8_t *buf, const struct nbi_header *h, uint64_t end,
               struct nbi_record *manifest, struct err *err)
{
  struct err why = ERR_INIT;
  int r = nbi_entry_decode (buf + OFF_MANIFEST, h, NBI_NONE, end, manifest,
                            &why);

  if (r == -EBADMSG)
    return nbi_refuse (err, 109, "trailer: manifest: %s", why.msg);
  if (r < 0)
    return nbi_beyond (err, 109, "trailer: manifest: %s", why.msg);
  return 0;
}

/* NBI-110 and NBI-111. */
static int
check_header (const uint8_t *buf, const struct nbi_header *h, struct err *err)
{
  if (get_le32 (buf + 84) != h->edition ||
      memcmp (buf + 88, h->file, UUID_SIZE) != 0 ||
      memcmp (buf + 104, h->nonce, UUID_SIZE) != 0)
    return nbi_refuse (err, 110, "trailer: UUID, edition or nonce are not"
                       " those of the header");
  if (!nbi_encrypted (h) && !nbi_is_zeros (buf + 192, DIGEST_SIZE))
    return nbi_refuse (err, 111, "trailer: an HMAC without encryption");
  return 0;
}

bool
nbi_trailer_is_whole (const uint8_t buf[NBI_TRAILER_SIZE])
{
  return memcmp (buf, magic, sizeof magic) == 0 &&
    get_le32 (buf + CRC_OFF) == crc32c_update (0, buf, CRC_OFF);
}

int
nbi_trailer_decode (const uint8_t buf[NBI_TRAILER_SIZE],
                    const struct nbi_header *h, uint64_t size,
                    struct nbi_trailer *out, struct err *err)
{
  struct nbi_trailer t;
  uint64_t end;
  int r;

  if (size < NBI_MIN_SIZE || !nbi_trailer_is_whole (buf))
    return nbi_refuse (err, 100, "no trailer at the end of %" PRIu64 " bytes",
                       size);
  if (get_le64 (buf + 8) != h->salt)
    return nbi_refuse (err, 101, "trailer: of another file");
  take_fields (buf, &t);
  if (t.size != size || size % NBI_SHEET_SIZE != 0 || size >= NBI_MAX_SIZE)
    return nbi_refuse (err, 102, "trailer: the file has %" PRIu64 " bytes, and"
                       " should have %" PRIu64, size, t.size);
  end = size - NBI_TAIL_SIZE;
  r = check_header (buf, h, err);
  if (r == 0)
    r = check_reserved (buf, h, err);
  if (r == 0)
    r = take_manifest (buf, h, end, &t.manifest, err);
  if (r == 0)
    r = check_numbers (&t, err);
  if (r == 0)
    r = check_places (&t, h, end, err);
  if (r == 0)
    *out = t;
  return r;
}
