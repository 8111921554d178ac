/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "lib/base/bytes.h"
#include "lib/base/kdf.h"
#include "lib/repo/payload.h"

#define USUAL_LEVEL 3           /* of zstd */
#define WINDOW_MAX (UINT64_C (1024) * 1024)

int
nbi_identity (const void *plain, size_t len, uint8_t id[DIGEST_SIZE],
              struct err *err)
{
  return digest_of (plain, len, id, err);
}

int
nbi_identity_with (const uint8_t *key, const void *plain, size_t len,
                   uint8_t id[DIGEST_SIZE], struct err *err)
{
  const struct kdf_bytes piece = { plain, len };

  return key != NULL ? kdf_hmac (key, &piece, 1, id, err)
    : nbi_identity (plain, len, id, err);
}

/*--- Encoding ---------------------------------------------------------------*/

struct payload_encoder {
  enum nbi_codec codec;
  void *lz4;                    /* its state */
  ZSTD_CCtx *zstd;
};

static int
set_up_zstd (struct payload_encoder *encoder, int level, struct err *err)
{
  ZSTD_bounds bounds = ZSTD_cParam_getBounds (ZSTD_c_compressionLevel);

  if (level < bounds.lowerBound || level > 19)
    return err_set (err, -EINVAL, "zstd has no level %d; expected %d to 19",
                    level, bounds.lowerBound);
  encoder->zstd = ZSTD_createCCtx ();
  if (encoder->zstd == NULL)
    return err_nomem (err);
  if (ZSTD_isError (ZSTD_CCtx_setParameter (encoder->zstd,
                                            ZSTD_c_compressionLevel,
                                            level ? level : USUAL_LEVEL)) ||
      ZSTD_isError (ZSTD_CCtx_setParameter (encoder->zstd,
                                            ZSTD_c_checksumFlag, 0)) ||
      ZSTD_isError (ZSTD_CCtx_setParameter (encoder->zstd, ZSTD_c_dictIDFlag,
                                            0)))
    return err_set (err, -EINVAL, "zstd refuses its parameters");
  return 0;
}

int
payload_encoder_new (enum nbi_codec codec, int level,
                     struct payload_encoder **out, struct err *err)
{
  struct payload_encoder *encoder = calloc (1, sizeof *encoder);
  int r = 0;

  if (encoder == NULL)
    return err_nomem (err);
  encoder->codec = codec;
  if (codec == NBI_LZ4) {
    encoder->lz4 = malloc ((size_t) LZ4_sizeofState ());
    if (encoder->lz4 == NULL)
      r = err_nomem (err);
  }
  else if (codec == NBI_ZSTD)
    r = set_up_zstd (encoder, level, err);
  if (r < 0)
    payload_encoder_free (encoder);
  else
    *out = encoder;
  return r;
}

void
payload_encoder_free (struct payload_encoder *encoder)
{
  if (encoder == NULL)
    return;
  ZSTD_freeCCtx (encoder->zstd);
  free (encoder->lz4);
  free (encoder);
}

/* How many bytes it became; 0 if that would be more than `most'. */
static int
compress (struct payload_encoder *encoder, const void *plain, size_t len,
          void *room, size_t most, size_t *got, struct err *err)
{
  size_t n;

  *got = 0;
  if (encoder->codec == NBI_LZ4) {
    *got = (size_t) LZ4_compress_fast_extState (encoder->lz4, plain, room,
                                                (int) len, (int) most, 1);
    return 0;
  }
  n = ZSTD_compress2 (encoder->zstd, room, most, plain, len);
  if (!ZSTD_isError (n))
    *got = n;
  else if (ZSTD_getErrorCode (n) != ZSTD_error_dstSize_tooSmall)
    return err_set (err, -ENOMEM, "zstd: %s", ZSTD_getErrorName (n));
  return 0;
}

int
payload_encode (struct payload_encoder *encoder, const void *plain,
                struct nbi_record *record, void *room, const void **payload,
                struct err *err)
{
  size_t len = record->plain, most = len - len / 16, got = 0;
  int r = 0;

  /* A sixteenth less: what is read later costs decoding each time. */
  if (encoder->codec != NBI_STORED && most < len)
    r = compress (encoder, plain, len, room, most, &got, err);
  if (r < 0)
    return r;
  record->codec = got > 0 ? encoder->codec : NBI_STORED;
  record->stored = (uint32_t) (got > 0 ? got : len);
  *payload = got > 0 ? room : plain;
  return 0;
}

/*--- Decoding ---------------------------------------------------------------*/

struct payload_decoder {
  ZSTD_DCtx *zstd;
};

