/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A run appends in the order of the disk, so that in each file the numbers of
 * its chunks ascend, and a page of the map comes behind the last chunk it is
 * of.  A chunk is looked for by halves in the chunk table; where a file has
 * another order it is not found, and written again.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/repo/leftovers.h"
#include "lib/repo/payload.h"
#include "lib/repo/verify.h"

#define OPEN_FILES 64

struct leftover_record {
  uint64_t off;                 /* of its header */
  uint32_t number;              /* of the chunk; they ascend */
};

DEFINE_VECTOR (leftover_records, struct leftover_record);

struct leftover_part {
  struct block *block;
  struct nbi_header header;
  struct leftover_records records;
};

DEFINE_VECTOR (leftover_parts, struct leftover_part);

/* What one thread needs to look into a part. */
struct desk {
  struct desk *next;
  struct payload_decoder *decoder;
  uint8_t *plain;
};

struct leftovers {
  struct store *store;
  struct cache *sheets;
  struct keyring *keys;
  struct nbi_header model;
  struct leftover_files files;
  struct cache *readers;        /* of files, by index */
  struct leftover_parts parts;
  size_t nr_records;            /* of all parts */

  pthread_mutex_t lock;
  struct desk *desks;           /* that nobody sits at */
};

static void
release_reader (void *value)
{
  file_reader_unref (value);
}

int
leftovers_new (struct store *store, struct cache *sheets,
               struct keyring *keys, const struct nbi_header *model,
               struct leftovers **out, struct err *err)
{
  struct leftovers *l = calloc (1, sizeof *l);
  int r;

  if (l == NULL)
    return err_nomem (err);
  r = cache_new (OPEN_FILES, release_reader, &l->readers, err);
  if (r < 0) {
    free (l);
    return r;
  }
  l->store = store;
  l->sheets = sheets;
  l->keys = keys;
  l->model = *model;
  pthread_mutex_init (&l->lock, NULL);
  *out = l;
  return 0;
}

static void
free_desk (struct desk *desk)
{
  payload_decoder_free (desk->decoder);
  free (desk->plain);
  free (desk);
}

void
leftovers_free (struct leftovers *l)
{
  if (l == NULL)
    return;
  while (l->desks != NULL) {
    struct desk *desk = l->desks;

    l->desks = desk->next;
    free_desk (desk);
  }
  cache_free (l->readers);
  for (size_t i = 0; i < l->files.len; ++i)
    free (l->files.ptr[i].path);
  vector_free (&l->files);
  for (size_t i = 0; i < l->parts.len; ++i) {
    block_unref (l->parts.ptr[i].block);
    vector_free (&l->parts.ptr[i].records);
  }
  vector_free (&l->parts);
  pthread_mutex_destroy (&l->lock);
  free (l);
}

/* NBI-124, and what makes records of one run those of another. */
static int
check_kind (const struct leftovers *l, const struct nbi_header *h,
            struct err *err)
{
  const struct nbi_header *m = &l->model;

  if (memcmp (h->vault, m->vault, UUID_SIZE) != 0 ||
      h->chunk_size != m->chunk_size || h->encryption != m->encryption ||
      memcmp (h->key_id, m->key_id, UUID_SIZE) != 0 || h->edition != 0)
    return err_set (err, -ENOTSUP, "it is of another vault, or has other "
                    "chunks");
  return nbi_header_may_rewrite (h, err);       /* NBI-13 */
}

/*--- Whole files ------------------------------------------------------------*/

static int
refuse_finding (void *opaque, struct file_reader *file,
                const struct verify_finding *finding, struct err *err)
{
  (void) opaque;
  (void) file;
  return err_set (err, -EBADMSG, "%s", finding->what->msg);
}

