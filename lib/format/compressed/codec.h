/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a compression has to supply so that a file in it can be read at any
 * place: decoding from the front, and from points at which that may begin.
 *
 *   file      |== member ====|== member =========================|
 *   points    ^              ^        ^ +window     ^ +window
 *   decoded   |-------------- pieces of the same size -----------|
 *
 * A decoder goes forward only.  It begins at a point: the offset of a byte in
 * the file, the bit in it, and, where what follows refers back, the bytes
 * before (the window).  Between a decoder's calls it may be told to another
 * thread.
 */

#ifndef NBDIMAGE_FORMAT_COMPRESSED_CODEC_H
#define NBDIMAGE_FORMAT_COMPRESSED_CODEC_H

#include <stdbool.h>

#include "lib/format/compressed/input.h"

/* Memory that one decoder may take for what the file refers back to.  More is
 * -ENOTSUP: a file can ask for 4 GiB in a few bytes.
 */
#define CODEC_MAX_MEMORY ((uint64_t) 65 * 1024 * 1024 + 512 * 1024)

/* How far what is kept for a point may reach back; and its window, with what
 * a codec adds to that.
 */
#define CODEC_MAX_CONTENT (8 * 1024 * 1024)
#define CODEC_MAX_WINDOW (CODEC_MAX_CONTENT + 4096)

/* The front of the file: every codec can begin there. */
#define POINT_START 0

struct point {
  uint64_t out;                 /* bytes decoded before it */
  uint64_t in;                  /* offset in the file */
  uint32_t param;               /* the codec's */
  uint8_t kind;                 /* POINT_START, or the codec's, from 1 */
  uint8_t bit;                  /* the first in that byte that counts, 0..7 */
  uint32_t window_len;          /* bytes; 0: nothing is referred to */
  const uint8_t *window;        /* what was decoded before it */
};

struct decoder;

struct codec {
  const char *name;             /* "zstd": what its programs are called */
  size_t state_size;            /* of what `state' points to; zeroed */

  /* Are these the first bytes of a file in it?  len is PROBE_HEAD_SIZE or
   * the file's.
   */
  bool (*probe) (const uint8_t *head, size_t len);

  /* Make ready; d->in is at point->in. */
  int (*begin) (struct decoder *d, const struct point *point,
                struct err *err);

  /* Decode up to len bytes, not 0; *got of them were.  0 of them: that was the
   * whole file.  What has to be behind a member (checksums) was looked at by
   * the next call, and what is wrong is -EBADMSG with structure and offset.
   * Where decoding may begin, it asks decoder_wants_point before it decodes
   * anything.
   */
  int (*decode) (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
                 struct err *err);

  void (*end) (struct decoder *d);      /* also when begin failed */
};

struct decoder {
  const struct codec *codec;
  struct input in;
  void *state;
  uint64_t out;                 /* where it is, bytes decoded */
  uint64_t memory;              /* that it takes, if it is much; bytes */

  /* NULL unless points are wanted: of a codec at `out', which it copies. */
  int (*on_point) (void *opaque, const struct point *point, struct err *err);
  void *opaque;
  uint64_t last_point;          /* its out */
};

/* The codecs, ends with NULL. */
extern const struct codec *const codecs[];

extern const struct codec bzip2_codec;
extern const struct codec gzip_codec;
extern const struct codec lz4_codec;
extern const struct codec xz_codec;
extern const struct codec zstd_codec;

/* The one whose file begins so; NULL. */
const struct codec *codec_find (const uint8_t *head, size_t len);
const struct codec *codec_by_name (const char *name);

/* For all that is decoded of a file; borrows it. */
int decoder_new (const struct codec *codec, struct block *file,
                 const struct point *point, struct decoder **out,
                 struct err *err);
void decoder_free (struct decoder *d);          /* NULL is fine */

/* Fill buf; *got is less than len at the end of all only. */
int decoder_read (struct decoder *d, uint8_t *buf, size_t len, size_t *got,
                  struct err *err);

/* Is a point here wanted, with so large a window?  Not each is. */
bool decoder_wants_point (const struct decoder *d, uint32_t window_len);

/* Here is one, or was since the one before. */
int decoder_point (struct decoder *d, const struct point *point,
                   struct err *err);

#endif /* NBDIMAGE_FORMAT_COMPRESSED_CODEC_H */
