/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bytes go through one buffer, so that small things cost no system call each,
 * and the sink gets pieces of 1 MiB; it is the writer's own, unless the sink
 * has buffers to swap.  writer->off is where the next byte will lie in the
 * file, buffered or not.
 *
 * No nonce is used twice with a key (§12): each ordinal, and each sheet of a
 * table, is encrypted once, and once something has failed nothing is encrypted
 * any more.  Two writers have no key in common as long as no two have a header
 * with the same file, edition and nonce, and but one of all that have the same
 * file has new records.
 *
 * What a crash leaves is a file without a trailer (§3, "Writing it").
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/vector.h"
#include "lib/repo/crypt.h"
#include "lib/repo/file-writer.h"
#include "lib/repo/nbi-trailer.h"

#define MAX_ORDINALS UINT32_MAX         /* NBI-103 */

DEFINE_VECTOR (group_list, struct nbi_group);

struct file_writer {
  const struct nbi_header *header;
  struct sink *sink;
  struct crypt *crypt;          /* NULL: it is not encrypted */
  uint8_t *sealed;              /* room for a payload with its tag, or NULL */
  int failed;                   /* negative errno, or 0 */
  struct err why;

  uint8_t *own;                 /* NULL: the sink has buffers */
  uint8_t *buffer;
  size_t buffered;
  uint64_t off;

  uint8_t *entries;             /* of the group that is not written yet */
  uint32_t nr_entries;
  struct group_list groups;     /* that are */

  struct nbi_trailer trailer;   /* as far as it is known */
};

static int
set_up_crypt (struct file_writer *writer, const uint8_t *master,
              struct err *err)
{
  if (master == NULL && !nbi_encrypted (writer->header))
    return 0;
  if (master == NULL)
    return err_set (err, -EACCES, "a file that is to be encrypted, and no key");
  writer->sealed = malloc (NBI_CHUNK_MAX + NBI_TAG_SIZE);
  if (writer->sealed == NULL)
    return err_nomem (err);
  return crypt_new (master, writer->header, &writer->crypt, err);
}

static int
get_buffer (struct file_writer *writer, struct err *err)
{
  struct sink *sink = writer->sink;

  if (sink->swap != NULL)
    return sink->swap (sink, 0, &writer->buffer, err);
  writer->buffer = writer->own = malloc (SINK_BUFFER);
  return writer->buffer != NULL ? 0 : err_nomem (err);
}

int
file_writer_new (const struct nbi_header *header, const uint8_t *master,
                 struct sink *sink, struct file_writer **out, struct err *err)
{
  struct file_writer *writer = calloc (1, sizeof *writer);
  int r;

  if (writer == NULL)
    return err_nomem (err);
  writer->header = header;
  writer->sink = sink;
  writer->entries = malloc (NBI_GROUP_ORDINALS * NBI_ENTRY_SIZE);
  r = writer->entries != NULL ? get_buffer (writer, err) : err_nomem (err);
  if (r == 0)
    r = set_up_crypt (writer, master, err);
  if (r < 0) {
    file_writer_free (writer);
    return r;
  }
  nbi_header_encode (header, writer->buffer);
  writer->buffered = writer->off = NBI_HEADER_SIZE;
  *out = writer;
  return 0;
}

void
file_writer_free (struct file_writer *writer)
{
  if (writer == NULL)
    return;
  crypt_free (writer->crypt);
  free (writer->sealed);
  vector_free (&writer->groups);
  free (writer->entries);
  free (writer->own);
  free (writer);
}

/*--- Bytes ------------------------------------------------------------------*/

static int
drain (struct file_writer *writer, struct err *err)
{
  struct sink *sink = writer->sink;
  size_t len = writer->buffered;

  writer->buffered = 0;
  return sink->swap != NULL ? sink->swap (sink, len, &writer->buffer, err)
    : sink->write (sink, writer->buffer, len, err);
}

static int
put (struct file_writer *writer, const void *buf, size_t len, struct err *err)
{
  const uint8_t *p = buf;

  writer->off += len;
  while (len > 0) {
    size_t n = (size_t) min_u64 (len, SINK_BUFFER - writer->buffered);

    memcpy (writer->buffer + writer->buffered, p, n);
    writer->buffered += n;
    p += n;
    len -= n;
    if (writer->buffered == SINK_BUFFER) {
      int r = drain (writer, err);

      if (r < 0)
        return r;
    }
  }
  return 0;
}

