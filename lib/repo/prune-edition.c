/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files that are mostly dead, written anew: P8 and P9 of docs/NBI.md §15.
 *
 *   1  partial/prune-UUID/UUID.part     written, flushed; a crash leaves it to
 *                                       whoever clears that folder
 *   2  read again, every byte of it     the same
 *   3  renamed into the folder of the   both editions are there: the higher
 *      old one, which stays             one counts, both are right
 *   4  a day later, by another prune:   the same, or the higher one
 *      the higher one is read again,
 *      then lower ones are deleted
 *
 * Of a file that can't be read nothing is thrown away: it stays as it is.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/kdf.h"
#include "lib/repo/file-writer.h"
#include "lib/repo/prune-private.h"
#include "lib/repo/vault-keys.h"
#include "lib/repo/verify.h"

#define GRACE 86400             /* seconds that an old edition stays */

/*--- What it would take -----------------------------------------------------*/

/* Bytes of the records that are live, with all that is in front of them. */
static int
add_records (const struct live_file *live, struct file_reader *file,
             uint64_t *bytes, struct job *job, struct err *err)
{
  uint32_t n = file_reader_trailer (file)->nr_ordinals;

  for (uint32_t ordinal = 0; ordinal < n; ++ordinal) {
    struct nbi_record record;
    int r;

    if (!live_file_has (live, ordinal))
      continue;
    r = file_reader_entry (file, ordinal, &record, err);
    if (r == 0 && ordinal % NBI_GROUP_ORDINALS == 0)
      r = job_check (job, err);
    if (r < 0)
      return r;
    if (!nbi_is_tombstone (&record))
      *bytes += round_up (NBI_RECORD_SIZE + (uint64_t) record.stored,
                          NBI_RECORD_SIZE);
  }
  return 0;
}

int
prune_edition_size (const struct live_file *live, struct file_reader *file,
                    uint64_t *bytes, struct job *job, struct err *err)
{
  const struct nbi_trailer *t = file_reader_trailer (file);

  *bytes = NBI_MIN_SIZE + div_round_up (live->nr_live, NBI_SHEET_ORDINALS) *
    NBI_SHEET_SIZE;
  if (t->directory != 0)
    *bytes += NBI_SHEET_SIZE;
  if (live->root && t->root != 0)
    *bytes += file_reader_end (file) - t->root;
  return add_records (live, file, bytes, job, err);
}

bool
prune_is_mostly_dead (uint64_t bytes, uint64_t size)
{
  return bytes <= size / 2;
}

/*--- Writing one ------------------------------------------------------------*/

struct edition {
  struct sink sink;
  struct prune *p;
  struct store_file *file;      /* that is being written */
  const struct prune_folder *folder;
  const struct live_file *live;
  struct file_reader *old;
  struct nbi_header header;
  uint8_t *payload;             /* room for a record's */
  bool unreadable;              /* the old one can't be read as a whole */
  char part[PRUNE_PATH_SIZE], name[PRUNE_PATH_SIZE];
};

static int
write_bytes (struct sink *sink, const void *buf, size_t len, struct err *err)
{
  struct edition *e = (struct edition *) sink;
  int r = prune_go_on (e->p, err);

  return r < 0 ? r : store_write (e->file, buf, len, err);
}

/* What fails here is the old one's fault. */
static int
from_old (struct edition *e, int r)
{
  e->unreadable |= vault_is_damage (r);
  return r;
}

/* NBI-40. */
static int
read_payload (struct edition *e, const struct nbi_record *record,
              struct err *err)
{
  int r = block_pread (file_reader_block (e->old), e->payload, record->stored,
                       record->off + NBI_RECORD_SIZE, err);

  if (r == 0)
    r = file_reader_check (record, e->payload, err);
  return from_old (e, r);
}

/* What is a tombstone by now was dropped by another prune, and is dead. */
static int
copy_record (struct edition *e, struct file_writer *writer, uint32_t ordinal,
             struct err *err)
{
  struct nbi_record record;
  int r;

  if (!live_file_has (e->live, ordinal))
    return file_writer_skip (writer, err);
  r = from_old (e, file_reader_entry (e->old, ordinal, &record, err));
  if (r < 0)
    return r;
  if (nbi_is_tombstone (&record))
    return file_writer_skip (writer, err);
  r = read_payload (e, &record, err);
  return r < 0 ? r : file_writer_add_stored (writer, &record, e->payload,
                                              err);
}

static int
old_root (void *opaque, uint64_t i, struct nbi_root *root, struct err *err)
{
  struct edition *e = opaque;

  return from_old (e, file_reader_root (e->old, i, root, err));
}

