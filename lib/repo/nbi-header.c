/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/checked.h"
#include "lib/base/crc32c.h"
#include "lib/base/digest.h"
#include "lib/repo/nbi-header.h"
#include "lib/repo/nbi-slot.h"

static const uint8_t magic[8] = { 0x89, 'N', 'B', 'I', '\r', '\n', 0x1a, '\n' };

#define FORMAT_VERSION 1
#define CRC_OFF (NBI_HEADER_SIZE - 4)
#define SECTOR_MIN 512
#define SECTOR_MAX (1024 * 1024)

/* Of the structure on disk. */
enum {
  OFF_VERSION = 8,
  OFF_NEED = 16,
  OFF_REWRITE = 24,
  OFF_IGNORE = 32,
  OFF_FILE = 40,
  OFF_EDITION = 56,
  OFF_NUMBER = 60,
  OFF_RUN = 64,
  OFF_KEY_ID = 80,
  OFF_VAULT = 96,
  OFF_DISK_SIZE = 112,
  OFF_CHUNK_SIZE = 120,
  OFF_LOGICAL = 124,
  OFF_PHYSICAL = 128,
  OFF_ENCRYPTION = 132,
  OFF_NR_SLOTS = 133,
  OFF_TIME = 136,
  OFF_SALT = 144,
  OFF_NONCE = 152,
  OFF_NAME = 256,
  OFF_CREATOR = 512,
  OFF_SLOTS = 1024,
};

static const struct {
  uint16_t off, len;
} reserved[] = {
  { 12, 4 }, { 134, 2 }, { 168, 88 }, { 576, 448 }, { 3072, 1020 },
};

int
nbi_salt (const uint8_t file[UUID_SIZE], uint32_t edition, uint64_t *salt,
          struct err *err)
{
  uint8_t text[8 + UUID_SIZE + 4], sum[DIGEST_SIZE];
  int r;

  memcpy (text, "NBI salt", 8);
  memcpy (text + 8, file, UUID_SIZE);
  put_le32 (text + 8 + UUID_SIZE, edition);
  r = digest_of (text, sizeof text, sum, err);
  if (r == 0)
    *salt = get_le64 (sum);
  return r;
}

/*--- Encoding ---------------------------------------------------------------*/

void
nbi_header_encode (const struct nbi_header *h, uint8_t buf[NBI_HEADER_SIZE])
{
  memset (buf, 0, NBI_HEADER_SIZE);
  memcpy (buf, magic, sizeof magic);
  put_le32 (buf + OFF_VERSION, FORMAT_VERSION);
  put_le64 (buf + OFF_NEED, h->need);
  put_le64 (buf + OFF_REWRITE, h->rewrite);
  put_le64 (buf + OFF_IGNORE, h->ignore);
  memcpy (buf + OFF_FILE, h->file, UUID_SIZE);
  put_le32 (buf + OFF_EDITION, h->edition);
  put_le32 (buf + OFF_NUMBER, h->number);
  memcpy (buf + OFF_RUN, h->run, UUID_SIZE);
  memcpy (buf + OFF_KEY_ID, h->key_id, UUID_SIZE);
  memcpy (buf + OFF_VAULT, h->vault, UUID_SIZE);
  put_le64 (buf + OFF_DISK_SIZE, h->disk_size);
  put_le32 (buf + OFF_CHUNK_SIZE, h->chunk_size);
  put_le32 (buf + OFF_LOGICAL, h->logical);
  put_le32 (buf + OFF_PHYSICAL, h->physical);
  buf[OFF_ENCRYPTION] = h->encryption;
  buf[OFF_NR_SLOTS] = h->nr_slots;
  put_le64 (buf + OFF_TIME, h->time);
  put_le64 (buf + OFF_SALT, h->salt);
  memcpy (buf + OFF_NONCE, h->nonce, UUID_SIZE);
  memcpy (buf + OFF_NAME, h->name, NBI_NAME_SIZE);
  memcpy (buf + OFF_CREATOR, h->creator, NBI_CREATOR_SIZE);
  memcpy (buf + OFF_SLOTS, h->slots, sizeof h->slots);
  put_le32 (buf + CRC_OFF, crc32c_update (0, buf, CRC_OFF));
}

/*--- Decoding ---------------------------------------------------------------*/

bool
nbi_header_has_magic (const uint8_t *buf)
{
  return memcmp (buf, magic, sizeof magic) == 0;
}

bool
nbi_header_is_whole (const uint8_t buf[NBI_HEADER_SIZE])
{
  return nbi_header_has_magic (buf) &&
    get_le32 (buf + CRC_OFF) == crc32c_update (0, buf, CRC_OFF);
}

