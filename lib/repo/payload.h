/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The payload of a record: plain bytes and back (docs/NBI.md §5).
 *
 * An encoder or decoder belongs to one thread at a time; it allocates nothing
 * once it is made.
 */

#ifndef NBDIMAGE_REPO_PAYLOAD_H
#define NBDIMAGE_REPO_PAYLOAD_H

#include "lib/repo/nbi-record.h"

/* The identity of plain bytes, of a file that is not encrypted. */
int nbi_identity (const void *plain, size_t len, uint8_t id[DIGEST_SIZE],
                  struct err *err);

/* The same of a file that may be encrypted.  key: crypt_identity_key; NULL: it
 * is not encrypted.  -EIO if OpenSSL fails.
 */
int nbi_identity_with (const uint8_t *key, const void *plain, size_t len,
                       uint8_t id[DIGEST_SIZE], struct err *err);

/*--- Encoding ---------------------------------------------------------------*/

struct payload_encoder;

/* level: of zstd, 1 to 19 or negative; 0: the usual one.  -ENOMEM; -EINVAL:
 * there is no such level.
 */
int payload_encoder_new (enum nbi_codec codec, int level,
                         struct payload_encoder **out, struct err *err);
void payload_encoder_free (struct payload_encoder *encoder);    /* or NULL */

/* Encode record->plain bytes into room, which has as many.  Sets codec and
 * stored.  *payload is room, or plain itself, where compressing would not save
 * a sixteenth.
 */
int payload_encode (struct payload_encoder *encoder, const void *plain,
                    struct nbi_record *record, void *room,
                    const void **payload, struct err *err);

/*--- Decoding ---------------------------------------------------------------*/

struct payload_decoder;

int payload_decoder_new (struct payload_decoder **out, struct err *err);
void payload_decoder_free (struct payload_decoder *decoder);    /* or NULL */

/* Decode a payload, of which XXH3 was checked, of a record that was decoded
 * from its header or entry; without the tag, and stored is without it, if it
 * was encrypted.  plain has room for record->plain bytes, which are not to be
 * used if this fails.  NBI-42.
 */
int payload_decode (struct payload_decoder *decoder,
                    const struct nbi_record *record, const void *payload,
                    void *plain, struct err *err);

/* The same of a payload of which only the first len bytes are wanted, 1 to
 * record->plain.  What is behind them in plain, which has room for all of the
 * record, is not to be used.  LZ4 decodes no further, and does not look at
 * what follows; zstd decodes all of it, which is what a frame allows.
 */
int payload_decode_begin (struct payload_decoder *decoder,
                          const struct nbi_record *record, const void *payload,
                          uint32_t len, void *plain, struct err *err);

#endif /* NBDIMAGE_REPO_PAYLOAD_H */