static int
old_file (void *opaque, uint64_t i, struct nbi_file *file, struct err *err)
{
  struct edition *e = opaque;

  return from_old (e, file_reader_file (e->old, (uint32_t) i, file, err));
}

static int
old_range (void *opaque, uint64_t i, struct nbi_range *range, struct err *err)
{
  struct edition *e = opaque;

  return from_old (e, file_reader_range (e->old, (uint32_t) i, range, err));
}

static int
put_end (struct edition *e, struct file_writer *writer, struct err *err)
{
  const struct nbi_trailer *t = file_reader_trailer (e->old);
  struct file_ending ending = {
    .nr_pages = nbi_nr_pages (&e->header), .nr_files = t->nr_files,
    .nr_ranges = t->nr_ranges, .root = old_root, .file = old_file,
    .range = old_range, .opaque = e, .manifest = t->manifest,
    .payload = e->payload,
  };
  int r;

  if (!e->live->root || t->root == 0)
    return file_writer_end (writer, NULL, err);
  r = read_payload (e, &t->manifest, err);
  /* The writer encrypts it with the edition's own key. */
  if (r == 0)
    r = from_old (e, file_reader_unseal (e->old, &ending.manifest, e->payload,
                                         err));
  return r < 0 ? r : file_writer_end (writer, &ending, err);
}

static int
new_writer (struct edition *e, struct file_writer **writer, struct err *err)
{
  uint8_t master[CRYPT_KEY_SIZE];
  int r;

  if (!nbi_encrypted (&e->header))
    return file_writer_new (&e->header, NULL, &e->sink, writer, err);
  r = keyring_open_header (e->p->caches->keys, &e->header, master, err);
  if (r == 0)
    r = file_writer_new (&e->header, master, &e->sink, writer, err);
  kdf_forget (master, sizeof master);
  return r;
}

static int
write_records (struct edition *e, struct err *err)
{
  uint32_t n = file_reader_trailer (e->old)->nr_ordinals;
  struct file_writer *writer;
  int r = new_writer (e, &writer, err);

  if (r < 0)
    return r;
  for (uint32_t ordinal = 0; r == 0 && ordinal < n; ++ordinal)
    r = copy_record (e, writer, ordinal, err);
  if (r == 0)
    r = put_end (e, writer, err);
  file_writer_free (writer);
  return r;
}

static int
write_file (struct edition *e, struct err *err)
{
  int r = store_make (e->p->store, e->part, &e->file, err), ended;

  if (r < 0)
    return r;
  r = write_records (e, err);
  if (r == 0)
    r = store_flush (e->file, err);
  ended = store_end (e->file, r == 0 ? err : NULL);
  return r < 0 ? r : ended;
}

/*--- Is it right? -----------------------------------------------------------*/

static int
end_at_finding (void *opaque, struct file_reader *file,
                const struct verify_finding *finding, struct err *err)
{
  (void) opaque;
  (void) file;
  return err_set (err, -EBADMSG, "%s", finding->what->msg);
}

/* Does it have each record that is live and that the other one has? */
static int
has_records (const struct live_file *live, struct file_reader *file,
             struct file_reader *other, struct err *err)
{
  uint32_t n = file_reader_trailer (file)->nr_ordinals;

  if (n != live->nr_ordinals && live->nr_live > 0)
    return err_set (err, -EBADMSG, "it has %" PRIu32 " ordinals, not %" PRIu32,
                    n, live->nr_ordinals);
  if (live->root && file_reader_trailer (file)->root == 0)
    return err_set (err, -EBADMSG, "it has no root");
  for (uint32_t i = 0; i < n; ++i) {
    struct nbi_record a, b;
    int r;

    if (!live_file_has (live, i))
      continue;
    r = file_reader_entry (file, i, &a, err);
    if (r == 0 && nbi_is_tombstone (&a) && other != NULL) {
      r = file_reader_entry (other, i, &b, err);
      if (r == 0 && nbi_is_tombstone (&b))
        continue;
    }
    if (r < 0)
      return r;
    if (nbi_is_tombstone (&a))
      return err_set (err, -EBADMSG, "record %" PRIu32 " is not in it", i);
  }
  return 0;
}

/* Every byte of it is read, and decoded. */
static int
prove (struct prune *p, const char *path, const struct live_file *live,
       struct file_reader *other, struct err *err)
{
  const struct verify verify = { .data = true, .found = end_at_finding };
  CLEANUP_BLOCK struct block *block = NULL;
  struct file_reader *file;
  int r = store_open (p->store, path, &block, err);