static void
take_fields (const uint8_t *buf, struct nbi_header *h)
{
  h->need = get_le64 (buf + OFF_NEED);
  h->rewrite = get_le64 (buf + OFF_REWRITE);
  h->ignore = get_le64 (buf + OFF_IGNORE);
  memcpy (h->file, buf + OFF_FILE, UUID_SIZE);
  h->edition = get_le32 (buf + OFF_EDITION);
  h->number = get_le32 (buf + OFF_NUMBER);
  memcpy (h->run, buf + OFF_RUN, UUID_SIZE);
  memcpy (h->key_id, buf + OFF_KEY_ID, UUID_SIZE);
  memcpy (h->vault, buf + OFF_VAULT, UUID_SIZE);
  h->disk_size = get_le64 (buf + OFF_DISK_SIZE);
  h->chunk_size = get_le32 (buf + OFF_CHUNK_SIZE);
  h->logical = get_le32 (buf + OFF_LOGICAL);
  h->physical = get_le32 (buf + OFF_PHYSICAL);
  h->encryption = buf[OFF_ENCRYPTION];
  h->nr_slots = buf[OFF_NR_SLOTS];
  h->time = get_le64 (buf + OFF_TIME);
  h->salt = get_le64 (buf + OFF_SALT);
  memcpy (h->nonce, buf + OFF_NONCE, UUID_SIZE);
  memcpy (h->name, buf + OFF_NAME, NBI_NAME_SIZE);
  memcpy (h->creator, buf + OFF_CREATOR, NBI_CREATOR_SIZE);
  memcpy (h->slots, buf + OFF_SLOTS, sizeof h->slots);
}

/* NBI-10, NBI-14, NBI-11, NBI-12: may the rest be looked at? */
static int
check_envelope (const uint8_t *buf, struct err *err)
{
  uint32_t crc = crc32c_update (0, buf, CRC_OFF);
  uint64_t unknown = get_le64 (buf + OFF_NEED) & ~NBI_NEED_ENCRYPTED;

  if (memcmp (buf, magic, sizeof magic) != 0)
    return nbi_beyond (err, 10, "not a backup image");
  if (get_le32 (buf + CRC_OFF) != crc)
    return nbi_refuse (err, 14, "header: checksum is %08" PRIx32
                       ", computed %08" PRIx32, get_le32 (buf + CRC_OFF), crc);
  if (get_le32 (buf + OFF_VERSION) != FORMAT_VERSION)
    return nbi_beyond (err, 11, "header: version %" PRIu32 " of the format at"
                       " offset %d, expected %d", get_le32 (buf + OFF_VERSION),
                       OFF_VERSION, FORMAT_VERSION);
  if (unknown != 0)
    return nbi_beyond (err, 12, "header: features %" PRIx64 " are not known",
                       unknown);
  return 0;
}

static int
check_reserved (const uint8_t *buf, const struct nbi_header *h,
                struct err *err)
{
  /* §17 */
  if (h->ignore != 0)
    return 0;
  for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; ++i) {
    int r = nbi_check_zeros (buf, reserved[i].off, reserved[i].len, "header",
                             err);

    if (r < 0)
      return r;
  }
  return 0;
}

static bool
sector_size_fits (uint32_t size)
{
  return is_power_of_2 (size) && size >= SECTOR_MIN && size <= SECTOR_MAX;
}

static int
check_disk (const struct nbi_header *h, struct err *err)
{
  if (!is_power_of_2 (h->chunk_size) || h->chunk_size < NBI_CHUNK_MIN ||
      h->chunk_size > NBI_CHUNK_MAX)
    return nbi_refuse (err, 15, "header: chunks of %" PRIu32 " bytes, expected"
                       " a power of two from %" PRIu32 " to %" PRIu32,
                       h->chunk_size, NBI_CHUNK_MIN, NBI_CHUNK_MAX);
  if (h->disk_size == 0 || nbi_nr_chunks (h) > NBI_MAX_CHUNKS)
    return nbi_refuse (err, 16, "header: a disk of %" PRIu64 " bytes in chunks"
                       " of %" PRIu32 ", expected 1 to %" PRIu64 " chunks",
                       h->disk_size, h->chunk_size, NBI_MAX_CHUNKS);
  if (!sector_size_fits (h->logical) || !sector_size_fits (h->physical) ||
      h->logical > h->physical)
    return nbi_refuse (err, 17, "header: logical sectors of %" PRIu32 " and"
                       " physical ones of %" PRIu32 " bytes, expected powers of"
                       " two from %d to %d, in that order", h->logical,
                       h->physical, SECTOR_MIN, SECTOR_MAX);
  return 0;
}

static int
check_identity (const struct nbi_header *h, struct err *err)
{
  uint64_t salt;
  int r = nbi_salt (h->file, h->edition, &salt, err);

  if (r < 0)
    return r;
  if (h->salt != salt)
    return nbi_refuse (err, 18, "header: salt is %016" PRIx64 ", must be %016"
                       PRIx64, h->salt, salt);
  if (uuid_is_zero (h->file) || uuid_is_zero (h->run))
    return nbi_refuse (err, 19, "header: the UUID of the %s is zeros",
                       uuid_is_zero (h->file) ? "file" : "run");
  return 0;
}