/* Zeros up to a multiple of unit, at most 4096. */
static int
pad (struct file_writer *writer, uint32_t unit, struct err *err)
{
  static const uint8_t zeros[NBI_SHEET_SIZE];

  return put (writer, zeros,
              (size_t) (round_up (writer->off, unit) - writer->off), err);
}

/*--- Tables -----------------------------------------------------------------*/

/* One sheet at the end of the file; its entries are in buf already. */
static int
put_sheet (struct file_writer *writer, enum nbi_table table, uint64_t number,
           uint32_t count, uint8_t buf[NBI_SHEET_SIZE], struct err *err)
{
  const struct nbi_header *h = writer->header;
  struct nbi_sheet sheet = {
    .salt = h->salt,
    .off = writer->off,
    .number = (uint32_t) number,
    .count = count,
    .table = table,
  };
  size_t used = NBI_SHEET_HEADER + (size_t) count * nbi_entry_size (table);

  memcpy (sheet.nonce, h->nonce, sizeof sheet.nonce);
  memset (buf + used, 0, NBI_SHEET_SIZE - used);
  if (writer->crypt != NULL) {
    int r = crypt_seal_sheet (writer->crypt, &sheet, buf, err);

    if (r < 0)
      return r;
  }
  else
    nbi_sheet_seal (&sheet, buf);
  return put (writer, buf, NBI_SHEET_SIZE, err);
}

/* A table of n entries, in sheets side by side.  encode puts the i-th into its
 * place.
 */
static int
put_table (struct file_writer *writer, enum nbi_table table, uint64_t n,
           int (*encode) (void *opaque, uint64_t i, uint8_t *entry,
                          struct err *err),
           void *opaque, struct err *err)
{
  uint32_t size = nbi_entry_size (table), full = nbi_sheet_entries (table);
  uint8_t buf[NBI_SHEET_SIZE];
  int r = 0;

  for (uint64_t i = 0; r == 0 && i < n; i += full) {
    uint32_t count = (uint32_t) min_u64 (full, n - i);

    for (uint32_t j = 0; r == 0 && j < count; ++j)
      r = encode (opaque, i + j, buf + NBI_SHEET_HEADER + j * size, err);
    if (r == 0)
      r = put_sheet (writer, table, i / full, count, buf, err);
  }
  return r;
}

/* The sheets of the entries that are kept, as one group; those that have
 * nothing but tombstones are left out.
 */
static int
put_group (struct file_writer *writer, struct err *err)
{
  uint32_t full = nbi_sheet_entries (NBI_TABLE_CHUNKS);
  struct nbi_group group = { 0 };
  uint8_t buf[NBI_SHEET_SIZE];
  int r = 0;

  for (uint32_t i = 0; r == 0 && i < writer->nr_entries; i += full) {
    uint32_t count = (uint32_t) min_u64 (full, writer->nr_entries - i);
    const uint8_t *entries = writer->entries + (size_t) i * NBI_ENTRY_SIZE;
    uint32_t sheet = i / full;

    if (nbi_is_zeros (entries, (size_t) count * NBI_ENTRY_SIZE))
      continue;
    if (group.off == 0) {
      r = pad (writer, NBI_SHEET_SIZE, err);
      if (r < 0)
        return r;
      group.off = writer->off;
    }
    memcpy (buf + NBI_SHEET_HEADER, entries, count * NBI_ENTRY_SIZE);
    group.bits[sheet / 8] |= (uint8_t) (1U << sheet % 8);
    r = put_sheet (writer, NBI_TABLE_CHUNKS,
                   writer->groups.len * NBI_GROUP_SHEETS + sheet, count, buf,
                   err);
  }
  if (r == 0 && vector_append (&writer->groups, &group) < 0)
    r = err_nomem (err);
  writer->nr_entries = 0;
  return r;
}

/*--- Records ----------------------------------------------------------------*/

/* *payload becomes what is to be stored; once for each ordinal. */
static int
seal (struct file_writer *writer, struct nbi_record *record,
      const void **payload, struct err *err)
{
  int r;

  if (writer->crypt == NULL)
    return 0;
  r = crypt_seal_record (writer->crypt, record, *payload, writer->sealed, err);
  *payload = writer->sealed;
  return r;
}

