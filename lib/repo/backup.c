/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/backup-private.h"
#include "lib/repo/chunk-source.h"

#define IDENTITIES (UINT32_C (32) * 1024 * 1024)        /* bytes */

/*--- Threads ----------------------------------------------------------------*/

static int
get_hand (struct backup *b, unsigned slot, struct hand **out, struct err *err)
{
  const struct backup_options *options = b->options;
  int r = 0;

  if (b->hands[slot] == NULL) {
    b->hands[slot] = calloc (1, sizeof **b->hands);
    if (b->hands[slot] == NULL)
      return err_nomem (err);
    r = payload_encoder_new (options->codec, options->level,
                             &b->hands[slot]->encoder, err);
  }
  *out = b->hands[slot];
  return r;
}

/* Or the error of another part of the disk, after which it is nobody's turn. */
static int
wait_for_turn (struct backup *b, uint64_t off, struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&b->lock);

  while (b->appended != off && b->first.code == 0)
    pthread_cond_wait (&b->moved, &b->lock);
  if (b->first.code != 0)
    *err = b->first;
  return b->first.code;
}

/* What ends at `end' is in the files. */
static void
end_turn (struct backup *b, uint64_t end)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&b->lock);

  b->appended = end;
  pthread_cond_broadcast (&b->moved);
}

/* r counts, whatever err says: who waits is told by a code that is not 0. */
static void
fail (struct backup *b, int r, const struct err *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&b->lock);

  if (b->first.code == 0) {
    b->first = *err;
    b->first.code = r;
  }
  pthread_cond_broadcast (&b->moved);
}

static int
work (struct crew *crew, struct crew_member *me, struct err *err)
{
  struct backup *b = crew->opaque;
  struct hand *hand = NULL;
  int r = get_hand (b, me->slot, &hand, err);

  if (r == 0 && !me->range.zero)
    r = b->options->from != NULL ? backup_take (b, me, hand, err)
      : backup_examine (b, me, hand, err);
  if (r == 0)
    r = wait_for_turn (b, me->range.off, err);
  if (r == 0)
    r = backup_append (b, &me->range, hand, err);
  if (r == 0)
    end_turn (b, me->range.off + me->range.len);
  else
    fail (b, r, err);
  return r;
}

/* Whoever gets no range any more holds up nobody: all that were handed out
 * before are being worked on.
 */
static int
run_crew (struct backup *b, struct job *job, struct err *err)
{
  struct crew *crew = &b->crew;
  int r;

  crew->ranges.from = b->source;
  crew->ranges.end = b->header.disk_size;
  crew->ranges.piece = COPY_PIECE;
  crew->ranges.zero_max = UINT64_C (1) << 40;
  crew->ranges.job = job;
  crew->nr_buffers = 2;
  crew->work = work;
  crew->opaque = b;
  r = copy_ranges_init (&crew->ranges, 0, err);
  if (r < 0)
    return r;
  job_start (job, b->options->from != NULL ? "copying" : "backing up",
             b->header.disk_size);
  r = crew_run (crew, err);
  copy_ranges_free (&crew->ranges);
  return r;
}

/*--- The map's pages --------------------------------------------------------*/

static int
write_page (void *opaque, struct nbi_record *record, const void *payload,
            uint32_t *file, struct err *err)
{
  struct backup *b = opaque;
  int r = run_add (b->run, record, payload, file, err);

  if (r == 0)
    b->counts.stored += record->stored;
  return r;
}

/* As for chunks: what can't be read is not there.  A page with data was read
 * when its chunks were compared; any page is, so that one that is damaged is
 * not referred to for ever.
 */
static bool
can_be_read (struct generation *gen, uint64_t page)
{
  struct generation_chunk chunk;

  if (generation_find (gen, page * NBI_PAGE_CHUNKS, &chunk, NULL) < 0)
    return false;
  file_reader_unref (chunk.file);
  return true;
}

static int
same_page (void *opaque, uint64_t page, const uint8_t identity[DIGEST_SIZE],
           bool *is, uint32_t *file, uint32_t *ordinal, struct err *err)
{
  struct backup *b = opaque;
  struct generation *base = b->options->base;
  struct nbi_record record;
  struct nbi_file entry;
  uint32_t index;
  bool is_record;
  int r = 0;

  *is = false;
  if (page >= nbi_nr_pages (generation_header (base)) ||
      generation_page (base, page, &is_record, &index, &record, NULL) < 0 ||
      !is_record || record.kind != NBI_PAGE ||
      memcmp (record.identity, identity, DIGEST_SIZE) != 0 ||
      generation_file (base, index, &entry, NULL) < 0 ||
      !can_be_read (base, page))
    return 0;
  *is = true;
  if (b->proofs != NULL)
    r = backup_prove_page (b->proofs, index, &record, is, err);
  if (r == 0 && !*is)
    backup_proofs_damaged_page (b->proofs);
  if (r < 0 || !*is)
    return r;
  *ordinal = record.ordinal;
  return file_table_add (&b->files, entry.uuid, entry.run, file, err);
}