/* The number of the first chunk from `ordinal' on, in steps of 1 or -1. */
static int
find_chunk (struct file_reader *file, uint32_t ordinal, int step,
            uint32_t *number, struct err *err)
{
  uint32_t nr = file_reader_trailer (file)->nr_ordinals;

  for (; ordinal < nr; ordinal += (uint32_t) step) {
    struct nbi_record record;
    int r = file_reader_entry (file, ordinal, &record, err);

    if (r < 0)
      return r;
    if (record.kind == NBI_CHUNK) {
      *number = record.number;
      return 0;
    }
  }
  return err_set (err, -ENOTSUP, "it has no chunk");
}

static int
look_at (struct leftovers *l, struct file_reader *reader,
         struct leftover_file *file, struct job *job, struct err *err)
{
  const struct nbi_header *h = file_reader_header (reader);
  const struct verify v = {
    .data = true, .job = job, .found = refuse_finding,
  };
  int r = check_kind (l, h, err);

  if (r == 0 && memcmp (h->file, file->uuid, UUID_SIZE) != 0)
    r = err_set (err, -EBADMSG, "its header says another UUID than its name");
  if (r == 0)
    r = verify_file (reader, &v, err);
  if (r < 0)
    return r;
  file->size = file_reader_trailer (reader)->size;
  file->nr_ordinals = file_reader_trailer (reader)->nr_ordinals;
  r = find_chunk (reader, 0, 1, &file->first, err);
  return r < 0 ? r
    : find_chunk (reader, file->nr_ordinals - 1, -1, &file->last, err);
}

static int
open_reader (struct leftovers *l, const char *path, struct file_reader **out,
             struct err *err)
{
  CLEANUP_BLOCK struct block *block = NULL;
  int r = store_open (l->store, path, &block, err);

  return r < 0 ? r : file_reader_open (block, l->sheets, l->keys, out, NULL,
                                       err);
}

int
leftovers_add_file (struct leftovers *l, const char *path,
                    const uint8_t uuid[UUID_SIZE], struct job *job,
                    struct err *err)
{
  struct leftover_file file = { .path = NULL };
  struct file_reader *reader;
  int r = open_reader (l, path, &reader, err);

  if (r < 0)
    return r;
  memcpy (file.uuid, uuid, UUID_SIZE);
  r = look_at (l, reader, &file, job, err);
  file_reader_unref (reader);
  if (r < 0)
    return r;
  file.path = strdup (path);
  if (file.path == NULL || vector_append (&l->files, &file) < 0) {
    free (file.path);
    return err_nomem (err);
  }
  return 0;
}

static int
compare_files (const void *a, const void *b)
{
  const struct leftover_file *x = a, *y = b;

  if (x->first != y->first)
    return x->first < y->first ? -1 : 1;
  return memcmp (x->uuid, y->uuid, UUID_SIZE);
}

void
leftovers_ready (struct leftovers *l)
{
  uint32_t reach = 0;

  if (l->files.len > 0)
    qsort (l->files.ptr, l->files.len, sizeof *l->files.ptr, compare_files);
  for (size_t i = 0; i < l->files.len; ++i) {
    if (l->files.ptr[i].last > reach)
      reach = l->files.ptr[i].last;
    l->files.ptr[i].reach = reach;
  }
}

bool
leftovers_are_none (const struct leftovers *l)
{
  return l->files.len == 0 && l->parts.len == 0;
}

struct reader_wanted {
  struct leftovers *l;
  const struct leftover_file *file;
};

static int
make_reader (void *opaque, const struct cache_key *key, void **value,
             size_t *size, struct err *err)
{
  const struct reader_wanted *wanted = opaque;
  struct file_reader *reader;
  int r = open_reader (wanted->l, wanted->file->path, &reader, err);

  (void) key;
  if (r < 0)
    return r;
  *value = reader;
  *size = 1;
  return 0;
}

/* Where a record is among the chunks of its file: pages are between them. */
static uint64_t
place_of (const struct nbi_record *record)
{
  return record->kind == NBI_PAGE
    ? 2 * NBI_PAGE_CHUNKS * (UINT64_C (1) + record->number) - 1
    : 2 * (uint64_t) record->number;
}

static bool
search (struct file_reader *reader, uint32_t nr_ordinals, uint32_t number,
        struct nbi_record *record)
{
  uint32_t low = 0, high = nr_ordinals;

  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    uint64_t place;

