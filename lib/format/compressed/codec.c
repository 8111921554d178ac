/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/format/compressed/codec.h"

/* Between points, in decoded bytes: those that are an offset alone cost
 * nothing, and those with a window are to take about a hundredth of the disk,
 * or a few of them where that would put them very far from each other.
 */
#define POINT_SPACING (256 * 1024)
#define WINDOW_FACTOR 64
#define LARGE_WINDOW (128 * 1024)
#define LARGE_FACTOR 16

const struct codec *const codecs[] = {
  &bzip2_codec,
  &gzip_codec,
  &lz4_codec,
  &xz_codec,
  &zstd_codec,
  NULL,
};

const struct codec *
codec_find (const uint8_t *head, size_t len)
{
  for (size_t i = 0; codecs[i] != NULL; ++i)
    if (codecs[i]->probe (head, len))
      return codecs[i];
  return NULL;
}

const struct codec *
codec_by_name (const char *name)
{
  for (size_t i = 0; codecs[i] != NULL; ++i)
    if (strcmp (codecs[i]->name, name) == 0)
      return codecs[i];
  return NULL;
}

int
decoder_new (const struct codec *codec, struct block *file,
             const struct point *point, struct decoder **out,
             struct err *err)
{
  struct decoder *d = calloc (1, sizeof *d);
  int r;

  if (d == NULL)
    return err_nomem (err);
  d->codec = codec;
  d->in.block = file;
  d->out = d->last_point = point->out;
  input_seek (&d->in, point->in);
  d->state = calloc (1, codec->state_size);
  r = d->state != NULL ? codec->begin (d, point, err) : err_nomem (err);
  if (r < 0)
    decoder_free (d);
  else
    *out = d;
  return r;
}

void
decoder_free (struct decoder *d)
{
  if (d == NULL)
    return;
  if (d->state != NULL)
    d->codec->end (d);
  free (d->state);
  free (d);
}

int
decoder_read (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
              struct err *err)
{
  size_t done = 0, now;

  do {
    int r = d->codec->decode (d, buf + done, len - done, &now, err);

    if (r < 0)
      return r;
    done += now;
    d->out += now;
  } while (now > 0 && done < len);
  *got = done;
  return 0;
}

bool
decoder_wants_point (const struct decoder *d, uint32_t window_len)
{
  uint64_t spacing = (uint64_t) window_len *
    (window_len > LARGE_WINDOW ? LARGE_FACTOR : WINDOW_FACTOR);

  if (spacing < POINT_SPACING)
    spacing = POINT_SPACING;
  return d->on_point != NULL && d->out - d->last_point >= spacing;
}

int
decoder_point (struct decoder *d, const struct point *point, struct err *err)
{
  d->last_point = point->out;
  return d->on_point (d->opaque, point, err);
}