/*--- The end ----------------------------------------------------------------*/

struct ending {
  struct backup *b;
  uint32_t *places;             /* of files, by number */
  struct nbi_file *files;
};

static int
give_root (void *opaque, uint64_t i, struct nbi_root *root, struct err *err)
{
  const struct ending *ending = opaque;

  (void) err;
  *root = *map_writer_root (ending->b->map, i);
  if (root->file != NBI_NONE)
    root->file = ending->places[root->file];
  return 0;
}

static int
give_file (void *opaque, uint64_t i, struct nbi_file *file, struct err *err)
{
  const struct ending *ending = opaque;

  (void) err;
  *file = ending->files[i];
  return 0;
}

static int
give_range (void *opaque, uint64_t i, struct nbi_range *range,
            struct err *err)
{
  const struct ending *ending = opaque;

  (void) err;
  *range = ending->b->bad.ptr[i];
  return 0;
}

static int
copy_text (char **to, const char *from, struct err *err)
{
  free (*to);
  *to = strdup (from);
  return *to != NULL ? 0 : err_nomem (err);
}

/* What only the backup itself knows. */
static int
complete_manifest (const struct backup *b, struct manifest *m, struct err *err)
{
  const struct nbi_header *h = &b->header;
  uint8_t hash[DIGEST_SIZE];
  int r;

  memcpy (m->generation, h->run, UUID_SIZE);
  m->time = h->time;
  m->size = h->disk_size;
  m->chunk_size = h->chunk_size;
  m->logical = h->logical;
  m->physical = h->physical;
  if (b->options->from == NULL)
    m->finished = (uint64_t) time (NULL);
  m->counts = b->counts;
  memset (m->base, 0, UUID_SIZE);
  if (b->options->base != NULL)
    memcpy (m->base, generation_header (b->options->base)->run, UUID_SIZE);
  r = copy_text (&m->name, h->name, err);
  if (r == 0)
    r = copy_text (&m->creator, h->creator, err);
  if (r == 0)
    r = copy_text (&m->changes, b->written != NULL ? "bitmap"
                   : b->options->base != NULL ? "identity" : "none", err);
  if (r == 0)
    r = map_writer_hash (b->map, hash, err);
  if (r == 0 && b->options->from != NULL && !b->rekeyed)
    r = backup_check_hash (m->hash, hash, err);
  if (r < 0)
    return r;
  memcpy (m->hash, hash, sizeof hash);
  for (size_t i = 0; r == 0 && i < m->partitions.len; ++i)
    r = map_writer_watched (b->map, i, m->partitions.ptr[i].hash, err);
  return r;
}

/* The manifest's record; the payload is *room or *json. */
static int
encode_manifest (const struct backup *b, struct file_ending *ending,
                 char **json, void **room, struct err *err)
{
  struct manifest *m = b->options->manifest;
  struct payload_encoder *encoder = NULL;
  struct nbi_record *record = &ending->manifest;
  size_t len;
  int r;

  r = complete_manifest (b, m, err);
  if (r == 0)
    r = manifest_write (m, json, &len, err);
  if (r < 0)
    return r;
  *room = malloc (len);
  if (*room == NULL)
    return err_nomem (err);
  record->plain = (uint32_t) len;
  r = backup_identity (b, *json, len, record->identity, err);
  if (r == 0)
    r = payload_encoder_new (NBI_ZSTD, 0, &encoder, err);
  if (r == 0)
    r = payload_encode (encoder, *json, record, *room, &ending->payload, err);
  payload_encoder_free (encoder);
  return r;
}

static int
end_run (struct backup *b, struct err *err)
{
  CLEANUP_FREE uint32_t *places = NULL;
  CLEANUP_FREE struct nbi_file *files = NULL;
  CLEANUP_FREE char *json = NULL;
  CLEANUP_FREE void *room = NULL;
  struct ending opaque = { .b = b };
  struct file_ending ending = {
    .nr_pages = nbi_nr_pages (&b->header),
    .nr_ranges = (uint32_t) b->bad.len,
    .root = give_root, .file = give_file, .range = give_range,
    .opaque = &opaque,
  };
  int r;

  if (b->bad.len > UINT32_MAX)
    return err_set (err, -EFBIG, "there are more places that can't be read "
                    "than a backup image can list");
  r = file_table_places (&b->files, &places, err);
  if (r == 0)
    r = file_table_list (&b->files, &files, err);
  if (r == 0)
    r = encode_manifest (b, &ending, &json, &room, err);
  if (r < 0)
    return r;
  opaque.places = places;
  opaque.files = files;
  ending.nr_files = file_table_count (&b->files);
  r = run_end (b->run, &ending, err);
  return r == 0 && b->behind != NULL ? write_behind_wait (b->behind, err) : r;
}

