/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pieces are decoded when they are asked for, and kept in a cache, in which
 * those that want the same one wait for one thread; so are those that were
 * decoded on the way to it.  Which decoder that thread uses is the business of
 * live.c.
 *
 * Who reads a file from end to end has several threads ask for pieces that
 * follow each other, in any order.  So that each is decoded once, a thread
 * waits for those that make pieces in front of its own, from the same point on:
 * then there is a decoder that is just where it wants it.  What nobody makes,
 * it makes on the way, for whoever comes for it meanwhile.  As a thread waits
 * for makers of earlier pieces only, and without a decoder, no two of them
 * wait for each other.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "lib/base/cache.h"
#include "lib/base/checked.h"
#include "lib/base/cleanup.h"
#include "lib/block/block-ops.h"
#include "lib/format/compressed/compressed.h"
#include "lib/format/compressed/index-build.h"
#include "lib/format/compressed/index-place.h"
#include "lib/format/compressed/live.h"

#define PIECE INDEX_PIECE_SIZE
#define CACHE_SIZE ((size_t) 32 * 1024 * 1024)
#define KEEP_BEFORE (LIVE_STOPS / PIECE)        /* that were on the way */

struct compressed {
  struct block base;
  struct block *file;
  struct index *index;
  struct cache *cache;
  struct live *live;
};

static struct compressed *
compressed (struct block *b)
{
  return (struct compressed *) b;
}

const struct codec *
compressed_recognise (const uint8_t *head, size_t len)
{
  return codec_find (head, len);
}

const char *
compressed_codec_name (const struct codec *codec)
{
  return codec->name;
}

const char *
compressed_name (size_t n)
{
  size_t i = 0;

  while (i < n && codecs[i] != NULL)
    ++i;
  return codecs[i] ? codecs[i]->name : NULL;
}

/*--- Decoding ---------------------------------------------------------------*/

static size_t
piece_len (const struct compressed *c, uint64_t n)
{
  return (size_t) min_u64 (PIECE, c->base.size - n * PIECE);
}

/* Decode up to len bytes, which have to be there. */
static int
decode (struct decoder *d, uint8_t *buf, size_t len, struct err *err)
{
  uint64_t off = d->out;
  size_t got;
  int r = decoder_read (d, buf, len, &got, err);

  /* It was whole when its index was made: it is another file now. */
  if (r == 0 && got < len)
    r = err_set (err, -EIO, "it ends at %" PRIu64, d->out);
  if (r == -EBADMSG || r == -ENOTSUP)
    err_code (err, -EIO);
  return r < 0 ? err_in (err, "it changed since its index was made, "
                         "somewhere before %" PRIu64 " of its contents",
                         off + len) : 0;
}

static int
check_piece (const struct compressed *c, uint64_t n, const uint8_t *buf,
             uint64_t expected, struct err *err)
{
  uint64_t found = XXH3_64bits (buf, piece_len (c, n));

  if (found == expected)
    return 0;
  return err_set (err, -EIO, "it changed since its index was made: the XXH3 "
                  "of the %zu bytes at %" PRIu64 " of its contents is %016"
                  PRIx64 ", expected %016" PRIx64, piece_len (c, n),
                  n * PIECE, found, expected);
}

/* A whole piece, at which the decoder is. */
static int
decode_piece (struct compressed *c, struct decoder *d, uint64_t n,
              uint8_t **out, struct err *err)
{
  CLEANUP_FREE uint8_t *buf = malloc (PIECE);
  struct index_piece piece;
  int r = buf ? index_pieces (c->index, n, 1, &piece, err) : err_nomem (err);

  if (r == 0)
    r = decode (d, buf, piece_len (c, n), err);
  if (r == 0)
    r = check_piece (c, n, buf, piece.xxh3, err);
  if (r == 0)
    *out = steal_ptr (&buf);
  return r;
}

static int
claim (struct compressed *c, uint64_t n, struct cache_item **item,
       struct err *err)
{
  return cache_claim (c->cache, &(struct cache_key) { 0, n }, item, err);
}

/* To where a piece begins, as far as that is not where it is. */
static int
decode_rest (struct decoder *d, uint8_t *scratch, struct err *err)
{
  size_t done = (size_t) (d->out % PIECE);

  return done == 0 ? 0 : decode (d, scratch, PIECE - done, err);
}