int
payload_decoder_new (struct payload_decoder **out, struct err *err)
{
  struct payload_decoder *decoder = calloc (1, sizeof *decoder);

  if (decoder == NULL)
    return err_nomem (err);
  decoder->zstd = ZSTD_createDCtx ();
  if (decoder->zstd == NULL) {
    free (decoder);
    return err_nomem (err);
  }
  *out = decoder;
  return 0;
}

void
payload_decoder_free (struct payload_decoder *decoder)
{
  if (decoder == NULL)
    return;
  ZSTD_freeDCtx (decoder->zstd);
  free (decoder);
}

static int
decode_lz4 (const struct nbi_record *record, const void *payload, void *plain,
            struct err *err)
{
  int n = LZ4_decompress_safe (payload, plain, (int) record->stored,
                               (int) record->plain);

  if (n < 0)
    return nbi_refuse (err, 42, "LZ4 can't make %" PRIu32 " bytes of %" PRIu32,
                       record->plain, record->stored);
  if ((uint32_t) n != record->plain)
    return nbi_refuse (err, 42, "LZ4 makes %d bytes, not %" PRIu32, n,
                       record->plain);
  return 0;
}

/* What RFC 8878 §3.1.1.1 allows, and §5 of the document does not.  The frame
 * header has 2 to 14 bytes behind the magic.
 */
static int
check_frame (const uint8_t *buf, size_t len, uint32_t plain, struct err *err)
{
  uint8_t descriptor;
  unsigned exponent;
  uint64_t window;

  if (len < 6 || get_le32 (buf) != ZSTD_MAGICNUMBER)
    return nbi_refuse (err, 42, "the payload is no zstd frame");
  descriptor = buf[4];
  if (descriptor & 0x08)
    return nbi_refuse (err, 42, "the zstd frame has its reserved bit set");
  if (descriptor & 0x04)
    return nbi_refuse (err, 42, "the zstd frame has a checksum");
  if (descriptor & 0x03)
    return nbi_refuse (err, 42, "the zstd frame has a dictionary");
  if (ZSTD_getFrameContentSize (buf, len) != plain)
    return nbi_refuse (err, 42, "the zstd frame does not say that it has %"
                       PRIu32 " bytes", plain);
  if (descriptor & 0x20)        /* the window is the content's size */
    return 0;
  exponent = buf[5] >> 3;
  window = (UINT64_C (1) << (10 + exponent)) / 8 * (8 + (buf[5] & 7U));
  if (window > WINDOW_MAX)
    return nbi_refuse (err, 42, "the zstd frame has a window of %" PRIu64
                       " bytes, expected at most %" PRIu64, window,
                       WINDOW_MAX);
  return 0;
}

static int
decode_zstd (struct payload_decoder *decoder, const struct nbi_record *record,
             const void *payload, void *plain, struct err *err)
{
  int r = check_frame (payload, record->stored, record->plain, err);
  size_t n;

  if (r < 0)
    return r;
  if (ZSTD_findFrameCompressedSize (payload, record->stored) !=
      record->stored)
    return nbi_refuse (err, 42, "the zstd frame does not end where the payload"
                       " ends");
  n = ZSTD_decompressDCtx (decoder->zstd, plain, record->plain, payload,
                           record->stored);
  if (ZSTD_isError (n))
    return nbi_refuse (err, 42, "zstd can't make %" PRIu32 " bytes of %" PRIu32
                       ": %s", record->plain, record->stored,
                       ZSTD_getErrorName (n));
  if (n != record->plain)
    return nbi_refuse (err, 42, "zstd makes %zu bytes, not %" PRIu32, n,
                       record->plain);
  return 0;
}

int
payload_decode (struct payload_decoder *decoder,
                const struct nbi_record *record, const void *payload,
                void *plain, struct err *err)
{
  switch (record->codec) {
  case NBI_STORED:
    memcpy (plain, payload, record->plain);
    return 0;
  case NBI_LZ4:
    return decode_lz4 (record, payload, plain, err);
  default:
    return decode_zstd (decoder, record, payload, plain, err);
  }
}

int
payload_decode_begin (struct payload_decoder *decoder,
                      const struct nbi_record *record, const void *payload,
                      uint32_t len, void *plain, struct err *err)
{
  int n;

  if (record->codec == NBI_ZSTD || len == record->plain)
    return payload_decode (decoder, record, payload, plain, err);
  if (record->codec == NBI_STORED) {
    memcpy (plain, payload, len);
    return 0;
  }
  n = LZ4_decompress_safe_partial (payload, plain, (int) record->stored,
                                   (int) len, (int) record->plain);
  if (n < 0)
    return nbi_refuse (err, 42, "LZ4 can't make %" PRIu32 " bytes of %" PRIu32,
                       record->plain, record->stored);
  if ((uint32_t) n < len)
    return nbi_refuse (err, 42, "LZ4 makes %d bytes, not %" PRIu32 " and more",
                       n, len);
  return 0;
}
