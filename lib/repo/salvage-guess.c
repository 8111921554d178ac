/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A header that is whole says all of it.  Without one:
 *
 *   salt, UUID, edition, nonce     the trailer or its copy; the salt from most
 *                                  records, UUID and edition from the file's
 *                                  name if they make that salt
 *   size of the disk and chunks    the manifest; the length that most records
 *                                  have, and the highest number among them
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/base/kdf.h"
#include "lib/repo/file-reader.h"
#include "lib/repo/json.h"
#include "lib/repo/payload.h"
#include "lib/repo/salvage-guess.h"
#include "lib/repo/vault-names.h"

#define PIECE (1024 * 1024)
#define MAX_SALTS 64            /* that are counted */
#define MAX_EDITION 1000        /* that is tried with a name */
#define LENGTHS 21              /* powers of 2, up to 1 MiB */

/* What a record's header says of itself, with the salt unknown. */
struct clue {
  uint64_t salt, off;
  uint32_t number, stored, plain;
  uint8_t kind, codec;
  uint64_t xxh3;
};

struct clues {
  struct { uint64_t salt, count; } salts[MAX_SALTS];
  unsigned nr_salts;
  uint64_t salt;                /* 0: look for salts */
  uint64_t lengths[LENGTHS];    /* how many chunks have so many bytes */
  uint64_t nr_chunks;           /* the highest number, and 1 */
  struct nbi_record manifest;
};

/*--- Clues from records -----------------------------------------------------*/

static bool
read_clue (const uint8_t *buf, uint64_t off, struct clue *clue)
{
  if (memcmp (buf, "NBIr", 4) != 0 ||
      get_le32 (buf + 60) != crc32c_update (0, buf, 60) ||
      get_le64 (buf + 16) != off)
    return false;
  *clue = (struct clue) {
    .salt = get_le64 (buf + 8), .off = off, .number = get_le32 (buf + 28),
    .stored = get_le32 (buf + 32), .plain = get_le32 (buf + 36),
    .kind = buf[4], .codec = buf[5], .xxh3 = get_le64 (buf + 40),
  };
  return true;
}

static void
count_salt (struct clues *clues, uint64_t salt)
{
  for (unsigned i = 0; i < clues->nr_salts; ++i)
    if (clues->salts[i].salt == salt) {
      clues->salts[i].count++;
      return;
    }
  if (clues->nr_salts < MAX_SALTS) {
    clues->salts[clues->nr_salts].salt = salt;
    clues->salts[clues->nr_salts++].count = 1;
  }
}

static void
count_clue (struct clues *clues, const struct clue *clue)
{
  if (clues->salt == 0) {
    count_salt (clues, clue->salt);
    return;
  }
  if (clue->salt != clues->salt)
    return;
  if (clue->kind == NBI_MANIFEST)
    clues->manifest = (struct nbi_record) {
      .off = clue->off, .ordinal = NBI_NONE, .stored = clue->stored,
      .plain = clue->plain, .kind = NBI_MANIFEST, .codec = clue->codec,
      .xxh3 = clue->xxh3,
    };
  if (clue->kind != NBI_CHUNK)
    return;
  clues->nr_chunks = max_u64 (clues->nr_chunks, (uint64_t) clue->number + 1);
  for (unsigned i = 0; i < LENGTHS; ++i)
    clues->lengths[i] += clue->plain == UINT32_C (1) << i;
}

/* All of the file; what can't be read is passed over. */
static int
look_for_clues (const struct salvage_file *file, struct clues *clues,
                struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  uint64_t size = block_size (file->block);

  if (buf == NULL)
    return err_nomem (err);
  for (uint64_t off = 0; off < size; off += PIECE) {
    uint64_t len = min_u64 (PIECE, size - off);

    if (block_pread (file->block, buf, len, off, NULL) < 0)
      continue;
    for (uint64_t i = 0; i + NBI_RECORD_SIZE <= len; i += NBI_RECORD_SIZE) {
      struct clue clue;

      if (read_clue (buf + i, off + i, &clue))
        count_clue (clues, &clue);
    }
  }
  return 0;
}

static int
choose_salt (const struct salvage_file *file, struct clues *clues,
             struct err *err)
{
  uint64_t most = 0;
  int r = look_for_clues (file, clues, err);

  for (unsigned i = 0; r == 0 && i < clues->nr_salts; ++i)
    if (clues->salts[i].count > most) {
      most = clues->salts[i].count;
      clues->salt = clues->salts[i].salt;
    }
  if (r == 0 && most == 0)
    r = err_set (err, -EBADMSG, "neither header, trailer nor any record of a "
                 "backup image is left in it");
  return r;
}

