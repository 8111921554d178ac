/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/repo/decoders.h"
#include "lib/repo/payload.h"

#define MAX_DECODERS 16

struct decoder {
  struct decoder *next;         /* that nobody uses */
  struct payload_decoder *payload;
  uint8_t stored[DECODERS_ROOM];
  uint8_t plain[NBI_CHUNK_MAX]; /* of which a part is wanted */
};

struct decoders {
  pthread_mutex_t lock;         /* guards what follows */
  pthread_cond_t idle_again;
  struct decoder *idle;
  unsigned nr_made;
};

int
decoders_new (struct decoders **out, struct err *err)
{
  struct decoders *decoders = calloc (1, sizeof *decoders);

  if (decoders == NULL)
    return err_nomem (err);
  pthread_mutex_init (&decoders->lock, NULL);
  pthread_cond_init (&decoders->idle_again, NULL);
  *out = decoders;
  return 0;
}

static void
decoder_free (struct decoder *decoder)
{
  if (decoder == NULL)
    return;
  payload_decoder_free (decoder->payload);
  free (decoder);
}

void
decoders_free (struct decoders *decoders)
{
  if (decoders == NULL)
    return;
  for (struct decoder *next; decoders->idle != NULL; decoders->idle = next) {
    next = decoders->idle->next;
    decoder_free (decoders->idle);
  }
  pthread_cond_destroy (&decoders->idle_again);
  pthread_mutex_destroy (&decoders->lock);
  free (decoders);
}

static int
make (struct decoder **out, struct err *err)
{
  struct decoder *decoder = malloc (sizeof *decoder);
  int r;

  if (decoder == NULL)
    return err_nomem (err);
  r = payload_decoder_new (&decoder->payload, err);
  if (r < 0)
    free (decoder);
  else
    *out = decoder;
  return r;
}

/* One to use: an idle one, a new one, or the next that becomes idle. */
static int
take (struct decoders *decoders, struct decoder **out, struct err *err)
{
  int r;

  pthread_mutex_lock (&decoders->lock);
  while (decoders->idle == NULL && decoders->nr_made == MAX_DECODERS)
    pthread_cond_wait (&decoders->idle_again, &decoders->lock);
  if (decoders->idle != NULL) {
    *out = decoders->idle;
    decoders->idle = (*out)->next;
    pthread_mutex_unlock (&decoders->lock);
    return 0;
  }
  ++decoders->nr_made;
  pthread_mutex_unlock (&decoders->lock);
  r = make (out, err);
  if (r < 0) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&decoders->lock);
    --decoders->nr_made;
    pthread_cond_signal (&decoders->idle_again);
  }
  return r;
}

static void
give_back (struct decoders *decoders, struct decoder *decoder)
{
  pthread_mutex_lock (&decoders->lock);
  decoder->next = decoders->idle;
  decoders->idle = decoder;
  pthread_cond_signal (&decoders->idle_again);
  pthread_mutex_unlock (&decoders->lock);
}

int
decoders_read (struct decoders *decoders, struct file_reader *file,
               const struct nbi_record *record, void *plain, struct err *err)
{
  return decoders_read_row (decoders, file, record, 1, plain, err);
}

/* From `stored', in which the payload of the first record is at the front. */
static int
decode_row (struct decoder *decoder, struct file_reader *file,
            const struct nbi_record *records, size_t n, uint8_t *plain,
            struct err *err)
{
  for (size_t i = 0; i < n; ++i) {
    const struct nbi_record *record = &records[i];
    uint8_t *payload = decoder->stored + (record->off - records->off);
    struct nbi_record net = *record;
    int r;

    r = file_reader_check (record, payload, err);
    if (r == 0)
      r = file_reader_unseal (file, &net, payload, err);
    if (r == 0)
      r = payload_decode (decoder->payload, &net, payload, plain, err);
    if (r < 0)
      return err_in (err, "record %" PRIu32 " at %" PRIu64, record->ordinal,
                     record->off);
    plain += record->plain;
  }
  return 0;
}

int
decoders_read_row (struct decoders *decoders, struct file_reader *file,
                   const struct nbi_record *records, size_t n, void *plain,
                   struct err *err)
{
  const struct nbi_record *last = &records[n - 1];
  struct decoder *decoder = NULL;
  int r;

  r = take (decoders, &decoder, err);
  if (r < 0)
    return r;
  r = block_pread (file_reader_block (file), decoder->stored,
                   (size_t) (last->off - records->off) + last->stored,
                   records->off + NBI_RECORD_SIZE, err);
  if (r == 0)
    r = decode_row (decoder, file, records, n, plain, err);
  give_back (decoders, decoder);
  return r;
}

static int
decode_part (struct decoder *decoder, struct file_reader *file,
             const struct nbi_record *record, uint32_t in, uint32_t len,
             uint8_t *buf, struct err *err)
{
  const uint8_t *plain = decoder->plain;
  struct nbi_record net = *record;
  int r = file_reader_check (record, decoder->stored, err);

  if (r == 0)
    r = file_reader_unseal (file, &net, decoder->stored, err);
  if (r == 0 && net.codec == NBI_STORED)
    plain = decoder->stored;
  else if (r == 0)
    r = payload_decode_begin (decoder->payload, &net, decoder->stored,
                              in + len, decoder->plain, err);
  if (r < 0)
    return err_in (err, "record %" PRIu32 " at %" PRIu64, record->ordinal,
                   record->off);
  memcpy (buf, plain + in, len);
  return 0;
}

int
decoders_read_part (struct decoders *decoders, struct file_reader *file,
                    const struct nbi_record *record, uint32_t in,
                    uint32_t len, void *buf, struct err *err)
{
  struct decoder *decoder = NULL;
  int r;

  r = take (decoders, &decoder, err);
  if (r < 0)
    return r;
  r = block_pread (file_reader_block (file), decoder->stored, record->stored,
                   record->off + NBI_RECORD_SIZE, err);
  if (r == 0)
    r = decode_part (decoder, file, record, in, len, buf, err);
  give_back (decoders, decoder);
  return r;
}