bool
nbi_name_is_right (const char *name)
{
  return nbi_text_is_right (name, NBI_NAME_SIZE) && name[0] != '\0' &&
    strcmp (name, ".") != 0 && strcmp (name, "..") != 0 &&
    strpbrk (name, "/@") == NULL;
}

static int
check_texts (const struct nbi_header *h, struct err *err)
{
  if (!nbi_name_is_right (h->name))
    return nbi_refuse (err, 20, "header: the name of the disk is none");
  if (!nbi_text_is_right (h->creator, NBI_CREATOR_SIZE))
    return nbi_refuse (err, 20, "header: who made it is not text");
  return 0;
}

/* NBI-120 to NBI-123. */
static int
check_slot (const struct nbi_header *h, unsigned nr, struct err *err)
{
  const uint8_t *buf = h->slots + (size_t) nr * NBI_SLOT_SIZE;
  struct nbi_slot slot;
  int r = 0;

  if (nr < h->nr_slots)
    r = nbi_slot_decode (buf, h->ignore == 0, &slot, err);
  else if (!nbi_is_zeros (buf, NBI_SLOT_SIZE))
    r = nbi_refuse (err, 120, "not used, but not zeros");
  if (r < 0)
    err_in (err, "key slot %u", nr);
  return r;
}

static int
check_encryption (const struct nbi_header *h, struct err *err)
{
  if (h->encryption > 1)
    return nbi_beyond (err, 21, "header: encryption %u", h->encryption);
  if (nbi_encrypted (h) != ((h->need & NBI_NEED_ENCRYPTED) != 0))
    return nbi_refuse (err, 21, "header: encryption %u does not agree with the"
                       " features", h->encryption);
  if (!nbi_encrypted (h) && !uuid_is_zero (h->key_id))
    return nbi_refuse (err, 21, "header: a key id without encryption");
  if (h->nr_slots > NBI_MAX_SLOTS || nbi_encrypted (h) != (h->nr_slots > 0))
    return nbi_refuse (err, 22, "header: %u key slots with encryption %u,"
                       " expected %s", h->nr_slots, h->encryption,
                       nbi_encrypted (h) ? "1 to 8" : "none");
  for (unsigned i = 0; i < NBI_MAX_SLOTS; ++i) {
    int r = check_slot (h, i, err);

    if (r < 0)
      return r;
  }
  return 0;
}

static int
check_numbers (const struct nbi_header *h, struct err *err)
{
  if (h->edition > NBI_MAX_EDITION || h->number > NBI_MAX_EDITION)
    return nbi_refuse (err, 23, "header: edition %" PRIu32 ", file %" PRIu32
                       " of the run, expected at most %" PRIu32, h->edition,
                       h->number, NBI_MAX_EDITION);
  if (h->time == 0 || h->time > NBI_MAX_TIME)
    return nbi_refuse (err, 24, "header: time %" PRIu64 ", expected 1 to %"
                       PRIu64, h->time, NBI_MAX_TIME);
  return 0;
}

int
nbi_header_decode (const uint8_t buf[NBI_HEADER_SIZE], struct nbi_header *out,
                   struct err *err)
{
  struct nbi_header h;
  int r = check_envelope (buf, err);

  if (r < 0)
    return r;
  take_fields (buf, &h);
  r = check_reserved (buf, &h, err);
  if (r == 0)
    r = check_disk (&h, err);
  if (r == 0)
    r = check_identity (&h, err);
  if (r == 0)
    r = check_texts (&h, err);
  if (r == 0)
    r = check_encryption (&h, err);
  if (r == 0)
    r = check_numbers (&h, err);
  if (r == 0)
    *out = h;
  return r;
}

int
nbi_header_may_rewrite (const struct nbi_header *h, struct err *err)
{
  if (h->rewrite == 0)
    return 0;
  return nbi_beyond (err, 13, "features %" PRIx64 " are not known, so it can't"
                     " be written anew", h->rewrite);
}

/*--- The disk ---------------------------------------------------------------*/

uint64_t
nbi_nr_chunks (const struct nbi_header *h)
{
  return div_round_up (h->disk_size, h->chunk_size);
}

uint64_t
nbi_nr_pages (const struct nbi_header *h)
{
  return div_round_up (nbi_nr_chunks (h), NBI_PAGE_CHUNKS);
}

uint32_t
nbi_chunk_len (const struct nbi_header *h, uint64_t chunk)
{
  return (uint32_t) min_u64 (h->chunk_size,
                             h->disk_size - chunk * h->chunk_size);
}

uint32_t
nbi_page_chunks (const struct nbi_header *h, uint64_t page)
{
  return (uint32_t) min_u64 (NBI_PAGE_CHUNKS,
                             nbi_nr_chunks (h) - page * NBI_PAGE_CHUNKS);
}