static int
put_record (struct file_writer *writer, struct nbi_record *record,
            const void *payload, struct err *err)
{
  uint8_t head[NBI_RECORD_SIZE];
  int r;

  r = pad (writer, NBI_RECORD_SIZE, err);
  if (r < 0)
    return r;
  record->off = writer->off;
  record->xxh3 = XXH3_64bits (payload, record->stored);
  nbi_record_encode (record, writer->header->salt, head);
  r = put (writer, head, sizeof head, err);
  return r < 0 ? r : put (writer, payload, record->stored, err);
}

/* record: NULL for a tombstone; is_stored: it is as it is stored. */
static int
add (struct file_writer *writer, struct nbi_record *record,
     const void *payload, bool is_stored, struct err *err)
{
  struct nbi_trailer *t = &writer->trailer;
  uint8_t *entry = writer->entries +
    (size_t) writer->nr_entries * NBI_ENTRY_SIZE;
  int r;

  if (t->nr_ordinals == MAX_ORDINALS)
    return err_set (err, -EFBIG, "the file has as many records as it can "
                    "have (NBI-103)");
  if (record == NULL)
    memset (entry, 0, NBI_ENTRY_SIZE);
  else {
    record->ordinal = t->nr_ordinals;
    r = is_stored ? 0 : seal (writer, record, &payload, err);
    if (r == 0)
      r = put_record (writer, record, payload, err);
    if (r < 0)
      return r;
    nbi_entry_encode (record, entry);
    ++t->nr_records;
    t->stored += record->stored;
  }
  ++writer->nr_entries;
  ++t->nr_ordinals;
  return writer->nr_entries == NBI_GROUP_ORDINALS ? put_group (writer, err)
    : 0;
}

/* Nothing is done once something has failed. */
static int
failed (struct file_writer *writer, struct err *err)
{
  if (writer->failed < 0 && err != NULL)
    *err = writer->why;
  return writer->failed;
}

static int
remember (struct file_writer *writer, int r, const struct err *why,
          struct err *err)
{
  if (r == 0)
    return 0;
  writer->failed = r;
  writer->why = *why;
  return failed (writer, err);
}

int
file_writer_add (struct file_writer *writer, struct nbi_record *record,
                 const void *payload, struct err *err)
{
  struct err why = ERR_INIT;

  if (writer->failed < 0)
    return failed (writer, err);
  return remember (writer, add (writer, record, payload, false, &why), &why,
                   err);
}

int
file_writer_add_stored (struct file_writer *writer, struct nbi_record *record,
                        const void *payload, struct err *err)
{
  struct err why = ERR_INIT;

  if (writer->failed < 0)
    return failed (writer, err);
  return remember (writer, add (writer, record, payload, true, &why), &why,
                   err);
}

int
file_writer_skip (struct file_writer *writer, struct err *err)
{
  struct err why = ERR_INIT;

  if (writer->failed < 0)
    return failed (writer, err);
  return remember (writer, add (writer, NULL, NULL, true, &why), &why, err);
}

uint32_t
file_writer_ordinals (const struct file_writer *writer)
{
  return writer->trailer.nr_ordinals;
}

uint64_t
file_writer_size (const struct file_writer *writer)
{
  return writer->off;
}

uint64_t
file_writer_size_with (const struct file_writer *writer, uint32_t stored)
{
  uint64_t groups = writer->groups.len + 1, size;

  if (writer->crypt != NULL)
    stored += NBI_TAG_SIZE;
  size = round_up (writer->off, NBI_RECORD_SIZE) + NBI_RECORD_SIZE + stored;
  size = round_up (size, NBI_SHEET_SIZE);
  size += nbi_nr_sheets (NBI_TABLE_CHUNKS, writer->nr_entries + UINT64_C (1))
    * NBI_SHEET_SIZE;
  size += nbi_nr_sheets (NBI_TABLE_DIRECTORY, groups) * NBI_SHEET_SIZE;
  return size + NBI_TAIL_SIZE;
}

/*--- The end ----------------------------------------------------------------*/

static int
encode_group (void *opaque, uint64_t i, uint8_t *entry, struct err *err)
{
  const struct file_writer *writer = opaque;

  (void) err;
  nbi_group_encode (&writer->groups.ptr[i], entry);
  return 0;
}

