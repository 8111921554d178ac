/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/repo/file-writer.h"
#include "lib/repo/hash-tree.h"
#include "lib/repo/manifest.h"
#include "lib/repo/nbi-page.h"
#include "lib/repo/payload.h"
#include "tests/damage/nbi-craft.h"
#include "tests/support/rng.h"

#define MUST(call) assert_int_equal (call, 0)

/*--- The disk ---------------------------------------------------------------*/

static void
fill (uint8_t *disk)
{
  struct rng rng = { 1 };

  for (size_t i = 0; i < CRAFT_RECORDS * CRAFT_CHUNK; ++i)
    switch (i / CRAFT_CHUNK) {
    case 0: disk[i] = (uint8_t) rng_next (&rng); break;
    case 3: disk[i] = (uint8_t) rng_next (&rng); break;
    default: disk[i] = (uint8_t) "Some text that is compressed. "[i % 30];
    }
}

static void
make_header (struct craft *c)
{
  const struct crypt_secret secret = {
    NBI_SLOT_KEY_FILE, CRAFT_KEY_FILE, sizeof CRAFT_KEY_FILE - 1,
  };
  struct nbi_header *h = &c->header;
  struct nbi_slot slot = { .label = "the way in" };

  *h = (struct nbi_header) {
    .disk_size = CRAFT_SIZE, .chunk_size = CRAFT_CHUNK, .logical = 512,
    .physical = 4096, .time = 1795449120, .name = "crafted",
    .creator = "a test",
  };
  memset (h->file, 0x11, UUID_SIZE);
  memset (h->run, 0x22, UUID_SIZE);
  memset (h->nonce, 0x33, UUID_SIZE);
  MUST (nbi_salt (h->file, 0, &h->salt, NULL));
  if (c->master == NULL)
    return;
  h->need = NBI_NEED_ENCRYPTED;
  h->encryption = 1;
  h->nr_slots = 1;
  MUST (crypt_key_id (c->master, h->key_id, NULL));
  MUST (crypt_wrap (c->master, &secret, &slot, NULL));
  nbi_slot_encode (&slot, h->slots);
  MUST (crypt_new (c->master, h, &c->crypt, NULL));
}

static void
identify (struct craft *c, const void *plain, size_t len,
          uint8_t id[DIGEST_SIZE])
{
  MUST (c->crypt != NULL ? crypt_identity (c->crypt, plain, len, id, NULL)
        : nbi_identity (plain, len, id, NULL));
}

/*--- Records ----------------------------------------------------------------*/

static void
encode_chunk (struct craft *c, unsigned i)
{
  static const enum nbi_codec codecs[CRAFT_RECORDS] = {
    NBI_STORED, NBI_LZ4, NBI_ZSTD, NBI_STORED,
  };
  struct craft_record *chunk = &c->chunks[i];
  const uint8_t *plain = c->disk + i * CRAFT_CHUNK;
  struct payload_encoder *encoder;

  chunk->r = (struct nbi_record) {
    .kind = NBI_CHUNK, .number = i, .plain = CRAFT_CHUNK,
  };
  identify (c, plain, CRAFT_CHUNK, chunk->r.identity);
  MUST (payload_encoder_new (codecs[i], 0, &encoder, NULL));
  MUST (payload_encode (encoder, plain, &chunk->r, c->rooms[i],
                        &chunk->payload, NULL));
  payload_encoder_free (encoder);
}

static void
set_plain (struct craft *c, struct craft_record *record, const void *plain,
           size_t len)
{
  identify (c, plain, len, record->r.identity);
  craft_set_payload (record, NBI_STORED, (uint32_t) len, plain,
                     (uint32_t) len);
}

void
craft_set_payload (struct craft_record *record, enum nbi_codec codec,
                   uint32_t plain, const void *payload, uint32_t stored)
{
  record->r.codec = (uint8_t) codec;
  record->r.plain = plain;
  record->r.stored = stored;
  record->payload = payload;
}

