/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Five keys are made of the master key, each by HKDF with another text, so
 * that none of them says anything of the others: three for the file, one for
 * identities, and the key id, which is no key but says which key it is.
 *
 * What OpenSSL needs to encrypt belongs to one thread at a time: who comes
 * takes an idle one, or makes one.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/cleanup.h"
#include "lib/base/crc32c.h"
#include "lib/base/gcm.h"
#include "lib/base/kdf.h"
#include "lib/repo/crypt.h"
#include "lib/repo/nbi-trailer.h"

#define RECORD_DATA_SIZE 32     /* additional data */
#define SHEET_DATA_SIZE 24
#define HMAC_OFF 192            /* in the trailer */
#define CRC_OFF (NBI_TRAILER_SIZE - 4)
#define MAX_IDLE 16             /* of what OpenSSL needs; more are freed */

/* The first number of a nonce: what it is for. */
enum { FOR_RECORDS = 1, FOR_MANIFEST = 3, FOR_SHEETS = 16 };

struct crypt {
  pthread_mutex_t lock;         /* guards what follows */
  struct gcm *idle[MAX_IDLE];
  unsigned nr_idle;

  /* Never change. */
  uint8_t file_uuid[UUID_SIZE];
  uint8_t file_key[KDF_KEY_SIZE], table_key[KDF_KEY_SIZE];
  uint8_t seal_key[KDF_KEY_SIZE], identity_key[KDF_KEY_SIZE];
};

/*--- Keys -------------------------------------------------------------------*/

/* label is 8 bytes or more, tail what follows it. */
static int
make_key (const uint8_t *master, const char *label, const uint8_t *tail,
          size_t tail_len, uint8_t key[KDF_KEY_SIZE], struct err *err)
{
  uint8_t info[64];
  size_t len = strlen (label);

  memcpy (info, label, len);
  if (tail_len > 0)
    memcpy (info + len, tail, tail_len);
  return kdf_hkdf ((struct kdf_bytes) { master, CRYPT_KEY_SIZE },
                   (struct kdf_bytes) { NULL, 0 },
                   (struct kdf_bytes) { info, len + tail_len }, key,
                   KDF_KEY_SIZE, err);
}

int
crypt_key_id (const uint8_t master[CRYPT_KEY_SIZE],
              uint8_t id[NBI_KEY_ID_SIZE], struct err *err)
{
  uint8_t key[KDF_KEY_SIZE];
  int r = make_key (master, "NBI id", NULL, 0, key, err);

  if (r == 0)
    memcpy (id, key, NBI_KEY_ID_SIZE);
  return r;
}

int
crypt_identity_key (const uint8_t master[CRYPT_KEY_SIZE],
                    uint8_t key[CRYPT_KEY_SIZE], struct err *err)
{
  return make_key (master, "NBI identity", NULL, 0, key, err);
}

static int
refuse_key (struct err *err, const char *text)
{
  return err_set (err, -EACCES, "%s (NBI-124)", text);
}

int
crypt_check_key (const struct nbi_header *h, const struct nbi_header *root,
                 const uint8_t *master, struct err *err)
{
  uint8_t id[NBI_KEY_ID_SIZE];
  int r;

  if (h->encryption != root->encryption ||
      memcmp (h->key_id, root->key_id, NBI_KEY_ID_SIZE) != 0)
    return refuse_key (err, "encrypted in another way than the file with the"
                       " generation's root");
  if (master == NULL)
    return 0;
  if (!nbi_encrypted (root))
    return refuse_key (err, "there is a key, and the image is not encrypted");
  r = crypt_key_id (master, id, err);
  if (r < 0)
    return r;
  if (memcmp (root->key_id, id, sizeof id) != 0)
    return refuse_key (err, "encrypted with another key");
  return 0;
}

static int
make_keys (struct crypt *c, const uint8_t *master, const struct nbi_header *h,
           struct err *err)
{
  uint8_t edition[UUID_SIZE + 4 + NBI_NONCE_SIZE];
  int r;

  memcpy (edition, h->file, UUID_SIZE);
  put_le32 (edition + UUID_SIZE, h->edition);
  memcpy (edition + UUID_SIZE + 4, h->nonce, NBI_NONCE_SIZE);
  r = make_key (master, "NBI file", h->file, UUID_SIZE, c->file_key, err);
  if (r == 0)
    r = make_key (master, "NBI meta", edition, sizeof edition, c->table_key,
                  err);
  if (r == 0)
    r = make_key (master, "NBI seal", edition, sizeof edition, c->seal_key,
                  err);
  if (r == 0)
    r = crypt_identity_key (master, c->identity_key, err);
  return r;
}