    if (file_reader_entry (reader, middle, record, NULL) < 0)
      return false;
    place = place_of (record);
    if (place == 2 * (uint64_t) number)
      return record->kind == NBI_CHUNK;
    if (place < 2 * (uint64_t) number)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

static bool
find_in (struct leftovers *l, size_t i, struct nbi_record *record)
{
  struct leftover_file *file = &l->files.ptr[i];
  struct reader_wanted wanted = { l, file };
  const struct cache_key key = { 0, i };
  const struct cache_maker maker = { make_reader, &wanted };
  struct cache_item *item;
  struct nbi_record found;
  bool is;

  if (record->number < file->first || record->number > file->last ||
      cache_get (l->readers, &key, &maker, &item, NULL) < 0)
    return false;
  is = search (cache_value (item), file->nr_ordinals, record->number,
               &found) &&
    found.plain == record->plain &&
    memcmp (found.identity, record->identity, DIGEST_SIZE) == 0;
  cache_put (l->readers, item);
  if (is)
    *record = found;
  return is;
}

bool
leftovers_find (struct leftovers *l, struct nbi_record *record,
                uint8_t file[UUID_SIZE])
{
  size_t low = 0, high = l->files.len;

  /* The first that begins behind the chunk. */
  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (l->files.ptr[middle].first <= record->number)
      low = middle + 1;
    else
      high = middle;
  }
  while (low-- > 0 && l->files.ptr[low].reach >= record->number)
    if (find_in (l, low, record)) {
      memcpy (file, l->files.ptr[low].uuid, UUID_SIZE);
      return true;
    }
  return false;
}

uint64_t
leftovers_use (struct leftovers *l, const uint8_t file[UUID_SIZE])
{
  for (size_t i = 0; i < l->files.len; ++i)
    if (memcmp (l->files.ptr[i].uuid, file, UUID_SIZE) == 0) {
      l->files.ptr[i].used = true;
      return l->files.ptr[i].size;
    }
  return 0;
}

const struct leftover_files *
leftovers_files (const struct leftovers *l)
{
  return &l->files;
}

/*--- Files that were being written ------------------------------------------*/

/* Is this a sheet, as far as its header says? */
static bool
is_sheet (const struct leftover_part *part, uint64_t off)
{
  uint8_t head[NBI_SHEET_HEADER];

  return off + NBI_SHEET_SIZE <= block_size (part->block) &&
    block_pread (part->block, head, sizeof head, off, NULL) == 0 &&
    memcmp (head, "NBIs", 4) == 0 &&
    get_le64 (head + 8) == part->header.salt && get_le64 (head + 16) == off;
}

/* The record at *off or, if there are sheets, behind them. */
static bool
next_record (const struct leftover_part *part, uint64_t *off,
             struct nbi_record *record)
{
  uint64_t size = block_size (part->block), sheet;
  uint8_t head[NBI_RECORD_SIZE];

  for (;;) {
    if (*off > size || size - *off < sizeof head ||
        block_pread (part->block, head, sizeof head, *off, NULL) < 0)
      return false;
    if (nbi_record_decode (head, &part->header, *off, size, record, NULL) == 0)
      return true;
    sheet = round_up (*off, NBI_SHEET_SIZE);
    if (!is_sheet (part, sheet))
      return false;
    *off = sheet + NBI_SHEET_SIZE;
  }
}

/* Whether a record's payload is whole is seen when it is wanted. */
static int
list_records (struct leftovers *l, struct leftover_part *part,
              struct err *err)
{
  uint64_t off = NBI_HEADER_SIZE, next = 0;
  struct nbi_record record;

  while (next_record (part, &off, &record) &&
         l->nr_records < LEFTOVERS_RECORDS) {
    struct leftover_record known = { off, record.number };

    off = nbi_record_end (&record);
    if (record.kind != NBI_CHUNK || record.number < next)
      continue;
    if (vector_append (&part->records, &known) < 0)
      return err_nomem (err);
    next = UINT64_C (1) + record.number;
    ++l->nr_records;
  }
  return 0;
}

