/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Encryption of backup images: docs/NBI.md §12.
 *
 * A struct crypt has the keys of one edition of a file; many threads may use
 * it at once.  Functions that fail for other reasons than those told have the
 * errors of gcm.h and kdf.h.
 *
 * No nonce may be used twice with a key.  The nonces are made of ordinals and
 * of numbers of sheets: whoever calls seals each record once in the life of a
 * file's UUID, and each sheet once in the life of an edition's nonce.
 */

#ifndef NBDIMAGE_REPO_CRYPT_H
#define NBDIMAGE_REPO_CRYPT_H

#include "lib/repo/nbi-record.h"
#include "lib/repo/nbi-sheet.h"

#define CRYPT_KEY_SIZE 32       /* of the master key */
#define NBI_KEY_ID_SIZE 16      /* in headers */
#define NBI_NONCE_SIZE 16       /* of an edition */
#define NBI_HMAC_SIZE 32        /* of the trailer */

/*--- The master key ---------------------------------------------------------*/

/* A new one: random. */
int crypt_master_new (uint8_t master[CRYPT_KEY_SIZE], struct err *err);

int crypt_key_id (const uint8_t master[CRYPT_KEY_SIZE],
                  uint8_t id[NBI_KEY_ID_SIZE], struct err *err);

/* The key of identities, for nbi_identity_with; the same in all files of a
 * master key.
 */
int crypt_identity_key (const uint8_t master[CRYPT_KEY_SIZE],
                        uint8_t key[CRYPT_KEY_SIZE], struct err *err);

/* NBI-124: may a file with that header be read, as one of the generation whose
 * root is in the file of `root', by somebody with that key (NULL: without one)?
 * -EACCES.
 */
int crypt_check_key (const struct nbi_header *h, const struct nbi_header *root,
                     const uint8_t *master, struct err *err);

/*--- Key slots --------------------------------------------------------------*/

/* A passphrase as it was typed, without the newline; or a key file. */
struct crypt_secret {
  enum nbi_slot_kind kind;
  const void *buf;
  size_t len;
};

#define CRYPT_KEY_FILE_MIN 32   /* bytes */
#define CRYPT_KEY_FILE_MAX 65536

/* Wrap the master key in a slot, which has its numbers for Argon2id and label
 * already; kind, salt and nonce are set.  -EINVAL: a key file has another size.
 */
int crypt_wrap (const uint8_t master[CRYPT_KEY_SIZE],
                const struct crypt_secret *secret, struct nbi_slot *slot,
                struct err *err);

/* The same with the salt and the nonce that are in the slot, which no other
 * slot with this secret has.
 */
int crypt_wrap_with (const uint8_t master[CRYPT_KEY_SIZE],
                     const struct crypt_secret *secret, struct nbi_slot *slot,
                     struct err *err);

/* The master key in a slot that was decoded; runs Argon2id, with its memory.
 * -EACCES: it is another passphrase or key file (or the slot is damaged: that
 * looks the same), or the slot is of another kind.
 */
int crypt_unwrap (const struct nbi_slot *slot,
                  const struct crypt_secret *secret,
                  uint8_t master[CRYPT_KEY_SIZE], struct err *err);

/*--- A file -----------------------------------------------------------------*/

struct crypt;

/* Of the file with this header.  -EACCES: NBI-124. */
int crypt_new (const uint8_t master[CRYPT_KEY_SIZE],
               const struct nbi_header *h, struct crypt **out,
               struct err *err);
void crypt_free (struct crypt *crypt);  /* NULL is fine; forgets the keys */

/* What stands for plain bytes: HMAC-SHA-256 of them, the same in all files of
 * a master key.
 */
int crypt_identity (struct crypt *crypt, const void *plain, size_t len,
                    uint8_t id[DIGEST_SIZE], struct err *err);

/* Encrypt the payload of a record, or the manifest, whose stored length is
 * that without the tag; it becomes that with it.  sealed has room for it; it
 * may be where the payload is.  All but off and xxh3 of the record count.
 */
int crypt_seal_record (struct crypt *crypt, struct nbi_record *rec,
                       const void *payload, void *sealed, struct err *err);

/* The other way round; the record's stored length becomes that without the
 * tag, as payload_decode wants it.  NBI-41.
 */
int crypt_open_record (struct crypt *crypt, struct nbi_record *rec,
                       const void *sealed, void *payload, struct err *err);

/* Encrypt a sheet in place: entries, and zeros behind them.  And put its
 * header in front.
 */
int crypt_seal_sheet (struct crypt *crypt, const struct nbi_sheet *sheet,
                      uint8_t buf[NBI_SHEET_SIZE], struct err *err);

/* Is it this one and whole?  And decrypt it in place.  NBI-1 and NBI-50 to
 * NBI-56.
 */
int crypt_open_sheet (struct crypt *crypt, const struct nbi_sheet *sheet,
                      uint8_t buf[NBI_SHEET_SIZE], struct err *err);

/* Put the HMAC of header and trailer into the trailer, which was encoded, and
 * make its CRC right.
 */
int crypt_seal_trailer (struct crypt *crypt,
                        const uint8_t header[NBI_HEADER_SIZE],
                        uint8_t trailer[NBI_TRAILER_SIZE], struct err *err);

/* NBI-111. */
int crypt_check_trailer (struct crypt *crypt,
                         const uint8_t header[NBI_HEADER_SIZE],
                         const uint8_t trailer[NBI_TRAILER_SIZE],
                         struct err *err);

#endif /* NBDIMAGE_REPO_CRYPT_H */