/*--- The trailer ------------------------------------------------------------*/

/* NBI-111: its numbers count only if nobody made them up. */
static bool
is_signed (const struct salvage_file *file, const uint8_t *trailer)
{
  uint8_t header[NBI_HEADER_SIZE];

  if (file->crypt == NULL)
    return true;
  nbi_header_encode (&file->header, header);
  return crypt_check_trailer (file->crypt, header, trailer, NULL) == 0;
}

static bool
take_trailer (struct salvage_file *file, uint64_t off)
{
  uint8_t buf[NBI_TRAILER_SIZE];

  if (block_pread (file->block, buf, sizeof buf, off, NULL) < 0 ||
      !nbi_trailer_is_whole (buf) ||
      get_le64 (buf + 16) != block_size (file->block) ||
      !is_signed (file, buf))
    return false;
  file->has_trailer = true;
  file->nr_ranges = get_le32 (buf + 80);
  file->end = block_size (file->block) - NBI_TAIL_SIZE;
  if (!file->guessed)
    return true;
  file->header.salt = get_le64 (buf + 8);
  file->header.edition = get_le32 (buf + 84);
  memcpy (file->header.file, buf + 88, UUID_SIZE);
  memcpy (file->header.nonce, buf + 104, UUID_SIZE);
  file->has_uuid = file->has_nonce = true;
  return true;
}

static void
look_for_trailer (struct salvage_file *file)
{
  uint64_t size = block_size (file->block);

  file->end = size;
  if (size >= NBI_MIN_SIZE &&
      !take_trailer (file, size - NBI_TRAILER_SIZE))
    take_trailer (file, size - NBI_TAIL_SIZE);
}

/*--- The name ---------------------------------------------------------------*/

/* UUID.EDITION.nbi, if that makes this salt. */
static void
try_name (struct salvage_file *file, const char *name)
{
  struct vault_name parsed;
  uint64_t salt;

  vault_name_parse (name, &parsed);
  if (parsed.kind != VAULT_NAME_NBI && parsed.kind != VAULT_NAME_PART)
    return;
  for (uint32_t edition = 0; edition <= MAX_EDITION; ++edition)
    if (nbi_salt (parsed.uuid, edition, &salt, NULL) == 0 &&
        salt == file->header.salt) {
      memcpy (file->header.file, parsed.uuid, UUID_SIZE);
      file->header.edition = edition;
      file->has_uuid = true;
      return;
    }
}

/*--- The disk ---------------------------------------------------------------*/

static bool
take_numbers (struct nbi_header *h, const json_t *json)
{
  uint64_t size, chunk, logical, physical, when;
  const char *name = json_string_value (json_object_get (json, "name"));

  if (!repo_json_number (json_object_get (json, "size"), &size) ||
      !repo_json_number (json_object_get (json, "chunk_size"), &chunk) ||
      !repo_json_number (json_object_get (json, "sector_size"), &logical) ||
      !repo_json_number (json_object_get (json, "physical_sector_size"),
                         &physical) ||
      !repo_json_time (json_object_get (json, "time"), &when) ||
      !repo_json_uuid (json_object_get (json, "generation"), h->run) ||
      name == NULL || strlen (name) >= NBI_NAME_SIZE ||
      chunk < NBI_CHUNK_MIN || chunk > NBI_CHUNK_MAX ||
      !is_power_of_2 (chunk) || size == 0 || logical == 0 ||
      logical > UINT32_MAX || physical > UINT32_MAX)
    return false;
  h->disk_size = size;
  h->chunk_size = (uint32_t) chunk;
  h->logical = (uint32_t) logical;
  h->physical = (uint32_t) physical;
  h->time = when;
  strcpy (h->name, name);
  return true;
}

/* Its payload as scan_at does, which needs what this finds. */
static bool
take_manifest (struct salvage_file *file, const struct nbi_record *record)
{
  static const struct repo_json_limits limits = {
    .len = NBI_MANIFEST_MAX, .structures = 65536, .rule = 90,
  };
  struct payload_decoder *decoder = NULL;
  CLEANUP_FREE uint8_t *payload = NULL, *plain = NULL;
  json_t *json = NULL;
  bool taken = false;

  if (record->plain == 0 || record->plain > NBI_MANIFEST_MAX ||
      record->stored > NBI_MANIFEST_MAX)
    return false;
  payload = malloc (record->stored + 1);
  plain = malloc (record->plain + 1);
  if (payload != NULL && plain != NULL &&
      payload_decoder_new (&decoder, NULL) == 0 &&
      block_pread (file->block, payload, record->stored,
                   record->off + NBI_RECORD_SIZE, NULL) == 0 &&
      file_reader_check (record, payload, NULL) == 0 &&
      payload_decode (decoder, record, payload, plain, NULL) == 0 &&
      repo_json_parse ((const char *) plain, record->plain, &limits, &json,
                       NULL) == 0)
    taken = take_numbers (&file->header, json);
  json_decref (json);
  payload_decoder_free (decoder);
  return taken;
}