static int
encode_root (void *opaque, uint64_t i, uint8_t *entry, struct err *err)
{
  const struct file_ending *ending = opaque;
  struct nbi_root root;
  int r = ending->root (ending->opaque, i, &root, err);

  if (r == 0)
    nbi_root_encode (&root, entry);
  return r;
}

static int
encode_file (void *opaque, uint64_t i, uint8_t *entry, struct err *err)
{
  const struct file_ending *ending = opaque;
  struct nbi_file file;
  int r = ending->file (ending->opaque, i, &file, err);

  if (r == 0)
    nbi_file_encode (&file, entry);
  return r;
}

static int
encode_range (void *opaque, uint64_t i, uint8_t *entry, struct err *err)
{
  const struct file_ending *ending = opaque;
  struct nbi_range range;
  int r = ending->range (ending->opaque, i, &range, err);

  if (r == 0)
    nbi_range_encode (&range, entry);
  return r;
}

/* Root, files, ranges, manifest. */
static int
put_ending (struct file_writer *writer, const struct file_ending *ending,
            struct err *err)
{
  struct nbi_trailer *t = &writer->trailer;
  const void *payload = ending->payload;
  void *opaque = (void *) ending;
  int r;

  t->root = writer->off;
  r = put_table (writer, NBI_TABLE_ROOT, ending->nr_pages, encode_root, opaque,
                 err);
  if (r == 0 && ending->nr_files > 0) {
    t->files = writer->off;
    t->nr_files = ending->nr_files;
    r = put_table (writer, NBI_TABLE_FILES, ending->nr_files, encode_file,
                   opaque, err);
  }
  if (r == 0 && ending->nr_ranges > 0) {
    t->ranges = writer->off;
    t->nr_ranges = ending->nr_ranges;
    r = put_table (writer, NBI_TABLE_RANGES, ending->nr_ranges, encode_range,
                   opaque, err);
  }
  if (r < 0)
    return r;
  t->manifest = ending->manifest;
  t->manifest.kind = NBI_MANIFEST;
  t->manifest.ordinal = NBI_NONE;
  t->manifest.number = 0;
  r = seal (writer, &t->manifest, &payload, err);
  return r < 0 ? r : put_record (writer, &t->manifest, payload, err);
}

/* The copy of the trailer, the copy of the header, the trailer. */
static int
put_tail (struct file_writer *writer, struct err *err)
{
  const struct nbi_header *h = writer->header;
  struct nbi_trailer *t = &writer->trailer;
  uint8_t header[NBI_HEADER_SIZE], trailer[NBI_TRAILER_SIZE];
  int r;

  r = pad (writer, NBI_SHEET_SIZE, err);
  if (r < 0)
    return r;
  t->size = writer->off + NBI_TAIL_SIZE;
  nbi_header_encode (h, header);
  nbi_trailer_encode (t, h, trailer);
  if (writer->crypt != NULL)
    r = crypt_seal_trailer (writer->crypt, header, trailer, err);
  if (r == 0)
    r = put (writer, trailer, sizeof trailer, err);
  if (r == 0)
    r = put (writer, header, sizeof header, err);
  if (r == 0)
    r = put (writer, trailer, sizeof trailer, err);
  return r;
}

static int
end (struct file_writer *writer, const struct file_ending *ending,
     struct err *err)
{
  int r = 0;

  if (writer->nr_entries > 0)
    r = put_group (writer, err);
  if (r == 0)
    r = pad (writer, NBI_SHEET_SIZE, err);
  if (r == 0 && writer->groups.len > 0) {
    writer->trailer.directory = writer->off;
    r = put_table (writer, NBI_TABLE_DIRECTORY, writer->groups.len,
                   encode_group, writer, err);
  }
  if (r == 0 && ending != NULL)
    r = put_ending (writer, ending, err);
  if (r == 0)
    r = put_tail (writer, err);
  if (r == 0 && writer->buffered > 0)
    r = drain (writer, err);
  return r;
}

int
file_writer_end (struct file_writer *writer, const struct file_ending *ending,
                 struct err *err)
{
  struct err why = ERR_INIT;

  if (writer->failed < 0)
    return failed (writer, err);
  return remember (writer, end (writer, ending, &why), &why, err);
}