void
craft_set_page (struct craft *c, const void *plain, size_t len)
{
  assert_true (len <= sizeof c->page_bytes);
  memmove (c->page_bytes, plain, len);
  set_plain (c, &c->page, c->page_bytes, len);
}

void
craft_set_manifest (struct craft *c, const void *plain, size_t len)
{
  char *copy = malloc (len + 1);

  assert_non_null (copy);
  memcpy (copy, plain, len);
  copy[len] = '\0';
  free (c->json);
  c->json = copy;
  c->json_len = len;
  set_plain (c, &c->manifest, copy, len);
}

static void
make_page (struct craft *c, bool with_range)
{
  uint8_t files[1][UUID_SIZE], buf[NBI_PAGE_MAX];
  struct nbi_run runs[3] = {
    { .first = 0, .count = 3, .kind = NBI_DATA },
    { .first = 3, .count = 1, .kind = NBI_DATA_IN_PART, .ordinal = 3 },
    { .first = 4, .count = 4, .kind = NBI_ZERO },
  };
  struct nbi_page page = {
    .nr_chunks = CRAFT_CHUNKS, .nr_files = 1, .nr_runs = 3,
    .files = files, .runs = runs,
  };

  memcpy (files[0], c->header.file, UUID_SIZE);
  if (!with_range) {
    runs[0].count = 4;
    runs[1] = runs[2];
    page.nr_runs = 2;
  }
  c->page.r.kind = NBI_PAGE;
  craft_set_page (c, buf, nbi_page_encode (&page, buf));
}

/* Of chunks from the first on. */
static void
hash_of (struct craft *c, unsigned first, unsigned end,
         uint8_t hash[DIGEST_SIZE])
{
  struct hash_range range;
  uint8_t id[DIGEST_SIZE];

  hash_range_init (&range, first);
  for (unsigned i = first; i < end; ++i) {
    identify (c, c->disk + i * CRAFT_CHUNK, CRAFT_CHUNK, id);
    MUST (hash_range_add (&range, id, NULL));
  }
  MUST (hash_range_end (&range, hash, NULL));
}

/* There are none in its texts. */
static size_t
without_blanks (char *text, size_t len)
{
  size_t n = 0;

  for (size_t i = 0; i < len; ++i)
    if (text[i] != ' ' && text[i] != '\n')
      text[n++] = text[i];
  return n;
}

static void
make_manifest (struct craft *c)
{
  const struct nbi_header *h = &c->header;
  struct manifest m = {
    .time = h->time, .size = h->disk_size, .chunk_size = h->chunk_size,
    .logical = h->logical, .physical = h->physical,
    .counts = { .data = 4, .zero = 4, .fresh = 4 },
  };
  struct manifest_partition p = {
    .number = 1, .off = CRAFT_CHUNK, .len = 3 * CRAFT_CHUNK,
    .first_chunk = 1, .nr_chunks = 3,
  };
  char *json;
  size_t len;

  memcpy (m.generation, h->run, UUID_SIZE);
  m.name = strdup (h->name);
  p.saved = strdup ("all");
  assert_true (m.name != NULL && p.saved != NULL);
  m.counts.unreadable_bytes = c->range.len;
  hash_of (c, 0, CRAFT_CHUNKS, m.hash);
  hash_of (c, 1, 4, p.hash);
  MUST (vector_append (&m.partitions, &p));
  MUST (manifest_write (&m, &json, &len, NULL));
  len = without_blanks (json, len);
  c->manifest.r.kind = NBI_MANIFEST;
  craft_set_manifest (c, json, len);
  free (json);
  manifest_destroy (&m);
}

void
craft_init (struct craft *c, const uint8_t *key, bool with_range)
{
  memset (c, 0, sizeof *c);
  c->master = key;
  make_header (c);
  fill (c->disk);
  if (with_range) {
    c->range = (struct nbi_range) { 3 * CRAFT_CHUNK, 512 };
    memset (c->disk + c->range.off, 0, c->range.len);
  }
  for (unsigned i = 0; i < CRAFT_RECORDS; ++i)
    encode_chunk (c, i);
  make_page (c, with_range);
  make_manifest (c);
  c->root = (struct nbi_root) { .file = 0, .ordinal = CRAFT_RECORDS };
  hash_of (c, 0, CRAFT_CHUNKS, c->root.hash);
  c->file.uses = 2;
  memcpy (c->file.uuid, c->header.file, UUID_SIZE);
  memcpy (c->file.run, c->header.run, UUID_SIZE);
}