int
leftovers_add_part (struct leftovers *l, const char *path, struct err *err)
{
  struct leftover_part part = { .block = NULL };
  uint8_t header[NBI_HEADER_SIZE];
  int r;

  if (l->parts.len == LEFTOVERS_PARTS)
    return err_set (err, -ENOTSUP, "there are too many of these");
  r = store_open (l->store, path, &part.block, err);
  if (r < 0)
    return r;
  r = block_size (part.block) < sizeof header
    ? nbi_refuse (err, 14, "it ends in its header")
    : block_pread (part.block, header, sizeof header, 0, err);
  if (r == 0)
    r = nbi_header_decode (header, &part.header, err);
  if (r == 0)
    r = check_kind (l, &part.header, err);
  if (r == 0)
    r = list_records (l, &part, err);
  if (r == 0 && part.records.len == 0)
    r = err_set (err, -ENOTSUP, "it has no whole chunk");
  if (r == 0 && vector_append (&l->parts, &part) < 0)
    r = err_nomem (err);
  if (r < 0) {
    block_unref (part.block);
    vector_free (&part.records);
  }
  return r;
}

/* NULL: there is no memory. */
static struct desk *
take_desk (struct leftovers *l)
{
  struct desk *desk;

  pthread_mutex_lock (&l->lock);
  desk = l->desks;
  if (desk != NULL)
    l->desks = desk->next;
  pthread_mutex_unlock (&l->lock);
  if (desk != NULL)
    return desk;
  desk = calloc (1, sizeof *desk);
  if (desk == NULL)
    return NULL;
  desk->plain = malloc (l->model.chunk_size);
  if (desk->plain == NULL || payload_decoder_new (&desk->decoder, NULL) < 0) {
    free_desk (desk);
    return NULL;
  }
  return desk;
}

static void
leave_desk (struct leftovers *l, struct desk *desk)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->lock);

  desk->next = l->desks;
  l->desks = desk;
}

/* NBI-30 to NBI-42; that the bytes are the same stands for the identity. */
static bool
copy_record (const struct leftover_part *part, uint64_t off, struct desk *desk,
             const void *plain, struct nbi_record *record, void *room)
{
  uint8_t head[NBI_RECORD_SIZE];
  struct nbi_record found;

  if (block_pread (part->block, head, sizeof head, off, NULL) < 0 ||
      nbi_record_decode (head, &part->header, off, block_size (part->block),
                         &found, NULL) < 0 ||
      found.kind != NBI_CHUNK || found.number != record->number ||
      found.plain != record->plain || found.stored > record->plain ||
      block_pread (part->block, room, found.stored, off + sizeof head,
                   NULL) < 0 ||
      file_reader_check (&found, room, NULL) < 0 ||
      payload_decode (desk->decoder, &found, room, desk->plain, NULL) < 0 ||
      memcmp (desk->plain, plain, record->plain) != 0)
    return false;
  record->codec = found.codec;
  record->stored = found.stored;
  return true;
}

static const struct leftover_record *
find_record (const struct leftover_part *part, uint32_t number)
{
  size_t low = 0, high = part->records.len;

  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const struct leftover_record *record = &part->records.ptr[middle];

    if (record->number == number)
      return record;
    if (record->number < number)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

bool
leftovers_copy (struct leftovers *l, const void *plain,
                struct nbi_record *record, void *room)
{
  bool copied = false;

  if (nbi_encrypted (&l->model))
    return false;
  for (size_t i = 0; !copied && i < l->parts.len; ++i) {
    const struct leftover_part *part = &l->parts.ptr[i];
    const struct leftover_record *known = find_record (part, record->number);
    struct desk *desk = known != NULL ? take_desk (l) : NULL;

    if (desk == NULL)
      continue;
    copied = copy_record (part, known->off, desk, plain, record, room);
    leave_desk (l, desk);
  }
  return copied;
}