/* Which of the files that were left does the generation need? */
static void
use_leftovers (struct backup *b, struct backup_result *result)
{
  struct leftovers *leftovers = b->options->leftovers;

  for (size_t i = 0; leftovers != NULL && i < b->files.files.len; ++i) {
    const struct nbi_file *file = &b->files.files.ptr[i];
    uint64_t size = file->uses > 0 ? leftovers_use (leftovers, file->uuid) : 0;

    result->bytes += size;
    result->nr_files += size > 0;
  }
}

/*--- All of it --------------------------------------------------------------*/

static unsigned
how_many_threads (const struct backup_options *options)
{
  long n = options->threads > 0 ? (long) options->threads
    : sysconf (_SC_NPROCESSORS_ONLN);

  /* One more, as one waits for its turn or the disk most of the time. */
  if (options->threads == 0)
    ++n;
  return n < 1 ? 1 : n > (long) COPY_MAX_THREADS ? COPY_MAX_THREADS
    : (unsigned) n;
}

static int
watch_partitions (struct backup *b, struct err *err)
{
  struct manifest *m = b->options->manifest;
  int r = 0;

  for (size_t i = 0; r == 0 && i < m->partitions.len; ++i) {
    struct manifest_partition *p = &m->partitions.ptr[i];

    manifest_chunks (p->off, p->len, b->header.chunk_size,
                     b->header.disk_size, &p->first_chunk, &p->nr_chunks);
    r = map_writer_watch (b->map, p->first_chunk, p->nr_chunks, err);
  }
  return r;
}

/* A single thread does without another; so do all when it can't be had. */
static const struct run_place *
write_behind (struct backup *b, unsigned threads,
              const struct run_place *place)
{
  if (threads == 1 || write_behind_new (place, &b->behind, NULL) < 0)
    return place;
  return write_behind_place (b->behind);
}

static int
set_up (struct backup *b, struct block *disk,
        const struct map_writer_ops *ops, const struct run_place *place,
        struct err *err)
{
  const struct backup_options *options = b->options;
  unsigned n = how_many_threads (options);
  int r;

  b->crew.ranges.nr_slots = n;
  b->hands = calloc (n, sizeof *b->hands);
  if (b->hands == NULL)
    return err_nomem (err);
  r = chunk_source_new (disk, b->header.chunk_size, options->used, &b->source,
                        err);
  if (r == 0)
    r = identity_index_new (IDENTITIES, &b->known, err);
  if (r == 0)
    r = run_new (&b->header, options->master, options->file_limit,
                 write_behind (b, n, place), &b->files, &b->run, err);
  if (r == 0)
    r = map_writer_new (&b->header, b->keyed ? b->identity_key : NULL,
                        &b->files, ops, &b->map, err);
  return r < 0 ? r : watch_partitions (b, err);
}

static uint64_t
bytes_read (const struct backup *b)
{
  uint64_t n = 0;

  for (unsigned i = 0; i < b->crew.ranges.nr_slots; ++i)
    n += b->hands[i] != NULL ? b->hands[i]->read : 0;
  return n;
}

static void
tear_down (struct backup *b)
{
  for (unsigned i = 0; b->hands != NULL && i < b->crew.ranges.nr_slots; ++i)
    if (b->hands[i] != NULL) {
      payload_encoder_free (b->hands[i]->encoder);
      payload_decoder_free (b->hands[i]->decoder);
      free (b->hands[i]->plain);
      vector_free (&b->hands[i]->bad);
      free (b->hands[i]);
    }
  free (b->hands);
  map_writer_free (b->map);
  run_free (b->run);
  write_behind_free (b->behind);
  file_table_destroy (&b->files);
  identity_index_free (b->known);
  backup_proofs_free (b->proofs);
  vector_free (&b->bad);
  block_unref (b->source);
  kdf_forget (b->identity_key, sizeof b->identity_key);
  pthread_cond_destroy (&b->moved);
  pthread_mutex_destroy (&b->lock);
}