/* Pieces on the way, for others, up to piece n.  1: it would come to one that
 * another thread is about to make.
 */
static int
make_up_to (struct compressed *c, struct decoder *d, uint64_t n,
            uint8_t *scratch, struct err *err)
{
  struct cache_item *item = NULL, *next = NULL;
  uint64_t at = div_round_up (d->out, PIECE);
  int now = at < n ? claim (c, at, &item, err) : CACHE_THERE, then, r;

  for (; at < n; ++at, now = then, item = next) {
    struct err why = ERR_INIT;
    uint8_t *buf = NULL;

    if (now != CACHE_CLAIMED && now != CACHE_THERE)
      return now == CACHE_BEING_MADE ? 1 : now;
    r = decode_rest (d, scratch, &why);
    if (r == 0)
      r = now == CACHE_THERE ? decode (d, scratch, PIECE, &why)
        : decode_piece (c, d, at, &buf, &why);
    /* Who waited for this one shall see that somebody makes the next. */
    then = r == 0 && at + 1 < n ? claim (c, at + 1, &next, err) : CACHE_THERE;
    if (r == 0 && now == CACHE_CLAIMED)
      cache_fill (c->cache, item, buf, PIECE);
    else if (now == CACHE_CLAIMED)
      cache_give_up (c->cache, item, &why);
    if (r < 0 && err != NULL)
      *err = why;
    if (r < 0)
      return r;
  }
  return decode_rest (d, scratch, err);
}

/* Bring the decoder to where the piece begins.  1: as above. */
static int
go_to (struct compressed *c, struct decoder *d, uint64_t n, struct err *err)
{
  CLEANUP_FREE uint8_t *scratch = NULL;
  int r = 0;

  if (d->out == n * PIECE)
    return 0;
  scratch = malloc (PIECE);
  if (scratch == NULL)
    return err_nomem (err);
  while (r == 0 && n - d->out / PIECE > KEEP_BEFORE)
    r = decode (d, scratch, PIECE - d->out % PIECE, err);
  return r < 0 ? r : make_up_to (c, d, n, scratch, err);
}

/* For live_take: the point is only read where none is on its way. */
struct start {
  const struct compressed *c;
  uint64_t where;               /* of the point, in the index */
};

static int
make_decoder (void *opaque, struct decoder **out, struct err *err)
{
  const struct start *start = opaque;
  CLEANUP_FREE uint8_t *window = NULL;
  struct point point;
  int r = index_point (start->c->index, start->where, &point, &window, err);

  if (r == 0)
    r = decoder_new (index_codec (start->c->index), start->c->file, &point,
                     out, err);
  if (r == -EBADMSG || r == -ENOTSUP)
    r = err_code (err, -EIO);
  return r;
}

/* Until nobody makes one in front of piece n, as far as that matters. */
static void
let_others_go_first (struct compressed *c, uint64_t n, uint64_t from)
{
  uint64_t first = max_u64 (div_round_up (from, PIECE),
                            n > KEEP_BEFORE ? n - KEEP_BEFORE : 0);

  for (uint64_t i = n; i-- > first; )
    if (cache_wait (c->cache, &(struct cache_key) { 0, i }))
      i = n;
}

/* Piece n, with whatever decoder there is.  1: there is one to make first, by
 * the thread that is about to.
 */
static int
try_piece (struct compressed *c, uint64_t n, const struct live_maker *maker,
           uint8_t **buf, struct err *err)
{
  struct decoder *d = NULL;
  int r;

  let_others_go_first (c, n, maker->from);
  r = live_take (c->live, maker, n * PIECE, piece_len (c, n), &d, err);
  if (r < 0)
    return r;
  r = go_to (c, d, n, err);
  if (r == 0)
    r = decode_piece (c, d, n, buf, err);
  live_give_back (c->live, d, r >= 0);
  return r;
}

static int
make_piece (void *opaque, const struct cache_key *key, void **value,
            size_t *size, struct err *err)
{
  struct compressed *c = opaque;
  struct index_piece piece;
  uint8_t *buf;
  int r = index_pieces (c->index, key->number, 1, &piece, err);
  struct start start = { c, r == 0 ? piece.point : 0 };
  struct live_maker maker = { make_decoder, &start, 0 };

  if (r == 0)
    r = index_point_out (c->index, piece.point, &maker.from, err);
  if (r == 0 && maker.from > key->number * PIECE)
    r = err_set (err, -EIO, "its index has a point behind its piece %" PRIu64,
                 key->number);
  if (r < 0)
    return r;
  while ((r = try_piece (c, key->number, &maker, &buf, err)) == 1)
    ;
  if (r < 0)
    return r;
  *value = buf;
  *size = PIECE;
  return 0;
}