int
crypt_new (const uint8_t master[CRYPT_KEY_SIZE], const struct nbi_header *h,
           struct crypt **out, struct err *err)
{
  struct crypt *c;
  int r = crypt_check_key (h, h, master, err);

  if (r < 0)
    return r;
  c = calloc (1, sizeof *c);
  if (c == NULL)
    return err_nomem (err);
  pthread_mutex_init (&c->lock, NULL);
  memcpy (c->file_uuid, h->file, UUID_SIZE);
  r = make_keys (c, master, h, err);
  if (r < 0)
    crypt_free (c);
  else
    *out = c;
  return r;
}

void
crypt_free (struct crypt *c)
{
  if (c == NULL)
    return;
  for (unsigned i = 0; i < c->nr_idle; ++i)
    gcm_free (c->idle[i]);
  pthread_mutex_destroy (&c->lock);
  kdf_forget (c, sizeof *c);
  free (c);
}

static int
take_gcm (struct crypt *c, struct gcm **out, struct err *err)
{
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);

    if (c->nr_idle > 0) {
      *out = c->idle[--c->nr_idle];
      return 0;
    }
  }
  return gcm_new (out, err);
}

static void
give_back (struct crypt *c, struct gcm *gcm)
{
  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);

    if (c->nr_idle < MAX_IDLE) {
      c->idle[c->nr_idle++] = gcm;
      return;
    }
  }
  gcm_free (gcm);
}

static int
seal (struct crypt *c, const struct gcm_with *with, const void *in,
      size_t len, void *out, uint8_t *tag, struct err *err)
{
  struct gcm *gcm;
  int r = take_gcm (c, &gcm, err);

  if (r < 0)
    return r;
  r = gcm_seal (gcm, with, in, len, out, tag, err);
  give_back (c, gcm);
  return r;
}

static int
open_sealed (struct crypt *c, const struct gcm_with *with, const void *in,
             size_t len, const uint8_t *tag, void *out, bool *right,
             struct err *err)
{
  struct gcm *gcm;
  int r = take_gcm (c, &gcm, err);

  if (r < 0)
    return r;
  r = gcm_open (gcm, with, in, len, tag, out, right, err);
  give_back (c, gcm);
  return r;
}

int
crypt_identity (struct crypt *c, const void *plain, size_t len,
                uint8_t id[DIGEST_SIZE], struct err *err)
{
  const struct kdf_bytes piece = { plain, len };

  return kdf_hmac (c->identity_key, &piece, 1, id, err);
}

/*--- Records ----------------------------------------------------------------*/

/* What a record is sealed with.  Where it lies is not in it: prune moves it. */
struct record_with {
  uint8_t nonce[GCM_NONCE_SIZE];
  uint8_t data[RECORD_DATA_SIZE];
  struct gcm_with with;
};

static void
of_record (const struct crypt *c, const struct nbi_record *rec,
           struct record_with *w)
{
  bool is_manifest = rec->kind == NBI_MANIFEST;

  put_le32 (w->nonce, is_manifest ? FOR_MANIFEST : FOR_RECORDS);
  put_le64 (w->nonce + 4, is_manifest ? 0 : rec->ordinal);
  memcpy (w->data, c->file_uuid, UUID_SIZE);
  w->data[16] = rec->kind;
  w->data[17] = rec->codec;
  put_le16 (w->data + 18, 0);
  put_le32 (w->data + 20, rec->ordinal);
  put_le32 (w->data + 24, rec->number);
  put_le32 (w->data + 28, rec->plain);
  w->with = (struct gcm_with) {
    .key = is_manifest ? c->table_key : c->file_key, .nonce = w->nonce,
    .data = w->data, .data_len = sizeof w->data,
  };
}

int
crypt_seal_record (struct crypt *c, struct nbi_record *rec,
                   const void *payload, void *sealed, struct err *err)
{
  struct record_with w;
  int r;

  of_record (c, rec, &w);
  r = seal (c, &w.with, payload, rec->stored, sealed,
            (uint8_t *) sealed + rec->stored, err);
  if (r == 0)
    rec->stored += NBI_TAG_SIZE;
  return r;
}