/* By the records alone: enough to put chunks where their numbers say. */
static int
take_lengths (struct salvage_file *file, const struct clues *clues,
              struct err *err)
{
  struct nbi_header *h = &file->header;
  uint64_t most = 0;

  for (unsigned i = 14; i < LENGTHS; ++i)
    if (clues->lengths[i] > most) {
      most = clues->lengths[i];
      h->chunk_size = UINT32_C (1) << i;
    }
  if (most == 0)
    return err_set (err, -EBADMSG, "nothing in it says how large the disk or "
                    "its chunks are");
  h->disk_size = clues->nr_chunks * h->chunk_size;
  h->logical = 512;
  h->physical = 4096;
  h->time = 1;
  strcpy (h->name, "salvaged");
  return 0;
}

static int
guess_disk (struct salvage_file *file, struct clues *clues,
            struct report *report, struct err *err)
{
  int r;

  clues->salt = file->header.salt;
  r = look_for_clues (file, clues, err);
  if (r < 0 || take_manifest (file, &clues->manifest))
    return r;
  r = take_lengths (file, clues, err);
  if (r == 0)
    report_warn (report, "how large the disk is is guessed from the chunks "
                 "that are left: at least %" PRIu64 " bytes",
                 file->header.disk_size);
  return r;
}

static int
guess (struct salvage_file *file, const char *name, struct report *report,
       struct err *err)
{
  struct clues *clues = calloc (1, sizeof *clues);
  int r = clues == NULL ? err_nomem (err) : 0;

  if (r == 0 && !file->has_trailer) {
    r = choose_salt (file, clues, err);
    if (r == 0) {
      file->header.salt = clues->salt;
      try_name (file, name);
    }
  }
  if (r == 0)
    r = guess_disk (file, clues, report, err);
  free (clues);
  return r;
}

/*----------------------------------------------------------------------------*/

static bool
take_header (struct salvage_file *file, uint64_t off, struct err *why)
{
  uint8_t buf[NBI_HEADER_SIZE];
  int r;

  if (block_size (file->block) < off + NBI_HEADER_SIZE ||
      block_pread (file->block, buf, sizeof buf, off, NULL) < 0 ||
      !nbi_header_is_whole (buf))
    return false;
  r = nbi_header_decode (buf, &file->header, why);
  file->guessed = r < 0;
  file->has_uuid = file->has_nonce = r == 0;
  return r == 0;
}

/* NBI-124.  Which key it has stands in the header only. */
static int
use_key (struct salvage_file *file, struct keyring *keys, struct err *err)
{
  uint8_t master[CRYPT_KEY_SIZE];
  int r;

  if (file->guessed || !nbi_encrypted (&file->header))
    return !keyring_is_ready (keys) ? 0
      : err_set (err, -EACCES, file->guessed
                 ? "there is a key, and neither the header nor its copy, which "
                 "would say what it is for, is whole"
                 : "there is a key, and it is not encrypted (NBI-124)");
  r = keyring_open_header (keys, &file->header, master, err);
  if (r == 0)
    r = crypt_new (master, &file->header, &file->crypt, err);
  kdf_forget (master, sizeof master);
  return r;
}

int
salvage_guess (struct salvage_file *file, const char *name,
               struct keyring *keys, struct report *report, struct err *err)
{
  uint64_t size = block_size (file->block);
  struct err why = ERR_INIT;
  int r;

  file->guessed = true;
  if (!take_header (file, 0, &why) && size >= NBI_TAIL_SIZE)
    take_header (file, size - NBI_HEADER_SIZE - NBI_TRAILER_SIZE, &why);
  if (file->guessed && why.code == -ENOTSUP)
    return err_set (err, why.code, "%s", why.msg);
  r = use_key (file, keys, err);
  if (r < 0)
    return r;
  look_for_trailer (file);
  if (!file->guessed)
    return 0;
  r = guess (file, name, report, err);
  if (r == 0)
    report_warn (report, "neither the header nor its copy is whole");
  return r;
}