/*--- The block --------------------------------------------------------------*/

static int
read_piece (struct compressed *c, uint64_t n, uint8_t *buf, size_t len,
            size_t in_piece, struct err *err)
{
  const struct cache_key key = { 0, n };
  const struct cache_maker maker = { make_piece, c };
  struct cache_item *item;
  int r = cache_get (c->cache, &key, &maker, &item, err);

  if (r < 0)
    return r;
  memcpy (buf, (uint8_t *) cache_value (item) + in_piece, len);
  cache_put (c->cache, item);
  return 0;
}

static int
compressed_pread (struct block *b, void *buf, size_t len, uint64_t off,
                  struct err *err)
{
  struct compressed *c = compressed (b);
  uint8_t *p = buf;

  while (len > 0) {
    size_t in_piece = (size_t) (off % PIECE);
    size_t now = (size_t) min_u64 (PIECE - in_piece, len);
    struct index_piece piece;
    int r = index_pieces (c->index, off / PIECE, 1, &piece, err);

    if (r == 0 && piece.zero)
      memset (p, 0, now);
    else if (r == 0)
      r = read_piece (c, off / PIECE, p, now, in_piece, err);
    if (r < 0)
      return r;
    p += now;
    off += now;
    len -= now;
  }
  return 0;
}

/* Pieces that are all zeros are known. */
static int
compressed_extents (struct block *b, uint64_t len, uint64_t off,
                    struct extent_list *list, struct err *err)
{
  struct compressed *c = compressed (b);
  struct index_piece pieces[256];
  uint64_t end = off + len;

  while (off < end && !extent_list_full (list)) {
    uint64_t first = off / PIECE;
    size_t n = (size_t) min_u64 (div_round_up (end, PIECE) - first, 256);
    int r = index_pieces (c->index, first, n, pieces, err);

    for (size_t i = 0; r == 0 && i < n; ++i) {
      uint64_t to = min_u64 ((first + i + 1) * PIECE, end);

      r = extent_list_add (list, off, to - off, pieces[i].zero ? EXTENT_HOLE
                           : EXTENT_DATA, 0, err);
      off = to;
    }
    if (r < 0)
      return r;
  }
  return 0;
}

static void
compressed_close (struct block *b)
{
  struct compressed *c = compressed (b);

  live_free (c->live);
  cache_free (c->cache);
  index_close (c->index);
  block_unref (c->file);
}

static const struct block_ops compressed_ops = {
  .close = compressed_close,
  .pread = compressed_pread,
  .extents = compressed_extents,
};

int
compressed_open (struct block *file, const struct codec *codec,
                 struct job *job, struct block **out, struct report *report,
                 struct err *err)
{
  struct index *index = NULL;
  struct compressed *c;
  int r = index_get (file, codec, job, &index, report, err);

  if (r < 0)
    return r;
  c = calloc (1, sizeof *c);
  r = c ? block_init (&c->base, &compressed_ops, block_name (file),
                      index_size (index), false, err) : err_nomem (err);
  if (r < 0) {
    index_close (index);
    free (c);
    return r;
  }
  c->index = index;
  c->file = block_ref (file);
  c->base.sizes.preferred = PIECE;
  r = cache_new (CACHE_SIZE, free, &c->cache, err);
  if (r == 0)
    r = live_new (&c->live, err);
  if (r < 0)
    block_unref (&c->base);
  else
    *out = &c->base;
  return r;
}

bool
compressed_is_indexed (struct block *file)
{
  struct index *index = NULL;
  struct fingerprint fp;

  if (fingerprint_of (file, &fp, NULL) < 0 || index_find (&fp, &index) < 0)
    return false;
  index_close (index);
  return true;
}

struct block *
compressed_file (const struct block *block, const struct codec **codec)
{
  const struct compressed *c = (const struct compressed *) block;

  if (block->ops != &compressed_ops)
    return NULL;
  if (codec)
    *codec = index_codec (c->index);
  return c->file;
}

uint64_t
compressed_nr_points (const struct block *block)
{
  return index_nr_points (((const struct compressed *) block)->index);
}