int
crypt_open_record (struct crypt *c, struct nbi_record *rec,
                   const void *sealed, void *payload, struct err *err)
{
  uint32_t net = rec->stored - NBI_TAG_SIZE;
  struct record_with w;
  bool right;
  int r;

  of_record (c, rec, &w);
  r = open_sealed (c, &w.with, sealed, net, (const uint8_t *) sealed + net,
                   payload, &right, err);
  if (r < 0)
    return r;
  if (!right)
    return nbi_refuse (err, 41, "the record's tag is wrong");
  rec->stored = net;
  return 0;
}

/*--- Sheets -----------------------------------------------------------------*/

struct sheet_with {
  uint8_t nonce[GCM_NONCE_SIZE];
  uint8_t data[SHEET_DATA_SIZE];
  struct gcm_with with;
};

static void
of_sheet (const struct crypt *c, const struct nbi_sheet *sheet,
          struct sheet_with *w)
{
  put_le32 (w->nonce, FOR_SHEETS + (uint32_t) sheet->table);
  put_le64 (w->nonce + 4, sheet->number);
  memcpy (w->data, c->file_uuid, UUID_SIZE);
  w->data[16] = (uint8_t) sheet->table;
  w->data[17] = 0;
  put_le16 (w->data + 18, (uint16_t) sheet->count);
  put_le32 (w->data + 20, sheet->number);
  w->with = (struct gcm_with) {
    .key = c->table_key, .nonce = w->nonce, .data = w->data,
    .data_len = sizeof w->data,
  };
}

int
crypt_seal_sheet (struct crypt *c, const struct nbi_sheet *sheet,
                  uint8_t buf[NBI_SHEET_SIZE], struct err *err)
{
  uint8_t *body = buf + NBI_SHEET_HEADER, tag[NBI_TAG_SIZE];
  struct sheet_with w;
  int r;

  of_sheet (c, sheet, &w);
  r = seal (c, &w.with, body, NBI_SHEET_BODY, body, tag, err);
  if (r == 0)
    nbi_sheet_seal_encrypted (sheet, tag, buf);
  return r;
}

int
crypt_open_sheet (struct crypt *c, const struct nbi_sheet *sheet,
                  uint8_t buf[NBI_SHEET_SIZE], struct err *err)
{
  uint8_t *body = buf + NBI_SHEET_HEADER;
  struct sheet_with w;
  bool right;
  int r = nbi_sheet_check_encrypted (buf, sheet, err);

  if (r < 0)
    return r;
  of_sheet (c, sheet, &w);
  r = open_sealed (c, &w.with, body, NBI_SHEET_BODY, buf + NBI_SHEET_TAG,
                   body, &right, err);
  if (r < 0)
    return r;
  if (!right)
    return nbi_refuse (err, 55, "the tag of a sheet is wrong");
  return nbi_sheet_check_body (body, sheet, err);
}

/*--- Trailer ----------------------------------------------------------------*/

static int
trailer_hmac (struct crypt *c, const uint8_t *header, const uint8_t *trailer,
              uint8_t hmac[NBI_HMAC_SIZE], struct err *err)
{
  static const uint8_t zeros[NBI_HMAC_SIZE];
  const struct kdf_bytes pieces[] = {
    { header, NBI_HEADER_SIZE },
    { trailer, HMAC_OFF },
    { zeros, sizeof zeros },
    { trailer + HMAC_OFF + NBI_HMAC_SIZE, CRC_OFF - HMAC_OFF - NBI_HMAC_SIZE },
  };

  return kdf_hmac (c->seal_key, pieces, sizeof pieces / sizeof pieces[0],
                   hmac, err);
}

int
crypt_seal_trailer (struct crypt *c, const uint8_t header[NBI_HEADER_SIZE],
                    uint8_t trailer[NBI_TRAILER_SIZE], struct err *err)
{
  uint8_t hmac[NBI_HMAC_SIZE];
  int r = trailer_hmac (c, header, trailer, hmac, err);

  if (r < 0)
    return r;
  memcpy (trailer + HMAC_OFF, hmac, sizeof hmac);
  put_le32 (trailer + CRC_OFF, crc32c_update (0, trailer, CRC_OFF));
  return 0;
}

int
crypt_check_trailer (struct crypt *c, const uint8_t header[NBI_HEADER_SIZE],
                     const uint8_t trailer[NBI_TRAILER_SIZE], struct err *err)
{
  uint8_t hmac[NBI_HMAC_SIZE];
  int r = trailer_hmac (c, header, trailer, hmac, err);

  if (r < 0)
    return r;
  if (kdf_differ (hmac, trailer + HMAC_OFF, sizeof hmac))
    return nbi_refuse (err, 111, "the HMAC of header and trailer is wrong");
  return 0;
}