void
craft_free (struct craft *c)
{
  crypt_free (c->crypt);
  free (c->json);
  free (c->bytes);
}

/*--- The file ---------------------------------------------------------------*/

struct growing {
  struct sink sink;
  struct craft *c;
};

static int
grow (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  struct craft *c = ((struct growing *) sink)->c;
  uint8_t *bytes = realloc (c->bytes, c->len + len);

  (void) err;
  assert_non_null (bytes);
  memcpy (bytes + c->len, buf, len);
  c->bytes = bytes;
  c->len += len;
  return 0;
}

static int
give_root (void *opaque, uint64_t i, struct nbi_root *root, struct err *err)
{
  (void) i;
  (void) err;
  *root = ((struct craft *) opaque)->root;
  return 0;
}

static int
give_file (void *opaque, uint64_t i, struct nbi_file *file, struct err *err)
{
  (void) i;
  (void) err;
  *file = ((struct craft *) opaque)->file;
  return 0;
}

static int
give_range (void *opaque, uint64_t i, struct nbi_range *range,
            struct err *err)
{
  (void) i;
  (void) err;
  *range = ((struct craft *) opaque)->range;
  return 0;
}

void
craft_build (struct craft *c)
{
  struct growing growing = { .sink.write = grow, .c = c };
  struct file_ending ending = {
    .nr_pages = 1, .nr_files = 1, .nr_ranges = c->range.len > 0,
    .root = give_root, .file = give_file, .range = give_range, .opaque = c,
    .manifest = c->manifest.r, .payload = c->manifest.payload,
  };
  struct file_writer *writer;
  struct nbi_header h;

  MUST (file_writer_new (&c->header, c->master, &growing.sink, &writer,
                         NULL));
  for (unsigned i = 0; i < CRAFT_RECORDS; ++i)
    MUST (file_writer_add (writer, &c->chunks[i].r, c->chunks[i].payload,
                           NULL));
  MUST (file_writer_add (writer, &c->page.r, c->page.payload, NULL));
  MUST (file_writer_end (writer, &ending, NULL));
  file_writer_free (writer);
  MUST (nbi_header_decode (c->bytes, &h, NULL));
  /* Offsets: of a trailer that says something impossible they are as good. */
  c->trailer.directory = get_le64 (c->bytes + c->len - 4096 + 40);
  c->trailer.root = get_le64 (c->bytes + c->len - 4096 + 48);
  c->trailer.files = get_le64 (c->bytes + c->len - 4096 + 56);
  c->trailer.ranges = get_le64 (c->bytes + c->len - 4096 + 72);
}

/*--- Patches ----------------------------------------------------------------*/

static void
put (uint8_t *at, unsigned width, uint64_t value)
{
  for (unsigned i = 0; i < width; ++i)
    at[i] = (uint8_t) (value >> 8 * i);
}

/* What the place is a sheet of; 0: none. */
static enum nbi_table
table_of (enum craft_place place)
{
  switch (place) {
  case CRAFT_ENTRY_0: case CRAFT_ENTRY_1: case CRAFT_ENTRY_PAGE:
  case CRAFT_TABLE: case CRAFT_TABLE_HEADER: return NBI_TABLE_CHUNKS;
  case CRAFT_DIRECTORY: return NBI_TABLE_DIRECTORY;
  case CRAFT_ROOT: case CRAFT_ROOT_HEADER: return NBI_TABLE_ROOT;
  case CRAFT_FILES: return NBI_TABLE_FILES;
  case CRAFT_RANGES: return NBI_TABLE_RANGES;
  default: return 0;
  }
}