  if (r == 0)
    r = file_reader_open (block, p->caches->sheets, p->caches->keys,
                          &file, NULL, err);
  if (r < 0)
    return r;
  r = memcmp (file_reader_header (file)->file, live->uuid, UUID_SIZE) != 0
    ? err_set (err, -EBADMSG, "its header has another UUID") : 0;
  if (r == 0)
    r = has_records (live, file, other, err);
  if (r == 0)
    r = verify_file (file, &verify, err);
  file_reader_unref (file);
  return r;
}

/*--- P8 ---------------------------------------------------------------------*/

/* A name that is there by now is another prune's, and as good. */
static int
put_into_place (struct edition *e, struct err *err)
{
  struct store *store = e->p->store;
  char folder[PRUNE_PATH_SIZE];
  int r = store_rename (store, e->part, e->name, err);

  if (r == -EEXIST || r == -ENOENT) {
    (void) store_delete (store, e->part, NULL);
    return r == -EEXIST ? 0 : prune_look_for_own (e->p, err);
  }
  if (r == 0)
    r = store_flush_folder (store, prune_path (folder, e->folder, NULL), err);
  if (r == 0)
    r = store_flush_folder (store, lease_folder (e->p->hold), err);
  if (r == 0)
    ++e->p->result->nr_rewritten;
  return r;
}

/* Records stay as they are, and so does their key; key slots are those that the
 * vault has by now (§13).
 */
static int
set_slots (struct edition *e, struct err *err)
{
  uint8_t id[NBI_KEY_ID_SIZE];
  int r;

  if (!nbi_encrypted (&e->header))
    return 0;
  memcpy (id, e->header.key_id, sizeof id);
  r = vault_set_encryption (e->p->vault, &e->header, e->p->report, err);
  if (r == 0 && memcmp (id, e->header.key_id, sizeof id) != 0)
    r = err_set (err, -EACCES, "%s: encrypted with another key than the vault",
                 file_reader_name (e->old));
  return r;
}

static int
set_header (struct edition *e, uint32_t edition, struct err *err)
{
  struct nbi_header *h = &e->header;
  int r;

  *h = *file_reader_header (e->old);
  r = nbi_header_may_rewrite (h, err);          /* NBI-13 */
  if (r == 0)
    r = set_slots (e, err);
  if (r < 0)
    return r;
  h->edition = edition;
  r = nbi_salt (h->file, h->edition, &h->salt, err);
  return r < 0 ? r : uuid_new (h->nonce, err);
}

static int
rewrite (struct edition *e, uint32_t highest, struct err *err)
{
  char name[VAULT_NAME_SIZE];
  struct vault_file file = { .edition = highest + 1 };
  int r = set_header (e, file.edition, err);

  if (r < 0)
    return r;
  memcpy (file.uuid, e->header.file, UUID_SIZE);
  file.root = e->live->root && file_reader_trailer (e->old)->root != 0;
  snprintf (e->part, sizeof e->part, "%s/%s", lease_folder (e->p->hold),
            vault_name_part (name, file.uuid));
  prune_path (e->name, e->folder, &file);
  r = write_file (e, err);
  if (r == 0)
    r = prove (e->p, e->part, e->live, e->old, err);
  if (r < 0) {
    (void) store_delete (e->p->store, e->part, NULL);
    return r;
  }
  return put_into_place (e, err);
}

/* Errors of this file alone are told, and it stays; where there is no room, it
 * is for all of them.
 */
static int
tell_or_fail (struct edition *e, int r, const struct err *why, bool *room,
              struct err *err)
{
  if (r == -ENOSPC || r == -EDQUOT || r == -EFBIG)
    *room = false;
  else if (!e->unreadable && !vault_is_damage (r)) {
    if (err != NULL)
      *err = *why;
    return r;
  }
  report_warn (e->p->report, "%s is not written anew: %s",
               file_reader_name (e->old), why->msg);
  return 0;
}

/* Is there room for one more of its size?  Where that is not known, there is
 * not.
 */
static bool
has_room (struct prune *p, uint64_t size)
{
  uint64_t space;

  return store_space (p->store, &space, NULL) == 0 && space >= size;
}

static int
rewrite_if_dead (struct prune *p, const struct prune_folder *folder,
                 const struct vault_file *file, struct file_reader *old,
                 bool *room, struct err *err)
{
  CLEANUP_FREE uint8_t *payload = NULL;
  struct edition e = {
    .sink = { .write = write_bytes }, .p = p, .folder = folder, .old = old,
    .live = liveness_find (&p->live, file->uuid),
  };
  uint64_t size = file_reader_trailer (old)->size, bytes;
  struct err why = ERR_INIT;
  int r = prune_edition_size (e.live, old, &bytes, p->job, &why);

  if (r == 0 && (!prune_is_mostly_dead (bytes, size) || !has_room (p, size)))
    return 0;
  e.payload = payload = malloc (NBI_CHUNK_MAX + NBI_TAG_SIZE);
  if (payload == NULL)
    return err_nomem (err);
  if (r == 0)
    r = rewrite (&e, file->edition, &why);
  return r < 0 ? tell_or_fail (&e, r, &why, room, err) : 0;
}