/* The base has to have the same chunks. */
static int
check_base (const struct backup *b, struct err *err)
{
  struct generation *base = b->options->base;

  if (base == NULL ||
      generation_header (base)->chunk_size == b->header.chunk_size)
    return 0;
  return err_set (err, -EINVAL, "the generation before has chunks of %" PRIu32
                  " bytes, not %" PRIu32, generation_header (base)->chunk_size,
                  b->header.chunk_size);
}

/* The key is that of the header; and the base is encrypted with it, too
 * (NBI-124), as identities could not be compared.
 */
static int
set_up_keys (struct backup *b, struct err *err)
{
  const uint8_t *master = b->options->master;
  struct generation *base = b->options->base;
  int r = 0;

  if (base != NULL)
    r = crypt_check_key (generation_header (base), &b->header, NULL, err);
  if (r == 0 && nbi_encrypted (&b->header) && master == NULL)
    r = err_set (err, -EACCES, "files that are to be encrypted, and no key");
  if (r < 0 || master == NULL)
    return r;
  r = crypt_check_key (&b->header, &b->header, master, err);
  if (r == 0)
    r = crypt_identity_key (master, b->identity_key, err);
  b->keyed = r == 0;
  return r;
}

/* May what was not written be taken from the base?  Where that is not certain
 * all is read: that takes time, and loses nothing.
 */
static int
look_at_changes (struct backup *b, struct block *disk, struct err *err)
{
  const struct backup_options *options = b->options;
  struct err why = ERR_INIT;
  int r;

  if (options->changes == NULL)
    return 0;
  r = options->base == NULL
    ? err_set (&why, -ESTALE, "there is no generation before")
    : changes_check (options->changes, options->base,
                     b->keyed ? b->identity_key : NULL, disk,
                     options->manifest, &why);
  if (r == 0)
    b->written = &options->changes->written;
  else if (r == -ESTALE)
    report_warn (options->report, "all of the disk is read and compared: %s",
                 why.msg);
  else if (err != NULL)
    *err = why;
  return r == -ESTALE ? 0 : r;
}

/* NBI-16, and §18: what would only be found out at the end, or by whoever reads
 * it.
 */
static int
check_size (const struct backup *b, struct err *err)
{
  const struct nbi_header *h = &b->header;
  uint64_t chunks = nbi_nr_chunks (h);

  if (chunks > NBI_MAX_CHUNKS)
    return err_set (err, -EFBIG, "the disk has %" PRIu64 " chunks of %" PRIu32
                    " bytes, more than 2^32; they have to be larger (NBI-16)",
                    chunks, h->chunk_size);
  if (b->options->file_limit == 0 && chunks + nbi_nr_pages (h) > UINT32_MAX)
    return err_set (err, -EFBIG, "one file can't have the %" PRIu64 " chunks of"
                    " %" PRIu32 " bytes of the disk, and their map; they have"
                    " to be larger, or it has to be a vault (NBI-103)",
                    chunks, h->chunk_size);
  return 0;
}

int
backup_disk (struct block *disk, const struct backup_options *options,
             const struct run_place *place, struct backup_result *result,
             struct job *job, struct err *err)
{
  struct backup b = { .options = options, .header = options->header };
  const struct map_writer_ops ops = {
    .write = write_page,
    .same = options->base != NULL ? same_page : NULL,
    .opaque = &b,
  };
  int r;

  pthread_mutex_init (&b.lock, NULL);
  pthread_cond_init (&b.moved, NULL);
  r = check_size (&b, err);
  if (r == 0)
    r = check_base (&b, err);
  if (r == 0)
    r = set_up_keys (&b, err);
  if (r == 0 && options->prove && options->base != NULL &&
      options->from == NULL)
    r = backup_proofs_new (options->base, job, &b.proofs, err);
  if (r == 0 && options->before_read != NULL)
    r = options->before_read (options->opaque, job, err);
  if (r == 0)
    r = look_at_changes (&b, disk, err);
  if (r == 0 && options->from != NULL)
    r = backup_check_from (&b, err);
  if (r == 0)
    r = set_up (&b, disk, &ops, place, err);
  if (r == 0)
    r = run_crew (&b, job, err);
  if (r == 0 && options->all_read != NULL)
    r = options->all_read (options->opaque, err);
  if (r == 0)
    r = end_run (&b, err);
  if (r == 0) {
    result->counts = b.counts;
    result->adopted = b.adopted;
    result->read = bytes_read (&b);
    result->bytes = run_bytes (b.run);
    result->nr_files = run_header (b.run)->number;
    use_leftovers (&b, result);
    backup_proofs_tell (b.proofs, options->of_base);
  }
  tear_down (&b);
  return r;
}