/* Of a header of a sheet, which is made anew from this. */
static void
patch_sheet_header (struct nbi_sheet *sheet, size_t off, uint64_t value)
{
  switch (off) {
  case 4: sheet->table = (enum nbi_table) value; break;
  case 6: sheet->count = (uint32_t) value; break;
  case 16: sheet->off = value; break;
  case 24: sheet->number = (uint32_t) value; break;
  default: fail_msg ("no field of a sheet at %zu", off);
  }
}

static void
patch_sheet (struct craft *c, enum craft_place place, size_t off,
             unsigned width, uint64_t value)
{
  enum nbi_table table = table_of (place);
  struct nbi_sheet sheet = {
    .salt = c->header.salt, .table = table,
    .count = table == NBI_TABLE_CHUNKS ? CRAFT_RECORDS + 1 : 1,
    /* The table's only sheet is in front of the directory. */
    .off = table == NBI_TABLE_CHUNKS ? c->trailer.directory - NBI_SHEET_SIZE
      : table == NBI_TABLE_DIRECTORY ? c->trailer.directory
      : table == NBI_TABLE_ROOT ? c->trailer.root
      : table == NBI_TABLE_FILES ? c->trailer.files : c->trailer.ranges,
  };
  uint8_t *buf = c->bytes + sheet.off;

  memcpy (sheet.nonce, c->header.nonce, sizeof sheet.nonce);
  if (c->crypt != NULL)
    MUST (crypt_open_sheet (c->crypt, &sheet, buf, NULL));
  if (place == CRAFT_TABLE_HEADER || place == CRAFT_ROOT_HEADER)
    patch_sheet_header (&sheet, off, value);
  else {
    off += place == CRAFT_ENTRY_1 ? NBI_ENTRY_SIZE
      : place == CRAFT_ENTRY_PAGE ? CRAFT_RECORDS * NBI_ENTRY_SIZE : 0;
    put (buf + NBI_SHEET_HEADER + off, width, value);
  }
  if (c->crypt != NULL)
    MUST (crypt_seal_sheet (c->crypt, &sheet, buf, NULL));
  else
    nbi_sheet_seal (&sheet, buf);
}

void
craft_patch (struct craft *c, enum craft_place place, size_t off,
             unsigned width, uint64_t value)
{
  uint8_t *end = c->bytes + c->len;

  if (table_of (place) != 0)
    patch_sheet (c, place, off, width, value);
  else if (place == CRAFT_RECORD_0) {
    put (c->bytes + NBI_HEADER_SIZE + off, width, value);
    put (c->bytes + NBI_HEADER_SIZE + NBI_RECORD_SIZE - 4, 4,
         crc32c_update (0, c->bytes + NBI_HEADER_SIZE, NBI_RECORD_SIZE - 4));
  }
  else if (place == CRAFT_HEADER || place == CRAFT_SLOT) {
    off += place == CRAFT_SLOT ? 1024 : 0;
    put (c->bytes + off, width, value);
    put (end - 8192 + off, width, value);
  }
  else {
    off += place == CRAFT_MANIFEST_ENTRY ? 128 : 0;
    put (end - 12288 + off, width, value);
    put (end - 4096 + off, width, value);
  }
}

static void
seal (uint8_t *buf)
{
  put_le32 (buf + 4092, crc32c_update (0, buf, 4092));
}

void
craft_seal (struct craft *c)
{
  uint8_t *end = c->bytes + c->len;
  uint64_t salt;

  MUST (nbi_salt (c->bytes + 40, get_le32 (c->bytes + 56), &salt, NULL));
  put_le64 (c->bytes + 144, salt);
  seal (c->bytes);
  memcpy (end - 8192, c->bytes, NBI_HEADER_SIZE);
  if (c->crypt != NULL)
    MUST (crypt_seal_trailer (c->crypt, c->bytes, end - 4096, NULL));
  else
    seal (end - 4096);
  memcpy (end - 12288, end - 4096, NBI_TRAILER_SIZE);
}