/* Its highest edition, which is file. */
static int
look_at_file (struct prune *p, const struct prune_folder *folder,
              const struct vault_file *file, bool *room, struct err *err)
{
  const struct live_file *live = liveness_find (&p->live, file->uuid);
  struct nbi_file wanted = { .uses = 0 };
  struct file_reader *old;
  struct err why = ERR_INIT;
  int r = prune_go_on (p, err);

  if (r < 0 || live_file_is_dead (live) ||
      (live->nr_live == live->nr_ordinals && live->nr_live > 0))
    return r;
  memcpy (wanted.uuid, file->uuid, UUID_SIZE);
  memcpy (wanted.run, folder->run.run, UUID_SIZE);
  r = vault_view_look_up (p->view, &wanted, &old, NULL, &why);
  if (r < 0) {
    report_warn (p->report, "%s", why.msg);
    return 0;
  }
  r = rewrite_if_dead (p, folder, file, old, room, err);
  file_reader_unref (old);
  return r;
}

/* The highest edition of each UUID comes first. */
static bool
is_highest (const struct vault_files *files, size_t i)
{
  return i == 0 || memcmp (files->ptr[i - 1].uuid, files->ptr[i].uuid,
                           UUID_SIZE) != 0;
}

bool
prune_may_rewrite (const struct vault *vault)
{
  return vault_about (vault) != NULL && vault_about (vault)->worm_days == 0;
}

int
prune_write_editions (struct prune *p, struct err *err)
{
  bool room = prune_may_rewrite (p->vault);
  int r = 0;

  for (size_t i = 0; r == 0 && room && i < p->listing.folders.len; ++i) {
    const struct prune_folder *folder = &p->listing.folders.ptr[i];
    const struct vault_files *files = &folder->names.files;

    for (size_t k = 0; r == 0 && room && !folder->gone && k < files->len; ++k)
      if (is_highest (files, k) && files->ptr[k].edition < NBI_MAX_EDITION)
        r = look_at_file (p, folder, &files->ptr[k], &room, err);
  }
  return r;
}

/*--- P9 ---------------------------------------------------------------------*/

/* Has the highest one been there for a day, and is it whole? */
static int
may_stand_alone (struct prune *p, const struct prune_folder *folder,
                 const struct vault_file *highest, bool *may,
                 struct err *err)
{
  const struct live_file *live = liveness_find (&p->live, highest->uuid);
  char path[PRUNE_PATH_SIZE];
  struct err why = ERR_INIT;
  struct store_stat st;
  int r = store_stat (p->store, prune_path (path, folder, highest), &st, err);

  *may = false;
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  if (lease_time (p->hold) - st.time <= GRACE)
    return 0;
  r = prove (p, path, live, NULL, &why);
  *may = r == 0;
  if (r == 0 || r == -ENOENT)
    return 0;
  if (vault_is_damage (r)) {
    report_warn (p->report, "%s: %s; lower editions of it stay", path,
                 why.msg);
    return 0;
  }
  if (err != NULL)
    *err = why;
  return r;
}

static int
drop_lower (struct prune *p, const struct prune_folder *folder, size_t first,
            struct err *err)
{
  const struct vault_files *files = &folder->names.files;
  const struct vault_file *highest = &files->ptr[first];
  bool may;
  int r;

  r = may_stand_alone (p, folder, highest, &may, err);
  for (size_t i = first + 1; r == 0 && may && i < files->len &&
       !is_highest (files, i); ++i)
    if (files->ptr[i].edition < highest->edition &&
        !prune_is_locked (folder, highest->uuid, lease_time (p->hold)))
      r = prune_delete_file (p, folder, &files->ptr[i], err);
  return r;
}

int
prune_drop_editions (struct prune *p, struct err *err)
{
  int r = 0;

  if (!prune_may_rewrite (p->vault))
    return 0;
  for (size_t i = 0; r == 0 && i < p->listing.folders.len; ++i) {
    const struct prune_folder *folder = &p->listing.folders.ptr[i];
    const struct vault_files *files = &folder->names.files;

    for (size_t k = 0; r == 0 && !folder->gone && k + 1 < files->len; ++k)
      if (is_highest (files, k) && !is_highest (files, k + 1) &&
          !live_file_is_dead (liveness_find (&p->live, files->ptr[k].uuid)))
        r = drop_lower (p, folder, k, err);
  }
  return r;
}
